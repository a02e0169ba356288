//! JSON written again as YAML, for eyes and for `kubectl apply`. Whatever reads YAML, 1.1 or 1.2, finds the same values
//! in it; a terminal obeys none of it.

use super::Malformed;
use super::json::{Cursor, Text};

/// Appends a document. An error has appended a part of it.
pub fn write_yaml(json: &[u8], out: &mut String) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(json);
    Writer { out }.value(&mut cursor, 0, Place::Document)?;
    cursor.end()?;
    out.push('\n');
    Ok(())
}

/// What stands before a value on its line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Document,
    /// A key and its colon.
    Key,
    /// The dash of an item.
    Dash,
}

struct Writer<'o> {
    out: &'o mut String,
}

impl Writer<'_> {
    fn value(
        &mut self,
        json: &mut Cursor<'_>,
        depth: usize,
        place: Place,
    ) -> Result<(), Malformed> {
        match json.peek()? {
            b'{' => self.object(json, depth, place),
            b'[' => self.array(json, depth, place),
            b'"' => {
                self.space(place);
                let text = json.text()?;
                self.text(text, depth)
            }
            // Numbers and words are the same in both.
            _ => {
                self.space(place);
                let word = json.skip()?;
                self.out.push_str(&String::from_utf8_lossy(word));
                Ok(())
            }
        }
    }

    fn object(
        &mut self,
        json: &mut Cursor<'_>,
        depth: usize,
        place: Place,
    ) -> Result<(), Malformed> {
        json.open_object()?;
        let mut is_empty = true;
        while let Some(key) = json.next_key()? {
            match (place, is_empty) {
                (Place::Document, true) => {}
                // The first key shares the line of its dash.
                (Place::Dash, true) => self.out.push(' '),
                _ => self.line(depth),
            }
            is_empty = false;
            self.key(key, depth)?;
            self.value(json, depth + 1, Place::Key)?;
        }
        if is_empty {
            self.space(place);
            self.out.push_str("{}");
        }
        Ok(())
    }

    fn array(
        &mut self,
        json: &mut Cursor<'_>,
        depth: usize,
        place: Place,
    ) -> Result<(), Malformed> {
        json.open_array()?;
        // The items of a key stand below it, as far to the left, as kubectl has it.
        let depth = depth - usize::from(place == Place::Key);
        let mut is_empty = true;
        while json.next_item()? {
            match (place, is_empty) {
                (Place::Document, true) => {}
                (Place::Dash, true) => self.out.push(' '),
                _ => self.line(depth),
            }
            is_empty = false;
            self.out.push('-');
            self.value(json, depth + 1, Place::Dash)?;
        }
        if is_empty {
            self.space(place);
            self.out.push_str("[]");
        }
        Ok(())
    }

    fn space(&mut self, place: Place) {
        if place != Place::Document {
            self.out.push(' ');
        }
    }

    fn line(&mut self, depth: usize) {
        self.out.push('\n');
        (0..depth).for_each(|_| self.out.push_str("  "));
    }

    fn key(&mut self, key: Text<'_>, depth: usize) -> Result<(), Malformed> {
        let key = key.decode()?;
        let is_long = key.len() > KEY_BYTES_MAX;
        if is_long {
            self.out.push_str("? ");
        }
        match is_plain(&key) {
            true => self.out.push_str(&key),
            false => self.quoted(&key),
        }
        if is_long {
            self.line(depth);
        }
        self.out.push(':');
        Ok(())
    }

    fn text(&mut self, text: Option<Text<'_>>, depth: usize) -> Result<(), Malformed> {
        let text = text.ok_or(Malformed::Shape)?.decode()?;
        if is_plain(&text) {
            self.out.push_str(&text);
        } else if is_block(&text) {
            self.block(&text, depth);
        } else {
            self.quoted(&text);
        }
        Ok(())
    }

    /// Lines as they are.
    fn block(&mut self, text: &str, depth: usize) {
        let ends = text.len() - text.trim_end_matches('\n').len();
        self.out.push_str(match ends {
            0 => "|-",
            1 => "|",
            _ => "|+",
        });
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            match line.is_empty() {
                true => self.out.push('\n'),
                false => self.line(depth.max(1)),
            }
            self.out.push_str(line);
        }
    }

    /// Between quotes, where an escape can say everything.
    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\t' => self.out.push_str("\\t"),
                c if is_visible(c) => self.out.push(c),
                c => self.escape(u32::from(c)),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, code: u32) {
        let (mark, digits) = match code {
            0..0x1_0000 => ('u', 4),
            _ => ('U', 8),
        };
        self.out.push('\\');
        self.out.push(mark);
        for at in (0..digits).rev() {
            let digit = char::from_digit(code >> (4 * at) & 15, 16);
            self.out.extend(digit);
        }
    }
}

