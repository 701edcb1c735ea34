//! What the operator is told of single requests by the real program: hot and big keys, slow requests and whose time
//! it was, what only a proxy can serve, and the access log.

use crate::support::{Cluster, Conn, Port, Proxy, Reply, http, key_in_slot, wait_for};
use std::sync::OnceLock;
use std::time::Duration;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(2, 0))
}

fn field(map: &Reply, name: &str) -> String {
    let items = map.items();
    let at = items.chunks(2).find(|pair| pair[0].text() == name);
    let value = &at.unwrap_or_else(|| panic!("{name}: {map:?}"))[1];
    match value {
        Reply::Int(number) => number.to_string(),
        other => other.text(),
    }
}

#[test]
fn hot_keys_and_big_keys_are_found() {
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let proxy = Proxy::start(cluster(), &["-max-procs", "2", "-debug-addr", &addr]);
    let mut conns: Vec<Conn> = (0..8).map(|_| proxy.conn()).collect();
    for round in 0..100 {
        for conn in &mut conns {
            let gets: Vec<Vec<String>> = (0..50)
                .map(|n| match n % 4 {
                    0 => vec!["GET".to_string(), format!("cold:{round}:{n}")],
                    _ => vec!["GET".to_string(), "the hot one".to_string()],
                })
                .collect();
            conn.pipeline(&gets);
        }
    }
    let found = conns[0].command(&["PROXY", "HOTKEYS", "3"]);
    let hottest = &found.items()[0];
    assert_eq!(field(hottest, "key"), "the hot one", "{found:?}");
    let requests: u64 = field(hottest, "requests").parse().expect("a number");
    // 30000 of 40000, by a sample of about 150.
    assert!((10_000..100_000).contains(&requests), "{found:?}");

    let big = "x".repeat(300_000);
    conns[0].command(&["SET", "a big one", &big]);
    conns[1].command(&["GET", "a big one"]);
    conns[2].command(&["SET", "another", &big[..100_000]]);
    let found = conns[3].command(&["PROXY", "BIGKEYS"]);
    let keys: Vec<String> = found.items().iter().map(|key| field(key, "key")).collect();
    assert_eq!(keys, ["a big one", "another"]);
    let bytes: u64 = field(&found.items()[0], "bytes").parse().expect("a number");
    assert!((300_000..301_000).contains(&bytes));

    let (status, body) = http::get(&addr, "/api/v1/hotkeys");
    assert_eq!(status, 200);
    assert!(body.contains("\"key\":\"the hot one\""), "{body}");
    assert!(http::get(&addr, "/api/v1/bigkeys").1.contains("a big one"));
}

