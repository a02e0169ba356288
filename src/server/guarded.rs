//! The socket behind [`Guard`]: what hyper reads has been looked at before. Holds the deadlines of an HTTP/1.1 client
//! that is too slow.

use super::guard::Guard;
use crate::limits;
use crate::reply::backlog::Backlog;
use crate::reply::refusal::Refusal;
use crate::sys::wire::Wire;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Where the service finds why the request at [`super::guard::REFUSED_PATH`] was refused. Shared in the way of threads
/// because hyper lets only such streams be upgraded.
#[derive(Clone, Default)]
pub struct RefusalCell(Arc<Mutex<Option<Refusal>>>);

impl RefusalCell {
    pub fn get(&self) -> Option<Refusal> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, refusal: Option<Refusal>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }
}

/// A guarded stream.
pub struct Guarded {
    io: Wire,
    guard: Guard,
    refusal: RefusalCell,
    backlog: Backlog,
    /// What the guard let through and hyper has not read yet.
    ready: Vec<u8>,
    taken: usize,
    /// Runs while a head or a body is incomplete.
    deadline: Pin<Box<Sleep>>,
    running: bool,
    head_timeout: Duration,
    /// Bytes thrown away after a refusal.
    discarded: usize,
}

impl Guarded {
    pub fn new(io: Wire, head_timeout: Duration, refusal: RefusalCell, backlog: Backlog) -> Self {
        Guarded {
            io,
            guard: Guard::default(),
            refusal,
            backlog,
            ready: Vec::new(),
            taken: 0,
            // The first head is waited for no longer than any: who says nothing is let go.
            deadline: Box::pin(sleep_until(Instant::now() + head_timeout)),
            running: true,
            head_timeout,
            discarded: 0,
        }
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let n = buf.remaining().min(self.ready.len() - self.taken);
        buf.put_slice(&self.ready[self.taken..self.taken + n]);
        self.taken += n;
        if self.taken == self.ready.len() {
            self.ready = Vec::new();
            self.taken = 0;
        }
    }

    fn run_deadline(&mut self, from_now: Duration) {
        self.deadline.as_mut().reset(Instant::now() + from_now);
        self.running = true;
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.ready.is_empty() {
                self.give(buf);
                return Poll::Ready(Ok(()));
            }
            let mut piece = [MaybeUninit::uninit(); limits::READ_BYTES];
            let mut read = ReadBuf::uninit(&mut piece);
            let result = Pin::new(&mut self.io).poll_read(cx, &mut read);
            if let Poll::Ready(result) = result {
                result?;
                let bytes = read.filled();
                if bytes.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                if self.guard.refusal().is_some() {
                    // The rest of a refused request is read and dropped, so that the answer is not lost in a reset.
                    self.discarded += bytes.len();
                    match self.discarded > limits::DISCARD_BYTES_MAX {
                        true => return Poll::Pending,
                        false => continue,
                    }
                }
                let was_in_head = self.guard.in_head();
                let mut out = std::mem::take(&mut self.ready);
                self.guard.take(bytes, &mut out);
                self.ready = out;
                self.refusal.set(self.guard.refusal());
                if self.guard.in_body() {
                    // A body that moves may take as long as it wants.
                    self.run_deadline(limits::BODY_SILENCE_MAX);
                } else if self.guard.in_head() && !was_in_head {
                    let head_timeout = self.head_timeout;
                    self.run_deadline(head_timeout);
                } else if !self.guard.in_head() {
                    self.running = false;
                }
                continue;
            }
            if !self.running {
                return Poll::Pending;
            }
            ready!(self.deadline.as_mut().poll(cx));
            self.running = false;
            if self.guard.in_body() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if !self.guard.in_head() {
                return Poll::Ready(Ok(()));
            }
            let mut out = std::mem::take(&mut self.ready);
            self.guard.head_timed_out(&mut out);
            self.ready = out;
            self.refusal.set(self.guard.refusal());
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.backlog.wrote(wrote);
        Poll::Ready(Ok(wrote))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        self.backlog.wrote(wrote);
        Poll::Ready(Ok(wrote))
    }

    // hyper copies bodies together where it is not.
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.backlog.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
