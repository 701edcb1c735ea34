//! The least that the nodes must allow `-backend-user`: the list in dist/docs/configuration.md is enough for all that the proxy asks of
//! nodes in its own name, and none of it is asked for nothing.

use crate::support::{self, Cluster, Conn, Proxy, key_in_slot, slot_of, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What that page allows, without what clients use.
fn least() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/docs/configuration.md");
    let text = std::fs::read_to_string(path).expect("the page");
    let line = text
        .lines()
        .find(|line| line.starts_with("ACL SETUSER proxy"));
    let words = line.expect("the list").split_whitespace();
    let rules: Vec<String> = words
        .map(str::to_string)
        .filter(|word| word.starts_with('+'))
        .collect();
    assert!(rules.len() > 5, "{rules:?}");
    rules
}

/// What clients of this test use.
const CLIENTS: &str = "~* &* +get +set +eval +evalsha +fcall +multi +exec +watch +blpop +rpush +subscribe +unsubscribe \
    +publish +randomkey +wait +keys +mget";

/// A slot that migrates all the time.
const MIGRATING: u16 = 6000;

/// What every user may send, and what the test and replicas send.
const OTHERS: &[&str] = &[
    "hello",
    "auth",
    "acl|setuser",
    "acl|log",
    "config|resetstat",
    "function|flush",
    "replconf",
    "psync",
    "script|flush",
    "lpop",
    "select",
];

/// A library that the proxy has seen being loaded.
const LIBRARY: &str = "#!lua name=least\nredis.register_function('one', function() return 1 end)";

fn allow(cluster: &Cluster, rules: &[String]) {
    for port in cluster.ports() {
        let mut line = format!("ACL SETUSER proxy reset on >sesame {CLIENTS}");
        rules.iter().for_each(|rule| line += &format!(" {rule}"));
        assert_eq!(cluster.raw(port).line(&line), "OK", "{line}");
        assert_eq!(cluster.raw(port).line("ACL LOG RESET"), "OK");
    }
}

/// What nodes have refused, each once.
fn refused(cluster: &Cluster) -> Vec<String> {
    let mut all = Vec::new();
    for port in cluster.ports() {
        for entry in cluster.raw(port).line("ACL LOG 100").items() {
            let pairs = support::compare::pairs(entry);
            let object = pairs.iter().find(|(name, _)| name == "object");
            all.push(object.map(|(_, value)| value.text()).unwrap_or_default());
        }
    }
    all.sort();
    all.dedup();
    all
}

/// Nodes lose a script and a library; the proxy has seen both.
fn lose_and_call_again(cluster: &Cluster, conn: &mut Conn, key: &str) {
    assert_eq!(
        conn.command(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]),
        "least"
    );
    for port in cluster.masters() {
        assert_eq!(cluster.raw(port).line("SCRIPT FLUSH"), "OK");
        assert_eq!(cluster.raw(port).line("FUNCTION FLUSH"), "OK");
    }
    // The script is `return 1`.
    let name = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    assert_eq!(conn.command(&["EVALSHA", name, "1", key]).int(), 1);
    assert_eq!(conn.command(&["FCALL", "one", "1", key]).int(), 1);
}

/// Scripts answer in the nodes' own words, so that the proxy asks whether they have run.
fn make_up_words(conn: &mut Conn, key: &str) {
    let moved = format!("MOVED {} 127.0.0.1:1", slot_of(key));
    for (words, keys) in [
        (moved.as_str(), 1),
        ("LOADING made up", 0),
        ("READONLY made up", 0),
    ] {
        let script = format!("return redis.error_reply('{words}')");
        let count = keys.to_string();
        let request = ["EVAL", &script, &count, key];
        assert!(conn.command(&request[..3 + keys]).is_error());
    }
}

/// Clients go away while they watch, and while they queue.
fn leave_in_the_middle(proxy: &Proxy, key: &str) {
    let mut watching = proxy.conn();
    assert_eq!(watching.command(&["WATCH", key]), "OK");
    let mut queueing = proxy.conn();
    assert_eq!(queueing.line("MULTI"), "OK");
    assert_eq!(queueing.command(&["GET", key]), "QUEUED");
}

/// What nodes have been sent, and how often, as they count it.
fn calls(cluster: &Cluster, ports: &[u16]) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    for port in ports {
        let text = cluster.raw(*port).line("INFO commandstats").text();
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("cmdstat_"))
        {
            let (name, fields) = line.split_once(":calls=").expect("name:calls=n,...");
            let count = fields
                .split(',')
                .next()
                .and_then(|count| count.parse::<i64>().ok());
            *all.entry(name.to_string()).or_insert(0) += count.expect("a number");
        }
    }
    all.retain(|_, count| *count > 0);
    all
}

