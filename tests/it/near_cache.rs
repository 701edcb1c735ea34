//! `-near-cache`: reads of hot keys are answered by the proxy, and change when the servers say so.

use std::time::Duration;

use crate::support::{Cluster, Conn, Proxy, Reply, wait_for};

/// How long anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(30);

/// A counter of the cache, whichever protocol is spoken.
fn stat(conn: &mut Conn, name: &str) -> i64 {
    let reply = conn.command(&["PROXY", "CACHE", "STATS"]);
    let found = match &reply {
        Reply::Map(pairs) => pairs.iter().find(|(own, _)| *own == name).map(|own| &own.1),
        other => {
            let mut pairs = other.items().chunks(2);
            pairs.find(|pair| pair[0] == name).map(|pair| &pair[1])
        }
    };
    found.expect("a counter").int()
}

/// A read is repeated until it is served from the cache. Returns the reply.
fn until_served(conn: &mut Conn, words: &[&str]) -> Reply {
    wait_for("a hit", LONG, || {
        let before = stat(conn, "hits");
        let reply = conn.command(words);
        (stat(conn, "hits") > before).then_some(reply)
    })
}

#[test]
fn hot_keys_are_served_from_memory_and_never_too_late() {
    let cluster = Cluster::start(3, 0);
    let flags = ["-near-cache", "16mb", "-near-cache-staleness", "20s"];
    let proxy = Proxy::start(&cluster, &flags);
    let other = Proxy::start(&cluster, &[]);
    let (mut conn, mut writer) = (proxy.conn(), other.conn());
    replies_are_those_of_the_servers(&mut conn, &mut writer);
    writes_are_seen(&mut conn, &mut writer);
    a_connection_may_do_without(&mut conn);
    nodes_are_not_asked(&mut conn, &cluster);
    monitors_see_hits(&mut conn, &mut proxy.conn());
    what_is_not_cached(&mut conn);
    flushed(&mut conn, &mut writer);
}

/// Of each command the reply from memory is that of the server, in both protocols.
fn replies_are_those_of_the_servers(conn: &mut Conn, writer: &mut Conn) {
    for line in [
        "SET s value",
        "HSET h a 1 b 2",
        "SADD set one",
        "RPUSH l x y z",
        "ZADD z 1.5 m 2 n",
        "SETBIT bits 7 1",
        "GEOADD geo 13.361389 38.115556 p",
        "XADD x 1-1 f v",
    ] {
        writer.line(line);
    }
    for protocol in ["2", "3"] {
        conn.command(&["HELLO", protocol]);
        writer.command(&["HELLO", protocol]);
        for line in [
            "GET s",
            "STRLEN s",
            "GETRANGE s 0 2",
            "EXISTS s",
            "TYPE s",
            "HGET h a",
            "HGET h none",
            "HMGET h a none",
            "HGETALL h",
            "HKEYS h",
            "HLEN h",
            "SMEMBERS set",
            "SISMEMBER set one",
            "SCARD set",
            "LRANGE l 0 -1",
            "LLEN l",
            "LINDEX l 1",
            "ZRANGE z 0 -1",
            "ZSCORE z m",
            "ZRANK z n",
            "ZCARD z",
            "GETBIT bits 7",
            "BITCOUNT bits",
            "GEOHASH geo p",
            "XLEN x",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let expected = writer.command(&words);
            assert_eq!(until_served(conn, &words), expected, "{line}");
        }
    }
    for conn in [conn, writer] {
        conn.command(&["HELLO", "2"]);
    }
}

