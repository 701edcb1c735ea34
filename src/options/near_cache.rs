//! The flags of the near cache: rows of the [table](super::table) as the others are.

use std::time::Duration;

use super::flag::{Flag, Kind, not_negative, show_duration};
use super::{memory, number};

/// The flags.
pub(super) const FLAGS: [Flag; 4] = [
    Flag {
        name: "near-cache",
        kind: Kind::String,
        default: "0",
        help: "how many bytes of replies to reads of hot keys are kept in the proxy, shared by its workers, like 64mb. They \
               are dropped as soon as the servers say that the key has changed (CLIENT TRACKING), so the proxy needs \
               servers of version 6 or later. 0 is no cache",
        apply: |options, value| {
            options.config.near_cache_bytes = match memory::bytes(value)? {
                bytes if bytes == 0 || bytes >= 1 << 20 => bytes as usize,
                _ => return Err("must be 0 or at least 1mb".to_string()),
            };
            Ok(())
        },
        show: |config| memory::show(config.near_cache_bytes as u64),
        live: false,
    },
    Flag {
        name: "near-cache-prefixes",
        kind: Kind::String,
        default: "",
        help: "keep only keys that begin with one of these: a comma list like user:,product:. In a namespace the tag is \
               a part of the key. Empty is all keys",
        apply: |options, value| {
            let all = value.split(',').map(str::trim);
            let all = all.filter(|prefix| !prefix.is_empty());
            options.config.near_cache_prefixes = all.map(str::to_string).collect();
            Ok(())
        },
        show: |config| config.near_cache_prefixes.join(","),
        live: false,
    },
    Flag {
        name: "near-cache-min-reads",
        kind: Kind::Int,
        default: "3",
        help: "keep a key once a worker has read it so often in about ten seconds. A fill costs the node three commands, \
               and a place in its tracking table",
        apply: |options, value| {
            options.config.near_cache_min_reads = number::within(value, 1, 200)?;
            Ok(())
        },
        show: |config| config.near_cache_min_reads.to_string(),
        live: false,
    },
    Flag {
        name: "near-cache-staleness",
        kind: Kind::Duration,
        default: "1s",
        help: "serve what is kept only while its node has answered something that was sent within this time (it is asked \
               four times as often): no value is older than this",
        apply: |options, value| {
            let staleness: Duration = not_negative(value)?;
            if staleness < Duration::from_millis(10) {
                return Err("must be at least 10ms".to_string());
            }
            options.config.near_cache_staleness = staleness;
            Ok(())
        },
        show: |config| show_duration(config.near_cache_staleness),
        live: false,
    },
];
