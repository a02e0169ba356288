//! The door: listeners, TLS, one connection, one request.

pub mod accept;
mod catch_up;
pub mod connection;
pub mod guard;
pub mod guarded;
pub mod handle;
mod reconsider;
pub mod runtime;
pub mod splice;
pub mod strangers;
pub mod tunnel;
