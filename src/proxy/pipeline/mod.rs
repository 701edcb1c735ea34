//! `Pipeline`: the replies that one client is owed, in the order of its requests.
//!
//! A request takes a place when it is dispatched and leaves when its reply does. Replies come in any order;
//! only the completed run at the head goes to the client (rule R1: reply order is request order, by
//! construction).
//!
//! It must never know what a node is, nor which connection a reply came from beyond its name.

pub mod by_slot;
pub mod client_reply;
mod entry;
mod gather;
pub mod long_merge;
pub mod merge;
pub(super) mod out_of_order;
mod parts;
mod passing_merge;
pub mod plan;
mod spares;
pub mod split;
pub mod unmerged;

use std::borrow::Cow;
use std::collections::VecDeque;

use slab::Slab;

use crate::buffer::{Pool, WriteBuf};
use crate::clock::Time;
use crate::proxy::ids::{BackendId, Seq};
use crate::proxy::pipeline::client_reply::ClientReply;
use crate::proxy::pipeline::entry::{Entry, Kept, Kind, Stage};
use crate::proxy::pipeline::out_of_order::{OutOfOrder, Place};
use crate::proxy::pipeline::plan::Plan;
use crate::proxy::pipeline::split::Split;
use crate::proxy::request::MOVED_FRAME;
use crate::proxy::stats::calls::ErrorCode;
use crate::proxy::upstream::routes::ShardId;

pub use entry::At;
pub use spares::Spares;

/// What was completed by a reply.
#[derive(Debug, Clone, Copy)]
pub struct Completed {
    /// The command's row.
    pub command: u16,
    /// When the request was dispatched.
    pub started: Time,
    /// Whether its parts have become an error, which [`Pipeline::failure`] then names. What came in one part
    /// has been seen by whoever brought it.
    pub failed: bool,
    /// Bytes of a reply that was made of those of several parts.
    pub merged_bytes: usize,
}

/// What became of the reply to a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartFulfilled {
    /// Nothing: it belongs to no such request.
    No,
    /// It waits for others.
    Waits,
    /// It was the last: they are to be merged.
    Last,
}

impl Completed {
    /// Whether its reply is short and no error, so that it is only to be counted.
    pub fn is_plain(&self) -> bool {
        !self.failed && self.merged_bytes < MOVED_FRAME
    }

    /// A request that did not fail.
    #[inline(always)]
    fn of(command: u16, started: Time) -> Completed {
        Completed {
            command,
            started,
            failed: false,
            merged_bytes: 0,
        }
    }
}

/// The requests of one client that are not answered yet, oldest first.
///
/// Invariants: the head is never `Waiting` nor `Ready`: what is complete at the head has left; a place in
/// `waiting` and an entry of `kept` are those of one request.
#[derive(Debug)]
pub struct Pipeline {
    requests: VecDeque<Entry>,
    head: Seq,
    /// Bytes of replies that wait for their turn, wherever they are.
    ready_bytes: usize,
    out_of_order: OutOfOrder,
    kept: Slab<Kept>,
    /// What a request has to ask next, until it is taken, which is at once.
    next: Option<(Seq, Plan)>,
    /// A request whose parts are to become one reply in steps, or outside the worker, until it is taken, which is at
    /// once.
    unmerged: Option<(Seq, Option<Box<Split>>)>,
    /// Whether the next requests are answered.
    pub client_reply: ClientReply,
    /// The row of the newest request; `u16::MAX` if it had none.
    pub last_command: u16,
    failure: Option<ErrorCode>,
}

impl Default for Pipeline {
    fn default() -> Pipeline {
        Pipeline {
            requests: VecDeque::new(),
            head: Seq(0),
            ready_bytes: 0,
            out_of_order: OutOfOrder::default(),
            kept: Slab::new(),
            next: None,
            unmerged: None,
            client_reply: ClientReply::On,
            last_command: u16::MAX,
            failure: None,
        }
    }
}

