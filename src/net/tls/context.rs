//! `Context`: the certificates, keys and authorities of this process. All workers share it; it can be replaced while
//! they run. New connections use the new one, existing connections keep theirs.
//!
//! Its locks are taken only when a connection is made, never per byte.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use mio::net::TcpStream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    ServerConfig, ServerConnection, SignatureScheme, StreamOwned, SupportedProtocolVersion,
    version,
};

use super::files::{self, Flags, Identity, fault};
use super::stream::{TlsStream, Transport};
use crate::config::{AuthClients, BackendTls, ClientTls, Config};
use crate::net::tls_answers::Validity;

const CLIENTS: Flags = Flags {
    certificate: "tls-cert-file",
    key: "tls-key-file",
};
const BACKENDS: Flags = Flags {
    certificate: "backend-tls-cert-file",
    key: "backend-tls-key-file",
};

/// What is in force.
#[derive(Debug, Clone, Default)]
struct InForce {
    /// For clients; nothing without `-tls-addr`.
    accepting: Option<Arc<ServerConfig>>,
    /// For the debug address; nothing without `-debug-tls`.
    debugging: Option<Arc<ServerConfig>>,
    /// For nodes; nothing without `-backend-tls`.
    connecting: Option<Arc<ClientConfig>>,
    /// The certificates of ours, by the flags that name their files.
    certificates: Vec<(&'static str, Validity)>,
}

/// The names that nodes have to prove.
#[derive(Debug, Default)]
struct Names {
    /// What the nodes announce.
    announced: HashMap<SocketAddr, String>,
    /// As what they were typed, of those that were.
    typed: HashMap<SocketAddr, String>,
}

/// What this process shows and whom it trusts.
#[derive(Debug, Default)]
pub struct Context {
    in_force: Mutex<InForce>,
    /// The name that every node has to prove, if they have one in common.
    server_name: Option<String>,
    names: Mutex<Names>,
}

/// A stream over which a thread waits, encrypted or not.
#[derive(Debug)]
pub enum Channel {
    /// Not encrypted.
    Plain(StdTcpStream),
    /// Encrypted.
    Tls(Box<StreamOwned<ClientConnection, StdTcpStream>>),
}

impl Channel {
    /// One that is not encrypted.
    pub fn plain(stream: StdTcpStream) -> Channel {
        Channel::Plain(stream)
    }

    /// The stream that carries it.
    pub fn stream(&self) -> &StdTcpStream {
        match self {
            Channel::Plain(stream) => stream,
            Channel::Tls(tls) => &tls.sock,
        }
    }
}

impl Read for Channel {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(stream) => stream.read(room),
            Channel::Tls(tls) => tls.read(room),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(stream) => stream.write(bytes),
            Channel::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Channel::Plain(stream) => stream.flush(),
            Channel::Tls(tls) => tls.flush(),
        }
    }
}

impl Context {
    /// Reads all files that the config names. An error is a line that says which one is wrong, and why.
    pub fn load(config: &Config) -> Result<Context, String> {
        Ok(Context {
            in_force: Mutex::new(InForce::load(config)?),
            server_name: config.backend_tls.server_name.clone(),
            names: Mutex::default(),
        })
    }

    /// One that serves clients, for tests.
    #[cfg(test)]
    pub fn of_tests() -> Context {
        let folder = super::tests::folder();
        let mut config = Config::default();
        config.tls.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.tls.certificate = Some(folder.join("own.crt"));
        config.tls.key = Some(folder.join("own.key"));
        config.tls.auth_clients = AuthClients::No;
        Context::load(&config).expect("a context")
    }

    /// Reads the files again. What is in force stays if anything is wrong with them.
    pub fn reload(&self, config: &Config) -> Result<(), String> {
        let new = InForce::load(config)?;
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn in_force(&self) -> InForce {
        let in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        in_force.clone()
    }

    /// The certificates of ours, by the flags that name their files.
    pub fn certificates(&self) -> Vec<(&'static str, Validity)> {
        self.in_force().certificates
    }

    /// A client's stream, whose handshake begins.
    pub fn accept<T: Transport>(&self, stream: T) -> io::Result<TlsStream<T>> {
        let config = self.in_force().accepting.ok_or_else(off)?;
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(TlsStream::new(stream, session))
    }

    /// A stream of a peer of the debug address, encrypted if `-debug-tls` says so: then the handshake begins.
    pub fn accept_debug(&self, stream: TcpStream) -> io::Result<Result<TlsStream, TcpStream>> {
        let Some(config) = self.in_force().debugging else {
            return Ok(Err(stream));
        };
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Ok(TlsStream::new(stream, session)))
    }

