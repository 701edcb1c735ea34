//! One connection's oldest request takes long, and its node serves others meanwhile: so does the proxy.

use crate::support::{Cluster, Conn, Proxy, Reply, wait_for};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Long enough for a request to be overdue.
const LONG: Duration = Duration::from_millis(400);

fn counter(proxy: &Proxy, name: &str) -> u64 {
    let info = proxy.conn().line("PROXY INFO").text();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok())
        .expect("a number of PROXY INFO")
}

/// One master that never fails over, and one worker before it.
fn ground(args: &[&str]) -> (Cluster, Proxy) {
    let mut all = vec!["--cluster-node-timeout", "60000"];
    all.extend(args);
    let cluster = Cluster::start_with(1, 0, &all);
    let proxy = Proxy::start(&cluster, &["-max-procs", "1"]);
    (cluster, proxy)
}

fn clients(proxy: &Proxy, count: usize, protocol: &str) -> Vec<Conn> {
    let client = |_| {
        let mut conn = proxy.conn();
        if protocol == "3" {
            conn.command(&["HELLO", "3"]);
        }
        assert_eq!(conn.line("SET before 1"), "OK");
        conn
    };
    (0..count).map(client).collect()
}

fn is_busy(reply: &Reply) -> bool {
    reply.error().is_some_and(|text| text.starts_with("BUSY "))
}

#[test]
fn while_a_script_runs_others_hear_what_one_server_says() {
    let (cluster, proxy) = ground(&["--busy-reply-threshold", "200"]);
    for protocol in ["2", "3"] {
        let mut all = clients(&proxy, 6, protocol);
        all[0].line("SET n 0");
        // The one that runs it, and what it asks behind: that is executed behind.
        all[0].send(Conn::encode(&["EVAL", "while true do end", "1", "n"]));
        all[0].send("INCR n\r\nGET n\r\n");
        // At once, so that these stand behind it, unless the machine is busy. Of reads alone another connection brings the
        // answers.
        all[1].send("GET n\r\nGET before\r\n");
        all[2].send("GET n\r\nINCR n\r\n");
        for _ in 0..2 {
            let reply = all[1].read_reply();
            assert!(is_busy(&reply), "{reply:?}");
        }
        for client in &mut all[3..] {
            for line in [
                "INCR n",
                "GET n",
                "MGET n before",
                "SET {n}x 1",
                "DEL n before",
            ] {
                let reply = client.line(line);
                assert!(
                    is_busy(&reply) || line.starts_with("DEL"),
                    "{line}: {reply:?}"
                );
                assert!(reply.is_error(), "{line}: {reply:?}");
            }
        }
        assert_eq!(all[3].line("SCRIPT KILL"), "OK");
        assert!(all[0].read_reply().is_error());
        let mut counts = vec![all[0].read_reply().int()];
        all[0].read_reply();
        all[2].read_reply();
        let reply = all[2].read_reply();
        if !is_busy(&reply) {
            counts.push(reply.int());
        }
        counts.sort_unstable();
        assert_eq!(counts, [1, 2][..counts.len()]);
        for client in &mut all {
            assert_eq!(client.line("GET n").text(), counts.len().to_string());
            assert_eq!(client.line("GET before"), "1");
        }
    }
    assert_eq!(counter(&proxy, "proxy_unknown_outcomes"), 0);
    assert_eq!(counter(&proxy, "proxy_backend_failures"), 0);
    // Not one for each of nearly a hundred requests. On a busy machine some more may be overdue.
    let replacements = counter(&proxy, "proxy_backend_replacements");
    assert!((1..=12).contains(&replacements), "{replacements}");
    assert!(cluster.raw(cluster.ports()[0]).line("PING") == "PONG");
}

/// A write that comes while a script has only just begun is not sent behind it, where it could not be moved any more.
#[test]
fn who_writes_soon_after_a_script_does_not_wait_for_its_end() {
    let (cluster, proxy) = ground(&["--busy-reply-threshold", "200"]);
    let mut node = cluster.raw(cluster.ports()[0]);
    let mut is_served = || {
        let mut all = clients(&proxy, 2, "2");
        all[0].send(Conn::encode(&["EVAL", "while true do end", "1", "n"]));
        wait_for("it to be read", Duration::from_secs(20), || {
            let list = all[1].line("CLIENT LIST").text();
            list.contains(" cmd=eval ").then_some(())
        });
        std::thread::sleep(LONG / 8);
        all[1].set_deadline(Duration::from_secs(3));
        let reply = all[1].try_command(&["SET", "n", "1"]);
        wait_for("the script to end", Duration::from_secs(20), || {
            (node.line("SCRIPT KILL") == "OK").then_some(())
        });
        assert!(all[0].read_reply().is_error());
        // On a busy machine the node may read it before the script.
        reply.is_ok_and(|reply| is_busy(&reply) || reply == "OK")
    };
    // And the proxy may see the script only when the write is there.
    assert!((0..5).any(|_| is_served()));
    assert_eq!(clients(&proxy, 1, "2")[0].line("SET n 2"), "OK");
}

