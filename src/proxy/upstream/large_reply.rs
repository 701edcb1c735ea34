//! `LargeReply`: a large reply that comes in several reads, as far as it has come (see `path::large_reply`).

use crate::buffer::{Pool, READ_BLOCK, ReadBuf, Rope, WriteBuf};
use crate::proxy::request::MOVED_FRAME;
use crate::proxy::upstream::backend::{Backend, State};
use crate::resp::reply::Reply;

/// So much of a reply is taken as a chunk; less waits in the input for more, unless it is the end.
pub(in crate::proxy) const ENOUGH: usize = READ_BLOCK / 2;

/// Where a reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// It is kept.
    #[default]
    Kept,
    /// It goes to its client as it comes. It has no other way from here on, unless the client goes.
    Passed,
    /// It is a part of a reply: its values go to the client as each of them is whole, and those of other parts between them.
    /// It has no other way from here on, either.
    Merged,
    /// It is dropped as it comes.
    Dropped,
}

/// The head of a reply that is an array.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Its bytes.
    pub(in crate::proxy) len: usize,
    /// How many values are to come.
    pub(in crate::proxy) values: u64,
}

/// A reply of which the end has not come.
///
/// Invariant: `kept` is what has been taken; of a reply that is merged it is the beginning of the value under way, and
/// else it is empty unless the reply is kept.
#[derive(Debug, Default)]
pub struct LargeReply {
    pub(in crate::proxy) way: Way,
    pub(in crate::proxy) kept: Rope,
    /// Bytes that have been taken from the input.
    pub(in crate::proxy) taken: usize,
    /// Whether its connection is not read (see `path::large_reply::slow_reader`).
    pub(in crate::proxy) is_paused: bool,
    /// Whether others' requests wait behind it that cannot be asked elsewhere, and it can (see
    /// `path::large_reply::held_up`); nothing before that matters.
    pub(in crate::proxy) holds_up: Option<bool>,
    /// Of an array that is a part of a longer one: its head, once that has been taken.
    pub(in crate::proxy) head: Option<Head>,
    /// Of the same: how many pieces of what is kept are the head and whole values.
    pub(in crate::proxy) whole: usize,
}

impl LargeReply {
    /// Whether a part of it may have reached its client.
    pub fn has_left(&self) -> bool {
        matches!(self.way, Way::Passed | Way::Merged)
    }

    /// Bytes of it that have come.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Bytes that are kept.
    pub fn kept_len(&self) -> usize {
        self.kept.len()
    }

    /// Bytes of memory that it keeps.
    #[cfg(test)]
    pub fn storage_len(&self) -> usize {
        self.kept.storage_len()
    }

    /// Takes the next `count` bytes from the front of the input.
    pub(in crate::proxy) fn take(&mut self, input: &mut ReadBuf, count: usize) {
        self.taken += count;
        if self.way == Way::Dropped {
            input.consume(count);
        } else {
            self.kept.push(input.share(count));
        }
    }

    /// The same; they end behind a value.
    pub(in crate::proxy) fn take_values(&mut self, input: &mut ReadBuf, count: usize) {
        self.take(input, count);
        self.whole = self.kept.pieces();
    }

    /// Takes `count` bytes, of which so many are whole values: those in pieces of their own, and the beginning of the next one
    /// if it is long enough. Returns how many were taken.
    pub(in crate::proxy) fn take_by_values(
        &mut self,
        input: &mut ReadBuf,
        values: usize,
        count: usize,
    ) -> usize {
        if values > 0 {
            self.take_values(input, values);
        }
        if count - values < ENOUGH {
            return values;
        }
        self.take(input, count - values);
        count
    }

    /// Finds the head of an array in what has been taken. Returns whether it was not known before.
    pub(in crate::proxy) fn find_head(&mut self) -> bool {
        let front = self.kept.piece(0);
        // What stands behind attributes is rather kept.
        if self.head.is_some() || front.first() != Some(&b'*') {
            return false;
        }
        let values = Reply::new(front).items();
        self.head = Some(Head {
            len: front.len() - values.rest().len(),
            values: values.left(),
        });
        true
    }

    /// Its values go to their client from now on. Its head does not: that of the longer array has been written.
    pub(in crate::proxy) fn begin_to_merge(&mut self, output: &mut WriteBuf) {
        debug_assert!(self.way == Way::Kept && self.whole > 0);
        self.way = Way::Merged;
        let pieces = self.kept.pieces();
        self.kept.skip(self.head.map_or(0, |head| head.len));
        self.whole -= pieces - self.kept.pieces();
        self.pass_values(output);
    }

    /// Moves the whole values that are kept to their client's output.
    pub(in crate::proxy) fn pass_values(&mut self, output: &mut WriteBuf) {
        let whole = std::mem::take(&mut self.whole);
        self.kept.take_pieces(whole).move_to(output);
    }

    /// Nobody waits for it any more.
    pub(in crate::proxy) fn give_up(&mut self, pool: &mut Pool) {
        self.way = Way::Dropped;
        self.whole = 0;
        std::mem::take(&mut self.kept).give_back(pool);
    }
}

/// A whole reply, and where it lies.
#[derive(Debug)]
pub enum Whole<'a> {
    /// So many bytes at the front of the input.
    Front(&'a mut ReadBuf, usize),
    /// In chunks. It is no error, and has no attributes in front.
    Kept(Rope),
    /// It is in its client's output already, or nobody has waited for it: its type, which is no error's, and how
    /// many bytes it had.
    Gone(Way, [u8; 1], usize),
}

impl Whole<'_> {
    /// Its bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Whole::Front(_, len) | Whole::Gone(_, _, len) => *len,
            Whole::Kept(rope) => rope.len(),
        }
    }

    /// The reply; unless it lies in front of the input it is the front only, which tells its type.
    #[inline]
    pub fn reply(&self) -> Reply<'_> {
        Reply::new(match self {
            Whole::Front(input, len) => &input.bytes()[..*len],
            Whole::Kept(rope) => rope.piece(0),
            Whole::Gone(_, kind, _) => kind,
        })
    }

    /// It is no longer needed.
    #[inline]
    pub fn drop(self) {
        if let Whole::Front(input, len) = self {
            input.consume(len);
        }
    }

    /// Appends it to an output, without a copy.
    pub fn move_to(self, output: &mut WriteBuf) {
        match self {
            Whole::Front(input, len) => output.push_chunk(input.share(len)),
            Whole::Kept(rope) => rope.move_to(output),
            Whole::Gone(..) => {}
        }
    }
}

impl Backend {
    /// Whether a large reply is on its way here: what is asked for on this connection now comes behind it.
    pub fn is_streaming(&self) -> bool {
        self.large_reply.is_some()
    }

    /// Whether it is not read, since the client that a large reply is for does not read.
    #[inline]
    pub fn is_paused(&self) -> bool {
        matches!(&self.large_reply, Some(large_reply) if large_reply.is_paused)
    }

    /// Whether the reply under way, of which `input` has the front and `missing` bytes are missing at least, is to be
    /// taken as it comes.
    pub(in crate::proxy) fn is_to_be_streamed(&self, input: &ReadBuf, missing: usize) -> bool {
        // A push is read by us. What the reply is must be seen, and may stand behind attributes.
        let known = !matches!(self.scanner.kind(), 0 | b'>');
        input.len() + missing >= MOVED_FRAME && known && self.state == State::Ready
    }
}
