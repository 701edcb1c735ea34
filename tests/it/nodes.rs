//! Commands that ask many nodes, compared with one redis-server wherever both can be.
//!
//! One cluster, one proxy and one server for all of these tests, which take turns: some stop a node.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use crate::support::compare::outline;
use crate::support::{Cluster, Conn, Proxy, Reply, Server, Single, Stalls, key_in_slot, wait_for};

struct Ground {
    cluster: Cluster,
    proxy: Proxy,
    single: Single,
}

impl Ground {
    /// Both without keys, logs and counters.
    fn cleared() -> MutexGuard<'static, Ground> {
        static GROUND: OnceLock<Mutex<Ground>> = OnceLock::new();
        let ground = GROUND.get_or_init(|| {
            let cluster = Cluster::start_with(3, 1, &["--latency-tracking", "yes"]);
            Mutex::new(Ground {
                proxy: Proxy::start(&cluster, &["-read-prefer", "1", "-max-procs", "2"]),
                single: Single::start(),
                cluster,
            })
        });
        let ground = ground.lock().unwrap_or_else(|failed| failed.into_inner());
        // The test before may have had a master replaced.
        ground.cluster.wait_until_ready();
        ground.proxy.wait_until_replicas_are_known(3);
        for (mut conn, _) in ground.both(2) {
            for line in [
                "FLUSHALL",
                "SLOWLOG RESET",
                "CONFIG RESETSTAT",
                "ACL LOG RESET",
            ] {
                assert!(conn.line(line) == "OK", "{line}");
            }
        }
        ground
    }

    /// Connections to the server and to the proxy, speaking this protocol.
    fn both(&self, protocol: u8) -> [(Conn, &'static str); 2] {
        let greeted = |mut conn: Conn| {
            conn.line(&format!("HELLO {protocol}"));
            conn
        };
        [
            (greeted(self.single.conn()), "server"),
            (greeted(self.proxy.conn()), "proxy"),
        ]
    }

    /// Whether both give the same reply, byte by byte.
    #[track_caller]
    fn same(&self, line: &str) {
        for protocol in [2, 3] {
            let [server, proxy] = self.both(protocol).map(|(mut conn, _)| conn.line(line));
            assert_eq!(server, proxy, "{line} in RESP{protocol}");
        }
    }

    /// Whether both replies look the same: kinds, names, lengths of what has a fixed length.
    #[track_caller]
    fn alike(&self, line: &str) {
        for protocol in [2, 3] {
            let [server, proxy] = self
                .both(protocol)
                .map(|(mut conn, _)| outline(&conn.line(line)));
            assert_eq!(server, proxy, "{line} in RESP{protocol}");
        }
    }
}

fn scan_all(conn: &mut Conn, options: &str, mut between: impl FnMut(usize)) -> Vec<String> {
    let (mut cursor, mut found) = ("0".to_string(), Vec::new());
    for call in 0..10_000 {
        let reply = conn.line(&format!("SCAN {cursor} {options}"));
        let [next, keys] = reply.items() else {
            panic!("{reply:?}");
        };
        found.extend(keys.items().iter().map(Reply::text));
        cursor = next.text();
        if cursor == "0" {
            return found;
        }
        between(call);
    }
    panic!("a scan without an end");
}

