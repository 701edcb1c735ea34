//! MULTI, EXEC, DISCARD, WATCH and UNWATCH through the proxy, compared with one cluster node that has all slots,
//! and put through what happens to clusters.

use crate::support::{self, Cluster, Conn, Proxy, Random, Reply, key_in_slot, session, slot_of};
use std::sync::OnceLock;
use std::time::Duration;

/// One node with all slots, and a cluster of three behind a proxy.
fn ground() -> &'static (Cluster, Cluster, Proxy) {
    static GROUND: OnceLock<(Cluster, Cluster, Proxy)> = OnceLock::new();
    GROUND.get_or_init(|| {
        let one = Cluster::start(1, 0);
        let cluster = Cluster::start(3, 0);
        let proxy = Proxy::start(&cluster, &[]);
        (one, cluster, proxy)
    })
}

/// Sequences of one client, `|` between its requests; `2:` is said by another client. Each begins with a
/// cluster whose keys `a`, `b`, `f` and `{a}l` do not exist; `b` and `f` are in two slots of one node, `a` is
/// at another.
const SEQUENCES: &[&str] = &[
    "MULTI | SET a 1 | GET a | EXEC | GET a",
    "MULTI | EXEC",
    "MULTI | PING | ECHO hi | TYPE a | EXEC",
    "MULTI | PING | PING there | EXEC",
    "MULTI | SET a 1 | PING | INCR a | ECHO x | GET a | EXEC",
    "MULTI | MULTI | SET a 1 | MULTI | EXEC | GET a",
    "MULTI | WATCH a | SET a 1 | WATCH a | EXEC | GET a",
    "EXEC | DISCARD | UNWATCH | MULTI | DISCARD | EXEC",
    "MULTI | SET a 1 | DISCARD | GET a | MULTI | SET a 2 | EXEC | GET a",
    "MULTI | SET a | SET a 1 | EXEC | GET a | EXEC",
    "MULTI | NOSUCH | SET a 1 | EXEC | GET a",
    "MULTI | SET a 1 | NOSUCH x y | DISCARD | GET a",
    "MULTI | SET a x | INCR a | GET a | EXEC | GET a",
    "MULTI | SET a 1 | SET b 2 | EXEC | GET a | GET b",
    "MULTI | SET a 1 | SET b 2 | SET a | EXEC | GET a",
    "MULTI | SET a 1 | SET a | SET b 2 | EXEC | GET a",
    "MULTI | SET a 1 | PUBLISH other x | PUBLISH b y | GET a | EXEC",
    "MULTI | PUBLISH other x | SET a 1 | EXEC | GET a",
    "MULTI | PUBLISH other x | PUBLISH b y | EXEC",
    "WATCH a | MULTI | PUBLISH other x | EXEC",
    "MULTI | MGET a b | EXEC",
    "MULTI | MSET a 1 b 2 | SET a 1 | EXEC | GET a",
    "MULTI | MSET a 1 {a}b 2 | MGET a {a}b | DEL a {a}b nokey{a} | EXEC",
    "MULTI | SET a 1 | EXEC x | EXEC | GET a",
    "MULTI | SET a 1 | DISCARD x | EXEC | GET a",
    "MULTI x | EXEC | UNWATCH x | WATCH",
    "MULTI | SYNC | EXEC",
    "MULTI | SET a 1 | RESET | GET a | EXEC",
    "MULTI | UNWATCH | SET a 1 | EXEC",
    "WATCH a | MULTI | SET a 1 | EXEC | GET a",
    "WATCH a | SET a 5 | MULTI | SET a 1 | EXEC | GET a",
    "WATCH a | 2: SET a 5 | MULTI | SET a 1 | EXEC | GET a",
    "WATCH a | MULTI | 2: SET a 5 | SET a 1 | EXEC | GET a | MULTI | SET a 7 | EXEC | GET a",
    "WATCH a | MULTI | SET a 1 | 2: SET a 5 | EXEC | GET a",
    "WATCH a | 2: SET a 5 | UNWATCH | MULTI | SET a 1 | EXEC | GET a",
    "WATCH a | 2: SET a 5 | MULTI | DISCARD | MULTI | SET a 1 | EXEC | GET a",
    "WATCH a | 2: SET a 5 | RESET | MULTI | SET a 1 | EXEC | GET a",
    "WATCH a | 2: SET a 5 | MULTI | EXEC",
    "WATCH a | 2: SET a 5 | MULTI | PING | EXEC",
    "WATCH a | MULTI | PING | EXEC | MULTI | EXEC",
    "WATCH a | 2: SET a 5 | MULTI | SET a | EXEC | GET a",
    "WATCH b | WATCH f | MULTI | SET b 1 | EXEC | GET b",
    "WATCH b | WATCH f | MULTI | SET f 1 | EXEC | GET f",
    "WATCH b | WATCH f | 2: SET f 9 | MULTI | SET b 5 | EXEC | GET b",
    "WATCH b | WATCH f | 2: SET b 9 | MULTI | SET f 5 | EXEC | GET f",
    "WATCH b | MULTI | SET f 2 | EXEC | GET f",
    "WATCH b | MULTI | SET f 2 | SET b 3 | EXEC | GET f",
    "WATCH b | MULTI | PING | SET f 2 | INCR f | EXEC | GET f",
    "WATCH b f | MULTI | SET b 1 | EXEC",
    "WATCH a | NOSUCH | SET a | MULTI | SET a 1 | EXEC | GET a",
    "WATCH a | RENAME a b | MULTI | SET a 1 | EXEC | GET a",
    "WATCH {a}l a | GET a | 2: LPUSH {a}l x | MULTI | GET a | EXEC",
    "WATCH a | WATCH {a}l | 2: LPUSH {a}l x | MULTI | GET a | EXEC",
    "WATCH a b | MULTI | SET a 1 | EXEC",
    "WATCH a | GET a | GET b | MULTI | SET a 1 | EXEC",
    "WATCH a | EXEC | 2: SET a 5 | MULTI | GET a | EXEC",
    "MULTI | BLPOP {a}l 0 | RPUSH {a}l x | BLPOP {a}l 0 | XREAD BLOCK 0 STREAMS {a}s $ | EXEC",
    "MULTI | EVAL \"return 7\" 0 | EXEC | MULTI | EVAL \"return redis.call('INCR',KEYS[1])\" 1 a | EXEC",
    "MULTI | CLIENT SETNAME me | CLIENT GETNAME | SET a 1 | CLIENT GETNAME | EXEC | CLIENT GETNAME",
    "MULTI | SELECT 0 | TYPE a | EXEC",
    "MULTI | LPUSH {a}l 1 2 3 | LRANGE {a}l 0 -1 | HSET {a}h f v | HGETALL {a}h | ZADD {a}z 1 m | \
     ZRANGE {a}z 0 -1 WITHSCORES | EXEC | DEL {a}h {a}z",
    "CLIENT SETNAME tx | MULTI | GET a | RESET | CLIENT GETNAME",
    "MULTI | SET a 1 | SET a | RESET | MULTI | SET a 3 | EXEC",
];

