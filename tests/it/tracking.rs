//! CLIENT TRACKING through the proxy: what clients are told of keys that they have read, byte for byte as one
//! redis-server says it where one server could, and where only a cluster can lose sight of keys.

use crate::support::{Cluster, Conn, Proxy, Reply, Single, key_in_slot, slot_of, wait_for};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(3, 0));

/// One test at a time flushes the cluster, of which all who track hear.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is sent behind a line to see that no more comes: unlike others, a CLIENT command leaves CLIENT CACHING alone.
const FENCE: &str = "CLIENT SETNAME the fence";
const FENCED: &[u8] = b"-ERR wrong number of arguments for 'client|setname' command\r\n";

fn words(line: &str) -> Vec<String> {
    // A tilde stands for a space within a word.
    line.split(' ').map(|word| word.replace('~', " ")).collect()
}

/// All that comes up to the answer to the fence.
fn fenced(conn: &mut Conn) -> Vec<String> {
    conn.send(Conn::encode(&words(FENCE)));
    let frames = std::iter::repeat_with(|| conn.read_frame());
    let frames = frames.take_while(|frame| frame != FENCED);
    frames.map(|frame| show(&frame)).collect()
}

fn show(frame: &[u8]) -> String {
    let text = frame.escape_ascii().to_string();
    // The client's own number, which HELLO tells, is nobody's concern.
    match text.split_once(r"$2\r\nid\r\n:") {
        Some((before, behind)) => {
            let behind = behind.trim_start_matches(|digit: char| digit.is_ascii_digit());
            format!("{before}{behind}")
        }
        None => text,
    }
}

/// The same lines to one redis-server and to the proxy, each from its first client, or with `@` from the second.
fn compare(lines: &[&str]) {
    let _alone = alone();
    let (single, proxy) = (Single::start(), Proxy::start(&CLUSTER, &[]));
    let mut ours = [proxy.conn(), proxy.conn()];
    let mut theirs = [single.conn(), single.conn()];
    for line in ["FLUSHALL", "HELLO 3"].iter().chain(lines) {
        let (who, text) = match line.strip_prefix('@') {
            Some(text) => (1, text),
            None => (0, *line),
        };
        theirs[who].send(Conn::encode(&words(text)));
        ours[who].send(Conn::encode(&words(text)));
        for at in [who, 1 - who] {
            let expected = fenced(&mut theirs[at]);
            // A push comes when the node has been heard, which others need not wait for.
            let got: Vec<String> = expected
                .iter()
                .map(|_| show(&ours[at].read_frame()))
                .collect();
            assert_eq!(got, expected, "{line}");
        }
    }
    for conn in &mut ours {
        assert_eq!(fenced(conn), [""; 0], "more than Redis pushes");
    }
}

#[test]
fn pushes_are_those_of_redis() {
    compare(&[
        "CLIENT TRACKINGINFO",
        "CLIENT TRACKING ON",
        "CLIENT TRACKINGINFO",
        "CLIENT GETREDIR",
        // A key that is written twice is told once, and again when it was read again.
        "GET a",
        "@SET a 1",
        "@SET a 2",
        "GET a",
        "@DEL a",
        // Its own writes come behind their replies.
        "GET a",
        "SET a 3",
        "SET a 4",
        "GET a",
        "INCR a",
        "MGET {t}1 {t}2 {t}3",
        "@MSET {t}2 x {t}3 y",
        "@SET {t}1 z",
        "HGETALL {t}h",
        "@HSET {t}h f v",
        "@HSET {t}h f w",
        "ZRANGE {t}z 0 -1 WITHSCORES",
        "@ZADD {t}z 1 a",
        // What only writes is not tracked.
        "SET b 1",
        "@SET b 2",
        "GETSET b 3",
        "@SET b 4",
        // Keys of scripts.
        "EVAL return{redis.call('get',KEYS[1]),redis.call('get',KEYS[2])} 2 {s}1 {s}2",
        "@SET {s}2 v",
        "@SET {s}1 v",
        // An error is an answer, too.
        "LRANGE b 0 -1",
        "@SET b 5",
        "GET e",
        "@SET e 1 PX 100000",
        "GET e",
        "@PEXPIREAT e 1",
        // Everything.
        "GET a",
        "GET b",
        "@FLUSHALL",
        "@SET a 1",
        "GET a",
        "FLUSHALL",
        // Not any more.
        "GET a",
        "CLIENT TRACKING OFF",
        "CLIENT TRACKINGINFO",
        "@SET a 1",
        "CLIENT TRACKING ON",
        "RESET",
        "CLIENT TRACKINGINFO",
        "CLIENT GETREDIR",
    ]);
}

