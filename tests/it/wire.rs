//! Bytes in, bytes out: what a real redis-server says to malformed and to odd requests, the proxy says too,
//! to the letter and to the close. Whole, cut at every byte, byte by byte, and several samples in one.

use crate::support::{Cluster, Conn, Proxy, Reply, Server, Single, key_in_slot};
use std::io::ErrorKind;
use std::sync::OnceLock;
use std::time::Duration;

/// What the connection does behind the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The next request is answered.
    Open,
    /// The sample is the beginning of a request.
    Waits,
    /// The peer closes.
    Closed,
}
use Then::{Closed, Open, Waits};

/// One row: its name in the table of malformed requests, what is sent, what comes, what then.
type Sample = (&'static str, Vec<u8>, String, Then);

fn sample(name: &'static str, bytes: impl AsRef<[u8]>, reply: &str, then: Then) -> Sample {
    (name, bytes.as_ref().to_vec(), reply.to_string(), then)
}

fn protocol(reason: &str) -> String {
    format!("-ERR Protocol error: {reason}\r\n")
}

/// The rows where the proxy is as redis-server 7.0.15 is.
fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for bytes in ["\r\n", "*0\r\n", "*-1\r\n", "*-10\r\n"] {
        samples.push(sample("P01", bytes, "", Open));
    }
    for count in ["3000000000", "abc", "", "+1", "01", " 1"] {
        let reply = protocol("invalid multibulk length");
        samples.push(sample("P02", format!("*{count}\r\n"), &reply, Closed));
    }
    for count in ["2147483647", "1048577"] {
        samples.push(sample("P03", format!("*{count}\r\n"), "", Waits));
        // It was taken for a count, and an argument is looked for.
        let reply = protocol("expected '$', got 'x'");
        samples.push(sample("P03", format!("*{count}\r\nx\r\n"), &reply, Closed));
    }
    for (argument, got) in [("foo", 'f'), (":1", ':'), ("*1", '*')] {
        let reply = protocol(&format!("expected '$', got '{got}'"));
        samples.push(sample(
            "P04",
            format!("*1\r\n{argument}\r\n"),
            &reply,
            Closed,
        ));
    }
    for length in [
        "-1",
        "-10",
        "536870913",
        "2000000000",
        "2147483645",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "abc",
        "",
        "+4",
        "04",
    ] {
        let reply = protocol("invalid bulk length");
        samples.push(sample(
            "P05",
            format!("*1\r\n${length}\r\n"),
            &reply,
            Closed,
        ));
    }
    samples.push(sample("P06", "*1\r\n$536870912\r\n", "", Waits));
    let empty_name = "-ERR unknown command '', with args beginning with: \r\n";
    samples.push(sample("P07", "*1\r\n$0\r\n\r\n", empty_name, Open));
    samples.push(sample("P10", "*1\n", "", Waits));
    let reply = protocol("invalid multibulk length");
    samples.push(sample("P10", "*1\n*1\r\n", &reply, Closed));
    let reply = protocol("unbalanced quotes in request");
    samples.push(sample("P12", "set \"abc\r\n", &reply, Closed));
    samples.push(sample("P12", "set 'abc\r\n", &reply, Closed));
    samples.push(sample("P12", "set \"a\"b\r\n", &reply, Closed));
    samples.push(sample("P13", "PING\n", "+PONG\r\n", Open));
    samples.push(sample("P13", "  PING  \r\n", "+PONG\r\n", Open));
    samples.push(sample(
        "P13",
        "ECHO \"\\x41\\n\"\r\n",
        "$2\r\nA\n\r\n",
        Open,
    ));
    samples.push(sample(
        "P13",
        "ECHO '\\x41\\''\r\n",
        "$5\r\n\\x41'\r\n",
        Open,
    ));
    samples.push(sample("P13", "ECHO \"\"\n", "$0\r\n\r\n", Open));
    samples.push(sample("P14", "POST / HTTP/1.1\r\n", "", Closed));
    samples.push(sample("P14", "Host: localhost\r\n", "", Closed));
    samples.push(sample("P14", "*1\r\n$4\r\nPOST\r\n", "", Closed));
    samples.push(sample("P15", b"\0", "", Waits));
    samples.push(sample(
        "P16",
        "*1\r\n$10\r\nPING\r\n*1\r\n\r\n",
        "-ERR unknown command 'PING  *1  ', with args beginning with: \r\n",
        Open,
    ));
    samples.push(sample(
        "P16",
        "*1\r\n$2\r\nPI\r\nNG\r\n",
        "-ERR unknown command 'PI', with args beginning with: \r\n\
         -ERR unknown command 'NG', with args beginning with: \r\n",
        Open,
    ));
    let reply = format!("+PONG\r\n{}", protocol("invalid multibulk length"));
    samples.push(sample("P17", "PING\r\n*x\r\n", &reply, Closed));
    samples.push(sample("P18", "PING\r\n*1\r\n$4\r\nPI", "+PONG\r\n", Waits));
    samples.push(sample(
        "P19",
        "*1\r\n$5\r\nA\r\nBC\r\n",
        "-ERR unknown command 'A  BC', with args beginning with: \r\n",
        Open,
    ));
    samples.push(sample(
        "P19",
        "*3\r\n$3\r\nFOO\r\n$4\r\nb\r\nc\r\n$0\r\n\r\n",
        "-ERR unknown command 'FOO', with args beginning with: 'b  c' '' \r\n",
        Open,
    ));
    samples.push(sample(
        "P19",
        "*2\r\n$6\r\nCLIENT\r\n$5\r\nA\r\n+B\r\n",
        "-ERR unknown subcommand 'A  +B'. Try CLIENT HELP.\r\n",
        Open,
    ));
    for (line, name) in [("GET", "get"), ("get a b", "get"), ("MSET a", "mset")] {
        let reply = format!("-ERR wrong number of arguments for '{name}' command\r\n");
        samples.push(sample("P20", format!("{line}\r\n"), &reply, Open));
    }
    let reply = "-NOPROTO unsupported protocol version\r\n";
    samples.push(sample("P23", "HELLO 4\r\n", reply, Open));
    let reply = "-ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?\r\n";
    samples.push(sample("P23", "AUTH secret\r\n", reply, Open));
    let reply = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    samples.push(sample("P23", "AUTH nobody secret\r\n", reply, Open));
    samples
}

