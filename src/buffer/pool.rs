//! `Pool`: the free blocks of one worker, one kind a list.
//!
//! A block is told by its size alone. The pool must never know who has one, nor what for.

use std::sync::Arc;

use super::{FIRST_BLOCK, READ_BLOCK, WRITE_BLOCK};

/// Bytes of free blocks that the pool keeps of each kind; more are given back to the allocator. What a turn needs
/// of each kind grows with the clients and the nodes that it serves, and is there again in the next turn: a
/// thousand nodes take a thousand write blocks. After a second without a command all are given back.
const KEPT_BYTES: usize = 32 << 20;

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

    /// Bytes in free blocks.
    pub fn free_bytes(&self) -> usize {
        self.read_blocks.len() * READ_BLOCK
            + self.write_blocks.len() * WRITE_BLOCK
            + self.first_blocks.len() * FIRST_BLOCK
    }
}
