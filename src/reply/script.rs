//! A body that a future writes, piece by piece: held watches, kept lists. The future runs inside the body, so nothing is
//! spawned, the client's pace is the writer's, and dropping the body ends it.

use crate::limits;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The body broke off: the client must see that it is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenOff(pub &'static str);

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BrokenOff {}

type Writing = Pin<Box<dyn Future<Output = Result<(), BrokenOff>>>>;

/// The body's side.
pub struct Script {
    writing: Option<Writing>,
    /// How it ended, until that is told.
    broken: Option<BrokenOff>,
    slot: Rc<Slot>,
}

/// The writer's side.
pub struct Pen {
    slot: Rc<Slot>,
}

/// What is between the two.
#[derive(Default)]
struct Slot {
    piece: RefCell<Option<Bytes>>,
    /// What was written last ends within something that belongs together.
    torn: Cell<bool>,
}

impl Script {
    /// A body that `write` fills. What it returns ends the body.
    pub fn new<F>(write: impl FnOnce(Pen) -> F) -> Script
    where
        F: Future<Output = Result<(), BrokenOff>> + 'static,
    {
        let slot = Rc::<Slot>::default();
        let pen = Pen {
            slot: Rc::clone(&slot),
        };
        Script {
            writing: Some(Box::pin(write(pen))),
            broken: None,
            slot,
        }
    }

    /// The next piece.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        // What is in the slot goes first; only then may the writer go on.
        if let Some(piece) = self.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        if let Some(writing) = &mut self.writing
            && let Poll::Ready(result) = writing.as_mut().poll(cx)
        {
            self.writing = None;
            self.broken = result.err();
        }
        // The last piece may have been written just before the end.
        if let Some(piece) = self.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        match (self.broken.take(), &self.writing) {
            (Some(broken), _) => Poll::Ready(Some(Err(broken))),
            (None, None) => Poll::Ready(None),
            (None, Some(_)) => Poll::Pending,
        }
    }

    /// What is written, in pieces that a slow client takes one after the other: so it is seen to take anything.
    fn take(&self) -> Option<Bytes> {
        let mut slot = self.slot.piece.borrow_mut();
        match slot.as_mut() {
            Some(piece) if piece.len() > limits::TAKEN_BYTES_MAX => {
                Some(piece.split_to(limits::TAKEN_BYTES_MAX))
            }
            _ => slot.take(),
        }
    }

    /// True if the client has nothing by half.
    pub fn is_whole(&self) -> bool {
        // Nothing is written that is not taken at once, but the rest of a long piece.
        self.slot.piece.borrow().is_none() && !self.slot.torn.get()
    }
}

impl Pen {
    /// What is written from now on is part of something that may not come to its end.
    pub fn tear(&self) {
        self.slot.torn.set(true);
    }

    /// True if that is so.
    pub fn is_torn(&self) -> bool {
        self.slot.torn.get()
    }

    /// Writes one piece; waits until the one before is taken. Nobody else polls the writer than the body itself, and it
    /// does so right after it has taken a piece: so no waker is needed.
    ///
    /// No `async fn`: that would hold the piece twice, in every quiet watch.
    pub fn write(&self, piece: Bytes) -> impl Future<Output = ()> + use<'_> {
        let mut piece = Some(piece).filter(|piece| !piece.is_empty());
        poll_fn(move |_| {
            let mut slot = self.slot.piece.borrow_mut();
            match (slot.is_some(), piece.take()) {
                (_, None) => Poll::Ready(()),
                (true, waits) => {
                    piece = waits;
                    Poll::Pending
                }
                (false, written) => {
                    *slot = written;
                    Poll::Ready(())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut script: Script) -> Vec<Result<Bytes, BrokenOff>> {
        let mut got = Vec::new();
        while let Some(piece) = poll_fn(|cx| script.poll_piece(cx)).await {
            let ends = piece.is_err();
            got.push(piece);
            if ends {
                break;
            }
        }
        got
    }

    #[tokio::test(flavor = "current_thread")]
    async fn pieces_come_in_order_and_the_end_shows() {
        let script = Script::new(|pen| async move {
            pen.write(Bytes::from_static(b"a")).await;
            pen.write(Bytes::new()).await;
            pen.write(Bytes::from_static(b"b")).await;
            tokio::task::yield_now().await;
            pen.write(Bytes::from_static(b"c")).await;
            Ok(())
        });
        let got: Vec<Bytes> = read(script).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(got, ["a", "b", "c"]);
        let long = Bytes::from(vec![7; 2 * limits::TAKEN_BYTES_MAX + 1]);
        let whole = long.clone();
        let pieces = read(Script::new(|pen| async move {
            pen.write(long).await;
            Ok(())
        }));
        let pieces: Vec<Bytes> = pieces.await.into_iter().map(Result::unwrap).collect();
        assert_eq!((pieces.len(), pieces.concat()), (3, whole.to_vec()));
        let broken = read(Script::new(|pen| async move {
            pen.write(Bytes::from_static(b"a")).await;
            Err(BrokenOff("x"))
        }));
        assert_eq!(
            broken.await,
            [Ok(Bytes::from_static(b"a")), Err(BrokenOff("x"))]
        );
    }
}
