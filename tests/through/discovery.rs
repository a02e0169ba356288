//! Programs that know nothing of the API before they ask, begun in an outage: a kubectl with an empty cache, what helm does,
//! a manager of controller-runtime.

use serde_json::Value;

use crate::door::{Door, SOON};
use crate::support::cluster::{Kubectl, clients};
use crate::support::kubeconfig::{User, kubeconfig};
use crate::support::program::{Program, command};
use crate::support::until;

/// A kubectl that has never run.
fn new_kubectl(door: &Door) -> Kubectl<'static> {
    let user = User::Token(&door.token);
    door.cluster
        .kubectl_at(&door.dir, &door.hub.url(), &door.hub.ca(), &user)
}

fn client_go(door: &Door, what: &str) -> Program {
    let text = kubeconfig(&door.hub.url(), &door.hub.ca(), &User::Token(&door.token));
    let config = door.dir.write("client.json", text);
    let mut command = command(&clients().join("client-go"));
    Program::spawn(command.arg(what).arg(config).arg(&door.namespace))
}

/// What it prints when it has run to its end, without the times.
fn discovered(door: &Door) -> Vec<String> {
    let said = client_go(door, "discover").wait(SOON).ok();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        format!("{} {} {}", line["e"], line["name"], line["count"])
    };
    said.lines().map(line).collect()
}

#[test]
fn who_knows_nothing_finds_its_way_in_an_outage() {
    let mut door = Door::new("discovery");
    door.set("one", "1");
    let usual = |kubectl: &Kubectl<'_>| {
        let run = |args: &[&str]| {
            let mut all = vec!["-n", "discovery"];
            all.extend(args);
            kubectl.run(&all).ok()
        };
        [
            run(&["get", "configmap", "one", "-o", "yaml"]),
            run(&["get", "deployments.apps", "-o", "json"]),
            run(&["api-resources"]),
            run(&["api-versions"]),
            run(&["explain", "configmap.data"]),
            run(&["version"]),
        ]
    };
    let online = usual(&new_kubectl(&door));
    let found = discovered(&door);
    assert_eq!(found.len(), 5, "{found:?}");
    let reconciles = |manager: &Program, name: &str| {
        manager.line(name, SOON, |line| {
            line.contains("reconcile") && line.contains(name)
        });
    };
    let manager = client_go(&door, "manager");
    reconciles(&manager, "configmap/one");
    drop(manager);

    // As after a power cut with no cloud in sight.
    door.cut();
    door.hub.terminate(SOON);
    door.hub.run();
    door.hub.sees_offline();
    assert_eq!(usual(&new_kubectl(&door)), online);
    assert_eq!(discovered(&door), found);
    let mut manager = client_go(&door, "manager");
    reconciles(&manager, "configmap/one");
    // It goes on when the link is back.
    door.mend();
    door.set("two", "2");
    reconciles(&manager, "configmap/two");
    assert!(manager.ended().is_none(), "{:?}", manager.errors());

    // What was never asked is not made up.
    door.cut();
    let raw = new_kubectl(&door).run(&["get", "--raw", "/apis/apps/v1beta7"]);
    assert!(
        raw.failed().contains("ServiceUnavailable")
            || door
                .hub
                .log()
                .contains("/apis/apps/v1beta7 with status code 503")
    );
    until("it is a 503", SOON, || {
        door.client()
            .get("/apis/apps/v1beta7")
            .status
            .eq(&503)
            .then_some(())
    });
}
