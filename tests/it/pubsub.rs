//! Publish and subscribe through the proxy, in front of real clusters: replies as one server gives them, many
//! subscribers for the price of one, keyspace notifications of all masters, and what happens to subscribers when
//! nodes are lost and slots move.

use crate::support::{Cluster, Conn, Proxy, Reply, Single, key_in_slot, slot_of, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

/// For tests that do not change it, each with names of its own: who hears or counts the names of others has a cluster of
/// its own.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(3, 0));

fn words(line: &str) -> Vec<String> {
    // A tilde stands for a space within a word.
    line.split(' ').map(|word| word.replace('~', " ")).collect()
}

/// One of two that are compared: a client, another one beside it, and one that only asks whether the server has
/// come to what was sent before.
struct Side {
    conns: [Conn; 2],
    fence: Conn,
}

impl Side {
    fn new(addr: &str) -> Side {
        Side {
            conns: [Conn::connect(addr), Conn::connect(addr)],
            fence: Conn::connect(addr),
        }
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// As `show`; the client's own number, which HELLO tells, is nobody's concern.
fn show_but_id(bytes: &[u8]) -> String {
    let text = show(bytes);
    let Some((before, behind)) = text.split_once(r"$2\r\nid\r\n:") else {
        return text;
    };
    let behind = behind.trim_start_matches(|digit: char| digit.is_ascii_digit());
    format!("{before}{behind}")
}

/// Sends a line and reads all that comes; then the same to the other, whose bytes must be the same. A line is the
/// client's own, or with `@` before it its neighbour's, which is read first.
fn same(ours: &mut Side, theirs: &mut Side, line: &str) {
    let (who, words) = match line.strip_prefix('@') {
        Some(rest) => (1, words(rest)),
        None => (0, words(line)),
    };
    let quiet = Duration::from_millis(60);
    let read = |conn: &mut Conn| conn.read_for(quiet).unwrap_or_default();
    theirs.conns[who].try_send(&Conn::encode(&words)).ok();
    theirs.fence.line("PING");
    let expected = [1, 0].map(|at| read(&mut theirs.conns[at]));
    ours.conns[who].try_send(&Conn::encode(&words)).ok();
    for (at, expected) in [1, 0].into_iter().zip(expected) {
        let mut got = Vec::new();
        let deadline = Instant::now() + LIMIT;
        while got.len() < expected.len() && Instant::now() < deadline {
            match ours.conns[at].read_some(Duration::from_millis(200)) {
                Ok(bytes) => got.extend(bytes.unwrap_or_default()),
                Err(_) => break,
            }
        }
        // Nothing may come behind it; what does is seen at the latest with the next line.
        got.extend(read(&mut ours.conns[at]));
        assert_eq!(show_but_id(&got), show_but_id(&expected), "{line}");
    }
}

/// What a subscriber may do in RESP2, and what others see of it.
const RESP2: &[&str] = &[
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE",
    "SUNSUBSCRIBE",
    "UNSUBSCRIBE a b",
    "SUBSCRIBE",
    "PUBLISH a",
    "@PUBLISH a nobody",
    "@SPUBLISH a nobody",
    "@PUBSUB CHANNELS",
    "@PUBSUB NUMPAT",
    "@PUBSUB NUMSUB a b a",
    "@PUBSUB NUMSUB",
    "SUBSCRIBE a b a",
    "GET x",
    "PING",
    "PING hi",
    "PING a b",
    "ECHO x",
    "foo bar",
    "get",
    "config get x",
    "HELLO 3",
    "MULTI",
    "WATCH k",
    "MONITOR",
    "PUBLISH a self",
    "CLIENT ID",
    "PUBSUB CHANNELS",
    "@PUBLISH a message",
    "@PUBLISH b a~longer~message",
    "@PUBLISH c nobody",
    "@PUBSUB NUMSUB a b c",
    "PSUBSCRIBE x?z [abc]*y",
    "@PUBSUB NUMPAT",
    "@PUBLISH xyz matched",
    "@PUBLISH bey matched",
    "PUNSUBSCRIBE [abc]*y",
    "@PUBLISH bey unmatched",
    "SSUBSCRIBE s",
    "@SPUBLISH s sharded",
    "@SPUBLISH a not-the-same",
    "@PUBLISH s not-the-same",
    "@PUBSUB SHARDCHANNELS",
    "@PUBSUB SHARDCHANNELS t*",
    "@PUBSUB SHARDNUMSUB s t",
    "@PUBSUB CHANNELS s",
    "SUNSUBSCRIBE t",
    "SUNSUBSCRIBE",
    "SUNSUBSCRIBE",
    "UNSUBSCRIBE b z",
    "PUNSUBSCRIBE",
    "PUNSUBSCRIBE",
    "UNSUBSCRIBE",
    "UNSUBSCRIBE",
    "GET x",
    "@PUBLISH a nobody",
    "@PUBSUB CHANNELS",
    "@PUBSUB NUMPAT",
    "@PUBSUB SHARDCHANNELS",
    "SUBSCRIBE a",
    "RESET",
    "PING",
    "@PUBLISH a nobody",
    "CLIENT REPLY SKIP",
    "SUBSCRIBE a",
    "@PUBLISH a heard",
    "UNSUBSCRIBE a",
    "CLIENT REPLY OFF",
    "SUBSCRIBE a",
    "@PUBLISH a heard",
    "PING",
    "GET x",
    "RESET",
    "SUBSCRIBE a",
    "@PUBLISH a last",
    "QUIT",
    "@PUBLISH a nobody",
];

const RESP3: &[&str] = &[
    "HELLO 3",
    "UNSUBSCRIBE",
    "SUBSCRIBE a b",
    "GET x",
    "PING",
    "PING hi",
    "SET k v",
    "GET k",
    "@PUBLISH a message",
    "PSUBSCRIBE x*",
    "@PUBLISH xyz matched",
    "SSUBSCRIBE s",
    "@SPUBLISH s sharded",
    "SUNSUBSCRIBE s",
    "CLIENT REPLY SKIP",
    "SUBSCRIBE c",
    "GET k",
    "CLIENT REPLY OFF",
    "SUBSCRIBE d",
    "@PUBLISH a heard",
    "UNSUBSCRIBE d",
    "PING",
    "CLIENT REPLY ON",
    "DEL k",
    "HELLO 2",
    "GET x",
    "@PUBLISH a message",
    "UNSUBSCRIBE a",
    "UNSUBSCRIBE b",
    "UNSUBSCRIBE c",
    "PUNSUBSCRIBE",
    "GET x",
];

#[test]
fn replies_are_those_of_redis() {
    // On a cluster of its own: others' channels would be seen.
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    let single = Single::start();
    for lines in [RESP2, RESP3] {
        let (mut ours, mut theirs) = (Side::new(proxy.addr()), Side::new(&single.addr()));
        for line in lines {
            same(&mut ours, &mut theirs, line);
        }
    }
}

#[test]
fn order_with_other_requests_is_kept() {
    let proxy = Proxy::start(&CLUSTER, &[]);
    let single = Single::start();
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut answers = Vec::new();
        for addr in [proxy.addr(), &single.addr()] {
            let mut conn = Conn::connect(addr);
            conn.line(hello);
            let lines = [
                "SET order:a 1",
                "INCR order:a",
                "MGET order:a order:b order:c",
                "SUBSCRIBE order.1 order.2 order.3",
                "PING",
                "SUBSCRIBE order.4",
                "SSUBSCRIBE {order}.5 {order}.6",
                "GET order:a",
                "UNSUBSCRIBE order.1 order.2",
                "UNSUBSCRIBE order.3 order.4",
                "SUNSUBSCRIBE {order}.5",
                "SUNSUBSCRIBE {order}.6",
                "GET order:a",
                "DEL order:a",
            ];
            let bytes: Vec<u8> = lines
                .iter()
                .flat_map(|line| Conn::encode(&words(line)))
                .collect();
            conn.send(bytes);
            let frames: Vec<String> = (0..lines.len() + 5)
                .map(|_| show(&conn.read_frame()))
                .collect();
            answers.push(frames);
        }
        assert_eq!(answers[0], answers[1], "{hello}");
    }
}

/// The kind of a message, and its words.
fn message(reply: &Reply) -> Vec<String> {
    let items = reply.items().iter();
    items
        .map(|item| match item {
            Reply::Int(number) => number.to_string(),
            other => other.text(),
        })
        .collect()
}

fn subscribe(conn: &mut Conn, line: &str) {
    let count = words(line).len() - 1;
    conn.send(Conn::encode(&words(line)));
    for _ in 0..count {
        let reply = conn.read_reply();
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
}

/// As many clients as wanted, but for descriptors; this process and the proxy have the same limit.
fn affordable(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("a limit");
    let soft = line.split_whitespace().nth(3).expect("a number");
    soft.parse::<usize>()
        .map_or(wanted, |soft| wanted.min(soft.saturating_sub(300)))
}

/// How often nodes count a channel: our connections.
fn numsub(cluster: &Cluster, channel: &str) -> i64 {
    let count = |port: u16| {
        let mut conn = cluster.raw(port);
        conn.command(&["PUBSUB", "NUMSUB", channel]).items()[1].int()
    };
    cluster.masters().into_iter().map(count).sum()
}

fn fan_out(subscribers: usize) {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    let subscribers = affordable(subscribers);
    let mut conns: Vec<Conn> = (0..subscribers)
        .map(|index| {
            let mut conn = proxy.conn();
            if index % 2 == 1 {
                conn.line("HELLO 3");
            }
            subscribe(&mut conn, "SUBSCRIBE news");
            conn
        })
        .collect();
    let connections = numsub(&cluster, "news");
    assert_eq!(connections, 2, "one for each worker");
    let mut publisher = proxy.conn();
    let count = publisher.line("PUBSUB NUMSUB news").items()[1].int();
    assert_eq!(count, subscribers as i64);
    // A stranger at a node is counted, too.
    let mut stranger = cluster.raw(cluster.master_of(slot_of("news")));
    subscribe(&mut stranger, "SUBSCRIBE news");
    let started = Instant::now();
    for sequence in 0..10 {
        let heard = publisher.command(&["PUBLISH", "news", &sequence.to_string()]);
        assert_eq!(heard.int(), subscribers as i64 + 1);
    }
    for (index, conn) in conns.iter_mut().enumerate() {
        for sequence in 0..10 {
            let reply = conn.read_reply();
            assert_eq!(matches!(reply, Reply::Push(_)), index % 2 == 1);
            let sequence = sequence.to_string();
            assert_eq!(message(&reply), ["message", "news", &sequence]);
        }
    }
    println!(
        "{subscribers} subscribers have {} messages after {:?}",
        10 * subscribers,
        started.elapsed()
    );
    assert_eq!(proxy.counter("proxy_messages"), 10 * subscribers as u64);
    let info = publisher.line("INFO clients").text();
    assert!(
        info.contains(&format!("pubsub_clients:{subscribers}\r\n")),
        "{info}"
    );
    drop(conns);
    wait_for("all to be forgotten", LIMIT, || {
        (numsub(&cluster, "news") == 1).then_some(())
    });
    assert_eq!(publisher.line("PUBLISH news x").int(), 1);
    // The connections for subscriptions go, too, when nothing is left.
    let ours = |port: u16| {
        let list = cluster.raw(port).line("CLIENT LIST TYPE normal").text();
        list.lines().filter(|line| line.contains("resp=3")).count()
    };
    wait_for("the connections to be closed", LIMIT, || {
        let left: usize = cluster.masters().into_iter().map(ours).sum();
        (left == 0).then_some(())
    });
}

#[test]
fn many_subscribers_cost_the_cluster_one_subscription_for_each_worker() {
    fan_out(500);
}

/// `make subscribers`.
#[test]
#[ignore = "10,000 connections want a higher limit of descriptors"]
fn ten_thousand_subscribers() {
    assert_eq!(
        affordable(10_000),
        10_000,
        "raise the limit: ulimit -n 65536"
    );
    fan_out(10_000);
}

#[test]
fn keyspace_notifications_of_all_masters_come_once_each() {
    // Of its own: who subscribes to everything hears other tests, and they count it.
    let cluster = Cluster::start_with(3, 0, &["--notify-keyspace-events", "KEA"]);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    let mut all = proxy.conn();
    subscribe(&mut all, "PSUBSCRIBE *");
    let mut one = proxy.conn();
    subscribe(&mut one, "SUBSCRIBE __keyevent@0__:lpush");
    let mut other = proxy.conn();
    let keys: Vec<String> = (0..60)
        .map(|index| key_in_slot(index * 273, "events"))
        .collect();
    let mut expected: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    let mut expect = |channel: String, text: &str| {
        let words = ["pmessage", "*", &channel, text].map(String::from).to_vec();
        *expected.entry(words).or_default() += 1;
    };
    for key in &keys {
        other.command(&["LPUSH", key, "x"]);
        expect(format!("__keyspace@0__:{key}"), "lpush");
        expect("__keyevent@0__:lpush".to_string(), key);
        other.command(&["PUBLISH", &format!("plain.{key}"), "hello"]);
        expect(format!("plain.{key}"), "hello");
        other.command(&["DEL", key]);
        expect(format!("__keyspace@0__:{key}"), "del");
        expect("__keyevent@0__:del".to_string(), key);
    }
    let count: usize = expected.values().sum();
    let mut seen: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for _ in 0..count {
        *seen.entry(message(&all.read_reply())).or_default() += 1;
    }
    assert_eq!(seen, expected);
    let own: BTreeSet<String> = keys
        .iter()
        .map(|_| message(&one.read_reply())[2].clone())
        .collect();
    assert_eq!(own, keys.iter().cloned().collect());
    for conn in [&mut all, &mut one] {
        assert_eq!(
            show(&conn.read_for(Duration::from_millis(200)).unwrap()),
            ""
        );
    }
}

#[test]
fn a_shard_channel_follows_its_slot() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let slot = slot_of("sequel");
    let mut subscriber = proxy.conn();
    subscribe(&mut subscriber, "SSUBSCRIBE sequel");
    let mut publisher = proxy.conn();
    let (mut sequence, mut last) = (0, 0);
    let mut publish = |publisher: &mut Conn| {
        sequence += 1;
        let reply = publisher.command(&["SPUBLISH", "sequel", &sequence.to_string()]);
        assert!(!reply.is_error(), "{reply:?}");
        sequence
    };
    for round in 0..4 {
        let from = cluster.master_of(slot);
        let to = *cluster
            .masters()
            .iter()
            .find(|port| **port != from)
            .expect("another");
        publish(&mut publisher);
        cluster.migrate_slot(slot, from, to);
        // Whoever publishes goes on; sooner or later the subscriber hears of it again.
        let deadline = Instant::now() + LIMIT;
        loop {
            let published = publish(&mut publisher);
            assert!(Instant::now() < deadline, "round {round}: nothing is heard");
            subscriber.set_deadline(Duration::from_millis(100));
            let mut heard = 0;
            while let Ok(reply) = subscriber.try_read_reply() {
                let words = message(&reply);
                assert_eq!(words[..2], ["smessage", "sequel"]);
                heard = words[2].parse().expect("a number");
                assert!(heard > last, "{heard} behind {last}");
                last = heard;
                if heard == published {
                    break;
                }
            }
            if heard == published && cluster.master_of(slot) == to {
                break;
            }
        }
    }
    // Nobody is counted at the nodes that had the slot before.
    let count = |port: u16| {
        let reply = cluster.raw(port).line("PUBSUB SHARDNUMSUB sequel");
        reply.items()[1].int()
    };
    wait_for("one subscription to be left", LIMIT, || {
        let total: i64 = cluster.masters().into_iter().map(count).sum();
        (total == 1).then_some(())
    });
}

#[test]
fn a_lost_master_is_a_gap_and_no_more() {
    let cluster = Cluster::start(3, 1);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    let channels: Vec<String> = (0..6)
        .map(|index| key_in_slot(index * 2730 + 5, "gap"))
        .collect();
    let mut plain = proxy.conn();
    let mut pattern = proxy.conn();
    let mut shard = proxy.conn();
    subscribe(&mut plain, &format!("SUBSCRIBE {}", channels.join(" ")));
    subscribe(&mut pattern, "PSUBSCRIBE *gap* nothing.*");
    subscribe(&mut shard, &format!("SSUBSCRIBE {}", channels.join(" ")));
    let mut publisher = proxy.conn();
    let victim = cluster.master_of(slot_of(&channels[0]));
    // The last number heard, by subscriber and channel.
    let mut last: BTreeMap<(usize, String), u64> = BTreeMap::new();
    let mut sequence = 0u64;
    let mut lost = 0;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut good_rounds = 0;
    for round in 0.. {
        if round == 5 {
            cluster.kill(victim);
        }
        assert!(Instant::now() < deadline, "not all is heard again");
        sequence += 1;
        let text = sequence.to_string();
        for channel in &channels {
            for word in ["PUBLISH", "SPUBLISH"] {
                // While there is no owner, an error may come.
                publisher.command(&[word, channel, &text]);
            }
        }
        for (index, conn) in [&mut plain, &mut pattern, &mut shard]
            .into_iter()
            .enumerate()
        {
            // What has not come by then is lost, or comes in a later round, which then is no good one.
            conn.set_deadline(Duration::from_millis(500));
            let all = |last: &BTreeMap<(usize, String), u64>| {
                let on_time =
                    |channel: &&String| last.get(&(index, channel.to_string())) == Some(&sequence);
                channels.iter().filter(on_time).count() == channels.len()
            };
            while !all(&last) {
                let Ok(reply) = conn.try_read_reply() else {
                    break;
                };
                let words = message(&reply);
                let kind = ["message", "pmessage", "smessage"][index];
                assert_eq!(words[0], kind, "{words:?}");
                let channel = words[words.len() - 2].clone();
                let number: u64 = words[words.len() - 1].parse().expect("a number");
                let before = last.insert((index, channel), number);
                assert!(
                    before < Some(number),
                    "{number} behind {before:?}: {words:?}"
                );
            }
        }
        let heard = last.values().filter(|heard| **heard == sequence).count();
        lost += 3 * channels.len() - heard;
        good_rounds = if heard == 3 * channels.len() {
            good_rounds + 1
        } else {
            0
        };
        if round > 5 && good_rounds > 5 {
            break;
        }
    }
    assert_ne!(cluster.find_master_of(slot_of(&channels[0])), Some(victim));
    println!("{lost} of {} not heard", 18 * sequence);
}

#[test]
fn a_slow_subscriber_is_cut_and_nobody_else() {
    let proxy = Proxy::start(&CLUSTER, &["-pubsub-output", "1000000"]);
    let mut slow = proxy.conn();
    let mut quick = proxy.conn();
    subscribe(&mut slow, "SUBSCRIBE slow.1");
    subscribe(&mut quick, "SUBSCRIBE slow.1");
    let mut publisher = proxy.conn();
    let text = "x".repeat(100_000);
    let mut count = 0;
    let deadline = Instant::now() + 3 * LIMIT;
    while proxy.counter("proxy_subscribers_cut") == 0 {
        assert!(Instant::now() < deadline, "nobody is cut");
        let receivers = publisher.command(&["PUBLISH", "slow.1", &text]).int();
        assert!(receivers == 2 || receivers == 1);
        assert_eq!(message(&quick.read_reply())[2].len(), text.len());
        count += 1;
    }
    println!("cut after {count} messages of {} bytes", text.len());
    assert_eq!(proxy.counter("proxy_subscribers_cut"), 1);
    assert_eq!(publisher.command(&["PUBLISH", "slow.1", "after"]).int(), 1);
    assert_eq!(message(&quick.read_reply()), ["message", "slow.1", "after"]);
    // It finds what was on its way, and then the end.
    let rest = slow.read_to_close().map_or(0, |rest| rest.len());
    assert!(rest < count * (text.len() + 100), "{rest}");
    assert_eq!(
        quick.line("PING"),
        Reply::Array(vec![Reply::Bulk(b"pong".to_vec()), Reply::Bulk(vec![])])
    );
}

#[test]
fn subscribers_are_seen_and_killed_as_such() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    let mut admin = proxy.conn();
    let mut conns: Vec<Conn> = (0..8).map(|_| proxy.conn()).collect();
    for conn in &mut conns[..6] {
        subscribe(conn, "SUBSCRIBE seen.1 seen.2");
        subscribe(conn, "PSUBSCRIBE seen.*");
        subscribe(conn, "SSUBSCRIBE seen.1 seen.2 seen.3");
    }
    let list = admin.line("CLIENT LIST TYPE pubsub").text();
    assert_eq!(list.lines().count(), 6);
    for line in list.lines() {
        for field in [
            " flags=P ",
            " sub=2 ",
            " psub=1 ",
            " ssub=3 ",
            " cmd=ssubscribe ",
        ] {
            assert!(line.contains(field), "{field} in {line}");
        }
    }
    let stats = admin.line("INFO stats").text();
    for field in [
        "pubsub_channels:2",
        "pubsub_patterns:1",
        "pubsubshard_channels:3",
    ] {
        assert!(
            stats.contains(&format!("{field}\r\n")),
            "{field} in {stats}"
        );
    }
    assert_eq!(admin.line("PUBSUB NUMPAT").int(), 1);
    assert_eq!(admin.line("PUBLISH seen.1 x").int(), 12);
    assert_eq!(admin.line("CLIENT KILL TYPE pubsub").int(), 6);
    for conn in &mut conns[..6] {
        conn.read_to_close().ok();
    }
    for conn in &mut conns[6..] {
        assert_eq!(conn.line("PING"), "PONG");
    }
    let stats = admin.line("INFO stats").text();
    assert!(stats.contains("pubsub_channels:0\r\n"), "{stats}");
    assert_eq!(admin.line("PUBLISH seen.1 x").int(), 0);
}

/// What one client subscribes to is no state of any connection that others use (FAULTS.md S4).
#[test]
fn nobody_else_hears_of_it() {
    let proxy = Proxy::start(&CLUSTER, &[]);
    let mut a = proxy.conn();
    let mut b = proxy.conn();
    subscribe(&mut a, "SUBSCRIBE own.1");
    subscribe(&mut a, "PSUBSCRIBE own.*");
    for index in 0..1000 {
        let (key, value) = (format!("own:{index}"), index.to_string());
        assert_eq!(b.command(&["SET", &key, &value]), "OK");
        assert_eq!(b.command(&["PUBLISH", "own.1", &value]).int(), 2);
        assert_eq!(b.command(&["GET", &key]), value.as_str());
    }
    for _ in 0..2000 {
        assert!(message(&a.read_reply())[0].ends_with("message"));
    }
}

/// A client that leaves in the middle of subscribing leaves nothing behind.
#[test]
fn clients_that_leave_leave_nothing_behind() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    for index in 0..300 {
        let mut conn = proxy.conn();
        let line = format!("SUBSCRIBE left.{index} left.x left.{}", index / 2);
        conn.send(Conn::encode(&words(&line)));
        if index % 3 == 0 {
            conn.read_reply();
        }
    }
    wait_for("all to be forgotten", LIMIT, || {
        let channels = |port: u16| cluster.raw(port).line("PUBSUB CHANNELS").items().len();
        let left: usize = cluster.masters().into_iter().map(channels).sum();
        (left == 0).then_some(())
    });
    let info = proxy.conn().line("INFO clients").text();
    assert!(info.contains("pubsub_clients:0\r\n"), "{info}");
}

