//! `HeldRequests`: the held requests of one client, by slot. Order is promised within a slot only (rule R4), so a
//! question about one slot looks at no other, however many are held.
//!
//! It must never know when a held request is sent (that is `retry`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Time;
use crate::proxy::client::held_keys::Keys;
use crate::proxy::client::own_errors::Probe;
use crate::proxy::ids::{BackendId, PartId};
use crate::proxy::scripts::Remedy;
use crate::proxy::texts::refusal::Refusal;
use crate::proxy::upstream::backend::Ticket;
use crate::proxy::upstream::goal::Goal;

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
            Some(last) if held.is_before(last.part) => {
                own.partition_point(|other| other.is_before(held.part))
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
        part: PartId,
        wanted: impl FnOnce(&Held) -> bool,
    ) -> Option<Held> {
        let own = self.by_slot.get_mut(&slot)?;
        let at = own.partition_point(|held| held.is_before(part));
        let there = own.get(at)?;
        if there.part != part || !wanted(there) {
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
            assert!(
                places
                    .into_iter()
                    .all(|(one, next)| one.is_before(next.part))
            );
        }
    }
}

const BACKOFF_MIN: Duration = Duration::from_millis(5);

pub(in crate::proxy) const BACKOFF_MAX: Duration = Duration::from_millis(200);

/// A request that waits to be sent.
#[derive(Debug)]
pub struct Held {
    /// What it is a part of: its place in its client's pipeline.
    pub part: PartId,
    /// The ticket it had, or would have had.
    pub ticket: Ticket,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where it is to go.
    pub goal: Goal,
    /// When it may be tried again.
    pub due: Time,
    /// When it is given up.
    pub expires: Time,
    /// The node's own words, if a node refused it; empty if it was never refused, or by a redirect, which
    /// no client may see.
    pub refusal: Vec<u8>,
    /// Requests to be sent right before it, whose replies are nobody's: what a node lacked.
    pub prelude: Vec<Remedy>,
    /// Its keys, once somebody has looked for them.
    pub keys: Option<Keys>,
    /// Whether a node is asked before it is sent there (see `own_errors`).
    pub scouts: bool,
    /// What a node has been asked about it and has not answered; until then it is not sent.
    pub probe: Option<Probe>,
    /// The connection on which its node has just said that it would execute it, if it is sent at once.
    pub cleared: Option<BackendId>,
    /// Whether a later one for the same key was executed, in which case this one is not sent any more. All others are
    /// gone by then.
    ///
    /// Invariant: it is doubted.
    pub is_overtaken: bool,
}

impl Held {
    /// Whether its place is before that of another.
    pub fn is_before(&self, other: PartId) -> bool {
        let own = self.part;
        own.seq.before(other.seq) || (own.seq == other.seq && own.index < other.index)
    }

    /// Whether its slot is served, and its keys are apart while that migrates.
    pub(in crate::proxy) fn waits_for_keys(&self) -> bool {
        Refusal::parse(&self.refusal) == Some(Refusal::TryAgain)
    }

    /// Whether it may have been executed: its node has not confirmed yet that it was refused.
    pub(in crate::proxy) fn is_doubted(&self) -> bool {
        let probe = self.probe.as_ref();
        probe.is_some_and(|probe| probe.doubted().is_some())
    }
}

/// How long to wait before try number `tries`.
pub(in crate::proxy) fn backoff(tries: u8) -> Duration {
    (BACKOFF_MIN * (1 << tries.min(6))).min(BACKOFF_MAX)
}

/// Where and when a request that is held is sent.
pub(in crate::proxy) struct Retry<'a> {
    /// Where it is to go.
    pub goal: Goal,
    /// When it may be tried.
    pub due: Time,
    /// The words with which a node has refused it, if a client may see them.
    pub refusal: &'a [u8],
    /// What is to be sent right before it.
    pub prelude: Vec<Remedy>,
}

impl Retry<'_> {
    /// As soon as it may be sent at all.
    pub fn at_once(goal: Goal, now: Time) -> Retry<'static> {
        Retry {
            goal,
            due: now,
            refusal: b"",
            prelude: Vec::new(),
        }
    }
}

/// What became of an attempt to send a held request.
pub(in crate::proxy) enum Attempt {
    Sent,
    Asked(Probe),
    Wait(Time),
    GiveUp,
    LeaveOut,
}
