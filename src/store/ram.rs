//! The store of boxes without a disk: collections in memory under a cap in bytes.

use super::{Change, Class, CollectionId, Item, NotKept, One, Totals, View};
use crate::limits;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

/// The items of one version, in key order. Shared with readers; a change while one reads copies the map, not the
/// values. These are counted atomically alone because `Bytes`, as which they are handed out, wants it so.
pub type Items = BTreeMap<Rc<str>, Arc<[u8]>>;

/// A new version of a collection while it arrives. Its bytes count against the cap; dropping it through
/// [`Ram::abort`] gives them back.
pub struct Fill {
    items: Items,
    bytes: usize,
    class: Class,
    /// The collection that it will replace, which must not be evicted to make room for it.
    replaces: Option<CollectionId>,
}

struct Collection {
    items: Rc<Items>,
    version: Rc<str>,
    note: Rc<[u8]>,
    class: Class,
    bytes: usize,
    used: u64,
}

pub struct Ram {
    collections: HashMap<CollectionId, Collection>,
    /// Invariant: the sum of `bytes` of all collections and open fills.
    bytes: usize,
    bytes_max: usize,
    next: u64,
    /// Counts uses; orders collections by last use without a clock.
    clock: u64,
    evicted: u64,
    /// As if it lay where it cannot be read.
    #[cfg(test)]
    pub unreadable: Option<CollectionId>,
}

impl Ram {
    /// `bytes_max`: cap on keys, values and what holding them costs.
    pub fn new(bytes_max: usize) -> Self {
        Ram {
            collections: HashMap::new(),
            bytes: 0,
            bytes_max,
            next: 1,
            clock: 0,
            evicted: 0,
            #[cfg(test)]
            unreadable: None,
        }
    }

    /// Begins a new version: of a new collection, or of `replaces`.
    pub fn begin(&self, class: Class, replaces: Option<CollectionId>) -> Fill {
        Fill {
            items: Items::new(),
            bytes: 0,
            class,
            replaces,
        }
    }

    /// Adds an item. On `NoRoom` the fill can only be aborted.
    pub fn put(&mut self, fill: &mut Fill, key: &str, value: &[u8]) -> Result<(), NotKept> {
        let cost = cost(key, value.len());
        let before = fill
            .items
            .get(key)
            .map_or(0, |old| self::cost(key, old.len()));
        self.reserve(cost.saturating_sub(before), fill.class, fill.replaces)?;
        fill.items.insert(Rc::from(key), Arc::from(value));
        self.bytes = self.bytes + cost - before;
        fill.bytes = fill.bytes + cost - before;
        Ok(())
    }

    /// Takes an item out of a fill again.
    pub fn remove(&mut self, fill: &mut Fill, key: &str) {
        if let Some(old) = fill.items.remove(key) {
            let cost = cost(key, old.len());
            fill.bytes -= cost;
            self.bytes -= cost;
        }
    }

    /// Puts the fill in the place of `replaces`, or makes a new collection of it. Past this, it is the collection;
    /// before, nobody saw any of it.
    pub fn commit(
        &mut self,
        fill: Fill,
        replaces: Option<CollectionId>,
        version: &str,
        note: &[u8],
    ) -> Result<CollectionId, NotKept> {
        let overhead = limits::STORE_COLLECTION_BYTES + note.len();
        if let Err(refused) = self.reserve(overhead, fill.class, replaces) {
            self.abort(fill);
            return Err(refused);
        }
        let id = replaces.unwrap_or_else(|| {
            self.next += 1;
            CollectionId(self.next)
        });
        self.drop_collection(id);
        self.bytes += overhead;
        self.clock += 1;
        self.collections.insert(
            id,
            Collection {
                items: Rc::new(fill.items),
                version: Rc::from(version),
                note: Rc::from(note),
                class: fill.class,
                bytes: fill.bytes + overhead,
                used: self.clock,
            },
        );
        Ok(id)
    }

    pub fn abort(&mut self, fill: Fill) {
        self.bytes -= fill.bytes;
    }

