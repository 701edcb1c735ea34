//! A large reply waits at its node for a client that reads slowly: its connection is not read while the client is owed
//! much, so that the reply is in the memory of its node, which has it anyway, and not in ours.
//!
//! - Only a connection that is set aside waits (see `connections::overdue`), and only while nobody but this client has
//!   requests on it, and the node tells nobody of changed keys there. If others have, all is read as it comes and kept
//!   here: they must not wait for a slow reader.
//! - The reply whose turn it is waits for nothing but its client. One that comes too early, from another node, waits for
//!   its turn, unless an earlier request of the client may have to come behind it on the same connection. So does one that
//!   becomes one with those of other nodes (`passing_merge`), until the heads of all have come.
//! - Whether a connection still has to wait is asked anew when its client has read, or has gone, and in each sweep: so
//!   nobody who changes any of that has to know of this.
//! - The silence of a node that is not read says nothing. How long its client may take nothing is for `-write-stall`.

use crate::clock::Time;
use crate::proxy::client::Client;
use crate::proxy::ids::{BackendId, ClientId, PartId};
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Backend, Origin, Pin, Usage};
use crate::proxy::upstream::large_reply::{LargeReply, Way};

/// For whom a reply waits.
fn reader_of(backend: &Backend) -> Option<PartId> {
    match backend.tickets.front()?.origin {
        Origin::Part(part) => Some(part),
        _ => None,
    }
}

/// Whether all that is outstanding on a connection is this client's, and its oldest request there comes first.
fn is_alone(backend: &Backend, reader: PartId) -> bool {
    let mut origins = backend.tickets.iter().map(|ticket| ticket.origin);
    origins.all(|origin| match origin {
        Origin::Part(own) => own.client == reader.client && !own.seq.before(reader.seq),
        // Its client has gone, or asks elsewhere.
        Origin::Discard => true,
        _ => false,
    })
}

/// Whether one part of a request, whose turn it is, may wait until the heads of the others have come: none of those is behind
/// it, and it is not left out of the reply if it takes long.
fn may_wait_for_others(backend: &Backend, reader: PartId) -> bool {
    let mut tickets = backend.tickets.iter();
    let own = tickets.next();
    let may_be_left_out = own.is_some_and(|own| matches!(own.pin, Pin::May | Pin::Spare));
    let of_same = |origin| matches!(origin, Origin::Part(part) if part.seq == reader.seq);
    !may_be_left_out && !tickets.any(|ticket| of_same(ticket.origin))
}

/// Bytes that a client has to read before more of this reply is of use to it. (What is ready behind the reply whose turn
/// it is cannot leave before it.)
fn unread(client: &Client, large_reply: &LargeReply) -> usize {
    match large_reply.way {
        Way::Passed | Way::Merged => client.output.len(),
        Way::Kept | Way::Dropped => client.owed_bytes() + large_reply.kept_len(),
    }
}

impl Proxy {
    /// More of a large reply has come: stops reading its connection if its client has enough to read.
    pub(in crate::proxy) fn pause_if_unread(&mut self, id: BackendId, now: Time) {
        let limits = &self.config.limits;
        // What has been kept of a reply goes to its client at once when the reply begins to pass.
        let most = limits.client_output_bytes.saturating_add(limits.pass_bytes);
        if !self.is_to_wait(id, most) || !self.is_set_aside(id, now) {
            return;
        }
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        let reader = reader_of(backend);
        if let Some(large_reply) = &mut backend.large_reply
            && !large_reply.is_paused
        {
            large_reply.is_paused = true;
            self.upstream.paused.push(id);
            self.stats.reply_pauses.add(1);
        }
        if let Some(client) = reader.and_then(|own| self.clients.get_mut(own.client)) {
            client.is_waited_for = true;
        }
    }

    /// Whether the large reply that comes on a connection is to wait for its client, which is owed more than `most`, if the
    /// connection is set aside.
    fn is_to_wait(&self, id: BackendId, most: usize) -> bool {
        let Some(backend) = self.upstream.backends.get(id) else {
            return false;
        };
        let (Some(large_reply), Some(reader)) = (&backend.large_reply, reader_of(backend)) else {
            return false;
        };
        let Some(client) = self.clients.get(reader.client) else {
            return false;
        };
        if unread(client, large_reply) <= most
            || backend.usage != Usage::Shared
            // What it tells of changed keys is for others, too.
            || backend.flavor.tracking
            || !is_alone(backend, reader)
        {
            return false;
        }
        match large_reply.way {
            Way::Dropped => false,
            Way::Passed | Way::Merged => true,
            // What is held may have to wait for this reply.
            Way::Kept if !client.held.is_empty() => false,
            Way::Kept if reader.seq == client.pipeline.head() => {
                large_reply.head.is_some()
                    && client.pipeline.lacks_heads(reader.seq)
                    && may_wait_for_others(backend, reader)
            }
            Way::Kept => true,
        }
    }

    /// Whether a connection is set aside. One that brings a part of a merged reply is so as soon as it has to wait: the parts
    /// are many, so that none of them need be large by itself.
    fn is_set_aside(&mut self, id: BackendId, now: Time) -> bool {
        let is_aside = |proxy: &Proxy| {
            let backend = proxy.upstream.backends.get(id);
            backend.is_some_and(|backend| backend.is_aside)
        };
        let backend = self.upstream.backends.get(id);
        let large_reply = backend.and_then(|backend| backend.large_reply.as_ref());
        let merges = large_reply.is_some_and(|own| own.head.is_some());
        if merges && !is_aside(self) {
            self.large_reply_begins(id, now);
        }
        is_aside(self)
    }

    /// A client has read, or has gone: the connections that wait for it are read again if they need not wait.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn has_read(&mut self, id: ClientId, now: Time) {
        let most = self.config.limits.client_output_bytes / 2;
        if let Some(client) = self.clients.get_mut(id) {
            if client.output.len() > most {
                return;
            }
            client.is_waited_for = false;
        }
        self.read_on(now);
    }

    /// Reads those connections again that need not wait any more.
    pub(in crate::proxy) fn read_on(&mut self, now: Time) {
        let most = self.config.limits.client_output_bytes / 2;
        let mut paused = std::mem::take(&mut self.upstream.paused);
        paused.retain(|id| {
            let waits = self.is_to_wait(*id, most);
            let backend = self.upstream.backends.get_mut(*id);
            let waits = waits && backend.as_ref().is_some_and(|own| own.is_aside);
            let reader = backend.as_deref().and_then(reader_of);
            if waits {
                // It may wait for another reply to the same client.
                let client = reader.and_then(|own| self.clients.get_mut(own.client));
                client.into_iter().for_each(|own| own.is_waited_for = true);
            } else if let Some(backend) = backend {
                if let Some(large_reply) = &mut backend.large_reply {
                    large_reply.is_paused = false;
                }
                // Its silence counts from now on.
                backend.heard_at = now;
                self.actions.read(*id);
            }
            waits
        });
        self.upstream.paused = paused;
    }
}
