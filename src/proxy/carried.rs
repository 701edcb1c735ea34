//! `Carried`: a large reply that comes in several reads, in the blocks that it was read into.
//!
//! A bulk string says in front how long it is. So nothing needs to look at the bytes behind until all have come,
//! and they need not lie in one piece: each block goes to the client as it is, without a copy. Only a reply that
//! cannot go at once to its client, as another is due before it or as it is a part of one, is put together. That of a
//! client that has gone is dropped as it comes.
//!
//! Nothing is allocated from the length that was declared: blocks are taken as bytes come. Bytes may come a few at a
//! time, and a chunk keeps its whole block: so a block is left only when half of it is full, and the memory is never
//! more than a few times the reply's.

use crate::buffer::{Chunk, Pool, READ_BLOCK, ReadBuf, WriteBuf};
use crate::clock::Time;
use crate::proxy::Proxy;
use crate::proxy::backend::{Backend, BackendId, Origin, State, Usage};
use crate::proxy::deliver::Next;
use crate::proxy::dispatch::MOVED_FRAME;
use crate::resp::reply::Reply;
use crate::resp::reply_frame::ReplyScanner;

/// So much of a reply is taken as a chunk; less waits in the input for more, unless it is the end.
const ENOUGH: usize = READ_BLOCK / 2;

/// A reply of which the end has not come.
///
/// Invariants: no chunk is empty; `len` is the sum of the chunks, unless it was thinned out; `len + missing` is the
/// reply's length.
#[derive(Debug)]
pub struct Carried {
    chunks: Vec<Chunk>,
    len: usize,
    /// Bytes that are in no chunk yet; the first of them may be in the input.
    missing: usize,
}

impl Carried {
    /// Nothing yet of a reply of so many bytes.
    fn of(len: usize) -> Carried {
        Carried {
            chunks: Vec::new(),
            len: 0,
            missing: len,
        }
    }

    /// Bytes that have been taken.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory that it keeps.
    #[cfg(test)]
    pub fn storage_len(&self) -> usize {
        self.chunks.iter().map(Chunk::storage_len).sum()
    }

    /// Takes what of this reply is in front of the input, if it is worth a chunk or the end of it.
    fn take(&mut self, input: &mut ReadBuf) {
        let count = self.missing.min(input.len());
        if count > 0 && (count == self.missing || count >= ENOUGH) {
            self.chunks.push(input.share(count));
            self.len += count;
            self.missing -= count;
        }
    }

    /// Gives up what nobody waits for any more: all but the front, which tells its type, and the end, which tells
    /// whether it is whole.
    fn thin_out(&mut self, pool: &mut Pool) {
        let end = self.chunks.len().saturating_sub(2);
        if end > 1 {
            let inner = self.chunks.drain(1..end);
            inner.for_each(|chunk| chunk.give_back(pool));
        }
    }

    /// Whether it ends as a bulk string has to.
    fn ends_well(&self) -> bool {
        let bytes = self.chunks.iter().rev().flat_map(|chunk| {
            let bytes = chunk.bytes();
            bytes.iter().rev().take(2)
        });
        bytes.take(2).eq(b"\n\r")
    }

    /// All of it in one piece.
    fn put_together(self, pool: &mut Pool) -> ReadBuf {
        let mut bytes = Vec::with_capacity(self.len);
        for chunk in self.chunks {
            bytes.extend_from_slice(chunk.bytes());
            chunk.give_back(pool);
        }
        ReadBuf::holding(bytes)
    }
}

/// A whole reply, and where it lies.
#[derive(Debug)]
pub enum Whole<'a> {
    /// So many bytes at the front of the input.
    Front(&'a mut ReadBuf, usize),
    /// In chunks: a bulk string for the one whose turn it is, or for a client that has gone.
    Chunks(Carried),
}

impl Whole<'_> {
    /// Its bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Whole::Front(_, len) => *len,
            Whole::Chunks(carried) => carried.len,
        }
    }

    /// The reply; of one in chunks it is the front only, which tells its type.
    #[inline]
    pub fn reply(&self) -> Reply<'_> {
        Reply::new(match self {
            Whole::Front(input, len) => &input.bytes()[..*len],
            Whole::Chunks(carried) => carried.chunks.first().map_or(b"", Chunk::bytes),
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
            Whole::Chunks(carried) => {
                for chunk in carried.chunks {
                    output.push_chunk(chunk);
                }
            }
        }
    }
}

impl Backend {
    /// Puts the input aside if it is the beginning of a large bulk string, of which so many bytes are missing.
    pub(super) fn carry(&mut self, input: &mut ReadBuf, missing: usize) {
        // With less than its whole length line there, the scanner would not know of so many.
        let large = input.len() + missing >= MOVED_FRAME && input.bytes().first() == Some(&b'$');
        if !large || self.usage != Usage::Shared || self.state != State::Ready {
            return;
        }
        debug_assert!(self.carried.is_none());
        let mut carried = Carried::of(input.len() + missing);
        carried.take(input);
        self.scanner = ReplyScanner::default();
        self.carried = Some(carried);
    }
}

