//! Limits and settings of single users: how many commands they may send, how many clients they may have, where their reads
//! go and whether they may administer. All is counted over all workers.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Cluster, Conn, Proxy, wait_for};

const USERS: &str = "user default on nopass ~* &* +@all\n\
    user app on >pw ~* &* +@all\n\
    user part on >pw ~app:* &* +@all\n\
    user other on >pw ~* &* +@all\n";

/// A proxy of several workers with these users.
fn start(cluster: &Cluster, flags: &[&str]) -> (Proxy, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users.acl");
    fs::write(&file, USERS).expect("written");
    let file = file.to_str().expect("plain");
    let all = [&["-acl-file", file, "-max-procs", "3"], flags].concat();
    (Proxy::start(cluster, &all), folder)
}

fn login(proxy: &Proxy, user: &str) -> Conn {
    let mut conn = proxy.conn();
    assert_eq!(conn.command(&["AUTH", user, "pw"]), "OK");
    conn
}

const OVER_CLIENTS: &str = "ERR user 'app' is limited to 4 clients (-user-max-clients)";

#[test]
fn a_user_sends_as_many_commands_as_it_may_over_all_workers() {
    const RATE: usize = 200;
    let cluster = Cluster::start(3, 0);
    let (proxy, _folder) = start(&cluster, &["-user-rate-limit", "app=200,part=200"]);
    for user in ["app", "part"] {
        let over = format!(
            "ERR user '{user}' is limited to {RATE} commands per second (-user-rate-limit)"
        );
        let mut conns: Vec<Conn> = (0..6).map(|_| login(&proxy, user)).collect();
        let mut other = login(&proxy, "other");
        let commands: Vec<Vec<String>> = (0..100)
            .flat_map(|n| {
                [
                    format!("SET app:{n} v"),
                    format!("MGET app:{n} app:x{n}"),
                    "PING".into(),
                ]
            })
            .map(|line: String| line.split(' ').map(str::to_string).collect())
            .collect();
        // Logins are not counted: all of a second's commands are left.
        let began = Instant::now();
        let (mut done, mut refused) = (0, 0);
        for round in 0..4 {
            for conn in &mut conns {
                for reply in conn.pipeline(&commands) {
                    match reply.error() {
                        None => done += 1,
                        Some(error) => {
                            assert_eq!(error, over);
                            refused += 1;
                        }
                    }
                }
            }
            assert_eq!(other.line("SET other v"), "OK", "{round}");
        }
        let seconds = began.elapsed().as_secs_f64();
        let most = RATE as f64 * (seconds + 1.0) + 1.0;
        assert!(done >= RATE && done as f64 <= most, "{done} of {most}");
        assert_eq!(done + refused, 4 * 6 * 300);
        // The connection is as good as ever, and who logs in as another is not limited.
        assert_eq!(conns[0].line("AUTH other pw"), "OK");
        assert_eq!(conns[0].line("GET app:1"), "v");
    }
    assert!(proxy.counter("proxy_commands_over_rate") > 0);
}

#[test]
fn a_transaction_is_counted_when_it_is_queued_and_what_waits_is_counted_once() {
    let cluster = Cluster::start(3, 0);
    let (proxy, _folder) = start(&cluster, &["-user-rate-limit", "app=30"]);
    let mut conn = login(&proxy, "app");
    assert_eq!(conn.line("MULTI"), "OK");
    let queued = conn.pipeline(&vec![vec!["INCR", "{t}"]; 100]);
    assert!(queued.iter().any(|reply| *reply == "QUEUED"));
    assert!(queued.iter().any(|reply| reply.is_error()));
    let exec = conn.line("EXEC");
    assert!(
        exec.error().expect("refused").starts_with("EXECABORT"),
        "{exec:?}"
    );
    // Who may do everything may run scripts, counted or not.
    let mut other = login(&proxy, "app");
    let script = wait_for("the next second", Duration::from_secs(20), || {
        let reply = other.command(&["EVAL", "return 7", "0"]);
        let over = "ERR user 'app' is limited to 30 commands per second (-user-rate-limit)";
        (reply.error() != Some(over)).then_some(reply)
    });
    assert_eq!(script.int(), 7);
    // Requests behind one that waits are looked at again and again.
    let (proxy, _folder) = start(&cluster, &["-user-rate-limit", "app=30"]);
    let mut conn = login(&proxy, "app");
    let mut pushes = login(&proxy, "other");
    for round in 0..9 {
        conn.send("BLPOP q 0\r\nPING\r\nPING\r\n");
        wait_for("it to block", Duration::from_secs(20), || {
            pushes
                .line("INFO")
                .text()
                .contains("blocked_clients:1")
                .then_some(())
        });
        assert_eq!(pushes.line("RPUSH q v").int(), 1);
        assert_eq!(conn.read_reply().items().len(), 2);
        assert_eq!(
            [conn.read_reply(), conn.read_reply()].map(|reply| reply.text()),
            ["PONG"; 2],
            "{round}"
        );
    }
}

