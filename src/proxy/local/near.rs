//! `PROXY CACHE`: what the near cache has and does, and whether it serves this connection.

use super::{After, Context, ok};
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::proxy::pipeline::merge::{Join, Merge};
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::texts;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::parse_number;
use crate::sort;

/// Keys that are listed, if no number is given.
const KEYS: usize = 10;

/// How often, and how much.
const COUNTERS: &[&str] = &[
    "near_hits",
    "near_misses",
    "near_fills",
    "near_fills_spoiled",
    "near_invalidations",
    "near_evictions",
    "near_stale",
    "near_keys",
    "near_bytes",
];

/// `PROXY CACHE STATS`: the counters of all workers, and what is allowed.
pub fn stats(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let totals = context.process.totals();
    let total = |name: &str| {
        let mut all = totals.iter();
        let found = all.find(|(own, _)| *own == name);
        found.map_or(0, |(_, value)| *value as i64)
    };
    encode::map(out, COUNTERS.len() + 2, context.session.protocol);
    for name in COUNTERS {
        encode::bulk(out, &name.as_bytes()["near_".len()..]);
        encode::integer(out, total(name));
    }
    encode::bulk(out, b"bytes_max");
    encode::integer(out, context.config.near_cache_bytes as i64);
    encode::bulk(out, b"on");
    encode::integer(out, i64::from(!context.session.is_cache_off));
    After::Go
}

/// `PROXY CACHE KEYS [count]`: the keys of all workers that have most bytes: of each how many replies there are to
/// requests for it, their bytes, and how many hits still count for it.
pub fn keys(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let count = match args.get(3) {
        None => Some(KEYS),
        Some(text) => parse_number(text).and_then(|number| usize::try_from(number).ok()),
    };
    let Some(count) = count else {
        return super::fail(out, b"ERR value is not an integer or out of range");
    };
    let protocol = context.session.protocol;
    let join: Join = Box::new(move |replies, out| {
        let mut all: Vec<(&[u8], [i64; 3])> = Vec::new();
        for reply in replies {
            let mut items = reply.items();
            while let Some(key) = items.next() {
                let mut number = || items.next().and_then(|item| item.integer()).unwrap_or(0);
                let numbers = [number(), number(), number()];
                all.push((key.text().unwrap_or_default(), numbers));
            }
        }
        sort::by_key(&mut all, |(_, [_, bytes, _])| -bytes);
        all.truncate(count);
        encode::array(out, all.len());
        for (key, numbers) in all {
            encode::map(out, 4, protocol);
            encode::bulk(out, b"key");
            encode::bulk(out, key);
            for (name, number) in ["replies", "bytes", "hits"].iter().zip(numbers) {
                encode::bulk(out, name.as_bytes());
                encode::integer(out, number);
            }
        }
    });
    After::Ask(Plan {
        asks: vec![Ask::Workers(WorkerQuery::NearKeys(count))],
        merge: Merge::Join(join),
        write: false,
    })
}

/// `PROXY CACHE FLUSH`: all workers forget what they keep.
pub fn flush(_: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    After::Ask(Plan {
        asks: vec![Ask::Workers(WorkerQuery::NearFlush)],
        merge: Merge::AllSucceeded,
        write: false,
    })
}

/// `PROXY CACHE ON` and `PROXY CACHE OFF`, of this connection.
pub fn switch(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    match super::switch(args.at(2)) {
        Some(on) => {
            context.session.is_cache_off = !on;
            ok(out)
        }
        None => super::fail(out, texts::no_subcommand("PROXY", args.at(2)).as_bytes()),
    }
}
