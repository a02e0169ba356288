//! Events that were posted while the API server could not be reached: each whole, as it came, until it can be posted. Pure.

use crate::access::hex::{from_hex, to_hex};
use crate::limits;
use crate::object::{Encoding, Malformed, read_single};
use bytes::Bytes;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// By whom: the subject of a certificate. It is posted as that, and as nobody else.
    pub subject: [u8; 32],
    /// Where it was posted.
    pub path: String,
    pub content_type: String,
    pub body: Bytes,
}

/// All of them. Bounded: the oldest makes room.
#[derive(Debug, Default)]
pub struct Journal {
    /// The oldest first, each under its key.
    ///
    /// Invariant: at most [`limits::EVENTS_MAX`], and together at most [`limits::EVENTS_BYTES_MAX`].
    all: Vec<(String, Waiting)>,
    bytes: usize,
    /// Of the next.
    number: u64,
}

/// What has become of a journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Under which key the new one is kept.
    pub key: String,
    /// What is gone.
    pub gone: Vec<String>,
    /// Of these, the ones that nobody will ever see.
    pub dropped: u64,
}

/// The name of the event in this body; an error: it is none that can be posted again under its own name.
pub fn name(encoding: Encoding, body: &[u8], namespace: &str) -> Result<String, Malformed> {
    let (type_meta, meta, _) = read_single(encoding, body)?;
    let is_here = meta.namespace == namespace || meta.namespace.is_empty();
    match type_meta.kind == "Event" && !meta.name.is_empty() && is_here {
        true => Ok(meta.name.into_owned()),
        false => Err(Malformed::Shape),
    }
}

impl Journal {
    /// Takes an event of this path; one that the same posts again under the same name is the same, and has counted on.
    pub fn put(&mut self, name: &str, event: Waiting) -> Changed {
        let mut changed = Changed::default();
        if let Some(at) = self.find(&event.subject, &event.path, name) {
            changed.gone.push(self.take(at));
        }
        let bytes = event.bytes();
        while !self.all.is_empty()
            && (self.all.len() >= limits::EVENTS_MAX
                || self.bytes + bytes > limits::EVENTS_BYTES_MAX)
        {
            changed.gone.push(self.take(0));
            changed.dropped += 1;
        }
        changed.key = format!("{:016x} {name}", self.number);
        self.number += 1;
        self.bytes += bytes;
        self.all.push((changed.key.clone(), event));
        changed
    }

    /// Whether the same has posted such an event, which the API server does not have.
    pub fn has(&self, subject: &[u8; 32], path: &str, name: &str) -> bool {
        self.find(subject, path, name).is_some()
    }

    /// The oldest.
    pub fn first(&self) -> Option<&(String, Waiting)> {
        self.all.first()
    }

    pub fn all(&self) -> &[(String, Waiting)] {
        &self.all
    }

    /// It is posted, or never will be. False: another has taken its place.
    pub fn remove(&mut self, key: &str) -> bool {
        let at = self.all.iter().position(|(of, _)| of == key);
        at.map(|at| self.take(at)).is_some()
    }

    /// Takes back what a former run has kept, in the order of the keys.
    pub fn restore(&mut self, key: String, event: Waiting) {
        let number = key.split(' ').next().unwrap_or_default();
        let Ok(number) = u64::from_str_radix(number, 16) else {
            return;
        };
        let bytes = self.bytes + event.bytes();
        if self.all.len() < limits::EVENTS_MAX && bytes <= limits::EVENTS_BYTES_MAX {
            self.number = self.number.max(number.saturating_add(1));
            self.bytes = bytes;
            let at = self.all.partition_point(|(of, _)| *of < key);
            self.all.insert(at, (key, event));
        }
    }

    fn find(&self, subject: &[u8; 32], path: &str, name: &str) -> Option<usize> {
        let is_it = |(key, event): &(String, Waiting)| {
            key.split_once(' ').is_some_and(|(_, of)| of == name)
                && event.subject == *subject
                && event.path == path
        };
        self.all.iter().position(is_it)
    }

