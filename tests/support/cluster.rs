//! A real cluster on loopback: formed by hand, as that is quicker than `redis-cli --cluster create`, and put
//! through what happens to clusters.

use super::elections::Elections;
use super::{Conn, Reply, Server, wait_for};
use std::time::Duration;

const SLOTS: u16 = 16384;
/// Long, as it ends at once when all is well.
const LIMIT: Duration = Duration::from_secs(60);

/// Masters first, then replicas, in the order of `ports()`. What a node is may change (`failover`); ask with
/// `master_of` and `replicas_of`, which believe nobody but the nodes themselves.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
    elections: Elections,
}

/// Moves slots from one master to another; other masters hear of it by gossip.
#[derive(Debug)]
pub struct Mover {
    ids: [String; 2],
    conns: [Conn; 2],
    to: u16,
}

impl Mover {
    /// Moves a slot with its keys.
    #[track_caller]
    pub fn migrate(&mut self, slot: u16) {
        let slot = slot.to_string();
        let [from, to] = &mut self.conns;
        ok(
            to,
            &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.ids[0]],
        );
        ok(
            from,
            &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.ids[1]],
        );
        loop {
            let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.items().is_empty() {
                break;
            }
            let port = self.to.to_string();
            let mut args = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            let keys: Vec<String> = keys.items().iter().map(Reply::text).collect();
            args.extend(keys.iter().map(String::as_str));
            let reply = from.command(&args);
            assert!(reply == "OK" || reply == "NOKEY", "MIGRATE: {reply:?}");
        }
        ok(to, &["CLUSTER", "SETSLOT", &slot, "NODE", &self.ids[1]]);
        ok(from, &["CLUSTER", "SETSLOT", &slot, "NODE", &self.ids[1]]);
    }
}

/// What a node says of itself.
#[derive(Debug, Clone)]
struct Claim {
    port: u16,
    id: String,
    is_master: bool,
    master_id: String,
    epoch: u64,
    slots: Vec<(u16, u16)>,
}

impl Claim {
    fn owns(&self, slot: u16) -> bool {
        self.is_master
            && self
                .slots
                .iter()
                .any(|&(first, last)| (first..=last).contains(&slot))
    }
}

impl Cluster {
    /// So many masters with the slots shared out evenly, so many replicas for each; ready when it returns.
    pub fn start(masters: usize, replicas_per_master: usize) -> Cluster {
        Cluster::start_with(masters, replicas_per_master, &[])
    }

    /// As `start`, with more arguments for each redis-server; they win over our own.
    pub fn start_with(masters: usize, replicas_per_master: usize, args: &[&str]) -> Cluster {
        // A replica that has its data is always fit to be promoted (validity factor 0), and stays with its
        // master (no migration), so that a test knows what it has.
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
        let tls = super::wanted_tls_args();
        all.extend(tls.iter().map(String::as_str));
        all.extend_from_slice(args);
        let cluster = Cluster {
            servers: Server::start_many(masters * (1 + replicas_per_master), &all),
            elections: Elections::default(),
        };
        let members: Vec<&dyn Member> = cluster.servers.iter().map(|one| one as _).collect();
        form(&members, masters);
        cluster.wait_until_ready();
        cluster
    }

    /// Waits until every node that lives says that all is well: cluster_state:ok, every replica's link up, and
    /// one view of who owns what, with the replicas named.
    pub fn wait_until_ready(&self) {
        wait_for("the cluster to be ready", LIMIT, || {
            self.is_ready().then_some(())
        });
    }

