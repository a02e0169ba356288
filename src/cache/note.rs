//! What a collection must remember beside its items, as one opaque note in the store.

use crate::object::TypeMeta;

/// A collection's note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The type of the items of a list, or of the one object.
    Objects(TypeMeta),
    /// The one object is known not to exist; the item is the body of the 404.
    Absent,
    /// A document, as its bytes came.
    Document,
}

impl Note {
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Note::Objects(t) => format!("o{}\n{}", t.api_version, t.kind),
            Note::Absent => "a".to_owned(),
            Note::Document => "d".to_owned(),
        }
        .into_bytes()
    }

    /// `None` for a note that no version of the hub wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Note> {
        let text = std::str::from_utf8(bytes).ok()?;
        match text.as_bytes().first()? {
            b'o' => {
                let (api_version, kind) = text[1..].split_once('\n')?;
                Some(Note::Objects(TypeMeta {
                    api_version: api_version.to_owned(),
                    kind: kind.to_owned(),
                }))
            }
            b'a' if text.len() == 1 => Some(Note::Absent),
            b'd' if text.len() == 1 => Some(Note::Document),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for note in [
            Note::Objects(TypeMeta {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
            }),
            Note::Absent,
            Note::Document,
        ] {
            assert_eq!(Note::from_bytes(&note.to_bytes()), Some(note));
        }
        for bytes in [&b""[..], b"x", b"o", b"abc", b"\xff"] {
            assert_eq!(Note::from_bytes(bytes), None);
        }
    }
}
