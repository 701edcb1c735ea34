//! Where clients come in: several addresses at once, and who may connect to a Unix socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Cluster, Conn, Port, Proxy};

fn mode(path: &Path) -> u32 {
    let found = fs::metadata(path).expect("the socket");
    found.permissions().mode() & 0o777
}

/// A field of the line that CLIENT INFO gives.
fn field(conn: &mut Conn, name: &str) -> String {
    let line = conn.line("CLIENT INFO").text();
    let start = format!("{name}=");
    let found = line.split(' ').find_map(|word| word.strip_prefix(&start));
    found
        .unwrap_or_else(|| panic!("{name} in {line}"))
        .to_string()
}

#[test]
fn it_serves_at_several_addresses_and_each_client_is_told_its_own() {
    let cluster = Cluster::start(3, 0);
    let folder = tempfile::tempdir().expect("a folder");
    let ports = [Port::reserve(), Port::reserve()];
    let sockets = ["one", "two"].map(|name| folder.path().join(name));
    let tcp = ports
        .each_ref()
        .map(|port| format!("127.0.0.1:{}", port.number()));
    let unix = sockets
        .each_ref()
        .map(|path| format!("unix:{}", path.display()));
    let all = [&tcp[..], &unix[..]].concat();
    let flags = [
        "-addr",
        &all.join(","),
        "-unix-socket-perm",
        "600",
        "-max-procs",
        "2",
    ];
    let proxy = Proxy::start(&cluster, &flags);
    assert_eq!(sockets.each_ref().map(|path| mode(path)), [0o600; 2]);
    for address in &all {
        // More than there are workers: each of them serves every address.
        let mut conns: Vec<Conn> = (0..6).map(|_| Conn::connect(address)).collect();
        for conn in &mut conns {
            assert_eq!(conn.line("SET here now"), "OK");
            let named = match address.strip_prefix("unix:") {
                Some(path) => format!("{path}:0"),
                None => address.clone(),
            };
            assert_eq!(field(conn, "laddr"), named);
            let addr = field(conn, "addr");
            assert_eq!(addr == named, address.starts_with("unix:"), "{addr}");
        }
    }
    let mut conn = Conn::connect(&unix[1]);
    let info = conn.line("INFO all").text();
    let listen = format!("proxy_listen:{}\r\n", all.join(","));
    assert!(
        info.contains(&listen) && info.contains(&format!("tcp_port:{}\r\n", ports[0].number()))
    );
    let shown = conn.line("CONFIG GET unixsocketperm").items()[1].text();
    assert_eq!(shown, "600");
    assert!(proxy.stop().success());
    assert!(
        sockets.iter().all(|path| !path.exists()),
        "they are removed at the end"
    );
}

#[test]
fn one_address_that_is_taken_stops_the_start_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.sock");
    let port = Port::reserve();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port.number())).expect("a port");
    let address = taken.local_addr().expect("a port");
    let addr = format!("unix:{},{address}", path.display());
    for check in [&[][..], &["-check"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_redis-cluster-proxy"))
            .args(["-addr", &addr, "-log-file", ""])
            .args(check)
            .output()
            .expect("the program");
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            told.contains(&format!("cannot listen on {address} (-addr)")),
            "{told}"
        );
        assert!(!path.exists());
    }
}
