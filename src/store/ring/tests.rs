//! The ring on a flash in memory.

use super::collection::Why;
use super::engine::{Engine, Moment, Settings};
use super::fill::Label;
use super::media::{Media, Name};
use super::recover::Anew;
use crate::store::{Change, Class};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Files in memory, all of them durable at once.
#[derive(Clone, Default)]
pub struct Memory(Rc<RefCell<BTreeMap<Name, Vec<u8>>>>);

impl Media for Memory {
    fn segments(&self) -> io::Result<Vec<(u16, u64)>> {
        let files = self.0.borrow();
        let segments = files.iter().filter_map(|(name, bytes)| match name {
            Name::Segment(number) => Some((*number, bytes.len() as u64)),
            Name::Super => None,
        });
        Ok(segments.collect())
    }

    fn read(&self, name: Name, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let files = self.0.borrow();
        let file = files.get(&name).ok_or(io::ErrorKind::NotFound)?;
        let from = offset as usize;
        let bytes = file
            .get(from..from + buf.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn write(&mut self, name: Name, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.0.borrow_mut();
        let file = files.get_mut(&name).ok_or(io::ErrorKind::NotFound)?;
        let from = offset as usize;
        file.get_mut(from..from + bytes.len())
            .expect("within the file")
            .copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, _: Name) -> io::Result<()> {
        Ok(())
    }

    fn create(&mut self, name: Name, bytes: u64) -> io::Result<()> {
        self.0.borrow_mut().insert(name, vec![0; bytes as usize]);
        Ok(())
    }

    fn remove(&mut self, name: Name) -> io::Result<()> {
        let gone = self.0.borrow_mut().remove(&name);
        gone.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn random(&mut self, out: &mut [u8]) -> io::Result<()> {
        use ring::rand::SecureRandom;
        ring::rand::SystemRandom::new()
            .fill(out)
            .map_err(|_| io::Error::other("random"))
    }
}

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn settings(bytes_max: u64) -> Settings {
    Settings {
        bytes_max,
        node: 7,
        flush: Duration::from_secs(2),
        daily: 1 << 40,
    }
}

fn at(secs: u64) -> Moment {
    Moment {
        up: Duration::from_secs(secs),
        unix: 1_800_000_000 + secs,
    }
}

fn open(media: &Memory, bytes_max: u64) -> (Engine<Memory>, Option<Anew>) {
    Engine::open(media.clone(), SECRET, settings(bytes_max), at(0)).unwrap()
}

type Items = BTreeMap<String, Vec<u8>>;

fn replace(engine: &mut Engine<Memory>, id: u64, version: &str, items: &Items) {
    engine.begin(1, 1, Some(id));
    for (key, value) in items {
        engine
            .put(1, key, Bytes::copy_from_slice(value), 0)
            .unwrap();
    }
    let label = Label {
        class: 1,
        name: format!("name {id}").leak().as_bytes(),
        note: b"note",
        version,
    };
    engine.commit(1, id, &label).unwrap();
}

/// Version and items, as they are read.
fn read(engine: &mut Engine<Memory>, id: u64) -> Option<(String, Items)> {
    let mut snapshot = engine.snapshot(id)?;
    let lens: usize = snapshot.lens().sum();
    let mut items = Items::new();
    loop {
        let some = engine.read_some(&mut snapshot).ok()?;
        if some.is_empty() {
            break;
        }
        items.extend(some.into_iter().map(|i| (i.key.into(), i.value.to_vec())));
    }
    assert_eq!(lens, items.values().map(Vec::len).sum::<usize>());
    for (key, value) in &items {
        assert_eq!(engine.one(id, key), Ok(Some(Bytes::copy_from_slice(value))));
    }
    assert_eq!(engine.one(id, "not there"), Ok(None));
    Some((snapshot.version.into(), items))
}

fn ids(engine: &Engine<Memory>) -> BTreeMap<Vec<u8>, u64> {
    engine
        .collections()
        .map(|(id, c)| (c.name.to_vec(), id))
        .collect()
}

fn many(n: usize, version: u32) -> Items {
    let value = |i: usize| {
        format!(
            "{{\"n\":{i},\"v\":{version},\"pad\":\"{}\"}}",
            "x".repeat(i * 37 % 900)
        )
    };
    (0..n)
        .map(|i| (format!("ns/{i:05}"), value(i).into_bytes()))
        .collect()
}

#[test]
fn what_was_flushed_is_there_after_a_start() {
    let media = Memory::default();
    let (mut engine, anew) = open(&media, 1 << 20);
    assert_eq!(anew, Some(Anew::First));
    let mut small = many(3, 1);
    replace(&mut engine, 10, "5", &small);
    assert_eq!(read(&mut engine, 10), Some(("5".to_owned(), small.clone())));
    let big = many(500, 1);
    replace(&mut engine, 11, "6", &big);
    engine
        .apply(
            10,
            &[
                Change::Put {
                    key: "ns/new",
                    value: b"new",
                    tag: 0,
                },
                Change::Delete("ns/00001"),
            ],
            "7",
        )
        .unwrap();
    small.insert("ns/new".into(), b"new".to_vec());
    small.remove("ns/00001");
    let empty = Items::new();
    replace(&mut engine, 12, "8", &empty);
    assert_eq!(read(&mut engine, 10), Some(("7".to_owned(), small.clone())));
    engine.flush();
    assert_eq!(read(&mut engine, 10), Some(("7".to_owned(), small.clone())));
    assert_eq!(read(&mut engine, 11), Some(("6".to_owned(), big.clone())));
    assert_eq!(read(&mut engine, 12), Some(("8".to_owned(), empty.clone())));
    assert!(engine.take_notices().is_empty());
    drop(engine);
    let (mut engine, anew) = open(&media, 1 << 20);
    assert_eq!(anew, None);
    let ids = ids(&engine);
    assert_eq!(ids.len(), 3);
    let id = |n: u32| ids[format!("name {n}").as_bytes()];
    assert_eq!(read(&mut engine, id(10)), Some(("7".to_owned(), small)));
    assert_eq!(read(&mut engine, id(11)), Some(("6".to_owned(), big)));
    assert_eq!(read(&mut engine, id(12)), Some(("8".to_owned(), empty)));
}

#[test]
fn a_ring_that_laps_keeps_what_is_cold() {
    let media = Memory::default();
    let (mut engine, _) = open(&media, 1 << 20);
    let cold = many(100, 1);
    replace(&mut engine, 1, "1", &cold);
    let mut hot = many(40, 1);
    replace(&mut engine, 2, "1", &hot);
    engine.flush();
    for step in 0..3000u64 {
        engine.set_now(at(step * 3));
        let key = format!("ns/{:05}", step * 7 % 40);
        let value = format!("value {step} {}", "y".repeat((step % 700) as usize)).into_bytes();
        let put = Change::Put {
            key: &key,
            value: &value,
            tag: step as u32,
        };
        engine.apply(2, &[put], &step.to_string()).unwrap();
        hot.insert(key, value);
        engine.tick();
    }
    engine.flush();
    assert!(engine.counts.reclaimed > 60, "{:?}", engine.counts);
    assert_eq!((engine.counts.last_resorts, engine.counts.evicted), (0, 0));
    drop(engine);
    let (mut engine, _) = open(&media, 1 << 20);
    let ids = ids(&engine);
    assert_eq!(
        read(&mut engine, ids[&b"name 1"[..]]),
        Some(("1".to_owned(), cold))
    );
    assert_eq!(
        read(&mut engine, ids[&b"name 2"[..]]),
        Some(("2999".to_owned(), hot))
    );
}

#[test]
fn relisting_the_same_writes_next_to_nothing() {
    let media = Memory::default();
    let (mut engine, _) = open(&media, 8 << 20);
    let mut items = many(2000, 1);
    replace(&mut engine, 1, "1", &items);
    engine.flush();
    let before = engine.log().written.bytes();
    replace(&mut engine, 1, "2", &items);
    engine.flush();
    assert_eq!(engine.log().written.bytes() - before, 4096);
    items.insert("ns/00007".into(), b"changed".to_vec());
    items.remove("ns/00008");
    replace(&mut engine, 1, "3", &items);
    engine.flush();
    assert_eq!(engine.log().written.bytes() - before, 2 * 4096);
    assert_eq!(read(&mut engine, 1), Some(("3".to_owned(), items.clone())));
    // Half of it changed: written anew, with what stayed.
    for (key, value) in many(1000, 2) {
        items.insert(key, value);
    }
    replace(&mut engine, 1, "4", &items);
    assert_eq!(read(&mut engine, 1), Some(("4".to_owned(), items.clone())));
    drop(engine);
    let (mut engine, _) = open(&media, 8 << 20);
    let id = *ids(&engine).values().next().unwrap();
    assert_eq!(read(&mut engine, id), Some(("4".to_owned(), items)));
}

#[test]
fn a_list_that_is_too_large_pushes_nobody_out() {
    let media = Memory::default();
    let (mut engine, _) = open(&media, 8 << 20);
    let others = many(100, 1);
    replace(&mut engine, 1, "1", &others);
    engine.flush();
    // Of bytes that cannot be compressed: a quarter of the files is its share.
    engine.begin(9, 1, None);
    let mut random = media.clone();
    let put = (0..4000).try_for_each(|i| {
        let mut value = vec![0; 1000];
        random.random(&mut value).unwrap();
        engine.put(9, &format!("ns/{i}"), Bytes::from(value), 0)
    });
    assert_eq!(put, Err(Why::NoRoom));
    assert_eq!(engine.counts.evicted, 0);
    assert_eq!(read(&mut engine, 1), Some(("1".to_owned(), others)));
}

/// A box that loses power before a list is whole has written all the same: again and again, if it comes to nothing more.
#[test]
fn what_was_written_for_nothing_counts_after_a_cut_too() {
    let media = Memory::default();
    let mut written = 0;
    for round in 1..=4 {
        let (mut engine, _) = open(&media, 1 << 20);
        assert!(engine.wear().written >= written, "round {round}");
        engine.begin(1, 1, None);
        for (key, value) in random(&media, 500, 2000) {
            if engine.put(1, &key, value.into(), 0).is_err() {
                break;
            }
        }
        // Of the last frame nothing tells.
        written = engine.wear().written - (64 << 10);
        assert!(written > (round << 17), "round {round}: {written}");
    }
}

#[test]
fn without_its_super_block_it_is_not_a_first_start() {
    let mut media = Memory::default();
    let (mut engine, anew) = open(&media, 1 << 20);
    assert_eq!(anew, Some(Anew::First));
    media.remove(Name::Super).unwrap();
    assert_eq!(open(&media, 1 << 20).1, Some(Anew::First), "never used");
    media.remove(Name::Super).unwrap();
    replace(&mut engine, 1, "1", &many(1, 1));
    engine.flush();
    assert_eq!(open(&media, 1 << 20).1, Some(Anew::Unreadable));
}

#[test]
fn what_a_reader_began_with_is_read_after_its_segment_is_released() {
    let media = Memory::default();
    let (mut engine, _) = open(&media, 1 << 20);
    let items = many(60, 1);
    replace(&mut engine, 1, "1", &items);
    engine.flush();
    let mut snapshot = engine.snapshot(1).unwrap();
    engine.drop_collection(1);
    engine.flush();
    let oldest = engine.log().oldest().unwrap();
    while engine.log().oldest() == Some(oldest) {
        let turn = engine.counts.flushes as u32;
        replace(&mut engine, 2, "1", &many(60, turn));
        engine.flush();
    }
    let mut read = Items::new();
    loop {
        let some = engine.read_some(&mut snapshot).expect("not begun again");
        if some.is_empty() {
            break;
        }
        read.extend(some.into_iter().map(|i| (i.key.into(), i.value.to_vec())));
    }
    assert_eq!(read, items);
}

/// One copy's format had a flipped bit, and the ring was made anew over the other.
#[test]
fn one_rotten_copy_of_the_super_block_is_written_again() {
    for at in [0, 8, 30, 4096 + 8, 4096 + 50] {
        let media = Memory::default();
        let (mut engine, _) = open(&media, 1 << 20);
        replace(&mut engine, 1, "1", &many(3, 1));
        engine.flush();
        drop(engine);
        let sound = media.0.borrow()[&Name::Super].clone();
        media.0.borrow_mut().get_mut(&Name::Super).unwrap()[at] ^= 1;
        let (engine, anew) = open(&media, 1 << 20);
        assert_eq!((anew, engine.collections().count()), (None, 1), "{at}");
        assert_eq!(media.0.borrow()[&Name::Super], sound, "{at}");
    }
}

/// Their number was counted in 16 bits.
#[test]
fn many_collections_and_items_are_said_to_be_gone() {
    let media = Memory::default();
    let (mut engine, _) = open(&media, 64 << 20);
    engine.begin(1, 1, None);
    let key = |n: usize| format!("k{n}");
    for n in 0..70_000 {
        engine.put(1, &key(n), Bytes::from_static(b"v"), 0).unwrap();
    }
    for n in 1..70_000 {
        engine.remove(1, &key(n));
    }
    // One of those that are gone comes back.
    engine
        .put(1, &key(69_999), Bytes::from_static(b"w"), 0)
        .unwrap();
    let label = Label {
        class: 1,
        name: b"name",
        note: b"",
        version: "1",
    };
    engine.commit(1, 1, &label).unwrap();
    drop(engine);
    let (mut engine, _) = open(&media, 64 << 20);
    let id = *ids(&engine).values().next().unwrap();
    let there = [(key(0), b"v".to_vec()), (key(69_999), b"w".to_vec())];
    assert_eq!(read(&mut engine, id), Some(("1".to_owned(), there.into())));
}

/// The newest segment's first opening rots, and its number and place are used again: what an earlier process left further
/// behind in it was read as if it had been written after.
#[test]
fn what_is_left_of_an_earlier_use_of_a_segment_is_not_read() {
    let media = Memory::default();
    let (mut engine, _) = open(&media, 1 << 20);
    replace(&mut engine, 1, "1", &many(1, 1));
    engine.flush();
    drop(engine);
    for version in ["2", "3", "4"] {
        let (mut engine, _) = open(&media, 1 << 20);
        let id = *ids(&engine).values().next().unwrap();
        engine.apply(id, &[], version).unwrap();
        engine.flush();
    }
    for file in media.0.borrow_mut().values_mut() {
        if file.starts_with(b"EHO1") {
            file[9] ^= 1;
        }
    }
    let (mut engine, _) = open(&media, 1 << 20);
    assert_eq!(engine.collections().count(), 0);
    replace(&mut engine, 7, "9", &many(2, 1));
    engine.flush();
    drop(engine);
    let (mut engine, _) = open(&media, 1 << 20);
    let id = ids(&engine)[&b"name 7"[..]];
    assert_eq!(read(&mut engine, id), Some(("9".to_owned(), many(2, 1))));
}

/// The old description was not carried on once a new one waited to be written.
#[test]
fn a_collection_of_another_class_keeps_its_description_until_the_new_one_is_written() {
    let media = Memory::default();
    let (mut engine, _) = open(&media, 1 << 20);
    let items = many(3, 1);
    replace(&mut engine, 1, "1", &items);
    engine.flush();
    engine.begin(1, 2, Some(1));
    for (key, value) in &items {
        let value = Bytes::copy_from_slice(value);
        engine.put(1, key, value, 0).unwrap();
    }
    let label = Label {
        class: 2,
        name: b"name 1",
        note: b"note",
        version: "2",
    };
    engine.commit(1, 1, &label).unwrap();
    let described = engine.collection(1).unwrap().described;
    // What is written ahead and given up laps the ring without a flush.
    let laps = engine.counts.reclaimed + 40;
    while engine.counts.reclaimed < laps {
        engine.begin(2, 1, None);
        for (key, value) in many(100, 2) {
            let _ = engine.put(2, &key, value.into(), 0);
        }
        engine.abort(2);
    }
    assert_ne!(engine.collection(1).unwrap().described, described);
    drop(engine);
    let (mut engine, _) = open(&media, 1 << 20);
    let id = ids(&engine)[&b"name 1"[..]];
    assert_eq!(read(&mut engine, id), Some(("1".to_owned(), items)));
}

#[test]
fn a_drop_is_written_though_what_goes_with_it_is_too_large() {
    let media = Memory::default();
    let (mut engine, _) = open(&media, 1 << 20);
    replace(&mut engine, 1, "1", &many(3, 1));
    replace(&mut engine, 2, "1", &many(3, 1));
    engine.flush();
    engine.drop_collection(1);
    let mut value = vec![0; 30_000];
    media.clone().random(&mut value).unwrap();
    let put = Change::Put {
        key: "large",
        value: &value,
        tag: 0,
    };
    let _ = engine.apply(2, &[put], "2");
    engine.flush();
    drop(engine);
    let (engine, _) = open(&media, 1 << 20);
    assert_eq!(ids(&engine).into_keys().collect::<Vec<_>>(), [b"name 2"]);
}

/// Bytes that are not compressed: so many for each of so many items.
fn random(media: &Memory, n: usize, bytes: usize) -> Items {
    let value = || {
        let mut value = vec![0; bytes];
        media.clone().random(&mut value).unwrap();
        value
    };
    (0..n).map(|i| (format!("ns/{i:05}"), value())).collect()
}

fn keep(engine: &mut Engine<Memory>, id: u64, class: Class, items: &Items) {
    engine.begin(1, class, Some(id));
    for (key, value) in items {
        engine
            .put(1, key, Bytes::copy_from_slice(value), 0)
            .unwrap();
    }
    let label = Label {
        class,
        name: format!("name {id}").leak().as_bytes(),
        note: b"note",
        version: "1",
    };
    engine.commit(1, id, &label).unwrap();
    engine.flush();
}

#[test]
fn a_smaller_cap_keeps_the_dearest_and_what_was_used_last() {
    let media = Memory::default();
    let (mut engine, _) = open(&media, 8 << 20);
    let large = random(&media, 78, 1000);
    // The last of the pinned is larger than all that is left; what is small beside it stays.
    for (id, class) in [(1, 0), (2, 1), (3, 2), (4, 1), (5, 2), (6, 1)] {
        keep(&mut engine, id, class, &large);
    }
    keep(&mut engine, 7, 2, &random(&media, 900, 1000));
    keep(&mut engine, 8, 0, &many(3, 1));
    drop(engine);
    for cap in [1 << 20, 3 << 20, 256 << 20, 1 << 20] {
        let (mut engine, anew) = open(&media, cap);
        assert_eq!((anew, engine.off()), (None, None));
        assert_eq!(engine.counts.last_resorts, 0);
        let bytes: u64 = media.segments().unwrap().iter().map(|(_, b)| b).sum();
        assert!(
            bytes + 8192 <= cap && bytes > cap / 4 * 3,
            "{bytes} of {cap}"
        );
        let sizes: Vec<u64> = media.segments().unwrap().iter().map(|(_, b)| *b).collect();
        assert!(sizes.iter().all(|bytes| *bytes == sizes[0]), "{sizes:?}");
        let names: Vec<Vec<u8>> = ids(&engine).into_keys().collect();
        assert_eq!(
            names,
            [3, 4, 5, 6, 8].map(|n| format!("name {n}").into_bytes()),
            "{cap}"
        );
        for (name, id) in ids(&engine) {
            let (_, items) = read(&mut engine, id).unwrap();
            assert_eq!(items.len(), if name == b"name 8" { 3 } else { 78 });
        }
    }
}

#[test]
fn an_object_that_is_too_large_for_the_smaller_files_takes_nothing_else_along() {
    let media = Memory::default();
    let (mut engine, _) = open(&media, 8 << 20);
    keep(&mut engine, 1, 2, &random(&media, 5, 100_000));
    let small = random(&media, 5, 20_000);
    keep(&mut engine, 2, 1, &small);
    drop(engine);
    // What still compresses into one is no harm.
    let (mut engine, _) = open(&media, 8 << 20);
    keep(
        &mut engine,
        3,
        0,
        &Items::from([("large".to_owned(), vec![b'x'; 200_000])]),
    );
    drop(engine);
    let (mut engine, _) = open(&media, 1 << 20);
    let ids = ids(&engine);
    assert_eq!(ids.keys().collect::<Vec<_>>(), [b"name 2", b"name 3"]);
    assert_eq!(
        read(&mut engine, ids[&b"name 2"[..]]),
        Some(("1".to_owned(), small))
    );
}

/// What an agent that `*` alone let in may do: list all it can, and invent names as long as they may be.
#[test]
fn nobody_of_a_lower_class_takes_the_room_of_a_higher_one() {
    let media = Memory::default();
    let (mut engine, _) = open(&media, 1 << 20);
    let pinned = random(&media, 100, 1000);
    keep(&mut engine, 1, 2, &pinned);
    let named = random(&media, 100, 1000);
    keep(&mut engine, 2, 1, &named);
    for id in 10..400 {
        engine.set_now(at(id * 3));
        let name = random(&media, 1, 4000)["ns/00000"].clone();
        let name: Vec<u8> = name
            .iter()
            .flat_map(|b| [b'a' + b % 16, b'a' + b / 16])
            .collect();
        let items = random(&media, 1 + id as usize % 90, 900);
        engine.begin(9, 0, None);
        let put = items
            .iter()
            .try_for_each(|(key, value)| engine.put(9, key, Bytes::copy_from_slice(value), 0));
        let label = Label {
            class: 0,
            name: &name,
            note: b"note",
            version: "1",
        };
        let _ = put.and_then(|()| engine.commit(9, id, &label));
        engine.flush();
        assert!(engine.live_bytes() <= (1 << 20) / 2 + (64 << 10));
    }
    assert!(engine.counts.evicted > 100, "{:?}", engine.counts);
    assert_eq!(engine.counts.last_resorts, 0);
    for (id, items) in [(1, &pinned), (2, &named)] {
        assert_eq!(read(&mut engine, id), Some(("1".to_owned(), items.clone())));
    }
    drop(engine);
    let (mut engine, _) = open(&media, 1 << 20);
    for (name, items) in [(b"name 1", pinned), (b"name 2", named)] {
        let id = ids(&engine)[&name[..]];
        assert_eq!(read(&mut engine, id), Some(("1".to_owned(), items)));
    }
}
