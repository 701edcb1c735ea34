//! What a service manager sees of the program and hands to it: notifications at `NOTIFY_SOCKET`, the watchdog, and a
//! listening socket (`LISTEN_FDS`). No systemd is needed: the tests are the manager.

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::support::{Cluster, Conn, Port, Proxy, http, signal, wait_for};

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(1, 0))
}

/// Where the program sends its notifications.
struct Manager {
    socket: UnixDatagram,
    path: String,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Manager {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let wait = Some(Duration::from_secs(20));
        socket.set_read_timeout(wait).expect("a socket");
        Manager {
            socket,
            path: path.to_str().expect("plain").to_string(),
            _folder: folder,
        }
    }

    /// The next notification, a variable on each line.
    #[track_caller]
    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let count = self.socket.recv(&mut bytes).expect("a notification");
        String::from_utf8(bytes[..count].to_vec()).expect("text")
    }

    /// The next that is not of the watchdog, and how many of those came before.
    #[track_caller]
    fn next_state(&self) -> (String, usize) {
        let mut fed = 0;
        loop {
            match self.next() {
                text if text.trim() == "WATCHDOG=1" => fed += 1,
                text => return (text, fed),
            }
        }
    }
}

#[test]
fn readiness_reloads_and_the_end_are_told() {
    let manager = Manager::new();
    let env = [("NOTIFY_SOCKET", manager.path.as_str())];
    let mut proxy = Proxy::spawn(&cluster().addrs(), &["-max-procs", "2"], &env);
    let ready = manager.next();
    let serving = format!("READY=1\nSTATUS=listening on {}", proxy.addr());
    assert_eq!(ready.trim(), serving);
    // Who is told so can connect at once.
    assert_eq!(proxy.conn().command(&["PING"]), "PONG");

    signal(proxy.pid(), "HUP");
    let reloading = manager.next();
    let lines: Vec<&str> = reloading.lines().collect();
    assert_eq!(lines[0], "RELOADING=1");
    let at = lines[1].strip_prefix("MONOTONIC_USEC=").expect("when");
    assert!(at.parse::<u64>().expect("microseconds") > 0);
    assert_eq!(manager.next().trim(), "READY=1");

    signal(proxy.pid(), "TERM");
    let stopping = manager.next();
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping:?}");
    let ended = proxy.wait_exit(Duration::from_secs(15));
    assert!(ended.expect("it ends").success());
}

