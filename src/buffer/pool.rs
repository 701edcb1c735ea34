//! `Pool`: the free memory blocks of one worker, in one list for each block size.
//!
//! A block is identified by its size alone. The pool must never know who uses a block, nor what for.

use std::sync::Arc;

use super::{FIRST_BLOCK, READ_BLOCK, WRITE_BLOCK};

/// Bytes of free blocks that the pool keeps of each kind; more are given back to the allocator. What a turn needs
/// of each kind grows with the clients and the nodes that it serves, and is there again in the next turn: a
/// thousand nodes take a thousand write blocks. What no turn needs any more is given back by halves ([`Pool::shed`]);
/// after a second without a command all are.
const KEPT_BYTES: usize = 32 << 20;
/// Bytes of free blocks of each kind that stay while there are commands.
const STEADY_BYTES: usize = 2 << 20;

/// Free blocks of one worker.
#[derive(Debug, Default)]
pub struct Pool {
    read_blocks: Vec<Vec<u8>>,
    write_blocks: Vec<Vec<u8>>,
    pub(super) first_blocks: Vec<Vec<u8>>,
}

impl Pool {
    pub(super) fn take_read(&mut self) -> Vec<u8> {
        self.read_blocks
            .pop()
            .unwrap_or_else(|| vec![0; READ_BLOCK])
    }

    pub(super) fn take_write(&mut self) -> Vec<u8> {
        self.write_blocks
            .pop()
            .unwrap_or_else(|| vec![0; WRITE_BLOCK])
    }

    pub(super) fn take_first(&mut self) -> Vec<u8> {
        self.first_blocks
            .pop()
            .unwrap_or_else(|| vec![0; FIRST_BLOCK])
    }

    /// As `give`, of what is most likely a first block.
    #[inline]
    pub(super) fn give_first(&mut self, block: Vec<u8>) {
        if block.len() == FIRST_BLOCK && self.first_blocks.len() < KEPT_BYTES / FIRST_BLOCK {
            self.first_blocks.push(block);
        } else {
            self.give(block);
        }
    }

    /// As `give`, of what is most likely a read block.
    #[inline]
    pub(super) fn give_read(&mut self, block: Vec<u8>) {
        if block.len() == READ_BLOCK && self.read_blocks.len() < KEPT_BYTES / READ_BLOCK {
            self.read_blocks.push(block);
        } else {
            self.give(block);
        }
    }

    /// Takes a block back if it is one of ours; anything else is freed.
    #[inline(never)]
    pub(super) fn give(&mut self, block: Vec<u8>) {
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
    pub(super) fn give_shared(&mut self, block: Arc<Vec<u8>>) {
        if let Some(block) = Arc::into_inner(block) {
            self.give(block);
        }
    }

    /// Gives half of the free blocks of each kind back to the allocator, down to a few. To be called now and then: a
    /// turn that needs them again allocates them anew.
    pub fn shed(&mut self) {
        for (blocks, size) in [
            (&mut self.read_blocks, READ_BLOCK),
            (&mut self.write_blocks, WRITE_BLOCK),
            (&mut self.first_blocks, FIRST_BLOCK),
        ] {
            let kept = (blocks.len() / 2).max(STEADY_BYTES / size);
            if kept < blocks.len() {
                // The last in use were those at the end, which are in the cache.
                blocks.drain(..blocks.len() - kept);
                blocks.shrink_to(2 * kept);
            }
        }
    }

    /// Bytes in free blocks.
    pub fn free_bytes(&self) -> usize {
        self.read_blocks.len() * READ_BLOCK
            + self.write_blocks.len() * WRITE_BLOCK
            + self.first_blocks.len() * FIRST_BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_blocks_are_given_back_by_halves_down_to_a_few() {
        let mut pool = Pool::default();
        for _ in 0..2048 {
            pool.give(vec![0; READ_BLOCK]);
            pool.give(vec![0; WRITE_BLOCK]);
            pool.give(vec![0; FIRST_BLOCK]);
        }
        let address = pool.read_blocks.last().map(|block| block.as_ptr());
        let mut before = pool.free_bytes();
        for _ in 0..4 {
            pool.shed();
            assert!(pool.free_bytes() < before);
            before = pool.free_bytes();
        }
        (0..5).for_each(|_| pool.shed());
        // So much of each kind, there being so much.
        assert_eq!(pool.free_bytes(), 3 * STEADY_BYTES);
        let taken = pool.take_read();
        assert_eq!(Some(taken.as_ptr()), address);
    }
}
