//! The table, held to a real server: every command and subcommand that redis-server knows is sent to one plain
//! server and through the proxy, in RESP2 and RESP3, and the replies are compared byte for byte, but where a
//! sample says what cannot be. A command without a sample and without an entry in the list of exceptions fails
//! the test.

use crate::support::compare::{Field, compare_fields, fields, first_text, kind, shape, sorted};
use crate::support::session::{SESSION, UNORDERED, words};
use crate::support::{self, Cluster, Conn, Port, Proxy, Reply, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

mod namespace;

/// The samples that the session of every family lacks, and what the marks in them mean.
const SAMPLES: &str = include_str!("conformance/samples.txt");

/// Rows that have no reply but errors here, and why: of the proxy, as it cannot answer as one server does; or of
/// that server, too, as nothing can be asked of it that it would do. Containers without a subcommand, which no
/// server answers otherwise, are not here.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "client|caching",
        "it is for a client that has said CLIENT TRACKING ON OPTIN or OPTOUT",
    ),
    (
        "cluster|failover",
        "it is for a replica, and the face is a master",
    ),
    (
        "cluster|forget",
        "the face knows no other node; to forget one behind it changes the cluster",
    ),
    (
        "cluster|replicate",
        "it is for a node without slots, and makes another of a server",
    ),
    (
        "cluster|reset",
        "it would take a server out of the cluster, and make another of it",
    ),
    (
        "failover",
        "it makes a replica of the server; one without replicas refuses it, and so does the proxy",
    ),
    (
        "psync",
        "it turns the connection into a replication stream of one node, which is not the whole",
    ),
    (
        "shutdown",
        "it would stop a server of the cluster, not this proxy",
    ),
    (
        "sync",
        "it turns the connection into a replication stream of one node, which is not the whole",
    ),
];

/// Of a hundred commands and subcommands, so many may be exceptions.
const EXCEPTIONS_MAX: usize = 3;

/// The names of all commands and subcommands, as `COMMAND` says.
fn rows(conn: &mut Conn) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for entry in conn.command(&["COMMAND"]).items() {
        rows.insert(entry.items()[0].text());
        for subcommand in entry.items()[9].items() {
            rows.insert(subcommand.items()[0].text());
        }
    }
    rows
}

/// Which of the rows a command is.
fn row_of<'a>(rows: &'a BTreeSet<String>, words: &[String]) -> Option<&'a str> {
    let name = words[0].to_lowercase();
    let subcommand = words
        .get(1)
        .and_then(|word| rows.get(&format!("{name}|{}", word.to_lowercase())));
    subcommand.or_else(|| rows.get(&name)).map(String::as_str)
}

/// How the replies to a sample are compared.
#[derive(Debug, Default)]
struct Marks {
    unordered: bool,
    shape: bool,
    kind: bool,
    scan: bool,
    alone: bool,
    unanswered: bool,
    awaited: bool,
    only_errors: bool,
    cluster_face: bool,
    one_node: bool,
    databases: bool,
    fields: bool,
}

impl Marks {
    /// The marks before a command, and the command.
    fn split(line: &str) -> (Marks, &str) {
        let mut marks = Marks::default();
        let (before, command) = match line.split_once(' ') {
            Some((first, rest)) if !first.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                (first, rest)
            }
            _ => ("", line),
        };
        for mark in before.chars() {
            match mark {
                '~' => marks.unordered = true,
                '%' => marks.shape = true,
                '^' => marks.kind = true,
                '>' => marks.scan = true,
                '@' => marks.alone = true,
                '&' => marks.unanswered = true,
                '<' => marks.awaited = true,
                '!' => marks.only_errors = true,
                '=' => marks.cluster_face = true,
                '*' => marks.one_node = true,
                '+' => marks.databases = true,
                '?' => marks.fields = true,
                other => panic!("{line}: the mark {other}"),
            }
        }
        (marks, command)
    }
}