#[test]
fn a_drain_by_the_debug_address_is_told() {
    let manager = Manager::new();
    let port = Port::reserve();
    let debug = format!("127.0.0.1:{}", port.number());
    let env = [("NOTIFY_SOCKET", manager.path.as_str())];
    let _proxy = Proxy::spawn(&cluster().addrs(), &["-debug-addr", &debug], &env);
    assert!(manager.next().starts_with("READY=1\n"));
    let request = format!(
        "POST /api/v1/drain HTTP/1.1\r\nHost: {debug}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(http::send(&debug, &request).0, 202);
    assert!(manager.next().starts_with("STOPPING=1\n"));
}

/// What cannot serve is never said to be ready.
#[test]
fn a_start_that_fails_is_not_ready() {
    let manager = Manager::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("bound").to_string();
    let env = [("NOTIFY_SOCKET", manager.path.as_str())];
    for flags in [["-addr", &addr], ["-cpu-affinity", "1000"]] {
        let mut proxy = Proxy::spawn(&cluster().addrs(), &flags, &env);
        let ended = proxy.wait_exit(Duration::from_secs(15));
        assert_eq!(ended.expect("it ends").code(), Some(1), "{flags:?}");
    }
    manager.socket.set_nonblocking(true).expect("a socket");
    assert!(manager.socket.recv(&mut [0; 100]).is_err());
}

#[test]
fn the_watchdog_is_fed_while_the_workers_turn_and_while_they_end() {
    let manager = Manager::new();
    let env = [
        ("NOTIFY_SOCKET", manager.path.as_str()),
        ("WATCHDOG_USEC", "500000"),
    ];
    let proxy = Proxy::spawn(&cluster().addrs(), &[], &env);
    // No client is there.
    let mut ready = false;
    for _ in 0..20 {
        ready |= manager.next().starts_with("READY=1\n");
    }
    assert!(ready);
    signal(proxy.pid(), "TERM");
    assert!(manager.next_state().0.starts_with("STOPPING=1\n"));
}

#[test]
fn without_a_watchdog_nothing_is_fed() {
    let manager = Manager::new();
    let env = [("NOTIFY_SOCKET", manager.path.as_str())];
    let proxy = Proxy::spawn(&cluster().addrs(), &[], &env);
    assert_eq!(manager.next_state().1, 0);
    signal(proxy.pid(), "TERM");
    assert_eq!(manager.next_state().1, 0);
}

/// Becomes the words behind it, with this descriptor as the first one passed.
const PASSER: &str =
    "export LISTEN_PID=$$; [ $FD = 3 ] || eval \"exec 3<&$FD $FD<&-\"; exec \"$@\"";

/// Starts the proxy with sockets passed to it, the first of which is `socket`.
fn start_with(socket: &impl AsRawFd, flags: &[&str], count: &str) -> Proxy {
    let fd = socket.as_raw_fd();
    let env = [("LISTEN_FDS", count), ("FD", &fd.to_string())];
    let launcher = ["bash", "-c", PASSER, "passer"];
    Proxy::spawn_by(&launcher, &cluster().addrs(), flags, &env)
}

/// Children inherit it.
fn pass_on<T: std::os::fd::AsFd>(socket: T) -> T {
    fcntl_setfd(&socket, FdFlags::empty()).expect("a descriptor");
    socket
}

#[test]
fn a_socket_that_is_passed_is_served_by_all_workers_in_place_of_addr() {
    for workers in ["1", "3"] {
        let passed = pass_on(TcpListener::bind("127.0.0.1:0").expect("a port"));
        let addr = passed.local_addr().expect("bound").to_string();
        let proxy = start_with(&passed, &["-max-procs", workers], "1");
        let mut conns: Vec<Conn> = Vec::new();
        for client in 0..12 {
            let mut conn = Conn::connect(&addr);
            assert_eq!(conn.command(&["PING"]), "PONG", "client {client}");
            conns.push(conn);
        }
        assert!(
            Conn::try_connect(proxy.addr()).is_err(),
            "-addr is not used"
        );
        let info = conns[0].command(&["INFO", "server"]).text();
        let port = addr.rsplit(':').next().expect("a port");
        assert!(info.contains(&format!("tcp_port:{port}\r\n")), "{info}");
        let told = format!("listening on {addr}, the passed socket (LISTEN_FDS)");
        wait_for("the log to tell so", Duration::from_secs(20), || {
            proxy.log().contains(&told).then_some(())
        });

        // Who comes between two proxies waits, and is served by the next.
        drop(conns);
        assert!(proxy.stop().success());
        let mut early = Conn::connect(&addr);
        let _next = start_with(&passed, &["-max-procs", workers], "1");
        assert_eq!(early.command(&["PING"]), "PONG");
    }
}

#[test]
fn a_unix_socket_that_is_passed_stays_at_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.sock");
    let passed = pass_on(UnixListener::bind(&path).expect("a socket"));
    let proxy = start_with(&passed, &[], "1");
    let addr = format!("unix:{}", path.display());
    wait_for("the proxy to answer", Duration::from_secs(20), || {
        let reply = Conn::try_connect(&addr).ok()?.try_command(&["PING"]).ok()?;
        (reply == "PONG").then_some(())
    });
    assert!(proxy.stop().success());
    assert!(Path::new(&path).exists());
}

#[test]
fn what_cannot_be_served_is_refused_and_what_is_anothers_left_alone() {
    let listening = pass_on(TcpListener::bind("127.0.0.1:0").expect("a port"));
    let addr = listening.local_addr().expect("bound");
    let connected = pass_on(std::net::TcpStream::connect(addr).expect("it listens"));
    let plain = pass_on(std::fs::File::open("Cargo.toml").expect("a file"));
    let check_refused = |mut proxy: Proxy, reason: &str| {
        let ended = proxy.wait_exit(Duration::from_secs(15));
        assert_eq!(ended.expect("it ends").code(), Some(1), "{reason}");
        let told = proxy.stderr();
        assert!(told.contains("LISTEN_FDS"), "{told}");
        assert!(told.contains(reason), "{told}");
    };
    check_refused(start_with(&listening, &[], "2"), "2 sockets were passed");
    check_refused(start_with(&connected, &[], "1"), "is not listening");
    check_refused(start_with(&plain, &[], "1"), "not a socket");

    let env = [("LISTEN_FDS", "1"), ("LISTEN_PID", "1")];
    let proxy = Proxy::spawn(&cluster().addrs(), &[], &env);
    proxy.wait_until_answering();
}
