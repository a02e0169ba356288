//! Splits a watch stream into whole frames. Never looks into one, never copies what lies whole in a chunk, and never
//! keeps more than one frame's worth of bytes.

use bytes::{Bytes, BytesMut};
use std::io::BufRead;

use crate::object::Encoding;

/// The splitter of one stream. Push a chunk, then call [`Framer::next`] until it needs more.
pub struct Framer {
    enc: Encoding,
    frame_bytes_max: usize,
    /// What came with earlier chunks: the beginning of a frame.
    held: BytesMut,
    /// What came last. Invariant: the stream goes on here where `held` ends.
    chunk: Bytes,
    /// Bytes of `held` and `chunk` in which no end was found.
    scanned: usize,
    /// JSON: the document has begun, so that the next newline ends it.
    begun: bool,
    /// A frame was too long; where the next one begins is unknown.
    lost: bool,
}

/// What the stream has next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole frame, with its JSON newline or its protobuf length.
    Frame(Bytes),
    /// No whole frame is there; push the next chunk, or at the end of the stream take [`Framer::into_rest`].
    NeedMore,
    /// A frame is longer than the bound. These are its bytes so far; from here the stream can only be passed on as it
    /// comes, and every later chunk is returned in this way.
    TooLong(Bytes),
}

impl Framer {
    /// A splitter for frames of at most `frame_bytes_max` bytes, counting newline or length.
    pub fn new(enc: Encoding, frame_bytes_max: usize) -> Self {
        Self {
            enc,
            frame_bytes_max,
            held: BytesMut::new(),
            chunk: Bytes::new(),
            scanned: 0,
            begun: false,
            lost: false,
        }
    }

    /// Adds the next bytes of the stream.
    pub fn push(&mut self, chunk: Bytes) {
        self.hold();
        self.chunk = chunk;
    }

    /// The next whole frame, if there is one.
    #[allow(clippy::should_implement_trait)] // An iterator that ends and goes on would mislead.
    pub fn next(&mut self) -> Step {
        if self.pending() == 0 {
            return Step::NeedMore;
        }
        if self.lost {
            return Step::TooLong(self.take(self.pending()));
        }
        let end = match self.enc {
            Encoding::Json => self.json_end(),
            Encoding::Protobuf => self.protobuf_end(),
        };
        match end {
            Some(end) if end <= self.frame_bytes_max && end <= self.pending() => {
                Step::Frame(self.take(end))
            }
            None if self.pending() <= self.frame_bytes_max => self.need_more(),
            Some(end) if end <= self.frame_bytes_max => self.need_more(),
            _ => {
                self.lost = true;
                Step::TooLong(self.take(self.pending()))
            }
        }
    }

    /// Bytes held that are part of no frame that was returned.
    pub fn pending(&self) -> usize {
        self.held.len() + self.chunk.len()
    }

    /// The bytes of the frame that has begun, at the end of the stream.
    pub fn into_rest(mut self) -> Bytes {
        self.take(self.pending())
    }

    /// Gives the chunk back: a few bytes of a frame must not keep a whole network buffer alive while nothing happens.
    fn need_more(&mut self) -> Step {
        self.hold();
        Step::NeedMore
    }

    fn hold(&mut self) {
        self.held.extend_from_slice(&self.chunk);
        self.chunk = Bytes::new();
    }

    fn take(&mut self, len: usize) -> Bytes {
        (self.scanned, self.begun) = (0, false);
        if self.held.is_empty() {
            return self.chunk.split_to(len);
        }
        if len > self.held.len() {
            let part = self.chunk.split_to(len - self.held.len());
            self.held.extend_from_slice(&part);
        }
        let frame = self.held.split_to(len).freeze();
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
        frame
    }

    /// The end of the line that holds a document. Blank lines before it belong to it.
    fn json_end(&mut self) -> Option<usize> {
        let held_len = self.held.len();
        for (part, part_at) in [(&self.held[..], 0), (&self.chunk[..], held_len)] {
            let mut rest = part
                .get(self.scanned.saturating_sub(part_at)..)
                .unwrap_or_default();
            if !self.begun {
                rest = rest.trim_ascii_start();
                self.begun = !rest.is_empty();
            }
            // By the C library's memchr: a loop would look at byte after byte of what may be megabytes.
            let begins = part.len() - rest.len();
            let line = rest.skip_until(b'\n').unwrap_or_default();
            if line > 0 && part[begins + line - 1] == b'\n' {
                return Some(part_at + begins + line);
            }
        }
        self.scanned = self.pending();
        None
    }