#[test]
fn slow_requests_are_told_with_whose_time_it_was() {
    let flags = ["-slowlog-log-slower-than", "100000"];
    let proxy = Proxy::start(cluster(), &flags);
    let mut conn = proxy.conn();
    conn.command(&["CLIENT", "SETNAME", "patient"]);
    let key = key_in_slot(5, "slow");
    let node = cluster().master_of(5);
    conn.command(&["SET", &key, "v"]);
    let mut raw = cluster().raw(node);
    for command in ["GET", "STRLEN"] {
        // Where there is no processor for a while, most of the pause is over when the request comes.
        let entry = wait_for("a slow request", Duration::from_secs(20), || {
            assert_eq!(raw.line("CLIENT PAUSE 300 ALL"), "OK");
            conn.command(&[command, &key]);
            let found = conn.line("PROXY SLOWLOG GET -1");
            // Waits of other tests on this cluster may be in it, too; but nothing that was quick.
            let is_slow = |entry: &Reply| entry.items()[2].int() >= 100_000;
            assert!(found.items().iter().all(is_slow), "{found:?}");
            let own = |entry: &&Reply| {
                let (words, node) = (entry.items()[3].items(), entry.items()[8].int());
                words[0].text() == command
                    && words.get(1).is_some_and(|word| *word == &*key)
                    && node >= 100_000
                    && entry.items()[7].int() < node
            };
            found.items().iter().find(own).cloned()
        });
        let items = entry.items();
        assert_eq!(items[3].items()[1].text(), key);
        assert_eq!(items[5].text(), "patient");
        assert_eq!(items[6].text(), format!("127.0.0.1:{node}"));
        let (total, own, node) = (items[2].int(), items[7].int(), items[8].int());
        assert_eq!(total, own + node);
        assert!(node >= 100_000 && own < node, "{entry:?}");
    }
    // Among the nodes' own, on request; they have none of these, since nothing was executed for long.
    let merged = conn.line("SLOWLOG GET 100 PROXY");
    let mut entries = merged.items().iter();
    assert!(entries.any(|entry| entry.items().len() == 9), "{merged:?}");
    let mut entries = conn.line("SLOWLOG GET 100").items().to_vec().into_iter();
    assert!(entries.all(|entry| entry.items().len() == 6));
    assert_eq!(conn.line("PROXY SLOWLOG RESET"), "OK");
    // It may have what was slow since.
    let found = words_of(&conn.line("PROXY SLOWLOG GET -1"));
    assert!(!found.contains("STRLEN"), "{found}");

    let latency = conn.line("PROXY LATENCY");
    let text = format!("{latency:?}");
    assert_eq!(latency.items()[0].text(), "commands", "{text}");
    assert!(latency.items()[3].items().len() >= 2, "{text}");
}

#[test]
fn a_slow_request_of_many_parts_is_one() {
    let proxy = Proxy::start(cluster(), &["-slowlog-log-slower-than", "0"]);
    let mut conn = proxy.conn();
    let keys: Vec<String> = (0..300).map(|at| format!("part:{at}")).collect();
    for count in [20, 300] {
        assert_eq!(conn.line("PROXY SLOWLOG RESET"), "OK");
        let mut words = vec!["MGET".to_string()];
        words.extend_from_slice(&keys[..count]);
        assert_eq!(conn.command(&words).items().len(), count);
        let found = conn.line("PROXY SLOWLOG GET -1");
        let name = |entry: &&Reply| entry.items()[3].items()[0].text() == "MGET";
        assert_eq!(found.items().iter().filter(name).count(), 1, "{found:?}");
    }
}

#[test]
fn what_a_cluster_would_refuse_is_counted() {
    let proxy = Proxy::start(cluster(), &[]);
    let mut conn = proxy.conn();
    let (one, two) = (key_in_slot(1, "audit"), key_in_slot(16000, "audit"));
    for _ in 0..3 {
        conn.command(&["MGET", &one, &two]);
    }
    conn.command(&["MSETNX", &one, "1", &two, "2"]);
    conn.command(&["MGET", &one]);
    let found = conn.line("PROXY AUDIT");
    let count = |command: &str, reason: &str| {
        let mut rows = found.items().iter();
        let own = |row: &&Reply| field(row, "command") == command && field(row, "reason") == reason;
        rows.find(own).map(|row| field(row, "count"))
    };
    let cut = count("mget", "keys in several slots: split by the proxy");
    assert_eq!(cut.as_deref(), Some("3"), "{found:?}");
    let refused = count("msetnx", "keys in several slots: refused");
    assert_eq!(refused.as_deref(), Some("1"), "{found:?}");
}

