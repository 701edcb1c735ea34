//! Tests of `cluster::scan`.

use super::*;
use crate::testing::Random;
use std::collections::{BTreeMap, BTreeSet};

const NOBODY: u16 = u16::MAX;

/// So many masters with even shares.
fn list(masters: usize) -> ShardList {
    let mut slots = Box::new([0; SLOTS]);
    for (slot, shard) in slots.iter_mut().enumerate() {
        *shard = (slot * masters / SLOTS) as u16;
    }
    let ids: Vec<String> = (0..masters).map(|n| format!("id{n}")).collect();
    ShardList::new(&slots, &ids)
}

#[test]
fn what_fits_comes_back_and_what_does_not_is_an_error() {
    for masters in [1, 2, 3, 16, 100, 512, 1000] {
        let list = list(masters);
        for bits in 0..64 {
            for node_cursor in [1 << bits, (1 << bits) - 1, (1u64 << bits) | 1] {
                for place in [0, masters as u16 / 2, masters as u16 - 1] {
                    let position = Position {
                        round: Round::Second,
                        place,
                        node_cursor,
                    };
                    match position.encode(&list) {
                        Ok(cursor) => {
                            assert_ne!(cursor, 0);
                            assert_eq!(Position::decode(cursor, &list), position);
                            let places = masters as u128 + 1;
                            let packed = (u128::from(node_cursor) * 3 + 2) * places;
                            let exact = (packed + u128::from(place)) < 1 << 35;
                            assert_eq!(cursor < 1 << 53, exact, "{masters} {bits}");
                        }
                        Err(Unfit) => assert!(bits > 46 - 1, "{masters} {bits}"),
                    }
                }
            }
        }
    }
    let largest = Position {
        round: Round::Second,
        place: 999,
        node_cursor: (1 << 46) - 1,
    };
    assert!(largest.encode(&list(1000)).is_ok());
    let position = Position {
        round: Round::Only,
        place: 0,
        node_cursor: u64::MAX,
    };
    assert_eq!(position.encode(&list(1)), Err(Unfit));
}

/// The places of a scan whose masters say this, each answering in two calls.
fn places(list: &ShardList, word: impl Fn(Position) -> Word) -> Vec<u16> {
    let (mut at, mut places) = (Position::FIRST, Vec::new());
    loop {
        assert_eq!(Position::decode(at.encode(list).unwrap(), list), at);
        let node_cursor = if at.node_cursor == 0 { 7 } else { 0 };
        let previous = at.asks_previous().map(|place| Position { place, ..at });
        let own = (at.is_last(list) && node_cursor == 0).then_some(at);
        let words: Vec<Word> = previous.into_iter().chain(own).map(&word).collect();
        if node_cursor == 0 {
            places.push(at.place);
        }
        match at.next(node_cursor, &words, list) {
            Some(next) => at = next,
            None => return places,
        }
        assert!(places.len() < 20);
    }
}

#[test]
fn every_master_has_its_turn() {
    let list = list(3);
    assert_eq!(Position::decode(0, &list), Position::FIRST);
    assert_eq!((list.shard(2), list.shard(3)), (Some(2), None));
    assert_eq!((list.place(2), list.place(3)), (Some(2), None));
    assert_eq!(places(&list, |_| Word::Settled), [0, 1, 2]);
    for mover in [1, 2] {
        let word = |at: Position| match at.place == mover {
            true => Word::Moving,
            false => Word::Settled,
        };
        assert_eq!(places(&list, word), [0, 1, 2, 0, 1, 2], "{mover}");
    }
    let asked = std::cell::Cell::new(0);
    let once = |_: Position| {
        asked.set(asked.get() + 1);
        match asked.get() {
            2 => Word::Changed,
            _ => Word::Settled,
        }
    };
    assert_eq!(places(&list, once), [0, 1, 0, 1, 2]);
}

#[test]
fn no_list_and_any_number_are_harmless() {
    let (none, some) = (ShardList::new(&[NOBODY; SLOTS], &[] as &[&str]), list(7));
    let mut random = Random::new(1);
    for _ in 0..100_000 {
        let number = random.next();
        assert_eq!(Position::decode(number, &none), Position::FIRST);
        assert!(Position::decode(number >> (number >> 58), &some).place <= 7);
    }
    assert_eq!(none.shard(0), None);
}

