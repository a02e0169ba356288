//! A server that says what a test tells it to say, over HTTP/2: what no API server does when it is asked to, and in which
//! order the hub asked. Over HTTP/1.1, by which the hub asks whether it is there and whose a token is, all is well.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::{TempDir, block_on, runtime};

#[path = "../demo/tls.rs"]
mod tls;

/// Streams at once on one connection, as an API server has it.
const STREAMS_MAX: u32 = 250;

/// What the server does with one request, one after the other.
#[derive(Clone)]
pub enum Step {
    /// The head of the answer.
    Head(u16, Vec<(&'static str, String)>),
    Data(Vec<u8>),
    Wait(Duration),
    /// Waits until the gate has been opened so often.
    Gate(u32),
    /// Resets the stream.
    Reset,
    /// Leaves it open.
    Hold,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub agent: String,
    /// Path and query.
    pub target: String,
}

impl Seen {
    pub fn is_watch(&self) -> bool {
        self.target.contains("watch=")
    }
}

type Script = dyn Fn(&Seen) -> Vec<Step> + Send + Sync;

struct Shared {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    /// Watches whose answers have not begun; and the most at one time.
    waiting: AtomicUsize,
    waiting_most: AtomicUsize,
    gate: watch::Sender<u32>,
}

/// The running server; it runs as long as the process does.
pub struct Scripted {
    pub address: SocketAddr,
    /// Who has signed its certificate.
    pub ca: PathBuf,
    shared: Arc<Shared>,
    _dir: TempDir,
}

impl Scripted {
    /// Answers each request by `script`. What is steps beyond its end ends the answer.
    pub fn start(script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Scripted {
        let dir = TempDir::new("scripted");
        let serving = tls::serving(dir.path()).expect("a certificate");
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            seen: Mutex::default(),
            waiting: AtomicUsize::new(0),
            waiting_most: AtomicUsize::new(0),
            gate: watch::Sender::new(0),
        });
        let (acceptor, at) = (TlsAcceptor::from(serving.config), Arc::clone(&shared));
        runtime().spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(connection(tcp, acceptor.clone(), Arc::clone(&at)));
            }
        });
        Scripted {
            address,
            ca: serving.ca,
            shared,
            _dir: dir,
        }
    }

    /// What was asked so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("nobody panics").clone()
    }

    /// The most watches that waited for the beginning of their answers at one time, since the last call.
    pub fn waiting_most(&self) -> usize {
        self.shared.waiting_most.swap(0, Ordering::Relaxed)
    }

    /// Opens the gate once more.
    pub fn open(&self) {
        self.shared.gate.send_modify(|times| *times += 1);
    }
}

async fn connection(tcp: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let _ = tcp.set_nodelay(true);
    let Ok(mut tls) = acceptor.accept(tcp).await else {
        return;
    };
    if tls.get_ref().1.alpn_protocol() != Some(tls::H2) {
        // Heads alone come, each in a piece.
        let mut head = [0; 8 << 10];
        while matches!(tls.read(&mut head).await, Ok(len) if len > 0) {
            let well =
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
            if tls.write_all(well).await.is_err() || tls.flush().await.is_err() {
                return;
            }
        }
        return;
    }
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(STREAMS_MAX);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(tls).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let seen = seen_of(&request);
        (shared.seen.lock().expect("nobody panics")).push(seen.clone());
        tokio::spawn(answer(seen, respond, Arc::clone(&shared)));
    }
}

fn seen_of<T>(request: &Request<T>) -> Seen {
    let agent = request.headers().get("user-agent");
    Seen {
        at: Instant::now(),
        agent: agent
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default()
            .to_string(),
        target: request
            .uri()
            .path_and_query()
            .map_or("", |target| target.as_str())
            .to_string(),
    }
}

async fn answer(seen: Seen, mut respond: SendResponse<Bytes>, shared: Arc<Shared>) {
    let mut waits = seen.is_watch();
    if waits {
        let now = shared.waiting.fetch_add(1, Ordering::Relaxed) + 1;
        shared.waiting_most.fetch_max(now, Ordering::Relaxed);
    }
    let mut stream: Option<SendStream<Bytes>> = None;
    for step in (shared.script)(&seen) {
        match step {
            Step::Wait(time) => sleep(time).await,
            Step::Gate(times) => {
                let _ = shared.gate.subscribe().wait_for(|now| *now >= times).await;
            }
            Step::Head(status, headers) => {
                if std::mem::take(&mut waits) {
                    shared.waiting.fetch_sub(1, Ordering::Relaxed);
                }
                let mut head = Response::builder().status(status);
                for (name, value) in headers {
                    head = head.header(name, value);
                }
                let head = head.body(()).expect("a head");
                stream = respond.send_response(head, false).ok();
            }
            Step::Data(bytes) => {
                if let Some(stream) = &mut stream {
                    let _ = stream.send_data(bytes.into(), false);
                }
            }
            Step::Reset => return respond.send_reset(h2::Reason::INTERNAL_ERROR),
            // The connection's end is the task's: it is dropped with the runtime.
            Step::Hold => std::future::pending().await,
        }
    }
    if let Some(stream) = &mut stream {
        let _ = stream.send_data(Bytes::new(), true);
    }
}

/// A whole answer in JSON.
pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Vec<Step> {
    vec![
        Step::Head(
            status,
            vec![("content-type", "application/json".to_string())],
        ),
        Step::Data(body.into()),
    ]
}

/// One member of gzip, of what fits into one stored block.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("a short text");
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(len.to_le_bytes());
    out.extend((!len).to_le_bytes());
    out.extend(bytes);
    out.extend(crc32(bytes).to_le_bytes());
    out.extend(u32::from(len).to_le_bytes());
    out
}

/// RFC 1952 section 8.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    })
}
