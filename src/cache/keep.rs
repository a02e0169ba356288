//! Keeps an answer while it passes: fed with the bytes that the client gets, in pieces; commits at the end or not at
//! all. Never waits, and never changes what the client sees.

use super::key::{Key, Scope, item_key};
use super::note::Note;
use super::{Begun, Cache, Page, count, version};
use crate::access::Who;
use crate::limits;
use crate::object::gunzip::Gunzip;
use crate::object::list::ListScanner;
use crate::object::{self, Encoding, Malformed};
use crate::request::accept::encoding_of;
use crate::request::agent::Class;
use crate::request::{Asked, Demand, Form, Verb};
use crate::store::Fill;
use std::cell::RefCell;
use std::rc::Rc;

/// One answer on its way. Dropping it before [`Keeper::finish`] keeps nothing.
pub struct Keeper {
    cache: Rc<RefCell<Cache>>,
    key: Key,
    class: Class,
    gunzip: Option<Box<Gunzip>>,
    what: What,
    /// When this list's first page, or this answer, was asked for.
    begun: Begun,
    /// A fault: the rest passes unseen.
    given_up: bool,
}

enum What {
    List {
        scanner: Option<Box<ListScanner>>,
        fill: Option<Fill>,
        /// Version and kind of the pages before.
        so_far: Option<(String, String)>,
        item_broken: bool,
    },
    Whole {
        body: Vec<u8>,
        kind: Whole,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Object,
    Absent,
    Document,
}

/// What the head of an answer says.
pub struct Head<'a> {
    pub status: u16,
    pub content_type: &'a str,
    pub gzip: bool,
    /// When the API server was asked.
    pub begun: Begun,
}

impl Keeper {
    /// A keeper for this answer, if it is one that is kept. Watches are followed by [`super::watched`].
    pub fn new(
        cache: &Rc<RefCell<Cache>>,
        asked: &Asked,
        who: Who,
        head: &Head<'_>,
    ) -> Option<Keeper> {
        let scope = super::key::scope(asked).filter(|_| asked.verb != Verb::Watch)?;
        let encoding = match (&scope, encoding_of(head.content_type)) {
            (_, Some(encoding)) => encoding,
            // A document is kept as the bytes that it is.
            (Scope::Document(_), None) => Encoding::Json,
            _ => return None,
        };
        let mut key = Key {
            agent: asked.agent.clone(),
            who,
            scope,
            encoding,
            // Which clause of `Accept` the server took, the answer itself shows; this finds the pages before.
            form: asked
                .wanted
                .iter()
                .find(|w| w.encoding == encoding)
                .map_or(Form::Object, |w| w.form),
        };
        if let Scope::Document(document) = &mut key.scope {
            document.content_type = head.content_type.to_owned();
        }
        let class = cache.borrow().admit(&key)?;
        let mut begun = head.begun;
        let what = match (&key.scope, head.status) {
            (Scope::Objects(_), 200) => list(cache, &key, class, asked, &mut begun)?,
            (Scope::One(_), 200) => whole(Whole::Object),
            (Scope::One(_), 404) => whole(Whole::Absent),
            (Scope::Document(_), 200) => whole(Whole::Document),
            _ => return None,
        };
        Some(Keeper {
            cache: Rc::clone(cache),
            key,
            class,
            gunzip: head.gzip.then(Box::default),
            what,
            begun,
            given_up: false,
        })
    }

