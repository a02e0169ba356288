//! Work for a ring that laps it, and a cut at every call of it.

use crate::flash::{Disk, Fault, Flash};
use crate::model::{Check, Contents, Items, Model, State, contents, ids, name_of};
use crate::rng::Rng;
use bytes::Bytes;
use edge_hub::store::ring::collection::Why;
use edge_hub::store::ring::engine::{Engine, Moment, Notice, Settings};
use edge_hub::store::ring::fill::Label;
use edge_hub::store::ring::recover::{Anew, OpenError};
use edge_hub::store::{Change, Class};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Keys and bytes of the values of each collection, and its class. The first is cold: hardly ever changed, to be carried
/// on lap after lap.
const NAMES: [(usize, usize, Class); 8] = [
    (12, 200, 2),
    (20, 80, 2),
    (40, 120, 1),
    (90, 300, 1),
    (3, 9_000, 0),
    (10, 300, 0),
    (1, 30, 0),
    (30, 40, 1),
];
const COLD: usize = 0;
const SECRETS: [&[u8]; 2] = [b"0123456789abcdef", b"another key, another ring"];

/// What a run is like.
#[derive(Clone)]
pub struct Plan {
    pub steps: usize,
    /// Of how many calls one is looked at.
    pub cuts_one_in: usize,
    /// The power really goes now and then, and the work goes on with what is left.
    pub has_ends: bool,
    /// What fails at its time.
    pub is_healthy: bool,
}

pub struct World {
    pub disk: Disk,
    pub engine: Option<Engine<Disk>>,
    pub model: Rc<RefCell<Model>>,
    cutter: Rc<Cutter>,
    plan: Plan,
    rng: Rng,
    now: Moment,
    fills: Vec<Filling>,
    next_id: u64,
    next_version: u64,
    /// Evictions and last resorts that are accounted for.
    gone: u64,
    /// Reads fail: what is kept may seem lost.
    may_lose: bool,
    pub sum: Sum,
}

/// What happened in all, to see that the work is what it should be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    pub cuts: u64,
    pub starts: u64,
    pub reclaimed: u64,
    pub carried: u64,
    pub evicted: u64,
    pub last_resorts: u64,
    pub frozen: u64,
    pub gone: u64,
    pub flushes: u64,
    pub commits: u64,
    pub applied: u64,
}

impl Sum {
    pub fn add(&mut self, other: &Sum) {
        self.cuts += other.cuts;
        self.starts += other.starts;
        self.reclaimed += other.reclaimed;
        self.carried += other.carried;
        self.evicted += other.evicted;
        self.last_resorts += other.last_resorts;
        self.frozen += other.frozen;
        self.gone += other.gone;
        self.flushes += other.flushes;
        self.commits += other.commits;
        self.applied += other.applied;
    }
}

struct Filling {
    number: u64,
    name: usize,
    items: Items,
}

/// Cuts a copy of the flash at a call, and looks at what a start finds.
struct Cutter {
    model: Rc<RefCell<Model>>,
    rng: RefCell<Rng>,
    settings: RefCell<(Settings, usize)>,
    /// Names that were missing, and may only be if something is given up before the call's end.
    absent: RefCell<Vec<usize>>,
    cuts: Cell<u64>,
    one_in: Cell<usize>,
}

impl Cutter {
    fn call(&self, flash: Flash) {
        if self.rng.borrow_mut().one_in(self.one_in.get()) {
            let mut rng = self.rng.borrow_mut().split();
            self.cut(flash, &mut rng);
        }
    }

