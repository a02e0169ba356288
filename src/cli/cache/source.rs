//! Where `edge-hub cache` finds what is kept: with the hub that runs, or in the ring that it left.

use std::fmt;
use std::io;

use super::hub::Hub;
use super::ring::Stopped;
use crate::admin::status::Store;
use crate::cache::key::Key;
use crate::cache::note::Note;
use crate::config::Config;
use crate::error::{Exit, Failure};
use crate::store::ring::report::SegmentState;

/// One of both.
pub(super) enum Source {
    Hub(Hub),
    Ring(Box<Stopped>),
}

/// A collection that is kept.
pub(super) struct Kept {
    /// Its number in this source.
    pub(super) id: u64,
    pub(super) key: Key,
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) version: String,
    /// `complete`, `frozen`, `behind`; `kept` where no hub runs.
    pub(super) state: String,
    /// `None`: there was no clock.
    pub(super) age_secs: Option<u64>,
    pub(super) class: String,
}

/// What is read of a collection: the head first.
pub(super) enum Piece<'a> {
    Head { version: &'a str, note: &'a Note },
    Item { key: &'a str, value: &'a [u8] },
}

/// Takes what is read; an error of its own ends the reading.
pub(super) type See<'s> = &'s mut dyn FnMut(Piece<'_>) -> io::Result<()>;

/// Why something could not be had.
#[derive(Debug)]
pub(super) enum SourceError {
    /// It is not there any more.
    Gone,
    /// Not all of it can be read.
    Broken,
    /// The hub or the file system said no.
    Failed(String),
    /// Whoever took it could not go on.
    Taker(io::Error),
}

impl From<io::Error> for SourceError {
    fn from(error: io::Error) -> Self {
        SourceError::Taker(error)
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::Gone => f.write_str("it is not there any more"),
            SourceError::Broken => f.write_str("not all of it can be read"),
            SourceError::Failed(why) => f.write_str(why),
            SourceError::Taker(error) => error.fmt(f),
        }
    }
}

impl From<SourceError> for Failure {
    /// What is read goes to stdout.
    fn from(error: SourceError) -> Self {
        let text = error.to_string();
        let exit = match error {
            SourceError::Gone => Exit::NotKept,
            SourceError::Broken => Exit::Findings,
            SourceError::Failed(_) => Exit::Failed,
            SourceError::Taker(error) => return super::to_stdout(error),
        };
        Failure { exit, text }
    }
}

impl Source {
    /// The hub's own, if one answers in `run_dir`; else the ring's. Says which.
    pub(super) fn open(config: &Config) -> Result<Source, Failure> {
        match Hub::find(&config.run_dir)? {
            Some(hub) => {
                super::super::complain("The hub is running; this is what it keeps.");
                Ok(Source::Hub(hub))
            }
            None => {
                let ring = Stopped::open(config)?;
                super::super::complain("No hub is running; this is what lies on flash.");
                Ok(Source::Ring(Box::new(ring)))
            }
        }
    }

    /// Every collection, in the order of agents, identities and what they asked for.
    pub(super) fn kept(&mut self) -> Result<Vec<Kept>, SourceError> {
        let mut kept = match self {
            Source::Hub(hub) => hub.kept()?,
            Source::Ring(ring) => ring.kept(),
        };
        kept.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(kept)
    }

    /// Reads a collection, or one item of it, which need not be in it.
    pub(super) fn read(
        &mut self,
        id: u64,
        item: Option<&str>,
        see: See<'_>,
    ) -> Result<(), SourceError> {
        match self {
            Source::Hub(hub) => hub.read(id, item, see),
            Source::Ring(ring) => ring.read(id, item, see),
        }
    }

    /// How the store is.
    pub(super) fn store(&mut self) -> Result<Store, SourceError> {
        match self {
            Source::Hub(hub) => hub.store(),
            Source::Ring(ring) => Ok(ring.store()),
        }
    }

    /// What is where on flash; nothing of a store in memory.
    pub(super) fn segments(&mut self) -> Result<Vec<SegmentState>, SourceError> {
        match self {
            Source::Hub(hub) => hub.segments(),
            Source::Ring(ring) => Ok(ring.segments()),
        }
    }

    /// Names of what was not whole when it was opened. A hub has told its own in its log.
    pub(super) fn broken(&self) -> &[Box<[u8]>] {
        match self {
            Source::Hub(_) => &[],
            Source::Ring(ring) => ring.broken(),
        }
    }

    /// Forgets these.
    pub(super) fn forget(&mut self, ids: &[u64]) -> Result<(), Failure> {
        match self {
            Source::Hub(hub) => Ok(hub.forget(ids)?),
            Source::Ring(ring) => ring.forget(ids),
        }
    }
}
