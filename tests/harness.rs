//! The harness itself, against the API server directly: what the tests of the hub rely on.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use http::Method;
use serde_json::json;
use support::cluster::{Cluster, Release, Setup, clients, programs};
use support::http::{Call, Client, JSON, PROTOBUF, PROTOBUF_WATCH, Piece};
use support::kubeconfig::User;
use support::program::Program;
use support::relay::Relay;
use support::{TempDir, protobuf};

const SOON: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_millis(300);
const WATCH_LIST: &str =
    "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

#[test]
fn harness_kubectl_and_tokens_through_the_relay() {
    let cluster = Cluster::shared();
    let dir = TempDir::new("kubectl");
    let relay = Relay::new(cluster.address());
    cluster.namespace("h-kubectl");
    let token = cluster.account("h-kubectl", "tester", "edit");
    cluster.config_map("h-kubectl", "one", "key", "value");
    let kubectl = cluster.kubectl_at(&dir, &relay.url(), &cluster.ca(), &User::Token(&token));
    let data = kubectl.json(&["-n", "h-kubectl", "get", "configmap", "one"])["data"]["key"].clone();
    assert_eq!(data, "value");
    let watch = kubectl.start(&["-n", "h-kubectl", "get", "configmaps", "-w", "-o", "name"]);
    watch.line("the first object", SOON, |line| line == "configmap/one");
    cluster.config_map("h-kubectl", "two", "key", "value");
    watch.line("a new object", SOON, |line| line == "configmap/two");
    relay.refuse();
    let errors = kubectl
        .run(&["-n", "h-kubectl", "get", "configmaps"])
        .failed();
    assert!(errors.contains("refused"), "{errors}");
    assert!(relay.accepted() >= 2);
}

#[test]
fn harness_raw_list_and_watch_in_both_encodings() {
    let cluster = Cluster::shared();
    cluster.namespace("h-raw");
    let version = cluster.config_map("h-raw", "one", "key", "value");
    let admin = cluster.admin();
    for client in [admin.clone(), admin.clone().http1()] {
        let path = "/api/v1/namespaces/h-raw/configmaps";
        let list = client.get(path).expect(200).json();
        let whole = client.call(Call::get(path).accept(PROTOBUF)).expect(200);
        assert_eq!(whole.header("content-type"), PROTOBUF);
        let (list_version, items) = protobuf::list(&whole.body);
        let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["kube-root-ca.crt", "one"]);
        assert!(
            list["metadata"]["resourceVersion"].is_string() && list_version.parse::<u64>().is_ok()
        );
        for accept in [JSON, PROTOBUF_WATCH] {
            let mut watch = client.watch(
                &format!("{path}?{WATCH_LIST}&fieldSelector=metadata.name=one"),
                accept,
            );
            let initial = watch.initial(SOON);
            let kinds: Vec<&str> = initial.iter().map(|event| event.kind.as_str()).collect();
            assert_eq!(kinds, ["ADDED", "BOOKMARK"], "{accept}");
            assert_eq!(initial[0].meta.name, "one");
            assert!(
                initial[0]
                    .meta
                    .resource_version
                    .parse::<u64>()
                    .expect("a number")
                    >= version.parse().expect("a number")
            );
            watch.silent(MOMENT);
            let value = format!("{accept}-{:?}", std::time::Instant::now());
            let changed = cluster.config_map("h-raw", "one", "key", &value);
            let event = watch.event(SOON);
            assert_eq!(
                (event.kind.as_str(), event.meta.resource_version),
                ("MODIFIED", changed)
            );
        }
    }
    let created =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "three" } });
    let path = "/api/v1/namespaces/h-raw/configmaps";
    admin
        .call(Call::json(Method::POST, path, &created))
        .expect(201);
    admin
        .call(Call::json(Method::POST, path, &created))
        .expect(409);
    Client::new(cluster.address(), &cluster.ca())
        .get(path)
        .expect(403);
    Client::new(cluster.address(), &cluster.ca())
        .bearer("wrong")
        .get(path)
        .expect(401);
}

#[test]
fn harness_a_watch_through_a_link_that_is_hurt() {
    let cluster = Cluster::shared();
    cluster.namespace("h-link");
    cluster.config_map("h-link", "one", "key", "value");
    let relay = Relay::new(cluster.address());
    let (certificate, key) = cluster.pair("admin");
    let client = Client::new(relay.address(), &cluster.ca()).certificate(&certificate, &key);
    let path = format!(
        "/api/v1/namespaces/h-link/configmaps?{WATCH_LIST}&fieldSelector=metadata.name=one"
    );
    let mut watch = client.watch(&path, JSON);
    watch.initial(SOON);
    relay.black_hole();
    cluster.config_map("h-link", "one", "key", "other");
    watch.silent(MOMENT);
    relay.pass();
    assert_eq!(watch.event(SOON).kind, "MODIFIED");
    relay.cut();
    let end = watch.poll(SOON);
    assert!(matches!(end, Err(Piece::Broken(_))), "{end:?}");
}

/// What `informer` printed, as JSON.
fn printed(program: &Program) -> Vec<serde_json::Value> {
    program
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON lines"))
        .collect()
}

#[test]
fn harness_informer_with_watch_list_on_and_off() {
    let cluster = Cluster::shared();
    cluster.namespace("h-informer");
    let config = cluster.file("admin.kubeconfig");
    for (watch_list, content) in [("on", "protobuf"), ("off", "json")] {
        let informer = Program::start(
            &programs().join("informer"),
            &[
                "--json",
                &format!("--kubeconfig={}", config.display()),
                &format!("--watchlist={watch_list}"),
                &format!("--content={content}"),
                "--namespace=h-informer",
            ],
        );
        informer.line("synced", SOON, |line| line.contains(r#""e":"synced""#));
        let name = format!("made-for-{watch_list}");
        cluster.config_map("h-informer", &name, "key", "value");
        informer.line("the new object", SOON, |line| {
            line.contains(r#""e":"add""#) && line.contains(&name)
        });
        let first = printed(&informer)
            .into_iter()
            .find(|line| line["e"] == "request")
            .expect("a request");
        assert_eq!(
            first["verb"],
            if watch_list == "on" {
                "watchlist"
            } else {
                "list"
            }
        );
    }
}

#[test]
fn harness_kube_rs_with_streaming_and_paged_lists() {
    let cluster = Cluster::shared();
    cluster.namespace("h-kube-rs");
    cluster.config_map("h-kube-rs", "one", "key", "value");
    let config = cluster.file("admin.kubeconfig").display().to_string();
    for how in ["streaming", "paged"] {
        let watcher = Program::start(
            &clients().join("kube-rs-watcher"),
            &[&config, "h-kube-rs", how],
        );
        watcher.line("the first object", SOON, |line| {
            line.contains("init-apply") && line.contains(r#""one""#)
        });
        watcher.line("the first state", SOON, |line| line.contains("init-done"));
        cluster.config_map("h-kube-rs", how, "key", "value");
        watcher.line("the new object", SOON, |line| {
            line.contains(r#""apply""#) && line.contains(how)
        });
    }
}

#[test]
fn harness_the_older_release_and_a_restart() {
    let cluster = Cluster::start(&Setup {
        release: Release::V1_34,
        ..Setup::default()
    });
    let version = cluster.admin().get("/version").expect(200).json();
    assert_eq!(version["gitVersion"], "v1.34.10");
    cluster.script(&["kill", "apiserver"]);
    cluster
        .admin()
        .connect()
        .map(drop)
        .expect_err("nobody listens");
    cluster.script(&["start", "apiserver"]);
    cluster.admin().get("/readyz").expect(200);
}
