//! `make soak MINUTES=10`: long work in little time. Each minute is 100,000 connections and 10,000,000 operations; memory
//! at the end is what it was after two tenths of it, and so are the descriptors.

use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::support::{Cluster, Proxy, wait_for};

const CONNECTIONS_A_MINUTE: u64 = 100_000;
const OPERATIONS_A_MINUTE: u64 = 10_000_000;
/// Operations of each kind in one go, and the kinds.
const GO: u64 = 200_000;
const KINDS: &str = "set,get,incr,hset,sadd";
/// Resident memory may grow by this much.
const GROWTH_KIB: u64 = 5 * 1024;

/// Operations of many kinds by fifty clients. Returns how many.
fn operate(proxy: &Proxy) -> u64 {
    let (_, port) = proxy.addr().rsplit_once(':').expect("a port");
    let count = GO.to_string();
    let args = ["-q", "-P", "32", "-c", "50", "-d", "100", "-r", "100000"];
    let status = Command::new("redis-benchmark")
        .args(["-p", port, "-n", &count, "-t", KINDS])
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("redis-benchmark is there").success());
    GO * KINDS.split(',').count() as u64
}

/// One connection: a request, its reply, and a reset, so that no port waits for its end.
fn connect(addr: &str) {
    let mut stream = TcpStream::connect(addr).expect("it is accepted");
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).expect("a socket");
    stream.write_all(b"PING\r\n").expect("sent");
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"+PONG\r\n");
    let socket = SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).expect("a socket");
}

#[test]
#[ignore = "it takes minutes: make soak"]
fn memory_and_descriptors_stay_as_they_are() {
    let minutes: u64 = env::var("SOAK_MINUTES").map_or(1, |text| text.parse().expect("minutes"));
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    let (connections, operations) = (
        minutes * CONNECTIONS_A_MINUTE,
        minutes * OPERATIONS_A_MINUTE,
    );
    operate(&proxy);
    let base = proxy.fds();
    let begun = Instant::now();
    let (connected, mut operated, mut early) = (AtomicU64::new(0), 0, None);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while connected.fetch_add(1, Ordering::Relaxed) < connections {
                    connect(proxy.addr());
                }
            });
        }
        while operated < operations {
            operated += operate(&proxy);
            if operated >= operations / 5 && early.is_none() {
                early = Some(proxy.rss_kib());
            }
        }
    });
    let early = early.expect("a fifth has been done");
    let late = proxy.rss_kib();
    println!(
        "{connections} connections, {operated} operations in {:.0?}: resident {early} KiB after a fifth, {late} KiB at the end; \
         {base} descriptors before, {} after",
        begun.elapsed(),
        proxy.fds(),
    );
    assert!(late <= early + GROWTH_KIB, "{early} KiB became {late} KiB");
    wait_for(
        "the descriptors of clients to be closed",
        Duration::from_secs(20),
        || (proxy.fds() <= base).then_some(()),
    );
}
