//! The operating system: the only place for nix, libc and unsafe.

pub mod hyper_io;
pub mod tcp;
