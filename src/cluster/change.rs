//! The difference between two topologies: for a worker, whether there is any; for the log, in one line.
//!
//! It must never know who asks.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use crate::cluster::slot::SLOTS;
use crate::cluster::topology::{NO_SHARD, Topology};

/// Moves, arrivals and departures that one line names; the rest is counted.
const NAMED_MAX: usize = 8;

impl Topology {
    /// Whether the other table says the same, whenever it was asked for. A worker to which an unchanged
    /// table comes has only to take its `asked_at`: what it learnt from redirects before that is settled.
    pub fn same_as(&self, other: &Topology) -> bool {
        self.epoch == other.epoch
            && self.nodes == other.nodes
            && self.shards == other.shards
            && self.spare == other.spare
            && self.orphans == other.orphans
            && self.slots == other.slots
            && self.announced == other.announced
    }

    /// All masters, as indices in `nodes`: those of the shards in their order, then those without slots.
    pub fn masters(&self) -> impl Iterator<Item = u16> {
        let with_slots = self.shards.iter().map(|shard| shard.master);
        with_slots.chain(self.spare.iter().copied())
    }

    /// How many slots have an owner.
    pub fn covered(&self) -> usize {
        self.slots
            .iter()
            .filter(|shard| **shard != NO_SHARD)
            .count()
    }

    /// The id and the address of a slot's master.
    fn master_of(&self, slot: usize) -> Option<(&str, String)> {
        let shard = self.shards.get(usize::from(self.slots[slot]))?;
        let node = &self.nodes[usize::from(shard.master)];
        Some((&node.id, node.address.to_string()))
    }

    /// One line: what this table is, and what is new since `previous`.
    pub fn describe(&self, previous: Option<&Topology>) -> String {
        let mut text = format!(
            "{} shards, {} nodes, {} of {SLOTS} slots covered, epoch {}",
            self.shards.len(),
            self.nodes.len(),
            self.covered(),
            self.epoch
        );
        let Some(previous) = previous else {
            return text;
        };
        let mut news = self.moves(previous);
        news.extend(nodes_missing(self, previous, "new node"));
        news.extend(nodes_missing(previous, self, "removed"));
        for one in news.iter().take(NAMED_MAX) {
            let _ = write!(text, "; {one}"); // writing to a String does not fail
        }
        if news.len() > NAMED_MAX {
            let _ = write!(text, "; and {} more changes", news.len() - NAMED_MAX);
        }
        text
    }

    /// `1000 slots from a to b`, one entry for each pair of masters.
    fn moves(&self, previous: &Topology) -> Vec<String> {
        let mut moves: BTreeMap<(String, String), usize> = BTreeMap::new();
        for slot in 0..SLOTS {
            let (from, to) = (previous.master_of(slot), self.master_of(slot));
            if from.as_ref().map(|(id, _)| *id) != to.as_ref().map(|(id, _)| *id) {
                let name = |master: Option<(&str, String)>| {
                    master.map_or_else(|| "no node".to_string(), |(_, address)| address)
                };
                *moves.entry((name(from), name(to))).or_default() += 1;
            }
        }
        moves
            .into_iter()
            .map(|((from, to), count)| format!("{count} slots from {from} to {to}"))
            .collect()
    }

    /// Asserts what always holds of a table.
    pub fn check(&self) {
        let node = |index: u16| assert!(usize::from(index) < self.nodes.len());
        for shard in &self.shards {
            node(shard.master);
            shard.replicas.iter().for_each(|replica| node(*replica));
        }
        for orphan in &self.orphans {
            orphan.replicas.iter().for_each(|replica| node(*replica));
            assert!(!orphan.slots.is_empty());
        }
        self.announced.values().for_each(|index| node(*index));
        assert!(
            self.slots
                .iter()
                .all(|shard| *shard == NO_SHARD || usize::from(*shard) < self.shards.len())
        );
    }
}

/// The nodes of `one` that `other` has not.
fn nodes_missing(one: &Topology, other: &Topology, word: &str) -> Vec<String> {
    let known: HashSet<&str> = other.nodes.iter().map(|node| node.id.as_str()).collect();
    one.nodes
        .iter()
        .filter(|node| !known.contains(node.id.as_str()))
        .map(|node| format!("{word} {}", node.address))
        .collect()
}
