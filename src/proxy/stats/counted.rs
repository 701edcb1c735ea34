//! `Counted`: what a process has counted in a time, as the process that takes over from it adds it to its own: the
//! counters, the calls of each command, the errors. `Totals`: all of it at one moment.
//!
//! It names commands and counters by their names, since the other process may be of another version.

use crate::fields::{self, FieldReader, FieldWriter, Malformed};
use crate::proxy::stats::histogram::{Change, Latencies};

/// What was counted of one command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountedCommand {
    /// Its name.
    pub name: String,
    /// How long it took, from a call to its answer.
    pub latencies: Change,
    /// Calls answered with an error.
    pub failed: u64,
    /// Requests refused before anybody was asked.
    pub rejected: u64,
    /// Requests that were cut.
    pub cuts: u64,
    /// Parts of those.
    pub parts: u64,
}

/// What a process has counted in a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Counters by their names.
    pub counters: Vec<(String, u64)>,
    /// What was counted of commands.
    pub commands: Vec<CountedCommand>,
    /// Errors by their kinds.
    pub errors: Vec<(String, u64)>,
    /// Errors of all kinds.
    pub errors_total: u64,
    /// The last `CLIENT ID` that was given.
    pub client_ids: u64,
}

/// Of one command at one moment.
#[derive(Debug, Clone)]
pub struct CommandTotals {
    /// The numbers, but for the latencies.
    pub counts: CountedCommand,
    /// The latencies.
    pub latencies: Latencies,
}

/// All that is counted, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Counters by their names.
    pub counters: Vec<(&'static str, u64)>,
    /// By command.
    pub commands: Vec<CommandTotals>,
    /// Errors by their kinds, and of all kinds.
    pub errors: (Vec<(String, u64)>, u64),
    /// The last `CLIENT ID` that was given.
    pub client_ids: u64,
}

/// The number of that name; 0 if there is none.
fn of<N: AsRef<str>>(numbers: &[(N, u64)], name: &str) -> u64 {
    let mut numbers = numbers.iter();
    let found = numbers.find(|(known, _)| known.as_ref() == name);
    found.map_or(0, |(_, number)| *number)
}

impl Totals {
    /// What was counted since an earlier moment. (Counters may have been reset since then.)
    pub fn since(&self, earlier: &Totals) -> Counted {
        let counters = self.counters.iter().map(|(name, value)| {
            let before = of(&earlier.counters, name);
            (name.to_string(), value.saturating_sub(before))
        });
        let nothing = Latencies::default();
        let commands = self.commands.iter().map(|command| {
            let now = &command.counts;
            let mut before = earlier.commands.iter();
            let before = before.find(|before| before.counts.name == now.name);
            let less = |of: fn(&CountedCommand) -> u64| {
                let before = before.map_or(0, |before| of(&before.counts));
                of(now).saturating_sub(before)
            };
            CountedCommand {
                name: now.name.clone(),
                latencies: command
                    .latencies
                    .since(before.map_or(&nothing, |before| &before.latencies)),
                failed: less(|command| command.failed),
                rejected: less(|command| command.rejected),
                cuts: less(|command| command.cuts),
                parts: less(|command| command.parts),
            }
        });
        let errors = self.errors.0.iter().map(|(name, count)| {
            let before = of(&earlier.errors.0, name);
            (name.clone(), count.saturating_sub(before))
        });
        Counted {
            counters: counters.filter(|(_, count)| *count > 0).collect(),
            commands: commands.collect(),
            errors: errors.filter(|(_, count)| *count > 0).collect(),
            errors_total: self.errors.1.saturating_sub(earlier.errors.1),
            client_ids: self.client_ids,
        }
    }
}

mod field {
    pub const COUNTER: u16 = 1;
    pub const COMMAND: u16 = 2;
    pub const ERROR: u16 = 3;
    pub const ERRORS_TOTAL: u16 = 4;
    pub const CLIENT_IDS: u16 = 5;

    // Of a number with a name.
    pub const NAME: u16 = 1;
    pub const NUMBER: u16 = 2;

    // Of a command, further.
    pub const MICROS: u16 = 3;
    pub const BUCKETS: u16 = 4;
    pub const FAILED: u16 = 5;
    pub const REJECTED: u16 = 6;
    pub const CUTS: u16 = 7;
    pub const PARTS: u16 = 8;
}

/// Bytes of one bucket: its place, and what was added.
const BUCKET: usize = 10;

fn encode_named(name: &str, number: u64) -> Vec<u8> {
    let mut writer = FieldWriter::default();
    writer.bytes(field::NAME, name.as_bytes());
    writer.number(field::NUMBER, number);
    writer.finish()
}

fn decode_named(bytes: &[u8]) -> Result<(String, u64), Malformed> {
    let (mut name, mut number) = (String::new(), 0);
    let mut reader = FieldReader::new(bytes);
    while let Some((field, value)) = reader.next()? {
        match field {
            field::NAME => name = fields::text(value)?,
            field::NUMBER => number = fields::number(value)?,
            _ => {}
        }
    }
    Ok((name, number))
}

