//! Parts of a command about all nodes that are left out of its reply: their nodes do not answer, or are no members any
//! more, and the command can do without them.

use std::time::Duration;

use crate::clock::Time;
use crate::proxy::ids::{BackendId, PartId};
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Origin, Pin, Ticket};
use crate::proxy::upstream::goal::Goal;
use crate::proxy::upstream::large_reply::LargeReply;
use crate::proxy::upstream::routes::everyone::Successor;

/// How long a node may be silent that a command can do without.
const PATIENCE: Duration = Duration::from_secs(1);

impl Proxy {
    /// Whether there is a reply without the part of the node that a goal names, and the node is not to be waited for: it
    /// is no member, or known to be down where that is enough. Nor is a shard that is no more.
    pub(in crate::proxy) fn does_without(&self, ticket: &Ticket, goal: Goal, now: Time) -> bool {
        let node = match goal {
            Goal::Node(node) => node,
            Goal::Shard(id) => {
                let successor = self.upstream.routes.master_of_shard(id);
                return matches!(successor, Successor::Heir(_) | Successor::Gone);
            }
            Goal::Owner | Goal::Ask(_) | Goal::AnyMaster => return false,
        };
        let node = self.upstream.node(node);
        let listed = node.is_some_and(|node| node.listed);
        let down = node.is_none_or(|node| node.is_failing() && !node.may_connect(now));
        match ticket.pin {
            Pin::May | Pin::Spare => !listed || down,
            Pin::Member => !listed,
            Pin::Free | Pin::Must | Pin::Shard(_) | Pin::Astray(_) => false,
        }
    }

    /// The part of a shard that is no more goes to the shard that has most of its slots, unless that one is asked, too: it
    /// may have come to be behind the request.
    pub(in crate::proxy) fn follow_heir(&mut self, ticket: &mut Ticket, goal: &mut Goal) {
        let (Goal::Shard(gone), Origin::Part(part)) = (*goal, ticket.origin) else {
            return;
        };
        let Successor::Heir(heir) = self.upstream.routes.master_of_shard(gone) else {
            return;
        };
        let client = self.clients.get_mut(part.client);
        if client.is_some_and(|client| client.pipeline.asks_heir(part.seq, gone, heir)) {
            (*goal, ticket.pin) = (Goal::Shard(heir), Pin::Shard(heir));
        }
    }

    /// A part whose node is not there is left out of the reply: it is handed in as no bytes at all.
    pub(in crate::proxy) fn leave_out(&mut self, part: PartId, now: Time) {
        self.stats.left_out.add(1);
        self.fulfil(part, b"", now);
    }

    /// Leaves out what silent nodes owe to commands that can do without them. The request stays in the
    /// queue, so that its reply is known for what it is when it comes.
    pub(in crate::proxy) fn leave_out_silent(&mut self, id: BackendId, now: Time) {
        let mut late = Vec::new();
        if let Some(backend) = self.upstream.backends.get_mut(id) {
            let old = |ticket: &&mut Ticket| now.since(ticket.sent_at) >= PATIENCE;
            // What has left in part is a part of the reply.
            let leaves = backend.large_reply.as_ref();
            let leaves = usize::from(leaves.is_some_and(LargeReply::has_left));
            let tickets = backend.tickets.iter_mut().skip(leaves);
            for ticket in tickets.take_while(old) {
                if matches!(ticket.pin, Pin::May | Pin::Spare) {
                    late.push(std::mem::replace(&mut ticket.origin, Origin::Discard));
                }
            }
        }
        for origin in late {
            if let Origin::Part(part) = origin {
                self.leave_out(part, now);
            }
        }
    }
}

/// Whether a node owes a part that the command can do without, and has had its time.
pub(in crate::proxy) fn is_overdue_part(ticket: &Ticket, now: Time) -> bool {
    matches!(ticket.pin, Pin::May | Pin::Spare)
        && now.since(ticket.held_since.unwrap_or(now)) >= PATIENCE
}

#[cfg(test)]
mod tests;
