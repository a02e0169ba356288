//! A real node lives behind the hub: kubelet and kube-proxy of two releases, with pods, while its link works, is cut,
//! and comes back. Needs root, containerd and the right to make network namespaces.

#[path = "support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use support::cluster::{Cluster, Release, Setup, programs};
use support::hub::{self, Hub};
use support::kubeconfig::{User, kubeconfig};
use support::node::{Node, advertise};
use support::program::{Output, Program, command};
use support::{TempDir, throughout, until};

/// How long a node may take to become Ready, or pods to start.
const NODE: Duration = Duration::from_secs(90);
/// How long nothing may happen to the pods of a node that is cut off.
const CUT: Duration = Duration::from_secs(30);
/// The control plane calls a node that was silent for so long not Ready; well within [`CUT`].
const GRACE: &str = "--node-monitor-grace-period=12s";

/// One node at a time: two would share addresses.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A control plane with one node, made but not powered on.
struct Site {
    // Dropped in this order: the node before the cluster that it belongs to.
    node: Node,
    cluster: Cluster,
    dir: TempDir,
    _one: MutexGuard<'static, ()>,
}

impl Site {
    fn new(kubelet: Release) -> Site {
        let one = one_at_a_time();
        let name = format!("edge-{}", std::process::id());
        let setup = Setup {
            advertise: Some(advertise()),
            controller_manager_flags: GRACE.to_string(),
            node: name.clone(),
            ..Setup::default()
        };
        let cluster = Cluster::start(&setup);
        let node = Node::new(&name, kubelet, &cluster);
        Site {
            node,
            cluster,
            dir: TempDir::new("site"),
            _one: one,
        }
    }

    /// The API server as the node reaches it.
    fn server(&self) -> String {
        format!("https://{}:{}", advertise(), self.cluster.address().port())
    }

    /// The kubeconfig of one of the node's programs.
    fn config(&self, user: &str, server: &str, ca: &std::path::Path) -> PathBuf {
        let (certificate, key) = self.cluster.pair(user);
        let user_of = User::Certificate {
            certificate: &certificate,
            key: &key,
        };
        self.dir
            .write(&format!("{user}.json"), kubeconfig(server, ca, &user_of))
    }

    fn power_on(&self, server: &str, ca: &std::path::Path) {
        self.node.up(
            &self.config("node", server, ca),
            &self.config("kube-proxy", server, ca),
        );
    }

    /// The hub inside the node, with the node's and kube-proxy's identities.
    fn hub(&self) -> Hub {
        let node = format!("system:node:{}", self.node.name());
        self.plain_hub()
            .identity(&self.cluster, &node, "node")
            .start()
    }

