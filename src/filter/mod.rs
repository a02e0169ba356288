//! What named programs are told otherwise than the API server says it. Pure: facts and one object in, a verdict out.
//!
//! Each filter changes the bytes of the fields that it means and no other, and changes nothing that it has changed
//! already. It never sees who asks; that [`Rules`] has settled.

pub mod discard_cloud_service;
pub mod facts;
pub mod fields;
pub mod forward_kube_svc_traffic;
pub mod hub_ca;
pub mod in_cluster_config;
pub mod list;
pub mod master_service;
pub mod node_port_isolation;
pub mod pod_ip_overlay;
pub mod rules;
pub mod service_env_updater;
pub mod service_topology;

#[cfg(test)]
mod tests;

pub use facts::Facts;
use facts::Membership;
pub use rules::{Rules, Set};

use crate::object::edit::Node;
use crate::object::{Encoding, Malformed};
use crate::request::{Asked, Resource};
use list::Growth;
use std::fmt;
use std::rc::Rc;

/// One filter. In the order in which they are applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filter {
    /// `default/kubernetes` is at the hub.
    MasterService,
    /// Pods trust the hub's own CA.
    HubCa,
    /// Services that are for the cloud alone are not there.
    DiscardCloudService,
    /// Endpoints that are too far away are not there.
    ServiceTopology,
    /// Services whose node ports are for other pools are not there.
    NodePortIsolation,
    /// kube-proxy uses its service account and not a kubeconfig.
    InClusterConfig,
    /// The endpoint of `default/kubernetes` is the hub.
    ForwardKubeSvcTraffic,
    /// Pods that name the API server by hand name the hub.
    ServiceEnvUpdater,
    /// Pods are where the kubelet has said since the link was cut.
    PodIpOverlay,
}

/// A kind of object that some filter is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    ConfigMap,
    Secret,
    Service,
    Pod,
    Endpoints,
    /// `discovery.k8s.io/v1`.
    EndpointSlice,
    /// `discovery.k8s.io/v1beta1`, which numbers its fields otherwise.
    EndpointSliceBeta,
}

/// What becomes of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It stays as it is.
    Keep,
    /// This is told instead.
    Replace(Vec<u8>),
    /// It is not there.
    Drop,
}

/// Why there is no verdict; then the object is not told at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cannot {
    /// It cannot be read.
    Read(Malformed),
    /// What it depends on has never been known.
    Decide,
}

impl From<Malformed> for Cannot {
    fn from(malformed: Malformed) -> Cannot {
        Cannot::Read(malformed)
    }
}

impl fmt::Display for Cannot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cannot::Read(malformed) => malformed.fmt(f),
            Cannot::Decide => f.write_str("the topology of the Services is not known yet"),
        }
    }
}

impl Filter {
    /// All of them, in their order.
    pub const ALL: [Filter; 9] = [
        Filter::MasterService,
        Filter::HubCa,
        Filter::DiscardCloudService,
        Filter::ServiceTopology,
        Filter::NodePortIsolation,
        Filter::InClusterConfig,
        Filter::ForwardKubeSvcTraffic,
        Filter::ServiceEnvUpdater,
        Filter::PodIpOverlay,
    ];

