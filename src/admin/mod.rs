//! What the hub tells its operator: health, status, metrics.

pub mod control;
pub mod index;
pub mod kept;
pub mod metrics;
pub mod report;
pub mod serve;
pub mod status;
pub mod view;
