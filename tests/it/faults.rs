//! Nodes that die and come back: reads at replicas and without them, a master killed, a start before the nodes.

use crate::support::{Cluster, Conn, Model, Port, Proxy, Reply, key_in_slot, slot_of, wait_for};
use std::time::{Duration, Instant};

const KEYS: u16 = 60;

/// Keys all over the cluster.
fn keys() -> Vec<String> {
    (0..KEYS)
        .map(|n| key_in_slot(n * (16384 / KEYS), "fault"))
        .collect()
}

/// How often a command was called at these nodes.
fn calls(cluster: &Cluster, ports: &[u16], command: &str) -> u64 {
    let prefix = format!("cmdstat_{command}:calls=");
    let of = |port: &u16| -> u64 {
        let stats = cluster.raw(*port).line("INFO commandstats").text();
        let mut lines = stats.lines();
        lines
            .find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok())
            .unwrap_or(0)
    };
    ports.iter().map(of).sum()
}

/// Waits until the proxy knows a replica of every master. Nodes call one that they know no offset of
/// `loading`, and tell each other of offsets once a second.
fn wait_for_replicas(proxy: &Proxy) {
    wait_for(
        "the proxy to know the replicas",
        Duration::from_secs(20),
        || {
            let topology = proxy.conn().line("PROXY INFO").text();
            let mut shards = topology.lines().filter(|line| line.starts_with("shard"));
            shards
                .all(|shard| !shard.ends_with("replicas="))
                .then_some(())
        },
    );
}

fn replicas(cluster: &Cluster) -> Vec<u16> {
    let masters = cluster.masters();
    masters
        .iter()
        .flat_map(|master| cluster.replicas_of(*master))
        .collect()
}

#[track_caller]
fn check_values(conn: &mut Conn, keys: &[String], value: &str) {
    for key in keys {
        assert_eq!(conn.command(&["GET", key]), value, "{key}");
    }
}

/// With this preference: who serves GET, MGET and SET?
fn reads_go_to_replicas(cluster: &Cluster, preference: &str) {
    let proxy = Proxy::start(cluster, &["-read-prefer", preference]);
    let (mut conn, keys) = (proxy.conn(), keys());
    let value = format!("of {preference}");
    for key in &keys {
        assert_eq!(conn.command(&["SET", key, &value]), "OK");
    }
    wait_for_replicas(&proxy);
    // Until every replica has it: replication is later than the reply.
    wait_for(
        "the replicas to have the values",
        Duration::from_secs(20),
        || {
            keys.iter()
                .all(|key| conn.command(&["GET", key]) == value.as_str())
                .then_some(())
        },
    );
    let (masters, replicas) = (cluster.masters(), replicas(cluster));
    for port in cluster.ports() {
        cluster.raw(port).line("CONFIG RESETSTAT");
    }
    let before = proxy.counter("proxy_replica_reads");
    for protocol in ["2", "3"] {
        let mut conn = proxy.conn();
        assert!(!conn.command(&["HELLO", protocol]).is_error());
        check_values(&mut conn, &keys, &value);
        let all = [vec!["MGET".to_string()], keys.clone()].concat();
        assert!(
            conn.command(&all)
                .items()
                .iter()
                .all(|item| *item == value.as_str())
        );
        for key in &keys {
            assert_eq!(conn.command(&["SET", key, &value]), "OK");
        }
    }
    let reads = u64::from(KEYS) * 2;
    assert_eq!(calls(cluster, &replicas, "get"), reads, "GET at replicas");
    assert_eq!(calls(cluster, &masters, "get"), 0, "GET at masters");
    assert_eq!(
        calls(cluster, &replicas, "mget"),
        reads,
        "MGET at replicas, one for each slot"
    );
    assert_eq!(calls(cluster, &masters, "mget"), 0, "MGET at masters");
    assert_eq!(calls(cluster, &masters, "set"), reads, "SET at masters");
    assert_eq!(proxy.counter("proxy_replica_reads") - before, reads * 2);
}

