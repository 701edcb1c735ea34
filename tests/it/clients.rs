//! Client libraries, and programs that live by one, through the proxy; the programs are in `tests/clients/`. Those
//! of other languages need more than cargo brings, so `cargo test` names them as ignored and `make clients`, which
//! `make test` does, too, installs what they need and runs them.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[cfg(feature = "tls")]
use crate::support;
use crate::support::{Cluster, Proxy};
use redis::{Commands, ConnectionLike};

/// How long the programs that do real work do it; a minute and more where time is not dear.
fn seconds() -> String {
    std::env::var("CLIENTS_SECONDS").unwrap_or_else(|_| "10".to_string())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn installed(path: &str) -> PathBuf {
    let path = root().join("target/clients").join(path);
    let hint = format!("{} is not there: `make clients` makes it", path.display());
    assert!(path.exists(), "{hint}");
    path
}

/// Runs a program with the proxy's port and more arguments to its good end. When it says so, a master fails over.
#[track_caller]
fn runs(mut command: Command, args: &[&str]) {
    let cluster = Cluster::start(3, 1);
    let proxy = Proxy::start(&cluster, &[]);
    let (_, port) = proxy.addr().rsplit_once(':').expect("host:port");
    #[cfg(feature = "tls")]
    if support::tls::is_wanted() {
        command.env("CLIENTS_TLS", support::tls::folder());
    }
    let mut child = command
        .arg(port)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stderr = child.stderr.take().expect("it is piped");
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).ok();
        text
    });
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
        let line = line.expect("text");
        if line == "FAILOVER" {
            fails_over(&cluster);
            let stdin = child.stdin.as_mut().expect("it is piped");
            stdin.write_all(b"done\n").expect("it reads");
        }
        said += &line;
        said.push('\n');
    }
    let status = child.wait().expect("it can be waited for");
    let complaints = complaints.join().expect("no panic");
    assert!(status.success(), "{said}{complaints}");
    println!("{said}");
}

/// A replica takes over, as planned, with some time before and after it.
fn fails_over(cluster: &Cluster) {
    std::thread::sleep(Duration::from_millis(500));
    let master = cluster.master_of(0);
    cluster.failover(cluster.replicas_of(master)[0]);
    std::thread::sleep(Duration::from_millis(500));
}

#[track_caller]
fn python(program: &str) {
    let mut command = Command::new(installed("bin/python"));
    command.arg(root().join("tests/clients").join(program));
    runs(command, &[]);
}

/// The program runs as a copy beside its packages, where node looks for them.
#[track_caller]
fn node(program: &str, args: &[&str]) {
    let folder = installed("node/node_modules");
    let folder = folder.parent().expect("it has one");
    for name in [program, "harness.mjs"] {
        // Under a name of its own for each, as several tests run at once.
        let text = std::fs::read(root().join("tests/clients").join(name)).expect("it is there");
        let copy = folder.join(program.replace(".mjs", "")).join(name);
        std::fs::create_dir_all(copy.parent().expect("it has one")).expect("a folder");
        std::fs::write(copy, text).expect("a copy");
    }
    let mut command = Command::new("node");
    command.arg(folder.join(program.replace(".mjs", "")).join(program));
    runs(command, args);
}

#[test]
#[ignore = "needs redis-py: `make test` or `make clients` installs it and runs this"]
fn redis_py() {
    python("redis_py.py");
}

#[test]
#[ignore = "needs redis-py: `make test` or `make clients` installs it and runs this"]
fn redis_py_asyncio() {
    python("redis_py_async.py");
}

#[test]
#[ignore = "needs node-redis: `make test` or `make clients` installs it and runs this"]
fn node_redis() {
    node("node_redis.mjs", &[]);
}

#[test]
#[ignore = "needs ioredis: `make test` or `make clients` installs it and runs this"]
fn ioredis() {
    node("ioredis.mjs", &[]);
}

