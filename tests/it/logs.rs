//! What nodes log and measure of requests, as one server would have: beside one redis-server, also behind failovers.

use crate::support::{self, Cluster, Conn, Proxy, Reply, Server, key_in_slot, wait_for};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// The words of each entry of a log, oldest first.
fn requests(log: &Reply) -> Vec<String> {
    let words = |entry: &Reply| {
        let words: Vec<String> = entry.items()[3].items().iter().map(Reply::text).collect();
        words.join(" ")
    };
    log.items().iter().rev().map(words).collect()
}

fn ids(log: &Reply) -> Vec<i64> {
    log.items()
        .iter()
        .map(|entry| entry.items()[0].int())
        .collect()
}

/// What a client does while everything is logged. The proxy answers what has no key by itself, so there is none.
fn work(conn: &mut Conn, round: usize) {
    assert_eq!(conn.line("CONFIG SET slowlog-log-slower-than 0"), "OK");
    assert_eq!(conn.line("SLOWLOG RESET"), "OK");
    for slot in [1, 6000, 12000] {
        conn.command(&["SET", &key_in_slot(slot, &format!("k{round}")), "v"]);
        conn.command(&[
            "GEOADD",
            &key_in_slot(slot, &format!("g{round}")),
            "1",
            "2",
            "m",
        ]);
        conn.command(&["GET", &key_in_slot(slot, &format!("k{round}"))]);
    }
    conn.line("FLUSHALL");
    // Replicas tell their masters each second that they are there.
    std::thread::sleep(Duration::from_millis(1200));
    conn.line("SLOWLOG LEN");
    assert_eq!(
        conn.line("CONFIG SET slowlog-log-slower-than 1000000"),
        "OK"
    );
}

/// Those of a server, but for what reads the log, which the proxy does itself.
fn of_clients(log: &Reply) -> Vec<String> {
    let mut found = requests(log);
    found.retain(|words| !words.starts_with("SLOWLOG") && !words.starts_with("HELLO"));
    found
}

#[test]
fn the_log_is_that_of_one_server() {
    let args = ["--cluster-node-timeout", "1000"];
    let cluster = Cluster::start_with(3, 1, &args);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    let reading = Proxy::start(&cluster, &["-read-prefer", "1"]);
    let server = Server::start(&[]);
    let mut last = -1;
    for round in 0..3 {
        for (addr, protocol) in [
            (proxy.addr(), "2"),
            (proxy.addr(), "3"),
            (reading.addr(), "3"),
        ] {
            let [ours, theirs] = [addr.to_string(), server.addr()].map(|addr| {
                let mut conn = Conn::open(&addr, protocol);
                work(&mut conn, round);
                let all = conn.line("SLOWLOG GET -1");
                let len = conn.line("SLOWLOG LEN").int() as usize;
                assert_eq!(len, all.items().len());
                let ids = ids(&all);
                assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
                // The same again has the same ids.
                let some = conn.line("SLOWLOG GET 3");
                assert_eq!(some.items(), &all.items()[..3]);
                (of_clients(&all), all)
            });
            let mut sorted = [ours.0.clone(), theirs.0.clone()];
            sorted.iter_mut().for_each(|own| own.sort());
            assert_eq!(
                sorted[0], sorted[1],
                "round {round}, RESP{protocol}, {addr}"
            );
            if addr == proxy.addr() {
                let ids = ids(&ours.1);
                assert!(ids.last().is_some_and(|first| *first > last), "{ids:?}");
                last = ids[0];
            }
        }
        // A replica that was promoted has executed its master's writes, and the master is one of replicas now.
        let master = cluster.master_of(1);
        cluster.failover(cluster.replicas_of(master)[0]);
        wait_for("the new master", LIMIT, || {
            (cluster.find_master_of(1)? != master).then_some(())
        });
        // A replica that has no processor for a second is not waited for, and keeps what it had logged.
        for port in cluster.ports() {
            assert_eq!(cluster.raw(port).line("SLOWLOG RESET"), "OK");
        }
        for proxy in [&proxy, &reading] {
            proxy.wait_until_serving(&cluster);
        }
    }
}

#[test]
fn the_log_is_no_longer_than_it_may_be() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let server = Server::start(&[]);
    for protocol in ["2", "3"] {
        let told = [proxy.addr(), &server.addr()].map(|addr| {
            let mut conn = Conn::open(addr, protocol);
            assert_eq!(conn.line("CONFIG SET slowlog-max-len 3"), "OK");
            assert_eq!(conn.line("CONFIG SET slowlog-log-slower-than 0"), "OK");
            for slot in (0..16000).step_by(1000) {
                conn.command(&["SET", &key_in_slot(slot, "k"), "v"]);
            }
            assert_eq!(conn.line("CONFIG SET slowlog-log-slower-than -1"), "OK");
            let told = [
                conn.line("SLOWLOG LEN").int(),
                conn.line("SLOWLOG GET").items().len() as i64,
                conn.line("SLOWLOG GET -1").items().len() as i64,
                conn.line("SLOWLOG GET 2").items().len() as i64,
                conn.line("SLOWLOG GET 0").items().len() as i64,
            ];
            let reset = conn.line("SLOWLOG RESET");
            (told, reset.text(), conn.line("SLOWLOG LEN").int())
        });
        assert_eq!(told[0], told[1], "RESP{protocol}");
        let errors = [proxy.addr(), &server.addr()].map(|addr| {
            let mut conn = Conn::open(addr, protocol);
            [
                "SLOWLOG GET x",
                "SLOWLOG GET -2",
                "SLOWLOG GET 1 2",
                "SLOWLOG LEN 1",
            ]
            .map(|line| conn.line(line))
        });
        assert_eq!(errors[0], errors[1]);
    }
}

#[test]
fn calls_are_counted_once_behind_failovers_too() {
    let args = ["--cluster-node-timeout", "1000"];
    let cluster = Cluster::start_with(3, 1, &args);
    let proxy = Proxy::start(&cluster, &[]);
    let reading = Proxy::start(&cluster, &["-read-prefer", "1"]);
    let server = Server::start(&[]);
    for protocol in ["2", "3"] {
        for proxy in [&proxy, &reading] {
            // Behind a failover, too: it is a replica then that was a master.
            proxy.wait_until_replicas_are_known(3);
            let told = [proxy.addr(), &server.addr()].map(|addr| {
                let mut conn = Conn::open(addr, protocol);
                assert_eq!(conn.line("CONFIG RESETSTAT"), "OK");
                let (one, two) = (key_in_slot(1, "h"), key_in_slot(6000, "h"));
                for key in [&one, &two] {
                    conn.command(&["SET", key, "v"]);
                    conn.command(&["GET", key]);
                    conn.command(&["GET", key]);
                }
                let calls = |line: &str, conn: &mut Conn| -> Vec<(String, i64)> {
                    let measured = conn.line(line);
                    let pairs = support::compare::pairs(&measured).into_iter();
                    let calls = pairs.map(|(name, own)| {
                        let fields = support::compare::pairs(&own);
                        (name, fields[0].1.int())
                    });
                    calls.collect()
                };
                (
                    calls("LATENCY HISTOGRAM set", &mut conn),
                    calls("LATENCY HISTOGRAM get", &mut conn),
                )
            });
            assert_eq!(told[0], told[1], "RESP{protocol}");
        }
        let master = cluster.master_of(1);
        cluster.failover(cluster.replicas_of(master)[0]);
        for proxy in [&proxy, &reading] {
            proxy.wait_until_serving(&cluster);
        }
    }
}
