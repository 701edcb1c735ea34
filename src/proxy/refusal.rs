//! `Refusal`: what a node says when it did not execute a request and another place, or another time, may
//! do better; and the fixed texts of the errors that the proxy makes itself.
//!
//! Rule: only refusals that Redis gives before execution are here (`getNodeByQuery` and `processCommand` of
//! the server). Everything else passes to the client as it is.

use crate::cluster::slot::Slot;

/// A request was refused before it was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// The slot is served elsewhere from now on; the endpoint is `host:port`.
    Moved(Slot, &'a str),
    /// The key may be elsewhere already: this one request is to go there behind an ASKING.
    Ask(Slot, &'a str),
    /// The keys of one slot are apart while it migrates.
    TryAgain,
    /// The node cannot serve now: CLUSTERDOWN, LOADING, MASTERDOWN, READONLY, or as many clients as it may
    /// have.
    Unavailable,
    /// The node lacks what the request names, and would execute it had it been loaded.
    Missing(Missing),
}

/// What a node may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The script of an EVALSHA.
    Script,
    /// The function of an FCALL.
    Function,
}

impl<'a> Refusal<'a> {
    /// Reads the text of an error reply.
    pub fn parse(error: &'a [u8]) -> Option<Refusal<'a>> {
        let mut words = error.splitn(3, |byte| *byte == b' ');
        match words.next()? {
            b"MOVED" => redirect(words).map(|(slot, endpoint)| Refusal::Moved(slot, endpoint)),
            b"ASK" => redirect(words).map(|(slot, endpoint)| Refusal::Ask(slot, endpoint)),
            b"TRYAGAIN" => Some(Refusal::TryAgain),
            b"CLUSTERDOWN" | b"LOADING" | b"MASTERDOWN" | b"READONLY" => Some(Refusal::Unavailable),
            b"NOSCRIPT" => Some(Refusal::Missing(Missing::Script)),
            b"ERR" if error == b"ERR Function not found" => {
                Some(Refusal::Missing(Missing::Function))
            }
            // It comes unasked, to a connection that the node does not want.
            b"ERR" if error == b"ERR max number of clients reached" => Some(Refusal::Unavailable),
            _ => None,
        }
    }
}

fn redirect<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Option<(Slot, &'a str)> {
    let slot = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let endpoint = std::str::from_utf8(words.next()?).ok()?;
    Some((Slot::new(slot)?, endpoint))
}

/// No node is known to serve the slot.
pub const SLOT_NOT_SERVED: &str = "CLUSTERDOWN Hash slot not served";
/// No node answers.
pub const CLUSTER_DOWN: &str = "CLUSTERDOWN The cluster is down";
/// Keys of one request lie in several slots and cannot be taken apart.
pub const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
/// The connection was lost behind the last byte of the request.
pub const LOST: &str = "ERR backend connection lost, command may have been executed";
/// The reply did not come in time.
pub const TIMED_OUT: &str = "ERR backend timeout, command may have been executed";
/// Nothing was sent.
pub const NOT_EXECUTED: &str = "ERR backend unavailable, command was not executed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_errors() {
        let slot = Slot::new(3999).unwrap();
        let check =
            |text: &str, expected| assert_eq!(Refusal::parse(text.as_bytes()), expected, "{text}");
        check(
            "MOVED 3999 127.0.0.1:6381",
            Some(Refusal::Moved(slot, "127.0.0.1:6381")),
        );
        check("MOVED 3999 :6380", Some(Refusal::Moved(slot, ":6380")));
        check(
            "ASK 3999 host.example:1",
            Some(Refusal::Ask(slot, "host.example:1")),
        );
        check(
            "TRYAGAIN Multiple keys request during rehashing of slot",
            Some(Refusal::TryAgain),
        );
        check(
            "CLUSTERDOWN Hash slot not served",
            Some(Refusal::Unavailable),
        );
        check(
            "LOADING Redis is loading the dataset in memory",
            Some(Refusal::Unavailable),
        );
        check(
            "ERR max number of clients reached",
            Some(Refusal::Unavailable),
        );
        check("ERR max number of clients", None);
        check(
            "NOSCRIPT No matching script. Please use EVAL.",
            Some(Refusal::Missing(Missing::Script)),
        );
        check(
            "ERR Function not found",
            Some(Refusal::Missing(Missing::Function)),
        );
        check("ERR Function not found, but other words", None);
        check("MOVED 16384 a:1", None);
        check("MOVED x a:1", None);
        check("MOVED 1", None);
        check("MOVED", None);
        check("ERR MOVED 1 a:1", None);
        check(
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            None,
        );
        check("", None);
    }
}
