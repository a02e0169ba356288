//! The hub ends, by SIGTERM or by SIGKILL, and starts again without a server: those who were told something are told it
//! again, and nobody else is.

use std::path::Path;
use std::time::Instant;

use edge_hub::cache::key::Key;
use edge_hub::cache::own::Own;
use edge_hub::hub::store::{node_digest, ring_dir};
use edge_hub::store::ring::engine::Engine;
use edge_hub::store::ring::files::Files;
use serde_json::{Value, json};

use crate::door::{Door, MOMENT, SOON, WATCH_LIST};
use crate::informers::{Informer, KINDS};
use crate::offline::{get, item_names, kept, list_version, unknown};
use crate::support::cluster::{Cluster, Kubectl};
use crate::support::http::{JSON, PROTOBUF, PROTOBUF_WATCH, Whole};
use crate::support::hub::{Hub, SEES};
use crate::support::until;

const ENCODINGS: [(&str, &str); 2] = [(JSON, JSON), (PROTOBUF, PROTOBUF_WATCH)];

/// How a hub ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    Terminate,
}

impl End {
    fn of(self, hub: &mut Hub) {
        match self {
            End::Kill => {
                until("everything is on flash", SEES, || {
                    let tokens = hub.metric("edge_hub_tokens") as usize;
                    let (answers, of_tokens) = on_flash(hub);
                    (answers == in_status(hub) && of_tokens == tokens).then_some(())
                });
                hub.kill();
            }
            End::Terminate => assert_eq!(hub.terminate(SOON), Some(0)),
        }
    }
}

/// Version and number of objects of every collection of answers that is on flash now, as another process reads it, and the
/// number of tokens that are remembered there.
fn on_flash(hub: &Hub) -> (Vec<(String, u64)>, usize) {
    let key = std::fs::read(hub.folder("state_dir").join("cache.key")).expect("the hub's key");
    let files = Files::unlocked(&ring_dir(&hub.folder("cache_dir")));
    let engine = Engine::look(files, &key, node_digest("edge-1")).expect("a ring");
    let mut all: Vec<_> = (engine.collections())
        .filter(|(_, c)| Key::from_bytes(&c.name).is_some())
        .map(|(_, c)| (c.version.to_string(), c.table.len() as u64))
        .collect();
    all.sort();
    let own = |name: &[u8]| Own::of_name(name) == Some(Own::Tokens);
    let tokens = engine.collections().find(|(_, c)| own(&c.name));
    (all, tokens.map_or(0, |(_, c)| c.table.len()))
}

fn in_status(hub: &Hub) -> Vec<(String, u64)> {
    let status = hub.status();
    let collections = status["collections"].as_array().expect("collections");
    let mut all: Vec<_> = (collections.iter())
        .map(|c| {
            let version = c["version"].as_str().expect("a version");
            (
                version.to_string(),
                c["objects"].as_u64().expect("a number"),
            )
        })
        .collect();
    all.sort();
    all
}

fn age(reply: &Whole) -> u64 {
    let age = reply.header("edge-hub-cache").strip_prefix("age=");
    age.and_then(|age| age.parse().ok()).expect("an age")
}

/// What a person sees of a table: the names. Tables themselves are not kept, and kubectl makes its own of the objects.
fn names(kubectl: &Kubectl<'_>, args: &[&str]) -> Vec<String> {
    let text = kubectl.run(args).ok();
    let is_table = text.starts_with("NAME ");
    let first = |line: &str| {
        line.split_whitespace()
            .next()
            .unwrap_or_default()
            .to_string()
    };
    match is_table {
        true => text.lines().map(first).collect(),
        false => text.lines().map(str::to_string).collect(),
    }
}

