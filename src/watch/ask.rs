//! A client's watch request, kept so that it can be made again while its answer lasts. Pure.

use crate::access::{self, Shown};
use crate::limits::LIST_PAGE_OBJECTS;
use crate::request::path::decode;
use crate::request::{Verb, classify};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Uri};
use std::cell::RefCell;
use std::rc::{Rc, Weak};

/// What of the request decides its answer: path, query, and who asks for what.
pub struct Ask {
    path_and_query: Box<str>,
    headers: Rc<Lines>,
}

/// Header lines.
type Lines = [(HeaderName, HeaderValue)];

/// What the last watch of a connection said of who asks for what. All of one connection say the same, a token of 1 KB
/// among it, and so they share it.
#[derive(Default)]
pub struct Said(RefCell<Option<Weak<Lines>>>);

/// Parameters that say where a watch begins.
const START: [&str; 3] = [
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
];

impl Ask {
    /// Of a head that is cleaned for the way up. Copies: a header is a piece of the buffer that all were read into, and
    /// would keep it.
    pub fn new(head: &Parts, said: &Said, shown: &Shown) -> Ask {
        let path_and_query = head.uri.path_and_query();
        Ask {
            path_and_query: path_and_query.map_or("/", PathAndQuery::as_str).into(),
            headers: said.lines(&head.headers, shown),
        }
    }

    /// The same watch, asking for bookmarks that the client did not ask for: without them a quiet watch cannot be taken up
    /// again after a day, for the API server has forgotten its version.
    pub fn with_bookmarks(&self) -> Option<PathAndQuery> {
        self.target(&["allowWatchBookmarks"], &[("allowWatchBookmarks", "true")])
    }

    /// The same watch from this version on, or from its own beginning; it shall end in `secs`.
    pub fn again(&self, from: Option<&str>, secs: u64) -> Option<Parts> {
        let secs = secs.to_string();
        let end = ("timeoutSeconds", secs.as_str());
        let target = match from {
            Some(from) => {
                let drop = [START[0], START[1], START[2], end.0, "allowWatchBookmarks"];
                let put = [
                    ("resourceVersion", from),
                    ("allowWatchBookmarks", "true"),
                    end,
                ];
                self.target(&drop, &put)
            }
            None => self.target(&[end.0], &[end]),
        };
        Some(self.parts(target?))
    }

    /// A page of the list of what is watched, in this type; `next` is what the page before says. `None`: it is the watch
    /// of one object by its name or an old path, of which the list has another path.
    pub fn list(&self, accept: &'static str, next: &str) -> Option<Parts> {
        let mut drop = vec![
            "watch",
            "timeout",
            "limit",
            "continue",
            "timeoutSeconds",
            "allowWatchBookmarks",
        ];
        drop.extend(START);
        let limit = LIST_PAGE_OBJECTS.to_string();
        let mut put = vec![("limit", limit.as_str())];
        if !next.is_empty() {
            put.push(("continue", next));
        }
        let mut head = self.parts(self.target(&drop, &put)?);
        head.headers
            .insert(header::ACCEPT, HeaderValue::from_static(accept));
        let gzip = HeaderValue::from_static("gzip");
        head.headers.insert(header::ACCEPT_ENCODING, gzip);
        let lists = classify(&head).is_ok_and(|asked| asked.verb == Verb::List);
        lists.then_some(head)
    }

    /// True if the client may get tables, which nobody but a person reads.
    pub fn takes_tables(&self) -> bool {
        let accepts = self
            .headers
            .iter()
            .filter(|(name, _)| *name == header::ACCEPT);
        let mut accepts = accepts.filter_map(|(_, value)| value.to_str().ok());
        accepts.any(|accept| accept.contains("as=Table"))
    }

    /// Whom the client says that it is, and what it takes.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in &*self.headers {
            headers.append(name.clone(), value.clone());
        }
        headers
    }

    /// Takes nothing else from now on: the answer has begun in this type.
    pub fn takes_only(&mut self, media_type: &'static str) {
        let others = self.headers.iter().cloned();
        let others = others.filter(|(name, _)| *name != header::ACCEPT);
        let accept = (header::ACCEPT, HeaderValue::from_static(media_type));
        self.headers = others.chain([accept]).collect();
    }

    fn parts(&self, target: PathAndQuery) -> Parts {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from(target);
        *request.headers_mut() = self.headers();
        request.into_parts().0
    }

    /// The client's path and query without some parameters and with others. `None`: a version that stands in no query.
    fn target(&self, without: &[&str], with: &[(&str, &str)]) -> Option<PathAndQuery> {
        let mut out = String::with_capacity(self.path_and_query.len() + 64);
        let (path, query) =
            (self.path_and_query.split_once('?')).unwrap_or((&self.path_and_query, ""));
        out.push_str(path);
        let mut first = true;
        let mut put = |out: &mut String| {
            out.push(if std::mem::take(&mut first) { '?' } else { '&' });
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap_or_default();
            let name = decode(name, true).unwrap_or_default();
            if !without.contains(&name.as_str()) {
                put(&mut out);
                out.push_str(pair);
            }
        }
        for (name, value) in with {
            put(&mut out);
            out.push_str(name);
            out.push('=');
            put_escaped(&mut out, value);
        }
        PathAndQuery::try_from(out).ok()
    }
}

