//! `Backend`: one shared connection to a node, and the `Ticket`s that say whose part each reply is.
//!
//! Rule R2: tickets, bytes and replies are in one order. The output keeps the bytes of a request until its
//! reply has come, so that the same bytes can be sent elsewhere. The state that the handshake set is never
//! changed afterwards: whatever would change it needs a connection of its own.
//!
//! It must never know what a client is, beyond its name.

use std::collections::VecDeque;
use std::time::Duration;

use crate::buffer::{Chunk, Pool, ReadBuf, WriteBuf};
use crate::clock::Time;
use crate::cluster::slot::SLOTS;
use crate::config::{Config, Secret};
use crate::proxy::actions::Actions;
use crate::proxy::ids::{BackendId, ClientId, NO_SLOT, NodeKey, PartId, UserId};
use crate::proxy::near_cache::state::flight::NearStep;
use crate::proxy::upstream::accounts::Account;
use crate::proxy::upstream::credit::Credit;
use crate::proxy::upstream::dialect::Dialect;
use crate::proxy::upstream::large_reply::LargeReply;
use crate::proxy::upstream::routes::ShardId;
use crate::proxy::upstream::write_times::WriteTimes;
use crate::resp::encode::{self, Protocol};
use crate::resp::reply_frame::ReplyScanner;

/// What the handshake sets, and nothing later changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flavor {
    /// The protocol spoken.
    pub protocol: Protocol,
    /// The database that was selected.
    pub database: u16,
    /// Whether READONLY was sent: a replica then serves reads.
    pub read_only: bool,
    /// Whether CLIENT TRACKING was turned on: the node pushes the names of keys that were read here and then change.
    pub tracking: bool,
    /// Who was logged in.
    pub user: UserId,
}

impl Flavor {
    /// Of what the proxy asks for itself. In RESP3 what comes unasked is told from replies.
    pub const OWN: Flavor = Flavor {
        protocol: Protocol::Resp3,
        database: 0,
        read_only: false,
        tracking: false,
        user: UserId::OWN,
    };

    /// What a client's requests need. Keys are tracked at masters only.
    #[inline]
    pub fn of(dialect: Dialect, read_only: bool) -> Flavor {
        Flavor {
            protocol: dialect.protocol,
            database: dialect.database,
            read_only,
            tracking: dialect.tracking && !read_only,
            user: dialect.user,
        }
    }

    /// What clients speak whose requests it serves.
    pub fn dialect(self) -> Dialect {
        Dialect {
            protocol: self.protocol,
            database: self.database,
            tracking: self.tracking,
            user: self.user,
        }
    }

    /// How many flavours there are that have a place of their own, see [`Flavor::is_common`].
    pub const COUNT: usize = 4;

    /// Whether it is one of the few that nearly all connections have.
    #[inline]
    pub fn is_common(self) -> bool {
        self.dialect().is_common()
    }

    /// 0 to 3, of a common one.
    pub fn index(self) -> usize {
        debug_assert!(self.is_common());
        self.protocol.index() * 2 + usize::from(self.read_only)
    }

    /// The requests of the handshake, in order, appended to `out`; returns how many replies they bring.
    fn handshake(self, user: Option<&[u8]>, password: Option<&Secret>, out: &mut Vec<u8>) -> u8 {
        let mut steps = 0;
        match (self.protocol, password) {
            (Protocol::Resp3, Some(password)) => {
                let user = user.unwrap_or(b"default");
                encode::command(out, [&b"HELLO"[..], b"3", b"AUTH", user, password.expose()]);
                steps += 1;
            }
            (Protocol::Resp3, None) => {
                encode::command(out, [&b"HELLO"[..], b"3"]);
                steps += 1;
            }
            (Protocol::Resp2, Some(password)) => {
                match user {
                    Some(user) => {
                        encode::command(out, [&b"AUTH"[..], user, password.expose()]);
                    }
                    None => encode::command(out, [&b"AUTH"[..], password.expose()]),
                }
                steps += 1;
            }
            (Protocol::Resp2, None) => {}
        }
        if self.read_only {
            encode::command(out, [&b"READONLY"[..]]);
            steps += 1;
        }
        if self.database > 0 {
            let index = self.database.to_string();
            encode::command(out, [&b"SELECT"[..], index.as_bytes()]);
            steps += 1;
        }
        // A RESP2 connection can be told nothing: another one is (see `Backend::connected`).
        if self.tracking && self.protocol == Protocol::Resp3 {
            // The last step: see `Backend::is_tracking_step`.
            encode::command(out, [&b"CLIENT"[..], b"TRACKING", b"ON"]);
            steps += 1;
        }
        steps
    }
}

