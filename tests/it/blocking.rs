//! Commands that wait for their reply as long as the client wishes: nobody else waits, whoever leaves is
//! forgotten at once, and what happens to clusters is not seen.

use crate::support::{
    Cluster, Conn, Proxy, Reply, Stalls, key_in_slot, session, signal, slot_of, wait_for,
};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

/// For one test at a time: each counts who is blocked at the nodes.
fn ground() -> (
    &'static Cluster,
    &'static Cluster,
    &'static Proxy,
    MutexGuard<'static, ()>,
) {
    static GROUND: OnceLock<(Cluster, Cluster, Proxy)> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
    let (one, cluster, proxy) = GROUND.get_or_init(|| {
        let one = Cluster::start(1, 0);
        let cluster = Cluster::start(3, 0);
        let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
        (one, cluster, proxy)
    });
    (one, cluster, proxy, turn)
}

/// Clients blocked at the nodes of a cluster.
fn blocked(cluster: &Cluster) -> usize {
    let masters = cluster.masters();
    let count = |port: &u16| {
        let info = cluster.raw(*port).info("clients");
        let count = info.get("blocked_clients");
        count
            .and_then(|count| count.parse::<usize>().ok())
            .unwrap_or(0)
    };
    masters.iter().map(count).sum()
}

/// What blocks, what another client then does, and what the first hears is that of one node.
const SCENES: &[(&str, &str)] = &[
    ("BLPOP {q}a {q}b 0", "RPUSH {q}b x"),
    ("BRPOP {q}a {q}b 0", "RPUSH {q}a x y"),
    ("BLMOVE {q}a {q}c LEFT RIGHT 0", "RPUSH {q}a x"),
    ("BRPOPLPUSH {q}a {q}c 0", "RPUSH {q}a x"),
    ("BLMPOP 0 2 {q}a {q}b LEFT COUNT 2", "RPUSH {q}b x y z"),
    ("BZPOPMIN {q}a {q}b 0", "ZADD {q}b 2 m 3 n"),
    ("BZPOPMAX {q}a 0", "ZADD {q}a 2 m 3 n"),
    ("BZMPOP 0 1 {q}a MAX", "ZADD {q}a 2 m 3 n"),
    ("XREAD BLOCK 0 STREAMS {q}a $", "XADD {q}a 1-1 f v"),
    (
        "XREADGROUP GROUP g c BLOCK 0 STREAMS {q}s >",
        "XADD {q}s 1-1 f v",
    ),
];

/// What does not block, or not for ever.
const PLAIN: &[&str] = &[
    "BLPOP {q}a 0.01",
    "BRPOPLPUSH {q}a {q}b 0.01",
    "BLMOVE {q}a {q}b LEFT LEFT 0.01",
    "BLMPOP 0.01 1 {q}a LEFT",
    "BZPOPMIN {q}a 0.01",
    "BZMPOP 0.01 1 {q}a MIN",
    "XREAD BLOCK 5 STREAMS {q}a $",
    "XREAD BLOCK 5 COUNT 1 STREAMS {q}a 0",
    "BLPOP {q}a x",
    "BLPOP {q}a -1",
    "BLPOP {q}a {p}a 0",
    "BLPOP {q}t 1",
    "BLMPOP 1 1 {q}a left COUNT 0",
    "BLMPOP 1 x {q}a left",
    "XREAD BLOCK -1 STREAMS {q}a 0",
    "XREAD BLOCK 1 STREAMS {q}a {p}a 0 0",
    "XREADGROUP GROUP nog c BLOCK 0 STREAMS {q}s >",
];

fn prepare(conn: &mut Conn) {
    for request in [
        "DEL {q}a {q}b {q}c {q}s",
        "XGROUP CREATE {q}s g $ MKSTREAM",
        "SET {q}t text",
    ] {
        assert!(!conn.line(request).is_error(), "{request}");
    }
}

