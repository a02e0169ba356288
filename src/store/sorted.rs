//! A map for the few: pairs in one row, sorted by their keys. A `BTreeMap` of each type of value is 3 KB of program, and
//! the maps of the ring hold tens of entries, seldom thousands, whose keys mostly grow.

/// From `K` to `V`, in the order of `K`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortedMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        SortedMap(Vec::new())
    }
}

impl<K: Ord + Copy, V> SortedMap<K, V> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the key is, or where it would be.
    fn place(&self, key: K) -> Result<usize, usize> {
        // Most of what is new comes behind all others.
        match self.0.last() {
            Some((last, _)) if *last < key => Err(self.0.len()),
            _ => self.0.binary_search_by_key(&key, |(key, _)| *key),
        }
    }

    /// Its value.
    pub fn get(&self, key: &K) -> Option<&V> {
        let at = self.place(*key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.place(*key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Whether it is there.
    pub fn contains_key(&self, key: &K) -> bool {
        self.place(*key).is_ok()
    }

    /// Its value, which is made if it is not there.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.place(key) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (key, make()));
                at
            }
        };
        &mut self.0[at].1
    }

    /// Puts it in; the value that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Takes it out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.place(*key).ok()?;
        Some(self.0.remove(at).1)
    }

    /// Keeps those of which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| keep(key, value));
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one with the greatest key.
    pub fn last_key_value(&self) -> Option<(&K, &V)> {
        self.0.last().map(|(key, value)| (key, value))
    }

    /// All, the least key first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The keys, the least first.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values, that of the least key first.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + ExactSizeIterator {
        self.0.iter().map(|(_, value)| value)
    }

    /// The same, to change them.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> + ExactSizeIterator {
        self.0.iter_mut().map(|(_, value)| value)
    }
}

impl<K, V> IntoIterator for SortedMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Of two with the same key the later stays.
impl<K: Ord + Copy, V> FromIterator<(K, V)> for SortedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut map = Self::new();
        for (key, value) in pairs {
            map.insert(key, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_does_what_a_btree_map_does() {
        let mut map = SortedMap::new();
        let mut model = BTreeMap::new();
        let mut random = 1_u64;
        for step in 0..4_000_u64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let key = (random >> 33) % 64;
            match (random >> 60) % 8 {
                0..4 => assert_eq!(map.insert(key, step), model.insert(key, step)),
                4 | 5 => assert_eq!(map.remove(&key), model.remove(&key)),
                6 => assert_eq!(
                    map.get_or_insert_with(key, || step),
                    model.entry(key).or_insert(step)
                ),
                _ if key == 0 => {
                    map.retain(|key, value| (*key + *value) % 3 != 0);
                    model.retain(|key, value| (*key + *value) % 3 != 0);
                }
                _ => assert_eq!(map.get_mut(&key), model.get_mut(&key)),
            }
            assert_eq!(map.get(&key), model.get(&key));
            assert_eq!(map.contains_key(&key), model.contains_key(&key));
            assert_eq!(map.last_key_value(), model.last_key_value());
            assert!(map.iter().eq(model.iter()), "{step}");
        }
        assert!(map.clone().into_iter().collect::<SortedMap<_, _>>() == map);
        assert!(map.into_iter().eq(model));
    }
}
