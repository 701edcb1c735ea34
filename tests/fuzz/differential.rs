//! The same bytes to one redis-server and to the proxy before a cluster of one node: the same answer, and the connection
//! the same, open or closed. What the proxy does otherwise on purpose is told apart ([`is_documented`]).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::support::{Cluster, Conn, Proxy, Server};
use super::{Target, generate};

pub const DIFFERENTIAL: Target = Target {
    name: "differential",
    generate,
    shapes: SHAPES,
    check,
    // Another process works on it; what that costs the other targets measure.
    work: |_| {},
};

/// How long the proxy may take for what the server has done.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an input at most: all that is answered fits into the buffers of a socket.
const INPUT_MAX: usize = 8 << 10;

struct Sides {
    server: Server,
    /// Lives as long as the proxy before it.
    _cluster: Cluster,
    proxy: Proxy,
    /// A connection to each, beside that of the input: to the server, the node and the proxy.
    beside: Mutex<[Conn; 3]>,
}

static SIDES: LazyLock<Sides> = LazyLock::new(|| {
    let (server, cluster) = (Server::start(&["--databases", "1"]), Cluster::start(1, 0));
    let proxy = Proxy::start(&cluster, &["-max-procs", "1"]);
    let node = cluster.raw(cluster.ports()[0]);
    let beside = Mutex::new([server.conn(), node, proxy.conn()]);
    Sides {
        server,
        _cluster: cluster,
        proxy,
        beside,
    }
});

const SHAPES: usize = 6;

/// Commands whose replies say nothing of the time or of the process, with a sketch of their arguments: `k` is a key, `n` a
/// number, anything else stands for itself.
const COMMANDS: &[&str] = &[
    "PING",
    "PING n",
    "ECHO n",
    "SET k n",
    "SET k n XX",
    "SET k n NX GET",
    "GET k",
    "GETSET k n",
    "INCR k",
    "INCRBY k n",
    "APPEND k n",
    "STRLEN k",
    "SETRANGE k n n",
    "GETRANGE k n n",
    "DEL k k",
    "EXISTS k k",
    "MGET k k k",
    "MSET k n k n",
    "TYPE k",
    "LPUSH k n n",
    "RPUSH k n",
    "LRANGE k n n",
    "LLEN k",
    "HSET k f n",
    "HGET k f",
    "HGETALL k",
    "SADD k n",
    "SCARD k",
    "ZADD k n m",
    "ZRANGE k 0 -1",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH k",
    "UNWATCH",
    "SELECT 0",
    "CLIENT SETNAME n",
    "CLIENT GETNAME",
    "AUTH n",
    "HELLO 9",
    "HELLO x",
    "RESET",
    "SUBSCRIBE k",
    "UNSUBSCRIBE k",
    "PSUBSCRIBE k",
    "PUNSUBSCRIBE k",
    "nosuch n n",
    "GET",
    "SET k",
    "CLIENT",
    "CLIENT nosuch",
    "QUIT",
];

/// The words of a command, with hostile ones among them.
fn words(rng: &mut Rng) -> Vec<Vec<u8>> {
    const ODD: &[&[u8]] = &[
        b"",
        b"0",
        b"-1",
        b"9223372036854775807",
        b"a\r\nb",
        b"\0",
        b"\xff",
        b" ",
        b"\"",
        b"1.5",
        b"*1\r\n",
    ];
    let sketch = COMMANDS[rng.usize(..COMMANDS.len())].split(' ');
    let word = |word: &str| match word {
        "k" => format!("{{t}}{}", rng.u8(..4)).into_bytes(),
        "n" if rng.u8(..3) == 0 => ODD[rng.usize(..ODD.len())].to_vec(),
        "n" => rng.u8(..20).to_string().into_bytes(),
        other => other.as_bytes().to_vec(),
    };
    sketch.map(word).collect()
}

fn generate(rng: &mut Rng, shape: usize, len: usize) -> Vec<u8> {
    let len = len.min(INPUT_MAX / 2);
    let mut out = Vec::new();
    match shape {
        // Of one kind of form, or of both.
        0..3 => {
            while out.len() < len {
                let words = words(rng);
                if shape == 1 || (shape == 2 && rng.bool()) {
                    out.extend(words.join(&b' '));
                    out.extend(if rng.bool() { &b"\r\n"[..] } else { b"\n" });
                } else {
                    generate::multibulk(&words, &mut out);
                }
            }
        }
        // Many small ones, and what the parser's target is given.
        3 => {
            let words = words(rng);
            while out.len() < len {
                generate::multibulk(&words, &mut out);
            }
        }
        _ => {
            let shape = rng.usize(..generate::REQUEST_SHAPES);
            out = generate::requests(rng, shape, len);
        }
    }
    out
}

/// What was answered, and whether the connection was closed.
#[derive(PartialEq, Eq)]
struct Outcome {
    answer: Vec<u8>,
    closed: bool,
}

impl Outcome {
    /// Without what both have answered, but for the end of that.
    fn behind_the_same(&self, other: &Outcome) -> Outcome {
        let pairs = self.answer.iter().zip(&other.answer);
        let same = pairs.take_while(|(own, other)| own == other).count();
        Outcome {
            answer: self.answer[same.saturating_sub(100)..].to_vec(),
            closed: self.closed,
        }
    }

    /// Without the number of the client, which HELLO tells.
    fn without_numbers(&self) -> Outcome {
        const ID: &[u8] = b"\r\n$2\r\nid\r\n:";
        let (mut answer, mut rest) = (Vec::new(), &self.answer[..]);
        while let Some(at) = rest.windows(ID.len()).position(|own| own == ID) {
            answer.extend_from_slice(&rest[..at + ID.len()]);
            let digits = rest[at + ID.len()..].iter();
            let digits = digits.take_while(|byte| byte.is_ascii_digit()).count();
            rest = &rest[at + ID.len() + digits..];
        }
        answer.extend_from_slice(rest);
        Outcome {
            answer,
            closed: self.closed,
        }
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = if self.closed { "closed" } else { "open" };
        write!(f, "{state}, \"{}\"", self.answer.escape_ascii())
    }
}

