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

/// What a piece of memory costs beside its bytes: its length, and what it is rounded up to.
const PIECE_COST: usize = 16;
/// What an entry costs beside its bytes: its place, its share of the index, the piece that it has.
const ENTRY_COST: usize = size_of::<Entry>() + 2 * size_of::<u32>() + PIECE_COST;
/// What each reply of a key costs beside its bytes but for the first: its place, and its piece.
const REPLY_COST: usize = size_of::<Kept>() + PIECE_COST;
/// Bytes of the store for each list of the index: as many lists as there is room for small entries.
const LIST_BYTES: usize = 128;
/// Lists of the index at least, and at most.
const LISTS_MIN: usize = 64;
const LISTS_MAX: usize = 1 << 24;
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

    /// The bytes in RESP2, if they are others.
    fn other(&self) -> &[u8] {
        match &self.resp2 {
            Resp2::Other(bytes) => bytes,
            Resp2::Same | Resp2::Unknown => &[],
        }
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

/// Which bytes of a reply a client of RESP2 gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    Same,
    Other,
    Unknown,
}

/// The reply to one request, in one piece of memory.
///
/// Invariant: `text` is the key, if it is the first reply of it; the tail of the request; the reply in RESP3; and
/// that in RESP2, if it has other bytes.
#[derive(Debug)]
pub struct Kept {
    text: Box<[u8]>,
    /// When the key ends, in microseconds of a clock that misses nothing.
    ends_at: u64,
    key_len: u16,
    tail_len: u16,
    command: u16,
    second: Second,
    resp3_len: u32,
}

impl Kept {
    /// Nothing if it is too long for its place.
    fn new(key: &[u8], question: Question<'_>, (both, ends_at): (&Both, u64)) -> Option<Kept> {
        Some(Kept {
            key_len: key.len().try_into().ok()?,
            tail_len: question.tail.len().try_into().ok()?,
            resp3_len: both.resp3.len().try_into().ok()?,
            text: [key, question.tail, &both.resp3, both.other()]
                .concat()
                .into(),
            ends_at,
            command: question.command,
            second: match both.resp2 {
                Resp2::Same => Second::Same,
                Resp2::Other(_) => Second::Other,
                Resp2::Unknown => Second::Unknown,
            },
        })
    }

    /// Whether it is to this request. A tail of two bytes is the line end that nearly all have.
    #[inline]
    fn answers(&self, question: Question<'_>) -> bool {
        let len = usize::from(self.tail_len);
        self.command == question.command
            && len == question.tail.len()
            && (len <= 2
                || self
                    .text
                    .get(usize::from(self.key_len)..)
                    .is_some_and(|rest| rest.starts_with(question.tail)))
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.text
            .get(..usize::from(self.key_len))
            .unwrap_or_default()
    }

    /// The bytes that a client of this protocol gets.
    #[inline]
    pub fn bytes(&self, protocol: Protocol) -> Option<&[u8]> {
        let start = usize::from(self.key_len) + usize::from(self.tail_len);
        let end = start + self.resp3_len as usize;
        match (protocol, self.second) {
            (Protocol::Resp3, _) | (Protocol::Resp2, Second::Same) => self.text.get(start..end),
            (Protocol::Resp2, Second::Other) => self.text.get(end..),
            (Protocol::Resp2, Second::Unknown) => None,
        }
    }

    /// The same with another key before it.
    fn with_key(mut self, key: &[u8]) -> Kept {
        let rest = self
            .text
            .get(usize::from(self.key_len)..)
            .unwrap_or_default();
        self.text = [key, rest].concat().into();
        self.key_len = key.len() as u16;
        self
    }
}

/// The place of an entry, counted from 1; or none, which is 0, so that many lists of none are had from the system as they are.
type Link = u32;

/// The place that a link names; none of an entry if it names none.
#[inline]
fn place_of(link: Link) -> usize {
    (link as usize).wrapping_sub(1)
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    /// The reply that nearly all keys have, with the key.
    first: Kept,
    /// Those to other requests.
    others: Option<Box<Others>>,
    stamp: Stamp,
    /// The next in its list of the index.
    next: Link,
    /// Hits that keep it from eviction.
    hits: u8,
    /// All hits, and those who shared the fill, as far as a byte counts them.
    served: u8,
}

/// Replies of a key behind its first, the oldest first.
#[derive(Debug, Default)]
struct Others(Vec<Kept>);

impl Entry {
    fn others(&self) -> &[Kept] {
        self.others.as_ref().map_or(&[], |others| &others.0)
    }

    /// What it costs.
    fn bytes(&self) -> usize {
        let others = self.others().iter();
        let others: usize = others.map(|kept| REPLY_COST + kept.text.len()).sum();
        ENTRY_COST + self.first.text.len() + others
    }

