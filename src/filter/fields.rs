//! The fields that filters know (kubernetes-api.md 2.4), and what is asked of them more than once.

use crate::object::Malformed;
use crate::object::edit::{Field, Node};
use std::borrow::Cow;

pub const METADATA: Field = Field::new("metadata", 1);
pub const NAME: Field = Field::new("name", 1);
pub const NAMESPACE: Field = Field::new("namespace", 3);
pub const LABELS: Field = Field::new("labels", 11);
pub const ANNOTATIONS: Field = Field::new("annotations", 12);

/// Of Service and Pod.
pub const SPEC: Field = Field::new("spec", 2);

pub const SERVICE_PORTS: Field = Field::new("ports", 1);
pub const SERVICE_CLUSTER_IP: Field = Field::new("clusterIP", 3);
pub const SERVICE_TYPE: Field = Field::new("type", 4);
pub const SERVICE_CLUSTER_IPS: Field = Field::new("clusterIPs", 18);
pub const SERVICE_IP_FAMILIES: Field = Field::new("ipFamilies", 19);

/// Of a port of a Service and of an EndpointSlice.
pub const PORT_NAME: Field = Field::new("name", 1);
pub const PORT_NUMBER: Field = Field::new("port", 3);

/// `data` of ConfigMap and Secret.
pub const DATA: Field = Field::new("data", 2);
pub const SECRET_TYPE: Field = Field::new("type", 3);

pub const SLICE_ENDPOINTS: Field = Field::new("endpoints", 2);
pub const SLICE_PORTS: Field = Field::new("ports", 3);
pub const SLICE_ADDRESS_TYPE: Field = Field::new("addressType", 4);

/// Of an endpoint of an EndpointSlice.
pub const ENDPOINT_ADDRESSES: Field = Field::new("addresses", 1);
pub const ENDPOINT_CONDITIONS: Field = Field::new("conditions", 2);
pub const ENDPOINT_TARGET: Field = Field::new("targetRef", 4);
pub const ENDPOINT_NODE: Field = Field::new("nodeName", 6);
pub const ENDPOINT_ZONE: Field = Field::new("zone", 7);
/// Of v1beta1 alone.
pub const ENDPOINT_TOPOLOGY: Field = Field::new("topology", 5);
pub const CONDITION_READY: Field = Field::new("ready", 1);
pub const CONDITION_SERVING: Field = Field::new("serving", 2);
pub const CONDITION_TERMINATING: Field = Field::new("terminating", 3);

pub const SUBSETS: Field = Field::new("subsets", 2);
pub const SUBSET_ADDRESSES: [Field; 2] = [
    Field::new("addresses", 1),
    Field::new("notReadyAddresses", 2),
];
/// Of an address of Endpoints.
pub const ADDRESS_IP: Field = Field::new("ip", 1);
pub const ADDRESS_TARGET: Field = Field::new("targetRef", 2);
pub const ADDRESS_NODE: Field = Field::new("nodeName", 4);

/// Of an ObjectReference.
pub const REFERENCE_KIND: Field = Field::new("kind", 1);
pub const REFERENCE_UID: Field = Field::new("uid", 4);

pub const CONTAINERS: Field = Field::new("containers", 2);
pub const INIT_CONTAINERS: Field = Field::new("initContainers", 20);
pub const EPHEMERAL_CONTAINERS: Field = Field::new("ephemeralContainers", 34);
/// What an ephemeral container has in common with others is a message of its own in protobuf, and inlined in JSON.
pub const EPHEMERAL_COMMON: Field = Field::new("", 1);
pub const CONTAINER_ENV: Field = Field::new("env", 7);
pub const ENV_NAME: Field = Field::new("name", 1);
pub const ENV_VALUE: Field = Field::new("value", 2);
pub const ENV_FROM: Field = Field::new("valueFrom", 3);

/// The label of an EndpointSlice that names its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The metadata, which every object has.
pub fn metadata<'a>(object: &Node<'a>) -> Result<Node<'a>, Malformed> {
    object.get(METADATA)?.ok_or(Malformed::Shape)
}

/// The spec, which every Service and Pod has, but not the metadata of one alone.
pub fn spec<'a>(object: &Node<'a>) -> Result<Node<'a>, Malformed> {
    object.get(SPEC)?.ok_or(Malformed::Shape)
}

/// Whether the object with this metadata has this namespace and name.
pub fn is_named(metadata: &Node<'_>, namespace: &str, name: &str) -> Result<bool, Malformed> {
    Ok(metadata.has(NAMESPACE, namespace)? && metadata.has(NAME, name)?)
}

/// The text under a key of a map in a message; empty if it is not there.
pub fn text_in<'a>(message: &Node<'a>, map: Field, key: &str) -> Result<Cow<'a, str>, Malformed> {
    let entry = message.entry(map, key)?;
    entry.map_or(Ok(Cow::Borrowed("")), |entry| entry.text())
}
