//! `RefreshOrder`: which nodes a refresh asks for the topology, in which order, and how long it waits for each.
//!
//! A silent node (frozen, or cut off without a reset) must not delay the others. While there are other nodes, each
//! gets a small multiple of the time that recent replies took; if nobody answers, the slow ones are asked again with
//! the full timeout. During a failover no node is asked for long: the next one may already know who was promoted, and
//! the replicas of the dead master know first.
//!
//! It must never make a connection, resolve a name or read a clock.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;

use crate::cluster::topology::{NO_SHARD, Topology};
use crate::sort;

/// Refreshes over one connection before another node is asked, so that no single node is believed for ever.
pub(super) const ROUNDS_PER_LINK: u32 = 20;

/// The same in trouble, when refreshes follow each other as fast as they may.
const ROUNDS_PER_LINK_IN_TROUBLE: u32 = 2;

/// Least time that a node has for its answer while there are others to be asked.
const HASTE_MIN: Duration = Duration::from_millis(100);

/// So many times as long as the last answer took the next one may take.
const HASTE_FACTOR: u32 = 4;

/// Nodes that one refresh asks in haste: where all are slow, the haste costs a bounded time.
const HASTY_MAX: u32 = 5;

/// Addresses remembered as failed: where nodes come and go there is no end of them.
const SHUNNED_MAX: usize = 1000;

/// Someone to ask.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// A node at a known address.
    Node(SocketAddr),
    /// A startup node as it was configured.
    Startup(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(address) => address.fmt(f),
            Target::Startup(text) => text.fmt(f),
        }
    }
}

/// What is remembered from refresh to refresh of those who were asked.
#[derive(Debug)]
pub(super) struct RefreshOrder {
    random: Rng,
    /// The node that gave the last good answer, and how many more in a row it had given before.
    last: Option<(SocketAddr, u32)>,
    /// How long that answer took.
    took: Option<Duration>,
    /// Owners whose slots another node claims: to be asked themselves.
    doubted: Vec<SocketAddr>,
    /// Replicas of masters whose slots went to nobody: one of them is, or will be, promoted.
    heirs: Vec<SocketAddr>,
    /// Whose turn it is among the heirs; behind the last of them it is anybody's.
    turn: usize,
    /// Those who failed last time they were asked: to be asked last.
    shunned: HashSet<SocketAddr>,
    /// Nodes asked in haste in this refresh.
    hasty: u32,
}

impl RefreshOrder {
    /// Nothing is known of anyone.
    pub(super) fn new(random: Rng) -> RefreshOrder {
        RefreshOrder {
            random,
            last: None,
            took: None,
            doubted: Vec::new(),
            heirs: Vec::new(),
            turn: 0,
            shunned: HashSet::new(),
            hasty: 0,
        }
    }

    /// A refresh begins: whom it asks, in this order. An owner whose slots are in doubt; in trouble, an heir;
    /// the node that answered last; all others and the startup nodes in random order, in trouble those last,
    /// whose names may take time. Whoever is shunned and not the first is to be put off (see
    /// [`RefreshOrder::is_shunned`]).
    pub(super) fn plan(
        &mut self,
        current: Option<&Topology>,
        startup: &[String],
        in_trouble: bool,
    ) -> Vec<Target> {
        self.hasty = 0;
        let nodes = current.iter().flat_map(|topology| &topology.nodes);
        let nodes = nodes.map(|node| Target::Node(node.address));
        let startup = startup.iter().cloned().map(Target::Startup);
        let mut targets: Vec<Target> = nodes.chain(startup).collect();
        self.random.shuffle(&mut targets);
        if in_trouble {
            sort::by_key(&mut targets, |target| matches!(target, Target::Startup(_)));
        }
        if let Some(first) = self.first(in_trouble) {
            targets.insert(0, Target::Node(first));
        }
        targets
    }

    /// Who is asked before all others, if anyone is.
    fn first(&mut self, in_trouble: bool) -> Option<SocketAddr> {
        if !self.doubted.is_empty() {
            return Some(self.doubted[self.random.usize(..self.doubted.len())]);
        }
        if in_trouble && !self.heirs.is_empty() {
            let turn = self.turn % (self.heirs.len() + 1);
            self.turn = turn + 1;
            let heir = self.heirs.get(turn).copied();
            return heir.filter(|heir| !self.is_shunned(*heir));
        }
        let most = match in_trouble {
            true => ROUNDS_PER_LINK_IN_TROUBLE,
            false => ROUNDS_PER_LINK,
        };
        let (address, more) = self.last?;
        (more + 1 < most).then_some(address)
    }

