//! `Mailbox`: messages from other threads to a worker. It is bounded; sending wakes the worker and does not
//! block, but where a thread that has nothing else to do says so.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use mio::Waker;

use crate::cluster::topology::Topology;
use crate::command::Servers;
use crate::net::socket::Socket;
use crate::proxy::handover::state::MovedClient;
use crate::proxy::ids::PartId;
use crate::proxy::messages::worker_query;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::stats::counted::Counted;

/// Messages that a worker may have unread.
const MAIL_MAX: usize = 256;

/// A client on its way to another process.
#[derive(Debug)]
pub struct Leaver {
    /// What it had set and sent.
    pub client: Box<MovedClient>,
    /// Its socket.
    pub descriptor: OwnedFd,
    /// The worker that it comes from.
    pub worker: usize,
}

/// One thing said to a worker.
#[derive(Debug)]
pub enum Mail {
    /// The cluster's topology, as just learnt.
    Topology(Arc<Topology>),
    /// What the servers have said of themselves.
    Servers(Arc<Servers>),
    /// The reply to a client's request, merged outside the worker.
    DoneOutside(PartId, Vec<u8>),
    /// From another worker.
    Worker(worker_query::WorkerMessage),
    /// A client that another worker has accepted, and where it comes from.
    Client(Socket, Option<SocketAddr>),
    /// From the control thread.
    Control {
        /// What is asked.
        question: worker_query::WorkerQuery,
        /// Where the answer goes, a reply frame. It has room for one of each worker.
        answer: SyncSender<Vec<u8>>,
    },
    /// Accept clients, and say whether that is so.
    Accept(SyncSender<io::Result<()>>),
    /// Accept no more for now, and say when that is so.
    Pause(SyncSender<()>),
    /// Handles on the listeners for the process that takes over, each with the place of its address.
    Listeners(SyncSender<io::Result<Vec<(usize, OwnedFd)>>>),
    /// The clients of this worker go to the process that takes over, by this way.
    Leave(SyncSender<Leaver>),
    /// Subscribers may go, too.
    LeaveSubscribed,
    /// What the clients of this worker are subscribed to.
    Topics(SyncSender<Vec<(Kind, Vec<u8>)>>),
    /// A client comes from the process that this one takes over from.
    Arrive(Leaver),
    /// Subscribers of these topics will come; to be told when the nodes have confirmed them.
    WarmUp(Vec<(Kind, Vec<u8>)>, SyncSender<()>),
    /// No more subscribers will come.
    CoolDown,
    /// What the process has counted that this one takes over from; for one worker.
    Counted(Box<Counted>),
    /// Stop accepting, finish what is in flight, and end.
    Stop,
}

/// The sending side; clones are cheap.
#[derive(Debug, Clone)]
pub struct Mailbox {
    sender: SyncSender<Mail>,
    waker: Arc<Waker>,
}

impl Mailbox {
    /// A mailbox whose reader is woken by `waker`.
    pub fn new(waker: Waker) -> (Mailbox, Receiver<Mail>) {
        let (sender, receiver) = sync_channel(MAIL_MAX);
        let waker = Arc::new(waker);
        (Mailbox { sender, waker }, receiver)
    }

    /// Says something to the worker. Returns whether there was room for it: a worker that does not read its
    /// messages has ended or hangs.
    pub fn send(&self, message: Mail) -> bool {
        self.hand(message).is_ok()
    }

    /// As `send`, but waits for room as long as the worker lives. Not for a worker: two that wait for each other wait
    /// for ever.
    pub fn send_when_there_is_room(&self, message: Mail) {
        // Who has not read its messages has been woken up for them.
        if self.sender.send(message).is_ok() {
            self.wake();
        }
    }

    /// As `send`; a message that there was no room for comes back.
    pub fn hand(&self, message: Mail) -> Result<(), Mail> {
        let sent = self.sender.try_send(message);
        self.wake();
        sent.map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake up a worker: {error}");
        }
    }
}
