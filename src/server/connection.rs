//! One connection: TLS, then HTTP/1.1 or HTTP/2 by what was agreed, until either side has had enough.

use super::guarded::{Guarded, RefusalCell};
use super::handle::{Peer, handle};
use super::runtime::{Executor, Timer};
use crate::access::Subject;
use crate::certs::certificate::CertificateFields;
use crate::hub::Shared;
use crate::limits;
use crate::reply::backlog::Backlog;
use crate::sys::hyper_io::HyperIo;
use hyper::service::service_fn;
use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Serves one TLS connection to its end.
pub async fn serve(shared: Rc<Shared>, stream: TcpStream, from: SocketAddr) {
    let acceptor = TlsAcceptor::from(shared.server_config());
    let handshake = acceptor.accept_with(stream, |session| {
        session.set_buffer_limit(Some(limits::TLS_BUFFER_BYTES))
    });
    let stream = match timeout(shared.head_timeout(), handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return log::debug!("client={from} TLS failed: {error}"),
        Err(_) => return log::debug!("client={from} TLS did not complete in time"),
    };
    let session = stream.get_ref().1;
    let subject = match session.peer_certificates().and_then(|chain| chain.first()) {
        None => None,
        Some(certificate) => match CertificateFields::read(certificate).and_then(|c| c.subject()) {
            Ok(subject) => Some(subject),
            // Verified, and yet unreadable: nobody, not even an anonymous caller.
            Err(error) => return log::warn!("client={from} subject of its certificate: {error}"),
        },
    };
    match session.alpn_protocol() == Some(b"h2") {
        true => Box::pin(serve_h2(shared, stream, subject)).await,
        false => Box::pin(serve_h1(shared, stream, subject)).await,
    }
}

async fn serve_h1(shared: Rc<Shared>, stream: TlsStream<TcpStream>, subject: Option<Subject>) {
    let refusal = RefusalCell::default();
    let backlog = Backlog::default();
    let guarded = Guarded::new(
        stream,
        shared.head_timeout(),
        refusal.clone(),
        backlog.clone(),
    );
    let peer = Peer::new(subject, refusal, Some(backlog));
    let busy = Rc::clone(&peer.busy);
    let service = service(&shared, peer);
    let connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(limits::H1_BUFFER_BYTES)
        .max_headers(limits::HEADERS_MAX)
        .serve_connection(HyperIo::new(guarded), service)
        .with_upgrades();
    drive(&shared, &busy, connection, |c| c.graceful_shutdown()).await;
}

async fn serve_h2(shared: Rc<Shared>, stream: TlsStream<TcpStream>, subject: Option<Subject>) {
    let peer = Peer::new(subject, RefusalCell::default(), None);
    let busy = Rc::clone(&peer.busy);
    let service = service(&shared, peer);
    let connection = hyper::server::conn::http2::Builder::new(Executor)
        .timer(Timer)
        .initial_stream_window_size(limits::H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW_BYTES)
        .max_frame_size(limits::H2_FRAME_BYTES)
        .max_concurrent_streams(limits::H2_STREAMS_MAX)
        .max_header_list_size(limits::HEAD_BYTES_MAX as u32)
        .max_send_buf_size(limits::H2_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(limits::H2_RESETS_PENDING_MAX)
        .max_local_error_reset_streams(limits::H2_RESETS_MAX)
        .keep_alive_interval(limits::CLIENT_PING_EVERY)
        .keep_alive_timeout(limits::CLIENT_PING_WAIT)
        .serve_connection(HyperIo::new(stream), service);
    drive(&shared, &busy, connection, |c| c.graceful_shutdown()).await;
}

/// Until the client leaves, has asked nothing for long, or the hub ends; then until what is under way is over.
async fn drive<C: Future>(
    shared: &Shared,
    busy: &Busy,
    connection: C,
    end_gracefully: impl Fn(Pin<&mut C>),
) {
    let mut connection = pin!(connection);
    let mut stop = pin!(shared.draining());
    let mut stopping = false;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = &mut stop, if !stopping => stopping = true,
            () = idle(busy) => stopping = true,
        }
        end_gracefully(connection.as_mut());
    }
}

fn service(
    shared: &Rc<Shared>,
    peer: Peer,
) -> impl hyper::service::Service<
    http::Request<hyper::body::Incoming>,
    Response = http::Response<crate::reply::Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<http::Response<crate::reply::Body>, Infallible>> + 'static,
> + 'static {
    let shared = Rc::clone(shared);
    let peer = Rc::new(peer);
    service_fn(move |request| {
        // Boxed, so that it is gone when the answer begins: hyper keeps the room for it as long as the answer lasts,
        // and moves it about.
        let answer = Box::pin(handle(Rc::clone(&shared), Rc::clone(&peer), request));
        async move { Ok::<_, Infallible>(answer.await) }
    })
}

/// Resolves when nothing was asked for [`limits::CLIENT_IDLE_MAX`].
async fn idle(busy: &Busy) {
    loop {
        let since = busy.since.get();
        let until = match busy.requests.get() {
            0 => since + limits::CLIENT_IDLE_MAX,
            _ => Instant::now() + limits::CLIENT_IDLE_MAX,
        };
        sleep_until(until).await;
        if busy.requests.get() == 0 && busy.since.get() == since {
            return;
        }
        // Never spins: the next wait is a whole one unless the connection went idle meanwhile.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How many requests of a connection are under way, and since when there is none.
pub struct Busy {
    requests: Cell<u32>,
    since: Cell<Instant>,
}

impl Default for Busy {
    fn default() -> Self {
        Busy {
            requests: Cell::new(0),
            since: Cell::new(Instant::now()),
        }
    }
}

/// One request under way; ends when dropped.
pub struct Underway(Rc<Busy>);

impl Underway {
    pub fn begin(busy: &Rc<Busy>) -> Underway {
        busy.requests.set(busy.requests.get() + 1);
        Underway(Rc::clone(busy))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get() - 1);
        self.0.since.set(Instant::now());
    }
}