/// Whose part a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This part's of a client's request.
    Part(PartId),
    /// A subscription of this worker's: it is confirmed by a push, and a reply refuses it.
    Subscription,
    /// Nobody's: the reply is thrown away (ASKING).
    Discard,
    /// Nobody's: it says whether the node would serve this part, which is held (see `own_errors`).
    Sign(PartId),
    /// The next request of a run of a client's lease, whose connection this is.
    Lease {
        /// The client.
        client: ClientId,
        /// The run.
        run: u16,
    },
    /// What makes an exclusive connection clean: it has to succeed.
    Cleaner,
    /// The next request's: what the node is.
    Vouch,
    /// The near cache's.
    Near(NearStep),
    /// A client waits for it: it says what the client may do (see `path::auth_backend`).
    Verdict {
        /// The client.
        client: ClientId,
        /// The question, by its number.
        question: u32,
    },
}

/// A connection that is lost sooner, after its handshake or its first request, and has answered nothing else, was never
/// of use.
const UNANSWERED: Duration = Duration::from_secs(1);

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// All clients'.
    Shared,
    /// Nobody's for now: the next run's.
    Idle,
    /// A run's, of a client's lease.
    Lent {
        /// The client.
        client: ClientId,
        /// The run.
        run: u16,
    },
    /// Nobody's until it has been shown to be clean.
    Cleaning,
}

/// How a request is bound to the node that it was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// Not at all: its slot says where it goes, or any master will do.
    Free,
    /// It speaks of the node itself: that node answers, or the request fails.
    Must,
    /// As `Must`, but if the node is not there its part is left out of the reply.
    May,
    /// As `Must` while the cluster lists the node, and left out once it does not: who takes its place is asked, too.
    Member,
    /// It speaks for a whole shard: the shard's master answers, whoever that is by then.
    Shard(ShardId),
    /// As `Shard`, and the node that it was sent to has just said that it is no master.
    Astray(ShardId),
    /// As `May`, of a master without slots, if its keys count.
    Spare,
}

/// One reply that the node owes us.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// Whose it is.
    pub origin: Origin,
    /// The slot of the request's keys, or [`crate::proxy::ids::NO_SLOT`].
    pub slot: u16,
    /// The command's row.
    pub command: u16,
    /// Bytes of the request in the output.
    pub len: u32,
    /// Redirects followed so far.
    pub redirects: u8,
    /// Times it was sent so far.
    pub tries: u8,
    /// Connections that were lost while this request stood first in their queue, wholly sent.
    pub losses: u8,
    /// Whether the request changes nothing, so that it may run twice.
    pub readonly: bool,
    /// Whether the request speaks of the node itself and can be sent to no other.
    pub pin: Pin,
    /// Whether what the request needs has been loaded again already.
    pub healed: bool,
    /// Whether it was sent behind an ASKING.
    pub asked: bool,
    /// When it was first held, if it ever was: the park timeout counts from there.
    pub held_since: Option<Time>,
    /// When it was queued here.
    pub sent_at: Time,
}

impl Ticket {
    /// Of what is sent for the first time, to wherever its slot is.
    #[inline(always)]
    pub fn new(
        origin: Origin,
        slot: u16,
        command: u16,
        len: usize,
        readonly: bool,
        now: Time,
    ) -> Ticket {
        Ticket {
            origin,
            slot,
            command,
            len: len as u32,
            redirects: 0,
            tries: 1,
            losses: 0,
            readonly,
            pin: Pin::Free,
            healed: false,
            asked: false,
            held_since: None,
            sent_at: now,
        }
    }

    /// Of what is said on one connection and nowhere else.
    pub fn here(origin: Origin, slot: u16, command: u16, len: usize, now: Time) -> Ticket {
        Ticket {
            pin: Pin::Must,
            ..Ticket::new(origin, slot, command, len, false, now)
        }
    }

    /// Whether the reply to it is none, as the node has just said that it is no master.
    pub fn is_astray(&self) -> bool {
        matches!(self.pin, Pin::Astray(_))
    }

    /// What fails fast once it has waited in vain, as it is no use to wait for the same; nothing if that is one node.
    pub fn scope(&self) -> Option<u16> {
        match self.pin {
            Pin::Free => Some(self.slot),
            Pin::Shard(id) | Pin::Astray(id) => Some(scope_of_shard(id)),
            Pin::Must | Pin::May | Pin::Member | Pin::Spare => None,
        }
    }
}

