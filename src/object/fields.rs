//! Protobuf as text, without a schema: fields by their numbers, as `protoc --decode_raw` prints them. For eyes alone:
//! what is a message and what a text is a guess, for the bytes do not say.

use super::proto::{Fields, Value};
use crate::limits::PROTO_SHOWN_DEPTH_MAX;

/// Appends the fields of a message. What is no message is one line of bytes.
pub fn write_fields(message: &[u8], out: &mut String) {
    match is_message(message) {
        true => fields(message, 0, out),
        false => bytes(message, out),
    }
}

fn fields(message: &[u8], depth: usize, out: &mut String) {
    let mut rest = Fields(message);
    while let Ok(Some((number, value))) = rest.next() {
        (0..depth).for_each(|_| out.push_str("  "));
        out.push_str(&number.to_string());
        match value {
            Value::Bytes(inner) if is_nested(inner, depth) => {
                out.push_str(" {\n");
                fields(inner, depth + 1, out);
                (0..depth).for_each(|_| out.push_str("  "));
                out.push('}');
            }
            Value::Bytes(inner) => {
                out.push_str(": ");
                bytes(inner, out);
            }
            Value::Varint(number) => {
                out.push_str(": ");
                out.push_str(&number.to_string());
            }
            Value::Fixed(fixed) => {
                out.push_str(": 0x");
                fixed.iter().rev().for_each(|byte| hex(*byte, out));
            }
        }
        out.push('\n');
    }
}

/// A message rather than a text: it reads as one, and is not all of letters. One whose first field is a text begins with a
/// line feed, as hardly a text does.
fn is_nested(inner: &[u8], depth: usize) -> bool {
    let is_text = !inner.starts_with(b"\n") && inner.iter().all(|b| is_letter(*b));
    let is_text = is_text && std::str::from_utf8(inner).is_ok();
    !is_text && depth < PROTO_SHOWN_DEPTH_MAX && is_message(inner)
}

fn is_letter(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\t' | 0x20..=0x7e | 0x80..)
}

/// One that has fields, and nothing else.
fn is_message(bytes: &[u8]) -> bool {
    let mut rest = Fields(bytes);
    loop {
        match rest.next() {
            Ok(Some(_)) => {}
            Ok(None) => return !bytes.is_empty(),
            Err(_) => return false,
        }
    }
}

/// Between quotes; what cannot be seen as escapes.
fn bytes(bytes: &[u8], out: &mut String) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                c if super::yaml::is_visible(c) => out.push(c),
                c => (c.encode_utf8(&mut [0; 4]).bytes()).for_each(|byte| escape(byte, out)),
            }
        }
        chunk.invalid().iter().for_each(|byte| escape(*byte, out));
    }
    out.push('"');
}

fn escape(byte: u8, out: &mut String) {
    out.push_str("\\x");
    hex(byte, out);
}

fn hex(byte: u8, out: &mut String) {
    for digit in [byte >> 4, byte & 15] {
        out.extend(char::from_digit(digit.into(), 16));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(message: &[u8]) -> String {
        let mut out = String::new();
        write_fields(message, &mut out);
        out
    }

    #[test]
    fn fields_are_shown_by_their_numbers() {
        // metadata {name, labels {a: b}}, a number, a fixed one, a text that begins like a message, bytes.
        let message = b"\x0a\x10\x0a\x04pods\x5a\x08\x0a\x01a\x12\x03b\"\\\
            \x10\x96\x01\x1d\x01\x02\x03\x04\x22\x02(s\x2a\x03\xff\x00\x1b\x32\x00";
        let want = "1 {\n  1: \"pods\"\n  11 {\n    1: \"a\"\n    2: \"b\\\"\\\\\"\n  }\n}\n2: 150\n3: 0x04030201\n\
            4: \"(s\"\n5: \"\\xff\\x00\\x1b\"\n6: \"\"\n";
        assert_eq!(shown(message), want);
        assert_eq!(shown(b"no message"), "\"no message\"");
        assert_eq!(
            shown("\u{202e}\u{9b}".as_bytes()),
            "\"\\xe2\\x80\\xae\\xc2\\x9b\""
        );
    }

    #[test]
    fn deep_ones_end() {
        let mut message = vec![0x0a, 0];
        for _ in 0..200 {
            let mut outer = vec![0x0a];
            let mut len = message.len();
            while len >= 0x80 {
                outer.push(len as u8 | 0x80);
                len >>= 7;
            }
            outer.push(len as u8);
            outer.extend(message);
            message = outer;
        }
        let shown = shown(&message);
        assert_eq!(shown.matches('{').count(), PROTO_SHOWN_DEPTH_MAX);
    }
}
