//! A request's head, classified: what it asks for, in which form, for which program.

use super::{Form, Options, Resource, Target, accept, agent, path, query};
use crate::limits;
use http::{HeaderMap, Method, header, request::Parts};

/// What is done to what, in the API server's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// A method that the API has no verb for: any but GET and HEAD on a path that is no resource, HEAD on one that is.
    Other,
}

impl Verb {
    /// As access lines and metrics show it.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Other => "other",
        }
    }

    /// Changes nothing at the server, so it may be asked again.
    pub fn is_read(self) -> bool {
        matches!(self, Verb::Get | Verb::List | Verb::Watch)
    }
}

/// A classified request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub verb: Verb,
    pub target: Target,
    /// Path and query as they came, for the way up and the access line.
    pub path_and_query: String,
    pub options: Options,
    pub agent: String,
    pub wanted: heapless::Vec<accept::Wanted, { limits::ACCEPT_CLAUSES_MAX }>,
    /// The `Accept` header as it came, for documents, whose types are not those of objects.
    pub accept: String,
    /// The client asks for another protocol (exec, attach, port-forward, a watch over WebSocket).
    pub upgrade: bool,
    /// False where two programs could read the request differently, the bytes are made for a person's eyes, or they are
    /// those of somebody whom the caller impersonates.
    pub keepable: bool,
}

/// A head that the hub does not pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not an origin-form path (`GET http://...`, `OPTIONS *`).
    NotAPath,
    /// Longer than [`limits::TARGET_BYTES_MAX`].
    TooLong,
    /// `CONNECT` and `TRACE` have no meaning at an API server.
    Method,
    /// More than one `Authorization` line, or a token among the protocols of a WebSocket beside one: which one counts would
    /// be a guess. Of these two the API server takes the one that is good, and the other would be taken for as good.
    TwoAuthorizations,
}

/// Reads a request's head. Pure.
pub fn classify(head: &Parts) -> Result<Asked, Refused> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Refused::Method);
    }
    let path_and_query = head.uri.path_and_query().ok_or(Refused::NotAPath)?;
    if !path_and_query.as_str().starts_with('/') {
        return Err(Refused::NotAPath);
    }
    if path_and_query.as_str().len() > limits::TARGET_BYTES_MAX {
        return Err(Refused::TooLong);
    }
    let authorizations = head.headers.get_all(header::AUTHORIZATION).iter().count();
    if authorizations > 1 || authorizations == 1 && token_protocol(&head.headers).is_some() {
        return Err(Refused::TwoAuthorizations);
    }
    let mut options = query::parse(path_and_query.query());
    let parsed = path::parse(path_and_query.path());
    let user_agent = text(&head.headers, header::USER_AGENT);
    let keepable = parsed.is_some()
        && !options.ambiguous
        && !is_pretty(user_agent, &options)
        && !impersonates(&head.headers);
    let target = parsed.unwrap_or(Target::Other);
    if let Target::Resource(r) = &target {
        options.watch |= r.watch_prefix;
    }
    Ok(Asked {
        verb: verb(&head.method, &target, &options),
        target,
        path_and_query: path_and_query.as_str().to_owned(),
        agent: agent::name(user_agent),
        wanted: accept::wanted(text(&head.headers, header::ACCEPT)),
        accept: text(&head.headers, header::ACCEPT)
            .unwrap_or("application/json")
            .to_owned(),
        upgrade: wants_upgrade(head),
        keepable,
        options,
    })
}

/// Whether another protocol may follow the request.
pub fn wants_upgrade(head: &Parts) -> bool {
    head.headers.contains_key(header::UPGRADE) && head.version < http::Version::HTTP_2
}

/// The WebSocket protocol that is a token: a browser has no other place for one.
pub fn token_protocol(headers: &HeaderMap) -> Option<&[u8]> {
    const PREFIX: &[u8] = b"base64url.bearer.authorization.k8s.io.";
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    names
        .map(<[u8]>::trim_ascii)
        .find(|name| name.starts_with(PREFIX))
}

