//! A `v1` Status as the API server writes it. Never decides what an error says.

use super::json::put_string;
use super::proto::{put_bytes, put_varint};
use super::{Encoding, Malformed, TypeMeta, write_single};

/// What an error tells the client.
#[derive(Clone, Copy, Debug)]
pub struct StatusFields<'a> {
    /// The HTTP status code.
    pub code: u16,
    /// A machine's word: `ServiceUnavailable`, `Expired`.
    pub reason: &'a str,
    /// A person's sentence.
    pub message: &'a str,
    /// Which object it is about.
    pub details: Option<StatusDetails<'a>>,
}

/// The object that a Status is about; what is not known is empty.
#[derive(Clone, Copy, Debug)]
pub struct StatusDetails<'a> {
    /// The object's name.
    pub name: &'a str,
    /// Its API group, empty for the core group.
    pub group: &'a str,
    /// The resource (`pods`), as the API server puts it there.
    pub kind: &'a str,
}

/// Appends the body of an error reply: a Status whose `status` is `Failure`.
pub fn write_status(enc: Encoding, status: &StatusFields<'_>, out: &mut Vec<u8>) {
    write_single(enc, &status_type(), &bare_status(enc, status), out);
}

/// The `reason` of a bare Status; empty if it has none.
pub fn reason(enc: Encoding, bare: &[u8]) -> Result<String, Malformed> {
    #[derive(serde::Deserialize)]
    struct Read {
        #[serde(default)]
        reason: String,
    }
    match enc {
        // Rare and small: a parser of the whole document does.
        Encoding::Json => serde_json::from_slice::<Read>(bare)
            .map(|s| s.reason)
            .map_err(|_| Malformed::Syntax),
        Encoding::Protobuf => {
            let (mut fields, mut reason) = (super::proto::Fields(bare), String::new());
            while let Some((field, value)) = fields.next()? {
                if field == STATUS_REASON {
                    reason = value.text()?.into_owned();
                }
            }
            Ok(reason)
        }
    }
}

/// Field number of `Status.reason`.
const STATUS_REASON: u32 = 4;

pub(crate) fn status_type() -> TypeMeta {
    TypeMeta::new("v1", "Status")
}

/// The Status in the form in which objects are stored.
pub(crate) fn bare_status(enc: Encoding, status: &StatusFields<'_>) -> Vec<u8> {
    match enc {
        Encoding::Json => json_status(status),
        Encoding::Protobuf => proto_status(status),
    }
}

fn json_status(status: &StatusFields<'_>) -> Vec<u8> {
    let mut out = b"{\"metadata\":{},\"status\":\"Failure\"".to_vec();
    put_member(&mut out, "message", status.message);
    put_member(&mut out, "reason", status.reason);
    if let Some(details) = &status.details {
        let mut inner = Vec::new();
        put_member(&mut inner, "name", details.name);
        put_member(&mut inner, "group", details.group);
        put_member(&mut inner, "kind", details.kind);
        out.extend_from_slice(b",\"details\":{");
        out.extend_from_slice(inner.get(1..).unwrap_or_default());
        out.push(b'}');
    }
    out.extend_from_slice(format!(",\"code\":{}}}", status.code).as_bytes());
    out
}

/// `,"key":"text"`; nothing for empty text, as Go's `omitempty`.
fn put_member(out: &mut Vec<u8>, key: &str, text: &str) {
    if !text.is_empty() {
        out.push(b',');
        put_string(out, key);
        out.push(b':');
        put_string(out, text);
    }
}

fn proto_status(status: &StatusFields<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &[0x0a, 0, 0x12, 0, 0x1a, 0]);
    put_bytes(&mut out, 2, b"Failure");
    put_bytes(&mut out, 3, status.message.as_bytes());
    put_bytes(&mut out, 4, status.reason.as_bytes());
    if let Some(details) = &status.details {
        let mut inner = Vec::new();
        put_bytes(&mut inner, 1, details.name.as_bytes());
        put_bytes(&mut inner, 2, details.group.as_bytes());
        put_bytes(&mut inner, 3, details.kind.as_bytes());
        // retryAfterSeconds 0 and uid "", which the server writes though they are empty.
        inner.extend_from_slice(&[0x28, 0, 0x32, 0]);
        put_bytes(&mut out, 5, &inner);
    }
    out.push(6 << 3);
    put_varint(&mut out, u64::from(status.code));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::open_single;

    fn check(status: &StatusFields<'_>, want_json: &str, want_proto: &[u8]) {
        let mut out = Vec::new();
        write_status(Encoding::Json, status, &mut out);
        assert_eq!(std::str::from_utf8(&out).unwrap(), want_json);
        serde_json::from_slice::<serde_json::Value>(&out).unwrap();
        out.clear();
        write_status(Encoding::Protobuf, status, &mut out);
        let (type_meta, bare) = open_single(Encoding::Protobuf, &out).unwrap();
        assert_eq!(type_meta, TypeMeta::new("v1", "Status"));
        assert_eq!(bare, want_proto);
    }

    #[test]
    fn statuses() {
        check(
            &StatusFields { code: 503, reason: "ServiceUnavailable", message: "a \"b\" <c>\n", details: None },
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"a \\\"b\\\" \\u003cc\\u003e\\n\",\"reason\":\"ServiceUnavailable\",\"code\":503}\n",
            b"\x0a\x06\x0a\x00\x12\x00\x1a\x00\x12\x07Failure\x1a\x0aa \"b\" <c>\n\x22\x12ServiceUnavailable\x30\xf7\x03",
        );
        let details = Some(StatusDetails {
            name: "x",
            group: "",
            kind: "pods",
        });
        check(
            &StatusFields { code: 404, reason: "NotFound", message: "m", details },
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"m\",\"reason\":\"NotFound\",\"details\":{\"name\":\"x\",\"kind\":\"pods\"},\"code\":404}\n",
            b"\x0a\x06\x0a\x00\x12\x00\x1a\x00\x12\x07Failure\x1a\x01m\x22\x08NotFound\x2a\x0f\x0a\x01x\x12\x00\x1a\x04pods\x28\x00\x32\x00\x30\x94\x03",
        );
    }

    #[test]
    fn empty_details() {
        let details = Some(StatusDetails {
            name: "",
            group: "",
            kind: "",
        });
        let status = StatusFields {
            code: 1,
            reason: "",
            message: "",
            details,
        };
        assert_eq!(
            json_status(&status),
            br#"{"metadata":{},"status":"Failure","details":{},"code":1}"#
        );
    }
}
