//! Writes kept objects as a GET or a LIST answers them, byte for byte as the API server does. Never adds to an object
//! anything but the type that was cut from it.

use super::json::{Cursor, put_string};
use super::proto::{self, ENVELOPE_END, MAGIC, put_bytes, put_head};
use super::{Encoding, Malformed, TypeMeta};

/// Appends the body of a GET: the stored object in full, with its type.
pub fn write_single(enc: Encoding, type_meta: &TypeMeta, stored: &[u8], out: &mut Vec<u8>) {
    match enc {
        Encoding::Json => {
            put_json_object(type_meta, stored, out);
            out.push(b'\n');
        }
        Encoding::Protobuf => put_envelope(type_meta, stored, out),
    }
}

/// Appends what stands before the first item of a list, without `continue`.
///
/// `items_bytes_total` is the sum of [`list_item_framed_len`] over all items; JSON does not need it.
pub fn write_list_head(
    enc: Encoding,
    list_type: &TypeMeta,
    resource_version: &str,
    items_bytes_total: u64,
    out: &mut Vec<u8>,
) {
    match enc {
        Encoding::Json => {
            out.extend_from_slice(&json_prefix(list_type));
            out.extend_from_slice(b"\"metadata\":{\"resourceVersion\":");
            put_string(out, resource_version);
            out.extend_from_slice(b"},\"items\":[");
        }
        Encoding::Protobuf => {
            let mut list_meta = vec![0x0a, 0];
            put_bytes(&mut list_meta, 2, resource_version.as_bytes());
            list_meta.extend_from_slice(&[0x1a, 0]);
            put_envelope_head(list_type, out);
            put_head(
                out,
                2,
                proto::field_len(list_meta.len() as u64) + items_bytes_total,
            );
            put_bytes(out, 1, &list_meta);
        }
    }
}

/// Bytes that one stored item of `stored_len` bytes takes within a list. JSON: with a comma, which the first item lacks.
pub fn list_item_framed_len(enc: Encoding, stored_len: usize) -> u64 {
    match enc {
        Encoding::Json => stored_len as u64 + 1,
        Encoding::Protobuf => proto::field_len(stored_len as u64),
    }
}

/// Appends one item as it is stored.
pub fn write_list_item(enc: Encoding, first: bool, stored: &[u8], out: &mut Vec<u8>) {
    match enc {
        Encoding::Json => {
            if !first {
                out.push(b',');
            }
            out.extend_from_slice(stored);
        }
        Encoding::Protobuf => put_bytes(out, 2, stored),
    }
}

/// Appends what stands behind the last item of a list.
pub fn write_list_tail(enc: Encoding, out: &mut Vec<u8>) {
    out.extend_from_slice(match enc {
        Encoding::Json => b"]}\n",
        Encoding::Protobuf => ENVELOPE_END,
    });
}

/// Appends a stored JSON object with its type, without a newline.
pub(crate) fn put_json_object(type_meta: &TypeMeta, stored: &[u8], out: &mut Vec<u8>) {
    match stored.strip_prefix(b"{") {
        Some(rest) if !has_own_type(stored) => {
            out.extend_from_slice(&json_prefix(type_meta));
            if rest.trim_ascii_start() == b"}" {
                // An empty object: no member follows the comma.
                out.pop();
            }
            out.extend_from_slice(rest);
        }
        _ => out.extend_from_slice(stored),
    }
}

/// `{"kind":"K","apiVersion":"V",`
pub(crate) fn json_prefix(type_meta: &TypeMeta) -> Vec<u8> {
    let mut out = b"{\"kind\":".to_vec();
    put_string(&mut out, &type_meta.kind);
    out.extend_from_slice(b",\"apiVersion\":");
    put_string(&mut out, &type_meta.api_version);
    out.push(b',');
    out
}

/// Whether an object has `kind` or `apiVersion` of its own, so that none was cut; also true of what is no object.
pub(crate) fn has_own_type(object: &[u8]) -> bool {
    // Custom resources begin so, always; the scan is for the rest.
    object.starts_with(b"{\"apiVersion\":")
        || object.starts_with(b"{\"kind\":")
        || find_own_type(object).unwrap_or(true)
}

fn find_own_type(object: &[u8]) -> Result<bool, Malformed> {
    let mut cursor = Cursor::new(object);
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        if key.is("kind") || key.is("apiVersion") {
            return Ok(true);
        }
        cursor.skip()?;
    }
    Ok(false)
}

