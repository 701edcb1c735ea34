//! What is for who looks into servers: DEBUG PROTOCOL push keeps its push, and a script that is to be debugged is not
//! executed for real. Beside one redis-server where that does the same.

use crate::support::{Cluster, Conn, Proxy, Server, key_in_slot};
use std::process::{Command, Stdio};

#[test]
fn a_push_comes_with_the_reply() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let server = Server::start(&[]);
    for protocol in ["2", "3"] {
        let told = [proxy.addr(), &server.addr()].map(|addr| {
            let mut conn = Conn::open(addr, protocol);
            let words = |words: &[&str]| Conn::encode(words);
            let mut requests = Vec::new();
            for n in 0..20 {
                for slot in [1, 6000, 12000] {
                    requests.extend(words(&["SET", &key_in_slot(slot, "k"), &format!("{n}")]));
                }
                requests.extend(words(&["DEBUG", "PROTOCOL", "push"]));
                for slot in [1, 6000, 12000] {
                    requests.extend(words(&["GET", &key_in_slot(slot, "k")]));
                }
            }
            requests.extend(words(&["ECHO", "the end"]));
            conn.send(requests);
            let mut frames = Vec::new();
            while !frames.ends_with(b"the end\r\n") {
                frames.extend(conn.read_frame());
            }
            String::from_utf8_lossy(&frames).into_owned()
        });
        assert_eq!(told[0], told[1], "RESP{protocol}");
    }
}

#[test]
fn a_script_that_is_to_be_debugged_is_not_executed() {
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let server = Server::start(&[]);
    let script = "redis.call('SET', KEYS[1], 'written'); return 1";
    let directory = std::env::temp_dir().join(format!("ldb-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("script.lua");
    std::fs::write(&file, script).expect("written");
    for addr in [proxy.addr(), &server.addr()] {
        let port = addr.rsplit(':').next().expect("a port");
        let output = Command::new("redis-cli")
            .args(["-p", port, "--ldb", "--eval"])
            .arg(&file)
            .arg("debugged")
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // The server undoes it when the debugger leaves.
        assert!(
            Conn::open(addr, "2").line("GET debugged").is_nil(),
            "{said}"
        );
        if addr == proxy.addr() {
            assert!(said.contains("was not executed"), "{said}");
        }
    }
    std::fs::remove_dir_all(&directory).ok();
    for protocol in ["2", "3"] {
        let mut conn = Conn::open(proxy.addr(), protocol);
        for mode in ["YES", "sync"] {
            assert!(conn.command(&["SCRIPT", "DEBUG", mode]).is_error());
            for command in ["EVAL", "EVAL_RO"] {
                let reply = conn.command(&[command, script, "1", "debugged"]);
                let error = reply.error().expect("an error");
                assert!(error.contains("was not executed"), "{error}");
            }
            assert!(conn.line("GET debugged").is_nil());
            assert_eq!(conn.line("SCRIPT DEBUG NO"), "OK");
            assert_eq!(conn.command(&["EVAL", script, "1", "debugged"]).int(), 1);
            conn.line("DEL debugged");
        }
        conn.command(&["SCRIPT", "DEBUG", "YES"]);
        assert_eq!(conn.line("RESET"), "RESET");
        assert_eq!(conn.command(&["EVAL", "return 1", "0"]).int(), 1);
    }
}
