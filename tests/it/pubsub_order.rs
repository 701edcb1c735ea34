//! A subscription counts from the moment its request is read: for publishers through the same proxy, and for the
//! client itself.

use crate::support::{self, Cluster, Conn, Proxy, Reply, Single, session, wait_for};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);
/// How long a PUBLISH waits for subscriptions on their way.
const PATIENCE: Duration = Duration::from_secs(1);

/// What one client sends at once.
const PIPELINES: &[&str] = &[
    "SUBSCRIBE c | PUBLISH c hi | PING",
    "SUBSCRIBE c | PUBLISH c hi | PUBLISH c ho | UNSUBSCRIBE c | PUBLISH d x",
    "SUBSCRIBE c | PSUBSCRIBE c* | PUBLISH c hi | GET a",
    "PSUBSCRIBE c* | GET a | PUBLISH c1 hi | GET a | PUBLISH c2 ho | PUBLISH d x | SET a 1 | GET a | DEL a",
    "SUBSCRIBE c d e | PUBLISH d 1 | PUBLISH e 2 | PUBLISH c 3 | ECHO x",
    "SUBSCRIBE c c | PUBLISH c hi | PING",
    "SSUBSCRIBE s | SPUBLISH s hi | PING | SPUBLISH s ho",
    "SUBSCRIBE c | SPUBLISH c hi | PUBLISH c ho | PING",
    "SSUBSCRIBE s | PUBLISH s hi | SPUBLISH s ho | SUNSUBSCRIBE s | SPUBLISH t x",
    "SET a 1 | GET a | SUBSCRIBE c | MGET a b | PUBLISH c hi | DEL a b",
];

/// As `bytes`. A node that has no processor for so long that nobody waits for it confirms no subscription: then it is tried
/// again.
fn bytes_in_time(addr: &str, sequence: &str) -> String {
    for _ in 0..5 {
        let began = Instant::now();
        let heard = bytes(addr, sequence);
        if began.elapsed() < PATIENCE {
            return heard;
        }
    }
    panic!("{sequence}: it takes {PATIENCE:?} each time");
}

/// All that a client hears that sends everything at once.
fn bytes(addr: &str, sequence: &str) -> String {
    let mut conn = Conn::connect(addr);
    conn.command(&["HELLO", "3"]);
    let words = sequence.split(" | ").map(session::words);
    let requests: Vec<u8> = words.flat_map(|words| Conn::encode(&words)).collect();
    conn.send(requests);
    conn.finish().expect("it can be closed for writing");
    let heard = conn.read_to_close().expect("it is closed");
    String::from_utf8_lossy(&heard).into_owned()
}

#[test]
fn a_message_to_its_publisher_comes_where_one_server_puts_it() {
    let one = Single::start();
    let cluster = Cluster::start(3, 0);
    for flags in [
        &["-pubsub-order", "all"][..],
        &["-pubsub-order", "channel"],
        &["-max-procs", "2"],
    ] {
        let proxy = Proxy::start(&cluster, flags);
        // MGET has no slot on one server, and a pattern of its own home no order with the channels of others.
        let patterns = flags.contains(&"channel");
        for sequence in PIPELINES {
            if patterns && sequence.contains("PSUBSCRIBE") {
                continue;
            }
            for round in 0..5 {
                let found = bytes_in_time(proxy.addr(), sequence);
                let expected = bytes(&one.addr(), sequence);
                assert_eq!(found, expected, "{sequence}, {flags:?}, round {round}");
            }
        }
    }
}

