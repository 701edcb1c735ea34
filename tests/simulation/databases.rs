//! `Databases`: the namespaces of a world, and what is promised of each of their databases. Whatever must not be, panics
//! here or where a client reads.
//!
//! - Nobody in a namespace is told a key, a value or a number of keys of another database or of the rest.
//! - KEYS, a whole SCAN and DBSIZE have every key that was there all the time; of RANDOMKEY's there is one. FLUSHDB leaves
//!   none of those that were there, and is executed as often as clients are told, and not more often than they may think.
//!   (In MULTI, while the slot moves to another node, DBSIZE sees what has moved already.)
//! - A value that goes to another database is dropped at its old place only when it has been at its new one.

use std::collections::HashSet;

use redis_cluster_proxy::cluster::slot::Slot;
use redis_cluster_proxy::config::{Config, Listen};
use redis_cluster_proxy::proxy::namespace::database_name;

use crate::ledger::{ABSENT, Class, Ledger, Outcome};
use crate::random::Random;
use crate::resp::Value;

/// One database of a namespace.
#[derive(Debug)]
pub struct Database {
    /// What its keys begin with at the nodes.
    pub tag: Vec<u8>,
    /// The number of its namespace, and its own there.
    pub namespace: usize,
    pub index: usize,
    /// Whether it has texts only, so that it may be emptied.
    pub is_texts: bool,
    /// How often it was emptied by a node; of those that clients know of, and of those that they do not know of.
    pub flushed: u64,
    told: u64,
    unknown: u64,
}

/// All namespaces of a world.
#[derive(Debug, Default)]
pub struct Databases {
    pub all: Vec<Database>,
    /// How many namespaces there are.
    pub namespaces: usize,
    /// How often the slot at each place has begun or ended to move.
    pub unrest: Vec<u64>,
    /// Values that have been put at a new place.
    restored: HashSet<Vec<u8>>,
    /// Replies that were checked in full.
    pub checked: u64,
    /// Keys that were moved and copied.
    pub moved: u64,
    pub copied: u64,
}

impl Databases {
    /// One namespace or two, which may share a slot with each other or with plain keys.
    pub fn choose(random: &mut Random, config: &mut Config) -> Databases {
        let first = format!("n{}", random.below(1000));
        let mut names = vec![first];
        if random.one_in(2) {
            let shared = match random.one_in(2) {
                true => Slot::of(names[0].as_bytes()),
                false => Slot::of(b"t0"),
            };
            let name = (0..1_000_000)
                .map(|number| format!("m{number}"))
                .find(|name| Slot::of(name.as_bytes()) == shared);
            names.push(name.expect("some name has any slot"));
        }
        config.databases = *random.pick(&[1, 2, 3, 3]);
        let mut own = Databases {
            namespaces: names.len(),
            ..Databases::default()
        };
        for (namespace, name) in names.into_iter().enumerate() {
            for index in 0..config.databases {
                own.all.push(Database {
                    tag: format!("{{{}}}", database_name(&name, index)).into_bytes(),
                    namespace,
                    index: usize::from(index),
                    is_texts: index > 0 && index + 1 == config.databases,
                    flushed: 0,
                    told: 0,
                    unknown: 0,
                });
            }
            let listen = Listen::Unix(format!("/{namespace}").into());
            config.namespace_listen.push((name, listen));
        }
        own
    }

    /// The first database of a namespace.
    pub fn first_of(&self, namespace: usize) -> usize {
        let found = self.all.iter().position(|own| own.namespace == namespace);
        found.expect("it has one")
    }

    /// The databases of the same namespace.
    pub fn beside(&self, database: usize) -> Vec<usize> {
        let namespace = self.all[database].namespace;
        (0..self.all.len())
            .filter(|other| self.all[*other].namespace == namespace)
            .collect()
    }

    /// A node has put this value at a new place.
    pub fn put(&mut self, dump: &[u8]) {
        self.restored.insert(dump.to_vec());
    }

    /// A node drops this value.
    pub fn drops(&self, dump: &[u8]) {
        assert!(
            self.restored.contains(dump),
            "{} is dropped, and was never put elsewhere",
            dump.escape_ascii()
        );
    }

    /// A client is told of a FLUSHDB.
    pub fn told(&mut self, database: usize, outcome: Outcome) {
        let own = &mut self.all[database];
        match outcome {
            Outcome::Done => own.told += 1,
            Outcome::Unknown => own.unknown += 1,
            Outcome::Open | Outcome::Failed => {}
        }
    }

    /// How often databases were emptied.
    pub fn emptied(&self) -> u64 {
        self.all.iter().map(|own| own.flushed).sum()
    }

