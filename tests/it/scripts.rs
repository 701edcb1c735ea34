//! Scripts and functions that were loaded through the proxy come back to a node that has lost them, or never
//! had them; what was flushed or deleted through it does not.

use crate::support::{Cluster, Conn, Proxy, Reply, key_in_slot};

const NOSCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
const APPEND: &str = "return redis.call('APPEND', KEYS[1], ARGV[1])";
const LIBRARY: &str = "#!lua name=mylib\n\
    redis.register_function('myset', function(keys, args) return redis.call('SET', keys[1], args[1]) end)\n\
    redis.register_function{function_name='myget', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}";

fn error(reply: &Reply) -> &str {
    reply.error().unwrap_or_else(|| panic!("{reply:?}"))
}

/// A slot of each of three masters.
fn slots(cluster: &Cluster) -> Vec<u16> {
    let slots = vec![0, 8000, 16383];
    let mut owners: Vec<u16> = slots.iter().map(|slot| cluster.master_of(*slot)).collect();
    owners.sort_unstable();
    owners.dedup();
    assert_eq!(owners.len(), 3);
    slots
}

/// Says this to every node, past the proxy.
fn behind(cluster: &Cluster, words: &[&str]) {
    for port in cluster.masters() {
        let reply = cluster.raw(port).command(words);
        assert!(!reply.is_error(), "{reply:?}");
    }
}

#[test]
fn scripts_and_functions_heal() {
    let cluster = Cluster::start(3, 1);
    let slots = slots(&cluster);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    for protocol in ["2", "3"] {
        let mut conn = proxy.conn();
        assert!(!conn.command(&["HELLO", protocol]).is_error());
        loaded_scripts(&cluster, &slots, &mut conn);
        evaluated_scripts(&cluster, &slots, &mut conn);
        order_is_kept(&cluster, &slots, &mut conn);
        a_migrating_slot(&cluster, &slots, &mut conn);
        functions(&cluster, &slots, &mut conn);
        transactions(&cluster, &slots, &mut conn);
    }
    reads_of_replicas(&cluster, &slots);
    users_that_may_name_scripts_only(&cluster, &slots);
}

fn loaded_scripts(cluster: &Cluster, slots: &[u16], conn: &mut Conn) {
    let sha = conn.command(&["SCRIPT", "LOAD", APPEND]).text();
    behind(cluster, &["SCRIPT", "FLUSH"]);
    for slot in slots {
        let key = key_in_slot(*slot, "loaded");
        conn.command(&["DEL", &key]);
        assert_eq!(conn.command(&["EVALSHA", &sha, "1", &key, "a"]).int(), 1);
        assert_eq!(
            conn.command(&["EVALSHA", &sha.to_uppercase(), "1", &key, "b"])
                .int(),
            2
        );
        assert_eq!(conn.command(&["GET", &key]).text(), "ab");
    }
    behind(cluster, &["SCRIPT", "FLUSH"]);
    let keyless = conn.command(&["SCRIPT", "LOAD", "return 'here'"]).text();
    behind(cluster, &["SCRIPT", "FLUSH"]);
    assert_eq!(conn.command(&["EVALSHA", &keyless, "0"]).text(), "here");
    assert_eq!(
        error(&conn.command(&["EVALSHA", &"f".repeat(40), "0"])),
        NOSCRIPT
    );
    // What was flushed through the proxy is gone.
    assert_eq!(conn.command(&["SCRIPT", "FLUSH"]), "OK");
    let key = key_in_slot(slots[0], "loaded");
    assert_eq!(
        error(&conn.command(&["EVALSHA", &sha, "1", &key, "c"])),
        NOSCRIPT
    );
}

fn evaluated_scripts(cluster: &Cluster, slots: &[u16], conn: &mut Conn) {
    let sha = cluster
        .raw(cluster.masters()[0])
        .command(&["SCRIPT", "LOAD", APPEND])
        .text();
    behind(cluster, &["SCRIPT", "FLUSH"]);
    let keys: Vec<String> = slots
        .iter()
        .map(|slot| key_in_slot(*slot, "evaluated"))
        .collect();
    keys.iter().for_each(|key| {
        conn.command(&["DEL", key]);
    });
    assert_eq!(conn.command(&["EVAL", APPEND, "1", &keys[0], "a"]).int(), 1);
    for key in &keys[1..] {
        assert_eq!(conn.command(&["EVALSHA", &sha, "1", key, "a"]).int(), 1);
    }
    assert_eq!(conn.command(&["SCRIPT", "FLUSH"]), "OK");
    assert_eq!(
        error(&conn.command(&["EVALSHA", &sha, "1", &keys[0], "a"])),
        NOSCRIPT
    );
    assert_eq!(conn.command(&["EVAL", APPEND, "1", &keys[0], "a"]).int(), 2);
    assert_eq!(
        conn.command(&["EVALSHA", &sha, "1", &keys[1], "a"]).int(),
        2
    );
}

