//! What hyper's HTTP/2 server wants of a runtime: tasks on this thread, and timers.

use crate::admin::metrics;
use crate::reply::pace::{self, Pace};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Runs a stream of an HTTP/2 connection. It ends with its connection: hyper drops what feeds it.
#[derive(Clone, Copy)]
pub struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(Stream {
            // Not within: what is spawned is moved about before.
            future: Box::pin(future),
            pace: Pace::default(),
        });
    }
}

/// A stream of an HTTP/2 connection. It is reset, and no other one of its connection, when its client takes nothing for
/// too long.
struct Stream<F> {
    future: Pin<Box<F>>,
    pace: Pace,
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        pace::asked();
        if self.future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let stalled = self.pace.poll(pace::asked(), cx);
        if stalled.is_ready() {
            metrics::stalled();
        }
        stalled
    }
}

/// tokio's clock for hyper.
#[derive(Clone, Copy)]
pub struct Timer;

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Box::pin(tokio::time::sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }
}

struct Sleep(Pin<Box<tokio::time::Sleep>>);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl hyper::rt::Sleep for Sleep {}
