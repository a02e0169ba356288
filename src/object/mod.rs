//! Kubernetes objects and lists as bytes, JSON and protobuf, without schemas.

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Encoding {
    Json,
    Protobuf,
}
