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
