//! `Credit`: how many replies a shared connection may owe before clients' pipelines wait for replies of their own.
//!
//! Nobody knows how large a reply is before it comes, and what has been written to a node cannot be taken back: if all
//! that many clients pipeline at once were written, and the replies turned out large, whoever comes next would wait for
//! all of them, and they would fill our memory. So a connection that owes more than is usual for it takes no more than
//! one request of each client at a time, and their windows grow from there again (see `Client::window`).
//!
//! What is usual is learnt as a congestion window is: each small reply adds one to the credit, until it is twice what
//! has been used; and what has not been used for a while is taken back. A load that goes on is never slowed.

use crate::clock::Time;
use std::time::Duration;

/// How long a load is remembered.
const REMEMBERED: Duration = Duration::from_secs(10);

/// How many replies a connection may owe.
///
/// Invariant: the limit is at least the floor.
#[derive(Debug)]
pub struct Credit {
    limit: usize,
    floor: usize,
    /// The most that was owed when a small reply came, since `since`.
    most: usize,
    since: Time,
}

impl Credit {
    /// That of a new connection.
    pub fn new(floor: usize, now: Time) -> Credit {
        Credit {
            limit: floor,
            floor,
            most: 0,
            since: now,
        }
    }

    /// Whether a connection that owes so many replies is to have one more request of a client that waits for others.
    #[inline]
    pub fn allows(&self, owed: usize) -> bool {
        owed < self.limit
    }

    /// So many small replies have come, when so many were owed.
    #[inline]
    pub fn answered(&mut self, count: usize, owed: usize) {
        self.most = self.most.max(owed);
        if self.limit < 2 * self.most {
            self.limit = (self.limit + count).min(2 * self.most);
        }
    }

    /// Takes back what has not been used for a while.
    pub fn settle(&mut self, now: Time) {
        if now.since(self.since) < REMEMBERED {
            return;
        }
        self.limit = self.limit.min(2 * self.most).max(self.floor);
        (self.most, self.since) = (0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_grows_while_it_is_used_and_is_forgotten_later() {
        let mut credit = Credit::new(32, Time::default());
        assert!(credit.allows(31) && !credit.allows(32));
        // Few requests say nothing of many.
        for _ in 0..1000 {
            credit.answered(1, 16);
        }
        assert!(!credit.allows(32));
        credit.answered(32, 32);
        assert!(credit.allows(63) && !credit.allows(64));
        for _ in 0..10 {
            credit.answered(100, 400);
        }
        // No more than is used.
        assert!(credit.allows(799) && !credit.allows(800));
        let second = |second: u64| Time::from_micros(second * 1_000_000);
        credit.settle(second(9));
        assert!(credit.allows(799));
        credit.settle(second(10));
        assert!(credit.allows(799) && !credit.allows(800));
        credit.answered(1, 40);
        credit.settle(second(20));
        assert!(credit.allows(79) && !credit.allows(80));
        credit.settle(second(30));
        assert!(credit.allows(31) && !credit.allows(32));
    }
}
