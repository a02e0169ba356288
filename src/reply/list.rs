//! A kept list as a body, in pieces of a bounded size.

use super::script::{BrokenOff, Pen};
use crate::cache::answer::List;
use crate::limits;
use crate::object::{self, TypeMeta};
use crate::watch::event::{self, EventType};
use bytes::Bytes;

/// Writes the list as the API server would answer a LIST: everything, without `continue`.
pub async fn write(pen: Pen, list: List) -> Result<(), BrokenOff> {
    let kind = TypeMeta::new(
        &list.type_meta.api_version,
        &format!("{}List", list.type_meta.kind),
    );
    let encoding = list.encoding;
    let total = list
        .items()
        .map(|item| object::list_item_framed_len(encoding, item.len()))
        .sum();
    let mut out = Vec::new();
    object::write_list_head(encoding, &kind, &list.view.version, total, &mut out);
    for (at, item) in list.items().enumerate() {
        object::write_list_item(encoding, at == 0, item, &mut out);
        flush(&pen, &mut out, limits::PIECE_BYTES).await;
    }
    object::write_list_tail(encoding, &mut out);
    flush(&pen, &mut out, 0).await;
    Ok(())
}

/// Writes each item of the list as an ADDED event.
pub async fn write_added(pen: &Pen, list: &List) {
    let mut out = Vec::new();
    for item in list.items() {
        event::write(
            list.encoding,
            EventType::Added,
            &list.type_meta,
            item,
            &mut out,
        );
        flush(pen, &mut out, limits::PIECE_BYTES).await;
    }
    flush(pen, &mut out, 0).await;
}

async fn flush(pen: &Pen, out: &mut Vec<u8>, over: usize) {
    if out.len() > over {
        pen.write(Bytes::from(std::mem::take(out))).await;
    }
}