/// Redis 7.0 puts the message of a PUBLISH that EXEC executes inside the reply to EXEC, where no client expects one. Ours
/// stands before that reply, and behind those to what was queued.
#[test]
fn a_message_of_exec_to_its_own_client_comes_before_the_reply_to_exec() {
    let one = Single::start();
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    for (sequence, messages) in [
        ("SUBSCRIBE c | MULTI | PUBLISH c hi | EXEC | PING", 1),
        (
            "SUBSCRIBE c | MULTI | PUBLISH c hi | PUBLISH c ho | PUBLISH d x | EXEC | PING",
            2,
        ),
        ("SSUBSCRIBE s | MULTI | SPUBLISH s hi | EXEC | PING", 1),
        (
            "SSUBSCRIBE s | GET s | MULTI | SET s 1 | SPUBLISH s hi | DEL s | EXEC | PING",
            1,
        ),
        (
            "PSUBSCRIBE c* | GET a | MULTI | PUBLISH c1 hi | EXEC | PING",
            1,
        ),
    ] {
        for round in 0..10 {
            let [ours, theirs] = [proxy.addr(), &one.addr()].map(|addr| {
                let heard = bytes_in_time(addr, sequence);
                let (mut rest, mut at) = (heard.clone(), Vec::new());
                for text in ["hi", "ho"].iter().take(messages) {
                    let end = format!("$2\r\n{text}\r\n");
                    let end_at = heard.find(&end).expect("the message comes") + end.len();
                    let begin_at = heard[..end_at].rfind('>').expect("it is a push");
                    rest = rest.replacen(&heard[begin_at..end_at], "", 1);
                    at.push(begin_at);
                }
                (heard, rest, at)
            });
            assert_eq!(ours.1, theirs.1, "{sequence}, round {round}");
            let (heard, _, at) = ours;
            let queued = heard.rfind("+QUEUED\r\n").expect("it is queued");
            let reply = queued + heard[queued..].find('*').expect("EXEC has a reply");
            for at in at {
                assert!(
                    queued < at && at < reply,
                    "{sequence}, round {round}: {heard}"
                );
            }
        }
    }
}

/// One subscribes and does not read the answer; another publishes: one server loses nothing.
#[test]
fn no_message_behind_a_subscription_is_lost() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let mut publisher = proxy.conn();
    for (subscribe, publish) in [
        ("SUBSCRIBE", "PUBLISH"),
        ("PSUBSCRIBE", "PUBLISH"),
        ("SSUBSCRIBE", "SPUBLISH"),
    ] {
        for round in 0..30 {
            let channel = format!("{subscribe}{round}");
            let mut subscriber = proxy.conn();
            assert_eq!(subscriber.line("PING"), "PONG");
            // Its request has a reply before it that is not there yet, every other time.
            let mut requests = Vec::new();
            if round % 2 == 0 {
                requests.extend(Conn::encode(&["GET", "a"]));
            }
            // Others before it are on their way, too, every third time.
            let others = if round % 3 == 0 { 5 } else { 0 };
            for other in 0..others {
                let name = format!("{channel}other{other}");
                requests.extend(Conn::encode(&["SUBSCRIBE", &name]));
            }
            requests.extend(Conn::encode(&[subscribe, &channel]));
            subscriber.send(requests);
            subscriber.wait_until_received();
            let began = Instant::now();
            let counted = publisher.command(&[publish, &channel, "x"]);
            // A node that has no processor for so long has not confirmed: nobody waits longer for it.
            if counted == Reply::Int(0) && began.elapsed() >= PATIENCE {
                continue;
            }
            assert_eq!(counted, Reply::Int(1), "{channel}");
            if round % 2 == 0 {
                assert!(subscriber.read_reply().is_nil());
            }
            for _ in 0..others {
                assert_eq!(subscriber.read_reply().items()[0], "subscribe");
            }
            assert_eq!(subscriber.read_reply().items()[1], channel.as_str());
            let message = subscriber.read_reply();
            assert_eq!(message.items().last(), Some(&Reply::Bulk(b"x".to_vec())));
        }
    }
}

