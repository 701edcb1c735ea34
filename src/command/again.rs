//! Which requests may be executed twice. If the connection is lost after such a request, it is sent again, since
//! running it once or twice makes no difference. This is a column of the table in a file of its own.
//!
//! Commands with the flag `readonly` need no row here. A change is listed only if a second execution leaves the same
//! data and gives the same reply. Changes of other clients may fall between the two executions: this client had no
//! reply yet, so they may as well have come before it.

/// When a request of a row may be executed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
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
const AGAIN: &[(&str, Again, &str)] = &[
    ("cluster|countkeysinslot", Again::Always, READS),
    ("cluster|getkeysinslot", Again::Always, READS),
    ("commandlog|get", Again::Always, READS),
    ("commandlog|len", Again::Always, READS),
    ("commandlog|reset", Again::Always, SAME),
    ("config|get", Again::Always, READS),
    ("config|resetstat", Again::Always, SAME),
    ("config|rewrite", Again::Always, SAME),
    ("config|set", Again::Always, SAME),
    ("flushall", Again::Always, SAME),
    ("flushdb", Again::Always, SAME),
    ("function|dump", Again::Always, READS),
    ("function|flush", Again::Always, SAME),
    ("function|list", Again::Always, READS),
    (
        "function|load",
        Again::With(&["REPLACE"]),
        "without REPLACE the second time fails, as the library is there",
    ),
    (
        "function|restore",
        Again::With(&["FLUSH", "REPLACE"]),
        "with APPEND the second time fails, as the libraries are there",
    ),
    ("function|stats", Again::Always, READS),
    ("info", Again::Always, READS),
    ("lastsave", Again::Always, READS),
    ("latency|doctor", Again::Always, READS),
    ("latency|graph", Again::Always, READS),
    ("latency|histogram", Again::Always, READS),
    ("latency|history", Again::Always, READS),
    ("latency|latest", Again::Always, READS),
    ("memory|doctor", Again::Always, READS),
    ("memory|malloc-stats", Again::Always, READS),
    ("memory|purge", Again::Always, SAME),
    ("memory|stats", Again::Always, READS),
    ("module|list", Again::Always, READS),
    ("object|help", Again::Always, READS),
    ("pubsub|channels", Again::Always, READS),
    ("pubsub|numpat", Again::Always, READS),
    ("pubsub|numsub", Again::Always, READS),
    ("pubsub|shardchannels", Again::Always, READS),
    ("pubsub|shardnumsub", Again::Always, READS),
    (
        "save",
        Again::Always,
        "the second snapshot is as good as the first",
    ),
    ("script|exists", Again::Always, READS),
    ("script|flush", Again::Always, SAME),
    ("script|load", Again::Always, SAME),
    ("script|show", Again::Always, READS),
    ("slowlog|get", Again::Always, READS),
    ("slowlog|len", Again::Always, READS),
    ("slowlog|reset", Again::Always, SAME),
];

/// When the row of this name may be executed twice.
pub(super) fn again(name: &str) -> Again {
    let found = AGAIN.binary_search_by_key(&name, |(own, _, _)| own);
    found.map_or(Again::Never, |at| AGAIN[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Class, Flags, Table};

    #[test]
    fn every_name_is_a_row_without_keys_and_they_stand_in_order() {
        let table = Table::compiled();
        assert!(AGAIN.is_sorted_by_key(|(name, _, _)| name));
        for (name, when, why) in AGAIN {
            let row = table.named(name.as_bytes()).expect(name);
            assert_eq!(row.again, *when);
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
            many && row.again == Again::Never && !row.flags.contains(Flags::READONLY)
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
