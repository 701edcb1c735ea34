//! CLIENT, RESET and MONITOR through a proxy of two workers: what is deterministic is compared with one
//! redis-server byte for byte, the rest is looked at.

use crate::support::{Cluster, Conn, Proxy, Reply, Single, wait_for};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// One cluster for all; each test has a proxy, and a server, of its own: CLIENT and MONITOR see everybody.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(3, 0));

fn proxy(flags: &[&str]) -> Proxy {
    Proxy::start(&CLUSTER, &[&["-max-procs", "2"], flags].concat())
}

fn words(line: &str) -> Vec<String> {
    // A tilde stands for a space within a word.
    line.split(' ').map(|word| word.replace('~', " ")).collect()
}

/// The same lines to both, each line's replies read to a PING behind them; the bytes must be the same.
fn same(ours: &mut Conn, theirs: &mut Conn, line: &str) {
    let frames = |conn: &mut Conn| {
        conn.send(Conn::encode(&words(line)));
        conn.send(Conn::encode(&["ECHO", "the end"]));
        let mut replies: Vec<String> = Vec::new();
        while replies.len() < 3 {
            let frame = String::from_utf8_lossy(&conn.read_frame()).into_owned();
            let last = frame.ends_with("the end\r\n");
            replies.push(frame);
            if last {
                break;
            }
        }
        replies
    };
    assert_eq!(frames(ours), frames(theirs), "{line}");
}

fn number(conn: &mut Conn) -> i64 {
    conn.line("CLIENT ID").int()
}

/// So many connections that both workers have some: the kernel spreads them by chance.
fn many(proxy: &Proxy) -> Vec<Conn> {
    (0..16).map(|_| proxy.conn()).collect()
}

fn field(line: &str, name: &str) -> String {
    let start = format!("{name}=");
    line.split_whitespace()
        .find_map(|field| field.strip_prefix(&start))
        .unwrap_or_else(|| panic!("no {name} in {line}"))
        .to_string()
}

#[test]
fn replies_are_those_of_redis() {
    let proxy = proxy(&[]);
    let single = Single::start();
    let lines = [
        "CLIENT",
        "CLIENT FOO",
        "CLIENT ID x",
        "CLIENT LIST TYPE slave",
        "CLIENT LIST TYPE replica",
        "CLIENT LIST TYPE master",
        "CLIENT LIST TYPE pubsub",
        "CLIENT LIST TYPE foo",
        "CLIENT LIST ID",
        "CLIENT LIST ID 99999999",
        "CLIENT LIST ID 0",
        "CLIENT LIST ID -1",
        "CLIENT LIST ID a",
        "CLIENT LIST ID 1.5",
        "CLIENT LIST ID 1 a",
        "CLIENT LIST TYPE",
        "CLIENT LIST foo bar",
        "CLIENT LIST foo",
        "CLIENT LIST TYPE normal ID 3",
        "CLIENT KILL",
        "CLIENT KILL 1.2.3.4:5",
        "CLIENT KILL ID",
        "CLIENT KILL ID 99999999",
        "CLIENT KILL ID 0",
        "CLIENT KILL ID -1",
        "CLIENT KILL ID abc",
        "CLIENT KILL ID 99999999999999999999",
        "CLIENT KILL TYPE foo",
        "CLIENT KILL TYPE pubsub",
        "CLIENT KILL TYPE master FOO",
        "CLIENT KILL USER nobody",
        "CLIENT KILL USER default ID 99999999",
        "CLIENT KILL SKIPME foo",
        "CLIENT KILL ADDR 1.2.3.4:5",
        "CLIENT KILL LADDR 1.2.3.4:5",
        "CLIENT KILL MAXAGE 100",
        "CLIENT KILL ID 99999999 SKIPME",
        "CLIENT KILL ID 99999999 FOO bar",
        "CLIENT KILL ID 99999999 SKIPME no",
        "CLIENT SETNAME a~b",
        "CLIENT SETNAME foo",
        "CLIENT GETNAME",
        "CLIENT GETNAME x",
        "CLIENT SETNAME ",
        "CLIENT GETNAME",
        "CLIENT SETNAME",
        "CLIENT REPLY",
        "CLIENT REPLY foo",
        "CLIENT REPLY ON",
        "CLIENT PAUSE",
        "CLIENT PAUSE 1 2",
        "CLIENT PAUSE 1 2 3",
        "CLIENT PAUSE a",
        "CLIENT PAUSE -1",
        "CLIENT PAUSE 99999999999999999999",
        "CLIENT PAUSE 9223372036854775807",
        "CLIENT PAUSE 0",
        "CLIENT PAUSE 1 write",
        "CLIENT PAUSE 1 ALL",
        "CLIENT UNPAUSE",
        "CLIENT UNPAUSE x",
        "CLIENT NO-EVICT",
        "CLIENT NO-EVICT foo",
        "CLIENT NO-EVICT on",
        "CLIENT NO-EVICT off",
        "CLIENT GETREDIR",
        "CLIENT GETREDIR x",
        "CLIENT TRACKINGINFO",
        "CLIENT CACHING",
        "CLIENT CACHING yes",
        "CLIENT CACHING foo",
        "CLIENT TRACKING",
        "CLIENT TRACKING foo",
        "CLIENT TRACKING off",
        "CLIENT TRACKING off foo",
        "CLIENT TRACKING on REDIRECT x",
        "CLIENT TRACKING on foo",
        "CLIENT UNBLOCK",
        "CLIENT UNBLOCK 99999999",
        "CLIENT UNBLOCK a",
        "CLIENT UNBLOCK a foo",
        "CLIENT UNBLOCK 99999999 ERROR",
        "CLIENT UNBLOCK 99999999 timeout x",
        "CLIENT HELP",
        "CLIENT HELP x",
        "RESET x",
        "MONITOR x",
    ];
    for hello in ["HELLO 2", "HELLO 3"] {
        let (mut ours, mut theirs) = (proxy.conn(), single.conn());
        ours.line(hello);
        theirs.line(hello);
        for line in lines {
            same(&mut ours, &mut theirs, line);
        }
    }
}

