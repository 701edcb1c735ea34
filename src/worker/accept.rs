//! Clients come in: they are accepted, and served here or given to a worker that has fewer. Whose header or TLS handshake is
//! to come first waits in `pending_sockets`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use mio::{Interest, Token};

use super::Worker;
use super::sockets::{LISTENER, pending_token, token};
use crate::clock::Time;
use crate::config::Listen;
use crate::mailbox::{Mail, Mailbox};
use crate::net::socket::Socket;
use crate::pending_sockets::{Outcome, PendingId};
use crate::proxy::Peer;

/// How long no client is accepted after the process ran out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Clients accepted in one turn, a millisecond of work: those who are here wait so long in a storm of new ones.
const ACCEPTS: usize = 32;

impl Worker {
    /// Has the poll tell of clients that come.
    pub(super) fn begin_accepting(&mut self) -> io::Result<()> {
        if self.accepts || self.stop_at.is_some() {
            return Ok(());
        }
        self.accepts = true;
        for (index, (_, listener)) in self.listeners.iter_mut().enumerate() {
            let token = Token(LISTENER.0 + index);
            let registry = self.poll.registry();
            registry.register(listener.source(), token, Interest::READABLE)?;
        }
        Ok(())
    }

    /// Leaves clients that come in the queues of their listeners.
    pub(super) fn pause_accepting(&mut self) {
        if !std::mem::take(&mut self.accepts) {
            return;
        }
        for (_, listener) in &mut self.listeners {
            if let Err(error) = self.poll.registry().deregister(listener.source()) {
                log::warn!("cannot remove the listener from the poll: {error}");
            }
        }
        self.accept_pending.clear();
    }

    /// Handles on the listeners for another process.
    pub(super) fn duplicate_listeners(&self) -> io::Result<Vec<(usize, OwnedFd)>> {
        let listeners = self.listeners.iter();
        let duplicates = listeners.map(|(place, listener)| Ok((*place, listener.duplicate()?)));
        duplicates.collect()
    }