/// Sends it in parts. The other side may close it meanwhile.
fn send(addr: &str, bytes: &[u8], part: usize) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    bytes
        .chunks(part)
        .all(|part| stream.write_all(part).is_ok());
    stream
}

/// Reads what there is, or until so many bytes have come and, if it ends, the end. Whatever is wrong shows as less.
fn receive(stream: &mut TcpStream, outcome: &mut Outcome, until: Option<&Outcome>) {
    let deadline = Instant::now() + PATIENCE;
    stream.set_nonblocking(until.is_none()).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut some = [0; 64 << 10];
    let is_enough = |own: &Outcome| {
        // Numbers of clients need not be as long here as there.
        until.is_some_and(|all| own.answer.len() + 8 >= all.answer.len() && !all.closed)
    };
    while !outcome.closed && !is_enough(outcome) && Instant::now() < deadline {
        match stream.read(&mut some) {
            Ok(0) => outcome.closed = true,
            Ok(count) => outcome.answer.extend_from_slice(&some[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // What was not read of it resets it.
            Err(_) => outcome.closed = true,
        }
    }
}

/// What one thread has read before it answers these it has worked on, too.
fn settle(beside: &mut Conn, bytes: &[u8]) {
    for _ in 0..4 + bytes.len() / 1024 {
        assert_eq!(beside.line("PING"), "PONG");
    }
}

fn check(bytes: &[u8], rng: &mut Rng) {
    let bytes = &bytes[..bytes.len().min(INPUT_MAX)];
    let mut beside = SIDES.beside.lock().unwrap_or_else(PoisonError::into_inner);
    let [server, node, proxy] = &mut *beside;
    for conn in [&mut *server, &mut *node] {
        assert_eq!(conn.line("FLUSHALL"), "OK");
    }
    let part = match rng.u8(..4) {
        0 => 1 + rng.usize(..16),
        _ => INPUT_MAX,
    };
    let nothing = || Outcome {
        answer: Vec::new(),
        closed: false,
    };
    let (mut theirs, mut ours) = (nothing(), nothing());
    let mut stream = send(&SIDES.server.addr(), bytes, INPUT_MAX);
    settle(server, bytes);
    receive(&mut stream, &mut theirs, None);
    let mut stream = send(SIDES.proxy.addr(), bytes, part);
    receive(&mut stream, &mut ours, Some(&theirs));
    // Nothing comes behind it; what differs may not have come yet.
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        settle(proxy, &[]);
        receive(&mut stream, &mut ours, None);
        let (ours, theirs) = (ours.without_numbers(), theirs.without_numbers());
        if ours == theirs {
            return;
        }
        if is_documented(bytes, &ours, &theirs) {
            return finish(stream);
        }
        if Instant::now() > deadline {
            let (theirs, ours) = (theirs.behind_the_same(&ours), ours.behind_the_same(&theirs));
            panic!("the server: {theirs:?}\nthe proxy:  {ours:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// All that was sent is executed before the next input comes.
fn finish(mut stream: TcpStream) {
    stream.set_nonblocking(false).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    // It may be closed already.
    stream.shutdown(Shutdown::Write).ok();
    std::io::copy(&mut stream, &mut std::io::sink()).ok();
}

/// Whether the proxy differs where it says that it does (README, differences from Redis):
///
/// - a bulk string that does not end with CR LF, a length line with another byte behind its CR, and the start of a TLS
///   handshake close the connection: what is sent on must mean the same to the node;
/// - keys of a transaction are of one slot;
/// - a client that speaks HTTP hears the replies to what came before that;
/// - a byte that is echoed in an error is a space if it is no ASCII character;
/// - a server looks for the end of an inline request no farther than up to a NUL, and waits for ever behind one.
fn is_documented(bytes: &[u8], ours: &Outcome, theirs: &Outcome) -> bool {
    let has = |wanted: &dyn Fn(&[u8]) -> bool| bytes.windows(2).any(wanted);
    let odd_line = has(&|pair| pair[0] == b'\r' && pair[1] != b'\n');
    let stricter = [
        ("expected CRLF after bulk string", true),
        ("invalid multibulk length", odd_line),
        ("invalid bulk length", odd_line),
        (
            "this address does not speak TLS",
            has(&|pair| pair == [22, 3]),
        ),
    ];
    let is_so = |(text, may): &(&str, bool)| {
        let error = format!("-ERR Protocol error: {text}\r\n");
        let before = ours.answer.strip_suffix(error.as_bytes());
        *may && ours.closed && before.is_some_and(|before| theirs.answer.starts_with(before))
    };
    let echoed = match &theirs.answer[..] {
        [before @ .., _, b'\'', b'\r', b'\n'] => [before, b" '\r\n"].concat() == ours.answer,
        _ => false,
    };
    let goes_on = bytes.contains(&0) && !theirs.closed && ours.answer.starts_with(&theirs.answer);
    let lower = bytes.to_ascii_lowercase();
    let is_http = [&b"host:"[..], b"post"]
        .iter()
        .any(|word| lower.windows(word.len()).any(|own| own == *word));
    let hears = is_http && theirs.closed && ours.answer.starts_with(&theirs.answer);
    let crossed = b"-CROSSSLOT";
    stricter.iter().any(is_so)
        || goes_on
        || echoed
        || hears
        || ours.answer.windows(crossed.len()).any(|own| own == crossed)
}
