//! Which tokens the API server has accepted, as whom, until when and for which pod; and which good ones it no longer takes.
//! Pure.
//!
//! Bounded: a flood of others' tokens never pushes out those of this node's pods. Only what the API server has accepted, or
//! has signed and refuses, gets in at all.
//!
//! Tokens are found by their SHA-256, without constant time. Who measures how far a comparison went learns something of
//! the digest of a token that he would have to know first, and from a digest nobody comes back to a token.

use super::claims::{self, Claims};
use super::hex::{from_hex, to_hex};
use super::{Who, digest_of_parts};
use crate::limits;

/// SHA-256 of a bearer token.
pub type TokenDigest = [u8; 32];

/// A token that the API server has accepted, or refuses though it has signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub token: TokenDigest,
    /// The last that the API server has said of it. What is refused stays here as long as it is in date, or its signature
    /// would speak for it when nobody can be asked.
    pub refused: bool,
    /// [`Who::Account`] for a token of a service account, else [`Who::Token`].
    pub who: Who,
    /// Unix seconds, as all that follow: when the hub first heard of it.
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
            refused: false,
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

    fn is_of(&self, who: &Who, pod: &Pod) -> bool {
        self.who == *who && self.pod.as_ref() == Some(pod)
    }

    pub fn is_of_account(&self) -> bool {
        matches!(self.who, Who::Account(_))
    }

    /// Lines of text, none of which can hold a line feed.
    fn write(&self, out: &mut String) {
        let who = match &self.who {
            Who::Account(digest) => to_hex(digest),
            _ => String::new(),
        };
        let word = if self.refused { "refused" } else { "accepted" };
        let expires = self.expires.map_or_else(String::new, |e| e.to_string());
        let numbers = [self.accepted.to_string(), self.issued.to_string(), expires];
        let pod = self.pod.as_ref();
        let pod = pod.map(|p| [&p.namespace, &p.name, &p.uid, &p.node].map(|s| one_line(s)));
        let lines = [word.to_owned(), to_hex(&self.token), who];
        let lines = lines
            .into_iter()
            .chain(numbers)
            .chain(pod.into_iter().flatten());
        for (at, line) in lines.enumerate() {
            if at > 0 {
                out.push('\n');
            }
            out.push_str(&line);
        }
    }

    /// What [`Entry::write`] has written; `None` for anything else.
    fn read(text: &str) -> Option<Entry> {
        let mut lines = text.split('\n');
        let refused = match lines.next()? {
            "accepted" => false,
            "refused" => true,
            _ => return None,
        };
        let token = digest(lines.next()?)?;
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
            refused,
            who,
            accepted,
            issued,
            expires,
            pod,
            used: 0,
        })
    }

    /// The name of the item that it is kept in. The tokens of a pod are one item: a new one is a change of what is there,
    /// and not a thing that comes, so it may be written late and together with others.
    fn item(&self) -> String {
        match (&self.who, &self.pod) {
            (Who::Account(account), Some(pod)) => {
                let pod = [&pod.namespace, &pod.name, &pod.uid].map(|s| s.as_bytes());
                to_hex(&digest_of_parts(&[&[&account[..]], &pod[..]].concat()))
            }
            _ => to_hex(&self.token),
        }
    }
}

/// Between two entries of one item. It stands in none, for no name of Kubernetes has it.
const BETWEEN: char = '\u{1e}';

fn digest(text: &str) -> Option<[u8; 32]> {
    from_hex(text)?.try_into().ok()
}

/// No name of Kubernetes has a control character; one that had would be another's line.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// The entries of an item that was kept. What cannot be read is left out.
pub fn read_item(value: &[u8]) -> Vec<Entry> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.split(BETWEEN).filter_map(Entry::read).collect()
}

/// The account that a token names. It is the same for each token of the account, and not for those of one that was made
/// anew under its name.
pub fn account(claims: &Claims) -> Option<Who> {
    let bound = claims.of_account()?;
    let parts = [&claims.issuer, &claims.subject, &bound.account.uid];
    Some(Who::Account(digest_of_parts(&parts.map(|p| p.as_bytes()))))
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

/// What is kept together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Item {
    pub name: String,
    pub value: Vec<u8>,
    /// A refusal is in it.
    pub refused: bool,
}

