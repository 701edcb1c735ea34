//! Shards whose masters change or are gone: what goes to a shard as a whole follows its master, and reads go on at its
//! replicas.

use crate::support::{Cluster, Conn, Proxy, Reply, key_in_slot, slot_of, wait_for};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KEYS: u16 = 60;

/// Keys all over the cluster.
fn keys() -> Vec<String> {
    (0..KEYS)
        .map(|n| key_in_slot(n * (16384 / KEYS), "shard"))
        .collect()
}

fn set_all(conn: &mut Conn, keys: &[String]) {
    for key in keys {
        assert_eq!(conn.command(&["SET", key, "here"]), "OK");
    }
}

/// Waits until each replica has the keys of its master.
fn wait_for_copies(cluster: &Cluster, keys: &[String]) {
    let total = keys.len() as i64;
    let count = |ports: Vec<u16>| -> i64 {
        let sizes = ports
            .iter()
            .map(|port| cluster.raw(*port).line("DBSIZE").int());
        sizes.sum()
    };
    wait_for("the replicas to have all", Duration::from_secs(20), || {
        (count(cluster.ports()) == 2 * total).then_some(())
    });
}

/// The master is dead, nobody may be promoted, and the replica may serve reads: reads go on, whatever happens to
/// writes meanwhile.
#[test]
fn reads_go_on_at_a_replica_whose_master_is_gone() {
    let cluster = Cluster::start_with(
        3,
        1,
        &[
            "--cluster-allow-reads-when-down",
            "yes",
            "--cluster-replica-no-failover",
            "yes",
            "--cluster-require-full-coverage",
            "yes",
        ],
    );
    let proxy = Proxy::start(&cluster, &["-read-prefer", "1", "-park-timeout", "1s"]);
    let (mut conn, keys) = (proxy.conn(), keys());
    set_all(&mut conn, &keys);
    wait_for_copies(&cluster, &keys);
    let victim = cluster.masters()[1];
    let hit = keys
        .iter()
        .find(|key| cluster.master_of(slot_of(key)) == victim);
    let hit = hit.expect("a key of the victim").clone();
    let mget = [vec!["MGET".to_string()], keys.clone()].concat();
    let exists = [vec!["EXISTS".to_string()], keys.clone()].concat();
    cluster.kill(victim);
    let began = Instant::now();
    let writer = {
        let mut conn = proxy.conn();
        std::thread::spawn(move || {
            let mut refused = 0;
            // On a busy machine the nodes may not call it dead for a while.
            let waits = |refused| refused <= 20 && began.elapsed() < Duration::from_secs(60);
            while began.elapsed() < Duration::from_secs(9) || waits(refused) {
                refused += usize::from(conn.command(&["SET", &hit, "never"]).is_error());
                std::thread::sleep(Duration::from_millis(5));
            }
            refused
        })
    };
    let mut rounds = 0;
    // The nodes call it dead after a second; a new client must be served, too.
    while began.elapsed() < Duration::from_secs(10) || !writer.is_finished() {
        let mut fresh = proxy.conn();
        for conn in [&mut conn, &mut fresh] {
            for key in &keys {
                assert_eq!(conn.command(&["GET", key]), "here", "{key}");
            }
            let values = conn.command(&mget);
            assert!(values.items().iter().all(|value| *value == "here"));
            assert_eq!(conn.command(&exists).int(), i64::from(KEYS));
        }
        rounds += 1;
    }
    let refused = writer.join().expect("the writer does not panic");
    assert!(refused > 20, "the slot fails fast for writes: {refused}");
    eprintln!("{rounds} rounds of reads, {refused} writes refused");
    // A proxy that never saw the master.
    let proxy = Proxy::spawn(&cluster.addrs(), &["-read-prefer", "1"], &[]);
    proxy.wait_until_answering();
    let mut conn = proxy.conn();
    wait_for("a table", Duration::from_secs(20), || {
        (conn.command(&["GET", &keys[0]]) == "here").then_some(())
    });
    for key in &keys {
        assert_eq!(conn.command(&["GET", key]), "here", "{key}");
    }
}

/// How often a command was called at a node since its counters were reset.
fn calls(cluster: &Cluster, port: u16, command: &str) -> u64 {
    let stats = cluster.raw(port).line("INFO commandstats").text();
    let prefix = format!("cmdstat_{command}:calls=");
    let mut lines = stats.lines();
    lines
        .find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok())
        .unwrap_or(0)
}