/// The node that is to confirm is slow: publishers of other workers wait, too, others do not, and nobody for long.
#[test]
fn publishers_of_all_workers_wait_and_not_for_long() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "3"]);
    let carrier = cluster.master_of(0);
    let mut watcher = proxy.conn();
    let mut publishers: Vec<Conn> = (0..6).map(|_| proxy.conn()).collect();
    for conn in &mut publishers {
        // Their connections to the node are there before that of the subscription.
        assert_eq!(conn.line("PUBLISH nobody x"), Reply::Int(0));
    }
    let mut subscriber = proxy.conn();
    let list = format!("CLIENT LIST ID {}", subscriber.line("CLIENT ID").int());
    cluster.freeze(carrier);
    subscriber.send(Conn::encode(&["SUBSCRIBE", "news"]));
    wait_for("the request to be read", LIMIT, || {
        let line = watcher.line(&list).text();
        line.contains("cmd=subscribe").then_some(())
    });
    for (number, conn) in publishers.iter_mut().enumerate() {
        conn.send(Conn::encode(&["PUBLISH", "news", &number.to_string()]));
    }
    cluster.thaw(carrier);
    for conn in &mut publishers {
        assert_eq!(conn.read_reply(), Reply::Int(1));
    }
    assert_eq!(subscriber.read_reply().items()[1], "news");
    let mut heard: Vec<String> = (0..6)
        .map(|_| subscriber.read_reply().items()[2].text())
        .collect();
    heard.sort();
    assert_eq!(heard, ["0", "1", "2", "3", "4", "5"]);
    // The owner of a shard channel is silent, and the subscription with it. To others it is nothing.
    let slot = (0..16384).find(|slot| cluster.master_of(*slot) != carrier);
    let slot = slot.expect("another master has slots");
    let channel = support::key_in_slot(slot, "shard");
    let silent = cluster.master_of(slot);
    let mut waiting = proxy.conn();
    let list = format!("CLIENT LIST ID {}", waiting.line("CLIENT ID").int());
    cluster.freeze(silent);
    waiting.send(Conn::encode(&["SSUBSCRIBE", &channel]));
    wait_for("the request to be read", LIMIT, || {
        let line = watcher.line(&list).text();
        line.contains("cmd=ssubscribe").then_some(())
    });
    assert_eq!(
        publishers[0].command(&["PUBLISH", &channel, "x"]),
        Reply::Int(0)
    );
    assert_eq!(publishers[1].line("PUBLISH news 7"), Reply::Int(1));
    publishers[2].send(Conn::encode(&["SPUBLISH", &channel, "x"]));
    drop(waiting);
    cluster.thaw(silent);
    assert!(publishers[2].read_reply().int() <= 1);
}

/// One client publishes in several ways; whoever hears all of it hears it in order.
#[test]
fn scripts_without_keys_publish_in_the_order_of_their_client() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let mut subscriber = proxy.conn();
    assert_eq!(subscriber.line("PSUBSCRIBE *").items()[0], "psubscribe");
    const SCRIPT: &str = "return redis.call('PUBLISH', ARGV[1], ARGV[2])";
    const ROUNDS: usize = 20;
    for publisher in 0..5 {
        let mut publisher_conn = proxy.conn();
        let mut requests = Vec::new();
        let mut expected = Vec::new();
        for round in 0..ROUNDS {
            let mut names = (0..4).map(|way| format!("{publisher}.{round}.{way}"));
            let [script, plain, queued, last] =
                std::array::from_fn(|_| names.next().expect("four names"));
            requests.extend(Conn::encode(&["EVAL", SCRIPT, "0", &script, "x"]));
            requests.extend(Conn::encode(&["PUBLISH", &plain, "x"]));
            requests.extend(Conn::encode(&["MULTI"]));
            requests.extend(Conn::encode(&["EVAL", SCRIPT, "0", &queued, "x"]));
            requests.extend(Conn::encode(&["EXEC"]));
            requests.extend(Conn::encode(&["PUBLISH", &last, "x"]));
            expected.extend([script, plain, queued, last]);
        }
        publisher_conn.send(requests);
        let heard: Vec<String> = (0..4 * ROUNDS)
            .map(|_| subscriber.read_reply().items()[2].text())
            .collect();
        assert_eq!(heard, expected);
    }
}
