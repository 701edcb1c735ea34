//! The TLS transport: what a peer sends before its handshake, and records of every size behind it, cut anywhere, damaged,
//! or at an end without a word.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use fastrand::Rng;
use redis_cluster_proxy::config::Config;
use redis_cluster_proxy::net::tls::{Context, Got, Handshake, TlsStream};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::{Target, generate};

pub const TLS: Target = Target {
    name: "tls",
    generate: generate::tls,
    shapes: generate::TLS_SHAPES,
    check: |bytes, rng| {
        before_the_handshake(bytes, rng);
        behind_the_handshake(bytes, rng);
    },
    work: receive,
};

/// The longest record.
const RECORD_MAX: usize = 16 << 10;

struct Sides {
    server: Context,
    /// For TLS 1.2 and for TLS 1.3.
    clients: [Arc<ClientConfig>; 2],
}

static SIDES: LazyLock<Sides> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/certificates.sh");
    let made = Command::new("bash").arg(script).arg(folder.path()).status();
    assert!(made.expect("bash is there").success());
    let mut config = Config::default();
    config.tls.listen = Some(([127, 0, 0, 1], 0).into());
    config.tls.certificate = Some(folder.path().join("own.crt"));
    config.tls.key = Some(folder.path().join("own.key"));
    config.tls.auth_clients = redis_cluster_proxy::config::AuthClients::No;
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(folder.path().join("ca.crt"));
    roots
        .add(authority.expect("a certificate"))
        .expect("an authority");
    let client = |version| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version");
        let builder = builder.with_root_certificates(roots.clone());
        Arc::new(builder.with_no_client_auth())
    };
    Sides {
        server: Context::load(&config).expect("a context"),
        clients: [
            client(&rustls::version::TLS12),
            client(&rustls::version::TLS13),
        ],
    }
});

/// What stands for the socket of the proxy.
#[derive(Debug, Default)]
struct Wire {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    is_closed: bool,
}

impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.incoming.read(out)? {
            0 if !self.is_closed => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn server() -> TlsStream<Wire> {
    let server = SIDES.server.accept(Wire::default());
    server.expect("a session")
}

fn client(version: usize) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a name");
    let config = SIDES.clients[version].clone();
    ClientConnection::new(config, name).expect("a session")
}

/// What a side wants to have written.
fn records(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("memory");
    }
    bytes
}

/// The client takes what was sent to it. Returns the plaintext.
fn take(client: &mut ClientConnection, server: &mut TlsStream<Wire>) -> Vec<u8> {
    let sent = std::mem::take(&mut server.transport_mut().outgoing);
    let (mut sent, mut plain) = (&sent[..], Vec::new());
    while !sent.is_empty() {
        client.read_tls(&mut sent).expect("room");
        client.process_new_packets().expect("good records");
        // It ends with what there is.
        client.reader().read_to_end(&mut plain).ok();
    }
    plain
}

fn connected(version: usize) -> (ClientConnection, TlsStream<Wire>) {
    let (mut client, mut server) = (client(version), server());
    for _ in 0..10 {
        let bytes = records(&mut client);
        server.transport_mut().incoming.extend(bytes);
        let handshake = server.handshake().expect("a handshake");
        take(&mut client, &mut server);
        if handshake == Handshake::Done && !client.is_handshaking() {
            return (client, server);
        }
    }
    panic!("no handshake");
}

/// Parts of these bytes, as they may come.
fn parts<'b>(bytes: &'b [u8], rng: &mut Rng) -> Vec<&'b [u8]> {
    let most = match rng.u8(..4) {
        0 => 1,
        1 => 1 + rng.usize(..64),
        _ => 1 + rng.usize(..=bytes.len()),
    };
    bytes.chunks(most).collect()
}

/// Whether the handshake goes on waiting, or has failed, behind all of this.
fn waits<'b>(parts: impl IntoIterator<Item = &'b [u8]>) -> bool {
    let mut server = server();
    for part in parts {
        server.transport_mut().incoming.extend(part);
        match server.handshake() {
            Ok(Handshake::Waits) => {}
            Ok(Handshake::Done) => panic!("nobody has shaken hands"),
            Err(_) => return false,
        }
    }
    server.transport_mut().is_closed = true;
    assert!(server.handshake().is_err(), "it ends with its peer");
    true
}

