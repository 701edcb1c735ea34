//! Users and their ACLs beside one redis-server with the same file: who may do what, what ACL shows of it, which rules are
//! taken; and what a change does to those who are connected.

use crate::support::{Cluster, Conn, Proxy, Random, Reply, Server, signal, wait_for};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const USERS: &str = include_str!("users/users.acl");

/// How long a connection may take to be closed on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A file of users in a folder of its own.
fn users_file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("written");
    path
}

/// A proxy with a file of users, whose servers have said what they have.
fn start(cluster: &Cluster, file: &Path, flags: &[&str]) -> Proxy {
    let file = file.to_str().expect("plain");
    let proxy = Proxy::start(cluster, &[&["-acl-file", file], flags].concat());
    let mut conn = proxy.conn();
    wait_for("what the servers have", Duration::from_secs(20), || {
        conn.line("ACL CAT json").is_error().then_some(())
    });
    proxy
}

/// Commands on keys, of which `K` and `L` stand for one each; all keys lie in one slot.
const KEYED: &[&str] = &[
    "GET K",
    "SET K v",
    "SET K v GET",
    "GETSET K v",
    "GETDEL K",
    "GETEX K",
    "APPEND K x",
    "STRLEN K",
    "GETRANGE K 0 1",
    "SETRANGE K 0 y",
    "INCR K",
    "DEL K",
    "SETNX K 5",
    "MGET K L",
    "MSET K 1 L 2",
    "MSETNX K 1 L 2",
    "DEL K L",
    "EXISTS K L",
    "TOUCH K L",
    "UNLINK K L",
    "TYPE K",
    "TTL K",
    "EXPIRE K 100",
    "PERSIST K",
    "RENAME K L",
    "RENAMENX K L",
    "COPY K L",
    "OBJECT ENCODING K",
    "DUMP K",
    "LPUSH K a",
    "RPUSH K b",
    "LRANGE K 0 -1",
    "LPOP K",
    "LMOVE K L LEFT RIGHT",
    "RPOPLPUSH K L",
    "BLPOP K 1 ",
    "HSET K f v",
    "HGET K f",
    "HGETALL K",
    "HDEL K f",
    "SADD K m",
    "SMEMBERS K",
    "SINTERSTORE K L",
    "SUNION K L",
    "SMOVE K L m",
    "ZADD K 1 m",
    "ZRANGE K 0 -1",
    "ZRANGESTORE K L 0 -1",
    "ZUNIONSTORE K 1 L",
    "PFADD K a",
    "PFCOUNT K L",
    "PFMERGE K L",
    "SETBIT K 7 1",
    "GETBIT K 7",
    "BITOP AND K L",
    "BITFIELD K GET u8 0",
    "BITFIELD K SET u8 0 1",
    "BITFIELD_RO K GET u8 0",
    "BITCOUNT K",
    "GEOADD K 1 1 m",
    "GEOSEARCHSTORE K L FROMMEMBER m BYRADIUS 1 m",
    "XADD K 1-1 f v",
    "XLEN K",
    "XREAD STREAMS K L 0 0",
    "XGROUP CREATE K g $",
    "XINFO STREAM K",
    "SORT K",
    "SORT K STORE L",
    "SORT_RO K",
    "LCS K L",
    "SINTERCARD 2 K L",
    "LMPOP 2 K L LEFT",
    "XAUTOCLAIM K g c 0 0",
    "RESTORE K 0 nonsense",
    "MEMORY USAGE nosuchkey",
    "WATCH K",
    "UNWATCH",
    "GEORADIUS K 1 1 1 m STORE L",
    "EXPIRETIME K",
    "FLUSHALL",
];

