//! The databases of a namespace: what is shared by them and what is not, and what goes from one to another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Cluster, Conn, Port, Proxy, Reply, http, wait_for};

fn texts(reply: &Reply) -> Vec<String> {
    reply.items().iter().map(Reply::text).collect()
}

fn in_database(proxy: &Proxy, index: usize) -> Conn {
    let mut conn = proxy.conn();
    assert_eq!(conn.line(&format!("SELECT {index}")), "OK");
    conn
}

/// Keys of database 0 have the plain tag, those of others the number, too; each is in its slot.
#[test]
fn each_database_is_a_namespace() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-namespace", "n", "-max-procs", "2"]);
    let plain = Proxy::start(&cluster, &[]);
    for index in 0..16 {
        let mut conn = in_database(&proxy, index);
        assert_eq!(conn.line(&format!("MSET k {index} other {index}")), "OK");
        assert_eq!(conn.line("DBSIZE").int(), 2);
        // Beside what is left to handlers, in one write.
        let replies = conn.pipeline(&[
            vec!["GET", "k"],
            vec!["SELECT", "0"],
            vec!["GET", "k"],
            vec!["MGET", "k", "other"],
        ]);
        assert_eq!(replies[0].text(), index.to_string());
        assert_eq!(replies[2].text(), "0");
    }
    let mut plain = plain.conn();
    for (key, value) in [("{n}k", "0"), ("{n:1}k", "1"), ("{n:15}k", "15")] {
        assert_eq!(plain.line(&format!("GET {key}")), value);
    }
    // A key outside remains.
    plain.line("SET {n:16}k v");
    let mut conn = in_database(&proxy, 3);
    assert_eq!(conn.line("FLUSHDB"), "OK");
    assert_eq!(plain.line("DBSIZE").int(), 31);
    assert_eq!(conn.line("FLUSHALL"), "OK");
    assert_eq!(plain.line("DBSIZE").int(), 1);
    // With one there is none to select.
    let single = Proxy::start(&cluster, &["-namespace", "n", "-databases", "1"]);
    let mut conn = single.conn();
    let error = conn.line("SELECT 1");
    assert_eq!(error.error(), Some("ERR DB index is out of range"));
    assert_eq!(conn.line("SET k v"), "OK");
    assert_eq!(conn.line("FLUSHALL"), "OK");
    assert_eq!(plain.line("DBSIZE").int(), 1);
}

#[test]
fn a_transaction_is_in_one_database() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-namespace", "n"]);
    let mut conn = in_database(&proxy, 1);
    conn.line("SET k v");
    for refused in [
        "SELECT 2",
        "MOVE k 2",
        "MOVE k 16",
        "COPY k l DB 2",
        "COPY k l DB 16",
        "FLUSHALL",
    ] {
        assert_eq!(conn.line("MULTI"), "OK");
        let error = conn.line(refused);
        assert!(error.is_error(), "{refused}: {error:?}");
        let aborted = conn.line("EXEC");
        let aborted = aborted.error().unwrap_or_default();
        assert!(aborted.starts_with("EXECABORT"), "{refused}: {aborted}");
    }
    let replies = conn.pipeline(&[
        vec!["MULTI"],
        vec!["SELECT", "1"],
        vec!["COPY", "k", "l", "DB", "1"],
        vec!["DBSIZE"],
        vec!["FLUSHDB"],
        vec!["EXEC"],
    ]);
    let exec = replies[5].items();
    assert_eq!(exec[0], "OK");
    assert_eq!((exec[1].int(), exec[2].int()), (1, 2));
    assert_eq!(exec[3], "OK");
    assert_eq!(conn.line("DBSIZE").int(), 0);
}

/// Who shares a name sees each other's clients, scripts and channels, whichever database they have selected.
#[test]
fn clients_scripts_and_channels_are_shared() {
    let cluster = Cluster::start(3, 0);
    let flags = ["-namespace", "n", "-namespace-channels", "true"];
    let proxy = Proxy::start(&cluster, &flags);
    let (mut zero, mut five) = (proxy.conn(), in_database(&proxy, 5));
    let list = zero.line("CLIENT LIST").text();
    let databases: Vec<&str> = list
        .split_whitespace()
        .filter(|word| word.starts_with("db="))
        .collect();
    assert_eq!(databases, ["db=0", "db=5"]);
    let name = zero.command(&["SCRIPT", "LOAD", "return redis.call('GET','k')"]);
    five.line("SET k five");
    let call = format!("EVALSHA {} 0", name.text());
    assert_eq!(five.line(&call), "five");
    assert_eq!(zero.line(&call), Reply::NilBulk);
    five.line("SUBSCRIBE news");
    assert_eq!(zero.line("PUBLISH news text").int(), 1);
    assert_eq!(texts(&five.read_reply()), ["message", "news", "text"]);
    let mut seven = in_database(&proxy, 7);
    let id = seven.line("CLIENT ID").int();
    assert_eq!(zero.line(&format!("CLIENT KILL ID {id}")).int(), 1);
}