/// Whatever makes a program need more than a cluster: each kind of refusal, by the proxy or by a node.
#[test]
fn every_way_in_which_a_cluster_refuses_is_counted() {
    let (one, two) = (key_in_slot(1, "advice"), key_in_slot(16000, "advice"));
    let crossed = "keys in several slots: refused";
    let forbidden = "not allowed in a cluster";
    let all = "covers all nodes; a cluster node answers for itself only";
    let tagged = key_in_slot(1, "advice-list");
    let script = format!("return redis.call('GET', '{two}')");
    let cases: &[(&[&str], &str, &str)] = &[
        (&["SELECT", "1"], "select", forbidden),
        (&["SWAPDB", "0", "1"], "swapdb", forbidden),
        (&["MOVE", &one, "1"], "move", forbidden),
        (&["SORT", &tagged, "BY", "weight_*"], "sort", forbidden),
        (&["EVAL", &script, "1", &one], "eval", forbidden),
        (&["EVAL", "return 1", "2", &one, &two], "eval", crossed),
        (&["RENAME", &one, &two], "rename", crossed),
        (&["SINTER", &one, &two], "sinter", crossed),
        (&["BLPOP", &one, &two, "1"], "blpop", crossed),
        (&["WATCH", &one, &two], "watch", crossed),
        (&["DBSIZE"], "dbsize", all),
        (&["KEYS", "advice"], "keys", all),
        (&["SCAN", "0"], "scan", all),
        (&["RANDOMKEY"], "randomkey", all),
        (&["SCRIPT", "EXISTS", "x"], "script|exists", all),
        (&["SYNC"], "sync", "not supported by this proxy"),
        (&["DEBUG", "PANIC"], "debug", "not supported by this proxy"),
        // A cluster does these.
        (&["SELECT", "0"], "", ""),
        (&["GET", &one], "", ""),
        (&["MGET", &one, &one], "", ""),
        (&["LPUSH", &tagged, "v"], "", ""),
        (&["INCR", &tagged], "", ""),
    ];
    for (words, command, reason) in cases {
        let proxy = Proxy::start(cluster(), &[]);
        let mut conn = proxy.conn();
        let reply = conn.command(words);
        let found = conn.line("PROXY AUDIT");
        let rows: Vec<(String, String, String)> = found
            .items()
            .iter()
            .map(|row| {
                (
                    field(row, "command"),
                    field(row, "reason"),
                    field(row, "count"),
                )
            })
            .collect();
        let expected = (command.to_string(), reason.to_string(), "1".to_string());
        let expected = if command.is_empty() {
            vec![]
        } else {
            vec![expected]
        };
        assert_eq!(rows, expected, "{words:?}: {reply:?}");
    }

    let exec = |flags: &[&str], reason: &str| {
        let proxy = Proxy::start(cluster(), flags);
        let mut conn = proxy.conn();
        for words in [
            &["MULTI"][..],
            &["SET", &one, "1"],
            &["SET", &two, "2"],
            &["EXEC"],
        ] {
            conn.command(words);
        }
        let found = conn.line("PROXY AUDIT");
        assert_eq!(field(&found.items()[0], "command"), "exec", "{found:?}");
        assert_eq!(field(&found.items()[0], "reason"), reason);
    };
    exec(&[], crossed);
    exec(
        &["-cross-slot-transactions", "per-slot"],
        "keys in several slots: split by the proxy",
    );
}

/// All strings of a reply.
fn words_of(reply: &Reply) -> String {
    match reply {
        Reply::Int(number) => format!("{number} "),
        Reply::Array(items) => items.iter().map(words_of).collect(),
        reply => reply.bulk_text().unwrap_or_else(|| format!("{reply:?}")) + " ",
    }
}

