//! What time it was when the hub last knew, kept for the next start: a box may boot with its clock years behind, or be set
//! back so that what has ended counts again. One small file, written at most once in [`LAST_TIME_EVERY`], and at the end.

use crate::limits::{LAST_TIME_EVERY, LAST_TIME_FILE_BYTES_MAX, LAST_TIME_STEP};
use crate::sys::clock::{Clock, rfc3339};
use crate::sys::file::{FileError, read_bounded, write_whole};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "last-time";

/// The file.
pub struct LastTime {
    path: PathBuf,
    clock: Arc<Clock>,
    /// What stands in it, unix seconds.
    kept: Cell<u64>,
}

/// Reads what an earlier hub knew, and lets the clock be no earlier. A file that cannot be read says nothing.
pub fn open(state_dir: &Path, clock: &Arc<Clock>) -> LastTime {
    let path = state_dir.join(NAME);
    let kept = read(&path).unwrap_or_else(|error| {
        if !error.is_missing() {
            log::warn!("{error}; what time it was at the last run is not known");
        }
        0
    });
    clock.raise_floor(kept);
    LastTime {
        path,
        clock: Arc::clone(clock),
        kept: Cell::new(kept),
    }
}

/// What stands in the file of this `state_dir`, in unix seconds; 0: nothing that can be read.
pub fn look(state_dir: &Path) -> u64 {
    read(&state_dir.join(NAME)).unwrap_or_default()
}

fn read(path: &Path) -> Result<u64, FileError> {
    let bytes = read_bounded(path, LAST_TIME_FILE_BYTES_MAX)?;
    let text = std::str::from_utf8(&bytes).ok();
    Ok(text.and_then(|t| t.trim().parse().ok()).unwrap_or_default())
}

impl LastTime {
    /// Keeps what is known, if the last time is long ago.
    pub fn keep_now_and_then(&self) {
        self.keep(LAST_TIME_EVERY);
    }

    /// Keeps what is known, for what comes may be a power cut or an end.
    pub fn keep_before_the_worst(&self) {
        self.keep(LAST_TIME_STEP);
    }

    fn keep(&self, step: Duration) {
        let floor = self.clock.floor();
        if floor < self.kept.get().saturating_add(step.as_secs()) {
            return;
        }
        // Whether it can be written or not, it is not tried again before the next step.
        self.kept.set(floor);
        if let Err(error) = write_whole(&self.path, format!("{floor}\n").as_bytes(), 0o600) {
            log::debug!(
                "{error}; the next start does not know that it is {}",
                rfc3339(floor)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CLOCK_FLOOR_UNIX_SECS_MAX;
    use crate::sys::clock::system_unix_secs;
    use crate::sys::file::TestDirectory;

    #[test]
    fn the_next_start_knows_what_this_one_knew() {
        let directory = TestDirectory::new();
        let clock = Clock::new();
        let last = open(directory.path(), &clock);
        assert_eq!(clock.floor(), 0);
        last.keep_before_the_worst();
        assert!(directory.names().is_empty(), "nothing is known");
        let later = system_unix_secs() + 86_400;
        clock.raise_floor(later);
        last.keep_now_and_then();
        assert_eq!(directory.names(), [NAME]);

        let clock = Clock::new();
        let last = open(directory.path(), &clock);
        assert!(clock.now() >= later);
        // Few writes: what has hardly moved is not written again.
        std::fs::remove_file(directory.path().join(NAME)).unwrap();
        clock.raise_floor(later + LAST_TIME_STEP.as_secs() - 10);
        last.keep_before_the_worst();
        assert!(directory.names().is_empty());
        clock.raise_floor(later + LAST_TIME_STEP.as_secs() + 10);
        last.keep_now_and_then();
        assert!(directory.names().is_empty());
        last.keep_before_the_worst();
        assert_eq!(directory.names(), [NAME]);
    }

    #[test]
    fn what_is_no_time_says_nothing() {
        let directory = TestDirectory::new();
        let beyond = (CLOCK_FLOOR_UNIX_SECS_MAX + 1).to_string();
        for text in ["", "soon", "-1", "1e9", "99999999999999999999999", &beyond] {
            std::fs::write(directory.path().join(NAME), text).unwrap();
            let clock = Clock::new();
            open(directory.path(), &clock);
            assert_eq!(clock.floor(), 0, "{text}");
        }
    }
}
