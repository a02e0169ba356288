//! What is kept: requests mapped to collections, admission, answers without the cloud. Knows neither HTTP nor sockets.

pub mod answer;
pub mod cluster_ip;
pub mod keep;
pub mod key;
mod name;
pub mod note;
mod operate;
pub mod own;
pub mod pods;
mod restore;
pub mod version;
pub mod watched;

#[cfg(test)]
mod tests;

use crate::access::Who;
use crate::limits;
use crate::object::list::ListHead;
use crate::request::Resource;
use crate::request::agent::{Agents, Class};
use crate::store::{CollectionId, Fill, NotKept, Store, Totals, View};
use key::{Key, Scope};
use siphasher::sip::SipHasher24;
use std::cell::Cell;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::time::{Duration, Instant};

/// The table of collections, and the store behind it.
pub struct Cache {
    store: Store,
    /// Invariant: at most [`limits::COLLECTIONS_MAX`] entries. An entry whose collection the store has evicted is as
    /// good as absent, and is cleared when room is needed.
    table: BTreeMap<Key, Entry>,
    /// By [`own::Own`].
    own: [Option<CollectionId>; own::COUNT],
    pages: heapless::Vec<Page, { limits::PAGED_LISTS_MAX }>,
    /// Writes that have passed.
    writes: u64,
    /// Gets that the API server has denied to identities which were told the object by a list.
    denied: heapless::Vec<(Who, key::One), { limits::DENIED_GETS_MAX }>,
    agents: Agents,
    /// Under a key of this run: nobody outside can make two values of one digest.
    digests: SipHasher24,
    /// Of the collections in which the cluster IP was looked for last, and their versions.
    cluster_ip_seen: Option<u64>,
    pub counts: Counts,
}

struct Entry {
    id: CollectionId,
    /// Watches that are open upstream and feed it: while there is one, it is current.
    live: u32,
    /// When it was last known to be current, or the start of the run if it was not since.
    confirmed: Instant,
    /// How old it was by then; nothing if it was current.
    before: Duration,
    /// Digest of the version, note and value of the one item, where there is but one and it came in this run.
    sole: Option<u64>,
    /// The version that the last change of an object led to, if that is known: from there on nothing but the version moved.
    changed: Option<Box<str>>,
}

/// A chunked list between two of its pages.
struct Page {
    key: Key,
    continue_token: String,
    version: String,
    /// Of the list, such as `PodList`.
    kind: String,
    fill: Fill,
    /// When its first page was asked for.
    begun: Begun,
    since: Instant,
}

/// When the API server was asked for an answer.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    at: Instant,
    /// How many writes the hub had passed by then.
    writes: u64,
}

impl Page {
    fn new(key: Key, head: ListHead, fill: Fill, begun: Begun) -> Self {
        Page {
            key,
            continue_token: head.continue_token,
            version: head.resource_version,
            kind: head.type_meta.kind,
            fill,
            begun,
            since: Instant::now(),
        }
    }
}

/// Why something was or was not kept, counted where it is decided.
#[derive(Debug, Default)]
pub struct Counts {
    pub lists: Cell<u64>,
    pub objects: Cell<u64>,
    pub events: Cell<u64>,
    /// Answers that ended early, or that the hub could not read.
    pub broken: Cell<u64>,
    pub no_room: Cell<u64>,
    /// What the store was too slow for.
    pub behind: Cell<u64>,
    /// Changes of collections that stay as they are since the store was too slow.
    pub frozen: Cell<u64>,
    /// What came after the store had stopped writing.
    pub off: Cell<u64>,
    /// Collections that a watch could not follow without a gap.
    pub gaps: Cell<u64>,
}

