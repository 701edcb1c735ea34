//! `Config`: what the program uses, as plain data that has been checked. Every limit and every timeout has
//! its name here.
//!
//! It must never know how an option is spelled (that is `options`) nor who reads a field.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Time;

mod choices;
mod network;
mod secret;
mod tls;
mod user_settings;

pub use choices::{
    AdminCommands, Auth, CrossSlot, LogFormat, NearCacheTracking, PubsubOrder, ReadPreference,
    ReadyWhen, is_local,
};
pub use network::Network;
pub use secret::Secret;
pub use tls::{AuthClients, BackendTls, CertificateUser, ClientTls, Protocols};
pub use user_settings::UserSettings;

/// How long a TCP connection may be silent before the kernel asks whether the peer is still there.
pub const KEEPALIVE: Duration = Duration::from_secs(60);

/// All that the program can be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where clients are served that do not speak TLS. May be empty.
    pub listen: Vec<Listen>,
    /// The access mode of Unix sockets; without it the umask decides.
    pub unix_socket_perm: Option<u32>,
    /// TLS with clients.
    pub tls: ClientTls,
    /// TLS with nodes.
    pub backend_tls: BackendTls,
    /// Where load balancers are that say in a PROXY protocol header who their client is.
    pub proxy_protocol: Vec<Network>,
    /// Whether other proxies may listen at the same address.
    pub reuse_port: bool,
    /// The Unix socket at which a new process takes over from this one, and this one from an old process at start.
    pub take_over: Option<PathBuf>,
    /// Nodes asked for the topology at start, as `host:port`.
    pub startup_nodes: Vec<String>,
    /// Where nodes may be; none of them is anywhere.
    pub nodes_allowed: Vec<Network>,
    /// Announced address to reachable address (NAT, containers), both as `host:port` or `host`.
    pub node_map: Vec<(String, String)>,
    /// The file that settings came from.
    pub config_file: Option<PathBuf>,
    /// The file that the passwords came from.
    pub password_file: Option<PathBuf>,
    /// The file that the old password came from.
    pub password_old_file: Option<PathBuf>,
    /// A proxy whose status is to be shown, in place of serving: `http://host:port`.
    pub top: Option<String>,
    /// Demanded from clients, if set.
    pub client_password: Option<Secret>,
    /// Taken from clients in its place, too, while it is being changed.
    pub client_password_old: Option<Secret>,
    /// ACL user for the backends; `None` is the default user.
    pub backend_user: Option<String>,
    /// Password for the backends.
    pub backend_password: Option<Secret>,
    /// What a backend that refuses it is tried with, while it is being changed.
    pub backend_password_old: Option<Secret>,
    /// Where read commands go.
    pub read_preference: ReadPreference,
    /// Address prefixes (as text, e.g. `10.1.`) that count as our data centre.
    pub idc_prefixes: Vec<String>,
    /// Deadline of a connect to a backend, and of its handshake.
    pub connect_timeout: Duration,
    /// Deadline of the oldest reply that a backend owes.
    pub request_timeout: Duration,
    /// How long a client may ask for nothing; 0 is for ever.
    pub client_idle_timeout: Duration,
    /// How long a client may take to log in; 0 is for ever.
    pub login_timeout: Duration,
    /// How long a client may take nothing of what is to be written to it; 0 is for ever.
    pub write_stall: Duration,
    /// Bytes that the near caches of all workers may have; 0 is no cache.
    pub near_cache_bytes: usize,
    /// How keys begin that it keeps; all if this is empty.
    pub near_cache_prefixes: Vec<String>,
    /// Reads of a key in about thirty seconds before it is kept.
    pub near_cache_min_reads: u32,
    /// For how long it believes a node that it has not heard from.
    pub near_cache_staleness: Duration,
    /// What nodes are asked to report of keys that change.
    pub near_cache_tracking: NearCacheTracking,
    /// How long a request may wait for its slot to have a reachable owner; `None` is as long as the nodes take to fail
    /// over (see `park_timeout`).
    pub park_timeout: Option<Duration>,
    /// Period of the topology refresh.
    pub slots_reload_interval: Duration,
    /// The least number of exclusive connections to each backend, once one has been needed.
    pub backend_init_connections: usize,
    /// The most exclusive connections kept idle for each backend.
    pub backend_idle_connections: usize,
    /// How long a connection to a node that nobody needs stays; 0 is for ever.
    pub backend_idle_timeout: Duration,
    /// How long nobody may go on with a transaction before its connections serve others; 0 is for ever.
    pub transaction_idle_timeout: Duration,
    /// What becomes of a transaction that names several slots.
    pub cross_slot_transactions: CrossSlot,
    /// Which messages of channels keep their order.
    pub pubsub_order: PubsubOrder,
    /// Shared pipelines to each node, for each worker.
    pub backend_connections: usize,
    /// Worker threads, each with its own loop and listener.
    pub workers: usize,
    /// How long a worker may wait for company before it looks for events; zero is not at all.
    pub coalesce: Duration,
    /// Whether a worker with clients looks for events all the time instead of sleeping until there are some.
    pub busy_poll: bool,
    /// The processors that the workers are bound to, in turn; nothing is any.
    pub cpu_affinity: Vec<usize>,
    /// Log file; `None` is standard error.
    pub log_file: Option<PathBuf>,
    /// How much of the cluster has to be there for us to be ready.
    pub ready_when: ReadyWhen,
    /// Where access lines go: a file, or `-` for standard error; `None` is beside the log file.
    pub access_log_file: Option<PathBuf>,
    /// Log level.
    pub log_level: log::LevelFilter,
    /// How lines of the log are written.
    pub log_format: LogFormat,
    /// Requests that took so many microseconds are in the slow log; a negative number is none.
    pub slowlog_log_slower_than: i64,
    /// An access log line for every so many commands; 0 is none.
    pub log_every_n: u64,
    /// Where `/healthz` and the rest of the debug pages are served.
    pub debug_addr: Option<SocketAddr>,
    /// Who decides what users may do.
    pub auth: Auth,
    /// Users of the servers that clients of one worker may be logged in as at once.
    pub users_max: usize,
    /// The file of users.
    pub acl_file: Option<PathBuf>,
    /// Commands in a second that clients of a user may send together.
    pub user_rate_limits: Vec<(String, u64)>,
    /// Clients that a user may have at once.
    pub user_max_clients: Vec<(String, usize)>,
    /// What else holds for single users.
    pub user_settings: Vec<(String, UserSettings)>,
    /// How long logins from an address wait from which many have failed; zero is not at all.
    pub auth_failure_delay: Duration,
    /// Whether users who may not do everything may run scripts, in which nobody checks what they do.
    pub acl_scripts: bool,
    /// What requests to the debug address must bear.
    pub debug_token: Option<Secret>,
    /// Refuse clients from outside while there is no client password.
    pub protected_mode: bool,
    /// Who may send commands that change the servers or this proxy.
    pub admin_commands: AdminCommands,
    /// The namespace of clients that come to `listen` or by TLS.
    pub namespace: Option<String>,
    /// Where clients of other namespaces are served: the name of each, and its address.
    pub namespace_listen: Vec<(String, Listen)>,
    /// The namespaces of users, wherever they come to: the name of each user, and of its namespace.
    pub namespace_users: Vec<(String, String)>,
    /// How many databases each namespace has; with one SELECT is left to the servers.
    pub databases: u16,
    /// Whether a namespace has channels of its own.
    pub namespace_channels: bool,
    /// Where cluster clients are told to find this proxy; without it, it shows itself as one server.
    pub cluster_face: Option<Face>,
    /// Bounds on what peers may make us hold.
    pub limits: Limits,
}

