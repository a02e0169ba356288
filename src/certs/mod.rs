//! Keys and certificates: loading, the hub's own CA, subjects.
