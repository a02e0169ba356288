//! Whose socket the other end of a local connection is, as the kernel knows it: by socket diagnostics (sock_diag(7)),
//! or by `/proc/net/tcp` where the kernel was built without them.
//!
//! A socket that its process has closed lives on for a while, and the kernel then calls it root's; so do the small
//! stand-ins of half-open and of ended connections. All of these have no inode, and a socket without one is nobody's here:
//! else whoever connects, writes and closes at once would have spoken as root.
//!
//! Only sockets of the hub's own network namespace are found. A container that has another is nobody.

use super::netlink::{NetlinkError, Request, Socket, ip, read};
use crate::limits::{PROC_SOCKETS_BYTES_MAX, PROC_SOCKETS_LINE_BYTES_MAX};
use nix::libc;
use nix::sys::socket::SockProtocol;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The user whose socket is the other end of a connection between `peer` and our own `local`. `None`: there is no such
/// socket in this network namespace, or nobody has it any more.
///
/// # Errors
/// The kernel told neither way.
pub fn owner(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
    let (theirs, ours) = (Ends::new(peer, local), Ends::new(local, peer));
    if let Ok(mut socket) = Socket::open_to(SockProtocol::NetlinkSockDiag) {
        if let Some(found) = socket.find(theirs) {
            return Ok(found.user());
        }
        // Not there, or the kernel cannot look for it: both have one error number. Our own end is there for certain.
        if socket.find(ours).is_some() {
            return Ok(None);
        }
    }
    // Twice: of a socket that is closed between the looks at its user and at its inode, the second look tells.
    match from_proc(theirs)? {
        Some(first) if first.user().is_some() => {
            let again = from_proc(theirs)?;
            Ok(again.filter(|again| *again == first).and_then(Found::user))
        }
        _ => Ok(None),
    }
}

/// Both ends of a connection as one of them sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ends {
    own: SocketAddr,
    other: SocketAddr,
}

impl Ends {
    /// IPv4 within IPv6 is IPv4: a Java client's socket is of the one family, ours of the other.
    fn new(own: SocketAddr, other: SocketAddr) -> Ends {
        let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        Ends {
            own: plain(own),
            other: plain(other),
        }
    }
}

/// What the kernel tells of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    uid: u32,
    inode: u64,
}

impl Found {
    fn user(self) -> Option<u32> {
        (self.inode != 0).then_some(self.uid)
    }
}

impl Socket {
    fn find(&mut self, ends: Ends) -> Option<Found> {
        let answer = self.ask(&ask(ends)).ok()?;
        parse(answer.first()?, ends).ok()?
    }
}

/// `linux/sock_diag.h` and `linux/inet_diag.h`; libc does not have them.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NO_COOKIE: [u8; 8] = [0xff; 8];
/// Where in a `struct inet_diag_msg` its parts are: a family and three bytes, the ends, four bytes of a timer and two
/// lengths, the user, the inode.
const ENDS_AT: usize = 4;
const UID_AT: usize = 64;
const INODE_AT: usize = 68;

/// The question for one socket: a `struct inet_diag_req_v2`.
fn ask(ends: Ends) -> Request {
    let family = match ends.own.ip() {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    let mut body = vec![family as u8, libc::IPPROTO_TCP as u8, 0, 0];
    // In every state.
    body.extend_from_slice(&u32::MAX.to_ne_bytes());
    body.extend_from_slice(&ends.own.port().to_be_bytes());
    body.extend_from_slice(&ends.other.port().to_be_bytes());
    for at in [ends.own, ends.other] {
        let mut words = [0; 16];
        match at.ip() {
            IpAddr::V4(addr) => words[..4].copy_from_slice(&addr.octets()),
            IpAddr::V6(addr) => words = addr.octets(),
        }
        body.extend_from_slice(&words);
    }
    // On any device.
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&NO_COOKIE);
    Request::question(SOCK_DIAG_BY_FAMILY, SOCK_DIAG_BY_FAMILY, body)
}

/// Takes a `struct inet_diag_msg` apart. `None`: it is of another socket. The kernel gives a listener where it finds no
/// connection, and somebody may listen on the peer's very port.
fn parse(body: &[u8], ends: Ends) -> Result<Option<Found>, NetlinkError> {
    let family = i32::from(body.first().copied().unwrap_or_default());
    let port = |at| read(body, at).map(u16::from_be_bytes);
    let addr = |at| {
        let words: [u8; 16] = read(body, at)?;
        let own = match family {
            libc::AF_INET => &words[..4],
            _ => &words[..],
        };
        ip(family, own).ok_or(NetlinkError::Malformed)
    };
    let own = SocketAddr::new(addr(ENDS_AT + 4)?, port(ENDS_AT)?);
    let other = SocketAddr::new(addr(ENDS_AT + 20)?, port(ENDS_AT + 2)?);
    let found = Found {
        uid: read(body, UID_AT).map(u32::from_ne_bytes)?,
        inode: read(body, INODE_AT).map(u32::from_ne_bytes)?.into(),
    };
    Ok(Some(found).filter(|_| Ends::new(own, other) == ends))
}