fn everything_comes_back(namespace: &str, end: End) {
    let cluster = Cluster::shared();
    let mut door = Door::with(cluster, namespace, |setup| {
        setup
            .set("flush_secs", 1)
            .identity(cluster, "admin", "admin")
    });
    let other = cluster.account(namespace, "other", "edit");
    door.set("one", "1");
    door.set("two", "2");
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "data": { "k": "djE=" } });
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    let made = crate::support::http::Call::json(http::Method::POST, &secrets, &secret);
    door.direct().call(made).expect(201);

    // Everybody asks while there is a server.
    let people: [&[&str]; 4] = [
        &["-n", namespace, "get", "cm"],
        &[
            "-n",
            namespace,
            "get",
            "cm,secrets,serviceaccounts",
            "-o",
            "name",
        ],
        &["-n", namespace, "get", "cm", "one", "-o", "yaml"],
        &["-n", namespace, "get", "secrets,cm", "-o", "json"],
    ];
    let kubectl = door.kubectl();
    let seen = people.map(|args| names(&kubectl, args));
    let bodies = ENCODINGS.map(|(accept, accept_watch)| {
        let old = list_version(&get(&door.client(), &door.maps(""), accept).expect(200));
        door.set("two", accept);
        let list = get(&door.client(), &door.maps(""), accept).expect(200);
        let one = get(&door.client(), &door.maps("/one"), accept).expect(200);
        let other_agent = door.client().agent("initial/1");
        let mut watch = other_agent.watch(&door.maps(&format!("?{WATCH_LIST}")), accept_watch);
        watch.initial(SOON);
        (old, list, one)
    });
    let (certificate, key) = cluster.pair("admin");
    let admin = door
        .hub
        .client()
        .certificate(&certificate, &key)
        .agent("by-certificate/1");
    let nodes = admin.get("/api/v1/namespaces").expect(200);
    for (watch_list, content) in KINDS {
        assert_eq!(Informer::start(&door, watch_list, content).synced(), 3);
    }

    door.cut();
    end.of(&mut door.hub);
    let ended = Instant::now();
    door.hub.run();

    // Those who had it have it, to the byte, and are told how old it is.
    for ((accept, accept_watch), (old, list, one)) in ENCODINGS.into_iter().zip(&bodies) {
        for client in [door.client(), door.client().http1()] {
            let least = ended.elapsed().as_secs();
            let after = get(&client, &door.maps(""), accept);
            kept(&after);
            assert_eq!(after.body, list.body, "{accept}");
            assert!(age(&after) + 1 >= least, "{} of {least}", age(&after));
            let after = get(&client, &door.maps("/one"), accept);
            kept(&after);
            assert_eq!(after.body, one.body, "{accept}");
            get(&client, &door.maps("/absent"), accept).expect(404);
        }
        let version = list_version(list);
        let watch = |from: &str| {
            let query = format!("?watch=true&resourceVersion={from}");
            door.client().watch(&door.maps(&query), accept_watch)
        };
        watch(&version).silent(MOMENT);
        let error = watch(old).event(SOON);
        assert_eq!(error.kind, "ERROR");
        assert!(String::from_utf8_lossy(&error.bytes).contains("Expired"));
        for agent in ["test/1", "initial/1"] {
            let path = door.maps(&format!("?{WATCH_LIST}"));
            let mut replay = door.client().agent(agent).watch(&path, accept_watch);
            let events = replay.initial(SOON);
            assert_eq!(events.len(), item_names(list).len() + 1, "{agent}");
            replay.silent(MOMENT);
        }
    }
    let again = admin.get("/api/v1/namespaces");
    kept(&again);
    assert_eq!(again.body, nodes.body);
    for (watch_list, content) in KINDS {
        assert_eq!(Informer::start(&door, watch_list, content).synced(), 3);
    }
    let kubectl = door.kubectl();
    for (args, seen) in people.iter().zip(&seen) {
        assert_eq!(&names(&kubectl, args), seen, "{args:?}");
    }
    assert!(
        kubectl.run(&["-n", namespace, "get", "pods"]).code != Some(0),
        "nobody asked for them"
    );
    let least = ended.elapsed().as_secs();
    let late = get(&door.client(), &door.maps(""), JSON);
    assert!(
        age(&late) + 1 >= least && least > 1,
        "{} of {least}",
        age(&late)
    );

    // Nobody else does.
    for (accept, _) in ENCODINGS {
        let stranger = door.hub.client().bearer(&other);
        unknown(&get(&stranger, &door.maps(""), accept));
        unknown(&get(&stranger, &door.maps("/one"), accept));
        assert_ne!(
            get(&door.hub.client(), &door.maps(""), accept).status,
            200,
            "anonymous"
        );
        assert_ne!(
            get(&admin.clone().agent("test/1"), &door.maps(""), accept).status,
            200
        );
    }
    unknown(
        &door
            .client()
            .agent("by-certificate/1")
            .get("/api/v1/namespaces"),
    );
    let (certificate, key) = cluster.pair("node");
    let node = door
        .hub
        .client()
        .certificate(&certificate, &key)
        .agent("by-certificate/1");
    assert_ne!(
        node.get("/api/v1/namespaces").status,
        200,
        "another certificate"
    );

    // With the server back it goes on as ever.
    door.mend();
    let version = door.set("one", "later");
    let one = door.client().get(&door.maps("/one")).expect(200).json();
    assert_eq!(one["metadata"]["resourceVersion"], version);
}

