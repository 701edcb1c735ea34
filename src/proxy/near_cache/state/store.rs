//! `Store`: the replies that are kept, by key, within a bound of bytes.
//!
//! An entry is a key with all replies to requests for that key, so that an invalidated key drops them all at once.
//!
//! # Why no crate
//!
//! `quick_cache` and `moka` are made to be shared: shards, locks, reference counts (`quick_cache::unsync` is not, but
//! it hashes by itself and gives its values one key each). Here one thread owns the store; the hash is needed for
//! other tables before and after the look-up; one key has several values, whose bytes change while they are kept; and
//! whether a value may be served depends on the connection that it came by, which a crate cannot ask. What remains
//! for a crate is the choice of the victim. That is CLOCK with counters, as in the main queue of S3-FIFO: a hit counts
//! an entry up (to 3), the hand counts it down as it passes, and takes what is at 0. So what was hit often stays longer
//! than what was hit once, and what was not hit for a whole round goes. A hit writes one byte and allocates nothing.
//!
//! It must never know a client or a connection, nor what time it is.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use slab::Slab;

use crate::proxy::ids::NodeKey;
use crate::resp::encode::Protocol;

/// What an entry costs beside its bytes: its place, its index, its allocations.
const ENTRY_COST: usize = 192;
/// The same of one reply.
const REPLY_COST: usize = 96;
/// Replies of one key at most.
const REPLIES_MAX: usize = 32;
/// An entry with this count was hit often enough.
const HITS_MAX: u8 = 3;
/// What was dropped together is freed so many entries a turn: with a million of them all at once takes a second.
const FREED_A_TURN: usize = 1024;
/// So many entries are passed over at most before one is evicted.
const PASSES_MAX: usize = 64;

/// What says whether an entry may still be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The node that it came from.
    pub node: NodeKey,
    /// The epoch of the connection to that node.
    pub epoch: u32,
    /// Its slot, so that whoever is served need not know it.
    pub slot: u16,
    /// The epoch of that slot.
    pub slot_epoch: u32,
}

/// A reply in the bytes of both protocols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Both {
    /// In RESP3, as the node sent it.
    pub resp3: Box<[u8]>,
    /// In RESP2, if that is not the same.
    pub resp2: Resp2,
}

/// A reply in RESP2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resp2 {
    /// It has the same bytes.
    Same,
    /// It has others.
    Other(Box<[u8]>),
    /// It cannot be made of the reply in RESP3.
    Unknown,
}

impl Both {
    /// The bytes that a client of this protocol gets.
    #[inline]
    pub fn bytes(&self, protocol: Protocol) -> Option<&[u8]> {
        match (protocol, &self.resp2) {
            (Protocol::Resp3, _) | (Protocol::Resp2, Resp2::Same) => Some(&self.resp3),
            (Protocol::Resp2, Resp2::Other(bytes)) => Some(bytes),
            (Protocol::Resp2, Resp2::Unknown) => None,
        }
    }

    fn len(&self) -> usize {
        let other = match &self.resp2 {
            Resp2::Other(bytes) => bytes.len(),
            Resp2::Same | Resp2::Unknown => 0,
        };
        self.resp3.len() + other
    }
}

/// A request, as far as its key does not say what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The command's row.
    pub command: u16,
    /// The bytes of the frame behind the key.
    pub tail: &'a [u8],
}

/// The reply to one request.
#[derive(Debug)]
struct Kept {
    command: u16,
    tail: Box<[u8]>,
    both: Both,
    /// When the key ends, in microseconds of a clock that misses nothing.
    ends_at: u64,
}

impl Kept {
    /// Whether the request has these bytes behind its key. Two are the line end that nearly all have, and no more.
    #[inline]
    fn has_tail(&self, tail: &[u8]) -> bool {
        self.tail.len() == tail.len() && (tail.len() <= 2 || *self.tail == *tail)
    }
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    key: Box<[u8]>,
    stamp: Stamp,
    /// Hits that keep it from eviction.
    hits: u8,
    /// All hits, as far as a byte counts them.
    served: u8,
    replies: Vec<Kept>,
    bytes: usize,
}

