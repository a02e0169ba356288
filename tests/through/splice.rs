//! Watches that outlive an outage: the client has one answer, in which every event comes once and none is missing.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::Method;

use crate::door::{Door, MOMENT, SOON, WATCH_LIST};
use crate::offline::list_version;
use crate::support::cluster::{Cluster, Setup};
use crate::support::http::{Call, Client, Event, JSON, PROTOBUF, PROTOBUF_WATCH, Piece, Watch};
use crate::support::until;

const ENCODINGS: [&str; 2] = [JSON, PROTOBUF_WATCH];

/// What an event says, in a line.
fn line(event: &Event) -> String {
    format!(
        "{} {} {}",
        event.kind, event.meta.name, event.meta.resource_version
    )
}

/// The next events, without bookmarks.
#[track_caller]
fn lines(watch: &mut Watch, count: usize) -> Vec<String> {
    (0..count).map(|_| line(&watch.event(SOON))).collect()
}

fn version(door: &Door) -> String {
    list_version(&door.client().get(&door.maps("")).expect(200))
}

impl Door {
    fn delete(&self, name: &str) {
        self.direct()
            .call(Call {
                method: Method::DELETE,
                ..Call::get(&self.maps(&format!("/{name}")))
            })
            .expect(200);
    }

    /// Something of everything, behind the hub's back: six events.
    fn churn(&self, tag: &str) {
        self.set(&format!("{tag}-a"), "1");
        self.set(&format!("{tag}-b"), "1");
        self.set(&format!("{tag}-a"), "2");
        self.delete(&format!("{tag}-b"));
        self.set(&format!("{tag}-b"), "3");
        self.set("one", tag);
    }
}

/// What a client that asks the API server itself is told, the same number of events.
fn directly(door: &Door, from: &str, count: usize) -> Vec<String> {
    let path = door.maps(&format!("?watch=1&resourceVersion={from}"));
    lines(&mut door.direct().watch(&path, JSON), count)
}

#[test]
fn no_event_is_lost_or_doubled_in_an_outage_of_any_kind() {
    let door = Door::new("s-kinds");
    door.set("one", "0");
    let from = version(&door);
    let clients = [door.client(), door.client().http1()];
    let watches = || {
        let all = clients.iter().flat_map(|client| {
            ENCODINGS.map(|accept| {
                let plain = door.maps(&format!("?watch=1&resourceVersion={from}"));
                let bookmarks = format!("{plain}&allowWatchBookmarks=true");
                [
                    client.watch(&plain, accept),
                    client.watch(&bookmarks, accept),
                ]
            })
        });
        all.flatten().collect::<Vec<Watch>>()
    };
    let mut watches = watches();
    let mut count = 0;
    for kind in ["refused", "silent", "reset", "in a frame"] {
        let tag = kind.replace(' ', "-");
        door.churn(&format!("before-{tag}"));
        match kind {
            "refused" => door.relay.refuse(),
            "silent" => door.relay.black_hole(),
            "reset" => door.relay.cut(),
            _ => door.relay.reset_after(700),
        }
        if matches!(kind, "refused" | "silent") {
            door.hub.sees_offline();
        }
        door.churn(&format!("within-{tag}"));
        door.mend();
        door.churn(&format!("after-{tag}"));
        let want = directly(&door, &from, count + 18);
        for watch in &mut watches {
            assert_eq!(lines(watch, 18), want[count..], "{kind}");
        }
        count += 18;
    }
    assert!(door.relay.fault_done());
    for watch in &mut watches {
        watch.silent(MOMENT);
    }
    assert_eq!(door.hub.metric("edge_hub_watches_held"), 0.0);
    assert_eq!(door.hub.metric("edge_hub_watches_expired_total"), 0.0);
    assert!(door.hub.metric("edge_hub_watches_resumed_total") >= 16.0);
}

