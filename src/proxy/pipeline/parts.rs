//! Replies of requests with several parts, and replies that are moved instead of copied: the parts of the pipeline
//! that plain traffic does not use.

use super::{Completed, Kept, Kind, Pipeline, Seq, Spares};
use crate::buffer::{Pool, Rope, WriteBuf};
use crate::proxy::pipeline::merge::Finished;
use crate::proxy::pipeline::out_of_order::Place;
use crate::proxy::pipeline::split::Split;
use crate::proxy::request::MOVED_FRAME;
use crate::proxy::stats::calls::ErrorCode;
use crate::resp::reply::Reply;

impl Pipeline {
    /// Hands in a large reply to one part, which moves.
    pub fn fulfil_rope(
        &mut self,
        seq: Seq,
        part: u16,
        reply: Rope,
        output: &mut WriteBuf,
        pool: &mut Pool,
        spares: &mut Spares,
    ) -> Option<Completed> {
        debug_assert!(seq != self.head || !matches!(self.requests[0].kind, Kind::Single));
        let request = *self.get_mut(seq)?;
        match request.kind {
            Kind::Single => {
                self.ready_bytes += reply.len();
                let key = self.kept.insert(Kept::Rope(reply)) as u32;
                let own = self.get_mut(seq)?;
                (own.kind, own.words) = (Kind::Ready, [key, 0]);
                Some(Completed::of(request.command, request.started))
            }
            Kind::Split | Kind::MutedSplit => {
                let len = reply.len();
                self.split_mut(seq)?.fulfil_rope(part, reply);
                self.ready_bytes += len;
                self.merge(seq, output, pool, spares)
            }
            Kind::Muted => {
                reply.give_back(pool);
                self.fulfil(seq, part, b"", output, pool, spares)
            }
            Kind::Waiting | Kind::Ready => {
                debug_assert!(false, "two replies to one request");
                None
            }
        }
    }

    /// The request whose replies are all there and take several steps to become one, told once; with the replies if they
    /// are to become one outside the worker.
    pub fn take_unmerged(&mut self) -> Option<(Seq, Option<Box<Split>>)> {
        self.unmerged.take()
    }

    /// Makes one reply of those of the parts, if all have come. If that takes more than a step it is not done yet, and
    /// [`Pipeline::take_unmerged`] says so.
    pub fn merge(
        &mut self,
        seq: Seq,
        output: &mut WriteBuf,
        pool: &mut Pool,
        spares: &mut Spares,
    ) -> Option<Completed> {
        let request = *self.get_mut(seq)?;
        let (muted, key) = (request.kind == Kind::MutedSplit, request.words[0] as usize);
        let at_head = seq == self.head;
        let split = self.split_mut(seq)?;
        if !split.is_complete() || split.passing.has_begun() {
            return None;
        }
        let kept = split.kept_bytes();
        if split.is_long_merge() {
            let whole = std::mem::replace(split, Split::awaiting_merge());
            self.ready_bytes -= kept;
            self.unmerged = Some((seq, Some(Box::new(whole))));
            return None;
        }
        let mut completed = Completed::of(request.command, request.started);
        if at_head
            && !muted
            && let Some(len) = split.gather_into(output, pool)
        {
            self.ready_bytes -= kept;
            if let Kept::Split(split) = self.kept.remove(key) {
                spares.give_split(split);
            }
            completed.merged_bytes = len;
            self.pop_head(output, pool, spares);
            return Some(completed);
        }
        let reply = match split.finish(spares) {
            Finished::NotYet => {
                self.unmerged = Some((seq, None));
                return None;
            }
            Finished::Asks(plan) => {
                self.ready_bytes -= kept;
                self.next = Some((seq, plan));
                return None;
            }
            Finished::Bytes(merged) => {
                if let Some(error) = Reply::new(&merged).error() {
                    self.failure = Some(ErrorCode::of(error));
                    completed.failed = true;
                }
                if !muted && merged.len() < MOVED_FRAME {
                    self.ready_bytes -= kept;
                    if let Kept::Split(split) = self.kept.remove(key) {
                        spares.give_split(split);
                    }
                    completed.merged_bytes = merged.len();
                    self.place_merged(seq, merged, output, pool, spares);
                    return Some(completed);
                }
                Rope::of(merged)
            }
            Finished::Rope(rope) => rope,
        };
        self.ready_bytes -= kept;
        self.kept.remove(key);
        completed.merged_bytes = reply.len();
        if muted {
            reply.give_back(pool);
            self.place_merged(seq, Vec::new(), output, pool, spares);
        } else if seq == self.head {
            reply.move_to(output);
            self.pop_head(output, pool, spares);
        } else {
            self.ready_bytes += reply.len();
            let key = self.kept.insert(Kept::Rope(reply)) as u32;
            let own = self.get_mut(seq)?;
            (own.kind, own.words) = (Kind::Ready, [key, 0]);
        }
        Some(completed)
    }

    /// A request of several parts has its reply, which is short.
    fn place_merged(
        &mut self,
        seq: Seq,
        merged: Vec<u8>,
        output: &mut WriteBuf,
        pool: &mut Pool,
        spares: &mut Spares,
    ) {
        if seq == self.head {
            output.push(&merged, pool);
            spares.give(merged);
            return self.pop_head(output, pool, spares);
        }
        self.ready_bytes += merged.len();
        let place = if merged.is_empty() {
            Some(Place::default())
        } else {
            self.out_of_order.keep(&merged, &mut spares.out_of_order)
        };
        let (kind, words) = match place {
            Some(place) => {
                spares.give(merged);
                (Kind::Waiting, place.words())
            }
            None => {
                let key = self.kept.insert(Kept::Ready(merged.into())) as u32;
                (Kind::Ready, [key, 0])
            }
        };
        if let Some(own) = self.get_mut(seq) {
            (own.kind, own.words) = (kind, words);
        }
    }
}
