//! Bodies on their way: the client's going up in pieces, the server's coming down as it is taken.

use super::error::plain;
use super::http1::GiveBack;
use super::http2::Ticket;
use crate::limits::{REPLAY_BYTES_MAX, REPLAY_BYTES_TOTAL_MAX, UPSTREAM_FRAME_BYTES_MAX};
use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// A request's body as the caller has it.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// None.
    #[default]
    Empty,
    /// As it comes from the client.
    Incoming(Incoming),
    /// Whole, in memory.
    Bytes(Bytes),
}

impl RequestBody {
    /// What hyper's server received; empty if its head says so.
    pub fn incoming(body: Incoming) -> RequestBody {
        if body.is_end_stream() {
            RequestBody::Empty
        } else {
            RequestBody::Incoming(body)
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Incoming(body) => body.is_end_stream(),
            RequestBody::Bytes(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            RequestBody::Incoming(body) => body.size_hint(),
        }
    }

    /// The next piece; trailers are dropped, the API uses none.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        match self {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            RequestBody::Bytes(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            RequestBody::Incoming(body) => loop {
                match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Poll::Ready(Some(Ok(data)));
                        }
                    }
                }
            },
        }
    }
}

/// How many bytes all requests keep for sending again.
pub(crate) type ReplayBytes = Rc<Cell<usize>>;

/// A body going up over HTTP/2, with what is kept so that it can go again.
pub(crate) struct Upload {
    pub(crate) body: RequestBody,
    /// Taken from the body, not yet given to the connection.
    current: Bytes,
    /// All that was taken from the body; `None` once it was too much to keep.
    kept: Option<Vec<u8>>,
    total: ReplayBytes,
}

/// How an upload ended.
pub(crate) enum Uploaded {
    /// All of it is with the connection.
    Whole,
    /// The server wants no more, or the connection is gone: its answer tells.
    Stopped,
    /// The client broke off.
    Client(String),
}

impl Upload {
    pub(crate) fn new(body: RequestBody, total: ReplayBytes) -> Upload {
        Upload {
            body,
            current: Bytes::new(),
            kept: Some(Vec::new()),
            total,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_empty() && self.current.is_empty()
    }

    /// Moves it out. What stays behind can be sent again only if there was nothing to send.
    pub(crate) fn take_out(&mut self) -> Upload {
        let kept = self.is_empty().then(Vec::new);
        let blank = Upload {
            body: RequestBody::Empty,
            current: Bytes::new(),
            kept,
            total: self.total.clone(),
        };
        std::mem::replace(self, blank)
    }

    /// Goes back to the first byte; false if that is no longer possible.
    pub(crate) fn rewind(&mut self) -> bool {
        let Some(kept) = &self.kept else { return false };
        // What was taken goes first again; the body goes on behind it.
        self.current = Bytes::copy_from_slice(kept);
        true
    }

    /// Sends the body in pieces as the server's window allows. Cancel-safe: what was taken and not sent stays in
    /// `self`.
    pub(crate) async fn pump(&mut self, stream: &mut SendStream<Bytes>) -> Uploaded {
        loop {
            if self.current.is_empty() {
                // While no byte flows, the server's RST must still end the upload.
                let piece = poll_fn(|cx| {
                    if let Poll::Ready(_gone) = stream.poll_reset(cx) {
                        return Poll::Ready(Err(()));
                    }
                    self.body.poll_piece(cx).map(Ok)
                });
                match piece.await {
                    Err(()) => return Uploaded::Stopped,
                    Ok(Some(Ok(bytes))) => self.take(bytes),
                    Ok(Some(Err(error))) => return Uploaded::Client(error.to_string()),
                    Ok(None) => {
                        let sent = stream.send_data(Bytes::new(), true);
                        return if sent.is_ok() {
                            Uploaded::Whole
                        } else {
                            Uploaded::Stopped
                        };
                    }
                }
                continue;
            }
            stream.reserve_capacity(self.current.len().min(UPSTREAM_FRAME_BYTES_MAX as usize));
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(room)) => {
                    let piece = self.current.split_to(room.min(self.current.len()));
                    if stream.send_data(piece, false).is_err() {
                        return Uploaded::Stopped;
                    }
                }
                Some(Err(_)) | None => return Uploaded::Stopped,
            }
        }
    }

    fn take(&mut self, bytes: Bytes) {
        if let Some(kept) = &mut self.kept {
            let fits = kept.len() + bytes.len() <= REPLAY_BYTES_MAX
                && self.total.get() + bytes.len() <= REPLAY_BYTES_TOTAL_MAX;
            if fits {
                kept.extend_from_slice(&bytes);
                self.total.set(self.total.get() + bytes.len());
            } else {
                self.forget();
            }
        }
        self.current = bytes;
    }

    /// Keeps nothing any longer: the answer is there, or the body is too big.
    pub(crate) fn forget(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.total.set(self.total.get().saturating_sub(kept.len()));
        }
    }
}

/// Over HTTP/1.1 the connection pulls. Nothing is kept there: hyper gives back a request that it has not begun to send.
impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.current.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.current)))));
        }
        self.forget();
        self.body
            .poll_piece(cx)
            .map(|piece| piece.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.current.len() as u64;
        let rest = self.body.size_hint();
        match rest.exact() {
            Some(length) => SizeHint::with_exact(first + length),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.forget();
    }
}

