//! Bytes in collections with versions. Knows neither Kubernetes nor HTTP.
//!
//! A collection is replaced whole or changed by events; it is read as one consistent version or not at all. What must
//! make room goes as whole collections: a shorter list would be a lie.

pub mod ram;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// A collection's number. Never used twice in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionId(pub u64);

/// Who goes first when room is short: the lowest class, then the longest unused.
pub type Class = u8;

/// The items of one version, in key order. Shared with readers; a change while one reads copies the map, not the values.
pub type Items = BTreeMap<Rc<str>, Rc<[u8]>>;

/// One consistent version of a collection.
#[derive(Clone)]
pub struct View {
    pub items: Rc<Items>,
    pub version: Rc<str>,
    /// What the writer wants to know again, opaque to the store.
    pub note: Rc<[u8]>,
}

/// One change of a collection.
pub enum Change<'a> {
    Put(&'a str, &'a [u8]),
    Delete(&'a str),
}

/// Why something was not kept. Nothing else changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotKept {
    /// Larger than the room that may be made for its class.
    NoRoom,
    /// The collection was evicted or dropped meanwhile.
    Gone,
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotKept::NoRoom => "no room in the store",
            NotKept::Gone => "the collection is gone",
        })
    }
}

/// What the store holds, for status and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub bytes: usize,
    pub bytes_max: usize,
    pub collections: usize,
    pub objects: usize,
    pub evicted: u64,
}
