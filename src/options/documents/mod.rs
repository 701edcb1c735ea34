//! The documents of a package that are made from the table of flags: the man page, completions for shells, an example
//! configuration. `UPDATE_DIST=1 cargo test --test it dist::` writes them to `dist/`.
//!
//! It must never know where a document is kept.

mod completions;
mod example;
mod man;

pub use completions::{bash, fish, zsh};
pub use example::example;
pub use man::man;

use super::flag::{Flag, Kind};
use super::table::FLAGS;

/// The name of the program.
const PROGRAM: &str = env!("CARGO_PKG_NAME");

/// What may stand behind a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// One of these words.
    Words(&'static [&'static str]),
    /// The name of a file.
    File,
    /// Something that no shell can know.
    Free,
    /// Nothing, or a boolean behind `=`.
    Switch,
}

/// The words of those flags that take one of a few.
const WORDS: &[(&str, &[&str])] = &[
    ("admin-commands", &["yes", "no", "loopback"]),
    (
        "read-prefer",
        &[
            "READ_PREFER_MASTER",
            "READ_PREFER_SLAVE",
            "READ_PREFER_SLAVE_IDC",
        ],
    ),
    ("cross-slot-transactions", &["refuse", "per-slot"]),
    ("pubsub-order", &["all", "channel"]),
    ("log-level", &["debug", "info", "warn", "error"]),
    ("log-format", &["text", "json"]),
    ("ready-when", &["all-slots", "any-slot"]),
    ("tls-auth-clients", &["yes", "no", "optional"]),
];

/// Flags that name a file.
const FILES: &[&str] = &[
    "config",
    "password-file",
    "password-old-file",
    "log-file",
    "access-log-file",
    "acl-file",
    "tls-cert-file",
    "tls-key-file",
    "tls-ca-cert-file",
    "backend-tls-ca-cert-file",
    "backend-tls-cert-file",
    "backend-tls-key-file",
];

/// A value for each flag that has no default to show.
const EXAMPLES: &[(&str, &str)] = &[
    ("node-map", "172.17.0.2:6379=10.0.0.1:7001"),
    ("user-rate-limit", "app=1000,batch=50"),
    ("user-max-clients", "app=100,batch=5"),
    (
        "user-settings",
        "report:read-prefer=READ_PREFER_SLAVE;admin=no,ops:admin=yes",
    ),
    ("proxy-protocol", "10.0.0.0/8,fd00::/8"),
    ("nodes-allowed", "10.0.0.0/8,fd00::/8"),
    ("password", "secret"),
    ("password-old", "older-secret"),
    ("password-old-file", "/etc/redis-cluster-proxy/password.old"),
    ("password-file", "/etc/redis-cluster-proxy/password"),
    ("client-password", "secret-of-clients"),
    ("client-password-old", "older-secret-of-clients"),
    ("acl-file", "/etc/redis-cluster-proxy/users.acl"),
    ("take-over", "/run/redis-cluster-proxy/take-over"),
    ("backend-user", "proxy"),
    ("backend-password", "secret-of-nodes"),
    ("backend-password-old", "older-secret-of-nodes"),
    ("namespace", "jobs"),
    (
        "namespace-addrs",
        "jobs=127.0.0.1:8089,cache=127.0.0.1:8090",
    ),
    ("near-cache-prefixes", "user:,product:"),
    ("namespace-users", "alice=jobs,bob=cache"),
    ("cluster-face", "proxy.example.org:8088"),
    ("idc-prefixes", "10.1.,10.2."),
    ("cpu-affinity", "0,2-3"),
    ("access-log-file", "redis-cluster-proxy-access.log"),
    ("debug-addr", "127.0.0.1:9090"),
    ("debug-token", "secret-of-operators"),
    ("tls-addr", "0.0.0.0:8443"),
    ("tls-cert-file", "/etc/redis-cluster-proxy/proxy.crt"),
    ("tls-key-file", "/etc/redis-cluster-proxy/proxy.key"),
    (
        "tls-ca-cert-file",
        "/etc/redis-cluster-proxy/clients-ca.crt",
    ),
    (
        "tls-ciphersuites",
        "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
    ),
    (
        "backend-tls-ca-cert-file",
        "/etc/redis-cluster-proxy/nodes-ca.crt",
    ),
    (
        "backend-tls-cert-file",
        "/etc/redis-cluster-proxy/proxy-client.crt",
    ),
    (
        "backend-tls-key-file",
        "/etc/redis-cluster-proxy/proxy-client.key",
    ),
    ("backend-tls-server-name", "redis.example.org"),
];

