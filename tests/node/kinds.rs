//! Pods of every kind that a node has, and whether they reach each other by name.

use serde_json::{Value, json};

use crate::site::{NODE, Site, merge, ready_name};
use crate::support::until;

/// Of them, those that a probe calls ready: `serve`, two of `web`, and CoreDNS.
pub const PROBED: usize = 4;
/// All of them.
pub const KINDS: usize = 8;

/// What `asks` asks for, each time by its name: a Service's address, and what a Service without one has for addresses.
const NAMES: [&str; 2] = ["http://web/", "http://webs.default.svc.cluster.local:8080/"];

impl Site {
    /// Two of a Deployment behind a Service, one of a DaemonSet that asks the API server, CoreDNS as kubeadm has it, one with
    /// a ConfigMap, a Secret and a projected token, one on the host's network, client-go, and one that asks by name; and so
    /// many more that do nothing. Waits until all are ready, and know of each other.
    pub fn make_every_kind(&self, more: usize) {
        self.let_pods_view();
        self.make_three_pods();
        let web = json!({
            "name": "app", "image": "lab.local/app:1", "args": ["serve", ":8080"], "imagePullPolicy": "Never",
            "readinessProbe": { "httpGet": { "port": 8080, "path": "/" }, "periodSeconds": 1 },
        });
        let agent = json!({
            "name": "app", "image": "lab.local/app:1", "imagePullPolicy": "Never",
            "args": ["api", "300ms", "/api/v1/namespaces/default/configmaps"],
        });
        let informer = json!({
            "name": "app", "image": "lab.local/informer:1", "imagePullPolicy": "Never",
            "args": ["--resource", "configmaps", "--namespace", "default", "--json"],
        });
        let asks = [&["ask", "300ms"], &NAMES[..]].concat();
        let mut objects = self.coredns();
        objects.extend([
            self.controlled("Deployment", "default", "web", web, json!({})),
            service(
                "web",
                json!({ "ports": [{ "port": 80, "targetPort": 8080 }] }),
            ),
            service(
                "webs",
                json!({ "clusterIP": "None", "ports": [{ "port": 8080 }] }),
            ),
            self.controlled("DaemonSet", "default", "agent", agent, json!({})),
            self.pod("informer", &[], json!({ "containers": [informer] })),
            self.pod("asks", &asks, json!({})),
        ]);
        // `tick` is one of those that do nothing.
        objects
            .extend((1..more).map(|n| self.pod(&format!("t{n:02}"), &["tick", "1s"], json!({}))));
        self.apply(&objects);
        self.wait_all_pods(KINDS + more);
        self.every_kind_works();
    }

    /// Waits until there are so many pods, and all are ready.
    #[track_caller]
    pub fn wait_all_pods(&self, all: usize) {
        until(&format!("{all} pods are ready"), NODE, || {
            let pods = self.all_pods();
            (pods.len() == all && pods.iter().all(|pod| pod.ready)).then_some(())
        });
    }