    /// The next piece of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.given_up {
            return;
        }
        let fed = match self.gunzip.take() {
            None => self.take(bytes),
            Some(mut gunzip) => {
                let fed = gunzip.feed(bytes, &mut |piece| self.take(piece));
                self.gunzip = Some(gunzip);
                fed
            }
        };
        if fed.is_err() {
            self.give_up();
        }
    }

    /// The body has ended as it should.
    pub fn finish(mut self) {
        if self.given_up {
            return;
        }
        if self.gunzip.as_ref().is_some_and(|g| !g.is_complete()) || self.commit().is_err() {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.given_up = true;
        count(&self.cache.borrow().counts.broken);
        self.release();
    }

    /// Gives back what the fill holds.
    fn release(&mut self) {
        if let What::List { fill, .. } = &mut self.what
            && let Some(fill) = fill.take()
        {
            self.cache.borrow_mut().abort(fill);
        }
        if let What::Whole { body, .. } = &mut self.what {
            *body = Vec::new();
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        match &mut self.what {
            What::Whole { body, kind } => {
                if body.len() + bytes.len() > kind.bytes_max() {
                    return Err(Malformed::TooLarge);
                }
                body.extend_from_slice(bytes);
                Ok(())
            }
            What::List {
                scanner,
                fill,
                item_broken,
                ..
            } => {
                let (cache, kept_as) = (&self.cache, &self.key);
                let mut refused = None;
                let mut item = |bytes: &[u8]| {
                    let Ok((_, meta)) = object::read_meta(kept_as.encoding, bytes) else {
                        *item_broken = true;
                        return;
                    };
                    if meta.name.is_empty() {
                        *item_broken = true;
                    }
                    if let Some(into) = fill {
                        let key = item_key(&meta.namespace, &meta.name);
                        let tag = kept_as.tag(bytes);
                        let mut cache = cache.borrow_mut();
                        refused = cache.store.put(into, &key, bytes, tag).err();
                    }
                    if refused.is_some()
                        && let Some(fill) = fill.take()
                    {
                        cache.borrow_mut().abort(fill);
                    }
                };
                let scanner = scanner.as_mut().ok_or(Malformed::Syntax)?;
                scanner.feed(bytes, &mut item)?;
                if let Some(why) = refused {
                    cache.borrow().counts.not_kept(why);
                    self.given_up = true;
                }
                match item_broken {
                    true => Err(Malformed::Shape),
                    false => Ok(()),
                }
            }
        }
    }

    fn commit(&mut self) -> Result<(), Malformed> {
        match &mut self.what {
            What::List {
                scanner,
                fill,
                so_far,
                ..
            } => {
                let (Some(scanner), Some(fill)) = (scanner.take(), fill.take()) else {
                    return Err(Malformed::Syntax);
                };
                let so_far = so_far.take();
                self.commit_list(*scanner, fill, so_far)
            }
            What::Whole { body, kind } => {
                let (body, kind) = (std::mem::take(body), *kind);
                self.commit_whole(&body, kind)
            }
        }
    }

    fn commit_list(
        &mut self,
        scanner: ListScanner,
        fill: Fill,
        so_far: Option<(String, String)>,
    ) -> Result<(), Malformed> {
        let mut cache = self.cache.borrow_mut();
        let head = match scanner.finish() {
            Ok(head) => head,
            Err(malformed) => {
                cache.abort(fill);
                return Err(malformed);
            }
        };
        let item_kind = head.type_meta.kind.strip_suffix("List").unwrap_or_default();
        // Pages of two versions are no list, nor are objects and the metadata of others.
        let goes_on = so_far.is_none_or(|(version, kind)| {
            version == head.resource_version && kind == head.type_meta.kind
        });
        if item_kind.is_empty() || head.resource_version.is_empty() || !goes_on {
            cache.abort(fill);
            return Err(Malformed::NotList);
        }
        self.key.form = match item_kind {
            "PartialObjectMetadata" => Form::Metadata,
            _ => Form::Object,
        };
        if !head.continue_token.is_empty() {
            let page = Page::new(self.key.clone(), head, fill, self.begun);
            cache.put_page(page);
            return Ok(());
        }
        let note = Note::Objects(object::TypeMeta::new(
            &head.type_meta.api_version,
            item_kind,
        ));
        // A list that is older than what a watch has told since it was asked for would go back in time. One that is older
        // than what nobody has confirmed since is news: etcd was restored from a backup.
        let is_older = cache
            .id(&self.key)
            .and_then(|id| cache.store.version(id))
            .is_some_and(|kept| version::is_older(&head.resource_version, kept));
        if is_older && cache.is_confirmed_since(&self.key, self.begun) {
            cache.abort(fill);
            return Ok(());
        }
        if cache
            .commit(&self.key, fill, &head.resource_version, &note, None)
            .is_ok()
        {
            count(&cache.counts.lists);
        }
        Ok(())
    }

    fn commit_whole(&mut self, body: &[u8], kind: Whole) -> Result<(), Malformed> {
        let encoding = self.key.encoding;
        let (value, version, note) = match kind {
            Whole::Document => (body.into(), String::new(), Note::Document),
            Whole::Absent => {
                let (type_meta, status) = object::open_single(encoding, body)?;
                let says = object::status::reason(encoding, status)?;
                if type_meta.kind != "Status" || says != "NotFound" {
                    return Ok(());
                }
                (body.into(), String::new(), Note::Absent)
            }
            Whole::Object => {
                let (type_meta, meta, bare) = object::read_single(encoding, body)?;
                match type_meta.kind.as_ref() {
                    "Table" | "Status" => return Ok(()),
                    "PartialObjectMetadata" => self.key.form = Form::Metadata,
                    _ => self.key.form = Form::Object,
                }
                let type_meta = type_meta.into_owned();
                let value = object::canonical(encoding, &type_meta, bare).into_owned();
                (
                    value,
                    meta.resource_version.into_owned(),
                    Note::Objects(type_meta),
                )
            }
        };
        let mut cache = self.cache.borrow_mut();
        if cache.writes != self.begun.writes {
            // Something was written while this was on its way: it may tell what was before.
            return Ok(());
        }
        let sole = cache.digest(&version, &note, &value);
        if cache.confirm(&self.key, sole) {
            return Ok(());
        }
        let mut fill = cache.begin(&self.key, self.class);
        let tag = match note {
            Note::Objects(_) => self.key.tag(&value),
            Note::Absent | Note::Document => sole as u32,
        };
        if let Err(why) = cache.store.put(&mut fill, "", &value, tag) {
            cache.abort(fill);
            cache.counts.not_kept(why);
            return Ok(());
        }
        if cache
            .commit(&self.key, fill, &version, &note, Some(sole))
            .is_ok()
        {
            count(&cache.counts.objects);
        }
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.release();
    }
}

impl Whole {
    fn bytes_max(self) -> usize {
        match self {
            Whole::Object => limits::OBJECT_BYTES_MAX,
            Whole::Absent => limits::ABSENT_BYTES_MAX,
            Whole::Document => limits::DOCUMENT_BYTES_MAX,
        }
    }
}

fn whole(kind: Whole) -> What {
    What::Whole {
        body: Vec::new(),
        kind,
    }
}

fn list(
    cache: &Rc<RefCell<Cache>>,
    key: &Key,
    class: Class,
    asked: &Asked,
    begun: &mut Begun,
) -> Option<What> {
    let (so_far, fill) = match asked.options.demand() {
        Demand::NextPage => {
            let token = asked.options.continue_token.as_deref()?;
            let page = cache.borrow_mut().take_page(key, token)?;
            *begun = page.begun;
            (Some((page.version, page.kind)), page.fill)
        }
        // A list of a past version on purpose (kubernetes-api.md 3.2): true then, not now.
        Demand::Exactly(_) => return None,
        Demand::NotOlderThan(_) | Demand::Any => (None, cache.borrow_mut().begin(key, class)),
    };
    Some(What::List {
        scanner: Some(Box::new(ListScanner::new(
            key.encoding,
            limits::OBJECT_BYTES_MAX,
        ))),
        fill: Some(fill),
        so_far,
        item_broken: false,
    })
}
