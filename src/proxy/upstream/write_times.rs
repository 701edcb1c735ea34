//! `WriteTimes`: when the requests of one connection were written to their node.
//!
//! A request is queued while events are handled and written at the end of that turn. The time in between is the
//! proxy's, not the node's.

use std::collections::VecDeque;

use crate::clock::Time;
use crate::proxy::upstream::node::Node;

/// Writes that are remembered; of more than these the last ones are taken for one.
const WRITES_MAX: usize = 256;

/// When requests were written, oldest first: all that had been queued at the first moment left at the second.
///
/// Invariant: both moments rise.
#[derive(Debug, Default)]
pub struct WriteTimes(VecDeque<(Time, Time)>);

impl WriteTimes {
    /// Counts replies to requests that were queued at one moment for their node.
    pub fn settle(&mut self, queued: Time, count: u64, node: &Node, now: Time) {
        self.forget_before(queued);
        let left = self.of(queued);
        let micros = now.as_micros().saturating_sub(left.as_micros());
        node.stats.answered(micros, count);
    }

    /// All that was queued until `queued` has left by now.
    pub fn note(&mut self, queued: Time, now: Time) {
        let full = self.0.len() >= WRITES_MAX;
        match self.0.back_mut() {
            Some((last, _)) if *last >= queued => {}
            Some((last, _)) if full => *last = queued,
            Some(_) | None => self.0.push_back((queued, now)),
        }
    }

    /// When the request that was queued then has left; the moment that it was queued, if that is not known.
    pub fn of(&self, queued: Time) -> Time {
        let mut writes = self.0.iter();
        let write = writes.find(|(until, _)| *until >= queued);
        write.map_or(queued, |(_, left)| queued.max(*left))
    }

    /// Nothing is outstanding that was queued before this.
    pub fn forget_before(&mut self, queued: Time) {
        while self.0.front().is_some_and(|(until, _)| *until < queued) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_leave_at_the_end_of_their_turn_or_later() {
        let at = Time::from_micros;
        let mut write_times = WriteTimes::default();
        assert_eq!(write_times.of(at(5)), at(5));
        write_times.note(at(10), at(12));
        // The socket was full: what was queued at 20 and at 30 left together.
        write_times.note(at(30), at(33));
        write_times.note(at(30), at(99));
        for (queued, left) in [(10, 12), (20, 33), (30, 33), (31, 31)] {
            assert_eq!(write_times.of(at(queued)), at(left), "{queued}");
        }
        write_times.forget_before(at(20));
        assert_eq!(write_times.of(at(10)), at(33));
        for turn in 0..1000 {
            write_times.note(at(100 + turn), at(101 + turn));
        }
        assert!(write_times.0.len() <= WRITES_MAX);
    }
}