#[test]
fn a_user_has_as_many_clients_as_it_may_over_all_workers() {
    let cluster = Cluster::start(3, 0);
    let (proxy, _folder) = start(&cluster, &["-user-max-clients", "app=4,part=0"]);
    let mut own: Vec<Conn> = (0..4).map(|_| login(&proxy, "app")).collect();
    for _ in 0..6 {
        let mut more = proxy.conn();
        for login in ["AUTH app pw", "HELLO 3 AUTH app pw", "AUTH app pw"] {
            assert_eq!(more.line(login).error(), Some(OVER_CLIENTS));
        }
        // It is still who it was, and may become another.
        assert_eq!(more.line("ACL WHOAMI"), "default");
        assert_eq!(more.line("AUTH other pw"), "OK");
        let none = more.line("AUTH part pw");
        assert!(
            none.error()
                .expect("refused")
                .contains("limited to 0 clients")
        );
        assert_eq!(more.line("ACL WHOAMI"), "other");
    }
    // A second login keeps the place; changed rules do, too.
    assert_eq!(own[0].line("AUTH app pw"), "OK");
    assert_eq!(
        login(&proxy, "other").line("ACL SETUSER app +@all -debug"),
        "OK"
    );
    assert_eq!(own[3].line("SET k v"), "OK");
    assert_eq!(proxy.conn().line("AUTH app pw").error(), Some(OVER_CLIENTS));
    // Places become free by AUTH, by RESET and by leaving.
    assert_eq!(own[0].line("AUTH other pw"), "OK");
    let mut first = login(&proxy, "app");
    assert_eq!(own[1].line("RESET"), "RESET");
    let _second = login(&proxy, "app");
    own.truncate(3);
    wait_for("the place of who has left", Duration::from_secs(20), || {
        (proxy.conn().line("AUTH app pw") == "OK").then_some(())
    });
    assert_eq!(first.line("PING"), "PONG");
}

#[test]
fn who_is_the_limited_user_without_a_word_is_answered_and_comes_in_when_there_is_room() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &["-max-procs", "3"]);
    drop(proxy);
    let flags = ["-user-max-clients", "default=2", "-max-procs", "3"];
    let proxy = Proxy::spawn(&cluster.addrs(), &flags, &[]);
    let served = |conn: &mut Conn| match conn.line("SET k v") {
        reply if reply == "OK" => true,
        reply => {
            let error = reply.error().unwrap_or_default();
            let known = [
                "ERR user 'default' is limited to 2 clients",
                "CLUSTERDOWN",
                "LOADING",
            ];
            assert!(
                known.iter().any(|known| error.starts_with(known)),
                "{error}"
            );
            false
        }
    };
    proxy.wait_until_answering();
    let mut conns: Vec<Conn> = (0..6).map(|_| proxy.conn()).collect();
    wait_for("two to be served", Duration::from_secs(20), || {
        let count = conns
            .iter_mut()
            .filter_map(|conn| served(conn).then_some(()))
            .count();
        assert!(count <= 2);
        (count == 2).then_some(())
    });
    let at = conns.iter_mut().position(served).expect("one is served");
    drop(conns.remove(at));
    wait_for("another to come in", Duration::from_secs(20), || {
        (conns
            .iter_mut()
            .filter_map(|conn| served(conn).then_some(()))
            .count()
            == 2)
            .then_some(())
    });
}

#[test]
fn a_user_has_settings_of_its_own() {
    let cluster = Cluster::start(3, 1);
    let settings = "app:read-prefer=READ_PREFER_SLAVE;admin=no,other:admin=yes";
    let flags = ["-user-settings", settings, "-admin-commands", "no"];
    let (proxy, _folder) = start(&cluster, &flags);
    proxy.wait_until_replicas_are_known(3);
    let reads = || proxy.counter("proxy_replica_reads");
    let (mut app, mut part) = (login(&proxy, "app"), login(&proxy, "part"));
    let keys: Vec<String> = (0..30).map(|n| format!("app:{n}")).collect();
    for key in &keys {
        assert_eq!(part.command(&["SET", key, "v"]), "OK");
    }
    let before = reads();
    let gets: Vec<Vec<&str>> = keys.iter().map(|key| vec!["GET", key.as_str()]).collect();
    let mget: Vec<&str> = ["MGET"]
        .into_iter()
        .chain(keys.iter().map(String::as_str))
        .collect();
    assert!(part.pipeline(&gets).iter().all(|reply| *reply == "v"));
    part.command(&mget);
    assert_eq!(reads(), before, "-read-prefer is that of all others");
    wait_for("replicas to answer", Duration::from_secs(20), || {
        let before = reads();
        app.pipeline(&gets);
        let gets = reads() - before;
        app.command(&mget);
        (gets >= 20 && reads() - before - gets >= 20).then_some(())
    });
    let mut other = login(&proxy, "other");
    for conn in [&mut app, &mut part] {
        let refused = conn.line("FLUSHALL");
        assert!(
            refused
                .error()
                .expect("refused")
                .contains("-admin-commands"),
            "{refused:?}"
        );
    }
    assert_eq!(other.line("FLUSHALL"), "OK");
    assert_eq!(other.line("PROXY CONFIG SET log-level debug"), "OK");
    assert!(app.line("PROXY CONFIG SET log-level info").is_error());
}
