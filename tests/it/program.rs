//! The program as its users start and stop it: where it listens, whom it lets in, which nodes it reaches how,
//! signals, the log and the debug address.

use crate::support::{
    self, Cluster, Conn, Model, Port, Proxy, Reply, http, key_in_slot, signal, wait_for,
};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A cluster without a password.
fn open() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(2, 0))
}

/// A cluster whose nodes ask for one.
fn locked() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let args = [
        "--requirepass",
        "node-secret",
        "--masterauth",
        "node-secret",
    ];
    CLUSTER.get_or_init(|| Cluster::start_with(2, 0, &args))
}

/// It serves a key of each half of the slots.
#[track_caller]
fn check_serves(conn: &mut Conn) {
    for slot in [1, 16000] {
        let key = key_in_slot(slot, "program");
        wait_for("the key to be served", Duration::from_secs(20), || {
            (conn.command(&["SET", &key, "here"]) == "OK").then_some(())
        });
        assert_eq!(conn.command(&["GET", &key]), "here");
    }
}

fn is_noauth(reply: &Reply) -> bool {
    reply.error() == Some("NOAUTH Authentication required.")
}

#[test]
fn it_listens_on_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.sock");
    let addr = format!("unix:{}", path.display());
    let proxy = Proxy::start(open(), &["-addr", &addr]);
    check_serves(&mut proxy.conn());
    // What a killed one left behind does not stop the next.
    signal(proxy.pid(), "KILL");
    drop(proxy);
    assert!(path.exists());
    let proxy = Proxy::start(open(), &["-addr", &addr]);
    check_serves(&mut proxy.conn());
    assert!(proxy.stop().success());
    assert!(!path.exists(), "the socket is removed at the end");
}

#[test]
fn it_listens_on_ipv6() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("skipped: this machine has no [::1]");
        return;
    }
    for host in ["[::1]", "[::]"] {
        let port = Port::reserve();
        let addr = format!("{host}:{}", port.number());
        let proxy = Proxy::start(open(), &["-addr", &addr]);
        check_serves(&mut proxy.conn());
        let reached = Conn::try_connect(&format!("[::1]:{}", port.number()));
        check_serves(&mut reached.expect("it listens on [::1]"));
    }
}

#[test]
fn a_startup_node_may_be_a_name() {
    let node = format!("localhost:{}", open().ports()[0]);
    let proxy = Proxy::spawn(&[node], &[], &[]);
    proxy.wait_until_answering();
    proxy.wait_until_serving(open());
    check_serves(&mut proxy.conn());
}

/// Passes bytes on, and counts connections.
fn relay(to: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            counter.fetch_add(1, Ordering::Relaxed);
            let node = TcpStream::connect(&to).expect("the node listens");
            for (mut from, mut to) in [
                (
                    client.try_clone().expect("a socket"),
                    node.try_clone().expect("a socket"),
                ),
                (node, client),
            ] {
                std::thread::spawn(move || {
                    io::copy(&mut from, &mut to).ok();
                    to.shutdown(Shutdown::Write).ok();
                });
            }
        }
    });
    (port, count)
}

/// The node is reached where the map says, and nowhere else.
#[test]
fn nodes_are_reached_where_the_map_says() {
    let cluster = open();
    let mapped = cluster.master_of(1);
    let (port, connections) = relay(format!("127.0.0.1:{mapped}"));
    let map = format!("127.0.0.1:{mapped}=127.0.0.1:{port}");
    let proxy = Proxy::start(cluster, &["-node-map", &map]);
    cluster.raw(mapped).line("CONFIG RESETSTAT");
    check_serves(&mut proxy.conn());
    assert!(
        connections.load(Ordering::Relaxed) > 0,
        "nobody came through the relay"
    );
    let text = proxy.conn().line("PROXY INFO").text();
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    assert!(!text.contains(&format!("127.0.0.1:{mapped}")), "{text}");
}

