//! Clients of a namespace: what is theirs, what is not, and what becomes of it when nodes change.

use std::time::Duration;

use crate::support::session::words;
use crate::support::{Cluster, Conn, Port, Proxy, Reply, slot_of, wait_for};

/// Where clients of one namespace are served, or those of none; and who they are, if they say it.
struct Door(String, Option<&'static str>);

impl Door {
    fn conn(&self) -> Conn {
        let mut conn = Conn::connect(&self.0);
        if let Some(user) = self.1 {
            assert_eq!(conn.command(&["AUTH", user, &format!("{user}-pw")]), "OK");
        }
        conn
    }
}

/// Two namespaces and the cluster itself, with something secret in all but the first.
struct Tenants {
    cluster: Cluster,
    own: Door,
    other: Door,
    plain: Door,
    _proxies: Vec<Proxy>,
    _ports: Vec<Port>,
}

fn cluster() -> Cluster {
    Cluster::start_with(1, 0, &["--notify-keyspace-events", "KEA"])
}

/// Each has a proxy of its own.
fn apart(flags: &[&str]) -> Tenants {
    let cluster = cluster();
    let flags = |name: &'static str| [&["-namespace", name], flags].concat();
    let proxies = vec![
        Proxy::start(&cluster, &flags("own")),
        Proxy::start(&cluster, &flags("other")),
        Proxy::start(&cluster, &[]),
    ];
    let door = |index: usize| Door(proxies[index].addr().to_string(), None);
    Tenants {
        own: door(0),
        other: door(1),
        plain: door(2),
        cluster,
        _proxies: proxies,
        _ports: Vec::new(),
    }
}

/// One proxy serves them all, each at an address of its own, at two workers.
fn together(flags: &[&str]) -> Tenants {
    let cluster = cluster();
    let ports = vec![Port::reserve(), Port::reserve()];
    let addresses: Vec<String> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{}", port.number()))
        .collect();
    let all = format!("own={},other={}", addresses[0], addresses[1]);
    let own = ["-namespace-addrs", &all, "-max-procs", "2"];
    let proxy = Proxy::start(&cluster, &[&own, flags].concat());
    Tenants {
        own: Door(addresses[0].clone(), None),
        other: Door(addresses[1].clone(), None),
        plain: Door(proxy.addr().to_string(), None),
        cluster,
        _proxies: vec![proxy],
        _ports: ports,
    }
}

/// One proxy serves them all at one address: who logs in says which namespace it is.
fn by_users(folder: &tempfile::TempDir) -> Tenants {
    let cluster = cluster();
    let file = folder.path().join("users.acl");
    let users =
        ["own", "other", "plain"].map(|user| format!("user {user} on >{user}-pw ~* &* +@all\n"));
    std::fs::write(&file, format!("user default off\n{}", users.concat())).expect("written");
    let file = file.to_str().expect("plain");
    let flags = [
        "-acl-file",
        file,
        "-namespace-users",
        "own=own,other=other",
        "-max-procs",
        "2",
    ];
    let proxy = Proxy::start(&cluster, &flags);
    let door = |user| Door(proxy.addr().to_string(), Some(user));
    let plain = door("plain");
    wait_for("the cluster", Duration::from_secs(20), || {
        (!plain.conn().line("GET k").is_error()).then_some(())
    });
    Tenants {
        own: door("own"),
        other: door("other"),
        plain,
        cluster,
        _proxies: vec![proxy],
        _ports: Vec::new(),
    }
}

/// All of what a client of the first namespace may try, beside the samples of the conformance test.
const TRICKS: &str = r##"
KEYS *
KEYS *secret*
SCAN 0 COUNT 1000
SCAN 0 MATCH *secret* COUNT 1000
DBSIZE
RANDOMKEY
GET secret
GET {other}secret
GET other}secret
GET }{other}secret
MGET secret {other}secret
OBJECT ENCODING {other}secret
EXISTS secret {other}secret
DUMP {other}secret
SORT nums BY secret* GET secret*
SORT nums BY nosort GET {other}*
CLUSTER GETKEYSINSLOT 1 10
CLUSTER KEYSLOT secret
EVAL "return redis.call('GET','secret')" 0
EVAL "return redis.call('GET','{other}secret')" 0
EVAL "return redis.call('KEYS','*')" 0
EVAL "return redis.call('SCAN','0','COUNT','1000')" 0
EVAL "return redis.call('SCAN','0','MATCH','*','COUNT','1000')" 0
EVAL "return redis.call('SCAN','0','TYPE','string','COUNT','1000')" 0
EVAL "return redis.call('RANDOMKEY')" 0
EVAL "return redis.call('DBSIZE')" 0
EVAL "return _G.redis.call('GET','secret')" 0
EVAL "return rawget(_G,'redis').call('GET','secret')" 0
EVAL "return _G._G.redis.call('GET','secret')" 0
EVAL "return getmetatable(_G).__index(_G,'redis').call('GET','secret')" 0
EVAL "return getmetatable(redis).__index.call('GET','secret')" 0
EVAL "return loadstring('return redis.call([[GET]],[[secret]])')()" 0
EVAL "return load(function() return nil end)()" 0
EVAL "return getfenv(0).redis.call('GET','secret')" 0
EVAL "setfenv(1,{}) return 1" 0
EVAL "return redis.call('EVAL','return 1','0')" 0
EVAL "return redis.call('OBJECT','ENCODING','secret')" 0
EVAL "return redis.call('MGET','secret','{other}secret')" 0
EVAL "return redis.pcall('GET','secret')" 0
EVAL "return redis.call('CONFIG','GET','*')" 0
EVAL "return redis.call('CLUSTER','GETKEYSINSLOT','1','1000')" 0
EVAL "return redis.call('CLUSTER','GETKEYSINSLOT','11361','1000')" 0
EVAL "return redis.call('CLUSTER','GETKEYSINSLOT','11260','1000')" 0
EVAL "return redis.pcall('CLUSTER','FLUSHSLOT','11361')" 0
EVAL "return redis.call('CLUSTER','SETSLOT','11361','STABLE')" 0
EVAL "return redis.call('COMMAND','GETKEYS','GET','x')" 0
EVAL "return redis.call('FLUSHALL')" 0
EVAL "return redis.call('SORT','nums','BY','secret*','GET','secret*')" 0
EVAL "return {KEYS,ARGV}" 0
EVAL "return {KEYS,ARGV}" 1 a b
EVAL "return ARGV[#ARGV+1]" 0
EVAL "#!lua flags=allow-cross-slot-keys\nreturn redis.call('GET','secret')" 0
EVAL_RO "return redis.call('GET','secret')" 0
FCALL leak 0
FCALL leak 1 secret
FUNCTION LIST WITHCODE
FUNCTION DUMP
MONITOR
SLOWLOG GET 100
CLIENT LIST
INFO
INFO everything
INFO keyspace
MEMORY STATS
DEBUG DIGEST
DEBUG OBJECT secret
DEBUG HTSTATS 0
PROXY HOTKEYS
PROXY BIGKEYS
PUBSUB CHANNELS
PUBSUB NUMSUB *
LATENCY HISTORY command
ACL LOG
ACL LIST
FLUSHDB
FLUSHALL
FLUSHALL ASYNC
MOVE secret 1
MOVE {other}secret 1
MOVE other}secret 1
COPY secret0 stolen DB 1
COPY {other}secret stolen DB 1
SELECT 1
SELECT 15
SELECT 16
SWAPDB 0 1
COPY {other}secret stolen
RENAME {other}secret stolen
RESTORE x 0 nonsense
"##;

