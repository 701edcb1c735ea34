//! The sections of INFO: which there are, and those that are the proxy's own.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Context;
use crate::config::Listen;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::stats::masters_info::human;
use crate::proxy::stats::{Counter, Stats};

macro_rules! fields {
    ($text:expr, $($name:literal => $value:expr),* $(,)?) => {
        $(line($text, format_args!("{}:{}", $name, $value));)*
    };
}

/// Where a section comes from.
#[derive(Clone, Copy)]
pub enum Source {
    /// The proxy, now.
    Own(fn(&Context<'_>, &mut String)),
    /// The masters, but for some fields that are the proxy's; and what stands in for the masters' while none
    /// of them answers.
    Mixed(Fields, Fields),
    /// What the proxy has counted of each command, and what the masters have beyond that (see `command_calls`).
    Calls,
}

/// A field and its value.
pub type Field = (&'static str, String);

type Fields = fn(&Context<'_>) -> Vec<Field>;

/// A section of INFO.
pub struct Section {
    /// Its name, as it stands in the head.
    pub name: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// Whether it is given without being asked for.
    pub by_default: bool,
}

const fn own(name: &'static str, print: fn(&Context<'_>, &mut String)) -> Section {
    Section {
        name,
        source: Source::Own(print),
        by_default: true,
    }
}

const fn on_demand(name: &'static str, print: fn(&Context<'_>, &mut String)) -> Section {
    Section {
        by_default: false,
        ..own(name, print)
    }
}

const fn mixed(name: &'static str, own: Fields, stand_ins: Fields) -> Section {
    Section {
        name,
        source: Source::Mixed(own, stand_ins),
        by_default: true,
    }
}

/// All sections, in the order of Redis.
pub const SECTIONS: &[Section] = &[
    own("Server", server),
    own("Clients", clients),
    mixed("Memory", none, memory),
    mixed("Persistence", persistence, none),
    mixed("Stats", stats, uncounted),
    own("Replication", replication),
    own("CPU", cpu),
    own("Modules", modules),
    Section {
        name: "Commandstats",
        source: Source::Calls,
        by_default: false,
    },
    own("Errorstats", errorstats),
    on_demand("Latencystats", latencystats),
    own("Cluster", cluster),
    mixed("Keyspace", none, none),
    own("Proxy", proxy),
    own("Topology", topology),
    own("Namespaces", namespaces),
];

/// A line of a section.
pub fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    text.write_fmt(content).ok();
    text.push_str("\r\n");
}

fn uptime_seconds(context: &Context<'_>) -> u64 {
    context.process.uptime(context.now).as_secs()
}

fn server(context: &Context<'_>, text: &mut String) {
    let listens: Vec<Listen> = context.config.listens().collect();
    let port = listens.iter().find_map(Listen::port).unwrap_or(0);
    let wall_clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // Of a cluster that is not known yet nobody can say what it runs.
    if context.routes.topology().is_some() {
        fields!(text, "redis_version" => context.version());
    }
    let kind = &context.servers.kind;
    for (name, value) in &kind.names {
        line(text, format_args!("{name}:{value}"));
    }
    let mode = if kind.own_name {
        "server_mode"
    } else {
        "redis_mode"
    };
    fields!(text,
        "redis_git_sha1" => "00000000",
        "redis_git_dirty" => 0,
        "redis_build_id" => "0000000000000000",
    );
    line(text, format_args!("{mode}:{}", context.config.mode()));
    fields!(text,
        "os" => os(),
        "arch_bits" => usize::BITS,
        "monotonic_clock" => "POSIX clock_gettime",
        "multiplexing_api" => "epoll",
        "atomicvar_api" => "std",
        // As of a server that another compiler has built.
        "gcc_version" => "0.0.0",
        "process_id" => std::process::id(),
        "process_supervised" => "no",
        "run_id" => context.process.run_id,
        "tcp_port" => port,
        "server_time_usec" => wall_clock.as_micros(),
        "uptime_in_seconds" => uptime_seconds(context),
        "uptime_in_days" => uptime_seconds(context) / 86400,
        "hz" => 10,
        "configured_hz" => 10,
        "lru_clock" => wall_clock.as_secs() & 0xff_ffff,
        "executable" => "redis-cluster-proxy",
        "config_file" => "",
        "io_threads_active" => 0,
    );
    if kind.has("clients_hz") {
        fields!(text, "clients_hz" => 10);
    }
    if kind.has("availability_zone") {
        // It is each node's own.
        fields!(text, "availability_zone" => "");
    }
    if kind.has("listener0") {
        for (index, listen) in listens.iter().enumerate() {
            listener(context, index, listen, text);
        }
    }
}

/// A listener, as Redis 7.2 and later show it.
fn listener(context: &Context<'_>, index: usize, listen: &Listen, text: &mut String) {
    let name = match listen {
        Listen::Unix(path) => {
            let shown = path.display();
            return line(text, format_args!("listener{index}:name=unix,bind={shown}"));
        }
        Listen::Tcp(own) if context.config.tls.listen == Some(*own) => "tls",
        Listen::Tcp(_) => "tcp",
    };
    if let Listen::Tcp(own) = listen {
        let (ip, port) = (own.ip(), own.port());
        line(
            text,
            format_args!("listener{index}:name={name},bind={ip},port={port}"),
        );
    }
}

/// As Redis says it: `Linux 6.1.0 x86_64`.
fn os() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (name, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    let name = if name == "linux" { "Linux" } else { name };
    format!("{name} {} {machine}", release.trim())
}

fn clients(context: &Context<'_>, text: &mut String) {
    let process = context.process;
    let blocked = process.leases.blocking.load(Ordering::Relaxed)
        + process.paused_clients.load(Ordering::Relaxed);
    fields!(text,
        "connected_clients" => context.process.total(|stats| &stats.clients_connected),
        "cluster_connections" => 0,
        "maxclients" => context.config.limits.clients,
        "client_recent_max_input_buffer" => 0,
        "client_recent_max_output_buffer" => 0,
        "blocked_clients" => blocked,
        "tracking_clients" => context.process.total(|stats| &stats.tracking_clients),
        "pubsub_clients" => context.process.register.subscribers(),
    );
    let (kind, leases) = (&context.servers.kind, &process.leases);
    if kind.has("watching_clients") {
        fields!(text, "watching_clients" => leases.watching.load(Ordering::Relaxed));
    }
    fields!(text, "clients_in_timeout_table" => 0);
    let tallies = [
        ("total_watched_keys", &leases.watched_keys),
        ("total_blocking_keys", &leases.blocking_keys),
        (
            "total_blocking_keys_on_nokey",
            &leases.blocking_keys_on_nokey,
        ),
    ];
    for (name, keys) in tallies {
        if kind.has(name) {
            line(text, format_args!("{name}:{}", keys.len()));
        }
    }
    if kind.has("paused_reason") {
        paused(context, text);
    }
}

/// What `CLIENT PAUSE` holds, as Valkey shows it.
fn paused(context: &Context<'_>, text: &mut String) {
    let pause = context.client_pause;
    let pause = pause.filter(|pause| context.now < pause.until);
    let (reason, actions) = match pause {
        None => ("none", "none"),
        Some(pause) if pause.all => ("client_pause", "all"),
        Some(_) => ("client_pause", "write"),
    };
    let left = pause.map_or(0, |pause| pause.until.since(context.now).as_millis());
    fields!(text,
        "paused_reason" => reason,
        "paused_actions" => actions,
        "paused_timeout_milliseconds" => left,
    );
}

/// Those of the nodes.
fn modules(context: &Context<'_>, text: &mut String) {
    for own in &context.servers.kind.modules {
        fields!(text, "module" => own);
    }
}

fn none(_: &Context<'_>) -> Vec<Field> {
    Vec::new()
}

/// The proxy's own memory stands in for that of the data.
fn memory(_: &Context<'_>) -> Vec<Field> {
    let rss = resident_bytes();
    vec![
        ("used_memory", rss.to_string()),
        ("used_memory_human", human(rss as i64)),
        ("used_memory_rss", rss.to_string()),
        ("used_memory_peak", rss.to_string()),
        ("total_system_memory", "0".to_string()),
        ("maxmemory", "0".to_string()),
        ("maxmemory_policy", "noeviction".to_string()),
    ]
}

/// What only nodes count.
fn uncounted(_: &Context<'_>) -> Vec<Field> {
    let names = [
        "expired_keys",
        "evicted_keys",
        "keyspace_hits",
        "keyspace_misses",
    ];
    names.map(|name| (name, "0".to_string())).to_vec()
}

/// What the kernel says of our memory; nothing where it does not say.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// The proxy serves while one master loads: only that master's slots wait.
fn persistence(_: &Context<'_>) -> Vec<Field> {
    vec![
        ("loading", "0".to_string()),
        ("async_loading", "0".to_string()),
    ]
}

fn stats(context: &Context<'_>) -> Vec<Field> {
    let total = |counter: fn(&Stats) -> &Counter| context.process.total(counter);
    let rate = |at: usize| -> u64 {
        let workers = context.process.workers.iter();
        workers.map(|stats| stats.per_second[at].get()).sum()
    };
    let kilobytes = |at| format!("{:.2}", rate(at) as f64 / 1024.0);
    let count = |name: &'static str, value: u64| (name, value.to_string());
    let names = |kind| context.process.register.names(kind) as u64;
    let (_, errors) = context.process.errors();
    vec![
        count(
            "total_connections_received",
            total(|stats| &stats.clients_accepted),
        ),
        count("total_commands_processed", total(|stats| &stats.commands)),
        count("instantaneous_ops_per_sec", rate(0)),
        count(
            "total_net_input_bytes",
            total(|stats| &stats.client_bytes_in),
        ),
        count(
            "total_net_output_bytes",
            total(|stats| &stats.client_bytes_out),
        ),
        ("instantaneous_input_kbps", kilobytes(1)),
        ("instantaneous_output_kbps", kilobytes(2)),
        count(
            "rejected_connections",
            total(|stats| &stats.clients_rejected) + total(|stats| &stats.clients_denied),
        ),
        count("pubsub_channels", names(Kind::Channel)),
        count("pubsub_patterns", names(Kind::Pattern)),
        count("pubsubshard_channels", names(Kind::Shard)),
        count("total_error_replies", errors),
    ]
}

fn replication(context: &Context<'_>, text: &mut String) {
    fields!(text,
        "role" => "master",
        "connected_slaves" => 0,
        "master_failover_state" => "no-failover",
        "master_replid" => context.process.run_id,
        "master_replid2" => "0".repeat(40),
        "master_repl_offset" => 0,
        "second_repl_offset" => -1,
        "repl_backlog_active" => 0,
        "repl_backlog_size" => 0,
        "repl_backlog_first_byte_offset" => 0,
        "repl_backlog_histlen" => 0,
    );
}

/// Seconds that the threads of one of these files of proc have used: user, system, and the same of children.
fn cpu_seconds(file: &str) -> [f64; 4] {
    // Fields 14 to 17 behind the command's name, in ticks of a hundredth of a second (proc(5)).
    let stat = std::fs::read_to_string(file).unwrap_or_default();
    let behind = stat.rsplit(')').next().unwrap_or_default();
    [11, 12, 13, 14].map(|index| {
        let field = behind.split_whitespace().nth(index);
        let ticks = field.and_then(|ticks| ticks.parse::<f64>().ok());
        ticks.unwrap_or(0.0) / 100.0
    })
}

/// The thread that answers is what a server calls its main thread.
fn cpu(_: &Context<'_>, text: &mut String) {
    let [user, sys, user_children, sys_children] = cpu_seconds("/proc/self/stat");
    let [own_user, own_sys, _, _] = cpu_seconds("/proc/thread-self/stat");
    fields!(text,
        "used_cpu_sys" => format_args!("{sys:.6}"),
        "used_cpu_user" => format_args!("{user:.6}"),
        "used_cpu_sys_children" => format_args!("{sys_children:.6}"),
        "used_cpu_user_children" => format_args!("{user_children:.6}"),
        "used_cpu_sys_main_thread" => format_args!("{own_sys:.6}"),
        "used_cpu_user_main_thread" => format_args!("{own_user:.6}"),
    );
}

fn cluster(context: &Context<'_>, text: &mut String) {
    fields!(text, "cluster_enabled" => u8::from(context.config.cluster_face.is_some()));
}

fn errorstats(context: &Context<'_>, text: &mut String) {
    for (code, count) in context.process.errors().0 {
        line(text, format_args!("errorstat_{code}:count={count}"));
    }
}

fn latencystats(context: &Context<'_>, text: &mut String) {
    for calls in context.process.commands() {
        if calls.latencies.count == 0 {
            continue;
        }
        let name = &context.table.row(calls.command).name;
        let at = |percent| calls.latencies.percentile(percent) as f64;
        line(
            text,
            format_args!(
                "latency_percentiles_usec_{name}:p50={:.3},p99={:.3},p99.9={:.3}",
                at(50.0),
                at(99.0),
                at(99.9)
            ),
        );
    }
}

/// What the workers count.
pub fn proxy(context: &Context<'_>, text: &mut String) {
    fields!(text,
        "proxy_version" => env!("CARGO_PKG_VERSION"),
        "proxy_workers" => context.process.workers.len(),
        "proxy_listen" => context.config.shown_listens(),
        "proxy_listen_tls" => context.config.tls.listen.map_or(String::new(), |own| own.to_string()),
        "proxy_backend_tls" => match (context.config.backend_tls.on, context.config.backend_tls.verify) {
            (false, _) => "no",
            (true, true) => "yes",
            (true, false) => "NOT VERIFIED: anybody is taken for a node (-backend-tls-verify)",
        },
        "proxy_memory_rss" => resident_bytes(),
    );
    for expiry in context.process.certificates() {
        let days = expiry.days_left(SystemTime::now());
        line(
            text,
            format_args!(
                "proxy_{}_days_left:{days:.1}",
                expiry.flag.replace('-', "_")
            ),
        );
    }
    for (name, value) in context.process.totals() {
        line(text, format_args!("proxy_{name}:{value}"));
    }
    for (index, stats) in context.process.workers.iter().enumerate() {
        let (clients, commands) = (stats.clients_connected.get(), stats.commands.get());
        let counts = format_args!("clients={clients},commands={commands}");
        line(text, format_args!("proxy_worker_{index}:{counts}"));
    }
}

/// Who serves what.
pub fn topology(context: &Context<'_>, text: &mut String) {
    let Some(topology) = context.routes.topology() else {
        fields!(text, "topology_known" => 0);
        return;
    };
    let served = topology
        .slots
        .iter()
        .filter(|shard| **shard != crate::cluster::topology::NO_SHARD);
    fields!(text,
        "topology_known" => 1,
        "topology_epoch" => topology.epoch,
        "topology_slots_served" => served.count(),
        "topology_shards" => topology.shards.len(),
        "topology_nodes" => topology.nodes.len(),
    );
    for (index, shard) in topology.shards.iter().enumerate() {
        let address = |node: &u16| topology.nodes[*node as usize].address.to_string();
        let slots = topology
            .slots
            .iter()
            .filter(|owner| **owner as usize == index)
            .count();
        let replicas: Vec<String> = shard.replicas.iter().map(address).collect();
        line(
            text,
            format_args!(
                "shard{index}:master={},slots={slots},epoch={},replicas={}",
                address(&shard.master),
                shard.epoch,
                replicas.join(";"),
            ),
        );
    }
}

/// What is counted of namespaces: of all, or of its own for a client that is in one.
fn namespaces(context: &Context<'_>, text: &mut String) {
    let own = context.session.namespace.as_deref();
    let is_seen = |name: &str| own.is_none_or(|own| own.name() == name);
    let all = context.process.namespaces();
    for one in all.iter().filter(|one| one.is_told() && is_seen(&one.name)) {
        // The slot may hold keys of others.
        let keys = one.keys.filter(|_| own.is_none());
        let keys = keys.map_or(String::new(), |found| {
            format!(",keys_in_slot={},node={}", found.keys, found.node)
        });
        line(
            text,
            format_args!(
                "namespace_{}_db{}:slot={},clients={},requests={},bytes_in={},bytes_out={}{keys}",
                one.name,
                one.database,
                one.slot.number(),
                one.clients,
                one.requests,
                one.bytes_in,
                one.bytes_out,
            ),
        );
    }
}