    /// Its name in the configuration; those that YurtHub has too have YurtHub's.
    pub const fn name(self) -> &'static str {
        match self {
            Filter::MasterService => "masterservice",
            Filter::HubCa => "hubca",
            Filter::DiscardCloudService => "discardcloudservice",
            Filter::ServiceTopology => "servicetopology",
            Filter::NodePortIsolation => "nodeportisolation",
            Filter::InClusterConfig => "inclusterconfig",
            Filter::ForwardKubeSvcTraffic => "forwardkubesvctraffic",
            Filter::ServiceEnvUpdater => "serviceenvupdater",
            Filter::PodIpOverlay => "podipoverlay",
        }
    }

    /// The filter of this name.
    pub fn named(name: &str) -> Option<Filter> {
        Filter::ALL.into_iter().find(|filter| filter.name() == name)
    }

    /// The programs that it is for, unless the configuration says otherwise.
    pub const fn agents(self) -> &'static [&'static str] {
        match self {
            Filter::MasterService
            | Filter::HubCa
            | Filter::InClusterConfig
            | Filter::ServiceEnvUpdater => &["kubelet"],
            Filter::DiscardCloudService
            | Filter::NodePortIsolation
            | Filter::ForwardKubeSvcTraffic => &["kube-proxy"],
            Filter::ServiceTopology => &["kube-proxy", "coredns", "nginx-ingress-controller"],
            Filter::PodIpOverlay => &["kube-proxy", "coredns"],
        }
    }

    fn growth(self) -> Growth {
        match self {
            Filter::DiscardCloudService | Filter::ServiceTopology | Filter::NodePortIsolation => {
                Growth::None
            }
            // Each is about one object, which has the one name.
            Filter::MasterService | Filter::InClusterConfig => Growth::Little,
            Filter::ForwardKubeSvcTraffic | Filter::ServiceEnvUpdater | Filter::PodIpOverlay => {
                Growth::Quarter
            }
            Filter::HubCa => Growth::Double,
        }
    }

    fn is_about(self, kind: Kind) -> bool {
        match self {
            Filter::MasterService | Filter::DiscardCloudService | Filter::NodePortIsolation => {
                kind == Kind::Service
            }
            Filter::HubCa => matches!(kind, Kind::ConfigMap | Kind::Secret),
            Filter::InClusterConfig => kind == Kind::ConfigMap,
            Filter::ServiceEnvUpdater => kind == Kind::Pod,
            Filter::ForwardKubeSvcTraffic => {
                matches!(kind, Kind::EndpointSlice | Kind::EndpointSliceBeta)
            }
            Filter::ServiceTopology | Filter::PodIpOverlay => matches!(
                kind,
                Kind::EndpointSlice | Kind::EndpointSliceBeta | Kind::Endpoints
            ),
        }
    }

    fn judge(self, facts: &Facts, kind: Kind, object: &Node<'_>) -> Result<Verdict, Cannot> {
        match self {
            Filter::MasterService => master_service::judge(facts, object),
            Filter::HubCa => hub_ca::judge(facts, kind, object),
            Filter::DiscardCloudService => discard_cloud_service::judge(object),
            Filter::ServiceTopology => service_topology::judge(facts, kind, object),
            Filter::NodePortIsolation => node_port_isolation::judge(facts, object),
            Filter::InClusterConfig => in_cluster_config::judge(object),
            Filter::ForwardKubeSvcTraffic => forward_kube_svc_traffic::judge(facts, object),
            Filter::ServiceEnvUpdater => service_env_updater::judge(facts, object),
            Filter::PodIpOverlay => pod_ip_overlay::judge(facts, kind, object),
        }
    }
}

/// The ConfigMaps that filters are about, whatever their namespace.
const CONFIG_MAPS: [&str; 2] = [hub_ca::CONFIG_MAP, in_cluster_config::CONFIG_MAP];

impl Kind {
    /// The kind of the objects that a request is about, if a filter can be about these. The kubelet asks for each ConfigMap
    /// of its pods by its name, and no filter is about most of them.
    pub fn asked_for(asked: &Asked) -> Option<Kind> {
        let kind = Kind::of(asked.resource()?)?;
        let is_other = |name: &str| !CONFIG_MAPS.contains(&name);
        match kind {
            Kind::ConfigMap if asked.only_name().is_some_and(is_other) => None,
            kind => Some(kind),
        }
    }

    /// The kind of the objects at this path. `status` is the same object; other subresources are not.
    pub fn of(resource: &Resource) -> Option<Kind> {
        let own = matches!(resource.subresource.as_deref(), None | Some("status"));
        let kind = match (resource.group.as_str(), resource.resource.as_str()) {
            ("", "configmaps") => Kind::ConfigMap,
            ("", "secrets") => Kind::Secret,
            ("", "services") => Kind::Service,
            ("", "pods") => Kind::Pod,
            ("", "endpoints") => Kind::Endpoints,
            ("discovery.k8s.io", "endpointslices") if resource.version == "v1beta1" => {
                Kind::EndpointSliceBeta
            }
            ("discovery.k8s.io", "endpointslices") => Kind::EndpointSlice,
            _ => return None,
        };
        own.then_some(kind)
    }
}

impl Kind {
    /// As the object itself names it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
            Kind::Service => "Service",
            Kind::Pod => "Pod",
            Kind::Endpoints => "Endpoints",
            Kind::EndpointSlice | Kind::EndpointSliceBeta => "EndpointSlice",
        }
    }
}

