//! Exclusive connections: lent to one run at a time, idle in between. One that comes back is proven clean, or
//! it is closed.
//!
//! It must never know what a run is for.

use crate::clock::Time;
use crate::proxy::NO_SLOT;
use crate::proxy::Proxy;
use crate::proxy::backend::{Backend, BackendId, Flavor, Origin, Patience, State, Usage};
use crate::proxy::client::ClientId;
use crate::proxy::deliver::Lost;
use crate::proxy::node::NodeKey;
use crate::resp::reply::Reply;

const CLIENT_ID: &[u8] = b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n";

impl Proxy {
    /// A connection to `node` for one run alone. Nothing while the node is not to be tried.
    pub(super) fn lend(
        &mut self,
        node: NodeKey,
        client: ClientId,
        run: u16,
        now: Time,
    ) -> Option<BackendId> {
        let flavor = self.flavor_of(client)?;
        let idle = self.upstream.node_mut(node)?.take_idle(flavor);
        let id = match idle {
            Some(id) => id,
            None => {
                let id = self.open_exclusive(node, flavor, now)?;
                self.fill_up(node, flavor, now);
                id
            }
        };
        let backend = self.upstream.backends.get_mut(id)?;
        debug_assert_eq!(backend.usage, Usage::Idle);
        backend.usage = Usage::Lent { client, run };
        self.stats.leases.add(1);
        Some(id)
    }

    /// What a client asks of connections of its own.
    fn flavor_of(&self, client: ClientId) -> Option<Flavor> {
        let dialect = self.clients.get(client)?.session.dialect();
        Some(Flavor {
            protocol: dialect.protocol,
            read_only: false,
            database: dialect.database,
        })
    }

    /// Whether a connection is still what its client asks for: it may have said HELLO or SELECT meanwhile.
    pub(super) fn suits(&self, backend: BackendId, client: ClientId) -> bool {
        let own = self.upstream.backends.get(backend).map(|own| own.flavor);
        own == self.flavor_of(client)
    }

    /// The share of this worker in a number that is meant for the process.
    fn share(&self, whole: usize) -> usize {
        whole.div_ceil(self.process.workers.len().max(1))
    }

    /// Where there is one exclusive connection there are soon others: as many as the config says are made
    /// ready with it.
    fn fill_up(&mut self, node: NodeKey, flavor: Flavor, now: Time) {
        let wanted = self.share(self.config.backend_init_connections);
        while let Some(own) = self.upstream.node(node)
            && own.exclusive < wanted
        {
            let Some(id) = self.open_exclusive(node, flavor, now) else {
                return;
            };
            if let Some(own) = self.upstream.node_mut(node) {
                own.idle.push((flavor, id));
            }
        }
    }

    fn open_exclusive(&mut self, node: NodeKey, flavor: Flavor, now: Time) -> Option<BackendId> {
        let own = self.upstream.node_mut(node)?;
        if !own.may_connect(now) {
            return None;
        }
        own.exclusive += 1;
        let address = own.address;
        let mut backend = Backend::new(node, flavor, now, &self.config);
        backend.usage = Usage::Idle;
        let id = self.upstream.backends.insert(backend);
        self.actions.connect(id, address);
        // By this number another connection can end what this one waits for.
        let ticket = self.ticket(NO_SLOT, CLIENT_ID.len(), u16::MAX, Origin::Number, now);
        let (pool, actions) = (&mut self.pool, &mut self.actions);
        self.upstream.send(id, CLIENT_ID, ticket, pool, actions);
        Some(id)
    }

    /// Takes a connection back. If replies are outstanding its state is not known: it is closed. Else
    /// `cleaner`, if there is one, is sent and has to succeed.
    pub(super) fn give_back(&mut self, id: BackendId, cleaner: &'static [u8], now: Time) {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        debug_assert!(matches!(backend.usage, Usage::Lent { .. }));
        backend.usage = Usage::Cleaning;
        backend.patience = Patience::None;
        if backend.state != State::Ready || !backend.tickets.is_empty() {
            return self.lose_backend(id, Lost::Retired, now);
        }
        if cleaner.is_empty() {
            return self.rest(id, now);
        }
        let ticket = self.ticket(NO_SLOT, cleaner.len(), u16::MAX, Origin::Cleaner, now);
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
        let kept = self.share(self.config.backend_idle_connections);
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        debug_assert!(backend.tickets.is_empty() && backend.output.is_empty());
        let (node, flavor) = (backend.node, backend.flavor);
        backend.usage = Usage::Idle;
        match self.upstream.node_mut(node) {
            Some(node) if node.listed && node.idle.len() < kept => node.idle.push((flavor, id)),
            _ => self.lose_backend(id, Lost::Retired, now),
        }
    }
}
