//! `Audit`: requests that a cluster would refuse, whether or not this proxy serves them: what a program must change
//! before it can use the cluster without a proxy (`PROXY AUDIT`).

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
    /// A node of a cluster, or the proxy in its place, says that a cluster does not do this: SELECT 1, a script with a
    /// key of another slot.
    Forbidden,
    /// The proxy does not serve it.
    Unserved,
}

impl Reason {
    /// Why a cluster would have refused the request that got this error, or the proxy has; nothing if neither.
    pub fn of(error: &[u8]) -> Option<Reason> {
        if error.starts_with(b"CROSSSLOT") {
            return Some(Reason::CrossSlot);
        }
        let says = |words: &&[u8]| memchr::memmem::find(error, words).is_some();
        if FORBIDDEN.iter().any(says) {
            return Some(Reason::Forbidden);
        }
        says(&UNSERVED).then_some(Reason::Unserved)
    }

    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Cut => "keys in several slots: split by the proxy",
            Reason::CrossSlot => "keys in several slots: refused",
            Reason::AllNodes => "covers all nodes; a cluster node answers for itself only",
            Reason::Forbidden => "not allowed in a cluster",
            Reason::Unserved => "not supported by this proxy",
        }
    }
}

/// What the errors of Redis say that only a node of a cluster gives, and those of the proxy of what no cluster does.
const FORBIDDEN: [&[u8]; 5] = [
    b"in cluster mode",
    b"in Cluster mode",
    b"in a cluster node",
    b"a cluster has one database",
    // Of SELECT, which a node of a cluster refuses whatever the number.
    b"ERR DB index is out of range",
];

/// What the proxy says of what it does not serve.
const UNSERVED: &[u8] = b"is not supported through this proxy";

/// The counts of one worker.
#[derive(Debug, Default)]
pub struct Audit(BTreeMap<(u16, Reason), u64>);

impl Audit {
    /// A request of this row.
    pub fn note(&mut self, command: u16, reason: Reason) {
        *self.0.entry((command, reason)).or_default() += 1;
    }

    /// A request of this row is answered with this error: if a cluster would have said so, or it is the proxy that does
    /// not serve it, it counts.
    #[cold]
    pub fn note_error(&mut self, command: u16, error: &[u8]) {
        if let Some(reason) = Reason::of(error) {
            self.note(command, reason);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_cluster_are_told_from_others() {
        for (error, expected) in [
            (
                "CROSSSLOT Keys in request don't hash to the same slot",
                Some(Reason::CrossSlot),
            ),
            (
                "ERR SELECT is not allowed in cluster mode",
                Some(Reason::Forbidden),
            ),
            (
                "ERR BY option of SORT denied in cluster mode when keys formed by the pattern may be in different slots.",
                Some(Reason::Forbidden),
            ),
            (
                "ERR BY option of SORT denied in Cluster mode.",
                Some(Reason::Forbidden),
            ),
            (
                "ERR Script attempted to access a non local key in a cluster node script: f, on @user_script:1.",
                Some(Reason::Forbidden),
            ),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                None,
            ),
            ("ERR DB index is out of range", Some(Reason::Forbidden)),
        ] {
            assert_eq!(Reason::of(error.as_bytes()), expected, "{error}");
        }
    }
}