/// Too long to be cut at every byte. The last byte is the one too many.
fn long_samples() -> Vec<Sample> {
    let long = |first: &str| {
        let line = first.rsplit('\n').next().unwrap_or_default();
        format!("{first}{}", "1".repeat(64 * 1024 + 1 - line.len()))
    };
    vec![
        sample(
            "P11",
            long("a"),
            &protocol("too big inline request"),
            Closed,
        ),
        sample(
            "P11",
            long("*"),
            &protocol("too big mbulk count string"),
            Closed,
        ),
        sample(
            "P11",
            long("*1\r\n$"),
            &protocol("too big bulk count string"),
            Closed,
        ),
    ]
}

/// What a client that has not shown its password gets.
fn unauthenticated_samples() -> Vec<Sample> {
    let noauth = "-NOAUTH Authentication required.\r\n";
    let hello = "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
                 AUTH <user> <pass> option can be used to authenticate the client and select the \
                 RESP protocol version at the same time\r\n";
    let wrongpass = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    vec![
        sample(
            "P21",
            "*11\r\n",
            &protocol("unauthenticated multibulk length"),
            Closed,
        ),
        sample(
            "P21",
            "*1\r\n$16385\r\n",
            &protocol("unauthenticated bulk length"),
            Closed,
        ),
        sample("P22", "GET a\r\n", noauth, Open),
        sample("P22", "*1\r\n$4\r\nPING\r\n", noauth, Open),
        sample(
            "P22",
            "NONSENSE a\r\n",
            "-ERR unknown command 'NONSENSE', with args beginning with: 'a' \r\n",
            Open,
        ),
        sample("P22", "QUIT\r\n", "+OK\r\n", Closed),
        sample("P23", "AUTH wrong\r\n", wrongpass, Open),
        sample("P23", "AUTH default wrong\r\n", wrongpass, Open),
        sample("P23", "HELLO 3\r\n", hello, Open),
        sample("P23", "HELLO\r\n", hello, Open),
        sample(
            "P23",
            "HELLO 4\r\n",
            "-NOPROTO unsupported protocol version\r\n",
            Open,
        ),
        sample("P23", "HELLO 3 AUTH default wrong\r\n", wrongpass, Open),
        sample("P23", "AUTH a b c\r\n", "-ERR syntax error\r\n", Open),
        sample("P23", "AUTH secret\r\n", "+OK\r\n", Open),
    ]
}

