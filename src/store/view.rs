//! What readers get: one consistent version of a collection, or of one item of it.

use super::ram;
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

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.in_ram().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of each value, in no certain order, without reading any.
    pub fn value_lens(&self) -> impl Iterator<Item = usize> + '_ {
        self.in_ram().values().map(|value| value.len())
    }

    /// Reads it from the beginning, in the store's own order.
    pub fn read(&self) -> Reading {
        match &self.items {
            Items::Ram(items) => Reading::Ram(ram::Reading::new(Rc::clone(items))),
            #[cfg(test)]
            Items::Torn(items) => Reading::Torn(ram::Reading::new(Rc::clone(items))),
        }
    }

    fn in_ram(&self) -> &Rc<ram::Items> {
        match &self.items {
            Items::Ram(items) => items,
            #[cfg(test)]
            Items::Torn(items) => items,
        }
    }

    /// The same, of which the last item is lost.
    #[cfg(test)]
    pub fn torn(self) -> View {
        let items = Items::Torn(Rc::clone(self.in_ram()));
        View { items, ..self }
    }
}

/// A view while it is read. After an error it is to be dropped.
pub enum Reading {
    Ram(ram::Reading),
    #[cfg(test)]
    Torn(ram::Reading),
}

impl Reading {
    /// The next items, some at a time; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<Item>>, Lost> {
        match self {
            Reading::Ram(reading) => Ok(reading.next_items()),
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