/// Other commands.
const OTHERS: &[&str] = &[
    "PING",
    "ECHO hello",
    "SELECT 0",
    "ACL WHOAMI",
    "ACL USERS",
    "ACL LIST",
    "ACL GETUSER nosuch",
    "ACL CAT nosuch",
    "ACL",
    "ACL LOG x",
    "ACL nosuch",
    "ACL DELUSER nosuch",
    "ACL SETUSER x nosuch",
    "ACL DRYRUN u05 GET app:x",
    "ACL DRYRUN u05 SET app:x y",
    "ACL DRYRUN u26 MGET app:x y",
    "ACL DRYRUN u18 PUBLISH nosuch x",
    "ACL DRYRUN u05 nosuch",
    "ACL DRYRUN nosuch GET x",
    "ACL DRYRUN u05 GET",
    "ACL GENPASS x",
    "CONFIG GET appendonly",
    "CONFIG",
    "CONFIG nosuch",
    "CONFIG SET nosuch x",
    "CLIENT ID x",
    "CLIENT GETNAME",
    "CLIENT SETNAME me",
    "CLIENT NO-EVICT on",
    "CLIENT KILL ID x",
    "CLIENT KILL USER nosuch",
    "COMMAND INFO nosuch",
    "COMMAND GETKEYS GET x",
    "PUBLISH news:1 x",
    "PUBLISH log:1 x",
    "PUBLISH other x",
    "SUBSCRIBE news:1",
    "UNSUBSCRIBE news:1",
    "SUBSCRIBE other",
    "UNSUBSCRIBE other",
    "PSUBSCRIBE news:*",
    "PUNSUBSCRIBE news:*",
    "PSUBSCRIBE news:1",
    "PUNSUBSCRIBE news:1",
    "PSUBSCRIBE log:*",
    "PUNSUBSCRIBE log:*",
    "PUBSUB NUMSUB x",
    "MULTI",
    "GET app:{t}key",
    "EXEC",
    "MULTI",
    "SET ro:{t}key v",
    "EXEC",
    "MULTI",
    "NOSUCH",
    "EXEC",
    "MULTI",
    "INCR app:{t}key",
    "DISCARD",
    "EXEC",
    "MULTI",
    "PUBLISH other x",
    "GET app:{t}key",
    "EXEC",
    "DISCARD",
    "SLOWLOG GET x",
    "NOSUCH",
    "GET",
    "SET",
    "SET app:{t}key",
    "MSET app:{t}key",
    "AUTH",
    "AUTH nosuch",
    "AUTH u37 pw",
    "AUTH u38 pw",
    "AUTH u05 wrong",
    "AUTH a b c",
    "HELLO 4",
    "HELLO 2 AUTH u05 wrong",
    "HELLO x",
    "EVAL nonsense",
    "ZUNIONSTORE app:{t}key 5 x",
    "XREAD STREAMS app:{t}key",
    "LATENCY LATEST x",
    "DEBUG",
    "TIME x",
    "RANDOMKEY x",
    "LASTSAVE x",
    "MEMORY DOCTOR x",
    "SWAPDB x 0",
];

/// All commands that each user tries.
fn commands() -> Vec<String> {
    let keys = ["app:{t}key", "ro:{t}key", "wo:{t}key", "other:{t}key"];
    let mut lines: Vec<String> = OTHERS.iter().map(|line| line.to_string()).collect();
    for (index, line) in KEYED.iter().enumerate() {
        for shift in 0..keys.len() {
            let key = keys[shift];
            let second = keys[(shift + index) % keys.len()];
            let words = line.split_whitespace().map(|word| match word {
                "K" => key,
                "L" => second,
                other => other,
            });
            lines.push(words.collect::<Vec<_>>().join(" "));
        }
    }
    lines
}

/// Where the proxy differs, and why; what it then answers begins so.
const DIFFERENT: &[(&str, &str)] = &[];