/// The scope of requests for a whole shard: shards are numbered behind the slots.
fn scope_of_shard(id: ShardId) -> u16 {
    const { assert!(SLOTS as u16 + ShardId::COUNT < NO_SLOT) };
    SLOTS as u16 + id.0
}

/// How far a backend's connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Until the socket is connected.
    Connecting,
    /// So many replies to the handshake are outstanding; requests wait.
    Handshaking(u8),
    /// The node has answered the handshake: requests flow.
    Ready,
}

/// The last request of a handshake, if only its answer matters: it shows that the node serves this connection.
/// Before that no request leaves, so that a connection that never answered has executed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastStep {
    /// `PING`, where the flavour needs no handshake.
    Ping,
    /// `CLIENT ID`, of an exclusive connection: by this number another connection can end what it waits for.
    Number,
}

impl LastStep {
    fn words(self) -> &'static [&'static [u8]] {
        match self {
            LastStep::Ping => &[b"PING"],
            LastStep::Number => &[b"CLIENT", b"ID"],
        }
    }
}

/// One connection to a node.
///
/// Invariants: the sum of the tickets' `len` is `output.len()`; a frame from the node that is no push takes
/// exactly one ticket (or one step of the handshake).
#[derive(Debug)]
pub struct Backend {
    /// The node it belongs to.
    pub node: NodeKey,
    /// What its handshake sets.
    pub flavor: Flavor,
    /// How far it is.
    pub state: State,
    /// When its connection was begun.
    pub opened_at: Time,
    /// When that state must be over; no matter once ready.
    pub deadline: Time,
    /// Bytes from the node.
    pub input: ReadBuf,
    /// Where the next reply ends.
    pub scanner: ReplyScanner,
    /// Bytes that the reply under way is known to lack.
    pub missing: usize,
    /// The reply under way, if it is a large one: it lies before `input`.
    pub large_reply: Option<LargeReply>,
    /// Which of the passwords its handshake has.
    pub password: usize,
    /// Bytes of the handshake. They go first and are never sent again.
    pub greeting: WriteBuf,
    /// Its last request, if that is a question.
    pub question: Option<LastStep>,
    /// What the node said instead of answering the handshake, or what is wrong with what it said later.
    pub words: Option<Box<str>>,
    /// The error by which the node has refused a client's user, if it has.
    pub denial: Option<Box<[u8]>>,
    /// When the handshake was answered; before that, when the connection was begun.
    pub ready_at: Time,
    /// Bytes of requests, kept until their replies have come.
    pub output: WriteBuf,
    /// The replies outstanding, oldest first.
    pub tickets: VecDeque<Ticket>,
    /// How many of them clients' pipelines may make it owe.
    pub credit: Credit,
    /// Whether it is in the list of those to be flushed.
    pub flush_queued: bool,
    /// Clients that are not read until this output has drained.
    pub waiters: Vec<ClientId>,
    /// When requests were written.
    pub write_times: WriteTimes,
    /// When a reply last came, or the state last changed: a node that is sending is not gone.
    pub heard_at: Time,
    /// Whose it is.
    pub usage: Usage,
    /// Whether its silence says nothing.
    pub patience: Patience,
    /// Its oldest request, when last looked at.
    pub head: Option<Head>,
    /// When a script was last sent on it that may not be answered yet.
    pub script_at: Option<Time>,
    /// Whether only clients with requests on it use it (see `overdue`).
    pub is_aside: bool,
    /// Whether it was made in place of one that is set aside: it has to show that the node answers.
    pub is_replacement: bool,
    /// The number by which the node knows it, of an exclusive one.
    pub number: Option<i64>,
    /// Whether the end of its last request has not come from its client yet (see `lease::streamed`).
    pub is_fed: bool,
    /// Whether the node has refused to track the keys that are read here, though the flavour asks for it.
    pub is_untracked: bool,
    /// The prefixes of the keys of which the node is to tell here, of a connection that is for nothing else.
    pub broadcast: Option<Vec<Box<[u8]>>>,
    /// Of a RESP2 connection that tracks: the connection on which the node tells, and its number there.
    pub redirect: Option<(BackendId, i64)>,
}

/// The oldest request of a connection, as it was when last looked at.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Whose it is.
    pub origin: Origin,
    /// Since when it is the oldest.
    pub since: Time,
    /// Whether its reply is overdue (see `overdue`).
    pub overdue: bool,
}

