//! What once went wrong, each in the smallest form that showed it.

use crate::support::fake::Fake;
use crate::support::{Cluster, Conn, Proxy, Reply, key_in_slot, signal, wait_for};
use std::collections::HashSet;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

fn ground() -> &'static (Cluster, Proxy) {
    static GROUND: OnceLock<(Cluster, Proxy)> = OnceLock::new();
    GROUND.get_or_init(|| {
        let cluster = Cluster::start(2, 0);
        let proxy = Proxy::start(&cluster, &[]);
        (cluster, proxy)
    })
}

/// One request was refused with ASK, one behind it for another key of that slot was not: the first was then
/// given up, as if the second had overtaken it.
#[test]
fn keys_of_a_migrating_slot_do_not_stand_in_each_others_way() {
    let (cluster, proxy) = ground();
    let slot = 4711;
    let keys: Vec<String> = (0..100)
        .map(|number| key_in_slot(slot, &format!("migrating{number}")))
        .collect();
    let mut conn = proxy.conn();
    for key in &keys {
        assert_eq!(conn.command(&["SET", key, "0"]), "OK");
    }
    let from = cluster.master_of(slot);
    let to = *cluster
        .masters()
        .iter()
        .find(|port| **port != from)
        .expect("another");
    cluster.begin_migration(slot, from, to);
    assert_eq!(cluster.move_keys(slot, from, to, 50), 50);
    // The node gave the youngest ones: one that moved, one that did not, and so on.
    let keys: Vec<&String> = (0..50)
        .flat_map(|number| [&keys[99 - number], &keys[number]])
        .collect();
    let asked = proxy.counter("proxy_ask");
    for round in 1..=3 {
        let commands: Vec<Vec<&str>> = keys.iter().map(|key| vec!["INCR", key]).collect();
        for (reply, key) in conn.pipeline(&commands).into_iter().zip(&keys) {
            assert_eq!(reply, Reply::Int(round), "{key}");
        }
    }
    assert_eq!(proxy.counter("proxy_ask") - asked, 150);
    cluster.move_keys(slot, from, to, 100);
    cluster.end_migration(slot, from, to);
}

/// What stands where a bulk length should was refused at its first byte; Redis looks at whole lines, and a
/// client that had sent the rest meanwhile lost the error to a reset.
#[test]
fn a_line_is_judged_when_it_is_there() {
    let (_, proxy) = ground();
    let mut conn = proxy.conn();
    conn.send("*1\r\nfo");
    assert!(conn.is_open(Duration::from_millis(50)));
    conn.send("o\r\n");
    let came = conn.read_to_close().expect("it closes");
    assert_eq!(
        String::from_utf8_lossy(&came),
        "-ERR Protocol error: expected '$', got 'f'\r\n"
    );
}

/// The text was that of a later Redis.
#[test]
fn hello_without_a_password_has_the_words_of_redis_7_0() {
    let (cluster, _) = ground();
    let proxy = Proxy::start(cluster, &["-client-password", "secret"]);
    let reply = Conn::connect(proxy.addr()).line("HELLO 3");
    assert!(
        reply
            .error()
            .is_some_and(|text| text.contains("otherwise the HELLO AUTH <user> <pass> option")),
        "{reply:?}"
    );
}

/// One client went and another came in one turn of the loop: the second was given the first one's place while
/// the first one's socket was still there, and the assertion of that ended the worker.
#[test]
fn one_goes_and_one_comes_in_one_turn() {
    let (cluster, _) = ground();
    let folder = tempfile::tempdir().expect("a folder");
    let addr = format!("unix:{}", folder.path().join("sock").display());
    let proxy = Proxy::start(cluster, &["-addr", &addr]);
    for _ in 0..20 {
        let mut first = proxy.conn();
        assert_eq!(first.line("PING"), "PONG");
        // While it stands still both things happen, so that it sees both at once.
        signal(proxy.pid(), "STOP");
        drop(first);
        let mut second = proxy.conn();
        second.send("PING\r\n");
        signal(proxy.pid(), "CONT");
        assert_eq!(second.read_reply(), "PONG");
    }
}

