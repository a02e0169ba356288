//! What is known about one API server, as a state machine without clock or sockets.

use crate::limits::NOT_READY_MAX;
use std::fmt;
use tokio::time::Instant;

/// Why a server is held to be out of reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Its name could not be resolved; the resolver's words.
    Name(String),
    /// Something at its address says that nobody listens there.
    Refused,
    /// There is no way to its address; the kernel's words.
    Unreachable(String),
    /// No connection within the connect deadline, or no answer to a probe.
    TimedOut,
    /// A connection that worked fell silent and did not answer a PING.
    PingLost,
    /// A connection ended without the goodbye of its protocol.
    Reset(String),
    /// Its certificate, or TLS with it, is not acceptable.
    Tls(String),
    /// What stands before it answered 502, 503 or 504 in its place.
    Gateway(u16),
    /// It answers, but says that it is not ready: it is starting, or it is about to end.
    NotReady(u16),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Name(text) => write!(f, "name not resolved: {text}"),
            Reason::Refused => f.write_str("connection refused"),
            Reason::Unreachable(text) => write!(f, "unreachable: {text}"),
            Reason::TimedOut => f.write_str("timed out"),
            Reason::PingLost => f.write_str("connection fell silent, PING not answered"),
            Reason::Reset(text) => write!(f, "connection lost: {text}"),
            Reason::Tls(text) => write!(f, "TLS: {text}"),
            Reason::Gateway(status) => write!(f, "answered {status} by a load balancer"),
            Reason::NotReady(status) => write!(f, "not ready, answered {status}"),
        }
    }
}

/// What one server is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerState {
    /// Nothing was tried yet.
    Unknown,
    /// It answers, since then.
    Up { since: Instant },
    /// It answered since then, but a connection just ended badly; a probe is deciding. Requests still go to it.
    Doubted { since: Instant },
    /// It does not answer. No request is sent to it, only probes.
    Down { since: Instant, reason: Reason },
}

/// What happened to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A connection was made, or a probe answered.
    Answered,
    /// A connection ended, which proves nothing yet.
    Broken(Reason),
    /// Something that proves that requests cannot succeed now.
    Failed(Reason),
}

/// What the caller has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Requests may be sent again.
    CameUp,
    /// Nothing may be sent; probing begins.
    WentDown,
    /// Probe once, now.
    ProbeNow,
}

impl ServerState {
    /// The next state, and what to do about it. `now` becomes the `since` of a new state.
    #[must_use]
    pub fn step(self, input: Input, now: Instant) -> (Option<Output>, ServerState) {
        use ServerState::*;
        match (self, input) {
            (Unknown, Input::Answered) | (Down { .. }, Input::Answered) => {
                (Some(Output::CameUp), Up { since: now })
            }
            (Up { since } | Doubted { since }, Input::Answered) => (None, Up { since }),
            (Up { since }, Input::Broken(_)) => (Some(Output::ProbeNow), Doubted { since }),
            (Unknown, Input::Broken(_)) => (Some(Output::ProbeNow), Unknown),
            (state @ (Doubted { .. } | Down { .. }), Input::Broken(_)) => (None, state),
            // The first `since` stays: that is when the node was cut off. The newest reason is the useful one.
            (Down { since, .. }, Input::Failed(reason)) => (None, Down { since, reason }),
            (_, Input::Failed(reason)) => (Some(Output::WentDown), Down { since: now, reason }),
        }
    }

    /// Whether requests may be sent to it.
    pub fn usable(&self) -> bool {
        !matches!(self, ServerState::Down { .. })
    }
}

/// What a server's own word about its readiness is worth, over all times that it was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// It has said before that it is ready, so it lets us ask.
    told: bool,
    /// Since when it says that it is not.
    not_since: Option<Instant>,
}

impl Readiness {
    /// The next answer to `/readyz`; false: the server is not to be used yet. A server that is starting refuses everybody
    /// with 401 and 403 before it has read who may do what; who believed it would forget what is kept, and end watches. But
    /// one that says so for ever is better than none.
    pub fn answered(&mut self, status: u16, now: Instant) -> bool {
        let says_no = match status {
            200 => {
                self.told = true;
                false
            }
            401 | 403 => self.told,
            status => status == 500,
        };
        if !says_no {
            self.not_since = None;
            return true;
        }
        let since = *self.not_since.get_or_insert(now);
        now.saturating_duration_since(since) >= NOT_READY_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn readiness() {
        let t0 = Instant::now();
        let check = |answers: &[(u16, u64)], want: &[bool]| {
            let mut readiness = Readiness::default();
            let got: Vec<bool> = (answers.iter())
                .map(|(status, secs)| readiness.answered(*status, t0 + Duration::from_secs(*secs)))
                .collect();
            assert_eq!(got, want, "{answers:?}");
        };
        check(
            &[(200, 0), (500, 1), (500, 2), (200, 3)],
            &[true, false, false, true],
        );
        // Who may not ask it is not told that it is not ready.
        check(&[(403, 0), (403, 1), (401, 2), (404, 3)], &[true; 4]);
        check(
            &[(200, 0), (403, 1), (401, 2), (200, 3)],
            &[true, false, false, true],
        );
        let max = NOT_READY_MAX.as_secs();
        check(
            &[(500, 0), (500, max - 1), (500, max), (500, max + 9)],
            &[false, false, true, true],
        );
        check(
            &[(500, 0), (200, 9), (500, max), (500, max + 1)],
            &[false, true, false, false],
        );
    }

    #[test]
    fn steps() {
        let t0 = Instant::now();
        let t1 = t0 + Duration::from_secs(1);
        let up = || ServerState::Up { since: t0 };
        let doubted = || ServerState::Doubted { since: t0 };
        let down = |reason| ServerState::Down { since: t0, reason };
        let down_now = |reason| ServerState::Down { since: t1, reason };
        let reset = || Reason::Reset("x".into());
        let table = [
            (
                ServerState::Unknown,
                Input::Answered,
                Some(Output::CameUp),
                ServerState::Up { since: t1 },
            ),
            (
                ServerState::Unknown,
                Input::Broken(reset()),
                Some(Output::ProbeNow),
                ServerState::Unknown,
            ),
            (
                ServerState::Unknown,
                Input::Failed(Reason::Refused),
                Some(Output::WentDown),
                down_now(Reason::Refused),
            ),
            (up(), Input::Answered, None, up()),
            (
                up(),
                Input::Broken(reset()),
                Some(Output::ProbeNow),
                doubted(),
            ),
            (
                up(),
                Input::Failed(Reason::PingLost),
                Some(Output::WentDown),
                down_now(Reason::PingLost),
            ),
            (doubted(), Input::Answered, None, up()),
            (doubted(), Input::Broken(reset()), None, doubted()),
            (
                doubted(),
                Input::Failed(Reason::Refused),
                Some(Output::WentDown),
                down_now(Reason::Refused),
            ),
            (
                down(Reason::Refused),
                Input::Answered,
                Some(Output::CameUp),
                ServerState::Up { since: t1 },
            ),
            (
                down(Reason::Refused),
                Input::Broken(reset()),
                None,
                down(Reason::Refused),
            ),
            (
                down(Reason::Refused),
                Input::Failed(Reason::TimedOut),
                None,
                down(Reason::TimedOut),
            ),
        ];
        for (state, input, output, next) in table {
            let told = format!("{state:?} {input:?}");
            assert_eq!(state.step(input, t1), (output, next), "{told}");
        }
    }
}
