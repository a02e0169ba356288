//! The log: frames in segments, appended at the head, read back by place. Knows no collections.

use super::layout::{BLOCK, HEADER_BYTES, Header, Opening, blocks};
use super::media::{Media, Name};
use super::seal::{FrameKeys, Keys, TAG_BYTES};
use crate::limits;
use crate::store::sorted::SortedMap;
use std::collections::VecDeque;
use std::io;

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub segment: u16,
    pub block: u16,
}

/// Why a frame was not appended.
#[derive(Debug)]
pub enum AppendError {
    /// It would not fit into any segment.
    TooLarge,
    /// No segment is free.
    Full,
    /// The file calls failed: what is on the flash is no longer known.
    Io(io::Error),
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        AppendError::Io(error)
    }
}

/// A frame that can no longer be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

/// A segment in use.
pub struct Segment {
    pub sequence: u64,
    /// Where keys change: block and salt of each opening, in order.
    openings: Vec<(u16, [u8; 16])>,
    /// Blocks written so far, from the start.
    pub blocks: u16,
    /// Bytes of the records in it.
    pub raw: u64,
    pub frames: u32,
    /// Places where a frame or an opening could not be read, at the last scan.
    pub bad: u32,
}

/// The keys for what is appended next.
struct Head {
    keys: FrameKeys,
    salt: [u8; 16],
    /// The opening block is not written yet: in a segment that goes on, it goes with the first frame.
    opens: bool,
}

/// What was written, by kind, in bytes; counts from the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub frames: u64,
    pub padding: u64,
    pub openings: u64,
    pub syncs: u64,
}

impl Written {
    pub fn bytes(&self) -> u64 {
        self.frames + self.padding + self.openings
    }
}

pub struct Log<M> {
    pub media: M,
    keys: Keys,
    /// Blocks of a segment that is made now. Those that are there may have other sizes, until they are made anew.
    blocks_new: u16,
    /// Blocks of each file, in use or free.
    sizes: SortedMap<u16, u16>,
    /// The fewest of them: what fits there fits everywhere.
    blocks_least: u16,
    /// What was written to each: of those in use, and of those that were released and not begun again.
    segments: SortedMap<u16, Segment>,
    /// Segments in use, the oldest first; the last is the head.
    order: VecDeque<u16>,
    /// Those that may be begun, in the order in which they were released.
    free: VecDeque<u16>,
    head: Option<Head>,
    sequence: u64,
    /// The head holds what is not synced.
    dirty: bool,
    pub written: Written,
}

