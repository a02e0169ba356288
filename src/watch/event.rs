//! One watch event: read from a frame, and written as the API server does. Never decides which events a client gets.

use std::borrow::Cow;

use crate::object::json::{Cursor, put_string};
use crate::object::proto::{self, Fields, field_len, put_bytes, put_head};
use crate::object::status::{StatusFields, bare_status, status_type};
use crate::object::{
    Encoding, Facts, INITIAL_EVENTS_END, Malformed, Meta, TypeMeta, TypeMetaRef, envelope_len,
    json_object, proto_object, put_envelope, put_json_object,
};

/// What happened to the object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventType {
    /// It is there now.
    Added,
    /// It changed.
    Modified,
    /// It is gone; the object is its last form, at the version of its going.
    Deleted,
    /// Nothing: only the version moved on.
    Bookmark,
    /// The stream fails; the object is a Status.
    Error,
}

impl EventType {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
            EventType::Bookmark => "BOOKMARK",
            EventType::Error => "ERROR",
        }
    }

    fn from_word(word: &str) -> Result<Self, Malformed> {
        match word {
            "ADDED" => Ok(EventType::Added),
            "MODIFIED" => Ok(EventType::Modified),
            "DELETED" => Ok(EventType::Deleted),
            "BOOKMARK" => Ok(EventType::Bookmark),
            "ERROR" => Ok(EventType::Error),
            _ => Err(Malformed::Shape),
        }
    }
}

/// One event, borrowed from its frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// What happened.
    pub event_type: EventType,
    /// The object's type.
    pub type_meta: TypeMetaRef<'a>,
    /// The bare object, as `open_single` returns it.
    pub object: &'a [u8],
    /// The object's metadata; all empty for [`EventType::Error`].
    pub meta: Meta<'a>,
    /// A BOOKMARK that ends the initial events of a WatchList stream.
    pub initial_events_end: bool,
    /// `code` of the Status that an ERROR carries.
    pub status_code: Option<u16>,
}

/// Reads a frame as `Framer` returned it.
pub fn parse(enc: Encoding, frame: &[u8]) -> Result<Event<'_>, Malformed> {
    match enc {
        Encoding::Json => parse_json(frame),
        Encoding::Protobuf => parse_protobuf(frame),
    }
}

/// Appends the frame of an event with a stored object, byte for byte as the API server sends it.
pub fn write(
    enc: Encoding,
    event_type: EventType,
    type_meta: &TypeMeta,
    stored: &[u8],
    out: &mut Vec<u8>,
) {
    match enc {
        Encoding::Json => {
            let start = out.len();
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(event_type.word().as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            put_json_object(type_meta, stored, out);
            remove_newlines(out, start);
            out.extend_from_slice(b"}\n");
        }
        Encoding::Protobuf => {
            let word = event_type.word().as_bytes();
            let object_len = envelope_len(type_meta, stored.len());
            let extension_len = field_len(object_len);
            let event_len = field_len(word.len() as u64) + field_len(extension_len);
            // No stored object comes near 4 GiB; should one, the length is a lie that every reader refuses.
            out.extend_from_slice(&u32::try_from(event_len).unwrap_or(u32::MAX).to_be_bytes());
            put_bytes(out, 1, word);
            put_head(out, 2, extension_len);
            put_head(out, 1, object_len);
            put_envelope(type_meta, stored, out);
        }
    }
}

/// Appends a BOOKMARK at this version for objects of this type; `initial_end` says that the initial events are over.
pub fn write_bookmark(
    enc: Encoding,
    type_meta: &TypeMeta,
    resource_version: &str,
    initial_end: bool,
    out: &mut Vec<u8>,
) {
    let mut bare = Vec::new();
    match enc {
        Encoding::Json => {
            bare.extend_from_slice(b"{\"metadata\":{\"resourceVersion\":");
            put_string(&mut bare, resource_version);
            if initial_end {
                bare.extend_from_slice(b",\"annotations\":{");
                put_string(&mut bare, INITIAL_EVENTS_END);
                bare.extend_from_slice(b":\"true\"}");
            }
            bare.extend_from_slice(b"}}");
        }
        Encoding::Protobuf => {
            let mut meta = Vec::new();
            put_bytes(&mut meta, 6, resource_version.as_bytes());
            if initial_end {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, INITIAL_EVENTS_END.as_bytes());
                put_bytes(&mut entry, 2, b"true");
                put_bytes(&mut meta, 12, &entry);
            }
            put_bytes(&mut bare, 1, &meta);
        }
    }
    write(enc, EventType::Bookmark, type_meta, &bare, out);
}

