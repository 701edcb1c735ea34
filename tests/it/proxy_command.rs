//! The PROXY family, and who may change what: `-admin-commands`.

use std::time::{Duration, Instant};

use crate::support::{Cluster, Conn, Proxy, Reply, wait_for};

/// A map reply as pairs of texts, in RESP2.
fn pairs(reply: &Reply) -> Vec<(String, String)> {
    let items = reply.items();
    let pair = |pair: &[Reply]| (pair[0].text(), pair[1].text());
    items.chunks(2).map(pair).collect()
}

fn value(conn: &mut Conn, name: &str) -> String {
    pairs(&conn.command(&["PROXY", "CONFIG", "GET", name]))[0]
        .1
        .clone()
}

fn error(reply: &Reply) -> &str {
    reply.error().unwrap_or_else(|| panic!("{reply:?}"))
}

#[test]
fn the_proxy_family() {
    let cluster = Cluster::start(3, 0);
    help_and_errors(&cluster);
    requests_are_explained(&cluster);
    settings_change_everywhere(&cluster);
    the_cluster_as_the_proxy_knows_it(&cluster);
    admin_commands_can_be_forbidden(&cluster);
    commands_are_those_of_the_servers(&cluster);
}

fn help_and_errors(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &[]);
    let mut conn = proxy.conn();
    let help = conn.command(&["PROXY", "HELP"]);
    assert!(
        help.items()
            .iter()
            .any(|line| *line == "CONFIG SET <name> <value> [<name> <value> ...]")
    );
    for (words, expected) in [
        (
            &["PROXY"][..],
            "ERR wrong number of arguments for 'proxy' command",
        ),
        (
            &["PROXY", "NOPE"],
            "ERR unknown subcommand 'NOPE'. Try PROXY HELP.",
        ),
        (
            &["PROXY", "CONFIG"],
            "ERR wrong number of arguments for 'proxy|config' command",
        ),
        (
            &["PROXY", "CONFIG", "PUT"],
            "ERR unknown subcommand 'PUT'. Try PROXY HELP.",
        ),
        (
            &["PROXY", "CONFIG", "SET", "log-level"],
            "ERR wrong number of arguments for 'proxy|config|set' command",
        ),
        (
            &["PROXY", "CONFIG", "SET", "a", "b", "c"],
            "ERR syntax error",
        ),
        (
            &["PROXY", "CONFIG", "SET", "colour", "red"],
            "ERR Unknown option or number of arguments for CONFIG SET - 'colour'",
        ),
        (
            &["PROXY", "CONFIG", "SET", "max-procs", "2"],
            "ERR CONFIG SET failed (possibly related to argument 'max-procs') - can't set immutable config",
        ),
        (
            &["PROXY", "CONFIG", "SET", "max-clients", "0"],
            "ERR CONFIG SET failed (possibly related to argument 'max-clients') - must be between 1 and 10000000",
        ),
    ] {
        assert_eq!(error(&conn.command(words)), expected, "{words:?}");
    }
    assert!(
        conn.command(&["PROXY", "INFO"])
            .text()
            .contains("# Proxy\r\n")
    );
    let unsupported = pairs(&conn.command(&["PROXY", "COMMAND", "UNSUPPORTED"]));
    let reason = |name: &str| {
        let found = unsupported.iter().find(|(own, _)| own == name);
        found.map(|(_, reason)| reason.as_str())
    };
    assert_eq!(reason("shutdown"), Some("it stops a server"));
    assert_eq!(reason("get"), None);
    let id = conn.command(&["CLIENT", "ID"]);
    assert_eq!(conn.command(&["PROXY", "CLIENT", "ID"]), id);
}

/// What EXPLAIN says, RESP2, in one line without the nodes' ports.
fn explained(conn: &mut Conn, line: &str) -> String {
    let words: Vec<&str> = ["PROXY", "EXPLAIN"]
        .into_iter()
        .chain(line.split(' '))
        .collect();
    let reply = conn.command(&words);
    let pair = |pair: &[Reply]| match &pair[1] {
        Reply::Array(items) if pair[0].text() == "nodes" => format!("nodes={}", items.len()),
        Reply::Array(keys) => {
            let key = |pair: &[Reply]| format!("{}:{}", pair[0].text(), pair[1].int());
            let keys: Vec<String> = keys.chunks(2).map(key).collect();
            format!("keys={}", keys.join(","))
        }
        Reply::Int(number) => format!("{}={number}", pair[0].text()),
        other => format!("{}={}", pair[0].text(), other.text()),
    };
    let fields: Vec<String> = reply.items().chunks(2).map(pair).collect();
    fields.join(" ")
}

