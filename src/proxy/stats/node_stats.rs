//! `NodeStats`: what one worker counts of one node; `NodeTotals`: what all workers have counted of it.
//!
//! One writer, its worker. The worker hands them out when its nodes change; counting itself takes no lock.

use std::sync::OnceLock;

use crate::proxy::stats::Counter;
use crate::proxy::stats::histogram::{Histogram, Latencies};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What one worker counts of one node.
        #[derive(Debug, Default)]
        pub struct NodeStats {
            $($(#[$doc])* pub $name: Counter,)*
            latencies: OnceLock<Box<Histogram>>,
        }

        /// What all workers have counted of a node.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct NodeTotals {
            $($(#[$doc])* pub $name: u64,)*
            /// From the moment that a request was written until its reply was read.
            pub latencies: Latencies,
        }

        impl NodeTotals {
            /// Adds what one worker has counted.
            pub fn add(&mut self, stats: &NodeStats) {
                self.add_counts(stats);
                if let Some(latencies) = stats.latencies.get() {
                    self.latencies.add(latencies);
                }
            }

            /// The same without latencies, which are far more than all else.
            pub fn add_counts(&mut self, stats: &NodeStats) {
                let silent = self.silent.max(stats.silent.get());
                $(self.$name = self.$name.wrapping_add(stats.$name.get());)*
                // Not a sum.
                self.silent = silent;
            }
        }
    };
}

counters! {
    /// Whether the last attempt to reach it failed: workers that find it so.
    failing,
    /// Connections to it that are ready.
    connections,
    /// Connections to it that are not ready yet, when the worker last looked.
    connecting,
    /// Connections to it that owed replies or were lent to one client, when the worker last looked.
    busy,
    /// Replies that it owed, when the worker last looked.
    in_flight,
    /// For how many seconds it had owed a reply and sent nothing, when the worker last looked.
    silent,
    /// Connections that became ready.
    connects,
    /// Connections that could not be made, or were lost.
    failures,
    /// Those of them that never became ready: the node was not there, or did not answer in time.
    failures_connect,
    /// Those that the node refused by an error to the handshake.
    failures_handshake,
    /// Those that were ready, and that the node or the network closed.
    failures_closed,
    /// Those that were ready, and on which a reply did not come in time.
    failures_timeout,
    /// Those that were ready and silent, while the cluster did without the node.
    failures_gone,
    /// Those on which the node broke the protocol.
    failures_protocol,
    /// Requests that the node did not answer in time.
    requests_timed_out,
    /// Requests that were lost with their connection otherwise: they went elsewhere, or got an error.
    requests_lost,
    /// Answers that a node gives which cannot serve now: CLUSTERDOWN, LOADING, MASTERDOWN and READONLY.
    errors_unavailable,
    /// TRYAGAIN answers.
    errors_tryagain,
    /// Errors that were the replies to requests.
    errors_other,
    /// Bytes of its replies.
    bytes_in,
    /// Bytes written to it.
    bytes_out,
    /// MOVED redirects that it gave.
    moved,
    /// ASK redirects that it gave.
    ask,
}

impl NodeStats {
    /// So many replies have come, each so many microseconds after its request was written.
    #[inline]
    pub fn answered(&self, micros: u64, count: u64) {
        let latencies = self.latencies.get_or_init(Box::default);
        latencies.record(micros, count);
    }

    /// What so many percent of its replies did not exceed, in microseconds.
    pub fn percentile(&self, percent: f64) -> u64 {
        let mut all = Latencies::default();
        if let Some(latencies) = self.latencies.get() {
            all.add(latencies);
        }
        all.percentile(percent)
    }

    /// Counts from zero again; what is now stays. For the writing thread only.
    pub fn reset(&self) {
        for counter in [
            &self.connects,
            &self.failures,
            &self.failures_connect,
            &self.failures_handshake,
            &self.failures_closed,
            &self.failures_timeout,
            &self.failures_gone,
            &self.failures_protocol,
            &self.requests_lost,
            &self.requests_timed_out,
            &self.errors_unavailable,
            &self.errors_tryagain,
            &self.errors_other,
            &self.bytes_in,
            &self.bytes_out,
            &self.moved,
            &self.ask,
        ] {
            counter.set(0);
        }
        if let Some(latencies) = self.latencies.get() {
            latencies.reset();
        }
    }
}
