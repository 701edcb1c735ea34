//! What a command may do for a client of a namespace, and where its reply has keys: a column of the table that stands by
//! itself. Servers do not tell it.
//!
//! A row that is not named here is served if it has keys, which get the namespace's tag, and refused if it has none:
//! nothing would confine it. So a command that is learnt from the servers is safe without an entry.

use super::{Command, KeyFlags, Keys, KeysError, flagged_keys};
use crate::resp::args::Args;

/// How a command is confined to a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confined {
    /// Its keys get the tag.
    Keys,
    /// It is served as it is: it has no key and tells none.
    Free,
    /// It is written anew.
    Rewritten(Rewrite),
    /// It is refused, for this reason.
    Refused(&'static str),
}

/// What takes the place of a request that concerns more than the keys that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// DBSIZE.
    Count,
    /// KEYS.
    List,
    /// SCAN.
    Scan,
    /// RANDOMKEY.
    Random,
    /// FLUSHDB.
    Flush,
    /// FLUSHALL: of all databases of the namespace.
    FlushAll,
    /// SELECT: of a database of the namespace.
    Select,
    /// MOVE: to another database of the namespace.
    Move,
    /// COPY: to another database of the namespace, too.
    Copy,
    /// EVAL: the script is argument 1.
    Script,
    /// EVALSHA: the script's name is argument 1.
    NamedScript,
    /// SCRIPT LOAD.
    LoadScript,
    /// SCRIPT EXISTS.
    FindScripts,
    /// SCRIPT FLUSH.
    ForgetScripts,
    /// SORT: its patterns name keys.
    Sort,
    /// DEBUG: OBJECT has a key at argument 2.
    Debug,
    /// PUBSUB: what follows are names of channels, or patterns of such names.
    Channels,
}

/// Where a reply has keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysInReply {
    /// Nowhere.
    None,
    /// The first element is one.
    First,
    /// The first element of each element, or in RESP3 each field of a map.
    Fields,
}

const OTHERS: &str = "it concerns more than the namespace";
const SERVERS: &str = "it changes the servers";
const CODE: &str = "functions are shared by all namespaces";
const USERS: &str = "users are shared by all namespaces";

use Confined::{Free, Refused, Rewritten};