    /// A reply, in the place of that to the same request, or of the oldest behind the first if there are too many.
    fn add(&mut self, kept: Kept, question: Question<'_>) {
        if self.first.answers(question) {
            self.first = kept.with_key(self.first.key());
            return;
        }
        let others = &mut self.others.get_or_insert_default().0;
        let same = others.iter().position(|kept| kept.answers(question));
        let full = (others.len() + 1 >= REPLIES_MAX).then_some(0);
        if let Some(at) = same.or(full) {
            others.remove(at);
        }
        others.push(kept);
    }
}

/// What is found of a request.
pub enum Found<'a> {
    /// Its reply, and what says whether that may be served.
    Reply(&'a Kept, Stamp),
    /// Replies to other requests for the key.
    Others,
    /// Nothing of the key.
    Nothing,
}

/// What is kept of a key beside a reply to a request for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// The same reply to the same request.
    Same,
    /// Another reply to it, or replies to others only.
    Other,
}

/// The map from hashes that are hashes already.
pub type ByHash<T> = HashMap<u64, T, BuildHasherDefault<Hashed>>;

/// A hash is its own hash.
#[derive(Debug, Default)]
pub struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The replies that are kept.
///
/// Invariants: each entry is in the list of its hash once, and no other there has the same hash; `bytes` is the cost of
/// all entries and at most `bytes_max`; no entry is at `reach` or behind.
#[derive(Debug)]
pub struct Store {
    /// Lists of entries, by hash: the first of each. They are never made anew while they grow.
    lists: Box<[Link]>,
    entries: Slab<Entry>,
    bytes: usize,
    bytes_max: usize,
    /// Where eviction goes on.
    hand: usize,
    /// Places that have ever been taken.
    reach: usize,
    /// What was dropped together and is not freed yet.
    dropped: Vec<slab::IntoIter<Entry>>,
}

impl Store {
    /// An empty store of so many bytes at most.
    pub fn new(bytes_max: usize) -> Store {
        let lists = (bytes_max / LIST_BYTES).next_power_of_two();
        Store {
            lists: vec![0; lists.clamp(LISTS_MIN, LISTS_MAX)].into(),
            entries: Slab::new(),
            bytes: 0,
            bytes_max,
            hand: 0,
            reach: 0,
            dropped: Vec::new(),
        }
    }

    #[inline]
    fn list(&self, hash: u64) -> usize {
        hash as usize & (self.lists.len() - 1)
    }

    /// The place of the entry of this hash.
    #[inline]
    fn place(&self, hash: u64) -> Option<usize> {
        let mut link = self.lists[self.list(hash)];
        loop {
            let at = place_of(link);
            let entry = self.entries.get(at)?;
            if entry.hash == hash {
                return Some(at);
            }
            link = entry.next;
        }
    }

