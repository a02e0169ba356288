//! The path of a request: which resource, or none. The rules are the API server's own (kubernetes-api.md 3.1).

use std::borrow::Cow;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `/api/v1/...` or `/apis/GROUP/VERSION/...` with a resource in it.
    Resource(Resource),
    /// Anything else: discovery, health, `/openapi`, metrics.
    Other,
}

/// A resource path, taken apart. Empty strings never stand for "none".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub resource: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// Everything after the name, joined by `/`: `status`, `log`, `proxy/metrics`.
    pub subresource: Option<String>,
    /// The deprecated `/api/v1/watch/...` form.
    pub watch_prefix: bool,
}

impl Resource {
    /// `services`, or `endpointslices.discovery.k8s.io`.
    pub fn qualified(&self) -> String {
        match self.group.as_str() {
            "" => self.resource.clone(),
            group => format!("{}.{group}", self.resource),
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}

/// Reads a path as the API server does. `None`: the server would read it in a way that two programs could see
/// differently (an escaped slash, `//`, `.` segments, broken escapes); it is passed on and never kept.
pub fn parse(path: &str) -> Option<Target> {
    let mut parts = Vec::with_capacity(8);
    for (at, raw) in path.strip_prefix('/')?.split('/').enumerate() {
        if raw.is_empty() || raw == "." || raw == ".." {
            // A trailing slash alone is harmless (`/apis/`), and names nothing.
            let trailing = raw.is_empty() && path.split('/').count() == at + 2;
            if trailing {
                break;
            }
            return None;
        }
        parts.push(decode_segment(raw)?);
    }
    Some(read(&parts))
}

fn read(parts: &[Cow<'_, str>]) -> Target {
    let (group, mut rest) = match parts {
        [api, rest @ ..] if api == "api" => ("", rest),
        [apis, group, rest @ ..] if apis == "apis" => (group.as_ref(), rest),
        _ => return Target::Other,
    };
    let [version, after @ ..] = rest else {
        return Target::Other;
    };
    rest = after;
    let mut found = Resource {
        group: group.to_owned(),
        version: version.to_string(),
        ..Resource::default()
    };
    if let [first, after @ ..] = rest
        && first == "watch"
        && !after.is_empty()
    {
        found.watch_prefix = true;
        rest = after;
    }
    let Some(first) = rest.first() else {
        return Target::Other;
    };
    if first == "namespaces" && rest.len() > 1 {
        found.namespace = Some(rest[1].to_string());
        // `namespaces/x/status` and `finalize` belong to the namespace; all else in it is a resource of its own.
        if rest.len() > 2 && rest[2] != "status" && rest[2] != "finalize" {
            rest = &rest[2..];
        }
    }
    found.resource = rest[0].to_string();
    found.name = rest.get(1).map(|s| s.to_string());
    if rest.len() > 2 {
        found.subresource = Some(rest[2..].join("/"));
    }
    Target::Resource(found)
}

/// Undoes percent escapes of one segment. `None` when they are broken, hide a `/`, a `%` or a control character.
fn decode_segment(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw));
    }
    let decoded = decode(raw, false)?;
    if decoded.contains(['/', '%'])
        || decoded.chars().any(char::is_control)
        || decoded == "."
        || decoded == ".."
    {
        return None;
    }
    Some(Cow::Owned(decoded))
}

/// Percent decoding; `plus` also turns `+` into a blank, as forms do. `None` on a broken escape or bad UTF-8.
pub(crate) fn decode(raw: &str, plus: bool) -> Option<String> {
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let hex = bytes.get(at + 1..at + 3)?;
                let digit = |b: u8| (b as char).to_digit(16);
                out.push((digit(hex[0])? * 16 + digit(hex[1])?) as u8);
                at += 3;
                continue;
            }
            b'+' if plus => out.push(b' '),
            other => out.push(other),
        }
        at += 1;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, want: &str) {
        let got = match parse(path) {
            None => "ambiguous".to_owned(),
            Some(Target::Other) => "other".to_owned(),
            Some(Target::Resource(r)) => format!(
                "{}|{}|{}|{}|{}|{}{}",
                r.group,
                r.version,
                r.namespace.unwrap_or_default(),
                r.resource,
                r.name.unwrap_or_default(),
                r.subresource.unwrap_or_default(),
                if r.watch_prefix { "|watch" } else { "" }
            ),
        };
        assert_eq!(got, want, "{path}");
    }

    #[test]
    fn paths() {
        check("/api/v1/pods", "|v1||pods||");
        check("/api/v1/namespaces/a/pods/b", "|v1|a|pods|b|");
        check("/api/v1/namespaces/a/pods/b/log", "|v1|a|pods|b|log");
        check(
            "/api/v1/namespaces/a/services/b/proxy/x/y",
            "|v1|a|services|b|proxy/x/y",
        );
        check("/api/v1/namespaces", "|v1||namespaces||");
        check("/api/v1/namespaces/a", "|v1|a|namespaces|a|");
        check("/api/v1/namespaces/a/status", "|v1|a|namespaces|a|status");
        check(
            "/api/v1/namespaces/a/finalize",
            "|v1|a|namespaces|a|finalize",
        );
        check("/apis/apps/v1/deployments", "apps|v1||deployments||");
        check(
            "/apis/apps/v1/namespaces/n/deployments/d/scale",
            "apps|v1|n|deployments|d|scale",
        );
        check("/api/v1/watch/pods", "|v1||pods|||watch");
        check("/api/v1/watch/namespaces/a/pods/b", "|v1|a|pods|b||watch");
        check("/api", "other");
        check("/api/v1", "other");
        check("/apis/", "other");
        check("/apis/apps/v1", "other");
        check("/healthz/etcd", "other");
        check("/", "other");
        check("/api/v1/namespaces/a%2Fpods", "ambiguous");
        check("/api/v1/namespaces/a%252F", "ambiguous");
        check("/api/v1//pods", "ambiguous");
        check("/api/v1/../v1/pods", "ambiguous");
        check("/api/v1/%2e%2e/pods", "ambiguous");
        check("/api/v1/pods/%zz", "ambiguous");
        check("/api/v1/pods/%0a", "ambiguous");
        check("nothing", "ambiguous");
        check(
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
            "rbac.authorization.k8s.io|v1||clusterroles|system:node|",
        );
    }
}
