//! Filters that the other tests do not see at work: pools that objects of OpenYurt tell of, and what kube-proxy and pods are
//! told so that they find the hub.

use serde_json::{Value, json};

use crate::door::{Door, SOON, WATCH_LIST};
use crate::filters::own_address;
use crate::live;
use crate::support::cluster::Cluster;
use crate::support::http::{Call, Client, JSON};
use crate::support::until;

fn apply(cluster: &Cluster, object: &Value) {
    let kubectl = cluster.kubectl();
    kubectl
        .run_with(&object.to_string(), &["apply", "-f", "-"])
        .ok();
}

/// The definition of a kind of OpenYurt's.
fn definition(plural: &str, kind: &str, version: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.apps.openyurt.io") },
        "spec": {
            "group": "apps.openyurt.io", "scope": "Cluster",
            "names": { "plural": plural, "kind": kind, "singular": kind.to_lowercase() },
            "versions": [{
                "name": version, "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    })
}

#[test]
fn pools_of_open_yurt_are_known_and_remembered() {
    let cluster = live::cluster();
    let kubectl = cluster.kubectl();
    for (plural, kind, version) in [
        ("nodepools", "NodePool", "v1beta2"),
        ("nodebuckets", "NodeBucket", "v1alpha1"),
    ] {
        apply(cluster, &definition(plural, kind, version));
        let name = format!("crd/{plural}.apps.openyurt.io");
        kubectl
            .run(&[
                "wait",
                "--for=condition=Established",
                &name,
                "--timeout=30s",
            ])
            .ok();
    }
    // One who may see these and nothing else of the kind: the label of the others is not what tells.
    let (certificate, key) = cluster.user("pools", "pools-hub", "nobody");
    let right = |groups: &str, resources: &[&str]| json!({ "apiGroups": [groups], "resources": resources, "verbs": ["list", "watch"] });
    apply(
        cluster,
        &json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "pools-hub" },
            "rules": [right("", &["services", "nodes"]), right("apps.openyurt.io", &["nodepools", "nodebuckets"])],
        }),
    );
    kubectl
        .run(&[
            "create",
            "clusterrolebinding",
            "pools-hub",
            "--clusterrole=pools-hub",
            "--user=pools-hub",
        ])
        .ok();
    let labels = json!({ "apps.openyurt.io/nodepool": "p1" });
    apply(
        cluster,
        &json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "pool-1", "labels": labels } }),
    );
    let pool = |nodes: &[&str]| {
        apply(
            cluster,
            &json!({
                "apiVersion": "apps.openyurt.io/v1beta2", "kind": "NodePool", "metadata": { "name": "p1" },
                "spec": {}, "status": { "nodes": nodes },
            }),
        );
    };
    pool(&["pool-1", "peer"]);
    apply(
        cluster,
        &json!({
            "apiVersion": "apps.openyurt.io/v1alpha1", "kind": "NodeBucket",
            "metadata": { "name": "p1-a", "labels": { "openyurt.io/pool-name": "p1" } },
            "nodes": [{ "name": "bucketed" }],
        }),
    );
    let mut door = Door::with(cluster, "pools", |setup| {
        setup
            .set("node_name", "pool-1")
            .set("client_cert", json!(certificate))
            .set("client_key", json!(key))
    });
    apply(
        cluster,
        &json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "s", "namespace": "pools", "annotations": { "openyurt.io/topologyKeys": "openyurt.io/nodepool" },
            },
            "spec": { "ports": [{ "port": 80 }] },
        }),
    );
    let endpoint = |(at, node): (usize, &&str)| json!({ "addresses": [format!("10.9.3.{at}")], "nodeName": node });
    let nodes = ["pool-1", "peer", "bucketed", "far"];
    let endpoints: Vec<Value> = nodes.iter().enumerate().map(endpoint).collect();
    apply(
        cluster,
        &json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": "s-x", "namespace": "pools", "labels": { "kubernetes.io/service-name": "s" } },
            "ports": [{ "port": 80 }], "endpoints": endpoints,
        }),
    );
    let path = "/apis/discovery.k8s.io/v1/namespaces/pools/endpointslices";
    let proxy = door.client().agent("kube-proxy/1");
    let told = || {
        let list = proxy.get(path).expect(200).json();
        let all = list["items"][0]["endpoints"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let names = all
            .iter()
            .map(|e| e["nodeName"].as_str().unwrap_or_default().to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    let is = |want: &str| until(want, SOON, || (told() == want).then_some(()));
    is("pool-1 peer bucketed");

    // The pool changes, and open watches hear of it.
    let mut watch = proxy.watch(&format!("{path}?{WATCH_LIST}"), JSON);
    watch.initial(SOON);
    pool(&["pool-1", "other"]);
    let event = watch.event(SOON);
    let object: Value = serde_json::from_slice(&event.bytes).expect("JSON");
    let text = object["object"]["endpoints"].to_string();
    assert_eq!(event.kind, "MODIFIED");
    assert!(
        !text.contains("peer") && text.contains("bucketed"),
        "{text}"
    );
    is("pool-1 bucketed");
    pool(&["pool-1", "peer"]);
    is("pool-1 peer bucketed");
    drop(watch);

    // A hub that is told nothing any more goes by what was known last, also after a restart, and says so.
    kubectl
        .run(&["delete", "clusterrolebinding", "pools-hub"])
        .ok();
    let (certificate, key) = cluster.pair("pools");
    let itself = Client::new(cluster.address(), &cluster.ca()).certificate(&certificate, &key);
    until("the right is gone", SOON, || {
        (itself.get("/api/v1/services").status == 403).then_some(())
    });
    let admin_sees = |door: &Door| {
        door.hub
            .log()
            .contains("does not tell the hub of services: 403")
    };
    door.hub.terminate(SOON);
    door.hub.run();
    door.hub.sees_online();
    let first = told();
    until("the hub is refused", SOON, || {
        told();
        admin_sees(&door).then_some(())
    });
    assert_eq!(
        (first.as_str(), told().as_str()),
        ("pool-1 peer bucketed", "pool-1 peer bucketed")
    );
    let warned = door.hub.status()["warnings"].to_string();
    assert!(
        warned.contains("what was known last stays in force"),
        "{warned}"
    );
}

#[test]
fn kube_proxy_and_pods_are_told_where_the_hub_is() {
    // Where nobody else writes the ConfigMap of kube-proxy.
    let (cluster, own) = (live::cluster(), own_address());
    let port = crate::support::free_port();
    let door = Door::with(cluster, "t-hub-is", |setup| {
        setup
            .set(
                "listen",
                json!([format!("127.0.0.1:{port}"), format!("{own}:{port}")]),
            )
            .set("own_addresses", json!([own]))
    });
    let admin = cluster.token("t-hub-is", "tester");
    let binding = [
        "create",
        "clusterrolebinding",
        "t-hub-is-all",
        "--clusterrole=cluster-admin",
    ];
    cluster
        .kubectl()
        .run(&[&binding[..], &["--serviceaccount=t-hub-is:tester"]].concat())
        .ok();
    let kubelet = door.hub.client().bearer(&admin).agent("kubelet/1");
    let proxy = door.hub.client().bearer(&admin).agent("kube-proxy/1");
    until("the account may", SOON, || {
        (kubelet.get("/api/v1/pods").status == 200).then_some(())
    });

    let env = json!([
        { "name": "KUBERNETES_SERVICE_HOST", "value": "10.96.0.1" },
        { "name": "KUBERNETES_SERVICE_PORT", "value": "443" },
        { "name": "KUBERNETES_SERVICE_PORT_HTTPS", "value": "443" },
        { "name": "OTHER", "value": "443" },
    ]);
    let container = |name: &str| json!({ "name": name, "image": "none", "env": env });
    // Of a node that there is: pods of others are cleared away.
    apply(
        cluster,
        &json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "hub-is-1" } }),
    );
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "by-hand", "namespace": "t-hub-is" },
        "spec": { "nodeName": "hub-is-1", "containers": [container("a")], "initContainers": [container("i")] },
    });
    // A watch that is there before the pod.
    let pods = "/api/v1/namespaces/t-hub-is/pods";
    let mut watch = kubelet.watch(&format!("{pods}?{WATCH_LIST}"), JSON);
    watch.initial(SOON);
    apply(cluster, &pod);
    let debug = json!({ "spec": { "ephemeralContainers": [container("e")] } });
    let path = format!("{pods}/by-hand/ephemeralcontainers");
    let call = Call::json(http::Method::PATCH, &path, &debug);
    let call = Call {
        headers: vec![("content-type", "application/strategic-merge-patch+json")],
        ..call
    };
    cluster.admin().call(call).expect(200);
    let values = |pod: &Value, kind: &str| {
        let env = pod["spec"][kind][0]["env"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let values = env
            .iter()
            .map(|v| v["value"].as_str().unwrap_or_default().to_owned());
        values.collect::<Vec<_>>().join(" ")
    };
    let here = format!("{own} {port} {port} 443");
    let is_told = |pod: &Value| {
        for kind in ["containers", "initContainers", "ephemeralContainers"] {
            assert_eq!(values(pod, kind), here, "{kind}");
        }
    };
    let added: Value = serde_json::from_slice(&watch.event(SOON).bytes).expect("JSON");
    assert_eq!(values(&added["object"], "initContainers"), here);
    let changed: Value = serde_json::from_slice(&watch.event(SOON).bytes).expect("JSON");
    is_told(&changed["object"]);
    is_told(&kubelet.get(&format!("{pods}/by-hand")).json());
    is_told(&kubelet.get(pods).json()["items"][0]);
    let direct = cluster.admin().get(&format!("{pods}/by-hand")).json();
    assert_eq!(values(&direct, "containers"), "10.96.0.1 443 443 443");

    // The one endpoint of default/kubernetes.
    apply(
        cluster,
        &json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "kubernetes", "namespace": "default", "labels": { "kubernetes.io/service-name": "kubernetes" },
            },
            "endpoints": [{ "addresses": ["10.9.2.1"] }, { "addresses": ["10.9.2.2"], "nodeName": "master" }],
            "ports": [{ "name": "https", "port": 6443 }],
        }),
    );
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let one = proxy.get(&format!("{slices}/kubernetes")).json();
    assert_eq!(one["endpoints"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["endpoints"][0]["addresses"], json!([own]));
    assert_eq!(one["endpoints"][0]["conditions"]["ready"], true);
    assert_eq!(one["ports"][0]["port"], port);
    let others = door.client().agent("other/1");
    assert!(!others.get(slices).text().contains(&own) || others.get(slices).status == 403);

    // kube-proxy's own configuration, as the kubelet mounts it.
    let text =
        "clientConnection:\n  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\nmode: nftables\n";
    cluster.config_map("kube-system", "kube-proxy", "config.conf", text);
    let map = "/api/v1/namespaces/kube-system/configmaps";
    let told = kubelet.get(&format!("{map}/kube-proxy")).json();
    let told = told["data"]["config.conf"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        told.contains("#kubeconfig:") || told.contains("# kubeconfig:"),
        "{told}"
    );
    assert!(told.contains("mode: nftables\n"));
    let selected = format!("{map}?fieldSelector=metadata.name%3Dkube-proxy");
    kubelet.get(&selected).expect(200);

    // So it is kept.
    door.cut();
    is_told(&kubelet.get(pods).expect(200).json()["items"][0]);
    let list = kubelet.get(&selected).expect(200).json();
    assert_eq!(list["items"][0]["data"]["config.conf"], json!(told));
    let kept = proxy
        .get(&format!("{slices}/kubernetes"))
        .expect(200)
        .json();
    assert_eq!(kept["endpoints"][0]["addresses"], json!([own]));
}
