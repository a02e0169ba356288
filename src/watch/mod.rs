//! Watch streams: frames and events, what their clients were told, passed on from the API server or held without it.

pub mod ask;
pub mod difference;
pub mod event;
pub mod frame;
pub mod held;
pub mod news;
pub mod relay;
pub mod stage;
pub mod told;
pub mod turns;
