//! A node while its link works, is cut, and comes back.

use std::time::Duration;

use serde_json::json;

use crate::kubectl::reaches_into_pods;
use crate::site::{CUT, NODE, Site};
use crate::support::cluster::Release;
use crate::support::{throughout, until};

/// The harness itself: without a hub, a node comes up, runs pods and loses them when they are deleted.
#[test]
fn harness_a_node_without_a_hub() {
    for release in [Release::V1_36, Release::V1_34] {
        let site = Site::new(release);
        site.power_on(&site.server(), &site.cluster.ca());
        site.wait_ready(true);
        site.three_pods();
        assert_eq!(site.node.tasks().len(), 6);
        if release == Release::V1_36 {
            reaches_into_pods(&site, &site.cluster.url(), &site.cluster.ca());
        }
        site.delete("tick");
        until("its containers are gone", NODE, || {
            (site.node.tasks().len() == 4).then_some(())
        });
    }
}

pub fn lives_behind_the_hub(release: Release) {
    let site = Site::new(release);
    let hub = site.hub();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.three_pods();
    site.delete("tick");
    site.wait_pods(&["hostnet", "serve"]);
    until("its containers are gone", NODE, || {
        (site.node.tasks().len() == 4).then_some(())
    });

    for cut in ["down", "drop"] {
        let before = site.node.tasks();
        site.node.net(cut);
        hub.sees_offline();
        throughout("every container runs on", CUT, || {
            site.node.tasks() == before
        });
        assert_eq!(site.ready(), Some(false), "the control plane noticed");
        site.node.net("up");
        hub.sees_online();
        site.wait_ready(true);
        site.wait_pods(&["hostnet", "serve"]);
        assert_eq!(
            site.node.tasks(),
            before,
            "{cut}: the same containers as before"
        );
    }

    // It takes orders again.
    site.apply(&[site.pod("again", &["tick", "1s"], json!({}))]);
    site.wait_pods(&["again", "hostnet", "serve"]);
    site.delete("again");
    until("its containers are gone", NODE, || {
        (site.node.tasks().len() == 4).then_some(())
    });
}

#[test]
fn a_node_of_1_36_lives_behind_the_hub() {
    lives_behind_the_hub(Release::V1_36);
}

#[test]
fn a_node_of_1_34_lives_behind_the_hub() {
    lives_behind_the_hub(Release::V1_34);
}

/// A restart of the hub, online and in the middle of everything, costs no container.
#[test]
fn a_node_outlives_its_hub() {
    let site = Site::new(Release::V1_36);
    let mut hub = site.hub();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.three_pods();
    let before = site.node.tasks();
    hub.terminate(Duration::from_secs(30));
    hub.run();
    site.apply(&[site.pod("after", &["tick", "1s"], json!({}))]);
    site.wait_pods(&["after", "hostnet", "serve", "tick"]);
    hub.kill();
    hub.run();
    site.delete("after");
    until("its containers are gone", NODE, || {
        (site.node.tasks() == before).then_some(())
    });
}
