//! Exclusive connections: each is lent to one run at a time. A connection that comes back is checked to be clean, or
//! closed.
//!
//! It must never know what a run is for.

use crate::clock::Time;
use crate::proxy::actions::Wanted;
use crate::proxy::ids::{BackendId, ClientId, NO_SLOT, NodeKey};
use crate::proxy::state::Proxy;
use crate::proxy::upstream::Target;
use crate::proxy::upstream::backend::{Flavor, Origin, Patience, State, Ticket, Usage};
use crate::proxy::upstream::exclusive::{Bounds, Waiter};
use crate::proxy::upstream::lost::Lost;
use crate::resp::reply::Reply;

impl Proxy {
    /// A connection to `node` for one run alone, if one is ready and no run has been waiting longer for it; else
    /// the run joins those that wait. Whoever is `served` is known to come first.
    pub(super) fn lend(
        &mut self,
        node: NodeKey,
        (order, waiter): (u64, Waiter),
        served: bool,
        now: Time,
    ) -> Option<BackendId> {
        let exclusive = &mut self.upstream.node_mut(node)?.exclusive;
        let first = served || exclusive.is_next(order, waiter.flavor);
        let idle = first.then(|| exclusive.take(waiter.flavor)).flatten();
        match idle {
            Some(_) => exclusive.leave(order),
            None => exclusive.join(order, waiter),
        }
        self.refill(node, now);
        let id = idle?;
        let backend = self.upstream.backends.get_mut(id)?;
        debug_assert_eq!((backend.usage, backend.state), (Usage::Idle, State::Ready));
        let (client, run) = (waiter.client, waiter.run);
        backend.usage = Usage::Lent { client, run };
        self.stats.leases.add(1);
        Some(id)
    }

    /// What a client asks of connections of its own.
    pub(super) fn flavor_of(&self, client: ClientId) -> Option<Flavor> {
        let dialect = self.clients.get(client)?.session.dialect();
        Some(Flavor {
            // What is read there is said to have changed at once (see `tracking`).
            tracking: false,
            ..Flavor::of(dialect, false)
        })
    }

    /// Whether a connection is still what its client asks for: it may have said HELLO or SELECT meanwhile.
    pub(super) fn suits(&self, backend: BackendId, client: ClientId) -> bool {
        let own = self.upstream.backends.get(backend).map(|own| own.flavor);
        own == self.flavor_of(client)
    }

    /// The share of this worker in what is meant for the process.
    fn bounds(&self) -> Bounds {
        let workers = self.process.workers.len().max(1);
        Bounds {
            least: self.config.backend_init_connections.div_ceil(workers),
            idle: self.config.backend_idle_connections.div_ceil(workers),
        }
    }

    /// Makes the connections to a node that are missing, as far as it may be tried.
    fn refill(&mut self, key: NodeKey, now: Time) {
        let mut bounds = self.bounds();
        let Some(node) = self.upstream.node(key) else {
            return;
        };
        if node.is_failing() {
            // It may be at its limit of clients: it is asked for no more than somebody waits for.
            (bounds.least, bounds.idle) = (0, 0);
        }
        for (flavor, count) in node.exclusive.missing(bounds) {
            self.share_first(key, flavor, now);
            for _ in 0..count {
                let (config, actions) = (&self.config, &mut self.actions);
                let upstream = &mut self.upstream;
                let opened = upstream.open(key, flavor, Usage::Idle, config, actions, now);
                let (Some(_), Some(node)) = (opened, upstream.node_mut(key)) else {
                    break;
                };
                node.exclusive.ordered(flavor);
            }
        }
        if let Some(node) = self.upstream.node(key)
            && node.exclusive.is_wanted()
            && node.exclusive.coming() == 0
        {
            self.leases.probe(node.retry_at(), now);
            self.want_refresh(Wanted::Trouble);
        }
    }

    /// Before a node gives connections to clients for themselves it gives one to all others: blocked clients may hold
    /// all that it has, and what they wait for must reach it.
    fn share_first(&mut self, key: NodeKey, flavor: Flavor, now: Time) {
        let dialect = flavor.dialect();
        let target = Target {
            node: key,
            replica: false,
        };
        let (config, actions) = (&self.config, &mut self.actions);
        let _shared = self
            .upstream
            .backend(target, dialect, 0, config, actions, now);
    }

