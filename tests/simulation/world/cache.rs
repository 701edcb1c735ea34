//! What caches are about, the proxy's and those of its clients: who writes past the proxy, what is flushed and what
//! ends, and what the nodes tell of it.

use super::{MILLIS, Troubles, World};
use crate::cluster::tracking::push;
use crate::ledger::{Class, Outcome};
use crate::random::{Random, mix};

/// What happens to keys past the proxy: from numbers of its own, so that worlds without caches stay what they are.
#[derive(Debug)]
pub struct Changes {
    random: Random,
    /// Whether some clients keep what they read, and track it.
    pub trackers: bool,
    /// One turn in so many, or never (0): all keys of a shard are gone; a node forgets what was read.
    flush: usize,
    forget: usize,
    /// Whether some values end by themselves.
    ends: bool,
    /// Keys that have ended and of which nobody was told, and when that is due.
    ended: Vec<(u64, usize, Vec<u8>)>,
    /// Whether some clients are told what others keep, and numbers for that.
    listeners: bool,
    of_listeners: Random,
}

impl Changes {
    /// Those of a seed, in a world where the proxy has a cache or not, and clients may track keys or not.
    pub fn new(seed: u64, has_cache: bool, may_track: bool) -> Changes {
        let mut random = Random::new(mix(!mix(seed)));
        let trackers = random.one_in(3) && may_track;
        let any = has_cache || trackers;
        let mut once_in = |turns: u64| match any && random.one_in(2) {
            true => random.between(turns / 2, turns * 2) as usize,
            false => 0,
        };
        let mut of_listeners = Random::new(mix(!seed));
        Changes {
            listeners: trackers && of_listeners.one_in(2),
            of_listeners,
            flush: once_in(400),
            forget: once_in(60),
            ends: once_in(2) > 0,
            trackers,
            ended: Vec::new(),
            random,
        }
    }
}

impl Changes {
    /// Whether a new client hears for others, of whom there are so many.
    pub fn one_listens(&mut self, there: usize) -> bool {
        self.listeners && there < 3 && self.of_listeners.one_in(2)
    }

    /// Whether some clients hear for others.
    pub fn has_listeners(&self) -> bool {
        self.listeners
    }

    /// Numbers for what they do.
    pub fn of_listeners(&mut self) -> &mut Random {
        &mut self.of_listeners
    }
}

impl World {
    /// What happens in one turn.
    pub(super) fn change_past(&mut self) {
        self.write_past();
        self.heat();
        self.change_many();
        if self.changes.random.one_in(self.changes.flush) {
            self.flush_past();
        }
        if self.changes.random.one_in(self.changes.forget) && !self.links.is_empty() {
            let link = self.changes.random.below(self.links.len());
            if let Some(key) = self.links[link].session.tracks.forget() {
                self.tell(link, Some(&key));
                self.events.forgotten += 1;
            }
        }
    }

    /// Whether somebody reaches the master of a shard past the proxy; which node that is.
    pub(super) fn master_past(&self, shard: usize) -> Option<usize> {
        let node = self.cluster.shards[shard].master;
        let own = &self.cluster.nodes[node];
        (own.alive && self.now >= own.hung_until).then_some(node)
    }

    /// Somebody writes directly at a node.
    fn write_past(&mut self) {
        let once_in = if self.hot.is_on() { 128 } else { 16 };
        if !self.of_foreigner.one_in(once_in) {
            return;
        }
        let keys = self.ledger.keys_of(Class::Text);
        let tops = self.of_foreigner.skewed(keys.len());
        let key = keys[keys.len() - 1 - self.of_foreigner.below(tops)];
        self.set_past(key);
    }

    /// Somebody writes this key.
    pub(super) fn set_past(&mut self, key: usize) {
        let shard = self.cluster.owner_of(self.ledger.keys[key].tag);
        let Some(node) = self.master_past(shard) else {
            return;
        };
        let password = self.proxy.config().backend_password.as_ref();
        let hello = password.map(|secret| [b"AUTH".to_vec(), secret.expose().to_vec()]);
        let nonce = self.ledger.begin(key);
        let name = self.ledger.keys[key].name.clone();
        let set = [b"SET".to_vec(), name.clone(), self.ledger.value(nonce)];
        let mut reply = Vec::new();
        for args in hello.iter().map(|hello| &hello[..]).chain([&set[..]]) {
            let (session, ledger) = (&mut self.foreigner, &mut self.ledger);
            reply = self.cluster.execute(node, session, args, ledger, self.now);
        }
        let done = reply == b"+OK\r\n";
        self.note(|_| format!("past the proxy: {} {done}", key));
        let outcome = if done { Outcome::Done } else { Outcome::Failed };
        self.ledger.told(nonce, outcome);
        self.events.written_past += u64::from(done);
        self.invalidate_at(node);
        if done && self.changes.ends && self.changes.random.one_in(2) {
            let at = self.now + self.changes.random.between(1, 400) * MILLIS;
            self.cluster.expire(&name, at, &self.ledger);
        }
    }

