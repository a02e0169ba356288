//! Who asks, and what goes up for them. Pure. `User-Agent` plays no part here.

use crate::limits;

pub use crate::certs::subject::Subject;
use http::{HeaderMap, HeaderValue, header};
use ring::digest;
use std::fmt;

/// A fingerprint of an identity. Answers are kept under it, and given to nobody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// Nobody said who they are.
    Anonymous,
    /// SHA-256 of a bearer token.
    Token([u8; 32]),
    /// SHA-256 of the subject of a client certificate that the door verified.
    Subject([u8; 32]),
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Who {
    /// Enough of the digest to tell two apart, far too little to guess a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, digest) = match self {
            Who::Anonymous => return f.write_str("anonymous"),
            Who::Token(d) => ("token", d),
            Who::Subject(d) => ("certificate", d),
        };
        write!(
            f,
            "{kind}:{:02x}{:02x}{:02x}{:02x}",
            digest[0], digest[1], digest[2], digest[3]
        )
    }
}

impl Who {
    /// The identity of a certificate's subject.
    pub fn of(subject: &Subject) -> Who {
        Who::Subject(digest_of(subject))
    }
}

/// Length-prefixed parts, so that no two subjects can be written alike.
fn digest_of(subject: &Subject) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in subject.common_name.iter().chain(&subject.organizations) {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    bytes32(context.finish())
}

/// One entry of `identities`: whose certificate goes up with which pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub common_name: String,
    /// Where given, the subject must have it.
    pub organization: Option<String>,
}

impl Rule {
    fn matches(&self, subject: &Subject) -> bool {
        Some(&self.common_name) == subject.common_name.as_ref()
            && self
                .organization
                .as_ref()
                .is_none_or(|o| subject.organizations.contains(o))
    }
}

/// How a request goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// No client certificate, the caller's own header.
    Bearer,
    /// No credentials that the API server would look at; connections of its own, for the API server tears them down (kubernetes-api.md 6).
    Anonymous,
    /// With the key pair of this entry of `identities`.
    Pair(u16),
}

/// A caller: who, and the way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub who: Who,
    pub way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A good certificate that no entry of `identities` lists.
    NotListed { common_name: Option<String> },
}

/// Says who asks. A client certificate beats a token, as at the API server; but an unlisted one gets nothing at all:
/// nothing falls back to another identity.
pub fn authenticate(
    peer: Option<&Subject>,
    headers: &HeaderMap,
    rules: &[Rule],
) -> Result<Caller, Refused> {
    if let Some(subject) = peer {
        let Some(at) = rules.iter().position(|r| r.matches(subject)) else {
            return Err(Refused::NotListed {
                common_name: subject.common_name.clone(),
            });
        };
        return Ok(Caller {
            who: Who::of(subject),
            way: Way::Pair(at as u16),
        });
    }
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(Caller {
            who: Who::Anonymous,
            way: Way::Anonymous,
        });
    };
    Ok(match bearer(value) {
        Some(token) => Caller {
            who: Who::Token(sha256(token)),
            way: Way::Bearer,
        },
        // What names nobody to the server, it takes for nobody, and so shall its connections; yet two different
        // headers are two identities.
        None => Caller {
            who: Who::Token(sha256(value.as_bytes())),
            way: Way::Anonymous,
        },
    })
}

/// The token of `Authorization: Bearer TOKEN`; the scheme in any case, as Python sends it in lower case. After two blanks
/// the API server sees no token.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    let is_token = token.first().is_some_and(|b| !b.is_ascii_whitespace());
    (scheme.eq_ignore_ascii_case(b"bearer ") && is_token).then(|| token.trim_ascii_end())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    bytes32(digest::digest(&digest::SHA256, bytes))
}

