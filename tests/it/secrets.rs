//! Passwords of the real program: one that is empty or cannot be read opens no door, they are changed while the
//! program runs, and nodes that refuse them are not offered them all the time.

use crate::support::fake::Fake;
use crate::support::{Cluster, Conn, Port, Proxy, http, key_in_slot, signal, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_redis-cluster-proxy"))
        .args(args)
        .envs(env.iter().copied())
        .output()
        .expect("the program")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain")
}

/// A file in a folder of its own.
fn file(folder: &tempfile::TempDir, name: &str, content: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).expect("written");
    path
}

#[test]
fn a_password_that_is_asked_for_and_not_there_ends_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = file(&folder, "empty", "");
    let line = file(&folder, "line", "\nsesame\n");
    let blank = file(&folder, "blank", "  \t \n");
    let folder_name = folder.path().to_path_buf();
    let bytes = folder.path().join("bytes");
    fs::write(&bytes, b"\xff\xfe\n").expect("written");
    let missing = folder.path().join("missing");
    type Case = (Vec<String>, Vec<(&'static str, String)>);
    let mut cases: Vec<Case> = Vec::new();
    for path in [&empty, &line, &blank, &folder_name, &bytes, &missing] {
        cases.push((vec!["-password-file".into(), text(path).into()], vec![]));
        cases.push((
            vec![],
            vec![("REDIS_PROXY_PASSWORD_FILE", text(path).into())],
        ));
        let config = format!("password-file {}\n", text(path));
        let config = file(&folder, &format!("{}.conf", cases.len()), &config);
        cases.push((vec!["-config".into(), text(&config).into()], vec![]));
    }
    for name in [
        "password",
        "client-password",
        "backend-password",
        "debug-token",
    ] {
        cases.push((
            vec![format!("-{name}="), "-debug-addr=127.0.0.1:1".into()],
            vec![],
        ));
        let config = file(&folder, &format!("{name}.conf"), &format!("{name} \"\"\n"));
        cases.push((vec!["-config".into(), text(&config).into()], vec![]));
    }
    cases.push((vec![], vec![("REDIS_PROXY_PASSWORD", String::new())]));
    cases.push((vec![], vec![("REDIS_PROXY_CLIENT_PASSWORD", String::new())]));
    for (args, env) in &cases {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, &**value)).collect();
        for more in [&["-addr", "127.0.0.1:0"][..], &["-check"]] {
            let output = run(&[&args[..], more].concat(), &env);
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{args:?} {env:?}: {told}");
            assert!(
                told.contains("empty") || told.contains("cannot read it"),
                "{args:?} {env:?}: {told}"
            );
            assert!(!told.contains("sesame"), "{told}");
        }
    }
}

/// Whether a new client may come in with this password.
fn enters(proxy: &Proxy, password: &str) -> bool {
    proxy.conn().command(&["AUTH", password]) == "OK"
}

/// Waits until each worker lets a new client in with this password, or none does.
fn wait_until_workers_know(proxy: &Proxy, password: &str, does_enter: bool) {
    wait_for("all workers to know", Duration::from_secs(20), || {
        // Of two workers, clients that come one after the other meet both.
        (0..8)
            .all(|_| enters(proxy, password) == does_enter)
            .then_some(())
    });
}

fn reload(proxy: &Proxy, expected: &str) {
    let before = proxy.log().len();
    signal(proxy.pid(), "HUP");
    wait_for(
        "the files to be read again",
        Duration::from_secs(20),
        || proxy.log()[before..].contains(expected).then_some(()),
    );
}