/// Filters and what they go by, for all that one answer tells.
#[derive(Clone)]
pub struct Judge {
    pub set: Set,
    pub kind: Kind,
    pub facts: Rc<Facts>,
}

impl Judge {
    /// The verdict on a bare object.
    pub fn of(&self, encoding: Encoding, bare: &[u8]) -> Result<Verdict, Cannot> {
        judge(self.set, &self.facts, self.kind, encoding, bare)
    }

    /// Who judges what all others have judged before: where pods are, which changes without an API server. `None`: all are
    /// where they were.
    pub fn of_kept(&self) -> Option<Judge> {
        let is_told = self.set.has(Filter::PodIpOverlay) && self.facts.knows_pods();
        is_told.then(|| Judge {
            set: Set::default().with(Filter::PodIpOverlay),
            kind: self.kind,
            facts: Rc::clone(&self.facts),
        })
    }

    /// The same with pods where they are now.
    pub fn with_pods_of(&self, other: &Judge) -> Judge {
        let facts = Facts {
            pod_ips: other.facts.pod_ips.clone(),
            pods_ready: other.facts.pods_ready.clone(),
            ..Facts::clone(&self.facts)
        };
        Judge {
            facts: Rc::new(facts),
            ..self.clone()
        }
    }

    /// Whether the other one says the same of every object.
    pub fn says_the_same(&self, other: &Judge) -> bool {
        let (a, b) = (&self.facts, &other.facts);
        let same = |filter| match filter {
            Filter::DiscardCloudService | Filter::InClusterConfig => true,
            Filter::MasterService | Filter::ForwardKubeSvcTraffic | Filter::ServiceEnvUpdater => {
                a.hub == b.hub
            }
            Filter::HubCa => a.hub_ca == b.hub_ca,
            Filter::NodePortIsolation => a.pool == b.pool,
            Filter::ServiceTopology => {
                (&a.node, &a.zone, &a.pool, &a.pool_nodes, &a.topologies)
                    == (&b.node, &b.zone, &b.pool, &b.pool_nodes, &b.topologies)
            }
            Filter::PodIpOverlay => a.has_pods_of(b),
        };
        self.set == other.set && self.set.iter().all(same)
    }

    /// How much longer a list may become.
    pub fn growth(&self) -> Growth {
        let grows = self.set.iter().map(Filter::growth);
        grows.max().unwrap_or(Growth::None)
    }

    /// Whether all is known that these filters go by. Without it they tell less than they could.
    pub fn is_sure(&self) -> bool {
        let facts = &self.facts;
        let pool = match &facts.pool {
            Membership::Unknown => false,
            Membership::Alone => true,
            Membership::In(_) => {
                facts.pool_nodes.is_some() || !self.set.has(Filter::ServiceTopology)
            }
        };
        let asks = [Filter::ServiceTopology, Filter::NodePortIsolation];
        !self.is_blind() && (pool || !asks.iter().any(|filter| self.set.has(*filter)))
    }

    /// Whether nothing can be told yet: what these filters depend on has never been known.
    pub fn is_blind(&self) -> bool {
        self.set.has(Filter::ServiceTopology) && self.facts.topologies.is_none()
    }
}

/// What these filters, one after the other, make of a bare object.
fn judge(
    set: Set,
    facts: &Facts,
    kind: Kind,
    encoding: Encoding,
    bare: &[u8],
) -> Result<Verdict, Cannot> {
    let mut told = None;
    for filter in set.iter() {
        let now = told.as_deref().unwrap_or(bare);
        match filter.judge(facts, kind, &Node::object(encoding, now))? {
            Verdict::Keep => {}
            // Made to break the list in which it stands, such as a pod with its thousand variables of one name. Nothing
            // is hidden by a filter that makes longer, so that it may be without.
            Verdict::Replace(bytes)
                if bytes.len() > now.len() + filter.growth().of_item(now.len()) =>
            {
                log::debug!(
                    "filter {}: an object would grow too much, and stays as it is",
                    filter.name()
                );
            }
            Verdict::Replace(bytes) => told = Some(bytes),
            Verdict::Drop => return Ok(Verdict::Drop),
        }
    }
    Ok(told.map_or(Verdict::Keep, Verdict::Replace))
}

/// The verdict of a filter that changed something, or nothing.
fn told(changed: Option<Vec<u8>>) -> Verdict {
    changed.map_or(Verdict::Keep, Verdict::Replace)
}
