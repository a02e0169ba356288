//! A month of a node's life on files of the default size: quiet days, busy ones, and some on which far more changes than
//! may be written. After every call that could make a file grow all of them are weighed.

use crate::model::{ids, name_of, read};
use crate::rng::Rng;
use bytes::Bytes;
use edge_hub::store::ring::engine::{Engine, Moment, Notice, Settings};
use edge_hub::store::ring::files::Files;
use edge_hub::store::ring::fill::Label;
use edge_hub::store::ring::media::{Media, Name};
use edge_hub::store::{Change, Class};
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

const DAYS: u64 = 30;
const DAY: Duration = Duration::from_secs(86_400);
/// The defaults of `cache_max_bytes` and `daily_write_bytes`.
const CAP: u64 = 8 << 20;
const DAILY: u64 = 32 << 20;
/// What the last write of a day may take beyond what is left: a frame, and what reclaim carries for it.
const LAST_WRITE: u64 = 1 << 20;
const SECRET: &[u8] = b"0123456789abcdef";

/// Who is told something on a node: objects, bytes of each, class, and how often something changes among them.
const TOLD: [(usize, usize, Class, usize); 8] = [
    // The kubelet's pods, secrets and node; the services and slices of kube-proxy, and of CoreDNS.
    (30, 5600, 2, 25),
    (20, 2500, 2, 1),
    (1, 9000, 2, 10),
    (60, 1000, 2, 2),
    (300, 1600, 2, 25),
    (300, 1600, 2, 25),
    // An operator's program, and one that nobody named.
    (400, 2000, 1, 10),
    (200, 3000, 0, 10),
];

/// The ring's files, and what was done to them. Nobody cuts the power here: nothing is waited for.
struct Weighed {
    files: Files,
    directory: PathBuf,
    tally: Rc<Tally>,
}

#[derive(Default)]
struct Tally {
    calls: Cell<u64>,
    written: Cell<u64>,
    most: Cell<u64>,
}

impl Weighed {
    fn weigh(&self) {
        let entries = self.directory.read_dir().expect("the ring's folder");
        let bytes: u64 = entries
            .map(|entry| entry.and_then(|e| e.metadata()).expect("a file").len())
            .sum();
        assert!(bytes <= CAP, "{bytes} bytes: above the cap");
        let tally = &self.tally;
        tally.calls.set(tally.calls.get() + 1);
        tally.most.set(tally.most.get().max(bytes));
    }
}

impl Media for Weighed {
    fn segments(&self) -> io::Result<Vec<(u16, u64)>> {
        self.files.segments()
    }

    fn read(&self, name: Name, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.files.read(name, offset, buf)
    }

    fn write(&mut self, name: Name, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.files.write(name, offset, bytes)?;
        (self.tally.written).set(self.tally.written.get() + bytes.len() as u64);
        self.weigh();
        Ok(())
    }

    fn sync(&mut self, _: Name) -> io::Result<()> {
        Ok(())
    }

    fn create(&mut self, name: Name, bytes: u64) -> io::Result<()> {
        self.files.create(name, bytes)?;
        self.weigh();
        Ok(())
    }

    fn remove(&mut self, name: Name) -> io::Result<()> {
        self.files.remove(name)
    }

    fn random(&mut self, out: &mut [u8]) -> io::Result<()> {
        self.files.random(out)
    }
}

struct Life {
    directory: PathBuf,
    tally: Rc<Tally>,
    engine: Option<Engine<Weighed>>,
    /// Since the month began, and when the process did.
    time: Duration,
    started: Duration,
    rng: Rng,
    version: u64,
    /// What is told of each, by number, while it is kept and follows.
    follows: [Option<u64>; TOLD.len()],
    next_id: u64,
    reclaimed: u64,
}

impl Life {
    fn new(directory: &Path) -> Life {
        let mut life = Life {
            directory: directory.to_owned(),
            tally: Rc::default(),
            engine: None,
            time: Duration::ZERO,
            started: Duration::ZERO,
            rng: Rng::new(30),
            version: 0,
            follows: [None; TOLD.len()],
            next_id: 1 << 48,
            reclaimed: 0,
        };
        life.start();
        life
    }

    fn engine(&mut self) -> &mut Engine<Weighed> {
        self.engine.as_mut().expect("open")
    }

    fn start(&mut self) {
        if let Some(mut ended) = self.engine.take() {
            ended.flush();
            self.reclaimed += ended.counts.reclaimed;
        }
        let media = Weighed {
            files: Files::locked(&self.directory).expect("a lock"),
            directory: self.directory.clone(),
            tally: Rc::clone(&self.tally),
        };
        let settings = Settings {
            bytes_max: CAP,
            node: 7,
            flush: Duration::from_secs(2),
            daily: DAILY,
        };
        let opened = Engine::open(media, SECRET, settings, Moment::default());
        self.started = self.time;
        self.engine = Some(opened.unwrap_or_else(|e| panic!("does not open: {e}")).0);
        self.follows = [None; TOLD.len()];
    }

    /// Goes on to this time, and lets the ring write what is due on the way.
    fn pass(&mut self, to: Duration) {
        loop {
            let due = self.engine().due().map(|due| self.started + due);
            self.time = due.map_or(to, |due| due.clamp(self.time, to));
            let now = Moment {
                up: self.time - self.started,
                unix: 1_800_000_000 + self.time.as_secs(),
            };
            self.engine().set_now(now);
            self.engine().tick();
            self.listen();
            if self.time == to {
                return;
            }
        }
    }

