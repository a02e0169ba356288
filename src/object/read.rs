//! Finds the type and metadata of one object. Never changes a byte but for the prefix that `canonical` cuts.

use std::borrow::Cow;

use super::json::{Cursor, Text};
use super::proto::{self, Fields};
use super::write::{has_own_type, json_prefix};
use super::{Encoding, Malformed, Meta, TypeMeta, TypeMetaRef};

/// The annotation on the BOOKMARK that ends a WatchList stream's initial events.
pub(crate) const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Everything that one pass over an object finds.
#[derive(Default)]
pub(crate) struct Facts<'a> {
    pub(crate) type_meta: Option<TypeMetaRef<'a>>,
    pub(crate) meta: Meta<'a>,
    /// The annotation [`INITIAL_EVENTS_END`] is `"true"`.
    pub(crate) initial_events_end: bool,
    /// The field `code`, which means something in a Status only.
    pub(crate) code: Option<u16>,
}

/// Reads the type, if the object says it, and the metadata of one bare object.
///
/// JSON: an object with or without `kind` and `apiVersion`, anywhere in it; white space around it passes. Protobuf: the
/// message without its envelope, which never says its type. Absent metadata is empty. The whole grammar of the object
/// is checked on the way (JSON), or its top level and metadata (protobuf).
pub fn read_meta(
    enc: Encoding,
    object: &[u8],
) -> Result<(Option<TypeMetaRef<'_>>, Meta<'_>), Malformed> {
    let facts = match enc {
        Encoding::Json => {
            let mut cursor = Cursor::new(object);
            let facts = json_object(&mut cursor)?;
            cursor.end()?;
            facts
        }
        Encoding::Protobuf => proto_object(object)?,
    };
    Ok((facts.type_meta, facts.meta))
}

/// Opens the whole body of a GET: its type and the bare object, as [`open_single`], and its metadata from the same pass.
pub fn read_single(
    enc: Encoding,
    body: &[u8],
) -> Result<(TypeMetaRef<'_>, Meta<'_>, &[u8]), Malformed> {
    match enc {
        Encoding::Json => {
            let mut cursor = Cursor::new(body);
            let start = cursor.token_at();
            let facts = json_object(&mut cursor)?;
            let bare = cursor.since(start);
            cursor.end()?;
            Ok((facts.type_meta.ok_or(Malformed::Untyped)?, facts.meta, bare))
        }
        Encoding::Protobuf => {
            let (type_meta, bare) = proto::open_envelope(body)?;
            Ok((type_meta, proto_object(bare)?.meta, bare))
        }
    }
}

/// Opens the whole body of a GET: its type and the bare object.
///
/// JSON: white space around the object is cut, nothing else. Protobuf: the envelope is opened; one with a
/// `contentEncoding`, a `contentType` or a field that we do not know is [`Malformed::Envelope`].
pub fn open_single(enc: Encoding, body: &[u8]) -> Result<(TypeMeta, &[u8]), Malformed> {
    read_single(enc, body).map(|(type_meta, _, bare)| (type_meta.into_owned(), bare))
}

/// The form in which a bare object is kept, the same from GET, LIST and WATCH.
///
/// JSON: `{"kind":"K","apiVersion":"V",` at the front, as the API server writes for built-in types outside of lists, is
/// cut down to `{`. All else, and protobuf, is the form already.
pub fn canonical<'a>(enc: Encoding, type_meta: &TypeMeta, bare: &'a [u8]) -> Cow<'a, [u8]> {
    if enc == Encoding::Protobuf || !is_plain(type_meta) {
        return Cow::Borrowed(bare);
    }
    let Some(rest) = bare.strip_prefix(json_prefix(type_meta).as_slice()) else {
        return Cow::Borrowed(bare);
    };
    let cut = [b"{", rest].concat();
    // A second `kind` further on would keep the writer from putting the first one back.
    if has_own_type(&cut) {
        Cow::Borrowed(bare)
    } else {
        Cow::Owned(cut)
    }
}

