//! What leads from the objects that a client holds to a newer list of them, as events. Pure.
//!
//! A client that is interrupted among these events goes on at the version of the last one that it got. So that it misses
//! nothing then, objects that are gone come first, at the version that the client had, and all others in the order of
//! their versions.

use super::event::{self, EventType};
use crate::cache::version;
use crate::limits;
use crate::object::list::ListHead;
use crate::object::{self, Encoding, Malformed, Meta, TypeMeta};
use siphasher::sip::SipHasher24;
use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;

/// A difference while it is found: first all that the client holds, then all that there is, then what of the former is
/// gone.
pub struct Difference {
    encoding: Encoding,
    /// What the client was told.
    since: String,
    digests: SipHasher24,
    /// What the client holds; sorted by key once that is complete.
    held: Vec<Held>,
    changes: Vec<Change>,
    bytes: usize,
}

/// An object that the client holds: digests of what it is, 24 bytes.
#[derive(Clone, Copy)]
struct Held {
    key: u64,
    version: u64,
    uid: u32,
    fate: Fate,
}

/// What has become of an object that the client holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The list has not shown it yet.
    Gone,
    /// There is another one of the same name.
    Replaced,
    There,
}

/// An event to come.
struct Change {
    event_type: EventType,
    /// Of the object; of one that is gone, none.
    version: Box<str>,
    object: Box<[u8]>,
}

/// Why there is no difference to tell: the client must list again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// More objects than [`limits::DIFFERENCE_OBJECTS_MAX`].
    TooMany,
    /// More than [`limits::DIFFERENCE_BYTES_MAX`] bytes.
    TooLarge,
    /// An object cannot be read.
    Malformed(Malformed),
    /// What there is did not follow on what the client was told: etcd was restored from a backup.
    Backwards,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unknown::TooMany => f.write_str("too many objects"),
            Unknown::TooLarge => f.write_str("too much has changed"),
            Unknown::Malformed(malformed) => write!(f, "an object cannot be read: {malformed}"),
            Unknown::Backwards => f.write_str("versions went back"),
        }
    }
}

impl From<Malformed> for Unknown {
    fn from(malformed: Malformed) -> Unknown {
        Unknown::Malformed(malformed)
    }
}

impl Difference {
    /// From what a client holds that was told everything up to `since`. `digests`: under a random key.
    pub fn new(encoding: Encoding, since: &str, digests: SipHasher24) -> Difference {
        Difference {
            encoding,
            since: since.to_owned(),
            digests,
            held: Vec::new(),
            changes: Vec::new(),
            bytes: 0,
        }
    }

    /// The client holds this object.
    pub fn held(&mut self, object: &[u8]) -> Result<(), Unknown> {
        if self.held.len() == limits::DIFFERENCE_OBJECTS_MAX {
            return Err(Unknown::TooMany);
        }
        let meta = self.meta(object)?;
        let held = Held {
            key: self.key(&meta),
            version: self.digest(&[&meta.resource_version]),
            uid: self.digest(&[&meta.uid]) as u32,
            fate: Fate::Gone,
        };
        self.held.push(held);
        Ok(())
    }

    /// The client holds nothing else.
    pub fn held_all(&mut self) -> Result<(), Unknown> {
        self.held.sort_unstable_by_key(|held| held.key);
        let mut pairs = self.held.windows(2);
        match pairs.any(|pair| matches!(pair, [a, b] if a.key == b.key)) {
            // Two of one name: no such view is kept.
            true => Err(Malformed::Shape.into()),
            false => Ok(()),
        }
    }

    /// There is this object.
    pub fn there(&mut self, object: &[u8]) -> Result<(), Unknown> {
        let meta = self.meta(object)?;
        let (key, is) = (self.key(&meta), self.digest(&[&meta.resource_version]));
        let uid = self.digest(&[&meta.uid]) as u32;
        let place = self.held.binary_search_by_key(&key, |held| held.key).ok();
        let held = place.and_then(|at| self.held.get_mut(at));
        let event_type = match held {
            None => EventType::Added,
            Some(held) => {
                let is_same = held.uid == uid;
                held.fate = if is_same { Fate::There } else { Fate::Replaced };
                if is_same && held.version == is {
                    return Ok(());
                }
                if is_same {
                    EventType::Modified
                } else {
                    EventType::Added
                }
            }
        };
        // What is new to the client is newer than what it was told.
        if version::compare(&meta.resource_version, &self.since) != Some(Ordering::Greater) {
            return Err(Unknown::Backwards);
        }
        let version = meta.resource_version.as_ref().into();
        self.change(event_type, version, object)
    }

    /// True if something that the client holds is gone: then [`Difference::gone`] must see all that the client holds.
    pub fn has_gone(&self) -> bool {
        self.held.iter().any(|held| held.fate != Fate::There)
    }

