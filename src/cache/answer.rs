//! What is known without asking the API server. Only what this identity was told; only what is complete.
//!
//! Where an answer may be is chosen while the cache is borrowed; it is read when the cache is free again, for reading
//! may take time. What cannot be read is not known, and the next best is told.

use super::key::{self, Key, Objects, One, Scope};
use super::note::Note;
use super::{Cache, Entry, version};
use crate::access::Who;
use crate::object::{Encoding, TypeMeta, list_item_framed_len};
use crate::request::accept::takes_document;
use crate::request::{Asked, Demand, Form};
use crate::store::{self, CollectionId, Item, Lost, Reading, View};
use bytes::Bytes;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::time::{Duration, Instant};

/// An answer from what is kept.
pub struct Found {
    pub what: What,
    /// Since when it is no longer known to be current.
    pub age: Duration,
}

pub enum What {
    Object {
        encoding: Encoding,
        type_meta: TypeMeta,
        stored: Bytes,
    },
    /// Known not to exist: the body of the API server's own 404, or none where a complete list proves it.
    Absent {
        encoding: Encoding,
        body: Option<Bytes>,
    },
    List(List),
    Document {
        content_type: String,
        body: Bytes,
    },
}

/// A complete list at one version.
#[derive(Clone)]
pub struct List {
    pub encoding: Encoding,
    /// Type of the items.
    pub type_meta: TypeMeta,
    pub view: View,
    /// Only the items whose key begins so; empty: all.
    prefix: String,
    framed_bytes: u64,
}

impl List {
    /// All that the view holds.
    pub fn whole(encoding: Encoding, type_meta: TypeMeta, view: View) -> List {
        let framed = |len| list_item_framed_len(encoding, len);
        List {
            encoding,
            type_meta,
            framed_bytes: view.sum_of_lens(framed),
            view,
            prefix: String::new(),
        }
    }

    /// What is in one namespace, found by reading all once. `None` where the items are not known to be in namespaces,
    /// for then the list that is asked for is a 404; or where they cannot be read.
    async fn cut(
        encoding: Encoding,
        type_meta: TypeMeta,
        view: View,
        namespace: &str,
    ) -> Option<List> {
        let prefix = format!("{namespace}/");
        let mut framed_bytes = 0;
        let mut reading = view.read();
        while let Some(items) = reading.next().await.ok()? {
            if items.iter().any(|item| item.key.starts_with('/')) {
                return None;
            }
            framed_bytes += framed_bytes_of(encoding, &prefix, &items);
        }
        let list = List {
            encoding,
            type_meta,
            view,
            prefix,
            framed_bytes,
        };
        (!list.view.is_empty()).then_some(list)
    }

    /// The bytes that all items take within a list.
    pub fn framed_bytes(&self) -> u64 {
        self.framed_bytes
    }

    /// Reads the items from the beginning.
    pub fn read(&self) -> Items {
        Items {
            list: self.clone(),
            reading: self.view.read(),
            framed_bytes: 0,
        }
    }
}

fn framed_bytes_of(encoding: Encoding, prefix: &str, items: &[Item]) -> u64 {
    items
        .iter()
        .filter(|item| item.key.starts_with(prefix))
        .map(|item| list_item_framed_len(encoding, item.value.len()))
        .sum()
}

/// The items of a list while they are read.
pub struct Items {
    list: List,
    reading: Reading,
    /// Of the items that were given out.
    framed_bytes: u64,
}

impl Items {
    /// The next items, some or none; `None` after the last, and only if nothing is missing.
    pub async fn next(&mut self) -> Result<Option<Vec<Item>>, Lost> {
        let list = &self.list;
        let Some(mut items) = self.reading.next().await? else {
            return match self.framed_bytes == list.framed_bytes {
                true => Ok(None),
                false => Err(Lost),
            };
        };
        items.retain(|item| item.key.starts_with(&list.prefix));
        self.framed_bytes += framed_bytes_of(list.encoding, &list.prefix, &items);
        match self.framed_bytes <= list.framed_bytes {
            true => Ok(Some(items)),
            false => Err(Lost),
        }
    }
}