impl<M: Media> Log<M> {
    /// A log of which nothing is read yet. `segment_bytes`: of those that it makes.
    pub fn new(media: M, keys: Keys, segment_bytes: u32) -> Self {
        let blocks_new = (segment_bytes as usize / BLOCK) as u16;
        Log {
            media,
            keys,
            blocks_new,
            sizes: SortedMap::new(),
            blocks_least: blocks_new,
            segments: SortedMap::new(),
            order: VecDeque::new(),
            free: VecDeque::new(),
            head: None,
            sequence: 0,
            dirty: false,
            written: Written::default(),
        }
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Reads everything that is there, and shows each frame's records in the order in which they were written. Writes
    /// nothing.
    pub fn replay(&mut self, mut see: impl FnMut(Place, &[u8])) -> io::Result<()> {
        let mut found = Vec::new();
        for (number, bytes) in self.media.segments()? {
            let Some(blocks) = segment_blocks(number, bytes) else {
                continue;
            };
            self.sizes.insert(number, blocks);
            match self.opening(number) {
                Some(opening) => found.push((opening.sequence, number)),
                None => self.free.push_back(number),
            }
        }
        found.sort_unstable();
        // The same number twice has no honest cause; which one counts, nobody can say.
        found.dedup_by(|(later, number), (sequence, _)| {
            let twice = later == sequence;
            if twice {
                self.free.push_back(*number);
            }
            twice
        });
        self.measure();
        let largest = self.sizes.values().copied().max().unwrap_or(0);
        let mut bytes = vec![0; usize::from(largest) * BLOCK];
        for (sequence, number) in found {
            let bytes = &mut bytes[..usize::from(self.blocks_of(number)) * BLOCK];
            if self.media.read(Name::Segment(number), 0, bytes).is_err() {
                // A sector may be lost: what the others hold is read block by block.
                self.read_blocks(number, bytes);
            }
            match self.scan(number, sequence, bytes, &mut see) {
                Some(segment) => {
                    self.segments.insert(number, segment);
                    self.order.push_back(number);
                    self.sequence = sequence;
                }
                None => self.free.push_back(number),
            }
        }
        Ok(())
    }

    fn opening(&self, number: u16) -> Option<Opening> {
        let mut block = [0; BLOCK];
        self.media.read(Name::Segment(number), 0, &mut block).ok()?;
        Opening::read(&self.keys, 0, &block)
    }

    fn read_blocks(&self, number: u16, bytes: &mut [u8]) {
        for (at, block) in bytes.chunks_mut(BLOCK).enumerate() {
            let offset = (at * BLOCK) as u64;
            if self
                .media
                .read(Name::Segment(number), offset, block)
                .is_err()
            {
                block.fill(0);
            }
        }
    }

    fn scan(
        &self,
        number: u16,
        sequence: u64,
        bytes: &mut [u8],
        see: &mut impl FnMut(Place, &[u8]),
    ) -> Option<Segment> {
        let first = Opening::read(&self.keys, 0, bytes.get(..BLOCK)?)?;
        let mut keys = self.keys.frames(sequence, &first.salt).ok()?;
        let mut segment = Segment {
            sequence,
            openings: vec![(0, first.salt)],
            blocks: 1,
            raw: 0,
            frames: 0,
            bad: 0,
        };
        let mut raw = Vec::new();
        let mut at: u16 = 1;
        while let Some(rest) = bytes
            .get_mut(usize::from(at) * BLOCK..)
            .filter(|r| !r.is_empty())
        {
            if let Some(opening) = Opening::read(&self.keys, at, &rest[..BLOCK.min(rest.len())])
                && (opening.sequence, opening.first) == (sequence, first.salt)
            {
                keys = self.keys.frames(sequence, &opening.salt).ok()?;
                segment.openings.push((at, opening.salt));
                at += 1;
                segment.blocks = at;
                continue;
            }
            let header = Header::read(&keys, at, sequence, rest);
            let taken = match header {
                Some(header) if open_frame(&keys, &header, rest, &mut raw).is_ok() => {
                    let place = Place {
                        segment: number,
                        block: at,
                    };
                    see(place, &raw);
                    segment.frames += 1;
                    segment.raw += raw.len() as u64;
                    let taken = header.blocks() as u16;
                    segment.blocks = at + taken;
                    taken
                }
                // Whatever stands here is not whole: the next block may begin a frame again.
                other => {
                    segment.bad += u32::from(other.is_some());
                    1
                }
            };
            at += taken;
        }
        Some(segment)
    }

    /// Begins to write: behind the last whole frame of the newest segment, with keys of its own. What was read there is
    /// durable when it returns: a process that was killed may have left it with the kernel alone.
    pub fn resume(&mut self) -> io::Result<()> {
        let Some(newest) = self.order.back().copied() else {
            return Ok(());
        };
        match self.media.sync(Name::Segment(newest)) {
            // Nothing will be written either, and what is there can be read.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
            synced => synced?,
        }
        let sequence = self.sequence;
        self.begin_keys(sequence)?;
        if let Some(segment) = self.segments.get(&newest)
            && self.blocks_of(newest) < segment.blocks + 2
        {
            // Not even an opening and one block: the next append begins a new segment.
            self.head = None;
        }
        Ok(())
    }

    fn begin_keys(&mut self, sequence: u64) -> io::Result<()> {
        let mut salt = [0; 16];
        self.media.random(&mut salt)?;
        let keys = (self.keys.frames(sequence, &salt))
            .map_err(|_| io::Error::other("a frame key cannot be derived"))?;
        self.head = Some(Head {
            keys,
            salt,
            opens: true,
        });
        Ok(())
    }

    fn measure(&mut self) {
        let least = self.sizes.values().copied().min();
        self.blocks_least = least.map_or(self.blocks_new, |least| least.min(self.blocks_new));
    }

    /// Blocks of this segment's file.
    pub fn blocks_of(&self, number: u16) -> u16 {
        self.sizes.get(&number).copied().unwrap_or(0)
    }

    /// Bytes that one frame's records may have without being compressed.
    pub fn frame_bytes_max(&self) -> usize {
        (usize::from(self.blocks_least) - 2) * BLOCK - HEADER_BYTES - TAG_BYTES
    }

    /// Appends a frame of these records. Not durable before [`Log::sync`]; but what stands in another segment than the
    /// head is.
    pub fn append(&mut self, raw: &[u8], records: u16) -> Result<Place, AppendError> {
        let mut sealed = Vec::new();
        let lz4 = compress(raw, &mut sealed);
        let need = blocks(sealed.len() + TAG_BYTES);
        if need + 2 > usize::from(self.blocks_least) || raw.len() > limits::RING_FRAME_RAW_BYTES_MAX
        {
            return Err(AppendError::TooLarge);
        }
        if !self.has_room(need) {
            self.begin_segment()?;
        }
        let (Some(number), Some(head)) = (self.order.back().copied(), &mut self.head) else {
            return Err(AppendError::Full);
        };
        let Some(segment) = self.segments.get_mut(&number) else {
            return Err(AppendError::Full);
        };
        let start = segment.blocks;
        let mut out = Vec::with_capacity((need + usize::from(head.opens)) * BLOCK);
        if head.opens {
            let opening = Opening {
                sequence: segment.sequence,
                salt: head.salt,
                first: segment
                    .openings
                    .first()
                    .map_or(head.salt, |(_, salt)| *salt),
            };
            opening.write(&self.keys, start, &mut out);
        }
        let block = start + u16::from(head.opens);
        let header = Header {
            lz4,
            records,
            block,
            sequence: segment.sequence,
            sealed: (sealed.len() + TAG_BYTES) as u32,
            raw: raw.len() as u32,
        };
        let header_bytes = header.write(&head.keys);
        (head.keys)
            .seal(block.into(), &header_bytes, &mut sealed)
            .map_err(|_| io::Error::other("a frame cannot be sealed"))?;
        out.extend_from_slice(&header_bytes);
        out.extend_from_slice(&sealed);
        let padding = out.len().next_multiple_of(BLOCK) - out.len();
        out.resize(out.len() + padding, 0);
        self.dirty = true;
        self.media
            .write(Name::Segment(number), u64::from(start) * BLOCK as u64, &out)?;
        if head.opens {
            segment.openings.push((start, head.salt));
            self.written.openings += BLOCK as u64;
        }
        self.written.padding += padding as u64;
        self.written.frames += (HEADER_BYTES + sealed.len()) as u64;
        head.opens = false;
        segment.blocks = block + need as u16;
        segment.raw += raw.len() as u64;
        segment.frames += 1;
        Ok(Place {
            segment: number,
            block,
        })
    }

    fn has_room(&self, need: usize) -> bool {
        let (Some(head), Some(number)) = (&self.head, self.order.back()) else {
            return false;
        };
        let used = self.segments.get(number).map_or(u16::MAX, |s| s.blocks);
        usize::from(used) + usize::from(head.opens) + need <= usize::from(self.blocks_of(*number))
    }

    /// Takes a free segment as the head. Its opening is durable before anything else is written to it: without it, what
    /// the segment held before is still read, and a part of that is a lie (a record whose deletion is written over).
    pub fn begin_segment(&mut self) -> Result<(), AppendError> {
        self.sync()?;
        let Some(number) = self.free.pop_front() else {
            return Err(AppendError::Full);
        };
        self.sequence += 1;
        let segment = Segment {
            sequence: self.sequence,
            openings: Vec::with_capacity(1),
            blocks: 0,
            raw: 0,
            frames: 0,
            bad: 0,
        };
        self.segments.insert(number, segment);
        self.order.push_back(number);
        self.begin_keys(self.sequence)?;
        self.write_opening(number)?;
        Ok(self.sync()?)
    }

    fn write_opening(&mut self, number: u16) -> io::Result<()> {
        let (Some(head), Some(segment)) = (&mut self.head, self.segments.get_mut(&number)) else {
            return Ok(());
        };
        let opening = Opening {
            sequence: segment.sequence,
            salt: head.salt,
            first: head.salt,
        };
        let mut out = Vec::with_capacity(BLOCK);
        opening.write(&self.keys, 0, &mut out);
        self.dirty = true;
        self.media.write(Name::Segment(number), 0, &out)?;
        self.written.openings += BLOCK as u64;
        segment.openings.push((0, head.salt));
        segment.blocks = 1;
        head.opens = false;
        Ok(())
    }

    /// Makes durable what was appended.
    pub fn sync(&mut self) -> io::Result<()> {
        if let Some(number) = self.order.back().filter(|_| self.dirty) {
            self.media.sync(Name::Segment(*number))?;
            self.written.syncs += 1;
            self.dirty = false;
        }
        Ok(())
    }

    /// The records of the frame at this place, if the segment is not newer than `sequence_max`.
    pub fn read(&self, place: Place, sequence_max: u64) -> Result<Vec<u8>, Lost> {
        let segment = self.segments.get(&place.segment).ok_or(Lost)?;
        if segment.sequence > sequence_max || place.block >= segment.blocks {
            return Err(Lost);
        }
        let (_, salt) = segment
            .openings
            .iter()
            .rev()
            .find(|(block, _)| *block < place.block)
            .ok_or(Lost)?;
        let keys = (self.keys.frames(segment.sequence, salt)).map_err(|_| Lost)?;
        let name = Name::Segment(place.segment);
        let offset = u64::from(place.block) * BLOCK as u64;
        let mut first = [0; BLOCK];
        self.media
            .read(name, offset, &mut first)
            .map_err(|_| Lost)?;
        let header = Header::read(&keys, place.block, segment.sequence, &first).ok_or(Lost)?;
        if usize::from(place.block) + header.blocks() > usize::from(segment.blocks) {
            return Err(Lost);
        }
        let mut bytes = vec![0; header.blocks() * BLOCK];
        let (head, rest) = bytes.split_at_mut_checked(BLOCK).ok_or(Lost)?;
        head.copy_from_slice(&first);
        if !rest.is_empty() {
            (self.media.read(name, offset + BLOCK as u64, rest)).map_err(|_| Lost)?;
        }
        let mut raw = Vec::new();
        open_frame(&keys, &header, &mut bytes, &mut raw)?;
        Ok(raw)
    }

    /// Bytes written to the segment from this place on.
    pub fn bytes_from(&self, place: Place) -> u64 {
        let end = self.segments.get(&place.segment).map_or(0, |s| s.blocks);
        u64::from(end.saturating_sub(place.block)) * BLOCK as u64
    }

    /// The sequence number of a segment in use.
    pub fn sequence_of(&self, number: u16) -> u64 {
        self.segments.get(&number).map_or(0, |s| s.sequence)
    }

    /// The sequence number of the head: what is appended later in another segment has a higher one.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub fn oldest(&self) -> Option<u16> {
        self.order.front().copied()
    }