/// The same from the kernel's tables in text, which it writes anew for each reader.
fn from_proc(ends: Ends) -> io::Result<Option<Found>> {
    let mut read = Err(io::Error::from(io::ErrorKind::NotFound));
    // A socket of IPv6 may have a connection of IPv4.
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match File::open(table).and_then(|file| search(file, ends)) {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => read = Ok(None),
            Err(error) if read.is_err() => read = Err(error),
            Err(_) => {}
        }
    }
    read
}

/// Reads a table line by line to its end, so that its size costs no memory.
fn search(table: impl Read, ends: Ends) -> io::Result<Option<Found>> {
    let mut table = BufReader::new(table.take(PROC_SOCKETS_BYTES_MAX));
    let mut line = Vec::new();
    loop {
        line.clear();
        let bounded = (&mut table).take(PROC_SOCKETS_LINE_BYTES_MAX);
        if { bounded }.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let read = std::str::from_utf8(&line).ok().and_then(parse_line);
        if let Some((_, found)) = read.filter(|(at, _)| *at == ends) {
            return Ok(Some(found));
        }
    }
}

/// `  0: 0100007F:2815 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4711 ...`
fn parse_line(line: &str) -> Option<(Ends, Found)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (own, other) = (end(words.next()?)?, end(words.next()?)?);
    let uid = words.nth(4)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    Some((Ends::new(own, other), Found { uid, inode }))
}

/// An address as 32-bit words in the machine's own order, and a port.
fn end(text: &str) -> Option<SocketAddr> {
    let (addr, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = addr.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let addr = match addr.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            IpAddr::from(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(addr, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    fn connected(at: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(at).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn of(server: &TcpStream) -> Option<u32> {
        owner(server.peer_addr().unwrap(), server.local_addr().unwrap()).unwrap()
    }

    fn own_uid() -> u32 {
        super::super::file::own_uid()
    }

    #[test]
    fn a_connection_of_ours_is_ours() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let (client, server) = connected(at);
            assert_eq!(of(&server), Some(own_uid()), "{at}");
            let ends = Ends::new(server.peer_addr().unwrap(), server.local_addr().unwrap());
            let found = from_proc(ends).unwrap().unwrap();
            assert_eq!(found.user(), Some(own_uid()), "{at}");
            // One who has said all still waits for the answer.
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(of(&server), Some(own_uid()), "{at}");
        }
    }

    /// The client's socket is of IPv6, as Java's all are, and the connection is not.
    #[test]
    fn a_connection_of_both_families() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(format!("[::ffff:127.0.0.1]:{port}")).unwrap();
        let server = listener.accept().unwrap().0;
        assert_eq!(of(&server), Some(own_uid()));
        let ends = Ends::new(server.peer_addr().unwrap(), server.local_addr().unwrap());
        let found = from_proc(ends).unwrap().unwrap();
        assert_eq!(found.user(), Some(own_uid()));
    }

    /// What the kernel itself says of such a socket is that root owns it.
    #[test]
    fn who_writes_and_closes_is_nobody() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let (mut client, server) = connected(at);
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            drop(client);
            assert_eq!(of(&server), None, "{at}");
            let ends = Ends::new(server.peer_addr().unwrap(), server.local_addr().unwrap());
            let found = from_proc(ends).unwrap();
            assert_eq!(found.and_then(Found::user), None, "{at}");
        }
    }

    /// As if the peer were elsewhere and a service here listened on its port.
    #[test]
    fn a_listener_is_not_a_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (_client, server) = connected("127.0.0.1:0");
        let peer = listener.local_addr().unwrap();
        assert_eq!(owner(peer, server.local_addr().unwrap()).unwrap(), None);
    }

    #[test]
    fn lines_of_the_table() {
        let line = |addr: u32| {
            format!(
                "  13: {addr:08X}:281D {addr:08X}:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n"
            )
        };
        let loopback = u32::from_ne_bytes([127, 0, 0, 1]);
        let ends = Ends {
            own: "127.0.0.1:10269".parse().unwrap(),
            other: "127.0.0.1:50000".parse().unwrap(),
        };
        let found = Found {
            uid: 1000,
            inode: 4711,
        };
        assert_eq!(parse_line(&line(loopback)), Some((ends, found)));
        let table = format!(
            "  sl  local_address rem_address\n{}{}",
            line(1),
            line(loopback)
        );
        let search = |text: &str| search(text.as_bytes(), ends).unwrap();
        assert_eq!(search(&table), Some(found));
        assert_eq!(search(&"x".repeat(100_000)), None);
        let other = Ends {
            own: ends.other,
            other: ends.own,
        };
        assert_eq!(
            super::search(table.as_bytes(), other).unwrap(),
            None,
            "the other end"
        );
        for at in 0..line(loopback).len() {
            let _ = parse_line(&line(loopback)[..at]);
        }
        assert_eq!(end("0100007F"), None);
        assert_eq!(end("0100007F:"), None);
        assert_eq!(end("éééé:0050"), None);
    }

    #[test]
    fn no_answer_panics() {
        let ends = Ends::new(
            "127.0.0.1:1".parse().unwrap(),
            "127.0.0.1:2".parse().unwrap(),
        );
        for len in 0..INODE_AT + 4 {
            let body = vec![libc::AF_INET as u8; len];
            assert_eq!(parse(&body, ends), Err(NetlinkError::Malformed), "{len}");
        }
        for family in 0..=255 {
            let mut body = vec![0; INODE_AT + 4];
            body[0] = family;
            let _ = parse(&body, ends);
        }
    }
}