#[test]
fn a_watch_list_goes_on_after_its_mark() {
    let door = Door::new("s-list");
    door.set("one", "0");
    for client in [door.client(), door.client().http1()] {
        for accept in ENCODINGS {
            let path = door.maps(&format!("?{WATCH_LIST}"));
            let mut online = client.watch(&path, accept);
            let from = online
                .initial(SOON)
                .pop()
                .expect("the mark")
                .meta
                .resource_version;
            door.cut();
            // One that begins in the outage knows as much, and goes on as well.
            let mut offline = client.watch(&path, accept);
            let mark = offline.initial(SOON).pop().expect("the mark");
            assert_eq!(mark.meta.resource_version, from);
            let held = door.hub.metric("edge_hub_watches_held");
            assert_eq!(held, 2.0);
            door.churn("within");
            door.mend();
            door.churn("after");
            let want = directly(&door, &from, 12);
            for watch in [&mut online, &mut offline] {
                assert_eq!(lines(watch, 12), want, "{accept}");
                watch.silent(MOMENT);
            }
        }
    }
    assert_eq!(door.hub.metric("edge_hub_watches_expired_total"), 0.0);
}

#[test]
fn who_takes_no_bookmarks_gets_none_but_goes_on_where_one_was() {
    let door = Door::new("s-nothing");
    door.set("one", "0");
    let client = door.client();
    // From nothing: where it is, a bookmark tells, which it does not see; or a change.
    let mut watch = client.watch(&door.maps("?watch=1"), JSON);
    let mut names: Vec<String> = (0..2).map(|_| watch.event(SOON).meta.name).collect();
    names.sort();
    assert_eq!(names, ["kube-root-ca.crt", "one"]);
    let changed = door.set("one", "1");
    assert_eq!(watch.event(SOON).meta.resource_version, changed);
    door.cut();
    door.churn("within");
    door.mend();
    assert_eq!(lines(&mut watch, 6), directly(&door, &changed, 6));
    watch.silent(MOMENT);
    let seen = watch.poll(MOMENT);
    assert_eq!(seen, Err(Piece::Nothing), "a bookmark");
}

#[test]
fn nothing_was_told_yet_and_so_all_is_told_when_it_can_be() {
    let door = Door::new("s-afresh");
    door.set("one", "0");
    let client = door.client();
    // The head of the answer has come and nothing else: the namespace has no Secrets.
    let path = "/api/v1/namespaces/s-afresh/secrets?watch=1";
    let mut watch = client.watch(path, JSON);
    assert_eq!(watch.poll(MOMENT), Err(Piece::Nothing), "a bookmark");
    door.cut();
    assert_eq!(watch.poll(MOMENT), Err(Piece::Nothing), "a bookmark");
    let secret = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"new"}}"#;
    let kubectl = door.cluster.kubectl();
    kubectl
        .run_with(secret, &["-n", "s-afresh", "create", "-f", "-"])
        .ok();
    door.mend();
    let event = watch.event(SOON);
    assert_eq!(
        (event.kind.as_str(), event.meta.name.as_str()),
        ("ADDED", "new")
    );
}

#[test]
fn its_time_goes_on_in_an_outage() {
    let door = Door::new("s-time");
    door.set("one", "0");
    let from = version(&door);
    let start = Instant::now();
    let path = |secs: u32| {
        door.maps(&format!(
            "?watch=1&resourceVersion={from}&timeoutSeconds={secs}"
        ))
    };
    let mut within = door.client().watch(&path(3), JSON);
    let mut over = door.client().watch(&path(6), JSON);
    door.cut();
    assert_eq!(within.poll(SOON), Err(Piece::End));
    let lasted = start.elapsed();
    assert!((3.0..4.5).contains(&lasted.as_secs_f64()), "{lasted:?}");
    door.mend();
    let changed = door.set("one", "1");
    assert_eq!(over.event(SOON).meta.resource_version, changed);
    assert_eq!(over.poll(SOON), Err(Piece::End));
    let lasted = start.elapsed();
    assert!((6.0..8.0).contains(&lasted.as_secs_f64()), "{lasted:?}");
}

