//! What the hub lists and watches for itself, with the node's identity, and keeps like what others are told: so it knows
//! it again after a restart.

use super::Shared;
use crate::access::Who;
use crate::cache::answer;
use crate::cache::keep::{Head, Keeper};
use crate::cache::watched::Follower;
use crate::limits;
use crate::object::gunzip::Gunzip;
use crate::object::list::ListScanner;
use crate::object::{Encoding, Malformed};
use crate::request::{Asked, accept, classify};
use crate::upstream::{RequestBody, ResponseBody, Way};
use crate::watch::event::{self, EventType};
use crate::watch::frame::{Framer, Step};
use http::request::Parts;
use http::{Request, StatusCode, header};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// As whom the hub asks for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    pub way: Way,
    pub who: Who,
}

/// What is to be followed.
pub struct Collection {
    /// Path, and the selectors as a query; JSON.
    pub target: String,
    /// Of each object its metadata alone.
    pub metadata: bool,
}

/// What is seen of it. Objects are bare.
pub enum Seen<'a> {
    /// All of it follows, from [`Seen::There`] on, until [`Seen::All`]. It may begin anew before that.
    Begin,
    There(&'a [u8]),
    All,
    /// What was kept is told, if anything was. Once, before the API server is asked.
    KeptOver,
    /// This has come, or changed.
    Now(&'a [u8]),
    Gone(&'a [u8]),
    /// The API server lets the hub not have it, or does not know what it is.
    Refused(StatusCode),
}

/// Why a round is over.
enum Over {
    /// It may be tried again soon.
    Broke(String),
    /// The watch has lived its time.
    Finished,
    /// It must be listed again.
    Expired,
    Refused(StatusCode),
}

impl From<Malformed> for Over {
    fn from(malformed: Malformed) -> Over {
        Over::Broke(malformed.to_string())
    }
}

/// Tells `see` what was kept, and from then on all that the API server says. Never ends.
pub async fn follow(shared: &Shared, collection: &Collection, see: &dyn Fn(Seen<'_>)) {
    if let Some(own) = shared.own() {
        kept(shared, own, collection, see).await;
    }
    see(Seen::KeptOver);
    let mut version = None;
    let mut failed = 0;
    loop {
        shared.upstream.link().became_up().await;
        let Some(own) = shared.own() else {
            sleep(limits::OWN_REFUSED_RETRY).await;
            continue;
        };
        let since = Instant::now();
        let over = round(shared, own, collection, &mut version, see).await;
        if since.elapsed() > limits::OWN_RETRY_MAX {
            failed = 0;
        }
        let pause = match over {
            Over::Finished => Duration::ZERO,
            Over::Expired => {
                version = None;
                limits::OWN_RETRY_MIN
            }
            Over::Broke(why) => {
                log::debug!("own={} broke off: {why}", collection.target);
                let most = limits::OWN_RETRY_MIN.saturating_mul(1 << failed.min(16));
                failed += 1;
                most.min(limits::OWN_RETRY_MAX)
            }
            Over::Refused(status) => {
                version = None;
                see(Seen::Refused(status));
                limits::OWN_REFUSED_RETRY
            }
        };
        // Between half of it and all: ten thousand hubs must not come in the same moment.
        let spread = shared.random() % (pause.as_millis() as u64 / 2 + 1);
        sleep(pause - Duration::from_millis(spread)).await;
    }
}

/// What was kept by this hub, or by one before it.
async fn kept(shared: &Shared, own: Own, collection: &Collection, see: &dyn Fn(Seen<'_>)) {
    let Some((_, asked)) = collection.list() else {
        return;
    };
    let found = answer::find_list(&shared.cache, &asked, own.who, Instant::now()).await;
    let Some((list, _)) = found else {
        return;
    };
    let mut reading = list.read();
    see(Seen::Begin);
    while let Ok(items) = reading.next().await {
        let Some(items) = items else {
            return see(Seen::All);
        };
        items.iter().for_each(|item| see(Seen::There(&item.value)));
    }
}

/// Lists unless a version is known to watch from, then watches until that is over.
async fn round(
    shared: &Shared,
    own: Own,
    collection: &Collection,
    version: &mut Option<String>,
    see: &dyn Fn(Seen<'_>),
) -> Over {
    if version.is_none() {
        match Box::pin(list(shared, own, collection, see)).await {
            Ok(listed) => *version = Some(listed),
            Err(over) => return over,
        }
    }
    match watch(shared, own, collection, version, see).await {
        Ok(()) => Over::Finished,
        Err(over) => over,
    }
}

async fn list(
    shared: &Shared,
    own: Own,
    collection: &Collection,
    see: &dyn Fn(Seen<'_>),
) -> Result<String, Over> {
    let malformed = || Over::Broke("no request".to_owned());
    let (head, asked) = collection.list().ok_or_else(malformed)?;
    let begun = shared.cache.borrow().begun();
    let (mut body, gzip) = ask(shared, own, &head).await?;
    let seen = Head {
        status: 200,
        content_type: "application/json",
        gzip: false,
        begun,
    };
    let mut keeper = Keeper::new(&shared.cache, &asked, own.who, &seen);
    let mut scanner = ListScanner::new(Encoding::Json, limits::OBJECT_BYTES_MAX);
    let mut gunzip = gzip.then(Gunzip::default);
    let mut take = |bytes: &[u8]| {
        if let Some(keeper) = &mut keeper {
            keeper.feed(bytes);
        }
        scanner.feed(bytes, &mut |item| see(Seen::There(item)))
    };
    see(Seen::Begin);
    while let Some(chunk) = body.chunk().await {
        let chunk = chunk.map_err(|error| Over::Broke(error.to_string()))?;
        match &mut gunzip {
            Some(gunzip) => gunzip.feed(&chunk, &mut take)?,
            None => take(&chunk)?,
        }
    }
    if gunzip.is_some_and(|gunzip| !gunzip.is_complete()) {
        return Err(Malformed::Truncated.into());
    }
    let head = scanner.finish()?;
    if let Some(keeper) = keeper {
        keeper.finish();
    }
    see(Seen::All);
    Ok(head.resource_version)
}

async fn watch(
    shared: &Shared,
    own: Own,
    collection: &Collection,
    version: &mut Option<String>,
    see: &dyn Fn(Seen<'_>),
) -> Result<(), Over> {
    let malformed = || Over::Broke("no request".to_owned());
    let from = version.clone().unwrap_or_default();
    let secs = limits::OWN_WATCH_SECS + shared.random() % limits::OWN_WATCH_SECS;
    let (head, asked) = collection.watch(&from, secs).ok_or_else(malformed)?;
    let (mut body, gzip) = ask(shared, own, &head).await?;
    if gzip {
        return Err(Malformed::Syntax.into());
    }
    let mut follower = Follower::new(&shared.cache, &asked, own.who, Encoding::Json);
    let mut framer = Framer::new(Encoding::Json, limits::FRAME_BYTES_MAX);
    while let Some(chunk) = body.chunk().await {
        framer.push(chunk.map_err(|error| Over::Broke(error.to_string()))?);
        loop {
            let frame = match framer.next() {
                Step::NeedMore => break,
                Step::TooLong(_) => return Err(Malformed::TooLarge.into()),
                Step::Frame(frame) => frame,
            };
            let event = event::parse(Encoding::Json, &frame)?;
            if let Some(follower) = &mut follower {
                follower.event(&event);
            }
            match event.event_type {
                EventType::Error if event.status_code == Some(410) => return Err(Over::Expired),
                EventType::Error => return Err(Over::Broke("an error in the watch".to_owned())),
                EventType::Bookmark => {}
                EventType::Deleted => see(Seen::Gone(event.object)),
                EventType::Added | EventType::Modified => see(Seen::Now(event.object)),
            }
            if !event.meta.resource_version.is_empty() {
                *version = Some(event.meta.resource_version.into_owned());
            }
        }
    }
    Ok(())
}

/// The body of a good answer, and whether it is compressed.
async fn ask(shared: &Shared, own: Own, head: &Parts) -> Result<(ResponseBody, bool), Over> {
    let send = shared.upstream.send(own.way, head, RequestBody::Empty);
    let sent = timeout(limits::OWN_ANSWER_WAIT, send).await;
    let silent = |_| Over::Broke("no answer in time".to_owned());
    let response = sent
        .map_err(silent)?
        .map_err(|e| Over::Broke(e.to_string()))?;
    match response.status().as_u16() {
        200 => {}
        410 => return Err(Over::Expired),
        code @ (429 | 500..=599) => return Err(Over::Broke(format!("status code {code}"))),
        _ => return Err(Over::Refused(response.status())),
    }
    let text = |name| {
        let value = response.headers().get(name);
        value.and_then(|v| v.to_str().ok()).unwrap_or_default()
    };
    if accept::encoding_of(text(header::CONTENT_TYPE)) != Some(Encoding::Json) {
        return Err(Malformed::Syntax.into());
    }
    let gzip = text(header::CONTENT_ENCODING) == "gzip";
    Ok((response.into_body(), gzip))
}

impl Collection {
    fn list(&self) -> Option<(Parts, Asked)> {
        // Any version: what has changed since then, the watch tells.
        let mut head = self.head("resourceVersion=0", "PartialObjectMetadataList")?;
        let gzip = header::HeaderValue::from_static("gzip");
        head.headers.insert(header::ACCEPT_ENCODING, gzip);
        let asked = classify(&head).ok()?;
        Some((head, asked))
    }

    fn watch(&self, from: &str, secs: u64) -> Option<(Parts, Asked)> {
        let more = format!(
            "watch=true&allowWatchBookmarks=true&timeoutSeconds={secs}&resourceVersion={from}"
        );
        let head = self.head(&more, "PartialObjectMetadata")?;
        let asked = classify(&head).ok()?;
        Some((head, asked))
    }

    fn head(&self, more: &str, form: &str) -> Option<Parts> {
        let between = if self.target.contains('?') { '&' } else { '?' };
        let accept = match self.metadata {
            true => format!("application/json;as={form};g=meta.k8s.io;v=v1"),
            false => "application/json".to_owned(),
        };
        let request = Request::get(format!("{}{between}{more}", self.target))
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, accept);
        Some(request.body(()).ok()?.into_parts().0)
    }
}

/// The hub's own name among the programs.
pub const USER_AGENT: &str = concat!("edge-hub/", env!("CARGO_PKG_VERSION"));