#[test]
fn passwords_on_either_side() {
    let cluster = locked();
    let same = Proxy::start(cluster, &["-password", "node-secret"]);
    let mut conn = same.conn();
    assert!(is_noauth(&conn.line("GET a")));
    assert!(
        conn.line("AUTH wrong")
            .error()
            .is_some_and(|error| error.starts_with("WRONGPASS "))
    );
    assert_eq!(conn.line("AUTH node-secret"), "OK");
    check_serves(&mut conn);

    let flags = ["-password", "node-secret", "-client-password", "other"];
    let apart = Proxy::start(cluster, &flags);
    let mut conn = apart.conn();
    assert!(conn.line("AUTH node-secret").is_error());
    assert_eq!(conn.line("AUTH other"), "OK");
    check_serves(&mut conn);

    let nodes_only = Proxy::start(cluster, &["-backend-password", "node-secret"]);
    check_serves(&mut nodes_only.conn());

    let env = [("REDIS_PROXY_PASSWORD", "node-secret")];
    let proxy = Proxy::spawn(&cluster.addrs(), &[], &env);
    proxy.wait_until_answering();
    let mut conn = proxy.conn();
    assert_eq!(conn.line("AUTH node-secret"), "OK");
    check_serves(&mut conn);
    for proxy in [&same, &apart, &nodes_only, &proxy] {
        let told = proxy.log() + &proxy.stderr();
        assert!(
            !told.contains("secret") && !told.contains("other"),
            "{told}"
        );
        let args = proxy.conn().line("INFO");
        assert!(!format!("{args:?}").contains("secret"));
    }
}

#[test]
fn a_wrong_password_for_the_nodes_ends_nothing() {
    let cluster = locked();
    for flags in [
        &["-backend-password", "wrong"][..],
        &[],
        &["-backend-user", "nobody", "-backend-password", "x"],
    ] {
        let mut proxy = Proxy::spawn(&cluster.addrs(), flags, &[]);
        proxy.wait_until_answering();
        let mut conn = proxy.conn();
        conn.set_deadline(Duration::from_secs(20));
        let reply = conn.line("GET a");
        assert!(reply.is_error(), "{reply:?}");
        assert_eq!(conn.line("PING"), "PONG");
        assert!(proxy.is_running());
        wait_for("the log to say why", Duration::from_secs(20), || {
            let log = proxy.log();
            let code = log.contains("WRONGPASS") || log.contains("NOAUTH");
            let hint = log.contains("check -password, -backend-user and -backend-password");
            (code && hint).then_some(())
        });
    }
}

#[test]
fn the_nodes_see_the_user_that_was_given() {
    let cluster = locked();
    for port in cluster.ports() {
        let mut node = cluster.raw(port);
        assert_eq!(
            node.line("ACL SETUSER app on >app-secret ~* +@all -lpush"),
            "OK"
        );
    }
    let flags = ["-backend-user", "app", "-backend-password", "app-secret"];
    let proxy = Proxy::start(cluster, &flags);
    let mut conn = proxy.conn();
    check_serves(&mut conn);
    for protocol in ["2", "3"] {
        conn.command(&["HELLO", protocol]);
        let refused = conn.line("LPUSH a b");
        assert!(
            refused
                .error()
                .is_some_and(|error| error.starts_with("NOPERM ")),
            "{refused:?}"
        );
    }
    let clients = cluster.raw(cluster.ports()[0]).line("CLIENT LIST").text();
    assert!(clients.contains("user=app"), "{clients}");
}

#[test]
fn protected_mode_keeps_strangers_out() {
    let Some((address, _interface)) = support::outer::address() else {
        eprintln!("skipped: there is no address but loopback, and none can be made");
        return;
    };
    for host in ["0.0.0.0", "[::]"] {
        let start = |flags: &[&str]| {
            let port = Port::reserve();
            let addr = format!("{host}:{}", port.number());
            let flags = [&["-addr", &addr], flags].concat();
            let proxy = Proxy::start(open(), &flags);
            let outside = format!("{address}:{}", port.number());
            (proxy, outside, port)
        };
        if host == "[::]" && TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_err() {
            continue;
        }
        let (proxy, outside, _port) = start(&[]);
        let mut stranger = Conn::connect(&outside);
        let came = stranger.read_to_close().expect("told, and closed");
        let came = String::from_utf8_lossy(&came);
        assert!(
            came.starts_with("-DENIED redis-cluster-proxy is running in protected mode"),
            "{came}"
        );
        for remedy in [
            "-client-password",
            "-addr 127.0.0.1",
            "-protected-mode=false",
        ] {
            assert!(came.contains(remedy), "{came}");
        }
        assert_eq!(came.matches("\r\n").count(), 1);
        check_serves(&mut proxy.conn());
        assert!(proxy.counter("proxy_clients_denied") > 0);

        let (proxy, outside, _port) = start(&["-protected-mode=false"]);
        let mut stranger = Conn::connect(&outside);
        check_serves(&mut stranger);
        // What servers may leave to local clients is for those of the proxy.
        for line in ["DEBUG SLEEP 0", "MODULE UNLOAD none"] {
            let text = stranger.line(line);
            let text = text.error().expect("an error");
            assert!(text.contains("from a local connection"), "{line}: {text}");
        }
        assert_eq!(proxy.conn().line("DEBUG SLEEP 0"), "OK");
        let (_proxy, outside, _port) = start(&["-client-password", "secret"]);
        let mut stranger = Conn::connect(&outside);
        assert!(is_noauth(&stranger.line("GET a")));
        assert_eq!(stranger.line("AUTH secret"), "OK");
        check_serves(&mut stranger);
    }
}