/// The samples of the conformance test, without those that wait for something else.
fn samples() -> Vec<String> {
    let texts = [
        include_str!("routing/session.txt"),
        include_str!("conformance/samples.txt"),
        TRICKS,
    ];
    let lines = texts.iter().flat_map(|text| text.lines());
    lines
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .filter(|line| {
            !["while true", "< ", "& ", "QUIT"]
                .iter()
                .any(|word| line.contains(word))
        })
        .map(|line| match line.split_once(' ') {
            Some((marks, rest)) if !marks.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                rest.to_string()
            }
            _ => line.to_string(),
        })
        .collect()
}

/// No command gives a client of one namespace a key, a value, a name or a count of another, or of who has none; and none
/// takes anything from them.
#[test]
fn nothing_leaves_a_namespace() {
    check_nothing_leaves(&apart(&[]));
}

#[test]
fn nothing_leaves_a_namespace_that_shares_its_proxy() {
    check_nothing_leaves(&together(&[]));
}

#[test]
fn nothing_leaves_the_namespace_of_a_user() {
    let folder = tempfile::tempdir().expect("a folder");
    check_nothing_leaves(&by_users(&folder));
}

/// A client is where its user belongs, from its login on until the next one or RESET.
#[test]
fn a_login_leads_to_the_namespace_of_the_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let tenants = by_users(&folder);
    let mut conn = tenants.own.conn();
    assert_eq!(conn.line("SELECT 2"), "OK");
    assert_eq!(conn.line("SET k own"), "OK");
    // Nothing changes for who logs in again.
    assert_eq!(conn.line("AUTH own own-pw"), "OK");
    assert_eq!(conn.line("GET k"), "own");
    // Requests behind a login in the same write are of the other namespace.
    let replies = conn.pipeline(&[
        vec!["HELLO", "3", "AUTH", "other", "other-pw"],
        vec!["GET", "k"],
        vec!["SET", "k", "other"],
        vec!["AUTH", "own", "wrong"],
        vec!["GET", "k"],
        vec!["AUTH", "plain", "plain-pw"],
        vec!["MGET", "{own:2}k", "{other}k", "k"],
    ]);
    assert_eq!(replies[1], Reply::Null);
    assert!(replies[3].is_error());
    assert_eq!(replies[4], "other");
    let values: Vec<String> = replies[6].items()[..2].iter().map(Reply::text).collect();
    assert_eq!(values, ["own", "other"]);
    assert_eq!(replies[6].items()[2], Reply::Null);
    // Nor may it come to another in the middle of something.
    conn.line("SUBSCRIBE c");
    assert!(conn.line("AUTH own own-pw").is_error());
    assert!(!conn.line("UNSUBSCRIBE c").is_error());
    conn.line("MULTI");
    assert!(conn.line("AUTH own own-pw").is_error());
    assert!(conn.line("EXEC").is_error());
    assert_eq!(conn.line("GET {own:2}k"), "own");
    assert_eq!(conn.line("RESET"), "RESET");
    assert!(conn.line("GET k").is_error());
}

