//! How many descriptors the process may have open.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use std::{fmt, io};

/// The limit on open descriptors (RLIMIT_NOFILE) after it was asked to be raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nofile {
    /// As many as wanted, or more.
    Enough {
        /// The limit.
        soft: u32,
    },
    /// The hard limit is lower than what is wanted: fewer connections can be had.
    Short {
        /// The limit.
        soft: u32,
        /// What was wanted.
        wanted: u32,
    },
}

/// The limit could not be read or set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RlimitError(Errno);

impl fmt::Display for RlimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = io::Error::from(self.0);
        write!(f, "cannot raise the limit on open files: {why}")
    }
}

impl std::error::Error for RlimitError {}

/// Raises the soft limit on open descriptors to `wanted`, or to the hard limit if that is lower. It is never lowered,
/// and the hard limit is left as it is.
pub fn raise_nofile(wanted: u32) -> Result<Nofile, RlimitError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(RlimitError)?;
    let target = soft_limit(soft, hard, rlim_t::from(wanted));
    if target != soft {
        setrlimit(Resource::RLIMIT_NOFILE, target, hard).map_err(RlimitError)?;
    }
    // 64 bits wide on most targets; "unlimited" is all ones.
    let target = u32::try_from(target).unwrap_or(u32::MAX);
    Ok(match target {
        soft if soft >= wanted => Nofile::Enough { soft },
        soft => Nofile::Short { soft, wanted },
    })
}

fn soft_limit(soft: rlim_t, hard: rlim_t, wanted: rlim_t) -> rlim_t {
    wanted.min(hard).max(soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_never_lowered_and_within_the_hard_limit() {
        for (soft, hard, wanted, expected) in [
            (1024, 4096, 2048, 2048),
            (1024, 4096, 9000, 4096),
            (1024, 4096, 100, 1024),
            (1024, rlim_t::MAX, 9000, 9000),
        ] {
            assert_eq!(soft_limit(soft, hard, wanted), expected);
        }
    }

    #[test]
    fn the_real_one() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let narrow = |limit| u32::try_from(limit).unwrap_or(u32::MAX);
        let (soft, hard) = (narrow(soft), narrow(hard));
        assert_eq!(raise_nofile(soft), Ok(Nofile::Enough { soft }));
        if let Some(wanted) = hard.checked_add(1) {
            let short = Nofile::Short { soft: hard, wanted };
            assert_eq!(raise_nofile(wanted), Ok(short));
        }
    }
}
