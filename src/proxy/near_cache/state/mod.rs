//! `NearCache`: replies of hot keys that this worker answers itself, and what it must know to do so coherently.
//!
//! Three promises, and how they are kept:
//!
//! 1. *A client sees its own writes.* A request that reaches a key past the cache (an *access*) drops the key's entry and
//!    spoils its flights when it is dispatched, and nothing is filled for the key until it is answered (`accesses`).
//! 2. *No client sees a value older than one it has seen through this worker.* What comes by one tracking connection
//!    comes in the order in which the node executed it: the push that invalidates an entry stands before every later
//!    reply. What comes by any other connection does not, so reads by others are accesses as writes are, and a key
//!    that is worth a fill is read by the tracking connection only. A node in broadcasting mode reports a little later:
//!    what that takes is in `unsettled`.
//! 3. *No value is older than the staleness.* An entry is served only while its connection has answered something that
//!    was sent within that time (`link`): the node then still served these slots, and all that it had invalidated is
//!    known here.
//!
//! That is about values. Of rights a node says nothing: when its user may not read a key any more, that is known once the
//! reply is read anew, a minute after it was at the latest (`fill`), or once a probe is refused.
//!
//! An entry of another epoch than its connection's is not served: a lost connection, a node that refuses, and FLUSHALL
//! drop any number of entries by changing a number. A slot has an epoch, too, for scripts.
//!
//! It must never know how a request is sent or a client is answered.

pub mod accesses;
pub mod flight;
mod frequencies;
pub mod hand;
pub mod link;
pub mod resp2;
pub mod store;
pub mod unsettled;

use std::time::Duration;

use crate::clock::Time;
use crate::cluster::slot::SLOTS;
use crate::config::{Config, NearCacheTracking};
use crate::proxy::ids::{ClientId, NodeKey, Seq};
use crate::proxy::near_cache::state::accesses::{Accesses, Lasts, Slots, Wide};
use crate::proxy::near_cache::state::flight::Flights;
use crate::proxy::near_cache::state::frequencies::Frequencies;
use crate::proxy::near_cache::state::link::{Broadcast, Link, Over};
use crate::proxy::near_cache::state::store::{ByHash, Found, Question, Stamp, Store};
use crate::proxy::near_cache::state::unsettled::Unsettled;
use crate::proxy::planted_bugs;
use crate::proxy::tracking::state::bcast;
use crate::resp::encode::Protocol;
use crate::sort;

/// Requests that are known to be of no use, and for how long: their replies are too large, or errors.
const DECLINED_MAX: usize = 1024;
/// The largest reply that is kept.
const REPLY_MAX: usize = 64 << 10;

/// The near cache of one worker.
#[derive(Debug)]
pub struct NearCache {
    /// The replies.
    pub store: Store,
    /// Requests that reach keys past the cache.
    pub accesses: Accesses,
    /// Reads on tracking connections.
    pub flights: Flights,
    /// What has come behind writes that were not reported yet.
    pub unsettled: Unsettled,
    /// Tracking connections, by node.
    links: Vec<Link>,
    reads: Frequencies,
    slot_epochs: Box<[u32]>,
    owners: Box<[Option<NodeKey>]>,
    last_epoch: u32,
    declined: ByHash<Time>,
    seed: u64,
    staleness: Duration,
    min_reads: u32,
    prefixes: Vec<Vec<u8>>,
    tracking: NearCacheTracking,
    /// Whether no node is asked to remember single keys.
    all_broadcast: bool,
    reply_max: usize,
    /// Whether the request in hand was looked for in vain: a miss, once it is taken.
    pub missed: bool,
    /// Whether some node has refused to track.
    pub any_refused: bool,
    /// All standstills so far: time in which nothing was heard, and that the clock does not know.
    still: u64,
}

/// What a look-up comes to.
#[derive(Debug)]
pub enum Look<'a> {
    /// The bytes of the reply, and the slot of the key.
    Hit(&'a [u8], u16),
    /// It is not there, and the key is worth a fill; or it is there, and its node has not been heard from for too long.
    Wanted {
        /// Whether it is there.
        stale: bool,
    },
    /// It is not there, or not to be served.
    Cold,
}

