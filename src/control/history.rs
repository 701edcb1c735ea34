//! `History`: the last five minutes, second by second, and the latest cluster events, so that the status page has
//! graphs and a timeline when it opens. The control thread adds the seconds, the thread that watches for outages adds
//! the events. Workers are not involved.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::control::window::Recent;

/// Seconds that are kept.
pub const SECONDS: usize = 300;
/// Events that are kept.
pub const EVENTS: usize = 100;

/// What all workers did in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Second {
    /// When it ended, in seconds since 1970.
    pub at: f64,
    /// Commands that were answered, for each second.
    pub commands: f64,
    /// Errors given to clients, for each second.
    pub errors: f64,
    /// Clients that are connected.
    pub clients: u64,
    /// Half of the requests took no longer, in microseconds.
    pub p50_us: u64,
    /// Of a hundred 99 took no longer.
    pub p99_us: u64,
    /// The same of the nodes' own time.
    pub nodes_p99_us: u64,
}

/// Something that happened to the cluster: the line that the log has of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// When, in seconds since 1970.
    pub at: f64,
    /// What.
    pub text: String,
}

/// The rings.
#[derive(Debug, Default)]
pub struct History {
    rings: Mutex<Rings>,
}

#[derive(Debug, Default)]
struct Rings {
    seconds: VecDeque<Second>,
    events: VecDeque<Event>,
    /// All errors that there had been when the last second ended.
    errors: Option<u64>,
}

/// What a page is told.
#[derive(Debug, Serialize)]
pub struct Page {
    /// Oldest first.
    pub seconds: Vec<Second>,
    /// Oldest first.
    pub events: Vec<Event>,
}

impl History {
    /// A second is over, in which `second` happened; `errors` counts all errors so far.
    pub fn add_second(&self, second: &Recent, clients: u64, errors: u64) {
        let mut rings = self.lock();
        let before = rings.errors.replace(errors).unwrap_or(errors);
        let length = second.length.as_secs_f64();
        if length == 0.0 {
            return;
        }
        push(
            &mut rings.seconds,
            SECONDS,
            Second {
                at: since_1970(),
                commands: second.requests.count as f64 / length,
                // Counters begin again at CONFIG RESETSTAT.
                errors: errors.saturating_sub(before) as f64 / length,
                clients,
                p50_us: second.requests.percentile(50.0),
                p99_us: second.requests.percentile(99.0),
                nodes_p99_us: second.nodes.percentile(99.0),
            },
        );
    }

    /// Something happened to the cluster.
    pub fn add_event(&self, text: String) {
        let event = Event {
            at: since_1970(),
            text,
        };
        push(&mut self.lock().events, EVENTS, event);
    }

    /// All of it.
    pub fn page(&self) -> Page {
        let rings = self.lock();
        Page {
            seconds: rings.seconds.iter().copied().collect(),
            events: rings.events.iter().cloned().collect(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(ring: &mut VecDeque<T>, max: usize, value: T) {
    while ring.len() >= max {
        ring.pop_front();
    }
    ring.push_back(value);
}

fn since_1970() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_seconds_and_events_go_first() {
        let history = History::default();
        let mut second = Recent::default();
        second.length = Duration::from_secs(2);
        for errors in 0..=SECONDS as u64 + 10 {
            history.add_second(&second, 7, errors * 4);
            history.add_event(format!("event {errors}"));
        }
        let page = history.page();
        assert_eq!(page.seconds.len(), SECONDS);
        let last = page.seconds.last().expect("one");
        assert_eq!((last.errors, last.clients), (2.0, 7));
        assert_eq!(page.events.len(), EVENTS);
        assert_eq!(page.events.last().expect("one").text, "event 310");
        // A reset of the counters is no flood of errors.
        history.add_second(&second, 7, 0);
        assert_eq!(history.page().seconds.last().expect("one").errors, 0.0);
        // Before the first second was taken there is nothing to tell.
        history.add_second(&Recent::default(), 7, 0);
        assert_eq!(history.page().seconds.len(), SECONDS);
    }
}
