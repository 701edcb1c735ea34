//! `hidden`: which arguments of a request are secrets, by the rules of the servers (`redactClientCommandArgument`).
//! Everything that shows requests asks here: MONITOR, the slow log, the access log, the lists of keys.
//!
//! It must never know who shows a request.

use super::{Command, Resolved, Table};
use crate::resp::args::Args;

/// What stands in the place of a secret.
pub const REDACTED: &[u8] = b"(redacted)";

/// Which arguments are secrets.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// All from this one on.
    From(usize),
    /// From argument `from` on, so many behind each of these words; behind `until` there are none.
    Behind {
        from: usize,
        words: &'static [(&'static str, usize)],
        until: &'static str,
    },
    /// From this one on there are names and values; the values of some names are.
    Values(usize),
    /// Those of the request that begins at this one.
    Request(usize),
    /// By the words behind the name.
    Words(&'static [(&'static [&'static str], Rule)]),
}

use Rule::{Behind, From, Request, Values, Words};

/// The rows that have secrets, by name.
#[rustfmt::skip]
const RULES: &[(&str, Rule)] = &[
    ("acl|deluser", From(2)),
    ("acl|getuser", From(2)),
    ("acl|setuser", From(2)),
    ("auth", From(1)),
    ("command|getkeys", Request(2)),
    ("command|getkeysandflags", Request(2)),
    ("config|set", Values(2)),
    ("hello", Behind { from: 2, words: &[("AUTH", 2)], until: "" }),
    ("migrate", Behind { from: 6, words: &[("AUTH", 1), ("AUTH2", 2)], until: "KEYS" }),
    ("proxy", Words(&[(&["CONFIG", "SET"], Values(3)), (&["EXPLAIN"], Request(2))])),
];

/// The settings of servers that are secrets. (SENSITIVE_CONFIG)
const SECRET_SETTINGS: &[&str] = &[
    "masterauth",
    "masteruser",
    "primaryauth",
    "primaryuser",
    "requirepass",
    "tls-client-key-file-pass",
    "tls-key-file-pass",
];

/// The places of the secrets of a request, in order. A request within a request is looked at if there is a table.
pub fn hidden(command: &Command, args: &Args<'_>, table: Option<&Table>) -> Vec<usize> {
    let mut hidden = Vec::new();
    let (mut rule, mut start, mut inner) = (rule_of(command), 0, *args);
    // One request may stand in another any number of times: no recursion.
    while let Some(found) = rule {
        let found = match found {
            Words(rows) => {
                let is_meant = |(words, _): &&(&[&str], Rule)| {
                    let mut words = words.iter().enumerate();
                    words.all(|(at, word)| is(inner.at(at + 1), word))
                };
                match rows.iter().find(is_meant) {
                    Some((_, rule)) => *rule,
                    None => break,
                }
            }
            other => other,
        };
        let Request(at) = found else {
            add(found, &inner, start, &mut hidden);
            break;
        };
        let (Some(table), Some(tail)) = (table, inner.tail(at)) else {
            break;
        };
        (start, inner) = (start + at, tail);
        rule = match table.resolve(&inner) {
            Resolved::Command(command) => rule_of(command),
            Resolved::Unknown | Resolved::UnknownSubcommand(_) => None,
        };
    }
    hidden
}

fn rule_of(command: &Command) -> Option<Rule> {
    let found = RULES.binary_search_by_key(&&*command.name, |(name, _)| name);
    Some(RULES[found.ok()?].1)
}

fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// Adds what a rule hides of a request that begins at argument `start` of the whole.
fn add(rule: Rule, args: &Args<'_>, start: usize, hidden: &mut Vec<usize>) {
    match rule {
        From(at) => hidden.extend((at..args.len()).map(|at| start + at)),
        Behind { from, words, until } => {
            let is_end = |arg: &[u8]| !until.is_empty() && is(arg, until);
            let mut at = from;
            while at < args.len() && !is_end(args.at(at)) {
                let word = words.iter().find(|(word, _)| is(args.at(at), word));
                let count = word.map_or(0, |(_, count)| *count);
                let end = (at + 1 + count).min(args.len());
                hidden.extend((at + 1..end).map(|at| start + at));
                at += 1 + count;
            }
        }
        Values(from) => {
            for at in (from..args.len()).step_by(2) {
                if at + 1 < args.len() && is_secret(args.at(at)) {
                    hidden.push(start + at + 1);
                }
            }
        }
        Request(_) | Words(_) => debug_assert!(false, "it has been resolved"),
    }
}

/// Whether the value of a setting is a secret: of a server, of a module (which does not say it), of the proxy.
fn is_secret(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    let has = |word: &[u8]| memchr::memmem::find(&lower, word).is_some();
    SECRET_SETTINGS.iter().any(|own| own.as_bytes() == lower)
        || has(b".")
        || has(b"password")
        || has(b"token")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;
    use crate::resp::frame::{RequestLimits, RequestScanner};

    /// The words of a request as they are shown.
    fn shown(line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let mut frame = Vec::new();
        encode::command(&mut frame, words.iter().map(|word| word.as_bytes()));
        let mut spans = Vec::new();
        let limits = RequestLimits {
            bulk_bytes: 100,
            request_bytes: 100_000_000,
            inline_bytes: 100,
            authenticated: true,
            unauthenticated_args: 10,
            unauthenticated_bulk_bytes: 100,
        };
        let scan = RequestScanner::default().next(&frame, &limits, &mut spans);
        scan.expect("a request");
        let (args, table) = (Args::new(&frame, &spans), Table::compiled());
        let Resolved::Command(command) = table.resolve(&args) else {
            panic!("{line} is no command");
        };
        let hidden = hidden(command, &args, Some(&table));
        assert!(hidden.is_sorted());
        let show = |(at, word): (usize, &&str)| match hidden.contains(&at) {
            true => "*".to_string(),
            false => word.to_string(),
        };
        let shown: Vec<String> = words.iter().enumerate().map(show).collect();
        shown.join(" ")
    }

    #[test]
    fn secrets_are_those_of_the_servers_and_the_proxy() {
        assert!(RULES.is_sorted_by_key(|(name, _)| *name));
        let table = Table::compiled();
        for (name, _) in RULES {
            assert!(table.named(name.as_bytes()).is_some(), "{name}");
        }
        for (line, expected) in [
            ("AUTH p", "AUTH *"),
            ("auth u p", "auth * *"),
            ("HELLO 3 AUTH u p SETNAME n", "HELLO 3 AUTH * * SETNAME n"),
            ("HELLO 3 SETNAME n auth u p", "HELLO 3 SETNAME n auth * *"),
            ("HELLO 3", "HELLO 3"),
            ("HELLO 3 AUTH u", "HELLO 3 AUTH *"),
            ("ACL SETUSER bob on >p ~* +@all", "ACL SETUSER * * * * *"),
            ("ACL GETUSER bob", "ACL GETUSER *"),
            ("ACL DELUSER bob eve", "ACL DELUSER * *"),
            ("ACL WHOAMI", "ACL WHOAMI"),
            (
                "MIGRATE h 1 k 0 9 COPY AUTH p",
                "MIGRATE h 1 k 0 9 COPY AUTH *",
            ),
            (
                "MIGRATE h 1 k 0 9 AUTH2 u p KEYS AUTH b",
                "MIGRATE h 1 k 0 9 AUTH2 * * KEYS AUTH b",
            ),
            (
                "MIGRATE h 1 k 0 9 AUTH KEYS KEYS AUTH",
                "MIGRATE h 1 k 0 9 AUTH * KEYS AUTH",
            ),
            (
                "CONFIG SET maxmemory 1 RequirePass p",
                "CONFIG SET maxmemory 1 RequirePass *",
            ),
            (
                "CONFIG SET masterauth p maxmemory 1",
                "CONFIG SET masterauth * maxmemory 1",
            ),
            ("CONFIG SET requirepass", "CONFIG SET requirepass"),
            ("CONFIG GET requirepass", "CONFIG GET requirepass"),
            ("CONFIG SET module.key x", "CONFIG SET module.key *"),
            (
                "PROXY CONFIG SET client-password p",
                "PROXY CONFIG SET client-password *",
            ),
            (
                "PROXY CONFIG SET log-level info debug-token t",
                "PROXY CONFIG SET log-level info debug-token *",
            ),
            ("PROXY EXPLAIN AUTH p", "PROXY EXPLAIN AUTH *"),
            (
                "PROXY EXPLAIN proxy explain CONFIG SET requirepass p",
                "PROXY EXPLAIN proxy explain CONFIG SET requirepass *",
            ),
            ("PROXY HOTKEYS", "PROXY HOTKEYS"),
            (
                "COMMAND GETKEYS MIGRATE h 1 k 0 9 AUTH p",
                "COMMAND GETKEYS MIGRATE h 1 k 0 9 AUTH *",
            ),
            ("COMMAND GETKEYS nothing x", "COMMAND GETKEYS nothing x"),
            ("SET auth x", "SET auth x"),
        ] {
            assert_eq!(shown(line), expected);
        }
    }

    #[test]
    fn a_million_words_cost_no_stack_and_little_time() {
        let nested = "PROXY EXPLAIN ".repeat(200_000) + "AUTH p";
        assert!(shown(&nested).ends_with("AUTH *"));
        let long = "MIGRATE h 1 k 0 9".to_string() + &" AUTH p".repeat(1000);
        assert!(!shown(&long).contains(" p"));
    }
}
