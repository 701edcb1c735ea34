//! `Chunk`: a piece of bytes that moves from input to output without being copied.

use std::ops::Range;
use std::sync::Arc;

use super::Pool;

/// A piece of output: one or more whole frames.
#[derive(Debug, Default)]
pub struct Chunk {
    pub(super) data: Vec<u8>,
    /// The storage in place of `data`, of a chunk that was read into memory together with others.
    pub(super) shared: Option<Arc<Vec<u8>>>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether nothing may be appended: the spare end of shared storage is no room of ours.
    pub(super) sealed: bool,
}

impl Chunk {
    /// These bytes, moved.
    pub fn of(bytes: Vec<u8>) -> Chunk {
        Chunk {
            start: 0,
            end: bytes.len(),
            data: bytes,
            shared: None,
            sealed: true,
        }
    }

    /// These bytes, moved, to be shared by many ([`Chunk::again`]).
    pub fn shared_of(bytes: Vec<u8>) -> Chunk {
        Chunk {
            start: 0,
            end: bytes.len(),
            data: Vec::new(),
            shared: Some(Arc::new(bytes)),
            sealed: true,
        }
    }

    /// The same bytes once more, in the same storage; nothing if that is not shared.
    pub fn again(&self) -> Option<Chunk> {
        self.part(0, self.len())
    }

    /// Its part of the memory that its bytes take: who shares them shares that, too.
    pub(super) fn memory(&self) -> usize {
        match &self.shared {
            None => self.len(),
            Some(shared) => self.len() / Arc::strong_count(shared).max(1),
        }
    }

    /// The bytes from `start` to `end`, in the same storage; nothing if it is not shared, or they are not there.
    pub(super) fn part(&self, start: usize, end: usize) -> Option<Chunk> {
        let shared = self.shared.as_ref()?;
        if start > end || end > self.len() {
            return None;
        }
        Some(Chunk {
            data: Vec::new(),
            shared: Some(shared.clone()),
            start: self.start + start,
            end: self.start + end,
            sealed: true,
        })
    }

    pub(super) fn storage(&self) -> &[u8] {
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
    pub(super) fn shared_piece(&self, range: Range<usize>) -> Option<&[u8]> {
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
    pub(super) fn empty(&mut self, pool: &mut Pool) {
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

#[cfg(test)]
mod tests {
    use super::super::write::tests::unsent;
    use super::super::{READ_BLOCK, ReadBuf, WriteBuf};
    use super::*;

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