fn encode_command(command: &CountedCommand) -> Vec<u8> {
    let (micros, buckets) = command.latencies.parts();
    let mut bytes = Vec::with_capacity(buckets.len() * BUCKET);
    for (at, count) in buckets {
        bytes.extend_from_slice(&at.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
    }
    let mut writer = FieldWriter::default();
    writer.bytes(field::NAME, command.name.as_bytes());
    writer.number(field::MICROS, micros);
    writer.bytes(field::BUCKETS, &bytes);
    writer.number(field::FAILED, command.failed);
    writer.number(field::REJECTED, command.rejected);
    writer.number(field::CUTS, command.cuts);
    writer.number(field::PARTS, command.parts);
    writer.finish()
}

fn decode_command(bytes: &[u8]) -> Result<CountedCommand, Malformed> {
    let mut command = CountedCommand::default();
    let (mut micros, mut buckets) = (0, Vec::new());
    let mut reader = FieldReader::new(bytes);
    while let Some((field, value)) = reader.next()? {
        match field {
            field::NAME => command.name = fields::text(value)?,
            field::MICROS => micros = fields::number(value)?,
            field::BUCKETS => {
                let (pieces, rest) = value.as_chunks::<BUCKET>();
                if !rest.is_empty() {
                    return Err(Malformed);
                }
                for [a, b, count @ ..] in pieces {
                    buckets.push((u16::from_le_bytes([*a, *b]), u64::from_le_bytes(*count)));
                }
            }
            field::FAILED => command.failed = fields::number(value)?,
            field::REJECTED => command.rejected = fields::number(value)?,
            field::CUTS => command.cuts = fields::number(value)?,
            field::PARTS => command.parts = fields::number(value)?,
            _ => {}
        }
    }
    command.latencies = Change::from_parts(micros, buckets);
    Ok(command)
}

impl Counted {
    /// In bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = FieldWriter::default();
        for (name, number) in &self.counters {
            writer.bytes(field::COUNTER, &encode_named(name, *number));
        }
        for command in &self.commands {
            writer.bytes(field::COMMAND, &encode_command(command));
        }
        for (name, number) in &self.errors {
            writer.bytes(field::ERROR, &encode_named(name, *number));
        }
        writer.number(field::ERRORS_TOTAL, self.errors_total);
        writer.number(field::CLIENT_IDS, self.client_ids);
        writer.finish()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Counted, Malformed> {
        let mut counted = Counted::default();
        let mut reader = FieldReader::new(bytes);
        while let Some((field, value)) = reader.next()? {
            match field {
                field::COUNTER => counted.counters.push(decode_named(value)?),
                field::COMMAND => counted.commands.push(decode_command(value)?),
                field::ERROR => counted.errors.push(decode_named(value)?),
                field::ERRORS_TOTAL => counted.errors_total = fields::number(value)?,
                field::CLIENT_IDS => counted.client_ids = fields::number(value)?,
                _ => {}
            }
        }
        Ok(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::stats::histogram::Histogram;

    fn command(histogram: &Histogram, failed: u64) -> CommandTotals {
        let mut latencies = Latencies::default();
        latencies.add(histogram);
        CommandTotals {
            counts: CountedCommand {
                name: "get".to_string(),
                failed,
                ..CountedCommand::default()
            },
            latencies,
        }
    }

    fn totals(histogram: &Histogram, commands: u64) -> Totals {
        Totals {
            counters: vec![("commands", commands), ("moved", 0)],
            commands: vec![command(histogram, commands / 10)],
            errors: (vec![("ERR".to_string(), commands / 5)], commands / 4),
            client_ids: 77,
        }
    }

    #[test]
    fn what_was_counted_since_a_moment_comes_back_from_bytes() {
        let histogram = Histogram::default();
        histogram.record(100, 3);
        let before = totals(&histogram, 100);
        histogram.record(9000, 2);
        let counted = totals(&histogram, 130).since(&before);
        assert_eq!(counted.counters, [("commands".to_string(), 30)]);
        assert_eq!(counted.errors, [("ERR".to_string(), 6)]);
        assert_eq!((counted.errors_total, counted.client_ids), (7, 77));
        assert_eq!(counted.commands[0].failed, 3);
        assert_eq!(counted.commands[0].latencies.parts().0, 18_000);
        assert_eq!(Counted::decode(&counted.encode()), Ok(counted));
        // Counters that were reset in between.
        let reset = totals(&Histogram::default(), 5).since(&before);
        assert_eq!(reset.counters, []);
    }

    #[test]
    fn garbage_is_refused_and_never_panics() {
        let histogram = Histogram::default();
        histogram.record(5, 1);
        let bytes = totals(&histogram, 10).since(&Totals::default()).encode();
        for length in 0..bytes.len() {
            Counted::decode(&bytes[..length]).ok();
            let mut other = bytes.clone();
            other[length] ^= 0x81;
            Counted::decode(&other).ok();
        }
        assert_eq!(Counted::decode(b"\x01\0\x05\0\0\0abc"), Err(Malformed));
        // A bucket that no version has.
        let odd = Change::from_parts(5, vec![(u16::MAX, 3)]);
        histogram.add_change(&odd);
        Latencies::default().add_change(&odd);
    }
}
