//! A kept list as a body, in pieces of a bounded size. What has changed on the node since it was kept is told as it is now.

use super::script::{BrokenOff, Pen};
use crate::cache::answer::{Items, List};
use crate::filter::{Judge, Verdict};
use crate::limits;
use crate::object::{self, Encoding, TypeMeta, list_item_framed_len};
use crate::store::{Item, Lost};
use crate::watch::event::{self, EventType};
use bytes::Bytes;
use std::borrow::Cow;

/// A kept list that is about to be told. Its first items were read before the head of the answer goes out: what cannot be
/// read shows while that can still be a 503.
pub struct Begun {
    list: List,
    items: Items,
    first: Option<Vec<Item>>,
    now: Option<Judge>,
    framed_bytes: u64,
}

/// A kept object as it is now. What nobody can judge was told before as it is.
pub fn as_now<'a>(now: Option<&Judge>, encoding: Encoding, stored: &'a [u8]) -> Cow<'a, [u8]> {
    match now.map(|judge| judge.of(encoding, stored)) {
        Some(Ok(Verdict::Replace(told))) => Cow::Owned(told),
        _ => Cow::Borrowed(stored),
    }
}

/// Reads the first items. `now`: who says what has changed since they were kept.
pub async fn begin(list: List, now: Option<Judge>) -> Result<Begun, Lost> {
    let mut framed_bytes = list.framed_bytes();
    if let Some(judge) = &now {
        let mut items = list.read();
        framed_bytes = 0;
        while let Some(some) = items.next().await? {
            for item in some {
                let told = as_now(Some(judge), list.encoding, &item.value);
                framed_bytes += list_item_framed_len(list.encoding, told.len());
            }
        }
    }
    let mut items = list.read();
    let first = items.next().await?;
    Ok(Begun {
        list,
        items,
        first,
        now,
        framed_bytes,
    })
}

/// Writes the list as the API server would answer a LIST: everything, without `continue`. If some of it can no longer be
/// read, the body breaks off.
pub async fn write(pen: Pen, begun: Begun) -> Result<(), BrokenOff> {
    let Begun {
        list,
        mut items,
        first: mut some,
        now,
        framed_bytes: total,
    } = begun;
    let kind = TypeMeta::new(
        &list.type_meta.api_version,
        &format!("{}List", list.type_meta.kind),
    );
    let encoding = list.encoding;
    let mut out = Vec::new();
    object::write_list_head(encoding, &kind, &list.view.version, total, &mut out);
    let mut first = true;
    while let Some(items_here) = some {
        for item in items_here {
            let told = as_now(now.as_ref(), encoding, &item.value);
            object::write_list_item(encoding, first, &told, &mut out);
            first = false;
            flush(&pen, &mut out, limits::PIECE_BYTES).await;
        }
        some = items.next().await.map_err(broken_off)?;
    }
    object::write_list_tail(encoding, &mut out);
    flush(&pen, &mut out, 0).await;
    Ok(())
}

/// Writes each item of the list as an ADDED event. Where not all can be read, some are written, and none by half.
pub async fn write_added(pen: &Pen, list: &List, now: Option<&Judge>) -> Result<(), Lost> {
    let mut out = Vec::new();
    let mut items = list.read();
    while let Some(some) = items.next().await? {
        for item in some {
            event::write(
                list.encoding,
                EventType::Added,
                &list.type_meta,
                &as_now(now, list.encoding, &item.value),
                &mut out,
            );
            flush(pen, &mut out, limits::PIECE_BYTES).await;
        }
    }
    flush(pen, &mut out, 0).await;
    Ok(())
}

fn broken_off(Lost: Lost) -> BrokenOff {
    BrokenOff("what was kept can no longer be read")
}

async fn flush(pen: &Pen, out: &mut Vec<u8>, over: usize) {
    if out.len() > over {
        pen.write(Bytes::from(std::mem::take(out))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Encoding;
    use crate::object::list::ListScanner;
    use crate::reply::script::Script;
    use crate::store::ram::Ram;
    use crate::store::{Store, View};
    use std::future::poll_fn;

    /// A list of this many items, more than one piece's worth.
    async fn view(count: usize) -> View {
        let mut store = Store::Ram(Ram::new(1 << 20));
        let mut fill = store.begin(0, None);
        for n in 0..count {
            let value = format!(r#"{{"a":"{}"}}"#, "x".repeat(300));
            store
                .put(&mut fill, &format!("ns/{n}"), value.as_bytes(), 0)
                .unwrap();
        }
        let id = store.commit(fill, None, b"", "7", b"").unwrap();
        store.view(id).await.unwrap()
    }

    async fn written(encoding: Encoding, view: View) -> (Vec<u8>, Result<(), BrokenOff>) {
        let list = List::whole(encoding, TypeMeta::new("v1", "Pod"), view);
        let begun = begin(list, None).await.unwrap();
        let mut script = Script::new(|pen| write(pen, begun));
        let mut out = Vec::new();
        while let Some(piece) = poll_fn(|cx| script.poll_piece(cx)).await {
            match piece {
                Ok(piece) => out.extend_from_slice(&piece),
                Err(broken) => return (out, Err(broken)),
            }
        }
        (out, Ok(()))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_list_is_whole_or_breaks_off() {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            for count in [0, 1, 100] {
                let scan = |body: &[u8]| {
                    let mut scanner = ListScanner::new(encoding, 1024);
                    scanner.feed(body, &mut |_| {})?;
                    scanner.finish()
                };
                let whole = view(count).await;
                let (body, end) = written(encoding, whole.clone()).await;
                assert_eq!(end, Ok(()));
                assert_eq!(scan(&body).unwrap().items, count as u64);
                if count == 0 {
                    continue;
                }
                let (body, end) = written(encoding, whole.torn()).await;
                assert!(end.is_err() && scan(&body).is_err(), "{encoding:?} {count}");
            }
        }
    }
}
