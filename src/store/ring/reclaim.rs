//! Room: the oldest segment's live records are carried on to the head, then it is free; what does not fit goes as whole
//! collections, the lowest class first, the longest unused first.

use super::collection::Why;
use super::engine::{Engine, Pack, describe};
use super::index::At;
use super::log::{AppendError, Segment};
use super::media::Media;
use super::record::{self, Record, Records};
use crate::limits;
use crate::store::Class;
use std::io;

/// Who points at a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The item of a collection.
    Item { id: u64, key: u64 },
    /// What is durable of an item that waits to be written anew.
    Before { id: u64, key: u64 },
    /// An item of a fill; `own`: from now on.
    Fill { fill: u64, key: u64, own: bool },
}

/// A record that is carried on.
struct Live {
    at: At,
    owner: Owner,
}

/// A record that lies in another place now.
struct Move {
    owner: Owner,
    from: At,
    to: At,
}

impl<M: Media> Engine<M> {
    /// Keeps segments free, and what counts below the high water.
    pub(super) fn tidy(&mut self) {
        while self.live_bytes() > self.high_water() && self.shed() {}
        // Each turn frees one; more turns than segments mean that carrying takes as much as it frees.
        for _ in 0..self.log.count() {
            if self.log.free() >= limits::RING_FREE_SEGMENTS {
                break;
            }
            match self.reclaim_oldest() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.fail("reclaiming", &error);
                    break;
                }
            }
        }
        self.charge();
    }

    /// Carries on what counts of the oldest segment, and frees it. False: there is no room for it, or no such segment.
    pub(super) fn reclaim_oldest(&mut self) -> io::Result<bool> {
        let Some(oldest) = self.log.oldest().filter(|n| !self.log.is_head(*n)) else {
            return Ok(false);
        };
        let live = self.live_in(oldest);
        let (mut moves, mut markers) = (Vec::new(), Vec::new());
        let carried = self
            .carry(live, None, &mut moves)
            .and_then(|()| self.carry_markers(oldest, &mut markers));
        if let Err(AppendError::Io(error)) = carried {
            return Err(error);
        }
        // What was carried counts where it is now once that is durable: after a failed sync it is read where it was.
        self.log.sync()?;
        moves.into_iter().for_each(|moved| self.point(moved));
        for (id, to) in markers {
            self.point_markers(id, oldest, to);
        }
        if carried.is_err() {
            // There was no room: the rest still counts where it was.
            return Ok(false);
        }
        self.log.release_oldest();
        self.counts.reclaimed += 1;
        Ok(true)
    }

    /// Frees the oldest segment although it holds what counts: its collections are gone, which their commit markers prove
    /// on flash. So the ring always goes on. False: there is no segment but the head.
    pub(super) fn last_resort(&mut self) -> bool {
        let Some(oldest) = self.log.oldest().filter(|n| !self.log.is_head(*n)) else {
            return false;
        };
        for live in self.live_in(oldest) {
            self.give_up(live.owner, Why::NoRoom);
        }
        for id in self.marked_in(oldest) {
            self.lose(id, Why::NoRoom);
        }
        self.log.release_oldest();
        self.counts.last_resorts += 1;
        true
    }

    /// Collections whose description or commit marker lies in the segment.
    fn marked_in(&self, segment: u16) -> Vec<u64> {
        (self.collections.iter())
            .filter(|(_, c)| {
                c.described == Some(segment)
                    || c.durable.as_ref().is_some_and(|d| d.segment == segment)
            })
            .map(|(id, _)| *id)
            .collect()
    }

    /// The records in the segment that somebody points at, in their order.
    fn live_in(&mut self, segment: u16) -> Vec<Live> {
        let mut live = Vec::new();
        for (id, collection) in self.collections.iter() {
            let id = *id;
            let items = collection.table.iter().map(|e| (e.at, e.key));
            live.extend(
                items
                    .filter(|(at, _)| at.segment == segment)
                    .map(|(at, key)| Live {
                        at,
                        owner: Owner::Item { id, key },
                    }),
            );
            let before = collection.waiting.changes.iter();
            live.extend(
                before
                    .filter_map(|(key, change)| Some((change.before?.at, *key)))
                    .filter(|(at, _)| at.segment == segment)
                    .map(|(at, key)| Live {
                        at,
                        owner: Owner::Before { id, key },
                    }),
            );
        }
        // A fill that borrows what its collection no longer has would bring it back.
        let collections = &self.collections;
        self.fills.retain(|_, fill| {
            let from = fill.replaces().and_then(|id| collections.get(&id));
            fill.placed().all(|e| e.at.segment != segment) || fill.is_lent_by(from)
        });
        for (number, fill) in self.fills.iter() {
            let here = fill.placed().filter(|e| e.at.segment == segment);
            live.extend(here.map(|e| Live {
                at: e.at,
                owner: Owner::Fill {
                    fill: *number,
                    key: e.key,
                    own: false,
                },
            }));
        }
        live.sort_by_key(|live| live.at);
        live
    }

    /// Appends the records again, as those of `log_id` if it is given. `moves`: what of them was appended, also where the
    /// rest was not.
    fn carry(
        &mut self,
        live: Vec<Live>,
        log_id: Option<u64>,
        moves: &mut Vec<Move>,
    ) -> Result<(), AppendError> {
        let mut pack = Pack::default();
        let mut packed: Vec<(At, Owner, u16)> = Vec::new();
        let mut at = 0;
        while at < live.len() {
            let place = live[at].at.place();
            let end = at
                + live[at..]
                    .iter()
                    .take_while(|l| l.at.place() == place)
                    .count();
            let frame = &live[at..end];
            at = end;
            let Ok(raw) = self.log.read(place, u64::MAX) else {
                (frame.iter()).for_each(|live| self.give_up(live.owner, Why::Rotten));
                continue;
            };
            let mut wanted = frame.iter().peekable();
            for (number, record) in Records(&raw).enumerate() {
                let Some(first) = wanted.peek() else {
                    break;
                };
                if usize::from(first.at.record) != number {
                    continue;
                }
                let Ok(Record::Put(put)) = record else {
                    break;
                };
                let bytes = record::bytes_max(put.key.len(), put.value.len());
                if pack.raw.len() + bytes > self.pack_bytes() && pack.records > 0 {
                    self.append_carried(
                        std::mem::take(&mut pack),
                        std::mem::take(&mut packed),
                        moves,
                    )?;
                }
                while let Some(live) = wanted.next_if(|l| usize::from(l.at.record) == number) {
                    packed.push((live.at, live.owner, pack.records));
                }
                pack.add(&Record::Put(record::Put {
                    id: log_id.unwrap_or(put.id),
                    ..put
                }));
            }
            // The frame does not hold what the index says: that is a fault, and treated as rot.
            wanted.for_each(|live| self.give_up(live.owner, Why::Rotten));
        }
        match pack.records {
            0 => Ok(()),
            _ => self.append_carried(pack, packed, moves),
        }
    }

    fn append_carried(
        &mut self,
        mut pack: Pack,
        packed: Vec<(At, Owner, u16)>,
        moves: &mut Vec<Move>,
    ) -> Result<(), AppendError> {
        let carried = pack.records;
        self.note_wear(&mut pack);
        // Not `self.append`: that would reclaim in the middle of a reclaim.
        let place = match self.log.append(&pack.raw, pack.records) {
            // An object of a larger segment than there are now.
            Err(AppendError::TooLarge) => {
                (packed.into_iter()).for_each(|(_, owner, _)| self.give_up(owner, Why::TooLarge));
                return Ok(());
            }
            appended => appended?,
        };
        self.counts.carried += u64::from(carried);
        moves.extend(packed.into_iter().map(|(from, owner, record)| Move {
            owner,
            from,
            to: At {
                segment: place.segment,
                block: place.block,
                record,
            },
        }));
        Ok(())
    }

    /// Points an owner at the new place, if it still points at the old one.
    fn point(&mut self, Move { owner, from, to }: Move) {
        let at = match owner {
            Owner::Fill { fill, key, own } => {
                if let Some(fill) = self.fills.get_mut(&fill) {
                    fill.point(key, from, to, own);
                }
                return;
            }
            Owner::Item { id, key } => (self.collections.get_mut(&id))
                .and_then(|c| c.table.get_mut(key))
                .map(|e| &mut e.at),
            Owner::Before { id, key } => (self.collections.get_mut(&id))
                .and_then(|c| c.waiting.changes.get_mut(&key))
                .and_then(|c| c.before.as_mut())
                .map(|e| &mut e.at),
        };
        if let Some(at) = at.filter(|at| **at == from) {
            *at = to;
        }
    }

    fn give_up(&mut self, owner: Owner, why: Why) {
        match owner {
            Owner::Item { id, .. } | Owner::Before { id, .. } => self.lose(id, why),
            Owner::Fill { fill, .. } => self.abort(fill),
        }
    }

    /// Appends the descriptions and commit markers of the segment again: as they are durable, not as they are now.
    /// `moves`: whose were appended, and where.
    fn carry_markers(
        &mut self,
        segment: u16,
        moves: &mut Vec<(u64, u16)>,
    ) -> Result<(), AppendError> {
        let mut pack = Pack::default();
        let mut packed = Vec::new();
        for id in self.marked_in(segment) {
            if pack.raw.len() > limits::RING_MARKERS_PACK_BYTES {
                self.append_markers(&mut pack, &mut packed, moves)?;
            }
            let Some(collection) = self.collections.get(&id) else {
                continue;
            };
            packed.push(id);
            if collection.described == Some(segment) {
                pack.add(&describe(collection));
            }
            if let Some(durable) = &collection.durable
                && durable.segment == segment
            {
                pack.add(&Record::Commit {
                    id: collection.log_id,
                    state: durable.state(),
                });
            }
        }
        match packed.is_empty() {
            true => Ok(()),
            false => self.append_markers(&mut pack, &mut packed, moves),
        }
    }

    fn append_markers(
        &mut self,
        pack: &mut Pack,
        packed: &mut Vec<u64>,
        moves: &mut Vec<(u64, u16)>,
    ) -> Result<(), AppendError> {
        let mut pack = std::mem::take(pack);
        self.note_wear(&mut pack);
        let place = self.log.append(&pack.raw, pack.records)?;
        moves.extend(packed.drain(..).map(|id| (id, place.segment)));
        Ok(())
    }

    /// What tells of a collection lies in another segment now.
    fn point_markers(&mut self, id: u64, from: u16, to: u16) {
        let Some(collection) = self.collections.get_mut(&id) else {
            return;
        };
        if collection.described == Some(from) {
            collection.described = Some(to);
        }
        if let Some(durable) = &mut collection.durable
            && durable.segment == from
        {
            durable.segment = to;
        }
    }

    /// Appends the items of a fill that lie with the collection which it replaces, as its own. Its entries point at them
    /// then; those that are not there any more give the fill up.
    pub(super) fn adopt(&mut self, fill: u64, log_id: u64) -> Result<(), AppendError> {
        loop {
            // Room is made before each piece: whoever carries cannot reclaim meanwhile.
            self.tidy();
            let mut some: Vec<Live> = (self.fills.get(&fill).into_iter())
                .flat_map(|f| f.borrowed())
                .map(|entry| Live {
                    at: entry.at,
                    owner: Owner::Fill {
                        fill,
                        key: entry.key,
                        own: true,
                    },
                })
                .collect();
            if some.is_empty() {
                return Ok(());
            }
            some.sort_by_key(|live| live.at);
            some.truncate(limits::RING_ADOPT_RECORDS);
            let mut moves = Vec::new();
            let carried = self.carry(some, Some(log_id), &mut moves);
            moves.into_iter().for_each(|moved| self.point(moved));
            carried?;
        }
    }

    /// Bytes of the segments that hold what counts: each segment's in proportion to its live records.
    pub fn live_bytes(&self) -> u64 {
        // By the number of the segment; what waits comes last.
        let last = self.log.numbers();
        let mut raw: Vec<u64> = vec![0; last + 1];
        let mut add = |segment: u16, bytes: u64| {
            if let Some(raw) = raw.get_mut(usize::from(segment).min(last)) {
                *raw += bytes;
            }
        };
        for collection in self.collections.values() {
            collection.placed(&mut add);
        }
        for fill in self.fills.values() {
            (fill.placed()).for_each(|e| add(e.at.segment, e.record_bytes()));
        }
        let mut live = 0;
        for (number, segment) in self.log.segments() {
            let live_raw = raw.get(usize::from(number)).copied().unwrap_or(0);
            live += self.held(number, segment, live_raw.min(segment.raw));
        }
        live + raw.last().map_or(0, |waiting| waiting / 2)
    }

    /// Of the segment's bytes, those that so many bytes of its records take.
    fn held(&self, number: u16, segment: &Segment, raw: u64) -> u64 {
        let blocks = match self.log.is_head(number) {
            true => segment.blocks,
            false => self.log.blocks_of(number),
        };
        let bytes = u64::from(blocks) * super::layout::BLOCK as u64;
        (bytes * raw).checked_div(segment.raw).unwrap_or(0)
    }

    /// Live bytes above this make reclaim dear: half of the files (flash.md 3.5).
    pub(super) fn high_water(&self) -> u64 {
        self.log.bytes() / 2
    }

    /// Leaves the dearest that so many bytes hold: of the highest class first, of that what was used last.
    pub(super) fn keep_what_fits(&mut self, bytes: u64) {
        if self.live_bytes() <= bytes {
            return;
        }
        let mut all: Vec<(Class, u64, u64)> = (self.collections.iter())
            .map(|(id, c)| (c.class, c.used, *id))
            .collect();
        all.sort_unstable();
        let mut room = bytes;
        while let Some((.., id)) = all.pop() {
            match room.checked_sub(self.collection_bytes(id)) {
                Some(rest) => room = rest,
                None => {
                    self.counts.evicted += 1;
                    self.lose(id, Why::NoRoom);
                }
            }
        }
    }

    /// The collection's part of [`Engine::live_bytes`].
    fn collection_bytes(&self, id: u64) -> u64 {
        let mut bytes = 0;
        if let Some(collection) = self.collections.get(&id) {
            collection.placed(&mut |number, raw| {
                bytes += (self.log.segment(number)).map_or(raw, |s| self.held(number, s, raw));
            });
        }
        bytes
    }

    /// Makes room for `more` bytes of `class` without touching `spare`.
    pub(super) fn make_room(&mut self, class: Class, spare: Option<u64>, more: u64) -> bool {
        while self.live_bytes() + more > self.high_water() {
            if !self.evict(class, spare) {
                return false;
            }
        }
        true
    }

    /// Gives up what is worth the least: a fill rather than a collection of its class.
    fn shed(&mut self) -> bool {
        let fill = (self.fills.iter())
            .filter(|(_, fill)| fill.is_ahead())
            .min_by_key(|(_, fill)| fill.class())
            .map(|(number, fill)| (*number, fill.class()));
        let lowest = self.collections.values().map(|c| c.class).min();
        match fill {
            Some((number, class)) if lowest.is_none_or(|lowest| class <= lowest) => {
                self.abort(number);
                true
            }
            _ => self.evict(Class::MAX, None),
        }
    }

    pub(super) fn evict(&mut self, class: Class, spare: Option<u64>) -> bool {
        let victim = (self.collections.iter())
            .filter(|(id, c)| c.class <= class && Some(**id) != spare)
            .min_by_key(|(_, c)| (c.class, c.used, std::cmp::Reverse(c.bytes)))
            .map(|(id, _)| *id);
        if let Some(id) = victim {
            self.counts.evicted += 1;
            self.lose(id, Why::NoRoom);
        }
        victim.is_some()
    }
}
