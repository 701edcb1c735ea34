//! `Servers`: what the servers of the cluster reported about themselves: commands, version, settings.
//!
//! It must never know how they were asked, nor which nodes there are.

use std::sync::Arc;
use std::time::Duration;

use super::{Known, Table};
use crate::resp::value::Value;

/// What the servers have said of themselves.
#[derive(Debug, Clone)]
pub struct Servers {
    /// All commands: those compiled in and those learnt.
    pub table: Arc<Table>,
    /// The commands that the servers have; nothing as long as none has said it.
    pub known: Option<Arc<Known>>,
    /// The lowest version among them, as `redis_version` of INFO.
    pub version: Option<String>,
    /// What that one calls itself.
    pub kind: Kind,
    /// How many databases each of them has: 1, but where `cluster-databases` says otherwise.
    pub databases: u16,
    /// The longest `cluster-node-timeout` among them, if any says it: so long one is silent until the others call it
    /// dead.
    pub node_timeout: Option<Duration>,
}

impl Servers {
    /// Nothing has been said yet.
    pub fn unknown(table: Arc<Table>) -> Servers {
        Servers {
            table,
            known: None,
            version: None,
            kind: Kind::default(),
            databases: 1,
            node_timeout: None,
        }
    }

    /// Whether the others say the same. Their tables are compared by identity: one is made when there is news only.
    pub fn same_as(&self, other: &Servers) -> bool {
        Arc::ptr_eq(&self.table, &other.table)
            && self.known == other.known
            && self.version == other.version
            && self.kind == other.kind
            && self.databases == other.databases
            && self.node_timeout == other.node_timeout
    }
}

/// What a server calls itself, where that is not plainly Redis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kind {
    /// What it says right behind `redis_version`: `server_name` and `valkey_version` of Valkey.
    pub names: Vec<(String, String)>,
    /// Whether it speaks of `server_mode`, not of `redis_mode`: then HELLO, too, has its own name and version.
    pub own_name: bool,
    /// Those of [`SOMETIMES`] that it has.
    pub fields: Vec<&'static str>,
    /// Its modules, as the section of that name lists them: `name=json,ver=20408,api=1,...`.
    pub modules: Vec<String>,
}

/// Fields of INFO that some servers have and others do not. Those of Redis 7.2 and 8 and of Valkey that the proxy can
/// tell, too: it has them where the servers have.
#[rustfmt::skip]
pub const SOMETIMES: &[&str] = &[
    "availability_zone",
    "clients_hz",
    "listener0",
    "paused_actions",
    "paused_reason",
    "paused_timeout_milliseconds",
    "total_blocking_keys",
    "total_blocking_keys_on_nokey",
    "total_watched_keys",
    "watching_clients",
];

/// Fields of names that are kept.
const NAMES_MAX: usize = 8;
/// Modules that are kept.
const MODULES_MAX: usize = 64;
/// The longest line of a module that is kept.
const MODULE_MAX: usize = 1024;

impl Kind {
    /// By what INFO says of the server.
    pub fn of(info: &[u8]) -> Kind {
        let text = std::str::from_utf8(info).unwrap_or_default();
        let fields: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'))
            .collect();
        let names = fields
            .iter()
            .skip_while(|(name, _)| *name != "redis_version")
            .skip(1)
            .take_while(|(name, _)| !name.starts_with("redis_") && !name.ends_with("_mode"))
            .take(NAMES_MAX)
            .filter(|(name, value)| is_plain(name) && is_plain(value));
        Kind {
            names: names
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            own_name: fields.iter().any(|(name, _)| *name == "server_mode"),
            fields: SOMETIMES
                .iter()
                .copied()
                .filter(|own| fields.iter().any(|(name, _)| name == own))
                .collect(),
            modules: fields
                .iter()
                .filter(|(name, line)| *name == "module" && is_module(line))
                .take(MODULES_MAX)
                .map(|(_, line)| line.to_string())
                .collect(),
        }
    }

    /// Whether it has a field of INFO that some servers do not have.
    pub fn has(&self, field: &str) -> bool {
        debug_assert!(SOMETIMES.contains(&field));
        self.fields.contains(&field)
    }

