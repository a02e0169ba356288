//! Bytes as text and back. Pure.

/// Two digits a byte.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n & 15)]);
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(*b)])
        .collect()
}

/// `None`: not written so.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[high, low]| Some((digit(*high)? * 16 + digit(*low)?) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (bytes, text) in [(&b""[..], ""), (b"\x00\xff\x1a", "00ff1a")] {
            assert_eq!(to_hex(bytes), text);
            assert_eq!(from_hex(text).as_deref(), Some(bytes));
        }
        for wrong in ["0", "0g", "\u{e9}", " 00", "+1"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
