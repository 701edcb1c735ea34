//! The ground itself: clusters start, fail over, move slots and lose nodes as the other tests expect.

use crate::support::{Cluster, Conn, Port, Reply, Single, key_in_slot, slot_of, wait_for};
use std::time::{Duration, Instant};

#[test]
fn slots_are_those_of_redis() {
    let cluster = Cluster::start(1, 0);
    let mut conn = cluster.raw(cluster.ports()[0]);
    for key in [
        "foo",
        "{user1}.following",
        "foo{}{bar}",
        "foo{{bar}}zap",
        "",
        "}{",
        "{a",
    ] {
        assert_eq!(
            i64::from(slot_of(key)),
            conn.command(&["CLUSTER", "KEYSLOT", key]).int(),
            "{key:?}"
        );
    }
    assert_eq!(slot_of(key_in_slot(4711, "x")), 4711);
}

#[test]
fn cluster_fails_over_migrates_and_survives_a_kill() {
    let started = Instant::now();
    let cluster = Cluster::start(3, 1);
    eprintln!("started after {:?}", started.elapsed());
    assert_eq!(cluster.masters(), cluster.ports()[..3]);

    let slot = 100;
    let (old, other) = (cluster.master_of(slot), cluster.master_of(16000));
    let replica = cluster.replicas_of(old)[0];
    let key = |number: u32| key_in_slot(slot, &format!("k{number}"));
    for number in 0..250 {
        assert_eq!(cluster.raw(old).command(&["SET", &key(number), "v"]), "OK");
    }

    cluster.failover(replica);
    assert_eq!(cluster.master_of(slot), replica);
    assert_eq!(cluster.replicas_of(replica), [old]);
    eprintln!("failed over after {:?}", started.elapsed());

    assert_eq!(cluster.migrate_slot(slot, replica, other), 250);
    assert_eq!(cluster.master_of(slot), other);
    assert_eq!(cluster.raw(other).command(&["GET", &key(249)]), "v");
    let moved = cluster.raw(replica).command(&["GET", &key(0)]);
    assert_eq!(
        moved.error(),
        Some(format!("MOVED {slot} 127.0.0.1:{other}").as_str())
    );
    eprintln!("migrated after {:?}", started.elapsed());

    cluster.begin_migration(slot, other, replica);
    assert_eq!(cluster.move_keys(slot, other, replica, 10), 10);
    let asked = (0..250).filter(|&n| {
        cluster
            .raw(other)
            .command(&["GET", &key(n)])
            .error()
            .is_some_and(|e| e.starts_with("ASK"))
    });
    assert_eq!(asked.count(), 10);

    cluster.kill(replica);
    wait_for(
        "the old master to be promoted",
        Duration::from_secs(30),
        || (cluster.find_master_of(0) == Some(old)).then_some(()),
    );
    cluster.restart(replica);
    cluster.wait_until_ready();
    assert_eq!(cluster.replicas_of(old), [replica]);
    eprintln!("replaced after {:?}", started.elapsed());

    cluster.freeze(replica);
    let mut frozen = Conn::connect(&cluster.server(replica).addr());
    frozen.set_deadline(Duration::from_millis(100));
    assert!(frozen.try_command(&["PING"]).is_err());
    cluster.thaw(replica);
    frozen.set_deadline(Duration::from_secs(30));
    assert_eq!(frozen.read_reply(), "PONG");
}

#[test]
fn client_reads_every_kind_of_reply() {
    let single = Single::start();
    let mut conn = single.conn();
    assert_eq!(conn.line("SET a 1"), "OK");
    assert_eq!(conn.line("INCR a"), Reply::Int(2));
    assert_eq!(conn.line("GET none"), Reply::NilBulk);
    assert!(
        conn.line("NONSENSE")
            .error()
            .is_some_and(|error| error.starts_with("ERR unknown command"))
    );
    assert!(matches!(conn.line("HELLO 3"), Reply::Map(_)));
    for (kind, expected) in [
        ("null", Reply::Null),
        ("true", Reply::Bool(true)),
        ("double", Reply::Double("3.141".to_string())),
        (
            "bignum",
            Reply::BigNumber("1234567999999999999999999999999999999".to_string()),
        ),
        (
            "verbatim",
            Reply::Verbatim("txt".to_string(), b"This is a verbatim\nstring".to_vec()),
        ),
        (
            "set",
            Reply::Set(vec![Reply::Int(0), Reply::Int(1), Reply::Int(2)]),
        ),
        (
            "push",
            Reply::Push(vec![
                Reply::Bulk(b"server-cpu-usage".to_vec()),
                Reply::Int(42),
            ]),
        ),
    ] {
        assert_eq!(
            conn.command(&["DEBUG", "PROTOCOL", kind]),
            expected,
            "{kind}"
        );
        if kind == "push" {
            conn.read_reply();
        }
    }
    conn.send("PING\r\nPING\r\n");
    assert_eq!(conn.read_frame(), b"+PONG\r\n");
    assert_eq!(conn.read_frame(), b"+PONG\r\n");
    assert_eq!(conn.line("QUIT"), "OK");
    assert_eq!(conn.read_to_close().expect("closes"), b"");
}

#[test]
fn a_port_is_given_once() {
    let numbers: Vec<u16> = (0..500).map(|_| Port::reserve().number()).collect();
    let different: std::collections::BTreeSet<u16> = numbers.iter().copied().collect();
    assert_eq!(different.len(), numbers.len());
}
