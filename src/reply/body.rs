//! The one type of body that the hub sends.

use super::backlog::Backlog;
use super::pace::{self, Asked, Pace};
use super::script::{BrokenOff, Script};
use crate::admin::metrics;
use crate::cache::keep::Keeper;
use crate::upstream::{BodyError, ResponseBody};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A body on its way to a client.
pub struct Body {
    kind: Kind,
    /// What must live as long as the answer, and do what it does at its end, or when the client leaves.
    held: Option<Box<dyn std::any::Any>>,
    /// Of an HTTP/1.1 connection: what it has not written yet.
    backlog: Option<Backlog>,
    /// How long the client may take nothing.
    patience: Option<Duration>,
    pace: Pace,
}

enum Kind {
    Whole(Bytes),
    Passed(Box<Passed>),
    Script(Script),
}

/// The API server's own body, passed on as it comes, and shown to the keeper.
struct Passed {
    body: ResponseBody,
    keeper: Option<Keeper>,
}

impl Body {
    pub fn whole(bytes: impl Into<Bytes>) -> Body {
        Body::of(Kind::Whole(bytes.into()))
    }

    /// `keeper` sees each piece that the client gets.
    pub fn passed(body: ResponseBody, keeper: Option<Keeper>) -> Body {
        Body::of(Kind::Passed(Box::new(Passed { body, keeper })))
    }

    pub fn script(script: Script) -> Body {
        Body::of(Kind::Script(script))
    }

    /// Ends, as its client takes nothing. What the client was given before, it can still take, and a clean end behind that;
    /// but not behind half an event.
    fn give_up(&mut self) -> Option<Broken> {
        metrics::stalled();
        match std::mem::replace(&mut self.kind, Kind::Whole(Bytes::new())) {
            Kind::Script(script) if script.is_whole() => None,
            _ => Some(Broken::Script(BrokenOff("its client takes nothing"))),
        }
    }

    fn of(kind: Kind) -> Body {
        Body {
            kind,
            held: None,
            backlog: None,
            patience: None,
            pace: Pace::default(),
        }
    }

    /// Ends when its client takes nothing for so long.
    pub fn patient_for(mut self, most: Duration) -> Body {
        self.patience = Some(most);
        self
    }

    /// What must live as long as this body, in one piece: a quiet watch carries it too. And what it must wait for.
    pub fn with(mut self, held: Box<dyn std::any::Any>, backlog: Option<Backlog>) -> Body {
        self.held = Some(held);
        self.backlog = backlog;
        self
    }
}

/// Why a body broke off.
#[derive(Debug)]
pub enum Broken {
    Upstream(BodyError),
    Script(BrokenOff),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Upstream(error) => write!(f, "the API server's answer broke off: {error}"),
            Broken::Script(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Broken {}

impl Passed {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            };
            match frame {
                Some(Ok(frame)) => {
                    // Trailers are dropped: the API uses none.
                    let Ok(bytes) = frame.into_data() else {
                        continue;
                    };
                    if let Some(keeper) = &mut self.keeper {
                        keeper.feed(&bytes);
                        // hyper does not ask for the end of a body whose length it knows, and an HTTP/2 server may
                        // send that end apart from the last bytes.
                        if self.body.is_end_stream() || self.body.size_hint().exact() == Some(0) {
                            self.finish();
                        }
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Err(error)) => {
                    self.keeper = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.finish();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn finish(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.finish();
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let me = &mut *self;
        if let Some(backlog) = &me.backlog {
            if backlog.poll_room(cx).is_pending() {
                return match me.patience.map(|most| me.pace.poll_stalled(most, cx)) {
                    Some(Poll::Ready(())) => Poll::Ready(me.give_up().map(Err)),
                    _ => Poll::Pending,
                };
            }
            me.pace.moves();
        }
        let piece = match &mut me.kind {
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            }
            Kind::Passed(passed) => passed
                .poll_piece(cx)
                .map(|p| p.map(|p| p.map_err(Broken::Upstream))),
            Kind::Script(script) => script
                .poll_piece(cx)
                .map(|p| p.map(|p| p.map_err(Broken::Script))),
        };
        match &piece {
            Poll::Ready(Some(Ok(piece))) => {
                if let Some(backlog) = &me.backlog {
                    backlog.gave(piece.len());
                }
                pace::note(Asked::Piece(me.patience));
            }
            _ => pace::note(Asked::Nothing),
        }
        piece.map(|p| p.map(|p| p.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_empty(),
            // A keeper must see the end.
            Kind::Passed(passed) => passed.keeper.is_none() && passed.body.is_end_stream(),
            Kind::Script(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Passed(passed) => passed.body.size_hint(),
            Kind::Script(_) => SizeHint::default(),
        }
    }
}