#[test]
fn who_chooses_what_is_tracked_hears_of_that_only() {
    compare(&[
        "CLIENT TRACKING ON OPTIN",
        "CLIENT TRACKINGINFO",
        "GET a",
        "@SET a 1",
        "CLIENT CACHING NO",
        "CLIENT CACHING YES",
        "CLIENT TRACKINGINFO",
        "GET a",
        "GET b",
        "@SET b 1",
        "@SET a 2",
        "CLIENT CACHING YES",
        "CLIENT GETNAME",
        "MGET {t}1 {t}2",
        "@MSET {t}1 x",
        "@MSET {t}2 x",
        "CLIENT TRACKING ON OPTOUT",
        "CLIENT TRACKING OFF",
        "CLIENT CACHING YES",
        "CLIENT TRACKING ON OPTOUT",
        "CLIENT TRACKINGINFO",
        "CLIENT CACHING YES",
        "CLIENT CACHING perhaps",
        "GET a",
        "@SET a 3",
        "CLIENT CACHING NO",
        "CLIENT TRACKINGINFO",
        "GET a",
        "@SET a 4",
        "CLIENT TRACKING ON NOLOOP",
        "CLIENT TRACKINGINFO",
        "GET a",
        "SET a 5",
        "GET a",
        "GET b",
        "@SET a 6",
        "SET b 2",
        "@SET b 3",
        "GET b",
        "@SET b 4",
        "MGET {t}1 {t}2",
        "MSET {t}1 a {t}2 b",
        "MGET {t}1 {t}2",
        "@MSET {t}1 a",
        "HELLO 2",
        "CLIENT TRACKINGINFO",
        "@MSET {t}2 a",
        "GET b",
    ]);
}

#[test]
fn who_asks_for_prefixes_hears_of_all_their_keys() {
    compare(&[
        "CLIENT TRACKING ON BCAST PREFIX user: PREFIX {t}",
        "CLIENT TRACKINGINFO",
        "CLIENT GETREDIR",
        "@SET user:1 a",
        "@SET other a",
        "@MSET {t}b 1 {t}a 2",
        "@DEL user:1",
        "@DEL user:1",
        "GET user:2",
        "SET user:2 mine",
        "SET other mine",
        "CLIENT TRACKING ON",
        "CLIENT TRACKING ON OPTIN",
        "CLIENT TRACKING ON BCAST PREFIX user:1",
        "CLIENT TRACKING ON BCAST PREFIX us",
        "CLIENT TRACKING ON BCAST PREFIX new PREFIX newer",
        "CLIENT TRACKING ON BCAST",
        "CLIENT TRACKING ON BCAST PREFIX new",
        "CLIENT TRACKINGINFO",
        "@SET new:1 a",
        "@SET user:1 a",
        "CLIENT CACHING YES",
        "@FLUSHALL",
        "@SET user:1 b",
        "CLIENT TRACKING OFF",
        "CLIENT TRACKINGINFO",
        "@SET user:1 c",
        "CLIENT TRACKING ON BCAST",
        "CLIENT TRACKINGINFO",
        "@SET anything a",
        "RESET",
        "@SET anything b",
        "CLIENT TRACKINGINFO",
    ]);
}

#[test]
fn what_redis_refuses_is_refused() {
    compare(&[
        "CLIENT TRACKING ON PREFIX a",
        "CLIENT TRACKING ON BCAST OPTIN",
        "CLIENT TRACKING ON OPTIN BCAST OPTOUT",
        "CLIENT TRACKING ON OPTIN OPTOUT",
        "CLIENT TRACKING ON REDIRECT x",
        "CLIENT TRACKING ON REDIRECT",
        "CLIENT TRACKING ON PREFIX",
        "CLIENT TRACKING ON perhaps",
        "CLIENT TRACKING perhaps",
        "CLIENT TRACKING",
        "CLIENT CACHING YES",
        "CLIENT CACHING NO",
        "CLIENT CACHING",
        "CLIENT TRACKING OFF OPTIN",
        "CLIENT TRACKINGINFO x",
        "CLIENT GETREDIR x",
    ]);
}

