//! What named programs are told otherwise than the API server says it.

use http::Method;
use serde_json::{Value, json};

use crate::door::{Door, MOMENT, WATCH_LIST};
use crate::support::cluster::{self, Cluster, Release};
use crate::support::http::{Call, Client, Event, JSON, PROTOBUF, PROTOBUF_WATCH, Watch};
use crate::support::hub::Setup;
use crate::support::kubeconfig::{User, kubeconfig};
use crate::support::program::{Program, command};
use crate::support::{free_port, protobuf, until};
use edge_hub::filter::Filter;
use std::collections::BTreeMap;

use super::door::SOON;

/// An address that a hub of this process has for itself.
pub fn own_address() -> String {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let last = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("169.254.{}.{last}", 100 + std::process::id() % 100)
}

/// A hub that pods could reach.
pub fn reachable(setup: Setup, own: &str) -> (Setup, u16) {
    let port = free_port();
    let listen = json!([format!("127.0.0.1:{port}"), format!("{own}:{port}")]);
    let setup = setup
        .set("listen", listen)
        .set("own_addresses", json!([own]));
    (setup, port)
}

fn kubernetes(list: &Value) -> &Value {
    let items = list["items"].as_array().expect("a list");
    let is_it = |item: &&Value| {
        item["metadata"]["name"] == "kubernetes" && item["metadata"]["namespace"] == "default"
    };
    items.iter().find(is_it).expect("default/kubernetes")
}

/// `clusterIP` and the port `https` of `default/kubernetes` in a list that came as protobuf.
fn kubernetes_of(body: &[u8]) -> (String, u64) {
    let (kind, list) = protobuf::envelope(body);
    assert_eq!(kind, "ServiceList");
    let mut items = protobuf::fields(list, 2);
    let is_it = |item: &&[u8]| {
        let meta = protobuf::meta(item);
        (&*meta.namespace, &*meta.name) == ("default", "kubernetes")
    };
    let spec = protobuf::field(items.find(is_it).expect("default/kubernetes"), 2).expect("spec");
    let ip = protobuf::field(spec, 3).expect("clusterIP");
    let port = protobuf::field(spec, 1).expect("a port");
    (
        String::from_utf8_lossy(ip).into_owned(),
        protobuf::number(port, 3).expect("its number"),
    )
}

#[test]
fn pods_are_sent_to_the_hub_and_trust_it() {
    let own = own_address();
    let mut port = 0;
    let mut door = Door::with(Cluster::shared(), "t-filters", |setup| {
        let (setup, at) = reachable(setup, &own);
        port = at;
        setup
    });
    let kubelet = |door: &Door| door.client().agent("kubelet/v1.36.4 (linux/amd64)");
    let services = "/api/v1/services";
    let (kubelet_now, direct) = (kubelet(&door), door.direct());
    let as_it_is = direct.get(services).json();
    let cluster_ip = kubernetes(&as_it_is)["spec"]["clusterIP"].clone();
    // Whoever is not named is told what the API server says, byte for byte.
    assert_eq!(
        kubernetes(&door.client().get(services).json())["spec"],
        kubernetes(&as_it_is)["spec"]
    );
    let moved = |client: &Client, from: &str| {
        let list = client.get(services);
        assert_eq!(list.header("edge-hub-cache").is_empty(), from == "cloud");
        let mut spec = kubernetes(&list.json())["spec"].clone();
        assert_eq!(spec["clusterIP"], json!(own));
        assert_eq!(spec["clusterIPs"], json!([own]));
        assert_eq!(spec["ports"][0]["port"], json!(port));
        // All else is as it was.
        spec["clusterIP"].clone_from(&cluster_ip);
        spec["clusterIPs"] = json!([cluster_ip]);
        spec["ports"][0]["port"] = json!(443);
        assert_eq!(spec, kubernetes(&as_it_is)["spec"]);
        let list = client.call(Call::get(services).accept(PROTOBUF));
        assert_eq!(kubernetes_of(&list.body), (own.clone(), u64::from(port)));
        let one = client.get("/api/v1/namespaces/default/services/kubernetes");
        assert_eq!(one.json()["spec"]["clusterIP"], json!(own));
    };
    moved(&kubelet_now, "cloud");

    let hub_ca = std::fs::read_to_string(door.hub.ca()).expect("the hub's CA");
    let root = door.maps("/kube-root-ca.crt");
    let of_cluster = direct.get(&root).json()["data"]["ca.crt"].clone();
    let both = format!("{}{hub_ca}", of_cluster.as_str().expect("PEM"));
    let selected = door.maps("?fieldSelector=metadata.name%3Dkube-root-ca.crt");
    let trusted = |client: &Client| {
        assert_eq!(client.get(&root).json()["data"]["ca.crt"], json!(both));
        let list = client.get(&selected).json();
        assert_eq!(list["items"][0]["data"]["ca.crt"], json!(both));
        let list = client.call(Call::get(&selected).accept(PROTOBUF));
        let (_, list) = protobuf::envelope(&list.body);
        let map = protobuf::field(list, 2).expect("an item");
        let entry = protobuf::field(map, 2).expect("an entry");
        assert_eq!(protobuf::field(entry, 2), Some(both.as_bytes()));
    };
    trusted(&kubelet_now);
    assert_eq!(
        door.client().get(&root).json()["data"]["ca.crt"],
        of_cluster
    );

    // What is kept is what was told.
    door.cut();
    moved(&kubelet_now, "cache");
    trusted(&kubelet_now);
    door.mend();

    // Each can be switched off, and is for others if somebody says so.
    door.hub.reload(
        "filters",
        json!(["-hubca", "masterservice=-kubelet", "masterservice=My-Agent"]),
    );
    until("the filters are off", SOON, || {
        (kubelet_now.get(&root).json()["data"]["ca.crt"] == of_cluster).then_some(())
    });
    let list = kubelet_now.get(services).json();
    assert_eq!(kubernetes(&list)["spec"]["clusterIP"], cluster_ip);
    moved(&door.client().agent("my-agent/1"), "cloud");
}

