//! `Plan`: which nodes or workers a command asks, what it asks them, and how the answers become one reply. Commands
//! of the proxy use it to ask nodes and other workers, so that no other code has to know them.

use crate::proxy::actions::OutsideAnswer;
use crate::proxy::ids::NodeKey;
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::stats::masters_info::asking::Findings;
use crate::proxy::upstream::Target;
use crate::proxy::upstream::routes::ShardId;
use crate::proxy::upstream::routes::everyone::Asked;

/// Whom one part of a plan asks.
#[derive(Debug, Clone)]
pub enum Ask {
    /// This node, with this request frame.
    Node(Target, Vec<u8>),
    /// This node, with this request frame; its part is left out of the reply if the node is not there.
    IfUp(Target, Vec<u8>),
    /// This node, with this request frame, for as long as the cluster lists it.
    Member(Target, Vec<u8>),
    /// The master of this shard, with this request frame.
    Shard(ShardId, Vec<u8>),
    /// This master without slots, with this request frame; its part is left out unless it has keys that count.
    Spare(NodeKey, Vec<u8>),
    /// The owner of this slot, with this request frame.
    Slot(u16, Vec<u8>),
    /// Any master, with this request frame.
    AnyMaster(Vec<u8>),
    /// Every worker, this one included.
    Workers(WorkerQuery),
    /// The masters, what they say of themselves: one part, the only one of its plan (see `masters_info`).
    Masters(Findings),
    /// The connection to this node for subscriptions, whether all has come that was sent on it before.
    Fence(NodeKey),
    /// Nobody: a second thread finds the answer, which may take long.
    Outside(OutsideAnswer),
    /// Nobody: this is the answer, which speaks for this shard if it is one of all.
    Known(Vec<u8>, Option<ShardId>),
}

impl Ask {
    /// What a command for all nodes, or all masters, asks of one of them.
    pub fn each(asked: Asked, frame: Vec<u8>) -> Ask {
        let target = |node, replica| Target { node, replica };
        match asked {
            Asked::Shard { id, .. } => Ask::Shard(id, frame),
            Asked::Master(node) => Ask::Member(target(node, false), frame),
            Asked::Replica(node) => Ask::IfUp(target(node, true), frame),
            Asked::Spare(node) => Ask::Spare(node, frame),
        }
    }
}

/// Whom a command asks, and how the answers become one reply.
#[derive(Debug)]
pub struct Plan {
    /// The parts, in order. A question to the workers counts as one part for each worker.
    pub asks: Vec<Ask>,
    /// What becomes of the answers.
    pub merge: Merge,
    /// Whether a part that succeeded has changed something.
    pub write: bool,
}
