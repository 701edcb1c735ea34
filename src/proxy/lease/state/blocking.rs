//! `Blocking`: a command that may keep its connection waiting.

use crate::clock::Time;
use crate::command::Timeout;
use crate::proxy::stats::key_tally::KeyHash;

/// A command that may keep its connection waiting.
#[derive(Debug)]
pub struct Blocking {
    /// When its own time is over, if it names one.
    pub deadline: Option<Time>,
    /// Which argument names it.
    pub(in crate::proxy::lease) timeout: Option<(usize, Timeout)>,
    /// The keys that it waits for.
    pub(in crate::proxy::lease) keys: Vec<KeyHash>,
    /// Whether it ends when one of them does.
    pub(in crate::proxy::lease) on_nokey: bool,
    /// Whether it changes nothing.
    pub readonly: bool,
    /// Whether it has been tried once, so that some of its time may be over.
    pub(in crate::proxy::lease) tried: bool,
}

impl Blocking {
    /// Notes that it is tried; returns whether it was before.
    pub(in crate::proxy::lease) fn note_try(&mut self) -> bool {
        std::mem::replace(&mut self.tried, true)
    }
}

/// What a node says to a blocked client when it is no master any more.
pub(in crate::proxy::lease) fn is_thrown_out(error: &[u8]) -> bool {
    error.starts_with(b"UNBLOCKED force unblock from blocking operation, instance state changed")
}
