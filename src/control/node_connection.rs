//! `NodeConnection`: a blocking connection to one node, used to ask for its view of the cluster. Every wait has a
//! deadline and every reply a size limit; after any failure the connection is closed.
//!
//! It must never know why the question is asked, nor put a password into an error.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::cluster::view::{Rejected, View};
use crate::config::{Config, Secret};
use crate::net::tls::{Channel, Context};
use crate::resp::value::{Extent, Value};

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// Why a node gave no view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection.
    Connect(io::ErrorKind),
    /// The connection broke.
    Lost(io::ErrorKind),
    /// TLS was not agreed on, or its peer is not who it should be.
    Tls(String),
    /// The node did not answer in time.
    Timeout,
    /// The answer is no RESP, or longer than an answer can be.
    Protocol,
    /// AUTH was refused, with this error code. The text is not kept: some servers repeat the arguments.
    Auth(String),
    /// The node answered, and the answer is not used.
    Rejected(Rejected),
    /// The host has no address.
    Unresolved,
    /// `-nodes-allowed` does not have the address.
    Forbidden,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connect(kind) => write!(f, "cannot connect: {kind}"),
            Failure::Lost(kind) => write!(f, "connection lost: {kind}"),
            Failure::Tls(reason) => write!(
                f,
                "TLS handshake failed: {reason} (see -backend-tls-ca-cert-file, -backend-tls-server-name, -backend-tls-cert-file)"
            ),
            Failure::Timeout => f.write_str("timed out"),
            Failure::Protocol => f.write_str("the answer is not RESP: is this a Redis server?"),
            Failure::Auth(code) => write!(
                f,
                "AUTH refused ({code}): check -password, -backend-user and -backend-password"
            ),
            Failure::Rejected(reason) => reason.fmt(f),
            Failure::Unresolved => f.write_str("cannot resolve the host name"),
            Failure::Forbidden => f.write_str("its address is not in -nodes-allowed"),
        }
    }
}

/// A connection to one node.
#[derive(Debug)]
pub(super) struct NodeConnection {
    stream: Channel,
    pub(super) address: SocketAddr,
    authenticated: bool,
}

