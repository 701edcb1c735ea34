//! Requests for all masters in the midst of it. There are keys that nobody writes any more, in slots that never move, some
//! on each shard: KEYS must have each of them once, and DBSIZE count them all. A function library is loaded anew and anew:
//! once that is acknowledged, no shard may answer with an older one. SCRIPT LOAD, RANDOMKEY and CONFIG SET only have to be
//! answered, without an error in planned work.
//!
//! FLUSHALL is left out: it would take from all others what they know.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client::{DEADLINE, classify};
use super::ledger::{End, Ledger, wall};
use super::nemesis::SHARDS;
use crate::support::{Conn, Reply, slot_of};

/// Between two requests of one thread.
const PERIOD: Duration = Duration::from_millis(15);
const KEYS_PER_SHARD: usize = 8;
const PATTERN: &str = "lasting:*";
const SCRIPT: &str = "return 'fans'";

/// What all of them know.
#[derive(Debug, Default)]
pub struct Fans {
    /// The lasting keys, those of one shard behind those of another.
    keys: Vec<String>,
    /// When they were written.
    founded_at: u64,
    /// The name of the script.
    script: String,
    /// The last version of the library that was sent, and the last that was acknowledged, and when.
    sent: AtomicU64,
    acked: Mutex<(u64, u64)>,
    /// Versions of unknown outcome: they may still be loaded, and late.
    unknown: Mutex<BTreeSet<u64>>,
    found: AtomicU64,
    loaded: AtomicU64,
    called: AtomicU64,
    others: AtomicU64,
}

impl Fans {
    /// Writes the keys, through the proxy. `tags` are those whose slots move.
    pub fn found(addr: &str, tags: &[String]) -> Fans {
        let moving: BTreeSet<u16> = tags.iter().map(slot_of).collect();
        let mut keys = Vec::new();
        for shard in 0..SHARDS {
            let all = (0..).map(|count| format!("lasting:{count}"));
            let own = all.filter(|key| {
                let slot = slot_of(key);
                usize::from(slot) * SHARDS / 16384 == shard && !moving.contains(&slot)
            });
            keys.extend(own.take(KEYS_PER_SHARD));
        }
        let mut conn = Conn::connect(addr);
        for key in &keys {
            assert_eq!(conn.command(&["SET", key, "lasting"]), "OK");
        }
        let script = conn.command(&["SCRIPT", "LOAD", SCRIPT]).text();
        Fans {
            keys,
            founded_at: wall(),
            script,
            ..Fans::default()
        }
    }

    /// What they did.
    pub fn figures(&self) -> String {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "requests for all masters: {} times all keys were found, {} libraries loaded ({} of unknown outcome) and {} calls \
             of them, {} others",
            get(&self.found),
            get(&self.loaded),
            self.unknown.lock().expect("no panic holds it").len(),
            get(&self.called),
            get(&self.others)
        )
    }
}

/// The threads: one that reads and one that writes.
pub fn start(
    addr: &str,
    fans: &Arc<Fans>,
    ledger: &Arc<Ledger>,
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let start = |act: fn(&mut Member, u64)| {
        let mut member = Member {
            addr: addr.to_string(),
            fans: fans.clone(),
            ledger: ledger.clone(),
            conn: None,
        };
        let stop = stop.clone();
        thread::spawn(move || {
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                act(&mut member, round);
                thread::sleep(PERIOD);
            }
        })
    };
    vec![start(Member::read), start(Member::write)]
}

struct Member {
    addr: String,
    fans: Arc<Fans>,
    ledger: Arc<Ledger>,
    conn: Option<Conn>,
}

impl Member {
    /// The reply to a request, if it is no error; an error is for the ledger to judge.
    fn ask(&mut self, args: &[&str]) -> Result<Reply, End> {
        if self.conn.is_none() {
            self.conn = Conn::try_connect(&self.addr).ok();
            if let Some(conn) = &mut self.conn {
                conn.set_deadline(DEADLINE);
            }
        }
        let Some(conn) = &mut self.conn else {
            let text = "cannot connect".to_string();
            self.ledger.violation("C2 one reply per request", text);
            return Err(End::Failed);
        };
        let sent_at = wall();
        let request = args.join(" ");
        let reply = match conn.try_command(args) {
            Ok(reply) => reply,
            Err(error) => {
                self.conn = None;
                let text = format!("{request:?}: {error}");
                self.ledger.violation("C2 one reply per request", text);
                self.ledger.count(End::Unknown);
                return Err(End::Unknown);
            }
        };
        let Reply::Error(text) = &reply else {
            self.ledger.count(End::Done);
            return Ok(reply);
        };
        let end = classify(text).unwrap_or_else(|| {
            let text = format!("{text:?} for {request:?}");
            self.ledger.violation("C7 errors", text);
            End::Unknown
        });
        self.ledger.error(sent_at, text, request);
        self.ledger.count(end);
        Err(end)
    }

