//! `classes_markdown`: the table as a document, one line for each command, grouped by class.
//!
//! `COMMANDS.md` beside this file is its text; a test holds it, and writes it anew where `UPDATE_COMMANDS=1` is
//! in the environment.

use std::fmt::Write;

use super::gets::gets;
use super::{Class, Command, LeaseKind, ResponsePolicy, Table};

/// A group: a title, what its classes mean, and which classes they are.
type Group = (&'static str, &'static str, fn(Class) -> bool);

/// The groups in their order.
const GROUPS: &[Group] = &[
    (
        "Routed",
        "To the one master of its keys' slot. Keys in two slots are answered with `-CROSSSLOT`.",
        |class| matches!(class, Class::Routed),
    ),
    (
        "Split",
        "Cut by slot, each part to its master; the replies become one.",
        |class| matches!(class, Class::Split(_)),
    ),
    (
        "All masters",
        "To every master; the replies become one.",
        |class| matches!(class, Class::AllMasters(_) | Class::Scan),
    ),
    (
        "All nodes",
        "To every node, replicas included; the replies become one.",
        |class| matches!(class, Class::AllNodes(_)),
    ),
    (
        "Any master",
        "No keys, and every master gives the same answer.",
        |class| matches!(class, Class::AnyNode),
    ),
    (
        "Publish",
        "No keys. To the master that all channels go by, or to the owner of its channel's slot (`-pubsub-order`).",
        |class| matches!(class, Class::Publish),
    ),
    (
        "Local",
        "Answered by the proxy, which may ask a node for a part of the answer.",
        |class| matches!(class, Class::Local),
    ),
    (
        "Subscription",
        "All subscribers of a channel or pattern share one subscription of the proxy's at a node.",
        |class| matches!(class, Class::Subscription),
    ),
    (
        "Leased",
        "On a connection of its own for as long as it is needed.",
        |class| matches!(class, Class::Leased(_)),
    ),
    (
        "Refused",
        "Answered with `-ERR command '...' is not supported through this proxy: ` and the reason; FAILOVER with \
         the error of a server that has no replicas.",
        |class| matches!(class, Class::Refused(_)),
    ),
];

/// What a transaction promises of commands that are not executed by one node.
const INSIDE_MULTI: &str = "
## Inside MULTI

Every command that one server queues is queued; what cannot be queued (wrong number of arguments, unknown, refused by \
this proxy) dooms the transaction. Of EXEC, one node executes all commands with keys, as one transaction. The others \
are not part of that:

- A command for all masters or all nodes (FLUSHALL, DBSIZE, KEYS, SCRIPT LOAD) is executed by the transaction's node in \
its place among the others, and then by the other nodes. Other clients may see the time between.
- What the proxy answers itself, with or without the nodes (CLIENT, CONFIG, INFO, SCAN, RANDOMKEY, SLOWLOG GET, \
SUBSCRIBE, DEBUG), is executed before the node's transaction if it stands before the first command for a node, and \
after it otherwise; each in its order. After WATCH all of it comes after the node's transaction.
- If EXEC answers nil or EXECABORT, none of what would have come after the node's transaction is executed. What came \
before it has been executed only if the node itself refused the transaction at EXEC (`OOM`, `MISCONF`, a lost \
connection), never because of WATCH or a command that could not be queued.
- If the client or the proxy goes away during EXEC, what has not begun by then is not executed.

The replies are in the order of the commands, whichever was executed first. With `-cross-slot-transactions per-slot` \
there is one transaction in each slot; commands of many keys (MSET, MGET, DEL, EXISTS, UNLINK, TOUCH) are cut into them; \
commands for all nodes come before or after them all, as those of the proxy do; a transaction may have keys in 1024 \
slots.
";

/// The table in Markdown.
pub fn classes_markdown(table: &Table) -> String {
    let mut text = format!(
        "# Commands\n\nEvery command and subcommand ({} of them) and how the proxy serves it. Generated from the \
         table; what only the cluster's servers know is added at run time.\n",
        table.rows().len()
    );
    for (title, meaning, is_in) in GROUPS {
        let mut rows: Vec<&Command> = table.rows().iter().filter(|row| is_in(row.class)).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        line(
            &mut text,
            &format!("\n## {title} ({})\n\n{meaning}\n", rows.len()),
        );
        line(
            &mut text,
            "| Command | How | What a client gets, and why |\n|---|---|---|",
        );
        for row in rows {
            let name = row.name.replace('|', " ").to_uppercase();
            let why = remark(row);
            let cells = [&name, how(row.class), &why];
            let cells = cells.map(|cell| format!("| {cell}"));
            line(&mut text, &format!("{} |", cells.join(" ")));
        }
    }
    text += INSIDE_MULTI;
    text
}

/// How a class serves, in a few words; nothing where its group says all.
pub fn how(class: Class) -> &'static str {
    match class {
        Class::Routed
        | Class::AnyNode
        | Class::Publish
        | Class::Local
        | Class::Subscription
        | Class::Refused(_) => "",
        Class::Split(ResponsePolicy::Default) => "values in the order of the keys",
        Class::Split(policy) | Class::AllMasters(policy) | Class::AllNodes(policy) => {
            merged(policy)
        }
        Class::Scan => "one master after the other",
        Class::Leased(LeaseKind::Blocking) => "until its reply",
        Class::Leased(LeaseKind::Transaction(_)) => "until EXEC, DISCARD or UNWATCH",
        Class::Leased(LeaseKind::Wait) => "the connection that wrote",
    }
}

/// How replies become one.
fn merged(policy: ResponsePolicy) -> &'static str {
    match policy {
        ResponsePolicy::Default => "lists joined",
        ResponsePolicy::OneSucceeded => "the first success",
        ResponsePolicy::AllSucceeded => "all must succeed",
        ResponsePolicy::AggLogicalAnd => "1 where all say 1",
        ResponsePolicy::AggLogicalOr => "1 where any says 1",
        ResponsePolicy::AggMin => "the least",
        ResponsePolicy::AggMax => "the greatest",
        ResponsePolicy::AggSum => "the sum",
        ResponsePolicy::Special => "merged in a way of its own",
    }
}

/// The reason for a class.
fn why(row: &Command) -> &str {
    match row.class {
        Class::Refused(reason) => reason,
        _ => row.why,
    }
}

/// What a client gets, and the reason for a class.
fn remark(row: &Command) -> String {
    let parts = [gets(&row.name).unwrap_or_default(), why(row).to_string()];
    let said = parts.into_iter().filter(|part| !part.is_empty());
    said.collect::<Vec<_>>().join("; ")
}

/// Appends a line.
fn line(text: &mut String, line: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_that_of_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/command/COMMANDS.md");
        let text = classes_markdown(&Table::compiled());
        if std::env::var_os("UPDATE_COMMANDS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == text,
            "COMMANDS.md is old: run the tests with UPDATE_COMMANDS=1"
        );
    }

    #[test]
    fn every_row_is_in_one_group() {
        for row in Table::compiled().rows() {
            let groups = GROUPS.iter().filter(|(_, _, is_in)| is_in(row.class));
            assert_eq!(groups.count(), 1, "{}", row.name);
        }
    }
}