impl NodeConnection {
    /// Connects. What TLS needs beside is done when the first question is asked.
    pub(super) fn open(
        address: SocketAddr,
        tls: &Context,
        timeout: Duration,
    ) -> Result<NodeConnection, Failure> {
        let connect = |error: io::Error| match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Failure::Timeout,
            kind => Failure::Connect(kind),
        };
        // A timeout of zero would be an error of our own making.
        let timeout = timeout.max(Duration::from_millis(1));
        let stream = TcpStream::connect_timeout(&address, timeout).map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let stream = tls.channel(stream, address).map_err(failed)?;
        Ok(NodeConnection {
            stream,
            address,
            authenticated: false,
        })
    }

    /// Asks for the node's view, until `deadline`.
    pub(super) fn ask(&mut self, config: &Config, deadline: Instant) -> Result<View, Failure> {
        let questions: [&[&[u8]]; 2] = [&[b"CLUSTER", b"SLOTS"], &[b"CLUSTER", b"NODES"]];
        let (bytes, replies) = self.exchange(config, deadline, &questions)?;
        let value = |at: usize| match Value::parse(&bytes[replies[at].clone()]) {
            Ok(Some((value, _))) => Ok(value),
            _ => Err(Failure::Protocol),
        };
        View::read(self.address, &value(0)?, &value(1)?).map_err(Failure::Rejected)
    }

    /// The reply to one request, as it came.
    pub(super) fn reply(
        &mut self,
        config: &Config,
        deadline: Instant,
        words: &[&[u8]],
    ) -> Result<Vec<u8>, Failure> {
        let (mut bytes, replies) = self.exchange(config, deadline, &[words])?;
        bytes.drain(..replies[0].start);
        Ok(bytes)
    }

    /// The replies to some requests that are sent together, in order, as they came.
    pub(super) fn replies(
        &mut self,
        config: &Config,
        deadline: Instant,
        requests: &[&[&[u8]]],
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let (bytes, replies) = self.exchange(config, deadline, requests)?;
        Ok(replies.into_iter().map(|own| bytes[own].to_vec()).collect())
    }

    /// Sends these requests in one go, behind AUTH if there is need, and reads their replies. A node that refuses
    /// one password is tried with the next.
    fn exchange(
        &mut self,
        config: &Config,
        deadline: Instant,
        questions: &[&[&[u8]]],
    ) -> Result<(Vec<u8>, Vec<Range<usize>>), Failure> {
        let mut passwords = config.backend_passwords().peekable();
        loop {
            let password = passwords.next().filter(|_| !self.authenticated);
            match self.exchange_with(config, password, deadline, questions) {
                Err(Failure::Auth(_)) if passwords.peek().is_some() => {}
                result => return result,
            }
        }
    }

    fn exchange_with(
        &mut self,
        config: &Config,
        auth: Option<&Secret>,
        deadline: Instant,
        questions: &[&[&[u8]]],
    ) -> Result<(Vec<u8>, Vec<Range<usize>>), Failure> {
        let mut bytes = Vec::new();
        if let Some(password) = auth {
            let user = config.backend_user.as_deref().map(str::as_bytes);
            let words: Vec<&[u8]> = [Some(&b"AUTH"[..]), user, Some(password.expose())]
                .into_iter()
                .flatten()
                .collect();
            request(&mut bytes, &words);
        }
        questions
            .iter()
            .for_each(|words| request(&mut bytes, words));
        // A TLS handshake reads, too.
        let wait = Some(left(deadline)?);
        let transport = self.stream.stream();
        transport
            .set_write_timeout(wait)
            .and_then(|()| transport.set_read_timeout(wait))
            .and_then(|()| self.stream.write_all(&bytes))
            .and_then(|()| self.stream.flush())
            .map_err(failed)?;
        let count = questions.len() + usize::from(auth.is_some());
        let (bytes, mut replies) = self.read(count, deadline)?;
        if auth.is_some() {
            match Value::parse(&bytes[replies.remove(0)]) {
                Ok(Some((Value::Status(_), _))) => self.authenticated = true,
                Ok(Some((Value::Error(text), _))) => return Err(Failure::Auth(error_code(text))),
                _ => return Err(Failure::Protocol),
            }
        }
        Ok((bytes, replies))
    }

    /// Reads so many replies and nothing more.
    fn read(
        &mut self,
        count: usize,
        deadline: Instant,
    ) -> Result<(Vec<u8>, Vec<Range<usize>>), Failure> {
        let mut bytes: Vec<u8> = Vec::new();
        let mut replies: Vec<Range<usize>> = Vec::new();
        let mut extent = Extent::default();
        let mut chunk = vec![0; READ_BYTES];
        let mut start = 0;
        while replies.len() < count {
            match extent.advance(&bytes[start..]) {
                Err(_) => return Err(Failure::Protocol),
                Ok(Some(len)) => {
                    replies.push(start..start + len);
                    start += len;
                    extent = Extent::default();
                }
                Ok(None) => {
                    let wait = left(deadline)?;
                    let transport = self.stream.stream();
                    transport.set_read_timeout(Some(wait)).map_err(failed)?;
                    match self.stream.read(&mut chunk) {
                        Ok(0) => return Err(Failure::Lost(io::ErrorKind::UnexpectedEof)),
                        Ok(len) => bytes.extend_from_slice(&chunk[..len]),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(failed(error)),
                    }
                    if bytes.len() > ANSWER_BYTES_MAX {
                        return Err(Failure::Protocol);
                    }
                }
            }
        }
        if start < bytes.len() {
            return Err(Failure::Protocol);
        }
        Ok((bytes, replies))
    }
}

/// The time left, which is never zero.
fn left(deadline: Instant) -> Result<Duration, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Failure::Timeout);
    }
    Ok(left)
}

/// A deadline that passed shows as `WouldBlock` or `TimedOut`, by platform.
fn failed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failure::Timeout,
        // Only TLS has it: the kernel judges no data.
        io::ErrorKind::InvalidData => Failure::Tls(error.to_string()),
        kind => Failure::Lost(kind),
    }
}

/// Appends a request.
fn request(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// The first word of an error, if it looks like an error code; the one case of a plain `ERR` that an
/// operator must be able to tell apart is told apart.
fn error_code(text: &[u8]) -> String {
    let no_password = b"without any password configured";
    if memchr::memmem::find(text, no_password).is_some() {
        return "ERR, the server has no password configured".to_string();
    }
    text.split(|byte| *byte == b' ')
        .next()
        .filter(|word| word.len() <= 20 && word.iter().all(u8::is_ascii_uppercase))
        .map_or_else(
            || "no reason given".to_string(),
            |word| String::from_utf8_lossy(word).into_owned(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_framed() {
        let mut out = Vec::new();
        request(&mut out, &[b"AUTH", b"p\r\n"]);
        assert_eq!(out, b"*2\r\n$4\r\nAUTH\r\n$3\r\np\r\n\r\n");
    }

    #[test]
    fn an_error_gives_its_code_and_nothing_else() {
        let check = |text: &str, code: &str| assert_eq!(error_code(text.as_bytes()), code);
        check("WRONGPASS invalid username-password pair", "WRONGPASS");
        check(
            "ERR unknown command 'AUTH', with args beginning with: 'sesame'",
            "ERR",
        );
        check(
            "ERR AUTH <password> called without any password configured for the default user.",
            "ERR, the server has no password configured",
        );
        check("sesame", "no reason given");
        check("", "");
    }
}
