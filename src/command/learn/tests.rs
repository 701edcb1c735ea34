//! Tests of `command::learn`.

use super::*;
use crate::command::Resolved;
use crate::command::describe::Catalogue;
use crate::resp::args::{Args, Span};
use crate::resp::encode::{self, Protocol};

/// A list of words, each a simple string.
fn words(out: &mut Vec<u8>, words: &str) {
    encode::array(out, words.split_whitespace().count());
    words
        .split_whitespace()
        .for_each(|word| encode::simple(out, word));
}

/// An entry of COMMAND: `specs` and `subcommands` are RESP.
fn entry(
    name: &str,
    flags: &str,
    acl: &str,
    tips: &str,
    specs: &[u8],
    subcommands: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    encode::array(&mut out, 10);
    encode::bulk(&mut out, name.as_bytes());
    encode::integer(&mut out, -2);
    words(&mut out, flags);
    (0..3).for_each(|_| encode::integer(&mut out, 0));
    words(&mut out, acl);
    words(&mut out, tips);
    out.extend_from_slice(specs);
    out.extend_from_slice(subcommands);
    out
}

/// One key spec: a range from argument 1.
fn range(flags: &str, last: i64, step: i64) -> Vec<u8> {
    let mut out = b"*1\r\n*6\r\n+flags\r\n".to_vec();
    words(&mut out, flags);
    out.extend_from_slice(
        b"+begin_search\r\n*4\r\n+type\r\n+index\r\n+spec\r\n*2\r\n+index\r\n:1\r\n",
    );
    out.extend_from_slice(b"+find_keys\r\n*4\r\n+type\r\n+range\r\n+spec\r\n*6\r\n");
    for (name, number) in [("lastkey", last), ("keystep", step), ("limit", 0)] {
        encode::simple(&mut out, name);
        encode::integer(&mut out, number);
    }
    out
}

/// A reply of these entries.
fn reply(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::array(&mut out, entries.len());
    out.extend(entries.concat());
    out
}

/// The class of one learnt command.
fn class_of(name: &str, flags: &str, acl: &str, tips: &str, specs: &[u8]) -> Class {
    let frame = reply(&[entry(name, flags, acl, tips, specs, b"*0\r\n")]);
    let learnt = learn(&Table::compiled(), &frame).unwrap();
    let table = learnt.table.expect("a new row");
    let row = table.named(name.as_bytes()).unwrap();
    assert!(learnt.known.contains(row.id));
    assert!(row.own_errors, "nobody knows what it says");
    row.class
}

