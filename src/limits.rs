//! Every bound of the hub, with its reason. Nothing grows past what stands here.

// ---- health

/// Changes of the link that are logged in one window: a rolling restart of three servers is nine of them.
pub const LINK_LOG_BURST: u32 = 20;
/// Length of that window, in seconds.
pub const LINK_LOG_WINDOW_SECS: u64 = 60;

// ---- upstream

/// Length of a server's URL, in bytes: a DNS name has at most 253.
pub const SERVER_URL_BYTES_MAX: usize = 300;
/// Addresses of one name that are tried: beyond, the connect deadline has long passed.
pub const SERVER_ADDRESSES_MAX: usize = 16;
/// Milliseconds before the next address of a name is tried beside the former (RFC 8305 recommends 250).
pub const CONNECT_STAGGER_MILLIS: u64 = 250;
/// Plaintext and ciphertext that rustls holds for one upstream connection, in bytes each: one TLS record.
pub const UPSTREAM_TLS_BUFFER_BYTES: usize = 16 * 1024;
/// HTTP/2 flow-control window of one upstream stream, in bytes: what a reader that stalled costs.
pub const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Streams that are opened on one upstream connection at most, whatever the server allows (API server: 100 or 250).
pub const STREAMS_PER_CONNECTION_MAX: usize = 250;
/// HTTP/2 window of a whole upstream connection: every stream may stall with a full window, and the next still moves.
pub const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_PER_CONNECTION_MAX as u32;
const _: () = assert!(CONNECTION_WINDOW_BYTES < 1 << 31, "RFC 9113 section 6.9.1");
/// Largest HTTP/2 frame taken from upstream, and largest piece of a body sent at once, in bytes: the protocol's least.
pub const UPSTREAM_FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Response headers taken from upstream, in bytes: eight times what an API server sends with many warnings.
pub const UPSTREAM_HEADER_BYTES_MAX: u32 = 64 * 1024;
/// HPACK table offered to the server, in bytes: the response headers of an API server repeat, and fit.
pub const UPSTREAM_HEADER_TABLE_BYTES: u32 = 2 * 1024;
/// Streams that were given up and are remembered, so that frames still in flight for them do no harm.
pub const RESET_STREAMS_MAX: usize = 128;
/// HTTP/2 connections per server and way: 16 x 100 streams is more than the door lets in; then requests wait.
pub const H2_CONNECTIONS_PER_POOL_MAX: usize = 16;
/// HTTP/1.1 connections per server and way: each costs some 43 KiB; then requests wait.
pub const H1_CONNECTIONS_PER_POOL_MAX: usize = 128;
/// Idle HTTP/1.1 connections kept per server and way: what a burst of lists of one node needs.
pub const H1_IDLE_PER_POOL_MAX: usize = 8;
/// Seconds after which an idle HTTP/1.1 connection is not used again: less than what servers and NATs allow.
pub const H1_IDLE_SECS_MAX: u64 = 30;
/// Read and write buffer of an upstream HTTP/1.1 connection, and so its largest head, in bytes.
pub const H1_UPSTREAM_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Upgraded upstream connections (exec, port-forward) at once, over all servers; then they are refused.
pub const UPGRADES_MAX: usize = 64;
/// Of a request's body, kept so that it can be sent again when the server says that it did not look at it, in bytes.
pub const REPLAY_BYTES_MAX: usize = 64 * 1024;
/// The same over all requests, in bytes: beyond, a body is not kept, and such a request fails as not sent.
pub const REPLAY_BYTES_TOTAL_MAX: usize = 1024 * 1024;
/// Times that one request is sent to one server, all refusals included: Go's client tries as often.
pub const ATTEMPTS_MAX: u32 = 6;
/// Of them, those that were refused over HTTP/2 before the request goes by HTTP/1.1.
pub const HTTP2_REFUSALS_MAX: u32 = 3;
/// TCP keepalive towards the API server, in seconds: idle before the first probe, then between two.
pub const UPSTREAM_KEEPALIVE_IDLE_SECS: u32 = 10;
/// See [`UPSTREAM_KEEPALIVE_IDLE_SECS`].
pub const UPSTREAM_KEEPALIVE_INTERVAL_SECS: u32 = 5;
/// Milliseconds that sent bytes may stay unacknowledged (TCP_USER_TIMEOUT): the backstop behind PING.
pub const UPSTREAM_USER_TIMEOUT_MILLIS: u32 = 15_000;