#[test]
fn no_pod_breaks_the_list_of_all() {
    let own = own_address();
    let door = Door::with(Cluster::shared(), "t-env", |setup| reachable(setup, &own).0);
    let pod = |name: &str, many| {
        let env = json!({ "name": "KUBERNETES_SERVICE_HOST", "value": "" });
        let container = json!({ "name": "c", "image": "i", "env": vec![env; many] });
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": "t-env" },
            "spec": { "nodeName": "t-env", "containers": [container] },
        })
    };
    // By POST: applying would refuse names that stand there twice.
    for pod in [pod("a", 1), pod("b", 3000), pod("c", 1)] {
        let made = door.direct().call(Call::json(
            Method::POST,
            "/api/v1/namespaces/t-env/pods",
            &pod,
        ));
        made.expect(201);
    }
    let kubelet = door.client().agent("kubelet/v1.36.4 (linux/amd64)");
    let list = kubelet.call(Call::get("/api/v1/namespaces/t-env/pods").accept(PROTOBUF));
    let (kind, list) = protobuf::envelope(&list.body);
    assert_eq!(kind, "PodList");
    let told: Vec<(String, bool)> = protobuf::fields(list, 2)
        .map(|pod| (protobuf::meta(pod).name, has(pod, &own)))
        .collect();
    let expected = [("a", true), ("b", false), ("c", true)];
    assert_eq!(
        told,
        expected.map(|(name, to_hub)| (name.to_owned(), to_hub))
    );
}

#[test]
fn what_a_filter_cannot_read_is_not_passed() {
    let own = own_address();
    let door = Door::with(Cluster::shared(), "t-filters-unread", |setup| {
        reachable(setup, &own).0
    });
    let kubelet = door.client().agent("kubelet/v1");
    let before = door.hub.metric("edge_hub_not_filtered_total");
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    const METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    for (path, accept) in [
        ("/api/v1/services", TABLE),
        ("/api/v1/services", METADATA),
        ("/api/v1/services", "application/yaml"),
        ("/api/v1/namespaces/default/services/kubernetes", TABLE),
        (
            "/api/v1/namespaces/default/services/kubernetes",
            "application/yaml",
        ),
    ] {
        let refused = kubelet.call(Call::get(path).accept(accept)).expect(502);
        let status = refused.json();
        assert_eq!(status["kind"], "Status", "{path} {accept}");
        let message = status["message"].as_str().unwrap_or_default();
        assert!(message.contains("filters"), "{message}");
        // The same is passed to whom no filter is for.
        door.client()
            .call(Call::get(path).accept(accept))
            .expect(200);
    }
    let after = door.hub.metric("edge_hub_not_filtered_total");
    assert_eq!(after - before, 5.0);
    // A list of no filter's resource passes in any form.
    kubelet
        .call(Call::get("/api/v1/namespaces").accept(TABLE))
        .expect(200);
    kubelet
        .call(Call::get("/api/v1/services").accept(JSON))
        .expect(200);
}

