//! `Time`: a point in time as an argument.
//!
//! The core never asks what time it is; the shell reads the clock at most three times a turn and hands the
//! answer in. A [`Time`] is the monotonic clock in microseconds since the process began, so it is eight
//! bytes, the same in all threads, and blind to a jump of the wall clock.
//!
//! The clock stands still while the process does (SIGSTOP, a paused machine, no processor to be had): whoever
//! was not there to read a reply must not hold it against the node that it did not come. So no deadline
//! anywhere needs to know of it. [`Watch`] notices and [`Standstills`] keeps the account, for those few who
//! want to know what the clock on the wall showed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A loop that comes back later than this after it had to did not run: more is not time that passed.
const LATE: Duration = Duration::from_millis(100);
/// Standstills that are remembered one by one.
const REMEMBERED: usize = 64;

/// Microseconds that the process has run for since it began, by the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Time(u64);

impl Time {
    /// The point `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not.
    #[inline]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The point `wait` later.
    #[inline]
    pub fn after(self, wait: Duration) -> Time {
        Time(
            self.0
                .saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

/// When the process stood still, and for how long. Shared by all who read one clock.
#[derive(Debug)]
pub struct Standstills {
    /// Microseconds in all.
    total: AtomicU64,
    /// The last ones: when the clock stood, and all that was lost by then, this time included.
    last: Mutex<VecDeque<(Time, u64)>>,
}

/// Of a clock that never stands still.
pub static NEVER_STILL: Standstills = Standstills::new();

impl Standstills {
    const fn new() -> Standstills {
        Standstills {
            total: AtomicU64::new(0),
            last: Mutex::new(VecDeque::new()),
        }
    }

    /// How long after the start `at` was by a clock that never stands still. Of standstills longer ago than
    /// the last 64 it knows only the sum.
    pub fn since_start(&self, at: Time) -> Duration {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.iter().rev().find(|(when, _)| *when < at);
        Duration::from_micros(at.0 + before.map_or(0, |(_, lost)| *lost))
    }

    /// The clock stood at `at`: `lost` microseconds are left out, if no other thread has taken account of them
    /// since `total` was read.
    fn add(&self, at: Time, lost: u64, total: u64) -> bool {
        let (order, after) = (Ordering::Relaxed, total + lost);
        if self
            .total
            .compare_exchange(total, after, order, order)
            .is_err()
        {
            return false;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == REMEMBERED {
            last.pop_front();
        }
        last.push_back((at, after));
        true
    }
}

/// Turns the machine's monotonic clock into [`Time`]. One is made at start and copied to every thread.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    standstills: &'static Standstills,
}

impl Clock {
    /// Starts counting now. It is never given back: a process makes one.
    pub fn start() -> Clock {
        Clock {
            start: Instant::now(),
            standstills: Box::leak(Box::new(Standstills::new())),
        }
    }

    /// Reads the clock.
    #[inline]
    pub fn now(&self) -> Time {
        self.running(self.standstills.total.load(Ordering::Relaxed))
    }

    #[inline]
    fn running(&self, total: u64) -> Time {
        Time((self.start.elapsed().as_micros() as u64).saturating_sub(total))
    }

    /// When it stood still.
    pub fn standstills(&self) -> &'static Standstills {
        self.standstills
    }
}

/// The clock of a loop that tells when it has to be back: it notices that it was not.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    /// The last reading: none goes back behind it, even if the clock was put back for another thread's sake.
    last: Time,
}

impl Watch {
    /// Looks at a clock.
    pub fn new(clock: Clock) -> Watch {
        Watch {
            clock,
            last: clock.now(),
        }
    }

    /// From now on it is looked at in time.
    pub fn begin(&mut self) -> Time {
        self.last = self.now();
        self.last
    }

    /// Reads the clock after something that was to take at most `asked`.
    #[inline]
    pub fn read(&mut self, asked: Duration) -> Reading {
        let now = self.clock.now();
        let latest = self.latest(asked);
        if now > latest {
            return self.leave_out(latest);
        }
        self.last = now.max(self.last);
        Reading {
            now: self.last,
            lost: Duration::ZERO,
        }
    }

    /// Reads the clock without judging.
    #[inline]
    pub fn now(&self) -> Time {
        self.clock.now().max(self.last)
    }

    fn latest(&self, asked: Duration) -> Time {
        self.last.after(asked).after(LATE)
    }

    /// It is later than it can be: what is too much has not passed, for anyone.
    #[cold]
    fn leave_out(&mut self, latest: Time) -> Reading {
        let standstills = self.clock.standstills;
        let mut lost = Duration::ZERO;
        loop {
            let total = standstills.total.load(Ordering::Relaxed);
            let now = self.clock.running(total);
            if now <= latest {
                // Another thread has stood still as well, and was faster.
                self.last = now.max(self.last);
                break;
            }
            let much = now.since(latest);
            if standstills.add(latest, much.as_micros() as u64, total) {
                (self.last, lost) = (latest, much);
                break;
            }
        }
        let now = self.last;
        Reading { now, lost }
    }
}

/// What a [`Watch`] shows.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The time.
    pub now: Time,
    /// How much of what went by since the last reading is left out of it.
    pub lost: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    const LONG: Duration = Duration::from_millis(400);

    fn near(one: Duration, other: Duration) -> bool {
        one.abs_diff(other) < Duration::from_millis(150)
    }

    #[test]
    fn what_was_asked_for_passes() {
        let mut watch = Watch::new(Clock::start());
        sleep(LONG);
        let reading = watch.read(LONG * 100);
        assert_eq!(reading.lost, Duration::ZERO);
        assert!(reading.now >= Time::default().after(LONG));
    }

    #[test]
    fn what_is_too_late_has_not_passed() {
        let clock = Clock::start();
        let (mut watch, before) = (Watch::new(clock), clock.now());
        sleep(LONG);
        let reading = watch.read(Duration::ZERO);
        assert_eq!(
            reading.now.since(before).as_millis() / 10,
            LATE.as_millis() / 10
        );
        assert!(near(reading.lost + LATE, LONG), "{reading:?}");
        // All who read this clock see the same, and the wall is as far as it was.
        assert!(near(clock.now().since(before), LATE));
        let after = clock.now().after(Duration::from_micros(1));
        assert!(near(clock.standstills().since_start(after), LONG));
        assert_eq!(
            clock.standstills().since_start(before),
            before.since(Time::default())
        );
    }

    #[test]
    fn two_loops_that_stood_still_together_lose_the_time_once() {
        let clock = Clock::start();
        let (mut one, mut two) = (Watch::new(clock), Watch::new(clock));
        sleep(LONG);
        let (first, second) = (one.read(Duration::ZERO), two.read(Duration::ZERO));
        assert!(
            near(first.lost + second.lost, LONG - LATE),
            "{first:?} {second:?}"
        );
        assert!(second.now.since(first.now) < LONG / 2);
    }

    #[test]
    fn no_loop_sees_the_clock_go_back() {
        let clock = Clock::start();
        let (mut slow, mut swift) = (Watch::new(clock), Watch::new(clock));
        sleep(LONG);
        let seen = swift.read(LONG * 100).now;
        assert!(slow.read(Duration::ZERO).lost > Duration::ZERO);
        assert!(clock.now() < seen);
        assert!(swift.now() >= seen && swift.read(Duration::ZERO).now >= seen);
    }
}
