//! What clients may take of the process: descriptors, memory, time before they log in. The quick forms of `make limits`.

use crate::support::{Cluster, Conn, Proxy, key_in_slot, wait_for};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(2, 0))
}

/// A proxy that a shell has started with these limits (`-n 120`).
fn limited(limits: &str, flags: &[&str]) -> Proxy {
    let script = format!("ulimit {limits} && exec \"$@\"");
    let launcher = ["sh", "-c", &script, "sh"];
    let proxy = Proxy::spawn_by(&launcher, &cluster().addrs(), flags, &[]);
    proxy.wait_until_answering();
    proxy.wait_until_serving(cluster());
    proxy
}

fn dial(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a socket");
    stream
}

/// All that comes until the connection ends.
fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset behind what was said is an end, too.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[track_caller]
fn serves_both_nodes(conn: &mut Conn) {
    for slot in [1, 16000] {
        assert_eq!(
            conn.command(&["SET", &key_in_slot(slot, "limits"), "v"]),
            "OK"
        );
    }
}

/// Set by `prlimit`, which may do so to a process that runs.
fn set_descriptor_limit(proxy: &Proxy, limit: usize) {
    let status = Command::new("prlimit")
        .args(["--pid", &proxy.pid().to_string()])
        .arg(format!("--nofile={limit}:4096"))
        .status()
        .expect("prlimit is there");
    assert!(status.success());
}

#[test]
fn with_few_descriptors_clients_leave_the_nodes_theirs_and_hear_why() {
    let proxy = limited("-n 120", &["-max-procs", "2"]);
    let mut old = proxy.conn();
    let said = value(&mut old, "maxclients");
    let most: usize = said.parse().expect("a number");
    assert!((8..100).contains(&most), "{most}");
    assert!(
        old.line("INFO clients")
            .text()
            .contains(&format!("\nmaxclients:{most}\r\n"))
    );
    let line = format!("-max-clients is {most}, not 10000: the limit of file descriptors is 120");
    assert!(proxy.log().contains(&line), "{}", proxy.log());
    let refused = old.line("CONFIG SET maxclients 5000");
    let text = format!(
        "ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not able to \
         handle the specified number of clients, try with {most}"
    );
    assert_eq!(refused.error(), Some(text.as_str()));

    let crowd: Vec<TcpStream> = (0..300).map(|_| dial(&proxy)).collect();
    let (mut refusals, mut served) = (0, Vec::new());
    for mut client in crowd {
        client.write_all(b"PING\r\n").ok();
        let mut first = [0; 1];
        match client.read(&mut first) {
            Ok(1) if first == *b"+" => served.push(client),
            Ok(1) => {
                assert_eq!(rest(client), "ERR max number of clients reached\r\n");
                refusals += 1;
            }
            // Reset, for the PING that nobody read.
            _ => refusals += 1,
        }
    }
    assert!(refusals >= 300 - most, "{refusals} of 300");
    serves_both_nodes(&mut old);
    // Connections to nodes of their own can be had, too.
    assert!(old.line("BLPOP nothing 0.01").is_nil());
    // Clients that are being refused hold descriptors until they have been told: for a moment none may be left.
    let failed = counter(&mut old, "proxy_accepts_failed");
    assert!(failed < 30, "{failed}");
}

#[test]
fn without_descriptors_nothing_spins_and_the_log_is_not_flooded() {
    let proxy = limited("-n 4096", &[]);
    let mut old = proxy.conn();
    serves_both_nodes(&mut old);
    set_descriptor_limit(&proxy, proxy.fds());
    let waiting: Vec<TcpStream> = (0..20).map(|_| dial(&proxy)).collect();
    let begin = Instant::now();
    wait_for("some attempts", Duration::from_secs(20), || {
        (counter(&mut old, "proxy_accepts_failed") >= 20).then_some(())
    });
    let periods = begin.elapsed().as_secs() + 2;
    let lines = proxy.log().matches("cannot accept a client").count() as u64;
    assert!(
        (1..=periods).contains(&lines),
        "{lines} lines in {periods} s"
    );
    serves_both_nodes(&mut old);
    set_descriptor_limit(&proxy, 4096);
    for mut client in waiting {
        client.write_all(b"PING\r\n").expect("sent");
        let mut reply = [0; 7];
        client.read_exact(&mut reply).expect("a reply");
        assert_eq!(&reply, b"+PONG\r\n");
    }
}

