//! What a watch becomes for a program that is told something otherwise: from one event of the API server none, the same or
//! another. Pure. Never touches what an event says about versions, nor bookmarks and errors.

use super::event::{self, Event, EventType};
use crate::cache::key::item_key;
use crate::filter::{Cannot, Judge, Verdict};
use crate::limits::HIDDEN_KEYS_MAX;
use crate::object::{Encoding, Malformed};
use std::collections::BTreeSet;

/// One watch's view through its filters.
pub struct Stage {
    encoding: Encoding,
    judge: Judge,
    /// Objects that the client was not told of, or was told to be gone.
    ///
    /// Invariant: at most [`HIDDEN_KEYS_MAX`]. One that is forgotten does no harm: its client is then told once more that
    /// an object is gone of which it does not know, or that one has changed which is new to it. Clients take both for
    /// what they are, for a watch that begins at a version cannot know better either.
    hidden: BTreeSet<String>,
}

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Staged {
    /// It goes on as it came.
    AsItCame,
    /// This frame goes on instead.
    Instead(Vec<u8>),
    /// The client does not hear of it.
    Nothing,
}

impl Stage {
    pub fn new(encoding: Encoding, judge: Judge) -> Stage {
        Stage {
            encoding,
            judge,
            hidden: BTreeSet::new(),
        }
    }

    /// Who judges.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Lets another one judge from now on, of whom the client was told all that is different.
    pub fn take(&mut self, judge: Judge) {
        self.judge = judge;
    }

    /// The client was told that this object is gone, or is there, by other means than an event of the stream.
    pub fn now(&mut self, key: String, hidden: bool) {
        match hidden {
            true => self.hide(key),
            false => drop(self.hidden.remove(&key)),
        }
    }

    /// The next event of the API server.
    ///
    /// As the API server's own selectors do it (kubernetes-api.md 3.8): what leaves is DELETED at the event's own version,
    /// what enters is ADDED.
    pub fn event(&mut self, event: &Event<'_>) -> Result<Staged, Cannot> {
        let was = event.event_type;
        if matches!(was, EventType::Bookmark | EventType::Error) || self.judge.set.is_empty() {
            return Ok(Staged::AsItCame);
        }
        if event.type_meta.kind != self.judge.kind.name() {
            return Err(Malformed::Shape.into());
        }
        let key = item_key(&event.meta.namespace, &event.meta.name);
        let verdict = self.judge.of(self.encoding, event.object)?;
        let hidden = self.hidden.remove(&key);
        Ok(match (verdict, was) {
            // Its last form says nothing about whether the client knew of it, so it is told unless that is certain.
            (_, EventType::Deleted) if hidden => Staged::Nothing,
            (Verdict::Drop, EventType::Deleted) => Staged::AsItCame,
            (Verdict::Drop, _) => {
                self.hide(key);
                match (hidden, was) {
                    (false, EventType::Modified) => {
                        self.frame(EventType::Deleted, event, event.object)
                    }
                    _ => Staged::Nothing,
                }
            }
            (Verdict::Keep, EventType::Modified) if hidden => {
                self.frame(EventType::Added, event, event.object)
            }
            (Verdict::Replace(told), EventType::Modified) if hidden => {
                self.frame(EventType::Added, event, &told)
            }
            (Verdict::Keep, _) => Staged::AsItCame,
            (Verdict::Replace(told), _) => self.frame(was, event, &told),
        })
    }

    fn hide(&mut self, key: String) {
        if self.hidden.len() < HIDDEN_KEYS_MAX {
            self.hidden.insert(key);
        }
    }

