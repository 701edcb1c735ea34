//! `Status`: the program at one moment, as plain data. `/metrics`, `/api/v1/status`, the summary of SIGUSR1 and
//! `-top` are four faces of it, so that they never disagree.
//!
//! Names are part of the API (`/api/v1`): fields may be added, and nothing else. Durations are seconds and
//! sizes are bytes unless a name says otherwise; counters count from the start, or from the last
//! CONFIG RESETSTAT.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::cluster::slot::SLOTS;
use crate::cluster::topology::{NO_SHARD, Topology};
use crate::config::ReadyWhen;
use crate::control::process;
use crate::control::refresher::Trigger;
use crate::control::state::Sources;
use crate::control::window;
use crate::proxy::deadlines::park_timeout;
use crate::proxy::process::Process;
use crate::proxy::stats::histogram::Latencies;
use crate::proxy::stats::node_stats::NodeTotals;
use crate::proxy::stats::slot_redirects;
use crate::turns::Stuck;

/// The version of this form.
pub const VERSION: u32 = 1;

/// Upper bounds of latencies in microseconds: what histograms are shown by.
pub const BOUNDS_MICROS: [u64; 15] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000,
];

/// Upper bounds of the replies owed on a connection: what [`Depths`] are shown by.
pub const DEPTHS: [u64; 11] = [1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 2047];

/// Ranges of slots that [`Ready`] names.
const UNCOVERED_SHOWN: usize = 32;

/// Slots that [`Redirects`] names.
pub const REDIRECTS_SHOWN: usize = 32;

/// The program at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`].
    pub version: u32,
    /// What this program is and how it was started.
    pub program: Program,
    /// Whether clients should be sent here.
    pub ready: Ready,
    /// Each worker, by its place.
    pub workers: Vec<Worker>,
    /// What is happening now.
    pub rates: Rates,
    /// All latencies of the last ten seconds.
    #[serde(default)]
    pub recent: Recent,
    /// What was open, owed and in flight when the workers last looked, a second ago or less.
    #[serde(default)]
    pub sample: Sample,
    /// How long it took until connections to nodes were ready.
    #[serde(default)]
    pub connect_time: Latency,
    /// Replies that a node owed on a connection when it was written to.
    #[serde(default)]
    pub depths: Depths,
    /// Slots that clients have been redirected at.
    #[serde(default)]
    pub redirects: Redirects,
    /// All counters of the workers together, by the names that INFO has behind `proxy_`.
    pub counters: BTreeMap<String, u64>,
    /// Connections lent to one client each.
    pub leases: Leases,
    /// Every command that was ever called.
    pub commands: Vec<Command>,
    /// Errors given to clients, by their first word.
    pub errors: BTreeMap<String, u64>,
    /// Every node that the cluster lists, be it dead, or that the workers know.
    pub nodes: Vec<Node>,
    /// The cluster as it is known.
    pub topology: Cluster,
    /// What the kernel says of this process.
    pub process: process::Usage,
    /// The log.
    pub log: Log,
}

/// What this program is and how it was started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The commit that a release was built from; `unknown` of any other build.
    #[serde(default)]
    pub commit: String,
    /// The compiler that built it.
    #[serde(default)]
    pub rustc: String,
    /// 40 digits that name this run.
    pub run_id: String,
    /// Its process.
    pub pid: u32,
    /// Where clients are served.
    pub listen: String,
    /// When it started, since 1970.
    pub started: f64,
    /// How long ago that was.
    pub uptime: f64,
    /// How much of that time the program did not run: stopped, or without a processor. No deadline counts it.
    #[serde(default)]
    pub stood_still: f64,
    /// The flags that name certificates of ours, and for how many days these are valid.
    #[serde(default)]
    pub certificates: Vec<(String, f64)>,
}

/// Whether clients should be sent here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether they should.
    pub ready: bool,
    /// If not, why.
    pub reasons: Vec<String>,
    /// Whether every worker turns.
    pub healthy: bool,
    /// Slots whose master is up, of 16384.
    #[serde(default)]
    pub slots_served: usize,
    /// The other slots, as `0-5460 (its master is not up)` or `0-5460 (no owner)`; at most 32 ranges.
    #[serde(default)]
    pub uncovered: Vec<String>,
    /// Whether clients are being sent away.
    pub draining: bool,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Its place.
    pub worker: usize,
    /// How long ago a turn of it last began or ended.
    pub silent: f64,
    /// How long the turn under way has taken; 0 if there is none.
    #[serde(default)]
    pub turning: f64,
    /// Whether it is not stuck, as /healthz says it.
    #[serde(default = "yes")]
    pub up: bool,
    /// Clients connected to it.
    pub clients: u64,
    /// Turns of its loop.
    pub turns: u64,
    /// How long its turns took, from the events to the last write.
    pub turn_time: Latency,
    /// How long the longest of them took; 0 if none took 10 ms.
    #[serde(default)]
    pub longest_turn: f64,
    /// Commands in the last second.
    pub commands_per_second: u64,
}