/// Garbage, or the start of a handshake with garbage in it: it waits or fails, however it is cut.
fn before_the_handshake(bytes: &[u8], rng: &mut Rng) {
    let mut all = bytes.to_vec();
    if rng.bool() {
        let mut hello = records(&mut client(rng.usize(..2)));
        let at = rng.usize(..=hello.len());
        match rng.u8(..3) {
            0 => hello.truncate(at),
            1 => generate::mutate(rng, &mut hello, bytes),
            _ => drop(hello.splice(at..at, bytes.iter().copied())),
        }
        all = hello;
    }
    let chopped = parts(&all, rng);
    assert_eq!(waits([&all[..]]), waits(chopped));
}

/// How a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The client says that it sends no more, and reads on.
    HalfClosed,
    /// It goes without a word.
    Gone,
    /// It goes in the middle of a record.
    Cut,
    /// A byte is not what it was.
    Damaged,
}

/// What comes behind the handshake is what was sent, or the start of it.
fn behind_the_handshake(bytes: &[u8], rng: &mut Rng) {
    let (mut client, mut server) = connected(rng.usize(..2));
    let most = match rng.u8(..4) {
        0 => 1,
        1 => 1 + rng.usize(..100),
        _ => RECORD_MAX,
    };
    let bytes = &bytes[..bytes.len().min(most * 1000)];
    let fate = [Fate::HalfClosed, Fate::Gone, Fate::Cut, Fate::Damaged][rng.usize(..4)];
    let mut wire = Vec::new();
    for record in bytes.chunks(most) {
        client.writer().write_all(record).expect("room");
        wire.extend(records(&mut client));
    }
    match fate {
        Fate::HalfClosed => {
            client.send_close_notify();
            wire.extend(records(&mut client));
        }
        Fate::Cut => wire.truncate(rng.usize(..=wire.len())),
        Fate::Damaged if !wire.is_empty() => {
            let at = rng.usize(..wire.len());
            wire[at] ^= 1 << rng.u8(..8);
        }
        Fate::Damaged | Fate::Gone => {}
    }
    let mut plain = Vec::new();
    let mut end = Ok(false);
    for part in parts(&wire, rng) {
        server.transport_mut().incoming.extend(part);
        end = read(&mut server, &mut plain, rng);
        if end.is_err() {
            break;
        }
    }
    if end.is_ok() {
        server.transport_mut().is_closed = fate != Fate::HalfClosed;
        end = read(&mut server, &mut plain, rng);
    }
    assert!(bytes.starts_with(&plain), "{fate:?}");
    if matches!(fate, Fate::HalfClosed | Fate::Gone) {
        assert_eq!(
            (plain.len(), end.ok()),
            (bytes.len(), Some(true)),
            "{fate:?}"
        );
    }
    if fate == Fate::HalfClosed {
        let mut taken = 0;
        while taken < bytes.len() {
            taken += server
                .write(&[IoSlice::new(&bytes[taken..])])
                .expect("a write");
        }
        assert!(server.close().expect("a write"));
        assert!(take(&mut client, &mut server) == bytes);
    }
}

/// Reads all that there is. Returns whether that was the end.
fn read(server: &mut TlsStream<Wire>, plain: &mut Vec<u8>, rng: &mut Rng) -> io::Result<bool> {
    loop {
        let mut room = vec![0; 1 + rng.usize(..2 * RECORD_MAX)];
        let is_closed = server.transport().is_closed;
        match server.read(&mut room, is_closed)? {
            Got::Bytes(count, more) => {
                assert!(count > 0 && count <= room.len());
                plain.extend_from_slice(&room[..count]);
                if !more && server.transport().incoming.is_empty() && !is_closed {
                    return Ok(false);
                }
            }
            Got::Nothing if server.transport().incoming.is_empty() => return Ok(false),
            // A short read was taken for the last until the next event, which is at once here.
            Got::Nothing => {}
            Got::End => return Ok(true),
        }
    }
}

/// Records of the size that the first byte says, all at once.
fn receive(bytes: &[u8]) {
    let size = match bytes.first() {
        Some(b'1') => 1,
        Some(b'c') => 100,
        _ => RECORD_MAX,
    };
    let (mut client, mut server) = connected(1);
    for record in bytes.chunks(size) {
        client.writer().write_all(record).expect("room");
        let sent = records(&mut client);
        server.transport_mut().incoming.extend(sent);
    }
    let mut plain = Vec::new();
    read(&mut server, &mut plain, &mut Rng::with_seed(1)).expect("good records");
    assert_eq!(plain.len(), bytes.len());
}
