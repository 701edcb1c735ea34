//! `Coalesce`: decides whether a worker waits a moment before it polls, so that one turn serves more clients with the
//! same number of system calls (`-coalesce`).
//!
//! Waking up, polling, and writing to each node are paid once in a turn. With fifty active clients and three events
//! in a turn, nearly all of that is overhead; a short nap lets more requests and replies come together. It is taken
//! only while several clients are active and turns carry few of them: a few clients, or one that asks quickly, are
//! never delayed.

use std::time::Duration;

/// Fewer active clients than this are not several.
const CLIENTS_MIN: usize = 8;
/// A turn that carries one event for so many active clients is large enough.
const SHARE: usize = 2;

/// Decides on naps.
#[derive(Debug)]
pub struct Coalesce {
    /// The longest delay that a nap may add; zero is never to nap.
    bound: Duration,
    /// Events of the last turn.
    events: usize,
}

impl Coalesce {
    /// `bound` is the longest delay that one worker alone may add, zero for none. One of several adds up to twice
    /// that: it sees a part of the clients only, and as much comes to it in twice the time. (Not more for more
    /// of them: those are there for more clients.)
    pub fn new(bound: Duration, workers: usize) -> Coalesce {
        let bound = bound * workers.clamp(1, 2) as u32;
        Coalesce { bound, events: 0 }
    }

    /// A turn carried so many events.
    pub fn turn(&mut self, events: usize) {
        self.events = events;
    }

    /// How long to wait before looking for events, while so many clients are active.
    #[inline]
    pub fn nap(&self, active_clients: usize) -> Option<Duration> {
        let several = active_clients >= CLIENTS_MIN && self.events * SHARE < active_clients;
        (several && !self.bound.is_zero()).then_some(self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nap_is_taken_only_while_several_clients_are_active() {
        let mut coalesce = Coalesce::new(Duration::from_micros(100), 1);
        coalesce.turn(1);
        assert_eq!(coalesce.nap(1), None);
        assert_eq!(coalesce.nap(7), None);
        assert_eq!(coalesce.nap(50), Some(Duration::from_micros(100)));
        coalesce.turn(25);
        assert_eq!(coalesce.nap(50), None);
        let mut off = Coalesce::new(Duration::ZERO, 2);
        off.turn(1);
        assert_eq!(off.nap(50), None);
        let several = Coalesce::new(Duration::from_micros(100), 8);
        assert_eq!(several.nap(50), Some(Duration::from_micros(200)));
    }
}
