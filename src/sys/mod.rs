//! The operating system: the only place for nix, libc and unsafe.
