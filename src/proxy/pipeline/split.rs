//! `Split`: the parts of one request that went to several places, and their replies until all have come.
//!
//! What the replies become is in `merge`.

use crate::buffer::Rope;
use crate::proxy::ids::BackendId;
use crate::proxy::pipeline::gather::Gathering;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::passing_merge::Passing;
use crate::proxy::pipeline::{At, Spares};
use crate::proxy::upstream::routes::ShardId;

/// A reply longer than this is kept in a buffer of its own, in bytes.
const SHORT_MAX: usize = 4096;

#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) slot: u16,
    pub(super) at: At,
    pub(super) reply: Kept,
}

/// Where the reply to a part is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept {
    /// So many bytes from a place on, among the short ones. Those of a part without a reply are none.
    Short { start: u32, len: u32 },
    /// The place among the long ones.
    Long(u32),
}

/// A request in several parts.
#[derive(Debug)]
pub struct Split {
    pub(super) merge: Merge,
    /// Whether a part that succeeded has changed something.
    pub(super) write: bool,
    pub(super) parts: Vec<Part>,
    /// How many parts from the first on have ascending slots. A request that is cut by slot has all of them so.
    pub(super) ascending: usize,
    /// The others, slot by slot as they came: a slot, its first part, and the one behind its last.
    pub(super) runs: Vec<(u16, usize, usize)>,
    pub(super) pending: usize,
    /// Short replies, as they came.
    pub(super) short: Vec<u8>,
    pub(super) long: Vec<Rope>,
    pub(super) long_bytes: usize,
    /// Of a request for all shards: which it asks, and in whose place if that one is no more.
    shards: Vec<(ShardId, Option<ShardId>)>,
    /// For [`Merge::Gather`]: the part of each key, in the order of the keys.
    pub(in crate::proxy) order: Vec<u16>,
    /// For the same, if it takes several steps: what has been done.
    pub(super) gathering: Option<Gathering>,
    /// For [`Merge::Concat`]: how far it is if the replies pass as they come.
    pub(super) passing: Passing,
}

impl Split {
    /// A request without parts yet.
    pub fn new(merge: Merge, write: bool) -> Split {
        Split::with_capacity(merge, write, 0)
    }

    /// The same, with memory for so many parts.
    pub fn with_capacity(merge: Merge, write: bool, parts: usize) -> Split {
        Split {
            merge,
            write,
            parts: Vec::with_capacity(parts),
            ascending: 0,
            runs: Vec::new(),
            pending: 0,
            short: Vec::new(),
            long: Vec::new(),
            long_bytes: 0,
            shards: Vec::new(),
            order: Vec::new(),
            gathering: None,
            passing: Passing::default(),
        }
    }

    /// Whether it has memory for no more than so many parts.
    pub(super) fn is_small(&self, most: usize) -> bool {
        let parts = self.parts.capacity().max(self.order.capacity());
        parts.max(self.runs.capacity()).max(self.shards.capacity()) <= most
    }

    /// Forgets all of them, for the next request, and keeps the memory; of their bytes no more than `most`.
    pub(super) fn clear(&mut self, most: usize) {
        self.parts.clear();
        self.runs.clear();
        (self.ascending, self.pending, self.long_bytes) = (0, 0, 0);
        self.short.clear();
        if self.short.capacity() > most {
            self.short = Vec::new();
        }
        self.long.clear();
        self.shards.clear();
        self.order.clear();
        self.gathering = None;
        self.passing = Passing::default();
    }

    /// Adds a part for `slot` (or none) and returns its number.
    pub fn add(&mut self, slot: u16) -> u16 {
        self.add_at(slot, At::Held)
    }

    /// The same, of a part that is there already.
    pub fn add_at(&mut self, slot: u16, at: At) -> u16 {
        let index = self.parts.len();
        let ascends = index == 0 || self.parts[index - 1].slot <= slot;
        match self.runs.last_mut() {
            None if ascends => self.ascending += 1,
            Some((own, _, end)) if *own == slot => *end += 1,
            Some(_) | None => self.runs.push((slot, index, index + 1)),
        }
        self.parts.push(Part {
            slot,
            at,
            reply: Kept::Short { start: 0, len: 0 },
        });
        self.pending += 1;
        (self.parts.len() - 1) as u16
    }

    /// The same, of a part whose slot is behind those of all others.
    #[inline]
    pub fn add_behind(&mut self, slot: u16, at: At) -> u16 {
        let index = self.parts.len();
        debug_assert!(self.parts.last().is_none_or(|last| last.slot < slot));
        debug_assert_eq!(self.ascending, index);
        self.parts.push(Part {
            slot,
            at,
            reply: Kept::Short { start: 0, len: 0 },
        });
        self.ascending += 1;
        self.pending += 1;
        index as u16
    }

