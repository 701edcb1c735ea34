//! Counters of one worker, and what all workers share.
//!
//! A counter has one writer, its worker; others read it relaxed, off the data path. So adding is a plain
//! load and store, a third of the price of an atomic addition.

pub mod calls;
pub mod histogram;
pub mod largest;
pub mod masters_info;
pub mod node_slow_logs;
pub mod node_stats;
pub mod slot_redirects;
pub(super) mod turn_latencies;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::{NEVER_STILL, Standstills, Time};
use crate::live::Live;
use crate::proxy::lease::LeaseCounts;
use crate::proxy::observe::sample::{Sample, Samples};
use crate::proxy::pubsub::announced::Announced;
use crate::proxy::pubsub::register::Register;
use crate::proxy::scripts::Scripts;
use crate::proxy::stats::calls::{Calls, CommandCalls};
use crate::proxy::stats::histogram::{Histogram, Latencies};
use crate::proxy::stats::masters_info::Heard;
use crate::proxy::stats::node_slow_logs::Ids;
use crate::proxy::stats::node_stats::{NodeStats, NodeTotals};
use crate::proxy::stats::slot_redirects::{Redirects, SlotRedirects};
use crate::proxy::texts::node_words::Told;
use crate::proxy::workers::watchers::Attention;

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. For the one writing thread only.
    #[inline]
    pub fn add(&self, count: u64) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes `count` off. For the one writing thread only.
    #[inline]
    pub fn sub(&self, count: u64) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_sub(count), Ordering::Relaxed);
    }

    /// Gives it a value. For the one writing thread only.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What one worker counts.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $name: Counter,)*
            /// What is counted of each command and each kind of error.
            pub calls: Calls,
            /// How long turns of the loop took, from the events to the last write.
            pub turn_times: Histogram,
            /// How long the longest took, in microseconds; 0 if none took 10 ms.
            pub longest_turn: Counter,
            /// How long it took until connections to nodes were ready.
            pub connect_times: Histogram,
            /// Requests that a node owed replies to on a connection that was written to: one write in
            /// [`DEPTH_SAMPLE`].
            pub depths: Histogram,
            /// Redirects by slot.
            pub redirects: Redirects,
            /// What is looked at once a second.
            pub sample: Sample,
            /// What is counted of each node that the worker knows.
            nodes: Mutex<Vec<(SocketAddr, Arc<NodeStats>)>>,
            /// What was counted in the last second: commands, bytes from clients, bytes to clients.
            pub per_second: [Counter; 3],
        }

        impl Stats {
            /// The names of all counters, in order.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Counts from zero again. For the one writing thread only.
            pub fn reset(&self) {
                let connected = self.clients_connected.get();
                $(self.$name.set(0);)*
                self.clients_connected.set(connected);
                self.calls.reset();
                self.turn_times.reset();
                self.longest_turn.set(0);
                self.connect_times.reset();
                self.depths.reset();
                self.redirects.reset();
                self.nodes().iter().for_each(|(_, stats)| stats.reset());
            }

            /// The values of all counters, in the order of the names.
            pub fn values(&self) -> Vec<u64> {
                vec![$(self.$name.get()),*]
            }
        }
    };
}

