//! `Upstream`: all nodes, routes and backends of one worker: which connection a request goes to.
//!
//! It must never know what a client is, beyond the number that its affinity is made of: one client's
//! requests to one node always take the same connection, so that they stay in order (rule R3).

pub mod accounts;
pub mod backend;
pub mod credit;
pub mod dialect;
pub mod exclusive;
pub(super) mod fail_fast;
pub mod goal;
pub(super) mod large_reply;
pub mod lost;
pub mod node;
pub mod node_reply;
pub mod overdue;
mod read_preference;
pub mod refused_request;
pub mod routes;
pub(super) mod write_times;

use std::borrow::Cow;

use slab::Slab;

use crate::arena::Arena;
use crate::buffer::Pool;
use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::config::{Config, ReadPreference};
use crate::proxy::actions::Actions;
use crate::proxy::ids::{BackendId, NodeKey, OfBackend};
use crate::proxy::stats::Counter;
use crate::proxy::texts::refusal::{self, SLOT_NOT_SERVED};
use crate::proxy::upstream::accounts::Accounts;
use crate::proxy::upstream::backend::{Backend, Flavor, Origin, State, Ticket, Usage};
use crate::proxy::upstream::dialect::Dialect;
use crate::proxy::upstream::fail_fast::FailFast;
use crate::proxy::upstream::node::Node;
use crate::proxy::upstream::routes::everyone::Successor;
use crate::proxy::upstream::routes::{Routes, ShardId};
use crate::resp::encode::Protocol;

/// Nodes, routes and backends.
#[derive(Debug, Default)]
pub struct Upstream {
    /// All nodes that are listed, or that we still have connections to.
    pub nodes: Slab<Node>,
    /// Which of them serves a slot.
    pub routes: Routes,
    /// All connections.
    pub backends: Arena<Backend, OfBackend>,
    /// The users of the servers that clients have logged in as.
    pub accounts: Accounts,
    /// Replies that nodes owe us, over all connections.
    pub in_flight: usize,
    /// Connections that are set aside (see `overdue`).
    pub aside: usize,
    /// Connections that are not read for now: those whose large reply is paused, and perhaps some that are gone.
    pub paused: Vec<BackendId>,
    /// Reads for replicas that went to a master, since the worker last looked.
    pub fallbacks: Counter,
    /// Scopes whose requests have waited in vain.
    failing: FailFast,
    /// Those where transactions and blocking commands have, which need connections of their own: the node may serve
    /// the others, and take no more connections.
    failing_exclusive: FailFast,
}

/// Where a request is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The node.
    pub node: NodeKey,
    /// Whether it is a replica, which needs a connection that said READONLY.
    pub replica: bool,
}

impl Upstream {
    /// A node by its key.
    pub fn node(&self, key: NodeKey) -> Option<&Node> {
        self.nodes.get(key.0 as usize)
    }

    /// A node by its key.
    pub fn node_mut(&mut self, key: NodeKey) -> Option<&mut Node> {
        self.nodes.get_mut(key.0 as usize)
    }

    /// A master for a request without keys: the same for one client while nothing changes, and one that is
    /// up if any is.
    pub fn any_master(&self, affinity: usize) -> Option<Target> {
        let shards = self.routes.shards();
        let at = |offset: usize| shards[(affinity + offset) % shards.len()].master;
        let up = |key: &NodeKey| self.node(*key).is_some_and(|node| !node.is_failing());
        (0..shards.len())
            .map(at)
            .find(up)
            .or_else(|| (!shards.is_empty()).then(|| at(0)))
            .map(|node| Target {
                node,
                replica: false,
            })
    }

    /// The master of a shard, if it has one.
    pub fn shard_master(&self, id: ShardId) -> Option<Target> {
        match self.routes.master_of_shard(id) {
            Successor::Master(node) => Some(Target {
                node,
                replica: false,
            }),
            Successor::Nobody | Successor::Heir(_) | Successor::Gone => None,
        }
    }

