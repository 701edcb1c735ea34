//! Outages: logs what goes wrong with the cluster once when it begins, rarely while it lasts, and once when it ends,
//! with its duration and cost. A thread named `watch` looks, whether or not there are clients: once a second, and while
//! nothing happens with each refresh of the topology.
//!
//! It must never know a socket, and it changes nothing: it only reads what the workers and the refresher report.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::slot::SLOTS;
use crate::cluster::topology::Topology;
use crate::control::state::Sources;
use crate::control::status::collect::standings;
use crate::pulse::Pulse;

/// What goes on longer is told of again after so long, then after twice that, and so on.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// But at least so often.
const TOLD_AGAIN_MAX: Duration = Duration::from_secs(3600);
/// An outage is over when all has been well for so long: a node that comes and goes is one outage.
const CALM: Duration = Duration::from_secs(3);
/// The same of errors that clients get, which come in bursts.
const CALM_DOUBTS: Duration = Duration::from_secs(10);
/// A node that owes a reply and is silent for so many seconds is told of.
const SILENT: u64 = 2;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// A node is not there.
    Lost(SocketAddr),
    /// A node owes replies and sends nothing.
    Silent(SocketAddr),
    /// Slots have no owner that is up.
    Slots,
    /// Clients are told that their commands may have been executed.
    Doubts,
}

/// One look at everything.
#[derive(Debug, Default)]
struct Seen {
    nodes: BTreeMap<SocketAddr, SeenNode>,
    /// Slots without an owner that is up; nothing as long as no topology is known.
    unserved: usize,
    /// Commands that may have been executed, all so far.
    doubts: u64,
    /// Requests that waited for an owner in vain, all so far.
    expired: u64,
}

/// One node in it.
#[derive(Debug, Clone, Copy, Default)]
struct SeenNode {
    role: &'static str,
    slots: usize,
    up: bool,
    silent: u64,
    /// Connections to it that were lost or not made, all so far.
    failures: u64,
}

/// An outage that goes on.
#[derive(Debug)]
struct Outage {
    began: Time,
    /// When the log has told of it last, and how long after that it does again.
    told: Time,
    again: Duration,
    /// Since when all is well, if it is.
    well_since: Option<Time>,
    /// What is counted, when it began.
    base: u64,
    /// The greatest extent: slots, seconds.
    worst: u64,
}

/// All that go on, and who owned each slot last.
#[derive(Debug, Default)]
struct Outages {
    open: BTreeMap<Trouble, Outage>,
    /// What was counted of doubts at the last look.
    doubts: Option<u64>,
    topology: Option<Arc<Topology>>,
    /// The id and the address of each slot's last owner.
    owners: HashMap<usize, (String, SocketAddr)>,
}

/// Starts the thread. It ends with the process.
pub fn spawn(sources: Sources, pulse: Arc<Pulse>) -> io::Result<()> {
    let watch = move || {
        let mut outages = Outages::default();
        let (mut commands, mut is_busy) = (0, true);
        loop {
            pulse.wait(is_busy);
            let topology = sources.latest.topology();
            let mut lines = Vec::new();
            if let Some(topology) = &topology {
                // The refresher's thread has this in the log.
                if let Some(news) = outages.news(topology) {
                    sources.history.add_event(news);
                }
                lines.extend(outages.failovers(topology));
            }
            let now = sources.clock.now();
            let seen = Seen::of(&sources, topology.as_deref(), now);
            lines.extend(outages.look(&seen, now));
            let counted = sources.process.total(|stats| &stats.commands);
            is_busy = counted != commands || !outages.open.is_empty();
            commands = counted;
            for line in lines {
                log::warn!("{line}");
                sources.history.add_event(line);
            }
        }
    };
    let thread = thread::Builder::new().name("watch".to_string());
    thread.spawn(watch).map(|_detached| ())
}

impl Seen {
    fn of(sources: &Sources, topology: Option<&Topology>, now: Time) -> Seen {
        let process = &sources.process;
        let counted = process.node_counts();
        let serves = |node: &SocketAddr| counted.get(node).is_some_and(|own| own.connections > 0);
        let unreachable = sources.refresher.unreachable(now, serves);
        let nodes: BTreeMap<_, _> = standings(topology)
            .into_iter()
            .map(|(address, standing)| {
                let totals = counted.get(&address).cloned().unwrap_or_default();
                let gone = standing.down || unreachable.contains(&address);
                let node = SeenNode {
                    role: standing.role,
                    slots: standing.slots,
                    up: totals.failing == 0 && !gone,
                    silent: totals.silent,
                    failures: totals.failures,
                };
                (address, node)
            })
            .collect();
        let served: usize = nodes
            .values()
            .filter(|node| node.up)
            .map(|node| node.slots)
            .sum();
        Seen {
            nodes,
            unserved: topology.map_or(0, |_| SLOTS.saturating_sub(served)),
            doubts: process.total(|stats| &stats.unknown_outcomes),
            expired: process.total(|stats| &stats.expired),
        }
    }
}

