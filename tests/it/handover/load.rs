//! Hand-overs under load: no connect fails, no request is lost or executed twice, no subscriber misses a message or hears it
//! twice, and no client loses its connection.
//!
//! `make handover` does fifty, with releases, and shows how long the longest pause of a client was (HANDOVERS,
//! HANDOVER_BAR_MS).

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Place, ends_well};
use crate::support::{Cluster, Conn};

/// How long a client may wait for a reply before it counts as lost.
const LOST: Duration = Duration::from_secs(30);

/// What all clients share.
#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    requests: AtomicU64,
    connects: AtomicU64,
    /// The longest wait for a reply, in microseconds.
    longest: AtomicU64,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Does something for a reply, and notes how long it took.
    fn timed<T>(&self, ask: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let reply = ask();
        let micros = begun.elapsed().as_micros() as u64;
        self.longest.fetch_max(micros, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        reply
    }
}

fn connect(addr: &str) -> Conn {
    let mut conn = Conn::connect(addr);
    conn.set_deadline(LOST);
    conn
}

/// Counts up, so many at a time: each reply must be the next number.
fn count(shared: &Shared, addr: &str, key: &str, pipeline: usize) {
    let mut conn = connect(addr);
    let requests = vec![vec!["INCR", key]; pipeline];
    let mut number = 0;
    while !shared.is_over() {
        for reply in shared.timed(|| conn.pipeline(&requests)) {
            number += 1;
            assert_eq!(reply.int(), number, "{key}");
        }
    }
}

/// The same in transactions that stay open for a while.
fn transact(shared: &Shared, addr: &str) {
    let mut conn = connect(addr);
    let mut number = 0;
    while !shared.is_over() {
        assert_eq!(conn.line("MULTI"), "OK");
        assert_eq!(conn.line("INCR {multi}a"), "QUEUED");
        thread::sleep(Duration::from_millis(3));
        assert_eq!(conn.line("INCR {multi}a"), "QUEUED");
        let reply = conn.line("EXEC");
        let numbers: Vec<i64> = reply.items().iter().map(|item| item.int()).collect();
        assert_eq!(numbers, [number + 1, number + 2]);
        number += 2;
    }
}

/// Sends a command with the next number, again and again; at the end with the word `end`.
fn count_with(shared: &Shared, addr: &str, [command, name]: [&str; 2], pause: Duration) {
    let mut conn = connect(addr);
    for number in 0.. {
        let is_last = shared.is_over();
        let text = if is_last {
            "end".to_string()
        } else {
            number.to_string()
        };
        conn.command(&[command, name, &text]).int();
        if is_last {
            return;
        }
        thread::sleep(pause);
    }
}

/// One pushes numbers, one is blocked until they come: each comes once, in order.
fn push(shared: &Shared, addr: &str) {
    count_with(shared, addr, ["RPUSH", "queue"], Duration::from_millis(7));
}

fn pop(addr: &str) {
    let mut conn = connect(addr);
    for number in 0.. {
        let reply = conn.command(&["BLPOP", "queue", "0"]);
        let text = reply.items()[1].text();
        if text == "end" {
            return;
        }
        assert_eq!(text, number.to_string());
    }
}

