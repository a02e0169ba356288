//! A watch on its way from the API server to its client: only whole frames, so that one torn by a cut never reaches the
//! client, and after each it is known what the client was told.

use super::event;
use super::frame::{Framer, Step};
use super::held::Remembered;
use super::told::{Told, Verdict};
use crate::cache::watched::Follower;
use crate::limits;
use crate::object::Encoding;
use crate::reply::script::Pen;
use crate::upstream::ResponseBody;
use bytes::Bytes;
use std::pin::Pin;
use std::time::Duration;

/// One watch, over all the streams that it has from the API server.
pub struct Relay {
    pub pen: Pen,
    pub encoding: Encoding,
    pub told: Told,
    /// What the client holds, where that is kept, until it is told something else.
    pub held: Option<Remembered>,
    framer: Framer,
    follower: Option<Follower>,
    /// Part of a frame has gone out that was too long to be held back.
    torn: bool,
    /// The client got anything.
    pub wrote: bool,
}

/// Why there is no more of one stream.
#[derive(Debug)]
pub enum Ended {
    /// The hub is told to end.
    Stopped,
    /// The API server has ended it in good order.
    Finished,
    /// The link broke, or what stands in it.
    Broke,
    /// The API server no longer has what came after the client's version; this is how it says so.
    Expired(Bytes),
    /// The client got the API server's error.
    Failed,
    /// What came is older than what the client was told.
    Backwards,
}

impl Relay {
    pub fn new(pen: Pen, encoding: Encoding, told: Told) -> Relay {
        Relay {
            pen,
            encoding,
            told,
            held: None,
            framer: Framer::new(encoding, limits::FRAME_BYTES_MAX),
            follower: None,
            torn: false,
            wrote: false,
        }
    }

    /// Passes on one stream to its end, or until `stop` resolves.
    pub async fn run(
        &mut self,
        mut body: ResponseBody,
        follower: Option<Follower>,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Ended {
        self.framer = Framer::new(self.encoding, limits::FRAME_BYTES_MAX);
        self.follower = follower;
        loop {
            // A stop must not wait behind a stream that never rests.
            let chunk = tokio::select! {
                biased;
                () = &mut stop => return Ended::Stopped,
                chunk = body.chunk() => chunk,
            };
            match chunk {
                Some(Ok(chunk)) => {
                    if let Some(ended) = self.pass(chunk).await {
                        return ended;
                    }
                }
                Some(Err(error)) => {
                    log::debug!("watch broke off: {error}");
                    return Ended::Broke;
                }
                None => return Ended::Finished,
            }
        }
    }

    /// Passes what is whole. Frames that lie together in what came go out together.
    async fn pass(&mut self, chunk: Bytes) -> Option<Ended> {
        // Of a chunk that begins with a frame, what is to go out is a piece.
        let together = (self.framer.pending() == 0).then(|| chunk.clone());
        let mut begins = 0;
        self.framer.push(chunk);
        loop {
            let (frame, look) = match self.framer.next() {
                Step::NeedMore => break,
                Step::Frame(frame) => {
                    let look = self.look_at(&frame);
                    (frame, look)
                }
                Step::TooLong(bytes) => {
                    self.torn = true;
                    self.blind();
                    (bytes, Look::Pass)
                }
            };
            let Some(all) = &together else {
                match look {
                    Look::Pass => self.write(frame).await,
                    Look::Withhold => {}
                    Look::Ended { passes, ended } => {
                        if passes {
                            self.write(frame).await;
                        }
                        return Some(ended);
                    }
                }
                continue;
            };
            let behind = all.len() - self.framer.pending();
            let before = behind - frame.len();
            match look {
                Look::Pass => {}
                Look::Withhold => {
                    self.write(all.slice(begins..before)).await;
                    begins = behind;
                }
                Look::Ended { passes, ended } => {
                    let until = if passes { behind } else { before };
                    self.write(all.slice(begins..until)).await;
                    return Some(ended);
                }
            }
        }
        if let Some(all) = &together {
            let whole = all.len() - self.framer.pending();
            self.write(all.slice(begins..whole)).await;
        }
        None
    }

    /// Writes to the client what is not an event of a stream.
    pub async fn write(&mut self, bytes: Bytes) {
        self.wrote |= !bytes.is_empty();
        self.pen.write(bytes).await;
    }

    /// Takes note of one event of the stream, and says what becomes of it.
    fn look_at(&mut self, frame: &Bytes) -> Look {
        if self.torn {
            return Look::Pass;
        }
        let event = match event::parse(self.encoding, frame) {
            Ok(event) => event,
            Err(malformed) => {
                log::debug!("watch: an event that cannot be read: {malformed}");
                self.blind();
                return Look::Pass;
            }
        };
        let verdict = self.told.event(&event);
        if verdict != Verdict::Expired && verdict != Verdict::Withhold {
            self.held = None;
        }
        if let (Some(follower), Verdict::Pass | Verdict::Withhold) = (&mut self.follower, verdict) {
            follower.event(&event);
        }
        match verdict {
            Verdict::Pass => Look::Pass,
            Verdict::Withhold => Look::Withhold,
            Verdict::Last => Look::ended(true, Ended::Failed),
            Verdict::Backwards => Look::ended(false, Ended::Backwards),
            Verdict::Expired => Look::ended(false, Ended::Expired(frame.clone())),
        }
    }

    /// Something passes that cannot be read.
    fn blind(&mut self) {
        self.told.unread();
        if let Some(mut follower) = self.follower.take() {
            follower.broken();
        }
    }

    /// The follower of the stream that has ended.
    pub fn take_follower(&mut self) -> Option<Follower> {
        self.follower.take()
    }

    /// True if the client has part of an event.
    pub fn is_torn(&self) -> bool {
        self.torn
    }
}

/// What becomes of a frame.
enum Look {
    Pass,
    Withhold,
    Ended { passes: bool, ended: Ended },
}

impl Look {
    fn ended(passes: bool, ended: Ended) -> Look {
        Look::Ended { passes, ended }
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
