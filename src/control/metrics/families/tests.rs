//! The table is whole, and its names are sound.

use super::super::Source;
use super::*;
use crate::proxy::stats::Stats;

#[test]
fn every_counter_of_the_workers_is_a_metric() {
    let shown = |name: &str| {
        FAMILIES.iter().any(|family| match family.source {
            Source::Counters(counters) => counters.iter().any(|(own, _)| *own == name),
            Source::Status(_) => false,
        })
    };
    // These are shown by worker, and by command.
    let by_worker = ["clients_connected", "turns", "split_parts"];
    for name in Stats::NAMES {
        assert!(shown(name) != by_worker.contains(name), "{name}");
    }
    for family in FAMILIES {
        if let Source::Counters(counters) = family.source {
            let known = |(name, _): &(&str, &str)| Stats::NAMES.contains(name);
            assert!(counters.iter().all(known), "{}", family.name);
        }
    }
}

#[test]
fn names_follow_the_conventions() {
    for (index, family) in FAMILIES.iter().enumerate() {
        let name = family.name;
        assert!(
            name.starts_with("redis_proxy_") || name.starts_with("process_"),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            family.kind == Kind::Counter,
            "{name}"
        );
        if family.kind == Kind::Histogram && name != "redis_proxy_backend_pipeline_depth" {
            assert!(name.ends_with("_seconds"), "{name}");
        }
        // The name in the text has no such ending.
        let bare = |name: &'static str| name.strip_suffix("_total").unwrap_or(name);
        let mut others = FAMILIES[..index].iter();
        assert!(others.all(|other| bare(other.name) != bare(name)), "{name}");
        assert!(!family.help.contains(['|', '\n']) && !family.help.ends_with('.'));
    }
}
