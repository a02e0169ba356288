//! Recovery over whatever lies in the files, by one who knows the key: no panic, no endless scan, every collection that is
//! there can be read whole, and the ring takes writes. What begins the files is a sound ring; the input writes over it,
//! at blocks, with bytes, with blocks from elsewhere, or with frames of its own that are sealed as they should be.
#![no_main]

use bytes::Bytes;
use edge_hub::store::ring::engine::{Engine, Moment, Settings};
use edge_hub::store::ring::fill::Label;
use edge_hub::store::ring::layout::{BLOCK, HEADER_BYTES, Header, Opening};
use edge_hub::store::ring::media::{Media, Name};
use edge_hub::store::ring::seal::{Keys, TAG_BYTES};
use edge_hub::store::{Change, Class};
use libfuzzer_sys::fuzz_target;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

const SECRET: &[u8] = b"0123456789abcdef";
const SEGMENTS: u64 = 8;
const SEGMENT_BYTES: usize = 32 * 1024;

/// Files in memory.
#[derive(Clone, Default)]
struct Memory {
    files: Rc<RefCell<BTreeMap<Name, Vec<u8>>>>,
    /// Nothing is random: what is asked for at first is known, later no two are the same.
    random: Rc<Cell<u64>>,
}

impl Media for Memory {
    fn segments(&self) -> io::Result<Vec<(u16, u64)>> {
        let files = self.files.borrow();
        let segments = files.iter().filter_map(|(name, bytes)| match name {
            Name::Segment(number) => Some((*number, bytes.len() as u64)),
            Name::Super => None,
        });
        Ok(segments.collect())
    }

