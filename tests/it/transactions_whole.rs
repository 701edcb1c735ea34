//! Transactions with requests that the proxy serves itself or that are for all nodes, compared with one cluster node
//! that has all slots. The tests change all keys and what is configured, so that each has servers of its own.

use crate::support::{Cluster, Conn, Proxy, Reply, compare, session, wait_for};
use std::time::Duration;

/// Sequences of one client, `|` between its requests; `2:` is said by another client. Each begins without any key;
/// `a` and `b` are at two nodes.
const SEQUENCES: &[&str] = &[
    "SET a 1 | SET b 2 | MULTI | DBSIZE | SET {a}x 1 | DBSIZE | FLUSHALL | DBSIZE | SET a 9 | DBSIZE | EXEC | DBSIZE",
    "SET b 2 | MULTI | DBSIZE | KEYS * | FLUSHALL | DBSIZE | EXEC | DBSIZE",
    "SET b 2 | MULTI | SET a 1 | KEYS * | EXEC",
    "SET b 2 | MULTI | FLUSHDB | SET a 1 | EXEC | KEYS *",
    "SET b 2 | MULTI | SET a 1 | FLUSHALL ASYNC | EXEC | KEYS *",
    "SET b 2 | MULTI | SET a 1 | FLUSHALL nonsense | DBSIZE | EXEC | KEYS *",
    "SET b 2 | MULTI | FLUSHALL | SET a | EXEC | KEYS *",
    "SET b 2 | MULTI | FLUSHALL | DISCARD | KEYS *",
    "SET b 2 | MULTI | FLUSHALL | NOSUCH | EXEC | KEYS *",
    "SET b 2 | MULTI | FLUSHALL | DBSIZE x | EXEC | KEYS *",
    "SET b 2 | WATCH a | 2: SET a 5 | MULTI | FLUSHALL | EXEC | DBSIZE",
    "SET b 2 | WATCH a | MULTI | FLUSHALL | SET a 1 | DBSIZE | EXEC | DBSIZE",
    "SET b 2 | WATCH b | MULTI | FLUSHALL | DBSIZE | EXEC | DBSIZE",
    "WATCH a | 2: SET a 5 | MULTI | CONFIG SET maxmemory-samples 8 | EXEC | CONFIG GET maxmemory-samples",
    "WATCH a | 2: SET a 5 | MULTI | SET a 1 | CLIENT SETNAME x | EXEC | CLIENT GETNAME",
    "WATCH a | 2: SET a 5 | MULTI | SCRIPT LOAD \"return 77\" | EXEC | EVALSHA 4b6c1fbd9ecd6d9f5a5ab3a5b2a2d9c4ac4f1e6b 0",
    "WATCH a | MULTI | CLIENT SETNAME x | CONFIG GET maxmemory-samples | EXEC | CLIENT GETNAME",
    "MULTI | CONFIG SET maxmemory-samples 7 | CONFIG GET maxmemory-samples | SET a 1 | CONFIG SET maxmemory-samples 5 \
     | CONFIG GET maxmemory-samples | EXEC",
    "MULTI | CONFIG SET nosuch 7 | CONFIG GET nosuch | SET a 1 | EXEC | GET a",
    "MULTI | CONFIG RESETSTAT | SET a 1 | EXEC | GET a",
    "MULTI | SCRIPT LOAD \"return 1\" | EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0 \
     | SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db nosuch | EXEC | SCRIPT EXISTS \
     e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
    "MULTI | SCRIPT LOAD \"return redis.call('INCR',KEYS[1])\" | SET a 4 | EVAL \"return redis.call('INCR',KEYS[1])\" 1 a \
     | EXEC | GET a | SCRIPT FLUSH",
    "MULTI | SCRIPT LOAD \"return (\" | SET a 4 | EXEC | GET a",
    "MULTI | SCRIPT FLUSH | SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db | EXEC",
    "MULTI | FUNCTION LOAD REPLACE \"#!lua name=whole\\nredis.register_function('whole',function() return 3 end)\" \
     | FCALL whole 0 | FUNCTION DELETE whole | FUNCTION STATS | FUNCTION KILL | SCRIPT KILL | EXEC",
    "MULTI | SLOWLOG RESET | SLOWLOG LEN | SLOWLOG GET 1 | EXEC",
    "MULTI | LATENCY RESET nosuch | LATENCY LATEST | LATENCY HISTORY nosuch | EXEC",
    "MULTI | RANDOMKEY | KEYS * | SET a 1 | EXEC | DEL a",
    "MULTI | SET a 1 | RANDOMKEY | KEYS * | EXEC",
    "MULTI | CLIENT PAUSE 1 WRITE | SET a 1 | CLIENT UNPAUSE | EXEC | GET a",
    "MULTI | CLIENT PAUSE x | CLIENT PAUSE 1 nonsense | SET a 1 | EXEC | GET a",
    "MULTI | CLIENT KILL ID 999999 | CLIENT KILL 1.2.3.4:5 | SET a 1 | EXEC | GET a",
    "MULTI | CLIENT UNBLOCK 999999 | CLIENT NO-EVICT on | CLIENT NO-EVICT off | EXEC",
    "MULTI | CLIENT SETNAME me | SET a 1 | CLIENT GETNAME | EXEC | CLIENT GETNAME | CLIENT SETNAME \"\"",
    "MULTI | CLIENT REPLY ON | PING | EXEC",
    "MULTI | CLIENT TRACKINGINFO | CLIENT GETREDIR | EXEC",
    "MULTI | CLIENT | EXEC",
    "MULTI | CLIENT NOSUCH | EXEC",
    "MULTI | CONFIG | SET a 1 | EXEC | GET a",
    "MULTI | MONITOR | SET a 1 | EXEC | GET a",
    "MULTI | SAVE | SET a 1 | EXEC | GET a",
    "MULTI | ACL WHOAMI | ACL LOG RESET | ACL CAT nosuch | EXEC",
    "MULTI | ACL SETUSER whole on | ACL DELUSER whole | EXEC",
    "MULTI | COMMAND COUNT x | COMMAND GETKEYS GET a | SET a 1 | COMMAND INFO nosuch | EXEC",
    "MULTI | PUBSUB CHANNELS | PUBSUB NUMPAT | PUBSUB NUMSUB a | PUBLISH a b | EXEC",
    "MULTI | DEBUG SLEEP 0 | SET a 1 | DEBUG NOSUCH | EXEC | GET a",
    "MULTI | DEBUG OBJECT | DEBUG SET-ACTIVE-EXPIRE 1 | EXEC",
    "MULTI | MEMORY PURGE | WAIT 0 10 | ECHO x | EXEC",
    "MULTI | HELLO 3 | PING | EXEC | HELLO 2",
    "MULTI | SET a 1 | HELLO 9 | SET a 2 | EXEC | GET a",
    "MULTI | AUTH x | SET a 1 | EXEC | GET a",
    "MULTI | SELECT 0 | SET a 1 | SELECT 0 | GET a | EXEC",
    "MULTI | OBJECT HELP | SET a 1 | DBSIZE | EXEC",
    "MULTI | DBSIZE | SET a x | INCR a | DBSIZE | EXEC | DBSIZE",
    "MULTI | DBSIZE | SET a 1 | SET b 1 | DBSIZE | EXEC | DBSIZE",
    "MULTI | DBSIZE | MULTI | WATCH a | EXEC",
    "MULTI | INFO nosuch | CLUSTER KEYSLOT a | TIME x | EXEC",
    "MULTI | LASTSAVE | EXEC x | EXEC",
    // Wrong syntax, so that no keys can be found: it is queued, and EXEC has the error.
    "MULTI | XREAD STREAMS a b 1 | SET a 1 | EXEC | GET a",
    "MULTI | XREAD COUNT 1 STREAMS a | EXEC",
    "MULTI | XREAD BLOCK 1 STREAMS a | XREAD BLOCK x STREAMS a | SET a 1 | EXEC | GET a",
    "MULTI | XREADGROUP GROUP g c STREAMS a b 1 | SET a 1 | EXEC | GET a",
    "MULTI | XREAD COUNT 1 nothing a | SET a 1 | EXEC | GET a",
    "MULTI | MSET a 1 {a}b | SET a 1 | EXEC | GET a",
    "MULTI | SET a 1 | MSETNX a 1 {a}b | DBSIZE | EXEC | GET a",
    "MULTI | MSET a 1 {a}b | DISCARD | MSET a 1 {a}b",
    "WATCH a | 2: SET a 5 | MULTI | MSET a 1 {a}b | SET a 1 | EXEC | GET a",
    "WATCH a | MULTI | MSET a 1 {a}b | XREAD STREAMS a b 1 | INCR a | EXEC | GET a",
    "MULTI | EVAL \"return 1\" x | EVAL \"return 1\" -1 a | EVAL \"return 1\" 5 a | SET a 1 | EXEC | GET a",
    "MULTI | FCALL f x a | FCALL f 9 a | ZUNIONSTORE d x a | ZUNIONSTORE d 5 a | ZUNION 5 a | SET a 1 | EXEC | GET a",
    "MULTI | ZINTERCARD 0 a | SINTERCARD x a | LMPOP 5 a LEFT | BLMPOP 1 x a LEFT | SET a 1 | EXEC | GET a",
    "MULTI | SORT a STORE | SORT a BY | GEORADIUS a 1 2 3 km STORE | SET a 1 | EXEC | GET a",
    "XREAD STREAMS a b 1 | XREADGROUP GROUP g c STREAMS a b 1 | XREAD BLOCK 1 STREAMS a b 1 | MSET a 1 {a}b",
];

