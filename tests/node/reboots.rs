//! A node that is switched off and on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::kinds::{KINDS, PROBED, Pod};
use crate::site::{NODE, Site};
use crate::support::cluster::Release;
use crate::support::hub::{self, Hub};
use crate::support::program::{Program, command};
use crate::support::{throughout, until};

/// How long so many pods may take from power-on until all are ready, with no cloud in sight: four 6 s, twenty 15 s.
fn soon(pods: usize) -> Duration {
    Duration::from_millis(6000 + 9000 * (pods as u64 - 4) / 16)
}
/// On a machine that has other work: so much longer than with the cloud in reach.
const SLOWER: f64 = 1.5;

/// How long nothing may be wrong with the node's requests while it is cut off, and how many it may make in that time: a
/// kubelet that hurries makes hundreds a second.
const QUIET: Duration = Duration::from_secs(20);
const REQUESTS_QUIET_MAX: usize = 400;

impl Site {
    /// A power cut, and power on with the link as it is said: how long it took until so many containers, of the node and of
    /// their pods' sandboxes, ran, and so many pods with a probe were ready.
    pub fn power_cycle(
        &self,
        hub: &mut Hub,
        link: &str,
        containers: usize,
        probed: usize,
    ) -> Duration {
        hub.kill();
        self.node.down();
        self.node.script(&["prep"]);
        self.node.net(link);
        self.power_up(hub, containers, probed)
    }

    /// The second half of that.
    pub fn power_up(&self, hub: &mut Hub, containers: usize, probed: usize) -> Duration {
        let before = self.node.whole_log("kubelet").len();
        let begin = Instant::now();
        hub.spawn();
        self.power_on("https://127.0.0.1:10268", &hub.ca());
        until("every pod is there again", NODE, || {
            let log = self.node.whole_log("kubelet");
            let ready = r#"probe="readiness" status="ready" pod="#;
            let ready: BTreeSet<&str> = log[before..]
                .lines()
                .filter_map(|line| line.split_once(ready))
                .map(|it| it.1)
                .collect();
            (self.node.tasks().len() == containers && ready.len() >= probed).then_some(())
        });
        begin.elapsed()
    }

    /// What the service of that name answers on the node, by its cluster IP.
    pub fn asks(&self, service: &str) -> Option<String> {
        let service = self.cluster.kubectl().json(&["get", "service", service]);
        let ip = service["spec"]["clusterIP"].as_str()?.to_string();
        let [nsenter, net] = self.node.within();
        let mut curl = command(std::path::Path::new(&nsenter));
        curl.args([&net, "curl", "-sS", "-m", "2", &format!("http://{ip}/")]);
        let output = Program::spawn(&mut curl).wait(NODE);
        (output.code == Some(0)).then_some(output.stdout)
    }

    /// A power cut takes what was told in the last `flush_secs`. What is changed here is written at once, with what was told
    /// before it.
    pub fn wait_flash(&self, hub: &Hub) {
        let flushes = || hub.metric("edge_hub_cache_flushes_total");
        let before = flushes();
        let told = format!("told={before}");
        let kubectl = self.cluster.kubectl();
        kubectl
            .run(&["annotate", "--overwrite", "pod", "serve", &told])
            .ok();
        until("what was told is on flash", NODE, || {
            (flushes() > before).then_some(())
        });
    }

    /// Waits until the kubelet has said to the hub of so many pods that they are ready, and of none that it is not.
    pub fn wait_reported(&self, hub: &Hub, pods: usize) {
        until("the kubelet calls all ready", NODE, || {
            let told = ["reported", "unready"].map(|of| hub.metric(&format!("edge_hub_pods_{of}")));
            (told == [pods as f64, 0.0]).then_some(())
        });
    }
}

/// As on a real node, and not as quick to notice as tests are; and pods get answers.
pub fn slow_hub(site: &Site) -> hub::Setup {
    let node = format!("system:node:{}", site.node.name());
    site.plain_hub()
        .identity(&site.cluster, &node, "node")
        .set("cache_agents", json!(["*"]))
        .set("connect_timeout_ms", 3000)
        .set("ping_after_ms", 2000)
        .set("ping_wait_ms", 2500)
        .set("probe_min_ms", 1000)
        .set("probe_max_ms", 5000)
}