/// Whether both names are written in JSON without escapes, so that cutting and putting back give the same bytes.
fn is_plain(type_meta: &TypeMeta) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'/' | b'_');
    type_meta
        .api_version
        .bytes()
        .chain(type_meta.kind.bytes())
        .all(plain)
}

/// Reads the JSON object at the cursor and stops behind it.
pub(crate) fn json_object<'a>(cursor: &mut Cursor<'a>) -> Result<Facts<'a>, Malformed> {
    let (mut api_version, mut kind) = (Cow::default(), Cow::default());
    let mut facts = Facts::default();
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        if key.is("metadata") {
            json_meta(cursor, &mut facts)?;
        } else if key.is("kind") {
            set(&mut kind, cursor.text()?)?;
        } else if key.is("apiVersion") {
            set(&mut api_version, cursor.text()?)?;
        } else if key.is("code") {
            facts.code = std::str::from_utf8(cursor.skip()?)
                .ok()
                .and_then(|digits| digits.parse().ok());
        } else {
            cursor.skip()?;
        }
    }
    facts.type_meta = TypeMetaRef::read(api_version, kind)?;
    Ok(facts)
}

fn json_meta<'a>(cursor: &mut Cursor<'a>, facts: &mut Facts<'a>) -> Result<(), Malformed> {
    if cursor.peek()? == b'n' {
        return cursor.skip().map(drop);
    }
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        if key.is("name") {
            set(&mut facts.meta.name, cursor.text()?)?;
        } else if key.is("namespace") {
            set(&mut facts.meta.namespace, cursor.text()?)?;
        } else if key.is("uid") {
            set(&mut facts.meta.uid, cursor.text()?)?;
        } else if key.is("resourceVersion") {
            set(&mut facts.meta.resource_version, cursor.text()?)?;
        } else if key.is("annotations") && cursor.peek()? == b'{' {
            json_annotations(cursor, facts)?;
        } else {
            cursor.skip()?;
        }
    }
    Ok(())
}

fn json_annotations<'a>(cursor: &mut Cursor<'a>, facts: &mut Facts<'a>) -> Result<(), Malformed> {
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        if key.is(INITIAL_EVENTS_END) {
            facts.initial_events_end = cursor.text()?.is_some_and(|text| text.is("true"));
        } else {
            cursor.skip()?;
        }
    }
    Ok(())
}

/// `null` leaves a field as it was, as in Go.
fn set<'a>(field: &mut Cow<'a, str>, text: Option<Text<'a>>) -> Result<(), Malformed> {
    if let Some(text) = text {
        *field = text.decode()?;
    }
    Ok(())
}

/// Reads a bare protobuf message with ObjectMeta in field 1, as every kind but lists and Status has it.
pub(crate) fn proto_object(bare: &[u8]) -> Result<Facts<'_>, Malformed> {
    let mut facts = Facts::default();
    let mut fields = Fields(bare);
    while let Some((field, value)) = fields.next()? {
        if field == 1 {
            proto_meta(value.bytes()?, &mut facts)?;
        }
    }
    Ok(facts)
}

fn proto_meta<'a>(bytes: &'a [u8], facts: &mut Facts<'a>) -> Result<(), Malformed> {
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => facts.meta.name = value.text()?,
            3 => facts.meta.namespace = value.text()?,
            5 => facts.meta.uid = value.text()?,
            6 => facts.meta.resource_version = value.text()?,
            12 => proto_annotation(value.bytes()?, facts)?,
            _ => {}
        }
    }
    Ok(())
}