#[test]
fn every_user_may_do_what_he_may_on_one_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = users_file(&folder, "ours.acl", USERS);
    let theirs = users_file(&folder, "theirs.acl", USERS);
    let single = Server::start(&["--aclfile", theirs.to_str().expect("plain")]);
    let cluster = Cluster::start(3, 0);
    // The commands are failed logins, too: a server does not delay the next.
    let proxy = start(&cluster, &ours, &["-auth-failure-delay", "0s"]);
    let commands = commands();
    assert!(commands.len() >= 400, "{}", commands.len());
    let (mut compared, mut denied) = (0, 0);
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for protocol in ["2", "3"] {
        for number in 1..=40 {
            let name = format!("u{number:02}");
            let mut pair = [proxy.addr(), &single.addr()].map(|addr| Conn::open(addr, protocol));
            let login: Vec<_> = pair
                .iter_mut()
                .map(|conn| conn.line(&format!("AUTH {name} pw")))
                .collect();
            assert_eq!(login[0], login[1], "{name}");
            let words = |line: &String| line.split_whitespace().map(str::to_string).collect();
            let requests: Vec<Vec<String>> = commands.iter().map(words).collect();
            for conn in &mut pair {
                let bytes: Vec<u8> = requests
                    .iter()
                    .flat_map(|words| Conn::encode(words))
                    .collect();
                conn.send(bytes);
            }
            for line in &commands {
                let [ours, theirs] = pair
                    .each_mut()
                    .map(|conn| conn.frame().map(|frame| normal(line, frame)));
                let [Ok(ours), Ok(theirs)] = [ours, theirs] else {
                    panic!("RESP{protocol} {name}: {line}: a connection is closed");
                };
                compared += 1;
                denied += usize::from(theirs.contains("NOPERM"));
                let excused = DIFFERENT
                    .iter()
                    .any(|(begin, answer)| line.starts_with(begin) && ours.starts_with(answer));
                if ours != theirs && !excused {
                    let found = format!("RESP{protocol} {name}: {ours} / {theirs}");
                    wrong.entry(line.clone()).or_default().push(found);
                }
            }
        }
    }
    assert!(denied > compared / 5, "{denied} of {compared}");
    let count: usize = wrong.values().map(Vec::len).sum();
    let shown: Vec<String> = wrong
        .iter()
        .map(|(line, found)| format!("{line}: {} times, as {}", found.len(), found[0]))
        .collect();
    assert_eq!(
        count,
        0,
        "of {compared}, {denied} denied:\n{}",
        shown.join("\n")
    );
}

/// A reply as text, with what no two servers have in common left out.
fn normal(line: &str, (reply, frame): (Reply, Vec<u8>)) -> String {
    if line == "ACL LIST" && !reply.is_error() {
        let lines: Vec<String> = reply
            .items()
            .iter()
            .map(|line| in_order(&line.text()))
            .collect();
        return lines.join("\n");
    }
    frame.escape_ascii().to_string()
}

