//! Configuration that comes from ConfigMaps of the cluster, while the hub runs.

use serde_json::{Value, json};

use crate::door::{Door, MOMENT, SOON};
use crate::support::cluster::{Cluster, Setup};
use crate::support::http::{Call, Client, JSON};
use crate::support::hub::PROGRAM;
use crate::support::program::{Program, command};
use crate::support::{throughout, until};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What is in force has to be so within this.
const SECOND: Duration = Duration::from_secs(1);

/// A control plane of its own: these ConfigMaps, and these rights, are for all hubs of a cluster.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(&Setup::default()))
}

/// What the program prints for a cluster.
fn manifest(words: &[&str]) -> String {
    let mut command = command(Path::new(PROGRAM));
    Program::spawn(command.arg("manifest").args(words))
        .wait(SOON)
        .ok()
}

/// A hub with the certificate of a node of its own, which keeps what the built-in programs are told.
fn door(namespace: &str, node: &str) -> Door {
    let cluster = cluster();
    let (certificate, key) = cluster.user(node, &format!("system:node:{node}"), "system:nodes");
    let object = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node } });
    apply(&object.to_string());
    Door::with(cluster, namespace, |setup| {
        setup
            .set("node_name", node)
            .set("client_cert", json!(certificate))
            .set("client_key", json!(key))
            .set("cache_agents", json!([]))
    })
}

fn apply(object: &str) {
    let kubectl = cluster().kubectl();
    kubectl.run_with(object, &["apply", "-f", "-"]).ok();
}

/// Makes or replaces a ConfigMap of `kube-system`.
fn config_map(name: &str, data: &Value) {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "kube-system" }, "data": data,
    });
    let path =
        format!("/api/v1/namespaces/kube-system/configmaps/{name}?fieldManager=test&force=true");
    let call = Call {
        method: http::Method::PATCH,
        path: &path,
        headers: vec![("content-type", "application/apply-patch+yaml")],
        body: object.to_string().into(),
    };
    let status = cluster().admin().call(call).status;
    assert!(status == 200 || status == 201, "{status}");
}

fn collections(door: &Door, agent: &str) -> usize {
    let status = door.hub.status();
    let all = status["collections"].as_array().expect("a list");
    all.iter().filter(|one| one["agent"] == agent).count()
}

/// Whether what this program is told now is kept.
fn keeps(door: &Door, agent: &str) -> bool {
    let client = door.client().agent(agent);
    client.get(&door.maps("")).expect(200);
    collections(door, agent) > 0
}

fn warned(door: &Door) -> String {
    door.hub.status()["warnings"].to_string()
}

#[test]
fn config_maps_are_in_force_within_a_second() {
    let mut door = door("live", "live-1");
    door.hub.logged("ConfigMap kube-system/edge-hub-cfg: 403");
    door.hub.logged("ConfigMap kube-system/yurt-hub-cfg: 403");
    assert!(!keeps(&door, "app-a"));
    rights_are_least(&door);
    // A hub that was refused asks again after minutes.
    door.hub.terminate(SOON);
    door.hub.run();
    door.hub.sees_online();

    // What is open meanwhile goes on.
    let app = door.client().agent("app-a/1");
    let list = app.get(&door.maps("")).json();
    let version = list["metadata"]["resourceVersion"].as_str().expect("one");
    let mut watch = app.watch(
        &door.maps(&format!("?watch=true&resourceVersion={version}")),
        JSON,
    );

    // Whose answers are kept.
    let since = Instant::now();
    config_map("edge-hub-cfg", &json!({ "cache_agents": "app-a, -app-c" }));
    until("app-a is kept", SECOND, || {
        keeps(&door, "app-a").then_some(())
    });
    println!("cache_agents: in force after {:?}", since.elapsed());
    config_map("yurt-hub-cfg", &json!({ "cache_agents": "app-b,app-c" }));
    until("app-b is kept", SECOND, || {
        keeps(&door, "app-b").then_some(())
    });
    assert!(keeps(&door, "app-a") && !keeps(&door, "app-c"));

    // Which filters are for whom.
    let cloud = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "cloud", "namespace": "live", "annotations": { "edge-hub/discard": "true" } },
        "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] },
    });
    apply(&cloud.to_string());
    let sees = |door: &Door, agent: &str| {
        let client = door.client().agent(agent);
        let list = client.get("/api/v1/namespaces/live/services").json();
        !list["items"].as_array().expect("a list").is_empty()
    };
    assert!(sees(&door, "my-proxy") && !sees(&door, "kube-proxy"));
    let agents = "app-a,-app-c";
    let filter = |value: &str| json!({ "cache_agents": agents, "discardcloudservice": value });
    config_map("edge-hub-cfg", &filter("my-proxy"));
    until("the filter is for my-proxy", SECOND, || {
        (!sees(&door, "my-proxy")).then_some(())
    });
    assert!(!sees(&door, "kube-proxy"), "and for those of before");
    config_map("edge-hub-cfg", &filter("-*"));
    until("the filter is for nobody", SECOND, || {
        sees(&door, "kube-proxy").then_some(())
    });

    // A wrong value: the one before stays.
    let wrong = |value: &str| json!({ "cache_agents": value, "discardcloudservice": "-*" });
    config_map("edge-hub-cfg", &wrong("app-x,app/y"));
    until("the status says so", SECOND, || {
        warned(&door).contains("app/y").then_some(())
    });
    let said = warned(&door);
    assert!(
        said.contains("edge-hub-cfg") && said.contains("cache_agents"),
        "{said}"
    );
    assert!(keeps(&door, "app-a") && !keeps(&door, "app-x"));
    one_event_on_the_node(&wrong, &door);

    // The watch told of all that, and of nothing else.
    door.set("last", "1");
    assert_eq!(watch.event(SOON).meta.name, "last");
    drop(watch);

    // Offline, after a restart, it is as it was; the wrong value too.
    door.cut();
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.run();
    door.hub.sees_offline();
    until("the status says so again", SOON, || {
        warned(&door).contains("app/19").then_some(())
    });
    door.mend();
    assert!(keeps(&door, "app-a") && keeps(&door, "app-b") && !keeps(&door, "app-x"));
    assert!(sees(&door, "kube-proxy"), "the filter is off");

    // What is wanted no more goes when there is no room for it, not at once.
    let kubectl = cluster().kubectl();
    kubectl
        .run(&["-n", "kube-system", "delete", "configmap", "edge-hub-cfg"])
        .ok();
    until("the filter is on", SECOND, || {
        (!sees(&door, "kube-proxy")).then_some(())
    });
    assert_eq!(warned(&door).matches("edge-hub-cfg").count(), 0);
    assert_eq!(collections(&door, "app-a"), 1);
    assert!(keeps(&door, "app-c"), "nobody takes it away any more");
}

