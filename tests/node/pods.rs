//! What programs in pods see.

use serde_json::{Value, json};

use crate::languages::LANGUAGES;
use crate::site::{NODE, Site};
use crate::support::cluster::Release;
use crate::support::until;

/// Pods that know of the API server only what the kubelet tells them, or what somebody wrote into them by hand, ask the hub,
/// and trust it: with the link, without it, and after the hub was started anew without it.
fn pods_find_the_hub(release: Release) {
    let site = Site::new(release);
    let node = format!("system:node:{}", site.node.name());
    let mut hub = site
        .plain_hub()
        .identity(&site.cluster, &node, "node")
        .set("cache_agents", json!(["*"]))
        .set("filters", json!(["-serviceenvupdater"]))
        .start();
    site.let_pods_view();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    let by_hand = |host: &str, port: &str| {
        json!([
            { "name": "KUBERNETES_SERVICE_HOST", "value": host },
            { "name": "KUBERNETES_SERVICE_PORT", "value": port },
        ])
    };
    let api = |name: &str, env: Value| {
        let container = json!({
            "name": "app", "image": "lab.local/app:1", "args": ["api", "300ms", "/api/v1/namespaces/default/configmaps"],
            "imagePullPolicy": "Never", "env": env,
        });
        site.pod(name, &[], json!({ "containers": [container] }))
    };
    let informer = json!({
        "name": "app", "image": "lab.local/informer:1", "imagePullPolicy": "Never",
        "args": ["--resource", "configmaps", "--namespace", "default", "--json"],
    });
    site.apply(&[
        api("api", json!([])),
        // kube-proxy leads what goes to the cluster IP to the hub.
        api("cluster-ip", by_hand("10.96.0.1", "443")),
        site.pod("informer", &[], json!({ "containers": [informer] })),
    ]);
    site.make_languages();
    site.wait_pods(&["api", "cluster-ip", "informer", "python", "rust"]);
    let good = |pod: &str, at: &str| {
        let want = format!(" {at} HTTP/2.0 200 OK");
        let lines = site.node.printed(pod);
        lines.iter().filter(|line| line.contains(&want)).count()
    };
    let pods = [
        ("api", "https://169.254.2.1:10268"),
        ("cluster-ip", "https://10.96.0.1:443"),
    ];
    let go_on = |what: &str| {
        for (pod, at) in pods {
            let before = good(pod, at);
            until(&format!("{pod} is answered {what}"), NODE, || {
                (good(pod, at) > before + 2).then_some(())
            });
        }
    };
    go_on("with the link");
    until("client-go in a pod has all ConfigMaps", NODE, || {
        let lines = site.node.printed("informer");
        (lines.iter())
            .any(|line| line.contains(r#""e":"synced""#))
            .then_some(())
    });
    let config_map = |name: &str| {
        let kubectl = site.cluster.kubectl();
        kubectl.run(&["create", "configmap", name]).ok();
    };
    config_map("with-the-link");
    site.languages_know("with-the-link");
    let kept = hub.status()["collections"].to_string();
    assert!(
        kept.contains(r#""agent":"lab-informer""#),
        "it asked the hub: {kept}"
    );
    // A pod that names the API server by hand is told otherwise, too.
    hub.reload("filters", json!([]));
    until("the filter is on", NODE, || {
        let kubelet = hub.log();
        kubelet
            .contains("reload: the new configuration")
            .then_some(())
    });
    site.apply(&[api("by-hand", by_hand("192.0.2.1", "1"))]);
    until("it asks the hub", NODE, || {
        (good("by-hand", "https://169.254.2.1:10268") > 2).then_some(())
    });
    site.node.net("down");
    hub.sees_offline();
    go_on("without the link");
    // What starts in the outage finds what there was before it.
    for pod in LANGUAGES {
        let starts = site.node.printed_by_start(pod).len();
        site.node.kill_program(pod);
        until(&format!("{pod} is started again"), NODE, || {
            (site.node.printed_by_start(pod).len() > starts).then_some(())
        });
    }
    site.languages_know("with-the-link");
    hub.kill();
    hub.run();
    hub.sees_offline();
    go_on("after a restart of the hub without the link");
    config_map("meanwhile");
    site.node.net("up");
    hub.sees_online();
    go_on("when the link is back");
    site.languages_know("meanwhile");
}

#[test]
fn pods_of_1_36_find_the_hub() {
    pods_find_the_hub(Release::V1_36);
}

#[test]
fn pods_of_1_34_find_the_hub() {
    pods_find_the_hub(Release::V1_34);
}
