//! What unit tests of several modules share: numbers from a seed.
//!
//! Not the crate `fastrand`: its generator has changed between versions, and a seed must give the same run always.

/// A stream of numbers that is the same in each run (a linear congruential generator).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A number of 64 bits, of which the higher ones are the more random.
    pub fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }
}
