//! `PROXY AUDIT`, `BIGKEYS`, `HOTKEYS`, `LATENCY`, `REDIRECTS` and `SLOWLOG`: merges what the workers recorded about
//! single requests.

use std::collections::BTreeMap;

use super::{After, Context};
use crate::cluster::slot::Slot;
use crate::proxy::insight::SAMPLE;
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::proxy::pipeline::merge::{Join, Merge};
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::stats::histogram::Latencies;
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};
use crate::resp::reply::{Reply, parse_number};
use crate::sort;

/// Entries of a list, if no number is given.
const DEFAULT_COUNT: usize = 10;

fn ask(
    question: WorkerQuery,
    join: impl FnOnce(&[Reply<'_>], &mut Vec<u8>) + Send + 'static,
) -> After {
    let join: Join = Box::new(join);
    After::Ask(Plan {
        asks: vec![Ask::Workers(question)],
        merge: Merge::Join(join),
        write: false,
    })
}

/// The number behind the words; nothing if it is none.
fn count(args: &Args<'_>, index: usize) -> Option<usize> {
    let Some(text) = args.get(index) else {
        return Some(DEFAULT_COUNT);
    };
    usize::try_from(parse_number(text)?).ok()
}

fn no_number(out: &mut Vec<u8>) -> After {
    super::fail(out, b"ERR value is not an integer or out of range")
}

/// `PROXY HOTKEYS [count]`
pub fn hot_keys(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(count) = count(args, 2) else {
        return no_number(out);
    };
    let protocol = context.session.protocol;
    ask(WorkerQuery::HotKeys, move |replies, out| {
        join_hot_keys(replies, count, protocol, out);
    })
}

/// What the workers say, as a list: of each key about how many requests it had, its share of all in percent, and
/// its slot.
pub fn join_hot_keys(replies: &[Reply<'_>], count: usize, protocol: Protocol, out: &mut Vec<u8>) {
    let mut samples = 0;
    let mut keys: BTreeMap<&[u8], (i64, i64)> = BTreeMap::new();
    for reply in replies {
        let mut items = reply.items();
        samples += items.next().and_then(|item| item.integer()).unwrap_or(0);
        while let (Some(key), Some(hits), Some(error), Some(slot)) =
            (items.next(), items.next(), items.next(), items.next())
        {
            let sure = hits.integer().unwrap_or(0) - error.integer().unwrap_or(0);
            let entry = keys.entry(key.text().unwrap_or_default()).or_default();
            entry.0 += sure;
            entry.1 = slot.integer().unwrap_or(0);
        }
    }
    let mut keys: Vec<_> = keys
        .into_iter()
        .filter(|(_, (hits, _))| *hits > 0)
        .collect();
    sort::by_key(&mut keys, |(_, (hits, _))| -hits);
    keys.truncate(count);
    encode::array(out, keys.len());
    for (key, (hits, slot)) in keys {
        encode::map(out, 4, protocol);
        encode::bulk(out, b"key");
        encode::bulk(out, key);
        encode::bulk(out, b"requests");
        encode::integer(out, hits.saturating_mul(SAMPLE as i64));
        encode::bulk(out, b"percent");
        let percent = hits as f64 * 100.0 / samples.max(1) as f64;
        encode::bulk(out, format!("{percent:.1}").as_bytes());
        encode::bulk(out, b"slot");
        encode::integer(out, slot);
    }
}

/// `PROXY BIGKEYS [count]`
pub fn big_keys(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(count) = count(args, 2) else {
        return no_number(out);
    };
    let protocol = context.session.protocol;
    ask(WorkerQuery::BigKeys, move |replies, out| {
        join_big_keys(replies, count, protocol, out);
    })
}

/// What the workers say, as a list: of each key the bytes of its longest request or reply, and which it was.
pub fn join_big_keys(replies: &[Reply<'_>], count: usize, protocol: Protocol, out: &mut Vec<u8>) {
    let mut keys: BTreeMap<&[u8], (i64, &[u8])> = BTreeMap::new();
    for reply in replies {
        let mut items = reply.items();
        while let (Some(key), Some(bytes), Some(command)) =
            (items.next(), items.next(), items.next())
        {
            let (bytes, command) = (
                bytes.integer().unwrap_or(0),
                command.text().unwrap_or_default(),
            );
            let entry = keys.entry(key.text().unwrap_or_default()).or_default();
            if bytes > entry.0 {
                *entry = (bytes, command);
            }
        }
    }
    let mut keys: Vec<_> = keys.into_iter().collect();
    sort::by_key(&mut keys, |(_, (bytes, _))| -bytes);
    keys.truncate(count);
    encode::array(out, keys.len());
    for (key, (bytes, command)) in keys {
        encode::map(out, 3, protocol);
        encode::bulk(out, b"key");
        encode::bulk(out, key);
        encode::bulk(out, b"bytes");
        encode::integer(out, bytes);
        encode::bulk(out, b"command");
        encode::bulk(out, command);
    }
}

/// `PROXY REDIRECTS [count]`: of each slot that clients were redirected at, how often and by what, how many seconds ago
/// the last time was, its master as it is known now, and whether it migrates.
pub fn redirects(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(count) = count(args, 2) else {
        return no_number(out);
    };
    let protocol = context.session.protocol;
    let slots = context.process.redirects(context.now);
    let slots = &slots[..slots.len().min(count)];
    encode::array(out, slots.len());
    for counted in slots {
        let slot = Slot::new(counted.slot);
        let shard = slot.and_then(|slot| context.routes.shard(slot));
        let master = shard.and_then(|shard| context.nodes.get(usize::from(shard.master.0)));
        let master = master.map_or(String::new(), |node| node.address.to_string());
        encode::map(out, 7, protocol);
        for (name, number) in [
            ("slot", u64::from(counted.slot)),
            ("moved", counted.moved),
            ("ask", counted.ask),
            ("tryagain", counted.tryagain),
            ("seconds-ago", counted.age_seconds(context.now)),
            ("migrating", u64::from(counted.migrating)),
        ] {
            encode::bulk(out, name.as_bytes());
            encode::integer(out, number as i64);
        }
        encode::bulk(out, b"master");
        encode::bulk(out, master.as_bytes());
    }
    After::Go
}

/// `PROXY AUDIT`
pub fn audit(context: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    let protocol = context.session.protocol;
    ask(WorkerQuery::Audit, move |replies, out| {
        join_audit(replies, protocol, out);
    })
}

/// What the workers say, as a list: command, reason and count.
pub fn join_audit(replies: &[Reply<'_>], protocol: Protocol, out: &mut Vec<u8>) {
    let mut counts: BTreeMap<(&[u8], &[u8]), i64> = BTreeMap::new();
    for reply in replies {
        let mut items = reply.items();
        while let (Some(command), Some(reason), Some(count)) =
            (items.next(), items.next(), items.next())
        {
            let key = (
                command.text().unwrap_or_default(),
                reason.text().unwrap_or_default(),
            );
            *counts.entry(key).or_default() += count.integer().unwrap_or(0);
        }
    }
    encode::array(out, counts.len());
    for ((command, reason), count) in counts {
        encode::map(out, 3, protocol);
        encode::bulk(out, b"command");
        encode::bulk(out, command);
        encode::bulk(out, b"reason");
        encode::bulk(out, reason);
        encode::bulk(out, b"count");
        encode::integer(out, count);
    }
}

/// `PROXY SLOWLOG GET [count]`; -1 is all of them.
pub fn slow_log_get(_: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let count = match args.get(3).map(parse_number) {
        None => DEFAULT_COUNT,
        Some(Some(-1)) => usize::MAX,
        Some(Some(count)) if count >= 0 => count as usize,
        Some(_) => return no_number(out),
    };
    ask(WorkerQuery::SlowLog, move |replies, out| {
        join_slow_log(replies, count, out);
    })
}

/// The newest entries of all workers.
pub fn join_slow_log(replies: &[Reply<'_>], count: usize, out: &mut Vec<u8>) {
    let entries = replies.iter().flat_map(|reply| reply.items());
    let second = |entry: &Reply<'_>| entry.items().nth(1).and_then(|second| second.integer());
    let mut entries: Vec<(Option<i64>, Reply<'_>)> =
        entries.map(|entry| (second(&entry), entry)).collect();
    // Those of one worker stay in their order.
    sort::by_key(&mut entries, |(second, _)| std::cmp::Reverse(*second));
    entries.truncate(count);
    encode::array(out, entries.len());
    for (_, entry) in entries {
        out.extend_from_slice(entry.frame());
    }
}

/// `PROXY SLOWLOG LEN`
pub fn slow_log_len(_: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    ask(WorkerQuery::SlowLog, |replies, out| {
        let lens = replies.iter().map(|reply| reply.items().count() as i64);
        encode::integer(out, lens.sum());
    })
}

/// `PROXY SLOWLOG RESET`
pub fn slow_log_reset(_: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    After::Ask(Plan {
        asks: vec![Ask::Workers(WorkerQuery::ResetSlowLog)],
        merge: Merge::AllSucceeded,
        write: false,
    })
}

/// `PROXY LATENCY`: of each command from a request's arrival to its reply, and of each node from the moment that a
/// request was written until its reply was read, in microseconds.
pub fn latency(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let commands = context.process.commands().into_iter();
    let commands = commands.map(|calls| {
        let name = &context.table.row(calls.command).name;
        (name.to_string(), calls.latencies)
    });
    let nodes = context.process.nodes().into_iter();
    let nodes = nodes.map(|(address, totals)| (address.to_string(), totals.latencies));
    let protocol = context.session.protocol;
    encode::map(out, 2, protocol);
    for (name, rows) in [
        ("commands", commands.collect::<Vec<_>>()),
        ("nodes", nodes.collect()),
    ] {
        let rows: Vec<&(String, Latencies)> = rows
            .iter()
            .filter(|(_, latencies)| latencies.count > 0)
            .collect();
        encode::bulk(out, name.as_bytes());
        encode::map(out, rows.len(), protocol);
        for (name, latencies) in rows {
            encode::bulk(out, name.as_bytes());
            encode::map(out, 5, protocol);
            let mean = latencies.micros / latencies.count;
            for (name, value) in [
                ("calls", latencies.count),
                ("mean", mean),
                ("p50", latencies.percentile(50.0)),
                ("p99", latencies.percentile(99.0)),
                ("p99.9", latencies.percentile(99.9)),
            ] {
                encode::bulk(out, name.as_bytes());
                encode::integer(out, value as i64);
            }
        }
    }
    After::Go
}
