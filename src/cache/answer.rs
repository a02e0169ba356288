//! What is known without asking the API server. Only what this identity was told; only what is complete.

use super::key::{self, Key, Objects, One, Scope};
use super::note::Note;
use super::{Cache, Entry, version};
use crate::access::Who;
use crate::object::{Encoding, TypeMeta};
use crate::request::accept::takes_document;
use crate::request::{Asked, Demand, Form};
use crate::store::{CollectionId, View};
use std::cmp::Ordering;
use std::rc::Rc;
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
        stored: Rc<[u8]>,
    },
    /// Known not to exist: the body of the API server's own 404, or none where a complete list proves it.
    Absent {
        encoding: Encoding,
        body: Option<Rc<[u8]>>,
    },
    List(List),
    Document {
        content_type: String,
        body: Rc<[u8]>,
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
    pub prefix: String,
}

impl List {
    /// The stored items, in order.
    pub fn items(&self) -> impl Iterator<Item = &Rc<[u8]>> {
        self.view
            .items
            .range::<str, _>((
                std::ops::Bound::Included(self.prefix.as_str()),
                std::ops::Bound::Unbounded,
            ))
            .take_while(|(key, _)| key.starts_with(&self.prefix))
            .map(|(_, value)| value)
    }
}

impl Cache {
    /// The answer to a get or list, if it is known to this caller in a form that it takes.
    pub fn find(&mut self, asked: &Asked, who: Who, now: Instant) -> Option<Found> {
        self.class(&asked.agent)?;
        match key::scope(asked)? {
            Scope::Document(d) => self.document(asked, who, &d.path_and_query, now),
            Scope::Objects(objects) => {
                let (list, age) = self.list(asked, who, &objects, now)?;
                satisfies(asked.options.demand(), &list.view.version).then_some(())?;
                Some(Found {
                    what: What::List(list),
                    age,
                })
            }
            // How new the answer to a get is, nothing says.
            Scope::One(_) if asked.options.demand() != Demand::Any => None,
            Scope::One(one) if self.is_denied(who, &one) => None,
            Scope::One(one) => (asked.wanted.iter())
                .find_map(|w| self.one(asked, who, w.encoding, w.form, &one, now)),
        }
    }

    /// The complete list that a list or watch request is about.
    pub fn find_list(&mut self, asked: &Asked, who: Who, now: Instant) -> Option<(List, Duration)> {
        self.class(&asked.agent)?;
        match key::scope(asked)? {
            Scope::Objects(objects) => self.list(asked, who, &objects, now),
            _ => None,
        }
    }

    fn list(
        &mut self,
        asked: &Asked,
        who: Who,
        objects: &Objects,
        now: Instant,
    ) -> Option<(List, Duration)> {
        for wanted in &asked.wanted {
            let (encoding, form) = (wanted.encoding, wanted.form);
            let best = entries(&self.table, &asked.agent, who, encoding, form)
                .filter(|(_, entry)| self.store.contains(entry.id))
                .filter_map(|(key, entry)| match &key.scope {
                    Scope::Objects(kept) if kept == objects => {
                        Some((entry.age(now), true, entry.id))
                    }
                    Scope::Objects(kept)
                        if kept.holds_namespace_of(objects) && self.is_namespaced(entry.id) =>
                    {
                        Some((entry.age(now), false, entry.id))
                    }
                    _ => None,
                })
                // The newest; of two alike the list itself.
                .min_by_key(|(age, exact, _)| (*age, !*exact));
            let Some((age, exact, id)) = best else {
                continue;
            };
            let view = self.view(id)?;
            let Some(Note::Objects(type_meta)) = Note::from_bytes(&view.note) else {
                continue;
            };
            let prefix = match exact {
                true => String::new(),
                false => format!("{}/", objects.namespace),
            };
            let list = List {
                encoding,
                type_meta,
                view,
                prefix,
            };
            return Some((list, age));
        }
        None
    }

    /// True if its items are known to be in namespaces: the list of a namespace that is asked of others is a 404.
    fn is_namespaced(&self, id: CollectionId) -> bool {
        let first = self
            .store
            .peek(id)
            .and_then(|items| items.first_key_value());
        first.is_some_and(|(key, _)| !key.starts_with('/'))
    }

    /// The newest that is known of one object: from a GET of its own, or from a list that holds it or proves that it
    /// does not exist.
    fn one(
        &mut self,
        asked: &Asked,
        who: Who,
        encoding: Encoding,
        form: Form,
        one: &One,
        now: Instant,
    ) -> Option<Found> {
        let candidates: Vec<(Duration, CollectionId, bool, bool)> =
            entries(&self.table, &asked.agent, who, encoding, form)
                .filter(|(_, entry)| self.store.contains(entry.id))
                .filter_map(|(key, entry)| match &key.scope {
                    Scope::One(kept) if kept == one => Some((entry.age(now), entry.id, true, true)),
                    Scope::Objects(kept) if kept.may_contain(one) => {
                        Some((entry.age(now), entry.id, false, kept.must_contain(one)))
                    }
                    _ => None,
                })
                .collect();
        let mut best: Option<Found> = None;
        for (age, id, own, must) in candidates {
            if best.as_ref().is_some_and(|b| b.age <= age) {
                continue;
            }
            if let Some(what) = self.read_one(id, encoding, one, own, must) {
                best = Some(Found { what, age });
            }
        }
        best
    }

    fn read_one(
        &mut self,
        id: CollectionId,
        encoding: Encoding,
        one: &One,
        own: bool,
        must: bool,
    ) -> Option<What> {
        let view = self.view(id)?;
        let item = match own {
            true => view.items.get(""),
            false => view
                .items
                .get(key::item_key(&one.namespace, &one.name).as_str()),
        };
        match (Note::from_bytes(&view.note)?, item) {
            (Note::Objects(type_meta), Some(stored)) => Some(What::Object {
                encoding,
                type_meta,
                stored: Rc::clone(stored),
            }),
            (Note::Absent, Some(body)) => Some(What::Absent {
                encoding,
                body: Some(Rc::clone(body)),
            }),
            (Note::Objects(_), None) if must && !own => Some(What::Absent {
                encoding,
                body: None,
            }),
            _ => None,
        }
    }

    fn document(
        &mut self,
        asked: &Asked,
        who: Who,
        path_and_query: &str,
        now: Instant,
    ) -> Option<Found> {
        let (_, content_type, age, id) = self
            .table
            .iter()
            .filter(|(key, entry)| {
                key.agent == asked.agent && key.who == who && self.store.contains(entry.id)
            })
            .filter_map(|(key, entry)| match &key.scope {
                Scope::Document(d) if d.path_and_query == path_and_query => {
                    // Asked in the same words, the server would answer the same.
                    let rank = match asked.accept == d.accept {
                        true => 0,
                        false => 1 + takes_document(&asked.accept, &d.content_type)?,
                    };
                    Some((rank, d.content_type.clone(), entry.age(now), entry.id))
                }
                _ => None,
            })
            .min_by_key(|(rank, ..)| *rank)?;
        let body = Rc::clone(self.view(id)?.items.get("")?);
        Some(Found {
            what: What::Document { content_type, body },
            age,
        })
    }
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
