//! `ReadBuf` and `WriteBuf`: bytes on their way in and out, and the `Pool` their memory comes from.
//!
//! An idle connection owns no buffer: memory is taken from the worker's pool when bytes arrive and given
//! back when they are gone, last in first out, so that the block in use is the one in the cache. Memory
//! grows with the bytes that came, never with a length that a peer declared.
//!
//! It must never know what the bytes mean.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

/// Size of a read block, in bytes: what one read takes at most while no large frame is under way.
pub const READ_BLOCK: usize = 64 << 10;
/// Size of a write block, in bytes. Frames longer than this travel in a chunk of their own.
pub const WRITE_BLOCK: usize = 16 << 10;
/// Size of the first write block of an output, in bytes: most outputs need no more in a turn, and a thousand
/// of them then stay in the cache.
const FIRST_BLOCK: usize = 2 << 10;
/// A partial frame of up to this many bytes is copied aside, so that a waiting peer pins no large block.
const STASH: usize = FIRST_BLOCK;
/// Bytes of free blocks that the pool keeps of each kind; more are given back to the allocator. What a turn needs
/// of each kind grows with the clients and the nodes that it serves, and is there again in the next turn: a
/// thousand nodes take a thousand write blocks. After a second without a command all are given back.
const KEPT_BYTES: usize = 32 << 20;

/// Free blocks of one worker.
#[derive(Debug, Default)]
pub struct Pool {
    read_blocks: Vec<Vec<u8>>,
    write_blocks: Vec<Vec<u8>>,
    first_blocks: Vec<Vec<u8>>,
}

impl Pool {
    fn take_read(&mut self) -> Vec<u8> {
        self.read_blocks
            .pop()
            .unwrap_or_else(|| vec![0; READ_BLOCK])
    }

    fn take_write(&mut self) -> Vec<u8> {
        self.write_blocks
            .pop()
            .unwrap_or_else(|| vec![0; WRITE_BLOCK])
    }

    fn take_first(&mut self) -> Vec<u8> {
        self.first_blocks
            .pop()
            .unwrap_or_else(|| vec![0; FIRST_BLOCK])
    }

    /// As `give`, of what is most likely a first block.
    #[inline]
    fn give_first(&mut self, block: Vec<u8>) {
        if block.len() == FIRST_BLOCK && self.first_blocks.len() < KEPT_BYTES / FIRST_BLOCK {
            self.first_blocks.push(block);
        } else {
            self.give(block);
        }
    }

    /// As `give`, of what is most likely a read block.
    #[inline]
    fn give_read(&mut self, block: Vec<u8>) {
        if block.len() == READ_BLOCK && self.read_blocks.len() < KEPT_BYTES / READ_BLOCK {
            self.read_blocks.push(block);
        } else {
            self.give(block);
        }
    }

    /// Takes a block back if it is one of ours; anything else is freed.
    #[inline(never)]
    fn give(&mut self, block: Vec<u8>) {
        let kept = match block.len() {
            FIRST_BLOCK => &mut self.first_blocks,
            READ_BLOCK => &mut self.read_blocks,
            WRITE_BLOCK => &mut self.write_blocks,
            _ => return,
        };
        if kept.len() < KEPT_BYTES / block.len() {
            kept.push(block);
        }
    }

    /// Takes a block back that was shared, if nobody else has it still.
    fn give_shared(&mut self, block: Arc<Vec<u8>>) {
        if let Some(block) = Arc::into_inner(block) {
            self.give(block);
        }
    }

    /// Bytes in free blocks.
    pub fn free_bytes(&self) -> usize {
        self.read_blocks.len() * READ_BLOCK
            + self.write_blocks.len() * WRITE_BLOCK
            + self.first_blocks.len() * FIRST_BLOCK
    }
}

