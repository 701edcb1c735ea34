//! `Split`: the parts of one request that went to several places, and `Merge`: how their replies become the
//! one that a single server gives.
//!
//! Errors: if any part failed, the whole reply is the first such error in the order of the parts; but once
//! part of a write has executed, or may have, while another failed, it is `-ERR partial failure: ...`.

mod gather;

use std::fmt;

use crate::buffer::{Rope, RopeBuilder};
use crate::proxy::ids::BackendId;
use crate::proxy::pipeline::plan::Plan;
use crate::proxy::pipeline::{At, Spares};
use crate::proxy::texts::refusal;
use crate::resp::encode;
use crate::resp::reply::Reply;
use gather::{Gathering, STEP_VALUES, TooFew};

/// Makes one reply of the replies of the parts, in the order of the parts. One that was left out is a reply
/// without any bytes, and so neither text nor number nor list.
pub type Join = Box<dyn FnOnce(&[Reply<'_>], &mut Vec<u8>) + Send>;

/// Looks at the replies of the parts, errors included, and either makes one reply of them or says whom to ask
/// next; the answers to that take the place of the parts.
pub type Then = Box<dyn FnOnce(&[Reply<'_>], &mut Vec<u8>) -> Option<Plan> + Send>;

/// How the replies of the parts become one.
pub enum Merge {
    /// One value for each key, put back in the order of the keys (MGET).
    Gather,
    /// The first reply, once all have succeeded (MSET, FLUSHALL).
    AllSucceeded,
    /// The first reply that is no error, if there is one (SCRIPT KILL).
    OneSucceeded,
    /// Integers added (DEL, DBSIZE).
    Sum,
    /// The smallest of the integers (WAIT).
    Min,
    /// The largest of the integers.
    Max,
    /// Integers, or arrays of them, joined by "and" (SCRIPT EXISTS).
    And,
    /// Integers, or arrays of them, joined by "or".
    Or,
    /// Arrays, one behind the other (KEYS).
    Concat,
    /// By the command's own rule; no reply is an error.
    Join(Join),
    /// By the command's own rule, which looks at errors, too.
    JoinAll(Join),
    /// By the command's own rule, which may be to ask again.
    Then(Then),
    /// As `Then`, of all parts: those that were left out are no bytes.
    ThenAll(Then),
}

impl fmt::Debug for Merge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Merge::Gather => "Gather",
            Merge::AllSucceeded => "AllSucceeded",
            Merge::OneSucceeded => "OneSucceeded",
            Merge::Sum => "Sum",
            Merge::Min => "Min",
            Merge::Max => "Max",
            Merge::And => "And",
            Merge::Or => "Or",
            Merge::Concat => "Concat",
            Merge::Join(_) => "Join",
            Merge::JoinAll(_) => "JoinAll",
            Merge::Then(_) => "Then",
            Merge::ThenAll(_) => "ThenAll",
        })
    }
}

const TOO_FEW: &[u8] = b"ERR a node answered with too few values";

/// A reply longer than this is kept in a buffer of its own, in bytes.
const SHORT_MAX: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Part {
    slot: u16,
    at: At,
    reply: Kept,
}

/// Where the reply to a part is.
#[derive(Debug, Clone, Copy)]
enum Kept {
    /// So many bytes from a place on, among the short ones. Those of a part without a reply are none.
    Short { start: u32, len: u32 },
    /// The place among the long ones.
    Long(u32),
}

/// A request in several parts.
#[derive(Debug)]
pub struct Split {
    merge: Merge,
    /// Whether a part that succeeded has changed something.
    write: bool,
    parts: Vec<Part>,
    /// How many parts from the first on have ascending slots. A request that is cut by slot has all of them so.
    ascending: usize,
    /// The others, slot by slot as they came: a slot, its first part, and the one behind its last.
    runs: Vec<(u16, usize, usize)>,
    pending: usize,
    /// Short replies, as they came.
    short: Vec<u8>,
    long: Vec<Rope>,
    long_bytes: usize,
    /// For [`Merge::Gather`]: the part of each key, in the order of the keys.
    order: Vec<u16>,
    /// For the same, if it takes several steps: what has been done.
    gathering: Option<Gathering>,
}

