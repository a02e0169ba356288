//! The link to the API server as the rest of the hub sees it: the servers' states in one, and ways to wait for it.

use super::server::{Input, Output, Reason, ServerState};
use crate::limits::{LINK_LOG_BURST, LINK_LOG_WINDOW_SECS};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The link as a whole. It is down only when every server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Nothing is known yet, as right after the start.
    Unknown,
    /// At least one server answers, since then.
    Up { since: Instant },
    /// No server answers, since then; the reason of the last one that was lost.
    Down { since: Instant, reason: Reason },
}

impl LinkState {
    /// Whether the API server is known to be out of reach.
    pub fn is_down(&self) -> bool {
        matches!(self, LinkState::Down { .. })
    }
}

/// The state of every server and of the link.
pub struct Link {
    servers: RefCell<Vec<Slot>>,
    overall: watch::Sender<LinkState>,
    log_window: Cell<(Instant, u32)>,
}

struct Slot {
    name: String,
    state: ServerState,
    /// Wakes the server's prober.
    prod: Rc<Notify>,
}

impl Link {
    /// A link to servers of these names (for the log only), of which nothing is known.
    pub fn new(names: impl IntoIterator<Item = String>) -> Link {
        let slot = |name| Slot {
            name,
            state: ServerState::Unknown,
            prod: Rc::new(Notify::new()),
        };
        Link {
            servers: RefCell::new(names.into_iter().map(slot).collect()),
            overall: watch::Sender::new(LinkState::Unknown),
            log_window: Cell::new((Instant::now(), 0)),
        }
    }

    /// The link as a whole, now.
    pub fn state(&self) -> LinkState {
        self.overall.borrow().clone()
    }

    /// Whether no server can be reached.
    pub fn is_down(&self) -> bool {
        self.overall.borrow().is_down()
    }

    /// Whether no server has been heard of yet, neither that it answers nor that it does not.
    pub fn is_unknown(&self) -> bool {
        *self.overall.borrow() == LinkState::Unknown
    }

    /// Returns once it is known whether the link is up or down; at once if it is.
    pub async fn became_known(&self) {
        self.wait(|state| *state != LinkState::Unknown).await;
    }

    /// Follows the link; the receiver sees every lasting change, and may miss short ones between two looks.
    pub fn subscribe(&self) -> watch::Receiver<LinkState> {
        self.overall.subscribe()
    }

    /// Returns once the link is up; at once if it is.
    pub async fn became_up(&self) {
        self.wait(|state| matches!(state, LinkState::Up { .. }))
            .await;
    }

    /// Returns once the link is not known to be down; at once if it is not.
    pub async fn not_down(&self) {
        self.wait(|state| !state.is_down()).await;
    }

    /// Returns once the link is down; at once if it is.
    pub async fn became_down(&self) {
        self.wait(LinkState::is_down).await;
    }

    /// What is known about the server of this index (order of the settings); `Unknown` for an index that is none.
    pub fn server(&self, index: usize) -> ServerState {
        self.servers
            .borrow()
            .get(index)
            .map_or(ServerState::Unknown, |slot| slot.state.clone())
    }

    /// Whether requests may be sent to that server.
    pub fn usable(&self, index: usize) -> bool {
        self.servers
            .borrow()
            .get(index)
            .is_some_and(|slot| slot.state.usable())
    }

    /// Tells what happened to a server. Changes are logged here, once.
    pub fn feed(&self, index: usize, input: Input) {
        let now = Instant::now();
        let output = {
            let mut servers = self.servers.borrow_mut();
            let Some(slot) = servers.get_mut(index) else {
                return;
            };
            let state = std::mem::replace(&mut slot.state, ServerState::Unknown);
            let (output, state) = state.step(input, now);
            slot.state = state;
            if let Some(output) = output {
                if output != Output::CameUp {
                    slot.prod.notify_one();
                }
                self.log(slot, output, now);
            }
            output
        };
        if output.is_some() {
            self.publish(now);
        }
    }

    /// Makes every prober try now: a route or a network came up.
    pub fn prod(&self) {
        self.servers
            .borrow()
            .iter()
            .for_each(|slot| slot.prod.notify_one());
    }

    /// What the prober of that server waits for between probes.
    pub(crate) fn prodded(&self, index: usize) -> Option<Rc<Notify>> {
        self.servers
            .borrow()
            .get(index)
            .map(|slot| slot.prod.clone())
    }

