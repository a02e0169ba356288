//! Every bound of the hub, with its reason. Nothing grows past what stands here.

// ---- request

/// Longest path and query, bytes. The API server itself takes 1 MiB of head; the longest real ones (exec with a long
/// command, label selectors of thousands of values) stay under this.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;
/// Clauses of `Accept` that are looked at. Real clients send at most six.
pub const ACCEPT_CLAUSES_MAX: usize = 8;
/// Longest name of an agent, bytes: a directory's name and a log word are made of it.
pub const AGENT_BYTES_MAX: usize = 63;
