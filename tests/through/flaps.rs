//! A link that flaps, in every way that a link can, while objects come, change and go: what each client was told is
//! compared with what the API server itself tells. Nothing may be lost, nothing doubled, and nobody may ask again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;

use crate::door::{Door, WATCH_LIST};
use crate::informers::Informer;
use crate::offline::list_version;
use crate::support::http::{Call, Client, Event, JSON, PROTOBUF_WATCH, Piece, Watch};
use crate::support::until;

/// How long after the last flap everybody has been told everything.
const SETTLE: Duration = Duration::from_secs(60);
const OBJECTS: u64 = 12;
/// client-go ends its watches itself after this at the earliest, and goes on with another one.
const INFORMER_WATCH: Duration = Duration::from_secs(300);

/// A number to choose by, the same in each run: xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What a client was told: `MODIFIED name version`, in order.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<(Vec<String>, Option<Piece>)>>);

impl Record {
    /// Follows a watch to its end, in a thread of its own.
    fn of(mut watch: Watch, stop: &Arc<AtomicBool>) -> Record {
        let record = Record::default();
        let (told, stop) = (record.clone(), Arc::clone(stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match watch.poll(Duration::from_millis(200)) {
                    Ok(event) => told.told(&event),
                    Err(Piece::Nothing) => {}
                    Err(end) => {
                        told.0.lock().expect("nobody panics").1 = Some(end);
                        return;
                    }
                }
            }
        });
        record
    }

    /// Follows one short watch after another, each from where the one before has ended, as client-go does every few minutes.
    /// Whatever ends it otherwise than in good order is its end.
    fn of_many(
        client: Client,
        path: String,
        accept: &'static str,
        from: &str,
        stop: &Arc<AtomicBool>,
    ) -> Record {
        let record = Record::default();
        let (told, stop, mut at) = (record.clone(), Arc::clone(stop), from.to_string());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let path = format!("{path}&resourceVersion={at}&timeoutSeconds=2");
                let end = match client.try_watch(&path, accept) {
                    Err(refused) => Piece::Broken(refused),
                    Ok(mut watch) => loop {
                        match watch.poll(Duration::from_secs(30)) {
                            Err(end) => break end,
                            Ok(event) if event.kind == "ERROR" => {
                                let said = String::from_utf8_lossy(&event.bytes).into_owned();
                                break Piece::Broken(format!("from {at}: {said}"));
                            }
                            Ok(event) => {
                                at.clone_from(&event.meta.resource_version);
                                told.told(&event);
                            }
                        }
                    },
                };
                if end != Piece::End {
                    told.0.lock().expect("nobody panics").1 = Some(end);
                    return;
                }
            }
        });
        record
    }

    fn told(&self, event: &Event) {
        if event.kind != "BOOKMARK" {
            let (name, version) = (&event.meta.name, &event.meta.resource_version);
            let line = format!("{} {name} {version}", event.kind);
            self.0.lock().expect("nobody panics").0.push(line);
        }
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics").0.clone()
    }
}

/// What an informer was told after its first state, in the same words.
fn lines_of(informer: &Informer) -> Vec<String> {
    let word = |line: &Value| match line["e"].as_str() {
        Some("add") if line["initial"] != true => Some("ADDED"),
        Some("update") => Some("MODIFIED"),
        Some("delete") => Some("DELETED"),
        _ => None,
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let lines = informer.all();
    let lines = lines.iter().filter_map(|line| {
        let word = word(line)?;
        Some(format!(
            "{word} {} {}",
            text(&line["name"]),
            text(&line["rv"])
        ))
    });
    lines.collect()
}

/// How often an informer has asked: for a list, and to watch from where it is.
fn asked(informer: &Informer) -> (usize, usize) {
    let requests = informer.printed("request");
    let watches = requests.iter().filter(|line| line["verb"] == "watch");
    let watches = watches.count();
    (requests.len() - watches, watches)
}

/// Changes objects until it is told to stop, some thirty times a second; the last version.
fn churn(client: &Client, path: &str, stop: &AtomicBool) -> u64 {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let name = format!("m{}", random.below(OBJECTS));
        let one = format!("{path}/{name}");
        number += 1;
        let call = match random.below(8) {
            0 => Call {
                method: Method::DELETE,
                ..Call::get(&one)
            },
            _ => Call {
                method: Method::PATCH,
                path: &format!("{one}?fieldManager=flaps&force=true"),
                headers: vec![("content-type", "application/apply-patch+yaml")],
                body: serde_json::json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name },
                    "data": { "n": number.to_string(), "x": "x".repeat(random.below(3000) as usize) },
                })
                .to_string()
                .into(),
            },
        };
        let _ = client.send(call).and_then(|reply| reply.whole());
        std::thread::sleep(Duration::from_millis(25));
    }
    number
}