/// A Service with these annotations and ports of this type, and a slice of it with an endpoint on each of these nodes.
fn service(
    namespace: &str,
    name: &str,
    kind: &str,
    annotations: &Value,
    nodes: &[&str],
) -> Vec<Value> {
    let endpoint = |(at, node): (usize, &&str)| json!({ "addresses": [format!("10.9.0.{at}")], "nodeName": node, "zone": format!("zone-{node}"), "conditions": { "ready": true } });
    let endpoints: Vec<Value> = nodes.iter().enumerate().map(endpoint).collect();
    let mut slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-x"), "namespace": namespace,
            "labels": { "kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "test" },
        },
        "addressType": "IPv4", "ports": [{ "name": "p", "port": 80 }],
    });
    slice["endpoints"] = endpoints.into();
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": namespace, "annotations": annotations },
            "spec": { "type": kind, "ports": [{ "name": "p", "port": 80 }] },
        }),
        slice,
    ]
}

/// Makes or changes objects as the administrator.
fn apply(cluster: &Cluster, objects: impl IntoIterator<Item = Value>) {
    let objects: Vec<Value> = objects.into_iter().collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let said = cluster.kubectl().run_with(
        &list.to_string(),
        &["apply", "--server-side", "--force-conflicts", "-f", "-"],
    );
    said.ok();
}

