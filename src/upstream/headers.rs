//! Which header fields cross from one leg to the other: end-to-end fields do, hop-by-hop fields never.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Fields that speak about one connection only (RFC 9110 section 7.6.1, and those that old clients send).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "proxy-connection",
    "proxy-authenticate",
];

/// What of a client's request goes up. Drops hop-by-hop fields and what Connection names, `Proxy-*`, `Host` (the
/// server's own is set), `Expect` (the door has answered it), and every `X-Remote-*`, by which a front proxy would
/// name a user.
pub fn request_headers(headers: HeaderMap) -> HeaderMap {
    let named = named_by_connection(&headers);
    filtered(headers, |name| {
        let text = name.as_str();
        keeps(text, &named)
            && !text.starts_with("proxy-")
            && !begins(text, "x-remote-")
            && !matches!(text, "host" | "expect")
    })
}

/// Drops what would make somebody else of who asks: where a request goes up as the node, which may be more than its
/// caller.
pub fn strip_impersonation(headers: &mut HeaderMap) {
    let taken = std::mem::take(headers);
    *headers = filtered(taken, |name| !begins(name.as_str(), "impersonate-"));
}

/// The same for a request to upgrade: `Connection: Upgrade` and the `Upgrade` lines stay, all else as above.
pub fn upgrade_headers(headers: HeaderMap) -> HeaderMap {
    let protocols = upgrade_lines(&headers);
    with_upgrade(request_headers(headers), protocols)
}

/// What of a server's response goes down. Drops hop-by-hop fields and what Connection names.
pub fn response_headers(headers: HeaderMap) -> HeaderMap {
    let named = named_by_connection(&headers);
    filtered(headers, |name| keeps(name.as_str(), &named))
}

/// The same for a `101 Switching Protocols`.
pub fn upgrade_response_headers(headers: HeaderMap) -> HeaderMap {
    let protocols = upgrade_lines(&headers);
    with_upgrade(response_headers(headers), protocols)
}

/// Whether a request asks to leave HTTP: Connection names Upgrade, and there is an Upgrade field.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && named_by_connection(headers)
            .iter()
            .any(|name| name == "upgrade")
}

/// Whether a name begins so, in any spelling: what stands between the hub and the API server may take `_` for `-`.
fn begins(name: &str, prefix: &str) -> bool {
    let mut letters = name.bytes().map(|b| if b == b'_' { b'-' } else { b });
    prefix.bytes().all(|b| letters.next() == Some(b))
}

fn keeps(name: &str, named: &[String]) -> bool {
    !HOP_BY_HOP.contains(&name) && !named.iter().any(|n| n == name)
}

fn filtered(mut headers: HeaderMap, keep: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    if headers.keys().all(&keep) {
        return headers;
    }
    let mut kept = HeaderMap::with_capacity(headers.keys_len());
    let mut last = None;
    // A drained map gives the name with the first of its values only.
    for (name, value) in headers.drain() {
        if let Some(name) = name {
            last = keep(&name).then_some(name);
        }
        if let Some(name) = &last {
            kept.append(name.clone(), value);
        }
    }
    kept
}

/// The lower-case names in all Connection lines. What must cross whatever a client writes there stays out of it:
/// `Connection: authorization` must not make a caller anonymous, nor `Connection: impersonate-user` undo what a proxy
/// before the hub has limited.
fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| {
            !name.is_empty()
                && !matches!(name.as_str(), "authorization" | "content-length")
                && !name.starts_with("impersonate-")
        })
        .collect()
}

fn upgrade_lines(headers: &HeaderMap) -> Vec<HeaderValue> {
    headers.get_all(header::UPGRADE).iter().cloned().collect()
}

fn with_upgrade(mut headers: HeaderMap, protocols: Vec<HeaderValue>) -> HeaderMap {
    if protocols.is_empty() {
        return headers;
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    for protocol in protocols {
        headers.append(header::UPGRADE, protocol);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    fn check(clean: fn(HeaderMap) -> HeaderMap, given: &[(&str, &str)], wanted: &[(&str, &str)]) {
        let mut got: Vec<_> = clean(map(given))
            .iter()
            .map(|(n, v)| format!("{n}: {}", v.to_str().unwrap()))
            .collect();
        let mut wanted: Vec<_> = wanted.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        got.sort();
        wanted.sort();
        assert_eq!(got, wanted);
    }

    #[test]
    fn end_to_end_fields_cross() {
        let all = [
            ("authorization", "Bearer x"),
            ("user-agent", "kubelet/v1.36"),
            ("accept", "a"),
            ("accept", "b"),
            ("content-length", "3"),
            ("impersonate-user", "u"),
            ("traceparent", "t"),
        ];
        check(request_headers, &all, &all);
    }

    #[test]
    fn hop_by_hop_fields_do_not() {
        check(
            request_headers,
            &[
                ("connection", "keep-alive, X-Secret"),
                ("connection", "te"),
                ("x-secret", "1"),
                ("keep-alive", "5"),
                ("te", "trailers"),
                ("trailer", "x"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAA"),
                ("proxy-authorization", "Basic x"),
                ("proxy-connection", "close"),
                ("host", "evil"),
                ("expect", "100-continue"),
                ("x-remote-user", "admin"),
                ("X-Remote-Group", "system:masters"),
                ("x-remote-extra-scopes", "x"),
                ("x_remote_user", "admin"),
                ("X_Remote-Uid", "1"),
                ("accept", "a"),
                ("accept", "b"),
            ],
            &[("accept", "a"), ("accept", "b")],
        );
    }

    #[test]
    fn connection_cannot_strip_who_asks() {
        check(
            request_headers,
            &[
                ("connection", "Authorization, content-length"),
                ("connection", "Impersonate-User"),
                ("authorization", "Bearer x"),
                ("content-length", "3"),
                ("impersonate-user", "nobody"),
            ],
            &[
                ("authorization", "Bearer x"),
                ("content-length", "3"),
                ("impersonate-user", "nobody"),
            ],
        );
    }

    #[test]
    fn impersonation_is_stripped_in_any_spelling() {
        let strip = |mut headers| {
            strip_impersonation(&mut headers);
            headers
        };
        check(
            strip,
            &[
                ("impersonate-user", "u"),
                ("Impersonate-Group", "g"),
                ("impersonate_uid", "1"),
                ("impersonate-extra-scopes", "x"),
                ("impersonates", "stays"),
                ("accept", "a"),
            ],
            &[("impersonates", "stays"), ("accept", "a")],
        );
    }

    #[test]
    fn upgrades_keep_repeated_lines() {
        let lines = [
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "channel.k8s.io"),
        ];
        check(upgrade_headers, &lines, &lines);
        check(upgrade_response_headers, &lines, &lines);
        assert!(is_upgrade(&map(&lines)));
        assert!(is_upgrade(&map(&[
            ("connection", "keep-alive, upgrade"),
            ("upgrade", "websocket")
        ])));
        assert!(!is_upgrade(&map(&[("upgrade", "websocket")])));
        check(response_headers, &lines, &lines[2..]);
    }

    #[test]
    fn responses() {
        check(
            response_headers,
            &[
                ("connection", "close"),
                ("transfer-encoding", "chunked"),
                ("warning", "299 - \"a\""),
                ("warning", "299 - \"b\""),
                ("audit-id", "x"),
                ("www-authenticate", "y"),
            ],
            &[
                ("warning", "299 - \"a\""),
                ("warning", "299 - \"b\""),
                ("audit-id", "x"),
                ("www-authenticate", "y"),
            ],
        );
    }
}
