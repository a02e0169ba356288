//! What a store still has from before the start becomes answers again.

use super::key::Key;
use super::{Cache, Entry};
use crate::access::Who;
use crate::limits;
use crate::store::ram::Ram;
use crate::store::ring::thread::Opened;
use crate::store::{Recovered, Store};
use std::time::{Duration, Instant};

impl Cache {
    /// What was on flash when the store was opened becomes answers. `now`: unix seconds.
    pub fn take_over(&mut self, opened: &Opened, now: u64) {
        let recovered = self.store.take_over(opened, now);
        // Of two with one name the later counts: a cut came before the earlier one's end was written.
        self.restore(recovered.into_iter().rev());
    }

    /// The store on flash could not be had after all.
    pub fn keep_in_memory(&mut self, bytes_max: usize) {
        self.store = Store::Ram(Ram::new(bytes_max));
    }

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
                changed: None,
            };
            self.table.insert(key, entry);
        }
    }

    /// Everybody for whom something is kept, some more than once: the API server has accepted them all.
    pub fn identities(&self) -> impl Iterator<Item = Who> + '_ {
        self.table.keys().map(|key| key.who)
    }
}
