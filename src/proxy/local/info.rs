//! INFO: real Redis field names first, then the proxy's own sections.

use std::fmt::Write;

use super::{After, Context};
use crate::config::Listen;
use crate::proxy::stats::Stats;
use crate::resp::args::Args;
use crate::resp::encode;

type Section = (&'static str, fn(&Context<'_>, &mut String));

const SECTIONS: &[Section] = &[
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
];

const PROXY_SECTIONS: &[Section] = &[("Proxy", proxy), ("Topology", topology)];

pub fn info(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let asked: Vec<Vec<u8>> = args.from(1).map(<[u8]>::to_ascii_lowercase).collect();
    let all = asked.is_empty()
        || asked
            .iter()
            .any(|name| matches!(name.as_slice(), b"all" | b"default" | b"everything"));
    let sections = SECTIONS.iter().chain(PROXY_SECTIONS);
    let wanted = sections.filter(|(name, _)| {
        all || asked
            .iter()
            .any(|asked| name.as_bytes().eq_ignore_ascii_case(asked))
    });
    let text = print(context, wanted);
    encode::verbatim(out, &text, context.session.protocol);
    After::Go
}

/// The proxy's own sections, for `PROXY INFO`.
pub fn proxy_sections(context: &Context<'_>) -> String {
    print(context, PROXY_SECTIONS.iter())
}

fn print<'a>(context: &Context<'_>, sections: impl Iterator<Item = &'a Section>) -> String {
    let mut text = String::new();
    for (name, section) in sections {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        line(&mut text, format_args!("# {name}"));
        section(context, &mut text);
    }
    text
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    text.write_fmt(content).ok();
    text.push_str("\r\n");
}

macro_rules! fields {
    ($text:expr, $($name:literal => $value:expr),* $(,)?) => {
        $(line($text, format_args!("{}:{}", $name, $value));)*
    };
}

fn uptime_seconds(context: &Context<'_>) -> u64 {
    context.now.as_micros() / 1_000_000
}

fn server(context: &Context<'_>, text: &mut String) {
    let (port, socket) = match &context.config.listen {
        Listen::Tcp(address) => (address.port(), String::new()),
        Listen::Unix(path) => (0, path.display().to_string()),
    };
    fields!(text,
        "redis_version" => context.version(),
        "redis_git_sha1" => "00000000",
        "redis_git_dirty" => 0,
        "redis_mode" => context.config.mode(),
        "os" => std::env::consts::OS,
        "arch_bits" => usize::BITS,
        "multiplexing_api" => "epoll",
        "process_id" => std::process::id(),
        "run_id" => context.process.run_id,
        "tcp_port" => port,
        "unixsocket" => socket,
        "uptime_in_seconds" => uptime_seconds(context),
        "uptime_in_days" => uptime_seconds(context) / 86400,
        "executable" => "redis-cluster-proxy",
        "config_file" => "",
    );
}

fn clients(context: &Context<'_>, text: &mut String) {
    fields!(text,
        "connected_clients" => context.process.total(|stats| &stats.clients_connected),
        "cluster_connections" => 0,
        "maxclients" => context.config.limits.clients,
        "blocked_clients" => 0,
        "tracking_clients" => 0,
    );
}

fn memory(context: &Context<'_>, text: &mut String) {
    let _ = context;
    let rss = resident_bytes();
    fields!(text,
        "used_memory" => rss,
        "used_memory_rss" => rss,
        "maxmemory" => 0,
        "maxmemory_policy" => "noeviction",
    );
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

fn persistence(_: &Context<'_>, text: &mut String) {
    fields!(text, "loading" => 0, "async_loading" => 0);
}

fn stats(context: &Context<'_>, text: &mut String) {
    let total =
        |counter: fn(&Stats) -> &crate::proxy::stats::Counter| context.process.total(counter);
    fields!(text,
        "total_connections_received" => total(|stats| &stats.clients_accepted),
        "total_commands_processed" => total(|stats| &stats.commands),
        "total_net_input_bytes" => total(|stats| &stats.client_bytes_in),
        "total_net_output_bytes" => total(|stats| &stats.client_bytes_out),
        "rejected_connections" => total(|stats| &stats.clients_rejected),
        "total_error_replies" => total(|stats| &stats.refusals),
    );
}

fn replication(_: &Context<'_>, text: &mut String) {
    fields!(text, "role" => "master", "connected_slaves" => 0);
}

fn cpu(_: &Context<'_>, text: &mut String) {
    // Fields 14 and 15 behind the command's name, in ticks of a hundredth of a second (proc(5)).
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |index: usize| {
        let field = behind.split_whitespace().nth(index);
        field
            .and_then(|ticks| ticks.parse::<f64>().ok())
            .unwrap_or(0.0)
            / 100.0
    };
    fields!(text,
        "used_cpu_sys" => format_args!("{:.6}", ticks(12)),
        "used_cpu_user" => format_args!("{:.6}", ticks(11)),
    );
}

fn cluster(context: &Context<'_>, text: &mut String) {
    fields!(text, "cluster_enabled" => u8::from(context.config.cluster_face.is_some()));
}

fn keyspace(_: &Context<'_>, _: &mut String) {}

fn proxy(context: &Context<'_>, text: &mut String) {
    fields!(text,
        "proxy_version" => env!("CARGO_PKG_VERSION"),
        "proxy_workers" => context.process.workers.len(),
        "proxy_listen" => context.config.listen,
    );
    for (name, value) in context.process.totals() {
        line(text, format_args!("proxy_{name}:{value}"));
    }
}

fn topology(context: &Context<'_>, text: &mut String) {
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
