//! Which commands change the servers or this proxy (`-admin-commands`). A column of the table in a file of its own,
//! since most rows have nothing in it.
//!
//! Changing data is not meant, except for commands that delete all of it or make a server send it to another.
//! Commands that only read are not here, even those for administrators.

/// The names of these rows.
const CHANGES_SERVERS: &[&str] = &[
    "acl|deluser",
    "acl|load",
    "acl|save",
    "acl|setuser",
    "bgrewriteaof",
    "bgsave",
    "client|kill",
    "client|pause",
    "client|unblock",
    "client|unpause",
    "cluster|addslots",
    "cluster|addslotsrange",
    "cluster|delslots",
    "cluster|delslotsrange",
    "cluster|flushslots",
    "cluster|saveconfig",
    "cluster|set-config-epoch",
    "commandlog|reset",
    "config|resetstat",
    "config|rewrite",
    "config|set",
    "debug",
    "flushall",
    "flushdb",
    "function|delete",
    "function|flush",
    "function|kill",
    "function|load",
    "function|restore",
    "latency|reset",
    "memory|purge",
    "migrate",
    "module|load",
    "module|loadex",
    "module|unload",
    "save",
    "script|flush",
    "script|kill",
    "slowlog|reset",
];

/// Whether the row of this name changes the servers.
pub(super) fn changes_servers(name: &str) -> bool {
    CHANGES_SERVERS.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{AclCategories, Class, Command, Flags, Table};

    /// For administrators, or dangerous, and yet only looking, or only about the client's own data or
    /// connection.
    const HARMLESS: &[&str] = &[
        "acl|dryrun",
        "acl|getuser",
        "acl|list",
        "acl|log",
        "acl|users",
        "client|list",
        "client|no-evict",
        "commandlog|get",
        "commandlog|len",
        "config|get",
        "info",
        "keys",
        "lastsave",
        "latency|doctor",
        "latency|graph",
        "latency|histogram",
        "latency|history",
        "latency|latest",
        "module|list",
        "monitor",
        "pfdebug",
        "pfselftest",
        "restore",
        "restore-asking",
        "role",
        "slowlog|get",
        "slowlog|len",
        "sort",
        "sort_ro",
    ];

    #[test]
    fn every_name_is_a_row_and_they_stand_in_order() {
        let table = Table::compiled();
        assert!(CHANGES_SERVERS.is_sorted());
        for name in CHANGES_SERVERS {
            let row = table.named(name.as_bytes()).expect(name);
            assert!(row.changes_servers, "{name}");
            assert!(!matches!(row.class, Class::Refused(_)), "{name}");
        }
    }

    #[test]
    fn what_is_for_administrators_changes_servers_or_is_known_to_be_harmless() {
        let table = Table::compiled();
        let weighty = |row: &&Command| {
            row.flags.contains(Flags::ADMIN)
                || row.acl.contains(AclCategories::DANGEROUS)
                || row.acl.contains(AclCategories::ADMIN)
        };
        let served = |row: &&Command| !matches!(row.class, Class::Refused(_));
        // The proxy answers nearly all of CLUSTER itself, and changes nothing there.
        let other = |row: &&Command| !row.name.starts_with("cluster|");
        let rows = table.rows().iter().filter(weighty);
        let odd: Vec<_> = rows
            .filter(served)
            .filter(other)
            .filter(|row| row.changes_servers == HARMLESS.contains(&&*row.name))
            .map(|row| &row.name)
            .collect();
        assert!(odd.is_empty(), "{odd:?}");
    }
}
