//! Connections that are *set aside*: the oldest request of a shared connection is overdue (a long script, a large
//! reply), and all that came behind it would wait with it. Clients that have something outstanding there stay, so
//! that what they ask of that node is executed in order (rule R3); all others take another connection, the
//! *replacement*.
//!
//! - A connection is set aside when its oldest request has been that for [`OVERDUE_MIN`] and for a small multiple of
//!   what the node's replies usually take, or at once when a large reply begins. A sweep looks for it, so that the
//!   data path pays nothing.
//! - Where a connection carries a script that is so after [`SCRIPT_OVERDUE`]: nobody knows how long it will take, and
//!   what has been written behind it cannot be moved.
//! - A client with requests on such a connection is *unsettled* (`Client::is_calm`), so that its next requests take
//!   the general path, and ask here where they stand.
//! - A replacement proves by its handshake that the node answers before it carries anything. While the node as a whole
//!   is silent it is waited for, as the one set aside is (rule L8). If the node does not let it in, the one set
//!   aside takes its place again: nothing is lost but what was hoped for.
//! - Once the replacement shows that the node answers, reads that are stuck on the connection set aside are
//!   sent again by it, if their clients have nothing but reads there: a read may run twice.
//! - A connection set aside that has answered all serves as the next replacement, or is closed after a time.
//!
//! It must never know what a request asks for, nor why a node takes long.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use crate::clock::Time;
use crate::command::Runs;
use crate::proxy::client::held::Retry;
use crate::proxy::ids::{BackendId, ClientId, NodeKey, PartId};
use crate::proxy::state::Proxy;
use crate::proxy::upstream::Target;
use crate::proxy::upstream::backend::{Backend, Flavor, Origin, State, Ticket, Usage};
use crate::proxy::upstream::dialect::Dialect;
use crate::proxy::upstream::goal::goal_of;
use crate::proxy::upstream::lost::Lost;
use crate::proxy::upstream::overdue::{
    KEPT, OVERDUE_MIN, SCRIPT_OVERDUE, TELL_AGAIN, overdue_after,
};

impl Proxy {
    /// The shared connection to a node for a client's next request, made if there is none: the one on which
    /// requests of this client are outstanding, if there is such a one. Nothing while the node is not to be tried.
    #[inline]
    pub(in crate::proxy) fn shared_for(
        &mut self,
        id: ClientId,
        target: Target,
        dialect: Dialect,
        now: Time,
    ) -> Option<BackendId> {
        if self.upstream.aside > 0
            && let Some(own) = self.stays_at(id, target, dialect)
        {
            return Some(own);
        }
        let affinity = id.key() as usize;
        let (config, actions) = (&self.config, &mut self.actions);
        self.upstream
            .backend(target, dialect, affinity, config, actions, now)
    }

