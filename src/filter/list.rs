//! Writes a list again while it arrives, with the items that a program is told, in constant memory.
//!
//! All but the items stays as it came. In protobuf a list's length stands in front: of a small list it is written when
//! all of it is here, of a larger one it is announced with room to spare and filled up at the end.

use super::{Cannot, Verdict};
use crate::limits::{FILTERED_LIST_HELD_BYTES, FILTERED_OBJECT_BYTES_MAX, PIECE_BYTES};
use crate::object::json::Cursor;
use crate::object::list::{ListHead, ListScanner, PADDING_TAG, Part};
use crate::object::proto::{
    Fields, MAGIC, field_len, put_bytes, put_head, put_varint, read_type, varint_len,
};
use crate::object::{Encoding, Malformed, write_list_item};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;

/// Why a list cannot be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Cannot(Cannot),
    /// It has grown past the length that was announced.
    Grew,
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Fault {
        Fault::Cannot(Cannot::Read(malformed))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Cannot(cannot) => cannot.fmt(f),
            Fault::Grew => f.write_str("it grew by more than was foreseen"),
        }
    }
}

/// How much longer than it came a list may become.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Growth {
    /// By nothing: items go, or become shorter.
    None,
    /// One item of it by a little.
    Little,
    /// Each item by less than a quarter.
    Quarter,
    /// Each item by less than its own length.
    Double,
}

impl Growth {
    /// Bytes that a list of `len` may grow by.
    fn of(self, len: u64) -> u64 {
        match self {
            Growth::None => 0,
            Growth::Little => 256,
            Growth::Quarter => 256 + len / 4,
            Growth::Double => 256 + len,
        }
    }

    /// Bytes that one item of `len` may grow by, so that all of them together stay within that: without the lengths in
    /// front of the item, which may become longer as well.
    pub fn of_item(self, len: usize) -> usize {
        match self {
            Growth::None => 0,
            Growth::Little => 250,
            Growth::Quarter => (len / 4).saturating_sub(4),
            Growth::Double => len.saturating_sub(4),
        }
    }
}

/// A list on its way. After an error it is to be dropped, and what was written breaks off.
pub struct Rewriter {
    scanner: ListScanner,
    writer: Writer,
}

/// What is to be written when all of a list has come.
#[derive(Default)]
pub struct Tail {
    /// So many zeros first.
    pub zeros: u64,
    /// Then this.
    pub bytes: Vec<u8>,
}

impl Tail {
    /// All of it, in pieces of a bounded size.
    pub fn pieces(self) -> impl Iterator<Item = Bytes> {
        let mut zeros = self.zeros;
        let mut last = Some(self.bytes);
        // All pieces share these. A constant would lie in the program, on flash.
        let shared = Bytes::from(vec![0; zeros.min(PIECE_BYTES as u64) as usize]);
        std::iter::from_fn(move || {
            let some = zeros.min(shared.len() as u64);
            zeros -= some;
            match some {
                0 => last.take().map(Bytes::from),
                _ => Some(shared.slice(..some as usize)),
            }
        })
    }
}

impl Rewriter {
    /// For a list in this encoding of items of this kind, which may grow so.
    pub fn new(encoding: Encoding, kind: &'static str, growth: Growth) -> Rewriter {
        Rewriter {
            scanner: ListScanner::new(encoding, FILTERED_OBJECT_BYTES_MAX),
            writer: Writer {
                encoding,
                kind,
                growth,
                phase: Phase::Before(Vec::new()),
                items: 0,
                fault: None,
            },
        }
    }

    /// Takes the next bytes of the body, asks about each item that they complete, and appends what goes out.
    pub fn feed(
        &mut self,
        chunk: &[u8],
        judge: &mut dyn FnMut(&[u8]) -> Result<Verdict, Cannot>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let writer = &mut self.writer;
        self.scanner.feed_parts(chunk, &mut |part| {
            if writer.fault.is_none() {
                writer.fault = writer.part(part, judge, out).err();
            }
        })?;
        self.writer.fault.map_or(Ok(()), Err)
    }

    /// At the end of the body: the head of the list, and what is still to be written.
    pub fn finish(self) -> Result<(ListHead, Tail), Fault> {
        let head = self.scanner.finish()?;
        self.writer.check(&head.type_meta.kind)?;
        let tail = match self.writer.phase {
            Phase::Over(tail) => tail,
            // JSON without `items`.
            Phase::Before(bytes) => Tail { zeros: 0, bytes },
            Phase::Items | Phase::Held(_) | Phase::Announced(_) => Tail::default(),
        };
        Ok((head, tail))
    }
}

struct Writer {
    encoding: Encoding,
    kind: &'static str,
    growth: Growth,
    phase: Phase,
    /// Items that are told.
    items: u64,
    fault: Option<Fault>,
}

