//! The hub's own addresses on the node: put on a device of their own, looked after, and taken away at the end.
//!
//! They go on `hub-dummy0`, or on `lo` where the kernel has no dummy driver. What the hub puts it marks, so that a run
//! that was killed is recognised by the next one and cleaned up at its end: an IPv4 address by its label (`lo:hub`),
//! any address by its origin number (Linux 5.18), the device by its alias (`edge-hub`). What is not marked is somebody
//! else's and never taken away.

use super::netlink::{
    Address, Link, LinkState, NetlinkError, Socket, Which, drop_address, drop_link, make_link,
    put_address, switch_on,
};
use crate::limits::ADDRESSES_KEPT_MAX;
use nix::errno::Errno;
use std::fmt;
use std::net::IpAddr;

/// The device that the hub makes for its addresses.
pub const DEVICE: &str = "hub-dummy0";

/// An address that the hub has put on the node, and so takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The address.
    pub addr: IpAddr,
    /// The name of the device that it is on.
    pub device: String,
    device_index: u32,
}

/// How it comes that the node has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ensured {
    /// Somebody else has put it there. It is never taken away.
    AlreadyThere {
        /// The name of the device that it is on.
        device: String,
    },
    /// It was put there by this call.
    Put(Placed),
    /// The hub had put it there before, in this run or in one that was killed.
    Kept(Placed),
}

/// What was being done when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Listing what is there.
    Look,
    /// Making the device.
    MakeDevice,
    /// Switching the device on.
    SwitchOn,
    /// Putting the address on the device.
    Put,
    /// Taking the address off the device.
    TakeAway,
    /// Removing the device.
    DropDevice,
}

