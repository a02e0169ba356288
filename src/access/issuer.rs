//! The issuer of service accounts' tokens, as the API server has told it: its name, its keys, and for which audiences the
//! API server takes its tokens. Pure.

use super::claims::{self, Claims};
use super::jwks::{self, Key};
use super::jwt::{self, Trust, Wrong};
use crate::limits;
use crate::object::json::Cursor;

/// What is known of the issuer; at first nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Issuer {
    name: String,
    keys: Vec<Key>,
    document: Vec<u8>,
    /// What was told before `document`. One of several API servers may not know a new key yet, or still an old one; so
    /// what has gone from the document counts until the document is told once more without it.
    keys_before: Vec<Key>,
    document_before: Vec<u8>,
    audiences: Vec<String>,
}

/// The names under which the parts are kept.
const PARTS: [&str; 4] = ["issuer", "jwks", "jwks-before", "audiences"];

impl Issuer {
    /// What `/.well-known/openid-configuration` and `/openid/v1/jwks` say. True: something is new. `None`: they are no such
    /// documents, and nothing has changed.
    pub fn told(&mut self, configuration: &[u8], document: &[u8]) -> Option<bool> {
        let name = name(configuration)?;
        let keys = jwks::read(document)?;
        let is_same = name == self.name && document == self.document;
        let is_over = self.document_before.is_empty();
        self.document_before = match is_same {
            true => Vec::new(),
            false => std::mem::replace(&mut self.document, document.to_vec()),
        };
        if name != self.name {
            // Another issuer's keys prove nothing of this one.
            self.document_before = Vec::new();
        }
        self.name = name;
        self.keys = keys;
        self.keys_before = jwks::read(&self.document_before).unwrap_or_default();
        Some(!is_same || !is_over)
    }