/// A script that nobody ends takes its own connection with it when its time is over, and nobody else's requests.
#[test]
fn a_script_without_end_costs_its_own_client_alone() {
    let cluster = Cluster::start_with(1, 0, &["--busy-reply-threshold", "200"]);
    let proxy = Proxy::start(&cluster, &["-max-procs", "1", "-request-timeout", "2s"]);
    let mut all = clients(&proxy, 3, "2");
    all[0].send(Conn::encode(&["EVAL", "while true do end", "1", "n"]));
    let port = cluster.ports()[0];
    wait_for("the node to be busy", Duration::from_secs(20), || {
        is_busy(&cluster.raw(port).line("PING")).then_some(())
    });
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let reply = all[1].line("INCR n");
        assert!(is_busy(&reply), "{reply:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let expected = "ERR backend timeout, command may have been executed";
    assert_eq!(all[0].read_reply(), Reply::Error(expected.into()));
    assert_eq!(counter(&proxy, "proxy_unknown_outcomes"), 1);
    assert_eq!(all[2].line("SCRIPT KILL"), "OK");
    for client in &mut all {
        wait_for("the script to end", Duration::from_secs(20), || {
            (client.line("GET before") == "1").then_some(())
        });
    }
    assert_eq!(all[1].line("INCR n").int(), 1);
}

/// A node that is slow as a whole is waited for, by one connection more at most: nobody hears of an error.
#[test]
fn a_node_that_is_slow_as_a_whole_is_waited_for() {
    let (cluster, proxy) = ground(&[]);
    let port = cluster.ports()[0];
    for protocol in ["2", "3"] {
        let mut all = clients(&proxy, 20, protocol);
        let mut node = cluster.raw(port);
        let mut is_calm = |how: &str| {
            let connects = counter(&proxy, "proxy_backend_connects");
            all[0].line("SET n 0");
            match how {
                "sleep" => node.send("DEBUG SLEEP 2\r\n"),
                "freeze" => cluster.freeze(port),
                _ => assert_eq!(node.line("CLIENT PAUSE 2000 ALL"), "OK"),
            }
            std::thread::sleep(Duration::from_millis(50));
            for (at, client) in all.iter_mut().enumerate() {
                client.send("INCR n\r\nGET before\r\n");
                if at == 10 {
                    std::thread::sleep(LONG);
                }
            }
            if how == "freeze" {
                std::thread::sleep(Duration::from_secs(2));
                cluster.thaw(port);
            }
            let mut counts = Vec::new();
            for client in &mut all {
                counts.push(client.read_reply().int());
                assert_eq!(client.read_reply(), "1");
            }
            counts.sort_unstable();
            assert!(counts.iter().copied().eq(1..=20), "{how}: {counts:?}");
            if how == "sleep" {
                assert_eq!(node.read_reply(), "OK");
            }
            let is_calm = counter(&proxy, "proxy_backend_connects") <= connects + 1;
            if !is_calm {
                // Until the connections are closed that serve nobody any more, so that they are not of use the next time.
                std::thread::sleep(Duration::from_secs(11));
            }
            is_calm
        };
        for how in ["sleep", "freeze", "pause"] {
            // On a busy machine the other connection may have an overdue request, too.
            let calm = (0..3).any(|_| is_calm(how));
            assert!(calm, "{how}: more than one connection was opened");
        }
    }
    assert_eq!(counter(&proxy, "proxy_backend_failures"), 0);
    assert_eq!(counter(&proxy, "proxy_expired"), 0);
}

/// A write that waits for the end of a pause does not keep other clients' reads.
#[test]
fn reads_go_on_beside_a_write_that_is_paused() {
    let (cluster, proxy) = ground(&[]);
    let mut all = clients(&proxy, 3, "2");
    let mut node = cluster.raw(cluster.ports()[0]);
    assert_eq!(node.line("CLIENT PAUSE 60000 WRITE"), "OK");
    all[0].send("SET before 2\r\nGET before\r\n");
    std::thread::sleep(LONG);
    for _ in 0..100 {
        assert_eq!(all[1].line("GET before"), "1");
    }
    // Its own write is paused, too, and what it reads behind it waits.
    all[1].send("SET before 3\r\nGET before\r\n");
    std::thread::sleep(LONG);
    assert_eq!(all[2].line("GET before"), "1");
    assert_eq!(node.line("CLIENT UNPAUSE"), "OK");
    assert_eq!(all[0].read_reply(), "OK");
    assert_eq!(all[1].read_reply(), "OK");
    for client in &mut all[..2] {
        let read = client.read_reply();
        assert!(read == "2" || read == "3", "{read:?}");
    }
    assert_eq!(counter(&proxy, "proxy_backend_failures"), 0);
}

/// The node takes no more connections: requests wait as they do without one.
#[test]
fn a_node_that_lets_no_other_connection_in_is_waited_for() {
    let (cluster, proxy) = ground(&[]);
    let mut all = clients(&proxy, 12, "2");
    let mut node = cluster.raw(cluster.ports()[0]);
    assert_eq!(node.line("CONFIG SET maxclients 1"), "OK");
    assert_eq!(node.line("CLIENT PAUSE 3000 WRITE"), "OK");
    all[0].send("INCR n\r\n");
    std::thread::sleep(LONG);
    for client in &mut all[1..] {
        client.send("GET before\r\nINCR n\r\n");
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut counts = vec![all[0].read_reply().int()];
    for client in &mut all[1..] {
        assert_eq!(client.read_reply(), "1");
        counts.push(client.read_reply().int());
    }
    counts.sort_unstable();
    assert!(counts.iter().copied().eq(1..=12), "{counts:?}");
    assert_eq!(node.line("CONFIG SET maxclients 10000"), "OK");
    assert_eq!(counter(&proxy, "proxy_backend_replacements"), 0);
    assert!(counter(&proxy, "proxy_backend_failures") >= 1);
    assert_eq!(all[0].line("GET n"), "12");
}

/// A large value goes to a client that takes its time: others on that node are answered meanwhile.
#[test]
fn others_do_not_wait_for_a_large_reply() {
    const LENGTH: usize = 200 << 20;
    let (cluster, proxy) = ground(&[]);
    let mut node = cluster.raw(cluster.ports()[0]);
    assert_eq!(
        node.command(&["SETRANGE", "large", &(LENGTH - 1).to_string(), "x"])
            .int(),
        LENGTH as i64
    );
    let mut all = clients(&proxy, 3, "2");
    let mut slow = TcpStream::connect(proxy.addr()).expect("it listens");
    slow.write_all(b"GET large\r\nGET before\r\n")
        .expect("sent");
    let mut reply = vec![0; format!("${LENGTH}\r\n").len() + LENGTH + 2];
    slow.read_exact(&mut reply[..1 << 20]).expect("it begins");
    for _ in 0..100 {
        for client in &mut all {
            assert_eq!(client.line("GET before"), "1");
        }
    }
    slow.read_exact(&mut reply[1 << 20..]).expect("it goes on");
    let mut behind = [0; 7];
    slow.read_exact(&mut behind).expect("what it asked behind");
    assert_eq!(&behind, b"$1\r\n1\r\n");
    assert!(counter(&proxy, "proxy_heads_overdue") >= 1);
    assert_eq!(counter(&proxy, "proxy_backend_failures"), 0);
}

/// Many clients write a pipeline of large reads in one go, and read nothing: the node is not asked for all of it at
/// once, so that others' requests are not behind it, and nobody keeps it.
#[test]
fn pipelines_of_large_reads_leave_room_for_others() {
    const DEAF: usize = 40;
    const REQUESTS: usize = 100;
    let (cluster, proxy) = ground(&[]);
    let mut other = proxy.conn();
    let value = "x".repeat(1 << 20);
    assert_eq!(other.command(&["SET", "large", &value]), "OK");
    let calls = || {
        let stats = cluster.raw(cluster.ports()[0]).line("INFO commandstats");
        let stats = stats.text();
        let gets = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_get:calls="));
        let count = gets.and_then(|line| line.split(',').next()?.parse::<usize>().ok());
        count.unwrap_or(0)
    };
    let mut deaf: Vec<Conn> = (0..DEAF).map(|_| proxy.conn()).collect();
    for conn in &mut deaf {
        conn.send("GET large\r\n".repeat(REQUESTS));
    }
    assert_eq!(other.line("SET small 1"), "OK");
    assert_eq!(other.line("GET small"), "1");
    // One each, the few that nobody knew to be large, and what fits between the proxy and a client.
    let asked = calls();
    assert!(asked <= DEAF * 10, "{asked}");
    let mut first = deaf.swap_remove(0);
    drop(deaf);
    for _ in 0..REQUESTS {
        assert_eq!(first.read_reply().text().len(), value.len());
    }
    assert_eq!(first.line("GET small"), "1");
}