/// A user's rules with the single commands, which a server shows in no order, in one.
fn in_order(rules: &str) -> String {
    let mut parts: Vec<Vec<&str>> = vec![Vec::new()];
    for word in rules.split(' ') {
        if word.starts_with('(') {
            parts.push(Vec::new());
        }
        parts
            .last_mut()
            .expect("one")
            .push(word.trim_end_matches(')'));
    }
    let parts = parts.into_iter().map(|part| {
        let is_command = |word: &&str| word.starts_with(['+', '-']) && !word[1..].starts_with('@');
        let (mut commands, rest): (Vec<_>, Vec<_>) = part.into_iter().partition(is_command);
        commands.sort_unstable();
        [rest, commands].concat().join(" ")
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// A reply of ACL GETUSER as text, its commands in one order.
fn user_in_order(reply: &Reply) -> String {
    match reply {
        Reply::Array(items) | Reply::Set(items) => items
            .iter()
            .map(user_in_order)
            .collect::<Vec<_>>()
            .join("|"),
        Reply::Map(pairs) => pairs
            .iter()
            .map(|(name, value)| format!("{}={}", user_in_order(name), user_in_order(value)))
            .collect::<Vec<_>>()
            .join("|"),
        Reply::Bulk(text) => in_order(&String::from_utf8_lossy(text)),
        other => format!("{other:?}"),
    }
}

/// Words that rules are made of.
const RULES: &[&str] = &[
    "on",
    "off",
    "ON",
    "nopass",
    "resetpass",
    "reset",
    "resetkeys",
    "resetchannels",
    "allkeys",
    "allchannels",
    "allcommands",
    "nocommands",
    "clearselectors",
    "sanitize-payload",
    "skip-sanitize-payload",
    "+@all",
    "-@all",
    "~*",
    "&*",
    "~a*",
    "~b",
    "%R~a*",
    "%W~a*",
    "%RW~c",
    "%wr~d",
    "%R~",
    "%~x",
    "%X~a",
    "%RR~a",
    "%",
    "%R",
    "%RW",
    "~",
    "&",
    "&a",
    "&b*",
    "+get",
    "-get",
    "+GET",
    "+set",
    "-set",
    "+config",
    "-config",
    "+config|get",
    "-config|get",
    "+config|set",
    "+Config|SET",
    "+config|nosuch",
    "-config|nosuch",
    "+nosuch",
    "-nosuch",
    "+nosuch|x",
    "+get|a",
    "+get|b",
    "+get|A",
    "-get|a",
    "+select|0",
    "-select",
    "+select",
    "+debug|x",
    "+client|list|x",
    "+client|",
    "+get|",
    "+get|a|b",
    "+@read",
    "-@read",
    "+@write",
    "-@write",
    "+@string",
    "-@string",
    "+@hash",
    "+@dangerous",
    "-@dangerous",
    "+@admin",
    "-@admin",
    "+@slow",
    "-@slow",
    "+@fast",
    "-@fast",
    "+@pubsub",
    "+@nosuch",
    "-@nosuch",
    "+@",
    "-@",
    "+",
    "-",
    "+@READ",
    ">pw",
    "<pw",
    ">pw2",
    "<pw2",
    "<nosuch",
    ">",
    "<",
    "#",
    "!",
    "#30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4",
    "!30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4",
    "#30C952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4",
    "(",
    ")",
    "()",
    "( )",
    "(+get)",
    "(+get ~a*)",
    "(+get",
    "~a)",
    "(~x",
    "+set)",
    "(+nosuch)",
    "(on)",
    "(reset)",
    "(+@all -@write ~* &*)",
    "(\"~q\" +get)",
    "('~q' +get)",
    "(\"~q +get)",
    "(+get)x",
    "x(+get)",
    "(~a (+get))",
    "((+get))",
    "a b",
    "~a b",
    "&a b",
    "nosuch",
    "",
    "+@all|x",
    "-debug",
    "+acl",
    "-acl|whoami",
    "+@connection",
    "-@connection",
    "+@transaction",
    "-@scripting",
    "+@keyspace",
];

#[test]
fn the_same_rules_are_taken_as_on_one_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = users_file(&folder, "users.acl", "");
    let single = Server::start(&[]);
    let cluster = Cluster::start(3, 0);
    let proxy = start(&cluster, &file, &[]);
    let mut random = Random::new(17);
    let mut wrong = Vec::new();
    let (mut taken, mut refused) = (0, 0);
    for protocol in ["2", "3"] {
        let mut pair = [proxy.addr(), &single.addr()].map(|addr| Conn::open(addr, protocol));
        for round in 0..600 {
            let name = ["a", "b", "default2"][random.below(3)];
            let count = 1 + random.below(6);
            let mut words = vec!["ACL", "SETUSER", name];
            for _ in 0..count {
                // Most are good, or nothing but errors would be seen.
                let mut rule = *random.pick(RULES);
                if rule.contains("nosuch") && !random.one_in(4) {
                    rule = "+@all";
                }
                // A server looks at what stands before the text of an empty word.
                if !(rule.is_empty() && words.iter().any(|word| word.starts_with('('))) {
                    words.push(rule);
                }
            }
            let answers = pair.each_mut().map(|conn| conn.command(&words));
            if answers[0].is_error() {
                refused += 1;
            } else {
                taken += 1;
            }
            let shown = pair.each_mut().map(|conn| {
                let one = user_in_order(&conn.command(&["ACL", "GETUSER", name]));
                let all = conn.line("ACL LIST");
                let all: Vec<String> = all
                    .items()
                    .iter()
                    .map(|line| in_order(&line.text()))
                    .collect();
                format!("{one}\n{}", all.join("\n"))
            });
            if answers[0] != answers[1] || shown[0] != shown[1] {
                wrong.push(format!(
                    "{round}: {words:?}\n {:?}\n {:?}\n {}\n {}",
                    answers[0], answers[1], shown[0], shown[1]
                ));
                for conn in &mut pair {
                    conn.command(&["ACL", "DELUSER", name]);
                }
            }
        }
    }
    assert!(taken > 200 && refused > 200, "{taken} {refused}");
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(12)].join("\n")
    );
}