impl Config {
    /// The file of access lines; nothing is standard error. Beside `proxy.log` it is `proxy-access.log`.
    pub fn access_log_path(&self) -> Option<PathBuf> {
        match &self.access_log_file {
            Some(path) if path.as_os_str() == "-" => None,
            Some(path) => Some(path.clone()),
            None => {
                let log = self.log_file.as_ref()?;
                let mut name = log.file_stem().unwrap_or_default().to_owned();
                name.push("-access");
                let mut path = log.with_file_name(name);
                if let Some(ending) = log.extension() {
                    // Not `set_extension`, which takes what is behind another dot for one.
                    let mut whole = path.into_os_string();
                    whole.push(".");
                    whole.push(ending);
                    path = whole.into();
                }
                Some(path)
            }
        }
    }

    /// Requests that came before this are slow at `now`.
    #[inline]
    pub fn slow_before(&self, now: Time) -> Time {
        match u64::try_from(self.slowlog_log_slower_than) {
            Ok(micros) => Time::from_micros((now.as_micros() + 1).saturating_sub(micros)),
            Err(_) => Time::default(),
        }
    }

    /// Whether a client with this password may come in. The time taken does not tell which of two it was.
    pub fn admits(&self, password: &[u8]) -> bool {
        let Some(secret) = &self.client_password else {
            return true;
        };
        let old = self.client_password_old.as_ref();
        secret.matches(password) | old.is_some_and(|old| old.matches(password))
    }