/// Passwords that clients send are shown nowhere; what is shown is what a server shows.
#[test]
fn secrets_of_requests_are_shown_nowhere() {
    // Its own: a password is set there.
    let cluster = Cluster::start(2, 0);
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let flags = [
        "-slowlog-log-slower-than",
        "0",
        "-debug-addr",
        &addr,
        "-log-every-n",
        "1",
    ];
    let proxy = Proxy::start(&cluster, &flags);
    let mut server = cluster.raw(cluster.master_of(1));
    assert_eq!(server.line("CONFIG SET slowlog-log-slower-than 0"), "OK");
    let key = key_in_slot(1, "secrets");
    let migrate = format!("MIGRATE 127.0.0.1 1 {key} 0 10");
    let lines = [
        "AUTH sesame".to_string(),
        "AUTH default sesame".to_string(),
        "HELLO 2 AUTH default sesame".to_string(),
        format!("{migrate} AUTH sesame"),
        format!("{migrate} AUTH2 sesame sesame"),
        format!("{migrate} COPY AUTH2 sesame sesame KEYS {key}"),
        "ACL SETUSER nobody on >sesame ~* +@all".to_string(),
        "ACL DELUSER nobody".to_string(),
        "ACL GETUSER nobody".to_string(),
        "CONFIG SET masterauth sesame".to_string(),
        "CONFIG SET maxmemory-samples 5 requirepass sesame".to_string(),
    ];
    let own = [
        "PROXY CONFIG SET client-password sesame".to_string(),
        "PROXY CONFIG SET debug-token sesame".to_string(),
        "PROXY EXPLAIN AUTH sesame".to_string(),
        format!("PROXY EXPLAIN {migrate} AUTH sesame"),
        format!("COMMAND GETKEYS {migrate} AUTH2 sesame sesame KEYS {key}"),
    ];
    let mut told = String::new();
    let mut monitors = [
        (proxy.conn(), proxy.conn()),
        (server, cluster.raw(cluster.master_of(1))),
    ];
    let mut shown = Vec::new();
    for (at, (conn, monitor)) in monitors.iter_mut().enumerate() {
        conn.command(&["SET", &key, "v"]);
        assert_eq!(monitor.line("MONITOR"), "OK");
        for line in &lines {
            told += &format!("{:?}", conn.line(line).error());
        }
        if at == 0 {
            own.iter()
                .for_each(|line| told += &format!("{:?}\n", conn.line(line)));
        }
        conn.line("ECHO end");
        let mut words = Vec::new();
        loop {
            let line = monitor.read_reply().text();
            told += &line;
            let (_, request) = line.split_once("] ").expect("an address");
            // Tests beside this one have requests of their own.
            if request.contains("redacted")
                && !request.contains("PROXY")
                && !request.contains("COMMAND")
            {
                words.push(request.to_string());
            }
            if request == "\"ECHO\" \"end\"" {
                break;
            }
        }
        shown.push(words);
    }
    assert_eq!(shown[0], shown[1], "as a server shows them");
    assert_eq!(shown[0].len(), 6);
    let mut conn = proxy.conn();
    for line in [
        "PROXY SLOWLOG GET -1",
        "SLOWLOG GET -1",
        "SLOWLOG GET -1 PROXY",
        "PROXY HOTKEYS 100",
        "PROXY BIGKEYS 100",
        "CLIENT LIST",
        "PROXY AUDIT",
    ] {
        told += &words_of(&conn.line(line));
    }
    for page in [
        "/api/v1/slowlog",
        "/api/v1/hotkeys",
        "/api/v1/bigkeys",
        "/api/v1/status",
    ] {
        told += &http::get(&addr, page).1;
    }
    told += &proxy.log();
    assert!(
        told.contains("(redacted)") && told.contains("migrate"),
        "{told}"
    );
    if let Some(at) = told.find("sesame") {
        panic!(
            "{}",
            &told[at.saturating_sub(200)..(at + 20).min(told.len())]
        );
    }
}

