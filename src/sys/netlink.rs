//! Netlink as bytes: requests put together, replies taken apart, and one socket that asks and waits. Here are those of
//! rtnetlink about devices and addresses; [`super::owner`] and [`super::route`] have their own.
//!
//! Everything but [`Socket`] is pure. Layouts are those of `linux/netlink.h`, `rtnetlink.h`, `if_link.h` and
//! `if_addr.h`; integers are in the machine's own order, as the kernel has them. What comes in is not trusted: a short
//! or lying length ends the reading with an error, and only what the kernel sent, to us, for the question that was
//! asked, counts.

use crate::limits::{
    NETLINK_DATAGRAMS_MAX, NETLINK_ENTRIES_MAX, NETLINK_RECEIVE_BYTES, NETLINK_WAIT_SECS_MAX,
};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    recvfrom, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::{fmt, io};

/// Why a question to the kernel has no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetlinkError {
    /// No socket: the process may not have one of this family, or there are no descriptors left.
    Socket(Errno),
    /// The kernel said no.
    Refused(Errno),
    /// No answer within `NETLINK_WAIT_SECS_MAX`, or only answers to other questions.
    Silent,
    /// The answer's lengths do not add up.
    Malformed,
    /// More entries than `NETLINK_ENTRIES_MAX`.
    TooMany,
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // In the words of libc, which the program has already; those of nix are 8 KB more.
            Self::Socket(errno) => write!(f, "no netlink socket: {}", io::Error::from(*errno)),
            Self::Refused(errno) => write!(f, "the kernel refused: {}", io::Error::from(*errno)),
            Self::Silent => write!(f, "the kernel did not answer in {NETLINK_WAIT_SECS_MAX} s"),
            Self::Malformed => write!(f, "the kernel's answer has wrong lengths"),
            Self::TooMany => write!(
                f,
                "the kernel listed more than {NETLINK_ENTRIES_MAX} entries"
            ),
        }
    }
}

impl std::error::Error for NetlinkError {}

/// A network device as the kernel tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of it.
    pub index: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// What was written on it with `ip link set alias`.
    pub alias: Option<String>,
    /// Whether it is switched on (not whether it has a carrier).
    pub state: LinkState,
    /// What made it, such as `bridge` or `veth`; `None`: it is hardware, or the loopback device.
    pub kind: Option<String>,
    /// The number of the device that it is a port of.
    pub master: Option<u32>,
    /// Whether it is the loopback device.
    pub is_loopback: bool,
}

/// Whether a device is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// `IFF_UP`: its addresses can be reached.
    Up,
    /// Its addresses cannot be reached.
    Down,
}

/// An address on a device as the kernel tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The address itself.
    pub addr: IpAddr,
    /// Length of its prefix in bits.
    pub prefix_bits: u8,
    /// The kernel's number of the device.
    pub device_index: u32,
    /// IPv4 only: its label, which is the device's name unless somebody chose another.
    pub label: Option<String>,
    /// Who put it, as they told the kernel (`IFA_PROTO`, Linux 5.18); 0 if not told.
    pub origin: u8,
}

/// Which device is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// The one with this name.
    Name(&'a str),
    /// The one with this number.
    Index(u32),
}

/// A question: what is sent but for the sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    kind: u16,
    flags: u16,
    /// What kind of message brings an entry of the answer. 0: none does.
    entry_kind: u16,
    body: Vec<u8>,
}

/// A device of kind `kind` (`dummy`) named `name` is to be made. It comes into being switched off.
pub fn make_link(name: &str, kind: &str) -> Request {
    let mut body = link_header(0, 0, 0);
    push_text(&mut body, libc::IFLA_IFNAME, name);
    let mut info = Vec::new();
    push_attribute(&mut info, IFLA_INFO_KIND, kind.as_bytes());
    push_attribute(&mut body, libc::IFLA_LINKINFO, &info);
    Request::change(
        libc::RTM_NEWLINK,
        libc::NLM_F_CREATE | libc::NLM_F_EXCL,
        body,
    )
}

/// The device is to be switched on, and `alias`, if any, written on it.
pub fn switch_on(index: u32, alias: Option<&str>) -> Request {
    let up = libc::IFF_UP as u32;
    let mut body = link_header(index, up, up);
    if let Some(alias) = alias {
        push_attribute(&mut body, libc::IFLA_IFALIAS, alias.as_bytes());
    }
    Request::change(libc::RTM_NEWLINK, 0, body)
}

