//! `Refresher`: how other threads ask for the topology to be fetched, and what they can see of that. It never
//! blocks them, and never shows them more than counters.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use crate::clock::Time;

/// Why a refresh is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Trigger {
    /// The period is over (also the first one, at start).
    Interval = 0,
    /// A node gave a redirect.
    Moved = 1,
    /// A connection to a node was lost, or a slot has no owner.
    Error = 2,
    /// A human asked.
    Manual = 3,
}

impl Trigger {
    /// All of them, the weightiest last.
    pub const ALL: [Trigger; 4] = [
        Trigger::Interval,
        Trigger::Moved,
        Trigger::Error,
        Trigger::Manual,
    ];

    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The weightiest of the pending ones.
    pub(super) fn of(pending: u8) -> Trigger {
        let pending = |trigger: &&Trigger| pending & trigger.bit() != 0;
        *Trigger::ALL
            .iter()
            .rev()
            .find(pending)
            .unwrap_or(&Trigger::Interval)
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trigger::Interval => "interval",
            Trigger::Moved => "moved",
            Trigger::Error => "error",
            Trigger::Manual => "manual",
        })
    }
}

/// What other threads and the refresher share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The triggers of the refreshes that are wanted, as bits.
    pub pending: AtomicU8,
    /// Whether the thread is to end.
    pub stopped: AtomicBool,
    /// Refreshes that gave a table, by trigger.
    pub succeeded: [AtomicU64; 4],
    /// Refreshes that did not.
    pub failed: [AtomicU64; 4],
    /// When one last did; 0 is never.
    pub last_success_micros: AtomicU64,
}

/// A handle on the refresher. The thread ends at `stop`, or when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Refresher {
    pub(super) shared: Arc<Shared>,
    pub(super) wake: SyncSender<()>,
}

impl Refresher {
    /// Asks for a refresh. Never blocks; requests made while one is pending are one.
    pub fn request(&self, trigger: Trigger) {
        if self
            .shared
            .pending
            .fetch_or(trigger.bit(), Ordering::AcqRel)
            == 0
        {
            // If the channel is full the thread has its wake-up already.
            let _ = self.wake.try_send(());
        }
    }

    /// Ends the thread as soon as it waits for nothing on the network.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        let _ = self.wake.try_send(());
    }

    /// A handle on nothing, for tests of those who hold one.
    #[cfg(test)]
    pub fn idle() -> Refresher {
        let (wake, _) = std::sync::mpsc::sync_channel(1);
        Refresher {
            shared: Arc::default(),
            wake,
        }
    }

    /// Refreshes that gave a table, by what they were made for.
    pub fn succeeded(&self, trigger: Trigger) -> u64 {
        self.shared.succeeded[trigger as usize].load(Ordering::Relaxed)
    }

    /// Refreshes that did not.
    pub fn failed(&self, trigger: Trigger) -> u64 {
        self.shared.failed[trigger as usize].load(Ordering::Relaxed)
    }

    /// When a refresh last gave a table.
    pub fn last_success(&self) -> Option<Time> {
        match self.shared.last_success_micros.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Time::from_micros(micros)),
        }
    }
}