    /// A stream to a node, encrypted if `-backend-tls` says so: then the handshake begins.
    pub fn connect(
        &self,
        stream: TcpStream,
        node: SocketAddr,
    ) -> io::Result<Result<TlsStream, TcpStream>> {
        match self.client(node)? {
            Some(session) => Ok(Ok(TlsStream::new(stream, session))),
            None => Ok(Err(stream)),
        }
    }

    /// The same for a thread that waits.
    pub fn channel(&self, stream: StdTcpStream, node: SocketAddr) -> io::Result<Channel> {
        match self.client(node)? {
            Some(session) => Ok(Channel::Tls(Box::new(StreamOwned::new(session, stream)))),
            None => Ok(Channel::plain(stream)),
        }
    }

    fn client(&self, node: SocketAddr) -> io::Result<Option<ClientConnection>> {
        let Some(config) = self.in_force().connecting else {
            return Ok(None);
        };
        let name = self.name(node)?;
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Some(session))
    }

    /// The name that a node has to prove: that of all, or the one that it announces, or as what it was typed, or its
    /// address.
    fn name(&self, node: SocketAddr) -> io::Result<ServerName<'static>> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let own = names.announced.get(&node).or(names.typed.get(&node));
        let known = self.server_name.as_ref().or(own);
        match known {
            Some(name) => ServerName::try_from(name.clone()).map_err(io::Error::other),
            None => Ok(ServerName::IpAddress(node.ip().to_canonical().into())),
        }
    }

    /// Notes the names that the nodes announce.
    pub fn announced(&self, names: impl Iterator<Item = (SocketAddr, String)>) {
        let mut own = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        own.announced = names.collect();
    }

    /// Notes as what a node was typed.
    pub fn typed(&self, node: SocketAddr, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        // Names that move from address to address leave no more than so many behind.
        if names.typed.len() >= 10_000 {
            names.typed.clear();
        }
        names.typed.insert(node, name.to_string());
    }
}

fn off() -> io::Error {
    io::Error::other("TLS is off")
}

impl InForce {
    fn load(config: &Config) -> Result<InForce, String> {
        let mut in_force = InForce::default();
        if config.tls.listen.is_some() {
            in_force.accepting = Some(Arc::new(accepting(
                &config.tls,
                &mut in_force.certificates,
            )?));
        }
        if config.tls.debug {
            in_force.debugging = Some(Arc::new(debugging(
                &config.tls,
                &mut in_force.certificates,
            )?));
        }
        if config.backend_tls.on {
            let own = connecting(&config.backend_tls, &mut in_force.certificates)?;
            in_force.connecting = Some(Arc::new(own));
        }
        Ok(in_force)
    }
}