/// One flap of a random kind, and a random rest after it.
fn flap(door: &Door, random: &mut Random) {
    let relay = &door.relay;
    let millis = |random: &mut Random, end| Duration::from_millis(10 + random.below(end));
    match random.below(8) {
        0 => {
            relay.refuse();
            std::thread::sleep(millis(random, 200));
        }
        1 => relay.cut(),
        2 => relay.reset_after(random.below(4000) as usize),
        3 => relay.half_close_after(random.below(4000) as usize),
        4 => {
            relay.black_hole();
            // One in eight is long enough to be noticed.
            let long = if random.below(8) == 0 { 1500 } else { 150 };
            std::thread::sleep(millis(random, long));
        }
        5 => {
            relay.throttle(2_000 + random.below(50_000));
            std::thread::sleep(millis(random, 200));
            relay.throttle(0);
        }
        6 => {
            relay.delay(Duration::from_millis(random.below(60)));
            std::thread::sleep(millis(random, 200));
            relay.delay(Duration::ZERO);
        }
        // As an outage is: nothing, and then another nothing.
        _ => {
            relay.black_hole();
            std::thread::sleep(millis(random, 60));
            relay.refuse();
            std::thread::sleep(millis(random, 60));
        }
    }
    relay.pass();
    std::thread::sleep(millis(random, 250));
}

#[test]
fn the_link_flaps_and_nobody_notices() {
    let long = std::env::var_os("EDGE_HUB_TEST_LONG").is_some();
    let flaps = if long { 10_000 } else { 500 };
    let door = Door::new("flaps");
    door.set("one", "0");
    let stop = Arc::new(AtomicBool::new(false));
    let informers = [("on", "protobuf"), ("off", "json")]
        .map(|(list, content)| Informer::start(&door, list, content));
    for informer in &informers {
        informer.synced();
    }
    door.set("one", "1");
    for informer in &informers {
        informer.sees("update", "one");
    }
    let start = Instant::now();
    let before = informers.each_ref().map(asked);
    let told = informers.each_ref().map(|i| lines_of(i).len());
    let from = list_version(&door.client().get(&door.maps("")).expect(200));
    let path = door.maps(&format!(
        "?watch=1&resourceVersion={from}&allowWatchBookmarks=true&timeoutSeconds=86400"
    ));
    let truth = Record::of(door.direct().watch(&path, JSON), &stop);
    let mut records = Vec::new();
    for (name, client) in [("h2", door.client()), ("h1", door.client().http1())] {
        for accept in [JSON, PROTOBUF_WATCH] {
            let plain = Record::of(client.watch(&path, accept), &stop);
            records.push((format!("{name} {accept}"), plain));
            let list = door.maps(&format!("?{WATCH_LIST}&timeoutSeconds=86400"));
            let mut list = client.watch(&list, accept);
            list.initial(Duration::from_secs(20));
            records.push((format!("{name} {accept} list"), Record::of(list, &stop)));
            let path = door.maps("?watch=1&allowWatchBookmarks=true");
            let comes_back = client.clone().agent("comes-back/1");
            let many = Record::of_many(comes_back, path, accept, &from, &stop);
            records.push((format!("{name} {accept} again and again"), many));
        }
    }

    let churning = Arc::new(AtomicBool::new(false));
    let churner = {
        let (client, path) = (door.direct(), door.maps(""));
        let churning = Arc::clone(&churning);
        std::thread::spawn(move || churn(&client, &path, &churning))
    };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..flaps {
        flap(&door, &mut random);
    }
    churning.store(true, Ordering::Relaxed);
    churner.join().expect("the churn goes on to its end");
    door.mend();
    let last = door.set("last", "1");
    let is_last = |lines: Vec<String>| lines.last().is_some_and(|line| line.ends_with(&last));
    until("the API server tells it all", SETTLE, || {
        is_last(truth.lines()).then_some(())
    });
    let want = truth.lines();
    println!(
        "{flaps} flaps in {:?}, {} events, {} times taken up, {} caught up",
        start.elapsed(),
        want.len(),
        door.hub.metric("edge_hub_watches_resumed_total"),
        door.hub.metric("edge_hub_watches_caught_up_total"),
    );
    for (name, record) in &records {
        until(&format!("{name} is told it all"), SETTLE, || {
            let end = record.0.lock().expect("nobody panics").1.clone();
            assert_eq!(end, None, "{name}");
            is_last(record.lines()).then_some(())
        });
        same(name, &record.lines(), &want);
    }
    for (at, informer) in informers.iter().enumerate() {
        until("an informer is told it all", SETTLE, || {
            is_last(lines_of(informer)).then_some(())
        });
        same("an informer", &lines_of(informer)[told[at]..], &want);
        let ((lists, watches), (lists_before, watches_before)) = (asked(informer), before[at]);
        assert_eq!(lists, lists_before, "nobody lists again");
        let over = start.elapsed().as_secs() / INFORMER_WATCH.as_secs();
        assert!(
            watches - watches_before <= over as usize,
            "nobody watches again before its time: {watches} times"
        );
    }
    assert_eq!(door.hub.metric("edge_hub_watches_expired_total"), 0.0);
    stop.store(true, Ordering::Relaxed);
}

#[track_caller]
fn same(name: &str, got: &[String], want: &[String]) {
    if got == want {
        return;
    }
    let told: HashSet<_> = got.iter().collect();
    let lost: Vec<_> = want.iter().filter(|line| !told.contains(line)).collect();
    let mut seen = HashSet::new();
    let doubled: Vec<_> = got.iter().filter(|line| !seen.insert(*line)).collect();
    let differs = got.iter().zip(want).position(|(got, want)| got != want);
    panic!(
        "{name}: {} of {} lost: {:?}, {} doubled: {:?}; the first that differs: {differs:?}",
        lost.len(),
        want.len(),
        &lost[..lost.len().min(5)],
        doubled.len(),
        &doubled[..doubled.len().min(5)]
    );
}
