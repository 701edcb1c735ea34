//! A cluster whose nodes can be cut off: each redis-server in a network namespace of its own on one bridge,
//! where that is permitted, else all of them on loopback.
//!
//! The whole test runs in a namespace too (see [`enter`]): so nothing of it is seen outside, two of them do
//! not meet, and all of it is gone when its last process is.

use super::cluster::{Member, form};
use super::elections::Elections;
use super::{Conn, Port, Reply, is_tls_wanted, reaper, signal, wait_for, wanted_tls_args};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

const INSIDE: &str = "CHAOS_INSIDE";
const HUB: &str = "10.77.0.1";
const LIMIT: Duration = Duration::from_secs(30);

/// Runs the test named `test`, with the modules it lies in, once more in a network namespace of its own, and says whether that was done:
/// the caller then has nothing left to do. Where it is not permitted the caller goes on where it is.
#[track_caller]
pub fn enter(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run("ip link set lo up");
        return false;
    }
    let namespace = ["unshare -n", "unshare -rn"].into_iter().find(|unshare| {
        let tried = "sh -c 'ip link set lo up && ip link add br9 type bridge && ip link del br9 && nsenter -t $$ -n true'";
        try_run(&format!("{unshare} {tried}"))
    });
    let Some(namespace) = namespace else {
        eprintln!("{test}: no network namespaces here: on loopback, without cut links");
        return false;
    };
    let words: Vec<&str> = namespace.split(' ').collect();
    let status = Command::new(words[0])
        .args(&words[1..])
        .arg(std::env::current_exe().expect("a path"))
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare runs");
    assert!(status.success(), "{test} failed in its namespace");
    true
}

/// Whether this process is in a namespace of its own.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

