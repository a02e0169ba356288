//! Protobuf fields and the Kubernetes envelope (`k8s\0` and `runtime.Unknown`).
//!
//! Reads a message field by field and copies nothing. Never knows a schema beyond the field numbers it is asked for.

use std::borrow::Cow;

use super::{Malformed, TypeMetaRef};

/// What stands before every object and list, but not before a watch frame.
pub(crate) const MAGIC: &[u8; 4] = b"k8s\0";

/// `contentEncoding` and `contentType`, both empty: the API server ends every envelope with them.
pub(crate) const ENVELOPE_END: &[u8; 4] = &[0x1a, 0, 0x22, 0];

/// One field's value.
pub(crate) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// 4 or 8 bytes, which are only ever shown.
    Fixed(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Varint(_) | Value::Fixed(_) => Err(Malformed::Shape),
        }
    }

    pub(crate) fn text(&self) -> Result<Cow<'a, str>, Malformed> {
        std::str::from_utf8(self.bytes()?)
            .map(Cow::Borrowed)
            .map_err(|_| Malformed::Text)
    }
}

/// The fields of a message that are still to be read.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next field's number and value; None at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed::Syntax)?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed(self.take(8)?),
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(usize::try_from(len).map_err(|_| Malformed::Truncated)?)?)
            }
            5 => Value::Fixed(self.take(4)?),
            // Groups: no Kubernetes message has ever had one.
            _ => return Err(Malformed::Syntax),
        };
        match tag >> 3 {
            0 => Err(Malformed::Syntax),
            field => Ok(Some((field, value))),
        }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut varint = Varint::default();
        loop {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed::Truncated)?;
            self.0 = rest;
            if let Some(value) = varint.push(byte)? {
                return Ok(value);
            }
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// A varint of which some bytes may be still to come.
#[derive(Default)]
pub(crate) struct Varint {
    value: u64,
    bits: u32,
}

impl Varint {
    /// The value when `byte` is its last.
    pub(crate) fn push(&mut self, byte: u8) -> Result<Option<u64>, Malformed> {
        if self.bits == 63 && byte > 1 {
            return Err(Malformed::Syntax);
        }
        self.value |= u64::from(byte & 0x7f) << self.bits;
        self.bits += 7;
        match byte & 0x80 {
            0 => Ok(Some(std::mem::take(self).value)),
            _ => Ok(None),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bits == 0
    }
}

/// The type and the message of an enveloped object.
///
/// The API server's encoder always writes `contentType`, and writes it after the message: without it the envelope is
/// taken for cut short, since protobuf itself cannot tell.
pub(crate) fn open_envelope(bytes: &[u8]) -> Result<(TypeMetaRef<'_>, &[u8]), Malformed> {
    let inner = match bytes.split_at_checked(MAGIC.len()) {
        Some((magic, inner)) if magic == MAGIC => inner,
        Some(_) => return Err(Malformed::Envelope),
        None => return Err(Malformed::Truncated),
    };
    let (mut type_meta, mut raw, mut ended) = (None, None, false);
    let mut fields = Fields(inner);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => type_meta = read_type(value.bytes()?)?,
            2 => (raw, ended) = (Some(value.bytes()?), false),
            3 | 4 if !value.bytes()?.is_empty() => return Err(Malformed::Envelope),
            3 => {}
            4 => ended = raw.is_some(),
            _ => return Err(Malformed::Envelope),
        }
    }
    let raw = raw.filter(|_| ended).ok_or(Malformed::Truncated)?;
    Ok((type_meta.ok_or(Malformed::Untyped)?, raw))
}

/// A `runtime.TypeMeta`, whose numbering is not that of `metav1.TypeMeta`.
pub(crate) fn read_type(bytes: &[u8]) -> Result<Option<TypeMetaRef<'_>>, Malformed> {
    let (mut api_version, mut kind) = (Cow::default(), Cow::default());
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => api_version = value.text()?,
            2 => kind = value.text()?,
            _ => {}
        }
    }
    TypeMetaRef::read(api_version, kind)
}

/// Bytes that `value` takes as a varint.
pub(crate) fn varint_len(value: u64) -> u64 {
    u64::from((64 - (value | 1).leading_zeros()).div_ceil(7))
}

/// Bytes that a field (1 to 15) takes whose value has `len` bytes.
pub(crate) fn field_len(len: u64) -> u64 {
    1 + varint_len(len) + len
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The tag and length of a length-delimited field.
pub(crate) fn put_head(out: &mut Vec<u8>, field: u8, len: u64) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, len);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_head(out, field, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_read_back() {
        for value in (0..64)
            .flat_map(|bit| [(1u64 << bit) - 1, 1 << bit])
            .chain([u64::MAX])
        {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len() as u64, varint_len(value));
            assert_eq!(Fields(&out).varint(), Ok(value));
            for cut in 0..out.len() {
                assert_eq!(Fields(&out[..cut]).varint(), Err(Malformed::Truncated));
            }
        }
        assert_eq!(Fields(&[0xff; 10]).varint(), Err(Malformed::Syntax));
        assert_eq!(Fields(&[0x80; 20]).varint(), Err(Malformed::Syntax));
    }

    #[test]
    fn fields() {
        let count = |bytes| {
            let (mut fields, mut count) = (Fields(bytes), 0);
            while fields.next()?.is_some() {
                count += 1;
            }
            Ok::<_, Malformed>(count)
        };
        assert_eq!(
            count(&[
                0x08, 1, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1a, 1, 9, 0x25, 1, 2, 3, 4
            ]),
            Ok(4)
        );
        assert_eq!(count(&[0x0b]), Err(Malformed::Syntax));
        assert_eq!(count(&[0x02, 0]), Err(Malformed::Syntax));
        assert_eq!(
            count(&[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1
            ]),
            Err(Malformed::Truncated)
        );
    }

    #[test]
    fn envelopes() {
        let good = b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x02\x0a\x00\x1a\x00\x22\x00";
        let (type_meta, raw) = open_envelope(good).unwrap();
        assert_eq!(
            type_meta.into_owned(),
            crate::object::TypeMeta::new("v1", "Pod")
        );
        assert_eq!(raw, b"\x0a\x00");
        for cut in 0..good.len() {
            assert!(open_envelope(&good[..cut]).is_err(), "{cut}");
        }
        let cases: [(&[u8], Malformed); 5] = [
            (b"k8s\x01\x12\x00\x1a\x00\x22\x00", Malformed::Envelope),
            (
                b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x00\x1a\x01z\x22\x00",
                Malformed::Envelope,
            ),
            (
                b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x00\x1a\x00\x22\x01z",
                Malformed::Envelope,
            ),
            (
                b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x00\x1a\x00\x22\x00\x2a\x00",
                Malformed::Envelope,
            ),
            (
                b"k8s\0\x0a\x04\x0a\x02v1\x12\x00\x1a\x00\x22\x00",
                Malformed::Untyped,
            ),
        ];
        for (bytes, want) in cases {
            assert_eq!(open_envelope(bytes).err(), Some(want));
        }
    }
}
