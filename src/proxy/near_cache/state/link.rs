//! `Link`: the tracking connection to one node, and since when it is known that what came by it is true.
//!
//! It must never know what came by it.

use std::time::Duration;

use crate::clock::Time;
use crate::proxy::ids::BackendId;

/// The shortest and the longest wait before a new connection after one that was lost or refused.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A connection whose entries have not been served for so long is not probed.
const IDLE: Duration = Duration::from_secs(10);
/// So often in the time of the staleness it is probed.
const PROBES: u32 = 4;

/// The tracking connection to one node.
#[derive(Debug, Default)]
pub struct Link {
    /// The connection, if there is one.
    pub backend: Option<BackendId>,
    /// Whether the node has begun to track.
    pub is_ready: bool,
    /// What is marked with another epoch is not served.
    pub epoch: u32,
    /// The node has answered something that was sent then: all that it had invalidated before is known.
    pub confirmed_at: Time,
    /// What was sent before this confirms nothing.
    pub believed_from: Time,
    /// When something was last sent.
    pub asked_at: Time,
    /// When an entry was last served.
    pub served_at: Time,
    /// The key that it is probed with: one that was filled.
    pub probe_key: Vec<u8>,
    /// No new connection before this.
    pub retry_at: Time,
    failures: u32,
    /// Whether the node refused to track on it: it is to be closed.
    pub is_refused: bool,
}

impl Link {
    /// Whether something that came by it may be served.
    #[inline]
    pub fn is_fresh(&self, staleness: Duration, now: Time) -> bool {
        self.is_ready
            && self.confirmed_at > Time::default()
            && now.as_micros() <= self.confirmed_at.after(staleness).as_micros()
    }

    /// The node has answered something that was sent then.
    #[inline]
    pub fn confirm(&mut self, sent_at: Time) {
        if sent_at >= self.believed_from {
            self.confirmed_at = self.confirmed_at.max(sent_at);
        }
    }

    /// Nobody knows how long ago it was heard from. What came by it is served again as soon as it has answered.
    pub fn doubt(&mut self, now: Time) {
        self.confirmed_at = Time::default();
        self.asked_at = Time::default();
        self.believed_from = now;
    }

    /// When it is to be probed, if it is in use: unless so much was asked since an entry was last served.
    pub fn probe_at(&self, staleness: Duration) -> Option<Time> {
        let used = self.asked_at.since(self.served_at) < IDLE && self.served_at > Time::default();
        (self.is_ready && used && !self.probe_key.is_empty())
            .then(|| self.asked_at.after(staleness / PROBES))
    }

    /// It has no connection any more. `epoch` is a new one.
    pub fn lost(&mut self, epoch: u32, now: Time) {
        self.backend = None;
        self.is_ready = false;
        self.epoch = epoch;
        self.probe_key.clear();
        let wait = RETRY_MIN * (1 << self.failures.min(10));
        let refused = std::mem::take(&mut self.is_refused);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.after(if refused {
            RETRY_MAX
        } else {
            wait.min(RETRY_MAX)
        });
    }

    /// The node tracks.
    pub fn is_tracking(&mut self) {
        self.is_ready = true;
        self.failures = 0;
    }
}
