//! Chaos: the real proxy before real nodes, clients that know what they may be told, a tap on every node,
//! and everything that goes wrong. Prints its seed; half a minute unless `CHAOS_SECONDS` says otherwise
//! (`make chaos MINUTES=10`).
//!
//! | variable | meaning |
//! |---|---|
//! | `CHAOS_SECONDS` | how long faults go on |
//! | `CHAOS_WARM` | how long the crew works before them (a minute if they go on for five): it then rests at half time, too |
//! | `CHAOS_SEED` | the seed of a run before |
//! | `CHAOS_FAULTS` | only these, e.g. `KillMaster,Failover` |
//! | `CHAOS_RATE` | requests a second, of all clients |
//! | `TEST_TLS` | if it is set, clients, nodes and the proxy speak TLS |
//! | `CHAOS_FLAGS` | more flags for the proxy (not those of namespaces: some of the crew are in namespaces of their own) |
//! | `PLANTED_BUG` | a build with bugs to choose from (see `make checker-test`): ends at the first violation |

mod support;

mod chaos {
    pub mod bank;
    pub mod client;
    pub mod crew;
    pub mod fans;
    pub mod handoff;
    pub mod ledger;
    pub mod near;
    pub mod nemesis;
    pub mod probe;
    pub mod pubsub;
    pub mod random;
    pub mod rest;
    pub mod script;
    pub mod tap;
}

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use chaos::client::Load;
use chaos::crew::{CLIENTS, Crew};
use chaos::ledger::{Ledger, Span, wall};
use chaos::nemesis::{Fault, Nemesis, SHARDS, keep_moving};
use chaos::probe::Probe;
use chaos::random::Random;
use chaos::{rest, script, tap};
use support::{Ground, Port, Proxy, slot_of, wait_for};

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
    if support::is_tls_wanted() {
        // Nodes have addresses of their own, and one certificate.
        all.extend(["-backend-tls-server-name", "localhost"]);
    }
    all.extend(flags.split_whitespace());
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
    // Some clients are in namespaces, which share slots with tags of the others. (Where TLS is wanted nobody is: their
    // addresses have none.)
    let ports = [Port::reserve(), Port::reserve()];
    let at =
        |(name, port): (&String, &Port)| (name.clone(), format!("127.0.0.1:{}", port.number()));
    let namespaces: Vec<(String, String)> = match support::is_tls_wanted() {
        true => Vec::new(),
        false => tags.iter().step_by(5).zip(&ports).map(at).collect(),
    };
    let listens: Vec<String> = namespaces
        .iter()
        .map(|(name, addr)| format!("{name}={addr}"))
        .collect();
    let listens = listens.join(",");
    let mut own = all.clone();
    own.extend(["-namespace-addrs", &listens]);
    let proxy = Proxy::spawn(&ground.addrs(), &own, &[]);
    proxy.wait_until_answering();
    wait_for("the proxy to serve", Duration::from_secs(30), || {
        let reply = proxy.conn().line("MGET a b c d e f");
        (!reply.is_error()).then_some(())
    });

    let load = Load {
        tags: tags.clone(),
        rate: number("CHAOS_RATE", 9000) as f64 / CLIENTS as f64,
        aborts: 60,
        pipeline: 300,
        script: script::load(proxy.addr()),
    };
    for (_, addr) in &namespaces {
        assert_eq!(script::load(addr), load.script);
    }
    // The probes' slots never move.
    let probe = |shard: usize| {
        let mut keys = (0..).map(|count| format!("{{p{count}}}"));
        let key = keys.find(|key| shard_of(slot_of(key)) == shard);
        let key = key.expect("numbers do not end");
        Probe::new(key, ground.clone(), [shard, shard + SHARDS])
    };
    let probes = (0..SHARDS).map(probe).collect();
    let mut with_cache = all.clone();
    with_cache.extend(["-near-cache", "8mb", "-near-cache-min-reads", "1"]);
    let near = Proxy::spawn(&ground.addrs(), &with_cache, &[]);
    near.wait_until_answering();
    let addrs = (proxy.addr(), near.addr());
    let mut crew = Crew::new(addrs, &namespaces, &load, probes, &mut random);
    let ledger = crew.ledger.clone();
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
        wait_for("the tap", Duration::from_secs(30), || {
            up.load(Ordering::Relaxed).then_some(())
        });
    }
    let nemesis = Arc::new(Nemesis {
        ground: ground.clone(),
        proxy_pid: proxy.pid(),
        proxy_addr: proxy.addr().to_string(),
        password: PASSWORD.to_string(),
        tags,
        reserved: Arc::new(Mutex::new(HashSet::new())),
        moving: Arc::new(Mutex::new(())),
    });

    // Long runs rest: before the faults, when half of them are over, and at the end.
    let warming = number("CHAOS_WARM", if seconds >= 300 { 60 } else { 0 });
    let parts = if warming > 0 { 2 } else { 1 };
    if warming > 0 {
        crew.work(&mut random, |_, _| {
            thread::sleep(Duration::from_secs(warming));
        });
    }
    let mut rests = vec![rest::look(&proxy, &crew.probes)];
    let moved = Arc::new(AtomicU64::new(0));
    let mut rows = BTreeMap::new();
    let mut busy = Duration::ZERO;
    for _ in 0..parts {
        let limit = Duration::from_secs(seconds / parts);
        busy += crew.work(&mut random, |crew, random| {
            let began = Instant::now();
            let stop = Arc::new(AtomicBool::new(false));
            let mover = {
                let (nemesis, moved, stop) = (nemesis.clone(), moved.clone(), stop.clone());
                let seed = random.next();
                thread::spawn(move || keep_moving(nemesis, seed, moved, stop))
            };
            torment(&nemesis, crew, random, limit, &mut rows);
            wait_until_well(&nemesis, crew);
            stop.store(true, Ordering::Relaxed);
            mover.join().expect("the mover does not panic");
            began.elapsed()
        });
        rests.push(rest::look(&proxy, &crew.probes));
    }
    crew.disband();
    drain(&lines);
    tap_stop.store(true, Ordering::Relaxed);
    for tap in taps {
        tap.join().expect("a tap does not panic");
    }
    ledger.settle();
    crew.queues.settle(&ledger);
    rest::judge(&rests, warming > 0, &ledger);
    report(
        &ledger,
        &rows,
        &proxy,
        moved.load(Ordering::Relaxed),
        busy,
        seed,
    );

    let (banks, queues) = (&crew.banks, &crew.queues);
    eprintln!("{}", crew.press.figures());
    eprintln!("{}", crew.fans.figures());
    eprintln!("{}", crew.near.figures());
    eprintln!("{}\n{}", banks.figures(), queues.figures());
    let failovers = ledger.failovers();
    let struck = |tags: &[String], busy: &[&str]| {
        let mut own = tags.iter();
        own.any(|tag| busy.contains(&tag.as_str()))
    };
    let busy = failovers.iter();
    let busy = busy.filter(|own| struck(&own.tags, &banks.busy_within(own.span)));
    let busy = busy.count();
    let over = |tags: &[String], span: Span| -> usize {
        tags.iter().map(|tag| queues.over(tag, span)).sum()
    };
    let handed = failovers.iter();
    let handed: usize = handed.map(|own| over(&own.tags, own.span)).sum();
    eprintln!(
        "{} failovers, {busy} of them with transfers under way there; {handed} tokens were handed to who had \
         waited since before one",
        failovers.len()
    );

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
        assert!(busy >= 50, "{busy} failovers with transfers under way");
        assert!(handed > 0, "nobody waited for a token over a failover");
        for (fault, row) in &rows {
            assert!(
                row.verified >= 2,
                "{fault:?} took effect {} times",
                row.verified
            );
        }
    }
}