    /// Whether it is to be asked only when nobody else has answered.
    pub(super) fn is_shunned(&self, address: SocketAddr) -> bool {
        self.shunned.contains(&address)
    }

    /// How long the next node may take to connect and to answer, if it is to be asked in haste; `full` is how
    /// long it has at most. `None`: it has that.
    pub(super) fn haste(&mut self, full: Duration) -> Option<Duration> {
        let haste = (self.took? * HASTE_FACTOR).max(HASTE_MIN);
        if haste >= full || self.hasty >= HASTY_MAX {
            return None;
        }
        self.hasty += 1;
        Some(haste)
    }

    /// It did not answer, or not well.
    pub(super) fn failed(&mut self, address: SocketAddr) {
        if self.shunned.len() >= SHUNNED_MAX {
            self.shunned.clear();
        }
        self.shunned.insert(address);
        if self.last.is_some_and(|(last, _)| last == address) {
            self.last = None;
        }
    }

    /// It gave a good answer after this time: `current` is the table now, `previous` was it before.
    pub(super) fn answered(
        &mut self,
        address: SocketAddr,
        took: Duration,
        doubted: Vec<SocketAddr>,
        current: &Topology,
        previous: Option<&Topology>,
    ) {
        self.shunned.remove(&address);
        self.took = Some(took);
        self.last = match self.last {
            Some((last, more)) if last == address => Some((last, more + 1)),
            _ => Some((address, 0)),
        };
        self.doubted = doubted;
        self.find_heirs(current, previous);
    }

