//! The ring: collections over the log. One thread calls it; nothing here waits but for the flash.
//!
//! What it promises (flash.md 3.3): a collection is there after a cut exactly as one of its commit markers says, and not
//! older than the last one that was synced; one whose items do not agree with its marker is not there at all.

use super::budget::Budget;
use super::collection::{Collection, Urgency, Why};
use super::fill::Fill;
use super::index::{At, Entry};
use super::log::{AppendError, Log, Place};
use super::media::Media;
use super::record::{self, Record, Wear};
use crate::limits;
use crate::store::sorted::SortedMap;
use crate::store::{Change, Class};
use bytes::Bytes;
use std::io;
use std::time::Duration;

/// What the ring may take, and how it writes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes that all files may have together.
    pub bytes_max: u64,
    /// Of the node's name: a ring of another node is not read.
    pub node: u64,
    /// How long a change may wait.
    pub flush: Duration,
    /// Bytes that may be written a day.
    pub daily: u64,
}

/// When something happens: since the process began, and, if there is a clock, in unix seconds (else 0).
#[derive(Debug, Clone, Copy, Default)]
pub struct Moment {
    pub up: Duration,
    pub unix: u64,
}

/// What the writer must be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The collection stays at this version until it is replaced.
    Frozen {
        id: u64,
        version: Box<str>,
        why: Why,
    },
    /// The collection is not there any more.
    Gone { id: u64, why: Why },
}

/// What happened, since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub flushes: u64,
    pub evicted: u64,
    /// Items that were the same as the one kept.
    pub identical: u64,
    /// Records carried on by reclaim.
    pub carried: u64,
    pub reclaimed: u64,
    /// Segments that were given up although they held what counts.
    pub last_resorts: u64,
    /// Collections whose items could no longer be read.
    pub rotten: u64,
}

pub struct Engine<M> {
    pub(super) log: Log<M>,
    pub(super) settings: Settings,
    pub(super) collections: SortedMap<u64, Collection>,
    pub(super) fills: SortedMap<u64, Fill>,
    /// Log ids of collections that are gone, until that is durable.
    dropped: Vec<u64>,
    dropped_due: Option<Duration>,
    pub(super) next_log_id: u64,
    pub(super) budget: Budget,
    pub(super) wear: Wear,
    /// Bytes written when the budget was last charged.
    charged: u64,
    pub(super) now: Moment,
    uses: u64,
    notices: Vec<Notice>,
    off: Option<String>,
    /// There was no room for all the segments that it may have.
    pub is_short: bool,
    pub counts: Counts,
    /// Names of what was there when it was opened, and is not whole.
    pub broken: Vec<Box<[u8]>>,
}

impl<M: Media> Engine<M> {
    pub(super) fn new(log: Log<M>, settings: Settings, now: Moment) -> Self {
        Engine {
            log,
            budget: Budget::new(settings.daily, None, now.up),
            settings,
            collections: SortedMap::new(),
            fills: SortedMap::new(),
            dropped: Vec::new(),
            dropped_due: None,
            next_log_id: 1,
            wear: Wear::default(),
            charged: 0,
            now,
            uses: 0,
            notices: Vec::new(),
            off: None,
            is_short: false,
            counts: Counts::default(),
            broken: Vec::new(),
        }
    }

    /// To be told before anything else.
    pub fn set_now(&mut self, now: Moment) {
        self.now = now;
        self.budget.refill(now.up);
    }

    /// Why nothing is written any more.
    pub fn off(&self) -> Option<&str> {
        self.off.as_deref()
    }

    /// It is there again, whatever was to be told of it.
    pub(super) fn forget_notices(&mut self, of: u64) {
        self.notices.retain(|notice| {
            let (Notice::Frozen { id, .. } | Notice::Gone { id, .. }) = notice;
            *id != of
        });
    }

    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Bytes that may be written a day.
    pub fn daily_bytes(&self) -> u64 {
        self.settings.daily
    }

    /// Bytes written in the ring's life.
    pub fn wear(&self) -> Wear {
        Wear {
            written: self.wear.written + self.log.written.bytes(),
            left: self.budget.left(),
            starts: self.wear.starts,
        }
    }

    pub fn log(&self) -> &Log<M> {
        &self.log
    }

    pub fn collection(&self, id: u64) -> Option<&Collection> {
        self.collections.get(&id)
    }

    pub fn collections(&self) -> impl Iterator<Item = (u64, &Collection)> {
        self.collections.iter().map(|(id, c)| (*id, c))
    }

