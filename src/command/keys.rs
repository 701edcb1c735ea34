//! `keys`: which arguments of a request are keys.
//!
//! Redis' meaning of key specs, exactly; where a server's own specs say too little (SORT, GEORADIUS, XREAD,
//! MIGRATE) the options are walked as the command itself walks them. Every number here comes from the
//! network: it is bounded by the number of arguments before it is used.

use super::{BeginSearch, Class, Command, FindKeys, Flags, KeyFlags, KeySpec, Keys, LeaseKind};
use crate::resp::args::Args;

/// Why there are no keys to route by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysError {
    /// The arguments are wrong (a bad number of keys, a missing word): any master knows the error text.
    Invalid,
    /// A key lacks what must follow it, as in `MSET a 1 b`: the error is that of a wrong arity. No server is
    /// to be asked, since it would look at the slots first.
    Unbalanced,
    /// The key specs do not tell: a server must be asked, with COMMAND GETKEYS.
    Unknown,
}

/// Pushes the indices of all arguments that decide where the request goes, shard channels included. Nothing
/// is pushed in case of an error.
#[inline]
pub fn keys(command: &Command, args: &Args<'_>, out: &mut Vec<u32>) -> Result<(), KeysError> {
    match command.keys {
        Keys::None => Ok(()),
        Keys::One(index) if usize::from(index) < args.len() => {
            out.push(u32::from(index));
            Ok(())
        }
        Keys::One(_) => Err(KeysError::Invalid),
        _ => {
            let before = out.len();
            let found = find(command, args, &mut |index, _| out.push(index));
            if found.is_err() {
                out.truncate(before);
            }
            found
        }
    }
}

/// Pushes the indices of all keys with what is done to them, as COMMAND GETKEYSANDFLAGS says: channels are
/// not keys.
pub fn flagged_keys(
    command: &Command,
    args: &Args<'_>,
    out: &mut Vec<(u32, KeyFlags)>,
) -> Result<(), KeysError> {
    let before = out.len();
    let found = find(command, args, &mut |index, flags| {
        if !flags.contains(KeyFlags::NOT_KEY) {
            out.push((index, flags));
        }
    });
    if found.is_err() {
        out.truncate(before);
    }
    found
}

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

/// Calls `found` for each key, in the order of the key specs.
fn find(
    command: &Command,
    args: &Args<'_>,
    found: &mut dyn FnMut(u32, KeyFlags),
) -> Result<(), KeysError> {
    match command.keys {
        Keys::None => Ok(()),
        Keys::One(_) | Keys::Specs => find_by_specs(command, args, found),
        Keys::StoreOption(from) => {
            found(1, READ);
            let stores = Options::new(args, usize::from(from), STORE_OPTIONS)
                .filter(|(_, word)| matches!(word, Some("store" | "storedist")))
                .map(|(index, _)| index + 1);
            if let Some(index) = stores.last().filter(|index| *index < args.len()) {
                found(index as u32, OVERWRITE);
            }
            Ok(())
        }
        Keys::Streams => {
            let streams = Options::new(args, 1, STREAM_OPTIONS)
                .map_while(|(index, word)| word.map(|word| (index, word)))
                .find(|(_, word)| *word == "streams");
            let first = streams.ok_or(KeysError::Invalid)?.0 + 1;
            let rest = args.len() - first;
            if rest == 0 || rest % 2 != 0 {
                return Err(KeysError::Invalid);
            }
            (first..first + rest / 2).for_each(|index| found(index as u32, READ));
            Ok(())
        }
        Keys::Migrate => find_migrated(args, found),
    }
}

/// What MIGRATE does to its keys.
const MIGRATED: KeyFlags = KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::DELETE);
/// What is done to a key that is read.
const READ: KeyFlags = KeyFlags::RO.with(KeyFlags::ACCESS);
/// What STORE does to its key.
const OVERWRITE: KeyFlags = KeyFlags::OW.with(KeyFlags::UPDATE);

