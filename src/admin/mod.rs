//! What the hub tells its operator: health, status, metrics.

pub mod status;
