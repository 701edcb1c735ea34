//! Every wait has an end, and slow is not gone: deadlines of nodes and of clients.

use crate::support::{Cluster, Conn, Proxy, Reply, Stalls, key_in_slot, wait_for};
use std::time::{Duration, Instant};

fn counter(proxy: &Proxy, name: &str) -> u64 {
    let info = proxy.conn().line("PROXY INFO").text();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok())
        .expect("a number of PROXY INFO")
}

#[test]
fn a_client_that_asks_for_nothing_is_closed_when_told_so() {
    let cluster = Cluster::start(1, 0);
    // Long beside the time that this thread may not run.
    let proxy = Proxy::start(&cluster, &["-client-idle-timeout", "3s"]);
    let (mut idle, mut busy) = (proxy.conn(), proxy.conn());
    assert_eq!(idle.line("PING"), "PONG");
    let began = Instant::now();
    while idle.is_open(Duration::from_millis(200)) {
        assert_eq!(busy.line("SET a b"), "OK");
        assert!(began.elapsed() < Duration::from_secs(30), "it is open");
    }
    assert!(began.elapsed() > Duration::from_secs(2));
    // And for longer than one who asks for nothing may stay.
    while began.elapsed() < Duration::from_secs(4) {
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(busy.line("SET a b"), "OK");
    }
    assert_eq!(idle.read_to_close().expect("closes"), b"");
    assert_eq!(counter(&proxy, "proxy_clients_idle"), 1);
}

#[test]
fn a_client_that_waits_for_its_reply_is_not_idle() {
    let cluster = Cluster::start_with(1, 0, &["--cluster-node-timeout", "15000"]);
    let proxy = Proxy::start(&cluster, &["-client-idle-timeout", "1500ms"]);
    let mut conn = proxy.conn();
    let port = cluster.ports()[0];
    let mut node = cluster.raw(port);
    node.send("DEBUG SLEEP 2.5\r\n");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(conn.line("SET a b"), "OK");
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let cluster = Cluster::start(1, 0);
    let proxy = Proxy::start(&cluster, &["-write-stall", "1s"]);
    let mut conn = proxy.conn();
    let big = "x".repeat(1 << 20);
    assert_eq!(conn.command(&["SET", "big", &big]), "OK");
    let mut deaf = proxy.conn();
    deaf.send("GET big\r\n".repeat(100));
    wait_for("the client to be cut", Duration::from_secs(20), || {
        assert_eq!(conn.line("PING"), "PONG");
        (counter(&proxy, "proxy_clients_stalled") == 1).then_some(())
    });
    assert!(proxy.rss_kib() < 200 * 1024);
}

#[test]
fn a_slow_node_is_waited_for_until_the_deadline() {
    let cluster = Cluster::start_with(1, 0, &["--cluster-node-timeout", "15000"]);
    let port = cluster.ports()[0];
    let sleep = |seconds: &str| {
        let mut node = cluster.raw(port);
        node.send(Conn::encode(&["DEBUG", "SLEEP", seconds]));
        std::thread::sleep(Duration::from_millis(100));
        node
    };
    let patient = Proxy::start(&cluster, &[]);
    let _node = sleep("2.5");
    assert_eq!(patient.conn().line("SET a 1"), "OK");

    let hasty = Proxy::start(&cluster, &["-request-timeout", "1s"]);
    let (mut conn, mut other) = (hasty.conn(), hasty.conn());
    cluster.freeze(port);
    let (began, stalls) = (Instant::now(), Stalls::watch());
    let reply = conn.line("SET a 2");
    let took = began.elapsed();
    let expected = "ERR backend timeout, command may have been executed";
    assert_eq!(reply, Reply::Error(expected.into()));
    assert!(took < Duration::from_millis(1500) + stalls.allowance());
    cluster.thaw(port);
    // The late reply is nobody's.
    wait_for("the node", Duration::from_secs(20), || {
        (conn.line("ECHO mine") == "mine" && other.line("GET a") == "2").then_some(())
    });
}

#[test]
fn a_read_whose_connection_is_lost_goes_to_another_node_of_the_shard() {
    // A replica refuses to be read a second after the only master has gone, unless it is told otherwise.
    let args = [
        "--cluster-replica-no-failover",
        "yes",
        "--cluster-allow-reads-when-down",
        "yes",
    ];
    let cluster = Cluster::start_with(1, 2, &args);
    let proxy = Proxy::start(&cluster, &["-read-prefer", "READ_PREFER_SLAVE"]);
    let ports = cluster.ports();
    assert_eq!(proxy.conn().line("SET a b"), "OK");
    wait_for("the replicas to have it", Duration::from_secs(20), || {
        let got = |port: &u16| {
            let mut replica = cluster.raw(*port);
            replica.line("READONLY");
            replica.line("GET a") == "b"
        };
        ports[1..].iter().all(got).then_some(())
    });
    proxy.wait_until_replicas_are_known(2);
    let mut conns: Vec<Conn> = (0..6).map(|_| proxy.conn()).collect();
    let mut read = |rounds: usize| {
        for round in 0..rounds {
            for conn in &mut conns {
                assert_eq!(conn.line("GET a"), "b", "round {round}");
            }
        }
    };
    read(20);
    cluster.kill(ports[1]);
    read(200);
    cluster.kill(ports[0]);
    read(200);
}

/// What failovers and blocking commands leave behind: connections that nobody needs are closed, those to the masters
/// stay.
#[test]
fn connections_to_nodes_that_nobody_needs_are_closed() {
    let cluster = Cluster::start(3, 1);
    let proxy = Proxy::start(&cluster, &["-backend-idle-timeout", "2s"]);
    let mut conn = proxy.conn();
    // A slot of each shard.
    let slots = [0, 8000, 16000];
    let write = |conn: &mut Conn| {
        for slot in slots {
            let set = ["SET", &key_in_slot(slot, "string"), "a"];
            assert_eq!(conn.command(&set), "OK");
        }
    };
    let block = |conn: &mut Conn| {
        for slot in slots {
            let pop = ["BLPOP", &key_in_slot(slot, "list"), "0.001"];
            assert_eq!(conn.command(&pop), Reply::NilArray);
        }
    };
    let rest = |most: usize| {
        let what = "connections to be closed";
        wait_for(what, Duration::from_secs(20), || {
            (proxy.fds() <= most).then_some(())
        });
    };
    write(&mut conn);
    let base = proxy.fds();
    // How many are open at a moment also depends on clients that have just left.
    let connects = || counter(&proxy, "proxy_backend_connects");
    let made = |least: u64| {
        let what = "connections to be made";
        wait_for(what, Duration::from_secs(20), || {
            (connects() >= least).then_some(())
        });
    };
    let before = connects();
    block(&mut conn);
    // Five to each master.
    made(before + 15);
    rest(base);
    let before = connects();
    for master in cluster.masters() {
        cluster.failover(cluster.replicas_of(master)[0]);
        write(&mut conn);
    }
    block(&mut conn);
    made(before + 4);
    rest(base);
    let before = connects();
    write(&mut conn);
    assert_eq!(connects(), before);
}
