//! Kubernetes objects and lists as bytes, JSON and protobuf, without schemas.
//!
//! Finds the few fields that the hub needs (type, name, version) and copies everything else as it came. Never decodes
//! an object into a structure of ours, and so never loses a field that it does not know. Pure: bytes in, values out.

pub mod base64;
pub mod edit;
pub mod essence;
pub mod fields;
pub mod gunzip;
pub(crate) mod json;
pub mod list;
pub(crate) mod proto;
mod read;
pub mod service;
pub mod status;
mod version;
mod write;
pub mod yaml;

use std::borrow::Cow;
use std::fmt;

use crate::limits::TYPE_NAME_BYTES_MAX;

pub(crate) use read::{Facts, INITIAL_EVENTS_END, json_object, proto_object};
pub use read::{canonical, open_single, read_meta, read_single};
pub use version::put_with_version;
pub(crate) use write::{envelope_len, put_envelope, put_json_object};
pub use write::{
    list_item_framed_len, write_list_head, write_list_item, write_list_tail, write_single,
};

/// How an object is written down.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Encoding {
    /// `application/json`.
    Json,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// Why bytes are not what they should be. Always the sender's doing, and the same bytes fail again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// The document ends before it is complete.
    Truncated,
    /// The bytes follow neither the JSON nor the protobuf grammar.
    Syntax,
    /// Deeper than [`crate::limits::JSON_DEPTH_MAX`].
    Depth,
    /// A part is bigger than its bound.
    TooLarge,
    /// The protobuf envelope is absent, encoded in a further way, or holds fields that we would lose.
    Envelope,
    /// Text that we return is not UTF-8.
    Text,
    /// A field that we read has a type that it cannot have.
    Shape,
    /// `kind` or `apiVersion` is missing where there must be one.
    Untyped,
    /// The document is complete but not a list that can be kept.
    NotList,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Truncated => "ends too early",
            Malformed::Syntax => "syntax error",
            Malformed::Depth => "nested too deeply",
            Malformed::TooLarge => "a part is too large",
            Malformed::Envelope => "unknown protobuf envelope",
            Malformed::Text => "text is not UTF-8",
            Malformed::Shape => "a field has the wrong type",
            Malformed::Untyped => "kind or apiVersion is missing",
            Malformed::NotList => "not a list",
        })
    }
}

impl std::error::Error for Malformed {}

/// The type of an object, owned. Each part is at most [`TYPE_NAME_BYTES_MAX`] when it was read from bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct TypeMeta {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// `Pod`, `PodList`.
    pub kind: String,
}

impl TypeMeta {
    /// The type with these two names.
    pub fn new(api_version: &str, kind: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        }
    }
}

/// The type of an object, borrowed from its bytes unless an escape had to be resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypeMetaRef<'a> {
    /// `v1`, `apps/v1`; never empty.
    pub api_version: Cow<'a, str>,
    /// `Pod`, `PodList`; never empty.
    pub kind: Cow<'a, str>,
}

impl<'a> TypeMetaRef<'a> {
    /// None if either part is empty, as Go takes an empty `kind` for none.
    pub(crate) fn read(
        api_version: Cow<'a, str>,
        kind: Cow<'a, str>,
    ) -> Result<Option<Self>, Malformed> {
        if api_version.len() > TYPE_NAME_BYTES_MAX || kind.len() > TYPE_NAME_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        let whole = !api_version.is_empty() && !kind.is_empty();
        Ok(whole.then_some(Self { api_version, kind }))
    }

    /// The same type, owned.
    pub fn into_owned(self) -> TypeMeta {
        TypeMeta {
            api_version: self.api_version.into_owned(),
            kind: self.kind.into_owned(),
        }
    }
}

impl PartialEq<TypeMeta> for TypeMetaRef<'_> {
    fn eq(&self, other: &TypeMeta) -> bool {
        self.api_version == other.api_version && self.kind == other.kind
    }
}

/// What tells one object and its version from another. A field that is absent is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta<'a> {
    /// `metadata.name`.
    pub name: Cow<'a, str>,
    /// `metadata.namespace`, empty for what belongs to no namespace.
    pub namespace: Cow<'a, str>,
    /// `metadata.uid`.
    pub uid: Cow<'a, str>,
    /// `metadata.resourceVersion`.
    pub resource_version: Cow<'a, str>,
}
