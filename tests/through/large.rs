//! 20 000 ConfigMaps: in pages, in one list, in one WatchList, online and kept.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::door::{Door, WATCH_LIST};
use crate::support::cluster::Cluster;
use crate::support::http::{Call, JSON, PROTOBUF, PROTOBUF_WATCH, many};
use crate::support::protobuf;

const OBJECTS: usize = 20_000;
/// How long a stream of them may take on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Walks through all pages and returns how many items came.
fn pages(door: &Door, limit: usize) -> usize {
    let mut connection = door.client().connect().expect("a connection");
    let mut token = String::new();
    let mut items = 0;
    loop {
        let path = door.maps(&format!("?limit={limit}&continue={token}"));
        let page = connection
            .send(Call::get(&path))
            .and_then(crate::support::http::Reply::whole)
            .expect("a page");
        let page: Value = page.expect(200).json();
        items += page["items"].as_array().expect("items").len();
        match page["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => token = next.to_string(),
            _ => return items,
        }
    }
}

#[test]
fn twenty_thousand_config_maps() {
    let cluster = Cluster::shared();
    let door = Door::with(cluster, "large", |setup| {
        setup.set("cache_max_bytes", 96 << 20)
    });
    let calls = (0..OBJECTS).map(|n| {
        let meta = json!({ "name": format!("n{n:05}") });
        let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": { "n": n.to_string() } });
        (Method::POST, door.maps(""), body)
    });
    let statuses = many(&cluster.admin(), 64, calls);
    assert!(statuses.iter().all(|status| *status == 201));
    let all = OBJECTS + 1;

    assert_eq!(pages(&door, 500), all);
    door.cut();
    let kept = door.client().get(&door.maps("?limit=500")).expect(200);
    assert_eq!(kept.json()["items"].as_array().map(Vec::len), Some(all));
    door.mend();

    for (accept, accept_watch) in [(JSON, JSON), (PROTOBUF, PROTOBUF_WATCH)] {
        let online = door
            .client()
            .call(Call::get(&door.maps("")).accept(accept))
            .expect(200);
        door.cut();
        let offline = door
            .client()
            .call(Call::get(&door.maps("")).accept(accept))
            .expect(200);
        let at = (offline.body.iter().zip(online.body.iter())).position(|(a, b)| a != b);
        assert!(
            offline.body == online.body,
            "{accept}: byte for byte, but at {at:?}: {:?} for {:?}",
            at.map(|at| String::from_utf8_lossy(&offline.body[at.saturating_sub(200)..][..300])),
            at.map(|at| String::from_utf8_lossy(&online.body[at.saturating_sub(200)..][..300])),
        );
        let mut watch = door
            .client()
            .watch(&door.maps(&format!("?{WATCH_LIST}")), accept_watch);
        assert_eq!(watch.initial(LONG).len(), all + 1);
        drop(watch);
        door.mend();
        let mut watch = door
            .client()
            .watch(&door.maps(&format!("?{WATCH_LIST}")), accept_watch);
        assert_eq!(watch.initial(LONG).len(), all + 1);
    }
    let offline = door
        .client()
        .call(Call::get(&door.maps("")).accept(PROTOBUF))
        .expect(200);
    assert_eq!(protobuf::list(&offline.body).1.len(), all);
}
