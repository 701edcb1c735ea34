//! Splits a request of many keys into one part for each slot, and says how the replies of the parts are merged.

use std::ops::Range;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::command::{Class, Command, Flags, ResponsePolicy};
use crate::proxy::ids::BackendId;
use crate::proxy::pipeline::At;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::upstream::Target;
use crate::proxy::upstream::backend::{Origin, Pin, Ticket};
use crate::proxy::upstream::routes::ShardId;
use crate::resp::args::Args;
use crate::resp::encode;

/// A request of so many keys is worth a note.
pub(in crate::proxy) const MANY_KEYS: usize = 100;

/// Whether a command is for all shards as wholes. It may touch any key, so it keeps its order with all other requests of
/// its client (rule R4) by running alone: it is sent when all before it are answered, and what follows waits for its
/// reply.
pub(in crate::proxy) fn runs_alone(command: &Command) -> bool {
    matches!(command.class, Class::AllMasters(_)) && !is_urgent(command)
}

/// SCRIPT KILL and FUNCTION KILL: they must not wait for what they are to end.
pub(in crate::proxy) fn is_urgent(command: &Command) -> bool {
    command.response == ResponsePolicy::OneSucceeded && command.flags.contains(Flags::ALLOW_BUSY)
}

/// Where a part goes.
#[derive(Clone, Copy)]
pub(in crate::proxy) enum PartTarget {
    Slot(u16),
    Node(Target, Pin),
    Shard(ShardId),
    AnyMaster,
}

/// A part of a request that is cut by slot.
#[derive(Debug)]
pub(in crate::proxy) struct SlotPart {
    pub(in crate::proxy) slot: u16,
    /// Where its bytes are among those of all parts.
    pub(in crate::proxy) frame: Range<usize>,
    /// Where it goes, if that needs no further look.
    pub(in crate::proxy) backend: Option<BackendId>,
    /// Whether that is one to a replica.
    pub(in crate::proxy) replica: bool,
}

impl SlotPart {
    /// A part that nobody has looked for a backend for.
    pub fn new(slot: u16, frame: Range<usize>) -> SlotPart {
        SlotPart {
            slot,
            frame,
            backend: None,
            replica: false,
        }
    }

    /// Where it is once it is sent.
    pub fn at(&self) -> At {
        self.backend.map_or(At::Held, At::Backend)
    }

    /// Its slot.
    #[cfg(test)]
    pub fn slot(&self) -> u16 {
        self.slot
    }

    /// Where its bytes are among those of all parts.
    #[cfg(test)]
    pub fn range(&self) -> Range<usize> {
        self.frame.clone()
    }
}

/// A key of a request that is to be split and is shorter than 64 KiB, and where it is with what belongs to it. Sorted,
/// keys come slot by slot, each slot's keys as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::proxy) struct KeyInFrame(u64);

impl KeyInFrame {
    /// The key of this number.
    #[inline]
    pub fn new(slot: u16, number: usize, range: Range<usize>) -> KeyInFrame {
        debug_assert!(number.max(range.end) <= usize::from(u16::MAX));
        let place = u64::from(slot) << 48 | (number as u64) << 32;
        KeyInFrame(place | (range.start as u64) << 16 | range.end as u64)
    }

    /// Its slot.
    #[inline]
    pub fn slot(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// Its number among the keys.
    #[inline]
    pub fn number(self) -> usize {
        usize::from((self.0 >> 32) as u16)
    }

    /// Where it is, with what belongs to it.
    #[inline]
    pub fn range(self) -> Range<usize> {
        usize::from((self.0 >> 16) as u16)..usize::from(self.0 as u16)
    }
}

/// The requests for the slots of a request's keys, slot by slot, and of each key which of them has it.
pub(in crate::proxy) fn parts_by_slot(
    keys: &[u32],
    args: &Args<'_>,
) -> (Vec<(u16, Vec<u8>)>, Vec<u16>) {
    let (mut by_slot, mut parts, mut order) = (Vec::new(), Vec::new(), vec![0; keys.len()]);
    sort_by_slot(keys, args, &mut by_slot);
    for group in by_slot.chunk_by(|a, b| a.0 == b.0) {
        for (_, key) in group {
            order[*key as usize] = parts.len() as u16;
        }
        let mut frame = Vec::new();
        push_part(keys, args, group, &mut frame);
        parts.push((group[0].0, frame));
    }
    (parts, order)
}

/// Appends the request for one slot: the keys of `group`, with what belongs to each.
pub(in crate::proxy) fn push_part(
    keys: &[u32],
    args: &Args<'_>,
    group: &[(u16, u32)],
    frames: &mut Vec<u8>,
) {
    let stride = keys.get(1).map_or(1, |second| (second - keys[0]) as usize);
    encode::array(frames, 1 + group.len() * stride);
    encode::bulk(frames, args.name());
    for (_, key) in group {
        let first = keys[*key as usize] as usize;
        frames.extend_from_slice(args.encoded(first, stride));
    }
}

/// The keys with their slots, slot by slot, each slot's keys in their order.
pub(in crate::proxy) fn sort_by_slot(keys: &[u32], args: &Args<'_>, by_slot: &mut Vec<(u16, u32)>) {
    by_slot.clear();
    by_slot.extend(
        keys.iter()
            .zip(0..)
            .map(|(index, key)| (Slot::of(args.at(*index as usize)).number(), key)),
    );
    by_slot.sort_unstable();
}

/// The ticket of a part that has not been sent yet.
pub(in crate::proxy) fn ticket(
    origin: Origin,
    slot: u16,
    command: &Command,
    len: usize,
    pin: Pin,
    now: Time,
) -> Ticket {
    let readonly = command.flags.contains(Flags::READONLY);
    Ticket {
        tries: 0,
        pin,
        ..Ticket::new(origin, slot, command.id, len, readonly, now)
    }
}

pub(in crate::proxy) fn merge_of(policy: ResponsePolicy) -> Merge {
    match policy {
        ResponsePolicy::Default => Merge::Gather,
        ResponsePolicy::OneSucceeded => Merge::OneSucceeded,
        ResponsePolicy::AllSucceeded => Merge::AllSucceeded,
        ResponsePolicy::AggLogicalAnd => Merge::And,
        ResponsePolicy::AggLogicalOr => Merge::Or,
        ResponsePolicy::AggMin => Merge::Min,
        ResponsePolicy::AggMax => Merge::Max,
        ResponsePolicy::AggSum => Merge::Sum,
        ResponsePolicy::Special => Merge::Concat,
    }
}
