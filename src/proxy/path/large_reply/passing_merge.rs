//! A reply that is made of the arrays of several nodes (KEYS) passes as they come: each value goes to the client when it is
//! whole, from whichever node it is. So a list of all keys takes no more memory than that of one node does.
//!
//! - It begins when it is the client's turn, the heads of all parts have come, so that the head of the reply is known, and
//!   `pass_bytes` have come of all of them together. Before that, all is as with other requests: parts are asked again if
//!   their connections break, and errors are merged.
//! - From then on a part that is lost costs the client its connection, as a single reply does that has left in part.
//! - While heads are missing, the connections whose heads have come wait at their nodes, if nobody else is on them
//!   (`slow_reader`).
//! - Between the pieces of one value nothing of another is written: a value that does not end in its block is kept until it
//!   does. So a node that stops inside a value holds up nobody else's.

use super::hears_replies_only;
use crate::clock::Time;
use crate::proxy::ids::PartId;
use crate::proxy::pipeline::At;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Backend, Origin};
use crate::proxy::upstream::large_reply::{LargeReply, Way};

impl Proxy {
    /// Whether the replies to the parts of a request become one array.
    pub(super) fn is_concat(&self, part: PartId) -> bool {
        let client = self.clients.get(part.client);
        client.is_some_and(|client| client.pipeline.is_concat(part.seq))
    }

    /// More has come of one part of such a reply, which is not in the hands of its connection now.
    pub(super) fn merge_on_the_way(&mut self, part: PartId, own: &mut LargeReply, now: Time) {
        let Some(client) = self.clients.get_mut(part.client) else {
            return;
        };
        match own.way {
            Way::Kept => {
                let found = own.find_head();
                if found {
                    client.pipeline.note_head(part.seq);
                }
                let was_last = found && !client.pipeline.lacks_heads(part.seq);
                let least = self.config.limits.pass_bytes;
                let begins = is_mergeable(own)
                    && client.pipeline.may_pass_parts(part.seq, own.taken(), least)
                    && hears_replies_only(client);
                if begins {
                    self.begin_to_merge(part, own);
                }
                if begins || was_last {
                    // Others have waited for it.
                    self.read_on(now);
                }
            }
            Way::Merged if own.whole > 0 => {
                own.pass_values(&mut client.output);
                self.queue_flush(part.client);
            }
            Way::Merged | Way::Passed | Way::Dropped => {}
        }
    }

    /// Writes the head of the reply if those of all parts are known and enough has come, and the values that have.
    fn begin_to_merge(&mut self, part: PartId, own: &mut LargeReply) {
        let Some(client) = self.clients.get_mut(part.client) else {
            return;
        };
        let (parts, mut taken) = client.pipeline.parts_under_way(part.seq);
        let (mut values, mut known, mut others) = (0, 0, Vec::new());
        for (index, at) in &parts {
            let other = match at {
                _ if *index == part.index => Some(&*own),
                At::Backend(id) => {
                    others.push(*id);
                    let whole = PartId::new(part.client, part.seq, *index);
                    let backend = self.upstream.backends.get(*id);
                    backend.and_then(|backend| coming(backend, whole))
                }
                At::Held | At::Here | At::Done => None,
            };
            let other = other.filter(|own| is_mergeable(own));
            if let Some((other, head)) = other.and_then(|own| Some((own, own.head?))) {
                values += head.values;
                taken += other.taken();
                known += 1;
            }
        }
        if known < parts.len() {
            return client.pipeline.count_heads(part.seq, known);
        }
        if taken < self.config.limits.pass_bytes {
            return;
        }
        let output = &mut client.output;
        client.pipeline.begin_to_pass(part.seq, values, output);
        own.begin_to_merge(output);
        for id in others {
            let backend = self.upstream.backends.get_mut(id);
            if let Some(other) = backend.and_then(|own| own.large_reply.as_mut()) {
                other.begin_to_merge(output);
            }
        }
        self.queue_flush(part.client);
    }

    /// All values of a part have left.
    pub(in crate::proxy) fn fulfil_merged(&mut self, part: PartId, len: usize, now: Time) {
        let Some(client) = self.clients.get_mut(part.client) else {
            return;
        };
        let (output, pool) = (&mut client.output, &mut self.pool);
        let (seq, spares) = (part.seq, &mut self.spares);
        let completed = client
            .pipeline
            .part_has_passed(seq, part.index, len, output, pool, spares);
        self.fulfilled(part.client, completed, now);
    }
}

/// The reply to this part, if it is the one under way.
fn coming(backend: &Backend, part: PartId) -> Option<&LargeReply> {
    let front = backend.tickets.front().map(|ticket| ticket.origin);
    let own = backend.large_reply.as_ref();
    own.filter(|_| front == Some(Origin::Part(part)))
}

/// Whether the head of a part is known, and it is not to be asked for again (see `held_up`).
fn is_mergeable(own: &LargeReply) -> bool {
    own.head.is_some() && own.way == Way::Kept && own.holds_up != Some(true)
}
