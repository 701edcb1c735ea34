//! CPU profiles: whoever burns the time is the one that is blamed.

mod support;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis_cluster_proxy::control::profile::{self, Format};
use support::{Cluster, Port, Proxy, http, wait_for};

/// The fields of a message in the encoding of protocol buffers, each with its number.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(value),
            2 => {
                let (own, rest) = bytes.split_at(value as usize);
                bytes = rest;
                Field::Bytes(own)
            }
            other => panic!("no field of kind {other} is written"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

#[derive(Debug, Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().expect("a varint");
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return number;
        }
    }
}

fn messages(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    let own = fields(message).into_iter();
    own.filter_map(move |(of, field)| match field {
        Field::Bytes(bytes) if of == number => Some(bytes),
        _ => None,
    })
}

fn number(message: &[u8], number: u64) -> u64 {
    let found = fields(message).into_iter().find(|(of, _)| *of == number);
    match found {
        Some((_, Field::Number(value))) => value,
        other => panic!("{number} is a number: {other:?}"),
    }
}

fn packed(mut bytes: &[u8]) -> Vec<u64> {
    let mut numbers = Vec::new();
    while !bytes.is_empty() {
        numbers.push(varint(&mut bytes));
    }
    numbers
}

/// Samples by thread and by the function that was running, with those that it was inlined into and the one that called it.
fn leaves(profile: &[u8]) -> HashMap<(String, String), u64> {
    let texts: Vec<String> = messages(profile, 6)
        .map(|text| String::from_utf8(text.to_vec()).expect("a text"))
        .collect();
    let text = |index: u64| texts[index as usize].clone();
    assert_eq!(text(0), "");
    let functions: HashMap<u64, String> = messages(profile, 5)
        .map(|function| (number(function, 1), text(number(function, 2))))
        .collect();
    let locations: HashMap<u64, String> = messages(profile, 4)
        .map(|location| {
            let lines = messages(location, 4).map(|line| functions[&number(line, 1)].as_str());
            let names: Vec<&str> = lines.collect();
            (number(location, 1), names.join(" in "))
        })
        .collect();
    let mut leaves = HashMap::new();
    for sample in messages(profile, 2) {
        let frames = packed(messages(sample, 1).next().expect("its frames"));
        let values = packed(messages(sample, 2).next().expect("its values"));
        let names: Vec<&str> = frames
            .iter()
            .take(2)
            .map(|id| locations[id].as_str())
            .collect();
        let mut labels = messages(sample, 3);
        let label = labels.find(|label| text(number(label, 1)) == "thread");
        let thread = text(number(label.expect("its thread"), 2));
        *leaves.entry((thread, names.join(" in "))).or_default() += values[0];
    }
    leaves
}

#[inline(never)]
fn the_known_culprit(rounds: u64) -> u64 {
    let (mut sum, mut round) = (1u64, 0u64);
    // Without an iterator: its functions, inlined into each other, would be blamed for what this one does.
    while round < rounds {
        sum = std::hint::black_box((sum >> 1) ^ round);
        round += 1;
    }
    sum
}

#[test]
fn the_function_that_spins_is_blamed() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let spinner = std::thread::Builder::new()
        .name("spinner".to_string())
        .spawn(|| {
            while !STOP.load(Ordering::Relaxed) {
                std::hint::black_box(the_known_culprit(1_000_000));
            }
        })
        .expect("a thread");
    let bytes = profile::take(Duration::from_secs(2), Format::Pprof).expect("a profile");
    STOP.store(true, Ordering::Relaxed);
    spinner.join().expect("it ended");
    let leaves = leaves(&bytes);
    let of_spinner = leaves.iter().filter(|((thread, _), _)| thread == "spinner");
    let all: u64 = of_spinner.clone().map(|(_, count)| count).sum();
    let blamed: u64 = of_spinner
        .filter(|((_, leaf), _)| leaf.contains("the_known_culprit"))
        .map(|(_, count)| count)
        .sum();
    assert!(all >= 10, "the spinner was seen: {leaves:?}");
    assert!(blamed * 10 >= all * 9, "{blamed} of {all}: {leaves:?}");
}

/// Ends the load when it is dropped, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_profile_of_the_program_names_its_worker() {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| Cluster::start(1, 0));
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let proxy = Proxy::start(cluster, &["-debug-addr", &addr]);
    let stop = AtomicBool::new(false);
    let (status, bytes) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut conn = proxy.conn();
            while !stop.load(Ordering::Relaxed) {
                conn.send(b"GET a\r\n".repeat(100));
                for _ in 0..100 {
                    conn.read_reply();
                }
            }
        });
        let _ends = Ends(&stop);
        let both = || {
            let taken = scope.spawn(|| http::get_bytes(&addr, "/debug/pprof/profile?seconds=2"));
            std::thread::sleep(Duration::from_millis(500));
            // The others are served meanwhile, and there is one profile at a time.
            assert_eq!(http::get(&addr, "/healthz").0, 200);
            let (other, _) = http::get_bytes(&addr, "/debug/pprof/profile?seconds=1");
            let taken = taken.join().expect("it was taken");
            (taken.0 == 200 && other == 409).then_some(taken)
        };
        // They do not meet if one of them has no processor for a while.
        let taken = (0..5).find_map(|_| both());
        taken.expect("the second one is refused")
    });
    assert_eq!(status, 200);
    let leaves = leaves(&bytes);
    assert!(
        leaves.keys().any(|(thread, _)| thread == "worker-0"),
        "{leaves:?}"
    );
    assert_eq!(proxy.conn().command(&["PING"]), "PONG");
    let path = "/debug/pprof/profile?seconds=1&format=folded";
    let (status, text) = http::get(&addr, path);
    assert_eq!(status, 200);
    for line in text.lines() {
        let (stack, count) = line.rsplit_once(' ').expect("a count");
        assert!(
            stack.contains(';') && count.parse::<u64>().is_ok(),
            "{line}"
        );
    }
}

/// The memory of a process that is its own, in bytes.
fn own_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = number.and_then(|text| text.parse().ok()).expect("a number");
    kib << 10
}

/// The tables by which stacks are walked and functions are named take some 60 MiB while they are there.
/// A table of samples that was kept took 19 MiB.
#[test]
fn a_profile_gives_its_memory_back() {
    let cluster = Cluster::start(1, 0);
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let proxy = Proxy::start(&cluster, &["-debug-addr", &addr]);
    let before = own_memory(proxy.pid());
    for format in ["pprof", "folded", "pprof"] {
        let path = format!("/debug/pprof/profile?seconds=1&format={format}");
        assert_eq!(http::get_bytes(&addr, &path).0, 200);
        wait_for("the memory to come back", Duration::from_secs(30), || {
            (own_memory(proxy.pid()) < before + (4 << 20)).then_some(())
        });
    }
}
