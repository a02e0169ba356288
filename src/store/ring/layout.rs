//! Bytes of the files: the super block, opening blocks, frame headers. Little endian.

use super::seal::{FrameKeys, Keys, TAG_BYTES, Uuid};

/// Frames begin at a multiple of this: a later write never touches a block that holds committed bytes (flash.md 3.2).
pub const BLOCK: usize = 4096;
/// Of a frame, before its sealed bytes.
pub const HEADER_BYTES: usize = 36;
/// Two copies of a block, so that a torn one leaves the other.
pub const SUPER_BYTES: u64 = 2 * BLOCK as u64;
/// Version of everything that is written here.
pub const FORMAT: u16 = 2;

const SUPER_MAGIC: &[u8; 8] = b"EDGERING";
const OPENING_MAGIC: &[u8; 4] = b"EHO1";
const FRAME_MAGIC: &[u8; 4] = b"EHF1";
const FLAG_LZ4: u8 = 1;

/// What a ring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Super {
    pub format: u16,
    pub uuid: Uuid,
    /// Of the node's name, under no key: it only tells rings apart.
    pub node: u64,
    /// Of the key that everything is sealed with.
    pub check: [u8; 16],
}

impl Super {
    pub fn write(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK);
        block.extend_from_slice(SUPER_MAGIC);
        block.extend_from_slice(&self.format.to_le_bytes());
        block.extend_from_slice(&self.uuid);
        block.extend_from_slice(&self.node.to_le_bytes());
        block.extend_from_slice(&self.check);
        let sum = plain_digest(&block);
        block.extend_from_slice(&sum.to_le_bytes());
        block.resize(BLOCK, 0);
        block
    }

    /// `None`: no super block, or one that was torn.
    pub fn read(block: &[u8]) -> Option<Super> {
        let mut fields = Fields(block.strip_prefix(SUPER_MAGIC)?);
        let read = Super {
            format: u16::from_le_bytes(fields.array()?),
            uuid: fields.array()?,
            node: u64::from_le_bytes(fields.array()?),
            check: fields.array()?,
        };
        let signed = block.len() - fields.0.len();
        let sum = u64::from_le_bytes(fields.array()?);
        // Another format may sum up differently; that it is another one must be seen all the same.
        (read.format != FORMAT || sum == plain_digest(&block[..signed])).then_some(read)
    }
}

/// A digest under no key, against torn writes and for names.
pub fn plain_digest(bytes: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher24::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The block that frames stand behind: at the start of each segment, and where a new process goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Of the segment: grows with each time that one is begun.
    pub sequence: u64,
    pub salt: [u8; 16],
    /// The salt of the segment's first opening: what is left of an earlier use of the segment, perhaps under the same
    /// number, does not go on from there.
    pub first: [u8; 16],
}

impl Opening {
    pub fn write(&self, keys: &Keys, block: u16, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(OPENING_MAGIC);
        out.extend_from_slice(&u32::from(block).to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.first);
        let tag = keys.opening_tag(&out[start..]);
        out.extend_from_slice(&tag.to_le_bytes());
        out.resize(start + BLOCK, 0);
    }

    pub fn read(keys: &Keys, at: u16, block: &[u8]) -> Option<Opening> {
        let mut fields = Fields(block.strip_prefix(OPENING_MAGIC)?);
        let block_at = u32::from_le_bytes(fields.array()?);
        let opening = Opening {
            sequence: u64::from_le_bytes(fields.array()?),
            salt: fields.array()?,
            first: fields.array()?,
        };
        let signed = block.len() - fields.0.len();
        let tag = u64::from_le_bytes(fields.array()?);
        (block_at == u32::from(at) && tag == keys.opening_tag(&block[..signed])).then_some(opening)
    }
}

/// The head of a frame: proved by its own tag, and by the AEAD as associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub lz4: bool,
    pub records: u16,
    pub block: u16,
    pub sequence: u64,
    /// Bytes behind the header.
    pub sealed: u32,
    /// Bytes of the records.
    pub raw: u32,
}