#[test]
fn keyspace_notifications_have_the_number_of_the_database() {
    let cluster = Cluster::start_with(3, 0, &["--notify-keyspace-events", "KEA"]);
    let proxy = Proxy::start(&cluster, &["-namespace", "n"]);
    let mut subscriber = in_database(&proxy, 1);
    for line in [
        "PSUBSCRIBE __key*@*__:*",
        "SUBSCRIBE __keyspace@1__:k",
        "SUBSCRIBE __keyevent@1__:set",
        "SUBSCRIBE __keyevent@0__:set",
        "SUBSCRIBE __keyspace@0__:k",
        "PSUBSCRIBE __keyspace@[02]__:*",
    ] {
        let reply = subscriber.line(line);
        let (_, name) = line.split_once(' ').expect("a name");
        assert_eq!(reply.items()[1].text(), name);
    }
    for index in [0, 2, 1] {
        in_database(&proxy, index).line(&format!("SET k {index}"));
    }
    in_database(&proxy, 1).line("PUBLISH __keyspace@1__:end END");
    let mut got = Vec::new();
    while got.len() < 4 {
        got.push(texts(&subscriber.read_reply()).join(" "));
    }
    got.sort();
    assert_eq!(
        got,
        [
            "message __keyevent@1__:set k",
            "message __keyspace@1__:k set",
            "pmessage __key*@*__:* __keyevent@1__:set k",
            "pmessage __key*@*__:* __keyspace@1__:k set",
        ]
    );
    // Its names are about the database that it has selected.
    let mut conn = in_database(&proxy, 1);
    conn.line("HELLO 3");
    conn.line("SUBSCRIBE __keyspace@1__:k");
    let error = conn.line("SELECT 2");
    assert!(
        error
            .error()
            .is_some_and(|text| text.contains("keyspace notifications")),
        "{error:?}"
    );
    assert_eq!(conn.line("SELECT 1"), "OK");
    conn.line("UNSUBSCRIBE");
    assert_eq!(conn.line("SELECT 2"), "OK");
}

/// Elements are pushed to a list while it is moved to and fro: each that was pushed is there once.
#[test]
fn a_key_that_is_moved_loses_no_write() {
    const MOVES: usize = 60;
    const PUSHERS: usize = 3;
    let cluster = Cluster::start(2, 0);
    let proxy = Proxy::start(&cluster, &["-namespace", "n", "-max-procs", "2"]);
    let moved = AtomicBool::new(false);
    let mut conn = proxy.conn();
    conn.line("RPUSH list first");
    let pushed: usize = std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|pusher| {
                let (proxy, moved) = (&proxy, &moved);
                scope.spawn(move || {
                    let mut conn = proxy.conn();
                    let mut pushed = 0;
                    for index in 0.. {
                        if moved.load(Ordering::Relaxed) {
                            break;
                        }
                        let element = format!("{pusher}:{index}");
                        let reply = conn.command(&["RPUSHX", "list", &element]);
                        pushed += usize::from(reply.int() > 0);
                    }
                    pushed
                })
            })
            .collect();
        let (mut to, mut fro) = (proxy.conn(), in_database(&proxy, 1));
        for _ in 0..MOVES {
            // It may be changed too often to be moved.
            let reply = to.line("MOVE list 1");
            if !reply.is_error() {
                assert_eq!(reply.int(), 1);
                assert_eq!(fro.line("MOVE list 0").int(), 1);
            }
        }
        moved.store(true, Ordering::Relaxed);
        pushers
            .into_iter()
            .map(|pusher| pusher.join().expect("a pusher"))
            .sum()
    });
    let list = texts(&conn.line("LRANGE list 0 -1"));
    let mut distinct = list.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), list.len());
    assert_eq!(list.len(), pushed + 1);
    assert_eq!(in_database(&proxy, 1).line("DBSIZE").int(), 0);
}

/// What its client sends behind a MOVE, in the same write, finds the key moved.
#[test]
fn what_follows_a_move_finds_the_key_moved() {
    let cluster = Cluster::start(2, 0);
    let proxy = Proxy::start(&cluster, &["-namespace", "n"]);
    let mut conn = proxy.conn();
    for _ in 0..20 {
        let replies = conn.pipeline(&[
            vec!["SET", "k", "old"],
            vec!["MOVE", "k", "1"],
            vec!["SET", "k", "new", "NX"],
            vec!["COPY", "k", "k", "DB", "1", "REPLACE"],
            vec!["SELECT", "1"],
            vec!["GETDEL", "k"],
            vec!["SELECT", "0"],
        ]);
        assert_eq!(replies[1].int(), 1);
        assert_eq!(replies[2], "OK");
        assert_eq!(replies[5], "new");
    }
}

