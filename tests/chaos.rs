//! Chaos: the real proxy before real nodes, clients that know what they may be told, a tap on every node,
//! and everything that goes wrong. Prints its seed; half a minute unless `CHAOS_SECONDS` says otherwise
//! (`make chaos MINUTES=10`).
//!
//! | variable | meaning |
//! |---|---|
//! | `CHAOS_SECONDS` | how long faults go on |
//! | `CHAOS_SEED` | the seed of a run before |
//! | `CHAOS_FAULTS` | only these, e.g. `KillMaster,Failover` |
//! | `CHAOS_RATE` | requests a second, of all clients |
//! | `CHAOS_FLAGS` | more flags for the proxy |
//! | `PLANTED_BUG` | a build with bugs to choose from (see `make checker-test`): ends at the first violation |

mod support;

mod chaos {
    pub mod client;
    pub mod ledger;
    pub mod nemesis;
    pub mod probe;
    pub mod pubsub;
    pub mod random;
    pub mod tap;
}

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use chaos::client::{Client, Load};
use chaos::ledger::{Ledger, wall};
use chaos::nemesis::{Fault, Nemesis, SHARDS, keep_moving};
use chaos::probe::{self, Successes};
use chaos::pubsub;
use chaos::random::Random;
use chaos::tap;
use support::{Ground, Proxy, slot_of, wait_for};

const CLIENTS: usize = 16;
const TAGS: usize = 24;
const PASSWORD: &str = "open-sesame";

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

#[derive(Debug, Default)]
struct Row {
    struck: usize,
    verified: usize,
    longest: Duration,
    longest_beside: Duration,
}

#[test]
fn nothing_wrong_and_nothing_lost() {
    if support::ground::enter("nothing_wrong_and_nothing_lost") {
        return;
    }
    let seconds = number("CHAOS_SECONDS", 30);
    let seed = number("CHAOS_SEED", wall() % 1_000_000);
    eprintln!("chaos: {seconds} s, CHAOS_SEED={seed}");
    let mut random = Random::new(seed);

    let ground = Arc::new(Ground::start(SHARDS, 1, Some(PASSWORD), &[]));
    let flags = std::env::var("CHAOS_FLAGS").unwrap_or_default();
    let mut all = vec!["-backend-password", PASSWORD, "-log-every-n", "0"];
    all.extend(flags.split_whitespace());
    let proxy = Proxy::spawn(&ground.addrs(), &all, &[]);
    proxy.wait_until_answering();
    wait_for("the proxy to serve", Duration::from_secs(10), || {
        let reply = proxy.conn().line("MGET a b c d e f");
        (!reply.is_error()).then_some(())
    });

    // As many tags in each shard.
    let shard_of = |slot: u16| usize::from(slot) * SHARDS / 16384;
    let mut tags: Vec<String> = Vec::new();
    for count in 0.. {
        let tag = format!("t{count}");
        let same = tags
            .iter()
            .filter(|own| shard_of(slot_of(own)) == shard_of(slot_of(&tag)));
        if same.count() < TAGS / SHARDS {
            tags.push(tag);
        }
        if tags.len() == TAGS {
            break;
        }
    }
    let ledger = Arc::new(Ledger::new(CLIENTS));
    let stop = Arc::new(AtomicBool::new(false));
    let (tap_stop, lines) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut taps = Vec::new();
    for index in 0..ground.nodes.len() {
        let up = Arc::new(AtomicBool::new(false));
        taps.push(tap::listen(
            ground.clone(),
            index,
            ledger.clone(),
            lines.clone(),
            tap_stop.clone(),
            up.clone(),
        ));
        wait_for("the tap", Duration::from_secs(10), || {
            up.load(Ordering::Relaxed).then_some(())
        });
    }
    let base = (proxy.fds(), proxy.rss_kib());

    // The probes' slots never move.
    let mut probes: Vec<[Arc<Successes>; 2]> = Vec::new();
    for shard in 0..SHARDS {
        let key = (0..)
            .map(|count| format!("{{p{count}}}"))
            .find(|key| shard_of(slot_of(key)) == shard)
            .expect("numbers do not end");
        let through = probe::through(proxy.addr().into(), key.clone(), stop.clone());
        let nodes = [shard, shard + SHARDS];
        probes.push([
            through,
            probe::beside(ground.clone(), nodes, key, stop.clone()),
        ]);
    }
    let load = Load {
        tags: tags.clone(),
        rate: number("CHAOS_RATE", 9000) as f64 / CLIENTS as f64,
        aborts: 60,
        pipeline: 300,
    };
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let client = Client::new(client, load.clone(), random.next(), ledger.clone());
            let (addr, stop) = (proxy.addr().to_string(), stop.clone());
            thread::spawn(move || client.run(&addr, &stop))
        })
        .collect();
    let (press, readers) = pubsub::start(proxy.addr(), &tags, &ledger, &stop);
    let nemesis = Arc::new(Nemesis {
        ground: ground.clone(),
        proxy_pid: proxy.pid(),
        proxy_addr: proxy.addr().to_string(),
        password: PASSWORD.to_string(),
        tags,
        reserved: Arc::new(Mutex::new(HashSet::new())),
        moving: Arc::new(Mutex::new(())),
    });
    let moved = Arc::new(AtomicU64::new(0));
    let mover = {
        let (nemesis, moved, stop) = (nemesis.clone(), moved.clone(), stop.clone());
        let seed = random.next();
        thread::spawn(move || keep_moving(nemesis, seed, moved, stop))
    };

    let mut rows = BTreeMap::new();
    let began = Instant::now();
    let limit = Duration::from_secs(seconds);
    torment(&nemesis, &ledger, &probes, &mut random, limit, &mut rows);

    // All is well again: everything must be served within five seconds.
    nemesis.free();
    wait_for("the cluster to settle", Duration::from_secs(60), || {
        ground.mend();
        ground.agree(&nemesis.tags.iter().map(slot_of).collect::<Vec<_>>());
        ground.is_settled().then_some(())
    });
    let settled = wall();
    thread::sleep(Duration::from_secs(1));
    let alive = |probe: &[Arc<Successes>; 2]| probe[0].last() > settled;
    wait_for("all shards to serve", Duration::from_secs(5), || {
        probes.iter().all(alive).then_some(())
    });
    wait_for("subscribers to hear", Duration::from_secs(5), || {
        let mut last = press.last.iter();
        last.all(|at| at.load(Ordering::Relaxed) > settled)
            .then_some(())
    });
    let busy = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader
            .join()
            .expect("neither publisher nor subscriber panics");
    }
    for client in clients {
        client.join().expect("a client does not panic");
    }
    mover.join().expect("the mover does not panic");
    drain(&lines);
    tap_stop.store(true, Ordering::Relaxed);
    for tap in taps {
        tap.join().expect("a tap does not panic");
    }
    ledger.settle();
    check_rest(&proxy, base, &ledger);
    report(
        &ledger,
        &rows,
        &proxy,
        moved.load(Ordering::Relaxed),
        busy,
        seed,
    );

    eprintln!("{press:?}");

    let violations = ledger.violations.lock().expect("no panic holds it");
    assert!(violations.is_empty(), "{} violations", violations.len());
    if seconds >= 600 {
        let counters = proxy_counters(&proxy);
        for name in ["moved", "ask", "tryagain", "held", "retries"] {
            assert!(
                counters.get(name).is_some_and(|count| *count > 0),
                "no {name}"
            );
        }
        for (fault, row) in &rows {
            assert!(
                row.verified >= 2,
                "{fault:?} took effect {} times",
                row.verified
            );
        }
    }
}

