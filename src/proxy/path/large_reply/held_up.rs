//! A large reply that others' writes wait behind is asked for again, on a connection of its own: there it can wait at its
//! node for a client that reads slowly, and nobody waits with it.
//!
//! What was written behind it before it began cannot be asked of another connection, so the rest of the reply has to be read
//! here at once. Kept, it would be all in our memory as long as its client takes to read it. So such a reply does not pass to
//! its client, and is kept until it is whole; if it is longer than `apart_bytes`, what has come is dropped, and the rest of it
//! as it comes.
//!
//! - That is for reads of which nothing has left, at the head of their client's pipeline, of clients that have nothing but
//!   reads on that connection: all of those are sent again in their order, so that rules R3 and R4 hold.
//! - Any other reply passes: how much its client may be owed is for `-client-output-buffer-limit` and `-max-memory`.
//! - The new connection is one of those that are set aside (see `connections::overdue`), and counts as one.

use crate::clock::Time;
use crate::command::Runs;
use crate::proxy::ids::{BackendId, ClientId, PartId};
use crate::proxy::pipeline::At;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Backend, Origin, Pin, Ticket, Usage};
use crate::proxy::upstream::large_reply::Way;

/// So often a request is sent at most before it takes its chance.
const TRIES_MAX: u8 = 8;

/// Whose the oldest request of a connection is.
fn reader_of(backend: &Backend) -> Option<ClientId> {
    match backend.tickets.front()?.origin {
        Origin::Part(PartId { client, .. }) => Some(client),
        _ => None,
    }
}

/// Whether a request can be sent again elsewhere as if it had not been sent.
fn is_free(ticket: &Ticket) -> bool {
    let plain = ticket.pin == Pin::Free && !ticket.asked;
    plain && ticket.readonly && ticket.tries < TRIES_MAX
}

/// Whether others' requests have to wait for the reply that this client waits for, and all of this client's can be sent again.
fn is_to_give_way(backend: &Backend, reader: ClientId) -> bool {
    let mut others = false;
    for ticket in &backend.tickets {
        match ticket.origin {
            Origin::Part(part) if part.client == reader => {
                if !is_free(ticket) {
                    return false;
                }
            }
            Origin::Discard => {}
            // Reads are sent again by those who look after connections that are set aside.
            Origin::Part(_) => others |= !ticket.readonly,
            _ => others = true,
        }
    }
    others && backend.usage == Usage::Shared && !backend.flavor.tracking
}

impl Proxy {
    /// Whether the reply under way on a connection, whose turn it is, is not to pass to its client, since it may have to be
    /// asked for again.
    #[cold]
    pub(in crate::proxy) fn holds_up_others(&self, id: BackendId) -> bool {
        let backend = self.upstream.backends.get(id);
        let reader = backend.and_then(reader_of);
        let (Some(backend), Some(reader)) = (backend, reader) else {
            return false;
        };
        is_to_give_way(backend, reader)
    }

    /// Asks anew for a reply that holds up others and is longer than it may be, on a connection of its own. Of what comes here
    /// nothing is kept. If that cannot be, it passes as any other.
    #[cold]
    pub(in crate::proxy) fn ask_apart(&mut self, id: BackendId, now: Time) {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        let (node, flavor, is_aside) = (backend.node, backend.flavor, backend.is_aside);
        let reader = reader_of(backend).filter(|reader| is_to_give_way(backend, *reader));
        let Some(large_reply) = &mut backend.large_reply else {
            return;
        };
        debug_assert!(large_reply.way == Way::Kept);
        if !is_aside && large_reply.taken < self.config.limits.aside_reply_bytes {
            // It will be.
            return;
        }
        large_reply.holds_up = Some(false);
        let Some(reader) = reader else {
            return;
        };
        let (config, actions) = (&self.config, &mut self.actions);
        let upstream = &mut self.upstream;
        let Some(own) = upstream.open_apart(id, node, flavor, config, actions, now) else {
            return;
        };
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        if let Some(large_reply) = &mut backend.large_reply {
            large_reply.give_up(&mut self.pool);
        }
        let mut pieces = backend.output.pieces();
        let mut moved = Vec::new();
        for ticket in &mut backend.tickets {
            let bytes = pieces.next(ticket.len as usize);
            if let Origin::Part(part) = ticket.origin
                && part.client == reader
            {
                moved.push((part, *ticket, bytes.to_vec()));
                ticket.origin = Origin::Discard;
            }
        }
        self.stats.reads_moved.add(moved.len() as u64);
        for (part, ticket, bytes) in moved {
            if self.table.row(ticket.command).runs != Runs::Nothing {
                self.script_leaves(own, now);
            }
            let again = Ticket {
                tries: ticket.tries.saturating_add(1),
                sent_at: now,
                ..ticket
            };
            self.send_vouched(own, &bytes, again);
            self.stats.backend_requests.add(1);
            if let Some(client) = self.clients.get_mut(reader) {
                client
                    .pipeline
                    .set_at(part.seq, part.index, At::Backend(own));
                client.unsettle();
            }
        }
    }
}
