//! Server settings that correspond to a flag of the proxy: what CONFIG GET shows for them, and what CONFIG SET does:
//! it changes the flag, or refuses and names the flag.
//!
//! Values are parsed, and refused, as Redis 7.0.15 does.

use super::Context;
use crate::config::{Config, KEEPALIVE, Limits, Listen, SoftLimit};
use crate::proxy::texts;

/// What CONFIG SET does.
#[derive(Debug, Clone, Copy)]
pub enum Set {
    /// It changes this flag, to the value that is made of the server's.
    Flag(&'static str, fn(&str) -> Result<String, String>),
    /// It may be set to the value that it has. What is no value of a server is refused in a server's words.
    Fixed(fn(&str) -> Result<i64, String>),
    /// As on a server: it cannot be changed.
    Immutable,
    /// A server could change it. Here it is this, or decided by it.
    Elsewhere(&'static str),
}

use Set::{Elsewhere, Fixed, Flag, Immutable};

/// A setting of the proxy's own.
#[derive(Debug)]
pub struct Own {
    /// The server's name.
    pub name: &'static str,
    /// What CONFIG SET does.
    pub set: Set,
    /// Whether CONFIG GET has it from the nodes, which are told of a change, too.
    pub of_nodes: bool,
}

const fn own(name: &'static str, set: Set) -> Own {
    let of_nodes = false;
    Own {
        name,
        set,
        of_nodes,
    }
}

const PASSWORDS: &str = "change -client-password, -password or -password-file of this proxy and send it \
     SIGHUP";
const NODES_PASSWORD: &str = "it is used between nodes: set it on the nodes themselves";
const NO_TLS: &str = "use the -tls-* flags of this proxy";

/// What a node says of these is never shown: it is wrong for the proxy, or a secret between the proxy and the
/// node.
#[rustfmt::skip]
pub const OWN: &[Own] = &[
    own("bind", Elsewhere("it is -addr of this proxy, which can only be set at startup")),
    own("client-output-buffer-limit", Flag("client-output-buffer-limit", as_it_is)),
    own("client-query-buffer-limit", Flag("client-query-buffer-limit", as_it_is)),
    own("cluster-enabled", Immutable),
    own("daemonize", Immutable),
    own("databases", Immutable),
    own("logfile", Immutable),
    own("loglevel", Flag("log-level", level)),
    own("masterauth", Elsewhere(NODES_PASSWORD)),
    own("masteruser", Elsewhere(NODES_PASSWORD)),
    own("maxclients", Flag("max-clients", clients)),
    own("pidfile", Immutable),
    own("port", Elsewhere("it is -addr of this proxy, which can only be set at startup")),
    own("protected-mode", Flag("protected-mode", yes_or_no)),
    own("proto-max-bulk-len", Fixed(bulk_bytes)),
    own("replicaof", Immutable),
    own("requirepass", Elsewhere(PASSWORDS)),
    own("slaveof", Immutable),
    Own { name: "slowlog-log-slower-than", set: Flag("slowlog-log-slower-than", micros), of_nodes: true },
    own("supervised", Immutable),
    own("tcp-keepalive", Fixed(whole_seconds)),
    own("timeout", Flag("client-idle-timeout", seconds)),
    own("tls-client-key-file-pass", Elsewhere(NO_TLS)),
    own("tls-key-file-pass", Elsewhere(NO_TLS)),
    own("tls-port", Elsewhere(NO_TLS)),
    own("unixsocket", Immutable),
    own("unixsocketperm", Immutable),
];

/// Names that only some servers have, for settings of [`OWN`] that are secrets. They are never shown.
pub const SECRET_ALIASES: &[&str] = &["primaryauth", "primaryuser"];

/// The setting of this name.
pub fn find(name: &[u8]) -> Option<&'static Own> {
    let mut rows = OWN.iter();
    rows.find(|own| own.name.as_bytes().eq_ignore_ascii_case(name))
}

/// Those that CONFIG GET shows, each with its value.
pub fn shown(context: &Context<'_>) -> Vec<(&'static str, String)> {
    let rows = OWN.iter().filter(|own| !own.of_nodes);
    rows.map(|own| (own.name, value(own.name, context)))
        .collect()
}

/// The value that a setting has.
pub fn value(name: &str, context: &Context<'_>) -> String {
    let config: &Config = context.config;
    match name {
        "bind" => bound(config),
        "client-output-buffer-limit" => output_limits(&config.limits),
        "client-query-buffer-limit" => config.limits.request_bytes.to_string(),
        "cluster-enabled" | "daemonize" | "supervised" => "no".to_string(),
        "databases" => {
            let own = context
                .session
                .namespace
                .as_ref()
                .map(|own| own.databases());
            let own = own.filter(|databases| *databases > 1);
            own.unwrap_or(context.servers.databases).to_string()
        }
        "logfile" => {
            let path = config.log_file.as_ref();
            path.map_or(String::new(), |path| path.display().to_string())
        }
        "loglevel" => match config.log_level {
            log::LevelFilter::Trace | log::LevelFilter::Debug => "debug",
            log::LevelFilter::Info => "notice",
            log::LevelFilter::Warn | log::LevelFilter::Error | log::LevelFilter::Off => "warning",
        }
        .to_string(),
        "maxclients" => config.limits.clients.to_string(),
        "port" => {
            let mut plain = config.listen.iter().filter_map(Listen::port);
            plain.next().unwrap_or(0).to_string()
        }
        "protected-mode" => if config.protected_mode { "yes" } else { "no" }.to_string(),
        "proto-max-bulk-len" => config.limits.bulk_bytes.to_string(),
        "tcp-keepalive" => KEEPALIVE.as_secs().to_string(),
        // Less than a second is not none.
        "timeout" => config
            .client_idle_timeout
            .as_millis()
            .div_ceil(1000)
            .to_string(),
        "tls-port" => {
            let encrypted = config.tls.listen.map(|address| address.port());
            encrypted.unwrap_or(0).to_string()
        }
        "unixsocket" => {
            let path = config.listen.iter().find_map(|listen| match listen {
                Listen::Unix(path) => Some(path.display().to_string()),
                Listen::Tcp(_) => None,
            });
            path.unwrap_or_default()
        }
        "unixsocketperm" => format!("{:o}", config.unix_socket_perm.unwrap_or(0)),
        // The rest are secrets, and what a proxy has not.
        _ => String::new(),
    }
}

/// The addresses of all TCP listeners, each once.
fn bound(config: &Config) -> String {
    let mut hosts: Vec<String> = Vec::new();
    for listen in config.listens() {
        if let Listen::Tcp(address) = listen {
            let host = address.ip().to_string();
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    hosts.join(" ")
}

/// The limits of outputs as Redis shows them: of each class the hard and the soft limit and the seconds. There are
/// no replicas here.
fn output_limits(limits: &Limits) -> String {
    let class = |hard, soft: SoftLimit| {
        let [hard, soft_bytes] = [hard, soft.bytes].map(|bytes| match bytes {
            usize::MAX => 0,
            bytes => bytes,
        });
        format!("{hard} {soft_bytes} {}", soft.time.as_secs())
    };
    let normal = class(limits.client_output_bytes_max, limits.client_output_soft);
    let pubsub = class(limits.pubsub_output_bytes, limits.pubsub_output_soft);
    format!("normal {normal} slave 0 0 0 pubsub {pubsub}")
}

/// The flag takes the server's own form.
fn as_it_is(value: &str) -> Result<String, String> {
    Ok(value.to_string())
}

fn level(value: &str) -> Result<String, String> {
    match value.to_ascii_lowercase().as_str() {
        "debug" => Ok("debug"),
        "verbose" | "notice" => Ok("info"),
        "warning" => Ok("warn"),
        "nothing" => Ok("error"),
        _ => Err(
            "argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
        ),
    }
    .map(str::to_string)
    .map_err(str::to_string)
}

fn yes_or_no(value: &str) -> Result<String, String> {
    match value.to_ascii_lowercase().as_str() {
        "yes" => Ok("true".to_string()),
        "no" => Ok("false".to_string()),
        _ => Err("argument must be 'yes' or 'no'".to_string()),
    }
}

fn number(value: &str, min: i64, max: i64) -> Result<i64, String> {
    let number = texts::strict_integer(value.as_bytes())
        .ok_or("argument couldn't be parsed into an integer")?;
    match (min..=max).contains(&number) {
        true => Ok(number),
        false => Err(format!(
            "argument must be between {min} and {max} inclusive"
        )),
    }
}

fn clients(value: &str) -> Result<String, String> {
    Ok(number(value, 1, i64::from(u32::MAX))?.to_string())
}

fn micros(value: &str) -> Result<String, String> {
    Ok(number(value, -1, i64::MAX)?.to_string())
}

fn whole_seconds(value: &str) -> Result<i64, String> {
    number(value, 0, i64::from(i32::MAX))
}

fn seconds(value: &str) -> Result<String, String> {
    Ok(format!("{}s", whole_seconds(value)?))
}

fn bulk_bytes(value: &str) -> Result<i64, String> {
    let no_number = "argument must be a memory value";
    let text = value.to_ascii_lowercase();
    let units = [("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10), ("", 1)];
    let found = units
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)));
    let (digits, unit): (&str, i64) = found.ok_or(no_number)?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<i64>().ok().filter(|_| plain);
    let bytes = number.and_then(|number| number.checked_mul(unit));
    match bytes.ok_or(no_number)? {
        bytes if bytes >= 1 << 20 => Ok(bytes),
        _ => Err("argument must be between 1048576 and 9223372036854775807 inclusive".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options;

    #[test]
    fn rows_stand_in_order_and_name_flags_that_can_be_changed() {
        assert!(OWN.is_sorted_by_key(|own| own.name));
        for own in OWN {
            let Flag(flag, _) = own.set else { continue };
            let found = options::FLAGS.iter().find(|row| row.name == flag);
            assert!(found.is_some_and(|row| row.live), "{}", own.name);
        }
    }

    #[test]
    fn values_are_those_of_a_server() {
        let check = |name: &str, value: &str, expected: Result<&str, &str>| {
            let Some(Own {
                set: Flag(_, convert),
                ..
            }) = find(name.as_bytes())
            else {
                panic!("{name} changes no flag");
            };
            let found = convert(value);
            assert_eq!(
                found.as_deref().map_err(String::as_str),
                expected,
                "{name} {value}"
            );
        };
        let no_number = Err("argument couldn't be parsed into an integer");
        check("timeout", "10", Ok("10s"));
        check("TIMEOUT", "0", Ok("0s"));
        check("timeout", "10s", no_number);
        check("timeout", "+1", no_number);
        check(
            "timeout",
            "-1",
            Err("argument must be between 0 and 2147483647 inclusive"),
        );
        check(
            "maxclients",
            "0",
            Err("argument must be between 1 and 4294967295 inclusive"),
        );
        check("maxclients", "7", Ok("7"));
        check("loglevel", "Notice", Ok("info"));
        check("loglevel", "warning", Ok("warn"));
        check("protected-mode", "no", Ok("false"));
        check(
            "protected-mode",
            "false",
            Err("argument must be 'yes' or 'no'"),
        );
        check("slowlog-log-slower-than", "-1", Ok("-1"));
    }

    #[test]
    fn what_is_fixed_is_refused_in_the_words_of_a_server() {
        let check = |name: &str, value: &str, expected: Result<i64, &str>| {
            let Some(Own {
                set: Fixed(parse), ..
            }) = find(name.as_bytes())
            else {
                panic!("{name} is not fixed");
            };
            let found = parse(value);
            assert_eq!(
                found.as_ref().copied().map_err(String::as_str),
                expected,
                "{value}"
            );
        };
        let no_number = Err("argument couldn't be parsed into an integer");
        let range = Err("argument must be between 0 and 2147483647 inclusive");
        for value in ["x", "", "1.5", "10s", "+1"] {
            check("tcp-keepalive", value, no_number);
        }
        check("tcp-keepalive", "-1", range);
        check("tcp-keepalive", "99999999999", range);
        check("tcp-keepalive", "300", Ok(300));
        let no_number = Err("argument must be a memory value");
        for value in ["x", "-1", "+1", "1.5mb", "1tb", "mb", "99999999999999999gb"] {
            check("proto-max-bulk-len", value, no_number);
        }
        let range = Err("argument must be between 1048576 and 9223372036854775807 inclusive");
        check("proto-max-bulk-len", "1048575", range);
        check("proto-max-bulk-len", "512MB", Ok(512 << 20));
        check("proto-max-bulk-len", "1048576", Ok(1 << 20));
    }
}
