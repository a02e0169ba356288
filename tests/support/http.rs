//! A small HTTPS client for tests: HTTP/1.1 and HTTP/2, token or certificate, streams read piece by piece with a
//! deadline; and a sender of raw bytes for what no client would send.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper::rt::{Executor, ReadBufCursor};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{block_on, protobuf};

/// Media types as clients of the API server ask for them.
pub const JSON: &str = "application/json";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
pub const PROTOBUF_WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// How long a whole exchange may take before a test calls it stuck.
const EXCHANGE: Duration = Duration::from_secs(60);

/// Who asks whom, and how. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    /// Without it the connection is plain.
    tls: Option<Arc<rustls::ClientConfig>>,
    ca: Vec<CertificateDer<'static>>,
    bearer: Option<String>,
    agent: String,
    http1: bool,
}

impl Client {
    /// An anonymous HTTP/2 client of `address`, whose certificate `ca` (a PEM file) must have signed.
    pub fn new(address: SocketAddr, ca: &Path) -> Client {
        let ca = certificates(ca);
        Client {
            address,
            tls: Some(config(&ca, None, b"h2")),
            ca,
            bearer: None,
            agent: "test/1".to_string(),
            http1: false,
        }
    }

    /// One that speaks HTTP/2 in the clear.
    pub fn plain(address: SocketAddr) -> Client {
        Client {
            address,
            tls: None,
            ca: Vec::new(),
            bearer: None,
            agent: "test/1".to_string(),
            http1: false,
        }
    }

    /// Whom it asks.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// With a bearer token.
    pub fn bearer(mut self, token: &str) -> Client {
        self.bearer = Some(token.to_string());
        self
    }

    /// With a client certificate: PEM files.
    pub fn certificate(mut self, certificate: &Path, key: &Path) -> Client {
        let chain = certificates(certificate);
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let alpn: &[u8] = if self.http1 { b"http/1.1" } else { b"h2" };
        self.tls = Some(config(&self.ca, Some((chain, key)), alpn));
        self
    }

    /// With this User-Agent.
    pub fn agent(mut self, agent: &str) -> Client {
        self.agent = agent.to_string();
        self
    }

    /// Over HTTP/1.1.
    pub fn http1(mut self) -> Client {
        self.tls = self.tls.map(|tls| {
            let mut tls = (*tls).clone();
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            Arc::new(tls)
        });
        self.http1 = true;
        self
    }

    /// A connection that is kept. An HTTP/2 one can be cloned and used by several threads at once.
    pub fn connect(&self) -> Result<Connection, String> {
        block_on(async { timeout(EXCHANGE, self.handshake()).await })
            .map_err(|_| "the handshake hangs".to_string())?
    }