#[test]
fn what_7_0_does_not_have_is_answered_as_by_later_servers() {
    let proxy = proxy(&[]);
    let mut conn = proxy.conn();
    let mut check = |line: &str, expected: &str| {
        conn.send(Conn::encode(&words(line)));
        let got = String::from_utf8_lossy(&conn.read_frame()).into_owned();
        assert_eq!(got.trim_end(), expected, "{line}");
    };
    check("CLIENT SETINFO lib-name a", "+OK");
    check("CLIENT SETINFO LIB-VER 1", "+OK");
    check("CLIENT SETINFO foo a", "-ERR Unrecognized option 'foo'");
    check(
        "CLIENT SETINFO LIB-NAME a~b",
        "-ERR LIB-NAME cannot contain spaces, newlines or special characters.",
    );
    check("CLIENT NO-TOUCH on", "+OK");
    check("CLIENT NO-TOUCH x", "-ERR syntax error");
    check("CLIENT CAPA redirect", "+OK");
    check(
        "CLIENT IMPORT-SOURCE on",
        "-ERR Server is not in import mode",
    );
    check("CLIENT IMPORT-SOURCE off", "+OK");
    let line = conn.line("CLIENT INFO").text();
    assert_eq!(field(&line, "lib-name"), "a");
    assert_eq!(field(&line, "lib-ver"), "1");
    assert_eq!(field(&line, "flags"), "T");
}