    /// Somebody flushes a master.
    fn flush_past(&mut self) {
        let shard = self.changes.random.below(self.cluster.shards.len());
        if let Some(node) = self.master_past(shard) {
            self.note(|_| format!("past the proxy: FLUSHALL at {node}"));
            self.cluster.flush(shard, &mut self.ledger);
            self.events.flushed_past += 1;
            self.invalidate_at(node);
        }
    }

    /// Time passes: keys end, and servers find that they have.
    pub(super) fn end_keys(&mut self) {
        let (now, changes) = (self.now, &mut self.changes);
        for (shard, name) in self.cluster.end_keys(&mut self.ledger, now) {
            let due = now + changes.random.between(0, 2000 * MILLIS);
            changes.ended.push((due, shard, name));
            self.events.keys_ended += 1;
        }
        let touched = std::mem::take(&mut self.cluster.touched);
        let is_due = |(due, _, name): &(u64, usize, Vec<u8>)| *due <= now || touched.contains(name);
        let (due, rest) = std::mem::take(&mut self.changes.ended)
            .into_iter()
            .partition(is_due);
        self.changes.ended = rest;
        for (_, shard, name) in due {
            self.invalidate(shard, &name);
        }
    }

    /// What has been written at a node is told to those who track it there.
    pub(super) fn invalidate_at(&mut self, node: usize) {
        let shard = self.cluster.nodes[node].shard;
        for key in std::mem::take(&mut self.ledger.changed) {
            let name = self.ledger.keys[key].name.clone();
            self.invalidate(shard, &name);
        }
        for shard in std::mem::take(&mut self.cluster.flushed) {
            for link in 0..self.links.len() {
                if self.hears(link, shard) && self.links[link].session.tracks.hears_of_all() {
                    self.tell(link, None);
                }
            }
        }
        if !self.changes.ended.is_empty() {
            self.end_keys();
        }
        self.cluster.touched.clear();
    }

    /// A key of a shard has changed, or has gone elsewhere.
    pub(super) fn invalidate(&mut self, shard: usize, name: &[u8]) {
        for link in 0..self.links.len() {
            if self.hears(link, shard) && self.links[link].session.tracks.hears_of(name) {
                self.tell(link, Some(name));
            }
        }
    }

    /// Whether the node of a connection hears what happens in a shard. One that is not the master, and hangs, does not.
    fn hears(&self, link: usize, shard: usize) -> bool {
        let node = self.links[link].node;
        let own = &self.cluster.nodes[node];
        let is_deaf = self.changes.trackers && self.now < own.hung_until;
        own.shard == shard && (self.cluster.is_master(node) || !is_deaf)
    }

    /// A connection that tracks, or the one that it has named, is told of a key or of all.
    fn tell(&mut self, link: usize, key: Option<&[u8]>) {
        let (own, now) = (&mut self.links[link], self.now);
        if key.is_some_and(|key| own.session.tracks.later(key, now)) {
            return;
        }
        let own = &self.links[link];
        let target = match own.session.tracks.redirect {
            None => Some(link),
            Some(number) => {
                let is_named = |other: &super::Link| {
                    other.node == own.node && other.session.id == number && !other.replies.ended
                };
                self.links.iter().position(is_named)
            }
        };
        if let Some(target) = target {
            self.links[target]
                .unwritten
                .extend(push(key.map(|key| vec![key.to_vec()]).as_deref()));
        }
    }

    /// The trouble ends for a while, and everything is told: what clients keep is what there is.
    pub(super) fn compare_caches(&mut self) {
        let (troubles, capacity) = (self.troubles.clone(), self.capacity);
        self.heal();
        self.settle("before clients compare");
        self.calm();
        for client in &self.clients {
            let kept = client.check_cache(&self.ledger);
            self.counts.kept += kept;
        }
        (self.troubles, self.capacity, self.swift) = (troubles, capacity, false);
    }

    /// The cluster comes to rest, and everybody hears of it.
    fn calm(&mut self) {
        let moves = |world: &World| {
            !world.cluster.migrating().is_empty()
                || !world.promotions.is_empty()
                || !world.changes.ended.is_empty()
        };
        while moves(self) {
            self.turn(false);
        }
        for node in 0..self.cluster.nodes.len() {
            self.cluster.gossip(node);
        }
        debug_assert_eq!(Troubles::default().stale, self.troubles.stale);
        self.ask_topology();
        for _ in 0..4 {
            self.now += 1000 * MILLIS;
            for _ in 0..20 {
                self.turn(false);
            }
        }
        self.settle("while clients compare");
    }
}