fn texts(reply: &Reply) -> BTreeSet<String> {
    reply.items().iter().map(Reply::text).collect()
}

/// Keys that a whole SCAN finds.
fn scanned(conn: &mut Conn) -> BTreeSet<String> {
    let (mut cursor, mut found) = ("0".to_string(), BTreeSet::new());
    loop {
        let reply = conn.command(&["SCAN", &cursor, "COUNT", "100"]);
        let [next, keys] = reply.items() else {
            panic!("{reply:?}");
        };
        found.extend(texts(keys));
        cursor = next.text();
        if cursor == "0" {
            return found;
        }
    }
}

/// What each of these clients does again and again, and whether the reply is right.
type Step = (&'static str, fn(&Reply, &BTreeSet<String>) -> bool);

const STEPS: &[Step] = &[
    ("DBSIZE", |reply, keys| {
        *reply == Reply::Int(keys.len() as i64)
    }),
    ("KEYS *", |reply, keys| {
        !reply.is_error() && texts(reply) == *keys
    }),
    ("RANDOMKEY", |reply, keys| keys.contains(&reply.text())),
    ("SCRIPT LOAD return", |reply, _| reply.text().len() == 40),
    ("SCRIPT EXISTS nothing", |reply, _| {
        !reply.is_error() && reply.items() == [Reply::Int(0)]
    }),
    (
        "FUNCTION LOAD REPLACE #!lua\tname=l\nredis.register_function('f',function()return\t1\tend)",
        |reply, _| *reply == "l",
    ),
    ("FUNCTION LIST", |reply, _| !reply.is_error()),
    ("CONFIG SET maxmemory-samples 7", |reply, _| *reply == "OK"),
    ("CONFIG GET maxmemory-samples", |reply, _| !reply.is_error()),
    // A dead master is not waited for, so its keys may be missing; none counts twice.
    ("INFO keyspace", |reply, keys| {
        let text = reply.text();
        let count = text
            .split_once("keys=")
            .and_then(|(_, rest)| rest.split(',').next());
        let count: Option<usize> = count.and_then(|count| count.parse().ok());
        count.is_some_and(|count| count > 0 && count <= keys.len())
    }),
    ("SLOWLOG RESET", |reply, _| *reply == "OK"),
];

/// Runs each step by a client of its own until `work` is done; every reply has to be right.
fn meanwhile(proxy: &Proxy, keys: &[String], work: impl FnOnce()) {
    let keys: BTreeSet<String> = keys.iter().cloned().collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (keys, stop) = (&keys, &stop);
        let clients: Vec<_> = STEPS
            .iter()
            .map(|(name, is_right)| {
                scope.spawn(move || {
                    let mut conn = proxy.conn();
                    let (mut done, mut longest) = (0, Duration::ZERO);
                    while !stop.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        let reply = conn.command(&name.split(' ').collect::<Vec<_>>());
                        assert!(is_right(&reply, keys), "{name} after {done}: {reply:?}");
                        longest = longest.max(began.elapsed());
                        done += 1;
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    (done, longest)
                })
            })
            .collect();
        let scanner = scope.spawn(move || {
            let (mut conn, mut done) = (proxy.conn(), 0);
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(scanned(&mut conn), *keys, "SCAN after {done}");
                done += 1;
            }
        });
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        {
            let _stop = Stop(stop);
            work();
        }
        if let Err(panic) = scanner.join() {
            std::panic::resume_unwind(panic);
        }
        for ((name, _), client) in STEPS.iter().zip(clients) {
            match client.join() {
                Ok((done, longest)) => eprintln!("{name}: {done} times, the longest {longest:?}"),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
}

/// A master is killed and comes back as a replica: what goes to all masters waits for the one that is promoted, and no
/// reply lacks a shard, or has one twice.
#[test]
fn what_goes_to_all_masters_follows_a_failover() {
    let cluster = Cluster::start(3, 1);
    let proxy = Proxy::start(&cluster, &["-park-timeout", "20s", "-log-every-n", "0"]);
    let (mut conn, keys) = (proxy.conn(), keys());
    set_all(&mut conn, &keys);
    wait_for_copies(&cluster, &keys);
    meanwhile(&proxy, &keys, || {
        for slot in [0, 16383] {
            std::thread::sleep(Duration::from_millis(200));
            let victim = cluster.master_of(slot);
            cluster.kill(victim);
            wait_for("a new master", Duration::from_secs(30), || {
                cluster.find_master_of(slot).filter(|port| *port != victim)
            });
            std::thread::sleep(Duration::from_millis(300));
            cluster.restart(victim);
            cluster.wait_until_ready();
            wait_for_copies(&cluster, &keys);
        }
    });
    // The same for what may wipe keys: each is followed by what a client writes next.
    let victim = cluster.master_of(8000);
    let wipe: Vec<Vec<&str>> = [vec!["FLUSHALL"]]
        .into_iter()
        .chain(keys.iter().map(|key| vec!["SET", key, "again"]))
        .chain([vec!["DBSIZE"], vec!["FLUSHDB", "ASYNC"], vec!["DBSIZE"]])
        .collect();
    cluster.kill(victim);
    let mut rounds = 0;
    loop {
        let served = cluster.find_master_of(8000).is_some();
        let replies = conn.pipeline(&wipe);
        let (last, sets) = replies
            .split_last_chunk::<3>()
            .map(|(a, b)| (b, a))
            .expect("all");
        // A write that was under way when the node died may be lost, and says so; FLUSHALL never is.
        let lost = sets[1..].iter().filter(|reply| **reply != "OK").count();
        assert!(sets[0] == "OK" && last[1] == "OK", "{sets:?} {last:?}");
        assert_eq!(last[2], Reply::Int(0));
        assert!(rounds == 0 || lost == 0, "{sets:?}");
        if lost == 0 {
            assert_eq!(last[0], Reply::Int(i64::from(KEYS)), "round {rounds}");
        }
        rounds += 1;
        if served && rounds > 3 {
            break;
        }
    }
}

/// A planned failover that the proxy has not heard of: a replica would answer DBSIZE and the like, too, and says READONLY to
/// FLUSHALL.
#[test]
fn what_goes_to_all_masters_follows_a_planned_failover_at_once() {
    let cluster = Cluster::start(3, 1);
    let proxy = Proxy::start(&cluster, &["-slots-reload-interval", "60s"]);
    let (mut conn, keys) = (proxy.conn(), keys());
    let fail_over = || {
        let before = cluster.master_of(8000);
        let heir = cluster.replicas_of(before)[0];
        cluster.failover(heir);
        for port in [before, heir] {
            assert_eq!(cluster.raw(port).line("CONFIG RESETSTAT"), "OK");
        }
        (before, heir)
    };
    type IsRight = fn(&Reply) -> bool;
    let reads: [(&str, &str, IsRight); 4] = [
        ("DBSIZE", "dbsize", |reply| {
            *reply == Reply::Int(i64::from(KEYS))
        }),
        ("KEYS *", "keys", |reply| {
            reply.items().len() == usize::from(KEYS)
        }),
        ("RANDOMKEY", "randomkey", |reply| !reply.is_nil()),
        ("LASTSAVE", "lastsave", |reply| reply.int() > 0),
    ];
    set_all(&mut conn, &keys);
    for (line, name, is_right) in reads {
        // All keys asked for before, so that the proxy has a connection to each master.
        assert!(!conn.line("DBSIZE").is_error());
        wait_for_copies(&cluster, &keys);
        let (_, heir) = fail_over();
        let reply = conn.line(line);
        assert!(is_right(&reply), "{line}: {reply:?}");
        // A read may be sent again: what counts is that the reply is that of the new master.
        assert!(calls(&cluster, heir, name) >= 1, "{line} at the new master");
    }
    for line in ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"] {
        set_all(&mut conn, &keys);
        fail_over();
        // All in one go: what stands behind is not wiped.
        let mut all = vec![line.split(' ').collect::<Vec<&str>>()];
        all.extend(keys.iter().map(|key| vec!["SET", key, "behind"]));
        all.push(vec!["DBSIZE"]);
        let replies = conn.pipeline(&all);
        let (size, others) = replies.split_last().expect("all");
        assert!(
            others.iter().all(|reply| *reply == "OK"),
            "{line}: {others:?}"
        );
        assert_eq!(*size, Reply::Int(i64::from(KEYS)), "{line}");
    }
}