/// What the replies of all parts have become.
#[derive(Debug)]
pub enum Finished {
    /// The one reply.
    Bytes(Vec<u8>),
    /// The same, if it is large.
    Rope(Rope),
    /// It takes more steps.
    NotYet,
    /// Whom to ask next.
    Asks(Plan),
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
            order: Vec::new(),
            gathering: None,
        }
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
    #[inline]
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
    fn reply(&self, part: &Part) -> &[u8] {
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
    fn all(&self) -> impl Iterator<Item = &[u8]> {
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

    /// Makes one reply of them, or else says whom to ask next. What takes longer than a turn may is done in steps, one
    /// each time that this is called.
    pub fn finish(&mut self, spares: &mut Spares) -> Finished {
        debug_assert!(self.is_complete());
        if let Some(gathering) = self.gathering.take() {
            return self.gather_on(gathering, spares);
        }
        let merge = std::mem::replace(&mut self.merge, Merge::AllSucceeded);
        let tolerant = matches!(
            merge,
            Merge::OneSucceeded | Merge::JoinAll(_) | Merge::Then(_) | Merge::ThenAll(_)
        );
        let whole = matches!(merge, Merge::JoinAll(_) | Merge::ThenAll(_));
        let mut out = spares.take();
        let mut next = None;
        match self.first_error() {
            _ if self.replies().next().is_none() && !whole => {
                encode::error(&mut out, refusal::CLUSTER_DOWN.as_bytes());
            }
            Some(error) if !tolerant => {
                let partial = self.write && self.parts.len() > 1;
                if partial && self.all().any(may_have_executed) {
                    let text = [b"ERR partial failure: ", error].concat();
                    encode::error(&mut out, &text);
                } else {
                    encode::error(&mut out, error);
                }
            }
            _ => match merge {
                Merge::Gather if self.order.len() > STEP_VALUES || self.long_bytes > 0 => {
                    match Gathering::begin(self) {
                        Ok(gathering) => {
                            spares.give(out);
                            return self.gather_on(gathering, spares);
                        }
                        Err(TooFew) => encode::error(&mut out, TOO_FEW),
                    }
                }
                Merge::Concat if self.long_bytes > 0 => {
                    spares.give(out);
                    return Finished::Rope(self.concat());
                }
                merge => {
                    self.put_together();
                    next = self.merge_replies(merge, &mut out);
                }
            },
        }
        spares.give(std::mem::take(&mut self.short));
        match next {
            None => Finished::Bytes(out),
            Some(plan) => {
                spares.give(out);
                Finished::Asks(plan)
            }
        }
    }

    /// Makes one reply of them to its end and appends it, for who has it as a part of a longer one. Nobody is asked
    /// anything there.
    pub fn finish_whole(&mut self, out: &mut Vec<u8>, spares: &mut Spares) {
        loop {
            match self.finish(spares) {
                Finished::NotYet => {}
                Finished::Bytes(bytes) => {
                    out.extend_from_slice(&bytes);
                    return spares.give(bytes);
                }
                Finished::Rope(rope) => {
                    return (0..rope.pieces()).for_each(|at| out.extend_from_slice(rope.piece(at)));
                }
                Finished::Asks(_) => {
                    debug_assert!(false, "a part of a longer reply asks for more");
                    return;
                }
            }
        }
    }

    /// One step of putting values in the order of their keys.
    fn gather_on(&mut self, mut gathering: Gathering, spares: &mut Spares) -> Finished {
        match gathering.step(self) {
            Ok(true) => {
                spares.give(std::mem::take(&mut self.short));
                Finished::Rope(gathering.finish())
            }
            Ok(false) => {
                self.gathering = Some(gathering);
                Finished::NotYet
            }
            Err(TooFew) => {
                let mut out = Vec::new();
                encode::error(&mut out, TOO_FEW);
                Finished::Bytes(out)
            }
        }
    }

    /// Arrays one behind the other: only their heads are looked at.
    fn concat(&mut self) -> Rope {
        let count: u64 = self.replies().map(|reply| reply.items().left()).sum();
        let (mut head, mut out) = (Vec::new(), RopeBuilder::default());
        encode::array(&mut head, count as usize);
        out.push(&head);
        let mut long = std::mem::take(&mut self.long);
        for part in &self.parts {
            let front = match part.reply {
                Kept::Short { .. } => self.reply(part),
                Kept::Long(index) => long[index as usize].piece(0),
            };
            let items = Reply::new(front).items();
            if items.left() == 0 {
                continue;
            }
            let head_len = front.len() - items.rest().len();
            match part.reply {
                Kept::Short { .. } => out.push(items.rest()),
                Kept::Long(index) => {
                    let mut rope = std::mem::take(&mut long[index as usize]);
                    rope.skip(head_len);
                    out.append(rope);
                }
            }
        }
        out.finish()
    }

    /// Long replies become one piece each, for who reads them.
    fn put_together(&mut self) {
        for rope in self.long.iter_mut().filter(|rope| rope.pieces() > 1) {
            *rope = Rope::of(std::mem::take(rope).to_bytes());
        }
    }

    fn first_error(&self) -> Option<&[u8]> {
        self.all().find_map(|reply| Reply::new(reply).error())
    }

    /// The replies of the parts that were not left out.
    fn replies(&self) -> impl Iterator<Item = Reply<'_>> {
        let there = self.all().filter(|reply| !reply.is_empty());
        there.map(Reply::new)
    }

    fn merge_replies(&self, merge: Merge, out: &mut Vec<u8>) -> Option<Plan> {
        match merge {
            Merge::Gather => self.gather(out),
            Merge::AllSucceeded => self.first(out, |_| true),
            Merge::OneSucceeded => self.first(out, |reply| !reply.is_error()),
            Merge::Sum => self.fold(out, |a, b| a.saturating_add(b)),
            Merge::Min => self.fold(out, i64::min),
            Merge::Max => self.fold(out, i64::max),
            Merge::And => self.fold(out, |a, b| i64::from(a != 0 && b != 0)),
            Merge::Or => self.fold(out, |a, b| i64::from(a != 0 || b != 0)),
            Merge::Concat => {
                let count: u64 = self.replies().map(|reply| reply.items().left()).sum();
                encode::array(out, count as usize);
                let items = self.replies().map(|reply| reply.items());
                for items in items.filter(|items| items.left() > 0) {
                    out.extend_from_slice(items.rest());
                }
            }
            Merge::Join(join) | Merge::JoinAll(join) => {
                let replies = self.all().map(Reply::new);
                join(&replies.collect::<Vec<_>>(), out);
            }
            Merge::Then(then) => return then(&self.replies().collect::<Vec<_>>(), out),
            Merge::ThenAll(then) => {
                let replies = self.all().map(Reply::new);
                return then(&replies.collect::<Vec<_>>(), out);
            }
        }
        None
    }

    /// The first reply that `suits`, or else the first at all.
    fn first(&self, out: &mut Vec<u8>, suits: impl Fn(&Reply<'_>) -> bool) {
        let found = self.replies().find(|reply| suits(reply));
        if let Some(reply) = found.or_else(|| self.replies().next()) {
            out.extend_from_slice(reply.frame());
        }
    }

    /// Joins integers, or arrays of integers place by place.
    fn fold(&self, out: &mut Vec<u8>, join: impl Fn(i64, i64) -> i64 + Copy) {
        let arrays = self
            .replies()
            .next()
            .is_some_and(|first| first.kind() == b'*');
        if !arrays {
            let all: Option<Vec<i64>> = self.replies().map(|reply| reply.integer()).collect();
            match all.and_then(|values| values.into_iter().reduce(join)) {
                Some(value) => encode::integer(out, value),
                None => encode::error(out, b"ERR nodes gave replies that cannot be merged"),
            }
            return;
        }
        let rows: Vec<Vec<i64>> = self
            .replies()
            .map(|reply| reply.items().filter_map(|item| item.integer()).collect())
            .collect();
        let len = rows.iter().map(Vec::len).min().unwrap_or(0);
        encode::array(out, len);
        for at in 0..len {
            let value = rows.iter().map(|row| row[at]).reduce(join);
            encode::integer(out, value.unwrap_or(0));
        }
    }

    fn gather(&self, out: &mut Vec<u8>) {
        if self.gather_singles(out) {
            return;
        }
        let mut items: Vec<_> = self.replies().map(|reply| reply.items()).collect();
        let start = out.len();
        encode::array(out, self.order.len());
        for part in &self.order {
            match items.get_mut(*part as usize).and_then(Iterator::next) {
                Some(item) => out.extend_from_slice(item.frame()),
                None => {
                    out.truncate(start);
                    encode::error(out, TOO_FEW);
                    return;
                }
            }
        }
    }

    /// As `gather`, if each part is of one key: what is in its reply need not be looked at.
    fn gather_singles(&self, out: &mut Vec<u8>) -> bool {
        if self.parts.len() != self.order.len() {
            return false;
        }
        let start = out.len();
        out.reserve(self.kept_bytes());
        encode::array(out, self.order.len());
        for part in &self.order {
            let reply = self.parts.get(*part as usize);
            let reply = reply.map_or(b"".as_slice(), |part| self.reply(part));
            let Some(value) = reply.strip_prefix(b"*1\r\n") else {
                out.truncate(start);
                return false;
            };
            out.extend_from_slice(value);
        }
        true
    }
}

/// Whether the request behind this reply has changed something, or may have.
fn may_have_executed(reply: &[u8]) -> bool {
    if reply.is_empty() {
        return false;
    }
    match Reply::new(reply).error() {
        None => true,
        Some(text) => text.ends_with(b"command may have been executed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Chunk;
    use crate::resp::frame::Scan;
    use crate::resp::reply_frame::ReplyScanner;
    use crate::testing::Random;

    /// What the parts become, in as many steps as it takes.
    fn finished(split: &mut Split, spares: &mut Spares) -> String {
        let bytes = loop {
            match split.finish(spares) {
                Finished::NotYet => {}
                Finished::Bytes(bytes) => break bytes,
                Finished::Rope(rope) => break rope.to_bytes(),
                Finished::Asks(plan) => panic!("{plan:?}"),
            }
        };
        String::from_utf8(bytes).expect("text")
    }

    fn check(merge: Merge, order: &[u16], parts: &[&str], expected: &str) {
        let mut spares = Spares::default();
        let write = matches!(merge, Merge::AllSucceeded);
        let mut split = Split::new(merge, write);
        for _ in parts {
            split.add(0);
        }
        split.set_order(order.to_vec());
        for (index, reply) in parts.iter().enumerate().rev() {
            assert!(!split.is_complete());
            split.fulfil(index as u16, reply.as_bytes(), &mut spares);
        }
        assert_eq!(finished(&mut split, &mut spares), expected);
    }

    #[test]
    fn parts_become_one_reply() {
        check(
            Merge::Gather,
            &[1, 0, 1],
            &["*1\r\n$1\r\na\r\n", "*2\r\n$-1\r\n$1\r\nb\r\n"],
            "*3\r\n$-1\r\n$1\r\na\r\n$1\r\nb\r\n",
        );
        check(Merge::Sum, &[], &[":1\r\n", ":2\r\n", ":0\r\n"], ":3\r\n");
        check(Merge::Min, &[], &[":1\r\n", ":2\r\n", ":0\r\n"], ":0\r\n");
        check(
            Merge::And,
            &[],
            &["*2\r\n:1\r\n:1\r\n", "*2\r\n:1\r\n:0\r\n"],
            "*2\r\n:1\r\n:0\r\n",
        );
        check(
            Merge::Concat,
            &[],
            &["*1\r\n+a\r\n", "*0\r\n", "*1\r\n+b\r\n"],
            "*2\r\n+a\r\n+b\r\n",
        );
        check(
            Merge::OneSucceeded,
            &[],
            &["-NOTBUSY no\r\n", "+OK\r\n"],
            "+OK\r\n",
        );
        check(
            Merge::OneSucceeded,
            &[],
            &["-NOTBUSY no\r\n", "-ERR x\r\n"],
            "-NOTBUSY no\r\n",
        );
        check(
            Merge::Gather,
            &[0, 1],
            &["*0\r\n", "*1\r\n+b\r\n"],
            "-ERR a node answered with too few values\r\n",
        );
    }

    #[test]
    fn a_part_that_is_left_out_is_not_in_the_reply() {
        check(Merge::Sum, &[], &["", ":2\r\n", ""], ":2\r\n");
        check(Merge::AllSucceeded, &[], &["", "+OK\r\n"], "+OK\r\n");
        check(Merge::AllSucceeded, &[], &["", "-OOM a\r\n"], "-OOM a\r\n");
        check(
            Merge::Sum,
            &[],
            &["", ""],
            "-CLUSTERDOWN The cluster is down\r\n",
        );
    }

    #[test]
    fn a_failed_part_fails_the_whole_and_says_if_it_was_partial() {
        check(
            Merge::Sum,
            &[],
            &[":1\r\n", "-ERR a\r\n", "-ERR b\r\n"],
            "-ERR a\r\n",
        );
        check(Merge::AllSucceeded, &[], &["+OK\r\n", "+OK\r\n"], "+OK\r\n");
        check(
            Merge::AllSucceeded,
            &[],
            &["-OOM a\r\n", "-OOM b\r\n"],
            "-OOM a\r\n",
        );
        check(
            Merge::AllSucceeded,
            &[],
            &["+OK\r\n", "-OOM a\r\n"],
            "-ERR partial failure: OOM a\r\n",
        );
        let lost = "-ERR backend timeout, command may have been executed\r\n";
        check(
            Merge::AllSucceeded,
            &[],
            &["-OOM a\r\n", lost],
            "-ERR partial failure: OOM a\r\n",
        );
    }

    /// A reply as it is kept when it comes in pieces of about this length.
    fn rope_of(reply: &[u8], piece: usize) -> Rope {
        let (mut rope, mut scanner) = (Rope::default(), ReplyScanner::default());
        let (mut from, mut to) = (0, 0);
        while from < reply.len() {
            to = (to + piece).min(reply.len());
            let count = match scanner.next(&reply[from..to], usize::MAX) {
                Ok(Scan::Frame(len)) => len,
                _ => scanner.scanned(),
            };
            if !scanner.is_at_start() {
                scanner.consumed(count);
            }
            rope.push(Chunk::of(reply[from..from + count].to_vec()));
            from += count;
        }
        rope
    }

    #[test]
    fn values_of_any_size_come_back_in_the_order_of_their_keys() {
        let mut random = Random::new(17);
        for round in 0..40 {
            let (keys, parts) = [(9, 3), (200, 7), (20_000, 3000), (300, 300)][round % 4];
            let mut split = Split::new(Merge::Gather, false);
            split.add_parts(0, parts);
            let order: Vec<u16> = (0..keys).map(|_| random.below(parts) as u16).collect();
            let mut replies = vec![(0, Vec::new()); parts];
            let mut expected = format!("*{keys}\r\n").into_bytes();
            for (key, part) in order.iter().enumerate() {
                let len = [3, 100, 9000, 200_000][random.below(2) + random.below(80) / 79 * 2];
                let value = match random.below(5) {
                    0 => "$-1\r\n".to_string(),
                    1 => format!("*2\r\n:{key}\r\n*0\r\n"),
                    _ => format!("${len}\r\n{}\r\n", "v".repeat(len)),
                };
                let (count, reply) = &mut replies[usize::from(*part)];
                *count += 1;
                reply.extend(value.bytes());
                expected.extend(value.bytes());
            }
            split.set_order(order);
            let mut spares = Spares::default();
            for (part, (count, values)) in replies.iter().enumerate().rev() {
                let reply = [format!("*{count}\r\n").as_bytes(), values].concat();
                if reply.len() > 2000 && random.below(2) == 0 {
                    split.fulfil_rope(part as u16, rope_of(&reply, 1 + random.below(70_000)));
                } else {
                    split.fulfil(part as u16, &reply, &mut spares);
                }
            }
            assert!(
                finished(&mut split, &mut spares).as_bytes() == expected,
                "{round}"
            );
        }
    }

    #[test]
    fn no_step_of_a_merge_is_long_and_large_lists_are_not_copied() {
        let keys = 100_000;
        let mut split = Split::new(Merge::Gather, false);
        let mut spares = Spares::default();
        split.add_parts(0, 10_000);
        split.set_order((0..keys).map(|key| (key % 10_000) as u16).collect());
        let part = format!("*10\r\n{}", "$1\r\nx\r\n".repeat(10));
        (0..10_000).for_each(|number| split.fulfil(number, part.as_bytes(), &mut spares));
        let mut steps = 1;
        while let Finished::NotYet = split.finish(&mut spares) {
            steps += 1;
        }
        assert_eq!(steps, usize::div_ceil(keys, STEP_VALUES));

        let mut split = Split::new(Merge::Concat, false);
        split.add_parts(0, 3);
        let part = format!("*200000\r\n{}", "$1\r\nx\r\n".repeat(200_000));
        let ropes = [(); 2].map(|()| rope_of(part.as_bytes(), 65_536));
        let storage = ropes.each_ref().map(|rope| rope.piece(1).as_ptr());
        for (number, rope) in (0..).zip(ropes) {
            split.fulfil_rope(2 * number, rope);
        }
        split.fulfil(1, b"*1\r\n+y\r\n", &mut spares);
        let Finished::Rope(rope) = split.finish(&mut spares) else {
            panic!("it is large");
        };
        let pieces: Vec<_> = (0..rope.pieces())
            .map(|at| rope.piece(at).as_ptr())
            .collect();
        assert!(storage.iter().all(|own| pieces.contains(own)));
        let values = "$1\r\nx\r\n".repeat(200_000);
        let expected = format!("*400001\r\n{values}+y\r\n{values}");
        assert!(rope.to_bytes() == expected.as_bytes());
    }
}