#[test]
fn passwords_of_clients_are_changed_at_sighup() {
    let folder = tempfile::tempdir().expect("a folder");
    let password = file(&folder, "password", "one\n");
    let old = file(&folder, "old", "");
    let cluster = Cluster::start(1, 0);
    let debug = Port::reserve();
    let debug_addr = format!("127.0.0.1:{}", debug.number());
    let config = file(
        &folder,
        "proxy.conf",
        "debug-token first\nbackend-password-old x\nbackend-password y\n",
    );
    let flags = [
        "-config",
        text(&config),
        "-password-file",
        text(&password),
        "-password-old-file",
        text(&old),
        "-debug-addr",
        &debug_addr,
        "-max-procs",
        "2",
        // Dozens of logins are to fail.
        "-auth-failure-delay",
        "0",
    ];
    // The nodes take any password of a user without one.
    for port in cluster.ports() {
        assert_eq!(
            cluster
                .raw(port)
                .line("ACL SETUSER default on nopass ~* &* +@all"),
            "OK"
        );
    }
    let proxy = Proxy::start(&cluster, &flags);
    let mut kept = proxy.conn();
    assert_eq!(kept.line("AUTH one"), "OK");
    assert!(!enters(&proxy, "two"));

    // Both, while clients are told of the new one.
    fs::write(&password, "two\n").expect("written");
    fs::write(&old, "one\n").expect("written");
    reload(&proxy, "the client password changed");
    wait_until_workers_know(&proxy, "two", true);
    for _ in 0..8 {
        assert!(enters(&proxy, "one") && enters(&proxy, "two") && !enters(&proxy, "three"));
    }
    let hello = ["HELLO", "3", "AUTH", "default", "one"];
    assert!(!proxy.conn().command(&hello).is_error());

    // The new one alone.
    fs::write(&old, "").expect("written");
    reload(&proxy, "the client password changed");
    wait_until_workers_know(&proxy, "one", false);
    for _ in 0..8 {
        assert!(!enters(&proxy, "one") && enters(&proxy, "two"));
    }
    assert_eq!(kept.line("PING"), "PONG", "who is in stays in");

    // A file that was emptied, or removed, changes nothing.
    for content in [Some(""), Some("\n"), None] {
        match content {
            Some(content) => fs::write(&password, content).expect("written"),
            None => fs::remove_file(&password).expect("removed"),
        }
        reload(&proxy, "keeping the old settings");
        for _ in 0..8 {
            assert!(enters(&proxy, "two") && !enters(&proxy, "") && !enters(&proxy, "one"));
            assert!(proxy.conn().line("GET a").is_error());
        }
    }
    fs::write(&password, "two\n").expect("written");

    // The token of the pages, and what is taken out of the file.
    let status = |token: &str| http::get_with(&debug_addr, "/api/v1/status", token).0;
    assert_eq!((status("first"), status("second")), (200, 401));
    fs::write(&config, "debug-token second\nbackend-password y\n").expect("written");
    reload(&proxy, "-debug-token changed");
    // It is said once it is so.
    assert_eq!((status("first"), status("second")), (401, 200));
    fs::write(&config, "backend-password y\n").expect("written");
    reload(&proxy, "debug-token was removed from the settings");
    assert_eq!(
        (status("first"), status("second"), status("")),
        (401, 200, 401)
    );
    let log = proxy.log();
    for secret in ["sesame", "\"one\"", "\"two\"", "second\""] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// The file of the old password may be named when it is needed: it counts at once, and the log says so.
#[test]
fn a_file_of_passwords_may_be_named_while_the_program_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let password = file(&folder, "password", "one\n");
    let old = file(&folder, "old", "one\n");
    let first = format!("password-file {}\n", text(&password));
    let config = file(&folder, "proxy.conf", &first);
    let cluster = Cluster::start(1, 0);
    // The nodes take any password of a user without one.
    for port in cluster.ports() {
        let mut node = cluster.raw(port);
        assert_eq!(node.line("ACL SETUSER default on nopass ~* &* +@all"), "OK");
    }
    let proxy = Proxy::start(&cluster, &["-config", text(&config)]);
    assert!(enters(&proxy, "one"));

    fs::write(&password, "two\n").expect("written");
    let both = format!("{first}password-old-file {}\n", text(&old));
    fs::write(&config, both).expect("written");
    reload(&proxy, "the client password changed");
    wait_for("the worker to know", Duration::from_secs(20), || {
        enters(&proxy, "two").then_some(())
    });
    assert!(enters(&proxy, "one") && !enters(&proxy, "three"));

    fs::write(&config, first).expect("written");
    reload(&proxy, "the client password changed");
    wait_for("the worker to know", Duration::from_secs(20), || {
        (!enters(&proxy, "one")).then_some(())
    });
    assert!(enters(&proxy, "two"));
    let log = proxy.log();
    assert!(log.contains("password-old-file changed from"), "{log}");
    assert!(!log.contains("takes effect at the next start"), "{log}");
}

/// The nodes get the new password one after the other, and clients see nothing of it.
#[test]
fn the_password_of_the_nodes_is_changed_node_by_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let both =
        |new: &str, old: &str| format!("backend-password {new}\nbackend-password-old {old}\n");
    let config = file(&folder, "proxy.conf", "backend-password one\n");
    let cluster = Cluster::start_with(2, 0, &["--requirepass", "one", "--masterauth", "one"]);
    let proxy = Proxy::start(&cluster, &["-config", text(&config)]);
    let keys = [1, 16000].map(|slot| key_in_slot(slot, "rotate"));
    let serves = |conn: &mut Conn| {
        for key in &keys {
            assert_eq!(conn.command(&["SET", key, "1"]), "OK");
            assert_eq!(conn.command(&["GET", key]), "1");
        }
    };
    let mut conn = proxy.conn();
    serves(&mut conn);
    fs::write(&config, both("two", "one")).expect("written");
    reload(&proxy, "the node password changed");
    for port in cluster.ports() {
        let mut node = cluster.raw(port);
        node.line("AUTH one");
        assert_eq!(node.line("CONFIG SET requirepass two"), "OK");
        // Connections from before are lost, too: the next has to find the password.
        node.line("CLIENT KILL TYPE normal SKIPME yes");
        serves(&mut conn);
        conn.command(&["HELLO", "3"]);
        serves(&mut conn);
        conn.command(&["HELLO", "2"]);
        conn.line("PROXY CLUSTER UPDATE");
        serves(&mut conn);
    }
    fs::write(&config, "backend-password two\n").expect("written");
    reload(&proxy, "the node password changed");
    for port in cluster.ports() {
        let mut node = cluster.raw(port);
        node.line("AUTH two");
        node.line("CLIENT KILL TYPE normal SKIPME yes");
    }
    serves(&mut proxy.conn());
}