    async fn handshake(&self) -> Result<Connection, String> {
        let tcp = tokio::net::TcpStream::connect(self.address)
            .await
            .map_err(|error| format!("connect: {error}"))?;
        let _ = tcp.set_nodelay(true);
        let io = Io(match &self.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::from(self.address.ip());
                let connector = TlsConnector::from(Arc::clone(tls));
                let stream = connector.connect(name, tcp).await;
                Box::new(stream.map_err(|error| format!("TLS: {error}"))?)
            }
        });
        let sender = if self.http1 {
            let (sender, connection) = http1::handshake(io)
                .await
                .map_err(|error| format!("{error:?}"))?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        } else {
            let (sender, connection) = http2::handshake(Tasks, io)
                .await
                .map_err(|error| format!("{error:?}"))?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        };
        Ok(Connection {
            client: self.clone(),
            sender,
        })
    }

    /// One request on a connection of its own.
    pub fn send(&self, call: Call<'_>) -> Result<Reply, String> {
        self.connect()?.send(call)
    }

    /// GET, whole, on a connection of its own.
    #[track_caller]
    pub fn get(&self, path: &str) -> Whole {
        self.send(Call::get(path))
            .and_then(Reply::whole)
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// Any call, whole, on a connection of its own.
    #[track_caller]
    pub fn call(&self, call: Call<'_>) -> Whole {
        let what = format!("{} {}", call.method, call.path);
        self.send(call)
            .and_then(Reply::whole)
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// A watch on a connection of its own; the answer must be a 200.
    #[track_caller]
    pub fn watch(&self, path: &str, accept: &str) -> Watch {
        self.try_watch(path, accept)
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// The same; an error says what it was instead.
    pub fn try_watch(&self, path: &str, accept: &str) -> Result<Watch, String> {
        self.connect()?.try_watch(path, accept)
    }

    /// Whether it speaks HTTP/1.1.
    pub fn is_http1(&self) -> bool {
        self.http1
    }
}

/// One request.
#[derive(Clone)]
pub struct Call<'a> {
    pub method: Method,
    pub path: &'a str,
    pub headers: Vec<(&'a str, &'a str)>,
    pub body: Bytes,
}

impl<'a> Call<'a> {
    /// A GET for JSON.
    pub fn get(path: &'a str) -> Call<'a> {
        Call {
            method: Method::GET,
            path,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// Any method with a JSON body.
    pub fn json(method: Method, path: &'a str, body: &Value) -> Call<'a> {
        Call {
            method,
            path,
            headers: vec![("content-type", JSON)],
            body: body.to_string().into(),
        }
    }

    /// With a header more.
    pub fn header(mut self, name: &'a str, value: &'a str) -> Call<'a> {
        self.headers.push((name, value));
        self
    }

    /// With an `Accept` header.
    pub fn accept(self, accept: &'a str) -> Call<'a> {
        self.header("accept", accept)
    }
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full>),
    Http2(http2::SendRequest<Full>),
}

/// A kept connection.
pub struct Connection {
    client: Client,
    sender: Sender,
}

impl Connection {
    /// A second handle on an HTTP/2 connection.
    pub fn share(&self) -> Connection {
        let Sender::Http2(sender) = &self.sender else {
            panic!("HTTP/1.1 carries one request at a time")
        };
        Connection {
            client: self.client.clone(),
            sender: Sender::Http2(sender.clone()),
        }
    }

    /// A watch on this connection; the answer must be a 200.
    #[track_caller]
    pub fn watch(&mut self, path: &str, accept: &str) -> Watch {
        self.try_watch(path, accept)
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    fn try_watch(&mut self, path: &str, accept: &str) -> Result<Watch, String> {
        let reply = self.send(Call::get(path).accept(accept))?;
        if reply.status != 200 {
            return Err(format!("{:?}", reply.whole()));
        }
        Ok(Watch {
            protobuf: reply.header("content-type").starts_with(PROTOBUF),
            reply,
            bytes: Vec::new(),
            end: None,
        })
    }

    /// Sends and waits for the response's head.
    pub fn send(&mut self, call: Call<'_>) -> Result<Reply, String> {
        let mut request = Request::builder()
            .method(call.method)
            .header("user-agent", &self.client.agent);
        if let Some(token) = &self.client.bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let authority = self.client.address;
        request = match &self.sender {
            Sender::Http1(_) => request.header("host", authority.to_string()).uri(call.path),
            Sender::Http2(_) => {
                let scheme = self.client.tls.as_ref().map_or("http", |_| "https");
                request.uri(format!("{scheme}://{authority}{}", call.path))
            }
        };
        let request = request
            .body(Full(Some(call.body)))
            .map_err(|error| error.to_string())?;
        let sender = &mut self.sender;
        let response = block_on(async {
            match sender {
                Sender::Http1(sender) => timeout(EXCHANGE, sender.send_request(request)).await,
                Sender::Http2(sender) => timeout(EXCHANGE, sender.send_request(request)).await,
            }
        });
        let response = response
            .map_err(|_| "no response head".to_string())?
            .map_err(|error| format!("{error:?}"))?;
        let (head, body) = response.into_parts();
        // The body is read after the sender may have gone.
        let keep = match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(sender.clone()),
        };
        Ok(Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            _keep: keep,
        })
    }
}

/// A response whose body is still to come.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    body: Incoming,
    _keep: Option<http2::SendRequest<Full>>,
}

/// What came of a body within a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Data(Bytes),
    /// The body ended as HTTP says it should.
    End,
    /// It broke off.
    Broken(String),
    /// Nothing came; the body is still open.
    Nothing,
}

impl Reply {
    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    /// The next piece.
    pub fn next(&mut self, within: Duration) -> Piece {
        block_on(async {
            let end = tokio::time::Instant::now() + within;
            loop {
                let frame = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
                match tokio::time::timeout_at(end, frame).await {
                    Err(_) => return Piece::Nothing,
                    Ok(None) => return Piece::End,
                    Ok(Some(Err(error))) => return Piece::Broken(format!("{error:?}")),
                    Ok(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) if data.is_empty() => {}
                        Ok(data) => return Piece::Data(data),
                        Err(_trailers) => {}
                    },
                }
            }
        })
    }

    /// All of it, or why not.
    pub fn whole(mut self) -> Result<Whole, String> {
        let end = Instant::now() + EXCHANGE;
        let mut body = Vec::new();
        loop {
            match self.next(end.saturating_duration_since(Instant::now())) {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::End => {
                    return Ok(Whole {
                        status: self.status,
                        headers: self.headers,
                        body,
                    });
                }
                Piece::Broken(error) => return Err(format!("after {} bytes: {error}", body.len())),
                Piece::Nothing => return Err(format!("hangs after {} bytes", body.len())),
            }
        }
    }
}