/// The fence of a client that is subscribed in RESP2.
const SUBSCRIBER_FENCE: &str = "PING the~fence";
const SUBSCRIBER_FENCED: &[u8] = b"*2\r\n$4\r\npong\r\n$9\r\nthe fence\r\n";

/// As `compare`, of a client that is told by another: lines with `#` are that one's, and ID is its number.
fn compare_redirected(flags: &[&str], lines: &[&str]) {
    let _alone = alone();
    let (single, proxy) = (Single::start(), Proxy::start(&CLUSTER, flags));
    let mut ours: Vec<Conn> = (0..3).map(|_| proxy.conn()).collect();
    let mut theirs: Vec<Conn> = (0..3).map(|_| single.conn()).collect();
    // Its number is like no other number of a reply.
    for side in [proxy.addr(), &single.addr()] {
        (0..100).for_each(|_| drop(Conn::connect(side)));
    }
    (ours[2], theirs[2]) = (proxy.conn(), single.conn());
    let ids = [&mut ours, &mut theirs].map(|side| side[2].line("CLIENT ID").int().to_string());
    let mut subscribed = false;
    for line in ["FLUSHALL"].iter().chain(lines) {
        let (who, text) = match line.split_at(1) {
            ("@", text) => (1, text),
            ("#", text) => (2, text),
            _ => (0, *line),
        };
        for (side, id) in [&mut ours, &mut theirs].into_iter().zip(&ids) {
            side[who].send(Conn::encode(&words(&text.replace("ID", id))));
        }
        if who == 2 {
            subscribed = text.starts_with("SUBSCRIBE");
        }
        for at in [who, (who + 1) % 3, (who + 2) % 3] {
            let (fence, fenced) = match at == 2 && subscribed {
                true => (SUBSCRIBER_FENCE, SUBSCRIBER_FENCED),
                false => (FENCE, FENCED),
            };
            theirs[at].send(Conn::encode(&words(fence)));
            loop {
                let expected = theirs[at].read_frame();
                if expected == fenced {
                    break;
                }
                let shown =
                    |frame: &[u8], id: &str| show(frame).replace(&format!(":{id}\\r"), ":ID\\r");
                let got = shown(&ours[at].read_frame(), &ids[0]);
                assert_eq!(got, shown(&expected, &ids[1]), "{line}");
            }
        }
    }
    for (at, conn) in ours.iter_mut().enumerate() {
        if at < 2 {
            assert_eq!(fenced(conn), [""; 0], "more than Redis says");
        }
    }
}

/// What is said to a client that is subscribed, for one that has read.
const REDIRECTED: &[&str] = &[
    "CLIENT TRACKING ON REDIRECT 123456789",
    "CLIENT TRACKING ON REDIRECT 0",
    "CLIENT TRACKING ON REDIRECT ID REDIRECT ID",
    "CLIENT TRACKING ON REDIRECT ID OPTIN OPTOUT",
    "#SUBSCRIBE __redis__:invalidate",
    "CLIENT TRACKING ON REDIRECT ID",
    "CLIENT GETREDIR",
    "CLIENT TRACKINGINFO",
    "GET a",
    "@SET a 1",
    "@SET a 2",
    "GET a",
    "SET a 3",
    "MGET {t}1 {t}2",
    "@MSET {t}2 x",
    "@DEL {t}1",
    "@SET {t}1 x",
    "HGETALL {t}h",
    "@HSET {t}h f v",
    "CLIENT TRACKING OFF",
    "GET a",
    "@SET a 4",
    "CLIENT TRACKING ON REDIRECT ID OPTIN",
    "GET a",
    "CLIENT CACHING YES",
    "GET a",
    "@SET a 5",
    "CLIENT TRACKING OFF",
    "CLIENT TRACKING ON BCAST PREFIX u REDIRECT ID",
    "CLIENT TRACKINGINFO",
    "@SET u1 a",
    "@SET a 6",
    "CLIENT TRACKING OFF",
    // Who speaks RESP3 need not be subscribed.
    "CLIENT TRACKING ON REDIRECT ID",
    "#UNSUBSCRIBE",
    "#HELLO 3",
    "GET a",
    "@SET a 8",
    "HELLO 3",
    "GET a",
    "@SET a 9",
    "GET a",
    "@GET a",
    "GET b",
    "@SET b 1",
    "RESET",
    "CLIENT GETREDIR",
];

