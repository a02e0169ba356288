//! One exchange with an API server, for commands that ask and end: names, TCP, TLS, HTTP/1.1, all within one deadline; and
//! what goes wrong, in words that say what to do.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

use super::http::{self, HttpError};
use crate::certs::certificate::CertificateFields;
use crate::certs::client_config::client_config;
use crate::certs::load::{Authorities, Pair};
use crate::certs::provider;
use crate::certs::subject::Subject;
use crate::config::{Host, ServerUrl};
use crate::limits::CHECK_SERVER_SECS_MAX;
use crate::sys::clock::{Clock, rfc3339, system_unix_secs};

/// Whom to believe.
pub(super) enum Trust<'a> {
    /// Who shows a certificate that one of these has signed. The text says where they come from.
    Signed(&'a Authorities, &'a str),
    /// Whoever answers: what he says is signed in another way.
    Anybody,
}

/// Asks a server. The error says what is wrong and what to do.
pub(super) fn ask(
    server: &ServerUrl,
    trust: &Trust<'_>,
    own: Option<&Pair>,
    request: &http::Ask<'_>,
) -> Result<http::Reply, String> {
    let seen = Arc::new(Seen::default());
    exchange(server, trust, own, request, &seen)
        .map_err(|trouble| in_words(trouble, trust, &seen, system_unix_secs()))
}

/// What kept a server from answering.
enum Trouble {
    Resolve(String),
    Connect(Vec<(SocketAddr, std::io::Error)>),
    Setup(String),
    Tls(Error),
    Http(HttpError),
}

fn exchange(
    server: &ServerUrl,
    trust: &Trust<'_>,
    own: Option<&Pair>,
    request: &http::Ask<'_>,
    seen: &Arc<Seen>,
) -> Result<http::Reply, Trouble> {
    let until = Instant::now() + Duration::from_secs(CHECK_SERVER_SECS_MAX);
    let socket = connect(&resolve(server, until)?, until)?;
    let tls = recording(trust, own, Arc::clone(seen)).map_err(Trouble::Setup)?;
    let mut tls =
        ClientConnection::new(Arc::new(tls), server.server_name()).map_err(Trouble::Tls)?;
    let mut socket = http::Timed::new(socket, until);
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).map_err(trouble_of)?;
    }
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    http::ask(&mut stream, &server.authority(), request).map_err(|error| match error {
        HttpError::Io(error) => trouble_of(error),
        other => Trouble::Http(other),
    })
}

/// rustls wraps its own errors into those of the socket.
fn trouble_of(error: std::io::Error) -> Trouble {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    {
        Some(tls) => Trouble::Tls(tls.clone()),
        None => Trouble::Http(HttpError::Io(error)),
    }
}

fn resolve(server: &ServerUrl, until: Instant) -> Result<Vec<SocketAddr>, Trouble> {
    let name = match &server.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, server.port)]),
        Host::Name(name) => name.as_ref().to_owned(),
    };
    let port = server.port;
    let (send, receive) = mpsc::channel();
    // The C library's resolver has no deadline of its own. The thread ends with the process at the latest.
    std::thread::spawn(move || {
        let found = (name.as_str(), port)
            .to_socket_addrs()
            .map(Iterator::collect::<Vec<_>>);
        let _ = send.send(found);
    });
    match receive.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        Ok(Ok(_)) => Err(Trouble::Resolve("it has no address".to_owned())),
        Ok(Err(error)) => Err(Trouble::Resolve(error.to_string())),
        Err(_) => Err(Trouble::Resolve("no answer in time".to_owned())),
    }
}

fn connect(addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, Trouble> {
    let mut failed = Vec::new();
    for (i, at) in addresses.iter().enumerate() {
        // What is left is shared among the addresses that are left; a zero timeout is not allowed.
        let share = until.saturating_duration_since(Instant::now()) / (addresses.len() - i) as u32;
        match TcpStream::connect_timeout(at, share.max(Duration::from_millis(1))) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed.push((*at, error)),
        }
    }
    Err(Trouble::Connect(failed))
}

