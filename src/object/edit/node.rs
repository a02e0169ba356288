//! A place in an object. Never copies, but for text with escapes.

use super::Field;
use crate::object::json::Cursor;
use crate::object::proto::{self, Fields};
use crate::object::{Encoding, Malformed, base64};
use std::borrow::Cow;
use std::ops::Range;

/// The object itself, or a value in it.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    pub(super) encoding: Encoding,
    /// Where the value begins in the object. No two messages begin at the same place, so it names them.
    pub(super) at: usize,
    /// What goes when the value goes: in JSON its key too, or of a list's item the item alone; in protobuf its tag.
    pub(super) whole: Range<usize>,
    pub(super) body: Body<'a>,
}

/// What a value is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    /// JSON: its text. Protobuf: the bytes of a length-delimited field.
    Bytes(&'a [u8]),
    /// A varint of protobuf.
    Number(u64),
}

impl<'a> Node<'a> {
    /// A bare object, as `open_single`, a list's scanner or a watch event gives it.
    pub fn object(encoding: Encoding, bare: &'a [u8]) -> Node<'a> {
        Node {
            encoding,
            at: 0,
            whole: 0..bare.len(),
            body: Body::Bytes(bare),
        }
    }

    /// How the object is written down.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The value of a field that is there once. One that is there twice is refused: which counts would be a guess, and
    /// no API server writes such.
    pub fn get(&self, field: Field) -> Result<Option<Node<'a>>, Malformed> {
        let mut found = None;
        self.each(field, &mut |node| node.only(&mut found))?;
        Ok(found)
    }