fn writes_are_seen(conn: &mut Conn, writer: &mut Conn) {
    writer.command(&["SET", "k", "0"]);
    until_served(conn, &["GET", "k"]);
    for value in 1..200 {
        let own = value % 2 == 0;
        let text = value.to_string();
        if own {
            assert_eq!(conn.command(&["SET", "k", &text]), "OK");
            assert_eq!(conn.command(&["GET", "k"]), text.as_str());
        } else {
            assert_eq!(writer.command(&["SET", "k", &text]), "OK");
            let mut seen = || (conn.command(&["GET", "k"]) == text.as_str()).then_some(());
            wait_for("the invalidation", LONG, &mut seen);
        }
        until_served(conn, &["GET", "k"]);
        // A key that is written after each fill would be filled ever more seldom.
        for _ in 0..4 {
            assert_eq!(conn.command(&["GET", "k"]), text.as_str());
        }
    }
    several_keys(conn, writer);
    // In one write, and in a transaction.
    let words = [vec!["GET", "k"], vec!["SET", "k", "a"], vec!["GET", "k"]];
    let replies = conn.pipeline(&words);
    assert!(replies[1] == "OK" && replies[2] == "a", "{replies:?}");
    until_served(conn, &["GET", "k"]);
    for line in ["MULTI", "SET k b", "GET k"] {
        conn.line(line);
    }
    assert_eq!(conn.line("EXEC").items()[1], "b");
    assert_eq!(conn.line("GET k"), "b");
    conn.command(&["EVAL", "redis.call('SET',KEYS[1],'c')", "1", "k"]);
    assert_eq!(conn.line("GET k"), "c");
    // A key that ends.
    writer.command(&["SET", "ends", "1", "PX", "150"]);
    for _ in 0..5 {
        conn.line("GET ends");
    }
    std::thread::sleep(Duration::from_millis(160));
    assert!(conn.line("GET ends").is_nil());
}

/// MGET and EXISTS, with keys of all nodes, twice and of one slot.
fn several_keys(conn: &mut Conn, writer: &mut Conn) {
    for line in ["SET m1 a", "SET m2 b", "SET {m1}3 c", "RPUSH list x"] {
        writer.line(line);
    }
    for protocol in ["2", "3"] {
        conn.command(&["HELLO", protocol]);
        writer.command(&["HELLO", protocol]);
        for line in [
            "MGET m1 m2 {m1}3 m1 list none",
            "MGET m2 m1",
            "EXISTS m1 m2 m1 none",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let expected = writer.command(&words);
            assert_eq!(until_served(conn, &words), expected, "{line}");
        }
    }
    for conn in [&mut *conn, &mut *writer] {
        conn.command(&["HELLO", "2"]);
    }
    assert_eq!(conn.line("SET m2 own"), "OK");
    assert_eq!(conn.line("MGET m1 m2").items()[1], "own");
    writer.line("SET m1 other");
    wait_for("the invalidation", LONG, || {
        let seen = conn.line("MGET m2 m1");
        (seen.items()[1] == "other").then_some(())
    });
}

fn a_connection_may_do_without(conn: &mut Conn) {
    until_served(conn, &["GET", "s"]);
    assert_eq!(conn.line("PROXY CACHE OFF"), "OK");
    let hits = stat(conn, "hits");
    for _ in 0..10 {
        assert_eq!(conn.line("GET s"), "value");
    }
    assert_eq!(stat(conn, "hits"), hits);
    assert_eq!(conn.line("PROXY CACHE ON"), "OK");
    until_served(conn, &["GET", "s"]);
}

/// The nodes' own counters of GET stay where they are.
fn nodes_are_not_asked(conn: &mut Conn, cluster: &Cluster) {
    let calls = || -> u64 {
        let nodes = cluster.masters().into_iter();
        let lines = nodes.map(|port| cluster.raw(port).line("INFO commandstats").text());
        let lines: Vec<String> = lines.collect();
        let gets = lines.iter().flat_map(|text| text.lines());
        let gets = gets.filter_map(|line| line.strip_prefix("cmdstat_get:calls="));
        gets.map(|rest| rest.split(',').next().unwrap().parse::<u64>().unwrap())
            .sum()
    };
    until_served(conn, &["GET", "s"]);
    let own = |conn: &mut Conn| conn.line("INFO commandstats").text();
    let before = calls();
    let calls_of = |text: &str| -> u64 {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("cmdstat_get:calls="));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    };
    let seen = calls_of(&own(conn));
    for _ in 0..500 {
        assert_eq!(conn.line("GET s"), "value");
    }
    // On a busy machine the proxy may stand still, and believe nothing behind that.
    let asked = calls() - before;
    assert!(asked < 100, "{asked} of 500");
    assert_eq!(calls_of(&own(conn)), seen + 500);
    let listed = conn.line("PROXY CACHE KEYS 1000");
    assert!(listed.items().iter().any(|item| item.items()[1] == "s"));
}