/// Connections lent to one client each, now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leases {
    /// For blocking commands.
    pub blocking: u64,
    /// For transactions.
    pub transactions: u64,
}

/// What is happening now: the last whole second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Commands.
    pub commands: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// All latencies of the last ten seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    /// How long that was: less than ten just after the start; 0 where nobody takes the seconds (no -debug-addr).
    pub seconds: f64,
    /// From requests' arrival to their replies.
    pub requests: Percentiles,
    /// From the moment that requests were written to nodes until their replies were read.
    pub nodes: Percentiles,
}

/// Latencies in short.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many there were.
    pub count: u64,
    /// Their sum.
    pub seconds: f64,
    /// The half of them took no longer, in microseconds, to one part in sixteen.
    pub p50_us: u64,
    /// Of a hundred 99 took no longer.
    pub p99_us: u64,
    /// Of a thousand 999.
    pub p999_us: u64,
}

/// What the workers saw when they last looked at everything they have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Requests taken and not answered.
    pub requests_in_flight: u64,
    /// Bytes of replies that clients have not taken.
    pub client_output_bytes: u64,
    /// Bytes of those that one client has not taken, the greatest.
    pub client_output_bytes_max: u64,
    /// Bytes of buffers that hold something.
    pub buffer_used_bytes: u64,
    /// Bytes of buffers kept for the next ones.
    pub buffer_free_bytes: u64,
}

/// How many replies a node owed on a connection that was written to, in one write of [`DEPTH_SAMPLE`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Depths {
    /// Writes that were looked at.
    pub count: u64,
    /// Replies owed in all of them.
    pub sum: u64,
    /// How many owed at most each of [`DEPTHS`].
    pub at_most: Vec<u64>,
}

/// Slots that clients have been redirected at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Redirects {
    /// How many slots.
    pub slots: usize,
    /// Those of them with an ASK or a TRYAGAIN in the last ten seconds.
    pub migrating: usize,
    /// Those of the most redirects, at most [`REDIRECTS_SHOWN`].
    pub most: Vec<SlotRedirects>,
}

/// The redirects of one slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotRedirects {
    /// The slot.
    pub slot: u16,
    /// MOVED.
    pub moved: u64,
    /// ASK.
    pub ask: u64,
    /// TRYAGAIN.
    pub tryagain: u64,
    /// How long ago the last one was, in whole seconds.
    pub age: u64,
    /// Whether there was an ASK or a TRYAGAIN in the last ten seconds.
    pub migrating: bool,
}

/// Latencies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// Their sum.
    pub seconds: f64,
    /// The half of them took no longer, in microseconds, to one part in sixteen.
    pub p50_us: u64,
    /// Of a hundred 99 took no longer.
    pub p99_us: u64,
    /// Of a thousand 999.
    pub p999_us: u64,
    /// How many took at most each of [`BOUNDS_MICROS`].
    pub at_most: Vec<u64>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Its name, with `|` before a subcommand.
    pub name: String,
    /// From its arrival to its reply.
    pub latency: Latency,
    /// Calls that were answered with an error.
    pub failed: u64,
    /// Requests that were refused before any node was asked.
    pub rejected: u64,
    /// Parts of requests that were cut, or were put to several nodes.
    #[serde(default)]
    pub parts: u64,
    /// The latencies of the last ten seconds.
    #[serde(default)]
    pub recent: Percentiles,
}

/// One node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Where it is reached.
    pub address: String,
    /// `master` or `replica`; `unlisted` if the topology has it no more.
    pub role: String,
    /// Its id in the cluster.
    pub id: String,
    /// Slots that it serves as a master.
    pub slots: usize,
    /// Whether it is there, as far as is known: no worker's last attempt to reach it failed, nor that to ask it for the
    /// topology, and the cluster does not take it for dead.
    pub up: bool,
    /// Whether the cluster takes it for dead, or the node that gave the topology cannot reach it.
    #[serde(default)]
    pub down: bool,
    /// For how many seconds it has owed a reply and sent nothing.
    #[serde(default)]
    pub silent: u64,
    /// Connections to it that are ready.
    pub connections: u64,
    /// Those of them that owe replies or are lent to one client.
    #[serde(default)]
    pub busy: u64,
    /// Connections that are not ready yet.
    #[serde(default)]
    pub connecting: u64,
    /// Replies that it owes.
    #[serde(default)]
    pub in_flight: u64,
    /// Connections that became ready.
    pub connects: u64,
    /// Connections that could not be made, or were lost.
    pub failures: u64,
    /// The same by reason: connect, handshake, closed, timeout, gone, protocol.
    #[serde(default)]
    pub failed: BTreeMap<String, u64>,
    /// Requests that got no answer or an error, by reason: timeout, lost, unavailable, tryagain, error.
    #[serde(default)]
    pub errors: BTreeMap<String, u64>,
    /// Bytes of its replies.
    pub bytes_in: u64,
    /// Bytes written to it.
    pub bytes_out: u64,
    /// MOVED redirects that it gave.
    pub moved: u64,
    /// ASK redirects that it gave.
    pub ask: u64,
    /// From the moment that a request was written until its reply was read.
    pub latency: Latency,
    /// The same, of the last ten seconds.
    #[serde(default)]
    pub recent: Percentiles,
}

