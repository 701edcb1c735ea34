//! `Fans`: what requests that go to all masters promise, held against what nodes did. Whatever must not be, panics here.
//!
//! - KEYS and DBSIZE have every key that was there all the time, once, and nothing of a node that said it is no master, but
//!   for what is asked on connections that read from replicas.
//!   (While keys move from node to node they may be at two or at none, for who counts one node after the other: then
//!   nothing is checked.)
//! - FUNCTION LOAD, a write of all masters whose code carries a number, is executed by each shard before its client is told
//!   OK; and behind what the client wrote before, and before what it writes next, also across failovers. (What was executed
//!   twice, since a connection was lost behind it, has no one place.)

use std::collections::HashMap;

use crate::ledger::{Class, Key, Nonce};
use crate::random::Random;
use crate::resp::{self, Value};

/// What the replica of a shard would have KEYS say.
pub const COPY: &[u8] = b"{t0}copy";

/// What a node says in its reply to KEYS behind the keys of a run, so that such replies are long: values that say of which
/// shard they are, which of how many, and how long.
pub fn padding(shard: usize, random: &mut Random) -> Vec<Vec<u8>> {
    let most = *random.pick(&[0, 10, 3000, 6000]);
    let count = random.below(most + 1);
    let value = |index| {
        let most = *random.pick(&[20, 20, 20, 20, 20, 20, 20, 400]);
        let most = if random.one_in(500) { 60_000 } else { most };
        let length = random.below(most);
        let name = format!("~:{shard}:{index}:{count}:{length}:{}", "x".repeat(length));
        let name = resp::bulk(name.as_bytes());
        match random.below(16) {
            0 => [b"*2\r\n", &name[..], b"*-1\r\n"].concat(),
            1 => [b"*1\r\n*2\r\n$-1\r\n", &name[..]].concat(),
            _ => name,
        }
    };
    (0..count).map(value).collect()
}

/// The shard, the number and the count that such a value has, if it is one, and is whole.
fn padded(value: &Value) -> Option<[usize; 3]> {
    let name = match value {
        Value::Bulk(name) => name,
        Value::Array(values) => return values.iter().find_map(padded),
        _ => return None,
    };
    let mut words = name.strip_prefix(b"~:")?.split(|byte| *byte == b':');
    let mut number = || {
        let word = std::str::from_utf8(words.next().expect("a word")).expect("digits");
        word.parse::<usize>().expect("a number")
    };
    let [shard, index, count, length] = [number(), number(), number(), number()];
    let rest = words.next().expect("a text");
    assert!(rest.len() == length && rest.iter().all(|byte| *byte == b'x'));
    Some([shard, index, count])
}

/// How many keys it would have DBSIZE count.
pub const COPIES: i64 = 1_000_000;

/// When a request for all masters was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Keys that had moved by then.
    moves: u64,
    /// Keys that were there, and are never deleted.
    there: Vec<Vec<u8>>,
}

/// One FUNCTION LOAD.
#[derive(Debug, Default)]
struct Load {
    moves: u64,
    /// Where and when it was executed.
    runs: Vec<(usize, u64)>,
    told: bool,
}

/// All of a run.
#[derive(Debug, Default)]
pub struct Fans {
    /// How many masters there are.
    pub shards: usize,
    /// The shard that executes something now.
    pub shard: usize,
    /// Keys that have moved so far.
    pub moves: u64,
    clock: u64,
    writes: HashMap<Nonce, (usize, u64)>,
    loads: Vec<Load>,
    /// Replies that were checked in full, and orders.
    pub checked: u64,
    pub orders: u64,
    /// Replies to KEYS that were long, and those in which the values of one node stand between those of another.
    pub long: u64,
    pub interleaved: u64,
}

impl Fans {
    /// A request is made now.
    pub fn made(&self, keys: &[Key]) -> Made {
        let lasting = |key: &&Key| {
            matches!(key.class, Class::Sum | Class::Count | Class::Log) && key.version() > 0
        };
        Made {
            moves: self.moves,
            there: keys
                .iter()
                .filter(lasting)
                .map(|key| key.name.clone())
                .collect(),
        }
    }

