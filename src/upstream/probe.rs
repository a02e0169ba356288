//! Asks a server that is down, or in doubt, whether it is back.

use super::Upstream;
use super::backoff::{Backoff, Random};
use super::body::Upload;
use super::connect::{Connected, Offer};
use super::error::ConnectError;
use super::pool::Server;
use super::send::{h1_request, h2_request, is_gateway_answer};
use super::{RequestBody, Way};
use super::{http1, http2};
use crate::health::{Input, Reason, ServerState};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode, Uri};
use rustls::ClientConfig;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

/// Watches over one server for ever.
pub(crate) async fn run(upstream: Rc<Upstream>, server: Rc<Server>) {
    let settings = &upstream.settings;
    let Some(prodded) = server.link.prodded(server.index) else {
        return;
    };
    let mut random = Random::seeded();
    let mut backoff = Backoff::new(settings.probe_min, settings.probe_max);
    let is_down = || !server.link.usable(server.index);
    let mut down_last: Option<Instant> = None;
    probe(&upstream, &server).await;
    loop {
        if is_down() {
            // A load balancer that answers probes and nothing else would otherwise be probed, and its clients sent
            // there and back, every second: there an outage right after an outage goes on where that one ended.
            let again = down_last.is_some_and(|last| last.elapsed() < settings.probe_max);
            if !(again && is_gateway(server.link.server(server.index))) {
                backoff.reset();
            }
            forget_prod(&prodded).await;
        }
        while is_down() {
            prodded_or(&prodded, backoff.next(&mut random)).await;
            probe(&upstream, &server).await;
            down_last = Some(Instant::now());
        }
        let told = prodded_or(&prodded, watch_wait(&upstream, &server, &mut random)).await;
        if !is_down() && (told || !server.is_watched()) {
            probe(&upstream, &server).await;
        }
    }
}

fn is_gateway(state: ServerState) -> bool {
    matches!(
        state,
        ServerState::Down {
            reason: Reason::Gateway(_),
            ..
        }
    )
}

/// Waits; true if it was told to stop waiting.
async fn prodded_or(prodded: &Notify, wait: Duration) -> bool {
    // Both arms are cancel-safe.
    tokio::select! {
        biased;
        () = prodded.notified() => true,
        () = sleep(wait) => false,
    }
}

/// The news that it went down is no wish for a probe.
async fn forget_prod(prodded: &Notify) {
    prodded_or(prodded, Duration::ZERO).await;
}

/// How long a server that is up may go without pings before it is asked: not long while requests wait for it over
/// HTTP/1.1, where a handshake and an answer is the only sign of life.
fn watch_wait(upstream: &Upstream, server: &Server, random: &mut Random) -> Duration {
    let busy = !server.is_watched() && server.load().1 > 0;
    let most = if busy {
        upstream.settings.ping_after * 5
    } else {
        upstream.settings.probe_max
    };
    most / 2 + random.up_to(most / 2)
}

async fn probe(upstream: &Upstream, server: &Rc<Server>) {
    let settings = &upstream.settings;
    let most = settings.connect_timeout + settings.ping_wait;
    let verdict = timeout(most, ask(upstream, server))
        .await
        .unwrap_or(Err(Reason::TimedOut));
    match verdict {
        Ok(()) => server.link.feed(server.index, Input::Answered),
        Err(reason) => {
            *server.last_error.borrow_mut() = Some(reason.to_string());
            if reason == Reason::TimedOut {
                server.abandon();
            }
            server.link.feed(server.index, Input::Failed(reason));
        }
    }
}

