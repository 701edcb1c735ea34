//! `Socket`: a stream and what the poll has said of it.
//!
//! The poll is edge-triggered and both directions are registered once: what it said is remembered here until
//! a read or a write proves it wrong. A short read proves that nothing is left to read, *unless* the end of
//! the stream was announced: that announcement has spent its edge, and only a read of nothing shows it.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use socket2::{SockRef, Socket as RawSocket, TcpKeepalive};

use super::proxy_header::{self, Guard, Header};
use super::tls::{Context, Got, Handshake, TlsStream};
use crate::buffer::ReadBuf;
use crate::config::{CertificateUser, KEEPALIVE, Listen};

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    /// The same, of a client who must not send a PROXY protocol header.
    Guarded(TcpStream, Guard),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

/// A connected, or connecting, stream.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    /// Whether a read may find something.
    pub readable: bool,
    /// Whether a write may be accepted.
    pub writable: bool,
    /// Whether the poll has announced the end of the stream.
    pub read_closed: bool,
    /// Whether it is on the worker's queue.
    pub queued: bool,
    /// The listener that it came to, by its place among those of each worker.
    pub listener: usize,
    /// Whether its PROXY protocol header is still to come.
    awaits_header: bool,
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The end of the stream.
    End,
    /// A PROXY protocol header, from one who must not send it.
    Header,
}

/// Sets what every TCP connection of ours has: no delay, keepalive, and a bound on unacknowledged bytes, so that a peer
/// that vanished without a word is noticed.
pub(super) fn tune(socket: SockRef<'_>, user_timeout: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(user_timeout))
}

impl Socket {
    fn new(stream: Stream) -> Socket {
        Socket {
            stream,
            readable: false,
            writable: false,
            read_closed: false,
            queued: false,
            listener: 0,
            awaits_header: false,
        }
    }

    /// A client's TCP stream.
    pub fn from_tcp(stream: TcpStream) -> Socket {
        let mut socket = Socket::new(Stream::Tcp(stream));
        socket.writable = true;
        socket
    }

    /// A client's Unix stream.
    pub fn from_unix(stream: UnixStream) -> Socket {
        let mut socket = Socket::new(Stream::Unix(stream));
        socket.writable = true;
        socket
    }

    /// A client's stream that another process has had.
    pub fn from_descriptor(descriptor: OwnedFd) -> io::Result<Socket> {
        let raw = RawSocket::from(descriptor);
        raw.set_nonblocking(true)?;
        Ok(match raw.local_addr()?.as_socket() {
            Some(_) => Socket::from_tcp(TcpStream::from_std(raw.into())),
            None => Socket::from_unix(UnixStream::from_std(raw.into())),
        })
    }

    /// Its descriptor, for another process; nothing if it is encrypted.
    pub fn into_descriptor(self) -> Option<OwnedFd> {
        match self.stream {
            Stream::Tcp(stream) | Stream::Guarded(stream, _) => {
                Some(std::net::TcpStream::from(stream).into())
            }
            Stream::Unix(stream) => Some(std::os::unix::net::UnixStream::from(stream).into()),
            Stream::Tls(_) => None,
        }
    }

    /// A client's TCP stream that is to be encrypted: its handshake is under way.
    pub fn from_tls(stream: TlsStream) -> Socket {
        let mut socket = Socket::new(Stream::Tls(Box::new(stream)));
        socket.writable = true;
        socket
    }

    /// Of a client that has just come: a PROXY protocol header is to come first if this is `wanted`, and none may come
    /// else. It cannot come over a Unix socket.
    pub fn expect_header(mut self, wanted: bool) -> Socket {
        self.stream = match self.stream {
            Stream::Tcp(stream) if !wanted => Stream::Guarded(stream, Guard::default()),
            other => other,
        };
        self.awaits_header = wanted && self.tcp().is_some();
        self
    }

    /// Of a client that another process has had, of which nothing but these bytes has been read: no PROXY protocol
    /// header may begin with them.
    pub fn guarded_behind(self, seen: &[u8]) -> Socket {
        let mut socket = self.expect_header(false);
        if let Stream::Guarded(_, guard) = &mut socket.stream {
            // What has been seen was none yet, or the process before had closed it.
            guard.finds(seen);
        }
        socket
    }

