//! Nodes that accept connections and serve none: at `maxclients`, behind a sidecar that has lost its node, speaking
//! TLS, wanting a password. What was sent there was not executed, and is told so; nobody connects in a storm.

use crate::support::fake::{Door, Fake, MAX_CLIENTS};
use crate::support::{Conn, Proxy, Reply, Stalls, key_in_slot, wait_for};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A slot of the second of two fakes.
const SLOT: u16 = 16_000;

/// Doors, and what clients hear of the node behind them.
const DOORS: &[(Door, &str)] = &[
    (Door::Closes, "closes new connections without a word"),
    (Door::ClosesBehind, "closes new connections without a word"),
    (Door::Resets, ""),
    (
        Door::Says(MAX_CLIENTS),
        "says: max number of clients + cluster connections reached",
    ),
    (
        Door::SaysBehind(b"-ERR max number of clients reached\r\n"),
        "says: max number of clients reached",
    ),
    (
        Door::Says(b"\x15\x03\x01\x00\x02\x02\x28"),
        "answers with a TLS alert: it speaks TLS",
    ),
    (
        Door::SaysBehind(b"\x15\x03\x03\x00\x02\x02\x46"),
        "answers with a TLS alert: it speaks TLS",
    ),
    (
        Door::Says(b"-DENIED Redis is running in protected mode\x07 because\r\n"),
        "says: DENIED Redis is running in protected mode? because",
    ),
    (
        Door::SaysBehind(b"-NOAUTH Authentication required.\r\n"),
        "says: NOAUTH Authentication required.",
    ),
    (
        Door::SaysBehind(b"-LOADING Redis is loading the dataset in memory\r\n"),
        "LOADING Redis is loading the dataset in memory",
    ),
    (
        Door::SaysBehind(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        "says: HTTP/1.1 400 Bad Request",
    ),
    (Door::Silent, ""),
];

/// What a node would answer.
fn play(args: &[String]) -> Option<Vec<u8>> {
    let reply = match args[0].to_ascii_lowercase().as_str() {
        "get" => b"$-1\r\n".to_vec(),
        "set" | "watch" | "unwatch" | "multi" => b"+OK\r\n".to_vec(),
        "blpop" if args[2] == "forever" => Vec::new(),
        "blpop" | "xread" => b"*-1\r\n".to_vec(),
        "ping" => b"+PONG\r\n".to_vec(),
        _ => b"-ERR no\r\n".to_vec(),
    };
    Some(reply)
}

/// A proxy before two nodes, of which the second stands behind `door`.
fn ground(door: impl Fn(usize) -> Door + Send + Sync + 'static, flags: &[&str]) -> (Proxy, Fake) {
    let (good, bad) = (Fake::start(play), Fake::behind(door, play));
    Fake::unite(&[&good, &bad]);
    let proxy = Proxy::spawn(&[good.addr.to_string()], flags, &[]);
    proxy.wait_until_answering();
    let mut conn = proxy.conn();
    wait_for("the proxy to serve", Duration::from_secs(20), || {
        let reply = conn.command(&["GET", &key_in_slot(1, "door")]);
        reply.is_nil().then_some(())
    });
    (proxy, bad)
}

/// Requests that need the second node, each for a client of its own.
fn requests() -> Vec<Vec<Vec<String>>> {
    let key = key_in_slot(SLOT, "door");
    let channel = key_in_slot(SLOT, "channel");
    let lines = [
        format!("GET {key}"),
        format!("SET {key} v"),
        format!("MGET {key} {key}2"),
        format!("BLPOP {key} 0"),
        format!("XREAD BLOCK 0 STREAMS {key} $"),
        format!("WATCH {key}"),
        format!("MULTI|SET {key} v|EXEC"),
        format!("EVAL 1 1 {key}"),
        format!("SSUBSCRIBE {channel}"),
    ];
    let words = |line: &str| line.split(' ').map(str::to_string).collect();
    lines
        .iter()
        .map(|lines| lines.split('|').map(words).collect())
        .collect()
}

fn processor_ticks(proxy: &Proxy) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxy.pid())).expect("alive");
    let fields = stat.rsplit(')').next().expect("fields");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

