//! `Worker`: the shell around a [`Proxy`]: polling, sockets, the clock, and the turn of the loop.
//!
//! One turn: poll; record the events; serve each peer that has something to read; advance the time; carry out what
//! the proxy asks for (connect, flush, resume, close). Nothing is written while events are handled: one flush at the
//! end of the turn sends the requests of all clients to a node.
//!
//! It must never know what the bytes mean.

mod accept;
mod handover;
mod sockets;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use mio::{Events, Interest, Poll, Waker};

use crate::accept_balance::AcceptBalance;
use crate::allocator;
use crate::buffer::READ_BLOCK;
use crate::clock::{Clock, Reading, Time, Watch};
use crate::coalesce::Coalesce;
use crate::log_throttle::LogThrottle;
use crate::mailbox::{Mail, Mailbox};
use crate::net::listener::Listener;
use crate::net::socket::{Filled, Socket};
use crate::net::tls::Context;
use crate::pending_sockets::PendingSockets;
use crate::proxy::Peer;
use crate::proxy::Proxy;
use crate::proxy::actions::{Action, Wanted};
use crate::proxy::ids::BackendId;
use crate::proxy::request::WORK_OF_PEER;
use crate::proxy::upstream::lost::Lost;
use crate::second_thread::SecondThread;
use crate::turns::{Heartbeat, Turn, Turns};

use handover::Leaving;
use sockets::{LISTENER, Sockets, WAKER, peer, pending_socket, token};

/// Events taken from the kernel in one turn.
const EVENTS: usize = 1024;
/// A worker without work still shows that it lives, this often: not before the next topology wakes it by default.
const IDLE: Duration = Duration::from_secs(4);
/// Handshakes with nodes that are gone on with in one turn: each costs as much as a thousand commands.
const NODE_HANDSHAKES: usize = 4;

/// What a worker is made with, beside its proxy.
#[derive(Debug)]
pub struct Parts {
    /// Where its clients come in, each with the place of its address among those of the process.
    pub listeners: Vec<(usize, Listener)>,
    /// Whether it accepts them from the start, not only when it is told to.
    pub accepts: bool,
    /// How TLS is spoken.
    pub tls: Arc<Context>,
    /// The process' clock.
    pub clock: Clock,
    /// Where it shows that it lives.
    pub heartbeat: Arc<Heartbeat>,
    /// How clients are spread over the workers.
    pub accept_balance: Arc<AcceptBalance>,
}

/// After a standstill, and after long work, deadlines are judged when what waits in the sockets has been read: in the
/// next turn.
///
/// Never later: a busy worker may take long for each turn, and deadlines have to be judged all the same.
#[derive(Debug, Default)]
struct Grace {
    given: bool,
}

impl Grace {
    /// Whether peers were served `late`: whether deadlines are put off to the next turn.
    #[inline]
    fn puts_off(&mut self, late: bool) -> bool {
        self.given = late && !self.given;
        self.given
    }
}

/// One thread's loop.
pub struct Worker {
    poll: Poll,
    listeners: Vec<(usize, Listener)>,
    /// Whether the poll tells of them.
    accepts: bool,
    tls: Arc<Context>,
    pending: PendingSockets,
    /// Handshakes with nodes that were gone on with in this turn.
    node_handshakes: usize,
    /// Until when no client is accepted.
    accept_after: Time,
    /// The listeners where clients wait, by their places; in turn, so that a storm at one of them does not shut the others.
    accept_pending: VecDeque<usize>,
    /// Tells of clients that cannot be accepted.
    accept_throttle: LogThrottle,
    /// Tells of nodes that cannot be connected to.
    connect_throttle: LogThrottle,
    clients: Sockets,
    backends: Sockets,
    queue: VecDeque<Peer>,
    mail: Receiver<Mail>,
    proxy: Proxy,
    watch: Watch,
    grace: Grace,
    turns: Turns,
    /// Bytes read in this turn.
    read: usize,
    heartbeat: Arc<Heartbeat>,
    accept_balance: Arc<AcceptBalance>,
    /// When what is in flight is given up, once stopping.
    stop_at: Option<Time>,
    /// While its clients go to the process that takes over.
    leaving: Option<Leaving>,
    /// Who is told when the subscriptions for clients to come are confirmed.
    warming: Option<SyncSender<()>>,
}

