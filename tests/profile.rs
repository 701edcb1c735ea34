//! CPU profiles: whoever burns the time is the one that is blamed.

mod support;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pprof::protos::{Message, Profile};
use redis_cluster_proxy::control::profile::{self, Format};
use support::{Cluster, Port, Proxy, http, wait_for};

/// Samples by thread and by the function that was running, with those that it was inlined into.
fn leaves(profile: &Profile) -> HashMap<(String, String), i64> {
    let text = |index: i64| profile.string_table[usize::try_from(index).expect("an index")].clone();
    let functions: HashMap<u64, String> = profile
        .function
        .iter()
        .map(|function| (function.id, text(function.name)))
        .collect();
    // An inlined function has a location of its own, before that of the one it was inlined into.
    let locations: HashMap<u64, u64> = profile
        .location
        .iter()
        .map(|location| (location.id, location.line[0].function_id))
        .collect();
    let mut leaves = HashMap::new();
    for sample in &profile.sample {
        let frames = sample.location_id.iter().take(2).map(|id| locations[id]);
        let names: Vec<&str> = frames.map(|id| functions[&id].as_str()).collect();
        let leaf = names.join(" in ");
        let label = sample
            .label
            .iter()
            .find(|label| text(label.key) == "thread");
        let thread = label.map_or_else(String::new, |label| text(label.str));
        *leaves.entry((thread, leaf)).or_default() += sample.value[0];
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
    let leaves = leaves(&Profile::decode(&bytes[..]).expect("a profile"));
    let of_spinner = leaves.iter().filter(|((thread, _), _)| thread == "spinner");
    let all: i64 = of_spinner.clone().map(|(_, count)| count).sum();
    let blamed: i64 = of_spinner
        .filter(|((_, leaf), _)| leaf.contains("the_known_culprit"))
        .map(|(_, count)| count)
        .sum();
    assert!(all >= 10, "the spinner was seen: {leaves:?}");
    assert!(blamed * 10 >= all * 9, "{blamed} of {all}: {leaves:?}");
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
        let taken = scope.spawn(|| http::get_bytes(&addr, "/debug/pprof/profile?seconds=2"));
        std::thread::sleep(Duration::from_millis(500));
        // The others are served meanwhile, and there is one profile at a time.
        assert_eq!(http::get(&addr, "/healthz").0, 200);
        assert_eq!(http::get(&addr, "/debug/pprof/profile?seconds=1").0, 409);
        let taken = taken.join().expect("it was taken");
        stop.store(true, Ordering::Relaxed);
        taken
    });
    assert_eq!(status, 200);
    let leaves = leaves(&Profile::decode(&bytes[..]).expect("a profile"));
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

/// What stays are the library's table of samples (19 MiB) and the sections by which stacks are walked; the names of
/// all functions took three times as much.
#[test]
fn a_profile_gives_its_memory_back() {
    let cluster = Cluster::start(1, 0);
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let proxy = Proxy::start(&cluster, &["-debug-addr", &addr]);
    let before = own_memory(proxy.pid());
    for format in ["pprof", "folded"] {
        let path = format!("/debug/pprof/profile?seconds=1&format={format}");
        assert_eq!(http::get_bytes(&addr, &path).0, 200);
        wait_for("the memory to come back", Duration::from_secs(10), || {
            (own_memory(proxy.pid()) < before + (32 << 20)).then_some(())
        });
    }
}