fn check_nothing_leaves(tenants: &Tenants) {
    let (mut other, mut plain) = (tenants.other.conn(), tenants.plain.conn());
    let load = "#!lua name=secretlib\nredis.register_function('leak', function(k) return redis.call('GET','secret') end)";
    assert_eq!(plain.command(&["FUNCTION", "LOAD", load]), "secretlib");
    for conn in [&mut other, &mut plain] {
        assert_eq!(conn.line("CLIENT SETNAME secretive"), "OK");
        for index in 0..50 {
            let key = format!("secret{index}");
            assert_eq!(conn.command(&["SET", &key, "secret-value"]), "OK");
        }
        assert_eq!(conn.line("SET secret secret-value"), "OK");
    }
    assert_eq!(other.line("SELECT 1"), "OK");
    assert_eq!(other.line("SET secret secret-value"), "OK");
    assert_eq!(other.line("SELECT 0"), "OK");
    // A key of others in the namespace's own slot, too.
    assert_eq!(plain.line("SET own secret-value"), "OK");
    assert_eq!(plain.line("SET x{own}secret secret-value"), "OK");
    for script in [
        "return redis.call('INFO')",
        "return redis.call('INFO','everything')",
        "return redis.call('info','keyspace')",
        "redis.setresp(3) return redis.call('INFO','keyspace')",
    ] {
        let told = tenants.own.conn().command(&["EVAL", script, "0"]).text();
        assert!(told.contains("# ") && !told.contains("\ndb"), "{told}");
    }
    for subcommand in ["COUNTKEYSINSLOT','11361", "MYID", "NODES", "INFO"] {
        let script = format!("return redis.call('CLUSTER','{subcommand}')");
        let told = tenants.own.conn().command(&["EVAL", &script, "0"]);
        assert!(told.is_error(), "{subcommand}: {told:?}");
    }
    let before = tenants
        .cluster
        .raw(tenants.cluster.masters()[0])
        .line("DBSIZE");
    for (protocol, database) in [("2", "0"), ("3", "0"), ("2", "1")] {
        for sample in samples() {
            let mut conn = tenants.own.conn();
            conn.set_deadline(Duration::from_secs(30));
            conn.command(&["HELLO", protocol]);
            conn.command(&["SELECT", database]);
            let words: Vec<String> = words(&sample)
                .into_iter()
                .map(|word| word.replace("\\n", "\n"))
                .collect();
            conn.send(Conn::encode(&words));
            let (_, bytes) = conn
                .frame()
                .unwrap_or_else(|error| panic!("{sample}: {error}"));
            let text = String::from_utf8_lossy(&bytes);
            let sent = words.join(" ");
            // What a client has said itself it may hear again.
            let leaks = [
                "secret-value",
                "secretive",
                "secretlib",
                "secret0",
                "secret49",
                "{other",
                "{own",
            ];
            for leak in leaks.iter().filter(|leak| !sent.contains(**leak)) {
                assert!(
                    !text.contains(leak),
                    "RESP{protocol}, database {database}: {sample}: {text}"
                );
            }
        }
        let mut own = tenants.own.conn();
        own.line("FLUSHALL");
        assert_eq!(own.line("DBSIZE").int(), 0);
        assert!(own.line("KEYS *").items().is_empty());
        assert_eq!(own.command(&["INFO", "keyspace"]).text(), "# Keyspace\r\n");
    }
    let after = tenants
        .cluster
        .raw(tenants.cluster.masters()[0])
        .line("DBSIZE");
    assert_eq!(before, after, "something of others has gone or come");
    assert_eq!(other.line("GET secret"), "secret-value");
    assert_eq!(other.line("DBSIZE").int(), 51);
    assert_eq!(plain.line("GET secret"), "secret-value");
}