/// A response that came to its end.
#[derive(Debug, Clone)]
pub struct Whole {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Whole {
    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The same, and the status was `want`.
    #[track_caller]
    pub fn expect(self, want: u16) -> Whole {
        assert_eq!(self.status, want, "{}", self.text());
        self
    }
}

/// A watch event as a test looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub kind: String,
    pub meta: protobuf::Meta,
    /// The event as it came: a line of JSON, or the message within a frame.
    pub bytes: Vec<u8>,
}

/// A running watch.
pub struct Watch {
    reply: Reply,
    protobuf: bool,
    bytes: Vec<u8>,
    end: Option<Piece>,
}

impl Watch {
    /// The response's head.
    pub fn head(&self) -> &Reply {
        &self.reply
    }

    /// The next event, or how the stream ended, or [`Piece::Nothing`].
    pub fn poll(&mut self, within: Duration) -> Result<Event, Piece> {
        let until = Instant::now() + within;
        loop {
            if let Some(event) = self.take() {
                return Ok(event);
            }
            match self.end.take() {
                None | Some(Piece::Nothing | Piece::Data(_)) => {}
                Some(end) => {
                    let again = if let Piece::Broken(why) = &end {
                        Piece::Broken(why.clone())
                    } else {
                        Piece::End
                    };
                    self.end = Some(again);
                    assert!(
                        self.bytes.is_empty(),
                        "the stream ended within an event: {:?}",
                        self.bytes
                    );
                    return Err(end);
                }
            }
            match self
                .reply
                .next(until.saturating_duration_since(Instant::now()))
            {
                Piece::Data(data) => self.bytes.extend_from_slice(&data),
                Piece::Nothing => return Err(Piece::Nothing),
                end => self.end = Some(end),
            }
        }
    }

    /// All that still comes, and how it ends. Where a stream is reset, the last event may be torn; nowhere else.
    pub fn rest(&mut self, within: Duration) -> (Vec<Event>, Piece) {
        let mut events = Vec::new();
        loop {
            while let Some(event) = self.take() {
                events.push(event);
            }
            match self.reply.next(within) {
                Piece::Data(data) => self.bytes.extend_from_slice(&data),
                end => {
                    let reset = matches!(end, Piece::Broken(_));
                    assert!(reset || self.bytes.is_empty(), "{:?}", self.bytes);
                    return (events, end);
                }
            }
        }
    }

    /// The next event that is not a bookmark, or is the mark that ends the initial ones: the API server sends
    /// bookmarks when it likes.
    #[track_caller]
    pub fn event(&mut self, within: Duration) -> Event {
        self.beyond_bookmarks(within)
            .unwrap_or_else(|end| panic!("no event within {within:?}: {end:?}"))
    }

    fn beyond_bookmarks(&mut self, within: Duration) -> Result<Event, Piece> {
        let until = Instant::now() + within;
        loop {
            match self.poll(until.saturating_duration_since(Instant::now())) {
                Ok(event) if event.kind == "BOOKMARK" && !event.meta.initial_events_end => {}
                other => return other,
            }
        }
    }

    /// Everything up to the mark that ends the initial events, the mark last.
    #[track_caller]
    pub fn initial(&mut self, within: Duration) -> Vec<Event> {
        let until = Instant::now() + within;
        let mut events = Vec::new();
        loop {
            events.push(self.event(until.saturating_duration_since(Instant::now())));
            if events
                .last()
                .is_some_and(|event| event.meta.initial_events_end)
            {
                return events;
            }
        }
    }

    /// Nothing comes but bookmarks, and the stream stays open.
    #[track_caller]
    pub fn silent(&mut self, during: Duration) {
        assert_eq!(self.beyond_bookmarks(during), Err(Piece::Nothing));
    }

    fn take(&mut self) -> Option<Event> {
        if self.protobuf {
            self.take_frame()
        } else {
            self.take_line()
        }
    }

    fn take_line(&mut self) -> Option<Event> {
        let len = self.bytes.iter().position(|byte| *byte == b'\n')? + 1;
        let bytes: Vec<u8> = self.bytes.drain(..len).collect();
        let event: Value = serde_json::from_slice(&bytes).expect("an event is JSON");
        let meta = &event["object"]["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let meta = protobuf::Meta {
            name: text(&meta["name"]),
            namespace: text(&meta["namespace"]),
            resource_version: text(&meta["resourceVersion"]),
            initial_events_end: meta["annotations"]["k8s.io/initial-events-end"] == "true",
        };
        Some(Event {
            kind: text(&event["type"]),
            meta,
            bytes,
        })
    }

