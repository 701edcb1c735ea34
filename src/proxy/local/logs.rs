//! Logs that each node keeps for itself: SLOWLOG GET, COMMANDLOG GET and ACL LOG are the newest entries of
//! all nodes, no more than asked for. Ids are as the nodes gave them: unique within a node only.

use super::nodes::{join_all, value};
use super::{After, Context, nodes};
use crate::proxy::merge::Merge;
use crate::proxy::plan::{Ask, Plan};
use crate::proxy::question::Question;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::{Reply, parse_number};

/// Entries of the slow log, and of the ACL log, if no number is given.
const DEFAULT_COUNT: i64 = 10;

/// `SLOWLOG GET [count]` and `COMMANDLOG GET count type`. A count that is none is the nodes' to refuse.
/// `SLOWLOG GET count PROXY` has the proxy's own entries among them, which are longer (see `SlowLog::print`).
pub fn slowlog_get(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let count = wanted(args);
    let join = move |replies: &[Reply<'_>], out: &mut Vec<u8>| {
        // An entry is its id, its second, and more.
        let age = |entry: &Reply<'_>| {
            let second = entry.items().nth(1).and_then(|second| second.integer());
            -(second.unwrap_or(0) as f64)
        };
        youngest(replies, age, count, out);
    };
    let own = args.len() == 4 && args.at(0).eq_ignore_ascii_case(b"slowlog");
    if !own || !args.at(3).eq_ignore_ascii_case(b"proxy") {
        return join_all(context, args, join);
    }
    let mut frame = Vec::new();
    encode::command(&mut frame, [args.at(0), args.at(1), args.at(2)]);
    let everyone = context.routes.everyone(context.command, true);
    let nodes = everyone.map(|asked| Ask::each(asked, frame.clone()));
    After::Ask(Plan {
        asks: nodes.chain([Ask::Workers(Question::SlowLog)]).collect(),
        merge: Merge::Join(Box::new(join)),
        write: false,
    })
}

/// `ACL LOG [count | RESET]`.
pub fn acl_log(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    if args.at(2).eq_ignore_ascii_case(b"reset") {
        return nodes::ask_all(context, args, Merge::AllSucceeded);
    }
    let count = wanted(args);
    join_all(context, args, move |replies, out| {
        let age = |entry: &Reply<'_>| {
            let age = value(entry, "age-seconds").and_then(|age| age.number());
            age.unwrap_or(f64::MAX)
        };
        youngest(replies, age, count, out);
    })
}

/// How many entries are asked for; all, if the number makes no sense to us.
fn wanted(args: &Args<'_>) -> usize {
    let count = args.get(2).map_or(Some(DEFAULT_COUNT), parse_number);
    count.map_or(usize::MAX, |count| {
        usize::try_from(count).unwrap_or(usize::MAX)
    })
}

/// The `count` youngest of all entries. Those of one node stay in their order.
fn youngest(
    replies: &[Reply<'_>],
    age: impl Fn(&Reply<'_>) -> f64,
    count: usize,
    out: &mut Vec<u8>,
) {
    let mut entries: Vec<(f64, Reply<'_>)> = replies
        .iter()
        .flat_map(|reply| reply.items())
        .map(|entry| (age(&entry), entry))
        .collect();
    entries.sort_by(|a, b| a.0.total_cmp(&b.0));
    entries.truncate(count);
    encode::array(out, entries.len());
    for (_, entry) in entries {
        out.extend_from_slice(entry.frame());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_of_all_nodes_are_given() {
        let age = |entry: &Reply<'_>| entry.integer().unwrap() as f64;
        let check = |count, expected: &str| {
            let join =
                |replies: &[Reply<'_>], out: &mut Vec<u8>| youngest(replies, age, count, out);
            let replies = ["*2\r\n:1\r\n:5\r\n", "", "*0\r\n", "*2\r\n:0\r\n:3\r\n"];
            assert_eq!(nodes::joined(join, &replies), expected);
        };
        check(0, "*0\r\n");
        check(3, "*3\r\n:0\r\n:1\r\n:3\r\n");
        check(usize::MAX, "*4\r\n:0\r\n:1\r\n:3\r\n:5\r\n");
    }
}