/// What a client of a namespace hears on a channel until `END` comes.
fn heard(conn: &mut Conn) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let reply = conn.read_reply();
        let words: Vec<String> = reply.items().iter().map(Reply::text).collect();
        if words.last().is_some_and(|word| word == "END") {
            return heard;
        }
        heard.push(words.join(" "));
    }
}

#[test]
fn keyspace_notifications_are_of_own_keys() {
    let tenants = together(&[]);
    let (mut own, mut subscriber) = (tenants.own.conn(), tenants.own.conn());
    let reply = subscriber.line("PSUBSCRIBE *");
    assert_eq!(reply.items()[1].text(), "*");
    let reply = subscriber.line("SUBSCRIBE __keyspace@0__:k");
    assert_eq!(reply.items()[1].text(), "__keyspace@0__:k");
    own.line("SET k v");
    tenants.other.conn().line("SET secret v");
    tenants.plain.conn().line("SET secret v");
    own.line("DEL k");
    own.line("PUBLISH c END");
    let mut got = heard(&mut subscriber);
    got.sort();
    let mut expected = [
        "message __keyspace@0__:k del",
        "message __keyspace@0__:k set",
        "pmessage * __keyevent@0__:del k",
        "pmessage * __keyevent@0__:set k",
        "pmessage * __keyspace@0__:k del",
        "pmessage * __keyspace@0__:k set",
    ];
    expected.sort_unstable();
    assert_eq!(got, expected);
}

