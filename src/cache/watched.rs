//! Follows a watch while it passes, and changes the collection that it is about: event by event while nothing is
//! missing, never past a gap.

use super::answer::List;
use super::key::{Key, item_key};
use super::note::Note;
use super::{Cache, count, version};
use crate::access::Who;
use crate::object::{self, Encoding, TypeMeta};
use crate::request::agent::Class;
use crate::request::{Asked, Form};
use crate::store::{Change, Fill};
use crate::watch::event::{Event, EventType};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;

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
        let class = cache.borrow().admit(&key)?;
        let start = asked.options.resource_version.clone().filter(|v| v != "0");
        let state = match asked.options.send_initial_events {
            true => State::Filling(cache.borrow_mut().begin(&key, class)),
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
                    _ => {
                        let tag = self.key.tag(&value);
                        cache.store.put(fill, &key, &value, tag)
                    }
                };
                drop(cache);
                if let Err(why) = put {
                    self.cache.borrow().counts.not_kept(why);
                    self.blind();
                }
            }
            State::Since { .. } => {
                let change = match event.event_type {
                    EventType::Deleted => Change::Delete(&key),
                    _ => Change::Put {
                        key: &key,
                        value: &value,
                        tag: self.key.tag(&value),
                    },
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
                if cache.commit(&self.key, fill, version, &note, None).is_ok() {
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
        let (Some(start), Some(before)) = (from.clone(), before) else {
            return;
        };
        let mut cache = self.cache.borrow_mut();
        let Some((id, kept)) = cache
            .id(&self.key)
            .and_then(|id| Some((id, cache.store.version(id)?)))
        else {
            return;
        };
        let step = next_step(&start, kept, &before, to, change.is_empty());
        let applied = match step {
            Step::Follows => cache.store.apply(id, change, to),
            Step::Seen | Step::Gap => Ok(()),
        };
        match (step, applied) {
            (Step::Gap, _) => count(&cache.counts.gaps),
            (_, Err(why)) => {
                // The collection stays where it is; what comes later does not follow on it.
                cache.counts.not_kept(why);
                *from = Some(to.to_owned());
            }
            (_, Ok(())) => {
                count(&cache.counts.events);
                if let Some(entry) = cache.table.get_mut(&self.key) {
                    entry.confirm();
                    if step == Step::Follows && !change.is_empty() {
                        entry.changed = Some(to.into());
                    }
                }
            }
        }
        drop(cache);
        match (step, applied) {
            (Step::Gap, _) | (_, Err(_)) => self.end_live(),
            _ => self.note_live(),
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
            entry.confirm();
        }
    }

    /// What a client holds that was told everything up to `version`, where that is kept. The watch is over.
    pub fn into_held(self, version: &str) -> impl Future<Output = Option<List>> + use<> {
        let view = self.cache.borrow_mut().view_at(&self.key, version);
        let encoding = self.key.encoding;
        async move {
            let view = view?.await?;
            match Note::from_bytes(&view.note)? {
                Note::Objects(type_meta) => Some(List::whole(encoding, type_meta, view)),
                Note::Absent | Note::Document => None,
            }
        }
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

/// What an event is to a kept collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Follows,
    /// The collection has it already: from a list, or from another watch.
    Seen,
    /// Something between was missed.
    Gap,
}

/// `start`: where the watch began; `kept`: the collection's version; `before` and `to`: the watch's version before and
/// after this event.
fn next_step(start: &str, kept: &str, before: &str, to: &str, is_bookmark: bool) -> Step {
    match (version::compare(start, kept), version::compare(kept, to)) {
        (Some(Ordering::Less | Ordering::Equal), Some(Ordering::Less)) => Step::Follows,
        (Some(Ordering::Less | Ordering::Equal), Some(Ordering::Equal | Ordering::Greater)) => {
            Step::Seen
        }
        (Some(Ordering::Greater), _) => Step::Gap,
        // Versions that cannot be compared: only an unbroken chain will do.
        _ if kept == to && is_bookmark => Step::Seen,
        _ if kept == before => Step::Follows,
        _ => Step::Gap,
    }
}

/// True if a watch that began at `from` has seen everything after `kept`.
fn kept_is_ours(from: &str, kept: &str) -> bool {
    matches!(
        version::compare(from, kept),
        Some(Ordering::Less | Ordering::Equal)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        for (start, kept, before, to, bookmark, want) in [
            ("5", "5", "5", "6", false, Step::Follows),
            ("5", "9", "5", "6", false, Step::Seen),
            ("5", "9", "8", "9", false, Step::Seen),
            ("5", "9", "9", "12", false, Step::Follows),
            ("5", "9", "9", "12", true, Step::Follows),
            ("5", "4", "5", "6", false, Step::Gap),
            ("10", "9", "10", "12", true, Step::Gap),
            ("a", "a", "a", "b", false, Step::Follows),
            ("a", "b", "b", "c", false, Step::Follows),
            ("a", "x", "a", "b", false, Step::Gap),
            ("a", "b", "a", "b", true, Step::Seen),
        ] {
            assert_eq!(
                next_step(start, kept, before, to, bookmark),
                want,
                "{start} {kept} {before} {to}"
            );
        }
    }
}
