//! Clients that have no end: pipelines of a million requests, replies that nobody reads, bytes that dribble, values at a
//! megabyte a second. They cost a bounded memory, and the others go on. What is printed are the figures of F09 to F13.
//!
//! | variable | quick | `make limits` | |
//! |---|---|---|---|
//! | `PIPELINE` | 50,000 | 1,000,000 | GETs in one write, F11 |
//! | `DEAF` | 20 | 200 | clients that read nothing of 100 MiB each, F09 |
//! | `DRIBBLERS` | 300 | 5,000 | clients of a byte a second, F10 |
//! | `SLOW_SECONDS` | 3 | 60 | how long each goes on, 512 MiB at a megabyte a second included, F12 |
//! | `LIMITS_BARS` | | 1 | whether the others' throughput and times are held to the bars: that wants a machine to itself |

use crate::support::{Cluster, Conn, Proxy, key_in_slot, slot_of, wait_for};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// Its nodes have the keys of the others.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::start(2, 0);
        for client in 0..4 {
            let key = key_of_others(client);
            let mut node = cluster.raw(cluster.master_of(slot_of(&key)));
            assert_eq!(node.command(&["SET", &key, "v"]), "OK");
        }
        cluster
    })
}

fn number(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

fn holds_bars() -> bool {
    std::env::var_os("LIMITS_BARS").is_some()
}

fn slow_time() -> Duration {
    Duration::from_secs(number("SLOW_SECONDS", 3))
}

fn dial(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).expect("it listens");
    let wait = Some(Duration::from_secs(60));
    stream.set_read_timeout(wait).expect("a socket");
    stream.set_write_timeout(wait).expect("a socket");
    stream
}

/// The most resident memory of the proxy while this is done, beyond what it has before, in bytes.
fn growth<T>(proxy: &Proxy, work: impl FnOnce() -> T) -> (u64, T) {
    let before = proxy.rss_kib();
    let (stop, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(proxy.rss_kib(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    });
    (most.into_inner().saturating_sub(before) << 10, result)
}

/// What others see meanwhile: their replies, and how long each took.
#[derive(Debug, Default)]
struct Seen {
    times: Vec<Duration>,
    time: Duration,
}

impl Seen {
    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.time.as_secs_f64()
    }

    fn p99(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        times[times.len() * 99 / 100]
    }

    fn longest(&self) -> Duration {
        self.times.iter().max().copied().unwrap_or_default()
    }
}

fn key_of_others(client: usize) -> String {
    key_in_slot([9, 1, 16000, 8000][client], &format!("other{client}"))
}

/// Four clients get keys of both nodes for so long, one of them in the slot of the large keys, and set them if they write.
fn others(proxy: &Proxy, time: Duration, writes: bool) -> Seen {
    let begun = Instant::now();
    let each = |client: usize| {
        let key = key_of_others(client);
        let (mut conn, mut times) = (proxy.conn(), Vec::new());
        while begun.elapsed() < time {
            let asked = Instant::now();
            if writes {
                assert_eq!(conn.command(&["SET", &key, "v"]), "OK");
            }
            assert_eq!(conn.command(&["GET", &key]), "v");
            times.push(asked.elapsed());
        }
        times
    };
    let times = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| scope.spawn(move || each(client)))
            .collect();
        let times = clients.into_iter();
        times
            .flat_map(|client| client.join().expect("it is served"))
            .collect()
    });
    Seen {
        times,
        time: begun.elapsed(),
    }
}

#[test]
fn a_pipeline_in_one_write_comes_back_in_order() {
    let proxy = Proxy::start(cluster(), &["-max-procs", "1"]);
    let count = number("PIPELINE", 50_000) as usize;
    let mut conn = proxy.conn();
    let keys: Vec<String> = (0..1000)
        .map(|key| key_in_slot(key * 16, &format!("endless{key}")))
        .collect();
    for (value, key) in keys.iter().enumerate() {
        assert_eq!(conn.command(&["SET", key, &value.to_string()]), "OK");
    }
    let mut requests = Vec::new();
    let mut expected = Vec::new();
    for index in 0..count {
        let value = (index % keys.len()).to_string();
        requests.extend(Conn::encode(&["GET", &keys[index % keys.len()]]));
        expected.extend(format!("${}\r\n{value}\r\n", value.len()).bytes());
    }
    let stream = dial(&proxy);
    let own = (requests.len() + expected.len()) as u64;
    let (most, ()) = growth(&proxy, || {
        thread::scope(|scope| {
            let (mut writer, requests) = (&stream, &requests);
            scope.spawn(move || writer.write_all(requests).expect("sent"));
            // Nothing is read before all that fits is there.
            thread::sleep(Duration::from_secs(1));
            let (mut reader, mut at) = (&stream, 0);
            let mut some = vec![0; 1 << 20];
            while at < expected.len() {
                let got = reader.read(&mut some).expect("replies");
                assert!(got > 0 && some[..got] == expected[at..at + got], "at {at}");
                at += got;
            }
        });
    });
    println!(
        "{count} GETs in one write, {} MiB with their replies: all in order, {} MiB more",
        own / MIB,
        most / MIB
    );
    assert!(most < 64 * MIB + own);
}