    /// The client holds this object: if it is gone, the client is to be told.
    pub fn gone(&mut self, object: &[u8]) -> Result<(), Unknown> {
        let key = self.key(&self.meta(object)?);
        let place = self.held.binary_search_by_key(&key, |held| held.key).ok();
        let fate = place.and_then(|at| self.held.get(at)).map(|held| held.fate);
        match fate {
            Some(Fate::There) => Ok(()),
            Some(Fate::Gone | Fate::Replaced) => {
                let mut last = Vec::with_capacity(object.len() + 24);
                object::put_with_version(self.encoding, object, &self.since, &mut last)?;
                self.change(EventType::Deleted, Box::default(), &last)
            }
            None => Err(Malformed::Shape.into()),
        }
    }

    /// The list that has shown all that there is.
    pub fn finish(mut self, list: &ListHead) -> Result<Events, Unknown> {
        let kind = list.type_meta.kind.strip_suffix("List").unwrap_or_default();
        if kind.is_empty() {
            return Err(Malformed::NotList.into());
        }
        let follows = version::compare(&self.since, &list.resource_version);
        if !matches!(follows, Some(Ordering::Less | Ordering::Equal)) {
            return Err(Unknown::Backwards);
        }
        let type_meta = TypeMeta::new(&list.type_meta.api_version, kind);
        for change in &mut self.changes {
            let stored = object::canonical(self.encoding, &type_meta, &change.object);
            if stored.len() != change.object.len() {
                change.object = stored.into();
            }
        }
        // Those that are gone have no version, and come first.
        self.changes
            .sort_by(|a, b| match (&*a.version, &*b.version) {
                ("", b) => "".cmp(b),
                (_, "") => Ordering::Greater,
                (a, b) => version::compare(a, b).unwrap_or(Ordering::Equal),
            });
        Ok(Events {
            encoding: self.encoding,
            type_meta,
            changes: self.changes.into_iter(),
        })
    }

    fn change(
        &mut self,
        event_type: EventType,
        version: Box<str>,
        object: &[u8],
    ) -> Result<(), Unknown> {
        self.bytes += object.len() + limits::DIFFERENCE_EVENT_BYTES;
        if self.bytes > limits::DIFFERENCE_BYTES_MAX {
            return Err(Unknown::TooLarge);
        }
        self.changes.push(Change {
            event_type,
            version,
            object: object.into(),
        });
        Ok(())
    }

    fn meta<'o>(&self, object: &'o [u8]) -> Result<Meta<'o>, Unknown> {
        let (_, meta) = object::read_meta(self.encoding, object)?;
        match meta.name.is_empty() || meta.resource_version.is_empty() {
            true => Err(Malformed::Shape.into()),
            false => Ok(meta),
        }
    }

    fn key(&self, meta: &Meta<'_>) -> u64 {
        self.digest(&[&meta.namespace, &meta.name])
    }

    fn digest(&self, parts: &[&str]) -> u64 {
        let mut digest = self.digests;
        for part in parts {
            digest.write_usize(part.len());
            digest.write(part.as_bytes());
        }
        digest.finish()
    }
}

/// The events, in their order.
pub struct Events {
    encoding: Encoding,
    pub type_meta: TypeMeta,
    changes: std::vec::IntoIter<Change>,
}