/// `manifest rbac` gives the node these two ConfigMaps, and no other.
fn rights_are_least(door: &Door) {
    apply(&manifest(&["rbac"]));
    let cluster = cluster();
    let (certificate, key) = cluster.pair("live-1");
    let node = Client::new(cluster.address(), &cluster.ca()).certificate(&certificate, &key);
    let at = |namespace: &str, name: &str| {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let selector = format!("?fieldSelector=metadata.name%3D{name}");
        node.get(&format!(
            "{path}{}",
            if name.is_empty() { "" } else { &selector }
        ))
        .status
    };
    until("the node may", SOON, || {
        (at("kube-system", "edge-hub-cfg") == 200).then_some(())
    });
    assert_eq!(at("kube-system", "yurt-hub-cfg"), 200);
    for (namespace, name) in [
        ("kube-system", ""),
        ("kube-system", "other"),
        ("live", "edge-hub-cfg"),
    ] {
        assert_eq!(at(namespace, name), 403, "{namespace} {name}");
    }
    // Its pool, and the keys of the issuer.
    for path in ["/api/v1/nodes?labelSelector=a%3Db", "/openid/v1/jwks"] {
        node.get(path).expect(200);
    }
    node.get("/api/v1/secrets").expect(403);
    let log = door.hub.log();
    assert_eq!(
        log.matches("does not tell the hub of the ConfigMap")
            .count(),
        2
    );
}

fn one_event_on_the_node(wrong: &dyn Fn(&str) -> Value, door: &Door) {
    let events = || {
        let selector =
            "involvedObject.kind%3DNode,involvedObject.name%3Dlive-1,reason%3DHubConfigInvalid";
        let path = format!("/api/v1/namespaces/default/events?fieldSelector={selector}");
        let list = cluster().admin().get(&path).json();
        list["items"].as_array().cloned().unwrap_or_default()
    };
    let event = until("an Event", SOON, || events().first().cloned());
    let message = event["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("cache_agents") && message.contains("app/y"),
        "{message}"
    );
    let said = cluster()
        .kubectl()
        .run(&["describe", "node", "live-1"])
        .ok();
    assert!(said.contains("HubConfigInvalid"), "{said}");
    for n in 0..20 {
        config_map("edge-hub-cfg", &wrong(&format!("app-x,app/{n}")));
    }
    until("the last is seen", SOON, || {
        warned(door).contains("app/19").then_some(())
    });
    throughout("there is one Event", MOMENT, || events().len() == 1);
}

