//! `keys`: which arguments of a request are keys.
//!
//! Redis' meaning of key specs, exactly; where a server's own specs say too little, `options` knows. Every
//! number here comes from the network: it is bounded by the number of arguments before it is used.

use super::found_keys::{Found, KeysError};
use super::{BeginSearch, Command, FindKeys, Flags, KeyFlags, KeySpec, Keys, options};
use crate::resp::args::Args;

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

/// The error text, without its `-`, that one server gives where a key lacks what belongs to it.
pub fn unbalanced(command: &Command) -> String {
    format!(
        "ERR wrong number of arguments for '{}' command",
        command.name
    )
}

/// Calls `found` for each key, in the order of the key specs.
fn find(command: &Command, args: &Args<'_>, found: Found<'_>) -> Result<(), KeysError> {
    match command.keys {
        Keys::None => Ok(()),
        // Routed like a key, but no key for the server.
        Keys::One(_) if command.key_specs.is_empty() => Ok(()),
        Keys::One(_) | Keys::Specs => find_by_specs(command, args, found),
        Keys::StoreOption(from) => options::stored(args, usize::from(from), found),
        Keys::Streams => options::streams(args, found),
        Keys::Migrate => options::migrated(args, found),
        Keys::Unknown => Err(KeysError::Unknown),
    }
}

/// The keys by the key specs. One that cannot be applied spoils all, but for an absent keyword: that is an
/// option not used.
fn find_by_specs(command: &Command, args: &Args<'_>, found: Found<'_>) -> Result<(), KeysError> {
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
            // As in `PFMERGE destination`: the range at the end is empty, the keys before it count.
            None if keyless || matches!(spec.find, FindKeys::Range { .. }) => {}
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
            if last == -1 && limit <= 1 && first == len {
                return Ok(None);
            }
            let step = step.max(1) as usize;
            let end = end.filter(|end| *end >= first && *end < len);
            let end = end.ok_or(KeysError::Invalid)?;
            if paired && last == -1 && limit <= 1 && !(end - first + 1).is_multiple_of(step) {
                return Err(KeysError::Unbalanced);
            }
            (first, end, step)
        }
        FindKeys::Keynum {
            num_index,
            first_key,
            step,
        } => {
            let written = args.get(first.saturating_add(num_index as usize));
            let written = written.ok_or(KeysError::Invalid)?;
            let (step, first) = (step.max(1) as usize, first + first_key as usize);
            let most = len.saturating_sub(first).div_ceil(step) as u64;
            let loose = || loose_count_of(written).filter(|_| paired);
            let count = match count_of(written) {
                Some(count) if count <= most => count,
                _ => loose()
                    .filter(|count| *count <= most)
                    .ok_or(KeysError::Invalid)?,
            };
            if count == 0 {
                return Ok(None);
            }
            // `count` is at most the number of arguments, so the product cannot overflow.
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

/// A number of keys as servers look for keys where the number is none: they take it by `atoi`, so that `1x` is one
/// key, and refuse the command only when they execute it. Nothing where they find no key.
fn loose_count_of(argument: &[u8]) -> Option<u64> {
    let argument = argument.trim_ascii_start();
    let (negative, digits) = match argument {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let end = digits.iter().position(|byte| !byte.is_ascii_digit());
    let digits = &digits[..end.unwrap_or(digits.len())];
    let value = digits.iter().fold(0i64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'))
    });
    let value = if negative { -value } else { value };
    // `atoi` keeps the lower 32 bits.
    u64::try_from(value as i32).ok().filter(|count| *count > 0)
}

/// Calls `act` with the row of `line`'s command and its arguments; `''` is an empty argument.
#[cfg(test)]
pub(super) fn with_line<T>(line: &str, act: impl FnOnce(&Command, &Args<'_>) -> T) -> T {
    use super::{Resolved, Table};
    use crate::resp::args::Span;
    let (mut frame, mut spans) = (Vec::new(), Vec::new());
    for word in line.split(' ') {
        let word = if word == "''" { "" } else { word };
        let (start, len) = (frame.len() as u32, word.len() as u32);
        frame.extend_from_slice(word.as_bytes());
        spans.push(Span { start, len });
    }
    let (args, table) = (Args::new(&frame, &spans), Table::compiled());
    match table.resolve(&args) {
        Resolved::Command(command) => act(command, &args),
        other => panic!("{line}: {other:?}"),
    }
}

#[cfg(test)]
mod tests;