#[test]
fn empty_nodes_and_errors_look_like_one_server() {
    let ground = Ground::cleared();
    for line in [
        "RANDOMKEY",
        "DBSIZE",
        "KEYS *",
        "PUBSUB CHANNELS",
        "PUBSUB CHANNELS x*",
        "PUBSUB NUMSUB",
        "PUBSUB NUMSUB a b a",
        "PUBSUB NUMPAT",
        "PUBSUB SHARDCHANNELS",
        "PUBSUB SHARDNUMSUB a",
        "SLOWLOG GET x",
        "SLOWLOG GET -2",
        "SLOWLOG GET 1 2",
        "SLOWLOG RESET",
        "LATENCY LATEST",
        "LATENCY HISTORY nothing",
        "LATENCY GRAPH nothing",
        "LATENCY RESET",
        "LATENCY DOCTOR",
        "MEMORY DOCTOR",
        "MEMORY PURGE",
        "FUNCTION STATS",
        "FUNCTION LIST",
        "FUNCTION DUMP",
        "ACL LOG",
        "ACL LOG x",
        "ACL LOG RESET",
        "CONFIG GET nothing",
        "CONFIG GET maxmemory-policy",
        "CONFIG GET SAVE",
        "CONFIG GET saVe save",
        "CONFIG GET TimeOut",
        "CONFIG GET REQUIREPASS",
        "CONFIG SET nothing 1",
        "CONFIG SET a b c",
        "CONFIG SET maxmemory x",
        "CONFIG RESETSTAT",
        "SCAN x",
        "SCAN 18446744073709551616",
        "SCAN 0 COUNT 0",
        "SCAN 0 MATCH",
        "SCAN 0 NOTHING 1",
        "INFO nothing",
        "ROLE",
    ] {
        ground.same(line);
    }
    for line in [
        "TIME",
        "LASTSAVE",
        "LOLWUT",
        "MEMORY STATS",
        "MEMORY MALLOC-STATS",
        "INFO",
    ] {
        ground.alike(line);
    }
}

#[test]
fn logs_are_the_newest_of_all_nodes() {
    let ground = Ground::cleared();
    for (mut conn, _) in ground.both(2) {
        assert!(conn.line("CONFIG SET slowlog-log-slower-than 0") == "OK");
        (0..40).for_each(|number| assert!(conn.line(&format!("SET key{number} 1")) == "OK"));
        assert!(conn.line("CONFIG SET slowlog-log-slower-than 10000000") == "OK");
    }
    ground.alike("SLOWLOG GET 0");
    for (mut conn, whose) in ground.both(3) {
        let entries = conn.line("SLOWLOG GET").items().len();
        assert_eq!(entries, 10, "{whose}");
        let all = conn.line("SLOWLOG GET -1");
        assert!(all.items().len() >= 40, "{whose}");
        let times: Vec<i64> = all
            .items()
            .iter()
            .map(|entry| entry.items()[1].int())
            .collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "{whose}: {times:?}");
        assert_eq!(
            conn.line("SLOWLOG LEN").int(),
            all.items().len() as i64,
            "{whose}"
        );
        assert_eq!(
            outline(&all.items()[0]).matches("int").count(),
            3,
            "{whose}"
        );
    }
    for (mut conn, _) in ground.both(3) {
        conn.line("AUTH nobody nothing");
    }
    for protocol in [2, 3] {
        let [server, proxy] = ground
            .both(protocol)
            .map(|(mut conn, _)| conn.line("ACL LOG 1"));
        assert_eq!(outline(&server), outline(&proxy));
    }
}

#[test]
fn what_nodes_measure_is_added_up() {
    let ground = Ground::cleared();
    for (mut conn, _) in ground.both(2) {
        (0..30).for_each(|number| assert!(conn.line(&format!("SET key{number} 1")) == "OK"));
    }
    for (mut conn, whose) in ground.both(3) {
        let Reply::Map(commands) = conn.line("LATENCY HISTOGRAM set") else {
            panic!("{whose}");
        };
        assert_eq!(commands.len(), 1, "{whose}");
        let Reply::Map(measured) = &commands[0].1 else {
            panic!("{whose}");
        };
        // What replicas execute of what masters replicate is no client's.
        let calls = measured[0].1.int();
        assert_eq!(calls, 30, "{whose}");
        let Reply::Map(buckets) = &measured[1].1 else {
            panic!("{whose}");
        };
        assert_eq!(
            buckets.last().map(|(_, count)| count.int()),
            Some(calls),
            "{whose}"
        );
    }
    let channels: Vec<Conn> = ground
        .cluster
        .ports()
        .into_iter()
        .map(|port| {
            let mut conn = ground.cluster.raw(port);
            conn.line("SUBSCRIBE news");
            conn
        })
        .collect();
    let mut conn = ground.proxy.conn();
    assert_eq!(conn.line("PUBSUB CHANNELS").items().len(), 1);
    let counts = conn.line("PUBSUB NUMSUB none news");
    assert_eq!((counts.items()[1].int(), counts.items()[3].int()), (0, 6));
    drop(channels);
}

