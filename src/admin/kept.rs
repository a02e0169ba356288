//! What goes over the control socket, for the hub that tells it and the command that reads it. An answer is a row of
//! records, each behind its length (4 bytes, little endian), and [`END`] behind the last: without that it is not whole.

use crate::access::hex::{from_hex, to_hex};
use crate::cache::Shown;
use crate::cache::key::Key;
use crate::from_json::read_from_json;
use serde::Serialize;

/// In the place of a length: no more records.
pub const END: u32 = u32::MAX;

/// The socket's name in `run_dir`.
pub const SOCKET: &str = "control";

read_from_json! {
/// A collection, as JSON in a record. Every field may be missing in what another version sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Its number in this run of the hub.
    pub id: u64,
    /// [`Key::to_bytes`] in hexadecimal.
    pub name: String,
    /// In it.
    pub objects: u64,
    /// Of its objects.
    pub bytes: u64,
    /// Up to which it is known.
    pub version: String,
    /// `complete`, `frozen`, `behind`.
    pub state: String,
    /// Since it was last known to be current.
    pub age_secs: u64,
    /// How dear it is: `pinned`, `named`, `wild`, `unwanted`.
    pub class: String,
}
}

impl Row {
    /// `class` is that of its agent, as [`super::index::class_word`] says it.
    pub fn new(shown: &Shown, class: &str) -> Row {
        Row {
            id: shown.id.0,
            name: to_hex(&shown.key.to_bytes()),
            objects: shown.objects as u64,
            bytes: shown.bytes as u64,
            version: shown.version.clone(),
            state: match (shown.live, shown.behind) {
                (_, true) => "behind",
                (true, false) => "complete",
                (false, false) => "frozen",
            }
            .to_owned(),
            age_secs: shown.age.as_secs(),
            class: class.to_owned(),
        }
    }

    /// `None`: a name that this version does not understand.
    pub fn key(&self) -> Option<Key> {
        Key::from_bytes(&from_hex(&self.name)?)
    }
}

/// Appends a record.
pub fn put(record: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(record.len() as u32).to_le_bytes());
    out.extend_from_slice(record);
}

/// Appends the end.
pub fn put_end(out: &mut Vec<u8>) {
    out.extend_from_slice(&END.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_json::object;

    #[test]
    fn what_another_version_sends_is_read_as_far_as_it_goes() {
        let row: Row = object(r#"{"id":7,"new":1}"#).expect("JSON");
        assert_eq!((row.id, row.key()), (7, None));
    }
}