    /// Looks after the nodes whose exclusive connections have changed, or may be tried again.
    pub(super) fn tend_stocks(&mut self, now: Time) {
        if self.leases.takes_probe(now) {
            let nodes = self.upstream.nodes.iter();
            for (key, node) in nodes {
                if node.exclusive.is_wanted() {
                    self.leases.tend(NodeKey(key as u16));
                }
            }
        }
        for key in self.leases.take_tended() {
            self.tend_stock(key, now);
        }
    }

    fn tend_stock(&mut self, key: NodeKey, now: Time) {
        let Some(node) = self.upstream.node_mut(key) else {
            return;
        };
        // Whoever waits may still be served by those that are on their way.
        let refused = node.exclusive.was_refused() && node.exclusive.coming() == 0;
        if !node.exclusive.is_wanted() {
            return;
        }
        if refused {
            let waiters: Vec<Waiter> = node.exclusive.waiters().map(|(_, waiter)| waiter).collect();
            for waiter in waiters {
                self.node_refuses(waiter.client, waiter.run, now);
            }
        }
        let Some(node) = self.upstream.node(key) else {
            return;
        };
        let leases = &self.leases;
        let served = node.exclusive.served(|order, waiter| {
            let slot = waiter.slot;
            slot.is_none_or(|slot| leases.order.may_go(slot, order, now))
        });
        for waiter in served {
            self.serve_run(waiter.client, waiter.run, now);
        }
        self.refill(key, now);
    }

    /// A second is over: connections that nobody has needed for long are closed.
    pub(super) fn trim_stocks(&mut self, now: Time) {
        let bounds = self.bounds();
        let mut excess = Vec::new();
        let backends = &self.upstream.backends;
        for (key, node) in &mut self.upstream.nodes {
            excess.extend(node.exclusive.turn(bounds));
            if let Some(since) = node.in_doubt_since() {
                let mut own = backends.iter().map(|(_, own)| own);
                if own.any(|own| usize::from(own.node.0) == key && own.has_answered_since(since)) {
                    node.answered();
                }
            }
        }
        for id in excess {
            self.lose_backend(id, Lost::Retired, now);
        }
    }

    /// Takes a connection back. If replies are outstanding its state is not known: it is closed. Else
    /// `cleaner`, if there is one, is sent and has to succeed.
    pub(super) fn give_back(&mut self, id: BackendId, cleaner: &'static [u8], now: Time) {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        debug_assert!(matches!(backend.usage, Usage::Lent { .. }));
        debug_assert_eq!(backend.state, State::Ready);
        backend.usage = Usage::Cleaning;
        backend.patience = Patience::None;
        if !backend.tickets.is_empty() {
            return self.lose_backend(id, Lost::Retired, now);
        }
        if cleaner.is_empty() {
            return self.rest(id, now);
        }
        let ticket = Ticket::here(Origin::Cleaner, NO_SLOT, u16::MAX, cleaner.len(), now);
        let (pool, actions) = (&mut self.pool, &mut self.actions);
        self.upstream.send(id, cleaner, ticket, pool, actions);
    }

    /// Closes a connection that is lent.
    pub(super) fn throw_away(&mut self, id: BackendId, now: Time) {
        if let Some(backend) = self.upstream.backends.get_mut(id) {
            debug_assert!(matches!(backend.usage, Usage::Lent { .. }));
            backend.usage = Usage::Cleaning;
        }
        self.lose_backend(id, Lost::Retired, now);
    }

    /// The reply to a cleaner.
    pub(in crate::proxy) fn cleaned(&mut self, id: BackendId, reply: Reply<'_>, now: Time) {
        if reply.text() == Some(b"OK") {
            self.rest(id, now);
        } else {
            self.lose_backend(id, Lost::Retired, now);
        }
    }

    /// A clean connection is kept for the next run, unless there are enough.
    fn rest(&mut self, id: BackendId, now: Time) {
        let bounds = self.bounds();
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        debug_assert!(backend.tickets.is_empty() && backend.output.is_empty());
        let (key, flavor) = (backend.node, backend.flavor);
        backend.usage = Usage::Idle;
        let Some(node) = self.upstream.node_mut(key) else {
            return;
        };
        let kept = node.exclusive.returned(flavor, id, bounds) && node.listed;
        if node.exclusive.is_wanted() {
            self.leases.tend(key);
        }
        if !kept {
            self.lose_backend(id, Lost::Retired, now);
        }
    }
}
