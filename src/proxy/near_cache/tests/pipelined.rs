//! A client that waits for its node pipelines on.

use super::*;

#[test]
fn who_waits_for_a_node_is_served_what_is_kept_in_order_and_counted_once() {
    let mut rig = Rig::with(1, |config| config.near_cache_min_reads = 3);
    let id = rig.clients[0].0;
    for key in ["hot", "other"] {
        rig.fill(key, 1);
    }
    rig.write("cold", 7);
    for round in 0..3 {
        // The first read waits for the tracking connection, so that the others are behind what stands there.
        let missed = format!("missed{round}");
        rig.write(&missed, 5);
        for _ in 0..2 {
            rig.ask(0, &["GET", &missed]);
            rig.settle();
        }
        assert_eq!(rig.heard(0), bulk(5).repeat(2));
        let (fills, hits) = (rig.stat("near_fills"), rig.stat("near_hits"));
        let mut all = Vec::new();
        for words in [
            ["GET", &missed],
            ["GET", "hot"],
            ["GET", "cold"],
            ["GET", "other"],
            ["INCR", "counter"],
            ["GET", "hot"],
        ] {
            encode::command(&mut all, words.map(str::as_bytes));
        }
        feed(&mut rig.proxy, Peer::Client(id), &all, rig.now);
        rig.act();
        assert_eq!(rig.heard(0), "", "in order");
        assert_eq!(rig.stat("near_hits"), hits + 3);
        rig.settle();
        let counter = format!(":{}\r\n", round + 1);
        let expected = [bulk(5), bulk(1), bulk(7), bulk(1), counter, bulk(1)].concat();
        assert_eq!(rig.heard(0), expected);
        // The cold key is kept when it has been read for the third time.
        let cold = u64::from(round == 2);
        assert_eq!(rig.stat("near_fills"), fills + 1 + cold, "{round}");
    }
    rig.proxy.check_idle();
}
