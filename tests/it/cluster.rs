//! A cluster that lives: many clients with every reply checked, while slots move, masters change places and
//! several workers share the work. Nothing of it may be seen by a client.

use crate::support::{Cluster, Conn, Model, Proxy, Reply, slot_of, wait_for};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One cluster for all; whoever changes it is alone with it.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(3, 1))
}

/// Hash tags of so many slots, all over the cluster.
fn tags(count: u16) -> Vec<String> {
    (0..count)
        .map(|number| {
            let slot = number * (16384 / count) + 7;
            (0..)
                .map(|n: u32| n.to_string())
                .find(|tag| slot_of(tag) == slot)
                .expect("one")
        })
        .collect()
}

/// Checked load from `clients` clients until `done` returns; then whether lists are in order.
fn under_load(proxy: &Proxy, name: &str, tags: &[String], clients: usize, done: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let threads: Vec<_> = (0..clients)
            .map(|number| {
                scope.spawn(move || {
                    let mut model = Model::new(&format!("{name}{number}"), tags, number as u64 + 1);
                    let mut conn = proxy.conn();
                    while !stop.load(Ordering::Relaxed) {
                        let count = model.some(20);
                        model.run(&mut conn, count);
                    }
                    model.check_lists(&mut conn);
                })
            })
            .collect();
        // The load ends also when what happens meanwhile fails.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        {
            let _stop = Stop(stop);
            done();
        }
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// 50 clients, 200 commands each, in pipelines of all lengths.
fn ten_thousand_commands(proxy: &Proxy) {
    let tags = &tags(64);
    std::thread::scope(|scope| {
        for number in 0..50 {
            scope.spawn(move || {
                let mut model = Model::new(&format!("mixed{number}"), tags, number + 1);
                let mut conn = proxy.conn();
                let mut left = 200;
                while left > 0 {
                    let count = model.some(50).min(left);
                    model.run(&mut conn, count);
                    left -= count;
                }
                model.check_lists(&mut conn);
            });
        }
    });
    assert!(proxy.counter("proxy_commands") >= 10_000);
    assert!(proxy.counter("proxy_splits") > 0);
}

/// Slots go to the next master and come back, their keys one part after the other.
fn slots_move(cluster: &Cluster, proxy: &Proxy, name: &str) {
    let tags = tags(6);
    let before = |name: &str| proxy.counter(name);
    let counters = ["proxy_moved", "proxy_ask", "proxy_tryagain"];
    let start = counters.map(before);
    under_load(proxy, name, &tags, 20, || {
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut rounds = 0;
        loop {
            for tag in &tags {
                let slot = slot_of(tag);
                let from = cluster.master_of(slot);
                let masters = cluster.masters();
                let at = masters
                    .iter()
                    .position(|port| *port == from)
                    .expect("a master");
                let to = masters[(at + 1) % masters.len()];
                cluster.begin_migration(slot, from, to);
                while cluster.move_keys(slot, from, to, 40) > 0 {
                    // Time for requests that find half of their keys.
                    std::thread::sleep(Duration::from_millis(2));
                }
                cluster.end_migration(slot, from, to);
            }
            rounds += 1;
            let grown = counters
                .iter()
                .zip(start)
                .all(|(name, start)| before(name) > start);
            if rounds >= 8 && grown {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "{counters:?} do not all grow: {:?}",
                counters.map(before)
            );
        }
        eprintln!("{rounds} rounds, {counters:?} {:?}", counters.map(before));
    });
    let own = proxy.conn().line("PROXY INFO").text();
    for name in counters {
        assert!(
            own.contains(&format!("{name}:{}", before(name))),
            "{name} in {own}"
        );
    }
    cluster.wait_until_ready();
}

/// Every master hands over to its replica, one after the other.
fn masters_change_places(cluster: &Cluster, proxy: &Proxy) {
    let tags = tags(12);
    under_load(proxy, "failover", &tags, 10, || {
        for master in cluster.masters() {
            cluster.failover(cluster.replicas_of(master)[0]);
        }
    });
}

/// Each of two workers has its share of 50 clients and of the work.
fn workers_share(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &["-max-procs", "2"]);
    assert_eq!(proxy.counter("proxy_workers"), 2);
    // How often each worker went to sleep or was put to sleep: an idle one does so about once a second.
    let turns = || -> Vec<u64> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).expect("it runs");
        let mut workers: Vec<(String, u64)> = tasks
            .filter_map(|task| {
                let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
                let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
                let name = field("Name:\t")
                    .filter(|name| name.starts_with("worker-"))?
                    .to_string();
                let switches = [
                    "voluntary_ctxt_switches:\t",
                    "nonvoluntary_ctxt_switches:\t",
                ]
                .iter()
                .filter_map(|name| field(name)?.parse::<u64>().ok());
                Some((name, switches.sum()))
            })
            .collect();
        workers.sort();
        workers.into_iter().map(|(_, switches)| switches).collect()
    };
    let start = turns();
    assert_eq!(start.len(), 2, "worker-0 and worker-1");
    under_load(&proxy, "workers", &tags(16), 50, || {
        wait_for("both workers to work", Duration::from_secs(20), || {
            turns()
                .iter()
                .zip(&start)
                .all(|(now, start)| now - start > 300)
                .then_some(())
        });
    });
    assert!(proxy.counter("proxy_clients_accepted") >= 50);
    assert!(proxy.stop().success());
}

/// One client, pipelined: pushes to one list while its slot moves arrive in their order, each once.
fn one_list_stays_in_order(cluster: &Cluster, proxy: &Proxy) {
    let tag = tags(6).remove(3);
    let (key, slot) = (format!("{{{tag}}}:ordered"), slot_of(&tag));
    let mut conn = proxy.conn();
    let mut pushed = 0;
    let mut push = |conn: &mut Conn, count: i64| {
        let commands: Vec<Vec<String>> = (pushed..pushed + count)
            .map(|n| ["RPUSH".to_string(), key.clone(), n.to_string()].to_vec())
            .collect();
        for (reply, n) in conn.pipeline(&commands).into_iter().zip(pushed..) {
            assert_eq!(reply, Reply::Int(n + 1));
        }
        pushed += count;
    };
    for _ in 0..4 {
        let from = cluster.master_of(slot);
        let to = *cluster
            .masters()
            .iter()
            .find(|port| **port != from)
            .expect("another");
        push(&mut conn, 500);
        cluster.begin_migration(slot, from, to);
        push(&mut conn, 500);
        while cluster.move_keys(slot, from, to, 10) > 0 {
            push(&mut conn, 50);
        }
        push(&mut conn, 500);
        cluster.end_migration(slot, from, to);
        push(&mut conn, 500);
    }
}

/// The steps stand in one test, as each changes the cluster under the next.
#[test]
fn a_living_cluster_shows_nothing_of_its_life() {
    let cluster = cluster();
    let proxy = Proxy::start(cluster, &[]);
    let step = |name: &str, run: &dyn Fn()| {
        let started = Instant::now();
        run();
        eprintln!("{name}: {:?}", started.elapsed());
    };
    step("mixed commands", &|| ten_thousand_commands(&proxy));
    step("workers", &|| workers_share(cluster));
    step("one list", &|| one_list_stays_in_order(cluster, &proxy));
    step("slots move", &|| slots_move(cluster, &proxy, "moved"));
    step("failovers", &|| masters_change_places(cluster, &proxy));
    step("slots move again", &|| slots_move(cluster, &proxy, "again"));
    assert!(proxy.stop().success());
}
