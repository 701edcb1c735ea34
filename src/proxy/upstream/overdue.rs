//! Connections that are set aside, and when: the state that `connections::overdue` acts upon.

use std::time::Duration;

use crate::clock::Time;
use crate::config::Config;
use crate::proxy::actions::Actions;
use crate::proxy::ids::{BackendId, NodeKey};
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream::backend::{Backend, Flavor, Head, Origin, State, Usage};
use crate::proxy::upstream::lost::Lost;
use crate::proxy::upstream::node::Node;

/// No reply is overdue before this.
pub const OVERDUE_MIN: Duration = Duration::from_millis(100);

/// Every reply is overdue after this, however slow the node's replies usually are: it costs a connection, no more.
const OVERDUE_MAX: Duration = Duration::from_millis(250);

/// A script is overdue after this.
pub(in crate::proxy) const SCRIPT_OVERDUE: Duration = Duration::from_millis(10);

/// So many times as long as 99 in a hundred replies take, a reply is overdue.
const USUAL_TIMES: u32 = 2;

/// Connections to one node that are set aside at once because a reply is late. If there are more, requests wait.
pub const ASIDE_MAX: usize = 4;

/// Connections to one node that are set aside at once if large replies are on their way on the others: such a reply
/// takes as long as its client takes to read it. If there are more, large replies are kept here.
pub const ASIDE_STREAMING_MAX: usize = 64;

/// How long one that has answered all is kept for the next time.
pub(in crate::proxy) const KEPT: Duration = Duration::from_secs(10);

/// How long no replacement is tried after one that failed.
const REPLACE_AGAIN: Duration = Duration::from_secs(1);

/// How often the log tells of a node's overdue replies.
pub(in crate::proxy) const TELL_AGAIN: Duration = Duration::from_secs(10);

/// How long a request may be the oldest at a node.
pub(in crate::proxy) fn overdue_after(node: &Node) -> Duration {
    let usual = Duration::from_micros(node.stats.percentile(99.0));
    (usual * USUAL_TIMES).clamp(OVERDUE_MIN, OVERDUE_MAX)
}

impl Backend {
    /// Notes which request is the oldest. Returns for how long it has been that.
    pub(in crate::proxy) fn note_head(&mut self, now: Time) -> Duration {
        let Some(front) = self.tickets.front() else {
            self.head = None;
            return Duration::ZERO;
        };
        // Nobody's requests look all the same.
        let told_apart = front.origin != Origin::Discard;
        let same = self.head.filter(|head| {
            head.origin == front.origin && (told_apart || self.heard_at <= head.since)
        });
        let head = self.head.insert(same.unwrap_or(Head {
            origin: front.origin,
            since: front.sent_at.max(self.heard_at),
            overdue: false,
        }));
        now.since(head.since)
    }

    /// Whether its oldest request was overdue when last looked at, or brings a large reply for nobody.
    pub(in crate::proxy) fn is_stuck(&self) -> bool {
        let oldest = self.tickets.front().map(|front| front.origin);
        if oldest == Some(Origin::Discard) && self.is_streaming() {
            return true;
        }
        let overdue = self.head.filter(|head| head.overdue);
        overdue.is_some_and(|head| Some(head.origin) == oldest)
    }
}

impl Upstream {
    /// Sets a shared connection aside, if it is one that clients are given and there may be one more. One of
    /// those set aside before takes its place if it answers again. Returns the number of its place, and whether that
    /// is empty now.
    pub(in crate::proxy) fn set_aside(
        &mut self,
        id: BackendId,
        usual: usize,
        now: Time,
    ) -> Option<(usize, bool)> {
        let backend = self.backends.get(id)?;
        let (key, flavor) = (backend.node, backend.flavor);
        let node = self.node(key)?;
        let affinity = node.affinity_of(flavor, id)?;
        let next = self.recovered(key, flavor, affinity);
        let streams = |id| self.backends.get(id).is_some_and(Backend::is_streaming);
        let late = node.aside().iter().filter(|own| !streams(own.backend));
        let full = node.aside().len() >= ASIDE_STREAMING_MAX
            || (!backend.is_streaming() && late.count() >= ASIDE_MAX);
        let full = full && next.is_none();
        if affinity >= usual || full || now < node.replace_at {
            return None;
        }
        self.node_mut(key)?.set_aside(flavor, affinity);
        self.aside += 1;
        if let Some(backend) = self.backends.get_mut(id) {
            backend.is_aside = true;
        }
        if let Some(next) = next {
            self.take_back(next);
        }
        self.routes.forget_found();
        Some((affinity, next.is_none()))
    }