/// Appends an ERROR event with a Status: `code` 410 and `reason` `Expired` make a client list again.
pub fn write_error(enc: Encoding, code: u16, reason: &str, message: &str, out: &mut Vec<u8>) {
    let status = StatusFields {
        code,
        reason,
        message,
        details: None,
    };
    write(
        enc,
        EventType::Error,
        &status_type(),
        &bare_status(enc, &status),
        out,
    );
}

fn parse_json(frame: &[u8]) -> Result<Event<'_>, Malformed> {
    let mut cursor = Cursor::new(frame);
    let (mut word, mut object) = (Cow::default(), None);
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        if key.is("type") {
            word = cursor.text()?.map_or(Ok(word), |text| text.decode())?;
        } else if key.is("object") {
            let start = cursor.token_at();
            let facts = json_object(&mut cursor)?;
            object = Some((facts, cursor.since(start)));
        } else {
            cursor.skip()?;
        }
    }
    cursor.end()?;
    let (mut facts, object) = object.ok_or(Malformed::Shape)?;
    let type_meta = facts.type_meta.take().ok_or(Malformed::Untyped)?;
    Ok(event(
        EventType::from_word(&word)?,
        type_meta,
        object,
        facts,
    ))
}

fn parse_protobuf(frame: &[u8]) -> Result<Event<'_>, Malformed> {
    let (len, message) = frame.split_first_chunk().ok_or(Malformed::Truncated)?;
    if u32::from_be_bytes(*len) as usize != message.len() {
        return Err(Malformed::Truncated);
    }
    let (mut word, mut extension) = (Cow::default(), None);
    let mut fields = Fields(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => word = value.text()?,
            2 => extension = Some(value.bytes()?),
            _ => {}
        }
    }
    let event_type = EventType::from_word(&word)?;
    let (type_meta, object) =
        proto::open_envelope(raw_extension(extension.ok_or(Malformed::Shape)?)?)?;
    let facts = match event_type {
        EventType::Error => Facts {
            code: proto_code(object)?,
            ..Facts::default()
        },
        _ => proto_object(object)?,
    };
    Ok(event(event_type, type_meta, object, facts))
}

fn event<'a>(
    event_type: EventType,
    type_meta: TypeMetaRef<'a>,
    object: &'a [u8],
    facts: Facts<'a>,
) -> Event<'a> {
    let is_error = event_type == EventType::Error;
    Event {
        event_type,
        type_meta,
        object,
        meta: if is_error {
            Meta::default()
        } else {
            facts.meta
        },
        initial_events_end: event_type == EventType::Bookmark && facts.initial_events_end,
        status_code: facts.code.filter(|_| is_error),
    }
}

fn raw_extension(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let mut raw = None;
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        if field == 1 {
            raw = Some(value.bytes()?);
        }
    }
    raw.ok_or(Malformed::Shape)
}

/// `code` of a Status.
fn proto_code(status: &[u8]) -> Result<Option<u16>, Malformed> {
    let mut code = None;
    let mut fields = Fields(status);
    while let Some((field, value)) = fields.next()? {
        if let (6, proto::Value::Varint(number)) = (field, value) {
            code = u16::try_from(number).ok();
        }
    }
    Ok(code)
}