/// The nodes of the endpoints that a client is told of each slice of a namespace, in both encodings.
fn nodes_of(client: &Client, namespace: &str) -> Vec<(String, Vec<String>)> {
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let list = client.get(&path).expect(200).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes = |slice: &Value| {
        let endpoints = slice["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
        let nodes = endpoints.iter().map(|e| text(&e["nodeName"])).collect();
        (text(&slice["metadata"]["name"]), nodes)
    };
    let items = list["items"].as_array().expect("a list");
    let told: Vec<(String, Vec<String>)> = items.iter().map(nodes).collect();
    let body = client
        .call(Call::get(&path).accept(PROTOBUF))
        .expect(200)
        .body;
    let (_, list) = protobuf::envelope(&body);
    let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let again = protobuf::fields(list, 2).map(|slice| {
        let endpoints = protobuf::fields(slice, 2);
        let nodes = endpoints.filter_map(|e| protobuf::field(e, 6)).map(utf8);
        (protobuf::meta(slice).name, nodes.collect())
    });
    assert_eq!(again.collect::<Vec<_>>(), told);
    told
}

fn shown(told: &[(String, Vec<String>)]) -> String {
    let one = |(name, nodes): &(String, Vec<String>)| format!("{name}={}", nodes.join(","));
    told.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn endpoints_stay_near_and_node_ports_in_their_pool() {
    let cluster = Cluster::shared();
    let (namespace, node) = ("t-topology", "edge-topology");
    cluster.user("topology", &format!("system:node:{node}"), "system:nodes");
    let labels = |pool: &str, zone: &str| json!({ "apps.openyurt.io/nodepool": pool, "topology.kubernetes.io/zone": zone });
    let object = |name: &str, labels: Value| json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } });
    apply(
        cluster,
        [
            object(node, labels("t-pool", "zone-far-away")),
            object("topology-peer", labels("t-pool", "zone-topology-peer")),
        ],
    );
    let user = format!("system:node:{node}");
    let mut door = Door::with(cluster, namespace, |setup| {
        let setup = setup.identity(cluster, &user, "topology");
        setup.set("node_name", node)
    });
    let nodes = [node, "topology-peer", "far-away"];
    let own = |topology: &str| json!({ "edge-hub/topology": topology });
    let yurt = |topology: &str| json!({ "openyurt.io/topologyKeys": topology });
    let ports = |pools: &str| json!({ "nodeport.openyurt.io/listen": pools });
    let all = [
        service(namespace, "a-node", "ClusterIP", &own("node"), &nodes),
        service(namespace, "b-zone", "ClusterIP", &own("zone"), &nodes),
        service(
            namespace,
            "c-pool",
            "ClusterIP",
            &yurt("openyurt.io/nodepool"),
            &nodes,
        ),
        service(namespace, "d-plain", "NodePort", &ports("t-pool"), &nodes),
        service(namespace, "e-other", "NodePort", &ports("*,-t-pool"), &[]),
    ];
    apply(cluster, all.concat());

    let proxy = door.client().agent("kube-proxy/v1.36.4");
    let tell = |members: &str| {
        format!(
            "a-node-x={node} b-zone-x={node},far-away c-pool-x={members} d-plain-x={} e-other-x=",
            nodes.join(",")
        )
    };
    // The hub hears of the Services by a watch of its own.
    until("endpoints are near", SOON, || {
        (shown(&nodes_of(&proxy, namespace)) == tell(node)).then_some(())
    });
    let warned = door.hub.status()["warnings"].to_string();
    assert!(
        warned.contains("which nodes are in the pool t-pool is not known"),
        "{warned}"
    );
    let services = |client: &Client| {
        let list = client
            .get(&format!("/api/v1/namespaces/{namespace}/services"))
            .json();
        let items = list["items"].as_array().expect("a list").clone();
        let names = items.iter().map(|item| {
            item["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        });
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(services(&proxy), "a-node b-zone c-pool d-plain");
    // Nobody else is told so.
    assert_eq!(
        services(&door.client()),
        "a-node b-zone c-pool d-plain e-other"
    );
    let everything = shown(&nodes_of(&door.client(), namespace));
    assert_eq!(
        everything.matches("topology-peer").count(),
        4,
        "{everything}"
    );

    // With the right to see the nodes of its pool it knows them, at the latest after a restart.
    let kubectl = cluster.kubectl();
    kubectl
        .run(&[
            "create",
            "clusterrole",
            "t-see-nodes",
            "--verb=list,watch",
            "--resource=nodes",
        ])
        .ok();
    let grant = format!("--user={user}");
    kubectl
        .run(&[
            "create",
            "clusterrolebinding",
            "t-see-nodes",
            "--clusterrole=t-see-nodes",
            &grant,
        ])
        .ok();
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.run();
    door.hub.sees_online();
    until("the pool is known", SOON, || {
        (shown(&nodes_of(&proxy, namespace)) == tell(&format!("{node},topology-peer")))
            .then_some(())
    });
    assert!(!door.hub.status()["warnings"].to_string().contains("t-pool"));

    // What a Service asks for changes.
    let annotate = format!("edge-hub/topology={}", "pool");
    kubectl
        .run(&[
            "-n",
            namespace,
            "annotate",
            "--overwrite",
            "service",
            "a-node",
            &annotate,
        ])
        .ok();
    until("the change is known", SOON, || {
        shown(&nodes_of(&proxy, namespace))
            .starts_with(&format!("a-node-x={node},topology-peer "))
            .then_some(())
    });

    // Cut off, it tells what it told; after a restart, too.
    let told = nodes_of(&proxy, namespace);
    door.cut();
    assert_eq!(nodes_of(&proxy, namespace), told);
    assert_eq!(door.hub.terminate(SOON), Some(0));
    door.hub.run();
    door.hub.sees_offline();
    assert_eq!(nodes_of(&proxy, namespace), told);
}

#[test]
fn what_was_never_known_is_a_503_and_no_endpoints() {
    let cluster = Cluster::shared();
    // An identity that may not list Services.
    cluster.user("t-nobody", "t-nobody", "t-nobodies");
    let (certificate, key) = cluster.pair("t-nobody");
    let door = Door::with(cluster, "t-unknown", |setup| {
        let setup = setup.set("client_cert", json!(certificate));
        setup.set("client_key", json!(key))
    });
    let path = "/apis/discovery.k8s.io/v1/endpointslices";
    let proxy = door.client().agent("kube-proxy/v1");
    let refused = proxy.get(path).expect(503).json();
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.contains("topology"), "{message}");
    let warned = door.hub.status()["warnings"].to_string();
    assert!(
        warned.contains("does not let the hub list services"),
        "{warned}"
    );
    door.client().get(path).expect(200);
    // Without any identity the hub asks for nothing, nothing is kept back, and it says so.
    let door = Door::new("t-unknown-2");
    let says = || door.hub.status()["warnings"].to_string();
    assert!(!says().contains("servicetopology"), "nobody has come yet");
    door.client().agent("kube-proxy/v1").get(path).expect(200);
    assert!(says().contains("servicetopology and nodeportisolation do nothing"));
}

fn has(bytes: &[u8], part: &str) -> bool {
    bytes
        .windows(part.len())
        .any(|window| window == part.as_bytes())
}

/// Whether an event tells of an endpoint on this node.
fn on(event: &Event, node: &str) -> bool {
    has(&event.bytes, &format!("\"nodeName\":\"{node}\""))
        || has(
            &event.bytes,
            &format!("2{}{node}", char::from(node.len() as u8)),
        )
}

fn words(events: &[Event]) -> String {
    let one = |e: &Event| match e.meta.initial_events_end {
        true => "END".to_owned(),
        false => format!("{} {}", e.kind, e.meta.name),
    };
    events.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn watches_are_told_otherwise_too() {
    let (cluster, own) = (Cluster::shared(), own_address());
    let (namespace, node) = ("t-filters-watch", "edge-filters-watch");
    let user = format!("system:node:{node}");
    cluster.user("filters-watch", &user, "system:nodes");
    let labels = json!({ "edge-hub/pool": "w-pool" });
    apply(
        cluster,
        [
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node, "labels": labels } }),
        ],
    );
    let door = Door::with(cluster, namespace, |setup| {
        let setup = reachable(setup, &own).0.set("node_name", node);
        setup.identity(cluster, &user, "filters-watch")
    });
    let kubelet = door.client().agent("kubelet/v1");
    let proxy = door.client().agent("kube-proxy/v1");
    let root = door.maps(&format!(
        "?fieldSelector=metadata.name%3Dkube-root-ca.crt&{WATCH_LIST}"
    ));
    let hub_ca = std::fs::read_to_string(door.hub.ca()).expect("the hub's CA");
    let services = format!("/api/v1/services?{WATCH_LIST}");
    for accept in [JSON, PROTOBUF_WATCH] {
        let told = kubelet.watch(&services, accept).initial(SOON);
        let it = told
            .iter()
            .find(|e| (&*e.meta.namespace, &*e.meta.name) == ("default", "kubernetes"));
        let it = it.expect("default/kubernetes");
        assert!(has(&it.bytes, &own) && it.kind == "ADDED", "{accept}");
        let told = kubelet.watch(&root, accept).initial(SOON);
        assert_eq!(words(&told), "ADDED kube-root-ca.crt, END");
        let ca = match accept {
            JSON => hub_ca.replace('\n', "\\n"),
            _ => hub_ca.clone(),
        };
        assert!(has(&told[0].bytes, &ca), "{accept}");
    }

    // What is for another pool is not there; what comes to be for it goes, and the other way round.
    let ports = |pools: &str| json!({ "edge-hub/nodeport-pools": pools });
    let make = |name: &str, pools: &str| {
        apply(
            cluster,
            [service(namespace, name, "NodePort", &ports(pools), &[])[0].clone()],
        );
    };
    make("here", "w-pool");
    make("there", "elsewhere");
    let path = format!("/api/v1/namespaces/{namespace}/services");
    let mut watches: Vec<Watch> = [JSON, PROTOBUF_WATCH]
        .map(|accept| proxy.watch(&format!("{path}?{WATCH_LIST}"), accept))
        .into();
    let next = |watches: &mut Vec<Watch>, want: &str| {
        let versions = watches.iter_mut().map(|watch| {
            let event = watch.event(SOON);
            assert_eq!(words(std::slice::from_ref(&event)), want);
            event.meta.resource_version
        });
        let versions: Vec<String> = versions.collect();
        // Other tests move the version of the mark.
        assert!(versions[0] == versions[1] || want == "END", "{want}");
        versions[0].clone()
    };
    next(&mut watches, "ADDED here");
    next(&mut watches, "END");
    make("here", "elsewhere");
    let left = next(&mut watches, "DELETED here");
    let now = door.direct().get(&format!("{path}/here")).json();
    assert_eq!(
        now["metadata"]["resourceVersion"],
        json!(left),
        "at the event's own version"
    );
    make("there", "*");
    next(&mut watches, "ADDED there");
    make("there", "w-pool");
    next(&mut watches, "MODIFIED there");
    // What is hidden comes and goes unheard.
    make("here", "nowhere");
    cluster
        .kubectl()
        .run(&["-n", namespace, "delete", "service", "here"])
        .ok();
    watches.iter_mut().for_each(|watch| watch.silent(MOMENT));

    // What is kept is what was told, and the same watch goes on when the link is back.
    door.cut();
    let list = proxy.get(&path).json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
    make("back", "w-pool");
    make("there", "elsewhere");
    make("hidden", "elsewhere");
    door.mend();
    next(&mut watches, "ADDED back");
    next(&mut watches, "DELETED there");
    watches.iter_mut().for_each(|watch| watch.silent(MOMENT));

    // Another pool: the difference is told to who watches.
    let label = [
        "label",
        "--overwrite",
        "node",
        node,
        "edge-hub/pool=elsewhere",
    ];
    cluster.kubectl().run(&label).ok();
    for watch in &mut watches {
        let mut told = [watch.event(SOON), watch.event(SOON), watch.event(SOON)];
        told.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
        assert_eq!(words(&told), "DELETED back, ADDED hidden, ADDED there");
        watch.silent(MOMENT);
    }
    let list = proxy.get(&path).json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2), "{list}");
    // And it is kept so.
    door.cut();
    let list = proxy.get(&path).json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2), "{list}");
}

