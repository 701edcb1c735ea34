//! `Pulse`: when the threads beside the workers look at what they watch. While there is work, they look once a second; while
//! there is none, with each refresh of the topology, so that an idle process sleeps in between.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often they look while there is work.
pub const PERIOD: Duration = Duration::from_secs(1);
/// And at least so often while there is none, in case refreshes are rarer or one takes long. By default they come every three
/// seconds.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// Wakes the threads that watch. The refresher beats.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: Mutex<u64>,
    beaten: Condvar,
}

impl Pulse {
    /// A refresh has ended, well or not.
    pub fn beat(&self) {
        *self.beats.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.beaten.notify_all();
    }

    /// Waits for a second while there is work, else for the next beat.
    pub fn wait(&self, is_busy: bool) {
        if is_busy {
            return std::thread::sleep(PERIOD);
        }
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = *beats;
        let is_same = |beats: &mut u64| *beats == seen;
        drop(self.beaten.wait_timeout_while(beats, IDLE_MAX, is_same));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_beat_wakes_all_who_are_idle() {
        let (pulse, stop) = (Arc::new(Pulse::default()), Arc::new(AtomicBool::new(false)));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let pulse = pulse.clone();
                thread::spawn(move || pulse.wait(false))
            })
            .collect();
        let beating = {
            let (pulse, stop) = (pulse.clone(), stop.clone());
            // Those that begin to wait behind a beat need another one.
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    pulse.beat();
                    thread::yield_now();
                }
            })
        };
        for thread in waiting {
            thread.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        beating.join().unwrap();
    }
}
