//! Opens what answers are kept in. Nothing here keeps the hub from starting: where the flash cannot be had, it keeps in
//! memory, and says so.

use crate::certs::seal_key;
use crate::config::{Config, StoreKind};
use crate::limits;
use crate::store::Store;
use crate::store::ram::Ram;
use crate::store::ring::Ring;
use crate::store::ring::engine::Settings;
use crate::store::ring::layout::plain_digest;
use crate::store::ring::recover::{Anew, OpenError};
use crate::store::ring::thread::Opened;
use crate::sys::clock::Clock;
use crate::sys::file::{make_private_directory, private_directory};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// What is heard when the ring is open.
pub type WhenOpened = oneshot::Receiver<Result<Opened, OpenError>>;

/// A store to begin with.
pub struct Begun {
    pub store: Store,
    /// What was in it, once that is read.
    pub opened: Option<Opened>,
    /// The ring is still being read or made: it takes what is offered, and tells what was in it when it is open.
    pub later: Option<WhenOpened>,
    /// What somebody should do something about.
    pub troubles: Vec<String>,
}

/// What the hub has to itself below `cache_dir`.
pub const INTERNAL: &str = "_internal";
/// The ring's folder there.
pub const RING: &str = "_internal/ring";

/// The ring's folder below `cache_dir`.
pub fn ring_dir(cache_dir: &Path) -> PathBuf {
    cache_dir.join(RING)
}

/// Who may write there could put an old state in the place of the ring, though he can read none.
fn exposed(cache_dir: &Path) -> impl Iterator<Item = String> {
    let folders = [("", 0o022), (INTERNAL, 0o077), (RING, 0o077)];
    let found = folders.map(|(name, forbidden)| {
        let path = match name {
            "" => cache_dir.to_owned(),
            name => cache_dir.join(name),
        };
        private_directory(&path, forbidden).err()
    });
    let found = found.into_iter().flatten();
    found.map(|error| format!("cache_dir: {error}"))
}

/// What is wrong until the ring is open.
pub const OPENING: &str = "is still being read or made; until then nothing is answered from it";

/// What the ring tells nodes apart by.
pub fn node_digest(node_name: &str) -> u64 {
    plain_digest(node_name.as_bytes())
}

/// Waits for the ring for at most [`limits::RING_OPEN_WAIT`].
pub async fn begin(config: &Config, clock: &Arc<Clock>) -> Begun {
    if config.store == StoreKind::Ram {
        return in_memory(config, Vec::new());
    }
    let mut troubles = Vec::new();
    let (ring, mut when_opened) = match start(config, clock, &mut troubles) {
        Ok(started) => started,
        Err(trouble) => {
            troubles.push(trouble);
            return in_memory(config, troubles);
        }
    };
    let opened = match timeout(limits::RING_OPEN_WAIT, &mut when_opened).await {
        Ok(Ok(Ok(opened))) => Some(opened),
        Ok(Ok(Err(error))) => {
            troubles.push(not_opened(config, &error));
            return in_memory(config, troubles);
        }
        Ok(Err(_)) => {
            troubles.push(not_opened(
                config,
                &io::Error::other("the store has ended").into(),
            ));
            return in_memory(config, troubles);
        }
        Err(_) => {
            log::warn!("cache: {} {OPENING}", config.cache_dir.display());
            None
        }
    };
    Begun {
        store: Store::Ring(ring),
        later: opened.is_none().then_some(when_opened),
        opened,
        troubles,
    }
}

