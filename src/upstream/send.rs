//! One request's way to a server: which one, over which connection, and what may be tried again.

use super::body::{RequestBody, ResponseBody, Upload};
use super::connect::Offer;
use super::error::{ConnectError, SendError};
use super::http1;
use super::http2::Failure;
use super::pool::{Lease, Server};
use super::{Upstream, Way};
use crate::config::{Mode, ServerUrl};
use crate::health::{Input, LinkState, Reason, ServerState};
use crate::limits::ATTEMPTS_MAX;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

impl Upstream {
    /// Sends one request and returns when the head of its response is here.
    ///
    /// `head` is what a client sent, its headers cleaned by [`super::headers::request_headers`]; of its URI only path
    /// and query count. Has no deadline of its own beyond those of connecting and of silence: that is the caller's.
    /// Dropping the future, or the body that it returns, tells the server to stop.
    ///
    /// # Errors
    /// Whether the server can have acted on it, see [`SendError`]. Reads were tried on every server that is not down.
    pub async fn send(
        &self,
        way: Way,
        head: &Parts,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, SendError> {
        let read = is_read(&head.method);
        let mut upload = Upload::new(body, self.replay.clone());
        let mut last = None;
        for server in self.candidates() {
            match self.send_to(&server, way, head, &mut upload, read).await {
                Ok(response) => return Ok(response),
                Err(error) if error.may_ask_another(read) && upload.rewind() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| self.down()))
    }

    /// Sends a request to upgrade over a connection of its own, HTTP/1.1. If the answer is `101`,
    /// `hyper::upgrade::on(response)` gives the stream; any other answer is the server's, to be passed on.
    ///
    /// # Errors
    /// As [`Upstream::send`]; only a failure to connect is tried on another server.
    pub async fn upgrade(
        &self,
        way: Way,
        head: &Parts,
        body: RequestBody,
    ) -> Result<Response<hyper::body::Incoming>, SendError> {
        let permit = self
            .upgrades
            .clone()
            .try_acquire_owned()
            .map_err(|_| SendError::NotSent("too many upgraded connections".into()))?;
        let mut last = None;
        for server in self.candidates() {
            match self.connect_http1(&server, way).await {
                Err(error) => last = Some(error.into()),
                Ok(connected) => {
                    let mut upload = Upload::new(body, self.replay.clone());
                    let request = h1_request(&server.url, head).map_err(SendError::NotSent)?;
                    let (mut conn, connection) = http1::open(connected, Some(permit))
                        .await
                        .map_err(|e| SendError::NotSent(e.to_string()))?;
                    self.means.tasks.spawn(async move {
                        // How it ended, the response or the upgraded stream tells.
                        let _ = connection.with_upgrades().await;
                    });
                    return conn.head(request, &mut upload).await.map_err(|f| match f {
                        Failure::Unprocessed(text) | Failure::Malformed(text) => {
                            SendError::NotSent(text)
                        }
                        Failure::Client(text) => SendError::Client(text),
                        Failure::Died(text) | Failure::Reset(text) => SendError::Lost(text),
                    });
                }
            }
        }
        Err(last.unwrap_or_else(|| self.down()))
    }

    /// The servers to try, in order: those that are not down.
    fn candidates(&self) -> Vec<Rc<Server>> {
        let count = self.servers.len();
        let first = match self.settings.mode {
            Mode::Priority => 0,
            Mode::RoundRobin => self.turn.replace(self.turn.get().wrapping_add(1)) % count.max(1),
        };
        let turned = self.servers.iter().cycle().skip(first).take(count);
        turned
            .filter(|server| self.link.usable(server.index))
            .cloned()
            .collect()
    }

    fn down(&self) -> SendError {
        SendError::Down(match self.link.state() {
            LinkState::Down { reason, .. } => reason.to_string(),
            _ => "no server can be used".into(),
        })
    }

    async fn send_to(
        &self,
        server: &Rc<Server>,
        way: Way,
        head: &Parts,
        upload: &mut Upload,
        read: bool,
    ) -> Result<Response<ResponseBody>, SendError> {
        let mut stale = false;
        let mut refusal = String::new();
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                pause(attempt).await;
                if let ServerState::Down { reason, .. } = self.link.server(server.index) {
                    let text = format!("{refusal}; then {reason}");
                    return Err(if stale {
                        SendError::Lost(text)
                    } else {
                        SendError::NotSent(text)
                    });
                }
            }
            match self
                .exchange(server, way, Offer::to(way, attempt), head, upload)
                .await
            {
                Ok(response) => return self.judged(server, response, read),
                Err(Tried::Connect(error)) if stale => {
                    let error = SendError::from(error);
                    return Err(SendError::Lost(format!("{refusal}; then {error}")));
                }
                Err(Tried::Connect(error)) => return Err(error.into()),
                Err(Tried::Sent(Failure::Unprocessed(text))) => {
                    if !upload.rewind() {
                        return Err(SendError::NotSent(text));
                    }
                    refusal = text;
                }
                // The server may have closed the connection before the request reached it. A write may have been done.
                Err(Tried::Sent(Failure::Died(text))) => {
                    if !read || stale || !upload.rewind() {
                        return Err(SendError::Lost(text));
                    }
                    stale = true;
                    refusal = text;
                }
                Err(Tried::Sent(Failure::Reset(text))) => return Err(SendError::Lost(text)),
                Err(Tried::Sent(Failure::Client(text))) => return Err(SendError::Client(text)),
                Err(Tried::Sent(Failure::Malformed(text))) => return Err(SendError::NotSent(text)),
            }
        }
        Err(SendError::NotSent(format!(
            "refused {ATTEMPTS_MAX} times: {refusal}"
        )))
    }

    async fn exchange(
        &self,
        server: &Rc<Server>,
        way: Way,
        offer: Offer,
        head: &Parts,
        upload: &mut Upload,
    ) -> Result<Response<ResponseBody>, Tried> {
        let malformed = |text| Tried::Sent(Failure::Malformed(text));
        let lease = server
            .lease(way, offer, &self.means)
            .await
            .map_err(Tried::Connect)?;
        match lease {
            Lease::H2(conn, ticket) => {
                let request = h2_request(&server.url, head).map_err(malformed)?;
                conn.exchange(ticket, request, upload)
                    .await
                    .map_err(Tried::Sent)
            }
            Lease::H1(conn, idle) => {
                let request = h1_request(&server.url, head).map_err(malformed)?;
                conn.exchange(request, upload, &idle)
                    .await
                    .map_err(Tried::Sent)
            }
        }
    }

    /// An answer that a load balancer gives for its server tells about the link. To a read it is no answer; to a
    /// write it is passed on, as the only thing known.
    fn judged(
        &self,
        server: &Server,
        response: Response<ResponseBody>,
        read: bool,
    ) -> Result<Response<ResponseBody>, SendError> {
        if !is_gateway_answer(response.status(), response.headers()) {
            return Ok(response);
        }
        server.fail(Reason::Gateway(response.status().as_u16()));
        if read {
            Err(SendError::Gateway(Box::new(response)))
        } else {
            Ok(response)
        }
    }

    async fn connect_http1(
        &self,
        server: &Server,
        way: Way,
    ) -> Result<super::connect::Connected, ConnectError> {
        let config = self.means.tls.config(way).ok_or(ConnectError::NoIdentity)?;
        let deadline = Instant::now() + self.settings.connect_timeout;
        let made = server
            .connect(&config, Offer::Http1, way.has_certificate(), deadline)
            .await;
        match &made {
            Ok(_) if self.link.usable(server.index) => {
                self.link.feed(server.index, Input::Answered)
            }
            Err(ConnectError::Link(reason)) => server.fail(reason.clone()),
            _ => {}
        }
        made
    }
}

