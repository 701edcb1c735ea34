//! All keys, by SCAN, KEYS, DBSIZE and INFO: a small keyspace is one page, and nodes that join, come back or have lost their
//! slots double nothing.

use crate::support::{Cluster, Conn, Proxy, Reply, Server, Single, key_in_slot, wait_for};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

/// A whole scan: all that came, in its order, and the number of calls.
fn scan(conn: &mut Conn, options: &str) -> (Vec<String>, usize) {
    let (mut cursor, mut found) = ("0".to_string(), Vec::new());
    for call in 1..10_000 {
        let reply = conn.line(&format!("SCAN {cursor} {options}"));
        let [next, keys] = reply.items() else {
            panic!("SCAN {cursor} {options}: {reply:?}");
        };
        found.extend(keys.items().iter().map(Reply::text));
        cursor = next.text();
        if cursor == "0" {
            return (found, call);
        }
    }
    panic!("a scan without an end");
}

/// The keys of a scan, none of which came twice.
#[track_caller]
fn scan_once(conn: &mut Conn, options: &str) -> BTreeSet<String> {
    let (found, _) = scan(conn, options);
    let count = found.len();
    let found: BTreeSet<String> = found.into_iter().collect();
    assert_eq!(count, found.len(), "SCAN {options}: a key came twice");
    found
}

/// A page has what it found in 50 ms, which a busy machine may not give three nodes: then another is asked for, so often.
const CUT_MAX: usize = 20;

/// A scan that is one page: all that came.
#[track_caller]
fn one_page(conn: &mut Conn, options: &str) -> Vec<String> {
    let scans = (0..CUT_MAX).map(|_| scan(conn, options));
    let mut whole = scans.filter(|(_, calls)| *calls == 1);
    let page = whole.next();
    page.unwrap_or_else(|| panic!("SCAN {options}: never one page"))
        .0
}

#[test]
fn a_small_keyspace_is_one_page() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let single = Single::start();
    for protocol in ["2", "3"] {
        let mut proxy = Conn::open(proxy.addr(), protocol);
        let mut single = Conn::open(&single.addr(), protocol);
        let mut both = |line: &str| {
            let ask = |conn: &mut Conn| -> Vec<Reply> {
                line.split(" | ").map(|line| conn.line(line)).collect()
            };
            let expected = ask(&mut single);
            let mut seen = ask(&mut proxy);
            for _ in 0..CUT_MAX {
                let is_cut = line.contains("SCAN") && !seen[0].is_error() && seen != expected;
                if is_cut {
                    seen = ask(&mut proxy);
                }
            }
            assert_eq!(seen, expected, "{line}");
        };
        for line in [
            "FLUSHALL",
            "SCAN 0",
            "SCAN 0 COUNT 1000",
            "SCAN 0 MATCH x* TYPE hash",
            // Not all servers take these for cursors.
            "SCAN -1",
            "SCAN -1 COUNT 10",
            "SCAN -1 COUNT 0",
            "SCAN \" 1\"",
            "SCAN \"\"",
            "SCAN +0",
            "SCAN 1x",
            "SCAN 18446744073709551616",
            "SET a 1",
            "SCAN 0",
            "SCAN 0 COUNT 1000",
            "SCAN 0 MATCH a COUNT 100 TYPE string",
            "SCAN 0 MATCH b COUNT 100",
            "SCAN 0 COUNT 0",
            "SCAN 0 COUNT x",
            "SCAN 0 COUNT 1 MATCH",
            "SCAN 0 NOTHING 1",
            "MULTI | SCAN 0 COUNT 1000 | EXEC",
        ] {
            both(line);
        }
        // Three keys, one at each master.
        for slot in [0, 8000, 16000] {
            both(&format!("SET {} 1", key_in_slot(slot, "k")));
        }
        let found = one_page(&mut proxy, "COUNT 1000");
        assert_eq!(found.len(), 4);
        let keys: BTreeSet<String> = found.into_iter().collect();
        assert_eq!(keys, scan_once(&mut single, "COUNT 1000"));
    }
}

