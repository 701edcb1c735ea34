//! `Turns`: how long a worker's turns take, and what the long ones did. `Heartbeat`: where a worker shows that it is
//! not stuck.
//!
//! A turn normally takes tens of microseconds. A long one delays all other clients of the worker, so it is counted
//! and logged. It must never know a socket.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Time;

/// A turn that has taken so long is stuck.
const TURN_MAX: Duration = Duration::from_secs(1);
/// A worker that waits comes back every few seconds; one that has not for so long is stuck as well.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a worker tells of long turns, and of standstills.
const TELL_PERIOD: u64 = 1_000_000;
/// A shorter standstill is counted, and not told of.
const STANDSTILL_TOLD: Duration = Duration::from_millis(100);

/// Where a worker shows when its last turn began or ended. One writer, its worker; any thread looks.
///
/// The last bit says whether a turn is under way, the others are microseconds of the clock.
#[derive(Debug, Default)]
pub struct Heartbeat(AtomicU64);

/// Why a worker is taken for stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// A turn began so long ago and has not ended.
    Turn(Duration),
    /// No turn has begun for so long.
    Wait(Duration),
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stuck::Turn(long) => write!(f, "is stuck in a turn that began {long:.1?} ago"),
            Stuck::Wait(long) => write!(f, "has not run for {long:.1?}"),
        }
    }
}

impl Heartbeat {
    /// A worker whose last turn ended at `now`.
    pub fn ended_at(now: Time) -> Heartbeat {
        Heartbeat(AtomicU64::new(now.as_micros() << 1))
    }

    /// A turn begins.
    #[inline]
    pub fn begin(&self, now: Time) {
        self.0.store(now.as_micros() << 1 | 1, Ordering::Relaxed);
    }

    /// The turn has ended.
    #[inline]
    pub fn end(&self, now: Time) {
        self.0.store(now.as_micros() << 1, Ordering::Relaxed);
    }

    fn look(&self, now: Time) -> (Duration, bool) {
        let seen = self.0.load(Ordering::Relaxed);
        (now.since(Time::from_micros(seen >> 1)), seen & 1 == 1)
    }

    /// How long ago the last turn began or ended.
    pub fn silent(&self, now: Time) -> Duration {
        self.look(now).0
    }

    /// How long the turn under way has taken; zero if there is none.
    pub fn turning(&self, now: Time) -> Duration {
        match self.look(now) {
            (long, true) => long,
            (_, false) => Duration::ZERO,
        }
    }

    /// Whether the worker is to be taken for stuck, and why.
    pub fn stuck(&self, now: Time) -> Option<Stuck> {
        match self.look(now) {
            (long, true) if long >= TURN_MAX => Some(Stuck::Turn(long)),
            (long, false) if long >= WAIT_MAX => Some(Stuck::Wait(long)),
            _ => None,
        }
    }
}

/// What one turn did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turn {
    /// When it began.
    pub began: Time,
    /// What the kernel had to tell.
    pub events: usize,
    /// Peers that were served.
    pub peers: usize,
    /// Bytes read from them.
    pub bytes: usize,
    /// Requests taken from them.
    pub commands: u64,
}

/// Tells of long turns, and of standstills: seldom, however many there are.
#[derive(Debug, Default)]
pub struct Turns {
    /// From when on a long turn is told of again, in microseconds, and how many were not.
    turn_due: u64,
    untold: u64,
    /// The same of standstills, and what they sum up to.
    standstill_due: u64,
    stood: Duration,
}

impl Turns {
    /// A turn has ended that took long. There may be a line to log; `largest` is what was large in it.
    #[cold]
    pub fn long(&mut self, turn: &Turn, now: Time, largest: &str) -> Option<String> {
        if now.as_micros() < self.turn_due {
            self.untold += 1;
            return None;
        }
        self.turn_due = now.as_micros() + TELL_PERIOD;
        let others = match std::mem::take(&mut self.untold) {
            0 => String::new(),
            others => format!("; {others} more since the last such line"),
        };
        let Turn {
            began,
            events,
            peers,
            bytes,
            commands,
        } = turn;
        Some(format!(
            "a turn took {:.1?}: {events} events, {peers} peers served, {bytes} bytes read, {commands} commands{largest}{others}",
            now.since(*began),
        ))
    }

    /// So much time was left out of the clock. There may be something to log: how much in all since the last time.
    #[cold]
    pub fn stood_still(&mut self, lost: Duration, now: Time) -> Option<Duration> {
        self.stood += lost;
        if self.stood < STANDSTILL_TOLD || now.as_micros() < self.standstill_due {
            return None;
        }
        self.standstill_due = now.as_micros() + TELL_PERIOD;
        Some(std::mem::take(&mut self.stood))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn a_turn_that_does_not_end_is_stuck_sooner_than_a_wait() {
        let heartbeat = Heartbeat::ended_at(at(1000));
        assert_eq!(heartbeat.stuck(at(1000)), None);
        // An idle worker waits for four seconds, and the machine may be busy.
        assert_eq!(heartbeat.stuck(at(9000)), None);
        assert_eq!(
            heartbeat.stuck(at(11_000)),
            Some(Stuck::Wait(Duration::from_secs(10)))
        );
        heartbeat.begin(at(2000));
        assert_eq!(heartbeat.stuck(at(2999)), None);
        assert_eq!(heartbeat.turning(at(2500)), Duration::from_millis(500));
        let stuck = heartbeat.stuck(at(3200));
        assert_eq!(stuck, Some(Stuck::Turn(Duration::from_millis(1200))));
        let text = stuck.map(|stuck| stuck.to_string());
        let expected = "is stuck in a turn that began 1.2s ago";
        assert_eq!(text.as_deref(), Some(expected));
        heartbeat.end(at(3300));
        assert_eq!(heartbeat.stuck(at(3300)), None);
        assert_eq!(heartbeat.turning(at(3500)), Duration::ZERO);
        // A clock that was put back is no reason.
        assert_eq!(heartbeat.stuck(at(10)), None);
    }

    #[test]
    fn a_long_turn_is_told_of_once_a_second() {
        let mut turns = Turns::default();
        let turn = |began| Turn {
            began,
            events: 3,
            peers: 2,
            bytes: 70_000,
            commands: 1,
        };
        let told = turns.long(&turn(at(200)), at(500), "; largest reply: that");
        let expected = "a turn took 300.0ms: 3 events, 2 peers served, 70000 bytes read, 1 commands; \
                        largest reply: that";
        assert_eq!(told.as_deref(), Some(expected));
        assert_eq!(turns.long(&turn(at(500)), at(700), ""), None);
        assert_eq!(turns.long(&turn(at(700)), at(900), ""), None);
        let told = turns.long(&turn(at(1500)), at(1700), "");
        let told = told.expect("a line");
        assert!(told.ends_with("1 commands; 2 more since the last such line"));
    }

    #[test]
    fn short_standstills_are_told_of_together_or_never() {
        let mut turns = Turns::default();
        let ms = Duration::from_millis;
        assert_eq!(turns.stood_still(Duration::from_micros(320), at(10)), None);
        assert_eq!(turns.stood_still(ms(99), at(20)), None);
        let sum = ms(100) + Duration::from_micros(320);
        assert_eq!(turns.stood_still(ms(1), at(30)), Some(sum));
        assert_eq!(turns.stood_still(ms(5000), at(40)), None);
        assert_eq!(turns.stood_still(ms(1), at(1030)), Some(ms(5001)));
    }
}