    /// The entry of an item that is not on flash yet.
    pub(super) fn entry(&self, key: &str, value: &[u8], tag: u32) -> Entry {
        let keys = self.log.keys();
        Entry {
            key: keys.digest(&[key.as_bytes()]),
            value: keys.digest(&[value]),
            len: value.len() as u32,
            tag,
            at: At::WAITING,
            own: false,
        }
    }

    /// Changes a collection, and moves it to this version: all or nothing.
    pub fn apply(&mut self, id: u64, changes: &[Change<'_>], version: &str) -> Result<(), Why> {
        let frozen = match self.collections.get(&id) {
            None => return Err(Why::Overtaken),
            Some(collection) => collection.frozen,
        };
        if let Some(why) = frozen {
            return Err(why);
        }
        let fits = |change: &Change<'_>| match change {
            Change::Put { key, value, .. } => is_bearable(key, value),
            Change::Delete(_) => true,
        };
        if version.len() > limits::STORE_VERSION_BYTES_MAX || !changes.iter().all(fits) {
            self.freeze(id, Why::TooLarge);
            return Err(Why::TooLarge);
        }
        let cost: usize = changes.iter().map(cost).sum();
        if self.waiting_bytes() + cost > self.flush_bytes() {
            self.flush();
        }
        let entries: Vec<Option<Entry>> = changes
            .iter()
            .map(|change| match change {
                Change::Put { key, value, tag } => Some(self.entry(key, value, *tag)),
                Change::Delete(_) => None,
            })
            .collect();
        let keys = self.log.keys();
        let Some(collection) = self.collections.get_mut(&id).filter(|c| c.frozen.is_none()) else {
            return Err(Why::Off);
        };
        let mut urgency = Urgency::Version;
        for (change, entry) in changes.iter().zip(entries) {
            let how = match (change, entry) {
                (Change::Put { key, value, .. }, Some(entry)) => {
                    let value = Bytes::copy_from_slice(value);
                    collection.put(keys, entry, key, value)
                }
                (Change::Delete(key), _) => collection.delete(keys, keys.digest(&[key.as_bytes()])),
                _ => Urgency::Version,
            };
            self.counts.identical +=
                u64::from(how == Urgency::Version && matches!(change, Change::Put { .. }));
            urgency = urgency.max(how);
        }
        self.moved(id, version, urgency);
        Ok(())
    }

    /// The collection is at this version now; asks for it to be written, and writes if too much waits.
    pub(super) fn moved(&mut self, id: u64, version: &str, urgency: Urgency) {
        let wait = self.wait(urgency);
        let (now, unix) = (self.now.up, self.now.unix);
        if let Some(collection) = self.collections.get_mut(&id) {
            collection.version = version.into();
            collection.refreshed = unix;
            collection.waiting.ask(urgency, now, wait);
        }
        if self.waiting_bytes() > self.flush_bytes() {
            self.flush();
        }
        // What may not be written may not pile up either.
        while self.waiting_bytes() > limits::RING_WAITING_BYTES_MAX {
            let most = (self.collections.iter())
                .filter(|(_, c)| c.waiting.bytes > 0)
                .min_by_key(|(_, c)| (c.class, std::cmp::Reverse(c.waiting.bytes)))
                .map(|(id, _)| *id);
            match most {
                Some(id) => self.freeze(id, Why::Budget),
                None => break,
            }
        }
    }

    fn wait(&self, urgency: Urgency) -> Duration {
        let flush = self.settings.flush;
        match urgency {
            Urgency::Soon => flush,
            Urgency::Late => flush * limits::RING_LATE_FACTOR * self.budget.patience(),
            Urgency::Version => flush * limits::RING_VERSION_FACTOR,
        }
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.collections.values().map(|c| c.waiting.bytes).sum()
    }

    /// So much waits before it is written out of turn.
    pub(super) fn flush_bytes(&self) -> usize {
        limits::RING_FLUSH_BYTES.min(self.log.frame_bytes_max() / 2)
    }

    /// Most bytes of records in one frame, but for a lone big one.
    pub(super) fn pack_bytes(&self) -> usize {
        limits::RING_PACK_BYTES.min(self.log.frame_bytes_max())
    }

    /// A use of a collection.
    pub(super) fn touch(&mut self, id: u64) {
        self.uses += 1;
        if let Some(collection) = self.collections.get_mut(&id) {
            collection.used = self.uses;
        }
    }

    /// Forgets a collection.
    pub fn drop_collection(&mut self, id: u64) {
        if let Some(gone) = self.collections.remove(&id)
            && gone.durable.is_some()
        {
            self.bury(gone.log_id);
        }
    }

