//! Who asks, and what goes up for them. Pure. `User-Agent` plays no part here.

mod base64url;
pub mod claims;
pub mod hex;
pub mod issuer;
pub mod jwks;
pub mod jwt;
pub mod ledger;
pub mod verdict;

use crate::limits;
use crate::request::token_protocol;

pub use crate::certs::subject::Subject;
use http::{HeaderMap, HeaderValue, header};
use ledger::TokenDigest;
use ring::digest;
use std::cell::RefCell;
use std::fmt;

/// A fingerprint of an identity. Answers are kept under it, and given to nobody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// Nobody said who they are.
    Anonymous,
    /// SHA-256 of a bearer token: one that names no service account, or that nobody has accepted or verified yet. Of the
    /// latter nothing is ever kept under it.
    Token([u8; 32]),
    /// SHA-256 of the subject of a client certificate that the door verified.
    Subject([u8; 32]),
    /// A service account: a digest of what [`ledger::account`] takes from a token that the API server has accepted, or
    /// that is verified. All tokens of the account are one identity.
    Account([u8; 32]),
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
            Who::Account(d) => ("account", d),
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
        Who::Subject(subject.fingerprint())
    }
}

impl Subject {
    /// As whom the kubelet of a node comes.
    pub fn kubelet(node: &str) -> Subject {
        Subject {
            common_name: Some(format!("system:node:{node}")),
            organizations: vec!["system:nodes".to_owned()],
        }
    }

    /// What a holder of a certificate with this subject is known by: here, and as a way up. The groups in one order, for
    /// they are a set. Without a name the first part is empty: a group is never taken for one.
    pub fn fingerprint(&self) -> [u8; 32] {
        let name = self.common_name.as_deref().unwrap_or_default();
        let mut groups: Vec<&[u8]> = self.organizations.iter().map(|o| o.as_bytes()).collect();
        groups.sort_unstable();
        groups.insert(0, name.as_bytes());
        digest_of_parts(&groups)
    }
}

/// Length-prefixed parts, so that no two lists of them can be written alike.
pub fn digest_of_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    bytes32(context.finish())
}

/// What the connection itself proves of who is at its other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: TLS without a client certificate.
    Nothing,
    /// The holder of a certificate that was verified.
    Certificate(Subject),
    /// A program of this node that may speak for it.
    Local,
    /// A program, or somebody beyond this node, that may not.
    Stranger,
}

/// For whom the hub has a pair: fingerprints of the pairs' own subjects. So whoever comes goes up as who they are, and as
/// nobody else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Who may come with a client certificate.
    pub pairs: Vec<[u8; 32]>,
    /// As whom [`Proof::Local`] goes up.
    pub node: Option<[u8; 32]>,
}

/// How a request goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// No client certificate, the caller's own header.
    Bearer,
    /// No credentials that the API server would look at; connections of its own, for the API server tears them down (kubernetes-api.md 6).
    Anonymous,
    /// With the key pair for this subject: never a place in a list, which a new configuration could give to somebody else
    /// while the request waits.
    Pair([u8; 32]),
}

/// A caller: who, and the way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// For [`Way::Bearer`] the token itself, until it is known whose it is.
    pub who: Who,
    pub way: Way,
    /// Of [`Way::Bearer`].
    pub token: Option<TokenDigest>,
}

