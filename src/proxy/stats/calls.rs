//! `Calls`: what one worker counts of each command (calls, time, failures, a histogram of latencies) and of
//! each kind of error.
//!
//! One writer, its worker; readers look at any time and see each number as it is. A command costs memory from
//! its first call on; after that recording is two additions and a few shifts, and the number of calls is what
//! the histogram holds.

use std::sync::OnceLock;

use crate::command::table::ROWS_MAX;
use crate::proxy::stats::Counter;
use crate::proxy::stats::counted::CountedCommand;
use crate::proxy::stats::histogram::{Histogram, Latencies};
use crate::sort;

/// Kinds of errors that are told apart; further ones count in the sum only.
const ERRORS_MAX: usize = 64;

/// The longest code of an error, in bytes: of a longer first word a server makes no code either.
const CODE_MAX: usize = 30;

/// The code of an error, its first word, whatever it is made of: scripts make codes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode([u8; CODE_MAX]);

impl ErrorCode {
    /// The code of an error's text, as a server finds it (`afterErrorReply`): what stands before a space.
    pub fn of(text: &[u8]) -> ErrorCode {
        let space = text
            .iter()
            .take(CODE_MAX + 1)
            .position(|byte| *byte == b' ');
        let word = space.map_or(&b"ERR"[..], |end| &text[..end]);
        let mut code = [0; CODE_MAX];
        for (to, from) in code.iter_mut().zip(word) {
            // They would end a field of INFO.
            *to = if b"#:\r\n\0".contains(from) {
                b'_'
            } else {
                *from
            };
        }
        ErrorCode(code)
    }

    /// The code as text.
    pub fn name(&self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0);
        String::from_utf8_lossy(&self.0[..end.unwrap_or(self.0.len())]).into_owned()
    }
}

/// What is counted of one command.
#[derive(Debug, Default)]
struct Record {
    latencies: Histogram,
    failed: Counter,
    rejected: Counter,
    cuts: Counter,
    parts: Counter,
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

    /// So many calls have been answered, so many microseconds after they came. No row is no command.
    #[inline]
    pub fn answered(&self, command: u16, micros: u64, count: u64) {
        if let Some(record) = self.record(command) {
            record.latencies.record(micros, count);
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

    /// A request was cut in so many parts, or asked so many.
    pub fn cut(&self, command: u16, parts: u64) {
        if let Some(record) = self.record(command) {
            record.cuts.add(1);
            record.parts.add(parts);
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

    /// Adds what another process has counted of a command. For the writing thread only.
    pub fn add_command(&self, command: u16, counted: &CountedCommand) {
        if let Some(record) = self.record(command) {
            record.latencies.add_change(&counted.latencies);
            record.failed.add(counted.failed);
            record.rejected.add(counted.rejected);
            record.cuts.add(counted.cuts);
            record.parts.add(counted.parts);
        }
    }

    /// The same of errors: of one kind, by its name, and how many there were of all kinds.
    pub fn add_errors(&self, kinds: &[(String, u64)], total: u64) {
        self.errors_total.add(total);
        for (name, count) in kinds {
            let error = ErrorCode::of(format!("{name} ").as_bytes());
            let own = |slot: &&ErrorCount| *slot.code.get_or_init(|| error) == error;
            if let Some(slot) = self.errors.iter().find(own) {
                slot.count.add(*count);
            }
        }
    }

    /// Counts from zero again. For the writing thread only.
    pub fn reset(&self) {
        for record in self.records.iter().filter_map(OnceLock::get) {
            record.latencies.reset();
            record.failed.set(0);
            record.rejected.set(0);
            record.cuts.set(0);
            record.parts.set(0);
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
    /// Calls that were answered, from their arrival to their reply.
    pub latencies: Latencies,
    /// Those of them that were answered with an error.
    pub failed: u64,
    /// Requests refused before anybody was asked.
    pub rejected: u64,
    /// Those that were cut.
    pub cuts: u64,
    /// Parts of those.
    pub parts: u64,
}

impl CommandCalls {
    /// Requests that nodes were sent for these calls, if each went to one or was cut.
    pub fn sent(&self) -> u64 {
        self.latencies.count.saturating_sub(self.cuts) + self.parts
    }

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
        let mut latencies = Latencies::default();
        records
            .iter()
            .for_each(|record| latencies.add(&record.latencies));
        (latencies.count > 0 || rejected > 0).then(|| CommandCalls {
            command,
            latencies,
            failed: sum(&|record| &record.failed),
            rejected,
            cuts: sum(&|record| &record.cuts),
            parts: sum(&|record| &record.parts),
        })
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
    sort::all(&mut sums);
    let total = workers.iter().map(|calls| calls.errors_total.get()).sum();
    (sums, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_summed_and_a_reset_forgets() {
        let (one, two) = (Calls::default(), Calls::default());
        for micros in 1..=100 {
            one.answered(7, micros, 1);
        }
        two.answered(7, 1000, 1);
        two.failed(7, ErrorCode::of(b"WRONGTYPE Operation against a key"));
        two.rejected(9);
        two.erred(ErrorCode::of(b"ERR wrong number"));
        two.erred(ErrorCode::of(b"'odd' words"));
        one.answered(u16::MAX, 1, 1);
        two.erred(ErrorCode::of(b"MY_ERR_CODE custom msg"));
        let all = of_commands(&[&one, &two]);
        assert_eq!(
            all.iter().map(|calls| calls.command).collect::<Vec<_>>(),
            [7, 9]
        );
        assert_eq!(
            (
                all[0].latencies.count,
                all[0].latencies.micros,
                all[0].failed
            ),
            (101, 6050, 1)
        );
        assert_eq!((all[1].latencies.count, all[1].rejected), (0, 1));
        assert_eq!(all[0].latencies.percentile(50.0), 51);
        assert!((1000..1063).contains(&all[0].latencies.percentile(100.0)));
        let (errors, total) = of_errors(&[&one, &two]);
        assert_eq!(
            errors,
            [
                ("'odd'", 1),
                ("ERR", 1),
                ("MY_ERR_CODE", 1),
                ("WRONGTYPE", 1)
            ]
            .map(|(code, count)| (code.to_string(), count))
        );
        assert_eq!(total, 4);
        one.reset();
        two.reset();
        assert_eq!(of_commands(&[&one, &two]), []);
        assert_eq!(of_errors(&[&one, &two]), (Vec::new(), 0));
    }

    #[test]
    fn a_code_is_what_a_server_takes_for_one() {
        let check = |text: &str, code: &str| {
            assert_eq!(ErrorCode::of(text.as_bytes()).name(), code, "{text}");
        };
        check("ERR syntax error", "ERR");
        check("NOSPACE", "ERR");
        check("my_err_code custom", "my_err_code");
        check("A:b#c odd", "A_b_c");
        check(&format!("{} x", "c".repeat(30)), &"c".repeat(30));
        check(&format!("{} x", "c".repeat(31)), "ERR");
        check("", "ERR");
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
