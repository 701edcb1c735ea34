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
    let name = &command.name;
    if command.keys == Keys::Streams {
        // 7.0.15 has this text for XREADGROUP too, and names XREAD in it.
        return "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."
            .to_string();
    }
    format!("ERR wrong number of arguments for '{name}' command")
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
mod tests {
    use super::*;

    /// The keys of `line`, by name.
    fn keys_of(line: &str) -> Result<Vec<String>, KeysError> {
        with_line(line, |command, args| {
            let mut found = vec![9999];
            let result = keys(command, args, &mut found);
            assert_eq!(found.remove(0), 9999);
            assert!(result.is_ok() || found.is_empty(), "{line}: {found:?}");
            let text = |index: &u32| String::from_utf8_lossy(args.at(*index as usize)).into_owned();
            result.map(|()| found.iter().map(text).collect())
        })
    }

    /// What redis-server 7.0.15 answers to COMMAND GETKEYS, but for the channels.
    #[test]
    fn keys_are_those_of_the_server() {
        for (line, expected) in [
            ("get a", "a"),
            ("SET a 1 get", "a"),
            ("mget a b c", "a b c"),
            ("mset a 1 b 2", "a b"),
            ("msetnx a 1 b 2", "a b"),
            ("del a b", "a b"),
            ("touch a", "a"),
            ("bitop and d a b", "d a b"),
            ("blpop a b 0", "a b"),
            ("blmove a b left right 0", "a b"),
            ("blmpop 0 2 a b left", "a b"),
            ("lmpop 2 a b left", "a b"),
            ("bzmpop 0 1 z min", "z"),
            ("zmpop 2 y z max", "y z"),
            ("sintercard 2 a b limit 1", "a b"),
            ("sinterstore d a b", "d a b"),
            ("smove a b m", "a b"),
            (
                "sort l by w_* limit 0 5 get # get o_* desc alpha store d",
                "l d",
            ),
            ("sort l", "l"),
            ("sort l store d STORE e", "l e"),
            ("sort l by store", "l"),
            ("sort l store", "l"),
            ("sort_ro l by nosort get o_*", "l"),
            ("georadius g 1 1 1 m", "g"),
            ("georadius g 1 1 1 m count 3 any asc store d", "g d"),
            ("georadius g 1 1 1 m STORE store", "g store"),
            ("georadiusbymember g m 1 m StoreDist d", "g d"),
            ("georadiusbymember store store 1 m", "store"),
            ("georadiusbymember_ro g m 1 m", "g"),
            ("geosearchstore d g frommember m byradius 1 m", "d g"),
            ("migrate h 1 a 0 10", "a"),
            ("migrate h 1 '' 0 10 copy replace auth keys keys a b", "a b"),
            ("migrate h 1 '' 0 10 auth2 u keys keys a b", "a b"),
            ("xread count 2 streams a b 0 0", "a b"),
            ("XREAD BLOCK 0 STREAMS a $", "a"),
            (
                "xreadgroup group streams streams count 1 noack streams a b > >",
                "a b",
            ),
            ("xreadgroup count 1 group g c streams a >", "a"),
            ("eval s 2 a b x", "a b"),
            ("eval s 0 x", ""),
            ("evalsha_ro h 1 a", "a"),
            ("fcall f 2 a b", "a b"),
            ("fcall f 0", ""),
            ("zunionstore d 2 a b weights 1 2", "d a b"),
            ("zdiff 2 a b withscores", "a b"),
            ("zrangestore d s 0 -1", "d s"),
            ("OBJECT Encoding a", "a"),
            ("memory usage a samples 5", "a"),
            ("xgroup create s g $", "s"),
            ("xgroup setid s g 0", "s"),
            ("xinfo stream s full", "s"),
            ("xinfo consumers s g", "s"),
            ("pfmerge d a b", "d a b"),
            ("pfmerge d", "d"),
            ("pfcount a b", "a b"),
            ("pfdebug getreg a", "a"),
            ("copy a b", "a b"),
            ("rename a b", "a b"),
            ("lcs a b", "a b"),
            ("rpoplpush a b", "a b"),
            ("restore a 0 x", "a"),
            ("watch a b", "a b"),
            ("xautoclaim s g c 0 0", "s"),
            ("spublish c m", "c"),
            ("ssubscribe c d", "c d"),
            ("publish c m", ""),
            ("ping", ""),
            ("wait 0 0", ""),
            ("msetex 2 a 1 b 2 ex 5", "a b"),
            ("hexpire h 5 fields 1 f", "h"),
            ("json.mget a b $", "a b"),
            ("json.mset a $ 1 b $ 2", "a b"),
            ("cms.merge d 2 a b weights 1 2", "d a b"),
            ("ts.createrule a b aggregation avg 5", "a b"),
        ] {
            let expected: Vec<_> = expected.split_whitespace().collect();
            assert_eq!(keys_of(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn wrong_arguments_have_no_keys() {
        for line in [
            "get",
            "mget",
            "sort",
            "xread count 1",
            "xread streams",
            "xread bogus 1 streams a 0",
            "xreadgroup group g streams a >",
            "zinter 0 a",
            "zunionstore d 3 a b",
            "zunionstore d",
            "fcall f 3 a b",
            "migrate h 1",
            "bitop and d",
            "object encoding",
        ] {
            let expected = if line.starts_with("bitop") {
                Ok(vec!["d".to_string()])
            } else {
                Err(KeysError::Invalid)
            };
            assert_eq!(keys_of(line), expected, "{line}");
        }
    }

    #[test]
    fn hostile_numbers_of_keys_are_refused() {
        let numbers = "-1 -9223372036854775808 nan 3 4294967297 9223372036854775807 \
                       9223372036854775808 18446744073709551615 18446744073709551616 \
                       4611686018427387905 0x2 2.0 1e3";
        for number in numbers.split_whitespace() {
            for line in [
                "eval s N a b",
                "blmpop 0 N a b",
                "zunionstore d N a b",
                "lmpop N a b",
            ] {
                let line = line.replace('N', number);
                assert_eq!(keys_of(&line), Err(KeysError::Invalid), "{line}");
            }
        }
        let line = "msetex 4 a 1 b 2";
        assert_eq!(keys_of(line), Err(KeysError::Invalid), "{line}");
        assert_eq!(keys_of("eval s '' a"), Err(KeysError::Invalid));
    }

    #[test]
    fn a_key_without_its_value_is_told_apart() {
        for (line, text) in [
            (
                "mset a 1 b",
                "ERR wrong number of arguments for 'mset' command",
            ),
            (
                "MSETNX a 1 b",
                "ERR wrong number of arguments for 'msetnx' command",
            ),
            (
                "xread streams a b 0",
                "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be \
                 specified.",
            ),
        ] {
            assert_eq!(keys_of(line), Err(KeysError::Unbalanced), "{line}");
            assert_eq!(with_line(line, |command, _| unbalanced(command)), text);
        }
        assert_eq!(keys_of("json.mset a $ 1 b").unwrap(), ["a", "b"]);
    }

    #[test]
    fn flags_come_with_the_keys() {
        let flagged = |line: &str| {
            with_line(line, |command, args| {
                let mut found = Vec::new();
                flagged_keys(command, args, &mut found).unwrap();
                let words = |(index, flags): (u32, KeyFlags)| (index, flags.names().collect());
                found.into_iter().map(words).collect::<Vec<(u32, Vec<_>)>>()
            })
        };
        let expected = [(1, vec!["RO", "access"]), (2, vec!["OW", "update"])];
        assert_eq!(flagged("copy a b"), expected);
        let expected = [(1, vec!["RO", "access"]), (3, vec!["OW", "update"])];
        assert_eq!(flagged("sort l store d"), expected);
        assert_eq!(flagged("spublish c m"), []);
        assert_eq!(flagged("publish c m"), []);
    }

    #[test]
    fn keyword_specs_search_both_ways() {
        use crate::command::{AclCategories, Class};
        let spec = |start_from| KeySpec {
            flags: KeyFlags::RO,
            begin: BeginSearch::Keyword {
                word: "keys",
                start_from,
            },
            find: FindKeys::Range {
                last: -1,
                step: 1,
                limit: 0,
            },
        };
        let command = |specs: Vec<KeySpec>| {
            let (flags, acl) = (Flags::NONE, AclCategories::NONE);
            Command::new("new", -2, flags, acl, specs, "", Class::Routed)
        };
        let found = |specs: Vec<KeySpec>| {
            with_line("get keys a keys b", |_, args| {
                let mut found = Vec::new();
                keys(&command(specs), args, &mut found).map(|()| found)
            })
        };
        assert_eq!(found(vec![spec(1)]), Ok(vec![2, 3, 4]));
        assert_eq!(found(vec![spec(2)]), Ok(vec![4]));
        assert_eq!(found(vec![spec(-2)]), Ok(vec![4]));
        assert_eq!(found(vec![spec(-3)]), Ok(vec![2, 3, 4]));
        assert_eq!(found(vec![spec(9)]), Err(KeysError::Invalid));
        assert_eq!(found(vec![spec(i32::MIN)]), Err(KeysError::Invalid));
        let mut incomplete = spec(1);
        incomplete.flags = KeyFlags::INCOMPLETE;
        assert_eq!(found(vec![incomplete]), Err(KeysError::Unknown));
        let wild = FindKeys::Keynum {
            num_index: u32::MAX,
            first_key: u32::MAX,
            step: 0,
        };
        assert_eq!(
            found(vec![KeySpec {
                find: wild,
                ..spec(1)
            }]),
            Err(KeysError::Invalid)
        );
        let wild = FindKeys::Range {
            last: i32::MIN,
            step: 0,
            limit: u32::MAX,
        };
        assert_eq!(
            found(vec![KeySpec {
                find: wild,
                ..spec(1)
            }]),
            Err(KeysError::Invalid)
        );
    }
}
