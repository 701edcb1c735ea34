//! `WorkerQuery`: a question of one worker to the others, since each knows its own clients only; and the messages
//! that carry questions and answers.
//!
//! An answer is a reply frame: it fills a part of the asking client's request as a node's reply does.

use std::sync::Arc;

use crate::proxy::ids::{ClientId, PartId};
use crate::proxy::messages::client_filter::{Filter, Selection};
use crate::proxy::messages::client_pause::ClientPause;
use crate::proxy::messages::monitor_feed::Lines;
use crate::proxy::scripts::flags::Functions;
use crate::proxy::tracking::state::invalidation::Invalidation;
use crate::proxy::tracking::state::mode::Target;
use crate::proxy::tracking::state::seek::Found;

/// Something that every worker can answer for itself.
#[derive(Debug, Clone)]
pub enum WorkerQuery {
    /// How many clients are connected: an integer.
    CountClients,
    /// How many clients there are of each library and address, see `Counts::print`.
    ClientCounts,
    /// To take the config that is in force now: OK.
    RenewConfig,
    /// To take the users that are in force now, and to close the clients of those that are no more: OK.
    RenewUsers,
    /// The lines of these clients: an array of number and line in turns.
    List(Selection),
    /// These clients are closed: how many there were.
    Kill(Box<Filter>),
    /// Requests wait from now on.
    PauseClients(ClientPause),
    /// These are the functions of the nodes, of which those that cannot write do not wait.
    Functions(Arc<Functions>),
    /// They wait no more.
    UnpauseClients,
    /// The client of this number waits no more, and hears of it in an error if so wished: 1 if it waited.
    Unblock(i64, bool),
    /// To count from zero again: `OK`.
    ResetStats,
    /// Its hot keys, see `HotKeys::print`.
    HotKeys,
    /// Its big keys, see `BigKeys::print`.
    BigKeys,
    /// So many keys of its near cache, those with most bytes: an array of key, replies, bytes and hits in turns.
    NearKeys(usize),
    /// To forget what its near cache keeps: `OK`.
    NearFlush,
    /// Its slow log, see `SlowLog::print`.
    SlowLog,
    /// To forget its slow log: `OK`.
    ResetSlowLog,
    /// What a cluster would refuse, see `Audit::print`.
    Audit,
}

/// A message between workers.
#[derive(Debug, Clone)]
pub enum WorkerMessage {
    /// A question, and where its answer belongs.
    Asked {
        /// The worker that asks.
        from: usize,
        /// The part that waits for the answer.
        part: PartId,
        /// What is asked.
        question: WorkerQuery,
    },
    /// The answer to a part of a client's request.
    Answered {
        /// The part that waits for the answer.
        part: PartId,
        /// A reply frame.
        reply: Vec<u8>,
    },
    /// Lines for the monitors of this worker.
    Lines {
        /// The worker that they come from.
        from: usize,
        /// The lines.
        lines: Lines,
    },
    /// A subscription is confirmed or given up: these publishers look again whether they have to wait.
    SubscribersSettled(Vec<ClientId>),
    /// A client wants to be told by the client of this number (CLIENT TRACKING with REDIRECT).
    SeekClient {
        /// Its worker.
        from: usize,
        /// Its request, which waits.
        part: PartId,
        /// The number.
        number: u64,
    },
    /// The answer to that.
    FoundClient(Found),
    /// A client is told what another one is to be told.
    Invalidated {
        /// That one: its worker, and its name there.
        from: (usize, ClientId),
        /// The one that is told.
        target: Target,
        /// What.
        told: Invalidation,
    },
    /// The client of this number, that another one is told by, has gone.
    RedirectBroken {
        /// That other one.
        source: ClientId,
        /// The number.
        number: u64,
    },
    /// The lines that this worker sent have been taken.
    LinesTaken {
        /// The worker that took them.
        by: usize,
    },
}
