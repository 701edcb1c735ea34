//! A client that knows what it may be told. Every value carries its key, its place and a nonce; every reply
//! is judged as it comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::ledger::{End, Ledger, wall};
use super::random::Random;
use super::script;
use crate::support::{Conn, Reply};

/// Longest that a reply may take: parked, sent, timed out, and one second more.
pub const DEADLINE: Duration = Duration::from_secs(22);
const KEYS_PER_TAG: usize = 2;

/// What a run asks of its clients.
#[derive(Debug, Clone)]
pub struct Load {
    pub tags: Vec<String>,
    /// Requests a second for each client.
    pub rate: f64,
    /// One connection in so many batches is cut short.
    pub aborts: u64,
    /// Longest pipeline.
    pub pipeline: u64,
    /// The name of the script that everybody runs.
    pub script: String,
}

#[derive(Debug, Default, Clone)]
struct Key {
    sent: u64,
    acked: u64,
    acked_at: u64,
    /// Places of unknown outcome: they may still take effect, and late.
    unknown: Vec<u64>,
}

#[derive(Debug, Default, Clone)]
struct Counter {
    sent: u64,
    done: u64,
    last: i64,
    last_at: u64,
}

/// What a reply is judged by.
#[derive(Debug)]
enum Expected {
    Echo(String),
    /// Keys written, with place and nonce of each.
    Set(Vec<(usize, u64, u32)>),
    Get(usize),
    MGet(Vec<usize>),
    /// So many fresh keys, and the nonces of the writes.
    Fresh(Vec<u32>),
    Delete(Vec<u32>, i64),
    Count(usize),
    CountShared(usize),
    Push(u32),
    /// A script, and what it says after its work; nothing is `OK`.
    Script(u32, String),
}

#[derive(Debug)]
struct Request {
    expected: Expected,
    sent_at: u64,
}

pub struct Client {
    number: usize,
    /// The tag that the proxy puts before its keys, if it is in a namespace.
    tag: String,
    load: Load,
    random: Random,
    ledger: Arc<Ledger>,
    keys: Vec<Key>,
    counters: Vec<Counter>,
    shared: Vec<Counter>,
    fresh: u64,
    /// Fresh keys with the tag of each, to be read and deleted, and the nonce that deleting has.
    alive: Vec<(String, u32)>,
}

impl Client {
    pub fn new(number: usize, tag: String, load: Load, seed: u64, ledger: Arc<Ledger>) -> Client {
        let tags = load.tags.len();
        Client {
            number,
            tag,
            random: Random::new(seed),
            ledger,
            keys: vec![Key::default(); tags * KEYS_PER_TAG],
            counters: vec![Counter::default(); tags],
            shared: vec![Counter::default(); tags],
            load,
            fresh: 0,
            alive: Vec::new(),
        }
    }