#[test]
fn after_a_kill_everything_comes_back_for_those_who_had_it() {
    everything_comes_back("f-kill", End::Kill);
}

#[test]
fn after_an_orderly_end_too() {
    everything_comes_back("f-term", End::Terminate);
}

#[test]
fn one_that_starts_with_a_server_lists_nothing_by_itself_and_has_lost_nothing() {
    let mut door = Door::with(Cluster::shared(), "f-up", |setup| {
        setup.set("flush_secs", 1)
    });
    for n in 0..50 {
        door.set(&format!("n{n:02}"), &"x".repeat(2_000));
    }
    let lists =
        ENCODINGS.map(|(accept, _)| get(&door.client(), &door.maps(""), accept).expect(200));
    for end in [End::Kill, End::Terminate, End::Kill] {
        end.of(&mut door.hub);
        door.hub.run();
        let (_, before) = door.relay.carried();
        door.hub.sees_online();
        let (_, after) = door.relay.carried();
        assert!(
            after - before < 30_000,
            "{} bytes came without being asked for",
            after - before
        );
        door.cut();
        for ((accept, _), list) in ENCODINGS.into_iter().zip(&lists) {
            let after = get(&door.client(), &door.maps(""), accept);
            kept(&after);
            assert_eq!(after.body, list.body, "{end:?} {accept}");
        }
        door.mend();
    }
    // What changed meanwhile is told, and is what comes back the next time.
    door.set("n00", "new");
    let list = door.client().get(&door.maps("")).expect(200);
    door.cut();
    End::Kill.of(&mut door.hub);
    door.hub.run();
    assert_eq!(door.client().get(&door.maps("")).body, list.body);
}

#[test]
fn what_a_watch_told_is_on_flash_after_flush_secs() {
    let mut door = Door::with(Cluster::shared(), "f-watch", |setup| {
        setup.set("flush_secs", 1)
    });
    door.set("one", "1");
    door.set("two", "1");
    for (accept, accept_watch) in ENCODINGS {
        let list = get(&door.client(), &door.maps(""), accept).expect(200);
        let from = list_version(&list);
        let path = door.maps(&format!("?watch=true&resourceVersion={from}"));
        let mut watch = door.client().watch(&path, accept_watch);
        let version = door.set("one", accept);
        assert_eq!(watch.event(SOON).meta.resource_version, version);
        let of_this = |seen: Vec<(String, u64)>| seen.iter().any(|(at, _)| *at == version);
        until("the change is on flash", SEES, || {
            of_this(on_flash(&door.hub).0).then_some(())
        });
        // The link is up until the end: nothing but the clock has had it written.
        door.hub.kill();
        door.relay.refuse();
        door.hub.run();
        let after = get(&door.client(), &door.maps(""), accept);
        kept(&after);
        assert_eq!(list_version(&after), version);
        assert_eq!(item_names(&after).len(), 3);
        let one = get(&door.client(), &door.maps("/one"), accept);
        assert!(one.text().contains(&version));
        door.mend();
    }
}

/// What `path` holds, one file and all below it, in bytes.
pub fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return std::fs::metadata(path).map_or(0, |meta| meta.len());
    };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}

#[test]
fn another_cap_at_the_next_start_keeps_what_fits() {
    let mut door = Door::with(Cluster::shared(), "f-cap", |setup| {
        setup.set("flush_secs", 1).set("cache_max_bytes", 4 << 20)
    });
    for n in 0..40 {
        door.set(&format!("n{n:02}"), &"x".repeat(2_000));
    }
    let list = door.client().get(&door.maps("")).expect(200);
    door.cut();
    let start_with = |door: &mut Door, mib: u64, end: End| {
        end.of(&mut door.hub);
        door.hub.change("cache_max_bytes", Value::from(mib << 20));
        door.hub.run();
        let ring = ring_dir(&door.hub.folder("cache_dir"));
        until("the files are as large as they may be", SOON, || {
            let bytes = size(&ring);
            (bytes <= mib << 20 && bytes > mib << 19).then_some(())
        });
        assert_eq!(door.hub.status()["store"]["bytes_max"], mib << 20);
    };
    for (mib, end) in [
        (16, End::Kill),
        (2, End::Terminate),
        (3, End::Kill),
        (8, End::Terminate),
        (1, End::Kill),
        (64, End::Terminate),
        (1, End::Terminate),
    ] {
        start_with(&mut door, mib, end);
        let after = door.client().get(&door.maps(""));
        kept(&after);
        assert_eq!(after.body, list.body, "{mib} MiB");
        assert_eq!(door.hub.status()["warnings"], json!([]), "{mib} MiB");
    }
}