enum Tried {
    Connect(ConnectError),
    Sent(Failure),
}

/// At once after the first refusal, as a GOAWAY is routine; then a little later each time, as overload is not.
async fn pause(attempt: u32) {
    if attempt > 1 {
        sleep(Duration::from_millis(10 << attempt.min(6))).await;
    }
}

/// Methods that change nothing, so that sending them twice does no harm.
fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a `502`, `503` or `504` comes from something before the API server: what an API server answers carries an
/// audit id, or flow control ids, or is a Status.
pub(crate) fn is_gateway_answer(status: StatusCode, headers: &HeaderMap) -> bool {
    let gateway_status = matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    );
    let marked = ["audit-id", "x-kubernetes-pf-flowschema-uid"]
        .iter()
        .any(|name| headers.contains_key(*name));
    gateway_status && !marked && !is_status_type(headers)
}

fn is_status_type(headers: &HeaderMap) -> bool {
    let text = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let essence = text.split(';').next().unwrap_or("").trim();
    [
        "application/json",
        "application/vnd.kubernetes.protobuf",
        "application/yaml",
        "application/cbor",
    ]
    .iter()
    .any(|known| essence.eq_ignore_ascii_case(known))
}

pub(crate) fn h2_request(url: &ServerUrl, head: &Parts) -> Result<Request<()>, String> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(authority(url)?);
    parts.path_and_query = Some(path(head));
    let uri = Uri::from_parts(parts).map_err(|e| e.to_string())?;
    request(head, uri, Version::HTTP_2)
}

pub(crate) fn h1_request(url: &ServerUrl, head: &Parts) -> Result<Request<()>, String> {
    let mut request = request(head, Uri::from(path(head)), Version::HTTP_11)?;
    let host = HeaderValue::from_str(&url.authority()).map_err(|e| e.to_string())?;
    request.headers_mut().insert(header::HOST, host);
    Ok(request)
}

fn request(head: &Parts, uri: Uri, version: Version) -> Result<Request<()>, String> {
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = head.headers.clone();
    Ok(request)
}

fn authority(url: &ServerUrl) -> Result<Authority, String> {
    url.authority()
        .parse()
        .map_err(|_| format!("{url} is no authority"))
}

fn path(head: &Parts) -> PathAndQuery {
    head.uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answered() {
        let check = |status: u16, lines: &[(&'static str, &'static str)], gateway: bool| {
            let headers = lines
                .iter()
                .map(|(n, v)| {
                    (
                        header::HeaderName::from_static(n),
                        HeaderValue::from_static(v),
                    )
                })
                .collect();
            assert_eq!(
                is_gateway_answer(StatusCode::from_u16(status).unwrap(), &headers),
                gateway,
                "{status} {lines:?}"
            );
        };
        check(503, &[], true);
        check(502, &[("content-type", "text/html; charset=utf-8")], true);
        check(504, &[("content-type", "text/plain")], true);
        check(500, &[], false);
        check(200, &[], false);
        check(503, &[("audit-id", "x")], false);
        check(503, &[("x-kubernetes-pf-flowschema-uid", "x")], false);
        check(503, &[("content-type", "application/json")], false);
        check(
            503,
            &[("content-type", "application/vnd.kubernetes.protobuf")],
            false,
        );
        check(
            504,
            &[("content-type", "Application/JSON; charset=utf-8")],
            false,
        );
    }
}
