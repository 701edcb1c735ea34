//! `Proxy`: the whole state of one worker.
//!
//! Its parts are in the rooms that come before this one in the table of `proxy`, the code that acts on it in those
//! after it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::acl::Users;
use crate::arena::Arena;
use crate::buffer::{Pool, ReadBuf};
use crate::clock::Time;
use crate::command::{Servers, Table};
use crate::config::Config;
use crate::log_throttle::LogThrottle;
use crate::proxy::actions::Actions;
use crate::proxy::client::Client;
use crate::proxy::client::active::Active;
use crate::proxy::client::own_errors::Suspects;
use crate::proxy::ids::{BackendId, ClientId, OfClient};
use crate::proxy::insight::Insight;
use crate::proxy::lease::state::leases::Leases;
use crate::proxy::local::Handlers;
use crate::proxy::local::plain_names::Names;
use crate::proxy::messages::client_filter::Listings;
use crate::proxy::messages::client_pause::ClientPause;
use crate::proxy::messages::monitor_feed::MonitorFeed;
use crate::proxy::messages::worker_query::WorkerMessage;
use crate::proxy::namespace::namespaces::Namespaces;
use crate::proxy::namespace::request::Tagged;
use crate::proxy::namespace::scripts::Named;
use crate::proxy::near_cache::state::NearCache;
use crate::proxy::near_cache::state::hand::Hand;
use crate::proxy::pipeline::Spares;
use crate::proxy::pipeline::by_slot::{KeyInFrame, SlotPart};
use crate::proxy::pipeline::unmerged::Unmerged;
use crate::proxy::process::Process;
use crate::proxy::pubsub::state::Pubsub;
use crate::proxy::scripts::Seen;
use crate::proxy::scripts::flags::Functions;
use crate::proxy::stats::largest::Largest;
use crate::proxy::stats::masters_info::asking::MastersInfoQueue;
use crate::proxy::stats::sample::NodeSample;
use crate::proxy::stats::turn_latencies::TurnLatencies;
use crate::proxy::stats::{Activity, Rates, Stats};
use crate::proxy::tracking::state::Tracking;
use crate::proxy::upstream::Upstream;
use crate::resp::args::Span;

/// Memory that is used within one call and kept for the next.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Scratch {
    pub(in crate::proxy) spans: Vec<Span>,
    pub(in crate::proxy) keys: Vec<u32>,
    pub(in crate::proxy) keys_in_frame: Vec<KeyInFrame>,
    /// Those of a request that the near cache looks at.
    pub(in crate::proxy) near_keys: Vec<u32>,
    pub(in crate::proxy) near_parts: Hand,
    pub(in crate::proxy) frames: Vec<u8>,
    /// The request of a client of a namespace.
    pub(in crate::proxy) tagged: Tagged,
    pub(in crate::proxy) by_slot: Vec<(u16, u32)>,
    pub(in crate::proxy) parts: Vec<SlotPart>,
    pub(in crate::proxy) reply: Vec<u8>,
    pub(in crate::proxy) line: Vec<u8>,
    pub(in crate::proxy) backends: Vec<BackendId>,
    pub(in crate::proxy) nodes: Vec<NodeSample>,
}