#[test]
fn replies_are_muted_in_order() {
    let proxy = proxy(&[]);
    let single = Single::start();
    let stories: &[&[&str]] = &[
        &["CLIENT REPLY SKIP", "PING a", "PING b"],
        &["CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "PING a", "PING b"],
        &["CLIENT REPLY SKIP", "CLIENT REPLY ON", "PING a", "PING b"],
        &[
            "CLIENT REPLY OFF",
            "PING a",
            "FOO",
            "CLIENT REPLY SKIP",
            "GET",
            "CLIENT REPLY ON",
            "PING b",
        ],
        &[
            "CLIENT REPLY OFF",
            "CLIENT REPLY SKIP",
            "CLIENT REPLY ON",
            "PING b",
        ],
        &[
            "CLIENT REPLY SKIP",
            "CLIENT REPLY OFF",
            "PING",
            "CLIENT REPLY ON",
            "PING b",
        ],
        &["CLIENT REPLY OFF", "RESET", "PING b"],
        &["CLIENT REPLY SKIP", "RESET", "PING b"],
        &["CLIENT REPLY SKIP", "FOO", "PING b"],
        &[
            "SET m 1",
            "CLIENT REPLY SKIP",
            "INCR m",
            "GET m",
            "CLIENT REPLY OFF",
            "INCR m",
            "MGET m n o",
            "CLIENT REPLY ON",
            "GET m",
            "MSET a 1 b 2",
            "CLIENT REPLY SKIP",
            "MGET a b",
            "MGET a b",
        ],
        &[
            "CLIENT REPLY OFF",
            "CLIENT LIST",
            "CLIENT REPLY ON",
            "CLIENT REPLY SKIP",
            "CLIENT LIST",
            "PING x",
        ],
    ];
    for story in stories {
        let told = |mut conn: Conn| {
            let bytes: Vec<u8> = story
                .iter()
                .flat_map(|line| Conn::encode(&words(line)))
                .collect();
            conn.send(bytes);
            conn.finish().expect("it can be closed for writing");
            String::from_utf8_lossy(&conn.read_to_close().expect("it is closed")).into_owned()
        };
        assert_eq!(told(proxy.conn()), told(single.conn()), "{story:?}");
    }
    let mut conn = proxy.conn();
    conn.send(Conn::encode(&["CLIENT", "REPLY", "OFF"]));
    conn.send(Conn::encode(&["QUIT"]));
    assert_eq!(conn.read_to_close().expect("it is closed"), b"");
}

#[test]
fn the_list_shows_clients_of_all_workers() {
    let proxy = proxy(&[]);
    let single = Single::start();
    let mut conns = many(&proxy);
    let numbers: Vec<i64> = conns.iter_mut().map(number).collect();
    for (index, conn) in conns.iter_mut().enumerate() {
        assert!(conn.line(&format!("CLIENT SETNAME name-{index}")) == "OK");
    }
    conns[3].line("HELLO 3");
    conns[3].line("GET list:key");
    let text = conns[0].line("CLIENT LIST").text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 16);
    let listed: Vec<i64> = lines
        .iter()
        .map(|line| field(line, "id").parse().unwrap())
        .collect();
    // They are in the order in which they came, which is that of their numbers.
    assert!(listed.is_sorted());
    let lines: Vec<&str> = numbers
        .iter()
        .map(|number| {
            lines[listed
                .iter()
                .position(|id| id == number)
                .expect("it is listed")]
        })
        .collect();
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(field(line, "name"), format!("name-{index}"));
        assert_eq!(field(line, "laddr"), proxy.addr());
        assert_eq!(field(line, "user"), "default");
        assert!(field(line, "fd").parse::<i32>().unwrap() > 0);
        assert!(field(line, "age").parse::<u64>().unwrap() < 60);
        assert!(field(line, "tot-net-in").parse::<u64>().unwrap() > 0);
    }
    assert_eq!(field(lines[3], "resp"), "3");
    assert_eq!(field(lines[3], "cmd"), "get");
    assert_eq!(field(lines[0], "cmd"), "client|list");
    assert_eq!(field(lines[1], "resp"), "2");
    // In the order asked for, as often as asked for.
    let line = format!(
        "CLIENT LIST ID {} {} {}",
        numbers[9], numbers[1], numbers[9]
    );
    let text = conns[5].line(&line).text();
    let listed: Vec<i64> = text
        .lines()
        .map(|line| field(line, "id").parse().unwrap())
        .collect();
    assert_eq!(listed, [numbers[9], numbers[1], numbers[9]]);
    // The fields of Redis, in their order.
    let names = |text: &str| -> Vec<String> {
        let line = text.lines().next().unwrap();
        line.split(' ')
            .map(|field| field.split('=').next().unwrap().to_string())
            .collect()
    };
    let theirs = names(&single.conn().line("CLIENT INFO").text());
    let ours = names(&conns[0].line("CLIENT INFO").text());
    assert_eq!(ours[..theirs.len()], theirs);
    // Idle grows, age too.
    let line = format!("CLIENT LIST ID {}", numbers[7]);
    wait_for("a client to be idle", LIMIT, || {
        let text = conns[0].line(&line).text();
        let (age, idle) = (field(&text, "age"), field(&text, "idle"));
        (idle != "0" && age != "0").then_some(())
    });
}

