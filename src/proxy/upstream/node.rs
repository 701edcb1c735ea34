//! `Node`: one server of the cluster and our connections to it; when it may be tried again.
//!
//! It must never know which slots it serves.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::proxy::ids::BackendId;
use crate::proxy::stats::node_stats::NodeStats;
use crate::proxy::upstream::backend::Flavor;
use crate::proxy::upstream::exclusive::ExclusiveConnections;

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The longest wait while a node has not failed for [`SHORT`] yet: what is over soon (a restart, a password that is
/// changed here and there one after the other) must not be waited for once more as long.
const BACKOFF_SHORT: Duration = Duration::from_millis(200);
const SHORT: Duration = Duration::from_secs(3);
/// So many connections in a row are of no use before an answered handshake alone is taken for success no more.
const UNANSWERED_MAX: u32 = 3;
/// The most new connections that may be under way at once.
const TRUST_MAX: usize = 1024;

/// The shortest and the longest wait after a node has refused our handshake. It has seen our password; whoever it
/// is, it is not offered it all the time.
const REFUSED_MIN: Duration = Duration::from_secs(1);
const REFUSED_MAX: Duration = Duration::from_secs(30);

/// A shared connection that is set aside, and the place that it had among those of its flavour.
#[derive(Debug, Clone, Copy)]
pub struct Aside {
    /// Its name.
    pub backend: BackendId,
    /// What it speaks.
    pub flavor: Flavor,
    /// Whose it was.
    pub affinity: usize,
}
/// How long a failure is shown as the node's state when nobody tries again. Longer than any wait between attempts.
const FAILURE_SHOWN: Duration = Duration::from_secs(60);

/// One server.
#[derive(Debug)]
pub struct Node {
    /// Where it is reached.
    pub address: SocketAddr,
    /// Whether the last topology has it.
    pub listed: bool,
    /// Whether it is in our own data centre.
    pub same_idc: bool,
    /// The shared connections, by flavour and affinity; those never needed do not exist.
    shared: [Vec<Option<BackendId>>; Flavor::COUNT],
    /// The connection for subscriptions.
    pub subscription: Option<BackendId>,
    /// The connections that tell of keys with certain prefixes (see `tracking::bcast`).
    pub bcast: Vec<BackendId>,
    /// The tracking connection of the near cache.
    pub near: Option<BackendId>,
    /// The exclusive connections.
    pub exclusive: ExclusiveConnections,
    /// Those of other flavours than the common ones.
    elsewhere: HashMap<(Flavor, usize), BackendId>,
    /// Connections that failed in a row.
    failures: u32,
    /// When the last of them did.
    failed_at: Time,
    /// Which of the passwords it is greeted with: the one that it took last.
    pub password: usize,
    /// Passwords that it refused in a row.
    refusals: u32,
    /// When the first of them did.
    failing_since: Time,
    /// No new connection before this.
    retry_at: Time,
    /// The shared connections that are set aside (see `overdue`), oldest first.
    aside: Vec<Aside>,
    /// None is set aside before this.
    pub replace_at: Time,
    /// Whether the log has told of overdue replies and not of their end.
    pub tells: bool,
    /// When it last did.
    pub told_at: Option<Time>,
    /// Connections whose handshake is not answered yet.
    pub connecting: usize,
    /// How many of those there may be: one when the last attempt failed, and twice as many with each success.
    trust: usize,
    /// New connections in a row that closed, or broke the protocol, before they answered a request; their handshake they did.
    unanswered: u32,
    /// When the last of them was lost.
    unanswered_at: Time,
    /// What it says instead of serving new connections; none if the last attempt succeeded, or met with silence.
    pub words: Option<Box<str>>,
    /// What is counted of it.
    pub stats: Arc<NodeStats>,
}

impl Node {
    /// A node that nothing is known of.
    pub fn new(address: SocketAddr) -> Node {
        Node::counted(address, None)
    }

    /// A node of which something may have been counted before.
    pub fn counted(address: SocketAddr, stats: Option<Arc<NodeStats>>) -> Node {
        let stats = stats.unwrap_or_default();
        stats.failing.set(0);
        Node {
            address,
            listed: false,
            same_idc: false,
            shared: Default::default(),
            subscription: None,
            bcast: Vec::new(),
            near: None,
            exclusive: ExclusiveConnections::default(),
            elsewhere: HashMap::new(),
            failures: 0,
            password: 0,
            refusals: 0,
            failing_since: Time::default(),
            retry_at: Time::default(),
            aside: Vec::new(),
            replace_at: Time::default(),
            tells: false,
            told_at: None,
            failed_at: Time::default(),
            connecting: 0,
            trust: TRUST_MAX,
            unanswered: 0,
            unanswered_at: Time::default(),
            words: None,
            stats,
        }
    }

    /// The shared connection of this flavour and affinity, if there is one.
    #[inline]
    pub fn shared(&self, flavor: Flavor, affinity: usize) -> Option<BackendId> {
        if !flavor.is_common() {
            return self.elsewhere.get(&(flavor, affinity)).copied();
        }
        self.shared[flavor.index()].get(affinity).copied().flatten()
    }

    /// Sets the shared connection of this flavour and affinity.
    pub fn set_shared(&mut self, flavor: Flavor, affinity: usize, backend: BackendId) {
        if !flavor.is_common() {
            let before = self.elsewhere.insert((flavor, affinity), backend);
            debug_assert!(before.is_none());
            return;
        }
        let shared = &mut self.shared[flavor.index()];
        if shared.len() <= affinity {
            shared.resize(affinity + 1, None);
        }
        debug_assert!(shared[affinity].is_none());
        shared[affinity] = Some(backend);
    }

    /// Forgets a shared connection that has been closed.
    pub fn forget(&mut self, backend: BackendId) {
        for slot in self.shared.iter_mut().flatten() {
            if *slot == Some(backend) {
                *slot = None;
            }
        }
        self.subscription = self.subscription.filter(|own| *own != backend);
        self.bcast.retain(|own| *own != backend);
        self.near = self.near.filter(|own| *own != backend);
        self.elsewhere.retain(|_, other| *other != backend);
        self.aside.retain(|own| own.backend != backend);
    }

    /// The affinity of the clients that are given this shared connection, if any are.
    pub fn affinity_of(&self, flavor: Flavor, backend: BackendId) -> Option<usize> {
        if !flavor.is_common() {
            let mut all = self.elsewhere.iter();
            return all.find_map(|((_, affinity), own)| (*own == backend).then_some(*affinity));
        }
        let mut all = self.shared[flavor.index()].iter();
        all.position(|own| *own == Some(backend))
    }

    /// The shared connections that are set aside, oldest first.
    pub fn aside(&self) -> &[Aside] {
        &self.aside
    }

    /// Those of this flavour and affinity.
    pub fn aside_of(&self, flavor: Flavor, affinity: usize) -> impl Iterator<Item = BackendId> {
        let own = move |own: &&Aside| own.flavor == flavor && own.affinity == affinity;
        self.aside.iter().filter(own).map(|own| own.backend)
    }

    /// Sets the shared connection of this flavour and affinity aside: another may be set.
    pub fn set_aside(&mut self, flavor: Flavor, affinity: usize) {
        let backend = if !flavor.is_common() {
            self.elsewhere.remove(&(flavor, affinity))
        } else {
            let place = self.shared[flavor.index()].get_mut(affinity);
            place.and_then(Option::take)
        };
        debug_assert!(backend.is_some());
        if let Some(backend) = backend {
            self.add_aside(flavor, affinity, backend);
        }
    }

    /// Another shared connection of this flavour and affinity that is set aside.
    pub fn add_aside(&mut self, flavor: Flavor, affinity: usize, backend: BackendId) {
        self.aside.push(Aside {
            backend,
            flavor,
            affinity,
        });
    }

    /// A connection that was set aside is the shared one of its place again, which has no other.
    pub fn take_back(&mut self, backend: BackendId) {
        if let Some(at) = self.aside.iter().position(|own| own.backend == backend) {
            let own = self.aside.remove(at);
            self.set_shared(own.flavor, own.affinity, backend);
        }
    }

    /// Whether a shared connection is one beside the `usual` ones of its flavour.
    pub fn is_beside(&self, backend: BackendId, usual: usize) -> bool {
        let usual = usual.max(1);
        let first = self.shared.iter().flat_map(|own| own.iter().skip(usual));
        let elsewhere = self.elsewhere.iter();
        let elsewhere = elsewhere.filter(|((_, affinity), _)| *affinity >= usual);
        first.flatten().any(|own| *own == backend)
            || self.aside.iter().any(|own| own.backend == backend)
            || elsewhere.map(|(_, own)| own).any(|own| *own == backend)
    }

    /// All shared connections.
    pub fn backends(&self) -> impl Iterator<Item = BackendId> {
        let first = self.shared.iter().flatten().filter_map(|slot| *slot);
        let elsewhere = self.elsewhere.values().copied();
        let aside = self.aside.iter().map(|own| own.backend);
        let bcast = self.bcast.iter().copied();
        let own = first.chain(elsewhere).chain(aside);
        own.chain(self.subscription).chain(self.near).chain(bcast)
    }

    /// Whether there is any connection to it, shared or lent.
    pub fn is_connected(&self) -> bool {
        !self.exclusive.is_empty() || self.backends().next().is_some()
    }

    /// Whether a new connection may be tried.
    pub fn may_connect(&self, now: Time) -> bool {
        now >= self.retry_at && self.connecting < self.trust
    }

    /// When a new connection may be tried.
    pub fn retry_at(&self) -> Time {
        self.retry_at
    }

    /// Whether the last attempt to reach it failed.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// What was found out long ago is no news: nobody has tried since.
    pub fn forget_old_failure(&self, now: Time) {
        if now.since(self.failed_at) > FAILURE_SHOWN {
            self.stats.failing.set(0);
        }
    }

    /// A handshake is answered: a connection is ready for requests. Returns whether the node is known to be back by it.
    pub fn greeted(&mut self) -> bool {
        if self.unanswered >= UNANSWERED_MAX {
            return false;
        }
        let back = self.is_failing();
        self.succeeded();
        back
    }

    /// A connection whose handshake was answered was of no use. One that broke the protocol once is replaced at once.
    pub fn note_unanswered(&mut self, broke: bool, now: Time, jitter: u64) {
        if !broke || self.unanswered > 0 {
            self.failed(now, jitter);
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.unanswered_at = now;
    }

    /// Since when an answer to a request shows that its connections are of use, if that is in doubt.
    pub fn in_doubt_since(&self) -> Option<Time> {
        (self.unanswered > 0).then_some(self.unanswered_at)
    }

    /// It has answered a request.
    pub fn answered(&mut self) {
        if self.unanswered > 0 {
            self.unanswered = 0;
            self.succeeded();
        }
    }

    /// New connections may be made at once.
    fn succeeded(&mut self) {
        self.failures = 0;
        self.refusals = 0;
        self.stats.failing.set(0);
        self.retry_at = Time::default();
        self.trust = (self.trust * 2).min(TRUST_MAX);
        self.words = None;
    }

    /// The passwords are others now: it may be tried at once.
    pub fn forgive(&mut self) {
        (self.password, self.refusals) = (0, 0);
        self.retry_at = Time::default();
    }

    /// It refused our handshake, with this one of so many passwords. Another is tried soon; when it has refused
    /// all of them, the wait doubles from a second to half a minute.
    pub fn refused(&mut self, password: usize, passwords: usize, now: Time, jitter: u64) {
        // Of several connections that were made at once one counts.
        let is_late = self.refusals > 0 && now < self.retry_at;
        if password != self.password || is_late {
            return;
        }
        self.failed(now, jitter);
        let passwords = passwords.max(1);
        self.refusals = self.refusals.saturating_add(1);
        self.password = (password + 1) % passwords;
        let rounds = self.refusals / passwords as u32;
        if rounds > 0 && self.password == 0 {
            let wait = REFUSED_MIN * (1 << (rounds - 1).min(6));
            self.retry_at = now.after(wait.min(REFUSED_MAX));
        }
    }

    /// A connection could not be made, or was lost before it was ready. The wait doubles with each failure
    /// in a row, to a fifth of a second at first and to a second later; `jitter` (any number) spreads it over its
    /// upper quarter.
    pub fn failed(&mut self, now: Time, jitter: u64) {
        self.failed_for(now, jitter, BACKOFF_MAX);
    }

    /// The same, of a node that says that it will serve soon: the wait does not grow as long.
    pub fn failed_for_now(&mut self, now: Time, jitter: u64) {
        self.failed_for(now, jitter, BACKOFF_SHORT);
    }

    fn failed_for(&mut self, now: Time, jitter: u64, longest: Duration) {
        self.trust = 1;
        if now < self.retry_at {
            // It was begun together with one that has failed already: that says nothing new.
            return;
        }
        if self.failures == 0 {
            self.failing_since = now;
        }
        let most = if now.since(self.failing_since) < SHORT {
            BACKOFF_SHORT
        } else {
            longest
        };
        let wait = (BACKOFF_MIN * (1 << self.failures.min(6))).min(most);
        let spread = Duration::from_micros(jitter % (wait.as_micros() as u64 / 4 + 1));
        self.failures = self.failures.saturating_add(1);
        self.failed_at = now;
        self.stats.failing.set(1);
        self.retry_at = now.after(wait - spread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node::new(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    #[test]
    fn the_wait_between_attempts_grows_to_a_second_and_ends_with_success() {
        let (mut node, mut now) = (node(), Time::from_micros(1_000_000));
        let mut waits = Vec::new();
        for _ in 0..22 {
            assert!(node.may_connect(now));
            node.failed(now, 0);
            waits.push(node.retry_at().since(now).as_millis());
            now = node.retry_at();
        }
        assert_eq!(waits[..4], [50, 100, 200, 200]);
        assert_eq!(waits[16..], [200, 1000, 1000, 1000, 1000, 1000]);
        node.failed(now, u64::MAX);
        assert!(node.retry_at().since(now) >= Duration::from_millis(750));
        // Others that were begun before change nothing.
        let before = node.retry_at();
        node.failed(now, 0);
        assert_eq!(node.retry_at(), before);
        node.succeeded();
        assert!(node.may_connect(now) && !node.is_failing());
        node.failed(now, 0);
        assert_eq!(node.retry_at().since(now).as_millis(), 50);
    }

    #[test]
    fn a_node_that_does_not_answer_at_all_is_tried_less_often_as_soon() {
        let (mut node, mut now) = (node(), Time::from_micros(1_000_000));
        let connect_timeout = Duration::from_secs(1);
        let mut waits = Vec::new();
        for _ in 0..6 {
            now = now.after(connect_timeout);
            node.failed(now, 0);
            waits.push(node.retry_at().since(now).as_millis());
            now = node.retry_at();
        }
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000]);
    }

    #[test]
    fn after_a_failure_one_connection_is_tried_at_a_time_and_then_more() {
        let (mut node, now) = (node(), Time::from_micros(1_000_000));
        let begin_all = |node: &mut Node, now: Time| {
            let before = node.connecting;
            while node.may_connect(now) && node.connecting < 10_000 {
                node.connecting += 1;
            }
            node.connecting - before
        };
        assert_eq!(begin_all(&mut node, now), TRUST_MAX);
        for _ in 0..TRUST_MAX {
            node.connecting -= 1;
            node.failed(now, 0);
        }
        assert_eq!(node.retry_at().since(now).as_millis(), 50);
        assert_eq!(begin_all(&mut node, now), 0);
        let now = node.retry_at();
        assert_eq!(begin_all(&mut node, now), 1);
        for more in [2, 3, 5, 9] {
            node.connecting -= 1;
            node.succeeded();
            assert_eq!(begin_all(&mut node, now), more);
        }
    }

    #[test]
    fn a_node_that_refuses_our_passwords_is_offered_them_less_and_less() {
        for (passwords, expected) in [
            (1, &[1000, 2000, 4000, 8000, 16000, 30000, 30000][..]),
            (2, &[50, 1000, 200, 2000, 800, 4000, 1000, 8000]),
        ] {
            let (mut node, mut now) = (node(), Time::from_micros(1_000_000));
            let mut waits = Vec::new();
            for _ in expected {
                // Two connections are refused at the same time: that is one refusal.
                let tried = node.password;
                node.refused(tried, passwords, now, 0);
                let waited = node.retry_at();
                node.refused(tried, passwords, now, 0);
                assert_eq!(node.retry_at(), waited);
                waits.push(waited.since(now).as_millis() as u64);
                now = node.retry_at();
            }
            assert_eq!(waits, expected, "{passwords}");
            node.forgive();
            assert!(node.may_connect(now));
            assert_eq!(node.password, 0);
        }
    }

    /// A changed password, a restart: once at most 1.6 s of it were followed by 0.8 s more.
    #[test]
    fn the_end_of_a_short_outage_is_noticed_soon() {
        let begin = Time::from_micros(1_000_000);
        for outage in (0..3000).step_by(10).map(Duration::from_millis) {
            let (mut node, mut now) = (node(), begin);
            let end = begin.after(outage);
            while now < end {
                node.failed(now, 0);
                now = node.retry_at();
            }
            let late = now.since(end);
            assert!(late <= BACKOFF_SHORT, "{outage:?}: {late:?}");
        }
    }
}
