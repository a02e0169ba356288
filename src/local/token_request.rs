//! A request for a token of a service account, and its answer: as much of both as must be known to give the answer again.
//! Pure.

use crate::access::claims::{self, Claims};
use crate::object::json::Cursor;
use crate::object::proto::{self, Fields, Value};
use crate::object::{Encoding, Malformed};
use std::fmt::Write;

/// What is asked for. Whatever may change the answer is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    pub audiences: Vec<String>,
    pub expiration_secs: u64,
    pub bound: Object,
}

/// What a token is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    pub kind: String,
    pub api_version: String,
    pub name: String,
    pub uid: String,
}

impl Wish {
    /// Of the body of a request. `None`: it is none, or it wishes what the hub does not know of.
    pub fn read(encoding: Encoding, body: &[u8]) -> Option<Wish> {
        match encoding {
            Encoding::Json => json_wish(body),
            Encoding::Protobuf => proto_wish(body),
        }
        .ok()?
    }

    /// The uid of the pod that the token shall be bound to. Without one nobody knows when it no longer counts.
    pub fn pod(&self) -> Option<&Object> {
        let bound = &self.bound;
        let is_pod = bound.kind == "Pod" && bound.api_version == "v1";
        (is_pod && !bound.name.is_empty() && !bound.uid.is_empty()).then_some(bound)
    }

    /// Two wishes that differ have two texts.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let bound = &self.bound;
        let texts = [&bound.kind, &bound.api_version, &bound.name, &bound.uid];
        for part in texts.into_iter().chain(&self.audiences) {
            let _ = write!(text, "{}:{part} ", part.len());
        }
        let _ = write!(text, "{}", self.expiration_secs);
        text
    }
}

/// The token that an answer grants, and what it says. `None`: none.
pub fn granted(encoding: Encoding, body: &[u8]) -> Option<(String, Claims)> {
    let token = match encoding {
        Encoding::Json => json_token(body).ok()?,
        Encoding::Protobuf => proto_token(body).ok()?,
    };
    let claims = claims::read(token.as_bytes())?;
    Some((token, claims))
}

/// Passes all members of the object at the cursor but the one that `take` takes.
fn member<'a>(
    cursor: &mut Cursor<'a>,
    name: &str,
    take: &mut dyn FnMut(&mut Cursor<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        match key.is(name) {
            true => take(cursor)?,
            false => drop(cursor.skip()?),
        }
    }
    Ok(())
}

fn json_wish(body: &[u8]) -> Result<Option<Wish>, Malformed> {
    let mut cursor = Cursor::new(body);
    let mut wish = None;
    member(&mut cursor, "spec", &mut |cursor| {
        wish = Some(json_spec(cursor)?);
        Ok(())
    })?;
    cursor.end()?;
    Ok(wish)
}

fn json_spec(cursor: &mut Cursor<'_>) -> Result<Wish, Malformed> {
    let mut wish = Wish::default();
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        let is_null = cursor.peek()? == b'n';
        match key.decode()?.as_ref() {
            _ if is_null => drop(cursor.skip()?),
            "audiences" => {
                cursor.open_array()?;
                while cursor.next_item()? {
                    wish.audiences.push(json_text(cursor)?);
                }
            }
            "expirationSeconds" => wish.expiration_secs = cursor.whole_number()?,
            "boundObjectRef" => wish.bound = json_bound(cursor)?,
            // A later API server may know more that a token depends on.
            _ => return Err(Malformed::Shape),
        }
    }
    Ok(wish)
}

fn json_bound(cursor: &mut Cursor<'_>) -> Result<Object, Malformed> {
    let mut object = Object::default();
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        let into = match key.decode()?.as_ref() {
            "kind" => &mut object.kind,
            "apiVersion" => &mut object.api_version,
            "name" => &mut object.name,
            "uid" => &mut object.uid,
            _ => return Err(Malformed::Shape),
        };
        *into = json_text(cursor)?;
    }
    Ok(object)
}

fn json_text(cursor: &mut Cursor<'_>) -> Result<String, Malformed> {
    let text = cursor.text()?.ok_or(Malformed::Shape)?;
    Ok(text.decode()?.into_owned())
}

fn json_token(body: &[u8]) -> Result<String, Malformed> {
    let mut cursor = Cursor::new(body);
    let mut token = String::new();
    member(&mut cursor, "status", &mut |cursor| {
        member(cursor, "token", &mut |cursor| {
            token = json_text(cursor)?;
            Ok(())
        })
    })?;
    cursor.end()?;
    Ok(token)
}

/// The last field of this number, as whoever decodes a message takes it.
fn last(message: &[u8], number: u32) -> Result<Option<&[u8]>, Malformed> {
    let mut found = None;
    let mut fields = Fields(message);
    while let Some((field, value)) = fields.next()? {
        if field == number {
            found = Some(value.bytes()?);
        }
    }
    Ok(found)
}

fn proto_wish(body: &[u8]) -> Result<Option<Wish>, Malformed> {
    let (_, request) = proto::open_envelope(body)?;
    let Some(spec) = last(request, 2)? else {
        return Ok(None);
    };
    let mut wish = Wish::default();
    let mut fields = Fields(spec);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, value) => wish.audiences.push(value.text()?.into_owned()),
            (3, value) => wish.bound = proto_bound(value.bytes()?)?,
            (4, Value::Varint(secs)) => wish.expiration_secs = secs,
            _ => return Err(Malformed::Shape),
        }
    }
    Ok(Some(wish))
}

