//! The door: listeners, TLS, one connection.
pub mod guard;