fn requests_are_explained(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &["-admin-commands", "no"]);
    let mut conn = proxy.conn();
    for (line, expected) in [
        (
            "GET a",
            "command=get class=routed keys=a:15495 parts=1 nodes=1",
        ),
        (
            "MGET a b {a}c",
            "command=mget class=split how=values in the order of the keys keys=a:15495,b:3300,{a}c:15495 parts=2 nodes=2",
        ),
        (
            "RENAME a b",
            "command=rename class=routed error=CROSSSLOT Keys in request don't hash to the same slot keys=a:15495,b:3300 parts=0 nodes=0",
        ),
        (
            "FLUSHALL",
            "command=flushall class=all masters how=OK if all succeed error=ERR command 'flushall' is an admin command, which -admin-commands does not allow here keys= parts=0 nodes=0",
        ),
        ("ECHO a", "command=echo class=local keys= parts=0 nodes=0"),
        (
            "nope",
            "command=nope class=unknown error=no such command keys= parts=0 nodes=0",
        ),
    ] {
        let said = explained(&mut conn, line);
        // Words on how and why are the table's own affair.
        let bare = |text: &str| {
            let from = text.find(" how=");
            let to = [" error=", " keys="]
                .iter()
                .filter_map(|word| text.find(word))
                .min();
            match (from, to) {
                (Some(from), Some(to)) => format!("{}{}", &text[..from], &text[to..]),
                _ => text.to_string(),
            }
        };
        assert_eq!(bare(&said), bare(expected), "{line}");
    }
}

fn settings_change_everywhere(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &["-max-procs", "3"]);
    let mut conns: Vec<Conn> = (0..12).map(|_| proxy.conn()).collect();
    for conn in &mut conns {
        assert_eq!(conn.command(&["PING"]), "PONG");
    }
    let conn = &mut conns[0];
    let all = pairs(&conn.command(&["PROXY", "CONFIG", "GET", "*"]));
    assert!(
        all.iter()
            .any(|(name, value)| name == "max-procs" && value == "3")
    );
    assert!(all.iter().all(|(name, _)| !name.ends_with("password")));
    let set = [
        "PROXY",
        "CONFIG",
        "SET",
        "Max-Clients",
        "12",
        "log-level",
        "debug",
    ];
    assert_eq!(conn.command(&set), "OK");
    assert_eq!(value(conn, "max-c*"), "12");
    assert_eq!(value(conn, "log-level"), "debug");
    // All or nothing.
    let half = [
        "PROXY",
        "CONFIG",
        "SET",
        "max-clients",
        "99",
        "log-every-n",
        "x",
    ];
    assert!(conn.command(&half).is_error());
    assert_eq!(value(conn, "max-clients"), "12");
    // Whichever worker the next client comes to has heard of it.
    for _ in 0..12 {
        let mut extra = proxy.conn();
        assert_eq!(
            error(&extra.read_reply()),
            "ERR max number of clients reached"
        );
    }
    for conn in &mut conns {
        assert_eq!(value(conn, "max-clients"), "12");
    }
}