impl NearCache {
    /// The cache of a worker, if there is to be one. `seed` is any number.
    pub fn new(config: &Config, workers: usize, seed: u64) -> Option<Box<NearCache>> {
        let bytes = config.near_cache_bytes / workers.max(1);
        (config.near_cache_bytes > 0).then(|| {
            Box::new(NearCache {
                store: Store::new(bytes),
                accesses: Accesses::default(),
                flights: Flights::default(),
                unsettled: Unsettled::default(),
                links: Vec::new(),
                reads: Frequencies::new(bytes),
                slot_epochs: vec![0; SLOTS].into(),
                owners: vec![None; SLOTS].into(),
                last_epoch: 0,
                declined: ByHash::default(),
                seed: seed | 1,
                staleness: config.near_cache_staleness,
                min_reads: config.near_cache_min_reads,
                prefixes: config
                    .near_cache_prefixes
                    .iter()
                    .map(|prefix| prefix.clone().into_bytes())
                    .collect(),
                tracking: config.near_cache_tracking,
                all_broadcast: config.near_cache_tracking != NearCacheTracking::Keys,
                reply_max: REPLY_MAX.min(bytes / 8),
                missed: false,
                any_refused: false,
                still: 0,
            })
        })
    }

    /// The hash of a key, which nobody else can foretell.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let fold = |hash: u64, word: u64| {
            let wide = u128::from(hash ^ word) * u128::from(FACTOR);
            (wide as u64) ^ (wide >> 64) as u64
        };
        let mut hash = fold(self.seed, key.len() as u64 ^ FACTOR);
        let (words, rest) = key.as_chunks::<8>();
        for word in words {
            hash = fold(hash, u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = fold(hash, u64::from_le_bytes(last) ^ self.seed.rotate_left(32));
        fold(hash, self.seed)
    }

    /// The connection to a node.
    pub fn link(&self, node: NodeKey) -> Option<&Link> {
        self.links.get(usize::from(node.0))
    }

    /// The same, to be changed; made if there is none.
    pub fn link_mut(&mut self, node: NodeKey) -> &mut Link {
        let at = usize::from(node.0);
        if self.links.len() <= at {
            self.links.resize_with(at + 1, Link::default);
        }
        &mut self.links[at]
    }

    /// All nodes that it has had connections to.
    pub fn nodes(&self) -> impl Iterator<Item = NodeKey> + use<> {
        (0..self.links.len()).map(|at| NodeKey(at as u16))
    }

    /// Looks for the reply to a read of the key of this hash. `master` says who serves a slot. (The slot of a key that is
    /// there is known: it costs a tenth of a hit to find it.)
    /// If it is not there, that is a read of its key, unless somebody else looks again (`is_counted`).
    #[inline(always)]
    pub fn look(
        &mut self,
        (hash, key): (u64, &[u8]),
        question: Question<'_>,
        (protocol, is_counted): (Protocol, bool),
        master: impl Fn(u16) -> Option<NodeKey>,
        now: Time,
    ) -> Look<'_> {
        // What pushes out another has to be read more often: of those that are read twice there are always more.
        // What costs its node less is worth it sooner.
        let min = self.min_reads - u32::from(self.all_broadcast && self.min_reads > 1)
            + u32::from(self.store.is_full());
        let found = self
            .store
            .find(hash, key, question, now.as_micros() + self.still);
        let known = !matches!(found, Found::Nothing);
        if let Found::Reply(both, stamp) = found {
            let link = self.links.get_mut(usize::from(stamp.node.0));
            let slot_epoch = self.slot_epochs.get(usize::from(stamp.slot));
            if let Some(link) = link
                && (link.epoch == stamp.epoch || planted_bugs::is_on("entry-outlives-connection"))
                && slot_epoch == Some(&stamp.slot_epoch)
                && master(stamp.slot) == Some(stamp.node)
                && let Some(bytes) = both.bytes(protocol)
            {
                if link.is_fresh(self.staleness, now)
                    || planted_bugs::is_on("entry-outlives-connection")
                {
                    link.served_at = now;
                    return Look::Hit(bytes, stamp.slot);
                }
                return Look::Wanted { stale: true };
            }
        }
        let often = is_counted && self.reads.note(hash, min);
        match known || often {
            true => Look::Wanted { stale: false },
            false => Look::Cold,
        }
    }

    /// Whether keys that begin like this one are cached.
    #[inline]
    pub fn is_for(&self, key: &[u8]) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }

    /// A request of this client, at this place, reaches the key past the cache.
    #[inline]
    pub fn access(&mut self, hash: u64, client: ClientId, seq: Seq, lasts: Lasts) {
        if !planted_bugs::is_on("own-write-not-dropped") {
            self.drop_key(hash);
            self.flights.spoil_key(hash, |_| true);
        }
        self.accesses.add(hash, client, seq, lasts);
    }

    /// The same, of all keys of some slots.
    pub fn access_wide(&mut self, wide: Wide) {
        let epochs = &mut self.slot_epochs;
        match &wide.slots {
            Slots::One(slot) => {
                if let Some(epoch) = epochs.get_mut(usize::from(*slot)) {
                    *epoch = epoch.wrapping_add(1);
                }
            }
            Slots::Some(_) => {
                for (epoch, slot) in epochs.iter_mut().zip(0..) {
                    *epoch = epoch.wrapping_add(u32::from(wide.slots.has(slot)));
                }
            }
            Slots::All => self.drop_all(),
        }
        self.flights.spoil(|flight| wide.slots.has(flight.slot));
        self.accesses.wide.push(wide);
    }

    /// The key of this hash has changed, or may have. Returns whether anything was kept of it.
    #[inline]
    pub fn drop_key(&mut self, hash: u64) -> bool {
        let dropped = self.store.drop_hash(hash);
        if let Some(hits) = dropped {
            self.reads.dropped(hash, hits);
        }
        dropped.is_some()
    }

    /// A fill for the key of this hash came to nothing, as the key has changed meanwhile; but so many shared its reply.
    pub fn note_spoiled(&mut self, hash: u64, shared: u8) {
        self.reads.dropped(hash, shared);
    }

    /// What an entry is marked with that comes from a node now.
    pub fn stamp(&self, node: NodeKey, slot: u16) -> Option<Stamp> {
        let link = self.link(node)?;
        let slot_epoch = *self.slot_epochs.get(usize::from(slot))?;
        Some(Stamp {
            node,
            epoch: link.epoch,
            slot,
            slot_epoch,
        })
    }

    /// Whether something marked so may be kept.
    pub fn holds(&self, stamp: Stamp) -> bool {
        self.stamp(stamp.node, stamp.slot) == Some(stamp)
    }

    /// An epoch that no entry has.
    pub fn new_epoch(&mut self) -> u32 {
        self.last_epoch = self.last_epoch.wrapping_add(1);
        self.last_epoch
    }

    /// These are the nodes that serve the slots. What was kept of a slot that has moved is not served any more, even if
    /// it comes back.
    pub fn note_owner(&mut self, slot: u16, owner: Option<NodeKey>) {
        let at = usize::from(slot);
        let (Some(known), Some(epoch)) = (self.owners.get_mut(at), self.slot_epochs.get_mut(at))
        else {
            return;
        };
        if *known != owner {
            *known = owner;
            *epoch = epoch.wrapping_add(1);
        }
    }

    /// A connection to a node is to be told what it reports. Returns the words behind `CLIENT TRACKING ON`.
    pub fn begin_tracking(&mut self, node: NodeKey, now: Time) -> Vec<Box<[u8]>> {
        let choice = self.tracking;
        let link = self.link_mut(node);
        link.broadcast = link.may_broadcast(choice, now).then(|| Broadcast::new(now));
        let broadcasts = link.broadcast.is_some();
        let mut links = self.links.iter();
        self.all_broadcast = links.all(|link| link.backend.is_none() || link.broadcast.is_some());
        let mut words: Vec<Box<[u8]>> = Vec::new();
        if broadcasts {
            words.push((*b"BCAST").into());
            let mut prefixes: Vec<&[u8]> = self.prefixes.iter().map(Vec::as_slice).collect();
            sort::all(&mut prefixes);
            for prefix in bcast::cover(prefixes.into_iter()) {
                words.extend([(*b"PREFIX").into(), prefix]);
            }
        }
        words
    }

    /// Whether the connection to a node is to end, because of what the node is to report.
    pub fn weigh(&mut self, node: NodeKey, now: Time) -> Option<Over> {
        let choice = self.tracking;
        self.link_mut(node).weigh(choice, now)
    }

    /// Whether a node reports all keys that change.
    pub fn is_broadcast(&self, node: NodeKey) -> bool {
        self.link(node).is_some_and(|link| link.broadcast.is_some())
    }

    /// Nothing that came from a node so far is served any more.
    pub fn drop_node(&mut self, node: NodeKey) {
        let epoch = self.new_epoch();
        let link = self.link_mut(node);
        link.epoch = epoch;
        link.probe_key.clear();
        self.flights.spoil(|flight| flight.stamp.node == node);
    }

    /// Nothing that came from anywhere so far is served any more.
    pub fn drop_all(&mut self) {
        for node in self.nodes() {
            self.drop_node(node);
        }
        self.store.clear();
    }

    /// Whether this may be asked on a tracking connection.
    pub fn may_ask(&self, frame: &[u8], now: Time) -> bool {
        let declined = || self.declined.get(&self.hash(frame));
        self.flights.has_room()
            && (self.declined.is_empty() || declined().is_none_or(|until| now >= *until))
    }

    /// A fill by this request was of no use: it is not tried again for so long. (Others for the same key may be.)
    pub fn decline(&mut self, frame: &[u8], wait: Duration, now: Time) {
        let hash = self.hash(frame);
        if self.declined.len() >= DECLINED_MAX {
            self.declined.retain(|_, until| now < *until);
        }
        if self.declined.len() < DECLINED_MAX {
            self.declined.insert(hash, now.after(wait));
        }
    }

    /// The flight that a read may join, if there is such a one and all that is beside it lasts.
    pub fn joinable(&self, hash: u64, key: &[u8], question: Question<'_>) -> Option<u32> {
        let mut all = self.flights.of(hash);
        let own = all.find(|(_, flight)| {
            flight.is_joinable() && *flight.key == *key && flight.question() == question
        });
        own.map(|(at, _)| at)
    }

    /// Whether a reply of so many bytes may be kept.
    pub fn fits(&self, len: usize) -> bool {
        len <= self.reply_max
    }

    /// For how long what is not heard from is believed.
    pub fn staleness(&self) -> Duration {
        self.staleness
    }

    /// Time passes.
    pub fn tick(&mut self, now: Time) {
        self.reads.tick(now);
    }

    /// The clock has missed so much time so far. If that is news, no node was heard from lately, and what they were asked
    /// before says nothing.
    pub fn stood_still(&mut self, still: Duration, now: Time) {
        let still = still.as_micros() as u64;
        if still != self.still {
            self.still = still;
            self.links.iter_mut().for_each(|link| link.doubt(now));
        }
    }

    /// The time in microseconds by which keys end: by a clock that misses nothing.
    #[inline]
    pub fn running(&self, now: Time) -> u64 {
        now.as_micros() + self.still
    }

    /// When something is to be done next, if anything is.
    pub fn deadline(&self) -> Option<Time> {
        let probes = self.links.iter();
        let probe = probes
            .filter_map(|link| link.probe_at(self.staleness))
            .min();
        probe.into_iter().chain(self.flights.look_at()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a node is asked for that reports the keys with these prefixes.
    fn asked(prefixes: impl Iterator<Item = String>) -> Vec<String> {
        let config = Config {
            near_cache_bytes: 1 << 20,
            near_cache_prefixes: prefixes.collect(),
            ..Config::default()
        };
        let mut near = NearCache::new(&config, 1, 1).expect("there is to be one");
        let words = near.begin_tracking(NodeKey(0), Time::from_micros(1));
        let words = words.into_iter();
        words
            .map(|word| String::from_utf8_lossy(&word).into_owned())
            .collect()
    }

    #[test]
    fn no_prefix_begins_with_another() {
        let all = ["b:", "a", "b", "ab", "a", "c:1", "c:"].map(str::to_string);
        let expected = ["BCAST", "PREFIX", "a", "PREFIX", "b", "PREFIX", "c:"];
        assert_eq!(asked(all.into_iter()), expected);
        assert_eq!(asked(std::iter::empty()), ["BCAST"]);
    }

    #[test]
    fn of_very_many_prefixes_all_keys_are_reported() {
        let all = (0..100_000).map(|number| format!("{number}:"));
        assert_eq!(asked(all), ["BCAST", "PREFIX", ""]);
    }
}
