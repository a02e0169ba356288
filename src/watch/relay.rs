//! A watch on its way from the API server to its client: only whole frames, so that one torn by a cut never reaches the
//! client, and after each it is known what the client was told.

use super::event::{self, Event};
use super::frame::{Framer, Step};
use super::held::Remembered;
use super::stage::{Stage, Staged};
use super::told::{Told, Verdict};
use crate::cache::watched::Follower;
use crate::filter::Cannot;
use crate::filter::rules::InForce;
use crate::limits;
use crate::object::{Encoding, Malformed};
use crate::reply::script::Pen;
use crate::upstream::ResponseBody;
use bytes::Bytes;
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;

/// One watch, over all the streams that it has from the API server.
pub struct Relay {
    pub pen: Pen,
    pub encoding: Encoding,
    pub told: Told,
    /// What the client holds, where that is kept, until it is told something else.
    pub held: Option<Box<Remembered>>,
    /// What the client sees it through; `None`: no filter will ever be about what is watched.
    pub lens: Option<Box<Lens>>,
    framer: Framer,
    follower: Option<Box<Follower>>,
    /// The client got anything.
    pub wrote: bool,
}

/// The filters of one watch.
pub struct Lens {
    pub stage: Stage,
    /// Says when others may be in force, or go by something else.
    pub news: watch::Receiver<InForce>,
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
    /// What came cannot be told: the filters have no verdict.
    NotFiltered(Cannot),
    /// It goes on; but the filters have changed, and the client is to be told what is different.
    News,
}

impl Relay {
    pub fn new(pen: Pen, encoding: Encoding, told: Told, lens: Option<Box<Lens>>) -> Relay {
        Relay {
            pen,
            encoding,
            told,
            held: None,
            lens,
            framer: Framer::new(encoding, limits::FRAME_BYTES_MAX),
            follower: None,
            wrote: false,
        }
    }

    /// Another stream begins.
    pub fn begin(&mut self, follower: Option<Box<Follower>>) {
        self.framer = Framer::new(self.encoding, limits::FRAME_BYTES_MAX);
        self.follower = follower;
    }

