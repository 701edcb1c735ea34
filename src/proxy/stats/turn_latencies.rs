//! `TurnLatencies`: requests answered in this turn, until their replies are written.
//!
//! A reply leaves at the end of its turn; only then is it known how long the client has waited, including the proxy's
//! own work. Requests that arrived in one turn and are answered in one turn are counted together, so that nearly all
//! of them cost one comparison.

use crate::clock::Time;
use crate::proxy::stats::calls::Calls;

/// Runs that may wait for the end of their turn; a turn with more is settled on the way.
const RUNS_MAX: usize = 1024;

/// Calls of one command that came at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Run {
    command: u16,
    started: Time,
    count: u64,
}

/// Requests answered in this turn.
#[derive(Debug, Default)]
pub struct TurnLatencies {
    last: Run,
    earlier: Vec<Run>,
}

impl TurnLatencies {
    /// So many requests of this command that came at `started` are answered.
    pub fn add(&mut self, command: u16, started: Time, count: u64, calls: &Calls, now: Time) {
        if self.last.command == command && self.last.started == started {
            self.last.count += count;
            return;
        }
        if self.earlier.len() >= RUNS_MAX {
            self.settle(calls, now);
        }
        if self.last.count > 0 {
            self.earlier.push(self.last);
        }
        self.last = Run {
            command,
            started,
            count,
        };
    }

    /// All these replies leave now.
    #[inline]
    pub fn settle(&mut self, calls: &Calls, now: Time) {
        if self.last.count == 0 {
            return;
        }
        let last = std::mem::take(&mut self.last);
        for run in self.earlier.drain(..).chain([last]) {
            let micros = now.as_micros().saturating_sub(run.started.as_micros());
            calls.answered(run.command, micros, run.count);
        }
    }

    /// Gives memory back, when there is nothing to count.
    pub fn shrink(&mut self) {
        if self.earlier.is_empty() {
            self.earlier = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::stats::calls::of_commands;

    #[test]
    fn calls_count_until_their_replies_leave() {
        let at = Time::from_micros;
        let (mut turn_latencies, calls) = (TurnLatencies::default(), Calls::default());
        for (command, started) in [(3, 10), (3, 10), (5, 10), (3, 20)] {
            turn_latencies.add(command, at(started), 1, &calls, at(100));
        }
        assert_eq!(of_commands(&[&calls]), []);
        turn_latencies.settle(&calls, at(110));
        turn_latencies.settle(&calls, at(1000));
        let all = of_commands(&[&calls]);
        let sums: Vec<_> = all
            .iter()
            .map(|calls| (calls.command, calls.latencies.count, calls.latencies.micros))
            .collect();
        assert_eq!(sums, [(3, 3, 290), (5, 1, 100)]);
    }

    #[test]
    fn a_turn_of_many_kinds_is_bounded() {
        let (mut turn_latencies, calls) = (TurnLatencies::default(), Calls::default());
        for started in 0..10_000 {
            turn_latencies.add(
                1,
                Time::from_micros(started),
                1,
                &calls,
                Time::from_micros(20_000),
            );
            assert!(turn_latencies.earlier.len() <= RUNS_MAX);
        }
        turn_latencies.settle(&calls, Time::from_micros(20_000));
        assert_eq!(of_commands(&[&calls])[0].latencies.count, 10_000);
    }
}