    /// The end that the length in front says, which may not be here yet.
    fn protobuf_end(&self) -> Option<usize> {
        let mut len = [0; 4];
        for (to, from) in len.iter_mut().zip(
            self.held
                .iter()
                .chain(self.chunk.iter())
                .map(Some)
                .chain([None; 4]),
        ) {
            *to = *from?;
        }
        // On a 32-bit machine the sum may not fit: far too long then.
        Some((u32::from_be_bytes(len) as usize).saturating_add(len.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(framer: &mut Framer, out: &mut Vec<Step>) {
        loop {
            match framer.next() {
                Step::NeedMore => return,
                step => out.push(step),
            }
        }
    }

    fn split(enc: Encoding, max: usize, chunks: &[&[u8]]) -> (Vec<Step>, Bytes) {
        let mut framer = Framer::new(enc, max);
        let mut out = Vec::new();
        for chunk in chunks {
            framer.push(Bytes::copy_from_slice(chunk));
            drain(&mut framer, &mut out);
        }
        (out, framer.into_rest())
    }

    fn check(enc: Encoding, stream: &[u8], want: &[&[u8]], rest: &[u8]) {
        let want: Vec<Step> = want
            .iter()
            .map(|frame| Step::Frame(Bytes::copy_from_slice(frame)))
            .collect();
        for a in 0..=stream.len() {
            for b in a..=stream.len() {
                let chunks = [&stream[..a], &stream[a..b], &stream[b..]];
                let (frames, left) = split(enc, 64, &chunks);
                assert_eq!((&frames, &left[..]), (&want, rest), "{a} {b}");
                // All pushed before the first is asked for.
                let mut framer = Framer::new(enc, 64);
                chunks
                    .iter()
                    .for_each(|chunk| framer.push(Bytes::copy_from_slice(chunk)));
                let mut frames = Vec::new();
                drain(&mut framer, &mut frames);
                assert_eq!((&frames, framer.pending()), (&want, rest.len()), "{a} {b}");
            }
        }
    }

    #[test]
    fn json_frames() {
        check(
            Encoding::Json,
            b"{\"a\":1}\n{}\r\n\n\r\n {}\n{\"b",
            &[b"{\"a\":1}\n", b"{}\r\n", b"\n\r\n {}\n"],
            b"{\"b",
        );
        check(Encoding::Json, b"", &[], b"");
        check(Encoding::Json, b"\n\n", &[], b"\n\n");
    }

    #[test]
    fn protobuf_frames() {
        check(
            Encoding::Protobuf,
            b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01\n\0\0\0\x02z",
            &[b"\0\0\0\x03abc", b"\0\0\0\0", b"\0\0\0\x01\n"],
            b"\0\0\0\x02z",
        );
    }

    #[test]
    fn frames_of_the_greatest_length() {
        for (len, fits) in [(63, true), (64, true), (65, false)] {
            let mut line = vec![b'x'; len - 1];
            line.push(b'\n');
            let mut framed = (len as u32 - 4).to_be_bytes().to_vec();
            framed.resize(len, 0);
            for (enc, stream) in [(Encoding::Json, line), (Encoding::Protobuf, framed)] {
                for at in 0..len {
                    let (steps, rest) = split(enc, 64, &[&stream[..at], &stream[at..]]);
                    assert!(rest.is_empty());
                    assert_eq!(
                        matches!(&steps[..], [Step::Frame(all)] if *all == stream),
                        fits,
                        "{len} {at}"
                    );
                    let all: Vec<u8> = steps.iter().flat_map(|s| bytes_of(s).to_vec()).collect();
                    assert_eq!(all, stream);
                }
            }
        }
    }

    fn bytes_of(step: &Step) -> &[u8] {
        match step {
            Step::Frame(bytes) | Step::TooLong(bytes) => bytes,
            Step::NeedMore => &[],
        }
    }

    #[test]
    fn what_follows_a_frame_too_long_is_raw() {
        let (steps, _) = split(
            Encoding::Protobuf,
            64,
            &[b"\0\0\0\x01z\xff\xff", b"\xff\xffabc", b"", b"\0\0\0\0"],
        );
        let want: Vec<Step> = vec![
            Step::Frame(Bytes::from_static(b"\0\0\0\x01z")),
            Step::TooLong(Bytes::from_static(b"\xff\xff\xff\xffabc")),
            Step::TooLong(Bytes::from_static(b"\0\0\0\0")),
        ];
        assert_eq!(steps, want);
    }

    #[test]
    fn whole_frames_are_not_copied() {
        let chunk = Bytes::from(b"{}\n{}\n".to_vec());
        let at = chunk.as_ptr();
        let mut framer = Framer::new(Encoding::Json, 64);
        framer.push(chunk);
        let Step::Frame(first) = framer.next() else {
            panic!("no frame")
        };
        assert_eq!(first.as_ptr(), at);
        let Step::Frame(second) = framer.next() else {
            panic!("no frame")
        };
        assert_eq!(second.as_ptr(), at.wrapping_add(3));
    }
}