    /// Works until told to stop.
    pub fn run(&mut self, addr: &str, stop: &AtomicBool) {
        let started = Instant::now();
        let mut done = 0.0;
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut conn) = Conn::try_connect(addr) else {
                self.ledger
                    .violation("C2 one reply per request", "cannot connect".into());
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            self.ledger.connections.fetch_add(1, Ordering::Relaxed);
            conn.set_deadline(DEADLINE);
            while !stop.load(Ordering::Relaxed) {
                let count = match self.random.below(10) {
                    0..4 => self.random.within(1, 4),
                    4..9 => self.random.within(1, self.load.pipeline.min(32)),
                    _ => self.random.within(1, self.load.pipeline),
                };
                done += count as f64;
                if !self.batch(&mut conn, count) {
                    break;
                }
                let ahead = done / self.load.rate - started.elapsed().as_secs_f64();
                if ahead > 0.0 {
                    std::thread::sleep(Duration::from_secs_f64(ahead.min(1.0)));
                } else if ahead < -0.5 {
                    done = started.elapsed().as_secs_f64() * self.load.rate;
                }
            }
        }
    }

    /// Tells the ledger what it has counted.
    pub fn hand_in(&self) {
        for (index, counter) in self.counters.iter().enumerate() {
            let key = self.tag.clone() + &self.counter_key(index);
            self.ledger.increments(&key, counter.sent, counter.done);
        }
        for (index, counter) in self.shared.iter().enumerate() {
            let key = self.tag.clone() + &self.shared_key(index);
            self.ledger.increments(&key, counter.sent, counter.done);
        }
    }

    /// Some requests and their replies. Returns whether the connection is still to be used.
    fn batch(&mut self, conn: &mut Conn, count: u64) -> bool {
        let abort = self.random.once_in(self.load.aborts);
        let finish = !abort && self.random.once_in(self.load.aborts * 2);
        let window = self.random.within(1, count.max(8));
        let mut outstanding = std::collections::VecDeque::new();
        let mut left = count;
        while left > 0 || !outstanding.is_empty() {
            if left > 0 && (outstanding.len() as u64) < window {
                let burst = self.random.within(1, left.min(16));
                let mut bytes = Vec::new();
                for _ in 0..burst {
                    outstanding.push_back(self.request(&mut bytes));
                }
                left -= burst;
                if abort && left == 0 {
                    let cut = self.random.below(bytes.len() as u64 + 1) as usize;
                    self.send(conn, &bytes[..cut]);
                    if self.random.once_in(2) {
                        std::thread::sleep(Duration::from_millis(self.random.below(20)));
                    }
                    outstanding
                        .into_iter()
                        .for_each(|request| self.forget(request));
                    return false;
                }
                if !self.send(conn, &bytes) {
                    return self.closed(outstanding, "while sending");
                }
                if left == 0 && finish {
                    conn.finish().ok();
                }
                continue;
            }
            if self.random.once_in(2000) {
                std::thread::sleep(Duration::from_millis(self.random.below(300)));
            }
            match conn.try_read_reply() {
                Ok(reply) => {
                    if let Some(request) = outstanding.pop_front() {
                        self.judge(request, &reply);
                    }
                }
                Err(error) => return self.closed(outstanding, &error.to_string()),
            }
        }
        if finish {
            match conn.read_to_close() {
                Ok(rest) if rest.is_empty() => {}
                other => self.ledger.violation(
                    "C2 one reply per request",
                    format!("after a half-close: {other:?}"),
                ),
            }
        }
        !finish
    }

    fn closed(&mut self, outstanding: std::collections::VecDeque<Request>, how: &str) -> bool {
        self.ledger.violation(
            "C2 one reply per request",
            format!(
                "client {}: {how}, {} outstanding, the oldest {:?}",
                self.number,
                outstanding.len(),
                outstanding.front()
            ),
        );
        outstanding
            .into_iter()
            .for_each(|request| self.forget(request));
        false
    }

    /// In pieces, now and then.
    fn send(&mut self, conn: &mut Conn, bytes: &[u8]) -> bool {
        if !self.random.once_in(4) || bytes.is_empty() {
            return conn.try_send(bytes).is_ok();
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let cut = self.random.within(1, rest.len().min(2000) as u64) as usize;
            if conn.try_send(&rest[..cut]).is_err() {
                return false;
            }
            rest = &rest[cut..];
            if self.random.once_in(3) {
                std::thread::sleep(Duration::from_micros(self.random.below(800)));
            }
        }
        true
    }

    /// A request whose reply will not be read.
    fn forget(&mut self, request: Request) {
        match &request.expected {
            Expected::Set(keys) => {
                for (key, place, _) in keys {
                    self.keys[*key].unknown.push(*place);
                }
            }
            Expected::Count(_) | Expected::CountShared(_) => {}
            Expected::Echo(_)
            | Expected::Get(_)
            | Expected::MGet(_)
            | Expected::Fresh(_)
            | Expected::Delete(..)
            | Expected::Push(_)
            | Expected::Script(..) => {}
        }
        self.end_writes(&request.expected, End::Unknown);
        self.ledger.count(End::Unknown);
    }

    fn end_writes(&self, expected: &Expected, end: End) {
        let ended = |nonce: &u32| self.ledger.ended(self.number, *nonce, end);
        match expected {
            Expected::Set(keys) => keys.iter().for_each(|(_, _, nonce)| ended(nonce)),
            Expected::Fresh(nonces) | Expected::Delete(nonces, _) => nonces.iter().for_each(ended),
            Expected::Push(nonce) | Expected::Script(nonce, _) => ended(nonce),
            Expected::Echo(_)
            | Expected::Get(_)
            | Expected::MGet(_)
            | Expected::Count(_)
            | Expected::CountShared(_) => {}
        }
    }

    fn key_name(&self, key: usize) -> String {
        let tag = &self.load.tags[key / KEYS_PER_TAG];
        format!("u:{{{tag}}}:{:x}:{key:x}", self.number)
    }

    fn counter_key(&self, index: usize) -> String {
        format!("n:{{{}}}:{:x}", self.load.tags[index], self.number)
    }

    fn shared_key(&self, index: usize) -> String {
        format!("s:{{{}}}", self.load.tags[index])
    }

    fn nonce(&self, key: u32) -> (u32, String) {
        let number = self.ledger.write(self.number, key);
        (number, format!("~{:x}.{number:x}~", self.number))
    }

    fn value(&mut self, key: usize) -> (u64, u32, Vec<u8>) {
        self.keys[key].sent += 1;
        let place = self.keys[key].sent;
        let (number, nonce) = self.nonce(key as u32 + 1);
        let size = match self.random.below(1000) {
            0 => self.random.within(30_000, 200_000),
            1..20 => self.random.within(1000, 20_000),
            _ => self.random.below(200),
        };
        let mut value = format!("{}|{place}|{nonce}|{size}|", self.key_name(key)).into_bytes();
        let fill = b'a' + (place % 26) as u8;
        value.resize(value.len() + size as usize, fill);
        let sum = checksum(&value);
        value.extend_from_slice(format!("|{sum:016x}").as_bytes());
        (place, number, value)
    }

    /// Makes a request at random.
    fn request(&mut self, out: &mut Vec<u8>) -> Request {
        let tags = self.load.tags.len() as u64;
        let tag = self.random.below(tags) as usize;
        let key = tag * KEYS_PER_TAG + self.random.below(KEYS_PER_TAG as u64) as usize;
        let (args, expected): (Vec<Vec<u8>>, Expected) = match self.random.below(100) {
            0..26 => {
                let (place, number, value) = self.value(key);
                let args = vec![b"SET".to_vec(), self.key_name(key).into_bytes(), value];
                (args, Expected::Set(vec![(key, place, number)]))
            }
            26..56 => {
                let args = vec![b"GET".to_vec(), self.key_name(key).into_bytes()];
                (args, Expected::Get(key))
            }
            56..61 => {
                self.fresh += 1;
                let text = format!("{:x}|{:x}", self.number, self.fresh);
                (
                    vec![b"ECHO".to_vec(), text.clone().into_bytes()],
                    Expected::Echo(text),
                )
            }
            61..69 => {
                self.counters[tag].sent += 1;
                let args = vec![b"INCR".to_vec(), self.counter_key(tag).into_bytes()];
                (args, Expected::Count(tag))
            }
            69..72 => {
                self.shared[tag].sent += 1;
                let args = vec![b"INCR".to_vec(), self.shared_key(tag).into_bytes()];
                (args, Expected::CountShared(tag))
            }
            72..74 => {
                let words = script::words(&self.load.tags[tag], &mut self.random);
                let (number, nonce) = self.nonce(2_000_000 + tag as u32);
                let prefix = script::PREFIX;
                let key = format!("{prefix}{{{}}}:{:x}", self.load.tags[tag], self.number);
                let args = script::call(&self.load.script, key, nonce, &words, &mut self.random);
                (args, Expected::Script(number, words))
            }
            74..81 => {
                let (number, nonce) = self.nonce(1_000_000 + tag as u32);
                let list = format!("a:{{{}}}:{:x}", self.load.tags[tag], self.number);
                let args = vec![b"RPUSH".to_vec(), list.into_bytes(), nonce.into_bytes()];
                (args, Expected::Push(number))
            }
            81..86 => {
                // All keys of one tag: one slot, atomic.
                let mut args = vec![b"MSET".to_vec()];
                let mut writes = Vec::new();
                for key in tag * KEYS_PER_TAG..(tag + 1) * KEYS_PER_TAG {
                    let (place, number, value) = self.value(key);
                    args.push(self.key_name(key).into_bytes());
                    args.push(value);
                    writes.push((key, place, number));
                }
                (args, Expected::Set(writes))
            }
            86..92 => {
                let count = if self.random.once_in(10) { 60 } else { 6 };
                let keys: Vec<usize> = if self.random.once_in(3) {
                    (tag * KEYS_PER_TAG..(tag + 1) * KEYS_PER_TAG).collect()
                } else {
                    (0..self.random.within(2, count))
                        .map(|_| self.random.below(self.keys.len() as u64) as usize)
                        .collect()
                };
                let mut args = vec![b"MGET".to_vec()];
                args.extend(keys.iter().map(|key| self.key_name(*key).into_bytes()));
                (args, Expected::MGet(keys))
            }
            92..96 => {
                let mut args = vec![b"MSET".to_vec()];
                let mut nonces = Vec::new();
                let count = if self.random.once_in(20) { 60 } else { 5 };
                for _ in 0..self.random.within(2, count) {
                    let tag = self.random.below(tags) as usize;
                    let (number, nonce) = self.nonce(0);
                    let (deleted, _) = self.nonce(0);
                    let key = format!(
                        "m:{{{}}}:^{:x}.{deleted:x}^",
                        self.load.tags[tag], self.number
                    );
                    args.push(key.clone().into_bytes());
                    args.push(format!("{key}|{nonce}").into_bytes());
                    nonces.push(number);
                    self.alive.push((key, deleted));
                }
                (args, Expected::Fresh(nonces))
            }
            _ => {
                let keep = self.alive.len().saturating_sub(60);
                let some = self.alive.split_off(keep);
                if some.is_empty() {
                    return self.request(out);
                }
                let mut args = vec![b"DEL".to_vec()];
                args.extend(some.iter().map(|(key, _)| key.clone().into_bytes()));
                let count = some.len() as i64;
                let nonces = some.into_iter().map(|(_, deleted)| deleted).collect();
                (args, Expected::Delete(nonces, count))
            }
        };
        out.extend_from_slice(&Conn::encode(&args));
        Request {
            expected,
            sent_at: wall(),
        }
    }

    fn judge(&mut self, request: Request, reply: &Reply) {
        let Request { expected, sent_at } = request;
        let own_words =
            matches!(&expected, Expected::Script(_, words) if reply.error() == Some(words));
        if let Some(text) = reply.error().filter(|_| !own_words) {
            return self.judge_error(expected, sent_at, text);
        }
        // A node that lacks the script says the same to the letter, and the proxy cannot tell the two apart once another
        // client has loaded it meanwhile.
        let end = match reply.error() {
            Some(text) if text.starts_with("NOSCRIPT") => End::Unknown,
            _ => End::Done,
        };
        self.end_writes(&expected, end);
        self.ledger.count(end);
        let wrong = |client: &Client, what: &str| {
            let shown = format!("{reply:?}");
            client.ledger.violation(
                "C1 identity",
                format!(
                    "client {}: {what}: {}",
                    client.number,
                    &shown[..shown.len().min(300)]
                ),
            );
        };
        match expected {
            Expected::Echo(text) => {
                if *reply != text.as_str() {
                    wrong(self, &format!("ECHO {text}"));
                }
            }
            Expected::Set(keys) => {
                if *reply != "OK" {
                    wrong(self, "SET or MSET");
                }
                for (key, place, _) in keys {
                    let key = &mut self.keys[key];
                    key.acked = key.acked.max(place);
                    key.acked_at = wall();
                }
            }
            Expected::Get(key) => self.judge_value(key, reply),
            Expected::MGet(keys) => match reply {
                Reply::Array(items) if items.len() == keys.len() => {
                    for (key, item) in keys.iter().zip(items) {
                        self.judge_value(*key, item);
                    }
                }
                _ => wrong(self, "MGET"),
            },
            Expected::Fresh(_) => {
                if *reply != "OK" {
                    wrong(self, "MSET");
                }
            }
            Expected::Delete(_, count) => match reply {
                Reply::Int(deleted) if (0..=count).contains(deleted) => {}
                _ => wrong(self, "DEL"),
            },
            Expected::Count(index) => match reply {
                Reply::Int(value) => self.judge_count(index, *value),
                _ => wrong(self, "INCR"),
            },
            Expected::CountShared(index) => match reply {
                Reply::Int(_) => self.shared[index].done += 1,
                _ => wrong(self, "INCR"),
            },
            Expected::Script(_, words) => {
                if !own_words && (*reply != "OK" || !words.is_empty()) {
                    wrong(self, &format!("a script that says {words:?}"));
                }
            }
            Expected::Push(_) => {
                if !matches!(reply, Reply::Int(1..)) {
                    wrong(self, "RPUSH");
                }
            }
        }
    }

    fn judge_count(&mut self, index: usize, value: i64) {
        let counter = &mut self.counters[index];
        counter.done += 1;
        let (before, at) = (counter.last, counter.last_at);
        let sent = counter.sent;
        counter.last = value;
        counter.last_at = wall();
        if value > sent as i64 || value < 1 {
            self.ledger.violation(
                "C1 identity",
                format!("INCR gave {value} after {sent} of them were sent"),
            );
        } else if value <= before {
            if self.ledger.may_be_lost(at) {
                self.ledger.lost_by_store.fetch_add(1, Ordering::Relaxed);
            } else {
                self.ledger.violation(
                    "C8 order",
                    format!(
                        "INCR {} gave {value} after {before}",
                        self.counter_key(index)
                    ),
                );
            }
        }
    }

    /// A value of one of our own keys: whose, whole, and not older than what we were told.
    fn judge_value(&mut self, key: usize, reply: &Reply) {
        let name = self.key_name(key);
        let place = match reply {
            Reply::NilBulk => 0,
            Reply::Bulk(value) => match parse_value(value, &name) {
                Ok(place) => place,
                Err(what) => {
                    let shown = String::from_utf8_lossy(&value[..value.len().min(120)]);
                    return self.ledger.violation(
                        what,
                        format!("client {}: GET {name}: {shown:?}", self.number),
                    );
                }
            },
            other => {
                return self
                    .ledger
                    .violation("C1 identity", format!("GET {name}: {other:?}"));
            }
        };
        let own = &mut self.keys[key];
        if place > own.sent {
            return self.ledger.violation(
                "C1 identity",
                format!("GET {name}: place {place} of {} sent", own.sent),
            );
        }
        if place < own.acked && !own.unknown.contains(&place) {
            if self.ledger.may_be_lost(own.acked_at) {
                self.ledger.lost_by_store.fetch_add(1, Ordering::Relaxed);
                own.acked = place;
            } else {
                let acked = own.acked;
                self.ledger.violation(
                    "C8 order",
                    format!("GET {name}: place {place} after {acked} was acknowledged"),
                );
            }
        }
    }

    fn judge_error(&mut self, expected: Expected, sent_at: u64, text: &str) {
        let end = match classify(text) {
            Some(end) => end,
            None => {
                let name = format!("{expected:?}");
                self.ledger.violation(
                    "C7 errors",
                    format!("{text:?} for {}", &name[..name.len().min(80)]),
                );
                End::Unknown
            }
        };
        let request = format!("client {} {expected:?}", self.number);
        let request = request[..request.len().min(100)].to_string();
        self.ledger.error(sent_at, text, request);
        self.end_writes(&expected, end);
        self.ledger.count(end);
        if let (Expected::Set(keys), End::Unknown) = (&expected, end) {
            for (key, place, _) in keys {
                self.keys[*key].unknown.push(*place);
            }
        }
    }
}