/// Whatever its name, no preference means masters.
fn reads_go_to_masters(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &["-read-prefer", "READ_PREFER_MASTER"]);
    for port in cluster.ports() {
        cluster.raw(port).line("CONFIG RESETSTAT");
    }
    let mut conn = proxy.conn();
    for key in keys() {
        conn.command(&["GET", &key]);
    }
    assert_eq!(calls(cluster, &replicas(cluster), "get"), 0);
    assert_eq!(calls(cluster, &cluster.masters(), "get"), u64::from(KEYS));
    assert_eq!(proxy.counter("proxy_replica_reads"), 0);
}

/// Replicas die one after the other: every read is still answered, by the masters, and by the replicas when
/// they are back.
fn dead_replicas_are_not_missed(cluster: &Cluster) {
    let proxy = Proxy::start(
        cluster,
        &["-read-prefer", "1", "-slots-reload-interval", "200ms"],
    );
    let (mut conn, keys) = (proxy.conn(), keys());
    for key in &keys {
        assert_eq!(conn.command(&["SET", key, "here"]), "OK");
    }
    // As long as it knows none it reads from masters.
    wait_for_replicas(&proxy);
    wait_for(
        "the replicas to have the values",
        Duration::from_secs(20),
        || {
            keys.iter()
                .all(|key| conn.command(&["GET", key]) == "here")
                .then_some(())
        },
    );
    let replicas = replicas(cluster);
    for port in &replicas {
        check_values(&mut conn, &keys, "here");
        cluster.kill(*port);
        check_values(&mut conn, &keys, "here");
    }
    check_values(&mut proxy.conn(), &keys, "here");
    for port in &replicas {
        cluster.restart(*port);
    }
    cluster.wait_until_ready();
    wait_for(
        "the replicas to serve again",
        Duration::from_secs(20),
        || {
            check_values(&mut conn, &keys, "here");
            replicas
                .iter()
                .all(|port| calls(cluster, &[*port], "get") > 0)
                .then_some(())
        },
    );
}

/// With `-read-prefer 1` reads of a whole shard go on at its replicas while it has no master, as those of a key do.
#[test]
fn replicas_speak_for_a_shard_without_a_master() {
    let cluster = Cluster::start(2, 1);
    let nodes = [cluster.masters(), replicas(&cluster)].concat();
    for port in &nodes {
        let mut conn = cluster.raw(*port);
        for setting in [
            "cluster-replica-no-failover yes",
            "cluster-allow-reads-when-down yes",
        ] {
            assert_eq!(conn.line(&format!("CONFIG SET {setting}")), "OK");
        }
    }
    let reading = Proxy::start(
        &cluster,
        &["-read-prefer", "1", "-slots-reload-interval", "200ms"],
    );
    let strict = Proxy::start(&cluster, &["-park-timeout", "0"]);
    let (mut conn, keys) = (reading.conn(), keys());
    for key in &keys {
        assert_eq!(conn.command(&["SET", key, "here"]), "OK");
    }
    let all = Reply::Int(keys.len() as i64);
    let victim = cluster.masters()[0];
    // As long as it knows none it reads from masters.
    wait_for_replicas(&reading);
    wait_for("the replicas to have all", Duration::from_secs(20), || {
        let mut there = keys.iter().map(|key| conn.command(&["GET", key]) == "here");
        there.all(|there| there).then_some(())
    });
    cluster.kill(victim);
    for round in 0..3 {
        assert_eq!(conn.line("DBSIZE"), all, "round {round}");
        assert_eq!(
            conn.line("KEYS *").items().len(),
            keys.len(),
            "round {round}"
        );
        assert!(!conn.line("RANDOMKEY").is_error(), "round {round}");
        // Until the cluster itself has noticed.
        std::thread::sleep(Duration::from_millis(1500));
    }
    // Whoever does not read from replicas is told.
    assert!(strict.conn().line("DBSIZE").is_error());
}

