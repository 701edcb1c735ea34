//! `NodeStats`: what one worker counts of one node; `NodeTotals`: what all workers have counted of it.
//!
//! One writer, its worker. The worker hands them out when its nodes change; counting itself takes no lock.

use std::sync::OnceLock;

use crate::proxy::histogram::{Histogram, Latencies};
use crate::proxy::stats::Counter;

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
                $(self.$name = self.$name.wrapping_add(stats.$name.get());)*
                if let Some(latencies) = stats.latencies.get() {
                    self.latencies.add(latencies);
                }
            }
        }
    };
}

counters! {
    /// Whether the last attempt to reach it failed: workers that find it so.
    failing,
    /// Connections to it that are ready.
    connections,
    /// Connections that became ready.
    connects,
    /// Connections that could not be made, or were lost.
    failures,
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

    /// Counts from zero again; what is now stays. For the writing thread only.
    pub fn reset(&self) {
        for counter in [
            &self.connects,
            &self.failures,
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
