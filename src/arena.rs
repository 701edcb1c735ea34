//! `Arena<T>` and `Id<T>`: a slab whose keys carry a generation.
//!
//! Slab keys are reused at once, so a key alone may name a stranger: an event still in the batch, a reply
//! to a client that has left. An [`Id`] also carries the generation that was taken at its insertion, and a
//! look-up with another generation finds nothing. This is the one check that makes stale claims harmless.
//!
//! It must never know what it holds.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::marker::PhantomData;

use slab::Slab;

/// Generations are 30 bits wide, so that a generation, a key and two bits of kind fit one event token.
pub const GENERATION_BITS: u32 = 30;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// Values by [`Id`]. Nobody outside chooses an id, so the hash has no secret. Its order follows from what was put in and
/// taken out: a seed of the simulation is the same run each time, even where the order decides.
/// (A `BTreeMap` for these values makes the program 10 KB larger.)
pub type ById<T, V> = HashMap<Id<T>, V, BuildHasherDefault<OfId>>;

/// The hash of an [`Id`].
#[derive(Debug, Default)]
pub struct OfId(u64);

impl Hasher for OfId {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u32(&mut self, part: u32) {
        self.0 = (self.0 ^ u64::from(part)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A claim on one value of an [`Arena`]: a key and the generation taken when the value was inserted.
pub struct Id<T> {
    key: u32,
    generation: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// Puts an id together from its parts, as they travel in an event token.
    ///
    /// Invariant: `generation` fits [`GENERATION_BITS`].
    pub fn from_parts(key: u32, generation: u32) -> Id<T> {
        debug_assert!(generation <= GENERATION_MASK);
        Id {
            key,
            generation,
            kind: PhantomData,
        }
    }

    /// Names nothing that is in any arena.
    pub const NONE: Id<T> = Id {
        key: u32::MAX,
        generation: 0,
        kind: PhantomData,
    };

    /// The slab key: dense, reused, unique among the living.
    #[inline]
    pub fn key(self) -> u32 {
        self.key
    }

    /// The generation: tells apart all that ever stood under this key.
    #[inline]
    pub fn generation(self) -> u32 {
        self.generation
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Id<T> {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Id<T>) -> bool {
        self.key == other.key && self.generation == other.generation
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Id<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By key, then by generation.
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Id<T>) -> Ordering {
        (self.key, self.generation).cmp(&(other.key, other.generation))
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
        self.generation.hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.key, self.generation)
    }
}

/// Values under [`Id`]s. `K` tells ids of one arena from those of another; where ids are known to those who do not know
/// the values, it is a type of its own.
#[derive(Debug)]
pub struct Arena<T, K = T> {
    slots: Slab<(u32, T)>,
    generation: u32,
    kind: PhantomData<fn() -> K>,
}

impl<T, K> Default for Arena<T, K> {
    fn default() -> Arena<T, K> {
        Arena {
            slots: Slab::new(),
            generation: 0,
            kind: PhantomData,
        }
    }
}

impl<T, K> Arena<T, K> {
    /// Inserts a value under a fresh generation.
    pub fn insert(&mut self, value: T) -> Id<K> {
        self.generation = (self.generation + 1) & GENERATION_MASK;
        let generation = self.generation;
        let key = self.slots.insert((generation, value));
        assert!(
            u32::try_from(key).is_ok_and(|key| key < u32::MAX),
            "an arena holds fewer than 2^32 - 1 values"
        );
        Id::from_parts(key as u32, generation)
    }

    /// The value, if this very one is still here.
    #[inline]
    pub fn get(&self, id: Id<K>) -> Option<&T> {
        match self.slots.get(id.key as usize) {
            Some((generation, value)) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// The value, if this very one is still here.
    #[inline]
    pub fn get_mut(&mut self, id: Id<K>) -> Option<&mut T> {
        match self.slots.get_mut(id.key as usize) {
            Some((generation, value)) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// Takes the value out. Every id of it finds nothing from here on.
    pub fn remove(&mut self, id: Id<K>) -> Option<T> {
        self.get(id)?;
        Some(self.slots.remove(id.key as usize).1)
    }

    /// How many values live here.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing lives here.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All values with their ids, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (Id<K>, &T)> {
        self.slots
            .iter()
            .map(|(key, (generation, value))| (Id::from_parts(key as u32, *generation), value))
    }

    /// All values with their ids, in key order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id<K>, &mut T)> {
        self.slots
            .iter_mut()
            .map(|(key, (generation, value))| (Id::from_parts(key as u32, *generation), value))
    }

    /// All ids, in key order.
    pub fn ids(&self) -> Vec<Id<K>> {
        self.iter().map(|(id, _)| id).collect()
    }

    /// Gives memory back after a storm, when most of it is not used. Growing again moves every value, so that a
    /// little is no reason.
    pub fn shrink(&mut self) {
        if self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_key_is_not_the_old_value() {
        let mut arena: Arena<&str> = Arena::default();
        let first = arena.insert("first");
        assert_eq!(arena.remove(first), Some("first"));
        let second = arena.insert("second");
        assert_eq!(first.key(), second.key());
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get_mut(second), Some(&mut "second"));
        assert_eq!(arena.len(), 1);
    }
}
