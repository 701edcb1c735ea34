//! INFO through a proxy, beside one redis-server: what a client did before is in it, whatever the nodes count alike.

use crate::support::{Cluster, Conn, Proxy, Server, Stalls, signal, wait_for};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// The fields of some sections.
fn info(conn: &mut Conn, sections: &str) -> BTreeMap<String, String> {
    conn.info(sections)
}

/// A proxy before a cluster, and one server; and a connection to each.
struct Pair {
    cluster: Cluster,
    proxy: Proxy,
    server: Server,
}

impl Pair {
    fn new(args: &[&str]) -> Pair {
        let cluster = Cluster::start_with(3, 0, args);
        let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
        Pair {
            cluster,
            proxy,
            server: Server::start(args),
        }
    }

    fn both(&self, protocol: &str) -> [Conn; 2] {
        [self.proxy.addr(), &self.server.addr()].map(|addr| Conn::open(addr, protocol))
    }
}

#[test]
fn what_was_done_before_is_in_it() {
    let pair = Pair::new(&["--save", ""]);
    for protocol in ["2", "3"] {
        let told: Vec<_> = pair
            .both(protocol)
            .iter_mut()
            .map(|conn| {
                assert_eq!(conn.line("FLUSHALL"), "OK");
                assert!(info(conn, "keyspace").is_empty());
                let mut told = Vec::new();
                for n in 0..5 {
                    conn.command(&["SET", &format!("key:{n}"), "v"]);
                    told.push(info(conn, "keyspace")["db0"].clone());
                }
                // In one pipeline, too, and what follows is not in it.
                let line = |words: &[&str]| words.iter().map(|w| w.to_string()).collect::<Vec<_>>();
                let replies = conn.pipeline(&[
                    line(&["SET", "last", "v"]),
                    line(&["INFO", "keyspace"]),
                    line(&["SET", "behind", "v"]),
                    line(&["DBSIZE"]),
                ]);
                told.push(replies[1].text());
                told.push(replies[3].int().to_string());

                conn.command(&["GET", "last"]);
                conn.command(&["GET", "none"]);
                conn.command(&["SET", "short", "v", "PX", "1"]);
                std::thread::sleep(Duration::from_millis(5));
                conn.command(&["GET", "short"]);
                let counted = ["keyspace_hits", "keyspace_misses", "expired_keys"];
                let before = info(conn, "stats");
                assert!(
                    counted.iter().all(|name| before[*name] != "0"),
                    "{before:?}"
                );
                assert_eq!(conn.line("CONFIG RESETSTAT"), "OK");
                let after = info(conn, "stats");
                told.extend(counted.iter().map(|name| after[*name].clone()));
                conn.command(&["GET", "last"]);
                told.push(info(conn, "stats")["keyspace_hits"].clone());
                told
            })
            .collect();
        assert_eq!(told[0], told[1], "RESP{protocol}");
    }
    // A snapshot goes on for a while, longer than its reader may not run, where each key takes the child a while: for a
    // second or more at each node.
    for protocol in ["2", "3"] {
        let told: Vec<_> = pair
            .both(protocol)
            .iter_mut()
            .zip([1200, 400])
            .map(|(conn, keys)| {
                let sets: Vec<Vec<String>> = (0..keys)
                    .map(|n| ["SET", &format!("key:{n}"), "v"].map(String::from).into())
                    .collect();
                conn.pipeline(&sets);
                assert_eq!(conn.line("CONFIG SET rdb-key-save-delay 3000"), "OK");
                let mut told = vec![conn.line("BGSAVE").text()];
                told.push(info(conn, "persistence")["rdb_bgsave_in_progress"].clone());
                wait_for("the snapshot", LIMIT, || {
                    (info(conn, "persistence")["rdb_bgsave_in_progress"] == "0").then_some(())
                });
                told.push(info(conn, "persistence")["rdb_last_bgsave_status"].clone());
                let saves = info(conn, "persistence")["rdb_saves"].clone();
                told.push(saves);
                told
            })
            .collect();
        assert_eq!(told[0], told[1], "RESP{protocol}");
    }
}

