//! Items on their way to the thread: the records of a frame, and compressed where the thread has fallen behind. So a list
//! that comes faster than the flash takes it waits in a fraction of the room.

use super::log::{compress, expand};
use super::record::{Put, Record};
use crate::limits;

/// What was gathered.
pub struct Batch {
    bytes: Box<[u8]>,
    /// Bytes of the records, if they are compressed.
    raw: Option<usize>,
}

/// Appends an item.
pub fn add(key: &str, value: &[u8], tag: u32, records: &mut Vec<u8>) {
    if records.capacity() == 0 {
        records.reserve_exact(limits::RING_BATCH_BYTES + limits::RING_BATCH_BYTES / 4);
    }
    // Whose it is the thread knows.
    let put = Put {
        id: 0,
        tag,
        key,
        value,
    };
    Record::Put(put).write(records);
}

impl Batch {
    /// Of these records; compressed, if that makes them smaller.
    pub fn new(records: Vec<u8>, compressed: bool) -> Batch {
        let mut out = Vec::new();
        // What is larger would take twice its room for a moment.
        let small = records.len() <= limits::RING_BATCH_COMPRESSED_BYTES_MAX;
        match compressed && small && compress(&records, &mut out) {
            true => Batch {
                raw: Some(records.len()),
                bytes: out.into(),
            },
            false => Batch {
                bytes: records.into(),
                raw: None,
            },
        }
    }

    /// What it takes while it waits.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + limits::RING_MESSAGE_BYTES
    }

    /// The records. `None`: they are not what was gathered, which has no honest cause.
    pub fn open(self) -> Option<Vec<u8>> {
        let Some(raw) = self.raw else {
            return Some(self.bytes.into());
        };
        let mut out = vec![0; raw];
        (expand(&self.bytes, &mut out)? == raw).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Records;
    use super::*;

    #[test]
    fn what_is_gathered_comes_out() {
        let mut records = Vec::new();
        let all: Vec<(String, Vec<u8>)> = (0..30)
            .map(|n| (format!("ns/{n}"), vec![b'x'; n * 40]))
            .collect();
        for (key, value) in &all {
            add(key, value, 7, &mut records);
        }
        for compressed in [false, true] {
            let batch = Batch::new(records.clone(), compressed);
            assert_eq!(batch.bytes() < records.len(), compressed);
            let opened = batch.open().expect("sound");
            let out: Vec<(String, Vec<u8>)> = Records(&opened)
                .map(|record| match record {
                    Ok(Record::Put(put)) => (put.key.to_owned(), put.value.to_vec()),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(out, all);
        }
    }
}
