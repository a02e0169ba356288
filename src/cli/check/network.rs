//! Addresses and ports of this machine: can they be had, or does a running hub have them already.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};

use super::Findings;
use crate::admin::status::Status;
use crate::cli::status::fetch;
use crate::config::{ClientFrom, Config};
use crate::from_json::object;

/// The hub that runs now with this configuration's admin address, if one does.
pub(super) fn running(config: &Config) -> Option<Status> {
    let body = fetch(config.admin_listen).ok()?;
    object(&body).filter(|status: &Status| !status.version.is_empty())
}

pub(super) fn check(findings: &mut Findings, config: &Config, running: Option<Status>) {
    if let Some(hub) = &running {
        findings.ok(format!(
            "edge-hub {} runs already, pid {}; its ports are taken as good",
            hub.version, hub.pid
        ));
    }
    for ip in &config.own_addresses {
        own_address(findings, config, *ip);
    }
    for at in &config.listen {
        port(findings, "listen", *at, config, running.is_some());
    }
    if let Some(at) = config.local_listen {
        port(findings, "local_listen", at, config, running.is_some());
        if config.client.is_none() && config.client_from == ClientFrom::Files {
            findings.warn("local_listen: without `client_cert` everybody there needs a token of their own; set it to the node's pair");
        }
    }
    port(
        findings,
        "admin_listen",
        config.admin_listen,
        config,
        running.is_some(),
    );
    if !config.admin_listen.ip().is_loopback() {
        findings.warn(format!(
            "admin_listen: {} is not a loopback address, and everybody who reaches it can read the status; 127.0.0.1 is private",
            config.admin_listen
        ));
    }
}

fn own_address(findings: &mut Findings, config: &Config, ip: IpAddr) {
    if !config
        .listen
        .iter()
        .any(|at| at.ip() == ip || (at.ip().is_unspecified() && at.is_ipv4() == ip.is_ipv4()))
    {
        findings.warn(format!(
            "own_addresses: nothing listens on {ip}; add \"{}\" to `listen`",
            SocketAddr::new(ip, 10268)
        ));
    }
    if present(ip) {
        findings.ok(format!("own_addresses: {ip} is on this machine"));
    } else if may_change_network() {
        findings.ok(format!(
            "own_addresses: {ip} is not there yet; the hub may put it there"
        ));
    } else {
        findings.fail(format!(
            "own_addresses: {ip} is not on this machine and this process may not put it there, so pods would reach nobody; \
             run it as root or with CAP_NET_ADMIN (check too), or put the address on a device beforehand"
        ));
    }
}

fn port(findings: &mut Findings, key: &str, at: SocketAddr, config: &Config, running: bool) {
    let Err(error) = TcpListener::bind(at) else {
        findings.ok(format!("{key}: {at} is free"));
        return;
    };
    match error.kind() {
        ErrorKind::AddrInUse if running => findings.ok(format!("{key}: {at} is in use, by the hub it seems")),
        ErrorKind::AddrInUse => findings.fail(format!(
            "{key}: {at} is in use by another program; `ss -ltnp` shows which; stop it or choose another port"
        )),
        ErrorKind::AddrNotAvailable if config.own_addresses.contains(&at.ip()) => {
            findings.ok(format!("{key}: {at} comes with its address"));
        }
        ErrorKind::AddrNotAvailable => findings.fail(format!(
            "{key}: no device of this machine has {}; correct it, or add it to `own_addresses`",
            at.ip()
        )),
        ErrorKind::PermissionDenied => findings.fail(format!(
            "{key}: {at} may not be had by this user; ports below 1024 need root or CAP_NET_BIND_SERVICE"
        )),
        _ => findings.fail(format!("{key}: {at} cannot be had ({error})")),
    }
}

/// An address of this machine can be bound, any other cannot.
fn present(ip: IpAddr) -> bool {
    TcpListener::bind(SocketAddr::new(ip, 0)).is_ok()
}

/// CAP_NET_ADMIN, bit 12 of the effective capabilities (capabilities(7), proc_pid_status(5)).
fn may_change_network() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set & (1 << 12) != 0)
}