/// Keeps its node busy for a second, and then says so.
const SLOW: &str = "local t = redis.call('TIME'); local u = t[1] * 1000000 + t[2] + 1000000; \
                    repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] > u; return 'done'";

/// How often each thread of a process has gone to sleep, by its name. Those that live for one piece of work are left out.
fn sleeps(pid: u32) -> BTreeMap<String, u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let mut sleeps = BTreeMap::new();
    for task in tasks {
        let path = task.expect("a thread").path();
        let (Ok(name), Ok(status)) = (
            fs::read_to_string(path.join("comm")),
            fs::read_to_string(path.join("status")),
        ) else {
            continue;
        };
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let count = line.and_then(|line| line.trim().parse::<u64>().ok());
        *sleeps.entry(name.trim().to_string()).or_default() += count.expect("a count");
    }
    sleeps
}

/// Without requests nobody wakes up for long: what is regular comes with the refresh, and here there is none.
#[test]
fn an_idle_process_sleeps() {
    let flags = ["-slots-reload-interval", "1h"];
    let proxy = Proxy::start(open(), &flags);
    let mut clients: Vec<_> = (0..20).map(|_| proxy.conn()).collect();
    for conn in &mut clients {
        check_serves(conn);
    }
    // Memory is given back, and connections to nodes are looked at, some seconds after the last request.
    let slept = |seconds| {
        let before = sleeps(proxy.pid());
        std::thread::sleep(Duration::from_secs(seconds));
        let after = sleeps(proxy.pid());
        let woken = after.iter().map(|(name, count)| {
            let before = before.get(name).copied().unwrap_or(*count);
            // One of several threads of a name may have ended.
            (name.clone(), count.saturating_sub(before))
        });
        woken.filter(|(_, count)| *count > 0).collect::<Vec<_>>()
    };
    let mut seen = Vec::new();
    // A wake-up each second would be eight of one thread. Three tries: a topology or a survey may come in between.
    let sleeps = (0..3).any(|_| {
        seen = slept(8);
        seen.iter().all(|(_, count)| *count <= 4)
    });
    assert!(sleeps, "{seen:?}");
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    let cluster = open();
    let mut proxy = Proxy::start(cluster, &["-max-procs", "2"]);
    let tags: Vec<String> = (0..20).map(|tag| tag.to_string()).collect();
    let mut waiting = proxy.conn();
    let before = proxy.counter("proxy_commands");
    let count = 200;
    let mut bytes = Conn::encode(&["EVAL", SLOW, "1", &key_in_slot(1, "slow")]);
    for number in 0..count {
        bytes.extend(Conn::encode(&[
            "EVAL",
            "return ARGV[1]",
            "1",
            &key_in_slot(1, "x"),
            &number.to_string(),
        ]));
    }
    waiting.send(bytes);
    wait_for(
        "the requests to be in flight",
        Duration::from_secs(10),
        || (proxy.counter("proxy_commands") >= before + count).then_some(()),
    );
    let (pid, addr) = (proxy.pid(), proxy.addr().to_string());
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (tags, addr) = (&tags, &addr);
            scope.spawn(move || {
                // Every reply that comes is right, until the connection ends between two of them.
                let mut model = Model::new(&format!("term{number}"), tags, number + 1);
                let Ok(mut conn) = Conn::try_connect(addr) else {
                    return;
                };
                loop {
                    let exchange = model.next(false);
                    match conn.try_command(&exchange.args) {
                        Ok(reply) => assert_eq!(reply, exchange.reply, "{:?}", exchange.args),
                        Err(error) => {
                            let kind = error.kind();
                            let ended = [
                                io::ErrorKind::UnexpectedEof,
                                io::ErrorKind::ConnectionReset,
                                io::ErrorKind::BrokenPipe,
                            ];
                            assert!(ended.contains(&kind), "{error}");
                            return;
                        }
                    }
                }
            });
        }
        signal(pid, "TERM");
        assert_eq!(waiting.read_reply(), "done");
        for number in 0..count {
            assert_eq!(waiting.read_reply(), number.to_string().as_str());
        }
        assert_eq!(waiting.read_to_close().expect("closed"), b"");
    });
    let status = proxy.wait_exit(Duration::from_secs(15)).expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(Conn::try_connect(&addr).is_err());
}