/// A client's day, in which the proxy asks all that it ever asks of sound nodes in its own name.
fn work(cluster: &Cluster) {
    let flags = [
        "-backend-user",
        "proxy",
        "-backend-password",
        "sesame",
        "-read-prefer",
        "1",
    ];
    let proxy = Proxy::start(cluster, &flags);
    for protocol in ["2", "3"] {
        let mut conn = Conn::connect(proxy.addr());
        conn.line(&format!("HELLO {protocol}"));
        for slot in [1, MIGRATING, 12000] {
            assert_eq!(conn.command(&["SET", &key_in_slot(slot, "k"), "v"]), "OK");
            let get = ["GET", &key_in_slot(slot, "k")];
            if slot == MIGRATING {
                // The replicas of the node that the slot leaves never have it, and do not know that it is elsewhere.
                assert!(!conn.command(&get).is_error());
                continue;
            }
            // A replica serves it, once it has it.
            wait_for("a replica to have it", Duration::from_secs(20), || {
                (conn.command(&get) == "v").then_some(())
            });
        }
        let key = key_in_slot(1, "list");
        conn.command(&["WATCH", &key]);
        assert_eq!(conn.line("MULTI"), "OK");
        conn.command(&["RPUSH", &key, "v"]);
        assert!(!conn.line("EXEC").is_error());
        assert_eq!(conn.command(&["BLPOP", &key, "1"]).items().len(), 2);
        let mut blocked = proxy.conn();
        let number = blocked.line("CLIENT ID").int();
        blocked.send(Conn::encode(&["BLPOP", &key, "0"]));
        wait_for("the blocked", Duration::from_secs(20), || {
            (conn.line(&format!("CLIENT UNBLOCK {number}")).int() == 1).then_some(())
        });
        // Until its node has let it go, it may still get what comes.
        assert!(!blocked.read_reply().is_error());
        let script = conn.command(&["EVAL", "return 1", "1", &key]);
        assert_eq!(script.int(), 1);
        lose_and_call_again(cluster, &mut conn, &key);
        make_up_words(&mut conn, &key);
        leave_in_the_middle(&proxy, &key);
        assert!(!conn.line("RANDOMKEY").is_error());
        assert!(!conn.line("WAIT 0 100").is_error());
        assert!(!conn.line("INFO").is_error());
        assert!(conn.line("KEYS *").items().len() >= 3);
        let mut subscriber = proxy.conn();
        subscriber.line("SUBSCRIBE news");
        wait_for("a message", Duration::from_secs(20), || {
            (conn.line("PUBLISH news x").int() > 0).then_some(())
        });
    }
    // Replicas are read as soon as they have caught up.
    let masters = cluster.masters();
    let all = cluster.ports().into_iter();
    let replicas: Vec<u16> = all.filter(|port| !masters.contains(port)).collect();
    let mut reader = proxy.conn();
    wait_for("a read of a replica", Duration::from_secs(20), || {
        for slot in [1, 12000] {
            assert!(!reader.command(&["GET", &key_in_slot(slot, "k")]).is_error());
        }
        calls(cluster, &replicas)
            .contains_key("readonly")
            .then_some(())
    });
    // The servers are asked what they are a moment behind the start.
    wait_for("the survey", Duration::from_secs(20), || {
        proxy.log().contains("servers: version").then_some(())
    });
}

/// Three masters, each with a replica; a slot is on its way, and replicas are not pinged by their masters.
fn ground() -> Cluster {
    let cluster = Cluster::start_with(3, 1, &["--repl-ping-replica-period", "3600"]);
    cluster.begin_migration(
        MIGRATING,
        cluster.master_of(MIGRATING),
        cluster.master_of(1),
    );
    allow(&cluster, &least());
    cluster
}

#[test]
fn the_list_is_enough() {
    let cluster = ground();
    work(&cluster);
    assert_eq!(refused(&cluster), Vec::<String>::new());
}

#[test]
fn nothing_on_the_list_is_for_nothing() {
    let cluster = ground();
    for port in cluster.ports() {
        // Whatever the proxy may come to send is to be seen, not refused.
        let line = format!("ACL SETUSER proxy reset on >sesame {CLIENTS} +@all");
        assert_eq!(cluster.raw(port).line(&line), "OK");
        assert_eq!(cluster.raw(port).line("CONFIG RESETSTAT"), "OK");
    }
    work(&cluster);
    let mut seen = calls(&cluster, &cluster.ports());
    // The client has loaded its library twice, at each master; what comes from masters does not count.
    let loads = calls(&cluster, &cluster.masters())["function|load"];
    assert!(loads > 2 * 3, "{loads}");
    let clients: Vec<&str> = CLIENTS.split(['+', ' ']).collect();
    seen.retain(|name, _| !clients.contains(&name.as_str()) && !OTHERS.contains(&name.as_str()));
    let seen: BTreeSet<String> = seen.keys().map(|name| format!("+{name}")).collect();
    let listed: BTreeSet<String> = least().into_iter().collect();
    let words: Vec<&str> = seen.iter().map(String::as_str).collect();
    assert_eq!(seen, listed, "the list would be: {}", words.join(" "));
}
