//! Kubernetes objects and lists as bytes, JSON and protobuf, without schemas.