counters! {
    /// Clients connected now.
    clients_connected,
    /// Clients accepted.
    clients_accepted,
    /// Clients refused: there were too many.
    clients_rejected,
    /// Clients refused: they came from outside in protected mode.
    clients_denied,
    /// Clients closed because they did not read.
    clients_stalled,
    /// Clients closed because they asked for nothing.
    clients_idle,
    /// Clients closed by CLIENT KILL, or from the debug address.
    clients_killed,
    /// Clients closed because too much waited for them.
    clients_overfull,
    /// Clients closed because they had sent more than may wait to be executed.
    clients_unread,
    /// Clients closed because the rest of a reply that had begun to leave was lost.
    clients_severed,
    /// Clients that left.
    clients_left,
    /// Clients whose connections broke.
    clients_broken,
    /// Clients closed because they broke the protocol.
    clients_confused,
    /// Clients closed because they were turned away when they came.
    clients_refused,
    /// Clients sent away because the proxy ends.
    clients_drained,
    /// Clients that could not be accepted, for want of descriptors or memory.
    accepts_failed,
    /// Requests taken.
    commands,
    /// Requests answered with an error that the proxy made.
    refusals,
    /// Requests for commands that are unknown or not served here.
    unsupported,
    /// Requests that took longer than `-slowlog-log-slower-than`, or their parts.
    slow_requests,
    /// Requests that were cut in parts.
    splits,
    /// Parts of such requests.
    split_parts,
    /// Bytes read from clients.
    client_bytes_in,
    /// Bytes written to clients.
    client_bytes_out,
    /// Bytes read from nodes.
    backend_bytes_in,
    /// Bytes written to nodes.
    backend_bytes_out,
    /// Connections to nodes that became ready.
    backend_connects,
    /// Connections to nodes that could not be made, or were lost.
    backend_failures,
    /// Times that a shared connection was set aside, since its oldest reply was overdue.
    heads_overdue,
    /// Connections to nodes that took the place of such a one.
    backend_replacements,
    /// Reads that were stuck on one set aside and were sent again on another.
    reads_moved,
    /// Requests sent to nodes.
    backend_requests,
    /// Times that all that waited for a connection to a node was written.
    backend_writes,
    /// MOVED redirects followed.
    moved,
    /// ASK redirects followed.
    ask,
    /// TRYAGAIN answers that were waited out.
    tryagain,
    /// CLUSTERDOWN, LOADING, MASTERDOWN and READONLY answers that were waited out.
    unavailable,
    /// Missing scripts and functions that were loaded again.
    healed,
    /// Errors that read like a refusal, of requests that may have been executed, about which a node was asked.
    doubted,
    /// Those of them that the request had made up.
    disbelieved,
    /// Requests that were held for a time.
    held,
    /// Requests sent again.
    retries,
    /// Requests that waited too long and were answered with an error.
    expired,
    /// Requests with an unknown outcome.
    unknown_outcomes,
    /// Parts left out of a reply because their node was not there.
    left_out,
    /// Reads served by a replica.
    replica_reads,
    /// Reads for replicas that a master served, since no replica was up.
    replica_fallbacks,
    /// Messages handed to subscribers.
    messages,
    /// Subscribers closed because they did not read.
    subscribers_cut,
    /// Times that an exclusive connection was lent.
    leases,
    /// Transactions whose connections were taken back because nobody went on with them.
    leases_idle,
    /// Protocol errors of clients.
    protocol_errors,
    /// Backends that broke the protocol.
    backend_protocol_errors,
    /// Wrong passwords.
    auth_failures,
    /// Turns of the loop.
    turns,
    /// Turns that took 10 ms or longer.
    turns_10_ms,
    /// Turns that took 100 ms or longer.
    turns_100_ms,
    /// Turns that took a second or longer.
    turns_1000_ms,
}

/// A turn that takes so long is told of, in microseconds.
const LONG_TURN: u64 = 100_000;

impl Stats {
    /// A turn of the loop took so many microseconds. Returns whether that was long.
    #[inline]
    pub fn turned(&self, micros: u64) -> bool {
        self.turns.add(1);
        self.turn_times.record(micros, 1);
        micros >= 10_000 && self.turned_slowly(micros)
    }

    #[cold]
    fn turned_slowly(&self, micros: u64) -> bool {
        self.turns_10_ms.add(1);
        self.turns_100_ms.add(u64::from(micros >= LONG_TURN));
        self.turns_1000_ms.add(u64::from(micros >= 1_000_000));
        self.longest_turn.set(self.longest_turn.get().max(micros));
        micros >= LONG_TURN
    }

    /// All that waited for a connection to a node has been written to it, and it owes so many replies now.
    #[inline]
    pub fn wrote_to_backend(&self, depth: usize) {
        self.backend_writes.add(1);
        if self.backend_writes.get().is_multiple_of(DEPTH_SAMPLE) {
            self.note_depth(depth);
        }
    }

    #[cold]
    #[inline(never)]
    fn note_depth(&self, depth: usize) {
        self.depths.record(depth as u64, 1);
    }

