//! `DescriptorChannel`: frames between two processes over a Unix socket, each with at most one descriptor
//! (SCM_RIGHTS). For threads that may wait.
//!
//! A frame is a head of eight bytes (its kind, whether a descriptor comes with it, its length) and its body. This
//! form never changes, so that versions that know nothing else of each other can pass listeners. A body is read piece
//! by piece: nothing is allocated for a length that is only declared.
//!
//! It must never know what a frame means.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};

/// Bytes before each body.
const HEAD: usize = 8;
/// A longer frame is refused: it is no frame of ours.
const BODY_MAX: usize = 64 << 20;
/// A body is read in pieces of this size.
const PIECE: usize = 64 << 10;

/// One message.
#[derive(Debug)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// What it says.
    pub body: Vec<u8>,
    /// The descriptor that came with it.
    pub descriptor: Option<OwnedFd>,
}

/// One end of a connection between two processes.
#[derive(Debug)]
pub struct DescriptorChannel(UnixStream);

impl DescriptorChannel {
    /// Over this stream, which blocks.
    pub fn new(stream: UnixStream) -> DescriptorChannel {
        DescriptorChannel(stream)
    }

    /// Limits how long a frame may take to begin, to go on, or to leave.
    pub fn set_patience(&self, limit: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(limit)?;
        self.0.set_write_timeout(limit)
    }

    /// The process and the user at the other end, as the kernel knows them.
    pub fn peer(&self) -> io::Result<(i32, u32)> {
        let peer = sockopt::socket_peercred(&self.0)?;
        Ok((peer.pid.as_raw_pid(), peer.uid.as_raw()))
    }

    /// Another handle on the same end.
    pub fn try_clone(&self) -> io::Result<DescriptorChannel> {
        self.0.try_clone().map(DescriptorChannel)
    }

    /// Ends it: whoever waits for a frame, here or there, hears of it.
    pub fn end(&self) {
        // It may have ended already.
        self.0.shutdown(std::net::Shutdown::Both).ok();
    }

    /// Sends one frame.
    pub fn send(
        &mut self,
        kind: u8,
        body: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let length = u32::try_from(body.len()).ok();
        let length = length.filter(|_| body.len() <= BODY_MAX);
        let length = length.ok_or_else(|| malformed("a frame is too long"))?;
        let mut head = [0; HEAD];
        head[0] = kind;
        head[1] = u8::from(descriptor.is_some());
        head[4..].copy_from_slice(&length.to_le_bytes());
        match descriptor {
            Some(descriptor) => self.send_with(&head, descriptor)?,
            None => self.0.write_all(&head)?,
        }
        self.0.write_all(body)
    }

    /// Sends bytes, of which the first carries the descriptor.
    fn send_with(&mut self, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let sent = loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let rights = [descriptor];
            if !ancillary.push(SendAncillaryMessage::ScmRights(&rights)) {
                return Err(malformed("there is no room for a descriptor"));
            }
            let slices = [IoSlice::new(bytes)];
            match sendmsg(&self.0, &slices, &mut ancillary, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        self.0.write_all(&bytes[sent..])
    }

    /// The next frame; nothing at the end.
    pub fn receive(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0; HEAD];
        let (count, descriptor) = self.receive_with(&mut head)?;
        if count == 0 {
            return Ok(None);
        }
        self.0.read_exact(&mut head[count..])?;
        if (head[1] != 0) != descriptor.is_some() {
            return Err(malformed("a descriptor is missing, or one too many"));
        }
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if length > BODY_MAX {
            return Err(malformed("a frame is too long"));
        }
        let mut body = Vec::new();
        while body.len() < length {
            let begun = body.len();
            body.resize(length.min(begun + PIECE), 0);
            self.0.read_exact(&mut body[begun..])?;
        }
        Ok(Some(Frame {
            kind: head[0],
            body,
            descriptor,
        }))
    }

    /// Reads once; the kernel ends a read behind the byte that carries a descriptor at the latest.
    fn receive_with(&mut self, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut slices = [IoSliceMut::new(bytes)];
            match recvmsg(
                &self.0,
                &mut slices,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        let mut descriptor = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                for right in rights {
                    descriptor = Some(right);
                }
            }
        }
        Ok((received.bytes, descriptor))
    }
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn pair() -> (DescriptorChannel, DescriptorChannel) {
        let (one, two) = UnixStream::pair().expect("a pair");
        let two = DescriptorChannel::new(two);
        two.set_patience(Some(Duration::from_secs(20)))
            .expect("a socket");
        (DescriptorChannel::new(one), two)
    }

    #[test]
    fn frames_come_with_their_descriptors_and_in_order() {
        let (mut one, mut two) = pair();
        let (here, mut there) = UnixStream::pair().expect("a pair");
        one.send(1, b"first", None).expect("sent");
        one.send(2, b"", Some(here.as_fd())).expect("sent");
        drop(here);
        one.send(3, b"last", None).expect("sent");
        let first = two.receive().expect("a frame").expect("not the end");
        assert_eq!((first.kind, &first.body[..]), (1, &b"first"[..]));
        assert!(first.descriptor.is_none());
        let second = two.receive().expect("a frame").expect("not the end");
        assert_eq!((second.kind, second.body.len()), (2, 0));
        let mut passed = UnixStream::from(second.descriptor.expect("a descriptor"));
        passed.write_all(b"hello").expect("it is open");
        let mut bytes = [0; 5];
        there.read_exact(&mut bytes).expect("it is the same socket");
        assert_eq!(&bytes, b"hello");
        assert_eq!(two.receive().expect("a frame").expect("third").kind, 3);
        drop(one);
        assert!(two.receive().expect("the end").is_none());
    }

    #[test]
    fn long_frames_pass() {
        let (mut one, mut two) = pair();
        let body = vec![7; 3 << 20];
        let sent = body.clone();
        let sender = std::thread::spawn(move || one.send(9, &sent, None));
        assert!(two.receive().expect("a frame").expect("not the end").body == body);
        sender.join().expect("no panic").expect("sent");
    }

    #[test]
    fn hostile_heads_are_refused() {
        for head in [
            // A descriptor that does not come.
            [1, 1, 0, 0, 0, 0, 0, 0],
            // Four gigabytes.
            [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        ] {
            let (mut one, mut two) = pair();
            one.0.write_all(&head).expect("sent");
            assert!(two.receive().is_err(), "{head:?}");
        }
        // The end within a head, and within a body.
        for bytes in [&[1, 0, 0][..], &[1, 0, 0, 0, 5, 0, 0, 0, 1]] {
            let (mut one, mut two) = pair();
            one.0.write_all(bytes).expect("sent");
            drop(one);
            assert!(two.receive().is_err(), "{bytes:?}");
        }
    }
}
