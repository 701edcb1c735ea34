//! Options: what the words after a command's fixed arguments say about keys and blocking.
//!
//! They are walked in the same way as the command itself walks them, so that an operand is never mistaken for an
//! option. This covers the commands whose key specifications cannot say where their keys are: SORT, GEORADIUS, XREAD,
//! MIGRATE.

use std::time::Duration;

use super::found_keys::Found;
use super::{Class, Command, KeyFlags, KeysError, LeaseKind};
use crate::resp::args::Args;

/// What is done to a key that is read.
const READ: KeyFlags = KeyFlags::RO.with(KeyFlags::ACCESS);
/// What STORE does to its key.
const OVERWRITE: KeyFlags = KeyFlags::OW.with(KeyFlags::UPDATE);
/// What MIGRATE does to its keys.
const MIGRATED: KeyFlags = KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::DELETE);

/// Whether this request may keep its connection waiting: a blocking command, or one that has its blocking
/// option among its options.
pub fn blocks(command: &Command, args: &Args<'_>) -> bool {
    if command.class == Class::Leased(LeaseKind::Blocking) {
        return true;
    }
    command.block_token.is_some_and(|token| {
        let mut words = Options::new(args, 1, STREAM_OPTIONS).map_while(|(_, word)| word);
        words.any(|word| word == token)
    })
}

/// The unit of the argument that says how long a command blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// Seconds, with a fraction.
    Seconds,
    /// Whole milliseconds.
    Millis,
}

impl Timeout {
    /// How long that is; nothing if it is for ever, or no time at all.
    pub fn parse(self, text: &[u8]) -> Option<Duration> {
        let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        let seconds = match self {
            Timeout::Seconds => number,
            Timeout::Millis => number / 1000.0,
        };
        let some = seconds > 0.0 && seconds < FOR_EVER;
        some.then(|| Duration::from_secs_f64(seconds))
    }

    /// As the argument is written.
    pub fn text(self, wait: Duration) -> String {
        match self {
            Timeout::Seconds => format!("{:.3}", wait.as_secs_f64()),
            Timeout::Millis => wait.as_millis().to_string(),
        }
    }
}

/// Seconds that nobody waits for.
const FOR_EVER: f64 = 1e9;

/// Which argument of a request says how long it blocks.
pub fn timeout(command: &Command, args: &Args<'_>) -> Option<(usize, Timeout)> {
    if let Some(token) = command.block_token {
        let mut options = Options::new(args, 1, STREAM_OPTIONS)
            .map_while(|(index, word)| word.map(|word| (index, word)));
        let (index, _) = options.find(|(_, word)| *word == token)?;
        return Some((index + 1, Timeout::Millis));
    }
    let at = command.timeout_at?;
    let index = if at < 0 {
        args.len().checked_sub(usize::from(at.unsigned_abs()))?
    } else {
        usize::from(at.unsigned_abs())
    };
    Some((index, Timeout::Seconds))
}

/// SORT and GEORADIUS: argument 1, and the operand of the last STORE or STOREDIST from argument `from` on.
pub(super) fn stored(args: &Args<'_>, from: usize, found: Found<'_>) -> Result<(), KeysError> {
    if args.len() < 2 {
        return Err(KeysError::Invalid);
    }
    found(1, READ);
    let stores = Options::new(args, from, STORE_OPTIONS)
        .filter(|(_, word)| matches!(word, Some("store" | "storedist")))
        .map(|(index, _)| index + 1);
    if let Some(index) = stores.last().filter(|index| *index < args.len()) {
        found(index as u32, OVERWRITE);
    }
    Ok(())
}

/// XREAD and XREADGROUP: the first half of what follows STREAMS. A word that is no option is an error.
pub(super) fn streams(args: &Args<'_>, found: Found<'_>) -> Result<(), KeysError> {
    let streams = Options::new(args, 1, STREAM_OPTIONS)
        .map_while(|(index, word)| word.map(|word| (index, word)))
        .find(|(_, word)| *word == "streams");
    let first = streams.ok_or(KeysError::Invalid)?.0 + 1;
    match args.len() - first {
        rest if rest == 0 || !rest.is_multiple_of(2) => Err(KeysError::Invalid),
        rest => {
            (first..first + rest / 2).for_each(|index| found(index as u32, READ));
            Ok(())
        }
    }
}

