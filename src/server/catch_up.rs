//! A held watch of which the API server has forgotten the version: the hub lists what is watched, with the client's own
//! credentials, and tells the client what is different from what it holds.

use super::handle::{Exchange, text};
use super::splice::Splice;
use crate::cache::keep::{Head, Keeper};
use crate::filter::list::Rewriter;
use crate::filter::{Judge, Verdict};
use crate::limits;
use crate::object::gunzip::Gunzip;
use crate::object::list::{ListHead, ListScanner};
use crate::object::{Encoding, Malformed};
use crate::request::{accept, classify};
use crate::upstream::{RequestBody, ResponseBody};
use crate::watch::difference::{Difference, Unknown};
use crate::watch::event;
use bytes::Bytes;
use http::header;
use http::request::Parts;
use std::cell::Cell;
use std::fmt;

/// Why a client could not be told what is different.
#[derive(Debug)]
pub(super) enum Failed {
    /// The link, or a server that is not ready: it may be tried again.
    Later,
    /// What the client holds is not known, or what is different from it cannot be: it must list again.
    Never(&'static str),
    /// As before, for this reason.
    Unknown(Unknown),
    /// The API server has something else to say to this client.
    Over,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Later => f.write_str("the API server gave no list"),
            Failed::Never(why) => f.write_str(why),
            Failed::Unknown(why) => why.fmt(f),
            Failed::Over => f.write_str("the API server refused a list"),
        }
    }
}

impl From<Unknown> for Failed {
    fn from(why: Unknown) -> Failed {
        Failed::Unknown(why)
    }
}

impl From<Malformed> for Failed {
    fn from(malformed: Malformed) -> Failed {
        Failed::Unknown(malformed.into())
    }
}

/// The last page of a list, and who keeps it.
type Listed = (ListHead, Option<Keeper>);

impl Splice {
    /// Tells the client what is different, after which it was told everything up to another version.
    pub(super) async fn catch_up(&mut self) -> Result<(), Failed> {
        let unknown = Failed::Never("what the client holds is not kept");
        let _turn = self.shared.differences.turn(self.rank).await;
        let (Some(held), Some(since)) = (&self.relay.held, self.relay.told.version()) else {
            return Err(unknown);
        };
        let lost = |_| Failed::Never("what the client holds can no longer be read");
        let digests = self.shared.cache.borrow().digests();
        let mut difference = Difference::new(self.relay.encoding, since, digests);
        let mut reading = held.list.read();
        while let Some(items) = reading.next().await.map_err(lost)? {
            for item in items {
                difference.held(&item.value)?;
            }
        }
        difference.held_all()?;
        let accept = accept::only_list(self.relay.encoding, &held.list.type_meta);
        let judge = self
            .relay
            .lens
            .as_ref()
            .map(|lens| lens.stage.judge().clone());
        let mut there = |object: &[u8], verdict: &Verdict| match verdict {
            Verdict::Keep => difference.there(object),
            Verdict::Replace(told) => difference.there(told),
            Verdict::Drop => Ok(()),
        };
        let (head, keeper) = self.list(accept, judge.as_ref(), &mut there).await?;
        // Before the new list takes the place of what the client holds.
        if difference.has_gone() {
            let mut reading = held.list.read();
            while let Some(items) = reading.next().await.map_err(lost)? {
                for item in items {
                    difference.gone(&item.value)?;
                }
            }
        }
        let mut events = difference.finish(&head)?;
        if let Some(keeper) = keeper {
            keeper.finish();
        }
        let mut out = Vec::new();
        while events.next(&mut out) {
            if out.len() > limits::PIECE_BYTES {
                self.relay
                    .write(Bytes::from(std::mem::take(&mut out)))
                    .await;
            }
        }
        let version = &head.resource_version;
        if self.relay.told.takes_bookmarks() {
            let encoding = self.relay.encoding;
            event::write_bookmark(encoding, &events.type_meta, version, false, &mut out);
        }
        self.relay.write(Bytes::from(out)).await;
        self.relay.told.everything(version);
        self.relay.held = None;
        let caught_up = &self.shared.held.caught_up;
        caught_up.set(caught_up.get() + 1);
        Ok(())
    }

    /// Lists what is watched, page by page, and hands each object to `there` with the verdict on it. It is kept, as it is
    /// told, once the keeper that is returned has finished.
    pub(super) async fn list(
        &self,
        accept: &'static str,
        judge: Option<&Judge>,
        there: There<'_>,
    ) -> Result<Listed, Failed> {
        let mut next = String::new();
        loop {
            let no_list = Failed::Never("there is no list of what is watched");
            let page = self.ask.list(accept, &next).ok_or(no_list)?;
            let (head, keeper) = self.page(&page, judge, there).await?;
            if head.continue_token.is_empty() {
                return Ok((head, keeper));
            }
            if let Some(keeper) = keeper {
                keeper.finish();
            }
            next = head.continue_token;
        }
    }

