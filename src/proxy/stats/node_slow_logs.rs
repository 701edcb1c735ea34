//! `SlowEntries`: the logs that nodes keep of slow requests (SLOWLOG, COMMANDLOG), as the one log that a server would
//! have kept of the same clients.
//!
//! * What no client of a server sees in its log is dropped: what nodes ask each other, what this proxy asks nodes, and
//!   what a replica executes of its master's writes.
//! * A request that went to several nodes is one entry, as long as the slowest took.
//! * Ids are this proxy's own and rise with what it learns: nodes begin at 0 each.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use crate::command::{Class, Command, Table};
use crate::resp::encode;
use crate::resp::reply::Reply;
use crate::sort;

/// Entries whose ids are remembered.
const KNOWN_MAX: usize = 1 << 16;

/// Seconds between which nodes may have executed one request.
const APART_MAX: i64 = 1;

/// What a node names an entry by: where it is from (nothing is this proxy), its id there, and its second, as ids begin
/// anew with a node.
type Name = (Option<SocketAddr>, i64, i64);

/// The ids that entries have been given.
#[derive(Debug, Default)]
pub struct Ids {
    next: i64,
    known: HashMap<Name, i64>,
}

impl Ids {
    /// Gives ids to those of `entries`, in their order, that have none; what is not among them may be forgotten.
    fn give(&mut self, entries: &mut [Entry<'_>]) {
        if self.known.len() + entries.len() > KNOWN_MAX {
            let names: HashSet<Name> = entries.iter().map(|entry| entry.name).collect();
            self.known.retain(|name, _| names.contains(name));
        }
        for entry in entries {
            let next = &mut self.next;
            entry.id = *self.known.entry(entry.name).or_insert_with(|| {
                *next += 1;
                *next - 1
            });
        }
    }
}

/// One entry of the log.
#[derive(Debug)]
struct Entry<'a> {
    name: Name,
    id: i64,
    /// How long it took, or how many bytes it had.
    size: i64,
    reply: Reply<'a>,
}

impl Entry<'_> {
    fn second(&self) -> i64 {
        self.name.2
    }

    fn print(&self, out: &mut Vec<u8>) {
        encode::array(out, self.reply.items().count());
        encode::integer(out, self.id);
        encode::integer(out, self.second());
        encode::integer(out, self.size);
        for item in self.reply.items().skip(3) {
            out.extend_from_slice(item.frame());
        }
    }
}

/// The log of all nodes.
#[derive(Debug, Default)]
pub struct SlowEntries<'a> {
    entries: Vec<Entry<'a>>,
    /// Of each request that goes to several nodes: its newest entry, and the nodes that are in it.
    several: HashMap<&'a [u8], (usize, Vec<SocketAddr>)>,
}