/// Sequences whose replies are no frames by themselves: all bytes are compared.
const RAW: &[&str] = &[
    "MULTI | SUBSCRIBE c d | PING | EXEC | PING | UNSUBSCRIBE d c",
    "MULTI | SUBSCRIBE c | SET a 1 | UNSUBSCRIBE c | GET a | EXEC",
    "MULTI | SET a 1 | UNSUBSCRIBE | PUNSUBSCRIBE x y | SUNSUBSCRIBE | EXEC",
    "MULTI | PSUBSCRIBE c* | PUNSUBSCRIBE | SSUBSCRIBE s | SUNSUBSCRIBE | EXEC",
    "MULTI | CLIENT REPLY SKIP | PING | EXEC | PING | PING | PING",
    "MULTI | PING | CLIENT KILL TYPE normal SKIPME no | PING | EXEC | PING",
    "MULTI | SET a 1 | CLIENT KILL TYPE normal SKIPME no | DBSIZE | EXEC | PING",
    "MULTI | DBSIZE | QUIT | EXEC",
    "MULTI | DBSIZE | RESET | EXEC",
];

struct Ground {
    one: Cluster,
    _cluster: Cluster,
    proxy: Proxy,
}

impl Ground {
    fn start(flags: &[&str]) -> Ground {
        let args = [
            "--enable-debug-command",
            "yes",
            // On a busy machine anything may be slow enough for the log.
            "--slowlog-log-slower-than",
            "-1",
        ];
        let one = Cluster::start_with(1, 0, &args);
        let cluster = Cluster::start_with(3, 0, &args);
        let proxy = Proxy::start(&cluster, flags);
        Ground {
            one,
            _cluster: cluster,
            proxy,
        }
    }

