//! The flags of the near cache: rows of the [table](super::table) as the others are.

use std::time::Duration;

use super::flag::{Flag, Kind, not_negative, show_duration};
use super::{memory, number};
use crate::config::NearCacheTracking;

/// The flags.
pub(super) const FLAGS: [Flag; 5] = [
    Flag {
        name: "near-cache",
        kind: Kind::String,
        default: "0",
        help: "memory for replies to reads of hot keys, such as 64mb, shared by the workers. The proxy then answers \
               such reads itself. It drops a key as soon as the servers report a change (CLIENT TRACKING, Redis 6 or \
               later). 0 turns the near cache off",
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
        help: "cache only keys that begin with one of these prefixes, separated by commas, such as user:,product:. In \
               a namespace, the tag is part of the key. Empty caches all keys",
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
        default: "2",
        help: "cache a key once a worker has read it this many times within about thirty seconds; once less while all nodes \
               report all keys that change (-near-cache-tracking), and once more while the cache is full",
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
        help: "no cached value is served that is older than this. The proxy asks each node four times within this \
               time whether it still serves its slots, and bypasses the cache while the node does not answer",
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
    Flag {
        name: "near-cache-tracking",
        kind: Kind::String,
        default: "auto",
        help: "which changed keys the nodes report to the near cache: keys (those that were read for it), broadcast (all), \
               or auto (all, unless many more change than are cached)",
        apply: |options, value| {
            let mut all = NearCacheTracking::ALL.into_iter();
            let found = all.find(|choice| choice.name() == value);
            options.config.near_cache_tracking = found.ok_or("must be auto, keys or broadcast")?;
            Ok(())
        },
        show: |config| config.near_cache_tracking.name().to_string(),
        live: false,
    },
];