    fn cut(&self, mut flash: Flash, rng: &mut Rng) {
        self.cuts.set(self.cuts.get() + 1);
        // Or it is only the process that ends, and the power goes when another has begun.
        let is_killed = rng.one_in(6);
        if !is_killed {
            flash.cut(rng);
        }
        let disk = Disk::new(flash, rng);
        let (mut settings, key) = self.settings.borrow().clone();
        if rng.one_in(24) {
            settings.bytes_max = cap(rng);
        }
        let (mut engine, anew) = open(&disk, &settings, key);
        let model = self.model.borrow();
        assert!(anew.is_none() || model.is_being_made, "made anew: {anew:?}");
        let given_up = gone(&mut engine);
        let found = contents(&mut engine);
        let absent = model.check(&found, Check::Cut);
        // An evicted one is not known by name any more: it may be any of those that are missing.
        if absent.len() > given_up {
            self.absent.borrow_mut().extend(absent);
        }
        if anew.is_some() {
            assert!(found.is_empty());
        }
        if is_killed || rng.one_in(4) {
            drop(engine);
            let before = given_up;
            if is_killed || rng.one_in(2) {
                disk.change(|flash| flash.cut(rng));
            }
            engine = open(&disk, &settings, key).0;
            let given_up = gone(&mut engine);
            let again = contents(&mut engine);
            let missing = found
                .keys()
                .filter(|name| !again.contains_key(name))
                .count();
            assert!(missing <= given_up, "the second start finds less");
            for (name, state) in &again {
                // What was given up may be there again, if nobody wrote that down.
                let is_there_again = !found.contains_key(name) && before > 0;
                let is_same = found.get(name) == Some(state);
                assert!(
                    is_same || is_there_again,
                    "name {name} at {} appears",
                    state.version
                );
            }
            model.check(&again, Check::Cut);
        }
        if rng.one_in(16) {
            takes_writes(engine, &disk, &settings, key, rng);
        }
    }
}

/// A recovered ring takes a list and events, and a start finds them.
fn takes_writes(
    mut engine: Engine<Disk>,
    disk: &Disk,
    settings: &Settings,
    key: usize,
    rng: &mut Rng,
) {
    let id = 1 << 40;
    let mut items = Items::new();
    engine.begin(1, Class::MAX, None);
    for number in 0..rng.between(1, 40) {
        let (key, value) = (format!("n{number}"), value(rng, 500));
        engine.put(1, &key, value.clone(), 0).expect("room");
        items.insert(key, value);
    }
    let label = Label {
        class: Class::MAX,
        name: b"name 1000",
        note: b"",
        version: "1",
    };
    engine.commit(1, id, &label).expect("room");
    for version in 2..rng.between(3, 9) {
        let (key, value) = (format!("n{version}"), value(rng, 500));
        let put = Change::Put {
            key: &key,
            value: &value,
            tag: 1,
        };
        engine
            .apply(id, &[put], &version.to_string())
            .expect("room");
        items.insert(key, value);
        engine.flush();
    }
    engine.flush();
    assert_eq!(engine.off(), None);
    drop(engine);
    disk.change(|flash| flash.cut(rng));
    let (mut engine, _) = open(disk, settings, key);
    let found = contents(&mut engine);
    assert!(found[&1000].items == items.into(), "what came after a cut");
}

/// Without what is told only here.
fn without_extra(engine: &mut Engine<Disk>) -> Contents {
    let mut found = contents(engine);
    found.remove(&1000);
    found
}

fn gone(engine: &mut Engine<Disk>) -> usize {
    engine.take_notices().len()
}

/// Opens it; all the while the files take no more than they did, or than they shall.
fn open(disk: &Disk, settings: &Settings, key: usize) -> (Engine<Disk>, Option<Anew>) {
    let now = Moment::default();
    let before = disk.flash().bytes();
    disk.set_bytes_max(before.max(settings.bytes_max));
    match Engine::open(disk.clone(), SECRETS[key], settings.clone(), now) {
        Ok((engine, anew)) => {
            let bytes = disk.flash().bytes();
            assert!(bytes <= settings.bytes_max, "{bytes} bytes: above the cap");
            disk.set_bytes_max(settings.bytes_max);
            (engine, anew)
        }
        Err(error) => panic!("does not open: {error}"),
    }
}

/// Caps of 8 to 31 segments of the least size; now and then one of 32 that are twice as large.
fn cap(rng: &mut Rng) -> u64 {
    let segments = *rng.pick(&[8, 9, 12, 16, 31, 8, 9, 12, 16, 64]);
    8192 + 32768 * segments + rng.below(32768) as u64
}