/// Its watch has ended, and another one of the same program went on meanwhile.
#[test]
fn one_that_begins_behind_what_is_kept_hears_each_event_when_the_link_is_back() {
    let door = Door::new("s-behind");
    door.set("one", "0");
    for (list, accept) in [(JSON, JSON), (PROTOBUF, PROTOBUF_WATCH)] {
        let client = door.client();
        let listed = client
            .call(Call::get(&door.maps("")).accept(list))
            .expect(200);
        let from = list_version(&listed);
        let path = door.maps(&format!(
            "?watch=1&resourceVersion={from}&allowWatchBookmarks=true"
        ));
        let mut ahead = client.watch(&path, accept);
        door.churn("before");
        let want = directly(&door, &from, 6);
        assert_eq!(lines(&mut ahead, 6), want);
        door.cut();
        let expired = door.hub.metric("edge_hub_watches_expired_total");
        let mut behind = client.watch(&path, accept);
        behind.silent(Duration::from_secs(3));
        door.churn("within");
        door.mend();
        let want = directly(&door, &from, 12);
        assert_eq!(lines(&mut behind, 12), want, "{accept}");
        assert_eq!(lines(&mut ahead, 6), want[6..], "{accept}");
        let now = door.hub.metric("edge_hub_watches_expired_total");
        assert_eq!(now, expired);
        // The link stays away: what is kept is worth more than what it once missed.
        door.cut();
        let start = Instant::now();
        let mut behind = client.watch(&path, accept);
        assert_eq!(behind.event(SOON).kind, "ERROR");
        assert_eq!(behind.poll(SOON), Err(Piece::End));
        assert!(start.elapsed() > Duration::from_secs(9));
        door.mend();
    }
}

#[test]
fn who_may_no_longer_ask_is_not_told_anything() {
    let door = Door::new("s-refused");
    let kubectl = door.cluster.kubectl();
    door.set("one", "0");
    let other = door.cluster.account("s-refused", "other", "edit");
    let gone = door.cluster.account("s-refused", "gone", "edit");
    let query = format!("?watch=1&resourceVersion={}", version(&door));
    let watch = |token: &str| {
        let client = door.hub.client().bearer(token);
        client.get(&door.maps("")).expect(200);
        client.watch(&door.maps(&query), JSON)
    };
    let (mut stays, mut forbidden, mut unknown) = (watch(&door.token), watch(&other), watch(&gone));
    door.cut();
    // 403, and 401: a token goes with its account.
    kubectl
        .run(&["delete", "clusterrolebinding", "s-refused-other"])
        .ok();
    kubectl
        .run(&["-n", "s-refused", "delete", "serviceaccount", "gone"])
        .ok();
    let direct =
        |token: &str| Client::new(door.cluster.address(), &door.cluster.ca()).bearer(token);
    until("the API server refuses both", SOON, || {
        let refused = |token, status| direct(token).get(&door.maps("")).status == status;
        (refused(&other, 403) && refused(&gone, 401)).then_some(())
    });
    let changed = door.set("one", "1");
    door.mend();
    assert_eq!(stays.event(SOON).meta.resource_version, changed);
    // A clean end: they come back, and hear it.
    assert_eq!(forbidden.poll(SOON), Err(Piece::End));
    assert_eq!(unknown.poll(SOON), Err(Piece::End));
    door.hub
        .client()
        .bearer(&other)
        .get(&door.maps(""))
        .expect(403);
}

/// An event of 5.8 MB is longer than what is held back: it comes, and so do those behind it; only the cut shows then.
#[test]
fn an_event_that_is_too_long_passes_and_the_cut_shows() {
    let door = Door::new("s-long");
    let from = version(&door);
    let path = door.maps(&format!("?watch=1&resourceVersion={from}"));
    let client = door.client();
    let mut json = client.watch(&path, JSON);
    let mut protobuf = client.watch(&path, PROTOBUF_WATCH);
    // Six bytes of JSON each, one of protobuf. The API server takes 3 MB at a time.
    let part = "\u{1}".repeat(240_000);
    let mut last = door.set("long", "");
    // As it comes: who takes nothing for a minute, which this lasts on a busy machine, is given up.
    let mut lengths = vec![json.event(SOON).bytes.len()];
    for n in 0..4 {
        let data = serde_json::json!({ "data": { format!("part{n}"): part } });
        let long = door.maps("/long");
        let call = Call {
            headers: vec![("content-type", "application/merge-patch+json")],
            ..Call::json(Method::PATCH, &long, &data)
        };
        let changed = door.direct().call(call).expect(200).json();
        last = changed["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version")
            .to_string();
        lengths.push(json.event(SOON).bytes.len());
    }
    assert!(lengths[4] > 5_700_000, "{lengths:?}");
    let behind = door.set("one", "1");
    assert_eq!(json.event(SOON).meta.resource_version, behind);
    let told = lines(&mut protobuf, 6);
    assert_eq!(told[4], format!("MODIFIED long {last}"));
    door.cut();
    assert!(matches!(json.poll(SOON), Err(Piece::Broken(_))));
    // As protobuf it was not too long.
    protobuf.silent(MOMENT);
    door.mend();
    let changed = door.set("one", "2");
    assert_eq!(protobuf.event(SOON).meta.resource_version, changed);
    let path = door.maps(&format!("?watch=1&resourceVersion={behind}"));
    let mut again = client.watch(&path, JSON);
    assert_eq!(again.event(SOON).meta.resource_version, changed);
}

