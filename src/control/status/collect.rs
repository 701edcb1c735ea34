//! How the status is collected: from the counters of the workers, the topology in use and the state of the refresher.
//!
//! It must never know how a face (`/metrics`, `-top`, the page) shows it.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use crate::clock::Time;
use crate::cluster::slot::SLOTS;
use crate::cluster::topology::{NO_SHARD, Topology};
use crate::config::ReadyWhen;
use crate::control::process;
use crate::control::refresher::Trigger;
use crate::control::state::Sources;
use crate::control::status::*;
use crate::control::window;
use crate::proxy::deadlines::park_timeout;
use crate::proxy::process::Process;
use crate::proxy::stats::histogram::Latencies;
use crate::proxy::stats::namespace_counts::NamespaceTotals;
use crate::proxy::stats::node_stats::NodeTotals;
use crate::proxy::stats::slot_redirects;
use crate::sort;
use crate::turns::Stuck;

/// Ranges of slots that [`Ready`] names.
const UNCOVERED_SHOWN: usize = 32;

impl Status {
    /// How things are now.
    pub fn of(sources: &Sources) -> Status {
        let now = sources.clock.now();
        let process = &sources.process;
        let config = process.live.config();
        let topology = sources.latest.topology();
        let recent = sources.recent();
        let nodes = nodes(sources, &recent, topology.as_deref(), now);
        let started = process.started.duration_since(UNIX_EPOCH);
        let started = started.unwrap_or_default().as_secs_f64();
        let cluster = cluster(sources, topology.as_deref(), now);
        let rate = |at: usize| {
            let workers = process.workers.iter();
            workers.map(|stats| stats.per_second[at].get()).sum()
        };
        let counters = process.totals().into_iter();
        Status {
            version: VERSION,
            program: Program {
                name: env!("CARGO_PKG_NAME").to_string(),
                version: env!("CARGO_PKG_VERSION").to_string(),
                commit: env!("BUILD_COMMIT").to_string(),
                rustc: env!("BUILD_RUSTC").to_string(),
                run_id: process.run_id.clone(),
                pid: std::process::id(),
                listen: config.shown_listens(),
                started,
                uptime: process.uptime(now).as_secs_f64(),
                stood_still: process.standstills.total().as_secs_f64(),
                certificates: process
                    .certificates()
                    .iter()
                    .map(|own| {
                        (
                            own.flag.to_string(),
                            own.days_left(std::time::SystemTime::now()),
                        )
                    })
                    .collect(),
            },
            ready: ready(sources, &nodes, &cluster, now),
            workers: workers(sources, now),
            rates: Rates {
                commands: rate(0),
                bytes_in: rate(1),
                bytes_out: rate(2),
            },
            recent: Recent {
                seconds: recent.length.as_secs_f64(),
                requests: Percentiles::of(&recent.requests),
                nodes: Percentiles::of(&recent.nodes),
            },
            sample: sample(process),
            connect_time: Latency::of(&process.latencies(|stats| &stats.connect_times)),
            depths: depths(process),
            redirects: redirects(process, now),
            counters: sort::map(counters.map(|(name, value)| (name.to_string(), value))),
            leases: Leases {
                blocking: process.leases.blocking.load(Ordering::Relaxed) as u64,
                transactions: process.leases.transactions.load(Ordering::Relaxed) as u64,
            },
            namespaces: namespaces(process),
            commands: commands(sources, &recent),
            errors: sort::map(process.errors().0),
            nodes,
            topology: cluster,
            process: process::usage(),
            log: Log {
                level: sources.setting("log-level"),
                dropped: (sources.log_dropped)(),
            },
        }
    }
}

fn namespaces(process: &Process) -> Vec<Namespace> {
    let all = process.namespaces().into_iter();
    let told = all.filter(NamespaceTotals::is_told);
    told.map(|own| Namespace {
        database: own.database,
        slot: own.slot.number(),
        clients: own.clients,
        requests: own.requests,
        bytes_in: own.bytes_in,
        bytes_out: own.bytes_out,
        keys: own.keys.map(|found| found.keys),
        node: own
            .keys
            .map_or(String::new(), |found| found.node.to_string()),
        name: own.name,
    })
    .collect()
}

