//! What the service manager is told, and what it can tell the hub.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::door::{Door, SOON};
use crate::support::cluster::Cluster;
use crate::support::hub::SEES;
use crate::support::{TempDir, until};

struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let dir = TempDir::new("notify");
        let socket = UnixDatagram::bind(dir.path().join("socket")).expect("a socket");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        Manager { socket, dir }
    }

    #[track_caller]
    fn hears(&self) -> String {
        let mut bytes = [0; 512];
        let read = self
            .socket
            .recv(&mut bytes)
            .expect("the hub says something");
        String::from_utf8(bytes[..read].to_vec()).expect("text")
    }
}

#[test]
fn a_service_manager_hears_of_its_start_its_life_and_its_end() {
    let manager = Manager::new();
    let socket = manager.dir.path().join("socket");
    let socket = socket.to_str().expect("a path").to_owned();
    let mut door = Door::with(Cluster::shared(), "t-notify", |setup| {
        setup
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "400000")
    });
    assert_eq!(manager.hears(), "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.hears(), "WATCHDOG=1");
    }
    door.hub.signal("STOP");
    // What was on its way when it was stopped.
    let quiet = Duration::from_secs(1);
    manager
        .socket
        .set_read_timeout(Some(quiet))
        .expect("a timeout");
    while manager.socket.recv(&mut [0; 512]).is_ok() {}
    manager
        .socket
        .set_read_timeout(Some(SOON))
        .expect("a timeout");
    door.hub.signal("CONT");
    assert_eq!(manager.hears(), "WATCHDOG=1");
    assert_eq!(door.hub.terminate(SOON), Some(0));
    let last = std::iter::repeat_with(|| manager.hears()).find(|told| told != "WATCHDOG=1");
    // drain_secs, and what the flash may take.
    assert_eq!(
        last.as_deref(),
        Some("STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000")
    );
}

#[test]
fn one_who_knows_that_the_network_has_changed_says_so() {
    // By itself it would look in a minute: later than the test waits.
    let door = Door::with(Cluster::shared(), "t-look", |setup| {
        setup
            .set("probe_min_ms", 60_000)
            .set("probe_max_ms", 60_000)
    });
    let says_so_until = |online: bool| {
        until("the hub looks because it was told to", SEES, || {
            door.hub.signal("USR1");
            (door.hub.online() == online).then_some(())
        });
    };
    door.relay.refuse();
    says_so_until(false);
    door.relay.pass();
    says_so_until(true);
}
