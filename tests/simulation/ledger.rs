//! `Ledger`: what was executed, and what clients were told of it. It is the oracle: whatever must not be,
//! panics here.
//!
//! Every write carries a number of its own, its nonce, in what it writes. The store tells the ledger when a
//! write executes; the state of each key after each write is kept. So for each reply it can be said whether
//! it is true, and at which points of the key's history.

use std::collections::{HashMap, HashSet};

use redis_cluster_proxy::cluster::slot::Slot;

use crate::databases::Databases;
use crate::fans::Fans;
use crate::messages::Messages;
use crate::promises::Promises;
use crate::random::mix;
use crate::users::Users;

/// Names a write.
pub type Nonce = usize;

/// State of a text key that does not exist.
pub const ABSENT: i64 = -1;

/// What a key is used for. A key's class never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// SET, GET, DEL, ...: the state is the nonce of its value.
    Text,
    /// INCRBY by the nonce: the state is the sum.
    Sum,
    /// INCR: the state is the count, and so the version.
    Count,
    /// RPUSH: the state is the nonce of the last entry.
    Log,
    /// RPUSH and BLPOP: as a log, but what is popped is gone.
    Queue,
}

const CLASSES: [Class; 8] = [
    Class::Text,
    Class::Text,
    Class::Text,
    Class::Text,
    Class::Sum,
    Class::Count,
    Class::Log,
    Class::Queue,
];

/// One key: its name and its history.
#[derive(Debug)]
pub struct Key {
    /// Its name at the nodes.
    pub name: Vec<u8>,
    /// Its name for the clients that use it.
    pub shown: Vec<u8>,
    /// The number of its slot.
    pub tag: usize,
    /// The database that it is in, if it is in a namespace.
    pub database: Option<usize>,
    /// What it is used for.
    pub class: Class,
    /// Its state after each write; version `n` is the state after `n` writes.
    states: Vec<i64>,
    /// When each of those was, by the proxy's clock.
    times: Vec<u64>,
    /// For counts: which were acknowledged.
    acknowledged: Vec<bool>,
    /// For counts: increments of unknown outcome.
    unknown: u64,
}

impl Key {
    /// How many writes it has seen.
    pub fn version(&self) -> u64 {
        self.states.len() as u64
    }

    /// How many writes it had seen at a time.
    pub fn version_at(&self, time: u64) -> u64 {
        self.times.partition_point(|at| *at <= time) as u64
    }

    /// Its state after `version` writes.
    pub fn state(&self, version: u64) -> i64 {
        match (version, self.class) {
            (0, Class::Text | Class::Log | Class::Queue) => ABSENT,
            (0, Class::Sum | Class::Count) => 0,
            _ => self.states[version as usize - 1],
        }
    }

    /// The states of a log: its entries.
    pub fn entries(&self) -> &[i64] {
        &self.states
    }
}

/// What the client of a write was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Open,
    /// It has been executed.
    Done,
    /// It was not executed, and never will be.
    Failed,
    /// It may have been executed.
    Unknown,
}

/// One write.
#[derive(Debug)]
pub struct Write {
    /// Its key.
    pub key: usize,
    /// Whether it was executed.
    pub executed: bool,
    /// The version of its key that it made.
    pub version: u64,
    /// What the store answered (DEL).
    pub result: i64,
    /// What its client was told.
    pub outcome: Outcome,
}