    fn take_frame(&mut self) -> Option<Event> {
        let len = u32::from_be_bytes(*self.bytes.first_chunk::<4>()?) as usize;
        if self.bytes.len() < 4 + len {
            return None;
        }
        let bytes: Vec<u8> = self.bytes.drain(..4 + len).skip(4).collect();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let kind = text(protobuf::field(&bytes, 1).unwrap_or_default());
        let raw = protobuf::field(&bytes, 2)
            .and_then(|object| protobuf::field(object, 1))
            .unwrap_or_default();
        let (_, object) = protobuf::envelope(raw);
        let meta = protobuf::meta(object);
        Some(Event { kind, meta, bytes })
    }
}

/// GET over plain HTTP, for the admin address.
pub fn plain_get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream
        .write_all(head.as_bytes())
        .map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no response head")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or("no status")?;
    Ok((status, body.to_string()))
}

/// Sends `bytes` as they are over TLS and reads until the other side ends or resets, or `within` is over (`None`).
pub fn raw(client: &Client, alpn: &str, bytes: &[u8], within: Duration) -> Option<Vec<u8>> {
    let mut tls = (**client.tls.as_ref().expect("a client with TLS")).clone();
    tls.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let session =
        rustls::ClientConnection::new(Arc::new(tls), ServerName::from(client.address.ip()))
            .expect("a session");
    let tcp = TcpStream::connect(client.address).expect("the server accepts");
    let end = Instant::now() + within;
    tcp.set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a timeout");
    let mut stream = rustls::StreamOwned::new(session, tcp);
    let mut sent = 0;
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    while Instant::now() < end {
        if sent < bytes.len() {
            match stream.write(&bytes[sent..]) {
                Ok(len) => {
                    sent += len;
                    continue;
                }
                Err(error) if waits(&error) => continue,
                // It may have answered before it closed.
                Err(_) => sent = bytes.len(),
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Some(got),
            Ok(len) => got.extend_from_slice(&buffer[..len]),
            Err(error) if waits(&error) => {}
            Err(_) => return Some(got),
        }
    }
    None
}

fn waits(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn certificates(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        .collect::<Result<_, _>>()
        .expect("PEM")
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn config(
    ca: &[CertificateDer<'static>],
    identity: Option<Identity>,
    alpn: &[u8],
) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in ca {
        roots.add(certificate.clone()).expect("a CA certificate");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .expect("an identity"),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config)
}

/// A request body that is there in one piece.
#[derive(Debug)]
struct Full(Option<Bytes>);

impl Body for Full {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(
            self.0
                .take()
                .filter(|data| !data.is_empty())
                .map(|data| Ok(Frame::data(data))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |data| data.len() as u64))
    }
}

#[derive(Clone)]
struct Tasks;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        tokio::spawn(task);
    }
}

/// What hyper can read from and write to.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// tokio's streams as hyper reads and writes them.
struct Io(Box<dyn Stream>);

impl hyper::rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut bytes = [0; 16 << 10];
        let room = cursor.remaining().min(bytes.len());
        let mut buffer = ReadBuf::new(&mut bytes[..room]);
        let read = Pin::new(&mut self.0).poll_read(cx, &mut buffer);
        if matches!(read, Poll::Ready(Ok(()))) {
            cursor.put_slice(buffer.filled());
        }
        read
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Sends many calls over one HTTP/2 connection, `at_once` of them in flight, and returns the statuses.
pub fn many(
    client: &Client,
    at_once: usize,
    calls: impl IntoIterator<Item = (Method, String, Value)>,
) -> Vec<u16> {
    let connection = client.connect().expect("a connection");
    let mut calls: VecDeque<_> = calls.into_iter().collect();
    let queue = std::sync::Mutex::new(&mut calls);
    let statuses = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            let (mut connection, queue, statuses) = (connection.share(), &queue, &statuses);
            scope.spawn(move || {
                loop {
                    let next = queue.lock().expect("nobody panics with it").pop_front();
                    let Some((method, path, body)) = next else {
                        return;
                    };
                    let reply = connection
                        .send(Call::json(method, &path, &body))
                        .and_then(Reply::whole);
                    statuses
                        .lock()
                        .expect("nobody panics with it")
                        .push(reply.map_or(0, |reply| reply.status));
                }
            });
        }
    });
    statuses.into_inner().expect("nobody panicked with it")
}