/// `GET /readyz` on a connection of its own. Any answer means up, but one that a load balancer gives in the place of a
/// server, and that of a server that is not ready; and one that refuses our certificate is an answer too.
async fn ask(upstream: &Upstream, server: &Rc<Server>) -> Result<(), Reason> {
    let tls = &upstream.means.tls;
    let mut said = None;
    for way in [Way::Node, Way::Anonymous] {
        let Some(config) = tls.config(way) else {
            continue;
        };
        match ask_as(upstream, server, way, &config).await {
            Ok((status, headers)) if is_gateway_answer(status, &headers) => {
                return Err(Reason::Gateway(status.as_u16()));
            }
            Ok((status, _)) => said = Some(status.as_u16()),
            Err(ConnectError::OurCertificate(_)) => return Ok(()),
            Err(ConnectError::NoIdentity) => return Err(Reason::Tls("no identity".into())),
            Err(ConnectError::Link(reason)) => return Err(reason),
        }
        // A certificate that is over, or of a CA that is no more, says nothing about the server, which may be good for
        // all others. Whether it is ready an API server tells to anybody.
        if said != Some(StatusCode::UNAUTHORIZED.as_u16()) {
            break;
        }
    }
    match said {
        None => Err(Reason::Tls("no TLS configuration to probe with".into())),
        Some(status) if !is_ready(server, status) => Err(Reason::NotReady(status)),
        Some(_) => Ok(()),
    }
}

async fn ask_as(
    upstream: &Upstream,
    server: &Rc<Server>,
    way: Way,
    config: &ClientConfig,
) -> Result<Answer, ConnectError> {
    let own = way.has_certificate();
    let deadline = Instant::now() + upstream.settings.connect_timeout;
    let connected = server
        .connect(config, Offer::to(way, 0), own, deadline)
        .await?;
    if connected.h2 {
        ask_http2(upstream, server, connected, own).await
    } else {
        ask_http1(upstream, server, connected).await
    }
}

fn is_ready(server: &Server, status: u16) -> bool {
    let mut readiness = server.readiness.get();
    let ready = readiness.answered(status, Instant::now());
    server.readiness.set(readiness);
    ready
}

async fn ask_http2(
    upstream: &Upstream,
    server: &Server,
    connected: Connected,
    own_certificate: bool,
) -> Result<Answer, ConnectError> {
    let (conn, driver) = http2::open(connected, Rc::default(), own_certificate).await?;
    let ticket = conn
        .ticket()
        .ok_or_else(|| broken("no stream for a probe"))?;
    let request = h2_request(&server.url, &readyz()).map_err(|text| broken(&text))?;
    let mut upload = Upload::new(RequestBody::Empty, upstream.replay.clone());
    let mut exchange = pin!(conn.exchange(ticket, request, &mut upload));
    // An API server ends the connection of an anonymous caller right behind its answer, which then is still to be read.
    let response = tokio::select! {
        biased;
        response = &mut exchange => response,
        _ = http2::drive(driver, upstream.means.patience.pulse, |_| true) => exchange.await,
    };
    match response {
        Ok(response) => Ok((response.status(), response.headers().clone())),
        Err(_) => Err(broken("no answer to a probe")),
    }
}

async fn ask_http1(
    upstream: &Upstream,
    server: &Server,
    connected: Connected,
) -> Result<Answer, ConnectError> {
    let (mut conn, connection) = http1::open(connected, None)
        .await
        .map_err(|e| broken(&e.to_string()))?;
    let request = h1_request(&server.url, &readyz()).map_err(|text| broken(&text))?;
    let mut upload = Upload::new(RequestBody::Empty, upstream.replay.clone());
    let mut exchange = pin!(conn.head(request, &mut upload));
    let response = tokio::select! {
        biased;
        response = &mut exchange => response,
        _ = connection => exchange.await,
    };
    match response {
        Ok(response) => Ok((response.status(), response.headers().clone())),
        Err(_) => Err(broken("no answer to a probe")),
    }
}

type Answer = (StatusCode, HeaderMap);

fn broken(text: &str) -> ConnectError {
    ConnectError::Link(Reason::Reset(text.into()))
}

fn readyz() -> Parts {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_static("/readyz");
    request.into_parts().0
}
