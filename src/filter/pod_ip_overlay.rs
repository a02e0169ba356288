//! `podipoverlay`: pods that came up again while the link is cut are at the addresses that the kubelet has reported, not
//! at those that the cloud still believes; and ready if it calls them so, though the cloud has heard of them last when they
//! were not. None is made unready: some Services want theirs named before they are ready, and a slice does not say whose it
//! is. Told only while the link is cut and a little longer, and never kept.

use super::fields::{
    ADDRESS_IP, ADDRESS_TARGET, CONDITION_READY, CONDITION_SERVING, CONDITION_TERMINATING,
    ENDPOINT_ADDRESSES, ENDPOINT_CONDITIONS, ENDPOINT_TARGET, REFERENCE_KIND, REFERENCE_UID,
    SLICE_ADDRESS_TYPE, SLICE_ENDPOINTS, SUBSET_ADDRESSES, SUBSETS,
};
use super::{Cannot, Facts, Kind, Verdict, told};
use crate::object::Malformed;
use crate::object::edit::{Edits, Field, Node, Value};
use std::borrow::Cow;
use std::net::IpAddr;

/// Puts the new addresses in the place of the old ones, each of its own family.
pub fn judge(facts: &Facts, kind: Kind, object: &Node<'_>) -> Result<Verdict, Cannot> {
    if !facts.knows_pods() {
        return Ok(Verdict::Keep);
    }
    let mut edits = Edits::new(object)?;
    if kind == Kind::Endpoints {
        for subset in object.items(SUBSETS)? {
            for field in SUBSET_ADDRESSES {
                for address in subset.items(field)? {
                    let v6 = address.text_of(ADDRESS_IP)?.contains(':');
                    let pod = pod(&address, ADDRESS_TARGET)?;
                    if let Some(ip) = new_ip(facts, pod.as_deref(), v6) {
                        edits.set(&address, ADDRESS_IP, Value::Text(&ip.to_string()))?;
                    }
                }
            }
        }
    } else {
        let v6 = object.has(SLICE_ADDRESS_TYPE, "IPv6")?;
        for endpoint in object.items(SLICE_ENDPOINTS)? {
            let pod = pod(&endpoint, ENDPOINT_TARGET)?;
            if pod
                .as_deref()
                .is_some_and(|pod| facts.pods_ready.contains(pod))
            {
                make_ready(&mut edits, &endpoint)?;
            }
            if let Some(ip) = new_ip(facts, pod.as_deref(), v6) {
                let ip = ip.to_string();
                edits.set(
                    &endpoint,
                    ENDPOINT_ADDRESSES,
                    Value::List(&[Value::Text(&ip)]),
                )?;
            }
        }
    }
    Ok(told(edits.finish()?))
}

/// The uid of the pod that stands behind this place, if one does.
fn pod<'a>(place: &Node<'a>, target: Field) -> Result<Option<Cow<'a, str>>, Malformed> {
    match place.get(target)? {
        Some(target) if target.has(REFERENCE_KIND, "Pod")? => {
            target.text_of(REFERENCE_UID).map(Some)
        }
        _ => Ok(None),
    }
}

fn new_ip(facts: &Facts, pod: Option<&str>, v6: bool) -> Option<IpAddr> {
    let ips = facts.pod_ips.get(pod?)?;
    ips.iter().find(|ip| ip.is_ipv6() == v6).copied()
}

/// What says nothing of it is taken for ready anyway, and what ends stays as it is.
fn make_ready(edits: &mut Edits<'_>, endpoint: &Node<'_>) -> Result<(), Malformed> {
    let Some(conditions) = endpoint.get(ENDPOINT_CONDITIONS)? else {
        return Ok(());
    };
    if conditions.is_true(CONDITION_TERMINATING)? {
        return Ok(());
    }
    for condition in [CONDITION_READY, CONDITION_SERVING] {
        if !conditions.is_true(condition)? {
            edits.set(&conditions, condition, Value::Truth(true))?;
        }
    }
    Ok(())
}
