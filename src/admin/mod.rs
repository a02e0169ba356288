//! What the hub tells its operator: health, status, metrics.