    /// Passes on one stream to its end, or until `stop` resolves, or there is news; then it may go on.
    pub async fn run(
        &mut self,
        body: &mut ResponseBody,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Ended {
        loop {
            // Before a version says what the client was told, nobody could say what is different.
            let lens = self.lens.as_mut();
            let lens = lens.filter(|_| self.told.version().is_some());
            let news = async {
                match lens {
                    Some(lens) => drop(lens.news.changed().await),
                    None => pending().await,
                }
            };
            // A stop must not wait behind a stream that never rests.
            let chunk = tokio::select! {
                biased;
                () = &mut stop => return Ended::Stopped,
                () = news => return Ended::News,
                chunk = body.chunk() => chunk,
            };
            match chunk {
                Some(Ok(chunk)) => {
                    let mut came = Came::new(&chunk, self.framer.pending());
                    self.framer.push(chunk);
                    while let Some(piece) = self.next_piece(&mut came) {
                        self.write(piece).await;
                    }
                    if let Then::Ended(ended) = came.then {
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

    /// The next piece that goes out of what has come: only what is whole, and frames that lie together go out together.
    fn next_piece(&mut self, came: &mut Came) -> Option<Bytes> {
        match std::mem::replace(&mut came.then, Then::Look) {
            Then::Look => {}
            Then::Instead(frame) => return Some(frame),
            over => {
                came.then = over;
                return None;
            }
        }
        loop {
            let (frame, look) = match self.framer.next() {
                Step::NeedMore => {
                    came.then = Then::Nothing;
                    return Some(came.cut(Bytes::new(), true, self.framer.pending()));
                }
                Step::Frame(frame) => {
                    let look = self.look_at(&frame);
                    (frame, look)
                }
                Step::TooLong(bytes) if self.is_filtered() => {
                    let why = Cannot::Read(Malformed::TooLarge);
                    (bytes, Look::ended(false, Ended::NotFiltered(why)))
                }
                Step::TooLong(bytes) => {
                    self.pen.tear();
                    self.blind();
                    (bytes, Look::Pass)
                }
            };
            let passes = match look {
                Look::Pass if came.all.is_some() => continue,
                Look::Pass => true,
                Look::Withhold => false,
                Look::Instead(frame) => {
                    came.then = Then::Instead(frame);
                    false
                }
                Look::Ended { passes, ended } => {
                    came.then = Then::Ended(ended);
                    passes
                }
            };
            return Some(came.cut(frame, passes, self.framer.pending()));
        }
    }

    /// Writes to the client what is not an event of a stream.
    pub fn write(&mut self, bytes: Bytes) -> impl Future<Output = ()> + use<'_> {
        self.wrote |= !bytes.is_empty();
        self.pen.write(bytes)
    }

    /// Takes note of one event of the stream, and says what becomes of it.
    fn look_at(&mut self, frame: &Bytes) -> Look {
        if self.is_torn() {
            return Look::Pass;
        }
        let event = match event::parse(self.encoding, frame) {
            Ok(event) => event,
            Err(malformed) if self.is_filtered() => {
                return Look::ended(false, Ended::NotFiltered(malformed.into()));
            }
            Err(malformed) => {
                log::debug!("watch: an event that cannot be read: {malformed}");
                self.blind();
                return Look::Pass;
            }
        };
        let staged = match &mut self.lens {
            Some(lens) => lens.stage.event(&event),
            None => Ok(Staged::AsItCame),
        };
        match staged {
            Ok(Staged::AsItCame) => Look::of(self.note(&event, true), frame),
            Ok(Staged::Instead(instead)) => match event::parse(self.encoding, &instead) {
                Ok(event) => match self.note(&event, true) {
                    Verdict::Pass => Look::Instead(instead.into()),
                    verdict => Look::of(verdict, frame),
                },
                Err(malformed) => Look::ended(false, Ended::NotFiltered(malformed.into())),
            },
            // The client was told all that there is for it to know up to here.
            Ok(Staged::Nothing) => match self.note(&event, false) {
                Verdict::Pass => Look::Withhold,
                verdict => Look::of(verdict, frame),
            },
            Err(why) => Look::ended(false, Ended::NotFiltered(why)),
        }
    }

    /// Takes note of an event that the client gets, or that is not for it.
    fn note(&mut self, event: &Event<'_>, is_told: bool) -> Verdict {
        let verdict = self.told.event(event);
        if is_told && verdict != Verdict::Expired && verdict != Verdict::Withhold {
            self.held = None;
        }
        let follows = matches!(verdict, Verdict::Pass | Verdict::Withhold);
        if let Some(follower) = self.follower.as_mut().filter(|_| is_told && follows) {
            follower.event(event);
        }
        verdict
    }

    fn is_filtered(&self) -> bool {
        let judge = self.lens.as_ref().map(|lens| lens.stage.judge());
        judge.is_some_and(|judge| !judge.set.is_empty())
    }

    /// Something passes that cannot be read.
    fn blind(&mut self) {
        self.told.unread();
        if let Some(mut follower) = self.follower.take() {
            follower.broken();
        }
    }

    /// The follower of the stream that has ended.
    pub fn take_follower(&mut self) -> Option<Box<Follower>> {
        self.follower.take()
    }

    /// True if part of a frame has gone out that was too long to be held back.
    pub fn is_torn(&self) -> bool {
        self.pen.is_torn()
    }
}

/// A chunk that has come, while it is looked through.
struct Came {
    /// Of a chunk that begins with a frame: what goes out is a piece of it.
    all: Option<Bytes>,
    /// Where in it begins what has not gone out yet.
    begins: usize,
    then: Then,
}

/// What comes after the piece that goes out.
enum Then {
    /// The next frame.
    Look,
    /// This one, in the place of what came.
    Instead(Bytes),
    /// Nothing more of this chunk.
    Nothing,
    /// Nothing more of this stream.
    Ended(Ended),
}

impl Came {
    /// `pending`: bytes of a frame of which this is not the beginning.
    fn new(chunk: &Bytes, pending: usize) -> Came {
        Came {
            all: (pending == 0).then(|| chunk.clone()),
            begins: 0,
            then: Then::Look,
        }
    }

    /// What goes out up to this frame, and with it if it passes; `left` bytes are behind it.
    fn cut(&mut self, frame: Bytes, passes: bool, left: usize) -> Bytes {
        let Some(all) = &self.all else {
            return if passes { frame } else { Bytes::new() };
        };
        let behind = all.len() - left;
        let until = if passes { behind } else { behind - frame.len() };
        let piece = all.slice(self.begins..until);
        self.begins = behind;
        piece
    }
}

/// What becomes of a frame.
enum Look {
    Pass,
    /// This goes out in its place.
    Instead(Bytes),
    Withhold,
    Ended {
        passes: bool,
        ended: Ended,
    },
}

impl Look {
    /// Of a frame that goes out as it came, if it does.
    fn of(verdict: Verdict, frame: &Bytes) -> Look {
        match verdict {
            Verdict::Pass => Look::Pass,
            Verdict::Withhold => Look::Withhold,
            Verdict::Last => Look::ended(true, Ended::Failed),
            Verdict::Backwards => Look::ended(false, Ended::Backwards),
            Verdict::Expired => Look::ended(false, Ended::Expired(frame.clone())),
        }
    }

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