/// Strikes until the time is over.
fn torment(
    nemesis: &Nemesis,
    ledger: &Ledger,
    probes: &[[Arc<Successes>; 2]],
    random: &mut Random,
    limit: Duration,
    rows: &mut BTreeMap<Fault, Row>,
) {
    let only = std::env::var("CHAOS_FAULTS").unwrap_or_default();
    let kinds: Vec<Fault> = Fault::ALL
        .into_iter()
        .filter(|fault| support::ground::is_inside() || !fault.needs_links())
        .filter(|fault| only.is_empty() || only.split(',').any(|name| name == format!("{fault:?}")))
        .collect();
    let planted = std::env::var_os("PLANTED_BUG").is_some();
    let began = Instant::now();
    let mut deck: Vec<Fault> = Vec::new();
    thread::sleep(Duration::from_secs(1));
    while began.elapsed() < limit && !(planted && ledger.has_violations()) {
        if deck.is_empty() {
            deck.clone_from(&kinds);
            for last in (1..deck.len()).rev() {
                deck.swap(last, random.below(last as u64 + 1) as usize);
            }
        }
        let Some(fault) = deck.pop() else {
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let first = wall();
        let place = fault.is_unplanned().then(|| ledger.unplanned_begins());
        let verified = nemesis.strike(fault, random);
        let deadline = Instant::now() + Duration::from_secs(20);
        {
            // While slots move the nodes never quite agree.
            let _moving = nemesis.moving.lock().expect("no panic holds it");
            let slots: Vec<u16> = nemesis.tags.iter().map(slot_of).collect();
            let patience = Instant::now() + Duration::from_secs(4);
            while !nemesis.ground.is_settled() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(50));
                if Instant::now() > patience {
                    nemesis.ground.agree(&slots);
                }
            }
        }
        if let Some(why) = nemesis.ground.unsettled() {
            eprintln!("           not settled: {why}");
        }
        let settled = wall();
        let served = |probe: &[Arc<Successes>; 2]| probe[0].last() > settled;
        while !probes.iter().all(served) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(Duration::from_millis(random.within(300, 1000)));
        if let Some(place) = place {
            ledger.unplanned_ends(place, 1_000_000);
        }
        let longest = |side: usize| {
            let outages = probes.iter().map(|probe| probe[side].outage(first));
            outages.max().unwrap_or_default()
        };
        let (through, beside) = (longest(0), longest(1));
        eprintln!(
            "{:7.1} s  {fault:?}{}: outage {:.3} s, at the nodes {:.3} s",
            began.elapsed().as_secs_f64(),
            if verified { "" } else { " (no effect)" },
            through.as_secs_f64(),
            beside.as_secs_f64()
        );
        let row = rows.entry(fault).or_default();
        row.struck += 1;
        row.verified += usize::from(verified);
        row.longest = row.longest.max(through);
        row.longest_beside = row.longest_beside.max(beside);
        nemesis.free();
        if planted {
            ledger.check_now();
        }
        if !verified {
            nemesis.ground.mend();
        }
    }
}

