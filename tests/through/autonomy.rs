//! What a kubelet writes while its node has no cloud: each is answered with what is true, so that it neither ends nor hurries.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::door::{Door, SOON, WATCH_LIST};
use crate::local::{NODE, make_node, with_local_port};
use crate::offline::{kept, unknown};
use crate::support::cluster::{Cluster, programs};
use crate::support::http::{Call, Client, Event, JSON, PROTOBUF, Watch, Whole};
use crate::support::kubeconfig::{User, kubeconfig};
use crate::support::program::Program;
use crate::support::until;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const CSI_NODES: &str = "/apis/storage.k8s.io/v1/csinodes";

fn door(namespace: &str) -> Door {
    let cluster = Cluster::shared();
    make_node(cluster);
    Door::with(cluster, namespace, |setup| {
        with_local_port(setup, cluster)
            .identity(cluster, "system:node:*", "node")
            .identity(cluster, "system:kube-proxy", "kube-proxy")
    })
}

/// This node's kubelet, as it comes with its certificate.
fn kubelet(door: &Door) -> Client {
    let (certificate, key) = door.cluster.pair("node");
    let client = door.hub.client().agent("kubelet/v1.36.4");
    client.certificate(&certificate, &key)
}

fn send(client: &Client, method: Method, path: &str, encoding: &str, body: &[u8]) -> Whole {
    let call = Call {
        method,
        body: body.to_vec().into(),
        ..Call::get(path)
    };
    let call = call.accept(encoding).header("content-type", encoding);
    client.call(call)
}

fn send_json(client: &Client, method: Method, path: &str, object: &Value) -> Whole {
    client.call(Call::json(method, path, object))
}

#[test]
fn a_lease_is_answered_as_it_was_sent_and_the_next_reaches_the_cloud() {
    let door = door("a-lease");
    let kubelet = kubelet(&door);
    let path = format!("{LEASES}/edge-1");
    let object = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "edge-1", "namespace": "kube-node-lease" },
        "spec": { "holderIdentity": "edge-1", "leaseDurationSeconds": 40 } });
    let made = send_json(&kubelet, Method::POST, LEASES, &object);
    assert!(matches!(made.status, 201 | 409), "{}", made.text());
    let before = |encoding| kubelet.call(Call::get(&path).accept(encoding)).expect(200);
    let sent = [JSON, PROTOBUF].map(|encoding| (encoding, before(encoding).body));
    send(&kubelet, Method::PUT, &path, JSON, &sent[0].1).expect(200);
    door.cut();
    unknown(&kubelet.get(&path));
    for client in [&kubelet, &door.hub.local().agent("kubelet/v1.36.4")] {
        for (encoding, lease) in &sent {
            let renewed = send(client, Method::PUT, &path, encoding, lease).expect(200);
            assert_eq!(
                (renewed.header("content-type"), &renewed.body),
                (*encoding, lease)
            );
            let told = client.call(Call::get(&path).accept(encoding)).expect(200);
            assert_eq!(&told.body, lease);
            // Who takes another form only is not given this one.
            let other = if *encoding == JSON { PROTOBUF } else { JSON };
            unknown(&client.call(Call::get(&path).accept(other)));
        }
        let (encoding, lease) = &sent[0];
        // Nothing else is so easily said to be done.
        unknown(&send(
            client,
            Method::PUT,
            &format!("{LEASES}/edge-2"),
            encoding,
            lease,
        ));
        unknown(&send(
            client,
            Method::PUT,
            &format!("{path}?dryRun=All"),
            encoding,
            lease,
        ));
        unknown(&send(client, Method::PUT, &path, encoding, b"{}"));
        unknown(&send(client, Method::DELETE, &path, encoding, b""));
        unknown(&send(
            client,
            Method::PUT,
            &path.replace("kube-node-lease", "a-lease"),
            encoding,
            lease,
        ));
    }
    // A pod is no kubelet, and neither is another component.
    let pod = door.client().agent("kubelet/v1.36.4");
    unknown(&send(&pod, Method::PUT, &path, JSON, &sent[0].1));
    unknown(&pod.get(&path));
    door.mend();
    let last = kubelet.get(&path).expect(200);
    let renewed = send(&kubelet, Method::PUT, &path, JSON, &last.body).expect(200);
    let direct = door.cluster.admin().get(&path).expect(200);
    assert_eq!(
        renewed.json()["metadata"]["resourceVersion"],
        direct.json()["metadata"]["resourceVersion"]
    );
    door.cut();
    unknown(&kubelet.get(&path));
}

