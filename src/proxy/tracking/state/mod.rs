//! What is known of clients that cache for themselves (`CLIENT TRACKING`).
//!
//! | file | what |
//! |---|---|
//! | `mode` | what one client has asked for |
//! | `table` | which clients have read which keys, over one connection |
//! | `doubts` | what was told on one connection while replies of another were outstanding |
//! | `bcast` | who is told of keys with which prefixes, whoever has read them |
//! | `seek` | clients that want to be told by others |
//! | `invalidation` | what a node says has changed |
//! | `late` | what a client is to be told, and behind which of its replies |
//! | `again` | what it is told once more, a while later |
//!
//! It must never know how requests find their connection.

pub mod again;
pub mod bcast;
pub mod doubts;
pub mod invalidation;
pub mod late;
pub mod mode;
pub mod seek;
pub mod table;

use std::collections::VecDeque;

use crate::arena::ById;
use crate::clock::Time;
use crate::proxy::ids::{BackendId, ClientId, NodeKey, OfBackend};
use crate::proxy::tracking::state::again::Again;
use crate::proxy::tracking::state::bcast::Bcast;
use crate::proxy::tracking::state::doubts::Doubts;
use crate::proxy::tracking::state::seek::Seek;
use crate::proxy::tracking::state::table::Table;

/// The connections of one worker over which tracked keys were read.
#[derive(Debug, Default)]
pub struct Tracking {
    /// The keys of each.
    pub links: ById<OfBackend, Link>,
    /// Clients that are told of keys with a prefix.
    pub bcast: Bcast,
    /// Clients that want to be told by others that are looked for.
    pub seeks: Vec<Seek>,
    /// Clients that are told something in a later turn: so many are written to in one turn, and no more.
    pub to_tell: VecDeque<ClientId>,
    /// Clients that have been told something in this turn.
    pub told: usize,
    /// What nobody is told of any more, and is still to be freed.
    pub dropped: Vec<Table>,
    /// The version of the routes that the keys have been compared with.
    pub routes_version: u32,
    /// When quiet connections are looked after, while there are any.
    pub look_at: Time,
    /// What clients are told again.
    pub again: Again,
    /// Clients of this worker that track.
    pub clients: usize,
}

/// A connection over which tracked keys were read.
#[derive(Debug)]
pub struct Link {
    /// Its node.
    pub node: NodeKey,
    /// The keys.
    pub table: Table,
    /// The connection on which the node tells of them, if that is another one.
    pub sink: Option<BackendId>,
    /// What has been told there while replies were outstanding here, any of which may be older.
    pub doubts: Doubts,
    /// The write whose reply came last, as long as nothing else has.
    pub own_write: Option<OwnWrite>,
}

/// A write by a client that tracks. What a node pushes right behind the reply to it tells of it.
#[derive(Debug)]
pub struct OwnWrite {
    /// Whose it was.
    pub by: crate::proxy::ids::ClientId,
    /// Its place.
    pub seq: crate::proxy::ids::Seq,
    /// Its keys, as the nodes have them, if the client is not to hear of its own writes.
    pub keys: Vec<Box<[u8]>>,
}

/// Keys that are freed in one turn: a million of them take a second.
const FREED_A_TURN: usize = 1024;

impl Tracking {
    /// Whether something is left of the last turn.
    #[inline]
    pub fn is_behind(&self) -> bool {
        !self.to_tell.is_empty() || !self.dropped.is_empty()
    }

    /// Frees a turn's share of what nobody is told of any more.
    #[cold]
    pub fn free_some(&mut self) {
        if let Some(table) = self.dropped.last_mut()
            && !table.free_some(FREED_A_TURN)
        {
            self.dropped.pop();
        }
    }

    /// Whether no keys are remembered.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Keys that are remembered, over all connections.
    pub fn keys(&self) -> usize {
        self.links.values().map(|link| link.table.len()).sum()
    }

    /// The connection with the most keys.
    pub fn largest(&mut self) -> Option<&mut Link> {
        self.links.values_mut().max_by_key(|link| link.table.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_connections_with_as_many_keys_the_same_one_is_the_largest_each_time() {
        let largest = |_| {
            let mut tracking = Tracking::default();
            for number in 0..64 {
                let link = Link {
                    node: NodeKey(number as u16),
                    table: Table::default(),
                    sink: None,
                    doubts: Doubts::default(),
                    own_write: None,
                };
                let id = BackendId::from_parts(number, 1 + number);
                tracking.links.insert(id, link);
            }
            tracking.largest().map(|link| link.node)
        };
        let all: Vec<Option<NodeKey>> = (0..8).map(largest).collect();
        assert!(all[0].is_some());
        assert_eq!(all, [all[0]; 8]);
    }
}