/// How long the silence of a connection that owes a reply says nothing about its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// It is a sign at once.
    None,
    /// What it carries may take as long as a client wishes.
    Endless,
    /// The same, but the node ought to refuse it by then: it seems to serve the slot no more.
    Until(Time),
}

impl Backend {
    /// A backend that is about to be connected. Requests may be queued from now on.
    pub fn new(node: NodeKey, flavor: Flavor, now: Time, config: &Config) -> Backend {
        Backend {
            node,
            flavor,
            state: State::Connecting,
            opened_at: now,
            deadline: now.after(config.connect_timeout),
            input: ReadBuf::default(),
            scanner: ReplyScanner::of(flavor.protocol),
            missing: 0,
            large_reply: None,
            greeting: WriteBuf::default(),
            password: 0,
            question: None,
            words: None,
            denial: None,
            ready_at: now,
            output: WriteBuf::default(),
            tickets: VecDeque::new(),
            credit: Credit::new(config.limits.connection_requests, now),
            flush_queued: false,
            waiters: Vec::new(),
            write_times: WriteTimes::default(),
            heard_at: now,
            usage: Usage::Shared,
            patience: Patience::None,
            head: None,
            script_at: None,
            is_aside: false,
            is_replacement: false,
            number: None,
            is_fed: false,
            is_untracked: false,
            broadcast: None,
            redirect: None,
        }
    }

    /// Whether the next answer to the handshake, of which so many steps are outstanding, is that to CLIENT TRACKING.
    /// It is the last step before the question.
    pub fn is_tracking_step(&self, steps: u8) -> bool {
        let tracks = self.flavor.tracking || self.broadcast.is_some();
        tracks && steps == 1 + u8::from(self.question.is_some())
    }

    /// The socket is connected: the handshake begins, as this user of clients, or else with this one of our own passwords.
    pub fn connected(
        &mut self,
        config: &Config,
        account: Option<&Account>,
        password: usize,
        now: Time,
        pool: &mut Pool,
    ) {
        debug_assert_eq!(self.state, State::Connecting);
        self.password = password;
        let mut greeting = Vec::new();
        // There may be fewer of them than there were.
        let secret = config.backend_passwords().nth(password);
        let secret = secret.or(config.backend_password.as_ref());
        let (user, secret) = match account {
            Some(own) => (Some(&*own.name), Some(&own.password)),
            None => (config.backend_user.as_deref().map(str::as_bytes), secret),
        };
        let mut steps = self.flavor.handshake(user, secret, &mut greeting);
        if let Some(prefixes) = &self.broadcast {
            let prefixes = prefixes.iter().flat_map(|own| [&b"PREFIX"[..], own]);
            let words = [&b"CLIENT"[..], b"TRACKING", b"ON", b"BCAST"];
            let words: Vec<&[u8]> = words.into_iter().chain(prefixes).collect();
            encode::command(&mut greeting, words);
            steps += 1;
        }
        if let Some((_, number)) = self.redirect {
            let number = number.to_string();
            let words = [
                &b"CLIENT"[..],
                b"TRACKING",
                b"ON",
                b"REDIRECT",
                number.as_bytes(),
            ];
            encode::command(&mut greeting, words);
            steps += 1;
        }
        self.question = match self.usage {
            // Others may name it.
            Usage::Shared if self.flavor.tracking && self.redirect.is_none() => {
                Some(LastStep::Number)
            }
            // An error to CLIENT TRACKING says that the node does not track, not that it serves nobody.
            Usage::Shared if steps > 0 && !self.is_replacement && self.redirect.is_none() => None,
            Usage::Shared => Some(LastStep::Ping),
            Usage::Idle | Usage::Lent { .. } | Usage::Cleaning => Some(LastStep::Number),
        };
        if let Some(question) = self.question {
            encode::command(&mut greeting, question.words().iter().copied());
            steps += 1;
        }
        self.greeting.push(&greeting, pool);
        self.deadline = now.after(config.connect_timeout);
        self.heard_at = now;
        self.state = State::Handshaking(steps);
    }

    /// What may be written now.
    pub fn writable(&mut self) -> Option<&mut WriteBuf> {
        match self.state {
            State::Connecting => None,
            State::Handshaking(_) => Some(&mut self.greeting),
            State::Ready => Some(&mut self.output),
        }
    }

