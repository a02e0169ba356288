//! A digest of what matters in an object: equal digests say that the change between two versions of it may reach the
//! flash late. Never tells objects apart for any other end.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::json::Cursor;
use super::proto::Fields;
use super::{Encoding, Malformed};

/// The digest of a bare object without `status`, `metadata.resourceVersion` and `metadata.managedFields`.
///
/// `group` and `resource` as in the object's path (`""` and `pods`): protobuf does not say which of its fields is
/// `status`. What is not well formed is digested whole. Holds within one build of the program only, and two objects of
/// one digest can be made on purpose: all they win is that one write comes later.
pub fn essence(encoding: Encoding, group: &str, resource: &str, bare: &[u8]) -> u32 {
    let mut digest = DefaultHasher::new();
    let parts = match encoding {
        Encoding::Json => json(bare, &mut digest),
        Encoding::Protobuf => proto(bare, has_status(group, resource), &mut digest),
    };
    if parts.is_err() {
        digest = DefaultHasher::new();
        bare.hash(&mut digest);
    }
    digest.finish() as u32
}

fn json(bare: &[u8], digest: &mut impl Hasher) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(bare);
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        if key.is("status") {
            cursor.skip()?;
        } else if key.is("metadata") && cursor.peek()? == b'{' {
            json_meta(&mut cursor, digest)?;
        } else {
            (key.raw(), cursor.skip()?).hash(digest);
        }
    }
    cursor.end()
}

fn json_meta(cursor: &mut Cursor<'_>, digest: &mut impl Hasher) -> Result<(), Malformed> {
    cursor.open_object()?;
    META_BEGINS.hash(digest);
    while let Some(key) = cursor.next_key()? {
        let value = cursor.skip()?;
        if !key.is("resourceVersion") && !key.is("managedFields") {
            (key.raw(), value).hash(digest);
        }
    }
    META_ENDS.hash(digest);
    Ok(())
}

fn proto(bare: &[u8], has_status: bool, digest: &mut impl Hasher) -> Result<(), Malformed> {
    let mut fields = Fields(bare);
    loop {
        let rest = fields.0;
        let Some((field, value)) = fields.next()? else {
            return Ok(());
        };
        match field {
            1 => proto_meta(value.bytes()?, digest)?,
            3 if has_status => {}
            _ => rest[..rest.len() - fields.0.len()].hash(digest),
        }
    }
}

fn proto_meta(bytes: &[u8], digest: &mut impl Hasher) -> Result<(), Malformed> {
    META_BEGINS.hash(digest);
    let mut fields = Fields(bytes);
    loop {
        let rest = fields.0;
        match fields.next()? {
            Some((RESOURCE_VERSION | MANAGED_FIELDS, _)) => {}
            Some(_) => rest[..rest.len() - fields.0.len()].hash(digest),
            None => break,
        }
    }
    META_ENDS.hash(digest);
    Ok(())
}

/// Around the parts of the metadata, so that they are not taken for those of the object.
const META_BEGINS: &[u8] = b"{";
const META_ENDS: &[u8] = b"}";

/// Fields of `metav1.ObjectMeta`.
const RESOURCE_VERSION: u32 = 6;
const MANAGED_FIELDS: u32 = 17;

