//! `-auth backend`: the users are those of the servers, who judge what each of them may do.

use crate::support::{Cluster, Conn, Proxy, Reply, Server, key_in_slot, slot_of, wait_for};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NOAUTH: &str = "NOAUTH Authentication required.";

/// The users that all nodes have: the rules of each.
const USERS: &[&str] = &[
    "default reset on nopass ~* &* +@all",
    "root reset on >root ~* &* +@all",
    "all reset on >all ~* &* +@all",
    "app reset on >pw ~app:* &news* +@read +@write +@string -flushall -keys +ping +echo +subscribe +psubscribe +unsubscribe \
     +client|getname +client|setname +multi +exec +publish -getdel",
    "reader reset on >pw %R~* +get +mget +blpop +exists",
    "none reset on >pw",
    "open reset on nopass ~* +get",
    "off reset off >pw ~* +@all",
];

fn root(cluster: &Cluster, port: u16) -> Conn {
    let mut conn = cluster.raw(port);
    assert_eq!(conn.line("AUTH root root"), "OK");
    conn
}

/// Has every node execute this.
fn everywhere(cluster: &Cluster, line: &str) {
    for port in cluster.ports() {
        let reply = root(cluster, port).line(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
}

/// A cluster whose nodes have the users. Everybody may be `default`, who may do everything.
fn cluster(masters: usize, replicas: usize) -> Cluster {
    let cluster = Cluster::start(masters, replicas);
    for user in USERS {
        for port in cluster.ports() {
            let reply = cluster.raw(port).line(&format!("ACL SETUSER {user}"));
            assert_eq!(reply, "OK", "{user}");
        }
    }
    cluster
}

fn start(cluster: &Cluster, flags: &[&str]) -> Proxy {
    let own = [
        "-auth",
        "backend",
        "-backend-user",
        "root",
        "-backend-password",
        "root",
    ];
    Proxy::start(cluster, &[&own, flags].concat())
}

fn login(proxy: &Proxy, user: &str, password: &str) -> Conn {
    let mut conn = proxy.conn();
    assert_eq!(conn.command(&["AUTH", user, password]), "OK", "{user}");
    conn
}

fn closed(conn: &mut Conn) -> bool {
    !conn.is_open(Duration::from_secs(20))
}

/// What a user may be refused: what goes to one node, to many, what the proxy answers itself, and transactions.
const LINES: &[&str] = &[
    "GET app:k",
    "GET other",
    "SET app:k v",
    "SET other v",
    "MGET app:a app:b app:c",
    "MGET app:a other app:c",
    "MSET app:a 1 app:b 2 app:c 3",
    "MSET app:a 1 other 2 app:c 3",
    "DEL app:x app:y other",
    "EXISTS app:a app:b",
    "GETDEL app:k",
    "EVAL return(1) 0",
    "EVAL return(1) 1 app:k",
    "PING",
    "ECHO hello",
    "KEYS *",
    "DBSIZE",
    "SCAN 0",
    "INFO server",
    "CONFIG GET maxmemory",
    "CONFIG SET maxmemory 0",
    "CLIENT LIST",
    "CLIENT GETNAME",
    "CLIENT SETNAME me",
    "CLIENT GETNAME",
    "CLIENT KILL ID 999999",
    "CLUSTER INFO",
    "COMMAND COUNT",
    "SLOWLOG GET",
    "SLOWLOG LEN",
    "LATENCY LATEST",
    "MEMORY STATS",
    "MEMORY USAGE app:k",
    "RANDOMKEY",
    "TIME",
    "LASTSAVE",
    "WAIT 0 1",
    "FLUSHALL",
    "SCRIPT LOAD return(1)",
    "SCRIPT EXISTS abc",
    "FUNCTION STATS",
    "ACL LIST",
    "ACL SETUSER x",
    "ACL WHOAMI",
    "ACL CAT string",
    "ACL DELUSER x",
    "ACL LOG",
    "BLPOP app:list 1 ",
    "BLPOP other 1",
    "SUBSCRIBE secret",
    "PUBLISH secret hello",
    "SSUBSCRIBE secret",
    "PSUBSCRIBE ne*",
    "PUBSUB CHANNELS",
    "MULTI",
    "GET app:k",
    "GET {app:k}",
    "EXEC",
    "MULTI",
    "GET app:k",
    "PING",
    "CONFIG GET maxmemory",
    "EXEC",
    "WATCH app:k",
    "WATCH other",
    "UNWATCH",
    "DISCARD",
    "EXEC",
    "SELECT 0",
    "RESTORE app:k 0 x",
    "OBJECT ENCODING other",
    "XREAD BLOCK 1 STREAMS other 0",
    "SORT app:list BY nosort GET other*",
    "MONITOR",
    "DEBUG JMAP",
    "SHUTDOWN NOSAVE",
    "REPLICAOF NO ONE",
    "RESET",
    "GET app:k",
    "PING",
    "HELLO 3",
    "HELLO 3 AUTH none pw",
    "GET app:k",
];

/// What both must say alike: errors about rights, whole; of all else only whether it is one.
fn told(reply: &Reply) -> String {
    match reply.error() {
        Some(text)
            if ["NOPERM", "NOAUTH", "WRONGPASS", "EXECABORT"]
                .iter()
                .any(|code| text.starts_with(code)) =>
        {
            text.to_string()
        }
        _ => "another reply".to_string(),
    }
}

#[test]
fn the_servers_judge_what_their_users_may_do() {
    let cluster = cluster(3, 0);
    let masters = cluster.masters();
    let slot_at = |port: u16| {
        let mut slots = (0..16384).step_by(1000);
        let found = slots.find(|slot| cluster.master_of(*slot) == port);
        found.expect("each master has one of these")
    };
    let keys = [0, 1].map(|master: usize| key_in_slot(slot_at(masters[master]), "key"));
    let one = Server::start(&[]);
    for user in USERS {
        assert_eq!(one.conn().line(&format!("ACL SETUSER {user}")), "OK");
    }
    let proxy = start(&cluster, &[]);
    unnamed(&cluster, &proxy, &one);
    logins(&proxy, &one);
    rights(&proxy, &one);
    pubsub(&proxy);
    users_change(&cluster, &proxy);
    nodes_differ(&cluster, &proxy, masters[1], &keys);
    nothing_is_shown(&proxy);
}

/// Where `default` needs no password, nobody has to log in. Then it needs one.
fn unnamed(cluster: &Cluster, proxy: &Proxy, one: &Server) {
    let mut before = proxy.conn();
    assert_eq!(before.line("SET unnamed 1"), "OK");
    assert_eq!(before.line("ACL WHOAMI"), "default");
    let mut hello = proxy.conn();
    assert!(!hello.line("HELLO 3").is_error());
    assert_eq!(hello.line("GET unnamed"), "1");
    for line in ["AUTH anything", "AUTH default anything"] {
        let (own, their) = (proxy.conn().line(line), one.conn().line(line));
        assert_eq!(own, their, "{line}");
    }
    for port in cluster.ports() {
        let reply = cluster
            .raw(port)
            .line("ACL SETUSER default resetpass >root");
        assert_eq!(reply, "OK");
    }
    assert_eq!(one.conn().line("ACL SETUSER default resetpass >root"), "OK");
    // Who is there stays, as at a server.
    assert_eq!(before.line("GET unnamed"), "1");
    assert_eq!(proxy.conn().line("GET unnamed").error(), Some(NOAUTH));
}

fn logins(proxy: &Proxy, one: &Server) {
    for line in [
        "GET k",
        "PING",
        "AUTH wrong",
        "AUTH app wrong",
        "AUTH nobody pw",
        "AUTH off pw",
        "AUTH open anything",
        "AUTH a b c",
        "AUTH root",
        "AUTH app pw",
        "ACL WHOAMI",
        "AUTH app wrong",
        "ACL WHOAMI",
        "HELLO 2 AUTH app wrong",
        "HELLO 4 AUTH app pw",
        "HELLO 2 AUTH app pw SETNAME x",
        "CLIENT GETNAME",
        "RESET",
        "GET k",
        "HELLO 3",
        "HELLO 3 AUTH reader pw",
        "GET k",
    ] {
        let mut ours = proxy.conn();
        let mut theirs = one.conn();
        let (own, their) = (ours.line(line), theirs.line(line));
        assert_eq!(told(&own), told(&their), "{line}: {own:?} {their:?}");
    }
    // One after the other on one connection.
    let (mut ours, mut theirs) = (proxy.conn(), one.conn());
    for line in [
        "AUTH app wrong",
        "AUTH reader pw",
        "GET k",
        "SET k v",
        "AUTH app wrong",
        "SET k v",
        "AUTH app pw",
        "SET app:k v",
        "RESET",
        "GET app:k",
        "HELLO 3",
        "HELLO 3 AUTH app pw",
        "GET app:k",
    ] {
        let (own, their) = (ours.line(line), theirs.line(line));
        assert_eq!(told(&own), told(&their), "{line}: {own:?} {their:?}");
    }
    // A login waits for a node, and what follows it waits for the login.
    let mut conn = proxy.conn();
    let both = ["AUTH app pw", "GET app:none", "AUTH reader pw", "SET k v"];
    both.iter()
        .for_each(|line| conn.send(format!("{line}\r\n")));
    assert_eq!(conn.read_reply(), "OK");
    assert!(conn.read_reply().is_nil());
    assert_eq!(conn.read_reply(), "OK");
    assert!(told(&conn.read_reply()).starts_with("NOPERM"));
}

fn rights(proxy: &Proxy, one: &Server) {
    for protocol in ["2", "3"] {
        for user in ["app", "reader", "none", "open"] {
            let hello = ["HELLO", protocol, "AUTH", user, "pw"];
            let (mut ours, mut theirs) = (proxy.conn(), one.conn());
            assert!(!ours.command(&hello).is_error() && !theirs.command(&hello).is_error());
            for line in LINES {
                let (own, their) = (ours.line(line), theirs.line(line));
                assert_eq!(
                    told(&own),
                    told(&their),
                    "{user} {protocol} {line}: {own:?} {their:?}"
                );
            }
        }
    }
}

fn pubsub(proxy: &Proxy) {
    let mut listener = login(proxy, "app", "pw");
    listener.send("SUBSCRIBE news\r\n");
    assert_eq!(listener.read_reply().items()[2].int(), 1);
    let mut speaker = login(proxy, "app", "pw");
    assert_eq!(speaker.line("PUBLISH news hello").int(), 1);
    assert_eq!(listener.read_reply().items()[2], "hello");
}

fn users_change(cluster: &Cluster, proxy: &Proxy) {
    // Another password: who is there stays, as at a server; who comes needs the new one.
    let mut conn = login(proxy, "app", "pw");
    assert_eq!(conn.line("SET app:k v"), "OK");
    everywhere(cluster, "ACL SETUSER app resetpass >new");
    assert_eq!(conn.line("GET app:k"), "v");
    let mut old = proxy.conn();
    assert_eq!(old.line("AUTH app pw").error(), Some(WRONGPASS));
    let mut new = login(proxy, "app", "new");
    assert_eq!(new.line("GET app:k"), "v");
    // The connections of the old password end: it is not right any more, and its clients go. Those of the new one stay.
    everywhere(cluster, "CLIENT KILL USER app SKIPME yes");
    assert!(closed(&mut conn), "it was served with the old password");
    assert_eq!(new.line("GET app:k"), "v");
    // New rights hold at once.
    everywhere(cluster, "ACL SETUSER app -get");
    assert_eq!(
        new.line("GET app:k").error(),
        Some("NOPERM this user has no permissions to run the 'get' command")
    );
    // A user is deleted: its clients go, those that rest, too.
    let mut resting = login(proxy, "reader", "pw");
    let mut blocked = login(proxy, "reader", "pw");
    let mut queueing = login(proxy, "all", "all");
    assert_eq!(queueing.line("MULTI"), "OK");
    assert_eq!(queueing.line("GET k"), "QUEUED");
    blocked.send("BLPOP k 0\r\n");
    everywhere(cluster, "ACL DELUSER reader");
    assert!(closed(&mut resting) && closed(&mut blocked));
    assert_eq!(queueing.line("EXEC").items().len(), 1);
    let mut again = proxy.conn();
    assert_eq!(again.line("AUTH reader pw").error(), Some(WRONGPASS));
    // Through the proxy, as one server for all nodes.
    let mut all = login(proxy, "all", "all");
    let ended = all.info("proxy")["proxy_users_ended"].clone();
    assert_eq!(ended, "2", "app with its old password, and reader");
    assert_eq!(all.line("ACL SETUSER reader on >pw ~* +get"), "OK");
    for port in cluster.ports() {
        let list = root(cluster, port).line("ACL GETUSER reader");
        assert!(!list.is_nil(), "{port}");
    }
    let mut reader = login(proxy, "reader", "pw");
    assert!(reader.line("GET k").is_nil());
    assert_eq!(all.line("ACL DELUSER reader").int(), 1);
    assert!(closed(&mut reader));
    assert!(!all.line("ACL LOG 1").items().is_empty());
    assert_eq!(all.line("ACL WHOAMI"), "all");
    // What no server has is for those who may see how a server is set.
    assert!(!all.line("PROXY HELP").is_error());
    let none = login(proxy, "none", "pw").line("PROXY HELP");
    assert_eq!(
        none.error(),
        Some("NOPERM this user has no permissions to run the 'proxy' command")
    );
}

fn nodes_differ(cluster: &Cluster, proxy: &Proxy, strange: u16, keys: &[String; 2]) {
    everywhere(cluster, "ACL SETUSER some on >pw ~* +@all");
    assert_eq!(root(cluster, strange).line("ACL DELUSER some").int(), 1);
    let [elsewhere, there] = keys;
    // Whether a client can log in depends on the node that is asked; half of them can.
    let mut conns: Vec<Conn> = (0..9).map(|_| proxy.conn()).collect();
    let admitted = |conn: &mut Conn| conn.line("AUTH some pw") == "OK";
    let conn = conns
        .iter_mut()
        .find_map(|conn| admitted(conn).then_some(conn))
        .expect("two of three nodes know the user");
    for _ in 0..3 {
        assert_eq!(conn.command(&["SET", elsewhere, "v"]), "OK");
        assert_eq!(conn.command(&["GET", there]).error(), Some(WRONGPASS));
        assert_eq!(
            conn.command(&["BLPOP", there, "0"]).error(),
            Some(WRONGPASS)
        );
    }
    // The others are not kept from that node, and as soon as it knows the user, it serves it.
    let mut all = login(proxy, "all", "all");
    assert_eq!(all.command(&["SET", there, "v"]), "OK");
    assert_eq!(
        root(cluster, strange).line("ACL SETUSER some on >pw ~* +@all"),
        "OK"
    );
    assert_eq!(conn.command(&["GET", there]), "v");
}

/// No password is shown, in any form.
fn nothing_is_shown(proxy: &Proxy) {
    let mut all = login(proxy, "all", "all");
    let mut monitor = login(proxy, "all", "all");
    assert_eq!(monitor.line("MONITOR"), "OK");
    assert_eq!(
        all.line("ACL SETUSER secret on >verysecretword ~* +get"),
        "OK"
    );
    let mut conn = login(proxy, "secret", "verysecretword");
    assert!(conn.line("GET none").is_nil());
    let mut seen = String::new();
    while !seen.contains("\"GET\" \"none\"") {
        seen += &monitor.read_reply().text();
        seen.push('\n');
    }
    // (ACL SETUSER shows what it is given, as at a server.)
    let shown: Vec<&str> = seen
        .lines()
        .filter(|line| line.contains("verysecretword") && !line.contains("SETUSER"))
        .collect();
    assert!(shown.is_empty(), "{shown:?}");
    let list = all.line("CLIENT LIST").text();
    assert!(list.contains("user=secret"), "{list}");
    for text in [list, all.line("INFO all").text(), proxy.log()] {
        assert!(!text.contains("verysecretword"), "{text}");
    }
}

#[test]
fn a_user_keeps_being_served_through_a_failover() {
    let cluster = cluster(2, 1);
    let proxy = start(&cluster, &["-max-users", "2"]);
    let mut app = login(&proxy, "app", "pw");
    // Two keys of two shards.
    let mut names = (0..).map(|number| format!("app:{number}"));
    let first = names.next().expect("a name");
    let master_of = |key: &str| cluster.master_of(slot_of(key));
    let second = names
        .find(|name| master_of(name) != master_of(&first))
        .expect("another shard");
    for key in [&first, &second] {
        assert_eq!(app.command(&["SET", key, "1"]), "OK");
    }
    cluster.failover(cluster.replicas_of(master_of(&first))[0]);
    assert_eq!(app.command(&["INCR", &first]).int(), 2);
    let refused = app.command(&["SET", "other", "1"]);
    assert!(told(&refused).starts_with("NOPERM"), "{refused:?}");
    // A new master that has never known the user closes nobody.
    let strange = cluster.replicas_of(master_of(&second))[0];
    assert_eq!(root(&cluster, strange).line("ACL DELUSER app").int(), 1);
    cluster.failover(strange);
    let reply = wait_for("the new master's word", LIMIT, || {
        let reply = app.command(&["INCR", &second]);
        reply.is_error().then_some(reply)
    });
    assert_eq!(reply.error(), Some(WRONGPASS));
    assert_eq!(app.command(&["INCR", &first]).int(), 3);
    // Two users are all that there may be. Who waited for the proxy was one and has gone.
    for port in cluster.ports() {
        let reply = root(&cluster, port).line("ACL SETUSER default resetpass >root");
        assert_eq!(reply, "OK");
    }
    let mut other = login(&proxy, "open", "x");
    assert!(other.line("GET none").is_nil());
    let mut third = proxy.conn();
    assert_eq!(
        third.line("AUTH none pw").error(),
        Some("ERR too many users are logged in at this proxy (-max-users)")
    );
    assert_eq!(third.line("GET k").error(), Some(NOAUTH));
}
