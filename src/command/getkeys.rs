//! `find`: the keys of a request as COMMAND GETKEYS and GETKEYSANDFLAGS give them, and their error texts.
//!
//! It is not what routing does ([`keys`](super::keys::keys)), which must be right; this must be what
//! redis-server 7.0.15 answers, oddities included: it goes by the key specs, all of which must apply, and only
//! then by the command's own code.

use super::{
    BeginSearch, Command, FindKeys, Flags, KeyFlags, KeySpec, Keys, KeysError, Resolved, Table,
    flagged_keys,
};
use crate::resp::args::Args;
use crate::resp::reply::parse_number;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The keys: their indices in the whole request, with what is done to them.
    Keys(Vec<(u32, KeyFlags)>),
    /// Only a server can tell.
    AskNode,
}

/// The keys of the request that stands behind `COMMAND GETKEYS` in `args`, or the error text. `shown` gives a
/// row as the servers describe it, and nothing for one that they do not have.
pub fn find<'t>(
    table: &'t Table,
    args: &Args<'_>,
    shown: impl Fn(&'t Command) -> Option<&'t Command>,
) -> Result<Found, &'static str> {
    let request = args.tail(2);
    let row = request.and_then(|request| match table.resolve(&request) {
        Resolved::Command(command) => Some(command),
        Resolved::Unknown | Resolved::UnknownSubcommand(_) => None,
    });
    let said = row.and_then(shown);
    let (Some(request), Some(row), Some(said)) = (request, row, said) else {
        return Err("ERR Invalid command specified");
    };
    let is_key = |spec: &KeySpec| !spec.flags.contains(KeyFlags::NOT_KEY);
    if row.keys != Keys::Unknown && !said.key_specs.iter().any(is_key) {
        return Err("ERR The command has no key arguments");
    }
    if !said.arity_ok(request.len()) {
        return Err("ERR Invalid number of arguments specified for command");
    }
    let mut found = Vec::new();
    match keys(row, said, &request, &mut found) {
        Ok(()) if !found.is_empty() => {}
        Err(KeysError::Unknown) => return Ok(Found::AskNode),
        _ if said.flags.contains(Flags::NO_MANDATORY_KEYS) => found.clear(),
        _ => return Err("ERR Invalid arguments specified for command"),
    }
    found.iter_mut().for_each(|(index, _)| *index += 2);
    Ok(Found::Keys(found))
}

/// Pushes the keys of a request with what is done to them, as a server finds them to see whether its user may do that.
/// `said` is the row as the servers describe it.
pub fn flagged(
    row: &Command,
    said: &Command,
    args: &Args<'_>,
    found: &mut Vec<(u32, KeyFlags)>,
) -> Result<(), KeysError> {
    let is_key = |spec: &KeySpec| !spec.flags.contains(KeyFlags::NOT_KEY);
    if row.keys != Keys::Unknown && !said.key_specs.iter().any(is_key) {
        return Ok(());
    }
    let result = keys(row, said, args, found);
    if result.is_err() {
        found.clear();
    }
    result
}

/// Pushes the keys of a request.
fn keys(
    row: &Command,
    said: &Command,
    args: &Args<'_>,
    found: &mut Vec<(u32, KeyFlags)>,
) -> Result<(), KeysError> {
    if row.keys == Keys::Unknown {
        return Err(KeysError::Unknown);
    }
    if let Some(flags) = variable(said, args) {
        found.push((1, flags));
        return Ok(());
    }
    let is_key = |spec: &&KeySpec| !spec.flags.contains(KeyFlags::NOT_KEY);
    if said
        .key_specs
        .iter()
        .filter(is_key)
        .all(|spec| apply(spec, args, found))
    {
        return Ok(());
    }
    found.clear();
    match row.keys {
        Keys::One(index) => {
            let flags = said
                .key_specs
                .first()
                .map_or(KeyFlags::NONE, |spec| spec.flags);
            found.push((u32::from(index), flags));
            Ok(())
        }
        // By the specs there are none, which has just been seen; a number of keys is then taken more loosely.
        Keys::Specs
            if row.key_specs.iter().all(|spec| {
                spec.begin != BeginSearch::Unknown && !matches!(spec.find, FindKeys::Keynum { .. })
            }) =>
        {
            Err(KeysError::Invalid)
        }
        _ => flagged_keys(row, args, found),
    }
}

