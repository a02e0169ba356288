//! `servicetopology`: a Service can ask for its traffic to stay on the node, in the zone or in the pool; endpoints that
//! are farther away are not there.

use super::facts::Topology;
use super::fields::{
    ADDRESS_NODE, ENDPOINT_NODE, ENDPOINT_TOPOLOGY, ENDPOINT_ZONE, LABELS, NAME, NAMESPACE,
    SERVICE_NAME, SLICE_ENDPOINTS, SUBSET_ADDRESSES, SUBSETS, metadata, text_in,
};
use super::{Cannot, Facts, Kind, Verdict, told};
use crate::object::Malformed;
use crate::object::edit::{Edits, Node};

/// Takes endpoints away; an object without any stays, as one whose pods are all gone does.
pub fn judge(facts: &Facts, kind: Kind, object: &Node<'_>) -> Result<Verdict, Cannot> {
    let Some(topologies) = &facts.topologies else {
        return Err(Cannot::Decide);
    };
    if topologies.is_empty() {
        return Ok(Verdict::Keep);
    }
    let Some(&topology) = topologies.get(&service_of(kind, object)?) else {
        return Ok(Verdict::Keep);
    };
    let mut edits = Edits::new(object)?;
    match kind {
        Kind::Endpoints => {
            let mut goes = |address: &Node<'_>| {
                let node = address.text_of(ADDRESS_NODE)?;
                // Endpoints know of nodes alone, so of a zone only this node is known to be in it.
                Ok(!is_near(facts, topology, &node, ""))
            };
            endpoints(&mut edits, object, &mut goes)?;
        }
        _ => {
            let mut goes = |endpoint: &Node<'_>| {
                let (node, zone) = place(kind, endpoint)?;
                Ok(!is_near(facts, topology, &node, &zone))
            };
            edits.remove(object, SLICE_ENDPOINTS, &mut goes)?;
        }
    }
    Ok(told(edits.finish()?))
}

/// `NAMESPACE/NAME` of the Service whose endpoints these are.
pub fn service_of(kind: Kind, object: &Node<'_>) -> Result<String, Malformed> {
    let metadata = metadata(object)?;
    let name = match kind {
        Kind::Endpoints => metadata.text_of(NAME)?,
        _ => text_in(&metadata, LABELS, SERVICE_NAME)?,
    };
    Ok(format!("{}/{name}", metadata.text_of(NAMESPACE)?))
}

fn is_near(facts: &Facts, topology: Topology, node: &str, zone: &str) -> bool {
    match topology {
        // What runs on no node is near to none.
        _ if node.is_empty() => false,
        Topology::Node => node == facts.node,
        Topology::Pool => facts.is_in_pool(node),
        Topology::Zone => {
            let same = facts.zone.as_deref().filter(|own| !own.is_empty());
            node == facts.node || same == Some(zone)
        }
    }
}

/// Node and zone of an endpoint; empty where it does not say.
fn place(kind: Kind, endpoint: &Node<'_>) -> Result<(String, String), Malformed> {
    let mut node = endpoint.text_of(ENDPOINT_NODE)?.into_owned();
    let beta = kind == Kind::EndpointSliceBeta;
    let topology =
        |key| text_in(endpoint, ENDPOINT_TOPOLOGY, key).map(std::borrow::Cow::into_owned);
    if beta && node.is_empty() {
        node = topology("kubernetes.io/hostname")?;
    }
    let zone = match beta {
        true => topology("topology.kubernetes.io/zone")?,
        false => endpoint.text_of(ENDPOINT_ZONE)?.into_owned(),
    };
    Ok((node, zone))
}

/// A subset without any address is not valid, and goes.
fn endpoints(
    edits: &mut Edits<'_>,
    object: &Node<'_>,
    goes: &mut dyn FnMut(&Node<'_>) -> Result<bool, Malformed>,
) -> Result<(), Malformed> {
    let mut empty = Vec::new();
    for subset in object.items(SUBSETS)? {
        let (mut stay, mut all) = (0, 0);
        for field in SUBSET_ADDRESSES {
            for address in subset.items(field)? {
                all += 1;
                stay += usize::from(!goes(&address)?);
            }
        }
        empty.push(stay == 0);
        if stay > 0 && stay < all {
            for field in SUBSET_ADDRESSES {
                edits.remove(&subset, field, goes)?;
            }
        }
    }
    let mut empty = empty.into_iter();
    edits.remove(object, SUBSETS, &mut |_| Ok(empty.next() == Some(true)))?;
    Ok(())
}