#[test]
fn clients_are_killed_whichever_worker_they_are_with() {
    let proxy = proxy(&[]);
    let mut conns = many(&proxy);
    let numbers: Vec<i64> = conns.iter_mut().map(number).collect();
    let own_addr = |conn: &mut Conn| field(&conn.line("CLIENT INFO").text(), "addr");
    for victim in [4, 5, 6] {
        let line = format!("CLIENT KILL ID {}", numbers[victim]);
        assert_eq!(conns[0].line(&line), Reply::Int(1));
        assert_eq!(conns[victim].read_to_close().unwrap_or_default(), b"");
        assert_eq!(conns[0].line(&line), Reply::Int(0));
    }
    let addr = own_addr(&mut conns[7]);
    assert!(conns[0].line(&format!("CLIENT KILL {addr}")) == "OK");
    assert_eq!(conns[7].read_to_close().unwrap_or_default(), b"");
    let addr = own_addr(&mut conns[8]);
    assert_eq!(
        conns[0].line(&format!("CLIENT KILL ADDR {addr} TYPE normal")),
        Reply::Int(1)
    );
    // Nobody kills itself unless it says so.
    let line = format!("CLIENT KILL ID {}", numbers[1]);
    assert_eq!(conns[1].line(&line), Reply::Int(0));
    // Whoever does is told first, and what it sent behind that is not executed.
    let mut bytes = Conn::encode(&["PING"]);
    bytes.extend(Conn::encode(&words(&format!("{line} SKIPME no"))));
    bytes.extend(Conn::encode(&["PING"]));
    conns[1].send(bytes);
    assert_eq!(
        conns[1].read_to_close().expect("it is closed"),
        b"+PONG\r\n:1\r\n"
    );
    let addr = own_addr(&mut conns[2]);
    conns[2].send(Conn::encode(&["CLIENT", "KILL", &addr]));
    assert_eq!(conns[2].read_to_close().expect("it is closed"), b"+OK\r\n");
    // All others: 16 less 3, 1, 1, 2, and the one that asks.
    let line = format!("CLIENT KILL LADDR {} USER default", proxy.addr());
    assert_eq!(conns[0].line(&line), Reply::Int(8));
    assert_eq!(conns[0].line("CLIENT LIST").text().lines().count(), 1);
}

#[test]
fn a_pause_holds_writes_or_all_and_is_lifted() {
    let proxy = proxy(&[]);
    let mut boss = proxy.conn();
    let mut conns = many(&proxy);
    let flags_of = |boss: &mut Conn, number: i64| {
        field(
            &boss.line(&format!("CLIENT LIST ID {number}")).text(),
            "flags",
        )
    };
    let numbers: Vec<i64> = conns.iter_mut().map(number).collect();
    // Writes wait, reads do not, order is kept.
    assert!(boss.line("CLIENT PAUSE 600000 WRITE") == "OK");
    for (index, conn) in conns.iter_mut().enumerate() {
        assert!(!conn.line("GET pause:none").is_error());
        conn.send(Conn::encode(&["SET", &format!("pause:{index}"), "1"]));
        conn.send(Conn::encode(&["INCR", &format!("pause:{index}")]));
        conn.send(Conn::encode(&["PING"]));
    }
    for number in &numbers {
        wait_for("a client to be paused", LIMIT, || {
            (flags_of(&mut boss, *number) == "b").then_some(())
        });
    }
    assert!(
        boss.line("MGET pause:0 pause:1")
            .items()
            .iter()
            .all(Reply::is_nil)
    );
    assert!(boss.line("CLIENT UNPAUSE") == "OK");
    for conn in &mut conns {
        assert!(conn.read_reply() == "OK");
        assert_eq!(conn.read_reply(), Reply::Int(2));
        assert!(conn.read_reply() == "PONG");
    }
    // All waits, errors of form excepted; the time ends it.
    let start = Instant::now();
    assert!(boss.line("CLIENT PAUSE 300") == "OK");
    assert!(conns[0].line("GET").is_error());
    for conn in &mut conns {
        assert!(conn.line("PING") == "PONG");
        assert!(start.elapsed() >= Duration::from_millis(300));
    }
    // A client that leaves while it is paused is forgotten, one that half-closes is answered.
    assert!(boss.line("CLIENT PAUSE 600000 WRITE") == "OK");
    let mut half = proxy.conn();
    half.send(Conn::encode(&["SET", "pause:half", "1"]));
    half.finish().expect("it can be closed for writing");
    let mut gone = proxy.conn();
    let number = number(&mut gone);
    gone.send(Conn::encode(&["SET", "pause:gone", "1"]));
    wait_for("it to be paused", LIMIT, || {
        (flags_of(&mut boss, number) == "b").then_some(())
    });
    drop(gone);
    assert!(boss.line("CLIENT UNPAUSE") == "OK");
    assert_eq!(half.read_to_close().expect("it is closed"), b"+OK\r\n");
}