/// SIGTERM with `-drain-grace`: not ready at once, and new clients are served until the grace ends.
#[test]
fn clients_are_accepted_during_the_drain_grace() {
    let cluster = Cluster::start(1, 0);
    let port = Port::reserve();
    let debug = format!("127.0.0.1:{}", port.number());
    let flags = ["-debug-addr", &debug, "-drain-grace", "1h"];
    let mut proxy = Proxy::start(&cluster, &flags);
    wait_for("it to be ready", Duration::from_secs(20), || {
        (http::get(&debug, "/readyz").0 == 200).then_some(())
    });
    let mut old = proxy.conn();
    signal(proxy.pid(), "TERM");
    wait_for("it not to be ready", Duration::from_secs(20), || {
        let (status, body) = http::get(&debug, "/readyz");
        (status == 503 && body.contains("draining")).then_some(())
    });
    assert_eq!(proxy.conn().command(&["SET", "k", "v"]), "OK");
    assert_eq!(old.command(&["GET", "k"]), "v");
    wait_for("the log to say so", Duration::from_secs(20), || {
        let line = "accepting clients for another 3600s (-drain-grace)";
        proxy.log().contains(line).then_some(())
    });
    signal(proxy.pid(), "TERM");
    let status = proxy.wait_exit(Duration::from_secs(10)).expect("it ends");
    assert_eq!(status.code(), Some(0));
}

/// After `-drain-grace`, what is in flight has `-drain-timeout`, and no more.
#[test]
fn after_the_drain_grace_requests_in_flight_have_the_drain_timeout() {
    let cluster = Cluster::start(1, 0);
    let port = cluster.ports()[0];
    let flags = [
        "-drain-grace",
        "100ms",
        "-drain-timeout",
        "200ms",
        "-request-timeout",
        "1h",
    ];
    let mut proxy = Proxy::start(&cluster, &flags);
    let mut conn = proxy.conn();
    cluster.freeze(port);
    let before = proxy.counter("proxy_commands");
    conn.send(Conn::encode(&["GET", "a"]));
    wait_for(
        "the request to be in flight",
        Duration::from_secs(10),
        || (proxy.counter("proxy_commands") >= before + 2).then_some(()),
    );
    signal(proxy.pid(), "TERM");
    let status = proxy.wait_exit(Duration::from_secs(60)).expect("it ends");
    assert_eq!(status.code(), Some(0));
    cluster.thaw(port);
    let log = proxy.log();
    assert!(log.contains("(-drain-grace)"), "{log}");
    assert!(log.contains("finishing requests in flight"), "{log}");
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let cluster = Cluster::start(1, 0);
    let port = cluster.ports()[0];
    let mut proxy = Proxy::start(&cluster, &[]);
    let mut conn = proxy.conn();
    cluster.freeze(port);
    let before = proxy.counter("proxy_commands");
    conn.send(Conn::encode(&["GET", "a"]));
    wait_for(
        "the request to be in flight",
        Duration::from_secs(10),
        || (proxy.counter("proxy_commands") >= before + 2).then_some(()),
    );
    signal(proxy.pid(), "TERM");
    wait_for(
        "no more clients to be taken",
        Duration::from_secs(5),
        || {
            Conn::try_connect(proxy.addr())
                .and_then(|mut conn| conn.try_command(&["PING"]))
                .is_err()
                .then_some(())
        },
    );
    assert!(proxy.is_running(), "a reply is outstanding");
    signal(proxy.pid(), "INT");
    assert!(
        proxy.wait_exit(Duration::from_secs(5)).is_some(),
        "it does not wait any more"
    );
    cluster.thaw(port);
}

