//! Counters of one worker, and what all workers share.
//!
//! A counter has one writer, its worker; others read it relaxed, off the data path. So adding is a plain
//! load and store, a third of the price of an atomic addition.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::Time;
use crate::proxy::attention::Attention;

use crate::live::Live;
use crate::proxy::scripts::Scripts;

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
        }

        impl Stats {
            /// The names of all counters, in order.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

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
    /// Clients refused: too many, or from outside in protected mode.
    clients_rejected,
    /// Clients closed because they did not read.
    clients_stalled,
    /// Clients closed because they asked for nothing.
    clients_idle,
    /// Requests taken.
    commands,
    /// Requests answered with an error that the proxy made.
    refusals,
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
    /// Requests sent to nodes.
    backend_requests,
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
    /// Requests that were held for a time.
    held,
    /// Requests sent again.
    retries,
    /// Requests that waited too long and were answered with an error.
    expired,
    /// Requests with an unknown outcome.
    unknown_outcomes,
    /// Reads served by a replica.
    replica_reads,
    /// Protocol errors of clients.
    protocol_errors,
    /// Backends that broke the protocol.
    backend_protocol_errors,
    /// Wrong passwords.
    auth_failures,
    /// Turns of the loop.
    turns,
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
    /// Whether MONITOR or `CLIENT PAUSE` wants to look at each request.
    pub attention: Attention,
    /// How many monitors each worker has.
    pub monitors: Vec<AtomicUsize>,
    /// 40 hexadecimal digits that name this run.
    pub run_id: String,
    /// The wall clock at start.
    pub started: SystemTime,
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
        Process::with(workers, Live::default())
    }

    /// The shared state of `workers` workers.
    pub fn with(workers: usize, live: Live) -> Process {
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
            attention: Attention::default(),
            monitors: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            run_id: format!("{:016x}{:016x}{:08x}", hasher(), hasher(), hasher() as u32),
            started: SystemTime::now(),
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
        started + now.since(Time::default())
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

    /// One counter's sum over the workers.
    pub fn total(&self, counter: impl Fn(&Stats) -> &Counter) -> u64 {
        self.workers
            .iter()
            .map(|worker| counter(worker).get())
            .sum()
    }
}