    /// The passwords that backends are tried with, in order.
    pub fn backend_passwords(&self) -> impl Iterator<Item = &Secret> {
        self.backend_password
            .iter()
            .chain(&self.backend_password_old)
    }

    /// Every secret: what no text may repeat.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.backend_passwords()
            .chain(&self.client_password)
            .chain(&self.client_password_old)
            .chain(&self.debug_token)
    }

    /// This config with the secrets of another, and the names of their files: what is read again while the program runs.
    /// Nothing that was guarded by a secret is left without one; returns the names of such, too.
    pub fn with_secrets_of(&self, other: &Config) -> (Config, Vec<&'static str>) {
        let mut config = self.clone();
        let mut kept = Vec::new();
        if self.client_password.is_some() && other.client_password.is_none() {
            kept.push("client-password");
        } else {
            config.client_password.clone_from(&other.client_password);
            config
                .client_password_old
                .clone_from(&other.client_password_old);
        }
        if self.debug_token.is_some() && other.debug_token.is_none() {
            kept.push("debug-token");
        } else {
            config.debug_token.clone_from(&other.debug_token);
        }
        config.password_file.clone_from(&other.password_file);
        config
            .password_old_file
            .clone_from(&other.password_old_file);
        config.backend_password.clone_from(&other.backend_password);
        config
            .backend_password_old
            .clone_from(&other.backend_password_old);
        (config, kept)
    }

    /// Whether a node may be at this address.
    pub fn allows_node(&self, ip: IpAddr) -> bool {
        let mut allowed = self.nodes_allowed.iter();
        self.nodes_allowed.is_empty() || allowed.any(|network| network.contains(ip))
    }

    /// Whether any client may read from replicas.
    pub fn reads_replicas(&self) -> bool {
        let reads = |preference| preference != ReadPreference::Master;
        let mut own = self.user_settings.iter();
        reads(self.read_preference) || own.any(|(_, own)| own.read_preference.is_some_and(reads))
    }

    /// Whether who connects from this address (nothing for a Unix socket) sends a PROXY protocol header.
    pub fn is_proxied(&self, address: Option<SocketAddr>) -> bool {
        let mut networks = self.proxy_protocol.iter();
        address.is_some_and(|address| networks.any(|network| network.contains(address.ip())))
    }

    /// Whether both have the same passwords for the backends.
    pub fn has_backend_passwords_of(&self, other: &Config) -> bool {
        self.backend_passwords().eq(other.backend_passwords())
    }

    /// What kind of server clients are shown: the words of HELLO and INFO.
    pub fn mode(&self) -> &'static str {
        match self.cluster_face {
            Some(_) => "cluster",
            None => "standalone",
        }
    }
}

