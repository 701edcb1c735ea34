//! `Time`: a point in time, passed as an argument.
//!
//! The core never asks for the time: the shell reads the clock at most three times in a turn and passes the result
//! on. A [`Time`] is the monotonic clock in microseconds since the process began. It takes eight bytes, is the same
//! in all threads, and does not follow jumps of the wall clock.
//!
//! The clock excludes time in which the process did not run (SIGSTOP, a suspended machine, no processor time). A node
//! must not be blamed for a reply that nobody was there to read, and this way no deadline has to handle the case.
//! [`Watch`] detects such a standstill and [`Standstills`] adds them up, for the few who need the wall clock's view.
//!
//! A long turn is not a standstill: the thread used the processor, so its time counts. The processor time of the
//! thread tells the two apart.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A loop that comes back later than this after it had to did not run, but for the processor time that it used:
/// more is not time that passed.
const LATE: Duration = Duration::from_millis(100);
/// After so much work the processor time is read anew. It is what a long turn may be overestimated by.
const WORK: u64 = 100_000;
/// What a poll may cost beyond the work that is measured, in microseconds: half of it for each end of a turn.
const POLL: u64 = 5;
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
#[derive(Debug, Default)]
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

    /// How long the process stood still in all.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.total.load(Ordering::Relaxed))
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
    pub fn add(&self, at: Time, lost: u64, total: u64) -> bool {
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

/// The clock of a loop that works and waits by turns, and tells how long it means to wait: it notices when the
/// thread did not run.
///
/// The processor time of the thread is asked of the kernel at most once in 100 ms of work, and when work took
/// longer than that.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    /// The last reading: none goes back behind it, even if the clock was put back for another thread's sake.
    last: Time,
    /// The processor time of this thread when it was last read.
    processor: Duration,
    /// Microseconds of work since then.
    worked: u64,
}

impl Watch {
    /// Looks at a clock.
    pub fn new(clock: Clock) -> Watch {
        Watch {
            clock,
            last: clock.now(),
            processor: Duration::ZERO,
            worked: 0,
        }
    }

    /// From now on it is looked at in time, and by this thread.
    pub fn begin(&mut self) -> Time {
        self.last = self.clock.now().max(self.last);
        (self.processor, self.worked) = (processor_time(), 0);
        self.last
    }

    /// Reads the clock after a wait for at most `asked`.
    #[inline]
    pub fn waited(&mut self, asked: Duration) -> Reading {
        let now = self.clock.now();
        let latest = self.last.after(asked).after(LATE);
        if now > latest {
            return self.leave_out(latest);
        }
        self.last = now.max(self.last);
        Reading {
            now: self.last,
            lost: Duration::ZERO,
            late: false,
        }
    }

    /// Reads the clock after work.
    #[inline]
    pub fn worked(&mut self) -> Reading {
        let now = self.clock.now().max(self.last);
        self.worked += now.0 - self.last.0 + POLL;
        if self.worked > WORK {
            return self.account(now);
        }
        self.last = now;
        Reading {
            now,
            lost: Duration::ZERO,
            late: false,
        }
    }

    /// There has been much work, or it took long: how much of the time was the thread's own?
    #[cold]
    fn account(&mut self, now: Time) -> Reading {
        let processor = processor_time();
        // At least what it used since the last reading.
        let own = processor.saturating_sub(self.processor);
        (self.processor, self.worked) = (processor, 0);
        let late = now.since(self.last) > LATE;
        let latest = self.last.after(own).after(LATE);
        if now > latest {
            return self.leave_out(latest);
        }
        self.last = now;
        Reading {
            now,
            lost: Duration::ZERO,
            late,
        }
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
        Reading {
            now: self.last,
            lost,
            late: true,
        }
    }
}

