//! What a client gets from a command that the proxy answers itself, or whose answer does not do through a proxy what
//! its name promises: a sentence for the document of commands.

const CONTAINER: &str = "by its subcommand; alone an error";
const FACE: &str = "without `-cluster-face` an error (cluster support disabled); with one";
const FIXED: &str = "as CLUSTER's own reply of a node that is the whole cluster";

/// A command, and what its client gets. Of those that need a face the sentence begins with [`FACE`].
#[rustfmt::skip]
const GETS: &[(&str, &str)] = &[
    ("acl", CONTAINER),
    ("acl|deluser", "users of the nodes, not of the proxy: clients of the proxy are known by `-client-password` alone"),
    ("acl|dryrun", "by a user of the nodes, not of the proxy"),
    ("acl|getuser", "a user of the nodes, not of the proxy"),
    ("acl|list", "users of the nodes, not of the proxy"),
    ("acl|load", "users of the nodes, not of the proxy"),
    ("acl|save", "users of the nodes, not of the proxy"),
    ("acl|setuser", "OK, and the nodes have the user; nobody can log in as that user through the proxy, which knows `-client-password` alone"),
    ("acl|users", "users of the nodes, not of the proxy"),
    ("acl|whoami", "`default`: the proxy has no other user"),
    ("asking", "accepted and without effect"),
    ("auth", "checked against `-client-password`; nodes are not asked"),
    ("client", CONTAINER),
    ("client|caching", "an error, as tracking is never on"),
    ("client|capa", "OK and without effect"),
    ("client|getname", "the client's own name at the proxy"),
    ("client|getredir", "-1, as tracking is never on"),
    ("client|id", "the number of the client's connection to the proxy"),
    ("client|import-source", "OFF is OK; ON is the error of a server that imports nothing"),
    ("client|info", "the client's line at the proxy"),
    ("client|kill", "clients of the proxy, of all its workers; not those of nodes"),
    ("client|list", "clients of the proxy, of all its workers; not those of nodes"),
    ("client|no-evict", "OK; the proxy evicts no clients for memory"),
    ("client|no-touch", "OK and without effect: connections to nodes are shared"),
    ("client|pause", "clients of this proxy wait; those of other proxies and of nodes do not"),
    ("client|reply", "as on a server"),
    ("client|setinfo", "shown by CLIENT LIST of the proxy"),
    ("client|setname", "shown by CLIENT LIST of the proxy"),
    ("client|tracking", "ON is refused: connections to nodes are shared, so that no node could tell whose keys it tracks; OFF is OK"),
    ("client|trackinginfo", "that tracking is off"),
    ("client|unblock", "a client of the proxy, of any worker"),
    ("client|unpause", "ends CLIENT PAUSE of this proxy"),
    ("cluster", CONTAINER),
    ("cluster|addslots", "the error of a node that has all slots"),
    ("cluster|addslotsrange", "the error of a node that has all slots"),
    ("cluster|bumpepoch", "STILL: one node has the greatest epoch"),
    ("cluster|cancelslotmigrations", "refused"),
    ("cluster|count-failure-reports", "0 of the face's node, an error of others"),
    ("cluster|countkeysinslot", "asked of the slot's owner"),
    ("cluster|delslots", "refused, unless one node is the whole cluster: then by it"),
    ("cluster|delslotsrange", "refused, unless one node is the whole cluster: then by it"),
    ("cluster|failover", "the error of a master"),
    ("cluster|flushslot", "refused"),
    ("cluster|flushslots", "refused, unless one node is the whole cluster: then by it"),
    ("cluster|forget", "the error of a node that knows no other"),
    ("cluster|getkeysinslot", "asked of the slot's owner"),
    ("cluster|getslotmigrations", "refused"),
    ("cluster|help", "asked of a node"),
    ("cluster|info", FIXED),
    ("cluster|keyslot", "the slot"),
    ("cluster|links", FIXED),
    ("cluster|meet", "OK of the face's own address, the error of a wrong one, else refused"),
    ("cluster|migrateslots", "refused"),
    ("cluster|migration", "refused"),
    ("cluster|myid", FIXED),
    ("cluster|myshardid", FIXED),
    ("cluster|nodes", FIXED),
    ("cluster|replicas", "none"),
    ("cluster|replicate", "the error of a node that has slots and knows no other"),
    ("cluster|reset", "refused"),
    ("cluster|saveconfig", "OK"),
    ("cluster|set-config-epoch", "the error of a node that has an epoch"),
    ("cluster|setslot", "OK of what is so already, else an error"),
    ("cluster|shards", FIXED),
    ("cluster|slaves", "none"),
    ("cluster|slot-stats", "refused"),
    ("cluster|slots", FIXED),
    ("cluster|syncslots", "refused"),
    ("command", "the commands that the nodes have"),
    ("command|count", "the commands that the nodes have"),
    ("command|docs", "asked of a node"),
    ("command|getkeys", "the keys; where only a server can find them, asked of a node"),
    ("command|getkeysandflags", "the keys; where only a server can find them, asked of a node"),
    ("command|info", "the commands that the nodes have"),
    ("command|list", "the commands that the nodes have"),
    ("commandlog", CONTAINER),
    ("config", CONTAINER),
    ("config|get", "of the first master asked, but for what is the proxy's own flag"),
    ("debug", "to local clients only, where the nodes allow it; see `DEBUG` of src/proxy/local/protected.rs"),
    ("echo", "as on a server"),
    ("function", CONTAINER),
    ("hello", "as AUTH and CLIENT SETNAME; the protocol is the client's own"),
    ("info", "sections of the proxy, and of the masters put together (src/proxy/masters/fields.rs says how)"),
    ("latency", CONTAINER),
    ("memory", CONTAINER),
    ("module", CONTAINER),
    ("monitor", "requests of this proxy's clients, of all its workers"),
    ("object", CONTAINER),
    ("ping", "PONG of the proxy, whatever the nodes do"),
    ("proxy", "see PROXY HELP"),
    ("pubsub", CONTAINER),
    ("quit", "OK, and the connection is closed"),
    ("readonly", "accepted and without effect: `-read-prefer` says where reads go"),
    ("readwrite", "accepted and without effect: `-read-prefer` says where reads go"),
    ("reset", "as on a server"),
    ("role", "a master without replicas"),
    ("script", CONTAINER),
    ("script|debug", "NO is OK; behind a refused YES or SYNC, EVAL is refused until SCRIPT DEBUG NO"),
    ("select", "index 0 is OK, others are an error, but where the nodes have databases"),
    ("slowlog", CONTAINER),
    ("time", "the proxy's clock"),
    ("xgroup", CONTAINER),
    ("xinfo", CONTAINER),
];

/// What a client of this command gets; nothing where its class says all.
pub fn gets(name: &str) -> Option<String> {
    let (_, text) = GETS.iter().find(|(own, _)| *own == name)?;
    let accepted = matches!(name, "asking" | "readonly" | "readwrite");
    Some(match accepted || name.starts_with("cluster|") {
        true => format!("{FACE}: {text}"),
        false => text.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Class, Table};

    #[test]
    fn every_command_that_the_proxy_answers_says_what_its_client_gets() {
        let table = Table::compiled();
        for row in table.rows().iter().filter(|row| row.class == Class::Local) {
            assert!(gets(&row.name).is_some(), "{}", row.name);
        }
        for (name, _) in GETS {
            assert!(table.named(name.as_bytes()).is_some(), "{name}");
        }
    }
}
