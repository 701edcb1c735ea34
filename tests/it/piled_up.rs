//! What a client can pile up in the proxy by what it sends and never has executed: each kind has a bound, and counts in
//! `-max-memory`. `client::held_memory` has the list.

use crate::support::{Cluster, Conn, Proxy, wait_for};
use std::sync::OnceLock;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(2, 0))
}

/// The number behind ` name=` in the line of a client.
fn field(conn: &mut Conn, name: &str) -> u64 {
    let line = conn.line("CLIENT INFO").text();
    let start = format!("{name}=");
    let mut fields = line.split_whitespace();
    let text = fields.find_map(|field| field.strip_prefix(&start));
    text.and_then(|text| text.parse().ok()).expect("a number")
}

/// Whether the connection ends before so many such requests are answered.
fn ends_within(conn: &mut Conn, request: &[u8], count: usize) -> bool {
    (0..count).any(|_| conn.try_send(request).is_err() || conn.try_read_reply().is_err())
}

#[test]
fn what_is_queued_counts_as_a_query() {
    let proxy = Proxy::start(cluster(), &["-client-query-buffer-limit", "2mb"]);
    let request = Conn::encode(&["SET", "{a}k", &"x".repeat(100_000)]);
    let mut conn = proxy.conn();
    assert_eq!(conn.line("MULTI"), "OK");
    assert!(!ends_within(&mut conn, &request, 15));
    assert!(ends_within(&mut conn, &request, 10));
    // A request that is not whole is one too many, too.
    let mut conn = proxy.conn();
    assert_eq!(conn.line("MULTI"), "OK");
    assert!(!ends_within(&mut conn, &request, 15));
    let begun = "*3\r\n$3\r\nSET\r\n$4\r\n{a}k\r\n$1500000\r\n";
    let half = [begun, &"x".repeat(1_000_000)].concat();
    conn.try_send(half.as_bytes()).ok();
    assert!(!conn.is_open(LIMIT));
    wait_for("both to be counted", LIMIT, || {
        (proxy.counter("proxy_clients_unread") == 2).then_some(())
    });
    let line = "closing client that reached max query buffer length (-client-query-buffer-limit)";
    wait_for("the log to say so", LIMIT, || {
        proxy.log().contains(line).then_some(())
    });
    // The keys of WATCH as well.
    let mut conn = proxy.conn();
    let watch = Conn::encode(&["WATCH", &format!("{{a}}{}", "x".repeat(100_000))]);
    assert!(!ends_within(&mut conn, &watch, 15));
    assert!(ends_within(&mut conn, &watch, 10));
}

#[test]
fn of_many_small_requests_counts_what_each_costs() {
    let proxy = Proxy::start(cluster(), &[]);
    let mut conn = proxy.conn();
    assert_eq!(conn.line("MULTI"), "OK");
    let gets = vec![vec!["GET", "k"]; 10_000];
    assert!(conn.pipeline(&gets).iter().all(|reply| *reply == "QUEUED"));
    let mut asking = proxy.conn();
    let all = asking.line("CLIENT LIST").text();
    let queued = all.split("multi-mem=").skip(1).filter_map(|rest| {
        let number = rest.split_whitespace().next()?;
        number.parse::<usize>().ok()
    });
    assert!(queued.max() >= Some(10_000 * 100), "{all}");
    assert_eq!(conn.line("EXEC").items().len(), 10_000);
    assert_eq!(field(&mut conn, "multi-mem"), 0);
}

#[test]
fn a_transaction_that_is_too_large_keeps_nothing() {
    let proxy = Proxy::start(cluster(), &["-max-procs", "1"]);
    let before = proxy.rss_kib();
    let request = Conn::encode(&["SET", "k", &"x".repeat(1 << 20)]);
    let mut all: Vec<Conn> = (0..4).map(|_| proxy.conn()).collect();
    for conn in &mut all {
        assert_eq!(conn.line("MULTI"), "OK");
        let mut said = (0..70).map(|_| {
            conn.send(&request);
            conn.read_reply()
        });
        let refused = said.find(|reply| reply.is_error()).expect("refused");
        assert_eq!(refused.error(), Some("ERR transaction is too large"));
        // What comes now is said to be queued, and is not kept.
        assert!(said.all(|reply| reply == "QUEUED"));
    }
    wait_for("memory to be free", LIMIT * 3, || {
        (proxy.rss_kib() < before + (64 << 10)).then_some(())
    });
    for conn in &mut all {
        let error = "EXECABORT Transaction discarded because of previous errors.";
        assert_eq!(conn.line("EXEC").error(), Some(error));
        assert!(conn.line("GET k").is_nil());
    }
}

#[test]
fn whatever_is_piled_up_counts_for_max_memory() {
    let large = "x".repeat(6 << 20);
    let kinds: [&[&str]; 3] = [
        &["SUBSCRIBE", &large, &large[1..]],
        &["BLPOP", &large, "0"],
        &["WATCH", &large],
    ];
    for kind in kinds {
        let proxy = Proxy::start(cluster(), &["-max-memory", "32mb", "-max-procs", "1"]);
        let mut other = proxy.conn();
        let request = Conn::encode(kind);
        let mut all: Vec<Conn> = (0..8).map(|_| proxy.conn()).collect();
        for conn in &mut all {
            conn.try_send(&request).ok();
        }
        wait_for(&format!("{} to be too much", kind[0]), LIMIT * 3, || {
            let closed = other.info("proxy")["proxy_clients_memory"].clone();
            (closed != "0").then_some(())
        });
        assert_eq!(other.command(&["SET", "piled", "up"]), "OK");
    }
}

#[test]
fn prefixes_of_tracking_are_so_many() {
    let proxy = Proxy::start(cluster(), &[]);
    let mut conn = proxy.conn();
    conn.line("HELLO 3");
    let ask = |conn: &mut Conn, from: usize, to: usize| {
        let mut words: Vec<String> = ["CLIENT", "TRACKING", "ON", "BCAST"]
            .map(String::from)
            .into();
        for number in from..to {
            words.extend(["PREFIX".to_string(), format!("p{number:06}")]);
        }
        conn.command(&words)
    };
    let too_many = Some("ERR too many prefixes for a single client");
    assert_eq!(ask(&mut conn, 0, 4000).error(), too_many);
    assert_eq!(ask(&mut conn, 0, 1000), "OK");
    assert_eq!(ask(&mut conn, 1000, 1100).error(), too_many);
    let long = "p".repeat(2 << 20);
    let mut other = proxy.conn();
    other.line("HELLO 3");
    let one = other.command(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", &long]);
    assert_eq!(one.error(), too_many);
}