/// All keys and all writes.
#[derive(Debug)]
pub struct Ledger {
    /// The keys.
    pub keys: Vec<Key>,
    by_name: HashMap<Vec<u8>, usize>,
    /// How many tags there are for plain keys: the first slots are theirs.
    pub tags: usize,
    /// The slots that are in use.
    pub slots: Vec<u16>,
    /// The number of the slot of each tag, by what stands in it.
    places: HashMap<Vec<u8>, usize>,
    /// The namespaces.
    pub databases: Databases,
    /// The writes.
    pub writes: Vec<Write>,
    /// The last deletion of a key under each spelling of the command.
    deletions: HashMap<(String, usize), Nonce>,
    /// Whether some values are large.
    big: bool,
    /// What transactions and pops promise.
    pub promises: Promises,
    /// What requests for all masters promise.
    pub fans: Fans,
    /// What PUBLISH promises.
    pub messages: Messages,
    /// Scripts that ran and said of their node what became true before the node was asked: nobody can tell them from
    /// what was refused.
    foretold: HashSet<Nonce>,
    /// The time by the proxy's clock, or a little later.
    pub now: u64,
    /// How many requests the proxy had held so far when the turn began.
    pub held: u64,
    /// The same, or a little earlier: by as much as nodes may keep back what they tell of changed keys.
    pub asked_now: u64,
    /// Keys that have been written since they were last taken.
    pub changed: Vec<usize>,
    /// How often a slot came back to a shard that had given it away.
    pub returns: u64,
    /// The users of the servers, if they are the judges.
    pub users: Option<Users>,
}

impl Ledger {
    /// Keys under `tags` hash tags, and those of namespaces.
    pub fn new(tags: usize, databases: Databases) -> Ledger {
        let plain = (0..tags).map(|tag| (format!("{{t{tag}}}").into_bytes(), None));
        let own = databases.all.iter().map(|own| own.tag.clone());
        let own = own.zip((0..).map(Some));
        let (mut keys, mut slots, mut places) = (Vec::new(), Vec::new(), HashMap::new());
        for (tag, database) in plain.chain(own) {
            let slot = Slot::of(&tag).number();
            let place = slots.iter().position(|known| *known == slot);
            let place = place.unwrap_or_else(|| {
                slots.push(slot);
                slots.len() - 1
            });
            places.insert(tag[1..tag.len() - 1].to_vec(), place);
            let is_texts = database.is_some_and(|own: usize| databases.all[own].is_texts);
            for (index, class) in CLASSES.into_iter().enumerate() {
                if is_texts && class != Class::Text {
                    continue;
                }
                let short = index.to_string().into_bytes();
                let name = [&tag[..], &short].concat();
                keys.push(Key {
                    shown: database.map_or(name.clone(), |_| short),
                    name,
                    tag: place,
                    database,
                    class,
                    states: Vec::new(),
                    times: Vec::new(),
                    acknowledged: Vec::new(),
                    unknown: 0,
                });
            }
        }
        Ledger {
            by_name: keys.iter().map(|key| key.name.clone()).zip(0..).collect(),
            tags,
            slots,
            places,
            databases,
            keys,
            writes: Vec::new(),
            deletions: HashMap::new(),
            big: false,
            promises: Promises::default(),
            fans: Fans::default(),
            messages: Messages::default(),
            foretold: HashSet::new(),
            now: 0,
            held: 0,
            asked_now: 0,
            changed: Vec::new(),
            returns: 0,
            users: None,
        }
    }

    /// Some values are large, or none.
    pub fn with_large_values(mut self, big: bool) -> Ledger {
        self.big = big;
        self
    }

