//! One HTTP/2 connection to an API server: its streams, its pings, its end.

use super::body::{AbortOnDrop, H2Body, ResponseBody, Upload, Uploaded};
use super::connect::{Connected, io_failure};
use super::error::{ConnectError, plain};
use super::io::{Heard, Watched};
use crate::health::Reason;
use crate::limits::{
    CONNECTION_WINDOW_BYTES, RESET_STREAMS_MAX, STREAM_WINDOW_BYTES, STREAMS_PER_CONNECTION_MAX,
    UPSTREAM_FRAME_BYTES_MAX, UPSTREAM_HEADER_BYTES_MAX, UPSTREAM_HEADER_TABLE_BYTES,
};
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use http::{Request, Response, header};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::client::TlsStream;

/// A connection in a pool. When the last of these and the last stream are gone, it closes by itself.
pub(crate) struct H2Conn {
    sender: SendRequest<Bytes>,
    pub(crate) vitals: Rc<Vitals>,
}

/// What a connection's driver and its users tell each other.
pub(crate) struct Vitals {
    pub(crate) heard: Arc<Heard>,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    /// Takes no new streams: GOAWAY, reload, refusal, or its end.
    leaving: Cell<bool>,
    /// Wakes who waits for a place on any connection of the pool.
    room: Rc<Notify>,
}

impl Vitals {
    pub(crate) fn leave(&self) {
        self.leaving.set(true);
        self.room.notify_waiters();
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// How long nobody has used it; nothing while somebody does.
    pub(crate) fn idle_for(&self, now: Instant) -> Option<Duration> {
        (self.streams.get() == 0).then(|| now.saturating_duration_since(self.idle_since.get()))
    }
}

/// A place for one stream.
pub(crate) struct Ticket(Rc<Vitals>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.idle_since.set(Instant::now());
        self.0.room.notify_one();
    }
}

/// Why one exchange failed.
pub(crate) enum Failure {
    /// The server says that it did not act on it, or nothing left this machine.
    Unprocessed(String),
    /// The connection broke before the response head.
    Died(String),
    /// The server ended this stream before the response head.
    Reset(String),
    /// The client broke off its body.
    Client(String),
    /// The request cannot be expressed.
    Malformed(String),
}

impl H2Conn {
    /// Takes a place, if there is one.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        if !self.open() {
            self.vitals.leave();
            return None;
        }
        let most = self
            .sender
            .current_max_send_streams()
            .min(STREAMS_PER_CONNECTION_MAX);
        let taken = self.vitals.streams.get();
        (taken < most).then(|| {
            self.vitals.streams.set(taken + 1);
            Ticket(self.vitals.clone())
        })
    }

    /// Whether streams can still be opened. A clone has no stream of its own that it would wait for, so the waker is
    /// never kept.
    pub(crate) fn open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.vitals.is_leaving()
            && matches!(self.sender.clone().poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    /// One request, up to the head of its response.
    pub(crate) async fn exchange(
        &self,
        ticket: Ticket,
        request: Request<()>,
        upload: &mut Upload,
    ) -> Result<Response<ResponseBody>, Failure> {
        let bodiless = upload.is_empty();
        let mut sender = self.sender.clone();
        let (response, mut stream) = sender
            .send_request(request, bodiless)
            .map_err(|e| self.failure(&e))?;
        // Otherwise the handle would keep a connection open that has left the pool.
        drop(sender);
        let mut response = pin!(response);
        let mut uploading = !bodiless;
        let head = loop {
            // Both arms are cancel-safe: the upload keeps its place, the response future is only borrowed.
            tokio::select! {
                biased;
                head = &mut response => break head.map_err(|e| self.failure(&e))?,
                end = upload.pump(&mut stream), if uploading => match end {
                    Uploaded::Whole | Uploaded::Stopped => uploading = false,
                    Uploaded::Client(text) => {
                        stream.send_reset(h2::Reason::CANCEL);
                        return Err(Failure::Client(text));
                    }
                },
            }
        };
        upload.forget();
        let rest = uploading.then(|| {
            let mut upload = upload.take_out();
            AbortOnDrop(tokio::task::spawn_local(async move {
                if let Uploaded::Client(_) = upload.pump(&mut stream).await {
                    stream.send_reset(h2::Reason::CANCEL);
                }
            }))
        });
        Ok(head
            .map(|stream| body(stream, None, ticket, rest))
            .with_length())
    }

    fn failure(&self, error: &h2::Error) -> Failure {
        let text = plain(error.to_string());
        let remote = error.is_remote();
        if error.is_go_away() && remote {
            // h2 gives a server's GOAWAY only to streams above its last id, and to those that were never opened.
            self.vitals.leave();
            Failure::Unprocessed(text)
        } else if error.is_reset() && remote && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
            self.vitals.leave();
            Failure::Unprocessed(text)
        } else if error.is_io() || error.is_go_away() {
            self.vitals.leave();
            Failure::Died(text)
        } else if error.is_reset() {
            Failure::Reset(text)
        } else {
            Failure::Malformed(text)
        }
    }
}

