//! A control plane with one node, and what tests do with it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Release, Setup};
use crate::support::hub::{self, Hub};
use crate::support::kubeconfig::{User, kubeconfig};
use crate::support::node::{Network, Node};
use crate::support::{TempDir, until};

/// How long a node may take to become Ready, or pods to start.
pub const NODE: Duration = Duration::from_secs(90);
/// How long nothing may happen to the pods of a node that is cut off.
pub const CUT: Duration = Duration::from_secs(20);
/// The control plane calls a node that was silent for so long not Ready; well within [`CUT`].
const GRACE: &str = "--node-monitor-grace-period=8s";

/// Most tests wait more than they work, and two nodes do that beside each other. Whoever looks at the time has the machine
/// for itself.
static NODES: RwLock<()> = RwLock::new(());

/// That the one test runs beside others, or alone.
#[derive(Default)]
struct Turn {
    _beside: Option<RwLockReadGuard<'static, ()>>,
    _alone: Option<RwLockWriteGuard<'static, ()>>,
}

/// A control plane with one node, made but not powered on.
pub struct Site {
    // Dropped in this order: the node before the cluster that it belongs to.
    pub node: Node,
    pub cluster: Cluster,
    pub dir: TempDir,
    network: Network,
    _turn: Turn,
}

impl Site {
    pub fn new(kubelet: Release) -> Site {
        let turn = Turn {
            _beside: Some(NODES.read().unwrap_or_else(PoisonError::into_inner)),
            ..Turn::default()
        };
        Site::made(kubelet, turn)
    }

    /// One that no other runs beside.
    pub fn alone(kubelet: Release) -> Site {
        let turn = Turn {
            _alone: Some(NODES.write().unwrap_or_else(PoisonError::into_inner)),
            ..Turn::default()
        };
        Site::made(kubelet, turn)
    }

    fn made(kubelet: Release, turn: Turn) -> Site {
        let network = Network::take();
        let setup = Setup {
            release: kubelet.plane(),
            advertise: Some(network.advertise()),
            controller_manager_flags: GRACE.to_string(),
            node: network.name(),
            ..Setup::default()
        };
        let cluster = Cluster::start(&setup);
        let node = Node::new(network, kubelet, &cluster);
        Site {
            node,
            cluster,
            dir: TempDir::new("site"),
            network,
            _turn: turn,
        }
    }

    /// The control plane's address that the node reaches.
    pub fn advertise(&self) -> Ipv4Addr {
        self.network.advertise()
    }

    /// The API server as the node reaches it.
    pub fn server(&self) -> String {
        format!(
            "https://{}:{}",
            self.network.advertise(),
            self.cluster.address().port()
        )
    }

    /// The kubeconfig of one of the node's programs.
    pub fn config(&self, user: &str, server: &str, ca: &Path) -> PathBuf {
        let (certificate, key) = self.cluster.pair(user);
        let user_of = User::Certificate {
            certificate: &certificate,
            key: &key,
        };
        self.dir
            .write(&format!("{user}.json"), kubeconfig(server, ca, &user_of))
    }

    pub fn power_on(&self, server: &str, ca: &Path) {
        self.node.up(
            &self.config("node", server, ca),
            &self.config("kube-proxy", server, ca),
        );
    }

    /// The hub inside the node, with the node's and kube-proxy's identities.
    pub fn hub(&self) -> Hub {
        let node = format!("system:node:{}", self.node.name());
        self.plain_hub()
            .identity(&self.cluster, &node, "node")
            .start()
    }

    /// The same without the node's.
    pub fn plain_hub(&self) -> hub::Setup {
        let within = self.node.within();
        let within: Vec<&str> = within.iter().map(String::as_str).collect();
        let outside = format!("{}:10268", self.node.address());
        hub::Setup::new(&self.cluster, &self.server())
            .identity(&self.cluster, "system:kube-proxy", "kube-proxy")
            .set("node_name", self.node.name())
            .set(
                "listen",
                json!(["127.0.0.1:10268", "169.254.2.1:10268", outside]),
            )
            .set("own_addresses", json!(["169.254.2.1"]))
            .set("admin_listen", "127.0.0.1:10267")
            .set("cache_agents", json!([]))
            .within(&within)
    }