#[test]
fn what_a_service_asks_for_reaches_open_watches() {
    let cluster = Cluster::shared();
    let (namespace, node) = ("t-news", "edge-news");
    let user = format!("system:node:{node}");
    cluster.user("news", &user, "system:nodes");
    apply(
        cluster,
        [json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node } })],
    );
    let mut door = Door::with(cluster, namespace, |setup| {
        setup
            .set("node_name", node)
            .identity(cluster, &user, "news")
    });
    let none = json!({});
    apply(
        cluster,
        service(namespace, "a", "ClusterIP", &none, &[node, "far"]),
    );
    apply(
        cluster,
        service(namespace, "b", "ClusterIP", &none, &["far"]),
    );
    let proxy = door.client().agent("kube-proxy/v1");
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let version = proxy.get(&path).json()["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .to_owned();
    let plain = format!("{path}?watch=true&resourceVersion={version}");
    let mut old = proxy.watch(&plain, JSON);
    let mut watches: Vec<Watch> = [JSON, PROTOBUF_WATCH]
        .map(|accept| proxy.watch(&format!("{path}?{WATCH_LIST}"), accept))
        .into();
    for watch in &mut watches {
        let told = watch.initial(SOON);
        assert!(
            told[..2].iter().all(|event| on(event, "far")),
            "{}",
            words(&told)
        );
    }
    let annotate = |name: &str, value: &str| {
        cluster
            .kubectl()
            .run(&[
                "-n",
                namespace,
                "annotate",
                "--overwrite",
                "service",
                name,
                value,
            ])
            .ok();
    };
    annotate("a", "edge-hub/topology=node");
    for watch in &mut watches {
        let event = watch.event(SOON);
        assert_eq!(words(std::slice::from_ref(&event)), "MODIFIED a-x");
        assert!(on(&event, node) && !on(&event, "far"));
        watch.silent(MOMENT);
    }
    // Who takes no bookmarks would be led back to an old version.
    let event = old.event(SOON);
    assert!(
        event.kind == "ERROR" && has(&event.bytes, "410"),
        "{event:?}"
    );
    // Who lists before and watches after the change is told, too.
    let list = proxy.get(&path).json();
    assert!(
        !list["items"][0]["endpoints"].to_string().contains("far"),
        "{list}"
    );
    let since = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .to_owned();
    // Once is enough: what it has listed is so.
    let mut again = proxy.watch(&format!("{path}?watch=true&resourceVersion={since}"), JSON);
    again.silent(MOMENT);
    annotate("b", "openyurt.io/topologyKeys=kubernetes.io/hostname");
    for watch in &mut watches {
        let event = watch.event(SOON);
        assert_eq!(words(std::slice::from_ref(&event)), "MODIFIED b-x");
        assert!(!on(&event, "far"));
    }
    let event = again.event(SOON);
    assert!(
        event.kind == "ERROR" && has(&event.bytes, "410"),
        "{event:?}"
    );
    let mut late = proxy.watch(
        &format!("{path}?watch=true&allowWatchBookmarks=true&resourceVersion={since}"),
        JSON,
    );
    let mut told = [late.event(SOON), late.event(SOON)];
    told.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
    assert_eq!(words(&told), "MODIFIED a-x, MODIFIED b-x");
    assert!(told.iter().all(|event| !on(event, "far")));
    // The client is where it was: its bookmark says so.
    let bookmark = late.poll(SOON).expect("a bookmark");
    assert_eq!(
        (&*bookmark.kind, &bookmark.meta.resource_version),
        ("BOOKMARK", &since)
    );

    // A filter that is switched off.
    door.hub.reload("filters", json!(["-servicetopology"]));
    for watch in &mut watches {
        let mut told = [watch.event(SOON), watch.event(SOON)];
        told.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
        assert_eq!(words(&told), "MODIFIED a-x, MODIFIED b-x");
        assert!(told.iter().all(|event| on(event, "far")));
    }
    // A watch of what a filter cannot read.
    door.hub.reload("filters", json!([]));
    until("the filter is on again", SOON, || {
        let list = proxy.get(&path).json();
        (!list["items"][0]["endpoints"].to_string().contains("far")).then_some(())
    });
    let watch = format!("{path}?watch=true&resourceVersion={since}");
    for accept in [
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    ] {
        proxy.call(Call::get(&watch).accept(accept)).expect(502);
    }
}

