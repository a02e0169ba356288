//! Somebody who makes, changes and deletes objects at the API server itself, all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::history::{KINDS, MARK, number};
use crate::rng::Rng;
use crate::support::cluster::Cluster;
use crate::support::http::{Call, Connection, Reply, Whole};

/// Names that come and go, of each kind.
pub const NAMES: u64 = 40;
/// Most bytes of an object's data: together several frames of the ring.
const DATA_BYTES_MAX: u64 = 3_000;

pub struct Churn {
    done: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Churn {
    /// `pace`: between two writes.
    pub fn start(cluster: &Cluster, namespace: &str, mut rng: Rng, pace: Duration) -> Churn {
        let mut connection = (cluster.admin().agent("churn/1"))
            .connect()
            .expect("a connection");
        let namespace = namespace.to_string();
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut writes = 0;
            while !is_done.load(Ordering::Relaxed) {
                write(&mut connection, &namespace, &mut rng, writes);
                writes += 1;
                std::thread::sleep(pace);
            }
            writes
        });
        Churn { done, thread }
    }

    /// Ends it; gives how much it wrote.
    pub fn stop(self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer does not fail")
    }
}

/// One name of those that come and go.
pub fn name(rng: &mut Rng) -> String {
    format!("n{:02}", rng.below(NAMES))
}

fn write(connection: &mut Connection, namespace: &str, rng: &mut Rng, number: u64) {
    let kind = KINDS[rng.below(2) as usize];
    let name = name(rng);
    let one = format!("/api/v1/namespaces/{namespace}/{kind}/{name}");
    if rng.below(5) == 0 {
        let reply = send(
            connection,
            Call {
                method: Method::DELETE,
                ..Call::get(&one)
            },
        );
        assert!(matches!(reply.status, 200 | 404), "{}", reply.text());
        return;
    }
    let filler = "x".repeat(rng.below(DATA_BYTES_MAX) as usize);
    let body = object(kind, &name, &format!("{name}#{number}"), &filler);
    let reply = send(connection, Call::json(Method::PUT, &one, &body));
    if reply.status == 404 {
        let all = format!("/api/v1/namespaces/{namespace}/{kind}");
        let reply = send(connection, Call::json(Method::POST, &all, &body));
        assert_eq!(reply.status, 201, "{}", reply.text());
        return;
    }
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn send(connection: &mut Connection, call: Call<'_>) -> Whole {
    (connection.send(call).and_then(Reply::whole)).expect("the API server answers")
}

fn object(kind: &str, name: &str, mark: &str, filler: &str) -> Value {
    let meta = json!({ "name": name, "annotations": { MARK: mark } });
    match kind {
        "secrets" => {
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": { "k": filler } })
        }
        _ => {
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": { "k": filler } })
        }
    }
}

/// Writes something that is later than all before; gives its version.
pub fn fence(cluster: &Cluster, namespace: &str, kind: &str) -> u64 {
    let admin = cluster.admin().agent("fence/1");
    let all = format!("/api/v1/namespaces/{namespace}/{kind}");
    let one = format!("{all}/fence");
    // The same object again would change nothing.
    let version = admin.get("/api/v1/namespaces?limit=1").expect(200).json();
    let mark = format!("fence#{}", version["metadata"]["resourceVersion"]).replace('"', "");
    let body = object(kind, "fence", &mark, "");
    let reply = admin.call(Call::json(Method::PUT, &one, &body));
    let reply = match reply.status {
        404 => admin
            .call(Call::json(Method::POST, &all, &body))
            .expect(201),
        _ => reply.expect(200),
    };
    number(&reply.json()["metadata"]["resourceVersion"])
}