#[test]
fn reset_makes_a_new_client_of_an_old_one() {
    let proxy = proxy(&["-client-password", "sesame"]);
    let mut conn = proxy.conn();
    assert!(conn.line("AUTH sesame") == "OK");
    conn.line("HELLO 3 SETNAME me");
    assert!(conn.line("CLIENT SETINFO lib-name lib") == "OK");
    assert!(conn.line("RESET") == "RESET");
    assert!(conn.line("PING").error().unwrap().starts_with("NOAUTH"));
    assert!(conn.line("AUTH sesame") == "OK");
    assert_eq!(conn.line("CLIENT GETNAME"), Reply::NilBulk);
    let line = conn.line("CLIENT INFO").text();
    assert_eq!(
        (field(&line, "resp"), field(&line, "lib-name")),
        ("2".into(), "lib".into())
    );
}

/// A monitor's next line without the time and the address.
fn shown(monitor: &mut Conn) -> String {
    let line = match monitor.read_reply() {
        Reply::Simple(line) => line,
        other => panic!("no line: {other:?}"),
    };
    let (time, rest) = line.split_once(' ').expect("a time");
    let (seconds, micros) = time.split_once('.').expect("a fraction");
    assert!(
        seconds.parse::<u64>().unwrap() > 1_700_000_000 && micros.len() == 6,
        "{line}"
    );
    let (origin, words) = rest.split_once("] ").expect("an origin");
    assert!(origin.starts_with("[0 127.0.0.1:"), "{line}");
    words.to_string()
}

#[test]
fn monitors_see_what_all_clients_send() {
    let proxy = proxy(&[]);
    let single = Single::start();
    let lines = [
        "PING",
        "SET mon:k \u{7}\"\\x",
        "AUTH x",
        "AUTH default y",
        "HELLO 3 AUTH default zz SETNAME n",
        "HELLO 2 SETNAME n",
        "CONFIG GET save",
        "CLIENT LIST",
        "CLIENT SETNAME q",
        "foo bar",
        "GET",
        "EVAL return~1 0",
        "INFO server",
        "CLIENT REPLY ON",
        "ROLE",
        "TIME",
        "CLIENT PAUSE 0",
        "KEYS nothing",
        "GET ",
        "RESET",
    ];
    let story = |mut monitor: Conn, mut conn: Conn| {
        assert!(monitor.line("MONITOR") == "OK");
        lines.iter().for_each(|line| {
            conn.command(&words(line));
        });
        conn.line("ECHO end");
        let mut seen = Vec::new();
        while seen
            .last()
            .is_none_or(|line: &String| !line.contains("\"end\""))
        {
            seen.push(shown(&mut monitor));
        }
        seen
    };
    assert_eq!(
        story(proxy.conn(), proxy.conn()),
        story(single.conn(), single.conn())
    );
    // Each of several monitors sees the requests of every client, of the other worker, too.
    let mut monitors: Vec<Conn> = (0..8).map(|_| proxy.conn()).collect();
    for monitor in &mut monitors {
        assert!(monitor.line("MONITOR") == "OK");
    }
    let mut conns = many(&proxy);
    for (index, conn) in conns.iter_mut().enumerate() {
        conn.line(&format!("GET mon:{index}"));
    }
    for monitor in &mut monitors {
        let mut seen: Vec<String> = (0..16).map(|_| shown(monitor)).collect();
        seen.sort();
        let mut expected: Vec<String> = (0..16)
            .map(|index| format!("\"GET\" \"mon:{index}\""))
            .collect();
        expected.sort();
        assert_eq!(seen, expected);
    }
    // A monitor may not touch keys, sees itself, and asks once; RESET ends it.
    let same_words = |conn: &mut Conn| {
        let mut seen = vec![conn.line("MONITOR")];
        conn.send(Conn::encode(&["MONITOR"]));
        for line in [
            "PING",
            "GET k",
            "SET k v",
            "PUBLISH a b",
            "CLIENT REPLY OFF",
            "PING",
            "RESET",
            "PING",
        ] {
            conn.send(Conn::encode(&words(line)));
        }
        while seen.iter().filter(|reply| **reply == "PONG").count() < 2 {
            let reply = conn.read_reply();
            if !matches!(&reply, Reply::Simple(line) if line.contains('[')) {
                seen.push(reply);
            }
        }
        seen
    };
    drop(monitors);
    assert_eq!(
        same_words(&mut proxy.conn()),
        same_words(&mut single.conn())
    );
}

