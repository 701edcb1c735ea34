//! [`FLAGS`]: the one table of all flags. The usage text, the reference page `dist/docs/flags.md` and the tests are
//! made from it.
//!
//! It must never know how a flag is spelled on a command line or in which order flags came.

use std::thread::available_parallelism;
use std::time::Duration;

use super::flag::{Flag, Kind, choice, not_negative, path, show_duration, show_file, show_option};
use super::passwords::{hidden, read, secret};
use super::{
    address, bounds, duration, edge, logs, memory, namespace, near_cache, number, passwords, reads,
    tls, tracking, users,
};
use crate::config::{AdminCommands, CrossSlot, PubsubOrder, ReadyWhen};
use crate::top;

/// The greatest `-pubsub-output`.
const PUBSUB_OUTPUT_MAX: u64 = 1 << 40;

/// All flags, grouped by what they concern; the usage sorts them by name.
pub const FLAGS: &[Flag] = &all();

/// The tables of flags, each of one concept.
const TABLES: &[&[Flag]] = &[
    OWN,
    &passwords::FLAGS,
    &logs::FLAGS,
    &tls::FLAGS,
    &bounds::FLAGS,
    &namespace::FLAGS,
    &near_cache::FLAGS,
    &edge::FLAGS,
    &users::FLAGS,
    &tracking::FLAGS,
];

const COUNT: usize = {
    let (mut count, mut table) = (0, 0);
    while table < TABLES.len() {
        count += TABLES[table].len();
        table += 1;
    }
    count
};

const fn all() -> [Flag; COUNT] {
    let (mut flags, mut count, mut table) = ([OWN[0]; COUNT], 0, 0);
    while table < TABLES.len() {
        let mut at = 0;
        while at < TABLES[table].len() {
            flags[count] = TABLES[table][at];
            (at, count) = (at + 1, count + 1);
        }
        table += 1;
    }
    flags
}

