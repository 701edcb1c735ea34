//! `PageStream`: a stream of a peer of the debug address, encrypted or not. What is written to it is sent at once or not
//! taken; a flush says whether all has left.
//!
//! It must never know what is said on it.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

use super::tls::{Context, Got, Handshake, TlsStream};

/// A stream of a peer of the debug address.
#[derive(Debug)]
pub enum PageStream {
    /// Not encrypted.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream>),
}

impl PageStream {
    /// Of one who has just come; encrypted if `-debug-tls` says so.
    pub fn accept(stream: TcpStream, tls: &Context) -> io::Result<PageStream> {
        Ok(match tls.accept_debug(stream)? {
            Ok(stream) => PageStream::Tls(Box::new(stream)),
            Err(stream) => PageStream::Plain(stream),
        })
    }

    /// The stream that carries it, to be registered.
    pub fn transport(&mut self) -> &mut TcpStream {
        match self {
            PageStream::Plain(stream) => stream,
            PageStream::Tls(stream) => stream.transport_mut(),
        }
    }

    /// Whether it was to be encrypted and its peer does not do so.
    pub fn is_plain_instead(&self) -> bool {
        matches!(self, PageStream::Tls(stream) if stream.is_plain())
    }

    /// Says that nothing more comes.
    pub fn finish(&mut self) -> io::Result<()> {
        if let PageStream::Tls(stream) = self {
            // What the kernel does not take of it is no loss: the answer has left.
            stream.close()?;
        }
        self.transport().shutdown(Shutdown::Write)
    }
}

impl Read for PageStream {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            PageStream::Plain(stream) => stream.read(room),
            PageStream::Tls(stream) => {
                if stream.handshake()? == Handshake::Waits {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                match stream.read(room, true)? {
                    Got::Bytes(count, _) => Ok(count),
                    Got::Nothing => Err(io::ErrorKind::WouldBlock.into()),
                    Got::End => Ok(0),
                }
            }
        }
    }
}

impl Write for PageStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            PageStream::Plain(stream) => stream.write(bytes),
            PageStream::Tls(stream) => match stream.write(&[IoSlice::new(bytes)])? {
                0 if !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
                count => Ok(count),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let has_left = match self {
            PageStream::Plain(_) => true,
            PageStream::Tls(stream) => stream.push()?,
        };
        match has_left {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}
