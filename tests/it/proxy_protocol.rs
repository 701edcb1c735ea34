//! The PROXY protocol: whoever is behind a load balancer is known by the address that the load balancer says.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{Cluster, Conn, Proxy, wait_for};

/// The marks of version 2.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn cluster() -> Cluster {
    Cluster::start(3, 0)
}

/// The load balancer is everybody on this machine.
const FROM_HERE: &[&str] = &["-proxy-protocol", "127.0.0.0/8"];

/// Clients may come from outside without a password.
const OPEN: &str = "-protected-mode=false";

fn text(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().expect("an address");
    let (family, ip, port) = match client {
        SocketAddr::V4(own) => ("TCP4 ", own.ip().to_string(), own.port()),
        SocketAddr::V6(own) => ("TCP6 ", own.ip().to_string(), own.port()),
    };
    format!("PROXY {family}{ip} {ip} {port} 6379\r\n").into_bytes()
}

fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_be_bytes();
    [BINARY, &[command, family], &length, body].concat()
}

/// A connection that has sent this, all at once.
fn said(proxy: &Proxy, bytes: &[u8]) -> Conn {
    let mut conn = Conn::from_stream(stream(proxy));
    conn.send(bytes);
    conn
}

fn stream(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).expect("the proxy");
    stream.set_nodelay(true).expect("it can be set");
    stream
}

fn start(cluster: &Cluster, flags: &[&str]) -> Proxy {
    let addr = cluster.addrs();
    let proxy = Proxy::spawn(&addr, &[FROM_HERE, flags].concat(), &[]);
    wait_for("the proxy to serve", Duration::from_secs(20), || {
        let mut stream = TcpStream::connect(proxy.addr()).ok()?;
        stream.write_all(&text("127.0.0.1:1")).ok()?;
        let reply = Conn::from_stream(stream)
            .try_command(&["SET", "here", "now"])
            .ok()?;
        (reply == "OK" || reply.error()?.starts_with("NOAUTH")).then_some(())
    });
    proxy
}

/// The address by which the proxy knows a client.
fn known_as(conn: &mut Conn) -> String {
    let line = conn.line("CLIENT INFO").text();
    let mut words = line.split(' ');
    let own = words.find_map(|word| word.strip_prefix("addr="));
    own.expect("an address").to_string()
}

fn logged(proxy: &Proxy, what: &str) {
    wait_for(what, Duration::from_secs(20), || {
        proxy.log().contains(what).then_some(())
    });
}

#[test]
fn a_client_is_known_by_the_address_in_its_header_however_that_comes() {
    let cluster = cluster();
    let proxy = start(&cluster, &["-max-procs", "2", OPEN]);
    let four = [192, 0, 2, 1, 127, 0, 0, 1, 0x1f, 0x40, 0x18, 0xeb];
    let mut six = [0; 36];
    (six[0], six[15], six[33]) = (0xfd, 1, 7);
    let long = [&four[..], &[4, 0xf, 0x8d, 0]].concat();
    let long = [long, vec![0; 4096 - 16 - 16]].concat();
    for (header, address) in [
        (text("192.0.2.1:8000"), "192.0.2.1:8000"),
        (text("[fd00::1]:7"), "[fd00::1]:7"),
        (binary(0x21, 0x11, &four), "192.0.2.1:8000"),
        (binary(0x21, 0x11, &long), "192.0.2.1:8000"),
        (binary(0x21, 0x21, &six), "[fd00::1]:7"),
        // Who sends these is the client.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1:"),
        (binary(0x20, 0x11, &four), "127.0.0.1:"),
        (binary(0x21, 0x00, &[]), "127.0.0.1:"),
        (binary(0x21, 0x31, &[b'/'; 216]), "127.0.0.1:"),
    ] {
        // With the first request, and byte by byte before it.
        let mut conn = said(
            &proxy,
            &[&header[..], b"PING\r\nSET k v\r\nGET k\r\n"].concat(),
        );
        let replies = [conn.read_reply(), conn.read_reply(), conn.read_reply()];
        assert_eq!(replies.map(|reply| reply.text()), ["PONG", "OK", "v"]);
        assert!(known_as(&mut conn).starts_with(address), "{address}");
        if header.len() < 300 {
            let mut slow = stream(&proxy);
            header
                .iter()
                .for_each(|byte| slow.write_all(&[*byte]).expect("it is taken"));
            let mut slow = Conn::from_stream(slow);
            assert!(known_as(&mut slow).starts_with(address), "{address}");
        }
    }
    let mut conn = said(&proxy, &text("192.0.2.9:9"));
    let listed = conn.line("CLIENT LIST").text();
    assert!(listed.contains(" addr=192.0.2.9:9 "), "{listed}");
    assert_eq!(conn.line("CLIENT KILL 192.0.2.9:9").text(), "OK");
}