/// Waits until the taps bring nothing more.
fn drain(lines: &AtomicU64) {
    loop {
        let before = lines.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(500));
        // The topology is asked for all the time.
        if lines.load(Ordering::Relaxed) < before + 50 {
            return;
        }
    }
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2);
    ticks.filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// C9: memory, descriptors and processor are back where they were.
fn check_rest(proxy: &Proxy, base: (usize, u64), ledger: &Ledger) {
    thread::sleep(Duration::from_secs(1));
    let before = cpu_ticks(proxy.pid());
    thread::sleep(Duration::from_secs(2));
    let cpu = (cpu_ticks(proxy.pid()) - before) as f64 / 2.0;
    let (fds, rss) = (proxy.fds(), proxy.rss_kib());
    eprintln!(
        "at rest: {fds} descriptors (before {}), {rss} KiB (before {}), {cpu:.1} % of a core",
        base.0, base.1
    );
    if fds > base.0 + 12 || rss > base.1 + 96 * 1024 || cpu > 5.0 {
        ledger.violation("C9 resources", "not back at the base".into());
    }
}

fn proxy_counters(proxy: &Proxy) -> BTreeMap<String, u64> {
    let info = proxy.conn().line("PROXY INFO").text();
    info.lines()
        .filter_map(|line| line.strip_prefix("proxy_")?.split_once(':'))
        .filter_map(|(name, value)| Some((name.to_string(), value.parse().ok()?)))
        .collect()
}

fn report(
    ledger: &Ledger,
    rows: &BTreeMap<Fault, Row>,
    proxy: &Proxy,
    moved: u64,
    busy: Duration,
    seed: u64,
) {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    eprintln!("\nfault              struck  verified  longest outage  at the nodes");
    for (fault, row) in rows {
        eprintln!(
            "{:<18} {:6} {:9} {:13.3} s {:11.3} s",
            format!("{fault:?}"),
            row.struck,
            row.verified,
            row.longest.as_secs_f64(),
            row.longest_beside.as_secs_f64()
        );
    }
    let struck: usize = rows.values().map(|row| row.verified).sum();
    let operations = get(&ledger.operations);
    eprintln!(
        "{operations} operations in {:.0} s ({:.0}/s), {} writes, {} connections; {} unknown, {} failed, {} lost by the store",
        busy.as_secs_f64(),
        operations as f64 / busy.as_secs_f64(),
        ledger.writes(),
        get(&ledger.connections),
        get(&ledger.unknown),
        get(&ledger.failed),
        get(&ledger.lost_by_store),
    );
    for (text, count) in ledger.error_counts() {
        eprintln!("  {count:6} x {text}");
    }
    let counters = proxy_counters(proxy);
    let count = |name: &str| counters.get(name).copied().unwrap_or(0);
    eprintln!(
        "proxy: moved {}, ask {}, tryagain {}, parked {}, retried {}, expired {}, unknown outcomes {}",
        count("moved"),
        count("ask"),
        count("tryagain"),
        count("held"),
        count("retries"),
        count("expired"),
        count("unknown_outcomes")
    );
    let violations = ledger.violations.lock().expect("no panic holds it");
    eprintln!(
        "{struck} faults of {} kinds and {moved} slots moved; {} violations; CHAOS_SEED={seed}",
        rows.len(),
        violations.len()
    );
    for violation in violations.iter().take(20) {
        eprintln!("  {violation}");
    }
}
