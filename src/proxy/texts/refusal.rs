//! `Refusal`: what a node says when it did not execute a request and another place, or another time, may
//! do better; and the fixed texts of the errors that the proxy makes itself.
//!
//! Only what servers say before they execute anything is here, in the very words of Redis 7.0 to 8 and Valkey 8 and 9
//! (`clusterRedirectClient`, `processCommand`, `scriptPrepareForRun`, `evalShaCommand`, `fcallCommand`). Whatever
//! differs by a letter passes to the client as it is: an error that is raised inside a script ends in `script: ...`.
//!
//! The same words may be made up by what a request runs, and then it was executed (see `own_errors`).

use std::net::SocketAddr;

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
    /// The node cannot serve now.
    Unavailable(Trouble),
    /// The node lacks what the request names, and would execute it had it been loaded.
    Missing(Missing),
}

/// Why a node cannot serve now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// CLUSTERDOWN.
    ClusterDown,
    /// LOADING.
    Loading,
    /// MASTERDOWN.
    MasterDown,
    /// READONLY.
    ReadOnly,
    /// It has as many clients as it may have.
    Full,
    /// A blocked request is thrown out: the node is no master any more.
    ThrownOut,
}

/// What a node may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The script of an EVALSHA.
    Script,
    /// The function of an FCALL.
    Function,
}

/// The keys of one slot are apart.
pub const TRY_AGAIN: &str = "TRYAGAIN Multiple keys request during rehashing of slot";

