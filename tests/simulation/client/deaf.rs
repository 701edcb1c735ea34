//! A client that asks for many long replies at once.

use super::{Client, End, Kind};
use crate::ledger::Ledger;
use crate::random::Random;
use crate::resp;

/// A reply of so many bytes is long, and still not so long that a world takes minutes.
const LONG: std::ops::Range<usize> = 8 << 10..24 << 10;

impl Client {
    /// Asks for long replies of one key. Returns how many.
    pub fn ask_for_much(&mut self, key: usize, ledger: &mut Ledger, random: &mut Random) -> usize {
        let in_transaction = self.transaction.is_some();
        if self.end != End::Open
            || self.subscriber.is_some()
            || self.listener.is_some()
            || in_transaction
        {
            return 0;
        }
        let mut long = || loop {
            let number = random.next();
            if LONG.contains(&resp::grown(number, false).len()) {
                return number;
            }
        };
        let few = [long(), long()];
        let count = random.between(16, 64) as usize;
        for _ in 0..count {
            let number = *random.pick(&few);
            self.request(Kind::Grown(number), &[key], ledger, random);
        }
        count
    }

    /// Asks for a list of all keys, as it may be long.
    pub fn ask_for_all_keys(&mut self, ledger: &mut Ledger, random: &mut Random) {
        let is_apart = self.transaction.is_some() || self.inside.is_some();
        let hears = self.subscriber.is_some() || self.listener.is_some();
        if self.end != End::Open || hears || is_apart {
            return;
        }
        let made = ledger.fans.made(&ledger.keys);
        self.request(Kind::Keys(made), &[], ledger, random);
    }
}
