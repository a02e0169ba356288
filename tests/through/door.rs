//! What every test of this binary starts from: a namespace and an account of its own in the shared control plane, a
//! relay before the API server, and a hub before the relay.

use std::time::Duration;

use crate::support::TempDir;
use crate::support::cluster::{Cluster, Kubectl};
use crate::support::http::Client;
use crate::support::hub::{Hub, Setup};
use crate::support::kubeconfig::User;
use crate::support::relay::Relay;

/// Long enough for anything that happens at all.
pub const SOON: Duration = Duration::from_secs(20);
/// Long enough to see that something does not happen.
pub const MOMENT: Duration = Duration::from_millis(500);
/// The query of a WatchList.
pub const WATCH_LIST: &str =
    "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

/// A hub with its link and one who asks.
pub struct Door {
    // Dropped in this order: the hub before its link.
    pub hub: Hub,
    pub relay: Relay,
    pub cluster: &'static Cluster,
    pub namespace: String,
    pub token: String,
    pub dir: TempDir,
}

impl Door {
    /// At the shared control plane.
    pub fn new(namespace: &str) -> Door {
        Door::with(Cluster::shared(), namespace, |setup| setup)
    }

    /// With another control plane or another configuration.
    pub fn with(
        cluster: &'static Cluster,
        namespace: &str,
        change: impl FnOnce(Setup) -> Setup,
    ) -> Door {
        cluster.namespace(namespace);
        let token = cluster.account(namespace, "tester", "edit");
        let relay = Relay::new(cluster.address());
        let hub = change(Setup::new(cluster, &relay.url())).start();
        hub.sees_online();
        Door {
            hub,
            relay,
            cluster,
            namespace: namespace.to_string(),
            token,
            dir: TempDir::new("door"),
        }
    }

    /// The account, asking the hub.
    pub fn client(&self) -> Client {
        self.hub.client().bearer(&self.token)
    }

    /// The account, asking the API server itself.
    pub fn direct(&self) -> Client {
        Client::new(self.cluster.address(), &self.cluster.ca()).bearer(&self.token)
    }

    /// kubectl as the account, by way of the hub.
    pub fn kubectl(&self) -> Kubectl<'static> {
        self.cluster.kubectl_at(
            &self.dir,
            &self.hub.url(),
            &self.hub.ca(),
            &User::Token(&self.token),
        )
    }

    /// The path of the namespace's ConfigMaps, with what follows it.
    pub fn maps(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/configmaps{rest}", self.namespace)
    }

    /// Makes or changes a ConfigMap behind the hub's back; returns its version.
    pub fn set(&self, name: &str, value: &str) -> String {
        self.cluster.config_map(&self.namespace, name, "key", value)
    }

    /// Cuts the link so that everything is refused, and waits until the hub knows.
    pub fn cut(&self) {
        self.relay.refuse();
        self.hub.sees_offline();
    }

    /// Mends the link and waits until the hub knows.
    pub fn mend(&self) {
        self.relay.pass();
        self.hub.sees_online();
    }
}
