//! Connections that one client has for itself: they are there before they are needed, and clients that block are
//! served in the order in which they asked.

use crate::support::{Cluster, Conn, Proxy, key_in_slot, wait_for};
use std::thread;
use std::time::Duration;

/// So far apart that the order in which they ask is no matter of chance.
const APART: Duration = Duration::from_millis(2);

/// Clients block in turn, then as many values are pushed. Returns how often two of them had changed places.
fn swaps(clients: &mut [Conn], key: &str, push: impl FnOnce(Vec<String>)) -> usize {
    for client in clients.iter_mut() {
        client.send(Conn::encode(&["BLPOP", key, "0"]));
        thread::sleep(APART);
    }
    push((0..clients.len()).map(|value| value.to_string()).collect());
    let got: Vec<String> = clients
        .iter_mut()
        .map(|client| client.read_reply().items()[1].text())
        .collect();
    if got
        .iter()
        .enumerate()
        .any(|(place, value)| *value != place.to_string())
    {
        println!("{key}: {got:?}");
    }
    let pairs = got.iter().enumerate();
    pairs
        .filter(|(place, value)| **value != place.to_string())
        .count()
}

fn push(proxy: &Proxy, key: &str) -> impl Fn(Vec<String>) {
    let addr = proxy.addr().to_string();
    let key = key.to_string();
    move |values| {
        let mut conn = Conn::connect(&addr);
        let request = [vec!["RPUSH".to_string(), key.clone()], values].concat();
        assert!(!conn.command(&request).is_error());
    }
}

/// A node that has no processor for a while finds several connections readable at once, and reads them in an order of its own:
/// one of three runs has to show none of that.
fn none_of(run: impl Fn() -> usize) {
    let swapped: Vec<usize> = (0..3)
        .map(|_| run())
        .take_while(|swapped| *swapped > 0)
        .collect();
    assert!(swapped.len() < 3, "{swapped:?} changed places");
}

#[test]
fn who_blocks_first_is_served_first() {
    let cluster = Cluster::start(2, 0);
    let key = key_in_slot(77, "order");
    none_of(|| order(&Proxy::start(&cluster, &["-max-procs", "1"]), &key));
}

fn order(proxy: &Proxy, key: &str) -> usize {
    let mut swapped = 0;
    for run in 0..60 {
        // At the first there is no connection; now and then there are more clients than ever before.
        let count = if run % 10 == 9 { 3 + run } else { 3 };
        let mut clients: Vec<Conn> = (0..count).map(|_| proxy.conn()).collect();
        swapped += swaps(&mut clients, key, push(proxy, key));
        // Pushed one by one in one pipeline, behind other requests.
        swapped += swaps(&mut clients, key, |values| {
            let mut conn = proxy.conn();
            let mut requests = vec![vec!["GET".to_string(), format!("{key}x")]; 20];
            let pushes = values.into_iter();
            requests.extend(pushes.map(|value| vec!["RPUSH".to_string(), key.to_string(), value]));
            conn.pipeline(&requests);
        });
    }
    swapped
}

/// Each first use of a node: nothing is connected yet, and the clients do not even speak the same protocol.
#[test]
fn who_blocks_first_is_served_first_where_nothing_is_connected() {
    let cluster = Cluster::start(1, 0);
    let key = key_in_slot(78, "cold");
    none_of(|| cold(&cluster, &key));
}

fn cold(cluster: &Cluster, key: &str) -> usize {
    let mut swapped = 0;
    for run in 0..12 {
        let proxy = Proxy::start(cluster, &["-max-procs", "1"]);
        let mut clients: Vec<Conn> = (0..10).map(|_| proxy.conn()).collect();
        if run % 2 == 1 {
            for client in clients.iter_mut().step_by(2) {
                assert!(!client.line("HELLO 3").is_error());
            }
        }
        swapped += swaps(&mut clients, key, push(&proxy, key));
    }
    swapped
}

#[test]
fn who_blocks_first_is_served_first_behind_a_failover() {
    let cluster = Cluster::start(1, 1);
    let proxy = Proxy::start(&cluster, &["-max-procs", "1"]);
    let key = key_in_slot(79, "failover");
    let blocked = || {
        let masters = cluster.masters();
        let info = cluster.raw(masters[0]).info("clients");
        info.get("blocked_clients").cloned().unwrap_or_default()
    };
    let mut swapped = 0;
    for _ in 0..3 {
        let mut clients: Vec<Conn> = (0..8).map(|_| proxy.conn()).collect();
        swapped += swaps(&mut clients, &key, |values| {
            let count = values.len().to_string();
            let all = || (blocked() == count).then_some(());
            wait_for("all to block", Duration::from_secs(20), all);
            cluster.failover(cluster.replicas_of(cluster.master_of(79))[0]);
            wait_for("all to block again", Duration::from_secs(20), all);
            push(&proxy, &key)(values);
        });
        cluster.wait_until_ready();
    }
    // All 24 go to new connections of a node that has just begun to serve. If it has no processor for a while it finds
    // several readable at once, and reads them in an order of its own.
    assert!(swapped <= 4, "{swapped} of 24 changed places");
}

/// Sixty clients that need a connection of their own again and again find one.
#[test]
fn what_is_needed_again_and_again_stays_connected() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    let cycle = |units: usize| {
        thread::scope(|scope| {
            for number in 0..60 {
                let proxy = &proxy;
                scope.spawn(move || {
                    let mut conn = proxy.conn();
                    let key = key_in_slot(number * 270, "cycle");
                    for unit in 0..units {
                        let requests: &[&[&str]] = if unit % 2 == 0 {
                            &[
                                &["WATCH", &key],
                                &["MULTI"],
                                &["SET", &key, "v"],
                                &["EXEC"],
                                &["DEL", &key],
                            ]
                        } else {
                            &[&["RPUSH", &key, "x"], &["BLPOP", &key, "1"]]
                        };
                        for request in requests {
                            assert!(!conn.command(request).is_error());
                        }
                    }
                });
            }
        });
    };
    cycle(20);
    let connects = || proxy.counter("proxy_backend_connects");
    let (before, units) = (connects(), 100);
    cycle(units);
    let opened = connects() - before;
    let units = units as u64 * 60;
    println!("{opened} connections for {units} units");
    assert!(
        opened * 100 < units,
        "{opened} connections for {units} units"
    );
}
