//! What the hub takes of RAM, each on a fresh hub: its allocator keeps what it once had, and would hide the next growth.

use crate::client::{Client, KEPT, NOT_KEPT, Token};
use crate::process::{Bench, HubSetup, Served};
use crate::table::Table;
use crate::tls;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustls::ClientConfig;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Connections, or watches, whose mean is told.
const MANY: usize = 200;
const STALLED: usize = 20;
/// Objects in a list of 50 MB.
const LIST_50_MB: usize = 25_000;
const WATCH: &str = "?watch=1&resourceVersion=1000&timeoutSeconds=3600&allowWatchBookmarks=true";

pub async fn measure(bench: &Bench, table: &mut Table) {
    let upstream = bench.upstream();
    let memory = Memory { bench, upstream };
    table.add(
        "idle_pss",
        kib(memory.hub(8).process.settled_pss_bytes().await as f64),
    );
    for (h2, name) in [(false, "h1"), (true, "h2")] {
        table.add(
            &format!("idle_connection_{name}"),
            memory.idle_connection(h2).await,
        );
        table.add(
            &format!("idle_watch_{name}"),
            memory.idle_watch(h2, NOT_KEPT).await,
        );
        table.add(
            &format!("idle_watch_kept_{name}"),
            memory.idle_watch(h2, KEPT).await,
        );
        table.add(&format!("held_watch_{name}"), held_watch(bench, h2).await);
    }
    table.add("node_pss", memory.node().await);
    memory.list(List::Passed, table).await;
    memory.list(List::InMemory, table).await;
    memory.list(List::OnFlash, table).await;
    for (h2, name) in [(false, "h1"), (true, "h2")] {
        table.add(&format!("stalled_reader_{name}"), memory.stalled(h2).await);
    }
}

/// What a node takes of the program that is shipped, whose code is smaller.
pub async fn measure_shipped(bench: &Bench, table: &mut Table) {
    let upstream = bench.upstream();
    let memory = Memory { bench, upstream };
    let idle = memory.hub(8).process.settled_pss_bytes().await;
    table.add("idle_pss_x86_64", kib(idle as f64));
    table.add("node_pss_x86_64", memory.node().await);
}

/// KiB of a watch whose API server is gone. Each is of a list of one object, which is kept, and comes with a token of a
/// real one's length.
async fn held_watch(bench: &Bench, h2: bool) -> f64 {
    let memory = Memory {
        bench,
        upstream: bench.upstream(),
    };
    let (hub, mut first, _) = memory.warm(h2, KEPT).await;
    let list = |number| format!("/api/v1/namespaces/n-1-{number}/configmaps");
    for number in 0..MANY {
        first.must(&list(number)).await;
    }
    hub.keeps(MANY as f64).await;
    let before = hub.process.settled_pss_bytes().await;
    let mut open: Vec<(Option<Client>, http::Response<Incoming>)> = Vec::new();
    for number in 0..MANY {
        let path = list(number) + WATCH;
        if h2 {
            open.push((None, first.open(&path).await.expect("a watch")));
        } else {
            let mut client = memory.client(&hub, h2, KEPT).await;
            let response = client.open(&path).await.expect("a watch");
            open.push((Some(client), response));
        }
    }
    let Memory { upstream, .. } = memory;
    upstream.process.terminate();
    while hub.status("/servers/0/streams") > 0.0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let after = hub.process.settled_pss_bytes().await;
    kib((after.saturating_sub(before)) as f64 / MANY as f64)
}

struct Memory<'a> {
    bench: &'a Bench,
    upstream: Served,
}

fn kib(bytes: f64) -> f64 {
    bytes / 1024.0
}

/// What becomes of a list of 50 MB.
#[derive(Clone, Copy)]
enum List {
    Passed,
    InMemory,
    OnFlash,
}

