//! What is read: one item, or one version as a stream, frame by frame.

use super::collection::Why;
use super::engine::Engine;
use super::index::At;
use super::log::Lost;
use super::media::Media;
use super::record::{Record, Records};
use bytes::Bytes;
use std::sync::Arc;

/// One consistent version of a collection: where its items lie. It stays readable until a segment of it is begun again.
///
/// A clone is read from where the original stands.
#[derive(Clone)]
pub struct Snapshot {
    id: u64,
    pub version: Box<str>,
    pub note: Box<[u8]>,
    /// Place and length of each value, in the order of reading.
    items: Arc<[(At, u32)]>,
    /// Items that are not on flash yet: read first.
    waiting: Arc<[Item]>,
    /// Segments with a higher sequence number were begun again since.
    sequence_max: u64,
    /// How many of both were read.
    next: usize,
}

/// One item as it was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub key: Box<str>,
    pub value: Bytes,
}

impl Snapshot {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of each value, without reading any.
    pub fn lens(&self) -> impl Iterator<Item = usize> {
        let waiting = self.waiting.iter().map(|item| item.value.len());
        waiting.chain(self.items.iter().map(|(_, len)| *len as usize))
    }
}

impl<M: Media> Engine<M> {
    /// One item; `None` in it: the collection has none of that key.
    pub fn one(&mut self, id: u64, key: &str) -> Result<Option<Bytes>, Lost> {
        self.touch(id);
        let collection = self.collections.get(&id).ok_or(Lost)?;
        let digest = self.log.keys().digest(&[key.as_bytes()]);
        let Some(entry) = collection.table.get(digest) else {
            return Ok(None);
        };
        if entry.at.is_waiting() {
            let put = collection
                .waiting
                .changes
                .get(&digest)
                .and_then(|c| c.put.as_ref());
            return put.map(|(_, value)| Some(value.clone())).ok_or(Lost);
        }
        let (at, log_id) = (entry.at, collection.log_id);
        let read = self.log.read(at.place(), u64::MAX);
        let found = read
            .ok()
            .and_then(|raw| match Records(&raw).nth(at.record.into()) {
                Some(Ok(Record::Put(put))) if put.key == key && put.id == log_id => {
                    Some(Bytes::copy_from_slice(put.value))
                }
                _ => None,
            });
        if found.is_none() {
            self.lose(id, Why::Rotten);
        }
        found.map(Some).ok_or(Lost)
    }

    /// The present version.
    pub fn snapshot(&mut self, id: u64) -> Option<Snapshot> {
        self.touch(id);
        let collection = self.collections.get(&id)?;
        let placed = collection.table.iter().filter(|e| !e.at.is_waiting());
        let mut items: Vec<(At, u32)> = placed.map(|e| (e.at, e.len)).collect();
        // As they were written: a segment's number says nothing about its age.
        items.sort_by_cached_key(|(at, _)| (self.log.sequence_of(at.segment), *at));
        let waiting: Arc<[Item]> = (collection.waiting.changes.values())
            .filter_map(|change| change.put.as_ref())
            .map(|(key, value)| Item {
                key: key.clone(),
                value: value.clone(),
            })
            .collect();
        Some(Snapshot {
            id,
            version: collection.version.clone(),
            note: collection.note.clone(),
            items: items.into(),
            waiting,
            sequence_max: self.log.sequence(),
            next: 0,
        })
    }

    /// The next items: those of one frame. Empty: there are no more. `Lost`: the rest can no longer be read.
    pub fn read_some(&mut self, snapshot: &mut Snapshot) -> Result<Vec<Item>, Lost> {
        let waiting = snapshot.waiting.len();
        if snapshot.next < waiting {
            snapshot.next = waiting;
            return Ok(snapshot.waiting.to_vec());
        }
        let rest = (snapshot.items.get(snapshot.next - waiting..)).unwrap_or_default();
        let Some((first, _)) = rest.first() else {
            return Ok(Vec::new());
        };
        let place = first.place();
        let frame = &rest[..rest
            .iter()
            .take_while(|(at, _)| at.place() == place)
            .count()];
        let some = match self.log.read(place, snapshot.sequence_max) {
            Ok(raw) => pick(Bytes::from(raw), frame),
            Err(Lost) => None,
        };
        match some {
            Some(some) => {
                snapshot.next += some.len();
                Ok(some)
            }
            None => {
                // Where the segment was begun again, the collection itself may still be whole.
                self.check(snapshot.id);
                Err(Lost)
            }
        }
    }

    /// Forgets the collection if one of its frames can no longer be read.
    fn check(&mut self, id: u64) {
        let mut places: Vec<_> = (self.collections.get(&id).into_iter())
            .flat_map(|c| c.table.iter())
            .filter(|e| !e.at.is_waiting())
            .map(|e| e.at.place())
            .collect();
        places.sort_unstable();
        places.dedup();
        if places
            .iter()
            .any(|place| self.log.read(*place, u64::MAX).is_err())
        {
            self.lose(id, Why::Rotten);
        }
    }
}

/// The wanted records of a frame. `None`: it does not hold them.
fn pick(raw: Bytes, wanted: &[(At, u32)]) -> Option<Vec<Item>> {
    let mut items = Vec::with_capacity(wanted.len());
    let mut wanted = wanted.iter().peekable();
    for (number, record) in Records(&raw).enumerate() {
        let Some((at, len)) = wanted.peek() else {
            break;
        };
        if usize::from(at.record) != number {
            continue;
        }
        match record {
            Ok(Record::Put(put)) if put.value.len() == *len as usize => items.push(Item {
                key: put.key.into(),
                value: raw.slice_ref(put.value),
            }),
            _ => return None,
        }
        wanted.next();
    }
    wanted.peek().is_none().then_some(items)
}