enum Phase {
    /// What stands before the items. It does not go out before it is known that items follow, and which: what is no list
    /// of the kind that the filters know must not pass by them.
    Before(Vec<u8>),
    /// JSON: everything goes out as it comes.
    Items,
    /// Protobuf: the list's message is small and held until all of it is here.
    Held(Vec<u8>),
    /// Protobuf: so many bytes of the list's message may still come.
    Announced(u64),
    /// Protobuf: the list's message is over, and what follows waits for its padding.
    Over(Tail),
}

impl Writer {
    fn part(
        &mut self,
        part: Part<'_>,
        judge: &mut dyn FnMut(&[u8]) -> Result<Verdict, Cannot>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        match part {
            Part::Outside(bytes) => match &mut self.phase {
                Phase::Before(before) => before.extend_from_slice(bytes),
                _ => out.extend_from_slice(bytes),
            },
            Part::Item(bytes) => match judge(bytes).map_err(Fault::Cannot)? {
                Verdict::Drop => {}
                Verdict::Keep => self.item(bytes, out)?,
                Verdict::Replace(bytes) => self.item(&bytes, out)?,
            },
            Part::Field(number, bytes) => self.field(number, bytes, out)?,
            Part::Begin(len) => self.begin(len, out)?,
            Part::End => self.end(out)?,
        }
        Ok(())
    }

    fn check(&self, list_kind: &str) -> Result<(), Malformed> {
        match list_kind.strip_suffix("List") == Some(self.kind) {
            true => Ok(()),
            false => Err(Malformed::NotList),
        }
    }

    fn item(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let first = self.items == 0;
        self.items += 1;
        match self.encoding {
            Encoding::Json => {
                write_list_item(Encoding::Json, first, bytes, out);
                Ok(())
            }
            Encoding::Protobuf => self.field(2, bytes, out),
        }
    }

    fn field(&mut self, field: u8, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        match &mut self.phase {
            Phase::Before(held) | Phase::Held(held) => put_bytes(held, field, bytes),
            Phase::Over(tail) => put_bytes(&mut tail.bytes, field, bytes),
            Phase::Announced(left) => {
                let len = field_len(bytes.len() as u64);
                *left = left.checked_sub(len).ok_or(Fault::Grew)?;
                put_bytes(out, field, bytes);
            }
            Phase::Items => {}
        }
        Ok(())
    }

    fn begin(&mut self, len: u64, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Phase::Before(before) = std::mem::replace(&mut self.phase, Phase::Items) else {
            return Ok(());
        };
        match self.encoding {
            Encoding::Json => self.check(&kind_of(&before)?)?,
            Encoding::Protobuf => {
                let kind = match Fields(&before).next()? {
                    Some((1, value)) => read_type(value.bytes()?)?.ok_or(Malformed::Untyped)?.kind,
                    _ => return Err(Malformed::Untyped.into()),
                };
                self.check(&kind)?;
                out.extend_from_slice(MAGIC);
            }
        }
        out.extend_from_slice(&before);
        if self.encoding == Encoding::Json {
            return Ok(());
        }
        self.phase = if len <= FILTERED_LIST_HELD_BYTES {
            Phase::Held(Vec::with_capacity(len as usize))
        } else {
            let announced = len.saturating_add(self.growth.of(len) + PADDING_BYTES_MIN);
            put_head(out, 2, announced);
            Phase::Announced(announced)
        };
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let zeros = match std::mem::replace(&mut self.phase, Phase::Items) {
            Phase::Held(held) => {
                put_bytes(out, 2, &held);
                0
            }
            Phase::Announced(left) => put_padding(left, out)?,
            Phase::Before(_) | Phase::Items | Phase::Over(_) => 0,
        };
        self.phase = Phase::Over(Tail {
            zeros,
            bytes: Vec::new(),
        });
        Ok(())
    }
}

/// `kind` of a JSON list of which no more is here than what stands before its items. Every API server writes it there
/// for the kinds that filters know.
fn kind_of(before: &[u8]) -> Result<Cow<'_, str>, Malformed> {
    let mut cursor = Cursor::new(before);
    cursor.open_object()?;
    while let Some(key) = cursor.next_key()? {
        if key.is("kind") {
            return cursor.text()?.ok_or(Malformed::Untyped)?.decode();
        }
        cursor.skip()?;
    }
    Err(Malformed::Untyped)
}

/// The shortest padding: a tag of five bytes, and the length 0.
const PADDING_BYTES_MIN: u64 = 6;