#[test]
fn a_node_that_is_there_cannot_be_made_again() {
    let door = door("a-node");
    let kubelet = kubelet(&door);
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "edge-1" } });
    let online = send_json(&kubelet, Method::POST, "/api/v1/nodes", &node).expect(409);
    door.cut();
    // It was never told of its node.
    unknown(&send_json(&kubelet, Method::POST, "/api/v1/nodes", &node));
    door.mend();
    kubelet
        .get("/api/v1/nodes?fieldSelector=metadata.name%3Dedge-1")
        .expect(200);
    door.cut();
    let offline = send_json(&kubelet, Method::POST, "/api/v1/nodes", &node).expect(409);
    assert_eq!(offline.json(), online.json());
    kept(&kubelet.get(NODE));
    let other = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "edge-2" } });
    unknown(&send_json(&kubelet, Method::POST, "/api/v1/nodes", &other));
    unknown(&send_json(
        &door.client(),
        Method::POST,
        "/api/v1/nodes",
        &node,
    ));
}

#[test]
fn a_csi_node_is_known_or_not_known_and_never_absent() {
    let door = door("a-csi");
    let kubelet = kubelet(&door);
    let path = format!("{CSI_NODES}/edge-1");
    let object = json!({ "apiVersion": "storage.k8s.io/v1", "kind": "CSINode",
        "metadata": { "name": "edge-1" }, "spec": { "drivers": [] } });
    door.cluster.admin().call(Call {
        method: Method::DELETE,
        ..Call::get(&path)
    });
    kubelet.get(&path).expect(404);
    door.cut();
    unknown(&kubelet.get(&path));
    unknown(&send_json(&kubelet, Method::POST, CSI_NODES, &object));
    door.mend();
    // What it has made it knows, though it never asked for it.
    let made = send_json(&kubelet, Method::POST, CSI_NODES, &object)
        .expect(201)
        .json();
    door.cut();
    let told = kubelet.get(&path);
    kept(&told);
    assert_eq!(told.json(), made);
    unknown(&door.client().get(&path));
    unknown(&send_json(&kubelet, Method::PUT, &path, &made));
}

/// What a kubelet says of a pod when it has put it at this address.
fn pod_is_at(door: &Door, client: &Client, status: &Value) -> Whole {
    let path = format!("/api/v1/namespaces/{}/pods/p/status", door.namespace);
    let body = json!({ "metadata": { "uid": "u-1" }, "status": status });
    client.call(Call {
        headers: vec![("content-type", "application/strategic-merge-patch+json")],
        ..Call::json(Method::PATCH, &path, &body)
    })
}

/// kube-proxy, and where it finds the slices of the namespace.
fn proxy(door: &Door) -> (Client, String) {
    let (certificate, key) = door.cluster.pair("kube-proxy");
    let proxy = door.hub.client().agent("kube-proxy/v1.36.4");
    let slices = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
        door.namespace
    );
    (proxy.certificate(&certificate, &key), slices)
}