#[test]
fn who_must_send_a_header_and_does_not_is_closed() {
    let cluster = cluster();
    let proxy = start(&cluster, &[OPEN]);
    let long = [&b"PROXY UNKNOWN "[..], &[b'f'; 200]].concat();
    let bad: [&[u8]; 7] = [
        b"PING\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"PROXY TCP4 1.1.1.1\r\nPING\r\n",
        &long,
        &[BINARY, &[0x21, 0x11, 0xff, 0xff]].concat(),
        &[BINARY, &[0x21, 0x99, 0, 0]].concat(),
        &[0; 5000],
    ];
    for bytes in bad {
        // A reset is an end, too: not all that it has sent was read.
        let answer = said(&proxy, bytes).read_to_close().unwrap_or_default();
        assert_eq!(answer, b"", "{:?}", String::from_utf8_lossy(bytes));
    }
    logged(&proxy, "no PROXY protocol header from 127.0.0.1:");
    // Half a header and an end.
    let mut half = said(&proxy, b"PROXY TC");
    half.finish().expect("an end");
    assert_eq!(half.read_to_close().unwrap_or_default(), b"");
    // Of looks without a word none is told.
    let lines = || proxy.log().matches("PROXY protocol header").count();
    std::thread::sleep(Duration::from_millis(1100));
    let before = lines();
    for _ in 0..20 {
        drop(stream(&proxy));
    }
    assert_eq!(said(&proxy, &text("192.0.2.1:1")).line("PING"), "PONG");
    assert_eq!(lines(), before);
}

