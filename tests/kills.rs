//! The hub killed at random times under churn from a real API server, and started again without one: every list that it
//! then gives is one that the API server had at exactly that version, and what was on flash once stays there.
//!
//! `EDGE_HUB_TEST_LONG` makes it 500 rounds; `EDGE_HUB_TEST_SEED` repeats the choices of an earlier run.

#[path = "kills/churn.rs"]
mod churn;
#[path = "kills/device.rs"]
mod device;
#[path = "kills/history.rs"]
mod history;
#[path = "kills/readers.rs"]
mod readers;
#[path = "kills/rng.rs"]
mod rng;
#[path = "support/mod.rs"]
mod support;
#[path = "kills/trial.rs"]
mod trial;
#[path = "kills/verdict.rs"]
mod verdict;

use std::time::Duration;

use support::cluster::Cluster;
use support::hub::Setup;
use trial::Trial;

const NAMESPACE: &str = "kills";
/// So many rounds fit into two minutes.
const ROUNDS: usize = 40;
/// What was begun anew has a few rounds without anything on flash yet.
const BEGIN_ANEW_EVERY: usize = 20;
const ROUNDS_LONG: usize = 500;
/// Some kills come before the first list is whole, some after several flushes.
const ALIVE_MS_MAX: u64 = 2_200;
/// Between two writes to the API server, so that others get their turn.
const PACE: Duration = Duration::from_millis(4);
/// A start takes about that long: so a kill finds any part of it.
const STARTING_MS_MAX: u64 = 60;

#[test]
fn what_is_told_after_a_kill_is_what_was() {
    let rounds = match std::env::var_os("EDGE_HUB_TEST_LONG") {
        Some(_) => ROUNDS_LONG,
        None => ROUNDS,
    };
    let cluster = Cluster::shared();
    let mut trial = Trial::start(cluster, NAMESPACE, PACE);
    // Small enough for the oldest segments to be taken again every few rounds.
    let mut hub = Setup::new(cluster, &trial.relay.url())
        .set("cache_max_bytes", 2 << 20)
        .set("daily_write_bytes", 4u64 << 30)
        .set("flush_secs", 1)
        .set("log", "info")
        .start();

    for round in 0..rounds {
        let readers = trial.readers(&hub.client());
        trial.wait_any(ALIVE_MS_MAX);
        hub.kill();
        readers.stop();
        trial.relay.refuse();
        if round % BEGIN_ANEW_EVERY == BEGIN_ANEW_EVERY / 2 {
            std::fs::remove_dir_all(hub.folder("cache_dir")).expect("the cache goes");
            trial.verdict.begin_anew();
        }
        for _ in 0..trial.rng.below(3) {
            hub.spawn();
            trial.wait_any(STARTING_MS_MAX);
            hub.kill();
            trial.verdict.starts_killed += 1;
        }
        hub.run();
        trial.judge(round, &hub.client());
        trial.relay.pass();
    }
    trial.finish(rounds);
}
