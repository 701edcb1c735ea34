//! `Routes`: which of this worker's nodes serves a slot, from the last topology and from the redirects
//! learnt since.
//!
//! A redirect is newer than any topology that was asked for before it: a refresh never undoes it. A redirect
//! is believed only if the topology knows its address; a name that nobody confirmed teaches nothing.
//!
//! It must never know which connections exist.

pub mod everyone;
mod lineage;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use lineage::ShardId;
use lineage::{Lineage, State};
use slab::Slab;

use crate::clock::Time;
use crate::cluster::scan::ShardList;
use crate::cluster::slot::{SLOTS, Slot};
use crate::cluster::topology::{NO_SHARD, Topology};
use crate::proxy::ids::{BackendId, NodeKey};
use crate::proxy::stats::node_stats::NodeStats;
use crate::proxy::upstream::Target;
use crate::proxy::upstream::node::Node;
use crate::resp::encode::Protocol;

/// One master and its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRoute {
    /// The master.
    pub master: NodeKey,
    /// Its replicas.
    pub replicas: Vec<NodeKey>,
}

/// A shard without a master that can be asked (see `cluster::orphan`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanRoute {
    /// Its slots, as first and last of each range.
    slots: Vec<(u16, u16)>,
    /// Its replicas.
    replicas: Vec<NodeKey>,
}

/// Slot to nodes.
#[derive(Debug)]
pub struct Routes {
    slots: Box<[u16; SLOTS]>,
    shards: Vec<ShardRoute>,
    /// For each shard and protocol the connection that was last found to be the one to its master, until it
    /// is another (see `direct`).
    direct: Vec<[BackendId; Protocol::COUNT]>,
    /// Changes with every change of a slot's master.
    version: u32,
    /// When that was last the case, but for the first topology.
    changed_at: Option<Time>,
    /// Redirects that are newer than the topology.
    learnt: HashMap<u16, (NodeKey, Time)>,
    by_address: HashMap<SocketAddr, NodeKey>,
    topology: Option<Arc<Topology>>,
    /// The masters of that topology, in the order of a scan.
    in_order: Arc<ShardList>,
    /// Masters to which the topology gives no slot.
    spare: Vec<NodeKey>,
    /// Shards without masters that can be asked.
    orphans: Vec<OrphanRoute>,
    /// What was counted of nodes that are down: it is shown as long as the cluster lists them, and counted on when
    /// they are back.
    down: HashMap<SocketAddr, Arc<NodeStats>>,
    /// Which shard is which.
    lineage: Lineage,
}

impl Default for Routes {
    fn default() -> Routes {
        Routes {
            slots: Box::new([NO_SHARD; SLOTS]),
            shards: Vec::new(),
            direct: Vec::new(),
            version: 0,
            changed_at: None,
            learnt: HashMap::new(),
            by_address: HashMap::new(),
            topology: None,
            in_order: Arc::new(ShardList::new(&[NO_SHARD; SLOTS], &[""; 0])),
            spare: Vec::new(),
            orphans: Vec::new(),
            down: HashMap::new(),
            lineage: Lineage::default(),
        }
    }
}

impl Routes {
    /// Changes whenever some slot's master has changed.
    #[inline]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether some slot has got another master within the time before now.
    pub fn changed_within(&self, time: Duration, now: Time) -> bool {
        self.changed_at.is_some_and(|at| now.since(at) <= time)
    }

    /// What was counted of nodes that are down.
    pub fn down(&self) -> impl Iterator<Item = (SocketAddr, Arc<NodeStats>)> {
        let down = self.down.iter();
        down.map(|(address, stats)| (*address, stats.clone()))
    }

    /// Whether there has ever been a topology.
    pub fn is_known(&self) -> bool {
        self.topology.is_some()
    }

    /// The last topology.
    pub fn topology(&self) -> Option<&Arc<Topology>> {
        self.topology.as_ref()
    }

    /// The masters of the last topology, in the order in which a scan visits them; none without one.
    pub fn masters_in_order(&self) -> Arc<ShardList> {
        self.in_order.clone()
    }

    /// The shard that serves a slot.
    #[inline]
    pub fn shard(&self, slot: Slot) -> Option<&ShardRoute> {
        self.shards.get(self.slots[slot.index()] as usize)
    }

    /// The replicas of a slot that no master serves.
    #[cold]
    pub fn orphaned_replicas(&self, slot: Slot) -> &[NodeKey] {
        let has = |(first, last): &(u16, u16)| (*first..=*last).contains(&slot.number());
        let mut orphans = self.orphans.iter();
        let found = orphans.find(|orphan| orphan.slots.iter().any(has));
        found.map_or(&[], |orphan| &orphan.replicas)
    }

