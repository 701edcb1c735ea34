//! SELECT, where the cluster's servers say that they have databases (`cluster-databases`, Valkey 9).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::databases::{Node, cluster};
use crate::support::{self, Conn, Proxy, Reply, key_in_slot, wait_for};

fn proxy(nodes: &[Node]) -> Proxy {
    proxy_with(nodes, &[])
}

fn proxy_with(nodes: &[Node], flags: &[&str]) -> Proxy {
    let addrs: Vec<String> = nodes.iter().map(|node| node.addr.to_string()).collect();
    let proxy = Proxy::spawn(&addrs, flags, &[]);
    proxy.wait_until_answering();
    proxy
}

/// A proxy that knows how many databases there are.
fn informed(nodes: &[Node], databases: &str) -> Proxy {
    let proxy = proxy(nodes);
    support::wait_for("the survey", std::time::Duration::from_secs(20), || {
        let reply = proxy.conn().line("CONFIG GET databases");
        (reply.items()[1] == databases).then_some(())
    });
    proxy
}

fn keys(conn: &mut Conn) -> BTreeSet<String> {
    let (mut cursor, mut found) = ("0".to_string(), BTreeSet::new());
    loop {
        let reply = conn.line(&format!("SCAN {cursor}"));
        found.extend(reply.items()[1].items().iter().map(Reply::text));
        cursor = reply.items()[0].text();
        if cursor == "0" {
            break;
        }
    }
    let listed: BTreeSet<String> = conn
        .line("KEYS *")
        .items()
        .iter()
        .map(Reply::text)
        .collect();
    assert_eq!(found, listed);
    assert_eq!(conn.line("DBSIZE").int(), found.len() as i64);
    found
}

#[test]
fn each_client_has_the_database_it_selected() {
    let nodes = cluster(&["16", "16"]);
    let proxy = informed(&nodes, "16");
    let slots = [0, 16383].map(|slot| key_in_slot(slot, "k"));
    let mut clients: Vec<Conn> = (0..4).map(|_| proxy.conn()).collect();
    // In one write: the requests behind a SELECT are of its database, those before it are not.
    for (index, conn) in clients.iter_mut().enumerate() {
        let name = index.to_string();
        let requests: Vec<Vec<&str>> = vec![
            vec!["SET", &slots[0], "first"],
            vec!["SELECT", &name],
            vec!["SET", &slots[0], &name],
            vec!["SET", &slots[1], &name],
            vec!["MGET", &slots[0], &slots[1]],
        ];
        let replies = conn.pipeline(&requests);
        assert!(
            replies[..4].iter().all(|reply| *reply == "OK"),
            "{replies:?}"
        );
        let values: Vec<String> = replies[4].items().iter().map(Reply::text).collect();
        assert_eq!(values, [name.clone(), name]);
    }
    // By now the first database has been written by all; the others by one each.
    for (index, conn) in clients.iter_mut().enumerate() {
        for round in 0..50 {
            let value = format!("{index}.{round}");
            assert_eq!(conn.command(&["SET", &slots[round % 2], &value]), "OK");
            assert_eq!(conn.command(&["GET", &slots[round % 2]]), value.as_str());
        }
        assert_eq!(keys(conn), slots.iter().cloned().collect());
    }
    assert_eq!(clients[3].line("FLUSHDB"), "OK");
    assert!(keys(&mut clients[3]).is_empty());
    assert_eq!(keys(&mut clients[2]).len(), 2);
    // MOVE is the servers' own, and between databases of one node.
    assert_eq!(clients[2].command(&["MOVE", &slots[1], "3"]), Reply::Int(1));
    assert_eq!(keys(&mut clients[3]), [slots[1].clone()].into());
    // Seen on the servers themselves.
    let mut server = nodes[1].server.conn();
    server.line("SELECT 3");
    assert_eq!(server.command(&["GET", &slots[1]]), "2.49");
    // The session forgets it with RESET, not with HELLO.
    assert!(clients[1].line("CLIENT INFO").text().contains(" db=1 "));
    clients[1].line("HELLO 3");
    assert_eq!(clients[1].command(&["GET", &slots[0]]), "1.48");
    assert!(clients[1].line("RESET") == "RESET");
    assert!(clients[1].line("CLIENT INFO").text().contains(" db=0 "));
    assert_eq!(clients[1].command(&["GET", &slots[0]]), "0.48");
    let keyspace = clients[1].line("INFO keyspace").text();
    for database in ["db0:keys=2,", "db1:keys=2,", "db2:keys=1,", "db3:keys=1,"] {
        assert!(keyspace.contains(database), "{keyspace}");
    }
    assert_eq!(clients[0].line("FLUSHALL"), "OK");
    assert!(clients.iter_mut().all(|conn| keys(conn).is_empty()));
}

