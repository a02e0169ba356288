//! An API server that sends its clients away and is restarted under them: they see nothing that they would not have
//! seen without the hub.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::door::{Door, SOON, WATCH_LIST};
use crate::support::cluster::{Cluster, Setup};
use crate::support::http::{Call, JSON, Reply};

/// A control plane of its own for the tests that disturb it.
fn disturbed() -> &'static Cluster {
    static DISTURBED: OnceLock<Cluster> = OnceLock::new();
    DISTURBED.get_or_init(|| {
        Cluster::start(&Setup {
            apiserver_flags: "--goaway-chance=0.02".to_string(),
            ..Setup::default()
        })
    })
}

/// Sets the flag when it goes.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn goaway_and_rolling_restarts() {
    let door = Door::with(disturbed(), "restarts", |setup| setup);
    door.set("one", "1");

    // A connection is sent away every fiftieth request; no request fails for it.
    let connection = door.client().connect().expect("a connection");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = connection.share();
                for n in 0..250 {
                    let reply = connection
                        .send(Call::get(&door.maps("/one")))
                        .and_then(Reply::whole);
                    assert_eq!(
                        reply.as_ref().map(|reply| reply.status),
                        Ok(200),
                        "request {n}"
                    );
                }
            });
        }
    });
    assert!(
        door.relay.accepted() > 5,
        "it was sent away: {} connections",
        door.relay.accepted()
    );
    // A watch lives on while others are sent away.
    let mut watch = door.client().watch(
        &door.maps(&format!("?{WATCH_LIST}&fieldSelector=metadata.name%3Done")),
        JSON,
    );
    watch.initial(SOON);
    for n in 0..200 {
        door.client().get(&door.maps("/one")).expect(200);
        if n % 50 == 0 {
            let version = door.set("one", &format!("{n}"));
            assert_eq!(watch.event(SOON).meta.resource_version, version);
        }
    }

    // Restarts: reads never fail, because what is kept answers while the server is away.
    door.client().get(&door.maps("")).expect(200);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Also when a restart fails: the others must not wait for it for ever.
            let _done = Done(&done);
            for how in ["stop", "kill"] {
                door.cluster.script(&[how, "apiserver"]);
                door.cluster.script(&["start", "apiserver"]);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        let mut sources = [0; 2];
        while !done.load(Ordering::Relaxed) {
            let reply = door.client().get(&door.maps(""));
            // An API server that is starting refuses for itself for a moment.
            assert!(
                matches!(reply.status, 200 | 403 | 429 | 500 | 503),
                "{}",
                reply.text()
            );
            sources[usize::from(reply.header("edge-hub-cache").is_empty())] +=
                usize::from(reply.status == 200);
        }
        assert!(
            sources[0] > 0 && sources[1] > 0,
            "from the hub and from the cloud: {sources:?}"
        );
    });
    door.hub.sees_online();
    let version = door.set("one", "after");
    let one = door.client().get(&door.maps("/one")).expect(200).json();
    assert_eq!(one["metadata"]["resourceVersion"], version);
}