/// All is well again: everything must be served within five seconds.
fn wait_until_well(nemesis: &Nemesis, crew: &Crew) {
    let ground = &nemesis.ground;
    nemesis.free();
    wait_for("the cluster to settle", Duration::from_secs(60), || {
        nemesis.mend();
        let _moving = nemesis.moving.lock().expect("no panic holds it");
        ground.is_settled().then_some(())
    });
    let settled = wall();
    thread::sleep(Duration::from_secs(1));
    wait_for("all shards to serve", Duration::from_secs(10), || {
        let mut probes = crew.probes.iter();
        probes.all(|own| own.through.last() > settled).then_some(())
    });
    wait_for("subscribers to hear", Duration::from_secs(10), || {
        let mut last = crew.press.last.iter();
        last.all(|at| at.load(Ordering::Relaxed) > settled)
            .then_some(())
    });
}

/// Strikes until the time is over.
fn torment(
    nemesis: &Nemesis,
    crew: &Crew,
    random: &mut Random,
    limit: Duration,
    rows: &mut BTreeMap<Fault, Row>,
) {
    let (ledger, probes) = (&crew.ledger, &crew.probes);
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
        let place = fault
            .is_unplanned()
            .then(|| ledger.unplanned_begins(fault.loses_data()));
        let shard = random.below(SHARDS as u64) as usize;
        let verified = nemesis.strike(fault, shard, random);
        if verified && fault.is_failover() {
            let last = wall();
            ledger.failed_over(Span { first, last }, nemesis.tags_of(shard));
        }
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
        let served = |probe: &Probe| probe.through.last() > settled;
        while !probes.iter().all(served) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(Duration::from_millis(random.within(300, 1000)));
        if let Some(place) = place {
            ledger.unplanned_ends(place, 1_000_000);
        }
        let longest = |side: &dyn Fn(&Probe) -> Duration| {
            let outages = probes.iter().map(side);
            outages.max().unwrap_or_default()
        };
        let through = longest(&|probe| probe.through.outage(first));
        let beside = longest(&|probe| probe.beside.outage(first));
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
            nemesis.mend();
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
            "{:<18} {:6} {:9} {:13.3} s {:11.3} s{}",
            format!("{fault:?}"),
            row.struck,
            row.verified,
            row.longest.as_secs_f64(),
            row.longest_beside.as_secs_f64(),
            fault.apart()
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
