//! What clients and tools send before anything else, as they send it: each batch in one write, each reply of
//! the kind with which the client goes on. And the tools of Redis themselves, from their start to their end.

use crate::support::compare::pairs;
use crate::support::{self, Cluster, Conn, Port, Proxy, Reply};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

struct Ground {
    cluster: Cluster,
    proxy: Proxy,
}

fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        let cluster = Cluster::start(3, 0);
        Ground {
            proxy: Proxy::start(&cluster, &[]),
            cluster,
        }
    })
}

/// What a client needs of a reply.
#[derive(Debug, Clone, Copy)]
enum Need {
    Ok,
    /// The fields of HELLO: one master, standalone, with a version and an id.
    Hello,
    Int,
    /// A text that holds this.
    Text(&'static str),
    /// Names and values that start with this name; the client reads nothing else of it.
    Setting(&'static str),
    List,
    Nil,
    /// An error that starts with this, and an open connection: the client shrugs at it.
    Shrug(&'static str),
}

use Need::{Hello, Int, List, Nil, Ok, Setting, Shrug, Text};

/// Batches of requests, each with what its client needs.
type Sequence = &'static [&'static [(&'static str, Need)]];

const NO_MAINT: Need = Shrug("ERR unknown subcommand 'MAINT_NOTIFICATIONS'");
const NO_CLUSTER: Need = Shrug("ERR This instance has cluster support disabled");

const CLIENTS: &[(&str, Sequence)] = &[
    (
        "redis-cli",
        &[&[("HELLO 3", Hello)], &[("COMMAND DOCS", List)]],
    ),
    (
        "redis-cli, legacy help",
        &[
            &[("COMMAND", List)],
            &[("INFO SERVER", Text("redis_version:"))],
        ],
    ),
    (
        "redis-benchmark",
        &[&[
            ("CONFIG GET save", Setting("save")),
            ("CONFIG GET appendonly", Setting("appendonly")),
        ]],
    ),
    (
        "go-redis",
        &[
            &[("HELLO 3 SETNAME go", Hello)],
            &[("SELECT 0", Ok), ("CLIENT SETNAME go", Ok)],
            &[(
                "CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type none",
                NO_MAINT,
            )],
            // Redis 7.0 has no SETINFO; its error is ignored.
            &[
                ("CLIENT SETINFO LIB-NAME go-redis(,go1.25)", Ok),
                ("CLIENT SETINFO LIB-VER 9.22.0", Ok),
            ],
        ],
    ),
    (
        "redis-py",
        &[
            &[("HELLO 3", Hello)],
            &[(
                "CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip",
                NO_MAINT,
            )],
            &[("CLIENT SETNAME py", Ok)],
            &[
                ("CLIENT SETINFO LIB-NAME redis-py", Ok),
                ("CLIENT SETINFO LIB-VER 8.0.0", Ok),
            ],
            &[("SELECT 0", Ok)],
        ],
    ),
    (
        "jedis",
        &[
            &[("HELLO 3", Hello)],
            &[
                ("CLIENT SETNAME jedis", Ok),
                ("CLIENT SETINFO LIB-NAME jedis", Ok),
                ("CLIENT SETINFO LIB-VER 8.0.0", Ok),
            ],
            &[("SELECT 0", Ok)],
        ],
    ),
    (
        "lettuce",
        &[
            &[("HELLO 3 SETNAME lettuce", Hello)],
            &[
                ("SELECT 0", Ok),
                ("CLIENT SETINFO lib-name Lettuce", Ok),
                ("CLIENT SETINFO lib-ver 7.8.0", Ok),
                ("CLIENT MAINT_NOTIFICATIONS ON", NO_MAINT),
            ],
            &[("PING", Text("PONG"))],
        ],
    ),
    (
        "ioredis",
        &[
            &[
                ("HELLO 3", Hello),
                ("SELECT 0", Ok),
                ("CLIENT SETNAME io", Ok),
                ("CLIENT SETINFO LIB-VER 6.0.0", Ok),
                ("CLIENT SETINFO LIB-NAME ioredis", Ok),
            ],
            &[("INFO", Text("loading:0\r\n"))],
        ],
    ),
    (
        "node-redis",
        &[&[
            ("HELLO 3 SETNAME node", Hello),
            ("SELECT 0", Ok),
            ("CLIENT SETINFO LIB-NAME node-redis", Ok),
            ("CLIENT SETINFO LIB-VER 6.2.0", Ok),
            (
                "CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip",
                NO_MAINT,
            ),
        ]],
    ),
    (
        "StackExchange.Redis",
        &[
            &[
                ("HELLO 2", Hello),
                ("CLIENT SETNAME se", Ok),
                ("CLIENT SETINFO lib-name SE.Redis", Ok),
                ("CLIENT SETINFO lib-ver 3.0.0", Ok),
                ("CLIENT ID", Int),
            ],
            &[
                ("CONFIG GET timeout", Setting("timeout")),
                ("CONFIG GET replica-read-only", Setting("replica-read-only")),
                ("CONFIG GET databases", Setting("databases")),
                ("SENTINEL MASTERS", Shrug("ERR unknown command 'SENTINEL'")),
                ("INFO replication", Text("role:master\r\n")),
                ("INFO server", Text("redis_mode:standalone\r\n")),
                ("CLUSTER NODES", NO_CLUSTER),
                ("GET __Booksleeve_TieBreak", Nil),
                ("ECHO 0123456789abcdef", Text("0123456789abcdef")),
            ],
        ],
    ),
    (
        "redis-rs",
        &[&[
            ("HELLO 3", Hello),
            ("SELECT 0", Ok),
            ("CLIENT SETINFO LIB-NAME redis-rs", Ok),
            ("CLIENT SETINFO LIB-VER 1.8.1", Ok),
        ]],
    ),
    (
        "redis-client (Ruby)",
        &[&[
            ("HELLO 3", Hello),
            ("SELECT 0", Ok),
            ("CLIENT SETINFO LIB-NAME redis-client", Ok),
        ]],
    ),
    (
        "Redisson",
        &[&[
            ("SELECT 0", Ok),
            ("CLIENT SETNAME redisson", Ok),
            ("PING", Text("PONG")),
        ]],
    ),
    (
        "Predis",
        &[&[("SELECT 0", Ok), ("CLIENT SETINFO LIB-NAME predis", Ok)]],
    ),
    (
        "valkey-go with DisableCache",
        &[&[
            ("HELLO 3", Hello),
            ("CLIENT TRACKING ON OPTIN", Ok),
            ("SELECT 0", Ok),
            ("CLIENT NO-EVICT ON", Ok),
            ("CLIENT SETINFO LIB-NAME valkey", Ok),
            ("CLIENT SETINFO LIB-VER 1.0.56", Ok),
        ]],
    ),
    (
        "BullMQ",
        &[
            &[("HELLO 3", Hello)],
            &[("INFO", Text("redis_version:"))],
            &[("INFO", Text("maxmemory_policy:noeviction\r\n"))],
        ],
    ),
    (
        "redis_exporter",
        &[
            &[("PING", Text("PONG"))],
            &[("CLIENT SETNAME redis_exporter", Ok)],
            &[("INFO ALL", Text("cluster_enabled:0\r\n"))],
            &[("CONFIG GET *", List)],
            &[("LATENCY LATEST", List)],
            &[("LATENCY HISTOGRAM", List)],
            &[("SLOWLOG LEN", Int)],
            &[("SLOWLOG GET 1", List)],
            &[("CLIENT LIST", Text("name=redis_exporter"))],
        ],
    ),
];

/// What cluster clients send to a proxy with -cluster-face.
const CLUSTER_CLIENTS: &[(&str, Sequence)] = &[
    (
        "go-redis, redis-py, jedis and node-redis",
        &[
            &[("HELLO 3", Need::List)],
            &[("CLUSTER SLOTS", List)],
            &[("READONLY", Ok)],
            &[("COMMAND", List)],
        ],
    ),
    (
        "lettuce",
        &[&[
            ("CLUSTER NODES", Text("myself,master")),
            ("INFO", Text("cluster_enabled:1\r\n")),
        ]],
    ),
    (
        "ioredis",
        &[
            &[("CLUSTER SLOTS", List)],
            &[("CLUSTER INFO", Text("cluster_state:ok"))],
        ],
    ),
    (
        "redis-rs",
        &[&[
            ("PING", Text("PONG")),
            ("PING", Text("PONG")),
            ("CLUSTER SLOTS", List),
            ("READONLY", Ok),
        ]],
    ),
    (
        "redis-benchmark and redis_exporter",
        &[&[
            ("CLUSTER NODES", Text("0-16383")),
            ("CLUSTER SLOTS", List),
            ("CLUSTER INFO", Text("cluster_slots_ok:16384")),
        ]],
    ),
];

fn suits(need: Need, reply: &Reply) -> bool {
    match need {
        Ok => *reply == Reply::Simple("OK".to_string()),
        Hello => {
            let fields = pairs(reply);
            let has = |name: &str, wanted: &dyn Fn(&Reply) -> bool| {
                fields
                    .iter()
                    .any(|(own, value)| own == name && wanted(value))
            };
            has("server", &|value| *value == "redis")
                && has("version", &|value| value.text().split('.').count() == 3)
                && has("id", &|value| value.int() > 0)
                && has("mode", &|value| *value == "standalone")
                && has("role", &|value| *value == "master")
                && has("proto", &|value| [2, 3].contains(&value.int()))
                && has("modules", &|value| value.items().is_empty())
        }
        Int => matches!(reply, Reply::Int(number) if *number >= 0),
        Text(part) => !reply.is_error() && !reply.is_nil() && reply.text().contains(part),
        Setting(name) => matches!(&pairs(reply)[..], [(own, _)] if own == name),
        List => matches!(reply, Reply::Array(_) | Reply::Map(_)),
        Nil => reply.is_nil(),
        Shrug(start) => reply.error().is_some_and(|error| error.starts_with(start)),
    }
}

fn replay(proxy: &Proxy, name: &str, sequence: Sequence) {
    let mut conn = proxy.conn();
    for batch in sequence {
        let requests: Vec<Vec<&str>> = batch
            .iter()
            .map(|(line, _)| line.split(' ').collect())
            .collect();
        let replies = conn.pipeline(&requests);
        for ((line, need), reply) in batch.iter().zip(&replies) {
            // Redis 7.0 has no SETINFO, and no client minds; a later proxy may have it.
            let old =
                line.contains("SETINFO") && suits(Shrug("ERR unknown subcommand 'SETINFO'"), reply);
            let shown: String = format!("{reply:?}").chars().take(500).collect();
            assert!(
                old || suits(*need, reply),
                "{name}: {line} needs {need:?}, got {shown}"
            );
        }
    }
    // What the program came for. Other tests do the same at the same time, each before a proxy of its own.
    let key = format!("connected:{}", proxy.addr());
    assert_eq!(conn.command(&["SET", &key, name]), "OK");
    assert_eq!(conn.command(&["GET", &key]), name);
}

#[test]
fn every_client_goes_on_after_its_connect_sequence() {
    for (name, sequence) in CLIENTS {
        replay(&ground().proxy, name, sequence);
    }
}

#[test]
fn every_client_goes_on_with_a_password() {
    let cluster = &ground().cluster;
    let proxy = Proxy::start(cluster, &["-client-password", "secret"]);
    let of = |line: &str| -> Vec<String> { line.split(' ').map(ToString::to_string).collect() };
    for (lines, good) in [
        (
            &["HELLO 3 AUTH default secret SETNAME a", "SELECT 0"][..],
            true,
        ),
        (&["AUTH secret", "HELLO 2", "CLIENT SETNAME a"], true),
        (&["AUTH default secret", "SELECT 0", "PING"], true),
        // One reply for each request, also when the password is wrong.
        (&["AUTH wrong", "HELLO 3", "SELECT 0", "PING"], false),
        (&["HELLO 3 AUTH default wrong", "SELECT 0", "INFO"], false),
        (&["CONFIG GET save", "CONFIG GET appendonly"], false),
    ] {
        let mut conn = proxy.conn();
        let requests: Vec<Vec<String>> = lines.iter().map(|line| of(line)).collect();
        let replies = conn.pipeline(&requests);
        assert_eq!(replies.len(), lines.len());
        for (line, reply) in lines.iter().zip(&replies) {
            let prefix = if line.contains("wrong") {
                "WRONGPASS"
            } else {
                "NOAUTH"
            };
            match reply.error() {
                Some(error) => assert!(!good && error.starts_with(prefix), "{line}: {error}"),
                None => assert!(good, "{line}: {reply:?}"),
            }
        }
        assert_eq!(!conn.command(&["GET", "a"]).is_error(), good, "{lines:?}");
    }
}

#[test]
fn cluster_clients_and_tools_go_on_with_the_other_face() {
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let flags = ["-addr", &addr, "-cluster-face", &addr];
    let proxy = Proxy::start(&ground().cluster, &flags);
    for (name, sequence) in CLUSTER_CLIENTS {
        replay(&proxy, name, sequence);
    }
    let all = "ping,set,get,incr,lpush,rpop,sadd,hset,zadd,mset";
    for more in [&["--cluster"][..], &["--cluster", "-3"]] {
        let text = benchmark(&proxy, &[more, &["-n", "2000", "-t", all]].concat());
        assert!(text.contains("Cluster has "), "{text}");
    }
}

/// A program before the proxy; after `limit` seconds it is ended.
fn spawn(limit: u32, program: &str, proxy: &Proxy, args: &[&str], has_input: bool) -> Child {
    let (host, port) = proxy.addr().rsplit_once(':').expect("host:port");
    Command::new("timeout")
        .args([&limit.to_string(), "stdbuf", "-oL", program])
        .args(["-h", host, "-p", port])
        .args(args)
        .stdin(if has_input {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool runs")
}

/// A program that ends by itself, or at the latest after `limit` seconds.
fn run(limit: u32, program: &str, proxy: &Proxy, args: &[&str], input: Option<Vec<u8>>) -> Output {
    let mut child = spawn(limit, program, proxy, args, input.is_some());
    let writer = child.stdin.take().zip(input).map(|(mut stdin, input)| {
        std::thread::spawn(move || stdin.write_all(&input).expect("the tool reads"))
    });
    let output = child.wait_with_output().expect("it ends");
    if let Some(writer) = writer {
        writer.join().expect("all is written");
    }
    output
}

fn text(output: &Output) -> String {
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    of(&output.stdout) + &of(&output.stderr)
}

/// What a tool says that ends well.
#[track_caller]
fn ends_well(program: &str, proxy: &Proxy, args: &[&str], input: Option<Vec<u8>>) -> String {
    let output = run(300, program, proxy, args, input);
    let text = text(&output);
    assert!(output.status.success(), "{program} {args:?}: {text}");
    text
}

fn benchmark(proxy: &Proxy, args: &[&str]) -> String {
    let args = [&["-q", "-c", "10", "-r", "1000"], args].concat();
    let text = ends_well("redis-benchmark", proxy, &args, None);
    let lower = text.to_lowercase();
    assert!(
        !lower.contains("error") && !lower.contains("warning"),
        "{text}"
    );
    assert!(text.contains("GET: "), "{text}");
    text
}

#[test]
fn redis_cli_does_all_it_can() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let mut conn = proxy.conn();
    for number in 0..500 {
        conn.command(&["SET", &format!("key:{number}"), "v"]);
    }
    conn.command(&["SET", "large", &"x".repeat(100_000)]);
    conn.line("RPUSH list a b c");
    conn.line("SADD set a b");
    conn.line("HSET hash a b");
    conn.line("ZADD zset 1 a");
    conn.line("XADD stream * a b");
    let cli = |args: &[&str]| ends_well("redis-cli", &proxy, args, None);

    // Its interactive start is COMMAND DOCS; without a terminal it reads commands and no more.
    let input = b"SET typed 1\nGET typed\nnonsense\n".to_vec();
    let output = ends_well("redis-cli", &proxy, &["-3"], Some(input));
    assert_eq!(output.lines().take(2).collect::<Vec<_>>(), ["OK", "1"]);
    assert!(output.contains("ERR unknown command"), "{output}");
    conn.line("DEL typed");

    let mut scanned: Vec<String> = cli(&["--scan"]).lines().map(ToString::to_string).collect();
    scanned.sort();
    scanned.dedup();
    assert_eq!(scanned.len(), 506);
    assert_eq!(cli(&["--scan", "--pattern", "l*"]).lines().count(), 2);

    let big = cli(&["--bigkeys"]);
    assert!(big.contains("Sampled 506 keys in the keyspace!"), "{big}");
    assert!(
        big.contains("Biggest string found '\"large\"' has 100000 bytes"),
        "{big}"
    );
    assert!(
        big.contains("Biggest   list found '\"list\"' has 3 items"),
        "{big}"
    );
    let mem = cli(&["--memkeys"]);
    assert!(mem.contains("Sampled 506 keys in the keyspace!"), "{mem}");
    assert!(
        mem.contains("Biggest string found '\"large\"' has 1"),
        "{mem}"
    );

    // It has no end of its own.
    let mut stat = spawn(60, "redis-cli", &proxy, &["--stat", "-i", "0.2"], false);
    let lines = BufReader::new(stat.stdout.take().expect("it is piped")).lines();
    let ticks = lines
        .map_while(Result::ok)
        .filter(|line| line.starts_with("506 "));
    assert_eq!(ticks.take(2).count(), 2, "--stat goes on");
    support::signal(stat.id(), "TERM");
    stat.wait().expect("it ends");
    let latency = text(&run(
        60,
        "redis-cli",
        &proxy,
        &["--latency", "-i", "1", "--raw"],
        None,
    ));
    let first = latency.lines().next().unwrap_or_default();
    assert!(
        first.split(' ').count() >= 4 && !latency.contains("rror"),
        "{latency}"
    );
}

/// redis-cli on a terminal of its own, and what it has shown.
struct Terminal {
    child: Child,
    shown: std::sync::mpsc::Receiver<Vec<u8>>,
    text: String,
}

impl Terminal {
    fn open(addr: &str) -> Terminal {
        let (host, port) = addr.rsplit_once(':').expect("host:port");
        // Without a size redis-cli asks the terminal for one, and there is nobody to answer.
        let line = format!("stty cols 120 rows 40; exec redis-cli -3 -h {host} -p {port}");
        let mut child = Command::new("script")
            .args(["-qefc", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env("HOME", std::env::temp_dir())
            .env("REDISCLI_HISTFILE", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("script, of bsdutils, gives redis-cli a terminal");
        let mut stdout = child.stdout.take().expect("it is piped");
        let (sender, shown) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Result::Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal {
            child,
            shown,
            text: String::new(),
        }
    }

    /// Types this, and waits until `expected` is shown behind all that was shown before.
    #[track_caller]
    fn types(&mut self, keys: &str, expected: &str) {
        let from = self.text.len();
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(keys.as_bytes()).expect("it reads");
        self.waits(from, expected);
    }

    /// Types the rest of a line, and waits until `expected` is shown and, behind it, the prompt: what is typed
    /// before that may get lost.
    #[track_caller]
    fn enters(&mut self, keys: &str, expected: &str) {
        self.types(&format!("{keys}\r"), expected);
        let shown = self.text.rfind(expected).expect("it has been shown");
        self.waits(shown + expected.len(), "> ");
    }

    #[track_caller]
    fn waits(&mut self, from: usize, expected: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.text[from..].contains(expected) {
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(rest).ok() {
                Some(bytes) => self.text += &String::from_utf8_lossy(&bytes),
                None => panic!("no {expected:?}: {:?}", &self.text[from..]),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It ends when its terminal does.
        drop(self.child.stdin.take());
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The names, hints and help that it shows are those of the server it talks to: COMMAND DOCS, asked at its start.
#[test]
fn redis_cli_on_a_terminal() {
    let single = support::Server::start(&[]);
    let ground = ground();
    let session = |addr: &str| {
        let mut cli = Terminal::open(addr);
        cli.types("", "> ");
        // A hint behind what is typed, in the words of COMMAND DOCS.
        cli.types("set", "key value [NX|XX]");
        cli.types(" typed 1", "[GET]");
        cli.enters("", "OK\r\n");
        // A subcommand's hint, and a command of which the server does not know.
        cli.types("object freq", "key");
        cli.enters("\u{15}nonsense x", "(error) ERR unknown command 'nonsense'");
        // Completion goes through all commands that begin so.
        cli.types("getr\t", "GETRANGE");
        cli.types("\u{15}xautocl\t", "XAUTOCLAIM");
        let help = "Set the string value of a key and return its old value";
        cli.enters("\u{15}help getset", help);
        cli.enters("hset {h} f v", "(integer) 1");
        cli.enters("hgetall {h}", "1# \"f\" => \"v\"");
        cli.enters("mget typed none", "2) (nil)");
        cli.enters("del {h} typed", "(integer) 2");
        cli.types("quit\r", "");
        let ended = cli.child.wait().expect("it can be waited for");
        assert!(ended.success());
        while let Result::Ok(bytes) = cli.shown.recv_timeout(Duration::from_secs(5)) {
            cli.text += &String::from_utf8_lossy(&bytes);
        }
        cli.text.replace(addr, "ADDRESS")
    };
    assert_eq!(session(ground.proxy.addr()), session(&single.addr()));
}

/// As many commands of many kinds, for keys all over the cluster.
fn mixed(count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..count {
        let key = format!("pipe:{}", number % 10_000);
        let value = number.to_string();
        let apart = format!("pipe:{}", (number + 10) % 10_000);
        let args: &[&str] = match number % 10 {
            0 | 1 => &["SET", &key, &value],
            2 => &["HSET", &key, "f", &value],
            3 => &["ZADD", &key, &value, "m"],
            4 => &["SADD", &key, &value],
            5 => &["INCR", &key],
            6 => &["PING"],
            7 => &["LLEN", &key],
            8 => &["GET", &key],
            _ => &["EXISTS", &key, &apart, "pipe:none"],
        };
        bytes.extend_from_slice(&Conn::encode(args));
    }
    bytes
}

fn pipe(count: usize) {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let output = ends_well("redis-cli", &proxy, &["--pipe"], Some(mixed(count)));
    let last = format!("errors: 0, replies: {count}");
    assert!(output.contains(&last), "{output}");
}

#[test]
fn redis_cli_pipes_mixed_commands() {
    pipe(20_000);
}

#[test]
#[ignore = "a million commands: `make conformance-long` runs it"]
fn redis_cli_pipes_a_million_mixed_commands() {
    pipe(1_000_000);
}

#[test]
fn redis_benchmark_runs_in_both_protocols() {
    let proxy = &ground().proxy;
    let all = "ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange,mset";
    for more in [&[][..], &["-3"], &["-P", "16"]] {
        benchmark(proxy, &[more, &["-n", "1000", "-t", all]].concat());
    }
    // The connection is what it was.
    assert_eq!(proxy.conn().line("PING"), "PONG");
}