#[test]
fn what_manifest_prints_is_what_the_api_server_takes() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    apply(&manifest(&["autonomy"]));
    for (namespace, label) in [("mild", "true"), ("strict", "false")] {
        cluster.namespace(namespace);
        let label = format!("edge-hub/autonomy={label}");
        kubectl.run(&["label", "namespace", namespace, &label]).ok();
    }
    let pod = |tolerations: Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "generateName": "p-" },
            "spec": { "containers": [{ "name": "c", "image": "i" }], "tolerations": tolerations },
        })
    };
    let made = |namespace: &str, tolerations: Value| {
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let call = Call::json(http::Method::POST, &path, &pod(tolerations));
        let pod = cluster.admin().call(call).expect(201).json();
        let all = pod["spec"]["tolerations"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let shown = |t: &Value| {
            let text = |name: &str| t[name].as_str().unwrap_or("-").to_owned();
            let key = text("key").replace("node.kubernetes.io/", "");
            format!("{key}:{}:{}", text("effect"), t["tolerationSeconds"])
        };
        let mut all: Vec<String> = all.iter().map(shown).collect();
        all.sort();
        all.join(" ")
    };
    let without_end = "not-ready:NoExecute:null unreachable:NoExecute:null";
    until("the policy is in force", SOON, || {
        (made("mild", json!(null)) == without_end).then_some(())
    });
    let others = json!([
        { "key": "own", "operator": "Exists", "effect": "NoSchedule" },
        { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30 },
    ]);
    assert_eq!(
        made("mild", others.clone()),
        "not-ready:NoExecute:null own:NoSchedule:null unreachable:NoExecute:null"
    );
    assert_eq!(
        made("strict", others),
        "not-ready:NoExecute:300 own:NoSchedule:null unreachable:NoExecute:30"
    );
    let pod = manifest(&["static-pod", "--image", "hub:1"]);
    kubectl
        .run_with(&pod, &["apply", "--dry-run=server", "-f", "-"])
        .ok();
}

#[test]
fn in_the_cloud_filters_are_all() {
    let cluster = Cluster::shared();
    let (certificate, key) = cluster.user("cloud-1", "system:node:cloud-1", "system:nodes");
    let kubectl = cluster.kubectl();
    let apply = |object: &Value| {
        (kubectl.run_with(&object.to_string(), &["apply", "-f", "-"])).ok();
    };
    apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "cloud-1" } }));
    let door = Door::with(cluster, "live-cloud", |setup| {
        (setup.set("working_mode", "cloud").set("store", "ring"))
            .set("node_name", "cloud-1")
            .set("client_cert", json!(certificate))
            .set("client_key", json!(key))
    });
    let service = |name: &str, annotation: &str, kind: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": "live-cloud", "annotations": { annotation: "true" } },
            "spec": { "type": kind, "ports": [{ "port": 80 }] },
        })
    };
    apply(&service("cloud", "edge-hub/discard", "LoadBalancer"));
    let proxy = door.client().agent("kube-proxy/1");
    let path = "/api/v1/namespaces/live-cloud/services";
    let count = |list: Value| list["items"].as_array().map(Vec::len);
    // A node in the cloud serves what is for the cloud.
    assert_eq!(count(proxy.get(path).json()), Some(1));
    let root = door.maps("/kube-root-ca.crt");
    let hub_ca = std::fs::read_to_string(door.hub.ca()).expect("the hub's CA");
    let kubelet = door.client().agent("kubelet/1");
    let map = kubelet.get(&root).json();
    assert!(
        map["data"]["ca.crt"]
            .as_str()
            .is_some_and(|ca| ca.contains(&hub_ca))
    );
    // Traffic stays near: this node is in no pool, and so a pool by itself.
    let mut near = service("near", "x", "ClusterIP");
    near["metadata"]["annotations"] = json!({ "openyurt.io/topologyKeys": "openyurt.io/nodepool" });
    apply(&near);
    apply(&json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": "near-x", "namespace": "live-cloud", "labels": { "kubernetes.io/service-name": "near" },
        },
        "ports": [{ "port": 80 }],
        "endpoints": [
            { "addresses": ["10.9.4.1"], "nodeName": "cloud-1" },
            { "addresses": ["10.9.4.2"], "nodeName": "edge" },
        ],
    }));
    until("endpoints are near", SOON, || {
        let path = "/apis/discovery.k8s.io/v1/namespaces/live-cloud/endpointslices/near-x";
        let slice = proxy.get(path).json();
        (slice["endpoints"].as_array().map(Vec::len) == Some(1)).then_some(())
    });
    // Nothing is kept, for nobody.
    let status = door.hub.status();
    assert_eq!(status["collections"], json!([]));
    assert_eq!(status["store"]["kind"], "ram");
    assert!(!door.hub.folder("cache_dir").join("_internal").exists());
    door.cut();
    for (client, path) in [
        (&proxy, path),
        (&kubelet, root.as_str()),
        (&kubelet, "/version"),
    ] {
        client.get(path).expect(503);
    }
    door.mend();
    assert_eq!(count(proxy.get(path).json()), Some(2));
}
