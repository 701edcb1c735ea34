//! The flags of namespaces: rows of the [table](super::table) as the others are.

use super::flag::{Flag, Kind};
use super::{address, number, pairs};
use crate::config::{Config, Listen};
use crate::proxy::namespace::database_name;

/// The flags.
pub(super) const FLAGS: [Flag; 5] = [
    Flag {
        name: "namespace",
        kind: Kind::String,
        default: "",
        help: "put the hash tag {NAME} before every key of every client. All keys then lie in one slot, so that any \
               program written for one Redis server runs unchanged. One node at a time serves a namespace. Empty is \
               no namespace",
        apply: |options, value| {
            options.config.namespace = name(value)?;
            Ok(())
        },
        show: |config| config.namespace.clone().unwrap_or_default(),
        live: false,
    },
    Flag {
        name: "namespace-addrs",
        kind: Kind::String,
        default: "",
        help: "serve more namespaces, each at an address of its own: a list of NAME=ADDRESS separated by commas, such \
               as jobs=127.0.0.1:8089,cache=unix:/run/cache.sock. Clients of all other addresses are in -namespace, \
               if it is set",
        apply: |options, value| {
            options.config.namespace_listen = listens(value)?;
            Ok(())
        },
        show: |config| pairs::show(&config.namespace_listen, '=', Listen::to_string),
        live: false,
    },
    Flag {
        name: "namespace-users",
        kind: Kind::String,
        default: "",
        help: "put users of -acl-file into namespaces: a list of USER=NAME separated by commas, such as \
               alice=jobs,bob=cache. A listed user is in its namespace at every address. Any other user is in the \
               namespace of the address it connects to",
        apply: |options, value| {
            options.config.namespace_users = users(value)?;
            Ok(())
        },
        show: |config| pairs::show(&config.namespace_users, '=', String::clone),
        live: false,
    },
    Flag {
        name: "databases",
        kind: Kind::Int,
        default: "16",
        help: "how many databases each namespace has. SELECT n selects the tag {NAME:n}; database 0 is {NAME}. \
               Without a namespace, or with 1, the servers handle SELECT (cluster-databases of Valkey 9)",
        apply: |options, value| {
            options.config.databases = number::within(value, 1, DATABASES_MAX)?;
            Ok(())
        },
        show: |config| config.databases.to_string(),
        live: false,
    },
    Flag {
        name: "namespace-channels",
        kind: Kind::Bool,
        default: "false",
        help: "put the tag of the namespace before channel names as well, so that no message leaves the namespace. \
               Otherwise all namespaces share channels, as the databases of one server do",
        apply: |options, value| {
            options.config.namespace_channels = number::boolean(value)?;
            Ok(())
        },
        show: |config| config.namespace_channels.to_string(),
        live: false,
    },
];

/// Databases that a namespace has at most: FLUSHALL and INFO ask each.
const DATABASES_MAX: i64 = 256;

/// The longest name of a namespace, in bytes: it goes before every key.
const NAMESPACE_MAX: usize = 64;

/// The name of a namespace: what may stand in a hash tag and means itself in a pattern.
fn name(value: &str) -> Result<Option<String>, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-/@+=".contains(&byte);
    if value.len() > NAMESPACE_MAX {
        return Err(format!("is longer than {NAMESPACE_MAX} bytes"));
    }
    match value.bytes().all(is_plain) {
        true => Ok(Some(value.to_string()).filter(|name| !name.is_empty())),
        false => Err("must be letters, digits and any of . _ : - / @ + =".to_string()),
    }
}

/// No namespace is a database of another, and there may be users if some have namespaces.
pub(super) fn check(config: &Config) -> Result<(), String> {
    let mut users = config.namespace_users.iter();
    if config.acl_file.is_none()
        && let Some((user, _)) = users.find(|(user, _)| user != "default")
    {
        return Err(format!(
            "-namespace-users names {user}: set -acl-file, which says who users are"
        ));
    }
    let listed = config.namespace_listen.iter().map(|(name, _)| name);
    let of_users = config.namespace_users.iter().map(|(_, name)| name);
    let names = config.namespace.iter().chain(listed).chain(of_users);
    let names: Vec<&String> = names.collect();
    for name in &names {
        let Some((other, number)) = name.rsplit_once(':') else {
            continue;
        };
        let index = number.parse::<u16>().ok();
        let index = index.filter(|index| *index > 0 && *index < config.databases);
        if let Some(index) = index
            && database_name(other, index) == **name
            && names.iter().any(|name| *name == other)
        {
            return Err(format!(
                "the namespace {name} is database {index} of the namespace {other}: give it another name, or set \
                 -databases 1"
            ));
        }
    }
    Ok(())
}