fn proto_bound(message: &[u8]) -> Result<Object, Malformed> {
    let mut object = Object::default();
    let mut fields = Fields(message);
    while let Some((field, value)) = fields.next()? {
        let into = match field {
            1 => &mut object.kind,
            2 => &mut object.api_version,
            3 => &mut object.name,
            4 => &mut object.uid,
            _ => return Err(Malformed::Shape),
        };
        *into = value.text()?.into_owned();
    }
    Ok(object)
}

fn proto_token(body: &[u8]) -> Result<String, Malformed> {
    let (_, request) = proto::open_envelope(body)?;
    let status = last(request, 3)?.unwrap_or_default();
    let token = last(status, 1)?.unwrap_or_default();
    let token = std::str::from_utf8(token).map_err(|_| Malformed::Text)?;
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::proto::{MAGIC, put_bytes, put_varint};

    const JSON: &str = r#"{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1",
        "metadata":{"creationTimestamp":null},"spec":{"audiences":["a","b"],"expirationSeconds":3607,
        "boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"till","uid":"p-1"}},
        "status":{"token":"","expirationTimestamp":null}}"#;

    fn wish() -> Wish {
        Wish {
            audiences: vec!["a".into(), "b".into()],
            expiration_secs: 3607,
            bound: Object {
                kind: "Pod".into(),
                api_version: "v1".into(),
                name: "till".into(),
                uid: "p-1".into(),
            },
        }
    }

    fn message(parts: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (field, bytes) in parts {
            put_bytes(&mut out, *field, bytes);
        }
        out
    }

    fn enveloped(raw: &[u8]) -> Vec<u8> {
        let of = message(&[(1, b"authentication.k8s.io/v1"), (2, b"TokenRequest")]);
        let whole = message(&[(1, &of), (2, raw), (3, b""), (4, b"")]);
        [&MAGIC[..], &whole].concat()
    }

    fn proto(more: &[u8]) -> Vec<u8> {
        let bound = message(&[(1, b"Pod"), (2, b"v1"), (3, b"till"), (4, b"p-1")]);
        let mut spec = message(&[(1, b"a"), (1, b"b"), (3, &bound)]);
        spec.push(4 << 3);
        put_varint(&mut spec, 3607);
        spec.extend_from_slice(more);
        let status = message(&[(1, b""), (2, b"")]);
        enveloped(&message(&[(1, b""), (2, &spec), (3, &status)]))
    }

    #[test]
    fn both_encodings_say_the_same() {
        assert_eq!(Wish::read(Encoding::Json, JSON.as_bytes()), Some(wish()));
        assert_eq!(Wish::read(Encoding::Protobuf, &proto(b"")), Some(wish()));
        assert_eq!(wish().pod().map(|pod| pod.uid.as_str()), Some("p-1"));
    }

    #[test]
    fn what_is_not_understood_is_not_answered() {
        for (from, to) in [
            ("\"audiences\"", "\"attestations\""),
            ("\"uid\"", "\"more\""),
            ("3607", "\"3607\""),
            ("3607", "-1"),
            ("[\"a\",\"b\"]", "\"a\""),
            ("\"spec\"", "\"other\""),
            ("}}", "}} x"),
        ] {
            let body = JSON.replacen(from, to, 1);
            assert_eq!(Wish::read(Encoding::Json, body.as_bytes()), None, "{to}");
        }
        assert_eq!(
            Wish::read(Encoding::Protobuf, &proto(&message(&[(5, b"x")]))),
            None
        );
        assert_eq!(Wish::read(Encoding::Protobuf, JSON.as_bytes()), None);
        assert_eq!(Wish::read(Encoding::Json, b""), None);
        let whole = proto(b"");
        for end in 0..whole.len() {
            assert_eq!(Wish::read(Encoding::Protobuf, &whole[..end]), None, "{end}");
        }
    }

    #[test]
    fn wishes_that_differ_have_other_texts() {
        let change = |change: fn(&mut Wish)| {
            let mut wish = wish();
            change(&mut wish);
            wish
        };
        let all = [
            wish(),
            change(|w| w.audiences = vec!["a b".into()]),
            change(|w| w.audiences.clear()),
            change(|w| w.expiration_secs = 600),
            change(|w| w.bound.uid = "p-2".into()),
            change(|w| w.bound.name = "till-2".into()),
            change(|w| w.bound.kind = "Secret".into()),
            change(|w| w.bound.api_version = "v2".into()),
        ];
        for (n, one) in all.iter().enumerate() {
            for other in &all[n + 1..] {
                assert_ne!(one.text(), other.text());
            }
        }
        assert!(all[6].pod().is_none() && Wish::default().pod().is_none());
    }

    #[test]
    fn what_is_granted() {
        // {"exp":5}
        let token = "e30.eyJleHAiOjV9.x";
        let json = JSON.replacen("\"token\":\"\"", &format!("\"token\":\"{token}\""), 1);
        let status = message(&[(1, token.as_bytes()), (2, b"")]);
        let proto = enveloped(&message(&[(1, b""), (2, b""), (3, &status)]));
        for (encoding, body) in [
            (Encoding::Json, json.as_bytes()),
            (Encoding::Protobuf, &proto),
        ] {
            assert_eq!(
                granted(encoding, body).and_then(|(_, c)| c.expires),
                Some(5)
            );
        }
        assert_eq!(granted(Encoding::Json, JSON.as_bytes()), None);
        assert_eq!(granted(Encoding::Protobuf, &proto[..9]), None);
    }
}