fn verb(method: &Method, target: &Target, options: &Options) -> Verb {
    let Target::Resource(resource) = target else {
        return match *method {
            Method::GET | Method::HEAD => Verb::Get,
            _ => Verb::Other,
        };
    };
    match *method {
        // A subresource is never watched; `watch` there is the business of what is behind it. Nor is a named object, but
        // for the old form.
        Method::GET
            if options.watch
                && resource.subresource.is_none()
                && (resource.name.is_none() || resource.watch_prefix) =>
        {
            Verb::Watch
        }
        Method::GET if resource.name.is_some() => Verb::Get,
        Method::GET => Verb::List,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if resource.name.is_some() => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => Verb::Other,
    }
}

/// The API server prints for people when the program's name says so (kubernetes-api.md 1.1).
fn is_pretty(user_agent: Option<&str>, options: &Options) -> bool {
    let person = |a: &str| {
        ["curl", "Wget", "Mozilla/5.0"]
            .iter()
            .any(|p| a.starts_with(p))
    };
    options.pretty || user_agent.is_some_and(person)
}

/// The answer is then for somebody else than who the credentials name.
fn impersonates(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .any(|name| name.as_str().starts_with("impersonate-"))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

impl Asked {
    pub fn resource(&self) -> Option<&Resource> {
        match &self.target {
            Target::Resource(r) => Some(r),
            Target::Other => None,
        }
    }

    /// The best form that the client takes, for error bodies; JSON when it takes nothing that the hub can write.
    pub fn best(&self) -> accept::Wanted {
        self.wanted.first().copied().unwrap_or(accept::Wanted {
            encoding: crate::object::Encoding::Json,
            form: Form::Object,
        })
    }

    /// The only name that an object can have that this is about, where its path or its selector says one and nothing else
    /// can be meant.
    pub fn only_name(&self) -> Option<&str> {
        let by_path = self.resource()?.name.as_deref();
        by_path.or_else(|| {
            let name = (self.options.field_selector).strip_prefix("metadata.name=")?;
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
            (!self.options.ambiguous && name.bytes().all(is_plain)).then_some(name)
        })
    }

    /// The request's path and query for a log line: control characters cannot occur in a URI, and the values of
    /// parameters that are not known to be harmless (commands of exec, tokens) are left out.
    pub fn loggable(&self) -> String {
        let Some((path, query)) = self.path_and_query.split_once('?') else {
            return self.path_and_query.clone();
        };
        let shown: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, _)) if !LOGGED.contains(&name) => format!("{name}=..."),
                _ => pair.to_owned(),
            })
            .collect();
        format!("{path}?{}", shown.join("&"))
    }
}

