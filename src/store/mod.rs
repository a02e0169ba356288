//! Bytes in collections with versions. Knows neither Kubernetes nor HTTP.
//!
//! A collection is replaced whole or changed by events; it is read as one consistent version or not at all. What must
//! make room goes as whole collections: a shorter list would be a lie. Nothing is read at once: what is kept may lie
//! where reading takes time.

pub mod ram;
pub mod ring;
pub mod sorted;
pub mod view;

pub use view::{Item, Lost, One, Reading, View};

use ram::Ram;
use ring::Ring;
use std::fmt;
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
    /// On flash.
    Ring(Ring),
}

/// A new version of a collection while it arrives. It holds room: [`Store::abort`] gives that back.
pub enum Fill {
    Ram(ram::Fill),
    Ring(ring::Fill),
}

impl Store {
    /// Begins a new version: of a new collection, or of `replaces`.
    pub fn begin(&mut self, class: Class, replaces: Option<CollectionId>) -> Fill {
        match self {
            Store::Ram(ram) => Fill::Ram(ram.begin(class, replaces)),
            Store::Ring(ring) => Fill::Ring(ring.begin(class, replaces)),
        }
    }

    /// Adds an item, in the place of one with the same key. After an error the fill can only be aborted.
    pub fn put(
        &mut self,
        fill: &mut Fill,
        key: &str,
        value: &[u8],
        tag: u32,
    ) -> Result<(), NotKept> {
        match (self, fill) {
            (Store::Ram(ram), Fill::Ram(fill)) => ram.put(fill, key, value),
            (Store::Ring(ring), Fill::Ring(fill)) => ring.put(fill, key, value, tag),
            _ => Err(NotKept::Gone),
        }
    }

    /// Takes an item out of a fill again.
    pub fn remove(&mut self, fill: &mut Fill, key: &str) {
        match (self, fill) {
            (Store::Ram(ram), Fill::Ram(fill)) => ram.remove(fill, key),
            (Store::Ring(ring), Fill::Ring(fill)) => ring.remove(fill, key),
            _ => {}
        }
    }

    /// Puts the fill in the place of `replaces`, or makes a new collection of it. Past this, it is the collection;
    /// before, nobody saw any of it. `name` is what the writer finds the collection by after a restart, at most
    /// [`crate::limits::STORE_NAME_BYTES_MAX`] bytes; `note` what it wants to know again with every read.
    pub fn commit(
        &mut self,
        fill: Fill,
        replaces: Option<CollectionId>,
        name: &[u8],
        version: &str,
        note: &[u8],
    ) -> Result<CollectionId, NotKept> {
        match (self, fill) {
            (Store::Ram(ram), Fill::Ram(fill)) => ram.commit(fill, replaces, version, note),
            (Store::Ring(ring), Fill::Ring(fill)) => {
                ring.commit(fill, replaces, name, version, note)
            }
            _ => Err(NotKept::Gone),
        }
    }

    pub fn abort(&mut self, fill: Fill) {
        match (self, fill) {
            (Store::Ram(ram), Fill::Ram(fill)) => ram.abort(fill),
            (Store::Ring(ring), Fill::Ring(fill)) => ring.abort(fill),
            _ => {}
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
            Store::Ring(ring) => ring.apply(id, changes, version),
        }
    }

    pub fn drop_collection(&mut self, id: CollectionId) {
        match self {
            Store::Ram(ram) => ram.drop_collection(id),
            Store::Ring(ring) => ring.drop_collection(id),
        }
    }

    /// Hears what became of what was offered: to be called before somebody is told what is there.
    pub fn settle(&mut self) {
        if let Store::Ring(ring) = self {
            ring.settle();
        }
    }

    pub fn contains(&self, id: CollectionId) -> bool {
        match self {
            Store::Ram(ram) => ram.contains(id),
            Store::Ring(ring) => ring.contains(id),
        }
    }

    /// The version alone, without counting as a use.
    pub fn version(&self, id: CollectionId) -> Option<&str> {
        match self {
            Store::Ram(ram) => ram.version(id),
            Store::Ring(ring) => ring.version(id),
        }
    }

    /// Objects and bytes of one collection.
    pub fn size(&self, id: CollectionId) -> Option<(usize, usize)> {
        match self {
            Store::Ram(ram) => ram.size(id),
            Store::Ring(ring) => ring.size(id),
        }
    }

    /// True if the collection stays as it is until it is replaced.
    pub fn is_frozen(&self, id: CollectionId) -> bool {
        match self {
            Store::Ram(_) => false,
            Store::Ring(ring) => ring.is_frozen(id),
        }
    }

    pub fn totals(&self) -> Totals {
        match self {
            Store::Ram(ram) => ram.totals(),
            Store::Ring(ring) => ring.totals(),
        }
    }

    /// Takes note of what was there when the ring was opened. `now`: unix seconds.
    pub fn take_over(&mut self, opened: &ring::thread::Opened, now: u64) -> Vec<Recovered> {
        match self {
            Store::Ram(_) => Vec::new(),
            Store::Ring(ring) => ring.take_over(opened, now),
        }
    }

    /// As the configuration names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Store::Ram(_) => "ram",
            Store::Ring(_) => "ring",
        }
    }

    /// What only a store on flash has to tell.
    pub fn flash(&self) -> Option<ring::thread::Stats> {
        match self {
            Store::Ram(_) => None,
            Store::Ring(ring) => Some(ring.stats()),
        }
    }

    /// What is where on flash. `None`: there is no flash, or nobody answers for it.
    pub fn segments(
        &self,
    ) -> impl Future<Output = Option<Vec<ring::report::SegmentState>>> + use<> {
        let segments = match self {
            Store::Ram(_) => None,
            Store::Ring(ring) => Some(ring.segments()),
        };
        async move { segments?.await.ok() }
    }

    /// A new cap, where it can be changed without a restart; what no longer fits goes.
    pub fn set_cap(&mut self, bytes_max: usize) {
        if let Store::Ram(ram) = self {
            ram.set_cap(bytes_max);
        }
    }

    /// Asks for everything to be written that a cut would lose. The future resolves when that is done.
    pub fn flush(&mut self) -> impl Future<Output = ()> + use<> {
        let done = match self {
            Store::Ram(_) => None,
            Store::Ring(ring) => Some(ring.flush()),
        };
        async move {
            if let Some(done) = done {
                let _ = done.await;
            }
        }
    }

    /// One item of the present version, and a use of it. `None`: the collection is gone or cannot be read. The future
    /// holds nothing of the store.
    pub fn one(
        &mut self,
        id: CollectionId,
        key: &str,
    ) -> impl Future<Output = Option<One>> + use<> {
        let one = match self {
            Store::Ram(ram) => Ok(ram.one(id, key)),
            Store::Ring(ring) => Err(ring.one(id, key)),
        };
        async move {
            match one {
                Ok(one) => one,
                Err(read) => Some(One::of_ring(read.await.ok()??)),
            }
        }
    }

    /// The present version, and a use of it. `None`: the collection is gone or cannot be read. The future holds nothing
    /// of the store.
    pub fn view(&mut self, id: CollectionId) -> impl Future<Output = Option<View>> + use<> {
        let view = match self {
            Store::Ram(ram) => Ok(ram.view(id)),
            Store::Ring(ring) => Err(ring.view(id)),
        };
        async move {
            match view {
                Ok(view) => view,
                Err((read, reader)) => Some(View::of_ring(read.await.ok()??, reader)),
            }
        }
    }
}