/// A node throws its blocked clients out when it is no master any more, and closes their connections. Such a
/// connection was lent again at once, and the next pop on it was lost.
#[test]
fn a_connection_that_is_thrown_out_is_not_used_again() {
    // A connection of the node has a thread of its own.
    let thrown_out = Mutex::new(HashSet::new());
    let node = Fake::start(move |args| {
        if args[0] != "BLPOP" {
            return Some(b":7\r\n".to_vec());
        }
        let own = std::thread::current().id();
        let mut thrown_out = thrown_out.lock().expect("no panic");
        if thrown_out.contains(&own) {
            return None;
        }
        if thrown_out.len() == 3 {
            return Some(b"*2\r\n$1\r\nq\r\n$5\r\ntoken\r\n".to_vec());
        }
        thrown_out.insert(own);
        let text = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
        Some(format!("-{text}\r\n").into_bytes())
    });
    Fake::unite(&[&node]);
    let proxy = Proxy::spawn(&[node.addr.to_string()], &[], &[]);
    proxy.wait_until_answering();
    let mut conn = proxy.conn();
    wait_for("a topology", Duration::from_secs(20), || {
        (conn.line("GET q") == Reply::Int(7)).then_some(())
    });
    let reply = conn.line("BLPOP q 5");
    assert_eq!(reply.items()[1], "token", "{reply:?}");
}

/// Two nodes, of which the first throws a pop out with MOVED once it has waited for a while; and what the
/// second answers it.
fn popped_elsewhere(flags: &[&str], meanwhile: impl FnOnce(&Proxy, [&Fake; 2])) -> Reply {
    let second = Fake::start(|args| match args[0].as_str() {
        "BLPOP" => Some(b"*2\r\n$1\r\nq\r\n$5\r\ntoken\r\n".to_vec()),
        _ => Some(b":7\r\n".to_vec()),
    });
    let moved = format!("-MOVED 1 {}\r\n", second.addr);
    let first = Fake::start(move |args| {
        if args[0] != "BLPOP" {
            return Some(b":7\r\n".to_vec());
        }
        std::thread::sleep(Duration::from_millis(1800));
        Some(moved.clone().into_bytes())
    });
    Fake::unite(&[&first, &second]);
    let proxy = Proxy::spawn(&[first.addr.to_string()], flags, &[]);
    proxy.wait_until_answering();
    let mut conn = proxy.conn();
    let key = key_in_slot(1, "q");
    wait_for("a topology", Duration::from_secs(20), || {
        (conn.command(&["GET", &key]) == Reply::Int(7)).then_some(())
    });
    conn.send(Conn::encode(&["BLPOP", &key, "30"]));
    std::thread::sleep(Duration::from_millis(300));
    meanwhile(&proxy, [&first, &second]);
    conn.read_reply()
}

/// The time that a pop had waited at its node was taken for time without a node: a slot that moved was given up
/// at once, for all clients.
#[test]
fn a_pop_that_has_waited_long_goes_on_where_its_slot_has_moved_to() {
    let reply = popped_elsewhere(&["-park-timeout", "1s"], |_, _| {});
    assert_eq!(reply.items()[1], "token", "{reply:?}");
}

/// A node tells blocked clients once a second that their slot has moved. Who knew before was impatient: the pop
/// was lost.
#[test]
fn a_pop_waits_until_its_node_says_that_the_slot_has_moved() {
    let reply = popped_elsewhere(&[], |proxy, [first, second]| {
        let text = Fake::nodes_text(&[second, first]);
        for node in [first, second] {
            node.nodes.lock().expect("no panic").clone_from(&text);
        }
        assert_eq!(proxy.conn().line("PROXY CLUSTER UPDATE"), "OK");
    });
    assert_eq!(reply.items()[1], "token", "{reply:?}");
}
