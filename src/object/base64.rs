//! Base64 (RFC 4648 section 4), as JSON holds the bytes of a Secret and PEM those of a certificate.

use super::Malformed;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the letters of these bytes, filled up with `=`.
pub fn put(bytes: &[u8], out: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        out.extend((0..4).map(|at| match at <= group.len() {
            true => ALPHABET[(bits >> (18 - 6 * at) & 63) as usize],
            false => b'=',
        }));
    }
}

/// The bytes of these letters. Line ends pass, as in Go; an end that is not filled up, or not by zero bits, is none.
pub fn read(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut letters, mut filled) = (0u32, 0u32, 0u32);
    for &letter in text.iter().filter(|b| !matches!(b, b'\n' | b'\r')) {
        match letter {
            b'=' => filled += 1,
            _ if filled > 0 => return Err(Malformed::Syntax),
            _ => {
                bits = bits << 6 | value(letter)?;
                letters += 1;
            }
        }
        if letters == 4 {
            out.extend_from_slice(&bits.to_be_bytes()[1..]);
            (bits, letters) = (0, 0);
        }
    }
    match (letters, filled) {
        (0, 0) => {}
        (2, 2) if bits & 0xf == 0 => out.push((bits >> 4) as u8),
        (3, 1) if bits & 3 == 0 => out.extend_from_slice(&((bits >> 2) as u16).to_be_bytes()),
        _ => return Err(Malformed::Syntax),
    }
    Ok(out)
}

fn value(letter: u8) -> Result<u32, Malformed> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return Err(Malformed::Syntax),
    };
    Ok(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let bytes: Vec<u8> = (0..=255).cycle().take(600).collect();
        for len in 0..bytes.len() {
            let mut text = Vec::new();
            put(&bytes[..len], &mut text);
            assert_eq!(read(&text).unwrap(), &bytes[..len]);
        }
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            let mut out = Vec::new();
            put(bytes.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
        }
        assert_eq!(read(b"Zm\n9v\r\n").unwrap(), b"foo");
    }

    #[test]
    fn what_is_not_base64() {
        for text in [
            "Z", "Zg", "Zg=", "Zg===", "Z===", "=", "Zh==", "Zm9=", "Zg==Zg==", "Zm9-", "Zm 9v",
        ] {
            assert_eq!(read(text.as_bytes()), Err(Malformed::Syntax), "{text}");
        }
    }
}