    /// Waits until each has done again what it is for.
    pub fn every_kind_works(&self) {
        let printed = |pod: &str, part: &str| {
            let lines = self.node.printed(pod);
            lines.iter().filter(|line| line.contains(part)).count()
        };
        let [by_service, by_pod] = NAMES.map(|url| format!("{url} HTTP/1.1 200 OK \"web-"));
        for (pod, part) in [
            ("asks", &*by_service),
            ("asks", &*by_pod),
            ("agent", " 200 OK "),
        ] {
            // What containers said that are long gone goes with them.
            let mut least = usize::MAX;
            until(&format!("{pod} prints {part:?}"), NODE, || {
                let now = printed(pod, part);
                least = least.min(now);
                (now > least + 1).then_some(())
            });
        }
        until("the informer that runs now has all", NODE, || {
            let starts = self.node.printed_by_start("informer");
            let has_all = |line: &String| line.contains(r#""e":"synced""#);
            starts.last()?.iter().any(has_all).then_some(())
        });
        until("the Service leads to its pods", NODE, || self.asks("web"));
    }

    /// What `asks` said when it got no good answer.
    pub fn unanswered(&self) -> Vec<String> {
        let mut lines = self.node.printed("asks");
        lines.retain(|line| !line.contains(" 200 OK "));
        lines
    }

    /// A pod of one container that a controller makes, for this node alone: no scheduler runs.
    fn controlled(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        container: Value,
        more: Value,
    ) -> Value {
        let mut pod = self.pod(name, &[], json!({ "containers": [container] }));
        merge(&mut pod["spec"], more);
        let labels =
            json!({ "app": name, "k8s-app": if name == "coredns" { "kube-dns" } else { name } });
        let mut spec = json!({
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": pod["spec"] },
        });
        if kind == "Deployment" {
            spec["replicas"] = json!(if name == "web" { 2 } else { 1 });
        }
        json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": name, "namespace": namespace }, "spec": spec })
    }

    /// As kubeadm makes it, but for how often it is asked whether it is ready.
    fn coredns(&self) -> Vec<Value> {
        let corefile = ".:53 {\n errors\n health {\n lameduck 1s\n }\n ready\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n \
            pods insecure\n fallthrough in-addr.arpa ip6.arpa\n ttl 30\n }\n forward . /etc/resolv.conf {\n max_concurrent 1000\n }\n \
            cache 30\n loop\n reload\n loadbalance\n}\n";
        let meta = json!({ "name": "coredns", "namespace": "kube-system" });
        let read = json!([
            { "apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"] },
            { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"] },
        ]);
        let container = json!({
            "name": "app", "image": "lab.local/coredns:1", "imagePullPolicy": "Never",
            "args": ["-conf", "/etc/coredns/Corefile"],
            "volumeMounts": [{ "name": "config", "mountPath": "/etc/coredns", "readOnly": true }],
            "livenessProbe": { "httpGet": { "path": "/health", "port": 8080 }, "initialDelaySeconds": 60 },
            "readinessProbe": { "httpGet": { "path": "/ready", "port": 8181 }, "periodSeconds": 1 },
            "securityContext": { "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": { "add": ["NET_BIND_SERVICE"], "drop": ["ALL"] } },
        });
        let more = json!({
            "serviceAccountName": "coredns", "dnsPolicy": "Default",
            "volumes": [{ "name": "config", "configMap": { "name": "coredns" } }],
        });
        vec![
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta }),
            json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": { "name": "system:coredns" }, "rules": read }),
            json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": { "name": "system:coredns" },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns" },
                "subjects": [{ "kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system" }] }),
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": { "Corefile": corefile } }),
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "kube-dns", "namespace": "kube-system" },
                "spec": { "selector": { "k8s-app": "kube-dns" }, "clusterIP": "10.96.0.10", "ports": [
                    { "name": "dns", "port": 53, "protocol": "UDP" }, { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
                    { "name": "metrics", "port": 9153, "protocol": "TCP" }] } }),
            self.controlled("Deployment", "kube-system", "coredns", container, more),
        ]
    }

    /// All pods of the cluster, as the API server has them.
    pub fn all_pods(&self) -> Vec<Pod> {
        let pods = self.cluster.kubectl().json(&["get", "pods", "-A"]);
        let mut pods: Vec<Pod> = pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(Pod::read)
            .collect();
        pods.sort_by(|one, other| one.uid.cmp(&other.uid));
        pods
    }
}

/// A pod of the cluster.
pub struct Pod {
    pub uid: String,
    pub ready: bool,
    pub ip: String,
}

impl Pod {
    fn read(pod: &Value) -> Pod {
        Pod {
            uid: pod["metadata"]["uid"]
                .as_str()
                .unwrap_or_default()
                .to_string(),
            ready: ready_name(pod) != "-",
            ip: pod["status"]["podIP"]
                .as_str()
                .unwrap_or_default()
                .to_string(),
        }
    }
}

/// Leads to the pods of `web`.
fn service(name: &str, more: Value) -> Value {
    let mut spec = json!({ "selector": { "app": "web" } });
    merge(&mut spec, more);
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": "default" }, "spec": spec })
}