#[test]
fn a_client_is_told_by_another() {
    compare_redirected(&["-max-procs", "1"], REDIRECTED);
    // Perhaps of another worker.
    for _ in 0..3 {
        compare_redirected(&["-max-procs", "2"], REDIRECTED);
    }
}

#[test]
fn a_client_hears_that_the_other_has_gone() {
    let mut reader = Reader::new(&["-max-procs", "2"]);
    let mut other = reader.proxy.conn();
    let id = other.line("CLIENT ID").int();
    let line = format!("CLIENT TRACKING ON REDIRECT {id}");
    assert_eq!(reader.conn.line(&line).text(), "OK");
    reader.conn.line("GET a");
    drop(other);
    let mut admin = reader.proxy.conn();
    wait_for("it has gone", LIMIT, || {
        let list = admin.line("CLIENT LIST").text();
        (!list.contains(&format!("id={id} "))).then_some(())
    });
    admin.line("SET a 1");
    assert_eq!(
        reader.push(),
        format!(">2 $21 tracking-redir-broken :{id} ")
    );
    let list = admin.line("CLIENT LIST").text();
    let own = " flags=tR ";
    assert!(
        list.contains(own) && list.contains(&format!(" redir={id} ")),
        "{list}"
    );
    reader.conn.line("GET a");
    reader.hears_nothing();
}

/// A client that tracks, and the connections of its neighbours: one through the proxy, one to each node.
struct Reader {
    conn: Conn,
    proxy: Proxy,
    _alone: MutexGuard<'static, ()>,
}

impl Reader {
    fn new(flags: &[&str]) -> Reader {
        let _alone = alone();
        let proxy = Proxy::start(&CLUSTER, flags);
        proxy.conn().line("FLUSHALL");
        let mut conn = proxy.conn();
        conn.line("HELLO 3");
        conn.line("CLIENT TRACKING ON");
        Reader {
            conn,
            proxy,
            _alone,
        }
    }

    /// The next push, of which there must be one; what it says.
    fn push(&mut self) -> String {
        String::from_utf8_lossy(&self.conn.read_frame()).replace("\r\n", " ")
    }

    /// Asserts that nothing has been pushed.
    fn hears_nothing(&mut self) {
        assert_eq!(self.conn.line("ECHO end").text(), "end");
    }
}

fn invalidate(key: &str) -> String {
    format!(">2 $10 invalidate *1 ${} {key} ", key.len())
}

/// Three keys, one of each node.
fn keys_of_all_nodes() -> Vec<String> {
    let keys = [0, 8000, 16000].map(|slot| key_in_slot(slot, "k"));
    let masters: std::collections::BTreeSet<u16> = keys
        .iter()
        .map(|key| CLUSTER.master_of(slot_of(key)))
        .collect();
    assert_eq!(masters.len(), 3);
    keys.into()
}

#[test]
fn keys_of_all_nodes_are_tracked() {
    let mut reader = Reader::new(&[]);
    let keys = keys_of_all_nodes();
    reader.conn.line(&format!("MGET {}", keys.join(" ")));
    for key in &keys {
        // Directly at the node: the proxy sees nothing of it.
        let mut node = CLUSTER.raw(CLUSTER.master_of(slot_of(key)));
        node.line(&format!("SET {key} v"));
        assert_eq!(reader.push(), invalidate(key));
        node.line(&format!("SET {key} w"));
    }
    reader.hears_nothing();
    let mut admin = reader.proxy.conn();
    assert_eq!(admin.info("clients")["tracking_clients"], "1");
    let list = admin.line("CLIENT LIST").text();
    assert!(
        list.contains(" flags=t ") && list.contains(" redir=0 "),
        "{list}"
    );
    assert_eq!(reader.proxy.counter("proxy_tracking_keys"), 0);
    // Each node has one connection of the proxy that tracks, whatever the number of clients.
    let others: Vec<Conn> = (0..5)
        .map(|_| {
            let mut conn = reader.proxy.conn();
            conn.line("HELLO 3");
            conn.line("CLIENT TRACKING ON");
            conn.line(&format!("MGET {}", keys.join(" ")));
            conn
        })
        .collect();
    let count = |port: u16| {
        let info = CLUSTER.raw(port).info("clients");
        info["tracking_clients"].parse::<usize>().expect("a number")
    };
    let workers = count(CLUSTER.masters()[0]);
    assert!((1..=2).contains(&workers), "{workers}");
    CLUSTER
        .raw(CLUSTER.master_of(slot_of(&keys[0])))
        .line(&format!("SET {} x", keys[0]));
    for mut conn in others {
        let push = conn.read_frame();
        assert_eq!(
            String::from_utf8_lossy(&push).replace("\r\n", " "),
            invalidate(&keys[0])
        );
    }
    let Reader {
        conn,
        proxy: _proxy,
        _alone,
    } = reader;
    drop(conn);
    wait_for("nobody tracks", LIMIT, || {
        (admin.info("clients")["tracking_clients"] == "0").then_some(())
    });
}