    async fn wait(&self, wanted: impl FnMut(&LinkState) -> bool) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.subscribe().wait_for(wanted).await;
    }

    fn publish(&self, now: Instant) {
        let servers = self.servers.borrow();
        self.overall.send_if_modified(|state| {
            let next = overall(servers.iter().map(|slot| &slot.state), state, now);
            let changed = next != *state;
            *state = next;
            changed
        });
    }

    fn log(&self, slot: &Slot, output: Output, now: Instant) {
        if !self.may_log(now) {
            return;
        }
        match (&slot.state, output) {
            (ServerState::Down { reason, .. }, Output::WentDown) => {
                log::warn!("api server down: server={} reason=\"{reason}\"", slot.name);
            }
            (_, Output::CameUp) => log::info!("api server up: server={}", slot.name),
            _ => log::debug!("api server doubted: server={}", slot.name),
        }
    }

    /// A link that flaps all day must not fill the log: so many lines a window, then silence until it is over.
    fn may_log(&self, now: Instant) -> bool {
        let (start, lines) = self.log_window.get();
        let fresh = now.duration_since(start) >= Duration::from_secs(LINK_LOG_WINDOW_SECS);
        let (start, lines) = if fresh { (now, 0) } else { (start, lines) };
        self.log_window.set((start, lines.saturating_add(1)));
        if lines == LINK_LOG_BURST {
            log::warn!(
                "api server keeps changing state; further changes are not logged for {LINK_LOG_WINDOW_SECS} s"
            );
        }
        lines < LINK_LOG_BURST
    }
}

/// The link that these servers make up, given what it was.
fn overall<'a>(
    servers: impl Iterator<Item = &'a ServerState>,
    was: &LinkState,
    now: Instant,
) -> LinkState {
    let mut lost: Option<(Instant, &Reason)> = None;
    let mut unknown = false;
    for server in servers {
        match server {
            ServerState::Up { .. } | ServerState::Doubted { .. } => {
                let since = if let LinkState::Up { since } = was {
                    *since
                } else {
                    now
                };
                return LinkState::Up { since };
            }
            ServerState::Unknown => unknown = true,
            ServerState::Down { since, reason } if lost.is_none_or(|(last, _)| *since >= last) => {
                lost = Some((*since, reason));
            }
            ServerState::Down { .. } => {}
        }
    }
    match lost {
        Some((since, reason)) if !unknown => LinkState::Down {
            since,
            reason: reason.clone(),
        },
        _ => LinkState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link::new(["https://a:1".to_string(), "https://b:2".to_string()])
    }

    #[test]
    fn down_only_when_every_server_is() {
        let link = link();
        assert_eq!(link.state(), LinkState::Unknown);
        link.feed(0, Input::Failed(Reason::Refused));
        assert_eq!(link.state(), LinkState::Unknown);
        link.feed(1, Input::Answered);
        assert!(matches!(link.state(), LinkState::Up { .. }));
        assert!(!link.usable(0) && link.usable(1));
        link.feed(1, Input::Broken(Reason::Reset("gone".into())));
        assert!(
            matches!(link.state(), LinkState::Up { .. }),
            "doubt is not an outage"
        );
        link.feed(1, Input::Failed(Reason::TimedOut));
        assert!(matches!(
            link.state(),
            LinkState::Down {
                reason: Reason::TimedOut,
                ..
            }
        ));
        link.feed(0, Input::Answered);
        assert!(!link.is_down());
    }

    #[test]
    fn an_index_that_is_none_does_nothing() {
        let link = link();
        link.feed(7, Input::Answered);
        assert_eq!(link.state(), LinkState::Unknown);
        assert!(!link.usable(7));
    }

    #[tokio::test]
    async fn waiters_are_told() {
        let link = link();
        let down = link.became_down();
        let cut = async {
            link.feed(0, Input::Failed(Reason::Refused));
            link.feed(1, Input::Failed(Reason::Refused));
        };
        tokio::join!(down, cut);
        let up = link.became_up();
        tokio::join!(up, async { link.feed(1, Input::Answered) });
    }

    #[test]
    fn a_flapping_link_is_logged_so_often_and_no_more() {
        let link = link();
        let now = Instant::now();
        let told = (0..100).filter(|_| link.may_log(now)).count();
        assert_eq!(told, LINK_LOG_BURST as usize);
        assert!(link.may_log(now + Duration::from_secs(LINK_LOG_WINDOW_SECS)));
    }
}
