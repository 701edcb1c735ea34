//! `Transit`: sockets of a worker that do not belong to a client or a node yet, or no longer: clients whose TLS
//! handshake is under way, and closed connections that still have encrypted bytes to send.
//!
//! A handshake costs as much as a thousand commands, so only a few make progress in one turn. Each socket has a
//! deadline. It must never know what is said on them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::arena::{Arena, Id};
use crate::clock::Time;
use crate::net::socket::Socket;
use crate::teller::Teller;

/// Handshakes that are gone on with in one turn.
const STEPS: usize = 4;
/// How long a handshake, or the last bytes, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Sockets in transit; who comes when there are so many is closed.
const MOST: usize = 10_000;

/// A socket in transit.
#[derive(Debug)]
pub struct Traveller {
    socket: Socket,
    /// Where a client comes from; nothing for one that goes.
    coming: Option<Option<SocketAddr>>,
    queued: bool,
}

/// Names a socket in transit.
pub type TravellerId = Id<Traveller>;

/// What becomes of a socket.
#[derive(Debug)]
pub enum Passed {
    /// A client is here, and where it comes from.
    Arrived(Socket, Option<SocketAddr>),
    /// One that came in has gone.
    Failed,
    /// One that went out has gone.
    Left,
}

/// The sockets in transit.
#[derive(Debug, Default)]
pub struct Transit {
    travellers: Arena<Traveller>,
    /// Those of whom there is news.
    ready: VecDeque<TravellerId>,
    /// All, the first to run out of time at the front; those who have passed among them.
    deadlines: VecDeque<(Time, TravellerId)>,
    /// Tell of handshakes that failed.
    clients: Teller,
    nodes: Teller,
}