    /// The items of a repeated field.
    pub fn items(&self, field: Field) -> Result<Vec<Node<'a>>, Malformed> {
        let mut items = Vec::new();
        if self.encoding == Encoding::Protobuf {
            self.each(field, &mut |item| {
                items.push(item);
                Ok(())
            })?;
        } else if let Some(list) = self.get(field)? {
            list.array(&mut items)?;
        }
        Ok(items)
    }

    /// The value of a key in a map from strings to strings or bytes.
    pub fn entry(&self, map: Field, key: &str) -> Result<Option<Node<'a>>, Malformed> {
        let mut found = None;
        match self.encoding {
            Encoding::Json => {
                if let Some(map) = self.get(map)? {
                    map.members(key, &mut |node| node.only(&mut found))?;
                }
            }
            Encoding::Protobuf => self.each(map, &mut |entry| match (
                entry.get(ENTRY_KEY)?,
                entry.get(ENTRY_VALUE)?,
            ) {
                (Some(k), Some(mut value)) if k.bytes()? == key.as_bytes() => {
                    value.whole = entry.whole;
                    value.only(&mut found)
                }
                _ => Ok(()),
            })?,
        }
        Ok(found)
    }

    /// The keys and values of a map in a JSON object.
    pub fn entries(&self, map: Field) -> Result<Vec<(Cow<'a, str>, Node<'a>)>, Malformed> {
        let mut entries = Vec::new();
        let Some(map) = self.get(map)? else {
            return Ok(entries);
        };
        let mut cursor = Cursor::new(map.bytes()?);
        cursor.open_object()?;
        while let Some(key) = cursor.next_key()? {
            let (key_at, at) = (map.at + cursor.key_at(), map.at + cursor.token_at());
            let value = cursor.skip()?;
            entries.push((key.decode()?, map.value(key_at, at, value)));
        }
        cursor.end()?;
        Ok(entries)
    }

    /// Puts it into an empty place. `null` is nothing.
    fn only(self, place: &mut Option<Node<'a>>) -> Result<(), Malformed> {
        if self.encoding == Encoding::Json && self.bytes()? == b"null" {
            return Ok(());
        }
        match place.replace(self) {
            None => Ok(()),
            Some(_) => Err(Malformed::Shape),
        }
    }

    /// The text of a string.
    pub fn text(&self) -> Result<Cow<'a, str>, Malformed> {
        let bytes = self.bytes()?;
        match self.encoding {
            Encoding::Protobuf => std::str::from_utf8(bytes)
                .map(Cow::Borrowed)
                .map_err(|_| Malformed::Text),
            Encoding::Json => {
                let text = Cursor::new(bytes).text()?;
                text.ok_or(Malformed::Shape)?.decode()
            }
        }
    }

    /// The bytes of a field that is bytes, which JSON writes as base64.
    pub fn blob(&self) -> Result<Cow<'a, [u8]>, Malformed> {
        match self.encoding {
            Encoding::Protobuf => self.bytes().map(Cow::Borrowed),
            Encoding::Json => base64::read(self.text()?.as_bytes()).map(Cow::Owned),
        }
    }

    /// The text of a string field; empty if it is not there, as Go reads it.
    pub fn text_of(&self, field: Field) -> Result<Cow<'a, str>, Malformed> {
        self.get(field)?
            .map_or(Ok(Cow::Borrowed("")), |node| node.text())
    }

    /// Whether a string field is this.
    pub fn has(&self, field: Field, text: &str) -> Result<bool, Malformed> {
        Ok(self.text_of(field)? == text)
    }

    /// Whether a field is there, and true.
    pub fn is_true(&self, field: Field) -> Result<bool, Malformed> {
        Ok(self.get(field)?.is_some_and(|node| match node.body {
            Body::Bytes(text) => node.encoding == Encoding::Json && text == b"true",
            Body::Number(number) => number != 0,
        }))
    }

    pub(super) fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self.body {
            Body::Bytes(bytes) => Ok(bytes),
            Body::Number(_) => Err(Malformed::Shape),
        }
    }

    /// Hands every occurrence of a field to `see`.
    pub(super) fn each(
        &self,
        field: Field,
        see: &mut dyn FnMut(Node<'a>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        match self.encoding {
            Encoding::Json => self.members(field.name, see),
            Encoding::Protobuf => self.fields(u32::from(field.number), see),
        }
    }

    /// The members of a JSON object with this key, `null` too.
    fn members(
        &self,
        name: &str,
        see: &mut dyn FnMut(Node<'a>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(self.bytes()?);
        cursor.open_object()?;
        while let Some(key) = cursor.next_key()? {
            let (key_at, at) = (self.at + cursor.key_at(), self.at + cursor.token_at());
            let value = cursor.skip()?;
            if key.is(name) {
                see(self.value(key_at, at, value))?;
            }
        }
        cursor.end()
    }

    fn array(&self, items: &mut Vec<Node<'a>>) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(self.bytes()?);
        cursor.open_array()?;
        while cursor.next_item()? {
            let at = self.at + cursor.token_at();
            let value = cursor.skip()?;
            items.push(self.value(at, at, value));
        }
        cursor.end()
    }

    fn value(&self, from: usize, at: usize, value: &'a [u8]) -> Node<'a> {
        Node {
            encoding: self.encoding,
            at,
            whole: from..at + value.len(),
            body: Body::Bytes(value),
        }
    }

    /// The fields of a message with this number.
    fn fields(
        &self,
        number: u32,
        see: &mut dyn FnMut(Node<'a>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let message = self.bytes()?;
        let mut fields = Fields(message);
        loop {
            let from = self.at + message.len() - fields.0.len();
            let Some((found, value)) = fields.next()? else {
                return Ok(());
            };
            if found != number {
                continue;
            }
            let to = self.at + message.len() - fields.0.len();
            let (at, body) = match value {
                proto::Value::Bytes(bytes) => (to - bytes.len(), Body::Bytes(bytes)),
                proto::Value::Varint(number) => (to, Body::Number(number)),
                proto::Value::Fixed(_) => return Err(Malformed::Shape),
            };
            see(Node {
                encoding: self.encoding,
                at,
                whole: from..to,
                body,
            })?;
        }
    }
}

/// Of an entry of a protobuf map.
pub(super) const ENTRY_KEY: Field = Field::new("", 1);
/// See [`ENTRY_KEY`].
pub(super) const ENTRY_VALUE: Field = Field::new("", 2);