/// Many clients that ask at once are told by one round of questions, and each is told what it did before.
#[test]
fn simultaneous_requests_share_one_round_of_questions() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "1"]);
    let mut conns: Vec<Conn> = (0..40).map(|_| proxy.conn()).collect();
    // Its own question is behind it.
    wait_for("the survey", LIMIT, || {
        proxy.log().contains("servers: version").then_some(())
    });
    conns[0].line("INFO");
    let asked = |cluster: &Cluster| -> u64 {
        let calls = cluster.masters().into_iter().map(|port| {
            let stats = info(&mut cluster.raw(port), "commandstats");
            let own = stats.get("cmdstat_info").map_or("calls=0", String::as_str);
            let count = own
                .split(',')
                .next()
                .and_then(|first| first.strip_prefix("calls="));
            count
                .and_then(|count| count.parse::<u64>().ok())
                .expect("a number")
        });
        calls.sum()
    };
    // One at a time: each is a round of its own. Ours to the nodes count, too: the first is not in its answer.
    let before = asked(&cluster);
    for conn in &mut conns[..10] {
        conn.line("INFO");
    }
    let after = asked(&cluster);
    assert_eq!(after - before, 3 + 10 * 3);
    // All at once, while the proxy stands still.
    signal(proxy.pid(), "STOP");
    for (n, conn) in conns.iter_mut().enumerate() {
        conn.send(Conn::encode(&["SET", &format!("at once:{n}"), "v"]));
        conn.send(Conn::encode(&["INFO", "keyspace"]));
    }
    signal(proxy.pid(), "CONT");
    for conn in &mut conns {
        assert_eq!(conn.read_reply(), "OK");
        assert!(conn.read_reply().text().contains("db0:keys="));
    }
    let rounds = (asked(&cluster) - after - 3) / 3;
    assert!((1..=20).contains(&rounds), "{rounds} rounds for 40 clients");
    let keys = &info(&mut conns[0], "keyspace")["db0"];
    assert!(keys.starts_with("keys=40,"), "{keys}");
}

#[test]
fn a_silent_master_costs_a_second_and_its_last_words_count() {
    let args = ["--cluster-node-timeout", "15000"];
    let cluster = Cluster::start_with(3, 0, &args);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    let mut conn = proxy.conn();
    for n in 0..50 {
        conn.command(&["SET", &format!("key:{n}"), "v"]);
    }
    // Any master may have no processor for a second.
    let whole = wait_for("all masters to answer", LIMIT, || {
        let whole = info(&mut conn, "everything");
        (whole["proxy_masters_summed"] == "3").then_some(whole)
    });
    assert!(whole["db0"].starts_with("keys=50,"));
    assert!(!whole.contains_key("proxy_masters_silent"));
    let silent = cluster.masters()[1];
    cluster.freeze(silent);
    let (started, stalls) = (Instant::now(), Stalls::watch());
    let mut other = proxy.conn();
    for protocol in ["2", "3"] {
        other.command(&["HELLO", protocol]);
        let told = wait_for("the others to answer", LIMIT, || {
            let told = info(&mut other, "everything");
            assert!(told["db0"].starts_with("keys=50,"), "{told:?}");
            (told["proxy_masters_silent"] == "1").then_some(told)
        });
        let who = &told["proxy_silent_master_0"];
        assert!(
            who.starts_with(&format!("addr=127.0.0.1:{silent},")),
            "{who}"
        );
        assert_eq!(told["proxy_masters_summed"], "2");
    }
    assert!(
        started.elapsed() < Duration::from_secs(8) + stalls.allowance(),
        "{:?}",
        started.elapsed()
    );
    cluster.thaw(silent);
    wait_for("all masters", LIMIT, || {
        (!info(&mut other, "").contains_key("proxy_masters_silent")).then_some(())
    });
}

/// Whoever asked first may leave before the answer comes: the others get theirs.
#[test]
fn the_first_to_ask_may_leave() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "1"]);
    for _ in 0..20 {
        let mut conns: Vec<Conn> = (0..6).map(|_| proxy.conn()).collect();
        conns
            .iter_mut()
            .for_each(|conn| assert_eq!(conn.line("PING"), "PONG"));
        signal(proxy.pid(), "STOP");
        conns
            .iter_mut()
            .for_each(|conn| conn.send(Conn::encode(&["INFO", "memory"])));
        let others = conns.split_off(2);
        drop(conns);
        signal(proxy.pid(), "CONT");
        for mut conn in others {
            assert!(conn.read_reply().text().contains("proxy_masters_summed:3"));
        }
    }
}