    /// The number of a new FUNCTION LOAD.
    pub fn load(&mut self) -> usize {
        self.loads.push(Load {
            moves: self.moves,
            ..Load::default()
        });
        self.loads.len() - 1
    }

    /// A node executes a write.
    pub fn wrote(&mut self, nonce: Nonce) {
        self.clock += 1;
        self.writes.insert(nonce, (self.shard, self.clock));
    }

    /// A node executes a FUNCTION LOAD.
    pub fn loaded(&mut self, load: usize) {
        self.clock += 1;
        self.loads[load].runs.push((self.shard, self.clock));
    }

    /// A client is told of the keys that KEYS has found.
    pub fn found(&mut self, made: &Made, names: &[Value]) -> bool {
        self.check_padding(names);
        let mut names: Vec<&[u8]> = names
            .iter()
            .filter_map(|name| match name {
                Value::Bulk(name) if !name.starts_with(b"~:") => Some(&name[..]),
                _ => None,
            })
            .collect();
        names.sort_unstable();
        assert!(
            names.binary_search(&COPY).is_err(),
            "a replica was asked for keys"
        );
        if made.moves != self.moves {
            return true;
        }
        self.checked += 1;
        let twice = names.windows(2).any(|pair| pair[0] == pair[1]);
        let has = |name: &Vec<u8>| names.binary_search(&&name[..]).is_ok();
        !twice && made.there.iter().all(has)
    }

    /// What each node has said behind its keys is there once, whole, and in its order.
    fn check_padding(&mut self, values: &[Value]) {
        let mut next: HashMap<usize, (usize, usize)> = HashMap::new();
        let (mut last, mut switches) = (None, 0);
        for [shard, index, count] in values.iter().filter_map(padded) {
            let own = next.entry(shard).or_insert((0, count));
            assert_eq!((index, count), *own, "a value of shard {shard} is missing");
            own.0 += 1;
            switches += usize::from(last.is_some_and(|last| last != shard));
            last = Some(shard);
        }
        for (shard, (index, count)) in &next {
            assert_eq!(index, count, "values of shard {shard} are missing");
        }
        self.long += u64::from(values.len() > 2000);
        self.interleaved += u64::from(switches >= next.len().max(1));
    }

    /// A client is told of the number of keys.
    pub fn counted(&mut self, made: &Made, count: i64, keys: usize) -> bool {
        assert!(
            count < COPIES,
            "a replica was asked for the number of its keys"
        );
        if made.moves != self.moves {
            return count >= 0;
        }
        self.checked += 1;
        (made.there.len() as i64..=keys as i64).contains(&count)
    }

    /// A client is told that a FUNCTION LOAD was executed by all; before it, it wrote these.
    pub fn told(&mut self, load: usize, before: &[Nonce]) {
        let own = &mut self.loads[load];
        own.told = true;
        for shard in 0..self.shards {
            let ran = own.runs.iter().any(|(at, _)| *at == shard);
            assert!(
                ran,
                "load {load} was never executed by shard {shard}: {:?}",
                own.runs
            );
        }
        for nonce in before {
            let Some((shard, at)) = self.writes.get(nonce) else {
                continue;
            };
            if let Some(ran) = self.once(load, *shard) {
                assert!(*at < ran, "load {load} came before write {nonce}");
                self.orders += 1;
            }
        }
    }

    /// A client is told that a write was executed; the last FUNCTION LOAD before it was this.
    pub fn follows(&mut self, nonce: Nonce, load: usize) {
        let Some((shard, at)) = self.writes.get(&nonce).copied() else {
            return;
        };
        if self.loads[load].told
            && let Some(ran) = self.once(load, shard)
        {
            assert!(ran < at, "write {nonce} came before load {load}");
            self.orders += 1;
        }
    }

    /// When a shard executed a load, if once, and no key has moved since it was made.
    fn once(&self, load: usize, shard: usize) -> Option<u64> {
        let own = &self.loads[load];
        let mut runs = own.runs.iter().filter(|(at, _)| *at == shard);
        let (_, at) = runs.next()?;
        (runs.next().is_none() && own.moves == self.moves).then_some(*at)
    }
}
