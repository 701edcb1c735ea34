//! `Asked`: whom a command for all masters, or for all nodes, asks.
//!
//! *All masters* are all shards, and whoever is a shard's master by the time answers. There is no reply without one of each,
//! also while a shard has no master. *All nodes* are nodes: a master must answer for as
//! long as the cluster lists it, anybody else is left out if it is not there, as it has nothing but what is lost with it: its
//! logs, its counters, its subscribers.
//!
//! A command about all keys also asks masters without slots, which may have the keys of a slot that is on its way. (What is
//! kept beside keys, such as functions and users, such a master may never have been given; what it said to that would not
//! be what the others say.)

use super::{Routes, ShardId, ShardRoute};
use crate::command::Command;
use crate::proxy::ids::NodeKey;
use crate::proxy::upstream::Target;

/// One of those that a command for all of them asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The master of a shard.
    Shard {
        /// The shard.
        id: ShardId,
        /// Its master, if it has one.
        master: Option<NodeKey>,
    },
    /// A master, as one of all nodes.
    Master(NodeKey),
    /// A replica.
    Replica(NodeKey),
    /// A master without slots.
    Spare(NodeKey),
}

/// The node that has executed a request, or will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Executor {
    /// The node.
    pub node: NodeKey,
    /// Its shard when the request was sent. The node may have left the cluster by the time that the others are asked.
    pub shard: Option<ShardId>,
}

/// Who is a shard's master now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Successor {
    /// This node.
    Master(NodeKey),
    /// Nobody is yet.
    Nobody,
    /// The shard is no more: this one has most of its slots.
    Heir(ShardId),
    /// The shard is no more, and nobody knows where its slots are.
    Gone,
}

impl Asked {
    /// The node that is asked first.
    pub fn node(self) -> Option<NodeKey> {
        match self {
            Asked::Shard { master, .. } => master,
            Asked::Master(node) | Asked::Replica(node) | Asked::Spare(node) => Some(node),
        }
    }

    /// Whether it is a replica.
    pub fn is_replica(self) -> bool {
        matches!(self, Asked::Replica(_))
    }

    /// The node to connect to.
    pub fn target(self) -> Option<Target> {
        let replica = self.is_replica();
        self.node().map(|node| Target { node, replica })
    }
}

impl Routes {
    /// Whom a command for all masters asks, or for all nodes if `replicas` are wanted.
    pub fn everyone(
        &self,
        command: &Command,
        replicas: bool,
    ) -> impl Iterator<Item = Asked> + use<> {
        let mut asked: Vec<Asked> = Vec::new();
        // A redirect tells of one slot, and not whether its new owner was promoted or is being given slots: the former is
        // one that the shard's request follows to, the latter is still without slots here.
        let shards = self.lineage.shards().iter().zip(&self.shards);
        if replicas {
            for (_, shard) in shards {
                asked.push(Asked::Master(shard.master));
                asked.extend(shard.replicas.iter().copied().map(Asked::Replica));
            }
        } else {
            asked.extend(shards.map(|(id, shard)| Asked::Shard {
                id: *id,
                master: Some(shard.master),
            }));
            let orphans = self.lineage.orphans().iter().flatten();
            asked.extend(orphans.map(|id| Asked::Shard {
                id: *id,
                master: None,
            }));
        }
        if command.concerns_all_keys() {
            asked.extend(self.spare.iter().copied().map(Asked::Spare));
        }
        asked.into_iter()
    }

    /// A node as the executor of a request that is sent to it now.
    pub fn executor(&self, node: NodeKey) -> Executor {
        let mut shards = self.lineage.shards().iter().zip(&self.shards);
        let own = shards.find(|(_, shard)| shard.master == node || shard.replicas.contains(&node));
        let mut orphans = self.lineage.orphans().iter().zip(&self.orphans);
        let shard = match own {
            Some((id, _)) => Some(*id),
            None => orphans
                .find(|(_, orphan)| orphan.replicas.contains(&node))
                .and_then(|(id, _)| *id),
        };
        Executor { node, shard }
    }

    /// Whether what an executor has answered is the answer of this one of all: it is the same node, or was of that shard
    /// (also as a replica: the topology may not know yet that it was promoted).
    pub fn answers_for(&self, executor: Executor, asked: Asked) -> bool {
        let Executor { node, shard } = executor;
        match asked {
            Asked::Shard { id, master } => {
                let is_there = |shard: &ShardId| {
                    let successor = self.master_of_shard(*shard);
                    !matches!(successor, Successor::Heir(_) | Successor::Gone)
                };
                let then = shard.filter(is_there);
                match then.or_else(|| self.executor(node).shard) {
                    Some(own) => own == id,
                    None => master == Some(node),
                }
            }
            Asked::Master(_) | Asked::Replica(_) | Asked::Spare(_) => asked.node() == Some(node),
        }
    }

