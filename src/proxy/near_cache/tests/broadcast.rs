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

/// The node answers something that is sent later, twice.
fn be_settled(rig: &mut Rig, client: usize) {
    for key in ["other:1", "other:2"] {
        rig.wait(Duration::from_micros(1));
        rig.write(key, 1);
        for _ in 0..3 {
            rig.ask(client, &["GET", key]);
            rig.settle();
            rig.heard(client);
        }
    }
}

#[test]
fn who_has_seen_a_newer_reply_is_not_served_an_older_one_to_another_request() {
    let mut rig = broadcasting(3);
    rig.fill("k", 1);
    let tracking = rig.tracking();
    // The node executes a write and then a read of the same key: the reply stands before the report.
    rig.ask(0, &RANGE);
    rig.write("k", 2);
    rig.execute(tracking, usize::MAX);
    deliver_replies(&mut rig, tracking, 2);
    assert_eq!(rig.heard(0), bulk(2));
    // Others have not seen it, until they have asked for it: it is not kept beside what is older.
    rig.ask(1, &["GET", "k"]);
    assert_eq!(rig.heard(1), bulk(1));
    rig.ask(2, &RANGE);
    rig.ask(2, &["GET", "k"]);
    rig.ask(0, &["GET", "k"]);
    assert_eq!((rig.heard(0), rig.heard(2)), (String::new(), String::new()));
    rig.settle();
    assert_eq!((rig.heard(0), rig.heard(2)), (bulk(2), bulk(2).repeat(2)));
    be_settled(&mut rig, 1);
    rig.fill("k", 2);
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
fn replies_to_several_requests_for_a_key_are_kept_once_that_is_settled() {
    let mut rig = broadcasting(2);
    rig.fill("k", 1);
    let tracking = rig.tracking();
    rig.ask(0, &RANGE);
    rig.execute(tracking, usize::MAX);
    deliver_replies(&mut rig, tracking, 2);
    assert_eq!(rig.heard(0), bulk(1));
    be_settled(&mut rig, 1);
    let reads = rig.reads;
    for client in 0..2 {
        rig.ask(client, &RANGE);
        rig.ask(client, &["GET", "k"]);
        assert_eq!((rig.heard(client), rig.reads), (bulk(1).repeat(2), reads));
    }
}

#[test]
fn what_is_not_settled_is_asked_for_although_nobody_reads() {
    let mut rig = broadcasting(1);
    rig.fill("k", 1);
    rig.ask(0, &RANGE);
    rig.settle();
    rig.heard(0);
    for _ in 0..12 {
        rig.wait(Duration::from_millis(260));
        rig.settle();
    }
    let reads = rig.reads;
    rig.ask(0, &RANGE);
    rig.ask(0, &["GET", "k"]);
    assert_eq!((rig.heard(0), rig.reads), (bulk(1).repeat(2), reads));
}

#[test]
fn an_error_settles_nothing_and_confirms_nothing() {
    let mut rig = broadcasting(2);
    rig.fill("k", 1);
    let tracking = rig.tracking();
    // The node is busy with a script: it answers at once, and reports later.
    for asked in 0..6 {
        rig.wait(Duration::from_millis(200));
        rig.ask(0, &["GET", &format!("other:{asked}")]);
        let link = &mut rig.links.get_mut(&tracking).unwrap().1;
        let asked = link.requests.split(|byte| *byte == b'*').count() - 1;
        link.requests.clear();
        let id = rig.links[&tracking].0;
        let busy = b"-BUSY Redis is busy running a script.\r\n".repeat(asked);
        feed(&mut rig.proxy, Peer::Backend(id), &busy, rig.now);
        rig.act();
    }
    // (The first one waits for another connection.)
    rig.ask(1, &["GET", "k"]);
    assert_eq!(rig.heard(1), "");
}

#[test]
fn a_request_whose_reply_the_node_does_not_keep_for_a_subscriber_is_asked_for_elsewhere() {
    let mut rig = broadcasting(1);
    rig.fill("k", 1);
    rig.write("large", 5);
    let mut lost = 0;
    for _ in 0..10 {
        rig.ask(0, &["GET", "large"]);
        let tracking = rig.tracking();
        if !rig.links[&tracking].1.requests.is_empty() {
            let id = rig.links[&tracking].0;
            rig.proxy.lose_backend(id, Lost::Closed, rig.now);
            rig.act();
            lost += 1;
        }
        rig.settle();
        assert_eq!(rig.heard(0), bulk(5));
        rig.wait(Duration::from_millis(100));
        rig.fill("k", 1);
    }
    assert_eq!(lost, 1);
}

#[test]
fn keys_of_one_slot_are_of_one_moment() {
    let mut rig = broadcasting(1);
    rig.fill("{t}a", 1);
    let tracking = rig.tracking();
    rig.write("{t}b", 1);
    rig.settle();
    be_settled(&mut rig, 0);
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

#[test]
fn where_nodes_remember_nothing_a_key_is_kept_after_one_read_less() {
    for (choice, reads) in [(NearCacheTracking::Keys, 2), (NearCacheTracking::Auto, 1)] {
        let mut rig = Rig::with(1, |config| {
            config.near_cache_tracking = choice;
            config.near_cache_min_reads = 2;
        });
        rig.fill("other", 1);
        rig.write("k", 1);
        rig.settle();
        for _ in 0..reads {
            rig.ask(0, &["GET", "k"]);
            rig.settle();
        }
        rig.heard(0);
        let before = rig.reads;
        rig.ask(0, &["GET", "k"]);
        assert_eq!((rig.heard(0), rig.reads), (bulk(1), before), "{choice:?}");
    }
}
