//! `Spares`: the buffers in which replies wait for their turn, kept for reuse.

use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::out_of_order::OutOfOrderSpares;
use crate::proxy::pipeline::split::Split;

/// Buffers that stay while there are commands.
const SPARES_STEADY: usize = 64;

/// Places for replies to parts that are kept, and of how many parts at most.
const SPLITS_KEPT: usize = 256;
const PARTS_KEPT: usize = 128;
/// Bytes that a buffer has at most that is kept.
const BYTES_KEPT: usize = 4096;

/// Buffers for replies that wait for their turn, kept for reuse.
#[derive(Debug, Default)]
pub struct Spares {
    pub(super) single: Vec<Vec<u8>>,
    pub(super) out_of_order: OutOfOrderSpares,
    /// Empty ones, in the boxes in which pipelines have them: these are what is spared.
    #[expect(clippy::vec_box)]
    splits: Vec<Box<Split>>,
}

impl Spares {
    /// An empty buffer.
    #[inline]
    pub fn take(&mut self) -> Vec<u8> {
        self.single.pop().unwrap_or_default()
    }

    /// The places for the replies to the parts of one request, none yet.
    #[inline]
    pub fn take_split(&mut self, merge: Merge, write: bool) -> Box<Split> {
        match self.splits.pop() {
            Some(mut split) => {
                (split.merge, split.write) = (merge, write);
                split
            }
            None => Box::new(Split::new(merge, write)),
        }
    }

    /// Takes such places back, unless there are plenty.
    #[inline]
    pub fn give_split(&mut self, mut split: Box<Split>) {
        if self.splits.len() < SPLITS_KEPT && split.is_small(PARTS_KEPT) {
            split.clear(BYTES_KEPT);
            self.splits.push(split);
        }
    }

    /// Gives half of the buffers back to the allocator, down to a few.
    pub fn shed(&mut self) {
        let kept = (self.single.len() / 2).max(SPARES_STEADY);
        self.single.truncate(kept);
        self.single.shrink_to(2 * kept);
        self.splits.truncate(self.splits.len() / 2);
        self.out_of_order.shed();
    }

    /// Takes a buffer back, unless it has grown large or there are plenty.
    #[inline]
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        if self.single.len() < 4096 && buffer.capacity() <= BYTES_KEPT {
            buffer.clear();
            self.single.push(buffer);
        }
    }
}