    async fn page(
        &self,
        page: &Parts,
        judge: Option<&Judge>,
        there: There<'_>,
    ) -> Result<Listed, Failed> {
        let asked = classify(page).map_err(|_| Failed::Over)?;
        let judge = judge.filter(|judge| !judge.set.is_empty());
        if judge.is_some_and(Judge::is_blind) {
            return Err(Failed::Later);
        }
        let caller = self.caller(&page.headers).ok_or(Failed::Over)?;
        let exchange = Exchange::new(&self.shared, &self.peer, &asked);
        let begun = self.shared.cache.borrow().begun();
        let way = exchange.way(caller);
        let send = self.shared.upstream.send(way, page, RequestBody::Empty);
        let response = send.await.map_err(|_| Failed::Later)?;
        let (head, body) = response.into_parts();
        exchange.learn(caller, head.status);
        match head.status.as_u16() {
            200 => {}
            // A page of a list that has grown too old.
            410 | 429 | 500..=599 => return Err(Failed::Later),
            _ => return Err(Failed::Over),
        }
        let content_type = text(&head.headers, header::CONTENT_TYPE);
        let gzip = match text(&head.headers, header::CONTENT_ENCODING) {
            "" | "identity" => false,
            "gzip" => true,
            _ => return Err(Malformed::Syntax.into()),
        };
        if accept::encoding_of(content_type) != Some(self.relay.encoding) {
            return Err(Malformed::Envelope.into());
        }
        let seen = Head {
            status: 200,
            content_type,
            gzip: false,
            begun,
        };
        let keeper = Keeper::new(&self.shared.cache, &asked, self.who, &seen);
        let page = Page {
            encoding: self.relay.encoding,
            gzip,
            body,
            keeper,
        };
        match judge {
            None => page.read(there).await,
            Some(judge) => page.read_judged(judge, there).await,
        }
    }
}

/// Who is shown each object of a list, and the verdict on it.
pub(super) type There<'a> = &'a mut dyn FnMut(&[u8], &Verdict) -> Result<(), Unknown>;

/// One page on its way.
struct Page {
    encoding: Encoding,
    gzip: bool,
    body: ResponseBody,
    keeper: Option<Keeper>,
}

impl Page {
    async fn read(mut self, there: There<'_>) -> Result<Listed, Failed> {
        let mut scanner = ListScanner::new(self.encoding, limits::OBJECT_BYTES_MAX);
        let mut keeper = self.keeper.take();
        let unknown = Cell::new(None);
        let mut take = |bytes: &[u8]| {
            if let Some(keeper) = &mut keeper {
                keeper.feed(bytes);
            }
            scanner.feed(bytes, &mut |object| {
                if unknown.get().is_none() {
                    unknown.set(there(object, &Verdict::Keep).err());
                }
            })
        };
        self.plain(&mut take, &unknown).await?;
        Ok((scanner.finish()?, keeper))
    }

    /// The same, as the filters say it.
    async fn read_judged(mut self, judge: &Judge, there: There<'_>) -> Result<Listed, Failed> {
        let mut rewriter = Rewriter::new(self.encoding, judge.kind.name(), judge.growth());
        let (mut keeper, encoding) = (self.keeper.take(), self.encoding);
        let unknown = Cell::new(None);
        let mut out = Vec::new();
        let mut of_item = |object: &[u8]| {
            let verdict = judge.of(encoding, object)?;
            if unknown.get().is_none() {
                unknown.set(there(object, &verdict).err());
            }
            Ok(verdict)
        };
        let mut take = |bytes: &[u8]| {
            out.clear();
            let fed = rewriter.feed(bytes, &mut of_item, &mut out);
            if let Some(keeper) = &mut keeper {
                keeper.feed(&out);
            }
            fed.map_err(|_| Malformed::Shape)
        };
        self.plain(&mut take, &unknown).await?;
        let (head, tail) = rewriter.finish().map_err(|_| Malformed::Truncated)?;
        if let Some(keeper) = &mut keeper {
            for piece in tail.pieces() {
                keeper.feed(&piece);
            }
        }
        Ok((head, keeper))
    }

    /// Hands the body on, inflated.
    async fn plain(
        &mut self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Malformed>,
        unknown: &Cell<Option<Unknown>>,
    ) -> Result<(), Failed> {
        let mut gunzip = self.gzip.then(Gunzip::default);
        while let Some(chunk) = self.body.chunk().await {
            let chunk = chunk.map_err(|_| Failed::Later)?;
            match &mut gunzip {
                None => take(&chunk)?,
                Some(gunzip) => gunzip.feed(&chunk, take)?,
            }
            if let Some(why) = unknown.get() {
                return Err(why.into());
            }
        }
        match gunzip.is_none_or(|gunzip| gunzip.is_complete()) {
            true => Ok(()),
            false => Err(Malformed::Truncated.into()),
        }
    }
}