    fn read(&self, name: Name, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let files = self.files.borrow();
        let file = files.get(&name).ok_or(io::ErrorKind::NotFound)?;
        let from = offset as usize;
        let bytes = (file.get(from..from + buf.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn write(&mut self, name: Name, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.files.borrow_mut();
        let file = files.get_mut(&name).ok_or(io::ErrorKind::NotFound)?;
        let end = offset as usize + bytes.len();
        // What was cut short grows again.
        file.resize(file.len().max(end), 0);
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, _: Name) -> io::Result<()> {
        Ok(())
    }

    fn create(&mut self, name: Name, bytes: u64) -> io::Result<()> {
        self.files
            .borrow_mut()
            .insert(name, vec![0; bytes as usize]);
        Ok(())
    }

    fn remove(&mut self, name: Name) -> io::Result<()> {
        let gone = self.files.borrow_mut().remove(&name);
        gone.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn random(&mut self, out: &mut [u8]) -> io::Result<()> {
        out.fill(7);
        let count = self.random.get();
        if count > 0 {
            out[..8].copy_from_slice(&count.to_le_bytes());
            self.random.set(count + 1);
        }
        Ok(())
    }
}

fn open(memory: &Memory) -> Engine<Memory> {
    let settings = Settings {
        bytes_max: SEGMENTS * SEGMENT_BYTES as u64 + 8192,
        node: 7,
        flush: Duration::from_secs(2),
        daily: 1 << 40,
    };
    let opened = Engine::open(memory.clone(), SECRET, settings, Moment::default());
    opened.expect("memory does not fail").0
}

/// Two collections, one of them in several frames.
fn sound() -> BTreeMap<Name, Vec<u8>> {
    let memory = Memory::default();
    let mut engine = open(&memory);
    for (id, items) in [(1, 3), (2, 60)] {
        fill(&mut engine, id, items);
    }
    for version in ["2", "3", "4"] {
        let put = Change::Put {
            key: version,
            value: b"changed",
            tag: 0,
        };
        let _ = engine.apply(1, &[put, Change::Delete("n1")], version);
        engine.flush();
    }
    drop(engine);
    memory.files.take()
}

fn fill(engine: &mut Engine<Memory>, id: u64, items: usize) {
    engine.begin(id, Class::MAX, Some(id));
    for number in 0..items {
        let value = Bytes::from(format!("value {number} ").repeat(30));
        engine
            .put(id, &format!("n{number}"), value, 0)
            .expect("room");
    }
    let name = format!("name {id}");
    let label = Label {
        class: Class::MAX,
        name: name.as_bytes(),
        note: b"note",
        version: "1",
    };
    engine.commit(id, id, &label).expect("room");
}

/// Reads all; so many collections cannot be.
fn broken(engine: &mut Engine<Memory>) -> usize {
    let ids: Vec<u64> = engine.collections().map(|(id, _)| id).collect();
    let is_broken = |id: u64| {
        let mut snapshot = engine.snapshot(id).expect("there");
        let mut left = snapshot.len();
        loop {
            match engine.read_some(&mut snapshot) {
                Ok(some) if some.is_empty() => return left != 0,
                Ok(some) => left -= some.len(),
                Err(_) => return true,
            }
        }
    };
    ids.into_iter()
        .map(is_broken)
        .filter(|broken| *broken)
        .count()
}

fuzz_target!(|data: &[u8]| {
    thread_local! {
        static SOUND: BTreeMap<Name, Vec<u8>> = sound();
    }
    let mut files = SOUND.with(Clone::clone);
    let uuid = [7; 16];
    let keys = Keys::new(SECRET, &uuid).expect("a key");
    // Words of a kind, a place, and bytes.
    let mut rest = data;
    while let Some((&[kind, segment, block, len, arg], after)) = rest.split_first_chunk() {
        let (bytes, after) = after.split_at(usize::from(len).min(after.len()));
        rest = after;
        let name = match segment {
            255 => Name::Super,
            _ => Name::Segment(u16::from(segment) % SEGMENTS as u16),
        };
        let Some(file) = files.get_mut(&name) else {
            continue;
        };
        let block = usize::from(block) % (file.len() / BLOCK).max(1);
        let at = block * BLOCK;
        let sequence = u64::from(arg) % 12;
        let written = match kind % 5 {
            0 => bytes.to_vec(),
            1 => {
                let mut opening = Vec::new();
                let salt = [7; 16];
                Opening { sequence, salt }.write(&keys, block as u16, &mut opening);
                opening
            }
            2 => {
                let frames = keys.frames(sequence, &[7; 16]).expect("a key");
                let header = Header {
                    lz4: kind >= 128,
                    records: 1,
                    block: block as u16,
                    sequence,
                    sealed: (bytes.len() + TAG_BYTES) as u32,
                    raw: if kind >= 128 {
                        u32::from(arg) * 100
                    } else {
                        bytes.len() as u32
                    },
                }
                .write(&frames);
                let mut sealed = bytes.to_vec();
                frames
                    .seal(block as u32, &header, &mut sealed)
                    .expect("short");
                let frame = [&header[..], &sealed].concat();
                assert_eq!(frame.len(), HEADER_BYTES + bytes.len() + TAG_BYTES);
                frame
            }
            3 => {
                // A block from elsewhere in the file.
                let from = usize::from(arg) * BLOCK % file.len().max(1);
                file.get(from..from + BLOCK).unwrap_or_default().to_vec()
            }
            _ => {
                file.truncate(at + usize::from(arg));
                Vec::new()
            }
        };
        let end = (at + written.len()).min(file.len());
        if at < end {
            file[at..end].copy_from_slice(&written[..end - at]);
        }
    }
    let memory = Memory {
        files: Rc::new(RefCell::new(files)),
        random: Rc::new(Cell::new(1000)),
    };
    let mut engine = open(&memory);
    // What cannot be read is gone when that is seen.
    broken(&mut engine);
    assert_eq!(broken(&mut engine), 0);
    fill(&mut engine, 1 << 40, 5);
    engine.flush();
    assert_eq!(engine.off(), None);
    drop(engine);
    let mut engine = open(&memory);
    let found = engine
        .collections()
        .any(|(_, c)| *c.name == *format!("name {}", 1u64 << 40).as_bytes());
    assert!(found);
    assert_eq!(broken(&mut engine), 0);
});