/// The hub must read what it keeps, and what it goes on with.
#[test]
fn cbor_passes_where_the_hub_need_not_read_it_and_is_not_asked_for_where_it_must() {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| {
        Cluster::start(&Setup {
            apiserver_flags: "--feature-gates=CBORServingAndStorage=true".to_string(),
            ..Setup::default()
        })
    });
    let door = Door::with(cluster, "s-cbor", |setup| {
        setup.set("cache_agents", serde_json::json!(["kept"]))
    });
    const BOTH: &str = "application/json;q=0.9,application/cbor;q=1";
    let from = door.set("one", "1");
    let answered = |client: &Client, path: &str, accept: &str| {
        let reply = client
            .send(Call::get(path).accept(accept))
            .expect("a reply");
        assert_eq!(reply.status, 200);
        reply.header("content-type").to_string()
    };
    let (kept, other) = (
        door.client().agent("kept/1"),
        door.client().agent("other/1"),
    );
    let list = door.maps("");
    assert_eq!(answered(&other, &list, BOTH), "application/cbor");
    assert_eq!(answered(&kept, &list, BOTH), JSON);
    assert_eq!(
        answered(&kept, &list, "application/cbor"),
        "application/cbor"
    );
    let watch = door.maps(&format!("?watch=1&resourceVersion={from}"));
    assert_eq!(answered(&other, &watch, BOTH), JSON);
    let mut goes_on = other.watch(&watch, BOTH);
    door.cut();
    let changed = door.set("one", "2");
    door.mend();
    assert_eq!(goes_on.event(SOON).meta.resource_version, changed);
}

#[test]
fn kubectl_that_begins_in_an_outage_goes_on() {
    let door = Door::new("s-kubectl");
    door.set("one", "0");
    let kubectl = door.kubectl();
    let get = ["-n", "s-kubectl", "get", "cm", "-o", "name"];
    let told = kubectl.run(&get).ok();
    door.cut();
    let watch = kubectl.start(&[&get[..], &["-w"]].concat());
    for line in told.lines() {
        watch.line("what is kept", SOON, |said| said == line);
    }
    door.set("two", "1");
    door.mend();
    watch.line("what came", SOON, |line| line == "configmap/two");
    assert_eq!(watch.errors(), Vec::<String>::new());
}

#[test]
fn a_table_goes_on_too() {
    let door = Door::new("s-table");
    door.set("one", "0");
    let kubectl = door.kubectl();
    let watch = kubectl.start(&["-n", "s-table", "get", "cm", "-w"]);
    watch.line("what is there", SOON, |line| line.starts_with("one "));
    door.cut();
    door.set("two", "1");
    door.mend();
    watch.line("what came", SOON, |line| line.starts_with("two "));
    door.set("three", "1");
    watch.line("what comes", SOON, |line| line.starts_with("three "));
    assert_eq!(watch.errors(), Vec::<String>::new());
}

