//! Clients that write a whole pipeline before they read the first reply, whatever keeps their requests waiting;
//! and the limits of what may wait, beside those of a redis-server.

use crate::support::{Cluster, Conn, Proxy, Reply, Single, wait_for};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

/// Keys that are asked for, in turn.
const KEYS: usize = 64;
/// Bytes of each of their values.
const VALUE: usize = 4096;

fn ground() -> &'static (Cluster, Proxy) {
    static GROUND: OnceLock<(Cluster, Proxy)> = OnceLock::new();
    GROUND.get_or_init(|| {
        let cluster = Cluster::start(2, 0);
        let proxy = Proxy::start(&cluster, &[]);
        let mut conn = proxy.conn();
        for number in 0..KEYS {
            assert_eq!(conn.command(&["SET", &key(number), &value(number)]), "OK");
        }
        (cluster, proxy)
    })
}

fn key(number: usize) -> String {
    format!("key:{}", number % KEYS)
}

fn value(number: usize) -> String {
    let number = number % KEYS;
    format!("{number:04}").repeat(VALUE / 4)
}

/// GETs of so many keys in turn, and the replies to them.
fn gets(count: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut requests, mut replies) = (Vec::new(), Vec::new());
    for number in 0..count {
        requests.extend(Conn::encode(&["GET", &key(number)]));
        replies.extend(format!("${VALUE}\r\n{}\r\n", value(number)).bytes());
    }
    (requests, replies)
}

/// A client that gives up when nothing moves any more. The kernel keeps little for it in either direction.
fn stream(addr: &str) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("it listens");
    let socket = socket2::SockRef::from(&stream);
    socket.set_send_buffer_size(64 << 10).expect("a socket");
    socket.set_recv_buffer_size(64 << 10).expect("a socket");
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).expect("a socket");
    stream.set_write_timeout(patience).expect("a socket");
    stream
}

#[track_caller]
fn write(stream: &mut TcpStream, bytes: &[u8]) {
    let written = stream.write_all(bytes);
    written.expect("all is read before any reply is");
}

#[track_caller]
fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    let read = stream.read_exact(&mut got);
    read.expect("all is answered");
    let differs = got.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "replies in their order");
}

#[test]
fn a_pipeline_may_be_written_before_a_reply_is_read() {
    let (cluster, _) = ground();
    let proxy = Proxy::start(cluster, &[]);
    let before = proxy.rss_kib();
    let (requests, replies) = gets(60_000);
    let mut stream = stream(proxy.addr());
    write(&mut stream, &requests);
    expect(&mut stream, &replies);
    let grown = proxy.rss_kib().saturating_sub(before);
    let most = requests.len() as u64 / 1024 + (16 << 10);
    assert!(grown <= most, "{grown} KiB more for {most}");
    // It goes on as any other.
    write(&mut stream, b"PING\r\n");
    expect(&mut stream, b"+PONG\r\n");
}

#[test]
fn what_comes_before_the_end_is_answered() {
    let (_, proxy) = ground();
    let (requests, replies) = gets(30_000);
    let mut stream = stream(proxy.addr());
    write(&mut stream, &requests);
    stream.shutdown(Shutdown::Write).expect("it is open");
    expect(&mut stream, &replies);
    assert_eq!(stream.read(&mut [0; 1]).expect("it closes"), 0);
}

#[test]
fn replies_of_the_proxy_itself_are_no_other() {
    let (_, proxy) = ground();
    let text = "x".repeat(VALUE);
    let request = Conn::encode(&["ECHO", &text]);
    let mut stream = stream(proxy.addr());
    write(&mut stream, &request.repeat(20_000));
    let reply = format!("${VALUE}\r\n{text}\r\n");
    expect(&mut stream, reply.repeat(20_000).as_bytes());
}

