//! `World`: the shell round the proxy, without sockets, threads or sleep. It does what `worker` does, in the
//! same order, with pipes for sockets and a number for the time; and it makes trouble.

use std::sync::Arc;
use std::time::Duration;

use redis_cluster_proxy::acl::Store;
use redis_cluster_proxy::clock::{Standstills, Time};
use redis_cluster_proxy::cluster::topology::Topology;
use redis_cluster_proxy::command::Table;
use redis_cluster_proxy::config::{Auth, Config, NearCacheTracking, ReadPreference, Secret};
use redis_cluster_proxy::live_config::LiveConfig;
use redis_cluster_proxy::proxy::Proxy;
use redis_cluster_proxy::proxy::ids::BackendId;
use redis_cluster_proxy::proxy::process::Process;

use crate::client::{self, Client, Manners};
use crate::cluster::{Cluster, Session};
use crate::databases::Databases;
use crate::doors::{Door, Doors};
use crate::ledger::Ledger;
use crate::random::{Random, mix};
use crate::users::{OWN, Users};
use crate::wire::Pipe;

#[path = "world/cache.rs"]
mod cache;
#[path = "world/deaf.rs"]
mod deaf;
#[path = "world/end.rs"]
mod end;
#[path = "world/hot.rs"]
mod hot;
#[path = "world/life.rs"]
mod life;
#[path = "world/lists.rs"]
mod lists;
#[path = "world/reports.rs"]
mod reports;
#[path = "world/shell.rs"]
mod shell;

use cache::Changes;
use deaf::Deaf;
use hot::Hot;
use reports::Reports;

/// Turns of one run in which trouble is made.
const TURNS: usize = 4000;
const MILLIS: u64 = 1000;
/// Turns after which clients that track look at what they keep.
const COMPARED: usize = 500;

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
    links_cut, garbage, surplus, pushes, nodes_shut, connects_closed, connects_silent, connects_told, cluster_downs, masterless, liars, topologies,
    stale_topologies, clients_vanished, requests_of_vanished, clients_half_closed, clients_told,
    clients_not_reading, clients_writing_first, short_writes, late_executions, published, evictions, standstills,
    long_heads, written_past, deaf_bursts, flushed_past, keys_ended, forgotten, clients_in_namespaces,
    told_by_listeners, listeners_lost, changed_at_once, deleted_past, late_reports, subscribers_closed, trackers_closed,
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
    /// A connection is not served.
    full: usize,
    /// A node serves no new connections for a while.
    shut: usize,
    down: usize,
    masterless: usize,
    liar: usize,
    vanish: usize,
    /// The proxy is stopped for a while.
    standstill: usize,
    /// A node takes long for one request, or for the reply, and goes on with other connections.
    long_head: usize,
    /// Whether nodes may be asked for the topology that have not heard the news.
    stale: bool,
    /// A node closes a connection that has subscribed and is owed more than this, unless it is 0.
    output_max: usize,
}

impl Troubles {
    /// The same, less often by this factor, but for planned work.
    fn less(self, factor: usize) -> Troubles {
        Troubles {
            crash: self.crash * factor,
            hang: self.hang * factor,
            cut: self.cut * factor,
            garbage: self.garbage * factor,
            full: self.full * factor,
            shut: self.shut * factor,
            down: self.down * factor,
            masterless: self.masterless * factor,
            liar: self.liar * factor,
            vanish: self.vanish * factor,
            standstill: self.standstill * factor,
            long_head: self.long_head * factor,
            ..self
        }
    }
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
    /// Until when the node executes nothing of it, as it would behind a long script or a paused write.
    idle_until: u64,
    /// Until when the node writes nothing to it, or a few bytes only, as of a large reply.
    mute_until: u64,
    /// The node closes it once all is written.
    closing: bool,
    /// Whether anything was executed since the node last wrote.
    answered: bool,
    /// Whether its node reports late which keys have changed.
    late: bool,
    /// Until when the node, which reports late, is busy with something else.
    busy_until: u64,
    /// The node does not serve it.
    door: Option<Door>,
    /// What was sent to a node that does not serve it.
    sent: Vec<u8>,
    /// The proxy's next read or write fails.
    reset: bool,
    queued: bool,
    blocked: bool,
}

impl Link {
    /// The node tells it this and closes it; what is sent to it is lost.
    fn turn_away(&mut self, words: &[u8]) {
        self.replies.push(words);
        self.replies.ended = true;
        self.requests.cut(0);
        self.pending.clear();
        self.queued = true;
    }

