//! One connection: TLS or what the kernel knows of the peer, then HTTP/1.1 or HTTP/2, until either side has had enough.

use super::guarded::{Guarded, RefusalCell};
use super::handle::{Peer, handle};
use super::runtime::{Executor, Timer};
use super::strangers::Origin;
use crate::access::Proof;
use crate::admin::metrics;
use crate::certs::certificate::CertificateFields;
use crate::config::Neighbours;
use crate::hub::Shared;
use crate::limits;
use crate::reply::backlog::Backlog;
use crate::sys::hyper_io::HyperIo;
use crate::sys::owner::owner;
use crate::sys::wire::Wire;
use hyper::service::service_fn;
use std::cell::Cell;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

/// Serves one TLS connection to its end.
pub async fn serve(shared: Rc<Shared>, stream: TcpStream, from: SocketAddr) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    if is_turned_away(&shared, from, local) {
        metrics::turned_away();
        return log::debug!("client={from} listen={local} turned away: it is not on this machine");
    }
    let origin = Origin::new(from, local);
    // Seen from before the handshake on, which may last.
    let authorities = shared.client_authorities();
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
    let mut shown = None;
    let proof = match session.peer_certificates().and_then(|chain| chain.first()) {
        None => Proof::Nothing,
        Some(certificate) => {
            let fields = CertificateFields::read(certificate);
            let read = fields.and_then(|c| Ok((c.subject()?, c.not_after_unix_secs)));
            match read {
                Ok((subject, not_after)) => {
                    shown = Some(Shown {
                        not_after,
                        authorities,
                    });
                    Proof::Certificate(subject)
                }
                // Verified, and yet unreadable: nobody, not even an anonymous caller.
                Err(error) => {
                    return log::warn!("client={from} subject of its certificate: {error}");
                }
            }
        }
    };
    let h2 = session.alpn_protocol() == Some(b"h2");
    let client = Client {
        proof,
        origin,
        shown,
    };
    serve_http(shared, Wire::Tls(Box::new(stream)), h2, client).await;
}

/// Who is at the other end.
struct Client {
    proof: Proof,
    origin: Origin,
    /// Of a client with a certificate.
    shown: Option<Shown>,
}

/// What a proof by certificate hangs on beyond the handshake.
struct Shown {
    /// Unix seconds.
    not_after: u64,
    authorities: watch::Receiver<bool>,
}

/// Resolves when a connection takes no more requests: the hub ends, or what the client has proven counts no more. It was
/// looked at in the handshake alone, and a connection may live for months. What is under way goes on, as at the API server.
async fn has_had_its_time(shared: Rc<Shared>, shown: Option<Shown>) {
    let mut draining = pin!(shared.draining());
    let Some(mut shown) = shown else {
        return draining.await;
    };
    loop {
        let now = shared.clock().now();
        let Some(left) = (shown.not_after + 1)
            .checked_sub(now)
            .filter(|left| *left > 0)
        else {
            return;
        };
        // The clock may be set meanwhile. All arms are cancel-safe.
        tokio::select! {
            () = &mut draining => return,
            _ = shown.authorities.changed() => return,
            () = sleep(limits::CLIENT_CERTIFICATE_LOOK_EVERY.min(Duration::from_secs(left))) => {}
        }
    }
}

/// Whether somebody comes to an address that only this machine and its containers should reach, and is on another.
fn is_turned_away(shared: &Shared, from: SocketAddr, local: SocketAddr) -> bool {
    let for_this_machine = match local.ip().to_canonical() {
        IpAddr::V4(addr) => addr.is_link_local() || addr.is_loopback(),
        IpAddr::V6(addr) => addr.is_unicast_link_local() || addr.is_loopback(),
    };
    if !for_this_machine || shared.config.borrow().neighbours == Neighbours::Serve {
        return false;
    }
    // They have nothing but an open door by this, and without a word from the kernel no container would get in.
    shared.near.is_beyond(from).unwrap_or_else(|error| {
        log::debug!("client={from} where it is, the kernel does not say: {error}");
        false
    })
}

/// Serves one plain connection of a program on this machine to its end.
pub async fn serve_local(shared: Rc<Shared>, stream: TcpStream, from: SocketAddr) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let proof = match owner(from, local) {
        Ok(Some(uid)) if shared.config.borrow().local_uids.contains(&uid) => Proof::Local,
        Ok(owner) => {
            // The socket of another network namespace is not found, nor one that is closed already.
            let uid = owner.map_or("none".to_owned(), |uid| uid.to_string());
            log::debug!("client={from} uid={uid} is not among local_uids");
            Proof::Stranger
        }
        Err(error) => {
            log::warn!("client={from} the kernel does not say whose it is: {error}");
            Proof::Stranger
        }
    };
    match timeout(shared.head_timeout(), begins_h2(&stream)).await {
        Ok(Some(h2)) => {
            let client = Client {
                proof,
                origin: Origin::new(from, local),
                shown: None,
            };
            serve_http(shared, Wire::Tcp(stream), h2, client).await;
        }
        _ => log::debug!("client={from} said nothing"),
    }
}

