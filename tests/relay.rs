//! The relay itself: every way it hurts a link is seen from both ends of a connection.

#[path = "support/mod.rs"]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use support::relay::Relay;

const SOON: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(200);

/// A server that sends back what it gets, and ends its side when the client ended its own.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                let mut stream = stream;
                while let Ok(len) = stream.read(&mut buffer) {
                    if len == 0 || stream.write_all(&buffer[..len]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn connect(relay: &Relay) -> TcpStream {
    let stream = TcpStream::connect(relay.address()).expect("the relay accepts");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream
}

#[track_caller]
fn answers(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("sent");
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).expect("answered");
    assert_eq!(back, bytes);
}

#[track_caller]
fn silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(MOMENT)).expect("a timeout");
    let kind = stream.read(&mut [0; 16]).expect_err("nothing comes").kind();
    assert!(
        matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{kind:?}"
    );
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
}

#[track_caller]
fn is_reset(stream: &mut TcpStream) {
    assert_eq!(
        stream.read(&mut [0; 16]).expect_err("reset").kind(),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn passes_both_ways_and_half_closes_as_told() {
    let relay = Relay::new(echo());
    let mut stream = connect(&relay);
    let long: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let mut writer = stream.try_clone().expect("the same connection");
    let sent = long.clone();
    let sending = std::thread::spawn(move || {
        writer.write_all(&sent).expect("sent");
        writer.shutdown(Shutdown::Write).expect("half closed");
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("answered to the end");
    sending.join().expect("sent");
    assert!(back == long);
    assert_eq!(relay.accepted(), 1);
    assert_eq!(relay.carried(), (100_000, 100_000));
    support::until("the connection is closed", SOON, || {
        (relay.open() == 0).then_some(())
    });
}

#[test]
fn refuses_new_connections_and_resets_open_ones() {
    let relay = Relay::new(echo());
    let mut stream = connect(&relay);
    answers(&mut stream, b"before");
    relay.refuse();
    is_reset(&mut stream);
    let kind = TcpStream::connect(relay.address())
        .expect_err("refused")
        .kind();
    assert_eq!(kind, ErrorKind::ConnectionRefused);
    relay.pass();
    answers(&mut connect(&relay), b"after");
}

#[test]
fn a_black_hole_accepts_and_says_nothing_and_goes_on_after() {
    let relay = Relay::new(echo());
    let mut old = connect(&relay);
    answers(&mut old, b"before");
    relay.black_hole();
    old.write_all(b"frozen").expect("the kernel takes it");
    let mut new = connect(&relay);
    new.write_all(b"swallowed").expect("the kernel takes it");
    silent(&mut old);
    silent(&mut new);
    relay.pass();
    let mut back = [0; 6];
    old.read_exact(&mut back).expect("it goes on where it was");
    assert_eq!(&back, b"frozen");
    let mut back = [0; 9];
    new.read_exact(&mut back).expect("it is accepted now");
    assert_eq!(&back, b"swallowed");
}

#[test]
fn a_cut_resets_what_is_open_and_nothing_else() {
    let relay = Relay::new(echo());
    let mut stream = connect(&relay);
    answers(&mut stream, b"before");
    relay.cut();
    is_reset(&mut stream);
    answers(&mut connect(&relay), b"after");
}

#[test]
fn resets_in_the_middle_of_a_body_once() {
    let relay = Relay::new(echo());
    let mut stream = connect(&relay);
    relay.reset_after(5);
    stream.write_all(b"1234567890").expect("sent");
    let mut back = [0; 5];
    stream.read_exact(&mut back).expect("as much as passes");
    assert_eq!(&back, b"12345");
    is_reset(&mut stream);
    assert!(relay.fault_done());
    answers(&mut connect(&relay), b"1234567890");
}

#[test]
fn half_closes_towards_the_client_only() {
    let relay = Relay::new(echo());
    let mut stream = connect(&relay);
    relay.half_close_after(5);
    stream.write_all(b"1234567890").expect("sent");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("a clean end");
    assert_eq!(back, b"12345");
    let before = relay.carried().0;
    stream
        .write_all(b"more")
        .expect("the other direction still goes");
    support::until("it arrives", SOON, || {
        (relay.carried().0 == before + 4).then_some(())
    });
}

#[test]
fn delays_and_throttles() {
    let relay = Relay::new(echo());
    let mut stream = connect(&relay);
    answers(&mut stream, b"x");
    relay.delay(MOMENT);
    let start = Instant::now();
    answers(&mut stream, b"late");
    assert!(start.elapsed() >= MOMENT * 2, "{:?}", start.elapsed());
    relay.delay(Duration::ZERO);
    relay.throttle(10_000);
    let start = Instant::now();
    answers(&mut stream, &[7; 5_000]);
    assert!(
        start.elapsed() >= Duration::from_millis(400),
        "{:?}",
        start.elapsed()
    );
    relay.throttle(0);
}

#[test]
fn a_target_that_refuses_resets_the_client() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], support::free_port()));
    let relay = Relay::new(nobody);
    is_reset(&mut connect(&relay));
}
