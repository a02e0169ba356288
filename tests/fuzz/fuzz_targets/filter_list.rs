//! A list in chunks through filters that take items away, shorten and lengthen them: how it is cut changes nothing, what is
//! told is a list of just what each item became, and nothing of what is no such list goes out.
#![no_main]

use edge_hub::filter::list::{Fault, Growth, Rewriter};
use edge_hub::filter::{Cannot, Verdict};
use edge_hub::object::list::{ListHead, ListScanner};
use edge_hub::object::{Encoding, Malformed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[how, step, many], body)) = data.split_first_chunk() else {
        return;
    };
    let enc = if how & 1 == 0 {
        Encoding::Json
    } else {
        Encoding::Protobuf
    };
    let growth = [Growth::None, Growth::Little, Growth::Quarter, Growth::Double][usize::from(how >> 1 & 3)];
    let large;
    let body = match (enc, many) {
        // Long enough that its length is announced.
        (Encoding::Protobuf, 128..) => {
            large = repeated(body, usize::from(many));
            &large
        }
        _ => body,
    };
    let whole = rewrite(enc, growth, body, body.len().max(1));
    for step in [usize::from(step).max(1), 1] {
        let cut = rewrite(enc, growth, body, step);
        match (&whole, &cut) {
            (Ok((out, head)), Ok(other)) => assert!(out == &other.0 && head == &other.1),
            (Err(_), Err(_)) => {}
            _ => panic!("{whole:?} {cut:?}"),
        }
    }
    if let Ok((told, head)) = whole {
        let mut want = Vec::new();
        let mut scanner = ListScanner::new(enc, usize::MAX);
        scanner
            .feed(body, &mut |item| match verdict(item) {
                Ok(Verdict::Keep) => want.push(item.to_vec()),
                Ok(Verdict::Replace(told)) => want.push(told),
                _ => {}
            })
            .expect("it was read before");
        assert_eq!(scanner.finish().as_ref(), Ok(&head));
        let (mut items, mut scanner) = (Vec::new(), ListScanner::new(enc, usize::MAX));
        scanner
            .feed(&told, &mut |item| items.push(item.to_vec()))
            .expect("what is told is a list");
        let told = scanner.finish().expect("what is told is a list");
        assert_eq!(items, want);
        assert_eq!(told.type_meta, head.type_meta);
        assert_eq!(told.resource_version, head.resource_version);
        assert_eq!(told.continue_token, head.continue_token);
        assert_eq!(told.remaining, head.remaining);
    }
});

/// By the length of an item; what replaces one is an item too.
fn verdict(item: &[u8]) -> Result<Verdict, Cannot> {
    Ok(match item.len() % 5 {
        0 => Verdict::Drop,
        1 => Verdict::Replace(b"{}".to_vec()),
        2 => Verdict::Replace(format!("{{\"a\":\"{}\"}}", "x".repeat(item.len() / 5)).into_bytes()),
        3 if item.len() > 50 => return Err(Cannot::Read(Malformed::Shape)),
        _ => Verdict::Keep,
    })
}

fn rewrite(
    enc: Encoding,
    growth: Growth,
    body: &[u8],
    step: usize,
) -> Result<(Vec<u8>, ListHead), Fault> {
    let mut rewriter = Rewriter::new(enc, "Pod", growth);
    let mut out = Vec::new();
    for chunk in body.chunks(step) {
        rewriter.feed(chunk, &mut |item| verdict(item), &mut out)?;
    }
    let (head, tail) = rewriter.finish()?;
    tail.pieces().for_each(|piece| out.extend_from_slice(&piece));
    Ok((out, head))
}

/// A list with the items of this body many times over.
fn repeated(body: &[u8], many: usize) -> Vec<u8> {
    let item: Vec<u8> = body.iter().copied().take(600).collect();
    let (mut list, mut out) = (b"\x0a\x03\x12\x017".to_vec(), b"k8s\0\x0a\x0d\x0a\x02v1\x12\x07PodList".to_vec());
    let put = |out: &mut Vec<u8>, tag: u8, bytes: &[u8]| {
        out.push(tag);
        let mut len = bytes.len();
        while len >= 128 {
            out.push(len as u8 | 128);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend_from_slice(bytes);
    };
    for n in 0..many {
        put(&mut list, 0x12, &item[..item.len() - n % 7 % item.len().max(1)]);
    }
    put(&mut out, 0x12, &list);
    out.extend_from_slice(b"\x1a\0\x22\0");
    out
}
