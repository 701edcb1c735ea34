//! `Feed`: the lines on their way to the monitors of one worker. Every worker may add to it, its own takes all
//! there is at once; so no more than one letter is on its way to a worker because of them, and their bytes
//! are bounded.
//!
//! The lock is held for a copy, and only while somebody monitors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Whether a letter that says so is on its way.
    announced: bool,
    /// Whether there were more than could be kept.
    overrun: bool,
}

/// The lines on their way to the monitors of one worker.
#[derive(Debug, Default)]
pub struct Feed {
    monitors: AtomicUsize,
    lines: Mutex<Lines>,
}

impl Feed {
    /// Whether that worker has monitors.
    pub fn is_wanted(&self) -> bool {
        self.monitors.load(Ordering::Relaxed) > 0
    }

    /// Says how many monitors that worker has.
    pub fn set_monitors(&self, count: usize) {
        self.monitors.store(count, Ordering::Relaxed);
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, unless more than `max` bytes wait already. Returns whether the worker must be told.
    pub fn add(&self, line: &[u8], max: usize) -> bool {
        let mut lines = self.lines();
        if lines.bytes.len() > max {
            lines.overrun = true;
        } else {
            lines.bytes.extend_from_slice(line);
        }
        !std::mem::replace(&mut lines.announced, true)
    }

    /// The worker could not be told: the next line tries again.
    pub fn not_told(&self) {
        self.lines().announced = false;
    }

    /// All lines; nothing if some were lost.
    pub fn take(&self) -> Option<Vec<u8>> {
        let lines = std::mem::take(&mut *self.lines());
        (!lines.overrun).then_some(lines.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_brings_all_lines() {
        let feed = Feed::default();
        assert!(feed.add(b"a", 10));
        assert!(!feed.add(b"b", 10));
        assert_eq!(feed.take().as_deref(), Some(&b"ab"[..]));
        assert!(feed.add(b"c", 10));
        feed.not_told();
        assert!(feed.add(b"d", 10));
        assert_eq!(feed.take().as_deref(), Some(&b"cd"[..]));
    }

    #[test]
    fn lines_that_are_not_taken_are_lost_as_a_whole() {
        let feed = Feed::default();
        for _ in 0..5 {
            feed.add(b"0123456789", 25);
        }
        assert_eq!(feed.take(), None);
        assert_eq!(feed.take().as_deref(), Some(&b""[..]));
    }
}
