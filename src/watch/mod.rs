//! Watch streams: frames and events, passed on from the API server or held without it.

pub mod event;
pub mod frame;
pub mod held;
pub mod relay;
pub mod stage;