/// Appends what begins a padding of `len` bytes; how many zeros end it. Not every length can be filled by one field: the
/// length in its head takes two bytes from 128 on.
fn put_padding(len: u64, out: &mut Vec<u8>) -> Result<u64, Fault> {
    if len == 0 {
        return Ok(0);
    }
    let room = len.checked_sub(PADDING_BYTES_MIN).ok_or(Fault::Grew)? + 1;
    let zeros =
        (1..=10).find_map(|bytes| room.checked_sub(bytes).filter(|n| varint_len(*n) == bytes));
    put_varint(out, u64::from(PADDING_TAG));
    match zeros {
        Some(zeros) => {
            put_varint(out, zeros);
            Ok(zeros)
        }
        None => {
            out.push(0);
            put_padding(len - PADDING_BYTES_MIN, out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{TypeMeta, list_item_framed_len, write_list_head, write_list_tail};

    fn written(encoding: Encoding, items: &[Vec<u8>]) -> Vec<u8> {
        let framed = |item: &Vec<u8>| list_item_framed_len(encoding, item.len());
        let total = items.iter().map(framed).sum();
        let mut out = Vec::new();
        write_list_head(
            encoding,
            &TypeMeta::new("v1", "PodList"),
            "7",
            total,
            &mut out,
        );
        for (at, item) in items.iter().enumerate() {
            write_list_item(encoding, at == 0, item, &mut out);
        }
        write_list_tail(encoding, &mut out);
        out
    }

    fn rewrite(
        encoding: Encoding,
        growth: Growth,
        chunks: &mut dyn Iterator<Item = &[u8]>,
        judge: &mut dyn FnMut(&[u8]) -> Result<Verdict, Cannot>,
    ) -> Result<Vec<u8>, Fault> {
        let mut rewriter = Rewriter::new(encoding, "Pod", growth);
        let mut out = Vec::new();
        for chunk in chunks {
            rewriter.feed(chunk, judge, &mut out)?;
        }
        let (_, tail) = rewriter.finish()?;
        out.resize(out.len() + tail.zeros as usize, 0);
        out.extend_from_slice(&tail.bytes);
        Ok(out)
    }

    fn items(body: &[u8], encoding: Encoding) -> Vec<Vec<u8>> {
        let mut scanner = ListScanner::new(encoding, 1 << 20);
        let mut items = Vec::new();
        for chunk in body.chunks(1000) {
            scanner
                .feed(chunk, &mut |item| items.push(item.to_vec()))
                .unwrap();
        }
        let head = scanner.finish().unwrap();
        assert_eq!(
            (head.resource_version.as_str(), head.items),
            ("7", items.len() as u64)
        );
        items
    }

    /// Lists of many sizes, of which every third item goes and every fourth becomes longer or shorter.
    #[test]
    fn what_is_told_is_a_list() {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            for count in [0, 1, 2, 7, 400, 2000] {
                let item = |n: usize, more: &str| format!("{{\"n\":\"{n}{more}\"}}").into_bytes();
                let all: Vec<Vec<u8>> = (0..count).map(|n| item(n, &"x".repeat(n % 150))).collect();
                let number = |bytes: &[u8]| -> usize {
                    let digits = bytes[6..].iter().take_while(|b| b.is_ascii_digit());
                    digits.fold(0, |n, b| n * 10 + usize::from(b - b'0'))
                };
                let mut judge = |bytes: &[u8]| {
                    let n = number(bytes);
                    Ok(match (n % 3, n % 4) {
                        (0, _) => Verdict::Drop,
                        (_, 1) => Verdict::Replace(item(n, "")),
                        (_, 2) => Verdict::Replace(item(n, "longer")),
                        _ => Verdict::Keep,
                    })
                };
                let want: Vec<Vec<u8>> = (all.iter())
                    .filter_map(|bytes| match judge(bytes).unwrap() {
                        Verdict::Drop => None,
                        Verdict::Keep => Some(bytes.clone()),
                        Verdict::Replace(bytes) => Some(bytes),
                    })
                    .collect();
                let body = written(encoding, &all);
                for step in [1, 13, body.len()] {
                    let told = rewrite(
                        encoding,
                        Growth::Quarter,
                        &mut body.chunks(step),
                        &mut judge,
                    )
                    .unwrap();
                    assert_eq!(items(&told, encoding), want, "{encoding:?} {count} {step}");
                    let small = (body.len() as u64) < FILTERED_LIST_HELD_BYTES;
                    if encoding == Encoding::Json || small {
                        assert_eq!(told, written(encoding, &want));
                    }
                }
                // Nothing changed, and nothing cut off.
                let mut keep = |_: &[u8]| Ok(Verdict::Keep);
                let same =
                    rewrite(encoding, Growth::None, &mut body.chunks(99), &mut keep).unwrap();
                assert_eq!(items(&same, encoding), all);
                for cut in [body.len() / 2, body.len() - 2] {
                    let torn = rewrite(
                        encoding,
                        Growth::None,
                        &mut body[..cut].chunks(99),
                        &mut keep,
                    );
                    assert!(torn.is_err(), "{encoding:?} {count} {cut}");
                }
            }
        }
    }

    #[test]
    fn what_stands_around_the_items_stays() {
        let body = b"{ \"new\":{}, \"kind\":\"PodList\", \"items\" : [ {\"a\":1} ,\n {\"b\":2} ],\"apiVersion\":\"v1\", \"metadata\":{\"remainingItemCount\":4,\"continue\":\"x\"},\"newer\":[1] }\n";
        let drop_first = |item: &[u8]| {
            Ok(if item.contains(&b'a') {
                Verdict::Drop
            } else {
                Verdict::Keep
            })
        };
        for step in [1, 5, body.len()] {
            let mut judge = drop_first;
            let told = rewrite(
                Encoding::Json,
                Growth::None,
                &mut body.chunks(step),
                &mut judge,
            )
            .unwrap();
            let want = std::str::from_utf8(body)
                .unwrap()
                .replace(" {\"a\":1} ,\n {\"b\":2} ", "{\"b\":2}");
            assert_eq!(std::str::from_utf8(&told).unwrap(), want);
        }
    }

    #[test]
    fn every_length_can_be_filled_up_but_the_shortest() {
        for len in (0..20_000).chain(2_097_130..2_097_180) {
            let mut out = Vec::new();
            match put_padding(len, &mut out) {
                Ok(zeros) => assert_eq!(out.len() as u64 + zeros, len),
                Err(fault) => assert!(fault == Fault::Grew && (1..6).contains(&len), "{len}"),
            }
        }
    }

    #[test]
    fn a_list_grows_so_far_and_no_further() {
        let all = vec![vec![b'x'; 1000]; 200];
        let body = written(Encoding::Protobuf, &all);
        for (growth, longest) in [
            (Growth::None, 1000),
            (Growth::Little, 1001),
            (Growth::Quarter, 1250),
            (Growth::Double, 2000),
        ] {
            for (len, fits) in [(longest, true), (longest + 10, false)] {
                let mut judge = |_: &[u8]| Ok(Verdict::Replace(vec![b'y'; len]));
                let told = rewrite(
                    Encoding::Protobuf,
                    growth,
                    &mut body.chunks(4096),
                    &mut judge,
                );
                assert_eq!(
                    told.err(),
                    (!fits).then_some(Fault::Grew),
                    "{growth:?} {len}"
                );
            }
        }
    }

    /// Nothing of what the filters do not know goes out.
    #[test]
    fn what_is_no_such_list_is_not_told() {
        let mut other = Vec::new();
        write_list_head(
            Encoding::Protobuf,
            &TypeMeta::new("v1", "PodMapList"),
            "7",
            0,
            &mut other,
        );
        write_list_tail(Encoding::Protobuf, &mut other);
        let cases: [(Encoding, &[u8]); 6] = [
            (Encoding::Json, br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"7"},"rows":[{"cells":["secret"]}]}"#),
            (Encoding::Json, br#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"7"},"items":[{}]}"#),
            (Encoding::Json, br#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7"}}"#),
            (Encoding::Json, br#"{"items":[{}],"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"}}"#),
            (Encoding::Json, br#"{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"7"}}"#),
            (Encoding::Protobuf, &other),
        ];
        for (encoding, body) in cases {
            for step in [1, body.len()] {
                let mut rewriter = Rewriter::new(encoding, "Pod", Growth::None);
                let (mut out, mut keep) = (Vec::new(), |_: &[u8]| Ok(Verdict::Keep));
                let mut chunks = body.chunks(step);
                let fed = chunks.try_for_each(|chunk| rewriter.feed(chunk, &mut keep, &mut out));
                assert!(
                    fed.is_err() || rewriter.finish().is_err(),
                    "{}",
                    body.escape_ascii()
                );
                assert!(out.is_empty(), "{}", out.escape_ascii());
            }
        }
        let none = br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":null}"#;
        let mut keep = |_: &[u8]| Ok(Verdict::Keep);
        let told = rewrite(Encoding::Json, Growth::None, &mut none.chunks(7), &mut keep).unwrap();
        assert_eq!(told, none);
    }

    #[test]
    fn no_verdict_ends_it() {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let body = written(encoding, &[b"{}".to_vec(), b"{}".to_vec()]);
            let mut judge = |_: &[u8]| Err(Cannot::Decide);
            let told = rewrite(encoding, Growth::None, &mut body.chunks(9), &mut judge);
            assert_eq!(told, Err(Fault::Cannot(Cannot::Decide)));
            let mut keep = |_: &[u8]| Ok(Verdict::Keep);
            let told = rewrite(
                encoding,
                Growth::None,
                &mut [&b"<html>"[..]].into_iter(),
                &mut keep,
            );
            assert!(matches!(told, Err(Fault::Cannot(Cannot::Read(_)))));
        }
    }
}