fn clear(conn: &mut Conn) {
    for key in ["a", "b", "f", "{a}l"] {
        assert!(!conn.command(&["DEL", key]).is_error());
    }
}

#[test]
fn a_transaction_is_answered_as_by_one_node() {
    let (one, _, proxy) = ground();
    let node = format!("127.0.0.1:{}", one.ports()[0]);
    let mut different = Vec::new();
    for sequence in SEQUENCES {
        for (protocol, at_once) in [("2", false), ("2", true), ("3", false), ("3", true)] {
            let expected = session::replies(&node, sequence, protocol, at_once, clear);
            let found = session::replies(proxy.addr(), sequence, protocol, at_once, clear);
            if found != expected {
                different.push(format!(
                    "{sequence} (RESP{protocol}, at once: {at_once})\n  one node {expected:?}\n  proxy    {found:?}"
                ));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// What has no place inside a transaction is refused when it comes, and nothing of the transaction runs.
#[test]
fn what_cannot_be_queued_says_so() {
    let (_, _, proxy) = ground();
    let mut conn = proxy.conn();
    let key = "cannot be queued";
    for request in ["SAVE", "SYNC", "SHUTDOWN", "CLUSTER", "NOSUCH", "DBSIZE x"] {
        assert_eq!(conn.line("MULTI"), "OK");
        assert_eq!(conn.command(&["SET", key, "1"]), "QUEUED");
        assert!(conn.line(request).is_error(), "{request}");
        let error = conn.line("EXEC");
        assert!(error.error().expect(request).starts_with("EXECABORT"));
        assert!(conn.command(&["GET", key]).is_nil());
    }
}

#[track_caller]
fn other_master(cluster: &Cluster, port: u16) -> u16 {
    let masters = cluster.masters();
    *masters.iter().find(|own| **own != port).expect("another")
}

/// A slot moves at every point of a transaction: nobody sees it, but for who watches.
#[test]
fn a_slot_may_move_at_any_point() {
    let cluster = Cluster::start(2, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let mut conn = proxy.conn();
    for (watch, point) in (0..5).flat_map(|point| [(false, point), (true, point)]) {
        // Each slot moves once, and all the same way: moving back at once confuses a cluster.
        let slot = 1000 + 2 * point + u16::from(watch);
        let (key, list) = (key_in_slot(slot, "moves"), key_in_slot(slot, "moves list"));
        assert_eq!(conn.command(&["SET", &key, "0"]), "OK");
        let mut steps = 0;
        let mut maybe_move = || {
            if steps == point {
                let from = cluster.master_of(slot);
                cluster.migrate_slot(slot, from, other_master(&cluster, from));
            }
            steps += 1;
        };
        maybe_move();
        if watch {
            assert_eq!(conn.command(&["WATCH", &key]), "OK");
        }
        maybe_move();
        assert_eq!(conn.line("MULTI"), "OK");
        maybe_move();
        assert_eq!(conn.command(&["INCR", &key]), "QUEUED");
        assert_eq!(conn.command(&["PING"]), "QUEUED");
        maybe_move();
        assert_eq!(conn.command(&["RPUSH", &list, "x"]), "QUEUED");
        maybe_move();
        let reply = conn.line("EXEC");
        let said = conn.command(&["GET", &key]);
        if watch && point > 0 {
            assert!(reply.is_nil(), "{point}: {reply:?}");
            assert_eq!(said, "0");
        } else {
            let expected = [Reply::Int(1), Reply::Simple("PONG".into()), Reply::Int(1)];
            assert_eq!(reply.items(), expected, "watch {watch}, point {point}");
            assert_eq!(said, "1");
        }
    }
}

/// While a slot migrates its keys are at two nodes: transactions follow, each key alone, and those with keys
/// at both wait until they are together.
#[test]
fn a_slot_may_be_migrating() {
    let (_, cluster, proxy) = ground();
    let slot = 2000;
    let keys: Vec<String> = (0..8)
        .map(|n| key_in_slot(slot, &format!("migrating{n}")))
        .collect();
    let mut conn = proxy.conn();
    for key in &keys {
        assert_eq!(conn.command(&["SET", key, "0"]), "OK");
    }
    let from = cluster.master_of(slot);
    let to = other_master(cluster, from);
    cluster.begin_migration(slot, from, to);
    assert_eq!(cluster.move_keys(slot, from, to, 4), 4);
    for round in 1..=3 {
        for key in &keys {
            let commands = [
                vec!["MULTI"],
                vec!["INCR", key],
                vec!["GET", key],
                vec!["EXEC"],
            ];
            let replies = conn.pipeline(&commands);
            let text = round.to_string();
            assert_eq!(
                replies[3].items()[0],
                Reply::Int(round),
                "{key} {replies:?}"
            );
            assert_eq!(replies[3].items()[1], text.as_str());
        }
    }
    // A new key is made at the target.
    let fresh = key_in_slot(slot, "fresh");
    let commands = [vec!["MULTI"], vec!["SET", &fresh, "1"], vec!["EXEC"]];
    assert_eq!(conn.pipeline(&commands)[2].items()[0], "OK");
    // All keys at once have to wait for the end.
    let mut all = vec![vec!["MULTI"]];
    all.extend(keys.iter().map(|key| vec!["INCR", key.as_str()]));
    all.push(vec!["EXEC"]);
    let requests: Vec<u8> = all.iter().flat_map(|words| Conn::encode(words)).collect();
    conn.send(requests);
    std::thread::sleep(Duration::from_millis(100));
    cluster.move_keys(slot, from, to, 100);
    cluster.end_migration(slot, from, to);
    assert_eq!(conn.read_reply(), "OK");
    for _ in &keys {
        assert_eq!(conn.read_reply(), "QUEUED");
    }
    let reply = conn.read_reply();
    assert_eq!(reply.items(), vec![Reply::Int(4); keys.len()]);
}

/// Keys that stay apart: EXEC waits for them as long as may be, and no longer.
#[test]
fn a_slot_may_stay_half_migrated() {
    let (_, cluster, _) = ground();
    let proxy = Proxy::start(cluster, &["-park-timeout", "500ms"]);
    let slot = 2500;
    let keys = [key_in_slot(slot, "half0"), key_in_slot(slot, "half1")];
    let mut conn = proxy.conn();
    for key in &keys {
        assert_eq!(conn.command(&["SET", key, "0"]), "OK");
    }
    let from = cluster.master_of(slot);
    let to = other_master(cluster, from);
    cluster.begin_migration(slot, from, to);
    assert_eq!(cluster.move_keys(slot, from, to, 1), 1);
    conn.set_deadline(Duration::from_secs(5));
    for order in [[0, 1], [1, 0]] {
        let mut all = vec![vec!["MULTI"]];
        all.extend(order.map(|index: usize| vec!["INCR", keys[index].as_str()]));
        all.push(vec!["EXEC"]);
        let replies = conn.pipeline(&all);
        let text = replies[3].error().expect("they are apart");
        assert!(
            text.starts_with("TRYAGAIN ") || text.starts_with("EXECABORT "),
            "{text}"
        );
    }
    cluster.move_keys(slot, from, to, 1);
    cluster.end_migration(slot, from, to);
    for key in &keys {
        assert_eq!(conn.command(&["GET", key]), "0");
    }
}

/// The nodes close our connections between any two requests: nothing of it had run, so that nobody notices;
/// what was watched may have changed meanwhile.
#[test]
fn a_lost_connection_before_exec_is_not_seen() {
    // Its nodes close the connections of other tests, too.
    let cluster = Cluster::start(2, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let key = key_in_slot(3000, "lost");
    let cut = || {
        for port in cluster.masters() {
            cluster.raw(port).line("CLIENT KILL TYPE normal SKIPME yes");
        }
    };
    let mut conn = proxy.conn();
    for watch in [false, true] {
        conn.command(&["DEL", &key]);
        if watch {
            assert_eq!(conn.command(&["WATCH", &key]), "OK");
        }
        cut();
        assert_eq!(conn.line("MULTI"), "OK");
        assert_eq!(conn.command(&["INCR", &key]), "QUEUED");
        cut();
        assert_eq!(conn.command(&["INCR", &key]), "QUEUED");
        cut();
        let reply = conn.line("EXEC");
        if watch {
            assert!(reply.is_nil(), "{reply:?}");
        } else {
            assert_eq!(reply.items(), [Reply::Int(1), Reply::Int(2)]);
        }
    }
}

/// EXEC was sent and its connection is lost, or its reply does not come: it may have run.
#[test]
fn a_lost_connection_behind_exec_is_an_unknown_outcome() {
    let cluster = Cluster::start(1, 0);
    let proxy = Proxy::start(&cluster, &["-request-timeout", "2s"]);
    let master = cluster.ports()[0];
    for (dies, expected) in [
        (false, "ERR backend timeout, command may have been executed"),
        (
            true,
            "ERR backend connection lost, command may have been executed",
        ),
    ] {
        let mut conn = proxy.conn();
        assert_eq!(conn.line("MULTI"), "OK");
        assert_eq!(conn.line("INCR unknown"), "QUEUED");
        cluster.freeze(master);
        conn.send(Conn::encode(&["EXEC"]));
        if dies {
            // What the worker has read before it answers these it has sent on, too.
            for _ in 0..3 {
                assert_eq!(proxy.conn().line("PING"), "PONG");
            }
            cluster.kill(master);
        }
        assert_eq!(conn.read_reply().error(), Some(expected));
        if dies {
            cluster.restart(master);
        } else {
            cluster.thaw(master);
        }
        proxy.wait_until_serving(&cluster);
        // The next one is a new one.
        assert_eq!(conn.line("MULTI"), "OK");
        assert_eq!(conn.line("GET unknown"), "QUEUED");
        assert_eq!(conn.line("EXEC").items().len(), 1);
    }
}

#[test]
fn one_transaction_in_each_slot() {
    let (_, cluster, _) = ground();
    let proxy = Proxy::start(cluster, &["-cross-slot-transactions", "per-slot"]);
    let keys: Vec<String> = (0..20).map(|n| format!("per-slot{n}")).collect();
    let mut conn = proxy.conn();
    for round in 1..=3 {
        assert_eq!(conn.line("MULTI"), "OK");
        assert_eq!(conn.line("PING"), "QUEUED");
        for key in &keys {
            assert_eq!(conn.command(&["INCR", key]), "QUEUED");
            assert_eq!(conn.command(&["ECHO", key]), "QUEUED");
        }
        assert_eq!(conn.command(&["GET", &keys[0]]), "QUEUED");
        let reply = conn.line("EXEC");
        let items = reply.items();
        assert_eq!(items.len(), 2 + 2 * keys.len(), "{reply:?}");
        assert_eq!(items[0], "PONG");
        for (pair, key) in items[1..].chunks_exact(2).zip(&keys) {
            assert_eq!(pair[0], Reply::Int(round));
            assert_eq!(pair[1], key.as_str());
        }
        assert_eq!(items[items.len() - 1], round.to_string().as_str());
    }
    // An error of any slot keeps all from running.
    assert_eq!(conn.line("MULTI"), "OK");
    assert_eq!(conn.command(&["INCR", &keys[0]]), "QUEUED");
    assert_eq!(conn.command(&["INCR", &keys[1]]), "QUEUED");
    assert!(conn.command(&["INCR"]).is_error());
    assert!(conn.line("EXEC").is_error());
    assert_eq!(conn.command(&["GET", &keys[0]]), "3");
    assert_eq!(conn.line("MULTI"), "OK");
    assert_eq!(conn.command(&["INCR", &keys[0]]), "QUEUED");
    assert_eq!(conn.command(&["INCR", &keys[1]]), "QUEUED");
    assert_eq!(conn.line("DISCARD"), "OK");
    assert_eq!(conn.command(&["GET", &keys[0]]), "3");
    assert_ne!(slot_of(&keys[0]), slot_of(&keys[1]));
}

/// What is watched decides over the whole transaction, so it has one slot, as it has by default.
#[test]
fn under_watch_a_transaction_has_one_slot_even_so() {
    let (single, cluster, _) = ground();
    let proxy = Proxy::start(cluster, &["-cross-slot-transactions", "per-slot"]);
    let (key, far) = (key_in_slot(100, "watched"), key_in_slot(16000, "far"));
    let several = ["MSET", &key, "1", &far, "1"];
    for protocol in ["2", "3"] {
        let mut conns = [proxy.conn(), single.raw(single.ports()[0])];
        let (mut other, mut same) = (proxy.conn(), [Vec::new(), Vec::new()]);
        for (conn, replies) in conns.iter_mut().zip(&mut same) {
            conn.line(&format!("HELLO {protocol}"));
            let mut say = |conn: &mut Conn, words: &[&str]| replies.push(conn.command(words));
            // Nobody changes it.
            say(conn, &["SET", &key, "1"]);
            say(conn, &["WATCH", &key]);
            say(conn, &["MULTI"]);
            say(conn, &["INCR", &key]);
            say(conn, &["ECHO", "x"]);
            say(conn, &["EXEC"]);
            // It changes.
            say(conn, &["WATCH", &key]);
            say(conn, &["SET", &key, "5"]);
            say(conn, &["MULTI"]);
            say(conn, &["INCR", &key]);
            say(conn, &["EXEC"]);
            say(conn, &["GET", &key]);
            // It is forgotten.
            say(conn, &["WATCH", &key]);
            say(conn, &["UNWATCH"]);
        }
        assert_eq!(same[0], same[1], "RESP{protocol}");
        let [conn, _] = &mut conns;
        // Another slot.
        assert_eq!(conn.command(&["WATCH", &key]), "OK");
        assert_eq!(conn.line("MULTI"), "OK");
        assert_eq!(conn.command(&["INCR", &key]), "QUEUED");
        conn.command(&["SET", &far, "x"]);
        let error = conn.line("EXEC");
        assert!(error.error().expect("refused").contains("CROSSSLOT"));
        assert_eq!(conn.command(&["WATCH", &key]), "OK");
        assert_eq!(conn.line("MULTI"), "OK");
        assert!(conn.command(&several).is_error());
        assert!(conn.line("EXEC").is_error());
        assert!(conn.command(&["WATCH", &key, &far]).is_error());
        assert_eq!(other.command(&["GET", &key]), "5");
        assert_eq!(other.command(&["EXISTS", &far]), Reply::Int(0));
        // Behind it transactions have several slots again.
        assert_eq!(conn.line("MULTI"), "OK");
        assert_eq!(conn.command(&several), "QUEUED");
        assert_eq!(conn.line("EXEC").items().len(), 1);
        other.command(&["DEL", &far]);
    }
}

#[test]
fn at_the_cap_there_is_an_error_at_once() {
    let (_, cluster, _) = ground();
    let proxy = Proxy::start(cluster, &["-max-transactions", "2"]);
    let mut conns = [proxy.conn(), proxy.conn(), proxy.conn()];
    assert_eq!(conns[0].line("MULTI"), "OK");
    assert_eq!(conns[1].line("WATCH cap"), "OK");
    assert!(conns[2].line("MULTI").is_error());
    assert!(conns[2].line("WATCH cap").is_error());
    assert_eq!(conns[2].line("SET cap 1"), "OK");
    assert_eq!(conns[0].line("DISCARD"), "OK");
    assert_eq!(conns[2].line("MULTI"), "OK");
    assert_eq!(conns[2].line("GET cap"), "QUEUED");
    assert_eq!(conns[2].line("EXEC").items()[0], "1");
    // Who leaves makes room, too.
    let [a, b, mut c] = conns;
    drop((a, b));
    support::wait_for("room", Duration::from_secs(20), || {
        (!c.line("WATCH cap").is_error()).then_some(())
    });
}

#[test]
fn an_idle_transaction_gives_its_connection_back() {
    let cluster = Cluster::start(1, 0);
    let proxy = Proxy::start(&cluster, &["-transaction-idle-timeout", "1s"]);
    let (mut queues, mut watches) = (proxy.conn(), proxy.conn());
    assert_eq!(queues.line("MULTI"), "OK");
    assert_eq!(queues.line("SET idle 1"), "QUEUED");
    assert_eq!(watches.line("WATCH idle"), "OK");
    let lent = || {
        let masters = cluster.masters();
        let lists = masters
            .iter()
            .map(|port| cluster.raw(*port).line("CLIENT LIST").text());
        lists.filter(|list| list.contains("multi=1")).count()
    };
    assert_eq!(lent(), 1);
    support::wait_for(
        "the connection to be taken back",
        Duration::from_secs(30),
        || (lent() == 0 && proxy.counter("proxy_leases_idle") == 2).then_some(()),
    );
    assert_eq!(queues.line("GET idle"), "QUEUED");
    let reply = queues.line("EXEC");
    assert_eq!(reply.items().len(), 2);
    assert_eq!(reply.items()[1], "1");
    assert_eq!(watches.line("MULTI"), "OK");
    assert_eq!(watches.line("SET idle 2"), "QUEUED");
    assert!(watches.line("EXEC").is_nil());
    assert_eq!(watches.line("GET idle"), "1");
}

/// F26: clients leave at any point of a transaction or while they are blocked. Whoever comes next on their
/// connections sees nothing of it: his transaction is never nil because of what they watched, never has their
/// requests in it, and nothing of theirs is popped or written later.
#[test]
fn who_leaves_in_the_middle_leaves_nothing_behind() {
    const ABORTS: usize = 5000;
    let (_, cluster, _) = ground();
    let proxy = Proxy::start(cluster, &[]);
    let addr = proxy.addr().to_string();
    let keys: Vec<String> = (0..32).map(|n| format!("left{n}")).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let checker = scope.spawn(|| {
            let mut conn = Conn::connect(&addr);
            let (mut random, mut count) = (Random::new(99), 0);
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let own = format!("own{}", random.below(64));
                let watches = random.one_in(2);
                let mut requests: Vec<Vec<&str>> = Vec::new();
                if watches {
                    requests.push(vec!["WATCH", &own]);
                }
                requests.extend([
                    vec!["MULTI"],
                    vec!["INCR", &own],
                    vec!["GET", &own],
                    vec!["EXEC"],
                ]);
                let replies = conn.pipeline(&requests);
                let last = replies.last().expect("EXEC");
                assert!(matches!(last, Reply::Array(_)), "{replies:?}");
                assert_eq!(last.items().len(), 2, "{replies:?}");
                assert_eq!(last.items()[0].int().to_string(), last.items()[1].text());
                count += 1;
            }
            count
        });
        // Another changes all that is watched, all the time.
        let writer = scope.spawn(|| {
            let mut conn = Conn::connect(&addr);
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for key in &keys {
                    assert_eq!(conn.command(&["SET", key, "w"]), "OK");
                }
            }
        });
        let mut random = Random::new(4711);
        for _ in 0..ABORTS {
            let key = &keys[random.below(keys.len())];
            let script: Vec<Vec<&str>> = match random.below(4) {
                0 => vec![vec!["WATCH", key], vec!["GET", key]],
                1 => vec![
                    vec!["MULTI"],
                    vec!["LPUSH", "leaked", "x"],
                    vec!["SET", key, "x"],
                ],
                2 => vec![
                    vec!["WATCH", key],
                    vec!["MULTI"],
                    vec!["SET", key, "leaked"],
                    vec!["SET", key],
                ],
                _ => vec![vec!["BLPOP", "never", "0"], vec!["PING"]],
            };
            let bytes: Vec<u8> = script
                .iter()
                .flat_map(|words| Conn::encode(words))
                .collect();
            let mut conn = Conn::connect(&addr);
            let cut = match random.below(3) {
                0 => random.below(bytes.len() + 1),
                _ => bytes.len(),
            };
            conn.send(&bytes[..cut]);
            match random.below(3) {
                0 => {}
                1 => std::thread::sleep(Duration::from_micros(random.between(0, 999))),
                _ if cut > 0 => drop(conn.read_some(Duration::from_millis(2))),
                _ => {}
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().expect("the writer goes on");
        let count = checker.join().expect("nothing is seen of others");
        println!("{count} transactions beside {ABORTS} aborts");
        assert!(count > 200, "{count} transactions");
    });
    let mut conn = proxy.conn();
    assert_eq!(conn.command(&["EXISTS", "leaked"]), Reply::Int(0));
    for key in &keys {
        assert_eq!(conn.command(&["GET", key]), "w");
    }
    support::wait_for("all places to be free", Duration::from_secs(20), || {
        conn.line("INFO clients")
            .text()
            .contains("blocked_clients:0\r\n")
            .then_some(())
    });
    assert_eq!(conn.line("RPUSH never x"), Reply::Int(1));
}

/// S4: every command that changes the state of a connection, by one client; then another on the same
/// connections sees nothing of it.
#[test]
fn the_state_of_a_client_is_its_own() {
    let (_, cluster, _) = ground();
    let proxy = Proxy::start(cluster, &[]);
    let changes = [
        "MULTI",
        "MULTI | SET state 1",
        "MULTI | SET state 1 | EXEC",
        "MULTI | CLIENT SETNAME leak | CLIENT REPLY OFF",
        "MULTI | HELLO 3 | SELECT 0 | EXEC",
        "WATCH state",
        "WATCH state | MULTI | SET state",
        "BLPOP statelist 0",
        "CLIENT SETNAME leak",
        "CLIENT REPLY OFF",
        "CLIENT REPLY SKIP",
        "CLIENT NO-EVICT ON",
        "CLIENT TRACKING ON",
        "READONLY",
        "ASKING",
        "HELLO 3",
        "HELLO 3 SETNAME leak",
        "MONITOR",
        "RESET",
        "SELECT 0",
        "AUTH default x",
    ];
    let mut kept = Vec::new();
    for change in changes {
        let mut changes = proxy.conn();
        for request in change.split(" | ") {
            changes.send(Conn::encode(&session::words(request)));
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut other = proxy.conn();
        assert!(other.line("CLIENT GETNAME").is_nil(), "{change}");
        for number in 0..1000 {
            let key = format!("state{}", number % 50);
            let expected = number.to_string();
            let reply = match number % 4 {
                0 => other.pipeline(&[
                    vec!["MULTI"],
                    vec!["SET", &key, &expected],
                    vec!["GET", &key],
                    vec!["EXEC"],
                ])[3]
                    .items()[1]
                    .clone(),
                1 => {
                    assert_eq!(other.command(&["WATCH", &key]), "OK");
                    assert_eq!(other.command(&["UNWATCH"]), "OK");
                    assert_eq!(other.command(&["SET", &key, &expected]), "OK");
                    other.command(&["GET", &key])
                }
                _ => {
                    assert_eq!(other.command(&["SET", &key, &expected]), "OK");
                    other.command(&["GET", &key])
                }
            };
            assert_eq!(reply, expected.as_str(), "{change}");
        }
        assert!(other.line("HGETALL nothing").items().is_empty(), "{change}");
        kept.push(changes);
        if kept.len() > 3 {
            kept.remove(0);
        }
    }
    for port in cluster.masters() {
        let list = cluster.raw(port).line("CLIENT LIST").text();
        assert!(!list.contains("name=leak"), "{list}");
    }
}