#[test]
fn who_is_held_by_a_pause_counts_as_blocked() {
    let pair = Pair::new(&[]);
    for protocol in ["2", "3"] {
        let told = [pair.proxy.addr(), &pair.server.addr()].map(|addr| {
            let mut told = Vec::new();
            let mut conn = Conn::open(addr, protocol);
            let mut blocked: Vec<Conn> = (0..5).map(|_| Conn::open(addr, protocol)).collect();
            let ids: Vec<i64> = blocked
                .iter_mut()
                .map(|conn| conn.line("CLIENT ID").int())
                .collect();
            assert_eq!(conn.line("CLIENT PAUSE 20000 WRITE"), "OK");
            let see = |conn: &mut Conn, count: &str| {
                wait_for("the blocked", LIMIT, || {
                    (info(conn, "clients")["blocked_clients"] == count).then_some(())
                });
                count.to_string()
            };
            for conn in &mut blocked[..4] {
                conn.send(Conn::encode(&["SET", "held", "v"]));
            }
            blocked[4].send(Conn::encode(&["GET", "held"]));
            told.push(see(&mut conn, "4"));
            let killed = conn.line(&format!("CLIENT KILL ID {}", ids[0]));
            assert_eq!(killed.int(), 1);
            told.push(see(&mut conn, "3"));
            assert_eq!(conn.line("CLIENT UNPAUSE"), "OK");
            told.push(see(&mut conn, "0"));
            told
        });
        assert_eq!(told[0], told[1]);
    }
    drop(pair.cluster);
}

/// Every field of this server's own INFO that is put together has a rule with a reason, or is the proxy's own.
#[test]
fn no_field_is_put_together_without_a_reason() {
    let server = Server::start(&["--appendonly", "yes"]);
    let mut conn = server.conn();
    let own = ["loading", "async_loading"];
    let own_stats = [
        "total_connections_received",
        "total_commands_processed",
        "instantaneous_ops_per_sec",
        "total_net_input_bytes",
        "total_net_output_bytes",
        "instantaneous_input_kbps",
        "instantaneous_output_kbps",
        "rejected_connections",
        "pubsub_channels",
        "pubsub_patterns",
        "pubsubshard_channels",
        "total_error_replies",
    ];
    let known: Vec<&str> = redis_cluster_proxy::proxy::stats::masters_info::FIELDS
        .iter()
        .map(|(name, ..)| *name)
        .chain(own)
        .chain(own_stats)
        .collect();
    for section in ["memory", "persistence", "stats"] {
        for name in info(&mut conn, section).into_keys() {
            let name = name.trim_end_matches("_human");
            assert!(known.contains(&name), "{section}: {name}");
        }
    }
}

/// What cannot be added is not: one machine has its memory once.
#[test]
fn what_masters_share_is_told_once() {
    let pair = Pair::new(&["--maxmemory", "100mb"]);
    let [mut ours, mut theirs] = pair.both("2");
    for conn in [&mut ours, &mut theirs] {
        conn.command(&[
            "FUNCTION",
            "LOAD",
            "#!lua name=lib\nredis.register_function('f', function() return 1 end)",
        ]);
        conn.command(&["SCRIPT", "LOAD", "return 1"]);
        conn.command(&["EVAL", "return 1", "0"]);
    }
    let (ours, theirs) = (info(&mut ours, "memory"), info(&mut theirs, "memory"));
    for name in [
        "total_system_memory",
        "total_system_memory_human",
        "number_of_cached_scripts",
        "number_of_functions",
        "number_of_libraries",
        "maxmemory_policy",
        "mem_allocator",
    ] {
        assert_eq!(ours[name], theirs[name], "{name}");
    }
    assert_eq!(ours["maxmemory"], (3 * 100 * 1024 * 1024).to_string());
}