    /// The shared connection for a request for `slot`, if there is one, and whether it is to a replica.
    #[inline(never)]
    pub fn existing(
        &self,
        slot: Slot,
        read: bool,
        dialect: Dialect,
        affinity: usize,
        config: &Config,
        now: Time,
    ) -> Option<(BackendId, bool)> {
        let target = self.target(slot, read, config.read_preference, affinity, now)?;
        let flavor = Flavor::of(dialect, target.replica);
        let affinity = affinity % config.backend_connections.max(1);
        let shared = self.node(target.node)?.shared(flavor, affinity)?;
        Some((shared, target.replica))
    }

    /// As `existing`, of the usual dialect, and quick for who asks again.
    #[inline]
    pub fn at_hand(
        &mut self,
        slot: Slot,
        read: bool,
        protocol: Protocol,
        affinity: usize,
        config: &Config,
        now: Time,
    ) -> Option<(BackendId, bool)> {
        let direct = self.routes.direct(slot, protocol);
        if self.backends.get(direct).is_some() {
            return Some((direct, false));
        }
        let dialect = Dialect::plain(protocol);
        let found = self.existing(slot, read, dialect, affinity, config, now)?;
        if config.backend_connections == 1 && config.read_preference == ReadPreference::Master {
            self.routes.found(slot, protocol, found.0);
        }
        Some(found)
    }

    /// The shared connection to a node, made if there is none. Nothing while the node is not to be tried.
    #[inline]
    pub fn backend(
        &mut self,
        target: Target,
        dialect: Dialect,
        affinity: usize,
        config: &Config,
        actions: &mut Actions,
        now: Time,
    ) -> Option<BackendId> {
        let affinity = affinity % config.backend_connections.max(1);
        self.connection(target, dialect, affinity, config, actions, now)
    }

    /// As `backend`, for what ends a request that keeps a node busy: a connection beside those of all other
    /// requests, which may be waiting for that one.
    pub fn urgent_backend(
        &mut self,
        target: Target,
        dialect: Dialect,
        config: &Config,
        actions: &mut Actions,
        now: Time,
    ) -> Option<BackendId> {
        let beside = config.backend_connections.max(1);
        self.connection(target, dialect, beside, config, actions, now)
    }

    /// What a backend owes next was confirmed by a push. Returns whether that is of this origin.
    pub fn confirmed(&mut self, id: BackendId, origin: Origin, pool: &mut Pool) -> bool {
        let Some(backend) = self.backends.get_mut(id) else {
            return false;
        };
        let front = backend.tickets.front();
        let is_next = front.is_some_and(|ticket| ticket.origin == origin);
        if !is_next || !backend.front_is_sent() {
            return false;
        }
        if let Some(ticket) = backend.tickets.pop_front() {
            backend.output.release(ticket.len as usize, pool);
            self.in_flight -= 1;
        }
        true
    }

    /// A new connection to a node for subscriptions, which it has not got yet. Nothing while the node is not to be tried.
    pub fn subscription_backend(
        &mut self,
        key: NodeKey,
        config: &Config,
        actions: &mut Actions,
        now: Time,
    ) -> Option<BackendId> {
        debug_assert!(self.node(key)?.subscription.is_none());
        let backend = self.open(key, Flavor::OWN, Usage::Shared, config, actions, now)?;
        self.node_mut(key)?.subscription = Some(backend);
        Some(backend)
    }

    /// A new connection to a node that tells of all keys with these prefixes. Nothing while the node is not to be tried.
    pub fn open_feed(
        &mut self,
        key: NodeKey,
        prefixes: Vec<Box<[u8]>>,
        config: &Config,
        actions: &mut Actions,
        now: Time,
    ) -> Option<BackendId> {
        let id = self.open(key, Flavor::OWN, Usage::Shared, config, actions, now)?;
        self.backends.get_mut(id)?.broadcast = Some(prefixes);
        self.node_mut(key)?.bcast.push(id);
        Some(id)
    }