    /// A new connection beside one that is set aside, for what is to leave that one: it is set aside from the start. Nothing if
    /// there may be no more of them, or the node is not to be tried.
    pub(in crate::proxy) fn open_apart(
        &mut self,
        from: BackendId,
        key: NodeKey,
        flavor: Flavor,
        config: &Config,
        actions: &mut Actions,
        now: Time,
    ) -> Option<BackendId> {
        let aside = self.node(key)?.aside();
        let affinity = aside.iter().find(|own| own.backend == from)?.affinity;
        if aside.len() >= ASIDE_STREAMING_MAX {
            return None;
        }
        let id = self.open(key, flavor, Usage::Shared, config, actions, now)?;
        self.backends.get_mut(id)?.is_aside = true;
        self.node_mut(key)?.add_aside(flavor, affinity, id);
        self.aside += 1;
        Some(id)
    }

    /// A connection set aside of this place that answers again; rather one that owes nothing.
    fn recovered(&self, key: NodeKey, flavor: Flavor, affinity: usize) -> Option<BackendId> {
        let all = self.node(key)?.aside_of(flavor, affinity);
        let owed = |id: &BackendId| self.backends.get(*id).map_or(0, |own| own.tickets.len());
        all.filter(|id| self.backends.get(*id).is_some_and(|own| !own.is_stuck()))
            .min_by_key(owed)
    }

    /// A connection that was set aside takes its place again, which is empty.
    pub(in crate::proxy) fn take_back(&mut self, id: BackendId) {
        let Some(backend) = self.backends.get_mut(id) else {
            return;
        };
        debug_assert!(backend.is_aside);
        backend.is_aside = false;
        let key = backend.node;
        self.aside -= 1;
        if let Some(node) = self.node_mut(key) {
            node.take_back(id);
        }
    }

    /// A connection for a place that is empty, of those that were set aside: one that answers again, or any
    /// if there must be one.
    pub(in crate::proxy) fn take_back_one(
        &mut self,
        key: NodeKey,
        flavor: Flavor,
        affinity: usize,
        must: bool,
    ) -> Option<BackendId> {
        let last = self.node(key)?.aside_of(flavor, affinity).last();
        let own = self.recovered(key, flavor, affinity);
        let own = own.or(last.filter(|_| must))?;
        self.take_back(own);
        Some(own)
    }

    /// A connection has been closed that is counted among those set aside if it was set aside.
    pub(in crate::proxy) fn forget_aside(&mut self, backend: &Backend) {
        self.aside -= usize::from(backend.is_aside);
    }

    /// Whether the loss of a connection says nothing against its node, which serves another: it never was more than
    /// a replacement that the node did not let in, or it was set aside and another is in its place.
    pub(in crate::proxy) fn is_excused(
        &self,
        id: BackendId,
        backend: &Backend,
        lost: Lost,
    ) -> bool {
        let (Some(node), flavor) = (self.node(backend.node), backend.flavor) else {
            return false;
        };
        match backend.state {
            State::Connecting | State::Handshaking(_) => {
                let affinity = node.affinity_of(flavor, id);
                // That of the near cache is one beside those of requests.
                let is_near = node.near == Some(id) && lost == Lost::Refused;
                is_near
                    || backend.is_replacement
                        && affinity.is_some_and(|own| node.aside_of(flavor, own).next().is_some())
            }
            State::Ready => {
                let mut all = node.aside().iter();
                let own = all.find(|own| own.backend == id);
                let place = own.and_then(|own| node.shared(flavor, own.affinity));
                let place = place.and_then(|place| self.backends.get(place));
                lost == Lost::TimedOut && place.is_some_and(|own| own.state == State::Ready)
            }
        }
    }

    /// A replacement has been lost that the node did not let in: the one set aside is to do for a while.
    pub(in crate::proxy) fn replacement_failed(
        &mut self,
        backend: &Backend,
        affinity: usize,
        now: Time,
    ) {
        if let Some(node) = self.node_mut(backend.node) {
            node.replace_at = now.after(REPLACE_AGAIN);
        }
        self.take_back_one(backend.node, backend.flavor, affinity, true);
    }
}
