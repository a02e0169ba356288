//! The records of a frame: what they say, and how they are written.

use crate::limits;
use crate::store::Class;

/// One thing that the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// An item.
    Put(Put<'a>),
    /// The item is gone. `key` is the keyed digest of its key.
    Delete { id: u64, key: u64 },
    /// What the collection is.
    Describe {
        id: u64,
        class: Class,
        name: &'a [u8],
        note: &'a [u8],
    },
    /// The commit marker: without one the collection does not exist, and with one it is complete if its items agree.
    Commit { id: u64, state: State<'a> },
    /// The collection is gone.
    Drop { id: u64 },
    /// Counters of wear.
    Wear(Wear),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put<'a> {
    pub id: u64,
    pub tag: u32,
    pub key: &'a str,
    pub value: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<'a> {
    pub count: u64,
    /// Sum of the digests of its items.
    pub digest: u64,
    /// Unix seconds at which it was known to be current; 0: no clock.
    pub refreshed: u64,
    pub version: &'a str,
}

/// What was written in the ring's life, and what may be written today.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wear {
    /// Bytes ever written to the ring's files.
    pub written: u64,
    /// Of the daily budget, what was left.
    pub left: u64,
    /// Times that a process began to write.
    pub starts: u64,
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DESCRIBE: u8 = 3;
const COMMIT: u8 = 4;
const DROP: u8 = 5;
const WEAR: u8 = 6;

impl Record<'_> {
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Record::Put(put) => {
                head(out, PUT, &[put.id, put.tag.into()]);
                bytes(out, put.key.as_bytes());
                bytes(out, put.value);
            }
            Record::Delete { id, key } => {
                head(out, DELETE, &[id]);
                out.extend_from_slice(&key.to_le_bytes());
            }
            Record::Describe {
                id,
                class,
                name,
                note,
            } => {
                head(out, DESCRIBE, &[id, class.into()]);
                bytes(out, name);
                bytes(out, note);
            }
            Record::Commit { id, state } => {
                head(out, COMMIT, &[id, state.count]);
                out.extend_from_slice(&state.digest.to_le_bytes());
                varint(out, state.refreshed);
                bytes(out, state.version.as_bytes());
            }
            Record::Drop { id } => head(out, DROP, &[id]),
            Record::Wear(wear) => head(out, WEAR, &[wear.written, wear.left, wear.starts]),
        }
    }
}

/// The most bytes that a record of these parts has.
pub fn bytes_max(key_bytes: usize, value_bytes: usize) -> usize {
    1 + 4 * 10 + key_bytes + value_bytes
}

/// The records of a frame, in order. What is wrong ends them with an error.
pub struct Records<'a>(pub &'a [u8]);

/// A record that no version of the hub wrote. Behind the AEAD that is a fault of ours, or another format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_none() {
            self.0 = &[];
        }
        Some(record.ok_or(Malformed))
    }
}

impl<'a> Records<'a> {
    fn record(&mut self) -> Option<Record<'a>> {
        let (kind, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(match *kind {
            PUT => Record::Put(Put {
                id: self.varint()?,
                tag: self.small()?,
                key: self.text(limits::STORE_KEY_BYTES_MAX)?,
                value: self.bytes(limits::RING_FRAME_RAW_BYTES_MAX)?,
            }),
            DELETE => Record::Delete {
                id: self.varint()?,
                key: self.number()?,
            },
            DESCRIBE => Record::Describe {
                id: self.varint()?,
                class: self.varint()?.try_into().ok()?,
                name: self.bytes(limits::STORE_NAME_BYTES_MAX)?,
                note: self.bytes(limits::STORE_NOTE_BYTES_MAX)?,
            },
            COMMIT => Record::Commit {
                id: self.varint()?,
                state: State {
                    count: self.varint()?,
                    digest: self.number()?,
                    refreshed: self.varint()?,
                    version: self.text(limits::STORE_VERSION_BYTES_MAX)?,
                },
            },
            DROP => Record::Drop { id: self.varint()? },
            WEAR => Record::Wear(Wear {
                written: self.varint()?,
                left: self.varint()?,
                starts: self.varint()?,
            }),
            _ => return None,
        })
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes(&mut self, max: usize) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        if len > max {
            return None;
        }
        self.take(len)
    }

    fn text(&mut self, max: usize) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(max)?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn small(&mut self) -> Option<u32> {
        self.varint()?.try_into().ok()
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

fn head(out: &mut Vec<u8>, kind: u8, numbers: &[u64]) {
    out.push(kind);
    numbers.iter().for_each(|number| varint(out, *number));
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Record<'static>> {
        vec![
            Record::Put(Put {
                id: u64::MAX,
                tag: 0,
                key: "kube-system/coredns",
                value: b"{}",
            }),
            Record::Put(Put {
                id: 0,
                tag: u32::MAX,
                key: "",
                value: b"",
            }),
            Record::Delete {
                id: 300,
                key: u64::MAX - 1,
            },
            Record::Describe {
                id: 1,
                class: 2,
                name: b"\x00\xff",
                note: b"",
            },
            Record::Commit {
                id: 1,
                state: State {
                    count: 1 << 40,
                    digest: u64::MAX,
                    refreshed: 1_800_000_000,
                    version: "1234567",
                },
            },
            Record::Drop { id: 9 },
            Record::Wear(Wear {
                written: 1 << 45,
                left: 7,
                starts: 3,
            }),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        for record in all() {
            let before = out.len();
            record.write(&mut out);
            if let Record::Put(put) = record {
                assert!(out.len() - before <= bytes_max(put.key.len(), put.value.len()));
            }
        }
        let read: Vec<_> = Records(&out).map(Result::unwrap).collect();
        assert_eq!(read, all());
    }

    #[test]
    fn what_is_cut_or_unknown_ends_with_an_error() {
        let mut out = Vec::new();
        all()[0].write(&mut out);
        for cut in 1..out.len() {
            assert_eq!(Records(&out[..cut]).next(), Some(Err(Malformed)), "{cut}");
        }
        for bytes in [
            &[0][..],
            &[99, 1],
            // A length beyond what is there, a number beyond 64 bits, a text that is none.
            &[PUT, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[
                DROP, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
            ],
            &[PUT, 1, 1, 1, 0xff, 0],
        ] {
            let mut records = Records(bytes);
            assert_eq!(records.next(), Some(Err(Malformed)), "{bytes:?}");
            assert_eq!(records.next(), None);
        }
    }
}