/// Why the node does not have, or still has, an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// No single host can have it: it is unspecified, multicast or broadcast.
    NotForHosts {
        /// The address.
        addr: IpAddr,
    },
    /// More addresses than `ADDRESSES_KEPT_MAX`.
    TooMany {
        /// How many were wanted.
        wanted: usize,
    },
    /// The kernel does not have it done. Trying again may help if somebody changes the system.
    Failed {
        /// What was being done.
        step: Step,
        /// For which address.
        addr: IpAddr,
        /// On which device.
        device: String,
        /// What the kernel said.
        cause: NetlinkError,
    },
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotForHosts { addr } => {
                write!(
                    f,
                    "{addr} cannot be an address of the hub: use one of a single host, such as 169.254.2.1"
                )
            }
            Self::TooMany { wanted } => {
                write!(
                    f,
                    "{wanted} addresses are wanted, at most {ADDRESSES_KEPT_MAX} are possible"
                )
            }
            Self::Failed {
                step,
                addr,
                device,
                cause,
            } => {
                match step {
                    Step::Look => {
                        write!(f, "cannot list the addresses of this machine for {addr}")?
                    }
                    Step::MakeDevice => write!(f, "cannot make the device {device} for {addr}")?,
                    Step::SwitchOn => write!(f, "cannot switch on the device {device} for {addr}")?,
                    Step::Put => write!(f, "cannot put {addr} on {device}")?,
                    Step::TakeAway => write!(f, "cannot take {addr} off {device}")?,
                    Step::DropDevice => write!(f, "cannot remove the device {device}")?,
                }
                write!(f, ": {cause}")?;
                match way_out(*step, *addr, cause) {
                    Some(WayOut::Capability) => write!(
                        f,
                        "; this needs CAP_NET_ADMIN: run as root, grant it (AmbientCapabilities=CAP_NET_ADMIN), \
                         or have the system's network configuration put {addr} on a device"
                    ),
                    Some(WayOut::Ipv6) => write!(
                        f,
                        "; IPv6 is off on {device}: set net.ipv6.conf.all.disable_ipv6=0, or use an IPv4 address"
                    ),
                    Some(WayOut::Netlink) => write!(
                        f,
                        "; a sandbox may forbid netlink sockets: allow AF_NETLINK (RestrictAddressFamilies=)"
                    ),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for AddressError {}

enum WayOut {
    Capability,
    Ipv6,
    Netlink,
}

fn way_out(step: Step, addr: IpAddr, cause: &NetlinkError) -> Option<WayOut> {
    match cause {
        NetlinkError::Refused(Errno::EPERM) => Some(WayOut::Capability),
        NetlinkError::Refused(Errno::EACCES | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT)
            if addr.is_ipv6() && step == Step::Put =>
        {
            Some(WayOut::Ipv6)
        }
        NetlinkError::Refused(Errno::EACCES) => Some(WayOut::Capability),
        NetlinkError::Socket(Errno::EPERM | Errno::EACCES | Errno::EAFNOSUPPORT) => {
            Some(WayOut::Netlink)
        }
        _ => None,
    }
}

/// Makes the node have `addr`, as a single address (/32 or /128).
pub fn ensure(addr: IpAddr) -> Result<Ensured, AddressError> {
    ensure_on(addr, OWN)
}

/// Takes away what [`ensure`] put, and the device if the hub had made it and nothing else is on it. What is gone
/// already is no error.
pub fn remove(placed: &Placed) -> Result<(), AddressError> {
    remove_from(placed, OWN)
}

/// An address that this machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub addr: IpAddr,
    /// Length of its prefix in bits.
    pub prefix_bits: u8,
    /// The name of the device that it is on.
    pub device: String,
}

/// Every address of this machine (of its network namespace). Needs no privilege.
pub fn local_addresses() -> Result<Vec<LocalAddress>, NetlinkError> {
    let mut socket = Socket::open()?;
    let mut names: Vec<(u32, String)> = Vec::new();
    let mut found = Vec::new();
    for address in socket.addresses()? {
        let index = address.device_index;
        let known = names.iter().find(|(known, _)| *known == index);
        let device = match known {
            Some((_, name)) => name.clone(),
            None => {
                let name = device_name(&mut socket, index)?;
                names.push((index, name.clone()));
                name
            }
        };
        found.push(LocalAddress {
            addr: address.addr,
            prefix_bits: address.prefix_bits,
            device,
        });
    }
    Ok(found)
}

/// Looks after the addresses of one run of the hub.
///
/// [`check`](Self::check) is called at start and every minute; [`release`](Self::release) at the end, and by `drop` if
/// it was not.
#[derive(Debug)]
pub struct AddressGuard {
    kept: Vec<Kept>,
    own: Own,
}

#[derive(Debug)]
struct Kept {
    addr: IpAddr,
    /// As the last look that succeeded found it. A failed look does not undo what is known to be ours: it must still
    /// be taken away.
    known: Option<Ensured>,
    /// Why the last look failed, if it did.
    failure: Option<AddressError>,
}

/// What a check found that was not so at the check before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressChange {
    /// The hub has put it: it was not there.
    Put(Placed),
    /// It is there because a run of the hub that was killed had put it; it is the hub's again.
    TakenOver(Placed),
    /// It is there because somebody else put it.
    Found {
        /// The address.
        addr: IpAddr,
        /// The name of the device that it is on.
        device: String,
    },
    /// Somebody took it away, and the hub has put it back.
    Restored(Placed),
    /// It is there still, and the hub, which could not look after it for a time, can again.
    Recovered(Placed),
    /// It is not there, or nobody can tell.
    Failed(AddressError),
}

impl fmt::Display for AddressChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(placed) => write!(f, "put {} on {}", placed.addr, placed.device),
            Self::TakenOver(placed) => {
                write!(
                    f,
                    "{} on {} is left from a run that was killed, and taken over",
                    placed.addr, placed.device
                )
            }
            Self::Found { addr, device } => {
                write!(f, "{addr} is on {device} already, and stays there at exit")
            }
            Self::Restored(placed) => {
                write!(
                    f,
                    "{} was lost, and is put back on {}",
                    placed.addr, placed.device
                )
            }
            Self::Recovered(placed) => {
                write!(
                    f,
                    "{} is on {} still, and looked after again",
                    placed.addr, placed.device
                )
            }
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

