//! `Random`: numbers for shuffling and jitter (xorshift64*). Not for secrets.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A generator; two made in one process differ.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A generator with a seed that the system chose.
    pub(super) fn new() -> Random {
        Random::from_seed(RandomState::new().hash_one(0u64))
    }

    /// A generator with this seed.
    pub(super) fn from_seed(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        number as usize % bound
    }

    /// Puts the items in random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// The duration, up to a tenth shorter or longer.
    pub(super) fn jitter(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(0.9 + self.below(2001) as f64 / 10_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_and_jitters() {
        let mut random = Random::from_seed(7);
        let mut seen = [0; 10];
        for _ in 0..1000 {
            seen[random.below(10)] += 1;
            let wait = random.jitter(Duration::from_secs(10));
            assert!((9.0..=11.0).contains(&wait.as_secs_f64()), "{wait:?}");
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
        let mut items: Vec<usize> = (0..100).collect();
        random.shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<usize>>());
    }
}