#[test]
fn a_blocked_client_hears_what_one_node_says() {
    let (one, cluster, proxy, _turn) = ground();
    let node = format!("127.0.0.1:{}", one.ports()[0]);
    for (scene, protocol) in SCENES.iter().flat_map(|scene| [(scene, "2"), (scene, "3")]) {
        let heard = |addr: &str, cluster: &Cluster| {
            let (mut waits, mut acts) = (Conn::connect(addr), Conn::connect(addr));
            prepare(&mut acts);
            waits.command(&["HELLO", protocol]);
            let before = blocked(cluster);
            waits.send(Conn::encode(&session::words(scene.0)));
            wait_for("it to block", Duration::from_secs(20), || {
                (blocked(cluster) > before).then_some(())
            });
            assert!(!acts.line(scene.1).is_error(), "{}", scene.1);
            waits.read_reply()
        };
        assert_eq!(
            heard(proxy.addr(), cluster),
            heard(&node, one),
            "{}",
            scene.0
        );
    }
    for (request, protocol) in PLAIN
        .iter()
        .flat_map(|request| [(request, "2"), (request, "3")])
    {
        let heard = |addr: &str| {
            let mut conn = Conn::connect(addr);
            prepare(&mut conn);
            conn.command(&["HELLO", protocol]);
            let replies = conn.pipeline(&[session::words(request), session::words("PING")]);
            replies.into_iter().collect::<Vec<Reply>>()
        };
        assert_eq!(heard(proxy.addr()), heard(&node), "{request}");
    }
}

#[test]
fn nobody_else_waits() {
    let (_, cluster, proxy, _turn) = ground();
    let key = key_in_slot(100, "nobody else");
    let mut waits = proxy.conn();
    let before = blocked(cluster);
    waits.send(Conn::encode(&["BLPOP", &key, "0"]));
    wait_for("it to block", Duration::from_secs(20), || {
        (blocked(cluster) > before).then_some(())
    });
    let mut others = proxy.conn();
    for number in 0..100 {
        let other = key_in_slot(100, &format!("other{number}"));
        assert_eq!(others.command(&["SET", &other, "x"]), "OK");
    }
    let list = others.line("CLIENT LIST").text();
    let line = list.lines().find(|line| line.contains(" cmd=blpop "));
    assert!(line.expect("its line").contains(" flags=b "), "{list}");
    assert!(
        others
            .line("INFO clients")
            .text()
            .contains("blocked_clients:")
    );
    // What the client sends meanwhile waits for its turn.
    waits.send(Conn::encode(&["PING"]));
    assert!(
        waits
            .read_for(Duration::from_millis(100))
            .expect("open")
            .is_empty()
    );
    assert_eq!(others.command(&["RPUSH", &key, "x"]), Reply::Int(1));
    assert_eq!(waits.read_reply().items()[1], "x");
    assert_eq!(waits.read_reply(), "PONG");
}

#[test]
fn a_client_is_unblocked_from_any_worker() {
    let (_, _, proxy, _turn) = ground();
    let mut waits: Vec<Conn> = (0..8).map(|_| proxy.conn()).collect();
    let mut acts = proxy.conn();
    for (index, conn) in waits.iter_mut().enumerate() {
        let number = conn.line("CLIENT ID").int().to_string();
        let key = format!("unblock{index}");
        assert_eq!(acts.command(&["CLIENT", "UNBLOCK", &number]), Reply::Int(0));
        conn.send(Conn::encode(&["BLPOP", &key, "0"]));
        let reason = if index % 2 == 0 { "TIMEOUT" } else { "ERROR" };
        wait_for("it to be unblocked", Duration::from_secs(20), || {
            let reply = acts.command(&["CLIENT", "UNBLOCK", &number, reason]);
            (reply == Reply::Int(1)).then_some(())
        });
        let reply = conn.read_reply();
        if index % 2 == 0 {
            assert!(reply.is_nil(), "{reply:?}");
        } else {
            let text = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
            assert_eq!(reply.error(), Some(text));
        }
        assert_eq!(conn.line("PING"), "PONG");
    }
}