impl Said {
    fn lines(&self, headers: &HeaderMap, shown: &Shown) -> Rc<Lines> {
        let stays = |(name, _): &(&HeaderName, &HeaderValue)| {
            [header::ACCEPT, header::AUTHORIZATION, header::USER_AGENT].contains(name)
                || name.as_str().starts_with("impersonate-")
        };
        let mut last = self.0.borrow_mut();
        if let Some(last) = last.as_ref().and_then(Weak::upgrade)
            && (headers.iter().filter(stays)).eq(last.iter().map(|(name, value)| (name, value)))
        {
            return last;
        }
        let lines = headers.iter().filter(stays);
        let copy = |value| shown.again(value).or_else(|| access::copy(value));
        let lines = lines.filter_map(|(name, value)| Some((name.clone(), copy(value)?)));
        let lines: Rc<Lines> = lines.collect();
        *last = Some(Rc::downgrade(&lines));
        lines
    }
}

/// A version is a number, but nothing says that it must be one.
fn put_escaped(out: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            byte => {
                let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0');
                out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(uri: &str, headers: &[(&str, &str)]) -> Ask {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        Ask::new(&head, &Said::default(), &Shown::default())
    }

    #[test]
    fn what_a_connection_says_again_is_kept_once() {
        let said = Said::default();
        let ask = |token: &str| {
            let request = Request::get("/api/v1/pods?watch=1")
                .header("authorization", token)
                .header("accept", "application/json");
            let head = request.body(()).unwrap().into_parts().0;
            Ask::new(&head, &said, &Shown::default())
        };
        let (mut a, b, other) = (ask("Bearer x"), ask("Bearer x"), ask("Bearer y"));
        assert!(Rc::ptr_eq(&a.headers, &b.headers));
        assert_eq!(other.headers()["authorization"], "Bearer y");
        a.takes_only("application/yaml");
        assert_eq!(a.headers()["accept"], "application/yaml");
        assert_eq!(b.headers()["accept"], "application/json");
        assert_eq!(ask("Bearer x").headers()["authorization"], "Bearer x");
    }

    #[test]
    fn the_same_watch_again() {
        for (uri, from, want) in [
            (
                "/api/v1/pods?watch=true&resourceVersion=5&timeoutSeconds=300&timeout=5m",
                Some("9"),
                "/api/v1/pods?watch=true&timeout=5m&resourceVersion=9&allowWatchBookmarks=true&timeoutSeconds=7",
            ),
            (
                "/api/v1/pods?sendInitialEvents=true&watch=1&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=&labelSelector=a%3Db",
                Some("9"),
                "/api/v1/pods?watch=1&labelSelector=a%3Db&resourceVersion=9&allowWatchBookmarks=true&timeoutSeconds=7",
            ),
            (
                "/api/v1/pods?sendInitialEvents=true&watch=1&%72esourceVersion=4",
                None,
                "/api/v1/pods?sendInitialEvents=true&watch=1&%72esourceVersion=4&timeoutSeconds=7",
            ),
            (
                "/api/v1/pods?watch=1&%72esourceVersion=4",
                Some("a b/&=é"),
                "/api/v1/pods?watch=1&resourceVersion=a%20b%2f%26%3d%c3%a9&allowWatchBookmarks=true&timeoutSeconds=7",
            ),
            (
                "/api/v1/watch/pods",
                Some("9"),
                "/api/v1/watch/pods?resourceVersion=9&allowWatchBookmarks=true&timeoutSeconds=7",
            ),
        ] {
            let parts = ask(uri, &[]).again(from, 7).unwrap();
            assert_eq!(parts.uri.to_string(), want, "{uri} {from:?}");
        }
        for (uri, next, want) in [
            (
                "/api/v1/pods?watch=true&resourceVersion=5&timeoutSeconds=300&timeout=5m&allowWatchBookmarks=true&fieldSelector=a%3Db",
                "",
                Some("/api/v1/pods?fieldSelector=a%3Db&limit=500"),
            ),
            (
                "/api/v1/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
                "eyJ2=",
                Some("/api/v1/pods?limit=500&continue=eyJ2%3d"),
            ),
            ("/api/v1/watch/pods?resourceVersion=5", "", None),
            (
                "/api/v1/namespaces/n/pods/x?watch=1&resourceVersion=5",
                "",
                None,
            ),
        ] {
            let list = ask(uri, &[]).list("application/json", next);
            assert_eq!(
                list.map(|head| head.uri.to_string()).as_deref(),
                want,
                "{uri}"
            );
        }
        let ask = ask("/api/v1/pods?watch=1&allowWatchBookmarks=false", &[]);
        let want = "/api/v1/pods?watch=1&allowWatchBookmarks=true";
        assert_eq!(ask.with_bookmarks().unwrap(), want);
    }

    #[test]
    fn who_asks_stays_and_what_only_this_exchange_meant_does_not() {
        let headers = [
            ("authorization", "Bearer x"),
            ("accept", "application/json;as=Table"),
            ("accept", "application/json"),
            ("user-agent", "kubelet/v1"),
            ("impersonate-user", "u"),
            ("impersonate-extra-scopes", "s"),
            ("traceparent", "t"),
            ("audit-id", "a"),
        ];
        let mut ask = ask("/api/v1/pods?watch=1", &headers);
        let got = ask.again(Some("5"), 1).unwrap().headers;
        let got: Vec<_> = got
            .iter()
            .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
            .collect();
        assert_eq!(got.len(), 6);
        assert!(
            headers[..6].iter().all(|line| got.contains(line)),
            "{got:?}"
        );
        ask.takes_only("application/json");
        let got = ask.headers();
        let accepts: Vec<_> = got.get_all("accept").iter().collect();
        assert_eq!(accepts, ["application/json"]);
        assert_eq!(got.len(), 5);
    }
}
