//! The door: listeners, TLS, one connection.
