//! Clients that take nothing of their watches: these end, and nobody else notices.

use std::time::Duration;

use crate::door::{Door, SOON};
use crate::offline::list_version;
use crate::support::http::{JSON, PROTOBUF_WATCH, Piece, Watch};
use crate::support::until;

const STALLED_SECS: u64 = 3;
/// More than lies in the windows and buffers between the hub and a client, also of small ones.
const EVENTS_MAX: usize = 1500;
/// Bytes of an event that goes to a client in pieces, and of one that does not.
const LONG: usize = 100_000;
const SHORT: usize = 30_000;

/// Makes events until the hub gives somebody up; each one reaches the other before the next is made. All their versions.
#[track_caller]
fn churn(door: &Door, quick: &mut Watch, bytes: usize, given_up: f64) -> Vec<String> {
    let value = "x".repeat(bytes);
    let mut all = Vec::new();
    while door.hub.metric("edge_hub_watches_stalled_total") < given_up {
        assert!(all.len() < EVENTS_MAX, "nobody is given up");
        let version = door.set("one", &format!("{}{value}", all.len()));
        let event = quick.event(SOON);
        assert_eq!(event.meta.resource_version, version);
        all.push(version);
    }
    all
}

#[test]
fn who_takes_nothing_is_given_up_and_nobody_else_waits() {
    let door = Door::with(
        crate::support::cluster::Cluster::shared(),
        "s-stalled",
        |setup| setup.set("stalled_watch_secs", STALLED_SECS),
    );
    door.set("one", "0");
    let path = |from: &str| door.maps(&format!("?watch=1&resourceVersion={from}"));
    for (given_up, (client, accept, bytes)) in [
        (door.client(), JSON, LONG),
        (door.client(), PROTOBUF_WATCH, SHORT),
        (door.client().http1(), JSON, LONG),
        (door.client().http1(), PROTOBUF_WATCH, SHORT),
    ]
    .into_iter()
    .enumerate()
    {
        let from = list_version(&door.client().get(&door.maps("")).expect(200));
        let mut connection = client.connect().expect("a connection");
        let mut slow = connection.watch(&path(&from), accept);
        // Where that can be, on the same connection.
        let mut quick = match client.is_http1() {
            false => connection.share().watch(&path(&from), accept),
            true => client.watch(&path(&from), accept),
        };
        let all = churn(&door, &mut quick, bytes, given_up as f64 + 1.0);
        let streams = || door.hub.metric("edge_hub_upstream_streams");
        until("its watch at the API server is over", SOON, || {
            (streams() == 1.0).then_some(())
        });
        // It wakes up, takes what lies before it, and begins anew from there.
        let (events, end) = slow.rest(SOON);
        let mut seen: Vec<String> = (events.into_iter())
            .filter(|event| event.kind != "BOOKMARK")
            .map(|event| event.meta.resource_version)
            .collect();
        println!("{} of {} events, then {end:?}", seen.len(), all.len());
        match (client.is_http1(), bytes) {
            (true, SHORT) => assert_eq!(end, Piece::End),
            (true, _) => assert!(matches!(end, Piece::Broken(_)), "{end:?}"),
            (false, _) => {
                assert!(
                    matches!(&end, Piece::Broken(why) if why.contains("CANCEL")),
                    "{end:?}"
                );
            }
        }
        assert!(seen.len() < all.len(), "{} of {}", seen.len(), all.len());
        let at = seen.last().unwrap_or(&from).clone();
        let mut again = client.watch(&path(&at), accept);
        while seen.last() != all.last() {
            seen.push(again.event(SOON).meta.resource_version);
        }
        assert_eq!(seen, all);
        drop(again);
        let last = door.set("one", "the other goes on");
        assert_eq!(quick.event(SOON).meta.resource_version, last);
        drop(quick);
        until("nobody watches", SOON, || (streams() == 0.0).then_some(()));
    }
}

#[test]
fn who_pauses_for_a_while_keeps_its_watch() {
    let door = Door::with(
        crate::support::cluster::Cluster::shared(),
        "s-pauses",
        |setup| setup.set("stalled_watch_secs", 15),
    );
    door.set("one", "0");
    let from = list_version(&door.client().get(&door.maps("")).expect(200));
    let path = door.maps(&format!("?watch=1&resourceVersion={from}"));
    for client in [door.client(), door.client().http1()] {
        let mut paused = client.watch(&path, JSON);
        let start = std::time::Instant::now();
        let value = "x".repeat(100_000);
        let mut last = String::new();
        for n in 0..60 {
            last = door.set("one", &format!("{n}{value}"));
        }
        until("it has paused", SOON, || {
            (start.elapsed() > Duration::from_secs(5)).then_some(())
        });
        while paused.event(SOON).meta.resource_version != last {}
        let more = door.set("one", "1");
        assert_eq!(paused.event(SOON).meta.resource_version, more);
    }
    assert_eq!(door.hub.metric("edge_hub_watches_stalled_total"), 0.0);
}