/// The device is to go.
pub fn drop_link(index: u32) -> Request {
    Request::change(libc::RTM_DELLINK, 0, link_header(index, 0, 0))
}

/// What the kernel knows of one device.
pub fn ask_link(which: Which<'_>) -> Request {
    let mut body = match which {
        Which::Name(_) => link_header(0, 0, 0),
        Which::Index(index) => link_header(index, 0, 0),
    };
    if let Which::Name(name) = which {
        push_text(&mut body, libc::IFLA_IFNAME, name);
    }
    Request::question(libc::RTM_GETLINK, libc::RTM_NEWLINK, body)
}

/// `addr`, as a single address, is to be put on the device, marked with `label` (IPv4) and `origin`.
///
/// It must never become the source address of connections to elsewhere, which is what the kernel does with addresses
/// of `lo` when the outgoing device has none: hence link scope for IPv4, and a preferred lifetime of 0 for IPv6.
pub fn put_address(addr: IpAddr, index: u32, label: &str, origin: u8) -> Request {
    let mut body = address_header(addr, index, IFA_F_NODAD);
    push_ip(&mut body, libc::IFA_LOCAL, addr);
    push_ip(&mut body, libc::IFA_ADDRESS, addr);
    match addr {
        IpAddr::V4(_) => push_text(&mut body, libc::IFA_LABEL, label),
        IpAddr::V6(_) => {
            let mut lifetimes = Vec::with_capacity(16);
            for part in [0, u32::MAX, 0, 0] {
                lifetimes.extend_from_slice(&u32::to_ne_bytes(part));
            }
            push_attribute(&mut body, libc::IFA_CACHEINFO, &lifetimes);
        }
    }
    push_attribute(&mut body, IFA_PROTO, &[origin]);
    Request::change(
        libc::RTM_NEWADDR,
        libc::NLM_F_CREATE | libc::NLM_F_EXCL,
        body,
    )
}

/// `addr`, as a single address, is to be taken off the device.
pub fn drop_address(addr: IpAddr, index: u32) -> Request {
    let mut body = address_header(addr, index, 0);
    push_ip(&mut body, libc::IFA_LOCAL, addr);
    push_ip(&mut body, libc::IFA_ADDRESS, addr);
    Request::change(libc::RTM_DELADDR, 0, body)
}

/// All addresses of the network namespace.
pub fn ask_addresses() -> Request {
    let body = vec![0; ADDRESS_HEADER_BYTES];
    Request::question(libc::RTM_GETADDR, libc::RTM_NEWADDR, body).for_all()
}

impl Request {
    fn change(kind: u16, flags: i32, body: Vec<u8>) -> Request {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        Request {
            kind,
            flags,
            entry_kind: 0,
            body,
        }
    }

    /// Asks for one entry.
    pub(super) fn question(kind: u16, entry_kind: u16, body: Vec<u8>) -> Request {
        Request {
            kind,
            flags: libc::NLM_F_REQUEST as u16,
            entry_kind,
            body,
        }
    }

    /// Asks for all entries.
    pub(super) fn for_all(mut self) -> Request {
        self.flags |= libc::NLM_F_DUMP as u16;
        self
    }

    fn encode(&self, sequence: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.body.len());
        out.extend_from_slice(&((HEADER_BYTES + self.body.len()) as u32).to_ne_bytes());
        out.extend_from_slice(&self.kind.to_ne_bytes());
        out.extend_from_slice(&self.flags.to_ne_bytes());
        out.extend_from_slice(&sequence.to_ne_bytes());
        // The kernel takes 0 as "whoever owns the socket".
        out.extend_from_slice(&0u32.to_ne_bytes());
        out.extend_from_slice(&self.body);
        out
    }
}

/// A socket to one part of the kernel. Asks one question at a time and waits for its answer.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    port: u32,
    sequence: u32,
}

impl Socket {
    /// Opens one to the routing tables, in the network namespace of the calling thread.
    pub fn open() -> Result<Socket, NetlinkError> {
        Socket::open_to(SockProtocol::NetlinkRoute)
    }