/// However a client leaves, its place at the node is free at once, so that it takes nothing from others.
#[test]
fn who_leaves_frees_its_place() {
    let cluster = Cluster::start(1, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let free = || {
        wait_for("the place to be free", Duration::from_secs(20), || {
            (blocked(&cluster) == 0).then_some(())
        });
    };
    let block = |rest: &[u8]| {
        let mut conn = proxy.conn();
        conn.send([Conn::encode(&["BLPOP", "leaves", "0"]), rest.to_vec()].concat());
        wait_for("it to block", Duration::from_secs(20), || {
            (blocked(&cluster) == 1).then_some(())
        });
        conn
    };
    // It closes; with more requests sent before; it only stops sending; and with more sent before that.
    drop(block(b""));
    free();
    drop(block(&Conn::encode(&["PING"])));
    free();
    let mut conn = block(b"");
    conn.finish().expect("half-closed");
    free();
    let mut conn = block(b"");
    conn.send(Conn::encode(&["SET", "x", "1"]));
    conn.finish().expect("half-closed");
    free();
    // It had stopped sending before it was blocked: what is there it still gets.
    let mut acts = proxy.conn();
    acts.line("RPUSH leaves x");
    let mut conn = proxy.conn();
    conn.send(Conn::encode(&["BLPOP", "leaves", "0"]));
    conn.finish().expect("half-closed");
    assert_eq!(conn.read_reply().items()[1], "x");
    let mut conn = proxy.conn();
    conn.send(Conn::encode(&["BLPOP", "leaves", "0"]));
    conn.finish().expect("half-closed");
    assert!(conn.read_to_close().expect("closed").is_empty());
    free();
    let mut killed = block(b"");
    assert_eq!(acts.line("CLIENT KILL TYPE normal SKIPME yes").int(), 1);
    free();
    assert!(killed.read_to_close().expect("closed").is_empty());
    acts.line("RPUSH leaves y");
    assert_eq!(acts.line("LLEN leaves"), Reply::Int(1));
}

#[test]
fn a_moved_slot_and_a_failover_are_not_seen() {
    let cluster = Cluster::start(2, 1);
    let proxy = Proxy::start(&cluster, &[]);
    let slot = 500;
    let (key, timed) = (key_in_slot(slot, "moved"), key_in_slot(slot, "timed"));
    for round in 0..3 {
        let mut waits = proxy.conn();
        let mut times = proxy.conn();
        waits.send(Conn::encode(&["BLPOP", &key, "0"]));
        let (begun, stalls) = (Instant::now(), Stalls::watch());
        times.send(Conn::encode(&["BLPOP", &timed, "4"]));
        wait_for("both to block", Duration::from_secs(20), || {
            (blocked(&cluster) == 2).then_some(())
        });
        // However long the nodes take for what follows.
        let times = std::thread::spawn(move || {
            let reply = times.read_reply();
            (reply, begun.elapsed().as_secs_f64())
        });
        std::thread::sleep(Duration::from_secs(1));
        let master = cluster.master_of(slot);
        if round == 0 {
            let masters = cluster.masters();
            let other = masters
                .iter()
                .find(|port| **port != master)
                .expect("another");
            cluster.migrate_slot(slot, master, *other);
        } else {
            cluster.failover(cluster.replicas_of(master)[0]);
        }
        wait_for("both to block again", Duration::from_secs(20), || {
            let still = if times.is_finished() { 1 } else { 2 };
            (blocked(&cluster) == still).then_some(())
        });
        assert_ne!(cluster.master_of(slot), master);
        assert_eq!(proxy.conn().command(&["RPUSH", &key, "x"]), Reply::Int(1));
        assert_eq!(waits.read_reply().items()[1], "x");
        let (reply, took) = times.join().expect("a reply");
        assert!(reply.is_nil(), "{reply:?}");
        let most = 6.0 + stalls.allowance().as_secs_f64();
        assert!((3.9..most).contains(&took), "4 s were {took}");
        cluster.wait_until_ready();
    }
}

/// A blocked client costs nothing: no request, no turn of the loop but the one a second that all make.
#[test]
fn a_thousand_blocked_clients_cost_nothing() {
    let cluster = Cluster::start(1, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let mut conns: Vec<Conn> = (0..1000).map(|_| proxy.conn()).collect();
    for (index, conn) in conns.iter_mut().enumerate() {
        conn.send(Conn::encode(&["BLPOP", &format!("cost{index}"), "0"]));
    }
    wait_for("all to block", Duration::from_secs(30), || {
        (blocked(&cluster) == 1000).then_some(())
    });
    std::thread::sleep(Duration::from_secs(1));
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxy.pid())).expect("alive");
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .expect("fields")
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
    };
    let (requests, turns, before) = (
        proxy.counter("proxy_backend_requests"),
        proxy.counter("proxy_turns"),
        ticks(),
    );
    std::thread::sleep(Duration::from_secs(5));
    let (spent, turned) = (ticks() - before, proxy.counter("proxy_turns") - turns);
    println!("{spent} ticks and {turned} turns in 5 s");
    assert!(proxy.counter("proxy_backend_requests") - requests < 20);
    assert!(turned < 100, "{turned} turns in 5 s");
    assert!(spent < 25, "{spent} ticks in 5 s");
    // Each gets its own.
    let mut acts = proxy.conn();
    for index in 0..conns.len() {
        acts.command(&["RPUSH", &format!("cost{index}"), &index.to_string()]);
    }
    for (index, conn) in conns.iter_mut().enumerate() {
        assert_eq!(conn.read_reply().items()[1], index.to_string().as_str());
    }
    let idle = || {
        let list = cluster.raw(cluster.ports()[0]).line("CLIENT LIST").text();
        list.lines()
            .filter(|line| line.contains("cmd=blpop"))
            .count()
    };
    // At most so many are kept, and only while somebody has needed them in the last ten seconds.
    wait_for("most connections to go", Duration::from_secs(8), || {
        (idle() <= 512).then_some(())
    });
    wait_for("the others to go", Duration::from_secs(20), || {
        (idle() <= 5).then_some(())
    });
}

