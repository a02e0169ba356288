//! What the hub answers to the node's own components when the API server cannot: the answers to certain POSTs that they
//! were given before, and to writes of the node's kubelet what is true without an API server. Pure; nothing here is ever
//! invented.

pub mod grants;
pub mod journal;
pub mod lease;
pub mod pod_status;
pub mod reported;
pub mod reviews;
pub mod token_request;

use crate::access::{Caller, Who};
use crate::limits;
use crate::request::{Asked, Resource, Verb};

/// A write that the hub looks at: it may have an answer to it when nobody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// For a token of a service account, as a kubelet asks for each pod (kubernetes-api.md 4.3).
    TokenRequest,
    /// Whether somebody may do something, or who somebody is, as the kubelet's own port asks.
    Review,
    /// The kubelet makes or renews the lease of its node.
    Lease,
    /// The kubelet makes its node.
    Registration,
    /// The kubelet makes or changes the CSINode of its node. It asks for that at each start, and ends if there is none and it
    /// cannot make it (kubernetes-api.md 4.4).
    CsiNode,
    /// The kubelet says how a pod is. Nothing of that is taken while it cannot be passed on, but others on the node go by it.
    PodStatus,
    /// Something has happened. It is told later.
    Event,
    /// It has happened again.
    EventAgain,
}

impl Posted {
    /// Whether this node's kubelet alone is answered, which its certificate tells.
    pub fn is_nodes_own(self) -> bool {
        use Posted::{Event, EventAgain, Review, TokenRequest};
        !matches!(self, TokenRequest | Review | Event | EventAgain)
    }

    /// The largest that is looked at, in bytes.
    pub fn bytes_max(self) -> u64 {
        match self {
            Posted::PodStatus => limits::POD_STATUS_BYTES_MAX,
            _ => limits::POSTED_BYTES_MAX,
        }
    }
}

/// Which of them this is; `node` is the name of this node. Pods are none of the node's components, whatever they call
/// themselves.
pub fn posted(asked: &Asked, caller: &Caller, node: &str) -> Option<Posted> {
    let resource = asked.resource()?;
    let is_looked_at =
        asked.keepable && !asked.upgrade && !asked.options.others.contains("dryRun=");
    if asked.verb.is_read() || !is_looked_at || !matches!(caller.who, Who::Subject(_)) {
        return None;
    }
    let names = (
        resource.group.as_str(),
        resource.resource.as_str(),
        resource.subresource.as_deref(),
    );
    // Of a POST the path does not name it.
    let is_nodes = asked.verb == Verb::Create || resource.name.as_deref() == Some(node);
    match (asked.verb, names) {
        (Verb::Create, ("", "serviceaccounts", Some("token"))) => Some(Posted::TokenRequest),
        (Verb::Create, ("authorization.k8s.io", "subjectaccessreviews", None))
        | (Verb::Create, ("authentication.k8s.io", "tokenreviews", None)) => Some(Posted::Review),
        (Verb::Create, ("", "nodes", None)) => Some(Posted::Registration),
        (Verb::Create | Verb::Update, ("coordination.k8s.io", "leases", None))
            if is_nodes && lease::is_of_nodes(resource) =>
        {
            Some(Posted::Lease)
        }
        (Verb::Create | Verb::Update, ("storage.k8s.io", "csinodes", None)) if is_nodes => {
            Some(Posted::CsiNode)
        }
        (Verb::Patch, ("", "pods", Some("status"))) => Some(Posted::PodStatus),
        (verb, ("" | "events.k8s.io", "events", None)) if resource.namespace.is_some() => {
            match verb {
                Verb::Create => Some(Posted::Event),
                Verb::Patch => Some(Posted::EventAgain),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether this is the CSINode of a node. That it is absent is nothing to tell while nobody can make it.
pub fn is_csi_node(resource: &Resource) -> bool {
    resource.group == "storage.k8s.io" && resource.resource == "csinodes"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Way;
    use crate::request::classify;

    #[test]
    fn what_may_be_given_again() {
        use Posted::*;
        const TOKEN: &str = "/api/v1/namespaces/a/serviceaccounts/b/token";
        const NODE: Who = Who::Subject([1; 32]);
        const ACCESS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        const LEASE: &str =
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/gw-1?timeout=10s";
        const CSI: &str = "/apis/storage.k8s.io/v1/csinodes";
        for (method, uri, who, want) in [
            ("POST", TOKEN, NODE, Some(TokenRequest)),
            ("POST", ACCESS, NODE, Some(Review)),
            (
                "POST",
                "/apis/authentication.k8s.io/v1/tokenreviews",
                NODE,
                Some(Review),
            ),
            ("POST", "/api/v1/nodes", NODE, Some(Registration)),
            ("PUT", LEASE, NODE, Some(Lease)),
            ("POST", &LEASE.replace("/gw-1", ""), NODE, Some(Lease)),
            ("POST", CSI, NODE, Some(CsiNode)),
            ("PUT", &format!("{CSI}/gw-1"), NODE, Some(CsiNode)),
            (
                "PATCH",
                "/api/v1/namespaces/a/pods/b/status",
                NODE,
                Some(PodStatus),
            ),
            ("PATCH", "/api/v1/namespaces/a/pods/b", NODE, None),
            ("POST", "/api/v1/namespaces/a/events", NODE, Some(Event)),
            (
                "PATCH",
                "/apis/events.k8s.io/v1/namespaces/a/events/x",
                NODE,
                Some(EventAgain),
            ),
            (
                "POST",
                "/api/v1/namespaces/a/events",
                Who::Account([1; 32]),
                None,
            ),
            ("DELETE", "/api/v1/namespaces/a/events/x", NODE, None),
            ("PUT", LEASE, Who::Account([1; 32]), None),
            ("PUT", &LEASE.replace("gw-1", "gw-2"), NODE, None),
            (
                "PUT",
                &LEASE.replace("kube-node-lease", "default"),
                NODE,
                None,
            ),
            ("PUT", &format!("{LEASE}&dryRun=All"), NODE, None),
            ("GET", LEASE, NODE, None),
            ("DELETE", LEASE, NODE, None),
            ("PUT", &format!("{CSI}/gw-2"), NODE, None),
            ("PUT", "/api/v1/nodes/gw-1", NODE, None),
            ("POST", TOKEN, Who::Account([1; 32]), None),
            ("POST", ACCESS, Who::Anonymous, None),
            ("GET", TOKEN, NODE, None),
            ("POST", "/api/v1/namespaces/a/serviceaccounts/b", NODE, None),
            ("POST", "/api/v1/namespaces/a/pods/b/token", NODE, None),
            (
                "POST",
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                NODE,
                None,
            ),
        ] {
            let head = http::Request::builder().method(method).uri(uri).body(());
            let asked = classify(&head.unwrap().into_parts().0).unwrap();
            let caller = Caller {
                who,
                way: Way::Bearer,
                token: None,
            };
            assert_eq!(
                posted(&asked, &caller, "gw-1"),
                want,
                "{method} {uri} {who}"
            );
        }
    }
}
