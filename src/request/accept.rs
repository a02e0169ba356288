//! The `Accept` header: which encodings and forms a client takes, best first (kubernetes-api.md 1.1, 1.2).

use crate::limits;
use crate::object::Encoding;

/// How the objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// The objects themselves.
    Object,
    /// `as=PartialObjectMetadata[List]`, version v1: metadata alone.
    Metadata,
}

/// One clause that the hub can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub encoding: Encoding,
    pub form: Form,
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The clauses of `Accept` that the hub could answer from what it keeps, best first. Tables, YAML, CBOR and versions
/// of metadata other than v1 are left out: they are never kept. No header means JSON.
pub fn wanted(accept: Option<&str>) -> heapless::Vec<Wanted, { limits::ACCEPT_CLAUSES_MAX }> {
    let mut clauses: heapless::Vec<(u16, Wanted), { limits::ACCEPT_CLAUSES_MAX }> =
        heapless::Vec::new();
    let add = |q, encoding, form, list: &mut heapless::Vec<_, { limits::ACCEPT_CLAUSES_MAX }>| {
        let _ = list.push((q, Wanted { encoding, form }));
    };
    for clause in accept.unwrap_or("application/json").split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let (mut q, mut form, mut version) = (1000u16, Some(Form::Object), "v1");
        for part in parts {
            match part.split_once('=').unwrap_or((part, "")) {
                ("q", value) => {
                    q = value
                        .parse::<f32>()
                        .map_or(0, |f| (f.clamp(0.0, 1.0) * 1000.0) as u16)
                }
                ("as", "PartialObjectMetadata" | "PartialObjectMetadataList") => {
                    form = Some(Form::Metadata)
                }
                ("as", _) => form = None,
                ("v", value) => version = value,
                _ => {}
            }
        }
        let Some(form) = form.filter(|f| *f == Form::Object || version == "v1") else {
            continue;
        };
        if q == 0 {
            continue;
        }
        match media {
            "application/json" => add(q, Encoding::Json, form, &mut clauses),
            PROTOBUF => add(q, Encoding::Protobuf, form, &mut clauses),
            "*/*" | "application/*" => {
                add(q, Encoding::Json, form, &mut clauses);
                add(q, Encoding::Protobuf, form, &mut clauses);
            }
            _ => {}
        }
    }
    // Stable: clauses of one weight stay in the client's order.
    clauses.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
    clauses.into_iter().map(|(_, w)| w).collect()
}

/// The encoding that a `Content-Type` of a response names; `None` for what the hub cannot read.
pub fn encoding_of(content_type: &str) -> Option<Encoding> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/json" => Some(Encoding::Json),
        PROTOBUF => Some(Encoding::Protobuf),
        _ => None,
    }
}

/// The `Content-Type` of an object or a list.
pub fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/json",
        Encoding::Protobuf => PROTOBUF,
    }
}

/// The `Content-Type` of a watch: protobuf says so, JSON does not.
pub fn watch_content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/json",
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: Option<&str>, want: &str) {
        let got: Vec<String> = wanted(accept)
            .iter()
            .map(|w| format!("{:?}/{:?}", w.encoding, w.form))
            .collect();
        assert_eq!(got.join(" "), want, "{accept:?}");
    }

    #[test]
    fn clauses() {
        check(None, "Json/Object");
        check(
            Some("application/json, */*"),
            "Json/Object Json/Object Protobuf/Object",
        );
        check(
            Some("application/vnd.kubernetes.protobuf,application/json"),
            "Protobuf/Object Json/Object",
        );
        check(
            Some(
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            ),
            "Json/Object",
        );
        check(
            Some(
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            ),
            "Protobuf/Metadata Json/Metadata Json/Object",
        );
        check(
            Some("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1beta1"),
            "",
        );
        check(
            Some("application/json;q=0.9,application/cbor;q=1"),
            "Json/Object",
        );
        check(
            Some("application/json;q=0.1,application/vnd.kubernetes.protobuf;stream=watch;q=0.5"),
            "Protobuf/Object Json/Object",
        );
        check(Some("application/yaml"), "");
        check(Some("application/json;q=0"), "");
        check(
            Some(&"application/json,".repeat(500)),
            &["Json/Object"; limits::ACCEPT_CLAUSES_MAX].join(" "),
        );
    }
}
