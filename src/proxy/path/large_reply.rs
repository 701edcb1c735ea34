//! A large reply, which comes in several reads. It is taken from the input as it comes, block by block and
//! without a copy, and each of its bytes is scanned once.
//!
//! Where the blocks go is asked anew with each ([`Way`]):
//!
//! - *Passed*: to the client's output at once. That is for a reply that will be nothing but these bytes, whose turn
//!   it is, and of which `pass_bytes` have come. If the client does not read as fast as the node writes, the node waits
//!   ([`slow_reader`]), unless others' replies come behind on the same connection: nobody waits for another client's reading,
//!   so that a read is asked for again elsewhere if that is long ([`held_up`]); of anything else all is kept, and the client
//!   is closed when it is owed more than it may be, as ever.
//! - *Merged*: an array that becomes one with those of other nodes (KEYS) passes, too, value by value (`passing_merge`).
//! - *Kept* until it is whole: it may still be an error, a part of another reply, not due yet, or short enough to be asked
//!   for again if its connection breaks. Then its blocks move on, still without a copy, or, where somebody must read
//!   it, become one piece, which is the one copy.
//! - *Dropped*: nobody waits for it.
//!
//! What has begun to leave cannot be taken back: if the rest does not come, because the connection is lost or the
//! bytes behind are no reply, the client has a part of a reply that nobody can complete, and its connection is
//! closed ([`Proxy::sever`]). A request of which nothing has left is treated as any other.
//!
//! While a reply passes, nothing else may be written to its client. Replies wait for their turn anyway; messages of
//! subscriptions, lines of MONITOR and what is told of tracked keys do not, so that replies to clients that have those do not pass. (SUBSCRIBE and
//! MONITOR themselves wait until all is answered.)
//!
//! Nothing is allocated from a length that was declared. Bytes may come a few at a time, and a chunk keeps its whole
//! block: so a block is left only when half of it is full, and the memory is never more than a few times the reply's.

mod held_up;
mod passing_merge;
mod slow_reader;
#[cfg(test)]
mod tests;

use crate::buffer::ReadBuf;
use crate::clock::Time;
use crate::proxy::client::{Client, Parting};
use crate::proxy::ids::{BackendId, ClientId, PartId};
use crate::proxy::path::deliver::Next;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Backend, Origin, Ticket};
use crate::proxy::upstream::large_reply::{ENOUGH, LargeReply, Way, Whole};
use crate::resp::frame::Scan;

/// Whether nothing but replies is written to this client, so that a reply may be written in pieces.
fn hears_replies_only(client: &Client) -> bool {
    client.session.subscriptions().is_none()
        && !client.session.is_monitor()
        && client.late.is_none()
        && client.closing.is_none()
}

