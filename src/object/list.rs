//! Takes a list apart while it arrives, in constant memory: one item at most is held back, and a bounded head.
//!
//! Finds where items begin and end, in any order of keys. Never checks what is inside of an item (`read_meta` does),
//! and never says that a list is complete before its last byte has come.

use std::borrow::Cow;

use super::json::{Cursor, plain_len};
use super::proto::{Fields, MAGIC, Value, Varint, read_type};
use super::{Encoding, Malformed, TypeMeta, TypeMetaRef};
use crate::limits::{JSON_DEPTH_MAX, LIST_HEAD_BYTES_MAX};

/// A list without its items.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListHead {
    /// The list's own type (`v1`, `PodList`), which for JSON need not end in `List`.
    pub type_meta: TypeMeta,
    /// The version of the whole list; may be empty from an aggregated API server.
    pub resource_version: String,
    /// Asks for the next page; empty on the last one.
    pub continue_token: String,
    /// How many items follow on later pages, if the server says so.
    pub remaining: Option<i64>,
    /// Items seen.
    pub items: u64,
}

/// Splits the body of one list. After an error it is to be dropped.
pub struct ListScanner(Inner);

enum Inner {
    Json(JsonList),
    Protobuf(ProtoList),
}

impl ListScanner {
    /// A scanner that holds at most `item_bytes_max` bytes of an item, plus the list's head.
    pub fn new(enc: Encoding, item_bytes_max: usize) -> Self {
        Self(match enc {
            Encoding::Json => Inner::Json(JsonList::new(item_bytes_max)),
            Encoding::Protobuf => Inner::Protobuf(ProtoList::new(item_bytes_max)),
        })
    }

    /// Takes the next bytes of the body and hands every item that they complete to `item`, in its bare form: from
    /// `chunk` itself when all of it lies there. Items count only once [`ListScanner::finish`] has said so.
    pub fn feed(&mut self, chunk: &[u8], item: &mut dyn FnMut(&[u8])) -> Result<(), Malformed> {
        self.feed_parts(chunk, &mut |part| {
            if let Part::Item(bytes) = part {
                item(bytes);
            }
        })
    }

