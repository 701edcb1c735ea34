//! `CLIENT PAUSE WRITE` holds what one server holds: what may write, and no script or function that cannot.

use crate::support::{Cluster, Conn, Proxy, Single, session, wait_for};
use std::time::Duration;

const LIBRARY: &str = "#!lua name=pause\n\
    redis.register_function{function_name='Reads', callback=function(k) return redis.call('GET',k[1]) end, \
    flags={'no-writes'}}\n\
    redis.register_function{function_name='stale', callback=function() return 1 end, \
    flags={'allow-stale','no-writes'}}\n\
    redis.register_function{function_name='oom', callback=function() return 1 end, flags={'allow-oom'}}\n\
    redis.register_function('plain', function() return 1 end)";

/// Scripts that have been loaded, by their names in the requests below.
const LOADED: &[(&str, &str)] = &[
    (
        "READS",
        "#!lua flags=no-writes\nreturn redis.call('GET',KEYS[1])",
    ),
    ("SHEBANG", "#!lua\nreturn 1"),
    ("PLAIN", "return redis.call('GET',KEYS[1])"),
];

/// Each on a connection of its own; `|` between the requests of one connection.
const REQUESTS: &[&str] = &[
    "SET a 1",
    "GET a",
    "PING",
    "PUBLISH c x",
    "PFCOUNT p",
    "PFADD p x",
    "EVAL \"return 1\" 0",
    "EVAL \"return redis.call('GET',KEYS[1])\" 1 a",
    "EVAL \"#!lua flags=no-writes\\nreturn redis.call('GET',KEYS[1])\" 1 a",
    "EVAL \"#!lua flags=no-writes\\nreturn 7\" 0",
    "EVAL \"#!lua flags=no-writes,allow-stale\\nreturn 7\" 0",
    "EVAL \"#!lua flags=allow-oom\\nreturn 7\" 0",
    "EVAL \"#!lua\\nreturn 7\" 0",
    "EVAL \"#!lua flags=nosuch\\nreturn 7\" 0",
    "EVAL \"#!lua nosuch=no-writes\\nreturn 7\" 0",
    "EVAL \"#!js flags=no-writes\\nreturn 7\" 0",
    "EVAL \"#!lua flags=no-writes\" 0",
    "EVAL_RO \"return redis.call('GET',KEYS[1])\" 1 a",
    "EVAL_RO \"#!lua flags=no-writes\\nreturn 7\" 0",
    "EVAL_RO \"#!lua\\nreturn 7\" 0",
    "EVALSHA READS 1 a",
    "EVALSHA SHEBANG 0",
    "EVALSHA PLAIN 1 a",
    "EVALSHA_RO READS 1 a",
    "EVALSHA_RO SHEBANG 0",
    "EVALSHA_RO PLAIN 1 a",
    "EVALSHA_RO ffffffffffffffffffffffffffffffffffffffff 0",
    "EVALSHA ffffffffffffffffffffffffffffffffffffffff 0",
    "FCALL Reads 1 a",
    "FCALL reads 1 a",
    "FCALL stale 0",
    "FCALL oom 0",
    "FCALL plain 0",
    "FCALL nosuch 0",
    "FCALL_RO Reads 1 a",
    "FCALL_RO plain 0",
    "FCALL_RO nosuch 0",
    "MULTI | GET a | EXEC",
    "MULTI | SET a 1 | EXEC",
    "MULTI | EVAL \"#!lua flags=no-writes\\nreturn 7\" 1 a | EVALSHA READS 1 a | FCALL Reads 1 a | EXEC",
    "MULTI | GET a | FCALL plain 1 a | EXEC",
    "MULTI | GET a | EVAL \"return 1\" 1 a | EXEC",
    "MULTI | FLUSHALL | EXEC",
    "MULTI | DBSIZE | EXEC",
    "FUNCTION LIST",
    "SCRIPT EXISTS x",
    "SCRIPT LOAD \"return 5\"",
    "FUNCTION FLUSH",
    "DBSIZE",
    "SPUBLISH c x",
];