/// Clients on every worker, logged in as a user.
fn many(proxy: &Proxy, name: &str) -> Vec<Conn> {
    let login = format!("AUTH {name} pw");
    let conns = (0..12).map(|_| {
        let mut conn = proxy.conn();
        assert_eq!(conn.line(&login), "OK");
        conn
    });
    conns.collect()
}

const NO_KEY: &str =
    "NOPERM this user has no permissions to access one of the keys used as arguments";

#[track_caller]
fn refused(reply: Reply, text: &str) {
    assert_eq!(reply.error(), Some(text), "{reply:?}");
}

#[test]
fn a_change_holds_for_connected_clients_of_all_workers_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "user default on nopass ~* &* +@all\nuser app on >pw ~a:* &* +@all\nuser gone on >pw ~* +@all\n";
    let file = users_file(&folder, "users.acl", text);
    let cluster = Cluster::start(3, 0);
    let proxy = start(&cluster, &file, &["-max-procs", "3"]);
    let mut admin = proxy.conn();
    let mut apps = many(&proxy, "app");
    for conn in &mut apps {
        assert!(!conn.line("GET a:1").is_error());
        refused(conn.line("GET b:1"), NO_KEY);
    }
    // Every client's next request is judged by the new rules, on whatever worker it is.
    for round in 0..20 {
        let (now, then) = if round % 2 == 0 {
            ("b", "a")
        } else {
            ("a", "b")
        };
        assert_eq!(
            admin.line(&format!("ACL SETUSER app resetkeys ~{now}:*")),
            "OK"
        );
        for conn in &mut apps {
            assert!(!conn.line(&format!("GET {now}:1")).is_error());
            refused(conn.line(&format!("GET {then}:1")), NO_KEY);
        }
    }
    // What is queued may not be allowed any more.
    let conn = &mut apps[0];
    assert_eq!(conn.line("MULTI"), "OK");
    assert_eq!(conn.line("SET a:1 v"), "QUEUED");
    assert_eq!(admin.line("ACL SETUSER app -set"), "OK");
    assert!(
        conn.line("EXEC")
            .error()
            .expect("it is refused")
            .starts_with("EXECABORT")
    );
    assert!(conn.line("GET a:1").is_nil());
    // Who is off stays, and nobody else comes.
    assert_eq!(admin.line("ACL SETUSER app off"), "OK");
    assert!(apps[1].line("GET a:1").is_nil());
    assert!(proxy.conn().line("AUTH app pw").is_error());
    // Who may not hear a channel any more is closed.
    assert_eq!(
        admin.line("ACL SETUSER app on resetchannels &news:* &log:*"),
        "OK"
    );
    let mut subscribers = many(&proxy, "app");
    for (index, conn) in subscribers.iter_mut().enumerate() {
        let how = [
            "SUBSCRIBE news:1",
            "PSUBSCRIBE log:*",
            "SSUBSCRIBE news:{1}",
            "SUBSCRIBE log:1",
        ];
        conn.line(how[index % how.len()]);
    }
    assert_eq!(admin.line("ACL SETUSER app resetchannels &log:*"), "OK");
    for (index, conn) in subscribers.iter_mut().enumerate() {
        let stays = index % 4 == 1 || index % 4 == 3;
        assert_eq!(
            conn.is_open(if stays {
                Duration::from_millis(50)
            } else {
                LIMIT
            }),
            stays,
            "{index}"
        );
    }
    // Who is no more is closed, and a new user of the name is another one.
    let mut doomed = many(&proxy, "gone");
    doomed[0].send(Conn::encode(&["BLPOP", "list", "0"]));
    assert_eq!(
        admin.line("CLIENT KILL USER nosuch").error(),
        Some("ERR No such user 'nosuch'")
    );
    assert_eq!(admin.line("ACL DELUSER gone nosuch").int(), 1);
    for conn in &mut doomed {
        assert!(!conn.is_open(LIMIT));
    }
    assert_eq!(admin.line("ACL SETUSER gone on >pw ~* +@all"), "OK");
    let again = many(&proxy, "gone");
    let line = admin.line("CLIENT LIST").text();
    assert_eq!(line.matches(" user=gone ").count(), again.len(), "{line}");
    assert_eq!(
        admin.line("CLIENT KILL USER gone").int(),
        again.len() as i64
    );
    // Who deletes himself is told, and closed.
    let mut own = many(&proxy, "gone").remove(0);
    assert_eq!(own.line("ACL DELUSER gone").int(), 1);
    assert!(!own.is_open(LIMIT));
    // Who is not logged in is, once the password is gone, and the reverse.
    assert_eq!(admin.line("ACL SETUSER default resetpass >new"), "OK");
    let mut stranger = proxy.conn();
    refused(stranger.line("GET a"), "NOAUTH Authentication required.");
    assert!(admin.line("GET a").is_nil());
    assert_eq!(admin.line("ACL SETUSER default nopass"), "OK");
    assert!(stranger.line("GET a").is_nil());
}

