//! Which tokens the API server has accepted, as whom, until when and for which pod. Pure.
//!
//! Bounded: a flood of others' tokens never pushes out those of this node's pods. Only what the API server has accepted
//! gets in at all.
//!
//! Tokens are found by their SHA-256, without constant time. Who measures how far a comparison went learns something of
//! the digest of a token that he would have to know first, and from a digest nobody comes back to a token.

use super::claims::{self, Claims};
use super::hex::{from_hex, to_hex};
use super::{Who, digest_of_texts};
use crate::limits;

/// SHA-256 of a bearer token.
pub type TokenDigest = [u8; 32];

/// A token that the API server has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub token: TokenDigest,
    /// [`Who::Account`] for a token of a service account, else [`Who::Token`].
    pub who: Who,
    /// Unix seconds, as all that follow: when the hub first heard that it is accepted.
    pub accepted: u64,
    /// Its `iat`, 0 if it has none.
    pub issued: u64,
    /// Its `exp`, if it ends.
    pub expires: Option<u64>,
    pub pod: Option<Pod>,
    /// Counts uses, so that the longest unused goes first.
    used: u64,
}

/// The pod that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Empty: the API server does not tell.
    pub node: String,
}

impl Entry {
    /// What the API server has accepted by accepting this token.
    pub fn new(token: TokenDigest, bearer: &[u8], now: u64) -> Entry {
        let claims = claims::read(bearer).unwrap_or_default();
        let bound = claims.of_account();
        Entry {
            token,
            who: account(&claims).unwrap_or(Who::Token(token)),
            accepted: now,
            issued: claims.issued.unwrap_or(0),
            expires: claims.expires,
            pod: bound.and_then(Pod::of),
            used: 0,
        }
    }

    pub fn is_in_date(&self, now: u64) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// The entry as it is kept, under [`key`]: lines of text, none of which can hold a line feed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let who = match &self.who {
            Who::Account(digest) => to_hex(digest),
            _ => String::new(),
        };
        let expires = self.expires.map_or_else(String::new, |e| e.to_string());
        let mut lines = vec![
            who,
            self.accepted.to_string(),
            self.issued.to_string(),
            expires,
        ];
        if let Some(pod) = &self.pod {
            lines.extend([&pod.namespace, &pod.name, &pod.uid, &pod.node].map(|s| one_line(s)));
        }
        lines.join("\n").into_bytes()
    }

    /// What [`Entry::to_bytes`] has written under this key; `None` for anything else.
    pub fn from_bytes(key: &str, bytes: &[u8]) -> Option<Entry> {
        let token = digest(key)?;
        let mut lines = std::str::from_utf8(bytes).ok()?.split('\n');
        let who = match lines.next()? {
            "" => Who::Token(token),
            account => Who::Account(digest(account)?),
        };
        let accepted = lines.next()?.parse().ok()?;
        let issued = lines.next()?.parse().ok()?;
        let expires = match lines.next()? {
            "" => None,
            expires => Some(expires.parse().ok()?),
        };
        let mut next = || lines.next().map(str::to_owned);
        let pod = match next() {
            None => None,
            Some(namespace) => Some(Pod {
                namespace,
                name: next()?,
                uid: next()?,
                node: next()?,
            }),
        };
        lines.next().is_none().then_some(Entry {
            token,
            who,
            accepted,
            issued,
            expires,
            pod,
            used: 0,
        })
    }
}

/// The name under which a token's entry is kept.
pub fn key(token: &TokenDigest) -> String {
    to_hex(token)
}

fn digest(text: &str) -> Option<[u8; 32]> {
    from_hex(text)?.try_into().ok()
}

/// No name of Kubernetes has a line feed; one that had would be another's line.
fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

/// The account that a token names. It is the same for each token of the account, and not for those of one that was made
/// anew under its name.
pub fn account(claims: &Claims) -> Option<Who> {
    let bound = claims.of_account()?;
    Some(Who::Account(digest_of_texts(&[
        &claims.issuer,
        &claims.subject,
        &bound.account.uid,
    ])))
}

impl Pod {
    /// The pod of a token that is bound to one.
    pub fn of(bound: &claims::Bound) -> Option<Pod> {
        let pod = bound.pod.as_ref()?;
        let node = bound.node.as_ref();
        Some(Pod {
            namespace: bound.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            node: node.map_or_else(String::new, |node| node.name.clone()),
        })
    }
}

/// Who makes room for whom: the lowest first, and none for a lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Bound to no pod, or to one of another node.
    Stranger,
    /// Bound to a pod, the API server does not tell on which node.
    Unknown,
    /// Bound to a pod of this node.
    Own,
}

/// What has changed, for whoever keeps it on flash.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Has come in.
    pub added: bool,
    /// Have gone.
    pub removed: Vec<TokenDigest>,
}

/// The accepted tokens.
pub struct Ledger {
    node: String,
    /// Invariant: sorted by token, at most [`limits::LEDGER_TOKENS_MAX`].
    entries: Vec<Entry>,
    uses: u64,
}

