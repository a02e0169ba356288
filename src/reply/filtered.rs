//! An answer of the API server that a program is told otherwise. Nothing of it goes out before it is certain that the
//! filters can read it, and nothing that they have not seen.

use super::body::Body;
use super::script::{BrokenOff, Pen, Script};
use crate::cache::keep::Keeper;
use crate::filter::list::{Fault, Rewriter};
use crate::filter::{Cannot, Judge, Verdict};
use crate::limits;
use crate::object::gunzip::Gunzip;
use crate::object::{self, Encoding, Malformed};
use crate::upstream::{BodyError, ResponseBody};
use bytes::Bytes;
use std::fmt;

/// An answer on its way in.
pub struct Unfiltered {
    pub body: ResponseBody,
    pub gzip: bool,
    pub encoding: Encoding,
    pub judge: Judge,
}

/// Why an answer cannot be told.
#[derive(Debug)]
pub enum NotTold {
    /// It broke off.
    Upstream(BodyError),
    /// The filters have no verdict.
    Fault(Fault),
}

impl From<Fault> for NotTold {
    fn from(fault: Fault) -> NotTold {
        NotTold::Fault(fault)
    }
}

impl From<Malformed> for NotTold {
    fn from(malformed: Malformed) -> NotTold {
        NotTold::Fault(malformed.into())
    }
}

impl fmt::Display for NotTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotTold::Upstream(error) => error.fmt(f),
            NotTold::Fault(fault) => fault.fmt(f),
        }
    }
}

/// One object, as it is told; `None`: it is not there.
pub async fn object(incoming: Unfiltered) -> Result<Option<Vec<u8>>, NotTold> {
    let (encoding, judge) = (incoming.encoding, incoming.judge);
    let body = whole(incoming.body, incoming.gzip).await?;
    let (type_meta, _, bare) = object::read_single(encoding, &body)?;
    if type_meta.kind != judge.kind.name() {
        return Err(Malformed::Shape.into());
    }
    Ok(match judge.of(encoding, bare).map_err(Fault::Cannot)? {
        Verdict::Keep => Some(body),
        Verdict::Drop => None,
        Verdict::Replace(told) => {
            let mut out = Vec::with_capacity(told.len() + 64);
            object::write_single(encoding, &type_meta.into_owned(), &told, &mut out);
            Some(out)
        }
    })
}

/// The whole of a body that is small by nature.
async fn whole(mut body: ResponseBody, gzip: bool) -> Result<Vec<u8>, NotTold> {
    let mut gunzip = gzip.then(Gunzip::default);
    let mut all = Vec::new();
    let mut take = |bytes: &[u8]| {
        if all.len() + bytes.len() > limits::FILTERED_OBJECT_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        all.extend_from_slice(bytes);
        Ok(())
    };
    while let Some(chunk) = body.chunk().await {
        let chunk = chunk.map_err(NotTold::Upstream)?;
        match &mut gunzip {
            Some(gunzip) => gunzip.feed(&chunk, &mut take)?,
            None => take(&chunk)?,
        }
    }
    match gunzip.is_none_or(|g| g.is_complete()) {
        true => Ok(all),
        false => Err(Malformed::Truncated.into()),
    }
}

/// A list, as it is told. Resolves when its first items are here.
pub async fn list(incoming: Unfiltered, keeper: Option<Keeper>) -> Result<Body, NotTold> {
    let judge = incoming.judge;
    let mut list = List {
        body: incoming.body,
        gunzip: incoming.gzip.then(Box::default),
        rest: Bytes::new(),
        rewriter: Rewriter::new(incoming.encoding, judge.kind.name(), judge.growth()),
        encoding: incoming.encoding,
        judge,
    };
    let mut first = Vec::new();
    let mut more = true;
    while more && first.is_empty() {
        more = list.next(&mut first).await?;
    }
    if more {
        return Ok(Body::script(Script::new(|pen| {
            Box::pin(write(pen, list, first, keeper))
        })));
    }
    // The whole of it is here, so its faults can still be told.
    let (_, tail) = list.rewriter.finish()?;
    tail.pieces()
        .for_each(|piece| first.extend_from_slice(&piece));
    if let Some(mut keeper) = keeper {
        keeper.feed(&first);
        keeper.finish();
    }
    Ok(Body::whole(first))
}

/// A list on its way.
struct List {
    body: ResponseBody,
    gunzip: Option<Box<Gunzip>>,
    /// Of the last chunk, what was not looked at yet.
    rest: Bytes,
    rewriter: Rewriter,
    encoding: Encoding,
    judge: Judge,
}

impl List {
    /// Takes the next bytes, and appends what goes out. False at the end.
    async fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, NotTold> {
        if self.rest.is_empty() {
            match self.body.chunk().await {
                Some(chunk) => self.rest = chunk.map_err(NotTold::Upstream)?,
                None if self.gunzip.as_ref().is_none_or(|g| g.is_complete()) => return Ok(false),
                None => return Err(Malformed::Truncated.into()),
            }
        }
        let (rewriter, judge, encoding) = (&mut self.rewriter, &self.judge, self.encoding);
        let mut fault = None;
        let mut feed = |bytes: &[u8]| {
            let fed = rewriter.feed(bytes, &mut |item| judge.of(encoding, item), out);
            fault = fed.err();
            fault.map_or(Ok(()), |_| Err(Malformed::Syntax))
        };
        let fed = match &mut self.gunzip {
            None => feed(&std::mem::take(&mut self.rest)),
            Some(gunzip) => {
                // A few bytes can be inflated to very many.
                let some = self.rest.len().min(limits::GUNZIP_BYTES);
                gunzip.feed(&self.rest.split_to(some), &mut feed)
            }
        };
        match (fault, fed) {
            (Some(fault), _) => Err(fault.into()),
            (None, Err(malformed)) => Err(malformed.into()),
            (None, Ok(())) => Ok(true),
        }
    }
}

async fn write(
    pen: Pen,
    mut list: List,
    mut out: Vec<u8>,
    mut keeper: Option<Keeper>,
) -> Result<(), BrokenOff> {
    loop {
        if !out.is_empty() {
            told(&pen, &mut keeper, std::mem::take(&mut out).into()).await;
        }
        match list.next(&mut out).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(why) => return Err(broken_off(&why)),
        }
    }
    let (_, tail) = list
        .rewriter
        .finish()
        .map_err(|fault| broken_off(&fault.into()))?;
    for piece in tail.pieces() {
        told(&pen, &mut keeper, piece).await;
    }
    if let Some(keeper) = keeper {
        keeper.finish();
    }
    Ok(())
}

async fn told(pen: &Pen, keeper: &mut Option<Keeper>, bytes: Bytes) {
    if let Some(keeper) = keeper {
        keeper.feed(&bytes);
    }
    pen.write(bytes).await;
}

fn broken_off(why: &NotTold) -> BrokenOff {
    match why {
        NotTold::Upstream(error) => {
            log::debug!("a filtered list broke off: {error}");
            BrokenOff("the API server's answer broke off")
        }
        NotTold::Fault(fault) => {
            note(fault);
            BrokenOff("the API server's answer cannot be read by the filters that it must pass")
        }
    }
}

/// Says, and counts, that something could not be told.
pub fn note(fault: &Fault) {
    crate::admin::metrics::not_filtered();
    match fault {
        Fault::Cannot(Cannot::Decide) => log::debug!("filter: {fault}"),
        _ => log::warn!("filter: an answer was not passed on: {fault}"),
    }
}