impl Outages {
    /// What is new: a line each.
    fn look(&mut self, seen: &Seen, now: Time) -> Vec<String> {
        let mut lines = Vec::new();
        for (address, node) in &seen.nodes {
            self.note(Trouble::Lost(*address), !node.up, 0, seen, now, &mut lines);
            let silent = node.silent >= SILENT;
            let trouble = Trouble::Silent(*address);
            self.note(trouble, silent, node.silent, seen, now, &mut lines);
        }
        let unserved = seen.unserved as u64;
        self.note(
            Trouble::Slots,
            unserved > 0,
            unserved,
            seen,
            now,
            &mut lines,
        );
        let before = self.doubts.replace(seen.doubts);
        // All counters may have been put back to 0.
        let doubted = before.is_some_and(|before| seen.doubts > before);
        if doubted && !self.open.contains_key(&Trouble::Doubts) {
            let base = before.unwrap_or_default();
            self.begin(Trouble::Doubts, base, 0, seen, now, &mut lines);
        }
        self.note(Trouble::Doubts, doubted, 0, seen, now, &mut lines);
        self.forget_unlisted(seen, now, &mut lines);
        lines
    }

    fn note(
        &mut self,
        trouble: Trouble,
        is_bad: bool,
        extent: u64,
        seen: &Seen,
        now: Time,
        lines: &mut Vec<String>,
    ) {
        let Some(outage) = self.open.get_mut(&trouble) else {
            if is_bad {
                let base = count(trouble, seen);
                self.begin(trouble, base, extent, seen, now, lines);
            }
            return;
        };
        if is_bad {
            outage.well_since = None;
            outage.worst = outage.worst.max(extent);
            if now.since(outage.told) >= outage.again {
                outage.told = now;
                outage.again = (outage.again * 2).min(TOLD_AGAIN_MAX);
                lines.push(lasts(trouble, outage, seen, now));
            }
            return;
        }
        let since = *outage.well_since.get_or_insert(now);
        let calm = match trouble {
            Trouble::Doubts => CALM_DOUBTS,
            Trouble::Lost(_) | Trouble::Silent(_) | Trouble::Slots => CALM,
        };
        if now.since(since) >= calm {
            lines.push(ends(trouble, outage, seen, since));
            self.open.remove(&trouble);
        }
    }

    fn begin(
        &mut self,
        trouble: Trouble,
        base: u64,
        extent: u64,
        seen: &Seen,
        now: Time,
        lines: &mut Vec<String>,
    ) {
        lines.push(begins(trouble, base, extent, seen));
        let outage = Outage {
            began: now,
            told: now,
            again: TOLD_AGAIN,
            well_since: None,
            base,
            worst: extent,
        };
        self.open.insert(trouble, outage);
    }

    /// A node that the cluster lists no more is nobody's trouble.
    fn forget_unlisted(&mut self, seen: &Seen, now: Time, lines: &mut Vec<String>) {
        self.open.retain(|trouble, outage| {
            let (Trouble::Lost(address) | Trouble::Silent(address)) = trouble else {
                return true;
            };
            let listed = seen.nodes.contains_key(address);
            if !listed && matches!(trouble, Trouble::Lost(_)) {
                let long = Long(now.since(outage.began));
                lines.push(format!(
                    "node {address} was removed from the cluster, {long} after it was lost"
                ));
            }
            listed
        });
    }

    /// What is new in this table, if anything is.
    fn news(&self, topology: &Arc<Topology>) -> Option<String> {
        let known = self.topology.as_deref();
        let news = topology.describe(known);
        // Without a change that can be named it is the epoch alone.
        (known.is_none() || news.contains("; ")).then(|| format!("topology: {news}"))
    }

