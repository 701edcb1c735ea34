//! `Link`: the tracking connection to one node, and since when it is known that what came by it is true.
//!
//! It must never know what came by it.

use std::time::Duration;

use crate::clock::Time;
use crate::config::NearCacheTracking;
use crate::proxy::ids::BackendId;

/// The shortest and the longest wait before a new connection after one that was lost or refused.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A connection whose entries have not been served for so long is not probed.
const IDLE: Duration = Duration::from_secs(10);
/// So often in the time of the staleness it is probed.
const PROBES: u32 = 4;

/// What is reported is weighed against what is kept so often.
const WEIGHED: Duration = Duration::from_secs(10);
/// Below so many keys in that time it does not matter.
const FEW: u32 = 10_000;
/// A key that is read for the cache and tracked by itself costs its node as much as so many that are reported.
const WORTH: u32 = 8;
/// For how long a node that reports too many keys is asked for single ones, the first time and at most.
const KEYS_MIN: Duration = Duration::from_secs(600);
const KEYS_MAX: Duration = Duration::from_secs(86_400);

/// What a node has reported that reports all keys that change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broadcast {
    from: Time,
    reported: u32,
    kept: u32,
}

impl Broadcast {
    /// It begins.
    pub fn new(now: Time) -> Broadcast {
        Broadcast {
            from: now,
            reported: 0,
            kept: 0,
        }
    }
}

/// Why a connection ends before another asks the node for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The node may not report all keys that change.
    Refused,
    /// It has reported so many, and few of them were kept.
    TooMany(u32),
    /// It may report all of them again.
    MayAgain,
}

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
    /// Whether the node reports all keys that change (`BCAST`), and what that has come to.
    pub broadcast: Option<Broadcast>,
    /// It is asked for single keys until then, as it has reported very many.
    keys_until: Time,
    /// For how long it is next time.
    keys_wait: Duration,
    /// Whether it is asked until what it has said is settled (see `unsettled`).
    pub settles: bool,
    /// Whether the node may not report all keys on it.
    pub refuses_broadcast: bool,
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
        (self.is_ready && (used || self.settles) && !self.probe_key.is_empty())
            .then(|| self.asked_at.after(staleness / PROBES))
    }

    /// Whether a new connection asks for all keys that change.
    pub fn may_broadcast(&self, choice: NearCacheTracking, now: Time) -> bool {
        choice != NearCacheTracking::Keys && now >= self.keys_until
    }

    /// The node has reported so many keys.
    pub fn reported(&mut self, keys: u32) {
        if let Some(own) = &mut self.broadcast {
            own.reported = own.reported.saturating_add(keys);
        }
    }

    /// A reply was kept.
    pub fn kept(&mut self) {
        if let Some(own) = &mut self.broadcast {
            own.kept = own.kept.saturating_add(1);
        }
    }

    /// Whether the connection is to end, because of what the node is to report.
    pub fn weigh(&mut self, choice: NearCacheTracking, now: Time) -> Option<Over> {
        let again = self.backend.is_some() && self.may_broadcast(choice, now);
        let Some(own) = &mut self.broadcast else {
            return again.then_some(Over::MayAgain);
        };
        let over = if std::mem::take(&mut self.refuses_broadcast) {
            Over::Refused
        } else if choice == NearCacheTracking::Auto && now >= own.from.after(WEIGHED) {
            let Broadcast { reported, kept, .. } = *own;
            *own = Broadcast::new(now);
            let many = reported > FEW && reported / WORTH > kept;
            many.then_some(Over::TooMany(reported))?
        } else {
            return None;
        };
        let wait = self.keys_wait.clamp(KEYS_MIN, KEYS_MAX);
        self.keys_until = now.after(wait);
        self.keys_wait = wait * 2;
        Some(over)
    }

    /// It has no connection any more. `epoch` is a new one.
    pub fn lost(&mut self, epoch: u32, now: Time) {
        self.backend = None;
        (self.broadcast, self.refuses_broadcast, self.settles) = (None, false, false);
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

#[cfg(test)]
mod tests {
    use super::*;

    const AUTO: NearCacheTracking = NearCacheTracking::Auto;

    fn reporting(now: Time) -> Link {
        Link {
            backend: Some(BackendId::from_parts(1, 1)),
            broadcast: Some(Broadcast::new(now)),
            ..Link::default()
        }
    }

    #[test]
    fn many_reports_for_little_that_is_kept_are_avoided_for_longer_each_time() {
        let mut now = Time::from_micros(1);
        let mut link = reporting(now);
        for wait in [600, 1200, 2400, 4800] {
            link.reported(FEW + 1);
            assert_eq!(link.weigh(AUTO, now), None, "too soon to say");
            now = now.after(WEIGHED);
            assert_eq!(link.weigh(AUTO, now), Some(Over::TooMany(FEW + 1)));
            link.lost(1, now);
            assert!(!link.may_broadcast(AUTO, now));
            link.backend = reporting(now).backend;
            now = now.after(Duration::from_secs(wait - 1));
            assert_eq!(link.weigh(AUTO, now), None, "it tracks single keys");
            now = now.after(Duration::from_secs(1));
            assert_eq!(link.weigh(AUTO, now), Some(Over::MayAgain));
            assert!(!link.may_broadcast(NearCacheTracking::Keys, now));
            link.broadcast = Some(Broadcast::new(now));
        }
    }

    #[test]
    fn reports_are_not_too_many_for_much_that_is_kept_or_if_they_are_asked_for() {
        let now = Time::from_micros(1);
        let mut link = reporting(now);
        link.reported(FEW + WORTH);
        (0..FEW / WORTH + 1).for_each(|_| link.kept());
        assert_eq!(link.weigh(AUTO, now.after(WEIGHED)), None);
        // What was before does not count any more.
        link.reported(FEW + WORTH);
        let later = now.after(WEIGHED * 2);
        assert_eq!(link.weigh(NearCacheTracking::Broadcast, later), None);
        assert_eq!(link.weigh(AUTO, later), Some(Over::TooMany(FEW + WORTH)));
    }

    #[test]
    fn a_node_that_refuses_is_asked_for_single_keys() {
        let now = Time::from_micros(1);
        let mut link = reporting(now);
        link.refuses_broadcast = true;
        assert_eq!(
            link.weigh(NearCacheTracking::Broadcast, now),
            Some(Over::Refused)
        );
        link.lost(1, now);
        assert!(!link.may_broadcast(NearCacheTracking::Broadcast, now));
    }
}
