//! hyper's upgraded connections as tokio wants them. Here because tokio's read buffer can only be moved by `unsafe`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A hyper stream that speaks tokio's traits.
pub struct TokioIo<T>(pub T);

impl<T: hyper::rt::Read + Unpin> AsyncRead for TokioIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = {
            // SAFETY: hyper's `ReadBuf` only ever initializes what it is given, it never takes that back.
            let unfilled = unsafe { buf.unfilled_mut() };
            let mut inner = hyper::rt::ReadBuf::uninit(unfilled);
            ready!(Pin::new(&mut self.0).poll_read(cx, inner.unfilled()))?;
            inner.filled().len()
        };
        // SAFETY: hyper has filled, and so initialized, this many bytes where the buffer stands.
        unsafe { buf.assume_init(read) };
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<T: hyper::rt::Write + Unpin> AsyncWrite for TokioIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