/// What client-go reads as this program: how many of each, and that JSON and protobuf say the same.
fn read(door: &Door, token: &str, agent: &str) -> BTreeMap<String, u64> {
    let text = kubeconfig(&door.hub.url(), &door.hub.ca(), &User::Token(token));
    let config = door.dir.write(&format!("{agent}.json"), text);
    let mut command = command(&cluster::clients().join("client-go"));
    command
        .arg("read")
        .arg(config)
        .args([agent, &door.namespace]);
    let said = Program::spawn(&mut command).wait(SOON * 3).ok();
    let lines = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let one = |line: Value| {
        let count = line["count"].as_u64().unwrap_or_default();
        (line["name"].as_str().expect("a name").to_owned(), count)
    };
    lines.map(one).collect()
}

/// Objects that each filter has something to do with, many enough for lists that are not held, and large ones.
fn objects(namespace: &str) -> Vec<Value> {
    let topology = |n: usize| match n % 4 {
        0 => json!({ "edge-hub/topology": "node" }),
        1 => json!({ "edge-hub/nodeport-pools": "elsewhere" }),
        2 => json!({ "svc.openyurt.io/discard": "true" }),
        _ => json!({ "note": "x".repeat(200) }),
    };
    let kind = |n: usize| match n % 4 {
        1 => "NodePort",
        2 => "LoadBalancer",
        _ => "ClusterIP",
    };
    let nodes = ["edge-read", "far", "edge-read", "farther"].repeat(12);
    let mut all: Vec<Value> = (0..120)
        .flat_map(|n| {
            service(
                namespace,
                &format!("s{n:03}"),
                kind(n),
                &topology(n),
                &nodes,
            )
        })
        .collect();
    let env = json!([
        { "name": "KUBERNETES_SERVICE_HOST", "value": "10.96.0.1" },
        { "name": "KUBERNETES_SERVICE_PORT", "value": "443" },
        { "name": "KUBERNETES_SERVICE_PORT_HTTPS", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        { "name": "OTHER", "value": "<&>\u{1f600}\n" },
    ]);
    let container = |name: &str| json!({ "name": name, "image": "none", "env": env });
    let meta = |name: &str| json!({ "name": name, "namespace": namespace });
    all.extend([
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": meta("p"),
            "spec": { "containers": [container("a"), container("b")], "initContainers": [container("i")], "nodeName": "nowhere" },
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {
                "name": "t", "namespace": namespace, "annotations": { "kubernetes.io/service-account.name": "default" },
            },
            "type": "kubernetes.io/service-account-token",
        }),
        json!({
            "apiVersion": "v1", "kind": "Endpoints", "metadata": meta("s000"),
            "subsets": [
                { "addresses": [{ "ip": "10.9.1.1", "nodeName": "edge-read" }, { "ip": "10.9.1.2", "nodeName": "far" }], "ports": [{ "port": 80 }] },
                { "addresses": [{ "ip": "10.9.1.3", "nodeName": "far" }], "notReadyAddresses": [{ "ip": "10.9.1.4" }], "ports": [{ "port": 81 }] },
            ],
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "kubernetes", "namespace": "default", "labels": { "kubernetes.io/service-name": "kubernetes" },
            },
            "endpoints": [{ "addresses": ["10.9.2.1"] }, { "addresses": ["10.9.2.2"], "nodeName": "master" }],
            "ports": [{ "name": "https", "port": 6443 }],
        }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("large"), "data": { "x": "y".repeat(150_000) } }),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "kube-proxy", "namespace": "kube-system" },
            "data": { "config.conf": "clientConnection:\n  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\n" },
        }),
    ]);
    all
}