    fn take(&mut self, at: usize) -> String {
        let (key, event) = self.all.remove(at);
        self.bytes -= event.bytes();
        key
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.body.len() + self.path.len() + limits::EVENT_OVERHEAD_BYTES
    }

    /// As it is kept: a line for each field, then the body as it came.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        let subject = to_hex(&self.subject);
        for line in [&*subject, &self.path, &self.content_type] {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        out.extend_from_slice(&self.body);
        out
    }

    /// What [`Waiting::to_bytes`] has written; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Waiting> {
        let mut parts = bytes.splitn(4, |b| *b == b'\n');
        let mut line = || std::str::from_utf8(parts.next()?).ok();
        Some(Waiting {
            subject: from_hex(line()?)?.try_into().ok()?,
            path: line().filter(|path| path.starts_with('/'))?.to_owned(),
            content_type: line()?.to_owned(),
            body: Bytes::copy_from_slice(parts.next()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Waiting {
        Waiting {
            subject: [7; 32],
            path: "/api/v1/namespaces/a/events".to_owned(),
            content_type: "application/json".to_owned(),
            body: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    fn names(journal: &Journal) -> Vec<&str> {
        let all = journal.all().iter();
        all.filter_map(|(key, _)| Some(key.split_once(' ')?.1))
            .collect()
    }

    #[test]
    fn an_event_that_counts_on_is_the_same() {
        let mut journal = Journal::default();
        let first = journal.put("x", event("1"));
        journal.put("y", event("1"));
        let again = journal.put("x", event("2"));
        assert_eq!((again.gone, again.dropped), (vec![first.key.clone()], 0));
        assert_eq!(names(&journal), ["y", "x"]);
        let path = "/api/v1/namespaces/a/events";
        assert!(journal.has(&[7; 32], path, "x") && !journal.has(&[8; 32], path, "x"));
        assert!(!journal.has(&[7; 32], "/api/v1/namespaces/b/events", "x"));
        // What was posted meanwhile is not the one that has taken its place.
        assert!(!journal.remove(&first.key) && journal.remove(&again.key));
        assert_eq!(names(&journal), ["y"]);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut journal = Journal::default();
        for n in 0..limits::EVENTS_MAX {
            assert_eq!(journal.put(&n.to_string(), event("")).dropped, 0);
        }
        let more = journal.put("more", event(""));
        assert_eq!((more.gone.len(), more.dropped), (1, 1));
        assert_eq!(journal.all().len(), limits::EVENTS_MAX);
        let large = "x".repeat(limits::EVENTS_BYTES_MAX / 2);
        journal.put("large", event(&large));
        let changed = journal.put("large too", event(&large));
        assert!(changed.dropped >= 1);
        assert!(journal.bytes <= limits::EVENTS_BYTES_MAX);
    }

    #[test]
    fn what_is_kept_is_read_back_in_order() {
        let mut journal = Journal::default();
        for name in ["b", "a", "c"] {
            journal.put(name, event("a\n\n\u{e9}"));
        }
        let mut again = Journal::default();
        for (key, event) in journal.all().iter().rev() {
            again.restore(key.clone(), Waiting::from_bytes(&event.to_bytes()).unwrap());
        }
        assert_eq!(again.all(), journal.all());
        assert_eq!((again.bytes, again.number), (journal.bytes, journal.number));
        again.restore("odd".to_owned(), event(""));
        assert_eq!(again.all().len(), 3);
        let bytes = event("").to_bytes();
        for end in 0..bytes.len() {
            assert_eq!(Waiting::from_bytes(&bytes[..end]), None, "{end}");
        }
    }

    #[test]
    fn what_can_be_posted_again() {
        let read = |text: &str| name(Encoding::Json, text.as_bytes(), "a").ok();
        let good = r#"{"kind":"Event","apiVersion":"v1","metadata":{"name":"x","namespace":"a"}}"#;
        assert_eq!(read(good).as_deref(), Some("x"));
        for (from, to) in [
            ("\"Event\"", "\"Pod\""),
            ("\"x\"", "\"\""),
            ("\"a\"", "\"b\""),
            ("}}", "}"),
        ] {
            assert_eq!(read(&good.replace(from, to)), None, "{to}");
        }
    }
}