impl Counts {
    fn not_kept(&self, why: NotKept) {
        count(match why {
            // What is gone had to make room.
            NotKept::NoRoom | NotKept::Gone => &self.no_room,
            NotKept::Behind => &self.behind,
            NotKept::Frozen => &self.frozen,
            NotKept::Off => &self.off,
        });
    }
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// A collection's line in `status`.
#[derive(Debug, Clone)]
pub struct Shown {
    pub id: CollectionId,
    pub key: Key,
    pub objects: usize,
    pub bytes: usize,
    pub version: String,
    pub live: bool,
    /// The store could not follow: it stays as it is until it is replaced.
    pub behind: bool,
    pub age: Duration,
}

impl Cache {
    /// An empty cache over this store. `digest_key`: random, of this run.
    pub fn new(store: Store, agents: Agents, digest_key: &[u8; 16]) -> Self {
        Cache {
            store,
            table: BTreeMap::new(),
            own: [None; own::COUNT],
            pages: heapless::Vec::new(),
            denied: heapless::Vec::new(),
            agents,
            digests: SipHasher24::new_with_key(digest_key),
            cluster_ip_seen: None,
            writes: 0,
            counts: Counts::default(),
        }
    }

    /// The class of an agent; `None`: its answers are not kept.
    pub fn class(&self, agent: &str) -> Option<Class> {
        self.agents.class(agent)
    }

    /// The class of what is to be kept under this key; `None`: it is not kept.
    fn admit(&self, key: &Key) -> Option<Class> {
        self.class(&key.agent).filter(|_| key.has_name())
    }

    /// Takes over a changed configuration. What is no longer wanted is left to eviction.
    pub fn reconfigure(&mut self, bytes_max: usize, agents: Agents) {
        self.store.set_cap(bytes_max);
        self.agents = agents;
    }

    /// Digests under a key of this run: nobody outside can make two values of one.
    pub fn digests(&self) -> SipHasher24 {
        self.digests
    }

    /// Where answers are kept: `ring` or `ram`.
    pub fn kind(&self) -> &'static str {
        self.store.kind()
    }

    /// What only a store on flash has to tell.
    pub fn flash(&self) -> Option<crate::store::ring::thread::Stats> {
        self.store.flash()
    }

    /// Asks for everything to be written that a cut would lose. The future resolves when that is done.
    pub fn flush(&mut self) -> impl Future<Output = ()> + use<> {
        self.store.flush()
    }

    pub fn totals(&self) -> Totals {
        self.store.totals()
    }

    /// Lists of which some pages are here and some are not.
    pub fn filling(&self) -> usize {
        self.pages.len()
    }

    /// Every collection that is there, in key order.
    pub fn shown(&mut self, now: Instant) -> Vec<Shown> {
        self.store.settle();
        let shown = |(key, entry): (&Key, &Entry)| {
            let (objects, bytes) = self.store.size(entry.id)?;
            Some(Shown {
                id: entry.id,
                key: key.clone(),
                objects,
                bytes,
                version: self.store.version(entry.id)?.to_owned(),
                live: entry.live > 0,
                behind: self.store.is_frozen(entry.id),
                age: entry.age(now),
            })
        };
        self.table.iter().filter_map(shown).collect()
    }

    /// The API server no longer lets this identity have it: forgets the scope, and every list of which it is a part.
    /// Who may not get one object may still list it, so there the lists stay, and only the get is denied.
    pub fn forget(&mut self, who: &Who, scope: &Scope) {
        let may = |kept: &Scope| match (kept, scope) {
            (Scope::Objects(kept), Scope::Objects(refused)) => !kept.is_as_wide_as(refused),
            _ => kept != scope,
        };
        self.forget_now(|k| k.who == *who && !may(&k.scope));
        if let Scope::One(one) = scope {
            self.deny(*who, one);
        }
    }

    /// No list tells what a get was denied, until it is allowed again. Denials of what no list can tell any more make
    /// room; else the oldest does, and takes the lists with it that would tell.
    fn deny(&mut self, who: Who, one: &key::One) {
        if self.is_denied(who, one) || self.telling(who, one).is_empty() {
            return;
        }
        if self.denied.is_full() {
            let denied = std::mem::take(&mut self.denied);
            self.denied = denied
                .into_iter()
                .filter(|(who, one)| !self.telling(*who, one).is_empty())
                .collect();
        }
        if self.denied.is_full() {
            let (who, one) = self.denied.remove(0);
            for key in self.telling(who, &one) {
                self.remove(&key);
            }
        }
        let _ = self.denied.push((who, one.clone()));
    }