#[test]
fn what_a_node_never_took_was_not_executed() {
    for (door, words) in DOORS {
        let door = *door;
        let flags = ["-park-timeout", "1s", "-connect-timeout", "200ms"];
        let (proxy, bad) = ground(move |_| door, &flags);
        let (begun, stalls) = (Instant::now(), Stalls::watch());
        let mut clients: Vec<(Vec<Vec<String>>, Conn)> = requests()
            .into_iter()
            .map(|requests| (requests, proxy.conn()))
            .collect();
        for (requests, conn) in &mut clients {
            requests.iter().for_each(|own| conn.send(Conn::encode(own)));
        }
        for (requests, conn) in &mut clients {
            let mut replies = requests.iter().map(|_| conn.read_reply());
            let mut reply = replies.next().expect("one");
            if requests[0][0] == "MULTI" {
                assert_eq!(reply, "OK");
                reply = replies.next().expect("of SET");
                let exec = replies.next().expect("of EXEC");
                assert!(exec.error().expect("it fails").starts_with("EXECABORT"));
            }
            let text = reply
                .error()
                .unwrap_or_else(|| panic!("{door:?} {requests:?}: {reply:?}"));
            let own = text.starts_with("ERR backend unavailable, command was not executed");
            let named = !text.contains(": node ") || text.contains(&bad.addr.to_string());
            let redis = text.starts_with("CLUSTERDOWN ") || text.starts_with("LOADING ");
            assert!((own || redis) && named, "{door:?} {requests:?}: {text}");
            assert!(text.contains(words), "{door:?} {requests:?}: {text}");
        }
        let took = begun.elapsed();
        let most = Duration::from_secs(5) + stalls.allowance();
        assert!(took < most, "{door:?}: {took:?}");
        assert_eq!(bad.requests.load(Ordering::Relaxed), 0, "{door:?}");
        let connections = bad.connections.load(Ordering::Relaxed);
        assert!(
            connections < 60,
            "{door:?}: {connections} connections in {took:?}"
        );
        let log = proxy.log();
        if !words.is_empty() {
            let told = log.lines().filter(|line| line.contains(words)).count();
            let most = begun.elapsed().as_secs() as usize + 2;
            assert!(
                (1..=most).contains(&told),
                "{door:?}: {told} times in {log}"
            );
        }
        // And at once, once others have waited in vain.
        let (begun, mut conn) = (Instant::now(), proxy.conn());
        for _ in 0..3 {
            let reply = conn.command(&["BLPOP", &key_in_slot(SLOT, "door"), "0"]);
            assert!(reply.is_error());
        }
        let took = begun.elapsed();
        let most = Duration::from_secs(3) + stalls.allowance();
        assert!(took < most, "{door:?}: {took:?}");
    }
}

/// The node's connections and the proxy's processor time when neither grows fast any more, or after a second.
fn when_it_rests(proxy: &Proxy, bad: &Fake) -> (usize, u64) {
    let look = || {
        (
            bad.connections.load(Ordering::Relaxed),
            processor_ticks(proxy),
        )
    };
    let (begun, mut before) = (Instant::now(), look());
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = look();
        let is_at_rest = now.0 - before.0 <= 4 && now.1 - before.1 <= 4;
        if is_at_rest || begun.elapsed() > Duration::from_secs(1) {
            return now;
        }
        before = now;
    }
}

