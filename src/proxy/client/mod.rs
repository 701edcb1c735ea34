//! `Client`: one connection from a client: its bytes, its pipeline, its session, its held requests.
//!
//! It must never know which sockets exist, nor point at a backend other than by name.

pub(super) mod active;
pub mod auth_backend;
pub(super) mod backlog;
mod handover;
pub(super) mod held;
pub mod held_keys;
mod held_memory;
pub(super) mod list_line;
pub mod own_errors;
pub mod session;
pub mod split_in_turns;
pub mod step;
pub mod streamed;

use std::net::SocketAddr;

use crate::buffer::{Pool, ReadBuf, WriteBuf};
use crate::clock::Time;
use crate::config::{Limits, Listen};
use crate::proxy::actions::Actions;
use crate::proxy::client::auth_backend::Judgement;
use crate::proxy::client::backlog::Backlog;
use crate::proxy::client::held::HeldRequests;
use crate::proxy::client::session::Session;
use crate::proxy::client::split_in_turns::Cut;
use crate::proxy::client::streamed::StreamedRequest;
use crate::proxy::ids::{BackendId, ClientId, Seq};
use crate::proxy::lease::state::execution::Execution;
use crate::proxy::lease::state::{Lease, Work};
use crate::proxy::pipeline::Pipeline;
use crate::proxy::pipeline::client_reply::ClientReply;
use crate::proxy::stats::{Counter, Stats};
use crate::proxy::tracking::state::late::Late;
use crate::resp::frame::RequestScanner;

/// Requests that a new client may have outstanding: nobody knows yet how large its replies are. A pipeline of 16,
/// which is what most programs send at a time, passes without a stop.
pub const FIRST_WINDOW: usize = 20;
/// See [`Client::names_done`].
pub const GIVEN_UP: usize = usize::MAX;

/// Why no request of a client is taken for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// Its next command takes effect on an empty pipeline.
    Barrier,
    /// It has too many requests, or too many bytes of replies, outstanding.
    Full,
    /// The backend of its next request has too much to send already.
    Backend(BackendId),
    /// Its next command waits for the end of a `CLIENT PAUSE`.
    ClientPause,
    /// Its login waits, since many logins from its address have failed.
    Login,
    /// Its next command waits until a node has said whether it may be run.
    Verdict,
    /// Its PUBLISH waits for subscriptions on their way.
    Subscribers,
    /// Its request, which is to go to its node as it comes, waits for a connection of its own.
    Connection,
    /// It has had its share of this turn: the rest of its backlog is for the next ones. A resume is on its way.
    Behind,
    /// It is about to go to the process that takes over, which takes its next request.
    HandOver,
    /// It is not read, since it holds much of the memory that all clients may hold.
    Memory,
}

/// Why a client is closed, as far as the client itself knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// It will send no more, or said QUIT.
    Left,
    /// Its connection broke.
    Broken,
    /// It broke the protocol.
    Confused,
    /// It was turned away when it came.
    Refused,
    /// It was sent away because the proxy ends.
    Drained,
    /// It killed itself.
    Killed,
    /// It did not read what it was owed.
    Overfull,
    /// It sent more than may wait to be executed.
    Unread,
    /// There was no memory for what it sent.
    Unallocated,
    /// It stopped in the middle of a large request.
    Stopped,
    /// It has got a part of a reply whose rest is lost: it is closed whatever it is owed.
    Severed,
}

impl Parting {
    /// Where it counts.
    pub fn counter(self, stats: &Stats) -> &Counter {
        match self {
            Parting::Left => &stats.clients_left,
            Parting::Broken => &stats.clients_broken,
            Parting::Confused => &stats.clients_confused,
            Parting::Refused => &stats.clients_refused,
            Parting::Drained => &stats.clients_drained,
            Parting::Killed => &stats.clients_killed,
            Parting::Overfull => &stats.clients_overfull,
            Parting::Unread => &stats.clients_unread,
            Parting::Unallocated => &stats.clients_memory,
            Parting::Stopped => &stats.clients_stopped,
            Parting::Severed => &stats.clients_severed,
        }
    }
}