#[test]
fn sighup_opens_the_log_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, aside, access, access_aside] =
        ["own.log", "own.log.1", "own-access.log", "access.log.1"]
            .map(|name| folder.path().join(name));
    let name = path.to_str().expect("a plain name");
    let proxy = Proxy::start(open(), &["-log-file", name, "-log-every-n", "1"]);
    std::fs::rename(&path, &aside).expect("renamed");
    std::fs::rename(&access, &access_aside).expect("renamed");
    signal(proxy.pid(), "HUP");
    wait_for("the log to be back", Duration::from_secs(20), || {
        path.exists().then_some(())
    });
    wait_for("an access line in it", Duration::from_secs(20), || {
        proxy.conn().line("GET after-the-rename");
        let text = std::fs::read_to_string(&access).unwrap_or_default();
        text.contains("command=get").then_some(())
    });
    assert!(
        std::fs::read_to_string(&aside)
            .expect("the old one")
            .contains("listening on")
    );
    assert!(proxy.stop().success());
    assert!(
        std::fs::read_to_string(&path)
            .expect("the log")
            .contains("stopped")
    );
}

#[test]
fn a_log_that_cannot_be_opened_stops_nothing() {
    let proxy = Proxy::start(open(), &["-log-file", "/nowhere/at/all/proxy.log"]);
    check_serves(&mut proxy.conn());
    assert!(
        proxy.stderr().contains("/nowhere/at/all"),
        "{}",
        proxy.stderr()
    );
}

#[test]
fn the_debug_address_tells_and_changes() {
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let proxy = Proxy::start(open(), &["-debug-addr", &addr, "-log-level", "warn"]);
    let get = |path: &str| http::get(&addr, path);
    let put = |body: &str| http::change(&addr, "PUT", "/debug/log-level", body);
    assert_eq!(get("/healthz").0, 200);
    assert_eq!(get("/nothing").0, 404);
    let (status, body) = get("/debug/log-level");
    assert_eq!((status, body.trim()), (200, "warn"));
    assert!(!proxy.log().contains("DEBUG") && !proxy.log().contains("INFO"));
    let (status, body) = put("debug");
    assert_eq!((status, body.trim()), (200, "debug"));
    assert_eq!(get("/debug/log-level").1.trim(), "debug");
    wait_for("the log to say more", Duration::from_secs(15), || {
        proxy.conn().line("GET a");
        let log = proxy.log();
        (log.contains(" DEBUG ") || log.contains(" INFO ")).then_some(())
    });
    assert_eq!(put("nonsense").0, 400);
    assert_eq!(get("/debug/log-level").1.trim(), "debug");
    check_serves(&mut proxy.conn());
}

#[test]
fn others_than_the_machine_itself_need_the_token() {
    let port = Port::reserve();
    let listen = format!("0.0.0.0:{}", port.number());
    let addr = format!("127.0.0.1:{}", port.number());
    let flags = ["-debug-addr", &listen, "-debug-token", "sesame"];
    let proxy = Proxy::start(open(), &flags);
    let with = |path: &str, token: &str| {
        http::send(
            &addr,
            &format!(
                "GET {path} HTTP/1.1\r\nHost: proxy.test\r\nAuthorization: Bearer {token}\r\n\
                 Connection: close\r\n\r\n"
            ),
        )
    };
    assert_eq!(http::get(&addr, "/healthz").0, 200);
    assert_eq!(http::get(&addr, "/readyz").0, 200);
    assert_eq!(http::get(&addr, "/metrics").0, 401);
    assert_eq!(with("/metrics", "sesam").0, 401);
    assert_eq!(with("/metrics", "sesame").0, 200);
    let (_, line) = with("/debug/pprof/cmdline", "sesame");
    let line = String::from_utf8_lossy(&line).into_owned();
    assert!(line.contains("-debug-token\0***"), "{line}");
    assert!(!(proxy.log() + &line).contains("sesame"), "{line}");
}

