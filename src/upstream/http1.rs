//! HTTP/1.1 to an API server: for upgrades, for probes, and for what stands before it and has nothing better.

use super::body::{H1Body, ResponseBody, Upload, told};
use super::connect::Connected;
use super::http2::Failure;
use super::io::Watched;
use crate::limits::{H1_IDLE_PER_POOL_MAX, H1_IDLE_SECS_MAX, H1_UPSTREAM_BUFFER_BYTES_MAX};
use crate::sys::hyper_io::HyperIo;
use http::{Request, Response};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

pub(crate) type Io = HyperIo<TlsStream<Watched>, Option<OwnedSemaphorePermit>>;

/// A connection that carries one request at a time. Its permit lives in its socket.
pub(crate) struct H1Conn {
    sender: SendRequest<Upload>,
}

/// The idle connections of one pool, oldest first.
#[derive(Default)]
pub(crate) struct Idle {
    conns: RefCell<VecDeque<(Instant, H1Conn)>>,
    given: Notify,
}

impl Idle {
    /// The newest one that still works.
    pub(crate) fn take(&self) -> Option<H1Conn> {
        self.prune();
        std::iter::from_fn(|| self.conns.borrow_mut().pop_back())
            .map(|(_, conn)| conn)
            .find(|conn| !conn.sender.is_closed())
    }

    /// Drops those that are too old or gone.
    pub(crate) fn prune(&self) {
        let now = Instant::now();
        let most = Duration::from_secs(H1_IDLE_SECS_MAX);
        self.conns
            .borrow_mut()
            .retain(|(since, conn)| now - *since < most && !conn.sender.is_closed());
    }

    pub(crate) fn clear(&self) {
        self.conns.borrow_mut().clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.conns.borrow().len()
    }

    /// Returns when a connection was given back.
    pub(crate) async fn given(&self) {
        self.given.notified().await;
    }

    fn put(&self, conn: H1Conn) {
        let mut idle = self.conns.borrow_mut();
        if idle.len() >= H1_IDLE_PER_POOL_MAX {
            idle.pop_front();
        }
        idle.push_back((Instant::now(), conn));
        self.given.notify_one();
    }
}

/// Gives a connection back to the pool that it came from, if that is still the same.
pub(crate) struct GiveBack {
    conn: H1Conn,
    idle: std::rc::Weak<Idle>,
}

impl GiveBack {
    pub(crate) fn give(self) {
        if let Some(idle) = self.idle.upgrade() {
            idle.put(self.conn);
        }
    }
}

/// Begins HTTP/1.1. The connection must be driven by a task.
pub(crate) async fn open(
    connected: Connected,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<(H1Conn, Connection<Io, Upload>), hyper::Error> {
    let io = HyperIo::guarded(connected.io, permit);
    let (sender, connection) = Builder::new()
        .max_buf_size(H1_UPSTREAM_BUFFER_BYTES_MAX)
        .handshake(io)
        .await?;
    Ok((H1Conn { sender }, connection))
}

impl H1Conn {
    /// One request, up to the head of its response; the connection goes back to `idle` after the body.
    pub(crate) async fn exchange(
        mut self,
        request: Request<()>,
        upload: &mut Upload,
        idle: &Rc<Idle>,
    ) -> Result<Response<ResponseBody>, Failure> {
        let response = self.head(request, upload).await?;
        let back = GiveBack {
            conn: self,
            idle: Rc::downgrade(idle),
        };
        Ok(response.map(|body| {
            ResponseBody::H1(H1Body {
                body,
                back: Some(back),
            })
        }))
    }

    /// One request, up to the head of its response, which may be `101`.
    pub(crate) async fn head(
        &mut self,
        request: Request<()>,
        upload: &mut Upload,
    ) -> Result<Response<hyper::body::Incoming>, Failure> {
        if let Err(error) = self.sender.ready().await {
            return Err(Failure::Unprocessed(told(&error)));
        }
        let request = request.map(|()| upload.take_out());
        self.sender
            .try_send_request(request)
            .await
            .map_err(|mut failed| {
                let text = told(failed.error());
                match failed.take_message() {
                    Some(request) => {
                        *upload = request.into_body();
                        Failure::Unprocessed(text)
                    }
                    None if failed.error().is_user() => Failure::Client(text),
                    None => Failure::Died(text),
                }
            })
    }
}