#[test]
fn the_file_is_read_again_and_written_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "user default on nopass ~* &* +@all\nuser app on >pw ~a:* +@all\nuser old on >pw ~* +@all\n";
    let (ours, theirs) = (
        users_file(&folder, "users.acl", text),
        folder.path().join("x/users.acl"),
    );
    fs::create_dir(folder.path().join("x")).expect("made");
    fs::write(&theirs, text).expect("written");
    let single = Server::start(&["--aclfile", theirs.to_str().expect("plain")]);
    let cluster = Cluster::start(3, 0);
    let proxy = start(&cluster, &ours, &["-max-procs", "2"]);
    let mut pair = [proxy.conn(), single.conn()];
    // What is wrong with a file, in the same words.
    for bad in [
        "user a on\nuser a on\n",
        "usr a\n",
        "user\n",
        "user a nosuch\n",
        "user a ~x ~* ~y +nosuch\n\n user b +@no\n",
        "user  a on\n",
        "# a comment\n",
        "user a #12\n",
        "user a <pw\n",
        "user a\t on\n",
        "user a (+get ~a) (nosuch)\n",
        "user default on\nuser default on\n",
        "user a &x &* &y",
    ] {
        fs::write(&ours, bad).expect("written");
        fs::write(&theirs, bad).expect("written");
        let [own, other] = pair.each_mut().map(|conn| conn.line("ACL LOAD"));
        let own = own
            .error()
            .expect("refused")
            .replace(ours.to_str().expect("plain"), "FILE");
        let other = other
            .error()
            .expect("refused")
            .replace(theirs.to_str().expect("plain"), "FILE");
        assert_eq!(own, other, "{bad:?}");
        assert_eq!(pair[0].line("ACL USERS").items().len(), 3);
    }
    for good in [
        "",
        "\n\n",
        "  user a on >pw  ~a:*  +get \r\n",
        "user a on >pw ~a:* (+set\t ~b:* )",
        text,
    ] {
        fs::write(&ours, good).expect("written");
        fs::write(&theirs, good).expect("written");
        let answers = pair
            .each_mut()
            .map(|conn| (conn.line("ACL LOAD"), conn.line("ACL LIST")));
        assert_eq!(answers[0], answers[1], "{good:?}");
        assert_eq!(answers[0].0, "OK");
    }
    // Clients of users that have not changed stay; others are what they have become.
    let (mut app, mut old) = (many(&proxy, "app"), many(&proxy, "old"));
    let changed = "user default on nopass ~* &* +@all\nuser app on >pw ~b:* +@all\n";
    fs::write(&ours, changed).expect("written");
    signal(proxy.pid(), "HUP");
    wait_for("the file", Duration::from_secs(20), || {
        (pair[0].line("ACL USERS").items().len() == 2).then_some(())
    });
    for conn in &mut old {
        assert!(!conn.is_open(LIMIT));
    }
    for conn in &mut app {
        assert!(conn.line("GET b:1").is_nil());
        refused(conn.line("GET a:1"), NO_KEY);
    }
    fs::write(&ours, "user app nosuch\n").expect("written");
    signal(proxy.pid(), "HUP");
    let line = "the users stay as they are: ";
    wait_for("the log", Duration::from_secs(20), || {
        proxy.log().contains(line).then_some(())
    });
    assert!(app[0].line("GET b:1").is_nil());
    // What is saved is what is shown.
    assert_eq!(
        pair[0].line("ACL SETUSER new on >secret ~n:* +@read (+set ~s:*)"),
        "OK"
    );
    let shown = pair[0].line("ACL LIST");
    assert_eq!(pair[0].line("ACL SAVE"), "OK");
    let saved = fs::read_to_string(&ours).expect("a file");
    assert!(!saved.contains("secret"), "{saved}");
    assert_eq!(pair[0].line("ACL LOAD"), "OK");
    assert_eq!(pair[0].line("ACL LIST"), shown);
}