/// Bytes that came from a peer and are not consumed yet, in one piece.
///
/// Invariants: `start <= end <=` the length of the storage; without storage all three are zero. Storage is owned
/// (`data`), or else, from the first [`ReadBuf::share`] until the next [`ReadBuf::settle`], shared with chunks.
#[derive(Debug, Default)]
pub struct ReadBuf {
    data: Vec<u8>,
    shared: Option<Arc<Vec<u8>>>,
    start: usize,
    end: usize,
}

impl ReadBuf {
    /// Bytes that are in memory already.
    pub fn holding(bytes: Vec<u8>) -> ReadBuf {
        let end = bytes.len();
        ReadBuf {
            data: bytes,
            shared: None,
            start: 0,
            end,
        }
    }

    /// What has come and is not consumed.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        match &self.shared {
            None => &self.data[self.start..self.end],
            Some(_) => self.shared_bytes(),
        }
    }

    /// The same, if none of it is shared: for whoever leaves what stands beside large frames to others.
    #[inline(always)]
    pub fn own_bytes(&self) -> Option<&[u8]> {
        if self.shared.is_some() {
            return None;
        }
        Some(&self.data[self.start..self.end])
    }

    #[inline(never)]
    fn shared_bytes(&self) -> &[u8] {
        let shared = self.shared.as_ref().map_or(&[][..], |shared| shared);
        &shared[self.start..self.end]
    }

    /// How much has come and is not consumed.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether all is consumed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether it has storage, empty or not.
    #[inline(always)]
    pub fn has_storage(&self) -> bool {
        !self.data.is_empty()
    }

    /// Storage that holds nothing.
    pub fn free(&self) -> usize {
        self.data.len() - self.len()
    }

    /// Makes room for the next read. `missing` is how many more bytes the frame under way is known to
    /// need (0 when unknown): room grows towards it, but at most doubles what has come.
    #[inline]
    pub fn prepare(&mut self, pool: &mut Pool, missing: usize) {
        debug_assert!(self.shared.is_none());
        if self.data.is_empty() {
            self.data = pool.take_read();
        } else {
            self.grow(pool, missing);
        }
        debug_assert!(self.end < self.data.len());
    }

    #[inline(never)]
    fn grow(&mut self, pool: &mut Pool, missing: usize) {
        if self.data.len() < READ_BLOCK {
            self.move_to(pool.take_read(), pool);
        }
        let wanted = self.len() + missing.max(1);
        if self.start > 0 && (self.start + wanted > self.data.len()) {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if wanted > self.data.len() && self.end * 2 >= self.data.len() {
            let room = wanted.min(self.data.len() * 2);
            self.move_to(vec![0; room], pool);
        }
    }

    fn move_to(&mut self, mut data: Vec<u8>, pool: &mut Pool) {
        debug_assert!(self.len() <= data.len());
        data[..self.end - self.start].copy_from_slice(&self.data[self.start..self.end]);
        self.end -= self.start;
        self.start = 0;
        pool.give(std::mem::replace(&mut self.data, data));
    }

    /// The room to read into, after [`ReadBuf::prepare`].
    #[inline]
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.data[self.end..]
    }

    /// Says that `count` bytes were read into [`ReadBuf::spare`].
    #[inline]
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.data.len() - self.end);
        self.end += count;
    }

    /// Drops `count` bytes from the front.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len());
        self.start += count;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Takes the first `count` bytes out as a chunk, without a copy if they are many: from now on the storage is the
    /// chunk's as well, and goes back to the pool when the last who has it gives it up.
    ///
    /// A chunk keeps all storage that it shares in memory, and nobody knows for how long. So what is less than a
    /// quarter of it is copied: chunks keep at most four times the memory that their bytes take.
    pub fn share(&mut self, count: usize) -> Chunk {
        assert!(count <= self.len());
        let storage = self.shared.as_ref().map_or(&self.data, |shared| shared);
        if count < storage.len() / 4 {
            let data = self.bytes()[..count].to_vec();
            self.consume(count);
            return Chunk {
                data,
                shared: None,
                start: 0,
                end: count,
                sealed: true,
            };
        }
        let shared = self
            .shared
            .get_or_insert_with(|| Arc::new(std::mem::take(&mut self.data)));
        let chunk = Chunk {
            data: Vec::new(),
            shared: Some(shared.clone()),
            start: self.start,
            end: self.start + count,
            sealed: true,
        };
        self.start += count;
        chunk
    }

    /// Gives memory back: all of it when nothing is left, a whole block when little is.
    #[inline]
    pub fn settle(&mut self, pool: &mut Pool) {
        if self.shared.is_some() {
            self.unshare(pool);
        }
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            pool.give_read(std::mem::take(&mut self.data));
        } else {
            self.stash(pool);
        }
    }

    /// Leaves the storage to the chunks that have it; what is left is copied.
    #[inline(never)]
    fn unshare(&mut self, pool: &mut Pool) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        let rest = &shared[self.start..self.end];
        if !rest.is_empty() {
            self.data = if rest.len() <= STASH {
                pool.take_first()
            } else if rest.len() <= READ_BLOCK {
                pool.take_read()
            } else {
                vec![0; rest.len()]
            };
            self.data[..rest.len()].copy_from_slice(rest);
        }
        (self.start, self.end) = (0, rest.len());
        pool.give_shared(shared);
    }

    /// Copies a little that is left out of its block.
    #[inline(never)]
    fn stash(&mut self, pool: &mut Pool) {
        if self.len() <= STASH && self.data.len() >= READ_BLOCK {
            let small = pool.take_first();
            self.move_to(small, pool);
        }
    }
}

