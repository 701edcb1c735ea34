//! The debug address: a small HTTP/1.1 server on a thread named `control`, with a poll of its own, so that
//! a scrape never sits in a worker's loop.
//!
//! It must never know what a page shows (`routes`) nor how a request is written (`message`).

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::clock::{Clock, Time};
use crate::control::message::{BODY_BYTES_MAX, HEAD_BYTES_MAX, Parsed, parse};
use crate::control::routes::{DebugState, answer};

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may take for its next request, or to take its answer.
const IDLE: Duration = Duration::from_secs(10);

/// How long a connection that we end may take to read its last answer.
const LINGER: Duration = Duration::from_secs(1);

/// Wait after an `accept` that failed, for example for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Requests of one connection that are answered before the others have their turn.
const REQUESTS_PER_TURN: usize = 32;

/// How much is read at once.
const READ_BYTES: usize = 16 << 10;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// A handle on the server.
#[derive(Debug)]
pub struct ControlHandle {
    stopped: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: JoinHandle<()>,
}

impl ControlHandle {
    /// Tells the thread to end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            log::warn!("debug address: cannot wake its thread: {error}");
        }
    }

    /// Tells the thread to end, and waits until it has.
    pub fn join(self) {
        self.stop();
        if self.thread.join().is_err() {
            log::error!("debug address: its thread had panicked");
        }
    }
}

/// Starts the server on a listener that is bound already.
pub fn spawn(listener: std::net::TcpListener, state: DebugState) -> io::Result<ControlHandle> {
    let loopback = listener.local_addr()?.ip().to_canonical().is_loopback();
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let stopped = Arc::new(AtomicBool::new(false));
    let server = Server {
        poll,
        listener,
        accept_at: None,
        stopped: Arc::clone(&stopped),
        connections: Slab::new(),
        next_serial: 0,
        again: Vec::new(),
        clock: state.clock,
        state,
        loopback,
    };
    let thread = thread::Builder::new()
        .name("control".to_string())
        .spawn(move || server.run())?;
    Ok(ControlHandle {
        stopped,
        waker,
        thread,
    })
}

/// What a connection does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Wait for the peer.
    Wait,
    /// Go on when the others have had their turn.
    Again,
    /// End.
    Close,
}

/// The life of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests are answered.
    Open,
    /// The last answer is on its way.
    Closing,
    /// It is out, and the peer has been told so; what it still sends is thrown away, since closing with
    /// unread bytes would reset the connection and destroy the answer.
    Lingering,
}

/// One peer.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    phase: Phase,
    told_to_go_on: bool,
    read_closed: bool,
    deadline: Time,
    /// Which key of the slab this is the owner of: keys are reused within a turn.
    serial: u64,
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    accept_at: Option<Time>,
    stopped: Arc<AtomicBool>,
    connections: Slab<Connection>,
    next_serial: u64,
    again: Vec<(usize, u64)>,
    clock: Clock,
    state: DebugState,
    loopback: bool,
}

impl Server {
    fn run(mut self) {
        let mut events = Events::with_capacity(128);
        while !self.stopped.load(Ordering::Acquire) {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::error!("debug address: poll failed, it is no longer served: {error}");
                    return;
                }
            }
            let now = self.clock.now();
            let mut ready = std::mem::take(&mut self.again);
            let mut accept = self.accept_at.is_some_and(|at| at <= now);
            for event in &events {
                match event.token() {
                    LISTENER => accept = true,
                    WAKER => {}
                    Token(key) => {
                        if let Some(connection) = self.connections.get(key) {
                            ready.push((key, connection.serial));
                        }
                    }
                }
            }
            ready.sort_unstable();
            ready.dedup();
            for (key, serial) in ready {
                self.turn(key, serial, now);
            }
            self.expire(now);
            if accept {
                self.accept(now);
            }
        }
    }

    /// Until the next deadline.
    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadlines = self
            .connections
            .iter()
            .map(|(_, connection)| connection.deadline);
        let next = deadlines.chain(self.accept_at).min()?;
        // A millisecond more, since poll counts in whole ones and must not return too early again and again.
        Some(next.since(self.clock.now()) + Duration::from_millis(1))
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

    fn open(&mut self, mut stream: TcpStream, now: Time) {
        if self.connections.len() >= CONNECTIONS_MAX && !self.evict() {
            log::debug!("debug address: too many connections");
            return;
        }
        let entry = self.connections.vacant_entry();
        let registered = self.poll.registry().register(
            &mut stream,
            Token(entry.key()),
            Interest::READABLE | Interest::WRITABLE,
        );
        if let Err(error) = registered.and_then(|()| stream.set_nodelay(true)) {
            log::debug!("debug address: {error}");
            return;
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        let key = entry.key();
        entry.insert(Connection {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            phase: Phase::Open,
            told_to_go_on: false,
            read_closed: false,
            deadline: now.after(IDLE),
            serial,
        });
        self.turn(key, serial, now);
    }

    /// Makes room by ending the connection that has been idle longest: a health check must get in even if
    /// others keep connections open.
    fn evict(&mut self) -> bool {
        let idle = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.input.is_empty() && connection.output.is_empty())
            .min_by_key(|(_, connection)| connection.deadline)
            .map(|(key, _)| key);
        if let Some(key) = idle {
            self.close(key);
        }
        idle.is_some()
    }

    fn expire(&mut self, now: Time) {
        let late: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.deadline <= now)
            .map(|(key, _)| key)
            .collect();
        for key in late {
            self.close(key);
        }
    }

    fn close(&mut self, key: usize) {
        // Dropping the stream closes it, which also takes it out of the poll.
        self.connections.remove(key);
    }

    fn turn(&mut self, key: usize, serial: u64, now: Time) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.serial != serial {
            return;
        }
        match connection.turn(now, &self.state, self.loopback) {
            Ok(Turn::Wait) => {}
            Ok(Turn::Again) => self.again.push((key, serial)),
            Ok(Turn::Close) => self.close(key),
            Err(error) => {
                log::debug!("debug address: {error}");
                self.close(key);
            }
        }
    }
}

