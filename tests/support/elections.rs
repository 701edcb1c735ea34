//! `Elections`: when each node of a test's cluster was last elected, so that none is elected again too soon.
//!
//! A node of Redis 7.0 keeps the votes of an election for at least four seconds
//! (`clusterHandleSlaveFailover`: twice an `auth_timeout` of two). Asked to take over once more within that
//! time it counts the old votes, calls itself a master with the old epoch and is put down by the others,
//! while the true master keeps its clients waiting for the five seconds that a planned failover may take.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const VOTES_KEPT: Duration = Duration::from_millis(4500);

#[derive(Debug, Default)]
pub struct Elections(Mutex<HashMap<u16, Instant>>);

impl Elections {
    /// Waits until the votes for this node, which is known by its port or its index, are forgotten.
    pub fn wait(&self, node: u16) {
        let last = self.0.lock().expect("no panic").get(&node).copied();
        if let Some(left) = last.and_then(|last| VOTES_KEPT.checked_sub(last.elapsed())) {
            std::thread::sleep(left);
        }
    }

    /// This node has just been elected.
    pub fn won(&self, node: u16) {
        let mut last = self.0.lock().expect("no panic");
        last.insert(node, Instant::now());
    }
}