#[test]
fn classes_follow_the_rules_of_trust() {
    use ResponsePolicy::*;
    let none = &b"*0\r\n"[..];
    let (one, many, pairs) = (range("RO", 0, 1), range("RO", -1, 1), range("OW", -1, 2));
    let incomplete = range("RO incomplete", -1, 1);
    let shards = "request_policy:all_shards response_policy:agg_sum";
    let nodes = "request_policy:all_nodes response_policy:all_succeeded";
    let multi = |response: &str| format!("request_policy:multi_shard response_policy:{response}");
    let (sum, all, min) = (multi("agg_sum"), multi("all_succeeded"), multi("agg_min"));
    let default = "request_policy:multi_shard";
    for (name, flags, acl, tips, specs, expected) in [
        ("m.get", "module readonly", "", "", &one[..], Class::Routed),
        ("m.any", "module readonly", "", "", none, Class::AnyNode),
        (
            "m.admin",
            "admin blocking",
            "",
            shards,
            none,
            Class::Refused(ADMIN),
        ),
        (
            "m.pop",
            "write blocking",
            "",
            &sum,
            &many,
            Class::Leased(LeaseKind::Blocking),
        ),
        (
            "m.size",
            "readonly",
            "",
            shards,
            none,
            Class::AllMasters(AggSum),
        ),
        (
            "m.flush",
            "write",
            "",
            nodes,
            none,
            Class::AllNodes(AllSucceeded),
        ),
        (
            "m.list",
            "",
            "",
            "request_policy:all_shards",
            none,
            Class::AllMasters(Default),
        ),
        (
            "m.stats",
            "",
            "",
            "request_policy:all_shards response_policy:special",
            none,
            Class::Refused(UNMERGEABLE),
        ),
        (
            "m.next",
            "",
            "",
            "request_policy:new",
            none,
            Class::Refused(UNMERGEABLE),
        ),
        (
            "m.mget",
            "readonly",
            "",
            default,
            &many,
            Class::Split(Default),
        ),
        ("m.count", "readonly", "", &sum, &many, Class::Split(AggSum)),
        ("m.least", "readonly", "", &min, &many, Class::Split(AggMin)),
        ("m.del", "write", "", &sum, &many, Class::Split(AggSum)),
        ("m.mset", "write", "", &all, &pairs, Class::Routed),
        ("m.touchall", "write", "", &all, &many, Class::Routed),
        ("m.setnx", "write", "", &min, &many, Class::Routed),
        ("m.wmget", "write", "", default, &many, Class::Routed),
        (
            "m.part",
            "readonly",
            "",
            default,
            &incomplete,
            Class::Routed,
        ),
        (
            "m.moves",
            "readonly movablekeys",
            "",
            default,
            &many,
            Class::Routed,
        ),
        (
            "m.new",
            "readonly",
            "",
            &multi("new_word"),
            &many,
            Class::Routed,
        ),
        ("m.script", "", "", &sum, &many, Class::Routed),
        (
            "m.sub",
            "pubsub noscript",
            "",
            "",
            none,
            Class::Refused(CONNECTION),
        ),
        ("m.pub", "pubsub fast", "", "", &one, Class::Routed),
        (
            "m.login",
            "no_auth",
            "",
            "",
            none,
            Class::Refused(CONNECTION),
        ),
        (
            "m.begin",
            "noscript",
            "@transaction",
            "",
            none,
            Class::Refused(CONNECTION),
        ),
        (
            "client|new",
            "noscript",
            "@connection",
            "",
            none,
            Class::Local,
        ),
        ("cluster|new", "stale", "", "", none, Class::Local),
        (
            "cluster|danger",
            "admin",
            "",
            "",
            none,
            Class::Refused(ADMIN),
        ),
        ("object|new", "readonly", "", "", &one, Class::Routed),
    ] {
        assert_eq!(class_of(name, flags, acl, tips, specs), expected, "{name}");
    }
}

/// The keys of `line`, for the one command of `frame`.
fn keys_of(frame: &[u8], line: &str) -> Result<Vec<u32>, crate::command::KeysError> {
    let table = learn(&Table::compiled(), frame).unwrap().table.unwrap();
    let (mut spans, mut start) = (Vec::new(), 0);
    for word in line.split(' ') {
        let len = word.len() as u32;
        spans.push(Span { start, len });
        start += len + 1;
    }
    let args = Args::new(line.as_bytes(), &spans);
    let Resolved::Command(command) = table.resolve(&args) else {
        panic!("{line}");
    };
    let mut found = Vec::new();
    crate::command::keys(command, &args, &mut found).map(|()| found)
}

#[test]
fn keys_that_only_a_server_finds_are_unknown() {
    use crate::command::KeysError::Unknown;
    let many = range("RO", -1, 1);
    let frame = |flags, specs: &[u8]| reply(&[entry("m.x", flags, "", "", specs, b"*0\r\n")]);
    assert_eq!(
        keys_of(&frame("readonly", &many), "M.X a b"),
        Ok(vec![1, 2])
    );
    assert_eq!(
        keys_of(&frame("readonly", b"*0\r\n"), "m.x a b"),
        Ok(vec![])
    );
    for frame in [
        frame("readonly movablekeys", &many),
        frame("readonly movablekeys", b"*0\r\n"),
        frame("readonly", &range("RO incomplete", -1, 1)),
        frame("readonly", &range("RO", -1, 0)),
        frame("readonly", &range("RO", i64::MIN, 1)),
        frame("readonly", b"*1\r\n*0\r\n"),
        frame("readonly", b"*1\r\n:5\r\n"),
    ] {
        assert_eq!(
            keys_of(&frame, "m.x a b"),
            Err(Unknown),
            "{}",
            String::from_utf8_lossy(&frame)
        );
    }
}