    /// The key of this name.
    pub fn key(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Whether scripts may have this key: they count under some, and in namespaces they do more.
    pub fn is_of_scripts(&self, name: &[u8]) -> bool {
        match self.key(name).map(|key| &self.keys[key]) {
            Some(own) => own.class == Class::Sum || own.database.is_some(),
            None => self.databases.all.iter().any(|own| own.tag == name),
        }
    }

    /// The number of the slot where a key lies.
    pub fn place_of(&self, name: &[u8]) -> usize {
        let inside = name.strip_prefix(b"{");
        let end = inside.and_then(|inside| inside.iter().position(|byte| *byte == b'}'));
        let tag = inside.zip(end).map(|(inside, end)| &inside[..end]);
        let place = tag.and_then(|tag| self.places.get(tag));
        *place.unwrap_or_else(|| panic!("{} is no key of anybody", name.escape_ascii()))
    }

    /// The keys of a database, or those in none.
    pub fn keys_in(&self, database: Option<usize>) -> impl Iterator<Item = usize> {
        (0..self.keys.len()).filter(move |key| self.keys[*key].database == database)
    }

    /// The keys of a class that are in no namespace.
    pub fn keys_of(&self, class: Class) -> Vec<usize> {
        self.keys_of_in(class, None)
    }

    /// The keys of a class in a database, or in none.
    pub fn keys_of_in(&self, class: Class, database: Option<usize>) -> Vec<usize> {
        self.keys_in(database)
            .filter(|key| self.keys[*key].class == class)
            .collect()
    }

    /// How often the slot of a database has begun or ended to move.
    pub fn unrest_of(&self, database: usize) -> u64 {
        let place = self.place_of(&self.databases.all[database].tag);
        self.databases.unrest.get(place).copied().unwrap_or(0)
    }

    /// A new write of `key`.
    pub fn begin(&mut self, key: usize) -> Nonce {
        self.writes.push(Write {
            key,
            executed: false,
            version: 0,
            result: 0,
            outcome: Outcome::Open,
        });
        self.writes.len() - 1
    }

    /// A deletion has no value to carry its nonces: they are told by the letters that are large in the
    /// command's name. A spelling comes back once its last outcome is known.
    pub fn spell_deletion(&mut self, nonces: &[Nonce]) -> Vec<u8> {
        let keys: Vec<usize> = nonces.iter().map(|nonce| self.writes[*nonce].key).collect();
        let free = |name: &String, but: &[Outcome]| {
            keys.iter().all(|key| {
                let last = self.deletions.get(&(name.clone(), *key));
                last.is_none_or(|nonce| !but.contains(&self.writes[*nonce].outcome))
            })
        };
        let names: Vec<String> = (0..72).map(spelling).collect();
        let name = names
            .iter()
            .find(|name| free(name, &[Outcome::Open, Outcome::Unknown]))
            .or_else(|| {
                // What vanished clients have sent may still be executed: the oldest spelling is the safest.
                let last = |name: &String| {
                    let own = keys.iter().map(|key| (name.clone(), *key));
                    own.filter_map(|own| self.deletions.get(&own))
                        .max()
                        .copied()
                };
                let closed = names.iter().filter(|name| free(name, &[Outcome::Open]));
                closed.min_by_key(|name| last(name))
            })
            .expect("few deletions of one key are under way at once")
            .clone();
        for (key, nonce) in keys.iter().zip(nonces) {
            self.deletions.insert((name.clone(), *key), *nonce);
        }
        name.into_bytes()
    }

    /// The deletion of `key` that is spelt like this.
    pub fn deletion(&self, name: &[u8], key: usize) -> Nonce {
        let name = String::from_utf8_lossy(name).into_owned();
        self.deletions[&(name, key)]
    }

    /// The value that a write puts into its key: it names both.
    pub fn value(&self, nonce: Nonce) -> Vec<u8> {
        let key = &self.keys[self.writes[nonce].key];
        let mut value = format!("{nonce}|").into_bytes();
        value.extend(&key.name);
        let size = mix(nonce as u64);
        let pad = match size % 128 {
            _ if key.class != Class::Text => size % 8,
            0..110 => size % 32,
            110..126 => size % 800,
            _ if self.big => 15_000 + size % 60_000,
            _ => size % 3_000,
        };
        value.resize(value.len() + pad as usize, b'.');
        value
    }

    /// The nonce of a value.
    pub fn nonce_of(value: &[u8]) -> Option<Nonce> {
        let end = value.iter().position(|byte| *byte == b'|')?;
        std::str::from_utf8(&value[..end]).ok()?.parse().ok()
    }

    /// The store has executed a write: `key` has this state now.
    pub fn executed(&mut self, nonce: Nonce, key: usize, state: i64, result: i64) {
        let write = &mut self.writes[nonce];
        assert_eq!(write.key, key, "write {nonce} hit another key");
        assert!(
            !write.executed || self.foretold.contains(&nonce),
            "write {nonce} was executed twice"
        );
        assert_ne!(
            write.outcome,
            Outcome::Failed,
            "write {nonce} was executed after its client was told that it was not"
        );
        write.executed = true;
        if let Some(users) = &self.users {
            users.executes(nonce);
        }
        self.fans.wrote(nonce);
        write.result = result;
        let version = self.counted(key, state);
        self.writes[nonce].version = version;
    }

    /// What a script said that had run is true by now.
    pub fn foretold(&mut self, nonce: Nonce) {
        self.foretold.insert(nonce);
    }

    /// How many scripts have said what became true.
    pub fn prophets(&self) -> u64 {
        self.foretold.len() as u64
    }

    /// The store has executed a write without a nonce. Returns the key's new version.
    pub fn counted(&mut self, key: usize, state: i64) -> u64 {
        self.changed.push(key);
        let now = self.now;
        let key = &mut self.keys[key];
        key.states.push(state);
        let last = key.times.last().copied().unwrap_or(0);
        key.times.push(last.max(now));
        key.version()
    }

    /// A client is told of a write; returns the version that it made if it was executed for certain.
    pub fn told(&mut self, nonce: Nonce, outcome: Outcome) -> Option<u64> {
        let outcome = match outcome {
            Outcome::Failed if self.foretold.contains(&nonce) => Outcome::Unknown,
            other => other,
        };
        let write = &mut self.writes[nonce];
        assert_eq!(write.outcome, Outcome::Open, "write {nonce} answered twice");
        write.outcome = outcome;
        match outcome {
            Outcome::Open | Outcome::Unknown => None,
            Outcome::Done => {
                assert!(write.executed, "write {nonce} was never executed");
                Some(write.version)
            }
            Outcome::Failed => {
                assert!(
                    !write.executed,
                    "write {nonce} was executed, but its client is told that it was not"
                );
                None
            }
        }
    }

    /// A client is told that its INCR made this of the key.
    pub fn acknowledge(&mut self, key: usize, count: i64) {
        let key = &mut self.keys[key];
        assert!(
            count >= 1 && count as u64 <= key.version(),
            "INCR gave {count}, but the key was incremented {} times",
            key.version()
        );
        key.acknowledged.resize(key.states.len(), false);
        let acknowledged = &mut key.acknowledged[count as usize - 1];
        assert!(!*acknowledged, "two INCRs were told the same {count}");
        *acknowledged = true;
    }

    /// The outcome of an INCR is not known.
    pub fn unsure(&mut self, key: usize) {
        self.keys[key].unknown += 1;
    }

    /// At the end of a run: no more was executed than can be accounted for.
    pub fn check(&self) {
        self.promises.check(&self.writes);
        self.databases.check();
        for key in &self.keys {
            if key.class == Class::Count {
                let acks = key.acknowledged.iter().filter(|ack| **ack).count() as u64;
                assert!(
                    acks <= key.version() && key.version() <= acks + key.unknown,
                    "{acks} acknowledged, {} unknown, but {} executed",
                    key.unknown,
                    key.version()
                );
            }
        }
        for (nonce, write) in self.writes.iter().enumerate() {
            let sound = match write.outcome {
                Outcome::Open => false,
                Outcome::Done => write.executed,
                Outcome::Failed => !write.executed,
                Outcome::Unknown => true,
            };
            assert!(sound, "write {nonce}: {write:?}");
        }
    }
}

/// One of 72 ways to write the name of the command that deletes keys.
fn spelling(number: usize) -> String {
    let (word, bits) = match number {
        0..8 => ("del", number),
        _ => ("unlink", number - 8),
    };
    let letter = |(index, letter): (usize, char)| match bits >> index & 1 {
        0 => letter,
        _ => letter.to_ascii_uppercase(),
    };
    word.chars().enumerate().map(letter).collect()
}
