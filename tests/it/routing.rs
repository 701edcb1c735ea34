//! Every family of commands through the proxy, compared with one plain server: the same reply, value or error,
//! in RESP2 and in RESP3, for keys all over the cluster; keys of one request together, apart, and split.

use crate::support::compare::sorted;
use crate::support::session::{SESSION, UNORDERED, words};
use crate::support::{Cluster, Conn, Proxy, Reply, Single, slot_of};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

struct Ground {
    single: Single,
    cluster: Cluster,
    proxy: Proxy,
}

/// Three masters without replicas; each test has keys of its own.
fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        let cluster = Cluster::start(3, 0);
        Ground {
            single: Single::start(),
            proxy: Proxy::start(&cluster, &[]),
            cluster,
        }
    })
}

impl Ground {
    /// A connection through the proxy and one to the plain server, both speaking `protocol`.
    fn pair(&self, protocol: &str) -> (Conn, Conn) {
        let (mut proxied, mut plain) = (self.proxy.conn(), self.single.conn());
        for conn in [&mut proxied, &mut plain] {
            assert!(!conn.command(&["HELLO", protocol]).is_error());
        }
        (proxied, plain)
    }
}

#[test]
fn every_family_is_answered_as_by_one_server() {
    let ground = ground();
    for protocol in ["2", "3"] {
        let (mut proxied, mut plain) = ground.pair(protocol);
        let mut last = String::new();
        let (mut count, mut wrong) = (0, Vec::new());
        for line in SESSION.lines() {
            if line.starts_with('#') {
                continue;
            }
            let words: Vec<String> = words(line)
                .into_iter()
                .map(|word| {
                    if word == "$" {
                        last.clone()
                    } else {
                        word.replace("\\n", "\n")
                    }
                })
                .collect();
            let (mut ours, mut theirs) = (proxied.command(&words), plain.command(&words));
            if UNORDERED.contains(&words[0].as_str()) {
                (ours, theirs) = (sorted(ours), sorted(theirs));
            }
            if ours != theirs {
                wrong.push(format!("{line}\n   proxy {ours:?}\n   redis {theirs:?}"));
            }
            last = theirs.bulk_text().unwrap_or_default();
            count += 1;
        }
        assert!(count > 250, "the session has shrunk to {count} lines");
        assert!(wrong.is_empty(), "RESP{protocol}\n{}", wrong.join("\n"));
        // For the other protocol from the start again.
        for keys in SESSION
            .lines()
            .flat_map(words)
            .collect::<Vec<_>>()
            .chunks(50)
        {
            for conn in [&mut proxied, &mut plain] {
                conn.command(&[&["DEL".to_string()], keys].concat());
            }
        }
    }
}

/// What cannot be compared as text: DUMP and RESTORE carry bytes, MEMORY USAGE counts what a cluster adds.
#[test]
fn binary_values_and_sizes_pass() {
    let (mut conn, _) = ground().pair("2");
    let value: Vec<u8> = (0..=255).cycle().take(3000).collect();
    assert_eq!(
        conn.command(&[b"SET".as_slice(), b"bin\r\n\0", &value]),
        "OK"
    );
    assert_eq!(
        conn.command(&[b"GET".as_slice(), b"bin\r\n\0"]),
        Reply::Bulk(value.clone())
    );
    let Reply::Bulk(dump) = conn.command(&[b"DUMP".as_slice(), b"bin\r\n\0"]) else {
        panic!("DUMP gives bytes")
    };
    assert_eq!(
        conn.command(&[b"RESTORE".as_slice(), b"elsewhere", b"0", &dump]),
        "OK"
    );
    assert_eq!(conn.command(&["GET", "elsewhere"]), Reply::Bulk(value));
    let again = conn.command(&[b"RESTORE".as_slice(), b"elsewhere", b"0", &dump]);
    assert_eq!(
        again.error(),
        Some("BUSYKEY Target key name already exists.")
    );
    assert!(conn.line("MEMORY USAGE elsewhere").int() > 3000);
    assert_eq!(conn.line("MEMORY USAGE none"), Reply::NilBulk);
    assert!(conn.line("OBJECT IDLETIME elsewhere").int() < 60);
}

