//! 20 000 ConfigMaps: in pages, in one list, in one WatchList, online and kept.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::door::{Door, WATCH_LIST};
use crate::filters::{own_address, reachable};
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

/// What a filtered list may add to the hub's memory: a list on its way out is held in pieces, and of its items one.
const FILTERED_BYTES_MAX: u64 = 6 << 20;

/// 20 MB of ConfigMaps, each looked at by a filter, one of them changed.
#[test]
fn a_list_is_filtered_item_by_item() {
    let own = own_address();
    let door = Door::with(Cluster::shared(), "large-filtered", |setup| {
        reachable(setup, &own).0.set("cache_max_bytes", 8 << 20)
    });
    let value: String = (0..100_000_u64)
        .map(|n| char::from(b'!' + (n * n % 94) as u8))
        .filter(|c| !r#""\<>&"#.contains(*c))
        .collect();
    let calls = (0..210).map(|n| {
        let meta = json!({ "name": format!("n{n:03}") });
        let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": { "key": format!("{n}{value}") } });
        (Method::POST, door.maps(""), body)
    });
    let statuses = many(&door.cluster.admin(), 8, calls);
    assert!(statuses.iter().all(|status| *status == 201));
    let kubelet = door.client().agent("kubelet/v1.36.4");
    let hub_ca = std::fs::read_to_string(door.hub.ca()).expect("the hub's CA");
    let of_hub = hub_ca.lines().nth(1).expect("PEM");
    // The first one makes what later ones use again.
    kubelet.get(&door.maps("?limit=3")).expect(200);
    for accept in [JSON, PROTOBUF] {
        let before = resident(&door, "VmRSS");
        std::fs::write(format!("/proc/{}/clear_refs", door.hub.pid()), "5").expect("the right to");
        let list = kubelet
            .call(Call::get(&door.maps("")).accept(accept))
            .expect(200);
        let grown = resident(&door, "VmHWM").saturating_sub(before);
        let len = list.body.len();
        println!("{accept}: {len} bytes, {grown} more in memory");
        assert!(len > 18_000_000, "{len}");
        let told = list
            .body
            .windows(of_hub.len())
            .filter(|part| *part == of_hub.as_bytes());
        assert_eq!(told.count(), 1, "the filter has changed the one");
        assert!(grown < FILTERED_BYTES_MAX, "{accept}: {grown}");
    }
}

/// What the hub has in memory, in bytes, by this line of its status.
fn resident(door: &Door, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", door.hub.pid()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|it| it.strip_prefix(line));
    let kib = line.and_then(|it| {
        it.trim_matches([':', ' ', '\t', 'k', 'B'])
            .parse::<u64>()
            .ok()
    });
    kib.expect("KiB") << 10
}
