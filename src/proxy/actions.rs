//! `Actions`: what the state machine wants done with sockets and threads. The shell carries them out at the
//! end of the turn; nothing is written or closed under the feet of a caller.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::proxy::ids::{BackendId, ClientId, PartId, Peer};
use crate::proxy::messages::worker_query::WorkerMessage;
use crate::proxy::texts;
use crate::resp::encode;

/// Why a topology refresh is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A node redirected a slot.
    Moved,
    /// A node could not be reached, or said that it cannot serve.
    Trouble,
    /// A client asked for it, or the way in which it is done has changed.
    Asked,
}

/// Work for another thread, since it takes longer than a turn may, or waits for a disk: it makes the reply to a part of a
/// client's request.
pub struct OutsideWork {
    part: PartId,
    find: Box<dyn FnOnce() -> Vec<u8> + Send>,
    /// Whether it waits for a disk, which may take for ever.
    waits: bool,
}

impl OutsideWork {
    /// This is to be done for this part. It takes long, and does not wait.
    pub fn new(part: PartId, find: impl FnOnce() -> Vec<u8> + Send + 'static) -> OutsideWork {
        OutsideWork {
            part,
            find: Box::new(find),
            waits: false,
        }
    }

    /// Whether it waits for a disk: whoever does it does nothing else meanwhile.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Does it. Returns where its reply belongs, and the reply.
    pub fn run(self) -> (PartId, Vec<u8>) {
        (self.part, (self.find)())
    }

    /// Nobody can do it: the reply is an error.
    pub fn refuse(self) -> (PartId, Vec<u8>) {
        let mut reply = Vec::new();
        encode::error(&mut reply, texts::TOO_MANY_WAIT_FOR_DISK.as_bytes());
        (self.part, reply)
    }
}

impl fmt::Debug for OutsideWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutsideWork")
    }
}

/// What another thread reads from a disk or writes there to find the answer to a part of a request.
#[derive(Clone)]
pub struct OutsideAnswer(Arc<dyn Fn() -> Vec<u8> + Send + Sync>);

impl OutsideAnswer {
    /// This is to be done; it returns the reply.
    pub fn new(find: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> OutsideAnswer {
        OutsideAnswer(Arc::new(find))
    }

    /// The work that answers this part.
    pub fn of(&self, part: PartId) -> OutsideWork {
        let find = self.0.clone();
        OutsideWork {
            waits: true,
            ..OutsideWork::new(part, move || find())
        }
    }
}

impl fmt::Debug for OutsideAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutsideAnswer")
    }
}

/// One thing to be done.
#[derive(Debug)]
pub enum Action {
    /// Connect a socket for this backend.
    Connect(BackendId, SocketAddr),
    /// Write what the peer's output holds.
    Flush(Peer),
    /// Serve this client again: what kept it from being read is over.
    Resume(ClientId),
    /// Read this backend again: what it waited for is over.
    Read(BackendId),
    /// Close the peer's socket; the state machine has forgotten the peer already.
    Close(Peer),
    /// Ask the cluster for its topology.
    Refresh(Wanted),
    /// Hand a message to another worker.
    ToWorker(usize, WorkerMessage),
    /// Run this on another thread; `Proxy::done_outside` is told what it returns.
    WorkOutside(OutsideWork),
}

/// The actions of one turn, in the order in which they are best done: requests leave before replies, so
/// that the nodes work while we still write.
#[derive(Debug, Default)]
pub struct Actions {
    /// In the order in which they were asked for: a node with few places gives them to those who asked first.
    connects: VecDeque<(BackendId, SocketAddr)>,
    /// In the order in which they were asked for: what two clients said in turn is read in turn.
    backend_flushes: VecDeque<BackendId>,
    client_flushes: Vec<ClientId>,
    resumes: VecDeque<ClientId>,
    reads: Vec<BackendId>,
    closes: Vec<Peer>,
    refresh: Option<Wanted>,
    /// In order: all workers hear of one turn as this one did.
    messages: VecDeque<(usize, WorkerMessage)>,
    outside: VecDeque<OutsideWork>,
}

impl Actions {
    /// Asks for a connection.
    pub fn connect(&mut self, backend: BackendId, address: SocketAddr) {
        self.connects.push_back((backend, address));
    }

    /// Asks for a write to a backend. The caller sees to it that each is asked for once.
    #[inline]
    pub fn flush_backend(&mut self, backend: BackendId) {
        self.backend_flushes.push_back(backend);
    }

    /// Asks for a write to a client. The caller sees to it that each is asked for once.
    #[inline]
    pub fn flush_client(&mut self, client: ClientId) {
        self.client_flushes.push(client);
    }

    /// Asks for a client to be served again.
    pub fn resume(&mut self, client: ClientId) {
        self.resumes.push_back(client);
    }

    /// Asks for a backend to be read again.
    pub fn read(&mut self, backend: BackendId) {
        self.reads.push(backend);
    }

    /// Asks for a socket to be closed.
    pub fn close(&mut self, peer: Peer) {
        self.closes.push(peer);
    }

    /// Asks for a topology refresh.
    pub fn refresh(&mut self, wanted: Wanted) {
        self.refresh = Some(wanted);
    }

    /// Asks for a message to be handed to another worker.
    pub fn send_to_worker(&mut self, worker: usize, message: WorkerMessage) {
        self.messages.push_back((worker, message));
    }

    /// Asks for work to be done on another thread.
    pub fn work_outside(&mut self, work: OutsideWork) {
        self.outside.push_back(work);
    }

    /// The next backend to write to, unless connections are to be made before.
    #[inline]
    pub fn take_backend_flush(&mut self) -> Option<BackendId> {
        match self.connects.is_empty() {
            true => self.backend_flushes.pop_front(),
            false => None,
        }
    }

    /// The next client to write to, unless something is to be done before.
    #[inline]
    pub fn take_client_flush(&mut self) -> Option<ClientId> {
        match self.connects.is_empty() && self.backend_flushes.is_empty() {
            true => self.client_flushes.pop(),
            false => None,
        }
    }

    /// The next thing to do. Doing it may bring more.
    #[inline]
    pub fn take(&mut self) -> Option<Action> {
        if let Some((backend, address)) = self.connects.pop_front() {
            return Some(Action::Connect(backend, address));
        }
        if let Some(backend) = self.backend_flushes.pop_front() {
            return Some(Action::Flush(Peer::Backend(backend)));
        }
        if let Some(client) = self.client_flushes.pop() {
            return Some(Action::Flush(Peer::Client(client)));
        }
        if let Some(client) = self.resumes.pop_front() {
            return Some(Action::Resume(client));
        }
        if let Some(backend) = self.reads.pop() {
            return Some(Action::Read(backend));
        }
        if let Some(peer) = self.closes.pop() {
            return Some(Action::Close(peer));
        }
        if let Some((worker, message)) = self.messages.pop_front() {
            return Some(Action::ToWorker(worker, message));
        }
        if let Some(work) = self.outside.pop_front() {
            return Some(Action::WorkOutside(work));
        }
        self.refresh.take().map(Action::Refresh)
    }

    /// Gives memory back after a storm.
    pub fn shrink(&mut self) {
        self.client_flushes.shrink_to(64);
        self.resumes.shrink_to(64);
        self.closes.shrink_to(64);
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.connects.is_empty()
            && self.backend_flushes.is_empty()
            && self.client_flushes.is_empty()
            && self.resumes.is_empty()
            && self.reads.is_empty()
            && self.closes.is_empty()
            && self.refresh.is_none()
            && self.messages.is_empty()
            && self.outside.is_empty()
    }
}