impl Worker {
    /// Makes a worker and the mailbox that reaches it.
    pub fn new(parts: Parts, proxy: Proxy) -> io::Result<(Worker, Mailbox)> {
        let poll = Poll::new()?;
        let (mailbox, mail) = Mailbox::new(Waker::new(poll.registry(), WAKER)?);
        let mut worker = Worker {
            poll,
            listeners: parts.listeners,
            accepts: false,
            tls: parts.tls,
            pending: PendingSockets::default(),
            node_handshakes: 0,
            accept_after: Time::default(),
            accept_pending: VecDeque::new(),
            accept_throttle: LogThrottle::default(),
            connect_throttle: LogThrottle::default(),
            clients: Sockets::default(),
            backends: Sockets::default(),
            queue: VecDeque::new(),
            mail,
            proxy,
            watch: Watch::new(parts.clock),
            grace: Grace::default(),
            turns: Turns::default(),
            read: 0,
            heartbeat: parts.heartbeat,
            accept_balance: parts.accept_balance,
            stop_at: None,
            leaving: None,
            warming: None,
        };
        if parts.accepts {
            worker.begin_accepting()?;
        }
        Ok((worker, mailbox))
    }

    /// Serves until told to stop and all clients have gone. `refresh` asks for a topology refresh; it must
    /// not wait.
    /// `others` are the mailboxes of all workers, by their place.
    pub fn run(mut self, others: &[Mailbox], refresh: impl Fn(Wanted)) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut now = self.watch.begin();
        let mut second_thread = {
            let worker = self.proxy.worker();
            SecondThread::new(worker, others[worker].clone())
        };
        let mut coalesce = Coalesce::new(self.proxy.config().coalesce, others.len());
        loop {
            let timeout = self.timeout(now);
            if !timeout.is_zero()
                && let Some(nap) = coalesce.nap(self.proxy.active_clients(now))
            {
                thread::sleep(nap);
            }
            match self.poll.poll(&mut events, Some(timeout)) {
                // So it ends when a stopped process goes on, too: that it stood still is noticed now, not when the
                // next event comes; and deadlines are judged behind what has come, by a poll that may be short.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    now = self.waited(timeout);
                    continue;
                }
                other => other?,
            }
            now = self.waited(timeout);
            self.heartbeat.begin(now);
            let mut turn = Turn {
                began: now,
                commands: self.proxy.stats().commands.get(),
                ..Turn::default()
            };
            for event in &events {
                self.note(event, now);
                turn.events += 1;
            }
            coalesce.turn(turn.events);
            if !self.accept_pending.is_empty() && now >= self.accept_after {
                self.accept(others, now);
            }
            turn.peers = self.queue.len();
            self.serve_queue(now);
            if !self.pending.is_empty() {
                self.advance_pending(now);
            }
            // What follows is written now: what came before was the proxy's own time.
            let (written_at, late) = self.worked();
            if !self.grace.puts_off(late) && self.proxy.tick(written_at) {
                self.give_memory_back();
            }
            if self
                .leaving
                .as_ref()
                .is_some_and(|leaving| now >= leaving.due)
            {
                self.let_leave(now);
            }
            loop {
                self.flush_all(written_at);
                let Some(action) = self.proxy.next_action() else {
                    break;
                };
                match action {
                    Action::Refresh(wanted) => refresh(wanted),
                    Action::ToWorker(worker, message) => {
                        if !others[worker].send(Mail::Worker(message.clone())) {
                            log::warn!("worker {worker} does not read its messages");
                            self.proxy.undelivered(worker, message, written_at);
                        }
                    }
                    Action::WorkOutside(work) => {
                        if let Err(work) = second_thread.hand(work) {
                            // Who has too much work for two threads waits for both; for a disk the worker never waits.
                            let (part, reply) = match work.waits() {
                                true => work.refuse(),
                                false => work.run(),
                            };
                            self.proxy.done_outside(part, reply, written_at);
                        }
                    }
                    other => self.act(other, written_at),
                }
            }
            if self.warming.is_some() && self.proxy.is_warm() {
                self.tell_warm();
            }
            self.end_turn(&mut turn);
            if self.is_done(now) {
                return Ok(());
            }
        }
    }

    /// Reads the clock after a wait for at most `asked`.
    #[inline]
    fn waited(&mut self, asked: Duration) -> Time {
        let reading = self.watch.waited(asked);
        self.note_standstill(&reading);
        reading.now
    }

    /// Reads the clock after work. Returns also whether that took long, or the thread did not run.
    #[inline]
    fn worked(&mut self) -> (Time, bool) {
        let reading = self.watch.worked();
        self.note_standstill(&reading);
        (reading.now, reading.late)
    }

    #[inline]
    fn note_standstill(&mut self, reading: &Reading) {
        if !reading.late {
            return;
        }
        self.proxy.note_standstills(reading.now);
        if !reading.lost.is_zero()
            && let Some(lost) = self.turns.stood_still(reading.lost, reading.now)
        {
            log::warn!(
                "worker {} did not run for {lost:?}: the process was stopped or got no processor time; deadlines are extended by that much",
                self.proxy.worker(),
            );
        }
    }

    /// All that was asked for in this turn is done.
    #[inline]
    fn end_turn(&mut self, turn: &mut Turn) {
        let (now, _) = self.worked();
        self.heartbeat.end(now);
        let micros = now.as_micros() - turn.began.as_micros();
        if self.proxy.stats().turned(micros) {
            self.tell_of_long(turn, now);
        }
        self.read = 0;
        self.node_handshakes = 0;
    }

    #[cold]
    fn tell_of_long(&mut self, turn: &mut Turn, now: Time) {
        turn.bytes = self.read;
        turn.commands = self
            .proxy
            .stats()
            .commands
            .get()
            .wrapping_sub(turn.commands);
        let largest = self.proxy.largest_of_turn(turn.began);
        if let Some(line) = self.turns.long(turn, now, &largest) {
            log::warn!("worker {}: {line}", self.proxy.worker());
        }
    }

    /// Gives back what a burst has left behind.
    fn give_memory_back(&mut self) {
        self.clients.shrink();
        self.backends.shrink();
        if self.queue.capacity() > 1024 {
            self.queue.shrink_to(64);
        }
        allocator::give_back();
    }

    fn timeout(&self, now: Time) -> Duration {
        let spins = self.proxy.config().busy_poll && self.proxy.clients() > 0;
        if spins || !self.queue.is_empty() || self.proxy.is_behind() || self.pending.is_behind() {
            return Duration::ZERO;
        }
        let accept = (!self.accept_pending.is_empty()).then_some(self.accept_after);
        let deadlines = [
            self.proxy.next_deadline(),
            accept,
            self.stop_at,
            self.leaving.as_ref().map(|leaving| leaving.due),
            self.pending.next_deadline(),
        ];
        let first = deadlines.into_iter().flatten().min();
        // The kernel counts in milliseconds: one more, lest it wakes us just before the deadline.
        first.map_or(IDLE, |at| {
            (at.since(now) + Duration::from_millis(1)).min(IDLE)
        })
    }

    /// Notes what an event says. Events of peers that have gone find nothing.
    fn note(&mut self, event: &mio::event::Event, now: Time) {
        match event.token() {
            WAKER => self.read_mailbox(now),
            token => {
                let Some(peer) = peer(token) else {
                    return self.note_other(event);
                };
                let Some(socket) = self.socket(peer) else {
                    return;
                };
                socket.readable |=
                    event.is_readable() || event.is_read_closed() || event.is_error();
                socket.writable |= event.is_writable();
                socket.read_closed |= event.is_read_closed() || event.is_error();
                let gone = event.is_error() || (event.is_write_closed() && event.is_read_closed());
                if !socket.queued {
                    socket.queued = true;
                    self.queue.push_back(peer);
                }
                let closed = event.is_read_closed();
                // A client that is gone for good is noticed even while it is not read; and so is one that
                // only stopped sending, while it waits for the reply to a blocking command.
                match peer {
                    Peer::Client(id) if closed && !gone => self.proxy.leaves(id, now),
                    Peer::Client(_) | Peer::Backend(_) => {}
                }
                if gone && matches!(peer, Peer::Client(_)) {
                    self.proxy.closed(peer, now);
                }
            }
        }
    }

    /// Notes an event that is no peer's: a listener's, or that of a pending socket.
    #[inline(never)]
    fn note_other(&mut self, event: &mio::event::Event) {
        match pending_socket(event.token()) {
            Some(id) => {
                let is_closed = event.is_read_closed() || event.is_error();
                self.pending.note(id, event.is_writable(), is_closed);
            }
            None => {
                let place = event.token().0 - LISTENER.0;
                if !self.accept_pending.contains(&place) {
                    self.accept_pending.push_back(place);
                }
            }
        }
    }

    #[inline]
    fn socket(&mut self, peer: Peer) -> Option<&mut Socket> {
        socket_of(&mut self.clients, &mut self.backends, peer)
    }

    fn read_mailbox(&mut self, now: Time) {
        while let Ok(message) = self.mail.try_recv() {
            match message {
                Mail::Topology(topology) => self.proxy.adopt(topology, now),
                Mail::Servers(servers) => self.proxy.meet(&servers, now),
                Mail::DoneOutside(part, reply) => self.proxy.done_outside(part, reply, now),
                Mail::Worker(message) => self.proxy.worker_message(message, now),
                Mail::Client(socket, address) => self.admit(socket, address, now),
                Mail::Control { question, answer } => {
                    let reply = self.proxy.answer_control(&question, now);
                    // There is room, unless whoever asked has given up.
                    answer.try_send(reply).ok();
                }
                // Whoever asked may have given up.
                Mail::Accept(begun) => {
                    let result = self.begin_accepting();
                    if let Err(error) = &result {
                        log::error!("cannot watch a listener: {error}");
                    }
                    begun.try_send(result).ok();
                }
                Mail::Pause(done) => {
                    self.pause_accepting();
                    done.try_send(()).ok();
                }
                Mail::Listeners(answer) => {
                    answer.try_send(self.duplicate_listeners()).ok();
                }
                Mail::Leave(exits) => self.begin_leaving(exits, now),
                Mail::LeaveSubscribed => {
                    if let Some(leaving) = &mut self.leaving {
                        leaving.subscribers_too = true;
                    }
                }
                Mail::Topics(answer) => {
                    self.proxy.note_messages();
                    answer.try_send(self.proxy.topics()).ok();
                }
                Mail::Arrive(leaver) => self.take_in(leaver, now),
                Mail::WarmUp(topics, done) => {
                    self.proxy.warm_up(topics, now);
                    self.warming = Some(done);
                }
                Mail::CoolDown => self.proxy.cool_down(now),
                Mail::Counted(counted) => self.proxy.add_counted(&counted),
                Mail::Stop => self.stop(now),
            }
        }
    }

    fn tell_warm(&mut self) {
        if let Some(done) = self.warming.take() {
            // Whoever asked may have given up.
            done.try_send(()).ok();
        }
    }

    fn stop(&mut self, now: Time) {
        self.end_leaving();
        if self.stop_at.is_none() {
            self.pause_accepting();
            self.listeners.clear();
            for _ in 0..self.pending.drop_handshakes() {
                self.accept_balance.left(self.proxy.worker());
            }
            // What clients have already sent is answered first.
            for id in self.proxy.client_ids() {
                self.serve(Peer::Client(id), now);
            }
            self.proxy.drain(now);
            self.stop_at = Some(now.after(self.proxy.config().limits.drain));
        }
    }

    fn is_done(&self, now: Time) -> bool {
        match self.stop_at {
            None => self.have_all_left(),
            Some(at) => (self.proxy.clients() == 0 && self.pending.is_empty()) || now >= at,
        }
    }

    /// Reads from all who have something to say: from nodes in any case, and from clients as long as it has not been too much
    /// for one turn.
    fn serve_queue(&mut self, now: Time) {
        let (before, most) = (self.proxy.work(), self.proxy.config().limits.turn_work);
        let mut clients = 0;
        for _ in 0..self.queue.len() {
            let Some(peer) = self.queue.pop_front() else {
                return;
            };
            if let Peer::Client(_) = peer {
                // A few have a share each, and no more.
                if clients >= 4 && self.proxy.work_since(before) + clients * WORK_OF_PEER >= most {
                    self.queue.push_back(peer);
                    continue;
                }
                clients += 1;
            }
            self.serve(peer, now);
        }
    }

    /// Reads from a peer what there is, up to its share of this turn.
    fn serve(&mut self, peer: Peer, now: Time) {
        let limits = &self.proxy.config().limits;
        let (share, most) = (limits.read_bytes, limits.turn_requests);
        let (mut taken, done) = (0, self.proxy.work());
        let Some(socket) = self.socket(peer) else {
            return;
        };
        socket.queued = false;
        let owes = socket.owes();
        if self.leaving.is_some() && self.freezes_after_lease(peer, now) {
            return;
        }
        if let Peer::Backend(id) = peer
            && !self.check_connect(id, now)
        {
            return;
        }
        if owes && !self.push(peer, now) {
            return;
        }
        if self.proxy.wants_flush(peer) {
            self.flush(peer, now);
        }
        // Many small requests, or replies, are as much work as many bytes.
        while taken < share && (taken < READ_BLOCK || self.proxy.work_since(done) < most) {
            let socket = socket_of(&mut self.clients, &mut self.backends, peer);
            let Some(socket) = socket.filter(|socket| socket.readable) else {
                return;
            };
            let read_closed = socket.read_closed;
            let filled = self.proxy.read(peer, now, |room| match socket.fill(room) {
                Ok(Filled::Bytes(count)) => (count, Ok(Filled::Bytes(count))),
                other => (0, other),
            });
            let Some(filled) = filled else {
                match peer {
                    Peer::Client(id) if read_closed => self.proxy.leaves(id, now),
                    Peer::Client(_) => {}
                    // What it has sent already is served first.
                    Peer::Backend(id) if self.proxy.is_held_back(id) => self.enqueue(peer),
                    Peer::Backend(_) => {}
                }
                return;
            };
            match filled {
                Ok(Filled::Bytes(count)) => {
                    taken += count;
                    self.read += count;
                }
                Ok(Filled::Nothing) => return self.proxy.unread(peer),
                Ok(Filled::Header) => {
                    self.pending.tell_of_header(socket.remote_address(), now);
                    return self.proxy.closed(peer, now);
                }
                Ok(Filled::End) => {
                    if self.proxy.is_out_of_memory(peer, now) {
                        return;
                    }
                    self.proxy.unread(peer);
                    self.proxy.ended(peer, now);
                    if let Peer::Client(id) = peer {
                        self.proxy.leaves(id, now);
                    }
                    return;
                }
                Err(error) => {
                    log::debug!("cannot read from a peer: {error}");
                    return self.proxy.closed(peer, now);
                }
            }
        }
        self.enqueue(peer);
    }

    /// Writes what was encrypted before. Returns whether the peer is still there.
    #[inline(never)]
    fn push(&mut self, peer: Peer, now: Time) -> bool {
        let Some(socket) = self.socket(peer) else {
            return false;
        };
        match socket.push() {
            Ok(_) => true,
            Err(error) => {
                log::debug!("cannot write to a peer: {error}");
                self.proxy.closed(peer, now);
                false
            }
        }
    }

    fn enqueue(&mut self, peer: Peer) {
        if let Some(socket) = self.socket(peer)
            && !socket.queued
        {
            socket.queued = true;
            self.queue.push_back(peer);
        }
    }

    /// Whether a backend's socket is connected; if it has just become so, the proxy hears of it.
    fn check_connect(&mut self, id: BackendId, now: Time) -> bool {
        if !self.proxy.is_connecting(id) {
            return true;
        }
        let user_timeout = self.proxy.config().request_timeout;
        let Some(socket) = self.backends.get(id.key(), id.generation()) else {
            return false;
        };
        let mut connected = socket.is_connected();
        if let Ok(true) = connected
            && socket.is_handshaking()
        {
            if self.node_handshakes >= NODE_HANDSHAKES {
                self.enqueue(Peer::Backend(id));
                return false;
            }
            self.node_handshakes += 1;
            connected = socket.handshake();
        }
        match connected {
            Ok(true) => {
                if let Err(error) = socket.tune(user_timeout) {
                    log::debug!("cannot tune a backend's socket: {error}");
                }
                self.proxy.connected(id, now);
                true
            }
            Ok(false) => false,
            Err(error) => {
                if socket.is_handshaking() {
                    self.pending.tell_of_node(&error, now);
                }
                log::debug!("cannot connect: {error}");
                self.proxy.closed(Peer::Backend(id), now);
                false
            }
        }
    }

    fn act(&mut self, action: Action, now: Time) {
        match action {
            Action::Connect(id, address) => self.connect(id, address, now),
            Action::Flush(peer) => self.flush(peer, now),
            Action::Resume(id) => {
                if self.proxy.resume(id, now) {
                    self.enqueue(Peer::Client(id));
                }
                // It may be blocked by now, and have stopped sending before.
                let socket = self.clients.get(id.key(), id.generation());
                if socket.is_some_and(|socket| socket.read_closed) {
                    self.proxy.leaves(id, now);
                }
            }
            Action::Read(id) => self.enqueue(Peer::Backend(id)),
            Action::Close(peer) => self.close(peer, now),
            Action::Refresh(_) | Action::ToWorker(..) | Action::WorkOutside(_) => {}
        }
    }

    fn connect(&mut self, id: BackendId, address: SocketAddr, now: Time) {
        let connected = Socket::connect(address, &self.tls).and_then(|mut socket| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = token(Peer::Backend(id));
            self.poll
                .registry()
                .register(socket.source(), token, interest)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => self.backends.put(id.key(), id.generation(), socket),
            Err(error) => {
                self.connect_throttle
                    .warn(&format!("cannot connect to {address}: {error}"), now);
                self.proxy.lose_backend(id, Lost::Closed, now);
            }
        }
    }

    /// Writes to all for whom something is ready.
    fn flush_all(&mut self, now: Time) {
        let (clients, backends) = (&mut self.clients, &mut self.backends);
        let mut broken = Vec::new();
        self.proxy.flush_all(now, |peer, slices| {
            socket_of(clients, backends, peer).map_or(0, |socket| {
                socket.write(slices).unwrap_or_else(|error| {
                    broken.push((peer, error));
                    0
                })
            })
        });
        for (peer, error) in broken {
            log::debug!("cannot write to a peer: {error}");
            self.proxy.closed(peer, now);
        }
    }

    fn flush(&mut self, peer: Peer, now: Time) {
        let Some(socket) = socket_of(&mut self.clients, &mut self.backends, peer) else {
            return;
        };
        let mut broken = None;
        self.proxy.flush(peer, now, |slices| {
            socket.write(slices).unwrap_or_else(|error| {
                broken = Some(error);
                0
            })
        });
        if let Some(error) = broken {
            log::debug!("cannot write to a peer: {error}");
            self.proxy.closed(peer, now);
        }
    }

    fn close(&mut self, peer: Peer, now: Time) {
        if let Peer::Client(_) = peer {
            self.accept_balance.left(self.proxy.worker());
        }
        let socket = match peer {
            Peer::Client(id) => self.clients.take(id.key(), id.generation()),
            Peer::Backend(id) => self.backends.take(id.key(), id.generation()),
        };
        // Closing the descriptor takes it out of the poll as well.
        if let Some(mut socket) = socket
            && socket.is_tls()
            && !socket.farewell()
            && self.pending.has_room()
        {
            let id = self.pending.begin_close(socket, now);
            self.watch_pending(id, true);
        }
    }
}

/// The socket of a peer, if there is one. Apart from the worker, whose `proxy` is in use meanwhile.
#[inline]
fn socket_of<'s>(
    clients: &'s mut Sockets,
    backends: &'s mut Sockets,
    peer: Peer,
) -> Option<&'s mut Socket> {
    match peer {
        Peer::Client(id) => clients.get(id.key(), id.generation()),
        Peer::Backend(id) => backends.get(id.key(), id.generation()),
    }
}

#[cfg(test)]
mod tests;
