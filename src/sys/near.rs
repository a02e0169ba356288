//! Whether a peer is on this machine, or in a container on it, or beyond.
//!
//! Linux takes packets for any of its addresses from any of its devices (the weak host model of RFC 1122), so a loopback or
//! link-local address is no fence by itself: a neighbour on the LAN needs only a route to it by way of this machine. But
//! what is answered to a peer goes out by a device, and a container's is another than a neighbour's: a veth, or a bridge
//! that has nothing but such. Who lies about where he is gets no answer, and so no connection.

use super::netlink::{
    Link, NetlinkError, Request, Socket, for_attributes, push_ip, read, read_u32,
};
use crate::limits::DEVICES_KNOWN_FOR;
use nix::errno::Errno;
use nix::libc;
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

/// What is known of this machine's devices.
#[derive(Default)]
pub struct Near {
    /// The numbers of those that lead away from it, and since when they are known.
    outward: RefCell<Option<(Instant, Vec<u32>)>>,
}

/// Where answers to somebody go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To this machine.
    Here,
    /// Out by the device with this number.
    By(u32),
    Nowhere,
}

impl Near {
    /// Whether `peer` is beyond this machine and its containers.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn is_beyond(&self, peer: SocketAddr) -> Result<bool, NetlinkError> {
        let way = match peer {
            _ if peer.ip().to_canonical().is_loopback() => Way::Here,
            // Such an address means nothing without its device.
            SocketAddr::V6(v6) if v6.scope_id() != 0 => Way::By(v6.scope_id()),
            _ => Socket::open()?.way_to(peer.ip().to_canonical())?,
        };
        match way {
            Way::Here => Ok(false),
            Way::By(device) => Ok(self.leads_away(device)?),
            // A connection that cannot be answered.
            Way::Nowhere => Ok(true),
        }
    }

    fn leads_away(&self, device: u32) -> Result<bool, NetlinkError> {
        let mut known = self.outward.borrow_mut();
        if let Some((since, devices)) = &*known
            && since.elapsed() < DEVICES_KNOWN_FOR
        {
            return Ok(devices.contains(&device));
        }
        let mut socket = Socket::open()?;
        let mut devices = outward(&socket.links()?);
        for anywhere in ANYWHERE {
            if let Way::By(device) = socket.way_to(anywhere)? {
                devices.push(device);
            }
        }
        let leads_away = devices.contains(&device);
        *known = Some((Instant::now(), devices));
        Ok(leads_away)
    }
}

/// Addresses of nobody (RFC 5737, RFC 3849): the way to them is the default route, if there is one.
const ANYWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Kinds of virtual devices that lead to other machines, by what they lie upon or what they are.
const LEADING_AWAY: [&str; 16] = [
    "bond",
    "team",
    "vlan",
    "vxlan",
    "geneve",
    "gre",
    "gretap",
    "ip6gre",
    "ip6tnl",
    "ipip",
    "sit",
    "vti",
    "vti6",
    "wireguard",
    "ppp",
    "hsr",
];

/// Which of these devices lead away from the machine: hardware, what is made of it, and bridges that have such.
fn outward(links: &[Link]) -> Vec<u32> {
    let by_itself = |link: &Link| match &link.kind {
        None => !link.is_loopback,
        Some(kind) => LEADING_AWAY.contains(&kind.as_str()),
    };
    let leads = |link: &&Link| {
        let mut ports = links.iter().filter(|port| port.master == Some(link.index));
        by_itself(link) || ports.any(by_itself)
    };
    links.iter().filter(leads).map(|link| link.index).collect()
}

impl Socket {
    fn way_to(&mut self, to: IpAddr) -> Result<Way, NetlinkError> {
        match self.ask(&ask(to)) {
            Ok(answer) => parse(answer.first().ok_or(NetlinkError::Malformed)?),
            Err(NetlinkError::Refused(
                Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::EACCES
                | Errno::EINVAL
                | Errno::EAFNOSUPPORT,
            )) => Ok(Way::Nowhere),
            Err(error) => Err(error),
        }
    }
}