#[test]
fn an_index_is_answered_as_the_servers_answer_it() {
    let nodes = cluster(&["16", "16"]);
    let proxy = informed(&nodes, "16");
    let (mut ours, mut theirs) = (proxy.conn(), nodes[0].server.conn());
    for index in [
        "0",
        "15",
        "16",
        "-1",
        "x",
        "",
        "1x",
        "2147483647",
        "99999999999",
    ] {
        let select = ["SELECT", index];
        assert_eq!(ours.command(&select), theirs.command(&select), "{index}");
        let database = |conn: &mut Conn| {
            let line = conn.line("CLIENT INFO").text();
            let mut fields = line.split(' ').map(str::to_string);
            fields.find(|field| field.starts_with("db="))
        };
        assert_eq!(database(&mut ours), database(&mut theirs), "{index}");
    }
}

#[test]
fn there_are_as_many_as_the_server_with_the_fewest_has() {
    let nodes = cluster(&["16", "4"]);
    let proxy = informed(&nodes, "4");
    let mut conn = proxy.conn();
    assert_eq!(conn.line("SELECT 3"), "OK");
    let error = conn.line("SELECT 4");
    assert_eq!(error.error(), Some("ERR DB index is out of range"));
    let nodes = cluster(&["16", "no number"]);
    let proxy = informed(&nodes, "1");
    // As a server without a cluster says it; and, where the proxy shows itself as one, as a node of a cluster does.
    let faced = proxy_with(&nodes, &["-cluster-face", "127.0.0.1:7000"]);
    for index in ["1", "16", "-1"] {
        let line = format!("SELECT {index}");
        let error = proxy.conn().line(&line);
        assert_eq!(
            error.error(),
            Some("ERR DB index is out of range"),
            "{line}"
        );
        let error = faced.conn().line(&line);
        let expected = "ERR SELECT is not allowed in cluster mode";
        assert_eq!(error.error(), Some(expected), "{line}");
    }
}

/// The servers say that they are Valkey: so does the proxy, in their words and places.
#[test]
fn the_proxy_is_what_its_servers_are() {
    let nodes = support::databases::cluster(&["16", "16"]);
    let proxy = proxy(&nodes);
    let text = wait_for("the servers' names", Duration::from_secs(20), || {
        let text = proxy.conn().line("INFO server").text();
        text.contains("valkey_version").then_some(text)
    });
    let names = text.lines().filter_map(|line| line.split(':').next());
    let names: Vec<&str> = names.skip(1).take(7).collect();
    let expected = [
        "redis_version",
        "server_name",
        "valkey_version",
        "redis_git_sha1",
        "redis_git_dirty",
        "redis_build_id",
        "server_mode",
    ];
    assert_eq!(names, expected);
    assert!(text.contains("server_name:valkey\r\nvalkey_version:9.0.1\r\n"));
    for protocol in ["2", "3"] {
        let hello = proxy.conn().command(&["HELLO", protocol]);
        let fields = support::compare::pairs(&hello);
        let value = |name: &str| {
            let found = fields.iter().find(|(own, _)| own == name);
            found.map(|(_, value)| value.text())
        };
        assert_eq!(value("server").as_deref(), Some("valkey"));
        assert_eq!(value("version").as_deref(), Some("9.0.1"));
        let modules = fields.iter().find(|(name, _)| name == "modules");
        let modules = modules.expect("modules").1.items();
        let module = support::compare::pairs(&modules[0]);
        let shown: Vec<_> = module.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(shown, ["name", "ver", "path", "args"]);
        assert_eq!((modules.len(), module[0].1.text()), (1, "lua".to_string()));
        assert_eq!(module[1].1, Reply::Int(7));
    }
    let (bind, port) = proxy.addr().rsplit_once(':').expect("a port");
    let listener = format!("listener0:name=tcp,bind={bind},port={port}\r\n");
    assert!(text.contains(&listener), "{text}");
    let module = "# Modules\r\nmodule:name=lua,ver=7,api=1\r\n";
    assert_eq!(proxy.conn().line("INFO modules").text(), module);
}

