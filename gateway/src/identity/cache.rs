//! A bounded map from the keyed hash or the tag of a token to what was verified about it.
//!
//! Eviction is second chance: a hand goes round the slots and takes the first that was not used
//! since it last came by. Cost per lookup is one hash-map probe; memory is fixed by the capacity.
//! The cache knows no token, only what a key that lives and dies with the process makes of it.

use std::collections::HashMap;
use std::hash::Hash;

/// A keyed BLAKE3 hash of a token.
pub(super) type TokenHash = [u8; 32];

/// At most `capacity` values, by what tokens are known by.
pub(super) struct TokenCache<V, K = TokenHash> {
    capacity: usize,
    slot_by_hash: HashMap<K, usize, foldhash::fast::RandomState>,
    slots: Vec<Slot<K, V>>,
    hand: usize,
}

struct Slot<K, V> {
    hash: K,
    value: V,
    used: bool,
}

// === impl TokenCache ===

impl<K: Copy + Eq + Hash, V> TokenCache<V, K> {
    /// An empty cache; a capacity of zero is taken as one.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            slot_by_hash: HashMap::default(),
            slots: Vec::new(),
            hand: 0,
        }
    }

    pub(super) fn find(&mut self, hash: &K) -> Option<&mut V> {
        let slot = &mut self.slots[*self.slot_by_hash.get(hash)?];
        slot.used = true;
        Some(&mut slot.value)
    }

    pub(super) fn insert(&mut self, hash: K, value: V) {
        // A new entry starts unused: one that is never asked for again goes first.
        let slot = Slot {
            hash,
            value,
            used: false,
        };
        if let Some(&index) = self.slot_by_hash.get(&hash) {
            self.slots[index] = slot;
        } else if self.slots.len() < self.capacity {
            self.slot_by_hash.insert(hash, self.slots.len());
            self.slots.push(slot);
        } else {
            let index = self.victim();
            self.slot_by_hash.remove(&self.slots[index].hash);
            self.slot_by_hash.insert(hash, index);
            self.slots[index] = slot;
        }
    }

    pub(super) fn remove(&mut self, hash: &K) {
        let Some(index) = self.slot_by_hash.remove(hash) else {
            return;
        };
        self.slots.swap_remove(index);
        if let Some(moved) = self.slots.get(index) {
            self.slot_by_hash.insert(moved.hash, index);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slot_by_hash.clear();
        self.slots.clear();
        self.hand = 0;
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().map(|slot| &slot.value)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot to give up. At most one turn clears every mark, so the second ends it.
    fn victim(&mut self) -> usize {
        loop {
            let index = self.hand % self.slots.len();
            self.hand = index + 1;
            if !std::mem::take(&mut self.slots[index].used) {
                return index;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(n: u8) -> TokenHash {
        [n; 32]
    }

    #[test]
    fn the_used_survive() {
        let mut cache = TokenCache::new(3);
        (0..3).for_each(|n| cache.insert(hash(n), n));
        assert_eq!(cache.find(&hash(0)).copied(), Some(0));
        cache.insert(hash(3), 3);
        assert!(cache.find(&hash(0)).is_some());
        assert!(
            cache.find(&hash(1)).is_none(),
            "the first that was not used"
        );
        assert_eq!(cache.len(), 3);
    }

    #[test]
    fn removing_keeps_the_others_in_reach() {
        let mut cache = TokenCache::new(3);
        (0..3).for_each(|n| cache.insert(hash(n), n));
        cache.remove(&hash(0));
        cache.remove(&hash(0));
        assert!(cache.find(&hash(0)).is_none());
        assert_eq!(cache.find(&hash(1)).copied(), Some(1));
        assert_eq!(cache.find(&hash(2)).copied(), Some(2));
    }

    proptest! {
        /// Whatever is done, the cache stays within its bound and finds only what was put in last.
        #[test]
        fn a_cache_never_lies(
            capacity in 1_usize..6,
            steps in prop::collection::vec((0_u8..3, 0_u8..10, any::<u32>()), 0..200),
        ) {
            let mut cache = TokenCache::new(capacity);
            let mut truth = HashMap::new();
            for (operation, name, value) in steps {
                match operation {
                    0 => {
                        cache.insert(hash(name), value);
                        truth.insert(name, value);
                        prop_assert_eq!(cache.find(&hash(name)).copied(), Some(value));
                    }
                    1 => {
                        cache.remove(&hash(name));
                        truth.remove(&name);
                    }
                    _ => {
                        let found = cache.find(&hash(name)).copied();
                        prop_assert!(found.is_none() || found == truth.get(&name).copied());
                    }
                }
                prop_assert!(cache.len() <= capacity);
                prop_assert_eq!(cache.slots.len(), cache.slot_by_hash.len());
            }
        }
    }
}