    pub fn is_head(&self, number: u16) -> bool {
        self.order.back() == Some(&number)
    }

    /// Segments that may be begun.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// The oldest segment holds nothing that counts any more. What stands in it is seen by a recovery until it is begun
    /// again: segments are begun in the order in which they were released, so what is seen is always a whole end of the
    /// log.
    ///
    /// Until then it can be read, too: by those who began before.
    pub fn release_oldest(&mut self) {
        if let Some(number) = self.order.pop_front() {
            self.free.push_back(number);
        }
    }

    /// Removes what is no segment.
    pub fn remove_others(&mut self) -> io::Result<()> {
        for (number, _) in self.media.segments()? {
            if !self.sizes.contains_key(&number) {
                self.media.remove(Name::Segment(number))?;
            }
        }
        Ok(())
    }

    /// Makes a free segment.
    pub fn make_segment(&mut self) -> io::Result<()> {
        let number = (0..).find(|number| !self.sizes.contains_key(number));
        let number = number.unwrap_or_default();
        let name = Name::Segment(number);
        if let Err(error) = self.media.create(name, self.segment_bytes()) {
            // Where there was no room, a part of it takes what is left.
            let _ = self.media.remove(name);
            return Err(error);
        }
        self.sizes.insert(number, self.blocks_new);
        self.free.push_back(number);
        self.measure();
        Ok(())
    }

