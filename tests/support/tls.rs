//! The same tests over TLS on both sides: with `TEST_TLS=1` every cluster speaks TLS to its nodes and to the proxy
//! (`tls-cluster`, mutual), and the proxy serves clients by TLS alone. Tests go on to ask nodes without it, at a port
//! of its own.

use super::client::Channel;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read as _, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Whether tests are to run over TLS.
pub fn is_wanted() -> bool {
    std::env::var_os("TEST_TLS").is_some()
}

/// Runs tests of this program (their names, or flags of the test program) once more, over TLS.
#[track_caller]
pub fn again(tests: &[&str]) {
    let own = std::env::current_exe().expect("a test program");
    let output = Command::new(own).args(tests).env("TEST_TLS", "1").output();
    let output = output.expect("the tests");
    let text = [&output.stdout[..], &output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&text)
    );
}

/// A folder with an authority (`ca.crt`) and what it vouches for (`own.crt`, `own.key`).
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = super::reaper::folder().join("tls");
        make(&folder, &[]);
        folder
    })
}

/// Has a certificate made: its name, the names it is for, how many days it is valid.
pub fn make(folder: &Path, args: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/certificates.sh");
    let made = Command::new(script).arg(folder).args(args).status();
    assert!(made.expect("bash and openssl").success(), "{args:?}");
}

pub fn file(name: &str) -> String {
    folder().join(name).display().to_string()
}

/// What a redis-server needs beside its `--tls-port`.
pub fn server_args() -> Vec<String> {
    let (own, key, authority) = (file("own.crt"), file("own.key"), file("ca.crt"));
    let args = [
        ("--tls-cert-file", own.as_str()),
        ("--tls-key-file", &key),
        ("--tls-ca-cert-file", &authority),
        ("--tls-cluster", "yes"),
        ("--tls-replication", "yes"),
    ];
    args.iter()
        .flat_map(|(name, value)| [name.to_string(), value.to_string()])
        .collect()
}

/// What a proxy needs to serve by TLS at `addr`.
pub fn client_side(addr: &str) -> Vec<String> {
    let (own, key, authority) = (file("own.crt"), file("own.key"), file("ca.crt"));
    let args = [
        ("-tls-addr", addr),
        ("-tls-cert-file", &own),
        ("-tls-key-file", &key),
        ("-tls-ca-cert-file", &authority),
    ];
    args.iter()
        .flat_map(|(name, value)| [name.to_string(), value.to_string()])
        .collect()
}

/// What a proxy needs to speak TLS to its nodes.
pub fn node_side() -> Vec<String> {
    let mut args = vec!["-backend-tls".to_string()];
    for (name, value) in [
        ("-backend-tls-ca-cert-file", "ca.crt"),
        ("-backend-tls-cert-file", "own.crt"),
        ("-backend-tls-key-file", "own.key"),
    ] {
        args.extend([name.to_string(), file(value)]);
    }
    args
}

fn config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let make = || {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(file("ca.crt")).expect("an authority");
        roots.add(authority).expect("an authority");
        let own = CertificateDer::from_pem_file(file("own.crt")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(file("own.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![own], key);
        Arc::new(config.expect("a client"))
    };
    CONFIG.get_or_init(make).clone()
}

#[derive(Debug)]
struct Tls(StreamOwned<ClientConnection, TcpStream>);

impl io::Read for Tls {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self.0.read(room) {
            // Not every end is announced.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Channel for Tls {
    fn set_read_timeout(&self, limit: Duration) -> io::Result<()> {
        self.0.sock.set_read_timeout(Some(limit))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush()?;
        self.0.sock.shutdown(Shutdown::Write)
    }
}

/// A connection to `host:port` by TLS, as `localhost`.
pub fn connect(addr: &str) -> io::Result<Box<dyn Channel>> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    over(stream)
}

/// What a client gets who sends these bytes and no more, and whether its session was resumed: all clients of this process
/// keep their tickets together.
pub fn exchange(addr: &str, bytes: &[u8]) -> io::Result<(Vec<u8>, bool)> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let session = ClientConnection::new(config(), name).map_err(io::Error::other)?;
    let mut tls = Tls(StreamOwned::new(session, TcpStream::connect(addr)?));
    tls.write_all(bytes)?;
    let mut answer = Vec::new();
    io::Read::read_to_end(&mut tls, &mut answer)?;
    let kind = tls.0.conn.handshake_kind();
    Ok((answer, kind == Some(rustls::HandshakeKind::Resumed)))
}

/// A connection over a stream that is there, on which nothing of TLS has been said yet.
pub fn over(stream: TcpStream) -> io::Result<Box<dyn Channel>> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let session = ClientConnection::new(config(), name).map_err(io::Error::other)?;
    Ok(Box::new(Tls(StreamOwned::new(session, stream))))
}
