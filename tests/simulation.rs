//! The simulation: a cluster in memory and random clients drive [`redis_cluster_proxy::proxy::Proxy`], all
//! from one seed: time, order, sizes of reads and writes, and the trouble made. The same seed is the same
//! run, to the byte.
//!
//! - `SIMULATION_SEED=n cargo test --test simulation` runs one seed; with `SIMULATION_TRACE=1` it tells all.
//! - `SIMULATION_SEEDS=n` runs so many, beginning with `SIMULATION_FIRST` (0).

#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/cluster.rs"]
mod cluster;
#[path = "simulation/databases.rs"]
mod databases;
#[path = "simulation/doors.rs"]
mod doors;
#[path = "simulation/fans.rs"]
mod fans;
#[path = "simulation/ledger.rs"]
mod ledger;
#[path = "simulation/messages.rs"]
mod messages;
#[path = "simulation/promises.rs"]
mod promises;
#[path = "support/random.rs"]
mod random;
#[path = "simulation/resp.rs"]
mod resp;
#[path = "simulation/subscriber.rs"]
mod subscriber;
#[path = "simulation/users.rs"]
mod users;
#[path = "simulation/wire.rs"]
mod wire;
#[path = "simulation/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use world::World;

/// Seeds of a run of all tests.
const SEEDS: u64 = 256;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs one seed; what happened in it is added to `totals`.
fn run(seed: u64, totals: &mut BTreeMap<&'static str, u64>) -> Result<u64, ()> {
    let mut world = World::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    if outcome.is_err() {
        eprintln!("seed {seed} failed: SIMULATION_SEED={seed} cargo test --test simulation");
        return Err(());
    }
    let counts = &world.counts;
    let own = [
        ("replies", counts.replies),
        ("errors", counts.errors),
        ("unknown_replies", counts.unknown),
        ("tryagain_replies", counts.try_again),
        ("large_replies", counts.big),
        ("messages_heard", counts.messages),
        ("grown_replies", counts.grown),
        ("severed", counts.severed_seen),
        ("bursts", counts.bursts),
        ("values_kept", counts.kept),
        ("clients_ended", counts.ended),
        ("requests_judged", counts.judged),
    ];
    let all = world.proxy_counts();
    let all = all.into_iter().chain(world.cluster_counts()).chain(own);
    for (name, count) in all.chain(world.events.list()) {
        *totals.entry(name).or_default() += count;
    }
    Ok(world.digest)
}

#[test]
fn seeds() {
    let first = number("SIMULATION_FIRST").unwrap_or(0);
    let seeds: Vec<u64> = match (number("SIMULATION_SEED"), number("SIMULATION_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => (first..first + count.unwrap_or(SEEDS)).collect(),
    };
    let started = Instant::now();
    let mut totals = BTreeMap::new();
    let mut failed = Vec::new();
    for seed in &seeds {
        if run(*seed, &mut totals).is_err() {
            failed.push(*seed);
        }
        if failed.len() >= 10 && number("SIMULATION_SEEDS").is_none() {
            break;
        }
    }
    println!("{} seeds in {:?}", seeds.len(), started.elapsed());
    totals
        .iter()
        .for_each(|(name, count)| println!("{name:>24} {count}"));
    assert!(
        failed.is_empty(),
        "{} of {} seeds failed: {failed:?}",
        failed.len(),
        seeds.len()
    );
    if seeds.len() as u64 >= SEEDS {
        check_that_it_happened(&totals);
    }
}

/// A fault that never strikes proves nothing.
fn check_that_it_happened(totals: &BTreeMap<&'static str, u64>) {
    let happened = |name: &&&str| totals.get(**name).is_some_and(|count| *count > 0);
    let never: Vec<&&str> = EXPECTED.iter().filter(|name| !happened(name)).collect();
    assert!(never.is_empty(), "these never happened: {never:?}");
}

/// What the seeds of one run must have brought about.
const EXPECTED: &[&str] = &[
    // Counted by the proxy.
    "ask",
    "backend_failures",
    "backend_protocol_errors",
    "disbelieved",
    "doubted",
    "backend_replacements",
    "expired",
    "heads_overdue",
    "held",
    "moved",
    "protocol_errors",
    "reads_moved",
    "replica_reads",
    "requests_streamed",
    "retries",
    "splits",
    "tryagain",
    "unavailable",
    "unknown_outcomes",
    // Counted by the cluster and the world.
    "clients_half_closed",
    "clients_not_reading",
    "changed_at_once",
    "clients_told",
    "clients_vanished",
    "clients_writing_first",
    "cluster_downs",
    "connects_in_vain",
    "connects_refused",
    "crashes",
    "deaf_bursts",
    "failovers",
    "connects_closed",
    "connects_silent",
    "connects_told",
    "nodes_shut",
    "garbage",
    "hangs",
    "deleted_past",
    "late_executions",
    "late_reports",
    "lies",
    "scripts_lied",
    "links_cut",
    "long_heads",
    "reply_pauses",
    "masterless",
    "migrations",
    "planned_failovers",
    "pushes",
    "published",
    "replica_executions",
    "requests_of_vanished",
    "restarts",
    "short_writes",
    "standstills",
    "stale_topologies",
    "subscribers_closed",
    "surplus",
    "trackers_closed",
    // Seen by clients.
    "errors",
    "large_replies",
    "tryagain_replies",
    "messages_heard",
    "messages",
    "evictions",
    "unknown_replies",
    "grown_replies",
    "severed",
    // Published by clients.
    "publishes_done",
    "bursts",
    // Clients that track, and what they hear of.
    "flushed_past",
    "forgotten",
    "listeners_lost",
    "told_by_listeners",
    "keys_ended",
    "tracking_evictions",
    "tracking_pushes",
    "values_kept",
    "written_past",
    // Requests for all masters.
    "fans_checked",
    "fan_orders_checked",
    "long_lists",
    "interleaved_lists",
    // Clients of namespaces.
    "clients_in_namespaces",
    "databases_checked",
    "databases_copied_to",
    "databases_emptied",
    "databases_moved_to",
    // Users of the servers.
    "clients_ended",
    "requests_judged",
    "logins_accepted",
    "logins_refused",
    "user_changes",
    "users_ended",
    "verdicts",
    // Transactions and pops.
    "transactions_executed",
    "long_transactions",
    "nil_of_nodes",
    "nil_replies",
    "pops_blocked",
    "pops_thrown_out",
    "pops_sent_on",
    "tokens_delivered",
];

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 7] {
        let mut totals = BTreeMap::new();
        let first = run(seed, &mut totals).expect("it passes");
        assert_eq!(Ok(first), run(seed, &mut totals));
    }
}