#[test]
fn services_lead_to_where_pods_came_up_again() {
    let door = door("a-pod-ip");
    let kubelet = kubelet(&door);
    let (proxy, slices) = proxy(&door);
    let slice = json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "s", "labels": { "kubernetes.io/service-name": "s" } },
        "endpoints": [{ "addresses": ["10.9.0.1"], "nodeName": "edge-1", "conditions": { "ready": true },
            "targetRef": { "kind": "Pod", "name": "p", "namespace": door.namespace, "uid": "u-1" } }] });
    send_json(&door.cluster.admin(), Method::POST, &slices, &slice).expect(201);
    let list = |encoding| proxy.call(Call::get(&slices).accept(encoding));
    let is_at = |ip: &str| {
        [JSON, PROTOBUF].iter().all(|encoding| {
            let body = list(encoding).expect(200).body;
            body.windows(ip.len()).any(|part| part == ip.as_bytes())
        })
    };
    assert!(is_at("10.9.0.1"));
    let version = list(JSON).json()["metadata"]["resourceVersion"].clone();
    let version = version.as_str().expect("a version");
    let watch = format!("{slices}?watch=1&allowWatchBookmarks=true&resourceVersion={version}");
    let mut watch = proxy.watch(&watch, JSON);
    door.cut();
    let moved_to = |ip: &str| json!({ "podIP": ip, "podIPs": [{ "ip": ip }], "conditions": [{ "type": "Ready", "status": "True" }] });
    let mut is_told = |ip: &str| {
        let event = watch.event(SOON);
        assert_eq!(
            (event.kind.as_str(), addresses(&event)),
            ("MODIFIED", json!([ip]))
        );
        // It goes on where it was, and not at what it was told again.
        let event = watch.poll(SOON).expect("an event");
        assert_eq!(
            (event.kind.as_str(), &*event.meta.resource_version),
            ("BOOKMARK", version)
        );
    };
    // It is not taken, and the kubelet is told so.
    unknown(&pod_is_at(&door, &kubelet, &moved_to("10.9.0.7")));
    is_told("10.9.0.7");
    assert!(is_at("10.9.0.7"));
    assert_eq!(
        (
            door.hub.metric("edge_hub_pods_reported"),
            door.hub.metric("edge_hub_pods_unready")
        ),
        (1.0, 0.0)
    );
    // Where pods are, no pod says.
    unknown(&pod_is_at(
        &door,
        &door.client().agent("kubelet/v1.36.4"),
        &moved_to("10.9.0.8"),
    ));
    unknown(&pod_is_at(&door, &proxy, &moved_to("10.9.0.8")));
    unknown(&pod_is_at(
        &door,
        &kubelet,
        &json!({ "conditions": [{ "type": "Ready", "status": "False" }] }),
    ));
    is_told("10.9.0.1");
    assert_eq!(door.hub.metric("edge_hub_pods_unready"), 1.0);
    unknown(&pod_is_at(&door, &kubelet, &moved_to("10.9.0.9")));
    is_told("10.9.0.9");
    // A program that starts now is told the same.
    let mut late = proxy.watch(&format!("{slices}?{}", crate::door::WATCH_LIST), JSON);
    let initial = late.initial(SOON);
    assert_eq!(addresses(&initial[0]), json!(["10.9.0.9"]));
    door.mend();
    assert!(
        is_at("10.9.0.9"),
        "the kubelet needs a moment to tell the API server"
    );
    until(
        "what the API server says counts again",
        Duration::from_secs(60),
        || is_at("10.9.0.1").then_some(()),
    );
    is_told_at_last(&mut watch, "10.9.0.1");
    is_told_at_last(&mut late, "10.9.0.1");
}

/// A pod was not ready when the cloud heard of it last, and is now: its Services lead to it again.
#[test]
fn services_lead_to_pods_that_are_ready_again() {
    let door = door("a-pod-ready");
    let kubelet = kubelet(&door);
    let (proxy, slices) = proxy(&door);
    let not_ready = json!({ "ready": false, "serving": false, "terminating": false });
    let slice = json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "s", "labels": { "kubernetes.io/service-name": "s" } },
        "endpoints": [{ "addresses": ["10.9.0.1"], "nodeName": "edge-1", "conditions": not_ready,
            "targetRef": { "kind": "Pod", "name": "p", "namespace": door.namespace, "uid": "u-1" } }] });
    send_json(&door.cluster.admin(), Method::POST, &slices, &slice).expect(201);
    let conditions = || proxy.get(&slices).json()["items"][0]["endpoints"][0]["conditions"].clone();
    assert_eq!(conditions(), not_ready);
    door.cut();
    assert_eq!(conditions(), not_ready);
    let says = |status: &str| {
        let status = json!({ "conditions": [{ "type": "Ready", "status": status }] });
        unknown(&pod_is_at(&door, &kubelet, &status));
    };
    says("True");
    let ready = json!({ "ready": true, "serving": true, "terminating": false });
    assert_eq!(conditions(), ready);
    says("False");
    assert_eq!(conditions(), not_ready);
    says("True");
    door.mend();
    assert_eq!(
        conditions(),
        ready,
        "the kubelet needs a moment to tell the API server"
    );
    until(
        "what the API server says counts again",
        Duration::from_secs(60),
        || (conditions() == not_ready).then_some(()),
    );
}

