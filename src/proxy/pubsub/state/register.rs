//! `Register`: who is subscribed to what, over all workers: the number of clients, and of this proxy's connections to
//! each node. It corrects what nodes count: to them a thousand subscribers are one connection.
//!
//! Its lock is taken when a subscription begins or ends, by commands that ask for numbers, and by PUBLISH while
//! anyone is subscribed to anything.
//!
//! A hash table that is full moves all that it has at once, which with half a million names takes longer than any turn
//! may. So there are many small tables ([`PARTS`]), which grow one after another; and what INFO asks for is counted.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::proxy::pubsub::state::kind::Kind;
use crate::resp::glob::{self, Case};

/// The subscriptions to one name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Entry {
    /// Clients of ours.
    clients: usize,
    /// Connections of ours that are subscribed to it, by node. There are few nodes.
    places: Vec<(SocketAddr, usize)>,
}

impl Entry {
    fn at(&self, node: SocketAddr) -> usize {
        let found = self.places.iter().find(|(address, _)| *address == node);
        found.map_or(0, |(_, count)| *count)
    }

    fn everywhere(&self) -> usize {
        self.places.iter().map(|(_, count)| count).sum()
    }

    fn is_empty(&self) -> bool {
        self.clients == 0 && self.places.is_empty()
    }
}

/// Tables that the names of a kind are spread over.
const PARTS: usize = 256;

/// The subscriptions to names of one kind.
#[derive(Debug)]
struct OfKind {
    /// Each name is in the table that its hash says.
    parts: Box<[HashMap<Arc<[u8]>, Entry>]>,
    /// Chooses the table.
    hasher: RandomState,
    /// Names that have clients.
    named: usize,
    /// Names that connections of ours are subscribed to, by node. There are few nodes.
    at: Vec<(SocketAddr, usize)>,
}

impl Default for OfKind {
    fn default() -> OfKind {
        let hasher = RandomState::new();
        // Keys of the hash of their own: within a table, those that chose it would be alike.
        let other = RandomState::new();
        let part = || HashMap::with_hasher(other.clone());
        OfKind {
            parts: std::iter::repeat_with(part).take(PARTS).collect(),
            hasher,
            named: 0,
            at: Vec::new(),
        }
    }
}

impl OfKind {
    fn part(&self, name: &[u8]) -> usize {
        self.hasher.hash_one(name) as usize % PARTS
    }

    fn get(&self, name: &[u8]) -> Option<&Entry> {
        self.parts[self.part(name)].get(name)
    }

    fn iter(&self) -> impl Iterator<Item = (&Arc<[u8]>, &Entry)> {
        self.parts.iter().flatten()
    }

    fn change<R>(&mut self, name: &Arc<[u8]>, change: impl FnOnce(&mut Entry) -> R) -> R {
        let at = self.part(name);
        let part = &mut self.parts[at];
        let entry = part.entry(name.clone()).or_default();
        let had_clients = entry.clients > 0;
        let result = change(entry);
        self.named += usize::from(entry.clients > 0);
        self.named -= usize::from(had_clients);
        if entry.is_empty() {
            part.remove(name);
            if part.is_empty() {
                // A table keeps the room that it once needed.
                part.shrink_to_fit();
            }
        }
        result
    }

    /// One name more is subscribed to at a node.
    fn begins_at(&mut self, node: SocketAddr) {
        match self.at.iter_mut().find(|(own, _)| *own == node) {
            Some((_, count)) => *count += 1,
            None => self.at.push((node, 1)),
        }
    }

    /// One name less.
    fn ends_at(&mut self, node: SocketAddr) {
        if let Some((_, count)) = self.at.iter_mut().find(|(own, _)| *own == node) {
            *count -= 1;
        }
        self.at.retain(|(_, count)| *count > 0);
    }
}

type Entries = [OfKind; Kind::COUNT];