    /// Opens one to any part.
    pub(super) fn open_to(part: SockProtocol) -> Result<Socket, NetlinkError> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            part,
        )
        .map_err(NetlinkError::Socket)?;
        setsockopt(
            &fd,
            sockopt::ReceiveTimeout,
            &TimeVal::seconds(NETLINK_WAIT_SECS_MAX),
        )
        .map_err(NetlinkError::Socket)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(NetlinkError::Socket)?;
        let name: NetlinkAddr = getsockname(fd.as_raw_fd()).map_err(NetlinkError::Socket)?;
        Ok(Socket {
            fd,
            port: name.pid(),
            sequence: 0,
        })
    }

    /// Has a change made, and waits until it is.
    pub fn change(&mut self, request: &Request) -> Result<(), NetlinkError> {
        self.ask(request).map(drop)
    }

    /// One device, or `None` if there is no such.
    pub fn link(&mut self, which: Which<'_>) -> Result<Option<Link>, NetlinkError> {
        match self.ask(&ask_link(which)) {
            Ok(bodies) => match bodies.first() {
                Some(body) => parse_link(body).map(Some),
                None => Err(NetlinkError::Malformed),
            },
            Err(NetlinkError::Refused(Errno::ENODEV)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All devices of the network namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let ask = Request::question(libc::RTM_GETLINK, libc::RTM_NEWLINK, link_header(0, 0, 0));
        let bodies = self.ask(&ask.for_all())?;
        bodies.iter().map(|body| parse_link(body)).collect()
    }

    /// All addresses of the network namespace.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let bodies = self.ask(&ask_addresses())?;
        let mut found = Vec::with_capacity(bodies.len());
        for body in &bodies {
            found.extend(parse_address(body)?);
        }
        Ok(found)
    }

    /// The entries of the answer to `request`.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Vec<Vec<u8>>, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.encode(self.sequence);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.fd.as_raw_fd(), &bytes, &kernel, MsgFlags::empty())
            .map_err(NetlinkError::Socket)?;
        let mut answer = Answer::to(request, self.sequence, self.port);
        let mut buffer = vec![0; NETLINK_RECEIVE_BYTES];
        for _ in 0..NETLINK_DATAGRAMS_MAX {
            let (len, sender) =
                match recvfrom::<NetlinkAddr>(self.fd.as_raw_fd(), buffer.as_mut_slice()) {
                    Ok(received) => received,
                    Err(Errno::EINTR) => continue,
                    Err(Errno::EAGAIN) => return Err(NetlinkError::Silent),
                    Err(errno) => return Err(NetlinkError::Socket(errno)),
                };
            // Any process may send to our port; only the kernel is port 0.
            if sender.map(|sender| sender.pid()) != Some(0) {
                continue;
            }
            let datagram = buffer.get(..len).ok_or(NetlinkError::Malformed)?;
            if let Progress::Whole = answer.take(datagram)? {
                return Ok(answer.bodies);
            }
        }
        Err(NetlinkError::Silent)
    }
}

/// Whether an answer has come in whole.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// More datagrams follow.
    Partial,
    /// All is there.
    Whole,
}

/// The answer to one question, as its datagrams come in.
#[derive(Debug)]
struct Answer {
    sequence: u32,
    port: u32,
    entry_kind: u16,
    is_dump: bool,
    bodies: Vec<Vec<u8>>,
}

impl Answer {
    fn to(request: &Request, sequence: u32, port: u32) -> Answer {
        let asks = request.entry_kind != 0;
        Answer {
            sequence,
            port,
            entry_kind: request.entry_kind,
            is_dump: asks && request.flags & libc::NLM_F_DUMP as u16 != 0,
            bodies: Vec::new(),
        }
    }

    fn take(&mut self, datagram: &[u8]) -> Result<Progress, NetlinkError> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let (message, after) = split_message(rest)?;
            rest = after;
            if message.sequence != self.sequence || message.port != self.port {
                continue;
            }
            match i32::from(message.kind) {
                libc::NLMSG_NOOP => {}
                libc::NLMSG_DONE => return Ok(Progress::Whole),
                libc::NLMSG_ERROR => {
                    return match read_i32(message.body, 0)? {
                        0 => Ok(Progress::Whole),
                        errno => Err(NetlinkError::Refused(Errno::from_raw(
                            errno.checked_neg().unwrap_or(0),
                        ))),
                    };
                }
                _ if message.kind == self.entry_kind && self.entry_kind != 0 => {
                    if self.bodies.len() == NETLINK_ENTRIES_MAX {
                        return Err(NetlinkError::TooMany);
                    }
                    self.bodies.push(message.body.to_vec());
                    if !self.is_dump {
                        return Ok(Progress::Whole);
                    }
                }
                _ => {}
            }
        }
        Ok(Progress::Partial)
    }
}

