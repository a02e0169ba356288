//! What takes time: noticing a cut, starting, and passing a watch's events on.

use crate::client::{Client, KEPT, NOT_KEPT};
use crate::process::{Bench, HubSetup, Served};
use crate::table::Table;
use crate::tls;
use crate::upstream::now_nanos;
use http_body_util::BodyExt;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

const PATH: &str = "/api/v1/namespaces/n/configmaps/o";
const CUTS: usize = 5;
const EVENTS: usize = 1000;

/// From the cut to the answer from what is kept, to a request that was sent right after it. All with the hub's
/// own timings.
pub async fn cuts(bench: &Bench, table: &mut Table) {
    let mut refused = Vec::new();
    for _ in 0..CUTS {
        let (upstream, hub, mut client) = kept(bench).await;
        // Killed, the server's kernel closes all and refuses what is new.
        let start = Instant::now();
        upstream.process.signal(Signal::SIGKILL);
        client.must(PATH).await;
        refused.push(millis(start));
        assert!(
            hub.status("/requests/cache") >= 1.0,
            "the answer came from the cache"
        );
    }
    table.add("cut_refused", worst(&refused));
    let mut silent = Vec::new();
    for _ in 0..CUTS {
        let (upstream, hub, mut client) = kept(bench).await;
        // Stopped, it takes connections and says nothing.
        let start = Instant::now();
        upstream.process.signal(Signal::SIGSTOP);
        client.must(PATH).await;
        silent.push(millis(start));
        assert!(
            hub.status("/requests/cache") >= 1.0,
            "the answer came from the cache"
        );
    }
    table.add("cut_black_hole", worst(&silent));
}

/// An API server, a hub, and a client for which an object is kept.
async fn kept(bench: &Bench) -> (Served, Served, Client) {
    let upstream = bench.upstream();
    let hub = bench.hub(upstream.address, &HubSetup::default());
    let tls = tls::client(&[&bench.ca()], false);
    let mut client = Client::connect(hub.address, &tls, KEPT)
        .await
        .expect("a connection");
    client.must(PATH).await;
    (upstream, hub, client)
}

/// From the start of the program to its first answer over TLS, with nobody at the server's address: on a box that has
/// never run it, and on one that has its CA.
pub async fn starts(bench: &Bench, table: &mut Table) {
    let nobody = bench.upstream().address;
    let mut found = [Vec::new(), Vec::new()];
    for _ in 0..CUTS {
        let _ = std::fs::remove_dir_all(bench.dir.join("state"));
        for found in &mut found {
            let start = Instant::now();
            let setup = HubSetup {
                own_papers: true,
                wait: false,
                ..HubSetup::default()
            };
            let hub = bench.hub(nobody, &setup);
            let status = loop {
                match first_answer(bench, &hub).await {
                    Ok((status, _)) => break status,
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
                assert!(start.elapsed() < Duration::from_secs(20), "no answer");
            };
            assert_eq!(status, 503, "nothing is kept");
            found.push(millis(start));
        }
    }
    table.add("start_first_no_server", worst(&found[0]));
    table.add("start_no_server", worst(&found[1]));
}

async fn first_answer(bench: &Bench, hub: &Served) -> Result<(u16, usize), crate::client::Fault> {
    let tls = tls::client(&[&bench.hub_ca()], false);
    Client::connect(hub.address, &tls, KEPT)
        .await?
        .get(PATH)
        .await
}

/// How much later a watch's events come through the hub than directly, and through the two proxies.
pub async fn latency(bench: &Bench, table: &mut Table) {
    let upstream = bench.upstream();
    let hub = bench.hub(upstream.address, &HubSetup::default());
    let nginx = bench.nginx(upstream.address);
    let haproxy = bench.haproxy(upstream.address);
    let ways = [
        ("direct", &upstream, NOT_KEPT),
        ("hub", &hub, NOT_KEPT),
        ("hub_kept", &hub, KEPT),
        ("nginx", &nginx, NOT_KEPT),
        ("haproxy", &haproxy, NOT_KEPT),
    ];
    for (name, served, agent) in ways {
        let address = served.address;
        let tls = tls::client(&[&bench.ca()], false);
        let mut direct = Client::connect(upstream.address, &tls, NOT_KEPT)
            .await
            .expect("a connection");
        let mut other = Client::connect(address, &tls, agent)
            .await
            .expect("a connection");
        let before = served.process.cpu();
        let (direct, other) = tokio::join!(delays(&mut direct), delays(&mut other));
        let cpu = (served.process.cpu() - before).as_secs_f64() * 1e3;
        if name != "direct" {
            let thousands = other.len() as f64 / 1e3;
            table.add(&format!("watch_cpu_{name}"), cpu / thousands);
        }
        // Both saw the same events, but for the first few.
        let mut added: Vec<f64> = other
            .iter()
            .filter_map(|(at, delay)| {
                let (_, base) = direct.iter().find(|(d, _)| d == at)?;
                Some(delay - base)
            })
            .collect();
        assert!(added.len() > EVENTS / 2, "{}", added.len());
        added.sort_by(f64::total_cmp);
        table.add(&format!("watch_added_p50_{name}"), added[added.len() / 2]);
        table.add(
            &format!("watch_added_p99_{name}"),
            added[added.len() * 99 / 100],
        );
    }
}

/// Of each event, when it was sent, and how long it took, in ms.
async fn delays(client: &mut Client) -> Vec<(u64, f64)> {
    let path = "/api/v1/namespaces/tick/configmaps?watch=1&resourceVersion=1000&timeoutSeconds=600";
    let mut body = client.open(path).await.expect("a watch").into_body();
    let mut found = Vec::new();
    let mut held: Vec<u8> = Vec::new();
    while found.len() < EVENTS {
        let frame = body.frame().await.expect("more").expect("more");
        let arrived = now_nanos();
        held.extend_from_slice(frame.data_ref().map_or(&[], |d| d));
        while let Some(end) = held.iter().position(|b| *b == b'\n') {
            let event: serde_json::Value = serde_json::from_slice(&held[..end]).expect("JSON");
            let sent: u64 = event["object"]["data"]["at"]
                .as_str()
                .and_then(|t| t.parse().ok())
                .expect("a time");
            found.push((sent, arrived.saturating_sub(sent) as f64 / 1e6));
            held.drain(..=end);
        }
    }
    found
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn worst(found: &[f64]) -> f64 {
    found.iter().copied().fold(0.0, f64::max)
}