/// Requests that an empty pipeline keeps room for while there are commands.
const REQUESTS_KEPT: usize = 1024;

impl Pipeline {
    /// How many requests have been answered.
    pub fn answered(&self) -> u64 {
        u64::from(self.head.0)
    }

    /// Requests that are not answered yet.
    #[inline]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether every request has been answered.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Bytes of replies that wait for their turn.
    #[inline]
    pub fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// The oldest place that is not answered; the next to be given if all are.
    #[inline]
    pub fn head(&self) -> Seq {
        self.head
    }

    /// The place that the next request will take.
    #[inline]
    pub fn tail(&self) -> Seq {
        Seq(self.head.0.wrapping_add(self.requests.len() as u32))
    }

    /// The place behind all requests of which a reply, or a part of one, has come.
    pub fn behind_replies(&self) -> Seq {
        let outstanding = |request: &&Entry| matches!(request.kind, Kind::Single | Kind::Muted);
        let behind = self.requests.iter().rev().take_while(outstanding).count();
        Seq(self.tail().0.wrapping_sub(behind as u32))
    }

    /// Takes a place for a request of one part.
    #[inline]
    pub fn push_single(&mut self, command: u16, slot: u16, at: At, started: Time) -> Seq {
        let kind = if self.client_reply.take_muted() {
            Kind::Muted
        } else {
            Kind::Single
        };
        self.push_part(command, started, kind, slot, at)
    }

    /// As `push_single`, while all requests are answered.
    #[inline(always)]
    pub fn push_heard_single(&mut self, command: u16, slot: u16, at: At, started: Time) -> Seq {
        debug_assert_eq!(self.client_reply, ClientReply::On);
        self.push_part(command, started, Kind::Single, slot, at)
    }

    /// Takes a place for a request that the proxy answers itself, now or later, and whose reply is told even to
    /// a client that wants none.
    pub fn push_heard(&mut self, command: u16, started: Time) -> Seq {
        self.client_reply.pass();
        self.push_part(command, started, Kind::Single, u16::MAX, At::Here)
    }

    /// Takes a place for a request of several parts.
    pub fn push_split(&mut self, command: u16, split: Box<Split>, started: Time) -> Seq {
        let kind = if self.client_reply.take_muted() {
            Kind::MutedSplit
        } else {
            Kind::Split
        };
        let key = self.kept.insert(Kept::Split(split)) as u32;
        self.push(command, started, kind, [key, 0])
    }

    #[inline(always)]
    fn push_part(&mut self, command: u16, started: Time, kind: Kind, slot: u16, at: At) -> Seq {
        let (stage, words) = at.taken_apart();
        self.push_request(Entry {
            started,
            words,
            command,
            slot,
            kind,
            stage,
        })
    }

    fn push(&mut self, command: u16, started: Time, kind: Kind, words: [u32; 2]) -> Seq {
        self.push_request(Entry {
            started,
            words,
            command,
            slot: u16::MAX,
            kind,
            stage: Stage::Done,
        })
    }

    #[inline(always)]
    fn push_request(&mut self, request: Entry) -> Seq {
        let seq = self.tail();
        self.last_command = request.command;
        self.requests.push_back(request);
        seq
    }

    /// Answers the newest request at once: it takes its turn behind all that are outstanding.
    pub fn answer(
        &mut self,
        command: u16,
        reply: &[u8],
        output: &mut WriteBuf,
        pool: &mut Pool,
        now: Time,
    ) {
        let reply = if self.client_reply.take_muted() {
            &[]
        } else {
            reply
        };
        if self.requests.is_empty() {
            self.last_command = command;
            output.push(reply, pool);
            self.head = Seq(self.head.0.wrapping_add(1));
        } else {
            self.ready_bytes += reply.len();
            let key = self.kept.insert(Kept::Ready(reply.into())) as u32;
            self.push(command, now, Kind::Ready, [key, 0]);
        }
    }