    /// At the end of a run.
    pub fn check(&self) {
        for own in &self.all {
            let Database {
                flushed,
                told,
                unknown,
                ..
            } = *own;
            assert!(
                told <= flushed && flushed <= told + unknown,
                "FLUSHDB: {told} acknowledged, {unknown} unknown, but {flushed} executed"
            );
        }
    }
}

/// A database when a request was made that concerns all of it.
#[derive(Debug, Clone)]
pub struct View {
    pub database: usize,
    unrest: u64,
    /// Whether it was made in MULTI.
    queued: bool,
    /// Its keys, and their versions.
    keys: Vec<(usize, u64)>,
}

impl View {
    pub fn of(database: usize, ledger: &Ledger) -> View {
        let keys = ledger.keys_in(Some(database));
        View {
            database,
            unrest: ledger.unrest_of(database),
            queued: false,
            keys: keys.map(|key| (key, ledger.keys[key].version())).collect(),
        }
    }

    /// The same, in MULTI.
    pub fn queued(mut self) -> View {
        self.queued = true;
        self
    }

    /// Whether the slot has been at rest since then, if that matters.
    pub fn is_quiet(&self, ledger: &Ledger) -> bool {
        !self.queued
            || (self.unrest.is_multiple_of(2) && self.unrest == ledger.unrest_of(self.database))
    }

    /// Whether a key may have been there at any time since then.
    fn may_be(ledger: &Ledger, (key, floor): (usize, u64)) -> bool {
        let own = &ledger.keys[key];
        match own.class {
            Class::Text => {
                let mut since = floor..=own.version();
                since.any(|version| own.state(version) != ABSENT)
            }
            _ => own.version() > 0,
        }
    }

    /// Whether a key has been there all the time since then.
    fn must_be(ledger: &Ledger, (key, floor): (usize, u64)) -> bool {
        let own = &ledger.keys[key];
        match own.class {
            Class::Text => {
                let mut since = floor..=own.version();
                since.all(|version| own.state(version) != ABSENT)
            }
            Class::Sum | Class::Count | Class::Log => floor > 0,
            Class::Queue => false,
        }
    }

    /// A client is told so many keys.
    pub fn counted(&self, count: i64, ledger: &mut Ledger) -> bool {
        let number = |holds: fn(&Ledger, (usize, u64)) -> bool| {
            let found = self.keys.iter().filter(|own| holds(ledger, **own));
            found.count() as i64
        };
        let (least, most) = (number(View::must_be), number(View::may_be));
        let quiet = self.is_quiet(ledger);
        ledger.databases.checked += u64::from(quiet);
        (0..=most).contains(&count) && (!quiet || count >= least)
    }

    /// Whether this is the name of a key that may have been there.
    fn has(&self, name: &Value, ledger: &Ledger) -> bool {
        let Value::Bulk(name) = name else {
            return false;
        };
        let mut own = self.keys.iter();
        let found = own.find(|(key, _)| ledger.keys[*key].shown == *name);
        found.is_some_and(|own| View::may_be(ledger, *own))
    }

    /// A client is told of these keys: all, and each once if they were asked for at once.
    pub fn found(&self, names: &[Value], once: bool, ledger: &mut Ledger) -> bool {
        let known = names.iter().all(|name| self.has(name, ledger));
        let twice = (1..names.len()).any(|at| names[..at].contains(&names[at]));
        let complete = self.keys.iter().all(|own| {
            let name = Value::Bulk(ledger.keys[own.0].shown.clone());
            !View::must_be(ledger, *own) || names.contains(&name)
        });
        let quiet = self.is_quiet(ledger);
        ledger.databases.checked += u64::from(quiet);
        known && !(once && twice) && (!quiet || complete)
    }

    /// A client is told of these keys, and there may be others.
    pub fn found_some(&self, names: &[Value], ledger: &Ledger) -> bool {
        names.iter().all(|name| self.has(name, ledger))
    }

    /// A client is told that there is no key.
    pub fn found_none(&self, ledger: &Ledger) -> bool {
        let mut own = self.keys.iter();
        !self.is_quiet(ledger) || !own.any(|own| View::must_be(ledger, *own))
    }

    /// A client is told that all was deleted: the versions of the keys from which on they were gone.
    pub fn emptied(&self, ledger: &Ledger) -> Vec<(usize, u64)> {
        if !self.is_quiet(ledger) {
            return Vec::new();
        }
        let gone = |(key, floor): &(usize, u64)| {
            let own = &ledger.keys[*key];
            let mut since = *floor..=own.version();
            let found = since.find(|version| own.state(*version) == ABSENT);
            let version = found.unwrap_or_else(|| panic!("FLUSHDB has left key {key}"));
            (*key, version)
        };
        self.keys.iter().map(gone).collect()
    }
}
