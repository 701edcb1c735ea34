//! `Unsettled`: what has come from a node in broadcasting mode behind writes that it has not reported yet.
//!
//! In that mode a node reports all keys that have changed in one go, when it has executed what had come to it
//! (`trackingBroadcastInvalidationMessages` in its `beforeSleep`). A reply may stand before the report of a write that was
//! executed before it. With I/O threads (Valkey) even the reply to what is sent next may, so that it takes two: an answer to
//! something that was sent behind an answer to something that was sent later. Until then
//!
//! - a client that has seen a reply is not served what was kept of the same key before (`readers`);
//! - a reply is not kept beside others of its key (`flights`);
//! - what is kept is not put beside other keys of its slot as if all were of one moment (`keys`).
//!
//! An error settles nothing: a node that is busy with a script answers, and reports nothing.
//!
//! It must never know what is kept.

use crate::clock::Time;
use crate::proxy::ids::{ClientId, NodeKey};

/// Of each kind.
const MOST: usize = 512;
/// Answers that it takes.
const ANSWERS: u8 = 2;

/// What is waited for.
#[derive(Debug, Clone, Copy)]
struct Wait {
    node: NodeKey,
    /// An answer to something that is sent later than this.
    since: Time,
    answers: u8,
}

impl Wait {
    fn new(node: NodeKey, now: Time) -> Wait {
        Wait {
            node,
            since: now,
            answers: ANSWERS,
        }
    }

    /// The node has answered something that was sent then. Returns whether there is more to wait for.
    fn goes_on(&mut self, node: NodeKey, sent_at: Time, now: Time) -> bool {
        if self.node == node && sent_at > self.since {
            self.answers -= 1;
            self.since = now;
        }
        self.answers > 0
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Unsettled {
    readers: Vec<(u64, ClientId, Wait)>,
    keys: Vec<(u64, Wait)>,
    flights: Vec<(u32, Wait)>,
}

/// Adds one. False if there are too many.
fn add<T>(all: &mut Vec<T>, one: T) -> bool {
    let has_room = all.len() < MOST;
    if has_room {
        all.push(one);
    }
    has_room
}

impl Unsettled {
    /// A client has seen a reply to a request for the key of this hash. False if there are too many to know of.
    pub fn add_reader(&mut self, hash: u64, client: ClientId, node: NodeKey, now: Time) -> bool {
        add(&mut self.readers, (hash, client, Wait::new(node, now)))
    }

    /// A reply was kept. False if there are too many to know of.
    pub fn add_key(&mut self, hash: u64, node: NodeKey, now: Time) -> bool {
        add(&mut self.keys, (hash, Wait::new(node, now)))
    }

    /// A flight is over, and its reply is to be kept once this is settled. False if there are too many to know of.
    pub fn add_flight(&mut self, at: u32, node: NodeKey, now: Time) -> bool {
        add(&mut self.flights, (at, Wait::new(node, now)))
    }

    /// Whether this client may have seen something of this key that is newer than what is kept of it.
    #[inline]
    pub fn has_reader(&self, hash: u64, client: ClientId) -> bool {
        let mut all = self.readers.iter();
        all.any(|(own, reader, _)| *own == hash && *reader == client)
    }

    /// Whether what is kept of this key may be newer than what is kept of others.
    #[inline]
    pub fn has_key(&self, hash: u64) -> bool {
        self.keys.iter().any(|(own, _)| *own == hash)
    }

    /// A node has answered something that was sent then. Returns the flights that are settled, and whether anything of that
    /// node is not.
    pub fn confirm(&mut self, node: NodeKey, sent_at: Time, now: Time) -> (Vec<u32>, bool) {
        let mut settled = Vec::new();
        let mut left = false;
        let mut goes_on = |wait: &mut Wait| {
            let goes_on = wait.goes_on(node, sent_at, now);
            left |= goes_on && wait.node == node;
            goes_on
        };
        self.readers.retain_mut(|(.., wait)| goes_on(wait));
        self.keys.retain_mut(|(_, wait)| goes_on(wait));
        self.flights.retain_mut(|(at, wait)| {
            let goes_on = goes_on(wait);
            if !goes_on {
                settled.push(*at);
            }
            goes_on
        });
        (settled, left)
    }

    /// The connection to a node is lost: nothing that came by it is served.
    pub fn lost(&mut self, node: NodeKey) {
        self.readers.retain(|(.., wait)| wait.node != node);
        self.keys.retain(|(_, wait)| wait.node != node);
        self.flights.retain(|(_, wait)| wait.node != node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_settled_by_an_answer_to_what_was_sent_behind_an_answer() {
        let mut all = Unsettled::default();
        let (client, other) = (ClientId::from_parts(1, 1), ClientId::from_parts(2, 1));
        let at = Time::from_micros;
        let (node, another) = (NodeKey(0), NodeKey(1));
        assert!(all.add_reader(7, client, node, at(5)));
        assert!(all.add_key(7, node, at(5)));
        assert!(all.add_flight(3, node, at(5)));
        assert!(all.has_reader(7, client) && !all.has_reader(7, other));
        assert!(!all.has_reader(8, client) && !all.has_key(8));
        for (of, sent_at, now) in [(node, 5, 6), (another, 6, 7), (node, 6, 10), (node, 10, 11)] {
            let left = all.confirm(of, at(sent_at), at(now));
            assert_eq!(left, (vec![], of == node), "{sent_at}");
            assert!(all.has_reader(7, client) && all.has_key(7));
        }
        assert_eq!(all.confirm(node, at(11), at(12)), (vec![3], false));
        assert!(!all.has_reader(7, client) && !all.has_key(7));
    }

    #[test]
    fn there_are_never_very_many() {
        let mut all = Unsettled::default();
        let client = ClientId::from_parts(1, 1);
        let node = NodeKey(0);
        for hash in 0..MOST as u64 {
            assert!(all.add_key(hash, node, Time::default()));
            assert!(all.add_reader(hash, client, node, Time::default()));
            assert!(all.add_flight(hash as u32, node, Time::default()));
        }
        assert!(!all.add_key(0, node, Time::default()));
        assert!(!all.add_reader(0, client, node, Time::default()));
        assert!(!all.add_flight(0, node, Time::default()));
        all.lost(node);
        assert!(all.add_key(0, node, Time::default()));
    }
}
