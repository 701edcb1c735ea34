//! MGET and EXISTS of several keys from the near cache.

use super::*;

/// What MGET says of these values.
fn list(values: &[u64]) -> String {
    let all: String = values.iter().map(|value| bulk(*value)).collect();
    format!("*{}\r\n{all}", values.len())
}

#[test]
fn parts_that_are_kept_are_answered_at_once_and_the_others_by_the_node() {
    let mut rig = Rig::new(2);
    rig.fill("a", 1);
    rig.fill("b", 2);
    let (reads, hits) = (rig.reads, rig.stat("near_hits"));
    rig.ask(1, &["MGET", "b", "a", "b"]);
    assert_eq!(rig.heard(1), list(&[2, 1, 2]));
    assert_eq!((rig.reads, rig.stat("near_hits")), (reads, hits + 3));
    // The third key waits for its node, and is kept then.
    rig.write("c", 3);
    rig.ask(1, &["MGET", "c", "a", "b"]);
    assert_eq!(rig.heard(1), "");
    rig.settle();
    assert_eq!(rig.heard(1), list(&[3, 1, 2]));
    assert_eq!(rig.reads, reads + 1);
    rig.ask(1, &["MGET", "c", "a", "b"]);
    assert_eq!(rig.heard(1), list(&[3, 1, 2]));
    rig.ask(0, &["GET", "c"]);
    assert_eq!(rig.heard(0), bulk(3));
    assert_eq!(rig.reads, reads + 1);
    rig.proxy.check_idle();
}

#[test]
fn keys_that_exist_are_counted_from_the_cache() {
    let mut rig = Rig::new(1);
    rig.write("a", 1);
    rig.write("b", 1);
    for _ in 0..4 {
        rig.ask(0, &["EXISTS", "a", "b", "a"]);
        rig.settle();
        assert_eq!(rig.heard(0), ":3\r\n");
        rig.ask(0, &["EXISTS", "a", "none"]);
        rig.settle();
        assert_eq!(rig.heard(0), ":1\r\n");
    }
    rig.ask(0, &["EXISTS", "b", "a"]);
    assert_eq!(rig.heard(0), ":2\r\n");
    rig.proxy.check_idle();
}

#[test]
fn a_part_sees_its_clients_own_write() {
    let mut rig = Rig::new(1);
    rig.fill("a", 1);
    rig.fill("b", 1);
    rig.ask(0, &["INCR", "a"]);
    rig.ask(0, &["MGET", "a", "b"]);
    rig.settle();
    assert_eq!(rig.heard(0), format!(":2\r\n{}", list(&[2, 1])));
}

#[test]
fn keys_of_one_slot_are_of_one_moment() {
    let mut rig = Rig::new(2);
    rig.fill("{a}1", 1);
    rig.fill("{a}2", 1);
    rig.ask(1, &["MGET", "{a}1", "{a}2"]);
    assert_eq!(rig.heard(1), list(&[1, 1]));
    // Both are written at once; the news of one of them has come.
    rig.write("{a}1", 2);
    rig.write("{a}2", 2);
    let push = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$4\r\n{a}1\r\n";
    rig.deliver(rig.tracking(), push.len());
    rig.ask(1, &["MGET", "{a}1", "{a}2"]);
    rig.settle();
    assert_eq!(rig.heard(1), list(&[2, 2]));
}

#[test]
fn parts_that_wait_for_a_connection_that_is_lost_are_answered_by_another() {
    let mut rig = Rig::new(1);
    rig.fill("a", 1);
    rig.write("b", 2);
    rig.ask(0, &["MGET", "a", "b"]);
    let name = rig.tracking();
    let id = rig.links[&name].0;
    rig.proxy.lose_backend(id, Lost::Closed, rig.now);
    rig.act();
    rig.settle();
    assert_eq!(rig.heard(0), list(&[1, 2]));
    rig.proxy.check_idle();
}

#[test]
fn what_is_no_string_is_an_error_to_get_and_nil_in_a_list() {
    let mut rig = Rig::new(1);
    rig.fill("a", 1);
    rig.ask(0, &["MGET", "a", "list"]);
    let name = rig.tracking();
    let tracking = &rig.links[&name].1;
    assert!(String::from_utf8_lossy(&tracking.requests).contains("get\r\n$4\r\nlist"));
    // The node does not get to see it: it answers as for a list.
    let link = &mut rig.links.get_mut(&name).unwrap().1;
    link.requests.clear();
    link.replies
        .extend(b"-WRONGTYPE Operation against a key\r\n:-1\r\n");
    rig.settle();
    assert_eq!(rig.heard(0), "*2\r\n$1\r\n1\r\n$-1\r\n");
    rig.proxy.check_idle();
}
