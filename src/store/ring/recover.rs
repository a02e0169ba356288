//! Every start is a recovery: scan, take what is whole, stop at the torn tail.

use super::collection::{Collection, Durable};
use super::engine::{Engine, Moment, Settings};
use super::index::{At, Entry, Table};
use super::layout::{BLOCK, FORMAT, SUPER_BYTES, Super};
use super::log::{AppendError, Log, Place};
use super::media::{Media, Name};
use super::record::{Record, Records, Wear};
use super::seal::Keys;
use crate::limits;
use crate::store::Class;
use crate::store::sorted::SortedMap;
use nix::errno::Errno;
use std::collections::HashMap;
use std::fmt;
use std::io;

/// Why what was there was not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anew {
    /// Nothing was there.
    First,
    /// Neither copy of the super block could be read.
    Unreadable,
    /// It was written by another version.
    Format(u16),
    /// It was sealed with another key.
    Key,
    /// It was another node's.
    Node,
}

impl fmt::Display for Anew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Anew::First => f.write_str("nothing was kept there before"),
            Anew::Unreadable => f.write_str("what was kept there cannot be read"),
            Anew::Format(format) => {
                write!(
                    f,
                    "what was kept there has format {format}, this is {FORMAT}"
                )
            }
            Anew::Key => f.write_str("what was kept there is sealed with another key"),
            Anew::Node => f.write_str("what was kept there is another node's"),
        }
    }
}

/// Why a ring cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    Io(io::Error),
    /// Only when it is opened to look on.
    Anew(Anew),
    /// Nothing can be derived from the key.
    Key,
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        OpenError::Io(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io(error) => error.fmt(f),
            OpenError::Anew(anew) => anew.fmt(f),
            OpenError::Key => f.write_str("nothing can be derived from the key"),
        }
    }
}

/// A collection while its records are read.
#[derive(Default)]
struct Found {
    items: HashMap<u64, Entry>,
    label: Option<Label>,
    marker: Option<Durable>,
    /// Where its newest record stands, to tell which was written last.
    order: u64,
}

impl Found {
    /// The name, empty if that is lost, if it was ever committed.
    fn committed(&self) -> Option<Box<[u8]>> {
        let name = || self.label.as_ref().map(|label| label.name.clone());
        self.marker.as_ref().map(|_| name().unwrap_or_default())
    }
}

/// A description.
struct Label {
    class: Class,
    name: Box<[u8]>,
    note: Box<[u8]>,
    segment: u16,
}

/// Bytes of one segment of a ring with this cap.
pub fn segment_bytes(bytes_max: u64) -> u32 {
    let share = match bytes_max {
        ..=limits::RING_SMALL_BYTES => bytes_max / 32,
        _ => bytes_max / 64,
    };
    let (least, most) = match bytes_max {
        ..=limits::RING_SMALL_BYTES => (32 << 10, 256 << 10),
        _ => (256 << 10, 1 << 20),
    };
    (1 << share.max(1).ilog2()).clamp(least, most)
}

/// Segments of this size under this cap, beside the super block.
fn segment_count(bytes_max: u64, segment_bytes: u32) -> u16 {
    let count = bytes_max.saturating_sub(SUPER_BYTES) / u64::from(segment_bytes.max(1));
    count.min(u64::from(limits::RING_SEGMENTS_MAX)) as u16
}