    #[inline]
    fn get_mut(&mut self, seq: Seq) -> Option<&mut Entry> {
        self.requests
            .get_mut(seq.0.wrapping_sub(self.head.0) as usize)
    }

    /// The parts of a request that has several.
    fn split_mut(&mut self, seq: Seq) -> Option<&mut Split> {
        let request = *self.get_mut(seq)?;
        if !matches!(request.kind, Kind::Split | Kind::MutedSplit) {
            return None;
        }
        match self.kept.get_mut(request.words[0] as usize) {
            Some(Kept::Split(split)) => Some(split),
            Some(Kept::Ready(_) | Kept::Rope(_)) | None => {
                debug_assert!(false, "parts that are not kept");
                None
            }
        }
    }

    /// Whether the reply to this part may go straight to the client: it stands at the head, alone.
    #[inline]
    pub fn is_single_head(&self, seq: Seq) -> bool {
        let head = self.requests.front();
        seq == self.head && head.is_some_and(|head| head.kind == Kind::Single)
    }

    /// Whether this is a request of one part whose reply is thrown away.
    pub fn is_muted(&self, seq: Seq) -> bool {
        let index = seq.0.wrapping_sub(self.head.0) as usize;
        let request = self.requests.get(index);
        request.is_some_and(|request| request.kind == Kind::Muted)
    }

    /// Makes `count` parts of one part of a request; `whole` is what a request of a single part becomes.
    /// Returns the number of the second new part; the first keeps the old number.
    pub fn divide(
        &mut self,
        seq: Seq,
        part: u16,
        count: usize,
        whole: impl FnOnce(u16) -> Split,
    ) -> Option<u16> {
        let request = *self.get_mut(seq)?;
        let kind = match request.kind {
            Kind::Single => Kind::Split,
            Kind::Muted => Kind::MutedSplit,
            other => other,
        };
        if kind != request.kind {
            debug_assert_eq!(part, 0);
            let split = Kept::Split(Box::new(whole(request.slot)));
            let key = self.kept.insert(split) as u32;
            *self.get_mut(seq)? = Entry {
                kind,
                words: [key, 0],
                ..request
            };
        }
        self.split_mut(seq)?.divide(part, count)
    }

    /// Whether the part of a request that is for a shard which is no more asks that shard's heir.
    pub fn asks_heir(&mut self, seq: Seq, gone: ShardId, heir: ShardId) -> bool {
        let split = self.split_mut(seq);
        split.is_some_and(|split| split.asks_heir(gone, heir))
    }

    /// What a request has to ask next, if the last reply has led to that: its place, and its command.
    pub fn take_next(&mut self) -> Option<(Seq, u16, Plan)> {
        let (seq, plan) = self.next.take()?;
        let command = self.get_mut(seq)?.command;
        Some((seq, command, plan))
    }

    /// Gives a request that asks again its new parts.
    pub fn renew_split(&mut self, seq: Seq, split: Split) {
        if let Some(parts) = self.split_mut(seq) {
            *parts = split;
        }
    }

    /// The error that the request completed last has become, told once.
    pub fn failure(&mut self) -> Option<ErrorCode> {
        self.failure.take()
    }

    /// The command of a request of one part that is not answered yet.
    pub fn single(&self, seq: Seq) -> Option<u16> {
        let index = seq.0.wrapping_sub(self.head.0) as usize;
        let request = self.requests.get(index)?;
        (request.kind == Kind::Single).then_some(request.command)
    }

    /// Says where a part is now.
    pub fn set_at(&mut self, seq: Seq, part: u16, at: At) {
        match self.get_mut(seq) {
            Some(request) if matches!(request.kind, Kind::Single | Kind::Muted) => {
                (request.stage, request.words) = at.taken_apart();
            }
            Some(_) | None => match self.split_mut(seq) {
                Some(split) => split.set_at(part, at),
                None => debug_assert!(false, "a part of an answered request moved"),
            },
        }
    }

