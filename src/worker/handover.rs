//! `Leaving`: the clients of a worker go to the process that takes over, a few at a time, so that none of them waits long
//! between the two.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use super::Worker;
use crate::clock::Time;
use crate::mailbox::Leaver;
use crate::proxy::Peer;
use crate::proxy::handover::leave::Leave;
use crate::proxy::ids::ClientId;

/// Clients that are frozen at once: their next requests wait until they have arrived.
const FROZEN_MAX: usize = 64;
/// Clients that are looked at in one turn.
const LOOKS: usize = 512;
/// How soon they are looked at again, while any are left.
const AGAIN: Duration = Duration::from_millis(1);
/// How soon, if all that are left hold leases.
const AGAIN_LEASED: Duration = Duration::from_millis(5);
/// How long those that cannot leave in time are given to be told so.
const PARTING: Duration = Duration::from_secs(1);

/// A worker whose clients leave.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Those that are served as before.
    waiting: VecDeque<ClientId>,
    /// Those that are told what they are owed, and no more.
    frozen: Vec<ClientId>,
    exits: SyncSender<Leaver>,
    /// One that there was no room for.
    held: Option<Leaver>,
    /// Whether subscribers may leave: somebody listens for them.
    pub subscribers_too: bool,
    /// Until when clients may leave.
    until: Time,
    /// When they are looked at again.
    pub due: Time,
}

impl Worker {
    /// All clients but those of TLS, whose keys cannot move, are to leave by `exits`.
    pub(super) fn begin_leaving(&mut self, exits: SyncSender<Leaver>, now: Time) {
        if self.stop_at.is_some() {
            return;
        }
        let ids = self.proxy.client_ids().into_iter();
        let movable = ids.filter(|id| {
            let socket = self.clients.get(id.key(), id.generation());
            socket.is_some_and(|socket| !socket.is_tls())
        });
        self.leaving = Some(Leaving {
            waiting: movable.collect(),
            frozen: Vec::new(),
            exits,
            held: None,
            subscribers_too: false,
            until: now.after(self.proxy.config().limits.drain),
            due: now,
        });
    }

    /// A client has come that was on its way between two workers.
    pub(super) fn leaves_too(&mut self, id: ClientId) {
        if let Some(leaving) = &mut self.leaving {
            leaving.waiting.push_back(id);
        }
    }

    /// Whether a peer is a client that is not to be read, as its lease has ended and it is to leave.
    pub(super) fn freezes_after_lease(&mut self, peer: Peer, now: Time) -> bool {
        let Peer::Client(id) = peer else {
            return false;
        };
        let Some(leaving) = &mut self.leaving else {
            return false;
        };
        let may_leave = leaving.subscribers_too || !self.proxy.hears(id);
        let freezes = may_leave && self.proxy.freezes_after_lease(id);
        if freezes {
            leaving.due = now;
        }
        freezes
    }

    /// Lets those leave that can.
    #[inline(never)]
    pub(super) fn let_leave(&mut self, now: Time) {
        let Some(mut leaving) = self.leaving.take() else {
            return;
        };
        let is_open = self.send_off(&mut leaving, now);
        if !is_open || now >= leaving.until {
            // What is left is sent away as at any end.
            self.leaving = Some(leaving);
            self.stop(now);
            self.stop_at = self.stop_at.map(|at| at.min(now.after(PARTING)));
            return;
        }
        let is_soon = !leaving.frozen.is_empty() || leaving.held.is_some();
        leaving.due = now.after(if is_soon { AGAIN } else { AGAIN_LEASED });
        self.leaving = Some(leaving);
    }

    /// Clients do not leave any more.
    pub(super) fn end_leaving(&mut self) {
        self.proxy.note_no_messages();
        let leaving = self.leaving.take().into_iter();
        for id in leaving.flat_map(|leaving| leaving.frozen) {
            self.proxy.stay(id);
        }
    }