/// In a pipeline too, commands on one key run in the order sent, or not at all.
fn order_is_kept(cluster: &Cluster, slots: &[u16], conn: &mut Conn) {
    let sha = conn.command(&["SCRIPT", "LOAD", APPEND]).text();
    let key = key_in_slot(slots[1], "order");
    let count = 200;
    let digits: Vec<String> = (0..count).map(|number| format!("{number},")).collect();
    conn.command(&["DEL", &key]);
    behind(cluster, &["SCRIPT", "FLUSH"]);
    let commands: Vec<Vec<&str>> = digits
        .iter()
        .map(|digit| vec!["EVALSHA", &sha, "1", &key, digit])
        .collect();
    let replies = conn.pipeline(&commands);
    assert!(replies.iter().all(|reply| !reply.is_error()), "{replies:?}");
    assert_eq!(conn.command(&["GET", &key]).text(), digits.concat());
    // Mixed with commands that need no script.
    conn.command(&["DEL", &key]);
    behind(cluster, &["SCRIPT", "FLUSH"]);
    let commands: Vec<Vec<&str>> = digits
        .iter()
        .enumerate()
        .map(|(index, digit)| match index % 3 {
            2 => vec!["APPEND", &key, digit],
            _ => vec!["EVALSHA", &sha, "1", &key, digit],
        })
        .collect();
    let replies = conn.pipeline(&commands);
    let executed = digits
        .iter()
        .zip(&replies)
        .filter(|(_, reply)| !reply.is_error());
    let expected: String = executed.map(|(digit, _)| digit.as_str()).collect();
    assert_eq!(conn.command(&["GET", &key]).text(), expected);
    assert!(
        replies
            .iter()
            .all(|reply| reply.error().is_none_or(|text| text == NOSCRIPT))
    );
    assert!(replies.last().is_some_and(|reply| !reply.is_error()));
}

/// The importing node gets it behind an ASKING.
fn a_migrating_slot(cluster: &Cluster, slots: &[u16], conn: &mut Conn) {
    let sha = conn.command(&["SCRIPT", "LOAD", APPEND]).text();
    let slot = slots[2];
    let key = key_in_slot(slot, "migrating");
    conn.command(&["DEL", &key]);
    let from = cluster.master_of(slot);
    let to = cluster
        .masters()
        .into_iter()
        .find(|port| *port != from)
        .expect("another");
    cluster.begin_migration(slot, from, to);
    behind(cluster, &["SCRIPT", "FLUSH"]);
    assert_eq!(conn.command(&["EVALSHA", &sha, "1", &key, "a"]).int(), 1);
    assert_eq!(conn.command(&["EVALSHA", &sha, "1", &key, "b"]).int(), 2);
    while cluster.move_keys(slot, from, to, 10) > 0 {}
    cluster.end_migration(slot, from, to);
    assert_eq!(conn.command(&["GET", &key]).text(), "ab");
    cluster.migrate_slot(slot, to, from);
}

fn functions(cluster: &Cluster, slots: &[u16], conn: &mut Conn) {
    assert_eq!(
        conn.command(&["FUNCTION", "LOAD", "REPLACE", LIBRARY])
            .text(),
        "mylib"
    );
    behind(cluster, &["FUNCTION", "FLUSH"]);
    for slot in slots {
        let key = key_in_slot(*slot, "function");
        assert_eq!(conn.command(&["FCALL", "myset", "1", &key, "v"]), "OK");
        assert_eq!(conn.command(&["FCALL_RO", "myget", "1", &key]).text(), "v");
    }
    let missing = "ERR Function not found";
    let key = key_in_slot(slots[0], "function");
    assert_eq!(
        error(&conn.command(&["FCALL", "nofunction", "1", &key])),
        missing
    );
    assert_eq!(conn.command(&["FUNCTION", "DELETE", "mylib"]), "OK");
    assert_eq!(
        error(&conn.command(&["FCALL", "myset", "1", &key, "v"])),
        missing
    );
}

fn reads_of_replicas(cluster: &Cluster, slots: &[u16]) {
    let proxy = Proxy::start(cluster, &["-read-prefer", "1"]);
    let mut conn = proxy.conn();
    let script = "return redis.call('STRLEN', KEYS[1])";
    let sha = conn.command(&["SCRIPT", "LOAD", script]).text();
    for port in cluster.ports() {
        cluster.raw(port).command(&["SCRIPT", "FLUSH"]);
    }
    for slot in slots {
        let key = key_in_slot(*slot, "nothing");
        assert_eq!(conn.command(&["EVALSHA_RO", &sha, "1", &key]).int(), 0);
    }
}

