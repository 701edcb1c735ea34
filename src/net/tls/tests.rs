//! The transport against everything that a peer and a network may do, without a socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::context::{accepting, connecting};
use super::stream::{HELD_MAX, SCRATCH, TlsStream};
use crate::config::{AuthClients, BackendTls, ClientTls, Protocols};
use crate::net::tls_answers::{Got, Handshake};
use crate::testing::{Random, certificate};

fn bytes(random: &mut Random, count: usize) -> Vec<u8> {
    (0..count).map(|_| random.below(256) as u8).collect()
}

/// A size: often tiny, sometimes a whole record or several.
fn size(random: &mut Random) -> usize {
    match random.below(6) {
        0 => 1,
        1 | 2 => 1 + random.below(100),
        3 => 1 + random.below(20_000),
        4 => 16_384,
        _ => 1 + random.below(100_000),
    }
}

/// One end of a connection that has no other: what came, and what was sent.
#[derive(Debug, Default)]
struct Wire {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    /// Bytes that one read gives at most.
    piece: usize,
    /// Bytes that can be written.
    room: usize,
    is_closed: bool,
}

impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = out.len().min(self.piece).min(self.incoming.len());
        match (count, self.is_closed) {
            (0, true) => Ok(0),
            (0, false) => Err(io::ErrorKind::WouldBlock.into()),
            _ => {
                let came = self.incoming.drain(..count);
                came.zip(out).for_each(|(byte, out)| *out = byte);
                Ok(count)
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.outgoing.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Configs {
    server: [Arc<ServerConfig>; 2],
    client: Arc<ClientConfig>,
}

/// For TLS 1.2 and for TLS 1.3.
fn configs() -> &'static Configs {
    static CONFIGS: OnceLock<Configs> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let folder = folder();
        let file = |name: &str| Some(folder.join(name));
        let server = |tls13: bool| {
            let tls = ClientTls {
                certificate: file("own.crt"),
                key: file("own.key"),
                authorities: file("ca.crt"),
                auth_clients: AuthClients::Yes,
                protocols: Protocols {
                    tls12: !tls13,
                    tls13,
                },
                ..ClientTls::default()
            };
            Arc::new(accepting(&tls, &mut Vec::new()).expect("a server"))
        };
        let tls = BackendTls {
            on: true,
            authorities: file("ca.crt"),
            certificate: file("own.crt"),
            key: file("own.key"),
            ..BackendTls::default()
        };
        let client = connecting(&tls, &mut Vec::new()).expect("a client");
        Configs {
            server: [server(false), server(true)],
            client: Arc::new(client),
        }
    })
}

/// A folder with certificates.
pub fn folder() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        certificate(folder.path(), &[]);
        folder
    });
    folder.path().to_path_buf()
}

struct Pair {
    client: ClientConnection,
    server: TlsStream<Wire>,
}

impl Pair {
    /// Before the handshake.
    fn new(version: usize) -> Pair {
        let name = ServerName::try_from("localhost").expect("a name");
        let server = ServerConnection::new(configs().server[version].clone());
        let wire = Wire {
            piece: usize::MAX,
            room: usize::MAX,
            ..Wire::default()
        };
        Pair {
            client: ClientConnection::new(configs().client.clone(), name).expect("a client"),
            server: TlsStream::new(wire, server.expect("a server")),
        }
    }

    /// After it.
    fn connected(version: usize) -> Pair {
        let mut pair = Pair::new(version);
        for _ in 0..10 {
            pair.client_sends();
            let handshake = pair.server.handshake().expect("a handshake");
            pair.client_reads();
            if handshake == Handshake::Done && !pair.client.is_handshaking() {
                return pair;
            }
        }
        panic!("no handshake");
    }

