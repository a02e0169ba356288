//! The plain listener for operators and Prometheus, and the connections of the control socket.

use super::{control, metrics, report};
use crate::hub::Shared;
use crate::limits;
use crate::reply::backlog::Backlog;
use crate::reply::{self, Body};
use crate::server::guarded::{Guarded, RefusalCell};
use crate::sys::hyper_io::HyperIo;
use crate::sys::wire::Wire;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use std::convert::Infallible;
use std::rc::Rc;
use tokio::time::timeout;

/// Where a connection came in, which says what it may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `admin_listen`: everybody on the machine.
    Admin,
    /// The control socket: the machine's owner.
    Control,
}

/// Serves one connection.
pub async fn serve(shared: Rc<Shared>, stream: Wire, door: Door) {
    let refusal = RefusalCell::default();
    let guarded = Guarded::new(
        stream,
        shared.head_timeout(),
        refusal.clone(),
        Backlog::default(),
    );
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(&shared, door, &refusal, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(limits::H1_BUFFER_BYTES)
        .serve_connection(HyperIo::new(guarded), service);
    let _ = timeout(limits::ADMIN_CONNECTION_AGE_MAX, connection).await;
}

fn answer(
    shared: &Rc<Shared>,
    door: Door,
    refusal: &RefusalCell,
    request: &Request<Incoming>,
) -> Response<Body> {
    if let Some(why) = refusal.get() {
        return reply::refuse(why, "");
    }
    if door == Door::Control {
        return control::answer(shared, request);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return reply::whole(405, "text/plain", "only GET\n");
    }
    match request.uri().path() {
        "/healthz" | "/v1/healthz" => reply::whole(200, "text/plain", "OK\n"),
        "/readyz" | "/v1/readyz" => reply::whole(200, "text/plain", report::ready(shared)),
        "/metrics" => reply::whole(
            200,
            "text/plain; version=0.0.4",
            metrics::text(&report::samples(shared)),
        ),
        "/status" => match serde_json::to_vec(&report::status(shared)) {
            Ok(json) => reply::whole(200, "application/json", json),
            Err(_) => reply::whole(500, "text/plain", "the status cannot be written\n"),
        },
        _ => reply::whole(404, "text/plain", "/healthz /readyz /metrics /status\n"),
    }
}