#[test]
fn transactions_may_be_written_before_a_reply_is_read() {
    let (_, proxy) = ground();
    let (mut requests, mut replies) = (Vec::new(), Vec::new());
    for number in 0..3000 {
        let (request, reply) = (key(number), value(number));
        requests.extend(b"*1\r\n$5\r\nMULTI\r\n");
        requests.extend(Conn::encode(&["GET", &request]));
        requests.extend(b"*1\r\n$4\r\nEXEC\r\n");
        replies.extend(b"+OK\r\n+QUEUED\r\n");
        replies.extend(format!("*1\r\n${VALUE}\r\n{reply}\r\n").bytes());
    }
    let mut many = stream(proxy.addr());
    write(&mut many, &requests);
    expect(&mut many, &replies);
    // One that is large.
    let (count, one) = (10_000, Conn::encode(&["GET", &key(7)]));
    let queue = [
        b"*1\r\n$5\r\nMULTI\r\n".to_vec(),
        one.repeat(count),
        b"*1\r\n$4\r\nEXEC\r\n".to_vec(),
    ];
    let mut large = stream(proxy.addr());
    write(&mut large, &queue.concat());
    let told = [
        "+OK\r\n".to_string(),
        "+QUEUED\r\n".repeat(count),
        format!("*{count}\r\n"),
        format!("${VALUE}\r\n{}\r\n", value(7)).repeat(count),
    ];
    expect(&mut large, told.concat().as_bytes());
}

#[test]
fn who_is_blocked_is_read_on() {
    let (_, proxy) = ground();
    let (requests, replies) = gets(40_000);
    let mut stream = stream(proxy.addr());
    write(&mut stream, &Conn::encode(&["BLPOP", "queue", "0"]));
    // Only when all is written does somebody come who ends the wait.
    write(&mut stream, &requests);
    assert_eq!(
        proxy.conn().command(&["RPUSH", "queue", "x"]),
        Reply::Int(1)
    );
    expect(&mut stream, b"*2\r\n$5\r\nqueue\r\n$1\r\nx\r\n");
    expect(&mut stream, &replies);
}

#[test]
fn who_is_suspended_is_read_on() {
    let (cluster, _) = ground();
    let proxy = Proxy::start(cluster, &[]);
    let (requests, replies) = gets(40_000);
    let mut other = proxy.conn();
    assert_eq!(other.line("CLIENT PAUSE 600000 WRITE"), "OK");
    let mut stream = stream(proxy.addr());
    write(&mut stream, b"SET late write\r\n");
    write(&mut stream, &requests);
    let mut most = || {
        let list = other.line("CLIENT LIST").text();
        let of_all = list.lines().filter_map(|line| {
            let word = line
                .split(' ')
                .find_map(|word| word.strip_prefix("qbuf="))?;
            word.parse::<usize>().ok()
        });
        of_all.max().unwrap_or(0)
    };
    wait_for("all to be read", Duration::from_secs(20), || {
        (most() >= requests.len()).then_some(())
    });
    assert_eq!(other.line("CLIENT UNPAUSE"), "OK");
    expect(&mut stream, b"+OK\r\n");
    expect(&mut stream, &replies);
}

#[test]
fn a_node_that_stands_still_is_waited_for() {
    let cluster = Cluster::start_with(1, 0, &["--cluster-node-timeout", "15000"]);
    let proxy = Proxy::start(&cluster, &[]);
    let text = "y".repeat(64 << 10);
    let request = Conn::encode(&["SET", "large", &text]);
    let count = 400;
    let node = cluster.ports()[0];
    cluster.freeze(node);
    let mut stream = stream(proxy.addr());
    let writer = {
        let mut stream = stream.try_clone().expect("a socket");
        std::thread::spawn(move || stream.write_all(&request.repeat(count)))
    };
    std::thread::sleep(Duration::from_millis(500));
    // What the node does not take is left to the client's own buffers.
    assert!(proxy.rss_kib() < 64 << 10);
    cluster.thaw(node);
    writer.join().expect("it writes").expect("all is read");
    expect(&mut stream, "+OK\r\n".repeat(count).as_bytes());
}

fn counter(proxy: &Proxy, name: &str) -> u64 {
    proxy.counter(name)
}

/// Writes until the other side has closed; returns whether it has.
fn is_closed(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    match stream.write_all(bytes) {
        Err(error) => error.kind() != ErrorKind::WouldBlock,
        Ok(()) => {
            let mut rest = Vec::new();
            match stream.read_to_end(&mut rest) {
                Ok(_) => true,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            }
        }
    }
}

