//! `KeyTally`: how many different keys clients of all workers watch, or are blocked on.
//!
//! It keeps a hash of each key, not the key, so that a client cannot fill memory with long names. Two keys with the same
//! 64 bits count as one.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keys of one client that are counted: more of them would be a long turn, and only a figure of INFO is too low.
pub const COUNTED_MAX: usize = 10_000;

/// A key, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(u64);

/// The keys of many clients, each with how many of them have it.
#[derive(Debug, Default)]
pub struct KeyTally {
    hasher: RandomState,
    keys: Mutex<HashMap<KeyHash, usize>>,
}

impl KeyTally {
    /// A key as it is counted here.
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(self.hasher.hash_one(key))
    }

    /// A client has these keys now.
    pub fn add(&self, keys: &[KeyHash]) {
        if keys.is_empty() {
            return;
        }
        let mut all = self.keys();
        for key in keys {
            *all.entry(*key).or_default() += 1;
        }
    }

    /// A client has these keys no more.
    pub fn remove(&self, keys: &[KeyHash]) {
        if keys.is_empty() {
            return;
        }
        let mut all = self.keys();
        for key in keys {
            let count = all.get_mut(key);
            debug_assert!(count.is_some(), "a key was counted");
            let Some(count) = count else { continue };
            *count -= 1;
            if *count == 0 {
                all.remove(key);
            }
        }
    }

    /// How many different keys there are.
    pub fn len(&self) -> usize {
        self.keys().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<KeyHash, usize>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_two_clients_is_one_key() {
        let tally = KeyTally::default();
        let (a, b) = (tally.hash(b"a"), tally.hash(b"b"));
        tally.add(&[a, b]);
        tally.add(&[a]);
        assert_eq!(tally.len(), 2);
        tally.remove(&[a, b]);
        assert_eq!(tally.len(), 1);
        tally.remove(&[a]);
        assert!(tally.is_empty());
    }
}
