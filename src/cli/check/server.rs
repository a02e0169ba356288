//! Each API server: its name resolves, its port answers, its certificate is good, it speaks HTTP, its clock agrees.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
};

use super::Findings;
use super::files::{Loaded, subject_of};
use crate::certs::certificate::CertificateFields;
use crate::certs::client_config::client_config;
use crate::certs::load::{Authorities, Pair};
use crate::certs::provider;
use crate::certs::subject::Subject;
use crate::cli::http;
use crate::cli::span::span;
use crate::config::{Config, Host, ServerUrl};
use crate::limits::{CHECK_SERVER_SECS_MAX, CLOCK_WARN_SECS};
use crate::sys::clock::{Clock, parse_imf_fixdate, rfc3339};

pub(super) fn check(findings: &mut Findings, config: &Config, with: Loaded, now_secs: u64) {
    // What is wrong with the file was said with the other files.
    let Some(roots) = with.servers else { return };
    for server in &config.servers {
        let seen = Arc::new(Seen::default());
        match ask(server, &roots, with.own.as_ref(), seen.clone()) {
            Ok(reply) => answered(findings, server, &reply, now_secs),
            Err(trouble) => {
                findings.fail(format!("{server}: {}", in_words(trouble, &seen, now_secs)))
            }
        }
    }
}

/// What kept a server from answering.
enum Trouble {
    Resolve(String),
    Connect(Vec<(SocketAddr, std::io::Error)>),
    Setup(String),
    Tls(Error),
    Http(http::HttpError),
}

fn ask(
    server: &ServerUrl,
    roots: &Authorities,
    own: Option<&Pair>,
    seen: Arc<Seen>,
) -> Result<http::Reply, Trouble> {
    let until = Instant::now() + Duration::from_secs(CHECK_SERVER_SECS_MAX);
    let socket = connect(&resolve(server, until)?, until)?;
    let tls = recording(roots, own, seen).map_err(Trouble::Setup)?;
    let mut tls =
        ClientConnection::new(Arc::new(tls), server.server_name()).map_err(Trouble::Tls)?;
    let mut socket = http::Timed::new(socket, until);
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).map_err(trouble_of)?;
    }
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    http::get(&mut stream, &server.authority(), "/version").map_err(|error| match error {
        http::HttpError::Io(error) => trouble_of(error),
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
        None => Trouble::Http(http::HttpError::Io(error)),
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
    roots: &Authorities,
    own: Option<&Pair>,
    seen: Arc<Seen>,
) -> Result<ClientConfig, String> {
    let clock = Clock::new();
    // As `run` does: a certificate in use proves that its beginning has passed.
    clock.raise_floor(roots.newest_not_before_unix_secs());
    own.iter()
        .for_each(|pair| clock.raise_floor(pair.not_before_unix_secs()));
    let tls = client_config(roots, own, &[b"http/1.1"], clock).map_err(|e| e.to_string())?;
    let mut tls = ClientConfig::clone(&tls);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.roots(), provider()).build();
    let inner = verifier.map_err(|e| e.to_string())?;
    tls.dangerous()
        .set_certificate_verifier(Arc::new(Recorder { inner, seen }));
    Ok(tls)
}

fn answered(findings: &mut Findings, server: &ServerUrl, reply: &http::Reply, now_secs: u64) {
    match reply.status {
        200 => findings.ok(format!("{server}: answers, and its certificate is good")),
        401 => findings.warn(format!(
            "{server}: answers 401, so it does not know the node's certificate or wants one; see client_cert"
        )),
        403 => findings.ok(format!(
            "{server}: answers (403 to /version, which callers without a name may not read there)"
        )),
        status => findings.warn(format!(
            "{server}: answers {status} to /version; is it an API server, and healthy?"
        )),
    }
    let Some(theirs) = reply.date.as_deref().and_then(parse_imf_fixdate) else {
        return;
    };
    if now_secs.abs_diff(theirs) > CLOCK_WARN_SECS {
        let (span, way) = (
            span(now_secs.abs_diff(theirs)),
            if now_secs > theirs {
                "ahead of"
            } else {
                "behind"
            },
        );
        findings.warn(format!(
            "clock is {span} {way} that of {server}: tokens, leases and certificates are judged by it; set it (ntpd, chronyd)"
        ));
    }
}

fn in_words(trouble: Trouble, seen: &Seen, now_secs: u64) -> String {
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
        Trouble::Tls(Error::InvalidCertificate(error)) => certificate(&error, seen, now_secs),
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

fn certificate(error: &CertificateError, seen: &Seen, now_secs: u64) -> String {
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
            format!(
                "its certificate{issuer} is not signed by a CA in ca_file; put the cluster's CA there"
            )
        }
        other => format!("its certificate is not good ({other})"),
    }
}

fn issuer_of(cert: &CertificateFields<'_>) -> String {
    Subject::read(cert.issuer).map_or_else(|_| "somebody odd".to_owned(), |name| name.to_string())
}

/// The certificate that the server showed, good or not.
#[derive(Debug, Default)]
struct Seen {
    leaf: Mutex<Option<CertificateDer<'static>>>,
}

/// Verifies as ever, and remembers what it was shown, so that the finding can tell what is wrong with it.
#[derive(Debug)]
struct Recorder {
    inner: Arc<WebPkiServerVerifier>,
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
        self.inner.verify_server_cert(leaf, chain, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
