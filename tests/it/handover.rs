//! A new process takes over from one that serves (`-take-over`, SIGUSR2).

mod clients;
mod load;

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis_cluster_proxy::handover::message::{self, Kind};
use redis_cluster_proxy::net::descriptor_channel::DescriptorChannel;

use crate::support::{Cluster, Conn, Port, Proxy, http, signal, wait_for};

const LONG: Duration = Duration::from_secs(30);

/// Addresses that one process after the other serves.
struct Place {
    folder: tempfile::TempDir,
    _ports: Vec<Port>,
    addrs: Vec<String>,
    debug: String,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        let ports: Vec<Port> = (0..3).map(|_| Port::reserve()).collect();
        let tcp: Vec<String> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{}", port.number()))
            .collect();
        let unix = format!("unix:{}", folder.path().join("proxy.sock").display());
        Place {
            addrs: vec![tcp[0].clone(), tcp[1].clone(), unix],
            debug: tcp[2].clone(),
            folder,
            _ports: ports,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a process that takes over if there is one.
    fn spawn(&self, cluster: &Cluster, more: &[&str], env: &[(&str, &str)]) -> Proxy {
        let (addrs, take_over) = (self.addrs.join(","), self.path("take-over"));
        let mut flags = vec!["-addr", &addrs, "-debug-addr", &self.debug];
        flags.extend(["-take-over", take_over.to_str().expect("plain")]);
        flags.extend(more);
        Proxy::spawn(&cluster.addrs(), &flags, env)
    }

    /// The first process.
    fn start(&self, cluster: &Cluster, more: &[&str]) -> Proxy {
        let proxy = self.spawn(cluster, more, &[]);
        proxy.wait_until_answering();
        proxy.wait_until_serving(cluster);
        proxy
    }

    /// The next one; the one before has let go when this returns.
    fn succeed(&self, cluster: &Cluster, more: &[&str]) -> Proxy {
        let proxy = self.spawn(cluster, more, &[]);
        wait_for("the new process to take over", LONG, || {
            proxy.log().contains("took over from process").then_some(())
        });
        proxy
    }
}

/// Which process answers.
fn served_by(conn: &mut Conn) -> u32 {
    conn.info("server")["process_id"].parse().expect("a number")
}

fn number(conn: &mut Conn, section: &str, name: &str) -> u64 {
    conn.info(section)[name].parse().expect("a number")
}

#[track_caller]
fn ends_well(mut proxy: Proxy) {
    let status = proxy.wait_exit(LONG).expect("it ends");
    assert!(status.success(), "{status}: {}", proxy.stderr());
}

#[test]
fn every_address_passes_to_the_new_process_whatever_its_number_of_workers() {
    let cluster = Cluster::start(1, 0);
    let place = Place::new();
    let mut before = place.start(&cluster, &["-max-procs", "2"]);
    let files = [place.path("proxy.sock"), place.path("take-over")];
    for workers in ["3", "1", "2"] {
        let next = place.succeed(&cluster, &["-max-procs", workers]);
        ends_well(before);
        for address in &place.addrs {
            for _ in 0..4 {
                let mut conn = Conn::connect(address);
                assert_eq!(served_by(&mut conn), next.pid(), "{address}");
                assert_eq!(conn.command(&["SET", "key", workers]), "OK");
            }
        }
        let (code, status) = http::get(&place.debug, "/api/v1/status");
        assert!(code == 200 && status.contains(&next.pid().to_string()));
        assert!(files.iter().all(|path| path.exists()));
        before = next;
    }
    assert!(before.stop().success());
    assert!(
        !files.iter().any(|path| path.exists()),
        "the last removes them"
    );
}

#[test]
fn counters_go_on() {
    let cluster = Cluster::start(1, 0);
    let place = Place::new();
    let first = place.start(&cluster, &["-max-procs", "2"]);
    let mut conn = Conn::connect(&place.addrs[0]);
    for _ in 0..50 {
        conn.command(&["SET", "key", "value"]);
        conn.command(&["LPUSH", "key", "value"]);
    }
    let taken = number(&mut conn, "stats", "total_connections_received");
    let second = place.succeed(&cluster, &[]);
    ends_well(first);
    let mut conn = Conn::connect(&place.addrs[0]);
    let info = conn.info("all");
    let is_served = |name: &str| info[name].parse::<u64>().expect("a number");
    assert!(is_served("total_commands_processed") >= 100);
    assert!(is_served("total_connections_received") > taken);
    assert!(info["cmdstat_lpush"].starts_with("calls=50,"));
    assert!(info["cmdstat_lpush"].contains("failed_calls=50"));
    assert_eq!(info["errorstat_WRONGTYPE"], "count=50");
    // Nobody has asked that much of the new process in a second.
    assert!(is_served("instantaneous_ops_per_sec") < 50);
    assert!(conn.line("CLIENT ID").int() as u64 > taken);
    assert!(second.stop().success());
}

#[test]
fn a_process_that_cannot_serve_leaves_the_old_one_as_it_was() {
    let cluster = Cluster::start(1, 0);
    let place = Place::new();
    let old = place.start(&cluster, &[]);
    let (old_files, take_over) = ([place.path("proxy.sock")], place.path("take-over"));
    let nowhere = Port::reserve();
    let nowhere = format!("127.0.0.1:{}", nowhere.number());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("bound").to_string();
    let elsewhere = format!("{},{taken}", place.addrs.join(","));
    for (flags, told) in [
        // The cluster does not answer.
        (
            vec!["-startup-nodes", &nowhere, "-connect-timeout", "50ms"],
            "where the slots are",
        ),
        // Its files are not there.
        (vec!["-acl-file", "/nowhere/at/all"], "/nowhere/at/all"),
        // It is to listen where somebody else does.
        (vec!["-addr", &elsewhere], "cannot listen on"),
    ] {
        let mut new = place.spawn(&cluster, &flags, &[]);
        let status = new.wait_exit(LONG).expect("it ends");
        assert_eq!(status.code(), Some(1), "{flags:?}");
        assert!(new.stderr().contains(told), "{flags:?}: {}", new.stderr());
        let mut conn = Conn::connect(&place.addrs[2]);
        assert_eq!(served_by(&mut conn), old.pid());
    }
    // One that comes and says nothing, or nonsense.
    use std::io::Write;
    let mut odd = UnixStream::connect(&take_over).expect("it listens");
    odd.write_all(&[9; 100]).expect("sent");
    drop(odd);
    drop(UnixStream::connect(&take_over).expect("it listens"));
    assert!(old_files.iter().all(|path| path.exists()));
    let new = place.succeed(&cluster, &[]);
    ends_well(old);
    assert_eq!(served_by(&mut Conn::connect(&place.addrs[1])), new.pid());
}

/// What a new process says, up to and with `Serves`.
fn takes_and_serves(place: &Place) -> DescriptorChannel {
    let stream = UnixStream::connect(place.path("take-over")).expect("it listens");
    let mut channel = DescriptorChannel::new(stream);
    let version = message::greeting(message::VERSION);
    let sent = channel.send(Kind::Hello.number(), &version, None);
    sent.expect("sent");
    let mut until = |kind: Kind| {
        // It has the listening sockets for a moment, and does nothing with them.
        while let Some(frame) = channel.receive().expect("a frame") {
            if Kind::of(frame.kind) == Some(kind) {
                let next = match kind {
                    Kind::Offered => Kind::Ready,
                    _ => Kind::Serves,
                };
                channel.send(next.number(), &[], None).expect("sent");
                return;
            }
        }
        panic!("it has closed the connection");
    };
    until(Kind::Offered);
    until(Kind::Go);
    channel
}

#[test]
fn a_process_that_dies_as_soon_as_it_serves_leaves_the_old_one_serving() {
    let cluster = Cluster::start(1, 0);
    let place = Place::new();
    let old = place.start(&cluster, &[]);
    let mut client = Conn::connect(&place.addrs[0]);
    for _ in 0..2 {
        drop(takes_and_serves(&place));
        for addr in &place.addrs {
            assert_eq!(served_by(&mut Conn::connect(addr)), old.pid());
        }
        assert_eq!(served_by(&mut client), old.pid());
    }
    let line = "not handed over, serving on: it ended as soon as it served";
    wait_for("the log to tell of it", LONG, || {
        old.log().contains(line).then_some(())
    });
    let new = place.succeed(&cluster, &[]);
    ends_well(old);
    assert_eq!(served_by(&mut client), new.pid());
}

#[test]
fn sigusr2_starts_the_successor_and_the_service_manager_is_told_of_it() {
    let cluster = Cluster::start(1, 0);
    let place = Place::new();
    let notify = place.path("notify");
    let manager = UnixDatagram::bind(&notify).expect("a socket");
    manager.set_read_timeout(Some(LONG)).expect("a socket");
    let next = || {
        let mut bytes = [0; 4096];
        let count = manager.recv(&mut bytes).expect("a notification");
        String::from_utf8(bytes[..count].to_vec()).expect("text")
    };
    let env = [("NOTIFY_SOCKET", notify.to_str().expect("plain"))];
    let old = place.spawn(&cluster, &[], &env);
    assert!(next().starts_with("READY=1\n"));
    signal(old.pid(), "USR2");
    let main = next();
    let pid = main
        .trim()
        .strip_prefix("MAINPID=")
        .expect("the new process");
    let pid: u32 = pid.parse().expect("a number");
    assert_ne!(pid, old.pid());
    assert!(next().starts_with("READY=1\n"), "the new one is ready");
    ends_well(old);
    let mut conn = Conn::connect(&place.addrs[0]);
    assert_eq!(served_by(&mut conn), pid);
    signal(pid, "TERM");
    assert!(next().starts_with("STOPPING=1\n"));
    let proc = format!("/proc/{pid}");
    wait_for("the new process to end", LONG, || {
        let stat = fs::read_to_string(Path::new(&proc).join("stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

#[test]
fn sigusr2_without_take_over_is_told_of_and_does_nothing() {
    let cluster = Cluster::start(1, 0);
    let proxy = Proxy::start(&cluster, &[]);
    signal(proxy.pid(), "USR2");
    wait_for("the log to tell of it", LONG, || {
        proxy.log().contains("without -take-over").then_some(())
    });
    assert_eq!(served_by(&mut proxy.conn()), proxy.pid());
}
