//! Every bound of the hub, with its reason. Nothing grows past what stands here.

// ---- config

/// Bytes of the configuration file. A list of 64 entries in each list, with long paths, has a tenth of it.
pub const CONFIG_BYTES_MAX: usize = 256 << 10;
/// Entries of each list in the configuration: servers, listeners, identities, names. A site has a handful.
pub const CONFIG_LIST_MAX: usize = 64;
/// Problems told about one configuration. More than a screen helps nobody.
pub const CONFIG_PROBLEMS_MAX: usize = 50;
/// Addresses that the hub puts on a device. One per family is usual.
pub const OWN_ADDRESSES_MAX: usize = 8;
/// Bytes of an agent's name. What stands before the `/` of a User-Agent is a program's name.
pub const AGENT_NAME_BYTES_MAX: usize = 128;
/// Bytes that kept answers may take: less would not hold one node's pods, more no device of this kind has.
pub const CACHE_BYTES_MIN: u64 = 1 << 20;
/// The other end of the same.
pub const CACHE_BYTES_MAX: u64 = 1 << 30;
/// Bytes that kept answers take unless told otherwise: two thousand objects of 2 KB, twice.
pub const CACHE_BYTES_DEFAULT: u64 = 8 << 20;
/// Client connections at once: fewer would shut out a node's own components.
pub const CONNECTIONS_MIN: u64 = 8;
/// The most that can be asked for; each costs a task and TLS buffers.
pub const CONNECTIONS_MAX: u64 = 4_096;
/// Client connections at once unless told otherwise: some 110 pods with two each, and the node's own.
pub const CONNECTIONS_DEFAULT: u64 = 512;

// ---- cli

/// Bytes of an answer that `status` and `check` read. The hub's own is a few KiB; a stranger's on that port may be anything.
pub const CLI_REPLY_BYTES_MAX: usize = 1 << 20;
/// How long `status` waits for its whole answer. Longer than a busy hub on a slow device needs.
pub const CLI_REPLY_SECS_MAX: u64 = 5;
/// Characters of a log line. The longest request path that is let in fits; logd and the journal cut far above.
pub const LOG_LINE_CHARS_MAX: usize = 4_096;
/// How long `check` gives one server: to resolve, to connect, to answer.
pub const CHECK_SERVER_SECS_MAX: u64 = 10;
/// Bytes of a certificate or key file that `check` reads. A bundle of all public CAs has a quarter of it.
pub const CHECK_FILE_BYTES_MAX: u64 = 1 << 20;
/// Days before its end from which `check` and `status` warn of a certificate: a weekend, and time to act.
pub const CERT_WARN_DAYS: i64 = 7;
/// Seconds of difference to the server's clock from which `check` warns: tokens and leases begin to go wrong.
pub const CLOCK_WARN_SECS: i64 = 30;
