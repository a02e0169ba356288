//! Every bound of the hub, with its reason. Nothing grows past what stands here.

use std::time::Duration;

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

// ---- cache

/// Collections in the table: a kubelet has one for each ConfigMap and Secret of its pods. About 400 bytes each.
pub const COLLECTIONS_MAX: usize = 2048;
/// Chunked lists between two pages at one time.
pub const PAGED_LISTS_MAX: usize = 8;
/// How long a next page is waited for: etcd forgets the list's version after five minutes.
pub const PAGED_LIST_AGE_MAX: Duration = Duration::from_secs(300);
/// Largest object that is kept, bytes. etcd takes 1.5 MiB as protobuf; JSON of it may be larger, and is then passed on
/// and not kept.
pub const OBJECT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Largest discovery document that is kept: `/openapi/v3` of one group has up to 700 KB, `/openapi/v2` several MB.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// Largest body of a 404 that is kept.
pub const ABSENT_BYTES_MAX: usize = 16 * 1024;

// ---- reply

/// Kept lists go out in pieces of about this many bytes: one or two HTTP/2 frames.
pub const PIECE_BYTES: usize = 16 * 1024;
/// Longest watch event that is passed on whole. An object of the largest size that etcd takes, as JSON, fits; what is
/// longer streams on, and if it is torn the watch ends.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A held watch is not ended before this, for client-go takes a watch that ends within a second without an event for a
/// fault, and lists again (kubernetes-api.md 3.5).
pub const HELD_MIN: Duration = Duration::from_millis(1200);
/// When the link is back, held watches end spread over this time.
pub const HELD_SPREAD: Duration = Duration::from_secs(2);
// ---- object

/// Levels of nesting in one JSON document. API objects stay below 30; a schema of schemas (a CRD) below 60. The
/// scanner recurses once a level, about 150 bytes of stack each.
pub const JSON_DEPTH_MAX: usize = 128;

/// Bytes of an `apiVersion` or a `kind`. The API server bounds both well below: a group is a DNS name (253) and a kind
/// a label (63).
pub const TYPE_NAME_BYTES_MAX: usize = 256;

/// Bytes of a list document that are not items: type, `metadata` and white space. The largest honest part is the
/// `continue` token, which holds one storage key (under 1 KiB). What is bigger is no list (a Table's rows end here).
pub const LIST_HEAD_BYTES_MAX: usize = 16 * 1024;

// ---- watch

/// A watch without `timeoutSeconds` lives this long to twice as long, as at the API server (`--min-request-timeout`).
pub const WATCH_SECS_DEFAULT: u64 = 1800;
/// Longest life of a watch that a client can ask for: a day. It comes back by itself.
pub const WATCH_SECS_MAX: u64 = 86_400;

// ---- connections of clients

/// Connections that may wait in the kernel's queue of one listener.
pub const LISTEN_BACKLOG: u32 = 128;
/// Bytes read from a client at one time.
pub const READ_BYTES: usize = 4 * 1024;
/// Bytes of a refused request that are read and dropped before the connection is left to itself.
pub const DISCARD_BYTES_MAX: usize = 256 * 1024;
/// A body may take as long as it wants, but not be silent for longer than this. `kubectl cp` and uploads over slow
/// links move all the time; an open exec is no body.
pub const BODY_SILENCE_MAX: Duration = Duration::from_secs(60);
/// hyper's read and write buffers of an HTTP/1.1 connection (cross-build.md 2: the default lets a stalled reader cost
/// 800 KiB). Heads larger than this are refused by the guard's own bound first only up to 64 KiB, so it is that bound.
pub const H1_BUFFER_BYTES: usize = HEAD_BYTES_MAX + 4096;
/// Plaintext that TLS may hold back for a client that does not read.
pub const TLS_BUFFER_BYTES: usize = 16 * 1024;
/// Streams on one HTTP/2 connection: a kubelet watches each ConfigMap and Secret of its pods on one connection.
pub const H2_STREAMS_MAX: u32 = 256;
/// Request bytes that one stream, and all of a connection, may have on the way to us.
pub const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
pub const H2_CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
pub const H2_FRAME_BYTES: u32 = 16 * 1024;
/// Response bytes of one stream that are buffered beyond what the client's window lets go.
pub const H2_SEND_BUFFER_BYTES: usize = 16 * 1024;
/// Streams that the client reset before we took them; over it the connection is closed (rapid reset).
pub const H2_RESETS_PENDING_MAX: usize = 32;
/// Streams that we reset for the client's faults; over it the connection is closed.
pub const H2_RESETS_MAX: usize = 256;
/// A client's HTTP/2 connection is asked for a sign of life this often, and closed without one after the wait.
pub const CLIENT_PING_EVERY: Duration = Duration::from_secs(30);
pub const CLIENT_PING_WAIT: Duration = Duration::from_secs(20);
/// A connection on which nothing is asked is closed after this. Go's client keeps one for 90 s.
pub const CLIENT_IDLE_MAX: Duration = Duration::from_secs(120);
/// Buffer of each direction of an upgraded connection.
pub const TUNNEL_BYTES: usize = 8 * 1024;