impl Ledger {
    /// An empty one of the node of this name.
    pub fn new(node: &str) -> Ledger {
        Ledger {
            node: node.to_owned(),
            entries: Vec::new(),
            uses: 0,
        }
    }

    fn at(&self, token: &TokenDigest) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| entry.token.cmp(token))
    }

    /// A token that was accepted. Looking is a use.
    pub fn get(&mut self, token: &TokenDigest) -> Option<&Entry> {
        let at = self.at(token).ok()?;
        self.uses += 1;
        let entry = self.entries.get_mut(at)?;
        entry.used = self.uses;
        Some(entry)
    }

    pub fn contains(&self, token: &TokenDigest) -> bool {
        self.at(token).is_ok()
    }

    /// All tokens of this identity.
    pub fn of(&self, who: &Who) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.who == *who)
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The API server has accepted it; or it had, and what was kept of that is read again.
    pub fn accept(&mut self, mut entry: Entry) -> Changed {
        let mut changed = Changed::default();
        if self.contains(&entry.token) {
            return changed;
        }
        while let Some(at) = self.in_the_way(&entry) {
            changed.removed.push(self.entries.remove(at).token);
        }
        if self.entries.len() < limits::LEDGER_TOKENS_MAX
            && let Err(at) = self.at(&entry.token)
        {
            self.uses += 1;
            entry.used = self.uses;
            self.entries.insert(at, entry);
            changed.added = true;
        }
        changed
    }

    /// An entry that has to go so that this one can come; `None` too where it cannot.
    fn in_the_way(&self, new: &Entry) -> Option<usize> {
        let rank = self.rank(new);
        let is_of_pod = |entry: &Entry| new.pod.is_some() && entry.pod == new.pod;
        // The oldest ones of a pod are those that it was given before.
        let of_pod = limits::LEDGER_POD_TOKENS_MAX;
        if let Some(at) = self.over(of_pod, &is_of_pod, &|e| e.issued) {
            return Some(at);
        }
        let of_account = match rank {
            Rank::Stranger => limits::LEDGER_ACCOUNT_STRANGERS_MAX,
            Rank::Unknown | Rank::Own => limits::LEDGER_TOKENS_MAX / 2,
        };
        let is_alike = |entry: &Entry| entry.who == new.who && self.rank(entry) == rank;
        if let Some(at) = self.over(of_account, &is_alike, &|e| e.used) {
            return Some(at);
        }
        let lowest = self.entries.iter().map(|entry| self.rank(entry)).min()?;
        let is_lowest = |entry: &Entry| lowest <= rank && self.rank(entry) == lowest;
        match self.entries.len() >= limits::LEDGER_TOKENS_MAX {
            true => self.over(1, &is_lowest, &|e| e.used),
            false => None,
        }
    }

    /// If there are as many as `max`, the least of them.
    fn over(
        &self,
        max: usize,
        is: &dyn Fn(&Entry) -> bool,
        order: &dyn Fn(&Entry) -> u64,
    ) -> Option<usize> {
        let mut least = None;
        let mut count = 0;
        for (at, entry) in self.entries.iter().enumerate().filter(|(_, e)| is(e)) {
            count += 1;
            if least.is_none_or(|(_, of)| order(entry) < of) {
                least = Some((at, order(entry)));
            }
        }
        least.filter(|_| count >= max).map(|(at, _)| at)
    }

    fn rank(&self, entry: &Entry) -> Rank {
        match &entry.pod {
            None => Rank::Stranger,
            Some(pod) if pod.node.is_empty() => Rank::Unknown,
            Some(pod) if pod.node == self.node => Rank::Own,
            Some(_) => Rank::Stranger,
        }
    }

    /// The API server knows nobody by this token any more. If it had not run out, the same became of what its pod was given
    /// before it: the pod is gone, or its account, or the key that they were signed with. Gives what has gone.
    pub fn refuse(&mut self, token: &TokenDigest, now: u64) -> Vec<Entry> {
        let Ok(at) = self.at(token) else {
            return Vec::new();
        };
        let refused = self.entries.remove(at);
        let mut gone = Vec::new();
        if let Some(pod) = refused.pod.as_ref().filter(|_| refused.is_in_date(now)) {
            let is_before =
                |e: &mut Entry| e.pod.as_ref() == Some(pod) && e.issued <= refused.issued;
            gone.extend(self.entries.extract_if(.., is_before));
        }
        gone.push(refused);
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(n: u32) -> TokenDigest {
        let mut digest = [0; 32];
        digest[28..].copy_from_slice(&n.to_be_bytes());
        digest
    }

    fn pod(n: u32, node: &str) -> Option<Pod> {
        Some(Pod {
            namespace: "shop".into(),
            name: format!("pod-{n}"),
            uid: format!("uid-{n}"),
            node: node.into(),
        })
    }

    /// Of an account; unbound.
    fn entry(n: u32, account: u8) -> Entry {
        Entry {
            token: digest_of(n),
            who: Who::Account([account; 32]),
            accepted: u64::from(n),
            issued: u64::from(n),
            expires: Some(1000),
            pod: None,
            used: 0,
        }
    }

    fn bound(n: u32, account: u8, pod: Option<Pod>) -> Entry {
        Entry {
            pod,
            ..entry(n, account)
        }
    }

    #[test]
    fn an_entry_is_read_back() {
        for one in [
            entry(1, 7),
            bound(2, 7, pod(1, "gw-1")),
            bound(3, 7, pod(1, "")),
            Entry {
                who: Who::Token(digest_of(4)),
                expires: None,
                ..entry(4, 0)
            },
        ] {
            let (key, bytes) = (key(&one.token), one.to_bytes());
            assert_eq!(Entry::from_bytes(&key, &bytes), Some(one));
            for cut in 0..bytes.len() {
                // A cut number is a number, a cut name a name: the store tells whether all of it is there.
                let _ = Entry::from_bytes(&key, &bytes[..cut]);
            }
            assert_eq!(
                Entry::from_bytes(&key, &[&bytes[..], b"\n\n\n\n\n"].concat()),
                None
            );
            assert_eq!(Entry::from_bytes("x", &bytes), None);
        }
        let mut odd = bound(1, 7, pod(1, "gw-1"));
        odd.pod.as_mut().unwrap().name = "a\nb".into();
        let read = Entry::from_bytes(&key(&odd.token), &odd.to_bytes()).unwrap();
        assert_eq!(read.pod.unwrap().name, "a b");
    }

    #[test]
    fn strangers_never_push_out_the_nodes_own() {
        let mut ledger = Ledger::new("gw-1");
        for n in 0..100 {
            assert!(ledger.accept(bound(n, n as u8, pod(n, "gw-1"))).added);
        }
        for n in 0..10_000 {
            // Of many accounts, without a pod, and of pods of other nodes.
            let of = Some(n).filter(|n| n % 2 == 0).and_then(|n| pod(n, "gw-2"));
            ledger.accept(bound(1_000 + n, (n % 251) as u8, of));
        }
        assert_eq!(ledger.entries().len(), limits::LEDGER_TOKENS_MAX);
        assert!((0..100).all(|n| ledger.contains(&digest_of(n))));
        // Nor do they stay when the node's own need the room.
        for n in 0..limits::LEDGER_TOKENS_MAX as u32 {
            let one = bound(50_000 + n, (n % 251) as u8, pod(50_000 + n, "gw-1"));
            assert!(ledger.accept(one).added);
        }
        assert!(!ledger.accept(entry(1, 1)).added);
        let own = ledger.entries().iter().all(|e| ledger.rank(e) == Rank::Own);
        assert!(own && ledger.entries().len() == limits::LEDGER_TOKENS_MAX);
    }

    #[test]
    fn one_account_takes_its_share_and_no_more() {
        let mut ledger = Ledger::new("gw-1");
        ledger.accept(entry(1, 1));
        for n in 0..10_000 {
            ledger.accept(entry(100 + n, 2));
            // In use all the time.
            assert!(ledger.get(&digest_of(100)).is_some());
        }
        let count = ledger.of(&Who::Account([2; 32])).count();
        assert_eq!(count, limits::LEDGER_ACCOUNT_STRANGERS_MAX);
        assert!(ledger.contains(&digest_of(1)));
        assert!(ledger.contains(&digest_of(10_099)) && !ledger.contains(&digest_of(5_000)));
    }

    #[test]
    fn a_pod_has_its_newest_tokens() {
        let mut ledger = Ledger::new("gw-1");
        let max = limits::LEDGER_POD_TOKENS_MAX as u32;
        for n in 0..max {
            assert!(
                ledger
                    .accept(bound(n, 1, pod(1, "gw-1")))
                    .removed
                    .is_empty()
            );
        }
        assert_eq!(
            ledger.accept(bound(0, 1, pod(1, "gw-1"))),
            Changed::default()
        );
        let changed = ledger.accept(bound(max, 1, pod(1, "gw-1")));
        assert_eq!((changed.added, changed.removed), (true, vec![digest_of(0)]));
    }

    #[test]
    fn a_refusal_takes_what_the_pod_was_given_before() {
        let mut ledger = Ledger::new("gw-1");
        for n in 1..=3 {
            ledger.accept(bound(n, 1, pod(1, "gw-1")));
        }
        ledger.accept(bound(9, 1, pod(2, "gw-1")));
        ledger.accept(entry(10, 1));
        let tokens = |entries: Vec<Entry>| entries.into_iter().map(|e| e.token).collect::<Vec<_>>();
        assert_eq!(
            tokens(ledger.refuse(&digest_of(2), 999)),
            [digest_of(1), digest_of(2)]
        );
        assert_eq!(ledger.entries().len(), 3);
        // One that has run out says nothing about the others.
        ledger.accept(bound(2, 1, pod(1, "gw-1")));
        assert_eq!(tokens(ledger.refuse(&digest_of(3), 1000)), [digest_of(3)]);
        assert!(ledger.contains(&digest_of(2)));
        assert!(ledger.refuse(&digest_of(77), 0).is_empty());
    }
}
