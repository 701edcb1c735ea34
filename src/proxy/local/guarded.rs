//! Settings of the nodes that CONFIG SET does not let every client change: those that servers protect
//! (`enable-protected-configs`), and those that change what a node is.
//!
//! A node sees the proxy's address and never the client's. Where both are on one machine, a node that lets
//! local clients change a protected setting would let every client of the proxy. So the proxy looks at the
//! client's own address, as the server would have.

use crate::resp::glob::{Case, matches};

/// Who may change a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// Local clients, if the server lets them: it is protected by the server, too.
    Protected,
    /// Local clients, for this reason.
    Local(&'static str),
    /// Nobody, for this reason.
    Nobody(&'static str),
}

use Guard::{Local, Nobody, Protected};

const FAILURE: &str = "it controls how nodes detect failures and replace each other";
const CLOSES: &str =
    "nodes would close connections of this proxy, each of which serves many clients";
const REPLICATION: &str = "it can disconnect replicas from their masters, or let their data differ";
const TLS: &str = "a wrong value disconnects the nodes from each other and from this proxy";
const OWN_ADDRESS: &str = "each node has its own address: set it on the node itself";
const OWN_PLACE: &str = "each node has its own zone: set it on the node itself";
const PASSWORDS: &str =
    "while it changes, nodes reject each other and this proxy: set it on the nodes themselves";

/// The first row whose pattern matches counts. Names of Redis 7.0 to 8 and Valkey 8 and 9, aliases too.
#[rustfmt::skip]
const ROWS: &[(&str, Guard)] = &[
    // What the servers themselves protect (PROTECTED_CONFIG).
    ("dbfilename", Protected),
    ("dir", Protected),
    ("lua-enable-deprecated-api", Protected),
    ("lua-enable-insecure-api", Protected),
    // A module may protect its own settings; which of them it does is known to the server alone.
    ("?*.?*", Protected),
    // CONFIG SET gives all nodes the same value, which is wrong for all of them but one.
    ("availability-zone", Nobody(OWN_PLACE)),
    ("bind-source-addr", Nobody(OWN_ADDRESS)),
    ("cluster-announce-*", Nobody(OWN_ADDRESS)),
    ("rdma-*", Nobody(OWN_ADDRESS)),
    ("replica-announce-*", Nobody(OWN_ADDRESS)),
    ("slave-announce-*", Nobody(OWN_ADDRESS)),
    // The passwords between nodes.
    ("masterauth", Nobody(PASSWORDS)),
    ("masteruser", Nobody(PASSWORDS)),
    ("primaryauth", Nobody(PASSWORDS)),
    ("primaryuser", Nobody(PASSWORDS)),
    // What may take nodes, or this proxy, out of the cluster.
    ("cluster-*", Local(FAILURE)),
    ("maxmemory-clients", Local(CLOSES)),
    // A flag of the proxy's own.
    ("maxclients", Local("a low value locks out the clients of this proxy")),
    ("extended-redis-compatibility", Local("it changes which server a node claims to be")),
    ("min-replicas-*", Local(REPLICATION)),
    ("min-slaves-*", Local(REPLICATION)),
    ("repl-timeout", Local(REPLICATION)),
    ("repl-ping-*", Local(REPLICATION)),
    ("replica-announced", Local(REPLICATION)),
    ("replica-priority", Local(REPLICATION)),
    ("replica-read-only", Local(REPLICATION)),
    ("replica-serve-stale-data", Local(REPLICATION)),
    ("slave-priority", Local(REPLICATION)),
    ("slave-read-only", Local(REPLICATION)),
    ("slave-serve-stale-data", Local(REPLICATION)),
    ("tls-*", Local(TLS)),
];

/// Why a client may not change the setting of this name at the nodes; nothing if it may.
pub fn why_not(name: &[u8], is_local: bool) -> Option<String> {
    let found =
        |(pattern, _): &&(&str, Guard)| matches(pattern.as_bytes(), name, Case::Insensitive);
    match ROWS.iter().find(found)?.1 {
        Protected | Local(_) if is_local => None,
        // The words of the server.
        Protected => Some("can't set protected config".to_string()),
        Local(reason) => Some(format!(
            "only local clients of this proxy may set it: {reason}"
        )),
        Nobody(reason) => Some(format!("it cannot be set through this proxy: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_change_what() {
        let check = |name: &str, remote: Option<&str>, local: Option<&str>| {
            for (is_local, expected) in [(false, remote), (true, local)] {
                let found = why_not(name.as_bytes(), is_local);
                let begins = |reason: &str| {
                    found
                        .as_deref()
                        .is_some_and(|found| found.starts_with(reason))
                };
                assert!(
                    expected.map_or(found.is_none(), begins),
                    "{name}, local: {is_local}: {found:?}"
                );
            }
        };
        let (protected, local) = ("can't set protected config", "only local clients");
        let nobody = Some("it cannot be set through this proxy: ");
        for name in [
            "dir",
            "DIR",
            "dbfilename",
            "lua-enable-insecure-api",
            "module.setting",
        ] {
            check(name, Some(protected), None);
        }
        for name in [
            "cluster-node-timeout",
            "Tls-Cert-File",
            "maxmemory-clients",
            "min-slaves-to-write",
        ] {
            check(name, Some(local), None);
        }
        for name in [
            "cluster-announce-port",
            "slave-announce-ip",
            "primaryauth",
            "bind-source-addr",
        ] {
            check(name, nobody, nobody);
        }
        for name in [
            "maxmemory",
            "save",
            "appendonly",
            "slowlog-log-slower-than",
            "directory",
            "",
            ".",
        ] {
            check(name, None, None);
        }
    }
}
