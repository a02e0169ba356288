//! One line in the log for each request, in the form that users of such hubs know.

use crate::admin::metrics::{self, From};
use crate::request::Asked;
use std::fmt;
use std::time::{Duration, Instant};

/// The line of one request, written when its answer is over, however that comes.
pub struct AccessLine {
    /// All that the request says. Empty: nobody is to read it.
    begins: Box<str>,
    started: Instant,
    status: u16,
    from: From,
}

impl AccessLine {
    pub fn new(asked: &Asked, started: Instant) -> Self {
        let (agent, verb) = (&asked.agent, asked.verb.name());
        AccessLine::of(started, || {
            let uri = asked.loggable();
            match asked.resource() {
                None => format!("{agent} {verb} nonresource: {uri}"),
                Some(r) => match &r.subresource {
                    None => format!("{agent} {verb} {}: {uri}", r.resource),
                    // What stands behind `proxy` is somebody else's path, and in the URI anyway.
                    Some(sub) => {
                        let sub = sub.split('/').next().unwrap_or_default();
                        format!("{agent} {verb} {}/{sub}: {uri}", r.resource)
                    }
                },
            }
        })
    }

    /// For a head that could not be read.
    pub fn unread(started: Instant) -> Self {
        AccessLine::of(started, || {
            format!("{} other nonresource: -", crate::request::agent::UNKNOWN)
        })
    }

    fn of(started: Instant, begins: impl FnOnce() -> String) -> Self {
        let begins = match log::log_enabled!(log::Level::Info) {
            true => begins().into(),
            false => Box::default(),
        };
        AccessLine {
            begins,
            started,
            status: 0,
            from: From::Hub,
        }
    }

    /// What the answer's head says.
    pub fn answered(&mut self, status: u16, from: From) {
        self.status = status;
        self.from = from;
        metrics::answered(from, status);
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        if self.status == 0 {
            // The client left before there was an answer.
            metrics::left();
        }
        if self.begins.is_empty() {
            return;
        }
        log::info!(
            "{} with status code {}, spent {} from={}",
            self.begins,
            self.status,
            Spent(self.started.elapsed()),
            self.from.name()
        );
    }
}

/// A duration as Go prints it: `21.035061ms`, `1.5s`, `830.1µs`.
pub struct Spent(pub Duration);

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (unit, per_unit, digits) = match nanos {
            0..1_000 => return write!(f, "{nanos}ns"),
            1_000..1_000_000 => ("µs", 1_000, 3),
            1_000_000..1_000_000_000 => ("ms", 1_000_000, 6),
            _ => ("s", 1_000_000_000, 9),
        };
        let fraction = format!("{:0digits$}", nanos % per_unit);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{}{point}{fraction}{unit}", nanos / per_unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (nanos, want) in [
            (0, "0ns"),
            (999, "999ns"),
            (830_100, "830.1µs"),
            (21_035_061, "21.035061ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "60s"),
        ] {
            assert_eq!(Spent(Duration::from_nanos(nanos)).to_string(), want);
        }
    }
}