    fn listen(&mut self) {
        for notice in self.engine().take_notices() {
            let (Notice::Gone { id, .. } | Notice::Frozen { id, .. }) = notice;
            let lost = self.follows.iter_mut().find(|f| **f == Some(id));
            lost.into_iter().for_each(|follows| *follows = None);
        }
        assert_eq!(self.engine().off(), None);
    }

    /// An object as it is told: much that all have, some that is its own.
    fn object(&mut self, number: usize, bytes: usize) -> Bytes {
        let mut text = format!("{{\"metadata\":{{\"name\":\"object-{number}\",\"uid\":\"");
        while text.len() < bytes {
            text += &format!("{:016x}", self.rng.next());
            text += "\",\"labels\":{\"app.kubernetes.io/name\":\"edge\"},\"fieldsType\":\"FieldsV1\",\"manager\":\"";
        }
        text.into()
    }

    /// The client lists anew, as after it was started: nothing has changed, a little, or all of it.
    fn list(&mut self, number: usize) {
        let (objects, bytes, class, _) = TOLD[number];
        let id = match (ids(self.engine())).get(&number) {
            Some(id) => *id,
            None => {
                self.next_id += 1;
                self.next_id
            }
        };
        let kept = read(self.engine(), id).map(|state| Rc::unwrap_or_clone(state.items));
        let mut items = kept.unwrap_or_default();
        let changed = match items.is_empty() {
            true => 1,
            false => *self.rng.pick(&[2, 20, 20, 1000]),
        };
        for at in 0..objects {
            if self.rng.one_in(changed) {
                let object = self.object(at, bytes);
                items.insert(format!("ns/{at:05}"), object);
            }
        }
        self.version += 1;
        let version = self.version.to_string();
        let engine = self.engine();
        engine.begin(1, class, Some(id));
        let put = items
            .iter()
            .try_for_each(|(key, value)| engine.put(1, key, value.clone(), 0));
        let label = Label {
            class,
            name: name_of(number).leak().as_bytes(),
            note: b"note",
            version: &version,
        };
        let done = put.and_then(|()| engine.commit(1, id, &label));
        self.listen();
        self.follows[number] = done.is_ok().then_some(id);
    }

    /// Something changes among what is told.
    fn event(&mut self) {
        let all: usize = TOLD.iter().map(|(.., often)| often).sum();
        let mut at = self.rng.below(all);
        let number = TOLD.iter().position(|(.., often)| {
            let is_it = at < *often;
            at = at.wrapping_sub(*often);
            is_it
        });
        let number = number.expect("one of them");
        let Some(id) = self.follows[number] else {
            // Nobody asks again at once.
            if self.rng.one_in(300) {
                self.list(number);
            }
            return;
        };
        let (objects, bytes, ..) = TOLD[number];
        let object = self.rng.below(objects);
        let key = format!("ns/{object:05}");
        let value = self.object(object, bytes);
        let change = match self.rng.one_in(12) {
            true => Change::Delete(&key),
            false => Change::Put {
                key: &key,
                value: &value,
                // Half of it is a status.
                tag: self.rng.below(2) as u32,
            },
        };
        self.version += 1;
        let version = self.version.to_string();
        let _ = self.engine().apply(id, &[change], &version);
        self.listen();
    }

    /// A day with so many changes an hour. Gives the bytes that it has written.
    fn day(&mut self, changes: u32) -> u64 {
        let end = self.time + DAY;
        let before = self.tally.written.get();
        let left = self.engine().wear().left;
        (0..TOLD.len()).for_each(|number| self.list(number));
        let gap = Duration::from_secs(3600) / changes;
        while self.time + 2 * gap < end {
            let wait = gap.mul_f64(self.rng.below(2000) as f64 / 1000.0);
            self.pass(self.time + wait);
            self.event();
            if self.rng.one_in(40_000) {
                self.start();
                (0..TOLD.len()).for_each(|number| self.list(number));
            }
        }
        self.pass(end);
        let written = self.tally.written.get() - before;
        assert!(
            written <= left + DAILY + LAST_WRITE,
            "{changes} changes an hour: {written} bytes in a day that began with {left} to spend"
        );
        written
    }

    /// What a node cannot do without is there, whatever the others did.
    fn look(&mut self) {
        let kept = ids(self.engine());
        for (number, (objects, _, class, _)) in TOLD.into_iter().enumerate() {
            if class == 2 {
                let id = kept.get(&number).copied();
                let state = id.and_then(|id| read(self.engine(), id));
                let state = state.unwrap_or_else(|| panic!("{number} is not there"));
                assert!(state.items.len() >= objects / 2, "{number}");
            }
        }
    }
}

#[test]
fn in_a_month_the_files_never_grow_past_the_cap_nor_the_writes_past_the_budget() {
    let directory = std::env::temp_dir().join(format!("edge-hub-month-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a folder");
    let mut life = Life::new(&directory);
    let mut storms = 0;
    for day in 0..DAYS {
        let changes = match day % 10 {
            // Far more than may be written, days on end.
            3..=5 => 2000,
            0 | 7 => 30,
            _ => 300,
        };
        let written = life.day(changes);
        storms += u64::from(written > DAILY / 4 * 3);
        life.look();
        println!("day {day}: {changes} changes an hour, {written} bytes");
    }
    life.start();
    life.look();
    let (written, most) = (life.tally.written.get(), life.tally.most.get());
    let calls = life.tally.calls.get();
    println!("a month: {written} bytes in {calls} calls, files of {most} bytes at most");
    std::fs::remove_dir_all(&directory).expect("it was there");
    assert!(written <= (DAYS + 1) * DAILY, "{written} bytes in a month");
    assert!(storms > 3, "the budget was hardly ever used");
    assert!(life.reclaimed > 100, "the ring never went round");
}