/// A cluster of one node, the proxy in front, and a server to compare with.
struct Ground {
    single: Single,
    cluster: Cluster,
    proxy: Proxy,
}

fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        let cluster = Cluster::start(1, 0);
        Ground {
            single: Single::start(),
            proxy: Proxy::start(&cluster, &[]),
            cluster,
        }
    })
}

/// How the bytes are put on the wire.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Whole,
    /// The first so many bytes have been read before the rest is sent.
    At(usize),
    ByByte,
}

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const QUIT: &[u8] = b"*1\r\n$4\r\nQUIT\r\n";

/// Sends a sample and returns all that comes until the close. What is behind a sample that
/// closes is never sent, as a reset could then overtake the reply.
fn talk(addr: &str, (_, bytes, _, then): &Sample, cut: Cut) -> Result<String, String> {
    let mut conn = Conn::connect(addr);
    match cut {
        Cut::Whole => conn.send(bytes),
        Cut::At(count) => {
            // In one write with a PING: when it is answered, these bytes were read.
            conn.send([PING, &bytes[..count]].concat());
            conn.read_frame();
            conn.try_send(&bytes[count..]).ok();
        }
        Cut::ByByte => {
            for byte in bytes {
                conn.try_send(&[*byte]).ok();
            }
        }
    }
    match then {
        Open => conn.send([PING, QUIT].concat()),
        Closed => {}
        Waits => {
            if !conn.is_open(Duration::from_millis(if matches!(cut, Cut::Whole) {
                50
            } else {
                1
            })) {
                return Err("it closed and did not wait".to_string());
            }
            conn.finish().map_err(|error| error.to_string())?;
        }
    }
    let came = match conn.read_to_close() {
        Ok(came) => String::from_utf8_lossy(&came).into_owned(),
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            return Err("it stayed open".to_string());
        }
        Err(error) => return Err(error.to_string()),
    };
    let end = if *then == Open {
        "+PONG\r\n+OK\r\n"
    } else {
        ""
    };
    came.strip_suffix(end)
        .map(ToString::to_string)
        .ok_or_else(|| format!("it is not open any more: {came:?}"))
}

#[track_caller]
fn check(who: &str, addr: &str, sample: &Sample, cut: Cut) {
    let (name, bytes, expected, then) = sample;
    let came = talk(addr, sample, cut);
    assert_eq!(
        came.as_ref(),
        Ok(expected),
        "{name} at {who}, {cut:?}, then {then:?}: {}",
        bytes[..bytes.len().min(100)].escape_ascii()
    );
}

/// Cuts where the first piece is not yet the whole error: Redis may then have closed.
fn cuts(sample: &Sample) -> Vec<Cut> {
    (1..sample.1.len())
        .map(Cut::At)
        .chain([Cut::Whole, Cut::ByByte])
        .collect()
}

