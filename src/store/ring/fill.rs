//! A new version of a collection while it arrives. What is the same as before is not written again; the rest waits in
//! memory, and where that would be too much, is written ahead under a new log id, which does not exist before its commit
//! marker does.

use super::collection::{Collection, Urgency, Why};
use super::engine::{Engine, Pack, describe, is_bearable};
use super::index::{At, Entry, Gathering};
use super::log::AppendError;
use super::media::Media;
use super::record::{self, Record, State};
use crate::limits;
use crate::store::Class;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

pub struct Fill {
    class: Class,
    /// The collection that it will replace.
    replaces: Option<u64>,
    items: Gathering,
    /// Key and value of what waits in memory.
    held: BTreeMap<u64, (Box<str>, Bytes)>,
    /// Keys of what waits in memory, as they came: so they are written, and read again.
    arrived: Vec<u64>,
    /// Bytes of what waits in memory.
    held_bytes: usize,
    /// Bytes of all values.
    bytes: u64,
    /// Items are being written ahead as those of this log id.
    log_id: Option<u64>,
    /// Bytes of flash that this has taken.
    written: u64,
    /// Items that were written ahead and are gone again.
    gone: Vec<u64>,
}

/// What a collection shall be.
pub struct Label<'a> {
    pub class: Class,
    pub name: &'a [u8],
    pub note: &'a [u8],
    pub version: &'a str,
}

impl Fill {
    /// Items that lie on flash, its own or those of the collection that it replaces.
    pub fn placed(&self) -> impl Iterator<Item = &Entry> {
        self.items.iter().filter(|entry| !entry.at.is_waiting())
    }

    /// Of them, those that are still the other collection's.
    pub fn borrowed(&self) -> impl Iterator<Item = &Entry> {
        self.placed().filter(|entry| !entry.own)
    }

    /// True if what is borrowed is what `from` holds.
    pub fn is_lent_by(&self, from: Option<&Collection>) -> bool {
        self.borrowed().all(|entry| {
            from.is_some_and(|c| c.table.get(entry.key).is_some_and(|e| e.at == entry.at))
        })
    }

    pub fn replaces(&self) -> Option<u64> {
        self.replaces
    }

    pub fn class(&self) -> Class {
        self.class
    }

    /// True if records of it were written.
    pub fn is_ahead(&self) -> bool {
        self.log_id.is_some()
    }

    /// The item's record lies there now; `own`: as the fill's own.
    pub fn point(&mut self, key: u64, from: At, to: At, own: bool) {
        if let Some(entry) = self.items.get_mut(key)
            && entry.at == from
        {
            entry.at = to;
            entry.own |= own;
        }
    }

    /// What comes and goes again and again arrives once.
    fn forget_earlier_arrivals(&mut self) {
        if self.arrived.len() > 2 * self.items.len() + 64 {
            let mut seen = BTreeSet::new();
            let held = &self.held;
            (self.arrived).retain(|key| held.contains_key(key) && seen.insert(*key));
        }
    }

    /// True if a record of it was written.
    fn remove(&mut self, key: u64) -> bool {
        self.let_go(key);
        let Some(old) = self.items.remove(key) else {
            return false;
        };
        self.bytes -= u64::from(old.len);
        old.own
    }

    /// Its value is not held in memory any more.
    fn let_go(&mut self, key: u64) {
        if let Some((key, value)) = self.held.remove(&key) {
            self.held_bytes -= record::bytes_max(key.len(), value.len());
        }
    }
}

impl<M: Media> Engine<M> {
    /// Begins a new version of a collection, or a new one.
    pub fn begin(&mut self, fill: u64, class: Class, replaces: Option<u64>) {
        if self.off().is_none() {
            self.fills.insert(
                fill,
                Fill {
                    class,
                    replaces,
                    items: Gathering::default(),
                    held: BTreeMap::new(),
                    arrived: Vec::new(),
                    held_bytes: 0,
                    bytes: 0,
                    log_id: None,
                    written: 0,
                    gone: Vec::new(),
                },
            );
        }
    }

    /// Adds an item. An error has given the fill up.
    pub fn put(&mut self, fill: u64, key: &str, value: Bytes, tag: u32) -> Result<(), Why> {
        let entry = self.entry(key, &value, tag);
        let Some(filling) = self.fills.get_mut(&fill) else {
            return Err(Why::Overtaken);
        };
        if !is_bearable(key, &value) {
            self.fills.remove(&fill);
            return Err(Why::TooLarge);
        }
        let own = filling.remove(entry.key);
        let kept = (filling
            .replaces
            .filter(|_| filling.log_id.is_none() && !own))
        .and_then(|id| self.collections.get(&id)?.table.get(entry.key))
        .filter(|kept| kept.has_value_of(&entry) && !kept.at.is_waiting());
        let at = kept.map_or(At::WAITING, |kept| kept.at);
        self.counts.identical += u64::from(kept.is_some());
        if kept.is_none() {
            filling.held_bytes += record::bytes_max(key.len(), value.len());
            filling.held.insert(entry.key, (key.into(), value));
            filling.arrived.push(entry.key);
        }
        filling.bytes += u64::from(entry.len);
        filling.items.insert(Entry { at, own, ..entry });
        filling.forget_earlier_arrivals();
        if filling.held_bytes > self.flush_bytes() {
            return self.write_ahead(fill);
        }
        Ok(())
    }