    /// Its own name and version, if HELLO says these.
    pub fn own(&self) -> Option<(&str, &str)> {
        let value = |wanted: &str| {
            let found = self.names.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let name = value("server_name").filter(|_| self.own_name)?;
        Some((name, value(&format!("{name}_version"))?))
    }
}

/// Whether a line may be shown as that of a module.
fn is_module(line: &str) -> bool {
    line.len() <= MODULE_MAX && line.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Whether a word may be shown as a server's name or version.
fn is_plain(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !word.is_empty() && word.len() <= 32 && word.bytes().all(plain)
}

/// The version that INFO gives.
pub fn version_of(info: &[u8]) -> Option<&str> {
    let mut lines = std::str::from_utf8(info).ok()?.lines();
    let version = lines.find_map(|line| line.strip_prefix("redis_version:"))?;
    is_plain(version).then_some(version)
}

/// How many databases a server of a cluster has, by its answer to `CONFIG GET cluster-databases`: one, if it
/// does not say.
pub fn databases_of(answer: &[u8]) -> u16 {
    number_of(answer).map_or(1, |number| number.clamp(1, u64::from(u16::MAX)) as u16)
}

/// A node timeout, by a server's answer to `CONFIG GET cluster-node-timeout`; nothing, if it does not say.
pub fn node_timeout_of(answer: &[u8]) -> Option<Duration> {
    number_of(answer).map(Duration::from_millis)
}

/// The number that is the value of the one setting in an answer to `CONFIG GET`.
fn number_of(answer: &[u8]) -> Option<u64> {
    let (value, _) = Value::parse(answer).ok().flatten()?;
    let text = std::str::from_utf8(value.items()?.get(1)?.string()?).ok()?;
    text.parse().ok()
}

/// What two versions are compared by: the numbers between the dots.
pub fn version_key(version: &str) -> Vec<u32> {
    version
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_say_the_same_again_are_no_news() {
        let table = Arc::new(Table::compiled());
        let says = |ids: &[u16], note: &str| {
            let mut known = Known::default();
            ids.iter().for_each(|id| known.insert(*id));
            known.note(1, 0, note);
            Servers {
                known: Some(Arc::new(known)),
                version: Some("7.0.15".to_string()),
                ..Servers::unknown(table.clone())
            }
        };
        let said = says(&[1, 70], "RO");
        assert!(said.same_as(&says(&[1, 70], "RO")));
        let different = [
            Servers::unknown(table.clone()),
            says(&[1], "RO"),
            says(&[1, 70], "RW"),
            Servers {
                version: None,
                ..said.clone()
            },
            Servers {
                databases: 16,
                ..said.clone()
            },
            Servers {
                node_timeout: Some(Duration::from_secs(5)),
                ..said.clone()
            },
            Servers {
                table: Arc::new(Table::compiled()),
                ..said.clone()
            },
        ];
        for other in different {
            assert!(!said.same_as(&other), "{other:?}");
        }
    }

    #[test]
    fn the_version_stands_in_info() {
        let info = b"# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:0\r\n";
        assert_eq!(version_of(info), Some("7.0.15"));
        assert_eq!(version_of(b"# Server\r\n"), None);
        assert_eq!(version_of(b"redis_version:\r\n"), None);
        assert_eq!(version_of(b"redis_version:7\x1b[2J\r\n"), None);
    }

    #[test]
    fn a_server_says_what_it_is() {
        let valkey = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\n\
            valkey_release_stage:ga\r\nredis_git_sha1:0\r\nserver_mode:cluster\r\n";
        let kind = Kind::of(valkey.as_bytes());
        let names: Vec<&str> = kind.names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["server_name", "valkey_version", "valkey_release_stage"]
        );
        assert_eq!(kind.own(), Some(("valkey", "8.1.0")));
        // As it is with `extended-redis-compatibility`.
        let compatible = valkey.replace("server_mode", "redis_mode");
        let kind = Kind::of(compatible.as_bytes());
        assert_eq!((kind.names.len(), kind.own()), (3, None));
        let redis =
            "redis_version:7.0.15\r\nredis_git_sha1:0\r\nredis_mode:cluster\r\nos:Linux\r\n";
        assert_eq!(Kind::of(redis.as_bytes()), Kind::default());
        let odd = "redis_version:7\r\nserver_name:\x1b[2J\r\nserver_mode:x\r\n";
        assert_eq!(Kind::of(odd.as_bytes()).own(), None);
        assert_eq!(Kind::of(b"\xff"), Kind::default());
    }

    #[test]
    fn a_server_says_which_fields_and_modules_it_has() {
        let line = "name=json,ver=20408,api=1,filters=0,usedby=[search],using=[],options=[handle-io-errors]";
        let info = format!(
            "redis_version:8.2.3\r\nredis_mode:cluster\r\nlistener0:name=tcp,bind=*,port=1\r\n\r\n# Clients\r\n\
             watching_clients:0\r\nnosuch:1\r\n# Modules\r\nmodule:{line}\r\nmodule:name=\x1b[2J\r\n"
        );
        let kind = Kind::of(info.as_bytes());
        assert!(SOMETIMES.is_sorted());
        assert_eq!(kind.fields, ["listener0", "watching_clients"]);
        assert!(kind.has("listener0") && !kind.has("clients_hz"));
        assert_eq!(kind.modules, [line]);
        let many = "module:name=a\n".repeat(1000);
        assert_eq!(Kind::of(many.as_bytes()).modules.len(), MODULES_MAX);
    }

    #[test]
    fn a_cluster_has_one_database_unless_it_says_otherwise() {
        let setting = |value: &str| {
            let name = "cluster-databases";
            format!(
                "*2\r\n${}\r\n{name}\r\n${}\r\n{value}\r\n",
                name.len(),
                value.len()
            )
        };
        for (value, expected) in [
            ("16", 16),
            ("1", 1),
            ("0", 1),
            ("x", 1),
            ("100000", u16::MAX),
        ] {
            assert_eq!(databases_of(setting(value).as_bytes()), expected, "{value}");
        }
        for answer in ["*0\r\n", "-NOPERM no\r\n", "*2\r\n$1\r\na\r\n", ""] {
            assert_eq!(databases_of(answer.as_bytes()), 1, "{answer}");
        }
    }

    #[test]
    fn a_node_timeout_is_what_the_server_says() {
        let answer = b"*2\r\n$20\r\ncluster-node-timeout\r\n$4\r\n8000\r\n";
        assert_eq!(node_timeout_of(answer), Some(Duration::from_secs(8)));
        let map = b"%1\r\n$20\r\ncluster-node-timeout\r\n$2\r\n-1\r\n";
        for answer in [&b"*0\r\n"[..], b"-NOPERM no\r\n", map, b""] {
            assert_eq!(node_timeout_of(answer), None);
        }
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(version_key("7.0.15") < version_key("7.2.4"));
        assert!(version_key("7.0.9") < version_key("7.0.15"));
        assert!(version_key("255.255.255") > version_key("9.0.0-rc1"));
    }
}
