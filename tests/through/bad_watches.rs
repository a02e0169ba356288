//! API servers whose watches are not as they should be: compressed though nobody asked for that, torn, garbled, forgotten
//! again and again. What the client gets is what was said, or an end that it sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::door::{MOMENT, SOON};
use crate::support::http::{Call, Client, JSON, Piece};
use crate::support::hub::{Hub, Setup};
use crate::support::relay::Relay;
use crate::support::scripted::{Scripted, Seen, Step, gzip, json};
use crate::support::{throughout, until};

const MAPS: &str = "/api/v1/namespaces/n/configmaps";

fn item(name: &str, version: u64) -> String {
    format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"n","resourceVersion":"{version}"}}}}"#
    )
}

fn event(kind: &str, name: &str, version: u64) -> Vec<u8> {
    format!(
        "{{\"type\":\"{kind}\",\"object\":{}}}\n",
        item(name, version)
    )
    .into_bytes()
}

fn expired() -> Vec<u8> {
    let status = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}"#;
    format!("{{\"type\":\"ERROR\",\"object\":{status}}}\n").into_bytes()
}

/// `a` at 3 and `b` at 4, all of it at this version.
fn list(version: u64) -> String {
    format!(
        r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}},"items":[{},{}]}}"#,
        item("a", 3),
        item("b", 4)
    )
}