#[test]
fn two_hundred_go_on_at_once() {
    let door = Door::new("s-many");
    door.set("one", "0");
    let from = version(&door);
    let path = door.maps(&format!("?watch=1&resourceVersion={from}"));
    let client = door.client();
    let mut watches: Vec<Watch> = (0..200).map(|_| client.watch(&path, JSON)).collect();
    door.cut();
    until("all are held", SOON, || {
        (door.hub.metric("edge_hub_watches_held") == 200.0).then_some(())
    });
    let changed = door.set("one", "1");
    door.mend();
    for watch in &mut watches {
        assert_eq!(watch.event(SOON).meta.resource_version, changed);
    }
    assert_eq!(door.hub.metric("edge_hub_watches_resumed_total"), 200.0);
}

/// A control plane whose API server is restarted, by one test at a time.
fn restarted() -> (&'static Cluster, MutexGuard<'static, ()>) {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    (
        CLUSTER.get_or_init(|| Cluster::start(&Setup::default())),
        one,
    )
}

/// Kills the API server and starts it again; before, something happens. A new one has forgotten all that was before.
fn restart(door: &Door, meanwhile: impl FnOnce()) {
    // Of another resource: what the ConfigMaps were at is too old for the new one.
    for n in 0..3 {
        let label = format!("n={n}");
        let args = ["label", "--overwrite", "namespace", &door.namespace, &label];
        door.cluster.kubectl().run(&args).ok();
    }
    // What happens while the hub has no link, happens at the old server; and is the past for the new one.
    door.relay.refuse();
    door.hub.sees_offline();
    meanwhile();
    door.cluster.script(&["kill", "apiserver"]);
    door.cluster.script(&["start", "apiserver"]);
    door.mend();
}

#[test]
fn what_the_api_server_has_forgotten_the_hub_tells() {
    let (cluster, _one) = restarted();
    let door = Door::with(cluster, "s-forgotten", |setup| setup);
    for name in ["stays", "changes", "goes", "anew"] {
        door.set(name, "0");
    }
    let paths = [
        (
            "?watch=1&resourceVersion=FROM&allowWatchBookmarks=true",
            true,
        ),
        ("?watch=1&resourceVersion=FROM", false),
    ];
    let client = door.client();
    let mut watches = Vec::new();
    for (list, accept) in [(JSON, JSON), (PROTOBUF, PROTOBUF_WATCH)] {
        let listed = client
            .call(Call::get(&door.maps("")).accept(list))
            .expect(200);
        let from = list_version(&listed);
        for (path, bookmarks) in paths {
            let path = door.maps(&path.replace("FROM", &from));
            watches.push((client.watch(&path, accept), bookmarks));
        }
        let mut list = client.watch(&door.maps(&format!("?{WATCH_LIST}")), accept);
        list.initial(SOON);
        watches.push((list, true));
    }
    let (mut changed, mut anew, mut new) = Default::default();
    restart(&door, || {
        door.set("changes", "1");
        door.delete("goes");
        door.delete("anew");
        anew = door.set("anew", "1");
        new = door.set("new", "1");
        changed = door.set("changes", "2");
    });
    for (watch, bookmarks) in &mut watches {
        let mut gone: Vec<Event> = (0..2).map(|_| watch.event(SOON)).collect();
        gone.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
        let is = |event: &Event| (event.kind.clone(), event.meta.name.clone());
        let deleted = |name: &str| ("DELETED".to_string(), name.to_string());
        assert_eq!(is(&gone[0]), deleted("anew"));
        assert_eq!(is(&gone[1]), deleted("goes"));
        // As it was last, and not only its name.
        let whole = String::from_utf8_lossy(&gone[1].bytes).into_owned();
        assert!(whole.contains("key"), "{whole}");
        let rest = lines(watch, 3);
        assert_eq!(
            rest,
            [
                format!("ADDED anew {anew}"),
                format!("ADDED new {new}"),
                format!("MODIFIED changes {changed}"),
            ]
        );
        if *bookmarks {
            let mark = watch.poll(SOON).expect("a bookmark");
            assert_eq!(mark.kind, "BOOKMARK");
            let at: u64 = mark.meta.resource_version.parse().expect("a number");
            assert!(at >= changed.parse().expect("a number"));
        }
    }
    let later = door.set("stays", "1");
    for (watch, _) in &mut watches {
        assert_eq!(line(&watch.event(SOON)), format!("MODIFIED stays {later}"));
        watch.silent(MOMENT);
    }
    assert_eq!(door.hub.metric("edge_hub_watches_caught_up_total"), 6.0);
    assert_eq!(door.hub.metric("edge_hub_watches_expired_total"), 0.0);
    // What the hub listed is kept.
    door.cut();
    let kept = door.client().get(&door.maps("")).expect(200);
    assert!(kept.text().contains(&later));
}

