//! What a node keeps of a connection that tracks keys, as the server does (7.0: `tracking.c`).

use std::collections::BTreeSet;

use super::{Cluster, Data, Session};
use crate::ledger::{ABSENT, Class, Ledger, Outcome};
use crate::resp;

/// What one connection has asked for, and what it is to be told.
#[derive(Debug, Default)]
pub struct Tracks {
    is_on: bool,
    /// Only what is read behind CLIENT CACHING YES.
    optin: bool,
    /// CLIENT CACHING YES was the last that it has said.
    caching: bool,
    /// Whatever has one of these prefixes.
    prefixes: Option<Vec<Vec<u8>>>,
    /// The number of the connection that is told in its place.
    pub redirect: Option<u64>,
    /// Keys that it has read and has not been told of since.
    keys: BTreeSet<Vec<u8>>,
    /// Keys with such a prefix that have changed, and are told of behind the replies to all that was executed with that.
    changed: Owed,
    /// The same, to be told of behind the replies to what is executed next.
    kept_back: Owed,
}

/// Keys to be told of, and since when.
#[derive(Debug, Default)]
struct Owed {
    keys: Vec<Vec<u8>>,
    since: u64,
}

impl Owed {
    fn since(&self) -> Option<u64> {
        (!self.keys.is_empty()).then_some(self.since)
    }

    fn push(self) -> Option<Vec<u8>> {
        self.since().map(|_| push(Some(&self.keys)))
    }
}

/// What a connection is told: of some keys, or of all.
pub fn push(keys: Option<&[Vec<u8>]>) -> Vec<u8> {
    let head = b">2\r\n$10\r\ninvalidate\r\n".to_vec();
    let Some(keys) = keys else {
        return [head, b"_\r\n".to_vec()].concat();
    };
    let count = format!("*{}\r\n", keys.len()).into_bytes();
    let keys = keys.iter().map(|key| resp::bulk(key));
    [head, count]
        .into_iter()
        .chain(keys)
        .collect::<Vec<_>>()
        .concat()
}

impl Tracks {
    /// `CLIENT TRACKING ON ...`.
    fn ask(&mut self, args: &[Vec<u8>]) {
        assert_eq!(args[0], b"ON");
        *self = Tracks {
            is_on: true,
            ..Tracks::default()
        };
        let mut args = args[1..].iter();
        while let Some(word) = args.next() {
            let mut next = || args.next().expect("it has an argument").clone();
            match word.as_slice() {
                b"OPTIN" => self.optin = true,
                b"BCAST" => self.prefixes = Some(Vec::new()),
                b"PREFIX" => {
                    let prefix = next();
                    self.prefixes.as_mut().expect("with BCAST").push(prefix);
                }
                b"REDIRECT" => {
                    let digits = String::from_utf8(next()).expect("digits");
                    self.redirect = Some(digits.parse().expect("a number"));
                }
                other => panic!("a node got CLIENT TRACKING {}", other.escape_ascii()),
            }
        }
    }

    /// A request is executed. Returns whether what it reads is remembered.
    pub fn begin(&mut self) -> bool {
        let caching = std::mem::take(&mut self.caching);
        self.is_on && self.prefixes.is_none() && (caching || !self.optin)
    }

    /// These keys were read.
    pub fn remember(&mut self, keys: &[&[u8]]) {
        self.keys.extend(keys.iter().map(|key| key.to_vec()));
    }

    /// A key has changed. Returns whether somebody is told of it.
    pub fn hears_of(&mut self, key: &[u8]) -> bool {
        let own = self.prefixes.as_ref();
        let fits =
            |own: &Vec<Vec<u8>>| own.is_empty() || own.iter().any(|prefix| key.starts_with(prefix));
        own.is_some_and(fits) || self.keys.remove(key)
    }

    /// A key is to be told of behind the replies to all that is executed now. False: at once.
    pub fn later(&mut self, key: &[u8], now: u64) -> bool {
        let waits = self.prefixes.is_some() && self.redirect.is_none();
        let own = &mut self.changed;
        if waits && !own.keys.iter().any(|own| own == key) {
            own.since = own.since().unwrap_or(now);
            own.keys.push(key.to_vec());
        }
        waits
    }

    /// What is told of all such keys.
    pub fn report(&mut self) -> Option<Vec<u8>> {
        let mut all = std::mem::take(&mut self.kept_back);
        let Owed { keys, since } = std::mem::take(&mut self.changed);
        all.since = all.since().unwrap_or(since);
        all.keys.extend(keys);
        all.push()
    }

    /// Whether a node that writes with threads keeps anything back: of what has changed in a turn of its loop it tells behind
    /// the replies of the next one.
    pub fn is_late(&self) -> bool {
        self.kept_back.since().is_some()
    }

