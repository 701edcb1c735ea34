//! The proxy's own binary, run as its users run it.

use super::{Cluster, Conn, Port, key_in_slot, reaper, signal, wait_for};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Long, as it ends at once when all is well.
const LIMIT: Duration = Duration::from_secs(60);

/// A running proxy; ended with SIGTERM when dropped. When its test fails, the end of its log is shown.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    addr: String,
    log: PathBuf,
    stderr: PathBuf,
    _ports: (Port, Option<Port>),
}

impl Proxy {
    /// In front of this cluster, serving all of its slots when this returns. `extra_flags` come last and so win.
    #[track_caller]
    pub fn start(cluster: &Cluster, extra_flags: &[&str]) -> Proxy {
        let proxy = Proxy::spawn(&cluster.addrs(), extra_flags, &[]);
        proxy.wait_until_answering();
        proxy.wait_until_serving(cluster);
        proxy
    }

    /// Started and no more; for what happens before, or instead of, serving.
    #[track_caller]
    pub fn spawn(startup_nodes: &[String], extra_flags: &[&str], env: &[(&str, &str)]) -> Proxy {
        Proxy::spawn_by(&[], startup_nodes, extra_flags, env)
    }

    /// The same, by a launcher that becomes the command behind its own words.
    #[track_caller]
    #[cfg_attr(not(feature = "tls"), allow(unused_mut))]
    pub fn spawn_by(
        launcher: &[&str],
        startup_nodes: &[String],
        extra_flags: &[&str],
        env: &[(&str, &str)],
    ) -> Proxy {
        let port = Port::reserve();
        let own_addr = format!("127.0.0.1:{}", port.number());
        let log = reaper::folder().join(format!("proxy-{}.log", port.number()));
        let stderr = log.with_extension("stderr");
        let listens = flag(extra_flags, "addr").unwrap_or(own_addr.clone());
        // Of several, the first.
        let (first, _) = listens.split_once(',').unwrap_or((&listens, ""));
        let mut addr = first.to_string();
        let mut more: Vec<String> = Vec::new();
        let mut tls_port = None;
        #[cfg(feature = "tls")]
        if super::tls::is_wanted() && !addr.starts_with("unix:") {
            let port = tls_port.insert(Port::reserve());
            let encrypted = format!("127.0.0.1:{}", port.number());
            more = super::tls::client_side(&encrypted);
            more.extend(super::tls::node_side());
            addr = format!("tls:{encrypted}");
        }
        // Figures are those of a release.
        let given = std::env::var("PROXY_BINARY").ok();
        let binary = given.as_deref();
        let binary = binary.unwrap_or(env!("CARGO_BIN_EXE_redis-cluster-proxy"));
        let words = [launcher, &[binary]].concat();
        let child = Command::new(words[0])
            .args(&words[1..])
            .args([
                "-addr",
                &own_addr,
                "-startup-nodes",
                &startup_nodes.join(","),
                "-log-file",
            ])
            .arg(&log)
            .args(&more)
            .args(extra_flags)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&stderr).expect("a file for stderr"))
            .spawn()
            .expect("cargo has built the proxy");
        reaper::started(child.id());
        Proxy {
            child,
            addr,
            log,
            stderr,
            _ports: (port, tls_port),
        }
    }

    /// Waits until PING is answered, be it with -NOAUTH.
    #[track_caller]
    pub fn wait_until_answering(&self) {
        wait_for(
            &format!("the proxy to answer at {}", self.addr),
            LIMIT,
            || {
                let reply = Conn::try_connect(&self.addr)
                    .ok()?
                    .try_command(&["PING"])
                    .ok()?;
                (reply == "PONG" || reply.error()?.starts_with("NOAUTH")).then_some(())
            },
        );
    }

    /// Waits until a key of every 512th slot that has an owner is answered, or shut away behind a password.
    #[track_caller]
    pub fn wait_until_serving(&self, cluster: &Cluster) {
        let masters = cluster.masters();
        let keys: Vec<String> = (0..16384)
            .step_by(512)
            .filter_map(|slot| {
                cluster
                    .find_master_of(slot)
                    .map(|_| key_in_slot(slot, "serving"))
            })
            .collect();
        wait_for(
            &format!("the proxy to serve the masters {masters:?}"),
            LIMIT,
            || {
                let mut conn = Conn::try_connect(&self.addr).ok()?;
                let serves = |reply: &super::Reply| {
                    reply
                        .error()
                        .is_none_or(|error| error.starts_with("NOAUTH"))
                };
                keys.iter()
                    .all(|key| {
                        conn.try_command(&["GET", key])
                            .is_ok_and(|reply| serves(&reply))
                    })
                    .then_some(())
            },
        );
    }

    /// Until the proxy knows so many replicas: commands for all nodes leave out those that it does not know. Redis lists
    /// a replica only when it has had something to replicate.
    #[track_caller]
    pub fn wait_until_replicas_are_known(&self, count: usize) {
        let mut conn = self.conn();
        wait_for("the replicas to be known", LIMIT, || {
            for slot in (1..16384).step_by(1000) {
                conn.command(&["SET", &key_in_slot(slot, "known"), "1"]);
            }
            conn.line("PROXY CLUSTER UPDATE");
            let nodes = conn.line("PROXY CLUSTER NODES").text();
            (nodes.lines().filter(|line| line.contains("slave")).count() == count).then_some(())
        });
    }

    /// `host:port`, `unix:/path`, or `tls:host:port`.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub fn conn(&self) -> Conn {
        Conn::connect(&self.addr)
    }

    /// SIGTERM, and how it ended.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        signal(self.pid(), "TERM");
        self.wait_exit(Duration::from_secs(30))
            .expect("the proxy ends within 30 s of SIGTERM")
    }

    /// How it ended, if it does within `limit`.
    pub fn wait_exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    pub fn is_running(&mut self) -> bool {
        self.wait_exit(Duration::from_millis(1)).is_none()
            && matches!(self.child.try_wait(), Ok(None))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its access lines.
    pub fn access_log(&self) -> String {
        let path = self.log.to_string_lossy().replace(".log", "-access.log");
        std::fs::read_to_string(path).unwrap_or_default()
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// A number of `INFO proxy`.
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        let text = self.conn().command(&["INFO", "proxy"]).text();
        number_of(&text, name).unwrap_or_else(|| panic!("INFO proxy has no {name}:\n{text}"))
    }

    /// Resident memory.
    #[track_caller]
    pub fn rss_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("Linux says so");
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse()
            .expect("a number")
    }

    /// Open file descriptors.
    #[track_caller]
    pub fn fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("it runs")
            .count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Nothing may panic here: the test may be panicking already.
        if matches!(self.child.try_wait(), Ok(None)) {
            Command::new("sh")
                .args(["-c", &format!("kill -TERM {}", self.child.id())])
                .status()
                .ok();
            if self.wait_exit(Duration::from_secs(12)).is_none() {
                self.child.kill().ok();
                self.child.wait().ok();
            }
        }
        reaper::ended(self.child.id());
        if std::thread::panicking() {
            let (log, stderr) = (self.log(), self.stderr());
            let start = log.lines().count().saturating_sub(40);
            let tail: Vec<&str> = log.lines().skip(start).collect();
            eprintln!(
                "--- the proxy's log ends:\n{}\n--- its stderr:\n{stderr}---",
                tail.join("\n")
            );
        }
    }
}

/// `name:number` in what INFO says.
fn number_of(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok())
}

/// The last value of a flag, in any of its spellings.
fn flag(flags: &[&str], name: &str) -> Option<String> {
    let mut value = None;
    for (index, flag) in flags.iter().enumerate() {
        let Some(bare) = flag
            .strip_prefix('-')
            .map(|bare| bare.strip_prefix('-').unwrap_or(bare))
        else {
            continue;
        };
        if bare == name {
            value = flags.get(index + 1).map(ToString::to_string);
        } else if let Some(rest) = bare
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='))
        {
            value = Some(rest.to_string());
        }
    }
    value
}
