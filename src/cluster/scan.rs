//! `Position`: where a SCAN over all masters stands, packed into the one integer that a client is given.
//!
//! # The promise
//!
//! What SCAN promises on one server holds over the cluster: an element that is there from the beginning of a
//! scan to its end is returned at least once, though shards join, leave or fail over in between. Elements may be
//! returned more than once.
//!
//! # What keeps it
//!
//! A scan visits the masters one after the other in the order of a [`ShardList`]. That order, and what a node's
//! own cursor is worth, are good only as long as every slot has the same master: if a slot moves, its keys may
//! go from a master still to be visited to one that was visited; after a failover another server is asked, whose
//! hash seed and so whose cursors are its own. So the list has a *tag*, a hash of which slot belongs to which
//! master (by node id, which neither a new address nor a restart changes), and a cursor has the tag of the list
//! that it was made with. **If it is another than that of the list in use, the scan begins again at the first
//! master.** As the order comes of the same facts as the tag, all workers and all proxies before a cluster
//! understand each other's cursors.
//!
//! A tag is as old as the topology that it was made of, and keys move before a slot does. So every master is
//! asked of itself (its own line of CLUSTER NODES) once its visit is over; its [`Word`] is that
//! - it has other slots, or another epoch, than the list says: the scan begins again;
//! - it is moving a slot to a master before it in the list: there will be a *second round* over all masters;
//! - neither.
//!
//! *Why no key is missed.* Let a key stay in the cluster during the whole scan, and let X be the master that
//! has it at the beginning. If it is at X until X's visit is over, X returned it. Else it left X before that, by
//! a migration of its slot from X to some Y. When X is asked, after its visit, either that migration is over: X
//! does not have the slot any more (or has it back, with another epoch), says so, and the scan begins again. Or
//! it is open, and X says that, too: if Y stands behind X in the list, its visit began after X's was over, else
//! the second round visits it. The key is at Y from before that visit; it leaves Y only to a third master, for
//! which Y has to be the owner of its slot, and then X, when it is asked after its next visit, is not (or Y has
//! more slots than the list says). *A second round is enough*: a migration that X had not begun at the end of
//! its visit moves only keys that X has returned.
//!
//! What is *not* seen is a migration that takes keys away and is then taken back (`SETSLOT STABLE`, the keys
//! returned by hand) between two questions to its source: keys that go to and fro meanwhile may be missed.
//! And while slots keep changing owners the scan keeps beginning again; it ends once they rest for as long as
//! a scan takes.
//!
//! The caller has to
//! - use one list from the decoding of a cursor to the encoding of the next, the newest it has;
//! - ask every master for its word after the last reply of its visit, and before the scan ends or a second round
//!   begins ([`Position::asks_previous`], [`Position::is_last`]);
//! - put shards without a master into the list too, and wait for whoever is promoted;
//! - put masters without slots into the list too: they come last, since keys can only move to them, and a shard
//!   that joins is one while its first slot is on its way. A target that is not in the list makes it out of date;
//! - take nothing of a master without slots whose own word is not that it has keys that count, and not let it begin the
//!   scan again: it may have become a replica by now, of one that is visited anyway.
//!
//! Masters without slots come and go (every node that joins is one at first). So they are no part of the tag, and a cursor
//! that stands before them is good whoever they are by then; only one that stands among them, with a second tag.
//!
//! # The integer
//!
//! ```text
//!   (node cursor * 3 * places + round * places + place) << (bits + 3)  |  tag of so many bits  |  3 bits that say how many
//! ```
//!
//! The tag has as many bits as leave the whole below 2^53, the largest integer that is exact for clients written
//! in JavaScript, as long as these are 15 or more: that is up to a product of 2^35, or 300 masters with 30
//! million keys each. Beyond that, as many as leave it below 2^64: node cursors of 46 bits (Valkey 8 and Redis 8
//! keep the slot in the low 14) fit with a thousand masters. What does not fit is an error and never truncated.
//! A short tag is mistaken for another once in 2^bits changes of the topology, which is why 53 bits are not bought
//! with less than 15 of it. A tag is never 0, so that no cursor but the last is.

use crate::cluster::slot::SLOTS;
use crate::cluster::topology::Topology;
use crate::sort;

/// The bits of a tag, by the number that says so.
const TAG_BITS: [u32; 8] = [31, 27, 23, 19, 15, 11, 7, 3];

/// Bits of the number that says how many bits the tag has.
const CHOICE_BITS: u32 = 3;

/// As many as [`Round`] has.
const ROUNDS: u64 = 3;

/// No tag is made shorter than this to stay below [`EXACT_MAX`].
const EXACT_TAG_BITS_MIN: u32 = 15;

/// Below this, integers are exact in clients that know only floating point.
const EXACT_MAX: u128 = 1 << 53;