#[test]
fn a_start_with_a_bad_file_says_the_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = users_file(&folder, "users.acl", "user a on\nuser b +nosuch\n");
    let missing = folder.path().join("missing");
    let run = |args: &[&str]| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_redis-cluster-proxy"))
            .args(args)
            .output();
        let out = out.expect("the program");
        (
            out.status.code(),
            String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned(),
        )
    };
    for check in ["-check=true", "-check=false"] {
        for (path, reason) in [
            (
                &file,
                "users.acl:2: Error in applying operation '+nosuch': Unknown command or category name in ACL. ",
            ),
            (&missing, "No such file or directory"),
        ] {
            let log = folder.path().join("log");
            let args = [
                check,
                "-addr",
                "127.0.0.1:0",
                "-log-file",
                log.to_str().expect("plain"),
                "-acl-file",
            ];
            let (code, text) = run(&[&args[..], &[path.to_str().expect("plain")]].concat());
            assert_eq!(code, Some(1), "{text}");
            assert!(text.contains(reason), "{text}");
        }
    }
    let (code, text) = run(&["-acl-file", "x", "-client-password", "sesame"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("exclude each other") && !text.contains("sesame"),
        "{text}"
    );
}

#[test]
fn scripts_of_users_who_may_not_do_everything_are_refused_unless_told_otherwise() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "user default on nopass ~* &* +@all\nuser app on >pw ~a:* &* +@all\nuser all on >pw ~* &* +@all\n";
    let file = users_file(&folder, "users.acl", text);
    let cluster = Cluster::start(3, 0);
    let proxy = start(&cluster, &file, &[]);
    let (mut app, mut all) = (many(&proxy, "app").remove(0), many(&proxy, "all").remove(0));
    let script = ["EVAL", "return redis.call('GET', KEYS[1])", "1", "a:1"];
    assert!(all.command(&script).is_nil());
    let text = app.command(&script);
    assert!(
        text.error().expect("refused").contains("-acl-scripts"),
        "{text:?}"
    );
    refused(app.command(&["EVAL", "return 1", "1", "b:1"]), NO_KEY);
    assert_eq!(all.line("PROXY CONFIG SET acl-scripts true"), "OK");
    assert!(app.command(&script).is_nil());
    refused(app.command(&["EVAL", "return 1", "1", "b:1"]), NO_KEY);
}

#[test]
fn what_is_denied_is_logged_and_passwords_are_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = users_file(&folder, "users.acl", USERS);
    let cluster = Cluster::start(3, 0);
    let proxy = start(
        &cluster,
        &file,
        &["-log-level", "debug", "-log-every-n", "1"],
    );
    let mut admin = proxy.conn();
    admin.line("ACL LOG RESET");
    let mut monitor = proxy.conn();
    assert_eq!(monitor.line("MONITOR"), "OK");
    let mut conn = proxy.conn();
    conn.line("AUTH u05 never-to-be-seen");
    conn.line("HELLO 3 AUTH u05 never-to-be-seen");
    assert_eq!(conn.line("AUTH u05 pw"), "OK");
    conn.line("SET app:1 v");
    conn.line("GET secret-key");
    conn.line("GET secret-key");
    assert_eq!(admin.line("ACL SETUSER u41 >never-to-be-seen"), "OK");
    assert_eq!(admin.line("ACL SETUSER u41 <never-to-be-seen"), "OK");
    let log = admin.line("ACL LOG");
    let short = |entry: &Reply| {
        let pairs: BTreeMap<String, Reply> =
            crate::support::compare::pairs(entry).into_iter().collect();
        let text = |name: &str| pairs[name].text();
        assert!(text("client-info").contains(" user="), "{pairs:?}");
        let count = pairs["count"].int();
        format!(
            "{count} {} {} {}",
            text("reason"),
            text("object"),
            text("username")
        )
    };
    let entries: Vec<String> = log.items().iter().map(short).collect();
    let expected = [
        "2 key secret-key u05",
        "1 command set u05",
        "1 auth HELLO u05",
        "1 auth AUTH u05",
    ];
    assert_eq!(entries, expected);
    let settings = admin.line("CONFIG GET *");
    let seen = monitor.read_for(Duration::from_millis(300)).expect("lines");
    for text in [
        String::from_utf8_lossy(&seen).into_owned(),
        format!("{settings:?}"),
        admin.line("INFO everything").text(),
        proxy.log(),
        proxy.access_log(),
        format!("{:?}", admin.line("SLOWLOG GET 100")),
    ] {
        assert!(!text.contains("never-to-be-seen"), "{text}");
    }
    assert!(
        proxy.counter("proxy_auth_failures") >= 2 || admin.line("INFO all").text().contains("auth")
    );
}