fn body(
    stream: h2::RecvStream,
    left: Option<u64>,
    ticket: Ticket,
    upload: Option<AbortOnDrop>,
) -> ResponseBody {
    let ended = stream.is_end_stream();
    let ticket = (!ended).then_some(ticket);
    let upload = upload.filter(|_| !ended);
    ResponseBody::H2(H2Body {
        stream,
        left,
        ended,
        ticket,
        upload,
    })
}

trait WithLength {
    fn with_length(self) -> Self;
}

impl WithLength for Response<ResponseBody> {
    /// Notes what Content-Length promises, unless the body has ended with the head (HEAD, 204, 304).
    fn with_length(mut self) -> Self {
        let length = self
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse().ok());
        if let ResponseBody::H2(body) = self.body_mut()
            && !body.ended
        {
            body.left = length;
        }
        self
    }
}

/// The rest of a connection: what [`drive`] needs.
pub(crate) struct Driver {
    connection: Connection<TlsStream<Watched>, Bytes>,
    pings: PingPong,
    vitals: Rc<Vitals>,
}

/// When a connection is asked whether it lives.
#[derive(Clone, Copy)]
pub(crate) struct Pulse {
    /// Silence before a PING.
    pub(crate) after: Duration,
    /// Silence after it before the connection is dead.
    pub(crate) wait: Duration,
}

/// Speaks the preface and waits for the answer to a first PING: with it the server's settings are here, the limit of
/// streams among them, and the server is known to be alive behind its TLS.
pub(crate) async fn open(
    connected: Connected,
    room: Rc<Notify>,
    own_certificate: bool,
) -> Result<(H2Conn, Driver), ConnectError> {
    let heard = connected.heard;
    let refused = |e: h2::Error| match e.into_io() {
        Some(e) => io_failure(&e, own_certificate),
        None => ConnectError::Link(Reason::Reset("no HTTP/2 after TLS".into())),
    };
    let (sender, mut connection) = builder().handshake(connected.io).await.map_err(refused)?;
    let gone = || ConnectError::Link(Reason::Reset("closed after TLS".into()));
    let mut pings = connection.ping_pong().ok_or_else(gone)?;
    tokio::select! {
        biased;
        end = &mut connection => return Err(end.err().map_or_else(gone, refused)),
        pong = pings.ping(Ping::opaque()) => { pong.map_err(refused)?; }
    }
    let vitals = Rc::new(Vitals {
        heard,
        streams: Cell::new(0),
        idle_since: Cell::new(Instant::now()),
        leaving: Cell::new(false),
        room,
    });
    Ok((
        H2Conn {
            sender,
            vitals: vitals.clone(),
        },
        Driver {
            connection,
            pings,
            vitals,
        },
    ))
}