    /// The connection that was set aside and on which a client's next request to a node has to follow others of its.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn stays_at(
        &mut self,
        id: ClientId,
        target: Target,
        dialect: Dialect,
    ) -> Option<BackendId> {
        let client = self.clients.get_mut(id)?;
        client.unsettled_until?;
        let flavor = Flavor::of(dialect, target.replica);
        let affinity = id.key() as usize % self.config.backend_connections.max(1);
        let node = self.upstream.node(target.node)?;
        let mut all = node.aside_of(flavor, affinity);
        let own = all.find(|own| client.pipeline.stands_at(*own))?;
        client.unsettle_next();
        Some(own)
    }

    /// Looks at the oldest request of a connection, and sets the connection aside if that is overdue.
    pub(in crate::proxy) fn watch_head(&mut self, id: BackendId, now: Time) {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        if backend.usage != Usage::Shared || backend.state != State::Ready {
            return;
        }
        backend.credit.settle(now);
        let waited = backend.note_head(now);
        let overdue = backend.is_stuck() || {
            let node = self.upstream.nodes.get(usize::from(backend.node.0));
            waited >= OVERDUE_MIN && node.is_some_and(|node| waited >= overdue_after(node))
        };
        if overdue {
            self.is_overdue(id, now);
        }
    }

    /// A script is about to be sent on a shared connection.
    pub(in crate::proxy) fn script_leaves(&mut self, id: BackendId, now: Time) {
        if let Some(backend) = self.upstream.backends.get_mut(id) {
            backend.script_at = Some(now);
        }
        self.scripts_due
            .get_or_insert_with(|| now.after(SCRIPT_OVERDUE));
    }

    /// Looks at the shared connections that carry scripts, and sets those aside that are held up. However much
    /// a connection carries, only its oldest request is looked at: scripts are on it as long as that was sent no later than
    /// the last of them.
    pub(in crate::proxy) fn watch_scripts(&mut self, now: Time) {
        let mut overdue = Vec::new();
        let mut due: Option<Time> = None;
        for (id, backend) in self.upstream.backends.iter_mut() {
            let Some(last) = backend.script_at else {
                continue;
            };
            let front = backend.tickets.front().filter(|own| own.sent_at <= last);
            if backend.usage != Usage::Shared || front.is_none() {
                backend.script_at = None;
                continue;
            }
            // Whatever it asks for: a node that reads it together with the script behind it keeps its reply until that has run.
            let waited = match backend.state == State::Ready {
                true => backend.note_head(now),
                false => Duration::ZERO,
            };
            if waited >= SCRIPT_OVERDUE {
                // From here on the sweep looks after it.
                overdue.push(id);
            } else {
                let next = now.after(SCRIPT_OVERDUE - waited);
                due = Some(due.map_or(next, |due| due.min(next)));
            }
        }
        self.scripts_due = due;
        for id in overdue {
            self.is_overdue(id, now);
        }
    }

    /// A reply begins on a connection that is so large that nobody is to wait for it.
    #[cold]
    pub(in crate::proxy) fn large_reply_begins(&mut self, id: BackendId, now: Time) {
        if let Some(backend) = self.upstream.backends.get_mut(id)
            && backend.usage == Usage::Shared
            && backend.is_streaming()
        {
            backend.note_head(now);
            self.is_overdue(id, now);
        }
    }

    /// The oldest request of a connection is overdue.
    fn is_overdue(&mut self, id: BackendId, now: Time) {
        let usual = self.config.backend_connections.max(1);
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        if let Some(head) = &mut backend.head {
            head.overdue = true;
        }
        if backend.is_aside {
            return;
        }
        let Some((affinity, empty)) = self.upstream.set_aside(id, usual, now) else {
            return;
        };
        self.stats.heads_overdue.add(1);
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        let (node, flavor) = (backend.node, backend.flavor);
        let waiters = std::mem::take(&mut backend.waiters);
        let whose = |origin: Origin| match origin {
            Origin::Part(PartId { client, .. }) => Some(client),
            _ => None,
        };
        let first = backend.tickets.get(stuck_with(backend));
        let first = first.and_then(|own| whose(own.origin));
        let mut others = !waiters.is_empty();
        for client in backend.tickets.iter().filter_map(|own| whose(own.origin)) {
            others |= Some(client) != first;
            if let Some(client) = self.clients.get_mut(client) {
                client.unsettle();
            }
        }
        for client in waiters {
            self.queue_resume(client);
        }
        // Whoever comes later finds it missing. Those who wait already do not come.
        if empty && others {
            let target = Target {
                node,
                replica: flavor.read_only,
            };
            let (config, actions) = (&self.config, &mut self.actions);
            self.upstream
                .backend(target, flavor.dialect(), affinity, config, actions, now);
        }
    }

    /// Looks after the connections that are set aside. Returns whether there are any.
    pub(in crate::proxy) fn tend_aside(&mut self, now: Time) -> bool {
        let mut all = Vec::new();
        for (_, node) in &mut self.upstream.nodes {
            all.extend(node.aside().iter().map(|own| (own.backend, own.affinity)));
            let backends = &self.upstream.backends;
            let is_stuck = |id| backends.get(id).is_some_and(Backend::is_stuck);
            if node.tells && !node.aside().iter().any(|own| is_stuck(own.backend)) {
                node.tells = false;
                log::info!("node {}: replies are on time again", node.address);
            }
        }
        for (id, affinity) in all {
            self.tend_one_aside(id, affinity, now);
        }
        self.upstream.aside > 0
    }

    fn tend_one_aside(&mut self, id: BackendId, affinity: usize, now: Time) {
        let Some(backend) = self.upstream.backends.get(id) else {
            return;
        };
        let node = self.upstream.node(backend.node);
        let place = node.and_then(|node| node.shared(backend.flavor, affinity));
        match place.map(|place| self.upstream.backends.get(place)) {
            None if !backend.is_stuck() => self.upstream.take_back(id),
            Some(_) if backend.tickets.is_empty() => {
                if now.since(backend.heard_at) >= KEPT {
                    self.lose_backend(id, Lost::Retired, now);
                }
            }
            Some(Some(place)) if backend.is_stuck() && place.state == State::Ready => {
                let script = self.stuck_script(backend, place);
                self.move_reads(id, script.unwrap_or(stuck_with(backend)), now);
            }
            None | Some(_) => {}
        }
    }

    /// The place of the script that a connection is stuck with although other requests stand before it: the node has
    /// answered elsewhere meanwhile, so that it works at none of those.
    fn stuck_script(&self, backend: &Backend, elsewhere: &Backend) -> Option<usize> {
        backend.script_at?;
        if backend.is_streaming() || elsewhere.heard_at < backend.head?.since.after(SCRIPT_OVERDUE)
        {
            return None;
        }
        // What the proxy asks for itself has no row.
        let row = |own: &Ticket| self.table.rows().get(usize::from(own.command));
        let runs = |own| row(own).is_some_and(|row| row.runs != Runs::Nothing);
        backend.tickets.iter().position(runs)
    }

    /// A replacement is ready: the node answers, and the oldest request of the one set aside is still overdue.
    pub(in crate::proxy) fn replaced(&mut self, key: NodeKey, now: Time) {
        self.stats.backend_replacements.add(1);
        let Some(node) = self.upstream.node_mut(key) else {
            return;
        };
        let lately = node.told_at.is_some_and(|at| now.since(at) < TELL_AGAIN);
        if !node.tells && !lately {
            node.tells = true;
            node.told_at = Some(now);
            log::warn!(
                "node {}: a reply is overdue: moving other clients to another connection",
                node.address
            );
        }
    }

    /// Sends the reads again that are stuck on a connection, of clients that have nothing but reads there, but for the
    /// one that it is stuck with. The replies that still come there are nobody's.
    fn move_reads(&mut self, id: BackendId, stuck_with: usize, now: Time) {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        let node = backend.node;
        let mut stay = HashSet::new();
        for (index, ticket) in backend.tickets.iter().enumerate() {
            if let Origin::Part(PartId { client, .. }) = ticket.origin
                && (index == stuck_with || !ticket.readonly)
            {
                stay.insert(client);
            }
        }
        // As many as may be held: what cannot be held is refused.
        let limits = &self.config.limits;
        let requests = self.held_requests + backend.tickets.len();
        if requests > limits.held_requests
            || self.held_bytes + backend.output.len() > limits.held_bytes
        {
            return;
        }
        let mut pieces = backend.output.pieces();
        let mut moved = Vec::new();
        for ticket in &mut backend.tickets {
            let bytes = pieces.next(ticket.len as usize);
            if let Origin::Part(PartId { client, .. }) = ticket.origin
                && !stay.contains(&client)
            {
                if self.clients.get(client).is_some() {
                    moved.push((client, *ticket, bytes.to_vec()));
                }
                ticket.origin = Origin::Discard;
            }
        }
        let mut touched = Vec::new();
        self.stats.reads_moved.add(moved.len() as u64);
        for (client, ticket, bytes) in moved {
            let retry = Retry::at_once(goal_of(&ticket, node), now);
            self.hold(ticket, &bytes, retry, now);
            if touched.last() != Some(&(client, ticket.slot)) {
                touched.push((client, ticket.slot));
            }
        }
        for (client, slot) in touched {
            self.release_held(client, slot, now);
        }
    }
}

/// The place of the request that a connection is stuck with. What a node is asked of itself right before a request is answered at
/// once, but a node writes that down with the reply to the request (see `role_check`).
fn stuck_with(backend: &Backend) -> usize {
    let front = backend.tickets.front();
    usize::from(front.is_some_and(|own| matches!(own.origin, Origin::Vouch)))
}
