//! `Calls`: what one worker counts of each command (calls, time, failures, a histogram of latencies) and of
//! each kind of error.
//!
//! One writer, its worker; readers look at any time and see each number as it is. A command costs memory from
//! its first call on; after that recording is two additions and a few shifts, and the number of calls is what
//! the histogram holds.

use std::sync::OnceLock;

use crate::command::table::ROWS_MAX;
use crate::proxy::stats::Counter;

/// Parts that each power of two is cut into: a latency is known to one part in sixteen.
const PARTS: u64 = 16;
/// Latencies of 2^32 microseconds (71 minutes) and more are counted as that.
const MICROS_MAX: u64 = (1 << 32) - 1;
const BUCKETS: usize = (PARTS * 29) as usize;
/// Kinds of errors that are told apart; further ones count in the sum only.
const ERRORS_MAX: usize = 64;

/// The histogram's bucket for a latency.
#[inline]
fn bucket(micros: u64) -> usize {
    let micros = micros.min(MICROS_MAX);
    let shift = u64::from(59 - (micros | (2 * PARTS - 1)).leading_zeros());
    (shift * PARTS + (micros >> shift)) as usize
}

/// The largest latency that falls into a bucket, in microseconds.
fn upper_bound(bucket: usize) -> u64 {
    let shift = (bucket as u64 / PARTS).saturating_sub(1);
    ((bucket as u64 - shift * PARTS + 1) << shift) - 1
}

/// The code of an error, its first word: at most 16 bytes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode([u8; 16]);

impl ErrorCode {
    /// The code of an error's text.
    pub fn of(text: &[u8]) -> ErrorCode {
        let word = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        let is_code = !word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric);
        let word = if is_code { word } else { b"ERR" };
        let mut code = [0; 16];
        let len = word.len().min(code.len());
        code[..len].copy_from_slice(&word[..len]);
        ErrorCode(code)
    }

    /// The code as text.
    pub fn name(&self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0);
        String::from_utf8_lossy(&self.0[..end.unwrap_or(self.0.len())]).into_owned()
    }
}

/// What is counted of one command.
#[derive(Debug)]
struct Record {
    micros: Counter,
    failed: Counter,
    rejected: Counter,
    buckets: [Counter; BUCKETS],
}

impl Default for Record {
    fn default() -> Record {
        Record {
            micros: Counter::default(),
            failed: Counter::default(),
            rejected: Counter::default(),
            buckets: std::array::from_fn(|_| Counter::default()),
        }
    }
}

#[derive(Debug, Default)]
struct ErrorCount {
    code: OnceLock<ErrorCode>,
    count: Counter,
}

/// What one worker counts of commands and errors.
#[derive(Debug)]
pub struct Calls {
    /// By the id of the command's row; nothing before its first call.
    records: Box<[OnceLock<Box<Record>>]>,
    /// Those in use stand in front.
    errors: [ErrorCount; ERRORS_MAX],
    errors_total: Counter,
}

impl Default for Calls {
    fn default() -> Calls {
        Calls {
            records: (0..ROWS_MAX).map(|_| OnceLock::new()).collect(),
            errors: std::array::from_fn(|_| ErrorCount::default()),
            errors_total: Counter::default(),
        }
    }
}

impl Calls {
    #[inline]
    fn record(&self, command: u16) -> Option<&Record> {
        let cell = self.records.get(usize::from(command))?;
        Some(match cell.get() {
            Some(record) => record,
            None => first(cell),
        })
    }

    /// A call has been answered, so many microseconds after it came. No row is no command.
    #[inline]
    pub fn answered(&self, command: u16, micros: u64) {
        if let Some(record) = self.record(command) {
            record.micros.add(micros);
            record.buckets[bucket(micros)].add(1);
        }
    }

    /// The answer to a call is an error.
    #[cold]
    pub fn failed(&self, command: u16, error: ErrorCode) {
        if let Some(record) = self.record(command) {
            record.failed.add(1);
        }
        self.erred(error);
    }

    /// A request was refused before anybody was asked. The error itself is counted apart.
    #[cold]
    pub fn rejected(&self, command: u16) {
        if let Some(record) = self.record(command) {
            record.rejected.add(1);
        }
    }

    /// An error was given to a client.
    #[cold]
    pub fn erred(&self, error: ErrorCode) {
        self.errors_total.add(1);
        let own = |slot: &&ErrorCount| *slot.code.get_or_init(|| error) == error;
        if let Some(slot) = self.errors.iter().find(own) {
            slot.count.add(1);
        }
    }

    /// Counts from zero again. For the writing thread only.
    pub fn reset(&self) {
        for record in self.records.iter().filter_map(OnceLock::get) {
            for counter in [&record.micros, &record.failed, &record.rejected] {
                counter.set(0);
            }
            record.buckets.iter().for_each(|bucket| bucket.set(0));
        }
        self.errors.iter().for_each(|slot| slot.count.set(0));
        self.errors_total.set(0);
    }
}