impl AddressGuard {
    /// Will look after `addrs`; nothing is done before the first check. Of equal ones the first counts.
    pub fn new(addrs: &[IpAddr]) -> Result<AddressGuard, AddressError> {
        AddressGuard::on(addrs, OWN)
    }

    fn on(addrs: &[IpAddr], own: Own) -> Result<AddressGuard, AddressError> {
        let mut kept: Vec<Kept> = Vec::new();
        for &addr in addrs {
            if kept.iter().all(|kept| kept.addr != addr) {
                kept.push(Kept {
                    addr,
                    known: None,
                    failure: None,
                });
            }
        }
        match kept.len() {
            wanted if wanted > ADDRESSES_KEPT_MAX => Err(AddressError::TooMany { wanted }),
            _ => Ok(AddressGuard { kept, own }),
        }
    }

    /// Makes the node have every address, and tells what is not as it was at the check before; a failure that repeats
    /// is told once.
    pub fn check(&mut self) -> Vec<AddressChange> {
        let own = self.own;
        let looks = self.kept.iter_mut();
        looks
            .filter_map(|kept| kept.look(ensure_on(kept.addr, own)))
            .collect()
    }

    /// The addresses, and how each came to be there, or why it did not; `None` before the first check.
    pub fn state(&self) -> impl Iterator<Item = (IpAddr, Option<Result<&Ensured, &AddressError>>)> {
        self.kept.iter().map(|kept| {
            let failed = kept.failure.as_ref().map(Err);
            (kept.addr, failed.or(kept.known.as_ref().map(Ok)))
        })
    }

    /// Takes away what the hub had put, and tells what could not be. A second call does nothing.
    pub fn release(&mut self) -> Vec<AddressError> {
        let own = self.own;
        self.kept
            .iter_mut()
            .filter_map(|kept| match kept.known.take() {
                Some(Ensured::Put(placed) | Ensured::Kept(placed)) => {
                    remove_from(&placed, own).err()
                }
                Some(Ensured::AlreadyThere { .. }) | None => None,
            })
            .collect()
    }
}

impl Kept {
    /// Takes in what was found, and tells what is new about it.
    fn look(&mut self, found: Result<Ensured, AddressError>) -> Option<AddressChange> {
        let now = match found {
            Ok(now) => now,
            Err(error) if self.failure.as_ref() == Some(&error) => return None,
            Err(error) => {
                self.failure = Some(error.clone());
                return Some(AddressChange::Failed(error));
            }
        };
        let failed = self.failure.take();
        let change = match (&self.known, &now) {
            (Some(_), Ensured::Put(placed)) => Some(AddressChange::Restored(placed.clone())),
            (None, Ensured::Put(placed)) => Some(AddressChange::Put(placed.clone())),
            (Some(Ensured::Put(_) | Ensured::Kept(_)), Ensured::Kept(placed)) => {
                failed.map(|_| AddressChange::Recovered(placed.clone()))
            }
            (_, Ensured::Kept(placed)) => Some(AddressChange::TakenOver(placed.clone())),
            (Some(before), now) if before == now && failed.is_none() => None,
            (_, Ensured::AlreadyThere { device }) => Some(AddressChange::Found {
                addr: self.addr,
                device: device.clone(),
            }),
        };
        self.known = Some(now);
        change
    }
}

impl Drop for AddressGuard {
    fn drop(&mut self) {
        self.release();
    }
}

/// How the hub's own device is made.
#[derive(Debug, Clone, Copy)]
struct Own {
    device: &'static str,
    kind: &'static str,
}

const OWN: Own = Own {
    device: DEVICE,
    kind: "dummy",
};
const FALLBACK_DEVICE: &str = "lo";
/// Written on the device that the hub made.
const ALIAS: &str = "edge-hub";
/// `IFA_PROTO` of the hub's addresses: none that the kernel or a routing daemon uses.
const ORIGIN: u8 = 0xeb;

fn label(device: &str) -> String {
    format!("{device}:hub")
}

