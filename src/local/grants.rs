//! Tokens that the API server has granted to the node's components for pods: each whole answer, until its token runs out.
//! Pure.

use crate::access::Who;
use crate::access::hex::{from_hex, to_hex};
use crate::access::ledger::Pod;
use crate::limits;

/// What was asked for, by whom and in which form, as a digest.
pub type GrantKey = [u8; 32];

/// An answer that may be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub key: GrantKey,
    pub who: Who,
    /// The `exp` of the token itself, in unix seconds.
    pub expires: u64,
    /// When it was granted.
    pub granted: u64,
    pub pod: Pod,
    pub content_type: String,
    pub body: Vec<u8>,
}

/// The answers. Bounded: what has run out makes room, then the oldest.
#[derive(Default)]
pub struct Grants {
    /// Invariant: no two of one key, at most [`limits::GRANTS_MAX`].
    all: Vec<Grant>,
}

impl Grants {
    pub fn get(&self, key: &GrantKey) -> Option<&Grant> {
        self.all.iter().find(|grant| grant.key == *key)
    }

    pub fn all(&self) -> &[Grant] {
        &self.all
    }

    /// Takes an answer, in the place of the one before. Gives the keys of what had to go.
    pub fn put(&mut self, grant: Grant, now: u64) -> Vec<GrantKey> {
        let mut gone = Vec::new();
        if let Some(at) = self.all.iter().position(|old| old.key == grant.key) {
            self.all[at] = grant;
            return gone;
        }
        if self.all.len() >= limits::GRANTS_MAX {
            let over = self.all.extract_if(.., |old| old.expires <= now);
            gone.extend(over.map(|old| old.key));
        }
        if self.all.len() >= limits::GRANTS_MAX
            && let Some((at, _)) = (self.all.iter().enumerate()).min_by_key(|(_, g)| g.granted)
        {
            gone.push(self.all.swap_remove(at).key);
        }
        self.all.push(grant);
        gone
    }

    /// Takes those out that are as told; gives their keys.
    pub fn remove(&mut self, is: &dyn Fn(&Grant) -> bool) -> Vec<GrantKey> {
        let gone = self.all.extract_if(.., |grant| is(grant));
        gone.map(|grant| grant.key).collect()
    }
}

/// The name under which a grant is kept.
pub fn name(key: &GrantKey) -> String {
    to_hex(key)
}

impl Grant {
    /// As it is kept: a line for each field, then the body as it came.
    pub fn to_bytes(&self) -> Vec<u8> {
        let who = match &self.who {
            Who::Subject(digest) => to_hex(digest),
            _ => String::new(),
        };
        let pod = [&self.pod.namespace, &self.pod.name, &self.pod.uid];
        let [namespace, name, uid] = pod.map(|text| text.replace('\n', " "));
        let head = format!(
            "{who}\n{}\n{}\n{namespace}\n{name}\n{uid}\n{}\n",
            self.expires, self.granted, self.content_type
        );
        [head.as_bytes(), &self.body].concat()
    }

    /// What [`Grant::to_bytes`] has written under this name; `None` for anything else.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Option<Grant> {
        let mut parts = bytes.splitn(8, |b| *b == b'\n');
        let mut line = || std::str::from_utf8(parts.next()?).ok();
        Some(Grant {
            key: from_hex(name)?.try_into().ok()?,
            who: Who::Subject(from_hex(line()?)?.try_into().ok()?),
            expires: line()?.parse().ok()?,
            granted: line()?.parse().ok()?,
            pod: Pod {
                namespace: line()?.to_owned(),
                name: line()?.to_owned(),
                uid: line()?.to_owned(),
                node: String::new(),
            },
            content_type: line()?.to_owned(),
            body: parts.next()?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(n: usize, expires: u64) -> Grant {
        Grant {
            key: std::array::from_fn(|at| n.to_le_bytes().get(at).copied().unwrap_or(0)),
            who: Who::Subject([9; 32]),
            expires,
            granted: n as u64,
            pod: Pod {
                namespace: "shop".into(),
                name: "till".into(),
                uid: "p-1".into(),
                node: String::new(),
            },
            content_type: "application/json".into(),
            body: b"a\n\n\xff".to_vec(),
        }
    }

    #[test]
    fn a_grant_is_read_back() {
        for mut one in [grant(1, 100), grant(2, u64::MAX)] {
            one.body.push(b'\n');
            let (name, bytes) = (name(&one.key), one.to_bytes());
            assert_eq!(Grant::from_bytes(&name, &bytes), Some(one.clone()));
            assert_eq!(Grant::from_bytes("", &bytes), None);
            for end in 0..bytes.len() - one.body.len() {
                assert_eq!(Grant::from_bytes(&name, &bytes[..end]), None, "{end}");
            }
        }
    }

    #[test]
    fn a_new_answer_takes_the_place_of_the_old() {
        let mut grants = Grants::default();
        assert!(grants.put(grant(1, 100), 0).is_empty());
        assert!(grants.put(grant(1, 200), 0).is_empty());
        assert_eq!(grants.get(&grant(1, 0).key).map(|g| g.expires), Some(200));
        assert_eq!(
            (grants.all().len(), grants.get(&grant(2, 0).key)),
            (1, None)
        );
        assert_eq!(grants.remove(&|g| g.expires == 200), [grant(1, 0).key]);
        assert!(grants.all().is_empty());
    }

    #[test]
    fn what_has_run_out_makes_room_then_the_oldest() {
        let mut grants = Grants::default();
        for n in 0..limits::GRANTS_MAX {
            assert!(grants.put(grant(n, 100 + u64::from(n != 7)), 0).is_empty());
        }
        let more = limits::GRANTS_MAX;
        assert_eq!(grants.put(grant(more, 900), 100), [grant(7, 0).key]);
        assert_eq!(grants.put(grant(more + 1, 900), 100), [grant(0, 0).key]);
        assert_eq!(grants.all().len(), limits::GRANTS_MAX);
    }
}