/// A key of more than 1024 characters, quotes and escapes among them, stands behind a `?` (YAML 1.2, 7.4.2).
const KEY_BYTES_MAX: usize = 80;

/// True if the text can stand without quotes: a word that nothing takes for a number, a date, or anything else.
fn is_plain(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/');
    let starts = (text.bytes().next()).is_some_and(|b| b.is_ascii_alphabetic() || b == b'/');
    // Of what YAML 1.1 takes for something else, all that begins so.
    const OTHERS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    starts
        && text.bytes().all(is_word)
        && !OTHERS.iter().any(|other| text.eq_ignore_ascii_case(other))
}

/// True if the text can stand as lines: it has several, and all of it can be seen.
fn is_block(text: &str) -> bool {
    // How far to the left the lines stand is read from the first.
    let first = text.split('\n').next().unwrap_or_default();
    text.contains('\n')
        && !first.is_empty()
        && !first.starts_with([' ', '\t'])
        && text.chars().all(|c| c == '\n' || is_visible(c))
}

/// True for what a terminal shows, and shows where it stands.
pub(crate) fn is_visible(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(json: &str) -> String {
        let mut out = String::new();
        write_yaml(json.as_bytes(), &mut out).expect(json);
        out
    }

    #[test]
    fn an_object_looks_as_kubectl_prints_it() {
        let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{}},"spec":{"containers":
            [{"name":"c","args":["-x","5",["y",[]]],"ports":[{"containerPort":80}],"env":[]},{}],"n":-1.5e3,"b":true,"z":null}}"#;
        let want = r#"apiVersion: v1
kind: Pod
metadata:
  name: a
  labels: {}
spec:
  containers:
  - name: c
    args:
    - "-x"
    - "5"
    - - "y"
      - []
    ports:
    - containerPort: 80
    env: []
  - {}
  "n": -1.5e3
  b: true
  z: null
"#;
        assert_eq!(yaml(json), want);
        assert_eq!(yaml("[]"), "[]\n");
        assert_eq!(yaml(r#"["a",[1]]"#), "- a\n- - 1\n");
        assert_eq!(yaml("3"), "3\n");
    }

    #[test]
    fn a_string_stays_one() {
        for (text, want) in [
            ("plain-word_1/x.y", "plain-word_1/x.y"),
            ("", "\"\""),
            ("no", "\"no\""),
            ("TRUE", "\"TRUE\""),
            ("~", "\"~\""),
            ("0x1f", "\"0x1f\""),
            ("12:30:45", "\"12:30:45\""),
            ("2026-01-01", "\"2026-01-01\""),
            ("1e3", "\"1e3\""),
            (".inf", "\".inf\""),
            ("-", "\"-\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("<<", "\"<<\""),
            ("=", "\"=\""),
            ("*a", "\"*a\""),
            ("gr\u{fc}n", "\"gr\u{fc}n\""),
            ("a\\nb", "|-\n  a\n  b"),
            ("a\\n", "|\n  a"),
            ("a\\n\\n b\\n\\n", "|+\n  a\n\n   b\n"),
            (" a\\nb", "\" a\\nb\""),
            ("\\na", "\"\\na\""),
            ("a\\r\\nb", "\"a\\u000d\\nb\""),
            ("\\u001b[2J", "\"\\u001b[2J\""),
            ("a\\u202eb\\nc", "\"a\\u202eb\\nc\""),
            ("\\ud83d\\ude00", "\"\u{1f600}\""),
            ("\\ud83d", "\"\u{fffd}\""),
            ("\\\"\\\\\\t", "\"\\\"\\\\\\t\""),
        ] {
            assert_eq!(yaml(&format!("\"{text}\"")), format!("{want}\n"), "{text}");
        }
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        assert_eq!(
            yaml(&format!("[{{\"{long}\":{{\"a\":1}},\"b\":2}}]")),
            format!("- ? {long}\n  :\n    a: 1\n  b: 2\n")
        );
        assert_eq!(
            yaml(r#"{"y":1,"a b":{"1":"x\ny"}}"#),
            "\"y\": 1\n\"a b\":\n  \"1\": |-\n    x\n    y\n"
        );
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for json in ["", "{", "{\"a\"}", "[1,]", "\"\u{1}\"", "1 2"] {
            assert!(
                write_yaml(json.as_bytes(), &mut String::new()).is_err(),
                "{json}"
            );
        }
        let deep = "[".repeat(100_000);
        assert_eq!(
            write_yaml(deep.as_bytes(), &mut String::new()),
            Err(Malformed::Depth)
        );
    }
}