#[test]
fn malformed_requests_are_answered_as_by_redis() {
    let ground = ground();
    for sample in samples() {
        for cut in cuts(&sample) {
            check("redis", &ground.single.addr(), &sample, cut);
            check("the proxy", ground.proxy.addr(), &sample, cut);
        }
    }
    // redis-server waits for the end of a line; the proxy knows a TLS client by its first byte and says so in its log.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let answer = "-ERR Protocol error: this address does not speak TLS\r\n";
    let hello = sample("P15", hello, answer, Closed);
    // Behind two bytes it is known, and what is written after the close is reset.
    for cut in [Cut::Whole, Cut::At(1)] {
        check("the proxy", ground.proxy.addr(), &hello, cut);
    }
    for sample in long_samples() {
        for cut in [Cut::Whole, Cut::At(1), Cut::At(5), Cut::At(40_000)] {
            check("redis", &ground.single.addr(), &sample, cut);
            check("the proxy", ground.proxy.addr(), &sample, cut);
        }
    }
}

#[test]
fn unauthenticated_clients_are_answered_as_by_redis() {
    let server = Server::start(&["--requirepass", "secret"]);
    let ground = ground();
    // Dozens of logins are to fail.
    let flags = ["-client-password", "secret", "-auth-failure-delay", "0"];
    let proxy = Proxy::start(&ground.cluster, &flags);
    for (who, addr) in [
        ("redis", server.addr().as_str()),
        ("the proxy", proxy.addr()),
    ] {
        for (name, bytes, expected, then) in unauthenticated_samples() {
            for count in 0..bytes.len() {
                let mut conn = Conn::connect(addr);
                if count > 0 {
                    // The answer shows that the first piece was read.
                    conn.send([b"*1\r\n$4\r\nPING\r\n", &bytes[..count]].concat());
                    assert_eq!(conn.read_frame(), b"-NOAUTH Authentication required.\r\n");
                }
                conn.send(&bytes[count..]);
                if then == Open {
                    conn.send(QUIT);
                }
                let came = conn.read_to_close().expect("it closes");
                let end = if then == Open { "+OK\r\n" } else { "" };
                assert_eq!(
                    String::from_utf8_lossy(&came),
                    format!("{expected}{end}"),
                    "{name} at {who}, cut at {count}: {}",
                    bytes.escape_ascii()
                );
            }
        }
    }
}

#[test]
fn a_password_opens_the_door() {
    let ground = ground();
    let proxy = Proxy::start(&ground.cluster, &["-client-password", "secret"]);
    let mut conn = proxy.conn();
    let replies = conn.pipeline(&[
        vec!["GET", "door"],
        vec!["AUTH", "default", "secret"],
        vec!["SET", "door", "open"],
        vec!["AUTH", "wrong"],
        vec!["GET", "door"],
    ]);
    assert!(
        replies[0]
            .error()
            .is_some_and(|error| error.starts_with("NOAUTH "))
    );
    assert_eq!(replies[1], "OK");
    assert_eq!(replies[2], "OK");
    assert!(
        replies[3]
            .error()
            .is_some_and(|error| error.starts_with("WRONGPASS "))
    );
    assert_eq!(replies[4], "open", "a wrong password takes nothing away");

    let mut conn = proxy.conn();
    let hello = conn.line("HELLO 3 AUTH default secret SETNAME me");
    assert!(matches!(hello, Reply::Map(_)), "{hello:?}");
    assert_eq!(conn.line("CLIENT GETNAME"), "me");
    assert_eq!(conn.line("GET none"), Reply::Null);
    assert_eq!(
        conn.line("HELLO 2 AUTH default wrong")
            .error()
            .map(|e| &e[..9]),
        Some("WRONGPASS")
    );
    assert_eq!(conn.line("GET none"), Reply::Null, "it stays at RESP3");
}