    /// Whether nothing is under way.
    fn is_still(&self) -> bool {
        let pipes = self.requests.is_empty() && self.replies.is_empty();
        let told = !self.late || self.session.tracks.owed_since().is_none();
        let ends = self.pending.is_empty() && self.unwritten.is_empty() && told;
        self.backend.is_none() || (pipes && ends && !self.queued && !self.blocked)
    }
}

/// All there is in one run.
pub struct World {
    seed: u64,
    random: Random,
    now: u64,
    /// What the proxy knows of that.
    standstills: &'static Standstills,
    /// How much of it the proxy's clock stood still, as the proxy itself did.
    lost: u64,
    proxy: Proxy,
    process: Arc<Process>,
    cluster: Cluster,
    doors: Doors,
    ledger: Ledger,
    links: Vec<Link>,
    links_made: u64,
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
    /// Who writes past the proxy, if it has a cache.
    foreigner: Session,
    of_foreigner: Random,
    /// What else happens to keys past the proxy.
    changes: Changes,
    /// How nodes tell of them.
    reports: Reports,
    /// Keys that are read again and again.
    hot: Hot,
    /// Which clients are in a namespace.
    of_names: Random,
    /// When clients ask for much and read nothing.
    deaf: Deaf,
    /// The number of the last message.
    number: u64,
    asked_at: u64,
    /// When a topology was last adopted.
    adopted_at: u64,
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
    config.park_timeout = Some(millis(random.between(100, 3000)));
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
        config.park_timeout = Some(Duration::from_secs(60));
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
    if random.one_in(2) {
        limits.split_keys = random.skewed(4);
    }
    if random.one_in(2) {
        limits.turn_requests = random.skewed(16);
        limits.turn_messages = random.skewed(16);
        limits.turn_subscribers = random.skewed(4);
    }
    if random.one_in(2) && !calm {
        limits.pass_bytes = random.skewed(64 << 10);
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
        standstill: once_in(1000),
        long_head: once_in(100),
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
            shut: once_in(300),
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
        let mut config = config(&mut random, calm);
        // (From numbers of its own: what the other seeds are about stays as it is.)
        let mut of_steps = Random::new(!seed);
        if of_steps.one_in(2) {
            config.limits.stream_bytes = 1 + of_steps.skewed(2048);
        }
        if of_steps.one_in(2) {
            config.limits.turn_names = of_steps.skewed(3);
        }
        // (Worlds with users of the servers have neither caches nor namespaces: no oracle needs to know the other ones.)
        let of_users = Users::of_seed(seed);
        let without_users = of_users.is_none();
        let has_cache = of_steps.one_in(3) && without_users;
        if has_cache {
            config.near_cache_bytes = 1 + (of_steps.skewed(1 << 20) << of_steps.below(4));
            config.near_cache_min_reads = of_steps.skewed(4) as u32;
            let millis = of_steps.between(10, 1000);
            config.near_cache_staleness = Duration::from_millis(millis);
            // (From numbers of its own.)
            let choices = NearCacheTracking::ALL;
            let choice = Random::new(mix(!seed.rotate_left(16))).below(choices.len());
            config.near_cache_tracking = choices[choice];
        }
        let hot = Hot::new(seed, has_cache, &mut config);
        if of_steps.one_in(2) {
            config.limits.connection_requests = of_steps.skewed(64);
        }
        let changes = Changes::new(seed, has_cache, without_users);
        if changes.trackers && of_steps.one_in(3) {
            config.limits.tracking_keys = of_steps.skewed(64);
        }
        // (From numbers of its own. What happens to keys past the proxy is not told to namespaces.)
        let mut of_databases = Random::new(mix(!seed.rotate_left(8)));
        let alone = without_users && !has_cache && !changes.trackers;
        let databases = match of_databases.one_in(3) && alone {
            true => Databases::choose(&mut of_databases, &mut config),
            false => Databases::default(),
        };
        let staleness = config.near_cache_staleness.as_micros() as u64;
        // (From numbers of its own, for the same reason.)
        let mut of_aside = Random::new(seed.rotate_left(32));
        if of_aside.one_in(3) {
            config.limits.aside_reply_bytes = of_aside.skewed(32 << 10);
        }
        if of_aside.one_in(2) {
            config.limits.apart_bytes = of_aside.skewed(64 << 10);
        }
        let tags = random.between(2, 6) as usize;
        let password = config.backend_password.as_ref();
        let password = password.map(|secret| secret.expose().to_vec());
        let more_clients = databases.namespaces;
        let mut ledger = Ledger::new(tags, databases);
        let mut cluster = Cluster::new(ledger.slots.len(), password, &mut random);
        // (From numbers of its own.)
        let mut of_padding = Random::new(mix(!seed.rotate_left(24)));
        if of_padding.one_in(3) {
            if !calm {
                config.limits.pass_bytes = of_padding.skewed(128 << 10);
            }
            cluster.padding = Some(of_padding);
        }
        ledger.users = of_users.map(|random| Users::new(random, cluster.nodes.len(), calm));
        if ledger.users.is_some() {
            config.auth = Auth::Backend;
            (config.backend_user, config.backend_password) =
                (Some(OWN[0].to_string()), Some(Secret::new(OWN[1])));
            // Who has nothing to say is not closed, and few users may be there at once.
            config.login_timeout = Duration::ZERO;
            config.users_max = of_steps.between(1, 12) as usize;
        }
        let config = Arc::new(config);
        let acl = Store::of(&config);
        // It lives as long as its clock, which is for ever.
        let standstills: &'static Standstills = Box::leak(Box::default());
        let process = Process::with(1, LiveConfig::default(), acl, standstills);
        let process = Arc::new(process);
        let manners = Manners {
            strict: calm,
            replica_reads: config.read_preference != ReadPreference::Master,
            staleness: has_cache.then_some(staleness),
            garbage: random.one_in(2),
            outstanding_max: random.skewed(200) + 8,
        };
        let table = Arc::new(Table::compiled());
        let reports = Reports::new(seed, cluster.nodes.len());
        World {
            proxy: Proxy::new(config, table, process.clone(), 0, seed),
            process,
            ledger: ledger.with_large_values(random.one_in(6)),
            links: Vec::new(),
            links_made: 0,
            clients: Vec::new(),
            clients_max: random.between(1, 6) as usize + more_clients,
            clients_made: 0,
            manners,
            troubles: Troubles {
                output_max: reports.output_max,
                ..hot.lessen(troubles(&mut random, calm))
            },
            topologies: Vec::new(),
            restarts: Vec::new(),
            promotions: Vec::new(),
            mail: vec![Vec::new(); cluster.nodes.len()],
            doors: Doors::open(cluster.nodes.len()),
            foreigner: Session::default(),
            of_foreigner: Random::new(mix(seed)),
            changes,
            reports,
            hot,
            of_names: Random::new(mix(seed.rotate_left(16))),
            deaf: Deaf::new(seed),
            number: 0,
            asked_at: 0,
            adopted_at: 0,
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
            standstills,
            lost: 0,
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
        for turn in 1..=TURNS {
            if self.changes.trackers && turn % COMPARED == 0 {
                self.compare_caches();
            }
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
        let of_users = |count: fn(&Users) -> u64| self.ledger.users.as_ref().map_or(0, count);
        vec![
            ("replica_executions", counts.replica_reads),
            ("lies", counts.lies),
            ("scripts_lied", counts.scripts_lied),
            ("scripts_foretold", self.ledger.prophets()),
            ("migrations", counts.migrations),
            ("pops_blocked", counts.blocked),
            ("pops_thrown_out", counts.thrown_out),
            ("pops_sent_on", counts.sent_on),
            ("transactions_executed", self.ledger.promises.executed),
            ("long_transactions", self.ledger.promises.long),
            ("nil_of_nodes", self.ledger.promises.nil_at_nodes),
            ("nil_replies", self.ledger.promises.nil),
            ("tokens_delivered", self.ledger.promises.delivered),
            ("publishes_done", self.ledger.messages.done),
            ("fans_checked", self.ledger.fans.checked),
            ("fan_orders_checked", self.ledger.fans.orders),
            ("long_lists", self.ledger.fans.long),
            ("interleaved_lists", self.ledger.fans.interleaved),
            ("databases_checked", self.ledger.databases.checked),
            ("databases_moved_to", self.ledger.databases.moved),
            ("databases_copied_to", self.ledger.databases.copied),
            ("databases_emptied", self.ledger.databases.emptied()),
            ("user_changes", of_users(|users| users.changes)),
            ("logins_accepted", of_users(|users| users.accepted)),
            ("logins_refused", of_users(|users| users.refused)),
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
        Time::from_micros(self.now - self.lost)
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
        self.ledger.now = self.now;
        self.note_late_reports();
        self.ledger.held = self.proxy.stats().held.get();
        self.pass_time();
        self.change_users(talking);
        if talking && (self.manners.staleness.is_some() || self.changes.trackers) {
            self.change_past();
        }
        if talking {
            self.deafen();
            self.list_all();
        }
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
}

/// Bytes for a human, not too many.
fn shown(bytes: &[u8]) -> String {
    let most = &bytes[..bytes.len().min(400)];
    most.escape_ascii().to_string().replace("\\r\\n", " ")
}