    /// Says that one of its parts asks a shard.
    pub fn ask_shard(&mut self, id: ShardId) {
        self.shards.push((id, None));
    }

    /// Whether a part for a shard that is no more asks its heir: it does unless another part does.
    pub fn asks_heir(&mut self, gone: ShardId, heir: ShardId) -> bool {
        match self.shards.iter().find(|(own, _)| *own == heir) {
            Some((_, place)) => *place == Some(gone),
            None => {
                self.shards.push((heir, Some(gone)));
                true
            }
        }
    }

    /// How many parts have no reply yet.
    #[inline]
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Adds `count` parts for `slot`.
    pub fn add_parts(&mut self, slot: u16, count: usize) {
        for _ in 0..count {
            self.add(slot);
        }
    }

    /// Sets which part each key belongs to.
    pub fn set_order(&mut self, order: Vec<u16>) {
        self.order = order;
    }

    /// Makes `count` parts of one, which keeps its number for the first of them; returns the number of the
    /// second. The keys of that part, in their order, become the keys of the new parts.
    /// Nothing if they would be too many.
    pub fn divide(&mut self, part: u16, count: usize) -> Option<u16> {
        let first = self.parts.len() as u16;
        if self.parts.len() + count > usize::from(u16::MAX) {
            return None;
        }
        let slot = self.parts[part as usize].slot;
        self.add_parts(slot, count - 1);
        let keys = self.order.iter_mut().filter(|own| **own == part);
        for (key, number) in keys.skip(1).zip(first..) {
            *key = number;
        }
        Some(first)
    }

    /// How many parts there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there are no parts.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Says where a part is now.
    pub fn set_at(&mut self, part: u16, at: At) {
        if let Some(part) = self.parts.get_mut(part as usize) {
            part.at = at;
        }
    }

    /// Calls `see` with the backend of each part of `slot` that is outstanding.
    pub fn outstanding(&self, slot: u16, mut see: impl FnMut(BackendId)) {
        let (ascending, _) = self.parts.split_at(self.ascending);
        let start = ascending.partition_point(|part| part.slot < slot);
        let first = ascending[start..].iter();
        let first = first.take_while(|part| part.slot == slot);
        let others = self.runs.iter().filter(|(own, ..)| *own == slot);
        let others = others.flat_map(|(_, start, end)| &self.parts[*start..*end]);
        for part in first.chain(others) {
            if let At::Backend(backend) = part.at {
                see(backend);
            }
        }
    }

    /// Whether any part is outstanding at this backend.
    pub fn stands_at(&self, backend: BackendId) -> bool {
        let at = At::Backend(backend);
        self.parts.iter().any(|part| part.at == at)
    }

    /// Keeps the reply to one part; no bytes leave the part out of the whole.
    #[inline(always)]
    pub fn fulfil(&mut self, number: u16, reply: &[u8], spares: &mut Spares) {
        let Some(part) = self.parts.get_mut(number as usize) else {
            debug_assert!(false, "a reply to a part that does not exist");
            return;
        };
        if reply.len() > SHORT_MAX {
            return self.fulfil_rope(number, Rope::of(reply.to_vec()));
        }
        debug_assert!(part.at != At::Done);
        part.at = At::Done;
        self.pending -= 1;
        if self.short.capacity() == 0 {
            self.short = spares.take();
        }
        // With 65,536 parts at most, the sum fits.
        part.reply = Kept::Short {
            start: self.short.len() as u32,
            len: reply.len() as u32,
        };
        self.short.extend_from_slice(reply);
    }

    /// Keeps a large reply to one part, which moves. It is no error, and has no attributes in front.
    pub fn fulfil_rope(&mut self, part: u16, reply: Rope) {
        let Some(part) = self.parts.get_mut(part as usize) else {
            debug_assert!(false, "a reply to a part that does not exist");
            return;
        };
        debug_assert!(part.at != At::Done);
        part.at = At::Done;
        self.pending -= 1;
        part.reply = Kept::Long(self.long.len() as u32);
        self.long_bytes += reply.len();
        self.long.push(reply);
    }

    /// The reply to a part; if it lies in several pieces the first of them, which tells its type.
    pub(super) fn reply(&self, part: &Part) -> &[u8] {
        let found = match part.reply {
            Kept::Short { start, len } => {
                let start = start as usize;
                self.short.get(start..start + len as usize)
            }
            Kept::Long(index) => self.long.get(index as usize).map(|rope| rope.piece(0)),
        };
        debug_assert!(found.is_some());
        found.unwrap_or_default()
    }

    /// The replies of all parts in order, without any bytes for one that was left out.
    pub(super) fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(|part| self.reply(part))
    }

    /// Whether every part has its reply.
    pub fn is_complete(&self) -> bool {
        self.pending == 0
    }

    /// Bytes of the replies kept.
    pub fn kept_bytes(&self) -> usize {
        self.short.len() + self.long_bytes
    }
}
