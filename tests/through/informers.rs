//! client-go's informers through the hub: WatchList on and off, protobuf and JSON, with the link cut under them.

use std::time::Duration;

use serde_json::Value;

use crate::door::{Door, SOON};
use crate::support::cluster::programs;
use crate::support::kubeconfig::{User, kubeconfig};
use crate::support::program::Program;
use crate::support::{throughout, until};

/// client-go may wait that long after it was refused a few times.
const BACK_OFF: Duration = Duration::from_secs(90);

pub const KINDS: [(&str, &str); 4] = [
    ("on", "protobuf"),
    ("on", "json"),
    ("off", "protobuf"),
    ("off", "json"),
];

pub struct Informer(Program);

impl Informer {
    pub fn of(program: Program) -> Informer {
        Informer(program)
    }

    pub fn start(door: &Door, watch_list: &str, content: &str) -> Informer {
        let text = kubeconfig(&door.hub.url(), &door.hub.ca(), &User::Token(&door.token));
        let config = door.dir.write("informer.json", text);
        Informer(Program::start(
            &programs().join("informer"),
            &[
                "--json".to_string(),
                format!("--kubeconfig={}", config.display()),
                format!("--watchlist={watch_list}"),
                format!("--content={content}"),
                format!("--namespace={}", door.namespace),
            ],
        ))
    }

    /// Everything that it has printed.
    pub fn all(&self) -> Vec<Value> {
        let lines = self.0.lines();
        let lines = lines.iter().map(|line| serde_json::from_str(line));
        lines.map(|line| line.expect("JSON lines")).collect()
    }

    pub fn printed(&self, kind: &str) -> Vec<Value> {
        let mut lines = self.all();
        lines.retain(|line| line["e"] == kind);
        lines
    }

    #[track_caller]
    pub fn sees(&self, kind: &str, name: &str) {
        until(
            &format!("the informer sees {kind} of {name}: {:#?}", self.0.lines()),
            BACK_OFF,
            || {
                self.printed(kind)
                    .iter()
                    .any(|line| line["name"] == name)
                    .then_some(())
            },
        );
    }

    #[track_caller]
    pub fn synced(&self) -> u64 {
        until(
            &format!("the informer has synced: {:#?}", self.0.lines()),
            SOON,
            || {
                self.printed("synced")
                    .first()
                    .and_then(|line| line["count"].as_u64())
            },
        )
    }
}

#[test]
fn an_outage_costs_them_nothing() {
    for (watch_list, content) in KINDS {
        let door = Door::new(&format!("i-{watch_list}-{content}"));
        door.set("one", "1");
        let informer = Informer::start(&door, watch_list, content);
        assert_eq!(informer.synced(), 2);
        door.set("two", "2");
        informer.sees("add", "two");
        let first = informer.printed("request").remove(0);
        assert_eq!(
            first["verb"],
            if watch_list == "on" {
                "watchlist"
            } else {
                "list"
            }
        );

        door.cut();
        let before = informer.printed("request").len();
        throughout("it does not notice", Duration::from_secs(5), || {
            informer.printed("request").len() == before
        });
        door.set("three", "3");
        door.mend();
        informer.sees("add", "three");
        assert_eq!(informer.printed("request").len(), before);
        assert!(
            informer.printed("delete").is_empty(),
            "and nothing at its end"
        );
    }
}

#[test]
fn one_that_starts_in_an_outage_is_told_what_is_kept() {
    for (watch_list, content) in KINDS {
        let door = Door::new(&format!("j-{watch_list}-{content}"));
        door.set("one", "1");
        door.set("two", "2");
        drop({
            let informer = Informer::start(&door, watch_list, content);
            assert_eq!(informer.synced(), 3);
            informer
        });
        door.cut();
        let informer = Informer::start(&door, watch_list, content);
        assert_eq!(informer.synced(), 3);
        let before = informer.printed("request").len();
        throughout("it is content", Duration::from_secs(5), || {
            informer.printed("request").len() < before + 5
        });
        door.set("three", "3");
        door.mend();
        informer.sees("add", "three");
    }
}

#[test]
fn one_that_finds_nothing_kept_waits_and_comes_up_later() {
    let door = Door::new("i-nothing");
    door.set("one", "1");
    door.cut();
    let informer = Informer::start(&door, "on", "protobuf");
    throughout(
        "it is not told that there is nothing",
        Duration::from_secs(4),
        || informer.printed("synced").is_empty() && informer.printed("request").len() < 20,
    );
    door.mend();
    informer.sees("add", "one");
}
