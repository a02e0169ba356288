//! Every bound of the hub, with its reason. Nothing grows past what stands here.

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