/// What servers say in a fixed text.
const FIXED: &[(&str, Refusal<'static>)] = &[
    (TRY_AGAIN, Refusal::TryAgain),
    // Redis 8.4, while it removes the keys of a slot that has left.
    ("TRYAGAIN Slot is being trimmed", Refusal::TryAgain),
    (
        "CLUSTERDOWN Hash slot not served",
        Refusal::Unavailable(Trouble::ClusterDown),
    ),
    (
        "CLUSTERDOWN The cluster is down",
        Refusal::Unavailable(Trouble::ClusterDown),
    ),
    (
        "CLUSTERDOWN The cluster is down and only accepts read commands",
        Refusal::Unavailable(Trouble::ClusterDown),
    ),
    (
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        Refusal::Unavailable(Trouble::MasterDown),
    ),
    (
        "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is not \
         set on the script.",
        Refusal::Unavailable(Trouble::MasterDown),
    ),
    (
        "READONLY You can't write against a read only replica.",
        Refusal::Unavailable(Trouble::ReadOnly),
    ),
    (
        "READONLY Can not run script with write flag on readonly replica",
        Refusal::Unavailable(Trouble::ReadOnly),
    ),
    // These two come unasked, to a connection that the node does not want.
    (
        "ERR max number of clients reached",
        Refusal::Unavailable(Trouble::Full),
    ),
    (
        "ERR max number of clients + cluster connections reached",
        Refusal::Unavailable(Trouble::Full),
    ),
    (
        "NOSCRIPT No matching script. Please use EVAL.",
        Refusal::Missing(Missing::Script),
    ),
    // Valkey, which gives no advice.
    (
        "NOSCRIPT No matching script.",
        Refusal::Missing(Missing::Script),
    ),
    (
        "ERR Function not found",
        Refusal::Missing(Missing::Function),
    ),
];
/// What stands behind the server's own name in `LOADING Redis is loading the dataset in memory`.
const LOADS: &[u8] = b" is loading the dataset in memory";

impl<'a> Refusal<'a> {
    /// Reads the text of an error reply.
    pub fn parse(error: &'a [u8]) -> Option<Refusal<'a>> {
        let (word, rest) = error.split_at(memchr::memchr(b' ', error)?);
        match (word, &rest[1..]) {
            (b"MOVED", rest) => {
                redirect(rest).map(|(slot, endpoint)| Refusal::Moved(slot, endpoint))
            }
            (b"ASK", rest) => redirect(rest).map(|(slot, endpoint)| Refusal::Ask(slot, endpoint)),
            (b"LOADING", rest) => rest
                .strip_suffix(LOADS)
                .filter(|server| is_word(server))
                .map(|_| Refusal::Unavailable(Trouble::Loading)),
            _ => {
                let mut fixed = FIXED.iter();
                fixed
                    .find(|(text, _)| text.as_bytes() == error)
                    .map(|(_, refusal)| *refusal)
            }
        }
    }
}

fn is_word(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_graphic)
}

/// A slot and `host:port`, and nothing else. The host may be empty, or `?`.
fn redirect(text: &[u8]) -> Option<(Slot, &str)> {
    let text = std::str::from_utf8(text).ok()?;
    let (slot, endpoint) = text.split_once(' ')?;
    let (_, port) = endpoint.rsplit_once(':')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let sound = digits(slot) && digits(port) && is_word(endpoint.as_bytes());
    port.parse::<u16>().ok().filter(|_| sound)?;
    Some((Slot::new(slot.parse().ok()?)?, endpoint))
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
/// A node's redirect, or that of a script, that the node did not give again: the slot has come to it meanwhile.
pub const SLOT_CAME: &str =
    "ERR slot moved while the command was sent, command may have been executed";
/// The slot has moved while the request came, and its first bytes are gone.
pub const MOVED_MEANWHILE: &str =
    "TRYAGAIN slot moved while the command was sent, command was not executed";
/// Nothing was sent.
pub const NOT_EXECUTED: &str = "ERR backend unavailable, command was not executed";

/// Nothing was sent, and this is what the node says (see `node_words`). What Redis has a word for is said with it.
pub fn unavailable(node: SocketAddr, words: &str) -> String {
    match words.strip_prefix("says: ") {
        Some(own) if own.starts_with("LOADING ") || own.starts_with("MASTERDOWN ") => own.into(),
        _ => format!("{NOT_EXECUTED}: node {node} {words}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Refusal<'_>>) {
        assert_eq!(Refusal::parse(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn redirects_are_a_slot_and_an_endpoint_and_no_more() {
        let slot = Slot::new(3999).unwrap();
        for endpoint in [
            "127.0.0.1:6381",
            ":6380",
            "?:6380",
            "host.example:1",
            "::1:6380",
        ] {
            check(
                &format!("MOVED 3999 {endpoint}"),
                Some(Refusal::Moved(slot, endpoint)),
            );
            check(
                &format!("ASK 3999 {endpoint}"),
                Some(Refusal::Ask(slot, endpoint)),
            );
        }
        for text in [
            "MOVED 16384 a:1",
            "MOVED x a:1",
            "MOVED +1 a:1",
            "MOVED -1 a:1",
            "MOVED 1",
            "MOVED 1 ",
            "MOVED 1 a",
            "MOVED 1 a:",
            "MOVED 1 a:x",
            "MOVED 1 a:65536",
            "MOVED 1 a:1 ",
            "MOVED 1 a:1 script: x",
            "MOVED  1 a:1",
            "MOVED",
            "moved 1 a:1",
            "ASK 1 host:port",
            "ERR MOVED 1 a:1",
        ] {
            check(text, None);
        }
    }

    /// What a node says before it runs anything is told from what looks like it, letter by letter.
    #[test]
    fn fixed_texts_are_believed_to_the_letter() {
        let loading = Some(Refusal::Unavailable(Trouble::Loading));
        for text in [
            "LOADING Redis is loading the dataset in memory",
            "LOADING Valkey is loading the dataset in memory",
        ] {
            check(text, loading);
        }
        for (text, refusal) in FIXED {
            check(text, Some(*refusal));
            check(&text[..text.len() - 1], None);
            check(&format!("{text} "), None);
            check(&format!("{text}, but other words"), None);
            check(&format!("{text} script: 1f, on @user_script:1."), None);
            let (word, _) = text.split_once(' ').unwrap();
            for other in [word.to_string(), format!("{word} "), format!("{word} x")] {
                check(&other, None);
            }
        }
        for text in [
            "LOADING",
            "LOADING x",
            "LOADING  is loading the dataset in memory",
            "LOADING Redis or so is loading the dataset in memory",
            "LOADING Redis is loading the dataset in memory script: x",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
            "EXECABORT Transaction discarded because of previous errors.",
            "",
            " ",
        ] {
            check(text, None);
        }
    }
}
