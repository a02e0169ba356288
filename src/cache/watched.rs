//! Follows a watch while it passes, and changes the collection that it is about: event by event while nothing is
//! missing, never past a gap.

use super::key::{Key, Scope, item_key};
use super::note::Note;
use super::{Cache, count, version};
use crate::access::Who;
use crate::object::{self, Encoding, TypeMeta};
use crate::request::agent::Class;
use crate::request::{Asked, Form};
use crate::store::Change;
use crate::store::ram::Fill;
use crate::watch::event::{Event, EventType};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;
use std::time::Instant;

/// One open watch, as the cache sees it.
pub struct Follower {
    cache: Rc<RefCell<Cache>>,
    key: Key,
    class: Class,
    state: State,
    /// This watch counts as one that keeps the collection current.
    live: bool,
}

enum State {
    /// The initial events of a watch list: a new version of the collection.
    Filling(Fill),
    /// Every change after this version has been seen here; `None` until a bookmark says where the watch is.
    Since {
        from: Option<String>,
        last: Option<String>,
    },
    /// A fault: nothing more is kept of this watch.
    Blind,
}

impl Follower {
    /// A follower for this watch, answered with 200 in `encoding`, if its collection is one that is kept.
    pub fn new(
        cache: &Rc<RefCell<Cache>>,
        asked: &Asked,
        who: Who,
        encoding: Encoding,
    ) -> Option<Follower> {
        let scope = super::key::scope(asked)?;
        let class = cache.borrow().class(&asked.agent)?;
        // Which clause of `Accept` the server took shows in the objects; the first of this encoding is a guess that
        // the first event corrects.
        let form = asked
            .wanted
            .iter()
            .find(|w| w.encoding == encoding)
            .map_or(Form::Object, |w| w.form);
        let key = Key {
            agent: asked.agent.clone(),
            who,
            scope,
            encoding,
            form,
        };
        let start = asked.options.resource_version.clone().filter(|v| v != "0");
        let state = match asked.options.send_initial_events {
            true => State::Filling(cache.borrow().begin(&key, class)),
            false => State::Since {
                last: start.clone(),
                from: start,
            },
        };
        let mut follower = Follower {
            cache: Rc::clone(cache),
            key,
            class,
            state,
            live: false,
        };
        follower.note_live();
        Some(follower)
    }

    /// The next event, before the client gets it. `object` in it is the bare object.
    pub fn event(&mut self, event: &Event<'_>) {
        match event.event_type {
            EventType::Error => self.blind(),
            EventType::Bookmark => self.bookmark(event),
            _ if event.meta.name.is_empty() || event.meta.resource_version.is_empty() => {
                self.broken()
            }
            _ => self.change(event),
        }
    }

    /// A frame that the hub cannot read: what it changed is not known.
    pub fn broken(&mut self) {
        count(&self.cache.borrow().counts.broken);
        self.blind();
    }

    fn blind(&mut self) {
        if let State::Filling(fill) = std::mem::replace(&mut self.state, State::Blind) {
            self.cache.borrow_mut().abort(fill);
        }
        self.end_live();
    }

    fn change(&mut self, event: &Event<'_>) {
        self.settle_form(event);
        let type_meta = TypeMeta::new(&event.type_meta.api_version, &event.type_meta.kind);
        let value = object::canonical(self.key.encoding, &type_meta, event.object);
        let key = item_key(&event.meta.namespace, &event.meta.name);
        match &mut self.state {
            State::Blind => {}
            State::Filling(fill) => {
                let mut cache = self.cache.borrow_mut();
                let put = match event.event_type {
                    EventType::Deleted => {
                        cache.store.remove(fill, &key);
                        Ok(())
                    }
                    _ => cache.store.put(fill, &key, &value),
                };
                drop(cache);
                if put.is_err() {
                    count(&self.cache.borrow().counts.no_room);
                    self.blind();
                }
            }
            State::Since { .. } => {
                let change = match event.event_type {
                    EventType::Deleted => Change::Delete(&key),
                    _ => Change::Put(&key, &value),
                };
                self.apply(&[change], &event.meta.resource_version);
            }
        }
    }