    fn frame(&self, event_type: EventType, event: &Event<'_>, object: &[u8]) -> Staged {
        let mut out = Vec::with_capacity(object.len() + 128);
        let type_meta = event.type_meta.clone().into_owned();
        event::write(self.encoding, event_type, &type_meta, object, &mut out);
        Staged::Instead(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::facts::{HubPlace, Membership};
    use crate::filter::{Facts, Filter, Kind, Set};
    use crate::object::TypeMeta;
    use crate::object::proto::put_bytes;
    use std::rc::Rc;

    fn judge() -> Judge {
        let hub = HubPlace {
            first: "169.254.2.1".parse().unwrap(),
            other: None,
            port: 10268,
        };
        Judge {
            set: (Set::default().with(Filter::NodePortIsolation)).with(Filter::MasterService),
            kind: Kind::Service,
            facts: Rc::new(Facts {
                hub: Some(hub),
                pool: Membership::In("a".to_owned()),
                ..Facts::default()
            }),
        }
    }

    /// A NodePort Service that listens in these pools; in none of them where that is empty.
    fn frame(
        encoding: Encoding,
        word: EventType,
        name: &str,
        version: &str,
        pools: &str,
    ) -> Vec<u8> {
        let bare = match encoding {
            Encoding::Json => format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"default","resourceVersion":"{version}","annotations":{{"edge-hub/nodeport-pools":"{pools}"}}}},"spec":{{"clusterIP":"10.0.0.1","type":"NodePort"}}}}"#
            )
            .into_bytes(),
            Encoding::Protobuf => {
                let (mut note, mut meta, mut spec, mut bare) =
                    (Vec::new(), Vec::new(), Vec::new(), Vec::new());
                put_bytes(&mut note, 1, b"edge-hub/nodeport-pools");
                put_bytes(&mut note, 2, pools.as_bytes());
                put_bytes(&mut meta, 1, name.as_bytes());
                put_bytes(&mut meta, 3, b"default");
                put_bytes(&mut meta, 6, version.as_bytes());
                put_bytes(&mut meta, 12, &note);
                put_bytes(&mut spec, 3, b"10.0.0.1");
                put_bytes(&mut spec, 4, b"NodePort");
                put_bytes(&mut bare, 1, &meta);
                put_bytes(&mut bare, 2, &spec);
                bare
            }
        };
        let mut out = Vec::new();
        event::write(
            encoding,
            word,
            &TypeMeta::new("v1", "Service"),
            &bare,
            &mut out,
        );
        out
    }

    const A: EventType = EventType::Added;
    const M: EventType = EventType::Modified;
    const D: EventType = EventType::Deleted;

    /// The words that follow on these events of one object; `+`: it is for this pool.
    fn check(events: &[(EventType, char)], want: &[Option<EventType>]) {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let mut stage = Stage::new(encoding, judge());
            for (at, ((word, passes), want)) in events.iter().zip(want).enumerate() {
                let version = (at + 7).to_string();
                let pools = if *passes == '+' { "a" } else { "b" };
                let came = frame(encoding, *word, "x", &version, pools);
                let staged = stage
                    .event(&event::parse(encoding, &came).unwrap())
                    .unwrap();
                let told = match &staged {
                    Staged::AsItCame => Some(came.as_slice()),
                    Staged::Instead(told) => Some(told.as_slice()),
                    Staged::Nothing => None,
                };
                let told = told.map(|told| event::parse(encoding, told).unwrap());
                let word = told.as_ref().map(|told| told.event_type);
                assert_eq!(word, *want, "{encoding:?} {events:?} {at}");
                if let Some(told) = told {
                    assert_eq!(told.meta.resource_version, version);
                }
            }
        }
    }

    #[test]
    fn what_leaves_is_deleted_and_what_enters_is_added() {
        check(
            &[(A, '+'), (M, '+'), (D, '+')],
            &[Some(A), Some(M), Some(D)],
        );
        check(&[(A, '-'), (M, '-'), (D, '-')], &[None, None, None]);
        check(
            &[(A, '+'), (M, '-'), (M, '-'), (M, '+'), (M, '+')],
            &[Some(A), Some(D), None, Some(A), Some(M)],
        );
        check(
            &[(A, '-'), (D, '+'), (A, '+'), (M, '-'), (D, '-'), (A, '+')],
            &[None, None, Some(A), Some(D), None, Some(A)],
        );
        // A watch that begins at a version does not know what its client knows.
        check(&[(M, '-'), (M, '+')], &[Some(D), Some(A)]);
        check(&[(D, '-'), (A, '-')], &[Some(D), None]);
    }

    #[test]
    fn bookmarks_and_errors_stay_and_what_is_no_service_is_refused() {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let mut stage = Stage::new(encoding, judge());
            let (mut end, mut error) = (Vec::new(), Vec::new());
            event::write_bookmark(
                encoding,
                &TypeMeta::new("v1", "Service"),
                "5",
                true,
                &mut end,
            );
            event::write_error(encoding, 410, "Expired", "x", &mut error);
            for frame in [end, error] {
                let event = event::parse(encoding, &frame).unwrap();
                assert_eq!(stage.event(&event), Ok(Staged::AsItCame));
            }
            let mut other = Vec::new();
            let table = TypeMeta::new("meta.k8s.io/v1", "Table");
            event::write(
                encoding,
                A,
                &table,
                if encoding == Encoding::Json {
                    b"{}"
                } else {
                    b""
                },
                &mut other,
            );
            assert!(
                stage
                    .event(&event::parse(encoding, &other).unwrap())
                    .is_err()
            );
        }
    }

    #[test]
    fn objects_are_told_as_the_filters_say() {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let mut stage = Stage::new(encoding, judge());
            let came = frame(encoding, A, "kubernetes", "7", "a");
            let event = event::parse(encoding, &came).unwrap();
            let Ok(Staged::Instead(told)) = stage.event(&event) else {
                panic!("{encoding:?}");
            };
            let told = event::parse(encoding, &told).unwrap();
            let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|w| w == part);
            assert!(has(told.object, b"169.254.2.1") && !has(told.object, b"10.0.0.1"));
            assert_eq!(told.meta, event.meta);
        }
    }

    #[test]
    fn what_is_hidden_is_bounded() {
        let mut stage = Stage::new(Encoding::Json, judge());
        for n in 0..HIDDEN_KEYS_MAX + 2 {
            let came = frame(Encoding::Json, A, &format!("x{n}"), "7", "b");
            let staged = stage.event(&event::parse(Encoding::Json, &came).unwrap());
            assert_eq!(staged, Ok(Staged::Nothing));
        }
        assert_eq!(stage.hidden.len(), HIDDEN_KEYS_MAX);
        let last = frame(Encoding::Json, D, &format!("x{HIDDEN_KEYS_MAX}"), "8", "b");
        let staged = stage.event(&event::parse(Encoding::Json, &last).unwrap());
        assert_eq!(staged, Ok(Staged::AsItCame));
    }
}
