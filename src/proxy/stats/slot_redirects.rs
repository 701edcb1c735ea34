//! `Redirects`: how often nodes redirected requests of each slot. A slot with many redirects is migrating, or its
//! nodes disagree.
//!
//! One writer, its worker. Memory grows with the number of redirected slots, and is bounded by it.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::clock::Time;
use crate::cluster::slot::SLOTS;
use crate::proxy::stats::Counter;
use crate::sort;

/// How a node sent a request elsewhere, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Redirect {
    /// MOVED: the slot is another's.
    Moved = 0,
    /// ASK: the slot is on its way to another, and the key is there already.
    Ask = 1,
    /// TRYAGAIN: the slot is on its way, and the keys of the request are not together.
    TryAgain = 2,
}

/// What one worker counts of one slot.
#[derive(Debug, Default)]
struct Record {
    counts: [Counter; 3],
    /// The second of the process' clock, and one, in which one last was sent elsewhere for good; 0 is never.
    moved_at: AtomicU32,
    /// The same of one that was sent elsewhere, or back, because the slot is on its way.
    migrating_at: AtomicU32,
}

/// Slots whose records lie together.
const PAGE: usize = 16;

/// What one worker counts of the slots of a page, once one of them has been redirected.
type Page = OnceLock<Box<[Record; PAGE]>>;

/// What one worker counts of all slots.
#[derive(Debug, Default)]
pub struct Redirects(OnceLock<Box<[Page]>>);

/// What all workers have counted of one slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotRedirects {
    /// The slot.
    pub slot: u16,
    /// Requests redirected by MOVED.
    pub moved: u64,
    /// Requests redirected by ASK.
    pub ask: u64,
    /// Requests answered with TRYAGAIN.
    pub tryagain: u64,
    /// When the last of them was, in seconds of the process' clock.
    pub last_second: u32,
    /// Whether the last ASK or TRYAGAIN was less than [`MIGRATING_SECONDS`] ago.
    pub migrating: bool,
}

/// A slot is taken for migrating for so long after an ASK or a TRYAGAIN.
pub const MIGRATING_SECONDS: u32 = 10;

fn second(now: Time) -> u32 {
    u32::try_from(now.as_micros() / 1_000_000).unwrap_or(u32::MAX - 1)
}

impl SlotRedirects {
    /// How long ago the last of them was, in whole seconds.
    pub fn age_seconds(&self, now: Time) -> u64 {
        u64::from(second(now).saturating_sub(self.last_second))
    }
}

impl Redirects {
    /// A request of this slot was sent elsewhere. A request without a slot is nobody's.
    #[cold]
    pub fn note(&self, slot: u16, redirect: Redirect, now: Time) {
        let slot = usize::from(slot);
        let pages = (0..SLOTS / PAGE).map(|_| OnceLock::new());
        let pages = self.0.get_or_init(|| pages.collect());
        let Some(page) = pages.get(slot / PAGE) else {
            return;
        };
        let record = &page.get_or_init(Box::default)[slot % PAGE];
        record.counts[redirect as usize].add(1);
        let at = match redirect {
            Redirect::Moved => &record.moved_at,
            Redirect::Ask | Redirect::TryAgain => &record.migrating_at,
        };
        at.store(second(now) + 1, Ordering::Relaxed);
    }

    /// The pages in use, and the first slot of each.
    fn pages(&self) -> impl Iterator<Item = (usize, &[Record; PAGE])> {
        let pages = self.0.get().into_iter().flatten().enumerate();
        pages.filter_map(|(index, page)| Some((index * PAGE, &**page.get()?)))
    }

    /// Counts from zero again. For the writing thread only.
    pub fn reset(&self) {
        for record in self.pages().flat_map(|(_, page)| page) {
            record.counts.iter().for_each(|count| count.set(0));
            record.moved_at.store(0, Ordering::Relaxed);
            record.migrating_at.store(0, Ordering::Relaxed);
        }
    }
}

/// The slots that any worker has seen redirects of, those of the most redirects first.
pub fn of_slots<'a>(
    workers: impl Iterator<Item = &'a Redirects> + Clone,
    now: Time,
) -> Vec<SlotRedirects> {
    let mut records: BTreeMap<usize, Vec<&Record>> = BTreeMap::new();
    for (first, page) in workers.flat_map(Redirects::pages) {
        for (offset, record) in page.iter().enumerate() {
            records.entry(first + offset).or_default().push(record);
        }
    }
    let now = second(now);
    let mut slots = Vec::new();
    for (slot, records) in records {
        let mut sum = SlotRedirects {
            slot: slot as u16,
            ..SlotRedirects::default()
        };
        let (mut any_at, mut migrating_at) = (0, 0);
        for record in records {
            let [moved, ask, tryagain] = &record.counts;
            sum.moved += moved.get();
            sum.ask += ask.get();
            sum.tryagain += tryagain.get();
            let migrating = record.migrating_at.load(Ordering::Relaxed);
            migrating_at = migrating_at.max(migrating);
            any_at = any_at
                .max(migrating)
                .max(record.moved_at.load(Ordering::Relaxed));
        }
        if any_at > 0 {
            sum.last_second = any_at - 1;
            sum.migrating = migrating_at > 0 && now < migrating_at - 1 + MIGRATING_SECONDS;
            slots.push(sum);
        }
    }
    sort::by_key(&mut slots, |sum| {
        std::cmp::Reverse(sum.moved + sum.ask + sum.tryagain)
    });
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_over_workers_and_migrate_for_a_while() {
        let at = |second: u64| Time::from_micros(second * 1_000_000);
        let workers = [Redirects::default(), Redirects::default()];
        assert_eq!(of_slots(workers.iter(), at(0)), []);
        workers[0].note(7, Redirect::Moved, at(0));
        workers[1].note(7, Redirect::Moved, at(3));
        workers[1].note(9, Redirect::Ask, at(5));
        workers[1].note(9, Redirect::TryAgain, at(5));
        workers[1].note(9, Redirect::Ask, at(6));
        workers[1].note(u16::MAX, Redirect::Ask, at(6));
        let seven = SlotRedirects {
            slot: 7,
            moved: 2,
            last_second: 3,
            ..SlotRedirects::default()
        };
        let nine = SlotRedirects {
            slot: 9,
            ask: 2,
            tryagain: 1,
            last_second: 6,
            migrating: true,
            ..SlotRedirects::default()
        };
        assert_eq!(of_slots(workers.iter(), at(15)), [nine, seven]);
        let later = of_slots(workers.iter(), at(16));
        assert!(!later[0].migrating);
        workers.iter().for_each(Redirects::reset);
        assert_eq!(of_slots(workers.iter(), at(16)), []);
    }
}