    pub fn ready(&self) -> Option<bool> {
        let output = self
            .cluster
            .kubectl()
            .run(&["get", "node", self.node.name(), "-o", "json"]);
        let node: Value = serde_json::from_str(&output.stdout).ok()?;
        let conditions = node["status"]["conditions"].as_array()?;
        let ready = conditions
            .iter()
            .find(|condition| condition["type"] == "Ready")?;
        Some(ready["status"] == "True")
    }

    #[track_caller]
    pub fn wait_ready(&self, want: bool) {
        until(&format!("the node's Ready is {want}"), NODE, || {
            (self.ready() == Some(want)).then_some(())
        });
    }

    pub fn apply(&self, objects: &[Value]) {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.cluster
            .kubectl()
            .run_with(&list.to_string(), &["apply", "-f", "-"])
            .ok();
    }

    /// Waits until these pods, and no others, are there and ready.
    #[track_caller]
    pub fn wait_pods(&self, names: &[&str]) {
        until(
            &format!("exactly the pods {names:?} are ready"),
            NODE,
            || {
                let pods = self.cluster.kubectl().json(&["get", "pods"]);
                let ready: Vec<&str> = pods["items"].as_array()?.iter().map(ready_name).collect();
                (ready == names).then_some(())
            },
        );
    }

    /// A pod of one container that runs `app` with these arguments.
    pub fn pod(&self, name: &str, args: &[&str], more: Value) -> Value {
        let mut spec = json!({
            "nodeName": self.node.name(),
            // Else it is evicted after 5 minutes of a node that is not Ready.
            "tolerations": [{ "operator": "Exists" }],
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "app", "image": "lab.local/app:1", "args": args, "imagePullPolicy": "Never" }],
        });
        merge(&mut spec, more);
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default", "labels": { "app": name } },
            "spec": spec,
        })
    }

    /// Three pods that use what most pods use: the pod network, the host's, a ConfigMap, a Secret, a token, a probe.
    pub fn three_pods(&self) {
        self.make_three_pods();
        self.wait_pods(&["hostnet", "serve", "tick"]);
    }

    pub fn make_three_pods(&self) {
        let serve = json!({
            "containers": [{
                "name": "app", "image": "lab.local/app:1", "args": ["serve", ":8080"], "imagePullPolicy": "Never",
                "readinessProbe": { "httpGet": { "port": 8080, "path": "/" }, "periodSeconds": 1 },
                "env": [{ "name": "GREETING", "valueFrom": { "configMapKeyRef": { "name": "app", "key": "greeting" } } }],
                "volumeMounts": [{ "name": "secret", "mountPath": "/secret" }],
            }],
            "volumes": [{ "name": "secret", "secret": { "secretName": "app" } }],
        });
        let meta = json!({ "name": "app", "namespace": "default" });
        self.apply(&[
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": { "greeting": "hello" } }),
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": { "word": "secret" } }),
            self.pod("hostnet", &["tick", "1s"], json!({ "hostNetwork": true })),
            self.pod("serve", &[], serve),
            self.pod("tick", &["tick", "1s"], json!({})),
        ]);
    }

    /// Pods of the namespace may read what is no secret.
    pub fn let_pods_view(&self) {
        let bind = ["create", "clusterrolebinding", "view", "--clusterrole=view"];
        let whom = ["--serviceaccount=default:default"];
        self.cluster
            .kubectl()
            .run(&[&bind[..], &whom].concat())
            .ok();
    }

    pub fn delete(&self, pod: &str) {
        self.cluster
            .kubectl()
            .run(&["delete", "pod", pod, "--wait=true", "--timeout=60s"])
            .ok();
    }
}

/// The pod's name if it is ready, and a name that no pod has if it is not.
pub fn ready_name(pod: &Value) -> &str {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.is_some_and(|all| {
        all.iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
    });
    if ready {
        pod["metadata"]["name"].as_str().unwrap_or_default()
    } else {
        "-"
    }
}

pub fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for pod in ["asks", "informer"] {
                let said = self.node.printed(pod);
                let last = said[said.len().saturating_sub(5)..].join("\n");
                let count = said.len();
                eprintln!("---- the last of {count} lines of {pod}\n{last}\n----");
            }
        }
    }
}