impl Latency {
    /// These latencies.
    pub fn of(latencies: &Latencies) -> Latency {
        Latency {
            count: latencies.count,
            seconds: latencies.micros as f64 / 1e6,
            p50_us: latencies.percentile(50.0),
            p99_us: latencies.percentile(99.0),
            p999_us: latencies.percentile(99.9),
            at_most: latencies.at_most(&BOUNDS_MICROS),
        }
    }
}

impl Node {
    /// What was counted of a node.
    fn counted(totals: &NodeTotals, recent: Option<&Latencies>) -> Node {
        Node {
            connections: totals.connections,
            busy: totals.busy,
            connecting: totals.connecting,
            in_flight: totals.in_flight,
            connects: totals.connects,
            failures: totals.failures,
            failed: by_reason([
                ("connect", totals.failures_connect),
                ("handshake", totals.failures_handshake),
                ("closed", totals.failures_closed),
                ("timeout", totals.failures_timeout),
                ("gone", totals.failures_gone),
                ("protocol", totals.failures_protocol),
            ]),
            errors: by_reason([
                ("timeout", totals.requests_timed_out),
                ("lost", totals.requests_lost),
                ("unavailable", totals.errors_unavailable),
                ("tryagain", totals.errors_tryagain),
                ("error", totals.errors_other),
            ]),
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
            moved: totals.moved,
            ask: totals.ask,
            latency: Latency::of(&totals.latencies),
            recent: Percentiles::of_some(recent),
            ..Node::default()
        }
    }

    /// Requests that it answered, or will answer no more.
    pub fn requests(&self) -> u64 {
        let lost = ["timeout", "lost"].map(|reason| self.errors.get(reason).copied().unwrap_or(0));
        self.latency.count + lost.iter().sum::<u64>()
    }
}

impl Percentiles {
    fn of(latencies: &Latencies) -> Percentiles {
        Percentiles {
            count: latencies.count,
            seconds: latencies.micros as f64 / 1e6,
            p50_us: latencies.percentile(50.0),
            p99_us: latencies.percentile(99.0),
            p999_us: latencies.percentile(99.9),
        }
    }

    /// Nothing is none of them.
    fn of_some(latencies: Option<&Latencies>) -> Percentiles {
        latencies.map(Percentiles::of).unwrap_or_default()
    }
}

/// The first worker that is stuck, and why.
pub fn stuck(sources: &Sources, now: Time) -> Option<(usize, Stuck)> {
    let beats = sources.heartbeats.iter().enumerate();
    beats
        .filter_map(|(worker, beat)| Some((worker, beat.stuck(now)?)))
        .next()
}

/// Which slots are served.
struct Coverage {
    served: usize,
    uncovered: Vec<String>,
}

impl Coverage {
    fn of(nodes: &[Node], cluster: &Cluster) -> Coverage {
        let up: HashSet<&str> = nodes
            .iter()
            .filter(|node| node.up)
            .map(|node| node.address.as_str())
            .collect();
        let (mut served, mut next, mut uncovered) = (0, 0, Vec::new());
        let mut miss = |first: usize, last: usize, why: &str| {
            if uncovered.len() < UNCOVERED_SHOWN {
                uncovered.push(format!("{first}-{last} ({why})"));
            }
        };
        for range in &cluster.ranges {
            if next < range.first {
                miss(next, range.first - 1, "no owner");
            }
            if up.contains(range.master.as_str()) {
                served += range.last + 1 - range.first;
            } else {
                miss(range.first, range.last, "its master is not up");
            }
            next = range.last + 1;
        }
        if next < SLOTS {
            miss(next, SLOTS - 1, "no owner");
        }
        Coverage { served, uncovered }
    }
}