/// The counts of a line of commandstats, without those of time.
fn counts(fields: &BTreeMap<String, String>, command: &str) -> Option<String> {
    let line = fields.get(&format!("cmdstat_{command}"))?;
    let counts = line.split(',').filter(|field| !field.starts_with("usec"));
    Some(counts.collect::<Vec<_>>().join(","))
}

/// What scripts call is counted once, with what clients call themselves; and errors by the codes that scripts make up.
#[test]
fn calls_and_errors_of_scripts_are_counted_as_by_one_server() {
    let pair = Pair::new(&[]);
    for protocol in ["2", "3"] {
        let told = pair.both(protocol).map(|mut conn| {
            conn.line("FLUSHALL");
            assert_eq!(conn.line("CONFIG RESETSTAT"), "OK");
            let mut told = Vec::new();
            let add = "return redis.call('GEOADD', KEYS[1], 1, 2, 'm')";
            let many = "for n = 1, 10 do redis.call('INCR', KEYS[1]) end; return redis.pcall('LPUSH', KEYS[1], 'v')";
            for key in ["a", "b", "c", "{x}1"] {
                let geo = format!("geo:{key}");
                told.push(format!("{:?}", conn.command(&["EVAL", add, "1", &geo])));
                told.push(format!("{:?}", conn.command(&["EVAL", many, "1", key])));
                told.push(format!("{:?}", conn.command(&["INCR", key])));
                told.push(format!("{:?}", conn.command(&["LPUSH", key, "v"])));
            }
            conn.command(&["SET", "{s}1", "v"]);
            conn.command(&["MGET", "{s}1", "{s}2"]);
            for made_up in ["MY_ERR_CODE x", "my-code x", "odd", "ERR y"] {
                let script = format!("return redis.error_reply('{made_up}')");
                told.push(format!("{:?}", conn.command(&["EVAL", &script, "0"])));
                conn.command(&["SCRIPT", "LOAD", &script]);
            }
            let stats = conn.info("commandstats");
            for command in ["geoadd", "incr", "lpush", "set", "mget", "eval", "get", "zadd"] {
                told.push(format!("{command} {:?}", counts(&stats, command)));
            }
            let errors = conn.info("errorstats");
            for code in ["MY_ERR_CODE", "my-code", "WRONGTYPE"] {
                told.push(format!("{code} {:?}", errors.get(&format!("errorstat_{code}"))));
            }
            told
        });
        for (ours, theirs) in told[0].iter().zip(&told[1]) {
            // The errors that a script catches are counted by its node alone.
            if !theirs.starts_with("WRONGTYPE") {
                assert_eq!(ours, theirs, "RESP{protocol}");
            }
        }
    }
}

/// What EXEC executes fails one by one, and each error counts: the nodes', within what a script gives, and our own.
#[test]
fn errors_within_exec_are_counted_as_by_one_server() {
    let pair = Pair::new(&[]);
    for protocol in ["2", "3"] {
        let told = pair.both(protocol).map(|mut conn| {
            conn.line("FLUSHALL");
            assert_eq!(conn.line("CONFIG RESETSTAT"), "OK");
            conn.line("SET {s}1 v");
            let nested = "EVAL return{1,redis.error_reply(ARGV[1])} 1 {s}1 NESTED_x";
            let transactions = [
                vec!["LPUSH {s}1 v", "INCR {s}1", "SET {s}2 v"],
                vec![
                    "LPUSH {s}1 v",
                    "CONFIG SET nosuch 1",
                    "LPUSH {s}1 v",
                    "DBSIZE",
                ],
                vec![nested, "LPUSH {s}1 v"],
                vec!["CLIENT KILL ID nosuch"],
            ];
            for transaction in transactions {
                conn.line("MULTI");
                for line in transaction {
                    assert_eq!(conn.line(line), "QUEUED");
                }
                conn.line("EXEC");
            }
            let (errors, stats) = (conn.info("errorstats"), conn.info("stats"));
            format!("{errors:?} {}", stats["total_error_replies"])
        });
        assert_eq!(told[0], told[1], "RESP{protocol}");
    }
}

