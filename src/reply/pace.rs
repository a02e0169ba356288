//! Whether a client takes what an answer gives. hyper waits for one that takes nothing for as long as its connection
//! lives; an answer that goes on for hours has to see that, and end.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// What a body did when it was asked for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It had nothing: the client was given everything.
    Nothing,
    /// It gave a piece, which the client shall take within so long; `None`: whenever it wants.
    Piece(Option<Duration>),
}

thread_local! {
    /// Of the body that was asked last. A stream of HTTP/2 asks within its own task, and only that looks here, right
    /// after; so this is no more than a second result of its step, which hyper would not hand through.
    static ASKED: Cell<Option<Asked>> = const { Cell::new(None) };
}

/// Takes note of what a body did.
pub fn note(asked: Asked) {
    ASKED.set(Some(asked));
}

/// What the body did that was asked since the last call; `None`: none was.
pub fn asked() -> Option<Asked> {
    ASKED.take()
}

/// How long a client takes nothing. Without a timer until it does not: most never have one.
#[derive(Default)]
pub struct Pace(Option<Pin<Box<Sleep>>>);

impl Pace {
    /// The client took something, or there is nothing to take.
    pub fn moves(&mut self) {
        self.0 = None;
    }

    /// Ready when the client has taken nothing for so long, from the first call on.
    pub fn poll_stalled(&mut self, within: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep(within)));
        sleep.as_mut().poll(cx)
    }

    /// After a step in which the body did this: ready when the client has taken nothing of its last piece for too long.
    pub fn poll(&mut self, asked: Option<Asked>, cx: &mut Context<'_>) -> Poll<()> {
        match (asked, &mut self.0) {
            (Some(Asked::Piece(Some(within))), Some(sleep)) => {
                sleep.as_mut().reset(Instant::now() + within);
            }
            (Some(Asked::Piece(Some(within))), none) => *none = Some(Box::pin(sleep(within))),
            (Some(_), _) => self.moves(),
            // The step had another reason, and the piece still lies there.
            (None, _) => {}
        }
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const WITHIN: Duration = Duration::from_secs(60);

    /// Whether it has stalled after each of these steps, `WITHIN` / 2 apart.
    async fn check(steps: &[Option<Asked>], want: &[bool]) {
        let (mut pace, mut got) = (Pace::default(), Vec::new());
        for step in steps {
            let stalled = poll_fn(|cx| Poll::Ready(pace.poll(*step, cx).is_ready())).await;
            got.push(stalled);
            sleep(WITHIN / 2).await;
        }
        assert_eq!(got, want, "{steps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_has_stalled_and_who_takes_something_has_not() {
        let (gave, nothing) = (Some(Asked::Piece(Some(WITHIN))), Some(Asked::Nothing));
        let whenever = Some(Asked::Piece(None));
        check(&[gave, None, None], &[false, false, true]).await;
        check(&[gave, gave, None, gave], &[false; 4]).await;
        check(&[gave, nothing, None, None], &[false; 4]).await;
        check(&[nothing, None, gave, None], &[false; 4]).await;
        check(&[whenever, None, None, None], &[false; 4]).await;
        let mut pace = Pace::default();
        let mut step = async |moves: bool| {
            if moves {
                pace.moves();
            }
            let stalled = poll_fn(|cx| Poll::Ready(pace.poll_stalled(WITHIN, cx).is_ready()));
            let stalled = stalled.await;
            sleep(WITHIN / 2).await;
            stalled
        };
        assert!(!step(false).await && !step(false).await);
        assert!(!step(true).await && !step(false).await && step(false).await);
    }
}
