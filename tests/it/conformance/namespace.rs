//! The same for a client of a namespace: what the table serves in a namespace is answered as by one server. What it
//! refuses is refused in these words, and the server is not asked.

use redis_cluster_proxy::command::{Command, Confined, Rewrite, Table};

use super::{Found, Marks, SAMPLES, Side, compare, open, rows, sample_words};
use crate::support::session::{SESSION, UNORDERED, words};
use crate::support::{Cluster, Proxy, Server};

/// Rows that are served in a namespace and answer otherwise than one server does, and why.
const OTHERWISE: &[(&str, &str)] = &[];

/// Of a hundred rows that are served in a namespace, so many may answer otherwise.
const OTHERWISE_MAX: usize = 2;

/// What is done in several databases.
const DATABASES: &str = include_str!("databases.txt");

const REFUSED: &str = "is not served in a namespace";

fn row_of<'t>(table: &'t Table, words: &[String]) -> Option<&'t Command> {
    let name = words[0].to_lowercase();
    let subcommand = words
        .get(1)
        .map(|word| format!("{name}|{}", word.to_lowercase()));
    let subcommand = subcommand.and_then(|name| table.named(name.as_bytes()));
    subcommand.or_else(|| table.named(name.as_bytes()))
}

/// Whether a request is refused in a namespace, by its row.
fn is_refused(table: &Table, words: &[String]) -> bool {
    let is_object = |word: &String| word.eq_ignore_ascii_case("object");
    match row_of(table, words).map(|row| row.confined) {
        Some(Confined::Refused(_)) => true,
        Some(Confined::Rewritten(Rewrite::Debug)) => !words.get(1).is_some_and(is_object),
        _ => false,
    }
}

#[test]
fn every_command_is_answered_in_a_namespace_as_by_one_server() {
    let table = Table::compiled();
    let single = Server::start(&[]);
    let cluster = Cluster::start_with(3, 0, &["--cluster-node-timeout", "15000"]);
    let proxy = Proxy::start(&cluster, &["-namespace", "conformance"]);
    let other = Server::start(&[]);
    let rows = rows(&mut single.conn());
    let (mut found, mut refused) = (Found::default(), 0);
    for protocol in ["2", "3"] {
        for addr in [&single.addr(), proxy.addr()] {
            assert_eq!(open(addr, protocol).command(&["FLUSHALL"]), "OK", "{addr}");
        }
        let mut pair = [proxy.addr(), &single.addr()].map(|addr| Side::new(addr, protocol));
        // In RESP3 all of it is done in another database than the first.
        let database = if protocol == "3" { "3" } else { "0" };
        for side in &mut pair {
            assert_eq!(side.conn.command(&["SELECT", database]), "OK");
        }
        for (text, is_session) in [(SESSION, true), (SAMPLES, false), (DATABASES, false)] {
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let (mut marks, command) = Marks::split(line);
                let words = sample_words(command, &other);
                let elsewhere = marks.one_node || marks.cluster_face;
                // A script without an end could not be ended from a namespace.
                let endless =
                    command.contains("while true") || ["EVAL", "FCALL"].contains(&command);
                if elsewhere || endless {
                    continue;
                }
                marks.unordered |= is_session && UNORDERED.contains(&words[0].as_str());
                if !is_refused(&table, &words) {
                    compare(&mut found, &rows, &mut pair, &marks, &words, line);
                    continue;
                }
                let reply = open(proxy.addr(), protocol).command(&words);
                let error = reply.error().unwrap_or_default();
                // What has another fault hears of that first.
                let known = error.contains(REFUSED)
                    || error.contains("wrong number of arguments")
                    || error.contains("is not supported through this proxy");
                if !known {
                    found
                        .wrong
                        .push(format!("RESP{protocol}: {line} is not refused: {reply:?}"));
                }
                refused += 1;
            }
        }
    }
    let served = table
        .rows()
        .iter()
        .filter(|row| !matches!(row.confined, Confined::Refused(_)));
    println!(
        "{} comparisons, {} of them byte for byte; {refused} requests were refused",
        found.lines, found.exact
    );
    assert!(OTHERWISE.len() * 100 <= served.count() * OTHERWISE_MAX);
    let excused = |wrong: &&String| {
        let line = wrong.lines().next().unwrap_or_default();
        let command = line.split_once(": ").map_or("", |(_, command)| command);
        let words = words(Marks::split(command).1);
        let row = row_of(&table, &words).map(|row| &*row.name);
        !OTHERWISE.iter().any(|(name, _)| Some(*name) == row)
    };
    let wrong: Vec<&String> = found.wrong.iter().filter(excused).collect();
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    assert!(found.lines > 1000, "{}", found.lines);
}