#[test]
fn logins_wait_where_many_have_failed_and_nothing_else_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "user default on nopass ~* &* +@all\nuser app on >pw ~* &* +@all\n";
    let file = users_file(&folder, "users.acl", text);
    let cluster = Cluster::start(3, 0);
    let proxy = start(&cluster, &file, &["-auth-failure-delay", "4s"]);
    let mut conn = proxy.conn();
    for _ in 0..9 {
        conn.line("AUTH app wrong");
    }
    // A right one is no failure.
    assert_eq!(conn.line("AUTH app pw"), "OK");
    refused(
        conn.line("HELLO 3 AUTH nosuch secret-at-the-wrong-place"),
        "WRONGPASS invalid username-password pair or user is disabled.",
    );
    let mut other = proxy.conn();
    // Inside EXEC nothing can wait: it is not tried.
    assert_eq!(other.line("MULTI"), "OK");
    assert_eq!(other.line("AUTH app pw"), "QUEUED");
    let done = other.line("EXEC");
    let error = done.items()[0].error().expect("refused").to_string();
    assert!(error.contains("outside of a transaction"), "{error}");
    let mut late = proxy.conn();
    let requests = [&["AUTH", "app", "pw"][..], &["ECHO", "behind"]];
    late.send(requests.map(Conn::encode).concat());
    // It is not answered while others are, and what is behind it waits.
    for number in 0..5 {
        assert_eq!(
            other.line(&format!("ECHO {number}")).text(),
            number.to_string()
        );
    }
    assert_eq!(
        late.read_some(Duration::from_millis(1)).expect("open"),
        None
    );
    assert_eq!(late.read_reply(), "OK");
    assert_eq!(late.read_reply(), "behind");
    // Who leaves meanwhile is forgotten.
    let mut leaves = proxy.conn();
    leaves.send(Conn::encode(&["AUTH", "app", "pw"]));
    drop(leaves);
    assert_eq!(other.line("PROXY CONFIG SET auth-failure-delay 0s"), "OK");
    assert_eq!(other.line("AUTH app pw"), "OK");
    let log = wait_for("the log", Duration::from_secs(20), || {
        let log = proxy.log();
        log.contains("login as \"app\" failed, client 127.0.0.1:")
            .then_some(log)
    });
    assert!(
        !log.contains("wrong") && !log.contains("secret-at"),
        "{log}"
    );
}

/// As on a server, `default` stays as it was unless the file says otherwise: whoever starts the proxy is told.
#[test]
fn a_file_that_leaves_the_door_open_is_told_of() {
    let cluster = Cluster::start(1, 0);
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text, open) in [
        ("empty", "", true),
        ("other", "user app on >secret ~* +@all\n", true),
        (
            "off",
            "user default off\nuser app on >secret ~* +@all\n",
            false,
        ),
    ] {
        let file = users_file(&folder, name, text);
        let proxy = Proxy::start(&cluster, &["-acl-file", file.to_str().expect("plain")]);
        let told = proxy
            .stderr()
            .contains("does not restrict the user default");
        assert_eq!(told, open, "{name}: {}", proxy.stderr());
        let served = proxy.conn().line("SET a 1") == "OK";
        assert_eq!(served, open, "{name}");
    }
}