impl Caller {
    /// Nothing says who it is that the API server would look at.
    pub fn is_nobody(&self) -> bool {
        self.token.is_none() && !matches!(self.who, Who::Subject(_))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A good certificate of somebody for whom the hub has no pair.
    NotListed { subject: String },
    /// [`Proof::Stranger`].
    NotLocal,
    /// [`Proof::Local`], and the node has no pair.
    NoNodePair,
}

/// Says who asks. A client certificate beats a token, as at the API server; but an unlisted one gets nothing at all:
/// nothing falls back to another identity. A local program that shows a token, or what should be one, is who that names:
/// only one that shows nothing speaks for the node.
pub fn authenticate(
    proof: &Proof,
    headers: &HeaderMap,
    rules: &Rules,
    shown: &Shown,
) -> Result<Caller, Refused> {
    match proof {
        Proof::Certificate(subject) if rules.pairs.contains(&subject.fingerprint()) => {
            Ok(with_pair(subject.fingerprint()))
        }
        Proof::Certificate(subject) => Err(Refused::NotListed {
            subject: subject.to_string(),
        }),
        Proof::Stranger => Err(Refused::NotLocal),
        Proof::Local if !shows_something(headers) => {
            rules.node.map(with_pair).ok_or(Refused::NoNodePair)
        }
        Proof::Local | Proof::Nothing => Ok(by_header(headers, shown)),
    }
}

fn with_pair(subject: [u8; 32]) -> Caller {
    Caller {
        who: Who::Subject(subject),
        way: Way::Pair(subject),
        token: None,
    }
}

/// Whether there is anything by which an API server could know a caller, good or not.
fn shows_something(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || token_protocol(headers).is_some()
}

/// Whom the last `Authorization` of a connection names. A token has 1 KB, and to digest it takes as long as half of all
/// that is done for a request.
#[derive(Default)]
pub struct Shown(RefCell<Option<(HeaderValue, Caller)>>);

impl Shown {
    /// That header, if it is this one: all that is held of a connection's token is one copy of it.
    pub fn again(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let last = self.0.borrow();
        let last = last.as_ref().filter(|(last, _)| last == value);
        last.map(|(last, _)| last.clone())
    }
}

fn by_header(headers: &HeaderMap, shown: &Shown) -> Caller {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        // A browser's token is nobody the hub would keep something for. It is not the others without a token either, who
        // would lose what is kept for them when the API server refuses it.
        let token = token_protocol(headers).map(|token| Who::Token(sha256(token)));
        return Caller {
            who: token.unwrap_or(Who::Anonymous),
            way: Way::Anonymous,
            token: None,
        };
    };
    let mut last = shown.0.borrow_mut();
    if let Some((_, caller)) = last.as_ref().filter(|(last, _)| last == value) {
        return *caller;
    }
    let caller = by_value(value);
    if value.len() <= limits::SHOWN_BYTES_MAX {
        *last = copy(value).map(|value| (value, caller));
    }
    caller
}

/// Not a piece of the buffer that a head was read into, which it would keep.
pub fn copy(value: &HeaderValue) -> Option<HeaderValue> {
    let mut copy = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    copy.set_sensitive(value.is_sensitive());
    Some(copy)
}

fn by_value(value: &HeaderValue) -> Caller {
    match bearer(value) {
        Some(token) => {
            let digest = sha256(token);
            Caller {
                who: Who::Token(digest),
                way: Way::Bearer,
                token: Some(digest),
            }
        }
        // What names nobody to the server, it takes for nobody, and so shall its connections; yet two different
        // headers are two identities.
        None => Caller {
            who: Who::Token(sha256(value.as_bytes())),
            way: Way::Anonymous,
            token: None,
        },
    }
}

/// The token of `Authorization: Bearer TOKEN`, as the API server takes it: the scheme in any case, as Python sends it in
/// lower case; the token up to the next blank, so that one that is followed by others' words is no other token. After two
/// blanks it sees none.
pub fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let mut words = value.as_bytes().trim_ascii().split(|b| *b == b' ');
    let scheme = words.next()?;
    let token = words.next().filter(|token| !token.is_empty())?;
    scheme.eq_ignore_ascii_case(b"bearer").then_some(token)
}

/// What is remembered of a token in its place.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    bytes32(digest::digest(&digest::SHA256, bytes))
}