#[test]
fn clients_that_read_nothing_cost_little_and_the_others_go_on() {
    let proxy = Proxy::start(cluster(), &["-max-procs", "2"]);
    let deaf = number("DEAF", 20);
    let key = key_in_slot(9, "large");
    let value = "x".repeat(MIB as usize);
    assert_eq!(proxy.conn().command(&["SET", &key, &value]), "OK");
    let before = others(&proxy, slow_time(), true);
    let gets = Conn::encode(&["GET", &key]).repeat(100);
    let (most, during) = growth(&proxy, || {
        let clients: Vec<TcpStream> = (0..deaf)
            .map(|_| {
                let mut client = dial(&proxy);
                client.write_all(&gets).expect("sent");
                client
            })
            .collect();
        // They begin with what nodes were asked before it was known how large it is.
        thread::sleep(Duration::from_secs(1));
        let during = others(&proxy, slow_time(), true);
        drop(clients);
        during
    });
    let share = during.rate() / before.rate();
    println!(
        "{deaf} clients that read nothing of 100 MiB each: {} MiB more; the others at {:.0} % of {:.0}/s, p99 {:?} (before {:?}), longest {:?}",
        most / MIB,
        share * 100.0,
        before.rate(),
        during.p99(),
        before.p99(),
        during.longest(),
    );
    assert!(most < 300 * MIB, "{} MiB", most / MIB);
    assert!(!holds_bars() || share >= 0.9, "{share}");
}

#[test]
fn clients_that_dribble_cost_little() {
    let proxy = Proxy::start(cluster(), &["-max-procs", "2"]);
    let count = number("DRIBBLERS", 300);
    let before = others(&proxy, slow_time().min(Duration::from_secs(10)), true);
    let (most, during) = growth(&proxy, || {
        let clients: Vec<TcpStream> = (0..count).map(|_| dial(&proxy)).collect();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for byte in b"*1\r\n$4\r\nPING\r\n".iter().cycle() {
                    for mut client in &clients {
                        client.write_all(&[*byte]).expect("it is open");
                    }
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    thread::sleep(Duration::from_secs(1));
                }
            });
            let during = others(&proxy, slow_time(), true);
            is_over.store(true, Ordering::Relaxed);
            during
        })
    });
    println!(
        "{count} clients of a byte a second: {} MiB more; the others' p99 {:?}, {:?} without them",
        most / MIB,
        during.p99(),
        before.p99(),
    );
    assert!(most < 100 * MIB, "{} MiB", most / MIB);
}

/// The head of a SET of this length.
fn head(key: &str, length: u64) -> String {
    format!(
        "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${length}\r\n",
        key.len()
    )
}

/// Fills a key with 512 MiB, through the proxy.
fn fill(proxy: &Proxy, key: &str) {
    let mut client = dial(proxy);
    client
        .write_all(head(key, 512 * MIB).as_bytes())
        .expect("sent");
    let block = vec![b'x'; MIB as usize];
    for _ in 0..512 {
        client.write_all(&block).expect("sent");
    }
    client.write_all(b"\r\n").expect("sent");
    let mut ok = [0; 5];
    client.read_exact(&mut ok).expect("a reply");
    assert_eq!(&ok, b"+OK\r\n");
}

/// How fast it goes, and who else is there.
struct Slow {
    proxy: Proxy,
    key: String,
    /// What a client says first.
    first: Vec<u8>,
    /// Whether it reads then, or writes.
    reads: bool,
    /// Whether the others write.
    others_write: bool,
}

impl Slow {
    fn new(flags: &[&str], reads: bool, others_write: bool) -> Slow {
        let proxy = Proxy::start(cluster(), &[&["-max-procs", "1"], flags].concat());
        // Others do the same at the same time.
        let key = key_in_slot(
            9,
            &format!("slow:{}{}", u8::from(reads), u8::from(others_write)),
        );
        let first = match reads {
            true => Conn::encode(&["GET", &key]),
            false => head(&key, 512 * MIB).into_bytes(),
        };
        if reads {
            fill(&proxy, &key);
        }
        Slow {
            proxy,
            key,
            first,
            reads,
            others_write,
        }
    }