#[test]
fn what_was_read_in_a_transaction_is_said_to_have_changed() {
    let mut reader = Reader::new(&[]);
    let conn = &mut reader.conn;
    for line in ["MULTI", "GET {t}a", "SET {t}b 1"] {
        conn.line(line);
    }
    conn.line("EXEC");
    let mut push = Vec::new();
    for _ in 0..1 {
        push.push(reader.push());
    }
    assert_eq!(push, [">2 $10 invalidate *2 $4 {t}a $4 {t}b "]);
    reader.conn.line("LPUSH {t}list a");
    reader.conn.line("BLPOP {t}list 1");
    assert_eq!(reader.push(), invalidate("{t}list"));
    reader.hears_nothing();
}

#[test]
fn a_lost_connection_and_a_moved_slot_are_no_silence() {
    let mut reader = Reader::new(&["-max-procs", "1"]);
    let keys = keys_of_all_nodes();
    reader.conn.line(&format!("MGET {}", keys.join(" ")));
    // The node throws the proxy out.
    let mut node = CLUSTER.raw(CLUSTER.master_of(slot_of(&keys[0])));
    node.line("CLIENT KILL TYPE normal SKIPME yes");
    assert_eq!(reader.push(), invalidate(&keys[0]));
    reader.hears_nothing();
    // Many keys are said in one word.
    for chunk in (0..600).collect::<Vec<_>>().chunks(100) {
        let line: Vec<String> = chunk
            .iter()
            .map(|n| format!("{{k{}}}{n}", keys[0]))
            .collect();
        reader.conn.line(&format!("MGET {}", line.join(" ")));
    }
    let mut node = CLUSTER.raw(CLUSTER.master_of(slot_of(format!("{{k{}}}", keys[0]))));
    node.line("CLIENT KILL TYPE normal SKIPME yes");
    let push = reader.push();
    assert_eq!(push, ">2 $10 invalidate _ ");
    // A slot without keys moves: no node says anything of it.
    let slot = slot_of(&keys[1]);
    let (from, to) = (
        CLUSTER.master_of(slot),
        CLUSTER.master_of(slot_of(&keys[2])),
    );
    assert!(reader.conn.line(&format!("GET {}", keys[1])).is_nil());
    wait_for("it to be tracked", LIMIT, || {
        (reader.proxy.counter("proxy_tracking_keys") > 0).then_some(())
    });
    CLUSTER.migrate_slot(slot, from, to);
    let push = wait_for("the push", LIMIT, || {
        // What the proxy learns by a client that asks for a key of the slot; or by itself, a little later.
        let mut other = reader.proxy.conn();
        other.line(&format!("SET {} moved", keys[1]));
        let bytes = reader.conn.read_for(Duration::from_millis(50));
        let bytes = bytes.unwrap_or_default();
        let push = String::from_utf8_lossy(&bytes).replace("\r\n", " ");
        (!push.is_empty()).then_some(push)
    });
    assert!(push.contains(&invalidate(&keys[1])), "{push}");
    assert_eq!(
        reader.conn.line(&format!("GET {}", keys[1])).text(),
        "moved"
    );
    CLUSTER.migrate_slot(slot, to, from);
}