#[test]
fn a_random_key_is_one_of_all() {
    let ground = Ground::cleared();
    let mut conn = ground.proxy.conn();
    let last = key_in_slot(16383, "alone");
    assert!(conn.command(&["SET", &last, "1"]) == "OK");
    for _ in 0..20 {
        assert!(conn.line("RANDOMKEY") == last.as_str());
    }
    for number in 0..60 {
        conn.line(&format!("SET key{number} 1"));
    }
    let seen: BTreeSet<String> = (0..600).map(|_| conn.line("RANDOMKEY").text()).collect();
    assert!(seen.len() > 50, "{}", seen.len());
}

#[test]
fn a_scan_sees_every_key_also_while_slots_move_and_masters_change() {
    let ground = Ground::cleared();
    let mut conn = ground.proxy.conn();
    let keys: BTreeSet<String> = (0..3000).map(|number| format!("key{number}")).collect();
    let sets: Vec<Vec<&str>> = keys.iter().map(|key| vec!["SET", key, "1"]).collect();
    conn.pipeline(&sets);
    conn.line("HSET hash{a} f v");
    let found = scan_all(&mut conn, "COUNT 100", |_| {});
    assert_eq!(found.len(), 3001, "each once while nothing changes");
    let some = scan_all(&mut conn, "MATCH key1* COUNT 500 TYPE string", |_| {});
    assert!(some.iter().all(|key| key.starts_with("key1")) && some.len() == 1111);
    assert_eq!(
        scan_all(&mut conn, "TYPE hash COUNT 1000", |_| {}),
        ["hash{a}"]
    );
    // Each key of the second half of the first master's slots goes to the last one, which is scanned last,
    // and some of the last one's to the first, which has been scanned by then.
    let masters = ground.cluster.masters();
    let (first, last) = (ground.cluster.master_of(0), ground.cluster.master_of(16383));
    assert!(masters.len() == 3 && first != last);
    let found = scan_all(&mut conn, "COUNT 60", |call| {
        if call == 20 || call == 45 {
            for slot in 16300..16384 {
                let (from, to) = if call == 20 {
                    (last, first)
                } else {
                    (first, last)
                };
                ground.cluster.migrate_slot(slot, from, to);
            }
        }
    });
    let found: BTreeSet<String> = found.into_iter().collect();
    assert!(keys.is_subset(&found), "{} of {}", found.len(), keys.len());
    ground.cluster.wait_until_ready();
    let replica = ground.cluster.replicas_of(last)[0];
    let found = scan_all(&mut conn, "COUNT 60", |call| {
        if call == 30 {
            ground.cluster.failover(replica);
        }
    });
    let found: BTreeSet<String> = found.into_iter().collect();
    assert!(keys.is_subset(&found), "{} of {}", found.len(), keys.len());
}

/// Begins to move a slot from one node to another, over connections to them.
fn begin_move(slot: u16, from: &mut Conn, to: &mut Conn) {
    let (from_id, to_id) = (from.line("CLUSTER MYID"), to.line("CLUSTER MYID"));
    let importing = format!("CLUSTER SETSLOT {slot} IMPORTING {}", from_id.text());
    assert_eq!(to.line(&importing), "OK");
    let migrating = format!("CLUSTER SETSLOT {slot} MIGRATING {}", to_id.text());
    assert_eq!(from.line(&migrating), "OK");
}

/// Moves the keys of a slot and leaves the slot where it is. Returns how many there were.
fn move_keys(slot: u16, from: &mut Conn, to_port: u16) -> usize {
    let keys = from.line(&format!("CLUSTER GETKEYSINSLOT {slot} 1000"));
    for key in keys.items() {
        let line = format!("MIGRATE 127.0.0.1 {to_port} {} 0 5000", key.text());
        assert_eq!(from.line(&line), "OK");
    }
    keys.items().len()
}