    /// Returns whether the way is open.
    fn send_off(&mut self, leaving: &mut Leaving, now: Time) -> bool {
        if let Some(leaver) = leaving.held.take()
            && !leaving.pass(leaver)
        {
            return false;
        }
        let mut looks = leaving.waiting.len().min(LOOKS);
        while looks > 0 && leaving.frozen.len() < FROZEN_MAX && leaving.held.is_none() {
            looks -= 1;
            let Some(id) = leaving.waiting.pop_front() else {
                break;
            };
            if self.proxy.hears(id) && !leaving.subscribers_too {
                leaving.waiting.push_back(id);
                continue;
            }
            match self.proxy.freeze(id) {
                Leave::Gone => {}
                Leave::Later => leaving.waiting.push_back(id),
                Leave::Frozen => leaving.frozen.push(id),
                Leave::Free => {
                    if !self.send(leaving, id, now) {
                        return false;
                    }
                }
            }
        }
        for at in (0..leaving.frozen.len()).rev() {
            if leaving.held.is_some() {
                break;
            }
            let id = leaving.frozen[at];
            match self.proxy.freeze(id) {
                Leave::Frozen => continue,
                Leave::Gone => {}
                Leave::Later => {
                    self.proxy.stay(id);
                    leaving.waiting.push_back(id);
                }
                Leave::Free => {
                    if !self.send(leaving, id, now) {
                        return false;
                    }
                }
            }
            leaving.frozen.swap_remove(at);
        }
        true
    }

    /// A client leaves. Returns whether the way is open.
    fn send(&mut self, leaving: &mut Leaving, id: ClientId, now: Time) -> bool {
        let Some(mut socket) = self.clients.take(id.key(), id.generation()) else {
            return true;
        };
        if let Err(error) = self.poll.registry().deregister(socket.source()) {
            log::warn!("cannot remove a client from the poll: {error}");
        }
        let Some(client) = self.proxy.let_go(id, now) else {
            return true;
        };
        let Some(descriptor) = socket.into_descriptor() else {
            return true;
        };
        leaving.pass(Leaver {
            client: Box::new(client),
            descriptor,
            worker: self.proxy.worker(),
        })
    }

    /// A client arrives from the process that this one takes over from.
    pub(super) fn take_in(&mut self, leaver: Leaver, now: Time) {
        let own = self.proxy.worker();
        let socket = super::Socket::from_descriptor(leaver.descriptor);
        let mut socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                log::warn!("a client that was handed over cannot be used: {error}");
                return self.accept_balance.left(own);
            }
        };
        let client = *leaver.client;
        if client.traffic.0 == client.input.len() as u64 {
            socket = socket.guarded_behind(&client.input);
        }
        let Some(id) = self.proxy.arrive(client, now) else {
            log::info!(
                "closing a client that was handed over: the settings of this process do not allow it"
            );
            return self.accept_balance.left(own);
        };
        let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
        let token = super::token(Peer::Client(id));
        let registered = self
            .poll
            .registry()
            .register(socket.source(), token, interest);
        if let Err(error) = registered {
            log::warn!("cannot watch a client: {error}");
            // Closing it takes it off the balance.
            return self.proxy.closed(Peer::Client(id), now);
        }
        let local = socket.local_address();
        self.proxy.introduce(id, socket.descriptor(), local);
        self.clients.put(id.key(), id.generation(), socket);
    }

    /// Whether all clients have left.
    pub(super) fn have_all_left(&self) -> bool {
        let Some(leaving) = &self.leaving else {
            return false;
        };
        self.proxy.clients() == 0 && self.pending.is_empty() && leaving.held.is_none()
    }
}

impl Leaving {
    /// Passes one on, or holds it. Returns whether the way is open.
    fn pass(&mut self, leaver: Leaver) -> bool {
        match self.exits.try_send(leaver) {
            Ok(()) => true,
            Err(TrySendError::Full(leaver)) => {
                self.held = Some(leaver);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}