#[test]
fn what_is_too_much_to_remember_is_said_to_have_changed() {
    let mut reader = Reader::new(&["-max-procs", "1", "-tracking-max-keys", "10"]);
    for number in 0..10 {
        reader.conn.line(&format!("GET {{t}}{number}"));
    }
    reader.hears_nothing();
    reader.conn.send(Conn::encode(&["GET", "another"]));
    let mut frames: Vec<Reply> = Vec::new();
    while frames.len() < 2 {
        frames.push(reader.conn.read_reply());
    }
    assert!(frames[0].is_nil());
    assert_eq!(reader.proxy.counter("proxy_tracking_keys"), 10);
    assert_eq!(reader.proxy.counter("proxy_tracking_evictions"), 1);
}

/// The answer to a line: what is pushed before it has been heard.
fn answer(conn: &mut Conn, line: &str) -> String {
    conn.send(Conn::encode(&words(line)));
    loop {
        let frame = conn.read_frame();
        if !frame.starts_with(b">") {
            let text = String::from_utf8_lossy(&frame).into_owned();
            return text.lines().last().unwrap_or_default().to_string();
        }
    }
}

/// Whoever tracks, in whatever mode, hears of a key that somebody else's node serves now, and of what is written there.
fn a_failover_is_no_silence(fail: impl Fn(&Cluster, u16)) {
    let cluster = Cluster::start(3, 1);
    let proxy = Proxy::start(&cluster, &[]);
    let key = key_in_slot(0, "k");
    assert_eq!(proxy.conn().line(&format!("SET {key} old")).text(), "OK");
    let modes = [
        "",
        " OPTIN",
        " OPTOUT",
        " NOLOOP",
        " BCAST",
        " BCAST PREFIX k PREFIX {",
    ];
    let mut readers: Vec<(String, Conn)> = Vec::new();
    for mode in modes {
        let mut conn = proxy.conn();
        conn.line("HELLO 3");
        assert_eq!(conn.line(&format!("CLIENT TRACKING ON{mode}")).text(), "OK");
        readers.push((mode.to_string(), conn));
    }
    // One that speaks RESP2 has another told of what it has read.
    let (mut told, mut resp2) = (proxy.conn(), proxy.conn());
    let id = match told.line("CLIENT ID") {
        Reply::Int(id) => id,
        other => panic!("{other:?}"),
    };
    told.line("SUBSCRIBE __redis__:invalidate");
    let on = format!("CLIENT TRACKING ON REDIRECT {id}");
    assert_eq!(resp2.line(&on).text(), "OK");
    let read = |readers: &mut Vec<(String, Conn)>, resp2: &mut Conn, value: &str| {
        for (mode, conn) in readers {
            if mode == " OPTIN" {
                answer(conn, "CLIENT CACHING YES");
            }
            assert_eq!(answer(conn, &format!("GET {key}")), value, "{mode}");
        }
        assert_eq!(answer(resp2, &format!("GET {key}")), value);
    };
    let hear = |readers: &mut Vec<(String, Conn)>, told: &mut Conn, why: &str| {
        for (mode, conn) in readers {
            let push = conn.read_frame().escape_ascii().to_string();
            assert!(
                push.starts_with(r">2\r\n$10\r\ninvalidate"),
                "{why}:{mode}: {push}"
            );
        }
        let message = told.read_frame().escape_ascii().to_string();
        assert!(message.contains("__redis__:invalidate"), "{why}: {message}");
    };
    read(&mut readers, &mut resp2, "old");
    fail(&cluster, cluster.master_of(0));
    // It is found out by a client that asks, or by the proxy itself, a little later.
    hear(&mut readers, &mut told, "failover");
    let mut writer = proxy.conn();
    wait_for("the new master to serve", LIMIT, || {
        let reply = writer.line(&format!("SET {key} new"));
        (!reply.is_error()).then_some(())
    });
    read(&mut readers, &mut resp2, "new");
    assert_eq!(writer.line(&format!("SET {key} newer")).text(), "OK");
    hear(&mut readers, &mut told, "a write behind it");
}

#[test]
fn a_planned_failover_is_no_silence() {
    a_failover_is_no_silence(|cluster, master| cluster.failover(cluster.replicas_of(master)[0]));
}

#[test]
fn a_dead_master_is_no_silence() {
    a_failover_is_no_silence(|cluster, master| cluster.kill(master));
}
