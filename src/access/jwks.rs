//! The public keys that an issuer signs tokens with (RFC 7517), as `/openid/v1/jwks` tells them. Pure.

use super::base64url;
use crate::limits;
use crate::object::Malformed;
use crate::object::json::Cursor;

/// One key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub id: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Modulus and exponent, big-endian.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// A point on P-256, as `04`, x, y.
    P256(Vec<u8>),
    /// A point on P-384, the same.
    P384(Vec<u8>),
}

/// The keys of a document. What the hub has no use for (another curve, a key to encrypt with, one without a name) is left
/// out. `None`: this is no such document, or it is larger than any issuer's.
pub fn read(document: &[u8]) -> Option<Vec<Key>> {
    if document.len() > limits::JWKS_BYTES_MAX {
        return None;
    }
    let keys = keys(document).ok()??;
    Some(keys)
}

fn keys(document: &[u8]) -> Result<Option<Vec<Key>>, Malformed> {
    let mut cursor = Cursor::new(document);
    let mut keys = None;
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        match key.is("keys") {
            true => keys = Some(list(&mut cursor)?),
            false => drop(cursor.skip()?),
        }
    }
    cursor.end()?;
    Ok(keys)
}

fn list(cursor: &mut Cursor<'_>) -> Result<Vec<Key>, Malformed> {
    let mut keys = Vec::new();
    cursor.open_array()?;
    while cursor.next_item()? {
        let key = Fields::read(cursor)?.key();
        if keys.len() < limits::JWKS_KEYS_MAX {
            keys.extend(key);
        }
    }
    Ok(keys)
}

/// The members of a key that the hub reads, at their places; what is not there, or no text, is empty.
#[derive(Default)]
struct Fields([String; NAMES.len()]);

const NAMES: [&str; 8] = ["kty", "kid", "use", "crv", "n", "e", "x", "y"];

impl Fields {
    fn read(cursor: &mut Cursor<'_>) -> Result<Fields, Malformed> {
        let mut fields = Fields::default();
        cursor.open_object()?;
        while let Some(key) = cursor.next_key()? {
            let name = key.decode()?;
            let at = NAMES.iter().position(|n| *n == name);
            match at.zip((cursor.peek()? == b'"').then_some(())) {
                Some((at, ())) => {
                    let text = cursor.text()?.ok_or(Malformed::Shape)?;
                    fields.0[at] = text.decode()?.into_owned();
                }
                None => drop(cursor.skip()?),
            }
        }
        Ok(fields)
    }

    fn key(self) -> Option<Key> {
        let Fields([kty, kid, usage, crv, n, e, x, y]) = self;
        let kind = match (kty.as_str(), crv.as_str()) {
            ("RSA", _) => Kind::Rsa {
                n: number(&n)?,
                e: number(&e)?,
            },
            ("EC", "P-256") => Kind::P256(point(&x, &y, 32)?),
            ("EC", "P-384") => Kind::P384(point(&x, &y, 48)?),
            _ => return None,
        };
        let signs = matches!(usage.as_str(), "" | "sig");
        (signs && !kid.is_empty()).then_some(Key { id: kid, kind })
    }
}

/// Without the zeros before it, which the verification would not take.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = base64url::decode(text.as_bytes())?;
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    let number = bytes.get(zeros..)?.to_vec();
    (!number.is_empty()).then_some(number)
}

fn point(x: &str, y: &str, len: usize) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for coordinate in [x, y] {
        let bytes = base64url::decode(coordinate.as_bytes())?;
        if bytes.len() != len {
            return None;
        }
        point.extend(bytes);
    }
    Some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSA: &str =
        r#"{"use":"sig","kty":"RSA","kid":"r","alg":"RS256","n":"AMXf","e":"AQAB","x5c":["a",1]}"#;

    fn document(keys: &str) -> String {
        format!(r#"{{"more":{{}},"keys":[{keys}]}}"#)
    }

    #[test]
    fn keys_that_sign() {
        let x = "A".repeat(43);
        let long = "A".repeat(64);
        let ec = format!(r#"{{"kty":"EC","crv":"P-256","kid":"a","x":"{x}","y":"{x}"}}"#);
        let large = format!(r#"{{"kty":"EC","crv":"P-384","kid":"b","x":"{long}","y":"{long}"}}"#);
        let keys = read(document(&[RSA, &ec, &large].join(",")).as_bytes()).unwrap();
        let kinds: Vec<_> = keys.iter().map(|k| (k.id.as_str(), &k.kind)).collect();
        let rsa = Kind::Rsa {
            n: vec![0xc5, 0xdf],
            e: vec![1, 0, 1],
        };
        let point = |len: usize| [vec![4], vec![0; 2 * len]].concat();
        assert_eq!(
            kinds,
            [
                ("r", &rsa),
                ("a", &Kind::P256(point(32))),
                ("b", &Kind::P384(point(48)))
            ]
        );
    }

    #[test]
    fn what_is_of_no_use_is_left_out() {
        for (from, to) in [
            ("\"sig\"", "\"enc\""),
            ("\"RSA\"", "\"oct\""),
            ("\"RSA\"", "\"EC\""),
            ("\"kid\":\"r\"", "\"kid\":1"),
            ("\"AMXf\"", "\"AMX\""),
            ("\"AMXf\"", "\"AAAA\""),
            ("\"AMXf\"", "null"),
            ("\"AQAB\"", "\"\""),
        ] {
            let key = RSA.replacen(from, to, 1);
            assert_eq!(read(document(&key).as_bytes()), Some(Vec::new()), "{to}");
        }
        let short = r#"{"kty":"EC","crv":"P-256","kid":"a","x":"AAAA","y":"AAAA"}"#;
        assert_eq!(read(document(short).as_bytes()), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_document() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[1]}"#,
            r#"{"keys":[]} x"#,
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        let many = vec![RSA; limits::JWKS_KEYS_MAX + 1].join(",");
        let keys = read(document(&many).as_bytes()).unwrap();
        assert_eq!(keys.len(), limits::JWKS_KEYS_MAX);
        let large = document(&format!("{RSA}{}", " ".repeat(limits::JWKS_BYTES_MAX)));
        assert_eq!(read(large.as_bytes()), None);
    }
}
