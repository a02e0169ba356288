//! How much of an HTTP/1.1 answer waits in hyper for a client that does not read. hyper has one bound for this queue and
//! for the head of a request, and heads need a larger one than a router can spare for every stalled client.

use crate::limits;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Shared by the bodies of one connection, which fill hyper's queue, and its stream, which empties it. In the way of
/// threads because hyper lets only such streams be upgraded.
#[derive(Clone, Default)]
pub struct Backlog(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Bytes of bodies given to hyper and not written yet. Heads and chunk sizes are written and never counted, so this
    /// errs low by that little; a flushed stream sets it right.
    bytes: usize,
    waiting: Option<Waker>,
}

impl Backlog {
    /// Ready when a body may give its next piece.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.bytes < limits::H1_BACKLOG_BYTES {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A body gave so many bytes.
    pub fn gave(&self, bytes: usize) {
        self.state().bytes += bytes;
    }

    /// The stream took so many.
    pub fn wrote(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
        state.wake();
    }

    /// The stream has everything.
    pub fn flushed(&self) {
        let mut state = self.state();
        state.bytes = 0;
        state.wake();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self) {
        if self.bytes < limits::H1_BACKLOG_BYTES
            && let Some(waiting) = self.waiting.take()
        {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake;

    struct Flag(std::sync::atomic::AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn a_full_backlog_waits_until_it_is_written() {
        let flag = Arc::new(Flag(false.into()));
        let waker = Waker::from(Arc::clone(&flag));
        let mut cx = Context::from_waker(&waker);
        let woken = || flag.0.swap(false, std::sync::atomic::Ordering::Relaxed);
        let backlog = Backlog::default();
        backlog.gave(limits::H1_BACKLOG_BYTES - 1);
        assert!(backlog.poll_room(&mut cx).is_ready());
        backlog.gave(1);
        assert!(backlog.poll_room(&mut cx).is_pending());
        backlog.gave(10);
        backlog.wrote(10);
        assert!(!woken());
        backlog.wrote(1);
        assert!(woken() && backlog.poll_room(&mut cx).is_ready());
        backlog.gave(limits::H1_BACKLOG_BYTES);
        assert!(backlog.poll_room(&mut cx).is_pending());
        backlog.flushed();
        assert!(woken() && backlog.poll_room(&mut cx).is_ready());
    }
}
