//! gzip, undone in pieces: the API server compresses lists above 128 KiB, and from 1.37 watch lists as one gzip member
//! after another (kubernetes-api.md 1.3). Constant memory: a window of 32 KiB and one buffer.

use super::Malformed;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

/// Bytes given on at one time.
const OUT_BYTES: usize = 8 * 1024;

/// A gzip stream on its way in.
pub struct Gunzip {
    state: State,
    inflater: Box<InflateState>,
    out: Box<[u8; OUT_BYTES]>,
}

enum State {
    /// The header of a member: bytes of it so far.
    Header(Vec<u8>),
    Data,
    /// So many bytes of the trailer (CRC and length) are still to come. TLS has seen to the integrity already.
    Trailer(u8),
}

/// Longest header that is taken; Go writes ten bytes.
const HEADER_BYTES_MAX: usize = 1024;

impl Default for Gunzip {
    fn default() -> Self {
        Gunzip {
            state: State::Header(Vec::new()),
            inflater: InflateState::new_boxed(DataFormat::Raw),
            out: Box::new([0; OUT_BYTES]),
        }
    }
}

impl Gunzip {
    /// Inflates what came; gives each piece to `sink`.
    pub fn feed(
        &mut self,
        mut input: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        loop {
            match &mut self.state {
                State::Header(so_far) => {
                    let Some(byte) = input.first() else {
                        return Ok(());
                    };
                    so_far.push(*byte);
                    input = &input[1..];
                    if header_is_complete(so_far)? {
                        self.inflater.reset(DataFormat::Raw);
                        self.state = State::Data;
                    }
                }
                State::Data => {
                    let result =
                        inflate(&mut self.inflater, input, &mut self.out[..], MZFlush::None);
                    input = &input[result.bytes_consumed..];
                    if result.bytes_written > 0 {
                        sink(&self.out[..result.bytes_written])?;
                    }
                    match result.status {
                        Ok(MZStatus::StreamEnd) => self.state = State::Trailer(8),
                        Ok(_) | Err(MZError::Buf)
                            if result.bytes_consumed + result.bytes_written > 0 => {}
                        Ok(_) | Err(MZError::Buf) => return Ok(()),
                        Err(_) => return Err(Malformed::Syntax),
                    }
                }
                State::Trailer(left) => {
                    let take = usize::from(*left).min(input.len());
                    *left -= take as u8;
                    input = &input[take..];
                    if *left > 0 {
                        return Ok(());
                    }
                    self.state = State::Header(Vec::new());
                }
            }
        }
    }

    /// True between two members: the stream may end here.
    pub fn is_complete(&self) -> bool {
        matches!(&self.state, State::Header(so_far) if so_far.is_empty())
    }
}

/// RFC 1952 2.3.
fn header_is_complete(header: &[u8]) -> Result<bool, Malformed> {
    const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
    if header.len() > HEADER_BYTES_MAX || header.iter().zip(MAGIC).any(|(a, b)| *a != b) {
        return Err(Malformed::Syntax);
    }
    let Some(flags) = header.get(3).filter(|_| header.len() >= 10) else {
        return Ok(false);
    };
    let mut at = 10;
    if flags & 4 != 0 {
        let Some(length) = header.get(10..12) else {
            return Ok(false);
        };
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let Some(end) = header
                .get(at..)
                .and_then(|rest| rest.iter().position(|b| *b == 0))
            else {
                return Ok(false);
            };
            at += end + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    Ok(header.len() >= at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(text: &[u8], flags: u8, extra: &[u8]) -> Vec<u8> {
        let mut out = vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255];
        out.extend_from_slice(extra);
        out.extend_from_slice(&miniz_oxide::deflate::compress_to_vec(text, 6));
        out.extend_from_slice(&[0; 8]);
        out
    }

    fn check(input: &[u8], want: &[u8]) {
        for size in [1, 7, 4096, input.len()] {
            let (mut gunzip, mut got) = (Gunzip::default(), Vec::new());
            for piece in input.chunks(size) {
                let mut sink = |bytes: &[u8]| {
                    got.extend_from_slice(bytes);
                    Ok(())
                };
                gunzip.feed(piece, &mut sink).unwrap();
            }
            assert!(gunzip.is_complete(), "pieces of {size}");
            assert!(
                got == want,
                "pieces of {size}: {} of {} bytes",
                got.len(),
                want.len()
            );
        }
    }

    #[test]
    fn members() {
        let long: Vec<u8> = (0..300_000u32)
            .flat_map(|n| (n / 7).to_string().into_bytes())
            .collect();
        check(&gzip(&long, 0, b""), &long);
        check(
            &[
                gzip(b"one", 0, b""),
                gzip(b"", 0, b""),
                gzip(b"two", 0, b""),
            ]
            .concat(),
            b"onetwo",
        );
        check(
            &gzip(b"named", 8 | 16 | 4 | 2, b"\x02\x00xxname\0comment\0cc"),
            b"named",
        );
    }

    #[test]
    fn what_is_cut_is_not_complete_and_rubbish_is_an_error() {
        let whole = gzip(b"hello hello hello", 0, b"");
        for end in 1..whole.len() {
            let mut gunzip = Gunzip::default();
            let fed = gunzip.feed(&whole[..end], &mut |_| Ok(()));
            assert!(fed.is_err() || !gunzip.is_complete(), "cut at {end}");
        }
        assert!(
            Gunzip::default()
                .feed(b"{\"kind\"", &mut |_| Ok(()))
                .is_err()
        );
        assert!(
            Gunzip::default()
                .feed(
                    &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
                    &mut |_| Ok(())
                )
                .is_err()
        );
    }
}