/// `struct rtmsg` of `linux/rtnetlink.h`: family, lengths, tos, table, protocol, scope, type, and flags.
const ROUTE_HEADER_BYTES: usize = 12;
const TYPE_AT: usize = 7;

fn ask(to: IpAddr) -> Request {
    let (family, bits) = match to {
        IpAddr::V4(_) => (libc::AF_INET, 32),
        IpAddr::V6(_) => (libc::AF_INET6, 128),
    };
    let mut body = vec![0; ROUTE_HEADER_BYTES];
    body[..2].copy_from_slice(&[family as u8, bits]);
    push_ip(&mut body, libc::RTA_DST, to);
    Request::question(libc::RTM_GETROUTE, libc::RTM_NEWROUTE, body)
}

fn parse(body: &[u8]) -> Result<Way, NetlinkError> {
    let [kind] = read(body, TYPE_AT)?;
    let mut device = None;
    for_attributes(body, ROUTE_HEADER_BYTES, |kind, value| {
        if kind == libc::RTA_OIF {
            device = read_u32(value, 0).ok();
        }
    })?;
    Ok(match (kind, device) {
        (libc::RTN_LOCAL, _) => Way::Here,
        (libc::RTN_UNICAST, Some(device)) => Way::By(device),
        _ => Way::Nowhere,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netlink::LinkState;

    fn link(index: u32, kind: Option<&str>, master: Option<u32>) -> Link {
        Link {
            index,
            name: format!("dev{index}"),
            alias: None,
            state: LinkState::Up,
            kind: kind.map(str::to_owned),
            master,
            is_loopback: index == 1,
        }
    }

    #[test]
    fn what_leads_away() {
        let links = [
            link(1, None, None),
            link(2, None, None),
            // The bridge of a router's LAN, and that of a container network.
            link(3, Some("bridge"), None),
            link(4, None, Some(3)),
            link(5, Some("bridge"), None),
            link(6, Some("veth"), Some(5)),
            // One for containers that has an overlay among its ports.
            link(7, Some("bridge"), None),
            link(8, Some("vxlan"), Some(7)),
            link(9, Some("veth"), Some(7)),
            link(10, Some("dummy"), None),
            link(11, Some("wireguard"), None),
        ];
        assert_eq!(outward(&links), [2, 3, 4, 7, 8, 11]);
    }

    #[test]
    fn this_machine_is_near() {
        let near = Near::default();
        for peer in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(near.is_beyond(peer.parse().unwrap()), Ok(false), "{peer}");
        }
        let own = crate::sys::address::local_addresses().unwrap();
        for own in own.iter().filter(|own| own.addr.is_ipv4()) {
            let peer = SocketAddr::new(own.addr, 1);
            assert_eq!(near.is_beyond(peer), Ok(false), "{peer}");
        }
        // Whether there is a default route or none.
        assert_eq!(near.is_beyond("192.0.2.7:1".parse().unwrap()), Ok(true));
    }

    #[test]
    fn no_answer_panics() {
        let mut good = vec![0; ROUTE_HEADER_BYTES];
        good[TYPE_AT] = libc::RTN_UNICAST;
        good.extend_from_slice(&[8, 0]);
        good.extend_from_slice(&libc::RTA_OIF.to_ne_bytes());
        good.extend_from_slice(&3u32.to_ne_bytes());
        assert_eq!(parse(&good), Ok(Way::By(3)));
        for cut in 0..good.len() {
            assert_ne!(parse(&good[..cut]), Ok(Way::By(3)));
            for value in 0..=255 {
                let mut bad = good.clone();
                bad[cut] = value;
                let _ = parse(&bad);
            }
        }
        good[TYPE_AT] = libc::RTN_LOCAL;
        assert_eq!(parse(&good), Ok(Way::Here));
    }
}
