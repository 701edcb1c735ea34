//! `Watchers`: whether anything in the process wants to look at each request. The data path reads one word, so
//! MONITOR and `CLIENT PAUSE` cost nothing while nobody uses them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many monitors and pauses there are in the process. It has a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Watchers(AtomicUsize);

impl Watchers {
    /// Whether anything looks at requests.
    #[inline]
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// One more looks at requests.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less does.
    pub fn sub(&self) {
        let before = self.0.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0);
    }
}
