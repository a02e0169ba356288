//! `discardcloudservice`: LoadBalancers that only the cloud can reach are not there, and need no rules on the node.

use super::fields::{ANNOTATIONS, SERVICE_TYPE, is_named, metadata, spec, text_in};
use super::{Cannot, Verdict};
use crate::object::edit::Node;

/// `"true"` discards a LoadBalancer: the hub's own annotation, and OpenYurt's.
const DISCARD: [&str; 2] = ["edge-hub/discard", "svc.openyurt.io/discard"];

/// Drops those that are marked, and the one of OpenYurt's own that always is.
pub fn judge(service: &Node<'_>) -> Result<Verdict, Cannot> {
    let metadata = metadata(service)?;
    if is_named(&metadata, "kube-system", "x-tunnel-server-internal-svc")? {
        return Ok(Verdict::Drop);
    }
    for annotation in DISCARD {
        let is_marked = text_in(&metadata, ANNOTATIONS, annotation)? == "true";
        if is_marked && spec(service)?.has(SERVICE_TYPE, "LoadBalancer")? {
            return Ok(Verdict::Drop);
        }
    }
    Ok(Verdict::Keep)
}
