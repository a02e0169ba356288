//! `podipoverlay`: pods that came up again while the link is cut are at the addresses that the kubelet has reported, not
//! at those that the cloud still believes. Told only while the link is cut, and never kept.

use super::fields::{
    ADDRESS_IP, ADDRESS_TARGET, ENDPOINT_ADDRESSES, ENDPOINT_TARGET, REFERENCE_KIND, REFERENCE_UID,
    SLICE_ADDRESS_TYPE, SLICE_ENDPOINTS, SUBSET_ADDRESSES, SUBSETS,
};
use super::{Cannot, Facts, Kind, Verdict, told};
use crate::object::Malformed;
use crate::object::edit::{Edits, Field, Node, Value};
use std::net::IpAddr;

/// Puts the new addresses in the place of the old ones, each of its own family.
pub fn judge(facts: &Facts, kind: Kind, object: &Node<'_>) -> Result<Verdict, Cannot> {
    if facts.pod_ips.is_empty() {
        return Ok(Verdict::Keep);
    }
    let mut edits = Edits::new(object)?;
    if kind == Kind::Endpoints {
        for subset in object.items(SUBSETS)? {
            for field in SUBSET_ADDRESSES {
                for address in subset.items(field)? {
                    let v6 = address.text_of(ADDRESS_IP)?.contains(':');
                    if let Some(ip) = new_ip(facts, &address, ADDRESS_TARGET, v6)? {
                        edits.set(&address, ADDRESS_IP, Value::Text(&ip.to_string()))?;
                    }
                }
            }
        }
    } else {
        let v6 = object.has(SLICE_ADDRESS_TYPE, "IPv6")?;
        for endpoint in object.items(SLICE_ENDPOINTS)? {
            if let Some(ip) = new_ip(facts, &endpoint, ENDPOINT_TARGET, v6)? {
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

fn new_ip(
    facts: &Facts,
    place: &Node<'_>,
    target: Field,
    v6: bool,
) -> Result<Option<IpAddr>, Malformed> {
    let Some(target) = place.get(target)? else {
        return Ok(None);
    };
    let ips = match target.has(REFERENCE_KIND, "Pod")? {
        true => facts.pod_ips.get(&*target.text_of(REFERENCE_UID)?),
        false => None,
    };
    Ok(ips
        .and_then(|ips| ips.iter().find(|ip| ip.is_ipv6() == v6))
        .copied())
}
