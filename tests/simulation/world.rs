//! `World`: the shell round the proxy, without sockets, threads or sleep. It does what `worker` does, in the
//! same order, with pipes for sockets and a number for the time; and it makes trouble.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use redis_cluster_proxy::clock::Time;
use redis_cluster_proxy::cluster::topology::Topology;
use redis_cluster_proxy::command::Table;
use redis_cluster_proxy::config::{Config, ReadPreference, Secret};
use redis_cluster_proxy::proxy::actions::Action;
use redis_cluster_proxy::proxy::backend::BackendId;
use redis_cluster_proxy::proxy::client::ClientId;
use redis_cluster_proxy::proxy::stats::Process;
use redis_cluster_proxy::proxy::{Lost, Peer, Proxy};

use crate::client::{self, Client, End, Manners};
use crate::cluster::{Cluster, Session};
use crate::ledger::Ledger;
use crate::random::{Random, mix};
use crate::resp;
use crate::subscriber;
use crate::wire::Pipe;

/// Turns of one run in which trouble is made.
const TURNS: usize = 4000;
const MILLIS: u64 = 1000;

macro_rules! events {
    ($($name:ident,)*) => {
        /// What happened, beside what the proxy counts itself.
        #[derive(Debug, Default)]
        pub struct Events { $(#[allow(missing_docs)] pub $name: u64,)* }

        impl Events {
            /// Names and counts.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

events! {
    world_turns, connects_refused, connects_in_vain, crashes, restarts, failovers, planned_failovers, hangs,
    links_cut, garbage, surplus, pushes, full_nodes, cluster_downs, masterless, liars, topologies,
    stale_topologies, clients_vanished, requests_of_vanished, clients_half_closed, clients_told,
    clients_not_reading, short_writes, late_executions, published, evictions,
}

/// Which trouble is made in one run: once in so many turns, or never (0).
#[derive(Debug, Clone, Default)]
struct Troubles {
    migrate: usize,
    planned_failover: usize,
    crash: usize,
    hang: usize,
    cut: usize,
    garbage: usize,
    full: usize,
    down: usize,
    masterless: usize,
    liar: usize,
    vanish: usize,
    /// Whether nodes may be asked for the topology that have not heard the news.
    stale: bool,
}

/// How far a connection to a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting { until: u64, accepted: bool },
    Open,
}

/// A connection from the proxy to a node.
#[derive(Debug)]
struct Link {
    /// Its name in the proxy, which may have closed it: the node then still reads what was sent.
    backend: Option<BackendId>,
    node: usize,
    phase: Phase,
    requests: Pipe,
    replies: Pipe,
    /// What the node has read and not executed.
    pending: Vec<u8>,
    /// What the node has answered and not written.
    unwritten: Vec<u8>,
    session: Session,
    /// The proxy's next read or write fails.
    reset: bool,
    queued: bool,
    blocked: bool,
}

impl Link {
    /// Whether nothing is under way.
    fn is_still(&self) -> bool {
        let pipes = self.requests.is_empty() && self.replies.is_empty();
        let ends = self.pending.is_empty() && self.unwritten.is_empty();
        self.backend.is_none() || (pipes && ends && !self.queued && !self.blocked)
    }
}

/// All there is in one run.
pub struct World {
    seed: u64,
    random: Random,
    now: u64,
    proxy: Proxy,
    process: Arc<Process>,
    cluster: Cluster,
    ledger: Ledger,
    links: Vec<Link>,
    clients: Vec<Client>,
    clients_max: usize,
    clients_made: u64,
    manners: Manners,
    troubles: Troubles,
    topologies: Vec<(u64, Arc<Topology>)>,
    /// Nodes to be started, and masters to be replaced, at a time.
    restarts: Vec<(u64, usize)>,
    promotions: Vec<(u64, usize)>,
    /// Messages that a node has not taken yet, because it hangs: to a shard's channel or to one of all.
    mail: Vec<Vec<(bool, Vec<u8>, u64)>>,
    /// The number of the last message.
    number: u64,
    asked_at: u64,
    refresh_wanted: bool,
    capacity: usize,
    /// Whether all bytes arrive soon.
    swift: bool,
    pub events: Events,
    pub counts: client::Counts,
    trace: bool,
    /// A digest of all bytes in their order: equal for equal seeds.
    pub digest: u64,
}

fn config(random: &mut Random, calm: bool) -> Config {
    let mut config = Config::default();
    let millis = Duration::from_millis;
    config.connect_timeout = millis(random.between(30, 250));
    config.request_timeout = millis(random.between(30, 600));
    config.park_timeout = millis(random.between(100, 3000));
    config.backend_connections = random.skewed(3);
    config.read_preference = *random.pick(&[
        ReadPreference::Master,
        ReadPreference::Master,
        ReadPreference::Replica,
        ReadPreference::ReplicaSameIdc,
    ]);
    if random.one_in(3) {
        config.backend_password = Some(Secret::new("secret"));
        config.backend_user = random.one_in(2).then(|| "joe".to_string());
    }
    if calm {
        config.park_timeout = Duration::from_secs(60);
        config.request_timeout = Duration::from_secs(60);
        config.connect_timeout = Duration::from_secs(10);
    }
    let limits = &mut config.limits;
    if random.one_in(2) {
        limits.pipeline_requests = random.skewed(64);
    }
    if random.one_in(3) {
        limits.client_output_bytes = random.skewed(4096);
    }
    if random.one_in(3) {
        limits.backend_output_bytes = random.skewed(4096);
    }
    if random.one_in(4) && !calm {
        limits.held_requests = random.skewed(32);
    }
    config
}

fn troubles(random: &mut Random, calm: bool) -> Troubles {
    let mut once_in = |turns: usize| {
        if random.one_in(2) {
            random.between(turns as u64 / 2, turns as u64 * 2) as usize
        } else {
            0
        }
    };
    let mut troubles = Troubles {
        migrate: once_in(20),
        planned_failover: once_in(150),
        stale: once_in(2) > 0,
        ..Troubles::default()
    };
    if !calm {
        troubles = Troubles {
            crash: once_in(200),
            hang: once_in(400),
            cut: once_in(40),
            garbage: once_in(60),
            full: once_in(60),
            down: once_in(150),
            masterless: once_in(100),
            liar: once_in(100),
            vanish: once_in(40),
            ..troubles
        };
    }
    troubles
}

impl World {
    /// The world of a seed. Every eighth knows planned work only.
    pub fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let calm = seed % 8 == 7;
        let config = Arc::new(config(&mut random, calm));
        let tags = random.between(2, 6) as usize;
        let password = config.backend_password.as_ref();
        let password = password.map(|secret| secret.expose().to_vec());
        let cluster = Cluster::new(tags, password, &mut random);
        let process = Arc::new(Process::new(1));
        let manners = Manners {
            strict: calm,
            replica_reads: config.read_preference != ReadPreference::Master,
            garbage: random.one_in(2),
            outstanding_max: random.skewed(200) + 8,
        };
        let table = Arc::new(Table::compiled());
        World {
            proxy: Proxy::new(config, table, process.clone(), 0, seed),
            process,
            ledger: Ledger::new(tags, random.one_in(6)),
            links: Vec::new(),
            clients: Vec::new(),
            clients_max: random.between(1, 6) as usize,
            clients_made: 0,
            manners,
            troubles: troubles(&mut random, calm),
            topologies: Vec::new(),
            restarts: Vec::new(),
            promotions: Vec::new(),
            mail: vec![Vec::new(); cluster.nodes.len()],
            number: 0,
            asked_at: 0,
            refresh_wanted: false,
            capacity: random.skewed(1 << 17) + 64,
            swift: false,
            events: Events::default(),
            counts: client::Counts::default(),
            trace: std::env::var_os("SIMULATION_TRACE").is_some(),
            digest: 0,
            cluster,
            random,
            now: 1,
            seed,
        }
    }

    /// The whole run.
    pub fn run(&mut self) {
        self.note(|world| format!("{:?} {:?}", world.troubles, world.proxy.config()));
        if self.manners.strict {
            // Before the first topology there is nothing but errors.
            self.ask_topology();
            self.now += 1000 * MILLIS;
            self.deliver_topologies();
        }
        for _ in 0..TURNS {
            self.make_trouble();
            if self.random.one_in(4) {
                self.publish();
            }
            self.turn(true);
        }
        self.heal();
        self.settle("after the trouble");
        self.probe();
        self.leave();
        self.ledger.check();
    }

    /// Counters of the proxy.
    pub fn proxy_counts(&self) -> Vec<(&'static str, u64)> {
        self.process.totals()
    }

    /// Counters of the cluster.
    pub fn cluster_counts(&self) -> Vec<(&'static str, u64)> {
        let counts = &self.cluster.counts;
        vec![
            ("replica_executions", counts.replica_reads),
            ("lies", counts.lies),
            ("migrations", counts.migrations),
        ]
    }

    fn note(&mut self, text: impl FnOnce(&World) -> String) {
        if self.trace {
            eprintln!("{:>9} {}", self.now, text(self));
        }
    }

    fn digest(&mut self, bytes: &[u8]) {
        let sum = bytes.iter().fold(bytes.len() as u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
        self.digest = mix(self.digest ^ sum ^ self.now);
    }

    fn time(&self) -> Time {
        Time::from_micros(self.now)
    }

    /// One turn of the loop, and what its surroundings do meanwhile.
    fn turn(&mut self, talking: bool) {
        self.events.world_turns += 1;
        self.now += match self.random.below(64) {
            _ if self.swift => self.random.between(1, 100),
            0..48 => self.random.between(1, 100),
            48..63 => self.random.between(100, 2 * MILLIS),
            _ => self.random.between(2 * MILLIS, 20 * MILLIS),
        };
        self.pass_time();
        self.clients_act(talking);
        self.nodes_act();
        self.deliver_topologies();
        self.serve_links();
        self.serve_clients();
        self.proxy.tick(self.time());
        self.act();
        if self.random.one_in(4) {
            self.proxy.check();
        }
    }

    // ---- the cluster's life -------------------------------------------------------------------------

    fn make_trouble(&mut self) {
        let troubles = self.troubles.clone();
        let now = self.now;
        let node = self.random.below(self.cluster.nodes.len());
        // What comes back to a node at once lets it refuse a request and take the next one: planned work has
        // no such haste.
        let rest = if self.manners.strict {
            1000 * MILLIS
        } else {
            0
        };
        let rested = now.saturating_sub(rest);
        if self.random.one_in(troubles.migrate) {
            self.cluster.begin_migration(rested, &mut self.random);
        }
        if self.random.one_in(troubles.planned_failover) {
            self.plan_failover(self.cluster.nodes[node].shard, rested);
        }
        if self.random.one_in(troubles.crash) && self.cluster.nodes[node].alive {
            self.crash(node);
        }
        if self.random.one_in(troubles.hang) {
            let timeout = self.proxy.config().request_timeout.as_micros() as u64;
            let longest = *self.random.pick(&[10 * MILLIS, 300 * MILLIS, timeout * 2]);
            let until = now + self.random.between(1, longest);
            let hung = &mut self.cluster.nodes[node].hung_until;
            *hung = until.max(*hung);
            self.events.hangs += 1;
            self.note(|_| format!("node {node} hangs"));
        }
        if self.random.one_in(troubles.cut) && !self.links.is_empty() {
            let link = self.random.below(self.links.len());
            self.cut(link);
            self.events.links_cut += 1;
        }
        if self.random.one_in(troubles.garbage) && !self.links.is_empty() {
            let link = self.random.below(self.links.len());
            self.talk_nonsense(link);
        }
        if self.random.one_in(troubles.down) {
            self.cluster.down_until = now + self.random.between(1, 300 * MILLIS);
            self.events.cluster_downs += 1;
        }
        if self.random.one_in(troubles.masterless) {
            self.cluster.nodes[node].masterless_until = now + self.random.between(1, 100 * MILLIS);
            self.events.masterless += 1;
        }
        if self.random.one_in(troubles.liar) {
            self.cluster.nodes[node].lying_until = now + self.random.between(1, 30 * MILLIS);
            self.events.liars += 1;
        }
        if self.random.one_in(troubles.vanish) && !self.clients.is_empty() {
            let client = self.random.below(self.clients.len());
            self.vanish(client);
        }
        if self.random.one_in(100) && !self.clients.is_empty() {
            let client = self.random.below(self.clients.len());
            self.clients[client].half_close(&mut self.random);
            self.events.clients_half_closed += 1;
        }
    }

    /// A replica takes over, once its master has paused long enough for it to catch up.
    fn plan_failover(&mut self, shard: usize, rested: u64) {
        let under_way = |(_, node): &(u64, usize)| self.cluster.nodes[*node].shard == shard;
        let busy = self.promotions.iter().any(under_way);
        let replicas = self.cluster.replicas(shard);
        let Some(replica) = replicas.first().filter(|_| !busy) else {
            return;
        };
        let own = &self.cluster.shards[shard];
        if own.promoted_at > rested {
            return;
        }
        let until = self.now + self.random.between(1, 20 * MILLIS);
        let hung = &mut self.cluster.nodes[own.master].hung_until;
        *hung = until.max(*hung);
        self.promotions.push((until, *replica));
        self.events.planned_failovers += 1;
    }

    fn crash(&mut self, node: usize) {
        self.note(|_| format!("node {node} crashes"));
        self.events.crashes += 1;
        self.cluster.nodes[node].alive = false;
        for index in 0..self.links.len() {
            if self.links[index].node == node {
                self.cut(index);
                self.links[index].requests.cut(0);
                self.links[index].pending.clear();
            }
        }
        let shard = self.cluster.nodes[node].shard;
        if self.cluster.is_master(node)
            && let Some(replica) = self.cluster.replicas(shard).first()
        {
            let at = self.now + self.random.between(10 * MILLIS, 400 * MILLIS);
            self.promotions.push((at, *replica));
            self.events.failovers += 1;
        }
        let at = self.now + self.random.between(5 * MILLIS, 600 * MILLIS);
        self.restarts.push((at, node));
    }

    /// A connection is lost: of what is under way in either direction, some arrives.
    fn cut(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.phase != Phase::Open || link.backend.is_none() {
            return;
        }
        let random = &mut self.random;
        link.requests.cut(random.below(link.requests.len() + 1));
        let unwritten = std::mem::take(&mut link.unwritten);
        link.replies.push(&unwritten);
        link.replies.cut(random.below(link.replies.len() + 1));
        link.replies.ended = true;
        link.reset = random.one_in(2);
        link.queued = true;
        let (backend, reset) = (link.backend, link.reset);
        self.note(|_| format!("link {backend:?} is cut, reset {reset}"));
    }

    /// A node writes what no server writes, or what it need not.
    fn talk_nonsense(&mut self, index: usize) {
        let link = &mut self.links[index];
        let Some(backend) = link.backend else {
            return;
        };
        if link.phase != Phase::Open || link.replies.ended {
            return;
        }
        let quiet = link.requests.is_empty()
            && link.pending.is_empty()
            && link.replies.is_empty()
            && link.unwritten.is_empty();
        match self.random.below(3) {
            0 if link.session.is_resp3() => {
                self.events.pushes += 1;
                link.unwritten
                    .extend(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n");
            }
            // A reply too many can be told from the next one only while nothing is under way.
            1 if quiet && !self.proxy.wants_flush(Peer::Backend(backend)) => {
                self.events.surplus += 1;
                link.replies.push(b"+SURPLUS\r\n");
                link.queued = true;
                self.note(|_| format!("surplus on {backend:?}"));
                while self
                    .links
                    .iter()
                    .any(|link| link.backend == Some(backend) && link.queued)
                {
                    self.serve_link(index);
                }
            }
            _ => {
                self.events.garbage += 1;
                let nonsense: [&[u8]; 5] = [
                    b"HTTP/1.1 400\r\n",
                    b"\r\n",
                    b"$-7\r\n",
                    b"*x\r\n",
                    b"\0\0\0\0\r\n",
                ];
                link.unwritten.extend(*self.random.pick(&nonsense));
                self.note(|_| format!("garbage on {backend:?}"));
            }
        }
    }

    fn pass_time(&mut self) {
        let now = self.now;
        while let Some(at) = self.promotions.iter().position(|(due, _)| *due <= now) {
            let (_, node) = self.promotions.swap_remove(at);
            if self.cluster.nodes[node].alive {
                self.cluster.promote(node, now);
                self.note(|_| format!("node {node} is promoted"));
            }
        }
        while let Some(at) = self.restarts.iter().position(|(due, _)| *due <= now) {
            let (_, node) = self.restarts.swap_remove(at);
            let loading = now + self.random.between(0, 50 * MILLIS);
            self.cluster.start(node, loading);
            self.events.restarts += 1;
            self.note(|_| format!("node {node} is back"));
        }
        for tag in self.cluster.migrating() {
            if let Some(shard) = self.cluster.migrate(tag, &mut self.random, now) {
                self.evict(shard, tag);
            }
        }
        if self.random.one_in(if self.troubles.stale { 16 } else { 2 }) {
            let node = self.random.below(self.cluster.nodes.len());
            if self.cluster.nodes[node].alive {
                self.cluster.gossip(node);
            }
        }
    }

    /// Connections subscribed to what a shard serves no more are told so.
    fn evict(&mut self, shard: usize, tag: usize) {
        for link in &mut self.links {
            if self.cluster.nodes[link.node].shard == shard {
                let told = link.session.evict(tag);
                self.events.evictions += u64::from(!told.is_empty());
                link.unwritten.extend(told);
            }
        }
    }

    /// Somebody publishes to a channel of all, or of a shard; or a key of a shard changes. Returns what.
    fn publish(&mut self) -> (bool, Vec<u8>, u64) {
        let tags = self.ledger.slots.len();
        let (channel, sharded, shard) = match self.random.below(4) {
            0 | 1 => (
                format!("c{}", self.random.below(subscriber::CHANNELS)),
                false,
                None,
            ),
            2 => {
                let shard = self.random.below(self.cluster.shards.len());
                (format!("__keyevent@0__:{shard}"), false, Some(shard))
            }
            _ => {
                let tag = self.random.below(tags);
                (
                    format!("{{t{tag}}}s"),
                    true,
                    Some(self.cluster.owner_of(tag)),
                )
            }
        };
        self.events.published += 1;
        self.number += 1;
        let mail = (sharded, channel.into_bytes(), self.number);
        for (node, own) in self.cluster.nodes.iter().enumerate() {
            if own.alive && shard.is_none_or(|shard| shard == own.shard) {
                self.mail[node].push(mail.clone());
            }
        }
        self.note(|_| format!("published {} {}", mail.1.escape_ascii(), mail.2));
        mail
    }

    /// Nodes that do not hang hand out what was published.
    fn hand_out(&mut self) {
        for (node, mail) in self.mail.iter_mut().enumerate() {
            let own = &self.cluster.nodes[node];
            if !own.alive {
                mail.clear();
            }
            if self.now < own.hung_until {
                continue;
            }
            for (sharded, channel, number) in mail.drain(..) {
                for link in self.links.iter_mut().filter(|link| link.node == node) {
                    link.unwritten
                        .extend(link.session.pushes(sharded, &channel, number));
                }
            }
        }
    }

    fn nodes_act(&mut self) {
        self.hand_out();
        for index in 0..self.links.len() {
            let node = &self.cluster.nodes[self.links[index].node];
            let awake = node.alive && self.now >= node.hung_until;
            if awake
                && self.links[index].phase == Phase::Open
                && (self.swift || self.random.one_in(2))
            {
                self.node_reads(index);
            }
            self.node_writes(index);
        }
        self.links.retain(|link| {
            let done = link.requests.is_empty() && resp::take_request(&link.pending).is_none();
            link.backend.is_some() || (link.phase == Phase::Open && !done)
        });
    }

    fn node_reads(&mut self, index: usize) {
        let link = &mut self.links[index];
        let available = link.requests.len();
        if available > 0 {
            let count = if self.swift || self.random.one_in(2) {
                available
            } else {
                self.random.skewed(available)
            };
            link.requests.read_to(&mut link.pending, count);
        }
        let most = if self.swift {
            64
        } else {
            self.random.skewed(64)
        };
        let mut at = 0;
        for _ in 0..most {
            let Some((args, len)) = resp::take_request(&link.pending[at..]) else {
                break;
            };
            at += len;
            let late = link.backend.is_none();
            let reply = self.cluster.execute(
                link.node,
                &mut link.session,
                &args,
                &mut self.ledger,
                &mut self.random,
                self.now,
            );
            self.events.late_executions += u64::from(late);
            if self.trace {
                eprintln!(
                    "{:>9} node {} {:?}{}: {} -> {}",
                    self.now,
                    link.node,
                    link.backend,
                    if late { " late" } else { "" },
                    shown(&args.join(&b' ')),
                    shown(&reply)
                );
            }
            link.unwritten.extend(reply);
        }
        link.pending.drain(..at);
    }

    fn node_writes(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.backend.is_none() || link.replies.ended {
            link.unwritten.clear();
            return;
        }
        let room = link.replies.room().min(link.unwritten.len());
        if link.phase == Phase::Open && room > 0 && (self.swift || !self.random.one_in(4)) {
            let count = if self.swift || self.random.one_in(2) {
                room
            } else {
                self.random.skewed(room)
            };
            link.replies.push(&link.unwritten[..count]);
            link.unwritten.drain(..count);
            link.queued = true;
        }
    }

    // ---- topology -----------------------------------------------------------------------------------

    fn deliver_topologies(&mut self) {
        let now = self.now;
        let interval = if self.refresh_wanted { 100 } else { 3000 } * MILLIS;
        if now >= self.asked_at + interval || (self.asked_at == 0 && self.random.one_in(8)) {
            self.ask_topology();
        }
        while let Some(at) = self.topologies.iter().position(|(due, _)| *due <= now) {
            let (_, topology) = self.topologies.remove(at);
            self.events.topologies += 1;
            self.note(|_| "a topology is adopted".to_string());
            let now = self.time();
            self.proxy.adopt(topology, now);
        }
    }

    fn ask_topology(&mut self) {
        let up: Vec<usize> = (0..self.cluster.nodes.len())
            .filter(|node| {
                let node = &self.cluster.nodes[*node];
                node.alive && self.now >= node.hung_until
            })
            .collect();
        if up.is_empty() {
            return;
        }
        let node = *self.random.pick(&up);
        if self.troubles.stale && self.random.one_in(3) {
            self.events.stale_topologies += 1;
        } else {
            self.cluster.gossip(node);
        }
        self.asked_at = self.now;
        self.refresh_wanted = false;
        let topology = self
            .cluster
            .shared_topology(node, &self.ledger, &mut self.random, self.now);
        if topology.shards.is_empty() {
            return;
        }
        let latest = if self.random.one_in(4) { 300 } else { 5 } * MILLIS;
        let due = self.now + self.random.between(100, latest);
        self.topologies.push((due, topology));
    }

    // ---- the shell: sockets to nodes ----------------------------------------------------------------

    fn link_of(&self, id: BackendId) -> Option<usize> {
        self.links.iter().position(|link| link.backend == Some(id))
    }

    fn connect(&mut self, id: BackendId, address: std::net::SocketAddr) {
        let node = self.cluster.node_at(address).expect("an address of ours");
        let alive = self.cluster.nodes[node].alive;
        let fate = if alive { 3 } else { self.random.below(3) };
        if fate == 0 {
            self.events.connects_refused += 1;
            let now = self.time();
            return self.proxy.lose_backend(id, Lost::Closed, now);
        }
        let until = match fate {
            1 => u64::MAX,
            _ if self.swift => self.now + 100,
            _ => self.now + self.random.between(1, 3 * MILLIS),
        };
        self.events.connects_in_vain += u64::from(fate == 1);
        self.note(|_| format!("{id:?} connects to node {node}, fate {fate}"));
        let mut link = Link {
            backend: Some(id),
            node,
            phase: Phase::Connecting {
                until,
                accepted: alive,
            },
            requests: Pipe::new(self.capacity),
            replies: Pipe::new(self.capacity),
            pending: Vec::new(),
            unwritten: Vec::new(),
            session: Session::default(),
            reset: false,
            queued: false,
            blocked: false,
        };
        if self.random.one_in(self.troubles.full) {
            self.events.full_nodes += 1;
            link.replies.push(b"-ERR max number of clients reached\r\n");
            link.replies.ended = true;
            link.requests.cut(0);
            link.queued = true;
        }
        self.links.push(link);
    }

    fn serve_links(&mut self) {
        let mut index = 0;
        while index < self.links.len() {
            if !self.random.one_in(4) {
                self.serve_link(index);
            }
            index += 1;
        }
    }

    /// One event of a connection to a node: it is connected, or may be written or read again.
    fn serve_link(&mut self, index: usize) {
        let now = self.time();
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        let Some(id) = link.backend else {
            return;
        };
        if let Phase::Connecting { until, accepted } = link.phase {
            if self.now < until {
                return;
            }
            if !accepted || !self.cluster.nodes[link.node].alive {
                self.events.connects_refused += 1;
                return self.proxy.closed(Peer::Backend(id), now);
            }
            link.phase = Phase::Open;
            self.proxy.connected(id, now);
            return;
        }
        if link.blocked && (link.requests.room() > 0 || link.reset) {
            link.blocked = false;
            if self.proxy.wants_flush(Peer::Backend(id)) {
                self.flush(Peer::Backend(id));
            }
        }
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        if !link.queued || link.backend != Some(id) {
            return;
        }
        if link.reset && (link.replies.is_empty() || self.random.one_in(2)) {
            link.queued = false;
            return self.proxy.closed(Peer::Backend(id), now);
        }
        let Some(room) = self.proxy.room(Peer::Backend(id)) else {
            link.queued = false;
            return;
        };
        if link.replies.is_empty() {
            link.queued = false;
            if link.replies.ended {
                self.proxy.ended(Peer::Backend(id), now);
            }
            return;
        }
        let space = room.spare();
        let most = space.len().min(link.replies.len());
        let count = if self.swift || self.random.one_in(2) {
            most
        } else {
            self.random.skewed(most)
        };
        let count = link.replies.read(&mut space[..count]);
        let bytes = space[..count].to_vec();
        room.filled(count);
        self.digest(&bytes);
        self.proxy.input(Peer::Backend(id), count, now);
    }

    // ---- the shell: clients -------------------------------------------------------------------------

    fn clients_act(&mut self, talking: bool) {
        if talking && self.clients.len() < self.clients_max && self.random.one_in(8) {
            self.accept(talking);
        }
        let mut index = 0;
        while index < self.clients.len() {
            let closed = self.client_acts(index, talking);
            if closed {
                self.clients.remove(index);
            } else {
                index += 1;
            }
        }
    }

    fn accept(&mut self, talking: bool) -> usize {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 50_000));
        let address = (!self.random.one_in(4)).then_some(address);
        let id = self.proxy.accept(address, self.time());
        self.clients_made += 1;
        let number = self.clients_made;
        let mut client = Client::new(
            id,
            number,
            self.manners.clone(),
            &self.ledger,
            self.capacity,
        );
        if talking && self.random.one_in(3) {
            client = client.subscribes();
        }
        self.clients.push(client);
        self.note(|_| format!("client {number} is {id:?}"));
        self.clients.len() - 1
    }

    /// A client makes requests, writes and reads, perhaps. Returns whether it has been closed.
    fn client_acts(&mut self, index: usize, talking: bool) -> bool {
        let client = &mut self.clients[index];
        let random = &mut self.random;
        if talking && client.unwritten.len() < 4096 && random.one_in(10) {
            let open = client.end == End::Open;
            client.make_requests(&mut self.ledger, random);
            self.events.clients_told += u64::from(open && client.end == End::Told);
        }
        if (self.swift || random.one_in(2)) && client.write(random) {
            client.queued = true;
        }
        if talking && random.one_in(200) {
            client.stalled_until = self.now + random.between(1, 200 * MILLIS);
            self.events.clients_not_reading += 1;
        }
        if self.now < client.stalled_until || random.one_in(2) {
            return false;
        }
        client.read(&mut self.ledger, &mut self.counts, random)
    }

    fn vanish(&mut self, index: usize) {
        let client = self.clients.remove(index);
        let id = client.id;
        self.note(|_| format!("client {id:?} vanishes"));
        self.events.clients_vanished += 1;
        self.events.requests_of_vanished += client.sent.len() as u64;
        client.vanish(&mut self.ledger);
        let now = self.time();
        self.proxy.closed(Peer::Client(id), now);
    }

    fn client_of(&self, id: ClientId) -> Option<usize> {
        self.clients.iter().position(|client| client.id == id)
    }

    fn serve_clients(&mut self) {
        for index in 0..self.clients.len() {
            if !self.random.one_in(4) {
                self.serve_client(index);
            }
        }
    }

    /// One event of a client's socket: it may be written or read again.
    fn serve_client(&mut self, index: usize) {
        let now = self.time();
        let client = &mut self.clients[index];
        let id = client.id;
        if client.blocked && client.from_proxy.room() > 0 {
            client.blocked = false;
            if self.proxy.wants_flush(Peer::Client(id)) {
                self.flush(Peer::Client(id));
            }
        }
        let client = &mut self.clients[index];
        if !client.queued {
            return;
        }
        let Some(room) = self.proxy.room(Peer::Client(id)) else {
            // Only a resume brings it back, or more bytes.
            client.queued = false;
            return;
        };
        if client.to_proxy.is_empty() {
            client.queued = false;
            if client.to_proxy.ended {
                self.proxy.ended(Peer::Client(id), now);
            }
            return;
        }
        let space = room.spare();
        let most = space.len().min(client.to_proxy.len());
        let count = if self.swift || self.random.one_in(2) {
            most
        } else {
            self.random.skewed(most)
        };
        let count = client.to_proxy.read(&mut space[..count]);
        let bytes = space[..count].to_vec();
        room.filled(count);
        self.digest(&bytes);
        self.note(|_| format!("client {id:?} > {}", shown(&bytes)));
        self.proxy.input(Peer::Client(id), count, now);
    }

    // ---- the shell: actions -------------------------------------------------------------------------

    fn act(&mut self) {
        let mut actions = 0;
        while let Some(action) = self.proxy.next_action() {
            actions += 1;
            assert!(actions < 100_000, "the actions of one turn have no end");
            match action {
                Action::Connect(id, address) => self.connect(id, address),
                Action::Flush(peer) => self.flush(peer),
                Action::Resume(id) => {
                    let now = self.time();
                    if self.proxy.resume(id, now)
                        && let Some(client) = self.client_of(id)
                    {
                        self.clients[client].queued = true;
                    }
                }
                Action::Close(peer) => self.close(peer),
                Action::Refresh(_) => self.refresh_wanted = true,
                Action::Letter(..) => unreachable!("there is one worker"),
            }
        }
    }

    fn flush(&mut self, peer: Peer) {
        let now = self.time();
        let (pipe, blocked, reset) = match peer {
            Peer::Client(id) => {
                let Some(index) = self.client_of(id) else {
                    return;
                };
                let client = &mut self.clients[index];
                (&mut client.from_proxy, &mut client.blocked, false)
            }
            Peer::Backend(id) => {
                let Some(index) = self.link_of(id) else {
                    return;
                };
                let link = &mut self.links[index];
                (&mut link.requests, &mut link.blocked, link.reset)
            }
        };
        // A connection that is cut still takes what nobody will read.
        let (random, events, swift) = (&mut self.random, &mut self.events, self.swift);
        let mut written = Vec::new();
        self.proxy.flush(peer, now, |slices| {
            if reset {
                return 0;
            }
            let offered: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let mut count = offered.len().min(pipe.room());
            if !swift && random.one_in(4) {
                count = count.min(random.skewed(offered.len()));
            }
            pipe.push(&offered[..count]);
            written.extend(&offered[..count]);
            if count < offered.len() {
                *blocked = true;
                events.short_writes += 1;
            }
            count
        });
        self.digest(&written);
        self.note(|_| format!("{peer:?} < {}", shown(&written)));
        if reset {
            self.proxy.closed(peer, now);
        }
    }

    fn close(&mut self, peer: Peer) {
        self.note(|_| format!("{peer:?} is closed"));
        match peer {
            Peer::Client(id) => {
                if let Some(client) = self.client_of(id) {
                    self.clients[client].from_proxy.ended = true;
                }
            }
            Peer::Backend(id) => {
                if let Some(index) = self.link_of(id) {
                    self.links[index].backend = None;
                    if self.links[index].phase != Phase::Open {
                        self.links.remove(index);
                    }
                }
            }
        }
    }

    // ---- the end ------------------------------------------------------------------------------------

    /// No more trouble: what is down comes back, what is under way ends.
    fn heal(&mut self) {
        self.note(|_| "the trouble is over".to_string());
        self.troubles = Troubles::default();
        self.cluster.down_until = 0;
        for node in 0..self.cluster.nodes.len() {
            if !self.cluster.nodes[node].alive {
                self.cluster.start(node, 0);
            }
            self.cluster.nodes[node].hung_until = 0;
            self.cluster.nodes[node].lying_until = 0;
            self.cluster.nodes[node].masterless_until = 0;
        }
        self.restarts.clear();
        self.swift = true;
        self.capacity = 1 << 17;
        for client in &mut self.clients {
            client.hurry(self.capacity);
        }
        for link in &mut self.links {
            link.requests.widen(self.capacity);
            link.replies.widen(self.capacity);
        }
    }

    /// Runs until every client has its answers.
    fn settle(&mut self, when: &str) {
        let config = self.proxy.config().clone();
        let start = self.now;
        let longest = (config.park_timeout + config.request_timeout + Duration::from_secs(5))
            .as_micros() as u64;
        loop {
            self.turn(false);
            let waiting = self
                .clients
                .iter()
                .any(|client| !client.sent.is_empty() || client.end != End::Open);
            let still =
                self.links.iter().all(Link::is_still) && self.clients.iter().all(Client::is_still);
            let open = |link: &Link| link.backend.is_none() || link.phase == Phase::Open;
            if !waiting && still && self.links.iter().all(open) {
                break;
            }
            if self.now > start + longest {
                let mut text = String::new();
                for client in &self.clients {
                    let _ = write!(text, "\n{:?} owes {:?}", client.id, client.sent.front());
                }
                panic!("{when}, clients still wait: {text}");
            }
            if still && self.random.one_in(4) {
                self.wait_for_the_proxy();
            }
        }
        for _ in 0..20 {
            self.turn(false);
        }
        self.let_links_rest();
        self.proxy.check_idle();
    }

    /// Runs until nothing is under way to nodes: the proxy asks them things of its own.
    fn let_links_rest(&mut self) {
        let open = |link: &Link| link.backend.is_none() || link.phase == Phase::Open;
        for _ in 0..100_000 {
            if !self.links.iter().all(Link::is_still) {
                self.turn(false);
                continue;
            }
            if self.links.iter().all(open) {
                return;
            }
            self.wait_for_the_proxy();
            self.turn(false);
        }
        panic!("there is always something under way");
    }

    /// Nothing moves: time passes until the proxy, or the shell's own idle beat, wakes it.
    fn wait_for_the_proxy(&mut self) {
        let idle = self.now + 1000 * MILLIS;
        let next = self.proxy.next_deadline().map(|at| at.as_micros() + MILLIS);
        self.now = next.unwrap_or(idle).clamp(self.now, idle);
    }

    /// In a cluster that is well again, every subscriber hears everything.
    fn probe_subscribers(&mut self) {
        let mut published = BTreeMap::new();
        for _ in 0..60 {
            let (sharded, channel, number) = self.publish();
            published.insert(channel, (sharded, number));
            self.turn(false);
        }
        let published: Vec<(bool, Vec<u8>, u64)> = published
            .into_iter()
            .map(|(channel, (sharded, number))| (sharded, channel, number))
            .collect();
        self.settle("while messages come");
        for _ in 0..200 {
            self.turn(false);
        }
        for client in &self.clients {
            let own = client.subscriber.as_ref();
            let missed = own.map_or(Vec::new(), |own| own.missed(&published));
            assert!(missed.is_empty(), "{:?} has missed {missed:?}", client.id);
        }
    }

    /// In a cluster that is well again, everything is served without an error.
    fn probe(&mut self) {
        for node in 0..self.cluster.nodes.len() {
            self.cluster.gossip(node);
        }
        while !self.cluster.migrating().is_empty() {
            self.turn(false);
        }
        self.ask_topology();
        let first = self.accept(false);
        for strict in [false, false, true] {
            self.now += 1500 * MILLIS;
            for _ in 0..20 {
                self.turn(false);
            }
            self.clients[first].set_strict(strict);
            self.clients[first].probe(&mut self.ledger, &mut self.random);
            self.settle(if strict {
                "in the probe"
            } else {
                "before the probe"
            });
        }
        self.probe_subscribers();
    }

    fn leave(&mut self) {
        while !self.clients.is_empty() {
            self.vanish(0);
        }
        self.turn(false);
        self.let_links_rest();
        assert_eq!(self.proxy.clients(), 0);
        self.proxy.check_idle();
        for link in &self.links {
            if let Some(id) = link.backend {
                let now = Time::from_micros(self.now);
                self.proxy.closed(Peer::Backend(id), now);
            }
        }
        self.act();
        assert_eq!(self.proxy.backends(), 0, "seed {}", self.seed);
        self.proxy.check_idle();
        let here = &self.process.clients;
        assert_eq!(here.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}

/// Bytes for a human, not too many.
fn shown(bytes: &[u8]) -> String {
    let most = &bytes[..bytes.len().min(400)];
    most.escape_ascii().to_string().replace("\\r\\n", " ")
}