    /// A megabyte a second, until it is over or the client is closed; when that was.
    fn run(&self, is_over: &AtomicBool) -> Option<Duration> {
        let mut client = dial(&self.proxy);
        let mut block = vec![b'x'; 100 << 10];
        client.write_all(&self.first).expect("sent");
        let begun = Instant::now();
        while !is_over.load(Ordering::Relaxed) {
            let gone = match self.reads {
                true => client.read_exact(&mut block).is_err(),
                false => client.write_all(&block).is_err(),
            };
            if gone {
                return Some(begun.elapsed());
            }
            thread::sleep(Duration::from_millis(100));
        }
        None
    }

    /// Returns when the client was closed, if it was.
    fn check(&self) -> Option<Duration> {
        let proxy = &self.proxy;
        let before = others(
            proxy,
            slow_time().min(Duration::from_secs(10)),
            self.others_write,
        );
        let is_over = AtomicBool::new(false);
        let (most, (during, closed)) = growth(proxy, || {
            thread::scope(|scope| {
                let slow = scope.spawn(|| self.run(&is_over));
                let during = others(proxy, slow_time(), self.others_write);
                is_over.store(true, Ordering::Relaxed);
                (during, slow.join().expect("a client"))
            })
        });
        println!(
            "a {} of 512 MiB at a megabyte a second, others {}: {} MiB more, {}; the others' p99 {:?} (before {:?}), longest {:?}",
            if self.reads { "GET" } else { "SET" },
            if self.others_write {
                "write, too"
            } else {
                "read"
            },
            most / MIB,
            closed.map_or("not closed".to_string(), |time| format!(
                "closed after {time:.0?}"
            )),
            during.p99(),
            before.p99(),
            during.longest(),
        );
        assert!(most < 64 * MIB, "{} MiB", most / MIB);
        assert!(!holds_bars() || during.p99() < Duration::from_millis(100));
        proxy.conn().command(&["DEL", &self.key]);
        closed
    }
}

#[test]
fn a_value_that_is_read_slowly_stays_at_its_node() {
    assert_eq!(Slow::new(&[], true, false).check(), None);
}

/// Writes of others that stand behind it when it begins cannot be asked of another connection: it can.
#[test]
fn a_value_that_is_read_slowly_before_writes_of_others_stays_at_its_node() {
    assert_eq!(Slow::new(&[], true, true).check(), None);
}

#[test]
fn a_value_that_is_sent_slowly_disturbs_nobody() {
    assert_eq!(Slow::new(&[], false, true).check(), None);
}

#[test]
fn all_at_once_within_a_budget() {
    let proxy = Proxy::start(cluster(), &["-max-procs", "2", "-max-memory", "64mb"]);
    let key = key_in_slot(9, "budget");
    let value = "x".repeat(MIB as usize);
    assert_eq!(proxy.conn().command(&["SET", &key, &value]), "OK");
    let gets = Conn::encode(&["GET", &key]).repeat(100);
    let pings = b"*1\r\n$4\r\nPING\r\n".repeat(100_000);
    let queued = Conn::encode(&["SET", &key, &value]);
    let (most, ()) = growth(&proxy, || {
        let clients: Vec<TcpStream> = (0..number("DEAF", 12).min(60))
            .map(|_| dial(&proxy))
            .collect();
        thread::scope(|scope| {
            for (number, client) in clients.iter().enumerate() {
                let (gets, pings, queued) = (&gets, &pings, &queued);
                let wait = Some(Duration::from_secs(3));
                client.set_write_timeout(wait).expect("a socket");
                let mut client = client;
                // Each may be closed, or not be read, at any point.
                scope.spawn(move || match number % 4 {
                    0 => client.write_all(gets).ok(),
                    1 => client.write_all(pings).ok(),
                    2 => {
                        client.write_all(b"MULTI\r\n").ok();
                        (0..60).try_for_each(|_| client.write_all(queued).ok())
                    }
                    _ => {
                        let head = "*3\r\n$4\r\nMSET\r\n$1\r\nk\r\n$104857600\r\n";
                        client.write_all(head.as_bytes()).ok();
                        (0..80).try_for_each(|_| client.write_all(queued).ok())
                    }
                });
            }
            let during = others(&proxy, slow_time(), true);
            println!(
                "the others meanwhile: p99 {:?}, longest {:?}",
                during.p99(),
                during.longest()
            );
        });
    });
    println!(
        "deaf readers, endless pipelines, transactions and large requests at once, -max-memory 64mb: {} MiB more",
        most / MIB
    );
    assert!(most < 256 * MIB, "{} MiB", most / MIB);
    wait_for("memory to be free", Duration::from_secs(30), || {
        (proxy.rss_kib() < 128 << 10).then_some(())
    });
    others(&proxy, Duration::from_millis(100), true);
}
