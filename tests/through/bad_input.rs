//! What no client would send: refused in words, and never at the others' expense.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::door::{Door, SOON};
use crate::support::cluster::Cluster;
use crate::support::http::{Call, raw};
use crate::support::throughout;

/// A request that should not be, and the statuses it may get; none: the connection ends without a word.
const REQUESTS: [(&str, &[u16]); 9] = [
    (
        "GET /api HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    (
        "GET /api HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        &[400],
    ),
    (
        "GET /api HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n",
        &[400],
    ),
    (
        "GET /api HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked, identity\r\n\r\n",
        &[400, 501],
    ),
    ("GET /api HTTP/1.1\r\nhost: h\r\nbad header\r\n\r\n", &[400]),
    ("GET /a\u{1}pi HTTP/1.1\r\nhost: h\r\n\r\n", &[400]),
    ("NONSENSE\r\n\r\n", &[400]),
    ("GET /api HTTP/3.0\r\nhost: h\r\n\r\n", &[400, 505]),
    (
        "CONNECT h:1 HTTP/1.1\r\nhost: h:1\r\nconnection: close\r\n\r\n",
        &[400, 405],
    ),
];

fn status(reply: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(reply);
    text.strip_prefix("HTTP/1.1 ")
        .or(text.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3)?.parse().ok())
}

#[test]
fn requests_that_should_not_be() {
    let door = Door::with(Cluster::shared(), "b-requests", |setup| {
        setup.set("header_timeout_ms", 1_000)
    });
    for (request, want) in REQUESTS {
        let request = format!("{request}GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n");
        let reply = raw(&door.client(), "http/1.1", request.as_bytes(), SOON)
            .unwrap_or_else(|| panic!("{request:?} stays open"));
        let got = status(&reply);
        assert!(
            got.is_none_or(|got| want.contains(&got)),
            "{request:?}: {}",
            String::from_utf8_lossy(&reply)
        );
        assert!(!door.hub.log().contains("/smuggled"), "{request:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "a".repeat(200_000));
    let reply = raw(&door.client(), "http/1.1", long.as_bytes(), SOON)
        .unwrap_or_else(|| panic!("it stays open"));
    assert!(
        status(&reply).is_none_or(|got| got == 414 || got == 431),
        "{}",
        String::from_utf8_lossy(&reply)
    );
    let wide = format!(
        "GET /api HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n",
        "a".repeat(200_000)
    );
    let reply = raw(&door.client(), "http/1.1", wide.as_bytes(), SOON)
        .unwrap_or_else(|| panic!("it stays open"));
    assert!(
        status(&reply).is_none_or(|got| got == 431),
        "{}",
        String::from_utf8_lossy(&reply)
    );
    door.client().get(&door.maps("")).expect(200);
}

#[test]
fn who_does_not_finish_a_head_is_left() {
    let door = Door::with(Cluster::shared(), "b-slow", |setup| {
        setup.set("header_timeout_ms", 1_000)
    });
    for begun in ["GET", "GET /api HTTP/1.1\r\nhost: h\r\nx: "] {
        let start = Instant::now();
        let reply = raw(&door.client(), "http/1.1", begun.as_bytes(), SOON)
            .unwrap_or_else(|| panic!("{begun:?} stays open"));
        let got = status(&reply);
        assert!(
            got.is_none_or(|got| got == 408),
            "{}",
            String::from_utf8_lossy(&reply)
        );
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}",
            start.elapsed()
        );
    }
    // One who does not even begin the handshake.
    let mut stream = TcpStream::connect(door.hub.address()).expect("the hub accepts");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let end = stream.read(&mut [0; 16]);
    assert!(
        matches!(&end, Ok(0))
            || end
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
        "{end:?}"
    );
}

/// The start of an HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[test]
fn http2_floods_end_their_own_connection_only() {
    let door = Door::new("b-floods");
    // :method GET, :path /, :scheme https, by HPACK's static table.
    let get = [0x82, 0x84, 0x87];
    let mut resets = PREFACE.to_vec();
    for n in 0..20_000_u32 {
        resets.extend(frame(1, 5, 2 * n + 1, &get));
        resets.extend(frame(3, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    let mut continuations = PREFACE.to_vec();
    continuations.extend(frame(1, 1, 1, &get));
    for _ in 0..2_000 {
        // One header without indexing, x: 1 000 bytes.
        let mut header = vec![0, 1, b'x', 0x7f, 0xe9, 0x06];
        header.resize(header.len() + 1_000, b'a');
        continuations.extend(frame(9, 0, 1, &header));
    }
    let mut settings = PREFACE.to_vec();
    let mut pings = PREFACE.to_vec();
    for _ in 0..50_000 {
        settings.extend(frame(4, 0, 0, &[]));
        pings.extend(frame(6, 0, 0, &[0; 8]));
    }
    for (name, flood, must_end) in [
        ("resets", resets, true),
        ("continuations", continuations, true),
        ("settings", settings, false),
        ("pings", pings, false),
    ] {
        let client = door.client();
        let flooding =
            std::thread::spawn(move || raw(&client, "h2", &flood, Duration::from_secs(15)));
        for _ in 0..10 {
            door.client().get(&door.maps("")).expect(200);
        }
        let end = flooding.join().expect("sent");
        assert!(
            !must_end || end.is_some(),
            "{name}: the connection is closed"
        );
        door.client().get(&door.maps("")).expect(200);
    }
}

#[test]
fn what_is_not_tls_is_not_served() {
    let door = Door::new("b-plain");
    let reply = crate::support::http::plain_get(door.hub.address(), "/api");
    assert!(
        reply.as_ref().map_or(true, |(status, _)| *status == 400),
        "{reply:?}"
    );
    door.client().get(&door.maps("")).expect(200);
}

/// The fewest that can be configured.
const PLACES: u64 = 8;

#[test]
fn more_connections_than_there_are_places_wait_and_are_refused() {
    let door = Door::with(Cluster::shared(), "b-many", |setup| {
        setup.set("connections_max", PLACES)
    });
    let client = door.client();
    let mut held: Vec<_> = (0..PLACES)
        .map(|_| client.connect().expect("a place"))
        .collect();
    for connection in &mut held {
        let reply = connection.send(Call::get(&door.maps(""))).expect("a reply");
        reply.whole().expect("a body").expect(200);
    }
    // One that waits gets the place of one that leaves.
    let waiting = std::thread::spawn({
        let (client, path) = (client.clone(), door.maps(""));
        move || client.get(&path).expect(200)
    });
    throughout("it waits", Duration::from_secs(1), || {
        !waiting.is_finished()
    });
    held.pop();
    waiting.join().expect("it was served");
    held.push(client.connect().expect("its place again"));
    // One that waits in vain is refused, and then the next ones at once.
    let start = Instant::now();
    assert!(client.connect().is_err());
    assert!(
        start.elapsed() > Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    let start = Instant::now();
    assert!(client.connect().is_err());
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert!(door.hub.metric("edge_hub_connections_refused_total") >= 2.0);
    // Nobody who had a place lost it, and there are places again.
    held[0]
        .send(Call::get(&door.maps("")))
        .expect("a reply")
        .whole()
        .expect("a body")
        .expect(200);
    held.clear();
    client.get(&door.maps("")).expect(200);
}
