//! `Frequencies`: how often keys are read, roughly: which are worth the three commands of a fill and a place in the
//! server's tracking table.
//!
//! The list of hot keys (`insight::hot_keys`) has 64 keys of a sample: it tells a person what is hottest. Here thousands
//! of keys are told from millions, as they are read, so that there is a byte for each of many hashes: keys that share one
//! count together, and at worst a key is filled early. Counts are halved from time to time, so that they are of now.
//!
//! It must never know a key.

use std::time::Duration;

use crate::clock::Time;

/// Counters; a power of two.
const COUNTERS: usize = 1 << 16;
/// How often counts are halved.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// How often keys are read.
#[derive(Debug)]
pub struct Frequencies {
    counts: Box<[u8]>,
    halved_at: Time,
}

impl Default for Frequencies {
    fn default() -> Frequencies {
        Frequencies {
            counts: vec![0; COUNTERS].into(),
            halved_at: Time::default(),
        }
    }
}

impl Frequencies {
    /// A key of this hash is read. Returns how often it has been lately.
    #[inline]
    pub fn note(&mut self, hash: u64) -> u32 {
        let count = &mut self.counts[(hash >> 32) as usize % COUNTERS];
        *count = count.saturating_add(1);
        u32::from(*count)
    }

    /// Time passes.
    pub fn tick(&mut self, now: Time) {
        if now.since(self.halved_at) >= HALF_LIFE {
            self.halved_at = now;
            self.counts.iter_mut().for_each(|count| *count /= 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_often_is_known_until_it_cools() {
        let mut reads = Frequencies::default();
        assert_eq!((1..=5).map(|_| reads.note(7 << 32)).last(), Some(5));
        assert_eq!(reads.note(8 << 32), 1);
        for _ in 0..1000 {
            reads.note(7 << 32);
        }
        reads.tick(Time::default().after(HALF_LIFE));
        reads.tick(Time::default().after(HALF_LIFE));
        assert_eq!(reads.note(7 << 32), 128);
    }
}
