//! A scripted API server: TLS, HTTP/1.1 and HTTP/2, answers of given sizes, in the forms of a real one. A real
//! kube-apiserver spends ten times the proxy's CPU on each answer, on the same cores, and would drown what is measured.
//! It is a process of its own, so that stopping it is a black hole and killing it a refused link.
//!
//! | path | answer |
//! |---|---|
//! | `/api/v1/namespaces/*/configmaps/*` | a ConfigMap of 2 KB |
//! | `/api/v1/namespaces/n-COUNT*/configmaps` | a list of COUNT of them |
//! | the same with `watch` | silence; in the namespace `tick` an event every 5 ms |
//! | `/api/v1/namespaces/*/pods/*/log` | 32 MiB |
//! | anything else | `{}` |

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::time::{ClockId, clock_gettime};
use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// Bytes of one object, as a `GET` gives it.
pub const OBJECT_BYTES: usize = 2048;
pub const TICK: Duration = Duration::from_millis(5);
pub const DOWNLOAD_BYTES: usize = 32 << 20;
/// Streams on one HTTP/2 connection, as at a kube-apiserver.
const STREAMS_MAX: u32 = 250;
const PIECE_BYTES: usize = 16 << 10;

/// Nanoseconds of the clock that all processes share.
pub fn now_nanos() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the monotonic clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// Serves on a port until killed. `papers` holds `server.crt` and `server.key`.
pub async fn serve(port: u16, papers: &Path) {
    let tls = TlsAcceptor::from(Arc::new(crate::tls::server(papers)));
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .expect("a free port");
    let watchers = Watchers::default();
    tokio::spawn(tick(watchers.clone()));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (tls, watchers) = (tls.clone(), watchers.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| {
                let response = answer(&request, &watchers);
                async move { Ok::<_, Infallible>(response) }
            });
            let io = TokioIo::new(stream);
            let _ = if h2 {
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .max_concurrent_streams(STREAMS_MAX)
                    .serve_connection(io, service)
                    .await
            } else {
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(io, service)
                    .await
            };
        });
    }
}

/// Open watches of the namespace `tick`.
type Watchers = Arc<Mutex<Vec<mpsc::Sender<Bytes>>>>;

async fn tick(watchers: Watchers) {
    let mut version = 2000u64;
    let mut clock = tokio::time::interval(TICK);
    loop {
        clock.tick().await;
        version += 1;
        let meta = meta("tick", 0, version);
        let at = now_nanos();
        let event = format!(
            "{{\"type\":\"MODIFIED\",\"object\":{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",{meta},\"data\":{{\"at\":\"{at}\"}}}}}}\n"
        );
        let event = Bytes::from(event);
        watchers
            .lock()
            .expect("one thread")
            .retain(|w| w.try_send(event.clone()).is_ok());
    }
}

fn answer(request: &Request<Incoming>, watchers: &Watchers) -> Response<Answer> {
    let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    let watch = request.uri().query().is_some_and(|q| q.contains("watch="));
    match path[..] {
        ["api", "v1", "namespaces", namespace, "configmaps"] if watch => {
            let (sender, receiver) = mpsc::channel(64);
            let quiet = namespace != "tick";
            if !quiet {
                watchers.lock().expect("one thread").push(sender.clone());
            }
            reply(Answer::Events(receiver, quiet.then_some(sender)), None)
        }
        ["api", "v1", "namespaces", namespace, "configmaps"] => reply(list(namespace), None),
        ["api", "v1", "namespaces", namespace, "configmaps", _] => whole(object(namespace)),
        ["api", "v1", "namespaces", _, "pods", _, "log"] => {
            let mut left = DOWNLOAD_BYTES;
            let piece = Bytes::from(vec![b'x'; PIECE_BYTES]);
            let pieces = move || {
                left = left.checked_sub(PIECE_BYTES)?;
                Some(piece.clone())
            };
            reply(Answer::Pieces(Box::new(pieces)), Some(DOWNLOAD_BYTES))
        }
        _ => whole("{}".to_owned()),
    }
}

fn reply(body: Answer, length: Option<usize>) -> Response<Answer> {
    let mut response = Response::builder().header("content-type", "application/json");
    if let Some(length) = length {
        response = response.header("content-length", length);
    }
    response.body(body).expect("a response")
}

fn whole(text: String) -> Response<Answer> {
    let length = text.len();
    let mut text = Some(Bytes::from(text));
    reply(Answer::Pieces(Box::new(move || text.take())), Some(length))
}

fn meta(namespace: &str, number: usize, version: u64) -> String {
    format!(
        "\"metadata\":{{\"name\":\"o-{number:06}\",\"namespace\":\"{namespace}\",\
         \"uid\":\"11111111-2222-3333-4444-{number:012}\",\"resourceVersion\":\"{version}\",\
         \"creationTimestamp\":\"2026-01-01T00:00:00Z\"}}"
    )
}

fn object(namespace: &str) -> String {
    padded(
        "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",",
        &meta(namespace, 0, 1000),
    )
}

/// An object of [`OBJECT_BYTES`].
fn padded(head: &str, meta: &str) -> String {
    let before = format!("{head}{meta},\"data\":{{\"x\":\"");
    let padding = OBJECT_BYTES - before.len() - 3;
    format!("{before}{:x<padding$}\"}}}}", "")
}

fn list(namespace: &str) -> Answer {
    let count: usize = namespace
        .split('-')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let namespace = namespace.to_owned();
    let mut at = 0;
    let mut ended = false;
    Answer::Pieces(Box::new(move || {
        if ended {
            return None;
        }
        let mut piece = String::with_capacity(PIECE_BYTES + OBJECT_BYTES);
        if at == 0 {
            piece.push_str(
                "{\"kind\":\"ConfigMapList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"1000\"},\"items\":[",
            );
        }
        while at < count && piece.len() < PIECE_BYTES {
            if at > 0 {
                piece.push(',');
            }
            piece.push_str(&padded("{", &meta(&namespace, at, 1000)));
            at += 1;
        }
        if at == count {
            piece.push_str("]}\n");
            ended = true;
        }
        Some(Bytes::from(piece))
    }))
}

/// A body.
enum Answer {
    Pieces(Box<dyn FnMut() -> Option<Bytes> + Send>),
    /// With the sender that keeps a silent watch open.
    Events(
        mpsc::Receiver<Bytes>,
        #[allow(dead_code, reason = "held, not read")] Option<mpsc::Sender<Bytes>>,
    ),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Answer::Pieces(next) => Poll::Ready(next().map(|piece| Ok(Frame::data(piece)))),
            Answer::Events(events, _) => events
                .poll_recv(cx)
                .map(|piece| piece.map(|p| Ok(Frame::data(p)))),
        }
    }
}