/// P08 and P09: Redis takes any two bytes for the end of an argument. Who is between a client and Redis and
/// reads it otherwise can be made to see other requests than Redis does, so the proxy takes CRLF only.
#[test]
fn what_redis_forgives_is_refused() {
    let ground = ground();
    for (name, bytes) in [
        ("P08", "*1\r\n$4\r\nPINGXX"),
        ("P08", "*1\r\n$4\r\nPING\r\r"),
        ("P08", "*1\r\n$4\r\nPING\n\n"),
        ("P08", "*2\r\n$3\r\nGET\r\n$1\r\naXX"),
        ("P09", "*1\rX$4\r\nPING\r\n"),
        ("P09", "*1\r\n$4\rXPING\r\n"),
    ] {
        let all = [bytes.as_bytes(), QUIT].concat();
        let mut forgiving = ground.single.conn();
        forgiving.send(&all);
        let came = forgiving.read_to_close().expect("redis answers and closes");
        assert!(
            !came.starts_with(b"-ERR Protocol"),
            "{name}: redis forgives {bytes:?}"
        );

        for cut in 1..bytes.len() {
            let mut conn = ground.proxy.conn();
            conn.send([PING, &bytes.as_bytes()[..cut]].concat());
            conn.read_frame();
            conn.try_send(&bytes.as_bytes()[cut..]).ok();
            // A reset may overtake the reply where the error stood before the end of the sample.
            let came = match conn.read_to_close() {
                Ok(came) => String::from_utf8_lossy(&came).into_owned(),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => continue,
                Err(error) => panic!("{name}, cut at {cut}: {bytes:?}: {error}"),
            };
            assert!(
                came.starts_with("-ERR Protocol error: ") && came.matches("\r\n").count() == 1,
                "{name}, cut at {cut}: {bytes:?}: {came:?}"
            );
        }
    }
}

/// A browser's request is cut off in silence: at most its first line is answered, if it came alone.
#[test]
fn a_browser_is_cut_off() {
    let ground = ground();
    let bytes = b"GET / HTTP/1.1\r\nHost: localhost:6379\r\n\r\n";
    for (who, addr) in [
        ("redis", ground.single.addr().as_str()),
        ("proxy", ground.proxy.addr()),
    ] {
        for cut in 0..bytes.len() {
            let mut conn = Conn::connect(addr);
            conn.try_send(&bytes[..cut]).ok();
            conn.try_send(&bytes[cut..]).ok();
            if let Ok(came) = conn.read_to_close() {
                let came = String::from_utf8_lossy(&came);
                assert!(
                    came.is_empty()
                        || came == "-ERR wrong number of arguments for 'get' command\r\n",
                    "{who}, cut at {cut}: {came:?}"
                );
            }
        }
    }
}

#[test]
fn good_bad_good_ends_at_the_bad() {
    let ground = ground();
    for addr in [ground.single.addr().as_str(), ground.proxy.addr()] {
        let mut conn = Conn::connect(addr);
        conn.send("SET third 1\r\n*x\r\nSET third 2\r\n");
        let came = conn.read_to_close().expect("it closes");
        assert_eq!(
            String::from_utf8_lossy(&came),
            "+OK\r\n-ERR Protocol error: invalid multibulk length\r\n"
        );
        assert_eq!(Conn::connect(addr).line("GET third"), "1");
    }
}

/// All samples that leave the connection open, in one write, and in writes of odd sizes.
#[test]
fn coalesced_samples_are_answered_one_by_one() {
    let ground = ground();
    let samples: Vec<Sample> = samples()
        .into_iter()
        .filter(|sample| sample.3 == Open)
        .collect();
    let mut bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.1.clone()).collect();
    bytes.extend_from_slice(QUIT);
    let expected: String = samples.iter().map(|sample| sample.2.as_str()).collect();
    for addr in [ground.single.addr().as_str(), ground.proxy.addr()] {
        for size in [bytes.len(), 1, 2, 3, 7, 64] {
            let mut conn = Conn::connect(addr);
            for piece in bytes.chunks(size) {
                conn.send(piece);
            }
            let came = conn.read_to_close().expect("it closes behind QUIT");
            assert_eq!(
                String::from_utf8_lossy(&came),
                format!("{expected}+OK\r\n"),
                "by {size}"
            );
        }
    }
}

#[test]
fn a_half_close_is_answered_and_closed() {
    let ground = ground();
    for addr in [ground.single.addr().as_str(), ground.proxy.addr()] {
        for (bytes, expected) in [
            ("PING\r\n", "+PONG\r\n"),
            ("SET half 1\r\nGET half\r\n", "+OK\r\n$1\r\n1\r\n"),
            ("GET half\r\n*2\r\n$3\r\nGET\r\n$4\r\nha", "$1\r\n1\r\n"),
            ("*1\r\n$4\r\nPI", ""),
            ("", ""),
        ] {
            let mut conn = Conn::connect(addr);
            conn.send(bytes);
            conn.finish().expect("a half-close");
            let came = conn.read_to_close().expect("it closes");
            assert_eq!(String::from_utf8_lossy(&came), expected, "{bytes:?}");
        }
    }
}