/// Keys in different slots, whether on one node or on two: what one node would say of them.
#[test]
fn keys_apart_are_refused_as_by_a_node() {
    let ground = ground();
    let (mut proxied, mut plain) = ground.pair("2");
    let other =
        |slot: u16| ground.cluster.master_of(slot) == ground.cluster.master_of(slot_of("a"));
    let near = (0..)
        .map(|n| format!("near{n}"))
        .find(|key| other(slot_of(key)))
        .expect("one");
    let far = (0..)
        .map(|n| format!("far{n}"))
        .find(|key| !other(slot_of(key)))
        .expect("one");
    for pattern in [
        "MSETNX a 1 % 2",
        "RENAME a %",
        "RENAMENX a %",
        "COPY a %",
        "LCS a %",
        "SINTER a %",
        "SUNION a %",
        "SDIFF a %",
        "SINTERSTORE a a %",
        "SUNIONSTORE % a a",
        "SDIFFSTORE a % a",
        "SINTERCARD 2 a %",
        "SMOVE a % x",
        "LMOVE a % LEFT LEFT",
        "RPOPLPUSH a %",
        "LMPOP 2 a % LEFT",
        "ZMPOP 2 a % MIN",
        "ZUNION 2 a %",
        "ZINTER 2 a %",
        "ZDIFF 2 a %",
        "ZUNIONSTORE % 1 a",
        "ZINTERSTORE a 2 a %",
        "ZDIFFSTORE a 1 %",
        "ZINTERCARD 2 a %",
        "ZRANGESTORE a % 0 -1",
        "GEOSEARCHSTORE a % FROMLONLAT 1 1 BYRADIUS 1 km",
        "GEORADIUS a 1 1 1 km STORE %",
        "GEORADIUSBYMEMBER a m 1 km STOREDIST %",
        "SORT a STORE %",
        "PFCOUNT a %",
        "PFMERGE a %",
        "BITOP AND a a %",
        "XREAD STREAMS a % 0 0",
        "EVAL return 2 a %",
        "EVALSHA ffffffffffffffffffffffffffffffffffffffff 2 a %",
        "FCALL f 2 a %",
    ] {
        for key in [&near, &far] {
            let reply = proxied.line(&pattern.replace('%', key));
            assert_eq!(
                reply.error(),
                Some("CROSSSLOT Keys in request don't hash to the same slot"),
                "{pattern}, {key}"
            );
        }
    }
    // A key that stands twice is in one slot with itself.
    for line in [
        "SINTER a a",
        "PFCOUNT a a",
        "LMPOP 2 a a LEFT",
        "RENAME a a",
    ] {
        assert_eq!(proxied.line(line), plain.line(line), "{line}");
    }
    assert_eq!(proxied.line("PING"), "PONG");
}

/// MGET, MSET, DEL, UNLINK, EXISTS and TOUCH over many slots: the one reply that one server gives.
#[test]
fn split_commands_are_one_again() {
    for protocol in ["2", "3"] {
        let (mut proxied, mut plain) = ground().pair(protocol);
        let key = |number: usize| format!("split:{number}");
        let mut both = |args: &[String]| {
            let (ours, theirs) = (proxied.command(args), plain.command(args));
            let words: Vec<&str> = args.iter().take(5).map(String::as_str).collect();
            assert_eq!(
                ours,
                theirs,
                "RESP{protocol}: {} of {}",
                words.join(" "),
                args.len()
            );
            theirs
        };
        let args = |name: &str, rest: Vec<String>| [vec![name.to_string()], rest].concat();

        let pairs = (0..1000)
            .flat_map(|n| [key(n), format!("value {n}")])
            .collect();
        assert_eq!(both(&args("MSET", pairs)), "OK");
        // The later of two values for one key stays.
        let pairs = (0..300)
            .flat_map(|n| [key(n % 100), format!("again {n}")])
            .collect();
        assert_eq!(both(&args("MSET", pairs)), "OK");
        both(&args("LPUSH", vec![key(7), "a".to_string()]));
        both(&args("DEL", vec![key(3), key(8)]));
        both(&args(
            "LPUSH",
            vec![key(3), "a".to_string(), "b".to_string()],
        ));
        // Repeated, missing, and of a wrong type.
        let keys: Vec<String> = (0..3000).map(|n| key(n * 7 % 1500)).collect();
        let values = both(&args("MGET", keys.clone()));
        assert_eq!(values.items().len(), 3000);
        both(&args("EXISTS", keys.clone()));
        both(&args("TOUCH", keys.clone()));
        both(&args("DEL", (0..300).map(|n| key(n % 200)).collect()));
        both(&args(
            "UNLINK",
            (100..500).map(|n| key(n - n % 2)).collect(),
        ));
        assert_eq!(
            both(&args("EXISTS", keys.clone())),
            both(&args("TOUCH", keys.clone()))
        );
        both(&args("DEL", keys));
        for name in ["MGET", "DEL", "UNLINK", "EXISTS", "TOUCH"] {
            both(&args(name, vec![key(1)]));
            both(&args(name, vec![key(1), key(1)]));
            both(&args(name, vec![]));
            both(&args(
                name,
                vec![String::new(), String::new(), "{}".to_string()],
            ));
        }
        for count in [0, 1, 3, 5] {
            both(&args("MSET", (0..count).map(key).collect()));
        }
    }
}