    fn bookmark(&mut self, event: &Event<'_>) {
        self.settle_form(event);
        let version = event.meta.resource_version.as_ref();
        match std::mem::replace(&mut self.state, State::Blind) {
            State::Filling(fill) if event.initial_events_end && !version.is_empty() => {
                let note = Note::Objects(TypeMeta::new(
                    &event.type_meta.api_version,
                    &event.type_meta.kind,
                ));
                let mut cache = self.cache.borrow_mut();
                if cache.commit(&self.key, fill, version, &note).is_ok() {
                    count(&cache.counts.lists);
                }
                drop(cache);
                self.state = since(version);
                self.note_live();
            }
            State::Since { from: None, .. } => {
                self.state = since(version);
                self.note_live();
            }
            State::Since { from, last } => {
                self.state = State::Since { from, last };
                self.apply(&[], version);
            }
            // An ordinary bookmark among the initial events says nothing yet.
            other => self.state = other,
        }
    }

    /// Applies one event, if the collection is at a version from which this watch has seen everything.
    fn apply(&mut self, change: &[Change<'_>], to: &str) {
        let State::Since { from, last } = &mut self.state else {
            return;
        };
        let before = last.replace(to.to_owned());
        let (Some(start), Some(before)) = (from.as_ref(), before) else {
            return;
        };
        let mut cache = self.cache.borrow_mut();
        let Some(id) = cache.id(&self.key) else {
            return;
        };
        let Some(kept) = cache.store.version(id) else {
            return;
        };
        let follows = match (version::compare(start, kept), version::compare(kept, to)) {
            // Seen already: by a list, or by another watch of the same collection.
            (_, Some(Ordering::Greater)) => return self.confirm(cache, kept_is_ours(start, kept)),
            (_, Some(Ordering::Equal)) if !change.is_empty() => return,
            (Some(Ordering::Less | Ordering::Equal), Some(_)) => true,
            // Versions that cannot be compared: only an unbroken chain will do.
            (None, _) | (_, None) => before == *kept,
            (Some(Ordering::Greater), _) => false,
        };
        if !follows {
            count(&cache.counts.gaps);
            drop(cache);
            return self.end_live();
        }
        match cache.store.apply(id, change, to) {
            Ok(()) => {
                count(&cache.counts.events);
                if let Some(entry) = cache.table.get_mut(&self.key) {
                    entry.confirmed = Instant::now();
                }
                drop(cache);
                self.note_live();
            }
            Err(_) => {
                // The collection stays where it is; what comes later does not follow on it.
                count(&cache.counts.no_room);
                *from = Some(to.to_owned());
                drop(cache);
                self.end_live();
            }
        }
    }

    fn confirm(&self, mut cache: std::cell::RefMut<'_, Cache>, ours: bool) {
        if let Some(entry) = cache.table.get_mut(&self.key)
            && ours
        {
            entry.confirmed = Instant::now();
        }
    }

    /// The objects show which form the server chose.
    fn settle_form(&mut self, event: &Event<'_>) {
        let form = match event.type_meta.kind.as_ref() {
            "PartialObjectMetadata" => Form::Metadata,
            "Table" => return self.blind(),
            _ => Form::Object,
        };
        if form != self.key.form {
            self.end_live();
            self.key.form = form;
            if let State::Filling(old) = std::mem::replace(&mut self.state, State::Blind) {
                // Nothing is in it yet: the first event settles the form.
                let mut cache = self.cache.borrow_mut();
                cache.abort(old);
                self.state = State::Filling(cache.begin(&self.key, self.class));
            }
        }
    }

    /// Counts this watch as one that keeps the collection current, if it does.
    fn note_live(&mut self) {
        let State::Since {
            from: Some(from), ..
        } = &self.state
        else {
            return;
        };
        let mut cache = self.cache.borrow_mut();
        let covers = cache
            .id(&self.key)
            .and_then(|id| cache.store.version(id))
            .is_some_and(|kept| kept_is_ours(from, kept));
        if let Some(entry) = cache
            .table
            .get_mut(&self.key)
            .filter(|_| covers && !self.live)
        {
            entry.live += 1;
            self.live = true;
        }
    }

    fn end_live(&mut self) {
        if !std::mem::take(&mut self.live) {
            return;
        }
        if let Some(entry) = self.cache.borrow_mut().table.get_mut(&self.key) {
            entry.live = entry.live.saturating_sub(1);
            entry.confirmed = Instant::now();
        }
    }

    /// The scope, for whoever must ask again.
    pub fn scope(&self) -> &Scope {
        &self.key.scope
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.blind();
    }
}

fn since(version: &str) -> State {
    State::Since {
        from: Some(version.to_owned()),
        last: Some(version.to_owned()),
    }
}

/// True if a watch that began at `from` has seen everything after `kept`.
fn kept_is_ours(from: &str, kept: &str) -> bool {
    matches!(
        version::compare(from, kept),
        Some(Ordering::Less | Ordering::Equal)
    )
}