#[test]
fn a_header_from_elsewhere_closes_the_connection() {
    let cluster = cluster();
    let proxy = Proxy::start(&cluster, &["-proxy-protocol", "192.0.2.0/24", OPEN]);
    for header in [text("192.0.2.1:8000"), binary(0x21, 0, &[])] {
        let answer = said(&proxy, &header).read_to_close().unwrap_or_default();
        assert_eq!(answer, b"");
        let mut slow = stream(&proxy);
        for byte in &header {
            // It may be closed before the end.
            if slow.write_all(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let answer = Conn::from_stream(slow).read_to_close().unwrap_or_default();
        let told = String::from_utf8_lossy(&answer).into_owned();
        // An inline request of one zero byte is whole before the header is.
        assert!(
            told.is_empty() || told.starts_with("-ERR unknown command"),
            "{told}"
        );
    }
    logged(
        &proxy,
        "it sent a PROXY protocol header, and its address is not in -proxy-protocol",
    );
    let mut conn = proxy.conn();
    assert!(known_as(&mut conn).starts_with("127.0.0.1:"));
    assert!(conn.line("PROXY NO SUCH").is_error());
    assert_eq!(conn.line("PING"), "PONG");
    // Turned on and off while it runs, for those who come then.
    assert_eq!(conn.line("PROXY CONFIG SET proxy-protocol 127.0.0.1"), "OK");
    let mut told = said(&proxy, &text("192.0.2.1:8000"));
    assert_eq!(known_as(&mut told), "192.0.2.1:8000");
    assert_eq!(
        conn.command(&["PROXY", "CONFIG", "SET", "proxy-protocol", ""]),
        "OK"
    );
    assert_eq!(proxy.conn().line("PING"), "PONG");
}

#[test]
fn those_who_never_finish_a_header_count_as_clients_and_go_in_time() {
    let cluster = cluster();
    let flags = ["-max-clients", "20", "-max-procs", "2", OPEN];
    let proxy = start(&cluster, &flags);
    let mut slow: Vec<Conn> = Vec::new();
    let refused = wait_for("the crowd to be full", Duration::from_secs(20), || {
        // Who has just left may still count, and keep one of them out: so some come each time.
        slow.extend((0..20).map(|_| said(&proxy, b"PROXY TCP4 ")));
        let mut conn = said(&proxy, &[&text("192.0.2.1:1")[..], b"PING\r\n"].concat());
        match conn.try_read_reply() {
            Ok(reply) if reply == "PONG" => None,
            other => Some(other),
        }
    });
    if let Ok(reply) = refused {
        assert!(
            reply
                .error()
                .expect("refused")
                .contains("max number of clients")
        );
    }
    for conn in &mut slow {
        conn.set_deadline(Duration::from_secs(30));
        assert_eq!(conn.read_to_close().unwrap_or_default(), b"");
    }
    assert_eq!(said(&proxy, &text("192.0.2.1:1")).line("PING"), "PONG");
}

#[test]
fn protected_mode_and_the_delay_of_logins_and_the_log_know_the_true_address() {
    let cluster = cluster();
    let open = start(&cluster, &[]);
    let reply = said(&open, &text("192.0.2.1:8000")).try_read_reply();
    let denied = reply.expect("an answer").error().map(str::to_string);
    assert!(denied.expect("denied").starts_with("DENIED"));
    assert_eq!(said(&open, &text("127.0.0.1:8000")).line("PING"), "PONG");
    let admin = start(&cluster, &["-admin-commands", "loopback", OPEN]);
    let outside = said(&admin, &text("192.0.2.1:8000")).line("FLUSHALL");
    assert!(outside.is_error(), "{outside:?}");
    assert_eq!(said(&admin, &binary(0x20, 0, &[])).line("FLUSHALL"), "OK");
    let guarded = start(
        &cluster,
        &["-client-password", "pw", "-auth-failure-delay", "60s"],
    );
    for _ in 0..12 {
        let mut thief = said(&guarded, &text("192.0.2.66:666"));
        thief.send("AUTH wrong\r\n");
        thief.set_deadline(Duration::from_millis(200));
        thief.try_read_reply().ok();
    }
    logged(&guarded, "192.0.2.66");
    // Another client of the same load balancer is not slowed.
    let mut own = said(&guarded, &text("192.0.2.1:1"));
    assert_eq!(own.line("AUTH pw"), "OK");
    let log = own.line("ACL LOG 1").items()[0].clone();
    let mut texts = log.items().iter().filter_map(|item| item.bulk_text());
    assert!(
        texts.any(|text| text.contains("addr=192.0.2.66:666 ")),
        "{log:?}"
    );
}

#[cfg(feature = "tls")]
#[test]
fn a_header_stands_before_the_handshake_of_tls() {
    use crate::support::{Port, tls};
    let cluster = cluster();
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let flags = tls::client_side(&addr);
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain([OPEN]).collect();
    let proxy = start(&cluster, &flags);
    let encrypted = |header: &[u8], step: usize| {
        let mut stream = TcpStream::connect(&addr).expect("the proxy");
        stream.set_nodelay(true).expect("it can be set");
        for piece in header.chunks(step) {
            stream.write_all(piece).expect("it is taken");
        }
        Conn::from_channel(tls::over(stream).expect("a session"))
    };
    let mut six = [0; 36];
    (six[0], six[15], six[33]) = (0xfd, 1, 7);
    for step in [1, 7, 1000] {
        let mut conn = encrypted(&text("192.0.2.1:8000"), step);
        assert_eq!(known_as(&mut conn), "192.0.2.1:8000");
        let mut conn = encrypted(&binary(0x21, 0x21, &six), step);
        assert_eq!(known_as(&mut conn), "[fd00::1]:7");
    }
    // Several at once, beside one that never finishes.
    let _half = said(&proxy, b"PROXY");
    let many: Vec<Conn> = (0..5)
        .map(|_| encrypted(&text("192.0.2.1:8000"), 1000))
        .collect();
    for mut conn in many {
        assert_eq!(conn.line("PING"), "PONG");
    }
    assert!(encrypted(b"", 1).try_command(&["PING"]).is_err());
    logged(&proxy, "no PROXY protocol header from 127.0.0.1:");
    let inside = encrypted(&[text("192.0.2.1:1"), text("192.0.2.1:1")].concat(), 1000);
    assert!({ inside }.try_command(&["PING"]).is_err());
    logged(&proxy, "TLS handshake failed with client 192.0.2.1:1:");
}