impl Item {
    fn of<'e>(name: &str, entries: impl Iterator<Item = &'e Entry>) -> Option<Item> {
        let (mut text, mut refused) = (String::new(), false);
        for entry in entries {
            if !text.is_empty() {
                text.push(BETWEEN);
            }
            entry.write(&mut text);
            refused |= entry.refused;
        }
        (!text.is_empty()).then(|| Item {
            name: name.to_owned(),
            value: text.into_bytes(),
            refused,
        })
    }
}

/// What has changed, for whoever keeps it on flash.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Names of the items that are others than they were, or gone.
    pub items: Vec<String>,
    /// No cut may undo it.
    pub urgent: bool,
}

impl Changed {
    fn note(&mut self, entry: &Entry) {
        self.note_item(entry.item());
    }

    fn note_item(&mut self, item: String) {
        if !self.items.contains(&item) {
            self.items.push(item);
        }
    }
}

/// The tokens.
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

    /// What is known of a token. Looking is a use.
    pub fn get(&mut self, token: &TokenDigest) -> Option<&Entry> {
        let at = self.at(token).ok()?;
        self.uses += 1;
        let entry = self.entries.get_mut(at)?;
        entry.used = self.uses;
        Some(entry)
    }

    /// Whether the API server has accepted it.
    pub fn has_accepted(&self, token: &TokenDigest) -> bool {
        let entry = self.at(token).ok().and_then(|at| self.entries.get(at));
        entry.is_some_and(|entry| !entry.refused)
    }

    /// The accepted tokens of this identity that are in date.
    pub fn of<'l>(&'l self, who: &Who, now: u64) -> impl Iterator<Item = &'l Entry> {
        let who = *who;
        let is = move |e: &&Entry| e.who == who && !e.refused && e.is_in_date(now);
        self.entries.iter().filter(is)
    }

    /// Whether the API server refuses what the pod of this account had when this was issued, or later.
    pub fn is_refused(&self, who: &Who, pod: &Pod, issued: u64) -> bool {
        let is = |e: &Entry| e.refused && e.issued >= issued && e.is_of(who, pod);
        self.entries.iter().any(is)
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An item as it is to be kept. `None`: there is no such item any more.
    pub fn item(&self, name: &str) -> Option<Item> {
        let entries = self.entries.iter().filter(|entry| entry.item() == name);
        Item::of(name, entries)
    }

    /// All of them.
    pub fn items(&self) -> Vec<Item> {
        let named = self.entries.iter().map(|entry| (entry.item(), entry));
        let mut named: Vec<(String, &Entry)> = named.collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let of_one = named.chunk_by(|a, b| a.0 == b.0);
        let item = |of: &[(String, &Entry)]| Item::of(&of[0].0, of.iter().map(|(_, e)| *e));
        of_one.filter_map(item).collect()
    }

    /// What the API server has said, or what was kept of that.
    pub fn put(&mut self, mut entry: Entry) -> Changed {
        let mut changed = Changed::default();
        if let Ok(at) = self.at(&entry.token) {
            if self.entries[at].refused != entry.refused {
                self.entries[at].refused = entry.refused;
                changed.note(&entry);
            }
            return changed;
        }
        while let Some(at) = self.in_the_way(&entry) {
            changed.note(&self.entries.remove(at));
        }
        if self.entries.len() < limits::LEDGER_TOKENS_MAX
            && let Err(at) = self.at(&entry.token)
        {
            self.uses += 1;
            entry.used = self.uses;
            changed.note(&entry);
            self.entries.insert(at, entry);
        }
        changed
    }

    /// An entry that has to go so that this one can come; `None` too where it cannot.
    fn in_the_way(&self, new: &Entry) -> Option<usize> {
        let rank = self.rank(new);
        let is_of_pod = |entry: &Entry| new.pod.as_ref().is_some_and(|p| entry.is_of(&new.who, p));
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

    /// The API server knows nobody by this token any more, of which this was known. If it has not run out, the same became
    /// of what its pod was given before: the pod is gone, or its account, or the key that they were signed with.
    pub fn refuse(&mut self, entry: Entry, now: u64) -> Changed {
        let is_in_date = entry.is_in_date(now);
        let mut changed = Changed::default();
        if let Some(pod) = entry.pod.as_ref().filter(|_| is_in_date) {
            let is_before = |e: &mut Entry| {
                e.token != entry.token && e.issued <= entry.issued && e.is_of(&entry.who, pod)
            };
            let gone = self.entries.extract_if(.., is_before);
            gone.for_each(|gone| changed.note(&gone));
        }
        if is_in_date && entry.pod.is_some() {
            let refused = true;
            let put = self.put(Entry { refused, ..entry });
            put.items
                .into_iter()
                .for_each(|item| changed.note_item(item));
        } else if let Ok(at) = self.at(&entry.token) {
            // No signature speaks for one that is bound to no pod.
            changed.note(&self.entries.remove(at));
        }
        changed.urgent = true;
        changed
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
            refused: false,
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
    fn what_is_kept_is_read_back() {
        let mut ledger = Ledger::new("gw-1");
        let all = [
            entry(1, 7),
            bound(2, 7, pod(1, "gw-1")),
            bound(3, 7, pod(1, "gw-1")),
            bound(4, 7, pod(1, "")),
            bound(5, 7, pod(2, "gw-1")),
            bound(6, 8, pod(1, "gw-1")),
            Entry {
                who: Who::Token(digest_of(7)),
                expires: None,
                ..entry(7, 0)
            },
        ];
        for one in &all {
            ledger.put(one.clone());
        }
        ledger.refuse(all[4].clone(), 0);
        let items = ledger.items();
        // Of one pod the tokens are together, whatever is told of its node.
        assert_eq!(items.len(), 5);
        let mut again = Ledger::new("gw-1");
        for item in &items {
            assert_eq!(ledger.item(&item.name).as_ref(), Some(item));
            let value = &item.value;
            let entries = read_item(value);
            assert_eq!(item.refused, entries.iter().any(|e| e.refused));
            for entry in entries {
                again.put(entry);
            }
            for end in 0..value.len() {
                // A cut number is a number, a cut name a name: the store tells whether all of it is there.
                let _ = read_item(&value[..end]);
            }
        }
        let same = |ledger: &Ledger| {
            let entries = ledger.entries().iter().cloned();
            entries.map(|e| Entry { used: 0, ..e }).collect::<Vec<_>>()
        };
        assert_eq!(same(&again), same(&ledger));
        assert_eq!(ledger.item("x"), None);
        assert_eq!(
            (read_item(b""), read_item(b"\xff"), read_item(b"accepted")),
            Default::default()
        );
        let mut odd = bound(1, 7, pod(1, "gw-1"));
        odd.pod.as_mut().unwrap().name = "a\nb\u{1e}c".into();
        let mut text = String::new();
        odd.write(&mut text);
        assert_eq!(
            read_item(text.as_bytes())[0].pod.as_ref().unwrap().name,
            "a b c"
        );
    }

    #[test]
    fn strangers_never_push_out_the_nodes_own() {
        let mut ledger = Ledger::new("gw-1");
        for n in 0..100 {
            assert_ne!(
                ledger.put(bound(n, n as u8, pod(n, "gw-1"))),
                Changed::default()
            );
        }
        for n in 0..10_000 {
            // Of many accounts, without a pod, and of pods of other nodes.
            let of = Some(n).filter(|n| n % 2 == 0).and_then(|n| pod(n, "gw-2"));
            ledger.put(bound(1_000 + n, (n % 251) as u8, of));
        }
        assert_eq!(ledger.entries().len(), limits::LEDGER_TOKENS_MAX);
        assert!((0..100).all(|n| ledger.has_accepted(&digest_of(n))));
        // Nor do they stay when the node's own need the room.
        for n in 0..limits::LEDGER_TOKENS_MAX as u32 {
            let one = bound(50_000 + n, (n % 251) as u8, pod(50_000 + n, "gw-1"));
            let token = one.token;
            ledger.put(one);
            assert!(ledger.has_accepted(&token));
        }
        assert_eq!(ledger.put(entry(1, 1)), Changed::default());
        let own = ledger.entries().iter().all(|e| ledger.rank(e) == Rank::Own);
        assert!(own && ledger.entries().len() == limits::LEDGER_TOKENS_MAX);
    }

    #[test]
    fn one_account_takes_its_share_and_no_more() {
        let mut ledger = Ledger::new("gw-1");
        ledger.put(entry(1, 1));
        for n in 0..10_000 {
            ledger.put(entry(100 + n, 2));
            // In use all the time.
            assert!(ledger.get(&digest_of(100)).is_some());
        }
        let count = ledger.of(&Who::Account([2; 32]), 0).count();
        assert_eq!(count, limits::LEDGER_ACCOUNT_STRANGERS_MAX);
        assert!(ledger.has_accepted(&digest_of(1)));
        assert!(ledger.has_accepted(&digest_of(10_099)) && !ledger.has_accepted(&digest_of(5_000)));
    }

    #[test]
    fn a_pod_has_its_newest_tokens() {
        let mut ledger = Ledger::new("gw-1");
        let max = limits::LEDGER_POD_TOKENS_MAX as u32;
        for n in 0..max {
            ledger.put(bound(n, 1, pod(1, "gw-1")));
        }
        assert_eq!(ledger.put(bound(0, 1, pod(1, "gw-1"))), Changed::default());
        let changed = ledger.put(bound(max, 1, pod(1, "gw-1")));
        assert_eq!((changed.items.len(), changed.urgent), (1, false));
        assert!(!ledger.has_accepted(&digest_of(0)) && ledger.has_accepted(&digest_of(max)));
        assert_eq!(ledger.entries().len(), max as usize);
    }

    #[test]
    fn a_refusal_takes_what_the_pod_was_given_before() {
        let mut ledger = Ledger::new("gw-1");
        let one = |n| bound(n, 1, pod(1, "gw-1"));
        for n in 1..=3 {
            ledger.put(one(n));
        }
        ledger.put(bound(9, 1, pod(2, "gw-1")));
        ledger.put(entry(10, 1));
        let who = Who::Account([1; 32]);
        let left = |ledger: &Ledger| ledger.of(&who, 999).map(|e| e.issued).collect::<Vec<_>>();
        let changed = ledger.refuse(one(2), 999);
        assert_eq!((changed.items, changed.urgent), (vec![one(2).item()], true));
        assert_eq!(left(&ledger), [3, 9, 10]);
        assert!(!ledger.has_accepted(&digest_of(2)));
        let pod = pod(1, "gw-1").unwrap();
        assert!(ledger.is_refused(&who, &pod, 1) && ledger.is_refused(&who, &pod, 2));
        assert!(!ledger.is_refused(&who, &pod, 3), "issued since");
        assert!(!ledger.is_refused(&Who::Account([2; 32]), &pod, 1));
        // The API server may change its mind.
        assert_eq!(ledger.put(one(2)).items, [one(2).item()]);
        assert_eq!(left(&ledger), [2, 3, 9, 10]);
        // One that has run out says nothing about the others, nor does one that no signature speaks for stay.
        ledger.refuse(one(3), 1000);
        assert_eq!(left(&ledger), [2, 9, 10]);
        ledger.refuse(entry(10, 1), 0);
        assert_eq!((left(&ledger), ledger.entries().len()), (vec![2, 9], 2));
        // One that was never accepted is remembered as refused.
        ledger.refuse(bound(20, 1, Some(pod.clone())), 0);
        assert!(ledger.is_refused(&who, &pod, 20) && left(&ledger) == [9]);
    }
}
