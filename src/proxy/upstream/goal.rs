//! `Goal`: the destination of a request.

use crate::proxy::ids::{NO_SLOT, NodeKey};
use crate::proxy::upstream::backend::{Pin, Ticket};
use crate::proxy::upstream::routes::ShardId;

pub(in crate::proxy) const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// Where a held request is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// To whoever serves its slot.
    Owner,
    /// To this node behind an ASKING, once.
    Ask(NodeKey),
    /// To this node and no other: the request speaks of the node itself.
    Node(NodeKey),
    /// To the master of this shard.
    Shard(ShardId),
    /// To any master.
    AnyMaster,
}

/// Where a request of `node` goes when it is sent again.
pub(in crate::proxy) fn goal_of(ticket: &Ticket, node: NodeKey) -> Goal {
    match (ticket.pin, ticket.slot) {
        (Pin::Must | Pin::May | Pin::Member | Pin::Spare, _) => Goal::Node(node),
        (Pin::Shard(shard) | Pin::Astray(shard), _) => Goal::Shard(shard),
        (Pin::Free, NO_SLOT) => Goal::AnyMaster,
        (Pin::Free, _) => Goal::Owner,
    }
}
