//! A blocking client that hides nothing: it sends the bytes it is given, and shows replies as values or as the
//! very bytes that came. It shares no code with the proxy, on purpose.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// One reply, RESP2 or RESP3, with all that tells two of them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR ...`, with its code.
    Error(String),
    /// `:1`
    Int(i64),
    /// `$3`
    Bulk(Vec<u8>),
    /// `$-1`
    NilBulk,
    /// `*-1`
    NilArray,
    /// `*2`
    Array(Vec<Reply>),
    /// `_`
    Null,
    /// `,1.5`, as text.
    Double(String),
    /// `#t`
    Bool(bool),
    /// `(123`
    BigNumber(String),
    /// `!5`
    BulkError(String),
    /// `=15`: the format (`txt`) and the text.
    Verbatim(String, Vec<u8>),
    /// `%2`
    Map(Vec<(Reply, Reply)>),
    /// `~2`
    Set(Vec<Reply>),
    /// `>2`
    Push(Vec<Reply>),
    /// `|1` and the value that it belongs to.
    Attribute(Vec<(Reply, Reply)>, Box<Reply>),
}

impl Reply {
    pub fn is_nil(&self) -> bool {
        matches!(self, Reply::NilBulk | Reply::NilArray | Reply::Null)
    }

    /// The text of an error reply.
    pub fn error(&self) -> Option<&str> {
        match self {
            Reply::Error(text) | Reply::BulkError(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_error(&self) -> bool {
        self.error().is_some()
    }

    pub fn bulk_text(&self) -> Option<String> {
        match self {
            Reply::Bulk(bytes) | Reply::Verbatim(_, bytes) => {
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
            _ => None,
        }
    }

    /// The text of a simple, bulk, double or verbatim reply.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Reply::Simple(text) | Reply::Double(text) | Reply::BigNumber(text) => text.clone(),
            other => other
                .bulk_text()
                .unwrap_or_else(|| panic!("expected a text, got {other:?}")),
        }
    }

    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Reply::Int(number) => *number,
            other => panic!("expected an integer, got {other:?}"),
        }
    }

    /// The items of an array, set or push.
    #[track_caller]
    pub fn items(&self) -> &[Reply] {
        match self {
            Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => items,
            other => panic!("expected an array, got {other:?}"),
        }
    }
}

/// `reply == "OK"`: a simple or bulk reply of that text.
impl PartialEq<&str> for Reply {
    fn eq(&self, text: &&str) -> bool {
        match self {
            Reply::Simple(own) => own == text,
            Reply::Bulk(own) => own == text.as_bytes(),
            _ => false,
        }
    }
}

/// A stream that is no socket itself.
pub trait Channel: Read + Write + std::fmt::Debug + Send {
    fn set_read_timeout(&self, limit: Duration) -> io::Result<()>;
    /// Says that we send no more.
    fn finish(&mut self) -> io::Result<()>;
}

impl Channel for TcpStream {
    fn set_read_timeout(&self, limit: Duration) -> io::Result<()> {
        TcpStream::set_read_timeout(self, Some(limit))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }
}

/// A stream to `host:port` or `tls:host:port`, for those who read its bytes themselves.
pub fn channel(addr: &str) -> io::Result<Box<dyn Channel>> {
    #[cfg(feature = "tls")]
    if let Some(addr) = addr.strip_prefix("tls:") {
        return super::tls::connect(addr);
    }
    Ok(Box::new(TcpStream::connect(addr)?))
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Other(Box<dyn Channel>),
}

/// How long a reply may take: a machine that others use, too, gives its nodes no processor for seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection. What has no `try_` panics when the connection fails.
#[derive(Debug)]
pub struct Conn {
    stream: Stream,
    input: Vec<u8>,
    deadline: Duration,
}