impl Value {
    fn of(flag: &Flag) -> Value {
        let named = WORDS.iter().find(|(name, _)| *name == flag.name);
        match (named, flag.kind) {
            (Some((_, words)), _) => Value::Words(words),
            (None, Kind::Bool | Kind::Action) => Value::Switch,
            (None, _) if FILES.contains(&flag.name) => Value::File,
            (None, _) => Value::Free,
        }
    }
}

/// A value to show: the default, or an example where that says nothing.
fn sample(flag: &Flag) -> &'static str {
    let example = EXAMPLES.iter().find(|(name, _)| *name == flag.name);
    example.map_or(flag.default, |(_, value)| value)
}

/// The flags in the order of their names.
fn sorted() -> Vec<&'static Flag> {
    let mut flags: Vec<&Flag> = FLAGS.iter().collect();
    flags.sort_by_key(|flag| flag.name);
    flags
}

/// Whether a flag can stand in the file of `-config`.
fn is_setting(flag: &Flag) -> bool {
    flag.kind != Kind::Action && !matches!(flag.name, "config" | "top")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Options, Parsed, parse};
    use std::ffi::OsString;

    #[test]
    fn what_is_said_of_a_flag_here_is_true_of_it() {
        let flag = |name: &str| {
            let found = FLAGS.iter().find(|flag| flag.name == name);
            found.unwrap_or_else(|| panic!("-{name} is no flag"))
        };
        for (name, words) in WORDS {
            let apply = flag(name).apply;
            for word in *words {
                assert_eq!(apply(&mut Options::default(), word), Ok(()), "{name}");
            }
            assert!(apply(&mut Options::default(), "another word").is_err());
        }
        for name in FILES {
            assert_eq!(flag(name).kind, Kind::String);
        }
        for (name, _) in EXAMPLES {
            assert_eq!(flag(name).default, "", "-{name} has a default to show");
        }
    }

    #[test]
    fn every_line_of_the_example_can_be_used() {
        let example = example();
        let is_line =
            |line: &&str| line.starts_with('#') && !line.starts_with("# ") && *line != "#";
        let lines: Vec<&str> = example.lines().filter(is_line).collect();
        let settings = FLAGS.iter().filter(|flag| is_setting(flag));
        assert_eq!(lines.len(), settings.count(), "{lines:?}");
        for line in lines {
            let (name, value) = line[1..].split_once(' ').expect("a value");
            let flag = FLAGS.iter().find(|flag| flag.name == name).expect(name);
            assert!(!value.is_empty(), "{line}");
            // A file of a package is not here.
            if name.starts_with("password") && name.ends_with("file") {
                continue;
            }
            let applied = (flag.apply)(&mut Options::default(), value);
            assert_eq!(applied, Ok(()), "{line}");
        }
    }

    #[test]
    fn the_example_as_it_is_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("example.conf");
        std::fs::write(&path, example()).expect("written");
        let args = [OsString::from("-config"), path.clone().into()];
        let Ok(Parsed::Run(config)) = parse(args.into_iter(), |_| None) else {
            panic!("the example is refused");
        };
        let expected = crate::config::Config {
            config_file: Some(path),
            ..Default::default()
        };
        assert_eq!(config, expected);
    }
}
