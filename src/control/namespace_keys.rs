//! How many keys the slots of namespaces have, asked of their masters every ten seconds by a thread of its own: for
//! `/metrics`, INFO and the page. Without namespaces there is no such thread.
//!
//! It must never know what workers do.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::allocator;
use crate::cluster::slot::Slot;
use crate::cluster::topology::Topology;
use crate::config::Config;
use crate::control::node_connection::{Failure, NodeConnection};
use crate::control::password_refusals::PasswordRefusals;
use crate::control::state::Latest;
use crate::net::tls::Context;
use crate::proxy::process::Process;
use crate::proxy::stats::namespace_counts::{NamespaceTotals, SlotKeys};
use crate::resp::value::Value;

/// How often they are asked.
const PERIOD: Duration = Duration::from_secs(10);
/// Slots that one node is asked for in one request.
const SLOTS_AT_ONCE: usize = 64;
/// Least time that a node has for its answers.
const ANSWER_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Starts the thread, if there are namespaces.
pub fn spawn(process: Arc<Process>, latest: Arc<Latest>, tls: Arc<Context>) -> io::Result<()> {
    if process.namespaces().is_empty() {
        return Ok(());
    }
    let mut survey = KeySurvey {
        process,
        latest,
        tls,
        connections: BTreeMap::new(),
        refusals: PasswordRefusals::default(),
    };
    thread::Builder::new()
        .name("namespace-keys".to_string())
        .spawn(move || {
            loop {
                allocator::apart("namespace-keys", || survey.ask());
                thread::sleep(PERIOD);
            }
        })?;
    Ok(())
}

struct KeySurvey {
    process: Arc<Process>,
    latest: Arc<Latest>,
    tls: Arc<Context>,
    connections: BTreeMap<SocketAddr, NodeConnection>,
    refusals: PasswordRefusals,
}

impl KeySurvey {
    /// Asks once. A slot whose node does not answer has no number.
    fn ask(&mut self) {
        let config = self.process.live.config();
        let slots = match self.latest.topology() {
            Some(topology) => slots_by_master(&self.process.namespaces(), &topology),
            None => BTreeMap::new(),
        };
        self.connections.retain(|node, _| slots.contains_key(node));
        let mut found = HashMap::new();
        for (node, slots) in slots {
            for some in slots.chunks(SLOTS_AT_ONCE) {
                match self.count(node, some, &config) {
                    Ok(counts) => {
                        let counts = some.iter().zip(counts);
                        found.extend(counts.filter_map(|(slot, keys)| {
                            let keys = SlotKeys { keys: keys?, node };
                            Some((*slot, keys))
                        }));
                    }
                    Err(failure) => {
                        if matches!(failure, Failure::Auth(_)) {
                            self.refusals.refused(node, Instant::now());
                        }
                        log::debug!("keys of namespaces: {node}: {failure}");
                        break;
                    }
                }
            }
        }
        self.process.set_slot_keys(found);
    }

    /// How many keys these slots have, as this node says. (It says 0 of slots that are not its own.)
    fn count(
        &mut self,
        node: SocketAddr,
        slots: &[Slot],
        config: &Config,
    ) -> Result<Vec<Option<u64>>, Failure> {
        if self.refusals.forbid(node, Instant::now()) {
            return Ok(Vec::new());
        }
        let mut connection = match self.connections.remove(&node) {
            Some(connection) => connection,
            None => NodeConnection::open(node, &self.tls, config.connect_timeout)?,
        };
        let numbers: Vec<String> = slots.iter().map(|slot| slot.number().to_string()).collect();
        let requests: Vec<[&[u8]; 3]> = numbers
            .iter()
            .map(|number| [&b"CLUSTER"[..], b"COUNTKEYSINSLOT", number.as_bytes()])
            .collect();
        let requests: Vec<&[&[u8]]> = requests.iter().map(|words| &words[..]).collect();
        let timeout = config.connect_timeout.max(ANSWER_TIMEOUT_MIN);
        let replies = connection.replies(config, Instant::now() + timeout, &requests)?;
        self.connections.insert(node, connection);
        let counts = replies.iter().map(|reply| match Value::parse(reply) {
            Ok(Some((Value::Integer(keys), _))) => u64::try_from(keys).ok(),
            _ => None,
        });
        Ok(counts.collect())
    }
}

/// The slots of namespaces that are in use, by their masters.
fn slots_by_master(
    namespaces: &[NamespaceTotals],
    topology: &Topology,
) -> BTreeMap<SocketAddr, Vec<Slot>> {
    let mut slots: BTreeMap<SocketAddr, Vec<Slot>> = BTreeMap::new();
    for own in namespaces.iter().filter(|own| own.is_told()) {
        let shard = topology.slots[usize::from(own.slot.number())];
        if let Some(shard) = topology.shards.get(usize::from(shard)) {
            let master = topology.nodes[usize::from(shard.master)].address;
            let slots = slots.entry(master).or_default();
            // Two names may share a slot.
            if !slots.contains(&own.slot) {
                slots.push(own.slot);
            }
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::topology::NO_SHARD;

    fn of(name: &str, database: u16, requests: u64) -> NamespaceTotals {
        NamespaceTotals {
            name: name.to_string(),
            database,
            slot: Slot::of(name.as_bytes()),
            clients: 0,
            requests,
            bytes_in: 0,
            bytes_out: 0,
            keys: None,
        }
    }

    #[test]
    fn a_master_is_asked_for_slots_in_use_once_each() {
        let nodes = [7001, 7002].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut topology = Topology::of_masters(&nodes);
        let slot = |name: &str| Slot::of(name.as_bytes());
        let names = ["a", "b", "jobs"];
        let owner = |name: &str| nodes[usize::from(slot(name).number() >= 8192)];
        let mut all = names.map(|name| of(name, 0, 0)).to_vec();
        // The first database is always asked for, another one when somebody has been there.
        all.push(of("unused", 1, 0));
        all.push(of("used", 1, 1));
        all.push(of("a", 0, 7));
        let found = slots_by_master(&all, &topology);
        let total: usize = found.values().map(Vec::len).sum();
        assert_eq!(total, 4);
        for name in ["a", "b", "jobs", "used"] {
            assert!(found[&owner(name)].contains(&slot(name)), "{name}");
        }
        topology.slots[usize::from(slot("a").number())] = NO_SHARD;
        let found = slots_by_master(&all, &topology);
        assert!(found.values().all(|slots| !slots.contains(&slot("a"))));
    }
}
