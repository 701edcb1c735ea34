//! `TlsStream`: a TCP stream that encrypts.
//!
//! What is encrypted counts as sent: what the kernel does not take at once waits here, as more of its own send
//! buffer would, and is bounded by [`HELD_MAX`]. Whoever closes the stream asks first whether it
//! [owes](TlsStream::owes) something.
//!
//! rustls reads 4 KiB at a time and takes no more while it holds a record's plaintext. So what the kernel has is read
//! in one piece into a scratch buffer of this thread, and handed over from there: one system call, as without TLS.

use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};

use mio::net::TcpStream;
use rustls::Connection;

use super::names;
use crate::config::CertificateUser;
use crate::net::tls_answers::{Got, Handshake};

/// Bytes that are read at once.
pub(super) const SCRATCH: usize = 64 << 10;
/// Least room for bytes from the transport, however little room there is for plaintext: a small record.
const READ_MIN: usize = 4 << 10;
/// Bytes that are held for the kernel to take.
pub(super) const HELD_MAX: usize = 64 << 10;
/// Plaintext that a session holds at most before it is given no more: its own limit is a little higher.
const PLAINTEXT_MAX: usize = 16 << 10;
/// The content type of a record that begins a handshake.
const HANDSHAKE: u8 = 22;

thread_local! {
    static READ: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What carries the records: a TCP stream, or what a test puts in its place.
pub trait Transport: Read + Write {}

impl<T: Read + Write> Transport for T {}

/// A stream that encrypts, over a transport that does not block.
#[derive(Debug)]
pub struct TlsStream<T = TcpStream> {
    transport: T,
    session: Connection,
    /// Bytes of the transport that the session has not taken yet; most of the time none.
    rest: Vec<u8>,
    /// How much of `rest` it has taken.
    taken: usize,
    /// Whether the transport has no more until an event says so.
    is_drained: bool,
    /// The first byte that came.
    first: Option<u8>,
}

impl<T: Transport> TlsStream<T> {
    pub(super) fn new(transport: T, session: impl Into<Connection>) -> TlsStream<T> {
        let mut session = session.into();
        session.set_buffer_limit(Some(HELD_MAX));
        TlsStream {
            transport,
            session,
            rest: Vec::new(),
            taken: 0,
            is_drained: false,
            first: None,
        }
    }

    /// The stream that carries the records.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The same, to be registered.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Whether the handshake is not complete.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether something waits for the kernel to take it.
    pub fn owes(&self) -> bool {
        self.session.wants_write()
    }

    /// Whether the peer began with something that is no TLS.
    pub fn is_plain(&self) -> bool {
        self.first.is_some_and(|first| first != HANDSHAKE)
    }

    /// The names in the certificate that the peer has shown, of the kind that may name a user, in their order there.
    pub fn peer_names(&self, kind: CertificateUser) -> Vec<Vec<u8>> {
        let shown = self.session.peer_certificates();
        let Some(own) = shown.and_then(|chain| chain.first()) else {
            return Vec::new();
        };
        match kind {
            CertificateUser::None => Vec::new(),
            CertificateUser::CommonName => names::common_name(own).into_iter().collect(),
            CertificateUser::Uri => names::uris(own),
        }
    }

    /// Bytes that are kept here for the session.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.rest.capacity()
    }

    /// Bytes that could be read without an event.
    #[cfg(test)]
    pub fn held_plaintext(&mut self) -> usize {
        match self.session.process_new_packets() {
            Ok(state) => state.plaintext_bytes_to_read() + self.rest.len(),
            Err(_) => 0,
        }
    }

    /// Goes on with the handshake, as far as it goes without waiting.
    pub fn handshake(&mut self) -> io::Result<Handshake> {
        loop {
            self.push()?;
            if !self.session.is_handshaking() {
                return Ok(Handshake::Done);
            }
            if !self.rest.is_empty() {
                self.digest()?;
                continue;
            }
            match self.take(READ_MIN) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Handshake::Waits);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads plaintext. `is_closed` tells that the end of the transport was announced, so that a short read does not
    /// mean that nothing is left.
    pub fn read(&mut self, spare: &mut [u8], is_closed: bool) -> io::Result<Got> {
        let mut filled = 0;
        // An event says that there is more; or it was asked for again, since there was.
        self.is_drained = false;
        loop {
            match self.session.reader().read(&mut spare[filled..]) {
                // Both ends of a stream: RESP tells itself whether something is missing.
                Ok(0) if filled < spare.len() => return Ok(end(filled)),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(end(filled));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if filled == spare.len() {
                return Ok(Got::Bytes(filled, true));
            }
            if !self.rest.is_empty() {
                self.digest()?;
                continue;
            }
            if self.is_drained && !is_closed {
                return Ok(match filled {
                    0 => Got::Nothing,
                    _ => Got::Bytes(filled, false),
                });
            }
            if filled > 0 {
                return Ok(Got::Bytes(filled, true));
            }
            match self.take(spare.len()) {
                // Said to the session, which then tells the end.
                Ok(0) => self.session.read_tls(&mut io::empty()).map(drop)?,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Got::Nothing);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what the transport has, about `wanted` bytes of it, and hands it to the session or keeps it in `rest`.
    fn take(&mut self, wanted: usize) -> io::Result<usize> {
        let mut scratch = READ.take();
        scratch.resize(SCRATCH, 0);
        let most = wanted.clamp(READ_MIN, SCRATCH);
        let result = loop {
            match self.transport.read(&mut scratch[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let result = match result {
            Ok(count) => {
                self.is_drained = count < most;
                let mut bytes = &scratch[..count];
                self.first = self.first.or(bytes.first().copied());
                match self.feed(&mut bytes) {
                    Ok(()) => {
                        self.rest.extend_from_slice(bytes);
                        Ok(count)
                    }
                    Err(error) => Err(error),
                }
            }
            Err(error) => {
                self.is_drained = true;
                Err(error)
            }
        };
        READ.set(scratch);
        result
    }

    /// Hands over what is kept in `rest`.
    fn digest(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        let mut bytes = &rest[self.taken..];
        self.feed(&mut bytes)?;
        self.taken = rest.len() - bytes.len();
        if self.taken < rest.len() {
            self.rest = rest;
        } else {
            self.taken = 0;
        }
        Ok(())
    }

    /// Hands bytes to the session until it has plaintext enough, or the handshake is complete.
    fn feed(&mut self, bytes: &mut &[u8]) -> io::Result<()> {
        let was_handshaking = self.session.is_handshaking();
        while !bytes.is_empty() {
            let taken = self.session.read_tls(bytes)?;
            if taken == 0 {
                // Nothing counts behind the announced end.
                *bytes = &[];
                break;
            }
            match self.session.process_new_packets() {
                Ok(state) => {
                    let is_new = was_handshaking && !self.session.is_handshaking();
                    if state.plaintext_bytes_to_read() >= PLAINTEXT_MAX || is_new {
                        break;
                    }
                }
                Err(error) => {
                    // The session tells the peer why, if it can be told.
                    self.push().ok();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
        if !was_handshaking && self.session.wants_write() {
            self.push()?;
        }
        Ok(())
    }

    /// Encrypts the slices and writes them; returns how many bytes were taken. Less than all: no more can be until the
    /// poll says so.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.push()? {
            return Ok(0);
        }
        // One record carries all of a turn's small replies.
        let mut taken = self.session.writer().write_vectored(slices)?;
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        while self.push()? && taken < offered {
            taken += self
                .session
                .writer()
                .write_vectored(&behind(slices, taken))?;
        }
        Ok(taken)
    }

    /// Tells the peer that nothing more comes.
    pub fn close(&mut self) -> io::Result<bool> {
        self.session.send_close_notify();
        self.push()
    }

    /// Writes what waits for the kernel. Returns whether all of it is gone.
    pub fn push(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.transport) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// What is read when the end is found behind so many bytes: they come first.
fn end(filled: usize) -> Got {
    match filled {
        0 => Got::End,
        _ => Got::Bytes(filled, true),
    }
}

/// The slices without their first bytes.
fn behind<'a>(slices: &'a [IoSlice<'_>], mut skip: usize) -> Vec<IoSlice<'a>> {
    let mut left = Vec::new();
    for slice in slices {
        let gone = skip.min(slice.len());
        skip -= gone;
        if gone < slice.len() {
            left.push(IoSlice::new(&slice[gone..]));
        }
    }
    left
}
