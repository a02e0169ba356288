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
    /// In a fill: a record of this key was written as the fill's own. Of no meaning elsewhere.
    pub own: bool,
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

    /// Takes in all of another, none of whose keys is here.
    fn merge(&mut self, other: &mut Table) {
        let (Some(any), mut from) = (other.entries.last().copied(), self.entries.len()) else {
            return;
        };
        let mut to = from + other.entries.len();
        self.entries.reserve_exact(other.entries.len());
        self.entries.resize(to, any);
        // From the back, where there is room.
        while let Some(entry) = other.entries.pop() {
            while from > 0 && self.entries[from - 1].key > entry.key {
                (from, to) = (from - 1, to - 1);
                self.entries[to] = self.entries[from];
            }
            to -= 1;
            self.entries[to] = entry;
        }
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

/// A table that many are put into, in any order: those that came last stand apart, until they are many enough that it is
/// worth the while to move the others.
#[derive(Debug, Default)]
pub struct Gathering {
    early: Table,
    late: Table,
}

impl Gathering {
    pub fn get(&self, key: u64) -> Option<&Entry> {
        self.early.get(key).or_else(|| self.late.get(key))
    }

    pub fn get_mut(&mut self, key: u64) -> Option<&mut Entry> {
        match self.early.get_mut(key) {
            None => self.late.get_mut(key),
            found => found,
        }
    }

    /// Puts it in the place of what stood there before.
    pub fn insert(&mut self, entry: Entry) {
        if let Some(there) = self.get_mut(entry.key) {
            *there = entry;
            return;
        }
        self.late.insert(entry);
        if self.late.len() > 64 + self.early.len() / 32 {
            self.early.merge(&mut self.late);
        }
    }

    pub fn remove(&mut self, key: u64) -> Option<Entry> {
        self.early.remove(key).or_else(|| self.late.remove(key))
    }

    pub fn len(&self) -> usize {
        self.early.len() + self.late.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.early.iter().chain(self.late.iter())
    }

    pub fn into_table(mut self) -> Table {
        self.early.merge(&mut self.late);
        self.early
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
            own: false,
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

    #[test]
    fn what_is_gathered_is_the_same_map() {
        let (mut gathering, mut table) = (Gathering::default(), Table::default());
        for n in 0..3000u64 {
            let key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
            gathering.insert(entry(key, n));
            table.insert(entry(key, n));
            if n % 7 == 0 {
                let gone = key ^ 1;
                assert_eq!(gathering.remove(gone), table.remove(gone));
            }
            assert_eq!(gathering.get(key), table.get(key));
            assert_eq!(gathering.len(), table.len());
        }
        if let Some(entry) = gathering.get_mut(table.entries[9].key) {
            entry.len = 77;
        }
        table.entries[9].len = 77;
        let mut all: Vec<Entry> = gathering.iter().copied().collect();
        all.sort_by_key(|entry| entry.key);
        assert_eq!(all, table.entries);
        assert_eq!(gathering.into_table().entries, table.entries);
    }
}
