//! What the hub answers to the node's own components when the API server cannot: the answers to certain POSTs that they
//! were given before. Pure; nothing here is ever invented.

pub mod grants;
pub mod reviews;
pub mod token_request;

use crate::access::{Caller, Who};
use crate::request::{Asked, Verb};

/// A POST whose answer may be given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// For a token of a service account, as a kubelet asks for each pod (kubernetes-api.md 4.3).
    TokenRequest,
    /// Whether somebody may do something, or who somebody is, as the kubelet's own port asks.
    Review,
}

/// Which of them this is. Pods are none of the node's components, whatever they call themselves.
pub fn posted(asked: &Asked, caller: &Caller) -> Option<Posted> {
    let resource = asked.resource()?;
    let is_posted = asked.verb == Verb::Create && asked.keepable && !asked.upgrade;
    if !is_posted || !matches!(caller.who, Who::Subject(_)) {
        return None;
    }
    let names = (
        resource.group.as_str(),
        resource.resource.as_str(),
        resource.subresource.as_deref(),
    );
    match names {
        ("", "serviceaccounts", Some("token")) => Some(Posted::TokenRequest),
        ("authorization.k8s.io", "subjectaccessreviews", None)
        | ("authentication.k8s.io", "tokenreviews", None) => Some(Posted::Review),
        _ => None,
    }
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
        for (method, uri, who, want) in [
            ("POST", TOKEN, NODE, Some(TokenRequest)),
            ("POST", ACCESS, NODE, Some(Review)),
            (
                "POST",
                "/apis/authentication.k8s.io/v1/tokenreviews",
                NODE,
                Some(Review),
            ),
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
            assert_eq!(posted(&asked, &caller), want, "{method} {uri} {who}");
        }
    }
}
