//! What goes back to a client: bodies, and the words of the hub's own errors.

pub mod access_line;
pub mod backlog;
pub mod body;
pub mod filtered;
pub mod list;
pub mod pace;
pub mod refusal;
pub mod script;

pub use body::Body;

use crate::object::Encoding;
use crate::object::status::{StatusFields, write_status};
use http::{HeaderValue, Response, StatusCode, header};
use refusal::Refusal;

/// A reply whose body is whole.
pub fn whole(status: u16, content_type: &str, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type =
        HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static("application/json"));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// One of the hub's own errors. Always JSON: every client decodes an error by the type that the answer names
/// (kubernetes-api.md 1.1). `more` is added to the fixed text.
pub fn refuse(refusal: Refusal, more: &str) -> Response<Body> {
    let mut out = Vec::new();
    let status = StatusFields {
        code: refusal.code(),
        reason: refusal.reason(),
        message: &format!("{}{more}", refusal.message()),
        details: None,
    };
    write_status(Encoding::Json, &status, &mut out);
    whole(refusal.code(), "application/json", out)
}
