//! A node that was YurtHub's: its ports, its ConfigMap, its annotations and labels, and what it left on flash.

use serde_json::{Value, json};
use std::fs;

use crate::door::{Door, SOON};
use crate::offline::unknown;
use crate::support::cluster::Cluster;
use crate::support::free_port;
use crate::support::http::Call;
use crate::support::{TempDir, until};

fn apply(cluster: &Cluster, object: &Value) {
    let kubectl = cluster.kubectl();
    kubectl
        .run_with(&object.to_string(), &["apply", "-f", "-"])
        .ok();
}

/// What YurtHub gives its nodes: all ConfigMaps, for this one node alone, so that no other test's hub sees this.
fn rights(cluster: &Cluster, user: &str) {
    let rule = |resources: &[&str]| json!({ "apiGroups": [""], "resources": resources, "verbs": ["get", "list", "watch"] });
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "yurt-hub" },
        "rules": [rule(&["configmaps"]), rule(&["nodes"])],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "yurt-hub" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "yurt-hub" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    });
    apply(cluster, &role);
    apply(cluster, &binding);
}

#[test]
fn a_node_of_yurt_hub_is_taken_over() {
    let cluster = Cluster::shared();
    let node = "yurt-1";
    let user = format!("system:node:{node}");
    let (certificate, key) = cluster.user(node, &user, "system:nodes");
    rights(cluster, &user);
    // In a pool, as OpenYurt labels it.
    let labels = json!({ "apps.openyurt.io/nodepool": "yurt-pool" });
    apply(
        cluster,
        &json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node, "labels": labels } }),
    );
    // As OpenYurt's chart has it.
    apply(
        cluster,
        &json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "yurt-hub-cfg", "namespace": "kube-system",
                "labels": { "openyurt.io/configmap-name": "yurt-hub-cfg" },
            },
            "data": {
                "cache_agents": "yurt-app, other-app", "servicetopology": "yurt-ingress",
                "discardcloudservice": "", "masterservice": "",
            },
        }),
    );
    // What YurtHub has kept: in the clear, and of a pod that is long gone.
    let dir = TempDir::new("yurt-hub");
    let cache = dir.path().join("cache");
    let old = cache.join("kubelet/pods.v1.core/drop-in/gone");
    let restmapper = cache.join("_internal/restmapper/cache-crd-restmapper.conf");
    for (file, text) in [
        (
            &old,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"gone","namespace":"drop-in"}}"#,
        ),
        (&cache.join("version"), r#"{"major":"1"}"#),
        (&restmapper, "{}"),
    ] {
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    }

    let mut door = Door::with(cluster, "drop-in", |setup| {
        setup
            .set("node_name", node)
            .set("local_listen", format!("127.0.0.1:{}", free_port()))
            .set("client_cert", json!(certificate))
            .set("client_key", json!(key))
            .set("cache_dir", json!(cache))
            .set("cache_agents", json!([]))
    });
    let (_, said) = door.hub.admin("/v1/healthz").expect("YurtHub's own path");
    assert_eq!(said.trim(), "OK");
    door.hub.admin("/v1/readyz").expect("YurtHub's own path");
    for gone in [
        "/pods",
        "/v1/token",
        "/debug/pprof/profile",
        "/openyurt.io/v1/namespaces/a/pods/b/upgrade",
    ] {
        assert_eq!(door.hub.admin(gone).expect("an answer").0, 404, "{gone}");
    }

    // The kubelet's kubeconfig names the plain port and no user.
    let kubelet = door.hub.local().agent("kubelet/v1.34.10");
    let its_node = format!("/api/v1/nodes/{node}");
    assert_eq!(
        kubelet.get(&its_node).expect(200).json()["metadata"]["name"],
        node
    );

    // yurt-hub-cfg: whose answers are kept, and one more program for a filter.
    until("yurt-app is kept", SOON, || {
        door.client()
            .agent("yurt-app/1")
            .get(&door.maps(""))
            .expect(200);
        let status = door.hub.status();
        let all = status["collections"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        all.iter()
            .any(|one| one["agent"] == "yurt-app")
            .then_some(())
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "near", "namespace": "drop-in", "annotations": {
                "openyurt.io/topologyKeys": "openyurt.io/nodepool", "nodeport.openyurt.io/listen": "yurt-pool,-other",
            },
        },
        "spec": { "type": "NodePort", "selector": { "a": "b" }, "ports": [{ "port": 80 }] },
    });
    apply(cluster, &service);
    let mut far = service.clone();
    far["metadata"]["name"] = json!("far");
    far["metadata"]["annotations"] = json!({ "nodeport.openyurt.io/listen": "other" });
    apply(cluster, &far);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": "near-x", "namespace": "drop-in", "labels": { "kubernetes.io/service-name": "near" } },
        "addressType": "IPv4", "ports": [{ "port": 80 }],
        "endpoints": [
            { "addresses": ["10.9.0.1"], "nodeName": node },
            { "addresses": ["10.9.0.2"], "nodeName": "elsewhere" },
        ],
    });
    apply(cluster, &slice);
    let endpoints = |door: &Door, agent: &str| {
        let path = "/apis/discovery.k8s.io/v1/namespaces/drop-in/endpointslices/near-x";
        let slice = door.client().agent(agent).get(path).json();
        slice["endpoints"].as_array().map(Vec::len)
    };
    assert_eq!(endpoints(&door, "somebody/1"), Some(2));
    for agent in ["kube-proxy/1", "yurt-ingress/1"] {
        until("endpoints are near", SOON, || {
            (endpoints(&door, agent) == Some(1)).then_some(())
        });
    }
    let proxy = door.client().agent("kube-proxy/1");
    let services = proxy.get("/api/v1/namespaces/drop-in/services").json();
    let names: Vec<&Value> = (services["items"].as_array().expect("a list").iter())
        .map(|item| &item["metadata"]["name"])
        .collect();
    assert_eq!(names, [&json!("near")]);

    // Offline: what the hub was told. What YurtHub has left proves nothing, and is told to nobody.
    door.cut();
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.run();
    door.hub.sees_offline();
    assert_eq!(
        kubelet.get(&its_node).expect(200).json()["metadata"]["name"],
        node
    );
    unknown(&kubelet.call(Call::get("/api/v1/namespaces/drop-in/pods/gone")));
    assert_eq!(endpoints(&door, "kube-proxy/1"), Some(1));
    // It is left alone, and somebody is told.
    assert!(old.exists() && restmapper.exists());
    let warned = until("the status tells of it", SOON, || {
        let warned = door.hub.status()["warnings"].to_string();
        warned.contains("left alone").then_some(warned)
    });
    assert!(warned.contains("kubelet"), "{warned}");
    door.mend();
}
