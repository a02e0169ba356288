//! A link that comes back to a thousand held watches: the node's own components go first, and a few at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::door::SOON;
use crate::support::http::{Client, JSON, Watch};
use crate::support::hub::Setup;
use crate::support::relay::Relay;
use crate::support::scripted::{Scripted, Step, json};
use crate::support::until;

/// As `limits::RESUMES_MAX`.
const AT_ONCE: usize = 8;
const PROBE_MIN: Duration = Duration::from_millis(400);
const MAPS: &str = "/api/v1/namespaces/n/configmaps";

/// Watches on one connection.
const STREAMS: usize = 200;

/// A server that takes a while for each watch once it is `slow`, so that it is seen how many ask at one time.
fn server(slow: &Arc<AtomicBool>) -> Scripted {
    let slow = Arc::clone(slow);
    Scripted::start(move |asked| match asked.is_watch() {
        false => json(200, "{}"),
        true => vec![
            Step::Wait(match slow.load(Ordering::Relaxed) {
                true => Duration::from_millis(20),
                false => Duration::ZERO,
            }),
            Step::Head(200, vec![("content-type", JSON.to_string())]),
            Step::Hold,
        ],
    })
}

fn watches(client: &Client, count: usize) -> Vec<Watch> {
    let path = format!("{MAPS}?watch=1&resourceVersion=5&timeoutSeconds=3600");
    let mut all = Vec::new();
    while all.len() < count {
        let mut connection = client.connect().expect("a connection");
        let some = STREAMS.min(count - all.len());
        all.extend((0..some).map(|_| connection.watch(&path, JSON)));
    }
    all
}

#[test]
fn pinned_components_go_first_and_a_few_at_a_time() {
    let slow = Arc::new(AtomicBool::new(false));
    let server = server(&slow);
    let relay = Relay::new(server.address);
    let hub = Setup::at(&server.ca, &relay.url())
        .set("probe_min_ms", PROBE_MIN.as_millis() as u64)
        .set("cache_agents", serde_json::json!(["named"]))
        .start();
    hub.sees_online();
    let client = hub.client().bearer("a-token");
    // The least first: it is not by the order in which they came.
    let groups = [
        ("other/1", 600),
        ("named/1", 250),
        ("kubelet/1", 100),
        ("kube-proxy/1", 50),
    ];
    let all: usize = groups.iter().map(|(_, count)| count).sum();
    let held: Vec<Watch> = groups
        .iter()
        .flat_map(|(agent, count)| watches(&client.clone().agent(agent), *count))
        .collect();
    relay.refuse();
    hub.sees_offline();
    until("all are held", SOON, || {
        (hub.metric("edge_hub_watches_held") == all as f64).then_some(())
    });
    let before = server.seen().len();
    server.waiting_most();
    slow.store(true, Ordering::Relaxed);
    let back = Instant::now();
    relay.pass();
    until("all go on", 3 * SOON, || {
        (hub.metric("edge_hub_watches_resumed_total") == all as f64).then_some(())
    });
    let seen = server.seen().split_off(before);
    let asked: Vec<_> = seen.iter().filter(|asked| asked.is_watch()).collect();
    assert_eq!(asked.len(), all, "each asks once");
    let is_pinned = |agent: &str| agent.starts_with("kube");
    let last = |agent: &dyn Fn(&str) -> bool| {
        let place = (0..all).rev().find(|at| agent(&asked[*at].agent));
        place.expect("one at least")
    };
    let (last_pinned, last_named) = (last(&is_pinned), last(&|agent| agent == "named/1"));
    let others = asked.iter().filter(|asked| !is_pinned(&asked.agent));
    let early = others.filter(|other| other.at - back < PROBE_MIN / 2);
    let early = early.count();
    let most = server.waiting_most();
    let took = asked[all - 1].at - asked[0].at;
    println!(
        "{all} in {took:?}, at most {most} at once, the last pinned at place {last_pinned}, the last named at {last_named}, \
         {early} others early"
    );
    assert_eq!(most, AT_ONCE, "at one time");
    // Those that are on their way already when a dearer one comes.
    assert!(last_pinned < 150 + AT_ONCE, "{last_pinned}");
    // Others begin after a quarter of the time over which they are spread, but for those that were on their way already when
    // the link went.
    assert!(early <= AT_ONCE, "{early}");
    drop(held);
}
