//! What is kept as text for eyes and files. Whatever names and objects hold, a terminal shows it and obeys none of it,
//! and a file stays where it belongs. Pure.

use std::io::{self, Write};

use crate::limits::{FILE_NAME_BYTES_MAX, JSON_DEPTH_MAX};
use crate::object::yaml::is_visible;
use crate::store::ring::layout::plain_digest;

/// JSON laid out for reading, as it comes. What a terminal would obey is written as an escape, which says the same.
#[derive(Default)]
pub(super) struct Layout {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The last byte outside of strings was an opening bracket.
    opened: bool,
}

impl Layout {
    /// Writes the next part of a document.
    pub(super) fn feed(&mut self, json: &[u8], out: &mut dyn Write) -> io::Result<()> {
        for c in String::from_utf8_lossy(json).chars() {
            match self.in_string {
                true => self.within(c, out)?,
                false => self.between(c, out)?,
            }
        }
        Ok(())
    }

    fn within(&mut self, c: char, out: &mut dyn Write) -> io::Result<()> {
        let ends = c == '"' && !self.escaped;
        self.escaped = c == '\\' && !self.escaped;
        self.in_string = !ends;
        put_harmless(c, out)
    }

    fn between(&mut self, c: char, out: &mut dyn Write) -> io::Result<()> {
        if c.is_ascii_whitespace() {
            return Ok(());
        }
        let closes = matches!(c, '}' | ']');
        if closes {
            self.depth = self.depth.saturating_sub(1);
        }
        if self.opened != closes {
            self.new_line(out)?;
        }
        self.opened = matches!(c, '{' | '[');
        put_harmless(c, out)?;
        match c {
            '{' | '[' => self.depth += 1,
            ',' => self.new_line(out)?,
            ':' => out.write_all(b" ")?,
            '"' => self.in_string = true,
            _ => {}
        }
        Ok(())
    }

    fn new_line(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out)?;
        (0..self.depth.min(JSON_DEPTH_MAX)).try_for_each(|_| out.write_all(b"  "))
    }
}

/// A line of JSON, harmless.
pub(super) fn put_line(json: &str, out: &mut dyn Write) -> io::Result<()> {
    json.chars().try_for_each(|c| put_harmless(c, out))?;
    writeln!(out)
}

/// Controls, and what turns the direction of text or cannot be seen: as JSON escapes them.
fn put_harmless(c: char, out: &mut dyn Write) -> io::Result<()> {
    match is_visible(c) {
        true => out.write_all(c.encode_utf8(&mut [0; 4]).as_bytes()),
        false => write!(out, "\\u{:04x}", u32::from(c)),
    }
}

/// A name as one part of a path: nothing that leads elsewhere, is hidden, or looks like an option. What is not plain is
/// written as in a URL; what is too long is cut, with a digest of the whole behind.
pub(super) fn file_name(name: &str) -> String {
    let mut out = String::new();
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' => out.push(char::from(byte)),
            b'.' | b'-' | b'_' if at > 0 => out.push(char::from(byte)),
            _ => out += &format!("%{byte:02X}"),
        }
        if out.len() > FILE_NAME_BYTES_MAX {
            out.truncate(FILE_NAME_BYTES_MAX - 17);
            return format!("{out}~{:016x}", plain_digest(name.as_bytes()));
        }
    }
    match out.is_empty() {
        true => "_".to_owned(),
        false => out,
    }
}

/// Rows in columns, the first row the head.
pub(super) fn table<const N: usize>(rows: &[[String; N]], out: &mut dyn Write) -> io::Result<()> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    for row in rows {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(widths) {
            text += &format!("{cell:width$}  ");
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_out(json: &str) -> String {
        let mut out = Vec::new();
        let laid_out = Layout::default().feed(json.as_bytes(), &mut out);
        laid_out.expect("memory takes all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn json_for_reading() {
        for (json, want) in [
            ("{}", "{}"),
            (
                r#"{"a":[],"b":[1,{"c":null}]}"#,
                "{\n  \"a\": [],\n  \"b\": [\n    1,\n    {\n      \"c\": null\n    }\n  ]\n}",
            ),
            (r#"{ "a" : "{[,:\"\\" }"#, "{\n  \"a\": \"{[,:\\\"\\\\\"\n}"),
            (
                "[\"\u{1b}[2J\u{9b}\u{202e}\u{7f}\"]",
                "[\n  \"\\u001b[2J\\u009b\\u202e\\u007f\"\n]",
            ),
            ("]]]}", "\n]\n]\n]\n}"),
        ] {
            assert_eq!(laid_out(json), want, "{json}");
        }
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect(text);
        let json = r#"{"kind":"Pod","n":[-1.5e3,true,"grün \u00e9"],"m":{"x":{}}}"#;
        assert_eq!(read(&laid_out(json)), read(json));
        assert!(laid_out(&"[".repeat(100_000)).len() < 100_000 * (2 * JSON_DEPTH_MAX + 4));
    }

    #[test]
    fn no_name_leads_elsewhere() {
        for (name, want) in [
            ("coredns-1.x_y", "coredns-1.x_y"),
            ("system:node", "system:node"),
            ("..", "%2E."),
            (".hidden", "%2Ehidden"),
            ("-rf", "%2Drf"),
            ("_", "%5F"),
            ("", "_"),
            ("a/../b", "a%2F..%2Fb"),
            ("a\0\u{1b}\u{e9}%", "a%00%1B%C3%A9%25"),
        ] {
            assert_eq!(file_name(name), want);
        }
        let long = "x".repeat(FILE_NAME_BYTES_MAX + 1);
        let other = format!("{}y", "x".repeat(FILE_NAME_BYTES_MAX));
        assert_eq!(file_name(&long).len(), FILE_NAME_BYTES_MAX);
        assert_ne!(file_name(&long), file_name(&other));
        let just = "x".repeat(FILE_NAME_BYTES_MAX);
        assert_eq!(file_name(&just), just);
    }
}
