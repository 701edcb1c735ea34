//! `Promises`: what transactions and waiting pops promise, held against what nodes did. Whatever must not be,
//! panics here.
//!
//! A WATCH carries a number in the name of one more key, which nobody writes; so does a pop. By it nodes say
//! for whom they did something.

use std::collections::HashMap;

use crate::ledger::{Nonce, Write};

/// One WATCH.
#[derive(Debug, Default)]
struct Watch {
    /// The versions of its keys, when a node last executed it.
    seen: Option<Vec<(usize, u64)>>,
    /// Whether there is a reason for EXEC to answer nil: a key was changed, or the node refused, or is lost.
    excused: bool,
    /// Whether its client was told OK.
    told: bool,
    /// The first write that was executed although one of its keys had changed.
    defied: Option<Nonce>,
}

/// One token that a node has handed out.
#[derive(Debug)]
struct Popped {
    key: usize,
    by: Option<usize>,
    delivered: bool,
}

/// All of a run.
#[derive(Debug, Default)]
pub struct Promises {
    watches: Vec<Watch>,
    /// The watches under which a write may be executed.
    guards: HashMap<Nonce, Vec<usize>>,
    /// Transactions of unknown outcome.
    groups: Vec<Vec<Nonce>>,
    pops: HashMap<Nonce, Popped>,
    pops_made: usize,
    /// Pops that may have taken a token, by key.
    unheard: HashMap<usize, u64>,
    /// Transactions executed, answered nil by a node, and told to be nil.
    pub executed: u64,
    pub nil_at_nodes: u64,
    pub nil: u64,
    /// Tokens that clients got.
    pub delivered: u64,
    /// Transactions of more than a hundred requests that were executed.
    pub long: u64,
}

impl Promises {
    /// The number of a new WATCH.
    pub fn watch(&mut self) -> usize {
        self.watches.push(Watch::default());
        self.watches.len() - 1
    }

    /// The number of a new pop.
    pub fn pop(&mut self) -> usize {
        self.pops_made += 1;
        self.pops_made
    }

    /// These writes are executed only while nothing of these watches has changed.
    pub fn guard(&mut self, nonces: &[Nonce], watches: &[usize]) {
        for nonce in nonces {
            self.guards.insert(*nonce, watches.to_vec());
        }
    }

    /// A node watches: these are the versions of the keys.
    pub fn watched(&mut self, watch: usize, seen: Vec<(usize, u64)>) {
        self.watches[watch].seen = Some(seen);
    }

    /// EXEC may answer nil to the client of these.
    pub fn excuse(&mut self, watches: &[usize]) {
        watches
            .iter()
            .for_each(|watch| self.watches[*watch].excused = true);
    }

    /// A client hears OK to WATCH.
    pub fn told(&mut self, watch: usize) {
        self.watches[watch].told = true;
    }

    /// A node is about to execute a transaction with these writes.
    pub fn executes(&mut self, nonces: &[Nonce], version: impl Fn(usize) -> u64) {
        self.executed += 1;
        for nonce in nonces {
            for watch in self.guards.get(nonce).map_or(&[][..], Vec::as_slice) {
                let own = &mut self.watches[*watch];
                let mut seen = own.seen.iter().flatten();
                if seen.any(|(key, seen)| version(*key) != *seen) {
                    own.defied.get_or_insert(*nonce);
                }
            }
        }
    }

    /// A client hears that its transaction was executed.
    pub fn was_executed(&self, watches: &[usize]) {
        for watch in watches {
            let own = &self.watches[*watch];
            assert!(
                own.seen.is_some() || !own.told,
                "executed under watch {watch}, which no node has seen"
            );
            // Who was told that it does not watch is not protected.
            assert!(
                own.defied.is_none() || !own.told,
                "write {:?} is executed although a key of watch {watch} has changed",
                own.defied
            );
        }
    }

    /// A client hears that its transaction was not executed for a key that changed.
    pub fn was_nil(&mut self, watches: &[usize]) {
        self.nil += 1;
        let excused = watches.iter().any(|watch| self.watches[*watch].excused);
        assert!(excused, "nil without a cause: {watches:?}");
    }

    /// Nobody knows whether these were executed: all of them, or none.
    pub fn unknown(&mut self, nonces: Vec<Nonce>) {
        self.groups.push(nonces);
    }

    /// A node hands a token out.
    pub fn popped(&mut self, nonce: Nonce, key: usize, by: Option<usize>) {
        let before = self.pops.insert(
            nonce,
            Popped {
                key,
                by,
                delivered: false,
            },
        );
        assert!(before.is_none(), "token {nonce} is popped twice");
    }

    /// A client gets a token.
    pub fn delivered(&mut self, nonce: Nonce, key: usize, to: Option<usize>) {
        self.delivered += 1;
        let popped = self.pops.get_mut(&nonce).expect("a node handed it out");
        assert!(!popped.delivered, "token {nonce} is delivered twice");
        assert_eq!(
            (popped.key, popped.by),
            (key, to),
            "token {nonce} goes to the wrong client"
        );
        popped.delivered = true;
    }

    /// A pop at this key has an outcome that its client does not know.
    pub fn unheard(&mut self, key: usize) {
        *self.unheard.entry(key).or_default() += 1;
    }

    /// At the end of a run.
    pub fn check(&self, writes: &[Write]) {
        for group in &self.groups {
            let executed = group
                .iter()
                .filter(|nonce| writes[**nonce].executed)
                .count();
            assert!(
                executed == 0 || executed == group.len(),
                "{executed} of a transaction's {} writes were executed: {group:?}",
                group.len()
            );
        }
        let mut lost: HashMap<usize, u64> = HashMap::new();
        for popped in self.pops.values().filter(|popped| !popped.delivered) {
            *lost.entry(popped.key).or_default() += 1;
        }
        for (key, count) in lost {
            let unheard = self.unheard.get(&key).copied().unwrap_or(0);
            assert!(
                count <= unheard,
                "{count} tokens of key {key} are lost, by {unheard} pops"
            );
        }
    }
}
