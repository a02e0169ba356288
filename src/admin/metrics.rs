//! Static counters with a fixed set of labels, and their text for Prometheus. No label comes from outside.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Cloud,
    Cache,
    Hub,
}

impl From {
    pub fn name(self) -> &'static str {
        match self {
            From::Cloud => "cloud",
            From::Cache => "cache",
            From::Hub => "hub",
        }
    }
}

const SOURCES: [From; 3] = [From::Cloud, From::Cache, From::Hub];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

static ANSWERED: [[AtomicU64; 5]; 3] = [const { [const { AtomicU64::new(0) }; 5] }; 3];
static LEFT: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static TURNED_AWAY: AtomicU64 = AtomicU64::new(0);
static STALLED: AtomicU64 = AtomicU64::new(0);
static NOT_FILTERED: AtomicU64 = AtomicU64::new(0);

/// Counts one answer by where it came from and the class of its status.
pub fn answered(from: From, status: u16) {
    let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
    ANSWERED[from as usize][class].fetch_add(1, Relaxed);
}

/// Counts a connection that found no place.
pub fn refused() {
    REFUSED.fetch_add(1, Relaxed);
}

/// Counts a connection from another machine to an address that is for this one.
pub fn turned_away() {
    TURNED_AWAY.fetch_add(1, Relaxed);
}

/// Counts a watch that ended because its client took nothing.
pub fn stalled() {
    STALLED.fetch_add(1, Relaxed);
}

/// Counts an answer, or the rest of one, that was not passed on because a filter could not read it.
pub fn not_filtered() {
    NOT_FILTERED.fetch_add(1, Relaxed);
}

/// Counts a client that left before there was an answer.
pub fn left() {
    LEFT.fetch_add(1, Relaxed);
}

/// Answers since the start from this source.
pub fn answers(from: From) -> u64 {
    ANSWERED[from as usize]
        .iter()
        .map(|n| n.load(Relaxed))
        .sum()
}

/// A gauge or counter of one moment, for [`text`].
pub struct Sample {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
    pub value: u64,
}

/// The counters above and `samples`, in Prometheus' text format.
pub fn text(samples: &[Sample]) -> String {
    let mut out = String::new();
    let head = |out: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    head(
        &mut out,
        "edge_hub_requests_total",
        "counter",
        "Answers by where they came from and status.",
    );
    for from in SOURCES {
        for (class, count) in CLASSES.iter().zip(&ANSWERED[from as usize]) {
            let (from, count) = (from.name(), count.load(Relaxed));
            let _ = writeln!(
                out,
                "edge_hub_requests_total{{from=\"{from}\",code=\"{class}\"}} {count}"
            );
        }
    }
    head(
        &mut out,
        "edge_hub_clients_left_total",
        "counter",
        "Clients that left before there was an answer.",
    );
    let _ = writeln!(out, "edge_hub_clients_left_total {}", LEFT.load(Relaxed));
    for (name, help, count) in [
        (
            "edge_hub_connections_refused_total",
            "Connections refused because all were in use.",
            &REFUSED,
        ),
        (
            "edge_hub_connections_turned_away_total",
            "Connections from other machines to a loopback or link-local address.",
            &TURNED_AWAY,
        ),
        (
            "edge_hub_watches_stalled_total",
            "Watches that ended because their clients took nothing of them.",
            &STALLED,
        ),
        (
            "edge_hub_not_filtered_total",
            "Answers not passed on because a filter could not read them.",
            &NOT_FILTERED,
        ),
    ] {
        head(&mut out, name, "counter", help);
        let _ = writeln!(out, "{name} {}", count.load(Relaxed));
    }
    for sample in samples {
        head(&mut out, sample.name, sample.kind, sample.help);
        let _ = writeln!(out, "{} {}", sample.name, sample.value);
    }
    out
}
