//! `WriteBuf`: the bytes for one peer, in the order in which they were pushed. If they may have to be sent again
//! elsewhere, they are kept after sending until they are released.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::{Chunk, FIRST_BLOCK, Pool, WRITE_BLOCK};

/// The room for chunks that an output keeps, whatever it holds.
const CHUNKS_KEPT: usize = 256;

/// Bytes that go to a peer: first those already sent and kept, then those unsent.
///
/// Invariants: `sent <= len`; `len` is the sum of the chunks; no chunk is empty, but for the last when there
/// is nothing at all; what was pushed in one piece lies in one chunk, so it can be read back in one piece.
#[derive(Debug, Default)]
pub struct WriteBuf {
    /// The chunks before the last.
    older: VecDeque<Chunk>,
    /// The last chunk, to which is appended. Most outputs have no other.
    last: Chunk,
    len: usize,
    sent: usize,
    /// The chunk that holds the first unsent byte (may be one past the last), and the offset in it.
    cursor: (usize, usize),
}

impl WriteBuf {
    /// Bytes held, sent and unsent.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of storage that hold them, or have room for more.
    pub fn storage_len(&self) -> usize {
        let chunks = self.older.iter().chain([&self.last]);
        chunks.map(Chunk::storage_len).sum()
    }

    /// Its part of the memory that the bytes take: what several outputs share counts once in their sum.
    pub fn memory(&self) -> usize {
        let chunks = self.older.iter().chain([&self.last]);
        chunks.map(Chunk::memory).sum()
    }

    /// Bytes not sent yet.
    #[inline]
    pub fn unsent_len(&self) -> usize {
        self.len - self.sent
    }

    /// Bytes sent and still kept.
    #[inline]
    pub fn sent_len(&self) -> usize {
        self.sent
    }

    /// Appends a copy of `bytes` as one piece. The one copy of the data path.
    #[inline(always)]
    pub fn push(&mut self, bytes: &[u8], pool: &mut Pool) {
        let last = &mut self.last;
        let end = last.end + bytes.len();
        if !last.sealed
            && let Some(room) = last.data.get_mut(last.end..end)
        {
            room.copy_from_slice(bytes);
            last.end = end;
            self.len += bytes.len();
        } else {
            self.push_apart(bytes, pool);
        }
    }

    /// Appends a copy of some pieces as one piece. Returns its length.
    #[inline(always)]
    pub fn push_pieces<const N: usize>(&mut self, pieces: [&[u8]; N], pool: &mut Pool) -> usize {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        let last = &mut self.last;
        let end = last.end + len;
        if !last.sealed
            && let Some(mut room) = last.data.get_mut(last.end..end)
        {
            for piece in pieces {
                let (own, rest) = room.split_at_mut(piece.len());
                own.copy_from_slice(piece);
                room = rest;
            }
            last.end = end;
            self.len += len;
        } else {
            self.push_apart(&pieces.concat(), pool);
        }
        len
    }

    /// As `push`, where most likely nothing is held.
    #[inline(always)]
    pub fn push_first(&mut self, bytes: &[u8], pool: &mut Pool) {
        if self.len == 0
            && bytes.len() <= FIRST_BLOCK
            && let Some(mut block) = pool.first_blocks.pop()
        {
            block[..bytes.len()].copy_from_slice(bytes);
            self.last.data = block;
            self.last.end = bytes.len();
            self.len = bytes.len();
        } else {
            self.push(bytes, pool);
        }
    }

    /// Appends a piece of at most `most` bytes that `make` writes, if there is room at hand; `make` says how many bytes it has
    /// written, or that it cannot.
    pub fn push_made(
        &mut self,
        most: usize,
        pool: &mut Pool,
        make: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<usize> {
        let last = &mut self.last;
        if self.len == 0 && most <= FIRST_BLOCK {
            last.empty(pool);
            last.data = pool.take_first();
        }
        let end = last.end.checked_add(most)?;
        let room = last.data.get_mut(last.end..end);
        let made = room.filter(|_| !last.sealed).and_then(make);
        match made {
            Some(len @ 1..) if len <= most => {
                last.end += len;
                self.len += len;
            }
            Some(_) | None if self.len == 0 => last.empty(pool),
            Some(_) | None => {}
        }
        made.filter(|len| *len <= most)
    }

    /// Appends a copy of `bytes` in a chunk of its own, which may grow.
    #[inline(never)]
    fn push_apart(&mut self, bytes: &[u8], pool: &mut Pool) {
        if bytes.is_empty() {
            return;
        }
        let mut data = match bytes.len() {
            // Behind a piece that cannot grow there may be another one soon.
            ..=FIRST_BLOCK if self.len == 0 || self.last.sealed => pool.take_first(),
            ..=WRITE_BLOCK => pool.take_write(),
            len => vec![0; len],
        };
        data[..bytes.len()].copy_from_slice(bytes);
        self.append(Chunk {
            data,
            shared: None,
            start: 0,
            end: bytes.len(),
            sealed: false,
        });
    }

    /// Appends a chunk, moving its storage.
    pub fn push_chunk(&mut self, chunk: Chunk) {
        debug_assert!(chunk.sealed);
        if !chunk.is_empty() {
            self.append(chunk);
        }
    }

    #[inline]
    fn append(&mut self, chunk: Chunk) {
        let empty = self.len == 0;
        self.len += chunk.len();
        let before = std::mem::replace(&mut self.last, chunk);
        if !empty {
            self.older.push_back(before);
        }
    }

    /// The chunk at `index`, if there is one.
    fn chunk(&self, index: usize) -> Option<&Chunk> {
        if index == self.older.len() {
            return Some(&self.last);
        }
        self.older.get(index)
    }

    /// All that is held, to be read piece by piece as it was pushed.
    pub fn pieces(&self) -> Pieces<'_> {
        Pieces {
            buffer: self,
            next: 0,
            rest: &[],
        }
    }

