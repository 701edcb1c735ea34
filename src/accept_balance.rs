//! `AcceptBalance`: spreads new clients evenly over the workers.
//!
//! The kernel assigns connections to listeners by a hash, which is uneven for few connections: of fifty, one of two
//! workers may get twenty or thirty. So the worker that accepts a client hands it to the worker with the fewest
//! clients. This costs something once per client, and nothing with one worker.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many clients each worker has, those on their way to it included.
#[derive(Debug)]
pub struct AcceptBalance(Box<[AtomicUsize]>);

impl AcceptBalance {
    /// For so many workers.
    pub fn new(workers: usize) -> AcceptBalance {
        AcceptBalance((0..workers).map(|_| AtomicUsize::new(0)).collect())
    }

    /// The worker for a client that `own` has accepted: one with the fewest, itself if it is one. It is counted
    /// there from now on.
    pub fn assign(&self, own: usize) -> usize {
        let count = |worker: usize| self.0[worker].load(Ordering::Relaxed);
        let others = (0..self.0.len()).min_by_key(|worker| count(*worker));
        let worker = others
            .filter(|worker| count(*worker) < count(own))
            .unwrap_or(own);
        self.0[worker].fetch_add(1, Ordering::Relaxed);
        worker
    }

    /// Clients of all workers, those on their way between them included.
    pub fn total(&self) -> usize {
        self.0
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// A client of `worker` has gone, or has not got there.
    pub fn left(&self, worker: usize) {
        let before = self.0[worker].fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0);
    }

    /// `own` serves a client itself that it meant to give away.
    pub fn kept(&self, own: usize) {
        self.0[own].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_even_whoever_accepts_them_and_whoever_leaves() {
        let spread = AcceptBalance::new(3);
        for own in [0, 0, 0, 0, 2, 2, 0, 0, 1] {
            spread.assign(own);
        }
        let counts = || spread.0.iter().map(|count| count.load(Ordering::Relaxed));
        assert!(counts().eq([3, 3, 3]));
        spread.left(1);
        spread.left(1);
        assert_eq!((spread.assign(0), spread.assign(2)), (1, 1));
        assert_eq!(spread.assign(2), 2, "who accepts keeps, if none has fewer");
        spread.left(0);
        spread.kept(2);
        assert_eq!(spread.total(), 10);
        assert!(counts().eq([2, 3, 5]));
    }
}