#[test]
fn a_monitor_that_does_not_read_is_closed_and_nobody_else_harmed() {
    let proxy = proxy(&[]);
    let mut lazy: Vec<Conn> = (0..4).map(|_| proxy.conn()).collect();
    let numbers: Vec<i64> = lazy.iter_mut().map(number).collect();
    for monitor in &mut lazy {
        assert!(monitor.line("MONITOR") == "OK");
    }
    let mut conn = proxy.conn();
    let value = "x".repeat(1 << 20);
    let list = numbers
        .iter()
        .map(i64::to_string)
        .collect::<Vec<_>>()
        .join(" ");
    wait_for(
        "lazy monitors to be closed",
        Duration::from_secs(60),
        || {
            assert!(conn.command(&["SET", "mon:large", &value]) == "OK");
            conn.line(&format!("CLIENT LIST ID {list}"))
                .text()
                .is_empty()
                .then_some(())
        },
    );
    assert!(proxy.rss_kib() < 1 << 20, "{} KiB", proxy.rss_kib());
}

/// Bytes that a client has in our buffers are those of CLIENT LIST and INFO: of a request at hand as on one server, of
/// what waits what is there.
#[test]
fn lines_tell_what_is_in_the_buffers() {
    let (proxy, single) = (proxy(&[]), Single::start());
    for hello in ["HELLO 2", "HELLO 3"] {
        let told = [proxy.addr(), &single.addr()].map(|addr| {
            let mut conn = Conn::connect(addr);
            conn.line(hello);
            conn.line("CLIENT SETNAME asking");
            let number = number(&mut conn);
            let mut lines = Vec::new();
            for line in [
                "CLIENT INFO".to_string(),
                "CLIENT LIST".to_string(),
                format!("CLIENT LIST ID {number} {number}"),
            ] {
                let text = conn.line(&line).text();
                // Not that of the one before, which may not have left.
                let id = format!("id={number} ");
                let own = text.lines().find(|line| line.starts_with(&id));
                let own = own.expect("its own line");
                lines.push(["qbuf", "argv-mem", "multi-mem", "omem"].map(|name| field(own, name)));
            }
            lines
        });
        assert_eq!(told[0], told[1], "{hello}");
    }
    // What has come and waits, and what is to go and is not taken.
    let mut watching = proxy.conn();
    let mut line_of = |name: &str, least: u64, what: &str| {
        let name = format!("name={name} ");
        wait_for(what, LIMIT, || {
            let all = watching.line("CLIENT LIST").text();
            let own = all.lines().find(|line| line.contains(&name))?.to_string();
            let bytes: u64 = field(&own, what).parse().ok()?;
            (bytes >= least).then_some(own)
        })
    };
    let mut half = proxy.conn();
    half.line("CLIENT SETNAME half");
    let sent = format!(
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n{}",
        "x".repeat(50_000)
    );
    half.send(&sent);
    let own = line_of("half", sent.len() as u64, "qbuf");
    assert_eq!(field(&own, "qbuf"), sent.len().to_string());
    let total: usize = field(&own, "tot-mem").parse().expect("a number");
    assert!(total >= sent.len() && total < sent.len() * 4, "{own}");

    let mut deaf = proxy.conn();
    deaf.line("CLIENT SETNAME deaf");
    deaf.command(&["SET", "large", &"x".repeat(1_000_000)]);
    for _ in 0..40 {
        deaf.send(Conn::encode(&["GET", "large"]));
    }
    let own = line_of("deaf", 1_000_000, "omem");
    let number = |name: &str| field(&own, name).parse::<u64>().expect("a number");
    assert!(number("tot-mem") >= number("omem"), "{own}");
    assert!(number("rbs") > 0, "{own}");
}