/// Bounds on what peers may make us hold. None of them is a promise to reach it.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Clients at once, over all workers.
    pub clients: usize,
    /// The most of them that the limit of file descriptors allows.
    pub clients_max: usize,
    /// Bytes that all clients together may make us hold; nothing is a share of `memory_share`.
    pub memory: Option<usize>,
    /// What that is when nothing is said, found at start.
    pub memory_share: usize,
    /// Longest bulk string of a request or reply (Redis: `proto-max-bulk-len`).
    pub bulk_bytes: usize,
    /// Bytes that a client has sent and that are not executed, a whole request at most (Redis:
    /// `client-query-buffer-limit`).
    pub request_bytes: usize,
    /// Longest inline request or length line (Redis: `PROTO_INLINE_MAX_SIZE`).
    pub inline_bytes: usize,
    /// Arguments of a request before authentication.
    pub unauthenticated_args: usize,
    /// Longest bulk string of a request before authentication.
    pub unauthenticated_bulk_bytes: usize,
    /// Requests in one client's pipeline before no more are taken.
    pub pipeline_requests: usize,
    /// Replies that a connection to a node may owe, if it has not owed more lately, before no more requests are taken of
    /// clients that wait for others.
    pub connection_requests: usize,
    /// Bytes in one client's output, held replies included, before no more requests are taken.
    pub client_output_bytes: usize,
    /// Bytes in one client's output, held replies included, at which it is closed (Redis:
    /// `client-output-buffer-limit`, as the next three).
    pub client_output_bytes_max: usize,
    /// Bytes in one client's output, held replies included, at which it is closed after a time.
    pub client_output_soft: SoftLimit,
    /// Bytes in one subscriber's output at which it is closed.
    pub pubsub_output_bytes: usize,
    /// Bytes in one subscriber's output at which it is closed after a time.
    pub pubsub_output_soft: SoftLimit,
    /// Bytes of names that one client may be subscribed to, with what each costs beside its bytes.
    pub subscription_bytes: usize,
    /// Bytes of lines that one MONITOR client, or all those of a worker together, may have waiting.
    pub monitor_bytes: usize,
    /// Unsent bytes in one backend's output before no more requests for it are taken.
    pub backend_output_bytes: usize,
    /// Bytes of requests held for a retry, over a whole worker.
    pub held_bytes: usize,
    /// Requests held for a retry, over a whole worker.
    pub held_requests: usize,
    /// Clients in blocking commands at once, over all workers.
    pub blocking_leases: usize,
    /// Clients in transactions at once, over all workers.
    pub transaction_leases: usize,
    /// Bytes of requests queued in one transaction.
    pub transaction_bytes: usize,
    /// Bytes read from one peer in one turn.
    pub read_bytes: usize,
    /// Bytes of a reply that are kept, so that it can be asked for again if its connection breaks; from here on it
    /// goes to its client as it comes.
    pub pass_bytes: usize,
    /// Bytes of a reply at which nobody else is to wait for it: its connection is set aside.
    pub aside_reply_bytes: usize,
    /// Bytes of a reply that are kept while others' writes wait behind it: a longer one is asked for again, on a
    /// connection of its own.
    pub apart_bytes: usize,
    /// Bytes of a request that are gathered; a longer one goes to its node as it comes, if it can.
    pub stream_bytes: usize,
    /// Keys that one worker tracks for clients (Redis: `tracking-table-max-keys`).
    pub tracking_keys: usize,
    /// Keys of one request that are sent to their slots in one turn.
    pub split_keys: usize,
    /// Keys of a request that go to one slot, which are all looked at in one turn: a request of more is refused.
    pub slot_keys: usize,
    /// Requests, and parts of requests, that are taken of one client in one turn; replies, of one node.
    pub turn_requests: usize,
    /// The same of all clients that are read in one turn, and of all that go on with what they had sent before; the others have
    /// theirs in the next one.
    pub turn_work: usize,
    /// Messages that are handed to subscribers in one turn, each of them counted for each of its subscribers.
    pub turn_messages: usize,
    /// Subscribers that are written to in one turn because a message came.
    pub turn_subscribers: usize,
    /// Clients that `CLIENT LIST` and `CLIENT KILL` look at in one turn.
    pub turn_listed: usize,
    /// Names of channels and patterns that one client subscribes to or leaves in one turn of the loop.
    pub turn_names: usize,
    /// Bytes of scripts and libraries remembered, so that a node that lost one can be given it again.
    pub script_bytes: usize,
    /// How long clients are accepted after SIGTERM.
    pub drain_grace: Duration,
    /// How long requests in flight may take to finish after that.
    pub drain: Duration,
    /// Lines that may wait for the log thread before lines are dropped.
    pub log_lines: usize,
    /// Bytes in the log file before it is moved aside.
    pub log_file_bytes: u64,
}

/// A limit that may be passed for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftLimit {
    /// The limit in bytes; `usize::MAX` is none.
    pub bytes: usize,
    /// How long it may be passed.
    pub time: Duration,
}

impl SoftLimit {
    /// No limit.
    pub const NONE: SoftLimit = SoftLimit {
        bytes: usize::MAX,
        time: Duration::ZERO,
    };
}

