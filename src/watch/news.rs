//! What a client is to be told when the filters of its watch have changed: the objects that it would see otherwise, as
//! events. Pure.
//!
//! Only of objects that the client was told of. What is newer comes on its stream, as the new filters say it.

use super::difference::Unknown;
use super::event::{self, EventType};
use crate::cache::key::item_key;
use crate::cache::version;
use crate::filter::{Judge, Verdict};
use crate::limits;
use crate::object::{self, Encoding, Malformed, TypeMeta};
use std::cmp::Ordering;

/// The news, while a list of all there is is read.
pub struct News {
    encoding: Encoding,
    /// What the client was told.
    since: String,
    old: Judge,
    events: Vec<(EventType, Box<[u8]>)>,
    /// Objects that are gone for the client, or are there again.
    pub hidden: Vec<(String, bool)>,
    bytes: usize,
}

impl News {
    /// For a client that was told everything up to `since`, as the old one judged it.
    pub fn new(encoding: Encoding, since: &str, old: Judge) -> News {
        News {
            encoding,
            since: since.to_owned(),
            old,
            events: Vec::new(),
            hidden: Vec::new(),
            bytes: 0,
        }
    }

    /// There is this object, of which this is the new verdict.
    pub fn there(&mut self, object: &[u8], new: &Verdict) -> Result<(), Unknown> {
        let (_, meta) = object::read_meta(self.encoding, object)?;
        match version::compare(&meta.resource_version, &self.since) {
            Some(Ordering::Less | Ordering::Equal) => {}
            Some(Ordering::Greater) => return Ok(()),
            None => return Err(Unknown::Backwards),
        }
        let old = self.old.of(self.encoding, object);
        let old = old.map_err(|_| Unknown::Malformed(Malformed::Shape))?;
        let (event_type, told) = match (told(&old, object), told(new, object)) {
            (None, None) => return Ok(()),
            (Some(was), Some(is)) if was == is => return Ok(()),
            (Some(_), Some(is)) => (EventType::Modified, is),
            (None, Some(is)) => (EventType::Added, is),
            (Some(was), None) => (EventType::Deleted, was),
        };
        self.bytes += told.len() + limits::DIFFERENCE_EVENT_BYTES;
        if self.bytes > limits::DIFFERENCE_BYTES_MAX {
            return Err(Unknown::TooLarge);
        }
        self.events.push((event_type, told.into()));
        if event_type != EventType::Modified {
            let key = item_key(&meta.namespace, &meta.name);
            self.hidden.push((key, event_type == EventType::Deleted));
        }
        Ok(())
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Appends the events, and the bookmark after which the client is where it was: an object's own version is older.
    pub fn write(&self, type_meta: &TypeMeta, out: &mut Vec<u8>) {
        for (event_type, object) in &self.events {
            let stored = object::canonical(self.encoding, type_meta, object);
            event::write(self.encoding, *event_type, type_meta, &stored, out);
        }
        event::write_bookmark(self.encoding, type_meta, &self.since, false, out);
    }
}

/// What is told of an object.
fn told<'a>(verdict: &'a Verdict, object: &'a [u8]) -> Option<&'a [u8]> {
    match verdict {
        Verdict::Keep => Some(object),
        Verdict::Replace(told) => Some(told),
        Verdict::Drop => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::facts::Membership;
    use crate::filter::{Facts, Filter, Kind, Set};
    use crate::watch::frame::{Framer, Step};

    fn judge(pool: &str) -> Judge {
        Judge {
            set: Set::default().with(Filter::NodePortIsolation),
            kind: Kind::Service,
            facts: std::rc::Rc::new(Facts {
                pool: Membership::In(pool.to_owned()),
                ..Facts::default()
            }),
        }
    }

    fn service(name: &str, version: &str, pools: &str) -> Vec<u8> {
        format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"n","resourceVersion":"{version}","annotations":{{"edge-hub/nodeport-pools":"{pools}"}}}},"spec":{{"type":"NodePort"}}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn what_the_client_would_see_otherwise() {
        let (old, new) = (judge("a"), judge("b"));
        let mut news = News::new(Encoding::Json, "9", old);
        for (name, version, pools) in [
            ("both", "1", "a,b"),
            ("leaves", "9", "a"),
            ("enters", "3", "b"),
            ("none", "4", "c"),
            ("newer", "10", "b"),
        ] {
            let object = service(name, version, pools);
            let verdict = new.of(Encoding::Json, &object).unwrap();
            news.there(&object, &verdict).unwrap();
        }
        let mut out = Vec::new();
        news.write(&TypeMeta::new("v1", "Service"), &mut out);
        let mut framer = Framer::new(Encoding::Json, 4096);
        framer.push(out.into());
        let mut told = Vec::new();
        while let Step::Frame(frame) = framer.next() {
            let event = event::parse(Encoding::Json, &frame).unwrap();
            let (word, meta) = (event.event_type.word(), event.meta);
            told.push(format!("{word} {} {}", meta.name, meta.resource_version));
        }
        assert_eq!(told, ["DELETED leaves 9", "ADDED enters 3", "BOOKMARK  9"]);
        let hidden = [
            ("n/leaves".to_owned(), true),
            ("n/enters".to_owned(), false),
        ];
        assert_eq!(news.hidden, hidden);
    }

    #[test]
    fn what_cannot_be_told() {
        let mut news = News::new(Encoding::Json, "9", judge("a"));
        let odd = news.there(&service("x", "y", "a"), &Verdict::Keep);
        assert_eq!(odd, Err(Unknown::Backwards));
        assert!(news.there(b"{", &Verdict::Keep).is_err());
        let long = service(
            "x",
            "1",
            &format!("b,{}", "x".repeat(limits::DIFFERENCE_BYTES_MAX)),
        );
        assert_eq!(news.there(&long, &Verdict::Keep), Err(Unknown::TooLarge));
        assert!(news.is_empty());
    }
}
