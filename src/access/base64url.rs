//! Base64url without padding (RFC 7515 section 2), as the parts of a JWT are written. Pure.

/// The bytes. `None` for a letter that is none, for padding, and for letters that end within a byte: what can be written
/// in two ways is taken in one.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0u32, 0u32);
    for letter in text {
        bits = bits << 6 | value(*letter)?;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    // One letter over holds no byte; the bits behind the last byte are zero.
    (held < 6 && bits & ((1 << held) - 1) == 0).then_some(out)
}

fn value(letter: u8) -> Option<u32> {
    Some(u32::from(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_standard_writes() {
        // RFC 7515 appendix C, and RFC 4648 section 10 without its padding.
        for (text, bytes) in [
            ("A-z_4ME", &[3, 236, 255, 224, 193][..]),
            ("", b""),
            ("Zg", b"f"),
            ("Zm8", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg", b"foob"),
        ] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn anything_else_is_nothing() {
        for text in [
            "Zg==", "Z", "Zm9vY", "Zh", "Zm9", "Zm+v", "Zm/v", "Zm v", "Zm\nv", "\u{e9}",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
