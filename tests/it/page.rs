//! The status page in a real browser: `make page-test` installs what that needs and runs this.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Cluster, Port, Proxy, http, wait_for};

const SCRIPT: &str = "<script>alert(1)</script>";

/// Asks for keys until told to stop; errors while a master is dead are the page's business, not the load's.
fn load(proxy: &Proxy, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut conn = proxy.conn();
        conn.command(&["CLIENT", "SETINFO", "LIB-NAME", "page-test"]);
        conn.command(&["CLIENT", "SETINFO", "LIB-VER", "1.0"]);
        while !stop.load(Ordering::Relaxed) {
            for number in 0..20 {
                conn.command(&["SET", &format!("key:{number}"), "v"]);
                for _ in 0..5 {
                    conn.command(&["GET", SCRIPT]);
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A node that sleeps 30 ms between any two requests.
fn sleepy(cluster: &Cluster, master: u16, stop: &AtomicBool) {
    let mut conn = cluster.raw(master);
    while !stop.load(Ordering::Relaxed) {
        conn.line("DEBUG SLEEP 0.03");
    }
}

#[test]
#[ignore = "needs a browser: `make page-test` installs it and runs this"]
fn the_page_shows_what_happens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/page");
    std::fs::create_dir_all(&folder).expect("a folder");
    let modules = root.join("target/clients/node");
    let program = modules.join("page.mjs");
    std::fs::copy(root.join("tests/clients/page.mjs"), &program)
        .expect("`make page-test` makes it");

    let cluster = Cluster::start(3, 1);
    let port = Port::reserve();
    let debug = format!("127.0.0.1:{}", port.number());
    let proxy = Proxy::start(&cluster, &["-debug-addr", &debug, "-max-procs", "2"]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| load(&proxy, &stop));
        let mut child = Command::new("node")
            .arg(&program)
            .args(["0", &debug])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs");
        let mut said = String::new();
        for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
            let line = line.expect("text");
            let master = match line.as_str() {
                "SLOW" => {
                    let master = cluster.master_of(16383);
                    let (cluster, stop) = (&cluster, &stop);
                    scope.spawn(move || sleepy(cluster, master, stop));
                    Some(master)
                }
                "ERRORS" => {
                    let mut conn = proxy.conn();
                    for _ in 0..5000 {
                        conn.command(&["INCR", "key:1"]);
                    }
                    Some(cluster.master_of(0))
                }
                "KILL" => {
                    let master = cluster.master_of(0);
                    cluster.kill(master);
                    Some(master)
                }
                _ => None,
            };
            if let Some(master) = master {
                let stdin = child.stdin.as_mut().expect("it is piped");
                writeln!(stdin, "127.0.0.1:{master}").expect("it reads");
            }
            said += &line;
            said.push('\n');
        }
        stop.store(true, Ordering::Relaxed);
        let status = child.wait().expect("it can be waited for");
        assert!(status.success(), "{said}");
        println!("{said}");
    });
}

/// What the page is made of, without a browser.
#[test]
fn programs_get_the_list_and_browsers_the_page() {
    let cluster = Cluster::start(1, 0);
    let port = Port::reserve();
    let debug = format!("127.0.0.1:{}", port.number());
    let proxy = Proxy::start(&cluster, &["-debug-addr", &debug]);
    let mut conn = proxy.conn();
    conn.command(&["CLIENT", "SETINFO", "LIB-NAME", "a<b>"]);
    let (status, list) = http::get(&debug, "/");
    assert!(status == 200 && list.contains("/api/v1/history"), "{list}");
    let browser = format!(
        "GET / HTTP/1.1\r\nHost: {debug}\r\nAccept: text/html,*/*;q=0.8\r\nConnection: close\r\n\r\n"
    );
    let (status, page) = http::send(&debug, &browser);
    assert_eq!(status, 200);
    assert!(page.starts_with(b"<!doctype html>"));
    for file in ["/page.css", "/page.js"] {
        assert_eq!(http::get(&debug, file).0, 200);
    }
    let (status, clients) = http::get(&debug, "/api/v1/clients");
    let clients: serde_json::Value = serde_json::from_str(&clients).expect("JSON");
    assert_eq!((status, &clients["clients"]), (200, &1.into()));
    assert_eq!(clients["libraries"][0]["name"], "a<b>");
    assert_eq!(clients["addresses"][0]["name"], "127.0.0.1");
    wait_for("a second of history", Duration::from_secs(20), || {
        let (_, page) = http::get(&debug, "/api/v1/history");
        let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        let topology = page["events"][0]["text"].as_str().unwrap_or_default();
        let seconds = page["seconds"].as_array().expect("a list");
        (!seconds.is_empty() && topology.contains("1 shards")).then_some(())
    });
}
