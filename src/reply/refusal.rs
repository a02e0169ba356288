//! Why the hub itself says no, in words that a person can act on. One place for every such answer.

use crate::limits;
use std::fmt;

/// A request that the hub answers with an error of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Malformed(&'static str),
    TwoFramings,
    TwoAuthorizations,
    NotAPath,
    Method,
    TargetTooLong,
    HeadTooLarge,
    HeadTimeout,
    /// A client certificate that no entry of `identities` lists.
    NotListed,
    /// At `local_listen`, somebody who is not among `local_uids`, or not on this node.
    NotLocal,
    /// At `local_listen`, without a token, and there is no `client_cert`.
    NoNodePair,
    /// Too many requests of callers whom the API server does not know come from the same place.
    TooManyStrangers,
    /// The link is down and nothing (or nothing for this caller) is kept.
    Offline,
    /// The link is down: nothing can be changed.
    OfflineWrite,
    /// The link broke before the request was sent.
    NotSent,
    /// The link broke while the request was under way: it may have been carried out.
    OutcomeUnknown,
    /// The API server's certificate is not one that the hub trusts.
    UpstreamCertificate,
    /// Nothing came back in time.
    UpstreamSilent,
    /// The client's own body broke off.
    BodyBroken,
    /// The API server's answer is nothing that the filters which it must pass can read.
    NotFiltered,
    /// What the filters go by has never been known.
    NotDecided,
}

impl Refusal {
    /// HTTP status code.
    pub fn code(self) -> u16 {
        match self {
            Refusal::Malformed(_)
            | Refusal::TwoFramings
            | Refusal::TwoAuthorizations
            | Refusal::NotAPath
            | Refusal::BodyBroken => 400,
            Refusal::NotListed | Refusal::NotLocal | Refusal::NoNodePair => 403,
            Refusal::Method => 405,
            Refusal::HeadTimeout => 408,
            Refusal::TargetTooLong => 414,
            Refusal::TooManyStrangers => 429,
            Refusal::HeadTooLarge => 431,
            Refusal::Offline
            | Refusal::OfflineWrite
            | Refusal::NotSent
            | Refusal::UpstreamCertificate
            | Refusal::NotDecided => 503,
            Refusal::NotFiltered => 502,
            Refusal::OutcomeUnknown | Refusal::UpstreamSilent => 504,
        }
    }

    /// `reason` of the `Status`, in Kubernetes' own words.
    pub fn reason(self) -> &'static str {
        match self.code() {
            403 => "Forbidden",
            405 => "MethodNotAllowed",
            408 | 504 => "Timeout",
            429 => "TooManyRequests",
            414 | 431 => "RequestEntityTooLarge",
            502 => "InternalError",
            503 => "ServiceUnavailable",
            _ => "BadRequest",
        }
    }

    /// The fixed part of the message. No address, path or token ever stands in it.
    pub fn message(self) -> Message {
        Message(self)
    }
}

/// Shows a refusal's text.
pub struct Message(Refusal);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Refusal::Malformed(what) => write!(f, "edge-hub: bad request: {what}"),
            Refusal::TwoFramings => {
                f.write_str("edge-hub: bad request: it has both Content-Length and Transfer-Encoding; send one of them")
            }
            Refusal::TwoAuthorizations => {
                f.write_str("edge-hub: bad request: more than one Authorization header, or a token among the WebSocket protocols beside it; send one")
            }
            Refusal::NotAPath => f.write_str("edge-hub: bad request: the target is not a path that begins with /"),
            Refusal::Method => f.write_str("edge-hub: this method is not one of the Kubernetes API"),
            Refusal::TargetTooLong => write!(
                f,
                "edge-hub: path and query are longer than {} bytes; shorten the selector or the command",
                limits::TARGET_BYTES_MAX
            ),
            Refusal::HeadTooLarge => write!(
                f,
                "edge-hub: the request's head has more than {} bytes or {} lines",
                limits::HEAD_BYTES_MAX,
                limits::HEADERS_MAX
            ),
            Refusal::HeadTimeout => f.write_str("edge-hub: the request's head did not arrive in time"),
            Refusal::NotListed => f.write_str(
                "edge-hub: the subject of this client certificate is not listed under `identities` in the hub's \
                 configuration",
            ),
            Refusal::NotLocal => f.write_str(
                "edge-hub: here only programs of this node are served whose user is listed under `local_uids` in the \
                 hub's configuration; others use its TLS port",
            ),
            Refusal::NoNodePair => f.write_str(
                "edge-hub: a request without a token goes up as the node, and the hub has no pair of the node: neither by \
                 `client_cert` in its configuration, nor by `edge-hub join`",
            ),
            Refusal::TooManyStrangers => f.write_str(
                "edge-hub: too many requests without a token, or with one that the API server has not accepted, come from \
                 this program; see to its token",
            ),
            Refusal::Offline => f.write_str(
                "edge-hub: the API server cannot be reached, and no answer to this request is kept for this caller",
            ),
            Refusal::OfflineWrite => {
                f.write_str("edge-hub: the API server cannot be reached; nothing was changed, try again later")
            }
            Refusal::NotSent => f.write_str(
                "edge-hub: the connection to the API server broke before the request was sent; nothing was changed",
            ),
            Refusal::OutcomeUnknown => f.write_str(
                "edge-hub: the connection to the API server broke before it answered; the request may have been \
                 carried out",
            ),
            Refusal::UpstreamCertificate => f.write_str(
                "edge-hub: the API server's certificate is not trusted by the hub's ca_file; `edge-hub check` says why",
            ),
            Refusal::UpstreamSilent => f.write_str("edge-hub: the API server did not answer in time"),
            Refusal::NotFiltered => f.write_str(
                "edge-hub: the API server's answer cannot be read by the filters that answers to this program must pass",
            ),
            Refusal::NotDecided => f.write_str(
                "edge-hub: what Services ask of their topology is not known, so endpoints cannot be chosen; `edge-hub \
                 status` says why",
            ),
            Refusal::BodyBroken => f.write_str("edge-hub: bad request: the body broke off before its end"),
        }
    }
}