    /// Its output has the request of this ticket: it is to be flushed, and owes a reply.
    #[inline(always)]
    pub fn owe(&mut self, ticket: Ticket, id: BackendId, actions: &mut Actions) {
        self.tickets.push_back(ticket);
        if self.state == State::Ready && !self.flush_queued {
            self.flush_queued = true;
            actions.flush_backend(id);
        }
    }

    /// Appends a piece of the request that its client alone sends here, and whose end has not come before.
    pub fn feed(&mut self, piece: Chunk) {
        debug_assert!(self.is_fed);
        if let Some(last) = self.tickets.back_mut() {
            last.len += piece.len() as u32;
            self.output.push_chunk(piece);
        }
    }

    /// Drops what has been sent of such a request: it is not sent again. (What stands before it is kept until it is
    /// answered.)
    pub fn drop_fed(&mut self, pool: &mut Pool) {
        let sent = self.output.sent_len();
        if let ([only], []) = self.tickets.as_mut_slices() {
            only.len -= sent as u32;
            self.output.release(sent, pool);
        }
    }

    /// Whether every byte of the oldest request has been handed to the kernel.
    pub fn front_is_sent(&self) -> bool {
        // Of what is fed to it the end is missing.
        (!self.is_fed || self.tickets.len() > 1)
            && self
                .tickets
                .front()
                .is_none_or(|ticket| ticket.len as usize <= self.output.sent_len())
    }

    /// Whether these bytes begin a reply that no request can have led to yet. By the time that its end has come
    /// there may be one, and it would take that reply for its own. (Messages come unasked, and an error while a
    /// request is written may say that the node reads no further.)
    pub fn is_unasked(&self, bytes: &[u8]) -> bool {
        let unasked = match bytes.first() {
            None | Some(b'>' | b'|') => false,
            Some(b'-') => self.tickets.is_empty(),
            Some(_) => self.tickets.is_empty() || !self.front_is_sent(),
        };
        unasked && self.state == State::Ready
    }

    /// Whether the node has said nothing since it answered the handshake, and was asked something or had no time for it.
    /// Such a node is behind something that has lost it. (Where a client has been blocked for long, silence is no sign.)
    pub fn has_answered_nothing(&self, now: Time) -> bool {
        let silent = self.state == State::Ready && self.heard_at <= self.ready_at;
        let soon = |since: Time| now.since(since) < UNANSWERED;
        let asked = self.tickets.front();
        let asked = asked.map(|own| self.patience == Patience::None || soon(own.sent_at));
        silent && asked.unwrap_or(soon(self.ready_at))
    }

    /// Whether it has answered more than the handshake after `since`.
    pub fn has_answered_since(&self, since: Time) -> bool {
        self.state == State::Ready && self.heard_at > self.ready_at.max(since)
    }

    /// Asserts the invariants above. Linear in the queue.
    pub fn check(&self) {
        self.output.check();
        let tickets: usize = self.tickets.iter().map(|ticket| ticket.len as usize).sum();
        assert_eq!(tickets, self.output.len());
        assert!(self.state == State::Ready || self.output.sent_len() == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn the_handshake_is_what_the_flavor_needs() {
        let check = |(protocol, database),
                     read_only,
                     user: Option<&str>,
                     password: Option<&str>,
                     expected: &str| {
            let flavor = Flavor {
                protocol,
                database,
                read_only,
                tracking: false,
                user: UserId::OWN,
            };
            let mut out = Vec::new();
            let password = password.map(Secret::new);
            let user = user.map(str::as_bytes);
            let steps = flavor.handshake(user, password.as_ref(), &mut out);
            let text = String::from_utf8_lossy(&out).into_owned();
            let words: Vec<&str> = text
                .split("\r\n")
                .filter(|line| !line.is_empty() && !line.starts_with(['*', '$']))
                .collect();
            assert_eq!(
                (words.join(" ").as_str(), steps as usize),
                (expected, text.matches('*').count())
            );
        };
        check((Protocol::Resp2, 0), false, None, None, "");
        check(
            (Protocol::Resp2, 0),
            true,
            None,
            Some("pw"),
            "AUTH pw READONLY",
        );
        check(
            (Protocol::Resp2, 0),
            false,
            Some("joe"),
            Some("pw"),
            "AUTH joe pw",
        );
        check((Protocol::Resp3, 0), false, None, None, "HELLO 3");
        check(
            (Protocol::Resp3, 0),
            true,
            None,
            Some("pw"),
            "HELLO 3 AUTH default pw READONLY",
        );
        check((Protocol::Resp2, 7), true, None, None, "READONLY SELECT 7");
    }
}
