//! Every bound of the hub, with its reason. Nothing grows past what stands here.

// ---- sys

/// Entries taken from one netlink listing. A node has one address per pod device and a few more; a listing that is
/// longer than this is refused, and the addresses are then left as they are.
pub const NETLINK_ENTRIES_MAX: usize = 4096;

/// Bytes received at once from netlink: the most that the kernel puts into one datagram of a listing, so none is cut.
pub const NETLINK_RECEIVE_BYTES: usize = 32 * 1024;

/// Datagrams read for one answer. The entries above fit into far fewer; the rest is room for strangers' messages.
pub const NETLINK_DATAGRAMS_MAX: usize = 4096;

/// Seconds to wait for the kernel, which answers at once or has lost the answer.
pub const NETLINK_WAIT_SECS_MAX: i64 = 2;

/// Addresses that the hub keeps on the node: a few networks in both families.
pub const ADDRESSES_KEPT_MAX: usize = 16;

/// The latest time to which a certificate may move the hub's clock: 2100-01-01. A certificate that begins later was
/// made by a machine whose clock was wrong, and would make every other one look expired.
pub const CLOCK_FLOOR_UNIX_SECS_MAX: u64 = 4_102_444_800;

/// Times before this are not believed: 2025-01-01, before the first release. A box without a clock starts in 1970,
/// or at the build date of its C library or init.
pub const CLOCK_UNSET_UNIX_SECS: u64 = 1_735_689_600;

/// Bytes read from one of the kernel's small text files; the biggest of them has about 1 KiB.
pub const PROC_FILE_BYTES_MAX: usize = 16 * 1024;

/// Leftover temporary files removed before one write. There is at most one per power cut.
pub const LEFTOVERS_REMOVED_MAX: usize = 64;

// ---- certs

/// Bytes of one certificate. Ordinary ones have 500 to 2000; TLS itself ends at 64 KiB.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a PEM file with a chain and a key. A chain of RSA 4096 certificates has about 8 KiB.
pub const PAIR_FILE_BYTES_MAX: usize = 128 * 1024;

/// Certificates in a chain: a leaf and its intermediates. Every one goes over the wire in every handshake.
pub const CHAIN_CERTIFICATES_MAX: usize = 10;

/// Bytes of a file of CA certificates: the public ones of a distribution have about 250 KiB.
pub const AUTHORITY_FILE_BYTES_MAX: usize = 1024 * 1024;

/// Certificates in a file of CA certificates: a distribution has about 150; each is about 1 KiB of RAM.
pub const AUTHORITIES_MAX: usize = 512;

/// Bytes of one name in a subject. A node's user name is `system:node:` and at most 253 more.
pub const SUBJECT_NAME_BYTES_MAX: usize = 512;

/// Organizations in a subject, which are groups. Nodes have one, people a few.
pub const SUBJECT_NAMES_MAX: usize = 32;

/// Names and addresses in the hub's serving certificate: those of the node, and what the configuration adds.
pub const SANS_MAX: usize = 128;

/// Characters of a common name that the hub writes: ub-common-name of RFC 5280.
pub const COMMON_NAME_CHARS_MAX: usize = 64;

/// TLS sessions with API servers that are remembered, for each identity: a few servers, and both versions of TLS. A
/// resumed handshake saves the certificates' 4 KB and a signature on a metered link; 256, as is usual, cost 47 KiB.
pub const TLS_CLIENT_SESSIONS_MAX: usize = 8;
