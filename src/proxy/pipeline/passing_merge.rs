//! Arrays that become one by standing one behind the other (KEYS), while they come: once the heads of all of them are
//! known, so is that of the one reply, and their values may leave in any order.
//!
//! Before that nothing of them leaves: any part may still be an error, or have to be asked again. From then on none can, as
//! the reply has said how many values it has.
//!
//! It must never know where the values come from.

use crate::buffer::{Pool, WriteBuf};
use crate::proxy::ids::Seq;
use crate::proxy::pipeline::entry::{Kept, Kind};
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::split::Split;
use crate::proxy::pipeline::{At, Completed, Pipeline, Spares};
use crate::resp::reply::Reply;

/// How far such a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing {
    /// So many parts are under way whose heads are known, or fewer: one that is lost is not taken off.
    Waits(usize),
    /// It has begun to leave; the parts that have ended had so many bytes.
    Begun(usize),
    /// It is kept until it is whole: a part has failed.
    Kept,
}

impl Default for Passing {
    fn default() -> Passing {
        Passing::Waits(0)
    }
}

impl Passing {
    /// Whether a part of the reply has left.
    pub(super) fn has_begun(self) -> bool {
        matches!(self, Passing::Begun(_))
    }
}

impl Pipeline {
    fn split(&self, seq: Seq) -> Option<&Split> {
        let index = seq.0.wrapping_sub(self.head.0) as usize;
        let request = self.requests.get(index)?;
        match (request.kind, self.kept.get(request.words[0] as usize)) {
            (Kind::Split | Kind::MutedSplit, Some(Kept::Split(split))) => Some(split),
            _ => None,
        }
    }

    /// Whether the replies to the parts of a request become one by standing one behind the other.
    pub fn is_concat(&self, seq: Seq) -> bool {
        let split = self.split(seq);
        split.is_some_and(|split| matches!(split.merge, Merge::Concat))
    }

    /// The head of one more part of such a request is known.
    pub fn note_head(&mut self, seq: Seq) {
        if let Some(split) = self.split_mut(seq)
            && let Passing::Waits(heads) = &mut split.passing
        {
            *heads += 1;
        }
    }

    /// So many heads of such a request are known, and no more.
    pub fn count_heads(&mut self, seq: Seq, heads: usize) {
        if let Some(split) = self.split_mut(seq) {
            split.passing = Passing::Waits(heads);
        }
    }

    /// Whether the reply to the oldest request could begin to leave if the heads of all parts were known, and they are not.
    pub fn lacks_heads(&self, seq: Seq) -> bool {
        seq == self.head
            && self.split(seq).is_some_and(|split| {
                let lacks =
                    matches!(split.passing, Passing::Waits(heads) if heads < split.pending());
                lacks && matches!(split.merge, Merge::Concat)
            })
    }

    /// Whether the reply to such a request may begin to leave as far as the pipeline knows: it stands at the head, all heads
    /// seem to be known, there may be `least` bytes if there are as many of all parts as the `taken` ones of one, and no part
    /// has failed.
    pub fn may_pass_parts(&mut self, seq: Seq, taken: usize, least: usize) -> bool {
        let head = self.requests.front();
        if seq != self.head || head.is_none_or(|head| head.kind != Kind::Split) {
            return false;
        }
        let Some(split) = self.split_mut(seq) else {
            return false;
        };
        match split.passing {
            Passing::Waits(heads) if heads >= split.pending() => {}
            Passing::Waits(_) | Passing::Begun(_) | Passing::Kept => return false,
        }
        let bytes = split.kept_bytes() + taken.saturating_mul(split.pending());
        if !matches!(split.merge, Merge::Concat) || bytes < least {
            return false;
        }
        let array = |reply: Reply<'_>| reply.frame().first() == Some(&b'*');
        let arrays = split.replies().all(array);
        if !arrays {
            split.passing = Passing::Kept;
        }
        arrays
    }

    /// Where the parts of a request are that have no reply yet, and how many bytes those of the others have.
    pub fn parts_under_way(&self, seq: Seq) -> (Vec<(u16, At)>, usize) {
        let Some(split) = self.split(seq) else {
            return (Vec::new(), 0);
        };
        let all = (0..).zip(&split.parts);
        let all = all.map(|(index, part)| (index, part.at));
        let under_way = all.filter(|(_, at)| *at != At::Done).collect();
        (under_way, split.kept_bytes())
    }

    /// The reply to such a request begins to leave, of which so many values are under way.
    pub fn begin_to_pass(&mut self, seq: Seq, values: u64, output: &mut WriteBuf) {
        let Some(split) = self.split_mut(seq) else {
            return;
        };
        let kept = split.kept_bytes();
        split.passing = Passing::Begun(kept);
        split.concat(values).move_to(output);
        split.short.clear();
        split.long_bytes = 0;
        self.ready_bytes -= kept;
    }

    /// A part has ended of which all values have left, `len` bytes with its head.
    pub fn part_has_passed(
        &mut self,
        seq: Seq,
        part: u16,
        len: usize,
        output: &mut WriteBuf,
        pool: &mut Pool,
        spares: &mut Spares,
    ) -> Option<Completed> {
        let request = *self.get_mut(seq)?;
        let split = self.split_mut(seq)?;
        let Passing::Begun(passed) = &mut split.passing else {
            debug_assert!(false, "values that have left before the head");
            return None;
        };
        *passed += len;
        let passed = *passed;
        split.fulfil(part, b"", spares);
        if !split.is_complete() {
            return None;
        }
        debug_assert!(seq == self.head);
        let mut completed = Completed::of(request.command, request.started);
        completed.merged_bytes = passed;
        if let Kept::Split(split) = self.kept.remove(request.words[0] as usize) {
            spares.give_split(split);
        }
        self.pop_head(output, pool, spares);
        Some(completed)
    }
}