/// What clients meet.
pub(super) fn accepting(
    tls: &ClientTls,
    certificates: &mut Vec<(&'static str, Validity)>,
) -> Result<ServerConfig, String> {
    let identity = identity("tls-addr", tls)?;
    let provider = Arc::new(provider(&tls.suites)?);
    let verifier = match (tls.auth_clients, &tls.authorities) {
        (AuthClients::No, _) => None,
        (_, None) => {
            return Err(format!(
                "-tls-auth-clients {} needs -tls-ca-cert-file",
                tls.auth_clients.name()
            ));
        }
        (auth, Some(path)) => {
            const FLAG: &str = "tls-ca-cert-file";
            let roots = Arc::new(files::authorities(FLAG, path)?);
            let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
            if auth == AuthClients::Optional {
                builder = builder.allow_unauthenticated();
            }
            Some(builder.build().map_err(|error| fault(FLAG, path, error))?)
        }
    };
    serving(tls, identity, provider, verifier, certificates)
}

/// What peers of the debug address meet: the same certificate, and no question for theirs, since probes have none.
fn debugging(
    tls: &ClientTls,
    certificates: &mut Vec<(&'static str, Validity)>,
) -> Result<ServerConfig, String> {
    let identity = identity("debug-tls", tls)?;
    let provider = Arc::new(provider(&tls.suites)?);
    serving(tls, identity, provider, None, certificates)
}

/// The certificate that peers are shown for the sake of a flag.
fn identity(flag: &str, tls: &ClientTls) -> Result<Identity, String> {
    let files = (tls.certificate.as_deref(), tls.key.as_deref());
    let identity = files::identity(CLIENTS, files)?;
    identity.ok_or_else(|| format!("-{flag} needs -tls-cert-file and -tls-key-file"))
}

/// What those meet who are shown a certificate.
fn serving(
    tls: &ClientTls,
    identity: Identity,
    provider: Arc<CryptoProvider>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    certificates: &mut Vec<(&'static str, Validity)>,
) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(tls))
        .map_err(|error| format!("-tls-protocols, -tls-ciphersuites: {error}"))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    if !certificates
        .iter()
        .any(|(own, _)| *own == CLIENTS.certificate)
    {
        certificates.push((CLIENTS.certificate, identity.validity));
    }
    let mut config = builder
        .with_single_cert(identity.chain, identity.key)
        .map_err(|error| {
            let files = (tls.certificate.as_deref(), tls.key.as_deref());
            mismatch(CLIENTS, files, &error)
        })?;
    config.ticketer =
        ring::Ticketer::new().map_err(|error| format!("no session tickets: {error}"))?;
    Ok(config)
}

/// How nodes are met.
pub(super) fn connecting(
    tls: &BackendTls,
    certificates: &mut Vec<(&'static str, Validity)>,
) -> Result<ClientConfig, String> {
    const FLAG: &str = "backend-tls-ca-cert-file";
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if tls.verify {
        builder.with_root_certificates(roots(FLAG, tls.authorities.as_deref())?)
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    };
    let files = (tls.certificate.as_deref(), tls.key.as_deref());
    match files::identity(BACKENDS, files)? {
        None => Ok(builder.with_no_client_auth()),
        Some(identity) => {
            certificates.push((BACKENDS.certificate, identity.validity));
            builder
                .with_client_auth_cert(identity.chain, identity.key)
                .map_err(|error| mismatch(BACKENDS, files, &error))
        }
    }
}

/// The authorities that a file names, else those that the system trusts.
fn roots(flag: &str, path: Option<&Path>) -> Result<RootCertStore, String> {
    match path {
        Some(path) => files::authorities(flag, path),
        None => files::system_authorities(flag),
    }
}

/// A stream, encrypted, to a server that proves that it is `host`: of `-top`. `authorities` is the file of
/// `-tls-ca-cert-file`; nothing is those that the system trusts.
pub fn open(stream: StdTcpStream, host: &str, authorities: Option<&Path>) -> io::Result<Channel> {
    let name = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_string();
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let roots = roots("tls-ca-cert-file", authorities).map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(Channel::Tls(Box::new(StreamOwned::new(session, stream))))
}

/// Why a certificate and a key do not go together.
fn mismatch(flags: Flags, files: (Option<&Path>, Option<&Path>), error: &Error) -> String {
    let path = |path: Option<&Path>| path.map_or(String::new(), |path| path.display().to_string());
    match error {
        Error::InconsistentKeys(_) => format!(
            "-{}: {}: the key does not belong to the certificate in {} (-{})",
            flags.key,
            path(files.1),
            path(files.0),
            flags.certificate
        ),
        other => format!("-{}: {}: {other}", flags.key, path(files.1)),
    }
}

fn versions(tls: &ClientTls) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    if tls.protocols.tls13 {
        versions.push(&version::TLS13);
    }
    if tls.protocols.tls12 {
        versions.push(&version::TLS12);
    }
    versions
}

/// The cipher suites of these names, in this order; of a version of which none is named, all.
fn provider(names: &[String]) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    let all = std::mem::take(&mut provider.cipher_suites);
    let mut named = Vec::new();
    for name in names {
        let same = |suite: &CipherSuite| {
            let own = suite.as_str().unwrap_or_default();
            own == name || own.strip_prefix("TLS13_") == name.strip_prefix("TLS_")
        };
        let found = all.iter().find(|suite| same(&suite.suite()));
        named.push(*found.ok_or_else(|| {
            let known: Vec<String> = all
                .iter()
                .filter_map(|suite| suite.suite().as_str())
                .map(|name| name.replace("TLS13_", "TLS_"))
                .collect();
            format!(
                "-tls-ciphersuites: {name:?} is not known; there are {}",
                known.join(":")
            )
        })?);
    }
    for suite in all {
        let is_named = |own: &rustls::SupportedCipherSuite| own.version() == suite.version();
        if named[..names.len()].iter().any(is_named) {
            continue;
        }
        named.push(suite);
    }
    provider.cipher_suites = named;
    Ok(provider)
}

/// Takes anybody for a node: `-backend-tls-verify false`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
