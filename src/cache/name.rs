//! A key as bytes and back: the name by which a collection is found again after a restart.
//!
//! ```text
//! 1  form of the name (1)
//! 1  encoding   0 JSON, 1 protobuf
//! 1  form       0 objects, 1 metadata alone
//! 1  who        0 anonymous, 1 token, 2 certificate, 3 account; all but the first with 32 bytes of digest behind
//! 1  scope      0 objects, 1 one, 2 document
//! texts: the agent, then the scope's fields in their order; each behind its length, 7 bits a byte, the lowest first
//! ```

use super::key::{Document, Key, Objects, One, Scope};
use crate::access::Who;
use crate::limits;
use crate::object::Encoding;
use crate::request::Form;

const FORM_OF_NAME: u8 = 1;

impl Key {
    /// At most [`limits::STORE_NAME_BYTES_MAX`] long if [`Key::has_name`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let encoding = match self.encoding {
            Encoding::Json => 0,
            Encoding::Protobuf => 1,
        };
        let form = match self.form {
            Form::Object => 0,
            Form::Metadata => 1,
        };
        let mut out = vec![FORM_OF_NAME, encoding, form];
        match &self.who {
            Who::Anonymous => out.push(0),
            Who::Token(digest) => put_digest(1, digest, &mut out),
            Who::Subject(digest) => put_digest(2, digest, &mut out),
            Who::Account(digest) => put_digest(3, digest, &mut out),
        }
        let (scope, texts) = texts(&self.scope);
        out.push(scope);
        put_text(&self.agent, &mut out);
        texts.iter().for_each(|text| put_text(text, &mut out));
        out
    }

    /// The only key that is written so; `None` for what no key is.
    pub fn from_bytes(bytes: &[u8]) -> Option<Key> {
        let key = read(&mut Rest(bytes))?;
        // Lengths can be written in more ways than one, and something may follow.
        (key.to_bytes() == bytes).then_some(key)
    }

    /// False for a key that is too long to be a name.
    pub fn has_name(&self) -> bool {
        self.to_bytes().len() <= limits::STORE_NAME_BYTES_MAX
    }
}

fn texts(scope: &Scope) -> (u8, Vec<&str>) {
    match scope {
        Scope::Objects(o) => {
            let texts = [
                &o.group,
                &o.version,
                &o.resource,
                &o.namespace,
                &o.label_selector,
                &o.field_selector,
                &o.others,
            ];
            (0, texts.map(String::as_str).to_vec())
        }
        Scope::One(o) => {
            let texts = [
                &o.group,
                &o.version,
                &o.resource,
                &o.namespace,
                &o.name,
                &o.subresource,
                &o.others,
            ];
            (1, texts.map(String::as_str).to_vec())
        }
        Scope::Document(d) => (2, vec![&d.path_and_query, &d.accept, &d.content_type]),
    }
}

fn put_digest(kind: u8, digest: &[u8; 32], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(digest);
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    let mut len = text.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(text.as_bytes());
}

fn read(rest: &mut Rest<'_>) -> Option<Key> {
    if rest.byte()? != FORM_OF_NAME {
        return None;
    }
    let encoding = match rest.byte()? {
        0 => Encoding::Json,
        1 => Encoding::Protobuf,
        _ => return None,
    };
    let form = match rest.byte()? {
        0 => Form::Object,
        1 => Form::Metadata,
        _ => return None,
    };
    let who = match rest.byte()? {
        0 => Who::Anonymous,
        1 => Who::Token(rest.digest()?),
        2 => Who::Subject(rest.digest()?),
        3 => Who::Account(rest.digest()?),
        _ => return None,
    };
    let scope = rest.byte()?;
    Some(Key {
        agent: rest.text()?,
        who,
        scope: read_scope(scope, rest)?,
        encoding,
        form,
    })
}