/// The processor time that this thread has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // It began at zero and only rises.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What a [`Watch`] shows.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The time.
    pub now: Time,
    /// How much of what went by since the last reading is left out of it.
    pub lost: Duration,
    /// Whether more went by since the last reading than was to be expected: work took long, or the thread did
    /// not run. Deadlines are then judged behind what has come meanwhile.
    pub late: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    const LONG: Duration = Duration::from_millis(400);

    /// Sleeps; how long it was, as on a busy machine it is longer.
    fn asleep() -> Duration {
        let began = Instant::now();
        sleep(LONG);
        began.elapsed()
    }

    fn near(one: Duration, other: Duration) -> bool {
        one.abs_diff(other) < Duration::from_millis(150)
    }

    #[test]
    fn what_was_asked_for_passes() {
        let mut watch = Watch::new(Clock::start());
        sleep(LONG);
        let reading = watch.waited(LONG * 100);
        assert_eq!(reading.lost, Duration::ZERO);
        assert!(reading.now >= Time::default().after(LONG));
    }

    #[test]
    fn what_is_too_late_has_not_passed() {
        let clock = Clock::start();
        let (mut watch, before) = (Watch::new(clock), clock.now());
        let slept = asleep();
        let reading = watch.waited(Duration::ZERO);
        assert!(near(reading.now.since(before), LATE), "{reading:?}");
        assert!(near(reading.lost + LATE, slept), "{reading:?} of {slept:?}");
        // All who read this clock see the same, and the wall is as far as it was.
        assert!(near(clock.now().since(before), LATE));
        let after = clock.now().after(Duration::from_micros(1));
        assert!(near(clock.standstills().since_start(after), slept));
        assert_eq!(
            clock.standstills().since_start(before),
            before.since(Time::default())
        );
    }

    #[test]
    fn two_loops_that_stood_still_together_lose_the_time_once() {
        let clock = Clock::start();
        let (mut one, mut two) = (Watch::new(clock), Watch::new(clock));
        let slept = asleep();
        let (first, second) = (one.waited(Duration::ZERO), two.waited(Duration::ZERO));
        assert!(
            near(first.lost + second.lost, slept - LATE),
            "{first:?} {second:?} of {slept:?}"
        );
        assert!(second.now.since(first.now) < LONG / 2);
    }

    #[test]
    fn no_loop_sees_the_clock_go_back() {
        let clock = Clock::start();
        let (mut slow, mut swift) = (Watch::new(clock), Watch::new(clock));
        sleep(LONG);
        let seen = swift.waited(LONG * 100).now;
        assert!(slow.waited(Duration::ZERO).lost > Duration::ZERO);
        assert!(clock.now() < seen);
        assert!(swift.worked().now >= seen && swift.waited(Duration::ZERO).now >= seen);
    }

    /// Uses the processor for so long, however long that takes.
    fn work(much: Duration) {
        let began = processor_time();
        while processor_time() - began < much {
            std::hint::black_box(began);
        }
    }

    #[test]
    fn long_work_is_no_standstill() {
        let clock = Clock::start();
        let mut watch = Watch::new(clock);
        // What was used before the work is not taken for its own.
        work(LONG * 2);
        let before = watch.begin();
        let began = Instant::now();
        work(LONG);
        let took = began.elapsed();
        let reading = watch.worked();
        assert!(reading.late);
        // What others had of the processor meanwhile is at most what is left out.
        assert!(reading.lost <= took - LONG, "{reading:?} of {took:?}");
        assert!(reading.now.since(before) >= LONG);
        assert!(clock.now() >= reading.now);
    }

    #[test]
    fn what_was_not_run_for_in_the_middle_of_work_is_left_out() {
        let mut watch = Watch::new(Clock::start());
        let before = watch.begin();
        let began = Instant::now();
        work(LONG / 2);
        sleep(LONG * 2);
        let reading = watch.worked();
        assert!(reading.late && reading.lost > LONG, "{reading:?}");
        let others = began.elapsed() - LONG / 2;
        assert!(reading.lost <= others - LATE, "{reading:?} of {others:?}");
        let passed = reading.now.since(before);
        assert!(passed >= LONG / 2 && passed < LONG, "{passed:?}");
    }

    #[test]
    fn work_of_long_ago_does_not_hide_a_standstill() {
        let mut watch = Watch::new(Clock::start());
        watch.begin();
        for _ in 0..300 {
            work(Duration::from_millis(5));
            watch.worked();
        }
        sleep(LONG * 2);
        let reading = watch.worked();
        let least = LONG * 2 - LATE - Duration::from_micros(WORK) * 2;
        assert!(reading.lost >= least, "{reading:?}");
    }
}
