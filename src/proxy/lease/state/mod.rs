//! The exclusive connections of one client to nodes, as data.
//!
//! It must never know how a connection is obtained, nor send anything.

mod accepted;
pub mod blocking;
pub mod execution;
pub mod leases;
pub mod order;
pub mod run;
pub mod transaction;
pub mod wait;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clock::Time;
use crate::proxy::lease::state::blocking::Blocking;
use crate::proxy::lease::state::run::{Owed, Run};
use crate::proxy::lease::state::transaction::Transaction;
use crate::proxy::lease::state::wait::Wait;
use crate::proxy::stats::key_tally::KeyHash;
use crate::proxy::stats::lease_counts::LeaseCounts;
use crate::proxy::texts::refusal::{Missing, Refusal, Trouble};
use crate::proxy::upstream::lost::Lost;
use crate::resp::reply::Reply;

/// What one client has for itself at nodes.
#[derive(Debug)]
pub struct Lease {
    /// What it is for.
    pub work: Work,
    /// Its sequences of requests.
    pub runs: Vec<Run>,
    /// When the client last asked for something of it.
    pub active_at: Time,
    /// Whether its client, which is blocked, has stopped sending.
    pub(in crate::proxy::lease) left: bool,
    /// Whether somebody has asked that it be let go, with an error or without.
    pub(in crate::proxy::lease) unblock: Option<bool>,
    /// What the client held before: keys watched, while it blocks.
    pub beneath: Option<Box<Lease>>,
}

/// What a lease is for.
#[derive(Debug)]
pub enum Work {
    /// WATCH and MULTI.
    Transaction(Transaction),
    /// A command that waits for its reply as long as the client wishes.
    Blocking(Blocking),
    /// WAIT and WAITAOF.
    Wait(Wait),
    /// A large request that goes to its node as it comes.
    Streamed,
}

/// Whether a lease goes on after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy::lease) enum Next {
    /// It does.
    Keep,
    /// It has done its work.
    End,
}

/// What a node says when it would discard a transaction for a reason that passes.
pub(in crate::proxy::lease) const DISCARDED_BECAUSE: &[u8] =
    b"EXECABORT Transaction discarded because of: ";

impl LeaseCounts {
    pub(in crate::proxy::lease) fn of(&self, work: &Work) -> &AtomicUsize {
        match work {
            Work::Transaction(_) => &self.transactions,
            Work::Blocking(_) | Work::Wait(_) | Work::Streamed => &self.blocking,
        }
    }

    /// The keys that a lease is of count no more.
    pub(in crate::proxy::lease) fn forget_keys(&self, work: &Work) {
        match work {
            Work::Transaction(transaction) if !transaction.watched.is_empty() => {
                let keys: Vec<KeyHash> = transaction.watched.iter().copied().collect();
                self.watched_keys.remove(&keys);
                self.watching.fetch_sub(1, Ordering::Relaxed);
            }
            Work::Blocking(blocking) => {
                self.blocking_keys.remove(&blocking.keys);
                if blocking.on_nokey {
                    self.blocking_keys_on_nokey.remove(&blocking.keys);
                }
            }
            Work::Transaction(_) | Work::Wait(_) | Work::Streamed => {}
        }
    }

    /// The keys that a blocking command waits for count.
    pub(in crate::proxy::lease) fn note_keys(&self, blocking: &Blocking) {
        self.blocking_keys.add(&blocking.keys);
        if blocking.on_nokey {
            self.blocking_keys_on_nokey.add(&blocking.keys);
        }
    }
}

impl Work {
    /// Whether keys are watched at a node, so that what was there cannot be begun anew elsewhere.
    pub(in crate::proxy::lease) fn is_watching(&self) -> bool {
        matches!(self, Work::Transaction(transaction) if transaction.watching)
    }

    /// Whether it does no harm to run it again after its connection was lost behind its last byte.
    pub(in crate::proxy::lease) fn may_run_twice(&self, lost: Lost) -> bool {
        matches!(self, Work::Blocking(blocking) if blocking.readonly) && lost != Lost::TimedOut
    }
}

/// Whether a reply says that nothing has been executed, and another place or time may do better.
pub(in crate::proxy::lease) fn refusal_in<'a>(reply: Reply<'a>, owed: Owed) -> Option<Refusal<'a>> {
    let mut error = reply.error()?;
    if matches!(owed, Owed::Last(..)) {
        error = error.strip_prefix(DISCARDED_BECAUSE).unwrap_or(error);
        if blocking::is_thrown_out(error) {
            return Some(Refusal::Unavailable(Trouble::ThrownOut));
        }
    }
    match Refusal::parse(error)? {
        Refusal::Missing(Missing::Script | Missing::Function) => None,
        refusal => Some(refusal),
    }
}
