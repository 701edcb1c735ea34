//! Tests of `command::keys`.

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
    let numbers = "-1 nan 3 4294967296 9223372036854775807 \
                       9223372036854775808 18446744073709551615 18446744073709551616 \
                       4611686018427387904 0x2 3.0 -";
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

/// Servers look for keys by `atoi` where the number is none, and send a client to the node of those keys before they
/// look at the number.
#[test]
fn a_number_that_is_none_still_names_keys() {
    for (number, expected) in [
        ("1x", "a"),
        ("1'", "a"),
        ("2.0", "a b"),
        ("1e3", "a"),
        ("+2", "a b"),
        ("02", "a b"),
        ("4294967297", "a"),
        ("-4294967295", "a"),
    ] {
        for line in ["eval s N a b", "blmpop 0 N a b", "zdiff N a b"] {
            let line = line.replace('N', number);
            let expected: Vec<_> = expected.split_whitespace().collect();
            assert_eq!(keys_of(&line).unwrap(), expected, "{line}");
        }
    }
    assert_eq!(keys_of("zunionstore d 1x a").unwrap(), ["d", "a"]);
    assert_eq!(keys_of("msetex 1x a 1 b 2").unwrap(), ["a"]);
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
