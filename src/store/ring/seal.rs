//! Keys, and what they prove: every frame is sealed by an AEAD, every digest keyed.
//!
//! One key for each opening block, derived from its random salt; the nonce is the frame's block. Within a process offsets
//! only grow, and each process begins with an opening block of its own: so no pair of key and nonce comes twice, though
//! after a cut the same place may be written again (flash.md 3.10).

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// Bytes that the AEAD adds.
pub const TAG_BYTES: usize = 16;

/// What a ring is told apart by.
pub type Uuid = [u8; 16];

/// Everything that is derived from the key file for one ring.
#[derive(Clone)]
pub struct Keys {
    prk: Prk,
    opening: (u64, u64),
    digest: (u64, u64),
    check: [u8; 16],
}

/// The keys of the frames behind one opening block.
pub struct FrameKeys {
    aead: LessSafeKey,
    header: (u64, u64),
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Why nothing could be derived or opened: told without detail, for there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealed;

impl Keys {
    /// `secret`: the bytes of the key file.
    pub fn new(secret: &[u8], uuid: &Uuid) -> Result<Keys, Unsealed> {
        let prk = Salt::new(HKDF_SHA256, uuid).extract(secret);
        let mut derived = [0; 48];
        expand(&prk, &[b"edge-hub ring"], &mut derived)?;
        let mut check = [0; 16];
        check.copy_from_slice(&derived[32..]);
        Ok(Keys {
            opening: pair(&derived[..16]),
            digest: pair(&derived[16..32]),
            check,
            prk,
        })
    }

    /// Says whether a ring was made with the same key; tells nothing about it.
    pub fn check(&self) -> [u8; 16] {
        self.check
    }

    /// Keys for what stands behind the opening block with this sequence number and salt.
    pub fn frames(&self, sequence: u64, salt: &[u8; 16]) -> Result<FrameKeys, Unsealed> {
        let mut derived = [0; 48];
        let info: [&[u8]; 3] = [b"edge-hub frames", &sequence.to_le_bytes(), salt];
        expand(&self.prk, &info, &mut derived)?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &derived[..32]).map_err(|_| Unsealed)?;
        Ok(FrameKeys {
            aead: LessSafeKey::new(key),
            header: pair(&derived[32..]),
        })
    }

    /// Proves an opening block.
    pub fn opening_tag(&self, bytes: &[u8]) -> u64 {
        sip(self.opening, &[bytes])
    }

    /// Names a key of a collection, tells values apart, and sums up to a collection's digest. Nobody who cannot read the
    /// key file can make two that agree.
    pub fn digest(&self, parts: &[&[u8]]) -> u64 {
        sip(self.digest, parts)
    }
}

impl FrameKeys {
    /// Proves a frame's header, so that no more than one frame's bytes are read for a header.
    pub fn header_tag(&self, bytes: &[u8]) -> u64 {
        sip(self.header, &[bytes])
    }

    /// Seals in place and appends the tag. `block` must not come twice under one key.
    pub fn seal(&self, block: u32, header: &[u8], bytes: &mut Vec<u8>) -> Result<(), Unsealed> {
        (self.aead)
            .seal_in_place_append_tag(nonce(block), Aad::from(header), bytes)
            .map_err(|_| Unsealed)
    }

    /// Opens in place what [`FrameKeys::seal`] made. Gives the bytes without the tag.
    pub fn open<'b>(
        &self,
        block: u32,
        header: &[u8],
        bytes: &'b mut [u8],
    ) -> Result<&'b [u8], Unsealed> {
        (self.aead)
            .open_in_place(nonce(block), Aad::from(header), bytes)
            .map(|bytes| &*bytes)
            .map_err(|_| Unsealed)
    }
}

fn nonce(block: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&block.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn expand(prk: &Prk, info: &[&[u8]], out: &mut [u8; 48]) -> Result<(), Unsealed> {
    prk.expand(info, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .map_err(|_| Unsealed)
}

fn pair(bytes: &[u8]) -> (u64, u64) {
    let half = |at: usize| {
        let mut half = [0; 8];
        half.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(half)
    };
    (half(0), half(8))
}

fn sip(key: (u64, u64), parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(key.0, key.1);
    for part in parts {
        // Each part with its length: two ways to cut the same bytes are two digests.
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_salt_and_block_open_a_frame() {
        let keys = Keys::new(b"0123456789abcdef", &[1; 16]).unwrap();
        let frames = keys.frames(7, &[2; 16]).unwrap();
        let mut sealed = b"some bytes".to_vec();
        frames.seal(3, b"header", &mut sealed).unwrap();
        assert_eq!(sealed.len(), 10 + TAG_BYTES);
        let mut copy = sealed.clone();
        assert_eq!(frames.open(3, b"header", &mut copy), Ok(&b"some bytes"[..]));
        let other_key = Keys::new(b"0123456789abcdeF", &[1; 16]).unwrap();
        let other_ring = Keys::new(b"0123456789abcdef", &[3; 16]).unwrap();
        for (frames, block, header) in [
            (keys.frames(7, &[2; 16]).unwrap(), 4, &b"header"[..]),
            (keys.frames(7, &[2; 16]).unwrap(), 3, b"heading"),
            (keys.frames(8, &[2; 16]).unwrap(), 3, b"header"),
            (keys.frames(7, &[3; 16]).unwrap(), 3, b"header"),
            (other_key.frames(7, &[2; 16]).unwrap(), 3, b"header"),
            (other_ring.frames(7, &[2; 16]).unwrap(), 3, b"header"),
        ] {
            assert_eq!(
                frames.open(block, header, &mut sealed.clone()),
                Err(Unsealed)
            );
        }
        assert_ne!(keys.check(), other_key.check());
    }

    #[test]
    fn a_digest_knows_where_its_parts_end() {
        let keys = Keys::new(b"0123456789abcdef", &[1; 16]).unwrap();
        assert_ne!(keys.digest(&[b"ab", b"c"]), keys.digest(&[b"a", b"bc"]));
    }
}
