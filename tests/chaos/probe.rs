//! Probes: one request at a time on a slot that never moves, through the proxy and beside it. The longest
//! time between two successes is the outage.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client::DEADLINE;
use super::ledger::wall;
use crate::support::{Conn, Ground};

const PERIOD: Duration = Duration::from_millis(5);

/// The times of all successes, in wall-clock microseconds.
#[derive(Debug, Default)]
pub struct Successes(Mutex<Vec<u64>>);

impl Successes {
    fn note(&self) {
        self.0.lock().expect("no panic holds it").push(wall());
    }

    /// Probing begins (anew): what was before is no outage.
    fn begin(&self, now: u64) {
        let mut times = self.0.lock().expect("no panic holds it");
        *times = vec![now];
    }

    pub fn last(&self) -> u64 {
        let times = self.0.lock().expect("no panic holds it");
        times.last().copied().unwrap_or(0)
    }

    /// The longest time without a success that began after `first` or was on then.
    pub fn outage(&self, first: u64) -> Duration {
        let times = self.0.lock().expect("no panic holds it");
        let start = times.partition_point(|at| *at < first).saturating_sub(1);
        let mut longest = 0;
        for pair in times[start..].windows(2) {
            longest = longest.max(pair[1] - pair[0]);
        }
        let open = times.last().map_or(0, |last| wall() - last);
        Duration::from_micros(longest.max(open))
    }
}

/// A key whose slot never moves.
pub struct Probe {
    pub key: String,
    ground: Arc<Ground>,
    /// One of them is its owner.
    nodes: [usize; 2],
    /// Through the proxy, and at the nodes themselves.
    pub through: Arc<Successes>,
    pub beside: Arc<Successes>,
}

impl Probe {
    pub fn new(key: String, ground: Arc<Ground>, nodes: [usize; 2]) -> Probe {
        Probe {
            key,
            ground,
            nodes,
            through: Arc::default(),
            beside: Arc::default(),
        }
    }
}

/// Probes until told to stop.
pub fn start(probe: &Probe, addr: &str, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
    let now = wall();
    let mut threads = Vec::new();
    {
        let (addr, key) = (addr.to_string(), probe.key.clone());
        let (noted, stop) = (probe.through.clone(), stop.clone());
        noted.begin(now);
        threads.push(thread::spawn(move || through(&addr, &key, &noted, &stop)));
    }
    probe.beside.begin(now);
    for index in probe.nodes {
        let (ground, key) = (probe.ground.clone(), probe.key.clone());
        let (noted, stop) = (probe.beside.clone(), stop.clone());
        threads.push(thread::spawn(move || {
            beside(&ground, index, &key, &noted, &stop)
        }));
    }
    threads
}

fn through(addr: &str, key: &str, noted: &Successes, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut conn) = Conn::try_connect(addr) else {
            thread::sleep(PERIOD);
            continue;
        };
        conn.set_deadline(DEADLINE);
        while !stop.load(Ordering::Relaxed) {
            match conn.try_command(&["SET", key, "probe"]) {
                Ok(reply) if reply == "OK" => noted.note(),
                Ok(_) => {}
                Err(_) => break,
            }
            thread::sleep(PERIOD);
        }
    }
}

fn beside(ground: &Ground, index: usize, key: &str, noted: &Successes, stop: &AtomicBool) {
    let mut conn = None;
    while !stop.load(Ordering::Relaxed) {
        if conn.is_none() {
            conn = ground.nodes[index].conn(Duration::from_millis(100));
        }
        match conn
            .as_mut()
            .map(|conn| conn.try_command(&["SET", key, "raw"]))
        {
            Some(Ok(reply)) if reply == "OK" => noted.note(),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => conn = None,
        }
        thread::sleep(PERIOD);
    }
}