/// Has a new node, `to`, know the cluster of two that `from` is of, and be known there.
fn join(to: &mut Conn, from: &mut Conn, from_port: u16) {
    to.line(&format!("CLUSTER MEET 127.0.0.1 {from_port}"));
    wait_for("the new node to be known", Duration::from_secs(20), || {
        let id = to.line("CLUSTER MYID").text();
        let known = |conn: &mut Conn| {
            let nodes = conn.line("CLUSTER NODES").text();
            let state = conn.line("CLUSTER INFO").text();
            nodes.contains(&id) && nodes.lines().count() == 3 && state.contains("cluster_state:ok")
        };
        (known(from) && known(to)).then_some(())
    });
}

/// Keys that have been moved ahead of their slot are at a master without slots, and are keys as any others.
#[test]
fn keys_at_a_master_without_slots_are_seen() {
    let cluster = Cluster::start(2, 0);
    let last = cluster.master_of(16383);
    let joining = Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]);
    let (mut from, mut to) = (cluster.raw(last), joining.conn());
    join(&mut to, &mut from, last);
    let proxy = Proxy::start(&cluster, &[]);
    let mut conn = proxy.conn();
    let key = key_in_slot(16383, "moved");
    assert_eq!(conn.command(&["SET", &key, "v", "EX", "1000"]), "OK");
    begin_move(16383, &mut from, &mut to);
    assert_eq!(move_keys(16383, &mut from, joining.port()), 1);
    assert_eq!(to.line("DBSIZE").int(), 1);

    assert_eq!(conn.line("DBSIZE").int(), 1);
    assert_eq!(conn.line("RANDOMKEY").text(), key);
    let keys = conn.line("KEYS *");
    assert_eq!(keys.items().len(), 1, "{keys:?}");
    assert_eq!(keys.items()[0].text(), key);
    let keyspace = conn.line("INFO keyspace").text();
    assert!(keyspace.contains("db0:keys=1,expires=1,"), "{keyspace}");
    assert_eq!(conn.line("FLUSHALL"), "OK");
    assert_eq!(to.line("DBSIZE").int(), 0);
    // It is behind an ASKING that the key would be written now.
    assert_eq!(conn.command(&["SET", &key, "v"]), "OK");
    assert_eq!(to.line("DBSIZE").int(), 1);
    assert_eq!(conn.line("FLUSHDB ASYNC"), "OK");
    assert_eq!(conn.line("DBSIZE").int(), 0);
    assert!(conn.line("RANDOMKEY").is_nil());
    assert_eq!(conn.line("SAVE"), "OK");
    // What it was never given does not stand in the way of what the others have.
    let library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    for port in cluster.masters() {
        cluster.raw(port).command(&["FUNCTION", "LOAD", library]);
    }
    assert_eq!(conn.line("FUNCTION DELETE lib"), "OK");
    // It is not waited for when it is not there: silent, and then gone.
    assert_eq!(conn.command(&["SET", &key_in_slot(0, "k"), "v"]), "OK");
    joining.freeze();
    for line in ["DBSIZE", "KEYS *", "RANDOMKEY", "FLUSHALL", "DBSIZE"] {
        let start = Instant::now();
        let reply = conn.line(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{line}");
    }
    joining.kill();
    for line in ["DBSIZE", "KEYS *", "FLUSHALL", "DBSIZE"] {
        let start = Instant::now();
        let reply = conn.line(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{line}");
    }
}

#[test]
fn a_scan_sees_every_key_of_migrations_that_stay_open() {
    let cluster = Cluster::start(2, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let mut conn = proxy.conn();
    let (first, last) = (cluster.master_of(0), cluster.master_of(16383));
    let keys: BTreeSet<String> = (0..2000).map(|number| format!("key{number}")).collect();
    let sets: Vec<Vec<&str>> = keys.iter().map(|key| vec!["SET", key, "1"]).collect();
    conn.pipeline(&sets);
    // From the master that is scanned last to the one that was scanned by then, and they stay there.
    let (mut from, mut to) = (cluster.raw(last), cluster.raw(first));
    let mut moved = 0;
    let found = scan_all(&mut conn, "COUNT 60", |call| {
        if (20..30).contains(&call) {
            for slot in (0..20).map(|slot| (16_383 - 20 * call - slot) as u16) {
                begin_move(slot, &mut from, &mut to);
                moved += move_keys(slot, &mut from, first);
            }
        }
    });
    let found: BTreeSet<String> = found.into_iter().collect();
    assert!(moved > 0, "it was worth the while");
    assert!(keys.is_subset(&found), "{} of {}", found.len(), keys.len());
    // To a master without slots, that joins when the scan is under way, and to one that has been there.
    let joining = Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]);
    let mut to = joining.conn();
    for call_of_joining in [10, 0] {
        let mut moved = 0;
        let found = scan_all(&mut conn, "COUNT 60", |call| {
            if call == call_of_joining {
                join(&mut to, &mut from, last);
            }
            if call > call_of_joining && call < call_of_joining + 10 {
                let start = 9000 + 100 * call_of_joining + 20 * call;
                for slot in (0..20).map(|slot| (start + slot) as u16) {
                    begin_move(slot, &mut from, &mut to);
                    moved += move_keys(slot, &mut from, joining.port());
                }
            }
        });
        let found: BTreeSet<String> = found.into_iter().collect();
        assert!(moved > 0, "it was worth the while");
        assert!(keys.is_subset(&found), "{} of {}", found.len(), keys.len());
    }
    let at_joining = to.line("DBSIZE").int();
    assert!(at_joining > 0);
    // Each of what has been moved is seen though its slot is another's.
    let found: BTreeSet<String> = scan_all(&mut conn, "COUNT 60", |_| {})
        .into_iter()
        .collect();
    assert!(keys.is_subset(&found), "{} of {}", found.len(), keys.len());
}