    /// Who has taken the slots of a master that is one no more. A slot that had no owner meanwhile is remembered.
    fn failovers(&mut self, topology: &Arc<Topology>) -> Vec<String> {
        let known = self.topology.as_ref();
        if known.is_some_and(|known| Arc::ptr_eq(known, topology) || known.same_as(topology)) {
            return Vec::new();
        }
        self.topology = Some(topology.clone());
        let masters: HashSet<&str> = topology
            .masters()
            .filter_map(|master| topology.nodes.get(usize::from(master)))
            .map(|node| node.id.as_str())
            .collect();
        let mut taken: BTreeMap<(SocketAddr, SocketAddr), usize> = BTreeMap::new();
        for (slot, shard) in topology.slots.iter().enumerate() {
            let shard = topology.shards.get(usize::from(*shard));
            let Some(node) = shard.and_then(|shard| topology.nodes.get(usize::from(shard.master)))
            else {
                continue;
            };
            let owner = self.owners.get(&slot);
            if owner.is_some_and(|(id, address)| *id == node.id && *address == node.address) {
                continue;
            }
            if let Some((id, address)) = owner
                && *id != node.id
                && !masters.contains(id.as_str())
            {
                *taken.entry((*address, node.address)).or_default() += 1;
            }
            self.owners.insert(slot, (node.id.clone(), node.address));
        }
        let lines = taken.into_iter();
        lines
            .map(|((from, to), slots)| {
                format!("failover: {to} took over {slots} slots from {from}")
            })
            .collect()
    }
}

/// What is counted while a trouble lasts, all so far.
fn count(trouble: Trouble, seen: &Seen) -> u64 {
    match trouble {
        Trouble::Lost(address) | Trouble::Silent(address) => {
            seen.nodes.get(&address).map_or(0, |node| node.failures)
        }
        Trouble::Slots => seen.expired,
        Trouble::Doubts => seen.doubts,
    }
}

fn begins(trouble: Trouble, base: u64, extent: u64, seen: &Seen) -> String {
    match trouble {
        Trouble::Lost(address) => {
            let node = seen.nodes.get(&address).copied().unwrap_or_default();
            match node.slots {
                0 => format!("node {address} ({}) is lost", node.role),
                slots => format!("node {address} ({}, {slots} slots) is lost", node.role),
            }
        }
        Trouble::Silent(address) => {
            format!("node {address} has not replied for {extent} s")
        }
        Trouble::Slots => format!("{extent} of {SLOTS} slots have no reachable master"),
        Trouble::Doubts => format!(
            "commands with unknown outcome: {} so far",
            seen.doubts.saturating_sub(base)
        ),
    }
}

fn lasts(trouble: Trouble, outage: &Outage, seen: &Seen, now: Time) -> String {
    let long = Long(now.since(outage.began));
    let count = count(trouble, seen).saturating_sub(outage.base);
    match trouble {
        Trouble::Lost(address) => {
            format!("node {address} has been lost for {long}; {count} connections failed")
        }
        Trouble::Silent(address) => {
            format!("node {address} has not replied for {long}")
        }
        Trouble::Slots => format!(
            "{} of {SLOTS} slots have had no reachable master for {long}; {count} requests timed out waiting",
            seen.unserved
        ),
        Trouble::Doubts => format!("commands with unknown outcome: {count} in the last {long}"),
    }
}

fn ends(trouble: Trouble, outage: &Outage, seen: &Seen, well_since: Time) -> String {
    let long = Long(well_since.since(outage.began));
    let count = count(trouble, seen).saturating_sub(outage.base);
    match trouble {
        Trouble::Lost(address) => {
            format!("node {address} is back after {long}; {count} connections failed")
        }
        Trouble::Silent(address) => format!(
            "node {address} replies again after {long}; its longest silence was {} s",
            outage.worst
        ),
        Trouble::Slots => format!(
            "all slots are served again after {long}; {} had no reachable master, {count} requests timed out waiting",
            outage.worst
        ),
        Trouble::Doubts => format!("no more commands with unknown outcome: {count} within {long}"),
    }
}

/// A time in whole seconds, or more than an hour in minutes.
struct Long(Duration);