impl Limits {
    /// Bytes that all clients together may make us hold.
    pub fn memory_limit(&self) -> usize {
        match self.memory {
            None => self.memory_share,
            Some(0) => usize::MAX,
            Some(bytes) => bytes,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            clients: 10_000,
            clients_max: usize::MAX,
            memory: None,
            memory_share: usize::MAX,
            bulk_bytes: 512 << 20,
            request_bytes: 1 << 30,
            inline_bytes: 64 << 10,
            unauthenticated_args: 10,
            unauthenticated_bulk_bytes: 16384,
            pipeline_requests: 1024,
            connection_requests: 32,
            client_output_bytes: 1 << 20,
            client_output_bytes_max: 1 << 30,
            client_output_soft: SoftLimit::NONE,
            pubsub_output_bytes: 32 << 20,
            pubsub_output_soft: SoftLimit {
                bytes: 8 << 20,
                time: Duration::from_secs(60),
            },
            subscription_bytes: 64 << 20,
            monitor_bytes: 32 << 20,
            backend_output_bytes: 4 << 20,
            held_bytes: 64 << 20,
            held_requests: 100_000,
            blocking_leases: 4000,
            transaction_leases: 4000,
            transaction_bytes: 64 << 20,
            read_bytes: 256 << 10,
            pass_bytes: 1 << 20,
            aside_reply_bytes: 4 << 20,
            apart_bytes: 16 << 20,
            stream_bytes: 4 << 20,
            tracking_keys: 1_000_000,
            split_keys: 4096,
            slot_keys: 100_000,
            turn_requests: 4096,
            turn_work: 16384,
            turn_messages: 16384,
            turn_subscribers: 512,
            turn_listed: 512,
            turn_names: 256,
            script_bytes: 16 << 20,
            drain_grace: Duration::ZERO,
            drain: Duration::from_secs(10),
            log_lines: 8192,
            log_file_bytes: 64 << 20,
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![Listen::Tcp(SocketAddr::from(([0, 0, 0, 0], 8088)))],
            unix_socket_perm: None,
            tls: ClientTls::default(),
            backend_tls: BackendTls::default(),
            proxy_protocol: Vec::new(),
            reuse_port: false,
            take_over: None,
            startup_nodes: vec!["127.0.0.1:7001".to_string()],
            nodes_allowed: Vec::new(),
            node_map: Vec::new(),
            config_file: None,
            password_file: None,
            password_old_file: None,
            top: None,
            client_password: None,
            client_password_old: None,
            backend_user: None,
            backend_password: None,
            backend_password_old: None,
            read_preference: ReadPreference::Master,
            idc_prefixes: Vec::new(),
            connect_timeout: Duration::from_millis(250),
            request_timeout: Duration::from_secs(15),
            client_idle_timeout: Duration::ZERO,
            login_timeout: Duration::from_secs(10),
            write_stall: Duration::from_secs(60),
            near_cache_bytes: 0,
            near_cache_prefixes: Vec::new(),
            near_cache_min_reads: 2,
            near_cache_staleness: Duration::from_secs(1),
            near_cache_tracking: NearCacheTracking::Auto,
            park_timeout: None,
            slots_reload_interval: Duration::from_secs(3),
            backend_init_connections: 5,
            backend_idle_connections: 512,
            backend_idle_timeout: Duration::from_secs(10),
            transaction_idle_timeout: Duration::from_secs(60),
            cross_slot_transactions: CrossSlot::Refuse,
            pubsub_order: PubsubOrder::All,
            backend_connections: 1,
            workers: 1,
            coalesce: Duration::from_micros(100),
            busy_poll: false,
            cpu_affinity: Vec::new(),
            log_file: Some(PathBuf::from("redis-cluster-proxy.log")),
            access_log_file: None,
            ready_when: ReadyWhen::AllSlots,
            log_level: log::LevelFilter::Info,
            log_format: LogFormat::Text,
            slowlog_log_slower_than: 10_000,
            log_every_n: 100,
            debug_addr: None,
            auth: Auth::Own,
            users_max: 100,
            acl_file: None,
            user_rate_limits: Vec::new(),
            user_max_clients: Vec::new(),
            user_settings: Vec::new(),
            auth_failure_delay: Duration::from_secs(1),
            acl_scripts: false,
            debug_token: None,
            protected_mode: true,
            admin_commands: AdminCommands::Yes,
            namespace: None,
            namespace_listen: Vec::new(),
            namespace_users: Vec::new(),
            databases: 16,
            namespace_channels: false,
            cluster_face: None,
            limits: Limits::default(),
        }
    }
}

/// Where clients are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Config {
    /// Every address where clients are served, in the order of a worker's listeners: those of `-namespace-addrs` behind
    /// those of `-addr`, that for TLS last.
    pub fn listens(&self) -> impl Iterator<Item = Listen> + '_ {
        let encrypted = self.tls.listen.map(Listen::Tcp);
        let own = self.namespace_listen.iter().map(|(_, listen)| listen);
        self.listen.iter().chain(own).cloned().chain(encrypted)
    }

    /// The same as text.
    pub fn shown_listens(&self) -> String {
        let shown: Vec<String> = self.listens().map(|listen| listen.to_string()).collect();
        shown.join(",")
    }
}

impl Listen {
    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Listen::Tcp(address) => Some(address.port()),
            Listen::Unix(_) => None,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address as clients are told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Face {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests;