fn read_scope(scope: u8, rest: &mut Rest<'_>) -> Option<Scope> {
    Some(match scope {
        0 => Scope::Objects(Objects {
            group: rest.text()?,
            version: rest.text()?,
            resource: rest.text()?,
            namespace: rest.text()?,
            label_selector: rest.text()?,
            field_selector: rest.text()?,
            others: rest.text()?,
        }),
        1 => Scope::One(One {
            group: rest.text()?,
            version: rest.text()?,
            resource: rest.text()?,
            namespace: rest.text()?,
            name: rest.text()?,
            subresource: rest.text()?,
            others: rest.text()?,
        }),
        2 => Scope::Document(Document {
            path_and_query: rest.text()?,
            accept: rest.text()?,
            content_type: rest.text()?,
        }),
        _ => return None,
    })
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn digest(&mut self) -> Option<[u8; 32]> {
        self.take(32)?.try_into().ok()
    }

    fn text(&mut self) -> Option<String> {
        let mut len = 0;
        // Three bytes say 2 MiB, far more than a name may have.
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            len |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return String::from_utf8(self.take(len)?.to_vec()).ok();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every variant, with texts of each length of length.
    fn keys() -> Vec<Key> {
        let text = |len: usize| "é".repeat(len / 2) + &"x".repeat(len % 2);
        let objects = |len| {
            Scope::Objects(Objects {
                group: "apps".into(),
                version: "v1".into(),
                resource: "deployments".into(),
                namespace: "".into(),
                label_selector: text(len),
                field_selector: "metadata.name=a".into(),
                others: "b=c\nd=e".into(),
            })
        };
        let one = Scope::One(One {
            group: "".into(),
            version: "v1".into(),
            resource: "pods".into(),
            namespace: "kube-system".into(),
            name: "a".into(),
            subresource: "status".into(),
            others: "".into(),
        });
        let document = Scope::Document(Document {
            path_and_query: "/openapi/v3?hash=1".into(),
            accept: "application/json, */*".into(),
            content_type: "application/json".into(),
        });
        let lens = [0, 1, 127, 128, 129, 7000];
        let scopes = lens.map(objects).into_iter().chain([one, document]);
        let mut keys = Vec::new();
        for scope in scopes {
            for who in [
                Who::Anonymous,
                Who::Token([7; 32]),
                Who::Subject([255; 32]),
                Who::Account([7; 32]),
            ] {
                for encoding in [Encoding::Json, Encoding::Protobuf] {
                    for form in [Form::Object, Form::Metadata] {
                        keys.push(Key {
                            agent: "kube-proxy".into(),
                            who,
                            scope: scope.clone(),
                            encoding,
                            form,
                        });
                    }
                }
            }
        }
        keys
    }

    #[test]
    fn round_trip() {
        let mut names = std::collections::BTreeSet::new();
        for key in keys() {
            let name = key.to_bytes();
            assert!(key.has_name());
            assert_eq!(Key::from_bytes(&name), Some(key));
            assert!(names.insert(name));
        }
    }

    #[test]
    fn a_key_may_be_too_long() {
        let mut key = keys().pop().unwrap();
        let spare = limits::STORE_NAME_BYTES_MAX - key.to_bytes().len();
        // The length itself takes a byte more.
        key.agent.push_str(&"x".repeat(spare - 1));
        assert!(key.has_name());
        assert_eq!(key.to_bytes().len(), limits::STORE_NAME_BYTES_MAX);
        key.agent.push('x');
        assert!(!key.has_name());
        // Lengths that three bytes do not hold come from nowhere, and are not taken either.
        key.agent = "x".repeat(1 << 21);
        assert_eq!(Key::from_bytes(&key.to_bytes()), None);
    }

    #[test]
    fn anything_else_is_no_key_or_the_key_that_it_is() {
        let check = |bytes: &[u8]| {
            if let Some(key) = Key::from_bytes(bytes) {
                assert_eq!(key.to_bytes(), bytes);
            }
        };
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move |n: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % n as u64) as usize
        };
        for key in keys() {
            let name = key.to_bytes();
            for end in 0..name.len() {
                assert_eq!(Key::from_bytes(&name[..end]), None);
            }
            let longer = [&name[..], b"\0"].concat();
            assert_eq!(Key::from_bytes(&longer), None);
            for _ in 0..200 {
                let mut damaged = name.clone();
                for _ in 0..=random(3) {
                    let at = random(damaged.len().min(300));
                    damaged[at] = random(256) as u8;
                }
                check(&damaged);
            }
        }
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random(120)).map(|_| random(256) as u8).collect();
            check(&bytes);
            check(&[&[FORM_OF_NAME, 0, 0, 0, random(3) as u8][..], &bytes].concat());
        }
        // A length in two bytes where one would do.
        assert_eq!(Key::from_bytes(&[1, 0, 0, 0, 2, 0x80, 0, 0, 0, 0]), None);
        assert!(Key::from_bytes(&[1, 0, 0, 0, 2, 0, 0, 0, 0]).is_some());
    }
}