/// What is said to the requests of each connection, up to one that is held, which is nothing.
fn answers(addr: &str, protocol: &str) -> Vec<Vec<Option<String>>> {
    let mut boss = Conn::connect(addr);
    boss.command(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
    let names: Vec<(&str, String)> = LOADED
        .iter()
        .map(|(name, body)| (*name, boss.command(&["SCRIPT", "LOAD", body]).text()))
        .collect();
    assert_eq!(boss.line("SET a 7"), "OK");
    boss.line("DEL p");
    assert_eq!(boss.line("CLIENT PAUSE 600000 WRITE"), "OK");
    let answers = REQUESTS.iter().map(|requests| {
        let mut conn = Conn::connect(addr);
        conn.command(&["HELLO", protocol]);
        let list = format!("CLIENT LIST ID {}", conn.line("CLIENT ID").int());
        let requests: Vec<Vec<String>> = requests.split(" | ").map(session::words).collect();
        let named = |word: &String| {
            let found = names.iter().find(|(name, _)| name == word);
            found.map_or(word.clone(), |(_, digest)| digest.clone())
        };
        let mut heard = Vec::new();
        for request in &requests {
            let words: Vec<String> = request.iter().map(named).collect();
            conn.send(Conn::encode(&words));
            let answer = wait_for("an answer, or to be held", Duration::from_secs(20), || {
                let some = conn.read_some(Duration::from_millis(1)).ok().flatten();
                if let Some(bytes) = some.filter(|bytes| !bytes.is_empty()) {
                    return Some(Some(String::from_utf8_lossy(&bytes).into_owned()));
                }
                let flags = boss.line(&list).text();
                let flags = flags.split_once("flags=").map_or("", |(_, rest)| rest);
                let is_held = flags.split(' ').next().is_some_and(|own| own.contains('b'));
                is_held.then_some(None)
            });
            // A larger answer may come in pieces: that it came is what counts.
            heard.push(answer.map(|text| text.chars().take(20).collect()));
            if heard.last() == Some(&None) {
                break;
            }
        }
        heard
    });
    let answers = answers.collect();
    assert_eq!(boss.line("CLIENT UNPAUSE"), "OK");
    answers
}

#[test]
fn what_cannot_write_goes_on() {
    let one = Single::start();
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    for protocol in ["2", "3"] {
        let expected = answers(&one.addr(), protocol);
        let found = answers(proxy.addr(), protocol);
        let pairs = REQUESTS.iter().zip(found.iter().zip(&expected));
        let wrong: Vec<String> = pairs
            .filter(|(_, (found, expected))| found != expected)
            .map(|(request, (found, expected))| format!("{request}: {found:?} for {expected:?}"))
            .collect();
        assert!(wrong.is_empty(), "RESP{protocol}\n{}", wrong.join("\n"));
    }
}

/// A pause holds at once what may write, whether a master lists its functions or is silent.
#[test]
fn a_silent_node_keeps_no_pause_from_holding() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "2"]);
    let mut boss = proxy.conn();
    let mut holds_at_once = || {
        for port in cluster.ports() {
            cluster.freeze(port);
        }
        boss.send(Conn::encode(&["CLIENT", "PAUSE", "600000", "WRITE"]));
        // Whoever writes before all workers know of the pause waits for a silent node, and is not held: so some write, one
        // after the other.
        let (mut writers, mut other) = (Vec::new(), proxy.conn());
        wait_for("one to be held", Duration::from_secs(20), || {
            let mut writer = proxy.conn();
            let list = format!("CLIENT LIST ID {}", writer.line("CLIENT ID").int());
            writer.send(Conn::encode(&["SET", "a", "1"]));
            writers.push(writer);
            (0..10).find_map(|_| {
                std::thread::sleep(Duration::from_millis(5));
                other.line(&list).text().contains("flags=b").then_some(())
            })
        });
        // The nodes are waited for, and the answer says whether they still were.
        let early = boss.read_some(Duration::from_millis(1)).expect("open");
        match &early {
            Some(answer) => assert_eq!(answer, b"+OK\r\n"),
            None => assert_eq!(boss.read_reply(), "OK"),
        }
        for port in cluster.ports() {
            cluster.thaw(port);
        }
        assert_eq!(boss.line("CLIENT UNPAUSE"), "OK");
        for writer in &mut writers {
            assert_eq!(writer.read_reply(), "OK");
        }
        early.is_none()
    };
    // On a busy machine the answer may be there first.
    assert!((0..5).any(|_| holds_at_once()));
}
