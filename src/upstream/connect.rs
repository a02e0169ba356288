//! From a server's URL to a TLS connection: names, addresses, deadlines, and what their failures mean.

use super::Way;
use super::error::ConnectError;
use super::io::{Heard, Watched};
use crate::config::{Host, ServerUrl};
use crate::health::Reason;
use crate::limits::{
    CONNECT_STAGGER_MILLIS, HTTP2_REFUSALS_MAX, SERVER_ADDRESSES_MAX, UPSTREAM_KEEPALIVE_IDLE_SECS,
    UPSTREAM_KEEPALIVE_INTERVAL_SECS, UPSTREAM_TLS_BUFFER_BYTES, UPSTREAM_USER_TIMEOUT_MILLIS,
};
use crate::sys::tcp::notice_death;
use rustls::{CertificateError, ClientConfig};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection on which nothing was said yet.
pub(crate) struct Connected {
    pub(crate) io: TlsStream<Watched>,
    pub(crate) heard: Arc<Heard>,
    /// Whether ALPN chose HTTP/2.
    pub(crate) h2: bool,
}

/// Which protocols are offered.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Offer {
    /// HTTP/2, and HTTP/1.1 for servers that have nothing better.
    Both,
    /// HTTP/1.1 only: for upgrades, which cannot ride HTTP/2 here, and for probes.
    Http1,
}

impl Offer {
    /// An API server ends an HTTP/2 connection after each request of somebody whom it does not recognise, and with it
    /// all others on it; HTTP/1.1 connections it leaves alone. So anonymous requests go by HTTP/1.1, and others too
    /// once they were caught in that too often.
    pub(crate) fn to(way: Way, refused: u32) -> Offer {
        if way == Way::Anonymous || refused >= HTTP2_REFUSALS_MAX {
            Offer::Http1
        } else {
            Offer::Both
        }
    }
}

/// Connects, all within `deadline`.
///
/// # Errors
/// What failed, as the link state wants it; `own_certificate` tells whether a TLS alert can be about ours.
pub(crate) async fn connect(
    url: &ServerUrl,
    tls: &ClientConfig,
    offer: Offer,
    own_certificate: bool,
    known: &Known,
    deadline: Instant,
) -> Result<Connected, ConnectError> {
    let attempt = async {
        let addresses = resolve(url, known, deadline).await?;
        let tcp = race(addresses)
            .await
            .map_err(|e| ConnectError::Link(tcp_reason(&e)))?;
        secure(url, tls, offer, own_certificate, tcp).await
    };
    match timeout_at(deadline, attempt).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Link(Reason::TimedOut)),
    }
}

/// The addresses that a name had when it was last resolved: DNS may be the part that is cut off.
pub(crate) type Known = RefCell<Vec<SocketAddr>>;

async fn resolve(
    url: &ServerUrl,
    known: &Known,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let name = match &url.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, url.port)]),
        Host::Name(name) => name.as_ref(),
    };
    let patience = deadline.saturating_duration_since(Instant::now()) / 3;
    let lookup = timeout(patience, lookup_host((name, url.port)));
    let error = match lookup.await {
        Ok(Ok(found)) => {
            let found = interleaved(found.take(SERVER_ADDRESSES_MAX).collect());
            if !found.is_empty() {
                known.replace(found.clone());
                return Ok(found);
            }
            "no addresses".to_string()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer from the resolver".to_string(),
    };
    let last = known.borrow().clone();
    if last.is_empty() {
        Err(ConnectError::Link(Reason::Name(error)))
    } else {
        Ok(last)
    }
}

/// The families in turn, beginning with that of the first, each in the resolver's order (RFC 8305 section 4).
fn interleaved(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = found.first().copied() else {
        return found;
    };
    let count = found.len();
    let (same, other): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|a| a.is_ipv6() == first.is_ipv6());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut mixed = Vec::with_capacity(count);
    while mixed.len() < count {
        mixed.extend(same.next());
        mixed.extend(other.next());
    }
    mixed
}

