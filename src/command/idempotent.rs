//! Which requests may be executed twice. If the connection is lost after such a request, it is sent again, since
//! running it once or twice makes no difference. This is a column of the table in a file of its own.
//!
//! Commands with the flag `readonly` need no row here. A change is listed only if a second execution leaves the same
//! data and gives the same reply. Changes of other clients may fall between the two executions: this client had no
//! reply yet, so they may as well have come before it.

/// When a request of a row may be executed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idempotent {
    /// Never.
    Never,
    /// Always.
    Always,
    /// If one of these words, in upper case, is among its arguments.
    With(&'static [&'static str]),
}

const READS: &str = "it only reads";
const SAME: &str = "the second time changes nothing and has the same reply";

/// The names of these rows, when, and why.
const IDEMPOTENT: &[(&str, Idempotent, &str)] = &[
    ("cluster|countkeysinslot", Idempotent::Always, READS),
    ("cluster|getkeysinslot", Idempotent::Always, READS),
    ("commandlog|get", Idempotent::Always, READS),
    ("commandlog|len", Idempotent::Always, READS),
    ("commandlog|reset", Idempotent::Always, SAME),
    ("config|get", Idempotent::Always, READS),
    ("config|resetstat", Idempotent::Always, SAME),
    ("config|rewrite", Idempotent::Always, SAME),
    ("config|set", Idempotent::Always, SAME),
    ("flushall", Idempotent::Always, SAME),
    ("flushdb", Idempotent::Always, SAME),
    ("function|dump", Idempotent::Always, READS),
    ("function|flush", Idempotent::Always, SAME),
    ("function|list", Idempotent::Always, READS),
    (
        "function|load",
        Idempotent::With(&["REPLACE"]),
        "without REPLACE the second time fails, as the library is there",
    ),
    (
        "function|restore",
        Idempotent::With(&["FLUSH", "REPLACE"]),
        "with APPEND the second time fails, as the libraries are there",
    ),
    ("function|stats", Idempotent::Always, READS),
    ("info", Idempotent::Always, READS),
    ("lastsave", Idempotent::Always, READS),
    ("latency|doctor", Idempotent::Always, READS),
    ("latency|graph", Idempotent::Always, READS),
    ("latency|histogram", Idempotent::Always, READS),
    ("latency|history", Idempotent::Always, READS),
    ("latency|latest", Idempotent::Always, READS),
    ("memory|doctor", Idempotent::Always, READS),
    ("memory|malloc-stats", Idempotent::Always, READS),
    ("memory|purge", Idempotent::Always, SAME),
    ("memory|stats", Idempotent::Always, READS),
    ("module|list", Idempotent::Always, READS),
    ("object|help", Idempotent::Always, READS),
    ("pubsub|channels", Idempotent::Always, READS),
    ("pubsub|numpat", Idempotent::Always, READS),
    ("pubsub|numsub", Idempotent::Always, READS),
    ("pubsub|shardchannels", Idempotent::Always, READS),
    ("pubsub|shardnumsub", Idempotent::Always, READS),
    (
        "save",
        Idempotent::Always,
        "the second snapshot is as good as the first",
    ),
    ("script|exists", Idempotent::Always, READS),
    ("script|flush", Idempotent::Always, SAME),
    ("script|load", Idempotent::Always, SAME),
    ("script|show", Idempotent::Always, READS),
    ("slowlog|get", Idempotent::Always, READS),
    ("slowlog|len", Idempotent::Always, READS),
    ("slowlog|reset", Idempotent::Always, SAME),
];

/// When the row of this name may be executed twice.
pub(super) fn idempotent(name: &str) -> Idempotent {
    let found = IDEMPOTENT.binary_search_by_key(&name, |(own, _, _)| own);
    found.map_or(Idempotent::Never, |at| IDEMPOTENT[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Class, Flags, Table};

    #[test]
    fn every_name_is_a_row_without_keys_and_they_stand_in_order() {
        let table = Table::compiled();
        assert!(IDEMPOTENT.is_sorted_by_key(|(name, _, _)| name));
        for (name, when, why) in IDEMPOTENT {
            let row = table.named(name.as_bytes()).expect(name);
            assert_eq!(row.idempotent, *when);
            assert!(!row.flags.contains(Flags::READONLY), "{name} need not be");
            assert!(row.key_specs.is_empty() && !why.is_empty(), "{name}");
        }
    }

    /// What goes to several nodes and may not be sent again ends with an error when one of them is lost: known here,
    /// each with its reason.
    #[test]
    fn what_is_never_sent_again_is_known() {
        let table = Table::compiled();
        let never = table.rows().iter().filter(|row| {
            let many = matches!(row.class, Class::AllMasters(_) | Class::AllNodes(_));
            many && row.idempotent == Idempotent::Never && !row.flags.contains(Flags::READONLY)
        });
        let mut names: Vec<&str> = never.map(|row| &*row.name).collect();
        names.sort_unstable();
        let known = [
            (
                "bgrewriteaof",
                "the second time fails while the first is under way",
            ),
            (
                "bgsave",
                "the second time fails while the first is under way",
            ),
            ("function|delete", "the second time fails, as it is gone"),
            ("function|kill", "it may end another function"),
            ("latency|reset", "the reply counts events that were there"),
            ("module|load", "the second time fails, as it is there"),
            ("module|loadex", "the second time fails, as it is there"),
            ("module|unload", "the second time fails, as it is gone"),
            ("script|kill", "it may end another script"),
        ];
        assert_eq!(names, known.map(|(name, _)| name));
    }
}
