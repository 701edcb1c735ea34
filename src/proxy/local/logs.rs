//! Logs that each node keeps: SLOWLOG and COMMANDLOG are merged into one (see `node_slow_logs`), with as many entries
//! as one server would keep; ACL LOG returns the newest entries of all nodes.

use std::sync::PoisonError;

use super::{After, Context, nodes};
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::proxy::pipeline::merge::{Join, Merge};
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::stats::node_slow_logs::{Ids, SlowEntries};
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::{Reply, parse_number};

/// Entries of the slow log, and of the ACL log, if no number is given.
const DEFAULT_COUNT: i64 = 10;

/// Entries that a node is asked for where all are wanted.
const ALL: usize = 100_000;
/// Entries of its own traffic that a node may have among those that are wanted.
const OWN_TRAFFIC: usize = 1000;

/// The logs that are read so: the words behind the count, and the setting that says how long it may be.
const LOGS: &[(&str, &str, &str)] = &[
    ("slowlog", "", "slowlog-max-len"),
    ("commandlog", "slow", "commandlog-slow-execution-max-len"),
    (
        "commandlog",
        "large-request",
        "commandlog-large-request-max-len",
    ),
    (
        "commandlog",
        "large-reply",
        "commandlog-large-reply-max-len",
    ),
];

/// `SLOWLOG GET [count]` and `COMMANDLOG GET count type`. A count that is none is the nodes' to refuse.
/// `SLOWLOG GET count PROXY` has the proxy's own entries among them, which are longer (see `SlowLog::print`).
pub fn slowlog_get(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let own = args.at(3).eq_ignore_ascii_case(b"proxy") && args.len() == 4;
    let kind = if own { b"" } else { args.at(3) };
    let count = match args.get(2).map_or(Some(DEFAULT_COUNT), parse_number) {
        Some(-1) => Some(usize::MAX),
        Some(count) => usize::try_from(count).ok(),
        None => None,
    };
    let log = log_of(context, kind);
    let (Some(count), Some(log), 2..=4) = (count, log, args.len()) else {
        return nodes::ask_all(context, args, Merge::AllSucceeded);
    };
    let print = move |entries: SlowEntries<'_>, most: usize, ids: &mut Ids, out: &mut Vec<u8>| {
        entries.print(count.min(most), ids, out);
    };
    read_log(context, args, (log, own), count, print)
}

/// `SLOWLOG LEN` and `COMMANDLOG LEN type`: as many as GET would give.
pub fn slowlog_len(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let Some(log) = log_of(context, args.at(2)) else {
        return nodes::ask_all(context, args, Merge::AllSucceeded);
    };
    let print = |entries: SlowEntries<'_>, most: usize, _: &mut Ids, out: &mut Vec<u8>| {
        encode::integer(out, entries.len().min(most) as i64);
    };
    read_log(context, args, (log, false), usize::MAX, print)
}

/// The place of the log that is meant.
fn log_of(context: &Context<'_>, kind: &[u8]) -> Option<usize> {
    let parent = context.command.parent();
    LOGS.iter().position(|(command, word, _)| {
        Some(*command) == parent && kind.eq_ignore_ascii_case(word.as_bytes())
    })
}

/// Reads a log at all nodes: also at replicas, as reads may have gone there, and a replica may have been a master.
/// `print` takes what is in it, and how many entries there may be.
fn read_log(
    context: &Context<'_>,
    args: &Args<'_>,
    (log, own): (usize, bool),
    count: usize,
    print: impl FnOnce(SlowEntries<'_>, usize, &mut Ids, &mut Vec<u8>) + Send + 'static,
) -> After {
    let (command, kind, setting) = LOGS[log];
    let wanted = count.saturating_mul(2).saturating_add(OWN_TRAFFIC).min(ALL);
    let wanted = wanted.to_string();
    let (mut frame, mut question) = (Vec::new(), Vec::new());
    let words = [args.at(0), b"GET", wanted.as_bytes(), kind.as_bytes()];
    let words = if kind.is_empty() { &words[..3] } else { &words };
    encode::command(&mut frame, words.iter().copied());
    encode::command(&mut question, [&b"CONFIG"[..], b"GET", setting.as_bytes()]);
    let (mut asks, mut addresses) = (vec![Ask::AnyMaster(question)], Vec::new());
    for asked in context.routes.everyone(context.command, true) {
        let address = asked
            .node()
            .and_then(|node| context.routes.address_of(node));
        if let Some(address) = address {
            addresses.push(address);
            asks.push(Ask::each(asked, frame.clone()));
        }
    }
    if own {
        asks.push(Ask::Workers(WorkerQuery::SlowLog));
    }
    let (table, process) = (context.table.clone(), context.process.clone());
    let join: Join = Box::new(move |replies, out| {
        let (setting, replies) = match replies.split_first() {
            Some((setting, replies)) => (value_of(setting), replies),
            None => (None, replies),
        };
        if let Some(error) = replies.iter().find_map(Reply::error) {
            return encode::error(out, error);
        }
        let mut entries = SlowEntries::of(&addresses, replies, command, &table);
        if let Some(own) = replies.get(addresses.len()..) {
            entries.add_own(own);
        }
        // A proxy that may not ask for the setting shows all that there is.
        let most = setting.unwrap_or(usize::MAX);
        let mut ids = process
            .slow_ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // SLOWLOG is the first kind of COMMANDLOG.
        print(entries, most, &mut ids[log.saturating_sub(1)], out);
    });
    After::Ask(Plan {
        asks,
        merge: Merge::JoinAll(join),
        write: false,
    })
}

/// The one value of an answer to CONFIG GET.
fn value_of(reply: &Reply<'_>) -> Option<usize> {
    let value = reply.items().nth(1)?;
    parse_number(value.text()?)?.try_into().ok()
}