/// A node that refuses our password, and counts how often it was offered.
fn refusing(offered: Arc<AtomicUsize>, open: Arc<AtomicUsize>) -> Fake {
    Fake::start(move |words: &[String]| {
        let name = words[0].to_ascii_uppercase();
        let asks = name == "AUTH" || words.len() > 3 && name == "HELLO";
        if asks && open.load(Ordering::Relaxed) == 0 {
            offered.fetch_add(1, Ordering::Relaxed);
            return Some(
                b"-WRONGPASS invalid username-password pair or user is disabled.\r\n".to_vec(),
            );
        }
        Some(b"+OK\r\n".to_vec())
    })
}

#[test]
fn a_node_that_refuses_the_password_is_not_offered_it_all_the_time() {
    let offered = Arc::new(AtomicUsize::new(0));
    let rogue = refusing(offered.clone(), Arc::default());
    let honest = Fake::start(|_| Some(b"+OK\r\n".to_vec()));
    Fake::unite(&[&rogue, &honest]);
    let flags = [
        "-backend-password",
        "sesame",
        "-park-timeout",
        "0s",
        "-slots-reload-interval",
        "200ms",
    ];
    let proxy = Proxy::spawn(&[honest.addr.to_string()], &flags, &[]);
    proxy.wait_until_answering();
    let mut conn = proxy.conn();
    let key = key_in_slot(1, "rogue");
    wait_for("the first refusal", Duration::from_secs(20), || {
        conn.command(&["GET", &key]);
        (offered.load(Ordering::Relaxed) > 0).then_some(())
    });
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        assert!(conn.command(&["GET", &key]).is_error());
        std::thread::sleep(Duration::from_millis(20));
    }
    // A worker and two threads beside it, each after 1 s, 2 s and 4 s.
    let count = offered.load(Ordering::Relaxed);
    assert!(count <= 12, "offered {count} times in six seconds");
}

/// A node list may name any host. None outside of the ranges is connected to.
#[test]
fn nodes_outside_of_the_ranges_are_not_connected_to() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let said = seen.clone();
    let stranger = Fake::start(move |words: &[String]| {
        said.lock().expect("no panic").extend(words.to_vec());
        Some(b"+OK\r\n".to_vec())
    });
    let honest = Fake::start(|_| Some(b"+OK\r\n".to_vec()));
    Fake::unite(&[&stranger, &honest]);
    // The same port on another loopback address: nobody is there, and nobody is asked.
    let nodes = honest.nodes.lock().expect("no panic").clone();
    let elsewhere = stranger.addr.to_string().replace("127.0.0.1", "127.9.9.9");
    let moved = nodes.replace(&stranger.addr.to_string(), &elsewhere);
    *honest.nodes.lock().expect("no panic") = moved;
    let flags = [
        "-backend-password",
        "sesame",
        "-nodes-allowed",
        "127.0.0.0/24,::1",
        "-park-timeout",
        "0s",
    ];
    let proxy = Proxy::spawn(&[honest.addr.to_string()], &flags, &[]);
    proxy.wait_until_answering();
    let mut conn = proxy.conn();
    let own = key_in_slot(16000, "allowed");
    wait_for("the honest node to serve", Duration::from_secs(20), || {
        (!conn.command(&["GET", &own]).is_error()).then_some(())
    });
    let refused = conn.command(&["GET", &key_in_slot(1, "allowed")]);
    assert!(refused.is_error(), "{refused:?}");
    // The log is written by a thread of its own.
    let words = format!("ignoring node {elsewhere}");
    wait_for(&words, Duration::from_secs(20), || {
        proxy.log().contains(&words).then_some(())
    });
    // A startup node outside is not asked either.
    let proxy = Proxy::spawn(
        &[stranger.addr.to_string()],
        &[
            "-nodes-allowed",
            "10.0.0.0/8",
            "-backend-password",
            "sesame",
        ],
        &[],
    );
    proxy.wait_until_answering();
    wait_for("the log to say why", Duration::from_secs(20), || {
        proxy.log().contains("not in -nodes-allowed").then_some(())
    });
    assert!(seen.lock().expect("no panic").is_empty());
}