fn start(
    config: &Config,
    clock: &Arc<Clock>,
    troubles: &mut Vec<String>,
) -> Result<(Ring, WhenOpened), String> {
    let directory = ring_dir(&config.cache_dir);
    make_private_directory(&config.cache_dir.join(INTERNAL))
        .and_then(|()| make_private_directory(&directory))
        .map_err(|error| in_memory_since(&format!("cache_dir: {error}")))?;
    troubles.extend(exposed(&config.cache_dir));
    let has_ring = directory.join("super").exists();
    let configured = config.seal_key_file.as_deref();
    let key = seal_key::load(configured, &config.state_dir, has_ring)
        .map_err(|error| in_memory_since(&format!("seal_key_file: {error}")))?;
    troubles.extend(key.warnings().iter().map(ToString::to_string));
    troubles.extend(seal_key::beside_cache(config));
    let settings = Settings {
        bytes_max: config.cache_bytes_max as u64,
        node: node_digest(&config.node_name),
        flush: config.flush,
        daily: config.daily_write_bytes,
    };
    let clock = Arc::clone(clock);
    let unix_secs = Box::new(move || {
        let now = clock.now();
        if now > limits::CLOCK_UNSET_UNIX_SECS {
            now
        } else {
            0
        }
    });
    Ring::start(&directory, key.bytes().to_vec(), settings, unix_secs)
        .map_err(|error| not_opened(config, &OpenError::Io(error)))
}

/// What the log says of a ring that is open; what somebody should do something about is returned.
#[must_use]
pub fn tell(config: &Config, opened: &Opened) -> Vec<String> {
    let place = ring_dir(&config.cache_dir);
    let place = place.display();
    let mut troubles = Vec::new();
    match opened.anew {
        Some(Anew::First) => log::info!("cache: begun in {place}"),
        Some(anew) => troubles.push(begun_anew(config, anew)),
        None => log::info!(
            "cache: {} collections found in {place} after {} ms",
            opened.collections.len(),
            opened.took.as_millis()
        ),
    }
    if opened.broken > 0 {
        troubles.push(format!(
            "cache: {} collections in {place} can no longer be read whole: they are not told until they are listed again",
            opened.broken
        ));
    }
    if opened.is_short {
        troubles.push(format!(
            "cache_max_bytes: no room on the partition of {place} for {} bytes: it takes what there is; \
             make room, or lower cache_max_bytes",
            config.cache_bytes_max
        ));
    }
    troubles.iter().for_each(|trouble| log::warn!("{trouble}"));
    troubles
}

/// What was there is lost, and why.
fn begun_anew(config: &Config, anew: Anew) -> String {
    let key = match anew {
        Anew::Key => "seal_key_file",
        Anew::Node => "node_name",
        Anew::First | Anew::Unreadable | Anew::Format(_) => "cache_dir",
    };
    format!(
        "{key}: {}; begun anew in {}, which fills as clients ask while the API server can be reached",
        anew,
        ring_dir(&config.cache_dir).display()
    )
}

/// Why the ring could not be opened, and what that means.
pub fn not_opened(config: &Config, error: &OpenError) -> String {
    let place = ring_dir(&config.cache_dir);
    let place = place.display();
    in_memory_since(&match error {
        OpenError::Io(error) if error.kind() == io::ErrorKind::WouldBlock => format!(
            "cache_dir: another process holds {place}; two hubs cannot share a cache, give each a cache_dir of its own"
        ),
        OpenError::Io(error) if error.kind() == io::ErrorKind::StorageFull => format!(
            "cache_dir: no room on the partition of {place} for {} bytes (cache_max_bytes); make room, or lower it",
            config.cache_bytes_max
        ),
        OpenError::Io(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            format!(
                "cache_dir: the partition of {place} is read-only; mount it rw, or name another cache_dir"
            )
        }
        OpenError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => format!(
            "cache_dir: {place} is not this user's: {error}; give it to the user that the hub runs as, or name another cache_dir"
        ),
        error => format!(
            "cache_dir: {place} cannot be used: {error}; move it away, or name another cache_dir"
        ),
    })
}

fn in_memory_since(why: &dyn std::fmt::Display) -> String {
    format!("{why}; answers are kept in memory until the next start")
}

fn in_memory(config: &Config, troubles: Vec<String>) -> Begun {
    Begun {
        store: Store::Ram(Ram::new(config.cache_bytes_max)),
        opened: None,
        later: None,
        troubles,
    }
}