impl Proxy {
    /// More has come of a reply that is carried.
    #[inline(never)]
    pub(super) fn carry_on(&mut self, id: BackendId, now: Time) -> Next {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return Next::Wait;
        };
        let Some(mut carried) = backend.carried.take() else {
            return Next::More;
        };
        carried.take(&mut backend.input);
        let origin = backend.tickets.front().map(|ticket| ticket.origin);
        let gone = matches!(origin, Some(Origin::Part { client, .. }) if self.clients.get(client).is_none());
        if gone {
            carried.thin_out(&mut self.pool);
        }
        if carried.missing > 0 {
            debug_assert!(backend.input.len() < ENOUGH);
            backend.missing = carried.missing - backend.input.len();
            backend.input.settle(&mut self.pool);
            backend.carried = Some(carried);
            return Next::Wait;
        }
        backend.missing = 0;
        if !carried.ends_well() {
            return Next::Lost(self.broken(id, "bytes that are no reply"));
        }
        if let Some(Origin::Part { client, seq, .. }) = origin
            && (gone || self.is_single_head(client, seq))
        {
            return self.take_answer(id, Whole::Chunks(carried), now);
        }
        let mut whole = carried.put_together(&mut self.pool);
        self.take_reply(id, &mut whole, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer into which `bytes` were read.
    fn read(bytes: &[u8], pool: &mut Pool) -> ReadBuf {
        let mut input = ReadBuf::default();
        input.prepare(pool, 0);
        input.spare()[..bytes.len()].copy_from_slice(bytes);
        input.filled(bytes.len());
        input
    }

    #[test]
    fn a_reply_is_the_same_however_it_was_cut() {
        let reply = [b"$20000\r\n".as_slice(), &[b'x'; 20_000], b"\r\n"].concat();
        for cut in [1, 5000, reply.len() - 2, reply.len() - 1] {
            let mut pool = Pool::default();
            let mut carried = Carried::of(reply.len());
            let mut input = read(&reply[..cut], &mut pool);
            carried.take(&mut input);
            assert_eq!((carried.len, input.len()), (0, cut));
            // What is behind it stays in the input.
            let mut input = read(&[&reply, b":1\r\n".as_slice()].concat(), &mut pool);
            carried.take(&mut input);
            input.settle(&mut pool);
            assert_eq!((carried.missing, input.bytes()), (0, b":1\r\n".as_slice()));
            assert!(carried.ends_well());
            let whole = carried.put_together(&mut pool);
            assert_eq!(whole.bytes(), reply);
        }
    }

    #[test]
    fn a_reply_that_comes_in_small_pieces_keeps_no_more_than_a_few_times_its_size() {
        let value: Vec<u8> = (0..1 << 20)
            .map(|index: usize| (index % 251) as u8)
            .collect();
        let reply = [b"$1048576\r\n".as_slice(), &value, b"\r\n"].concat();
        for step in [1, 700, 1448, 16 << 10, 30_000, 40_000, READ_BLOCK] {
            let mut pool = Pool::default();
            let mut carried = Carried::of(reply.len());
            let (mut input, mut rest) = (ReadBuf::default(), &reply[..]);
            while !rest.is_empty() {
                input.prepare(&mut pool, carried.missing - input.len());
                let count = step.min(rest.len()).min(input.spare().len());
                input.spare()[..count].copy_from_slice(&rest[..count]);
                input.filled(count);
                rest = &rest[count..];
                carried.take(&mut input);
                input.settle(&mut pool);
                let kept = carried.storage_len();
                assert!(
                    kept <= 4 * carried.len,
                    "{step}: {kept} for {}",
                    carried.len
                );
                assert!(input.len() + input.free() <= READ_BLOCK);
                assert_eq!(carried.len + carried.missing, reply.len());
            }
            assert!(carried.missing == 0 && input.is_empty() && carried.ends_well());
            assert!(carried.put_together(&mut pool).bytes() == reply);
        }
    }

    #[test]
    fn a_reply_without_its_end_is_none() {
        for (first, second) in [("x\r", "x"), ("xx", "\n"), ("x\n", "\r")] {
            let mut pool = Pool::default();
            let all = [b"$1\r\n".as_slice(), &[b'y'; ENOUGH]].concat();
            let front = [&all, first.as_bytes()].concat();
            let mut carried = Carried::of(front.len() + second.len());
            carried.take(&mut read(&front, &mut pool));
            assert_eq!(carried.len, front.len());
            carried.take(&mut read(second.as_bytes(), &mut pool));
            assert!(!carried.ends_well(), "{first:?} {second:?}");
        }
    }
}