    pub fn remove(&mut self, fill: u64, key: &str) {
        let key = self.log.keys().digest(&[key.as_bytes()]);
        if let Some(filling) = self.fills.get_mut(&fill)
            && filling.remove(key)
        {
            filling.gone.push(key);
        }
    }

    pub fn abort(&mut self, fill: u64) {
        self.fills.remove(&fill);
    }

    /// Writes what is held in memory. An error has given the fill up.
    fn write_ahead(&mut self, fill: u64) -> Result<(), Why> {
        let written = self.try_write_ahead(fill);
        if written.is_err() {
            self.fills.remove(&fill);
        }
        self.charge();
        self.tidy();
        match self.fills.contains_key(&fill) {
            true => Ok(()),
            false => written.and(Err(Why::NoRoom)),
        }
    }

    fn try_write_ahead(&mut self, fill: u64) -> Result<(), Why> {
        let log_id = self.next_log_id;
        let filling = self.fills.get_mut(&fill).ok_or(Why::Overtaken)?;
        let log_id = *filling.log_id.get_or_insert(log_id);
        self.next_log_id = self.next_log_id.max(log_id.saturating_add(1));
        let (class, spare, held) = (filling.class, filling.replaces, filling.held_bytes as u64);
        let written = filling.written;
        if !self.budget.allows(class, Urgency::Soon) || !self.budget.has_for_list() {
            return Err(Why::Budget);
        }
        // One list of somebody's shall not push out all others of its class, and then not fit itself.
        let share = match class {
            0 | 1 => self.high_water() / 2,
            _ => self.high_water(),
        };
        if written + held / 2 > share || !self.make_room(class, spare, held / 2) {
            return Err(Why::NoRoom);
        }
        loop {
            let pack_bytes = self.pack_bytes();
            let filling = self.fills.get_mut(&fill).ok_or(Why::NoRoom)?;
            let mut pack = Pack::default();
            let deletions = filling.gone.len().min(limits::RING_DROPS_PER_FRAME);
            for key in filling.gone.drain(..deletions) {
                pack.add(&Record::Delete { id: log_id, key });
            }
            // What was put again since must not be written before its deletion.
            let arrived = match filling.gone.is_empty() {
                true => filling.arrived.as_slice(),
                false => &[],
            };
            let mut keys = Vec::new();
            let mut seen = 0;
            for digest in arrived {
                // What was put twice, or taken out again, is not held here any more.
                let held = filling.held.get(digest).zip(filling.items.get(*digest));
                if let Some(((key, value), entry)) = held {
                    let bytes = record::bytes_max(key.len(), value.len());
                    if pack.raw.len() + bytes > pack_bytes && pack.records > 0 {
                        break;
                    }
                    keys.push((*digest, pack.records));
                    pack.add(&Record::Put(record::Put {
                        id: log_id,
                        tag: entry.tag,
                        key,
                        value,
                    }));
                }
                seen += 1;
            }
            filling.arrived.drain(..seen);
            if pack.records == 0 {
                return Ok(());
            }
            self.note_wear(&mut pack);
            let place = self.append_or_fail(&pack)?;
            let taken = self.log.bytes_from(place);
            let Some(filling) = self.fills.get_mut(&fill) else {
                return Err(Why::NoRoom);
            };
            filling.written += taken;
            for (key, record) in keys {
                filling.let_go(key);
                if let Some(entry) = filling.items.get_mut(key) {
                    entry.own = true;
                    entry.at = At {
                        segment: place.segment,
                        block: place.block,
                        record,
                    };
                }
            }
            // The next may need a segment of its own.
            self.tidy();
        }
    }

    fn append_or_fail(&mut self, pack: &Pack) -> Result<super::log::Place, Why> {
        match self.append(&pack.raw, pack.records) {
            Ok(place) => Ok(place),
            Err(AppendError::TooLarge) => Err(Why::TooLarge),
            Err(AppendError::Full) => Err(Why::NoRoom),
            Err(AppendError::Io(error)) => {
                self.fail("writing", &error);
                Err(Why::Off)
            }
        }
    }