    /// The same without the node's.
    fn plain_hub(&self) -> hub::Setup {
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

    fn ready(&self) -> Option<bool> {
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
    fn wait_ready(&self, want: bool) {
        until(&format!("the node's Ready is {want}"), NODE, || {
            (self.ready() == Some(want)).then_some(())
        });
    }

    fn apply(&self, objects: &[Value]) {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.cluster
            .kubectl()
            .run_with(&list.to_string(), &["apply", "-f", "-"])
            .ok();
    }

    /// Waits until these pods, and no others, are there and ready.
    #[track_caller]
    fn wait_pods(&self, names: &[&str]) {
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
    fn pod(&self, name: &str, args: &[&str], more: Value) -> Value {
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
    fn three_pods(&self) {
        self.make_three_pods();
        self.wait_pods(&["hostnet", "serve", "tick"]);
    }

    fn make_three_pods(&self) {
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
    fn let_pods_view(&self) {
        let bind = ["create", "clusterrolebinding", "view", "--clusterrole=view"];
        let whom = ["--serviceaccount=default:default"];
        self.cluster
            .kubectl()
            .run(&[&bind[..], &whom].concat())
            .ok();
    }

    fn delete(&self, pod: &str) {
        self.cluster
            .kubectl()
            .run(&["delete", "pod", pod, "--wait=true", "--timeout=60s"])
            .ok();
    }
}

/// The pod's name if it is ready, and a name that no pod has if it is not.
fn ready_name(pod: &Value) -> &str {
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

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// The harness itself: without a hub, a node comes up, runs pods and loses them when they are deleted.
#[test]
fn harness_a_node_without_a_hub() {
    for release in [Release::V1_36, Release::V1_34] {
        let site = Site::new(release);
        site.power_on(&site.server(), &site.cluster.ca());
        site.wait_ready(true);
        site.three_pods();
        assert_eq!(site.node.tasks().len(), 6);
        if release == Release::V1_36 {
            reaches_into_pods(&site, &site.cluster.url(), &site.cluster.ca());
        }
        site.delete("tick");
        until("its containers are gone", NODE, || {
            (site.node.tasks().len() == 4).then_some(())
        });
    }
}

fn lives_behind_the_hub(release: Release) {
    let site = Site::new(release);
    let hub = site.hub();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.three_pods();
    site.delete("tick");
    site.wait_pods(&["hostnet", "serve"]);
    until("its containers are gone", NODE, || {
        (site.node.tasks().len() == 4).then_some(())
    });

    for cut in ["down", "drop"] {
        let before = site.node.tasks();
        site.node.net(cut);
        hub.sees_offline();
        throughout("every container runs on", CUT, || {
            site.node.tasks() == before
        });
        assert_eq!(site.ready(), Some(false), "the control plane noticed");
        site.node.net("up");
        hub.sees_online();
        site.wait_ready(true);
        site.wait_pods(&["hostnet", "serve"]);
        assert_eq!(
            site.node.tasks(),
            before,
            "{cut}: the same containers as before"
        );
    }

    // It takes orders again.
    site.apply(&[site.pod("again", &["tick", "1s"], json!({}))]);
    site.wait_pods(&["again", "hostnet", "serve"]);
    site.delete("again");
    until("its containers are gone", NODE, || {
        (site.node.tasks().len() == 4).then_some(())
    });
}

#[test]
fn a_node_of_1_36_lives_behind_the_hub() {
    lives_behind_the_hub(Release::V1_36);
}

#[test]
fn a_node_of_1_34_lives_behind_the_hub() {
    lives_behind_the_hub(Release::V1_34);
}

/// Pods that know of the API server only what the kubelet tells them, or what somebody wrote into them by hand, ask the hub,
/// and trust it: with the link, without it, and after the hub was started anew without it.
fn pods_find_the_hub(release: Release) {
    let site = Site::new(release);
    let node = format!("system:node:{}", site.node.name());
    let mut hub = site
        .plain_hub()
        .identity(&site.cluster, &node, "node")
        .set("cache_agents", json!(["*"]))
        .set("filters", json!(["-serviceenvupdater"]))
        .start();
    site.let_pods_view();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    let by_hand = |host: &str, port: &str| {
        json!([
            { "name": "KUBERNETES_SERVICE_HOST", "value": host },
            { "name": "KUBERNETES_SERVICE_PORT", "value": port },
        ])
    };
    let api = |name: &str, env: Value| {
        let container = json!({
            "name": "app", "image": "lab.local/app:1", "args": ["api", "300ms", "/api/v1/namespaces/default/configmaps"],
            "imagePullPolicy": "Never", "env": env,
        });
        site.pod(name, &[], json!({ "containers": [container] }))
    };
    let informer = json!({
        "name": "app", "image": "lab.local/informer:1", "imagePullPolicy": "Never",
        "args": ["--resource", "configmaps", "--namespace", "default", "--json"],
    });
    site.apply(&[
        api("api", json!([])),
        // kube-proxy leads what goes to the cluster IP to the hub.
        api("cluster-ip", by_hand("10.96.0.1", "443")),
        site.pod("informer", &[], json!({ "containers": [informer] })),
    ]);
    site.wait_pods(&["api", "cluster-ip", "informer"]);
    let good = |pod: &str, at: &str| {
        let want = format!(" {at} HTTP/2.0 200 OK");
        let lines = site.node.printed(pod);
        lines.iter().filter(|line| line.contains(&want)).count()
    };
    let pods = [
        ("api", "https://169.254.2.1:10268"),
        ("cluster-ip", "https://10.96.0.1:443"),
    ];
    let go_on = |what: &str| {
        for (pod, at) in pods {
            let before = good(pod, at);
            until(&format!("{pod} is answered {what}"), NODE, || {
                (good(pod, at) > before + 2).then_some(())
            });
        }
    };
    go_on("with the link");
    until("client-go in a pod has all ConfigMaps", NODE, || {
        let lines = site.node.printed("informer");
        (lines.iter())
            .any(|line| line.contains(r#""e":"synced""#))
            .then_some(())
    });
    let kept = hub.status()["collections"].to_string();
    assert!(
        kept.contains(r#""agent":"lab-informer""#),
        "it asked the hub: {kept}"
    );
    // A pod that names the API server by hand is told otherwise, too.
    hub.reload("filters", json!([]));
    until("the filter is on", NODE, || {
        let kubelet = hub.log();
        kubelet
            .contains("reload: the new configuration")
            .then_some(())
    });
    site.apply(&[api("by-hand", by_hand("192.0.2.1", "1"))]);
    until("it asks the hub", NODE, || {
        (good("by-hand", "https://169.254.2.1:10268") > 2).then_some(())
    });
    site.node.net("down");
    hub.sees_offline();
    go_on("without the link");
    hub.kill();
    hub.run();
    hub.sees_offline();
    go_on("after a restart of the hub without the link");
    site.node.net("up");
    hub.sees_online();
    go_on("when the link is back");
}

#[test]
fn pods_of_1_36_find_the_hub() {
    pods_find_the_hub(Release::V1_36);
}

#[test]
fn pods_of_1_34_find_the_hub() {
    pods_find_the_hub(Release::V1_34);
}

/// A machine that has nothing but a bootstrap token: `join` fetches the hub's pair with it, and the kubelet its own by way
/// of the hub; from then on it comes with that, and the hub goes up with the pair that it has.
#[test]
fn a_machine_with_a_token_becomes_a_node_behind_its_hub() {
    let token = "abcdef.0123456789abcdef";
    let site = Site::new(Release::V1_36);
    let within = site.node.within();
    let mut join = command(std::path::Path::new(&within[0]));
    let ca = site.cluster.ca();
    let config = site.dir.path().join("etc/config.json");
    let state = site.dir.path().join("state");
    join.args(&within[1..])
        .arg(hub::PROGRAM)
        .args(["join", "--server", &site.server()]);
    join.args(["--token", token, "--node-name", site.node.name()]);
    join.arg("--ca-file")
        .arg(&ca)
        .arg("--config")
        .arg(config)
        .arg("--state-dir")
        .arg(&state);
    Program::spawn(&mut join).wait(NODE).ok();
    let hub = site
        .plain_hub()
        .set("client", "joined")
        .set("state_dir", state.display().to_string())
        .start();
    let hub_ca = hub.ca().display().to_string();
    let at = ["at", "bootstrap", "https://127.0.0.1:10268", &hub_ca];
    let bootstrap = site.dir.write("bootstrap.yaml", site.cluster.script(&at));
    site.node.up(
        &bootstrap,
        &site.config("kube-proxy", "https://127.0.0.1:10268", &hub.ca()),
    );
    site.wait_ready(true);
    site.three_pods();
    let log = hub.log();
    for part in [
        "kubelet create certificatesigningrequests",
        "kubelet create nodes",
    ] {
        assert!(log.contains(part), "{part} in the hub's log");
    }
    // Without its link it goes on, as every node behind a hub does.
    let before = site.node.tasks();
    site.node.net("down");
    hub.sees_offline();
    throughout("every container runs on", CUT, || {
        site.node.tasks() == before
    });
    site.node.net("up");
    hub.sees_online();
    site.wait_ready(true);
    assert_eq!(site.node.tasks(), before);
}

/// How long four pods may take from power-on until all are ready, with no cloud in sight.
const FOUR_PODS: Duration = Duration::from_secs(6);
/// The same of twenty.
const TWENTY_PODS: Duration = Duration::from_secs(15);
/// On a machine that has other work: so much longer than with the cloud in reach.
const SLOWER: f64 = 1.5;

/// How long nothing may be wrong with the node's requests while it is cut off, and how many it may make in that time: a
/// kubelet that hurries makes hundreds a second.
const QUIET: Duration = Duration::from_secs(20);
const REQUESTS_QUIET_MAX: usize = 400;

impl Site {
    /// A power cut, and power on with the link as it is said: how long it took until so many containers, of the node and of
    /// their pods' sandboxes, ran, and the pod with a probe was ready.
    fn power_cycle(&self, hub: &mut Hub, link: &str, containers: usize) -> Duration {
        hub.kill();
        self.node.down();
        let ready = r#"probe="readiness" status="ready" pod="default/serve""#;
        let times_ready = || self.node.whole_log("kubelet").matches(ready).count();
        let before = times_ready();
        let begin = std::time::Instant::now();
        self.node.script(&["prep"]);
        self.node.net(link);
        hub.spawn();
        self.power_on("https://127.0.0.1:10268", &hub.ca());
        until("every pod is there again", NODE, || {
            (self.node.tasks().len() == containers && times_ready() > before).then_some(())
        });
        begin.elapsed()
    }

    /// What the service of that name answers on the node, by its cluster IP.
    fn asks(&self, service: &str) -> Option<String> {
        let service = self.cluster.kubectl().json(&["get", "service", service]);
        let ip = service["spec"]["clusterIP"].as_str()?.to_string();
        let [nsenter, net] = self.node.within();
        let mut curl = command(std::path::Path::new(&nsenter));
        curl.args([&net, "curl", "-sS", "-m", "2", &format!("http://{ip}/")]);
        let output = Program::spawn(&mut curl).wait(NODE);
        (output.code == Some(0)).then_some(output.stdout)
    }

    fn annotate(&self, pod: &str, annotation: &str) {
        let args = ["annotate", "pod", pod, annotation];
        self.cluster.kubectl().run(&args).ok();
    }

    fn pod_ips(&self) -> Vec<String> {
        let pods = self.cluster.kubectl().json(&["get", "pods"]);
        let of = |pod: &Value| format!("{} {}", pod["metadata"]["name"], pod["status"]["podIP"]);
        pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(of)
            .collect()
    }
}

/// As on a real node, and not as quick to notice as tests are; and pods get answers.
fn slow_hub(site: &Site) -> hub::Setup {
    let node = format!("system:node:{}", site.node.name());
    site.plain_hub()
        .identity(&site.cluster, &node, "node")
        .set("cache_agents", json!(["*"]))
        .set("connect_timeout_ms", 3000)
        .set("ping_after_ms", 2000)
        .set("ping_wait_ms", 2500)
        .set("probe_min_ms", 1000)
        .set("probe_max_ms", 5000)
}

/// A machine that a power cut has ended comes back with no cloud in sight, by what is on its flash: all of its pods, at
/// other addresses, and the Service leads to them. When the cloud is back, nothing starts again.
fn comes_back_without_its_cloud(release: Release) {
    let times = match std::env::var_os("EDGE_HUB_TEST_LONG") {
        Some(_) => 20,
        None => 1,
    };
    let site = Site::new(release);
    let mut hub = slow_hub(&site).start();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.make_three_pods();
    site.apply(&[
        site.pod("api", &["api", "300ms", "/api/v1/namespaces/default/configmaps"], json!({})),
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "serve", "namespace": "default" },
            "spec": { "selector": { "app": "serve" }, "ports": [{ "port": 80, "targetPort": 8080 }] } }),
    ]);
    let pods = ["api", "hostnet", "serve", "tick"];
    site.wait_pods(&pods);
    site.let_pods_view();
    let answered = || {
        let lines = site.node.printed("api");
        lines
            .iter()
            .filter(|line| line.contains(" 200 OK "))
            .count()
    };
    until("a pod is answered", NODE, || (answered() > 0).then_some(()));
    let with_cloud = site.power_cycle(&mut hub, "up", 8);
    eprintln!("all ready with the cloud in reach after {with_cloud:?}");
    site.wait_ready(true);
    // It gets an address that no pod has after a start.
    site.delete("serve");
    site.make_three_pods();
    site.wait_pods(&pods);
    until("the Service leads to its pod", NODE, || site.asks("serve"));
    // A power cut takes what was told in the last `flush_secs`. What is changed here is written at once with what was
    // told before it.
    let flushes = || hub.metric("edge_hub_cache_flushes_total");
    let before = flushes();
    site.annotate("serve", "told=all");
    until("what was told is on flash", NODE, || {
        (flushes() > before).then_some(())
    });
    let addresses = site.pod_ips();
    let most = FOUR_PODS.max(with_cloud.mul_f64(SLOWER));
    for _ in 0..times {
        let took = site.power_cycle(&mut hub, "down", 8);
        eprintln!("all ready without a cloud after {took:?}");
        assert!(
            took <= most,
            "{took:?}, and {with_cloud:?} with the cloud in reach"
        );
        until("the kubelet calls all ready", NODE, || {
            let told = ["reported", "unready"].map(|of| hub.metric(&format!("edge_hub_pods_{of}")));
            (told == [4.0, 0.0]).then_some(())
        });
        until("the Service leads to its pod", NODE, || site.asks("serve"));
        let so_far = answered();
        until("a pod is answered", NODE, || {
            (answered() > so_far).then_some(())
        });
    }
    let before = site.node.tasks();
    let lines = hub.log().lines().count();
    throughout("nothing starts again", QUIET, || {
        site.node.tasks() == before
    });
    let requests = hub
        .log()
        .lines()
        .skip(lines)
        .filter(|line| line.contains(" status code "))
        .count();
    eprintln!("{requests} requests in {QUIET:?}");
    assert!(
        requests <= REQUESTS_QUIET_MAX,
        "{requests} requests in {QUIET:?}"
    );

    let waiting = hub.metric("edge_hub_events_waiting");
    assert!(waiting > 0.0, "the kubelet had something to tell");
    site.node.net("up");
    hub.sees_online();
    until("events of the outage are posted", NODE, || {
        (hub.metric("edge_hub_events_waiting") == 0.0).then_some(())
    });
    assert_eq!(hub.metric("edge_hub_events_dropped_total"), 0.0);
    site.wait_ready(true);
    until("the API server knows where the pods are", NODE, || {
        (site.pod_ips() != addresses).then_some(())
    });
    site.wait_pods(&pods);
    throughout("the Service leads to its pod", QUIET, || {
        site.asks("serve").is_some()
    });
    assert_eq!(site.node.tasks(), before, "the same containers as before");
}

/// As many pods as a busy box has.
#[test]
fn twenty_pods_come_back_without_their_cloud() {
    if std::env::var_os("EDGE_HUB_TEST_LONG").is_none() {
        return;
    }
    let site = Site::new(Release::V1_36);
    let mut hub = slow_hub(&site).start();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.make_three_pods();
    let more: Vec<String> = (0..17).map(|n| format!("t{n:02}")).collect();
    let pods: Vec<Value> = more
        .iter()
        .map(|name| site.pod(name, &["tick", "1s"], json!({})))
        .collect();
    site.apply(&pods);
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let pods = [&["hostnet", "serve"], &more[..], &["tick"]].concat();
    site.wait_pods(&pods);
    let with_cloud = site.power_cycle(&mut hub, "up", 40);
    site.wait_ready(true);
    site.wait_pods(&pods);
    let took = site.power_cycle(&mut hub, "down", 40);
    eprintln!("20 pods without a cloud after {took:?}, with it after {with_cloud:?}");
    assert!(took <= TWENTY_PODS.max(with_cloud.mul_f64(SLOWER)));
}

/// A machine that is switched on for the first time while it is cut off knows nothing: it waits, and harms nothing.
#[test]
fn a_first_boot_without_the_cloud_waits_for_it() {
    let site = Site::new(Release::V1_36);
    site.node.net("down");
    let hub = slow_hub(&site).start();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    hub.sees_offline();
    throughout("nothing runs, and the kubelet does", QUIET, || {
        let status = site.node.script(&["status"]);
        site.node.tasks().is_empty() && !status.contains("kubelet: not running")
    });
    site.node.net("up");
    hub.sees_online();
    site.wait_ready(true);
    site.three_pods();
}

#[test]
fn a_node_of_1_36_comes_back_without_its_cloud() {
    comes_back_without_its_cloud(Release::V1_36);
}

#[test]
fn a_node_of_1_34_comes_back_without_its_cloud() {
    comes_back_without_its_cloud(Release::V1_34);
}

/// A restart of the hub, online and in the middle of everything, costs no container.
#[test]
fn a_node_outlives_its_hub() {
    let site = Site::new(Release::V1_36);
    let mut hub = site.hub();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.three_pods();
    let before = site.node.tasks();
    hub.terminate(Duration::from_secs(30));
    hub.run();
    site.apply(&[site.pod("after", &["tick", "1s"], json!({}))]);
    site.wait_pods(&["after", "hostnet", "serve", "tick"]);
    hub.kill();
    hub.run();
    site.delete("after");
    until("its containers are gone", NODE, || {
        (site.node.tasks() == before).then_some(())
    });
}

/// logs, exec, attach and port-forward into a pod, by SPDY and by WebSocket.
fn reaches_into_pods(site: &Site, server: &str, ca: &std::path::Path) {
    let token = site.cluster.account("default", "tester", "cluster-admin");
    let config = site
        .dir
        .write("tester.json", kubeconfig(server, ca, &User::Token(&token)));
    for web_sockets in ["true", "false"] {
        let start = |args: &[&str]| -> Program {
            let mut command = command(&programs().join("kubectl"));
            command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", web_sockets);
            command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", web_sockets);
            command
                .env("HOME", site.dir.path())
                .arg("--kubeconfig")
                .arg(&config)
                .args(args);
            Program::spawn(&mut command)
        };
        let run = |args: &[&str]| -> Output { start(args).wait(NODE) };

        assert!(run(&["logs", "tick"]).ok().starts_with("tick 0 "));
        let following = start(&["logs", "-f", "tick"]);
        let lines = || following.lines().len();
        let seen = until("the log so far", NODE, || (lines() > 0).then(lines));
        until("the log goes on", NODE, || {
            (lines() > seen + 2).then_some(())
        });

        let said = run(&["exec", "tick", "--", "/app", "get", "http://127.0.0.1:1/"]).ok();
        assert!(said.contains("connection refused"), "{said}");
        let said = run(&["exec", "tick", "--", "/app", "nonsense"]);
        assert_eq!(
            said.code,
            Some(2),
            "the exit code of the program comes back: {said:?}"
        );

        let attached = start(&["attach", "tick"]);
        attached.line("what the pod prints", NODE, |line| {
            line.starts_with("tick ")
        });

        // A file of several windows each way, whole.
        let contents: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
        let there = site.dir.write("there", &contents);
        let back = site.dir.path().join("back");
        run(&["cp", &there.display().to_string(), "tick:/tmp/there"]).ok();
        run(&["cp", "tick:/tmp/there", &back.display().to_string()]).ok();
        assert!(
            std::fs::read(&back).expect("a file") == contents,
            "the file came back as it went"
        );

        let port = support::free_port();
        let forward = start(&["port-forward", "serve", &format!("{port}:8080")]);
        forward.line("it listens", NODE, |line| {
            line.contains("Forwarding from 127.0.0.1")
        });
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let (status, body) = support::http::plain_get(address, "/").expect("the pod answers");
        assert!(status == 200 && body.contains("serve "), "{body}");
    }
}

/// What streams out of a pod is never held: it ends with the link, and kubectl says so.
fn ends_with_the_link(site: &Site, hub: &Hub) {
    let token = site.cluster.account("default", "streams", "cluster-admin");
    let text = kubeconfig("https://127.0.0.1:10268", &hub.ca(), &User::Token(&token));
    let config = site.dir.write("streams.json", text);
    // Where the cut is not between kubectl and the hub.
    let start = |args: &[&str]| -> Program {
        let [enter, how] = site.node.within();
        let mut command = command(std::path::Path::new(&enter));
        command
            .arg(how)
            .arg(programs().join("kubectl"))
            .env("HOME", site.dir.path())
            .arg("--kubeconfig")
            .arg(&config)
            .args(args);
        Program::spawn(&mut command)
    };
    for cut in ["down", "drop"] {
        let streams = [
            start(&["logs", "-f", "tick"]),
            start(&["exec", "tick", "--", "/app", "tick", "200ms"]),
            start(&["attach", "tick"]),
        ];
        for stream in &streams {
            stream.line("what the pod prints", NODE, |line| {
                line.starts_with("tick ")
            });
        }
        let at = std::time::Instant::now();
        site.node.net(cut);
        for stream in streams {
            let said = stream.wait(Duration::from_secs(15));
            println!(
                "{cut}: after {:?}: {:?} {}",
                at.elapsed(),
                said.code,
                said.stderr
            );
            assert_eq!(said.code, Some(1));
            assert!(said.stderr.contains("error: "), "{}", said.stderr);
        }
        site.node.net("up");
        hub.sees_online();
        site.wait_ready(true);
    }
}

#[test]
fn kubectl_reaches_into_pods_through_the_hub() {
    let site = Site::new(Release::V1_36);
    let hub = site.hub();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.three_pods();
    reaches_into_pods(
        &site,
        &format!("https://{}:10268", site.node.address()),
        &hub.ca(),
    );
    ends_with_the_link(&site, &hub);
}