fn bytes32(digest: digest::Digest) -> [u8; 32] {
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Who without a token was accepted by the API server: offline, an open watch is held for these alone. Tokens stand in
/// the [`ledger`]. Bounded: the oldest makes room.
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

    fn rules() -> Rules {
        let node = subject("system:node:a", &["system:nodes", "x"]);
        let pairs = [&node, &subject("system:kube-proxy", &[])];
        Rules {
            pairs: pairs.map(Subject::fingerprint).to_vec(),
            node: Some(node.fingerprint()),
        }
    }

    fn way(proof: &Proof, authorization: Option<&str>) -> Result<Way, Refused> {
        authenticate(proof, &headers(authorization), &rules(), &Shown::default()).map(|c| c.way)
    }

    #[test]
    fn who_showed_one_token_is_not_taken_for_another() {
        let shown = Shown::default();
        let who = |authorization: Option<&str>, shown: &Shown| {
            let caller = authenticate(&Proof::Nothing, &headers(authorization), &rules(), shown);
            caller.unwrap()
        };
        for authorization in [
            Some("Bearer a"),
            Some("Bearer a"),
            Some("Bearer b"),
            Some("Basic a"),
            None,
            Some("Bearer a"),
        ] {
            let alone = who(authorization, &Shown::default());
            assert_eq!(who(authorization, &shown), alone, "{authorization:?}");
        }
    }

    #[test]
    fn callers() {
        assert_eq!(way(&Proof::Nothing, None), Ok(Way::Anonymous));
        assert_eq!(way(&Proof::Nothing, Some("Bearer abc")), Ok(Way::Bearer));
        for nobody in ["Basic abc", "Bearer  abc", "Bearer ", "Bearer", "bearerabc"] {
            let way = way(&Proof::Nothing, Some(nobody));
            assert_eq!(way, Ok(Way::Anonymous), "{nobody}");
        }
        // The groups are a set.
        for listed in [
            subject("system:node:a", &["x", "system:nodes"]),
            subject("system:node:a", &["system:nodes", "x"]),
            subject("system:kube-proxy", &[]),
        ] {
            let up = Ok(Way::Pair(listed.fingerprint()));
            let proof = Proof::Certificate(listed);
            assert_eq!(way(&proof, None), up);
            assert_eq!(way(&proof, Some("Bearer abc")), up);
        }
        for stranger in [
            subject("system:node:a", &[]),
            subject("system:node:a", &["system:nodes"]),
            subject("system:node:b", &["system:nodes", "x"]),
            subject("system:kube-proxy", &["system:masters"]),
            subject("", &["system:masters"]),
            Subject {
                common_name: None,
                organizations: vec!["system:kube-proxy".into()],
            },
        ] {
            let proof = Proof::Certificate(stranger);
            assert!(way(&proof, Some("Bearer abc")).is_err(), "{proof:?}");
        }
    }

    #[test]
    fn local_programs() {
        let node = Way::Pair(rules().node.unwrap());
        assert_eq!(way(&Proof::Local, None), Ok(node));
        assert_eq!(way(&Proof::Local, Some("Bearer abc")), Ok(Way::Bearer));
        // Who wants to be somebody and fails is nobody, and never the node.
        for nobody in ["Basic abc", "Bearer  abc", "Bearer ", "Bearer", ""] {
            let way = way(&Proof::Local, Some(nobody));
            assert_eq!(way, Ok(Way::Anonymous), "{nobody}");
        }
        let mut browser = headers(None);
        let protocols = "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj";
        browser.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(protocols),
        );
        let way_of = |map: &HeaderMap| {
            authenticate(&Proof::Local, map, &rules(), &Shown::default())
                .unwrap()
                .way
        };
        assert_eq!(way_of(&browser), Way::Anonymous);
        let who = authenticate(&Proof::Nothing, &browser, &rules(), &Shown::default())
            .unwrap()
            .who;
        assert_ne!(who, Who::Anonymous);
        browser.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("v4.channel.k8s.io"),
        );
        assert_eq!(way_of(&browser), node);
        let without = Rules {
            node: None,
            ..rules()
        };
        let refused = |authorization| {
            authenticate(
                &Proof::Local,
                &headers(authorization),
                &without,
                &Shown::default(),
            )
            .map(|c| c.way)
        };
        assert_eq!(refused(None), Err(Refused::NoNodePair));
        assert_eq!(refused(Some("Bearer abc")), Ok(Way::Bearer));
        for authorization in [None, Some("Bearer abc")] {
            assert_eq!(way(&Proof::Stranger, authorization), Err(Refused::NotLocal));
        }
    }

    #[test]
    fn identities_differ_where_they_must() {
        let who = |authorization| {
            authenticate(
                &Proof::Nothing,
                &headers(Some(authorization)),
                &Rules::default(),
                &Shown::default(),
            )
            .unwrap()
            .who
        };
        assert_eq!(who("Bearer abc"), who("bearer abc"));
        assert_eq!(who("Bearer abc"), who("BEARER abc "));
        assert_eq!(who("Bearer abc"), who(" Bearer abc more words"));
        assert_ne!(who("Bearer abc"), who("Bearer abc\tmore"));
        assert_ne!(who("Bearer abc"), who("Bearer abd"));
        assert_ne!(Who::of(&subject("a", &["b"])), Who::of(&subject("ab", &[])));
        assert_ne!(
            Who::of(&subject("a", &["b", "c"])),
            Who::of(&subject("a", &["bc"]))
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