/// One connection from a client.
#[derive(Debug)]
pub struct Client {
    /// Where it comes from; nothing for a Unix socket.
    pub address: Option<SocketAddr>,
    /// The address of ours that it has come to.
    pub local: Option<Listen>,
    /// Its socket's descriptor, for its own eyes.
    pub descriptor: i32,
    /// When it came.
    pub connected_at: Time,
    /// When bytes last went either way.
    pub last_active: Time,
    /// While the proxy answers a request itself: the bytes of that request, and those of its arguments.
    pub at_hand: (usize, usize),
    /// Bytes that have come from it.
    pub bytes_in: u64,
    /// Bytes that have gone to it.
    pub bytes_out: u64,
    /// How many of both have been counted for its namespace.
    pub counted_bytes: (u64, u64),
    /// Bytes from the client.
    pub input: ReadBuf,
    /// What it has sent behind them while it was paused; nothing is no box.
    ///
    /// Invariant: while there is a backlog the client is paused or to be closed.
    pub backlog: Option<Box<Backlog>>,
    /// Whether there may be more to read from it than it has been asked for.
    pub withheld: bool,
    /// Where the next request ends.
    pub scanner: RequestScanner,
    /// Bytes that the request under way is known to lack.
    pub missing: usize,
    /// Bytes to the client.
    pub output: WriteBuf,
    /// The replies it is owed.
    pub pipeline: Pipeline,
    /// Requests that it may have outstanding: so many that their replies, if they are as large as its last large
    /// one, are no more than may wait for it. It grows when the replies have turned out small.
    pub window: usize,
    /// Who it is and what it has set.
    pub session: Session,
    /// Its requests that wait to be sent (see `retry`).
    pub held: HeldRequests,
    /// Whether it is in the list of clients with held requests.
    pub listed_as_holding: bool,
    /// Why no request of it is taken, if none is.
    pub stall: Option<Stall>,
    /// Since when it is not read because it holds much of the memory that all clients may hold.
    pub held_back_since: Option<Time>,
    /// Whether it counts among those that CLIENT PAUSE holds.
    pub paused: bool,
    /// The turn in which it was last resumed.
    pub resumed_in: u64,
    /// When it last sent something, as `Active` counts time.
    pub seen_in: u32,
    /// Whether a `Resume` is on its way.
    pub resume_queued: bool,
    /// Whether it is about to go to the process that takes over: no request of it is taken any more.
    pub leaving: bool,
    /// Whether it will be about to, as soon as its lease ends.
    pub leaves_after_lease: bool,
    /// Whether it is in the list of those to be flushed.
    pub flush_queued: bool,
    /// Whether the client will send no more: what it had sent is taken, then it is closed.
    pub ended: bool,
    /// Why no more requests are taken, if none are: it is closed once it has been told all it is owed.
    pub closing: Option<Parting>,
    /// Since when it has taken nothing of what is to be written to it, if anything is.
    pub stalled_since: Option<Time>,
    /// Whether connections to nodes may be waiting for it to read (see `path::large_reply`).
    pub is_waited_for: bool,
    /// Since when it has been owed more than its soft limit, if it is.
    pub swollen_since: Option<Time>,
    /// The version of the routes that its requests in flight were sent by.
    pub routes_version: u32,
    /// While the head is before this place, requests in flight may stand at nodes that are not their slot's
    /// owner any more, or on connections that are set aside, and order must be looked after.
    ///
    /// Invariant: it is behind every request that stands on a connection that is set aside.
    pub unsettled_until: Option<Seq>,
    /// Its request of many keys that is on its way to its parts: it is at the front of the input.
    pub cut: Option<Box<Cut>>,
    /// Of its SUBSCRIBE or UNSUBSCRIBE of many names at the front of the input: how many are done; [`GIVEN_UP`] if the
    /// others are not to be.
    pub names_done: usize,
    /// Its request that goes to its node as it comes.
    ///
    /// Invariant: the scanner is not at its start meanwhile.
    pub streamed: Option<Box<StreamedRequest>>,
    /// Its EXEC, while the proxy has a part in it. It is at the head of the pipeline, its parts are behind it.
    pub execution: Option<Box<Execution>>,
    /// What it has for itself at nodes.
    pub lease: Option<Box<Lease>>,
    /// What it is to be told of keys that have changed; nothing is no box.
    ///
    /// Invariant: it is there while the client tracks, since replies to a client that is told anything never pass in
    /// pieces.
    pub late: Option<Box<Late>>,
    /// What nodes are asked, or have said, of its request at the front of the input.
    pub judgement: Option<Box<Judgement>>,
}