/// Hands the hash on, which is one already.
#[derive(Debug, Default)]
pub struct Known(u64);

impl Hasher for Known {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A table by hashes.
pub type ByHash<V> = HashMap<u64, V, BuildHasherDefault<Known>>;

/// The replies that are kept.
///
/// Invariants: `bytes` is the sum of the entries'; it is at most `bytes_max`; `index` has every entry once, by its hash.
#[derive(Debug)]
pub struct Store {
    /// Keys with the same hash have one place: the later one takes it.
    index: ByHash<u32>,
    entries: Slab<Entry>,
    bytes: usize,
    bytes_max: usize,
    hand: usize,
    /// What was dropped together, and is still to be freed. It counts no more.
    dropped: Vec<slab::IntoIter<Entry>>,
}

/// What was found of a request.
#[derive(Debug)]
pub enum Found<'a> {
    /// Its reply, and what says whether it may be served.
    Reply(&'a Both, Stamp),
    /// Replies to other requests for the key.
    Others,
    /// Nothing of the key.
    Nothing,
}

impl Store {
    /// An empty store of so many bytes at most.
    pub fn new(bytes_max: usize) -> Store {
        Store {
            index: ByHash::default(),
            entries: Slab::new(),
            bytes: 0,
            bytes_max,
            hand: 0,
            dropped: Vec::new(),
        }
    }

    /// Looks for the reply to a request at the time `now`.
    #[inline]
    pub fn find(&mut self, hash: u64, key: &[u8], question: Question<'_>, now: u64) -> Found<'_> {
        let entry = match self.index.get(&hash) {
            Some(at) => self.entries.get_mut(*at as usize),
            None => None,
        };
        let Some(entry) = entry.filter(|entry| *entry.key == *key) else {
            return Found::Nothing;
        };
        let mut replies = entry.replies.iter();
        let own = |kept: &&Kept| kept.command == question.command && kept.has_tail(question.tail);
        match replies.find(own) {
            Some(kept) if now < kept.ends_at => {
                entry.hits = (entry.hits + 1).min(HITS_MAX);
                entry.served = entry.served.saturating_add(1);
                Found::Reply(&kept.both, entry.stamp)
            }
            Some(_) | None => Found::Others,
        }
    }

    /// Keeps the reply to a request until `ends_at`. Returns how many entries were evicted for it.
    pub fn keep(
        &mut self,
        hash: u64,
        key: &[u8],
        stamp: Stamp,
        question: Question<'_>,
        (both, ends_at): (Both, u64),
    ) -> u64 {
        let cost = REPLY_COST + question.tail.len() + both.len();
        if ENTRY_COST + key.len() + cost > self.bytes_max {
            return 0;
        }
        let known = self.index.get(&hash).map(|at| *at as usize);
        let same = known.filter(|at| {
            let entry = self.entries.get(*at);
            entry.is_some_and(|entry| *entry.key == *key && entry.stamp == stamp)
        });
        if same.is_none() {
            self.drop_hash(hash);
        }
        let at = same.unwrap_or_else(|| {
            let bytes = ENTRY_COST + key.len();
            self.bytes += bytes;
            self.entries.insert(Entry {
                hash,
                key: key.into(),
                stamp,
                hits: 1,
                served: 0,
                replies: Vec::new(),
                bytes,
            })
        });
        self.index.insert(hash, at as u32);
        let entry = &mut self.entries[at];
        let own = |kept: &Kept| kept.command == question.command && kept.has_tail(question.tail);
        let replaced = entry.replies.iter().position(own);
        let full = (entry.replies.len() >= REPLIES_MAX).then_some(0);
        if let Some(at) = replaced.or(full) {
            let old = entry.replies.remove(at);
            let cost = REPLY_COST + old.tail.len() + old.both.len();
            entry.bytes -= cost;
            self.bytes -= cost;
        }
        entry.replies.push(Kept {
            command: question.command,
            tail: question.tail.into(),
            both,
            ends_at,
        });
        entry.bytes += cost;
        self.bytes += cost;
        self.evict(at)
    }

    /// Makes room, but for the entry `spared`.
    fn evict(&mut self, spared: usize) -> u64 {
        let (mut evicted, mut passed) = (0, 0);
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            self.hand = (self.hand + 1) % self.entries.capacity().max(1);
            let Some(entry) = self.entries.get_mut(self.hand) else {
                continue;
            };
            if self.hand == spared {
                continue;
            }
            if entry.hits > 0 && passed < PASSES_MAX {
                entry.hits -= 1;
                passed += 1;
                continue;
            }
            let hash = entry.hash;
            self.drop_hash(hash);
            evicted += 1;
        }
        if self.bytes > self.bytes_max {
            // One key alone has too much.
            let hash = self.entries[spared].hash;
            self.drop_hash(hash);
            evicted += 1;
        }
        evicted
    }