    /// Looks for the reply to a request at the time `now`.
    #[inline]
    pub fn find(&mut self, hash: u64, key: &[u8], question: Question<'_>, now: u64) -> Found<'_> {
        let entry = self.place(hash).and_then(|at| self.entries.get_mut(at));
        let Some(entry) = entry.filter(|entry| *entry.first.key() == *key) else {
            return Found::Nothing;
        };
        let kept = match (entry.first.answers(question), &entry.others) {
            (true, _) => Some(&entry.first),
            (false, Some(others)) => others.0.iter().find(|kept| kept.answers(question)),
            (false, None) => None,
        };
        match kept {
            Some(kept) if now < kept.ends_at => {
                entry.hits = (entry.hits + 1).min(HITS_MAX);
                entry.served = entry.served.saturating_add(1);
                Found::Reply(kept, entry.stamp)
            }
            Some(_) | None => Found::Others,
        }
    }

    /// What is kept, with this mark, of a key to whose request this is the reply in RESP3.
    pub fn beside(
        &self,
        hash: u64,
        key: &[u8],
        stamp: Stamp,
        (question, resp3): (Question<'_>, &[u8]),
    ) -> Beside {
        let entry = self.place(hash).and_then(|at| self.entries.get(at));
        let own = |entry: &&Entry| *entry.first.key() == *key && entry.stamp == stamp;
        let Some(entry) = entry.filter(own) else {
            return Beside::Nothing;
        };
        let mut all = [&entry.first].into_iter().chain(entry.others());
        match all.find(|kept| kept.answers(question)) {
            Some(kept) if kept.bytes(Protocol::Resp3) == Some(resp3) => Beside::Same,
            _ => Beside::Other,
        }
    }

    /// Keeps the reply to a request until `ends_at`; so many have shared it already, as hits would. Returns how many entries
    /// were evicted for it.
    pub fn keep(
        &mut self,
        hash: u64,
        key: &[u8],
        stamp: Stamp,
        question: Question<'_>,
        reply: (&Both, u64),
        shared: u8,
    ) -> u64 {
        let known = self.place(hash).filter(|at| {
            let entry = self.entries.get(*at);
            entry.is_some_and(|entry| *entry.first.key() == *key && entry.stamp == stamp)
        });
        let own_key = if known.is_some() { &[] } else { key };
        let Some(kept) = Kept::new(own_key, question, reply) else {
            return 0;
        };
        if ENTRY_COST + key.len() + kept.text.len() > self.bytes_max {
            return 0;
        }
        let at = match known {
            Some(at) => {
                let entry = &mut self.entries[at];
                let before = entry.bytes();
                entry.add(kept, question);
                self.bytes = self.bytes + entry.bytes() - before;
                at
            }
            None => {
                self.drop_hash(hash);
                self.insert(hash, stamp, kept, shared)
            }
        };
        self.evict(at)
    }

    fn insert(&mut self, hash: u64, stamp: Stamp, first: Kept, served: u8) -> usize {
        let list = self.list(hash);
        let entry = Entry {
            hash,
            first,
            others: None,
            stamp,
            next: self.lists[list],
            hits: 1,
            served,
        };
        self.bytes += entry.bytes();
        let at = self.entries.insert(entry);
        self.lists[list] = at as Link + 1;
        self.reach = self.reach.max(at + 1);
        at
    }

    /// Makes room, but for the entry `spared`.
    fn evict(&mut self, spared: usize) -> u64 {
        let (mut evicted, mut passed) = (0, 0);
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            self.hand = (self.hand + 1) % self.reach.max(1);
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
        let list = self.list(hash);
        let (mut before, mut link) = (0, self.lists[list]);
        loop {
            let entry = self.entries.get(place_of(link))?;
            if entry.hash == hash {
                break;
            }
            (before, link) = (link, entry.next);
        }
        let entry = self.entries.try_remove(place_of(link))?;
        match self.entries.get_mut(place_of(before)) {
            Some(before) => before.next = entry.next,
            None => self.lists[list] = entry.next,
        }
        self.bytes -= entry.bytes();
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

    /// Whether what is kept now will soon push out something else.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max / 16 * 15
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
    pub fn list_all(&self) -> impl Iterator<Item = (&[u8], u8, usize, usize)> {
        self.entries.iter().map(|(_, entry)| {
            let replies = 1 + entry.others().len();
            (entry.first.key(), entry.hits, replies, entry.bytes())
        })
    }

    /// Asserts the invariants above. Linear in the entries.
    pub fn check(&self) {
        let sum: usize = self.entries.iter().map(|(_, entry)| entry.bytes()).sum();
        assert_eq!(sum, self.bytes);
        assert!(self.bytes <= self.bytes_max);
        let mut listed = 0;
        for (at, entry) in &self.entries {
            assert!(at < self.reach);
            assert_eq!(self.place(entry.hash), Some(at));
        }
        for first in &self.lists {
            let mut link = *first;
            while let Some(entry) = self.entries.get(place_of(link)) {
                listed += 1;
                link = entry.next;
            }
            assert_eq!(link, 0);
        }
        assert_eq!(listed, self.entries.len());
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
        let evicted = store.keep(hash, key.as_bytes(), STAMP, question, (&both(len), 100), 0);
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
    fn a_reply_takes_the_place_of_an_older_one_to_the_same_request() {
        let mut store = Store::new(10_000);
        let range = Question {
            command: 2,
            tail: b"\r\n$1\r\n0\r\n$2\r\n-1\r\n",
        };
        let reply = |text: &str, resp2| Both {
            resp3: text.as_bytes().into(),
            resp2,
        };
        for round in 0..3 {
            let second = format!("*{round}");
            let other = Resp2::Other(second.as_bytes().into());
            let [first, last] = [format!("_{round}"), format!("%{round}")];
            let both = [
                (GET, reply(&first, Resp2::Unknown), None),
                (range, reply(&last, other), Some(second.as_bytes())),
            ];
            for (question, both, in_resp2) in &both {
                store.keep(7, b"key", STAMP, *question, (both, 100), 0);
                store.check();
                let Found::Reply(kept, _) = store.find(7, b"key", *question, 1) else {
                    panic!("it is not there");
                };
                assert_eq!(kept.bytes(Protocol::Resp3), Some(&*both.resp3));
                assert_eq!(kept.bytes(Protocol::Resp2), *in_resp2);
            }
        }
        let cost = ENTRY_COST + REPLY_COST + 3 + 2 + range.tail.len() + 2 + 4;
        assert_eq!((store.keys(), store.bytes()), (1, cost));
        // What the reference says of it (dist/docs/near-cache.md).
        assert_eq!(ENTRY_COST, 104);
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
        store.keep(7, b"7", later, strlen, (&both(1), 100), 0);
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
