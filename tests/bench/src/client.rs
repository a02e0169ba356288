//! A client of the API server or of a proxy before it: one connection.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Whose answers the hub keeps, by its built-in list, and whose not.
pub const KEPT: &str = "kubelet/v1.36.4";
pub const NOT_KEPT: &str = "other/1";

/// Bytes of one stream that a client which does not read lets come.
const WINDOW_BYTES: u32 = 64 << 10;

/// So long a hub may take to find its server, emulated and on a busy machine.
const FIRST_WAIT: Duration = Duration::from_secs(20);

/// What a client shows.
#[derive(Clone, Copy)]
pub enum Token {
    /// Few bytes: what a request costs beside them.
    Short,
    /// As long as one of a pod.
    Long,
    /// [`Token::Long`] but for its last byte.
    Near,
    /// As long, and another from its first byte on.
    Far,
}

impl Token {
    fn header(self) -> String {
        match self {
            Token::Short => "Bearer bench".to_owned(),
            Token::Long => format!("Bearer {:b<1100}", "bench"),
            Token::Near => format!("Bearer {:b<1099}c", "bench"),
            Token::Far => format!("Bearer {:c<1100}", ""),
        }
    }
}

pub type Fault = Box<dyn Error + Send + Sync>;

enum Sender {
    H1(http1::SendRequest<Empty<Bytes>>),
    H2(http2::SendRequest<Empty<Bytes>>),
}

pub struct Client {
    sender: Sender,
    agent: &'static str,
    pub token: Token,
}

impl Client {
    /// HTTP/2 if `tls` offers that.
    pub async fn connect(
        to: SocketAddr,
        tls: &Arc<ClientConfig>,
        agent: &'static str,
    ) -> Result<Client, Fault> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let name = to.ip().into();
        let io = TokioIo::new(
            TlsConnector::from(Arc::clone(tls))
                .connect(name, stream)
                .await?,
        );
        let sender = if tls.alpn_protocols[0] == b"h2" {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(WINDOW_BYTES)
                .handshake(io)
                .await?;
            tokio::spawn(connection);
            Sender::H2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Sender::H1(sender)
        };
        Ok(Client {
            sender,
            agent,
            token: Token::Short,
        })
    }

    /// The answer's head, with the body still to come.
    pub async fn open(&mut self, path: &str) -> Result<Response<Incoming>, Fault> {
        let request = Request::get(format!("https://127.0.0.1{path}"))
            .header("user-agent", self.agent)
            .header("authorization", self.token.header())
            .header("accept", "application/json");
        Ok(match &mut self.sender {
            Sender::H1(sender) => {
                sender.ready().await?;
                let request = request
                    .uri(path)
                    .header("host", "127.0.0.1")
                    .body(Empty::new())?;
                sender.send_request(request).await?
            }
            Sender::H2(sender) => {
                sender.ready().await?;
                sender.send_request(request.body(Empty::new())?).await?
            }
        })
    }

    /// The whole answer, read and dropped: its status and length.
    pub async fn get(&mut self, path: &str) -> Result<(u16, usize), Fault> {
        let response = self.open(path).await?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok((status, length))
    }

    /// The same, once it is a 200: a hub that has just started has not found its server yet.
    pub async fn first(&mut self, path: &str) {
        let start = Instant::now();
        while start.elapsed() < FIRST_WAIT {
            match self.get(path).await {
                Ok((503, _)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok((200, _)) => return,
                other => panic!("GET {path}: {other:?}"),
            }
        }
        panic!("GET {path}: no server");
    }

    /// The same, which must be a 200.
    pub async fn must(&mut self, path: &str) -> usize {
        match self.get(path).await {
            Ok((200, length)) => length,
            other => panic!("GET {path}: {other:?}"),
        }
    }
}