    /// Hands in the reply to a request of one part, and says which command it was and when it came. Nothing is
    /// done, and said, if the request is no such one.
    #[inline(always)]
    pub fn fulfil_single(
        &mut self,
        seq: Seq,
        reply: &[u8],
        output: &mut WriteBuf,
        pool: &mut Pool,
        spares: &mut Spares,
    ) -> Option<(u16, Time)> {
        let index = seq.0.wrapping_sub(self.head.0) as usize;
        let request = self.requests.get_mut(index)?;
        if request.kind != Kind::Single {
            return None;
        }
        let completed = (request.command, request.started);
        if index == 0 {
            output.push_first(reply, pool);
            self.pop_head(output, pool, spares);
        } else {
            match self.out_of_order.keep(reply, &mut spares.out_of_order) {
                Some(place) => {
                    request.kind = Kind::Waiting;
                    request.words = place.words();
                }
                None => {
                    request.kind = Kind::Ready;
                    request.words = [self.kept.insert(Kept::Ready(reply.into())) as u32, 0];
                }
            }
            self.ready_bytes += reply.len();
        }
        Some(completed)
    }

    /// Hands in the reply to a part of a request that has several, unless it is the last one of a request that came before
    /// `since`.
    #[inline]
    pub fn fulfil_part(
        &mut self,
        seq: Seq,
        part: u16,
        reply: &[u8],
        since: Time,
        spares: &mut Spares,
    ) -> PartFulfilled {
        let index = seq.0.wrapping_sub(self.head.0) as usize;
        let Some(request) = self.requests.get(index) else {
            return PartFulfilled::No;
        };
        if request.kind != Kind::Split {
            return PartFulfilled::No;
        }
        let Some(Kept::Split(split)) = self.kept.get_mut(request.words[0] as usize) else {
            return PartFulfilled::No;
        };
        if request.started < since && split.pending() == 1 {
            return PartFulfilled::No;
        }
        split.fulfil(part, reply, spares);
        self.ready_bytes += reply.len();
        match split.is_complete() {
            true => PartFulfilled::Last,
            false => PartFulfilled::Waits,
        }
    }

    /// Hands in the reply to one part. Whatever is complete at the head goes to `output`.
    #[inline]
    pub fn fulfil(
        &mut self,
        seq: Seq,
        part: u16,
        reply: &[u8],
        output: &mut WriteBuf,
        pool: &mut Pool,
        spares: &mut Spares,
    ) -> Option<Completed> {
        if let Some((command, started)) = self.fulfil_single(seq, reply, output, pool, spares) {
            return Some(Completed::of(command, started));
        }
        let at_head = seq == self.head;
        let index = seq.0.wrapping_sub(self.head.0) as usize;
        let Some(request) = self.requests.get_mut(index) else {
            debug_assert!(false, "a reply to a request that has left");
            return None;
        };
        let completed = Completed::of(request.command, request.started);
        match request.kind {
            Kind::Muted if at_head => {
                self.pop_head(output, pool, spares);
                Some(completed)
            }
            Kind::Muted => {
                request.kind = Kind::Waiting;
                request.words = Place::default().words();
                Some(completed)
            }
            Kind::Split | Kind::MutedSplit => {
                let Some(Kept::Split(split)) = self.kept.get_mut(request.words[0] as usize) else {
                    debug_assert!(false, "parts that are not kept");
                    return None;
                };
                split.fulfil(part, reply, spares);
                self.ready_bytes += reply.len();
                if !split.is_complete() {
                    return None;
                }
                self.merge(seq, output, pool, spares)
            }
            Kind::Single | Kind::Waiting | Kind::Ready => {
                debug_assert!(false, "two replies to one request");
                None
            }
        }
    }

