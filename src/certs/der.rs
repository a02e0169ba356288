//! DER (X.690) taken apart one value at a time. Pure; nothing is copied, and no length is believed before it is proved.
//!
//! Our own because x509-parser, with what it brings, adds 130 KB to the stripped binary (x86_64), and the hub reads
//! five fields of a certificate. Signatures and chains are rustls' affair, not this reader's.

use std::fmt;

/// The bytes are no DER, or not of the shape that is expected here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DerError;

impl fmt::Display for DerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not well-formed DER")
    }
}

impl std::error::Error for DerError {}

/// Values one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// One value.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    /// Class, form and number in one byte, as X.690 section 8.1.2 has them.
    pub tag: u8,
    /// What is inside.
    pub content: &'a [u8],
    /// All of it, with tag and length.
    pub whole: &'a [u8],
}

pub const BOOLEAN: u8 = 0x01;
pub const INTEGER: u8 = 0x02;
pub const OCTET_STRING: u8 = 0x04;
pub const OBJECT_IDENTIFIER: u8 = 0x06;
pub const UTF8_STRING: u8 = 0x0c;
pub const NUMERIC_STRING: u8 = 0x12;
pub const PRINTABLE_STRING: u8 = 0x13;
pub const TELETEX_STRING: u8 = 0x14;
pub const IA5_STRING: u8 = 0x16;
pub const UTC_TIME: u8 = 0x17;
pub const GENERALIZED_TIME: u8 = 0x18;
pub const BMP_STRING: u8 = 0x1e;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;

/// The tag `[number]` of a value that is itself one or more values.
pub const fn context_constructed(number: u8) -> u8 {
    0xa0 | number
}

/// The tag `[number]` of a value that is bytes.
pub const fn context_primitive(number: u8) -> u8 {
    0x80 | number
}

impl<'a> Reader<'a> {
    /// Reads the values that `bytes` are.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Whether all has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next value, whatever it is.
    pub fn any(&mut self) -> Result<Value<'a>, DerError> {
        let (&tag, after_tag) = self.rest.split_first().ok_or(DerError)?;
        // Tag numbers of 31 and more take several bytes; certificates have none.
        if tag & 0x1f == 0x1f {
            return Err(DerError);
        }
        let (content_bytes, after_length) = length(after_tag)?;
        let content = after_length.get(..content_bytes).ok_or(DerError)?;
        let rest = &after_length[content_bytes..];
        let whole = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Ok(Value {
            tag,
            content,
            whole,
        })
    }

    /// The next value, which must be of this tag.
    pub fn expect(&mut self, tag: u8) -> Result<Value<'a>, DerError> {
        self.optional(tag)?.ok_or(DerError)
    }

    /// The next value if it is of this tag; else it stays.
    pub fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, DerError> {
        match self.rest.first() {
            Some(&next) if next == tag => self.any().map(Some),
            _ => Ok(None),
        }
    }

    /// What is inside the next value, which must be of this tag.
    pub fn enter(&mut self, tag: u8) -> Result<Reader<'a>, DerError> {
        Ok(Reader::new(self.expect(tag)?.content))
    }

    /// Nothing may follow.
    pub fn end(self) -> Result<(), DerError> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(DerError),
        }
    }
}

/// X.690 section 10.1: in as few bytes as can be.
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), DerError> {
    let (&first, rest) = bytes.split_first().ok_or(DerError)?;
    let (value, rest, shortest) = match first {
        0..=0x7f => (usize::from(first), rest, 0),
        0x81 => {
            let (&low, rest) = rest.split_first().ok_or(DerError)?;
            (usize::from(low), rest, 0x80)
        }
        0x82 => {
            let (&[high, low], rest) = rest.split_first_chunk().ok_or(DerError)?;
            (usize::from(u16::from_be_bytes([high, low])), rest, 0x100)
        }
        // 64 KiB and more: nothing that the hub reads is so long; 0x80 is not DER.
        _ => return Err(DerError),
    };
    match value >= shortest {
        true => Ok((value, rest)),
        false => Err(DerError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let long = [&[0x04, 0x82, 1, 0][..], &[7; 256]].concat();
        let middle = [&[0x04, 0x81, 0x80][..], &[7; 128]].concat();
        for (bytes, content_bytes) in [
            (&[4, 0][..], 0),
            (&[4, 1, 9], 1),
            (&middle, 128),
            (&long, 256),
        ] {
            let mut reader = Reader::new(bytes);
            let value = reader.expect(OCTET_STRING).unwrap();
            assert_eq!((value.content.len(), value.whole), (content_bytes, bytes));
            reader.end().unwrap();
        }
        for bad in [
            &[][..],
            &[4],
            &[4, 1],
            &[4, 0x80, 0, 0],
            &[4, 0x81, 1, 9],
            &[4, 0x82, 0, 1, 9],
            &[4, 0x83, 1, 0, 0],
            &[0x1f, 0x81, 0, 0],
        ] {
            assert_eq!(Reader::new(bad).any().err(), Some(DerError), "{bad:x?}");
        }
    }

    #[test]
    fn what_is_not_wanted_stays() {
        let mut reader = Reader::new(&[2, 1, 5, 4, 0]);
        assert!(reader.optional(OCTET_STRING).unwrap().is_none());
        assert_eq!(reader.expect(OCTET_STRING).err(), Some(DerError));
        assert_eq!(reader.expect(INTEGER).unwrap().content, [5]);
        assert_eq!(reader.end(), Err(DerError));
    }
}