impl<'a> SlowEntries<'a> {
    /// Puts the logs of these nodes together. `log` is the command that reads it, which is in no log itself.
    pub fn of(
        nodes: &[SocketAddr],
        replies: &[Reply<'a>],
        log: &str,
        table: &Table,
    ) -> SlowEntries<'a> {
        let mut found: Vec<(SocketAddr, Reply<'a>)> = nodes
            .iter()
            .zip(replies)
            .flat_map(|(node, reply)| reply.items().map(move |entry| (*node, entry)))
            .collect();
        let time = |entry: &Reply<'_>| (integer(entry, 1), integer(entry, 0));
        sort::by_key(&mut found, |(_, entry)| time(entry));
        let mut all = SlowEntries::default();
        for (node, entry) in found {
            let Some(args) = entry.items().nth(3) else {
                continue;
            };
            let client = entry.items().nth(4).and_then(|client| client.text());
            if client
                .and_then(address)
                .is_some_and(|at| nodes.contains(&at))
            {
                continue;
            }
            let row = row_of(table, &args);
            if row.is_some_and(|row| !is_of_clients(row, log)) {
                continue;
            }
            all.add(node, entry, args, row.is_some_and(goes_to_several));
        }
        all
    }

    /// Adds entries of this proxy's own log.
    pub fn add_own(&mut self, replies: &[Reply<'a>]) {
        for entry in replies.iter().flat_map(|reply| reply.items()) {
            self.push(None, entry);
        }
    }

    fn push(&mut self, node: Option<SocketAddr>, entry: Reply<'a>) {
        self.entries.push(Entry {
            name: (node, integer(&entry, 0), integer(&entry, 1)),
            id: 0,
            size: integer(&entry, 2),
            reply: entry,
        });
    }

    fn add(&mut self, node: SocketAddr, entry: Reply<'a>, args: Reply<'a>, several: bool) {
        let (second, size) = (integer(&entry, 1), integer(&entry, 2));
        if several && let Some((at, nodes)) = self.several.get_mut(args.frame()) {
            let known = &mut self.entries[*at];
            if second - known.second() <= APART_MAX && !nodes.contains(&node) {
                nodes.push(node);
                known.size = known.size.max(size);
                return;
            }
        }
        if several {
            let place = (self.entries.len(), vec![node]);
            self.several.insert(args.frame(), place);
        }
        self.push(Some(node), entry);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The newest `count`, newest first.
    pub fn print(mut self, count: usize, ids: &mut Ids, out: &mut Vec<u8>) {
        sort::by_key(&mut self.entries, |entry| entry.name.2);
        ids.give(&mut self.entries);
        sort::by_key(&mut self.entries, |entry| {
            std::cmp::Reverse((entry.second(), entry.id))
        });
        self.entries.truncate(count);
        encode::array(out, self.entries.len());
        self.entries.iter().for_each(|entry| entry.print(out));
    }
}

fn integer(entry: &Reply<'_>, index: usize) -> i64 {
    let item = entry.items().nth(index);
    item.and_then(|item| item.integer()).unwrap_or(0)
}

/// The address of a client. That of a node is the stream of a replica's master.
fn address(client: &[u8]) -> Option<SocketAddr> {
    std::str::from_utf8(client).ok()?.parse().ok()
}

/// The row of the command that an entry is about.
fn row_of<'a>(table: &'a Table, args: &Reply<'_>) -> Option<&'a Command> {
    let mut words = args.items().filter_map(|word| word.text());
    let name = words.next()?;
    let row = table.named(name)?;
    if !row.container {
        return Some(row);
    }
    let name = [name, b"|", words.next().unwrap_or_default()].concat();
    table.named(&name).or(Some(row))
}

/// Whether this is in a node's log because a client of ours asked for it.
fn is_of_clients(row: &Command, log: &str) -> bool {
    match row.class {
        Class::Local => row.at_nodes,
        Class::Refused(_) | Class::Subscription => false,
        Class::Routed
        | Class::AnyNode
        | Class::Publish
        | Class::Split(_)
        | Class::AllMasters(_)
        | Class::AllNodes(_)
        | Class::Scan
        | Class::Leased(_) => row.parent() != Some(log),
    }
}

fn goes_to_several(row: &Command) -> bool {
    matches!(
        row.class,
        Class::AllMasters(_) | Class::AllNodes(_) | Class::Local
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [&str; 3] = ["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"];

    fn nodes() -> Vec<SocketAddr> {
        NODES.iter().map(|node| node.parse().unwrap()).collect()
    }

    /// Id, second, time, words, client.
    type Line<'a> = (i64, i64, i64, &'a str, &'a str);

    fn log(lines: &[Line<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::array(&mut out, lines.len());
        for (id, second, micros, words, client) in lines {
            encode::array(&mut out, 6);
            encode::integer(&mut out, *id);
            encode::integer(&mut out, *second);
            encode::integer(&mut out, *micros);
            let words: Vec<&str> = words.split(' ').collect();
            encode::array(&mut out, words.len());
            words
                .iter()
                .for_each(|word| encode::bulk(&mut out, word.as_bytes()));
            encode::bulk(&mut out, client.as_bytes());
            encode::bulk(&mut out, b"");
        }
        out
    }

    /// Id, second, time and first word of what is printed.
    fn printed(logs: &[Vec<u8>], count: usize, ids: &mut Ids) -> Vec<(i64, i64, i64, String)> {
        let replies: Vec<Reply<'_>> = logs.iter().map(|log| Reply::new(log)).collect();
        let table = Table::compiled();
        let entries = SlowEntries::of(&nodes(), &replies, "slowlog", &table);
        let mut out = Vec::new();
        entries.print(count, ids, &mut out);
        let line = |entry: Reply<'_>| {
            let args = entry.items().nth(3).unwrap();
            let words: Vec<String> = args
                .items()
                .map(|word| String::from_utf8_lossy(word.text().unwrap()).into_owned())
                .collect();
            let numbers = [0, 1, 2].map(|index| integer(&entry, index));
            (numbers[0], numbers[1], numbers[2], words.join(" "))
        };
        Reply::new(&out).items().map(line).collect()
    }

    fn brief(printed: &[(i64, i64, i64, String)]) -> Vec<(i64, &str)> {
        let brief = |line: &'_ (i64, i64, i64, String)| line.0;
        let words = printed.iter().map(|(.., words)| words.as_str());
        printed.iter().map(brief).zip(words).collect()
    }

    #[test]
    fn ids_are_our_own_and_rise_with_time() {
        let mut ids = Ids::default();
        let logs = [
            log(&[(1, 20, 5, "GET b", "1.1.1.1:1"), (0, 10, 5, "GET a", "x")]),
            log(&[(0, 15, 7, "SET c 1", "1.1.1.1:1")]),
            Vec::new(),
        ];
        let first = printed(&logs, 10, &mut ids);
        assert_eq!(brief(&first), [(2, "GET b"), (1, "SET c 1"), (0, "GET a")]);
        // The same again, and one that is new at a node that began anew.
        let logs = [
            logs[0].clone(),
            log(&[(0, 30, 7, "SET d 1", "1.1.1.1:1")]),
            Vec::new(),
        ];
        let second = printed(&logs, 2, &mut ids);
        assert_eq!(brief(&second), [(3, "SET d 1"), (2, "GET b")]);
    }

    #[test]
    fn what_no_client_asked_for_is_dropped() {
        let mut ids = Ids::default();
        let own = "10.9.9.9:40000";
        let logs = [
            log(&[
                (9, 9, 1, "REPLCONF ACK 1", "10.0.0.2:33333"),
                (8, 9, 1, "PSYNC ? -1", "10.0.0.2:33333"),
                (7, 9, 1, "SLOWLOG RESET", own),
                (6, 9, 1, "slowlog LEN", own),
                (5, 9, 1, "CLUSTER NODES", own),
                (4, 9, 1, "INFO", own),
                (3, 9, 1, "CONFIG GET slowlog-max-len", own),
                (2, 9, 1, "PING", own),
                (1, 9, 1, "HELLO 3", own),
                (0, 5, 1, "GEOADD g 1 2 m", own),
            ]),
            // The replica's share of that.
            log(&[(0, 5, 1, "ZADD g 1 m", NODES[0])]),
            log(&[(0, 4, 1, "DEBUG SLEEP 1", own), (1, 6, 1, "NOSUCH x", own)]),
        ];
        let all = printed(&logs, 10, &mut ids);
        let words: Vec<&str> = all.iter().map(|(.., words)| words.as_str()).collect();
        assert_eq!(words, ["NOSUCH x", "GEOADD g 1 2 m", "DEBUG SLEEP 1"]);
    }

    #[test]
    fn a_request_to_several_nodes_is_one_entry() {
        let mut ids = Ids::default();
        let flushed = |id, second, micros| log(&[(id, second, micros, "FLUSHALL", "1.1.1.1:1")]);
        let all = printed(
            &[flushed(0, 5, 10), flushed(7, 6, 30), flushed(3, 5, 20)],
            10,
            &mut ids,
        );
        assert_eq!(all, [(0, 5, 30, "FLUSHALL".to_string())]);
        // Twice is twice; and what goes to one node is never one with another's.
        let twice = log(&[
            (1, 8, 10, "FLUSHALL", "1.1.1.1:1"),
            (0, 8, 11, "FLUSHALL", "1.1.1.1:1"),
        ]);
        let get = log(&[(0, 8, 10, "GET k", "1.1.1.1:1")]);
        let all = printed(&[twice, get.clone(), get], 10, &mut Ids::default());
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut ids = Ids::default();
        for round in 0..3 {
            let lines: Vec<Line<'_>> = (0..30_000)
                .map(|id| (round * 30_000 + id, round, 1, "GET k", "x"))
                .collect();
            let all = printed(&[log(&lines), Vec::new(), Vec::new()], 1, &mut ids);
            assert_eq!(all[0].0, (round + 1) * 30_000 - 1);
            assert!(ids.known.len() <= KNOWN_MAX);
        }
    }
}