/// A master is killed. Its slots are back when its replica is promoted; those of the others never notice.
fn a_killed_master_is_replaced(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &[]);
    let victim = cluster.masters()[0];
    let (hit, spared): (Vec<String>, Vec<String>) = keys()
        .into_iter()
        .partition(|key| cluster.master_of(slot_of(key)) == victim);
    let spared_tags: Vec<String> = spared
        .iter()
        .map(|key| key[1..key.find('}').expect("a tag")].to_string())
        .collect();
    let (mut conn, mut other) = (proxy.conn(), proxy.conn());
    let mut model = Model::new("spared", &spared_tags, 4);
    for key in &hit {
        assert_eq!(conn.command(&["SET", key, "before"]), "OK");
    }
    cluster.kill(victim);
    let killed = Instant::now();
    let mut texts: Vec<String> = Vec::new();
    wait_for(
        "the slots of the dead master",
        Duration::from_secs(30),
        || {
            model.run(&mut other, 20);
            // A request may wait a while for its slot; the other client must not wait with it.
            conn.send(Conn::encode(&["SET", &hit[0], "after"]));
            model.run(&mut other, 50);
            let reply = conn.read_reply();
            if let Some(error) = reply.error() {
                texts.push(error.to_string());
            }
            (reply == "OK").then_some(())
        },
    );
    eprintln!("back after {:?}, meanwhile {texts:?}", killed.elapsed());
    for text in &texts {
        assert!(
            text.starts_with("CLUSTERDOWN ")
                || text.starts_with("ERR backend connection lost, ")
                || text.starts_with("ERR backend unavailable, "),
            "{text}"
        );
    }
    for key in &hit {
        assert_eq!(conn.command(&["SET", key, "after"]), "OK");
    }
    check_values(&mut conn, &hit, "after");
    model.check_lists(&mut other);
    cluster.restart(victim);
    cluster.wait_until_ready();
    check_values(&mut conn, &hit, "after");
}

/// The steps stand in one test, as each changes the cluster under the next.
#[test]
fn nodes_die_and_come_back() {
    let cluster = Cluster::start(3, 1);
    let step = |name: &str, run: &dyn Fn()| {
        let started = Instant::now();
        run();
        eprintln!("{name}: {:?}", started.elapsed());
    };
    for preference in ["1", "2", "READ_PREFER_SLAVE", "READ_PREFER_SLAVE_IDC"] {
        step(preference, &|| reads_go_to_replicas(&cluster, preference));
    }
    step("masters", &|| reads_go_to_masters(&cluster));
    step("dead replicas", &|| dead_replicas_are_not_missed(&cluster));
    step("dead master", &|| a_killed_master_is_replaced(&cluster));
}

/// No node answers: the proxy listens, says so, and serves as soon as they are there.
#[test]
fn a_start_before_the_nodes() {
    let cluster = Cluster::start(2, 0);
    let keys: Vec<String> = [0, 16000].map(|slot| key_in_slot(slot, "early")).to_vec();
    for port in cluster.ports() {
        cluster.kill(port);
    }
    let proxy = Proxy::spawn(&cluster.addrs(), &[], &[]);
    proxy.wait_until_answering();
    let mut conn = proxy.conn();
    for key in &keys {
        for args in [
            vec!["GET", key],
            vec!["SET", key, "1"],
            vec!["MGET", key, "other"],
            vec!["DBSIZE"],
        ] {
            let reply = conn.command(&args);
            assert!(
                reply
                    .error()
                    .is_some_and(|error| error.starts_with("CLUSTERDOWN ")),
                "{args:?}: {reply:?}"
            );
        }
    }
    assert_eq!(conn.line("PING"), "PONG");
    for port in cluster.ports() {
        cluster.restart(port);
    }
    wait_for("the proxy to serve", Duration::from_secs(20), || {
        keys.iter()
            .all(|key| conn.command(&["SET", key, "1"]) == "OK")
            .then_some(())
    });
    assert_eq!(
        conn.command(&["MGET", &keys[0], &keys[1]]).items(),
        [Reply::Bulk(b"1".to_vec()), Reply::Bulk(b"1".to_vec())]
    );

    // One good startup node among bad ones is enough.
    let dead: Vec<Port> = (0..3).map(|_| Port::reserve()).collect();
    let mut nodes: Vec<String> = dead
        .iter()
        .map(|port| format!("127.0.0.1:{}", port.number()))
        .collect();
    nodes.push(format!("localhost:{}", cluster.ports()[1]));
    let proxy = Proxy::spawn(&nodes, &[], &[]);
    proxy.wait_until_answering();
    proxy.wait_until_serving(&cluster);
}