fn value(rng: &mut Rng, bytes_max: usize) -> Bytes {
    let bytes = rng.below(bytes_max + 1);
    let mut value = vec![b'x'; bytes];
    match rng.one_in(3) {
        true => {
            let differs = bytes.min(16);
            rng.fill(&mut value[..differs]);
        }
        false => rng.fill(&mut value),
    }
    value.into()
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> World {
        let mut rng = Rng::new(seed);
        let piece = *rng.pick(&[512, 4096]);
        let disk = Disk::new(Flash::new(piece), &mut rng);
        disk.watch_nonces();
        let settings = Settings {
            bytes_max: cap(&mut rng),
            node: 7,
            flush: Duration::from_secs(2),
            daily: *rng.pick(&[1 << 40, 1 << 40, 1 << 40, 3 << 20]),
        };
        let model = Rc::new(RefCell::new(Model::new(NAMES.len())));
        let cutter = Rc::new(Cutter {
            model: Rc::clone(&model),
            rng: RefCell::new(rng.split()),
            settings: RefCell::new((settings, 0)),
            absent: RefCell::default(),
            cuts: Cell::new(0),
            one_in: Cell::new(plan.cuts_one_in),
        });
        if plan.cuts_one_in > 0 {
            let cutter = Rc::clone(&cutter);
            disk.on_call(move |flash| cutter.call(flash));
        }
        let mut world = World {
            disk,
            engine: None,
            model,
            cutter,
            plan,
            rng,
            now: Moment::default(),
            fills: Vec::new(),
            next_id: 1 << 32,
            next_version: 1,
            gone: 0,
            may_lose: false,
            sum: Sum::default(),
        };
        world.start();
        world
    }

    pub fn run(&mut self) {
        for _ in 0..self.plan.steps {
            self.step();
        }
        self.compare();
        self.count();
        self.sum.cuts += self.cutter.cuts.get();
    }

    fn engine(&mut self) -> &mut Engine<Disk> {
        self.engine.as_mut().expect("open")
    }

    fn count(&mut self) {
        if let Some(engine) = &self.engine {
            let counts = engine.counts;
            self.sum.reclaimed += counts.reclaimed;
            self.sum.carried += counts.carried;
            self.sum.evicted += counts.evicted;
            self.sum.last_resorts += counts.last_resorts;
            self.sum.flushes += counts.flushes;
        }
    }

    fn start(&mut self) {
        let (settings, key) = self.cutter.settings.borrow().clone();
        let (mut engine, anew) = open(&self.disk, &settings, key);
        assert_eq!(
            anew.is_some(),
            self.model.borrow().is_being_made,
            "{anew:?}"
        );
        let given_up = gone(&mut engine);
        let found = contents(&mut engine);
        let absent = self.model.borrow().check(&found, Check::Cut);
        assert!(absent.len() <= given_up, "missing: {absent:?}");
        let absent = self.cutter.absent.take();
        assert!(absent.is_empty() || given_up > 0, "missing: {absent:?}");
        (self.model.borrow_mut()).start(found, &ids(&engine), given_up > 0);
        self.now = Moment::default();
        self.fills.clear();
        self.gone = engine.counts.evicted + engine.counts.last_resorts;
        self.engine = Some(engine);
        self.sum.starts += 1;
    }

    pub fn step(&mut self) {
        let wait = match self.rng.below(60) {
            0 => 700,
            1..6 => 20,
            _ => self.rng.below(3) as u64,
        };
        self.now.up += Duration::from_secs(wait);
        self.now.unix = 1_800_000_000 + self.now.up.as_secs();
        let now = self.now;
        self.engine().set_now(now);
        self.engine().tick();
        self.after();
        match self.rng.below(1000) {
            0..480 => self.events(),
            480..540 => self.version_only(),
            540..640 => self.flush(),
            640..720 => self.relist(),
            720..860 => self.fill_step(),
            860..880 => self.drop_one(),
            880..892 => self.big(),
            892..930 => self.compare(),
            930..960 => self.come_and_go(),
            _ if !self.plan.has_ends => {}
            960..980 => self.end(true),
            980..990 => self.end(false),
            990..994 => {
                let cap = cap(&mut self.rng);
                self.cutter.settings.borrow_mut().0.bytes_max = cap;
                self.end(true);
            }
            994 => {
                {
                    let mut settings = self.cutter.settings.borrow_mut();
                    match self.rng.one_in(2) {
                        true => settings.0.node += 1,
                        false => settings.1 = 1 - settings.1,
                    }
                }
                self.model.borrow_mut().is_being_made = true;
                self.end(true);
            }
            _ => {}
        }
        self.after();
    }

    /// Takes in what the engine says.
    fn after(&mut self) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        let mut model = self.model.borrow_mut();
        for notice in engine.take_notices() {
            match notice {
                Notice::Gone { id, .. } => {
                    self.sum.gone += 1;
                    if let Some(history) = model.by_id(id) {
                        history.states.push(None);
                        history.id = None;
                        history.is_frozen = false;
                    }
                }
                Notice::Frozen { id, version, why } => {
                    self.sum.frozen += 1;
                    let history = model.by_id(id).expect("one that is there");
                    let at = history.at(&version).expect("a version that was told");
                    let refused = history.states.drain(at + 1..).flatten();
                    if why == Why::Off {
                        history.refused.extend(refused);
                    }
                    history.is_frozen = true;
                    assert!(at >= history.acked, "frozen at what was replaced durably");
                }
            }
        }
        for (id, collection) in engine.collections() {
            let history = model.by_id(id).expect("one that was told");
            let now = history.now().expect("one that was told");
            assert_eq!(now.version, *collection.version);
            assert_eq!(now.items.len(), collection.table.len());
            if let Some(durable) = &collection.durable {
                let at = history
                    .at(&durable.version)
                    .expect("a version that was told");
                assert!(at >= history.acked, "what is durable goes back");
                history.acked = at;
            }
        }
        let there = model.names.iter().filter(|h| h.now().is_some()).count();
        assert_eq!(there, engine.collections().count());
        let gone = engine.counts.evicted + engine.counts.last_resorts;
        let absent = self.cutter.absent.take();
        assert!(absent.is_empty() || gone > self.gone, "missing: {absent:?}");
        self.gone = gone;
        if self.plan.is_healthy {
            assert_eq!(engine.off(), None);
        }
    }

    fn version(&mut self) -> String {
        self.next_version += 1;
        self.next_version.to_string()
    }

    /// A name, the hot ones oftener.
    fn name(&mut self) -> usize {
        match self.rng.below(10) {
            0..3 => 1,
            3..5 => 2,
            _ => self.rng.between(1, NAMES.len()),
        }
    }

    fn tell(&mut self, name: usize, version: &str, items: Items) {
        self.model.borrow_mut().names[name].states.push(Some(State {
            version: version.to_owned(),
            items: Rc::new(items),
        }));
    }

    /// It was refused.
    fn untell(&mut self, name: usize) {
        let is_off = self.engine().off().is_some();
        let history = &mut self.model.borrow_mut().names[name];
        let refused = history.states.pop().flatten();
        if is_off {
            history.refused.extend(refused);
        }
    }

    fn apply(&mut self, name: usize, changes: Vec<(String, Option<Bytes>)>) {
        let (id, mut items, was_frozen) = {
            let model = self.model.borrow();
            let history = &model.names[name];
            (history.id, history.items(), history.is_frozen)
        };
        let Some(id) = id else {
            return;
        };
        let version = self.version();
        for (key, value) in &changes {
            match value {
                Some(value) => items.insert(key.clone(), value.clone()),
                None => items.remove(key),
            };
        }
        self.tell(name, &version, items);
        let told: Vec<Change<'_>> = (changes.iter())
            .map(|(key, value)| match value {
                Some(value) => Change::Put {
                    key,
                    value,
                    tag: value.len() as u32 / 64,
                },
                None => Change::Delete(key),
            })
            .collect();
        let done = self.engine().apply(id, &told, &version);
        assert!(done.is_err() || !was_frozen);
        match done {
            Ok(()) => self.sum.applied += 1,
            Err(_) => self.untell(name),
        }
    }

    fn events(&mut self) {
        let name = self.name();
        let (keys, bytes, _) = NAMES[name];
        let changes = (0..self.rng.between(1, 5))
            .map(|_| {
                let key = format!("ns/{:05}", self.rng.below(keys));
                let gone = self.rng.one_in(4);
                (key, (!gone).then(|| value(&mut self.rng, bytes)))
            })
            .collect();
        self.apply(name, changes);
    }

    fn version_only(&mut self) {
        let name = match self.rng.one_in(20) {
            true => COLD,
            false => self.name(),
        };
        self.apply(name, Vec::new());
    }

    /// An object that is there for a moment: its record and its deletion lie in one segment.
    fn come_and_go(&mut self) {
        let name = self.name();
        let key = format!("moment/{}", self.rng.below(1000));
        let value = value(&mut self.rng, 50);
        for value in [Some(value), None] {
            self.apply(name, vec![(key.clone(), value)]);
            self.after();
            self.flush();
            self.after();
        }
    }

    /// An object near what a frame takes, or above it, or one that compresses into it.
    fn big(&mut self) {
        let name = 4;
        let key = format!("ns/{:05}", self.rng.below(NAMES[name].0));
        let value = match self.rng.below(16) {
            0 => Bytes::from(vec![b'z'; self.rng.between(50_000, 100_000)]),
            1..4 => {
                let mut value = vec![0; self.rng.between(24_000, 24_700)];
                self.rng.fill(&mut value);
                value.into()
            }
            4..7 => {
                let mut value = vec![0; self.rng.between(24_000, 50_000)];
                self.rng.fill(&mut value);
                value.into()
            }
            _ => value(&mut self.rng, 24_000),
        };
        self.apply(name, vec![(key, Some(value))]);
    }

    fn flush(&mut self) {
        let absent: Vec<(usize, usize)> = (self.model.borrow().names.iter().enumerate())
            .filter(|(_, history)| history.now().is_none())
            .map(|(name, history)| (name, history.states.len() - 1))
            .collect();
        self.engine().flush();
        if self.engine().off().is_none() {
            for (name, at) in absent {
                self.model.borrow_mut().names[name].acked = at;
            }
        }
    }

    fn drop_one(&mut self) {
        let name = self.name();
        let id = {
            let history = &mut self.model.borrow_mut().names[name];
            let Some(id) = history.id.take() else {
                return;
            };
            history.states.push(None);
            history.is_frozen = false;
            id
        };
        self.engine().drop_collection(id);
    }

    /// What a list says now: the same, a little changed, half of it changed, or all.
    fn listed(&mut self, name: usize) -> Items {
        let (keys, bytes, _) = NAMES[name];
        let mut items = self.model.borrow().names[name].items();
        let changed = match items.is_empty() {
            true => keys,
            false => *self.rng.pick(&[0, 0, 1, 2, keys / 2, 2 * keys]),
        };
        for _ in 0..changed {
            let key = format!("ns/{:05}", self.rng.below(keys));
            match self.rng.one_in(5) {
                true => items.remove(&key),
                false => items.insert(key, value(&mut self.rng, bytes)),
            };
        }
        items
    }

    fn relist(&mut self) {
        let name = match self.rng.one_in(12) {
            true => COLD,
            false => self.name(),
        };
        let items = self.listed(name);
        let number = self.begin(name);
        for (key, value) in &items {
            let put = self.engine().put(number, key, value.clone(), 3);
            if put.is_err() {
                return self.after();
            }
        }
        self.after();
        self.commit(number, name, items);
    }

    fn begin(&mut self, name: usize) -> u64 {
        self.next_id += 1;
        let number = self.next_id;
        let replaces = self.model.borrow().names[name].id;
        self.engine().begin(number, NAMES[name].2, replaces);
        number
    }

    fn commit(&mut self, number: u64, name: usize, items: Items) {
        let version = self.version();
        self.next_id += 1;
        let id = {
            let history = &mut self.model.borrow_mut().names[name];
            history.id.unwrap_or(self.next_id)
        };
        // Now and then it is another class, or the note is another.
        let class = NAMES[name].2 + Class::from(self.rng.one_in(10));
        let note: &[u8] = if self.rng.one_in(15) {
            b"other"
        } else {
            b"note"
        };
        let label = Label {
            class,
            name: name_of(name).leak().as_bytes(),
            note,
            version: &version,
        };
        self.tell(name, &version, items);
        match self.engine().commit(number, id, &label) {
            Ok(()) => {
                self.sum.commits += 1;
                let history = &mut self.model.borrow_mut().names[name];
                history.id = Some(id);
                history.is_frozen = false;
            }
            Err(why) => {
                assert!(why != Why::Off || !self.plan.is_healthy);
                if self.engine().collection(id).is_some() {
                    return self.untell(name);
                }
                // It may have been there for a moment, before it had to make room.
                let history = &mut self.model.borrow_mut().names[name];
                history.states.push(None);
                history.id = None;
                history.is_frozen = false;
            }
        }
    }

    /// Fills that take their time.
    fn fill_step(&mut self) {
        if self.fills.is_empty() || (self.fills.len() < 3 && self.rng.one_in(4)) {
            let name = self.name();
            let number = self.begin(name);
            let items = Items::new();
            return self.fills.push(Filling {
                number,
                name,
                items,
            });
        }
        let at = self.rng.below(self.fills.len());
        let (number, name) = (self.fills[at].number, self.fills[at].name);
        let (keys, bytes, _) = NAMES[name];
        match self.rng.below(12) {
            0 => {
                self.fills.remove(at);
                self.engine().abort(number);
            }
            1..4 => {
                let filling = self.fills.remove(at);
                self.commit(number, name, filling.items);
            }
            4 => {
                for _ in 0..self.rng.between(1, keys) {
                    let key = format!("ns/{:05}", self.rng.below(keys));
                    self.engine().remove(number, &key);
                    self.fills[at].items.remove(&key);
                }
            }
            _ => {
                for _ in 0..self.rng.between(1, 30) {
                    let key = format!("ns/{:05}", self.rng.below(keys));
                    let kept = self.model.borrow().names[name].items().remove(&key);
                    let value = match kept {
                        Some(kept) if self.rng.one_in(2) => kept,
                        _ => value(&mut self.rng, bytes),
                    };
                    match self.engine().put(number, &key, value.clone(), 5) {
                        Ok(()) => self.fills[at].items.insert(key, value),
                        Err(_) => {
                            self.fills.remove(at);
                            return;
                        }
                    };
                }
            }
        }
    }

    /// Everything can be read, and is what was told last.
    pub fn compare(&mut self) {
        let found = contents(self.engine());
        let model = self.model.borrow();
        for (name, history) in model.names.iter().enumerate() {
            let told = history.now();
            let is_lost = self.may_lose && !found.contains_key(&name);
            assert!(
                is_lost || found.get(&name) == told,
                "name {name} is not what was told"
            );
        }
    }

    /// Starts on what rot left, and lets what is read rot while the ring is open: fewer answers, never a wrong one.
    pub fn rot(&mut self) {
        let mut rng = self.rng.split();
        let (settings, key) = self.cutter.settings.borrow().clone();
        self.sum.cuts += 1;
        let mut flash = self.disk.flash();
        if rng.one_in(2) {
            flash.rot(&mut rng);
        }
        let disk = Disk::new(flash, &mut rng);
        let (mut engine, _) = open(&disk, &settings, key);
        self.model
            .borrow()
            .check(&contents(&mut engine), Check::Rot);
        for lap in 0..3 {
            disk.change(|flash| flash.rot(&mut rng));
            self.model
                .borrow()
                .check(&without_extra(&mut engine), Check::Rot);
            // Reclaim goes over it too.
            for version in 0..rng.below(60) {
                let id = (1 << 40) + lap;
                let label = Label {
                    class: 1,
                    name: b"name 1000",
                    note: b"",
                    version: &version.to_string(),
                };
                engine.begin(1, 1, Some(id));
                for number in 0..8 {
                    let _ = engine.put(1, &format!("n{number}"), value(&mut rng, 400), 0);
                }
                let _ = engine.commit(1, id, &label);
                engine.flush();
            }
            engine.take_notices();
            assert_eq!(engine.off(), None);
            if rng.one_in(2) {
                drop(engine);
                engine = open(&disk, &settings, key).0;
            } else {
                engine.drop_collection((1 << 40) + lap);
            }
            self.model
                .borrow()
                .check(&without_extra(&mut engine), Check::Rot);
        }
    }

    /// Fails, and goes on with what is durable; a start with a healthy flash finds it.
    /// False: so many calls did not come.
    pub fn fail(&mut self, fault: Fault, n: usize) -> bool {
        self.disk.fail(fault, n);
        self.may_lose = fault == Fault::Read;
        for _ in 0..self.plan.steps {
            self.step();
        }
        let failed = self.disk.failed();
        self.sum.cuts += u64::from(failed > 0);
        // What cannot be read is lost, and the writing goes on.
        let off = self.engine().off().is_some();
        assert_eq!(off, failed > 0 && fault != Fault::Read, "{fault:?} at {n}");
        self.compare();
        self.disk.heal();
        self.engine = None;
        let (settings, key) = self.cutter.settings.borrow().clone();
        let mut rng = self.rng.split();
        let flash = self.disk.flash();
        for with_power in [false, true] {
            let mut flash = flash.clone();
            if with_power {
                flash.cut(&mut rng);
            }
            let disk = Disk::new(flash, &mut rng);
            let (mut engine, anew) = open(&disk, &settings, key);
            assert_eq!(anew, None);
            let given_up = gone(&mut engine);
            let found = contents(&mut engine);
            let absent = self.model.borrow().check(&found, Check::Cut);
            assert!(absent.len() <= given_up, "missing: {absent:?}");
            takes_writes(engine, &disk, &settings, key, &mut rng);
        }
        failed > 0
    }

    /// Fails while it starts, also with a smaller cap. True: the fault came.
    pub fn fail_start(&mut self, fault: Fault, n: usize) -> bool {
        let mut rng = Rng::new(n as u64);
        let (healthy, key) = self.cutter.settings.borrow().clone();
        let mut settings = healthy.clone();
        settings.bytes_max = *rng.pick(&[healthy.bytes_max, 8 * 33_000 + 8192]);
        let disk = Disk::new(self.disk.flash(), &mut rng);
        disk.fail(fault, n);
        let opened = Engine::open(
            disk.clone(),
            SECRETS[key],
            settings.clone(),
            Moment::default(),
        );
        let failed = disk.failed() > 0;
        match opened {
            Ok((mut engine, anew)) => {
                assert_eq!(anew, None);
                self.model
                    .borrow()
                    .check(&contents(&mut engine), Check::Rot);
            }
            Err(OpenError::Io(_)) => assert!(failed),
            Err(error) => panic!("{fault:?} at {n}: {error}"),
        }
        disk.heal();
        disk.change(|flash| flash.cut(&mut rng));
        let how = match fault {
            // Taken for rot.
            Fault::Read => Check::Rot,
            _ => Check::Cut,
        };
        let (mut engine, _) = open(&disk, &settings, key);
        let given_up = gone(&mut engine);
        let absent = self.model.borrow().check(&contents(&mut engine), how);
        let shrinks = settings.bytes_max < healthy.bytes_max;
        assert!(absent.len() <= given_up || shrinks, "missing: {absent:?}");
        failed
    }

    /// The process ends, with the power or without, and another goes on.
    fn end(&mut self, with_power: bool) {
        self.after();
        self.count();
        self.engine = None;
        if with_power {
            let mut rng = self.rng.split();
            self.disk.change(|flash| flash.cut(&mut rng));
        }
        self.start();
    }
}