/// The subscriptions of a process.
#[derive(Debug, Default)]
pub struct Register {
    entries: Mutex<Entries>,
    /// Subscriptions of clients, all in all, to be read without the lock.
    subscriptions: AtomicUsize,
    /// Clients that are subscribed to anything.
    subscribers: AtomicUsize,
}

/// How many there are of something: clients of ours, and connections of ours that a node counts in their stead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Clients of ours.
    pub clients: usize,
    /// Connections of ours.
    pub connections: usize,
}

impl Tally {
    /// What a node's number becomes: ours in place of our connections.
    pub fn correct(self, counted: i64) -> i64 {
        (counted - self.connections as i64).max(0) + self.clients as i64
    }
}

impl Register {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has subscribed.
    pub fn join(&self, kind: Kind, name: &Arc<[u8]>) {
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
        self.entries()[kind.index()].change(name, |entry| entry.clients += 1);
    }

    /// A client has unsubscribed.
    pub fn leave(&self, kind: Kind, name: &Arc<[u8]>) {
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
        self.entries()[kind.index()].change(name, |entry| entry.clients -= 1);
    }

    /// A connection of ours is subscribed at a node.
    pub fn settle(&self, kind: Kind, name: &Arc<[u8]>, node: SocketAddr) {
        let mut entries = self.entries();
        let of_kind = &mut entries[kind.index()];
        let is_first = of_kind.change(name, |entry| {
            match entry.places.iter_mut().find(|(own, _)| *own == node) {
                Some((_, count)) => {
                    *count += 1;
                    false
                }
                None => {
                    entry.places.push((node, 1));
                    true
                }
            }
        });
        if is_first {
            of_kind.begins_at(node);
        }
    }

    /// A connection of ours is not subscribed at a node any more.
    pub fn unsettle(&self, kind: Kind, name: &Arc<[u8]>, node: SocketAddr) {
        let mut entries = self.entries();
        let of_kind = &mut entries[kind.index()];
        let was_last = of_kind.change(name, |entry| {
            if let Some((_, count)) = entry.places.iter_mut().find(|(own, _)| *own == node) {
                *count -= 1;
            }
            let before = entry.places.len();
            entry.places.retain(|(_, count)| *count > 0);
            entry.places.len() < before
        });
        if was_last {
            of_kind.ends_at(node);
        }
    }

    /// A client has become a subscriber.
    pub fn add_subscriber(&self) {
        self.subscribers.fetch_add(1, Ordering::Relaxed);
    }

    /// A client is a subscriber no more.
    pub fn remove_subscriber(&self) {
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Clients that are subscribed to anything.
    pub fn subscribers(&self) -> usize {
        self.subscribers.load(Ordering::Relaxed)
    }

    /// Whether no client is subscribed to anything.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.load(Ordering::Relaxed) == 0
    }

    /// Who receives a message that is published at `node`: to a channel of the cluster, or (`Shard`) of a shard.
    pub fn receivers(&self, kind: Kind, channel: &[u8], node: Option<SocketAddr>) -> Tally {
        let entries = self.entries();
        let mut tally = Tally::default();
        let mut add = |entry: &Entry| {
            tally.clients += entry.clients;
            tally.connections += node.map_or(0, |node| entry.at(node));
        };
        if let Some(entry) = entries[kind.index()].get(channel) {
            add(entry);
        }
        if kind == Kind::Channel {
            let patterns = entries[Kind::Pattern.index()].iter();
            patterns
                .filter(|(pattern, _)| glob::matches(pattern, channel, Case::Sensitive))
                .for_each(|(_, entry)| add(entry));
        }
        tally
    }

    /// Who is subscribed to a name, over all nodes.
    pub fn tally(&self, kind: Kind, name: &[u8]) -> Tally {
        let entries = self.entries();
        let entry = entries[kind.index()].get(name);
        entry.map_or(Tally::default(), |entry| Tally {
            clients: entry.clients,
            connections: entry.everywhere(),
        })
    }

