//! Why a request got no answer from the API server.

use super::body::ResponseBody;
use crate::health::Reason;
use std::fmt;

/// Why a request got no answer, by what the caller may do about it. Its text is for the log: it may hold addresses.
pub enum SendError {
    /// Every server is known to be down: nothing was tried.
    Down(String),
    /// The server did certainly not act on it.
    NotSent(String),
    /// It was sent, and the server may have acted on it.
    Lost(String),
    /// The server's certificate, or ours in its eyes, is not acceptable. Nothing was sent.
    TlsRefused(String),
    /// The client broke off its own body.
    Client(String),
    /// A read was answered 502, 503 or 504, not by an API server but by what stands before it. The answer is here for
    /// the caller that has nothing better.
    Gateway(Box<http::Response<ResponseBody>>),
}

/// Whose doing a failure was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Client,
    Link,
    Upstream,
}

impl SendError {
    /// Whose doing it was.
    pub fn whose(&self) -> Whose {
        match self {
            SendError::Client(_) => Whose::Client,
            SendError::TlsRefused(_) | SendError::Gateway(_) => Whose::Upstream,
            SendError::Down(_) | SendError::NotSent(_) | SendError::Lost(_) => Whose::Link,
        }
    }

    /// Whether another server may be asked: always when this one did not act on it, otherwise only for reads.
    pub(crate) fn may_ask_another(&self, read: bool) -> bool {
        match self {
            SendError::Client(_) => false,
            SendError::Lost(_) | SendError::Gateway(_) => read,
            SendError::Down(_) | SendError::NotSent(_) | SendError::TlsRefused(_) => true,
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Down(text) => write!(f, "link is down: {text}"),
            SendError::NotSent(text) => write!(f, "not sent: {text}"),
            SendError::Lost(text) => write!(f, "sent, answer lost: {text}"),
            SendError::TlsRefused(text) => write!(f, "TLS refused: {text}"),
            SendError::Client(text) => write!(f, "client broke off its body: {text}"),
            SendError::Gateway(response) => {
                write!(
                    f,
                    "answered {} by a load balancer",
                    response.status().as_u16()
                )
            }
        }
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for SendError {}

/// Why there is no connection. Cheap to copy: all that waited for it get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// The settings have no TLS configuration for this way.
    NoIdentity,
    /// The link's doing; the reason counts against the server.
    Link(Reason),
    /// The server does not like our certificate: that says nothing about the link.
    OurCertificate(String),
}

impl From<ConnectError> for SendError {
    fn from(error: ConnectError) -> SendError {
        match error {
            ConnectError::NoIdentity => {
                SendError::NotSent("no key pair is configured for this way".into())
            }
            ConnectError::Link(Reason::Tls(text)) | ConnectError::OurCertificate(text) => {
                SendError::TlsRefused(text)
            }
            ConnectError::Link(reason) => SendError::NotSent(reason.to_string()),
        }
    }
}

/// A library's words without the advice that rustls adds for programmers.
pub(crate) fn plain(text: String) -> String {
    match text.split_once(": https://docs.rs/") {
        Some((text, _)) => text.to_string(),
        None => text,
    }
}