/// What `run` would connect with, and a note of what the server showed.
fn recording(
    trust: &Trust<'_>,
    own: Option<&Pair>,
    seen: Arc<Seen>,
) -> Result<ClientConfig, String> {
    let clock = Clock::new();
    let (roots, inner) = match trust {
        Trust::Anybody => (Arc::new(RootCertStore::empty()), None),
        Trust::Signed(authorities, _) => {
            // As `run` does: a certificate in use proves that its beginning has passed.
            clock.raise_floor(authorities.newest_not_before_unix_secs());
            let roots = authorities.roots();
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider()).build();
            (roots, Some(verifier.map_err(|e| e.to_string())?))
        }
    };
    own.iter()
        .for_each(|pair| clock.raise_floor(pair.not_before_unix_secs()));
    let tls = client_config(roots, own, &[b"http/1.1"], clock).map_err(|e| e.to_string())?;
    let mut tls = ClientConfig::clone(&tls);
    tls.dangerous()
        .set_certificate_verifier(Arc::new(Recorder { inner, seen }));
    Ok(tls)
}

fn in_words(trouble: Trouble, trust: &Trust<'_>, seen: &Seen, now_secs: u64) -> String {
    match trouble {
        Trouble::Resolve(why) => {
            format!(
                "the name is not resolved ({why}); look at /etc/resolv.conf, or name the address"
            )
        }
        Trouble::Connect(failed) => {
            let each: Vec<String> = failed
                .iter()
                .map(|(at, error)| format!("{at}: {error}"))
                .collect();
            format!(
                "no connection ({}); is the link up, is the port right, does a firewall stand between?",
                each.join("; ")
            )
        }
        Trouble::Setup(why) => {
            format!("TLS cannot be set up ({why}); see the findings about the files")
        }
        Trouble::Http(error) => {
            format!("no answer after the connection ({error}); is it an API server?")
        }
        Trouble::Tls(Error::InvalidCertificate(error)) => {
            certificate(&error, trust, seen, now_secs)
        }
        Trouble::Tls(Error::AlertReceived(alert)) => {
            format!(
                "it refused us with the TLS alert {alert:?}; does it accept the node's client_cert?"
            )
        }
        Trouble::Tls(Error::InvalidMessage(_)) => {
            "it does not speak TLS; is it the right port?".to_owned()
        }
        Trouble::Tls(error) => format!("TLS failed ({error})"),
    }
}

fn certificate(error: &CertificateError, trust: &Trust<'_>, seen: &Seen, now_secs: u64) -> String {
    let leaf = seen.leaf.lock().ok().and_then(|leaf| leaf.clone());
    let fields = leaf
        .as_ref()
        .and_then(|leaf| CertificateFields::read(leaf).ok());
    let about =
        |text: fn(&CertificateFields<'_>) -> String| fields.as_ref().map(text).unwrap_or_default();
    let now = rfc3339(now_secs);
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let until = about(|cert| format!(" at {}", rfc3339(cert.not_after_unix_secs)));
            format!(
                "its certificate expired{until} (the clock here says {now}); renew it there, or set the clock"
            )
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let from = about(|cert| format!(" before {}", rfc3339(cert.not_before_unix_secs)));
            format!(
                "its certificate is not valid{from}, and the clock here says {now}; set the clock"
            )
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "its certificate is for {}, not for {}; use one of these names in `servers`, or have it issued anew",
            presented.join(", "),
            expected.to_str()
        ),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let issuer =
                about(|cert| format!(" ({}, issued by {})", subject_of(cert), issuer_of(cert)));
            let source = match trust {
                Trust::Signed(_, source) => source,
                Trust::Anybody => "",
            };
            format!("its certificate{issuer} is not signed by a CA in {source}")
        }
        other => format!("its certificate is not good ({other})"),
    }
}

fn issuer_of(cert: &CertificateFields<'_>) -> String {
    Subject::read(cert.issuer).map_or_else(|_| "somebody odd".to_owned(), |name| name.to_string())
}

/// `CN=..., O=...`, as far as it can be read.
pub(super) fn subject_of(fields: &CertificateFields<'_>) -> String {
    fields.subject().map_or_else(
        |_| "a certificate with an odd subject".to_owned(),
        |s| s.to_string(),
    )
}

/// The certificate that the server showed, good or not.
#[derive(Debug, Default)]
struct Seen {
    leaf: Mutex<Option<CertificateDer<'static>>>,
}

/// Verifies as ever, and remembers what it was shown, so that the finding can tell what is wrong with it.
#[derive(Debug)]
struct Recorder {
    /// Without it anybody is believed.
    inner: Option<Arc<WebPkiServerVerifier>>,
    seen: Arc<Seen>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Ok(mut seen) = self.seen.leaf.lock() {
            *seen = Some(leaf.clone().into_owned());
        }
        match &self.inner {
            Some(inner) => inner.verify_server_cert(leaf, chain, name, ocsp, now),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