const OWN: &[Flag] = &[
    Flag {
        name: "config",
        kind: Kind::String,
        default: "",
        help: "read settings from this file. Each line is the name of a flag and its value; lines that begin with # \
               are comments. The command line and the environment take precedence. SIGHUP reloads the file",
        apply: |options, value| {
            let path = path(value).ok_or("is empty: it must be the name of a file")?;
            let text = read(&path)?;
            options.check_file(&text)?;
            options.file = text;
            options.config.config_file = Some(path);
            Ok(())
        },
        show: |config| show_file(&config.config_file),
        live: false,
    },
    Flag {
        name: "check",
        kind: Kind::Action,
        default: "false",
        help: "check the settings without serving, and exit. Tries the command line, the environment, the \
               configuration file, the log files, the addresses and the processors",
        apply: |options, value| {
            options.check = number::boolean(value)?;
            Ok(())
        },
        show: hidden,
        live: false,
    },
    Flag {
        name: "top",
        kind: Kind::String,
        default: "",
        help: "show the live status of a running proxy in the terminal. The URL is that of its -debug-addr, such as \
               http://127.0.0.1:9090. Sends -debug-token if it is set. A certificate (https://) is verified with \
               -tls-ca-cert-file, else with the system's certificate authorities",
        apply: |options, value| {
            if !value.is_empty() && top::target(value).is_none() {
                return Err("must be http://host:port or https://host:port".to_string());
            }
            options.config.top = (!value.is_empty()).then(|| value.to_string());
            Ok(())
        },
        show: |config| config.top.clone().unwrap_or_default(),
        live: false,
    },
    Flag {
        name: "addr",
        kind: Kind::String,
        default: "0.0.0.0:8088",
        help: "addresses to listen on, separated by commas: host:port, :port (all IPv4 interfaces), [::]:port or \
               unix:/path. Set it to an empty value to serve TLS clients only (-tls-addr)",
        apply: |options, value| {
            options.config.listen = address::listens(value)?;
            Ok(())
        },
        show: |config| address::show_listens(&config.listen),
        live: false,
    },
    Flag {
        name: "unix-socket-perm",
        kind: Kind::String,
        default: "0",
        help: "access mode of the Unix sockets of -addr, in octal, such as 770. A client needs write access to \
               connect. 0 leaves it to the umask",
        apply: |options, value| {
            options.config.unix_socket_perm = number::mode(value)?;
            Ok(())
        },
        show: |config| format!("{:o}", config.unix_socket_perm.unwrap_or(0)),
        live: false,
    },
    Flag {
        name: "reuse-port",
        kind: Kind::Bool,
        default: "false",
        help: "let several proxies listen on the same -addr (SO_REUSEPORT). Each of them needs this flag; the kernel \
               spreads new clients over them. Without it, a second proxy on the same address refuses to start",
        apply: |options, value| {
            options.config.reuse_port = number::boolean(value)?;
            Ok(())
        },
        show: |config| config.reuse_port.to_string(),
        live: false,
    },
    Flag {
        name: "startup-nodes",
        kind: Kind::String,
        default: "127.0.0.1:7001",
        help: "cluster nodes to ask for the topology at startup, as host:port separated by commas. They are tried in \
               random order; one reachable node is enough",
        apply: |options, value| {
            options.config.startup_nodes = address::nodes(value)?;
            Ok(())
        },
        show: |config| config.startup_nodes.join(","),
        live: false,
    },
    Flag {
        name: "node-map",
        kind: Kind::String,
        default: "",
        help: "where to reach nodes that announce an unreachable address (NAT, containers). A list of \
               announced=reachable separated by commas; both sides are host:port, or both are host",
        apply: |options, value| {
            options.config.node_map = address::node_map(value)?;
            Ok(())
        },
        show: |config| address::show_node_map(&config.node_map),
        live: true,
    },
    Flag {
        name: "nodes-allowed",
        kind: Kind::String,
        default: "",
        help: "address ranges in which nodes may be, such as 10.0.0.0/8,fd00::/8. The proxy does not connect to a \
               node outside them, and does not send it the password. Empty allows any address",
        apply: |options, value| {
            options.config.nodes_allowed = address::networks(value)?;
            Ok(())
        },
        show: |config| address::show_networks(&config.nodes_allowed),
        live: true,
    },
    Flag {
        name: "protected-mode",
        kind: Kind::Bool,
        default: "true",
        help: "refuse clients from other hosts while no client password is set",
        apply: |options, value| {
            options.config.protected_mode = number::boolean(value)?;
            Ok(())
        },
        show: |config| config.protected_mode.to_string(),
        live: true,
    },
    Flag {
        name: "admin-commands",
        kind: Kind::String,
        default: "yes",
        help: "who may send commands that change the servers or the proxy (FLUSHALL, CONFIG SET, PROXY CONFIG SET): \
               yes (every client), no (nobody) or loopback (local clients only). Scripts and functions run inside \
               the nodes and are not checked; restrict them with an ACL on -backend-user",
        apply: |options, value| {
            options.config.admin_commands =
                choice(value, &AdminCommands::ALL, AdminCommands::name)?;
            Ok(())
        },
        show: |config| config.admin_commands.name().to_string(),
        live: false,
    },
    Flag {
        name: "cluster-face",
        kind: Kind::String,
        default: "",
        help: "present the proxy as a cluster of one master that owns all slots, for clients that insist on cluster \
               mode. The value is the host:port at which clients reach this proxy. Empty presents a standalone \
               server",
        apply: |options, value| {
            options.config.cluster_face = address::face(value)?;
            Ok(())
        },
        show: |config| {
            let face = config.cluster_face.as_ref();
            face.map(ToString::to_string).unwrap_or_default()
        },
        live: false,
    },
    Flag {
        name: "read-prefer",
        kind: Kind::Int,
        default: "0",
        help: "where to send read commands: 0 or READ_PREFER_MASTER, 1 or READ_PREFER_SLAVE (any replica), 2 or \
               READ_PREFER_SLAVE_IDC (a replica in the proxy's own data center)",
        apply: |options, value| {
            options.config.read_preference = reads::preference(value)?;
            Ok(())
        },
        show: |config| (config.read_preference as u8).to_string(),
        live: true,
    },
    Flag {
        name: "idc-prefixes",
        kind: Kind::String,
        default: "",
        help: "address prefixes that count as the proxy's own data center, such as 10.1.,10.2. The first two octets \
               of the proxy's own address always count",
        apply: |options, value| {
            options.config.idc_prefixes = address::items(value).map(str::to_string).collect();
            Ok(())
        },
        show: |config| config.idc_prefixes.join(","),
        live: true,
    },
    Flag {
        name: "connect-timeout",
        kind: Kind::Duration,
        default: "250ms",
        help: "time limit for connecting to a node, handshake included",
        apply: |options, value| {
            options.config.connect_timeout = positive(value)?;
            Ok(())
        },
        show: |config| show_duration(config.connect_timeout),
        live: true,
    },
    Flag {
        name: "request-timeout",
        kind: Kind::Duration,
        default: "15s",
        help: "how long a node may owe a reply before the proxy closes the connection and treats the node as lost; also how \
               long a large request may stand still on its way",
        apply: |options, value| {
            options.config.request_timeout = positive(value)?;
            Ok(())
        },
        show: |config| show_duration(config.request_timeout),
        live: true,
    },
    Flag {
        name: "park-timeout",
        kind: Kind::String,
        default: "auto",
        help: "how long to hold a request while its slot has no reachable owner, as during a failover: a duration, 0 \
               (do not wait) or auto. auto is 1.5 times the nodes' cluster-node-timeout plus 5s, at least 5s and at \
               most 1m",
        apply: |options, value| {
            options.config.park_timeout = match value {
                "auto" => None,
                value => Some(not_negative(value).map_err(|reason| format!("{reason}, or auto"))?),
            };
            Ok(())
        },
        show: |config| {
            config
                .park_timeout
                .map_or("auto".to_string(), show_duration)
        },
        live: true,
    },
    Flag {
        name: "client-idle-timeout",
        kind: Kind::Duration,
        default: "0s",
        help: "close clients that send nothing for this long. 0 never closes them",
        apply: |options, value| {
            options.config.client_idle_timeout = not_negative(value)?;
            Ok(())
        },
        show: |config| show_duration(config.client_idle_timeout),
        live: true,
    },
    Flag {
        name: "write-stall",
        kind: Kind::Duration,
        default: "1m0s",
        help: "close a client that has not read any of its pending replies for this long. 0 never closes it",
        apply: |options, value| {
            options.config.write_stall = not_negative(value)?;
            Ok(())
        },
        show: |config| show_duration(config.write_stall),
        live: true,
    },
    Flag {
        name: "client-query-buffer-limit",
        kind: Kind::String,
        default: "1gb",
        help: "how many bytes of unexecuted requests a client may queue. Above this limit it is closed. A transaction \
               may queue 64mb of commands at most, even if this limit is higher",
        apply: |options, value| {
            let limit = memory::bytes(value)?;
            if limit < 1 << 20 {
                return Err("must be at least 1mb".into());
            }
            options.config.limits.request_bytes = limit as usize;
            Ok(())
        },
        show: |config| memory::show(config.limits.request_bytes as u64),
        live: true,
    },
    Flag {
        name: "client-output-buffer-limit",
        kind: Kind::String,
        default: "normal 1gb 0 0 pubsub 32mb 8mb 60",
        help: "how many bytes of unread replies a client may have, as in redis.conf: class (normal or pubsub), hard \
               limit, soft limit, seconds. A client is closed above the hard limit, or after that many seconds above \
               the soft limit. 0 is no limit",
        apply: |options, value| memory::output_limits(&mut options.config.limits, value),
        show: |config| memory::show_output_limits(&config.limits),
        live: true,
    },
    Flag {
        name: "pubsub-output",
        kind: Kind::Int,
        default: "33554432",
        help: "hard limit of -client-output-buffer-limit pubsub, in bytes or with a unit such as 32mb",
        apply: |options, value| {
            options.config.limits.pubsub_output_bytes = match memory::bytes(value)? {
                bytes @ 1..=PUBSUB_OUTPUT_MAX => bytes as usize,
                _ => return Err("must be between 1 and 1tb (1024gb)".to_string()),
            };
            Ok(())
        },
        show: |config| {
            config
                .limits
                .pubsub_output_bytes
                .min(PUBSUB_OUTPUT_MAX as usize)
                .to_string()
        },
        live: true,
    },
    Flag {
        name: "slots-reload-interval",
        kind: Kind::Duration,
        default: "3s",
        help: "how often to refresh the topology. Redirects and lost connections trigger a refresh as well",
        apply: |options, value| {
            options.config.slots_reload_interval = positive(value)?;
            Ok(())
        },
        show: |config| show_duration(config.slots_reload_interval),
        live: true,
    },
    Flag {
        name: "backend-connections",
        kind: Kind::Int,
        default: "1",
        help: "shared connections to each node, for each worker",
        apply: |options, value| {
            options.config.backend_connections = number::within(value, 1, 1024)?;
            Ok(())
        },
        show: |config| config.backend_connections.to_string(),
        live: false,
    },
    Flag {
        name: "backend-init-connections",
        kind: Kind::Int,
        default: "5",
        help: "how many exclusive connections to each node to keep as a minimum, over all workers. They serve \
               transactions and blocking commands, and are opened when the first one is needed. At most \
               -backend-idle-connections",
        apply: |options, value| {
            options.config.backend_init_connections = number::within(value, 0, 65535)?;
            Ok(())
        },
        show: |config| config.backend_init_connections.to_string(),
        live: false,
    },
    Flag {
        name: "backend-idle-connections",
        kind: Kind::Int,
        default: "512",
        help: "how many unused exclusive connections to each node to keep as a maximum, over all workers. Below it, \
               the proxy keeps slightly more than the peak of the last ten seconds",
        apply: |options, value| {
            options.config.backend_idle_connections = number::within(value, 0, 65535)?;
            Ok(())
        },
        show: |config| config.backend_idle_connections.to_string(),
        live: false,
    },
    Flag {
        name: "backend-idle-timeout",
        kind: Kind::Duration,
        default: "10s",
        help: "close node connections that are no longer needed after this long: unused exclusive ones, and shared \
               ones to nodes that have no slots or no longer serve reads. 0 never closes them",
        apply: |options, value| {
            options.config.backend_idle_timeout = not_negative(value)?;
            Ok(())
        },
        show: |config| show_duration(config.backend_idle_timeout),
        live: true,
    },
    Flag {
        name: "max-clients",
        kind: Kind::Int,
        default: "10000",
        help: "maximum number of clients, over all workers. At start it is lowered to what the limit of file \
               descriptors allows",
        apply: |options, value| {
            let clients = number::within(value, 1, 10_000_000)?;
            let allowed = options.config.limits.clients_max;
            if clients > allowed {
                return Err(format!(
                    "The operating system is not able to handle the specified number of clients, try with {allowed}"
                ));
            }
            options.config.limits.clients = clients;
            Ok(())
        },
        show: |config| config.limits.clients.to_string(),
        live: true,
    },
    Flag {
        name: "max-blocked-clients",
        kind: Kind::Int,
        default: "4000",
        help: "maximum number of clients in blocking commands (such as BLPOP), over all workers. Each uses a node \
               connection of its own. One more gets an error at once",
        apply: |options, value| {
            options.config.limits.blocking_leases = number::within(value, 0, 10_000_000)?;
            Ok(())
        },
        show: |config| config.limits.blocking_leases.to_string(),
        live: true,
    },
    Flag {
        name: "max-transactions",
        kind: Kind::Int,
        default: "4000",
        help: "maximum number of clients in transactions (WATCH, MULTI), over all workers. Each uses a node \
               connection of its own. One more gets an error at once",
        apply: |options, value| {
            options.config.limits.transaction_leases = number::within(value, 0, 10_000_000)?;
            Ok(())
        },
        show: |config| config.limits.transaction_leases.to_string(),
        live: true,
    },
    Flag {
        name: "transaction-idle-timeout",
        kind: Kind::Duration,
        default: "1m0s",
        help: "how long a client may pause within a transaction before the proxy takes back its node connection. \
               Queued commands are kept; after WATCH, EXEC returns nil. 0 never takes it back",
        apply: |options, value| {
            options.config.transaction_idle_timeout = not_negative(value)?;
            Ok(())
        },
        show: |config| show_duration(config.transaction_idle_timeout),
        live: true,
    },
    Flag {
        name: "cross-slot-transactions",
        kind: Kind::String,
        default: "refuse",
        help: "what to do with a transaction whose keys are in several slots: refuse (as a Redis node does) or \
               per-slot. per-slot runs one MULTI/EXEC in each slot and merges the replies; it is not atomic across \
               slots. After WATCH a transaction has one slot all the same",
        apply: |options, value| {
            options.config.cross_slot_transactions =
                choice(value, &CrossSlot::ALL, CrossSlot::name)?;
            Ok(())
        },
        show: |config| config.cross_slot_transactions.name().to_string(),
        live: false,
    },
    Flag {
        name: "pubsub-order",
        kind: Kind::String,
        default: "all",
        help: "which published messages keep their order: all or channel. all preserves the order across channels, \
               as one server does, by sending all channels through one master. channel preserves it within each \
               channel and spreads the load over the masters",
        apply: |options, value| {
            options.config.pubsub_order = choice(value, &PubsubOrder::ALL, PubsubOrder::name)?;
            Ok(())
        },
        show: |config| config.pubsub_order.name().to_string(),
        live: false,
    },
    Flag {
        name: "coalesce",
        kind: Kind::Duration,
        default: "100µs",
        help: "how long a worker may wait for more events when eight or more clients are active, to serve more of \
               them in one turn. Adds at most this much latency (twice as much with several workers). With fewer \
               clients it never waits. 0 turns it off",
        apply: |options, value| {
            options.config.coalesce = not_negative(value)?;
            Ok(())
        },
        show: |config| show_duration(config.coalesce),
        live: false,
    },
    Flag {
        name: "busy-poll",
        kind: Kind::Bool,
        default: "false",
        help: "workers that have clients poll without sleeping. Reduces latency, and uses one full processor for \
               each worker. -coalesce then has no effect",
        apply: |options, value| {
            options.config.busy_poll = number::boolean(value)?;
            Ok(())
        },
        show: |config| config.busy_poll.to_string(),
        live: true,
    },
    Flag {
        name: "cpu-affinity",
        kind: Kind::String,
        default: "",
        help: "processors to pin the workers to, in turn, such as 0,2-3. Empty pins none",
        apply: |options, value| {
            options.config.cpu_affinity = processors(value)?;
            Ok(())
        },
        show: |config| {
            let numbers: Vec<String> = config.cpu_affinity.iter().map(usize::to_string).collect();
            numbers.join(",")
        },
        live: false,
    },
    Flag {
        name: "max-procs",
        kind: Kind::Int,
        default: "1",
        help: "number of worker threads. 0 uses all processors available to the process",
        apply: |options, value| {
            options.config.workers = match number::within(value, 0, 1024)? {
                0 => available_parallelism().map_or(1, usize::from),
                workers => workers,
            };
            Ok(())
        },
        show: |config| config.workers.to_string(),
        live: false,
    },
    Flag {
        name: "debug-addr",
        kind: Kind::String,
        default: "",
        help: "address of the status page, health checks and metrics: host:port or :port. Open / in a browser or \
               with curl to see what it serves. An address that is not loopback needs -debug-token. Empty serves \
               none",
        apply: |options, value| {
            options.config.debug_addr = match value {
                "" => None,
                value => Some(address::tcp(value)?),
            };
            Ok(())
        },
        show: |config| show_option(&config.debug_addr),
        live: false,
    },
    Flag {
        name: "ready-when",
        kind: Kind::String,
        default: "all-slots",
        help: "when /readyz returns 200: all-slots (every slot has a master that is up) or any-slot (at least one \
               slot has). With any-slot, one dead shard does not take every proxy out of service",
        apply: |options, value| {
            options.config.ready_when = choice(value, &ReadyWhen::ALL, ReadyWhen::name)?;
            Ok(())
        },
        show: |config| config.ready_when.name().to_string(),
        live: true,
    },
    Flag {
        name: "debug-token",
        kind: Kind::Secret,
        default: "",
        help: "token for -debug-addr. Requests must send it as Authorization: Bearer TOKEN, except to /healthz and \
               /readyz",
        apply: |options, value| {
            options.config.debug_token = Some(secret(value)?);
            Ok(())
        },
        show: hidden,
        live: false,
    },
    Flag {
        name: "version",
        kind: Kind::Action,
        default: "false",
        help: "print the version and exit",
        apply: |options, value| {
            options.version = number::boolean(value)?;
            Ok(())
        },
        show: hidden,
        live: false,
    },
];

