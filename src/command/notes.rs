//! What a client gets from a command that the proxy answers itself, or whose reply differs through a proxy: the notes
//! in COMMANDS.md.

const CONTAINER: &str = "served by subcommand; without one, an error";
const FACE: &str = "without `-cluster-face`: the error that cluster support is disabled; with it";
const FIXED: &str = "the reply of a single node that is the whole cluster";

/// A command, and what its client gets. Of those that need a face the sentence begins with [`FACE`].
#[rustfmt::skip]
const NOTES: &[(&str, &str)] = &[
    ("acl", CONTAINER),
    ("acl|cat", "the categories of the servers' commands"),
    ("acl|deluser", "users of the proxy; their clients are closed"),
    ("acl|dryrun", "by a user of the proxy"),
    ("acl|genpass", "random digits"),
    ("acl|getuser", "a user of the proxy"),
    ("acl|help", "the text of redis-server 7.0"),
    ("acl|list", "users of the proxy"),
    ("acl|load", "the users of `-acl-file`; clients of those that have not changed stay, where Redis 7.0 closes all but those of `default`"),
    ("acl|log", "what the proxy denied"),
    ("acl|save", "to `-acl-file`"),
    ("acl|setuser", "a user of the proxy, for clients of all its workers at once; nodes are not told"),
    ("acl|users", "users of the proxy"),
    ("acl|whoami", "the client's user at the proxy"),
    ("asking", "accepted, no effect"),
    ("auth", "checked against `-client-password` or `-acl-file`; nodes are not asked"),
    ("client", CONTAINER),
    ("client|caching", "says whether what the next request reads is tracked, as on a server"),
    ("client|capa", "OK, no effect"),
    ("client|getname", "the name that the client gave to the proxy"),
    ("client|getredir", "as on a server, of clients of this proxy"),
    ("client|id", "the ID of the client's connection to the proxy"),
    ("client|import-source", "OFF: OK; ON: the error of a server that is not importing data"),
    ("client|info", "the client's entry in the proxy's CLIENT LIST"),
    ("client|kill", "clients of this proxy, not of the nodes"),
    ("client|list", "clients of this proxy, not of the nodes"),
    ("client|no-evict", "OK, no effect: the proxy does not evict clients"),
    ("client|no-touch", "OK, no effect: node connections are shared"),
    ("client|pause", "pauses the clients of this proxy only"),
    ("client|reply", "as on a server"),
    ("client|setinfo", "shown in CLIENT LIST of the proxy"),
    ("client|setname", "shown in CLIENT LIST of the proxy"),
    ("client|tracking", "the client is told when a key changes that it has read: by pushes in RESP3, in the order of its replies, or by the client that it names (REDIRECT), of any worker. The proxy tracks keys for many clients over one connection to each master. Keys of transactions, and of commands that block, are said to have changed behind their replies. With BCAST each master tells one connection of each worker; who wrote is not known there, so that NOLOOP changes nothing. Clients that track read from masters only, and do not move at a hand-over"),
    ("client|trackinginfo", "as on a server"),
    ("client|unblock", "unblocks a client of this proxy"),
    ("client|unpause", "ends CLIENT PAUSE on this proxy"),
    ("cluster", CONTAINER),
    ("cluster|addslots", "the error of a node that already has all slots"),
    ("cluster|addslotsrange", "the error of a node that already has all slots"),
    ("cluster|bumpepoch", "STILL: the only node already has the highest epoch"),
    ("cluster|cancelslotmigrations", "refused"),
    ("cluster|count-failure-reports", "0 for the node that the proxy presents, an error for others"),
    ("cluster|countkeysinslot", "asks the slot's master"),
    ("cluster|delslots", "refused, unless the cluster has one node only, which then executes it"),
    ("cluster|delslotsrange", "refused, unless the cluster has one node only, which then executes it"),
    ("cluster|failover", "the error of a master without replicas"),
    ("cluster|flushslot", "refused"),
    ("cluster|flushslots", "refused, unless the cluster has one node only, which then executes it"),
    ("cluster|forget", "the error of a node that knows no other node"),
    ("cluster|getkeysinslot", "asks the slot's master"),
    ("cluster|getslotmigrations", "refused"),
    ("cluster|help", "asks a node"),
    ("cluster|info", FIXED),
    ("cluster|keyslot", "the slot"),
    ("cluster|links", FIXED),
    ("cluster|meet", "OK for the proxy's own address, otherwise an error"),
    ("cluster|migrateslots", "refused"),
    ("cluster|migration", "refused"),
    ("cluster|myid", FIXED),
    ("cluster|myshardid", FIXED),
    ("cluster|nodes", FIXED),
    ("cluster|replicas", "none"),
    ("cluster|replicate", "the error of a node that has slots and knows no other node"),
    ("cluster|reset", "refused"),
    ("cluster|saveconfig", "OK"),
    ("cluster|set-config-epoch", "the error of a node that already has an epoch"),
    ("cluster|setslot", "OK if nothing would change, otherwise an error"),
    ("cluster|shards", FIXED),
    ("cluster|slaves", "none"),
    ("cluster|slot-stats", "refused"),
    ("cluster|slots", FIXED),
    ("cluster|syncslots", "refused"),
    ("command", "describes the commands of the nodes"),
    ("command|count", "describes the commands of the nodes"),
    ("command|docs", "asks a node"),
    ("command|getkeys", "the keys; asks a node if only a server can find them"),
    ("command|getkeysandflags", "the keys; asks a node if only a server can find them"),
    ("command|info", "describes the commands of the nodes"),
    ("command|list", "describes the commands of the nodes"),
    ("commandlog", CONTAINER),
    ("config", CONTAINER),
    ("config|get", "the values of one master, except for the proxy's own settings"),
    ("debug", "local clients only, if the nodes allow it (see `DEBUG` in src/proxy/local/protected.rs)"),
    ("echo", "as on a server"),
    ("function", CONTAINER),
    ("hello", "like AUTH and CLIENT SETNAME; sets the protocol of this client"),
    ("info", "sections of the proxy, and merged fields of the masters (src/proxy/stats/masters_info/fields.rs lists the rules)"),
    ("latency", CONTAINER),
    ("memory", CONTAINER),
    ("module", CONTAINER),
    ("monitor", "shows the requests of this proxy's clients"),
    ("object", CONTAINER),
    ("ping", "PONG from the proxy, whatever the state of the nodes"),
    ("proxy", "see PROXY HELP"),
    ("pubsub", CONTAINER),
    ("quit", "OK, and the connection is closed"),
    ("readonly", "accepted, no effect: `-read-prefer` decides where reads go"),
    ("readwrite", "accepted, no effect: `-read-prefer` decides where reads go"),
    ("reset", "as on a server"),
    ("role", "a master without replicas"),
    ("script", CONTAINER),
    ("script|debug", "NO: OK. After a refused YES or SYNC, EVAL is refused until SCRIPT DEBUG NO"),
    ("select", "0: OK. Other numbers work in a namespace (-databases), or if the nodes have several databases (cluster-databases)"),
    ("slowlog", CONTAINER),
    ("time", "the proxy's clock"),
    ("xgroup", CONTAINER),
    ("xinfo", CONTAINER),
];

/// What a client of this command gets; nothing where its class says all.
pub fn notes(name: &str) -> Option<String> {
    let (_, text) = NOTES.iter().find(|(own, _)| *own == name)?;
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
            assert!(notes(&row.name).is_some(), "{}", row.name);
        }
        for (name, _) in NOTES {
            assert!(table.named(name.as_bytes()).is_some(), "{name}");
        }
    }
}
