//! `ReadBuf`: what came from a peer. The socket fills it, the parser consumes it, and large frames leave it as
//! [`Chunk`]s that share its storage.

use std::sync::Arc;

use super::{Chunk, FIRST_BLOCK, Pool, READ_BLOCK};

/// A partial frame of up to this many bytes is copied aside, so that a waiting peer pins no large block.
const STASH: usize = FIRST_BLOCK;
/// Bytes that one read takes at most, however large the frame under way.
const READ_MAX: usize = 4 * READ_BLOCK;

/// Storage of so many bytes is asked for before it is taken: the program would end if it was not to be had. What is small
/// is taken for granted: a peer cannot ask for more of it than it has sent.
const LARGE: usize = 1 << 20;
/// What is made of a large request takes so many times as much again at most, all at a time: the names of channels for the
/// clients, for those who publish and for a node, and a reply that says them. That must be to be had, too.
const BESIDE: usize = 5;

/// Whether so many bytes could be allocated now. The allocation is shown to the compiler as used: it leaves out one that
/// nobody looks at, and says that there was memory.
fn is_to_be_had(bytes: usize) -> bool {
    let mut probe = Vec::<u8>::new();
    let found = probe.try_reserve_exact(bytes).is_ok();
    std::hint::black_box(&mut probe);
    found
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

    /// Whether it is a whole block that has no room behind what has come.
    pub fn is_full_block(&self) -> bool {
        self.data.len() >= READ_BLOCK && self.end == self.data.len()
    }

    /// Storage that holds nothing.
    pub fn free(&self) -> usize {
        self.data.len() - self.len()
    }

    /// Makes room for the next read. `missing` is how many more bytes the frame under way needs at least
    /// (0 when unknown): of an aggregate that is only what its next element needs. So storage grows towards
    /// it, but by half at least, or a frame of many small elements would be read and copied a few bytes at a
    /// time; and it doubles at most, as `missing` is what a peer declared.
    #[inline]
    pub fn prepare(&mut self, pool: &mut Pool, missing: usize) {
        debug_assert!(self.shared.is_none());
        if self.data.is_empty() {
            self.data = pool.take_read();
        } else {
            self.grow(pool, missing);
        }
    }

    /// Whether a `prepare` found no memory: the storage is full and could not grow.
    #[inline]
    pub fn is_stuck(&self) -> bool {
        self.end > 0 && self.end == self.data.len()
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
            let len = self.data.len();
            let room = wanted.clamp(len + len / 2, len * 2);
            if room >= LARGE {
                self.extend(room);
            } else {
                self.move_to(vec![0; room], pool);
            }
        }
    }

    /// Grows where it is, if there is memory. The system moves large storage without a copy, so that it is not there twice
    /// meanwhile; and of the room only what the next read may fill is touched, so that the rest takes no memory yet.
    fn extend(&mut self, room: usize) {
        if self.data.capacity() < room.min(self.end + READ_MAX) {
            // Looked for first: storage that has grown is not asked about again.
            let missing = room.saturating_sub(self.data.len());
            let beside = room.saturating_mul(BESIDE);
            if !is_to_be_had(missing.saturating_add(beside))
                || self.data.try_reserve_exact(missing).is_err()
            {
                return;
            }
        }
        let len = self.data.capacity().min(self.end + READ_MAX);
        if len > self.data.len() {
            self.data.resize(len, 0);
        }
    }

    fn move_to(&mut self, mut data: Vec<u8>, pool: &mut Pool) {
        debug_assert!(self.len() <= data.len());
        data[..self.end - self.start].copy_from_slice(&self.data[self.start..self.end]);
        self.end -= self.start;
        self.start = 0;
        pool.give(std::mem::replace(&mut self.data, data));
    }

    /// The room to read into, after [`ReadBuf::prepare`]. It is never more than a turn has time for.
    #[inline]
    pub fn spare(&mut self) -> &mut [u8] {
        let end = self.data.len().min(self.end + READ_MAX);
        &mut self.data[self.end..end]
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

    /// Drops all but the last `left` bytes.
    #[inline(always)]
    pub fn consume_to(&mut self, left: usize) {
        assert!(left <= self.len());
        (self.start, self.end) = match left {
            0 => (0, 0),
            left => (self.end - left, self.end),
        };
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

#[cfg(test)]
mod tests {
    use super::super::WriteBuf;
    use super::super::write::tests::unsent;
    use super::*;

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
    fn a_frame_of_many_small_elements_is_copied_a_few_times_only() {
        let mut pool = Pool::default();
        let mut buffer = ReadBuf::default();
        let (mut reads, mut copied) = (0, 0);
        while buffer.len() < 64 << 20 {
            let storage = buffer.data.as_ptr();
            buffer.prepare(&mut pool, 1);
            if buffer.data.as_ptr() != storage {
                copied += buffer.len();
            }
            let room = buffer.spare().len();
            buffer.filled(room);
            reads += 1;
        }
        assert!(reads < 300, "{reads} reads");
        assert!(copied < 4 * buffer.len(), "{copied} of {}", buffer.len());
    }

    #[test]
    fn what_cannot_be_had_is_known() {
        assert!(is_to_be_had(1 << 20));
        assert!(!is_to_be_had(isize::MAX as usize));
        // No machine has so much address space.
        assert!(!is_to_be_had(1 << 55));
    }

    #[test]
    fn room_that_is_not_read_into_takes_no_memory() {
        let mut pool = Pool::default();
        let mut buffer = ReadBuf::default();
        while buffer.len() < 16 << 20 {
            buffer.prepare(&mut pool, 500 << 20);
            let room = buffer.spare().len();
            assert!(room > 0 && buffer.free() <= READ_MAX.max(LARGE));
            buffer.spare()[room - 1] = 1;
            buffer.filled(room);
        }
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
}