#[test]
fn at_the_cap_there_is_an_error_at_once() {
    let (_, cluster, _, _turn) = ground();
    let proxy = Proxy::start(cluster, &["-max-blocked-clients", "1"]);
    let (mut a, mut b) = (proxy.conn(), proxy.conn());
    let before = blocked(cluster);
    a.send(Conn::encode(&["BLPOP", "cap", "0"]));
    // Before that the other one would be the first.
    wait_for("the cap to be reached", Duration::from_secs(20), || {
        (blocked(cluster) > before).then_some(())
    });
    assert!(b.line("BLPOP cap 0.01").is_error());
    assert_eq!(b.line("RPUSH cap x"), Reply::Int(1));
    assert_eq!(a.read_reply().items()[1], "x");
    assert!(b.line("BLPOP cap 0.01").is_nil());
}

/// SIGTERM: who is blocked is closed without a word, as by a server.
#[test]
fn blocked_clients_are_let_go_when_the_proxy_ends() {
    let waiting: [&[&str]; 5] = [
        &["BLPOP", "ends", "0"],
        &["BZPOPMIN", "ends:z", "0"],
        &["BLMOVE", "ends", "{ends}:2", "LEFT", "LEFT", "0"],
        &["XREAD", "BLOCK", "0", "STREAMS", "ends:x", "$"],
        &["WAIT", "9", "0"],
    ];
    let ends = |mut conns: Vec<Conn>, stop: &mut dyn FnMut()| {
        for (conn, words) in conns.iter_mut().zip(waiting) {
            assert_eq!(conn.line("ECHO before"), "before");
            conn.send(Conn::encode(words));
        }
        std::thread::sleep(Duration::from_millis(300));
        stop();
        let rest = conns.iter_mut().map(|conn| conn.read_to_close());
        rest.map(|rest| String::from_utf8_lossy(&rest.expect("an end")).into_owned())
            .collect::<Vec<_>>()
    };
    let mut single = Some(Cluster::start(1, 0));
    let port = single.as_ref().expect("one").ports()[0];
    let conns = waiting.map(|_| single.as_ref().expect("one").raw(port));
    let by_server = ends(conns.into(), &mut || {
        let server = single.as_ref().expect("one").server(port);
        signal(server.pid(), "TERM");
    });
    single.take();
    assert_eq!(by_server, [""; 5]);

    let (_, cluster, _, _turn) = ground();
    let mut proxy = Some(Proxy::start(cluster, &[]));
    let before = blocked(cluster);
    let conns = waiting.map(|_| proxy.as_ref().expect("one").conn());
    let by_proxy = ends(conns.into(), &mut || {
        wait_for("them to block", Duration::from_secs(20), || {
            (blocked(cluster) >= before + 7).then_some(())
        });
        let (begun, stalls) = (Instant::now(), Stalls::watch());
        assert!(proxy.take().expect("one").stop().success());
        assert!(begun.elapsed() < Duration::from_secs(5) + stalls.allowance());
    });
    assert_eq!(by_proxy, by_server);
    // Nobody is left at the nodes to take what comes.
    let mut conn = cluster.raw(cluster.master_of(slot_of("ends")));
    assert_eq!(conn.line("RPUSH ends x"), Reply::Int(1));
    assert_eq!(conn.line("LPOP ends"), "x");
}