    /// The unsent bytes, if they lie in one piece and there are any.
    #[inline]
    pub fn unsent_in_one(&self) -> Option<&[u8]> {
        let (index, offset) = self.cursor;
        if index != self.older.len() {
            return None;
        }
        let last = &self.last;
        let range = last.start.max(offset)..last.end;
        let Some(bytes) = last.data.get(range.clone()) else {
            return last.shared_piece(range);
        };
        (!bytes.is_empty()).then_some(bytes)
    }

    /// The unsent bytes, as up to `slices.len()` slices; returns how many were set.
    pub fn unsent<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (first, offset) = self.cursor;
        let mut count = 0;
        for index in first..=self.older.len() {
            let Some(chunk) = self.chunk(index) else {
                break;
            };
            let from = if index == first {
                chunk.start.max(offset)
            } else {
                chunk.start
            };
            // The chunk under the cursor may be sent to its end and have got a successor since.
            if from < chunk.end {
                let Some(slot) = slices.get_mut(count) else {
                    break;
                };
                *slot = IoSlice::new(&chunk.storage()[from..chunk.end]);
                count += 1;
            }
        }
        count
    }

    /// Says that the first `count` unsent bytes have left.
    pub fn mark_sent(&mut self, count: usize) {
        assert!(count <= self.unsent_len());
        self.sent += count;
        let mut left = count;
        while left > 0 {
            let (index, offset) = self.cursor;
            let Some(chunk) = self.chunk(index) else {
                break;
            };
            let from = chunk.start.max(offset);
            let (step, end) = (left.min(chunk.end - from), chunk.end);
            left -= step;
            self.cursor.1 = from + step;
            if self.cursor.1 == end && index < self.older.len() {
                self.cursor = (index + 1, 0);
            }
        }
        // The last chunk may still grow, so the cursor stays in it even at its end.
    }

    /// Drops the first `count` unsent bytes, which have left and are not needed again. For an output that keeps
    /// nothing of what is sent.
    #[inline]
    pub fn drop_sent(&mut self, count: usize, pool: &mut Pool) {
        debug_assert_eq!(self.sent, 0);
        if count == self.len && self.older.is_empty() {
            self.len = 0;
            self.last.empty(pool);
        } else {
            self.release(count, pool);
        }
    }

    /// Drops the first `count` bytes, sent or not.
    #[inline]
    pub fn release(&mut self, count: usize, pool: &mut Pool) {
        assert!(count <= self.len);
        self.len -= count;
        self.sent = self.sent.saturating_sub(count);
        let first = self.older.front_mut().unwrap_or(&mut self.last);
        if first.len() > count {
            first.start += count;
        } else {
            self.release_chunks(count, pool);
        }
    }

    #[inline(never)]
    fn release_chunks(&mut self, count: usize, pool: &mut Pool) {
        let mut left = count;
        while let Some(first) = self.older.front_mut() {
            if first.len() > left {
                first.start += left;
                return;
            }
            left -= first.len();
            first.empty(pool);
            self.older.pop_front();
            self.cursor = match self.cursor {
                (0, _) => (0, 0),
                (index, offset) => (index - 1, offset),
            };
        }
        if self.last.len() > left {
            self.last.start += left;
        } else {
            debug_assert_eq!(self.len, 0);
            self.cursor = (0, 0);
            self.last.empty(pool);
        }
    }

    /// Gives back the memory of a long list of chunks that has become short.
    pub fn shrink(&mut self) {
        let room = self.older.capacity();
        if room > CHUNKS_KEPT && self.older.len() < room / 4 {
            self.older.shrink_to(self.older.len() * 2);
        }
    }

    /// The first `count` bytes, which must have been pushed as one piece.
    #[inline]
    pub fn front(&self, count: usize) -> &[u8] {
        let first = self.older.front().unwrap_or(&self.last);
        &first.bytes()[..count]
    }

    /// Says that nothing has been sent: the peer is a new one.
    pub fn rewind(&mut self) {
        self.sent = 0;
        self.cursor = (0, 0);
    }

    /// Asserts the invariants above.
    pub fn check(&self) {
        assert!(self.sent <= self.len);
        let lens = || {
            self.older
                .iter()
                .chain(std::iter::once(&self.last))
                .map(Chunk::len)
        };
        assert_eq!(self.len, lens().sum::<usize>());
        assert!(self.len == 0 || lens().all(|len| len > 0));
        assert!(self.len > 0 || self.last.storage().is_empty());
        let before: usize = lens().take(self.cursor.0).sum();
        let inside = self
            .chunk(self.cursor.0)
            .map_or(0, |chunk| self.cursor.1.max(chunk.start) - chunk.start);
        assert_eq!(before + inside, self.sent);
    }
}