/// What an error says of the request: that it was not executed, that nobody knows, or nothing that a client
/// may ever hear.
pub fn classify(text: &str) -> Option<End> {
    if text.contains("may have been executed") || text.starts_with("ERR partial failure: ") {
        return Some(End::Unknown);
    }
    let word = text.split(' ').next().unwrap_or_default();
    let definite = matches!(
        word,
        "CLUSTERDOWN"
            | "TRYAGAIN"
            | "LOADING"
            | "MASTERDOWN"
            | "NOAUTH"
            | "WRONGPASS"
            | "BUSY"
            | "NOSCRIPT"
    ) || text.starts_with("ERR backend unavailable, command was not executed");
    definite.then_some(End::Failed)
}

fn parse_value(value: &[u8], name: &str) -> Result<u64, &'static str> {
    let rest = value.strip_prefix(name.as_bytes());
    let rest = rest.ok_or("C1 identity")?;
    let mut fields = rest.splitn(5, |byte| *byte == b'|').skip(1);
    let mut field = || std::str::from_utf8(fields.next().unwrap_or_default()).unwrap_or_default();
    let place = field().parse().map_err(|_| "C3 integrity")?;
    let body = value.len().checked_sub(17).ok_or("C3 integrity")?;
    let sum = format!("|{:016x}", checksum(&value[..body]));
    if value[body..] != *sum.as_bytes() {
        return Err("C3 integrity");
    }
    Ok(place)
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
