//! What a burst or one large value took is returned to the system while the proxy is busy with something else.

use crate::support::{Cluster, Conn, Proxy, wait_for};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const LARGE: usize = 200 << 20;
/// What may stay: blocks for the next turns, and what is not worth returning.
const STAYS_KIB: u64 = 32 << 10;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(2, 0))
}

/// A client that sends and reads in large pieces.
struct Bulk(TcpStream);

impl Bulk {
    fn connect(proxy: &Proxy) -> Bulk {
        let stream = TcpStream::connect(proxy.addr()).expect("it listens");
        let wait = Some(Duration::from_secs(60));
        stream.set_read_timeout(wait).expect("a socket");
        Bulk(stream)
    }

    fn send(&mut self, request: &[u8]) {
        self.0.write_all(request).expect("sent");
    }

    /// Reads so many bytes, in pieces of so many, and forgets them.
    fn skip(&mut self, mut count: usize, piece: usize) {
        let mut bytes = vec![0; piece];
        while count > 0 {
            let most = count.min(piece);
            let read = self.0.read(&mut bytes[..most]).expect("a reply");
            assert!(read > 0, "{count} bytes are missing");
            count -= read;
        }
    }

    fn ask(&mut self, request: &[u8], reply: &str) {
        self.send(request);
        let mut bytes = vec![0; reply.len()];
        self.0.read_exact(&mut bytes).expect("a reply");
        assert_eq!(String::from_utf8_lossy(&bytes), reply);
    }
}

fn set(key: &str, length: usize) -> Vec<u8> {
    // A SET would go to its node as it comes.
    Conn::encode(&[b"MSET".as_slice(), key.as_bytes(), &vec![b'x'; length]])
}

fn bulk_len(length: usize) -> usize {
    format!("${length}\r\n").len() + length + 2
}

/// While somebody asks for something fifty times a second: does `burst`, which has to take `least` KiB at its height
/// (0 if that is not certain), and waits until they are returned.
fn returns(least: u64, burst: impl FnOnce(&Proxy)) {
    let proxy = Proxy::start(cluster(), &[]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let trickle = scope.spawn(|| {
            let (mut conn, mut count, mut height) = (proxy.conn(), 0, 0);
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(
                    conn.command(&["SET", &format!("t{}", count % 50), "1"]),
                    "OK"
                );
                count += 1;
                height = height.max(proxy.rss_kib());
                thread::sleep(Duration::from_millis(20));
            }
            height
        });
        thread::sleep(Duration::from_millis(300));
        let before = proxy.rss_kib();
        burst(&proxy);
        wait_for("memory to be returned", Duration::from_secs(20), || {
            (proxy.rss_kib() < before + STAYS_KIB).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        let height = trickle.join().expect("it is served throughout");
        assert!(height >= before + least, "{height} KiB at most");
    });
}

#[test]
fn of_a_large_request() {
    returns(150 << 10, |proxy| {
        Bulk::connect(proxy).ask(&set("request", LARGE), "+OK\r\n");
    });
}

#[test]
fn of_a_large_reply_however_fast_it_is_read() {
    let proxy = Proxy::start(cluster(), &[]);
    Bulk::connect(&proxy).ask(&set("reply", LARGE), "+OK\r\n");
    drop(proxy);
    returns(0, |proxy| {
        let mut client = Bulk::connect(proxy);
        client.send(&Conn::encode(&["GET", "reply"]));
        client.skip(bulk_len(LARGE), 1 << 20);
    });
    // What is read slowly waits at its node, unless somebody's write has come behind it, or it is a part of a reply.
    returns(0, |proxy| {
        let mut client = Bulk::connect(proxy);
        client.send(&Conn::encode(&["GET", "reply"]));
        wait_for("the reply", Duration::from_secs(30), || {
            let waits = proxy.counter("proxy_reply_pauses") > 0;
            let came = proxy.counter("proxy_backend_bytes_in") > LARGE as u64;
            (waits || came).then_some(())
        });
        client.skip(bulk_len(LARGE), 30_000);
    });
    returns(150 << 10, |proxy| {
        let mut client = Bulk::connect(proxy);
        client.send(&Conn::encode(&["MGET", "reply", "nothing"]));
        wait_for("the reply", Duration::from_secs(30), || {
            (proxy.counter("proxy_backend_bytes_in") > LARGE as u64).then_some(())
        });
        client.skip("*2\r\n$-1\r\n".len() + bulk_len(LARGE), 30_000);
    });
}

#[test]
fn of_a_transaction() {
    let length = LARGE / 4;
    returns(40 << 10, |proxy| {
        let mut client = Bulk::connect(proxy);
        client.ask(b"MULTI\r\n", "+OK\r\n");
        client.ask(&set("multi", length), "+QUEUED\r\n");
        client.ask(b"GET multi\r\n", "+QUEUED\r\n");
        client.ask(b"EXEC\r\n", "*2\r\n+OK\r\n");
        client.skip(bulk_len(length), 1 << 20);
    });
}

#[test]
fn of_aggregates_of_many_elements() {
    returns(0, |proxy| {
        let mut client = Bulk::connect(proxy);
        let elements: Vec<String> = (0..100_000).map(|n| format!("e{n:0>99}")).collect();
        let mut push = vec!["RPUSH".to_string(), "list".to_string()];
        push.extend(elements);
        client.ask(&Conn::encode(&push), ":100000\r\n");
        for _ in 0..5 {
            client.send(&Conn::encode(&["LRANGE", "list", "0", "-1"]));
            client.skip("*100000\r\n".len() + 100_000 * bulk_len(100), 1 << 20);
        }
    });
}

#[test]
fn of_requests_that_are_cut_by_slot() {
    returns(10 << 10, |proxy| {
        let mut client = Bulk::connect(proxy);
        let keys: Vec<String> = (0..50_000).map(|n| format!("cut{n}")).collect();
        let value = "v".repeat(100);
        let pairs = keys.iter().flat_map(|key| [key.as_str(), &value]);
        let request: Vec<&str> = ["MSET"].into_iter().chain(pairs).collect();
        client.ask(&Conn::encode(&request), "+OK\r\n");
        let names = keys.iter().map(String::as_str);
        let request: Vec<&str> = ["MGET"].into_iter().chain(names).collect();
        client.send(&Conn::encode(&request));
        client.skip("*50000\r\n".len() + 50_000 * bulk_len(100), 1 << 20);
    });
}

#[test]
fn of_many_clients_with_small_requests() {
    returns(20 << 10, |proxy| {
        let mut clients: Vec<Bulk> = (0..400).map(|_| Bulk::connect(proxy)).collect();
        let (request, depth) = (set("small", 1000), 100);
        for client in &mut clients {
            client.send(&request.repeat(depth));
        }
        for client in &mut clients {
            client.skip(depth * "+OK\r\n".len(), 1 << 10);
        }
        // They stay, and ask for nothing.
        std::mem::forget(clients);
    });
}