    /// Drops all replies of a key, or of another that has the same hash. Returns how often they were served, if there
    /// were any.
    #[inline]
    pub fn drop_hash(&mut self, hash: u64) -> Option<u8> {
        let at = self.index.remove(&hash)?;
        let entry = self.entries.try_remove(at as usize)?;
        self.bytes -= entry.bytes;
        Some(entry.served)
    }

    /// Drops everything. It is freed by [`Store::free_some`].
    pub fn clear(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let old = std::mem::replace(self, Store::new(self.bytes_max));
        self.dropped = old.dropped;
        self.dropped.push(old.entries.into_iter());
    }

    /// Whether something that was dropped is still to be freed.
    #[inline]
    pub fn has_dropped(&self) -> bool {
        !self.dropped.is_empty()
    }

    /// Frees a turn's share of what was dropped.
    #[cold]
    pub fn free_some(&mut self) {
        if let Some(oldest) = self.dropped.first_mut()
            && oldest.by_ref().take(FREED_A_TURN).count() < FREED_A_TURN
        {
            self.dropped.remove(0);
        }
    }

    /// Keys that are kept.
    pub fn keys(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The keys that are kept, with the hits that still count, the number of their replies and their bytes.
    pub fn list(&self) -> impl Iterator<Item = (&[u8], u8, usize, usize)> {
        let all = self.entries.iter();
        all.map(|(_, entry)| (&*entry.key, entry.hits, entry.replies.len(), entry.bytes))
    }

    /// Asserts the invariants above. Linear in the entries.
    pub fn check(&self) {
        let sum: usize = self.entries.iter().map(|(_, entry)| entry.bytes).sum();
        assert_eq!(sum, self.bytes);
        assert!(self.bytes <= self.bytes_max);
        assert_eq!(self.index.len(), self.entries.len());
        for (hash, at) in &self.index {
            assert_eq!(self.entries[*at as usize].hash, *hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    const STAMP: Stamp = Stamp {
        node: NodeKey(1),
        epoch: 1,
        slot: 0,
        slot_epoch: 0,
    };
    const GET: Question<'static> = Question {
        command: 1,
        tail: b"\r\n",
    };

    fn both(len: usize) -> Both {
        Both {
            resp3: vec![b'v'; len].into(),
            resp2: Resp2::Same,
        }
    }

    fn is_kept(store: &mut Store, hash: u64, question: Question<'_>, now: u64) -> bool {
        let key = hash.to_string();
        matches!(
            store.find(hash, key.as_bytes(), question, now),
            Found::Reply(..)
        )
    }

    fn keep(store: &mut Store, hash: u64, question: Question<'_>, len: usize) -> u64 {
        let key = hash.to_string();
        let evicted = store.keep(hash, key.as_bytes(), STAMP, question, (both(len), 100));
        store.check();
        evicted
    }

    #[test]
    fn all_replies_of_a_key_are_dropped_together_and_end_with_it() {
        let mut store = Store::new(10_000);
        let strlen = Question {
            command: 2,
            tail: b"\r\n",
        };
        keep(&mut store, 7, GET, 10);
        keep(&mut store, 7, strlen, 10);
        keep(&mut store, 8, GET, 10);
        assert!(is_kept(&mut store, 7, GET, 99) && is_kept(&mut store, 7, strlen, 99));
        assert!(!is_kept(&mut store, 7, GET, 100));
        assert_eq!((store.drop_hash(7), store.drop_hash(7)), (Some(2), None));
        assert!(!is_kept(&mut store, 7, GET, 1) && !is_kept(&mut store, 7, strlen, 1));
        assert!(is_kept(&mut store, 8, GET, 1));
        // Another key of the same hash is not taken for this one.
        assert!(matches!(store.find(8, b"x", GET, 1), Found::Nothing));
        store.check();
    }

    #[test]
    fn what_came_by_another_connection_is_not_mixed_with_it() {
        let mut store = Store::new(10_000);
        keep(&mut store, 7, GET, 10);
        let later = Stamp { epoch: 2, ..STAMP };
        let strlen = Question {
            command: 2,
            tail: b"\r\n",
        };
        store.keep(7, b"7", later, strlen, (both(1), 100));
        assert!(matches!(store.find(7, b"7", GET, 1), Found::Others));
        assert!(matches!(store.find(7, b"7", strlen, 1), Found::Reply(_, stamp) if stamp == later));
        store.check();
    }

    #[test]
    fn bytes_are_bounded_and_what_is_hit_stays() {
        let mut store = Store::new(100_000);
        let mut random = Random::new(3);
        keep(&mut store, 1, GET, 100);
        let mut evicted = 0;
        for hash in 2..5000 {
            evicted += keep(&mut store, hash, GET, 1 + random.below(300));
            if hash % 16 == 0 {
                assert!(is_kept(&mut store, 1, GET, 1), "{hash}");
            }
        }
        assert!(store.bytes() > 90_000 && store.keys() > 100);
        assert_eq!(evicted as usize, 4999 - store.keys());
        // What is larger than everything is not kept, and evicts nothing.
        assert_eq!(keep(&mut store, 9000, GET, 200_000), 0);
        assert!(!is_kept(&mut store, 9000, GET, 1));
    }

    #[test]
    fn what_is_dropped_together_is_gone_at_once_and_freed_turn_by_turn() {
        let mut store = Store::new(1_000_000);
        for round in 0..2u64 {
            for hash in 0..2 * FREED_A_TURN as u64 {
                keep(&mut store, round * 10_000 + hash, GET, 1);
            }
            store.clear();
            store.check();
            assert_eq!((store.keys(), store.bytes()), (0, 0));
            assert!(!is_kept(&mut store, round * 10_000, GET, 1));
        }
        let mut turns = 0;
        while store.has_dropped() {
            store.free_some();
            turns += 1;
        }
        assert_eq!(turns, 6);
        // Nothing to drop is nothing to free.
        store.clear();
        assert!(!store.has_dropped());
    }

    #[test]
    fn a_key_has_so_many_replies_at_most() {
        let mut store = Store::new(1_000_000);
        for field in 0..1000u32 {
            let tail = field.to_string();
            let question = Question {
                command: 3,
                tail: tail.as_bytes(),
            };
            keep(&mut store, 7, question, 10);
            assert!(is_kept(&mut store, 7, question, 1));
        }
        assert!(store.bytes() < ENTRY_COST + REPLIES_MAX * (REPLY_COST + 40));
    }
}
