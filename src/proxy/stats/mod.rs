//! Counters of one worker, and what all workers share.
//!
//! A counter has one writer, its worker; others read it relaxed, off the data path. So adding is a plain
//! load and store, a third of the price of an atomic addition.

pub mod calls;
pub mod counted;
pub mod histogram;
pub mod key_tally;
pub mod largest;
pub mod lease_counts;
pub mod masters_info;
pub mod namespace_counts;
pub mod node_slow_logs;
pub mod node_stats;
pub mod sample;
pub mod slot_redirects;
pub(super) mod turn_latencies;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::Time;
use crate::proxy::stats::calls::Calls;
use crate::proxy::stats::histogram::Histogram;
use crate::proxy::stats::namespace_counts::NamespaceCounts;
use crate::proxy::stats::node_stats::NodeStats;
use crate::proxy::stats::sample::Sample;
use crate::proxy::stats::slot_redirects::Redirects;

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
            /// When the last turn that was ended began, in microseconds of the worker's clock: what knows no time looks here.
            pub turn_at: Counter,
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
            /// What is counted of each database of each namespace.
            namespaces: OnceLock<Box<[Arc<NamespaceCounts>]>>,
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
                let now = [
                    &self.clients_connected,
                    &self.tracking_clients,
                    &self.tracking_keys,
                    &self.near_keys,
                    &self.near_bytes,
                ];
                let values = now.map(Counter::get);
                $(self.$name.set(0);)*
                now.iter().zip(values).for_each(|(own, value)| own.set(value));
                self.calls.reset();
                self.turn_times.reset();
                self.longest_turn.set(0);
                self.connect_times.reset();
                self.depths.reset();
                self.redirects.reset();
                self.nodes().iter().for_each(|(_, stats)| stats.reset());
                self.namespaces().iter().for_each(|counts| counts.reset());
            }

            /// All counters, in the order of the names.
            fn counters(&self) -> Vec<&Counter> {
                vec![$(&self.$name),*]
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
    /// Clients that track keys now (CLIENT TRACKING).
    tracking_clients,
    /// Keys that are tracked for them now.
    tracking_keys,
    /// Pushes of nodes about such keys.
    tracking_pushes_in,
    /// Pushes to clients about them.
    tracking_pushes,
    /// Keys that are tracked no more, since there were more than `-tracking-max-keys`.
    tracking_evictions,
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
    /// Clients closed because they held most of too much memory, or because there was none for them.
    clients_memory,
    /// Clients closed because they stopped in the middle of a large request.
    clients_stopped,
    /// Clients closed because they did not log in in time.
    clients_not_logged_in,
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
    /// Requests served from the near cache.
    near_hits,
    /// Reads that could have been, had their replies been there.
    near_misses,
    /// Replies that the near cache has taken.
    near_fills,
    /// Replies that it has not taken since something reached their keys meanwhile.
    near_fills_spoiled,
    /// Keys that it has dropped since a node said so; once for all keys of a node.
    near_invalidations,
    /// Keys that it has dropped for want of room.
    near_evictions,
    /// Requests not served from it since their node had not been heard from for too long.
    near_stale,
    /// Keys that it has now.
    near_keys,
    /// Bytes that it has now.
    near_bytes,
    /// Messages handed to subscribers.
    messages,
    /// Subscribers closed because they did not read.
    subscribers_cut,
    /// Requests that went to their nodes as they came.
    requests_streamed,
    /// Large replies that were left at their nodes for a while, since their clients read slowly.
    reply_pauses,
    /// Times that a client was not read for a while because all clients held much memory.
    memory_pauses,
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
    /// Logins that were delayed, since many from their address had failed.
    logins_delayed,
    /// Questions to nodes whether a client may do something.
    verdicts,
    /// Users whose clients were closed, since a node does not admit them any more.
    users_ended,
    /// Commands that were refused since their user had sent as many as it may.
    commands_over_rate,
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

    /// The counter of this name.
    pub fn counter(&self, name: &str) -> Option<&Counter> {
        let at = Stats::NAMES.iter().position(|known| *known == name)?;
        self.counters().get(at).copied()
    }

    /// The nodes that the worker knows from now on.
    pub fn show_nodes(&self, nodes: impl Iterator<Item = (SocketAddr, Arc<NodeStats>)>) {
        *self.nodes.lock().unwrap_or_else(PoisonError::into_inner) = nodes.collect();
    }

    /// The databases of namespaces, in an order that is the same in all workers. They are told once, at the start.
    pub fn show_namespaces(&self, namespaces: Box<[Arc<NamespaceCounts>]>) {
        let is_first = self.namespaces.set(namespaces).is_ok();
        debug_assert!(is_first, "the namespaces of a worker do not change");
    }

    /// What is counted of each database of each namespace.
    pub fn namespaces(&self) -> &[Arc<NamespaceCounts>] {
        self.namespaces.get().map_or(&[], |all| all)
    }

    pub(in crate::proxy) fn nodes(&self) -> Vec<(SocketAddr, Arc<NodeStats>)> {
        let nodes = self.nodes.lock();
        nodes.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Of so many writes to nodes one is looked at.
pub const DEPTH_SAMPLE: u64 = 16;

/// How often rates are taken.
const RATE_PERIOD: Duration = Duration::from_secs(1);

/// What a worker has done so far. As long as it does no more, there is nothing new to give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// Commands counted.
    pub commands: u64,
    /// Clients accepted.
    pub accepted: u64,
    /// Clients that there are.
    pub clients: usize,
    /// Node connections that there are.
    pub backends: usize,
}

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

    /// What has been added by another process is not of the last second.
    pub fn skip(&mut self, stats: &Stats) {
        self.counts = [
            stats.commands.get(),
            stats.client_bytes_in.get(),
            stats.client_bytes_out.get(),
        ];
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