/// A piece of output: one or more whole frames.
#[derive(Debug, Default)]
pub struct Chunk {
    data: Vec<u8>,
    /// The storage in place of `data`, of a chunk that was read into memory together with others.
    shared: Option<Arc<Vec<u8>>>,
    start: usize,
    end: usize,
    /// Whether nothing may be appended: the spare end of shared storage is no room of ours.
    sealed: bool,
}

impl Chunk {
    fn storage(&self) -> &[u8] {
        match &self.shared {
            None => &self.data,
            Some(shared) => shared,
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.storage()[self.start..self.end]
    }

    #[inline(never)]
    fn shared_piece(&self, range: Range<usize>) -> Option<&[u8]> {
        let piece = self.shared.as_ref()?.get(range)?;
        (!piece.is_empty()).then_some(piece)
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Bytes of the storage that it keeps, its own or shared.
    pub fn storage_len(&self) -> usize {
        self.storage().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops it, and gives its storage back unless others have it too.
    pub fn give_back(mut self, pool: &mut Pool) {
        self.empty(pool);
    }

    /// Drops what it holds, and gives its storage back.
    #[inline]
    fn empty(&mut self, pool: &mut Pool) {
        (self.start, self.end, self.sealed) = (0, 0, false);
        match &self.shared {
            None => pool.give_first(std::mem::take(&mut self.data)),
            Some(_) => self.leave_storage(pool),
        }
    }

    #[inline(never)]
    fn leave_storage(&mut self, pool: &mut Pool) {
        if let Some(shared) = self.shared.take() {
            pool.give_shared(shared);
        }
    }
}

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

    /// Appends a copy of `bytes` in a chunk of its own, which may grow.
    #[inline(never)]
    fn push_apart(&mut self, bytes: &[u8], pool: &mut Pool) {
        if bytes.is_empty() {
            return;
        }
        let mut data = match bytes.len() {
            ..=FIRST_BLOCK if self.len == 0 => pool.take_first(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn unsent(buffer: &WriteBuf) -> Vec<u8> {
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
        let mut seed = 7u64;
        let mut random = |below: usize| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) as usize % below
        };
        for step in 0..20_000 {
            match random(4) {
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

    #[test]
    fn input_grows_with_what_came_and_idles_without_memory() {
        let mut pool = Pool::default();
        let mut buffer = ReadBuf::default();
        buffer.prepare(&mut pool, 500 << 20);
        assert_eq!(buffer.spare().len(), READ_BLOCK);
        for round in 0..10 {
            let room = buffer.spare().len();
            assert!(room <= READ_BLOCK << round);
            buffer.filled(room);
            buffer.prepare(&mut pool, 500 << 20);
        }
        let all = buffer.len();
        buffer.consume(all - 10);
        buffer.settle(&mut pool);
        assert_eq!((buffer.len(), buffer.data.len()), (10, FIRST_BLOCK));
        buffer.consume(10);
        buffer.settle(&mut pool);
        assert_eq!(buffer.data.capacity(), 0);
    }

    #[test]
    fn sharing_a_frame_leaves_the_rest() {
        for (first, rest) in [(10, 0), (10, 5), (5, 10), (READ_BLOCK - 1, 1)] {
            let mut pool = Pool::default();
            let mut buffer = ReadBuf::default();
            buffer.prepare(&mut pool, 0);
            for (index, byte) in buffer.spare()[..first + rest].iter_mut().enumerate() {
                *byte = index as u8;
            }
            buffer.filled(first + rest);
            let whole = buffer.bytes().to_vec();
            let chunk = buffer.share(first);
            assert_eq!(chunk.bytes(), &whole[..first]);
            assert_eq!(buffer.bytes(), &whole[first..]);
            buffer.settle(&mut pool);
            assert_eq!(chunk.bytes(), &whole[..first]);
            assert_eq!(buffer.bytes(), &whole[first..]);
        }
    }

    #[test]
    fn a_chunk_keeps_little_more_than_its_bytes() {
        let mut pool = Pool::default();
        for storage in [READ_BLOCK, 16 * READ_BLOCK] {
            for count in [
                1,
                1448,
                16 << 10,
                READ_BLOCK / 2,
                storage / 4 - 1,
                storage / 4,
            ] {
                // What is behind it, and in front of it.
                for (before, behind) in [(0, 0), (0, 9), (9, 0), (20_000, 20_000)] {
                    let all: Vec<u8> = (0..storage).map(|index| (index % 251) as u8).collect();
                    let mut buffer = ReadBuf::holding(all.clone());
                    let end = (before + count + behind).min(storage);
                    buffer.end = end;
                    let first = buffer.share(before);
                    let chunk = buffer.share(count);
                    assert_eq!(first.bytes(), &all[..before]);
                    assert_eq!(chunk.bytes(), &all[before..before + count]);
                    assert_eq!(buffer.bytes(), &all[before + count..end]);
                    assert!(chunk.storage_len() <= 4 * count);
                    buffer.settle(&mut pool);
                    assert_eq!(chunk.bytes(), &all[before..before + count]);
                    assert_eq!(buffer.bytes(), &all[before + count..end]);
                    let mut output = WriteBuf::default();
                    output.push_chunk(first);
                    output.push_chunk(chunk);
                    // No more than its bytes is its own to write to.
                    output.push(b"!", &mut pool);
                    output.check();
                    assert_eq!(unsent(&output), [&all[..before + count], b"!"].concat());
                }
            }
        }
    }

    #[test]
    fn a_shared_block_goes_back_when_the_last_chunk_does() {
        let mut pool = Pool::default();
        let mut buffer = ReadBuf::default();
        buffer.prepare(&mut pool, 0);
        buffer.filled(READ_BLOCK);
        let (first, second) = (buffer.share(30_000), buffer.share(READ_BLOCK - 30_000));
        buffer.settle(&mut pool);
        let mut output = WriteBuf::default();
        output.push_chunk(second);
        output.push(b"behind", &mut pool);
        output.check();
        output.mark_sent(READ_BLOCK - 30_000 + 3);
        output.check();
        assert_eq!(unsent(&output), b"ind");
        let free = pool.free_bytes();
        output.release(READ_BLOCK - 30_000, &mut pool);
        assert_eq!(pool.free_bytes(), free);
        first.give_back(&mut pool);
        assert_eq!(pool.free_bytes(), free + READ_BLOCK);
    }
}
