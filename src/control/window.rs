//! `Window`: latencies of the last ten seconds, from what was added in each of them. The control thread adds one each
//! second; workers are not involved.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Time;
use crate::proxy::process::Process;
use crate::proxy::stats::histogram::{Change, Latencies};
use crate::sort;

/// Seconds that are looked back.
const SECONDS: usize = 10;
/// How often one is taken.
pub const PERIOD: Duration = Duration::from_secs(1);

/// What latencies there are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    Command(u16),
    Node(SocketAddr),
}

/// What was added in one second.
#[derive(Debug)]
struct Second {
    length: Duration,
    added: Vec<(Of, Change)>,
}

/// The last ten seconds.
#[derive(Debug, Default)]
pub struct Window {
    /// All that was counted when the last second ended.
    last: BTreeMap<Of, Latencies>,
    taken_at: Option<Time>,
    seconds: VecDeque<Second>,
}

/// The latencies of the last ten seconds.
#[derive(Debug, Default)]
pub struct Recent {
    /// How long it was: ten seconds, once there have been so many.
    pub length: Duration,
    /// All requests together, from their arrival to their replies.
    pub requests: Latencies,
    /// All nodes together, from the moment that a request was written until its reply was read.
    pub nodes: Latencies,
    of: BTreeMap<Of, Latencies>,
}

impl Window {
    /// A second is over.
    pub fn take(&mut self, process: &Process, now: Time) {
        let commands = process.commands().into_iter();
        let commands = commands.map(|calls| (Of::Command(calls.command), calls.latencies));
        let nodes = process.nodes().into_iter();
        let nodes = nodes.map(|(address, totals)| (Of::Node(address), totals.latencies));
        self.add(sort::map(commands.chain(nodes)), now);
    }

    fn add(&mut self, totals: BTreeMap<Of, Latencies>, now: Time) {
        if let Some(before) = self.taken_at.replace(now) {
            let nothing = Latencies::default();
            let added = totals.iter().map(|(of, totals)| {
                let earlier = self.last.get(of).unwrap_or(&nothing);
                (*of, totals.since(earlier))
            });
            let added = added.filter(|(_, change)| !change.is_empty());
            let second = Second {
                length: now.since(before),
                added: added.collect(),
            };
            if self.seconds.len() >= SECONDS {
                self.seconds.pop_front();
            }
            self.seconds.push_back(second);
        }
        self.last = totals;
    }

    /// The seconds together.
    pub fn recent(&self) -> Recent {
        Window::together(self.seconds.iter())
    }

    /// The last second alone.
    pub fn last_second(&self) -> Recent {
        Window::together(self.seconds.back().into_iter())
    }

    fn together<'a>(seconds: impl Iterator<Item = &'a Second>) -> Recent {
        let mut recent = Recent::default();
        for second in seconds {
            recent.length += second.length;
            for (of, change) in &second.added {
                recent.of.entry(*of).or_default().add_change(change);
                match of {
                    Of::Command(_) => recent.requests.add_change(change),
                    Of::Node(_) => recent.nodes.add_change(change),
                }
            }
        }
        recent
    }
}

impl Recent {
    /// Those of one command, by its row.
    pub fn command(&self, command: u16) -> Option<&Latencies> {
        self.of.get(&Of::Command(command))
    }

    /// Those of one node.
    pub fn node(&self, address: SocketAddr) -> Option<&Latencies> {
        self.of.get(&Of::Node(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_ten_seconds_counts_no_more() {
        let process = Process::new(2);
        let mut window = Window::default();
        let at = |second: u64| Time::from_micros(second * 1_000_000);
        // Before the first look nothing is known of when it was.
        process.workers[0].calls.answered(3, 1_000_000, 1000);
        window.take(&process, at(5));
        assert_eq!(window.recent().requests.count, 0);
        for second in 6..=30 {
            let micros = if second <= 18 { 5000 } else { 70 };
            process.workers[second as usize % 2]
                .calls
                .answered(3, micros, 10);
            process.workers[0].calls.answered(4, 10, 1);
            window.take(&process, at(second));
            let recent = window.recent();
            let seconds = (second - 5).min(10);
            assert_eq!(recent.length, Duration::from_secs(seconds));
            assert_eq!(recent.requests.count, 11 * seconds);
            let own = recent.command(3).expect("it was called");
            assert_eq!(own.count, 10 * seconds);
            let slow = own.percentile(99.0) >= 5000;
            assert_eq!(slow, second < 28, "{second}");
        }
        assert!(window.recent().command(5).is_none());
        process.workers[0].calls.reset();
        process.workers[1].calls.reset();
        process.workers[1].calls.answered(3, 20, 1);
        window.take(&process, at(31));
        assert_eq!(window.recent().command(3).expect("called").count, 91);
    }
}