    /// The lists of this identity that may hold the object: nobody looks into them for this.
    fn telling(&self, who: Who, one: &key::One) -> Vec<Key> {
        let tells = |key: &Key, entry: &Entry| {
            matches!(&key.scope, Scope::Objects(o) if key.who == who && o.may_contain(one))
                && self.store.contains(entry.id)
        };
        self.table
            .iter()
            .filter(|(key, entry)| tells(key, entry))
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn is_denied(&self, who: Who, one: &key::One) -> bool {
        self.denied.iter().any(|(w, o)| *w == who && o == one)
    }

    /// A get that was answered is not denied.
    fn allow(&mut self, key: &Key) {
        if let Scope::One(one) = &key.scope {
            self.denied.retain(|(who, o)| *who != key.who || o != one);
        }
    }

    /// Forgets all that was kept for this identity: its credentials are no longer accepted.
    pub fn forget_all_of(&mut self, who: &Who) {
        self.forget_now(|k| k.who == *who);
    }

    /// Removes it, and has that written at once: after a cut nobody shall be told what was taken from him.
    fn forget_now(&mut self, goes: impl Fn(&Key) -> bool) {
        let before = self.table.len();
        self.remove_where(goes);
        if self.table.len() < before {
            drop(self.store.flush());
        }
    }

    /// To be taken before the API server is asked for what may be kept.
    pub fn begun(&self) -> Begun {
        Begun {
            at: Instant::now(),
            writes: self.writes,
        }
    }

    /// True if the collection is current, or was known to be at some time since then.
    fn is_confirmed_since(&self, key: &Key, begun: Begun) -> bool {
        let entry = self.table.get(key);
        entry.is_some_and(|e| e.live > 0 || e.confirmed >= begun.at)
    }

    /// Something was written at this path: what single answers told about it is no longer true, for anybody. Lists
    /// stay: they are what was true at their version.
    pub fn written(&mut self, resource: &Resource) {
        self.writes += 1;
        let touched = |one: &key::One| {
            one.group == resource.group
                && one.resource == resource.resource
                && resource
                    .namespace
                    .as_ref()
                    .is_none_or(|n| one.namespace == *n || one.namespace.is_empty())
                && resource.name.as_ref().is_none_or(|n| one.name == *n)
        };
        self.remove_where(|k| matches!(&k.scope, Scope::One(one) if touched(one)));
    }

    fn remove_where(&mut self, goes: impl Fn(&Key) -> bool) {
        let gone: Vec<Key> = self.table.keys().filter(|k| goes(k)).cloned().collect();
        for key in gone {
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.table.remove(key) {
            self.store.drop_collection(entry.id);
        }
    }

    fn id(&self, key: &Key) -> Option<CollectionId> {
        self.table
            .get(key)
            .map(|e| e.id)
            .filter(|id| self.store.contains(*id))
    }

    /// The collection as it is now, if it is what it was at `version`.
    fn view_at(
        &mut self,
        key: &Key,
        version: &str,
    ) -> Option<impl Future<Output = Option<View>> + use<>> {
        let entry = self.table.get(key)?;
        let kept = self.store.version(entry.id)?;
        if !entry.is_as_at(version, kept) {
            return None;
        }
        let kept = kept.to_owned();
        let view = self.store.view(entry.id);
        // Where the store could not follow, it is older than it said.
        Some(async move { view.await.filter(|view| *view.version == *kept) })
    }

    /// Begins a new version of `key`'s collection.
    fn begin(&mut self, key: &Key, class: Class) -> Fill {
        let replaces = self.id(key);
        self.store.begin(class as u8, replaces)
    }

    fn abort(&mut self, fill: Fill) {
        self.store.abort(fill);
    }

    /// The digest of what a collection of one item is.
    fn digest(&self, version: &str, note: &note::Note, value: &[u8]) -> u64 {
        let mut digest = self.digests;
        for part in [version.as_bytes(), &note.to_bytes(), value] {
            digest.write_usize(part.len());
            digest.write(part);
        }
        digest.finish()
    }

    /// True if the one item with this digest is kept already; it is then known to be current.
    fn confirm(&mut self, key: &Key, sole: u64) -> bool {
        let there = self.id(key).is_some();
        let same = |entry: &&mut Entry| there && entry.sole == Some(sole);
        match self.table.get_mut(key).filter(same) {
            Some(entry) => {
                entry.confirm();
                true
            }
            None => false,
        }
    }

    /// Puts a complete version in the place of the old one; `sole` is the digest of its one item, if there is but one.
    fn commit(
        &mut self,
        key: &Key,
        fill: Fill,
        version: &str,
        note: &note::Note,
        sole: Option<u64>,
    ) -> Result<CollectionId, NotKept> {
        self.allow(key);
        if !self.make_room_in_table(key) {
            self.store.abort(fill);
            self.counts.not_kept(NotKept::NoRoom);
            return Err(NotKept::NoRoom);
        }
        // Not what it was begun for: only the answer itself told its form, and another may have been quicker.
        let replaces = self.id(key);
        let (name, note) = (key.to_bytes(), note.to_bytes());
        let id = match self.store.commit(fill, replaces, &name, version, &note) {
            Ok(id) => id,
            Err(refused) => {
                self.counts.not_kept(refused);
                return Err(refused);
            }
        };
        let entry = Entry {
            id,
            live: self.table.get(key).map_or(0, |e| e.live),
            confirmed: Instant::now(),
            before: Duration::ZERO,
            sole,
            changed: Some(version.into()),
        };
        self.table.insert(key.clone(), entry);
        Ok(id)
    }

    /// Clears what the store has evicted; if the table is still full, the oldest entry of the lowest class goes. False: all
    /// are of a higher class than this one.
    fn make_room_in_table(&mut self, key: &Key) -> bool {
        if self.table.len() < limits::COLLECTIONS_MAX || self.table.contains_key(key) {
            return true;
        }
        let store = &self.store;
        self.table.retain(|_, e| store.contains(e.id) || e.live > 0);
        if self.table.len() < limits::COLLECTIONS_MAX {
            return true;
        }
        let now = Instant::now();
        let class = |key: &Key| self.agents.class(&key.agent);
        let worst = (self.table.iter())
            .max_by_key(|(key, e)| (Reverse(class(key)), e.live == 0, e.age(now)))
            .map(|(key, _)| key.clone());
        match worst.filter(|worst| class(worst) <= class(key)) {
            Some(worst) => {
                self.remove(&worst);
                true
            }
            None => false,
        }
    }

    /// Takes the pages before the one that this token asks for.
    fn take_page(&mut self, key: &Key, continue_token: &str) -> Option<Page> {
        let at = self
            .pages
            .iter()
            .position(|p| p.key == *key && p.continue_token == continue_token)?;
        Some(self.pages.swap_remove(at))
    }

    /// Keeps pages until the next one comes; the one that waits longest makes room.
    fn put_page(&mut self, page: Page) {
        let mut at = 0;
        while at < self.pages.len() {
            // The same list begun anew, or one that nobody went on with: etcd forgets its token after 5 minutes.
            let stale = self.pages[at].key == page.key
                || page.since - self.pages[at].since > limits::PAGED_LIST_AGE_MAX;
            if stale || (self.pages.is_full() && self.is_oldest_page(at)) {
                let old = self.pages.swap_remove(at);
                self.store.abort(old.fill);
            } else {
                at += 1;
            }
        }
        if let Err(page) = self.pages.push(page) {
            self.store.abort(page.fill);
        }
    }

    fn is_oldest_page(&self, at: usize) -> bool {
        self.pages.iter().all(|p| self.pages[at].since <= p.since)
    }
}

impl Entry {
    fn age(&self, now: Instant) -> Duration {
        match self.live {
            0 => now.saturating_duration_since(self.confirmed) + self.before,
            _ => Duration::ZERO,
        }
    }

    /// True if it is now, at version `kept`, what it was at `version`.
    fn is_as_at(&self, version: &str, kept: &str) -> bool {
        let no_later = |a, b| {
            matches!(
                version::compare(a, b),
                Some(Ordering::Less | Ordering::Equal)
            )
        };
        version == kept
            || (self.changed.as_deref())
                .is_some_and(|changed| no_later(changed, version) && no_later(version, kept))
    }

    /// It is current now.
    fn confirm(&mut self) {
        self.confirmed = Instant::now();
        self.before = Duration::ZERO;
    }
}
