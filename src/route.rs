//! What is done with a request, given the state of the link. Pure.

use crate::cache::version;
use crate::request::{Asked, Verb};
use std::cmp::Ordering;

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// To the API server. A read that finds no way there is answered as [`Plan::FromCache`] would be.
    Up,
    /// To the API server over HTTP/1.1, as another protocol.
    UpAsUpgrade,
    /// From what is kept.
    FromCache,
    /// A watch without the API server.
    Hold,
    /// Cannot be done now.
    Unavailable,
}

/// The plan of a request. `down`: every server is known to be out of reach.
pub fn plan(asked: &Asked, down: bool) -> Plan {
    match (down, asked.upgrade) {
        (false, true) => Plan::UpAsUpgrade,
        (false, false) => Plan::Up,
        (true, true) => Plan::Unavailable,
        (true, false) => without_link(asked.verb),
    }
}

/// What becomes of a request that found no way up.
pub fn without_link(verb: Verb) -> Plan {
    match verb {
        Verb::Get | Verb::List => Plan::FromCache,
        Verb::Watch => Plan::Hold,
        _ => Plan::Unavailable,
    }
}

/// How a watch begins that cannot go up (design.md "Offline answers").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Nothing to tell: held open.
    Silent,
    /// Every kept object as ADDED; then, for a watch list, the bookmark that ends them.
    Replay,
    /// The client knows less than what is kept: it shall list again, unless the link is back soon.
    Behind,
    /// 503.
    Unknown,
}

/// `kept`: the version of the complete collection, if there is one for this caller. `known`: the API server has
/// accepted this caller before.
pub fn opening(asked: &Asked, kept: Option<&str>, known: bool) -> Opening {
    let start = asked
        .options
        .resource_version
        .as_deref()
        .filter(|v| *v != "0");
    match (kept, start) {
        // What the client knows already, it must not be told as it was before.
        (Some(kept), Some(start))
            if asked.options.send_initial_events
                && !matches!(
                    version::compare(start, kept),
                    Some(Ordering::Less | Ordering::Equal)
                ) =>
        {
            Opening::Unknown
        }
        (Some(_), _) if asked.options.send_initial_events => Opening::Replay,
        (None, _) if asked.options.send_initial_events => Opening::Unknown,
        (Some(_), None) => Opening::Replay,
        (None, None) => Opening::Unknown,
        (None, Some(_)) if known => Opening::Silent,
        (None, Some(_)) => Opening::Unknown,
        (Some(kept), Some(start)) => match version::compare(start, kept) {
            Some(Ordering::Equal | Ordering::Greater) => Opening::Silent,
            Some(Ordering::Less) | None => Opening::Behind,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::classify;

    fn asked(method: &str, uri: &str) -> Asked {
        let head = http::Request::builder()
            .method(method)
            .uri(uri)
            .body(())
            .unwrap();
        classify(&head.into_parts().0).unwrap()
    }

    #[test]
    fn plans() {
        for (method, uri, up, down) in [
            ("GET", "/api/v1/pods", Plan::Up, Plan::FromCache),
            (
                "GET",
                "/api/v1/namespaces/a/pods/b",
                Plan::Up,
                Plan::FromCache,
            ),
            ("GET", "/version", Plan::Up, Plan::FromCache),
            ("GET", "/api/v1/pods?watch=1", Plan::Up, Plan::Hold),
            (
                "POST",
                "/api/v1/namespaces/a/pods",
                Plan::Up,
                Plan::Unavailable,
            ),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods",
                Plan::Up,
                Plan::Unavailable,
            ),
            ("POST", "/metrics", Plan::Up, Plan::Unavailable),
        ] {
            let asked = asked(method, uri);
            assert_eq!(
                (plan(&asked, false), plan(&asked, true)),
                (up, down),
                "{method} {uri}"
            );
        }
    }

    #[test]
    fn openings() {
        const LIST: &str = "/api/v1/pods?watch=1&sendInitialEvents=true&allowWatchBookmarks=true";
        for (uri, kept, known, want) in [
            (
                "/api/v1/pods?watch=1&resourceVersion=5",
                Some("5"),
                true,
                Opening::Silent,
            ),
            (
                "/api/v1/pods?watch=1&resourceVersion=6",
                Some("5"),
                true,
                Opening::Silent,
            ),
            (
                "/api/v1/pods?watch=1&resourceVersion=4",
                Some("5"),
                true,
                Opening::Behind,
            ),
            (
                "/api/v1/pods?watch=1&resourceVersion=x",
                Some("5"),
                true,
                Opening::Behind,
            ),
            (
                "/api/v1/pods?watch=1&resourceVersion=5",
                None,
                true,
                Opening::Silent,
            ),
            (
                "/api/v1/pods?watch=1&resourceVersion=5",
                None,
                false,
                Opening::Unknown,
            ),
            ("/api/v1/pods?watch=1", Some("5"), true, Opening::Replay),
            (
                "/api/v1/pods?watch=1&resourceVersion=0",
                Some("5"),
                true,
                Opening::Replay,
            ),
            (
                "/api/v1/pods?watch=1&resourceVersion=0",
                None,
                true,
                Opening::Unknown,
            ),
            (LIST, Some("5"), true, Opening::Replay),
            (LIST, None, true, Opening::Unknown),
            (
                "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersion=5",
                Some("5"),
                true,
                Opening::Replay,
            ),
            (
                "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersion=6",
                Some("5"),
                true,
                Opening::Unknown,
            ),
        ] {
            assert_eq!(
                opening(&asked("GET", uri), kept, known),
                want,
                "{uri} {kept:?} {known}"
            );
        }
    }
}