/// The rows without keys, and those whose keys are not all.
#[rustfmt::skip]
const CONFINED: &[(&str, Confined)] = &[
    // Connections and transactions.
    ("asking", Free), ("auth", Free), ("discard", Free), ("echo", Free), ("exec", Free), ("hello", Free), ("multi", Free),
    ("ping", Free), ("quit", Free), ("readonly", Free), ("readwrite", Free), ("reset", Free), ("select", Rewritten(Rewrite::Select)),
    ("time", Free), ("unwatch", Free), ("wait", Free), ("waitaof", Free),
    ("client", Free), ("client|caching", Free), ("client|capa", Free), ("client|getname", Free),
    ("client|getredir", Free), ("client|help", Free), ("client|id", Free), ("client|import-source", Free),
    ("client|info", Free), ("client|kill", Free), ("client|list", Free), ("client|no-evict", Free),
    ("client|no-touch", Free), ("client|pause", Refused(OTHERS)), ("client|reply", Free), ("client|setinfo", Free),
    ("client|setname", Free), ("client|tracking", Free), ("client|trackinginfo", Free),
    ("client|unblock", Refused(OTHERS)), ("client|unpause", Refused(OTHERS)),
    // Channels are shared, as databases of one server share them.
    ("psubscribe", Free), ("publish", Free), ("punsubscribe", Free), ("spublish", Free), ("ssubscribe", Free),
    ("subscribe", Free), ("sunsubscribe", Free), ("unsubscribe", Free), ("pubsub", Free), ("pubsub|channels", Rewritten(Rewrite::Channels)),
    ("pubsub|help", Free), ("pubsub|numpat", Free), ("pubsub|numsub", Rewritten(Rewrite::Channels)), ("pubsub|shardchannels", Rewritten(Rewrite::Channels)),
    ("pubsub|shardnumsub", Rewritten(Rewrite::Channels)),
    // All keys of the namespace.
    ("dbsize", Rewritten(Rewrite::Count)), ("flushall", Rewritten(Rewrite::FlushAll)),
    ("flushdb", Rewritten(Rewrite::Flush)), ("keys", Rewritten(Rewrite::List)),
    ("randomkey", Rewritten(Rewrite::Random)), ("scan", Rewritten(Rewrite::Scan)), ("info", Free),
    ("clusterscan", Refused("SCAN does what it does")), ("move", Rewritten(Rewrite::Move)), ("copy", Rewritten(Rewrite::Copy)), ("sort", Rewritten(Rewrite::Sort)),
    ("sort_ro", Rewritten(Rewrite::Sort)),
    // Scripts.
    ("eval", Rewritten(Rewrite::Script)), ("eval_ro", Rewritten(Rewrite::Script)),
    ("evalsha", Rewritten(Rewrite::NamedScript)), ("evalsha_ro", Rewritten(Rewrite::NamedScript)),
    ("script", Free), ("script|debug", Free), ("script|exists", Rewritten(Rewrite::FindScripts)),
    ("script|flush", Rewritten(Rewrite::ForgetScripts)), ("script|help", Free), ("script|kill", Refused(OTHERS)),
    ("script|load", Rewritten(Rewrite::LoadScript)), ("script|show", Refused(OTHERS)),
    ("fcall", Refused(CODE)), ("fcall_ro", Refused(CODE)), ("function", Free), ("function|delete", Refused(CODE)),
    ("function|dump", Refused(CODE)), ("function|flush", Refused(CODE)), ("function|help", Free),
    ("function|kill", Refused(CODE)), ("function|list", Refused(CODE)), ("function|load", Refused(CODE)),
    ("function|restore", Refused(CODE)), ("function|stats", Refused(CODE)),
    // What the proxy and the servers say of themselves.
    ("command", Free), ("command|count", Free), ("command|docs", Free), ("command|getkeys", Free),
    ("command|getkeysandflags", Free), ("command|help", Free), ("command|info", Free), ("command|list", Free),
    ("config", Free), ("config|get", Free), ("config|help", Free), ("config|resetstat", Refused(SERVERS)),
    ("config|rewrite", Refused(SERVERS)), ("config|set", Refused(SERVERS)),
    ("lastsave", Free), ("latency", Free), ("latency|doctor", Free), ("latency|graph", Free), ("latency|help", Free),
    ("latency|histogram", Free), ("latency|history", Free), ("latency|latest", Free), ("latency|reset", Refused(OTHERS)),
    ("lolwut", Free), ("memory", Free), ("memory|doctor", Refused(OTHERS)), ("memory|help", Free),
    ("memory|malloc-stats", Refused(OTHERS)), ("memory|purge", Refused(SERVERS)), ("memory|stats", Refused(OTHERS)),
    ("module", Free), ("module|help", Free), ("module|list", Free), ("module|load", Refused(SERVERS)),
    ("module|loadex", Refused(SERVERS)), ("module|unload", Refused(SERVERS)), ("object", Free), ("object|help", Free),
    ("pfselftest", Free), ("role", Free), ("xgroup", Free), ("xgroup|help", Free), ("xinfo", Free),
    ("xinfo|help", Free), ("monitor", Refused(OTHERS)), ("proxy", Refused(OTHERS)),
    ("slowlog", Free), ("slowlog|get", Refused(OTHERS)), ("slowlog|help", Free), ("slowlog|len", Refused(OTHERS)),
    ("slowlog|reset", Refused(OTHERS)), ("commandlog", Free), ("commandlog|get", Refused(OTHERS)),
    ("commandlog|help", Free), ("commandlog|len", Refused(OTHERS)), ("commandlog|reset", Refused(OTHERS)),
    ("debug", Rewritten(Rewrite::Debug)), ("bgrewriteaof", Refused(SERVERS)), ("bgsave", Refused(SERVERS)),
    ("save", Refused(SERVERS)),
    ("acl", Free), ("acl|cat", Free), ("acl|deluser", Refused(USERS)), ("acl|dryrun", Refused(USERS)),
    ("acl|genpass", Free), ("acl|getuser", Refused(USERS)), ("acl|help", Free), ("acl|list", Refused(USERS)),
    ("acl|load", Refused(USERS)), ("acl|log", Refused(USERS)), ("acl|save", Refused(USERS)),
    ("acl|setuser", Refused(USERS)), ("acl|users", Refused(USERS)), ("acl|whoami", Free),
    // The errors of a server that is no cluster: there is no face of a cluster beside a namespace.
    ("cluster", Free), ("cluster|countkeysinslot", Free), ("cluster|getkeysinslot", Free),
    ("cluster|help", Free), ("cluster|info", Free), ("cluster|keyslot", Free), ("cluster|links", Free),
    ("cluster|myid", Free), ("cluster|myshardid", Free), ("cluster|nodes", Free), ("cluster|replicas", Free),
    ("cluster|shards", Free), ("cluster|slaves", Free), ("cluster|slots", Free),
    ("cluster|count-failure-reports", Free),
    ("cluster|addslots", Free), ("cluster|addslotsrange", Free),
    ("cluster|bumpepoch", Free), ("cluster|cancelslotmigrations", Free),
    ("cluster|delslots", Free), ("cluster|delslotsrange", Free),
    ("cluster|failover", Free), ("cluster|flushslot", Free),
    ("cluster|flushslots", Free), ("cluster|forget", Free),
    ("cluster|getslotmigrations", Free), ("cluster|meet", Free),
    ("cluster|migrateslots", Free), ("cluster|migration", Free),
    ("cluster|replicate", Free), ("cluster|reset", Free),
    ("cluster|saveconfig", Free), ("cluster|set-config-epoch", Free),
    ("cluster|setslot", Free), ("cluster|slot-stats", Free),
    ("cluster|syncslots", Free),
    // These are refused to everybody, or say what one server says that cannot do it.
    ("failover", Free), ("psync", Free), ("replconf", Free),
    ("replicaof", Free), ("sflush", Free), ("shutdown", Free),
    ("slaveof", Free), ("swapdb", Free), ("sync", Free),
    ("trimslots", Free),
];

