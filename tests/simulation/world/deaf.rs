//! Bursts of long reads: many clients ask one node for far more than a connection carries, all at once, and do not read
//! for a while.

use super::World;
use crate::ledger::Class;
use crate::random::{Random, mix};

/// When there are bursts, and of what: from numbers of their own, so that worlds without them stay what they are.
#[derive(Debug)]
pub struct Deaf {
    random: Random,
    /// One turn in so many, or none (0).
    once_in: usize,
}

impl Deaf {
    pub fn new(seed: u64) -> Deaf {
        let mut random = Random::new(mix(!seed));
        let once_in = match random.one_in(4) {
            true => random.between(500, 2000) as usize,
            false => 0,
        };
        Deaf { random, once_in }
    }
}

impl World {
    /// A burst, perhaps.
    pub(super) fn deafen(&mut self) {
        if self.deaf.once_in == 0 || !self.deaf.random.one_in(self.deaf.once_in) {
            return;
        }
        let more = self.deaf.random.below(8);
        for _ in 0..more {
            self.accept(false);
        }
        let texts = self.ledger.keys_of(Class::Text);
        let key = *self.deaf.random.pick(&texts);
        let until = self.now + self.deaf.random.between(1000, 300_000);
        let mut asked = 0;
        for client in &mut self.clients {
            let (ledger, random) = (&mut self.ledger, &mut self.deaf.random);
            let count = client.ask_for_much(key, ledger, random);
            if count > 0 {
                client.stalled_until = client.stalled_until.max(until);
                asked += count;
            }
        }
        self.events.deaf_bursts += u64::from(asked > 100);
        self.note(|_| format!("a burst of {asked} long reads, unread until {until}"));
    }
}
