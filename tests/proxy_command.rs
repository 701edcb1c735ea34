//! The PROXY family, and who may change what: `-admin-commands`.

mod support;

use std::time::Duration;

use support::{Cluster, Conn, Proxy, Reply, wait_for};

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
    settings_change_everywhere(&cluster);
    the_cluster_as_the_proxy_knows_it(&cluster);
    admin_commands_can_be_forbidden(&cluster);
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

fn settings_change_everywhere(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &["-max-procs", "3", "-password", ""]);
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
    assert!(all.iter().all(|(name, _)| !name.contains("password")));
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
    let mut age = || {
        let info = conn.command(&["PROXY", "CLUSTER", "INFO"]).text();
        let (_, age) = info.split_once("topology_age_ms:").expect("an age");
        age.trim().parse::<u64>().expect("a number")
    };
    wait_for("the topology to grow old", Duration::from_secs(10), || {
        (age() > 1500).then_some(())
    });
    assert_eq!(proxy.conn().command(&["PROXY", "CLUSTER", "UPDATE"]), "OK");
    wait_for(
        "a topology that was asked for",
        Duration::from_secs(10),
        || (age() < 1500).then_some(()),
    );
    // A shorter interval takes effect without a restart.
    let set = ["PROXY", "CONFIG", "SET", "slots-reload-interval", "200ms"];
    assert_eq!(proxy.conn().command(&set), "OK");
    for _ in 0..3 {
        wait_for(
            "a topology that came by itself",
            Duration::from_secs(10),
            || (age() < 100).then_some(()),
        );
        wait_for("it to grow older", Duration::from_secs(10), || {
            (age() > 100).then_some(())
        });
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
