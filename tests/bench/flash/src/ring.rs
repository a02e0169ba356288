//! The hub's ring, written as the hub writes it: a collection for each kind, changes that wait until they are flushed.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use edge_hub::object::Encoding;
use edge_hub::object::essence::essence;
use edge_hub::store::Change;
use edge_hub::store::ring::engine::{Engine, Moment, Settings};
use edge_hub::store::ring::files::Files;
use edge_hub::store::ring::fill::Label;

use crate::objects::{Kind, Objects};

/// Sealed, as always.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

pub struct Ring {
    engine: Engine<Files>,
    /// By [`Kind`].
    ids: [u64; 3],
    now: Duration,
}

impl Ring {
    /// What is there, or a ring with nothing in it, of so many bytes at most.
    pub fn open(dir: &Path, bytes_max: u64) -> io::Result<Ring> {
        let settings = Settings {
            bytes_max,
            node: 1,
            flush: Duration::from_secs(2),
            // The budget is not what is measured.
            daily: 1 << 40,
        };
        let files = Files::locked(dir)?;
        let (engine, _) = Engine::open(files, SECRET, settings, Moment::default())
            .map_err(|e| io::Error::other(e.to_string()))?;
        let id = |kind: Kind| {
            let mut found = engine.collections();
            found.find_map(|(id, c)| (*c.name == *name(kind)).then_some(id))
        };
        let ids = Kind::ALL.map(|kind| id(kind).unwrap_or(1_000 + kind as u64));
        Ok(Ring {
            engine,
            ids,
            now: Duration::ZERO,
        })
    }

    /// All objects, as lists of each kind.
    pub fn fill(&mut self, objects: &Objects) -> io::Result<()> {
        for kind in Kind::ALL {
            let id = self.ids[kind as usize];
            self.engine.begin(id, 2, Some(id));
            for at in objects.of(kind) {
                let (json, key) = (objects.json(at), objects.key(at));
                let tag = tag(kind, &json);
                let put = self.engine.put(id, key, Bytes::from(json), tag);
                put.map_err(|why| io::Error::other(format!("{why:?}")))?;
            }
            let label = Label {
                class: 2,
                name: name(kind),
                note: b"list",
                version: &objects.version(),
            };
            let committed = self.engine.commit(id, id, &label);
            committed.map_err(|why| io::Error::other(format!("{why:?}")))?;
        }
        self.flush()
    }

    pub fn put(&mut self, objects: &Objects, at: usize) -> io::Result<()> {
        self.now += Duration::from_secs(3);
        self.engine.set_now(Moment {
            up: self.now,
            unix: 0,
        });
        let (json, kind) = (objects.json(at), objects.kind(at));
        let put = Change::Put {
            key: objects.key(at),
            value: &json,
            tag: tag(kind, &json),
        };
        let applied = self
            .engine
            .apply(self.ids[kind as usize], &[put], &objects.version());
        applied.map_err(|why| io::Error::other(format!("{why:?}")))
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.engine.flush();
        let notices = self.engine.take_notices();
        match self.engine.off() {
            None if notices.is_empty() => Ok(()),
            off => Err(io::Error::other(format!("{off:?} {notices:?}"))),
        }
    }

    /// Objects in it.
    pub fn count(&self) -> usize {
        self.engine.collections().map(|(_, c)| c.table.len()).sum()
    }

    /// Bytes written since it was opened.
    pub fn written(&self) -> u64 {
        self.engine.log().written.bytes()
    }

    pub fn syncs(&self) -> u64 {
        self.engine.log().written.syncs
    }
}

fn name(kind: Kind) -> &'static [u8] {
    kind.resource().1.as_bytes()
}

fn tag(kind: Kind, json: &[u8]) -> u32 {
    let (group, resource) = kind.resource();
    essence(Encoding::Json, group, resource, json)
}
