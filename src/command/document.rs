//! `classes_markdown`: the table of commands as a document, grouped by class.
//!
//! `COMMANDS.md` next to this file is its output. A test compares the two, and rewrites the file if the environment has
//! `UPDATE_COMMANDS=1`.

use std::fmt::Write;

use super::notes::notes;
use super::{Class, Command, LeaseKind, ResponsePolicy, Table};

/// A group: a title, what its classes mean, and which classes they are.
type Group = (&'static str, &'static str, fn(Class) -> bool);

/// The groups, in the order of the document.
const GROUPS: &[Group] = &[
    (
        "Routed",
        "Sent to the master of the keys' slot. If the keys are in several slots, the reply is `-CROSSSLOT`.",
        |class| matches!(class, Class::Routed),
    ),
    (
        "Split",
        "Split by slot. Each part goes to its master, and the replies are merged.",
        |class| matches!(class, Class::Split(_)),
    ),
    (
        "All masters",
        "Sent to every master. The replies are merged.",
        |class| matches!(class, Class::AllMasters(_) | Class::Scan),
    ),
    (
        "All nodes",
        "Sent to every node, including replicas. The replies are merged.",
        |class| matches!(class, Class::AllNodes(_)),
    ),
    (
        "Any master",
        "Has no keys, and every master gives the same reply, so any master is asked.",
        |class| matches!(class, Class::AnyNode),
    ),
    (
        "Publish",
        "Sent to the master that carries all channels, or to the master of the channel's slot (`-pubsub-order`).",
        |class| matches!(class, Class::Publish),
    ),
    (
        "Local",
        "Answered by the proxy, which may ask nodes for parts of the reply.",
        |class| matches!(class, Class::Local),
    ),
    (
        "Subscription",
        "All subscribers of a channel or pattern share one subscription of the proxy at a node.",
        |class| matches!(class, Class::Subscription),
    ),
    (
        "Leased",
        "Executed on a node connection that serves this client alone until the point in the second column.",
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

Everything that one server queues is queued. A command that cannot be queued (unknown, refused by the proxy, wrong number \
of arguments) makes EXEC fail. One node executes all commands with keys, as one transaction. Commands without keys are not \
part of that transaction:

- A command for all masters or all nodes (FLUSHALL, DBSIZE, KEYS, SCRIPT LOAD) is executed by the transaction's node in its \
place, and then by the other nodes. Other clients may see the state in between.
- What the proxy answers itself, with or without nodes (CLIENT, CONFIG, INFO, SCAN, RANDOMKEY, SLOWLOG GET, SUBSCRIBE, \
DEBUG), is executed before the node's transaction if it was queued before the first command for a node, otherwise after it. \
After WATCH, all of it is executed after the node's transaction.
- If EXEC returns nil or EXECABORT, nothing that would come after the node's transaction is executed. What comes before it \
has been executed only if the node itself refused the transaction at EXEC (`OOM`, `MISCONF`, a lost connection), never \
because of WATCH or a command that could not be queued.
- If the client or the proxy goes away during EXEC, what has not begun is not executed.

Replies are in the order of the commands, whatever was executed first.

With `-cross-slot-transactions per-slot` there is one transaction in each slot, at most 1024. MSET, MGET, DEL, EXISTS, \
UNLINK and TOUCH are split over them. Commands for all nodes run before or after all of them, like those of the proxy. After WATCH a \
transaction has one slot, because the watched keys decide over all of it.
";

/// The table in Markdown.
pub fn classes_markdown(table: &Table) -> String {
    let mut text = format!(
        "# Commands\n\nAll {} commands and subcommands that the proxy knows, and how it serves them. It learns others from \
         the servers at run time;\n`PROXY EXPLAIN command ...` explains any of them. [Differences from one \
         server](../../dist/docs/differences.md) is a summary.\n\nGenerated from `src/command/rows.rs`: \
         `UPDATE_COMMANDS=1 cargo test --lib command::document`.\n",
        table.rows().len()
    );
    for (title, meaning, is_in) in GROUPS {
        let mut rows: Vec<&Command> = table.rows().iter().filter(|row| is_in(row.class)).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        line(
            &mut text,
            &format!("\n## {title} ({})\n\n{meaning}\n", rows.len()),
        );
        let (noted, plain): (Vec<&Command>, Vec<&Command>) = rows
            .iter()
            .partition(|row| !how(row.class).is_empty() || !remark(row).is_empty());
        if !noted.is_empty() {
            line(&mut text, "| command | how | notes |\n|---|---|---|");
        }
        for row in &noted {
            let cells = [title_of(row), how(row.class).to_string(), remark(row)];
            let cells = cells.map(|cell| format!("| {cell}"));
            line(&mut text, &format!("{} |", cells.join(" ")));
        }
        if !plain.is_empty() {
            let names: Vec<String> = plain.iter().map(|row| title_of(row)).collect();
            let others = if noted.is_empty() {
                ""
            } else {
                "\nWithout notes: "
            };
            line(&mut text, &format!("{others}{}", names.join(", ")));
        }
    }
    text += INSIDE_MULTI;
    text
}

/// The command as it is typed.
fn title_of(row: &Command) -> String {
    row.name.replace('|', " ").to_uppercase()
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
        ResponsePolicy::Default => "lists concatenated",
        ResponsePolicy::OneSucceeded => "the first reply that is not an error",
        ResponsePolicy::AllSucceeded => "all must succeed",
        ResponsePolicy::AggLogicalAnd => "1 if all say 1",
        ResponsePolicy::AggLogicalOr => "1 if any says 1",
        ResponsePolicy::AggMin => "the lowest",
        ResponsePolicy::AggMax => "the highest",
        ResponsePolicy::AggSum => "the sum",
        ResponsePolicy::Special => "merged by its own rule",
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
    let parts = [notes(&row.name).unwrap_or_default(), why(row).to_string()];
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
            "COMMANDS.md is out of date: run the tests with UPDATE_COMMANDS=1"
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