fn ready(sources: &Sources, nodes: &[Node], cluster: &Cluster, now: Time) -> Ready {
    let mut reasons = Vec::new();
    let all_slots = sources.process.live.config().ready_when == ReadyWhen::AllSlots;
    let stuck = stuck(sources, now);
    if let Some((worker, why)) = stuck {
        reasons.push(format!("worker {worker} {why}"));
    }
    if cluster.slots_assigned < SLOTS && all_slots {
        reasons.push(format!(
            "{} of {SLOTS} slots have an owner",
            cluster.slots_assigned
        ));
    }
    let coverage = Coverage::of(nodes, cluster);
    if coverage.served < cluster.slots_assigned && all_slots {
        reasons.push(format!(
            "{} of {SLOTS} slots have a master that is up",
            coverage.served
        ));
    }
    if coverage.served == 0 {
        reasons.push("no master is up".to_string());
    }
    let draining = sources.process.draining.load(Ordering::Relaxed);
    if draining {
        reasons.push("draining".to_string());
    }
    Ready {
        ready: reasons.is_empty(),
        reasons,
        healthy: stuck.is_none(),
        slots_served: coverage.served,
        uncovered: coverage.uncovered,
        draining,
    }
}

fn workers(sources: &Sources, now: Time) -> Vec<Worker> {
    let stats = sources.process.workers.iter();
    let both = stats.zip(&sources.heartbeats).enumerate();
    both.map(|(worker, (stats, beat))| Worker {
        worker,
        silent: beat.silent(now).as_secs_f64(),
        turning: beat.turning(now).as_secs_f64(),
        up: beat.stuck(now).is_none(),
        clients: stats.clients_connected.get(),
        turns: stats.turns.get(),
        turn_time: {
            let mut latencies = Latencies::default();
            latencies.add(&stats.turn_times);
            Latency::of(&latencies)
        },
        longest_turn: stats.longest_turn.get() as f64 / 1e6,
        commands_per_second: stats.per_second[0].get(),
    })
    .collect()
}

fn commands(sources: &Sources, recent: &window::Recent) -> Vec<Command> {
    let table = sources.latest.table();
    let all = sources.process.commands().into_iter();
    all.filter_map(|calls| {
        let row = table.rows().get(usize::from(calls.command))?;
        Some(Command {
            name: row.name.to_string(),
            latency: Latency::of(&calls.latencies),
            failed: calls.failed,
            rejected: calls.rejected,
            parts: calls.parts,
            recent: Percentiles::of_some(recent.command(calls.command)),
        })
    })
    .collect()
}

fn sample(process: &Process) -> Sample {
    let seen = process.samples();
    Sample {
        requests_in_flight: seen.requests_in_flight,
        client_output_bytes: seen.client_output_bytes,
        client_output_bytes_max: seen.client_output_bytes_max,
        buffer_used_bytes: seen.buffer_used_bytes,
        buffer_free_bytes: seen.buffer_free_bytes,
    }
}

fn depths(process: &Process) -> Depths {
    let depths = process.latencies(|stats| &stats.depths);
    Depths {
        count: depths.count,
        sum: depths.micros,
        at_most: depths.at_most(&DEPTHS),
    }
}

fn redirects(process: &Process, now: Time) -> Redirects {
    let all = process.redirects(now);
    let migrating = all.iter().filter(|slot| slot.migrating).count();
    let most = all.iter().take(REDIRECTS_SHOWN);
    Redirects {
        slots: all.len(),
        migrating,
        most: most.map(|slot| SlotRedirects::of(slot, now)).collect(),
    }
}

impl SlotRedirects {
    /// What was counted of a slot.
    fn of(counted: &slot_redirects::SlotRedirects, now: Time) -> SlotRedirects {
        SlotRedirects {
            slot: counted.slot,
            moved: counted.moved,
            ask: counted.ask,
            tryagain: counted.tryagain,
            age: counted.age_seconds(now),
            migrating: counted.migrating,
        }
    }
}

fn by_reason<const N: usize>(reasons: [(&str, u64); N]) -> BTreeMap<String, u64> {
    let reasons = reasons.iter();
    sort::map(reasons.map(|(reason, count)| (reason.to_string(), *count)))
}

/// What is known of where a node stands in the cluster.
pub(in crate::control) struct Standing {
    id: String,
    /// `master` or `replica`.
    pub role: &'static str,
    /// Slots that it serves as a master.
    pub slots: usize,
    /// Whether the cluster takes it for dead, or the node that answered last suspects it.
    pub down: bool,
}