#[test]
fn every_option_finds_what_one_server_finds() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let single = Single::start();
    let (mut proxy, mut single) = (proxy.conn(), single.conn());
    for number in 0..500 {
        let line = match number % 4 {
            0 => format!("HSET hash:{number} f v"),
            1 => format!("RPUSH {{tag}}list:{number} v"),
            2 => format!("SET key:{number} v"),
            _ => format!("SADD set:{number} v"),
        };
        for conn in [&mut proxy, &mut single] {
            assert!(!conn.line(&line).is_error());
        }
    }
    for count in ["", "COUNT 1", "COUNT 7", "COUNT 100", "COUNT 100000"] {
        for pattern in ["", "MATCH *", "MATCH key:*1*", "MATCH {tag}*", "MATCH no*"] {
            for kind in ["", "TYPE string", "TYPE list", "TYPE stream"] {
                let options = format!("{pattern} {count} {kind}");
                let options = options.split_whitespace().collect::<Vec<_>>().join(" ");
                let expected = scan_once(&mut single, &options);
                assert_eq!(scan_once(&mut proxy, &options), expected, "{options}");
            }
        }
    }
    // A call whose page is full asks nobody else, and one that is large is one page.
    assert!(scan(&mut proxy, "COUNT 10").1 >= 25);
    assert_eq!(one_page(&mut proxy, "COUNT 100000").len(), 500);
}

/// What is asked about all keys, and the number of keys that the reply speaks of: for SCAN all that it returned, twice if
/// it came twice.
type Question = (&'static str, fn(&mut Conn) -> usize);

const QUESTIONS: &[Question] = &[
    ("DBSIZE", |conn| conn.line("DBSIZE").int() as usize),
    ("KEYS", |conn| conn.line("KEYS *").items().len()),
    ("INFO keyspace", |conn| keyspace(conn)),
    ("SCAN", |conn| scan(conn, "COUNT 25").0.len()),
];

/// How many keys INFO speaks of.
fn keyspace(conn: &mut Conn) -> usize {
    let info = conn.info("keyspace");
    let Some(fields) = info.get("db0") else {
        return 0;
    };
    let mut fields = fields.split(',');
    let keys = fields.find_map(|field| field.strip_prefix("keys="));
    keys.expect("keys").parse().expect("a number")
}

/// Asks all questions again and again until `work` is done: each reply has to speak of so many keys.
fn meanwhile(proxy: &Proxy, keys: usize, work: impl FnOnce()) {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (name, ask) in QUESTIONS {
            let stop = &stop;
            scope.spawn(move || {
                let (mut conn, mut rounds) = (proxy.conn(), 0);
                while !stop.load(Ordering::Relaxed) || rounds == 0 {
                    assert_eq!(ask(&mut conn), keys, "{name} after {rounds}");
                    rounds += 1;
                }
                eprintln!("{name}: {rounds} times");
            });
        }
        let _stop = Stop(&stop);
        work();
    });
}

fn set_keys(conn: &mut Conn, count: usize) {
    let keys: Vec<String> = (0..count).map(|number| format!("key:{number}")).collect();
    let sets: Vec<Vec<&str>> = keys.iter().map(|key| vec!["SET", key, "v"]).collect();
    assert!(conn.pipeline(&sets).iter().all(|reply| *reply == "OK"));
}

fn join(joiner: &mut Conn, cluster: &Cluster) {
    let id = joiner.line("CLUSTER MYID").text();
    let mut met_at: Option<Instant> = None;
    wait_for("all to know the new node", 3 * LIMIT, || {
        // A node that is busy may not shake hands within the node timeout of a second, and forgets that it was to.
        if met_at.is_none_or(|at| at.elapsed() > Duration::from_secs(3)) {
            // All of them: one that is met by one of them alone may never be heard of by the rest.
            for port in cluster.ports() {
                assert_eq!(joiner.line(&format!("CLUSTER MEET 127.0.0.1 {port}")), "OK");
            }
            met_at = Some(Instant::now());
        }
        let knows = |conn: &mut Conn, id: &str| {
            let nodes = conn.line("CLUSTER NODES").text();
            let known = nodes.lines().filter(|line| !line.contains("handshake"));
            nodes.contains(id) && known.count() > cluster.ports().len()
        };
        let mut ports = cluster.ports().into_iter();
        let known = ports.all(|port| knows(&mut cluster.raw(port), &id));
        (known && knows(joiner, &id)).then_some(())
    });
}

