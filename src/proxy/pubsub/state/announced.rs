//! `Announced`: what clients of ours have asked to subscribe to and no node has confirmed, over all workers; and that
//! publishers wait for it (see `pubsub::announced`).
//!
//! While nothing is announced, a PUBLISH looks at one counter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Time;
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
    /// Publishers that wait.
    waiting: usize,
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

    /// It is confirmed, or given up. Returns whether publishers wait.
    pub fn withdraw(&self, announcement: &Announcement) -> bool {
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
        inner.waiting > 0
    }

    /// Whether a publisher to one of these channels waits: for what was announced before it, or before now if it has
    /// not waited yet; it then counts as one that waits.
    pub(in crate::proxy::pubsub) fn wait<'a>(
        &self,
        mut channels: impl Iterator<Item = (Kind, &'a [u8])>,
        after: Option<u64>,
    ) -> Option<u64> {
        let mut inner = self.inner();
        let last = after.unwrap_or(inner.last);
        if !channels.any(|(kind, channel)| inner.has(kind, channel, last)) {
            return None;
        }
        inner.waiting += usize::from(after.is_none());
        Some(last)
    }

    /// One publisher waits no more.
    pub(in crate::proxy::pubsub) fn wait_no_more(&self) {
        let mut inner = self.inner();
        debug_assert!(inner.waiting > 0);
        inner.waiting -= 1;
    }
}

impl Inner {
    /// Whether a message of this channel is for something that was announced up to `last`.
    fn has(&self, kind: Kind, channel: &[u8], last: u64) -> bool {
        let before = |numbers: &BTreeSet<u64>| numbers.first().is_some_and(|first| *first <= last);
        let own = self.names[kind.index()].get(channel);
        if own.is_some_and(before) {
            return true;
        }
        let mut patterns = self.names[Kind::Pattern.index()].iter();
        kind == Kind::Channel
            && patterns.any(|(pattern, numbers)| {
                before(numbers) && glob::matches(pattern, channel, Case::Sensitive)
            })
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
            announced.wait([(kind, channel.as_bytes())].into_iter(), after)
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
        assert!(announced.withdraw(&first));
        // It does not wait for one that came later; who comes now does.
        assert_eq!(wait(Kind::Channel, "b", Some(3)), None);
        assert_eq!(wait(Kind::Channel, "b", None), Some(4));
        for announcement in [second, third, fourth] {
            announced.withdraw(&announcement);
        }
        assert!(announced.is_empty());
        (0..4).for_each(|_| announced.wait_no_more());
        let last = announced.announce(Kind::Channel, vec![name("a")]);
        assert!(!announced.withdraw(&last), "nobody waits");
    }
}