/// The start of an MSET of one key and so many bytes, of which so many follow. (A SET would go to its node as it comes.)
fn begin_mset(client: &mut TcpStream, declared: usize, sent: usize) -> std::io::Result<()> {
    let head = format!("*3\r\n$4\r\nMSET\r\n$1\r\nk\r\n${declared}\r\n");
    client.write_all(head.as_bytes())?;
    let block = vec![b'x'; 1 << 20];
    for _ in 0..sent >> 20 {
        client.write_all(&block)?;
    }
    Ok(())
}

#[test]
fn an_allocation_that_fails_closes_the_one_who_asked() {
    let proxy = limited("-v 250000", &["-max-memory", "0"]);
    let mut other = proxy.conn();
    for round in 1..=3 {
        let mut large = dial(&proxy);
        // It is closed before all of it is sent.
        let sent = begin_mset(&mut large, 400 << 20, 400 << 20);
        assert!(sent.is_err() || rest(large).is_empty());
        wait_for("the client to be closed", Duration::from_secs(20), || {
            (counter(&mut other, "proxy_clients_memory") == round).then_some(())
        });
        serves_both_nodes(&mut other);
    }
    let line = "closing a client: no memory for its request: id=";
    wait_for("the log to say so", Duration::from_secs(20), || {
        proxy.log().contains(line).then_some(())
    });
}

#[test]
fn what_is_made_of_a_large_request_does_not_end_the_process() {
    let proxy = limited("-v 200000", &["-max-procs", "1"]);
    let mut other = proxy.conn();
    for mib in [1, 4, 8, 12, 16, 20, 24, 32, 40, 48, 56] {
        for verb in ["ECHO", "SUBSCRIBE", "UNSUBSCRIBE", "PUBLISH"] {
            let word = vec![b'x'; mib << 20];
            let mut request = vec![verb.as_bytes(), &word];
            request.extend((verb == "PUBLISH").then_some(&b"m"[..]));
            let mut client = dial(&proxy);
            // It is answered, or closed.
            let sent = client.write_all(&Conn::encode(&request));
            if sent.is_ok() {
                client.read_exact(&mut [0; 1]).ok();
            }
            drop(client);
            assert_eq!(other.line("PING"), "PONG", "{verb} of {mib} MiB");
        }
    }
    serves_both_nodes(&mut other);
}

#[test]
fn above_max_memory_the_clients_that_hold_most_are_closed() {
    let proxy = limited("-n 4096", &["-max-memory", "32mb", "-max-procs", "2"]);
    let mut other = proxy.conn();
    let mut small = dial(&proxy);
    begin_mset(&mut small, 2 << 20, 1 << 20).expect("sent");
    let mut large: Vec<TcpStream> = (0..12).map(|_| dial(&proxy)).collect();
    for client in &mut large {
        // Those that come first may be closed before.
        begin_mset(client, 100 << 20, 8 << 20).ok();
    }
    wait_for("some to be closed", Duration::from_secs(20), || {
        (counter(&mut other, "proxy_clients_memory") >= 7).then_some(())
    });
    serves_both_nodes(&mut other);
    wait_for("memory to be free", Duration::from_secs(30), || {
        (proxy.rss_kib() < 128 << 10).then_some(())
    });
    wait_for("the log to say so", Duration::from_secs(20), || {
        let line = "all clients (-max-memory)";
        proxy.log().contains(line).then_some(())
    });
    // Who holds little goes on.
    small.write_all(&vec![b'x'; 1 << 20]).expect("it is open");
    small.write_all(b"\r\n").expect("it is open");
    let mut reply = [0; 5];
    small.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"+OK\r\n");
}

/// The most memory that the process has ever had, in KiB.
fn peak_kib(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|kib| kib.parse().ok()).expect("a number")
}

