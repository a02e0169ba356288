//! What named programs are told otherwise than the API server says it.

use serde_json::{Value, json};

use crate::door::Door;
use crate::support::cluster::Cluster;
use crate::support::http::{Call, Client, JSON, PROTOBUF};
use crate::support::hub::Setup;
use crate::support::{free_port, protobuf, until};

use super::door::SOON;

/// An address that a hub of this process has for itself.
pub fn own_address() -> String {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let last = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("169.254.{}.{last}", 100 + std::process::id() % 100)
}

/// A hub that pods could reach.
fn reachable(setup: Setup, own: &str) -> (Setup, u16) {
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