    /// What has changed in this turn of its loop is kept back.
    pub fn begin_late(&mut self) {
        self.kept_back = std::mem::take(&mut self.changed);
    }

    /// What it has kept back is told now. What has changed since then is kept back.
    pub fn end_late(&mut self) -> Option<Vec<u8>> {
        let changed = std::mem::take(&mut self.changed);
        std::mem::replace(&mut self.kept_back, changed).push()
    }

    /// Since when there has been anything to tell.
    pub fn owed_since(&self) -> Option<u64> {
        self.kept_back.since().or(self.changed.since())
    }

    /// All keys are gone. Returns whether somebody is told of it.
    pub fn hears_of_all(&mut self) -> bool {
        self.keys.clear();
        self.is_on
    }

    /// The table is full: a key is forgotten.
    pub fn forget(&mut self) -> Option<Vec<u8>> {
        self.keys.pop_first()
    }
}

impl Session {
    /// A new connection.
    pub fn of_number(id: u64) -> Session {
        Session {
            id,
            ..Session::default()
        }
    }

    /// `CLIENT ...`, as far as it is about tracking.
    pub(super) fn client(&mut self, args: &[Vec<u8>]) -> Vec<u8> {
        match args[1].as_slice() {
            b"ID" => return format!(":{}\r\n", self.id).into_bytes(),
            b"TRACKING" => self.tracks.ask(&args[2..]),
            b"CACHING" => {
                assert!(self.tracks.optin, "CACHING without OPTIN");
                self.tracks.caching = true;
            }
            other => panic!("a node got CLIENT {}", other.escape_ascii()),
        }
        b"+OK\r\n".to_vec()
    }
}

impl Cluster {
    /// FLUSHALL at one master: all texts of its shard are gone. (What else is there is never deleted.)
    pub fn flush(&mut self, shard: usize, ledger: &mut Ledger) {
        let told = ledger.changed.len();
        let all = &mut self.shards[shard].data;
        let texts = all.iter().filter(|(_, data)| matches!(data, Data::Text(_)));
        let names: Vec<Vec<u8>> = texts.map(|(name, _)| name.clone()).collect();
        for name in names {
            all.remove(&name);
            lose(&name, ledger);
        }
        // What is told of each of them is told by one word.
        ledger.changed.truncate(told);
        self.flushed.push(shard);
    }

    /// A text is deleted. Returns whether it was there.
    pub fn delete(&mut self, shard: usize, name: &[u8], ledger: &mut Ledger) -> bool {
        let was_there = self.shards[shard].data.remove(name).is_some();
        if was_there {
            lose(name, ledger);
        }
        was_there
    }

    /// A text ends at this time, unless it is written before.
    pub fn expire(&mut self, name: &[u8], at: u64, ledger: &Ledger) {
        let key = ledger.key(name).expect("a key of ours");
        debug_assert_eq!(ledger.keys[key].class, Class::Text);
        let version = ledger.keys[key].version();
        self.expiries.insert(name.to_vec(), (at, version));
    }

    /// How long a key has left, as PTTL says it.
    pub(super) fn ttl(&self, name: &[u8], ledger: &Ledger, now: u64) -> i64 {
        let key = ledger.key(name).expect("a key of ours");
        let own = self.expiries.get(name);
        let own = own.filter(|(_, version)| *version == ledger.keys[key].version());
        own.map_or(-1, |(at, _)| (at.saturating_sub(now) / 1000).max(1) as i64)
    }

    /// Keys whose time is over are there no more. Returns their shards and names: those who have read them are told when
    /// the server finds the time.
    pub fn end_keys(&mut self, ledger: &mut Ledger, now: u64) -> Vec<(usize, Vec<u8>)> {
        let mut ended = Vec::new();
        let due = self.expiries.iter().filter(|(_, (at, _))| *at <= now);
        let due: Vec<Vec<u8>> = due.map(|(name, _)| name.clone()).collect();
        for name in due {
            let (_, version) = self.expiries.remove(&name).expect("it is there");
            let key = ledger.key(&name).expect("a key of ours");
            if ledger.keys[key].version() != version {
                continue;
            }
            for (shard, own) in self.shards.iter_mut().enumerate() {
                if own.data.remove(&name).is_some() {
                    lose(&name, ledger);
                    ledger.changed.pop();
                    ended.push((shard, name.clone()));
                }
            }
        }
        ended
    }
}

/// A key is gone, by nobody's request.
fn lose(name: &[u8], ledger: &mut Ledger) {
    let key = ledger.key(name).expect("a key of ours");
    let nonce = ledger.begin(key);
    ledger.executed(nonce, key, ABSENT, 1);
    ledger.told(nonce, Outcome::Done);
}
