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
    /// It is dropped as it comes.
    Dropped,
}

/// A reply of which the end has not come.
///
/// Invariant: `kept` is what has been taken, or empty unless the reply is kept.
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
}

impl LargeReply {
    /// Whether a part of it may have reached its client.
    pub fn has_left(&self) -> bool {
        self.way == Way::Passed
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

    /// Nobody waits for it any more.
    pub(in crate::proxy) fn give_up(&mut self, pool: &mut Pool) {
        self.way = Way::Dropped;
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