/// A request that is cut for several nodes is one call.
#[test]
fn a_request_that_is_cut_is_one_call() {
    let pair = Pair::new(&[]);
    let told = pair.both("3").map(|mut conn| {
        assert_eq!(conn.line("CONFIG RESETSTAT"), "OK");
        for _ in 0..3 {
            conn.line("MSET a 1 b 2 c 3 d 4 e 5");
            conn.line("MGET a b c d e f");
            conn.line("DEL a b");
        }
        conn.command(&["EVAL", "return redis.call('DEL', KEYS[1])", "1", "c"]);
        let stats = conn.info("commandstats");
        ["mset", "mget", "del"].map(|command| counts(&stats, command))
    });
    assert_eq!(told[0], told[1]);
}

/// A script that was evaluated exists, wherever that was.
#[test]
fn scripts_exist_as_on_one_server() {
    use crate::support::key_in_slot;
    let pair = Pair::new(&[]);
    for protocol in ["2", "3"] {
        let told = pair.both(protocol).map(|mut conn| {
            conn.line("SCRIPT FLUSH");
            let sha = |conn: &mut Conn, body: &str| {
                let digest = "return redis.sha1hex(ARGV[1])";
                conn.command(&["EVAL", digest, "0", body]).text()
            };
            let bodies = [
                "return 1",
                "return KEYS[1]",
                "return 3",
                "syntax (",
                "return 5",
            ];
            let shas: Vec<String> = bodies.iter().map(|body| sha(&mut conn, body)).collect();
            conn.line("SCRIPT FLUSH");
            let (one, three, wrong, five) = (&shas[0], &shas[2], &shas[3], &shas[4]);
            let keyed = &shas[1];
            let mut told = Vec::new();
            let exist = |conn: &mut Conn| {
                let line = format!(
                    "SCRIPT EXISTS {one} {keyed} {} {wrong} {five} nonsense",
                    three.to_uppercase()
                );
                format!("{:?}", conn.line(&line))
            };
            told.push(exist(&mut conn));
            conn.command(&["EVAL", bodies[0], "0"]);
            told.push(exist(&mut conn));
            conn.command(&["EVAL", bodies[1], "1", &key_in_slot(9, "k")]);
            conn.command(&["EVAL", bodies[3], "0"]);
            conn.command(&["EVAL_RO", bodies[2], "1", &key_in_slot(9000, "k")]);
            told.push(exist(&mut conn));
            told.push(format!(
                "{:?}",
                conn.command(&["EVALSHA", keyed, "1", &key_in_slot(9000, "k2")])
            ));
            conn.command(&["SCRIPT", "LOAD", bodies[4]]);
            told.push(exist(&mut conn));
            conn.line("SCRIPT FLUSH");
            told.push(exist(&mut conn));
            told
        });
        assert_eq!(told[0][..5], told[1][..5], "RESP{protocol}");
        assert_eq!(told[0], told[1], "RESP{protocol}");
    }
}

/// Scripts that different nodes have, and the first command behind a reset.
#[test]
fn scripts_and_commands_are_counted_as_by_one_server() {
    use crate::support::key_in_slot;
    let pair = Pair::new(&[]);
    for protocol in ["2", "3"] {
        let told = pair.both(protocol).map(|mut conn| {
            let mut told = Vec::new();
            let mut count = |conn: &mut Conn| {
                let fields = info(conn, "memory");
                told.push(fields["number_of_cached_scripts"].clone());
            };
            conn.line("SCRIPT FLUSH");
            count(&mut conn);
            for slot in [0, 8000, 16000] {
                let body = format!("return {slot}");
                conn.command(&["EVAL", &body, "1", &key_in_slot(slot, "k")]);
                count(&mut conn);
            }
            // It is at another node, too.
            conn.command(&["EVAL", "return 0", "1", &key_in_slot(16000, "k")]);
            count(&mut conn);
            conn.command(&["SCRIPT", "LOAD", "return 0"]);
            conn.command(&["SCRIPT", "LOAD", "return 'loaded'"]);
            count(&mut conn);
            conn.line("SCRIPT FLUSH");
            count(&mut conn);
            conn.command(&["EVAL", "syntax (", "0"]);
            count(&mut conn);
            assert_eq!(conn.line("CONFIG RESETSTAT"), "OK");
            let commands = info(&mut conn, "stats")["total_commands_processed"].clone();
            told.push(commands);
            told
        });
        assert_eq!(told[0], told[1], "RESP{protocol}");
    }
}