/// The first connection that works. The next address starts when the former has failed or is slow; dropping the set
/// ends the losers.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut tries = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if tries.is_empty() {
            match waiting.next() {
                Some(address) => tries.spawn_local(tcp(address)),
                None => return Err(last),
            };
        }
        // Both arms are cancel-safe: a set keeps what it has, and the stagger begins anew only when an attempt ended.
        tokio::select! {
            biased;
            Some(done) = tries.join_next() => match done {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    last = error;
                    waiting.next().map(|address| tries.spawn_local(tcp(address)));
                }
                Err(_) => {}
            },
            () = sleep(Duration::from_millis(CONNECT_STAGGER_MILLIS)), if waiting.len() > 0 => {
                waiting.next().map(|address| tries.spawn_local(tcp(address)));
            }
        }
    }
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    notice_death(
        &stream,
        UPSTREAM_KEEPALIVE_IDLE_SECS,
        UPSTREAM_KEEPALIVE_INTERVAL_SECS,
        UPSTREAM_USER_TIMEOUT_MILLIS,
    )?;
    Ok(stream)
}

async fn secure(
    url: &ServerUrl,
    tls: &ClientConfig,
    offer: Offer,
    own_certificate: bool,
    tcp: TcpStream,
) -> Result<Connected, ConnectError> {
    let mut tls = tls.clone();
    tls.alpn_protocols = match offer {
        Offer::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Offer::Http1 => vec![b"http/1.1".to_vec()],
    };
    let watched = Watched::new(tcp);
    let heard = watched.heard();
    let io = TlsConnector::from(Arc::new(tls))
        .connect_with(url.server_name(), watched, |session| {
            session.set_buffer_limit(Some(UPSTREAM_TLS_BUFFER_BYTES))
        })
        .await
        .map_err(|e| io_failure(&e, own_certificate))?;
    let h2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Connected { io, heard, h2 })
}

/// What an error on a fresh TLS connection means. The server's verdict on our certificate comes, in TLS 1.3, only
/// after the handshake, so the first exchange passes here too.
pub(crate) fn io_failure(error: &io::Error, own_certificate: bool) -> ConnectError {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    // Through h2 only the text arrives.
    let alert = matches!(tls, Some(rustls::Error::AlertReceived(_)))
        || error.to_string().starts_with("received fatal alert");
    match tls {
        _ if alert && own_certificate => {
            ConnectError::OurCertificate(format!("the server refuses our certificate: {error}"))
        }
        Some(error) => ConnectError::Link(Reason::Tls(tls_text(error))),
        None if alert => ConnectError::Link(Reason::Tls(error.to_string())),
        None => ConnectError::Link(tcp_reason(error)),
    }
}

fn tls_text(error: &rustls::Error) -> String {
    use CertificateError as C;
    let rustls::Error::InvalidCertificate(why) = error else {
        return error.to_string();
    };
    match why {
        C::UnknownIssuer => "the server's certificate is not signed by the configured CA".into(),
        // A CA of the same name with another key: a cluster that was set up anew.
        C::BadSignature => {
            format!("the server's certificate is not signed by the configured CA ({error})")
        }
        C::Expired | C::ExpiredContext { .. } => {
            format!("the server's certificate has expired, or this clock is wrong ({error})")
        }
        C::NotValidYet | C::NotValidYetContext { .. } => {
            format!("the server's certificate is not valid yet, or this clock is wrong ({error})")
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            format!("the server's certificate is for another name ({error})")
        }
        _ => error.to_string(),
    }
}

fn tcp_reason(error: &io::Error) -> Reason {
    use io::ErrorKind::*;
    match error.kind() {
        ConnectionRefused => Reason::Refused,
        TimedOut => Reason::TimedOut,
        ConnectionReset | BrokenPipe | UnexpectedEof | ConnectionAborted => {
            Reason::Reset(error.to_string())
        }
        _ => Reason::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|a| a.parse().unwrap()).collect()
        };
        let found = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        assert_eq!(
            interleaved(found),
            parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"])
        );
        assert_eq!(interleaved(vec![]), vec![]);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_stop_the_next() {
        let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        // 192.0.2.0/24 is for documentation: silent, or unreachable at once where there is no route.
        let silent = "192.0.2.1:9".parse().unwrap();
        let good = alive.local_addr().unwrap();
        let local = tokio::task::LocalSet::new();
        let stream = local
            .run_until(race(vec![silent, refusing, good]))
            .await
            .unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let none = local.run_until(race(vec![refusing])).await.unwrap_err();
        assert_eq!(tcp_reason(&none), Reason::Refused);
    }
}
