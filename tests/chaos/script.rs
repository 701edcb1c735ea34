//! Scripts that do their work and then answer an error of their own, often in words that a node refuses with. The
//! reply must reach the client as it came, and the tap counts executions by the write inside the script.
//!
//! Only words that no fault can make true: what a script says to the letter *and* what is so a moment later cannot
//! be told from a refusal by anybody.

use super::random::Random;
use crate::support::{Conn, slot_of};

/// Writes its nonce, then answers with the words it was given, or `OK` if there are none.
const BODY: &str = "redis.call('set', KEYS[1], ARGV[1]) \
    if ARGV[2] == '' then return 'OK' end return redis.error_reply(ARGV[2])";

/// The first letters of every key that a script writes.
pub const PREFIX: &str = "e:";

/// Loads the script through the proxy, and returns its name there.
pub fn load(addr: &str) -> String {
    let reply = Conn::connect(addr).command(&["SCRIPT", "LOAD", BODY]);
    assert!(!reply.is_error(), "{reply:?}");
    reply.text()
}

/// What a script says of itself, by chance; nothing is `OK`.
pub fn words(tag: &str, random: &mut Random) -> String {
    let slot = slot_of(tag);
    match random.below(14) {
        0 => "READONLY x".into(),
        1 => "LOADING x".into(),
        2 => "CLUSTERDOWN x".into(),
        3 => "MASTERDOWN x".into(),
        4 => "TRYAGAIN x".into(),
        5 => "BUSY x".into(),
        6 => "NOAUTH x".into(),
        // Redirects in their exact form, to where nobody is, and for a slot that is not the script's.
        7 | 8 => format!("MOVED {slot} 127.0.0.1:1"),
        9 => format!("ASK {slot} 127.0.0.1:1"),
        10 => format!("MOVED {} 127.0.0.1:1", (slot + 1) % 16384),
        11 => "NOSCRIPT No matching script. Please use EVAL.".into(),
        _ => String::new(),
    }
}

/// A call of the script, by its body or its name.
pub fn call(
    sha: &str,
    key: String,
    nonce: String,
    words: &str,
    random: &mut Random,
) -> Vec<Vec<u8>> {
    let (command, script) = match random.below(2) {
        0 => ("EVAL", BODY),
        _ => ("EVALSHA", sha),
    };
    let args = [command, script, "1", &key, &nonce, words];
    args.iter().map(|arg| arg.as_bytes().to_vec()).collect()
}