    /// Whether two nodes are one, or of one shard as far as the topology tells.
    pub fn are_of_one_shard(&self, one: NodeKey, other: NodeKey) -> bool {
        let is_of =
            |shard: &ShardRoute, node| shard.master == node || shard.replicas.contains(&node);
        let orphans = self.orphans.iter().map(|orphan| &orphan.replicas);
        one == other
            || self
                .shards
                .iter()
                .any(|shard| is_of(shard, one) && is_of(shard, other))
            || orphans
                .into_iter()
                .any(|own| own.contains(&one) && own.contains(&other))
    }

    /// The master of a shard.
    pub fn master_of_shard(&self, id: ShardId) -> Successor {
        let mut shards = self.lineage.shards().iter().zip(&self.shards);
        match shards.find(|(own, _)| **own == id) {
            Some((_, shard)) => Successor::Master(shard.master),
            None if self.lineage.is_lost(id) => Successor::Nobody,
            None => self
                .lineage
                .heir(id)
                .map_or(Successor::Gone, Successor::Heir),
        }
    }

    /// The replicas of a shard, whether it has a master or not.
    pub fn replicas_of_shard(&self, id: ShardId) -> &[NodeKey] {
        let mut shards = self.lineage.shards().iter().zip(&self.shards);
        if let Some((_, shard)) = shards.find(|(own, _)| **own == id) {
            return &shard.replicas;
        }
        let mut orphans = self.lineage.orphans().iter().zip(&self.orphans);
        let orphan = orphans.find(|(own, _)| **own == Some(id));
        orphan.map_or(&[], |(_, orphan)| &orphan.replicas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::cluster::slot::Slot;
    use crate::cluster::topology::Orphan;
    use crate::cluster::topology::{NO_SHARD, Topology};
    use crate::command::Table;
    use crate::proxy::upstream::node::Node;
    use slab::Slab;
    use std::net::SocketAddr;
    use std::sync::Arc;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Three masters with slots, the third of them with a replica; and one without slots.
    fn whole() -> Topology {
        let mut topology = Topology::of_masters(&[at(1), at(2), at(3), at(4), at(5)]);
        topology.shards.truncate(3);
        topology.shards[2].replicas = vec![3];
        topology.spare = vec![4];
        for (slot, shard) in topology.slots.iter_mut().enumerate() {
            *shard = (slot * 3 / 16384) as u16;
        }
        topology
    }

    /// The same once the first master is called dead.
    fn orphaned() -> Topology {
        let mut topology = whole();
        topology.shards.remove(0);
        for shard in topology.slots.iter_mut() {
            *shard = shard.checked_sub(1).unwrap_or(NO_SHARD);
        }
        topology.orphans = vec![Orphan {
            id: "dead".to_string(),
            slots: vec![(0, 5461)],
            replicas: Vec::new(),
        }];
        topology
    }

    struct Rig {
        routes: Routes,
        nodes: Slab<Node>,
        table: Table,
    }

    impl Rig {
        fn new() -> Rig {
            let mut rig = Rig {
                routes: Routes::default(),
                nodes: Slab::new(),
                table: Table::compiled(),
            };
            rig.adopt(whole());
            rig
        }

        fn adopt(&mut self, topology: Topology) {
            self.routes.adopt(Arc::new(topology), &mut self.nodes);
        }

        fn key(&self, port: u16) -> NodeKey {
            self.routes.node_at(&at(port)).expect("it is listed")
        }

        fn everyone(&self, command: &str, replicas: bool) -> Vec<Asked> {
            let row = self.table.named(command.as_bytes()).expect("a row");
            self.routes.everyone(row, replicas).collect()
        }

        /// The shard whose master is at this port.
        fn shard(&self, port: u16) -> Asked {
            let all = self.everyone("dbsize", false).into_iter();
            let mut own = all.filter(|asked| asked.node() == Some(self.key(port)));
            own.next().expect("it is the master of a shard")
        }

        fn id(&self, port: u16) -> ShardId {
            match self.shard(port) {
                Asked::Shard { id, .. } => id,
                other => panic!("no shard: {other:?}"),
            }
        }
    }

    #[test]
    fn every_shard_is_asked_also_without_its_master() {
        let mut rig = Rig::new();
        let [first, second, third] = [1, 2, 3].map(|port| rig.shard(port));
        let id = rig.id(1);
        let spare = Asked::Spare(rig.key(5));
        assert_eq!(rig.everyone("dbsize", false), [first, second, third, spare]);
        assert_eq!(rig.everyone("script|exists", false), [first, second, third]);
        let nodes = [1, 2, 3].map(|port| Asked::Master(rig.key(port)));
        let nodes = [&nodes[..], &[Asked::Replica(rig.key(4))]].concat();
        assert_eq!(rig.everyone("script|load", true), nodes);
        rig.adopt(orphaned());
        let orphan = Asked::Shard { id, master: None };
        assert_eq!(
            rig.everyone("dbsize", false),
            [second, third, orphan, spare]
        );
        assert_eq!(rig.everyone("script|load", true), nodes[1..]);
        assert_eq!(rig.routes.master_of_shard(id), Successor::Nobody);
        let mut topology = whole();
        (topology.shards[0].master, topology.spare) = (4, Vec::new());
        rig.adopt(topology);
        let master = rig.routes.master_of_shard(id);
        assert_eq!(master, Successor::Master(rig.key(5)));
    }

    #[test]
    fn who_has_answered_for_a_shard_answers_for_it_once_it_is_gone() {
        let mut rig = Rig::new();
        let [first, second, third] = [1, 2, 3].map(|port| rig.shard(port));
        let [one, other, replica] = [1, 3, 4].map(|port| rig.routes.executor(rig.key(port)));
        let stranger = rig.routes.executor(rig.key(5));
        assert_eq!(stranger.shard, None);
        let all = [first, second, third];
        let answered = |rig: &Rig, executor| all.map(|own| rig.routes.answers_for(executor, own));
        // Nobody knows the master any more, and its shard is without one; then another is promoted.
        for promoted in [false, true] {
            assert_eq!(answered(&rig, one), [true, false, false]);
            assert_eq!(answered(&rig, other), [false, false, true]);
            assert_eq!(answered(&rig, replica), [false, false, true]);
            assert_eq!(answered(&rig, stranger), [false; 3]);
            let mut topology = orphaned();
            if promoted {
                topology = whole();
                topology.shards[0].master = 4;
                topology.spare.clear();
            }
            topology.nodes[0].address = at(9);
            rig.adopt(topology);
            assert_eq!(rig.routes.node_at(&at(1)), None);
        }
        assert_eq!(answered(&rig, one), [true, false, false]);
        let master = rig.everyone("dbsize", false)[0];
        assert_eq!(master.node(), Some(stranger.node));
        assert!(rig.routes.answers_for(one, master));
        // Slots of a shard that is no more are where they were moved to.
        let mut topology = whole();
        topology.nodes[0].address = at(9);
        topology.shards.remove(0);
        let slots = topology.slots.iter_mut();
        slots.for_each(|shard| *shard = shard.saturating_sub(1));
        rig.adopt(topology);
        let mut all = rig.everyone("dbsize", false).into_iter();
        assert!(all.all(|own| !rig.routes.answers_for(one, own)));
    }

    #[test]
    fn no_part_goes_to_another_node_because_slots_move() {
        let mut rig = Rig::new();
        let (first, second) = (rig.key(1), rig.key(2));
        let id = rig.id(1);
        let learn = |rig: &mut Rig, slot, node| {
            rig.routes
                .learn(Slot::new(slot).unwrap(), node, Time::from_micros(1));
        };
        (0..5462).for_each(|slot| learn(&mut rig, slot, second));
        let master = rig.routes.master_of_shard(id);
        assert_eq!(master, Successor::Master(first));
        // A redirect to a replica: it was promoted, and its shard's part will follow to it.
        let (third, replica) = (rig.key(3), rig.key(4));
        learn(&mut rig, 16383, replica);
        assert_eq!(rig.everyone("dbsize", false).len(), 4);
        let nodes = rig.everyone("script|load", true);
        assert_eq!(nodes[2..], [Asked::Master(third), Asked::Replica(replica)]);
        // The topology tells that the first has no slot any more: what it still has is for itself to say.
        let mut topology = whole();
        topology.shards.remove(0);
        let slots = topology.slots.iter_mut();
        slots.for_each(|shard| *shard = shard.saturating_sub(1));
        topology.spare.push(0);
        let heir = rig.id(2);
        rig.adopt(topology.clone());
        assert_eq!(rig.routes.master_of_shard(id), Successor::Heir(heir));
        assert!(rig.everyone("dbsize", false).contains(&Asked::Spare(first)));
    }

    /// Its node is forgotten, and the place of that among the nodes taken by another, before anybody is promoted.
    #[test]
    fn a_shard_is_the_same_although_its_master_is_forgotten() {
        let mut rig = Rig::new();
        let id = rig.id(1);
        for port in [8, 9] {
            let mut topology = orphaned();
            topology.nodes[0].address = at(port);
            topology.spare.push(0);
            rig.adopt(topology);
            assert_eq!(rig.routes.master_of_shard(id), Successor::Nobody);
        }
        let mut topology = whole();
        topology.nodes[0].address = at(9);
        (topology.shards[0].master, topology.spare) = (4, vec![0]);
        // Its first slots have been moved, too.
        topology.slots[..100].fill(1);
        rig.adopt(topology);
        let master = rig.routes.master_of_shard(id);
        assert_eq!(master, Successor::Master(rig.key(5)));
    }
}
