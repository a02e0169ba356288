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
use crate::health::{Input, Reason};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode, Uri};
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
            // An outage right after an outage goes on where that one ended: a server that answers probes and nothing
            // else would otherwise be probed, and its clients sent there and back, every second.
            if down_last.is_none_or(|last| last.elapsed() >= settings.probe_max) {
                backoff.reset();
            }
            forget_prod(&prodded).await;
        }
        while is_down() {
            prodded_or(&prodded, backoff.next(&mut random)).await;
            probe(&upstream, &server).await;
            down_last = Some(Instant::now());
        }
        let told = prodded_or(&prodded, watch_wait(&upstream, &mut random)).await;
        if !is_down() && (told || server.load().0 == 0) {
            probe(&upstream, &server).await;
        }
    }
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

/// How long a server that is up may go without any connection before it is asked.
fn watch_wait(upstream: &Upstream, random: &mut Random) -> Duration {
    let most = upstream.settings.probe_max;
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
            server.link.feed(server.index, Input::Failed(reason));
        }
    }
}

/// `GET /version` on a connection of its own. Any answer means up, but one that a load balancer gives in the place of
/// a server; and one that refuses our certificate is an answer too.
async fn ask(upstream: &Upstream, server: &Rc<Server>) -> Result<(), Reason> {
    let tls = &upstream.tls;
    let way = if tls.config(Way::Node).is_some() {
        Way::Node
    } else {
        Way::Anonymous
    };
    let Some(config) = tls.config(way) else {
        return Err(Reason::Tls("no TLS configuration to probe with".into()));
    };
    let own = way.has_certificate();
    let deadline = Instant::now() + upstream.settings.connect_timeout;
    let answer = async {
        let connected = server.connect(&config, Offer::Both, own, deadline).await?;
        if connected.h2 {
            ask_http2(upstream, server, connected, own).await
        } else {
            ask_http1(upstream, server, connected).await
        }
    };
    match answer.await {
        Ok((status, headers)) if is_gateway_answer(status, &headers) => {
            Err(Reason::Gateway(status.as_u16()))
        }
        Ok(_) | Err(ConnectError::OurCertificate(_)) => Ok(()),
        Err(ConnectError::NoIdentity) => Err(Reason::Tls("no identity".into())),
        Err(ConnectError::Link(reason)) => Err(reason),
    }
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
    let request = h2_request(&server.url, &version()).map_err(|text| broken(&text))?;
    let mut upload = Upload::new(RequestBody::Empty, upstream.replay.clone());
    tokio::select! {
        biased;
        response = conn.exchange(ticket, request, &mut upload) => match response {
            Ok(response) => Ok((response.status(), response.headers().clone())),
            Err(_) => Err(broken("no answer to a probe")),
        },
        _ = http2::drive(driver, upstream.patience.pulse, |_| true) => Err(broken("closed under a probe")),
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
    let request = h1_request(&server.url, &version()).map_err(|text| broken(&text))?;
    let mut upload = Upload::new(RequestBody::Empty, upstream.replay.clone());
    tokio::select! {
        biased;
        response = conn.head(request, &mut upload) => match response {
            Ok(response) => Ok((response.status(), response.headers().clone())),
            Err(_) => Err(broken("no answer to a probe")),
        },
        _ = connection => Err(broken("closed under a probe")),
    }
}

type Answer = (StatusCode, HeaderMap);

fn broken(text: &str) -> ConnectError {
    ConnectError::Link(Reason::Reset(text.into()))
}

fn version() -> Parts {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_static("/version");
    request.into_parts().0
}
