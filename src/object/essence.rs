//! A digest of what matters in an object.

use super::Encoding;

/// The digest of the whole object.
pub fn essence(_encoding: Encoding, _group: &str, _resource: &str, bare: &[u8]) -> u32 {
    // FNV-1a.
    bare.iter().fold(0x811c_9dc5, |digest: u32, byte| {
        (digest ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}
