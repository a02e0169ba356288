//! Watch streams: frames and events.