#[test]
fn cursors_of_one_key_stay_with_the_master() {
    let ground = Ground::cleared();
    let mut conn = ground.proxy.conn();
    for number in 0..500 {
        conn.line(&format!("HSET hash field{number} 1"));
    }
    let before = conn.info("proxy")["proxy_replica_reads"].clone();
    let mut cursor = "0".to_string();
    let mut count = 0;
    loop {
        let reply = conn.line(&format!("HSCAN hash {cursor} COUNT 20"));
        count += reply.items()[1].items().len() / 2;
        cursor = reply.items()[0].text();
        if cursor == "0" {
            break;
        }
    }
    assert!(count >= 500);
    assert_eq!(conn.info("proxy")["proxy_replica_reads"], before);
    wait_for("a replica to be asked", Duration::from_secs(20), || {
        conn.line("HGET hash field1");
        (conn.info("proxy")["proxy_replica_reads"] != before).then_some(())
    });
}

/// What a client reads while it watches decides what it writes: a replica may be behind what is watched.
#[test]
fn what_is_read_while_watching_comes_from_masters() {
    let ground = Ground::cleared();
    let mut conn = ground.proxy.conn();
    let reads = |conn: &mut Conn| conn.info("proxy")["proxy_replica_reads"].clone();
    let before = reads(&mut conn);
    wait_for("replicas to be asked", Duration::from_secs(20), || {
        conn.line("MGET a b c d");
        (reads(&mut conn) != before).then_some(())
    });
    conn.line("WATCH a");
    let before = reads(&mut conn);
    for request in ["GET a", "MGET a b c d", "EXISTS a b c d", "MGET a b c d"] {
        conn.line(request);
        assert_eq!(reads(&mut conn), before, "{request}");
    }
    conn.line("UNWATCH");
    wait_for(
        "replicas to be asked again",
        Duration::from_secs(20),
        || {
            conn.line("MGET a b c d");
            (reads(&mut conn) != before).then_some(())
        },
    );
}

