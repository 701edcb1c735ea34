//! `LeaseCounts`: how many leases there are in the process, by their cap, and of how many keys they are.

use std::sync::atomic::AtomicUsize;

use crate::proxy::stats::key_tally::KeyTally;

/// What leases there are in the process, by their cap.
#[derive(Debug, Default)]
pub struct LeaseCounts {
    /// Blocking ones.
    pub blocking: AtomicUsize,
    /// Transactions.
    pub transactions: AtomicUsize,
    /// Clients that watch keys.
    pub watching: AtomicUsize,
    /// The keys that they watch.
    pub watched_keys: KeyTally,
    /// The keys that clients are blocked on.
    pub blocking_keys: KeyTally,
    /// Those of them whose end, too, lets a client go (XREADGROUP).
    pub blocking_keys_on_nokey: KeyTally,
}