    /// What bears this log id does not count any more: asks for that to be written.
    pub(super) fn bury(&mut self, log_id: u64) {
        self.dropped.push(log_id);
        let due = self.now.up.saturating_add(self.settings.flush);
        self.dropped_due = Some(self.dropped_due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Forgets a collection, and tells the writer.
    pub(super) fn lose(&mut self, id: u64, why: Why) {
        if self.collections.contains_key(&id) {
            self.drop_collection(id);
            self.counts.rotten += u64::from(why == Why::Rotten);
            self.notices.push(Notice::Gone { id, why });
        }
    }

    /// Leaves a collection at what is durable of it; forgets it if nothing is.
    pub(super) fn freeze(&mut self, id: u64, why: Why) {
        let Some(collection) = self.collections.get_mut(&id) else {
            return;
        };
        if !collection.revert() {
            return self.lose(id, why);
        }
        collection.frozen = Some(why);
        let version = collection.version.clone();
        self.notices.push(Notice::Frozen { id, version, why });
    }

    /// Stops writing for good: what is on the flash is no longer known.
    pub(super) fn fail(&mut self, doing: &str, error: &io::Error) {
        if self.off.is_some() {
            return;
        }
        self.off = Some(format!("{doing}: {error}"));
        self.fills.clear();
        let ids: Vec<u64> = self.collections.keys().copied().collect();
        ids.into_iter().for_each(|id| self.freeze(id, Why::Off));
    }

    /// When something wants to be written next.
    pub fn due(&self) -> Option<Duration> {
        let waiting = self.collections.values().filter_map(|c| c.waiting.due);
        waiting
            .chain(self.dropped_due)
            .min()
            .filter(|_| self.off.is_none())
    }

    /// Writes what is due, and all that waits with it.
    pub fn tick(&mut self) {
        if self.due().is_some_and(|due| due <= self.now.up) {
            self.flush();
        }
    }

    /// Writes everything that waits, as far as the budget allows. What was written is durable when it returns.
    pub fn flush(&mut self) {
        if self.off.is_some() {
            return;
        }
        let mut ids: Vec<(Class, u64)> = (self.collections.iter())
            .filter(|(_, c)| c.waiting.due.is_some())
            .map(|(id, c)| (c.class, *id))
            .collect();
        ids.sort_by_key(|(class, id)| (std::cmp::Reverse(*class), *id));
        let mut pack = Pack::default();
        self.note_wear(&mut pack);
        for some in self.dropped.clone().chunks(limits::RING_DROPS_PER_FRAME) {
            if !pack.drops.is_empty() && !self.write_pack(std::mem::take(&mut pack)) {
                return;
            }
            pack.drops = some.to_vec();
            (some.iter()).for_each(|log_id| pack.add(&Record::Drop { id: *log_id }));
        }
        for (class, id) in ids {
            self.budget.refill(self.now.up);
            if !self.allows(class, id) {
                self.put_off(id);
                continue;
            }
            let before = pack.mark();
            self.pack_collection(id, &mut pack);
            if pack.raw.len() > self.pack_bytes() && !(before.parts == 0 && pack.drops.is_empty()) {
                pack.cut(before);
                if !self.write_pack(std::mem::take(&mut pack)) {
                    return;
                }
                self.tidy();
                self.pack_collection(id, &mut pack);
            }
        }
        let is_empty = pack.parts.is_empty() && pack.drops.is_empty();
        if !is_empty && !self.write_pack(pack) {
            return;
        }
        // None are left, but for those that went meanwhile, and where there was no room to say so.
        self.dropped_due = (self.dropped.first()).map(|_| self.now.up + limits::RING_BUDGET_RETRY);
        self.tidy();
    }

    fn allows(&self, class: Class, id: u64) -> bool {
        let urgency = self.collections.get(&id).and_then(|c| c.waiting.urgency);
        self.budget
            .allows(class, urgency.unwrap_or(Urgency::Version))
    }

    fn put_off(&mut self, id: u64) {
        let again = self.now.up + limits::RING_BUDGET_RETRY;
        if let Some(collection) = self.collections.get_mut(&id) {
            collection.waiting.due = Some(again);
        }
    }

    fn pack_collection(&self, id: u64, pack: &mut Pack) {
        let Some(collection) = self.collections.get(&id) else {
            return;
        };
        let mut part = Part {
            id,
            describes: collection.described.is_none() || collection.is_relabelled,
            puts: Vec::new(),
        };
        let log_id = collection.log_id;
        if part.describes {
            pack.add(&describe(collection));
        }
        for (digest, change) in collection.waiting.changes.iter() {
            match &change.put {
                Some((key, value)) => {
                    part.puts.push((*digest, pack.records));
                    pack.add(&Record::Put(record::Put {
                        id: log_id,
                        tag: change.tag,
                        key,
                        value,
                    }));
                }
                None => pack.add(&Record::Delete {
                    id: log_id,
                    key: *digest,
                }),
            }
        }
        pack.add(&Record::Commit {
            id: log_id,
            state: collection.state(),
        });
        pack.parts.push(part);
    }

    /// Writes, syncs, and takes note of what is durable now. False: the store is off.
    fn write_pack(&mut self, pack: Pack) -> bool {
        let written = match self.append(&pack.raw, pack.records) {
            Ok(place) => self.log.sync().map(|()| place).map_err(AppendError::Io),
            Err(error) => Err(error),
        };
        match written {
            Ok(place) => {
                self.counts.flushes += 1;
                self.dropped.retain(|id| !pack.drops.contains(id));
                self.settle(&pack, place);
            }
            Err(AppendError::Io(error)) => {
                self.fail("writing", &error);
                return false;
            }
            Err(AppendError::TooLarge | AppendError::Full) => {
                let why = Why::TooLarge;
                pack.parts.iter().for_each(|part| self.freeze(part.id, why));
            }
        }
        self.charge();
        true
    }

    fn settle(&mut self, pack: &Pack, place: Place) {
        for part in &pack.parts {
            let Some(collection) = self.collections.get_mut(&part.id) else {
                continue;
            };
            for (key, record) in &part.puts {
                if let Some(entry) = collection.table.get_mut(*key) {
                    entry.at = At {
                        segment: place.segment,
                        block: place.block,
                        record: *record,
                    };
                }
            }
            if part.describes {
                collection.described = Some(place.segment);
                collection.is_relabelled = false;
            }
            collection.settle(place.segment);
        }
    }

    /// Says in the frame how much was written so far, where there is room for it. Whatever is written tells that, or a power
    /// cut would give a new day's budget to a box that only ever writes lists.
    pub(super) fn note_wear(&self, pack: &mut Pack) {
        if pack.raw.len() + record::bytes_max(0, 0) <= self.pack_bytes() {
            pack.add(&Record::Wear(self.wear()));
        }
    }

    /// Appends a frame, making room by what it takes.
    pub(super) fn append(&mut self, raw: &[u8], records: u16) -> Result<Place, AppendError> {
        loop {
            match self.log.append(raw, records) {
                Err(AppendError::Full) => {}
                other => return other,
            }
            if !self.reclaim_oldest()? && !self.last_resort() {
                return Err(AppendError::Full);
            }
        }
    }

    /// Takes what was written since the last time off the budget.
    pub(super) fn charge(&mut self) {
        let written = self.log.written.bytes();
        self.budget.spend(written - self.charged);
        self.charged = written;
    }
}

/// True if a record of it could be written at all.
pub(super) fn is_bearable(key: &str, value: &[u8]) -> bool {
    key.len() <= limits::STORE_KEY_BYTES_MAX
        && record::bytes_max(key.len(), value.len()) <= limits::RING_FRAME_RAW_BYTES_MAX
}

fn cost(change: &Change<'_>) -> usize {
    match change {
        Change::Put { key, value, .. } => record::bytes_max(key.len(), value.len()),
        Change::Delete(_) => record::bytes_max(0, 0),
    }
}

pub(super) fn describe(collection: &Collection) -> Record<'_> {
    Record::Describe {
        id: collection.log_id,
        class: collection.class,
        name: &collection.name,
        note: &collection.note,
    }
}

/// Records that are written together.
#[derive(Default)]
pub(super) struct Pack {
    pub raw: Vec<u8>,
    pub records: u16,
    pub parts: Vec<Part>,
    /// Log ids that it says to be gone.
    pub drops: Vec<u64>,
}

/// One collection's records in a pack.
pub(super) struct Part {
    pub id: u64,
    pub describes: bool,
    /// Key digests, and the numbers of their records.
    pub puts: Vec<(u64, u16)>,
}

#[derive(Clone, Copy)]
struct Mark {
    raw: usize,
    records: u16,
    parts: usize,
}

impl Pack {
    pub fn add(&mut self, record: &Record<'_>) {
        record.write(&mut self.raw);
        self.records += 1;
    }

    fn mark(&self) -> Mark {
        Mark {
            raw: self.raw.len(),
            records: self.records,
            parts: self.parts.len(),
        }
    }

    fn cut(&mut self, to: Mark) {
        self.raw.truncate(to.raw);
        self.records = to.records;
        self.parts.truncate(to.parts);
    }
}
