//! `Merge`: how the replies to the parts of one request become the one that a single server gives.
//!
//! Errors: if any part failed, the whole reply is the first such error in the order of the parts; but once
//! part of a write has executed, or may have, while another failed, it is `-ERR partial failure: ...`.

#[cfg(test)]
mod tests;

use std::fmt;

use crate::buffer::{Pool, Rope, RopeBuilder, WriteBuf};
use crate::proxy::pipeline::Spares;
use crate::proxy::pipeline::gather::{Gathering, STEP_VALUES, TooFew};
use crate::proxy::pipeline::plan::Plan;
use crate::proxy::pipeline::split::{Kept, Split};
use crate::proxy::request::MOVED_FRAME;
use crate::proxy::texts::refusal;
use crate::resp::encode;
use crate::resp::reply::Reply;

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
    /// Makes one reply of them, or else says whom to ask next. What takes longer than a turn may is done in steps, one
    /// each time that this is called.
    pub fn finish(&mut self, spares: &mut Spares) -> Finished {
        debug_assert!(self.is_complete());
        if let Some(gathering) = self.gathering.take() {
            return self.gather_on(gathering, spares);
        }
        let mut out = spares.take();
        if self.are_values() && self.gather_singles(&mut out) {
            spares.give(std::mem::take(&mut self.short));
            return Finished::Bytes(out);
        }
        let merge = std::mem::replace(&mut self.merge, Merge::AllSucceeded);
        let tolerant = matches!(
            merge,
            Merge::OneSucceeded | Merge::JoinAll(_) | Merge::Then(_) | Merge::ThenAll(_)
        );
        let whole = matches!(merge, Merge::JoinAll(_) | Merge::ThenAll(_));
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
                Merge::OneSucceeded if self.parts.len() == 1 && self.long.len() == 1 => {
                    spares.give(out);
                    return Finished::Rope(self.long.remove(0));
                }
                Merge::Concat if self.long_bytes > 0 => {
                    spares.give(out);
                    return Finished::Rope(self.concat(0));
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

    /// Arrays one behind the other: only their heads are looked at. So many values are to come behind them.
    pub(super) fn concat(&mut self, to_come: u64) -> Rope {
        let count: u64 = self.replies().map(|reply| reply.items().left()).sum();
        let (mut head, mut out) = (Vec::new(), RopeBuilder::default());
        encode::array(&mut head, (count + to_come) as usize);
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
    pub(super) fn replies(&self) -> impl Iterator<Item = Reply<'_>> {
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

    /// Whether they are likely to be values that one step puts in the order of their keys.
    fn are_values(&self) -> bool {
        matches!(self.merge, Merge::Gather)
            && self.order.len() <= STEP_VALUES
            && self.long_bytes == 0
    }

    fn gather(&self, out: &mut Vec<u8>) {
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

    /// As `gather`, of singles.
    fn gather_singles(&self, out: &mut Vec<u8>) -> bool {
        let Some(values) = self.singles() else {
            return false;
        };
        let start = out.len();
        out.reserve(self.kept_bytes());
        encode::array(out, self.order.len());
        for value in values {
            let Some(value) = value else {
                out.truncate(start);
                return false;
            };
            out.extend_from_slice(value);
        }
        true
    }

    /// Appends the one reply of singles to what leaves next, if there is room at hand. Returns its length.
    pub(super) fn gather_into(&mut self, output: &mut WriteBuf, pool: &mut Pool) -> Option<usize> {
        let kept = self.kept_bytes();
        if !self.are_values() || kept >= MOVED_FRAME {
            return None;
        }
        // The head stands behind the replies meanwhile. What it takes off each of them is not counted.
        encode::array(&mut self.short, self.order.len());
        let made = output.push_made(self.short.len(), pool, |room| {
            let (all, mut rest) = (room.len(), room);
            let head = std::iter::once(self.short.get(kept..));
            for bytes in head.chain(self.singles()?) {
                let bytes = bytes?;
                let (own, behind) = rest.split_at_mut_checked(bytes.len())?;
                own.copy_from_slice(bytes);
                rest = behind;
            }
            Some(all - rest.len())
        });
        self.short.truncate(kept);
        made
    }

    /// The values in the order of their keys, if each part is of one key: what is in its reply need not be looked at. None of
    /// a part that has failed.
    fn singles(&self) -> Option<impl Iterator<Item = Option<&[u8]>>> {
        let value = |part: &u16| {
            let (head, value) = self
                .reply(self.parts.get(*part as usize)?)
                .split_first_chunk()?;
            (head == b"*1\r\n").then_some(value)
        };
        (self.parts.len() == self.order.len()).then(|| self.order.iter().map(value))
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
