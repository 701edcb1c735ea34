//! A client that reads one key again and again, in several ways.

use super::{Client, End, Kind};
use crate::ledger::Ledger;
use crate::random::Random;

/// Longer than any value.
const LONG: usize = 100_000;

impl Client {
    /// It reads hot keys from now on, and does nothing else.
    pub fn reads_again(mut self) -> Client {
        self.is_reader = true;
        self
    }

    /// Reads a hot key once more, if it waits for nothing: two reads of one key, each in another way, go past a cache.
    pub fn read_again(&mut self, key: usize, ledger: &mut Ledger, random: &mut Random) {
        if self.end != End::Open || !self.sent.is_empty() {
            return;
        }
        let (kind, keys) = match random.below(8) {
            0..4 => (Kind::Get(key), vec![key]),
            4 => (Kind::Exists(vec![key]), vec![key]),
            7 => (Kind::MGet(vec![key, key]), vec![key, key]),
            // No two of these are the same for a cache.
            _ => (Kind::Start(key, LONG + random.below(64)), vec![key]),
        };
        self.request(kind, &keys, ledger, random);
    }
}