/// What a `WriteBuf` holds, piece by piece.
#[derive(Debug)]
pub struct Pieces<'a> {
    buffer: &'a WriteBuf,
    /// The chunk behind this one.
    next: usize,
    rest: &'a [u8],
}

impl<'a> Pieces<'a> {
    /// The next piece, which was pushed as so many bytes.
    pub fn next(&mut self, len: usize) -> &'a [u8] {
        while self.rest.is_empty() && len > 0 {
            let Some(chunk) = self.buffer.chunk(self.next) else {
                debug_assert!(false, "more pieces than were pushed");
                return &[];
            };
            self.rest = chunk.bytes();
            self.next += 1;
        }
        let (piece, rest) = self.rest.split_at(len);
        self.rest = rest;
        piece
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::ReadBuf;
    use super::*;
    use crate::testing::Random;

    /// What is not sent yet, put together.
    pub(in super::super) fn unsent(buffer: &WriteBuf) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let count = buffer.unsent(&mut slices);
        slices[..count].iter().flat_map(|s| s.to_vec()).collect()
    }

    #[test]
    fn output_keeps_order_over_chunks_sends_and_releases() {
        // Random pushes, sends and releases against a plain vector.
        let mut pool = Pool::default();
        let mut buffer = WriteBuf::default();
        let (mut model, mut sent): (Vec<u8>, usize) = (Vec::new(), 0);
        let mut numbers = Random::new(7);
        let mut random = |below: usize| numbers.below(below);
        for step in 0..20_000 {
            match random(5) {
                4 => {
                    let (most, made) = (random(3000), random(3000));
                    let len = buffer.push_made(most, &mut pool, |room| {
                        assert_eq!(room.len(), most);
                        room.get_mut(..made)?.fill(step as u8);
                        Some(made)
                    });
                    assert!(len.is_none() || (len == Some(made) && made <= most));
                    model.resize(model.len() + len.unwrap_or(0), step as u8);
                }
                0 => {
                    let piece = vec![step as u8; random(9000)];
                    buffer.push(&piece, &mut pool);
                    model.extend(&piece);
                }
                1 if random(20) == 0 => {
                    let piece = vec![step as u8; 1 + random(40_000)];
                    buffer.push_chunk(ReadBuf::holding(piece.clone()).share(piece.len()));
                    model.extend(&piece);
                }
                2 => {
                    let count = random(model.len() - sent + 1);
                    buffer.mark_sent(count);
                    sent += count;
                }
                _ => {
                    let count = random(sent + 1);
                    buffer.release(count, &mut pool);
                    model.drain(..count);
                    sent -= count;
                }
            }
            buffer.check();
            assert_eq!(
                (buffer.len(), buffer.unsent_len()),
                (model.len(), model.len() - sent)
            );
            if step % 50 == 0 {
                let unsent = unsent(&buffer);
                assert!(model[sent..].starts_with(&unsent));
                assert_eq!(unsent.is_empty(), model.len() == sent);
            }
        }
    }

    #[test]
    fn a_piece_can_be_read_back_whole() {
        let mut pool = Pool::default();
        let mut buffer = WriteBuf::default();
        let pieces: Vec<Vec<u8>> = (1..200u8).map(|n| vec![n; n as usize * 97]).collect();
        for piece in &pieces {
            buffer.push(piece, &mut pool);
        }
        for piece in &pieces {
            assert_eq!(buffer.front(piece.len()), &piece[..]);
            buffer.release(piece.len(), &mut pool);
        }
        assert!(buffer.is_empty());
    }
}