/// In an outage the cloud gives up the node and calls its pods unready. Services lead to them all the same, until the kubelet
/// says otherwise.
#[test]
fn services_lead_to_pods_that_the_cloud_has_given_up() {
    let door = door("a-pod-given-up");
    let kubelet = kubelet(&door);
    let admin = door.cluster.admin();
    let pods = format!("/api/v1/namespaces/{}/pods", door.namespace);
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
        "spec": { "nodeName": "edge-1", "containers": [{ "name": "c", "image": "i" }] } });
    let made = send_json(&admin, Method::POST, &pods, &pod)
        .expect(201)
        .json();
    let uid = &made["metadata"]["uid"];
    let is_ready = |client: &Client, ready: bool| {
        let status = if ready { "True" } else { "False" };
        let patch = json!({ "metadata": { "uid": uid },
            "status": { "conditions": [{ "type": "Ready", "status": status }] } });
        client.call(Call {
            headers: vec![("content-type", "application/strategic-merge-patch+json")],
            ..Call::json(Method::PATCH, &format!("{pods}/p/status"), &patch)
        })
    };
    is_ready(&kubelet, true).expect(200);
    let all = "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-1";
    kubelet.get(all).expect(200);
    let (proxy, slices) = proxy(&door);
    let slice = |ready: bool| {
        json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": "s", "labels": { "kubernetes.io/service-name": "s" } },
            "endpoints": [{ "addresses": ["10.9.0.1"], "nodeName": "edge-1",
                "conditions": { "ready": ready, "serving": ready, "terminating": false },
                "targetRef": { "kind": "Pod", "name": "p", "namespace": door.namespace, "uid": uid } }] })
    };
    send_json(&admin, Method::POST, &slices, &slice(true)).expect(201);
    let leads_there =
        || proxy.get(&slices).json()["items"][0]["endpoints"][0]["conditions"]["ready"].clone();
    assert_eq!(leads_there(), true);
    let mut watch = proxy.watch(&format!("{slices}?{WATCH_LIST}"), JSON);
    watch.initial(SOON);
    door.cut();
    is_ready(&admin, false).expect(200);
    let path = format!("{slices}/s");
    send_json(&admin, Method::PUT, &path, &slice(false)).expect(200);
    door.mend();
    assert_eq!(leads_there(), true);
    let mut last = slice(true);
    last["metadata"]["labels"]["mark"] = json!("1");
    send_json(&admin, Method::PUT, &path, &last).expect(200);
    loop {
        let event: Value = serde_json::from_slice(&watch.event(SOON).bytes).expect("JSON");
        let object = &event["object"];
        assert_eq!(
            object["endpoints"][0]["conditions"]["ready"], true,
            "{event}"
        );
        if object["metadata"]["labels"]["mark"] == "1" {
            break;
        }
    }
    // It is the kubelet that knows.
    send_json(&admin, Method::PUT, &path, &slice(false)).expect(200);
    assert_eq!(leads_there(), true);
    is_ready(&kubelet, false).expect(200);
    until("what the kubelet says counts", SOON, || {
        (leads_there() == false).then_some(())
    });
}

/// Those of the first endpoint of a slice.
fn addresses(event: &Event) -> Value {
    let event: Value = serde_json::from_slice(&event.bytes).expect("JSON");
    event["object"]["endpoints"][0]["addresses"].clone()
}

/// Whatever else comes before it.
fn is_told_at_last(watch: &mut Watch, ip: &str) {
    loop {
        let event = watch.event(SOON);
        if event.kind == "MODIFIED" && addresses(&event) == json!([ip]) {
            return;
        }
    }
}

