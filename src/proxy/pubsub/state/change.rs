//! `Change`: what a client wants of its subscriptions; `Pending`: one that waits for nodes to confirm.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::Time;
use crate::proxy::ids::{ClientId, Seq};
use crate::proxy::pubsub::state::announced::Announcement;
use crate::proxy::pubsub::state::kind::{Act, Kind};

/// What a client wants of its subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The kind of names.
    pub kind: Kind,
    /// Whether to subscribe or to unsubscribe.
    pub act: Act,
    /// The names; none stands for all that there are.
    pub names: Vec<Arc<[u8]>>,
    /// How many names of the request came before these.
    pub from: usize,
    /// Whether more of them come behind.
    pub more: bool,
}

/// A SUBSCRIBE that waits for nodes to confirm.
#[derive(Debug)]
pub struct Pending {
    pub(in crate::proxy::pubsub) client: ClientId,
    pub(in crate::proxy::pubsub) seq: Seq,
    pub(in crate::proxy::pubsub) kind: Kind,
    /// As they were given.
    pub(in crate::proxy::pubsub) names: Vec<Arc<[u8]>>,
    /// Each once.
    pub(in crate::proxy::pubsub) topics: BTreeSet<Arc<[u8]>>,
    /// How many of the topics are still to be confirmed.
    pub(in crate::proxy::pubsub) left: usize,
    /// When it is given up.
    pub(in crate::proxy::pubsub) expires: Time,
    /// What publishers know of it.
    pub(in crate::proxy::pubsub) announcement: Option<Announcement>,
    /// Whether an error is for nobody to hear (`CLIENT REPLY`): confirmations pass.
    pub(in crate::proxy::pubsub) muted: bool,
}

impl Pending {
    /// How many topics it names.
    pub fn topics(&self) -> usize {
        self.topics.len()
    }
}