impl Connection {
    /// Goes on until the peer has to do something: reads, answers and writes by turns, and never reads on
    /// while an answer has not been taken.
    fn turn(&mut self, now: Time, state: &DebugState, loopback: bool) -> io::Result<Turn> {
        for _ in 0..REQUESTS_PER_TURN {
            if !self.flush(now)? {
                return Ok(Turn::Wait);
            }
            match self.phase {
                Phase::Open => {
                    if self.respond(state, loopback, now) {
                        continue;
                    }
                    if self.read_closed {
                        return Ok(Turn::Close);
                    }
                    if !self.fill()? {
                        return Ok(Turn::Wait);
                    }
                }
                Phase::Closing => {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.phase = Phase::Lingering;
                    self.deadline = now.after(LINGER);
                }
                Phase::Lingering => {
                    self.input.clear();
                    if self.read_closed {
                        return Ok(Turn::Close);
                    }
                    if !self.fill()? {
                        return Ok(Turn::Wait);
                    }
                }
            }
        }
        Ok(Turn::Again)
    }

    /// Writes what is to be written; whether all of it is out.
    fn flush(&mut self, now: Time) -> io::Result<bool> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => {
                    self.sent += len;
                    self.deadline = now.after(IDLE);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Reads once; whether that changed anything.
    fn fill(&mut self) -> io::Result<bool> {
        debug_assert!(self.input.len() <= HEAD_BYTES_MAX + BODY_BYTES_MAX + READ_BYTES);
        let mut chunk = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.read_closed = true;
                    return Ok(true);
                }
                Ok(len) => {
                    self.input.extend_from_slice(&chunk[..len]);
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers the next request, if it is all there; whether anything is to be written.
    fn respond(&mut self, state: &DebugState, loopback: bool, now: Time) -> bool {
        if self.input.is_empty() {
            return false;
        }
        match parse(&self.input) {
            Parsed::Whole(request, len) => {
                self.input.drain(..len);
                self.told_to_go_on = false;
                self.deadline = now.after(IDLE);
                if !request.keep_alive {
                    self.phase = Phase::Closing;
                }
                answer(&request, state, loopback).encode(
                    request.head_only,
                    request.keep_alive,
                    &mut self.output,
                );
                true
            }
            Parsed::Partial { waits } => {
                let tell = waits && !self.told_to_go_on;
                if tell {
                    self.told_to_go_on = true;
                    self.output
                        .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                tell
            }
            Parsed::Bad(response) => {
                self.phase = Phase::Closing;
                response.encode(false, false, &mut self.output);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpStream as Peer};
    use std::sync::Mutex;

    fn server() -> (SocketAddr, ControlHandle) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let level = Arc::new(Mutex::new("info".to_string()));
        let set = Arc::clone(&level);
        let state = DebugState {
            clock: Clock::start(),
            heartbeats: vec![Arc::default()],
            level_get: Box::new(move || level.lock().unwrap().clone()),
            level_set: Box::new(move |name| {
                *set.lock().unwrap() = name.to_string();
                Ok(())
            }),
        };
        (address, spawn(listener, state).unwrap())
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
                   level=debug";
        for byte in put.as_bytes() {
            peer.write_all(&[*byte]).unwrap();
        }
        let text = read_until(&mut peer, "debug\n");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        peer.write_all(
            b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .unwrap();
        let text = read_until(&mut peer, "\r\n\r\nok\n");
        assert_eq!(text.matches("Content-Length: 3").count(), 2, "{text}");
        peer.write_all(b"POST /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
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