    /// Whether its PROXY protocol header is still to come.
    pub fn awaits_header(&self) -> bool {
        self.awaits_header
    }

    /// Takes the PROXY protocol header off the stream, if all of it has come, and no byte more. Returns the client's
    /// address, if the header has one. [`io::ErrorKind::UnexpectedEof`] is an end without any byte.
    pub fn read_header(&mut self) -> io::Result<Option<Option<SocketAddr>>> {
        let is_closed = self.read_closed;
        let Some(mut stream) = self.tcp() else {
            return Ok(Some(None));
        };
        let mut bytes = [0; proxy_header::LENGTH_MAX];
        let count = match stream.peek(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            other => other?,
        };
        let wrong = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
        match proxy_header::parse(&bytes[..count]).map_err(wrong)? {
            Header::Incomplete if count == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            Header::Incomplete if is_closed => Err(wrong("it is incomplete")),
            Header::Incomplete => Ok(None),
            Header::Whole { length, client } => {
                stream.read_exact(&mut bytes[..length])?;
                self.awaits_header = false;
                // What came behind it waits in the kernel.
                self.readable = true;
                Ok(Some(client))
            }
        }
    }

    /// Where the other end of the connection is, if that is an address.
    pub fn remote_address(&self) -> Option<SocketAddr> {
        self.tcp()?.peer_addr().ok()
    }

    /// Begins to connect, encrypted if the context says so.
    pub fn connect(address: SocketAddr, context: &Context) -> io::Result<Socket> {
        let stream = TcpStream::connect(address)?;
        Ok(Socket::new(match context.connect(stream, address)? {
            Ok(tls) => Stream::Tls(Box::new(tls)),
            Err(plain) => Stream::Tcp(plain),
        }))
    }