    fn is_ready(&self) -> bool {
        let Some(claims) = self.claims() else {
            return false;
        };
        let owned: u32 = claims
            .iter()
            .flat_map(|claim| &claim.slots)
            .map(|&(first, last)| u32::from(last - first) + 1)
            .sum();
        let views: Option<Vec<_>> = self.alive().map(view).collect();
        let Some(views) = views else { return false };
        owned == u32::from(SLOTS)
            && views.iter().all(|view| *view == views[0])
            && self.alive().all(is_settled)
    }

    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(Server::port).collect()
    }

    /// `host:port` of all, for `-startup-nodes`.
    pub fn addrs(&self) -> Vec<String> {
        let ports = self.servers.iter().map(Server::cluster_port);
        ports.map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// Ports of those that are masters with slots now.
    #[track_caller]
    pub fn masters(&self) -> Vec<u16> {
        let claims = self.claims_now();
        claims
            .iter()
            .filter(|claim| claim.is_master && !claim.slots.is_empty())
            .map(|claim| claim.port)
            .collect()
    }

    /// The port of the living node that owns this slot.
    #[track_caller]
    pub fn master_of(&self, slot: u16) -> u16 {
        wait_for(&format!("an owner of slot {slot}"), LIMIT, || {
            self.find_master_of(slot)
        })
    }

    /// As `master_of`, `None` while nobody owns it.
    pub fn find_master_of(&self, slot: u16) -> Option<u16> {
        let claims: Vec<Claim> = self.alive().filter_map(claim).collect();
        claims
            .iter()
            .filter(|claim| claim.owns(slot))
            .max_by_key(|claim| claim.epoch)
            .map(|claim| claim.port)
    }

    /// Ports of the living replicas of this master.
    #[track_caller]
    pub fn replicas_of(&self, master: u16) -> Vec<u16> {
        let claims = self.claims_now();
        let id = &claims
            .iter()
            .find(|claim| claim.port == master)
            .expect("a living node")
            .id;
        claims
            .iter()
            .filter(|claim| claim.master_id == *id)
            .map(|claim| claim.port)
            .collect()
    }

    #[track_caller]
    pub fn server(&self, port: u16) -> &Server {
        self.servers
            .iter()
            .find(|server| server.port() == port)
            .unwrap_or_else(|| panic!("no node has port {port}"))
    }

    /// A connection straight to a node.
    #[track_caller]
    pub fn raw(&self, port: u16) -> Conn {
        self.server(port).conn()
    }

    pub fn kill(&self, port: u16) {
        self.server(port).kill();
    }

    pub fn freeze(&self, port: u16) {
        self.server(port).freeze();
    }

    pub fn thaw(&self, port: u16) {
        self.server(port).thaw();
    }

    pub fn restart(&self, port: u16) {
        self.server(port).restart();
    }

    /// A planned failover: this replica takes over; returns when all living nodes agree.
    #[track_caller]
    pub fn failover(&self, replica: u16) {
        self.elections.wait(replica);
        let mut asks = 0;
        wait_for("the replica to be promoted", LIMIT, || {
            if claim(self.server(replica))?.is_master {
                return Some(());
            }
            // A failover that gave up says so only in the log: so it is asked for again.
            if asks % 100 == 0 {
                self.raw(replica).command(&["CLUSTER", "FAILOVER"]);
            }
            asks += 1;
            None
        });
        self.elections.won(replica);
        self.wait_until_ready();
    }

    /// Moves a slot with its keys from one master to another; returns how many keys it had.
    #[track_caller]
    pub fn migrate_slot(&self, slot: u16, from: u16, to: u16) -> usize {
        self.begin_migration(slot, from, to);
        let mut count = 0;
        loop {
            let moved = self.move_keys(slot, from, to, 100);
            if moved == 0 {
                break;
            }
            count += moved;
        }
        self.end_migration(slot, from, to);
        count
    }

    /// IMPORTING and MIGRATING: from here on ASK for the keys that are not at `from`.
    #[track_caller]
    pub fn begin_migration(&self, slot: u16, from: u16, to: u16) {
        let slot = slot.to_string();
        ok(
            &mut self.raw(to),
            &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id_of(from)],
        );
        ok(
            &mut self.raw(from),
            &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id_of(to)],
        );
    }

    /// Moves up to `count` keys of a slot that is being migrated; returns how many.
    #[track_caller]
    pub fn move_keys(&self, slot: u16, from: u16, to: u16, count: usize) -> usize {
        let mut conn = self.raw(from);
        let Reply::Array(keys) = conn.command(&[
            "CLUSTER",
            "GETKEYSINSLOT",
            &slot.to_string(),
            &count.to_string(),
        ]) else {
            panic!("GETKEYSINSLOT gives a list")
        };
        if keys.is_empty() {
            return 0;
        }
        let port = self.server(to).cluster_port().to_string();
        let mut args: Vec<Vec<u8>> = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"]
            .iter()
            .map(|arg| arg.as_bytes().to_vec())
            .collect();
        for key in &keys {
            let Reply::Bulk(key) = key else {
                panic!("a key is a bulk")
            };
            args.push(key.clone());
        }
        let reply = conn.command(&args);
        // NOKEY: they expired or were deleted meanwhile.
        assert!(reply == "OK" || reply == "NOKEY", "MIGRATE: {reply:?}");
        keys.len()
    }

    /// The slot is `to`'s from now on; the target hears it first, so that nobody is without an owner.
    #[track_caller]
    pub fn end_migration(&self, slot: u16, from: u16, to: u16) {
        let id = self.id_of(to);
        let rest = self
            .masters()
            .into_iter()
            .filter(|&port| port != to && port != from);
        for port in [to, from].into_iter().chain(rest) {
            ok(
                &mut self.raw(port),
                &["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id],
            );
        }
    }

    /// As `failover`, and returns as soon as the replica is a master in its own eyes.
    #[track_caller]
    pub fn promote(&self, replica: u16) {
        self.elections.wait(replica);
        let mut asks = 0;
        wait_for("the replica to be promoted", LIMIT, || {
            let own = claim(self.server(replica))?;
            if own.is_master && !own.slots.is_empty() {
                return Some(());
            }
            if asks % 100 == 0 {
                self.raw(replica).command(&["CLUSTER", "FAILOVER"]);
            }
            asks += 1;
            None
        });
        self.elections.won(replica);
        // The old master has to follow before it can be asked back.
        wait_for("the old master to follow", LIMIT, || {
            let settled = self.alive().all(is_settled);
            (settled && !self.replicas_of(replica).is_empty()).then_some(())
        });
    }

    /// Moves many slots between two masters, over connections that are kept.
    #[track_caller]
    pub fn mover(&self, from: u16, to: u16) -> Mover {
        Mover {
            ids: [self.id_of(from), self.id_of(to)],
            conns: [self.raw(from), self.raw(to)],
            to: self.server(to).cluster_port(),
        }
    }

    #[track_caller]
    fn id_of(&self, port: u16) -> String {
        claim(self.server(port)).expect("a living node").id
    }

    fn alive(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.is_alive())
    }

    fn claims(&self) -> Option<Vec<Claim>> {
        self.alive().map(claim).collect()
    }

    #[track_caller]
    fn claims_now(&self) -> Vec<Claim> {
        wait_for("all living nodes to answer", LIMIT, || self.claims())
    }
}