    /// The head's reply has gone to the client: the head leaves, and all that is ready behind it.
    #[inline(always)]
    pub fn pop_head(&mut self, output: &mut WriteBuf, pool: &mut Pool, spares: &mut Spares) {
        self.requests.pop_front();
        self.head = Seq(self.head.0.wrapping_add(1));
        let next = self.requests.front();
        if next.is_some_and(|next| matches!(next.kind, Kind::Waiting | Kind::Ready)) {
            self.pop_ready(output, pool, spares);
        }
        debug_assert!(!self.requests.is_empty() || self.ready_bytes == 0);
    }

    #[inline(never)]
    fn pop_ready(&mut self, output: &mut WriteBuf, pool: &mut Pool, spares: &mut Spares) {
        let (mut ready, mut waited, mut count) = (0, 0, 0);
        for request in &self.requests {
            match request.kind {
                Kind::Waiting => {
                    let reply = self.out_of_order.get(request.place());
                    output.push(reply, pool);
                    waited += reply.len();
                }
                Kind::Ready => match self.kept.try_remove(request.words[0] as usize) {
                    Some(Kept::Ready(reply)) => {
                        output.push(&reply, pool);
                        ready += reply.len();
                    }
                    Some(Kept::Rope(reply)) => {
                        ready += reply.len();
                        reply.move_to(output);
                    }
                    Some(Kept::Split(_)) | None => {
                        debug_assert!(false, "a reply that is not kept");
                        break;
                    }
                },
                Kind::Single | Kind::Muted | Kind::Split | Kind::MutedSplit => break,
            }
            count += 1;
        }
        self.requests.drain(..count);
        self.head = Seq(self.head.0.wrapping_add(count as u32));
        self.ready_bytes -= ready + waited;
        if waited > 0 {
            self.out_of_order
                .give_back(waited, &mut spares.out_of_order);
        }
        if self.out_of_order.is_loose() {
            self.tighten();
        }
    }

    #[cold]
    fn tighten(&mut self) {
        let all = self.requests.iter_mut();
        let own = all.filter(|request| request.kind == Kind::Waiting);
        self.out_of_order
            .tighten(own.map(|request| &mut request.words));
    }

    /// Whether the request of this place is not answered, or is still to come.
    #[inline]
    pub fn is_open(&self, seq: Seq) -> bool {
        if seq.before(self.head) {
            return false;
        }
        let request = self.requests.get(seq.0.wrapping_sub(self.head.0) as usize);
        request.is_none_or(|request| !matches!(request.kind, Kind::Waiting | Kind::Ready))
    }

    /// Whether a request lacks the reply to one part only.
    pub fn lacks_one(&self, seq: Seq) -> bool {
        let index = seq.0.wrapping_sub(self.head.0) as usize;
        let key = self.requests.get(index).map(|request| match request.kind {
            Kind::Split | Kind::MutedSplit => self.kept.get(request.words[0] as usize),
            Kind::Single | Kind::Muted | Kind::Waiting | Kind::Ready => None,
        });
        match key.flatten() {
            Some(Kept::Split(split)) => split.pending() == 1,
            Some(Kept::Ready(_) | Kept::Rope(_)) | None => true,
        }
    }

    /// When a request came, if it has not been answered yet.
    pub fn started(&self, seq: Seq) -> Option<Time> {
        let index = seq.0.wrapping_sub(self.head.0) as usize;
        self.requests.get(index).map(|request| request.started)
    }

    /// What the head would be completed as, for a reply that is moved instead of copied.
    pub fn head_completed(&self) -> Option<Completed> {
        let head = self.requests.front();
        head.map(|request| Completed::of(request.command, request.started))
    }

    /// Calls `see` for every part whose slot is `slot` and whose ticket is in a backend's queue.
    /// A part without a slot counts for none.
    pub fn outstanding(&self, slot: u16, mut see: impl FnMut(Seq, BackendId)) {
        for (index, request) in self.requests.iter().enumerate() {
            let seq = Seq(self.head.0.wrapping_add(index as u32));
            match request.kind {
                Kind::Single | Kind::Muted if request.slot == slot => {
                    if let Some(backend) = request.backend() {
                        see(seq, backend);
                    }
                }
                Kind::Split | Kind::MutedSplit => {
                    if let Some(Kept::Split(split)) = self.kept.get(request.words[0] as usize) {
                        split.outstanding(slot, |backend| see(seq, backend));
                    }
                }
                Kind::Single | Kind::Muted | Kind::Waiting | Kind::Ready => {}
            }
        }
    }