#[cold]
fn first(cell: &OnceLock<Box<Record>>) -> &Record {
    cell.get_or_init(Box::default)
}

/// One command's numbers over all workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandCalls {
    /// The command's row.
    pub command: u16,
    /// Calls that were answered.
    pub calls: u64,
    /// Their time in all.
    pub micros: u64,
    /// Those of them that were answered with an error.
    pub failed: u64,
    /// Requests refused before anybody was asked.
    pub rejected: u64,
    buckets: Vec<u64>,
}

impl CommandCalls {
    /// The numbers of one command, if it was ever called.
    fn of(command: u16, workers: &[&Calls]) -> Option<CommandCalls> {
        let cells = workers
            .iter()
            .map(|calls| &calls.records[usize::from(command)]);
        let records: Vec<&Record> = cells
            .filter_map(|cell| cell.get())
            .map(|boxed| &**boxed)
            .collect();
        let sum = |counter: &dyn Fn(&Record) -> &Counter| {
            records
                .iter()
                .map(|record| counter(record).get())
                .sum::<u64>()
        };
        let rejected = sum(&|record| &record.rejected);
        let buckets: Vec<u64> = (0..BUCKETS)
            .map(|at| sum(&|record| &record.buckets[at]))
            .collect();
        let calls = buckets.iter().sum();
        (calls > 0 || rejected > 0).then(|| CommandCalls {
            command,
            calls,
            micros: sum(&|record| &record.micros),
            failed: sum(&|record| &record.failed),
            rejected,
            buckets,
        })
    }

    /// The latency that so many percent of the calls did not exceed, in microseconds.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = (self.calls as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        reached.map_or(0, upper_bound)
    }
}

/// All commands that were ever called, over all workers, in the order of their rows.
pub fn of_commands(workers: &[&Calls]) -> Vec<CommandCalls> {
    let used = |command: &usize| {
        workers
            .iter()
            .any(|calls| calls.records[*command].get().is_some())
    };
    let commands = (0..ROWS_MAX).filter(used);
    commands
        .filter_map(|command| CommandCalls::of(command as u16, workers))
        .collect()
}

/// The errors given to clients over all workers, by code in the order of the alphabet; and all in all.
pub fn of_errors(workers: &[&Calls]) -> (Vec<(String, u64)>, u64) {
    let mut sums: Vec<(String, u64)> = Vec::new();
    for slot in workers.iter().flat_map(|calls| &calls.errors) {
        let Some(code) = slot.code.get() else {
            continue;
        };
        let name = code.name();
        match sums.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += slot.count.get(),
            None => sums.push((name, slot.count.get())),
        }
    }
    sums.retain(|(_, count)| *count > 0);
    sums.sort();
    let total = workers.iter().map(|calls| calls.errors_total.get()).sum();
    (sums, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_falls_into_a_bucket_that_bounds_it() {
        let mut last = 0;
        for micros in (0..100_000).chain([MICROS_MAX - 1, MICROS_MAX, u64::MAX]) {
            let at = bucket(micros);
            assert!(at < BUCKETS && (at == last || at == last + 1 || micros > 100_000));
            last = at;
            let bound = upper_bound(at);
            assert!(bound >= micros.min(MICROS_MAX), "{micros}");
            assert!(
                bound - micros.min(MICROS_MAX) <= micros / PARTS,
                "{micros}: {bound}"
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn workers_are_summed_and_a_reset_forgets() {
        let (one, two) = (Calls::default(), Calls::default());
        for micros in 1..=100 {
            one.answered(7, micros);
        }
        two.answered(7, 1000);
        two.failed(7, ErrorCode::of(b"WRONGTYPE Operation against a key"));
        two.rejected(9);
        two.erred(ErrorCode::of(b"ERR wrong number"));
        two.erred(ErrorCode::of(b"'odd' words"));
        one.answered(u16::MAX, 1);
        let all = of_commands(&[&one, &two]);
        assert_eq!(
            all.iter().map(|calls| calls.command).collect::<Vec<_>>(),
            [7, 9]
        );
        assert_eq!((all[0].calls, all[0].micros, all[0].failed), (101, 6050, 1));
        assert_eq!((all[1].calls, all[1].rejected), (0, 1));
        assert_eq!(all[0].percentile(50.0), 51);
        assert!((1000..1063).contains(&all[0].percentile(100.0)));
        let (errors, total) = of_errors(&[&one, &two]);
        assert_eq!(
            errors,
            [("ERR".to_string(), 2), ("WRONGTYPE".to_string(), 1)]
        );
        assert_eq!(total, 3);
        one.reset();
        two.reset();
        assert_eq!(of_commands(&[&one, &two]), []);
        assert_eq!(of_errors(&[&one, &two]), (Vec::new(), 0));
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let calls = Calls::default();
        for number in 0..200 {
            calls.erred(ErrorCode::of(format!("E{number} x").as_bytes()));
        }
        let (errors, total) = of_errors(&[&calls]);
        assert_eq!((errors.len(), total), (ERRORS_MAX, 200));
    }
}
