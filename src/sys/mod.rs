//! The operating system: the only place for nix, libc and unsafe.

pub mod address;
pub mod clock;
pub mod file;
pub mod hyper_io;
pub mod near;
pub mod netlink;
pub mod notify;
pub mod owner;
pub mod process;
pub mod rlimit;
pub mod tcp;
pub mod tokio_io;
pub mod wear;
pub mod wire;