#[test]
fn inline_requests_are_requests() {
    let (mut proxied, mut plain) = ground().pair("2");
    let lines = [
        "SET inline \"a b\\x41\\r\\n\"",
        "GET inline",
        "set 'in line' 'it\\'s'",
        "  GET   'in line'  ",
        "MSET in1 1 in2 2 in3 3",
        "MGET in1 in2 in3 inline none",
        "DEL in1 in2 in3 none",
        "EVAL \"return {KEYS[1],'x y'}\" 1 k",
        "GET",
        "NONSENSE \"a\\nb\"",
        "PING",
    ];
    for end in ["\r\n", "\n"] {
        for conn in [&mut proxied, &mut plain] {
            conn.send(lines.map(|line| format!("{line}{end}")).concat());
        }
        for line in lines {
            assert_eq!(proxied.read_reply(), plain.read_reply(), "{line}");
        }
    }
}

/// What is not served is refused at once, in its turn; and whoever shares the connections to the nodes notices
/// nothing.
#[test]
fn what_is_not_served_is_refused_and_harms_nobody() {
    let refused = [
        "EXEC",
        "DISCARD",
        "SYNC",
        "PSYNC ? -1",
        "SHUTDOWN NOSAVE",
        "DEBUG SEGFAULT",
        "CLUSTER RESET",
        "CLUSTER SETSLOT 1 STABLE",
        "REPLICAOF 127.0.0.1 1",
        "FAILOVER",
        "SWAPDB 0 1",
    ];
    /// The others end also when something fails.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let ground = ground();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let guard = Stop(stop);
        let others: Vec<_> = (0..50)
            .map(|number| {
                scope.spawn(move || {
                    let mut conn = ground.proxy.conn();
                    let mut turns = 0;
                    while !stop.load(Ordering::Relaxed) || turns < 5 {
                        let value = format!("{number}-{turns}");
                        let keys: Vec<String> =
                            (0..5).map(|n| format!("other:{number}:{n}")).collect();
                        let mut commands: Vec<Vec<&str>> = Vec::new();
                        for key in &keys {
                            commands.push(vec!["SET", key, &value]);
                            commands.push(vec!["GET", key]);
                        }
                        let replies = conn.pipeline(&commands);
                        for pair in replies.chunks(2) {
                            assert_eq!(pair[0], "OK");
                            assert_eq!(pair[1], value.as_str());
                        }
                        turns += 1;
                    }
                })
            })
            .collect();
        for protocol in ["2", "3"] {
            let (mut conn, _) = ground.pair(protocol);
            conn.line("SET before 1");
            for line in refused {
                let words: Vec<&str> = line.split(' ').collect();
                let replies = conn.pipeline(&[vec!["GET", "before"], words, vec!["ECHO", line]]);
                assert_eq!(replies[0], "1", "before {line}");
                assert!(replies[1].is_error(), "{line}: {:?}", replies[1]);
                assert_eq!(replies[2], line);
            }
        }
        drop(guard);
        for other in others {
            other.join().expect("another client");
        }
    });
}

/// A cluster of one more family: commands for every node are one reply.
#[test]
fn commands_for_all_nodes_are_one_reply() {
    let single = Single::start();
    let cluster = Cluster::start(2, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let (mut proxied, mut plain) = (proxy.conn(), single.conn());
    for number in 0..100 {
        for conn in [&mut proxied, &mut plain] {
            conn.line(&format!("SET all:{number} v"));
        }
    }
    for line in [
        "DBSIZE",
        "SCRIPT FLUSH",
        "FUNCTION FLUSH",
        "FLUSHALL",
        "DBSIZE",
        "FLUSHDB ASYNC",
        "FLUSHALL NONSENSE",
    ] {
        assert_eq!(proxied.line(line), plain.line(line), "{line}");
    }
    assert_eq!(proxied.line("KEYS *"), Reply::Array(Vec::new()));
}
