//! What readers get: one consistent version of a collection, or of one item of it.

use super::ram;
use super::ring::front::Reader;
use super::ring::read::Snapshot;
use super::ring::thread::OneRead;
use crate::limits;
use bytes::Bytes;
use std::fmt;
use std::rc::Rc;

/// One item, as of one version of its collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct One {
    pub version: Rc<str>,
    /// What the writer wants to know again, opaque to the store.
    pub note: Rc<[u8]>,
    /// `None`: not in the collection.
    pub value: Option<Bytes>,
}

impl One {
    pub(super) fn of_ring(read: OneRead) -> One {
        One {
            version: read.version.into(),
            note: read.note.into(),
            value: read.value,
        }
    }
}

/// One consistent version of a collection. Changes that come later do not show in it.
#[derive(Clone)]
pub struct View {
    pub version: Rc<str>,
    /// What the writer wants to know again, opaque to the store.
    pub note: Rc<[u8]>,
    items: Items,
}

#[derive(Clone)]
enum Items {
    Ram(Rc<ram::Items>),
    Ring(Rc<Snapshot>, Reader),
    /// All but the last can be read.
    #[cfg(test)]
    Torn(Rc<ram::Items>),
}

impl View {
    pub(super) fn of_ram(version: Rc<str>, note: Rc<[u8]>, items: Rc<ram::Items>) -> View {
        View {
            version,
            note,
            items: Items::Ram(items),
        }
    }

    pub(super) fn of_ring(snapshot: Snapshot, reader: Reader) -> View {
        View {
            version: Rc::from(&*snapshot.version),
            note: Rc::from(&*snapshot.note),
            items: Items::Ring(Rc::new(snapshot), reader),
        }
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        match &self.items {
            Items::Ram(items) => items.len(),
            Items::Ring(snapshot, _) => snapshot.len(),
            #[cfg(test)]
            Items::Torn(items) => items.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of `f` over the bytes of each value, without reading any.
    pub fn sum_of_lens(&self, f: impl Fn(usize) -> u64) -> u64 {
        match &self.items {
            Items::Ram(items) => items.values().map(|value| f(value.len())).sum(),
            Items::Ring(snapshot, _) => snapshot.lens().map(f).sum(),
            #[cfg(test)]
            Items::Torn(items) => items.values().map(|value| f(value.len())).sum(),
        }
    }

    /// Reads it from the beginning, in the store's own order.
    pub fn read(&self) -> Reading {
        match &self.items {
            Items::Ram(items) => Reading::Ram(ram::Reading::new(Rc::clone(items))),
            Items::Ring(snapshot, reader) => {
                Reading::Ring(OfRing::new(Snapshot::clone(snapshot), reader.clone()))
            }
            #[cfg(test)]
            Items::Torn(items) => Reading::Torn(ram::Reading::new(Rc::clone(items))),
        }
    }

    /// The same, of which the last item is lost.
    #[cfg(test)]
    pub fn torn(self) -> View {
        match self.items {
            Items::Ram(items) => View {
                items: Items::Torn(items),
                ..self
            },
            _ => self,
        }
    }
}

/// A view while it is read. After an error it is to be dropped.
pub enum Reading {
    Ram(ram::Reading),
    Ring(OfRing),
    #[cfg(test)]
    Torn(ram::Reading),
}

impl Reading {
    /// The next items, some at a time; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<Item>>, Lost> {
        match self {
            Reading::Ram(reading) => Ok(reading.next_items()),
            Reading::Ring(reading) => reading.next().await,
            #[cfg(test)]
            Reading::Torn(reading) => {
                let mut items = reading.next_items().ok_or(Lost)?;
                if reading.is_over() {
                    items.pop();
                }
                Ok(Some(items))
            }
        }
    }
}

/// A snapshot while it is read. A small one comes in the order of its keys, as an API server lists; a large one as it
/// lies on flash, which is as it was listed, and what has changed since behind that.
pub struct OfRing {
    /// The rest of it; nothing once something was lost.
    rest: Option<Box<Snapshot>>,
    reader: Reader,
    small: bool,
}

impl OfRing {
    fn new(snapshot: Snapshot, reader: Reader) -> OfRing {
        OfRing {
            small: snapshot.lens().sum::<usize>() <= limits::STORE_SORTED_BYTES_MAX,
            rest: Some(Box::new(snapshot)),
            reader,
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<Item>>, Lost> {
        let mut items = self.some().await?;
        if self.small {
            let mut all = Vec::new();
            while !items.is_empty() {
                // A frame holds others' items too, and would stay in memory as a whole.
                items.iter_mut().for_each(Item::detach);
                all.append(&mut items);
                items = self.some().await?;
            }
            all.sort_by(|a, b| a.key.cmp(&b.key));
            items = all;
        }
        Ok(Some(items).filter(|items| !items.is_empty()))
    }

    async fn some(&mut self) -> Result<Vec<Item>, Lost> {
        let snapshot = self.rest.take().ok_or(Lost)?;
        let (items, snapshot) = self.reader.read(*snapshot).await.ok_or(Lost)?;
        self.rest = Some(Box::new(snapshot));
        let items = items.into_iter().map(|item| Item {
            key: item.key.into(),
            value: item.value,
        });
        Ok(items.collect())
    }
}

impl Item {
    /// Takes its bytes out of what they were read with.
    fn detach(&mut self) {
        self.value = Bytes::copy_from_slice(&self.value);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub key: Rc<str>,
    pub value: Bytes,
}

/// What was kept can no longer be read. Whoever tells it must break off: a shorter list would be a lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was kept can no longer be read")
    }
}

impl std::error::Error for Lost {}