/// All nodes that the cluster lists, be they dead.
pub(in crate::control) fn standings(topology: Option<&Topology>) -> BTreeMap<SocketAddr, Standing> {
    let mut standings = BTreeMap::new();
    let Some(topology) = topology else {
        return standings;
    };
    let mut slots = vec![0; topology.shards.len()];
    for shard in topology.slots.iter() {
        if let Some(own) = slots.get_mut(usize::from(*shard)) {
            *own += 1;
        }
    }
    for (index, node) in topology.nodes.iter().enumerate() {
        let mut shards = topology.shards.iter().zip(&slots);
        let own = shards.find(|(shard, _)| usize::from(shard.master) == index);
        let spare = topology.spare.contains(&(index as u16));
        let standing = Standing {
            id: node.id.clone(),
            role: if own.is_some() || spare {
                "master"
            } else {
                "replica"
            },
            slots: own.map_or(0, |(_, slots)| *slots),
            down: false,
        };
        standings.insert(node.address, standing);
    }
    for node in &topology.down {
        let standing = standings.entry(node.address).or_insert_with(|| Standing {
            id: node.id.clone(),
            role: if node.is_master { "master" } else { "replica" },
            slots: 0,
            down: true,
        });
        // Another node may have taken its address meanwhile.
        standing.down |= standing.id == node.id;
    }
    standings
}

fn nodes(
    sources: &Sources,
    recent: &window::Recent,
    topology: Option<&Topology>,
    now: Time,
) -> Vec<Node> {
    let standings = standings(topology);
    let mut all = sources.process.nodes();
    for address in standings.keys() {
        all.entry(*address).or_default();
    }
    let serves = |node: &SocketAddr| all.get(node).is_some_and(|own| own.connections > 0);
    let unreachable = sources.refresher.unreachable(now, serves);
    all.into_iter()
        .map(|(address, totals)| {
            let standing = standings.get(&address);
            let down = standing.is_some_and(|standing| standing.down);
            Node {
                address: address.to_string(),
                role: standing
                    .map_or("unlisted", |standing| standing.role)
                    .to_string(),
                id: standing.map_or(String::new(), |standing| standing.id.clone()),
                slots: standing.map_or(0, |standing| standing.slots),
                up: totals.failing == 0 && !down && !unreachable.contains(&address),
                down,
                silent: totals.silent,
                ..Node::counted(&totals, recent.node(address))
            }
        })
        .collect()
}

fn cluster(sources: &Sources, topology: Option<&Topology>, now: Time) -> Cluster {
    let refresher = &sources.refresher;
    let reloads = Trigger::ALL.map(|trigger| {
        let reloads = Reloads {
            succeeded: refresher.succeeded(trigger),
            failed: refresher.failed(trigger),
        };
        (trigger.to_string(), reloads)
    });
    let success = refresher.last_success();
    let config = sources.process.live.config();
    let park_timeout = park_timeout::timeout(&config, &sources.latest.servers());
    let mut cluster = Cluster {
        park_timeout: park_timeout.as_secs_f64(),
        age: success.map(|at| now.since(at).as_secs_f64()),
        last_success: success.map_or(0.0, |at| sources.process.wall_clock(at).as_secs_f64()),
        reloads: sort::map(reloads),
        ..Cluster::default()
    };
    let Some(topology) = topology else {
        return cluster;
    };
    let address = |node: u16| topology.nodes[usize::from(node)].address.to_string();
    cluster.epoch = topology.epoch;
    for (slot, shard) in topology.slots.iter().enumerate() {
        if *shard == NO_SHARD {
            continue;
        }
        cluster.slots_assigned += 1;
        let joined = slot > 0 && topology.slots[slot - 1] == *shard;
        match cluster.ranges.last_mut() {
            Some(range) if joined => range.last = slot,
            Some(_) | None => cluster.ranges.push(Range {
                first: slot,
                last: slot,
                master: address(topology.shards[usize::from(*shard)].master),
            }),
        }
    }
    let shards = topology.shards.iter();
    cluster.shards = shards
        .map(|shard| Shard {
            master: address(shard.master),
            replicas: shard.replicas.iter().map(|node| address(*node)).collect(),
        })
        .collect();
    cluster
}