    pub(super) fn accept(&mut self, others: &[Mailbox], now: Time) {
        for _ in 0..ACCEPTS {
            let Some(place) = self.accept_pending.pop_front() else {
                return;
            };
            let user_timeout = self.proxy.config().request_timeout;
            let Some((address, listener)) = self.listeners.get_mut(place) else {
                continue;
            };
            let address_place = *address;
            let accepted = listener.accept(user_timeout);
            if !matches!(&accepted, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                self.accept_pending.push_back(place);
            }
            match accepted {
                Ok((mut socket, address)) => {
                    let config = self.proxy.config();
                    if !config.proxy_protocol.is_empty() {
                        socket = socket.expect_header(config.is_proxied(address));
                    }
                    socket.listener = address_place;
                    self.place(socket, address, others, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_exhaustion(&error) => {
                    self.accept_throttle
                        .warn(&format!("cannot accept a client: {error}"), now);
                    self.proxy.stats().accepts_failed.add(1);
                    self.accept_after = now.after(ACCEPT_PAUSE);
                    return;
                }
                // The client has gone again, or the network says something of the next one.
                Err(error) => log::debug!("cannot accept a client: {error}"),
            }
        }
        self.accept_after = now;
    }

    /// Serves a new client, or gives it to a worker that has fewer.
    pub(super) fn place(
        &mut self,
        socket: Socket,
        address: Option<SocketAddr>,
        others: &[Mailbox],
        now: Time,
    ) {
        let own = self.proxy.worker();
        if self.accept_balance.total() >= self.proxy.config().limits.clients {
            // It is turned away here and now: many on their way to another worker would hold their descriptors for long.
            self.accept_balance.kept(own);
            return self.admit(socket, address, now);
        }
        let worker = self.accept_balance.assign(own);
        if worker == own {
            return self.admit(socket, address, now);
        }
        // A worker that has no room for messages now takes no client either.
        if let Err(Mail::Client(socket, address)) =
            others[worker].hand(Mail::Client(socket, address))
        {
            self.accept_balance.left(worker);
            self.accept_balance.kept(own);
            self.admit(socket, address, now);
        }
    }

    pub(super) fn admit(&mut self, socket: Socket, address: Option<SocketAddr>, now: Time) {
        match socket.awaits_header() || socket.is_handshaking() {
            true => self.hold(socket, address, now),
            false => self.welcome(socket, address, false, now),
        }
    }

    /// A client becomes the proxy's. `is_known`: the poll tells of it already, under another name.
    pub(super) fn welcome(
        &mut self,
        mut socket: Socket,
        address: Option<SocketAddr>,
        is_known: bool,
        now: Time,
    ) {
        let id = self.proxy.accept(address, now);
        self.proxy.enter(id, socket.listener);
        if socket.is_tls() {
            let names = socket.peer_names(self.proxy.config().tls.user);
            self.proxy.identify(id, &names, now);
        }
        let registry = self.poll.registry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = token(Peer::Client(id));
        let registered = match is_known {
            true => registry.reregister(socket.source(), token, interest),
            false => registry.register(socket.source(), token, interest),
        };
        match registered {
            Ok(()) => {
                let mut own = self.listeners.iter();
                let local = own
                    .find(|(place, _)| *place == socket.listener)
                    .and_then(|(_, listener)| listener.only_address())
                    .map(Listen::Tcp)
                    .or_else(|| socket.local_address());
                self.proxy.introduce(id, socket.descriptor(), local);
                let (is_readable, is_tls) = (socket.readable, socket.is_tls());
                self.clients.put(id.key(), id.generation(), socket);
                if !is_tls {
                    self.leaves_too(id);
                }
                if is_readable {
                    self.enqueue(Peer::Client(id));
                }
            }
            Err(error) => {
                log::warn!("cannot watch a client: {error}");
                self.proxy.closed(Peer::Client(id), now);
            }
        }
    }

    /// A client comes in, whose header or TLS handshake is to be completed before the proxy hears of it.
    pub(super) fn hold(&mut self, socket: Socket, address: Option<SocketAddr>, now: Time) {
        // Those who are held count as clients, this one among them.
        if self.accept_balance.total() > self.proxy.config().limits.clients {
            // It cannot be told: that would take the handshake, if there is one.
            self.proxy.stats().clients_rejected.add(1);
            return self.accept_balance.left(self.proxy.worker());
        }
        if !self.pending.has_room() || self.stop_at.is_some() {
            self.proxy.stats().accepts_failed.add(1);
            return self.accept_balance.left(self.proxy.worker());
        }
        let id = self.pending.begin(socket, address, now);
        if !self.watch_pending(id, false) {
            self.accept_balance.left(self.proxy.worker());
        }
    }

    /// Has the poll tell of a socket in its header, its handshake or its end. `is_known`: it tells of it already, under another name.
    pub(super) fn watch_pending(&mut self, id: PendingId, is_known: bool) -> bool {
        let Some(socket) = self.pending.socket(id) else {
            return false;
        };
        let registry = self.poll.registry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let watched = match is_known {
            true => registry.reregister(socket.source(), pending_token(id), interest),
            false => registry.register(socket.source(), pending_token(id), interest),
        };
        if let Err(error) = &watched {
            log::warn!("cannot watch a socket: {error}");
            self.pending.take(id);
        }
        watched.is_ok()
    }

    #[inline(never)]
    pub(super) fn advance_pending(&mut self, now: Time) {
        for passed in self.pending.advance(now) {
            match passed {
                Outcome::Connected(socket, address) => self.welcome(socket, address, true, now),
                Outcome::Failed => self.accept_balance.left(self.proxy.worker()),
                Outcome::Closed => {}
            }
        }
    }
}

/// Whether the process, or the machine, has no more descriptors or memory.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
