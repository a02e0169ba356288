//! What the service manager is told, in the datagrams of sd_notify(3): that the hub serves, that it lives, that it ends.
//! Never waits for it, and says nothing where none listens.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Of which the manager may hear.
pub enum Phase {
    /// Every listener is open, or waits for its address.
    Serves,
    /// The loop that does everything has come round.
    Lives,
    /// No new connections; it may take so long until the end.
    Ends { within: Duration },
}

/// Who started the hub and wants to hear of it, if anyone.
pub struct ServiceManager {
    to: Option<(UnixDatagram, SocketAddr)>,
    lives_every: Duration,
}

/// A manager that asks for more is told no more often.
const LIVES_EVERY_MIN: Duration = Duration::from_millis(50);
/// Where nobody asks.
const LIVES_EVERY_MAX: Duration = Duration::from_secs(3600);

impl ServiceManager {
    /// The one that the environment names.
    pub fn from_env() -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        ServiceManager {
            to: std::env::var_os("NOTIFY_SOCKET").and_then(|name| open(&name)),
            lives_every: lives_every(
                number("WATCHDOG_USEC"),
                number("WATCHDOG_PID"),
                std::process::id(),
            ),
        }
    }

    /// How often [`Phase::Lives`] is to be told.
    pub fn lives_every(&self) -> Duration {
        self.lives_every
    }

    /// What cannot be told is not told: a manager that does not read loses it, and the hub goes on.
    pub fn tell(&self, phase: Phase) {
        if let Some((socket, to)) = &self.to {
            let _ = socket.send_to_addr(words(phase).as_bytes(), to);
        }
    }
}

/// `@` begins a name that is in no file system.
fn open(name: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let to = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, to.ok()?))
}

/// Twice within the time after which the manager takes the hub for hung; `pid` says whom it means.
fn lives_every(usec: Option<u64>, pid: Option<u64>, own: u32) -> Duration {
    let meant = pid.is_none_or(|pid| pid == u64::from(own));
    let asked = usec.filter(|_| meant).map(|usec| usec / 2);
    asked
        .map_or(LIVES_EVERY_MAX, Duration::from_micros)
        .clamp(LIVES_EVERY_MIN, LIVES_EVERY_MAX)
}

fn words(phase: Phase) -> String {
    match phase {
        Phase::Serves => "READY=1".to_owned(),
        Phase::Lives => "WATCHDOG=1".to_owned(),
        Phase::Ends { within } => {
            format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", within.as_micros())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_asked_within_bounds() {
        let ms = Duration::from_millis;
        for (usec, pid, expected) in [
            (Some(30_000_000), None, ms(15_000)),
            (Some(30_000_000), Some(7), ms(15_000)),
            (Some(30_000_000), Some(8), LIVES_EVERY_MAX),
            (None, None, LIVES_EVERY_MAX),
            (Some(0), None, LIVES_EVERY_MIN),
            (Some(100_000), None, ms(50)),
            (Some(99_999), None, LIVES_EVERY_MIN),
            (Some(u64::MAX), None, LIVES_EVERY_MAX),
        ] {
            assert_eq!(lives_every(usec, pid, 7), expected, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_nobody() {
        let long = "x".repeat(200);
        for name in ["", "@", "@name", "/run/somewhere", long.as_str(), "a\0b"] {
            let there = open(OsStr::new(name)).is_some();
            assert_eq!(there, !(name == long || name.contains('\0')), "{name:?}");
        }
    }
}