/// The keys of MIGRATE: argument 3, unless it is empty and KEYS is among the options.
fn find_migrated(args: &Args<'_>, found: &mut dyn FnMut(u32, KeyFlags)) -> Result<(), KeysError> {
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

/// The keys by the key specs. One that cannot be applied spoils all, but for an absent keyword: that is an
/// option not used.
fn find_by_specs(
    command: &Command,
    args: &Args<'_>,
    found: &mut dyn FnMut(u32, KeyFlags),
) -> Result<(), KeysError> {
    let keyless = command.flags.contains(Flags::NO_MANDATORY_KEYS);
    let paired = !command.flags.contains(Flags::MODULE);
    let mut any = false;
    for spec in command.key_specs.iter() {
        if spec.flags.contains(KeyFlags::INCOMPLETE) {
            return Err(KeysError::Unknown);
        }
        let first = match begin(spec.begin, args)? {
            Some(first) => first,
            None => continue,
        };
        match span(spec, first, args, paired)? {
            Some((first, last, step)) => {
                any = true;
                let indices = (first..=last).step_by(step);
                indices.for_each(|index| found(index as u32, spec.flags));
            }
            None if keyless => {}
            None => return Err(KeysError::Invalid),
        }
    }
    if any || keyless {
        Ok(())
    } else {
        Err(KeysError::Invalid)
    }
}

/// Where the arguments of a spec begin; nothing if its keyword is not there.
fn begin(begin: BeginSearch, args: &Args<'_>) -> Result<Option<usize>, KeysError> {
    let (word, start_from) = match begin {
        BeginSearch::Index(index) => return Ok(Some(index as usize)),
        BeginSearch::Keyword { word, start_from } => (word, start_from),
        BeginSearch::Unknown => return Err(KeysError::Unknown),
    };
    let is_word = |index: &usize| args.at(*index).eq_ignore_ascii_case(word.as_bytes());
    let distance = start_from.unsigned_abs() as usize;
    let keyword = if start_from >= 0 {
        // The last argument is not looked at: no key could follow it.
        (distance..args.len().saturating_sub(1)).find(is_word)
    } else {
        let start = args.len().saturating_sub(distance);
        (1..=start).rev().find(is_word)
    };
    Ok(keyword.map(|index| index + 1))
}

/// First key, last key and step of a spec that begins at `first`; nothing if it says that there are no keys.
fn span(
    spec: &KeySpec,
    first: usize,
    args: &Args<'_>,
    paired: bool,
) -> Result<Option<(usize, usize, usize)>, KeysError> {
    let len = args.len();
    let (first, last, step) = match spec.find {
        FindKeys::Range { last, step, limit } => {
            let distance = last.unsigned_abs() as usize;
            let end = if last >= 0 {
                first.checked_add(distance)
            } else if limit <= 1 {
                len.checked_sub(distance)
            } else {
                let part = len.saturating_sub(first) / limit as usize;
                (first + part).checked_sub(distance)
            };
            let step = step.max(1) as usize;
            let end = end.filter(|end| *end >= first && *end < len);
            let end = end.ok_or(KeysError::Invalid)?;
            if paired && last == -1 && limit <= 1 && (end - first + 1) % step != 0 {
                return Err(KeysError::Unbalanced);
            }
            (first, end, step)
        }
        FindKeys::Keynum {
            num_index,
            first_key,
            step,
        } => {
            let count = args.get(first.saturating_add(num_index as usize));
            let count = count.and_then(count_of).ok_or(KeysError::Invalid)?;
            if count == 0 {
                return Ok(None);
            }
            let (step, first) = (step.max(1) as usize, first + first_key as usize);
            // `count` keys need as many arguments at least, so the product below cannot overflow.
            if count > len as u64 {
                return Err(KeysError::Invalid);
            }
            (first, first + (count as usize - 1) * step, step)
        }
        FindKeys::Unknown => return Err(KeysError::Unknown),
    };
    if last < len {
        Ok(Some((first, last, step)))
    } else {
        Err(KeysError::Invalid)
    }
}

/// A number of keys, as the client wrote it.
fn count_of(argument: &[u8]) -> Option<u64> {
    std::str::from_utf8(argument).ok()?.parse().ok()
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