fn bytes32(digest: digest::Digest) -> [u8; 32] {
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Identities that the API server has accepted since the start: offline, an open watch is held for these alone.
/// Bounded: the oldest makes room.
#[derive(Default)]
pub struct Known {
    /// The oldest first.
    accepted: heapless::Vec<Who, { limits::KNOWN_IDENTITIES_MAX }>,
}

impl Known {
    /// The API server has answered it with anything but 401.
    pub fn accept(&mut self, who: Who) {
        if self.contains(&who) {
            return;
        }
        if self.accepted.is_full() {
            self.accepted.remove(0);
        }
        let _ = self.accepted.push(who);
    }

    /// The API server has answered it with 401.
    pub fn refuse(&mut self, who: &Who) {
        self.accepted.retain(|known| known != who);
    }

    pub fn contains(&self, who: &Who) -> bool {
        self.accepted.contains(who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: Option<&str>) -> HeaderMap {
        let mut map = HeaderMap::new();
        if let Some(value) = authorization {
            map.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn subject(common_name: &str, organizations: &[&str]) -> Subject {
        Subject {
            common_name: Some(common_name.into()),
            organizations: organizations.iter().map(|o| o.to_string()).collect(),
        }
    }

    fn rules() -> Vec<Rule> {
        vec![
            Rule {
                common_name: "system:node:a".into(),
                organization: Some("system:nodes".into()),
            },
            Rule {
                common_name: "system:kube-proxy".into(),
                organization: None,
            },
        ]
    }

    #[test]
    fn callers() {
        let node = subject("system:node:a", &["x", "system:nodes"]);
        let proxy = subject("system:kube-proxy", &[]);
        let way = |peer: Option<&Subject>, authorization| {
            authenticate(peer, &headers(authorization), &rules()).map(|c| c.way)
        };
        assert_eq!(way(None, None), Ok(Way::Anonymous));
        assert_eq!(way(None, Some("Bearer abc")), Ok(Way::Bearer));
        for nobody in ["Basic abc", "Bearer  abc", "Bearer ", "Bearer", "bearerabc"] {
            assert_eq!(way(None, Some(nobody)), Ok(Way::Anonymous), "{nobody}");
        }
        assert_eq!(way(Some(&node), None), Ok(Way::Pair(0)));
        assert_eq!(way(Some(&node), Some("Bearer abc")), Ok(Way::Pair(0)));
        assert_eq!(way(Some(&proxy), None), Ok(Way::Pair(1)));
        for stranger in [
            subject("system:node:a", &[]),
            subject("system:node:b", &["system:nodes"]),
            subject("", &["system:masters"]),
        ] {
            assert!(
                way(Some(&stranger), Some("Bearer abc")).is_err(),
                "{stranger:?}"
            );
        }
    }

    #[test]
    fn identities_differ_where_they_must() {
        let who = |authorization| {
            authenticate(None, &headers(Some(authorization)), &[])
                .unwrap()
                .who
        };
        assert_eq!(who("Bearer abc"), who("bearer abc"));
        assert_eq!(who("Bearer abc"), who("BEARER abc "));
        assert_ne!(who("Bearer abc"), who("Bearer abd"));
        assert_ne!(
            digest_of(&subject("a", &["b"])),
            digest_of(&subject("ab", &[]))
        );
        assert_ne!(
            digest_of(&subject("a", &["b", "c"])),
            digest_of(&subject("a", &["bc"]))
        );
        let shown = who("Bearer abc").to_string();
        assert!(shown.len() < 20 && !shown.contains("abc"), "{shown}");
    }

    #[test]
    fn known_is_bounded() {
        let mut known = Known::default();
        for n in 0..limits::KNOWN_IDENTITIES_MAX as u32 + 1 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_le_bytes());
            known.accept(Who::Token(digest));
        }
        assert!(!known.contains(&Who::Token([0; 32])));
        let mut last = [0; 32];
        last[..4].copy_from_slice(&(limits::KNOWN_IDENTITIES_MAX as u32).to_le_bytes());
        assert!(known.contains(&Who::Token(last)));
    }
}
