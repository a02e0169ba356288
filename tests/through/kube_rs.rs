//! kube-rs' watcher through the hub, with streaming lists and with paged ones, with the link cut under it.

use std::time::Duration;

use crate::door::{Door, SOON};
use crate::support::cluster::clients;
use crate::support::kubeconfig::{User, kubeconfig};
use crate::support::program::Program;
use crate::support::{throughout, until};

/// kube-rs may wait that long after it was refused a few times.
const BACK_OFF: Duration = Duration::from_secs(90);

fn start(door: &Door, how: &str) -> Program {
    let text = kubeconfig(&door.hub.url(), &door.hub.ca(), &User::Token(&door.token));
    let config = door.dir.write("kube-rs.json", text).display().to_string();
    Program::start(
        &clients().join("kube-rs-watcher"),
        &[&config, door.namespace.as_str(), how],
    )
}

fn has(watcher: &Program, kind: &str, name: &str) -> bool {
    let (kind, name) = (format!("\"e\":\"{kind}\""), format!("\"name\":\"{name}\""));
    watcher
        .lines()
        .iter()
        .any(|line| line.contains(&kind) && line.contains(&name))
}

#[test]
fn an_outage_costs_it_nothing() {
    for how in ["streaming", "paged"] {
        let door = Door::new(&format!("r-{how}"));
        door.set("one", "1");
        let watcher = start(&door, how);
        watcher.line("the first state", SOON, |line| line.contains("init-done"));
        assert!(has(&watcher, "init-apply", "one"));
        door.set("two", "2");
        until("the new object", SOON, || {
            has(&watcher, "apply", "two").then_some(())
        });
        door.cut();
        let before = watcher.lines().len();
        throughout("it does not notice", Duration::from_secs(5), || {
            watcher.lines().len() == before
        });

        // Another one that starts now is told what is kept.
        let late = start(&door, how);
        late.line("the first state", SOON, |line| line.contains("init-done"));
        assert!(has(&late, "init-apply", "one"));

        door.set("three", "3");
        door.mend();
        for watcher in [&watcher, &late] {
            until(
                &format!("the new object: {:#?}", watcher.lines()),
                BACK_OFF,
                || has(watcher, "apply", "three").then_some(()),
            );
            let lines = watcher.lines();
            let begun = lines.iter().filter(|line| line.contains("init-done"));
            assert_eq!(begun.count(), 1, "it does not start over: {lines:#?}");
            assert!(!lines.iter().any(|line| line.contains("\"e\":\"delete\"")));
        }
    }
}
