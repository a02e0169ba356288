//! The hub killed at random times under churn from a real API server, and started again without one: every list that it
//! then gives is one that the API server had at exactly that version, and what was on flash once stays there.
//!
//! `EDGE_HUB_TEST_LONG` makes it 500 rounds; `EDGE_HUB_TEST_SEED` repeats the choices of an earlier run.

#[path = "kills/churn.rs"]
mod churn;
#[path = "kills/history.rs"]
mod history;
#[path = "kills/readers.rs"]
mod readers;
#[path = "kills/rng.rs"]
mod rng;
#[path = "support/mod.rs"]
mod support;
#[path = "kills/verdict.rs"]
mod verdict;

use std::time::{Duration, Instant};

use churn::Churn;
use history::{History, KINDS};
use readers::Readers;
use rng::Rng;
use support::cluster::Cluster;
use support::hub::Setup;
use support::relay::Relay;
use verdict::Verdict;

const NAMESPACE: &str = "kills";
/// So many rounds fit into two minutes.
const ROUNDS: usize = 40;
/// What was begun anew has a few rounds without anything on flash yet.
const BEGIN_ANEW_EVERY: usize = 20;
const ROUNDS_LONG: usize = 500;
/// Some kills come before the first list is whole, some after several flushes.
const ALIVE_MS_MAX: u64 = 2_200;
/// A start takes about that long: so a kill finds any part of it.
const STARTING_MS_MAX: u64 = 60;

#[test]
fn what_is_told_after_a_kill_is_what_was() {
    let rounds = match std::env::var_os("EDGE_HUB_TEST_LONG") {
        Some(_) => ROUNDS_LONG,
        None => ROUNDS,
    };
    let mut rng = Rng::new();
    println!("EDGE_HUB_TEST_SEED={}", rng.seed());
    let start = Instant::now();

    let cluster = Cluster::shared();
    cluster.namespace(NAMESPACE);
    let token = cluster.account(NAMESPACE, "tester", "edit");
    let histories = KINDS.map(|kind| History::start(cluster, NAMESPACE, kind));
    let churn = Churn::start(cluster, NAMESPACE, rng.fork());
    let relay = Relay::new(cluster.address());
    // Small enough for the oldest segments to be taken again every few rounds.
    let mut hub = Setup::new(cluster, &relay.url())
        .set("cache_max_bytes", 2 << 20)
        .set("daily_write_bytes", 4u64 << 30)
        .set("flush_secs", 1)
        .set("log", "info")
        .start();

    let mut verdict = Verdict::default();
    for round in 0..rounds {
        let readers = Readers::start(&hub, &token, NAMESPACE, rng.fork());
        std::thread::sleep(Duration::from_millis(rng.below(ALIVE_MS_MAX)));
        hub.kill();
        readers.stop();
        relay.refuse();
        if round % BEGIN_ANEW_EVERY == BEGIN_ANEW_EVERY / 2 {
            std::fs::remove_dir_all(hub.folder("cache_dir")).expect("the cache goes");
            verdict.begin_anew();
        }
        for _ in 0..rng.below(3) {
            hub.spawn();
            std::thread::sleep(Duration::from_millis(rng.below(STARTING_MS_MAX)));
            hub.kill();
            verdict.starts_killed += 1;
        }
        hub.run();
        let told = readers::ask(&hub, &token, NAMESPACE, &mut rng);
        // What is written now is later than all that the hub can have been told.
        for history in &histories {
            history.wait_for(churn::fence(cluster, NAMESPACE, history.kind()));
        }
        verdict.judge(round, &histories, told);
        relay.pass();
    }
    println!(
        "{rounds} rounds in {} s: {verdict}",
        start.elapsed().as_secs()
    );
    println!(
        "{} writes, seen: {}",
        churn.stop(),
        histories.map(|h| h.len().to_string()).join(" + ")
    );
    verdict.finish(rounds);
}