#[test]
fn settings_are_the_nodes_but_for_the_proxys_own() {
    let ground = Ground::cleared();
    let mut conn = ground.proxy.conn();
    let port = ground.proxy.addr().rsplit(':').next().unwrap().to_string();
    let value = |reply: &Reply| reply.items().get(1).map(Reply::text);
    assert_eq!(value(&conn.line("CONFIG GET port")), Some(port));
    assert_eq!(
        value(&conn.line("CONFIG GET cluster-enabled")).as_deref(),
        Some("no")
    );
    assert_eq!(
        value(&conn.line("CONFIG GET maxclients")).as_deref(),
        Some("10000")
    );
    let own = "ERR CONFIG SET failed (possibly related to argument 'PORT') - can't set immutable config: it is -addr of this proxy, which can only be set at startup";
    assert_eq!(
        conn.line("CONFIG SET maxmemory 0 PORT 1").error(),
        Some(own)
    );
    assert!(conn.line("CONFIG SET maxmemory-policy allkeys-lru") == "OK");
    assert_eq!(
        value(&conn.line("CONFIG GET maxmemory-policy")).as_deref(),
        Some("allkeys-lru")
    );
    for port in ground.cluster.ports() {
        let reply = ground.cluster.raw(port).line("CONFIG GET maxmemory-policy");
        assert_eq!(value(&reply).as_deref(), Some("allkeys-lru"), "{port}");
    }
    wait_for("INFO to tell it", Duration::from_secs(20), || {
        (conn.info("memory")["maxmemory_policy"] == "allkeys-lru").then_some(())
    });
    assert!(conn.line("CONFIG SET maxmemory-policy noeviction") == "OK");
    let everything = conn.line("CONFIG GET *");
    assert!(everything.items().len() > 300);
    let names: Vec<String> = everything
        .items()
        .iter()
        .step_by(2)
        .map(Reply::text)
        .collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
}

#[test]
fn info_has_the_fields_that_tools_read() {
    let ground = Ground::cleared();
    let mut conn = ground.proxy.conn();
    for number in 0..90 {
        conn.line(&format!("SET key{number} 1 EX 1000"));
    }
    conn.line("GET key1");
    conn.line("LPUSH key1 x");
    conn.line("LPUSH key1");
    conn.line("NOTHING");
    std::thread::sleep(Duration::from_millis(1100));
    let fields = conn.info("everything");
    for name in [
        "redis_version",
        "redis_mode",
        "role",
        "os",
        "tcp_port",
        "run_id",
        "process_id",
        "uptime_in_seconds",
        "connected_clients",
        "blocked_clients",
        "maxclients",
        "used_memory",
        "used_memory_rss",
        "maxmemory",
        "total_system_memory",
        "total_connections_received",
        "total_commands_processed",
        "rejected_connections",
        "total_net_input_bytes",
        "total_net_output_bytes",
        "instantaneous_ops_per_sec",
        "keyspace_hits",
        "keyspace_misses",
        "used_cpu_sys",
        "used_cpu_user",
        "cmdstat_set",
        "cmdstat_config|resetstat",
        "errorstat_WRONGTYPE",
        "errorstat_ERR",
        "latency_percentiles_usec_set",
        "maxmemory_policy",
        "loading",
        "cluster_enabled",
        "db0",
    ] {
        assert!(fields.contains_key(name), "{name}: {fields:#?}");
    }
    assert!(
        fields["db0"].starts_with("keys=90,expires=90,avg_ttl="),
        "{}",
        fields["db0"]
    );
    assert!(
        fields["cmdstat_set"].starts_with("calls=90,usec="),
        "{}",
        fields["cmdstat_set"]
    );
    assert!(fields["cmdstat_lpush"].ends_with("rejected_calls=1,failed_calls=1"));
    assert_eq!(fields["errorstat_WRONGTYPE"], "count=1");
    assert_eq!(fields["errorstat_ERR"], "count=2");
    assert_eq!(fields["total_error_replies"], "3");
    assert_eq!(fields["proxy_masters_summed"], "3");
    // They are all on one machine.
    let machine = ground.single.conn().info("memory")["total_system_memory"].clone();
    assert_eq!(fields["total_system_memory"], machine);
    // Every field of Redis' own sections that describe data is there, and in its order.
    let names = |conn: &mut Conn, section: &str| -> Vec<String> {
        let text = conn.line(&format!("INFO {section}")).text();
        let names = text
            .lines()
            .map(|line| line.split(':').next().unwrap().to_string());
        // Servers from 7.4 on have the latter.
        let added = |name: &str| name.starts_with("proxy_") || name == "pubsub_clients";
        names.filter(|name| !added(name)).collect()
    };
    for section in ["memory", "persistence", "stats", "replication", "clients"] {
        let own = names(&mut conn, section);
        assert_eq!(own, names(&mut ground.single.conn(), section), "{section}");
    }
    let two = conn.info("clients KEYSPACE");
    assert!(two.contains_key("db0") && two.contains_key("maxclients") && two.len() < 12);
    let default = conn.info("");
    assert!(!default.contains_key("cmdstat_set") && default.contains_key("used_memory"));
    assert!(conn.line("CONFIG RESETSTAT") == "OK");
    assert!(!conn.info("commandstats").contains_key("cmdstat_set"));
}

