//! `Topology`: which node serves which slot, as one answer of the cluster says it. Immutable once made;
//! one refresher per process makes it, every worker gets the same `Arc`.
//!
//! It must never know how it was fetched, nor which connections exist.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::clock::Time;
use crate::cluster::slot::SLOTS;

/// Stands in `Topology::slots` where no shard serves the slot.
pub const NO_SHARD: u16 = u16::MAX;

/// The cluster at one moment.
#[derive(Debug, Clone)]
pub struct Topology {
    /// All nodes that can be asked, dead ones left out.
    pub nodes: Vec<NodeInfo>,
    /// The shards, each with one master.
    pub shards: Vec<Shard>,
    /// Masters without slots, as indices in `nodes`: a shard that joins is one, while its first slot is on its way.
    pub spare: Vec<u16>,
    /// Shards whose masters cannot be asked; their slots have no shard in `slots`.
    pub orphans: Vec<Orphan>,
    /// Nodes that the cluster lists and takes for dead, and those that the node which answered cannot reach: for
    /// those who watch the cluster, not for requests.
    pub down: Vec<DownNode>,
    /// Slot to index in `shards`, or [`NO_SHARD`].
    pub slots: Box<[u16; SLOTS]>,
    /// Every name under which a redirect may announce a node (`host:port` as the nodes write it, by IP and
    /// by hostname), to its index in `nodes`.
    pub announced: HashMap<String, u16>,
    /// The cluster's current epoch, as the answering node knows it.
    pub epoch: u64,
    /// When the question was asked: a redirect learnt after that is newer than this table.
    pub asked_at: Time,
}

/// A shard without a master that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The id of its master.
    pub id: String,
    /// Its slots that nobody else has taken over, as first and last of each range, in order; never empty.
    pub slots: Vec<(u16, u16)>,
    /// Its replicas that are up, as indices in [`Topology::nodes`].
    pub replicas: Vec<u16>,
}

impl Orphan {
    /// Whether a slot is one of its own.
    pub fn has(&self, slot: u16) -> bool {
        let mut ranges = self.slots.iter();
        ranges.any(|(first, last)| (*first..=*last).contains(&slot))
    }
}

impl Topology {
    /// The orphan that a slot belongs to.
    pub fn orphan(&self, slot: u16) -> Option<&Orphan> {
        self.orphans.iter().find(|orphan| orphan.has(slot))
    }
}

impl Topology {
    /// Masters without replicas at these addresses, each with its share of the slots, in order: a cluster for tests
    /// and benches.
    pub fn of_masters(addresses: &[SocketAddr]) -> Topology {
        Topology {
            nodes: addresses
                .iter()
                .map(|address| NodeInfo {
                    address: *address,
                    id: address.to_string(),
                    hostname: None,
                    same_idc: false,
                })
                .collect(),
            shards: (0..addresses.len() as u16)
                .map(|master| Shard {
                    master,
                    replicas: Vec::new(),
                    epoch: 1,
                })
                .collect(),
            spare: Vec::new(),
            orphans: Vec::new(),
            down: Vec::new(),
            slots: Box::new(std::array::from_fn(|slot| {
                (slot * addresses.len() / SLOTS) as u16
            })),
            announced: HashMap::new(),
            epoch: 1,
            asked_at: Time::default(),
        }
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Where it is reached (after `-node-map` and name resolution).
    pub address: SocketAddr,
    /// Its 40-digit node id.
    pub id: String,
    /// The host name that it announces, if it does.
    pub hostname: Option<String>,
    /// Whether it is in our own data centre (see `-read-prefer 2`).
    pub same_idc: bool,
}

/// A node that is down, as the cluster says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownNode {
    /// Where it was reached.
    pub address: SocketAddr,
    /// Its 40-digit node id.
    pub id: String,
    /// Whether it is a master, or was one when it was last heard of.
    pub is_master: bool,
}

/// One master and its replicas, as indices in [`Topology::nodes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// The master.
    pub master: u16,
    /// Its replicas that are up and linked.
    pub replicas: Vec<u16>,
    /// The master's config epoch: of two claims on a slot the higher one wins.
    pub epoch: u64,
}
