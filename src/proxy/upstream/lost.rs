//! `Lost`: the reason why a connection to a node is closed.

use crate::proxy::stats::Counter;
use crate::proxy::stats::node_stats::NodeStats;
use crate::proxy::upstream::backend::State;

/// Why a backend was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The node closed it, or the network did.
    Closed,
    /// It could not be connected in time, or a reply did not come in time.
    TimedOut,
    /// It is silent, and the cluster does without it.
    Gone,
    /// The node broke the protocol.
    Broken,
    /// The node refused our handshake.
    Refused,
    /// The node refused our password.
    Denied,
    /// We do not need it any more.
    Retired,
}

/// How far a request had come on a connection that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Progress {
    /// It has not wholly left, so that it was not executed.
    Unsent,
    /// It may have been executed, or the node was still at an earlier one.
    Sent,
    /// It may have been executed, and stood first: it may be what has killed the connection.
    SentFirst,
}

impl Progress {
    /// Of request number `index` on the connection; `sent` says whether it has wholly left.
    pub fn of(index: usize, sent: bool) -> Progress {
        match (sent, index) {
            (false, _) => Progress::Unsent,
            (true, 0) => Progress::SentFirst,
            (true, _) => Progress::Sent,
        }
    }
}

/// Where the loss of a connection counts.
pub(in crate::proxy) fn failure_of(lost: Lost, state: State, stats: &NodeStats) -> &Counter {
    match (lost, state) {
        (Lost::Broken, _) => &stats.failures_protocol,
        (Lost::Refused | Lost::Denied, _) => &stats.failures_handshake,
        (_, State::Connecting | State::Handshaking(_)) => &stats.failures_connect,
        (Lost::TimedOut, State::Ready) => &stats.failures_timeout,
        (Lost::Gone, State::Ready) => &stats.failures_gone,
        (Lost::Closed | Lost::Retired, State::Ready) => &stats.failures_closed,
    }
}
