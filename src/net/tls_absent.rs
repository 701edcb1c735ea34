//! Stands in for TLS in a build without it: nothing can be created, and every question is answered with "off".

use std::convert::Infallible;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::path::Path;

use mio::net::TcpStream;

use crate::config::{CertificateUser, Config};
pub use crate::net::tls_answers::{Got, Handshake, Validity};

/// A stream that encrypts: there is none.
#[derive(Debug)]
pub struct TlsStream(Infallible);

/// A stream over which a thread waits.
#[derive(Debug)]
pub struct Channel(StdTcpStream);

impl Channel {
    /// One that is not encrypted.
    pub fn plain(stream: StdTcpStream) -> Channel {
        Channel(stream)
    }

    /// The stream that carries it.
    pub fn stream(&self) -> &StdTcpStream {
        &self.0
    }
}

impl Read for Channel {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.read(room)
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A stream, encrypted, to a server: there is none.
pub fn open(_: StdTcpStream, _: &str, _: Option<&Path>) -> io::Result<Channel> {
    Err(io::Error::other(
        "this program was built without TLS (cargo feature tls)",
    ))
}

/// Nothing that could be shown.
#[derive(Debug, Default)]
pub struct Context;

#[allow(missing_docs)]
impl TlsStream {
    pub fn transport(&self) -> &TcpStream {
        match self.0 {}
    }

    pub fn transport_mut(&mut self) -> &mut TcpStream {
        match self.0 {}
    }

    pub fn is_handshaking(&self) -> bool {
        match self.0 {}
    }

    pub fn owes(&self) -> bool {
        match self.0 {}
    }

    pub fn is_plain(&self) -> bool {
        match self.0 {}
    }

    pub fn peer_names(&self, _: CertificateUser) -> Vec<Vec<u8>> {
        match self.0 {}
    }

    pub fn handshake(&mut self) -> io::Result<Handshake> {
        match self.0 {}
    }

    pub fn read(&mut self, _: &mut [u8], _: bool) -> io::Result<Got> {
        match self.0 {}
    }

    pub fn write(&mut self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.0 {}
    }

    pub fn close(&mut self) -> io::Result<bool> {
        match self.0 {}
    }

    pub fn push(&mut self) -> io::Result<bool> {
        match self.0 {}
    }
}

#[allow(missing_docs)]
impl Context {
    pub fn load(_: &Config) -> Result<Context, String> {
        Ok(Context)
    }

    pub fn reload(&self, _: &Config) -> Result<(), String> {
        Ok(())
    }

    pub fn certificates(&self) -> Vec<(&'static str, Validity)> {
        Vec::new()
    }

    pub fn accept(&self, _: TcpStream) -> io::Result<TlsStream> {
        Err(io::Error::other("built without TLS"))
    }

    pub fn accept_debug(&self, stream: TcpStream) -> io::Result<Result<TlsStream, TcpStream>> {
        Ok(Err(stream))
    }

    pub fn connect(
        &self,
        stream: TcpStream,
        _: SocketAddr,
    ) -> io::Result<Result<TlsStream, TcpStream>> {
        Ok(Err(stream))
    }

    pub fn channel(&self, stream: StdTcpStream, _: SocketAddr) -> io::Result<Channel> {
        Ok(Channel::plain(stream))
    }

    pub fn announced(&self, _: impl Iterator<Item = (SocketAddr, String)>) {}

    pub fn typed(&self, _: SocketAddr, _: &str) {}
}
