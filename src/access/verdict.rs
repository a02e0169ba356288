//! What an API server's answer says about the token that it was asked with. Pure.
//!
//! Much can answer before anybody has looked at the token: a load balancer, the API server while it starts or ends, its
//! reading of `timeout`, its CORS filter. Who took such an answer for an acceptance would believe the claims of any token
//! that somebody writes himself. So what counts is only what can come after the authentication alone.

use crate::cache::key::is_discovery;
use crate::request::{Asked, Target, Verb};
use http::{HeaderMap, StatusCode};

/// What became of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The API server has taken it.
    Accepted,
    /// The API server knows nobody by it.
    Refused,
    /// Nobody who could know has said anything.
    Unknown,
}

/// Set by priority and fairness, which comes right behind the authentication.
const CLASSIFIED: &str = "x-kubernetes-pf-flowschema-uid";

/// Reads the head of an answer.
pub fn verdict(asked: &Asked, status: StatusCode, headers: &HeaderMap) -> Verdict {
    match status {
        // There the API server, or what stands before it, takes tokens from other places too: among the protocols, or from
        // the query. It may be another one than the header's that it has taken.
        _ if asked.upgrade && status != StatusCode::UNAUTHORIZED => Verdict::Unknown,
        _ if headers.contains_key(CLASSIFIED) => Verdict::Accepted,
        // What a pod or a kubelet says to the API server is nothing that the API server says to the caller.
        StatusCode::UNAUTHORIZED if is_of_another(asked) => Verdict::Unknown,
        StatusCode::UNAUTHORIZED => Verdict::Refused,
        // With priority and fairness off, and of what it lets pass by. Nobody else has such a path.
        status if is_done(status) && is_api(asked) => Verdict::Accepted,
        _ => Verdict::Unknown,
    }
}

fn is_done(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS
}

/// A method and a path that the API server itself serves. OPTIONS, which it may answer to anybody, is none.
fn is_api(asked: &Asked) -> bool {
    asked.verb != Verb::Other
        && match &asked.target {
            Target::Resource(_) => true,
            Target::Other => is_discovery(&asked.path_and_query),
        }
}

/// Whether the answer may be another's that the API server passes on.
fn is_of_another(asked: &Asked) -> bool {
    let subresource = asked.resource().and_then(|r| r.subresource.as_deref());
    let first = subresource.and_then(|s| s.split('/').next());
    matches!(
        first,
        Some("proxy" | "log" | "exec" | "attach" | "portforward")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::classify;
    use http::HeaderValue;

    fn check(method: &str, uri: &str, status: u16, classified: bool) -> Verdict {
        let head = http::Request::builder().method(method).uri(uri);
        let asked = classify(&head.body(()).unwrap().into_parts().0).unwrap();
        let mut headers = HeaderMap::new();
        if classified {
            headers.insert(CLASSIFIED, HeaderValue::from_static("a-b-c"));
        }
        verdict(&asked, StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn verdicts() {
        use Verdict::*;
        const PODS: &str = "/api/v1/namespaces/a/pods";
        for (method, uri, status, plain, classified) in [
            ("GET", PODS, 200, Accepted, Accepted),
            ("POST", PODS, 201, Accepted, Accepted),
            ("GET", "/version", 200, Accepted, Accepted),
            ("GET", "/apis/apps/v1", 200, Accepted, Accepted),
            ("GET", PODS, 401, Refused, Accepted),
            ("GET", "/version", 401, Refused, Accepted),
            // Said by whom?
            ("GET", PODS, 403, Unknown, Accepted),
            ("GET", PODS, 404, Unknown, Accepted),
            ("GET", PODS, 410, Unknown, Accepted),
            ("GET", PODS, 302, Unknown, Accepted),
            ("GET", PODS, 429, Unknown, Accepted),
            ("GET", PODS, 500, Unknown, Accepted),
            ("GET", PODS, 503, Unknown, Accepted),
            // Before the authentication: a bad deadline, and CORS.
            ("GET", "/version?timeout=x", 400, Unknown, Accepted),
            ("OPTIONS", PODS, 204, Unknown, Accepted),
            // A load balancer may have these of its own.
            ("GET", "/healthz", 200, Unknown, Accepted),
            ("GET", "/", 200, Unknown, Accepted),
            ("POST", "/version", 200, Unknown, Accepted),
        ] {
            assert_eq!(
                check(method, uri, status, false),
                plain,
                "{method} {uri} {status}"
            );
            assert_eq!(
                check(method, uri, status, true),
                classified,
                "{method} {uri} {status}"
            );
        }
    }

    #[test]
    fn an_upgrade_proves_nothing() {
        let head = http::Request::get("/api/v1/namespaces/a/pods").header("upgrade", "websocket");
        let asked = classify(&head.body(()).unwrap().into_parts().0).unwrap();
        let classified = HeaderMap::from_iter([(
            http::HeaderName::from_static(CLASSIFIED),
            HeaderValue::from_static("a-b-c"),
        )]);
        for (status, want) in [
            (200, Verdict::Unknown),
            (403, Verdict::Unknown),
            (101, Verdict::Unknown),
            (401, Verdict::Refused),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(verdict(&asked, status, &HeaderMap::new()), want);
            if want == Verdict::Unknown {
                assert_eq!(verdict(&asked, status, &classified), want);
            }
        }
    }

    #[test]
    fn what_stands_behind_the_api_server_refuses_nobody() {
        for rest in [
            "proxy",
            "proxy/login",
            "log?follow=1",
            "exec?command=a",
            "attach",
            "portforward",
        ] {
            let uri = format!("/api/v1/namespaces/a/pods/b/{rest}");
            assert_eq!(check("GET", &uri, 401, false), Verdict::Unknown, "{rest}");
            assert_eq!(check("GET", &uri, 200, false), Verdict::Accepted, "{rest}");
        }
        assert_eq!(
            check("GET", "/api/v1/namespaces/a/pods/b/status", 401, false),
            Verdict::Refused
        );
    }
}
