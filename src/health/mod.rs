//! Whether the API server can be reached, and since when.

pub mod link;
pub mod server;

pub use link::{Link, LinkState};
pub use server::{Input, Output, Readiness, Reason, ServerState};