/// A comma list of `name=address`.
fn listens(value: &str) -> Result<Vec<(String, Listen)>, String> {
    let mut all: Vec<(String, Listen)> = Vec::new();
    for item in value.split(',').filter(|_| !value.is_empty()) {
        let (own, listen) =
            listen(item.trim()).map_err(|reason| format!("{reason} in {item:?}"))?;
        if all.iter().any(|(_, other)| *other == listen) {
            return Err(format!("{listen} is listed twice"));
        }
        all.push((own, listen));
    }
    Ok(all)
}

fn listen(item: &str) -> Result<(String, Listen), String> {
    // A name may have an equals sign.
    let (own, at) = item
        .rsplit_once('=')
        .ok_or("expected name=address, like jobs=127.0.0.1:8089,")?;
    let own = name(own).map_err(|reason| format!("the name {reason}"))?;
    let own = own.ok_or("the name is missing")?;
    Ok((own, address::listen(at)?))
}

/// A comma list of `user=name`.
fn users(value: &str) -> Result<Vec<(String, String)>, String> {
    let mut all: Vec<(String, String)> = Vec::new();
    for item in value.split(',').filter(|_| !value.is_empty()) {
        let parts = item.trim().split_once('=');
        let (user, own) = parts
            .filter(|(user, _)| !user.is_empty())
            .ok_or(format!("expected user=name, like alice=jobs, in {item:?}"))?;
        let own = name(own).map_err(|reason| format!("the name {reason} in {item:?}"))?;
        let own = own.ok_or(format!("the name is missing in {item:?}"))?;
        if all.iter().any(|(other, _)| other == user) {
            return Err(format!("{user} is listed twice"));
        }
        all.push((user.to_string(), own));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_a_hash_tag_may_have() {
        for good in ["jobs", "a.b_c:d-e/f@g+h=1", &"x".repeat(64)] {
            assert_eq!(name(good), Ok(Some(good.to_string())));
        }
        assert_eq!(name(""), Ok(None));
        for bad in [
            "a}b",
            "{a",
            "a*",
            "a b",
            "a\n",
            "a?",
            "[a]",
            "é",
            &"x".repeat(65),
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_namespace_has_an_address() {
        for good in ["", "jobs=127.0.0.1:8089", "a=b=[::1]:1,c=unix:/run/c.sock"] {
            assert_eq!(
                listens(good).map(|all| pairs::show(&all, '=', Listen::to_string)),
                Ok(good.to_string())
            );
        }
        for (bad, reason) in [
            ("jobs", "expected name=address"),
            ("=127.0.0.1:1", "the name is missing"),
            ("a*=127.0.0.1:1", "the name must be letters"),
            ("a=127.0.0.1:1,", "expected name=address"),
            ("a=127.0.0.1:1,b=127.0.0.1:1", "127.0.0.1:1 is listed twice"),
            ("a=127.0.0.1", "in \"a=127.0.0.1\""),
        ] {
            let refused = listens(bad).expect_err(bad);
            assert!(refused.contains(reason), "{bad}: {refused}");
        }
    }

    #[test]
    fn users_have_one_namespace_each() {
        for good in ["", "alice=jobs", "alice=jobs,bob=jobs,default=a=b"] {
            assert_eq!(
                users(good).map(|all| pairs::show(&all, '=', String::clone)),
                Ok(good.to_string())
            );
        }
        for (bad, reason) in [
            ("alice", "expected user=name"),
            ("=jobs", "expected user=name"),
            ("alice=", "the name is missing"),
            ("alice=a*", "the name must be letters"),
            ("alice=jobs,", "expected user=name"),
            ("alice=a,alice=b", "alice is listed twice"),
        ] {
            let refused = users(bad).expect_err(bad);
            assert!(refused.contains(reason), "{bad}: {refused}");
        }
        let own = |user: &str| Config {
            namespace_users: vec![(user.to_string(), "jobs".to_string())],
            ..Config::default()
        };
        assert_eq!(super::check(&own("default")), Ok(()));
        assert!(super::check(&own("alice")).is_err());
    }

    #[test]
    fn no_namespace_is_a_database_of_another() {
        let check = |own: Option<&str>, listed: &[&str], databases: u16| {
            let listen = |name: &&str| (name.to_string(), Listen::Unix("/run/a.sock".into()));
            super::check(&Config {
                namespace: own.map(str::to_string),
                namespace_listen: listed.iter().map(listen).collect(),
                databases,
                ..Config::default()
            })
        };
        assert_eq!(
            check(Some("a"), &["b", "b:x", "a:0", "a:01", "a:16"], 16),
            Ok(())
        );
        assert_eq!(check(Some("a"), &["a:1"], 1), Ok(()));
        let refused = check(Some("a:1"), &["b", "a"], 16).expect_err("a:1");
        assert!(
            refused.starts_with("the namespace a:1 is database 1 of"),
            "{refused}"
        );
    }
}
