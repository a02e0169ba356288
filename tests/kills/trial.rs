//! What every trial has: an API server under churn, what it had when, a link to it, and a verdict.

use std::time::{Duration, Instant};

use crate::churn::{self, Churn};
use crate::history::{History, KINDS};
use crate::readers::{self, Readers};
use crate::rng::Rng;
use crate::support::cluster::Cluster;
use crate::support::http::Client;
use crate::support::relay::Relay;
use crate::verdict::Verdict;

pub struct Trial<'c> {
    pub rng: Rng,
    pub relay: Relay,
    pub verdict: Verdict,
    cluster: &'c Cluster,
    namespace: &'static str,
    token: String,
    histories: [History; KINDS.len()],
    churn: Churn,
    start: Instant,
}

impl<'c> Trial<'c> {
    /// `pace`: between two writes to the API server.
    pub fn start(cluster: &'c Cluster, namespace: &'static str, pace: Duration) -> Trial<'c> {
        let mut rng = Rng::new();
        println!("EDGE_HUB_TEST_SEED={}", rng.seed());
        cluster.namespace(namespace);
        Trial {
            relay: Relay::new(cluster.address()),
            verdict: Verdict::default(),
            cluster,
            namespace,
            token: cluster.account(namespace, "tester", "edit"),
            histories: KINDS.map(|kind| History::start(cluster, namespace, kind)),
            churn: Churn::start(cluster, namespace, rng.fork(), pace),
            start: Instant::now(),
            rng,
        }
    }

    /// Those who ask this hub for everything while it lives.
    pub fn readers(&mut self, hub: &Client) -> Readers {
        Readers::start(hub, &self.token, self.namespace, self.rng.fork())
    }

    /// Any time below that many milliseconds.
    pub fn wait_any(&mut self, below_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.rng.below(below_ms)));
    }

    /// Asks a hub that is offline for everything. It must be what was.
    pub fn judge(&mut self, round: usize, hub: &Client) {
        let told = readers::ask(hub, &self.token, self.namespace, &mut self.rng);
        // What is written now is later than all that the hub can have been told.
        for history in &self.histories {
            let kind = history.kind();
            history.wait_for(churn::fence(self.cluster, self.namespace, kind));
        }
        self.verdict.judge(round, &self.histories, told);
    }

    /// Says how it was.
    pub fn finish(self, rounds: usize) {
        println!(
            "{rounds} rounds in {} s: {}",
            self.start.elapsed().as_secs(),
            self.verdict
        );
        println!(
            "{} writes, seen: {}",
            self.churn.stop(),
            self.histories.map(|h| h.len().to_string()).join(" + ")
        );
        self.verdict.finish(rounds);
    }
}