/// On an API server of its own: it counts what is in all namespaces.
fn client_go_reads_the_same(release: Release, namespace: &str) {
    let setup = cluster::Setup {
        release,
        ..cluster::Setup::default()
    };
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(&setup)));
    let (own, node) = (own_address(), "edge-read");
    let user = format!("system:node:{node}");
    cluster.user("read", &user, "system:nodes");
    let labels = json!({ "edge-hub/pool": "read" });
    apply(
        cluster,
        [
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node, "labels": labels } }),
        ],
    );
    let door = Door::with(cluster, namespace, |setup| {
        let all = Filter::ALL.map(|filter| format!("{}=reader", filter.name()));
        let setup = reachable(setup, &own).0.set("node_name", node);
        setup
            .set("filters", json!(all))
            .identity(cluster, &user, "read")
    });
    apply(cluster, objects(namespace));
    let token = cluster.account(namespace, "all", "cluster-admin");
    if let Ok(to) = std::env::var("EDGE_HUB_RECORD") {
        record(cluster, namespace, &to);
    }
    let plain = read(&door, &token, "plain");
    assert!(
        plain["services"] > 120 && plain["endpointslices"] > 120,
        "{plain:?}"
    );
    // Every service has a fourth that is for another pool and one that is for the cloud.
    let mut want = plain.clone();
    want.insert("services".to_owned(), plain["services"] - 60);
    let reader = read(&door, &token, "reader");
    assert_eq!(reader, want);
    // Of what is kept, too.
    door.cut();
    let kept = read(&door, &token, "reader");
    assert_eq!(kept, want);
    assert_eq!(door.hub.metric("edge_hub_not_filtered_total"), 0.0);
}

