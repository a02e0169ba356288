//! A socket that remembers when it last heard something.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// When a socket last gave a byte. Atomic only because hyper's upgrades want `Send`.
#[derive(Debug)]
pub struct Heard {
    base: Instant,
    after_millis: AtomicU64,
}

impl Heard {
    fn now() -> Arc<Heard> {
        Arc::new(Heard {
            base: Instant::now(),
            after_millis: AtomicU64::new(0),
        })
    }

    /// When the last byte came; when the socket was made, if none did.
    pub fn at(&self) -> Instant {
        self.base + Duration::from_millis(self.after_millis.load(Ordering::Relaxed))
    }

    fn note(&self) {
        let millis = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.after_millis.store(millis, Ordering::Relaxed);
    }
}

/// A TCP stream that notes in [`Heard`] each time it gives bytes. Below TLS, so that half a record counts as life.
pub struct Watched {
    tcp: TcpStream,
    heard: Arc<Heard>,
    /// The kernel's send buffer was full. When it has room again, the other end has acknowledged bytes: a sign of life
    /// too, where an upload over a slow link keeps the PONG waiting behind it.
    blocked: bool,
}

impl Watched {
    pub(crate) fn new(tcp: TcpStream) -> Watched {
        Watched {
            tcp,
            heard: Heard::now(),
            blocked: false,
        }
    }

    pub(crate) fn heard(&self) -> Arc<Heard> {
        self.heard.clone()
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.heard.note();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(cx, buf);
        if self.blocked && matches!(result, Poll::Ready(Ok(n)) if n > 0) {
            self.heard.note();
        }
        self.blocked = result.is_pending();
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