    /// Applies changes and the version that they lead to, all or none. On `NoRoom` the collection stays as it was.
    pub fn apply(
        &mut self,
        id: CollectionId,
        changes: &[Change<'_>],
        version: &str,
    ) -> Result<(), NotKept> {
        let collection = self.collections.get(&id).ok_or(NotKept::Gone)?;
        let (mut plus, mut minus) = (0, 0);
        for change in changes {
            let (Change::Put { key, .. } | Change::Delete(key)) = change;
            minus += collection
                .items
                .get(*key)
                .map_or(0, |old| cost(key, old.len()));
            if let Change::Put { key, value, .. } = change {
                plus += cost(key, value.len());
            }
        }
        self.reserve(plus.saturating_sub(minus), collection.class, Some(id))?;
        let collection = self.collections.get_mut(&id).ok_or(NotKept::Gone)?;
        if !changes.is_empty() {
            let items = Rc::make_mut(&mut collection.items);
            for change in changes {
                match change {
                    Change::Put { key, value, .. } => {
                        items.insert(Rc::from(*key), Arc::from(*value))
                    }
                    Change::Delete(key) => items.remove(*key),
                };
            }
        }
        if *collection.version != *version {
            collection.version = Rc::from(version);
        }
        collection.bytes = collection.bytes + plus - minus;
        self.bytes = self.bytes + plus - minus;
        Ok(())
    }

    /// The present version, and a use of it.
    pub fn view(&mut self, id: CollectionId) -> Option<View> {
        let collection = self.using(id)?;
        Some(View::of_ram(
            Rc::clone(&collection.version),
            Rc::clone(&collection.note),
            Rc::clone(&collection.items),
        ))
    }

    /// One item of the present version, and a use of it.
    pub fn one(&mut self, id: CollectionId, key: &str) -> Option<One> {
        let collection = self.using(id)?;
        Some(One {
            version: Rc::clone(&collection.version),
            note: Rc::clone(&collection.note),
            value: collection.items.get(key).map(shared),
        })
    }

    fn using(&mut self, id: CollectionId) -> Option<&Collection> {
        #[cfg(test)]
        if self.unreadable == Some(id) {
            return None;
        }
        let collection = self.collections.get_mut(&id)?;
        self.clock += 1;
        collection.used = self.clock;
        Some(collection)
    }

    /// The version alone, without counting as a use.
    pub fn version(&self, id: CollectionId) -> Option<&str> {
        self.collections.get(&id).map(|c| &*c.version)
    }

    /// Objects and bytes of one collection.
    pub fn size(&self, id: CollectionId) -> Option<(usize, usize)> {
        self.collections.get(&id).map(|c| (c.items.len(), c.bytes))
    }

    pub fn contains(&self, id: CollectionId) -> bool {
        self.collections.contains_key(&id)
    }

    pub fn drop_collection(&mut self, id: CollectionId) {
        if let Some(gone) = self.collections.remove(&id) {
            self.bytes -= gone.bytes;
        }
    }

    /// A new cap; what no longer fits goes.
    pub fn set_cap(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        while self.bytes > self.bytes_max && self.evict(Class::MAX, None) {}
    }

    pub fn totals(&self) -> Totals {
        Totals {
            bytes: self.bytes,
            bytes_max: self.bytes_max,
            collections: self.collections.len(),
            objects: self.collections.values().map(|c| c.items.len()).sum(),
            evicted: self.evicted,
        }
    }

    /// Makes room for `more` bytes of `class` by evicting collections of that class or lower, never `spare`.
    fn reserve(
        &mut self,
        more: usize,
        class: Class,
        spare: Option<CollectionId>,
    ) -> Result<(), NotKept> {
        if more > self.bytes_max {
            return Err(NotKept::NoRoom);
        }
        while self.bytes + more > self.bytes_max {
            if !self.evict(class, spare) {
                return Err(NotKept::NoRoom);
            }
        }
        Ok(())
    }

    fn evict(&mut self, class: Class, spare: Option<CollectionId>) -> bool {
        let victim = self
            .collections
            .iter()
            .filter(|(id, c)| c.class <= class && Some(**id) != spare)
            .min_by_key(|(_, c)| (c.class, c.used))
            .map(|(id, _)| *id);
        if let Some(id) = victim {
            self.drop_collection(id);
            self.evicted += 1;
        }
        victim.is_some()
    }
}

/// The items of a view, some at a time.
pub struct Reading {
    items: Rc<Items>,
    /// The last key that was given out.
    last: Option<Rc<str>>,
}

impl Reading {
    pub fn new(items: Rc<Items>) -> Reading {
        Reading { items, last: None }
    }