fn read_super<M: Media>(media: &M) -> Result<Super, OpenError> {
    let mut anew = Anew::Unreadable;
    for copy in 0..2 {
        match super_copy(media, copy) {
            Ok(Some(read)) if read.format == FORMAT => return Ok(read),
            Ok(Some(read)) => anew = Anew::Format(read.format),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Without it nothing else can be read.
                anew = match was_used(media) {
                    true => Anew::Unreadable,
                    false => Anew::First,
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(OpenError::Anew(anew))
}

/// Whether anything was ever written to a segment. Where a power cut has ended the very first start, nothing was.
fn was_used<M: Media>(media: &M) -> bool {
    let mut block = vec![0; BLOCK];
    let segments = media.segments().unwrap_or_default();
    segments.into_iter().any(|(number, _)| {
        let read = media.read(Name::Segment(number), 0, &mut block);
        read.is_ok() && block.iter().any(|byte| *byte != 0)
    })
}

/// `None`: this copy is torn, or lies where nothing can be read. Errors of another kind say nothing about what is kept.
fn super_copy<M: Media>(media: &M, copy: u64) -> io::Result<Option<Super>> {
    let mut block = vec![0; BLOCK];
    match media.read(Name::Super, copy * BLOCK as u64, &mut block) {
        Ok(()) => Ok(Super::read(&block)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::EIO | Errno::EBADMSG | Errno::EUCLEAN => Ok(None),
            _ => Err(error),
        },
    }
}

/// Writes the copies again that cannot be read: the other one will be lost too some day, or lies with the kernel alone.
fn mend_super<M: Media>(media: &mut M, read: &Super) -> io::Result<()> {
    for copy in 0..2 {
        if super_copy(media, copy)?.as_ref() != Some(read) {
            write_super(media, copy, read)?;
        }
    }
    Ok(())
}

fn write_super<M: Media>(media: &mut M, copy: u64, block: &Super) -> io::Result<()> {
    media.write(Name::Super, copy * BLOCK as u64, &block.write())?;
    media.sync(Name::Super)
}

/// The super block of a ring that this hub may read, and its keys.
fn admit<M: Media>(media: &M, secret: &[u8], node: u64) -> Result<(Super, Keys), OpenError> {
    let read = read_super(media)?;
    if read.format != FORMAT {
        return Err(OpenError::Anew(Anew::Format(read.format)));
    }
    let keys = Keys::new(secret, &read.uuid).map_err(|_| OpenError::Key)?;
    match read.check == keys.check() {
        false => Err(OpenError::Anew(Anew::Key)),
        true if read.node != node => Err(OpenError::Anew(Anew::Node)),
        true => Ok((read, keys)),
    }
}

impl<M: Media> Engine<M> {
    /// Opens the ring to write it; makes it where there is none that can be taken over, and says why.
    pub fn open(
        media: M,
        secret: &[u8],
        settings: Settings,
        now: Moment,
    ) -> Result<(Self, Option<Anew>), OpenError> {
        let mut media = media;
        let (read, keys, anew) = match admit(&media, secret, settings.node) {
            Ok((read, keys)) => (read, keys, None),
            Err(OpenError::Anew(anew)) => {
                let (read, keys) = make(&mut media, secret, &settings)?;
                (read, keys, Some(anew))
            }
            Err(error) => return Err(error),
        };
        let mended = mend_super(&mut media, &read);
        let size = segment_bytes(settings.bytes_max);
        let count = segment_count(settings.bytes_max, size);
        let mut engine = Engine::recover(Log::new(media, keys, size), settings, now)?;
        engine.wear.starts += 1;
        match mended.and_then(|()| engine.begin_to_write(count)) {
            // What is there can be told, if no more.
            Err(error) if anew.is_none() => engine.fail("opening", &error),
            begun => begun?,
        }
        Ok((engine, anew))
    }

    /// Opens a ring that is there to write it, and leaves it as large as it is.
    pub fn open_as_it_is(
        media: M,
        secret: &[u8],
        settings: Settings,
        now: Moment,
    ) -> Result<Self, OpenError> {
        let mut engine = Engine::take_up(media, secret, settings, now)?;
        engine.wear.starts += 1;
        engine.log.resume()?;
        while engine.log.count() < limits::RING_SEGMENTS_MIN {
            engine.log.make_segment()?;
        }
        Ok(engine)
    }

    /// Opens a ring to look on: nothing is written.
    pub fn look(media: M, secret: &[u8], node: u64) -> Result<Self, OpenError> {
        let settings = Settings {
            bytes_max: 0,
            node,
            flush: std::time::Duration::MAX,
            daily: u64::MAX,
        };
        Engine::take_up(media, secret, settings, Moment::default())
    }

    fn take_up(
        media: M,
        secret: &[u8],
        settings: Settings,
        now: Moment,
    ) -> Result<Self, OpenError> {
        let (_, keys) = admit(&media, secret, settings.node)?;
        let log = Log::new(media, keys, segment_bytes(settings.bytes_max));
        Ok(Engine::recover(log, settings, now)?)
    }

    fn begin_to_write(&mut self, count: u16) -> io::Result<()> {
        self.log.resume()?;
        self.log.remove_others()?;
        self.resize(count)
    }

    fn recover(log: Log<M>, settings: Settings, now: Moment) -> io::Result<Self> {
        let mut engine = Engine::new(log, settings, now);
        let mut found: SortedMap<u64, Found> = SortedMap::new();
        let mut wear: Option<Wear> = None;
        let mut log_id_max = 0;
        let mut order = 0;
        let keys = engine.log.keys().clone();
        engine.log.replay(|place, raw| {
            for (number, record) in Records(raw).enumerate() {
                let Ok(record) = record else {
                    break;
                };
                order += 1;
                if let Record::Wear(read) = record {
                    wear = Some(read);
                } else {
                    log_id_max =
                        log_id_max.max(see(&mut found, &keys, place, number, &record, order));
                }
            }
        })?;
        if let Some(wear) = wear {
            engine.wear = wear;
            let daily = engine.settings.daily;
            engine.budget = super::budget::Budget::new(daily, Some(wear.left), now.up);
        }
        engine.next_log_id = log_id_max.saturating_add(1);
        let mut broken: Vec<Box<[u8]>> = Vec::new();
        let mut whole: Vec<(u64, u64, Collection)> = Vec::new();
        let mut newest: HashMap<Box<[u8]>, u64> = HashMap::new();
        // The newest first: of two of one name the other was given up, and nobody came to write that down.
        for (log_id, found) in found.into_iter().rev() {
            let (order, committed) = (found.order, found.committed());
            let taken = take_over(&keys, log_id, found);
            match taken.filter(|c| *newest.entry(c.name.clone()).or_insert(log_id) == log_id) {
                Some(collection) => whole.push((order, log_id, collection)),
                // It could seem whole again, once more of it is gone or can be read.
                None => broken.extend(committed.inspect(|_| engine.bury(log_id))),
            }
        }
        // What was written last was used last, as far as anybody knows.
        whole.sort_by_key(|(order, ..)| *order);
        for (_, log_id, collection) in whole {
            engine.collections.insert(log_id, collection);
            engine.touch(log_id);
        }
        engine.mourn(broken);
        while let Some(oldest) = engine.log.oldest().filter(|n| !engine.log.is_head(*n)) {
            if !engine.holds_anything(oldest) {
                engine.log.release_oldest();
            } else {
                break;
            }
        }
        Ok(engine)
    }

    /// Takes note of the names under which something was committed that is not whole. What is there in a newer version
    /// was only given up.
    fn mourn(&mut self, mut broken: Vec<Box<[u8]>>) {
        broken.sort_unstable();
        broken.dedup();
        broken.retain(|name| !self.collections.values().any(|c| c.name == *name));
        self.counts.rotten += broken.len() as u64;
        self.broken = broken;
    }

    fn holds_anything(&self, segment: u16) -> bool {
        self.collections.values().any(|c| {
            c.described == Some(segment)
                || c.durable.as_ref().is_some_and(|d| d.segment == segment)
                || c.table.iter().any(|e| e.at.segment == segment)
        })
    }

    /// Makes the ring as large as it shall be, of segments of the size that they shall have. What does not fit any more
    /// goes; the rest is carried on as in every reclaim, so that a cut at any time leaves a ring, which the next start goes
    /// on with.
    fn resize(&mut self, count: u16) -> io::Result<()> {
        let bytes = u64::from(count) * self.log.segment_bytes();
        if self.log.bytes() > bytes {
            self.keep_what_fits(bytes / 2);
            self.flush();
        }
        // While there are both, the files take no more than they did, or shall.
        let bytes_max = bytes.max(self.log.bytes());
        let mut turns = 4 * usize::from(self.log.count().max(count));
        while self.off().is_none() && turns > 0 {
            turns -= 1;
            match self.exchange(count, bytes_max) {
                Err(error) if is_full(&error) && self.log.count() >= limits::RING_SEGMENTS_MIN => {
                    self.is_short = true;
                    break;
                }
                exchanged => exchanged?,
            }
            if self.log.misfits() == 0 && self.log.count() <= count {
                break;
            }
            if !self.free_oldest()? && !self.evict(Class::MAX, None) && !self.last_resort() {
                break;
            }
        }
        // Smaller segments hold less of the same bytes.
        self.keep_what_fits(self.high_water());
        // Says what went, and keeps segments free.
        self.flush();
        Ok(())
    }

    /// Takes segments away of which there are too many, or which have another size, one by one, and makes others in their
    /// place.
    fn exchange(&mut self, count: u16, bytes_max: u64) -> io::Result<()> {
        loop {
            let fits = u16::try_from(self.log.misfits()).unwrap_or(u16::MAX);
            let fits = self.log.count().saturating_sub(fits);
            if fits < count && self.log.bytes() + self.log.segment_bytes() <= bytes_max {
                self.log.make_segment()?;
            } else if fits > count && self.log.free() > limits::RING_FREE_SEGMENTS {
                self.log.remove_free()?;
            } else if !self.log.remove_misfit()? {
                return Ok(());
            }
        }
    }

    /// Carries on what the oldest segment holds; where that is the one that is written, another is begun.
    fn free_oldest(&mut self) -> io::Result<bool> {
        if self
            .log
            .oldest()
            .is_some_and(|oldest| self.log.is_head(oldest))
        {
            match self.log.begin_segment() {
                Ok(()) => {}
                Err(AppendError::Io(error)) => return Err(error),
                Err(_) => return Ok(false),
            }
        }
        self.reclaim_oldest()
    }
}

/// Takes a record in. Gives its log id.
fn see(
    found: &mut SortedMap<u64, Found>,
    keys: &Keys,
    place: Place,
    number: usize,
    record: &Record<'_>,
    order: u64,
) -> u64 {
    let at = At {
        segment: place.segment,
        block: place.block,
        record: number as u16,
    };
    match *record {
        Record::Put(put) => {
            let key = keys.digest(&[put.key.as_bytes()]);
            let entry = Entry {
                key,
                value: keys.digest(&[put.value]),
                len: put.value.len() as u32,
                tag: put.tag,
                at,
                own: false,
            };
            found
                .get_or_insert_with(put.id, Found::default)
                .items
                .insert(key, entry);
            put.id
        }
        Record::Delete { id, key } => {
            found
                .get_or_insert_with(id, Found::default)
                .items
                .remove(&key);
            id
        }
        Record::Describe {
            id,
            class,
            name,
            note,
        } => {
            found.get_or_insert_with(id, Found::default).label = Some(Label {
                class,
                name: name.into(),
                note: note.into(),
                segment: at.segment,
            });
            id
        }
        Record::Commit { id, state } => {
            let collection = found.get_or_insert_with(id, Found::default);
            collection.order = order;
            collection.marker = Some(Durable {
                count: state.count,
                digest: state.digest,
                refreshed: state.refreshed,
                version: state.version.into(),
                segment: at.segment,
            });
            id
        }
        Record::Drop { id } => {
            found.remove(&id);
            id
        }
        Record::Wear(_) => 0,
    }
}

/// The collection, if all of it is there.
fn take_over(keys: &Keys, log_id: u64, found: Found) -> Option<Collection> {
    let label = found.label?;
    let marker = found.marker?;
    let mut collection = Collection::new(log_id, label.class, &label.name, &label.note);
    collection.table = Table::new(found.items.into_values().collect());
    if !collection.is_whole(keys, marker.count, marker.digest) {
        return None;
    }
    collection.described = Some(label.segment);
    collection.durable = Some(marker);
    collection.revert().then_some(collection)
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Makes an empty ring in place of what is there. The super block comes last: a cut before leaves none.
fn make<M: Media>(
    media: &mut M,
    secret: &[u8],
    settings: &Settings,
) -> Result<(Super, Keys), OpenError> {
    match media.remove(Name::Super) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    for (number, _) in media.segments()? {
        media.remove(Name::Segment(number))?;
    }
    let mut uuid = [0; 16];
    media.random(&mut uuid)?;
    let keys = Keys::new(secret, &uuid).map_err(|_| OpenError::Key)?;
    let made = Super {
        format: FORMAT,
        uuid,
        node: settings.node,
        check: keys.check(),
    };
    let size = segment_bytes(settings.bytes_max);
    let mut log = Log::new(&mut *media, keys, size);
    let count = segment_count(settings.bytes_max, size);
    if let Err(error) = (0..count).try_for_each(|_| log.make_segment()) {
        // Others need the room that is of no use here.
        (0..count).for_each(|number| {
            let _ = media.remove(Name::Segment(number));
        });
        return Err(error.into());
    }
    media.create(Name::Super, SUPER_BYTES)?;
    for copy in 0..2 {
        write_super(media, copy, &made)?;
    }
    let keys = Keys::new(secret, &uuid).map_err(|_| OpenError::Key)?;
    Ok((made, keys))
}
