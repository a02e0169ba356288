//! Every bound of the hub, with its reason. Nothing grows past what stands here.

// ---- request

/// Longest path and query, bytes. The API server itself takes 1 MiB of head; the longest real ones (exec with a long
/// command, label selectors of thousands of values) stay under this.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;
/// Clauses of `Accept` that are looked at. Real clients send at most six.
pub const ACCEPT_CLAUSES_MAX: usize = 8;
/// Longest name of an agent, bytes: a directory's name and a log word are made of it.
pub const AGENT_BYTES_MAX: usize = 63;

// ---- access

/// Identities remembered as accepted: 33 bytes each. A node has tens of pods, each with a token an hour.
pub const KNOWN_IDENTITIES_MAX: usize = 512;

// ---- store

/// What holding one item costs beside key and value: its share of a tree node (two fat pointers, filled to two
/// thirds), and two allocations with their counts.
pub const STORE_ITEM_BYTES: usize = 112;
/// What a collection costs beside its items: its record, its key in the cache's table, its version.
pub const STORE_COLLECTION_BYTES: usize = 512;

// ---- server

/// Longest head of an HTTP/1.1 request, bytes, and of an HTTP/2 header list. The API server takes 1 MiB; a real head
/// with a bound token and a long selector is under 16 KiB.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header lines of one request. hyper's own bound is 100 too.
pub const HEADERS_MAX: usize = 100;
/// Longest line with a chunk's size, and longest trailer section, bytes. Nobody uses extensions or trailers here.
pub const CHUNK_LINE_BYTES_MAX: u16 = 1024;