    /// The next items in key order, at most [`limits::STORE_READ_ITEMS_MAX`]; `None` after the last.
    pub fn next_items(&mut self) -> Option<Vec<Item>> {
        let from = self
            .last
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let items: Vec<Item> = (self.items)
            .range::<str, _>((from, Bound::Unbounded))
            .take(limits::STORE_READ_ITEMS_MAX)
            .map(|(key, value)| Item {
                key: Rc::clone(key),
                value: shared(value),
            })
            .collect();
        self.last = Some(Rc::clone(&items.last()?.key));
        Some(items)
    }

    /// True if every item was given out.
    #[cfg(test)]
    pub fn is_over(&self) -> bool {
        self.items.keys().next_back() == self.last.as_ref()
    }
}

/// The value itself, not a copy of it.
fn shared(value: &Arc<[u8]>) -> Bytes {
    Bytes::from_owner(Arc::clone(value))
}

/// What an item costs: key, value, and the tree and the two counted allocations around them.
fn cost(key: &str, value_bytes: usize) -> usize {
    key.len() + value_bytes + limits::STORE_ITEM_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put<'a>(key: &'a str, value: &'a [u8]) -> Change<'a> {
        Change::Put { key, value, tag: 0 }
    }

    /// All items, as a reader gets them.
    fn read(ram: &mut Ram, id: CollectionId) -> Vec<(String, Vec<u8>)> {
        read_view(&ram.view(id).unwrap())
    }

    fn read_view(view: &View) -> Vec<(String, Vec<u8>)> {
        let super::super::Reading::Ram(mut reading) = view.read() else {
            panic!("not in memory");
        };
        std::iter::from_fn(|| reading.next_items())
            .flatten()
            .map(|item| (item.key.to_string(), item.value.to_vec()))
            .collect()
    }

    fn keys(view: &View) -> Vec<String> {
        read_view(view).into_iter().map(|(key, _)| key).collect()
    }

    fn filled(
        ram: &mut Ram,
        class: Class,
        items: &[(&str, usize)],
    ) -> Result<CollectionId, NotKept> {
        let mut fill = ram.begin(class, None);
        for (key, bytes) in items {
            if let Err(no) = ram.put(&mut fill, key, &vec![b'x'; *bytes]) {
                ram.abort(fill);
                return Err(no);
            }
        }
        ram.commit(fill, None, "1", b"")
    }

    #[test]
    fn the_lowest_class_goes_first_then_the_longest_unused() {
        let mut ram = Ram::new(20_000);
        let pinned = filled(&mut ram, 2, &[("a", 5000)]).unwrap();
        let wild = filled(&mut ram, 0, &[("b", 5000)]).unwrap();
        let wild_used = filled(&mut ram, 0, &[("c", 5000)]).unwrap();
        let _ = ram.view(wild);
        let _ = ram.view(wild_used);
        let named = filled(&mut ram, 1, &[("d", 5000)]).unwrap();
        assert!(
            ram.contains(pinned)
                && !ram.contains(wild)
                && ram.contains(wild_used)
                && ram.contains(named)
        );
        // A lower class never pushes out a higher one.
        assert_eq!(filled(&mut ram, 0, &[("e", 15_000)]), Err(NotKept::NoRoom));
        assert!(ram.contains(pinned) && ram.contains(named));
        assert_eq!(filled(&mut ram, 2, &[("e", 30_000)]), Err(NotKept::NoRoom));
        assert!(ram.contains(pinned));
        assert_eq!(ram.totals().evicted, 2);
    }

    #[test]
    fn a_reader_keeps_its_version() {
        let mut ram = Ram::new(100_000);
        let id = filled(&mut ram, 0, &[("a", 10), ("b", 10)]).unwrap();
        let before = ram.view(id).unwrap();
        ram.apply(id, &[Change::Delete("a"), put("c", b"new")], "2")
            .unwrap();
        assert_eq!(keys(&before), ["a", "b"]);
        let after = ram.view(id).unwrap();
        assert_eq!(keys(&after), ["b", "c"]);
        assert_eq!((&*before.version, &*after.version), ("1", "2"));
    }

    #[test]
    fn a_long_collection_is_read_in_parts() {
        for count in [
            0,
            1,
            limits::STORE_READ_ITEMS_MAX,
            limits::STORE_READ_ITEMS_MAX + 1,
        ] {
            let mut ram = Ram::new(1 << 20);
            let names: Vec<String> = (0..count).map(|n| format!("{n:04}")).collect();
            let items: Vec<(&str, usize)> = names.iter().map(|n| (n.as_str(), 3)).collect();
            let id = filled(&mut ram, 0, &items).unwrap();
            assert_eq!(keys(&ram.view(id).unwrap()), names);
        }
    }

    #[test]
    fn a_fill_that_was_not_committed_leaves_nothing() {
        let mut ram = Ram::new(10_000);
        let id = filled(&mut ram, 0, &[("a", 10)]).unwrap();
        let bytes = ram.totals().bytes;
        let mut fill = ram.begin(0, Some(id));
        ram.put(&mut fill, "z", &[0; 100]).unwrap();
        ram.abort(fill);
        assert_eq!(ram.totals().bytes, bytes);
        assert_eq!(keys(&ram.view(id).unwrap()), ["a"]);
    }

    #[test]
    fn a_change_that_finds_no_room_changes_nothing() {
        let mut ram = Ram::new(2_000);
        let id = filled(&mut ram, 0, &[("a", 1000)]).unwrap();
        let too_big = vec![0; 1900];
        assert_eq!(
            ram.apply(
                id,
                &[Change::Delete("a"), put("b", &too_big), put("c", &too_big)],
                "2"
            ),
            Err(NotKept::NoRoom)
        );
        assert_eq!(ram.version(id), Some("1"));
        assert_eq!(keys(&ram.view(id).unwrap()), ["a"]);
    }

    /// The store against a plain map of maps, under random operations: same contents, sums right, cap kept.
    #[test]
    fn agrees_with_a_model() {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move |n: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % n
        };
        let cap = 30_000;
        let mut ram = Ram::new(cap);
        let mut model: BTreeMap<CollectionId, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
        for step in 0..5_000u64 {
            let ids: Vec<_> = model.keys().copied().collect();
            let some = (!ids.is_empty()).then(|| ids[random(ids.len() as u64) as usize]);
            match (random(10), some) {
                (0 | 1, _) => {
                    let replaces = some.filter(|id| random(2) == 0 && ram.contains(*id));
                    let mut fill = ram.begin(random(3) as Class, replaces);
                    let mut items = BTreeMap::new();
                    let mut ok = true;
                    for _ in 0..random(20) {
                        let (key, value) = (
                            format!("k{}", random(12)),
                            vec![step as u8; random(900) as usize],
                        );
                        ok &= ram.put(&mut fill, &key, &value).is_ok();
                        items.insert(key, value);
                    }
                    if !ok || random(5) == 0 {
                        ram.abort(fill);
                    } else if let Ok(id) = ram.commit(fill, replaces, &step.to_string(), b"note") {
                        model.insert(id, items);
                    }
                }
                (2, Some(id)) => {
                    ram.drop_collection(id);
                    model.remove(&id);
                }
                (_, Some(id)) => {
                    let (key, value) = (
                        format!("k{}", random(12)),
                        vec![step as u8; random(900) as usize],
                    );
                    let change = [if random(4) == 0 {
                        Change::Delete(&key)
                    } else {
                        put(&key, &value)
                    }];
                    if ram.apply(id, &change, &step.to_string()).is_ok() {
                        let items = model.get_mut(&id).unwrap();
                        match change {
                            [Change::Put { .. }] => items.insert(key, value),
                            _ => items.remove(&key),
                        };
                    }
                }
                _ => {}
            }
            model.retain(|id, _| ram.contains(*id));
            let totals = ram.totals();
            assert!(totals.bytes <= cap);
            assert_eq!(totals.collections, model.len());
            let mut sum = 0;
            for (id, items) in &model {
                let view = ram.view(*id).unwrap();
                assert_eq!(view.len(), items.len());
                assert_eq!(
                    view.sum_of_lens(|len| len as u64 * 3),
                    items
                        .values()
                        .map(|value| value.len() as u64 * 3)
                        .sum::<u64>()
                );
                assert!(read(&mut ram, *id).into_iter().eq(items.clone()));
                let some = format!("k{}", random(12));
                let one = ram.one(*id, &some).unwrap();
                assert_eq!(one.value.as_deref(), items.get(&some).map(|v| &**v));
                sum += ram.size(*id).unwrap().1;
            }
            assert_eq!(totals.bytes, sum);
        }
    }
}