/// The master of slot 0 carries all channels: what one client publishes to several channels, by two proxies in turn,
/// a subscriber of all of them hears in that order.
#[test]
fn messages_of_all_channels_have_one_order() {
    let proxies = [Proxy::start(&CLUSTER, &[]), Proxy::start(&CLUSTER, &[])];
    let mut subscriber = proxies[0].conn();
    let channels: Vec<String> = (0..40).map(|n| format!("by-name.{n}")).collect();
    for channel in &channels {
        subscribe(&mut subscriber, &format!("SUBSCRIBE {channel}"));
    }
    subscribe(&mut subscriber, "PSUBSCRIBE by-pattern.*");
    let mut publishers = proxies.each_ref().map(|proxy| proxy.conn());
    let mut sent = Vec::new();
    for round in 0..400 {
        let publisher = &mut publishers[round % 2];
        let channel = match round % 5 {
            4 => format!("by-pattern.{round}"),
            _ => channels[round * 7 % channels.len()].clone(),
        };
        let text = round.to_string();
        if round % 7 == 0 {
            assert_eq!(publisher.line("MULTI"), "OK");
            assert_eq!(publisher.command(&["PUBLISH", &channel, &text]), "QUEUED");
            assert_eq!(publisher.line("EXEC").items().len(), 1);
        } else {
            assert!(publisher.command(&["PUBLISH", &channel, &text]).int() >= 0);
        }
        sent.push((channel, text));
    }
    for (channel, text) in sent {
        let reply = subscriber.read_reply();
        let heard = message(&reply);
        assert_eq!(heard[heard.len() - 2..], [channel, text], "{reply:?}");
    }
}

