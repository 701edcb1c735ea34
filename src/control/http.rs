//! The debug address: a small HTTP/1.1 server on a thread named `control`, with a poll of its own, so that
//! a scrape never sits in a worker's loop.
//!
//! It must never know what a page shows (`routes`) nor how a request is written (`message`).

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::clock::Time;
use crate::control::access::Access;
use crate::control::api::{answer, event};
use crate::control::connection::{Answer, Connection, Turn};
use crate::control::message::{Request, Response};
use crate::control::state::ControlState;
use crate::control::window;
use crate::log_throttle::LogThrottle;
use crate::net::page_stream::PageStream;
use crate::net::tls::Context;
use crate::sort;

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;

/// Connections that are sent events, at once.
const VIEWERS_MAX: usize = 32;

/// How often they are sent one.
const EVENT_PERIOD: Duration = Duration::from_secs(1);

/// Wait after an `accept` that failed, for example for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// A handle on the server.
#[derive(Debug)]
pub struct ControlHandle {
    stopped: Arc<AtomicBool>,
    door: Door,
    waker: Arc<Waker>,
    thread: JoinHandle<()>,
}

/// Whether connections are accepted. Those that are not wait in the queue of the listener.
#[derive(Debug, Clone)]
pub struct Door {
    is_open: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Door {
    /// Accepts no more from now on.
    pub fn shut(&self) {
        self.set(false);
    }

    /// Accepts.
    pub fn open(&self) {
        self.set(true);
    }

    fn set(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            log::warn!("debug address: cannot wake up its thread: {error}");
        }
    }
}

impl ControlHandle {
    /// What lets connections in.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Tells the thread to end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            log::warn!("debug address: cannot wake up its thread: {error}");
        }
    }

    /// Tells the thread to end, and waits until it has.
    pub fn join(self) {
        self.stop();
        if self.thread.join().is_err() {
            log::error!("debug address: its thread has panicked");
        }
    }
}

/// Starts the server on a listener that is bound already; whether it accepts from the start. `make` makes the state; it is
/// given what wakes the server when an answer that was to come later has come.
pub fn spawn(
    listener: std::net::TcpListener,
    accepts: bool,
    tls: Arc<Context>,
    make: impl FnOnce(Arc<Waker>) -> ControlState,
) -> io::Result<ControlHandle> {
    let loopback = listener.local_addr()?.ip().to_canonical().is_loopback();
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener);
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let door = Door {
        is_open: Arc::new(AtomicBool::new(accepts)),
        waker: Arc::clone(&waker),
    };
    let stopped = Arc::new(AtomicBool::new(false));
    let state = make(Arc::clone(&waker));
    let server = Server {
        poll,
        listener,
        door: door.clone(),
        is_registered: false,
        accept_at: None,
        event_at: None,
        second_at: Time::default(),
        stopped: Arc::clone(&stopped),
        connections: Slab::new(),
        next_serial: 0,
        again: Vec::new(),
        loopback,
        tls,
        plain: LogThrottle::default(),
        state,
    };
    let thread = thread::Builder::new()
        .name("control".to_string())
        .spawn(move || server.run())?;
    Ok(ControlHandle {
        stopped,
        door,
        waker,
        thread,
    })
}

/// A connection and which it is: keys of the slab are reused within a turn.
#[derive(Debug)]
struct Numbered {
    serial: u64,
    connection: Connection,
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    door: Door,
    /// Whether the poll tells of the listener.
    is_registered: bool,
    accept_at: Option<Time>,
    /// When a second of latencies is over.
    second_at: Time,
    /// When the next event is due, while anybody is sent events.
    event_at: Option<Time>,
    stopped: Arc<AtomicBool>,
    connections: Slab<Numbered>,
    next_serial: u64,
    again: Vec<(usize, u64)>,
    state: ControlState,
    loopback: bool,
    tls: Arc<Context>,
    /// Tells of peers that do not speak TLS.
    plain: LogThrottle,
}