/// MIGRATE: argument 3, unless it is empty and KEYS is among the options.
pub(super) fn migrated(args: &Args<'_>, found: Found<'_>) -> Result<(), KeysError> {
    let keys = Options::new(args, 6, MIGRATE_OPTIONS).find(|(_, word)| *word == Some("keys"));
    match keys {
        Some((index, _)) if args.at(3).is_empty() => {
            (index + 1..args.len()).for_each(|index| found(index as u32, MIGRATED));
        }
        _ if args.len() > 3 => found(3, MIGRATED),
        _ => return Err(KeysError::Invalid),
    }
    Ok(())
}

/// The options of SORT and GEORADIUS that have operands, with how many.
const STORE_OPTIONS: &[(&str, usize)] = &[
    ("store", 1),
    ("storedist", 1),
    ("by", 1),
    ("get", 1),
    ("limit", 2),
    ("count", 1),
];
/// The options of XREAD and XREADGROUP.
const STREAM_OPTIONS: &[(&str, usize)] = &[
    ("streams", usize::MAX),
    ("block", 1),
    ("count", 1),
    ("group", 2),
    ("noack", 0),
    ("claim", 1),
];
/// The options of MIGRATE that have operands.
const MIGRATE_OPTIONS: &[(&str, usize)] = &[("keys", usize::MAX), ("auth", 1), ("auth2", 2)];

/// The options of a request, each with its index and, if it is one of the table's, its word. Operands are
/// passed over; a word with `usize::MAX` operands is the last.
struct Options<'a> {
    args: &'a Args<'a>,
    at: usize,
    words: &'static [(&'static str, usize)],
}

impl<'a> Options<'a> {
    fn new(args: &'a Args<'a>, at: usize, words: &'static [(&'static str, usize)]) -> Options<'a> {
        Options { args, at, words }
    }
}

impl Iterator for Options<'_> {
    type Item = (usize, Option<&'static str>);

    fn next(&mut self) -> Option<Self::Item> {
        let (index, argument) = (self.at, self.args.get(self.at)?);
        let mut words = self.words.iter();
        let known = words.find(|(word, _)| argument.eq_ignore_ascii_case(word.as_bytes()));
        let operands = known.map_or(0, |(_, operands)| *operands);
        self.at = index.saturating_add(1).saturating_add(operands);
        Some((index, known.map(|(word, _)| *word)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::with_line;
    use super::*;

    #[test]
    fn the_time_to_block_is_an_argument() {
        let check = |line: &str, expected: Option<(usize, Timeout, u64)>| {
            let found = with_line(line, |command, args| {
                let (at, unit) = command.timeout(args)?;
                let wait = unit.parse(args.at(at)).unwrap_or_default();
                Some((at, unit, wait.as_millis() as u64))
            });
            assert_eq!(found, expected, "{line}");
        };
        check("blpop a b 1.5", Some((3, Timeout::Seconds, 1500)));
        check("blmpop 2 1 a left", Some((1, Timeout::Seconds, 2000)));
        check("blmove a b left right 0", Some((5, Timeout::Seconds, 0)));
        check(
            "xread count 1 block 7 streams a $",
            Some((4, Timeout::Millis, 7)),
        );
        check("xread count 1 streams a $", None);
        check("get a", None);
        assert_eq!(Timeout::Seconds.parse(b"-1"), None);
        assert_eq!(Timeout::Seconds.parse(b"x"), None);
        assert_eq!(Timeout::Seconds.text(Duration::from_millis(1)), "0.001");
        assert_eq!(Timeout::Millis.text(Duration::from_millis(1)), "1");
    }

    #[test]
    fn blocking_is_a_matter_of_the_options() {
        for (line, expected) in [
            ("blpop a 0", true),
            ("lpop a", false),
            ("xread block 0 streams a $", true),
            ("XREAD COUNT 1 Block 0 STREAMS a $", true),
            ("xread count 1 streams block 0", false),
            ("xreadgroup group block block streams a >", false),
            ("xreadgroup group g c noack block 5 streams a >", true),
        ] {
            let found = with_line(line, |command, args| command.blocks(args));
            assert_eq!(found, expected, "{line}");
        }
    }
}
