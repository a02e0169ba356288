//! A collection: what it is now, what of it is durable, and what waits to be written.

use super::index::{At, Entry, Table};
use super::record::State;
use super::seal::Keys;
use crate::limits;
use crate::store::Class;
use crate::store::sorted::SortedMap;
use bytes::Bytes;
use std::time::Duration;

/// Why a collection stays where it is, or a fill was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// An object is larger than a segment takes.
    TooLarge,
    /// Nothing of its class or a lower one can make room.
    NoRoom,
    /// The bytes that may be written today are used up.
    Budget,
    /// What it was compared with has changed meanwhile.
    Overtaken,
    /// What was kept of it can no longer be read.
    Rotten,
    /// The store has stopped writing.
    Off,
}

/// How long a change may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Only the version moved.
    Version,
    /// Nothing that matters to a reader changed.
    Late,
    /// Something came, went, or changed.
    Soon,
}

pub struct Collection {
    /// What its records bear. A version that is written anew gets a new one: until its commit marker it does not exist.
    pub log_id: u64,
    pub class: Class,
    pub name: Box<[u8]>,
    pub note: Box<[u8]>,
    pub table: Table,
    /// Sum of the digests of the entries.
    pub digest: u64,
    /// Sum of the lengths of the values.
    pub bytes: u64,
    pub version: Box<str>,
    /// Unix seconds; 0: no clock.
    pub refreshed: u64,
    pub frozen: Option<Why>,
    /// Counts uses: the longest unused goes first.
    pub used: u64,
    /// Segment of its description, once written.
    pub described: Option<u16>,
    /// It is to be described anew; until that is durable the old description counts.
    pub is_relabelled: bool,
    /// What a start would find now. `None`: nothing.
    pub durable: Option<Durable>,
    pub waiting: Waiting,
}

/// A collection's last commit marker.
pub struct Durable {
    pub count: u64,
    pub digest: u64,
    pub refreshed: u64,
    pub version: Box<str>,
    /// Segment in which the marker lies.
    pub segment: u16,
}

/// Changes that are not on flash.
#[derive(Default)]
pub struct Waiting {
    /// By key digest.
    pub changes: SortedMap<u64, Change>,
    /// Bytes of their records.
    pub bytes: usize,
    /// When they shall be written; `None`: there is nothing to write.
    pub due: Option<Duration>,
    pub urgency: Option<Urgency>,
}

pub struct Change {
    /// Key and value; `None`: gone.
    pub put: Option<(Box<str>, Bytes)>,
    pub tag: u32,
    /// What is durable of this item.
    pub before: Option<Entry>,
}

impl Collection {
    pub fn new(log_id: u64, class: Class, name: &[u8], note: &[u8]) -> Self {
        Collection {
            log_id,
            class,
            name: name.into(),
            note: note.into(),
            table: Table::default(),
            digest: 0,
            bytes: 0,
            version: Box::default(),
            refreshed: 0,
            frozen: None,
            used: 0,
            described: None,
            is_relabelled: false,
            durable: None,
            waiting: Waiting::default(),
        }
    }

    /// Takes an item as changed. Says how much that matters.
    pub fn put(&mut self, keys: &Keys, entry: Entry, key: &str, value: Bytes) -> Urgency {
        let old = self.table.get(entry.key).copied();
        if let Some(old) = old
            && old.has_value_of(&entry)
        {
            return Urgency::Version;
        }
        self.table.insert(entry);
        self.add(keys, &entry);
        if let Some(old) = &old {
            self.subtract(keys, old);
        }
        let put = Some((Box::from(key), value));
        self.waiting.set(entry.key, put, entry.tag, old);
        match old {
            Some(old) if old.tag == entry.tag => Urgency::Late,
            _ => Urgency::Soon,
        }
    }

    pub fn delete(&mut self, keys: &Keys, key: u64) -> Urgency {
        let Some(old) = self.table.remove(key) else {
            return Urgency::Version;
        };
        self.subtract(keys, &old);
        self.waiting.set(key, None, 0, Some(old));
        Urgency::Soon
    }