const HEADER_BYTES: usize = 16;
const LINK_HEADER_BYTES: usize = 16;
const ADDRESS_HEADER_BYTES: usize = 8;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// `linux/if_link.h`; libc has it for some targets only.
const IFLA_INFO_KIND: u16 = 1;
/// `linux/if_addr.h`, since Linux 5.18. Older kernels pass over it.
const IFA_PROTO: u16 = 11;
/// No duplicate address detection: an address that is tentative for a second cannot be listened on in it.
const IFA_F_NODAD: u8 = 0x02;

fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    body.extend_from_slice(&[libc::AF_UNSPEC as u8, 0, 0, 0]);
    body.extend_from_slice(&index.to_ne_bytes());
    body.extend_from_slice(&flags.to_ne_bytes());
    body.extend_from_slice(&change.to_ne_bytes());
    body
}

fn address_header(addr: IpAddr, index: u32, flags: u8) -> Vec<u8> {
    let (family, prefix_bits, scope) = match addr {
        IpAddr::V4(_) => (libc::AF_INET, 32, libc::RT_SCOPE_LINK),
        IpAddr::V6(_) => (libc::AF_INET6, 128, libc::RT_SCOPE_UNIVERSE),
    };
    let mut body = Vec::with_capacity(80);
    body.extend_from_slice(&[family as u8, prefix_bits, flags, scope]);
    body.extend_from_slice(&index.to_ne_bytes());
    body
}

pub(super) fn push_ip(out: &mut Vec<u8>, kind: u16, addr: IpAddr) {
    match addr {
        IpAddr::V4(addr) => push_attribute(out, kind, &addr.octets()),
        IpAddr::V6(addr) => push_attribute(out, kind, &addr.octets()),
    }
}

fn push_text(out: &mut Vec<u8>, kind: u16, text: &str) {
    let mut value = text.as_bytes().to_vec();
    value.push(0);
    push_attribute(out, kind, &value);
}

pub(super) fn push_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&((ATTRIBUTE_HEADER_BYTES + value.len()) as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(aligned(out.len()), 0);
}

/// Messages and attributes start at multiples of four bytes.
fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    port: u32,
    body: &'a [u8],
}

fn split_message(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), NetlinkError> {
    let len = read_u32(bytes, 0)? as usize;
    let body = bytes
        .get(HEADER_BYTES..len)
        .ok_or(NetlinkError::Malformed)?;
    let message = Message {
        kind: read_u16(bytes, 4)?,
        sequence: read_u32(bytes, 8)?,
        port: read_u32(bytes, 12)?,
        body,
    };
    // The last message need not be padded.
    Ok((message, bytes.get(aligned(len)..).unwrap_or(&[])))
}

fn parse_link(body: &[u8]) -> Result<Link, NetlinkError> {
    let flags = read_u32(body, 8)?;
    let mut link = Link {
        index: read_u32(body, 4)?,
        name: String::new(),
        alias: None,
        state: match flags & libc::IFF_UP as u32 {
            0 => LinkState::Down,
            _ => LinkState::Up,
        },
        kind: None,
        master: None,
        is_loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
    };
    let mut info = &[][..];
    for_attributes(body, LINK_HEADER_BYTES, |kind, value| match kind {
        libc::IFLA_IFNAME => link.name = text(value),
        libc::IFLA_IFALIAS => link.alias = Some(text(value)),
        libc::IFLA_MASTER => link.master = read_u32(value, 0).ok(),
        libc::IFLA_LINKINFO => info = value,
        _ => {}
    })?;
    for_attributes(info, 0, |kind, value| {
        if kind == IFLA_INFO_KIND {
            link.kind = Some(text(value));
        }
    })?;
    Ok(link)
}

/// `None` for an address of a family that is not IP.
fn parse_address(body: &[u8]) -> Result<Option<Address>, NetlinkError> {
    let head = body
        .get(..ADDRESS_HEADER_BYTES)
        .ok_or(NetlinkError::Malformed)?;
    let family = i32::from(head[0]);
    let device_index = read_u32(body, 4)?;
    let (mut local, mut peer, mut label, mut origin) = (None, None, None, 0);
    for_attributes(body, ADDRESS_HEADER_BYTES, |kind, value| match kind {
        libc::IFA_LOCAL => local = ip(family, value),
        libc::IFA_ADDRESS => peer = ip(family, value),
        libc::IFA_LABEL => label = Some(text(value)),
        IFA_PROTO => origin = value.first().copied().unwrap_or(0),
        _ => {}
    })?;
    // On a point-to-point device IFA_ADDRESS is the other end; IPv6 tells IFA_ADDRESS alone.
    Ok(local.or(peer).map(|addr| Address {
        addr,
        prefix_bits: head[1],
        device_index,
        label,
        origin,
    }))
}