/// Issue 14.32: a node that is told whose replica it is some time after it was met has all keys of its master, and the others
/// still call it a master without slots for a while.
#[test]
fn a_replica_that_joins_doubles_nothing() {
    const KEYS: usize = 200;
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    set_keys(&mut proxy.conn(), KEYS);
    let joining = Server::start(&[
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "1000",
        // Its master may be silent for a second on a busy machine, and is to stay the master.
        "--cluster-replica-no-failover",
        "yes",
    ]);
    let mut joiner = joining.conn();
    let master = cluster.master_of(0);
    let id = cluster.raw(master).line("CLUSTER MYID").text();
    meanwhile(&proxy, KEYS, || {
        for _ in 0..3 {
            join(&mut joiner, &cluster);
            // The proxy has seen it without slots, and asks it.
            std::thread::sleep(Duration::from_millis(1200));
            let line = format!("CLUSTER REPLICATE {id}");
            assert_eq!(joiner.line(&line), "OK");
            let held = cluster.raw(master).line("DBSIZE").int();
            wait_for("a copy of all", LIMIT, || {
                (joiner.line("DBSIZE").int() == held).then_some(())
            });
            // As long as the others may believe the old.
            std::thread::sleep(Duration::from_millis(1500));
            // And it leaves.
            assert_eq!(joiner.line("CLUSTER RESET HARD"), "OK");
            for port in cluster.ports() {
                let mut conn = cluster.raw(port);
                let nodes = conn.line("CLUSTER NODES").text();
                let lines = nodes.lines();
                let gone = lines.filter(|line| line.contains(&format!(":{}@", joining.port())));
                for line in gone {
                    let id = line.split(' ').next().expect("an id");
                    conn.line(&format!("CLUSTER FORGET {id}"));
                }
            }
        }
    });
}

/// A master gives its slots away and keeps the keys, as after a repair by hand: no client can reach them, so they are no
/// part of the whole.
#[test]
fn keys_left_at_a_master_without_slots_do_not_count() {
    const KEYS: usize = 120;
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    set_keys(&mut proxy.conn(), KEYS);
    let (heir, old) = (cluster.master_of(0), cluster.master_of(16383));
    let left = cluster.raw(old).line("DBSIZE").int() as usize;
    assert!(left > 10 && left < KEYS);
    // The old owner first: as long as it claims them, the others take its word for it.
    let others = cluster.ports().into_iter().filter(|port| *port != old);
    for port in [old].into_iter().chain(others) {
        let reply = cluster.raw(port).line("CLUSTER DELSLOTSRANGE 10922 16383");
        assert_eq!(reply, "OK", "{port}");
    }
    let mut conn = cluster.raw(heir);
    assert_eq!(conn.line("CLUSTER ADDSLOTSRANGE 10922 16383"), "OK");
    assert!(!conn.line("CLUSTER BUMPEPOCH").is_error());
    wait_for("the others to hear of it", LIMIT, || {
        let mut ports = cluster.ports().into_iter();
        let owners = |port: u16| cluster.raw(port).line("CLUSTER SLOTS").items().len();
        ports.all(|port| owners(port) == 3).then_some(())
    });
    assert_eq!(cluster.raw(old).line("DBSIZE").int() as usize, left);
    let mut own = proxy.conn();
    wait_for("the proxy to hear of it", LIMIT, || {
        (own.line("DBSIZE").int() as usize == KEYS - left).then_some(())
    });
    meanwhile(&proxy, KEYS - left, || {
        std::thread::sleep(Duration::from_millis(1500));
    });
    assert_eq!(cluster.raw(old).line("DBSIZE").int() as usize, left);
}
