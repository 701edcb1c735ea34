//! `Status`: the program at one moment, as plain data. `/metrics`, `/api/v1/status`, the summary of SIGUSR1 and
//! `-top` are four faces of it, so that they never disagree.
//!
//! Names are part of the API (`/api/v1`): fields may be added, and nothing else. Durations are seconds and
//! sizes are bytes unless a name says otherwise; counters count from the start, or from the last
//! CONFIG RESETSTAT.

pub mod collect;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::process;

/// The version of this form.
pub const VERSION: u32 = 1;

/// Upper bounds of latencies in microseconds: what histograms are shown by.
pub const BOUNDS_MICROS: [u64; 15] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000,
];

/// Upper bounds of the replies owed on a connection: what [`Depths`] are shown by.
pub const DEPTHS: [u64; 11] = [1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 2047];

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
    /// The databases of namespaces that are in use, and the first of each name.
    pub namespaces: Vec<Namespace>,
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

/// One database of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    /// The name of the namespace.
    pub name: String,
    /// The number of the database.
    pub database: u16,
    /// The slot of all its keys.
    pub slot: u16,
    /// Clients that are in it (looked at once a second).
    pub clients: u64,
    /// Requests of its clients.
    pub requests: u64,
    /// Bytes from its clients.
    pub bytes_in: u64,
    /// Bytes to its clients.
    pub bytes_out: u64,
    /// Keys in its slot, if the master of the slot has been asked (every ten seconds).
    pub keys: Option<u64>,
    /// The master of its slot, if it has been asked; else nothing.
    pub node: String,
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

/// A program from before there was this field told of no trouble.
fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests;