    /// How many names of a kind clients are subscribed to.
    pub fn names(&self, kind: Kind) -> usize {
        self.entries()[kind.index()].named
    }

    /// How many names of a kind clients are subscribed to, of those for which `counts` says so.
    pub fn names_that(&self, kind: Kind, counts: impl Fn(&[u8]) -> bool) -> usize {
        let entries = self.entries();
        let of_kind = entries[kind.index()].iter();
        let own = of_kind.filter(|(name, entry)| entry.clients > 0 && counts(name));
        own.count()
    }

    /// How many names of a kind connections of ours are subscribed to at a node.
    pub fn names_at(&self, kind: Kind, node: SocketAddr) -> usize {
        let entries = self.entries();
        let found = entries[kind.index()].at.iter();
        let mut found = found.filter(|(own, _)| *own == node);
        found.next().map_or(0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_are_those_of_the_channel_and_of_patterns_that_match() {
        let register = Register::default();
        let node = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (news, pattern) = ((*b"news").into(), (*b"n*").into());
        for _ in 0..1000 {
            register.join(Kind::Channel, &news);
        }
        register.settle(Kind::Channel, &news, node(1));
        register.settle(Kind::Channel, &news, node(1));
        register.join(Kind::Pattern, &pattern);
        register.settle(Kind::Pattern, &pattern, node(1));
        register.settle(Kind::Pattern, &pattern, node(2));
        let check = |at, connections| {
            let tally = register.receivers(Kind::Channel, b"news", at);
            assert_eq!(
                tally,
                Tally {
                    clients: 1001,
                    connections
                }
            );
        };
        check(Some(node(1)), 3);
        check(Some(node(2)), 1);
        check(None, 0);
        // Two of them a stranger's.
        assert_eq!(
            register
                .receivers(Kind::Channel, b"news", Some(node(1)))
                .correct(5),
            1003
        );
        assert_eq!(
            register.receivers(Kind::Shard, b"news", None),
            Tally::default()
        );
        assert_eq!(register.names_at(Kind::Pattern, node(2)), 1);
        register.unsettle(Kind::Pattern, &pattern, node(2));
        register.unsettle(Kind::Pattern, &pattern, node(1));
        register.leave(Kind::Pattern, &pattern);
        assert_eq!(
            (register.names(Kind::Pattern), register.names(Kind::Channel)),
            (0, 1)
        );
        assert!(!register.is_empty());
    }

    #[test]
    fn a_name_that_is_one_too_many_for_a_table_moves_few() {
        let register = Register::default();
        let node = SocketAddr::from(([127, 0, 0, 1], 1));
        let count = 100_000;
        let name = |number: usize| -> Arc<[u8]> { number.to_string().into_bytes().into() };
        for number in 0..count {
            register.join(Kind::Channel, &name(number));
            register.settle(Kind::Channel, &name(number), node);
        }
        let largest = |register: &Register| {
            let entries = register.entries();
            let parts = entries[Kind::Channel.index()].parts.iter();
            parts.map(HashMap::capacity).max().unwrap_or(0)
        };
        assert!(largest(&register) < count / 50, "{}", largest(&register));
        assert_eq!(register.names(Kind::Channel), count);
        assert_eq!(register.names_at(Kind::Channel, node), count);
        for number in 0..count {
            register.leave(Kind::Channel, &name(number));
            register.unsettle(Kind::Channel, &name(number), node);
        }
        assert_eq!(register.names(Kind::Channel), 0);
        assert_eq!(register.names_at(Kind::Channel, node), 0);
        assert!(register.is_empty() && largest(&register) == 0);
    }

    #[test]
    fn a_node_that_has_not_heard_of_us_yet_takes_nothing_away() {
        let tally = Tally {
            clients: 2,
            connections: 1,
        };
        assert_eq!(
            (tally.correct(0), tally.correct(1), tally.correct(3)),
            (2, 2, 4)
        );
    }
}