#[test]
fn redirects_are_told_by_slot_and_by_node() {
    let cluster = Cluster::start(2, 0);
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let proxy = Proxy::start(&cluster, &["-debug-addr", &addr]);
    let mut conn = proxy.conn();
    assert_eq!(conn.line("PROXY REDIRECTS").items().len(), 0);
    let (slot, other) = (77, 78);
    let from = cluster.master_of(slot);
    let ports = cluster.ports();
    let to = *ports.iter().find(|port| **port != from).expect("another");
    let missing = key_in_slot(slot, "not there");
    let (here, there) = (key_in_slot(slot, "here"), key_in_slot(slot, "there"));
    conn.command(&["SET", &here, "v"]);
    cluster.begin_migration(slot, from, to);
    for _ in 0..3 {
        conn.command(&["GET", &missing]);
    }
    // One key here and one there: TRYAGAIN, until the wait is over. Inside a lease, too.
    conn.command(&["SET", &there, "v"]);
    conn.command(&["MULTI"]);
    conn.command(&["GET", &missing]);
    conn.command(&["EXEC"]);

    let found = conn.line("PROXY REDIRECTS");
    let row = &found.items()[0];
    assert_eq!(field(row, "slot"), slot.to_string(), "{found:?}");
    let asked: u64 = field(row, "ask").parse().expect("a number");
    assert!(asked >= 5, "{found:?}");
    assert_eq!(field(row, "moved"), "0");
    assert_eq!(field(row, "migrating"), "1");
    assert_eq!(field(row, "master"), format!("127.0.0.1:{from}"));
    let (_, metrics) = http::get(&addr, "/metrics");
    assert!(
        metrics.contains("\nredis_proxy_slots_migrating 1\n"),
        "{metrics}"
    );
    let by_node = format!(
        "redis_proxy_backend_redirects_total{{backend=\"127.0.0.1:{from}\",type=\"ask\"}} {asked}\n"
    );
    assert!(metrics.contains(&by_node), "{metrics}");

    cluster.move_keys(slot, from, to, 100);
    cluster.end_migration(slot, from, to);
    cluster.migrate_slot(other, from, to);
    conn.command(&["GET", &key_in_slot(other, "k")]);
    let found = conn.line("PROXY REDIRECTS 10");
    let mut rows = found.items().iter();
    let row = rows.find(|row| field(row, "slot") == other.to_string());
    let row = row.unwrap_or_else(|| panic!("{found:?}"));
    let counts = ["moved", "ask", "tryagain", "migrating"].map(|name| field(row, name));
    assert_eq!(counts, ["1", "0", "0", "0"]);
    assert_eq!(conn.line("PROXY REDIRECTS 1").items().len(), 1);
    let (_, status) = http::get(&addr, "/api/v1/status");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let redirects = &status["redirects"];
    assert_eq!(redirects["slots"], 2, "{redirects}");
    assert_eq!(redirects["most"][0]["slot"], slot, "{redirects}");
    let refused = conn.line("PROXY REDIRECTS x");
    let text = refused.error().expect("an error");
    assert!(text.contains("not an integer"), "{text}");
    conn.command(&["CONFIG", "RESETSTAT"]);
    assert_eq!(conn.line("PROXY REDIRECTS").items().len(), 0);
}

#[test]
fn access_lines_tell_key_node_bytes_and_both_times() {
    for format in ["text", "json"] {
        let flags = ["-log-every-n", "1", "-log-format", format];
        let proxy = Proxy::start(cluster(), &flags);
        let mut conn = proxy.conn();
        conn.command(&["SET", "some-key", "value"]);
        conn.command(&["GET", "some-key"]);
        let line = wait_for("the line of the GET", Duration::from_secs(20), || {
            let log = proxy.access_log();
            let mut lines = log.lines();
            let own = |line: &&str| line.contains("some-key") && line.contains("get");
            lines.find(own).map(str::to_string)
        });
        if format == "text" {
            for part in [
                " key=some-key ",
                " node=127.0.0.1:",
                " in=",
                " out=11 ",
                " proxy_us=",
                " backend_us=",
            ] {
                assert!(line.contains(part), "{line}");
            }
            continue;
        }
        let log = proxy.log() + &proxy.access_log();
        for line in log.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("every line is JSON");
            assert!(
                line["time"].is_string() && line["level"].is_string(),
                "{line}"
            );
        }
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let access = &line["access"];
        assert_eq!(
            (&access["key"], &access["out"]),
            (&"some-key".into(), &11.into())
        );
        let [all, own, node] =
            ["us", "proxy_us", "backend_us"].map(|name| access[name].as_u64().expect("a number"));
        assert_eq!(all, own + node, "{access}");
    }
}
