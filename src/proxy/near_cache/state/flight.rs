//! `Flight`: one read on a tracking connection, and the clients that wait for it. `Flights`: all of them, by key, since
//! each request that reaches a key past the cache asks for those of its key.
//!
//! It must never know what the reply says.

use std::time::Duration;

use slab::Slab;

use crate::clock::Time;
use crate::proxy::ids::{BackendId, PartId};
use crate::proxy::near_cache::state::accesses::Access;
use crate::proxy::near_cache::state::store::{Both, Question, Stamp};
use crate::resp::encode::Protocol;

/// Which request of a tracking connection a reply is to; the number is the flight's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NearStep {
    /// `SUBSCRIBE`, which a push confirms (see `broadcast`).
    Subscribe,
    /// `CLIENT TRACKING ON`.
    Setup,
    /// The read.
    Read(u32),
    /// `PTTL`.
    Ttl(u32),
    /// Nobody's: it shows that the node still serves what came from it.
    Probe,
}

/// How far a read is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nothing has come: an invalidation is of something older, as the node had it before it executed this read.
    Sent,
    /// It is answered with this; the key's TTL is to come.
    Answered(Both),
    /// It is answered, and its reply is not kept.
    Over,
}

/// A request, or a part of one, that waits for the reply to a read.
#[derive(Debug, Clone, Copy)]
pub struct Waiter {
    /// Its place.
    pub part: PartId,
    /// What its client speaks.
    pub protocol: Protocol,
    /// Of a part of MGET, whose reply is a list of this one: its command's row.
    pub listed: Option<u16>,
}

/// One read.
#[derive(Debug)]
pub struct Flight {
    /// The tracking connection.
    pub backend: BackendId,
    /// What its entry would be marked with.
    pub stamp: Stamp,
    /// When it was sent.
    pub sent_at: Time,
    /// The same by a clock that misses nothing.
    pub running_at: u64,
    /// The hash of the key.
    pub hash: u64,
    /// The key.
    pub key: Box<[u8]>,
    /// The slot of the key.
    pub slot: u16,
    /// The command's row.
    pub command: u16,
    /// The request.
    pub frame: Box<[u8]>,
    /// How many bytes of it are behind the key.
    pub tail_len: usize,
    /// Who waits for the reply.
    pub waiters: Vec<Waiter>,
    /// How many it has answered beside the first, as far as a byte counts them.
    pub shared: u8,
    /// Whether it was sent to be kept, with all that belongs to it.
    pub fills: bool,
    /// Whether nobody may join it.
    pub alone: bool,
    /// Requests that reached the key past the cache and were under way when it took off. Once one is answered, somebody
    /// may know of a value that is newer than what this one brings.
    pub beside: Vec<Access>,
    /// Whether its reply may not be kept: something reached the key meanwhile.
    pub spoiled: bool,
    /// How far it is.
    pub progress: Progress,
    /// When what it brings ends, once that is known; it is kept when it is settled (see `unsettled`).
    pub ends_at: Option<u64>,
}

impl Flight {
    /// The request beside its key.
    pub fn question(&self) -> Question<'_> {
        Question {
            command: self.command,
            tail: &self.frame[self.frame.len() - self.tail_len..],
        }
    }

    /// Whether others who ask the same may wait for its reply, as long as all that was beside it lasts: it is not answered
    /// yet, and nothing has reached the key since it took off.
    pub fn is_joinable(&self) -> bool {
        !self.alone && !self.spoiled && self.progress == Progress::Sent
    }
}

/// Reads on tracking connections at once.
const FLIGHTS_MAX: usize = 1024;
/// Lists by hash; a power of two.
const LISTS: usize = 1024;
/// A read that waits for so long is sent by another connection.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// All reads on tracking connections.
///
/// Invariants: each flight is in the list of its hash once; none has been under way for longer than since `look_at` less
/// the patience.
#[derive(Debug)]
pub struct Flights {
    all: Slab<Flight>,
    lists: Box<[Vec<u32>]>,
    /// None of them has waited too long before this, and none is there if this is nothing.
    look_at: Option<Time>,
}

impl Default for Flights {
    fn default() -> Flights {
        Flights {
            all: Slab::new(),
            lists: vec![Vec::new(); LISTS].into(),
            look_at: None,
        }
    }
}

impl Flights {
    /// Whether there is room for another.
    pub fn has_room(&self) -> bool {
        self.all.len() < FLIGHTS_MAX
    }

    /// One takes off. Returns its number.
    pub fn insert(&mut self, flight: Flight) -> u32 {
        self.look_at.get_or_insert(flight.sent_at.after(PATIENCE));
        let list = flight.hash as usize % LISTS;
        let at = self.all.insert(flight) as u32;
        self.lists[list].push(at);
        at
    }

    /// The flight of this number.
    pub fn get(&self, at: u32) -> Option<&Flight> {
        self.all.get(at as usize)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, at: u32) -> Option<&mut Flight> {
        self.all.get_mut(at as usize)
    }

    /// The flight of this number is over.
    pub fn remove(&mut self, at: u32) -> Option<Flight> {
        let flight = self.all.try_remove(at as usize)?;
        self.lists[flight.hash as usize % LISTS].retain(|other| *other != at);
        Some(flight)
    }

    /// All of them, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Flight)> {
        self.all.iter().map(|(at, flight)| (at as u32, flight))
    }

    /// Those for keys of this hash.
    pub fn of(&self, hash: u64) -> impl Iterator<Item = (u32, &Flight)> {
        let list = self.lists[hash as usize % LISTS].iter();
        let all = list.filter_map(|at| Some((*at, self.all.get(*at as usize)?)));
        all.filter(move |(_, flight)| flight.hash == hash)
    }

    /// Replies of these are not kept.
    pub fn spoil(&mut self, own: impl Fn(&Flight) -> bool) {
        for (_, flight) in &mut self.all {
            flight.spoiled |= own(flight);
        }
    }

    /// The same, of those for keys of this hash.
    #[inline]
    pub fn spoil_key(&mut self, hash: u64, own: impl Fn(&Flight) -> bool) {
        for at in &self.lists[hash as usize % LISTS] {
            if let Some(flight) = self.all.get_mut(*at as usize) {
                flight.spoiled |= flight.hash == hash && own(flight);
            }
        }
    }

    /// When to look for those that have waited too long.
    pub fn look_at(&self) -> Option<Time> {
        self.look_at
    }

    /// They were looked at.
    pub fn looked(&mut self) {
        let waiting = self.all.iter().filter(|(_, own)| !own.waiters.is_empty());
        let sent = waiting.map(|(_, flight)| flight.sent_at).min();
        self.look_at = sent.map(|at| at.after(PATIENCE));
    }
}