/// A new node, of which a cluster is made.
pub trait Member {
    /// What it replies, if it does.
    fn ask(&self, args: &[&str]) -> Option<Reply>;
    /// Its IP address and its port.
    fn place(&self) -> (String, u16);
}

impl Member for Server {
    fn ask(&self, args: &[&str]) -> Option<Reply> {
        ask(self, args)
    }

    fn place(&self) -> (String, u16) {
        ("127.0.0.1".to_string(), self.cluster_port())
    }
}

/// Makes a cluster of new nodes: the first `masters` share the slots evenly, the others follow them in turn.
/// Returns their ids. The cluster may not be settled yet.
#[track_caller]
pub fn form(members: &[&dyn Member], masters: usize) -> Vec<String> {
    let ok = |member: &dyn Member, args: &[&str]| {
        let reply = member.ask(args);
        let is_ok = reply.as_ref().is_some_and(|reply| *reply == "OK");
        assert!(is_ok, "{args:?}: {reply:?}");
    };
    let text = |member: &dyn Member, args: &[&str]| member.ask(args)?.bulk_text();
    let share = |index: usize| usize::from(SLOTS) * index / masters;
    let mut ids = Vec::new();
    for (index, member) in members.iter().enumerate() {
        ids.push(wait_for("a node to answer", LIMIT, || {
            text(*member, &["CLUSTER", "MYID"])
        }));
        let epoch = (index + 1).to_string();
        ok(*member, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
        if index < masters {
            let (first, last) = (share(index).to_string(), share(index + 1) - 1);
            let args = ["CLUSTER", "ADDSLOTSRANGE", &first, &last.to_string()];
            ok(*member, &args);
        }
        for other in &members[..index] {
            let (ip, port) = other.place();
            ok(*member, &["CLUSTER", "MEET", &ip, &port.to_string()]);
        }
    }
    let mut asks = 0;
    wait_for("every node to know every other", LIMIT, || {
        asks += 1;
        let mut know = true;
        for member in members {
            let nodes = text(*member, &["CLUSTER", "NODES"]).unwrap_or_default();
            let (count, busy) = (nodes.lines().count(), nodes.contains("handshake"));
            know &= count == members.len() && !busy;
            // A handshake is given up after a second in which the other has no processor.
            if asks % 100 == 0 && count < members.len() && !busy {
                let own = member.place();
                let others = members.iter().map(|other| other.place());
                for (ip, port) in others.filter(|other| *other != own) {
                    member.ask(&["CLUSTER", "MEET", &ip, &port.to_string()]);
                }
            }
        }
        know.then_some(())
    });
    for (index, replica) in members[masters..].iter().enumerate() {
        ok(*replica, &["CLUSTER", "REPLICATE", &ids[index % masters]]);
    }
    ids
}

/// The hash slot of a key. Not the proxy's own, so that a wrong one is seen.
pub fn slot_of(key: impl AsRef<[u8]>) -> u16 {
    let key = key.as_ref();
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let length = key[open + 1..].iter().position(|&byte| byte == b'}')?;
        (length > 0).then(|| &key[open + 1..open + 1 + length])
    });
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % SLOTS
}

