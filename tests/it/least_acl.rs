//! The least that the nodes must allow `-backend-user`: the list in dist/docs/configuration.md is enough for all that the proxy asks of
//! nodes in its own name, and none of it is asked for nothing.

use crate::support::{self, Cluster, Conn, Proxy, key_in_slot, wait_for};
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
const CLIENTS: &str = "~* &* +get +set +eval +evalsha +multi +exec +watch +unwatch +discard +blpop +rpush +subscribe \
    +psubscribe +ssubscribe +unsubscribe +punsubscribe +sunsubscribe +publish +spublish +dbsize +mget";

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
        for slot in [1, 6000, 12000] {
            assert_eq!(conn.command(&["SET", &key_in_slot(slot, "k"), "v"]), "OK");
            assert_eq!(conn.command(&["GET", &key_in_slot(slot, "k")]), "v");
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
        wait_for("the blocked", Duration::from_secs(10), || {
            (conn.line(&format!("CLIENT UNBLOCK {number}")).int() == 1).then_some(())
        });
        // Until its node has let it go, it may still get what comes.
        assert!(!blocked.read_reply().is_error());
        let script = conn.command(&["EVAL", "return 1", "1", &key]);
        assert_eq!(script.int(), 1);
        assert!(!conn.line("INFO").is_error());
        assert!(conn.line("DBSIZE").int() >= 3);
        let mut subscriber = proxy.conn();
        subscriber.line("SUBSCRIBE news");
        wait_for("a message", Duration::from_secs(10), || {
            (conn.line("PUBLISH news x").int() > 0).then_some(())
        });
    }
    // The servers are asked what they are a moment behind the start.
    wait_for("the survey", Duration::from_secs(10), || {
        proxy.log().contains("servers: version").then_some(())
    });
}

#[test]
fn the_list_is_enough() {
    let cluster = Cluster::start(3, 1);
    let rules = least();
    allow(&cluster, &rules);
    work(&cluster);
    assert_eq!(refused(&cluster), Vec::<String>::new());
}