    /// The TCP stream that carries it, if one does.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match &self.stream {
            Stream::Tcp(stream) | Stream::Guarded(stream, _) => Some(stream),
            Stream::Tls(tls) => Some(tls.transport()),
            Stream::Unix(_) => None,
        }
    }

    /// Whether its TLS handshake is still to be completed.
    pub fn is_handshaking(&self) -> bool {
        matches!(&self.stream, Stream::Tls(tls) if tls.is_handshaking())
    }

    /// Goes on with the TLS handshake as far as that goes. Returns whether it is complete.
    pub fn handshake(&mut self) -> io::Result<bool> {
        let Stream::Tls(tls) = &mut self.stream else {
            return Ok(true);
        };
        let done = tls.handshake()? == Handshake::Done;
        // What came behind the handshake waits inside.
        self.readable = done;
        Ok(done)
    }

    /// Whether its peer was to speak TLS and does not.
    pub fn is_plain_instead(&self) -> bool {
        matches!(&self.stream, Stream::Tls(tls) if tls.is_plain())
    }

    /// Whether what was written still waits here for the kernel.
    #[inline]
    pub fn owes(&self) -> bool {
        matches!(&self.stream, Stream::Tls(tls) if tls.owes())
    }

    /// Writes what waits here for the kernel; whether nothing does any more.
    pub fn push(&mut self) -> io::Result<bool> {
        let Stream::Tls(tls) = &mut self.stream else {
            return Ok(true);
        };
        let is_gone = tls.push()?;
        self.writable = is_gone;
        Ok(is_gone)
    }

    /// Says to the peer, if there is a way to say it, that nothing more comes. Whether nothing waits here then.
    pub fn farewell(&mut self) -> bool {
        match &mut self.stream {
            Stream::Tls(tls) if !tls.is_handshaking() => tls.close().unwrap_or(true),
            _ => true,
        }
    }

    /// Whether a connect has come to its end: yes, not yet, or it failed.
    pub fn is_connected(&self) -> io::Result<bool> {
        let Some(stream) = self.tcp() else {
            return Ok(true);
        };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The kernel's number of it, to be shown.
    pub fn descriptor(&self) -> i32 {
        match &self.stream {
            Stream::Tcp(stream) | Stream::Guarded(stream, _) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
            Stream::Tls(tls) => tls.transport().as_raw_fd(),
        }
    }

    /// The address of ours that the peer has come to.
    pub fn local_address(&self) -> Option<Listen> {
        match &self.stream {
            Stream::Tcp(_) | Stream::Guarded(..) | Stream::Tls(_) => {
                let address = self.tcp()?.local_addr().ok()?;
                Some(Listen::Tcp(address))
            }
            Stream::Unix(stream) => {
                let address = stream.local_addr().ok()?;
                Some(Listen::Unix(address.as_pathname()?.to_path_buf()))
            }
        }
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The names in the certificate that the peer has shown, of the kind that may name a user.
    pub fn peer_names(&self, kind: CertificateUser) -> Vec<Vec<u8>> {
        match &self.stream {
            Stream::Tls(tls) => tls.peer_names(kind),
            Stream::Tcp(_) | Stream::Guarded(..) | Stream::Unix(_) => Vec::new(),
        }
    }

    /// Sets what every TCP connection of ours has.
    pub fn tune(&self, user_timeout: Duration) -> io::Result<()> {
        match self.tcp() {
            Some(stream) => tune(SockRef::from(stream), user_timeout),
            None => Ok(()),
        }
    }

    /// Reads once into the spare room.
    #[inline]
    pub fn fill(&mut self, buffer: &mut ReadBuf) -> io::Result<Filled> {
        let spare = buffer.spare();
        let room = spare.len();
        let result = loop {
            let result = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(spare),
                Stream::Unix(stream) => stream.read(spare),
                Stream::Tls(_) => return self.fill_tls(buffer),
                Stream::Guarded(stream, guard) => match stream.read(spare) {
                    Ok(count) if guard.finds(&spare[..count]) => return Ok(Filled::Header),
                    other => other,
                },
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match result {
            Ok(0) => {
                self.readable = false;
                Ok(Filled::End)
            }
            Ok(count) => {
                if count < room && !self.read_closed {
                    self.readable = false;
                }
                buffer.filled(count);
                Ok(Filled::Bytes(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Filled::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    /// The same of plaintext, of which some may be held inside when the transport has no more.
    #[inline(never)]
    fn fill_tls(&mut self, buffer: &mut ReadBuf) -> io::Result<Filled> {
        let Stream::Tls(tls) = &mut self.stream else {
            return Ok(Filled::Nothing);
        };
        let got = tls.read(buffer.spare(), self.read_closed)?;
        if tls.owes() {
            self.writable = false;
        }
        Ok(match got {
            Got::Bytes(count, more) => {
                self.readable = more;
                buffer.filled(count);
                Filled::Bytes(count)
            }
            Got::Nothing => {
                self.readable = false;
                Filled::Nothing
            }
            Got::End => {
                self.readable = false;
                Filled::End
            }
        })
    }

    /// Writes the slices; returns how many bytes were accepted. Less than all: no more can be written until
    /// the poll says so.
    #[inline]
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.writable {
            return Ok(0);
        }
        let result = loop {
            let result = match (&mut self.stream, slices) {
                (Stream::Tcp(stream) | Stream::Guarded(stream, _), [one]) => stream.write(one),
                (Stream::Tcp(stream) | Stream::Guarded(stream, _), many) => {
                    stream.write_vectored(many)
                }
                (Stream::Unix(stream), [one]) => stream.write(one),
                (Stream::Unix(stream), many) => stream.write_vectored(many),
                (Stream::Tls(_), slices) => return self.write_tls(slices),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        match result {
            Ok(count) => {
                self.writable = count == offered;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// The same, encrypted.
    #[inline(never)]
    fn write_tls(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Stream::Tls(tls) = &mut self.stream else {
            return Ok(0);
        };
        let taken = tls.write(slices)?;
        self.writable = !tls.owes();
        Ok(taken)
    }

    /// For registration with a poll.
    pub fn source(&mut self) -> &mut dyn mio::event::Source {
        match &mut self.stream {
            Stream::Tcp(stream) | Stream::Guarded(stream, _) => stream,
            Stream::Unix(stream) => stream,
            Stream::Tls(tls) => tls.transport_mut(),
        }
    }
}
