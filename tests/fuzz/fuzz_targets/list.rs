//! A list in chunks: how it is cut changes nothing, what is complete can be written and read again, and no beginning of
//! what we write is complete.
#![no_main]

use edge_hub::object::list::{ListHead, ListScanner};
use edge_hub::object::{
    Encoding, Malformed, list_item_framed_len, read_meta, write_list_head, write_list_item,
    write_list_tail,
};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

const ITEM_BYTES_MAX: usize = 256;

fuzz_target!(|data: &[u8]| {
    let Some((&[how, step], body)) = data.split_first_chunk() else {
        return;
    };
    let enc = if how & 1 == 0 {
        Encoding::Json
    } else {
        Encoding::Protobuf
    };
    let whole = scan(enc, body, body.len().max(1), ITEM_BYTES_MAX);
    assert_eq!(scan(enc, body, 1, ITEM_BYTES_MAX), whole);
    assert_eq!(
        scan(enc, body, usize::from(step).max(1), ITEM_BYTES_MAX),
        whole
    );
    if let Ok((head, items)) = whole {
        check_grammar(enc, body, &items);
        check_written(enc, &head, &items);
    }
});

fn scan(
    enc: Encoding,
    body: &[u8],
    step: usize,
    max: usize,
) -> Result<(ListHead, Vec<Vec<u8>>), Malformed> {
    let mut scanner = ListScanner::new(enc, max);
    let mut items = Vec::new();
    for chunk in body.chunks(step) {
        scanner.feed(chunk, &mut |item| items.push(item.to_vec()))?;
    }
    let head = scanner.finish()?;
    assert_eq!(head.items, items.len() as u64);
    Ok((head, items))
}

/// With items that are each well formed the whole document is, and the other way round.
fn check_grammar(enc: Encoding, body: &[u8], items: &[Vec<u8>]) {
    if enc == Encoding::Json {
        let is_json = |bytes: &[u8]| serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
        assert_eq!(is_json(body), items.iter().all(|item| is_json(item)));
        assert!(items.iter().all(|item| item.starts_with(b"{")));
    }
    for item in items {
        let _ = read_meta(enc, item);
    }
}

fn check_written(enc: Encoding, head: &ListHead, items: &[Vec<u8>]) {
    let total = items
        .iter()
        .map(|item| list_item_framed_len(enc, item.len()))
        .sum();
    let mut out = Vec::new();
    write_list_head(
        enc,
        &head.type_meta,
        &head.resource_version,
        total,
        &mut out,
    );
    for (i, item) in items.iter().enumerate() {
        write_list_item(enc, i == 0, item, &mut out);
    }
    write_list_tail(enc, &mut out);
    let (again, again_items) = scan(enc, &out, 7, ITEM_BYTES_MAX).expect("what we write is a list");
    assert_eq!(
        (&again.type_meta, &again.resource_version, again.items),
        (&head.type_meta, &head.resource_version, head.items)
    );
    assert_eq!(again_items, items);
    for cut in 0..out.trim_ascii_end().len() {
        assert!(scan(enc, &out[..cut], out.len(), ITEM_BYTES_MAX).is_err());
    }
}
