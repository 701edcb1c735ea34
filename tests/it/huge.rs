//! Huge values go to their nodes without being in memory, come back as they were, and disturb nobody. The quick form has
//! 96 MB of them; `HUGE_MIB=512 cargo test --test it huge::` (as in `make limits`) the largest there are.

use crate::support::{Cluster, Conn, Proxy, Reply, key_in_slot, wait_for};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What may be in memory of them.
const MOST_KIB: u64 = 64 << 10;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(2, 0))
}

fn length() -> usize {
    let given = std::env::var("HUGE_MIB").ok();
    given.map_or(96, |text| text.parse().expect("a number")) << 20
}

fn dial(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).expect("it listens");
    let wait = Some(Duration::from_secs(60));
    stream.set_read_timeout(wait).expect("a socket");
    stream
}

/// A block of a value: no two are the same.
fn block(number: usize) -> Vec<u8> {
    let words = 0..(1 << 20) / 8u64;
    let seed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    words
        .flat_map(|word| {
            (word ^ seed)
                .wrapping_mul(0xbf58_476d_1ce4_e5b9)
                .to_le_bytes()
        })
        .collect()
}

fn head(key: &str, length: usize) -> String {
    format!(
        "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${length}\r\n",
        key.len()
    )
}

/// While `work` is done: the most memory that the proxy has, beyond what it has at rest.
fn growth(proxy: &Proxy, work: impl FnOnce()) -> u64 {
    let before = proxy.rss_kib();
    let (stop, most) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(proxy.rss_kib(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
        });
        work();
        stop.store(true, Ordering::Relaxed);
    });
    most.into_inner().saturating_sub(before)
}

#[test]
fn a_huge_value_comes_back_byte_for_byte_and_takes_little_memory() {
    let proxy = Proxy::start(cluster(), &[]);
    let mut other = proxy.conn();
    assert_eq!(other.command(&["SET", "small", "1"]), "OK");
    let blocks = length() >> 20;
    let mut stream = dial(&proxy);
    let most = growth(&proxy, || {
        stream
            .write_all(head("huge", length()).as_bytes())
            .expect("sent");
        for number in 0..blocks {
            stream.write_all(&block(number)).expect("sent");
        }
        stream.write_all(b"\r\n").expect("sent");
        let mut ok = [0; 5];
        stream.read_exact(&mut ok).expect("a reply");
        assert_eq!(&ok, b"+OK\r\n");
    });
    let get = Conn::encode(&["GET", "huge"]);
    stream.write_all(&get).expect("sent");
    let start = format!("${}\r\n", length());
    let mut bytes = vec![0; start.len()];
    stream.read_exact(&mut bytes).expect("a reply");
    assert_eq!(String::from_utf8_lossy(&bytes), start);
    let mut bytes = vec![0; 1 << 20];
    for number in 0..blocks {
        stream.read_exact(&mut bytes).expect("a value");
        assert!(bytes == block(number), "block {number} has changed");
    }
    let mut end = [0; 2];
    stream.read_exact(&mut end).expect("its end");
    assert_eq!(&end, b"\r\n");
    println!("a SET of {blocks} MiB: {} MiB more", most >> 10);
    assert!(most < MOST_KIB, "{most} KiB");
    assert_eq!(counter(&mut other, "proxy", "proxy_requests_streamed"), 1);
    assert_eq!(other.command(&["DEL", "huge"]), Reply::Int(1));
}

#[test]
fn who_reads_a_huge_value_slowly_gets_all_of_it_and_takes_little_memory() {
    let proxy = Proxy::start(cluster(), &["-max-procs", "1"]);
    let (key, same_slot) = (key_in_slot(9, "read"), key_in_slot(9, "other"));
    let blocks = length() >> 20;
    let mut slow = dial(&proxy);
    slow.write_all(head(&key, length()).as_bytes())
        .expect("sent");
    for number in 0..blocks {
        slow.write_all(&block(number)).expect("sent");
    }
    slow.write_all(b"\r\n").expect("sent");
    let mut start = [0; 5];
    slow.read_exact(&mut start).expect("a reply");
    let mut other = proxy.conn();
    let most = growth(&proxy, || {
        let get = Conn::encode(&["GET", &key]);
        slow.write_all(&get).expect("sent");
        wait_for("the node to wait", Duration::from_secs(30), || {
            (counter(&mut other, "proxy", "proxy_reply_pauses") > 0).then_some(())
        });
        let start = format!("${}\r\n", length());
        let mut bytes = vec![0; start.len()];
        slow.read_exact(&mut bytes).expect("a reply");
        assert_eq!(String::from_utf8_lossy(&bytes), start);
        let mut bytes = vec![0; 1 << 20];
        for number in 0..blocks {
            slow.read_exact(&mut bytes).expect("a value");
            assert!(bytes == block(number), "block {number} has changed");
            // Nobody waits for it.
            assert_eq!(other.command(&["SET", &same_slot, "v"]), "OK");
        }
    });
    println!(
        "a GET of {blocks} MiB, read slowly: {} MiB more",
        most >> 10
    );
    assert!(most < MOST_KIB, "{most} KiB");
    assert_eq!(counter(&mut other, "proxy", "proxy_clients_overfull"), 0);
    assert_eq!(other.command(&["DEL", &key]), Reply::Int(1));
}

#[test]
fn a_slow_sender_disturbs_nobody_and_one_who_leaves_costs_one_connection() {
    let proxy = Proxy::start(cluster(), &["-max-procs", "1"]);
    let (key, same_slot) = (key_in_slot(7, "slow"), key_in_slot(7, "other"));
    let mut slow = dial(&proxy);
    slow.write_all(head(&key, 512 << 20).as_bytes())
        .expect("sent");
    let mut other = proxy.conn();
    for number in 0..20 {
        slow.write_all(&block(number)[..100_000]).expect("sent");
        assert_eq!(other.command(&["SET", &same_slot, "v"]), "OK");
        // Nothing of it has been executed.
        assert_eq!(other.command(&["EXISTS", &key]), Reply::Int(0));
    }
    assert_eq!(counter(&mut other, "proxy", "proxy_requests_streamed"), 1);
    // Its node loses half a request, and so it has none.
    drop(slow);
    wait_for("the client to be gone", Duration::from_secs(20), || {
        (counter(&mut other, "clients", "connected_clients") == 1).then_some(())
    });
    assert_eq!(other.command(&["EXISTS", &key]), Reply::Int(0));
    assert_eq!(other.command(&["SET", &key, "v"]), "OK");
}

#[test]
fn a_slot_that_has_moved_is_found_before_anything_is_sent() {
    let cluster = Cluster::start(2, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let key = key_in_slot(42, "moved");
    let mut conn = proxy.conn();
    assert_eq!(conn.command(&["SET", &key, "old"]), "OK");
    let from = cluster.master_of(42);
    let to = cluster.master_of(16000);
    cluster.migrate_slot(42, from, to);
    let mut stream = dial(&proxy);
    stream
        .write_all(head(&key, 8 << 20).as_bytes())
        .expect("sent");
    for number in 0..8 {
        stream.write_all(&block(number)).expect("sent");
    }
    stream.write_all(b"\r\n").expect("sent");
    let mut reply = [0; 5];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"+OK\r\n");
    assert_eq!(conn.command(&["STRLEN", &key]), Reply::Int(8 << 20));
    assert_eq!(counter(&mut conn, "proxy", "proxy_requests_streamed"), 1);
}

/// A number of a section of `INFO`.
fn counter(conn: &mut Conn, section: &str, name: &str) -> u64 {
    conn.info(section)[name].parse().expect("a number")
}