    /// The slot whose master carries the messages of all channels: the lowest that is served, so that every proxy
    /// of the cluster has the same one. While its master cannot be reached, that of the next shard.
    pub fn carrier(&self, nodes: &Slab<Node>) -> Option<Slot> {
        let (mut first, mut down) = (None, NO_SHARD);
        for (slot, shard) in (0..).zip(self.slots.iter().copied()) {
            let Some(route) = self.shards.get(usize::from(shard)) else {
                continue;
            };
            if shard == down {
                continue;
            }
            let master = nodes.get(usize::from(route.master.0));
            if master.is_some_and(|master| !master.is_failing()) {
                return Slot::new(slot);
            }
            first = first.or(Slot::new(slot));
            down = shard;
        }
        first
    }

    /// The shard of a slot, by its number; one that no shard has if nobody serves it.
    #[inline(always)]
    pub fn shard_index(&self, slot: Slot) -> u16 {
        self.slots[slot.index()]
    }

    /// The connection that was last found to be the one to the master of a slot: a shorthand, and a claim that
    /// is checked when used. It names nothing if none was found since the routes have changed.
    #[inline(always)]
    pub fn direct(&self, slot: Slot, protocol: Protocol) -> BackendId {
        let shard = self.direct.get(self.slots[slot.index()] as usize);
        shard.map_or(BackendId::NONE, |own| own[protocol.index()])
    }

    /// This is the one connection of its protocol to the master of a slot.
    pub fn found(&mut self, slot: Slot, protocol: Protocol, backend: BackendId) {
        let shard = self.slots[slot.index()] as usize;
        self.direct
            .resize(self.shards.len(), [BackendId::NONE; Protocol::COUNT]);
        if let Some(own) = self.direct.get_mut(shard) {
            own[protocol.index()] = backend;
        }
    }

    /// What was found may not be so any more.
    pub fn forget_found(&mut self) {
        self.direct.clear();
    }

    /// All shards that serve a slot, each once.
    pub fn shards(&self) -> &[ShardRoute] {
        &self.shards
    }

    /// Every master, and every replica too if `replicas` are wanted.
    pub fn targets(&self, replicas: bool) -> impl Iterator<Item = Target> {
        self.shards.iter().flat_map(move |shard| {
            let master = Target {
                node: shard.master,
                replica: false,
            };
            let others = shard.replicas.iter().filter(move |_| replicas);
            let others = others.map(|node| Target {
                node: *node,
                replica: true,
            });
            std::iter::once(master).chain(others)
        })
    }

    /// The node at this address, if the topology lists it.
    pub fn node_at(&self, address: &SocketAddr) -> Option<NodeKey> {
        self.by_address.get(address).copied()
    }

    /// The address of a node that the topology lists.
    pub fn address_of(&self, node: NodeKey) -> Option<SocketAddr> {
        let mut all = self.by_address.iter();
        all.find_map(|(address, key)| (*key == node).then_some(*address))
    }

    /// The node that a redirect means. `answering` is the node that sent it: an empty host is its own.
    pub fn resolve(&self, endpoint: &str, answering: SocketAddr) -> Option<NodeKey> {
        let (host, port) = endpoint.rsplit_once(':')?;
        if host.is_empty() || host == "?" {
            let address = SocketAddr::new(answering.ip(), port.parse().ok()?);
            return self.node_at(&address);
        }
        let topology = self.topology.as_ref()?;
        let index = match topology.announced.get(endpoint) {
            Some(index) => *index,
            None => *topology.announced.get(&endpoint.to_ascii_lowercase())?,
        };
        self.node_at(&topology.nodes.get(index as usize)?.address)
    }