/// The cluster as it is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its epoch, as the node knows it that answered last.
    pub epoch: u64,
    /// How long ago the topology was last asked for with success; nothing as long as it never was.
    pub age: Option<f64>,
    /// When that was, since 1970.
    pub last_success: f64,
    /// How long a request waits at most for its slot to have a reachable owner: `-park-timeout`, or what it is by
    /// the nodes' `cluster-node-timeout`.
    #[serde(default)]
    pub park_timeout: f64,
    /// Slots with an owner, of 16384.
    pub slots_assigned: usize,
    /// Ranges of slots, each with its master.
    pub ranges: Vec<Range>,
    /// Shards: each master and its replicas.
    pub shards: Vec<Shard>,
    /// Refreshes by what they were made for.
    pub reloads: BTreeMap<String, Reloads>,
}

/// Slots that one shard serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The first.
    pub first: usize,
    /// The last.
    pub last: usize,
    /// Their master.
    pub master: String,
}

/// A master and its replicas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// The master.
    pub master: String,
    /// Its replicas.
    pub replicas: Vec<String>,
}

/// Refreshes of the topology.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reloads {
    /// Those that gave a topology.
    pub succeeded: u64,
    /// Those that did not.
    pub failed: u64,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// Its level.
    pub level: String,
    /// Lines lost, for a full queue or a write that failed.
    pub dropped: u64,
}

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
                listen: config.listen.to_string(),
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
            counters: counters
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
            leases: Leases {
                blocking: process.leases.blocking.load(Ordering::Relaxed) as u64,
                transactions: process.leases.transactions.load(Ordering::Relaxed) as u64,
            },
            commands: commands(sources, &recent),
            errors: process.errors().0.into_iter().collect(),
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

/// A program from before there was this field told of no trouble.
fn yes() -> bool {
    true
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
    let reasons = reasons.into_iter();
    reasons
        .map(|(reason, count)| (reason.to_string(), count))
        .collect()
}

/// What is known of where a node stands in the cluster.
pub(super) struct Standing {
    id: String,
    /// `master` or `replica`.
    pub role: &'static str,
    /// Slots that it serves as a master.
    pub slots: usize,
    /// Whether the cluster takes it for dead, or the node that answered last suspects it.
    pub down: bool,
}

/// All nodes that the cluster lists, be they dead.
pub(super) fn standings(topology: Option<&Topology>) -> BTreeMap<SocketAddr, Standing> {
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
    let serves = |node: &SocketAddr| all.get(node).is_some_and(|own| own.connections > 0);
    let unreachable = sources.refresher.unreachable(now, serves);
    for address in standings.keys() {
        all.entry(*address).or_default();
    }
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
        reloads: reloads.into_iter().collect(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::state::ControlState;
    use crate::turns::Heartbeat;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_worker_that_does_not_turn_is_found() {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let mut sources = ControlState::for_tests(Arc::new(waker)).sources;
        let time = |second: u64| Time::from_micros(second * 1_000_000);
        sources.heartbeats = [19, 16]
            .map(|second| Arc::new(Heartbeat::ended_at(time(second))))
            .to_vec();
        let at = |second: u64| stuck(&sources, time(second));
        assert_eq!(at(15), None);
        assert_eq!(at(20), None);
        assert_eq!(at(21), Some((1, Stuck::Wait(Duration::from_secs(5)))));
        assert_eq!(at(30), Some((0, Stuck::Wait(Duration::from_secs(11)))));
        // A turn that does not end is noticed sooner.
        sources.heartbeats[0].begin(time(20));
        let found = stuck(&sources, time(21));
        assert_eq!(found, Some((0, Stuck::Turn(Duration::from_secs(1)))));
    }

    #[test]
    fn it_is_the_same_after_a_journey_as_json() {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let sources = ControlState::for_tests(Arc::new(waker)).sources;
        sources.process.workers[0].calls.answered(3, 70, 1);
        let status = Status::of(&sources);
        assert_eq!(status.commands[0].latency.at_most[..3], [0, 1, 1]);
        assert!(!status.ready.ready && status.ready.healthy);
        let json = serde_json::to_string(&status).unwrap();
        let again: Status = serde_json::from_str(&json).unwrap();
        assert_eq!(again.commands, status.commands);
        assert_eq!(again.counters, status.counters);
    }
}