    /// Whether there are owners whose slots another node claims.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.doubted.is_empty()
    }

    /// Heirs stay until all slots have owners again.
    fn find_heirs(&mut self, current: &Topology, previous: Option<&Topology>) {
        if current.covered() == current.slots.len() {
            self.heirs.clear();
            return;
        }
        let Some(previous) = previous else {
            return;
        };
        let mut orphaned = vec![false; previous.shards.len()];
        for (before, now) in previous.slots.iter().zip(current.slots.iter()) {
            if *before != NO_SHARD && *now == NO_SHARD {
                orphaned[usize::from(*before)] = true;
            }
        }
        let shards = previous.shards.iter().zip(&orphaned);
        for (shard, _) in shards.filter(|(_, orphaned)| **orphaned) {
            let replicas = shard.replicas.iter();
            let found = replicas.map(|node| previous.nodes[usize::from(*node)].address);
            self.heirs.extend(found);
        }
        let is_listed = |heir: &SocketAddr| current.nodes.iter().any(|node| node.address == *heir);
        self.heirs.retain(is_listed);
        sort::all(&mut self.heirs);
        self.heirs.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::topology::{NodeInfo, Shard};

    const FULL: Duration = Duration::from_secs(1);
    const QUICK: Duration = Duration::from_millis(1);

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn order() -> RefreshOrder {
        RefreshOrder::new(Rng::with_seed(7))
    }

    /// Masters at 1 to 3; replicas of the first at 4 and 5.
    fn whole() -> Topology {
        let mut topology = Topology::of_masters(&[at(1), at(2), at(3)]);
        for port in [4, 5] {
            topology.nodes.push(NodeInfo {
                address: at(port),
                id: port.to_string(),
                hostname: None,
                same_idc: false,
            });
        }
        topology.shards[0].replicas = vec![3, 4];
        topology
    }

    /// The same after the first master was called dead, before anyone is promoted.
    fn orphaned() -> Topology {
        let mut topology = whole();
        topology.nodes.remove(0);
        topology.shards = (0..2u16)
            .map(|master| Shard {
                master,
                replicas: Vec::new(),
                epoch: 1,
            })
            .collect();
        for slot in topology.slots.iter_mut() {
            *slot = slot.checked_sub(1).unwrap_or(NO_SHARD);
        }
        topology
    }

    fn first(order: &mut RefreshOrder, topology: &Topology, in_trouble: bool) -> Target {
        order.plan(Some(topology), &[], in_trouble).remove(0)
    }

    #[test]
    fn the_node_that_answered_is_asked_again_for_a_while_and_in_trouble_for_a_short_one() {
        for (in_trouble, most) in [(false, 20), (true, 2)] {
            let (mut order, topology) = (order(), whole());
            for _ in 0..most {
                order.answered(at(2), QUICK, vec![], &topology, Some(&topology));
                let named = order.first(in_trouble);
                let answers = order.last.unwrap().1 + 1;
                assert_eq!(named.is_some(), answers < most, "{answers}");
            }
            let all: HashSet<Target> = (0..99)
                .map(|_| first(&mut order, &topology, in_trouble))
                .collect();
            assert_eq!(all.len(), 5, "then it is anybody's turn");
        }
    }

    #[test]
    fn in_trouble_the_heirs_are_asked_in_turn_until_every_slot_has_an_owner() {
        let mut order = order();
        order.answered(at(2), QUICK, vec![], &whole(), None);
        assert!(order.heirs.is_empty());
        order.answered(at(2), QUICK, vec![], &orphaned(), Some(&whole()));
        assert_eq!(order.heirs, [at(4), at(5)]);
        // The table stays as it is: they are still the heirs.
        order.answered(at(2), QUICK, vec![], &orphaned(), Some(&orphaned()));
        let named: Vec<_> = (0..6).map(|_| order.first(true)).collect();
        let round = [Some(at(4)), Some(at(5)), None];
        assert_eq!(named, [round, round].concat());
        assert_eq!(
            order.first(false),
            Some(at(2)),
            "nobody waits for the slots: no connection more than before"
        );
        order.failed(at(4));
        let named: Vec<_> = (0..3).map(|_| order.first(true)).collect();
        assert_eq!(named, [None, Some(at(5)), None], "a silent heir can wait");
        order.answered(at(5), QUICK, vec![], &whole(), Some(&orphaned()));
        assert!(order.heirs.is_empty());
    }

    #[test]
    fn an_heir_that_has_left_is_none() {
        let (mut order, mut left) = (order(), orphaned());
        left.nodes.pop();
        order.answered(at(2), QUICK, vec![], &orphaned(), Some(&whole()));
        order.answered(at(2), QUICK, vec![], &left, Some(&orphaned()));
        assert_eq!(order.heirs, [at(4)]);
    }

    #[test]
    fn a_doubted_owner_goes_first_and_in_trouble_startup_nodes_go_last() {
        let (mut order, topology) = (order(), whole());
        order.answered(at(2), QUICK, vec![at(3)], &topology, None);
        assert!(order.is_in_doubt());
        let startup = ["one.test:1".to_string(), "two.test:1".to_string()];
        let plan = order.plan(Some(&topology), &startup, true);
        assert_eq!(plan[0], Target::Node(at(3)));
        assert_eq!(plan.len(), 1 + 5 + 2);
        let names = |target: &Target| matches!(target, Target::Startup(_));
        assert_eq!(plan.iter().position(names), Some(6));
        assert_eq!(order.plan(None, &startup, true).len(), 1 + 2);
    }

    #[test]
    fn haste_is_a_few_times_what_answers_take_and_ends_after_a_few_nodes() {
        let mut order = order();
        let _ = order.plan(None, &[], false);
        assert_eq!(order.haste(FULL), None, "nothing is known of any node");
        for (took, haste) in [(1, Some(100)), (50, Some(200)), (300, None)] {
            let took = Duration::from_millis(took);
            order.answered(at(2), took, vec![], &whole(), None);
            let haste = haste.map(Duration::from_millis);
            assert_eq!(order.haste(FULL), haste, "{took:?}");
        }
        order.answered(at(2), QUICK, vec![], &whole(), None);
        for _ in 0..2 {
            let _ = order.plan(None, &[], true);
            let hasty = (0..9).filter(|_| order.haste(FULL).is_some()).count();
            assert_eq!(hasty, HASTY_MAX as usize, "in each refresh");
        }
    }

    #[test]
    fn who_failed_is_shunned_until_it_answers_and_not_the_first_any_more() {
        let (mut order, topology) = (order(), whole());
        order.answered(at(2), QUICK, vec![], &topology, None);
        order.failed(at(2));
        assert!(order.is_shunned(at(2)));
        assert_eq!(order.first(false), None);
        order.answered(at(2), QUICK, vec![], &topology, None);
        assert!(!order.is_shunned(at(2)));
        assert_eq!(order.first(false), Some(at(2)));
        (1..=u16::MAX).for_each(|port| order.failed(at(port)));
        assert!(order.shunned.len() <= SHUNNED_MAX && order.is_shunned(at(u16::MAX)));
    }
}