    /// Takes over a topology. Nodes that it brings are added to `nodes`, those it lacks are unlisted.
    /// Returns whether any slot has another master than before.
    pub fn adopt(&mut self, topology: Arc<Topology>, nodes: &mut Slab<Node>) -> bool {
        let before: Vec<Option<NodeKey>> = self.masters().collect();
        let masters = |shards: &[ShardRoute]| -> Vec<NodeKey> {
            shards.iter().map(|shard| shard.master).collect()
        };
        let last = self.topology.take();
        // Redirects have added others behind them.
        let shards = last.as_ref().map_or(0, |last| last.shards.len());
        let masters_before = masters(&self.shards[..shards]);
        let replicas_before: Vec<Vec<NodeKey>> = self.shards[..shards]
            .iter()
            .map(|shard| shard.replicas.clone())
            .collect();
        let keys = self.intern(&topology, nodes);
        self.shards = topology
            .shards
            .iter()
            .map(|shard| ShardRoute {
                master: keys[shard.master as usize],
                replicas: shard
                    .replicas
                    .iter()
                    .map(|index| keys[*index as usize])
                    .collect(),
            })
            .collect();
        self.lineage.renew(
            State {
                masters: &masters_before,
                slots: last.as_ref().map_or(&[][..], |last| &last.slots[..]),
            },
            &replicas_before,
            State {
                masters: &masters(&self.shards),
                slots: &topology.slots[..],
            },
            topology.orphans.iter().map(|orphan| &orphan.slots[..]),
        );
        self.spare = topology
            .spare
            .iter()
            .map(|index| keys[*index as usize])
            .collect();
        self.orphans = topology
            .orphans
            .iter()
            .map(|orphan| OrphanRoute {
                slots: orphan.slots.clone(),
                replicas: orphan
                    .replicas
                    .iter()
                    .map(|index| keys[*index as usize])
                    .collect(),
            })
            .collect();
        self.slots.copy_from_slice(&topology.slots[..]);
        self.forget_found();
        self.in_order = Arc::new(ShardList::of(&topology));
        let asked_at = topology.asked_at;
        self.topology = Some(topology);
        self.learnt.retain(|_, (key, at)| {
            *at > asked_at && nodes.get(key.0 as usize).is_some_and(|node| node.listed)
        });
        for (slot, (key, _)) in self.learnt.clone() {
            self.assign(slot, key);
        }
        let changed = self.masters().ne(before.iter().copied());
        self.version = self.version.wrapping_add(u32::from(changed));
        if changed && last.is_some() {
            self.changed_at = self.changed_at.max(Some(asked_at));
        }
        changed
    }

    /// Takes a redirect for true: `slot` is served by `node` from now on.
    pub fn learn(&mut self, slot: Slot, node: NodeKey, now: Time) {
        self.learnt.insert(slot.number(), (node, now));
        if self.shard(slot).is_none_or(|shard| shard.master != node) {
            self.assign(slot.number(), node);
            self.version = self.version.wrapping_add(1);
            self.changed_at = Some(now);
        }
    }

    fn assign(&mut self, slot: u16, master: NodeKey) {
        let shard = self.shards.iter().position(|shard| shard.master == master);
        let shard = shard.unwrap_or_else(|| {
            self.shards.push(ShardRoute {
                master,
                replicas: Vec::new(),
            });
            self.shards.len() - 1
        });
        self.slots[slot as usize] = shard as u16;
    }

    fn masters(&self) -> impl Iterator<Item = Option<NodeKey>> {
        self.slots
            .iter()
            .map(|shard| self.shards.get(*shard as usize).map(|shard| shard.master))
    }

