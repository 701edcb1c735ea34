//! `HotKeys`: the keys that are asked for most, by the algorithm Space-Saving (Metwally, Agrawal and El Abbadi,
//! "Efficient computation of frequent and top-k elements in data streams", 2005) over a sample of the requests.
//!
//! A key that makes more than one part in [`KEYS`] of the sample is in the list. Counts are halved from time to
//! time, so that the list is of now.

use crate::clock::Time;
use crate::resp::encode;

/// Keys that are counted at once.
const KEYS: usize = 64;
/// Bytes of a key that are kept.
const KEY_BYTES_MAX: usize = 256;
/// How often counts are halved.
const HALF_LIFE_MICROS: u64 = 30_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: Vec<u8>,
    slot: u16,
    count: u64,
    /// How many of the count may belong to keys that had this place before.
    error: u64,
}

/// The keys of one worker.
#[derive(Debug, Default)]
pub struct HotKeys {
    entries: Vec<Entry>,
    /// Samples taken, halved with the counts.
    samples: u64,
    halved_at: Time,
}

impl HotKeys {
    /// A sampled request was for this key.
    pub fn note(&mut self, key: &[u8], slot: u16) {
        let key = &key[..key.len().min(KEY_BYTES_MAX)];
        self.samples += 1;
        let mut known = self.entries.iter_mut();
        if let Some(entry) = known.find(|entry| *entry.key == *key) {
            entry.count += 1;
            return;
        }
        if self.entries.len() < KEYS {
            self.entries.push(Entry {
                key: key.to_vec(),
                slot,
                count: 1,
                error: 0,
            });
        } else if let Some(least) = self.entries.iter_mut().min_by_key(|entry| entry.count) {
            // In its place: the memory of its key is used again.
            least.key.clear();
            least.key.extend_from_slice(key);
            least.slot = slot;
            least.error = least.count;
            least.count += 1;
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: Time) {
        if now.as_micros() < self.halved_at.as_micros() + HALF_LIFE_MICROS {
            return;
        }
        self.halved_at = now;
        self.samples /= 2;
        for entry in &mut self.entries {
            entry.count /= 2;
            entry.error /= 2;
        }
        self.entries.retain(|entry| entry.count > 0);
    }

    /// The list as a reply: the number of samples, then key, count, error and slot of each, in turns.
    pub fn print(&self, reply: &mut Vec<u8>) {
        encode::array(reply, 1 + 4 * self.entries.len());
        encode::integer(reply, self.samples as i64);
        for entry in &self.entries {
            encode::bulk(reply, &entry.key);
            encode::integer(reply, entry.count as i64);
            encode::integer(reply, entry.error as i64);
            encode::integer(reply, i64::from(entry.slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hot_ones_are_found_among_many() {
        let mut keys = HotKeys::default();
        for round in 0..10_000u32 {
            keys.note(format!("cold:{round}").as_bytes(), 1);
            if round % 10 == 0 {
                keys.note(b"hot", 2);
            }
        }
        let most = keys
            .entries
            .iter()
            .max_by_key(|entry| entry.count - entry.error);
        let most = most.unwrap();
        assert_eq!((&*most.key, most.slot), (&b"hot"[..], 2));
        assert!((1000..1300).contains(&most.count), "{most:?}");
        assert_eq!(keys.entries.len(), KEYS);
    }

    #[test]
    fn what_was_hot_cools() {
        let mut keys = HotKeys::default();
        for _ in 0..8 {
            keys.note(&[b'k'; 1000], 3);
        }
        assert_eq!(keys.entries[0].key.len(), KEY_BYTES_MAX);
        for half in 1..=4 {
            keys.tick(Time::from_micros(half * HALF_LIFE_MICROS));
            keys.tick(Time::from_micros(half * HALF_LIFE_MICROS + 1));
        }
        assert_eq!((keys.entries.len(), keys.samples), (0, 0));
    }
}
