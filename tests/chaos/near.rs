//! Readers of a proxy with a near cache, and one who writes what they read through the proxy without one. The values of
//! a key count up, so that each says how old it is: no reader may see one that is older than the bound, nor one that is
//! older than what it has seen before.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client::DEADLINE;
use super::ledger::{Ledger, wall};
use super::random::Random;
use crate::support::{Conn, Reply};

/// A fifth of those who read.
pub const READERS: usize = 4;
/// `-near-cache-staleness`, and the turn in which a request is looked at.
const BOUND_MICROS: u64 = 1_000_000 + 250_000;
const READ_PERIOD: Duration = Duration::from_millis(1);
const WRITE_PERIOD: Duration = Duration::from_millis(10);

/// What is known of one key.
#[derive(Debug, Default)]
struct Key {
    sent: u64,
    /// Values that were acknowledged, and when, in their order.
    acked: Vec<(u64, u64)>,
    /// Those of unknown outcome: they may still take effect, and late.
    unknown: HashSet<u64>,
}

/// What they share.
#[derive(Debug)]
pub struct Near {
    /// The proxy with a cache.
    addr: String,
    names: Vec<String>,
    keys: Vec<Mutex<Key>>,
    reads: AtomicU64,
    /// The longest time that a value had been replaced when it was asked for, in microseconds.
    oldest: AtomicU64,
}

impl Near {
    pub fn new(addr: &str, tags: &[String]) -> Near {
        let names = tags.iter().map(|tag| format!("near:{{{tag}}}"));
        Near {
            addr: addr.to_string(),
            names: names.collect(),
            keys: tags.iter().map(|_| Mutex::default()).collect(),
            reads: AtomicU64::default(),
            oldest: AtomicU64::default(),
        }
    }

    /// A counter of the cache.
    fn count(&self, name: &str) -> i64 {
        let stats = Conn::connect(&self.addr).line("PROXY CACHE STATS");
        let mut pairs = stats.items().chunks(2);
        let found = pairs.find(|pair| pair[0] == name);
        found.map_or(0, |pair| pair[1].int())
    }

    /// What they did.
    pub fn figures(&self) -> String {
        let hits = self.count("hits");
        assert!(hits > 0, "the cache served nothing");
        format!(
            "near cache: {} values read, {hits} hits, {} fills; the oldest had been replaced for {} us",
            self.reads.load(Ordering::Relaxed),
            self.count("fills"),
            self.oldest.load(Ordering::Relaxed)
        )
    }

    /// Judges a value that was asked for at `sent_at`, by one who had seen `newest`.
    fn judge(&self, at: usize, value: u64, newest: (u64, u64), sent_at: u64, ledger: &Ledger) {
        let key = self.keys[at].lock().expect("no panic holds it");
        self.reads.fetch_add(1, Ordering::Relaxed);
        let name = &self.names[at];
        if value > key.sent {
            ledger.violation("N1 values", format!("{name}: {value} of {}", key.sent));
        }
        if key.unknown.contains(&value) {
            return;
        }
        if value < newest.0 && !ledger.may_be_lost(newest.1) {
            let what = format!("{name}: {value} after {}", newest.0);
            ledger.violation("N2 never an older value", what);
        }
        // The first that was acknowledged after it.
        let after = key.acked.partition_point(|(own, _)| *own <= value);
        let Some((_, acked_at)) = key.acked.get(after) else {
            return;
        };
        if ledger.may_be_lost(*acked_at) {
            return;
        }
        let old = sent_at.saturating_sub(*acked_at);
        self.oldest.fetch_max(old, Ordering::Relaxed);
        if old > BOUND_MICROS {
            let what = format!("{name}: {value} had been replaced for {} ms", old / 1000);
            ledger.violation("N3 not older than the staleness", what);
        }
    }

    /// Writes the next value of each key in turn.
    fn write(&self, addr: &str, stop: &AtomicBool) {
        let mut conn = None;
        for at in (0..self.names.len()).cycle() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let value = {
                let mut key = self.keys[at].lock().expect("no panic holds it");
                key.sent += 1;
                // Until it is known.
                let value = key.sent;
                key.unknown.insert(value);
                value
            };
            let text = value.to_string();
            if conn.is_none() {
                conn = connect(addr);
            }
            match conn
                .as_mut()
                .map(|conn| conn.try_command(&["SET", &self.names[at], &text]))
            {
                Some(Ok(reply)) if reply == "OK" => {
                    let mut key = self.keys[at].lock().expect("no panic holds it");
                    key.unknown.remove(&value);
                    key.acked.push((value, wall()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => conn = None,
            }
            thread::sleep(WRITE_PERIOD);
        }
    }

    /// Reads one key or a few.
    fn read(&self, mut random: Random, ledger: &Ledger, stop: &AtomicBool) {
        let mut conn = None;
        // Of each key, the newest value and when it was heard. What it was told stays with a client.
        let mut newest = vec![(0, 0); self.names.len()];
        while !stop.load(Ordering::Relaxed) {
            if conn.is_none() {
                conn = connect(&self.addr);
            }
            let Some(own) = conn.as_mut() else {
                thread::sleep(READ_PERIOD);
                continue;
            };
            let count = [1, 1, 1, 3][random.below(4) as usize];
            let keys: Vec<usize> = (0..count)
                .map(|_| random.below(self.names.len() as u64) as usize)
                .collect();
            let names = keys.iter().map(|at| self.names[*at].as_str());
            let command = if count == 1 { "GET" } else { "MGET" };
            let args: Vec<&str> = std::iter::once(command).chain(names).collect();
            let sent_at = wall();
            let values = match own.try_command(&args) {
                Ok(Reply::Array(values)) => values,
                Ok(value) => vec![value],
                Err(_) => {
                    conn = None;
                    continue;
                }
            };
            for (at, value) in keys.into_iter().zip(values) {
                if value.is_error() {
                    continue;
                }
                // Nothing is there before the first write, nor where all was lost.
                let text = value.bulk_text().unwrap_or_default();
                let value = text.parse().unwrap_or(0);
                self.judge(at, value, newest[at], sent_at, ledger);
                if value >= newest[at].0 {
                    newest[at] = (value, wall());
                } else {
                    // It was excused, and what comes next is judged by this.
                    newest[at].0 = value;
                }
            }
            thread::sleep(READ_PERIOD);
        }
    }
}

fn connect(addr: &str) -> Option<Conn> {
    let mut conn = Conn::try_connect(addr).ok()?;
    conn.set_deadline(DEADLINE);
    Some(conn)
}

/// The threads: one that writes, by the proxy at `addr`, and those who read.
pub fn start(
    addr: &str,
    near: &Arc<Near>,
    seed: u64,
    ledger: &Arc<Ledger>,
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let mut threads = Vec::new();
    for reader in 0..READERS as u64 {
        let (near, ledger, stop) = (near.clone(), ledger.clone(), stop.clone());
        let random = Random::new(seed.wrapping_add(reader));
        threads.push(thread::spawn(move || near.read(random, &ledger, &stop)));
    }
    let (addr, near, stop) = (addr.to_string(), near.clone(), stop.clone());
    threads.push(thread::spawn(move || near.write(&addr, &stop)));
    threads
}