    fn wrong(&self, what: &str, reply: &Reply) {
        let text = format!("{what}: {reply:?}");
        self.ledger.violation("C1 identity", text);
    }

    fn read(&mut self, round: u64) {
        match round % 4 {
            0 | 1 => self.find_keys(),
            2 => match self.ask(&["DBSIZE"]) {
                Ok(Reply::Int(count)) if count >= self.fans.keys.len() as i64 => self.note_other(),
                Ok(other) => self.wrong("DBSIZE", &other),
                Err(_) => {}
            },
            _ => match self.ask(&["RANDOMKEY"]) {
                Ok(Reply::Bulk(name)) if !name.is_empty() => self.note_other(),
                Ok(other) => self.wrong("RANDOMKEY", &other),
                Err(_) => {}
            },
        }
    }

    fn note_other(&self) {
        self.fans.others.fetch_add(1, Ordering::Relaxed);
    }

    fn find_keys(&mut self) {
        let names = match self.ask(&["KEYS", PATTERN]) {
            Ok(Reply::Array(names)) => names,
            Ok(other) => return self.wrong("KEYS", &other),
            Err(_) => return,
        };
        let mut found: Vec<String> = names.iter().map(Reply::text).collect();
        found.sort_unstable();
        let mut all = self.fans.keys.clone();
        all.sort_unstable();
        if found == all {
            self.fans.found.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // What a node does not have is no fault of whoever asked it.
        let mut missing: Vec<String> = Vec::new();
        for key in all.iter().filter(|key| !found.contains(key)) {
            match self.ask(&["EXISTS", key]) {
                Ok(Reply::Int(0)) => {
                    let lost = self.ledger.may_be_lost(self.fans.founded_at);
                    if lost && self.ask(&["SET", key, "lasting"]).is_ok() {
                        self.ledger.lost_by_store.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    missing.push(format!("{key}, which is gone"));
                }
                _ => missing.push(key.clone()),
            }
        }
        let foreign: Vec<&String> = found.iter().filter(|key| !all.contains(key)).collect();
        let twice = found.windows(2).any(|pair| pair[0] == pair[1]);
        if !missing.is_empty() || !foreign.is_empty() || twice {
            let text =
                format!("KEYS misses {missing:?}, has {foreign:?} that nobody wrote, of {found:?}");
            self.ledger.violation("C1 identity", text);
        }
    }

    fn write(&mut self, round: u64) {
        match round % 8 {
            0 => self.load(),
            1 => match self.ask(&["SCRIPT", "LOAD", SCRIPT]) {
                Ok(name) if name.text() == self.fans.script => self.note_other(),
                Ok(other) => self.wrong("SCRIPT LOAD", &other),
                Err(_) => {}
            },
            2 => match self.ask(&["CONFIG", "SET", "slowlog-max-len", "128"]) {
                Ok(reply) if reply == "OK" => self.note_other(),
                Ok(other) => self.wrong("CONFIG SET", &other),
                Err(_) => {}
            },
            _ => self.call(round as usize),
        }
    }

    /// Loads the next version of the library.
    fn load(&mut self) {
        let version = self.fans.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let code = format!(
            "#!lua name=chaosfans\nredis.register_function{{function_name='fans_version', callback=function() return {version} \
             end, flags={{'no-writes'}}}}"
        );
        match self.ask(&["FUNCTION", "LOAD", "REPLACE", &code]) {
            Ok(name) if name.text() == "chaosfans" => {
                *self.fans.acked.lock().expect("no panic holds it") = (version, wall());
                self.fans.loaded.fetch_add(1, Ordering::Relaxed);
            }
            Ok(other) => self.wrong("FUNCTION LOAD", &other),
            // Some shards may have it.
            Err(_) => {
                let mut unknown = self.fans.unknown.lock().expect("no panic holds it");
                unknown.insert(version);
            }
        }
    }

    /// Calls the function on one shard.
    fn call(&mut self, round: usize) {
        let (acked, acked_at) = *self.fans.acked.lock().expect("no panic holds it");
        if acked == 0 {
            return;
        }
        let key = self.fans.keys[round % self.fans.keys.len()].clone();
        let version = match self.ask(&["FCALL", "fans_version", "1", &key]) {
            Ok(Reply::Int(version)) => version as u64,
            Ok(other) => return self.wrong("FCALL", &other),
            Err(_) => return,
        };
        self.fans.called.fetch_add(1, Ordering::Relaxed);
        let known = !self
            .fans
            .unknown
            .lock()
            .expect("no panic holds it")
            .contains(&version);
        let sent = self.fans.sent.load(Ordering::Relaxed);
        if version > sent {
            self.wrong("FCALL of a version never sent", &Reply::Int(version as i64));
        } else if version < acked && known {
            if self.ledger.may_be_lost(acked_at) {
                self.ledger.lost_by_store.fetch_add(1, Ordering::Relaxed);
            } else {
                let text =
                    format!("{key}: FCALL gave version {version} after {acked} was acknowledged");
                self.ledger.violation("C8 order", text);
            }
        }
    }
}