/// SELECT as a server without a cluster has it that has one database.
#[test]
fn select_is_that_of_one_server() {
    let ground = ground();
    let server = Server::start(&["--databases", "1"]);
    let mut node = server.conn();
    let mut proxied = ground.proxy.conn();
    for line in [
        "SELECT 0",
        "SELECT 1",
        "SELECT 16",
        "SELECT -1",
        "SELECT 99999999999999999999",
        "SELECT x",
    ] {
        assert_eq!(proxied.line(line), node.line(line), "{line}");
    }
}

/// Requests that hide others: as many requests reach the node as the client gets replies, and nothing of
/// what is hidden ever runs.
#[test]
fn nothing_is_smuggled() {
    // What reaches the node is counted.
    let cluster = Cluster::start(1, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let mut node = cluster.raw(cluster.ports()[0]);
    let canary = key_in_slot(1, "canary");
    let hidden = String::from_utf8(Conn::encode(&["SET", &canary, "dead"])).expect("text");
    let whole = |args: &[&str]| String::from_utf8(Conn::encode(args)).expect("text");
    let samples = [
        // Framed as it should be: data is data.
        whole(&["SET", "a", &hidden]),
        whole(&["SET", "a", &format!("\r\n{hidden}")]),
        whole(&[&hidden, "a"]),
        whole(&["GET", &format!("a\r\n{hidden}")]),
        whole(&["MGET", "a", &format!("\r\n{hidden}"), "b"]),
        whole(&["ECHO", &hidden]),
        // Framed as it should not be.
        format!("*2\r\n$3\r\nGET\r\n$1\r\na{hidden}"),
        format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nbXX{hidden}"),
        format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$-1\r\n{hidden}"),
        format!("*-1\r\n*x\r\n{hidden}"),
        format!("*2\r\n$3\r\nGET\r\n$01\r\na\r\n{hidden}"),
        format!("*1\r\n$4\r\nHOST:\r\n{hidden}"),
        format!("POST / HTTP/1.1\r\n\r\n{hidden}"),
        format!(
            "SET a \"{}\"\r\n",
            hidden.replace('\r', "\\r").replace('\n', "\\n")
        ),
        format!("SET a \"b\r\n{hidden}"),
    ];
    for sample in samples {
        node.line("CONFIG RESETSTAT");
        let mut conn = proxy.conn();
        conn.send(sample.as_bytes());
        conn.finish().ok();
        let mut replies = Vec::new();
        while let Ok(reply) = conn.try_read_reply() {
            replies.push(reply);
        }
        let stats = node.line("INFO commandstats").text();
        let calls: usize = stats
            .lines()
            .filter_map(|line| line.strip_prefix("cmdstat_"))
            .filter(|line| {
                ["get:", "set:", "mget:"]
                    .iter()
                    .any(|name| line.starts_with(name))
            })
            .filter_map(|line| {
                line.split("calls=")
                    .nth(1)?
                    .split(',')
                    .next()?
                    .parse::<usize>()
                    .ok()
            })
            .sum();
        let own = |reply: &Reply| {
            reply.error().is_some()
                || *reply == "PONG"
                || reply.bulk_text().as_deref() == Some(&hidden)
        };
        let from_node = replies.iter().filter(|reply| !own(reply)).count();
        let parts = if sample.contains("MGET") { 3 } else { 1 };
        assert!(
            calls == from_node * parts && replies.len() <= 2,
            "{calls} requests reached the node, {replies:?} came: {sample:?}"
        );
        assert_eq!(
            node.command(&["GET", &canary]),
            Reply::NilBulk,
            "smuggled: {sample:?}"
        );
    }
}
