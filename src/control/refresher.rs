//! `Refresher`: the handle by which other threads request a refresh of the topology and read its counters. It never
//! blocks them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Time;
use crate::sort;

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
    /// Nodes that could not be asked.
    pub unreachable: Mutex<HashMap<SocketAddr, Unasked>>,
}

/// A node that could not be asked.
#[derive(Debug, Clone, Copy)]
pub struct Unasked {
    /// When that was.
    pub at: Time,
    /// Whether it took the connection and closed it, as a node does that has as many clients as it may have.
    pub closes: bool,
}

/// So long a node that could not be asked is shown as one that is down, if nobody asks it again.
const UNREACHABLE_SHOWN: Duration = Duration::from_secs(30);

/// So many of them are looked at in one refresh, and so many of all nodes: each may take as long as a connect.
pub(super) const LOOKED_AT: usize = 3;

impl Shared {
    /// A node could not be asked.
    pub fn note_unreachable(&self, node: SocketAddr, closes: bool, now: Time) {
        let mut nodes = self
            .unreachable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|_, own| now.since(own.at) < UNREACHABLE_SHOWN);
        nodes.insert(node, Unasked { at: now, closes });
    }

    /// A few nodes that could not be asked: those of which that was found out first.
    pub fn unreachable_longest(&self) -> Vec<SocketAddr> {
        let nodes = self
            .unreachable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut nodes: Vec<_> = nodes.iter().map(|(node, own)| (own.at, *node)).collect();
        sort::all(&mut nodes);
        nodes.truncate(LOOKED_AT);
        nodes.into_iter().map(|(_, node)| node).collect()
    }

    /// A node has answered.
    pub fn note_answer(&self, node: SocketAddr) {
        let mut nodes = self
            .unreachable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        nodes.remove(&node);
    }
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

    /// Nodes that could not be asked for the topology lately. One that closes new connections is not down as long as
    /// it `serves` those that there are.
    pub fn unreachable(
        &self,
        now: Time,
        serves: impl Fn(&SocketAddr) -> bool,
    ) -> HashSet<SocketAddr> {
        let nodes = self.shared.unreachable.lock();
        let nodes = nodes.unwrap_or_else(PoisonError::into_inner);
        let lately = nodes
            .iter()
            .filter(|(_, own)| now.since(own.at) < UNREACHABLE_SHOWN)
            .filter(|(node, own)| !(own.closes && serves(node)));
        lately.map(|(node, _)| *node).collect()
    }

    /// When a refresh last gave a table.
    pub fn last_success(&self) -> Option<Time> {
        match self.shared.last_success_micros.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Time::from_micros(micros)),
        }
    }
}
