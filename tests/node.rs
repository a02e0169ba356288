//! A real node lives behind the hub: kubelet and kube-proxy of two releases, with pods, while its link works, is cut,
//! and comes back. Needs root, containerd and the right to make network namespaces.

#[path = "support/mod.rs"]
mod support;

#[path = "node/at_length.rs"]
mod at_length;
#[path = "node/hard_times.rs"]
mod hard_times;
#[path = "node/joins.rs"]
mod joins;
#[path = "node/kinds.rs"]
mod kinds;
#[path = "node/kubectl.rs"]
mod kubectl;
#[path = "node/languages.rs"]
mod languages;
#[path = "node/lives.rs"]
mod lives;
#[path = "node/pods.rs"]
mod pods;
#[path = "node/reboots.rs"]
mod reboots;
#[path = "node/site.rs"]
mod site;
