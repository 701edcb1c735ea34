//! Shards whose masters change or are gone: what goes to a shard as a whole follows its master, and reads go on at its
//! replicas.

mod support;

use std::time::{Duration, Instant};
use support::{Cluster, Conn, Proxy, key_in_slot, slot_of, wait_for};

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
    wait_for("the replicas to have all", Duration::from_secs(10), || {
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
            while began.elapsed() < Duration::from_secs(9) {
                refused += usize::from(conn.command(&["SET", &hit, "never"]).is_error());
                std::thread::sleep(Duration::from_millis(5));
            }
            refused
        })
    };
    let mut rounds = 0;
    // The nodes call it dead after a second; a new client must be served, too.
    while began.elapsed() < Duration::from_secs(10) {
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
    wait_for("a table", Duration::from_secs(5), || {
        (conn.command(&["GET", &keys[0]]) == "here").then_some(())
    });
    for key in &keys {
        assert_eq!(conn.command(&["GET", key]), "here", "{key}");
    }
}
