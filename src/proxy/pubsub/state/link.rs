//! `Link`: this worker's one connection to a node for subscriptions, and what the node still has to confirm
//! on it. Confirmations and messages come as pushes; only what a node refuses is answered like a request.
//!
//! It must never know who the subscribers are.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::clock::Time;
use crate::proxy::ids::BackendId;
use crate::proxy::pubsub::state::kind::{Act, Kind};

/// What a node has been asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The kind of name.
    pub kind: Kind,
    /// Whether its subscription is to begin or to end.
    pub act: Act,
    /// The name.
    pub name: Arc<[u8]>,
    /// Its number, unlike that of any other.
    pub serial: u64,
}

/// The connection to one node.
#[derive(Debug)]
pub struct Link {
    /// Its name.
    pub backend: BackendId,
    /// Where it leads.
    pub address: SocketAddr,
    /// What has not been confirmed or refused yet, oldest first.
    pub asked: VecDeque<Asked>,
    /// What the node may count us for: from when it is asked for until its end is confirmed.
    pub names: BTreeSet<(Kind, Arc<[u8]>)>,
    /// When the node is next asked whether it is still there.
    pub ping_at: Time,
}

impl Link {
    /// A connection that is about to be made.
    pub fn new(backend: BackendId, address: SocketAddr, ping_at: Time) -> Link {
        Link {
            backend,
            address,
            asked: VecDeque::new(),
            names: BTreeSet::new(),
            ping_at,
        }
    }

    /// Takes the oldest request out, if it is this one.
    pub fn take(&mut self, kind: Kind, act: Act, name: &[u8]) -> Option<Asked> {
        let front = self.asked.front()?;
        if (front.kind, front.act, &*front.name) != (kind, act, name) {
            return None;
        }
        self.asked.pop_front()
    }

    /// Whether nothing is subscribed to on it, nor asked for.
    pub fn is_idle(&self) -> bool {
        self.names.is_empty() && self.asked.is_empty()
    }
}
