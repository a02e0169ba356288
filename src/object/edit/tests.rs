use super::*;
use crate::object::proto::{put_bytes, put_varint};
use crate::object::{Encoding, Malformed};

const META: Field = Field::new("metadata", 1);
const NOTES: Field = Field::new("annotations", 12);
const SPEC: Field = Field::new("spec", 2);
const IP: Field = Field::new("clusterIP", 3);
const IPS: Field = Field::new("clusterIPs", 18);
const PORTS: Field = Field::new("ports", 1);
const PORT_NAME: Field = Field::new("name", 1);
const PORT: Field = Field::new("port", 3);

/// A Service with fields that nobody knows, in both encodings.
fn service() -> [(Encoding, Vec<u8>); 2] {
    let json = br#"{"metadata":{"name":"a","annotations":{"x":"1","y\u002fz":"<2>"}},"new":[{}],"spec":{"ports":[{"name":"http","port":80},{"name":"https","port":443,"new":{"a":1}}],"clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1"],"new":1.50}}"#;
    let mut meta = Vec::new();
    put_bytes(&mut meta, 1, b"a");
    put_bytes(&mut meta, 12, b"\x0a\x01x\x12\x011");
    put_bytes(&mut meta, 12, b"\x0a\x03y/z\x12\x03<2>");
    let mut spec = Vec::new();
    put_bytes(&mut spec, 1, b"\x0a\x04http\x18\x50");
    put_bytes(&mut spec, 1, b"\x0a\x05https\x18\xbb\x03\xfa\x07\x01a");
    put_bytes(&mut spec, 3, b"10.96.0.1");
    put_bytes(&mut spec, 18, b"10.96.0.1");
    put_varint(&mut spec, 2047 << 3);
    put_varint(&mut spec, 7);
    let mut proto = Vec::new();
    put_bytes(&mut proto, 1, &meta);
    put_bytes(&mut proto, 2, &spec);
    proto.extend_from_slice(b"\xf9\x7f12345678");
    [(Encoding::Json, json.to_vec()), (Encoding::Protobuf, proto)]
}

#[test]
fn fields_are_found() {
    for (encoding, bytes) in service() {
        let object = Node::object(encoding, &bytes);
        let meta = object.get(META).unwrap().unwrap();
        assert!(meta.has(PORT_NAME, "a").unwrap());
        let note = |key| {
            let entry = meta.entry(NOTES, key).unwrap();
            entry.map(|entry| entry.text().unwrap().into_owned())
        };
        assert_eq!(note("y/z").as_deref(), Some("<2>"));
        assert_eq!(note("z"), None);
        let spec = object.get(SPEC).unwrap().unwrap();
        assert_eq!(spec.text_of(IP).unwrap(), "10.96.0.1");
        assert_eq!(
            spec.text_of(META).err(),
            (encoding == Encoding::Protobuf).then_some(Malformed::Shape)
        );
        let ports = spec.items(PORTS).unwrap();
        let names: Vec<_> = ports
            .iter()
            .map(|p| p.text_of(PORT_NAME).unwrap())
            .collect();
        assert_eq!(names, ["http", "https"]);
        assert_eq!(ports[0].text_of(PORT).err(), Some(Malformed::Shape));
    }
}

/// Makes changes, and compares the object with what it was but for these parts.
fn check(
    change: impl Fn(&mut Edits<'_>, &Node<'_>),
    json: &[(&str, &str)],
    proto: &[(&[u8], &[u8])],
) {
    for (encoding, bytes) in service() {
        let changed = edited(encoding, &bytes, &change);
        let mut want = bytes.clone();
        let parts: Vec<(&[u8], &[u8])> = match encoding {
            Encoding::Json => json
                .iter()
                .map(|(a, b)| (a.as_bytes(), b.as_bytes()))
                .collect(),
            Encoding::Protobuf => proto.to_vec(),
        };
        for (from, to) in parts {
            let at = want
                .windows(from.len())
                .position(|w| w == from)
                .expect("the part");
            want.splice(at..at + from.len(), to.iter().copied());
        }
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(shown(changed.as_deref().unwrap_or(&bytes)), shown(&want));
        assert_eq!(changed.is_some(), want != bytes);
        // Made once more, it changes nothing.
        assert_eq!(edited(encoding, &want, &change), None, "{}", shown(&want));
    }
}