/// The state of one worker.
#[derive(Debug)]
pub struct Proxy {
    pub(in crate::proxy) config: Arc<Config>,
    /// Tells of clients that have come to the wrong address.
    pub(in crate::proxy) tls_log: LogThrottle,
    /// Bytes that may still be taken before what clients hold is looked at again, ahead of time.
    pub(in crate::proxy) until_memory_look: usize,
    /// The same, of clients that have not logged in.
    pub(in crate::proxy) until_strangers_look: usize,
    /// Whether clients are not read because they hold much.
    pub(in crate::proxy) holds_back: bool,
    /// Tells of failed logins.
    pub(in crate::proxy) login_log: LogThrottle,
    /// Clients whose logins are delayed, and until when.
    pub(in crate::proxy) late_logins: VecDeque<(Time, ClientId)>,
    /// Clients whose questions are to be put to a node again, and when.
    pub(in crate::proxy) late_questions: VecDeque<(Time, ClientId)>,
    /// The number of the last question.
    pub(in crate::proxy) questions: u32,
    /// A password that nobody has: a user who takes it takes any.
    pub(in crate::proxy) unguessable: Vec<u8>,
    pub(in crate::proxy) table: Arc<Table>,
    pub(in crate::proxy) servers: Servers,
    pub(in crate::proxy) handlers: Handlers,
    pub(in crate::proxy) plain: Names,
    pub(in crate::proxy) process: Arc<Process>,
    /// The users, as this worker last took them.
    pub(in crate::proxy) users: Arc<Users>,
    /// Our place among the workers.
    pub(in crate::proxy) worker: usize,
    pub(in crate::proxy) stats: Arc<Stats>,
    pub(in crate::proxy) clients: Arena<Client, OfClient>,
    pub(in crate::proxy) upstream: Upstream,
    pub(in crate::proxy) actions: Actions,
    pub(in crate::proxy) pool: Pool,
    pub(in crate::proxy) spares: Spares,
    /// Where clients are read into that have nothing left over: one after the other, so that it is in the
    /// cache.
    ///
    /// Invariant: it holds nothing but between `room` and `input`.
    pub(in crate::proxy) inbox: ReadBuf,
    pub(in crate::proxy) scratch: Scratch,
    /// Bodies of EVAL that have been remembered.
    pub(in crate::proxy) seen: Seen,
    /// The namespaces that clients are in.
    pub(in crate::proxy) namespaces: Namespaces,
    /// The names of their scripts, as far as this worker has used them.
    pub(in crate::proxy) named_scripts: Named,
    /// What has made up a server's words.
    pub(in crate::proxy) suspects: Suspects,
    /// What clients are subscribed to.
    pub(in crate::proxy) pubsub: Pubsub,
    /// What clients that cache for themselves have read.
    pub(in crate::proxy) tracking: Tracking,
    /// The near cache, if there is one.
    pub(in crate::proxy) near: Option<Box<NearCache>>,
    /// Clients with held requests, each once.
    pub(in crate::proxy) holding: Vec<ClientId>,
    pub(in crate::proxy) held_bytes: usize,
    pub(in crate::proxy) held_requests: usize,
    /// How many clients have just asked for something.
    pub(in crate::proxy) active: Active,
    /// Times that a held request was tried.
    #[cfg(test)]
    pub(in crate::proxy) attempts: u64,
    /// Counts the turns.
    pub(in crate::proxy) turn: u64,
    /// Clients that go on in the next turn, each once.
    pub(in crate::proxy) behind: Vec<ClientId>,
    /// Replies that are merged in steps.
    pub(in crate::proxy) unmerged: Unmerged,
    /// Lists of clients that are made in steps.
    pub(in crate::proxy) listings: Listings,
    /// When the first held request is due.
    pub(in crate::proxy) hold_due: Time,
    /// When scripts on shared connections are to be looked at, if there are any (see `connections::overdue`).
    pub(in crate::proxy) scripts_due: Option<Time>,
    pub(in crate::proxy) next_sweep: Time,
    pub(in crate::proxy) next_idle_sweep: Time,
    /// Commands counted when idle peers were last looked at, and whether any of them has a deadline.
    pub(in crate::proxy) idle_swept: (u64, bool),
    /// What is counted by the second.
    pub(in crate::proxy) rates: Rates,
    /// What the worker had done when it last gave its memory back; it does so once for each time that it rests.
    pub(in crate::proxy) rested: Option<Activity>,
    /// Requests sent when deadlines were last looked at, and whether any was outstanding.
    pub(in crate::proxy) swept: (u64, bool),
    /// Requests answered in this turn.
    pub(in crate::proxy) turn_latencies: TurnLatencies,
    /// What has been seen of single requests.
    pub(in crate::proxy) insight: Insight,
    /// What was large in this turn.
    pub(in crate::proxy) largest: Largest,
    /// Requests until the next one that is looked at; never 0.
    pub(in crate::proxy) until_looked: u64,
    /// Slow requests that are in the counters already.
    pub(in crate::proxy) slow_counted: u64,
    /// Whether no new clients are taken and the present ones are sent away when they have been answered.
    pub(in crate::proxy) draining: bool,
    /// `CLIENT PAUSE`, while it lasts.
    pub(in crate::proxy) client_pause: Option<ClientPause>,
    /// The functions of the nodes, while they must be told apart.
    pub(in crate::proxy) functions: Option<Arc<Functions>>,
    /// When leases are to be looked at.
    pub(in crate::proxy) leases: Leases,
    /// Clients that MONITOR, each once.
    pub(in crate::proxy) monitors: Vec<ClientId>,
    /// What has been done beside requests, each as much as one of them: lines handed to monitors, long answers of our own,
    /// keys that are noted.
    pub(in crate::proxy) beside_requests: u64,
    /// Clients that were to go on in this turn, and had to be left for the next one.
    pub(in crate::proxy) unreached: Vec<ClientId>,
    /// What was done in this turn for clients that went on with what they had sent before.
    pub(in crate::proxy) resumed_work: usize,
    /// Lines on their way to the monitors of each worker.
    pub(in crate::proxy) monitor_feeds: Vec<MonitorFeed>,
    /// Clients that wait for what the masters say of themselves.
    pub(in crate::proxy) masters_info_queue: MastersInfoQueue,
    /// Tells of clients that are closed for their memory.
    pub(in crate::proxy) memory_log: LogThrottle,
    /// Tells of clients that are not read for want of memory: those that are closed are told of beside them.
    pub(in crate::proxy) held_back_log: LogThrottle,
    /// Letters that somebody waits for, and that other workers had no room for.
    pub(in crate::proxy) returned: Vec<(usize, WorkerMessage)>,
    pub(in crate::proxy) random: u64,
}
