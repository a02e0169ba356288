//! Changes to an object, gathered and then written at once.

use super::node::{ENTRY_KEY, ENTRY_VALUE};
use super::{Field, Node};
use crate::object::json::put_string;
use crate::object::proto::{self, Fields, put_bytes, put_varint};
use crate::object::{Encoding, Malformed, base64};
use std::ops::Range;

/// A value to write.
#[derive(Clone, Copy, Debug)]
pub enum Value<'v> {
    Text(&'v str),
    Bytes(&'v [u8]),
    Number(u32),
    Truth(bool),
    Message(&'v [(Field, Value<'v>)]),
    List(&'v [Value<'v>]),
}

/// Changes to one object. Each is about a place that a [`Node`] of that object named.
pub struct Edits<'a> {
    encoding: Encoding,
    object: &'a [u8],
    changes: Vec<Change>,
}

/// Invariant: no two overlap.
struct Change {
    /// Where the message begins of which this changes fields; JSON has no need of it.
    message: usize,
    /// What goes. In protobuf: whole fields, or nothing at the message's end.
    range: Range<usize>,
    /// What comes.
    with: Vec<u8>,
    /// JSON: a new member of a message that has others.
    joins: bool,
}

impl<'a> Edits<'a> {
    /// None yet.
    pub fn new(object: &Node<'a>) -> Result<Edits<'a>, Malformed> {
        Ok(Edits {
            encoding: object.encoding,
            object: object.bytes()?,
            changes: Vec::new(),
        })
    }

    /// Gives a field of `message` this value, whether it has one or not; of a repeated field all of it goes.
    pub fn set(
        &mut self,
        message: &Node<'_>,
        field: Field,
        to: Value<'_>,
    ) -> Result<(), Malformed> {
        let mut places = Vec::new();
        message.each(field, &mut |node| {
            places.push(node.whole);
            Ok(())
        })?;
        if self.encoding == Encoding::Json && places.len() > 1 {
            return Err(Malformed::Shape);
        }
        let mut with = self.field(field, to);
        if places.is_empty() {
            return self.insert(message, with);
        }
        if self.is_now(&places, &with) {
            return Ok(());
        }
        for range in places {
            self.change(message, range, std::mem::take(&mut with));
        }
        Ok(())
    }

    /// Puts another field in the place of `node`, which is one of `message`.
    pub fn replace(&mut self, message: &Node<'_>, node: &Node<'_>, field: Field, to: Value<'_>) {
        let with = self.field(field, to);
        self.change(message, node.whole.clone(), with);
    }

    /// Gives `entry`, which was found under `key` in a map of `message`, another value.
    pub fn set_entry(
        &mut self,
        message: &Node<'_>,
        map: Field,
        key: &str,
        entry: &Node<'_>,
        to: Value<'_>,
    ) {
        let (range, with) = match self.encoding {
            Encoding::Json => {
                let mut value = Vec::new();
                put_json(to, &mut value);
                (entry.at..entry.whole.end, value)
            }
            Encoding::Protobuf => {
                let fields = [(ENTRY_KEY, Value::Text(key)), (ENTRY_VALUE, to)];
                (
                    entry.whole.clone(),
                    self.field(map, Value::Message(&fields)),
                )
            }
        };
        if !self.is_now(std::slice::from_ref(&range), &with) {
            self.change(message, range, with);
        }
    }

    /// Takes the items of a repeated field of `message` away that `goes` says; how many stay.
    pub fn remove(
        &mut self,
        message: &Node<'_>,
        field: Field,
        goes: &mut dyn FnMut(&Node<'_>) -> Result<bool, Malformed>,
    ) -> Result<usize, Malformed> {
        let items = message.items(field)?;
        let mut staying = 0;
        // JSON: with an item goes what stands between it and the one before it; before the first that stays, too.
        let mut before = None;
        for item in &items {
            let goes = goes(item)?;
            let from = match (self.encoding, before) {
                (Encoding::Json, Some(end)) => end,
                _ => item.whole.start,
            };
            let to = match (goes, staying) {
                (true, _) => item.whole.end,
                (false, 0) => item.whole.start,
                (false, _) => from,
            };
            if from < to {
                self.change(message, from..to, Vec::new());
            }
            before = Some(item.whole.end);
            staying += usize::from(!goes);
        }
        Ok(staying)
    }

    /// The object with all changes made; `None` if there are none.
    pub fn finish(mut self) -> Result<Option<Vec<u8>>, Malformed> {
        if self.changes.is_empty() {
            return Ok(None);
        }
        // Stable: what goes in at the same place stays in order.
        self.changes.sort_by_key(|change| change.range.start);
        let grows = self.changes.iter().map(|c| c.with.len()).sum::<usize>();
        let mut out = Vec::with_capacity(self.object.len() + grows + 16);
        match self.encoding {
            Encoding::Json => self.write_json(&mut out),
            Encoding::Protobuf => write_message(&self.changes, self.object, 0, &mut out)?,
        }
        Ok(Some(out))
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let mut at = 0;
        let mut before = None;
        for change in &self.changes {
            out.extend_from_slice(self.object.get(at..change.range.start).unwrap_or_default());
            // Only new members begin where another change does: at the end of their message.
            if change.joins || before == Some(&change.range) {
                out.push(b',');
            }
            out.extend_from_slice(&change.with);
            at = change.range.end;
            before = Some(&change.range);
        }
        out.extend_from_slice(self.object.get(at..).unwrap_or_default());
    }

    fn insert(&mut self, message: &Node<'_>, with: Vec<u8>) -> Result<(), Malformed> {
        let bytes = message.bytes()?;
        let mut end = message.at + bytes.len();
        let mut joins = false;
        if self.encoding == Encoding::Json {
            let inner = bytes.strip_suffix(b"}").ok_or(Malformed::Shape)?;
            end -= 1;
            joins = inner.trim_ascii_end() != b"{";
        }
        self.changes.push(Change {
            message: message.at,
            range: end..end,
            with,
            joins,
        });
        Ok(())
    }

    /// The field as it is written.
    fn field(&self, field: Field, value: Value<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        match self.encoding {
            Encoding::Json => put_member(field, value, &mut out),
            Encoding::Protobuf => put_field(field, value, &mut out),
        }
        out
    }

    /// Whether `with` stands there already, so that there is nothing to change.
    fn is_now(&self, places: &[Range<usize>], with: &[u8]) -> bool {
        let parts = places.iter().map(|range| self.object.get(range.clone()));
        let now: Vec<u8> = parts.flat_map(Option::unwrap_or_default).copied().collect();
        now == with
    }

    fn change(&mut self, message: &Node<'_>, range: Range<usize>, with: Vec<u8>) {
        self.changes.push(Change {
            message: message.at,
            range,
            with,
            joins: false,
        });
    }
}

/// Appends the message that begins at `at` with its changes, which are in order, made. Messages are left as they are but for those that hold
/// a change, and these are messages: a change was found in them.
fn write_message(
    changes: &[Change],
    message: &[u8],
    at: usize,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let mut fields = Fields(message);
    loop {
        let from = message.len() - fields.0.len();
        let next = fields.next()?;
        let to = message.len() - fields.0.len();
        let here = beginning(changes, at + from, at + from);
        let mut kept = true;
        for change in here.iter().filter(|change| change.message == at) {
            out.extend_from_slice(&change.with);
            kept &= change.range.is_empty();
        }
        let Some((number, value)) = next else {
            return Ok(());
        };
        match value {
            _ if !kept => {}
            proto::Value::Bytes(inner) if holds(changes, at + to - inner.len(), inner.len()) => {
                let mut changed = Vec::with_capacity(inner.len());
                write_message(changes, inner, at + to - inner.len(), &mut changed)?;
                put_varint(out, u64::from(number) << 3 | 2);
                put_varint(out, changed.len() as u64);
                out.extend_from_slice(&changed);
            }
            _ => out.extend_from_slice(message.get(from..to).unwrap_or_default()),
        }
    }
}

/// Whether a message with changes begins in this value. Its neighbours begin beyond their own tag and length.
fn holds(changes: &[Change], at: usize, len: usize) -> bool {
    beginning(changes, at, at + len)
        .iter()
        .any(|c| at <= c.message && c.message <= at + len)
}

/// Those that begin from `first` to `last`, out of all in that order: there may be tens of thousands.
fn beginning(changes: &[Change], first: usize, last: usize) -> &[Change] {
    let from = changes.partition_point(|change| change.range.start < first);
    let to = changes.partition_point(|change| change.range.start <= last);
    changes.get(from..to).unwrap_or_default()
}

fn put_member(field: Field, value: Value<'_>, out: &mut Vec<u8>) {
    put_string(out, field.name);
    out.push(b':');
    put_json(value, out);
}

fn put_json(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => put_string(out, text),
        Value::Bytes(bytes) => {
            out.push(b'"');
            base64::put(bytes, out);
            out.push(b'"');
        }
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Truth(truth) => out.extend_from_slice(if truth { b"true" } else { b"false" }),
        Value::Message(fields) => {
            out.push(b'{');
            for (at, (field, value)) in fields.iter().enumerate() {
                comma(at, out);
                put_member(*field, *value, out);
            }
            out.push(b'}');
        }
        Value::List(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                comma(at, out);
                put_json(*item, out);
            }
            out.push(b']');
        }
    }
}

fn comma(at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
}

fn put_field(field: Field, value: Value<'_>, out: &mut Vec<u8>) {
    let number = match value {
        Value::Text(text) => return put_bytes(out, field.number, text.as_bytes()),
        Value::Bytes(bytes) => return put_bytes(out, field.number, bytes),
        Value::Message(fields) => {
            let mut inner = Vec::new();
            for (field, value) in fields {
                put_field(*field, *value, &mut inner);
            }
            return put_bytes(out, field.number, &inner);
        }
        Value::List(items) => return items.iter().for_each(|item| put_field(field, *item, out)),
        Value::Number(number) => number,
        Value::Truth(truth) => u32::from(truth),
    };
    put_varint(out, u64::from(field.number) << 3);
    put_varint(out, u64::from(number));
}