#[test]
fn events_wait_for_the_cloud_and_tell_when_they_happened() {
    let mut door = door("a-event");
    let events = "/api/v1/namespaces/a-event/events";
    let event = |name: &str, count: u32, last: &str| {
        json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": name, "namespace": "a-event" },
            "involvedObject": { "kind": "Pod", "namespace": "a-event", "name": "p" }, "reason": "Started",
            "message": "Started", "type": "Normal", "source": { "component": "kubelet", "host": "edge-1" },
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": last, "count": count })
    };
    let of_proxy = json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": { "name": "proxy", "namespace": "a-event" }, "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "kube-proxy", "reportingInstance": "edge-1", "action": "Starting", "reason": "Starting",
        "type": "Normal", "regarding": { "kind": "Pod", "namespace": "a-event", "name": "p" } });
    let proxys = "/apis/events.k8s.io/v1/namespaces/a-event/events";
    let again = |client: &Client, name: &str| {
        let path = format!("{events}/{name}");
        client.call(Call {
            headers: vec![("content-type", "application/strategic-merge-patch+json")],
            ..Call::json(Method::PATCH, &path, &json!({ "count": 2 }))
        })
    };
    let kubelet = kubelet(&door);
    let before = event("before", 1, "2026-01-01T00:00:00Z");
    send_json(&kubelet, Method::POST, events, &before).expect(201);
    door.cut();
    let first = event("x", 1, "2026-01-01T00:00:00Z");
    let told = send_json(&kubelet, Method::POST, events, &first).expect(201);
    assert_eq!(told.json(), first);
    // What waits the API server does not have, and a client then posts it anew; of others that is not known.
    assert_eq!(
        again(&kubelet, "x").expect(404).json()["reason"],
        "NotFound"
    );
    unknown(&again(&kubelet, "before"));
    let counted = event("x", 2, "2026-01-02T00:00:00Z");
    send_json(&kubelet, Method::POST, events, &counted).expect(201);
    let (certificate, key) = door.cluster.pair("kube-proxy");
    let proxy = door
        .hub
        .client()
        .agent("kube-proxy/v1.36.4")
        .certificate(&certificate, &key);
    send_json(&proxy, Method::POST, proxys, &of_proxy).expect(201);
    // Nobody could post these later, or they are none.
    unknown(&send_json(
        &door.client(),
        Method::POST,
        events,
        &event("y", 1, "2026-01-01T00:00:00Z"),
    ));
    unknown(&send_json(
        &kubelet,
        Method::POST,
        events,
        &json!({ "kind": "Event", "apiVersion": "v1", "metadata": {} }),
    ));
    unknown(&send_json(
        &kubelet,
        Method::POST,
        &events.replace("a-event", "default"),
        &first,
    ));
    assert_eq!(door.hub.metric("edge_hub_events_waiting"), 2.0);

    door.hub.terminate(SOON);
    door.hub.run();
    door.hub.sees_offline();
    assert_eq!(
        door.hub.metric("edge_hub_events_waiting"),
        2.0,
        "a restart forgets none"
    );
    door.mend();
    until("nothing waits any more", SOON, || {
        (door.hub.metric("edge_hub_events_waiting") == 0.0).then_some(())
    });
    assert_eq!(door.hub.metric("edge_hub_events_posted_total"), 2.0);
    let posted = door
        .cluster
        .admin()
        .get(&format!("{events}/x"))
        .expect(200)
        .json();
    for field in [
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "source",
        "message",
    ] {
        assert_eq!(posted[field], counted[field], "{field}");
    }
    let posted = door
        .cluster
        .admin()
        .get(&format!("{proxys}/proxy"))
        .expect(200)
        .json();
    assert_eq!(posted["eventTime"], of_proxy["eventTime"]);
}

/// The lists of programs that every node has, with their exact selectors, begun by client-go while there is no cloud.
#[test]
fn what_a_node_consists_of_starts_without_the_cloud() {
    let door = Door::new("a-starts");
    let token = door.cluster.account("a-starts", "cni", "cluster-admin");
    let text = kubeconfig(&door.hub.url(), &door.hub.ca(), &User::Token(&token));
    let config = door.dir.write("cni.json", text);
    let living = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown";
    let programs_of_nodes = [
        (
            "coredns/1.12",
            "services,namespaces,discovery.k8s.io/v1/endpointslices",
            "",
        ),
        ("coredns/1.12", "pods", living),
        ("flanneld/0.27", "nodes", ""),
        (
            "calico-node/3.30",
            "nodes,pods,namespaces,serviceaccounts,networking.k8s.io/v1/networkpolicies",
            "",
        ),
    ];
    let all_sync = || {
        for (agent, resources, fields) in programs_of_nodes {
            for watch_list in ["on", "off"] {
                let args = [
                    format!("--kubeconfig={}", config.display()),
                    format!("--user-agent={agent}"),
                    format!("--resource={resources}"),
                    format!("--field-selector={fields}"),
                    format!("--watchlist={watch_list}"),
                    "--exit-on-sync".to_string(),
                    "--for=30s".to_string(),
                ];
                Program::start(&programs().join("informer"), &args)
                    .wait(SOON * 2)
                    .ok();
            }
        }
    };
    all_sync();
    door.cut();
    all_sync();
}
