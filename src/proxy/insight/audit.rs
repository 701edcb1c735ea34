//! `Audit`: requests that a cluster refuses and this proxy serves, or that it refuses, too: what would have to be
//! changed in a program before it could go without a proxy.

use std::collections::BTreeMap;

use crate::command::Table;
use crate::resp::encode;

/// Why a cluster would refuse a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its keys are in several slots; it was cut in parts.
    Cut,
    /// Its keys are in several slots, and it cannot be cut.
    CrossSlot,
    /// It speaks of all keys, and a node has only its own.
    AllNodes,
    /// The proxy does not serve it.
    Unserved,
}

impl Reason {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Cut => "keys in several slots, served in parts",
            Reason::CrossSlot => "keys in several slots, refused",
            Reason::AllNodes => "speaks for all nodes",
            Reason::Unserved => "not served by this proxy",
        }
    }
}

/// The counts of one worker.
#[derive(Debug, Default)]
pub struct Audit(BTreeMap<(u16, Reason), u64>);

impl Audit {
    /// A request of this row.
    pub fn note(&mut self, command: u16, reason: Reason) {
        *self.0.entry((command, reason)).or_default() += 1;
    }

    /// The counts as a reply: command, reason and count of each, in turns.
    pub fn print(&self, table: &Table, reply: &mut Vec<u8>) {
        encode::array(reply, 3 * self.0.len());
        for ((command, reason), count) in &self.0 {
            encode::bulk(reply, table.row(*command).name.as_bytes());
            encode::bulk(reply, reason.name().as_bytes());
            encode::integer(reply, *count as i64);
        }
    }
}