/// Pushes the keys of one spec; `false` if it does not apply.
fn apply(spec: &KeySpec, args: &Args<'_>, found: &mut Vec<(u32, KeyFlags)>) -> bool {
    if spec.flags.contains(KeyFlags::INCOMPLETE) {
        return false;
    }
    let len = args.len() as i64;
    let first = match spec.begin {
        BeginSearch::Index(index) => Some(i64::from(index)),
        BeginSearch::Keyword { word, start_from } => after(word, i64::from(start_from), args),
        BeginSearch::Unknown => None,
    };
    let Some(first) = first.filter(|first| (0..len).contains(first)) else {
        return false;
    };
    let (first, last, step) = match spec.find {
        FindKeys::Range { last, step, limit } => {
            let (distance, step) = (i64::from(last), i64::from(step));
            let last = match (distance, limit) {
                (0.., _) => first + distance,
                (_, 0) => len + distance,
                _ => first + (len - first) / i64::from(limit) + distance,
            };
            (first, last, step)
        }
        FindKeys::Keynum {
            num_index,
            first_key,
            step,
        } => {
            let number = args.get((first + i64::from(num_index)) as usize);
            let Some(number) = number
                .and_then(parse_number)
                .filter(|number| (0..=len).contains(number))
            else {
                return false;
            };
            let (first, step) = (first + i64::from(first_key), i64::from(step));
            (first, first + (number - 1) * step, step)
        }
        FindKeys::Unknown => return false,
    };
    if last >= len || last < first || first >= len {
        return false;
    }
    let indices = (first..=last).step_by(step.max(1) as usize);
    found.extend(indices.map(|index| (index as u32, spec.flags)));
    true
}

/// The argument after a word. From the end the server looks at one argument only: its search stops there.
fn after(word: &str, start_from: i64, args: &Args<'_>) -> Option<i64> {
    let len = args.len() as i64;
    let is_word = |index: &i64| {
        args.at(*index as usize)
            .eq_ignore_ascii_case(word.as_bytes())
    };
    let index = if start_from > 0 {
        (start_from..len - 1).find(is_word)
    } else {
        Some(len + start_from).filter(|index| *index > 1 && is_word(index))
    };
    index.map(|index| index + 1)
}

/// What is done to the key of a command for which that depends on its options: SET and BITFIELD, by name since
/// the server too has code and no words for it.
fn variable(command: &Command, args: &Args<'_>) -> Option<KeyFlags> {
    let update = KeyFlags::UPDATE;
    match &*command.name {
        "set" => {
            let get = args
                .from(3)
                .any(|option| option.eq_ignore_ascii_case(b"get"));
            let old = KeyFlags::RW.with(KeyFlags::ACCESS);
            Some(if get { old } else { KeyFlags::OW }.with(update))
        }
        "bitfield" if reads_only(args) => Some(KeyFlags::RO.with(KeyFlags::ACCESS)),
        "bitfield" => Some(KeyFlags::RW.with(KeyFlags::ACCESS).with(update)),
        _ => None,
    }
}

/// Whether a BITFIELD has GET and OVERFLOW only.
fn reads_only(args: &Args<'_>) -> bool {
    let mut at = 2;
    while let Some(option) = args.get(at) {
        let operands = args.len() - at - 1;
        at += if option.eq_ignore_ascii_case(b"get") && operands >= 2 {
            3
        } else if option.eq_ignore_ascii_case(b"overflow") && operands >= 1 {
            2
        } else {
            return false;
        };
    }
    true
}
