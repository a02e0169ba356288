//! Puts another version into one object. All other bytes stay as they came.

use super::proto::{Fields, put_bytes};
use super::{Encoding, Malformed, read_meta};
use std::borrow::Cow;

/// Appends the bare object with this `metadata.resourceVersion` in the place of its own, which it must have.
pub fn put_with_version(
    enc: Encoding,
    object: &[u8],
    version: &str,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    match enc {
        Encoding::Json => {
            let (_, meta) = read_meta(enc, object)?;
            // A version with an escape in it is none that any API server writes.
            let Cow::Borrowed(old) = meta.resource_version else {
                return Err(Malformed::Shape);
            };
            let at = (old.as_ptr() as usize).wrapping_sub(object.as_ptr() as usize);
            let (before, rest) = object.split_at_checked(at).ok_or(Malformed::Shape)?;
            let behind = rest.get(old.len()..).ok_or(Malformed::Shape)?;
            let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
            if old.is_empty() || !version.bytes().all(plain) {
                return Err(Malformed::Shape);
            }
            out.extend_from_slice(before);
            out.extend_from_slice(version.as_bytes());
            out.extend_from_slice(behind);
            Ok(())
        }
        Encoding::Protobuf => put_message(object, out, &mut |field, bytes, out| match field {
            1 => {
                let mut meta = Vec::with_capacity(bytes.len() + version.len());
                put_message(bytes, &mut meta, &mut |field, _, out| match field {
                    6 => {
                        put_bytes(out, 6, version.as_bytes());
                        Ok(true)
                    }
                    _ => Ok(false),
                })?;
                put_bytes(out, 1, &meta);
                Ok(true)
            }
            _ => Ok(false),
        }),
    }
}

/// Writes one length-delimited field anew, if it is one to be changed.
type Anew<'f> = &'f mut dyn FnMut(u32, &[u8], &mut Vec<u8>) -> Result<bool, Malformed>;

/// Copies a message field by field, but for those that are written anew.
fn put_message(message: &[u8], out: &mut Vec<u8>, anew: Anew<'_>) -> Result<(), Malformed> {
    let mut rest = Fields(message);
    loop {
        let before = rest.0;
        let Some((field, value)) = rest.next()? else {
            return Ok(());
        };
        let is_anew = match value.bytes() {
            Ok(bytes) => anew(field, bytes, out)?,
            Err(_) => false,
        };
        if !is_anew {
            let len = before.len() - rest.0.len();
            out.extend_from_slice(before.get(..len).unwrap_or_default());
        }
    }
}