/// Parameters whose values may stand in a log.
const LOGGED: [&str; 22] = [
    "watch",
    "resourceVersion",
    "resourceVersionMatch",
    "limit",
    "timeout",
    "timeoutSeconds",
    "labelSelector",
    "fieldSelector",
    "sendInitialEvents",
    "allowWatchBookmarks",
    "follow",
    "container",
    "previous",
    "tailLines",
    "fieldManager",
    "fieldValidation",
    "force",
    "dryRun",
    "pretty",
    "stdin",
    "stdout",
    "tty",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, uri: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a valid request").into_parts().0
    }

    #[test]
    fn verbs() {
        for (method, uri, want) in [
            ("GET", "/api/v1/pods", Verb::List),
            // The API server answers it with 405, so the hub must not answer it with what is kept.
            ("HEAD", "/api/v1/pods", Verb::Other),
            ("HEAD", "/version", Verb::Get),
            ("GET", "/api/v1/pods?watch=true", Verb::Watch),
            ("GET", "/api/v1/pods?watch=false", Verb::List),
            ("GET", "/api/v1/watch/pods", Verb::Watch),
            ("GET", "/api/v1/namespaces/a/pods/b", Verb::Get),
            ("GET", "/api/v1/namespaces/a/pods/b?watch=1", Verb::Get),
            ("GET", "/api/v1/watch/namespaces/a/pods/b", Verb::Watch),
            ("GET", "/api/v1/namespaces/a/pods/b/log?watch=1", Verb::Get),
            ("POST", "/api/v1/namespaces/a/pods", Verb::Create),
            ("PUT", "/api/v1/namespaces/a/pods/b", Verb::Update),
            ("PATCH", "/api/v1/namespaces/a/pods/b", Verb::Patch),
            ("DELETE", "/api/v1/namespaces/a/pods/b", Verb::Delete),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods",
                Verb::DeleteCollection,
            ),
            ("GET", "/version", Verb::Get),
            ("POST", "/version", Verb::Other),
        ] {
            assert_eq!(
                classify(&head(method, uri, &[])).unwrap().verb,
                want,
                "{method} {uri}"
            );
        }
    }

    #[test]
    fn the_only_name() {
        for (uri, want) in [
            ("/api/v1/namespaces/a/configmaps/b", Some("b")),
            ("/api/v1/namespaces/a/configmaps/b?watch=1", Some("b")),
            (
                "/api/v1/configmaps?fieldSelector=metadata.name%3Db-1.c",
                Some("b-1.c"),
            ),
            ("/api/v1/configmaps?fieldSelector=metadata.name==b", None),
            (
                "/api/v1/configmaps?fieldSelector=metadata.name=b,metadata.namespace=a",
                None,
            ),
            (
                "/api/v1/configmaps?fieldSelector=metadata.namespace=a",
                None,
            ),
            (
                "/api/v1/configmaps?fieldSelector=metadata.name=b&fieldSelector=metadata.name=c",
                None,
            ),
            ("/api/v1/configmaps", None),
            ("/version", None),
        ] {
            let asked = classify(&head("GET", uri, &[])).unwrap();
            assert_eq!(asked.only_name(), want, "{uri}");
        }
    }

    #[test]
    fn refused() {
        let long = format!("/{}", "a".repeat(limits::TARGET_BYTES_MAX));
        for (method, uri, want) in [
            ("CONNECT", "host:443", Refused::Method),
            ("TRACE", "/", Refused::Method),
            ("OPTIONS", "*", Refused::NotAPath),
            ("GET", long.as_str(), Refused::TooLong),
        ] {
            assert_eq!(
                classify(&head(method, uri, &[])).unwrap_err(),
                want,
                "{method}"
            );
        }
        let two = head(
            "GET",
            "/",
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
        );
        assert_eq!(classify(&two).unwrap_err(), Refused::TwoAuthorizations);
        let protocols = "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YQ";
        let protocols = ("sec-websocket-protocol", protocols);
        assert!(classify(&head("GET", "/", &[protocols])).is_ok());
        for authorization in ["Bearer b", "Basic b", ""] {
            let both = head("GET", "/", &[protocols, ("authorization", authorization)]);
            assert_eq!(classify(&both).unwrap_err(), Refused::TwoAuthorizations);
        }
    }

    #[test]
    fn made_for_eyes_is_not_keepable() {
        for (uri, agent, want) in [
            ("/api/v1/pods", "kubelet/v1", true),
            ("/api/v1/pods", "curl/8", false),
            ("/api/v1/pods?pretty=true", "kubelet/v1", false),
            ("/api/v1//pods", "kubelet/v1", false),
            ("/api/v1/pods?limit=1&limit=2", "kubelet/v1", false),
        ] {
            let asked = classify(&head("GET", uri, &[("user-agent", agent)])).unwrap();
            assert_eq!(asked.keepable, want, "{uri} {agent}");
        }
    }

    #[test]
    fn what_an_impersonated_user_is_told_is_not_keepable() {
        for name in ["impersonate-user", "impersonate-extra-scopes"] {
            let asked = classify(&head("GET", "/api/v1/pods", &[(name, "x")])).unwrap();
            assert!(!asked.keepable, "{name}");
        }
    }

    #[test]
    fn log_lines_hide_values() {
        let asked = classify(&head(
            "GET",
            "/api/v1/x?token=abc&watch=1&command=cat+/secret",
            &[],
        ))
        .unwrap();
        assert_eq!(asked.loggable(), "/api/v1/x?token=...&watch=1&command=...");
    }
}
