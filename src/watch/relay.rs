//! A watch passed on from the API server: only whole frames, so that one torn by a cut never reaches the client.

use super::event::{self, EventType};
use super::frame::{Framer, Step};
use crate::cache::watched::Follower;
use crate::limits;
use crate::object::Encoding;
use crate::reply::script::{BrokenOff, Pen};
use crate::upstream::ResponseBody;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// One watch on its way.
pub struct Relay {
    pen: Pen,
    encoding: Encoding,
    framer: Framer,
    follower: Option<Follower>,
    /// A watch list whose initial events have not ended: to end it silently now would make the client ask again at
    /// once, for ever (kubernetes-api.md 3.4).
    in_initial_events: bool,
    /// Part of a frame has gone out that was too long to be held back.
    torn: bool,
    wrote: bool,
}

impl Relay {
    pub fn new(
        pen: Pen,
        encoding: Encoding,
        follower: Option<Follower>,
        watch_list: bool,
    ) -> Relay {
        Relay {
            pen,
            encoding,
            framer: Framer::new(encoding, limits::FRAME_BYTES_MAX),
            follower,
            in_initial_events: watch_list,
            torn: false,
            wrote: false,
        }
    }

    /// Passes on until the API server ends it, the link breaks, or `stop` resolves.
    pub async fn run(
        mut self,
        mut body: ResponseBody,
        stop: impl Future<Output = ()>,
    ) -> Result<(), BrokenOff> {
        let started = Instant::now();
        let mut stop = std::pin::pin!(stop);
        loop {
            // A stop must not wait behind a stream that never rests.
            let chunk = tokio::select! {
                biased;
                () = &mut stop => None,
                chunk = body.chunk() => Some(chunk),
            };
            match chunk {
                Some(Some(Ok(chunk))) => self.pass(chunk).await,
                Some(Some(Err(error))) => {
                    log::debug!("watch broke off: {error}");
                    // What ended within a second without an event makes client-go list again.
                    if !self.wrote && !self.in_initial_events {
                        sleep_until(started + limits::HELD_MIN).await;
                    }
                    return self.end(true).await;
                }
                Some(None) => return self.end(true).await,
                None => return self.end(false).await,
            }
        }
    }

    async fn pass(&mut self, chunk: Bytes) {
        let began_whole = self.framer.pending() == 0;
        let all = chunk.clone();
        self.framer.push(chunk);
        loop {
            match self.framer.next() {
                Step::Frame(frame) => {
                    self.look_at(&frame);
                    if !began_whole {
                        self.write(frame).await;
                    }
                }
                Step::NeedMore => break,
                Step::TooLong(bytes) => {
                    self.torn = true;
                    if let Some(mut follower) = self.follower.take() {
                        follower.broken();
                    }
                    if !began_whole {
                        self.write(bytes).await;
                    }
                }
            }
        }
        if began_whole {
            // All frames of a piece go out in one.
            let passed = all.len() - self.framer.pending().min(all.len());
            self.write(all.slice(..passed)).await;
        }
    }

    async fn write(&mut self, bytes: Bytes) {
        self.wrote |= !bytes.is_empty();
        self.pen.write(bytes).await;
    }

    fn look_at(&mut self, frame: &Bytes) {
        if self.follower.is_none() && !self.in_initial_events {
            return;
        }
        match event::parse(self.encoding, frame) {
            Ok(event) => {
                let fails = event.event_type == EventType::Error;
                self.in_initial_events &= !(event.initial_events_end || fails);
                if let Some(follower) = &mut self.follower {
                    follower.event(&event);
                }
            }
            Err(malformed) => {
                log::debug!("watch: an event that cannot be read: {malformed}");
                if let Some(mut follower) = self.follower.take() {
                    follower.broken();
                }
            }
        }
    }

    async fn end(mut self, by_upstream: bool) -> Result<(), BrokenOff> {
        if self.torn {
            return Err(BrokenOff("a watch event was torn"));
        }
        if self.in_initial_events && by_upstream {
            let mut out = Vec::new();
            let message = "edge-hub: the watch broke off before its initial events were complete";
            event::write_error(self.encoding, 503, "ServiceUnavailable", message, &mut out);
            self.write(Bytes::from(out)).await;
        }
        Ok(())
    }
}

/// How long a watch may stay open, as the API server decides it: `timeoutSeconds`, or half an hour to an hour.
pub fn lifetime(timeout_secs: Option<u64>, random: u64) -> Duration {
    match timeout_secs.filter(|t| *t > 0) {
        Some(secs) => Duration::from_secs(secs.min(limits::WATCH_SECS_MAX)),
        None => {
            Duration::from_secs(limits::WATCH_SECS_DEFAULT + random % limits::WATCH_SECS_DEFAULT)
        }
    }
}
