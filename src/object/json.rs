//! A cursor over one JSON document in memory, and the text that JSON strings hold.
//!
//! Checks the whole grammar of what it passes, and copies nothing but strings with escapes. Never reads a number into
//! a float, never builds a tree.

use std::borrow::Cow;

use super::Malformed;
use crate::limits::JSON_DEPTH_MAX;

/// A place in a document. `open_object`, then `next_key` until None, taking exactly one value after each key.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    /// The last token opened an object or array, so that no comma is due.
    fresh: bool,
    /// Where the last key began.
    key_at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            depth: 0,
            fresh: false,
            key_at: 0,
        }
    }

    /// Passes white space and says where the next token begins.
    pub(crate) fn token_at(&mut self) -> usize {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.at
    }

    /// The first byte of the next token, not taken.
    pub(crate) fn peek(&mut self) -> Result<u8, Malformed> {
        let at = self.token_at();
        self.bytes.get(at).copied().ok_or(Malformed::Truncated)
    }

    /// The bytes from `start` to the end of the last token.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    pub(crate) fn open_object(&mut self) -> Result<(), Malformed> {
        match self.peek()? {
            b'{' => self.open(),
            _ => Err(Malformed::Shape),
        }
    }

    /// The next key of the object that was opened last; None closes the object.
    pub(crate) fn next_key(&mut self) -> Result<Option<Text<'a>>, Malformed> {
        if !self.next_member(b'}')? {
            return Ok(None);
        }
        self.key_at = self.token_at();
        let key = self.string()?;
        self.take(b':')?;
        Ok(Some(key))
    }

    /// Where the key that was returned last begins, its quote included.
    pub(crate) fn key_at(&self) -> usize {
        self.key_at
    }

    pub(crate) fn open_array(&mut self) -> Result<(), Malformed> {
        match self.peek()? {
            b'[' => self.open(),
            _ => Err(Malformed::Shape),
        }
    }

    /// Whether the array that was opened last has a further item, which is to be taken; false closes the array.
    pub(crate) fn next_item(&mut self) -> Result<bool, Malformed> {
        self.next_member(b']')
    }

    /// A string, or None for `null`, which Go takes for "as it was".
    pub(crate) fn text(&mut self) -> Result<Option<Text<'a>>, Malformed> {
        match self.peek()? {
            b'"' => self.string().map(Some),
            b'n' => self.literal(b"null").map(|()| None),
            _ => Err(Malformed::Shape),
        }
    }

    /// Passes one value of any type and returns its bytes.
    pub(crate) fn skip(&mut self) -> Result<&'a [u8], Malformed> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'{' => {
                self.open()?;
                while self.next_key()?.is_some() {
                    self.skip()?;
                }
            }
            b'[' => {
                self.open()?;
                while self.next_item()? {
                    self.skip()?;
                }
            }
            b'"' => {
                self.string()?;
            }
            b't' => self.literal(b"true")?,
            b'f' => self.literal(b"false")?,
            b'n' => self.literal(b"null")?,
            _ => self.number()?,
        }
        Ok(self.since(start))
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), Malformed> {
        match self.token_at() == self.bytes.len() {
            true => Ok(()),
            false => Err(Malformed::Syntax),
        }
    }

    fn open(&mut self) -> Result<(), Malformed> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(Malformed::Depth);
        }
        self.depth += 1;
        self.at += 1;
        self.fresh = true;
        Ok(())
    }

    /// Passes the comma before a further member, or the closing bracket (false).
    fn next_member(&mut self, close: u8) -> Result<bool, Malformed> {
        let first = self.peek()?;
        let fresh = std::mem::replace(&mut self.fresh, false);
        if first == close {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        if !fresh {
            self.take(b',')?;
        }
        Ok(true)
    }

    fn take(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek()? != byte {
            return Err(Malformed::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<Text<'a>, Malformed> {
        self.take(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            self.at += plain_len(rest);
            match self.bytes.get(self.at) {
                None => return Err(Malformed::Truncated),
                Some(b'"') => {
                    let raw = self.since(start);
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += escape_len(&self.bytes[self.at..])?;
                }
                Some(_) => return Err(Malformed::Syntax),
            }
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(if word.starts_with(rest) {
            Malformed::Truncated
        } else {
            Malformed::Syntax
        })
    }

    fn number(&mut self) -> Result<(), Malformed> {
        self.take_if(|b| b == b'-');
        if !self.take_if(|b| b == b'0') {
            self.digits()?;
        }
        if self.take_if(|b| b == b'.') {
            self.digits()?;
        }
        if self.take_if(|b| matches!(b, b'e' | b'E')) {
            self.take_if(|b| matches!(b, b'+' | b'-'));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while self.take_if(|b| b.is_ascii_digit()) {}
        match self.at {
            at if at > start => Ok(()),
            at if at == self.bytes.len() => Err(Malformed::Truncated),
            _ => Err(Malformed::Syntax),
        }
    }

    fn take_if(&mut self, fits: impl Fn(u8) -> bool) -> bool {
        let taken = self.bytes.get(self.at).is_some_and(|&b| fits(b));
        self.at += usize::from(taken);
        taken
    }
}

/// What stands between the quotes of a string whose escapes are known to be well formed.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> Text<'a> {
    /// As it stands in the document, escapes and all.
    pub(crate) fn raw(&self) -> &'a [u8] {
        self.raw
    }

    pub(crate) fn is(&self, word: &str) -> bool {
        match self.escaped {
            false => self.raw == word.as_bytes(),
            true => self.decode().is_ok_and(|text| text == word),
        }
    }

    /// The text itself. Half a surrogate pair becomes U+FFFD, as in Go; bytes that are not UTF-8 are an error.
    pub(crate) fn decode(&self) -> Result<Cow<'a, str>, Malformed> {
        match self.escaped {
            false => std::str::from_utf8(self.raw)
                .map(Cow::Borrowed)
                .map_err(|_| Malformed::Text),
            true => unescape(self.raw).map(Cow::Owned),
        }
    }
}

fn unescape(mut raw: &[u8]) -> Result<String, Malformed> {
    let mut out = Vec::with_capacity(raw.len());
    while !raw.is_empty() {
        let (plain, rest) = raw.split_at(raw.iter().position(|&b| b == b'\\').unwrap_or(raw.len()));
        out.extend_from_slice(plain);
        raw = rest;
        if !raw.is_empty() {
            let (c, len) = escape(raw)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            raw = raw.get(len..).unwrap_or_default();
        }
    }
    String::from_utf8(out).map_err(|_| Malformed::Text)
}

/// The character of the escape at the front, and its length (12 for a surrogate pair).
fn escape(raw: &[u8]) -> Result<(char, usize), Malformed> {
    let c = match raw.get(1).ok_or(Malformed::Truncated)? {
        b'u' => return unicode_escape(raw),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        &other @ (b'"' | b'\\' | b'/') => char::from(other),
        _ => return Err(Malformed::Syntax),
    };
    Ok((c, 2))
}

fn unicode_escape(raw: &[u8]) -> Result<(char, usize), Malformed> {
    let high = hex4(raw)?;
    if let Some(c) = char::from_u32(high) {
        return Ok((c, 6));
    }
    let low = raw
        .get(6..)
        .filter(|rest| rest.starts_with(b"\\u"))
        .and_then(|rest| hex4(rest).ok());
    match (high, low) {
        (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
            let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            Ok((
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                12,
            ))
        }
        _ => Ok((char::REPLACEMENT_CHARACTER, 6)),
    }
}

/// The four digits of `\uXXXX`.
fn hex4(raw: &[u8]) -> Result<u32, Malformed> {
    let digits = raw.get(2..6).ok_or(Malformed::Truncated)?;
    digits.iter().try_fold(0, |sum, &b| {
        let digit = char::from(b).to_digit(16).ok_or(Malformed::Syntax)?;
        Ok(sum << 4 | digit)
    })
}

fn escape_len(raw: &[u8]) -> Result<usize, Malformed> {
    match raw.get(1).ok_or(Malformed::Truncated)? {
        b'u' => hex4(raw).map(|_| 6),
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(2),
        _ => Err(Malformed::Syntax),
    }
}

/// How many leading bytes are neither quote, backslash nor control. Strings are most of an object, so this looks at a
/// word at a time: a byte equal to zero (after the XOR), or below 0x20, borrows from its top bit.
pub(crate) fn plain_len(bytes: &[u8]) -> usize {
    const WORD: usize = size_of::<usize>();
    const ONES: usize = usize::MAX / 255;
    let is_plain = |word: &[u8]| {
        let word = usize::from_ne_bytes(word.try_into().unwrap_or_default());
        let quote = word ^ (ONES * b'"' as usize);
        let slash = word ^ (ONES * b'\\' as usize);
        let hits = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        hits & (ONES * 0x80) == 0
    };
    let whole = bytes
        .chunks_exact(WORD)
        .take_while(|word| is_plain(word))
        .count()
        * WORD;
    let rest = bytes.get(whole..).unwrap_or_default();
    whole
        + rest
            .iter()
            .position(|&b| matches!(b, b'"' | b'\\' | 0..0x20))
            .unwrap_or(rest.len())
}

/// Appends a JSON string, escaped as Go's encoder does it (HTML characters too).
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{2028}' => out.extend_from_slice(b"\\u2028"),
            '\u{2029}' => out.extend_from_slice(b"\\u2029"),
            '\0'..' ' | '<' | '>' | '&' => {
                let code = c as usize;
                out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[code >> 4 & 15],
                    HEX[code & 15],
                ]);
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(text: &[u8]) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(text);
        cursor.skip()?;
        cursor.end()
    }

    #[test]
    fn grammar() {
        let good: &[&[u8]] = &[
            b"0",
            b"-0",
            b"10",
            b"-1.5e+3",
            b"1E9",
            b"true",
            b" false ",
            b"null",
            b"\"\"",
            b"{}",
            b"[]",
            b"[1,2]",
            b"\r\n{ \"a\" : [ 1 , {\"b\":null} ] }\t",
            br#""\u00e9\"\\\/\b\f\n\r\t""#,
            b"\"\xff\"",
            br#"{"a":1,"a":2}"#,
        ];
        for text in good {
            assert_eq!(skip(text), Ok(()), "{}", text.escape_ascii());
        }
        let syntax: &[&[u8]] = &[
            b"01",
            b"+1",
            b".5",
            b"1.x",
            b"truth",
            b"{,}",
            b"[,]",
            b"[1,]",
            b"{\"a\":1,}",
            b"{\"a\" 1}",
            b"{a:1}",
            b"[1 2]",
            b"{1:2}",
            b"[1}",
            b"{\"a\":1]",
            b"\"\x01\"",
            b"\"a\nb\"",
            br#""\x""#,
            br#""\u00g0""#,
            b"{} {}",
            b"\xef\xbb\xbf{}",
        ];
        for text in syntax {
            assert_eq!(
                skip(text),
                Err(Malformed::Syntax),
                "{}",
                text.escape_ascii()
            );
        }
        let truncated: &[&[u8]] = &[
            b"",
            b" ",
            b"{",
            b"[",
            b"\"",
            b"-",
            b"1.",
            b"1e",
            b"tru",
            b"\"\\",
            br#""\u12"#,
            b"[1,",
            b"{\"a\":",
        ];
        for text in truncated {
            assert_eq!(
                skip(text),
                Err(Malformed::Truncated),
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn depth_bound() {
        for (levels, want) in [
            (127, Ok(())),
            (128, Ok(())),
            (129, Err(Malformed::Depth)),
            (100_000, Err(Malformed::Depth)),
        ] {
            assert_eq!(
                skip(&[vec![b'['; levels], vec![b']'; levels]].concat()),
                want,
                "{levels}"
            );
        }
    }

    #[test]
    fn strings() {
        let cases = [
            (r#""abc""#, "abc"),
            (r#""\u0061\u00E9""#, "aé"),
            (r#""\ud83d\ude00!""#, "😀!"),
            (r#""\ud83dx""#, "\u{fffd}x"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ude00\n""#, "\u{fffd}\n"),
            (r#""a\/b\"""#, "a/b\""),
        ];
        for (text, want) in cases {
            let text = Cursor::new(text.as_bytes()).text().unwrap().unwrap();
            assert_eq!(text.decode().unwrap(), want);
            assert!(text.is(want));
        }
        assert_eq!(
            Cursor::new(b"\"\xff\"").text().unwrap().unwrap().decode(),
            Err(Malformed::Text)
        );
        assert_eq!(
            Cursor::new(b"\"\xff\\n\"")
                .text()
                .unwrap()
                .unwrap()
                .decode(),
            Err(Malformed::Text)
        );
    }

    #[test]
    fn plain_len_agrees_with_bytes() {
        for special in 0..=255u8 {
            for at in 0..20 {
                let mut text = vec![0x80 | special; 20];
                text[at] = special;
                let slow = text
                    .iter()
                    .position(|&b| b < 0x20 || b == b'"' || b == b'\\')
                    .unwrap_or(20);
                assert_eq!(plain_len(&text), slow);
            }
        }
    }

    #[test]
    fn put_string_is_read_back() {
        let text: String = (0..0x3000)
            .filter_map(char::from_u32)
            .chain(['😀'])
            .collect();
        let mut out = Vec::new();
        put_string(&mut out, &text);
        assert_eq!(
            Cursor::new(&out).text().unwrap().unwrap().decode().unwrap(),
            text
        );
        out.clear();
        put_string(&mut out, "a<b>&\"\\\u{1}\u{2028}");
        assert_eq!(out, br#""a\u003cb\u003e\u0026\"\\\u0001\u2028""#);
    }
}