    /// A new connection to a node; nothing while the node is not to be tried.
    pub fn open(
        &mut self,
        key: NodeKey,
        flavor: Flavor,
        usage: Usage,
        config: &Config,
        actions: &mut Actions,
        now: Time,
    ) -> Option<BackendId> {
        let node = self.nodes.get_mut(key.0 as usize)?;
        if !node.may_connect(now) || !self.accounts.may_try(flavor.user, key, now) {
            return None;
        }
        node.connecting += 1;
        let mut backend = Backend::new(key, flavor, now, config);
        backend.usage = usage;
        let id = self.backends.insert(backend);
        actions.connect(id, node.address);
        Some(id)
    }

    #[inline]
    fn connection(
        &mut self,
        target: Target,
        dialect: Dialect,
        index: usize,
        config: &Config,
        actions: &mut Actions,
        now: Time,
    ) -> Option<BackendId> {
        let flavor = Flavor::of(dialect, target.replica);
        let node = self.nodes.get(target.node.0 as usize)?;
        if let Some(backend) = node.shared(flavor, index) {
            return Some(backend);
        }
        self.new_connection(target.node, flavor, index, config, actions, now)
    }

    /// A connection for a place that has none: one that was set aside and answers again, or a new one.
    #[cold]
    fn new_connection(
        &mut self,
        key: NodeKey,
        flavor: Flavor,
        index: usize,
        config: &Config,
        actions: &mut Actions,
        now: Time,
    ) -> Option<BackendId> {
        let may_connect = self.node(key)?.may_connect(now);
        if let Some(own) = self.take_back_one(key, flavor, index, !may_connect) {
            return Some(own);
        }
        let replaces = self.node(key)?.aside_of(flavor, index).next().is_some();
        let mut redirect = None;
        if flavor.tracking && flavor.protocol == Protocol::Resp2 {
            redirect = Some(self.sink(key, flavor, index, config, actions, now)?);
        }
        let backend = self.open(key, flavor, Usage::Shared, config, actions, now)?;
        let own = self.backends.get_mut(backend)?;
        own.is_replacement = replaces;
        own.redirect = redirect;
        self.node_mut(key)?.set_shared(flavor, index, backend);
        Some(backend)
    }

    /// The connection on which a node tells of the keys that are read on RESP2 connections, and its number there; made if
    /// there is none. Nothing until it is ready.
    fn sink(
        &mut self,
        key: NodeKey,
        flavor: Flavor,
        index: usize,
        config: &Config,
        actions: &mut Actions,
        now: Time,
    ) -> Option<(BackendId, i64)> {
        let flavor = Flavor {
            protocol: Protocol::Resp3,
            ..flavor
        };
        let shared = self.node(key)?.shared(flavor, index);
        let id = match shared {
            Some(id) => id,
            None => self.new_connection(key, flavor, index, config, actions, now)?,
        };
        let own = self
            .backends
            .get(id)
            .filter(|own| own.state == State::Ready)?;
        // It does not say its number where our user may not ask for it: then the node refuses to track, and readers hear
        // so behind each reply.
        Some((id, own.number.unwrap_or(-1)))
    }

    /// Queues a request at a backend. Its bytes are copied; the caller may have moved them in instead
    /// (then `frame` is nothing).
    #[inline]
    pub fn send(
        &mut self,
        id: BackendId,
        frame: &[u8],
        ticket: Ticket,
        pool: &mut Pool,
        actions: &mut Actions,
    ) {
        let Some(backend) = self.backends.get_mut(id) else {
            debug_assert!(false, "a request for a backend that has gone");
            return;
        };
        debug_assert!(frame.is_empty() || frame.len() == ticket.len as usize);
        backend.output.push(frame, pool);
        backend.owe(ticket, id, actions);
        self.in_flight += 1;
    }

