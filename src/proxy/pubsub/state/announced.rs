//! `Announced`: what clients of ours have asked to subscribe to and no node has confirmed, over all workers; and that
//! publishers wait for it (see `pubsub::announced`).
//!
//! While nothing is announced, a PUBLISH looks at one counter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Time;
use crate::proxy::ids::ClientId;
use crate::proxy::pubsub::state::kind::Kind;
use crate::resp::glob::{self, Case};

/// The subscriptions of a process that are on their way.
#[derive(Debug, Default)]
pub struct Announced {
    /// How many there are, to be read without the lock.
    count: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The number of the last announcement.
    last: u64,
    /// The numbers of the announcements that name each.
    names: [BTreeMap<Arc<[u8]>, BTreeSet<u64>>; Kind::COUNT],
    /// Publishers that wait, by the announcement that each waits for, in the order in which they came.
    waiters: BTreeMap<u64, BTreeMap<u64, Waiter>>,
    /// The number of the last of them.
    last_waiter: u64,
}

/// A publisher that waits: its worker, and its name there.
pub type Waiter = (usize, ClientId);

/// Where a publisher waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of the announcement.
    announcement: u64,
    number: u64,
}

/// One client's announcement.
#[derive(Debug)]
pub struct Announcement {
    number: u64,
    kind: Kind,
    names: Vec<Arc<[u8]>>,
}

/// A publisher that waits.
#[derive(Debug, Clone, Copy)]
pub struct Publisher {
    /// The last announcement before it.
    pub(in crate::proxy::pubsub) after: u64,
    pub(in crate::proxy::pubsub) place: Place,
    /// When it waits no more.
    pub(in crate::proxy::pubsub) until: Time,
}

impl Announced {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is on its way.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// A client has asked for these.
    pub fn announce(&self, kind: Kind, names: Vec<Arc<[u8]>>) -> Announcement {
        let mut inner = self.inner();
        inner.last += 1;
        let number = inner.last;
        for name in &names {
            let of_kind = &mut inner.names[kind.index()];
            of_kind.entry(name.clone()).or_default().insert(number);
        }
        self.count.fetch_add(1, Ordering::Release);
        Announcement {
            number,
            kind,
            names,
        }
    }

    /// It is confirmed, or given up. Returns the publishers that have waited for it.
    pub fn withdraw(&self, announcement: &Announcement) -> impl Iterator<Item = Waiter> + use<> {
        let mut inner = self.inner();
        let of_kind = &mut inner.names[announcement.kind.index()];
        for name in &announcement.names {
            if let Some(numbers) = of_kind.get_mut(name) {
                numbers.remove(&announcement.number);
                if numbers.is_empty() {
                    of_kind.remove(name);
                }
            }
        }
        self.count.fetch_sub(1, Ordering::Release);
        let waiters = inner.waiters.remove(&announcement.number);
        waiters.unwrap_or_default().into_values()
    }

    /// Whether a publisher to one of these channels waits: for what was announced up to `after`, or up to now if it has
    /// not waited yet. Returns what it waits behind, and its place: it is named when that announcement is withdrawn, and
    /// looks again then. It waits for the last of them, as most are confirmed in their order.
    pub(in crate::proxy::pubsub) fn wait<'a>(
        &self,
        mut channels: impl Iterator<Item = (Kind, &'a [u8])>,
        after: Option<u64>,
        waiter: Waiter,
    ) -> Option<(u64, Place)> {
        let mut inner = self.inner();
        let after = after.unwrap_or(inner.last);
        let announcement =
            channels.find_map(|(kind, channel)| inner.last_of(kind, channel, after))?;
        inner.last_waiter += 1;
        let number = inner.last_waiter;
        let waiters = inner.waiters.entry(announcement).or_default();
        waiters.insert(number, waiter);
        let place = Place {
            announcement,
            number,
        };
        Some((after, place))
    }

    /// One publisher does not wait there any more.
    pub(in crate::proxy::pubsub) fn leave(&self, place: Place) {
        let mut inner = self.inner();
        if let Some(waiters) = inner.waiters.get_mut(&place.announcement) {
            waiters.remove(&place.number);
            if waiters.is_empty() {
                inner.waiters.remove(&place.announcement);
            }
        }
    }
}