impl Client {
    /// A client that has just come.
    pub fn new(address: Option<SocketAddr>, session: Session, now: Time) -> Client {
        Client {
            address,
            local: None,
            descriptor: -1,
            connected_at: now,
            last_active: now,
            at_hand: (0, 0),
            bytes_in: 0,
            bytes_out: 0,
            counted_bytes: (0, 0),
            input: ReadBuf::default(),
            backlog: None,
            withheld: false,
            scanner: RequestScanner::default(),
            missing: 0,
            output: WriteBuf::default(),
            pipeline: Pipeline::default(),
            window: FIRST_WINDOW,
            session,
            held: HeldRequests::default(),
            listed_as_holding: false,
            stall: None,
            held_back_since: None,
            paused: false,
            resumed_in: 0,
            seen_in: u32::MAX,
            resume_queued: false,
            leaving: false,
            leaves_after_lease: false,
            flush_queued: false,
            ended: false,
            closing: None,
            stalled_since: None,
            is_waited_for: false,
            swollen_since: None,
            routes_version: 0,
            unsettled_until: None,
            cut: None,
            names_done: 0,
            streamed: None,
            execution: None,
            lease: None,
            late: None,
            judgement: None,
        }
    }

    /// Counts its bytes since the last time for its namespace.
    pub fn count_bytes(&mut self) {
        let (bytes_in, bytes_out) = self.counted_bytes;
        self.counted_bytes = (self.bytes_in, self.bytes_out);
        if let Some(own) = &self.session.namespace {
            own.counts.bytes_in.add(self.bytes_in - bytes_in);
            own.counts.bytes_out.add(self.bytes_out - bytes_out);
        }
    }

    /// A write to it was tried, and it took so many bytes.
    #[inline]
    pub fn note_flush(&mut self, written: usize, now: Time) {
        self.bytes_out += written as u64;
        if written > 0 {
            self.last_active = now;
        }
        if self.output.is_empty() {
            self.stalled_since = None;
        } else if written > 0 || self.stalled_since.is_none() {
            self.stalled_since = Some(now);
        }
    }

    /// Bytes of replies that the client has not taken yet.
    #[inline]
    pub fn owed_bytes(&self) -> usize {
        self.output.len() + self.pipeline.ready_bytes()
    }

    /// Whether it has as much outstanding as it may.
    #[inline]
    pub fn is_full(&self, limits: &Limits) -> bool {
        self.pipeline.len() >= self.window || self.owed_bytes() > limits.client_output_bytes
    }

    /// Whether its requests may be taken as plain ones (see `plain`): it is read, it is who it says, it is at
    /// the start of a frame, it holds no lease, it is answered, and it is owed no more than it may be.
    #[inline]
    pub fn is_plain(&self, limits: &Limits) -> bool {
        self.session.is_plain()
            && self.closing.is_none()
            && self.stall.is_none()
            && self.lease.is_none()
            && self.scanner.is_at_start()
            && self.pipeline.client_reply == ClientReply::On
            && !self.is_full(limits)
    }

    /// It has one more reply: that is to be flushed, and what paused it may be over.
    #[inline(always)]
    pub fn answered(&mut self, id: ClientId, limits: &Limits, actions: &mut Actions) {
        if !self.flush_queued {
            self.flush_queued = true;
            actions.flush_client(id);
        }
        if self.stall.is_some() && self.may_resume(limits) && !self.resume_queued {
            self.resume_queued = true;
            actions.resume(id);
        }
    }

    /// Whether what paused it is over, by its own state. (A backend says itself when it has drained.)
    #[inline]
    pub fn may_resume(&self, limits: &Limits) -> bool {
        match self.stall {
            None
            | Some(
                Stall::Backend(_)
                | Stall::ClientPause
                | Stall::Login
                | Stall::Verdict
                | Stall::Subscribers
                | Stall::Connection
                | Stall::Behind
                | Stall::HandOver
                | Stall::Memory,
            ) => false,
            Some(Stall::Barrier) => {
                self.pipeline.is_empty()
                    || (self.execution.is_some() && self.pipeline.is_last_ready())
            }
            Some(Stall::Full) => {
                self.pipeline.len() <= self.window / 2
                    && self.owed_bytes() <= limits.client_output_bytes / 2
            }
        }
    }