#[test]
fn a_file_gives_flags_and_is_read_again_at_sighup() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.conf");
    let write = |text: &str| std::fs::write(&path, text).expect("a file");
    write("# ours\nlog-every-n 7\nwrite-stall 30s\nmax-clients 77\n");
    let file = path.to_str().expect("a plain path");
    let proxy = Proxy::start(open(), &["-config", file, "-write-stall", "20s"]);
    let get = |name: &str| {
        let mut conn = proxy.conn();
        conn.line("AUTH sesame");
        let reply = conn.command(&["PROXY", "CONFIG", "GET", name]);
        reply.items()[1].text()
    };
    assert_eq!(get("log-every-n"), "7");
    assert_eq!(get("write-stall"), "20s");
    assert_eq!(get("max-clients"), "77");

    let log_says = |text: &str| {
        wait_for(text, Duration::from_secs(20), || {
            proxy.log().contains(text).then_some(())
        });
    };
    write("log-every-n 9\nmax-procs 2\nclient-password sesame\n");
    signal(proxy.pid(), "HUP");
    log_says("log-every-n changed from \"7\" to \"9\"");
    log_says("max-clients changed from \"77\" to \"10000\"");
    log_says("max-procs stays \"1\": the new value \"2\" takes effect at the next start");
    log_says("the client password changed");
    assert_eq!(get("log-every-n"), "9");
    assert_eq!(get("write-stall"), "20s");

    write("log-every-n nine\n");
    signal(proxy.pid(), "HUP");
    log_says("keeping the old settings: ");
    assert_eq!(get("log-every-n"), "9");
    let mut conn = proxy.conn();
    assert!(is_noauth(&conn.line("GET a")));
    assert_eq!(conn.line("AUTH sesame"), "OK");
    check_serves(&mut conn);
    assert!(!proxy.log().contains("sesame"));
}

#[test]
fn a_summary_is_logged_at_sigusr1_and_shown_by_top() {
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let proxy = Proxy::start(open(), &["-debug-addr", &addr]);
    check_serves(&mut proxy.conn());
    signal(proxy.pid(), "USR1");
    wait_for("the summary", Duration::from_secs(20), || {
        let log = proxy.log();
        let node = format!("status: node 127.0.0.1:{} master up", open().ports()[0]);
        (log.contains("16384 of 16384 slots") && log.contains(&node)).then_some(())
    });
    let top = Command::new(env!("CARGO_BIN_EXE_redis-cluster-proxy"))
        .args(["-top", &format!("http://{addr}")])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&top.stdout);
    assert!(top.status.success(), "{top:?}");
    assert!(
        text.contains(", ready\n") && text.contains("\nget "),
        "{text}"
    );
    let nobody = Port::reserve();
    let top = Command::new(env!("CARGO_BIN_EXE_redis-cluster-proxy"))
        .args(["-top", &format!("http://127.0.0.1:{}", nobody.number())])
        .output()
        .expect("it runs");
    assert_eq!(top.status.code(), Some(1));
}

#[test]
fn a_start_says_where_it_serves_and_that_no_node_answers() {
    let nobody = Port::reserve();
    let node = format!("127.0.0.1:{}", nobody.number());
    let env = [("REDIS_PROXY_LOGFILE", "x")];
    let lonely = Proxy::spawn(std::slice::from_ref(&node), &[], &env);
    let told = wait_for("all to be told", Duration::from_secs(20), || {
        let told = lonely.stderr();
        (told.lines().count() == 3).then_some(told)
    });
    let lines: Vec<&str> = told.lines().collect();
    let misspelt = "environment variable REDIS_PROXY_LOGFILE belongs to no flag; did you mean REDIS_PROXY_LOG_FILE?";
    assert_eq!(lines[0], format!("redis-cluster-proxy: {misspelt}"));
    wait_for("the log to have it, too", Duration::from_secs(20), || {
        lonely.log().contains(misspelt).then_some(())
    });
    let serving = format!(
        "listening on {}, cluster nodes {node}, 1 worker(s), log file /",
        lonely.addr()
    );
    assert!(
        lines[1].starts_with(&format!("redis-cluster-proxy: {serving}")),
        "{told}"
    );
    assert!(
        lines[2].contains("no node answers")
            && lines[2].contains(&node)
            && lines[2].contains("refused"),
        "{told}"
    );
    // What nobody has said is not made up.
    let info = lonely.conn().command(&["INFO"]).text();
    assert!(
        info.contains("topology_known:0") && !info.contains("redis_version:"),
        "{info}"
    );

    let proxy = Proxy::start(open(), &[]);
    check_serves(&mut proxy.conn());
    assert_eq!(proxy.stderr().lines().count(), 1, "{}", proxy.stderr());
    let info = proxy.conn().command(&["INFO"]).text();
    assert!(info.contains("redis_version:"), "{info}");
}

