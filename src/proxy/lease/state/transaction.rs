//! `Transaction`: what a client has queued between MULTI and EXEC, and what it watches.

use std::collections::BTreeSet;

use crate::command::ResponsePolicy;
use crate::proxy::lease::state::run::Line;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::stats::key_tally::KeyHash;
use crate::resp::encode::Protocol;

pub(in crate::proxy::lease) const OK: &[u8] = b"+OK\r\n";

pub(in crate::proxy::lease) const QUEUED: &[u8] = b"+QUEUED\r\n";

pub(in crate::proxy::lease) const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";

/// What a key that is watched costs: its places here and in the tally of the process.
const WATCHED: usize = 64;

/// The state of a transaction. Whether MULTI has been said stands in the session (`queueing`).
#[derive(Debug, Default)]
pub struct Transaction {
    /// What has been queued, in order, and who will answer it.
    pub items: Vec<Item>,
    /// What it makes us hold: the bytes of what is queued and watched, and what each request and key costs beside them.
    pub bytes: usize,
    /// A request failed to be queued: EXEC fails.
    pub doomed: bool,
    /// It failed since a script keeps the node busy: what comes now still goes there, to fail in the node's words.
    pub busy: bool,
    /// Two slots have been named: EXEC fails as on one node.
    pub crossed: bool,
    /// A WATCH has succeeded at the node that the run is at.
    pub watching: bool,
    /// What was watched is watched no more: EXEC answers nil.
    pub broken: bool,
    /// Keys named by WATCH.
    pub watched: BTreeSet<KeyHash>,
    /// The channel of the first PUBLISH: it says where a transaction goes that has no keys.
    pub channel: Option<Vec<u8>>,
    /// Whether anything queued may change data, functions aside.
    pub writes: bool,
    /// The functions that are called, and whether each may change data if nobody knows it.
    pub functions: Vec<(Vec<u8>, bool)>,
    /// The runs, with the names of scripts that are queued in them.
    pub scripts: Vec<(u16, Vec<u8>)>,
}

/// One queued request.
#[derive(Debug)]
pub enum Item {
    /// This run answers it.
    Run(u16),
    /// This run answers it with the number of receivers as its node counts them, which the proxy puts right.
    Publish(u16, Kind, Vec<u8>),
    /// Runs answer it, each for the keys of its slot.
    Cut(Parts),
    /// It is for all nodes. The first run answers it for its node, in its place among the others; the proxy sees to
    /// the other nodes.
    Share(Own),
    /// The proxy answers it.
    Own(Own),
}

/// A request that the proxy serves at EXEC.
#[derive(Debug)]
pub struct Own {
    /// Its row.
    pub row: u16,
    /// Its bytes.
    pub frame: Vec<u8>,
}

/// A request that is cut by slot.
#[derive(Debug)]
pub struct Parts {
    /// How the replies become one.
    pub policy: ResponsePolicy,
    /// Whether it changes data.
    pub write: bool,
    /// The run of each part.
    pub runs: Vec<u16>,
    /// The part of each key.
    pub order: Vec<u16>,
}

impl Transaction {
    /// A request is to be queued, with so many bytes in each of so many copies.
    pub(in crate::proxy::lease) fn count_queued(&mut self, bytes: usize, copies: usize) {
        let each = bytes + Line::COST;
        self.bytes += size_of::<Item>() + each.saturating_mul(copies);
    }

    /// So many keys are to be watched, by a request of so many bytes.
    pub(in crate::proxy::lease) fn count_watched(&mut self, bytes: usize, keys: usize) {
        self.bytes += bytes + Line::COST + keys * WATCHED;
    }

    /// Whether EXEC fails whatever comes, so that nothing is sent or kept any more.
    pub(in crate::proxy::lease) fn fails_already(&self) -> bool {
        (self.doomed && !self.busy) || self.crossed || self.broken
    }

    /// It fails, so nothing of what is queued is needed any more.
    pub(in crate::proxy::lease) fn forget_queued(&mut self) {
        self.items = Vec::new();
        self.functions = Vec::new();
        self.scripts = Vec::new();
        self.channel = None;
        self.bytes = 0;
        self.doomed = true;
    }

    /// What it publishes to.
    pub fn channels(&self) -> Vec<(Kind, Vec<u8>)> {
        let channel = |item: &Item| match item {
            Item::Publish(_, kind, channel) => Some((*kind, channel.clone())),
            _ => None,
        };
        self.items.iter().filter_map(channel).collect()
    }
}

impl Item {
    /// Whether nodes alone answer it.
    pub fn is_of_nodes(&self) -> bool {
        !matches!(self, Item::Share(_) | Item::Own(_))
    }
}

/// What EXEC answers when a watched key has changed.
pub(in crate::proxy::lease) fn null_array(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Resp2 => b"*-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    }
}
