//! What the hub keeps for its own use, beside the answers: no request finds it, and nothing of it makes room for others.
//!
//! Whoever keeps something here has it in memory too, and offers changes. Where one is not taken, the store is behind or
//! full, all of it is offered anew when there is time: till then what lies on flash is the old, or nothing.

use super::Cache;
use crate::store::{Change, Class, CollectionId, Item, NotKept};

/// A collection of the hub's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// Tokens that the API server has accepted.
    Tokens,
    /// Who issues tokens, and with which keys.
    Issuer,
    /// Tokens that were granted to the node's components.
    Grants,
    /// What ConfigMaps of the cluster said last that could be taken.
    Live,
    /// Events that wait for the API server.
    Events,
}

/// All of them, each at its place.
const ALL: [Own; 5] = [
    Own::Tokens,
    Own::Issuer,
    Own::Grants,
    Own::Live,
    Own::Events,
];

/// How many there are.
pub const COUNT: usize = ALL.len();

/// Above that of any answer: small, and a start without a server needs it.
const CLASS: Class = 3;

/// No key is written so: its first byte is another.
const FORM_OF_NAME: u8 = 2;

impl Own {
    fn name(self) -> Vec<u8> {
        let text: &[u8] = match self {
            Own::Tokens => b"tokens",
            Own::Issuer => b"issuer",
            Own::Grants => b"grants",
            Own::Live => b"live",
            Own::Events => b"events",
        };
        [&[FORM_OF_NAME], text].concat()
    }

    /// The one that is written so.
    pub fn of_name(name: &[u8]) -> Option<Own> {
        ALL.into_iter().find(|own| own.name() == name)
    }
}

impl Cache {
    fn own_id(&self, own: Own) -> Option<CollectionId> {
        self.own[own as usize].filter(|id| self.store.contains(*id))
    }

    /// Offers changes. False: they were not taken, and nothing of the collection is kept any more, so that what should be
    /// gone is not found again; [`Cache::replace_own`] is due.
    #[must_use]
    pub fn change_own(&mut self, own: Own, changes: &[Change<'_>]) -> bool {
        let Some(id) = self.own_id(own) else {
            return false;
        };
        let version = self.store.version(id).and_then(|v| v.parse::<u64>().ok());
        let version = version.map_or(1, |v| v.wrapping_add(1)).to_string();
        let taken = self.store.apply(id, changes, &version);
        if let Err(why) = taken {
            self.counts.not_kept(why);
            self.drop_own(own);
        }
        taken.is_ok()
    }

    /// Puts these items in the place of all that were there.
    pub fn replace_own(
        &mut self,
        own: Own,
        items: &mut dyn Iterator<Item = (String, Vec<u8>)>,
    ) -> Result<(), NotKept> {
        let replaces = self.own_id(own);
        let mut fill = self.store.begin(CLASS, replaces);
        for (key, value) in items {
            if let Err(why) = self.store.put(&mut fill, &key, &value, 0) {
                self.store.abort(fill);
                self.counts.not_kept(why);
                self.drop_own(own);
                return Err(why);
            }
        }
        let id = self.store.commit(fill, replaces, &own.name(), "0", b"");
        self.own[own as usize] = id.ok();
        id.map(drop)
    }

    fn drop_own(&mut self, own: Own) {
        if let Some(id) = self.own[own as usize].take() {
            self.store.drop_collection(id);
            drop(self.store.flush());
        }
    }

    /// All of it, at once: it is small. `None`: there is none, or it cannot be read. The future holds nothing of the cache.
    pub fn read_own(&mut self, own: Own) -> impl Future<Output = Option<Vec<Item>>> + use<> {
        let view = self.own_id(own).map(|id| self.store.view(id));
        async move {
            let mut reading = view?.await?.read();
            let mut all = Vec::new();
            while let Some(items) = reading.next().await.ok()? {
                all.extend(items);
            }
            Some(all)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::*;

    #[test]
    fn names_are_no_keys() {
        for own in ALL {
            assert_eq!(Own::of_name(&own.name()), Some(own));
            assert_eq!(Key::from_bytes(&own.name()), None);
        }
        assert_eq!(Own::of_name(b""), None);
        assert_eq!(Own::of_name(b"\x01tokens"), None);
    }
}