impl Proxy {
    /// More has come of a large reply.
    #[inline(never)]
    pub(in crate::proxy) fn stream_on(&mut self, id: BackendId, now: Time) -> Next {
        let bulk_max = self.config.limits.bulk_bytes;
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return Next::Wait;
        };
        let Ok(scan) = backend.scanner.next(backend.input.bytes(), bulk_max) else {
            return Next::Lost(self.broken(id, "bytes that are no reply"));
        };
        let mut input = std::mem::take(&mut backend.input);
        let next = self.stream_reply(id, &mut input, scan, now);
        if let Some(backend) = self.upstream.backends.get_mut(id) {
            input.settle(&mut self.pool);
            backend.input = input;
        }
        next
    }

    /// Takes what the scanner has found of a large reply.
    pub(in crate::proxy) fn stream_reply(
        &mut self,
        id: BackendId,
        input: &mut ReadBuf,
        scan: Scan,
        now: Time,
    ) -> Next {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return Next::Wait;
        };
        let mut large_reply = backend.large_reply.take().unwrap_or_default();
        let large = self.config.limits.aside_reply_bytes;
        let was_large = large_reply.taken >= large;
        let (ends, count, lacks) = match scan {
            Scan::Frame(len) => (true, len, 0),
            Scan::Incomplete(lacks) => (false, backend.scanner.scanned(), lacks),
            _ => (false, backend.scanner.scanned(), 0),
        };
        let kind = backend.scanner.kind();
        let values = backend.scanner.whole_values();
        let front = backend.tickets.front().map(|ticket| ticket.origin);
        let command = backend.tickets.front().map(|ticket| ticket.command);
        let astray = backend.tickets.front().is_some_and(Ticket::is_astray);
        let whole_only = match (front, command) {
            (Some(Origin::Part(part)), Some(command)) => self.is_untagged(part.client, command),
            _ => false,
        };
        let one_of = match front {
            Some(Origin::Part(part)) if kind == b'*' && !whole_only && !astray => {
                Some(part).filter(|part| self.is_concat(*part))
            }
            _ => None,
        };
        let taken = match (ends, one_of) {
            (true, _) => {
                large_reply.take_values(input, count);
                0
            }
            (false, _) if count < ENOUGH => 0,
            (false, None) => {
                large_reply.take(input, count);
                count
            }
            (false, Some(_)) => large_reply.take_by_values(input, values, count),
        };
        if let Some(backend) = self.upstream.backends.get_mut(id) {
            backend.scanner.consumed(taken);
        }
        let weighed = large_reply.way != Way::Kept || large_reply.holds_up.is_some();
        if !weighed && large_reply.taken >= self.config.limits.pass_bytes {
            large_reply.holds_up = Some(self.holds_up_others(id));
        }
        if let Some(part) = one_of {
            self.merge_on_the_way(part, &mut large_reply, now);
        }
        self.lead(&mut large_reply, kind, front, whole_only, now);
        // A client that was closed may have taken its connection with it.
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return Next::Wait;
        };
        if !ends {
            debug_assert!(input.len() < 2 * ENOUGH);
            // How much is missing is of no use: the room is that of a block.
            backend.missing = 1;
            let is_large = large_reply.taken >= large;
            let is_held_up = large_reply.holds_up == Some(true)
                && large_reply.way == Way::Kept
                && large_reply.taken + lacks >= self.config.limits.apart_bytes;
            backend.large_reply = Some(large_reply);
            if is_large && !was_large {
                // An aggregate does not say how long it is.
                self.large_reply_begins(id, now);
            }
            self.pause_if_unread(id, now);
            if is_held_up {
                self.ask_apart(id, now);
            }
            return Next::Wait;
        }
        backend.missing = 0;
        let (way, len) = (large_reply.way, large_reply.taken);
        if way != Way::Kept {
            return self.take_answer(id, Whole::Gone(way, [kind], len), now);
        }
        let part = matches!(front, Some(Origin::Part(_))) && !whole_only;
        let plain =
            !matches!(kind, b'-' | b'!') && large_reply.kept.piece(0).first() != Some(&b'|');
        if part && plain {
            return self.take_answer(id, Whole::Kept(large_reply.kept), now);
        }
        let mut whole = ReadBuf::holding(large_reply.kept.to_bytes());
        self.take_answer(id, Whole::Front(&mut whole, len), now)
    }

    /// Sees to it that what has been taken of a reply goes where it belongs by now.
    /// One that is to be written anew is kept until it is whole.
    fn lead(
        &mut self,
        large_reply: &mut LargeReply,
        kind: u8,
        origin: Option<Origin>,
        whole_only: bool,
        now: Time,
    ) {
        let (id, place) = match origin {
            Some(Origin::Part(PartId { client, seq, .. })) => (client, Some(seq)),
            Some(Origin::Lease { client, .. }) => (client, None),
            // An error may say something of the cluster.
            Some(Origin::Discard) if !matches!(kind, b'-' | b'!') => {
                return large_reply.give_up(&mut self.pool);
            }
            _ => return,
        };
        let error = matches!(kind, b'-' | b'!');
        let limits = &self.config.limits;
        let Some(client) = self.clients.get_mut(id) else {
            // An error may say something of the cluster.
            if !error {
                large_reply.give_up(&mut self.pool);
            }
            return;
        };
        if let Some(seq) = place
            && !error
        {
            if client.pipeline.is_muted(seq) {
                return large_reply.give_up(&mut self.pool);
            }
            if large_reply.way == Way::Kept
                && large_reply.holds_up != Some(true)
                && !whole_only
                && large_reply.taken >= limits.pass_bytes
                && client.pipeline.is_single_head(seq)
                && hears_replies_only(client)
            {
                large_reply.way = Way::Passed;
            }
            if large_reply.way == Way::Passed && !large_reply.kept.is_empty() {
                std::mem::take(&mut large_reply.kept).move_to(&mut client.output);
                if !client.flush_queued {
                    client.flush_queued = true;
                    self.actions.flush_client(id);
                }
            }
        }
        if client.owed_bytes() + large_reply.kept.len() > limits.client_output_bytes_max {
            large_reply.give_up(&mut self.pool);
            self.close_overfull(id, now);
        }
    }

    /// A client has got a part of a reply, and the rest will not come: what waits for it is written as far as it
    /// takes it at once, and then its connection is closed.
    #[cold]
    pub(in crate::proxy) fn sever(&mut self, id: ClientId, backend: &Backend, taken: usize) {
        let node = self.upstream.node(backend.node).map(|node| node.address);
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        // Another part of the same reply may have been lost before.
        if client.closing == Some(Parting::Severed) {
            return;
        }
        log::warn!(
            "closing client {}: the connection to the node was lost after {taken} bytes of a reply (node {})",
            client.session.number,
            node.map_or_else(String::new, |node| node.to_string()),
        );
        client.closing = Some(Parting::Severed);
        client.stall = None;
        self.queue_flush(id);
    }
}
