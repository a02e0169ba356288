//! Tokio's streams as hyper wants them. Here because hyper's read cursor can only be moved by `unsafe`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A tokio stream that speaks hyper's traits, and keeps something alive as long as itself (a permit).
pub struct HyperIo<T, G = ()> {
    io: T,
    _guard: G,
}

impl<T> HyperIo<T> {
    pub fn new(io: T) -> HyperIo<T> {
        HyperIo { io, _guard: () }
    }
}

impl<T, G> HyperIo<T, G> {
    /// `guard` is dropped with the stream, wherever hyper has moved it by then.
    pub fn guarded(io: T, guard: G) -> HyperIo<T, G> {
        HyperIo { io, _guard: guard }
    }
}

impl<T: AsyncRead + Unpin, G: Unpin> hyper::rt::Read for HyperIo<T, G> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = {
            // SAFETY: `ReadBuf` only ever initializes what it is given, it never takes that back.
            let unfilled = unsafe { cursor.as_mut() };
            let mut buf = ReadBuf::uninit(unfilled);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            buf.filled().len()
        };
        // SAFETY: `filled` is a part of what `ReadBuf` knows to be initialized, and began where the cursor stands.
        unsafe { cursor.advance(read) };
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin, G: Unpin> hyper::rt::Write for HyperIo<T, G> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