fn builder() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(UPSTREAM_FRAME_BYTES_MAX)
        .max_header_list_size(UPSTREAM_HEADER_BYTES_MAX)
        .header_table_size(UPSTREAM_HEADER_TABLE_BYTES)
        .max_send_buffer_size(UPSTREAM_FRAME_BYTES_MAX as usize)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        // Frames for streams that we gave up are our doing, no attack: they must not end the connection.
        .max_local_error_reset_streams(None);
    builder
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As agreed: GOAWAY, or we left it.
    Agreed,
    /// Without a goodbye.
    Broken(String),
    /// It did not answer a PING.
    Silent,
}

/// Moves a connection's bytes until it ends. `keeper` tells whether it is the one to be pinged even when idle.
pub(crate) async fn drive(
    driver: Driver,
    pulse: Pulse,
    keeper: impl Fn(&Rc<Vitals>) -> bool,
) -> Ended {
    let Driver {
        mut connection,
        mut pings,
        vitals,
    } = driver;
    let mut asked: Option<Instant> = None;
    let mut timer = pin!(sleep_until(Instant::now() + pulse.after));
    let ended = poll_fn(|cx| {
        if let Poll::Ready(end) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(match end {
                // GOAWAY, or an orderly end of TLS. What was under way is told by itself; the next request reconnects.
                Ok(()) => Ended::Agreed,
                Err(_) if vitals.is_leaving() && vitals.streams() == 0 => Ended::Agreed,
                Err(error) => Ended::Broken(plain(error.to_string())),
            });
        }
        if asked.is_some() && pings.poll_pong(cx).is_ready() {
            asked = None;
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let wanted = vitals.streams() > 0 || vitals.is_leaving() || keeper(&vitals);
            match look(now, vitals.heard.at(), asked, wanted, pulse) {
                Look::Dead => return Poll::Ready(Ended::Silent),
                Look::Ask => {
                    // Fails only if the connection is ending, which its next poll tells.
                    if pings.send_ping(Ping::opaque()).is_ok() {
                        asked = Some(now);
                        let _ = pings.poll_pong(cx);
                        cx.waker().wake_by_ref();
                    }
                    timer.as_mut().reset(now + pulse.wait);
                }
                Look::At(then) => timer.as_mut().reset(then),
            }
        }
        Poll::Pending
    })
    .await;
    vitals.leave();
    ended
}

/// What to do about a connection's silence.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// Send a PING.
    Ask,
    /// Nothing for now; look again then.
    At(Instant),
    /// It is dead.
    Dead,
}

/// Any byte counts as life, not only the PONG: on a throttled link that one may queue behind much else.
fn look(now: Instant, heard: Instant, asked: Option<Instant>, wanted: bool, pulse: Pulse) -> Look {
    if let Some(asked) = asked {
        let dead = asked.max(heard) + pulse.wait;
        return if now >= dead {
            Look::Dead
        } else {
            Look::At(dead)
        };
    }
    let silent = heard + pulse.after;
    match () {
        () if now < silent => Look::At(silent),
        () if wanted => Look::Ask,
        () => Look::At(now + pulse.after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks() {
        let t0 = Instant::now();
        let at = |secs| t0 + Duration::from_secs(secs);
        let pulse = Pulse {
            after: Duration::from_secs(2),
            wait: Duration::from_secs(3),
        };
        for (now, heard, asked, wanted, then) in [
            (1, 0, None, true, Look::At(at(2))),
            (2, 0, None, true, Look::Ask),
            (2, 0, None, false, Look::At(at(4))),
            (9, 0, None, true, Look::Ask),
            (4, 0, Some(2), true, Look::At(at(5))),
            (5, 0, Some(2), true, Look::Dead),
            (5, 4, Some(2), true, Look::At(at(7))),
            (7, 4, Some(2), false, Look::Dead),
        ] {
            let got = look(at(now), at(heard), asked.map(at), wanted, pulse);
            assert_eq!(
                got, then,
                "now {now} heard {heard} asked {asked:?} wanted {wanted}"
            );
        }
    }
}
