//! `Histogram`: latencies as one worker counts them; `Latencies`: those of all workers together.
//!
//! One writer, its worker; readers look at any time and see each number as it is. Buckets are log-linear:
//! recording is two additions and a few shifts, and how many there were is what the buckets hold.
//!
//! Not the crate `histogram` (1.6): its atomic kind records with an atomic addition, three times the price of the
//! load and store that suffice for one writer, and it keeps no sum, which the metrics show.

use crate::proxy::stats::Counter;

/// Parts that each power of two is cut into: a latency is known to one part in sixteen.
const PARTS: u64 = 16;
/// Latencies of 2^32 microseconds (71 minutes) and more are counted as that.
const MICROS_MAX: u64 = (1 << 32) - 1;
const BUCKETS: usize = (PARTS * 29) as usize;

/// The bucket for a latency.
#[inline]
fn bucket(micros: u64) -> usize {
    let micros = micros.min(MICROS_MAX);
    let shift = u64::from(59 - (micros | (2 * PARTS - 1)).leading_zeros());
    (shift * PARTS + (micros >> shift)) as usize
}

/// The largest latency that falls into a bucket, in microseconds.
fn upper_bound(bucket: usize) -> u64 {
    let shift = (bucket as u64 / PARTS).saturating_sub(1);
    ((bucket as u64 - shift * PARTS + 1) << shift) - 1
}

/// Latencies as one worker counts them.
#[derive(Debug)]
pub struct Histogram {
    micros: Counter,
    buckets: [Counter; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            micros: Counter::default(),
            buckets: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Histogram {
    /// So many that took so many microseconds each. For the writing thread only.
    #[inline]
    pub fn record(&self, micros: u64, count: u64) {
        self.micros.add(micros.wrapping_mul(count));
        self.buckets[bucket(micros)].add(count);
    }

    /// Adds what another process has counted. For the writing thread only.
    pub fn add_change(&self, change: &Change) {
        self.micros.add(change.micros);
        for (at, count) in &change.buckets {
            if let Some(bucket) = self.buckets.get(usize::from(*at)) {
                bucket.add(*count);
            }
        }
    }

    /// Counts from zero again. For the writing thread only.
    pub fn reset(&self) {
        self.micros.set(0);
        self.buckets.iter().for_each(|bucket| bucket.set(0));
    }
}

/// Latencies of all workers together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies {
    /// How many there were.
    pub count: u64,
    /// Their sum, in microseconds.
    pub micros: u64,
    buckets: Vec<u64>,
}

/// What was added to latencies in a time: most of their buckets are empty then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    micros: u64,
    /// Buckets in their order, and how many were added to each.
    buckets: Vec<(u16, u64)>,
}

impl Change {
    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// For another process: the sum, and of each bucket that something was added to its place and how much.
    pub fn parts(&self) -> (u64, &[(u16, u64)]) {
        (self.micros, &self.buckets)
    }

    /// The same, of another process. Buckets that this version does not have are left out when it is added.
    pub fn from_parts(micros: u64, buckets: Vec<(u16, u64)>) -> Change {
        Change { micros, buckets }
    }
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies {
            count: 0,
            micros: 0,
            buckets: vec![0; BUCKETS],
        }
    }
}

impl Latencies {
    /// Adds what one worker has counted.
    pub fn add(&mut self, histogram: &Histogram) {
        self.micros = self.micros.wrapping_add(histogram.micros.get());
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            let count = bucket.get();
            *sum += count;
            self.count += count;
        }
    }

    /// Adds others.
    pub fn add_all(&mut self, others: &Latencies) {
        self.micros = self.micros.wrapping_add(others.micros);
        self.count += others.count;
        for (sum, bucket) in self.buckets.iter_mut().zip(&others.buckets) {
            *sum += bucket;
        }
    }

    /// What has been added since an earlier moment; all of it, if counting has begun at zero again since then.
    pub fn since(&self, earlier: &Latencies) -> Change {
        let mut both = self.buckets.iter().zip(&earlier.buckets);
        let again = both.any(|(now, before)| now < before) || self.micros < earlier.micros;
        let before = |at: usize| if again { 0 } else { earlier.buckets[at] };
        let buckets = self.buckets.iter().enumerate();
        let added = buckets.map(|(at, count)| (at as u16, count - before(at)));
        Change {
            micros: self.micros - if again { 0 } else { earlier.micros },
            buckets: added.filter(|(_, count)| *count > 0).collect(),
        }
    }

    /// Adds what was added to others.
    pub fn add_change(&mut self, change: &Change) {
        self.micros = self.micros.wrapping_add(change.micros);
        for (at, count) in &change.buckets {
            if let Some(bucket) = self.buckets.get_mut(usize::from(*at)) {
                *bucket += count;
                self.count += count;
            }
        }
    }

    /// What so many percent of them did not exceed, in microseconds.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = (self.count as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        reached.map_or(0, upper_bound)
    }

    /// How many took at most each of these, which rise; one that shares its bucket with longer ones counts as
    /// longer.
    pub fn at_most(&self, bounds: &[u64]) -> Vec<u64> {
        debug_assert!(bounds.is_sorted());
        let (mut at, mut seen) = (0, 0);
        let counts = bounds.iter().map(|bound| {
            while at < self.buckets.len() && upper_bound(at) <= *bound {
                seen += self.buckets[at];
                at += 1;
            }
            seen
        });
        counts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_falls_into_a_bucket_that_bounds_it() {
        let mut last = 0;
        for micros in (0..100_000).chain([MICROS_MAX - 1, MICROS_MAX, u64::MAX]) {
            let at = bucket(micros);
            assert!(at < BUCKETS && (at == last || at == last + 1 || micros > 100_000));
            last = at;
            let bound = upper_bound(at);
            assert!(bound >= micros.min(MICROS_MAX), "{micros}");
            assert!(
                bound - micros.min(MICROS_MAX) <= micros / PARTS,
                "{micros}: {bound}"
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn counts_by_bounds_rise_to_the_count() {
        let histogram = Histogram::default();
        for micros in [1, 50, 51, 1000, 5_000_000] {
            histogram.record(micros, 2);
        }
        let mut sum = Latencies::default();
        sum.add(&histogram);
        assert_eq!((sum.count, sum.micros), (10, 2 * 5_001_102));
        let counts = sum.at_most(&[0, 51, 900, 1100, u64::MAX]);
        assert_eq!(counts, [0, 6, 6, 8, 10]);
        assert_eq!(sum.percentile(40.0), 51);
    }

    #[test]
    fn a_change_is_what_was_added_since() {
        let histogram = Histogram::default();
        let seen = || {
            let mut seen = Latencies::default();
            seen.add(&histogram);
            seen
        };
        histogram.record(10, 5);
        let before = seen();
        assert!(seen().since(&before).is_empty());
        histogram.record(10, 1);
        histogram.record(3000, 2);
        let mut added = Latencies::default();
        added.add_change(&seen().since(&before));
        assert_eq!((added.count, added.micros), (3, 6010));
        assert_eq!(added.percentile(30.0), 10);
        // After a reset all that is there is new.
        histogram.reset();
        histogram.record(20, 1);
        let mut added = Latencies::default();
        added.add_change(&seen().since(&before));
        assert_eq!((added.count, added.micros), (1, 20));
    }
}