/// A key of this slot, made from `name`.
pub fn key_in_slot(slot: u16, name: &str) -> String {
    (0..)
        .map(|number| format!("{{{number}}}{name}"))
        .find(|key| slot_of(key) == slot)
        .expect("numbers do not end")
}

#[track_caller]
fn ok(conn: &mut Conn, args: &[&str]) {
    let reply = conn.command(args);
    assert!(reply == "OK", "{args:?}: {reply:?}");
}

fn ask(server: &Server, args: &[&str]) -> Option<Reply> {
    server.try_conn().ok()?.try_command(args).ok()
}

/// The line of CLUSTER NODES that is the node's own.
fn claim(server: &Server) -> Option<Claim> {
    let nodes = ask(server, &["CLUSTER", "NODES"])?.bulk_text()?;
    let own = nodes.lines().find(|line| line.contains("myself"))?;
    let words: Vec<&str> = own.split(' ').collect();
    let slots = words[8..]
        .iter()
        .filter(|range| !range.starts_with('['))
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            (
                first.parse().expect("a slot"),
                last.parse().expect("a slot"),
            )
        });
    Some(Claim {
        port: server.port(),
        id: words[0].to_string(),
        is_master: words[2].contains("master"),
        master_id: words[3].to_string(),
        epoch: words[6].parse().expect("an epoch"),
        slots: slots.collect(),
    })
}

/// First slot, last slot, the master's port, the replicas' ports.
type Range = (i64, i64, i64, Vec<i64>);

/// Who serves what, in one node's eyes, in order.
fn view(server: &Server) -> Option<Vec<Range>> {
    let Reply::Array(ranges) = ask(server, &["CLUSTER", "SLOTS"])? else {
        return None;
    };
    let port_of = |node: &Reply| node.items()[1].int();
    let mut view: Vec<_> = ranges
        .iter()
        .map(|range| {
            let range = range.items();
            let mut replicas: Vec<i64> = range[3..].iter().map(port_of).collect();
            replicas.sort_unstable();
            (range[0].int(), range[1].int(), port_of(&range[2]), replicas)
        })
        .collect();
    view.sort();
    Some(view)
}

/// cluster_state:ok, and if it is a replica, one whose master speaks to it.
fn is_settled(server: &Server) -> bool {
    let text = |args: &[&str]| {
        ask(server, args)
            .and_then(|reply| reply.bulk_text())
            .unwrap_or_default()
    };
    let replication = text(&["INFO", "replication"]);
    let linked =
        replication.contains("role:master") || replication.contains("master_link_status:up");
    linked && text(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
}