/// Says MULTI, these and EXEC, in one write; returns the last reply.
fn transaction(conn: &mut Conn, queued: &[Vec<&str>]) -> Reply {
    let all = [&[vec!["MULTI"]], queued, &[vec!["EXEC"]]].concat();
    let mut replies = conn.pipeline(&all);
    let last = replies.pop().expect("a reply to EXEC");
    let queued = &replies[1..];
    assert!(queued.iter().all(|reply| *reply == "QUEUED"), "{queued:?}");
    last
}

/// What is found missing between MULTI and EXEC would be found too late.
fn transactions(cluster: &Cluster, slots: &[u16], conn: &mut Conn) {
    let sha = conn.command(&["SCRIPT", "LOAD", APPEND]).text();
    let upper = sha.to_uppercase();
    let numbers = |reply: &Reply| reply.items().iter().map(Reply::int).collect::<Vec<_>>();
    for slot in slots {
        let key = key_in_slot(*slot, "transaction");
        conn.command(&["DEL", &key]);
        let append = |text: &'static str| vec!["EVALSHA", &sha, "1", &key, text];
        behind(cluster, &["SCRIPT", "FLUSH"]);
        let queued = [append("a"), vec!["STRLEN", &key], append("b")];
        assert_eq!(numbers(&transaction(conn, &queued)), [1, 1, 2]);
        // One after the other, and with what is watched.
        behind(cluster, &["SCRIPT", "FLUSH"]);
        assert_eq!(conn.command(&["WATCH", &key]), "OK");
        assert_eq!(conn.command(&["MULTI"]), "OK");
        for queued in [&append("c"), &vec!["EVALSHA", &upper, "1", &key, "d"]] {
            assert_eq!(conn.command(queued), "QUEUED");
        }
        assert_eq!(numbers(&conn.command(&["EXEC"])), [3, 4]);
        // Without a key, before one and alone.
        let length = conn.command(&["SCRIPT", "LOAD", "return 7"]).text();
        behind(cluster, &["SCRIPT", "FLUSH"]);
        let keyless = || vec!["EVALSHA_RO", length.as_str(), "0"];
        let queued = [keyless(), append("e")];
        assert_eq!(numbers(&transaction(conn, &queued)), [7, 5]);
        behind(cluster, &["SCRIPT", "FLUSH"]);
        assert_eq!(numbers(&transaction(conn, &[keyless()])), [7]);
        assert_eq!(conn.command(&["GET", &key]).text(), "abcde");
        // Nobody has it.
        let none = "f".repeat(40);
        let reply = transaction(conn, &[vec!["EVALSHA", &none, "1", &key]]);
        assert_eq!(error(&reply.items()[0]), NOSCRIPT);
    }
    // Begun again at the node that has the slot, with the script.
    let (slot, key) = (slots[2], key_in_slot(slots[2], "moving"));
    let from = cluster.master_of(slot);
    let to = cluster.masters().into_iter().find(|port| *port != from);
    let to = to.expect("another");
    conn.command(&["DEL", &key]);
    cluster.migrate_slot(slot, from, to);
    behind(cluster, &["SCRIPT", "FLUSH"]);
    let append = vec!["EVALSHA", &sha, "1", &key, "a"];
    assert_eq!(numbers(&transaction(conn, &[append])), [1]);
    cluster.migrate_slot(slot, to, from);
}

/// A user of the proxy's at the nodes may be kept from sending scripts; it loses nothing.
fn users_that_may_name_scripts_only(cluster: &Cluster, slots: &[u16]) {
    for port in cluster.ports() {
        let mut node = cluster.raw(port);
        let rules = ["on", ">secret", "~*", "&*", "+@all", "-eval", "-eval_ro"];
        let user = [&["ACL", "SETUSER", "named"], &rules[..]].concat();
        assert_eq!(node.command(&user), "OK");
    }
    let flags = ["-backend-user", "named", "-backend-password", "secret"];
    let proxy = Proxy::start(cluster, &flags);
    let mut conn = proxy.conn();
    let sha = conn.command(&["SCRIPT", "LOAD", APPEND]).text();
    let key = key_in_slot(slots[0], "named");
    conn.command(&["DEL", &key]);
    let append = || vec!["EVALSHA", sha.as_str(), "1", &key, "a"];
    for length in 1..4 {
        let reply = transaction(&mut conn, &[append()]);
        assert_eq!(reply.items()[0].int(), length, "{reply:?}");
    }
    // What is watched is lost the first time, as if a key had changed; here it is known already.
    assert_eq!(conn.command(&["WATCH", &key]), "OK");
    let reply = transaction(&mut conn, &[append()]);
    assert_eq!(reply.items()[0].int(), 4, "{reply:?}");
}