/// The masters in the order in which a scan visits them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardList {
    /// Indices of shards, as the caller numbers them.
    order: Vec<u16>,
    /// How many of them have slots. The others come last.
    owners: usize,
    /// A hash of which slot belongs to which master.
    tag: u64,
    /// The same, and of the masters without slots.
    whole_tag: u64,
}

/// Which time the masters are visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// The first, and so far it is the only one.
    Only,
    /// The first of two: a master that was visited may have got keys since.
    First,
    /// The second.
    Second,
}

/// Where a scan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which time the masters are visited.
    pub round: Round,
    /// A place in the [`ShardList`].
    pub place: u16,
    /// What its master is asked with.
    pub node_cursor: u64,
}

/// What a master says of itself after its visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It is the owner of what the list says, and no key leaves it for a master before it in the list.
    Settled,
    /// So it is, but keys are leaving it for a master before it in the list.
    Moving,
    /// It is not, or the list lacks a master.
    Changed,
}

/// A node's cursor is too large to be packed with the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit;

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ERR the node's cursor does not fit into a cursor of this proxy")
    }
}

impl ShardList {
    /// The masters of a topology, numbered as [`Topology::masters`] has them, and behind them its orphans: a scan waits for
    /// one of those until somebody has been promoted.
    pub fn of(topology: &Topology) -> ShardList {
        // With the epoch: a slot that has been away and is back is told by it.
        let epochs = topology.shards.iter().map(|shard| shard.epoch);
        let masters = topology.masters().zip(epochs.chain(std::iter::repeat(0)));
        let mut ids: Vec<String> = masters
            .map(|(master, epoch)| format!("{}@{epoch}", topology.nodes[master as usize].id))
            .collect();
        let mut slots = topology.slots.clone();
        for orphan in &topology.orphans {
            for (first, last) in &orphan.slots {
                slots[usize::from(*first)..=usize::from(*last)].fill(ids.len() as u16);
            }
            ids.push(format!("{}@orphan", orphan.id));
        }
        ShardList::new(&slots, &ids)
    }

    /// Orders the masters, whose node ids are `ids`, by their lowest slot, those without slots last by their
    /// ids. `slots` says which master each slot has; what is no index of `ids` is none.
    pub fn new<I: AsRef<str>>(slots: &[u16; SLOTS], ids: &[I]) -> ShardList {
        let mut lowest = vec![SLOTS; ids.len()];
        for (slot, shard) in slots.iter().enumerate().rev() {
            if let Some(lowest) = lowest.get_mut(usize::from(*shard)) {
                *lowest = slot;
            }
        }
        let mut order: Vec<u16> = (0..ids.len().min(usize::from(u16::MAX)) as u16).collect();
        let id = |shard: u16| ids[usize::from(shard)].as_ref();
        sort::by_key(&mut order, |shard| {
            (lowest[usize::from(*shard)], id(*shard))
        });

        let mut places = vec![u16::MAX; ids.len()];
        let mut hash = Hash::new();
        let owners = order.partition_point(|shard| lowest[usize::from(*shard)] < SLOTS);
        for (place, shard) in order[..owners].iter().enumerate() {
            places[usize::from(*shard)] = place as u16;
            hash.add(id(*shard).as_bytes());
            hash.add(b"\n");
        }
        for shard in slots {
            let place = places.get(usize::from(*shard)).unwrap_or(&u16::MAX);
            hash.add(&place.to_le_bytes());
        }
        let tag = hash.finish();
        hash.add(b"without slots");
        for shard in &order[owners..] {
            hash.add(b"\n");
            hash.add(id(*shard).as_bytes());
        }
        ShardList {
            order,
            owners,
            tag,
            whole_tag: hash.finish(),
        }
    }

    /// Whether the master at a place has slots.
    pub fn has_slots(&self, place: u16) -> bool {
        usize::from(place) < self.owners
    }

    /// How many masters are visited.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no master.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The shard at a place, as the caller numbered it.
    pub fn shard(&self, place: u16) -> Option<u16> {
        self.order.get(usize::from(place)).copied()
    }

    /// The place of a shard, numbered as by the caller.
    pub fn place(&self, shard: u16) -> Option<u16> {
        let place = self.order.iter().position(|other| *other == shard)?;
        u16::try_from(place).ok()
    }

    /// Whether cursors made with the other list are good for this one.
    pub fn same_as(&self, other: &ShardList) -> bool {
        self.whole_tag == other.whole_tag && self.order.len() == other.order.len()
    }

    /// The tag in so many bits, never 0, and how many places cursors with it tell apart: of one that stands before the
    /// masters without slots (whose first place is told apart, too), or of one `among` them.
    fn tag(&self, among: bool, bits: u32) -> (u64, u64) {
        let (tag, places) = match among {
            false => (self.tag, self.owners + 1),
            true => (self.whole_tag, self.order.len().max(1)),
        };
        (tag % ((1 << bits) - 1) + 1, places as u64)
    }
}