fn ensure_on(addr: IpAddr, own: Own) -> Result<Ensured, AddressError> {
    if !is_for_hosts(addr) {
        return Err(AddressError::NotForHosts { addr });
    }
    let at = |step, device: &str| failed(step, addr, device);
    let mut socket = Socket::open().map_err(at(Step::Look, own.device))?;
    let existing = find(&mut socket, addr).map_err(at(Step::Look, own.device))?;
    if let Some((address, link)) = existing {
        return if !is_ours(&address, &link) {
            Ok(Ensured::AlreadyThere { device: link.name })
        } else {
            switch_on_if_off(&mut socket, &link).map_err(at(Step::SwitchOn, &link.name))?;
            Ok(Ensured::Kept(placed(addr, link)))
        };
    }
    let link = device(&mut socket, addr, own)?;
    let request = put_address(addr, link.index, &label(&link.name), ORIGIN);
    match socket.change(&request) {
        Ok(()) => Ok(Ensured::Put(placed(addr, link))),
        // Somebody was quicker.
        Err(NetlinkError::Refused(Errno::EEXIST)) => {
            Ok(Ensured::AlreadyThere { device: link.name })
        }
        Err(cause) => Err(at(Step::Put, &link.name)(cause)),
    }
}

/// The device that addresses go on, switched on.
fn device(socket: &mut Socket, addr: IpAddr, own: Own) -> Result<Link, AddressError> {
    let at = |step, device: &str| failed(step, addr, device);
    let look = |socket: &mut Socket, name: &str| {
        socket.link(Which::Name(name)).map_err(at(Step::Look, name))
    };
    if let Some(link) = look(socket, own.device)? {
        switch_on_if_off(socket, &link).map_err(at(Step::SwitchOn, &link.name))?;
        return Ok(link);
    }
    let alias = match socket.change(&make_link(own.device, own.kind)) {
        Ok(()) => Some(ALIAS),
        Err(NetlinkError::Refused(Errno::EEXIST)) => None,
        // The kernel has no such driver.
        Err(NetlinkError::Refused(Errno::EOPNOTSUPP)) => {
            let link = look(socket, FALLBACK_DEVICE)?.ok_or(NetlinkError::Refused(Errno::ENODEV));
            let link = link.map_err(at(Step::Look, FALLBACK_DEVICE))?;
            switch_on_if_off(socket, &link).map_err(at(Step::SwitchOn, &link.name))?;
            return Ok(link);
        }
        Err(cause) => return Err(at(Step::MakeDevice, own.device)(cause)),
    };
    let link = look(socket, own.device)?.ok_or(NetlinkError::Refused(Errno::ENODEV));
    let link = link.map_err(at(Step::MakeDevice, own.device))?;
    socket
        .change(&switch_on(link.index, alias))
        .map_err(at(Step::SwitchOn, own.device))?;
    Ok(link)
}

fn remove_from(placed: &Placed, own: Own) -> Result<(), AddressError> {
    let at = |step| failed(step, placed.addr, &placed.device);
    let mut socket = Socket::open().map_err(at(Step::Look))?;
    let existing = find(&mut socket, placed.addr).map_err(at(Step::Look))?;
    if let Some((address, link)) = existing
        && link.index == placed.device_index
        && is_ours(&address, &link)
    {
        match socket.change(&drop_address(placed.addr, link.index)) {
            Ok(()) | Err(NetlinkError::Refused(Errno::EADDRNOTAVAIL | Errno::ENODEV)) => {}
            Err(cause) => return Err(at(Step::TakeAway)(cause)),
        }
    }
    drop_device_if_empty(&mut socket, own).map_err(at(Step::DropDevice))
}

fn drop_device_if_empty(socket: &mut Socket, own: Own) -> Result<(), NetlinkError> {
    let Some(link) = socket.link(Which::Name(own.device))? else {
        return Ok(());
    };
    let in_use =
        |address: &Address| address.device_index == link.index && !is_made_by_kernel(address.addr);
    if link.alias.as_deref() != Some(ALIAS) || socket.addresses()?.iter().any(in_use) {
        return Ok(());
    }
    match socket.change(&drop_link(link.index)) {
        Err(NetlinkError::Refused(Errno::ENODEV)) => Ok(()),
        result => result,
    }
}

