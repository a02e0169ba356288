//! What a hub that does not run has left on flash. Nothing is written but to forget.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::source::{Kept, Piece, See, SourceError};
use crate::admin::report::store_of;
use crate::admin::status::Store;
use crate::cache::key::Key;
use crate::cache::note::Note;
use crate::certs::seal_key::{self, Outlook};
use crate::config::{Config, StoreKind};
use crate::error::{Exit, Failure};
use crate::hub::store::{node_digest, ring_dir};
use crate::limits::CLOCK_UNSET_UNIX_SECS;
use crate::store::ring::engine::{Engine, Moment, Settings};
use crate::store::ring::files::Files;
use crate::store::ring::report::SegmentState;
use crate::store::{Class, Totals};
use crate::sys::clock::system_unix_secs;

/// A ring that is looked at.
pub(super) struct Stopped {
    engine: Engine<Files>,
    dir: PathBuf,
    secret: Vec<u8>,
    node: u64,
    flush: Duration,
    daily: u64,
    bytes_max: u64,
    now_unix_secs: u64,
}

impl Stopped {
    pub(super) fn open(config: &Config) -> Result<Stopped, Failure> {
        let nothing = |why: String| Failure {
            exit: Exit::NotRunning,
            text: format!("No hub is running, and {why}."),
        };
        let dir = ring_dir(&config.cache_dir);
        if config.store == StoreKind::Ram {
            return Err(nothing(
                "with \"store\": \"ram\" nothing outlives it".to_owned(),
            ));
        }
        if !dir.join("super").exists() {
            return Err(nothing(format!("nothing is kept in {}", dir.display())));
        }
        let key = config.seal_key_file.as_deref();
        // Only to look: no key is made here.
        let secret = match seal_key::look(key, &config.state_dir) {
            Ok(Outlook::Good) => seal_key::load(key, &config.state_dir, true),
            Ok(_) => {
                return Err(nothing(format!(
                    "the key to {} is lost",
                    config.cache_dir.display()
                )));
            }
            Err(error) => Err(error),
        };
        let secret = secret.map_err(|error| Failure::failed(format!("seal_key_file: {error}")))?;
        let node = node_digest(&config.node_name);
        let engine = Engine::look(Files::unlocked(&dir), secret.bytes(), node)
            .map_err(|error| Failure::failed(format!("{}: {error}", dir.display())))?;
        Ok(Stopped {
            engine,
            dir,
            secret: secret.bytes().to_vec(),
            node,
            flush: config.flush,
            daily: config.daily_write_bytes,
            bytes_max: config.cache_bytes_max as u64,
            now_unix_secs: system_unix_secs(),
        })
    }

    pub(super) fn kept(&self) -> Vec<Kept> {
        // Of two with one name the later counts, as at a start of the hub.
        let mut kept: BTreeMap<Key, Kept> = BTreeMap::new();
        for (id, c) in self.engine.collections() {
            let Some(key) = Key::from_bytes(&c.name) else {
                continue;
            };
            let one = Kept {
                id,
                key: key.clone(),
                objects: c.table.len() as u64,
                bytes: c.bytes,
                version: c.version.to_string(),
                state: "kept".to_owned(),
                age_secs: self.age_secs(c.refreshed),
                class: class_word(c.class).to_owned(),
            };
            kept.insert(key, one);
        }
        kept.into_values().collect()
    }

    fn age_secs(&self, refreshed: u64) -> Option<u64> {
        let known = refreshed > 0 && self.now_unix_secs > CLOCK_UNSET_UNIX_SECS;
        self.now_unix_secs.checked_sub(refreshed).filter(|_| known)
    }

    pub(super) fn read(
        &mut self,
        id: u64,
        item: Option<&str>,
        see: See<'_>,
    ) -> Result<(), SourceError> {
        let collection = self.engine.collection(id).ok_or(SourceError::Gone)?;
        let note = Note::from_bytes(&collection.note).ok_or(SourceError::Broken)?;
        see(Piece::Head {
            version: &collection.version,
            note: &note,
        })?;
        if let Some(key) = item {
            let one = self.engine.one(id, key).map_err(|_| SourceError::Broken)?;
            return Ok(one.map_or(Ok(()), |value| see(Piece::Item { key, value: &value }))?);
        }
        let mut reading = self.engine.snapshot(id).ok_or(SourceError::Gone)?;
        loop {
            let some = self.engine.read_some(&mut reading);
            let some = some.map_err(|_| SourceError::Broken)?;
            if some.is_empty() {
                return Ok(());
            }
            for item in &some {
                see(Piece::Item {
                    key: &item.key,
                    value: &item.value,
                })?;
            }
        }
    }

    pub(super) fn store(&self) -> Store {
        let mut stats = self.engine.stats();
        stats.daily_bytes = self.daily;
        stats.wear.left = stats.wear.left.min(self.daily);
        let totals = Totals {
            bytes: stats.live_bytes as usize,
            bytes_max: self.bytes_max as usize,
            collections: self.engine.collections().count(),
            objects: self.engine.collections().map(|(_, c)| c.table.len()).sum(),
            evicted: 0,
        };
        store_of("ring", totals, Some(&stats))
    }

    pub(super) fn segments(&self) -> Vec<SegmentState> {
        self.engine.segments()
    }

    pub(super) fn broken(&self) -> &[Box<[u8]>] {
        &self.engine.broken
    }

    /// Writes to the ring that these are gone. It keeps its size, whatever the configuration says by now: that is for the
    /// hub to change.
    pub(super) fn forget(&mut self, ids: &[u64]) -> Result<(), Failure> {
        let at = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("{}: {error}", self.dir.display()))
        };
        let settings = Settings {
            bytes_max: self.bytes_max,
            node: self.node,
            flush: self.flush,
            daily: self.daily,
        };
        let files = Files::locked(&self.dir).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => at(&"a hub holds it, with another run_dir"),
            _ => at(&error),
        })?;
        let names: Vec<&[u8]> = (ids.iter())
            .filter_map(|id| Some(&*self.engine.collection(*id)?.name))
            .collect();
        let now = Moment {
            up: Duration::ZERO,
            unix: self.now_unix_secs,
        };
        let mut engine = Engine::open_as_it_is(files, &self.secret, settings, now)
            .map_err(|error| at(&error))?;
        let gone: Vec<u64> = (engine.collections())
            .filter(|(_, c)| names.contains(&&*c.name))
            .map(|(id, _)| id)
            .collect();
        gone.into_iter().for_each(|id| engine.drop_collection(id));
        engine.flush();
        match engine.off() {
            Some(why) => Err(at(&why)),
            None => Ok(()),
        }
    }
}

/// As the hub has it by `cache_agents`, when it was written.
fn class_word(class: Class) -> &'static str {
    match class {
        0 => "wild",
        1 => "named",
        _ => "pinned",
    }
}