/// Whether field 3 of the message is `status`. In other kinds it is data (`binaryData` of a ConfigMap), so a kind that
/// is not named here is written sooner than it need be, and none is written late that matters. From the
/// generated.proto files of Kubernetes 1.34 and 1.36.
fn has_status(group: &str, resource: &str) -> bool {
    match group {
        "" => matches!(
            resource,
            "namespaces"
                | "nodes"
                | "persistentvolumeclaims"
                | "persistentvolumes"
                | "pods"
                | "replicationcontrollers"
                | "resourcequotas"
                | "services"
        ),
        "apps" => matches!(
            resource,
            "daemonsets" | "deployments" | "replicasets" | "statefulsets"
        ),
        "batch" => matches!(resource, "cronjobs" | "jobs"),
        "autoscaling" => resource == "horizontalpodautoscalers",
        "policy" => resource == "poddisruptionbudgets",
        "networking.k8s.io" => matches!(resource, "ingresses" | "servicecidrs"),
        "storage.k8s.io" => resource == "volumeattachments",
        "resource.k8s.io" => resource == "resourceclaims",
        "apiextensions.k8s.io" => resource == "customresourcedefinitions",
        "apiregistration.k8s.io" => resource == "apiservices",
        "flowcontrol.apiserver.k8s.io" => {
            matches!(resource, "flowschemas" | "prioritylevelconfigurations")
        }
        "admissionregistration.k8s.io" => resource == "validatingadmissionpolicies",
        "certificates.k8s.io" => resource == "podcertificaterequests",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{put_bytes, put_varint};
    use super::*;

    const POD: &str = r#"{"metadata":{"name":"web-7d4b9","namespace":"default","uid":"6f1c","resourceVersion":"4711","generation":1,"creationTimestamp":"2026-11-20T10:00:00Z","labels":{"app":"web"},"annotations":{"note":"a"},"managedFields":[{"manager":"kubelet","operation":"Update","time":"2026-11-20T10:00:05Z","fieldsV1":{"f:status":{}}}]},"spec":{"nodeName":"edge-1","containers":[{"name":"web","image":"web:1","resources":{}}]},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-11-20T10:00:05Z"}]}}"#;

    fn of_json(text: &str) -> u32 {
        essence(Encoding::Json, "", "pods", text.as_bytes())
    }

    /// The pod with `from` replaced; whether its essence is still the same.
    fn same(from: &str, to: &str) -> bool {
        assert_eq!(POD.matches(from).count(), 1, "{from}");
        of_json(POD) == of_json(&POD.replace(from, to))
    }

    #[test]
    fn what_may_be_written_late() {
        let status_at = POD.find(",\"status\":{\"phase\"").unwrap();
        assert!(same("\"4711\"", "\"4712\""));
        assert!(same("10:00:05Z\",\"fieldsV1", "10:07:05Z\",\"fieldsV1"));
        assert!(same("\"Running\"", "\"Failed\""));
        assert!(same(
            "\"type\":\"Ready\",\"status\":\"True\"",
            "\"type\":\"Ready\",\"status\":\"False\""
        ));
        assert!(same(&POD[status_at..], "}"));
        assert!(same("\"resourceVersion\":\"4711\",", ""));
        assert!(same(
            "{\"phase\"",
            "{\"metadata\":{\"name\":\"other\"},\"phase\""
        ));
        assert!(same(
            "\"metadata\":{",
            "\"status\":\"first\",\"metadata\":{"
        ));
    }

    #[test]
    fn what_matters() {
        assert!(!same("web:1", "web:2"));
        assert!(!same("\"app\":\"web\"", "\"app\":\"www\""));
        assert!(!same("{\"note\":\"a\"}", "{\"note\":\"b\"}"));
        assert!(!same("\"generation\":1", "\"generation\":2"));
        assert!(!same(
            "\"generation\":1",
            "\"generation\":1,\"deletionTimestamp\":\"2026-11-20T11:00:00Z\",\"deletionGracePeriodSeconds\":30"
        ));
        assert!(!same("\"labels\":{\"app\":\"web\"},", ""));
        assert!(!same("\"resources\":{}", "\"resources\":{},\"status\":1"));
        assert!(!same(
            "{\"note\":\"a\"}",
            "{\"note\":\"a\",\"resourceVersion\":\"1\"}"
        ));
        assert!(!same("\"name\":\"web-7d4b9\"", "\"name\":\"web-7d4ba\""));
        // The same members, one level up.
        assert_ne!(
            of_json(r#"{"metadata":{"a":1},"b":2}"#),
            of_json(r#"{"metadata":{"a":1,"b":2}}"#)
        );
        assert_ne!(of_json(r#"{"metadata":{"a":1}}"#), of_json(r#"{"a":1}"#));
        assert_ne!(
            of_json(r#"{"metadata":null}"#),
            of_json(r#"{"metadata":{}}"#)
        );
    }

    #[test]
    fn broken_json_is_digested_whole() {
        for cut in 0..POD.len() - 1 {
            assert_ne!(of_json(&POD[..cut]), of_json(&POD[..cut + 1]), "{cut}");
        }
        assert_ne!(of_json(r#"{"status":1"#), of_json(r#"{"status":2"#));
        assert_ne!(of_json(r#"{"status":1} x"#), of_json(r#"{"status":2} x"#));
        assert_ne!(
            of_json(r#"{"metadata":[],"status":1"#),
            of_json(r#"{"metadata":[],"status":2"#)
        );
        assert_ne!(of_json(r#"["status"]"#), of_json("[]"));
        let deep = |n: usize| format!("{{\"status\":{}{n}{}}}", "[".repeat(n), "]".repeat(n));
        assert_ne!(of_json(&deep(5_000)), of_json(&deep(5_001)));
    }

    /// An object of a name, version, label value and managed field, and the fields behind the metadata.
    fn message(version: &str, label: &str, manager: &str, rest: &[(u8, &[u8])]) -> Vec<u8> {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, b"app");
        put_bytes(&mut entry, 2, label.as_bytes());
        let mut meta = Vec::new();
        put_bytes(&mut meta, 1, b"web");
        put_bytes(&mut meta, 2, b"");
        put_bytes(&mut meta, 3, b"default");
        put_bytes(&mut meta, 6, version.as_bytes());
        meta.extend_from_slice(&[7 << 3, 1]);
        put_bytes(&mut meta, 11, &entry);
        put_varint(&mut meta, 17 << 3 | 2);
        put_varint(&mut meta, manager.len() as u64);
        meta.extend_from_slice(manager.as_bytes());
        let mut out = Vec::new();
        put_bytes(&mut out, 1, &meta);
        for (field, bytes) in rest {
            put_bytes(&mut out, *field, bytes);
        }
        out
    }

    fn of_proto(resource: &str, bare: &[u8]) -> u32 {
        essence(Encoding::Protobuf, "", resource, bare)
    }

    #[test]
    fn protobuf() {
        let base = of_proto(
            "pods",
            &message("7", "web", "m", &[(2, b"spec"), (3, b"status")]),
        );
        let late: &[Vec<u8>] = &[
            message("8", "web", "m", &[(2, b"spec"), (3, b"status")]),
            message("7", "web", "n2", &[(2, b"spec"), (3, b"status")]),
            message("9", "web", "n2", &[(2, b"spec"), (3, b"Status!")]),
            message("9", "web", "n2", &[(2, b"spec")]),
        ];
        for (case, bare) in late.iter().enumerate() {
            assert_eq!(of_proto("pods", bare), base, "{case}");
        }
        let now: &[Vec<u8>] = &[
            message("7", "www", "m", &[(2, b"spec"), (3, b"status")]),
            message("7", "web", "m", &[(2, b"Spec"), (3, b"status")]),
            message(
                "7",
                "web",
                "m",
                &[(2, b"spec"), (3, b"status"), (4, b"more")],
            ),
            message("7", "web", "m", &[(2, b"spec"), (4, b"status")]),
        ];
        for (case, bare) in now.iter().enumerate() {
            assert_ne!(of_proto("pods", bare), base, "{case}");
        }
    }

    #[test]
    fn field_3_is_data_in_other_kinds() {
        let map = |data: &[u8], binary: &[u8]| message("7", "web", "m", &[(2, data), (3, binary)]);
        let base = of_proto("configmaps", &map(b"data", b"binary"));
        assert_ne!(of_proto("configmaps", &map(b"datb", b"binary")), base);
        assert_ne!(of_proto("configmaps", &map(b"data", b"binarz")), base);
        let newer = message("8", "web", "n", &[(2, b"data"), (3, b"binary")]);
        assert_eq!(of_proto("configmaps", &newer), base);
        // A kind of the same name in a group of somebody else.
        let of = |status: &[u8]| {
            essence(
                Encoding::Protobuf,
                "example.com",
                "pods",
                &map(b"spec", status),
            )
        };
        assert_ne!(of(b"a"), of(b"b"));
    }

    #[test]
    fn broken_protobuf_is_digested_whole() {
        let whole = message("7", "web", "m", &[(2, b"spec"), (3, b"status")]);
        for cut in 0..whole.len() - 1 {
            let (a, b) = (&whole[..cut], &whole[..cut + 1]);
            assert_ne!(
                of_proto("configmaps", a),
                of_proto("configmaps", b),
                "{cut}"
            );
        }
        let torn = |version: &str| [message(version, "web", "m", &[]), vec![0x12, 9]].concat();
        assert_ne!(of_proto("pods", &torn("7")), of_proto("pods", &torn("8")));
        assert_ne!(of_proto("pods", b"\x08\x01"), of_proto("pods", b"\x08\x02"));
    }
}