    /// Goes back to what is durable. False: nothing is.
    pub fn revert(&mut self) -> bool {
        for (key, change) in std::mem::take(&mut self.waiting).changes {
            match change.before {
                Some(before) => self.table.insert(before),
                None => self.table.remove(key),
            };
        }
        let Some(durable) = &self.durable else {
            return false;
        };
        self.digest = durable.digest;
        self.version = durable.version.clone();
        self.refreshed = durable.refreshed;
        self.bytes = self.table.iter().map(|e| u64::from(e.len)).sum();
        true
    }

    fn add(&mut self, keys: &Keys, entry: &Entry) {
        self.digest = self.digest.wrapping_add(term(keys, entry));
        self.bytes += u64::from(entry.len);
    }

    fn subtract(&mut self, keys: &Keys, entry: &Entry) {
        self.digest = self.digest.wrapping_sub(term(keys, entry));
        self.bytes -= u64::from(entry.len);
    }

    /// Segment and bytes of each record that counts; [`At::WAITING`]'s segment for what is not on flash yet.
    pub fn placed(&self, see: &mut dyn FnMut(u16, u64)) {
        for entry in self.table.iter() {
            see(entry.at.segment, entry.record_bytes());
        }
        let before = self.waiting.changes.values().filter_map(|c| c.before);
        before.for_each(|entry| see(entry.at.segment, entry.record_bytes()));
        // Of whoever invents selectors it is the names that take the room.
        let label = (self.name.len() + self.note.len()) as u64 + limits::RING_RECORD_BYTES;
        see(self.described.unwrap_or(At::WAITING.segment), label);
        let marker = self.durable.as_ref().map(|d| d.segment);
        see(
            marker.unwrap_or(At::WAITING.segment),
            limits::RING_RECORD_BYTES,
        );
    }

    /// The commit marker for what it is now.
    pub fn state(&self) -> State<'_> {
        State {
            count: self.table.len() as u64,
            digest: self.digest,
            refreshed: self.refreshed,
            version: &self.version,
        }
    }

    /// What it is now is durable, in this segment.
    pub fn settle(&mut self, segment: u16) {
        self.durable = Some(Durable {
            count: self.table.len() as u64,
            digest: self.digest,
            refreshed: self.refreshed,
            version: self.version.clone(),
            segment,
        });
        self.waiting = Waiting::default();
    }

    /// True if its items agree with this commit marker.
    pub fn is_whole(&self, keys: &Keys, count: u64, digest: u64) -> bool {
        self.table.len() as u64 == count && sum(keys, self.table.iter()) == digest
    }
}

impl Durable {
    pub fn state(&self) -> State<'_> {
        State {
            count: self.count,
            digest: self.digest,
            refreshed: self.refreshed,
            version: &self.version,
        }
    }
}

impl Waiting {
    fn set(&mut self, key: u64, put: Option<(Box<str>, Bytes)>, tag: u32, old: Option<Entry>) {
        let earlier = self.changes.remove(&key);
        let before = match earlier {
            Some(earlier) => {
                self.bytes -= earlier.cost();
                earlier.before
            }
            None => old,
        };
        // What came and went again before anybody wrote it leaves no trace.
        if put.is_some() || before.is_some() {
            let change = Change { put, tag, before };
            self.bytes += change.cost();
            self.changes.insert(key, change);
        }
    }

    /// Asks to be written within `wait` from `now`.
    pub fn ask(&mut self, urgency: Urgency, now: Duration, wait: Duration) {
        let due = now + wait;
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        self.urgency = self.urgency.max(Some(urgency));
    }
}

impl Change {
    /// Bytes of its record, at most.
    fn cost(&self) -> usize {
        let (key, value) = match &self.put {
            Some((key, value)) => (key.len(), value.len()),
            None => (0, 0),
        };
        super::record::bytes_max(key, value)
    }
}

/// An entry's part in its collection's digest.
fn term(keys: &Keys, entry: &Entry) -> u64 {
    let parts: [&[u8]; 3] = [
        &entry.key.to_le_bytes(),
        &entry.value.to_le_bytes(),
        &entry.len.to_le_bytes(),
    ];
    keys.digest(&parts)
}

/// The digest of so many entries, in any order.
pub fn sum<'e>(keys: &Keys, entries: impl Iterator<Item = &'e Entry>) -> u64 {
    entries.fold(0u64, |sum, entry| sum.wrapping_add(term(keys, entry)))
}
