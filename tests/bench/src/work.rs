//! What a request costs: instructions, which are the same on every run, and CPU time beside nginx and haproxy.

use crate::client::{Client, KEPT, NOT_KEPT, Token};
use crate::process::{Bench, HubSetup, Served};
use crate::table::Table;
use crate::tls;
use std::fs;
use std::path::{Path, PathBuf};

const PATH: &str = "/api/v1/namespaces/n/configmaps/o";
/// Requests under callgrind, and for CPU time.
const COUNTED: usize = 1000;
const TIMED: usize = 5000;
/// Rounds in which all take turns; the median is told, for the machine's own pace moves.
const ROUNDS: usize = 5;

/// Each way that a GET of 2 KB is measured: name, HTTP/2, agent.
const WAYS: [(&str, bool, &str); 4] = [
    ("h1", false, NOT_KEPT),
    ("h1_kept", false, KEPT),
    ("h2", true, NOT_KEPT),
    ("h2_kept", true, KEPT),
];

/// Instructions of one GET: those of many more, less those of a few, so that start and handshake do not count.
pub async fn instructions(bench: &Bench, table: &mut Table) {
    let upstream = bench.upstream();
    for (name, h2, agent) in WAYS {
        let few = counted(bench, &upstream, h2, agent, 100).await;
        let many = counted(bench, &upstream, h2, agent, 100 + COUNTED).await;
        table.add(
            &format!("get_instructions_{name}"),
            (many - few) / COUNTED as f64,
        );
    }
}

async fn counted(
    bench: &Bench,
    upstream: &Served,
    h2: bool,
    agent: &'static str,
    requests: usize,
) -> f64 {
    let (hub, out) = counting(bench, upstream);
    let tls = tls::client(&[&bench.ca()], h2);
    let mut client = Client::connect(hub.address, &tls, agent)
        .await
        .expect("a connection");
    client.first(PATH).await;
    for _ in 0..requests {
        client.must(PATH).await;
    }
    drop(client);
    hub.process.terminate();
    counted_in(&out)
}

/// How much less or more it takes to refuse, without an API server, a token that is a good one but for its last byte than
/// one that differs from the first on: who can tell them apart finds a token byte by byte.
pub async fn guesses(bench: &Bench, table: &mut Table) {
    let mut each = [0.0; 2];
    for (each, token) in each.iter_mut().zip([Token::Near, Token::Far]) {
        let few = refused(bench, token, 100).await;
        let many = refused(bench, token, 100 + COUNTED).await;
        *each = (many - few) / COUNTED as f64;
    }
    table.add("guess_instructions", each[0]);
    table.add("guess_told_apart", (each[0] - each[1]).abs());
}

async fn refused(bench: &Bench, token: Token, requests: usize) -> f64 {
    let upstream = bench.upstream();
    let (hub, out) = counting(bench, &upstream);
    let tls = tls::client(&[&bench.ca()], false);
    let mut client = Client::connect(hub.address, &tls, KEPT)
        .await
        .expect("a connection");
    client.token = Token::Long;
    client.first(PATH).await;
    // The object, and who the token is.
    hub.keeps(2.0).await;
    drop(upstream);
    client.must(PATH).await;
    client.token = token;
    for _ in 0..requests {
        let (status, _) = client.get(PATH).await.expect("an answer");
        assert_eq!(status, 503, "a token that nobody knows");
    }
    drop(client);
    hub.process.terminate();
    counted_in(&out)
}

/// A hub whose instructions are counted into a file.
fn counting(bench: &Bench, upstream: &Served) -> (Served, PathBuf) {
    let out = bench.dir.join("callgrind");
    let words = [
        "valgrind",
        "-q",
        "--tool=callgrind",
        &format!("--callgrind-out-file={}", out.display()),
    ];
    let within = words.iter().map(ToString::to_string).collect();
    let setup = HubSetup {
        within,
        ..HubSetup::default()
    };
    (bench.hub(upstream.address, &setup), out)
}

/// What callgrind has counted, when the hub has ended.
fn counted_in(out: &Path) -> f64 {
    let text = fs::read_to_string(out).expect("callgrind's file");
    let total = text.lines().find_map(|line| {
        line.strip_prefix("summary: ")
            .or(line.strip_prefix("totals: "))
    });
    total
        .and_then(|n| n.trim().parse().ok())
        .expect("callgrind's sum")
}

/// CPU time of one GET, of the hub and of the two proxies, in the same minutes.
pub async fn cpu(bench: &Bench, table: &mut Table) {
    let upstream = bench.upstream();
    let hub = bench.hub(upstream.address, &HubSetup::default());
    let hub_logging = bench.hub(
        upstream.address,
        &HubSetup {
            log: "info",
            ..HubSetup::default()
        },
    );
    let nginx = bench.nginx(upstream.address);
    let haproxy = bench.haproxy(upstream.address);
    let mut rows: Vec<(String, &Served, bool, &'static str, Vec<f64>)> = Vec::new();
    for (name, h2, agent) in WAYS {
        rows.push((format!("get_cpu_hub_{name}"), &hub, h2, agent, Vec::new()));
        if agent == NOT_KEPT {
            rows.push((
                format!("get_cpu_nginx_{name}"),
                &nginx,
                h2,
                agent,
                Vec::new(),
            ));
            rows.push((
                format!("get_cpu_haproxy_{name}"),
                &haproxy,
                h2,
                agent,
                Vec::new(),
            ));
        }
    }
    rows.push((
        "get_cpu_hub_h1_logged".to_owned(),
        &hub_logging,
        false,
        NOT_KEPT,
        Vec::new(),
    ));
    for _ in 0..ROUNDS {
        for (_, served, h2, agent, found) in &mut rows {
            found.push(cpu_micros(bench, served, *h2, agent).await);
        }
    }
    let mut medians = std::collections::HashMap::new();
    for (name, _, _, _, found) in &mut rows {
        found.sort_by(f64::total_cmp);
        table.add(name, found[ROUNDS / 2]);
        medians.insert(name.clone(), found[ROUNDS / 2]);
    }
    for (name, _, _) in WAYS {
        let haproxy = medians[&format!("get_cpu_haproxy_{}", &name[..2])];
        table.add(
            &format!("get_cpu_to_haproxy_{name}"),
            medians[&format!("get_cpu_hub_{name}")] / haproxy,
        );
    }
}

/// One connection, one request after the other.
async fn cpu_micros(bench: &Bench, served: &Served, h2: bool, agent: &'static str) -> f64 {
    let tls = tls::client(&[&bench.ca()], h2);
    let mut client = Client::connect(served.address, &tls, agent)
        .await
        .expect("a connection");
    for _ in 0..200 {
        client.must(PATH).await;
    }
    let before = served.process.cpu();
    for _ in 0..TIMED {
        client.must(PATH).await;
    }
    (served.process.cpu() - before).as_secs_f64() * 1e6 / TIMED as f64
}