/// The answer to a get or list, if it is known to this caller in a form that it takes.
pub async fn find(cache: &RefCell<Cache>, asked: &Asked, who: Who, now: Instant) -> Option<Found> {
    cache.borrow().class(&asked.agent)?;
    let demand = asked.options.demand();
    match key::scope(asked)? {
        Scope::Document(d) => {
            let places = cache.borrow().documents(asked, who, &d.path_and_query, now);
            document(cache, places).await
        }
        Scope::Objects(objects) => {
            let places = cache.borrow().lists(asked, who, &objects, now);
            let (list, age) = list(cache, places, &objects.namespace, demand).await?;
            let what = What::List(list);
            Some(Found { what, age })
        }
        // How new the answer to a get is, nothing says.
        Scope::One(_) if demand != Demand::Any => None,
        Scope::One(one) => {
            let places = cache.borrow().holders(asked, who, &one, now);
            object(cache, places, &one).await
        }
    }
}

/// The complete list that a list or watch request is about, at whatever version.
pub async fn find_list(
    cache: &RefCell<Cache>,
    asked: &Asked,
    who: Who,
    now: Instant,
) -> Option<(List, Duration)> {
    cache.borrow().class(&asked.agent)?;
    let Scope::Objects(objects) = key::scope(asked)? else {
        return None;
    };
    let places = cache.borrow().lists(asked, who, &objects, now);
    list(cache, places, &objects.namespace, Demand::Any).await
}

/// Where an answer may be.
struct Place {
    id: CollectionId,
    encoding: Encoding,
    /// How badly it fits what the client likes: the least first, and of two alike the newest.
    rank: usize,
    age: Duration,
    part: Part,
}

/// The next place to look at. Hardly ever more than one is: no sorting for that.
fn take_best(places: &mut Vec<Place>) -> Option<Place> {
    let is_part = |place: &Place| !matches!(place.part, Part::Whole);
    let (at, _) = (places.iter().enumerate())
        .min_by_key(|(_, place)| (place.rank, place.age, is_part(place)))?;
    Some(places.swap_remove(at))
}

/// What of a collection is the answer.
enum Part {
    /// All of it.
    Whole,
    /// A list of one namespace out of a wider one.
    Namespace,
    /// One object out of a list; `must`: what is not in that list does not exist.
    Item { must: bool },
    /// A document of this type.
    Document { content_type: String },
}

impl Cache {
    /// The list itself, and wider ones out of which it can be taken.
    fn lists(&self, asked: &Asked, who: Who, objects: &Objects, now: Instant) -> Vec<Place> {
        let part = |key: &Key| match &key.scope {
            Scope::Objects(kept) if kept == objects => Some(Part::Whole),
            Scope::Objects(kept) if kept.holds_namespace_of(objects) => Some(Part::Namespace),
            _ => None,
        };
        self.places(asked, who, now, part)
    }

    /// What was got of the object by itself, and the lists that may hold it or prove that it does not exist.
    fn holders(&self, asked: &Asked, who: Who, one: &One, now: Instant) -> Vec<Place> {
        if self.is_denied(who, one) {
            return Vec::new();
        }
        let part = |key: &Key| match &key.scope {
            Scope::One(kept) if kept == one => Some(Part::Whole),
            Scope::Objects(kept) if kept.may_contain(one) => Some(Part::Item {
                must: kept.must_contain(one),
            }),
            _ => None,
        };
        self.places(asked, who, now, part)
    }

    fn places(
        &self,
        asked: &Asked,
        who: Who,
        now: Instant,
        part: impl Fn(&Key) -> Option<Part>,
    ) -> Vec<Place> {
        let mut places = Vec::new();
        for (rank, wanted) in asked.wanted.iter().enumerate() {
            let alike = entries(&self.table, &asked.agent, who, wanted.encoding, wanted.form)
                .filter(|(_, entry)| self.store.contains(entry.id))
                .filter_map(|(key, entry)| {
                    Some(Place {
                        id: entry.id,
                        encoding: wanted.encoding,
                        rank,
                        age: entry.age(now),
                        part: part(key)?,
                    })
                });
            places.extend(alike);
        }
        places
    }

