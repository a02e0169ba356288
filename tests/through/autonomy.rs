//! What a kubelet writes while its node has no cloud: each is answered with what is true, so that it neither ends nor hurries.

use http::Method;
use serde_json::{Value, json};

use crate::door::Door;
use crate::local::{NODE, make_node, with_local_port};
use crate::offline::{kept, unknown};
use crate::support::cluster::Cluster;
use crate::support::http::{Call, Client, JSON, PROTOBUF, Whole};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const CSI_NODES: &str = "/apis/storage.k8s.io/v1/csinodes";

fn door(namespace: &str) -> Door {
    let cluster = Cluster::shared();
    make_node(cluster);
    Door::with(cluster, namespace, |setup| {
        with_local_port(setup, cluster).identity(cluster, "system:node:*", "node")
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