/// A response's body, as it comes from the server. Dropping it early tells the server to stop.
pub enum ResponseBody {
    /// Over HTTP/2: the server's window opens as pieces are taken.
    H2(H2Body),
    /// Over HTTP/1.1: the connection goes back to its pool when this is dropped after its last byte.
    H1(H1Body),
}

/// A response's body over HTTP/2.
pub struct H2Body {
    pub(crate) stream: RecvStream,
    /// Bytes that Content-Length still promises.
    pub(crate) left: Option<u64>,
    pub(crate) ended: bool,
    /// The place on the connection, given up at the end of the body.
    pub(crate) ticket: Option<Ticket>,
    /// The rest of the upload, when the answer came before its end.
    pub(crate) upload: Option<AbortOnDrop>,
}

/// A response's body over HTTP/1.1.
pub struct H1Body {
    pub(crate) body: Incoming,
    pub(crate) back: Option<GiveBack>,
}

/// Why a response's body ended before its end. Its text is for the log.
#[derive(Debug)]
pub enum BodyError {
    /// The connection or the stream broke.
    Broken(String),
    /// It ended in good order, but before the bytes that its Content-Length promised.
    Short {
        /// Bytes that are missing.
        missing: u64,
    },
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Broken(text) => write!(f, "response body broke off: {text}"),
            BodyError::Short { missing } => write!(f, "response body is {missing} bytes short"),
        }
    }
}

impl std::error::Error for BodyError {}

impl ResponseBody {
    /// Of a connection of its own, which no pool waits for.
    pub fn alone(body: Incoming) -> ResponseBody {
        ResponseBody::H1(H1Body { body, back: None })
    }

    /// The next piece, `None` at the true end only.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// All of it, for the hub's own requests. The error is for the log.
    pub async fn whole(mut self, bytes_max: usize) -> Result<Vec<u8>, String> {
        let mut whole = Vec::new();
        while let Some(piece) = self.chunk().await {
            let piece = piece.map_err(|error| error.to_string())?;
            if whole.len() + piece.len() > bytes_max {
                return Err(format!("the answer is longer than {bytes_max} bytes"));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self {
            ResponseBody::H2(body) => body.poll_chunk(cx),
            ResponseBody::H1(body) => body.poll_chunk(cx),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll_chunk(cx)
            .map(|piece| piece.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            // HTTP/1.1 clients are not asked for more than Content-Length says, and often the mark of the end
            // comes after it.
            ResponseBody::H2(body) => {
                body.ended || body.left == Some(0) || body.stream.is_end_stream()
            }
            ResponseBody::H1(body) => body.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::H2(body) if body.ended => SizeHint::with_exact(0),
            ResponseBody::H2(body) => body
                .left
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            ResponseBody::H1(body) => body.body.size_hint(),
        }
    }
}

impl H2Body {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = loop {
            match ready!(self.stream.poll_data(cx)) {
                // What only marks the end. Passed on, it would be an empty frame that ends nothing, and h2's own client
                // closes a connection after a hundred of those.
                Some(Ok(data)) if data.is_empty() => {}
                piece => break piece,
            }
        };
        match piece {
            Some(Ok(data)) => {
                // Cannot fail: these bytes were received and not released before.
                let _ = self
                    .stream
                    .flow_control()
                    .release_capacity(data.remaining());
                Poll::Ready(Some(self.count(data)))
            }
            // RFC 9113 section 8.1: NO_ERROR after a whole response asks us to stop uploading.
            Some(Err(error))
                if error.is_remote()
                    && error.is_reset()
                    && error.reason() == Some(Reason::NO_ERROR) =>
            {
                self.end(None)
            }
            Some(Err(error)) => self.end(Some(BodyError::Broken(plain(error.to_string())))),
            None => self.end(None),
        }
    }

    fn count(&mut self, data: Bytes) -> Result<Bytes, BodyError> {
        let length = data.len() as u64;
        match &mut self.left {
            Some(left) if *left < length => {
                self.ended = true;
                Err(BodyError::Broken(
                    "more bytes than its content-length".into(),
                ))
            }
            Some(left) => {
                *left -= length;
                Ok(data)
            }
            None => Ok(data),
        }
    }

    fn end(&mut self, error: Option<BodyError>) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.ended = true;
        self.ticket = None;
        self.upload = None;
        let missing = self.left.take().unwrap_or(0);
        let error = error.or((missing > 0).then_some(BodyError::Short { missing }));
        Poll::Ready(error.map(Err))
    }
}

impl H1Body {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => {
                    self.back = None;
                    return Poll::Ready(Some(Err(BodyError::Broken(told(&error)))));
                }
            }
        }
    }
}

impl Drop for H1Body {
    /// Here and not at the last `None`: hyper drops a body with a length before it would yield one.
    fn drop(&mut self) {
        if let Some(back) = self.back.take()
            && self.body.is_end_stream()
        {
            back.give();
        }
    }
}

/// A task that ends with whoever holds this.
pub(crate) struct AbortOnDrop(pub(crate) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// hyper's error with its cause, which its own text leaves out.
pub(crate) fn told(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => plain(format!("{error}: {cause}")),
        None => error.to_string(),
    }
}
