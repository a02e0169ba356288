//! What the API server had at each version, as its own watch tells, without the hub.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::http::{Client, JSON, Piece};

/// The resources that change.
pub const KINDS: [&str; 2] = ["configmaps", "secrets"];
/// The annotation by which an object is known in any encoding.
pub const MARK: &str = "mark";

/// An object at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub version: u64,
    /// Stands in its bytes, in every encoding.
    pub mark: String,
    /// Of its metadata and its data.
    pub digest: u64,
}

impl Object {
    /// Of the JSON of an object.
    pub fn of(json: &Value) -> Object {
        let meta = &json["metadata"];
        let mut hasher = DefaultHasher::new();
        (meta.to_string(), json["data"].to_string()).hash(&mut hasher);
        Object {
            version: number(&meta["resourceVersion"]),
            mark: meta["annotations"][MARK]
                .as_str()
                .unwrap_or_default()
                .to_string(),
            digest: hasher.finish(),
        }
    }
}

/// The number that a version is.
pub fn number(version: &Value) -> u64 {
    let number = version.as_str().and_then(|version| version.parse().ok());
    number.unwrap_or_else(|| panic!("a version: {version}"))
}

#[derive(Default)]
struct Seen {
    /// By name, what it was from each version on; `None`: gone.
    names: BTreeMap<String, BTreeMap<u64, Option<Object>>>,
    last: u64,
    len: usize,
}

impl Seen {
    fn take(&mut self, json: &Value, is_gone: bool) {
        let object = Object::of(json);
        let name = json["metadata"]["name"]
            .as_str()
            .expect("a name")
            .to_string();
        self.last = self.last.max(object.version);
        self.len += 1;
        let version = object.version;
        (self.names.entry(name).or_default()).insert(version, (!is_gone).then_some(object));
    }
}

/// Of one resource in one namespace.
pub struct History {
    kind: &'static str,
    begins: u64,
    shared: Arc<(Mutex<Seen>, Condvar)>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl History {
    /// Lists, and then follows for as long as this value lives.
    pub fn start(cluster: &Cluster, namespace: &str, kind: &'static str) -> History {
        let path = format!("/api/v1/namespaces/{namespace}/{kind}");
        let client = cluster.admin().agent("history/1");
        let list = client.get(&path).expect(200).json();
        let begins = number(&list["metadata"]["resourceVersion"]);
        let mut seen = Seen {
            last: begins,
            ..Seen::default()
        };
        for item in list["items"].as_array().expect("items") {
            seen.take(item, false);
        }
        let shared = Arc::new((Mutex::new(seen), Condvar::new()));
        let done = Arc::new(AtomicBool::new(false));
        let (for_thread, is_done) = (Arc::clone(&shared), Arc::clone(&done));
        let thread = std::thread::spawn(move || follow(&client, &path, &for_thread, &is_done));
        History {
            kind,
            begins,
            shared,
            done,
            thread: Some(thread),
        }
    }

    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Changes seen.
    pub fn len(&self) -> usize {
        self.look(|seen| seen.len)
    }

    /// Waits until everything up to `version` is known.
    pub fn wait_for(&self, version: u64) {
        let seen = self.shared.0.lock().expect("nobody panics with it");
        let within = Duration::from_secs(60);
        let (seen, waited) = (self.shared.1)
            .wait_timeout_while(seen, within, |seen| seen.last < version)
            .expect("nobody panics with it");
        assert!(
            !waited.timed_out(),
            "{}: {} of {version}",
            self.kind,
            seen.last
        );
    }

    /// What was there at `version`, which must be known.
    pub fn at(&self, version: u64) -> BTreeMap<String, Object> {
        assert!(version >= self.begins, "{version} is before the history");
        self.look(|seen| {
            assert!(seen.last >= version, "{version} is not known yet");
            let there = |(name, versions): (&String, &BTreeMap<u64, Option<Object>>)| {
                let (_, object) = versions.range(..=version).next_back()?;
                Some((name.clone(), object.clone()?))
            };
            seen.names.iter().filter_map(there).collect()
        })
    }

    /// The object of this name at a version of its own, if it ever had it.
    pub fn object(&self, name: &str, version: u64) -> Option<Object> {
        self.look(|seen| seen.names.get(name)?.get(&version)?.clone())
    }

    /// Whether there was a time without it.
    pub fn was_absent(&self, name: &str) -> bool {
        self.look(|seen| {
            seen.names.get(name).is_none_or(|versions| {
                versions.values().any(Option::is_none)
                    || versions
                        .first_key_value()
                        .is_some_and(|(first, _)| *first > self.begins)
            })
        })
    }

    fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&self.shared.0.lock().expect("nobody panics with it"))
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The API server ends a watch after a while; the next one goes on where it was.
fn follow(client: &Client, path: &str, shared: &(Mutex<Seen>, Condvar), done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let last = shared.0.lock().expect("nobody panics with it").last;
        let mut watch = client.watch(&format!("{path}?watch=true&resourceVersion={last}"), JSON);
        while !done.load(Ordering::Relaxed) {
            match watch.poll(Duration::from_millis(200)) {
                Ok(event) => {
                    let json: Value = serde_json::from_slice(&event.bytes).expect("JSON");
                    assert_ne!(event.kind, "ERROR", "{json}");
                    let mut seen = shared.0.lock().expect("nobody panics with it");
                    seen.take(&json["object"], event.kind == "DELETED");
                    shared.1.notify_all();
                }
                Err(Piece::Nothing) => {}
                Err(_) => break,
            }
        }
    }
}
