//! The CONFIG family: the nodes' settings, but for those that are the proxy's own.
//!
//! GET asks a master and puts the proxy's own values in the place of the master's. SET goes to all nodes and
//! refuses what is the proxy's own. RESETSTAT resets the counters of both.

use super::nodes::{ask_all, pairs};
use super::{After, Context};
use crate::config::Listen;
use crate::proxy::merge::{Join, Merge};
use crate::proxy::plan::{Ask, Plan};
use crate::proxy::question::Question;
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};
use crate::resp::glob::{Case, matches};
use crate::resp::reply::Reply;

/// A setting, by the name that it is shown under, and its value.
type Setting = (Vec<u8>, String);

/// Settings of the proxy that a node has under the same name. What a node says of them is never shown:
/// it is wrong for the proxy, or a secret between the proxy and the node.
const OWN: &[&str] = &[
    "bind",
    "client-query-buffer-limit",
    "cluster-enabled",
    "daemonize",
    "databases",
    "logfile",
    "loglevel",
    "masterauth",
    "masteruser",
    "maxclients",
    "pidfile",
    "port",
    "protected-mode",
    "proto-max-bulk-len",
    "replicaof",
    "requirepass",
    "slaveof",
    "supervised",
    "tcp-keepalive",
    "timeout",
    "tls-client-key-file-pass",
    "tls-key-file-pass",
    "tls-port",
    "unixsocket",
];

/// What clients ask for at their start, for as long as no node can be asked.
const UNASKED: &[(&str, &str)] = &[
    ("appendonly", "no"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("replica-read-only", "yes"),
    ("save", ""),
    ("slave-read-only", "yes"),
];

/// `CONFIG GET pattern [pattern ...]`. Where no node is known, or none may be asked for its settings, only the
/// proxy's own are given and a few that clients rely on.
pub fn get(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let own = shown(args, &own(context));
    let unasked = UNASKED
        .iter()
        .map(|(name, value)| (*name, value.to_string()));
    let unasked = shown(args, &unasked.collect::<Vec<_>>());
    let protocol = context.session.protocol;
    if !context.routes.is_known() {
        print(&[own, unasked].concat(), &[], protocol, out);
        return After::Go;
    }
    let join: Join = Box::new(move |replies, out| match replies.first() {
        Some(reply) if !reply.is_error() => {
            let theirs = pairs(reply).filter(|(name, _)| {
                let name = name.text().unwrap_or_default();
                !OWN.iter()
                    .any(|own| own.as_bytes().eq_ignore_ascii_case(name))
            });
            print(&own, &theirs.collect::<Vec<_>>(), protocol, out);
        }
        _ => print(&[own, unasked].concat(), &[], protocol, out),
    });
    After::Ask(Plan {
        asks: vec![Ask::AnyMaster(args.frame().to_vec())],
        merge: Merge::JoinAll(join),
        write: false,
    })
}

/// `CONFIG SET name value [name value ...]`.
pub fn set(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let mut names = args.from(2).step_by(2);
    let is_own = |name: &[u8]| {
        OWN.iter()
            .find(|own| own.as_bytes().eq_ignore_ascii_case(name))
    };
    if let Some(own) = names.find_map(is_own) {
        let text = format!(
            "ERR CONFIG SET failed (possibly related to argument '{own}') - can't set immutable config"
        );
        encode::error(out, text.as_bytes());
        return After::Go;
    }
    match ask_all(context, args, Merge::AllSucceeded) {
        After::Ask(plan) => After::Ask(Plan {
            write: true,
            ..plan
        }),
        other => other,
    }
}

/// `CONFIG RESETSTAT`: every worker resets its own counters.
pub fn resetstat(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let mut after = ask_all(context, args, Merge::AllSucceeded);
    if let After::Ask(plan) = &mut after {
        plan.asks.push(Ask::Workers(Question::ResetStats));
    }
    after
}

/// Those of the settings that CONFIG GET asks for. What is asked for by its name is shown as it was written.
fn shown(args: &Args<'_>, settings: &[(&'static str, String)]) -> Vec<Setting> {
    let mut shown: Vec<Setting> = Vec::new();
    for pattern in args.from(2) {
        let is_name = !pattern.iter().any(|byte| b"[*?".contains(byte));
        for (name, value) in settings {
            let name = name.as_bytes();
            let name = match is_name {
                true if name.eq_ignore_ascii_case(pattern) => pattern,
                false if matches(pattern, name, Case::Insensitive) => name,
                true | false => continue,
            };
            if !shown.iter().any(|(known, _)| known == name) {
                shown.push((name.to_vec(), value.clone()));
            }
        }
    }
    shown
}

fn print(
    own: &[Setting],
    theirs: &[(Reply<'_>, Reply<'_>)],
    protocol: Protocol,
    out: &mut Vec<u8>,
) {
    encode::map(out, own.len() + theirs.len(), protocol);
    for (name, value) in own {
        encode::bulk(out, name);
        encode::bulk(out, value.as_bytes());
    }
    for (name, value) in theirs {
        out.extend_from_slice(name.frame());
        out.extend_from_slice(value.frame());
    }
}

/// The proxy's own settings, in the order of [`OWN`].
fn own(context: &Context<'_>) -> Vec<(&'static str, String)> {
    let config = context.config;
    let (port, bind, socket) = match &config.listen {
        Listen::Tcp(address) => (address.port(), address.ip().to_string(), String::new()),
        Listen::Unix(path) => (0, String::new(), path.display().to_string()),
    };
    let level = match config.log_level {
        log::LevelFilter::Trace | log::LevelFilter::Debug => "debug",
        log::LevelFilter::Info => "notice",
        log::LevelFilter::Warn | log::LevelFilter::Error | log::LevelFilter::Off => "warning",
    };
    let value = |name: &str| match name {
        "bind" => bind.clone(),
        "client-query-buffer-limit" => config.limits.request_bytes.to_string(),
        "cluster-enabled" | "daemonize" | "supervised" => "no".to_string(),
        "databases" => context.servers.databases.to_string(),
        "logfile" => config
            .log_file
            .as_ref()
            .map_or(String::new(), |path| path.display().to_string()),
        "loglevel" => level.to_string(),
        "maxclients" => config.limits.clients.to_string(),
        "port" => port.to_string(),
        "protected-mode" => if config.protected_mode { "yes" } else { "no" }.to_string(),
        "proto-max-bulk-len" => config.limits.bulk_bytes.to_string(),
        "tcp-keepalive" => "300".to_string(),
        "timeout" | "tls-port" => "0".to_string(),
        "unixsocket" => socket.clone(),
        // The rest are secrets, and what a proxy has not.
        _ => String::new(),
    };
    OWN.iter().map(|name| (*name, value(name))).collect()
}
