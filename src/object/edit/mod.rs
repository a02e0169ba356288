//! Looks for fields in one bare object, and changes some, in JSON and protobuf alike. All other bytes stay as they came.
//!
//! Knows of a schema only the fields that it is asked for. Never changes anything in place: what was found are places in
//! the object as it came, and all changes are made at once, when they are written.

mod change;
mod node;

pub use change::{Edits, Value};
pub use node::Node;

/// A field: what JSON calls it, and its number in protobuf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its number in protobuf.
    pub number: u8,
}

impl Field {
    /// The field with this name and number.
    pub const fn new(name: &'static str, number: u8) -> Field {
        Field { name, number }
    }
}

#[cfg(test)]
mod tests;