impl Position {
    /// The beginning.
    pub const FIRST: Position = Position {
        round: Round::Only,
        place: 0,
        node_cursor: 0,
    };

    /// Where the scan of a client's cursor stands: at the beginning if it is 0, or made with another list.
    pub fn decode(cursor: u64, list: &ShardList) -> Position {
        let bits = TAG_BITS[(cursor & ((1 << CHOICE_BITS) - 1)) as usize];
        let rest = cursor >> CHOICE_BITS;
        let (own, packed) = (rest & ((1 << bits) - 1), rest >> bits);
        let mut kinds = [false, true].into_iter();
        let known = kinds.find(|among| own == list.tag(*among, bits).0);
        let Some(among) = known.filter(|_| !list.is_empty()) else {
            return Position::FIRST;
        };
        let (_, places) = list.tag(among, bits);
        let position = Position {
            round: match packed / places % ROUNDS {
                0 => Round::Only,
                1 => Round::First,
                _ => Round::Second,
            },
            place: (packed % places) as u16,
            node_cursor: packed / places / ROUNDS,
        };
        match position.is_among(list) == among {
            true => position,
            false => Position::FIRST,
        }
    }

    /// Whether the cursor depends on who is without slots.
    fn is_among(self, list: &ShardList) -> bool {
        let place = usize::from(self.place);
        place > list.owners || (place == list.owners && self.node_cursor != 0)
    }

    /// The integer for the client; it is not 0.
    pub fn encode(self, list: &ShardList) -> Result<u64, Unfit> {
        debug_assert!(usize::from(self.place) <= list.len());
        let among = self.is_among(list);
        let (_, places) = list.tag(among, TAG_BITS[0]);
        let visits = u128::from(self.node_cursor) * u128::from(ROUNDS) + self.round as u128;
        let packed = visits * u128::from(places) + u128::from(self.place);
        let choices = || TAG_BITS.iter().zip(0u128..);
        let cursor = |(bits, choice): (&u32, u128)| {
            let tagged = packed << bits | u128::from(list.tag(among, *bits).0);
            tagged << CHOICE_BITS | choice
        };
        let long = choices().filter(|(bits, _)| **bits >= EXACT_TAG_BITS_MIN);
        let exact = long.map(cursor).find(|cursor| *cursor < EXACT_MAX);
        let fits = |cursor| u64::try_from(cursor).ok();
        exact
            .and_then(fits)
            .or_else(|| choices().map(cursor).find_map(fits))
            .ok_or(Unfit)
    }

    /// The place of the master that is to be asked for its word now, as its visit ended with the call before.
    pub fn asks_previous(self) -> Option<u16> {
        let is_first_call = self.node_cursor == 0;
        self.place.checked_sub(1).filter(|_| is_first_call)
    }

    /// Whether the master here is the last of its round, and so asked for its word behind each call: the scan
    /// may end with it. (Behind the last nobody is visited any more: masters without slots have gone since.)
    pub fn is_last(self, list: &ShardList) -> bool {
        usize::from(self.place) + 1 >= list.len()
    }

    /// Where the scan goes on once the master here has answered with `node_cursor`, and those that were asked
    /// (the one before, this one) have said this; nothing at its end.
    pub fn next(self, node_cursor: u64, words: &[Word], list: &ShardList) -> Option<Position> {
        if words.contains(&Word::Changed) {
            return Some(Position::FIRST);
        }
        let round = match self.round {
            Round::Only if words.contains(&Word::Moving) => Round::First,
            round => round,
        };
        if node_cursor != 0 {
            return Some(Position {
                round,
                node_cursor,
                ..self
            });
        }
        let (round, place) = match round {
            round if !self.is_last(list) => (round, self.place + 1),
            Round::First => (Round::Second, 0),
            Round::Only | Round::Second => return None,
        };
        Some(Position {
            round,
            place,
            node_cursor: 0,
        })
    }
}

/// Whether a cursor is written as every server takes it, and as the proxy gives it. Servers differ in what else they take.
pub fn is_plain(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// A cursor as Redis reads it from a request (`strtoul`): nothing is 0, a minus wraps. Nothing if it is none:
/// the error is `ERR invalid cursor`. It takes all that any server takes.
pub fn parse(text: &[u8]) -> Option<u64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative {
        number.wrapping_neg()
    } else {
        number
    })
}

/// FNV-1a with a last mixing: the same on every machine and in every version, which `std`'s is not.
struct Hash(u64);

impl Hash {
    fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ mixed >> 33
    }
}

#[cfg(test)]
mod tests;
