//! `forwardkubesvctraffic`: what pods send to the cluster IP of `default/kubernetes` goes to the hub.

use super::fields::{
    CONDITION_READY, ENDPOINT_ADDRESSES, ENDPOINT_CONDITIONS, LABELS, NAMESPACE, PORT_NAME,
    PORT_NUMBER, SERVICE_NAME, SLICE_ADDRESS_TYPE, SLICE_ENDPOINTS, SLICE_PORTS, metadata, text_in,
};
use super::{Cannot, Facts, Verdict, told};
use crate::object::edit::{Edits, Node, Value};

/// The one endpoint of a slice of the hub's own family is the hub, and ready.
pub fn judge(facts: &Facts, slice: &Node<'_>) -> Result<Verdict, Cannot> {
    let metadata = metadata(slice)?;
    let is_meant = metadata.has(NAMESPACE, "default")?
        && text_in(&metadata, LABELS, SERVICE_NAME)? == "kubernetes";
    let family = slice.text_of(SLICE_ADDRESS_TYPE)?;
    let place = facts.hub.filter(|_| is_meant).and_then(|hub| {
        let address = hub.of_family(family == "IPv6")?;
        (family != "FQDN").then_some((address.to_string(), hub.port))
    });
    let Some((address, port)) = place else {
        return Ok(Verdict::Keep);
    };
    let endpoint = [
        (ENDPOINT_ADDRESSES, Value::List(&[Value::Text(&address)])),
        (
            ENDPOINT_CONDITIONS,
            Value::Message(&[(CONDITION_READY, Value::Truth(true))]),
        ),
    ];
    let mut edits = Edits::new(slice)?;
    edits.set(
        slice,
        SLICE_ENDPOINTS,
        Value::List(&[Value::Message(&endpoint)]),
    )?;
    for port_of_slice in slice.items(SLICE_PORTS)? {
        if port_of_slice.has(PORT_NAME, "https")? {
            edits.set(&port_of_slice, PORT_NUMBER, Value::Number(u32::from(port)))?;
        }
    }
    Ok(told(edits.finish()?))
}