    /// Takes the next bytes of the body and hands everything on that they complete, so that the list can be written
    /// again with other items.
    pub(crate) fn feed_parts(
        &mut self,
        chunk: &[u8],
        see: &mut dyn FnMut(Part<'_>),
    ) -> Result<(), Malformed> {
        match &mut self.0 {
            Inner::Json(list) => list.feed(chunk, see),
            Inner::Protobuf(list) => list.feed(chunk, see),
        }
    }

    /// At the end of the body: the head, if the document is complete and a list that can be written again.
    ///
    /// A list without `items` counts as empty only if its kind ends in `List` and it has a resourceVersion; discovery
    /// documents (`APIResourceList`) have none.
    pub fn finish(self) -> Result<ListHead, Malformed> {
        match self.0 {
            Inner::Json(list) => list.finish(),
            Inner::Protobuf(list) => list.finish(),
        }
    }
}

/// A part of a list's body.
pub(crate) enum Part<'a> {
    /// JSON: what stands before, between and behind the items, as it came, but for the commas between them.
    Outside(&'a [u8]),
    /// An item in its bare form.
    Item(&'a [u8]),
    /// Protobuf: a field of the envelope or of the list that is no item, and its number.
    Field(u8, &'a [u8]),
    /// Items may follow. Protobuf: the list's message begins, and is so long.
    Begin(u64),
    /// Protobuf: the list's message ends.
    End,
}

/// A field of a list's message that every reader passes over: the hub fills a message up with it whose length it had to
/// announce before it knew it. No list will ever have this field, the last that there is.
pub(crate) const PADDING_TAG: u32 = 0xffff_fffa;

// ---- JSON

/// A list in JSON. All but the items is gathered in `head`, a document by itself once its last byte is in, and is
/// parsed then: `kind` and `metadata` of a custom resource's list stand behind the items.
struct JsonList {
    head: Vec<u8>,
    head_nest: Nest,
    /// Where in `head` the last string began that stands directly in the outermost object.
    key_at: usize,
    place: Place,
    item_nest: Nest,
    item_bytes_max: usize,
    /// The part of an item that came with earlier chunks. Invariant: at most `item_bytes_max` long.
    held: Vec<u8>,
    items: u64,
    items_seen: bool,
}

/// What the next byte can be.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Part of the head.
    Head,
    /// The first item, or the end of the items.
    First,
    /// An item's next byte.
    Item,
    /// A comma, or the end of the items.
    Behind,
    /// The item that a comma promised.
    Promised,
}

impl JsonList {
    fn new(item_bytes_max: usize) -> Self {
        Self {
            head: Vec::new(),
            head_nest: Nest::default(),
            key_at: 0,
            place: Place::Head,
            item_nest: Nest::default(),
            item_bytes_max,
            held: Vec::new(),
            items: 0,
            items_seen: false,
        }
    }

    fn feed(&mut self, mut chunk: &[u8], see: &mut dyn FnMut(Part<'_>)) -> Result<(), Malformed> {
        while let Some(&byte) = chunk.first() {
            let taken = match (self.place, byte) {
                (Place::Head, _) => self.head_bytes(chunk, see)?,
                (Place::Item, _) => self.item_bytes(chunk, see)?,
                (_, b' ' | b'\n' | b'\r' | b'\t') => 1,
                (Place::First | Place::Promised, b'{') => {
                    self.place = Place::Item;
                    0
                }
                (Place::Behind, b',') => {
                    self.place = Place::Promised;
                    1
                }
                (Place::First | Place::Behind, b']') => {
                    self.place = Place::Head;
                    0
                }
                (Place::First | Place::Promised, _) => return Err(Malformed::Shape),
                (Place::Behind, _) => return Err(Malformed::Syntax),
            };
            chunk = chunk.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    fn head_bytes(
        &mut self,
        chunk: &[u8],
        see: &mut dyn FnMut(Part<'_>),
    ) -> Result<usize, Malformed> {
        let mut taken = 0;
        while let (Place::Head, Some(&byte)) = (self.place, chunk.get(taken)) {
            self.head_byte(byte)?;
            taken += 1;
        }
        see(Part::Outside(chunk.get(..taken).unwrap_or_default()));
        if self.place == Place::First {
            see(Part::Begin(0));
        }
        Ok(taken)
    }

    fn head_byte(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.head.len() == LIST_HEAD_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        if self.head_nest.depth == 1 && !self.head_nest.in_string {
            match byte {
                b'"' => self.key_at = self.head.len(),
                b'[' if self.is_items() => self.open_items()?,
                _ => {}
            }
        }
        self.head.push(byte);
        self.head_nest.pass(&[byte])?;
        Ok(())
    }

    /// Whether the head ends in the key `items` and its colon.
    fn is_items(&self) -> bool {
        let mut cursor = Cursor::new(self.head.get(self.key_at..).unwrap_or_default());
        let is_items = cursor
            .text()
            .is_ok_and(|key| key.is_some_and(|key| key.is("items")));
        let colon_at = cursor.token_at();
        let rest = self.head.get(self.key_at + colon_at..).unwrap_or_default();
        is_items && rest.trim_ascii_end() == b":"
    }

    fn open_items(&mut self) -> Result<(), Malformed> {
        if self.items_seen {
            // Go would let the second array replace the first, whose items have been handed out.
            return Err(Malformed::Shape);
        }
        self.items_seen = true;
        self.place = Place::First;
        Ok(())
    }

    fn item_bytes(
        &mut self,
        chunk: &[u8],
        see: &mut dyn FnMut(Part<'_>),
    ) -> Result<usize, Malformed> {
        // Looked at no further than an item may reach, so that cutting the body differently gives no other error.
        let room = self.item_bytes_max - self.held.len();
        let part = chunk.get(..room).unwrap_or(chunk);
        let Some(end) = self.item_nest.pass(part)? else {
            if part.len() < chunk.len() {
                return Err(Malformed::TooLarge);
            }
            self.held.extend_from_slice(part);
            return Ok(part.len());
        };
        let part = part.get(..end).unwrap_or_default();
        if self.held.is_empty() {
            see(Part::Item(part));
        } else {
            self.held.extend_from_slice(part);
            see(Part::Item(&self.held));
            self.held.clear();
        }
        self.items += 1;
        self.place = Place::Behind;
        Ok(end)
    }

    fn finish(self) -> Result<ListHead, Malformed> {
        if self.place != Place::Head {
            return Err(Malformed::Truncated);
        }
        let mut cursor = Cursor::new(&self.head);
        let mut fields = HeadFields::default();
        let (mut api_version, mut kind, mut items_keys) = (Cow::default(), Cow::default(), 0u32);
        cursor.open_object()?;
        while let Some(key) = cursor.next_key()? {
            if key.is("kind") {
                kind = cursor.text()?.map_or(Ok(kind), |text| text.decode())?;
            } else if key.is("apiVersion") {
                api_version = cursor
                    .text()?
                    .map_or(Ok(api_version), |text| text.decode())?;
            } else if key.is("metadata") && cursor.peek()? == b'{' {
                fields.read_json(&mut cursor)?;
            } else if key.is("items") {
                items_keys += 1;
                if !matches!(cursor.skip()?, b"null" | [b'[', ..]) {
                    return Err(Malformed::Shape);
                }
            } else {
                cursor.skip()?;
            }
        }
        cursor.end()?;
        if items_keys > 1 {
            return Err(Malformed::Shape);
        }
        let type_meta = TypeMetaRef::read(api_version, kind)?.ok_or(Malformed::Untyped)?;
        fields.into_head(type_meta.into_owned(), self.items_seen, self.items)
    }
}

/// How deep in brackets and strings a run of JSON stands. Tells where a value ends, not whether it is well formed.
#[derive(Default)]
struct Nest {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nest {
    /// Passes `bytes`, up to the bracket that closes the outermost one; its end, or None if it has not come.
    fn pass(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.in_string {
                at += self.pass_string(bytes.get(at..).unwrap_or_default())?;
                continue;
            }
            at += 1;
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' if self.depth == JSON_DEPTH_MAX => return Err(Malformed::Depth),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 0 => return Err(Malformed::Syntax),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Ok(Some(at));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Passes a run of plain bytes or else one byte, within a string.
    fn pass_string(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        if std::mem::replace(&mut self.escaped, false) {
            return Ok(1);
        }
        let plain = plain_len(bytes);
        match bytes.get(plain) {
            None => return Ok(plain),
            Some(b'"') => self.in_string = false,
            Some(b'\\') => self.escaped = true,
            Some(_) => return Err(Malformed::Syntax),
        }
        Ok(plain + 1)
    }
}

// ---- protobuf

/// A list in protobuf: the envelope's fields, and within its `raw` those of the list (metadata 1, items 2).
struct ProtoList {
    step: Step,
    varint: Varint,
    /// Bytes of `raw` still to come while we are in it.
    raw_left: Option<u64>,
    raw_seen: bool,
    /// `contentType` came after `raw`: the server's encoder has written all that it had.
    ended: bool,
    type_meta: Option<TypeMeta>,
    fields: HeadFields,
    item_bytes_max: usize,
    /// The part of a value that came with earlier chunks. Invariant: its whole length was checked before.
    held: Vec<u8>,
    items: u64,
}

/// What the next byte is part of.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// The magic, of which so many bytes have been seen.
    Magic(usize),
    /// A field's tag.
    Tag,
    /// The length of this field.
    Length(Field),
    /// The value of this field, of which so many bytes are to come; never 0.
    Value(Field, usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    TypeMeta,
    Raw,
    ContentEncoding,
    ContentType,
    ListMeta,
    Item,
    /// What the hub itself filled up.
    Padding,
}

impl Field {
    /// Of a field that is handed on whole.
    fn number(self) -> u8 {
        match self {
            Field::TypeMeta | Field::ListMeta => 1,
            Field::Raw | Field::Item | Field::Padding => 2,
            Field::ContentEncoding => 3,
            Field::ContentType => 4,
        }
    }
}

impl ProtoList {
    fn new(item_bytes_max: usize) -> Self {
        Self {
            step: Step::Magic(0),
            varint: Varint::default(),
            raw_left: None,
            raw_seen: false,
            ended: false,
            type_meta: None,
            fields: HeadFields::default(),
            item_bytes_max,
            held: Vec::new(),
            items: 0,
        }
    }

    fn feed(&mut self, mut chunk: &[u8], see: &mut dyn FnMut(Part<'_>)) -> Result<(), Malformed> {
        while let Some(&byte) = chunk.first() {
            let taken = match self.step {
                Step::Value(field, left) => {
                    let part = chunk.get(..left).unwrap_or(chunk);
                    self.count(part.len());
                    self.value(field, left, part, see)?;
                    part.len()
                }
                _ => {
                    self.count(1);
                    self.byte(byte, see)?;
                    1
                }
            };
            self.leave_raw(see)?;
            chunk = chunk.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    fn count(&mut self, taken: usize) {
        if let Some(left) = &mut self.raw_left {
            *left -= taken as u64;
        }
    }

    fn leave_raw(&mut self, see: &mut dyn FnMut(Part<'_>)) -> Result<(), Malformed> {
        if self.raw_left == Some(0) {
            if self.step != Step::Tag || !self.varint.is_empty() {
                return Err(Malformed::Syntax);
            }
            self.raw_left = None;
            see(Part::End);
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8, see: &mut dyn FnMut(Part<'_>)) -> Result<(), Malformed> {
        match self.step {
            Step::Magic(seen) => {
                if MAGIC.get(seen) != Some(&byte) {
                    return Err(Malformed::Envelope);
                }
                self.step = if seen + 1 == MAGIC.len() {
                    Step::Tag
                } else {
                    Step::Magic(seen + 1)
                };
            }
            Step::Tag => {
                if let Some(tag) = self.varint.push(byte)? {
                    self.step = Step::Length(self.field(tag)?);
                }
            }
            Step::Length(field) => {
                if let Some(len) = self.varint.push(byte)? {
                    self.length(field, len, see)?;
                }
            }
            Step::Value(..) => {}
        }
        Ok(())
    }

    /// A field that we do not know would be lost when the list is written again, so there must be none.
    fn field(&self, tag: u64) -> Result<Field, Malformed> {
        match (self.raw_left, tag) {
            (None, 0x0a) => Ok(Field::TypeMeta),
            (None, 0x12) if self.raw_seen => Err(Malformed::Shape),
            (None, 0x12) => Ok(Field::Raw),
            (None, 0x1a) => Ok(Field::ContentEncoding),
            (None, 0x22) => Ok(Field::ContentType),
            (None, _) => Err(Malformed::Envelope),
            (Some(_), 0x0a) => Ok(Field::ListMeta),
            (Some(_), 0x12) => Ok(Field::Item),
            (Some(_), tag) if tag == u64::from(PADDING_TAG) => Ok(Field::Padding),
            (Some(_), _) => Err(Malformed::Shape),
        }
    }

    fn length(
        &mut self,
        field: Field,
        len: u64,
        see: &mut dyn FnMut(Part<'_>),
    ) -> Result<(), Malformed> {
        let len_max = match field {
            Field::Raw => {
                self.raw_seen = true;
                self.raw_left = Some(len);
                self.step = Step::Tag;
                see(Part::Begin(len));
                return Ok(());
            }
            Field::ContentEncoding | Field::ContentType if len > 0 => {
                return Err(Malformed::Envelope);
            }
            Field::Item => self.item_bytes_max,
            // Never held.
            Field::Padding => usize::MAX,
            _ => LIST_HEAD_BYTES_MAX,
        };
        if self.raw_left.is_some_and(|left| len > left) {
            return Err(Malformed::Syntax);
        }
        let len = usize::try_from(len)
            .ok()
            .filter(|&len| len <= len_max)
            .ok_or(Malformed::TooLarge)?;
        match len {
            0 => self.value(field, 0, &[], see),
            _ => {
                self.step = Step::Value(field, len);
                Ok(())
            }
        }
    }

    fn value(
        &mut self,
        field: Field,
        left: usize,
        part: &[u8],
        see: &mut dyn FnMut(Part<'_>),
    ) -> Result<(), Malformed> {
        if part.len() < left {
            if field != Field::Padding {
                self.held.extend_from_slice(part);
            }
            self.step = Step::Value(field, left - part.len());
            return Ok(());
        }
        self.step = Step::Tag;
        if self.held.is_empty() {
            return self.whole_value(field, part, see);
        }
        let mut whole = std::mem::take(&mut self.held);
        whole.extend_from_slice(part);
        self.whole_value(field, &whole, see)?;
        whole.clear();
        self.held = whole;
        Ok(())
    }

    fn whole_value(
        &mut self,
        field: Field,
        value: &[u8],
        see: &mut dyn FnMut(Part<'_>),
    ) -> Result<(), Malformed> {
        match field {
            Field::TypeMeta => self.type_meta = read_type(value)?.map(TypeMetaRef::into_owned),
            Field::ListMeta => self.fields.read_proto(value)?,
            Field::Item => {
                self.items += 1;
                see(Part::Item(value));
                return Ok(());
            }
            Field::ContentType => self.ended = self.raw_seen,
            Field::ContentEncoding => {}
            Field::Raw | Field::Padding => return Ok(()),
        }
        see(Part::Field(field.number(), value));
        Ok(())
    }

    fn finish(self) -> Result<ListHead, Malformed> {
        if self.step != Step::Tag
            || !self.varint.is_empty()
            || self.raw_left.is_some()
            || !self.ended
        {
            return Err(Malformed::Truncated);
        }
        let type_meta = self.type_meta.ok_or(Malformed::Untyped)?;
        if !self.fields.seen || !is_standard(&type_meta) {
            return Err(Malformed::NotList);
        }
        self.fields.into_head(type_meta, self.items > 0, self.items)
    }
}

/// Whether field 1 of this kind is ListMeta and field 2 the items. A single object (spec in field 2) reads the same
/// otherwise, and so do three kinds that are lists by name only or number their fields in another way.
fn is_standard(type_meta: &TypeMeta) -> bool {
    match (type_meta.api_version.as_str(), type_meta.kind.as_str()) {
        ("meta.k8s.io/v1beta1", "PartialObjectMetadataList")
        | ("v1", "APIGroupList" | "APIResourceList") => false,
        (_, kind) => kind.ends_with("List"),
    }
}

// ---- both

/// The fields of ListMeta.
#[derive(Default)]
struct HeadFields {
    seen: bool,
    resource_version: String,
    continue_token: String,
    remaining: Option<i64>,
}

impl HeadFields {
    fn read_json(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        cursor.open_object()?;
        while let Some(key) = cursor.next_key()? {
            let field = if key.is("resourceVersion") {
                &mut self.resource_version
            } else if key.is("continue") {
                &mut self.continue_token
            } else if key.is("remainingItemCount") {
                self.remaining = read_count(cursor.skip()?)?;
                continue;
            } else {
                cursor.skip()?;
                continue;
            };
            if let Some(text) = cursor.text()? {
                *field = text.decode()?.into_owned();
            }
        }
        Ok(())
    }

    fn read_proto(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.seen = true;
        let mut fields = Fields(bytes);
        while let Some((field, value)) = fields.next()? {
            match (field, &value) {
                (2, _) => self.resource_version = value.text()?.into_owned(),
                (3, _) => self.continue_token = value.text()?.into_owned(),
                // int64: negative numbers are the upper half.
                (4, &Value::Varint(count)) => self.remaining = Some(count as i64),
                (4, _) => return Err(Malformed::Shape),
                _ => {}
            }
        }
        Ok(())
    }

    fn into_head(
        self,
        type_meta: TypeMeta,
        items_seen: bool,
        items: u64,
    ) -> Result<ListHead, Malformed> {
        let empty = type_meta.kind.ends_with("List") && !self.resource_version.is_empty();
        if !items_seen && !empty {
            return Err(Malformed::NotList);
        }
        Ok(ListHead {
            type_meta,
            resource_version: self.resource_version,
            continue_token: self.continue_token,
            remaining: self.remaining,
            items,
        })
    }
}

fn read_count(number: &[u8]) -> Result<Option<i64>, Malformed> {
    match std::str::from_utf8(number) {
        Ok("null") => Ok(None),
        Ok(digits) => digits.parse().map(Some).map_err(|_| Malformed::Shape),
        Err(_) => Err(Malformed::Shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{list_item_framed_len, write_list_head, write_list_item, write_list_tail};

    const ITEM_MAX: usize = 1024;

    type Scan = Result<(ListHead, Vec<Vec<u8>>), Malformed>;

    fn scan(enc: Encoding, chunks: &[&[u8]], item_max: usize) -> Scan {
        let mut scanner = ListScanner::new(enc, item_max);
        let mut items = Vec::new();
        for chunk in chunks {
            scanner.feed(chunk, &mut |item| items.push(item.to_vec()))?;
        }
        scanner.finish().map(|head| (head, items))
    }

    fn head(kind: &str, version: &str, items: u64) -> ListHead {
        ListHead {
            type_meta: TypeMeta::new("v1", kind),
            resource_version: version.into(),
            continue_token: String::new(),
            remaining: None,
            items,
        }
    }

    /// Every way to cut the body in two, and byte by byte, gives the same; no beginning of it gives anything.
    fn check(enc: Encoding, body: &[u8], want: &Scan) {
        assert_eq!(
            &scan(enc, &[body], ITEM_MAX),
            want,
            "{}",
            body.escape_ascii()
        );
        for at in 0..body.len() {
            let (left, right) = body.split_at(at);
            assert_eq!(
                &scan(enc, &[left, right], ITEM_MAX),
                want,
                "{at} {}",
                body.escape_ascii()
            );
            if want.is_ok() && !body[at..].trim_ascii().is_empty() {
                assert!(
                    scan(enc, &[left], ITEM_MAX).is_err(),
                    "{at} {}",
                    body.escape_ascii()
                );
            }
        }
        let single: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(
            &scan(enc, &single, ITEM_MAX),
            want,
            "{}",
            body.escape_ascii()
        );
    }

    fn json(body: &str, want: ListHead, items: &[&str]) {
        let items = items.iter().map(|item| item.as_bytes().to_vec()).collect();
        check(Encoding::Json, body.as_bytes(), &Ok((want, items)));
    }

    #[test]
    fn json_lists() {
        json(
            "{\"kind\":\"ConfigMapList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"123\"},\"items\":[{\"metadata\":{\"name\":\"a]}\\\"\"}},{\"b\":[{}]}]}\n",
            head("ConfigMapList", "123", 2),
            &["{\"metadata\":{\"name\":\"a]}\\\"\"}}", "{\"b\":[{}]}"],
        );
        json(
            r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"123"},"items":[]}"#,
            head("ConfigMapList", "123", 0),
            &[],
        );
        let paged = ListHead {
            continue_token: "abc".into(),
            remaining: Some(7),
            ..head("FooList", "5", 1)
        };
        json(
            r#"{"apiVersion":"v1","items":[{"kind":"Foo"}],"kind":"FooList","metadata":{"continue":"abc","remainingItemCount":7,"resourceVersion":"5"}}"#,
            paged,
            &[r#"{"kind":"Foo"}"#],
        );
        json(
            "\r\n{\r\n \"items\" : [ { \"a\" : 1 } ,\n { } ] ,\t\"kind\" : \"XList\", \"apiVersion\":\"v1\", \"metadata\":null }\r\n",
            head("XList", "", 2),
            &["{ \"a\" : 1 }", "{ }"],
        );
        json(
            r#"{"x":{"items":[1]},"y":"items","z":["items",[2]],"it\u0065ms":[{}],"kind":"no","kind":"Odd","apiVersion":"v1"}"#,
            head("Odd", "", 1),
            &["{}"],
        );
        for items in ["", r#","items":null"#] {
            let body = format!(
                r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"1"}}{items}}}"#
            );
            json(&body, head("PodList", "1", 0), &[]);
        }
    }

    #[test]
    fn json_that_is_no_list() {
        let cases = [
            (
                r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"rows":[{"cells":[]}]}"#,
                Malformed::NotList,
            ),
            (
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","code":500}"#,
                Malformed::NotList,
            ),
            (
                r#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"1"},"spec":{"items":[{}]}}"#,
                Malformed::NotList,
            ),
            (
                r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[{}]}"#,
                Malformed::NotList,
            ),
            (
                r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#,
                Malformed::Untyped,
            ),
            (
                r#"{"kind":"XList","apiVersion":"v1","items":[{}],"items":[]}"#,
                Malformed::Shape,
            ),
            (
                r#"{"kind":"XList","apiVersion":"v1","items":[{}],"items":null}"#,
                Malformed::Shape,
            ),
            (
                r#"{"kind":"XList","apiVersion":"v1","items":{}}"#,
                Malformed::Shape,
            ),
            (
                r#"{"kind":"XList","apiVersion":"v1","items":[1]}"#,
                Malformed::Shape,
            ),
            (
                r#"{"kind":"XList","apiVersion":"v1","items":[{},]}"#,
                Malformed::Shape,
            ),
            (
                r#"{"kind":"XList","apiVersion":"v1","items":[,{}]}"#,
                Malformed::Shape,
            ),
            (
                r#"{"kind":"XList","apiVersion":"v1","items":[{}{}]}"#,
                Malformed::Syntax,
            ),
            (
                r#"{"kind":"XList","apiVersion":"v1","items":[{}}"#,
                Malformed::Syntax,
            ),
            (
                r#"{"kind":"XList","apiVersion":"v1","items":[]]"#,
                Malformed::Syntax,
            ),
            (
                r#"{"kind":"XList","apiVersion":"v1","items" []}"#,
                Malformed::Syntax,
            ),
            (
                r#"{"kind":"XList","apiVersion":"v1","items":[]} {}"#,
                Malformed::Syntax,
            ),
            (
                r#"{"kind":"XList","apiVersion":"v1","metadata":{"remainingItemCount":"1"},"items":[]}"#,
                Malformed::Shape,
            ),
            (r#"["items",[]]"#, Malformed::Shape),
        ];
        for (body, want) in cases {
            check(Encoding::Json, body.as_bytes(), &Err(want));
        }
    }

    #[test]
    fn bounds() {
        let item = |len: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(len - 8));
        for (len, fits) in [
            (ITEM_MAX - 1, true),
            (ITEM_MAX, true),
            (ITEM_MAX + 1, false),
        ] {
            let body = format!(
                r#"{{"kind":"XList","apiVersion":"v1","items":[{}]}}"#,
                item(len)
            );
            assert_eq!(
                scan(Encoding::Json, &[body.as_bytes()], ITEM_MAX).is_ok(),
                fits,
                "{len}"
            );
            let single: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
            assert_eq!(
                scan(Encoding::Json, &single, ITEM_MAX).is_ok(),
                fits,
                "{len}"
            );
            let body = proto_list("v1", "XList", "1", &[&vec![0; len]]);
            assert_eq!(
                scan(Encoding::Protobuf, &[&body], ITEM_MAX).is_ok(),
                fits,
                "{len}"
            );
        }
        for (len, fits) in [
            (LIST_HEAD_BYTES_MAX - 1, true),
            (LIST_HEAD_BYTES_MAX, true),
            (LIST_HEAD_BYTES_MAX + 1, false),
        ] {
            let fixed = r#"{"kind":"XList","apiVersion":"v1","items":[],"x":""}"#;
            let body = format!(
                r#"{}{}"}}"#,
                &fixed[..fixed.len() - 2],
                "x".repeat(len - fixed.len())
            );
            assert_eq!(
                scan(Encoding::Json, &[body.as_bytes()], ITEM_MAX).is_ok(),
                fits,
                "{len}"
            );
        }
        // Too long and broken behind the bound: the bound comes first, in one chunk as in many.
        let body = format!(r#"{{"items":[{{"a":"{}\u{{1}}"}}]}}"#, "x".repeat(ITEM_MAX));
        check(Encoding::Json, body.as_bytes(), &Err(Malformed::TooLarge));
        let deep = format!(r#"{{"items":[{}"#, r#"{"a":"#.repeat(JSON_DEPTH_MAX + 1));
        assert_eq!(
            scan(Encoding::Json, &[deep.as_bytes()], 1 << 20).err(),
            Some(Malformed::Depth)
        );
    }

    fn proto_list(version: &str, kind: &str, resource_version: &str, items: &[&[u8]]) -> Vec<u8> {
        let total = items
            .iter()
            .map(|item| list_item_framed_len(Encoding::Protobuf, item.len()))
            .sum();
        let mut out = Vec::new();
        write_list_head(
            Encoding::Protobuf,
            &TypeMeta::new(version, kind),
            resource_version,
            total,
            &mut out,
        );
        for item in items {
            write_list_item(Encoding::Protobuf, false, item, &mut out);
        }
        write_list_tail(Encoding::Protobuf, &mut out);
        out
    }

    #[test]
    fn protobuf_lists() {
        let items: [&[u8]; 3] = [b"\x0a\x03\x0a\x01a", b"", &[7; 300]];
        let owned = items.iter().map(|item| item.to_vec()).collect();
        check(
            Encoding::Protobuf,
            &proto_list("v1", "PodList", "123", &items),
            &Ok((head("PodList", "123", 3), owned)),
        );
        check(
            Encoding::Protobuf,
            &proto_list("v1", "PodList", "9", &[]),
            &Ok((head("PodList", "9", 0), vec![])),
        );
        // As a server pages: continue and remainingItemCount; shardInfo (5) is passed over.
        let body = b"k8s\0\x0a\x0d\x0a\x02v1\x12\x07PodList\x12\x12\x0a\x10\x0a\x00\x12\x015\x1a\x03abc\x20\x07\x2a\x02\x0a\x00\x1a\x00\x22\x00";
        let want = ListHead {
            continue_token: "abc".into(),
            remaining: Some(7),
            ..head("PodList", "5", 0)
        };
        check(Encoding::Protobuf, body, &Ok((want, vec![])));
    }

    #[test]
    fn protobuf_that_is_no_list() {
        let item: &[&[u8]] = &[b"\x0a\x00"];
        let cases: [(Vec<u8>, Malformed); 12] = [
            (proto_list("v1", "Pod", "1", item), Malformed::NotList),
            (proto_list("v1", "Status", "1", &[]), Malformed::NotList),
            (
                proto_list("v1", "APIGroupList", "1", item),
                Malformed::NotList,
            ),
            (
                proto_list("v1", "APIResourceList", "1", item),
                Malformed::NotList,
            ),
            (
                proto_list(
                    "meta.k8s.io/v1beta1",
                    "PartialObjectMetadataList",
                    "1",
                    item,
                ),
                Malformed::NotList,
            ),
            (proto_list("v1", "PodList", "", &[]), Malformed::NotList),
            (
                b"k8s\0\x0a\x0d\x0a\x02v1\x12\x07PodList\x12\x00\x1a\x00\x22\x00".to_vec(),
                Malformed::NotList,
            ),
            (
                b"k8s\0\x0a\x0d\x0a\x02v1\x12\x07PodList\x12\x02\x1a\x00\x1a\x00\x22\x00".to_vec(),
                Malformed::Shape,
            ),
            (
                b"k8s\0\x12\x02\x0a\x03\x0a\x00\x00\x1a\x00\x22\x00".to_vec(),
                Malformed::Syntax,
            ),
            (
                b"k8s\0\x12\x01\x0a\x00\x1a\x00\x22\x00".to_vec(),
                Malformed::Syntax,
            ),
            (
                b"k8s\0\x12\x00\x12\x00\x1a\x00\x22\x00".to_vec(),
                Malformed::Shape,
            ),
            (b"{\"items\":[]}".to_vec(), Malformed::Envelope),
        ];
        for (body, want) in cases {
            check(Encoding::Protobuf, &body, &Err(want));
        }
    }

    struct Xorshift(u64);

    impl Xorshift {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }
    }

    /// Bytes replaced, removed or doubled at random: cutting differently never changes the outcome.
    #[test]
    fn damage_is_seen_alike_however_it_is_cut() {
        let bodies = [
            (Encoding::Json, br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[{"a":"b\u0020"},{"c":[1,{}]}]}"#.to_vec()),
            (Encoding::Protobuf, proto_list("v1", "PodList", "123", &[b"\x0a\x03\x0a\x01a", b"", &[7; 140]])),
        ];
        let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
        for (enc, body) in bodies {
            for _ in 0..20_000 {
                let mut damaged = body.clone();
                for _ in 0..=random.below(3) {
                    let at = random.below(damaged.len());
                    match random.below(3) {
                        0 => damaged[at] = random.below(256) as u8,
                        1 => damaged.insert(at, body[random.below(body.len())]),
                        _ => drop(damaged.remove(at)),
                    }
                }
                let whole = scan(enc, &[&damaged], ITEM_MAX);
                let chunks: Vec<&[u8]> = damaged.chunks(1 + random.below(9)).collect();
                assert_eq!(
                    scan(enc, &chunks, ITEM_MAX),
                    whole,
                    "{}",
                    damaged.escape_ascii()
                );
            }
        }
    }
}