fn try_run(line: &str) -> bool {
    Command::new("sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[track_caller]
fn run(line: &str) {
    assert!(try_run(line), "failed: {line}");
}

/// One redis-server and the place it has to itself.
#[derive(Debug)]
pub struct GroundNode {
    ip: String,
    port: u16,
    /// Where it speaks TLS to its peers and to the proxy, if it does.
    tls_port: Option<u16>,
    _reserved: Option<(Port, Port)>,
    /// Keeps the namespace while the server is down.
    holder: Option<Child>,
    folder: PathBuf,
    args: Vec<String>,
    password: Option<String>,
    child: Mutex<Option<Child>>,
}

impl GroundNode {
    fn start(index: usize, args: &[&str], password: Option<&str>) -> GroundNode {
        let inside = is_inside();
        let reserved = (!inside).then(|| (Port::reserve(), Port::reserve()));
        let ports = reserved.as_ref();
        let (port, tls_port) = ports.map_or((7000, 7100), |own| (own.0.number(), own.1.number()));
        let ip = if inside {
            format!("10.77.0.{}", index + 11)
        } else {
            "127.0.0.1".to_string()
        };
        let folder = reaper::folder().join(format!("node-{index}-{port}"));
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        let args = args.iter().map(ToString::to_string);
        let node = GroundNode {
            holder: inside.then(|| hold_namespace(index, &ip)),
            ip,
            port,
            tls_port: is_tls_wanted().then_some(tls_port),
            _reserved: reserved,
            folder,
            args: args.chain(wanted_tls_args()).collect(),
            password: password.map(str::to_string),
            child: Mutex::new(None),
        };
        node.launch();
        node
    }

    fn within(&self, program: &str) -> Command {
        match &self.holder {
            Some(holder) => {
                let mut command = Command::new("nsenter");
                command.args(["-t", &holder.id().to_string(), "-n", program]);
                command
            }
            None => Command::new(program),
        }
    }

    /// Runs `ip` where the node is; nothing on loopback.
    fn ip_command(&self, args: &str) -> bool {
        self.holder.is_some()
            && self
                .within("ip")
                .args(args.split(' '))
                .status()
                .is_ok_and(|status| status.success())
    }

    /// Starts the server; it may not answer yet.
    pub fn launch(&self) {
        let log = || {
            File::options()
                .append(true)
                .create(true)
                .open(self.folder.join("log"))
                .expect("a log file")
        };
        let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_string());
        let mut command = self.within(&program);
        let port = self.port.to_string();
        command
            .args(["--port", &port, "--bind", &self.ip, "--dir"])
            .arg(&self.folder)
            .args(["--protected-mode", "no", "--save", "", "--appendonly", "no"])
            .args(["--daemonize", "no", "--enable-debug-command", "yes"])
            // Else a master that was a replica once comes back with what it was sent then, of slots, too,
            // that are another's by now.
            .args(["--rdb-del-sync-files", "yes"]);
        std::fs::remove_file(self.folder.join("dump.rdb")).ok();
        if let Some(port) = self.tls_port {
            command.args(["--tls-port", &port.to_string()]);
        }
        if let Some(password) = &self.password {
            command.args(["--requirepass", password, "--masterauth", password]);
        }
        let child = command
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .expect("redis-server is there: `make test` installs it");
        reaper::started(child.id());
        *self.child() = Some(child);
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    pub fn addr(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its peers and the proxy meet it.
    fn peer_port(&self) -> u16 {
        self.tls_port.unwrap_or(self.port)
    }

    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    pub fn is_up(&self) -> bool {
        self.child().is_some()
    }

    /// A connection of ours, named so that it is not taken for the proxy's.
    pub fn conn(&self, deadline: Duration) -> Option<Conn> {
        let address = self.addr().parse().ok()?;
        let limit = Duration::from_millis(500).min(deadline);
        let mut conn = Conn::connect_within(address, limit).ok()?;
        conn.set_deadline(deadline);
        if let Some(password) = &self.password {
            let reply = conn.try_command(&["AUTH", password]).ok()?;
            // The password may be another just now.
            if reply.is_error() && conn.try_command(&["AUTH", "other"]).ok()?.is_error() {
                return None;
            }
        }
        let named = conn
            .try_command(&["CLIENT", "SETNAME", "chaos"])
            .ok()?
            .is_error();
        (!named).then_some(conn)
    }

    /// One command over a connection of its own.
    pub fn ask(&self, args: &[&str]) -> Option<Reply> {
        self.conn(Duration::from_secs(2))?.try_command(args).ok()
    }

    fn ask_text(&self, args: &[&str]) -> Option<String> {
        self.ask(args)?.bulk_text()
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            reaper::ended(child.id());
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&self) {
        if let Some(mut child) = self.child().take() {
            signal(child.id(), "TERM");
            child.wait().expect("a child can be waited for");
            reaper::ended(child.id());
        }
    }

    /// Makes it a new node that nobody knows, once it is launched again.
    pub fn forget(&self) {
        self.kill();
        for name in ["nodes.conf", "dump.rdb"] {
            std::fs::remove_file(self.folder.join(name)).ok();
        }
    }

    /// STOP or CONT.
    pub fn signal(&self, name: &str) {
        if let Some(pid) = self.pid() {
            signal(pid, name);
        }
    }

    /// Takes the link up or down. Returns whether there is a link to take.
    pub fn link(&self, up: bool) -> bool {
        self.ip_command(&format!("link set e0 {}", if up { "up" } else { "down" }))
    }

    /// What the node sends to us, not to its peers, vanishes; or does not any more.
    pub fn blackhole(&self, on: bool) -> bool {
        self.ip_command(&format!(
            "route {} blackhole {HUB}/32",
            if on { "add" } else { "del" }
        ))
    }

    /// Cuts this node off from `other` in both directions, or ends that.
    pub fn cut(&self, other: &GroundNode, on: bool) -> bool {
        let verb = if on { "add" } else { "del" };
        self.ip_command(&format!("route {verb} blackhole {}/32", other.ip))
            && other.ip_command(&format!("route {verb} blackhole {}/32", self.ip))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Member for GroundNode {
    fn ask(&self, args: &[&str]) -> Option<Reply> {
        GroundNode::ask(self, args)
    }

    fn place(&self) -> (String, u16) {
        (self.ip.clone(), self.peer_port())
    }
}

impl Drop for GroundNode {
    fn drop(&mut self) {
        self.kill();
        if let Some(mut holder) = self.holder.take() {
            holder.kill().ok();
            holder.wait().ok();
            reaper::ended(holder.id());
        }
    }
}

/// A process that does nothing but own a namespace with one end of a link in it.
fn hold_namespace(index: usize, ip: &str) -> Child {
    let holder = Command::new("unshare")
        .args(["-n", "sleep", "1000000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("unshare runs");
    reaper::started(holder.id());
    let own = std::fs::read_link("/proc/self/ns/net").expect("Linux has it");
    let its = format!("/proc/{}/ns/net", holder.id());
    wait_for("a namespace", LIMIT, || {
        (std::fs::read_link(&its).ok()? != own).then_some(())
    });
    let pid = holder.id();
    try_run(&format!(
        "ip link add br0 type bridge && ip addr add {HUB}/24 dev br0 && ip link set br0 up"
    ));
    run(&format!(
        "ip link add v{index} type veth peer name e0 netns {pid}"
    ));
    run(&format!("ip link set v{index} master br0 up"));
    run(&format!(
        "nsenter -t {pid} -n sh -c 'ip link set lo up; ip addr add {ip}/24 dev e0; ip link set e0 up'"
    ));
    holder
}

/// What CLUSTER NODES says of a node that serves slots or may come to.
#[derive(Debug, Clone)]
pub struct Claim {
    pub index: usize,
    pub is_master: bool,
    pub master: Option<usize>,
    pub failed: bool,
    pub epoch: u64,
    pub slots: Vec<(u16, u16)>,
}

/// The cluster: masters first, then replicas; who is what changes.
#[derive(Debug)]
pub struct Ground {
    pub nodes: Vec<GroundNode>,
    ids: Vec<String>,
    elections: Elections,
}

impl Ground {
    pub fn start(masters: usize, replicas: usize, password: Option<&str>, args: &[&str]) -> Ground {
        let mut all = vec![
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-require-full-coverage",
            "no",
            "--cluster-replica-validity-factor",
            "0",
            "--cluster-allow-replica-migration",
            "no",
            "--repl-diskless-sync-delay",
            "0",
        ];
        all.extend_from_slice(args);
        let count = masters * (1 + replicas);
        let nodes: Vec<GroundNode> = (0..count)
            .map(|index| GroundNode::start(index, &all, password))
            .collect();
        let members: Vec<&dyn Member> = nodes.iter().map(|one| one as _).collect();
        let ids = form(&members, masters);
        let elections = Elections::default();
        let ground = Ground {
            nodes,
            ids,
            elections,
        };
        ground.wait_until_settled();
        ground
    }

    /// Where the proxy meets the nodes.
    pub fn addrs(&self) -> Vec<String> {
        let addr = |node: &GroundNode| format!("{}:{}", node.ip, node.peer_port());
        self.nodes.iter().map(addr).collect()
    }

    pub fn id(&self, index: usize) -> &str {
        &self.ids[index]
    }

    /// What this node says of all.
    pub fn view(&self, index: usize) -> Option<Vec<Claim>> {
        let nodes = self.nodes[index].ask_text(&["CLUSTER", "NODES"])?;
        let index_of = |id: &str| self.ids.iter().position(|own| own == id);
        let claims = nodes.lines().filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let slots = words.get(8..).unwrap_or_default().iter();
            let slots = slots.filter(|range| !range.starts_with('['));
            Some(Claim {
                index: index_of(words.first()?)?,
                is_master: words.get(2)?.contains("master"),
                master: index_of(words.get(3)?),
                failed: words.get(2)?.contains("fail"),
                epoch: words.get(6)?.parse().ok()?,
                slots: slots
                    .filter_map(|range| {
                        let (first, last) = range.split_once('-').unwrap_or((range, range));
                        Some((first.parse().ok()?, last.parse().ok()?))
                    })
                    .collect(),
            })
        });
        Some(claims.collect())
    }

    /// What each living node says of itself.
    pub fn claims(&self) -> Vec<Claim> {
        (0..self.nodes.len())
            .filter(|index| self.nodes[*index].is_up())
            .filter_map(|index| {
                let view = self.view(index)?;
                view.into_iter().find(|claim| claim.index == index)
            })
            .collect()
    }

    /// The living node that owns this slot by its own word.
    pub fn owner(&self, slot: u16) -> Option<usize> {
        self.claims()
            .into_iter()
            .filter(|claim| {
                claim.is_master
                    && claim
                        .slots
                        .iter()
                        .any(|(first, last)| (*first..=*last).contains(&slot))
            })
            .max_by_key(|claim| claim.epoch)
            .map(|claim| claim.index)
    }

    /// Masters with slots.
    pub fn masters(&self) -> Vec<usize> {
        self.claims()
            .into_iter()
            .filter(|claim| claim.is_master && !claim.slots.is_empty())
            .map(|claim| claim.index)
            .collect()
    }

    /// A replica of this master.
    pub fn replica_of(&self, master: usize) -> Option<usize> {
        self.claims()
            .into_iter()
            .find(|claim| !claim.is_master && claim.master == Some(master))
            .map(|claim| claim.index)
    }

    /// Whether all nodes live and agree, and all replicas have their link.
    pub fn is_settled(&self) -> bool {
        self.unsettled().is_none()
    }

    /// What keeps the cluster from being settled.
    pub fn unsettled(&self) -> Option<String> {
        let mut views = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(mut view) = self.view(index).filter(|_| node.is_up()) else {
                return Some(format!("node {index} does not answer"));
            };
            view.sort_by_key(|claim| claim.index);
            let replication = node.ask_text(&["INFO", "replication"]).unwrap_or_default();
            let linked = replication.contains("role:master")
                || replication.contains("master_link_status:up");
            let ok = node
                .ask_text(&["CLUSTER", "INFO"])
                .is_some_and(|text| text.contains("cluster_state:ok"));
            let failed = view.iter().find(|claim| claim.failed);
            if !linked || !ok || failed.is_some() {
                return Some(format!(
                    "node {index}: linked {linked}, ok {ok}, failed {failed:?}"
                ));
            }
            views.push(
                view.into_iter()
                    .map(|claim| (claim.index, claim.is_master, claim.master, claim.slots))
                    .collect::<Vec<_>>(),
            );
        }
        let other = views.iter().position(|view| *view != views[0])?;
        let differ = views[0].iter().zip(&views[other]).find(|(a, b)| a != b);
        Some(format!("nodes 0 and {other} do not agree: {differ:?}"))
    }

    #[track_caller]
    pub fn wait_until_settled(&self) {
        wait_for("the cluster to settle", LIMIT, || {
            self.is_settled().then_some(())
        });
    }

    /// A planned failover: this replica takes over. Returns whether it did within five seconds.
    pub fn failover(&self, replica: usize, how: &[&str]) -> bool {
        let args = [&["CLUSTER", "FAILOVER"], how].concat();
        self.elections.wait(replica as u16);
        for _ in 0..3 {
            if self.nodes[replica].ask(&args).is_none() {
                return false;
            }
            let deadline = std::time::Instant::now() + Duration::from_secs(5);
            while std::time::Instant::now() < deadline {
                let own = self
                    .view(replica)
                    .and_then(|view| view.into_iter().find(|claim| claim.index == replica));
                if own.is_some_and(|claim| claim.is_master && !claim.slots.is_empty()) {
                    self.elections.won(replica as u16);
                    return true;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        false
    }

    /// Begins to move a slot: from here on ASK for the keys that are not at `from`.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) -> Option<()> {
        let slot = slot.to_string();
        let imports = ["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.ids[from]];
        done(self.nodes[to].ask(&imports))?;
        let migrates = ["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.ids[to]];
        done(self.nodes[from].ask(&migrates))
    }

    /// Moves up to `count` keys; returns how many there were.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize, count: usize) -> Option<usize> {
        let (slot, count) = (slot.to_string(), count.to_string());
        let mut conn = self.nodes[from].conn(Duration::from_secs(5))?;
        let keys = conn
            .try_command(&["CLUSTER", "GETKEYSINSLOT", &slot, &count])
            .ok()?;
        let Reply::Array(keys) = keys else {
            return None;
        };
        if keys.is_empty() {
            return Some(0);
        }
        let target = &self.nodes[to];
        let port = target.peer_port().to_string();
        let mut args: Vec<Vec<u8>> = ["MIGRATE", &target.ip, &port, "", "0", "5000"]
            .iter()
            .map(|arg| arg.as_bytes().to_vec())
            .collect();
        if let Some(password) = &target.password {
            args.extend([b"AUTH".to_vec(), password.clone().into_bytes()]);
        }
        args.push(b"KEYS".to_vec());
        for key in &keys {
            if let Reply::Bulk(key) = key {
                args.push(key.clone());
            }
        }
        let reply = conn.try_command(&args).ok()?;
        (reply == "OK" || reply == "NOKEY").then_some(keys.len())
    }

    /// The slot is `to`'s from now on; the target hears it first, so that nobody is without an owner.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) -> Option<()> {
        let slot = slot.to_string();
        let args = ["CLUSTER", "SETSLOT", &slot, "NODE", &self.ids[to]];
        done(self.nodes[to].ask(&args))?;
        done(self.nodes[from].ask(&args))?;
        for index in self.masters() {
            if index != to && index != from {
                self.nodes[index].ask(&args);
            }
        }
        Some(())
    }

    /// Moves a slot with its keys; returns how many it had. What fails half-way is to be mended by
    /// [`Ground::mend`].
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) -> Option<usize> {
        self.begin_move(slot, from, to)?;
        let mut count = 0;
        loop {
            match self.move_keys(slot, from, to, 50)? {
                0 => break,
                moved => count += moved,
            }
        }
        self.end_move(slot, from, to)?;
        Some(count)
    }

    /// Where nodes do not agree who owns a slot, the claimant with the newest claim is named to all. (Moves and
    /// takeovers may leave two claims of one epoch, which the nodes themselves do not settle.)
    pub fn agree(&self, slots: &[u16]) {
        let masters = self.masters();
        let views: Vec<Vec<Claim>> = masters.iter().filter_map(|node| self.view(*node)).collect();
        for slot in slots {
            let owner = |view: &Vec<Claim>| {
                let owns = |claim: &&Claim| {
                    let within = |range: &(u16, u16)| (range.0..=range.1).contains(slot);
                    claim.slots.iter().any(within)
                };
                view.iter().find(owns).map(|claim| claim.index)
            };
            let owners: Vec<Option<usize>> = views.iter().map(owner).collect();
            if owners.iter().all(|owner| *owner == owners[0]) {
                continue;
            }
            if let Some(owner) = self.owner(*slot) {
                let args = [
                    "CLUSTER",
                    "SETSLOT",
                    &slot.to_string(),
                    "NODE",
                    &self.ids[owner],
                ];
                self.nodes[owner].ask(&["CLUSTER", "BUMPEPOCH"]);
                masters.iter().for_each(|node| {
                    self.nodes[*node].ask(&args);
                });
            }
        }
    }

    /// Ends whatever moves are half done: the keys go to whoever owns the slot. (As a human would.)
    pub fn mend(&self) {
        for index in self.masters() {
            let Some(nodes) = self.nodes[index].ask_text(&["CLUSTER", "NODES"]) else {
                continue;
            };
            let Some(own) = nodes.lines().find(|line| line.contains("myself")) else {
                continue;
            };
            for open in own.split(' ').filter(|word| word.starts_with('[')) {
                let word = open.trim_matches(['[', ']']);
                if let Some((slot, id)) = word.split_once("->-") {
                    let slot = slot.parse().unwrap_or(0);
                    if let Some(to) = self.ids.iter().position(|own| own == id)
                        && self.masters().contains(&to)
                    {
                        // The other side may have been replaced meanwhile.
                        self.begin_move(slot, index, to);
                        while self
                            .move_keys(slot, index, to, 100)
                            .is_some_and(|count| count > 0)
                        {}
                        self.end_move(slot, index, to);
                    } else {
                        let args = ["CLUSTER", "SETSLOT", &slot.to_string(), "STABLE"];
                        self.nodes[index].ask(&args);
                    }
                } else if let Some((slot, _)) = word.split_once("-<-") {
                    let owner = slot.parse().ok().and_then(|slot| self.owner(slot));
                    if let Some(owner) = owner
                        && owner != index
                    {
                        // What was imported before goes back to the owner.
                        let slot: u16 = slot.parse().unwrap_or(0);
                        while self
                            .move_keys(slot, index, owner, 100)
                            .is_some_and(|count| count > 0)
                        {}
                    }
                    self.nodes[index].ask(&["CLUSTER", "SETSLOT", slot, "STABLE"]);
                }
            }
        }
    }

    /// Closes the connections that are not ours and not of nodes: the proxy's. Returns how many.
    pub fn kill_proxy_connections(&self, index: usize) -> usize {
        let Some(list) = self.nodes[index].ask_text(&["CLIENT", "LIST", "TYPE", "NORMAL"]) else {
            return 0;
        };
        let field = |line: &str, name: &str| {
            line.split(' ')
                .find_map(|word| word.strip_prefix(name))
                .unwrap_or_default()
                .to_string()
        };
        list.lines()
            .filter(|line| field(line, "name=").is_empty())
            .filter(|line| {
                let id = field(line, "id=");
                self.nodes[index]
                    .ask(&["CLIENT", "KILL", "ID", &id])
                    .is_some_and(|reply| reply == Reply::Int(1))
            })
            .count()
    }
}

fn done(reply: Option<Reply>) -> Option<()> {
    reply.filter(|reply| *reply == "OK").map(drop)
}
