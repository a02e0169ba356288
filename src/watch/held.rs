//! A watch without the API server: what is known is told, then the stream is held until the link is back.

use super::event;
use crate::cache::answer::List;
use crate::limits;
use crate::object::Encoding;
use crate::reply::list::write_added;
use crate::reply::script::{BrokenOff, Pen};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// What the stream begins with.
pub enum Begin {
    Nothing,
    /// The objects of a list as ADDED; then the annotated bookmark, if the client waits for it.
    Replay {
        list: List,
        end_bookmark: bool,
    },
    /// 410: the client shall list again. The stream ends after it.
    Expired(Encoding),
}

/// Writes the beginning, then holds until the link is back and `spread` has passed, `lifetime` is over, or `stop`.
pub async fn hold(
    pen: Pen,
    begin: Begin,
    lifetime: Duration,
    spread: Duration,
    link_up: impl Future<Output = ()>,
    stop: impl Future<Output = ()>,
) -> Result<(), BrokenOff> {
    let started = Instant::now();
    match begin {
        Begin::Nothing => {}
        Begin::Expired(encoding) => {
            let message = "too old resource version: edge-hub keeps a newer one; list again";
            write_error(&pen, encoding, 410, "Expired", message).await;
            return Ok(());
        }
        Begin::Replay { list, end_bookmark } => {
            if write_added(&pen, &list).await.is_err() {
                // Not 410: the list that the client would then ask for cannot be read either.
                let message = "edge-hub can no longer read what it kept of these objects";
                write_error(&pen, list.encoding, 500, "InternalError", message).await;
                return Ok(());
            }
            if end_bookmark {
                let mut out = Vec::new();
                event::write_bookmark(
                    list.encoding,
                    &list.type_meta,
                    &list.view.version,
                    true,
                    &mut out,
                );
                pen.write(Bytes::from(out)).await;
            }
        }
    }
    let back = async {
        link_up.await;
        sleep(spread).await;
        sleep_until(started + limits::HELD_MIN).await;
    };
    tokio::select! {
        () = back => {}
        () = sleep_until(started + lifetime) => {}
        () = stop => {}
    }
    Ok(())
}

async fn write_error(pen: &Pen, encoding: Encoding, code: u16, reason: &str, message: &str) {
    let mut out = Vec::new();
    event::write_error(encoding, code, reason, message, &mut out);
    pen.write(Bytes::from(out)).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::TypeMeta;
    use crate::reply::script::Script;
    use crate::store::Store;
    use crate::store::ram::Ram;
    use std::future::{pending, poll_fn, ready};

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_replay_that_cannot_be_read_ends_with_an_error() {
        let mut store = Store::Ram(Ram::new(1 << 20));
        let mut fill = store.begin(0, None);
        for key in ["n/a", "n/b"] {
            store.put(&mut fill, key, b"{}", 0).unwrap();
        }
        let id = store.commit(fill, None, b"", "7", b"").unwrap();
        let view = store.view(id).await.unwrap();
        for (view, want) in [
            (view.clone(), ["ADDED", "ADDED", "BOOKMARK"]),
            (view.torn(), ["ERROR", "", ""]),
        ] {
            let list = List::whole(Encoding::Json, TypeMeta::new("v1", "Pod"), view);
            let begin = Begin::Replay {
                list,
                end_bookmark: true,
            };
            let (lifetime, spread) = (Duration::from_secs(60), Duration::ZERO);
            let mut script =
                Script::new(|pen| hold(pen, begin, lifetime, spread, ready(()), pending()));
            let mut out = Vec::new();
            while let Some(piece) = poll_fn(|cx| script.poll_piece(cx)).await {
                out.extend_from_slice(&piece.unwrap());
            }
            let text = String::from_utf8(out).unwrap();
            let mut lines = text.lines();
            for word in want {
                let line = lines.next().unwrap_or_default();
                assert!(line.contains(word), "{word} in {text}");
                assert!(word != "ERROR" || line.contains(r#""code":500"#), "{line}");
            }
            assert_eq!(lines.next(), None);
        }
    }
}