#[test]
fn an_address_in_use_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("bound").to_string();
    let mut proxy = Proxy::spawn(&open().addrs(), &["-addr", &addr], &[]);
    let status = proxy
        .wait_exit(Duration::from_secs(10))
        .expect("it gives up");
    assert_eq!(status.code(), Some(1));
    assert!(proxy.stderr().contains(&addr), "{}", proxy.stderr());
}

/// How many clients each worker has.
fn clients_by_worker(conn: &mut Conn) -> Vec<usize> {
    let info = conn.command(&["PROXY", "INFO"]).text();
    let lines = info
        .lines()
        .filter(|line| line.starts_with("proxy_worker_"));
    let count = |line: &str| {
        line.split_once("clients=")?
            .1
            .split(',')
            .next()?
            .parse()
            .ok()
    };
    lines.map(|line| count(line).expect("a number")).collect()
}

#[test]
fn clients_are_spread_evenly_over_the_workers() {
    let proxy = Proxy::start(open(), &["-max-procs", "3"]);
    let mut conns: Vec<Conn> = (0..50).map(|_| proxy.conn()).collect();
    conns.iter_mut().for_each(check_serves);
    let check_even = |conns: &mut Vec<Conn>| {
        let total = conns.len();
        wait_for("an even spread", Duration::from_secs(20), || {
            let counts = clients_by_worker(&mut conns[0]);
            let even = counts.iter().all(|count| count.abs_diff(total / 3) <= 2);
            (counts.len() == 3 && counts.iter().sum::<usize>() == total && even).then_some(())
        });
    };
    check_even(&mut conns);
    // Those that come fill the place of those that have gone, wherever that was.
    conns.drain(10..30);
    check_even_after_leaving(&mut conns);
    conns.extend((0..31).map(|_| proxy.conn()));
    conns.iter_mut().for_each(check_serves);
    check_even(&mut conns);
}

/// Until the proxy has seen them go.
fn check_even_after_leaving(conns: &mut [Conn]) {
    wait_for("clients to be gone", Duration::from_secs(20), || {
        let counts = clients_by_worker(&mut conns[0]);
        (counts.iter().sum::<usize>() == conns.len()).then_some(())
    });
}

#[test]
fn workers_can_spin_and_be_bound_to_a_processor() {
    let proxy = Proxy::start(
        open(),
        &["-busy-poll", "-cpu-affinity", "0", "-max-procs", "2"],
    );
    let mut conns: Vec<Conn> = (0..4).map(|_| proxy.conn()).collect();
    conns.iter_mut().for_each(check_serves);
    let threads = std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).expect("its threads");
    let mut workers = 0;
    for thread in threads {
        let status = thread.expect("a thread").path().join("status");
        let status = std::fs::read_to_string(status).expect("its status");
        if status.starts_with("Name:\tworker-") {
            workers += 1;
            assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
        }
    }
    assert_eq!(workers, 2);
    let mut nowhere = Proxy::spawn(&open().addrs(), &["-cpu-affinity", "1023"], &[]);
    let status = nowhere.wait_exit(Duration::from_secs(10)).expect("it ends");
    assert!(!status.success());
    assert!(nowhere.log().contains("-cpu-affinity") || nowhere.stderr().contains("-cpu-affinity"));
}

