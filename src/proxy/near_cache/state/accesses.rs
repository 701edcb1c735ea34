//! `Accesses`: requests under way that reach a key past the cache: writes, and reads on connections that are not
//! tracked. Until such a request is answered nothing may be filled for its key: its reply may tell its client of a
//! value that is newer than what is being filled.
//!
//! When it is answered nobody says here. An access is a claim, as all names are: it lasts as long as its client has
//! that place of its pipeline unanswered. So no path of a reply, and no end of a client, can be forgotten.
//!
//! It must never know what a client is beyond its name and its place.

use crate::cluster::slot::SLOTS;
use crate::proxy::ids::{ClientId, Seq};

/// Lists; a power of two.
const LISTS: usize = 4096;
/// A list is looked through for accesses that are over when it has so many, and each time it has doubled: a hit looks at
/// what is left.
const ENOUGH: usize = 4;

/// How long an access lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// Until this place of its client is answered.
    Request,
    /// The same; it is a read that stands on the tracking connection as this flight's.
    Flight(u32),
    /// Until nothing at all of its client is under way: transactions, blocking commands.
    Work,
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Whose it is.
    pub client: ClientId,
    /// Its place.
    pub seq: Seq,
    /// How long it lasts.
    pub lasts: Lasts,
    hash: u64,
}

/// Slots that are reached.
#[derive(Debug, Clone)]
pub enum Slots {
    /// All.
    All,
    /// This one.
    One(u16),
    /// Those with a bit.
    Some(Box<[u64; SLOTS / 64]>),
}

impl Slots {
    /// These.
    pub fn of(slots: impl Iterator<Item = u16>) -> Slots {
        let mut bits = Box::new([0; SLOTS / 64]);
        for slot in slots {
            if let Some(word) = bits.get_mut(usize::from(slot) / 64) {
                *word |= 1 << (slot % 64);
            }
        }
        Slots::Some(bits)
    }

    /// Whether this one is among them.
    #[inline]
    pub fn has(&self, slot: u16) -> bool {
        match self {
            Slots::All => true,
            Slots::One(own) => *own == slot,
            Slots::Some(bits) => {
                let word = bits.get(usize::from(slot) / 64);
                word.is_some_and(|word| word >> (slot % 64) & 1 == 1)
            }
        }
    }
}

/// What is reached beside single keys: by scripts, FLUSHALL and the like, and by requests of very many keys.
#[derive(Debug, Clone)]
pub struct Wide {
    /// What.
    pub slots: Slots,
    /// Whose it is.
    pub client: ClientId,
    /// Its place.
    pub seq: Seq,
    /// How long it lasts.
    pub lasts: Lasts,
}

/// Requests under way that reach keys past the cache.
#[derive(Debug)]
pub struct Accesses {
    lists: Box<[Vec<Access>]>,
    /// Lists that have enough, to be looked through.
    full: Vec<u32>,
    /// The list that is looked through next although it has not: a claim that is over may look like one that lasts when
    /// its client has made 2^31 requests more.
    next: usize,
    /// Those of more than single keys.
    pub wide: Vec<Wide>,
}

impl Default for Accesses {
    fn default() -> Accesses {
        Accesses {
            lists: (0..LISTS).map(|_| Vec::new()).collect(),
            full: Vec::new(),
            next: 0,
            wide: Vec::new(),
        }
    }
}

impl Accesses {
    /// Adds one.
    #[inline]
    pub fn add(&mut self, hash: u64, client: ClientId, seq: Seq, lasts: Lasts) {
        let at = hash as usize % LISTS;
        let list = &mut self.lists[at];
        list.push(Access {
            client,
            seq,
            lasts,
            hash,
        });
        if list.len() >= ENOUGH && list.len().is_power_of_two() {
            self.full.push(at as u32);
        }
    }

    /// The accesses to a key, the oldest first; some may be over.
    #[inline]
    pub fn of(&self, hash: u64) -> impl DoubleEndedIterator<Item = &Access> {
        let list = self.lists[hash as usize % LISTS].iter();
        list.filter(move |access| access.hash == hash)
    }

    /// Those of a slot, or of all.
    pub fn wide_of(&self, slot: u16) -> impl Iterator<Item = &Wide> {
        let own = move |wide: &&Wide| wide.slots.has(slot);
        self.wide.iter().filter(own)
    }

    /// Forgets what is over, of the lists that have enough and of one other.
    pub fn prune(
        &mut self,
        mut lasts: impl FnMut(&Access) -> bool,
        wide_lasts: impl FnMut(&Wide) -> bool,
    ) {
        self.next = (self.next + 1) % LISTS;
        self.full.sort_unstable();
        self.full.dedup();
        for at in self.full.drain(..).chain([self.next as u32]) {
            let list = &mut self.lists[at as usize];
            list.retain(&mut lasts);
            list.shrink_to(2 * ENOUGH);
        }
        self.wide.retain(wide_lasts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_very_many_is_looked_through_once() {
        let mut accesses = Accesses::default();
        let client = ClientId::from_parts(1, 1);
        (0..100_000).for_each(|seq| accesses.add(7, client, Seq(seq), Lasts::Request));
        let mut looked = 0;
        let all_last = |_: &Access| {
            looked += 1;
            true
        };
        accesses.prune(all_last, |_| true);
        assert_eq!(looked, 100_000);
        assert_eq!(accesses.of(7).count(), 100_000);
        // Those that are over go with the next look, which a few more bring.
        (0..40_000).for_each(|seq| accesses.add(7, client, Seq(seq), Lasts::Request));
        accesses.prune(|_| false, |_| true);
        assert_eq!(accesses.of(7).count(), 0);
        (0..4).for_each(|seq| accesses.add(7, client, Seq(seq), Lasts::Request));
        accesses.prune(|_| false, |_| true);
        assert_eq!(accesses.of(7).count(), 0);
    }

    #[test]
    fn slots_are_those_that_were_named() {
        let some = Slots::of([0, 63, 64, 16_383].into_iter());
        let found: Vec<u16> = (0..SLOTS as u16).filter(|slot| some.has(*slot)).collect();
        assert_eq!(found, [0, 63, 64, 16_383]);
        assert!(Slots::All.has(5) && Slots::One(5).has(5) && !Slots::One(5).has(6));
    }
}