impl fmt::Display for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs_f64().round() as u64 {
            seconds @ ..120 => write!(f, "{seconds} s"),
            seconds => write!(f, "{} min", seconds / 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn whole() -> Seen {
        let node = |role, slots| SeenNode {
            role,
            slots,
            up: true,
            ..SeenNode::default()
        };
        Seen {
            nodes: BTreeMap::from([(at(1), node("master", 16384)), (at(2), node("replica", 0))]),
            ..Seen::default()
        }
    }

    /// What is told in each second in which anything is.
    fn told(outages: &mut Outages, seconds: std::ops::Range<u64>, seen: &Seen) -> Vec<String> {
        let mut told = Vec::new();
        for second in seconds {
            let lines = outages.look(seen, Time::from_micros(second * 1_000_000));
            told.extend(lines.into_iter().map(|line| format!("{second}: {line}")));
        }
        told
    }

    #[test]
    fn a_node_that_is_lost_is_told_of_when_it_begins_and_ends_and_sparsely_between() {
        let (mut outages, mut seen) = (Outages::default(), whole());
        assert_eq!(told(&mut outages, 0..5, &seen), [""; 0]);
        seen.nodes.get_mut(&at(1)).unwrap().up = false;
        seen.unserved = 16384;
        let begin = [
            "5: node 127.0.0.1:1 (master, 16384 slots) is lost",
            "5: 16384 of 16384 slots have no reachable master",
        ];
        assert_eq!(told(&mut outages, 5..65, &seen), begin);
        seen.nodes.get_mut(&at(1)).unwrap().failures = 7;
        seen.expired = 3;
        let lasts = [
            "65: node 127.0.0.1:1 has been lost for 60 s; 7 connections failed",
            "65: 16384 of 16384 slots have had no reachable master for 60 s; 3 requests timed out waiting",
            "185: node 127.0.0.1:1 has been lost for 3 min; 7 connections failed",
            "185: 16384 of 16384 slots have had no reachable master for 3 min; 3 requests timed out waiting",
        ];
        assert_eq!(told(&mut outages, 65..200, &seen), lasts);
        let day = told(&mut outages, 200..86_400, &seen);
        assert!(day.len() < 70, "{}", day.len());
        let end = [
            "86403: node 127.0.0.1:1 is back after 1439 min; 0 connections failed",
            "86403: all slots are served again after 1439 min; 16384 had no reachable master, 0 requests timed out waiting",
        ];
        // Counters may be put back meanwhile.
        assert_eq!(told(&mut outages, 86_400..86_500, &whole()), end);
    }

    #[test]
    fn what_comes_and_goes_is_one_outage() {
        let (mut outages, mut seen) = (Outages::default(), whole());
        let mut all = Vec::new();
        for second in 0..60 {
            seen.nodes.get_mut(&at(2)).unwrap().up = second % 3 != 1 || second > 30;
            all.extend(told(&mut outages, second..second + 1, &seen));
        }
        let expected = [
            "1: node 127.0.0.1:2 (replica) is lost",
            "32: node 127.0.0.1:2 is back after 28 s; 0 connections failed",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn silence_doubts_and_nodes_that_leave_are_told_of() {
        let (mut outages, mut seen) = (Outages::default(), whole());
        seen.doubts = 100;
        assert_eq!(
            told(&mut outages, 0..2, &seen),
            [""; 0],
            "of before the start"
        );
        seen.nodes.get_mut(&at(1)).unwrap().silent = 2;
        let silent = ["2: node 127.0.0.1:1 has not replied for 2 s"];
        assert_eq!(told(&mut outages, 2..3, &seen), silent);
        seen.nodes.get_mut(&at(1)).unwrap().silent = 15;
        seen.doubts = 130;
        let doubts = ["3: commands with unknown outcome: 30 so far"];
        assert_eq!(told(&mut outages, 3..4, &seen), doubts);
        seen.nodes.get_mut(&at(1)).unwrap().silent = 0;
        seen.doubts = 150;
        let ends = [
            "7: node 127.0.0.1:1 replies again after 2 s; its longest silence was 15 s",
            "15: no more commands with unknown outcome: 50 within 2 s",
        ];
        assert_eq!(told(&mut outages, 4..60, &seen), ends);
        seen.nodes.get_mut(&at(2)).unwrap().up = false;
        assert_eq!(told(&mut outages, 60..61, &seen).len(), 1);
        seen.nodes.remove(&at(2));
        let left = ["70: node 127.0.0.1:2 was removed from the cluster, 10 s after it was lost"];
        assert_eq!(told(&mut outages, 70..80, &seen), left);
        assert!(outages.open.is_empty());
    }

    #[test]
    fn a_failover_is_seen_across_a_time_without_an_owner() {
        let mut outages = Outages::default();
        let whole = Topology::of_masters(&[at(1), at(2)]);
        assert_eq!(outages.failovers(&Arc::new(whole.clone())), [""; 0]);
        let mut orphaned = whole.clone();
        orphaned.epoch += 1;
        for slot in orphaned.slots.iter_mut().filter(|shard| **shard == 0) {
            *slot = crate::cluster::topology::NO_SHARD;
        }
        assert_eq!(outages.failovers(&Arc::new(orphaned)), [""; 0]);
        // Another node has the place of the first.
        let mut after = Topology::of_masters(&[at(3), at(2)]);
        after.nodes[0].id = "another".to_string();
        after.epoch += 2;
        let after = Arc::new(after);
        let expected = ["failover: 127.0.0.1:3 took over 8192 slots from 127.0.0.1:1"];
        assert_eq!(outages.failovers(&after), expected);
        assert_eq!(outages.failovers(&after), [""; 0]);
    }
}
