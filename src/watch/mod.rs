//! Watch streams: frames and events.

pub mod event;
pub mod frame;
