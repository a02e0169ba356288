//! What the ring was told, what it has said to be durable, and what may therefore be there after a cut.

use bytes::Bytes;
use edge_hub::store::ring::engine::Engine;
use edge_hub::store::ring::media::Media;
use std::collections::BTreeMap;
use std::rc::Rc;

pub type Items = BTreeMap<String, Bytes>;

#[derive(Clone, PartialEq)]
pub struct State {
    pub version: String,
    pub items: Rc<Items>,
}

/// What is in a ring, by the number in the collection's name.
pub type Contents = BTreeMap<usize, State>;

/// One collection's states, as they were told.
pub struct History {
    /// `None`: it is not there.
    pub states: Vec<Option<State>>,
    /// Nothing older than this may come back.
    pub acked: usize,
    pub id: Option<u64>,
    pub is_frozen: bool,
    /// Told, and refused because the flash failed: they may have got there all the same.
    pub refused: Vec<State>,
}

impl History {
    fn new(state: Option<State>, id: Option<u64>) -> History {
        History {
            states: vec![state],
            acked: 0,
            id,
            is_frozen: false,
            refused: Vec::new(),
        }
    }

    pub fn now(&self) -> Option<&State> {
        self.states.last().and_then(Option::as_ref)
    }

    pub fn items(&self) -> Items {
        self.now().map_or_else(Items::new, |s| (*s.items).clone())
    }

    pub fn at(&self, version: &str) -> Option<usize> {
        let is_it = |state: &Option<State>| state.as_ref().is_some_and(|s| s.version == version);
        self.states.iter().rposition(is_it)
    }

    /// May it be missing?
    pub fn may_be_absent(&self) -> bool {
        self.states[self.acked..].iter().any(Option::is_none)
    }
}

/// By the number in the name.
pub struct Model {
    pub names: Vec<History>,
    /// The ring is being made anew: nothing need be there.
    pub is_being_made: bool,
}

impl Model {
    pub fn new(names: usize) -> Model {
        Model {
            names: (0..names).map(|_| History::new(None, None)).collect(),
            is_being_made: true,
        }
    }

    pub fn by_id(&mut self, id: u64) -> Option<&mut History> {
        self.names.iter_mut().find(|h| h.id == Some(id))
    }

    /// Each collection is as it was told at some time, and not older than the last acknowledged state. Gives those that
    /// are missing without a drop.
    pub fn check(&self, found: &Contents, how: Check) -> Vec<usize> {
        let mut absent = Vec::new();
        for (name, history) in self.names.iter().enumerate() {
            match found.get(&name) {
                Some(state) => {
                    let Some(at) = history.at(&state.version) else {
                        if history.refused.contains(state) {
                            continue;
                        }
                        panic!("name {name} is at {}, which was never told", state.version);
                    };
                    let told = history.states[at].as_ref().unwrap();
                    assert!(
                        told.items == state.items,
                        "name {name} at {}: {} items, told {}: {:?}",
                        state.version,
                        state.items.len(),
                        told.items.len(),
                        difference(&told.items, &state.items),
                    );
                    assert!(
                        how == Check::Rot || at >= history.acked || self.is_being_made,
                        "name {name} is at {}, state {at}; state {} was acknowledged",
                        state.version,
                        history.acked
                    );
                }
                None if how == Check::Rot || self.is_being_made || history.may_be_absent() => {}
                None => absent.push(name),
            }
        }
        assert!(found.keys().all(|name| *name < self.names.len()));
        absent
    }

    /// This was found at a start: what was told before does not matter any more. But what was given up there, for a cap that
    /// is smaller now, may be back at the next.
    pub fn start(&mut self, found: Contents, ids: &BTreeMap<usize, u64>, given_up: bool) {
        for (name, history) in self.names.iter_mut().enumerate() {
            let state = found.get(&name).cloned();
            if state.is_none() && given_up && !self.is_being_made {
                history.states.push(None);
                history.id = None;
                history.is_frozen = false;
            } else {
                *history = History::new(state, ids.get(&name).copied());
            }
        }
        self.is_being_made = false;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    Cut,
    /// Older states may come back, and any may be missing.
    Rot,
}

fn difference(told: &Items, found: &Items) -> Vec<String> {
    let keys = told.keys().chain(found.keys());
    let mut keys: Vec<&String> = keys.filter(|k| told.get(*k) != found.get(*k)).collect();
    keys.sort();
    keys.dedup();
    keys.truncate(5);
    keys.into_iter().cloned().collect()
}

pub fn name_of(number: usize) -> String {
    format!("name {number}")
}

fn number_of(name: &[u8]) -> usize {
    let text = std::str::from_utf8(name).expect("a name that was told");
    text.strip_prefix("name ")
        .and_then(|n| n.parse().ok())
        .expect("a name that was told")
}

/// Ids by the number in the name.
pub fn ids<M: Media>(engine: &Engine<M>) -> BTreeMap<usize, u64> {
    let mut ids = BTreeMap::new();
    for (id, collection) in engine.collections() {
        let before = ids.insert(number_of(&collection.name), id);
        assert_eq!(before, None, "two collections of one name");
    }
    ids
}

/// Reads one collection as a client would. `None`: it cannot be read.
pub fn read<M: Media>(engine: &mut Engine<M>, id: u64) -> Option<State> {
    let mut snapshot = engine.snapshot(id)?;
    let count = snapshot.lens().count();
    let bytes: usize = snapshot.lens().sum();
    let mut items = Items::new();
    let mut read = 0;
    loop {
        let some = engine.read_some(&mut snapshot).ok()?;
        if some.is_empty() {
            break;
        }
        read += some.len();
        items.extend(some.into_iter().map(|i| (String::from(i.key), i.value)));
    }
    assert_eq!((items.len(), read), (count, count), "each item once");
    assert_eq!(items.values().map(Bytes::len).sum::<usize>(), bytes);
    Some(State {
        version: snapshot.version.into(),
        items: Rc::new(items),
    })
}

/// Everything that can be read; some items of it one by one too.
pub fn contents<M: Media>(engine: &mut Engine<M>) -> Contents {
    let mut contents = Contents::new();
    for (name, id) in ids(engine) {
        let Some(state) = read(engine, id) else {
            continue;
        };
        for (key, value) in state.items.iter().step_by(7) {
            match engine.one(id, key) {
                Ok(one) => assert!(one.as_ref() == Some(value), "name {name}: {key}"),
                Err(_) => continue,
            }
        }
        if let Ok(one) = engine.one(id, "not there") {
            assert_eq!(one, None);
        }
        contents.insert(name, state);
    }
    contents
}