fn find(socket: &mut Socket, addr: IpAddr) -> Result<Option<(Address, Link)>, NetlinkError> {
    let found = socket
        .addresses()?
        .into_iter()
        .find(|address| address.addr == addr);
    let Some(address) = found else {
        return Ok(None);
    };
    // The device may go between the two questions, and the address with it.
    let link = socket.link(Which::Index(address.device_index))?;
    Ok(link.map(|link| (address, link)))
}

fn is_ours(address: &Address, link: &Link) -> bool {
    address.origin == ORIGIN
        || address.label.as_deref() == Some(&label(&link.name))
        || link.alias.as_deref() == Some(ALIAS)
}

fn is_for_hosts(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => {
            !v6.is_unspecified() && !v6.is_multicast() && v6.to_ipv4_mapped().is_none()
        }
    }
}

/// A device that is switched on gets an fe80:: address without being asked.
fn is_made_by_kernel(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn switch_on_if_off(socket: &mut Socket, link: &Link) -> Result<(), NetlinkError> {
    match link.state {
        LinkState::Up => Ok(()),
        LinkState::Down => socket.change(&switch_on(link.index, None)),
    }
}

fn device_name(socket: &mut Socket, index: u32) -> Result<String, NetlinkError> {
    let link = socket.link(Which::Index(index))?;
    Ok(link.map_or_else(|| format!("device {index}"), |link| link.name))
}

fn placed(addr: IpAddr, link: Link) -> Placed {
    Placed {
        addr,
        device: link.name,
        device_index: link.index,
    }
}

fn failed(
    step: Step,
    addr: IpAddr,
    device: &str,
) -> impl FnOnce(NetlinkError) -> AddressError + use<> {
    let device = device.to_owned();
    move |cause| AddressError::Failed {
        step,
        addr,
        device,
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 2, 1));

    /// A device that every kernel can make stands in for the dummy, which many cannot.
    const BRIDGE: Own = Own {
        device: "hub-test0",
        kind: "bridge",
    };

    /// Runs `body` in a network namespace that has only a `lo` that is switched off.
    fn in_new_namespace(body: impl FnOnce() + Send + 'static) {
        std::thread::spawn(move || {
            // SAFETY: takes no pointers; it moves only the calling thread, which is this test's own and ends with it.
            let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(
                result,
                0,
                "this test needs root, for a network namespace of its own: {}",
                Errno::last().desc()
            );
            body();
        })
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }

    fn v6() -> IpAddr {
        "fd00::2:1".parse().unwrap()
    }

    fn find_here(addr: IpAddr) -> Option<LocalAddress> {
        local_addresses()
            .unwrap()
            .into_iter()
            .find(|local| local.addr == addr)
    }

    fn has_device(name: &str) -> bool {
        let link = Socket::open().unwrap().link(Which::Name(name)).unwrap();
        link.is_some()
    }

    /// As somebody else would: without the hub's marks.
    fn put_by_hand(addr: IpAddr, device: &str) {
        let mut socket = Socket::open().unwrap();
        let link = socket.link(Which::Name(device)).unwrap().unwrap();
        socket
            .change(&put_address(addr, link.index, device, 0))
            .unwrap();
    }

    fn take_by_hand(addr: IpAddr) {
        let mut socket = Socket::open().unwrap();
        let (_, link) = find(&mut socket, addr).unwrap().unwrap();
        socket.change(&drop_address(addr, link.index)).unwrap();
    }

    #[test]
    fn without_a_driver_it_is_put_on_lo_and_taken_away() {
        in_new_namespace(|| {
            const NO_DRIVER: Own = Own {
                device: "hub-test0",
                kind: "no-such-kind",
            };
            for addr in [V4, v6()] {
                let Ensured::Put(placed) = ensure_on(addr, NO_DRIVER).unwrap() else {
                    panic!("{addr} was there");
                };
                assert_eq!(placed.device, "lo");
                let local = find_here(addr).unwrap();
                assert_eq!(local.prefix_bits, if addr.is_ipv4() { 32 } else { 128 });
                assert_eq!(local.device, "lo");
                std::net::TcpListener::bind((addr, 0)).expect("it can be listened on at once");
                assert_eq!(
                    ensure_on(addr, NO_DRIVER),
                    Ok(Ensured::Kept(placed.clone()))
                );
                remove_from(&placed, NO_DRIVER).unwrap();
                assert_eq!(find_here(addr), None);
                assert_eq!(remove_from(&placed, NO_DRIVER), Ok(()), "gone is gone");
            }
        });
    }

    #[test]
    fn the_real_device_or_lo() {
        in_new_namespace(|| {
            let Ensured::Put(placed) = ensure(V4).unwrap() else {
                panic!("it was there");
            };
            assert!(
                ["lo", DEVICE].contains(&placed.device.as_str()),
                "{placed:?}"
            );
            remove(&placed).unwrap();
            assert_eq!(find_here(V4), None);
            assert!(!has_device(DEVICE));
        });
    }

    #[test]
    fn a_device_of_its_own_goes_with_its_last_address() {
        in_new_namespace(|| {
            let mut guard = AddressGuard::on(&[V4, v6(), V4], BRIDGE).unwrap();
            let changes = guard.check();
            assert_eq!(changes.len(), 2, "{changes:?}");
            for change in changes {
                assert!(
                    matches!(&change, AddressChange::Put(placed) if placed.device == BRIDGE.device),
                    "{change:?}"
                );
            }
            assert_eq!(guard.check(), [], "nothing changed");
            assert_eq!(guard.release(), []);
            assert_eq!((find_here(V4), find_here(v6())), (None, None));
            assert!(!has_device(BRIDGE.device));
        });
    }

    #[test]
    fn a_lost_address_comes_back() {
        in_new_namespace(|| {
            let mut guard = AddressGuard::on(&[V4, v6()], BRIDGE).unwrap();
            guard.check();
            take_by_hand(V4);
            let changes = guard.check();
            assert!(
                matches!(&changes[..], [AddressChange::Restored(placed)] if placed.addr == V4),
                "{changes:?}"
            );
            let mut socket = Socket::open().unwrap();
            let link = socket.link(Which::Name(BRIDGE.device)).unwrap().unwrap();
            socket.change(&drop_link(link.index)).unwrap();
            assert_eq!(guard.check().len(), 2, "the device went, and both with it");
            assert!(find_here(V4).is_some() && find_here(v6()).is_some());
            drop(guard);
            assert!(!has_device(BRIDGE.device), "dropping is releasing");
        });
    }

    #[test]
    fn what_somebody_else_put_stays() {
        in_new_namespace(|| {
            put_by_hand(V4, "lo");
            let mut guard = AddressGuard::on(&[V4], BRIDGE).unwrap();
            let found = AddressChange::Found {
                addr: V4,
                device: "lo".into(),
            };
            assert_eq!(guard.check(), [found]);
            assert_eq!(guard.check(), []);
            guard.release();
            assert!(find_here(V4).is_some());
            assert!(!has_device(BRIDGE.device));
        });
    }

    #[test]
    fn a_device_somebody_else_made_stays() {
        in_new_namespace(|| {
            let mut socket = Socket::open().unwrap();
            socket
                .change(&make_link(BRIDGE.device, BRIDGE.kind))
                .unwrap();
            let mut guard = AddressGuard::on(&[V4], BRIDGE).unwrap();
            assert!(
                matches!(&guard.check()[..], [AddressChange::Put(placed)] if placed.device == BRIDGE.device)
            );
            std::net::TcpListener::bind((V4, 0)).unwrap();
            guard.release();
            assert_eq!(find_here(V4), None);
            assert!(has_device(BRIDGE.device));
        });
    }

    #[test]
    fn what_a_killed_run_left_is_taken_over() {
        in_new_namespace(|| {
            for own in [
                BRIDGE,
                Own {
                    device: "hub-test0",
                    kind: "no-such-kind",
                },
            ] {
                let mut killed = AddressGuard::on(&[V4, v6()], own).unwrap();
                killed.check();
                std::mem::forget(killed);
                let mut guard = AddressGuard::on(&[V4, v6()], own).unwrap();
                let changes = guard.check();
                assert!(
                    matches!(
                        changes[..],
                        [AddressChange::TakenOver(_), AddressChange::TakenOver(_)]
                    ),
                    "{changes:?}"
                );
                assert_eq!(guard.check(), []);
                assert_eq!(guard.release(), []);
                assert_eq!((find_here(V4), find_here(v6())), (None, None));
                assert!(!has_device(own.device));
            }
        });
    }

    #[test]
    fn without_the_right_it_says_so() {
        in_new_namespace(|| {
            #[repr(C)]
            struct Header {
                version: u32,
                pid: i32,
            }
            let header = Header {
                version: 0x2008_0522,
                pid: 0,
            };
            let nothing = [0u32; 6];
            // SAFETY: capset(2) of version 3 reads one header and two sets of three words, which these are; pid 0 is
            // the calling thread, which is this test's own.
            let result = unsafe { libc::syscall(libc::SYS_capset, &header, nothing.as_ptr()) };
            assert_eq!(result, 0, "{}", Errno::last().desc());
            let mut guard = AddressGuard::on(&[V4], BRIDGE).unwrap();
            let changes = guard.check();
            let [AddressChange::Failed(error)] = &changes[..] else {
                panic!("{changes:?}");
            };
            let text = error.to_string();
            assert!(
                text.contains("CAP_NET_ADMIN") && text.contains("169.254.2.1"),
                "{text}"
            );
            assert_eq!(guard.check(), [], "told once");
            assert!(local_addresses().is_ok(), "looking needs no right");
        });
    }

    #[test]
    fn only_what_is_new_is_told() {
        let placed = |index| Placed {
            addr: V4,
            device: "lo".into(),
            device_index: index,
        };
        let silent = || failed(Step::Look, V4, "lo")(NetlinkError::Silent);
        let mut kept = Kept {
            addr: V4,
            known: None,
            failure: None,
        };
        let there = || Ensured::AlreadyThere {
            device: "eth0".into(),
        };
        let found = || {
            Some(AddressChange::Found {
                addr: V4,
                device: "eth0".into(),
            })
        };
        for (step, (look, expected)) in [
            (Err(silent()), Some(AddressChange::Failed(silent()))),
            (Err(silent()), None),
            (
                Ok(Ensured::Put(placed(1))),
                Some(AddressChange::Put(placed(1))),
            ),
            (Ok(Ensured::Kept(placed(1))), None),
            (Err(silent()), Some(AddressChange::Failed(silent()))),
            (Err(silent()), None),
            (
                Ok(Ensured::Kept(placed(1))),
                Some(AddressChange::Recovered(placed(1))),
            ),
            (
                Ok(Ensured::Put(placed(2))),
                Some(AddressChange::Restored(placed(2))),
            ),
            (Ok(there()), found()),
            (Ok(there()), None),
            (Err(silent()), Some(AddressChange::Failed(silent()))),
            (Ok(there()), found()),
            (
                Ok(Ensured::Kept(placed(3))),
                Some(AddressChange::TakenOver(placed(3))),
            ),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(kept.look(look), expected, "step {step}");
        }
    }

    #[test]
    fn not_every_address_is_for_a_host() {
        for text in [
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            let addr = text.parse().unwrap();
            assert_eq!(ensure(addr), Err(AddressError::NotForHosts { addr }));
        }
        assert!(matches!(
            ensure(IpAddr::from([127, 0, 0, 1])),
            Ok(Ensured::AlreadyThere { .. })
        ));
    }

    #[test]
    fn the_number_of_addresses_has_a_bound() {
        let addrs: Vec<IpAddr> = (0..=ADDRESSES_KEPT_MAX as u8)
            .map(|last| IpAddr::from([10, 0, 0, last]))
            .collect();
        assert!(AddressGuard::new(&addrs[1..]).is_ok());
        assert_eq!(
            AddressGuard::new(&addrs).err(),
            Some(AddressError::TooMany {
                wanted: ADDRESSES_KEPT_MAX + 1
            })
        );
    }
}