    /// Removes the free segment that was released first.
    pub fn remove_free(&mut self) -> io::Result<()> {
        self.remove_free_at(0)
    }

    /// Removes a free segment of another size than is made now, or one that must go before it. False: there is none.
    pub fn remove_misfit(&mut self) -> io::Result<bool> {
        if !self.free.iter().any(|number| self.is_misfit(*number)) {
            return Ok(false);
        }
        // Those that were written go in the order in which they were released, so that what a recovery sees stays a whole
        // end of the log.
        let goes = |number: &u16| self.is_misfit(*number) || self.segments.contains_key(number);
        let at = self.free.iter().position(goes);
        self.remove_free_at(at.unwrap_or(0)).map(|()| true)
    }

    fn remove_free_at(&mut self, at: usize) -> io::Result<()> {
        let Some(number) = self.free.remove(at) else {
            return Ok(());
        };
        // What was carried on from it must not be with the kernel alone.
        self.sync()?;
        self.segments.remove(&number);
        self.sizes.remove(&number);
        self.measure();
        self.media.remove(Name::Segment(number))
    }

    /// True if it has another size than those that are made now.
    pub fn is_misfit(&self, number: u16) -> bool {
        self.blocks_of(number) != self.blocks_new
    }

    /// Segments of another size than those that are made now.
    pub fn misfits(&self) -> usize {
        let blocks = self.sizes.values();
        blocks.filter(|blocks| **blocks != self.blocks_new).count()
    }