    /// The nodes that the worker knows from now on.
    pub fn show_nodes(&self, nodes: impl Iterator<Item = (SocketAddr, Arc<NodeStats>)>) {
        *self.nodes.lock().unwrap_or_else(PoisonError::into_inner) = nodes.collect();
    }

    fn nodes(&self) -> Vec<(SocketAddr, Arc<NodeStats>)> {
        let nodes = self.nodes.lock();
        nodes.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Of so many writes to nodes one is looked at.
pub const DEPTH_SAMPLE: u64 = 16;

/// How often rates are taken.
const RATE_PERIOD: Duration = Duration::from_secs(1);

/// Takes the rates of one worker, once a second.
#[derive(Debug, Default)]
pub struct Rates {
    taken_at: Time,
    counts: [u64; 3],
}

impl Rates {
    /// Whether the second is over.
    #[inline]
    pub fn is_due(&self, now: Time) -> bool {
        now >= self.due_at()
    }

    /// When the second is over.
    pub fn due_at(&self) -> Time {
        self.taken_at.after(RATE_PERIOD)
    }

    /// Notes what has been counted since the last time, by the second. Returns whether any command was.
    pub fn take(&mut self, stats: &Stats, now: Time) -> bool {
        let counts = [
            stats.commands.get(),
            stats.client_bytes_in.get(),
            stats.client_bytes_out.get(),
        ];
        let micros = now.since(self.taken_at).as_micros().max(1) as u64;
        for (at, count) in counts.iter().enumerate() {
            // Less than before: the counters were reset.
            let new = count.saturating_sub(self.counts[at]);
            stats.per_second[at].set(new.saturating_mul(1_000_000) / micros);
        }
        let active = counts[0] != self.counts[0];
        self.counts = counts;
        self.taken_at = now;
        active
    }
}

/// What all workers share.
#[derive(Debug)]
pub struct Process {
    /// Each worker's counters.
    pub workers: Vec<Arc<Stats>>,
    /// Clients connected to any worker.
    pub clients: AtomicUsize,
    /// Clients ever accepted by any worker: the next `CLIENT ID`.
    pub client_ids: AtomicU64,
    /// What clients are subscribed to.
    pub register: Register,
    /// Subscriptions on their way.
    pub announced: Announced,
    /// Whether MONITOR or `CLIENT PAUSE` wants to look at each request.
    pub attention: Attention,
    /// How many monitors each worker has.
    pub monitors: Vec<AtomicUsize>,
    /// What leases clients hold.
    pub leases: LeaseCounts,
    /// How many clients CLIENT PAUSE holds.
    pub suspended: AtomicUsize,
    /// 40 hexadecimal digits that name this run.
    pub run_id: String,
    /// Whether an answer has shown that the topology is out of date: whoever sees it next asks for another.
    pub stale: AtomicBool,
    /// Set when what the servers are has been changed: the survey asks them soon.
    pub altered: AtomicBool,
    /// What the masters last said of themselves.
    pub masters: Heard,
    /// The ids of entries of SLOWLOG, which is the first log of COMMANDLOG, and of its others.
    pub slow_ids: Mutex<[Ids; 3]>,
    /// Whether clients are being sent away.
    pub draining: AtomicBool,
    /// Whose words stand in the log already.
    pub told: Told,
    /// The wall clock at start.
    pub started: SystemTime,
    /// When the process did not run.
    pub standstills: &'static Standstills,
    /// The config in force.
    pub live: Live,
    /// Scripts and libraries that were loaded through this proxy.
    pub scripts: Mutex<Scripts>,
    /// The epoch of the store's scripts, to be read without a lock.
    pub scripts_flushed: AtomicU64,
}

impl Process {
    /// The shared state of `workers` workers, whose config is fixed.
    pub fn new(workers: usize) -> Process {
        Process::with(workers, Live::default(), &NEVER_STILL)
    }

    /// The shared state of `workers` workers, whose clock has these `standstills`.
    pub fn with(workers: usize, live: Live, standstills: &'static Standstills) -> Process {
        let hasher = || {
            use std::hash::{BuildHasher, Hasher};
            std::collections::hash_map::RandomState::new()
                .build_hasher()
                .finish()
        };
        Process {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            clients: AtomicUsize::new(0),
            client_ids: AtomicU64::new(0),
            register: Register::default(),
            announced: Announced::default(),
            attention: Attention::default(),
            leases: LeaseCounts::default(),
            suspended: AtomicUsize::new(0),
            monitors: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            run_id: format!("{:016x}{:016x}{:08x}", hasher(), hasher(), hasher() as u32),
            stale: AtomicBool::new(false),
            altered: AtomicBool::new(false),
            masters: Heard::default(),
            slow_ids: Mutex::default(),
            draining: AtomicBool::new(false),
            told: Told::default(),
            started: SystemTime::now(),
            standstills,
            scripts: Mutex::new(Scripts::new(live.config().limits.script_bytes)),
            scripts_flushed: AtomicU64::new(0),
            live,
        }
    }

    /// Whether a worker has monitors.
    pub fn has_monitors(&self, worker: usize) -> bool {
        self.monitors[worker].load(Ordering::Relaxed) > 0
    }

    /// What a clock on the wall shows at `now`, since 1970.
    pub fn wall_clock(&self, now: Time) -> Duration {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        started + self.uptime(now)
    }

    /// How long ago the process was started, at `now`.
    pub fn uptime(&self, now: Time) -> Duration {
        self.standstills.since_start(now)
    }

    /// Each counter's name and its sum over the workers.
    pub fn totals(&self) -> Vec<(&'static str, u64)> {
        let mut sums = vec![0u64; Stats::NAMES.len()];
        for worker in &self.workers {
            for (sum, value) in sums.iter_mut().zip(worker.values()) {
                *sum = sum.wrapping_add(value);
            }
        }
        Stats::NAMES.iter().copied().zip(sums).collect()
    }

    /// What all workers have counted of each node that any of them knows.
    pub fn nodes(&self) -> BTreeMap<SocketAddr, NodeTotals> {
        let mut all: BTreeMap<SocketAddr, NodeTotals> = BTreeMap::new();
        for (address, stats) in self.workers.iter().flat_map(|worker| worker.nodes()) {
            all.entry(address).or_default().add(&stats);
        }
        all
    }

    /// The same without latencies.
    pub fn node_counts(&self) -> BTreeMap<SocketAddr, NodeTotals> {
        let mut all: BTreeMap<SocketAddr, NodeTotals> = BTreeMap::new();
        for (address, stats) in self.workers.iter().flat_map(|worker| worker.nodes()) {
            all.entry(address).or_default().add_counts(&stats);
        }
        all
    }

    /// What all workers last saw when they looked at everything.
    pub fn samples(&self) -> Samples {
        let mut samples = Samples::default();
        self.workers
            .iter()
            .for_each(|worker| samples.add(&worker.sample));
        samples
    }

    /// One histogram's sum over the workers.
    pub fn latencies(&self, histogram: impl Fn(&Stats) -> &Histogram) -> Latencies {
        let mut sum = Latencies::default();
        self.workers
            .iter()
            .for_each(|worker| sum.add(histogram(worker)));
        sum
    }

    /// The slots that any worker has seen redirects of, those of the most redirects first.
    pub fn redirects(&self, now: Time) -> Vec<SlotRedirects> {
        let workers = self.workers.iter().map(|worker| &worker.redirects);
        slot_redirects::of_slots(workers, now)
    }

    /// The counters of commands, all workers together.
    pub fn commands(&self) -> Vec<CommandCalls> {
        calls::of_commands(&self.calls())
    }

    /// The errors given to clients by their codes, and all in all.
    pub fn errors(&self) -> (Vec<(String, u64)>, u64) {
        calls::of_errors(&self.calls())
    }

    fn calls(&self) -> Vec<&Calls> {
        self.workers.iter().map(|worker| &worker.calls).collect()
    }

    /// One counter's sum over the workers.
    pub fn total(&self, counter: impl Fn(&Stats) -> &Counter) -> u64 {
        self.workers
            .iter()
            .map(|worker| counter(worker).get())
            .sum()
    }
}
