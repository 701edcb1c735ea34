//! `Process`: the state that all workers share.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::acl;
use crate::clock::{NEVER_STILL, Standstills, Time};
use crate::cluster::slot::Slot;
use crate::live_config::LiveConfig;
use crate::proxy::namespace::scripts::AllNamed;
use crate::proxy::pubsub::state::announced::Announced;
use crate::proxy::pubsub::state::register::Register;
use crate::proxy::scripts::Scripts;
use crate::proxy::stats::calls::{self, Calls, CommandCalls};
use crate::proxy::stats::counted::{CommandTotals, CountedCommand, Totals};
use crate::proxy::stats::histogram::{Change, Histogram, Latencies};
use crate::proxy::stats::lease_counts::LeaseCounts;
use crate::proxy::stats::masters_info::Heard;
use crate::proxy::stats::namespace_counts::{NamespaceTotals, SlotKeys};
use crate::proxy::stats::node_slow_logs::Ids;
use crate::proxy::stats::node_stats::NodeTotals;
use crate::proxy::stats::sample::Samples;
use crate::proxy::stats::slot_redirects::{self, SlotRedirects};
use crate::proxy::stats::{Counter, Stats};
use crate::proxy::texts::node_words::Told;
use crate::proxy::watchers::Watchers;

/// The counters that say how many there are, not how many there have been.
const PRESENT: [&str; 3] = ["clients_connected", "tracking_clients", "tracking_keys"];

/// Until when a certificate is valid.
#[derive(Debug, Clone, Copy)]
pub struct Expiry {
    /// The flag that names its file.
    pub flag: &'static str,
    /// Not after.
    pub ends: SystemTime,
}

impl Expiry {
    /// In days; below zero it has expired.
    pub fn days_left(&self, now: SystemTime) -> f64 {
        const DAY: f64 = 86_400.0;
        match self.ends.duration_since(now) {
            Ok(left) => left.as_secs_f64() / DAY,
            Err(error) => -error.duration().as_secs_f64() / DAY,
        }
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
    pub watchers: Watchers,
    /// How many monitors each worker has.
    pub monitors: Vec<AtomicUsize>,
    /// What leases clients hold.
    pub leases: LeaseCounts,
    /// How many clients CLIENT PAUSE holds.
    pub paused_clients: AtomicUsize,
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
    /// The users of clients.
    pub acl: acl::Store,
    /// The certificates of ours.
    certificates: Mutex<Vec<Expiry>>,
    /// How many keys the slots of namespaces have.
    slot_keys: Mutex<HashMap<Slot, SlotKeys>>,
    /// The wall clock at start.
    pub started: SystemTime,
    /// When the process did not run.
    pub standstills: &'static Standstills,
    /// The config in force.
    pub live: LiveConfig,
    /// Scripts and libraries that were loaded through this proxy.
    pub scripts: Mutex<Scripts>,
    /// The names of scripts that clients of namespaces have sent.
    named_scripts: Mutex<AllNamed>,
    /// Changes when such names are forgotten.
    pub named_scripts_epoch: AtomicU64,
    /// The epoch of the store's scripts, to be read without a lock.
    pub scripts_flushed: AtomicU64,
}

impl Process {
    /// The shared state of `workers` workers, whose config is fixed.
    pub fn new(workers: usize) -> Process {
        let live = LiveConfig::default();
        let acl = acl::Store::of(&live.config());
        Process::with(workers, live, acl, &NEVER_STILL)
    }

    /// The names of scripts that clients of namespaces have sent.
    pub fn named_scripts(&self) -> MutexGuard<'_, AllNamed> {
        self.named_scripts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificates of ours that are in force.
    pub fn certificates(&self) -> Vec<Expiry> {
        let certificates = self.certificates.lock();
        certificates.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// They have been read.
    pub fn set_certificates(&self, certificates: Vec<Expiry>) {
        let own = self.certificates.lock();
        *own.unwrap_or_else(PoisonError::into_inner) = certificates;
    }

    /// The shared state of `workers` workers, whose clock has these `standstills`.
    pub fn with(
        workers: usize,
        live: LiveConfig,
        acl: acl::Store,
        standstills: &'static Standstills,
    ) -> Process {
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
            watchers: Watchers::default(),
            leases: LeaseCounts::default(),
            paused_clients: AtomicUsize::new(0),
            monitors: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            run_id: format!("{:016x}{:016x}{:08x}", hasher(), hasher(), hasher() as u32),
            stale: AtomicBool::new(false),
            altered: AtomicBool::new(false),
            masters: Heard::default(),
            slow_ids: Mutex::default(),
            draining: AtomicBool::new(false),
            told: Told::default(),
            acl,
            certificates: Mutex::default(),
            slot_keys: Mutex::default(),
            started: SystemTime::now(),
            standstills,
            scripts: Mutex::new(Scripts::new(live.config().limits.script_bytes)),
            scripts_flushed: AtomicU64::new(0),
            named_scripts: Mutex::default(),
            named_scripts_epoch: AtomicU64::new(0),
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

    /// What all workers have counted of each database of each namespace.
    pub fn namespaces(&self) -> Vec<NamespaceTotals> {
        let keys = self.slot_keys();
        let mut all: Vec<NamespaceTotals> = Vec::new();
        for worker in &self.workers {
            for (at, counts) in worker.namespaces().iter().enumerate() {
                match all.get_mut(at) {
                    Some(totals) => totals.add(counts),
                    None => {
                        let keys = keys.get(&counts.slot).copied();
                        all.push(NamespaceTotals::of(counts, keys));
                    }
                }
            }
        }
        all
    }

    /// How many keys the slots of namespaces have, as far as their nodes have been asked.
    pub fn slot_keys(&self) -> HashMap<Slot, SlotKeys> {
        let keys = self.slot_keys.lock();
        keys.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// They have been asked.
    pub fn set_slot_keys(&self, keys: HashMap<Slot, SlotKeys>) {
        let own = self.slot_keys.lock();
        *own.unwrap_or_else(PoisonError::into_inner) = keys;
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

    /// All that is counted, for the process that takes over. `name` knows the names of commands.
    pub fn counted(&self, name: impl Fn(u16) -> String) -> Totals {
        let commands = self.commands().into_iter().map(|calls| CommandTotals {
            counts: CountedCommand {
                name: name(calls.command),
                latencies: Change::default(),
                failed: calls.failed,
                rejected: calls.rejected,
                cuts: calls.cuts,
                parts: calls.parts,
            },
            latencies: calls.latencies,
        });
        let counters = self.totals().into_iter();
        Totals {
            counters: counters
                .filter(|(name, _)| !PRESENT.contains(name))
                .collect(),
            commands: commands.collect(),
            errors: self.errors(),
            client_ids: self.client_ids.load(Ordering::Relaxed),
        }
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
