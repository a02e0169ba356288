//! The lease by which a kubelet says that its node lives. Without an API server nobody reads it, and the kubelet is answered
//! with what it has sent: the next that reaches an API server says all that there is to say. Pure; nothing is renewed here.

use crate::object::{Encoding, Malformed, read_single};
use crate::request::Resource;
use bytes::Bytes;

/// A lease as the kubelet has sent it while no API server could be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub encoding: Encoding,
    pub body: Bytes,
}

/// Where leases of nodes are.
const NAMESPACE: &str = "kube-node-lease";

/// Whether these are the leases of nodes.
pub fn is_of_nodes(resource: &Resource) -> bool {
    resource.group == "coordination.k8s.io"
        && resource.resource == "leases"
        && resource.namespace.as_deref() == Some(NAMESPACE)
}

impl Lease {
    /// Of the body of a write; an error: it is not the lease of this node.
    pub fn read(encoding: Encoding, body: Bytes, node: &str) -> Result<Lease, Malformed> {
        let (type_meta, meta, _) = read_single(encoding, &body)?;
        let is_it = type_meta.kind == "Lease" && meta.namespace == NAMESPACE && meta.name == node;
        match is_it {
            true => Ok(Lease { encoding, body }),
            false => Err(Malformed::Shape),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1",
        "metadata":{"name":"gw-1","namespace":"kube-node-lease"},"spec":{"holderIdentity":"gw-1"}}"#;

    #[test]
    fn a_lease_is_of_its_node() {
        let read = |text: &str, node| {
            let body = Bytes::copy_from_slice(text.as_bytes());
            Lease::read(Encoding::Json, body, node).map(|lease| lease.body)
        };
        assert_eq!(read(JSON, "gw-1"), Ok(JSON.into()));
        assert!(read(JSON, "gw-2").is_err());
        for (from, to) in [
            ("\"Lease\"", "\"Node\""),
            ("kube-node-lease", "default"),
            ("}}", "}"),
        ] {
            assert!(read(&JSON.replace(from, to), "gw-1").is_err(), "{to}");
        }
        let body = Bytes::from_static(JSON.as_bytes());
        assert!(Lease::read(Encoding::Protobuf, body, "gw-1").is_err());
    }
}