#[test]
#[ignore = "needs BullMQ: `make test` or `make clients` installs it and runs this"]
fn a_job_queue_loses_no_job_while_a_master_fails_over() {
    node("bullmq.mjs", &[&seconds()]);
}

#[test]
#[ignore = "needs connect-redis: `make test` or `make clients` installs it and runs this"]
fn a_session_store_loses_no_visit() {
    node("sessions.mjs", &[&seconds()]);
}

/// The libraries above once more, with TLS between them, the proxy and the nodes.
#[cfg(feature = "tls")]
#[test]
#[ignore = "needs the libraries: `make test` or `make clients` installs them and runs this"]
fn libraries_speak_tls() {
    support::tls::again(&[
        "clients::redis_py",
        "clients::node_redis",
        "clients::ioredis",
        "--include-ignored",
    ]);
}

#[test]
fn redis_rs() {
    let cluster = Cluster::start(3, 1);
    let proxy = Proxy::start(&cluster, &[]);
    for protocol in ["resp2", "resp3"] {
        let client = rs_client(&proxy, &format!("?protocol={protocol}"));
        let mut conn = client.get_connection().expect("a connection");
        let _: () = redis::cmd("FLUSHALL").query(&mut conn).expect("FLUSHALL");
        rs_basics(&mut conn);
        rs_transactions(&client, &mut conn);
        rs_blocking(&client, &mut conn);
        rs_publish_and_subscribe(&client, &mut conn);
        rs_scripts_and_scan(&mut conn);
    }
    rs_while_a_master_fails_over(&cluster, &proxy);
}

/// A client of redis-rs, by TLS where the proxy serves by TLS.
pub fn rs_client(proxy: &Proxy, parameters: &str) -> redis::Client {
    #[cfg(feature = "tls")]
    if let Some(port) = proxy.addr().strip_prefix("tls:127.0.0.1:") {
        let read = |name: &str| std::fs::read(support::tls::file(name)).expect("a file");
        let certificates = redis::TlsCertificates {
            client_tls: Some(redis::ClientTlsConfig {
                client_cert: read("own.crt"),
                client_key: read("own.key"),
            }),
            root_cert: Some(read("ca.crt")),
        };
        let url = format!("rediss://localhost:{port}/{parameters}");
        return redis::Client::build_with_tls(url, certificates).expect("an address");
    }
    let url = format!("redis://{}/{parameters}", proxy.addr());
    redis::Client::open(url).expect("an address")
}

fn rs_basics(conn: &mut redis::Connection) {
    let keys: Vec<String> = (0..100).map(|number| format!("rs:{number}")).collect();
    let pairs: Vec<(&String, usize)> = keys.iter().zip(0..).collect();
    let _: () = conn.mset(&pairs).expect("MSET over all slots");
    let values: Vec<usize> = conn.mget(&keys).expect("MGET over all slots");
    assert_eq!(values, (0..100).collect::<Vec<_>>());
    let mut pipe = redis::pipe();
    keys.iter().for_each(|key| {
        pipe.incr(key, 1);
    });
    let values: Vec<usize> = pipe.query(conn).expect("a pipeline");
    assert_eq!(values, (1..101).collect::<Vec<_>>());
    let _: () = conn.hset("rs:hash", "field", "value").expect("HSET");
    let hash: std::collections::HashMap<String, String> = conn.hgetall("rs:hash").expect("HGETALL");
    assert_eq!(hash["field"], "value");
    let error = conn
        .lpush::<_, _, i64>("rs:hash", 1)
        .expect_err("WRONGTYPE");
    assert_eq!(error.code(), Some("WRONGTYPE"));
    assert!(conn.is_open());
}

