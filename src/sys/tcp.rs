//! Options of TCP sockets that tokio does not offer.

use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::os::fd::AsFd;

/// Makes the kernel notice by itself that the other end is gone: probes when idle, and a bound on unacknowledged
/// bytes.
///
/// # Errors
/// The kernel's, if it does not know an option.
pub fn notice_death(
    socket: &impl AsFd,
    idle_secs: u32,
    interval_secs: u32,
    unacked_millis: u32,
) -> io::Result<()> {
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &idle_secs)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &interval_secs)?;
    setsockopt(socket, sockopt::TcpUserTimeout, &unacked_millis)?;
    Ok(())
}