    /// Puts the fill in the place of collection `id`, or makes it. An error leaves the collection as it was.
    pub fn commit(&mut self, fill: u64, id: u64, label: &Label<'_>) -> Result<(), Why> {
        if label.name.len() > limits::STORE_NAME_BYTES_MAX
            || label.note.len() > limits::STORE_NOTE_BYTES_MAX
            || label.version.len() > limits::STORE_VERSION_BYTES_MAX
        {
            self.fills.remove(&fill);
            return Err(Why::TooLarge);
        }
        let held = self.fills.get(&fill).map_or(0, |f| f.held_bytes);
        if self.waiting_bytes() + held > self.flush_bytes() {
            self.flush();
        }
        let Some(filling) = self.fills.get(&fill) else {
            return Err(if self.off().is_some() {
                Why::Off
            } else {
                Why::NoRoom
            });
        };
        // What was borrowed of another collection than the one that is replaced, or of one that has moved on, is not
        // known to be what the fill was told.
        let kept = self.collections.get(&id);
        let is_same = kept.is_none_or(|k| *k.note == *label.note && *k.name == *label.name);
        if !filling.is_lent_by(kept) {
            self.fills.remove(&fill);
            return Err(Why::Overtaken);
        }
        let gone = kept.map_or(0, |k| {
            k.table
                .iter()
                .filter(|e| filling.items.get(e.key).is_none())
                .count()
        });
        let bytes = filling.held_bytes + gone * record::bytes_max(0, 0);
        let done = match filling.log_id {
            None if is_same && bytes <= self.flush_bytes() => self.commit_changes(fill, id, label),
            _ => self.commit_anew(fill, id, label),
        };
        self.fills.remove(&fill);
        if done.is_ok() {
            // What became of the old one on the way does not matter any more.
            self.forget_notices(id);
            self.touch(id);
        }
        done
    }

    /// As changes of the collection that is there, or a new one: they wait like all others.
    fn commit_changes(&mut self, fill: u64, id: u64, label: &Label<'_>) -> Result<(), Why> {
        let Some(filling) = self.fills.remove(&fill) else {
            return Err(Why::Off);
        };
        let next_log_id = self.next_log_id;
        let keys = self.log.keys();
        let mut urgency = Urgency::Version;
        let collection = self.collections.get_or_insert_with(id, || {
            urgency = Urgency::Soon;
            Collection::new(next_log_id, label.class, label.name, label.note)
        });
        if collection.log_id == next_log_id {
            self.next_log_id = self.next_log_id.saturating_add(1);
        }
        collection.frozen = None;
        if collection.class != label.class {
            collection.class = label.class;
            collection.is_relabelled = true;
        }
        let gone: Vec<u64> = (collection.table.iter())
            .map(|e| e.key)
            .filter(|key| filling.items.get(*key).is_none())
            .collect();
        for key in gone {
            urgency = urgency.max(collection.delete(keys, key));
        }
        for (digest, (key, value)) in filling.held {
            if let Some(entry) = filling.items.get(digest) {
                urgency = urgency.max(collection.put(keys, *entry, &key, value));
            }
        }
        self.moved(id, label.version, urgency);
        match self.collections.get(&id).map(|c| c.frozen) {
            Some(None) => Ok(()),
            Some(Some(why)) => Err(why),
            None => Err(Why::TooLarge),
        }
    }

    /// Under a log id of its own, all of it written and synced before its commit marker.
    fn commit_anew(&mut self, fill: u64, id: u64, label: &Label<'_>) -> Result<(), Why> {
        self.write_ahead(fill)?;
        let log_id = self
            .fills
            .get(&fill)
            .and_then(|f| f.log_id)
            .ok_or(Why::NoRoom)?;
        let adopted = self.adopt(fill, log_id);
        self.charge();
        match adopted {
            Ok(()) => {}
            Err(AppendError::Io(error)) => {
                self.fail("writing", &error);
                return Err(Why::Off);
            }
            Err(_) => return Err(Why::NoRoom),
        }
        if let Err(error) = self.log.sync() {
            self.fail("syncing", &error);
            return Err(Why::Off);
        }
        let filling = self.fills.get(&fill).ok_or(Why::NoRoom)?;
        let mut anew = Collection::new(log_id, label.class, label.name, label.note);
        anew.bytes = filling.bytes;
        anew.digest = super::collection::sum(self.log.keys(), filling.items.iter());
        anew.version = label.version.into();
        anew.refreshed = self.now.unix;
        let count = filling.items.len() as u64;
        let mut pack = Pack::default();
        pack.add(&describe(&anew));
        pack.add(&Record::Commit {
            id: log_id,
            state: State {
                count,
                ..anew.state()
            },
        });
        if let Some(old) = self.collections.get(&id).filter(|c| c.durable.is_some()) {
            pack.add(&Record::Drop { id: old.log_id });
        }
        let place = self.append_or_fail(&pack)?;
        if let Err(error) = self.log.sync() {
            self.fail("syncing", &error);
            return Err(Why::Off);
        }
        // Making room for the marker may have moved items of the fill; or, at the last resort, given it up.
        let Some(filling) = self.fills.remove(&fill) else {
            self.lose(id, Why::NoRoom);
            return Err(Why::NoRoom);
        };
        anew.table = filling.items.into_table();
        anew.described = Some(place.segment);
        anew.settle(place.segment);
        self.collections.insert(id, anew);
        self.charge();
        self.tidy();
        match self.collections.contains_key(&id) {
            true => Ok(()),
            false => Err(Why::NoRoom),
        }
    }
}