    pub fn segments(&self) -> impl Iterator<Item = (u16, &Segment)> {
        self.order
            .iter()
            .filter_map(|number| Some((*number, self.segments.get(number)?)))
    }

    pub fn segment(&self, number: u16) -> Option<&Segment> {
        self.segments.get(&number)
    }

    /// Above the number of every segment in use.
    pub fn numbers(&self) -> usize {
        (self.segments.last_key_value()).map_or(0, |(number, _)| usize::from(*number) + 1)
    }

    /// Bytes of a segment that is made now.
    pub fn segment_bytes(&self) -> u64 {
        u64::from(self.blocks_new) * BLOCK as u64
    }

    /// Bytes of all segments, used and free.
    pub fn bytes(&self) -> u64 {
        let blocks: u64 = self.sizes.values().map(|blocks| u64::from(*blocks)).sum();
        blocks * BLOCK as u64
    }

    /// Segments, used and free.
    pub fn count(&self) -> u16 {
        self.sizes.len() as u16
    }
}

/// The blocks of a file that can be a segment.
fn segment_blocks(number: u16, bytes: u64) -> Option<u16> {
    let is_one = number < limits::RING_SEGMENTS_MAX
        && limits::RING_SEGMENT_BYTES.contains(&bytes)
        && bytes.is_power_of_two();
    is_one.then_some((bytes / BLOCK as u64) as u16)
}

/// Compresses, if that makes it smaller.
pub(super) fn compress(raw: &[u8], out: &mut Vec<u8>) -> bool {
    out.resize(lz4_flex::block::get_maximum_output_size(raw.len()), 0);
    match lz4_flex::block::compress_into(raw, out) {
        Ok(bytes) if bytes < raw.len() => {
            out.truncate(bytes);
            true
        }
        _ => {
            out.clear();
            out.extend_from_slice(raw);
            false
        }
    }
}

/// Fills `out` with what was compressed. Gives how much that is.
pub(super) fn expand(compressed: &[u8], out: &mut [u8]) -> Option<usize> {
    lz4_flex::block::decompress_into(compressed, out).ok()
}

/// The records of the frame that begins `bytes`, into `raw`.
fn open_frame(
    keys: &FrameKeys,
    header: &Header,
    bytes: &mut [u8],
    raw: &mut Vec<u8>,
) -> Result<(), Lost> {
    let (head, rest) = bytes.split_at_mut_checked(HEADER_BYTES).ok_or(Lost)?;
    let sealed = rest.get_mut(..header.sealed as usize).ok_or(Lost)?;
    let opened = keys
        .open(header.block.into(), head, sealed)
        .map_err(|_| Lost)?;
    let len = header.raw as usize;
    if len > limits::RING_FRAME_RAW_BYTES_MAX {
        return Err(Lost);
    }
    match header.lz4 {
        true => {
            // All of it is written over.
            match raw.len() < len {
                true => *raw = vec![0; len],
                false => raw.truncate(len),
            }
            let bytes = expand(opened, raw).ok_or(Lost)?;
            (bytes == len).then_some(()).ok_or(Lost)
        }
        false => {
            raw.clear();
            raw.extend_from_slice(opened);
            (raw.len() == len).then_some(()).ok_or(Lost)
        }
    }
}
