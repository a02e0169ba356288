//! What a node meets beside a plain outage: power that goes while its programs list everything anew, a link that comes and
//! goes, an outage of days.

use std::net::SocketAddr;
use std::time::Duration;

use crate::kinds::{KINDS, PROBED, Pod};
use crate::reboots::slow_hub;
use crate::site::{NODE, Site};
use crate::support::cluster::Release;
use crate::support::hub::Hub;
use crate::support::relay::Relay;
use crate::support::{free_port, throughout, until, wrong_clock};

/// With one that does nothing.
const ALL: usize = KINDS + 1;

fn uids(site: &Site) -> Vec<String> {
    let uid = |pod: &Pod| pod.uid.clone();
    site.all_pods().iter().map(uid).collect()
}

/// The cloud is back: the same pods in the same containers, and each does what it is for.
fn nothing_is_lost(site: &Site, hub: &Hub, pods: &[String]) {
    let before = site.node.tasks();
    site.node.net("up");
    hub.sees_online();
    site.wait_ready(true);
    site.wait_all_pods(ALL);
    site.every_kind_works();
    assert_eq!(site.node.tasks(), before, "the same containers as before");
    assert_eq!(uids(site), pods, "the same pods as before");
}

/// The power goes when so many bytes of what the node's programs list anew have come over a slow link; when it is back, there
/// is no link at all. What was kept before is still whole.
pub fn reboots_in_a_relist(release: Release, cuts: &[u64]) {
    let site = Site::new(release);
    let ip = site.advertise().into();
    let relay = Relay::on(SocketAddr::new(ip, free_port()), site.cluster.address());
    let mut hub = slow_hub(&site)
        .set("servers", [relay.url()].as_slice())
        .start();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.make_every_kind(1);
    site.wait_flash(&hub);
    let pods = uids(&site);
    for bytes in cuts {
        hub.kill();
        site.node.down();
        site.node.script(&["prep"]);
        relay.throttle(20_000);
        let before = relay.carried().1;
        hub.spawn();
        site.power_on("https://127.0.0.1:10268", &hub.ca());
        until("some of it has come", NODE, || {
            (relay.carried().1 - before > *bytes).then_some(())
        });
        hub.kill();
        eprintln!("the power goes after {} bytes", relay.carried().1 - before);
        relay.throttle(0);
        let took = site.power_cycle(&mut hub, "down", 2 * ALL, PROBED);
        eprintln!("{ALL} pods are back after {took:?}");
        site.wait_reported(&hub, ALL);
        site.every_kind_works();
    }
    nothing_is_lost(&site, &hub, &pods);
}

#[test]
fn a_reboot_in_a_relist_of_1_36_loses_nothing() {
    reboots_in_a_relist(Release::V1_36, &[30_000]);
}

/// Ten outages in a minute, of both kinds: no container notices, and a power cut afterwards finds all that it needs.
pub fn ten_outages_a_minute(release: Release, minutes: usize) {
    let site = Site::new(release);
    let mut hub = slow_hub(&site).start();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.make_every_kind(1);
    let pods = uids(&site);
    let tasks = site.node.tasks();
    let not_answered = site.unanswered().len();
    for n in 0..10 * minutes {
        for state in [["down", "drop"][n % 2], "up"] {
            site.node.net(state);
            throughout("every container runs on", Duration::from_secs(3), || {
                site.node.tasks() == tasks
            });
        }
    }
    assert_eq!(
        site.unanswered()[not_answered..],
        [""; 0],
        "names lead to their pods all the time"
    );
    nothing_is_lost(&site, &hub, &pods);
    assert_eq!(site.node.tasks(), tasks);
    site.wait_flash(&hub);
    // And while it flaps.
    site.power_cycle(&mut hub, "down", 2 * ALL, PROBED);
    site.wait_reported(&hub, ALL);
    nothing_is_lost(&site, &hub, &pods);
}

#[test]
fn ten_outages_a_minute_are_nothing_to_a_node_of_1_36() {
    ten_outages_a_minute(Release::V1_36, 1);
}

/// The box was off for two days, and has no cloud when it is on again, by the hub's clock at least: the kubelet, which is
/// static, cannot be told another time. The kubelet's tokens of an hour are long over by what it was told of them.
pub fn comes_back_after_two_days(release: Release) {
    let site = Site::new(release);
    let mut hub = slow_hub(&site).start();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.make_every_kind(1);
    site.wait_flash(&hub);
    let pods = uids(&site);
    let library = wrong_clock(&site.dir).display().to_string();
    hub.set_env(&[("LD_PRELOAD", &library), ("WRONG", "172800")]);
    let took = site.power_cycle(&mut hub, "down", 2 * ALL, PROBED);
    eprintln!("{ALL} pods are back after two days and {took:?}");
    site.wait_reported(&hub, ALL);
    site.every_kind_works();
    nothing_is_lost(&site, &hub, &pods);
}

#[test]
fn a_node_comes_back_after_two_days() {
    comes_back_after_two_days(Release::V1_36);
}