/// Two proxies at one address would each get half of the clients, and none would know.
#[test]
fn a_second_proxy_at_the_same_address_does_not_start() {
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    for workers in ["1", "3"] {
        let first = Proxy::start(open(), &["-addr", &addr, "-max-procs", workers]);
        for other in [&addr, &format!("0.0.0.0:{}", port.number())] {
            for count in ["1", "2"] {
                let flags = ["-addr", other, "-max-procs", count];
                let mut second = Proxy::spawn(&open().addrs(), &flags, &[]);
                let ended = second.wait_exit(Duration::from_secs(10)).expect("it ends");
                assert_eq!(ended.code(), Some(1));
                let told = second.stderr();
                let holder = format!("by process {} (", first.pid());
                assert!(
                    told.contains(&holder) && told.contains("-reuse-port"),
                    "{told}"
                );
                assert_eq!(told.lines().count(), 1, "{told}");
            }
        }
        // All workers of the first one have clients.
        let mut conns: Vec<Conn> = (0..30).map(|_| first.conn()).collect();
        conns.iter_mut().for_each(check_serves);
        // An address that was in use a moment ago is free again.
        drop(conns);
        assert!(first.stop().success());
    }
    // Who wants to share says so.
    let flags = ["-addr", &addr, "-reuse-port", "-max-procs", "2"];
    let proxies = [Proxy::start(open(), &flags), Proxy::start(open(), &flags)];
    let reached = wait_for("both to be reached", Duration::from_secs(20), || {
        let pids: Vec<String> = (0..20)
            .map(|_| proxies[0].conn().info("server")["process_id"].clone())
            .collect();
        let both = proxies
            .iter()
            .all(|proxy| pids.contains(&proxy.pid().to_string()));
        both.then_some(pids)
    });
    assert_eq!(reached.len(), 20);
    let alone = ["-addr", &addr];
    let mut third = Proxy::spawn(&open().addrs(), &alone, &[]);
    let ended = third.wait_exit(Duration::from_secs(10)).expect("it ends");
    assert_eq!(ended.code(), Some(1));
}

/// Clients are spread over the workers of one process, though its first listener is made alone.
#[test]
fn workers_share_the_address_among_themselves() {
    let proxy = Proxy::start(open(), &["-max-procs", "3"]);
    let mut conns: Vec<Conn> = (0..60).map(|_| proxy.conn()).collect();
    conns.iter_mut().for_each(check_serves);
    let info = conns[0].info("proxy");
    for worker in 0..3 {
        let text = &info[&format!("proxy_worker_{worker}")];
        let clients = text
            .split(',')
            .find_map(|field| field.strip_prefix("clients="));
        let clients: u64 = clients
            .and_then(|count| count.parse().ok())
            .expect("a number");
        assert!(clients > 0, "{info:?}");
    }
}

/// One answer of a page to whoever asks first.
fn page(status: &str, body: String) -> String {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        if let Ok((mut client, _)) = listener.accept() {
            // All of a short request comes at once.
            assert!(client.read(&mut [0; 4096]).is_ok_and(|count| count > 0));
            client.write_all(answer.as_bytes()).ok();
        }
    });
    url
}

/// Whoever answers at the URL of -top does not drive the terminal.
#[test]
fn top_shows_no_escapes_of_a_hostile_page() {
    let port = Port::reserve();
    let addr = format!("127.0.0.1:{}", port.number());
    let proxy = Proxy::start(open(), &["-debug-addr", &addr]);
    check_serves(&mut proxy.conn());
    let status = http::get(&addr, "/api/v1/status").1;
    let evil = "\\u001b]0;owned\\u0007\\u001b[2J\\u202e\\nforged";
    let listen = format!("\"listen\":\"{}\"", proxy.addr());
    assert!(
        status.contains(&listen) && status.contains("\"get\""),
        "{status}"
    );
    let status = status
        .replace(&listen, &format!("\"listen\":\"{evil}\""))
        .replace("\"get\"", &format!("\"get{evil}\""));
    let plain = "\u{1b}[2J\u{202e}\nmore".to_string();
    for (code, body) in [
        ("200 OK", status),
        ("200 OK", plain.clone()),
        ("500 No", plain.clone()),
        ("404 No", plain.repeat(1000)),
        ("200 OK", format!("{{\"version\":\"{evil}\"}}")),
    ] {
        let url = page(code, body);
        let top = Command::new(env!("CARGO_BIN_EXE_redis-cluster-proxy"))
            .args(["-top", &url])
            .output()
            .expect("the program");
        for stream in [&top.stdout, &top.stderr] {
            let shown = String::from_utf8_lossy(stream);
            let wild =
                |c: char| c != '\n' && c.is_control() || matches!(c, '\u{202e}' | '\u{2028}');
            assert!(!shown.contains(wild), "{shown:?}");
            assert!(
                shown.len() < 8000 && !shown.contains("\nforged"),
                "{shown:?}"
            );
        }
        assert!(!(top.stdout.is_empty() && top.stderr.is_empty()));
    }
}
