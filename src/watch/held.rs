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
            let mut out = Vec::new();
            let message = "too old resource version: edge-hub keeps a newer one; list again";
            event::write_error(encoding, 410, "Expired", message, &mut out);
            pen.write(Bytes::from(out)).await;
            return Ok(());
        }
        Begin::Replay { list, end_bookmark } => {
            write_added(&pen, &list).await;
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