fn the_cluster_as_the_proxy_knows_it(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &["-slots-reload-interval", "1h"]);
    let mut conn = proxy.conn();
    let info = conn.command(&["PROXY", "CLUSTER", "INFO"]).text();
    for field in [
        "cluster_state:ok\r\n",
        "cluster_slots_assigned:16384\r\n",
        "cluster_known_nodes:3\r\n",
        "cluster_size:3\r\n",
    ] {
        assert!(info.contains(field), "{info}");
    }
    let nodes = conn.command(&["PROXY", "CLUSTER", "NODES"]).text();
    assert_eq!(nodes.lines().count(), 3);
    for port in cluster.masters() {
        assert!(
            nodes.contains(&format!("127.0.0.1:{port}@0 master - 0 0 ")),
            "{nodes}"
        );
    }
    assert!(nodes.contains(" connected 0-"), "{nodes}");
    // When the topology came, at the earliest and at the latest.
    let mut came = || {
        let begin = Instant::now();
        let info = conn.command(&["PROXY", "CLUSTER", "INFO"]).text();
        let (_, age) = info.split_once("topology_age_ms:").expect("an age");
        let age = Duration::from_millis(age.trim().parse().expect("a number"));
        // What is cut off from the age is less than a millisecond.
        let cut = Duration::from_millis(1);
        [begin - age - cut, Instant::now() - age]
    };
    let quiet = Duration::from_secs(1);
    let first = wait_for("the topology to grow old", Duration::from_secs(20), || {
        let [_, latest] = came();
        (latest.elapsed() > quiet).then_some(latest)
    });
    assert_eq!(proxy.conn().command(&["PROXY", "CLUSTER", "UPDATE"]), "OK");
    let mut wait_for_another = |what: &str, last: Instant| {
        wait_for(what, Duration::from_secs(20), || {
            let [earliest, latest] = came();
            (earliest > last).then_some(latest)
        })
    };
    let mut last = wait_for_another("a topology that was asked for", first);
    // A shorter interval takes effect without a restart.
    let set = ["PROXY", "CONFIG", "SET", "slots-reload-interval", "200ms"];
    assert_eq!(proxy.conn().command(&set), "OK");
    for _ in 0..3 {
        last = wait_for_another("a topology that came by itself", last);
    }
}

fn admin_commands_can_be_forbidden(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &["-admin-commands", "no"]);
    let mut conn = proxy.conn();
    assert_eq!(conn.command(&["SET", "k", "v"]), "OK");
    for (words, name) in [
        (&["FLUSHALL"][..], "flushall"),
        (&["config", "set", "maxmemory", "1"], "config|set"),
        (&["SCRIPT", "FLUSH"], "script|flush"),
        (&["ACL", "SETUSER", "x"], "acl|setuser"),
        (
            &["PROXY", "CONFIG", "SET", "log-level", "debug"],
            "proxy|config|set",
        ),
    ] {
        let expected = format!(
            "ERR command '{name}' is an admin command, which -admin-commands does not allow here"
        );
        assert_eq!(error(&conn.command(words)), expected);
    }
    assert_eq!(conn.command(&["GET", "k"]).text(), "v");
    assert!(!conn.command(&["PROXY", "CONFIG", "GET", "*"]).is_error());
    let proxy = Proxy::start(cluster, &["-admin-commands", "loopback"]);
    assert_eq!(proxy.conn().command(&["FLUSHALL"]), "OK");
    assert!(proxy.conn().command(&["GET", "k"]).is_nil());
}

fn commands_are_those_of_the_servers(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &["-max-procs", "2"]);
    wait_for(
        "the servers to be surveyed",
        Duration::from_secs(30),
        || {
            proxy
                .log()
                .contains("servers: version 7.0.15")
                .then_some(())
        },
    );
    let (mut ours, mut real) = (proxy.conn(), cluster.raw(cluster.masters()[0]));
    for words in [
        &["COMMAND", "COUNT"][..],
        &["COMMAND", "INFO", "get", "config|set", "proxy", "nope"],
        &["COMMAND", "LIST", "FILTERBY", "PATTERN", "zinter"],
        &["COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"],
        &[
            "COMMAND",
            "GETKEYSANDFLAGS",
            "LMOVE",
            "a",
            "b",
            "LEFT",
            "LEFT",
        ],
        &["COMMAND", "GETKEYS", "PING"],
        &["COMMAND", "DOCS", "get"],
    ] {
        assert_eq!(ours.command(words), real.command(words), "{words:?}");
    }
    let version = |conn: &mut Conn| {
        let info = conn.command(&["INFO", "server"]).text();
        let line = info.lines().find(|line| line.starts_with("redis_version:"));
        line.expect("a version").to_string()
    };
    assert_eq!(version(&mut ours), version(&mut real));
}
