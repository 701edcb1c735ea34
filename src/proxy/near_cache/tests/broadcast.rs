//! A node that reports all keys that change, behind the replies to all that it has executed.

use super::*;

fn broadcasting(clients: usize) -> Rig {
    Rig::with(clients, |config| {
        config.near_cache_tracking = NearCacheTracking::Broadcast;
    })
}

/// The first `count` replies that the node has written on a connection arrive, and what is behind them does not.
fn deliver_replies(rig: &mut Rig, name: (u32, u32), count: usize) {
    rig.report();
    let bytes = &rig.links[&name].1.replies;
    let mut len = 0;
    for _ in 0..count {
        let mut scanner = crate::resp::reply_frame::ReplyScanner::default();
        match scanner.next(&bytes[len..], usize::MAX) {
            Ok(Scan::Frame(own)) => len += own,
            other => panic!("{other:?}"),
        }
    }
    rig.deliver(name, len);
}

const RANGE: [&str; 4] = ["GETRANGE", "k", "0", "-1"];

#[test]
fn who_has_seen_a_newer_reply_is_not_served_an_older_one_to_another_request() {
    let mut rig = broadcasting(2);
    rig.fill("k", 1);
    let tracking = rig.tracking();
    // The node executes a write and then a read of the same key: the reply stands before the report.
    rig.ask(0, &RANGE);
    rig.write("k", 2);
    rig.execute(tracking, usize::MAX);
    deliver_replies(&mut rig, tracking, 2);
    assert_eq!(rig.heard(0), bulk(2));
    // Others have not seen it.
    rig.ask(1, &["GET", "k"]);
    assert_eq!(rig.heard(1), bulk(1));
    rig.ask(0, &["GET", "k"]);
    assert_eq!(rig.heard(0), "");
    rig.settle();
    assert_eq!(rig.heard(0), bulk(2));
    // The node answers something that is sent later.
    rig.wait(Duration::from_micros(1));
    rig.ask(1, &["GET", "other"]);
    rig.settle();
    rig.heard(1);
    let reads = rig.reads;
    rig.ask(0, &["GET", "k"]);
    rig.ask(1, &["GET", "k"]);
    assert_eq!(
        (rig.heard(0), rig.heard(1), rig.reads),
        (bulk(2), bulk(2), reads)
    );
    rig.proxy.check_idle();
}

#[test]
fn who_has_seen_the_same_again_is_served() {
    let mut rig = broadcasting(1);
    rig.fill("k", 1);
    let tracking = rig.tracking();
    rig.ask(0, &RANGE);
    rig.execute(tracking, usize::MAX);
    deliver_replies(&mut rig, tracking, 2);
    assert_eq!(rig.heard(0), bulk(1));
    rig.wait(Duration::from_micros(1));
    // It may be newer than what is kept, so the node is asked; what it says is the same, so nothing more is in doubt.
    rig.ask(0, &["GET", "k"]);
    rig.execute(tracking, usize::MAX);
    deliver_replies(&mut rig, tracking, 2);
    assert_eq!(rig.heard(0), bulk(1));
    let reads = rig.reads;
    rig.ask(0, &RANGE);
    rig.ask(0, &["GET", "k"]);
    assert_eq!((rig.heard(0), rig.reads), (bulk(1).repeat(2), reads));
}

#[test]
fn keys_of_one_slot_are_of_one_moment() {
    let mut rig = broadcasting(1);
    rig.fill("{t}a", 1);
    let tracking = rig.tracking();
    rig.write("{t}b", 1);
    rig.settle();
    rig.wait(Duration::from_micros(1));
    rig.ask(0, &["GET", "{t}b"]);
    // Somebody writes both at once before the node reads one of them.
    rig.write("{t}a", 2);
    rig.write("{t}b", 2);
    rig.execute(tracking, usize::MAX);
    deliver_replies(&mut rig, tracking, 2);
    assert_eq!(rig.heard(0), bulk(2));
    rig.ask(0, &["MGET", "{t}a", "{t}b"]);
    rig.settle();
    assert_eq!(rig.heard(0), format!("*2\r\n{}{}", bulk(2), bulk(2)));
    rig.proxy.check_idle();
}

#[test]
fn a_report_of_very_many_keys_drops_all_that_is_kept_of_its_node() {
    let mut rig = broadcasting(1);
    rig.fill("k", 1);
    let reads = rig.reads;
    (0..40_000).for_each(|key| rig.changed.push(format!("other:{key}").into_bytes()));
    rig.settle();
    rig.ask(0, &["GET", "k"]);
    rig.settle();
    assert_eq!((rig.heard(0), rig.reads), (bulk(1), reads + 1));
}

#[test]
fn a_node_that_reports_very_much_for_little_is_asked_for_single_keys() {
    let mut rig = Rig::with(1, |config| {
        config.near_cache_tracking = NearCacheTracking::Auto
    });
    rig.fill("k", 1);
    for batch in 0..4 {
        (0..5000).for_each(|key| rig.changed.push(format!("{batch}:{key}").into_bytes()));
        rig.settle();
    }
    let connects = rig.connects;
    rig.wait(Duration::from_secs(11));
    rig.fill("k", 2);
    assert_eq!(rig.connects, connects + 1);
    assert!(!rig.links[&rig.tracking()].1.broadcast);
    rig.wait(Duration::from_secs(600));
    rig.fill("k", 3);
    assert!(rig.links[&rig.tracking()].1.broadcast, "it is tried again");
}

#[test]
fn a_node_that_lets_nobody_subscribe_is_asked_for_single_keys() {
    let mut rig = broadcasting(1);
    rig.refuses_subscribe = true;
    rig.write("k", 1);
    rig.ask(0, &["GET", "k"]);
    rig.settle();
    rig.heard(0);
    rig.wait(Duration::from_millis(10));
    rig.fill("k", 2);
    assert!(!rig.links[&rig.tracking()].1.broadcast);
    assert_eq!(
        rig.connects, 3,
        "the usual one, one in vain, and one that tracks"
    );
    rig.proxy.check_idle();
}