#[test]
fn channels_are_shared_unless_asked_otherwise() {
    for (flags, shared) in [
        (&[][..], true),
        (&["-namespace-channels", "true"][..], false),
    ] {
        let tenants = together(flags);
        let (mut own, mut subscriber) = (tenants.own.conn(), tenants.own.conn());
        assert_eq!(subscriber.line("SUBSCRIBE news").items()[1].text(), "news");
        let reply = subscriber.line("PSUBSCRIBE new?");
        assert_eq!(reply.items()[1].text(), "new?");
        let names = own.line("PUBSUB CHANNELS n*");
        assert_eq!(names.items().len(), 1);
        assert_eq!(names.items()[0].text(), "news");
        let names = own.line("PUBSUB NUMSUB news");
        assert_eq!(
            (names.items()[0].text(), names.items()[1].int()),
            ("news".to_string(), 1)
        );
        let seen = tenants.other.conn().line("PUBSUB CHANNELS").items().len();
        assert_eq!(seen, usize::from(shared));
        // Patterns of others are counted only where channels are shared.
        let mut patterns = tenants.other.conn();
        patterns.line("PSUBSCRIBE secret*");
        patterns.line("PSUBSCRIBE secret?");
        let counted = own.line("PUBSUB NUMPAT").int();
        assert_eq!(counted, if shared { 3 } else { 1 });
        let seen = tenants.other.conn().line("PUBSUB NUMSUB news").items()[1].int();
        assert_eq!(seen, i64::from(shared));
        tenants.other.conn().line("PUBLISH news other");
        tenants.plain.conn().line("PUBLISH news plain");
        own.line("PUBLISH news own");
        let publish = "return redis.call('PUBLISH', 'news', ARGV[1])";
        let mut other = tenants.other.conn();
        for database in ["0", "1"] {
            assert!(!other.line(&format!("SELECT {database}")).is_error());
            let said = format!("other's script {database}");
            assert!(!other.command(&["EVAL", publish, "0", &said]).is_error());
            assert!(!own.line(&format!("SELECT {database}")).is_error());
            let said = format!("script {database}");
            assert!(!own.command(&["EVAL", publish, "1", "k", &said]).is_error());
        }
        own.line("SELECT 0");
        own.line("PUBLISH newt END");
        let mut got = heard(&mut subscriber);
        got.sort();
        let from: Vec<&str> = match shared {
            true => vec![
                "other",
                "other's script 0",
                "other's script 1",
                "own",
                "plain",
                "script 0",
                "script 1",
            ],
            false => vec!["own", "script 0", "script 1"],
        };
        let of = |start: &str| {
            from.iter()
                .map(|text| format!("{start} {text}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(got, [of("message news"), of("pmessage new? news")].concat());
        assert_eq!(
            subscriber.line("UNSUBSCRIBE news").items()[1].text(),
            "news"
        );
    }
}

/// Two names whose tags lie in one slot.
fn names_of_one_slot() -> (String, String) {
    use redis_cluster_proxy::cluster::slot::Slot;
    let slot = |name: &str| Slot::of(name.as_bytes());
    let name = |number: usize| format!("n{number}");
    let other = (1..).map(name).find(|own| slot(own) == slot("n0"));
    ("n0".to_string(), other.expect("one of 16384"))
}

/// However many newer keys others have in the slot: they are not counted, not given and not deleted, and do not hide
/// those of the namespace.
#[test]
fn many_keys_of_others_in_the_slot_are_not_there() {
    const MANY: usize = 120_000;
    let cluster = Cluster::start(1, 0);
    let (few, many) = names_of_one_slot();
    let proxies = [few, many].map(|name| Proxy::start(&cluster, &["-namespace", &name]));
    let [mut few, mut many] = [&proxies[0], &proxies[1]].map(Proxy::conn);
    assert_eq!(few.line("DBSIZE").int(), 0);
    few.line("SET one 1");
    for from in (0..MANY).step_by(1000) {
        let sets = (from..from + 1000).map(|at| vec!["SET".into(), format!("k{at}"), "v".into()]);
        many.pipeline(&sets.collect::<Vec<Vec<String>>>());
    }
    // Behind 10,000 keys that are all its own, those of others cannot be told from them: see `dist/docs/namespaces.md`.
    let beyond = many.line("DBSIZE").int() - MANY as i64;
    assert!((0..=1).contains(&beyond), "{beyond}");
    let keyspace = many.line("INFO keyspace").text();
    assert!(keyspace.contains("keys=12000"), "{keyspace}");
    assert_eq!(few.line("DBSIZE").int(), 1);
    let keyspace = few.line("INFO keyspace").text();
    assert!(keyspace.contains("keys=1,"), "{keyspace}");
    assert_eq!(few.line("RANDOMKEY"), "one");
    assert_eq!(few.line("KEYS *").items().len(), 1);
    assert_eq!(few.line("FLUSHDB"), "OK");
    assert_eq!(few.line("DBSIZE").int(), 0);
    assert!(few.line("RANDOMKEY").is_nil());
    assert_eq!(many.line("DBSIZE").int(), MANY as i64);
    few.line("SET one 1");
    assert_eq!(many.line("FLUSHDB"), "OK");
    assert_eq!(many.line("DBSIZE").int(), 0);
    assert_eq!(few.line("GET one"), "1");
}

/// Clients of one namespace alone are listed, and killed.
#[test]
fn clients_of_others_are_not_there() {
    let cluster = Cluster::start(1, 0);
    let proxy = Proxy::start(&cluster, &["-namespace", "own"]);
    let (mut one, mut two) = (proxy.conn(), proxy.conn());
    two.line("CLIENT SETNAME two");
    let list = one.line("CLIENT LIST").text();
    assert_eq!(list.lines().count(), 2, "{list}");
    let id = two.line("CLIENT ID").int();
    assert_eq!(one.line(&format!("CLIENT KILL ID {id}")).int(), 1);
    // Nor those of others at the same proxy, whichever worker they are at.
    let tenants = together(&[]);
    let mut own: Vec<Conn> = (0..4).map(|_| tenants.own.conn()).collect();
    let mut others: Vec<Conn> = (0..4).map(|_| tenants.other.conn()).collect();
    let ids = others.iter_mut().map(|conn| conn.line("CLIENT ID").int());
    for id in ids.collect::<Vec<i64>>() {
        assert_eq!(own[0].line(&format!("CLIENT KILL ID {id}")).int(), 0);
    }
    own.iter_mut()
        .for_each(|conn| assert_eq!(conn.line("SET k own"), "OK"));
    let list = own[0].line("CLIENT LIST").text();
    assert_eq!(list.lines().count(), 4, "{list}");
    assert_eq!(tenants.plain.conn().line("GET {own}k"), "own");
    assert_eq!(others[0].line("EXISTS k").int(), 0);
    // It stays where it came in.
    assert_eq!(own[1].line("RESET"), "RESET");
    assert_eq!(own[1].line("GET k"), "own");
}

/// Transactions, blocking pops and scripts over many keys; and replies that name keys.
#[test]
fn a_namespace_is_one_server() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-namespace", "one"]);
    let mut conn = proxy.conn();
    conn.line("MSET a 1 b 2 c 3 d 4");
    conn.line("RPUSH q1 x y z");
    conn.line("XADD s1 1-1 f v");
    conn.line("XADD s2 1-1 f v");
    let replies = conn.pipeline(&[
        vec!["WATCH", "a", "q1"],
        vec!["MULTI"],
        vec!["MGET", "a", "b", "c", "d"],
        vec!["LMPOP", "2", "q0", "q1", "LEFT"],
        vec!["XREAD", "STREAMS", "s1", "s2", "0", "0"],
        vec!["KEYS", "q*"],
        vec!["DBSIZE"],
        vec!["XGROUP", "DESTROY", "none", "g"],
        vec!["EVAL", "return {KEYS[1], redis.call('GET', 'b')}", "1", "a"],
        vec!["RENAME", "a", "e"],
        vec!["EXEC"],
    ]);
    let exec = replies.last().expect("replies").items();
    let texts = |reply: &Reply| reply.items().iter().map(Reply::text).collect::<Vec<_>>();
    assert_eq!(texts(&exec[0]), ["1", "2", "3", "4"]);
    assert_eq!(exec[1].items()[0].text(), "q1");
    let streams: Vec<String> = exec[2]
        .items()
        .iter()
        .map(|s| s.items()[0].text())
        .collect();
    assert_eq!(streams, ["s1", "s2"]);
    assert_eq!(texts(&exec[3]), ["q1"]);
    assert_eq!(exec[4].int(), 7);
    assert!(exec[5].error().is_some_and(|text| !text.contains("{one}")));
    assert_eq!(texts(&exec[6]), ["a", "2"]);
    assert_eq!(exec[7], "OK");
    let popped = conn.line("BRPOP q9 q1 0");
    assert_eq!(texts(&popped), ["q1", "z"]);
    // One that waits.
    let mut waiting = proxy.conn();
    waiting.send(Conn::encode(&["BLPOP", "w1", "w2", "0"]));
    wait_for("a blocked client", Duration::from_secs(20), || {
        let list = conn.line("CLIENT LIST").text();
        list.contains("cmd=blpop").then_some(())
    });
    conn.line("RPUSH w2 item");
    assert_eq!(texts(&waiting.read_reply()), ["w2", "item"]);
    // At the nodes each has its tag.
    let keys: Vec<String> = cluster
        .masters()
        .iter()
        .flat_map(|port| texts(&cluster.raw(*port).line("KEYS *")))
        .collect();
    assert!(
        keys.len() > 5 && keys.iter().all(|key| key.starts_with("{one}")),
        "{keys:?}"
    );
}

/// A reply that is large and has keys, and a request that is large.
#[test]
fn large_requests_and_replies_pass() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-namespace", "large"]);
    let mut conn = proxy.conn();
    let value = "v".repeat(3 << 20);
    assert_eq!(conn.command(&["SET", "big", &value]), "OK");
    assert_eq!(conn.command(&["GET", "big"]), value.as_str());
    assert_eq!(conn.command(&["RPUSH", "list", &value, &value]).int(), 2);
    let reply = conn.command(&["BLPOP", "none", "list", "0"]);
    assert_eq!(reply.items()[0].text(), "list");
    assert_eq!(reply.items()[1], value.as_str());
    assert_eq!(conn.command(&["XADD", "s", "1-1", "f", &value]), "1-1");
    let reply = conn.command(&["XREAD", "STREAMS", "s", "0"]);
    assert_eq!(reply.items()[0].items()[0].text(), "s");
    let many: Vec<String> = (0..9_000).map(|index| format!("k{index}")).collect();
    let mut mset = vec!["MSET".to_string()];
    many.iter()
        .for_each(|key| mset.extend([key.clone(), "v".to_string()]));
    assert_eq!(conn.command(&mset), "OK");
    let mget = [&["MGET".to_string()], &many[..]].concat();
    assert!(
        conn.command(&mget)
            .items()
            .iter()
            .all(|value| *value == "v")
    );
    assert_eq!(conn.line("KEYS k*").items().len(), 9_000);
    assert_eq!(conn.line("DBSIZE").int(), 9_003);
    let (mut cursor, mut found) = ("0".to_string(), 0);
    loop {
        let reply = conn.line(&format!("SCAN {cursor} COUNT 500"));
        found += reply.items()[1].items().len();
        cursor = reply.items()[0].text();
        if cursor == "0" {
            break;
        }
    }
    assert!(found >= 9_003);
    assert_eq!(conn.line("FLUSHDB"), "OK");
    assert_eq!(conn.line("DBSIZE").int(), 0);
}

/// A script is known by the name that its client computes; what one namespace has loaded is not there for another.
#[test]
fn scripts_have_the_names_that_clients_know() {
    let tenants = apart(&[]);
    let (mut own, mut other) = (tenants.own.conn(), tenants.other.conn());
    let name = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    assert_eq!(own.command(&["SCRIPT", "LOAD", "return 1"]), name);
    assert_eq!(own.line(&format!("EVALSHA {name} 0")).int(), 1);
    assert_eq!(
        own.line(&format!("SCRIPT EXISTS {name}")).items()[0].int(),
        1
    );
    assert_eq!(
        other.line(&format!("SCRIPT EXISTS {name}")).items()[0].int(),
        0
    );
    let error = other.line(&format!("EVALSHA {name} 0"));
    assert_eq!(
        error.error(),
        Some("NOSCRIPT No matching script. Please use EVAL.")
    );
    assert_eq!(other.command(&["EVAL", "return 1", "0"]).int(), 1);
    assert_eq!(
        other
            .line(&format!("EVALSHA {} 0", name.to_uppercase()))
            .int(),
        1
    );
    // A node that has forgotten it gets it again.
    for port in tenants.cluster.masters() {
        assert_eq!(tenants.cluster.raw(port).line("SCRIPT FLUSH"), "OK");
    }
    assert_eq!(own.line(&format!("EVALSHA {name} 0")).int(), 1);
    assert_eq!(own.line("SCRIPT FLUSH"), "OK");
    assert!(own.line(&format!("EVALSHA {name} 0")).is_error());
    assert_eq!(other.line(&format!("EVALSHA {name} 0")).int(), 1);
}

/// Scripts see the keys of their client, whether they are declared or not.
#[test]
fn scripts_reach_keys_that_they_do_not_declare() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-namespace", "s"]);
    let mut conn = proxy.conn();
    let script = "
        redis.call('SET', KEYS[1] .. ':' .. ARGV[1], 'v')
        redis.call('MSET', 'a', 1, 'b', 2)
        redis.call('RPUSH', 12345678901234567, 'x')
        redis.call('ZADD', 'z', 1, 'm')
        redis.call('ZUNIONSTORE', 'zz', 2, 'z', 'none')
        redis.call('XADD', 'st', '1-1', 'f', 'v')
        redis.call('SADD', 'set', 'a')
        local popped = redis.call('LMPOP', 2, 'none', 12345678901234567, 'LEFT')
        local read = redis.call('XREAD', 'COUNT', 1, 'STREAMS', 'st', '0')
        local failed = redis.pcall('XGROUP', 'CREATE', 'none', 'g', '$')
        local keys = redis.call('KEYS', '*')
        table.sort(keys)
        return {KEYS[1], #KEYS, #ARGV, popped[1], read[1][1], failed.err ~= nil, keys, redis.call('DBSIZE')}
    ";
    let reply = conn.command(&["EVAL", script, "1", "k", "n"]);
    let items = reply.items();
    assert_eq!(items[0].text(), "k");
    assert_eq!((items[1].int(), items[2].int()), (1, 1));
    assert_eq!(items[3].text(), "12345678901234568");
    assert_eq!(items[4].text(), "st");
    assert_eq!(items[5].int(), 1);
    let keys: Vec<String> = items[6].items().iter().map(Reply::text).collect();
    assert_eq!(keys, ["a", "b", "k:n", "set", "st", "z", "zz"]);
    assert_eq!(items[7].int(), 7);
    assert_eq!(conn.line("GET k:n"), "v");
    let error = conn.command(&["EVAL", "return redis.call('INCR', 'z')", "0"]);
    assert!(
        error
            .error()
            .is_some_and(|text| text.starts_with("WRONGTYPE")),
        "{error:?}"
    );
    let error = conn.command(&["EVAL", "return redis.call('NOSUCH', 'z')", "0"]);
    assert!(
        error
            .error()
            .is_some_and(|text| text.contains("not served to scripts"))
    );
}

/// A slot that moves key by key has its keys at two nodes. Scripts may name keys that they do not declare, and commands of
/// the whole namespace concern them all: they wait until the keys are together.
#[test]
fn scripts_wait_for_all_keys_while_the_slot_moves() {
    let cluster = Cluster::start(2, 0);
    let proxy = Proxy::start(&cluster, &["-namespace", "s"]);
    let slot = slot_of("s");
    let from = cluster.master_of(slot);
    let to = cluster.masters().into_iter().find(|port| *port != from);
    let to = to.expect("another");
    let push = "return redis.call('RPUSH', KEYS[1] .. ':q', ARGV[1])";
    let mut conn = proxy.conn();
    assert_eq!(conn.command(&["EVAL", push, "1", "k", "1"]).int(), 1);
    assert_eq!(conn.line("MSET a 1 b 2"), "OK");

    let waits: [(&[&str], &str); 6] = [
        (&["EVAL", push, "1", "k", "2"], "Int(2)"),
        (&["EVAL", "return redis.call('LLEN', 'k:q')", "0"], "Int(2)"),
        (&["DBSIZE"], "Int(3)"),
        (&["SORT", "none"], "Array([])"),
        (&["FLUSHDB"], "Simple(\"OK\")"),
        (&["FLUSHALL"], "Simple(\"OK\")"),
    ];
    for (request, expected) in waits {
        let (from, to) = match cluster.master_of(slot) == from {
            true => (from, to),
            false => (to, from),
        };
        let before = proxy.counter("proxy_tryagain");
        cluster.begin_migration(slot, from, to);
        let mut waiting = proxy.conn();
        waiting.send(Conn::encode(request));
        let is_script = request[0] != "SORT";
        if is_script {
            wait_for("it to be held", Duration::from_secs(20), || {
                (proxy.counter("proxy_tryagain") > before).then_some(())
            });
        }
        assert_eq!(cluster.raw(to).line("DBSIZE").int(), 0, "{request:?}");
        while cluster.move_keys(slot, from, to, 1) > 0 {}
        cluster.end_migration(slot, from, to);
        assert_eq!(
            format!("{:?}", waiting.read_reply()),
            expected,
            "{request:?}"
        );
    }
    assert_eq!(conn.line("DBSIZE").int(), 0);
}
