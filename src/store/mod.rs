//! Bytes in collections with versions. Knows neither Kubernetes nor HTTP.
//!
//! A collection is replaced whole or changed by events; it is read as one consistent version or not at all. What must
//! make room goes as whole collections: a shorter list would be a lie. Nothing is read at once: what is kept may lie
//! where reading takes time.

pub mod ram;
pub mod ring;
pub mod view;

pub use view::{Item, Lost, One, Reading, View};

use ram::Ram;
use std::fmt;
use std::future::ready;
use std::time::Duration;

/// A collection's number. Never used twice in one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionId(pub u64);

/// Who goes first when room is short: the lowest class, then the longest unused.
pub type Class = u8;

/// One change of a collection.
pub enum Change<'a> {
    Put {
        key: &'a str,
        value: &'a [u8],
        /// The writer's digest of what matters in the value: a change that leaves it the same may be written late.
        tag: u32,
    },
    Delete(&'a str),
}

/// Why something was not kept. Nothing else changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotKept {
    /// Larger than the room that may be made for its class.
    NoRoom,
    /// The collection was evicted or dropped meanwhile.
    Gone,
    /// The keeper has fallen behind: the collection stays as it is until it is replaced.
    Behind,
    /// The collection stays as it is until it is replaced, for the keeper had fallen behind before.
    Frozen,
    /// The store has stopped writing.
    Off,
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotKept::NoRoom => "no room in the store",
            NotKept::Gone => "the collection is gone",
            NotKept::Behind => "the store has fallen behind",
            NotKept::Frozen => "the collection is frozen",
            NotKept::Off => "the store has stopped writing",
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

/// A collection that was there when the store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    pub id: CollectionId,
    /// As [`Store::commit`] got it.
    pub name: Vec<u8>,
    pub class: Class,
    /// How long ago it was last written to, if that is known.
    pub age: Option<Duration>,
}

/// Where collections are kept.
pub enum Store {
    /// In memory, until the end of the run.
    Ram(Ram),
}

/// A new version of a collection while it arrives. It holds room: [`Store::abort`] gives that back.
pub enum Fill {
    Ram(ram::Fill),
}

impl Store {
    /// Begins a new version: of a new collection, or of `replaces`.
    pub fn begin(&mut self, class: Class, replaces: Option<CollectionId>) -> Fill {
        match self {
            Store::Ram(ram) => Fill::Ram(ram.begin(class, replaces)),
        }
    }

    /// Adds an item, in the place of one with the same key. After an error the fill can only be aborted.
    pub fn put(
        &mut self,
        fill: &mut Fill,
        key: &str,
        value: &[u8],
        _tag: u32,
    ) -> Result<(), NotKept> {
        match (self, fill) {
            (Store::Ram(ram), Fill::Ram(fill)) => ram.put(fill, key, value),
        }
    }

    /// Takes an item out of a fill again.
    pub fn remove(&mut self, fill: &mut Fill, key: &str) {
        match (self, fill) {
            (Store::Ram(ram), Fill::Ram(fill)) => ram.remove(fill, key),
        }
    }

    /// Puts the fill in the place of `replaces`, or makes a new collection of it. Past this, it is the collection;
    /// before, nobody saw any of it. `name` is what the writer finds the collection by after a restart, at most
    /// [`crate::limits::STORE_NAME_BYTES_MAX`] bytes; `note` what it wants to know again with every read.
    pub fn commit(
        &mut self,
        fill: Fill,
        replaces: Option<CollectionId>,
        _name: &[u8],
        version: &str,
        note: &[u8],
    ) -> Result<CollectionId, NotKept> {
        match (self, fill) {
            (Store::Ram(ram), Fill::Ram(fill)) => ram.commit(fill, replaces, version, note),
        }
    }

    pub fn abort(&mut self, fill: Fill) {
        match (self, fill) {
            (Store::Ram(ram), Fill::Ram(fill)) => ram.abort(fill),
        }
    }

    /// Applies changes and the version that they lead to, all or none. After an error the collection is as it was.
    pub fn apply(
        &mut self,
        id: CollectionId,
        changes: &[Change<'_>],
        version: &str,
    ) -> Result<(), NotKept> {
        match self {
            Store::Ram(ram) => ram.apply(id, changes, version),
        }
    }

    pub fn drop_collection(&mut self, id: CollectionId) {
        match self {
            Store::Ram(ram) => ram.drop_collection(id),
        }
    }

    pub fn contains(&self, id: CollectionId) -> bool {
        match self {
            Store::Ram(ram) => ram.contains(id),
        }
    }

    /// The version alone, without counting as a use.
    pub fn version(&self, id: CollectionId) -> Option<&str> {
        match self {
            Store::Ram(ram) => ram.version(id),
        }
    }

    /// Objects and bytes of one collection.
    pub fn size(&self, id: CollectionId) -> Option<(usize, usize)> {
        match self {
            Store::Ram(ram) => ram.size(id),
        }
    }

    pub fn totals(&self) -> Totals {
        match self {
            Store::Ram(ram) => ram.totals(),
        }
    }

    /// A new cap; what no longer fits goes.
    pub fn set_cap(&mut self, bytes_max: usize) {
        match self {
            Store::Ram(ram) => ram.set_cap(bytes_max),
        }
    }

    /// One item of the present version, and a use of it. `None`: the collection is gone or cannot be read. The future
    /// holds nothing of the store.
    pub fn one(
        &mut self,
        id: CollectionId,
        key: &str,
    ) -> impl Future<Output = Option<One>> + use<> {
        match self {
            Store::Ram(ram) => ready(ram.one(id, key)),
        }
    }

    /// The present version, and a use of it. `None`: the collection is gone or cannot be read. The future holds nothing
    /// of the store.
    pub fn view(&mut self, id: CollectionId) -> impl Future<Output = Option<View>> + use<> {
        match self {
            Store::Ram(ram) => ready(ram.view(id)),
        }
    }
}