/// A slot that moves between nodes meanwhile is found.
#[test]
fn databases_may_move_between_nodes() {
    let cluster = Cluster::start(2, 0);
    let proxy = Proxy::start(&cluster, &["-namespace", "n"]);
    let mut conn = proxy.conn();
    for index in 0..50 {
        conn.line(&format!("SET k{index} v"));
    }
    for (round, tag) in ["n:1", "n"].into_iter().enumerate() {
        let slot = crate::support::slot_of(tag);
        let from = cluster.master_of(slot);
        let to = cluster.masters().into_iter().find(|port| *port != from);
        cluster.migrate_slot(slot, from, to.expect("another"));
        for index in 0..20 {
            let key = format!("k{}", round * 20 + index);
            let reply = conn.line(&format!("MOVE {key} 1"));
            assert_eq!(reply, Reply::Int(1), "round {round}, {key}");
        }
    }
    assert_eq!(conn.line("DBSIZE").int(), 10);
    assert_eq!(in_database(&proxy, 1).line("DBSIZE").int(), 40);
}

#[test]
fn monitors_see_the_number_of_the_database() {
    let cluster = Cluster::start(1, 0);
    let addrs = ["-namespace-addrs"];
    let port = crate::support::Port::reserve();
    let address = format!("n=127.0.0.1:{}", port.number());
    let proxy = Proxy::start(&cluster, &[addrs[0], &address]);
    let mut monitor = proxy.conn();
    assert_eq!(monitor.line("MONITOR"), "OK");
    let mut conn = Conn::connect(&format!("127.0.0.1:{}", port.number()));
    conn.line("SELECT 3");
    conn.line("SET k v");
    let seen = wait_for("the line", Duration::from_secs(20), || {
        let line = monitor.read_reply().text();
        line.contains("\"SET\"").then_some(line)
    });
    assert!(seen.contains(" [3 ") && seen.contains("{n:3}k"), "{seen}");
}

/// Who keeps a node busy is seen from outside, and nothing of others from inside.
#[test]
fn what_each_database_does_is_counted() {
    let cluster = Cluster::start(3, 0);
    let (port, addrs) = (Port::reserve(), Port::reserve());
    let debug = format!("127.0.0.1:{}", port.number());
    let others = format!("quiet=127.0.0.1:{}", addrs.number());
    let proxy = Proxy::start(
        &cluster,
        &[
            "-namespace",
            "busy",
            "-namespace-addrs",
            &others,
            "-debug-addr",
            &debug,
            "-max-procs",
            "2",
        ],
    );
    let metric = |name: &str, namespace: &str, database: usize| {
        let text = http::get(&debug, "/metrics").1;
        let labels = format!("namespace=\"{namespace}\",database=\"{database}\"");
        let start = format!("redis_proxy_namespace_{name}{{{labels}}} ");
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(&start)?.parse::<u64>().ok())
    };
    let mut conn = in_database(&proxy, 3);
    // Plain requests, one that is cut elsewhere, a transaction, and one that the proxy refuses itself.
    let value = "v".repeat(1000);
    for index in 0..50 {
        assert_eq!(conn.line(&format!("SET k{index} {value}")), "OK");
        assert_eq!(conn.line(&format!("GET k{index}")).text(), value);
    }
    conn.pipeline(&[
        vec!["MULTI"],
        vec!["INCR", "n"],
        vec!["MGET", "k1", "k2"],
        vec!["EXEC"],
    ]);
    assert!(conn.line("MONITOR").is_error());
    // SELECT is said in database 0, which the test has also asked whether the proxy serves.
    assert_eq!(metric("requests_total", "busy", 3), Some(105));
    assert!(metric("requests_total", "busy", 0) > Some(0));
    assert_eq!(metric("requests_total", "quiet", 0), Some(0));
    assert_eq!(metric("requests_total", "busy", 1), None);
    wait_for("a second to be over", Duration::from_secs(30), || {
        (metric("clients", "busy", 3) == Some(1)).then_some(())
    });
    wait_for("bytes to be counted", Duration::from_secs(30), || {
        let bytes =
            ["receive_bytes_total", "transmit_bytes_total"].map(|name| metric(name, "busy", 3));
        bytes
            .iter()
            .all(|bytes| *bytes > Some(50_000))
            .then_some(())
    });
    wait_for("the keys of its slot", Duration::from_secs(60), || {
        (metric("keys", "busy", 3) == Some(51)).then_some(())
    });
    // The namespace itself sees its own line, without the keys of its slot.
    let info = conn.line("INFO namespaces").text();
    assert!(info.contains("namespace_busy_db3:slot="), "{info}");
    assert!(
        !info.contains("quiet") && !info.contains("keys_in_slot"),
        "{info}"
    );
    drop(conn);
    wait_for("the client to have left", Duration::from_secs(30), || {
        (metric("clients", "busy", 3) == Some(0)).then_some(())
    });
}