fn positive(value: &str) -> Result<Duration, String> {
    match duration::parse(value)? {
        nanos @ 1.. => Ok(Duration::from_nanos(nanos.unsigned_abs())),
        _ => Err("must be more than 0".to_string()),
    }
}

/// A list of processors and ranges of them: `0,2-3`.
fn processors(value: &str) -> Result<Vec<usize>, String> {
    let mut processors = Vec::new();
    for part in value.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| match text.parse::<usize>() {
            Ok(number) if number < 1024 => Ok(number),
            _ => Err(format!("no processor: {part:?}")),
        };
        processors.extend(number(first)?..=number(last)?);
    }
    Ok(processors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::options::Options;

    #[test]
    fn values_are_shown_as_they_are_typed() {
        let config = Config::default();
        for flag in FLAGS.iter().filter(|flag| flag.kind != Kind::Action) {
            assert_eq!((flag.show)(&config), flag.default, "-{}", flag.name);
        }
    }

    #[test]
    fn the_defaults_of_the_table_are_those_of_the_config() {
        let mut options = Options::default();
        for flag in FLAGS.iter().filter(|flag| !flag.guards()) {
            let applied = (flag.apply)(&mut options, flag.default);
            assert_eq!(applied, Ok(()), "-{}", flag.name);
        }
        assert_eq!(options.into_config(), Ok(Config::default()));
    }

    #[test]
    fn default_durations_are_written_as_go_writes_them() {
        for flag in FLAGS.iter().filter(|flag| flag.kind == Kind::Duration) {
            let nanos = duration::parse(flag.default).unwrap();
            assert_eq!(duration::format(nanos), flag.default, "-{}", flag.name);
        }
    }

    #[test]
    fn names_are_unique_and_of_one_form() {
        for (index, flag) in FLAGS.iter().enumerate() {
            // getopts takes a name of one letter for a short option.
            assert!(flag.name.len() > 1);
            let form = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(flag.name.bytes().all(form), "-{}", flag.name);
            assert!(FLAGS[..index].iter().all(|other| other.name != flag.name));
            // These would break the table of the reference page.
            assert!(!flag.help.contains(['|', '\n', '`']), "-{}", flag.name);
        }
    }
}