/// Between MULTI and EXEC a node counts a thousand subscribers of ours as one connection, too.
#[test]
fn publish_in_a_transaction_counts_clients() {
    let proxy = Proxy::start(&CLUSTER, &[]);
    let mut subscribers: Vec<Conn> = (0..5).map(|_| proxy.conn()).collect();
    for conn in &mut subscribers {
        subscribe(conn, "SUBSCRIBE inside");
        subscribe(conn, "SSUBSCRIBE {k}inside");
    }
    let mut conn = proxy.conn();
    for (before, heard) in [("SET {k} 1", false), ("SET inside 1", true), ("PING", true)] {
        assert_eq!(conn.line("MULTI"), "OK");
        assert_eq!(conn.line(before), "QUEUED");
        assert_eq!(conn.line("PUBLISH inside x"), "QUEUED");
        if !heard {
            assert_eq!(conn.line("SPUBLISH {k}inside x"), "QUEUED");
        }
        let reply = conn.line("EXEC");
        for counted in &reply.items()[1..] {
            assert_eq!(counted.int(), 5, "{before}: {reply:?}");
        }
    }
}

/// Names enough for many turns, and replies long enough to be merged by the worker's second thread.
#[test]
fn twenty_thousand_channels_of_one_client() {
    const NAMES: usize = 20_000;
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let names: Vec<String> = (0..NAMES).map(|name| format!("channel{name:05}")).collect();
    let request = |words: &[&'static str]| -> Vec<String> {
        let words = words.iter().map(|word| word.to_string());
        words.chain(names.iter().cloned()).collect()
    };
    let (mut subscriber, mut other) = (proxy.conn(), proxy.conn());
    subscriber.send(Conn::encode(&request(&["SUBSCRIBE"])));
    for (index, name) in names.iter().enumerate() {
        let told = subscriber.read_reply();
        assert_eq!(told.items()[1], name.as_str());
        assert_eq!(told.items()[2], Reply::Int(index as i64 + 1));
    }
    let counted = other.command(&request(&["PUBSUB", "NUMSUB"]));
    assert_eq!(counted.items().len(), 2 * NAMES);
    for (pair, name) in counted.items().chunks(2).zip(&names) {
        assert_eq!(
            (&pair[0], &pair[1]),
            (&Reply::Bulk(name.clone().into()), &Reply::Int(1))
        );
    }
    let known = other.command(&request(&["COMMAND", "INFO"]));
    assert_eq!(known.items().len(), NAMES);
    assert_eq!(
        other.command(&["PUBLISH", &names[NAMES - 1], "hi"]),
        Reply::Int(1)
    );
    assert_eq!(subscriber.read_reply().items()[2], "hi");
    subscriber.send(Conn::encode(&["UNSUBSCRIBE"]));
    for _ in 0..NAMES {
        assert_eq!(subscriber.read_reply().items()[0], "unsubscribe");
    }
    assert_eq!(subscriber.line("ECHO on"), "on");
}