fn monitors_see_hits(conn: &mut Conn, monitor: &mut Conn) {
    assert_eq!(monitor.line("MONITOR"), "OK");
    let hits = stat(conn, "hits");
    until_served(conn, &["STRLEN", "s"]);
    assert!(stat(conn, "hits") > hits);
    let mut last = conn.line("ECHO end");
    assert_eq!(last, "end");
    let mut reads = 0;
    while !last.text().contains("\"end\"") {
        last = monitor.read_reply();
        reads += usize::from(last.text().contains("\"STRLEN\" \"s\""));
    }
    assert!(reads > 1, "the misses, and the hit");
}

fn what_is_not_cached(conn: &mut Conn) {
    let hits = stat(conn, "hits");
    for line in [
        "TTL s",
        "PTTL s",
        "OBJECT ENCODING s",
        "SRANDMEMBER set",
        "HSCAN h 0",
        "DUMP s",
        "GET nosuch",
        "RANDOMKEY",
    ] {
        for _ in 0..6 {
            conn.line(line);
        }
    }
    assert_eq!(stat(conn, "hits"), hits);
    for line in [
        "WATCH k", "GET s", "GET s", "GET s", "GET s", "GET s", "UNWATCH",
    ] {
        conn.line(line);
    }
    assert_eq!(stat(conn, "hits"), hits);
}

fn flushed(conn: &mut Conn, writer: &mut Conn) {
    until_served(conn, &["GET", "s"]);
    assert!(stat(conn, "keys") > 0 && stat(conn, "bytes") > 0);
    assert_eq!(conn.line("PROXY CACHE FLUSH"), "OK");
    until_served(conn, &["GET", "s"]);
    assert_eq!(conn.line("FLUSHALL"), "OK");
    assert!(conn.line("GET s").is_nil());
    writer.command(&["SET", "s", "again"]);
    until_served(conn, &["GET", "s"]);
    writer.line("FLUSHALL");
    wait_for("the push", LONG, || {
        conn.line("GET s").is_nil().then_some(())
    });
}

/// A value that nodes count in `INFO`, of all of them.
fn counted(cluster: &Cluster, name: &str) -> i64 {
    let masters = cluster.masters().into_iter();
    let of_one = |port| {
        let text = cluster.raw(port).line("INFO stats").text();
        let mut lines = text.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok());
        found.unwrap_or(0)
    };
    masters.map(of_one).sum::<i64>()
}

/// How many connections of subscribers the masters have.
fn subscribers(cluster: &Cluster) -> usize {
    let masters = cluster.masters().into_iter();
    let lists = masters.map(|port| cluster.raw(port).line("CLIENT LIST TYPE pubsub").text());
    lists.map(|list| list.lines().count()).sum()
}

#[test]
fn nodes_report_all_keys_or_those_that_were_read() {
    let cluster = Cluster::start(3, 0);
    for port in cluster.masters() {
        let line = "ACL SETUSER silent reset on >s ~* resetchannels +@all";
        assert_eq!(cluster.raw(port).line(line), "OK");
    }
    let other = Proxy::start(&cluster, &[]);
    let mut writer = other.conn();
    let silent = ["-backend-user", "silent", "-backend-password", "s"];
    for (flags, remembers) in [
        (&["-near-cache-tracking", "broadcast"][..], false),
        (&["-near-cache-prefixes", "user:,user:1,user:,k"], false),
        (&["-near-cache-tracking", "keys"], true),
        // It may not subscribe.
        (&silent, true),
    ] {
        let all = [
            &["-near-cache", "16mb", "-near-cache-staleness", "20s"],
            flags,
        ]
        .concat();
        let proxy = Proxy::start(&cluster, &all);
        let mut conn = proxy.conn();
        for value in ["1", "2", "3"] {
            for key in ["k", "user:1", "user:2", "k3"] {
                writer.command(&["SET", key, value]);
                wait_for("the value", LONG, || {
                    (conn.command(&["GET", key]) == value).then_some(())
                });
            }
        }
        wait_for("what nodes remember", LONG, || {
            for key in ["k", "user:1", "user:2", "k3"] {
                assert_eq!(until_served(&mut conn, &["GET", key]), "3");
            }
            let remembered = counted(&cluster, "tracking_total_keys") > 0;
            (remembered == remembers).then_some(())
        });
        assert_eq!(subscribers(&cluster) > 0, !remembers, "{flags:?}");
        if flags == silent {
            // The log is written by a thread of its own.
            let words = "refuses SUBSCRIBE redis-cluster-proxy:near-cache";
            wait_for(words, LONG, || proxy.log().contains(words).then_some(()));
        }
    }
}
