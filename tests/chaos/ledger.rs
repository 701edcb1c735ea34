//! The ledger: what every write was, how it ended for its client, and when which node executed it. The
//! invariants that need both sides are checked here, at the end.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its reply has not come (yet).
    Unknown,
    /// It succeeded.
    Done,
    /// It certainly was not executed.
    Failed,
}

/// One write: its nonce is its client and its place here.
#[derive(Debug, Clone, Copy)]
struct Write {
    /// The key, as its client counts them; keys used once are all 0.
    key: u32,
    end: End,
    /// Times the tap has seen it executed.
    seen: u8,
    /// The nodes' wall clock, when it was first seen, in microseconds.
    seen_at: u64,
    /// Our wall clock when it was sent, and when it ended.
    sent_at: u64,
    ended_at: u64,
}

/// A span of wall-clock time, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub first: u64,
    pub last: u64,
}

impl Span {
    pub fn meets(&self, first: u64, last: u64) -> bool {
        self.first <= last && first <= self.last
    }
}

/// A fault that clients may hear of.
#[derive(Debug, Clone, Copy)]
struct Unplanned {
    span: Span,
    /// Whether the nodes themselves may lose what they have acknowledged.
    loses: bool,
}

/// A master gave way to its replica.
#[derive(Debug, Clone)]
pub struct Failover {
    pub span: Span,
    /// What lay there.
    pub tags: Vec<String>,
}

/// Wall-clock microseconds, as the nodes' MONITOR has them.
pub fn wall() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_micros() as u64)
}

/// All that is noted of a run.
#[derive(Debug)]
pub struct Ledger {
    started: Instant,
    started_at: u64,
    writes: Vec<Mutex<Vec<Write>>>,
    /// Executions of INCR by key, as the tap saw them.
    increments: Mutex<BTreeMap<String, u64>>,
    /// By key: how many INCR were sent, and how many of them succeeded.
    counted: Mutex<BTreeMap<String, (u64, u64)>>,
    pub violations: Mutex<Vec<String>>,
    /// When errors may be seen: an unplanned fault was on, or its traces were.
    unplanned: Mutex<Vec<Unplanned>>,
    /// Every change of a master, planned or not.
    failovers: Mutex<Vec<Failover>>,
    /// When some node was not listened to.
    gaps: Mutex<Vec<Span>>,
    /// Errors that clients saw: when the request was sent, when it ended, the text, and the request.
    errors: Mutex<Vec<(u64, u64, String, String)>>,
    pub operations: AtomicU64,
    pub unknown: AtomicU64,
    pub failed: AtomicU64,
    pub lost_by_store: AtomicU64,
    pub connections: AtomicU64,
}

