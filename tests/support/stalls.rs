//! `Stalls`: how long threads that have work wait for a processor, on a machine that others use, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A thread that only wants to run often, as long as this lives.
#[derive(Debug)]
pub struct Stalls(Arc<AtomicU64>);

impl Stalls {
    pub fn watch() -> Stalls {
        const PERIOD: Duration = Duration::from_millis(5);
        let longest = Arc::new(AtomicU64::new(0));
        let watched = Arc::downgrade(&longest);
        thread::spawn(move || {
            while let Some(longest) = watched.upgrade() {
                let before = Instant::now();
                thread::sleep(PERIOD);
                let late = before.elapsed().saturating_sub(PERIOD);
                longest.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
            }
        });
        Stalls(longest)
    }

    /// What a request may take longer for want of a processor: the client, the proxy, a node, and the proxy and the client
    /// again each wait for one, some of them twice.
    pub fn allowance(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed)) * 8
    }
}