impl Server {
    fn run(mut self) {
        let mut events = Events::with_capacity(128);
        while !self.stopped.load(Ordering::Acquire) {
            self.mind_door();
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::error!("debug address: poll failed, no longer serving it: {error}");
                    return;
                }
            }
            let now = self.state.sources.clock.now();
            let mut ready = std::mem::take(&mut self.again);
            let mut accept = self.accept_at.is_some_and(|at| at <= now);
            for event in &events {
                match event.token() {
                    LISTENER => accept = true,
                    WAKER => ready.extend(self.those(Connection::is_waiting)),
                    Token(key) => {
                        if let Some(numbered) = self.connections.get(key) {
                            ready.push((key, numbered.serial));
                        }
                    }
                }
            }
            // The clock may have been put back for a standstill since: nothing is due later than in a period.
            self.second_at = self.second_at.min(now.after(window::PERIOD));
            self.event_at = self.event_at.map(|at| at.min(now.after(EVENT_PERIOD)));
            if self.second_at <= now {
                self.second_at = now.after(window::PERIOD);
                self.state.sources.take_second();
            }
            if self.event_at.is_some_and(|at| at <= now) {
                ready.extend(self.push_event(now));
            }
            sort::all(&mut ready);
            ready.dedup();
            for (key, serial) in ready {
                self.turn(key, serial, now);
            }
            self.expire(now);
            if accept && self.is_registered && self.door.is_open.load(Ordering::Acquire) {
                self.accept(now);
            }
        }
    }

    /// Begins to accept, or stops it, if that was asked for.
    fn mind_door(&mut self) {
        let is_open = self.door.is_open.load(Ordering::Acquire);
        if is_open == self.is_registered {
            return;
        }
        let (registry, listener) = (self.poll.registry(), &mut self.listener);
        let done = match is_open {
            true => registry.register(listener, LISTENER, Interest::READABLE),
            false => registry.deregister(listener),
        };
        if let Err(error) = done {
            log::error!("debug address: cannot watch the listener: {error}");
        }
        self.is_registered = is_open;
    }

    /// Those connections that are so.
    fn those(&self, are: impl Fn(&Connection) -> bool) -> Vec<(usize, u64)> {
        let all = self.connections.iter();
        all.filter(|(_, numbered)| are(&numbered.connection))
            .map(|(key, numbered)| (key, numbered.serial))
            .collect()
    }

    /// Gives the next event to those who are sent events, and says who they are.
    fn push_event(&mut self, now: Time) -> Vec<(usize, u64)> {
        let viewers = self.those(Connection::is_streaming);
        self.event_at = (!viewers.is_empty()).then(|| now.after(EVENT_PERIOD));
        if !viewers.is_empty() {
            let event = event(&self.state);
            for (key, _) in &viewers {
                self.connections[*key].connection.push_event(&event);
            }
        }
        viewers
    }

    /// Until the next deadline.
    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadlines = self.connections.iter();
        let deadlines = deadlines.map(|(_, numbered)| numbered.connection.deadline);
        let own = [Some(self.second_at), self.accept_at, self.event_at];
        let next = deadlines.chain(own.into_iter().flatten()).min()?;
        // A millisecond more, since poll counts in whole ones and must not return too early again and again.
        Some(next.since(self.state.sources.clock.now()) + Duration::from_millis(1))
    }

    fn accept(&mut self, now: Time) {
        self.accept_at = None;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.open(stream, now),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        log::debug!("debug address: accept: {error}");
                        self.accept_at = Some(now.after(ACCEPT_RETRY));
                        return;
                    }
                },
            }
        }
    }

    fn open(&mut self, stream: TcpStream, now: Time) {
        if self.connections.len() >= CONNECTIONS_MAX && !self.evict() {
            log::debug!("debug address: too many connections");
            return;
        }
        let entry = self.connections.vacant_entry();
        let registry = self.poll.registry();
        let begun = PageStream::accept(stream, &self.tls).and_then(|mut stream| {
            let transport = stream.transport();
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(transport, Token(entry.key()), interest)?;
            transport.set_nodelay(true)?;
            Ok(stream)
        });
        let stream = match begun {
            Ok(stream) => stream,
            Err(error) => return log::debug!("debug address: {error}"),
        };
        let serial = self.next_serial;
        self.next_serial += 1;
        let key = entry.key();
        entry.insert(Numbered {
            serial,
            connection: Connection::new(stream, now),
        });
        self.turn(key, serial, now);
    }

    /// Makes room by ending the connection that has been idle longest: a health check must get in even if
    /// others keep connections open.
    fn evict(&mut self) -> bool {
        let idle = self
            .connections
            .iter()
            .filter(|(_, numbered)| numbered.connection.is_idle())
            .min_by_key(|(_, numbered)| numbered.connection.deadline)
            .map(|(key, _)| key);
        if let Some(key) = idle {
            self.close(key);
        }
        idle.is_some()
    }

    fn expire(&mut self, now: Time) {
        for (key, _) in self.those(|connection| connection.deadline <= now) {
            self.close(key);
        }
    }

    fn close(&mut self, key: usize) {
        // Dropping the stream closes it, which also takes it out of the poll.
        self.connections.remove(key);
    }

    fn turn(&mut self, key: usize, serial: u64, now: Time) {
        let viewers = self.those(Connection::is_streaming).len();
        let Some(numbered) = self.connections.get_mut(key) else {
            return;
        };
        if numbered.serial != serial {
            return;
        }
        let state = &self.state;
        let access = Access {
            loopback: self.loopback,
            token: state.sources.process.live.config().debug_token.clone(),
        };
        let respond = |request: &Request| match answer(request, state, &access) {
            Answer::Stream if viewers >= VIEWERS_MAX => {
                Answer::Now(Response::text(503, "there are too many viewers"))
            }
            answer => answer,
        };
        let turn = numbered.connection.turn(now, respond);
        if numbered.connection.is_streaming() && self.event_at.is_none() {
            self.event_at = Some(now);
        }
        match turn {
            Ok(Turn::Wait) => {}
            Ok(Turn::Again) => self.again.push((key, serial)),
            Ok(Turn::Close) => self.close(key),
            Err(error) => {
                log::debug!("debug address: {error}");
                if numbered.connection.is_plain_instead() {
                    self.plain.warn("debug address: a peer does not speak TLS, which -debug-tls demands: https://", now);
                }
                self.close(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::net::{SocketAddr, TcpStream as Peer};

    fn server() -> (SocketAddr, ControlHandle) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let make = |waker| {
            let mut state = ControlState::for_tests(waker);
            let now = state.sources.clock.now();
            state.sources.heartbeats = vec![Arc::new(crate::turns::Heartbeat::ended_at(now))];
            state
        };
        (
            address,
            spawn(listener, true, Arc::default(), make).unwrap(),
        )
    }

    fn peer(address: SocketAddr) -> Peer {
        let peer = Peer::connect(address).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        peer
    }

    /// Reads until the text ends so.
    fn read_until(peer: &mut Peer, end: &str) -> String {
        let mut text = String::new();
        let mut byte = [0];
        while !text.ends_with(end) {
            assert_eq!(peer.read(&mut byte).unwrap(), 1, "closed after {text}");
            text.push(byte[0] as char);
        }
        text
    }

    #[test]
    fn a_connection_is_kept_for_many_requests_sent_byte_by_byte() {
        let (address, handle) = server();
        let mut peer = peer(address);
        peer.set_nodelay(true).unwrap();
        let put = "PUT /debug/log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\n\
                   level=error";
        for byte in put.as_bytes() {
            peer.write_all(&[*byte]).unwrap();
        }
        let text = read_until(&mut peer, "error\n");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        peer.write_all(
            b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .unwrap();
        let text = read_until(&mut peer, "\r\n\r\nok\n");
        assert_eq!(text.matches("Content-Length: 3").count(), 2, "{text}");
        peer.write_all(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut rest = String::new();
        peer.read_to_string(&mut rest).unwrap();
        assert!(rest.starts_with("HTTP/1.1 405 "), "{rest}");
        assert!(rest.contains("\r\nAllow: GET, HEAD\r\n"), "{rest}");
        handle.join();
    }

    #[test]
    fn many_pipelined_requests_are_all_answered() {
        let (address, handle) = server();
        let mut peer = peer(address);
        let one = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        let count = 20_000;
        let mut writer = peer.try_clone().unwrap();
        let all = one.repeat(count);
        let writing = thread::spawn(move || {
            writer.write_all(&all).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        writing.join().unwrap();
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), count);
        handle.join();
    }

    #[test]
    fn a_bad_request_gets_its_answer_before_the_end() {
        let (address, handle) = server();
        let check = |request: &[u8], status: &str| {
            let mut peer = peer(address);
            // The server may stop reading before all is written.
            let _ = peer.write_all(request);
            let mut text = String::new();
            peer.read_to_string(&mut text).unwrap();
            assert!(text.contains(status), "{text}");
        };
        check(b"nonsense\r\n\r\n", "HTTP/1.1 400 ");
        check(&[b'x'; 100_000], "HTTP/1.1 431 ");
        let long = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
        check(&[&long[..], &[b'x'; 100_000]].concat(), "HTTP/1.1 413 ");
        check(
            b"PUT /debug/log-level HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 403 ",
        );
        handle.join();
    }

    #[test]
    fn a_crowd_of_idle_connections_keeps_nobody_out() {
        let (address, handle) = server();
        let mut crowd: Vec<Peer> = (0..CONNECTIONS_MAX * 2).map(|_| peer(address)).collect();
        let last = crowd.last_mut().unwrap();
        last.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        read_until(last, "ok\n");
        handle.join();
    }
}