/// A machine that a power cut has ended comes back with no cloud in sight, by what is on its flash: all of its pods, at
/// other addresses, and they find each other by name. When the cloud is back, nothing starts again.
pub fn comes_back_without_its_cloud(release: Release, more: usize, times: usize) {
    let site = Site::alone(release);
    let mut hub = slow_hub(&site).start();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.make_every_kind(more);
    let all = KINDS + more;
    let with_cloud = site.power_cycle(&mut hub, "up", 2 * all, PROBED);
    eprintln!("{all} pods with the cloud in reach after {with_cloud:?}");
    site.wait_ready(true);
    // The new ones get addresses that no pod has after a start.
    let kubectl = site.cluster.kubectl();
    kubectl
        .run(&["delete", "pods", "-l", "app=web", "--timeout=60s"])
        .ok();
    site.wait_all_pods(all);
    site.every_kind_works();
    site.wait_flash(&hub);
    let pods = site.all_pods();
    let most = soon(all).max(with_cloud.mul_f64(SLOWER));
    for _ in 0..times {
        let took = site.power_cycle(&mut hub, "down", 2 * all, PROBED);
        eprintln!("{all} pods without a cloud after {took:?}");
        assert!(
            took <= most,
            "{took:?}, and {with_cloud:?} with the cloud in reach"
        );
        site.wait_reported(&hub, all);
        site.every_kind_works();
    }
    let before = site.node.tasks();
    let lines = hub.log().lines().count();
    throughout("nothing starts again", QUIET, || {
        site.node.tasks() == before
    });
    let log = hub.log();
    let requests = log.lines().skip(lines);
    let requests = requests
        .filter(|line| line.contains(" status code "))
        .count();
    eprintln!("{requests} requests in {QUIET:?}");
    // Of these some are of pods that ask again and again, and of programs that lost their watch as the box did.
    assert!(
        requests <= REQUESTS_QUIET_MAX,
        "{requests} requests in {QUIET:?}"
    );

    let waiting = hub.metric("edge_hub_events_waiting");
    assert!(waiting > 0.0, "the kubelet had something to tell");
    site.node.net("up");
    hub.sees_online();
    site.wait_ready(true);
    until("the API server knows where the pods are", NODE, || {
        let now = site.all_pods();
        now.iter()
            .zip(&pods)
            .any(|(now, before)| now.ip != before.ip)
            .then_some(())
    });
    site.wait_all_pods(all);
    // Until the cloud has heard of them, it takes none of them for ready.
    site.every_kind_works();
    let not_answered = site.unanswered().len();
    throughout("the Service leads to its pods", QUIET, || {
        site.asks("web").is_some()
    });
    assert_eq!(
        site.unanswered()[not_answered..],
        [""; 0],
        "and so do its names"
    );
    until("events of the outage are posted", NODE, || {
        (hub.metric("edge_hub_events_waiting") == 0.0).then_some(())
    });
    if times == 1 {
        // Of twenty boots they are more than is kept.
        assert_eq!(hub.metric("edge_hub_events_dropped_total"), 0.0);
    }
    assert_eq!(site.node.tasks(), before, "the same containers as before");
    let uids = |pods: &[Pod]| pods.iter().map(|pod| pod.uid.clone()).collect::<Vec<_>>();
    assert_eq!(
        uids(&site.all_pods()),
        uids(&pods),
        "the same pods as before"
    );
}

#[test]
fn a_node_of_1_36_comes_back_without_its_cloud() {
    comes_back_without_its_cloud(Release::V1_36, 1, 1);
}

#[test]
fn a_node_of_1_34_comes_back_without_its_cloud() {
    comes_back_without_its_cloud(Release::V1_34, 1, 1);
}

/// As many as the measurements of other programs were made with.
pub fn four_pods_come_back_at_once(release: Release, times: usize) {
    let site = Site::alone(release);
    let mut hub = slow_hub(&site).start();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.let_pods_view();
    site.make_three_pods();
    let asks = ["api", "300ms", "/api/v1/namespaces/default/configmaps"];
    site.apply(&[site.pod("api", &asks, json!({}))]);
    site.wait_all_pods(4);
    let with_cloud = site.power_cycle(&mut hub, "up", 8, 1);
    eprintln!("4 pods with the cloud in reach after {with_cloud:?}");
    site.wait_ready(true);
    site.wait_flash(&hub);
    let most = soon(4).max(with_cloud.mul_f64(SLOWER));
    for _ in 0..times {
        let took = site.power_cycle(&mut hub, "down", 8, 1);
        eprintln!("4 pods without a cloud after {took:?}");
        assert!(
            took <= most,
            "{took:?}, and {with_cloud:?} with the cloud in reach"
        );
        site.wait_reported(&hub, 4);
    }
}

/// A machine that is switched on for the first time while it is cut off knows nothing: it waits, and harms nothing.
#[test]
fn a_first_boot_without_the_cloud_waits_for_it() {
    let site = Site::new(Release::V1_36);
    site.node.net("down");
    let hub = slow_hub(&site).start();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    hub.sees_offline();
    throughout("nothing runs, and the kubelet does", QUIET, || {
        let status = site.node.script(&["status"]);
        site.node.tasks().is_empty() && !status.contains("kubelet: not running")
    });
    site.node.net("up");
    hub.sees_online();
    site.wait_ready(true);
    site.three_pods();
}