impl Conn {
    /// `host:port`, `unix:/path` or `tls:host:port`.
    #[track_caller]
    pub fn connect(addr: &str) -> Conn {
        Conn::try_connect(addr).unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}"))
    }

    /// The same, with a protocol (2 or 3) of its own.
    #[track_caller]
    pub fn open(addr: &str, protocol: &str) -> Conn {
        let mut conn = Conn::connect(addr);
        assert!(!conn.command(&["HELLO", protocol]).is_error());
        conn
    }

    pub fn try_connect(addr: &str) -> io::Result<Conn> {
        let stream = match addr.split_once(':') {
            Some(("unix", path)) => Stream::Unix(UnixStream::connect(path)?),
            #[cfg(feature = "tls")]
            Some(("tls", addr)) => Stream::Other(super::tls::connect(addr)?),
            _ => {
                let stream = TcpStream::connect(addr)?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        };
        Ok(Conn {
            stream,
            input: Vec::new(),
            deadline: PATIENCE,
        })
    }

    /// As `try_connect`, and gives up after `limit`.
    pub fn connect_within(addr: std::net::SocketAddr, limit: Duration) -> io::Result<Conn> {
        let stream = TcpStream::connect_timeout(&addr, limit)?;
        stream.set_nodelay(true)?;
        Ok(Conn {
            stream: Stream::Tcp(stream),
            input: Vec::new(),
            deadline: PATIENCE,
        })
    }

    /// A connection that is there; of one that was accepted, the other side's requests are read as replies.
    pub fn from_stream(stream: TcpStream) -> Conn {
        Conn {
            stream: Stream::Tcp(stream),
            input: Vec::new(),
            deadline: Duration::from_secs(600),
        }
    }

    /// A connection over a channel.
    pub fn from_channel(channel: Box<dyn Channel>) -> Conn {
        Conn {
            stream: Stream::Other(channel),
            input: Vec::new(),
            deadline: Duration::from_secs(600),
        }
    }

    /// How long a reply may take; [`PATIENCE`] unless set.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Sends these bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref())
            .unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Waits until the other side's kernel has all that was sent, which is so before it has what another connection sends
    /// later.
    pub fn wait_until_received(&self) {
        let address = match &self.stream {
            Stream::Tcp(stream) => stream.local_addr(),
            _ => return,
        };
        let port = format!(":{:04X}", address.expect("it is bound").port());
        let is_received = || {
            let table = std::fs::read_to_string("/proc/self/net/tcp").expect("the sockets");
            let own = table
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>());
            // The fields: number, local and remote address, state, bytes to send and to read.
            let mut own = own.filter(|fields| fields.len() > 4 && fields[1].ends_with(&port));
            own.all(|fields| fields[3] != "01" || fields[4].starts_with("00000000:"))
        };
        while !is_received() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Other(channel) => channel.write_all(bytes).and_then(|()| channel.flush()),
        }
    }

    /// One command, as a multibulk request, and its reply.
    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.try_command(args)
            .unwrap_or_else(|error| panic!("{}: {error}", shown(args)))
    }

    pub fn try_command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.try_send(&Conn::encode(args))?;
        self.try_read_reply()
    }

    /// As `command`, of a line that is split at its spaces.
    #[track_caller]
    pub fn line(&mut self, line: &str) -> Reply {
        let args: Vec<&str> = line.split_whitespace().collect();
        self.command(&args)
    }

    /// The fields of these sections of INFO; of the default ones if none is named.
    #[track_caller]
    pub fn info(&mut self, sections: &str) -> BTreeMap<String, String> {
        let text = self.line(&format!("INFO {sections}")).text();
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields
            .map(|(name, value)| (name.to_string(), value.trim().to_string()))
            .collect()
    }

    /// All of them in one write, then all replies.
    #[track_caller]
    pub fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[Vec<A>]) -> Vec<Reply> {
        let bytes: Vec<u8> = commands
            .iter()
            .flat_map(|args| Conn::encode(args))
            .collect();
        self.send(bytes);
        commands.iter().map(|_| self.read_reply()).collect()
    }

    #[track_caller]
    pub fn read_reply(&mut self) -> Reply {
        self.try_read_reply()
            .unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    pub fn try_read_reply(&mut self) -> io::Result<Reply> {
        self.frame().map(|(reply, _)| reply)
    }

    /// The bytes of one whole reply, as they came.
    #[track_caller]
    pub fn read_frame(&mut self) -> Vec<u8> {
        self.frame()
            .map(|(_, bytes)| bytes)
            .unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    /// One whole reply, as a value and as the bytes that came.
    pub fn frame(&mut self) -> io::Result<(Reply, Vec<u8>)> {
        let deadline = Instant::now() + self.deadline;
        loop {
            let mut position = 0;
            if let Some(reply) = parse(&self.input, &mut position)? {
                let rest = self.input.split_off(position);
                return Ok((reply, std::mem::replace(&mut self.input, rest)));
            }
            if self.fill(deadline)? == 0 {
                let kept = preview(&self.input);
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    format!("closed after {kept:?}"),
                ));
            }
        }
    }

    /// Reads what comes until the peer closes, and returns it.
    pub fn read_to_close(&mut self) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + self.deadline;
        while self.fill(deadline)? > 0 {}
        Ok(std::mem::take(&mut self.input))
    }

    /// What comes within `time`, without expecting anything.
    pub fn read_for(&mut self, time: Duration) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + time;
        loop {
            match self.fill(deadline) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => break,
                Err(error) => return Err(error),
            }
        }
        Ok(std::mem::take(&mut self.input))
    }

    /// Whatever comes next within `time`, as it is; nothing if nothing does.
    pub fn read_some(&mut self, time: Duration) -> io::Result<Option<Vec<u8>>> {
        if self.input.is_empty() {
            match self.fill(Instant::now() + time) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed")),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(std::mem::take(&mut self.input)))
    }

    /// Half-close: we send no more, and still read.
    pub fn finish(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
            Stream::Other(channel) => channel.finish(),
        }
    }

    /// Whether the peer has left the connection open, as far as can be seen within `time`.
    pub fn is_open(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            match self.fill(deadline) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::TimedOut,
            }
        }
    }

    fn fill(&mut self, deadline: Instant) -> io::Result<usize> {
        let late = || io::Error::new(ErrorKind::TimedOut, "the deadline passed");
        let mut chunk = [0; 65536];
        loop {
            let left = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
                .ok_or_else(late)?;
            let read = match &mut self.stream {
                Stream::Tcp(stream) => stream
                    .set_read_timeout(Some(left))
                    .and_then(|()| stream.read(&mut chunk)),
                Stream::Unix(stream) => stream
                    .set_read_timeout(Some(left))
                    .and_then(|()| stream.read(&mut chunk)),
                Stream::Other(channel) => channel
                    .set_read_timeout(left)
                    .and_then(|()| channel.read(&mut chunk)),
            };
            match read {
                Ok(count) => {
                    self.input.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Err(late());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A multibulk request.
    pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            let arg = arg.as_ref();
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }
}

fn shown<A: AsRef<[u8]>>(args: &[A]) -> String {
    args.iter()
        .map(|arg| preview(arg.as_ref()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn preview(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}

/// One value at `position`, which moves behind it; `None` when it is not all there yet.
fn parse(bytes: &[u8], position: &mut usize) -> io::Result<Option<Reply>> {
    let invalid = |what: &str| {
        io::Error::new(
            ErrorKind::InvalidData,
            format!("{what}: {}", preview(bytes)),
        )
    };
    let Some(end) = bytes[*position..]
        .windows(2)
        .position(|pair| pair == b"\r\n")
    else {
        return Ok(None);
    };
    let line = &bytes[*position..*position + end];
    *position += end + 2;
    let Some((&kind, rest)) = line.split_first() else {
        return Err(invalid("an empty line for a reply"));
    };
    let text = || String::from_utf8_lossy(rest).into_owned();
    let number = || {
        std::str::from_utf8(rest)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .ok_or_else(|| invalid("not a number"))
    };
    let reply = match kind {
        b'+' => Reply::Simple(text()),
        b'-' => Reply::Error(text()),
        b':' => Reply::Int(number()?),
        b'_' => Reply::Null,
        b',' => Reply::Double(text()),
        b'(' => Reply::BigNumber(text()),
        b'#' => Reply::Bool(rest == b"t"),
        b'$' | b'!' | b'=' => {
            let Ok(length) = usize::try_from(number()?) else {
                return Ok(Some(Reply::NilBulk));
            };
            let Some(body) = bytes.get(*position..*position + length + 2) else {
                return Ok(None);
            };
            let Some(body) = body.strip_suffix(b"\r\n") else {
                return Err(invalid("a bulk without its end"));
            };
            *position += length + 2;
            match kind {
                b'$' => Reply::Bulk(body.to_vec()),
                b'!' => Reply::BulkError(String::from_utf8_lossy(body).into_owned()),
                _ if body.len() < 4 => return Err(invalid("a verbatim text without a format")),
                _ => Reply::Verbatim(
                    String::from_utf8_lossy(&body[..3]).into_owned(),
                    body[4..].to_vec(),
                ),
            }
        }
        b'*' | b'~' | b'>' => {
            let Ok(count) = usize::try_from(number()?) else {
                return Ok(Some(Reply::NilArray));
            };
            let Some(items) = parse_many(bytes, position, count)? else {
                return Ok(None);
            };
            match kind {
                b'*' => Reply::Array(items),
                b'~' => Reply::Set(items),
                _ => Reply::Push(items),
            }
        }
        b'%' | b'|' => {
            let count = usize::try_from(number()?).map_err(|_| invalid("a negative length"))?;
            let Some(items) = parse_many(bytes, position, count * 2)? else {
                return Ok(None);
            };
            let mut items = items.into_iter();
            let mut pairs = Vec::new();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            if kind == b'%' {
                Reply::Map(pairs)
            } else {
                let Some(value) = parse(bytes, position)? else {
                    return Ok(None);
                };
                Reply::Attribute(pairs, Box::new(value))
            }
        }
        _ => return Err(invalid("not a reply")),
    };
    Ok(Some(reply))
}

fn parse_many(bytes: &[u8], position: &mut usize, count: usize) -> io::Result<Option<Vec<Reply>>> {
    let mut items = Vec::new();
    for _ in 0..count {
        match parse(bytes, position)? {
            Some(item) => items.push(item),
            None => return Ok(None),
        }
    }
    Ok(Some(items))
}
