//! What the ring says of itself.

use super::engine::Engine;
use super::media::Media;
use super::thread::Stats;
use crate::from_json::read_from_json;
use serde::Serialize;

read_from_json! {
/// One segment that holds something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SegmentState {
    /// Of its file.
    pub number: u16,
    /// Grows from the oldest to the one that is written.
    pub sequence: u64,
    /// Blocks written, of so many.
    pub blocks: u16,
    pub blocks_max: u16,
    pub frames: u32,
    /// Objects, descriptions and commit markers in it that count.
    pub live: u32,
    /// Places that could not be read when the ring was opened. At the end of the newest segment a power cut leaves one.
    pub bad: u32,
}
}

impl<M: Media> Engine<M> {
    /// The segments in use, the oldest first.
    pub fn segments(&self) -> Vec<SegmentState> {
        let log = self.log();
        // By the number of the segment, which is below that of all of them.
        let mut live = vec![0u32; log.numbers()];
        let mut count = |number: u16| {
            if let Some(live) = live.get_mut(usize::from(number)) {
                *live += 1;
            }
        };
        for (_, collection) in self.collections() {
            let items = collection.table.iter().filter(|e| !e.at.is_waiting());
            items.for_each(|e| count(e.at.segment));
            collection.described.into_iter().for_each(&mut count);
            collection.durable.iter().for_each(|d| count(d.segment));
        }
        (log.segments())
            .map(|(number, segment)| SegmentState {
                number,
                sequence: segment.sequence,
                blocks: segment.blocks,
                blocks_max: log.blocks_of(number),
                frames: segment.frames,
                live: live.get(usize::from(number)).copied().unwrap_or(0),
                bad: segment.bad,
            })
            .collect()
    }

    /// Its state but for what only its owner knows.
    pub fn stats(&self) -> Stats {
        let log = self.log();
        Stats {
            live_bytes: self.live_bytes(),
            file_bytes: log.bytes(),
            wear: self.wear(),
            daily_bytes: self.daily_bytes(),
            counts: self.counts,
            log: log.written,
            off: self.off().map(str::to_owned),
            ..Stats::default()
        }
    }
}