#[test]
fn who_sends_more_than_may_wait_is_closed() {
    let (cluster, _) = ground();
    let proxy = Proxy::start(cluster, &["-client-query-buffer-limit", "2mb"]);
    let server = Single::start();
    let mut conn = server.conn();
    let set = ["CONFIG", "SET", "client-query-buffer-limit", "2mb"];
    assert_eq!(conn.command(&set), "OK");
    assert_eq!(
        proxy.conn().line("CONFIG GET client-query-buffer-limit"),
        conn.line("CONFIG GET client-query-buffer-limit")
    );
    let requests = Conn::encode(&["GET", &key(1)]).repeat(200_000);
    assert!(requests.len() > 4 << 20);
    let blocked = [Conn::encode(&["BLPOP", "nothing", "0"]), requests].concat();
    // One request alone is too much, too.
    let alone = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$8000000\r\n".to_vec();
    let alone = [alone, vec![b'x'; 4_000_000]].concat();
    for (bytes, closed) in [(&blocked, 1), (&alone, 2)] {
        for addr in [server.addr(), proxy.addr().to_string()] {
            assert!(is_closed(&mut stream(&addr), bytes), "{addr}");
        }
        wait_for("it to be counted", Duration::from_secs(20), || {
            (counter(&proxy, "proxy_clients_unread") == closed).then_some(())
        });
    }
    // Less may wait.
    let (requests, _) = gets(20_000);
    let mut patient = stream(proxy.addr());
    write(&mut patient, &Conn::encode(&["BLPOP", "nothing", "0"]));
    write(&mut patient, &requests);
    assert_eq!(counter(&proxy, "proxy_clients_unread"), 2);
}

#[test]
fn who_does_not_read_is_closed_by_the_limits_of_outputs() {
    let (cluster, _) = ground();
    let server = Single::start();
    let mut conn = server.conn();
    // Larger ones wait at their node for who does not read, and are not owed meanwhile.
    let (big, count) = ("b".repeat(3 << 20), 21);
    assert_eq!(conn.command(&["SET", "big", &big]), "OK");
    let request = Conn::encode(&["GET", "big"]).repeat(count);
    for limits in ["normal 10mb 0 0", "normal 0 1mb 1"] {
        let proxy = Proxy::start(cluster, &["-client-output-buffer-limit", limits]);
        assert_eq!(proxy.conn().command(&["SET", "big", &big]), "OK");
        let set = ["CONFIG", "SET", "client-output-buffer-limit", limits];
        assert_eq!(conn.command(&set), "OK");
        let own = proxy.conn().line("CONFIG GET client-output-buffer-limit");
        let normal = |reply: &Reply| {
            let text = reply.items()[1].text();
            text.split(" slave").next().map(String::from)
        };
        assert_eq!(
            normal(&own),
            normal(&conn.line("CONFIG GET client-output-buffer-limit"))
        );
        let mut deaf = [server.addr(), proxy.addr().to_string()].map(|addr| stream(&addr));
        for stream in &mut deaf {
            write(stream, &request);
        }
        wait_for("it to be closed", Duration::from_secs(20), || {
            let clients = conn.line("INFO clients").text();
            let gone = clients.contains("connected_clients:1\r");
            (gone && counter(&proxy, "proxy_clients_overfull") == 1).then_some(())
        });
        for mut stream in deaf {
            let mut rest = Vec::new();
            // A reset instead of an end is as good.
            let _end = stream.read_to_end(&mut rest);
            assert!(rest.len() < count * big.len());
        }
        // Who reads has nothing to fear.
        let mut reader = proxy.conn();
        assert_eq!(reader.command(&["SET", "less", &big[..1 << 19]]), "OK");
        for _ in 0..50 {
            let reply = reader.command(&["GET", "less"]);
            assert_eq!(reply.text().len(), 1 << 19);
        }
        assert_eq!(counter(&proxy, "proxy_clients_overfull"), 1);
    }
}
