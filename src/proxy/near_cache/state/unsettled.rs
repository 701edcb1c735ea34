//! `Unsettled`: what has come from a node in broadcasting mode behind writes that it has not reported yet.
//!
//! In that mode a node reports all keys that have changed in one go, when it has executed what had come to it
//! (`trackingBroadcastInvalidationMessages` in its `beforeSleep`). A reply may stand before the report of a write that was
//! executed before it. So two things have to wait until the node has answered something that was sent later: a client
//! that has seen such a reply is not served what was kept of the same key before, and what is kept is not put beside what
//! was kept before as if both were of one moment.
//!
//! It must never know what is kept.

use crate::clock::Time;
use crate::proxy::ids::{ClientId, NodeKey};

/// Of each kind.
const MOST: usize = 1024;

/// A reply of a node came then.
#[derive(Debug, Clone, Copy)]
struct Came {
    node: NodeKey,
    at: Time,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Unsettled {
    /// Clients that may have seen something of the key of this hash that is newer than what is kept of it.
    readers: Vec<(u64, ClientId, Came)>,
    /// Hashes of keys of which a reply was kept.
    keys: Vec<(u64, Came)>,
}

impl Unsettled {
    /// A client has seen a reply. False if there are too many to know of.
    pub fn add_reader(&mut self, hash: u64, client: ClientId, node: NodeKey, at: Time) -> bool {
        let has_room = self.readers.len() < MOST;
        if has_room {
            self.readers.push((hash, client, Came { node, at }));
        }
        has_room
    }

    /// A reply was kept. False if there are too many to know of.
    pub fn add_key(&mut self, hash: u64, node: NodeKey, at: Time) -> bool {
        let has_room = self.keys.len() < MOST;
        if has_room {
            self.keys.push((hash, Came { node, at }));
        }
        has_room
    }

    /// Whether any client may have seen something that is newer than what is kept.
    #[inline]
    pub fn has_readers(&self) -> bool {
        !self.readers.is_empty()
    }

    /// Whether this client may have seen something of this key that is newer than what is kept of it.
    pub fn has_reader(&self, hash: u64, client: ClientId) -> bool {
        let mut all = self.readers.iter();
        all.any(|(own, reader, _)| *own == hash && *reader == client)
    }

    /// Whether what is kept of this key may be newer than what is kept of others.
    pub fn has_key(&self, hash: u64) -> bool {
        self.keys.iter().any(|(own, _)| *own == hash)
    }

    /// A node has answered something that was sent then: it had reported before what it had executed until then.
    pub fn confirm(&mut self, node: NodeKey, sent_at: Time) {
        let lasts = |came: &Came| came.node != node || came.at >= sent_at;
        self.readers.retain(|(_, _, came)| lasts(came));
        self.keys.retain(|(_, came)| lasts(came));
    }

    /// The connection to a node is lost: nothing that came by it is served.
    pub fn lost(&mut self, node: NodeKey) {
        self.readers.retain(|(_, _, came)| came.node != node);
        self.keys.retain(|(_, came)| came.node != node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_settled_by_an_answer_to_what_was_sent_later() {
        let mut all = Unsettled::default();
        let (client, other) = (ClientId::from_parts(1, 1), ClientId::from_parts(2, 1));
        let at = Time::from_micros;
        assert!(all.add_reader(7, client, NodeKey(0), at(5)));
        assert!(all.add_key(7, NodeKey(0), at(5)));
        assert!(all.has_reader(7, client) && !all.has_reader(7, other));
        assert!(!all.has_reader(8, client) && !all.has_key(8));
        all.confirm(NodeKey(0), at(5));
        all.confirm(NodeKey(1), at(6));
        assert!(all.has_readers() && all.has_key(7));
        all.confirm(NodeKey(0), at(6));
        assert!(!all.has_readers() && !all.has_key(7));
    }

    #[test]
    fn there_are_never_very_many() {
        let mut all = Unsettled::default();
        let client = ClientId::from_parts(1, 1);
        let known = (0..MOST as u64).all(|hash| all.add_key(hash, NodeKey(0), Time::default()));
        assert!(known && !all.add_key(0, NodeKey(0), Time::default()));
        let mut known =
            (0..MOST as u64).map(|hash| all.add_reader(hash, client, NodeKey(0), Time::default()));
        assert!(known.all(|known| known));
        assert!(!all.add_reader(0, client, NodeKey(0), Time::default()));
    }
}