/// Appends `bare` in its envelope.
pub(crate) fn put_envelope(type_meta: &TypeMeta, bare: &[u8], out: &mut Vec<u8>) {
    put_envelope_head(type_meta, out);
    put_bytes(out, 2, bare);
    out.extend_from_slice(ENVELOPE_END);
}

/// Bytes that [`put_envelope`] appends for a bare message of `bare_len` bytes.
pub(crate) fn envelope_len(type_meta: &TypeMeta, bare_len: usize) -> u64 {
    let ends = MAGIC.len() + ENVELOPE_END.len();
    ends as u64 + proto::field_len(type_len(type_meta)) + proto::field_len(bare_len as u64)
}

fn put_envelope_head(type_meta: &TypeMeta, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    put_head(out, 1, type_len(type_meta));
    put_bytes(out, 1, type_meta.api_version.as_bytes());
    put_bytes(out, 2, type_meta.kind.as_bytes());
}

fn type_len(type_meta: &TypeMeta) -> u64 {
    proto::field_len(type_meta.api_version.len() as u64)
        + proto::field_len(type_meta.kind.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(enc: Encoding, list_type: &TypeMeta, version: &str, items: &[&[u8]]) -> Vec<u8> {
        let total = items
            .iter()
            .map(|item| list_item_framed_len(enc, item.len()))
            .sum();
        let mut out = Vec::new();
        write_list_head(enc, list_type, version, total, &mut out);
        for (i, item) in items.iter().enumerate() {
            write_list_item(enc, i == 0, item, &mut out);
        }
        write_list_tail(enc, &mut out);
        out
    }

    #[test]
    fn json_lists() {
        let maps = TypeMeta::new("v1", "ConfigMapList");
        assert_eq!(
            list(Encoding::Json, &maps, "123", &[b"{\"metadata\":{}}", b"{}"]),
            b"{\"kind\":\"ConfigMapList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"123\"},\"items\":[{\"metadata\":{}},{}]}\n"
        );
        assert_eq!(
            list(Encoding::Json, &maps, "1", &[]),
            b"{\"kind\":\"ConfigMapList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[]}\n"
        );
    }

    /// The frame of a list that a kube-apiserver sent: `0a13`, `12a801`, `0a09`, `129a01`.
    #[test]
    fn protobuf_list_of_a_real_server() {
        let item = [0u8; 0x9a];
        let out = list(
            Encoding::Protobuf,
            &TypeMeta::new("v1", "ConfigMapList"),
            "339",
            &[&item],
        );
        let want = [
            b"k8s\0\x0a\x13\x0a\x02v1\x12\x0dConfigMapList\x12\xa8\x01\x0a\x09\x0a\x00\x12\x03339\x1a\x00\x12\x9a\x01"
                .as_slice(),
            &item,
            b"\x1a\x00\x22\x00",
        ];
        assert_eq!(out, want.concat());
    }

    #[test]
    fn type_is_put_back_once() {
        let pod = TypeMeta::new("v1", "Pod");
        let cases: &[(&str, &str)] = &[
            (
                r#"{"metadata":{}}"#,
                r#"{"kind":"Pod","apiVersion":"v1","metadata":{}}"#,
            ),
            ("{}", r#"{"kind":"Pod","apiVersion":"v1"}"#),
            (
                r#"{"metadata":{},"kind":"X","apiVersion":"y"}"#,
                r#"{"metadata":{},"kind":"X","apiVersion":"y"}"#,
            ),
            (
                r#"{"spec":{"kind":"X"}}"#,
                r#"{"kind":"Pod","apiVersion":"v1","spec":{"kind":"X"}}"#,
            ),
            ("broken", "broken"),
        ];
        for (stored, want) in cases {
            let mut out = Vec::new();
            put_json_object(&pod, stored.as_bytes(), &mut out);
            assert_eq!(std::str::from_utf8(&out).unwrap(), *want);
        }
    }

    #[test]
    fn envelope_len_is_true() {
        for len in [0, 1, 127, 128, 16_383, 16_384] {
            for name in [0, 1, 127, 128, 300] {
                let type_meta = TypeMeta::new("v1", &"K".repeat(name));
                let mut out = Vec::new();
                put_envelope(&type_meta, &vec![0; len], &mut out);
                assert_eq!(out.len() as u64, envelope_len(&type_meta, len));
            }
        }
    }
}