fn proto_annotation<'a>(entry: &'a [u8], facts: &mut Facts<'a>) -> Result<(), Malformed> {
    let (mut key, mut text): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields(entry);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => key = value.bytes()?,
            2 => text = value.bytes()?,
            _ => {}
        }
    }
    if key == INITIAL_EVENTS_END.as_bytes() {
        facts.initial_events_end = text == b"true";
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Meta, write_single};
    use super::*;

    const POD: &str = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"default","uid":"1-2","resourceVersion":"7","labels":{"name":"no"}},"spec":{"name":"no"}}"#;

    fn meta(
        name: &'static str,
        namespace: &'static str,
        uid: &'static str,
        version: &'static str,
    ) -> Meta<'static> {
        Meta {
            name: name.into(),
            namespace: namespace.into(),
            uid: uid.into(),
            resource_version: version.into(),
        }
    }

    fn check(text: &[u8], want_type: Option<(&str, &str)>, want: Meta<'_>) {
        let (type_meta, found) = read_meta(Encoding::Json, text)
            .unwrap_or_else(|e| panic!("{e}: {}", text.escape_ascii()));
        assert_eq!(
            type_meta.map(TypeMetaRef::into_owned),
            want_type.map(|(v, k)| TypeMeta::new(v, k))
        );
        assert_eq!(found, want, "{}", text.escape_ascii());
    }

    #[test]
    fn json_meta_is_found() {
        let pod = Some(("v1", "Pod"));
        check(POD.as_bytes(), pod, meta("a", "default", "1-2", "7"));
        check(b"{}", None, Meta::default());
        check(
            b" {\r\n \"metadata\" : {\n\t\"name\" : \"a\" } ,\n\"kind\" : \"Pod\",\"apiVersion\":\"v1\" }\r\n",
            pod,
            meta("a", "", "", ""),
        );
        check(
            br#"{"metadata":{"name":"a","name":"b"},"metadata":{"uid":"u"}}"#,
            None,
            meta("b", "", "u", ""),
        );
        check(
            br#"{"metadata":{"name":"a","name":null,"annotations":null},"metadata":null,"kind":null}"#,
            None,
            meta("a", "", "", ""),
        );
        check(
            br#"{"\u006betadata":1,"\u006detadata":{"na\u006de":"\u00e9\ud83d\ude00"}}"#,
            None,
            meta("é😀", "", "", ""),
        );
        check(
            br#"{"Metadata":{"name":"no"},"spec":{"metadata":{"name":"no"}},"metadata":{"Name":"no"}}"#,
            None,
            Meta::default(),
        );
        check(br#"{"kind":"Pod","metadata":{}}"#, None, Meta::default());
        check(br#"{"kind":"","apiVersion":""}"#, None, Meta::default());
        check(b"{\"spec\":\"\xff\"}", None, Meta::default());
    }

    #[test]
    fn json_that_is_wrong() {
        let long = format!(r#"{{"kind":"{}","apiVersion":"v1"}}"#, "K".repeat(257));
        let cases: &[(&[u8], Malformed)] = &[
            (b"", Malformed::Truncated),
            (b"[]", Malformed::Shape),
            (b"null", Malformed::Shape),
            (br#"{"kind":1}"#, Malformed::Shape),
            (br#"{"metadata":[]}"#, Malformed::Shape),
            (br#"{"metadata":{"name":{}}}"#, Malformed::Shape),
            (b"{\"metadata\":{\"name\":\"\xff\"}}", Malformed::Text),
            (b"{} x", Malformed::Syntax),
            (long.as_bytes(), Malformed::TooLarge),
        ];
        for (text, want) in cases {
            assert_eq!(
                read_meta(Encoding::Json, text).err(),
                Some(*want),
                "{}",
                text.escape_ascii()
            );
        }
        for cut in 0..POD.len() {
            assert!(
                read_meta(Encoding::Json, &POD.as_bytes()[..cut]).is_err(),
                "{cut}"
            );
        }
    }

    #[test]
    fn type_name_bound() {
        for (len, want) in [(255, true), (256, true), (257, false)] {
            let text = format!(r#"{{"kind":"{}","apiVersion":"v1"}}"#, "K".repeat(len));
            assert_eq!(
                open_single(Encoding::Json, text.as_bytes()).is_ok(),
                want,
                "{len}"
            );
        }
    }

    #[test]
    fn protobuf_meta_is_found() {
        let bare = b"\x0a\x13\x0a\x01a\x12\x00\x1a\x02ns\x22\x00\x2a\x01u\x32\x017\x38\x00\x12\x03abc\x1a\x00";
        let (type_meta, found) = read_meta(Encoding::Protobuf, bare).unwrap();
        assert_eq!((type_meta, found), (None, meta("a", "ns", "u", "7")));
        assert_eq!(
            read_meta(Encoding::Protobuf, b"").unwrap(),
            (None, Meta::default())
        );
        for (bytes, want) in [
            (b"\x08\x01".as_slice(), Malformed::Shape),
            (b"\x0a\x03\x0a\x01\xff", Malformed::Text),
            (b"\x0a\x02\x08\x01", Malformed::Shape),
            (b"\x0a\x04\x0a\x01a", Malformed::Truncated),
        ] {
            assert_eq!(read_meta(Encoding::Protobuf, bytes).err(), Some(want));
        }
    }

    #[test]
    fn what_is_canonical() {
        let pod = TypeMeta::new("v1", "Pod");
        let same: &[&str] = &[
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
            r#"{"kind":"Pod","apiVersion":"v1","kind":"Pod","metadata":{}}"#,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{}}"#,
            r#"{"metadata":{},"apiVersion":"v1","kind":"Pod"}"#,
            r#"{"metadata":{"name":"x"},"spec":{"kind":"no"}}"#,
            "{\n  \"kind\": \"Pod\",\n  \"apiVersion\": \"v1\",\n  \"metadata\": {}\n}",
        ];
        for bare in same {
            assert!(
                matches!(canonical(Encoding::Json, &pod, bare.as_bytes()), Cow::Borrowed(same) if same == bare.as_bytes()),
                "{bare}"
            );
        }
        let cut = canonical(Encoding::Json, &pod, POD.as_bytes());
        assert!(cut.starts_with(br#"{"metadata":{"name":"a""#));
        assert_eq!(canonical(Encoding::Json, &pod, &cut), cut);
    }

    #[test]
    fn bodies_are_written_as_they_came() {
        let bodies: &[&str] = &[
            "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\"},\"data\":{\"x\":\"\\u003c\"}}\n",
            "{\"apiVersion\":\"x.io/v1\",\"kind\":\"Foo\",\"metadata\":{\"name\":\"a\"},\"spec\":1.50}\n",
            "{\"metadata\":{},\"spec\":{},\"kind\":\"Foo\",\"apiVersion\":\"v1\"}\n",
            "{\"kind\":\"a<b\",\"apiVersion\":\"v1\",\"metadata\":{}}\n",
            "{\n \"kind\": \"Foo\",\r\n \"apiVersion\": \"v1\"\n}\n",
        ];
        for body in bodies {
            let (type_meta, bare) = open_single(Encoding::Json, body.as_bytes()).unwrap();
            let mut out = Vec::new();
            write_single(
                Encoding::Json,
                &type_meta,
                &canonical(Encoding::Json, &type_meta, bare),
                &mut out,
            );
            assert_eq!(std::str::from_utf8(&out).unwrap(), *body);
        }
        let body = b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x08\x0a\x03\x0a\x01a\xb8\x3e\x01\x1a\x00\x22\x00";
        let (type_meta, bare) = open_single(Encoding::Protobuf, body).unwrap();
        let mut out = Vec::new();
        write_single(
            Encoding::Protobuf,
            &type_meta,
            &canonical(Encoding::Protobuf, &type_meta, bare),
            &mut out,
        );
        assert_eq!(out, body);
    }
}