/// Keys that clients watch and wait for are counted as by one server: each once, and for as long as it lasts.
#[test]
fn keys_that_are_watched_and_waited_for_are_counted() {
    let nodes = support::databases::cluster(&["1"]);
    let proxy = proxy(&nodes);
    let mut info = proxy.conn();
    let mut counts = |expected: [&str; 6]| {
        let names = [
            "watching_clients",
            "total_watched_keys",
            "blocked_clients",
            "total_blocking_keys",
            "total_blocking_keys_on_nokey",
            "paused_actions",
        ];
        wait_for("the counts", Duration::from_secs(20), || {
            let text = info.line("INFO clients").text();
            let value = |name: &str| {
                let mut fields = text.lines().filter_map(|line| line.split_once(':'));
                fields.find_map(|(own, value)| (own == name).then_some(value))
            };
            let found = names.map(|name| value(name).unwrap_or("none"));
            (found == expected).then_some(())
        });
    };
    counts(["0", "0", "0", "0", "0", "none"]);
    let [mut first, mut second, mut third] = [proxy.conn(), proxy.conn(), proxy.conn()];
    first.line("WATCH {t}a {t}b {t}a");
    second.line("WATCH {t}a");
    counts(["2", "2", "0", "0", "0", "none"]);
    first.line("UNWATCH");
    counts(["1", "1", "0", "0", "0", "none"]);
    first.send(Conn::encode(&["BLPOP", "{t}l", "{t}m", "0"]));
    second.send(Conn::encode(&["BLPOP", "{t}l", "0"]));
    counts(["1", "1", "2", "2", "0", "none"]);
    third.line("XGROUP CREATE {t}s g $ MKSTREAM");
    third.send(Conn::encode(&[
        "XREADGROUP",
        "GROUP",
        "g",
        "c",
        "BLOCK",
        "0",
        "STREAMS",
        "{t}s",
        ">",
    ]));
    counts(["1", "1", "3", "3", "1", "none"]);
    drop((first, third));
    counts(["1", "1", "1", "1", "0", "none"]);
    // (One each: the relay does not see that the first has gone while its own request waits.)
    proxy.conn().line("RPUSH {t}l 1 2");
    counts(["1", "1", "0", "0", "0", "none"]);
    drop(second);
    proxy.conn().line("CLIENT PAUSE 100000 WRITE");
    counts(["0", "0", "0", "0", "0", "write"]);
}

/// Valkey has MULTI and WATCH among what is never queued: they spoil a transaction.
#[test]
fn what_is_never_queued_is_as_the_servers_say() {
    let nodes = support::databases::cluster(&["16", "16"]);
    let proxy = proxy(&nodes);
    wait_for("the servers' names", Duration::from_secs(20), || {
        let text = proxy.conn().line("INFO server").text();
        text.contains("valkey_version").then_some(())
    });
    for protocol in ["2", "3"] {
        let mut conn = proxy.conn();
        conn.command(&["HELLO", protocol]);
        for (line, name) in [("MULTI", "multi"), ("WATCH a", "watch"), ("SAVE", "save")] {
            assert_eq!(conn.line("MULTI"), "OK");
            let refused = conn.line(line);
            let expected = format!("ERR Command '{name}' not allowed inside a transaction");
            assert_eq!(refused.error(), Some(&*expected));
            let aborted = conn.line("EXEC");
            let expected = "EXECABORT Transaction discarded because of previous errors.";
            assert_eq!(aborted.error(), Some(expected), "{line}");
        }
    }
}