impl Inner {
    /// The last of what was announced up to `after` that a message of this channel is for.
    fn last_of(&self, kind: Kind, channel: &[u8], after: u64) -> Option<u64> {
        let last = |numbers: &BTreeSet<u64>| numbers.range(..=after).next_back().copied();
        let own = self.names[kind.index()].get(channel).and_then(last);
        if own.is_some() || kind != Kind::Channel {
            return own;
        }
        let patterns = self.names[Kind::Pattern.index()].iter();
        let matching =
            patterns.filter(|(pattern, _)| glob::matches(pattern, channel, Case::Sensitive));
        matching.filter_map(|(_, numbers)| last(numbers)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_waits_for_what_was_announced_before_it() {
        let announced = Announced::default();
        let name = |name: &str| -> Arc<[u8]> { name.as_bytes().into() };
        let wait = |kind, channel: &str, after| {
            let waits = announced.wait([(kind, channel.as_bytes())].into_iter(), after, client(1));
            waits.map(|(after, _)| after)
        };
        assert!(announced.is_empty());
        let first = announced.announce(Kind::Channel, vec![name("a"), name("b")]);
        let second = announced.announce(Kind::Pattern, vec![name("c*")]);
        let third = announced.announce(Kind::Shard, vec![name("s")]);
        assert_eq!(wait(Kind::Channel, "x", None), None);
        assert_eq!(wait(Kind::Channel, "s", None), None);
        assert_eq!(wait(Kind::Shard, "cx", None), None);
        assert_eq!(wait(Kind::Shard, "s", None), Some(3));
        assert_eq!(wait(Kind::Channel, "b", None), Some(3));
        assert_eq!(wait(Kind::Channel, "cx", None), Some(3));
        let fourth = announced.announce(Kind::Channel, vec![name("b")]);
        assert_eq!(announced.withdraw(&first).count(), 1);
        // It does not wait for one that came later; who comes now does.
        assert_eq!(wait(Kind::Channel, "b", Some(3)), None);
        assert_eq!(wait(Kind::Channel, "b", None), Some(4));
        let of_others = [second, third, fourth].map(|own| announced.withdraw(&own).count());
        assert_eq!(of_others, [1, 1, 1]);
        assert!(announced.is_empty());
        let last = announced.announce(Kind::Channel, vec![name("a")]);
        assert_eq!(announced.withdraw(&last).count(), 0, "nobody waits");
    }

    #[test]
    fn only_who_waits_for_a_subscription_is_named_when_it_is_confirmed() {
        let announced = Announced::default();
        let name = |channel: usize| -> Arc<[u8]> { channel.to_string().into_bytes().into() };
        let channels = 100;
        let all: Vec<Announcement> = (0..channels)
            .map(|channel| announced.announce(Kind::Channel, vec![name(channel)]))
            .collect();
        let places: Vec<Place> = (0..10 * channels)
            .map(|publisher| {
                let channel = name(publisher % channels);
                let waits = announced.wait(
                    [(Kind::Channel, &channel[..])].into_iter(),
                    None,
                    client(publisher),
                );
                waits.expect("it waits").1
            })
            .collect();
        // One leaves.
        announced.leave(places[3]);
        for (channel, announcement) in all.iter().enumerate() {
            let named: Vec<Waiter> = announced.withdraw(announcement).collect();
            let waited = (0..10 * channels).filter(|publisher| publisher % channels == channel);
            let waited = waited.filter(|publisher| *publisher != 3).map(client);
            assert_eq!(named, waited.collect::<Vec<Waiter>>());
        }
        // It may leave when it has been named.
        announced.leave(places[0]);
        assert!(announced.inner().waiters.is_empty());
    }

    #[test]
    fn one_publisher_looks_few_times_for_many_subscriptions() {
        let announced = Announced::default();
        let name: Arc<[u8]> = b"a"[..].into();
        let all: Vec<Announcement> = (0..1000)
            .map(|_| announced.announce(Kind::Channel, vec![name.clone()]))
            .collect();
        let look =
            |after| announced.wait([(Kind::Channel, &b"a"[..])].into_iter(), after, client(1));
        let (after, _) = look(None).expect("it waits");
        let mut looks = 0;
        for announcement in &all {
            for _ in announced.withdraw(announcement) {
                looks += 1;
                look(Some(after));
            }
        }
        assert_eq!(looks, 1);
    }

    fn client(number: usize) -> Waiter {
        (number % 3, ClientId::from_parts(number as u32, 1))
    }
}
