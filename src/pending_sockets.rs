//! `PendingSockets`: TLS sockets of a worker that belong to no peer of its proxy: clients whose handshake is under way, which
//! become clients when it is complete, and closed connections whose last encrypted bytes the kernel has not taken yet.
//!
//! A handshake costs as much as a thousand commands. So a turn advances few of them, and the next turns the others.
//! Each of these sockets has a deadline. It must never know what is said on them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::arena::{Arena, Id};
use crate::clock::Time;
use crate::log_throttle::LogThrottle;
use crate::net::socket::Socket;

/// Handshakes that one turn advances.
const STEPS: usize = 4;
/// How long a handshake, or the last bytes, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most pending sockets; when there are so many, a new client is closed.
const MOST: usize = 10_000;

/// A pending socket.
#[derive(Debug)]
pub struct PendingSocket {
    socket: Socket,
    /// Where the client comes from; nothing if the socket is closing.
    client: Option<Option<SocketAddr>>,
    queued: bool,
}

/// Names a pending socket.
pub type PendingId = Id<PendingSocket>;

/// What becomes of a socket.
#[derive(Debug)]
pub enum Outcome {
    /// The handshake is complete: a client, and where it comes from.
    Connected(Socket, Option<SocketAddr>),
    /// The handshake failed.
    Failed,
    /// The last bytes have gone, or the time is over.
    Closed,
}

/// The pending sockets.
#[derive(Debug, Default)]
pub struct PendingSockets {
    sockets: Arena<PendingSocket>,
    /// Those of whom there is news.
    ready: VecDeque<PendingId>,
    /// All, the first to run out of time at the front; those who have passed among them.
    deadlines: VecDeque<(Time, PendingId)>,
    /// Tell of handshakes that failed.
    clients: LogThrottle,
    nodes: LogThrottle,
}

impl PendingSockets {
    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether a client may come in.
    pub fn has_room(&self) -> bool {
        self.sockets.len() < MOST
    }

    /// Whether there is news of some that is to be acted on at once.
    pub fn is_behind(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When the next one runs out of time.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    /// A client comes in.
    pub fn begin_handshake(
        &mut self,
        socket: Socket,
        address: Option<SocketAddr>,
        now: Time,
    ) -> PendingId {
        self.enter(socket, Some(address), now)
    }

    /// A socket goes out: nothing more is to be said to it.
    pub fn begin_close(&mut self, socket: Socket, now: Time) -> PendingId {
        self.enter(socket, None, now)
    }

    fn enter(
        &mut self,
        socket: Socket,
        client: Option<Option<SocketAddr>>,
        now: Time,
    ) -> PendingId {
        let id = self.sockets.insert(PendingSocket {
            socket,
            client,
            queued: false,
        });
        self.deadlines.push_back((now.after(PATIENCE), id));
        id
    }

    /// The socket, to be registered.
    pub fn socket(&mut self, id: PendingId) -> Option<&mut Socket> {
        self.sockets.get_mut(id).map(|own| &mut own.socket)
    }

    /// Notes what an event says.
    pub fn note(&mut self, id: PendingId, is_writable: bool, is_closed: bool) {
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.socket.writable |= is_writable;
            socket.socket.read_closed |= is_closed;
            self.wake(id);
        }
    }

