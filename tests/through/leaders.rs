//! Leader election through the hub: a write that was not done is never told as done, and what cannot be done fails at
//! once, so nobody leads who does not hold the lease.

use std::time::Duration;

use serde_json::Value;

use crate::door::Door;
use crate::support::cluster::clients;
use crate::support::kubeconfig::{User, kubeconfig};
use crate::support::program::Program;
use crate::support::until;

/// The lease lasts 4 s, and its holder gives up after 3 s.
const LEASE: Duration = Duration::from_secs(4);
const SOON: Duration = Duration::from_secs(30);

fn printed(program: &Program) -> Vec<Value> {
    let lines = program.lines();
    let lines = lines.iter().map(|line| serde_json::from_str(line));
    lines.map(|line| line.expect("JSON lines")).collect()
}

fn count(program: &Program, kind: &str) -> usize {
    let lines = printed(program);
    lines.iter().filter(|line| line["e"] == kind).count()
}

/// From when to when it has led, in nanoseconds.
fn led(program: &Program) -> Vec<(u64, u64)> {
    let mut spans = Vec::new();
    let mut since = None;
    for line in printed(program) {
        let at = line["t"].as_u64().expect("a time");
        match line["e"].as_str() {
            Some("leading") => since = Some(at),
            Some("lost") => spans.extend(since.take().map(|since| (since, at))),
            _ => {}
        }
    }
    spans.extend(since.map(|since| (since, u64::MAX)));
    spans
}

#[test]
fn never_two_lead_and_who_is_cut_off_gives_up_in_time() {
    let door = Door::new("lead");
    let start = |id: &str, server: String, ca: std::path::PathBuf| {
        let text = kubeconfig(&server, &ca, &User::Token(&door.token));
        let config = door.dir.write(&format!("{id}.json"), text);
        let config = config.display().to_string();
        Program::start(
            &clients().join("client-go"),
            &["lead", config.as_str(), "lead", id],
        )
    };
    let through = start("through", door.hub.url(), door.hub.ca());
    until("it leads", SOON, || {
        (count(&through, "leading") == 1).then_some(())
    });
    let direct = start("direct", door.cluster.url(), door.cluster.ca());
    until("the other one sees who leads", SOON, || {
        (count(&direct, "leader") == 1).then_some(())
    });

    // Flaps that are shorter than its patience cost it nothing.
    for _ in 0..6 {
        door.relay.refuse();
        std::thread::sleep(Duration::from_millis(400));
        door.relay.pass();
        std::thread::sleep(Duration::from_millis(600));
    }
    assert_eq!((count(&through, "lost"), count(&direct, "leading")), (0, 0));

    // Cut off for longer, it gives up, and the other one takes over.
    door.relay.refuse();
    until("it gives up", LEASE + SOON, || {
        (count(&through, "lost") >= 1).then_some(())
    });
    until("the other one leads", LEASE + SOON, || {
        (count(&direct, "leading") == 1).then_some(())
    });
    door.mend();
    until("it sees who leads now", SOON, || {
        let lines = printed(&through);
        lines
            .iter()
            .any(|line| line["id"] == "direct")
            .then_some(())
    });
    for (since, until) in led(&through) {
        for (other_since, other_until) in led(&direct) {
            assert!(
                until < other_since || other_until < since,
                "two led at once: {:?} {:?}",
                led(&through),
                led(&direct)
            );
        }
    }
}