fn edited(
    encoding: Encoding,
    bytes: &[u8],
    change: &impl Fn(&mut Edits<'_>, &Node<'_>),
) -> Option<Vec<u8>> {
    let object = Node::object(encoding, bytes);
    let mut edits = Edits::new(&object).unwrap();
    change(&mut edits, &object);
    edits.finish().unwrap()
}

#[test]
fn values_are_set() {
    check(
        |edits, object| {
            let spec = object.get(SPEC).unwrap().unwrap();
            edits.set(&spec, IP, Value::Text("169.254.2.1")).unwrap();
            let list = [Value::Text("169.254.2.1"), Value::Text("fd00::2:1")];
            edits.set(&spec, IPS, Value::List(&list)).unwrap();
            for port in spec.items(PORTS).unwrap() {
                if port.has(PORT_NAME, "https").unwrap() {
                    edits.set(&port, PORT, Value::Number(10268)).unwrap();
                }
            }
        },
        &[
            (r#""clusterIP":"10.96.0.1""#, r#""clusterIP":"169.254.2.1""#),
            (r#"["10.96.0.1"]"#, r#"["169.254.2.1","fd00::2:1"]"#),
            ("443", "10268"),
        ],
        &[
            (b"\x18\xbb\x03", b"\x18\x9c\x50"),
            (b"\x1a\x0910.96.0.1", b"\x1a\x0b169.254.2.1"),
            (
                b"\x92\x01\x0910.96.0.1",
                b"\x92\x01\x0b169.254.2.1\x92\x01\x09fd00::2:1",
            ),
            (b"\x12\x34\x0a", b"\x12\x44\x0a"),
        ],
    );
}

#[test]
fn values_are_put_in_and_entries_changed() {
    const NEW: Field = Field::new("newer", 30);
    check(
        |edits, object| {
            let meta = object.get(META).unwrap().unwrap();
            let entry = meta.entry(NOTES, "x").unwrap().unwrap();
            edits.set_entry(&meta, NOTES, "x", &entry, Value::Text("\n22"));
            let inner = [(IP, Value::Truth(true)), (PORT, Value::Bytes(b"foo"))];
            edits.set(object, NEW, Value::Message(&inner)).unwrap();
        },
        &[
            (r#"{"x":"1""#, r#"{"x":"\n22""#),
            (
                r#""new":1.50}}"#,
                r#""new":1.50},"newer":{"clusterIP":true,"port":"Zm9v"}}"#,
            ),
        ],
        &[
            (
                b"\x62\x06\x0a\x01x\x12\x011",
                b"\x62\x08\x0a\x01x\x12\x03\n22",
            ),
            (b"\x0a\x17", b"\x0a\x19"),
            (b"12345678", b"12345678\xf2\x01\x07\x18\x01\x1a\x03foo"),
        ],
    );
}

#[test]
fn one_field_takes_the_place_of_another() {
    for (encoding, bytes) in service() {
        let object = Node::object(encoding, &bytes);
        let meta = object.get(META).unwrap().unwrap();
        let mut edits = Edits::new(&object).unwrap();
        let name = meta.get(PORT_NAME).unwrap().unwrap();
        edits.replace(&meta, &name, IPS, Value::Text("b"));
        let changed = edits.finish().unwrap().unwrap();
        let meta = Node::object(encoding, &changed).get(META).unwrap().unwrap();
        assert!(meta.has(PORT_NAME, "").unwrap() && meta.has(IPS, "b").unwrap());
        assert!(meta.entry(NOTES, "x").unwrap().is_some());
    }
}

/// Takes away every subset of a list's items, in every way in which JSON may be laid out.
#[test]
fn items_are_taken_away() {
    for count in 0..5u32 {
        for which in 0..1 << count {
            let keeps = |n: &u32| which & (1 << n) == 0;
            let (mut plain, mut wide, mut proto) = (String::new(), String::new(), vec![0x50, 1]);
            let mut want = (String::new(), vec![0x50, 1]);
            for n in 0..count {
                let comma = |text: &String| if text.is_empty() { "" } else { "," };
                plain += &format!("{}\"{n}\"", comma(&plain));
                wide += &format!("{} \"{n}\"\n", comma(&wide));
                put_bytes(&mut proto, 1, n.to_string().as_bytes());
                proto.extend_from_slice(&[0x50, 2]);
                if keeps(&n) {
                    want.0 += &format!("{}\"{n}\"", comma(&want.0));
                    put_bytes(&mut want.1, 1, n.to_string().as_bytes());
                }
                want.1.extend_from_slice(&[0x50, 2]);
            }
            let remove = |encoding, bytes: &[u8]| {
                let object = Node::object(encoding, bytes);
                let mut edits = Edits::new(&object).unwrap();
                let mut goes = |item: &Node<'_>| Ok(!keeps(&item.text()?.parse().unwrap()));
                let stay = edits.remove(&object, PORTS, &mut goes).unwrap();
                assert_eq!(stay as u32, count - u32::count_ones(which));
                edits.finish().unwrap().unwrap_or(bytes.to_vec())
            };
            let text = remove(
                Encoding::Json,
                format!(r#"{{"a":[1],"ports":[{plain}],"b":2}}"#).as_bytes(),
            );
            assert_eq!(
                String::from_utf8(text).unwrap(),
                format!(r#"{{"a":[1],"ports":[{}],"b":2}}"#, want.0)
            );
            let text = remove(
                Encoding::Json,
                format!("{{\"ports\" : [{wide}\t]}}").as_bytes(),
            );
            let text: String = String::from_utf8(text)
                .unwrap()
                .split_whitespace()
                .collect();
            assert_eq!(text, format!("{{\"ports\":[{}]}}", want.0));
            assert_eq!(remove(Encoding::Protobuf, &proto), want.1);
        }
    }
}

#[test]
fn json_objects_stay_well_formed() {
    for (text, want) in [
        ("{}", r#"{"clusterIP":"x","port":7}"#),
        ("{ }", r#"{ "clusterIP":"x","port":7}"#),
        (r#"{"a":null}"#, r#"{"a":null,"clusterIP":"x","port":7}"#),
        (r#"{"port":null}"#, r#"{"port":7,"clusterIP":"x"}"#),
        (
            r#"{"port":[],"clusterI\u0050":{}}"#,
            r#"{"port":7,"clusterIP":"x"}"#,
        ),
    ] {
        let object = Node::object(Encoding::Json, text.as_bytes());
        let mut edits = Edits::new(&object).unwrap();
        edits.set(&object, IP, Value::Text("x")).unwrap();
        edits.set(&object, PORT, Value::Number(7)).unwrap();
        let out = edits.finish().unwrap().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let twice = |json: &str, proto: &[u8]| {
        for (encoding, bytes) in [
            (Encoding::Json, json.as_bytes()),
            (Encoding::Protobuf, proto),
        ] {
            let object = Node::object(encoding, bytes);
            assert_eq!(object.get(SPEC).err(), Some(Malformed::Shape));
        }
    };
    twice(r#"{"spec":{},"spec":{"a":1}}"#, b"\x12\x00\x12\x00");
    for (json, proto) in [
        (
            r#"{"annotations":{"x":"1","x":"2"}}"#,
            b"\x62\x06\x0a\x01x\x12\x011\x62\x06\x0a\x01x\x12\x012".as_slice(),
        ),
        (r#"{"annotations":1}"#, b"\x60\x01"),
        (r#"{"annotations":[]}"#, b"\x62\x01x"),
        (r#"{"annotations":{"x":1}"#, b"\x62\x05\x0a\x01x\x12\x01"),
    ] {
        for (encoding, bytes) in [
            (Encoding::Json, json.as_bytes()),
            (Encoding::Protobuf, proto),
        ] {
            assert!(
                Node::object(encoding, bytes).entry(NOTES, "x").is_err(),
                "{json}"
            );
        }
    }
}