#[test]
fn the_tag_tells_assignments_apart_and_not_numberings() {
    let mut slots = Box::new([0; SLOTS]);
    slots[8192..].fill(1);
    let mut swapped = slots.clone();
    swapped.iter_mut().for_each(|shard| *shard = 1 - *shard);
    let one = ShardList::new(&slots, &["a", "b"]);
    let other = ShardList::new(&swapped, &["b", "a"]);
    assert!(one.same_as(&other));
    assert_eq!((one.shard(0), other.shard(0)), (Some(0), Some(1)));
    let differ = |other: ShardList| assert!(!one.same_as(&other));
    differ(ShardList::new(&swapped, &["a", "b"]));
    differ(ShardList::new(&slots, &["a", "c"]));
    differ(ShardList::new(&slots, &["a", "b", "c"]));
    slots[16383] = 0;
    differ(ShardList::new(&slots, &["a", "b"]));
    slots[16383] = NOBODY;
    differ(ShardList::new(&slots, &["a", "b"]));
    let joining = ShardList::new(&slots, &["0", "b", "a"]);
    assert_eq!(joining.shard(2), Some(2), "without slots it is the last");
}

#[test]
fn cursors_are_read_as_the_server_reads_them() {
    for (text, expected) in [
        ("0", Some(0)),
        ("", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("-1", Some(u64::MAX)),
        ("+7", Some(7)),
        ("+", None),
        ("-", None),
        (" 1", Some(1)),
        ("1 ", None),
        ("1\0x", Some(1)),
        ("x", None),
        ("++1", None),
    ] {
        assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
    }
}

/// A cluster in memory: who has which slot, where its keys are, and each server's own order of keys.
struct Cluster {
    owner: Vec<u64>,
    /// The server that each key is at: of a slot that migrates, the owner or the target.
    at: Vec<u64>,
    /// Slots that migrate, and where to.
    open: BTreeMap<usize, u64>,
    servers: u64,
    shift: u32,
}

/// Slots of the small cluster, which stand for ranges of the real ones.
const RANGES: usize = 32;
/// Keys, so many to a slot.
const KEYS: usize = RANGES * KEYS_OF_ONE;
const KEYS_OF_ONE: usize = 4;

impl Cluster {
    /// The list, with the masters that have no slots, and the servers by their numbers in it.
    fn list(&self) -> (ShardList, Vec<u64>) {
        let masters: BTreeSet<u64> = self
            .owner
            .iter()
            .chain(self.open.values())
            .copied()
            .collect();
        let masters: Vec<u64> = masters.into_iter().collect();
        let ids: Vec<String> = masters.iter().map(|id| format!("{id:040x}")).collect();
        let mut slots = Box::new([NOBODY; SLOTS]);
        for (slot, shard) in slots.iter_mut().enumerate() {
            let owner = self.owner[slot * RANGES / SLOTS];
            *shard = masters.iter().position(|id| *id == owner).unwrap() as u16;
        }
        (ShardList::new(&slots, &ids), masters)
    }

    /// What one call of SCAN on a server gives: a bucket or two, in an order of the server's own.
    fn scan(&self, server: u64, cursor: u64) -> (u64, Vec<usize>) {
        let mut order: BTreeMap<u64, usize> = BTreeMap::new();
        for key in (0..KEYS).filter(|key| self.at[*key] == server) {
            let mut random = Random::new(server.wrapping_mul(977).wrapping_add(key as u64));
            random.next();
            order.insert((random.below(1 << 8) << 8 | key) as u64, key);
        }
        let from = cursor >> self.shift;
        let found: Vec<(u64, usize)> = order
            .range(from..)
            .take(3)
            .map(|(at, key)| (*at, *key))
            .collect();
        let next = found.last().map_or(0, |(at, _)| at + 1);
        let more = order.range(next.max(from)..).next().is_some() && next != 0;
        let next = if more { next << self.shift } else { 0 };
        (next, found.into_iter().map(|(_, key)| key).collect())
    }

    /// What the master at a place of this list says of itself.
    fn word(&self, place: u16, list: &ShardList, masters: &[u64], slots: &[u64]) -> Word {
        let own = masters[usize::from(list.shard(place).unwrap())];
        let owns = |owner: &[u64]| owner.iter().map(|id| *id == own).collect::<Vec<_>>();
        if owns(&self.owner) != owns(slots) {
            return Word::Changed;
        }
        let mut word = Word::Settled;
        for (slot, target) in &self.open {
            if self.owner[*slot] != own {
                continue;
            }
            let target = masters.iter().position(|id| id == target);
            match target.and_then(|target| list.place(target as u16)) {
                None => return Word::Changed,
                Some(target) if target < place => word = Word::Moving,
                Some(_) => {}
            }
        }
        word
    }

    /// A slot begins to migrate, some of its keys go, or it ends; or a server fails over.
    fn change(&mut self, random: &mut Random) {
        let slot = random.below(RANGES);
        let keys = slot * KEYS_OF_ONE..(slot + 1) * KEYS_OF_ONE;
        let open: Vec<usize> = self.open.keys().copied().collect();
        let one_open = |random: &mut Random| open[random.below(open.len())];
        match random.below(16) {
            0 => {
                let (one, new) = (self.owner[slot], self.servers + 1);
                self.servers += 1;
                let all = self.owner.iter_mut().chain(&mut self.at);
                all.chain(self.open.values_mut())
                    .filter(|id| **id == one)
                    .for_each(|id| *id = new);
            }
            1..4 if !self.open.contains_key(&slot) => {
                let target = match random.below(3) {
                    0 => {
                        self.servers += 1;
                        self.servers
                    }
                    _ => self.owner[random.below(RANGES)],
                };
                if target != self.owner[slot] {
                    self.open.insert(slot, target);
                }
                debug_assert!(keys.clone().all(|key| self.at[key] == self.owner[slot]));
            }
            4 if !open.is_empty() => {
                let slot = one_open(random);
                let target = self.open.remove(&slot).unwrap();
                self.owner[slot] = target;
                self.at[slot * KEYS_OF_ONE..(slot + 1) * KEYS_OF_ONE].fill(target);
            }
            _ if !open.is_empty() => {
                let slot = one_open(random);
                let key = slot * KEYS_OF_ONE + random.below(KEYS_OF_ONE);
                self.at[key] = self.open[&slot];
            }
            _ => {}
        }
    }
}

/// Scans a cluster that changes between any two acts, with a topology that is behind it. Returns the keys
/// seen, and whether the scan came to its end. `words` are what masters say as it is heard.
fn scanned(seed: u64, words: impl Fn(Word) -> Word) -> (usize, bool) {
    let random = &mut Random::new(seed);
    let owner: Vec<u64> = (0..RANGES as u64).map(|slot| slot / 8).collect();
    let mut cluster = Cluster {
        at: (0..KEYS).map(|key| owner[key / KEYS_OF_ONE]).collect(),
        owner,
        open: BTreeMap::new(),
        servers: 100,
        shift: random.below(24) as u32,
    };
    let (mut seen, mut cursor, mut changes) = (BTreeSet::new(), 0, random.below(60));
    (0..random.below(10)).for_each(|_| cluster.change(random));
    let mut topology = (cluster.list(), cluster.owner.clone());
    let mut between = |cluster: &mut Cluster, random: &mut Random| {
        while changes > 0 && random.below(3) != 0 {
            changes -= 1;
            cluster.change(random);
        }
    };
    for _ in 0..10_000 {
        let ((list, masters), slots) = &topology;
        let at = Position::decode(cursor, list);
        // Those without slots may have gone, so that the end is reached.
        let server = list.shard(at.place);
        let (node_cursor, keys) = match server {
            Some(server) => cluster.scan(masters[usize::from(server)], at.node_cursor),
            None => (0, Vec::new()),
        };
        seen.extend(keys);
        between(&mut cluster, random);
        let asked = at.asks_previous().into_iter();
        let own = server.is_some() && at.is_last(list);
        let asked = asked.chain(own.then_some(at.place));
        let mut said = Vec::new();
        for place in asked {
            said.push(words(cluster.word(place, list, masters, slots)));
            between(&mut cluster, random);
        }
        match at.next(node_cursor, &said, list) {
            Some(next) => cursor = next.encode(list).unwrap(),
            None => return (seen.len(), true),
        }
        // A newer topology comes when one is asked for, and now and then.
        if said.contains(&Word::Changed) || random.below(20) == 0 {
            topology = (cluster.list(), cluster.owner.clone());
        }
        between(&mut cluster, random);
    }
    (seen.len(), false)
}

#[test]
fn nothing_is_missed_whatever_changes_between_calls() {
    for seed in 0..2000 {
        assert_eq!(scanned(seed, |word| word), (KEYS, true), "seed {seed}");
    }
}

#[test]
fn each_word_is_needed() {
    let misses = |hear: fn(Word) -> Word| {
        let missed = (0..1000).filter(|seed| scanned(*seed, hear).0 < KEYS);
        missed.count()
    };
    assert!(
        misses(|word| match word {
            Word::Moving => Word::Settled,
            other => other,
        }) > 0
    );
    assert!(
        misses(|word| match word {
            Word::Changed => Word::Settled,
            other => other,
        }) > 0
    );
}