    /// Whether it is read although no request of it is taken: it waits for something that may never come as long as
    /// it has not written all it has to say. What it does not read, it would have to read; what it is blocked for,
    /// or what a `CLIENT PAUSE` waits for, somebody else may have to do who waits for it. All other pauses end by
    /// themselves, and so may be left to the kernel's buffers.
    pub fn reads_on(&self) -> bool {
        let waits = self.stalled_since.is_some()
            || self.stall == Some(Stall::ClientPause)
            || self.is_blocked();
        waits && self.closing.is_none() && self.held_back_since.is_none()
    }

    /// Room for what it sends while no request of it is taken, if it is read at all.
    pub fn room_aside(&mut self, pool: &mut Pool) -> Option<&mut ReadBuf> {
        self.withheld = !self.reads_on();
        if self.withheld {
            return None;
        }
        Some(self.backlog.get_or_insert_default().room(pool))
    }

    /// Whether it is to be read although it is paused, and was not.
    pub fn is_to_be_read(&mut self) -> bool {
        let reads = self.withheld && self.reads_on();
        self.withheld &= !reads;
        reads
    }

    /// Gives memory back that holds nothing, or little.
    pub fn settle(&mut self, pool: &mut Pool) {
        self.input.settle(pool);
        if let Some(backlog) = &mut self.backlog {
            backlog.filled(0, pool);
            if backlog.is_empty() {
                self.backlog = None;
            }
        }
    }

    /// Bytes that it has sent and that wait to be executed.
    pub fn unexecuted_bytes(&self) -> usize {
        self.input.len() + self.backlog.as_ref().map_or(0, |backlog| backlog.len())
    }

    /// A large reply has come for it: no more requests are taken than such replies may wait.
    #[cold]
    pub fn note_large(&mut self, reply_bytes: usize, limits: &Limits) {
        let fitting = limits.client_output_bytes / reply_bytes.max(1) + 1;
        self.window = self.window.min(fitting);
    }

    /// Whether all it was owed has left and nothing more will come, or all that can come has been tried.
    #[inline]
    pub fn is_finished(&self) -> bool {
        match self.closing {
            None => false,
            Some(Parting::Severed) => true,
            // The end of a request that is on its way is not waited for.
            Some(_) => {
                (self.pipeline.is_empty() || self.streamed.is_some()) && self.output.is_empty()
            }
        }
    }

    /// Whether its requests in flight stand where the routes would send them now, so that order needs no
    /// care. Notes a change of the routes.
    #[inline]
    pub fn is_calm(&mut self, routes_version: u32) -> bool {
        if self.routes_version == routes_version && self.unsettled_until.is_none() {
            return self.held.is_empty();
        }
        if self.routes_version != routes_version {
            self.routes_version = routes_version;
            self.unsettled_until = Some(self.pipeline.tail());
        }
        if let Some(until) = self.unsettled_until
            && !self.pipeline.head().before(until)
        {
            self.unsettled_until = None;
        }
        self.unsettled_until.is_none() && self.held.is_empty()
    }

    /// A request of this client is redirected, or stands on a connection that is set aside: until it is answered, order
    /// must be looked after.
    pub fn unsettle(&mut self) {
        self.unsettled_until = Some(self.pipeline.tail());
    }

    /// The same, until its next request is answered.
    pub fn unsettle_next(&mut self) {
        self.unsettled_until = Some(Seq(self.pipeline.tail().0.wrapping_add(1)));
    }

    /// Whether it waits for the reply to a blocking command.
    pub fn is_blocked(&self) -> bool {
        let lease = self.lease.as_deref();
        lease.is_some_and(|lease| matches!(lease.work, Work::Blocking(_) | Work::Wait(_)))
    }

    /// Asserts what must hold between turns.
    pub fn check(&self) {
        self.output.check();
        assert!(!self.session.queueing || self.lease.is_some());
        assert!(self.streamed.is_none() || !self.scanner.is_at_start());
        assert!(self.backlog.is_none() || self.stall.is_some());
        assert!(self.stall != Some(Stall::Behind) || self.resume_queued);
        assert!(!self.is_finished() || self.flush_queued || self.resume_queued);
        assert!(self.session.tracking().is_none() || self.late.is_some());
        self.held.check();
        assert!(self.held.is_empty() || self.listed_as_holding);
    }
}
