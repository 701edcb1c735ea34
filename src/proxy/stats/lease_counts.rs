//! `LeaseCounts`: how many leases there are in the process, by their cap.

use std::sync::atomic::AtomicUsize;

/// What leases there are in the process, by their cap.
#[derive(Debug, Default)]
pub struct LeaseCounts {
    /// Blocking ones.
    pub blocking: AtomicUsize,
    /// Transactions.
    pub transactions: AtomicUsize,
}
