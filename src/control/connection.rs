//! `Connection`: one peer of the debug address: reads, answers and writes by turns.
//!
//! Everything it holds is bounded: a request by its parser, what is to be written by one answer, its life by a
//! deadline that only a whole request or a taken answer moves.
//!
//! It must never know what a page shows.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use crate::clock::Time;
use crate::control::message::{
    BODY_BYTES_MAX, HEAD_BYTES_MAX, Parsed, Request, Response, STREAM_HEAD, parse,
};
use crate::net::page_stream::PageStream;

/// How long a connection may take for its next request, or to take its answer.
const IDLE: Duration = Duration::from_secs(10);

/// How long a connection that we end may take to read its last answer.
const LINGER: Duration = Duration::from_secs(1);

/// Requests of one connection that are answered before the others have their turn.
const REQUESTS_PER_TURN: usize = 32;

/// How much is read at once.
const READ_BYTES: usize = 16 << 10;

/// How a request is answered.
#[derive(Debug)]
pub enum Answer {
    /// At once.
    Now(Response),
    /// When it comes, which is within so long.
    Later(Receiver<Response>, Duration),
    /// By events, until the peer goes.
    Stream,
}

/// What a connection does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Wait for the peer.
    Wait,
    /// Go on when the others have had their turn.
    Again,
    /// End.
    Close,
}

/// An answer that is being made.
#[derive(Debug)]
struct Pending {
    answer: Receiver<Response>,
    head_only: bool,
    keep_alive: bool,
}

/// The life of a connection.
#[derive(Debug)]
enum Phase {
    /// Requests are answered.
    Open,
    /// An answer is being made.
    Waiting(Pending),
    /// Events are sent; what the peer sends is thrown away.
    Streaming,
    /// The last answer is on its way.
    Closing,
    /// It is out, and the peer has been told so; what it still sends is thrown away, since closing with
    /// unread bytes would reset the connection and destroy the answer.
    Lingering,
}

/// One peer.
#[derive(Debug)]
pub struct Connection {
    stream: PageStream,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    phase: Phase,
    told_to_go_on: bool,
    read_closed: bool,
    /// When it ends if nothing happens before.
    pub deadline: Time,
}

impl Connection {
    /// A peer that has just come.
    pub fn new(stream: PageStream, now: Time) -> Connection {
        Connection {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            phase: Phase::Open,
            told_to_go_on: false,
            read_closed: false,
            deadline: now.after(IDLE),
        }
    }

    /// Whether it was to speak TLS and does not.
    pub fn is_plain_instead(&self) -> bool {
        self.stream.is_plain_instead()
    }

    /// Whether it asks for nothing and is owed nothing.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.input.is_empty() && self.output.is_empty()
    }

    /// Whether its answer is being made.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_))
    }

    /// Whether it is sent events.
    pub fn is_streaming(&self) -> bool {
        matches!(self.phase, Phase::Streaming)
    }

    /// An event for one that streams. One that has not taken the last event misses this one: nothing piles up.
    pub fn push_event(&mut self, event: &[u8]) {
        debug_assert!(self.is_streaming());
        if self.output.is_empty() {
            self.output.extend_from_slice(event);
        }
    }

    /// Goes on until the peer has to do something, and never reads on while an answer has not been taken.
    /// `respond` answers a request.
    pub fn turn(
        &mut self,
        now: Time,
        mut respond: impl FnMut(&Request) -> Answer,
    ) -> io::Result<Turn> {
        for _ in 0..REQUESTS_PER_TURN {
            if !self.flush(now)? {
                return Ok(Turn::Wait);
            }
            match &self.phase {
                Phase::Open => {
                    if self.take_request(&mut respond, now) {
                        continue;
                    }
                    if self.read_closed {
                        return Ok(Turn::Close);
                    }
                    if !self.fill()? {
                        return Ok(Turn::Wait);
                    }
                }
                Phase::Waiting(_) => {
                    if !self.take_answer(now) {
                        return Ok(Turn::Wait);
                    }
                }
                Phase::Closing => {
                    self.stream.finish()?;
                    self.phase = Phase::Lingering;
                    self.deadline = now.after(LINGER);
                }
                Phase::Streaming | Phase::Lingering => {
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
        match self.stream.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            other => other.map(|()| true),
        }
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

    /// Answers the next request, if it is all there; whether there is anything to do after it.
    fn take_request(&mut self, respond: &mut impl FnMut(&Request) -> Answer, now: Time) -> bool {
        if self.input.is_empty() {
            return false;
        }
        match parse(&self.input) {
            Parsed::Whole(request, len) => {
                self.input.drain(..len);
                self.told_to_go_on = false;
                self.deadline = now.after(IDLE);
                let answer = respond(&request);
                self.begin(answer, request.head_only, request.keep_alive, now);
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
                self.write(&response, false, false);
                true
            }
        }
    }

    fn begin(&mut self, answer: Answer, head_only: bool, keep_alive: bool, now: Time) {
        match answer {
            Answer::Now(response) => self.write(&response, head_only, keep_alive),
            Answer::Later(answer, within) => {
                self.deadline = now.after(within + IDLE);
                self.phase = Phase::Waiting(Pending {
                    answer,
                    head_only,
                    keep_alive,
                });
            }
            Answer::Stream => {
                self.output.extend_from_slice(STREAM_HEAD);
                self.phase = if head_only {
                    Phase::Closing
                } else {
                    Phase::Streaming
                };
            }
        }
    }

    /// Takes the answer that is being made, if it is; whether it was.
    fn take_answer(&mut self, now: Time) -> bool {
        let Phase::Waiting(pending) = &self.phase else {
            return false;
        };
        let response = match pending.answer.try_recv() {
            Ok(response) => response,
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Disconnected) => Response::text(500, "no answer"),
        };
        let (head_only, keep_alive) = (pending.head_only, pending.keep_alive);
        self.phase = Phase::Open;
        self.deadline = now.after(IDLE);
        self.write(&response, head_only, keep_alive);
        true
    }

    fn write(&mut self, response: &Response, head_only: bool, keep_alive: bool) {
        if !keep_alive {
            self.phase = Phase::Closing;
        }
        response.encode(head_only, keep_alive, &mut self.output);
    }
}