/// Whether the client's first bytes are those of HTTP/2 with prior knowledge (RFC 9113 section 3.3), which no method of
/// HTTP/1.1 begins with. They stay unread. `None`: it ends before it says enough.
async fn begins_h2(stream: &TcpStream) -> Option<bool> {
    const PREFACE: &[u8] = b"PRI ";
    loop {
        let mut first = [0; PREFACE.len()];
        let n = stream.peek(&mut first).await.ok()?;
        if n == 0 {
            return None;
        }
        if first[..n] != PREFACE[..n] || n == PREFACE.len() {
            return Some(n == PREFACE.len() && first == PREFACE);
        }
        // What was peeked at is there at once the next time. Nobody sends these four apart but by accident.
        tokio::time::sleep(limits::PREFACE_LOOK_EVERY).await;
    }
}

async fn serve_http(shared: Rc<Shared>, stream: Wire, h2: bool, client: Client) {
    match h2 {
        true => Box::pin(serve_h2(shared, stream, client)).await,
        false => Box::pin(serve_h1(shared, stream, client)).await,
    }
}

async fn serve_h1(shared: Rc<Shared>, stream: Wire, client: Client) {
    let refusal = RefusalCell::default();
    let backlog = Backlog::default();
    let guarded = Guarded::new(
        stream,
        shared.head_timeout(),
        refusal.clone(),
        backlog.clone(),
    );
    let peer = Peer::new(client.proof, client.origin, refusal, Some(backlog));
    let busy = Rc::clone(&peer.busy);
    let service = service(&shared, peer);
    let connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(limits::H1_BUFFER_BYTES)
        .max_headers(limits::HEADERS_MAX)
        .serve_connection(HyperIo::new(guarded), service)
        .with_upgrades();
    let connection = std::pin::pin!(connection);
    let linger = shared.head_timeout();
    drive(
        connection,
        |c| c.graceful_shutdown(),
        &busy,
        has_had_its_time(shared, client.shown),
        linger,
    )
    .await;
}

async fn serve_h2(shared: Rc<Shared>, stream: Wire, client: Client) {
    let peer = Peer::new(client.proof, client.origin, RefusalCell::default(), None);
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
    let connection = std::pin::pin!(connection);
    let linger = shared.head_timeout();
    drive(
        connection,
        |c| c.graceful_shutdown(),
        &busy,
        has_had_its_time(shared, client.shown),
        linger,
    )
    .await;
}

/// Runs a connection to its end, which is asked for once: when `stop` resolves, or when nothing was asked for
/// [`limits::CLIENT_IDLE_MAX`]. One that then neither ends nor serves a request for `linger` is dropped: an HTTP/2
/// client that never said its first word would be waited for for ever.
async fn drive<C: Future>(
    mut connection: Pin<&mut C>,
    shut_down: impl FnOnce(Pin<&mut C>),
    busy: &Busy,
    stop: impl Future<Output = ()>,
    linger: Duration,
) {
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop => {}
        () = idle(busy, limits::CLIENT_IDLE_MAX) => {}
    }
    shut_down(connection.as_mut());
    let since = Instant::now();
    tokio::select! {
        _ = connection => {}
        () = async { sleep_until(since + linger).await; idle(busy, linger).await } => {}
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

/// Resolves when nothing was asked for so long.
async fn idle(busy: &Busy, most: Duration) {
    loop {
        let since = busy.since.get();
        let until = match busy.requests.get() {
            0 => since + most,
            _ => Instant::now() + most,
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    /// How long a connection lasts that never ends by itself, and how often it was told to.
    async fn lasts(busy: &Busy, stop: impl Future<Output = ()>) -> (Duration, u32) {
        let (started, told) = (Instant::now(), Cell::new(0));
        let connection = std::pin::pin!(pending::<()>());
        let linger = Duration::from_secs(10);
        drive(connection, |_| told.set(told.get() + 1), busy, stop, linger).await;
        (started.elapsed(), told.get())
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_says_a_word_is_left_after_a_while() {
        let (lasted, told) = lasts(&Busy::default(), pending()).await;
        assert_eq!((lasted.as_secs(), told), (130, 1));
        let (lasted, told) = lasts(&Busy::default(), async {}).await;
        assert_eq!((lasted.as_secs(), told), (10, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_waited_for() {
        let busy = Rc::new(Busy::default());
        let request = Underway::begin(&busy);
        let ended = async {
            tokio::time::sleep(Duration::from_secs(600)).await;
            drop(request);
        };
        let ((lasted, told), ()) = tokio::join!(lasts(&busy, async {}), ended);
        assert!((600..=620).contains(&lasted.as_secs()), "{lasted:?}");
        assert_eq!(told, 1);
    }
}