pub(super) fn for_attributes<'a>(
    body: &'a [u8],
    header_bytes: usize,
    mut each: impl FnMut(u16, &'a [u8]),
) -> Result<(), NetlinkError> {
    let mut rest = body.get(header_bytes..).ok_or(NetlinkError::Malformed)?;
    while !rest.is_empty() {
        let len = usize::from(read_u16(rest, 0)?);
        // The two highest bits of the kind say how the value is encoded, not what it is.
        let kind = read_u16(rest, 2)? & 0x3fff;
        let value = rest
            .get(ATTRIBUTE_HEADER_BYTES..len)
            .ok_or(NetlinkError::Malformed)?;
        each(kind, value);
        rest = rest.get(aligned(len)..).unwrap_or(&[]);
    }
    Ok(())
}

pub(super) fn ip(family: i32, value: &[u8]) -> Option<IpAddr> {
    match family {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

fn text(value: &[u8]) -> String {
    let end = value
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn read_u16(bytes: &[u8], at: usize) -> Result<u16, NetlinkError> {
    read(bytes, at).map(u16::from_ne_bytes)
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> Result<u32, NetlinkError> {
    read(bytes, at).map(u32::from_ne_bytes)
}

fn read_i32(bytes: &[u8], at: usize) -> Result<i32, NetlinkError> {
    read(bytes, at).map(i32::from_ne_bytes)
}

pub(super) fn read<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], NetlinkError> {
    bytes
        .get(at..at.saturating_add(N))
        .and_then(|part| part.try_into().ok())
        .ok_or(NetlinkError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: i32, sequence: u32, port: u32, body: &[u8]) -> Vec<u8> {
        let mut out = Request::question(kind as u16, 0, body.to_vec()).encode(sequence);
        out[12..16].copy_from_slice(&port.to_ne_bytes());
        out.resize(aligned(out.len()), 0);
        out
    }

    fn address_body(addr: IpAddr, index: u32, label: &str) -> Vec<u8> {
        put_address(addr, index, label, 7).body
    }

    #[test]
    fn what_is_asked_reads_back() {
        for addr in ["169.254.2.1", "fd00::2:1"].map(|text| text.parse().unwrap()) {
            let read = parse_address(&address_body(addr, 5, "lo:hub"))
                .unwrap()
                .unwrap();
            assert_eq!(
                (read.addr, read.device_index, read.origin),
                (addr, 5, 7),
                "{addr}"
            );
            assert_eq!(read.prefix_bits, if addr.is_ipv4() { 32 } else { 128 });
            assert_eq!(
                read.label.as_deref(),
                addr.is_ipv4().then_some("lo:hub"),
                "{addr}"
            );
        }
        let link = parse_link(&make_link("hub-dummy0", "dummy").body).unwrap();
        assert_eq!(
            (link.name.as_str(), link.state, link.kind.as_deref()),
            ("hub-dummy0", LinkState::Down, Some("dummy"))
        );
        let link = parse_link(&switch_on(9, Some("edge-hub")).body).unwrap();
        assert_eq!((link.index, link.state), (9, LinkState::Up));
        assert_eq!(link.alias.as_deref(), Some("edge-hub"));
    }

    /// The very bytes that `ip addr add 169.254.2.1/32 dev lo label lo:hub scope link` sends, but for the origin.
    #[cfg(target_endian = "little")]
    #[test]
    fn the_bytes_are_those_of_the_kernel() {
        let request = put_address("169.254.2.1".parse().unwrap(), 1, "lo:hub", 0xeb);
        let expected = [
            &[64, 0, 0, 0, 20, 0, 0x05, 0x06, 3, 0, 0, 0, 0, 0, 0, 0][..],
            &[2, 32, 2, 253, 1, 0, 0, 0],
            &[8, 0, 2, 0, 169, 254, 2, 1],
            &[8, 0, 1, 0, 169, 254, 2, 1],
            &[11, 0, 3, 0, b'l', b'o', b':', b'h', b'u', b'b', 0, 0],
            &[5, 0, 11, 0, 0xeb, 0, 0, 0],
        ]
        .concat();
        let mut bytes = request.encode(3);
        bytes[0] = expected[0];
        assert_eq!(bytes, expected);
        assert_eq!(
            request.encode(3)[0] as usize,
            expected.len(),
            "the length counts all"
        );
    }

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let body = address_body("10.0.0.1".parse().unwrap(), 1, "lo");
        let entry = i32::from(libc::RTM_NEWADDR);
        let mut answer = Answer::to(&ask_addresses(), 4, 77);
        let others = [
            message(entry, 3, 77, &body),
            message(entry, 4, 78, &body),
            message(libc::NLMSG_DONE, 3, 77, &[0; 4]),
        ]
        .concat();
        assert_eq!(answer.take(&others), Ok(Progress::Partial));
        assert_eq!(answer.bodies.len(), 0);
        let ours = [
            message(entry, 4, 77, &body),
            message(libc::NLMSG_DONE, 4, 77, &[0; 4]),
        ]
        .concat();
        assert_eq!(answer.take(&ours), Ok(Progress::Whole));
        assert_eq!(answer.bodies, [body]);
    }

    #[test]
    fn the_kernels_verdict_is_told() {
        let change = drop_link(3);
        let verdict = |errno: i32| {
            Answer::to(&change, 1, 2).take(&message(
                libc::NLMSG_ERROR,
                1,
                2,
                &[&errno.to_ne_bytes()[..], &[0; 16]].concat(),
            ))
        };
        assert_eq!(verdict(0), Ok(Progress::Whole));
        assert_eq!(
            verdict(-libc::EPERM),
            Err(NetlinkError::Refused(Errno::EPERM))
        );
        assert_eq!(
            verdict(i32::MIN),
            Err(NetlinkError::Refused(Errno::from_raw(0)))
        );
    }

    #[test]
    fn a_dump_has_its_bound() {
        let entry = message(i32::from(libc::RTM_NEWADDR), 1, 1, &[0; 8]);
        let mut answer = Answer::to(&ask_addresses(), 1, 1);
        for _ in 0..NETLINK_ENTRIES_MAX {
            assert_eq!(answer.take(&entry), Ok(Progress::Partial));
        }
        assert_eq!(answer.take(&entry), Err(NetlinkError::TooMany));
    }

    /// Every cut and every changed byte of a good reply is either read or refused, and never more than that.
    #[test]
    fn no_reply_panics() {
        let body = address_body("fd00::2:1".parse().unwrap(), 1, "");
        let good = [
            message(i32::from(libc::RTM_NEWADDR), 1, 1, &body),
            message(
                i32::from(libc::RTM_NEWLINK),
                1,
                1,
                &make_link("a", "dummy").body,
            ),
            message(libc::NLMSG_ERROR, 1, 1, &[0xff; 4]),
        ]
        .concat();
        let read = |bytes: &[u8]| {
            let _ = Answer::to(&ask_addresses(), 1, 1).take(bytes);
            let _ = parse_address(bytes);
            let _ = parse_link(bytes);
            if let Ok((message, _)) = split_message(bytes) {
                let _ = parse_address(message.body);
                let _ = parse_link(message.body);
            }
        };
        for cut in 0..good.len() {
            read(&good[..cut]);
            for value in [0, 1, 3, 4, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[cut] = value;
                read(&bad);
            }
        }
        for len in 0..HEADER_BYTES as u32 {
            let mut short = good.clone();
            short[..4].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(
                Answer::to(&ask_addresses(), 1, 1).take(&short),
                Err(NetlinkError::Malformed)
            );
        }
    }

    #[test]
    fn the_loopback_device_is_there() {
        let mut socket = Socket::open().unwrap();
        let link = socket.link(Which::Name("lo")).unwrap().unwrap();
        assert_eq!(
            socket.link(Which::Index(link.index)).unwrap().unwrap().name,
            "lo"
        );
        assert!(link.is_loopback && link.kind.is_none());
        assert!(socket.links().unwrap().contains(&link));
        assert_eq!(socket.link(Which::Name("no-such-dev")).unwrap(), None);
        assert!(
            socket
                .addresses()
                .unwrap()
                .iter()
                .any(|address| address.addr == IpAddr::from([127, 0, 0, 1]))
        );
    }
}
