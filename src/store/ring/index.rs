//! What is where: 32 bytes an item, no keys, no values.

use super::log::Place;
use crate::limits;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub segment: u16,
    pub block: u16,
    /// Its number in the frame.
    pub record: u16,
}

impl At {
    /// Not on flash yet: among what waits.
    pub const WAITING: At = At {
        segment: u16::MAX,
        block: 0,
        record: 0,
    };

    pub fn place(self) -> Place {
        Place {
            segment: self.segment,
            block: self.block,
        }
    }

    pub fn is_waiting(self) -> bool {
        self.segment == u16::MAX
    }
}

/// One item of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Keyed digest of the key: two keys of one collection with the same one do not come.
    pub key: u64,
    /// Keyed digest of the value.
    pub value: u64,
    /// Bytes of the value.
    pub len: u32,
    /// The writer's digest of what matters in it.
    pub tag: u32,
    pub at: At,
}

impl Entry {
    /// Bytes of its record, about.
    pub fn record_bytes(&self) -> u64 {
        u64::from(self.len) + limits::RING_RECORD_BYTES
    }

    pub fn has_value_of(&self, other: &Entry) -> bool {
        self.value == other.value && self.len == other.len
    }
}

const _: () = assert!(
    size_of::<Entry>() == 32,
    "told in the README and in flash budgets"
);

/// The items of one collection, sorted by key digest.
#[derive(Debug, Default)]
pub struct Table {
    entries: Vec<Entry>,
}

impl Table {
    /// Of entries in any order; of two with one key the later counts.
    pub fn new(mut entries: Vec<Entry>) -> Table {
        entries.sort_by_key(|entry| entry.key);
        // dedup keeps the first of a run: turn runs round.
        entries.reverse();
        entries.dedup_by_key(|entry| entry.key);
        entries.reverse();
        entries.shrink_to_fit();
        Table { entries }
    }

    pub fn get(&self, key: u64) -> Option<&Entry> {
        self.find(key).ok().map(|at| &self.entries[at])
    }

    pub fn get_mut(&mut self, key: u64) -> Option<&mut Entry> {
        self.find(key).ok().map(|at| &mut self.entries[at])
    }

    /// Gives what stood there before.
    pub fn insert(&mut self, entry: Entry) -> Option<Entry> {
        match self.find(entry.key) {
            Ok(at) => Some(std::mem::replace(&mut self.entries[at], entry)),
            Err(at) => {
                if self.entries.len() == self.entries.capacity() {
                    // Doubling would leave half of a big table empty.
                    self.entries.reserve_exact(8 + self.entries.len() / 8);
                }
                self.entries.insert(at, entry);
                None
            }
        }
    }

    pub fn remove(&mut self, key: u64) -> Option<Entry> {
        self.find(key).ok().map(|at| self.entries.remove(at))
    }

    fn find(&self, key: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&key, |entry| entry.key)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: u64, value: u64) -> Entry {
        Entry {
            key,
            value,
            len: 1,
            tag: 0,
            at: At::WAITING,
        }
    }

    #[test]
    fn of_two_with_one_key_the_later_counts() {
        let table = Table::new(vec![entry(2, 1), entry(1, 2), entry(2, 3), entry(1, 4)]);
        let got: Vec<_> = table.iter().map(|e| (e.key, e.value)).collect();
        assert_eq!(got, [(1, 4), (2, 3)]);
    }

    #[test]
    fn a_table_is_a_sorted_map() {
        let mut table = Table::default();
        for key in [5, 1, 9, 3] {
            assert_eq!(table.insert(entry(key, key)), None);
        }
        assert_eq!(table.insert(entry(9, 0)).map(|e| e.value), Some(9));
        assert_eq!(table.remove(1).map(|e| e.value), Some(1));
        assert_eq!(table.remove(1), None);
        assert_eq!(table.get(9).map(|e| e.value), Some(0));
        let keys: Vec<_> = table.iter().map(|e| e.key).collect();
        assert_eq!(keys, [3, 5, 9]);
    }
}
