//! Which collections somebody means. Pure.

use super::source::Kept;
use crate::cache::key::{One, Scope, item_key, scope};
use crate::object::Encoding;
use crate::request::{Form, classify};

/// What is asked for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// An object of a resource, as `ls` names that or shorter: `pods`, `deployments.apps`, `deployments.v1.apps`.
    Object {
        resource: String,
        namespace: String,
        name: String,
    },
    /// A whole resource, in any namespace.
    Resource(String),
    /// What an API path names.
    Path(Scope),
}

/// What of a collection it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    All,
    Item(String),
}

impl Wanted {
    /// `None`: nothing of this path is ever kept.
    pub(super) fn path(path: &str) -> Option<Wanted> {
        let request = http::Request::get(path).body(()).ok()?;
        let asked = classify(&request.into_parts().0).ok()?;
        scope(&asked).map(Wanted::Path)
    }

    /// Whether it names this collection as a whole.
    pub(super) fn is(&self, kept: &Scope) -> bool {
        match self {
            Wanted::Path(wanted @ (Scope::One(_) | Scope::Objects(_))) => kept == wanted,
            _ => self.part(kept).is_some(),
        }
    }

    /// What of this collection is wanted.
    pub(super) fn part(&self, kept: &Scope) -> Option<Part> {
        match self {
            Wanted::Path(Scope::One(one)) => of_one(one, kept),
            Wanted::Path(Scope::Document(wanted)) => match kept {
                Scope::Document(d) if d.path_and_query == wanted.path_and_query => {
                    Some(Part::Item(String::new()))
                }
                _ => None,
            },
            Wanted::Path(wanted) => (kept == wanted).then_some(Part::All),
            Wanted::Resource(resource) => is_of(resource, kept)?.then_some(Part::All),
            Wanted::Object {
                resource,
                namespace,
                name,
            } => {
                let [group, version, of] = names(kept)?;
                let one = One {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    resource: of.to_owned(),
                    namespace: namespace.clone(),
                    name: name.clone(),
                    subresource: String::new(),
                    others: String::new(),
                };
                of_one(&one, kept).filter(|_| is_of(resource, kept) == Some(true))
            }
        }
    }
}

fn of_one(one: &One, kept: &Scope) -> Option<Part> {
    match kept {
        Scope::One(kept) => (kept == one).then(|| Part::Item(String::new())),
        Scope::Objects(kept) => {
            (kept.may_contain(one)).then(|| Part::Item(item_key(&one.namespace, &one.name)))
        }
        Scope::Document(_) => None,
    }
}

/// Group, version and resource.
fn names(scope: &Scope) -> Option<[&str; 3]> {
    match scope {
        Scope::Objects(o) => Some([&o.group, &o.version, &o.resource]),
        Scope::One(o) => Some([&o.group, &o.version, &o.resource]),
        Scope::Document(_) => None,
    }
}

fn is_of(asked: &str, kept: &Scope) -> Option<bool> {
    let [group, version, resource] = names(kept)?;
    let rest = asked.strip_prefix(resource);
    let is = |rest: &str| match rest.strip_prefix('.') {
        None => rest.is_empty(),
        Some(rest) => {
            rest == version
                || (!group.is_empty() && rest == group)
                || rest.strip_prefix(version).and_then(|r| r.strip_prefix('.')) == Some(group)
        }
    };
    Some(rest.is_some_and(is))
}

/// Whose data is nobody's business who only looks.
pub(super) fn is_secret(scope: &Scope) -> bool {
    matches!(names(scope), Some(["", _, "secrets"]))
}

/// What a person would rather have comes first: text, whole objects, the newest.
pub(super) fn rank(kept: &Kept) -> (bool, bool, u64) {
    (
        kept.key.encoding != Encoding::Json,
        kept.key.form != Form::Object,
        kept.age_secs.unwrap_or(u64::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(path: &str) -> Scope {
        match Wanted::path(path) {
            Some(Wanted::Path(scope)) => scope,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn what_of_a_collection_is_meant() {
        let object = |resource: &str, namespace: &str, name: &str| Wanted::Object {
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let path = |path: &str| Wanted::path(path).expect(path);
        let item = |key: &str| Some(Part::Item(key.to_owned()));
        let (pods, one) = ("/api/v1/pods", "/api/v1/namespaces/a/pods/b");
        let deployments = "/apis/apps/v1/namespaces/a/deployments";
        for (wanted, in_what, part) in [
            (object("pods", "a", "b"), pods, item("a/b")),
            (object("pods.v1", "a", "b"), one, item("")),
            (object("pods.", "a", "b"), one, None),
            (object("pod", "a", "b"), one, None),
            (object("pods", "a", "c"), one, None),
            (object("deployments", "a", "b"), deployments, item("a/b")),
            (
                object("deployments.apps", "a", "b"),
                deployments,
                item("a/b"),
            ),
            (
                object("deployments.v1.apps", "a", "b"),
                deployments,
                item("a/b"),
            ),
            (object("deployments.v1.app", "a", "b"), deployments, None),
            (object("deployments", "c", "b"), deployments, None),
            (object("nodes", "", "n"), "/api/v1/nodes", item("/n")),
            (Wanted::Resource("pods".to_owned()), pods, Some(Part::All)),
            (Wanted::Resource("pods".to_owned()), one, Some(Part::All)),
            (Wanted::Resource("pods".to_owned()), "/apis", None),
            (path(one), pods, item("a/b")),
            (path(one), one, item("")),
            (path(pods), pods, Some(Part::All)),
            (path(pods), "/api/v1/namespaces/a/pods", None),
            (path("/apis"), "/apis", item("")),
            (path("/apis"), "/api", None),
        ] {
            assert_eq!(wanted.part(&kept(in_what)), part, "{wanted:?} in {in_what}");
        }
        for never in ["/healthz", "/api/v1/events", "no path", ""] {
            assert!(Wanted::path(never).is_none(), "{never}");
        }
    }

    #[test]
    fn secrets() {
        for (path, want) in [
            ("/api/v1/secrets", true),
            ("/api/v1/namespaces/a/secrets/b", true),
            ("/apis/example.com/v1/secrets", false),
            ("/api/v1/configmaps", false),
        ] {
            assert_eq!(is_secret(&kept(path)), want, "{path}");
        }
    }
}