impl Memory<'_> {
    fn hub(&self, cache_mib: u64) -> Served {
        self.hub_with("ring", cache_mib)
    }

    fn hub_with(&self, store: &'static str, cache_mib: u64) -> Served {
        self.bench.hub(
            self.upstream.address,
            &HubSetup {
                store,
                cache_bytes_max: cache_mib << 20,
                ..HubSetup::default()
            },
        )
    }

    fn tls(&self, h2: bool) -> Arc<ClientConfig> {
        tls::client(&[&self.bench.ca()], h2)
    }

    async fn client(&self, hub: &Served, h2: bool, agent: &'static str) -> Client {
        let client = Client::connect(hub.address, &self.tls(h2), agent).await;
        let mut client = client.expect("the hub takes connections");
        client.token = Token::Long;
        client
    }

    /// A hub that has done everything once.
    async fn warm(&self, h2: bool, agent: &'static str) -> (Served, Client, u64) {
        let hub = self.hub(8);
        let mut client = self.client(&hub, h2, agent).await;
        client.must("/api/v1/namespaces/n/configmaps/o").await;
        let before = hub.process.settled_pss_bytes().await;
        (hub, client, before)
    }

    /// KiB of a connection on which one request was answered.
    async fn idle_connection(&self, h2: bool) -> f64 {
        let (hub, _client, before) = self.warm(h2, NOT_KEPT).await;
        let mut open = Vec::new();
        for _ in 0..MANY {
            let mut client = self.client(&hub, h2, NOT_KEPT).await;
            client.must("/api/v1/namespaces/n/configmaps/o").await;
            open.push(client);
        }
        let after = hub.process.settled_pss_bytes().await;
        kib((after - before) as f64 / MANY as f64)
    }

    /// KiB of a silent watch: with HTTP/1.1 each has a connection, with HTTP/2 they share one.
    async fn idle_watch(&self, h2: bool, agent: &'static str) -> f64 {
        let (hub, mut first, before) = self.warm(h2, agent).await;
        let mut open: Vec<(Option<Client>, http::Response<Incoming>)> = Vec::new();
        for number in 0..MANY {
            let path = format!("/api/v1/namespaces/n-0-{number}/configmaps{WATCH}");
            if h2 {
                open.push((None, first.open(&path).await.expect("a watch")));
            } else {
                let mut client = self.client(&hub, h2, agent).await;
                let response = client.open(&path).await.expect("a watch");
                open.push((Some(client), response));
            }
        }
        let after = hub.process.settled_pss_bytes().await;
        kib((after - before) as f64 / MANY as f64)
    }

    /// PSS in KiB with 20 lists of 100 objects each, and a watch on each.
    async fn node(&self) -> f64 {
        let hub = self.hub(8);
        let mut client = self.client(&hub, true, KEPT).await;
        let mut open = Vec::new();
        for number in 0..20 {
            let path = format!("/api/v1/namespaces/n-100-{number}/configmaps");
            client.must(&path).await;
            open.push(client.open(&(path + WATCH)).await.expect("a watch"));
        }
        hub.keeps(2000.0).await;
        kib(hub.process.settled_pss_bytes().await as f64)
    }

    /// Growth of the peak during a list of 50 MB; kept in memory: above what the hub says that it keeps.
    async fn list(&self, how: List, table: &mut Table) {
        let (agent, store) = match how {
            List::Passed => (NOT_KEPT, "ring"),
            List::InMemory => (KEPT, "ram"),
            List::OnFlash => (KEPT, "ring"),
        };
        let hub = self.hub_with(store, 64);
        let mut client = self.client(&hub, false, agent).await;
        client.must("/api/v1/namespaces/n/configmaps/o").await;
        let before = hub.process.settled_pss_bytes().await;
        let peak = Rc::new(Cell::new(before));
        let done = Rc::new(Cell::new(false));
        let watch = async {
            while !done.get() {
                peak.set(peak.get().max(hub.process.pss_bytes()));
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        let list = async {
            let length = client
                .must(&format!("/api/v1/namespaces/n-{LIST_50_MB}/configmaps"))
                .await;
            assert!(length > 50_000_000, "{length}");
            peak.set(peak.get().max(hub.process.pss_bytes()));
            done.set(true);
        };
        tokio::join!(watch, list);
        let grown = kib((peak.get() - before) as f64);
        match how {
            List::Passed => table.add("list_50mb_not_kept_growth", grown),
            List::InMemory => {
                let kept = kib(hub.status("/store/bytes"));
                assert!(kept > 48.0 * 1024.0, "the list is kept: {kept} KiB");
                table.add("list_50mb_kept", kept);
                table.add("list_50mb_kept_growth", grown - kept);
            }
            List::OnFlash => {
                hub.keeps(10_000.0).await;
                table.add("list_50mb_flash_growth", grown);
            }
        }
    }

    /// KiB of a client that begins a download of 32 MiB and does not read.
    async fn stalled(&self, h2: bool) -> f64 {
        let (hub, _client, before) = self.warm(h2, NOT_KEPT).await;
        let mut open = Vec::new();
        for number in 0..STALLED {
            let mut client = self.client(&hub, h2, NOT_KEPT).await;
            let path = format!("/api/v1/namespaces/n/pods/p{number}/log");
            let mut response = client.open(&path).await.expect("a download");
            let first = response
                .body_mut()
                .frame()
                .await
                .expect("bytes")
                .expect("bytes");
            assert!(first.is_data());
            open.push((client, response));
        }
        let after = hub.process.settled_pss_bytes().await;
        kib((after - before) as f64 / STALLED as f64)
    }
}
