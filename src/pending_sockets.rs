//! `PendingSockets`: sockets of a worker that belong to no peer of its proxy: clients whose PROXY protocol header or TLS
//! handshake is under way, which become clients when it is complete, and closed connections whose last encrypted bytes
//! the kernel has not taken yet.
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
/// PROXY protocol headers that are looked at in the time of one handshake.
const HEADERS: usize = 16;
/// How long the header and the handshake together, or the last bytes, may take.
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

impl PendingSocket {
    /// Reads the header, if there is one to be read. Returns whether none is any more.
    fn read_header(&mut self) -> io::Result<bool> {
        if !self.socket.awaits_header() {
            return Ok(true);
        }
        let found = self.socket.read_header()?;
        if let Some(Some(client)) = found {
            self.client = Some(Some(client));
        }
        Ok(found.is_some())
    }
}

/// Names a pending socket.
pub type PendingId = Id<PendingSocket>;

/// What becomes of a socket.
#[derive(Debug)]
pub enum Outcome {
    /// Header and handshake are complete: a client, and where it comes from.
    Connected(Socket, Option<SocketAddr>),
    /// One of them failed.
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
    /// Tell of headers and handshakes that failed.
    headers: LogThrottle,
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

    /// A client comes in, who has a header or a handshake before it.
    pub fn begin(&mut self, socket: Socket, address: Option<SocketAddr>, now: Time) -> PendingId {
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
        let mut share = STEPS * HEADERS;
        // Each is looked at once.
        for _ in 0..self.ready.len() {
            if share == 0 {
                break;
            }
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            let (outcome, cost) = self.step(id, now);
            share = share.saturating_sub(cost);
            passed.extend(outcome);
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

    /// Goes on with one. Returns also what that cost, in headers.
    fn step(&mut self, id: PendingId, now: Time) -> (Option<Outcome>, usize) {
        let Some(own) = self.sockets.get_mut(id) else {
            return (None, 1);
        };
        own.queued = false;
        match own.read_header() {
            Ok(true) => {}
            Ok(false) => return (None, 1),
            Err(error) => return (self.end(id, Some(&error), now), 1),
        }
        let cost = if own.socket.is_tls() { HEADERS } else { 1 };
        let result = match own.client {
            Some(_) => own.socket.handshake(),
            None => own.socket.push(),
        };
        let outcome = match (result, own.client) {
            (Ok(false), _) => None,
            (Ok(true), None) => self.end(id, None, now),
            (Ok(true), Some(address)) => {
                let own = self.sockets.remove(id);
                own.map(|own| Outcome::Connected(own.socket, address))
            }
            (Err(error), _) => self.end(id, Some(&error), now),
        };
        (outcome, cost)
    }

    /// Drops a socket.
    fn end(&mut self, id: PendingId, error: Option<&io::Error>, now: Time) -> Option<Outcome> {
        let socket = self.sockets.remove(id)?;
        let Some(address) = socket.client else {
            return Some(Outcome::Closed);
        };
        if let Some(error) = error {
            let from = address.map_or("?".to_string(), |address| address.to_string());
            if socket.socket.awaits_header() {
                // A load balancer that only looks whether somebody listens says nothing.
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    let text = format!("no PROXY protocol header from {from}: {error}");
                    self.headers.warn(&text, now);
                }
                return Some(Outcome::Failed);
            }
            let what = match socket.socket.is_plain_instead() {
                true => "it does not speak TLS, which -tls-addr requires".to_string(),
                false => error.to_string(),
            };
            let text = format!("TLS handshake failed with client {from}: {what}");
            self.clients.warn(&text, now);
        }
        Some(Outcome::Failed)
    }

    /// Tells of a client who sent a header and must not. That is no handshake, and may be a client of any kind.
    pub fn tell_of_header(&mut self, from: Option<SocketAddr>, now: Time) {
        let from = from.map_or("?".to_string(), |address| address.to_string());
        let text = format!(
            "closed client {from}: it sent a PROXY protocol header, and its address is not in -proxy-protocol"
        );
        self.headers.warn(&text, now);
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
        let (mut listeners, address) = listening.expect("a port");
        let mut all = (Vec::new(), Vec::new());
        for _ in 0..count {
            let mut client = TcpStream::connect(address).expect("a client");
            client.write_all(b"PING\r\n").expect("a client");
            let (socket, from) = listeners[0]
                .accept(Duration::from_secs(5))
                .expect("a client");
            all.0.push(pending.begin(socket, from, at(0)));
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