/// One of the two that are compared.
struct Side {
    addr: String,
    protocol: &'static str,
    conn: Conn,
    /// The first text in the reply before.
    last: Vec<u8>,
    /// It still waits for its reply.
    busy: Option<Conn>,
}

/// A reply that can be compared, and whether it is an error.
struct Seen {
    text: String,
    is_error: bool,
    fields: Vec<Field>,
}

impl Side {
    fn new(addr: &str, protocol: &'static str) -> Side {
        Side {
            addr: addr.to_string(),
            protocol,
            conn: open(addr, protocol),
            last: Vec::new(),
            busy: None,
        }
    }

    fn ask(&mut self, marks: &Marks, words: &[String]) -> Seen {
        let mut args: Vec<Vec<u8>> = words
            .iter()
            .map(|word| match word.as_str() {
                "$" => self.last.clone(),
                "OWN" => self.addr.rsplit(':').next().unwrap_or_default().into(),
                other => other.replace("\\n", "\n").into_bytes(),
            })
            .collect();
        if marks.awaited {
            let (reply, bytes) = self
                .busy
                .take()
                .expect("a request before it")
                .frame()
                .unwrap_or_else(|error| panic!("{words:?}: {error}"));
            return seen(bytes.escape_ascii().to_string(), reply.is_error());
        }
        if marks.alone || marks.unanswered {
            let mut conn = open(&self.addr, self.protocol);
            conn.send(Conn::encode(&args));
            if marks.unanswered {
                // Until the server is busy with it.
                std::thread::sleep(Duration::from_millis(300));
                self.busy = Some(conn);
                return seen("not waited for".to_string(), false);
            }
            return alone(conn);
        }
        if marks.scan {
            return self.scan(&mut args);
        }
        self.conn.send(Conn::encode(&args));
        let (reply, bytes) = self
            .conn
            .frame()
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
        self.last = first_text(&reply).unwrap_or_default();
        let is_error = reply.is_error();
        let text = if is_error {
            String::from_utf8_lossy(&bytes).into_owned()
        } else if marks.fields {
            return Seen {
                text: kind(&reply),
                is_error,
                fields: fields(&reply),
            };
        } else if marks.kind {
            kind(&reply)
        } else if marks.shape {
            shape(&reply)
        } else if marks.unordered {
            format!("{:?}", sorted(reply))
        } else {
            bytes.escape_ascii().to_string()
        };
        seen(text, is_error)
    }

    fn scan(&mut self, args: &mut [Vec<u8>]) -> Seen {
        let at = if args[0] == b"SCAN" { 1 } else { 2 };
        let mut elements = Vec::new();
        for _ in 0..10_000 {
            let reply = self.conn.command(args);
            if reply.is_error() {
                return seen(format!("{reply:?}"), true);
            }
            elements.extend_from_slice(reply.items()[1].items());
            args[at] = reply.items()[0].text().into_bytes();
            if args[at] == b"0" {
                return seen(format!("{:?}", sorted(Reply::Array(elements))), false);
            }
        }
        panic!("a scan without an end");
    }
}

fn seen(text: String, is_error: bool) -> Seen {
    Seen {
        text,
        is_error,
        fields: Vec::new(),
    }
}

fn open(addr: &str, protocol: &str) -> Conn {
    let mut conn = Conn::connect(addr);
    conn.set_deadline(Duration::from_secs(30));
    assert!(!conn.command(&["HELLO", protocol]).is_error());
    conn
}

/// What a new connection gets for the one request it has sent, and for a PING; and whether it is then closed.
fn alone(mut conn: Conn) -> Seen {
    let first = conn.read_frame();
    // The server may have closed already.
    conn.try_send(&Conn::encode(&["PING"])).ok();
    let next = match conn.frame() {
        Ok((_, bytes)) => bytes,
        Err(_) => b"closed".to_vec(),
    };
    let mut next = next.escape_ascii().to_string();
    if next.contains("\\\"PING\\\"") {
        next = "monitored".to_string();
    }
    let is_error = first.starts_with(b"-");
    seen(format!("{}, then {next}", first.escape_ascii()), is_error)
}

