//! What is kept: requests mapped to collections, admission, answers without the cloud. Knows neither HTTP nor sockets.

pub mod answer;
pub mod keep;
pub mod key;
pub mod note;
pub mod version;
pub mod watched;

#[cfg(test)]
mod tests;

use crate::access::Who;
use crate::limits;
use crate::object;
use crate::object::list::ListHead;
use crate::request::agent::{Agents, Class};
use crate::request::{Form, Resource};
use crate::store::ram::{Fill, Ram};
use crate::store::{CollectionId, NotKept, Totals, View};
use key::{Key, Scope};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The table of collections, and the store behind it.
pub struct Cache {
    store: Ram,
    /// Invariant: at most [`limits::COLLECTIONS_MAX`] entries. An entry whose collection the store has evicted is as
    /// good as absent, and is cleared when room is needed.
    table: BTreeMap<Key, Entry>,
    pages: heapless::Vec<Page, { limits::PAGED_LISTS_MAX }>,
    /// Writes that have passed.
    writes: u64,
    /// Gets that the API server has denied to identities which were told the object by a list.
    denied: heapless::Vec<(Who, key::One), { limits::DENIED_GETS_MAX }>,
    agents: Agents,
    pub counts: Counts,
}

struct Entry {
    id: CollectionId,
    /// Watches that are open upstream and feed it: while there is one, it is current.
    live: u32,
    /// When it was last known to be current.
    confirmed: Instant,
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
    /// Collections that a watch could not follow without a gap.
    pub gaps: Cell<u64>,
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// A collection's line in `status`.
#[derive(Debug, Clone)]
pub struct Shown {
    pub key: Key,
    pub objects: usize,
    pub bytes: usize,
    pub version: String,
    pub live: bool,
    pub age: Duration,
}

impl Cache {
    /// A cache in memory, of at most `bytes_max`.
    pub fn new(bytes_max: usize, agents: Agents) -> Self {
        Cache {
            store: Ram::new(bytes_max),
            table: BTreeMap::new(),
            pages: heapless::Vec::new(),
            denied: heapless::Vec::new(),
            agents,
            writes: 0,
            counts: Counts::default(),
        }
    }

    /// The class of an agent; `None`: its answers are not kept.
    pub fn class(&self, agent: &str) -> Option<Class> {
        self.agents.class(agent)
    }

    /// Takes over a changed configuration. What is no longer wanted is left to eviction.
    pub fn reconfigure(&mut self, bytes_max: usize, agents: Agents) {
        self.store.set_cap(bytes_max);
        self.agents = agents;
    }

    pub fn totals(&self) -> Totals {
        self.store.totals()
    }

    /// Lists of which some pages are here and some are not.
    pub fn filling(&self) -> usize {
        self.pages.len()
    }

    /// The cluster IPs of `default/kubernetes`, if any kept answer holds that Service.
    pub fn cluster_ips(&mut self) -> Vec<IpAddr> {
        let services = self.table.iter().find_map(|(key, entry)| {
            let view_key = match &key.scope {
                Scope::Objects(o) if o.group.is_empty() && o.resource == "services" => {
                    "default/kubernetes"
                }
                Scope::One(o)
                    if o.group.is_empty()
                        && o.resource == "services"
                        && o.namespace == "default"
                        && o.name == "kubernetes" =>
                {
                    ""
                }
                _ => return None,
            };
            let item = self.store.peek(entry.id)?.get(view_key)?.clone();
            (key.form == Form::Object).then_some((key.encoding, item))
        });
        services.map_or_else(Vec::new, |(encoding, item)| {
            object::service::cluster_ips(encoding, &item)
        })
    }

    /// Every collection that is there, in key order.
    pub fn shown(&self, now: Instant) -> Vec<Shown> {
        let shown = |(key, entry): (&Key, &Entry)| {
            let (objects, bytes) = self.store.size(entry.id)?;
            Some(Shown {
                key: key.clone(),
                objects,
                bytes,
                version: self.store.version(entry.id)?.to_owned(),
                live: entry.live > 0,
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
        self.remove_where(|k| k.who == *who && !may(&k.scope));
        if let Scope::One(one) = scope {
            self.deny(*who, one);
        }
    }

    /// No list tells what a get was denied, until it is allowed again. Denials of what no list holds any more make
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

    /// The lists of this identity that hold the object.
    fn telling(&self, who: Who, one: &key::One) -> Vec<Key> {
        let item = key::item_key(&one.namespace, &one.name);
        let tells = |key: &Key, entry: &Entry| {
            matches!(&key.scope, Scope::Objects(o) if key.who == who && o.may_contain(one))
                && self
                    .store
                    .peek(entry.id)
                    .is_some_and(|items| items.contains_key(item.as_str()))
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
        self.remove_where(|k| k.who == *who);
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

    /// Begins a new version of `key`'s collection.
    fn begin(&self, key: &Key, class: Class) -> Fill {
        self.store.begin(class as u8, self.id(key))
    }

    fn abort(&mut self, fill: Fill) {
        self.store.abort(fill);
    }

    /// True if exactly this is kept already; it is then known to be current.
    fn confirm(&mut self, key: &Key, version: &str, value: &[u8], note: &note::Note) -> bool {
        let Some(id) = self.id(key) else {
            return false;
        };
        let same = self.store.version(id) == Some(version)
            && self
                .store
                .peek(id)
                .and_then(|items| items.get(""))
                .is_some_and(|kept| **kept == *value)
            && self
                .store
                .view(id)
                .is_some_and(|view| *view.note == *note.to_bytes());
        if let Some(entry) = self.table.get_mut(key).filter(|_| same) {
            entry.confirmed = Instant::now();
        }
        same
    }

    /// Puts a complete version in the place of the old one.
    fn commit(
        &mut self,
        key: &Key,
        fill: Fill,
        version: &str,
        note: &note::Note,
    ) -> Result<CollectionId, NotKept> {
        self.allow(key);
        self.make_room_in_table(key);
        // Not what it was begun for: only the answer itself told its form, and another may have been quicker.
        let fill = fill.replacing(self.id(key));
        let id = match self.store.commit(fill, version, &note.to_bytes()) {
            Ok(id) => id,
            Err(refused) => {
                count(&self.counts.no_room);
                return Err(refused);
            }
        };
        let live = self.table.get(key).map_or(0, |e| e.live);
        let confirmed = Instant::now();
        self.table.insert(
            key.clone(),
            Entry {
                id,
                live,
                confirmed,
            },
        );
        Ok(id)
    }

    fn view(&mut self, id: CollectionId) -> Option<View> {
        self.store.view(id)
    }

    /// Clears what the store has evicted; if the table is still full, the entry that was confirmed longest ago goes.
    fn make_room_in_table(&mut self, key: &Key) {
        if self.table.len() < limits::COLLECTIONS_MAX || self.table.contains_key(key) {
            return;
        }
        let store = &self.store;
        self.table.retain(|_, e| store.contains(e.id) || e.live > 0);
        if self.table.len() >= limits::COLLECTIONS_MAX {
            let oldest = self
                .table
                .iter()
                .min_by_key(|(_, e)| (e.live > 0, e.confirmed))
                .map(|(k, _)| k.clone());
            if let Some(oldest) = oldest {
                self.remove(&oldest);
            }
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
            0 => now.saturating_duration_since(self.confirmed),
            _ => Duration::ZERO,
        }
    }
}
