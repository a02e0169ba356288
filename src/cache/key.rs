//! Which collection a request is about. Two selectors are two collections, two identities are two collections.

use crate::access::Who;
use crate::object::Encoding;
use crate::object::essence::essence;
use crate::request::{Asked, Form, Resource, Target, Verb};

/// The name of a collection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub agent: String,
    pub who: Who,
    pub scope: Scope,
    pub encoding: Encoding,
    pub form: Form,
}

/// What of the cluster a collection holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All that a list or a watch of this path and these selectors shows.
    Objects(Objects),
    /// One object, as a GET by name shows it; or that it does not exist.
    One(One),
    /// A discovery document.
    Document(Document),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Document {
    pub path_and_query: String,
    /// What was asked for: one path has several documents.
    pub accept: String,
    /// As the API server named it. Empty in a scope made from a request alone.
    pub content_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Objects {
    pub group: String,
    pub version: String,
    pub resource: String,
    /// Empty: all namespaces, or a resource that has none.
    pub namespace: String,
    pub label_selector: String,
    pub field_selector: String,
    /// Every other parameter that may change the data.
    pub others: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct One {
    pub group: String,
    pub version: String,
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub subresource: String,
    pub others: String,
}

/// Whether the answer to a request may be kept. False: logs, exec, proxied paths, tables, reviews, CSRs, events, what is
/// not a read, and what two programs could understand differently (design.md "What is kept").
pub fn has_scope(asked: &Asked) -> bool {
    asked.keepable
        && asked.verb.is_read()
        && match &asked.target {
            Target::Other => is_discovery(&asked.path_and_query),
            Target::Resource(resource) if is_never_kept(resource) => false,
            Target::Resource(resource) => match asked.verb {
                Verb::Get => resource.name.is_some(),
                // The watch of one object by its path selects it by name; with a selector beside it nobody asks.
                _ => resource.name.is_none() || asked.options.field_selector.is_empty(),
            },
        }
}

/// The scope of such a request; `None` of any other.
pub fn scope(asked: &Asked) -> Option<Scope> {
    if !has_scope(asked) {
        return None;
    }
    match &asked.target {
        Target::Other => Some(Scope::Document(Document {
            path_and_query: asked.path_and_query.clone(),
            accept: asked.accept.clone(),
            content_type: String::new(),
        })),
        Target::Resource(resource) => match asked.verb {
            Verb::Get => one(asked, resource),
            _ => Some(objects(asked, resource)),
        },
    }
}

pub fn is_discovery(path_and_query: &str) -> bool {
    let path = path_and_query.split('?').next().unwrap_or_default();
    ["/api", "/apis", "/version", "/openapi"]
        .iter()
        .any(|root| {
            path.strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

fn is_never_kept(resource: &Resource) -> bool {
    let group = resource.group.as_str();
    let name = resource.resource.as_str();
    matches!(
        (group, name),
        ("" | "events.k8s.io", "events")
            | ("certificates.k8s.io", "certificatesigningrequests")
            | ("", "componentstatuses")
    ) || matches!(
        group,
        "authentication.k8s.io" | "authorization.k8s.io" | "metrics.k8s.io"
    ) || resource
        .subresource
        .as_deref()
        .is_some_and(|s| s != "status")
}

fn one(asked: &Asked, resource: &Resource) -> Option<Scope> {
    Some(Scope::One(One {
        group: resource.group.clone(),
        version: resource.version.clone(),
        resource: resource.resource.clone(),
        namespace: namespace_of(resource),
        name: resource.name.clone()?,
        subresource: resource.subresource.clone().unwrap_or_default(),
        others: asked.options.others.clone(),
    }))
}

fn objects(asked: &Asked, resource: &Resource) -> Scope {
    let field_selector = match &resource.name {
        Some(name) => format!("metadata.name={name}"),
        None => asked.options.field_selector.clone(),
    };
    Scope::Objects(Objects {
        group: resource.group.clone(),
        version: resource.version.clone(),
        resource: resource.resource.clone(),
        namespace: namespace_of(resource),
        label_selector: asked.options.label_selector.clone(),
        field_selector,
        others: asked.options.others.clone(),
    })
}

/// The namespace of the objects. A Namespace object itself is in none, though its path names one.
fn namespace_of(resource: &Resource) -> String {
    match &resource.namespace {
        Some(ns) if !(resource.resource == "namespaces" && resource.group.is_empty()) => ns.clone(),
        _ => String::new(),
    }
}

/// The key of an object within its collection; sorts as the API server lists.
pub fn item_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

impl Key {
    /// The digest of what matters in an item: a change that leaves it the same may reach the flash late.
    pub fn tag(&self, item: &[u8]) -> u32 {
        let (group, resource) = match &self.scope {
            Scope::Objects(o) => (o.group.as_str(), o.resource.as_str()),
            Scope::One(o) => (o.group.as_str(), o.resource.as_str()),
            Scope::Document(_) => ("", ""),
        };
        essence(self.encoding, group, resource, item)
    }
}

impl Objects {
    /// True if the object of this namespace and name, if it exists, must be in this collection.
    pub fn must_contain(&self, one: &One) -> bool {
        let by_name = self.field_selector.strip_prefix("metadata.name=");
        self.may_contain(one)
            && self.label_selector.is_empty()
            && (self.field_selector.is_empty() || by_name == Some(one.name.as_str()))
    }

    /// True if an object of this namespace and name could be in this collection.
    pub fn may_contain(&self, one: &One) -> bool {
        (&self.group, &self.version, &self.resource) == (&one.group, &one.version, &one.resource)
            && (self.namespace.is_empty() || self.namespace == one.namespace)
            && one.subresource.is_empty()
            && self.others == one.others
    }

    /// True if whoever may have this may have `narrower` too: the same, or less of it.
    pub fn is_as_wide_as(&self, narrower: &Objects) -> bool {
        let wide = |own: &str, other: &str| own.is_empty() || own == other;
        (&self.group, &self.version, &self.resource)
            == (&narrower.group, &narrower.version, &narrower.resource)
            && wide(&self.namespace, &narrower.namespace)
            && wide(&self.label_selector, &narrower.label_selector)
            && wide(&self.field_selector, &narrower.field_selector)
    }

    /// True if the list of `wanted` can be taken out of this collection: the same but for the namespace.
    pub fn holds_namespace_of(&self, wanted: &Objects) -> bool {
        let without = |o: &Objects| Objects {
            namespace: String::new(),
            ..o.clone()
        };
        self.namespace.is_empty() && !wanted.namespace.is_empty() && *self == without(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::classify;

    fn of(uri: &str) -> Option<Scope> {
        let head = http::Request::builder()
            .uri(uri)
            .header("user-agent", "kubelet/v1")
            .body(())
            .unwrap();
        scope(&classify(&head.into_parts().0).unwrap())
    }

    #[test]
    fn what_is_kept() {
        for (uri, want) in [
            ("/api/v1/pods?fieldSelector=spec.nodeName%3Da", true),
            ("/api/v1/namespaces/a/pods/b", true),
            ("/api/v1/namespaces/a/pods/b/status", true),
            ("/api/v1/namespaces/a/pods/b?watch=1", true),
            ("/api/v1/namespaces/a/pods/b/log", false),
            ("/api/v1/namespaces/a/pods/b/exec?command=ls", false),
            ("/api/v1/namespaces/a/services/b/proxy/x", false),
            ("/api/v1/nodes/a/proxy/metrics", false),
            ("/api/v1/events", false),
            ("/apis/events.k8s.io/v1/namespaces/a/events", false),
            (
                "/apis/certificates.k8s.io/v1/certificatesigningrequests/x",
                false,
            ),
            (
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                false,
            ),
            ("/api", true),
            ("/apis/apps/v1", true),
            ("/version", true),
            ("/openapi/v3/api/v1?hash=abc", true),
            ("/apiserver", false),
            ("/healthz", false),
            ("/metrics", false),
        ] {
            assert_eq!(of(uri).is_some(), want, "{uri}");
        }
    }

    #[test]
    fn width() {
        let objects = |uri: &str| match of(uri) {
            Some(Scope::Objects(objects)) => objects,
            other => panic!("{uri}: {other:?}"),
        };
        for (kept, refused, want) in [
            ("/api/v1/pods", "/api/v1/pods", true),
            ("/api/v1/pods", "/api/v1/namespaces/a/pods", true),
            ("/api/v1/pods", "/api/v1/pods?labelSelector=x", true),
            ("/api/v1/pods?labelSelector=x", "/api/v1/pods", false),
            ("/api/v1/namespaces/a/pods", "/api/v1/pods", false),
            ("/api/v1/pods", "/api/v1/secrets", false),
        ] {
            let (kept, refused) = (objects(kept), objects(refused));
            assert_eq!(kept.is_as_wide_as(&refused), want, "{kept:?} {refused:?}");
        }
    }

    #[test]
    fn what_changes_the_answer_is_in_the_key_and_nothing_else() {
        let base = of("/api/v1/pods?labelSelector=a%3Db");
        for same in [
            "/api/v1/pods?labelSelector=a%3Db&watch=true&resourceVersion=7&timeoutSeconds=5&timeout=5s",
            "/api/v1/pods?limit=500&labelSelector=a%3Db&continue=abc",
            "/api/v1/pods?labelSelector=a%3Db&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&watch=1",
        ] {
            assert_eq!(of(same), base, "{same}");
        }
        for other in [
            "/api/v1/pods",
            "/api/v1/pods?labelSelector=a%3Dc",
            "/api/v1/pods?labelSelector=a%3Db&fieldSelector=x%3Dy",
            "/api/v1/namespaces/n/pods?labelSelector=a%3Db",
            "/api/v1/pods?labelSelector=a%3Db&shardSelector=z",
        ] {
            assert_ne!(of(other), base, "{other}");
        }
        assert_eq!(
            of("/api/v1/watch/namespaces/n/pods/p"),
            of("/api/v1/namespaces/n/pods?watch=1&fieldSelector=metadata.name%3Dp")
        );
    }

    #[test]
    fn containment() {
        let objects = |uri| match of(uri) {
            Some(Scope::Objects(o)) => o,
            other => panic!("{other:?}"),
        };
        let one = |uri| match of(uri) {
            Some(Scope::One(o)) => o,
            other => panic!("{other:?}"),
        };
        let pod = one("/api/v1/namespaces/n/pods/p");
        for (uri, may, must) in [
            ("/api/v1/pods", true, true),
            ("/api/v1/namespaces/n/pods", true, true),
            ("/api/v1/namespaces/m/pods", false, false),
            ("/api/v1/pods?labelSelector=a", true, false),
            ("/api/v1/pods?fieldSelector=spec.nodeName%3Dx", true, false),
            (
                "/api/v1/namespaces/n/pods?fieldSelector=metadata.name%3Dp",
                true,
                true,
            ),
            (
                "/api/v1/namespaces/n/pods?fieldSelector=metadata.name%3Dq",
                true,
                false,
            ),
            ("/api/v1/services", false, false),
            ("/apis/x/v1/pods", false, false),
        ] {
            let o = objects(uri);
            assert_eq!(
                (o.may_contain(&pod), o.must_contain(&pod)),
                (may, must),
                "{uri}"
            );
        }
        assert!(!objects("/api/v1/pods").may_contain(&one("/api/v1/namespaces/n/pods/p/status")));
        let all = objects("/api/v1/pods?labelSelector=a");
        assert!(all.holds_namespace_of(&objects("/api/v1/namespaces/n/pods?labelSelector=a")));
        assert!(!all.holds_namespace_of(&objects("/api/v1/namespaces/n/pods")));
        assert!(!all.holds_namespace_of(&all));
        let namespace = one("/api/v1/namespaces/n");
        assert!(objects("/api/v1/namespaces").must_contain(&namespace));
    }
}