    fn client_sends(&mut self) {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).expect("memory");
        }
        self.server.transport_mut().incoming.extend(bytes);
    }

    /// What the client reads of what the server has sent.
    fn client_reads(&mut self) -> Vec<u8> {
        let sent = std::mem::take(&mut self.server.transport_mut().outgoing);
        let (mut sent, mut plain) = (&sent[..], Vec::new());
        while !sent.is_empty() {
            self.client.read_tls(&mut sent).expect("room");
            self.client.process_new_packets().expect("good records");
            let mut some = [0; 20_000];
            while let Ok(count @ 1..) = self.client.reader().read(&mut some) {
                plain.extend_from_slice(&some[..count]);
            }
        }
        plain
    }

    /// All that the server can read, through room of random sizes.
    fn server_reads(&mut self, random: &mut Random) -> Vec<u8> {
        let mut plain = Vec::new();
        loop {
            let mut room = vec![0; size(random).min(64 << 10)];
            match self.server.read(&mut room, false).expect("good records") {
                Got::Bytes(count, more) => {
                    assert!(0 < count && count <= room.len());
                    plain.extend_from_slice(&room[..count]);
                    assert!(self.server.held() <= SCRATCH + (34 << 10));
                    // What it says is no more than what it can be believed.
                    if !more {
                        assert_eq!(self.server.held_plaintext(), 0);
                    }
                }
                // A short read is taken for the last until the next event, which is at once here.
                Got::Nothing if !self.server.transport().incoming.is_empty() => {}
                Got::Nothing => return plain,
                Got::End => panic!("no end was sent"),
            }
        }
    }
}

#[test]
fn what_is_sent_arrives_however_records_and_reads_are_cut() {
    for seed in 1..20 {
        let mut random = Random::new(seed);
        let mut pair = Pair::connected(seed as usize % 2);
        for _ in 0..20 {
            let mut sent = Vec::new();
            for _ in 0..1 + random.below(5) {
                // Each is a record, or several; of one byte, or of 16 KiB.
                let size = size(&mut random).min(60_000);
                let bytes = bytes(&mut random, size);
                pair.client.writer().write_all(&bytes).expect("memory");
                pair.client_sends();
                sent.extend(bytes);
            }
            pair.server.transport_mut().piece = match random.below(3) {
                0 => 1 + random.below(10),
                1 => 1 + random.below(5000),
                _ => usize::MAX,
            };
            assert!(pair.server_reads(&mut random) == sent, "seed {seed}");
        }
    }
}

#[test]
fn a_session_is_given_no_more_than_it_takes() {
    let mut pair = Pair::connected(1);
    // More than a record's worth of plaintext is inside when records are left.
    let sent: Vec<u8> = bytes(&mut Random::new(5), 100 + 3 * 16_384);
    for part in [&sent[..100], &sent[100..]] {
        pair.client.writer().write_all(part).expect("memory");
        pair.client_sends();
    }
    let (mut room, mut plain) = (vec![0; 64 << 10], Vec::new());
    while let Got::Bytes(count, _) = pair.server.read(&mut room, false).expect("room") {
        plain.extend_from_slice(&room[..count]);
    }
    assert!(plain == sent);
}

#[test]
fn ten_thousand_records_of_one_byte_are_ten_thousand_bytes() {
    let mut pair = Pair::connected(1);
    let sent = bytes(&mut Random::new(7), 10_000);
    for byte in &sent {
        pair.client.writer().write_all(&[*byte]).expect("memory");
        pair.client_sends();
    }
    assert!(pair.server_reads(&mut Random::new(3)) == sent);
}

#[test]
fn what_is_written_arrives_however_little_the_kernel_takes() {
    for seed in 1..20 {
        let mut random = Random::new(seed);
        let mut pair = Pair::connected(seed as usize % 2);
        let sent = bytes(&mut random, 200_000);
        let (mut taken, mut arrived) = (0, Vec::new());
        while arrived.len() < sent.len() {
            pair.server.transport_mut().room = size(&mut random);
            let left = &sent[taken..];
            let cut = random.below(left.len() + 1);
            let slices = [IoSlice::new(&left[..cut]), IoSlice::new(&left[cut..])];
            taken += pair.server.write(&slices).expect("a write");
            let owed = taken - arrived.len();
            arrived.extend(pair.client_reads());
            assert!(owed <= 3 * HELD_MAX + (200 << 10));
            assert!(
                taken - arrived.len() <= HELD_MAX,
                "{taken} {}",
                arrived.len()
            );
        }
        assert!(arrived == sent, "seed {seed}");
        assert!(!pair.server.owes());
    }
}