/// What the comparison has found.
#[derive(Default)]
struct Found {
    /// Whether a row had a reply that is no error; each row that was compared is here.
    rows: BTreeMap<String, bool>,
    only_errors: BTreeSet<String>,
    lines: usize,
    exact: usize,
    fields: usize,
    wrong: Vec<String>,
}

/// The words of a sample, with the port of another server and the file of a module where it says so.
fn sample_words(command: &str, other: &Server) -> Vec<String> {
    let words = words(command).into_iter();
    words
        .map(|word| match word.as_str() {
            "PORT" => other.port().to_string(),
            "FILE" => support::module::file().to_string(),
            _ => word,
        })
        .collect()
}

#[test]
fn every_command_is_answered_as_by_one_server() {
    let defaults = ["--enable-module-command", "yes", "--aclfile", "users.acl"];
    let single = Server::start(&defaults);
    // PFSELFTEST keeps a node busy for a second or more: no reason to give it up for dead.
    let patient = [&defaults[..], &["--cluster-node-timeout", "15000"]].concat();
    let cluster = Cluster::start_with(3, 0, &patient);
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users.acl");
    std::fs::write(&users, "").expect("written");
    let users = users.to_str().expect("plain");
    let proxy = Proxy::start(&cluster, &["-acl-file", users]);
    let other = Server::start(&[]);
    let of_one = cluster_of_one(&defaults, "1");
    let port = Port::reserve();
    let face = format!("127.0.0.1:{}", port.number());
    let faced = Proxy::start(&cluster, &["-addr", &face, "-cluster-face", &face]);
    // Two clusters of one node without a config epoch, and a face before one of them.
    let (behind, beside) = (cluster_of_one(&[], "0"), cluster_of_one(&[], "0"));
    let face_of_one = Proxy::spawn(&[behind.addr()], &["-cluster-face", "127.0.0.1:1"], &[]);
    face_of_one.wait_until_answering();
    let with_databases = support::databases::cluster(&["16", "16"]);
    let addrs: Vec<String> = with_databases
        .iter()
        .map(|node| node.addr.to_string())
        .collect();
    let many_databases = Proxy::spawn(&addrs, &[], &[]);
    let one_with_many = Server::start(&[]);
    support::wait_for("the databases", Duration::from_secs(20), || {
        let mut conn = many_databases.conn();
        (conn.line("SELECT 1") == "OK").then_some(())
    });

    let rows = rows(&mut single.conn());
    let mut found = Found::default();
    for protocol in ["2", "3"] {
        for addr in [&single.addr(), proxy.addr()] {
            let reply = open(addr, protocol).command(&["FLUSHALL"]);
            if reply != "OK" {
                found
                    .wrong
                    .push(format!("RESP{protocol}: {addr}: FLUSHALL is {reply:?}"));
            }
        }
        let mut pair = [proxy.addr(), &single.addr()].map(|addr| Side::new(addr, protocol));
        let mut cluster_pair = [faced.addr(), &of_one.addr()].map(|addr| Side::new(addr, protocol));
        let mut pair_of_one =
            [face_of_one.addr(), &beside.addr()].map(|addr| Side::new(addr, protocol));
        let mut pair_of_databases =
            [many_databases.addr(), &one_with_many.addr()].map(|addr| Side::new(addr, protocol));
        for (text, is_session) in [(SESSION, true), (SAMPLES, false)] {
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let (mut marks, command) = Marks::split(line);
                let words = sample_words(command, &other);
                marks.unordered |= is_session && UNORDERED.contains(&words[0].as_str());
                let sides = match marks {
                    Marks { one_node: true, .. } => &mut pair_of_one,
                    Marks {
                        databases: true, ..
                    } => &mut pair_of_databases,
                    Marks {
                        cluster_face: true, ..
                    } => &mut cluster_pair,
                    _ => &mut pair,
                };
                compare(&mut found, &rows, sides, &marks, &words, line);
            }
        }
    }
    judge(&rows, &found);
}

