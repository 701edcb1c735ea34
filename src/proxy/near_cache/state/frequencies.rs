//! `Frequencies`: how often keys are read, roughly: which are worth the two commands of a fill and a place in the
//! server's tracking table.
//!
//! The list of hot keys (`insight::hot_keys`) has 64 keys of a sample: it tells a person what is hottest. Here thousands
//! of keys are told from millions, as they are read, so that there are bytes for many hashes (a count-min sketch of two
//! rows): keys that share both of theirs count together, and at worst a key is filled early. Counts are halved from time to
//! time, so that they are of now; and sooner while so many keys are read that they would share everything.
//!
//! A key that is written soon after each fill is never worth one. So it is noted when a fill brought too few hits
//! (a *regret*), and each regret doubles the reads that the next fill has to wait for.
//!
//! It must never know a key.

use std::time::Duration;

use crate::clock::Time;

/// Counters of a row: as many as the cache has room for entries, in this range.
const COUNTERS_MIN: usize = 1 << 14;
const COUNTERS_MAX: usize = 1 << 21;
/// Bytes of the cache for each counter.
const ENTRY_BYTES: usize = 128;
/// How often counts are halved.
const HALF_LIFE: Duration = Duration::from_secs(30);
/// Counters for each cell for regrets. Keys that share one are filled as seldom, so that there have to be about as many
/// cells as keys are kept: with fewer, one key that is often written has all of its cell regretted.
const REGRET_SHARE: usize = 4;
/// Six doublings of two reads, the default, are half of what a counter counts.
const REGRETS_MAX: u8 = 6;
/// A fill that was hit so often was worth it: it is one command more than the read that it stands for.
const WORTH: u8 = 1;

/// How often keys are read.
///
/// Invariant: both rows have the same length, a power of two; so has `regrets`, in its share of that.
#[derive(Debug)]
pub struct Frequencies {
    rows: [Box<[u8]>; 2],
    regrets: Box<[u8]>,
    halved_at: Time,
    /// Reads since then.
    noted: usize,
}

impl Frequencies {
    /// Those of a cache of so many bytes.
    pub fn new(bytes: usize) -> Frequencies {
        let counters = (bytes / ENTRY_BYTES).next_power_of_two();
        let counters = counters.clamp(COUNTERS_MIN, COUNTERS_MAX);
        Frequencies {
            rows: [vec![0; counters].into(), vec![0; counters].into()],
            regrets: vec![0; counters / REGRET_SHARE].into(),
            halved_at: Time::default(),
            noted: 0,
        }
    }

    /// A key of this hash is read. Returns whether it has been often enough lately to be filled, if `min` reads are
    /// enough for a key without regrets.
    #[inline]
    pub fn note(&mut self, hash: u64, min: u32) -> bool {
        let [first, second] = self.places(hash);
        let count = self.rows[0][first].min(self.rows[1][second]);
        let count = count.saturating_add(1);
        // Only what is too low is raised, so that a key adds little to those that it shares one with.
        self.rows[0][first] = self.rows[0][first].max(count);
        self.rows[1][second] = self.rows[1][second].max(count);
        self.noted += 1;
        if self.noted > self.rows[0].len() {
            self.halve();
        }
        let regrets = self.regrets[self.cell(hash)];
        u32::from(count) >= (min << regrets).min(u32::from(u8::MAX))
    }

    /// What was filled for the key is dropped after so many hits, as the key has changed.
    #[inline]
    pub fn dropped(&mut self, hash: u64, hits: u8) {
        let cell = self.cell(hash);
        let regrets = &mut self.regrets[cell];
        let worth = hits >= WORTH;
        *regrets = match worth {
            true => 0,
            false => (*regrets + 1).min(REGRETS_MAX),
        };
        let places = self.places(hash);
        for (row, place) in self.rows.iter_mut().zip(places) {
            let count = &mut row[place];
            // Hits are reads that were not noted, and so is the one that brought the fill. Without hits the next fill has to be
            // earned anew.
            *count = match worth {
                true => hits.saturating_add(1).max(*count),
                false => 0,
            };
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: Time) {
        if now.since(self.halved_at) >= HALF_LIFE {
            self.halved_at = now;
            self.halve();
            self.regrets.iter_mut().for_each(|count| *count /= 2);
        }
    }

    /// A few dozen microseconds for a million counters.
    #[cold]
    fn halve(&mut self) {
        self.noted = 0;
        for row in &mut self.rows {
            row.iter_mut().for_each(|count| *count /= 2);
        }
    }

    fn cell(&self, hash: u64) -> usize {
        (hash >> 16) as usize & (self.regrets.len() - 1)
    }

    fn places(&self, hash: u64) -> [usize; 2] {
        let mask = self.rows[0].len() - 1;
        [(hash >> 32) as usize & mask, hash as usize & mask]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_often_is_known_until_it_cools() {
        let mut reads = Frequencies::new(1 << 20);
        let often: Vec<bool> = (0..4).map(|_| reads.note(7, 3)).collect();
        assert_eq!(often, [false, false, true, true]);
        assert!(!reads.note(8, 3));
        for _ in 0..1000 {
            reads.note(7, 3);
        }
        reads.tick(Time::default().after(HALF_LIFE));
        reads.tick(Time::default().after(HALF_LIFE * 2));
        assert!(reads.note(7, 64) && !reads.note(7, 66));
    }

    #[test]
    fn a_million_keys_that_are_read_once_do_not_look_hot() {
        let mut reads = Frequencies::new(1 << 20);
        let mut hash = 1u64;
        let hot = (0..1_000_000).filter(|_| {
            hash = hash.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            reads.note(hash ^ (hash >> 29), 3)
        });
        assert!(hot.count() < 50_000);
    }

    #[test]
    fn a_key_that_changes_after_each_fill_is_filled_ever_more_seldom() {
        let mut reads = Frequencies::new(1 << 20);
        let mut fills = 0;
        for _ in 0..10_000 {
            if reads.note(7, 3) {
                fills += 1;
                reads.dropped(7, 0);
            }
        }
        assert!((10..100).contains(&fills), "{fills}");
        // One that is read again gets its place back.
        reads.dropped(7, WORTH);
        let often = (0..3).map(|_| reads.note(7, 3)).filter(|often| *often);
        assert!(often.count() > 0);
    }
}
