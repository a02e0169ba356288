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
