//! What a store still has from before the start becomes answers again.

use super::key::Key;
use super::{Cache, Entry};
use crate::access::Who;
use crate::limits;
use crate::store::Recovered;
use std::time::{Duration, Instant};

impl Cache {
    /// Fills the table. What has no name that is understood, or one that another has already, goes: nobody would ever
    /// be told it. So does what the table has no place for.
    pub fn restore(&mut self, recovered: impl Iterator<Item = Recovered>) {
        let now = Instant::now();
        for one in recovered {
            let key = Key::from_bytes(&one.name).filter(|key| {
                !self.table.contains_key(key) && self.table.len() < limits::COLLECTIONS_MAX
            });
            let Some(key) = key else {
                self.store.drop_collection(one.id);
                continue;
            };
            let entry = Entry {
                id: one.id,
                live: 0,
                confirmed: now,
                before: one.age.unwrap_or(Duration::ZERO),
                sole: None,
            };
            self.table.insert(key, entry);
        }
    }

    /// Everybody for whom something is kept, some more than once: the API server has accepted them all.
    pub fn identities(&self) -> impl Iterator<Item = Who> + '_ {
        self.table.keys().map(|key| key.who)
    }
}