    /// Best is what was asked for in the same words, for the server would answer the same; then it goes by type.
    fn documents(&self, asked: &Asked, who: Who, path_and_query: &str, now: Instant) -> Vec<Place> {
        let place = |(key, entry): (&Key, &Entry)| {
            let Scope::Document(d) = &key.scope else {
                return None;
            };
            let is_it = key.agent == asked.agent
                && key.who == who
                && d.path_and_query == path_and_query
                && self.store.contains(entry.id);
            if !is_it {
                return None;
            }
            let rank = match asked.accept == d.accept {
                true => 0,
                false => 1 + takes_document(&asked.accept, &d.content_type)?,
            };
            Some(Place {
                id: entry.id,
                encoding: key.encoding,
                rank,
                age: entry.age(now),
                part: Part::Document {
                    content_type: d.content_type.clone(),
                },
            })
        };
        self.table.iter().filter_map(place).collect()
    }
}

async fn list(
    cache: &RefCell<Cache>,
    mut places: Vec<Place>,
    namespace: &str,
    demand: Demand<'_>,
) -> Option<(List, Duration)> {
    while let Some(place) = take_best(&mut places) {
        let view = cache.borrow_mut().store.view(place.id);
        let Some(view) = view.await.filter(|view| satisfies(demand, &view.version)) else {
            continue;
        };
        let Some(Note::Objects(type_meta)) = Note::from_bytes(&view.note) else {
            continue;
        };
        let list = match place.part {
            Part::Namespace => List::cut(place.encoding, type_meta, view, namespace).await,
            _ => Some(List::whole(place.encoding, type_meta, view)),
        };
        if let Some(list) = list {
            return Some((list, place.age));
        }
    }
    None
}

async fn object(cache: &RefCell<Cache>, mut places: Vec<Place>, one: &One) -> Option<Found> {
    let listed = key::item_key(&one.namespace, &one.name);
    while let Some(place) = take_best(&mut places) {
        let item = match place.part {
            Part::Item { .. } => listed.as_str(),
            _ => "",
        };
        let read = cache.borrow_mut().store.one(place.id, item);
        if let Some(what) = read.await.and_then(|one| told(one, &place)) {
            let age = place.age;
            return Some(Found { what, age });
        }
    }
    None
}

/// What one item of a collection, or its absence from it, says about the object.
fn told(one: store::One, place: &Place) -> Option<What> {
    let encoding = place.encoding;
    match (Note::from_bytes(&one.note)?, one.value) {
        (Note::Objects(type_meta), Some(stored)) => Some(What::Object {
            encoding,
            type_meta,
            stored,
        }),
        (Note::Absent, Some(body)) => Some(What::Absent {
            encoding,
            body: Some(body),
        }),
        (Note::Objects(_), None) if matches!(place.part, Part::Item { must: true }) => {
            Some(What::Absent {
                encoding,
                body: None,
            })
        }
        _ => None,
    }
}

async fn document(cache: &RefCell<Cache>, mut places: Vec<Place>) -> Option<Found> {
    while let Some(place) = take_best(&mut places) {
        let Part::Document { content_type } = place.part else {
            continue;
        };
        let read = cache.borrow_mut().store.one(place.id, "");
        if let Some(body) = read.await.and_then(|one| one.value) {
            let (what, age) = (What::Document { content_type, body }, place.age);
            return Some(Found { what, age });
        }
    }
    None
}

/// True if a list at `kept` is one that the server could have given. The next page of another list is not.
fn satisfies(demand: Demand<'_>, kept: &str) -> bool {
    match demand {
        Demand::Any => true,
        Demand::NotOlderThan(version) => {
            !matches!(version::compare(kept, version), None | Some(Ordering::Less))
        }
        Demand::Exactly(version) => kept == version,
        Demand::NextPage => false,
    }
}

fn entries<'t>(
    table: &'t std::collections::BTreeMap<Key, Entry>,
    agent: &'t str,
    who: Who,
    encoding: Encoding,
    form: Form,
) -> impl Iterator<Item = (&'t Key, &'t Entry)> {
    table.iter().filter(move |(k, _)| {
        k.agent == agent && k.who == who && k.encoding == encoding && k.form == form
    })
}