impl Events {
    /// Appends the next event; false: there are no more.
    pub fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(change) = self.changes.next() else {
            return false;
        };
        event::write(
            self.encoding,
            change.event_type,
            &self.type_meta,
            &change.object,
            out,
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::proto::put_bytes;

    fn digests() -> SipHasher24 {
        SipHasher24::new_with_key(&[7; 16])
    }

    /// `ns/name uid version`, as a bare object.
    fn object(encoding: Encoding, words: &str) -> Vec<u8> {
        let (path, rest) = words.split_once(' ').unwrap();
        let (uid, version) = rest.split_once(' ').unwrap();
        let (namespace, name) = path.split_once('/').unwrap();
        match encoding {
            Encoding::Json => format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}","uid":"{uid}","resourceVersion":"{version}"}},"data":{{"a":"b"}}}}"#
            )
            .into_bytes(),
            Encoding::Protobuf => {
                let mut meta = Vec::new();
                for (field, text) in [(1, name), (2, ""), (3, namespace), (5, uid), (6, version)] {
                    put_bytes(&mut meta, field, text.as_bytes());
                }
                let mut out = Vec::new();
                put_bytes(&mut out, 1, &meta);
                put_bytes(&mut out, 2, b"data");
                out
            }
        }
    }

    fn difference(
        encoding: Encoding,
        since: &str,
        held: &[&str],
        there: &[&str],
        list_version: &str,
    ) -> Result<Vec<String>, Unknown> {
        let mut difference = Difference::new(encoding, since, digests());
        for words in held {
            difference.held(&object(encoding, words))?;
        }
        difference.held_all()?;
        for words in there {
            difference.there(&object(encoding, words))?;
        }
        if difference.has_gone() {
            for words in held {
                difference.gone(&object(encoding, words))?;
            }
        }
        let head = ListHead {
            type_meta: TypeMeta::new("v1", "PodList"),
            resource_version: list_version.into(),
            continue_token: String::new(),
            remaining: None,
            items: there.len() as u64,
        };
        let mut events = difference.finish(&head)?;
        let (mut told, mut out) = (Vec::new(), Vec::new());
        while events.next(&mut out) {
            let event = event::parse(encoding, &out).unwrap();
            assert_eq!(event.type_meta, TypeMeta::new("v1", "Pod"));
            let meta = &event.meta;
            told.push(format!(
                "{} {}/{} {} {}",
                event.event_type.word(),
                meta.namespace,
                meta.name,
                meta.uid,
                meta.resource_version
            ));
            out.clear();
        }
        Ok(told)
    }

    #[test]
    fn what_leads_from_one_to_the_other() {
        let held = ["n/a u1 3", "n/b u2 9", "n/c u3 4", "m/a u4 5", "n/d u5 6"];
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let same = difference(encoding, "9", &held, &held, "1200");
            assert_eq!(same, Ok(Vec::new()));
            let there = [
                "n/e u7 1100", // new
                "n/a u1 3",
                "n/b u8 1050", // deleted, and made anew
                "m/a u4 998",  // changed
                "n/d u5 6",
            ];
            let told = difference(encoding, "9", &held, &there, "1200").unwrap();
            assert_eq!(
                told,
                [
                    "DELETED n/b u2 9",
                    "DELETED n/c u3 9",
                    "MODIFIED m/a u4 998",
                    "ADDED n/b u8 1050",
                    "ADDED n/e u7 1100",
                ]
            );
            let none = difference(encoding, "9", &held, &[], "10").unwrap();
            assert_eq!(none.len(), held.len());
            let all = difference(encoding, "9", &[], &["n/a u1 10"], "10").unwrap();
            assert_eq!(all, ["ADDED n/a u1 10"]);
        }
    }

    #[test]
    fn what_cannot_be_told() {
        use Unknown::*;
        let shape = Malformed(super::Malformed::Shape);
        for (since, held, there, version, want) in [
            // The list is older than what the client knows.
            ("9", &["n/a u1 3"][..], &["n/a u1 3"][..], "8", Backwards),
            // An object is other than the client has it, and not newer.
            ("9", &["n/a u1 3"], &["n/a u1 4"], "10", Backwards),
            (
                "9",
                &["n/a u1 3"],
                &["n/a u1 3", "n/b u2 8"],
                "10",
                Backwards,
            ),
            ("9", &["n/a u1 3"], &["n/a u1 x"], "10", Backwards),
            ("x", &["n/a u1 3"], &["n/a u1 3"], "10", Backwards),
            ("9", &["n/a u1 3", "n/a u1 4"], &[], "10", shape),
            ("9", &["n/ u1 3"], &[], "10", shape),
            ("9", &[], &["n/a u1 "], "10", shape),
        ] {
            for encoding in [Encoding::Json, Encoding::Protobuf] {
                let got = difference(encoding, since, held, there, version);
                assert_eq!(got, Err(want), "{since} {held:?} {there:?} {version}");
            }
        }
    }

    #[test]
    fn bounds() {
        let mut difference = Difference::new(Encoding::Json, "1", digests());
        for n in 0..limits::DIFFERENCE_OBJECTS_MAX {
            let held = object(Encoding::Json, &format!("n/{n} u 1"));
            assert_eq!(difference.held(&held), Ok(()));
        }
        let more = object(Encoding::Json, "m/x u 1");
        assert_eq!(difference.held(&more), Err(Unknown::TooMany));

        for (over, want) in [(0, Ok(())), (1, Err(Unknown::TooLarge))] {
            let mut difference = Difference::new(Encoding::Json, "1", digests());
            difference.held_all().unwrap();
            let frame = object(Encoding::Json, "n/x u 2").len() + limits::DIFFERENCE_EVENT_BYTES;
            let mut large = object(Encoding::Json, "n/x u 2");
            large.pop();
            large.resize(
                large.len() + limits::DIFFERENCE_BYTES_MAX - frame + over,
                b' ',
            );
            large.push(b'}');
            assert_eq!(difference.there(&large), want);
        }
    }

    #[test]
    fn an_object_of_a_custom_resource_keeps_its_own_type() {
        let mut difference = Difference::new(Encoding::Json, "1", digests());
        difference.held_all().unwrap();
        let own = br#"{"apiVersion":"x.io/v1","kind":"Foo","metadata":{"name":"a","resourceVersion":"2"}}"#;
        difference.there(own).unwrap();
        let head = ListHead {
            type_meta: TypeMeta::new("x.io/v1", "FooList"),
            resource_version: "3".into(),
            continue_token: String::new(),
            remaining: None,
            items: 1,
        };
        let mut out = Vec::new();
        assert!(difference.finish(&head).unwrap().next(&mut out));
        let own = std::str::from_utf8(own).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{{\"type\":\"ADDED\",\"object\":{own}}}\n")
        );
    }
}
