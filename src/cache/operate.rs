//! What an operator does with what is kept, whoever it is kept for.

use super::Cache;
use crate::store::ring::report::SegmentState;
use crate::store::{CollectionId, One, View};

impl Cache {
    /// Whether the collection of this number is there.
    pub fn has(&self, id: CollectionId) -> bool {
        self.store.contains(id) && self.table.values().any(|entry| entry.id == id)
    }

    /// Its present version. `None`: it is gone or cannot be read. The future holds nothing of the cache.
    pub fn view_of(&mut self, id: CollectionId) -> impl Future<Output = Option<View>> + use<> {
        self.store.view(id)
    }

    /// One item of it. `None`: the collection is gone or cannot be read. The future holds nothing of the cache.
    pub fn one_of(
        &mut self,
        id: CollectionId,
        item: &str,
    ) -> impl Future<Output = Option<One>> + use<> {
        self.store.one(id, item)
    }

    /// Forgets a collection. False: it was not there.
    pub fn drop_one(&mut self, id: CollectionId) -> bool {
        let there = self.has(id);
        let mut entries = self.table.iter();
        if let Some((key, _)) = entries.find(|(_, entry)| entry.id == id) {
            let key = key.clone();
            self.remove(&key);
        }
        there
    }

    /// What is where on flash.
    pub fn segments(&self) -> impl Future<Output = Option<Vec<SegmentState>>> + use<> {
        self.store.segments()
    }
}