/// WAIT speaks of what the client wrote on connections that it shares with others.
#[test]
fn wait_covers_what_the_client_wrote() {
    let cluster = Cluster::start(2, 1);
    let proxy = Proxy::start(&cluster, &[]);
    let mut conn = proxy.conn();
    let key = key_in_slot(42, "wait");
    for round in 0..20 {
        assert_eq!(conn.command(&["SET", &key, &round.to_string()]), "OK");
        assert_eq!(conn.line("WAIT 1 20000"), Reply::Int(1), "round {round}");
    }
    let replies = conn.pipeline(&[
        vec!["SET", &key, "x"],
        vec!["WAIT", "1", "20000"],
        vec!["GET", &key],
    ]);
    assert_eq!(
        (&replies[1], &replies[2]),
        (&Reply::Int(1), &Reply::Bulk(b"x".to_vec()))
    );
    let replica = cluster.replicas_of(cluster.master_of(42))[0];
    cluster.freeze(replica);
    assert_eq!(conn.command(&["SET", &key, "frozen"]), "OK");
    let (begun, stalls) = (Instant::now(), Stalls::watch());
    assert_eq!(conn.line("WAIT 1 500"), Reply::Int(0));
    let took = begun.elapsed();
    let most = Duration::from_secs(3) + stalls.allowance();
    assert!(
        (Duration::from_millis(450)..most).contains(&took),
        "{took:?}"
    );
    assert_eq!(conn.line("WAIT 0 0"), Reply::Int(0));
    // For ever, until somebody ends it; and until the replica is back. Nobody else waits.
    let number = conn.line("CLIENT ID").int().to_string();
    conn.send(Conn::encode(&["WAIT", "1", "0"]));
    let mut acts = proxy.conn();
    assert_eq!(acts.command(&["SET", &key, "other"]), "OK");
    wait_for("it to be unblocked", Duration::from_secs(20), || {
        (acts.command(&["CLIENT", "UNBLOCK", &number]) == Reply::Int(1)).then_some(())
    });
    assert_eq!(conn.read_reply(), Reply::Int(0));
    conn.send(Conn::encode(&["WAIT", "1", "0"]));
    assert!(
        conn.read_for(Duration::from_millis(200))
            .expect("open")
            .is_empty()
    );
    cluster.thaw(replica);
    assert_eq!(conn.read_reply(), Reply::Int(1));
    for request in ["WAIT x 0", "WAIT 0 x", "WAIT 0 -1", "WAIT 0"] {
        let expected = cluster.raw(cluster.masters()[0]).line(request);
        assert!(expected.is_error());
        assert_eq!(conn.line(request), expected, "{request}");
    }
}

/// A master that is gone has no replicas, as far as WAIT can tell, and WAIT takes no longer than it was given to say so.
#[test]
fn wait_ends_in_time_without_a_master() {
    let cluster = Cluster::start(2, 0);
    let proxy = Proxy::start(&cluster, &["-park-timeout", "60s"]);
    let mut conn = proxy.conn();
    assert_eq!(conn.line("WAIT 0 0"), Reply::Int(0));
    cluster.kill(cluster.masters()[0]);
    conn.set_deadline(Duration::from_secs(20));
    assert_eq!(conn.line("WAIT 0 100"), Reply::Int(0));
    assert_eq!(proxy.conn().line("WAIT 0 1"), Reply::Int(0));
}