/// A server that is a cluster by itself, with this config epoch.
fn cluster_of_one(args: &[&str], epoch: &str) -> Server {
    let server = Server::start(&[args, &["--cluster-enabled", "yes"]].concat());
    let mut conn = server.conn();
    if epoch != "0" {
        conn.command(&["CLUSTER", "SET-CONFIG-EPOCH", epoch]);
    }
    conn.line("CLUSTER ADDSLOTSRANGE 0 16383");
    support::wait_for("a cluster of one", Duration::from_secs(20), || {
        let info = conn.command(&["CLUSTER", "INFO"]).text();
        info.contains("cluster_state:ok").then_some(())
    });
    server
}

fn compare(
    found: &mut Found,
    rows: &BTreeSet<String>,
    sides: &mut [Side; 2],
    marks: &Marks,
    words: &[String],
    line: &str,
) {
    let [ours, theirs] = sides;
    let protocol = ours.protocol;
    let (our, their) = (ours.ask(marks, words), theirs.ask(marks, words));
    if marks.unanswered {
        return;
    }
    found.lines += 1;
    found.exact += usize::from(!marks.shape && !marks.kind && !marks.fields);
    for fault in compare_fields(&our.fields, &their.fields) {
        found.wrong.push(format!("RESP{protocol}: {line}: {fault}"));
    }
    found.fields += their.fields.len();
    if our.text != their.text {
        let cut = |text: &str| text.chars().take(1500).collect::<String>();
        let (ours, theirs) = (cut(&our.text), cut(&their.text));
        let wrong = format!("RESP{protocol}: {line}\n   proxy {ours}\n   redis {theirs}");
        found.wrong.push(wrong);
    }
    if marks.only_errors && !their.is_error {
        let wrong = format!("RESP{protocol}: {line}\n   redis has more than errors for it");
        found.wrong.push(wrong);
    }
    if let Some(row) = row_of(rows, words) {
        let good = found.rows.entry(row.to_string()).or_default();
        *good |= !our.is_error && !their.is_error;
        if marks.only_errors {
            found.only_errors.insert(row.to_string());
        }
    }
}

/// Whether this row does nothing but hold subcommands: `COMMAND` says that it takes one.
fn is_container(rows: &BTreeSet<String>, row: &str) -> bool {
    row != "command" && subcommands(rows, row).next().is_some()
}

fn subcommands<'a>(rows: &'a BTreeSet<String>, row: &str) -> impl Iterator<Item = &'a String> {
    let start = format!("{row}|");
    rows.iter().filter(move |name| name.starts_with(&start))
}

