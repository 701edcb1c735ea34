//! `Backlog`: bytes that a client has sent while none of its requests may be taken.
//!
//! Many clients write a whole pipeline before they read the first reply. While such a client does not read, none of
//! its requests is executed, but its bytes are still read: otherwise the client and the proxy would wait for each
//! other. The bytes are kept in blocks and handed on, in order and in slices, once requests are taken again. No byte
//! is moved more than once.
//!
//! It must never know what the bytes mean.

use std::collections::VecDeque;

use crate::buffer::{Pool, ReadBuf};

/// Bytes that wait, oldest first.
///
/// Invariants: `len` is the sum of the blocks; no block in `full` is empty.
#[derive(Debug, Default)]
pub struct Backlog {
    full: VecDeque<ReadBuf>,
    /// The block that is read into.
    last: ReadBuf,
    len: usize,
}

impl Backlog {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Storage that holds nothing. (Only the ends of the list have any.)
    pub fn free(&self) -> usize {
        self.last.free() + self.full.front().map_or(0, ReadBuf::free)
    }

    /// Room to read into.
    pub fn room(&mut self, pool: &mut Pool) -> &mut ReadBuf {
        if self.last.is_full_block() {
            self.full.push_back(std::mem::take(&mut self.last));
        }
        self.last.prepare(pool, 0);
        &mut self.last
    }

    /// So many bytes, perhaps none, have been put into the room.
    pub fn filled(&mut self, count: usize, pool: &mut Pool) {
        self.len += count;
        self.last.settle(pool);
    }

    /// Puts bytes in that were read elsewhere.
    pub fn put(&mut self, mut bytes: &[u8], pool: &mut Pool) {
        while !bytes.is_empty() {
            let block = self.room(pool);
            let spare = block.spare();
            let (now, later) = bytes.split_at(spare.len().min(bytes.len()));
            spare[..now.len()].copy_from_slice(now);
            block.filled(now.len());
            self.filled(now.len(), pool);
            bytes = later;
        }
    }

    /// Appends all bytes to `out`. It is empty then.
    pub fn take_all(&mut self, out: &mut Vec<u8>) {
        let blocks = self.full.drain(..).chain([std::mem::take(&mut self.last)]);
        blocks.for_each(|block| out.extend_from_slice(block.bytes()));
        self.len = 0;
    }

    /// Hands the oldest bytes on to `input`, of which a frame is under way that lacks `missing` bytes or more.
    /// Returns how many: about a block at most, and none if there are none.
    pub fn hand_on(&mut self, input: &mut ReadBuf, missing: usize, pool: &mut Pool) -> usize {
        let from = self.full.front_mut().unwrap_or(&mut self.last);
        let count = if input.has_storage() {
            input.prepare(pool, missing);
            let room = input.spare();
            let count = room.len().min(from.len());
            room[..count].copy_from_slice(&from.bytes()[..count]);
            input.filled(count);
            from.consume(count);
            count
        } else {
            *input = std::mem::take(from);
            input.len()
        };
        self.len -= count;
        if from.is_empty() {
            from.settle(pool);
            self.full.pop_front();
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::READ_BLOCK;
    use crate::testing::Random;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let (mut pool, mut backlog, mut input) =
            (Pool::default(), Backlog::default(), ReadBuf::default());
        let mut random = Random::new(3);
        let (mut put_in, mut taken_out) = (0u64, 0u64);
        for _ in 0..3000 {
            let bytes: Vec<u8> = (0..random.below(40_000) as u64)
                .map(|at| ((put_in + at) % 251) as u8)
                .collect();
            put_in += bytes.len() as u64;
            backlog.put(&bytes, &mut pool);
            for _ in 0..random.below(3) {
                let count = backlog.hand_on(&mut input, 0, &mut pool);
                assert!(count <= 2 * READ_BLOCK);
                let taken = random.below(input.len() + 1);
                for byte in &input.bytes()[..taken] {
                    assert_eq!(*byte, (taken_out % 251) as u8);
                    taken_out += 1;
                }
                input.consume(taken);
                input.settle(&mut pool);
            }
            assert_eq!(
                backlog.len() as u64 + input.len() as u64,
                put_in - taken_out
            );
        }
        while backlog.hand_on(&mut input, 0, &mut pool) > 0 {}
        assert!(backlog.is_empty() && backlog.free() == 0);
        assert_eq!(input.len() as u64, put_in - taken_out);
    }

    #[test]
    fn a_little_pins_no_block_and_much_is_moved_once() {
        let (mut pool, mut backlog, mut input) =
            (Pool::default(), Backlog::default(), ReadBuf::default());
        backlog.put(b"*1\r\n$4\r\nPING\r\n", &mut pool);
        assert!(backlog.free() < 4096);
        backlog.put(&vec![b'x'; 10 << 20], &mut pool);
        assert!(backlog.free() < READ_BLOCK);
        // Whole blocks change hands as they are: what was a block of the backlog is one of the input.
        let mut moved = 0;
        while !backlog.is_empty() {
            let before = pool.free_bytes();
            moved += backlog.hand_on(&mut input, 0, &mut pool);
            assert_eq!(pool.free_bytes(), before);
            input.consume(input.len());
            input.settle(&mut pool);
        }
        assert_eq!(moved, 14 + (10 << 20));
    }
}