    fn intern(&mut self, topology: &Topology, nodes: &mut Slab<Node>) -> Vec<NodeKey> {
        for (_, node) in nodes.iter_mut() {
            node.listed = false;
        }
        let keys: Vec<NodeKey> = topology
            .nodes
            .iter()
            .map(|info| {
                let key = self
                    .by_address
                    .get(&info.address)
                    .copied()
                    .unwrap_or_else(|| {
                        let counted = self.down.remove(&info.address);
                        NodeKey(nodes.insert(Node::counted(info.address, counted)) as u16)
                    });
                self.by_address.insert(info.address, key);
                if let Some(node) = nodes.get_mut(key.0 as usize) {
                    node.listed = true;
                    node.same_idc = info.same_idc;
                }
                key
            })
            .collect();
        self.by_address
            .retain(|_, key| nodes.get(key.0 as usize).is_some_and(|node| node.listed));
        // A node without connections that nobody lists any more makes room for others.
        let is_down =
            |address: &SocketAddr| topology.down.iter().any(|node| node.address == *address);
        nodes.retain(|_, node| {
            let stays = node.listed || node.is_connected();
            if !stays && is_down(&node.address) {
                self.down.insert(node.address, node.stats.clone());
            }
            stays
        });
        self.down.retain(|address, _| is_down(address));
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::topology::DownNode;
    use crate::proxy::ids::UserId;
    use crate::proxy::upstream::backend::Flavor;
    use crate::proxy::upstream::exclusive::ExclusiveConnections;
    use crate::resp::encode::Protocol;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Nodes on these ports, each a master, sharing the slots in even ranges.
    fn topology(ports: &[u16], asked_at: u64) -> Arc<Topology> {
        let addresses: Vec<SocketAddr> = ports.iter().copied().map(address).collect();
        let named = ports.iter().zip(0..);
        Arc::new(Topology {
            announced: named
                .map(|(port, node)| (format!("host{port}:{port}"), node))
                .collect(),
            asked_at: Time::from_micros(asked_at),
            ..Topology::of_masters(&addresses)
        })
    }

    #[test]
    fn a_refresh_never_undoes_a_newer_redirect() {
        let (mut routes, mut nodes) = (Routes::default(), Slab::new());
        let slot = Slot::new(0).unwrap();
        assert!(routes.adopt(topology(&[1, 2], 10), &mut nodes));
        assert!(!routes.adopt(topology(&[1, 2], 11), &mut nodes));
        let second = routes.node_at(&address(2)).unwrap();
        let version = routes.version();
        routes.learn(slot, second, Time::from_micros(20));
        assert_ne!(routes.version(), version);
        assert_eq!(routes.shard(slot).unwrap().master, second);
        routes.adopt(topology(&[1, 2], 15), &mut nodes);
        assert_eq!(routes.shard(slot).unwrap().master, second);
        routes.adopt(topology(&[1, 2], 25), &mut nodes);
        assert_ne!(routes.shard(slot).unwrap().master, second);
    }

    #[test]
    fn redirects_are_resolved_by_what_the_topology_knows() {
        let (mut routes, mut nodes) = (Routes::default(), Slab::new());
        routes.adopt(topology(&[1, 2], 10), &mut nodes);
        let second = routes.node_at(&address(2));
        assert_eq!(routes.resolve("host2:2", address(1)), second);
        assert_eq!(routes.resolve("HOST2:2", address(1)), second);
        assert_eq!(routes.resolve(":2", address(1)), second);
        assert_eq!(routes.resolve("169.254.169.254:80", address(1)), None);
        assert_eq!(routes.resolve(":3", address(1)), None);
        assert_eq!(routes.resolve("", address(1)), None);
    }

    #[test]
    fn what_was_counted_of_a_node_outlasts_its_death_while_the_cluster_lists_it() {
        let (mut routes, mut nodes) = (Routes::default(), Slab::new());
        let stats = |nodes: &Slab<Node>, port| {
            let mut nodes = nodes.iter();
            let node = nodes.find(|(_, node)| node.address == address(port));
            node.map(|(_, node)| node.stats.clone())
        };
        routes.adopt(topology(&[1, 2], 10), &mut nodes);
        let counted = stats(&nodes, 2).unwrap();
        counted.connects.add(7);
        counted.failing.set(1);
        let mut dead = Topology::clone(&topology(&[1], 11));
        dead.down.push(DownNode {
            address: address(2),
            id: "two".to_string(),
            is_master: true,
        });
        let dead = Arc::new(dead);
        for _ in 0..3 {
            routes.adopt(dead.clone(), &mut nodes);
            assert!(stats(&nodes, 2).is_none());
            let down: Vec<_> = routes.down().collect();
            assert_eq!(down.len(), 1);
            assert!(Arc::ptr_eq(&down[0].1, &counted));
        }
        routes.adopt(topology(&[1, 2], 12), &mut nodes);
        assert!(Arc::ptr_eq(&stats(&nodes, 2).unwrap(), &counted));
        assert_eq!((counted.connects.get(), counted.failing.get()), (7, 0));
        // The cluster has forgotten it.
        routes.adopt(dead, &mut nodes);
        routes.adopt(topology(&[1], 13), &mut nodes);
        assert_eq!(routes.down().count(), 0);
    }

    #[test]
    fn departed_nodes_make_room() {
        let (mut routes, mut nodes) = (Routes::default(), Slab::new());
        for round in 0..100 {
            routes.adopt(
                topology(&[2 * round + 1, 2 * round + 2], round as u64),
                &mut nodes,
            );
            assert_eq!(nodes.len(), 2);
        }
        assert_eq!(routes.node_at(&address(1)), None);
    }

    /// A blocked client's connection outlived its node, whose place the next node got.
    #[test]
    fn a_node_stays_while_a_connection_is_lent() {
        let (mut routes, mut nodes) = (Routes::default(), Slab::new());
        routes.adopt(topology(&[1], 1), &mut nodes);
        let first = routes.node_at(&address(1)).unwrap();
        let flavor = Flavor {
            tracking: false,
            protocol: Protocol::Resp2,
            database: 0,
            read_only: false,
            user: UserId::OWN,
        };
        nodes[first.0 as usize].exclusive.ordered(flavor);
        routes.adopt(topology(&[2], 2), &mut nodes);
        assert_eq!(nodes.len(), 2);
        nodes[first.0 as usize].exclusive = ExclusiveConnections::default();
        routes.adopt(topology(&[2], 3), &mut nodes);
        assert_eq!(nodes.len(), 1);
    }
}