#[test]
fn a_replica_that_is_down_or_silent_holds_up_no_command() {
    let ground = Ground::cleared();
    let mut conn = ground.proxy.conn();
    let replica = ground.cluster.replicas_of(ground.cluster.master_of(0))[0];
    let lines = [
        "SLOWLOG LEN",
        "PUBSUB NUMPAT",
        "SCRIPT FLUSH",
        "CONFIG GET save",
        "SLOWLOG GET",
    ];
    let check = |conn: &mut Conn, limit: Duration| {
        for line in lines {
            let (begun, stalls) = (Instant::now(), Stalls::watch());
            let reply = conn.line(line);
            assert!(!reply.is_error(), "{line}: {reply:?}");
            let took = begun.elapsed();
            assert!(took < limit + stalls.allowance(), "{line}: {took:?}");
        }
    };
    check(&mut conn, Duration::from_secs(1));
    ground.cluster.freeze(replica);
    check(&mut conn, Duration::from_millis(1500));
    ground.cluster.thaw(replica);
    check(&mut conn, Duration::from_secs(1));
    ground.cluster.kill(replica);
    check(&mut conn, Duration::from_secs(1));
    ground.cluster.restart(replica);
    ground.cluster.wait_until_ready();
    wait_for(
        "the replica to be asked again",
        Duration::from_secs(30),
        || {
            conn.line("SLOWLOG RESET");
            let mut raw = ground.cluster.raw(replica);
            let asked = raw
                .info("commandstats")
                .contains_key("cmdstat_slowlog|reset");
            asked.then_some(())
        },
    );
}

#[test]
fn info_is_given_while_a_master_is_silent() {
    let ground = Ground::cleared();
    let mut conn = ground.proxy.conn();
    let master = ground.cluster.master_of(0);
    std::thread::sleep(Duration::from_millis(1100));
    ground.cluster.freeze(master);
    let (begun, stalls) = (Instant::now(), Stalls::watch());
    let fields = conn.info("");
    let (took, allowance) = (begun.elapsed(), stalls.allowance());
    ground.cluster.thaw(master);
    ground.cluster.wait_until_ready();
    assert_eq!(fields["proxy_masters_summed"], "2");
    assert!(took < Duration::from_millis(1500) + allowance, "{took:?}");
}

#[test]
fn without_a_cluster_there_is_still_an_answer() {
    let proxy = Proxy::spawn(&["127.0.0.1:1".to_string()], &[], &[]);
    proxy.wait_until_answering();
    let mut conn = proxy.conn();
    let fields = conn.info("");
    assert_eq!(
        (fields["loading"].as_str(), fields["role"].as_str()),
        ("0", "master")
    );
    assert_eq!(fields["maxmemory_policy"], "noeviction");
    assert_eq!(conn.line("CONFIG GET save databases").items().len(), 4);
    assert!(conn.line("CONFIG RESETSTAT") == "OK");
    assert!(
        conn.line("SCAN 0")
            .error()
            .is_some_and(|error| error.starts_with("CLUSTERDOWN"))
    );
    assert_eq!(conn.line("SCAN x").error(), Some("ERR invalid cursor"));
}