#[test]
fn a_server_of_version_6_has_one_range() {
    let old = |first, last, step, flags: &str| {
        let mut out = b"*6\r\n$3\r\nm.x\r\n:-2\r\n".to_vec();
        words(&mut out, flags);
        for number in [first, last, step] {
            encode::integer(&mut out, number);
        }
        reply(&[out])
    };
    assert_eq!(
        keys_of(&old(1, -1, 2, "write"), "m.x a 1 b 2"),
        Ok(vec![1, 3])
    );
    assert_eq!(
        keys_of(&old(2, 3, 1, "readonly"), "m.x o a b c"),
        Ok(vec![2, 3])
    );
    assert_eq!(keys_of(&old(0, 0, 0, "readonly"), "m.x a"), Ok(vec![]));
    for frame in [
        old(1, 1, 1, "movablekeys"),
        old(0, 0, 0, "movablekeys"),
        old(-1, 1, 1, ""),
        old(1, 1, 0, ""),
        old(i64::MAX, i64::MIN, i64::MAX, ""),
    ] {
        assert_eq!(
            keys_of(&frame, "m.x a"),
            Err(crate::command::KeysError::Unknown)
        );
    }
}

#[test]
fn known_rows_win_and_only_news_make_a_table() {
    let table = Table::compiled();
    let get = entry("GET", "write admin", "", "", b"*0\r\n", b"*0\r\n");
    let learnt = learn(&table, &reply(std::slice::from_ref(&get))).unwrap();
    assert!(learnt.table.is_none());
    let row = table.lookup(b"get").unwrap();
    assert_eq!(learnt.known.len(), 1);
    assert!(learnt.known.contains(row.id));
    assert_eq!(learnt.known.said(row).arity, -2, "the servers' own word");

    let mut subcommands = b"*3\r\n".to_vec();
    for name in ["m.box|open", "other|shut", "m.box|a|b"] {
        subcommands.extend(entry(name, "", "", "", b"*0\r\n", b"*0\r\n"));
    }
    let frame = reply(&[get, entry("m.box", "", "", "", b"*0\r\n", &subcommands)]);
    let learnt = learn(&table, &frame).unwrap();
    let grown = learnt.table.unwrap();
    let new: Vec<&str> = grown.rows()[table.rows().len()..]
        .iter()
        .map(|row| &*row.name)
        .collect();
    assert_eq!(new, ["m.box", "m.box|open", "m.box|a|b"]);
    assert!(learn(&grown, &frame).unwrap().table.is_none());
    let catalogue = Catalogue {
        table: &grown,
        known: Some(&learnt.known),
        protocol: Protocol::Resp2,
    };
    let mut out = Vec::new();
    let _ = catalogue.count(&mut out);
    assert_eq!(out, b":2\r\n");
}

#[test]
fn nonsense_is_refused_or_left_out() {
    let table = Table::compiled();
    assert_eq!(
        learn(&table, b"-NOPERM no\r\n").unwrap_err(),
        LearnError::Refused
    );
    for frame in [
        &b"*1\r\n"[..],
        b":1\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n*0\r\n",
        b"*0\r\n*0\r\n",
        b"x",
    ] {
        assert_eq!(learn(&table, frame).unwrap_err(), LearnError::Malformed);
    }
    for name in ["", "a b", "a\0", "\u{e9}", &"n".repeat(NAME_BYTES_MAX + 1)] {
        let frame = reply(&[entry(name, "", "", "", b"*0\r\n", b"*0\r\n")]);
        assert_eq!(
            learn(&table, &frame).unwrap_err(),
            LearnError::Malformed,
            "{name}"
        );
    }
    let many: Vec<_> = (0..ROWS_MAX + 1)
        .map(|n| entry(&format!("m{n}"), "", "", "", b"*0\r\n", b"*0\r\n"))
        .collect();
    assert_eq!(
        learn(&table, &reply(&many)).unwrap_err(),
        LearnError::Malformed
    );
    // Any cut and any wrong byte is survived.
    let whole = reply(&[entry(
        "m.x",
        "write",
        "@read",
        "a",
        &range("RO", -1, 1),
        b"*0\r\n",
    )]);
    for at in 0..whole.len() {
        assert!(learn(&table, &whole[..at]).is_err());
        for byte in [0, b'*', b'-', b'9', b'\n', 255] {
            let mut wrong = whole.clone();
            wrong[at] = byte;
            let _ = learn(&table, &wrong);
        }
    }
}