/// The rows whose replies have keys.
const TOLD: &[(&str, KeysInReply)] = &[
    ("blmpop", KeysInReply::First),
    ("blpop", KeysInReply::First),
    ("brpop", KeysInReply::First),
    ("bzmpop", KeysInReply::First),
    ("bzpopmax", KeysInReply::First),
    ("bzpopmin", KeysInReply::First),
    ("lmpop", KeysInReply::First),
    ("xread", KeysInReply::Fields),
    ("xreadgroup", KeysInReply::Fields),
    ("zmpop", KeysInReply::First),
];

/// How the row of this name is confined, with these keys.
pub(super) fn confined(name: &str, keys: Keys) -> Confined {
    let found = CONFINED.iter().find(|(own, _)| *own == name);
    match found {
        Some((_, confined)) => *confined,
        None if keys == Keys::None => {
            Refused("nothing confines it to the namespace, as it names no key")
        }
        None => Confined::Keys,
    }
}

/// Where the reply of the row of this name has keys.
pub(super) fn keys_in_reply(name: &str) -> KeysInReply {
    let found = TOLD.iter().find(|(own, _)| *own == name);
    found.map_or(KeysInReply::None, |(_, told)| *told)
}

/// Pushes the indices of all arguments that are keys, in ascending order. Channels are none.
pub fn key_arguments(
    command: &Command,
    args: &Args<'_>,
    out: &mut Vec<u32>,
) -> Result<(), KeysError> {
    out.clear();
    if let Keys::One(index) = command.keys {
        let is_key = |spec: &super::KeySpec| !spec.flags.contains(KeyFlags::NOT_KEY);
        if command.key_specs.iter().any(is_key) {
            if usize::from(index) >= args.len() {
                return Err(KeysError::Invalid);
            }
            out.push(u32::from(index));
        }
        return Ok(());
    }
    let mut found = Vec::new();
    flagged_keys(command, args, &mut found)?;
    out.extend(found.iter().map(|(index, _)| *index));
    out.sort_unstable();
    out.dedup();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Class, Table};

    #[test]
    fn every_row_has_keys_or_says_how_it_is_confined() {
        let table = Table::compiled();
        for row in table.rows() {
            let named = CONFINED.iter().any(|(own, _)| *own == row.name);
            assert!(
                named || (row.keys != Keys::None && !row.key_specs.is_empty()),
                "{} has no key and no entry",
                row.name
            );
        }
        for (name, _) in CONFINED {
            let found = CONFINED.iter().filter(|(own, _)| own == name).count();
            assert_eq!(found, 1, "{name}");
            assert!(table.named(name.as_bytes()).is_some(), "{name}");
        }
        for (name, told) in TOLD {
            assert_eq!(
                table.named(name.as_bytes()).expect(name).keys_in_reply,
                *told
            );
        }
    }

    /// What goes to more nodes than one is never free to do so, unless it has no key to tell.
    #[test]
    fn what_asks_all_masters_for_keys_is_written_anew() {
        use crate::command::AclCategories;
        let table = Table::compiled();
        for row in table.rows() {
            let all = matches!(
                row.class,
                Class::AllMasters(_) | Class::AllNodes(_) | Class::Scan
            );
            if all && row.acl.contains(AclCategories::KEYSPACE) {
                assert!(
                    matches!(row.confined, Rewritten(_) | Refused(_)),
                    "{}",
                    row.name
                );
            }
        }
    }
}