    fn addresses(&self) -> [String; 2] {
        let node = format!("127.0.0.1:{}", self.one.ports()[0]);
        [node, self.proxy.addr().to_string()]
    }
}

fn clear(conn: &mut Conn) {
    assert_eq!(conn.line("FLUSHALL"), "OK");
    assert_eq!(conn.line("SCRIPT FLUSH"), "OK");
    assert_eq!(conn.line("CONFIG SET maxmemory-samples 5"), "OK");
}

/// Without what a server says of itself: times, numbers of clients, of its own uptime.
fn tidied(reply: Reply) -> Reply {
    match compare::sorted(reply) {
        Reply::Array(items) if items.iter().any(|word| *word == "proto") => {
            Reply::Simple("hello".into())
        }
        Reply::Array(items) => Reply::Array(items.into_iter().map(tidied).collect()),
        Reply::Map(pairs) if pairs.iter().any(|(name, _)| *name == "proto") => {
            Reply::Simple("hello".into())
        }
        Reply::Int(time) if time > 1_000_000_000 => Reply::Simple("time".into()),
        other => other,
    }
}

#[test]
fn what_the_proxy_serves_is_answered_in_its_place() {
    let ground = Ground::start(&[]);
    let [node, proxy] = ground.addresses();
    let mut different = Vec::new();
    for sequence in SEQUENCES {
        for (protocol, at_once) in [("2", false), ("2", true), ("3", false), ("3", true)] {
            let [expected, found] = [&node, &proxy].map(|addr| {
                let heard = session::replies(addr, sequence, protocol, at_once, clear);
                heard.into_iter().map(tidied).collect::<Vec<Reply>>()
            });
            if found != expected {
                different.push(format!(
                    "{sequence} (RESP{protocol}, at once: {at_once})\n  one node {expected:?}\n  proxy    {found:?}"
                ));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// All that a client hears that sends everything at once.
fn bytes(addr: &str, sequence: &str, protocol: &str) -> String {
    let mut conn = Conn::connect(addr);
    clear(&mut conn);
    conn.command(&["HELLO", protocol]);
    let words = sequence.split(" | ").map(session::words);
    let requests: Vec<u8> = words.flat_map(|words| Conn::encode(&words)).collect();
    conn.send(requests);
    let _ = conn.finish();
    let heard = conn.read_to_close().unwrap_or_default();
    String::from_utf8_lossy(&heard).into_owned()
}

#[test]
fn replies_that_are_no_frames_are_the_same_bytes() {
    let ground = Ground::start(&[]);
    let [node, proxy] = ground.addresses();
    for sequence in RAW {
        for protocol in ["2", "3"] {
            let expected = bytes(&node, sequence, protocol);
            let found = bytes(&proxy, sequence, protocol);
            assert_eq!(found, expected, "{sequence} (RESP{protocol})");
        }
    }
}

/// INFO and CLIENT LIST are of the proxy: they are there, whole, and between the others.
#[test]
fn insight_inside_a_transaction_is_that_of_outside() {
    let ground = Ground::start(&[]);
    let mut conn = ground.proxy.conn();
    for protocol in ["2", "3"] {
        conn.command(&["HELLO", protocol]);
        let outside: Vec<Reply> = [
            "INFO server",
            "CLIENT LIST",
            "CONFIG GET port",
            "CLUSTER INFO",
        ]
        .iter()
        .map(|line| conn.line(line))
        .collect();
        for request in [
            "MULTI",
            "INFO server",
            "INCR a",
            "CLIENT LIST",
            "CONFIG GET port",
            "INCR a",
            "CLUSTER INFO",
        ] {
            conn.line(request);
        }
        let reply = conn.line("EXEC");
        let items = reply.items();
        assert_eq!(items.len(), 6, "{reply:?}");
        for (outside, index) in outside.iter().zip([0, 2, 3, 5]) {
            assert_eq!(compare::kind(outside), compare::kind(&items[index]));
        }
        assert!(items[0].text().contains("redis_version:"));
        assert!(items[2].text().contains("cmd=client|list"));
        assert_eq!(items[4].int(), items[1].int() + 1);
    }
}

/// A command that takes effect on other clients takes effect.
#[test]
fn clients_are_killed_and_paused_from_inside() {
    let ground = Ground::start(&["-max-procs", "3"]);
    let proxy = &ground.proxy;
    let (mut conn, mut victim) = (proxy.conn(), proxy.conn());
    let id = victim.line("CLIENT ID").int().to_string();
    assert_eq!(conn.line("MULTI"), "OK");
    assert_eq!(conn.line("SET a 1"), "QUEUED");
    assert_eq!(conn.command(&["CLIENT", "KILL", "ID", &id]), "QUEUED");
    assert_eq!(conn.line("CLIENT PAUSE 60000 WRITE"), "QUEUED");
    assert_eq!(conn.line("SET a 2"), "QUEUED");
    assert!(victim.is_open(Duration::from_millis(50)));
    let mut second = proxy.conn();
    second.pipeline(&[vec!["MULTI"], vec!["FLUSHALL"]]);
    let reply = conn.line("EXEC");
    let ok = || Reply::Simple("OK".into());
    assert_eq!(reply.items(), [ok(), Reply::Int(1), ok(), ok()]);
    assert!(!victim.is_open(Duration::from_secs(30)));
    // It holds what comes next, and an EXEC with writes.
    let mut writer = proxy.conn();
    writer.send(Conn::encode(&["SET", "a", "3"]));
    second.send(Conn::encode(&["EXEC"]));
    assert_eq!(conn.line("GET a"), "2");
    assert!(
        writer.is_open(Duration::from_millis(100)) && second.is_open(Duration::from_millis(100))
    );
    assert_eq!(conn.line("MULTI"), "OK");
    assert_eq!(conn.line("CLIENT UNPAUSE"), "QUEUED");
    assert_eq!(conn.line("EXEC").items(), [ok()]);
    assert_eq!(writer.read_reply(), "OK");
    assert_eq!(second.read_reply().items(), [ok()]);
}

/// A transaction of very many requests of the proxy's own is served a share in each turn.
#[test]
fn a_long_transaction_is_served_whole() {
    let ground = Ground::start(&[]);
    let mut conn = ground.proxy.conn();
    let count = 5000;
    let mut requests = vec![vec!["MULTI".to_string()]];
    for n in 0..count {
        requests.push(vec!["ECHO".to_string(), n.to_string()]);
        if n % 1000 == 0 {
            requests.push(vec!["DBSIZE".to_string()]);
            requests.push(vec!["INCR".to_string(), "a".to_string()]);
        }
    }
    requests.push(vec!["EXEC".to_string()]);
    let replies = conn.pipeline(&requests);
    let last = replies.last().expect("a reply");
    assert_eq!(last.items().len(), count + 10);
    let echoes = last.items().iter().filter_map(Reply::bulk_text);
    assert!(echoes.eq((0..count).map(|n| n.to_string())));
    assert_eq!(conn.line("PING"), "PONG");
}

/// With parts in several slots, commands of many keys are cut as outside.
#[test]
fn commands_of_many_keys_are_cut_where_parts_are_allowed() {
    let ground = Ground::start(&["-cross-slot-transactions", "per-slot"]);
    let mut one = ground.one.raw(ground.one.ports()[0]);
    let mut conn = ground.proxy.conn();
    let keys: Vec<String> = (0..60).map(|n| format!("key{n}")).collect();
    for protocol in ["2", "3"] {
        conn.command(&["HELLO", protocol]);
        one.command(&["HELLO", protocol]);
        assert_eq!(conn.line("FLUSHALL"), "OK");
        let words = |first: &str, with_values: bool| {
            let mut words = vec![first.to_string()];
            for (n, key) in keys.iter().enumerate() {
                words.push(key.clone());
                words.extend(with_values.then(|| format!("value{n}")));
            }
            words
        };
        let mut requests = vec![words("MSET", true), words("MGET", false)];
        requests.push(vec!["APPEND".into(), keys[7].clone(), "x".into()]);
        requests.push(words("MGET", false));
        requests.push(vec!["EXPIRE".into(), keys[3].clone(), "100".into()]);
        requests.push(words("TOUCH", false));
        requests.push(vec!["DEL".into(), keys[1].clone(), keys[2].clone()]);
        requests.push(vec![
            "UNLINK".into(),
            keys[1].clone(),
            keys[4].clone(),
            keys[5].clone(),
        ]);
        requests.push(words("EXISTS", false));
        requests.push(vec!["ECHO".into(), "x".into()]);
        requests.push(vec!["DBSIZE".into()]);
        // One after the other is what one server does: a node that has all slots refuses two of them.
        let expected: Vec<Reply> = requests.iter().map(|words| each(&mut one, words)).collect();
        assert_eq!(conn.line("MULTI"), "OK");
        for words in &requests {
            assert_eq!(conn.command(words), "QUEUED", "{words:?}");
        }
        let reply = conn.line("EXEC");
        assert_eq!(reply.items(), expected, "RESP{protocol}");
        assert_eq!(one.line("FLUSHALL"), "OK");
    }
    // What is wrong with one part keeps all from running.
    assert_eq!(conn.line("FLUSHALL"), "OK");
    assert_eq!(conn.line("MULTI"), "OK");
    assert_eq!(conn.line("MSET a 1 b 2 c 3"), "QUEUED");
    assert!(conn.line("MSET a").is_error());
    assert!(
        conn.line("EXEC")
            .error()
            .expect("aborted")
            .starts_with("EXECABORT")
    );
    assert_eq!(conn.line("DBSIZE"), Reply::Int(0));
    // An error of one part is the error of its request, and of no other; so is wrong syntax.
    assert_eq!(conn.line("MULTI"), "OK");
    assert_eq!(conn.line("MSET a 1 b"), "QUEUED");
    assert_eq!(conn.line("MSET a 1 b 2"), "QUEUED");
    let reply = conn.line("EXEC");
    let expected = "ERR wrong number of arguments for 'mset' command";
    assert_eq!(reply.items()[0].error(), Some(expected));
    assert_eq!(reply.items()[1..], [Reply::Simple("OK".into())]);
    assert_eq!(conn.line("FLUSHALL"), "OK");
    assert_eq!(conn.line("MULTI"), "OK");
    assert!(conn.line("MSETNX a 1 b 2").is_error());
    assert_eq!(conn.line("DISCARD"), "OK");
    // More slots than may be are refused at once.
    let mut many = vec!["MGET".to_string()];
    many.extend((0..4000).map(|n| format!("many{n}")));
    assert_eq!(conn.line("MULTI"), "OK");
    assert_eq!(
        conn.command(&many).error(),
        Some("ERR too many slots in one transaction")
    );
    assert!(conn.line("EXEC").is_error());
}

/// What one server without slots says to a request, made of what a cluster node says to each of its keys.
fn each(node: &mut Conn, words: &[String]) -> Reply {
    let stride = match words[0].as_str() {
        "MSET" => 2,
        "MGET" | "TOUCH" | "DEL" | "UNLINK" | "EXISTS" => 1,
        _ => return node.command(words),
    };
    let parts: Vec<Reply> = words[1..]
        .chunks(stride)
        .map(|key| node.command(&[&words[..1], key].concat()))
        .collect();
    match &parts[0] {
        Reply::Array(_) => Reply::Array(parts.iter().flat_map(|r| r.items().to_vec()).collect()),
        Reply::Int(_) => Reply::Int(parts.iter().map(Reply::int).sum()),
        _ => parts[0].clone(),
    }
}

/// While a script keeps the nodes busy, requests are refused as by one node, and EXEC says why nothing was executed.
#[test]
fn busy_nodes_refuse_what_is_queued_in_their_own_words() {
    let ground = Ground::start(&[]);
    let heard = ground.addresses().map(|addr| {
        let mut setup = Conn::connect(&addr);
        setup.line("CONFIG SET lua-time-limit 10");
        let mut busy = Conn::connect(&addr);
        let (mut early, mut late) = (Conn::connect(&addr), Conn::connect(&addr));
        let mut heard = vec![early.line("MULTI"), early.line("SET a 1")];
        busy.send(Conn::encode(&["EVAL", "while true do end", "1", "a"]));
        wait_for("busy", Duration::from_secs(20), || {
            let reply = setup.line("GET a");
            reply
                .error()
                .is_some_and(|e| e.starts_with("BUSY"))
                .then_some(())
        });
        heard.push(early.line("EXEC"));
        for request in [
            "MULTI", "SET a 1", "GET a", "EXEC", "MULTI", "GET a", "DISCARD", "MULTI", "GET a",
        ] {
            heard.push(late.line(request));
        }
        assert_eq!(setup.line("SCRIPT KILL"), "OK");
        assert!(busy.read_reply().is_error());
        heard.push(late.line("EXEC"));
        heard.push(late.line("GET a"));
        heard
    });
    let [one, proxy] = heard;
    assert_eq!(proxy, one);
}