impl Header {
    pub fn write(&self, keys: &FrameKeys) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(FRAME_MAGIC);
        out[4] = if self.lz4 { FLAG_LZ4 } else { 0 };
        out[6..8].copy_from_slice(&self.records.to_le_bytes());
        out[8..12].copy_from_slice(&u32::from(self.block).to_le_bytes());
        out[12..16].copy_from_slice(&self.sealed.to_le_bytes());
        out[16..20].copy_from_slice(&self.raw.to_le_bytes());
        out[20..28].copy_from_slice(&self.sequence.to_le_bytes());
        let tag = keys.header_tag(&out[..28]);
        out[28..].copy_from_slice(&tag.to_le_bytes());
        out
    }

    /// The header at this block of this segment, if it is one that was written there.
    pub fn read(keys: &FrameKeys, at: u16, sequence: u64, bytes: &[u8]) -> Option<Header> {
        let mut fields = Fields(bytes.strip_prefix(FRAME_MAGIC)?);
        let [flags, _] = fields.array()?;
        let records = u16::from_le_bytes(fields.array()?);
        let block = u32::from_le_bytes(fields.array()?);
        let sealed = u32::from_le_bytes(fields.array()?);
        let raw = u32::from_le_bytes(fields.array()?);
        let own_sequence = u64::from_le_bytes(fields.array()?);
        let tag = u64::from_le_bytes(fields.array()?);
        let is_here = block == u32::from(at)
            && own_sequence == sequence
            && sealed as usize >= TAG_BYTES
            && tag == keys.header_tag(&bytes[..28]);
        is_here.then_some(Header {
            lz4: flags & FLAG_LZ4 != 0,
            records,
            block: at,
            sequence,
            sealed,
            raw,
        })
    }

    /// Blocks that the frame takes.
    pub fn blocks(&self) -> usize {
        blocks(self.sealed as usize)
    }
}

/// Blocks that a frame with so many sealed bytes takes.
pub fn blocks(sealed: usize) -> usize {
    (HEADER_BYTES + sealed).div_ceil(BLOCK)
}

/// Fields of fixed length, in order.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_only_where_it_was_written() {
        let keys = Keys::new(b"0123456789abcdef", &[1; 16]).unwrap();
        let opening = Opening {
            sequence: 9,
            salt: [5; 16],
            first: [6; 16],
        };
        let mut block = Vec::new();
        opening.write(&keys, 3, &mut block);
        assert_eq!(block.len(), BLOCK);
        assert_eq!(Opening::read(&keys, 3, &block), Some(opening));
        assert_eq!(Opening::read(&keys, 4, &block), None);
        let frames = keys.frames(9, &[5; 16]).unwrap();
        let header = Header {
            lz4: true,
            records: 4,
            block: 7,
            sequence: 9,
            sealed: 5000,
            raw: 70_000,
        };
        let bytes = header.write(&frames);
        assert_eq!(Header::read(&frames, 7, 9, &bytes), Some(header));
        assert_eq!(Header::read(&frames, 8, 9, &bytes), None);
        assert_eq!(Header::read(&frames, 7, 10, &bytes), None);
        for bit in 0..8 * HEADER_BYTES {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&frames, 7, 9, &flipped), None, "{bit}");
        }
        assert_eq!(header.blocks(), 2);
    }

    #[test]
    fn a_super_block_is_read_whole_or_not_at_all() {
        let written = Super {
            format: FORMAT,
            uuid: [1; 16],
            node: 77,
            check: [2; 16],
        };
        let block = written.write();
        assert_eq!(Super::read(&block), Some(written));
        for at in 10..58 {
            let mut torn = block.clone();
            torn[at] ^= 1;
            assert_eq!(Super::read(&torn), None, "{at}");
        }
        let next = Super {
            format: FORMAT + 1,
            ..written
        };
        assert_eq!(
            Super::read(&next.write()).map(|s| s.format),
            Some(FORMAT + 1)
        );
        assert_eq!(Super::read(&block[..40]), None);
    }
}