/// A newline within a frame would end it. JSON has them between tokens only, where an object that was pretty-printed
/// when it was kept can lose them.
fn remove_newlines(out: &mut Vec<u8>, start: usize) {
    if out
        .get(start..)
        .is_some_and(|object| object.contains(&b'\n') || object.contains(&b'\r'))
    {
        let object = out.split_off(start);
        out.extend(object.into_iter().filter(|b| !matches!(b, b'\n' | b'\r')));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::canonical;

    const ADDED: &str = "{\"type\":\"ADDED\",\"object\":{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\",\"namespace\":\"default\",\"uid\":\"u-1\",\"resourceVersion\":\"201\"},\"data\":{\"x\":\"\\n\"}}}\n";
    const CUSTOM: &str = "{\"type\":\"MODIFIED\",\"object\":{\"apiVersion\":\"x.io/v1\",\"kind\":\"Foo\",\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"7\"},\"code\":\"x\"}}\n";
    const EXPIRED: &str = "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"too old resource version: 5 (201)\",\"reason\":\"Expired\",\"code\":410}}\n";
    const END: &str = "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"5\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n";

    fn protobuf_added() -> Vec<u8> {
        let bare = b"\x0a\x12\x0a\x01a\x12\x00\x1a\x02ns\x22\x00\x2a\x00\x32\x03201";
        let object = [
            b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x14".as_slice(),
            bare,
            b"\x1a\x00\x22\x00",
        ]
        .concat();
        let mut message = b"\x0a\x05ADDED".to_vec();
        message.extend_from_slice(&[0x12, object.len() as u8 + 2, 0x0a, object.len() as u8]);
        message.extend_from_slice(&object);
        [&(message.len() as u32).to_be_bytes(), message.as_slice()].concat()
    }

    /// What is parsed and written is what came, and no beginning of it can be parsed.
    fn check(enc: Encoding, frame: &[u8]) -> Event<'_> {
        let event = parse(enc, frame).unwrap_or_else(|e| panic!("{e}: {}", frame.escape_ascii()));
        let type_meta = event.type_meta.clone().into_owned();
        let mut out = Vec::new();
        write(
            enc,
            event.event_type,
            &type_meta,
            &canonical(enc, &type_meta, event.object),
            &mut out,
        );
        assert_eq!(
            out.escape_ascii().to_string(),
            frame.escape_ascii().to_string()
        );
        for cut in 0..frame.trim_ascii_end().len() {
            assert!(parse(enc, &frame[..cut]).is_err(), "{cut}");
        }
        event
    }

    #[test]
    fn json_events() {
        let event = check(Encoding::Json, ADDED.as_bytes());
        assert_eq!(event.event_type, EventType::Added);
        assert_eq!(event.type_meta, TypeMeta::new("v1", "ConfigMap"));
        let meta = &event.meta;
        assert_eq!(
            [
                &*meta.name,
                &*meta.namespace,
                &*meta.uid,
                &*meta.resource_version
            ],
            ["a", "default", "u-1", "201"]
        );
        assert!(event.object.starts_with(b"{\"kind\"") && event.object.ends_with(b"}}"));
        let event = check(Encoding::Json, CUSTOM.as_bytes());
        assert_eq!(
            (event.event_type, event.status_code),
            (EventType::Modified, None)
        );
        let event = check(Encoding::Json, EXPIRED.as_bytes());
        assert_eq!(
            (event.event_type, event.status_code, event.meta),
            (EventType::Error, Some(410), Meta::default())
        );
        assert!(check(Encoding::Json, END.as_bytes()).initial_events_end);
    }

    #[test]
    fn protobuf_events() {
        let frame = protobuf_added();
        let event = check(Encoding::Protobuf, &frame);
        assert_eq!(event.event_type, EventType::Added);
        assert_eq!(event.type_meta, TypeMeta::new("v1", "ConfigMap"));
        assert_eq!(
            (&*event.meta.name, &*event.meta.resource_version),
            ("a", "201")
        );
    }

    #[test]
    fn what_the_hub_says_itself() {
        for enc in [Encoding::Json, Encoding::Protobuf] {
            let mut out = Vec::new();
            for initial_end in [false, true] {
                out.clear();
                write_bookmark(enc, &TypeMeta::new("v1", "Pod"), "5", initial_end, &mut out);
                let event = check(enc, &out);
                assert_eq!(
                    (event.event_type, event.initial_events_end),
                    (EventType::Bookmark, initial_end)
                );
                assert_eq!(event.meta.resource_version, "5");
            }
            assert_eq!(enc == Encoding::Json, out == END.as_bytes());
            out.clear();
            write_error(
                enc,
                410,
                "Expired",
                "too old resource version: 5 (201)",
                &mut out,
            );
            assert_eq!(check(enc, &out).status_code, Some(410));
            assert_eq!(enc == Encoding::Json, out == EXPIRED.as_bytes());
        }
    }

    #[test]
    fn events_that_are_wrong() {
        let cases: &[(&str, Malformed)] = &[
            ("\n", Malformed::Truncated),
            ("{}\n", Malformed::Shape),
            (r#"{"type":"ADDED"}"#, Malformed::Shape),
            (r#"{"type":"ADDED","object":null}"#, Malformed::Shape),
            (r#"{"type":"ADDED","object":{}}"#, Malformed::Untyped),
            (
                r#"{"type":"added","object":{"kind":"K","apiVersion":"v"}}"#,
                Malformed::Shape,
            ),
            (
                r#"{"object":{"kind":"K","apiVersion":"v"}}"#,
                Malformed::Shape,
            ),
            (
                r#"{"type":"ADDED","object":{"kind":"K","apiVersion":"v"}}{}"#,
                Malformed::Syntax,
            ),
        ];
        for (frame, want) in cases {
            assert_eq!(
                parse(Encoding::Json, frame.as_bytes()).err(),
                Some(*want),
                "{frame}"
            );
        }
        assert_eq!(
            parse(Encoding::Protobuf, b"\0\0\0\0").err(),
            Some(Malformed::Shape)
        );
        assert_eq!(
            parse(Encoding::Protobuf, b"\0\0\0\x01").err(),
            Some(Malformed::Truncated)
        );
        let mut long = protobuf_added();
        long.push(0);
        assert_eq!(
            parse(Encoding::Protobuf, &long).err(),
            Some(Malformed::Truncated)
        );
    }

    #[test]
    fn order_of_keys_and_the_annotation() {
        let frame = r#" {"object" : {"metadata":{"annotations":{"k8s.io/initial-events-end":"true"}},"apiVersion":"v1","kind":"Pod"}, "type" : "ADDED"} "#;
        let event = parse(Encoding::Json, frame.as_bytes()).unwrap();
        assert_eq!(
            (event.event_type, event.initial_events_end),
            (EventType::Added, false)
        );
        let frame = frame
            .replace("ADDED", "BOOKMARK")
            .replace("\"true\"", "\"false\"");
        assert!(
            !parse(Encoding::Json, frame.as_bytes())
                .unwrap()
                .initial_events_end
        );
    }

    #[test]
    fn pretty_objects_stay_in_one_line() {
        let mut out = Vec::new();
        let stored = "{\n \"kind\": \"A\",\r\n \"apiVersion\": \"v1\",\n \"x\": \"\\n\"\n}";
        write(
            Encoding::Json,
            EventType::Added,
            &TypeMeta::new("v1", "A"),
            stored.as_bytes(),
            &mut out,
        );
        assert_eq!(out.iter().filter(|&&b| b == b'\n').count(), 1);
        assert_eq!(
            parse(Encoding::Json, &out).unwrap().type_meta,
            TypeMeta::new("v1", "A")
        );
    }
}
