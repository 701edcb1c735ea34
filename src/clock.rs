//! `Time`: a point in time as an argument.
//!
//! The core never asks what time it is; the shell reads the clock at most three times a turn and hands the
//! answer in. A [`Time`] is the monotonic clock in microseconds since the process began, so it is eight
//! bytes, the same in all threads, and blind to a jump of the wall clock.

use std::time::{Duration, Instant};

/// Microseconds on the monotonic clock since the process began.
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

/// Turns the machine's monotonic clock into [`Time`]. One is made at start and copied to every thread.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts counting now.
    pub fn start() -> Clock {
        Clock {
            start: Instant::now(),
        }
    }

    /// Reads the clock.
    #[inline]
    pub fn now(&self) -> Time {
        Time(self.start.elapsed().as_micros() as u64)
    }
}
