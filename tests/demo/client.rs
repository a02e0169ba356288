//! A program on the node: it lists, gets, watches and writes with a bearer token, over one HTTP/2 connection.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use edge_hub::config::ServerUrl;
use edge_hub::sys::hyper_io::HyperIo;
use http::{HeaderMap, Method, Request};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use serde_json::Value;
use tokio::time::timeout;

use crate::body::Body;
use crate::link;
use crate::tls::H2;

/// Its name up to the `/` is what the hub's `cache_agents` says.
pub const AGENT: &str = "edge-app/1.0 (linux/demo)";
/// No answer may take longer, in the story.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest answer and event that are read, bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Cloud,
    /// The hub, with what it had kept; the age in seconds.
    Cache(u64),
    /// The hub, with words of its own.
    Hub,
}

impl From {
    /// The hub marks what it had kept; every API server gives its answers an audit id.
    fn read(headers: &HeaderMap) -> From {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let age = text("edge-hub-cache").and_then(|value| value.strip_prefix("age="));
        match age.map(|secs| secs.parse().unwrap_or(u64::MAX)) {
            Some(secs) => From::Cache(secs),
            None if text("audit-id").is_some() => From::Cloud,
            None => From::Hub,
        }
    }
}

/// An answer that came whole.
pub struct Answer {
    pub status: u16,
    pub from: From,
    pub json: Value,
    pub took: Duration,
}

#[derive(Clone)]
pub struct Client {
    sender: SendRequest<Body>,
    authority: String,
    token: String,
}

impl Client {
    pub async fn connect(server: &ServerUrl, ca: &Path, token: &str) -> Result<Client, String> {
        let stream = timeout(ANSWER, link::connect(server, ca, Some(H2)))
            .await
            .map_err(|_| "connect: no answer".to_string())??;
        if stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err("it does not speak HTTP/2, which the demo's client needs".to_string());
        }
        let (sender, connection) = http2::handshake(Tasks, HyperIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        // It ends with the last sender.
        tokio::task::spawn_local(connection);
        Ok(Client {
            sender,
            authority: server.authority(),
            token: token.to_string(),
        })
    }

    /// The same connection, somebody else.
    pub fn with_token(&self, token: &str) -> Client {
        let token = token.to_string();
        Client {
            token,
            ..self.clone()
        }
    }

    pub async fn get(&self, path: &str) -> Result<Answer, String> {
        self.call(Method::GET, path, None).await
    }

    pub async fn create(&self, path: &str, object: &Value) -> Result<Answer, String> {
        self.call(Method::POST, path, Some(object)).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let began = Instant::now();
        let exchange = async {
            let (head, mut body) = self.send(method, path, body).await?;
            let mut bytes = Vec::new();
            while let Some(data) = next(&mut body).await? {
                if bytes.len() + data.len() > ANSWER_BYTES_MAX {
                    return Err("the answer is too long for a demo".to_string());
                }
                bytes.extend_from_slice(&data);
            }
            Ok((head, bytes))
        };
        let (head, bytes) = timeout(ANSWER, exchange)
            .await
            .map_err(|_| format!("no answer within {} s", ANSWER.as_secs()))??;
        Ok(Answer {
            status: head.status.as_u16(),
            from: From::read(&head.headers),
            json: serde_json::from_slice(&bytes).unwrap_or_default(),
            took: began.elapsed(),
        })
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Result<Watch, String> {
        let began = Instant::now();
        let (head, body) = timeout(ANSWER, self.send(Method::GET, path, None))
            .await
            .map_err(|_| format!("no answer within {} s", ANSWER.as_secs()))??;
        Ok(Watch {
            status: head.status.as_u16(),
            from: From::read(&head.headers),
            took: began.elapsed(),
            body,
            bytes: Vec::new(),
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(http::response::Parts, Incoming), String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.authority))
            .header("user-agent", AGENT)
            .header("accept", "application/json")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.token))
            .body(Body::whole(body.map(Value::to_string).unwrap_or_default()))
            .map_err(|error| error.to_string())?;
        let response = self.sender.clone().send_request(request).await;
        Ok(response.map_err(|error| error.to_string())?.into_parts())
    }
}

/// An open watch.
pub struct Watch {
    pub status: u16,
    pub from: From,
    pub took: Duration,
    body: Incoming,
    bytes: Vec<u8>,
}

/// What a watch gave within a time.
pub enum Next {
    Event(Value),
    /// The stream ended as HTTP says it should.
    End,
    /// It is open, and nothing came.
    Silent,
}

impl Watch {
    /// The next event or end. A stream that breaks off, or gives what is no event, is an error.
    pub async fn next(&mut self, within: Duration) -> Result<Next, String> {
        let end = tokio::time::Instant::now() + within;
        loop {
            if let Some(at) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=at).collect();
                let event = serde_json::from_slice(&line);
                return event.map(Next::Event).map_err(|error| error.to_string());
            }
            match tokio::time::timeout_at(end, next(&mut self.body)).await {
                Err(_) => return Ok(Next::Silent),
                Ok(Ok(Some(data))) if self.bytes.len() + data.len() <= ANSWER_BYTES_MAX => {
                    self.bytes.extend_from_slice(&data);
                }
                Ok(Ok(Some(_))) => return Err("an event is too long for a demo".to_string()),
                Ok(Ok(None)) if self.bytes.is_empty() => return Ok(Next::End),
                Ok(Ok(None)) => return Err("the watch ended within an event".to_string()),
                Ok(Err(error)) => return Err(error),
            }
        }
    }
}

/// The next bytes of a body; `None` at its end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, String> {
    loop {
        match std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok(None),
            Some(Err(error)) => return Err(error.to_string()),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Runs hyper's tasks on this thread.
#[derive(Clone)]
pub struct Tasks;

impl<F: Future + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}