#[test]
fn a_thousand_clients_of_each_kind_make_no_storm() {
    let channel = key_in_slot(SLOT, "channel");
    let key = key_in_slot(SLOT, "storm");
    let kinds: [&[&str]; 6] = [
        &["WATCH", &key],
        &["BLPOP", &key, "0"],
        &["XREAD", "BLOCK", "0", "STREAMS", &key, "$"],
        &["SSUBSCRIBE", &channel],
        &["GET", &key],
        &["MULTI"],
    ];
    for kind in kinds {
        let flags = ["-park-timeout", "3s", "-max-procs", "1"];
        let (proxy, bad) = ground(|_| Door::Closes, &flags);
        let mut clients: Vec<Conn> = (0..1000).map(|_| proxy.conn()).collect();
        let begun = Instant::now();
        // The first of them may come while the node is not known to be bad.
        for client in &mut clients {
            client.send(Conn::encode(kind));
            if kind[0] == "MULTI" {
                client.send(Conn::encode(&["SET", &key, "v"]));
            }
        }
        // By now its one worker has read them all.
        assert_eq!(proxy.conn().line("PING"), "PONG");
        let (connections, ticks) = when_it_rests(&proxy, &bad);
        std::thread::sleep(Duration::from_secs(1));
        let more = bad.connections.load(Ordering::Relaxed) - connections;
        let spent = processor_ticks(&proxy) - ticks;
        println!(
            "{kind:?}: {connections} connections, {more} and {spent} ticks in the next second"
        );
        assert!(connections <= 1050, "{kind:?}: {connections} connections");
        assert!(more <= 40, "{kind:?}: {more} connections in a second");
        // Else they are answered within it, which takes its time.
        if begun.elapsed() < Duration::from_secs(3) {
            assert!(spent <= 40, "{kind:?}: {spent} ticks in a second");
        }
        for client in &mut clients {
            let first = client.read_reply();
            let reply = if kind[0] == "MULTI" {
                client.read_reply()
            } else {
                first
            };
            let text = reply.error().expect("it was not served");
            assert!(text.contains("was not executed"), "{kind:?}: {text}");
        }
        assert_eq!(bad.requests.load(Ordering::Relaxed), 0);
    }
}

/// What answers the handshake and closes has not served anybody. What may have been sent to it cannot be told to be
/// not executed, but nobody waits for ever, and it is not stormed.
#[test]
fn a_node_that_only_answers_handshakes_is_given_up_like_others() {
    let flags = ["-park-timeout", "1s", "-max-procs", "1"];
    let (proxy, bad) = ground(|_| Door::Greets, &flags);
    let (begun, stalls) = (Instant::now(), Stalls::watch());
    let mut clients: Vec<(Vec<Vec<String>>, Conn)> = (0..60)
        .flat_map(|_| requests())
        .map(|requests| (requests, proxy.conn()))
        .collect();
    for (requests, conn) in &mut clients {
        requests.iter().for_each(|own| conn.send(Conn::encode(own)));
    }
    for (requests, conn) in &mut clients {
        let replies: Vec<Reply> = requests.iter().map(|_| conn.read_reply()).collect();
        let reply = replies.last().expect("one");
        let text = reply
            .error()
            .unwrap_or_else(|| panic!("{requests:?}: {reply:?}"));
        assert!(
            text.contains("executed")
                || text.starts_with("CLUSTERDOWN ")
                || text.starts_with("EXECABORT "),
            "{requests:?}: {text}"
        );
    }
    let (took, connections) = (begun.elapsed(), bad.connections.load(Ordering::Relaxed));
    println!(
        "{connections} connections in {took:?} for {} clients",
        clients.len()
    );
    assert!(
        took < Duration::from_secs(5) + stalls.allowance(),
        "{took:?}"
    );
    assert!(connections < 300, "{connections} connections in {took:?}");
    assert!(
        proxy
            .log()
            .contains("closes new connections before it has answered a request")
    );
}

