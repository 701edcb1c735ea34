//! `Rope`: consecutive bytes in several pieces, for data that is too large to be copied into one.

use super::{Chunk, Pool, READ_BLOCK, WriteBuf};

/// A piece of at least this many bytes is shared when a part of a rope is taken; less is copied.
const SHARED_MIN: usize = READ_BLOCK / 4;

/// A row of chunks.
///
/// Invariants: no chunk is empty; `len` is their sum.
#[derive(Debug, Default)]
pub struct Rope {
    chunks: Vec<Chunk>,
    len: usize,
}

impl Rope {
    /// These bytes, in one piece.
    pub fn of(bytes: Vec<u8>) -> Rope {
        let mut rope = Rope::default();
        rope.push(Chunk::of(bytes));
        rope
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> usize {
        self.chunks.len()
    }

    /// The bytes of one piece; none behind the last.
    pub fn piece(&self, index: usize) -> &[u8] {
        self.chunks.get(index).map_or(b"", Chunk::bytes)
    }

    /// Bytes of memory that it keeps.
    pub fn storage_len(&self) -> usize {
        self.chunks.iter().map(Chunk::storage_len).sum()
    }

    /// Appends a chunk, moving its storage.
    pub fn push(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push(chunk);
        }
    }

    /// Appends the chunks of another.
    pub fn append(&mut self, mut other: Rope) {
        self.len += other.len;
        self.chunks.append(&mut other.chunks);
    }

    /// Takes out the first `count` pieces.
    pub fn take_pieces(&mut self, count: usize) -> Rope {
        let rest = self.chunks.split_off(count.min(self.chunks.len()));
        let chunks = std::mem::replace(&mut self.chunks, rest);
        let len = chunks.iter().map(Chunk::len).sum();
        self.len -= len;
        Rope { chunks, len }
    }

    /// Drops the first `count` bytes, which lie in the first piece.
    pub fn skip(&mut self, count: usize) {
        let Some(first) = self.chunks.first_mut() else {
            debug_assert_eq!(count, 0);
            return;
        };
        debug_assert!(count <= first.len());
        let count = count.min(first.len());
        first.start += count;
        self.len -= count;
        if first.is_empty() {
            self.chunks.remove(0);
        }
    }

    /// Moves all of it to the end of an output.
    pub fn move_to(self, output: &mut WriteBuf) {
        for chunk in self.chunks {
            output.push_chunk(chunk);
        }
    }

    /// Drops it, and gives its storage back unless others have it too.
    pub fn give_back(self, pool: &mut Pool) {
        for chunk in self.chunks {
            chunk.give_back(pool);
        }
    }

    /// All of it in one piece, which is a copy.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len);
        for chunk in &self.chunks {
            bytes.extend_from_slice(chunk.bytes());
        }
        bytes
    }
}

/// Makes a rope of pieces of any length: small ones are copied together.
#[derive(Debug, Default)]
pub struct RopeBuilder {
    rope: Rope,
    /// What has been copied since the last chunk.
    tail: Vec<u8>,
}

impl RopeBuilder {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.rope.len + self.tail.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a copy.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        if self.tail.len() + bytes.len() > self.tail.capacity() {
            self.seal();
            self.tail.reserve_exact(READ_BLOCK.max(bytes.len()));
        }
        self.tail.extend_from_slice(bytes);
    }

    /// Appends a part of one piece of a rope, without a copy if it is large.
    pub fn push_part(&mut self, rope: &Rope, piece: usize, start: usize, end: usize) {
        let Some(chunk) = rope.chunks.get(piece) else {
            debug_assert!(start == end, "no such piece");
            return;
        };
        match chunk.part(start, end) {
            Some(part) if part.len() >= SHARED_MIN => {
                self.seal();
                self.rope.push(part);
            }
            _ => self.push(chunk.bytes().get(start..end).unwrap_or_default()),
        }
    }

    /// Appends a rope.
    pub fn append(&mut self, rope: Rope) {
        self.seal();
        self.rope.append(rope);
    }

    /// What has been copied becomes a chunk.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.rope.push(Chunk::of(std::mem::take(&mut self.tail)));
        }
    }

    /// The rope.
    pub fn finish(mut self) -> Rope {
        self.seal();
        self.rope
    }
}

#[cfg(test)]
mod tests {
    use super::super::ReadBuf;
    use super::super::write::tests::unsent;
    use super::*;
    use crate::testing::Random;

    fn shared(bytes: &[u8]) -> Chunk {
        ReadBuf::holding(bytes.to_vec()).share(bytes.len())
    }

    #[test]
    fn a_rope_is_its_bytes_however_it_was_made() {
        let mut random = Random::new(3);
        for _ in 0..200 {
            let (mut builder, mut expected) = (RopeBuilder::default(), Vec::<u8>::new());
            for step in 0..random.below(40) {
                let most = [9, 3000, 90_000][random.below(3)];
                let bytes = vec![step as u8; random.below(most)];
                match random.below(3) {
                    0 => {
                        builder.push(&bytes);
                        expected.extend(&bytes);
                    }
                    1 => {
                        let mut rope = Rope::of(bytes.clone());
                        rope.push(shared(&bytes));
                        let skipped = random.below(bytes.len() + 1);
                        rope.skip(skipped);
                        let front = rope.take_pieces(random.below(3));
                        builder.append(front);
                        builder.append(rope);
                        expected.extend(&bytes[skipped..]);
                        expected.extend(&bytes);
                    }
                    _ => {
                        let mut rope = Rope::default();
                        rope.push(shared(&bytes));
                        let end = random.below(bytes.len() + 1);
                        let start = random.below(end + 1);
                        builder.push_part(&rope, 0, start, end);
                        expected.extend(&bytes[start..end]);
                    }
                }
                assert_eq!(builder.len(), expected.len());
            }
            let rope = builder.finish();
            let pieces: Vec<u8> = (0..rope.pieces())
                .flat_map(|index| rope.piece(index).to_vec())
                .collect();
            assert!(pieces == expected && rope.len() == expected.len());
            if rope.pieces() <= 64 {
                let mut output = WriteBuf::default();
                rope.move_to(&mut output);
                output.check();
                assert!(unsent(&output) == expected);
            } else {
                assert!(rope.to_bytes() == expected);
            }
        }
    }

    #[test]
    fn a_large_part_of_shared_storage_is_not_copied() {
        let mut rope = Rope::default();
        rope.push(shared(&[b'x'; READ_BLOCK]));
        let mut builder = RopeBuilder::default();
        builder.push(b"head");
        builder.push_part(&rope, 0, 10, 10 + SHARED_MIN);
        builder.push_part(&rope, 0, 10, 20);
        let part = builder.finish();
        assert_eq!(part.pieces(), 3);
        assert_eq!(part.piece(1).as_ptr(), rope.piece(0)[10..].as_ptr());
        assert_eq!(part.len(), 4 + SHARED_MIN + 10);
    }
}