/// Writes what the API server itself answers, in both encodings: the objects of `tests/objects`.
fn record(cluster: &Cluster, namespace: &str, to: &str) {
    let version = cluster.admin().get("/version").json();
    let to = format!(
        "{to}/{}.{}",
        version["major"].as_str().unwrap_or_default(),
        version["minor"].as_str().unwrap_or_default()
    );
    std::fs::create_dir_all(&to).expect("a folder");
    let slices = "/apis/discovery.k8s.io/v1/namespaces";
    for (name, path) in [
        (
            "service-kubernetes",
            "/api/v1/namespaces/default/services/kubernetes".to_owned(),
        ),
        (
            "service-topology",
            format!("/api/v1/namespaces/{namespace}/services/s000"),
        ),
        (
            "service-node-port",
            format!("/api/v1/namespaces/{namespace}/services/s001"),
        ),
        (
            "service-cloud",
            format!("/api/v1/namespaces/{namespace}/services/s002"),
        ),
        (
            "slice-kubernetes",
            format!("{slices}/default/endpointslices/kubernetes"),
        ),
        (
            "slice-topology",
            format!("{slices}/{namespace}/endpointslices/s000-x"),
        ),
        (
            "endpoints-topology",
            format!("/api/v1/namespaces/{namespace}/endpoints/s000"),
        ),
        (
            "config-map-root-ca",
            format!("/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt"),
        ),
        (
            "config-map-kube-proxy",
            "/api/v1/namespaces/kube-system/configmaps/kube-proxy".to_owned(),
        ),
        ("pod", format!("/api/v1/namespaces/{namespace}/pods/p")),
    ] {
        for (accept, ending) in [(JSON, "json"), (PROTOBUF, "pb")] {
            let got = cluster.admin().call(Call::get(&path).accept(accept));
            match got.status {
                200 => std::fs::write(format!("{to}/{name}.{ending}"), got.body).expect("a file"),
                status => eprintln!("{path}: {status}"),
            }
        }
    }
}

#[test]
fn client_go_reads_the_same_in_both_encodings() {
    client_go_reads_the_same(Release::V1_36, "t-read");
}

#[test]
fn client_go_reads_the_same_of_an_api_server_of_1_34() {
    client_go_reads_the_same(Release::V1_34, "t-read-134");
}

#[test]
fn client_go_reads_the_same_of_an_api_server_of_1_37() {
    client_go_reads_the_same(Release::V1_37, "t-read-137");
}