/// Connects again and again.
fn reconnect(shared: &Shared, addr: &str) {
    while !shared.is_over() {
        let reply = shared.timed(|| {
            let mut conn = Conn::try_connect(addr).expect("a connect fails");
            conn.set_deadline(LOST);
            conn.try_command(&["PING"]).expect("a new client is closed")
        });
        assert_eq!(reply, "PONG");
        shared.connects.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client that does nothing but look at itself: what it has set stays.
fn look(shared: &Shared, addr: &str) {
    let mut conn = Conn::open(addr, "3");
    conn.set_deadline(LOST);
    conn.line("CLIENT SETNAME itself");
    conn.line("CLIENT SETINFO lib-name looker");
    conn.line("CLIENT NO-EVICT on");
    conn.line("CLIENT NO-TOUCH on");
    let fields = |conn: &mut Conn| -> BTreeMap<String, String> {
        let line = conn.line("CLIENT INFO").text();
        let fields = line
            .split_whitespace()
            .filter_map(|word| word.split_once('='));
        let stay = [
            "id", "addr", "laddr", "name", "flags", "db", "user", "lib-name", "resp",
        ];
        let fields = fields.filter(|(name, _)| stay.contains(name));
        fields
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    };
    let before = fields(&mut conn);
    assert_eq!((&*before["name"], &*before["resp"]), ("itself", "3"));
    while !shared.is_over() {
        assert_eq!(fields(&mut conn), before);
        thread::sleep(Duration::from_millis(20));
    }
}

/// What became of the messages of one channel.
#[derive(Debug, Default)]
struct Heard {
    messages: usize,
    lost: usize,
    doubled: usize,
}

fn publish(shared: &Shared, addr: &str) {
    count_with(
        shared,
        addr,
        ["PUBLISH", "news"],
        Duration::from_micros(500),
    );
}

fn subscribe(mut conn: Conn, pattern: bool) -> Heard {
    let mut heard = Heard::default();
    let mut next = 0;
    loop {
        let reply = conn.try_read_reply().expect("the subscriber stays");
        let items = reply.items();
        let text = items[if pattern { 3 } else { 2 }].text();
        if text == "end" {
            return heard;
        }
        let number: usize = text.parse().expect("a number");
        heard.messages += 1;
        if number < next {
            heard.doubled += 1;
        } else {
            heard.lost += number - next;
            next = number + 1;
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

#[test]
fn nothing_is_lost_under_load() {
    let hand_overs = setting("HANDOVERS").unwrap_or(3);
    let cluster = Cluster::start(3, 0);
    let place = Place::new();
    let flags = ["-max-procs", "2"];
    let mut old = place.start(&cluster, &flags);
    let shared = Arc::new(Shared::default());
    let addr = place.addrs[0].clone();
    let subscribers: Vec<JoinHandle<Heard>> = [false, true]
        .map(|pattern| {
            let mut conn = connect(&addr);
            conn.line(if pattern {
                "PSUBSCRIBE new*"
            } else {
                "SUBSCRIBE news"
            });
            thread::spawn(move || subscribe(conn, pattern))
        })
        .into();
    let mut clients: Vec<JoinHandle<()>> = Vec::new();
    let mut client = |run: fn(&Shared, &str)| {
        let (shared, addr) = (shared.clone(), addr.clone());
        clients.push(thread::spawn(move || run(&shared, &addr)));
    };
    client(|shared, addr| count(shared, addr, "one", 1));
    client(|shared, addr| count(shared, addr, "two", 1));
    client(|shared, addr| count(shared, addr, "ten", 10));
    client(|shared, addr| count(shared, addr, "many", 300));
    client(transact);
    client(push);
    client(|_, addr| pop(addr));
    client(reconnect);
    client(look);
    client(publish);
    for number in 1..=hand_overs {
        let new = place.succeed(&cluster, &flags);
        ends_well(old);
        assert!(!new.log().contains("ERROR"), "{}", new.log());
        old = new;
        for client in &clients {
            assert!(
                !client.is_finished(),
                "a client failed in hand-over {number}"
            );
        }
    }
    shared.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no client fails");
    }
    let heard: Vec<Heard> = subscribers
        .into_iter()
        .map(|subscriber| subscriber.join().expect("it hears the end"))
        .collect();
    let (requests, connects) = (&shared.requests, &shared.connects);
    let longest = shared.longest.load(Ordering::Relaxed) as f64 / 1000.0;
    println!(
        "{hand_overs} hand-overs: {} waits for replies, {} connects, none failed; longest wait {longest:.1} ms; subscribers {heard:?}",
        requests.load(Ordering::Relaxed),
        connects.load(Ordering::Relaxed),
    );
    assert!(connects.load(Ordering::Relaxed) > 0);
    for heard in &heard {
        assert!(heard.messages > 0);
        // No two messages are alike, so that it can be told which were heard.
        assert_eq!((heard.lost, heard.doubled), (0, 0), "{heard:?}");
    }
    if let Some(bar) = setting("HANDOVER_BAR_MS") {
        assert!(longest < bar as f64, "a client waited {longest} ms");
    }
    assert!(old.stop().success());
}