/// A node that serves one connection of three serves everybody, and is not stormed meanwhile.
#[test]
fn a_node_that_serves_some_connections_serves_all_clients() {
    let door = |number: usize| match number % 3 {
        0 => Door::Closes,
        1 => Door::Says(MAX_CLIENTS),
        _ => Door::Open,
    };
    let (proxy, bad) = ground(door, &["-max-procs", "1"]);
    let key = key_in_slot(SLOT, "some");
    let requests: [&[&str]; 4] = [
        &["WATCH", &key],
        &["BLPOP", &key, "0.1"],
        &["GET", &key],
        &["SET", &key, "v"],
    ];
    let mut clients: Vec<(usize, Conn)> = (0..40).map(|number| (number, proxy.conn())).collect();
    for (number, client) in &mut clients {
        client.send(Conn::encode(requests[*number % 4]));
    }
    for (number, client) in &mut clients {
        let reply = client.read_reply();
        assert!(!reply.is_error(), "{:?}: {reply:?}", requests[*number % 4]);
    }
    let connections = bad.connections.load(Ordering::Relaxed);
    println!("{connections} connections for 40 clients");
    assert!(connections < 200, "{connections} connections");
}

/// What waits is served when the node serves again, in the order in which the clients asked.
#[test]
fn who_waits_is_served_when_the_node_is_back() {
    let open = Arc::new(AtomicBool::new(false));
    let door = open.clone();
    let door = move |_| match door.load(Ordering::Relaxed) {
        true => Door::Open,
        false => Door::Says(MAX_CLIENTS),
    };
    let (proxy, _bad) = ground(door, &["-max-procs", "1"]);
    let key = key_in_slot(SLOT, "back");
    let mut clients: Vec<Conn> = (0..100).map(|_| proxy.conn()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let request: &[&str] = match number % 3 {
            0 => &["WATCH", &key],
            1 => &["XREAD", "BLOCK", "0", "STREAMS", &key, "$"],
            _ => &["SET", &key, "v"],
        };
        client.send(Conn::encode(request));
    }
    std::thread::sleep(Duration::from_millis(700));
    open.store(true, Ordering::Relaxed);
    let (begun, stalls) = (Instant::now(), Stalls::watch());
    for client in &mut clients {
        let reply: Reply = client.read_reply();
        assert!(!reply.is_error(), "{reply:?}");
    }
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(2) + stalls.allowance(),
        "{took:?}"
    );
}

/// What there is room for goes to whoever needs a connection, not only to those who have had one: connections that
/// transactions leave idle, or of another protocol, make room.
#[test]
fn connections_that_nobody_uses_make_room_for_others() {
    // Long beside the time that the node's threads may not run, of which each notices when its connection is closed.
    let (proxy, bad) = ground(
        |_| Door::Room(3),
        &["-max-procs", "1", "-park-timeout", "20s"],
    );
    let key = key_in_slot(SLOT, "room");
    let mut transactions = proxy.conn();
    let mut watch = || {
        for request in [&["WATCH", &key][..], &["UNWATCH"]] {
            assert_eq!(transactions.command(request), "OK");
        }
    };
    watch();
    let (mut plain, mut other) = (proxy.conn(), proxy.conn());
    other.line("HELLO 3");
    for _ in 0..3 {
        let reply = plain.command(&["GET", &key]);
        assert!(reply.is_nil(), "{reply:?}");
        let reply = other.command(&["BLPOP", &key, "0.1"]);
        assert!(!reply.is_error(), "{reply:?}");
        watch();
    }
    let connections = bad.connections.load(Ordering::Relaxed);
    assert!(connections < 100, "{connections} connections");
}