    fn wake(&mut self, id: PendingId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && !socket.queued
        {
            socket.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Takes one out; nothing if there is none of this name.
    pub fn take(&mut self, id: PendingId) -> Option<Socket> {
        self.sockets.remove(id).map(|own| own.socket)
    }

    /// Goes on with those of whom there is news, up to this turn's share, and ends those that took too long.
    pub fn advance(&mut self, now: Time) -> Vec<Outcome> {
        let mut passed = Vec::new();
        for _ in 0..self.ready.len().min(STEPS) {
            if let Some(id) = self.ready.pop_front() {
                passed.extend(self.step(id, now));
            }
        }
        while let Some((at, id)) = self.deadlines.front().copied() {
            // Those who have passed are forgotten when they come to the front.
            let is_here = self.sockets.get(id).is_some();
            if is_here && at > now {
                break;
            }
            self.deadlines.pop_front();
            if is_here {
                let error = io::Error::new(io::ErrorKind::TimedOut, "timed out");
                passed.extend(self.end(id, Some(&error), now));
            }
        }
        passed
    }

    fn step(&mut self, id: PendingId, now: Time) -> Option<Outcome> {
        let socket = self.sockets.get_mut(id)?;
        socket.queued = false;
        let result = match socket.client {
            Some(_) => socket.socket.handshake(),
            None => socket.socket.push(),
        };
        match (result, socket.client) {
            (Ok(false), _) => None,
            (Ok(true), None) => self.end(id, None, now),
            (Ok(true), Some(address)) => {
                let socket = self.sockets.remove(id)?;
                Some(Outcome::Connected(socket.socket, address))
            }
            (Err(error), _) => self.end(id, Some(&error), now),
        }
    }

    /// Drops a socket.
    fn end(&mut self, id: PendingId, error: Option<&io::Error>, now: Time) -> Option<Outcome> {
        let socket = self.sockets.remove(id)?;
        let Some(address) = socket.client else {
            return Some(Outcome::Closed);
        };
        if let Some(error) = error {
            let from = address.map_or("?".to_string(), |address| address.to_string());
            let what = match socket.socket.is_plain_instead() {
                true => "it does not speak TLS, which -tls-addr requires".to_string(),
                false => error.to_string(),
            };
            let text = format!("TLS handshake failed with client {from}: {what}");
            self.clients.warn(&text, now);
        }
        Some(Outcome::Failed)
    }

    /// Tells of a handshake with a node that failed.
    pub fn tell_of_node(&mut self, error: &io::Error, now: Time) {
        self.nodes
            .warn(&format!("TLS handshake failed with a node: {error}"), now);
    }

    /// Drops all that come in: nobody is served any more. Returns how many there were.
    pub fn drop_handshakes(&mut self) -> usize {
        let client: Vec<PendingId> = self
            .sockets
            .iter()
            .filter(|(_, own)| own.client.is_some())
            .map(|(id, _)| id)
            .collect();
        for id in &client {
            self.sockets.remove(*id);
        }
        client.len()
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;
    use crate::net::listener::listen_tls;
    use crate::net::tls::Context;
    use std::io::Write;
    use std::net::TcpStream;
    use std::sync::Arc;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    /// So many clients that come in and have said something that is no TLS; their own ends, too.
    fn storm(pending: &mut PendingSockets, count: usize) -> (Vec<PendingId>, Vec<TcpStream>) {
        let context = Arc::new(Context::of_tests());
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = listen_tls(address, 1, false, &context);
        let (listeners, address) = listening.expect("a port");
        let mut all = (Vec::new(), Vec::new());
        for _ in 0..count {
            let mut client = TcpStream::connect(address).expect("a client");
            client.write_all(b"PING\r\n").expect("a client");
            let (socket, from) = listeners[0].accept().expect("a client");
            all.0.push(pending.begin_handshake(socket, from, at(0)));
            all.1.push(client);
        }
        all
    }

    #[test]
    fn few_handshakes_are_gone_on_with_in_one_turn_and_none_is_forgotten() {
        let mut pending = PendingSockets::default();
        let (ids, _clients) = storm(&mut pending, 50);
        ids.iter().for_each(|id| pending.wake(*id));
        let mut left = 50;
        while pending.is_behind() {
            let passed = pending.advance(at(1));
            assert!(passed.len() <= STEPS);
            assert!(passed.iter().all(|one| matches!(one, Outcome::Failed)));
            left -= passed.len();
            assert_eq!(pending.sockets.len(), left);
        }
        assert_eq!(left, 0);
        assert!(pending.is_empty());
    }

    #[test]
    fn who_says_nothing_is_closed_in_time() {
        let mut pending = PendingSockets::default();
        let (_, _clients) = storm(&mut pending, 3);
        assert_eq!(pending.next_deadline(), Some(at(10)));
        assert_eq!(pending.advance(at(9)).len(), 0);
        assert_eq!(pending.advance(at(10)).len(), 3);
        assert_eq!(pending.next_deadline(), None);
        let (ids, _clients) = storm(&mut pending, 2);
        pending.take(ids[0]);
        assert_eq!(pending.drop_handshakes(), 1);
        assert!(pending.is_empty());
    }
}