fn judge(rows: &BTreeSet<String>, found: &Found) {
    let mut wrong = found.wrong.clone();
    let exceptions: BTreeMap<&str, &str> = EXCEPTIONS.iter().copied().collect();
    let (mut good, mut containers) = (0, Vec::new());
    for row in rows {
        let row = row.as_str();
        let excused = exceptions.contains_key(row);
        let marked = found.only_errors.contains(row);
        match found.rows.get(row) {
            Some(true) if excused || marked => {
                wrong.push(format!("{row} is answered and needs no excuse"));
            }
            Some(true) => good += 1,
            // What is tested is what is excused: each has at least an error to be compared.
            Some(false) if excused => {}
            Some(false) if marked && is_container(rows, row) => {
                let unseen = subcommands(rows, row).find(|name| {
                    !exceptions.contains_key(&***name) && found.rows.get(*name) != Some(&true)
                });
                if let Some(name) = unseen {
                    wrong.push(format!("{row} is not seen without {name}"));
                }
                containers.push(row);
            }
            Some(false) => wrong.push(format!("{row} has errors only")),
            None => wrong.push(format!("{row} has no sample")),
        }
    }
    for row in exceptions.keys().filter(|row| !rows.contains(**row)) {
        wrong.push(format!("{row} is no command of this server"));
    }
    println!(
        "{} commands and subcommands; {} comparisons, {} of them byte for byte",
        rows.len(),
        found.lines,
        found.exact
    );
    println!("{} fields compared by name, kind and order", found.fields);
    println!("{good} with a reply that is no error");
    println!(
        "{} containers, which the server alone answers with an error: {containers:?}",
        containers.len()
    );
    println!(
        "{} exceptions of {}, which is {:.1} %; at most {EXCEPTIONS_MAX} % may be:",
        exceptions.len(),
        rows.len(),
        exceptions.len() as f64 * 100.0 / rows.len() as f64
    );
    for (row, reason) in &exceptions {
        println!("   {row}: {reason}");
    }
    // Nothing is left that is neither.
    assert_eq!(
        good + containers.len() + exceptions.len(),
        rows.len(),
        "{wrong:?}"
    );
    if exceptions.len() * 100 > rows.len() * EXCEPTIONS_MAX {
        wrong.push(format!("more than {EXCEPTIONS_MAX} % are exceptions"));
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// A script that does not end is ended from another connection, and its own client is told so.
#[test]
fn a_busy_script_is_killed() {
    let cluster = Cluster::start_with(1, 0, &["--busy-reply-threshold", "10"]);
    let proxy = Proxy::start(&cluster, &[]);
    let mut busy = proxy.conn();
    busy.send(Conn::encode(&["EVAL", "while true do end", "0"]));
    let port = cluster.ports()[0];
    support::wait_for("the server to be busy", Duration::from_secs(20), || {
        cluster.raw(port).line("PING").is_error().then_some(())
    });
    let killed = proxy.conn().command(&["SCRIPT", "KILL"]);
    // Whatever came of it, the server is not to stay busy.
    cluster.raw(port).command(&["SCRIPT", "KILL"]);
    assert_eq!(killed, "OK");
    assert!(busy.read_reply().is_error());
}

/// A module is loaded on every node, replicas included, and its commands are served as soon as they are known.
#[test]
fn a_module_is_loaded_everywhere() {
    let cluster = Cluster::start_with(2, 1, &["--enable-module-command", "local"]);
    let proxy = Proxy::start(&cluster, &[]);
    let mut conn = proxy.conn();
    let path = support::module::file();
    support::wait_for("all nodes to be known", Duration::from_secs(20), || {
        let fields = conn.line("PROXY EXPLAIN MODULE LOAD x");
        let nodes = fields.items().last()?.items().len();
        (nodes == cluster.ports().len()).then_some(())
    });
    assert_eq!(conn.command(&["MODULE", "LOAD", path]), "OK");
    for port in cluster.ports() {
        let modules = cluster.raw(port).line("MODULE LIST");
        assert_eq!(modules.items().len(), 1, "{port}: {modules:?}");
    }
    support::wait_for("the module's command", Duration::from_secs(20), || {
        (conn.line("PROBE.ECHO hi") == "hi").then_some(())
    });
    assert_eq!(conn.line("MODULE UNLOAD probe"), "OK");
    for port in cluster.ports() {
        assert!(cluster.raw(port).line("MODULE LIST").items().is_empty());
    }
    // A server that lets nobody do it says so itself.
    let cluster = Cluster::start(1, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let load = ["MODULE", "LOAD", path];
    let own = cluster.raw(cluster.masters()[0]).command(&load);
    assert!(
        own.error()
            .is_some_and(|text| text.starts_with("ERR MODULE command not allowed"))
    );
    assert_eq!(proxy.conn().command(&load), own);
}