#[test]
fn a_handshake_that_is_cut_anywhere_is_none() {
    for version in 0..2 {
        let mut pair = Pair::new(version);
        pair.client_sends();
        let hello: Vec<u8> = pair.server.transport().incoming.iter().copied().collect();
        for len in 0..hello.len() {
            let mut pair = Pair::new(version);
            let wire = pair.server.transport_mut();
            wire.incoming.extend(&hello[..len]);
            wire.piece = 1 + len % 7;
            assert_eq!(pair.server.handshake().ok(), Some(Handshake::Waits));
            pair.server.transport_mut().is_closed = true;
            assert!(pair.server.handshake().is_err(), "{len}");
            assert!(!pair.server.is_plain());
        }
    }
}

#[test]
fn garbage_is_refused_and_holds_no_memory() {
    let mut random = Random::new(11);
    for round in 0..300 {
        let mut pair = Pair::new(round % 2);
        let mut bytes = bytes(&mut random, 100_000);
        // Some of it begins as a handshake does, of any length.
        match round % 4 {
            0 => bytes[..3].copy_from_slice(&[22, 3, 1]),
            1 => bytes[..9].copy_from_slice(&[22, 3, 1, 64, 0, 1, 255, 255, 255]),
            2 => bytes[..5].copy_from_slice(b"*1\r\n$"),
            _ => {}
        }
        let plain = bytes[0] != 22;
        pair.server.transport_mut().incoming.extend(bytes);
        assert!(pair.server.handshake().is_err());
        assert_eq!(pair.server.is_plain(), plain);
        assert!(pair.server.held() <= SCRATCH + (70 << 10));
    }
    // Behind the handshake, in the middle of good records.
    for round in 0..300 {
        let mut pair = Pair::connected(round % 2);
        let size = 1 + random.below(3000);
        let bytes = bytes(&mut random, size);
        pair.client.writer().write_all(&bytes).expect("memory");
        pair.client_sends();
        let wire = &mut pair.server.transport_mut().incoming;
        let place = random.below(wire.len());
        wire[place] ^= 1 << random.below(8);
        wire.extend([0x80; 20]);
        let mut room = [0; 4096];
        if let Ok(Got::Bytes(count, _)) = pair.server.read(&mut room, false) {
            panic!("{count} bytes of a damaged record");
        }
    }
}

#[test]
fn the_end_is_one_with_and_without_a_notice_and_comes_last() {
    for (version, notice) in [(0, true), (0, false), (1, true), (1, false)] {
        let mut pair = Pair::connected(version);
        pair.client.writer().write_all(b"the last").expect("memory");
        if notice {
            pair.client.send_close_notify();
        }
        pair.client_sends();
        pair.server.transport_mut().is_closed = !notice;
        let mut room = [0; 4096];
        let got = pair.server.read(&mut room, true).expect("a record");
        assert_eq!(got, Got::Bytes(8, true));
        let got = pair.server.read(&mut room, true).expect("the end");
        assert_eq!(got, Got::End, "{version} {notice}");
        // It is half closed: what is owed to it still arrives.
        let written = pair.server.write(&[IoSlice::new(b"reply")]);
        assert_eq!(written.ok(), Some(5));
        assert_eq!(pair.client_reads(), b"reply");
        assert_eq!(pair.server.close().ok(), Some(true));
        pair.client_reads();
        let end = pair.client.reader().read(&mut room);
        assert_eq!(end.ok(), Some(0), "a notice of ours");
    }
}