impl Ledger {
    pub fn new(clients: usize) -> Ledger {
        Ledger {
            started: Instant::now(),
            started_at: wall(),
            writes: (0..clients).map(|_| Mutex::default()).collect(),
            increments: Mutex::default(),
            counted: Mutex::default(),
            violations: Mutex::default(),
            unplanned: Mutex::default(),
            failovers: Mutex::default(),
            gaps: Mutex::default(),
            errors: Mutex::default(),
            operations: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            lost_by_store: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }

    /// A wall-clock time as seconds of the run.
    pub fn seconds(&self, at: u64) -> f64 {
        at.saturating_sub(self.started_at) as f64 / 1e6
    }

    pub fn violation(&self, rule: &str, text: String) {
        let at = self.started.elapsed().as_secs_f64();
        let mut violations = self.violations.lock().expect("no panic holds it");
        if violations.len() < 100 {
            eprintln!("VIOLATION {rule} at {at:.3} s ({} us): {text}", wall());
        }
        violations.push(format!("{rule} at {at:.3} s: {text}"));
    }

    pub fn has_violations(&self) -> bool {
        !self
            .violations
            .lock()
            .expect("no panic holds it")
            .is_empty()
    }

    /// Writes down a write that is about to be sent; returns its number.
    pub fn write(&self, client: usize, key: u32) -> u32 {
        let mut writes = self.writes[client].lock().expect("no panic holds it");
        writes.push(Write {
            key,
            end: End::Unknown,
            seen: 0,
            seen_at: 0,
            sent_at: wall(),
            ended_at: 0,
        });
        writes.len() as u32 - 1
    }

    pub fn ended(&self, client: usize, number: u32, end: End) {
        let mut writes = self.writes[client].lock().expect("no panic holds it");
        let write = &mut writes[number as usize];
        write.end = end;
        write.ended_at = wall();
    }

    /// The tap saw a write executed by a node, at this time of the node.
    pub fn executed(&self, client: usize, number: u32, at: u64) {
        let Some(writes) = self.writes.get(client) else {
            return;
        };
        let mut writes = writes.lock().expect("no panic holds it");
        let mut twice = false;
        if let Some(write) = writes.get_mut(number as usize) {
            twice = write.seen > 0;
            write.seen = write.seen.saturating_add(1);
            if !twice {
                write.seen_at = at;
            }
        }
        drop(writes);
        if twice {
            self.violation(
                "C4 at most once",
                format!("~{client:x}.{number:x}~ executed again"),
            );
        }
    }

    pub fn increment_executed(&self, key: &str) {
        let mut all = self.increments.lock().expect("no panic holds it");
        *all.entry(key.to_string()).or_default() += 1;
    }

    pub fn increments(&self, key: &str, sent: u64, done: u64) {
        let mut all = self.counted.lock().expect("no panic holds it");
        let entry = all.entry(key.to_string()).or_default();
        entry.0 += sent;
        entry.1 += done;
    }

    /// A request ended in an error.
    pub fn error(&self, sent_at: u64, text: &str, request: String) {
        let mut errors = self.errors.lock().expect("no panic holds it");
        errors.push((sent_at, wall(), text.to_string(), request));
    }

    /// An unplanned fault begins, which makes the nodes lose data or not; its end is told later. Returns its
    /// place.
    pub fn unplanned_begins(&self, loses: bool) -> usize {
        let mut unplanned = self.unplanned.lock().expect("no panic holds it");
        let span = Span {
            first: wall(),
            last: u64::MAX,
        };
        unplanned.push(Unplanned { span, loses });
        unplanned.len() - 1
    }

    pub fn unplanned_ends(&self, place: usize, slack: u64) {
        let mut unplanned = self.unplanned.lock().expect("no panic holds it");
        unplanned[place].span.last = wall() + slack;
    }

    /// A master has given way to its replica within this time.
    pub fn failed_over(&self, span: Span, tags: Vec<String>) {
        let mut failovers = self.failovers.lock().expect("no panic holds it");
        failovers.push(Failover { span, tags });
    }

    pub fn failovers(&self) -> Vec<Failover> {
        self.failovers.lock().expect("no panic holds it").clone()
    }

    pub fn gap(&self, first: u64, last: u64) {
        let mut gaps = self.gaps.lock().expect("no panic holds it");
        gaps.push(Span { first, last });
    }

    /// Whether data acknowledged at `acked` may have been lost by the nodes themselves.
    pub fn may_be_lost(&self, acked: u64) -> bool {
        self.may_be_lost_within(acked.saturating_sub(3_000_000), u64::MAX)
    }

    /// Whether a fault was on in this time that makes the nodes lose what they have acknowledged.
    pub fn may_be_lost_within(&self, first: u64, last: u64) -> bool {
        let unplanned = self.unplanned.lock().expect("no panic holds it");
        let mut losing = unplanned.iter().filter(|fault| fault.loses);
        losing.any(|fault| fault.span.meets(first, last))
    }

    /// Errors by their text.
    pub fn error_counts(&self) -> BTreeMap<String, usize> {
        let errors = self.errors.lock().expect("no panic holds it");
        let mut counts = BTreeMap::new();
        for (_, _, text, _) in errors.iter() {
            *counts.entry(text.clone()).or_default() += 1;
        }
        counts
    }

    /// What can be said at any time.
    pub fn check_now(&self) {
        self.check_planned();
        for client in 0..self.writes.len() {
            self.check_client(client, None);
        }
    }

    /// What can be said only when all is over and the tap has run dry.
    pub fn settle(&self) {
        self.check_planned();
        self.check_increments();
        let gaps = self.gaps.lock().expect("no panic holds it").clone();
        for client in 0..self.writes.len() {
            self.check_client(client, Some(&gaps));
        }
    }

    /// Planned work shows no error.
    fn check_planned(&self) {
        let unplanned = self.unplanned.lock().expect("no panic holds it").clone();
        let errors = self.errors.lock().expect("no panic holds it").clone();
        let mut told = 0;
        for (sent, ended, text, request) in errors {
            // Atomic requests of several keys may find them apart, also behind a later one for one of them.
            let apart = text.contains("TRYAGAIN");
            // Another client may load a script between the reply that lacks it and the question about that.
            let loaded = text.starts_with("NOSCRIPT");
            if !apart && !loaded && !unplanned.iter().any(|fault| fault.span.meets(sent, ended)) {
                told += 1;
                if told < 10 {
                    let at = (sent - self.started_at) as f64 / 1e6;
                    self.violation(
                        "no error without an unplanned fault",
                        format!(
                            "{text:?} to {request}, sent at {at:.3} s, took {} ms",
                            (ended - sent) / 1000
                        ),
                    );
                }
            }
        }
    }

    fn check_increments(&self) {
        let seen = self.increments.lock().expect("no panic holds it").clone();
        let gaps = !self.gaps.lock().expect("no panic holds it").is_empty();
        for (key, (sent, done)) in self.counted.lock().expect("no panic holds it").iter() {
            let seen = seen.get(key).copied().unwrap_or(0);
            if seen > *sent || (seen < *done && !gaps) {
                self.violation(
                    "C4 at most once",
                    format!("INCR {key}: sent {sent}, done {done}, executed {seen}"),
                );
            }
        }
    }

    fn check_client(&self, client: usize, gaps: Option<&[Span]>) {
        let writes = self.writes[client]
            .lock()
            .expect("no panic holds it")
            .clone();
        let mut last: BTreeMap<u32, (u64, usize)> = BTreeMap::new();
        for (number, write) in writes.iter().enumerate() {
            let nonce = format!("~{client:x}.{number:x}~");
            if write.end == End::Failed && write.seen > 0 {
                self.violation("C5 a definite failure was executed", nonce.clone());
            }
            let unheard = gaps.is_none_or(|gaps| {
                gaps.iter().any(|gap| {
                    gap.meets(
                        write.sent_at.saturating_sub(1_000_000),
                        write.ended_at + 1_000_000,
                    )
                })
            });
            if write.end == End::Done && write.seen == 0 && !unheard {
                self.violation(
                    "C6 a success was never executed",
                    format!(
                        "{nonce} of key {}, sent at {:.3} s, took {} ms",
                        write.key,
                        self.seconds(write.sent_at),
                        write.ended_at.saturating_sub(write.sent_at) / 1000
                    ),
                );
            }
            if write.end != End::Done || write.seen == 0 || write.key == 0 {
                continue;
            }
            if let Some((before, which)) = last.get(&write.key)
                && write.seen_at < *before
            {
                self.violation(
                    "C8 order",
                    format!(
                        "{nonce} of key {} was executed {} us before ~{client:x}.{which:x}~, which was sent first",
                        write.key,
                        before - write.seen_at
                    ),
                );
            }
            let newest = last.entry(write.key).or_default();
            if write.seen_at >= newest.0 {
                *newest = (write.seen_at, number);
            }
        }
    }

    pub fn writes(&self) -> usize {
        self.writes
            .iter()
            .map(|writes| writes.lock().expect("no panic holds it").len())
            .sum()
    }

    /// Counts one request's end.
    pub fn count(&self, end: End) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        match end {
            End::Done => {}
            End::Unknown => {
                self.unknown.fetch_add(1, Ordering::Relaxed);
            }
            End::Failed => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