/// Blocked clients may hold all connections that a node gives; what is pushed for them must reach it.
#[test]
fn blocked_clients_leave_a_connection_for_what_they_wait_for() {
    let (proxy, bad) = ground(
        |_| Door::Room(4),
        &["-max-procs", "1", "-park-timeout", "20s"],
    );
    let key = key_in_slot(SLOT, "blocked");
    // The node never answers these, since their keys stay empty.
    let mut clients: Vec<Conn> = (0..10).map(|_| proxy.conn()).collect();
    for client in &mut clients {
        client.send(Conn::encode(&["BLPOP", &key, "forever"]));
    }
    wait_for("some to block", Duration::from_secs(20), || {
        (bad.requests.load(Ordering::Relaxed) >= 3).then_some(())
    });
    let reply = proxy.conn().command(&["SET", &key, "v"]);
    assert_eq!(reply, "OK");
}

/// A node that serves what is connected and takes no more is not lost.
#[test]
fn a_node_that_takes_no_more_connections_is_up() {
    let (proxy, bad) = ground(
        |_| Door::Room(1),
        &["-max-procs", "1", "-park-timeout", "2s"],
    );
    let key = key_in_slot(SLOT, "up");
    let mut conn = proxy.conn();
    assert!(conn.command(&["GET", &key]).is_nil());
    for _ in 0..3 {
        assert!(proxy.conn().command(&["WATCH", &key]).is_error());
        assert!(conn.command(&["GET", &key]).is_nil());
    }
    assert!(bad.connections.load(Ordering::Relaxed) > 3);
    std::thread::sleep(Duration::from_millis(1500));
    let log = proxy.log();
    assert!(log.contains("max number of clients"), "{log}");
    assert!(
        !log.contains("is lost") && !log.contains("no owner"),
        "{log}"
    );
}

/// No time to wait for a failover is no reason not to wait for a connection that is being made.
#[test]
fn a_park_timeout_of_zero_leaves_time_to_connect() {
    let (proxy, _bad) = ground(|_| Door::Open, &["-park-timeout", "0"]);
    let key = key_in_slot(SLOT, "zero");
    for request in [
        &["WATCH", &key][..],
        &["XREAD", "BLOCK", "10", "STREAMS", &key, "$"],
        &["BLPOP", &key, "0.1"],
        &["GET", &key],
        &["WATCH", &key],
    ] {
        let reply = proxy.conn().command(request);
        assert!(!reply.is_error(), "{request:?}: {reply:?}");
    }
}

/// A node that answers handshakes and then says what nobody asked for is not connected to in a storm, and the log is not
/// filled with it.
#[test]
fn a_node_that_breaks_the_protocol_is_given_time() {
    let play = |args: &[String]| match args[0].to_ascii_lowercase().as_str() {
        "ssubscribe" => Some(b">3\r\n$10\r\nssubscribe\r\n$5\r\nother\r\n:1\r\n".to_vec()),
        _ => Some(b"?\r\n".to_vec()),
    };
    let (good, bad) = (Fake::start(self::play), Fake::start(play));
    Fake::unite(&[&good, &bad]);
    let flags = ["-park-timeout", "2s", "-max-procs", "1"];
    let proxy = Proxy::spawn(&[good.addr.to_string()], &flags, &[]);
    proxy.wait_until_answering();
    let mut clients: Vec<Conn> = (0..30).map(|_| proxy.conn()).collect();
    let (channel, key) = (key_in_slot(SLOT, "channel"), key_in_slot(SLOT, "broken"));
    for (number, client) in clients.iter_mut().enumerate() {
        let request: &[&str] = match number % 3 {
            0 => &["SSUBSCRIBE", &channel],
            1 => &["WATCH", &key],
            _ => &["GET", &key],
        };
        client.send(Conn::encode(request));
    }
    for client in &mut clients {
        let reply = client.read_reply();
        assert!(reply.is_error(), "{reply:?}");
    }
    let connections = bad.connections.load(Ordering::Relaxed);
    println!("{connections} connections");
    assert!(connections < 60, "{connections} connections");
    let log = proxy.log();
    let told = log
        .lines()
        .filter(|line| line.contains("broke the protocol"));
    assert!((1..=5).contains(&told.count()), "{log}");
}