    /// A token that the API server has accepted. Where it is for one audience alone, that is one of the API server's. True:
    /// it is new.
    pub fn accepted(&mut self, claims: &Claims) -> bool {
        let [audience] = &claims.audiences[..] else {
            return false;
        };
        let is_new = !audience.is_empty()
            && !audience.contains('\n')
            && audience.len() <= limits::JWT_AUDIENCE_BYTES_MAX
            && !self.audiences.contains(audience);
        if is_new {
            self.audiences.truncate(limits::JWT_AUDIENCES_KEPT_MAX - 1);
            self.audiences.insert(0, audience.clone());
        }
        is_new
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is a key to verify with.
    pub fn is_known(&self) -> bool {
        !self.name.is_empty() && !self.keys.is_empty()
    }

    /// The claims of a token of a service account that was signed by this issuer and is good now, in unix seconds.
    pub fn verify(&self, token: &[u8], now: u64) -> Result<Claims, Wrong> {
        if !self.is_known() {
            return Err(Wrong::Key);
        }
        let keys: Vec<&Key> = self.keys.iter().chain(&self.keys_before).collect();
        // Unless told otherwise an API server takes tokens for its issuer's name.
        let default = [self.name.clone()];
        let trust = Trust {
            issuer: &self.name,
            audiences: match self.audiences.is_empty() {
                true => &default,
                false => &self.audiences,
            },
            keys: &keys,
        };
        jwt::verify(token, &trust, now)
    }

    /// The parts to be kept, each under its name.
    pub fn parts(&self) -> [(&'static str, Vec<u8>); 4] {
        let values = [
            self.name.clone().into_bytes(),
            self.document.clone(),
            self.document_before.clone(),
            self.audiences.join("\n").into_bytes(),
        ];
        let mut values = values.into_iter();
        PARTS.map(|part| (part, values.next().unwrap_or_default()))
    }

    /// Takes a part that was kept. What is unknown, or can no longer be read, is nothing.
    pub fn restore(&mut self, part: &str, value: &[u8]) {
        let text = String::from_utf8(value.to_vec()).unwrap_or_default();
        match PARTS.iter().position(|name| *name == part) {
            Some(0) => self.name = text,
            Some(1) => {
                self.keys = jwks::read(value).unwrap_or_default();
                self.document = value.to_vec();
            }
            Some(2) => {
                self.keys_before = jwks::read(value).unwrap_or_default();
                self.document_before = value.to_vec();
            }
            Some(3) => {
                let audiences = text.split('\n').filter(|a| !a.is_empty());
                let kept = audiences.take(limits::JWT_AUDIENCES_KEPT_MAX);
                self.audiences = kept.map(str::to_owned).collect();
            }
            _ => {}
        }
    }
}

/// `issuer` of an OpenID Connect configuration.
fn name(configuration: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(configuration);
    let mut name = String::new();
    cursor.open_object().ok()?;
    while let Some(key) = cursor.next_key().ok()? {
        match key.is("issuer") {
            true => claims::text(&mut cursor, &mut name).ok()?,
            false => drop(cursor.skip().ok()?),
        }
    }
    cursor.end().ok()?;
    (!name.is_empty() && name.len() <= limits::JWT_AUDIENCE_BYTES_MAX).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(issuer: &str) -> Vec<u8> {
        format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://x/openid/v1/jwks"}}"#).into_bytes()
    }

    fn document(kid: &str) -> Vec<u8> {
        format!(r#"{{"keys":[{{"kty":"RSA","kid":"{kid}","n":"AQAB","e":"AQAB"}}]}}"#).into_bytes()
    }

    fn ids(issuer: &Issuer) -> String {
        let all = issuer.keys.iter().chain(&issuer.keys_before);
        all.map(|key| key.id.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_key_that_has_gone_counts_until_it_is_told_twice() {
        let mut issuer = Issuer::default();
        assert!(!issuer.is_known());
        for (kid, is_new, want) in [
            ("a", true, "a"),
            ("a", false, "a"),
            ("b", true, "b a"),
            ("b", true, "b"),
            ("b", false, "b"),
        ] {
            assert_eq!(
                issuer.told(&configuration("i"), &document(kid)),
                Some(is_new)
            );
            assert_eq!(ids(&issuer), want);
        }
        // Another issuer begins anew.
        assert_eq!(issuer.told(&configuration("j"), &document("c")), Some(true));
        assert_eq!(ids(&issuer), "c");
    }

    #[test]
    fn what_is_no_document_changes_nothing() {
        let mut issuer = Issuer::default();
        issuer.told(&configuration("i"), &document("a"));
        for (configuration, document) in [
            (configuration("i"), b"<html>".to_vec()),
            (configuration(""), document("b")),
            (b"{}".to_vec(), document("b")),
            (Vec::new(), document("b")),
        ] {
            assert_eq!(issuer.told(&configuration, &document), None);
            assert_eq!((issuer.name.as_str(), ids(&issuer)), ("i", "a".to_owned()));
        }
    }

    #[test]
    fn audiences_are_learned_from_what_leaves_no_doubt() {
        let of = |audiences: &[&str]| Claims {
            audiences: audiences.iter().map(|a| a.to_string()).collect(),
            ..Claims::default()
        };
        let mut issuer = Issuer::default();
        assert!(!issuer.accepted(&of(&["api", "vault"])));
        assert!(!issuer.accepted(&of(&[])));
        assert!(issuer.accepted(&of(&["api"])) && !issuer.accepted(&of(&["api"])));
        for n in 0..limits::JWT_AUDIENCES_KEPT_MAX {
            assert!(issuer.accepted(&of(&[&format!("a{n}")])));
        }
        assert_eq!(issuer.audiences.len(), limits::JWT_AUDIENCES_KEPT_MAX);
    }

    #[test]
    fn it_is_read_back() {
        let mut issuer = Issuer::default();
        issuer.told(&configuration("i"), &document("a"));
        issuer.told(&configuration("i"), &document("b"));
        for audience in ["api", "x"] {
            issuer.accepted(&Claims {
                audiences: vec![audience.into()],
                ..Claims::default()
            });
        }
        let mut again = Issuer::default();
        for (part, value) in issuer.parts() {
            again.restore(part, &value);
        }
        again.restore("more", b"x");
        assert_eq!(again, issuer);
    }
}