impl Transit {
    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.travellers.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.travellers.len()
    }

    /// Whether a client may come in.
    pub fn has_room(&self) -> bool {
        self.travellers.len() < MOST
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
    pub fn come(&mut self, socket: Socket, address: Option<SocketAddr>, now: Time) -> TravellerId {
        self.enter(socket, Some(address), now)
    }

    /// A socket goes out: nothing more is to be said to it.
    pub fn go(&mut self, socket: Socket, now: Time) -> TravellerId {
        self.enter(socket, None, now)
    }

    fn enter(
        &mut self,
        socket: Socket,
        coming: Option<Option<SocketAddr>>,
        now: Time,
    ) -> TravellerId {
        let id = self.travellers.insert(Traveller {
            socket,
            coming,
            queued: false,
        });
        self.deadlines.push_back((now.after(PATIENCE), id));
        id
    }

    /// The socket, to be registered.
    pub fn socket(&mut self, id: TravellerId) -> Option<&mut Socket> {
        self.travellers.get_mut(id).map(|own| &mut own.socket)
    }

    /// Notes what an event says.
    pub fn note(&mut self, id: TravellerId, is_writable: bool, is_closed: bool) {
        if let Some(traveller) = self.travellers.get_mut(id) {
            traveller.socket.writable |= is_writable;
            traveller.socket.read_closed |= is_closed;
            self.wake(id);
        }
    }

    fn wake(&mut self, id: TravellerId) {
        if let Some(traveller) = self.travellers.get_mut(id)
            && !traveller.queued
        {
            traveller.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Takes one out; nothing if there is none of this name.
    pub fn take(&mut self, id: TravellerId) -> Option<Socket> {
        self.travellers.remove(id).map(|own| own.socket)
    }

    /// Goes on with those of whom there is news, up to this turn's share, and ends those that took too long.
    pub fn pass(&mut self, now: Time) -> Vec<Passed> {
        let mut passed = Vec::new();
        for _ in 0..self.ready.len().min(STEPS) {
            if let Some(id) = self.ready.pop_front() {
                passed.extend(self.step(id, now));
            }
        }
        while let Some((at, id)) = self.deadlines.front().copied() {
            // Those who have passed are forgotten when they come to the front.
            let is_here = self.travellers.get(id).is_some();
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

    fn step(&mut self, id: TravellerId, now: Time) -> Option<Passed> {
        let traveller = self.travellers.get_mut(id)?;
        traveller.queued = false;
        let result = match traveller.coming {
            Some(_) => traveller.socket.handshake(),
            None => traveller.socket.push(),
        };
        match (result, traveller.coming) {
            (Ok(false), _) => None,
            (Ok(true), None) => self.end(id, None, now),
            (Ok(true), Some(address)) => {
                let traveller = self.travellers.remove(id)?;
                Some(Passed::Arrived(traveller.socket, address))
            }
            (Err(error), _) => self.end(id, Some(&error), now),
        }
    }

    /// Drops a socket.
    fn end(&mut self, id: TravellerId, error: Option<&io::Error>, now: Time) -> Option<Passed> {
        let traveller = self.travellers.remove(id)?;
        let Some(address) = traveller.coming else {
            return Some(Passed::Left);
        };
        if let Some(error) = error {
            let from = address.map_or("?".to_string(), |address| address.to_string());
            let what = match traveller.socket.is_plain_instead() {
                true => "it does not speak TLS, which -tls-addr requires".to_string(),
                false => error.to_string(),
            };
            let text = format!("TLS handshake failed with client {from}: {what}");
            self.clients.tell(&text, now);
        }
        Some(Passed::Failed)
    }

    /// Tells of a handshake with a node that failed.
    pub fn tell_of_node(&mut self, error: &io::Error, now: Time) {
        self.nodes
            .tell(&format!("TLS handshake failed with a node: {error}"), now);
    }

    /// Drops all that come in: nobody is served any more. Returns how many there were.
    pub fn close_door(&mut self) -> usize {
        let coming: Vec<TravellerId> = self
            .travellers
            .iter()
            .filter(|(_, own)| own.coming.is_some())
            .map(|(id, _)| id)
            .collect();
        for id in &coming {
            self.travellers.remove(*id);
        }
        coming.len()
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
    fn storm(transit: &mut Transit, count: usize) -> (Vec<TravellerId>, Vec<TcpStream>) {
        let context = Arc::new(Context::of_tests());
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = listen_tls(address, 1, false, &context);
        let (listeners, address) = listening.expect("a port");
        let mut all = (Vec::new(), Vec::new());
        for _ in 0..count {
            let mut client = TcpStream::connect(address).expect("a client");
            client.write_all(b"PING\r\n").expect("a client");
            let (socket, from) = listeners[0].accept().expect("a client");
            all.0.push(transit.come(socket, from, at(0)));
            all.1.push(client);
        }
        all
    }

    #[test]
    fn few_handshakes_are_gone_on_with_in_one_turn_and_none_is_forgotten() {
        let mut transit = Transit::default();
        let (ids, _clients) = storm(&mut transit, 50);
        ids.iter().for_each(|id| transit.wake(*id));
        let mut left = 50;
        while transit.is_behind() {
            let passed = transit.pass(at(1));
            assert!(passed.len() <= STEPS);
            assert!(passed.iter().all(|one| matches!(one, Passed::Failed)));
            left -= passed.len();
            assert_eq!(transit.travellers.len(), left);
        }
        assert_eq!(left, 0);
        assert!(transit.is_empty());
    }

    #[test]
    fn who_says_nothing_is_closed_in_time() {
        let mut transit = Transit::default();
        let (_, _clients) = storm(&mut transit, 3);
        assert_eq!(transit.next_deadline(), Some(at(10)));
        assert_eq!(transit.pass(at(9)).len(), 0);
        assert_eq!(transit.pass(at(10)).len(), 3);
        assert_eq!(transit.next_deadline(), None);
        let (ids, _clients) = storm(&mut transit, 2);
        transit.take(ids[0]);
        assert_eq!(transit.close_door(), 1);
        assert!(transit.is_empty());
    }
}