#[test]
fn max_memory_acts_before_the_memory_is_taken() {
    let proxy = limited("-n 4096", &["-max-memory", "32mb", "-max-procs", "2"]);
    let mut other = proxy.conn();
    // Together they have a GiB to send, and nobody waits for anybody.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            let mut client = dial(&proxy);
            let wait = Some(Duration::from_secs(20));
            client.set_write_timeout(wait).expect("a socket");
            // It is closed, or not read.
            scope.spawn(move || begin_mset(&mut client, 100 << 20, 64 << 20).ok());
        }
    });
    serves_both_nodes(&mut other);
    assert!(counter(&mut other, "proxy_clients_memory") >= 10);
    assert!(counter(&mut other, "proxy_memory_pauses") > 0);
    // What grows is there twice while it is moved.
    let peak = peak_kib(&proxy);
    assert!(peak < 160 << 10, "{peak} KiB");
}

/// Says MULTI and queues so many times a MiB for a slot.
fn queue(conn: &mut Conn, count: usize, slot: u16) {
    assert_eq!(conn.line("MULTI"), "OK");
    let set = Conn::encode(&["SET", &key_in_slot(slot, "queued"), &"x".repeat(1 << 20)]);
    for _ in 0..count {
        conn.send(&set);
        assert_eq!(conn.read_reply(), "QUEUED");
    }
}

#[test]
fn near_max_memory_who_holds_most_is_not_read_until_others_are_done() {
    let proxy = limited("-n 4096", &["-max-memory", "32mb", "-max-procs", "1"]);
    let [mut other, mut large, mut small] = [proxy.conn(), proxy.conn(), proxy.conn()];
    queue(&mut large, 19, 1);
    queue(&mut small, 9, 16000);
    wait_for("the largest to wait", Duration::from_secs(20), || {
        (counter(&mut other, "proxy_memory_pauses") > 0).then_some(())
    });
    wait_for("the log to say so", Duration::from_secs(20), || {
        let line = "not reading the client that holds most, for now";
        proxy.log().contains(line).then_some(())
    });
    large.send(Conn::encode(&["EXEC"]));
    serves_both_nodes(&mut other);
    assert_eq!(small.line("EXEC").items().len(), 9);
    let done = large.read_reply();
    assert_eq!(done.items().len(), 19);
    assert_eq!(counter(&mut other, "proxy_clients_memory"), 0);

    // Who has waited for long is closed, so that the others can go on.
    queue(&mut large, 19, 1);
    queue(&mut small, 9, 16000);
    wait_for("the largest to be closed", Duration::from_secs(60), || {
        (counter(&mut other, "proxy_clients_memory") == 1).then_some(())
    });
    assert!(!large.is_open(Duration::from_secs(10)));
    assert_eq!(small.line("EXEC").items().len(), 9);
}

#[test]
fn clients_that_have_not_logged_in_have_little_time_and_memory() {
    let flags = ["-client-password", "sesame", "-login-timeout", "2s"];
    let proxy = limited("-n 4096", &flags);
    let mut known = proxy.conn();
    assert_eq!(known.line("AUTH sesame"), "OK");
    let before = counter(&mut known, "proxy_clients_not_logged_in");
    let stranger = dial(&proxy);
    assert_eq!(rest(stranger), "");
    wait_for("it to be counted", Duration::from_secs(20), || {
        (counter(&mut known, "proxy_clients_not_logged_in") > before).then_some(())
    });
    assert_eq!(known.line("PROXY CONFIG SET login-timeout 0s"), "OK");
    let argument = format!("$16384\r\n{}\r\n", "x".repeat(16384));
    let request = format!("*10\r\n{}", argument.repeat(9));
    let strangers: Vec<TcpStream> = (0..400)
        .map(|_| {
            let mut stranger = dial(&proxy);
            stranger.write_all(request.as_bytes()).ok();
            stranger
        })
        .collect();
    wait_for("some to be closed", Duration::from_secs(20), || {
        (counter(&mut known, "proxy_clients_memory") >= 150).then_some(())
    });
    wait_for("the log to say so", Duration::from_secs(20), || {
        let line = "clients that have not logged in";
        proxy.log().contains(line).then_some(())
    });
    serves_both_nodes(&mut known);
    drop(strangers);
}

fn value(conn: &mut Conn, name: &str) -> String {
    let reply = conn.command(&["CONFIG", "GET", name]);
    reply.items()[1].text()
}

/// A number of `INFO proxy`.
fn counter(conn: &mut Conn, name: &str) -> u64 {
    conn.info("proxy")[name].parse().expect("a number")
}
