//! `HeldRequests`: the held requests of one client, slot by slot: order is promised within a slot and nowhere else
//! (rule R4), so that whoever asks about a slot looks at no other, however many are held.
//!
//! It must never know when a held request is sent (that is `retry`).

use std::collections::{BTreeMap, VecDeque};

use crate::proxy::pipeline::Seq;
use crate::proxy::refused::retry::Held;

/// Held requests, by slot; those without keys have a place of their own.
///
/// Invariants: no list is empty; within a list the places ascend; `len` is the sum of the lists.
#[derive(Debug, Default)]
pub struct HeldRequests {
    by_slot: BTreeMap<u16, VecDeque<Held>>,
    len: usize,
}

impl HeldRequests {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there are any of a slot.
    #[inline]
    pub fn has(&self, slot: u16) -> bool {
        self.len > 0 && self.by_slot.contains_key(&slot)
    }

    /// The slots of which there are any.
    pub fn slots(&self) -> Vec<u16> {
        self.by_slot.keys().copied().collect()
    }

    /// Puts one in its place.
    pub fn insert(&mut self, held: Held) {
        let own = self.by_slot.entry(held.ticket.slot).or_default();
        // Nearly always it is the last one.
        let at = match own.back() {
            Some(last) if held.is_before(last) => {
                own.partition_point(|other| other.is_before(&held))
            }
            Some(_) | None => own.len(),
        };
        own.insert(at, held);
        self.len += 1;
    }

    /// The first one of a slot.
    pub fn front(&self, slot: u16) -> Option<&Held> {
        self.by_slot.get(&slot)?.front()
    }

    /// Takes out the one of this place, if it is `wanted`.
    pub fn take_one(
        &mut self,
        slot: u16,
        (seq, part): (Seq, u16),
        wanted: impl FnOnce(&Held) -> bool,
    ) -> Option<Held> {
        let own = self.by_slot.get_mut(&slot)?;
        let at = own
            .partition_point(|held| held.seq.before(seq) || (held.seq == seq && held.part < part));
        let there = own.get(at)?;
        if there.seq != seq || there.part != part || !wanted(there) {
            return None;
        }
        let held = own.remove(at);
        if own.is_empty() {
            self.by_slot.remove(&slot);
        }
        self.len -= 1;
        held
    }

    /// Takes out all of a slot, in order.
    pub fn take(&mut self, slot: u16) -> VecDeque<Held> {
        let own = self.by_slot.remove(&slot).unwrap_or_default();
        self.len -= own.len();
        own
    }

    /// Takes out those of a slot that are `wanted`, in order.
    pub fn take_if(&mut self, slot: u16, mut wanted: impl FnMut(&mut Held) -> bool) -> Vec<Held> {
        let mut taken = Vec::new();
        for mut held in self.take(slot) {
            if wanted(&mut held) {
                taken.push(held);
            } else {
                self.insert(held);
            }
        }
        taken
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Held> {
        self.by_slot.values().flatten()
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        self.by_slot.values_mut().flatten()
    }

    /// Asserts the invariants above.
    pub fn check(&self) {
        assert_eq!(self.len, self.iter().count());
        for (slot, own) in &self.by_slot {
            assert!(!own.is_empty());
            assert!(own.iter().all(|held| held.ticket.slot == *slot));
            let places = own.iter().zip(own.iter().skip(1));
            assert!(places.into_iter().all(|(one, next)| one.is_before(next)));
        }
    }
}