    /// Whether a request of this scope is to be refused at once, because others have waited in vain.
    #[inline]
    pub fn fails_fast(&mut self, scope: u16, now: Time) -> bool {
        self.failing.refuses(scope, now)
    }

    /// The same of one that needs a connection of its own.
    pub fn fails_fast_exclusive(&mut self, scope: u16, now: Time) -> bool {
        self.failing.refuses(scope, now) || self.failing_exclusive.refuses(scope, now)
    }

    /// Whether requests of any scope are to be refused at once.
    #[inline]
    pub fn any_failing(&self) -> bool {
        !self.failing.is_empty()
    }

    /// Whether any are that need connections of their own.
    pub fn any_failing_exclusive(&self) -> bool {
        !self.failing.is_empty() || !self.failing_exclusive.is_empty()
    }

    /// A request of this scope that was let through does not leave yet: another may, or the same again.
    pub fn let_another_through(&mut self, scope: u16, now: Time) {
        self.failing.let_another_through(scope, now);
    }

    /// Whether requests of this scope have waited in vain, and none has succeeded since.
    #[inline]
    pub fn is_failing(&self, scope: u16) -> bool {
        self.failing.has(scope)
    }

    /// The same of those that need connections of their own.
    pub fn is_failing_exclusive(&self, scope: u16) -> bool {
        self.failing.has(scope) || self.failing_exclusive.has(scope)
    }

    /// A request of this scope has waited in vain.
    pub fn fail_fast(&mut self, scope: u16, now: Time) {
        self.failing.add(scope, now);
    }

    /// One has that needs a connection of its own. If there is a shared connection to its node, that says nothing
    /// of other requests.
    pub fn fail_fast_exclusive(&mut self, scope: u16, now: Time) {
        if self.is_connected(scope) {
            self.failing_exclusive.add(scope, now);
        } else {
            self.failing.add(scope, now);
        }
    }

    /// Whether the master of this slot (any master, if it is none) serves a shared connection.
    fn is_connected(&self, slot: u16) -> bool {
        let masters = match Slot::new(slot) {
            Some(slot) => self.routes.shard(slot).map(std::slice::from_ref),
            None => Some(self.routes.shards()),
        };
        let masters = masters.unwrap_or_default().iter();
        let nodes = masters.filter_map(|shard| self.node(shard.master));
        let mut shared = nodes.flat_map(|node| node.backends());
        shared.any(|id| {
            let backend = self.backends.get(id);
            backend.is_some_and(|own| own.state == State::Ready)
        })
    }

    /// A request of this scope has been answered.
    #[inline]
    pub fn succeeded(&mut self, scope: u16) {
        self.failing.remove(scope);
    }

    /// One has on a connection of its own.
    pub fn succeeded_exclusive(&mut self, scope: u16) {
        self.failing.remove(scope);
        self.failing_exclusive.remove(scope);
    }

    /// What a client hears of a request for this slot (or of none) that has waited in vain: what its node says, if it
    /// says anything.
    pub fn unserved(&self, slot: u16) -> Cow<'static, str> {
        let masters = match Slot::new(slot) {
            Some(slot) => std::slice::from_ref(match self.routes.shard(slot) {
                Some(shard) => shard,
                None => return SLOT_NOT_SERVED.into(),
            }),
            None => self.routes.shards(),
        };
        let texts = masters
            .iter()
            .filter_map(|own| self.unserved_by(own.master));
        let text = texts.map(Cow::Owned).next();
        text.unwrap_or(SLOT_NOT_SERVED.into())
    }

    /// The same of one node; nothing if it says nothing.
    pub fn unserved_by(&self, node: NodeKey) -> Option<String> {
        let node = self.node(node)?;
        let words = node.words.as_deref()?;
        Some(refusal::unavailable(node.address, words))
    }

    /// The routes have changed: every slot deserves another try.
    pub fn forgive(&mut self) {
        self.failing.clear();
        self.failing_exclusive.clear();
    }
}