fn rs_transactions(client: &redis::Client, conn: &mut redis::Connection) {
    let done: (i64, i64) = redis::pipe()
        .atomic()
        .incr("{rs}n", 1)
        .incr("{rs}n", 1)
        .query(conn)
        .expect("MULTI and EXEC");
    assert_eq!(done, (1, 2));
    // The first try is thwarted by another client.
    let mut other = client.get_connection().expect("a connection");
    let mut tries = 0;
    let done: (i64,) = redis::transaction(conn, &["{rs}n"], |conn, pipe| {
        let value: i64 = conn.get("{rs}n")?;
        tries += 1;
        if tries == 1 {
            let _: () = other.set("{rs}n", 10)?;
        }
        pipe.set("{rs}n", value * 2)
            .ignore()
            .get("{rs}n")
            .query(conn)
    })
    .expect("a transaction");
    assert_eq!((done.0, tries), (20, 2));
}

fn rs_blocking(client: &redis::Client, conn: &mut redis::Connection) {
    let none: Option<(String, String)> = conn.blpop("rs:queue", 0.1).expect("BLPOP in vain");
    assert_eq!(none, None);
    let mut other = client.get_connection().expect("a connection");
    let pusher = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        other.rpush::<_, _, i64>("rs:queue", "x").expect("RPUSH")
    });
    let popped: Option<(String, String)> = conn.blpop("rs:queue", 10.0).expect("BLPOP");
    assert_eq!(popped, Some(("rs:queue".to_string(), "x".to_string())));
    pusher.join().expect("no panic");
}

fn rs_publish_and_subscribe(client: &redis::Client, conn: &mut redis::Connection) {
    let mut own = client.get_connection().expect("a connection");
    let mut subscriber = own.as_pubsub();
    subscriber.subscribe("rs:news").expect("SUBSCRIBE");
    subscriber.psubscribe("rs:p*").expect("PSUBSCRIBE");
    for channel in ["rs:news", "rs:paper"] {
        let heard: i64 = conn.publish(channel, "text").expect("PUBLISH");
        assert_eq!(heard, 1);
        let message = subscriber.get_message().expect("a message");
        assert_eq!(message.get_channel_name(), channel);
        assert_eq!(message.get_payload::<String>().expect("text"), "text");
    }
    subscriber.unsubscribe("rs:news").expect("UNSUBSCRIBE");
    let heard: i64 = conn.publish("rs:news", "text").expect("PUBLISH");
    assert_eq!(heard, 0);
}

fn rs_scripts_and_scan(conn: &mut redis::Connection) {
    let script = redis::Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for expected in [5, 10] {
        let value: i64 = script
            .key("rs:script")
            .arg(5)
            .invoke(conn)
            .expect("a script");
        assert_eq!(value, expected);
        let _: () = redis::cmd("SCRIPT")
            .arg("FLUSH")
            .query(conn)
            .expect("FLUSH");
    }
    let found: std::collections::BTreeSet<String> = conn
        .scan_match::<_, String>("rs:[0-9]*")
        .expect("SCAN")
        .map(|key| key.expect("a key"))
        .collect();
    assert_eq!(found.len(), 100);
}

/// A planned failover shows no error, and nothing is lost.
fn rs_while_a_master_fails_over(cluster: &Cluster, proxy: &Proxy) {
    let client = rs_client(proxy, "");
    let going = AtomicBool::new(true);
    let key = |index: usize| format!("rs:count:{index}");
    let counts: Vec<i64> = std::thread::scope(|scope| {
        let (client, going) = (&client, &going);
        let work = move |index: usize| {
            let mut conn = client.get_connection().expect("a connection");
            let mut count = 0;
            while going.load(Ordering::Relaxed) {
                count += 1;
                let value: i64 = conn.incr(key(index), 1).expect("no error");
                assert_eq!(value, count);
            }
            count
        };
        let workers: Vec<_> = (0..8)
            .map(|index| scope.spawn(move || work(index)))
            .collect();
        fails_over(cluster);
        going.store(false, Ordering::Relaxed);
        workers
            .into_iter()
            .map(|worker| worker.join().expect("no error"))
            .collect()
    });
    let mut conn = client.get_connection().expect("a connection");
    let keys: Vec<String> = (0..8).map(key).collect();
    let found: Vec<i64> = conn.mget(keys).expect("MGET");
    assert_eq!(found, counts);
}