#[test]
fn what_the_client_holds_is_not_known_and_so_it_lists_again() {
    let (cluster, _one) = restarted();
    let door = Door::with(cluster, "s-not-kept", |setup| {
        setup.set("cache_agents", serde_json::json!(["kept"]))
    });
    door.set("one", "0");
    let client = door.client().agent("other/1");
    client.get(&door.maps("")).expect(200);
    let query = format!("?watch=1&resourceVersion={}", version(&door));
    for accept in ENCODINGS {
        let mut watch = client.watch(&door.maps(&query), accept);
        restart(&door, || {
            door.set("one", accept);
        });
        let error = watch.event(SOON);
        assert_eq!(error.kind, "ERROR");
        assert!(String::from_utf8_lossy(&error.bytes).contains("Expired"));
        assert_eq!(watch.poll(SOON), Err(Piece::End));
    }
    assert_eq!(door.hub.metric("edge_hub_watches_expired_total"), 2.0);
}

#[test]
fn an_api_server_that_restarts_in_good_order_ends_no_watch() {
    let (cluster, _one) = restarted();
    let door = Door::with(cluster, "s-restart", |setup| setup);
    door.set("one", "0");
    let mut watches: Vec<Watch> = [(JSON, JSON), (PROTOBUF, PROTOBUF_WATCH)]
        .iter()
        .map(|(list, watch)| {
            let list = door.client().call(Call::get(&door.maps("")).accept(list));
            let query = format!("?watch=1&resourceVersion={}", list_version(&list));
            door.client().watch(&door.maps(&query), watch)
        })
        .collect();
    let start = Instant::now();
    door.cluster.script(&["stop", "apiserver"]);
    door.cluster.script(&["start", "apiserver"]);
    door.hub.sees_online();
    let changed = door.set("one", "1");
    for watch in &mut watches {
        let event = watch.event(SOON.max(start.elapsed()));
        assert_eq!(line(&event), format!("MODIFIED one {changed}"));
        watch.silent(MOMENT);
    }
    assert_eq!(door.hub.metric("edge_hub_watches_expired_total"), 0.0);
}

#[test]
fn who_does_not_read_slows_nobody_and_loses_nothing() {
    let door = Door::new("s-slow");
    door.set("one", "0");
    let from = version(&door);
    let path = door.maps(&format!("?watch=1&resourceVersion={from}"));
    for client in [door.client(), door.client().http1()] {
        let mut slow = client.watch(&path, JSON);
        let mut quick = door.client().watch(&path, JSON);
        let (_, before) = (slow.head().header("content-type").len(), memory(&door));
        let value = "x".repeat(100_000);
        let mut last = String::new();
        for n in 0..60 {
            last = door.set("one", &format!("{n}{value}"));
            loop {
                if quick.event(SOON).meta.resource_version == last {
                    break;
                }
            }
        }
        let grown = memory(&door).saturating_sub(before);
        assert!(grown < 3 << 20, "{grown} bytes for one who does not read");
        let mut seen = 0;
        while slow.event(SOON).meta.resource_version != last {
            seen += 1;
        }
        assert!(seen >= 59, "{seen}");
    }
}

fn memory(door: &Door) -> u64 {
    let text =
        std::fs::read_to_string(format!("/proc/{}/status", door.hub.pid())).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .expect("a size");
    kib << 10
}

#[test]
fn a_held_watch_ends_with_the_hub() {
    let mut door = Door::new("s-drain");
    door.set("one", "0");
    let path = door.maps(&format!("?watch=1&resourceVersion={}", version(&door)));
    let mut watch = door.client().watch(&path, JSON);
    door.cut();
    watch.silent(MOMENT);
    assert_eq!(door.hub.terminate(Duration::from_secs(15)), Some(0));
    assert_eq!(watch.poll(SOON), Err(Piece::End));
}
