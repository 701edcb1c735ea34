//! Keyspace notifications: each node publishes those of its own keys to its own subscribers only, while any
//! other message goes to every node. So they are taken from every master, and everything else from one node.

use crate::resp::glob::{self, Case};

/// How the channels of keyspace notifications begin.
const PREFIXES: [&[u8]; 2] = [b"__keyspace@", b"__keyevent@"];

/// Whether a channel is one of keyspace notifications.
pub fn is_event(channel: &[u8]) -> bool {
    channel.starts_with(b"__key") && PREFIXES.iter().any(|prefix| channel.starts_with(prefix))
}

/// Whether a pattern may match channels of keyspace notifications.
pub fn may_match_events(pattern: &[u8]) -> bool {
    PREFIXES
        .iter()
        .any(|prefix| glob::may_begin(pattern, prefix, Case::Sensitive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_may_match_events_are_known() {
        for pattern in [
            "*",
            "__key*",
            "__key*__:*",
            "?*",
            "__keyspace@0__:foo",
            "__keyevent@[0-9]__:set",
            "[_]_key*",
            "\\__key*",
            "*foo",
        ] {
            assert!(may_match_events(pattern.as_bytes()), "{pattern}");
        }
        for pattern in [
            "",
            "news.*",
            "__keyspac",
            "__keyspac?",
            "[^_]*",
            "_",
            "__keyspace-*",
        ] {
            assert!(!may_match_events(pattern.as_bytes()), "{pattern}");
        }
        assert!(is_event(b"__keyspace@0__:k") && is_event(b"__keyevent@0__:set"));
        assert!(!is_event(b"__keyspace") && !is_event(b"news"));
    }
}