fn is_json(headers: &[(&'static str, &str)]) -> Step {
    let mut all = vec![("content-type", JSON.to_string())];
    all.extend(
        headers
            .iter()
            .map(|(name, value)| (*name, value.to_string())),
    );
    Step::Head(200, all)
}

struct Bad {
    hub: Hub,
    relay: Relay,
    server: Scripted,
}

impl Bad {
    /// A list at 5, and the watches as `watch` says, which is told the number of the watch.
    fn new(watch: impl Fn(&Seen, usize) -> Vec<Step> + Send + Sync + 'static) -> Bad {
        let count = Arc::new(AtomicUsize::new(0));
        Bad::with(move |asked| match asked.is_watch() {
            true => watch(asked, count.fetch_add(1, Ordering::Relaxed)),
            false if asked.target.starts_with(MAPS) => json(200, list(5)),
            false => json(200, "{}"),
        })
    }

    fn with(script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Bad {
        let server = Scripted::start(script);
        let relay = Relay::new(server.address);
        let hub = Setup::at(&server.ca, &relay.url()).start();
        hub.sees_online();
        let bad = Bad { hub, relay, server };
        // What comes before the token is known goes by HTTP/1.1.
        bad.client().get("/version").expect(200);
        bad
    }

    fn client(&self) -> Client {
        self.hub.client().bearer("a-token")
    }

    fn cut(&self) {
        self.relay.refuse();
        self.hub.sees_offline();
    }

    fn watches_asked(&self) -> usize {
        self.server
            .seen()
            .iter()
            .filter(|asked| asked.is_watch())
            .count()
    }
}

fn watch_from(version: u64) -> String {
    format!("{MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=3600")
}

/// Member by member, as 1.37 compresses watch lists.
#[test]
fn a_watch_that_is_compressed_though_nobody_asked_passes_as_it_came() {
    let members = [
        gzip(&event("ADDED", "c", 6)),
        gzip(&event("MODIFIED", "c", 7)),
    ];
    let third = gzip(&event("DELETED", "c", 8));
    let all = members.concat();
    let told = all.clone();
    let bad = Bad::new(move |_, _| {
        vec![
            is_json(&[("content-encoding", "gzip")]),
            Step::Data(told.clone()),
            Step::Gate(1),
            Step::Data(third[..20].to_vec()),
            Step::Hold,
        ]
    });
    let client = bad.client();
    client.get(MAPS).expect(200);
    for (number, client) in [client.clone(), client.clone().http1()]
        .into_iter()
        .enumerate()
    {
        // That the client would take it, the server is not told.
        let path = watch_from(5);
        let call = Call::get(&path).header("accept-encoding", "gzip");
        let mut reply = client.send(call).expect("an answer");
        assert_eq!(
            (reply.status, reply.header("content-encoding")),
            (200, "gzip")
        );
        let mut got = Vec::new();
        while got.len() < all.len() {
            match reply.next(SOON) {
                Piece::Data(data) => got.extend(data),
                end => panic!("{end:?} after {got:?}"),
            }
        }
        assert_eq!(got, all);
        // A member is torn: that shows, and nothing is put behind it.
        bad.server.open();
        until("a part of a member", SOON, || match reply.next(MOMENT) {
            Piece::Data(data) => Some(data.len()),
            _ => None,
        });
        bad.cut();
        assert!(matches!(reply.next(SOON), Piece::Broken(_)), "{number}");
        assert_eq!(bad.hub.metric("edge_hub_watches_held"), 0.0);
        // What was in it is not kept, and what was kept is as it was.
        let kept = client.get(MAPS).expect(200);
        assert_eq!(kept.json()["metadata"]["resourceVersion"], "5");
        assert_eq!(kept.json()["items"].as_array().expect("a list").len(), 2);
        bad.relay.pass();
        bad.hub.sees_online();
    }
}

/// The first one was plain, and that is what the client reads.
#[test]
fn a_watch_that_goes_on_compressed_ends() {
    let bad = Bad::new(|_, number| match number {
        0 => vec![is_json(&[]), Step::Data(event("ADDED", "c", 6)), Step::Hold],
        _ => vec![
            is_json(&[("content-encoding", "gzip")]),
            Step::Data(gzip(&event("MODIFIED", "c", 7))),
            Step::Hold,
        ],
    });
    let mut watch = bad.client().watch(&watch_from(5), JSON);
    assert_eq!(watch.event(SOON).meta.resource_version, "6");
    bad.cut();
    bad.relay.pass();
    assert_eq!(watch.poll(SOON), Err(Piece::End));
}

#[test]
fn a_list_of_several_members_is_kept_and_a_torn_one_is_not() {
    let text = list(5);
    let (first, second) = text.split_at(text.len() / 2);
    let whole = [gzip(first.as_bytes()), gzip(second.as_bytes())].concat();
    let sent = whole.clone();
    let bad = Bad::with(move |asked| match asked.target.as_str() {
        MAPS => vec![
            is_json(&[("content-encoding", "gzip")]),
            Step::Data(sent[..30].to_vec()),
            Step::Wait(Duration::from_millis(50)),
            Step::Data(sent[30..].to_vec()),
        ],
        // Its end looks like one, and is none.
        target if target.starts_with("/api/v1/namespaces/torn") => vec![
            is_json(&[("content-encoding", "gzip")]),
            Step::Data(sent[..sent.len() - 9].to_vec()),
        ],
        _ => json(200, "{}"),
    });
    let client = bad.client();
    let call = || Call::get(MAPS).header("accept-encoding", "gzip");
    let online = client.call(call()).expect(200);
    assert_eq!(
        (online.header("content-encoding"), &online.body),
        ("gzip", &whole)
    );
    client.get("/api/v1/namespaces/torn/configmaps").expect(200);
    bad.cut();
    let kept = client.call(call()).expect(200);
    assert_eq!(kept.header("content-encoding"), "");
    let (got, want): (serde_json::Value, serde_json::Value) =
        (kept.json(), serde_json::from_str(&text).expect("JSON"));
    assert_eq!(got, want);
    client.get("/api/v1/namespaces/torn/configmaps").expect(503);
}

/// Nobody can say what the client was told by it: it gets it, and the cut ends the watch.
#[test]
fn an_event_that_cannot_be_read_passes_and_the_cut_ends_the_watch() {
    for garbled in [
        "{\"type\":\"MODIFIED\",\"object\":{\n",
        "no JSON at all\n",
        "{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"resourceVersion\":7}}}\n",
        "\u{0}\n",
        "[]\n",
    ] {
        let bad = Bad::new(move |_, _| {
            vec![
                is_json(&[]),
                Step::Data(event("ADDED", "c", 6)),
                Step::Data(garbled.as_bytes().to_vec()),
                Step::Hold,
            ]
        });
        bad.client().get(MAPS).expect(200);
        let mut reply = bad
            .client()
            .send(Call::get(&watch_from(5)))
            .expect("an answer");
        let want = [event("ADDED", "c", 6), garbled.as_bytes().to_vec()].concat();
        let mut got = Vec::new();
        while got.len() < want.len() {
            match reply.next(SOON) {
                Piece::Data(data) => got.extend(data),
                end => panic!("{end:?}"),
            }
        }
        assert_eq!(got, want);
        bad.cut();
        assert_eq!(reply.next(SOON), Piece::End, "{garbled}");
        // The event before is kept, and nothing behind it.
        let kept = bad.client().get(MAPS).expect(200);
        assert_eq!(kept.json()["metadata"]["resourceVersion"], "6", "{garbled}");
    }
}

/// Each watch is told at once that its version is forgotten, and each list is at a version that is forgotten as well.
#[test]
fn a_server_that_forgets_all_the_time_is_not_asked_all_the_time() {
    let bad = Bad::new(|_, number| match number {
        0 => vec![is_json(&[]), Step::Data(event("ADDED", "c", 6)), Step::Hold],
        _ => vec![is_json(&[]), Step::Data(expired())],
    });
    let client = bad.client();
    client.get(MAPS).expect(200);
    let mut watch = client.watch(&watch_from(5), JSON);
    assert_eq!(watch.event(SOON).meta.resource_version, "6");
    bad.cut();
    bad.relay.pass();
    bad.hub.sees_online();
    // The list that it goes by is older than what the client was told: etcd was restored, and the client must list.
    let error = watch.event(SOON);
    assert_eq!(error.kind, "ERROR");
    assert_eq!(watch.poll(SOON), Err(Piece::End));
    // And one that is told the difference each time, at the same version.
    let forgets = Bad::new(|_, number| match number {
        0 => vec![is_json(&[]), Step::Hold],
        _ => vec![is_json(&[]), Step::Data(expired())],
    });
    forgets.client().get(MAPS).expect(200);
    let mut watch = forgets.client().watch(&watch_from(5), JSON);
    forgets.cut();
    forgets.relay.pass();
    forgets.hub.sees_online();
    let before = forgets.watches_asked();
    throughout("it goes on", Duration::from_secs(5), || {
        matches!(watch.poll(MOMENT), Err(Piece::Nothing) | Ok(_))
    });
    // Waits of up to half a second each, a quarter of one on the average, once it has seen that it is in vain.
    let asked = forgets.watches_asked() - before;
    println!("asked {asked} times in 5 s");
    assert!((2..60).contains(&asked), "{asked} times");
}

#[test]
fn a_watch_that_breaks_at_once_is_not_asked_for_all_the_time() {
    let bad = Bad::new(|_, number| match number {
        0 => vec![is_json(&[]), Step::Data(event("ADDED", "c", 6)), Step::Hold],
        _ => vec![is_json(&[]), Step::Reset],
    });
    let mut watch = bad.client().watch(&watch_from(5), JSON);
    assert_eq!(watch.event(SOON).meta.resource_version, "6");
    bad.cut();
    bad.relay.pass();
    bad.hub.sees_online();
    let before = bad.watches_asked();
    watch.silent(Duration::from_secs(5));
    let asked = bad.watches_asked() - before;
    println!("asked {asked} times in 5 s");
    assert!((2..60).contains(&asked), "{asked} times");
}
