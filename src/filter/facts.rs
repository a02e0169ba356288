//! What filters go by. A plain value: who gathers it, and from where, is the hub's business.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Everything that a filter may ask.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// The name of this node.
    pub node: String,
    /// Where pods reach the hub. Without it the filters that send them there do nothing.
    pub hub: Option<HubPlace>,
    /// The hub's own CA as PEM, if its serving certificate is signed by that.
    pub hub_ca: Option<String>,
    /// Whether this node is in a pool.
    pub pool: Membership,
    /// The nodes of this node's pool; `None` if that was never known.
    pub pool_nodes: Option<BTreeSet<String>>,
    /// `topology.kubernetes.io/zone` of this node.
    pub zone: Option<String>,
    /// `NAMESPACE/NAME` of each Service that asks for a topology; `None` if that was never known.
    pub topologies: Option<BTreeMap<String, Topology>>,
    /// By pod uid: the addresses that the kubelet has reported since the link was cut.
    pub pod_ips: BTreeMap<String, Vec<IpAddr>>,
    /// By uid: the pods that are ready by the kubelet's word, which is newer than what the API server says.
    pub pods_ready: BTreeSet<String>,
}

/// The hub's address, as pods have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HubPlace {
    /// Of the family that is preferred.
    pub first: IpAddr,
    /// Of the other family, if the hub has one.
    pub other: Option<IpAddr>,
    pub port: u16,
}

/// Whether a node is in a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Membership {
    /// That was never known.
    #[default]
    Unknown,
    /// In none.
    Alone,
    /// In this one.
    In(String),
}

/// How far away an endpoint of a Service may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topology {
    /// On this node.
    Node,
    /// In this node's zone.
    Zone,
    /// In this node's pool.
    Pool,
}

impl Facts {
    /// Whether any pod is otherwise than the API server says.
    pub fn knows_pods(&self) -> bool {
        !self.pod_ips.is_empty() || !self.pods_ready.is_empty()
    }

    /// Whether all pods are as the other one has them.
    pub fn has_pods_of(&self, other: &Facts) -> bool {
        self.pod_ips == other.pod_ips && self.pods_ready == other.pods_ready
    }

    /// Whether a node is in this node's pool, as far as is known. This node is, and one in no pool is a pool by itself.
    pub fn is_in_pool(&self, node: &str) -> bool {
        let others = match (&self.pool, &self.pool_nodes) {
            (Membership::In(_), Some(nodes)) => nodes.contains(node),
            _ => false,
        };
        node == self.node || others
    }
}

impl HubPlace {
    /// The address of this family; if there is none, the one that there is.
    pub fn like(&self, v6: bool) -> IpAddr {
        match self.other {
            Some(other) if other.is_ipv6() == v6 => other,
            _ => self.first,
        }
    }

    /// The address of this family.
    pub fn of_family(&self, v6: bool) -> Option<IpAddr> {
        Some(self.like(v6)).filter(|ip| ip.is_ipv6() == v6)
    }
}

impl Topology {
    /// What a Service's annotations ask for: `edge-hub/topology` (`node`, `zone`, `pool`), or OpenYurt's
    /// `openyurt.io/topologyKeys`, where `kubernetes.io/zone` is another word for the pool.
    pub fn read(own: &str, open_yurt: &str) -> Option<Topology> {
        match (own, open_yurt) {
            ("node", _) => Some(Topology::Node),
            ("zone", _) => Some(Topology::Zone),
            ("pool", _) => Some(Topology::Pool),
            (_, "kubernetes.io/hostname") => Some(Topology::Node),
            (_, "topology.kubernetes.io/zone") => Some(Topology::Zone),
            (_, "openyurt.io/nodepool" | "kubernetes.io/zone") => Some(Topology::Pool),
            _ => None,
        }
    }
}

/// Annotations of a Service that ask for a topology: the hub's own, and OpenYurt's.
pub const TOPOLOGY: [&str; 2] = ["edge-hub/topology", "openyurt.io/topologyKeys"];