    /// Whether any part has its ticket in this backend's queue.
    pub fn stands_at(&self, backend: BackendId) -> bool {
        // Most likely the newest has.
        self.requests
            .iter()
            .rev()
            .any(|request| match request.kind {
                Kind::Single | Kind::Muted => request.backend() == Some(backend),
                Kind::Split | Kind::MutedSplit => match self.kept.get(request.words[0] as usize) {
                    Some(Kept::Split(split)) => split.stands_at(backend),
                    Some(Kept::Ready(_) | Kept::Rope(_)) | None => false,
                },
                Kind::Waiting | Kind::Ready => false,
            })
    }

    /// Whether the newest request is complete, or the head is the only one.
    pub fn is_last_ready(&self) -> bool {
        let last = self.requests.back();
        let ready = last.is_none_or(|last| matches!(last.kind, Kind::Waiting | Kind::Ready));
        ready || self.requests.len() == 1
    }

    /// The reply to a request behind the head, if it is complete. One that is kept in pieces is copied.
    pub fn ready(&self, seq: Seq) -> Option<Cow<'_, [u8]>> {
        let index = seq.0.wrapping_sub(self.head.0) as usize;
        let request = self.requests.get(index)?;
        match request.kind {
            Kind::Waiting if request.place() == Place::default() => Some(Cow::default()),
            Kind::Waiting => Some(Cow::Borrowed(self.out_of_order.get(request.place()))),
            Kind::Ready => match self.kept.get(request.words[0] as usize) {
                Some(Kept::Ready(reply)) => Some(Cow::Borrowed(reply)),
                Some(Kept::Rope(reply)) => Some(Cow::Owned(reply.to_bytes())),
                Some(Kept::Split(_)) | None => None,
            },
            Kind::Single | Kind::Muted | Kind::Split | Kind::MutedSplit => None,
        }
    }

    /// Everything behind the head is complete, and has become a part of the head's reply: it has none of its own.
    pub fn hush_behind_head(&mut self, spares: &mut Spares) {
        let mut waited = 0;
        for request in self.requests.iter_mut().skip(1) {
            match request.kind {
                Kind::Waiting => {
                    let reply = request.place();
                    if reply != Place::default() {
                        waited += self.out_of_order.get(reply).len();
                    }
                }
                Kind::Ready => match self.kept.try_remove(request.words[0] as usize) {
                    Some(Kept::Ready(reply)) => self.ready_bytes -= reply.len(),
                    Some(Kept::Rope(reply)) => self.ready_bytes -= reply.len(),
                    Some(Kept::Split(_)) | None => {
                        debug_assert!(false, "a reply that is not kept");
                    }
                },
                Kind::Single | Kind::Muted | Kind::Split | Kind::MutedSplit => {
                    debug_assert!(false, "a request under way behind one that is complete");
                    continue;
                }
            }
            request.kind = Kind::Waiting;
            request.words = Place::default().words();
        }
        self.ready_bytes -= waited;
        if waited > 0 {
            self.out_of_order
                .give_back(waited, &mut spares.out_of_order);
        }
    }

    /// Gives memory back to the allocator, for a client that has nothing outstanding.
    pub fn shrink(&mut self) {
        if self.requests.is_empty() {
            self.requests = VecDeque::new();
            self.kept = Slab::new();
        }
    }

    /// The same, if it is much.
    pub fn shed(&mut self) {
        if self.requests.capacity() > REQUESTS_KEPT || self.kept.capacity() > REQUESTS_KEPT {
            self.shrink();
        }
    }
}

#[cfg(test)]
mod tests;
