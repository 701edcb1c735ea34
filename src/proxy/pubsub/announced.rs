//! `Announced`: what clients of ours have asked to subscribe to and no node has confirmed, over all workers; and that
//! publishers wait for it. On one server a subscription counts from the moment its request is read: a message that is
//! published after that comes to it.
//!
//! A PUBLISH waits for matching subscriptions that were announced before it, and for none that came later, so that
//! nobody can keep it waiting by subscribing on and on; and for [`WAIT_MAX`] at most.
//!
//! While nothing is announced, a PUBLISH looks at one counter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::kind::Kind;
use crate::clock::Time;
use crate::command::{Command, Resolved};
use crate::proxy::Proxy;
use crate::proxy::client::{ClientId, Pause};
use crate::proxy::path::dispatch::{Step, request_limits};
use crate::proxy::workers::messages::Letter;
use crate::resp::args::Args;
use crate::resp::frame::{RequestScanner, Scan};
use crate::resp::glob::{self, Case};

/// How long a PUBLISH waits at most.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// SUBSCRIBEs of one client that are announced before they are executed.
const EARLY_MAX: usize = 64;

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
    after: u64,
    /// When it waits no more.
    until: Time,
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
    fn wait<'a>(
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
    fn wait_no_more(&self) {
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

impl Proxy {
    /// Whether a client that publishes to these channels has to wait; it is resumed then.
    pub(in crate::proxy) fn awaits_subscribers<'a>(
        &mut self,
        id: ClientId,
        channels: impl Iterator<Item = (Kind, &'a [u8])>,
        now: Time,
    ) -> bool {
        let announced = &self.process.announced;
        let known = self.pubsub.publishers.get(&id).copied();
        let late = known.is_some_and(|known| now >= known.until);
        let after = known.map(|known| known.after);
        let wait = announced.wait(channels, after).filter(|_| !late);
        match (wait, known) {
            (None, None) => false,
            (None, Some(_)) => {
                self.publisher_goes_on(id);
                false
            }
            (Some(_), Some(_)) => true,
            (Some(after), None) => {
                let until = now.after(WAIT_MAX);
                self.pubsub
                    .publishers
                    .insert(id, Publisher { after, until });
                self.pubsub.look_at(until);
                true
            }
        }
    }

    /// A publisher waits no more, if it did.
    fn publisher_goes_on(&mut self, id: ClientId) {
        if self.pubsub.publishers.remove(&id).is_some() {
            self.process.announced.wait_no_more();
        }
    }

    /// A subscription is confirmed or given up: publishers of all workers look again.
    pub(super) fn withdraw(&mut self, announcement: &Announcement) {
        if self.process.announced.withdraw(announcement) {
            self.wake_publishers();
            for worker in 0..self.process.workers.len() {
                if worker != self.worker {
                    self.actions.letter(worker, Letter::SubscribersSettled);
                }
            }
        }
    }

    /// Publishers look again whether they have to wait.
    pub(in crate::proxy) fn wake_publishers(&mut self) {
        let all: Vec<ClientId> = self.pubsub.publishers.keys().copied().collect();
        for id in all {
            let client = self.clients.get(id);
            if client.is_some_and(|client| client.pause == Some(Pause::Subscribers)) {
                self.queue_resume(id);
            }
        }
    }

    /// Those who have waited long enough go on; returns when the next has.
    pub(super) fn tend_publishers(&mut self, now: Time) -> Option<Time> {
        let untils = || self.pubsub.publishers.values().map(|own| own.until);
        if untils().any(|until| now >= until) {
            self.wake_publishers();
        }
        let untils = self.pubsub.publishers.values().map(|own| own.until);
        untils.filter(|until| now < *until).min()
    }

    /// Looks whether a client publishes something for which it has to wait: for subscriptions on their way, or, if it
    /// hears itself, for the replies before it, among which the message has its place. `alone`: there are none.
    pub(in crate::proxy) fn look_at_subscribers(
        &mut self,
        id: ClientId,
        command: &Command,
        args: &Args<'_>,
        alone: bool,
        now: Time,
    ) -> Option<Step> {
        let awaits = self.are_subscribers_awaited();
        let own = self.clients.get(id)?.session.subscriptions();
        if !awaits && own.is_none() {
            return None;
        }
        let kind = Kind::published_by(&command.name)?;
        let channel = args.at(1);
        if !alone && own.is_some_and(|own| own.hears(kind, channel)) {
            return Some(Step::Wait(Pause::Barrier));
        }
        let waits = awaits && self.awaits_subscribers(id, [(kind, channel)].into_iter(), now);
        waits.then_some(Step::Wait(Pause::Subscribers))
    }

    /// Whether anybody may have to wait for subscriptions on their way.
    pub(in crate::proxy) fn are_subscribers_awaited(&self) -> bool {
        !self.process.announced.is_empty() || !self.pubsub.publishers.is_empty()
    }

    /// A client waits for the reply to a SUBSCRIBE, or with one for the replies before it: that, if it is the first of
    /// these bytes, and the SUBSCRIBEs that follow it have been read.
    pub(in crate::proxy) fn announce(&mut self, id: ClientId, bytes: &[u8]) {
        let mut rest = bytes;
        for index in 0..EARLY_MAX {
            let (mut spans, limits) = (Vec::new(), request_limits(&self.config.limits, true));
            let scan = RequestScanner::default().next(rest, &limits, &mut spans);
            let Ok(Scan::Frame(len)) = scan else {
                return;
            };
            let args = Args::new(&rest[..len], &spans);
            let command = match self.table.resolve(&args) {
                Resolved::Command(command) if command.arity_ok(args.len()) => command,
                _ => return,
            };
            let Some(kind) = Kind::subscribed_by(&command.name) else {
                return;
            };
            let early = self.pubsub.early.entry(id).or_default();
            if early.len() <= index {
                let names = args.from(1).map(Arc::from).collect();
                early.push_back(self.process.announced.announce(kind, names));
            }
            rest = &rest[len..];
        }
    }

    /// Whether a client has announced what it has not come to yet.
    pub(in crate::proxy) fn is_announced(&self, id: ClientId) -> bool {
        !self.pubsub.early.is_empty() && self.pubsub.early.contains_key(&id)
    }

    /// A client's SUBSCRIBE is executed now: what was announced of it before.
    pub(super) fn take_early(&mut self, id: ClientId) -> Option<Announcement> {
        if self.pubsub.early.is_empty() {
            return None;
        }
        let early = self.pubsub.early.get_mut(&id)?;
        let first = early.pop_front();
        if early.is_empty() {
            self.pubsub.early.remove(&id);
        }
        first
    }

    /// A client's SUBSCRIBE is not executed, or there is nothing to wait for.
    pub(super) fn withdraw_early(&mut self, id: ClientId) {
        if let Some(announcement) = self.take_early(id) {
            self.withdraw(&announcement);
        }
    }

    /// A client has gone: nothing of it is on its way, and it waits for nothing.
    pub(in crate::proxy) fn forget_announced(&mut self, id: ClientId) {
        while let Some(announcement) = self.take_early(id) {
            self.withdraw(&announcement);
        }
        self.publisher_goes_on(id);
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
