//! `Spares`: the buffers in which replies wait for their turn, kept for reuse.

use crate::proxy::pipeline::out_of_order::OutOfOrderSpares;

/// Buffers that stay while there are commands.
const SPARES_STEADY: usize = 64;

/// Buffers for replies that wait for their turn, kept for reuse.
#[derive(Debug, Default)]
pub struct Spares {
    pub(super) single: Vec<Vec<u8>>,
    pub(super) out_of_order: OutOfOrderSpares,
}

impl Spares {
    /// An empty buffer.
    #[inline]
    pub fn take(&mut self) -> Vec<u8> {
        self.single.pop().unwrap_or_default()
    }

    /// Gives half of the buffers back to the allocator, down to a few.
    pub fn shed(&mut self) {
        let kept = (self.single.len() / 2).max(SPARES_STEADY);
        self.single.truncate(kept);
        self.single.shrink_to(2 * kept);
        self.out_of_order.shed();
    }

    /// Takes a buffer back, unless it has grown large or there are plenty.
    #[inline]
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        if self.single.len() < 4096 && buffer.capacity() <= 4096 {
            buffer.clear();
            self.single.push(buffer);
        }
    }
}
