//! The PROXY family: what this proxy is and knows, and how to control it. Each subcommand is a row of [`ROWS`]; HELP
//! and the errors are generated from the rows.

use super::{After, Context, Run, cluster, explain, info, near, proxy_reports};
use crate::live_config::Unchanged;
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::texts;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::glob::{self, Case};

/// A subcommand.
struct Sub {
    /// The words behind PROXY, in upper case: one, or two.
    words: &'static [&'static str],
    /// As in the table of commands: exact, or negative and a minimum; PROXY and the words count.
    arity: i16,
    /// What HELP shows behind the words.
    usage: &'static str,
    /// What HELP says.
    help: &'static str,
    /// Whether it changes the proxy, which `-admin-commands` may forbid.
    changes: bool,
    run: Run,
}

const ROWS: &[Sub] = &[
    Sub {
        words: &["AUDIT"],
        arity: 2,
        usage: "",
        help: "Count the requests that a cluster would refuse or treat differently, by command and reason.",
        changes: false,
        run: proxy_reports::audit,
    },
    Sub {
        words: &["BIGKEYS"],
        arity: -2,
        usage: "[<count>]",
        help: "List the keys with the largest requests or replies.",
        changes: false,
        run: proxy_reports::big_keys,
    },
    Sub {
        words: &["CACHE", "FLUSH"],
        arity: 3,
        usage: "",
        help: "Empty the near cache of this proxy.",
        changes: true,
        run: near::flush,
    },
    Sub {
        words: &["CACHE", "KEYS"],
        arity: -3,
        usage: "[<count>]",
        help: "List the largest keys in the near cache.",
        changes: false,
        run: near::keys,
    },
    Sub {
        words: &["CACHE", "OFF"],
        arity: 3,
        usage: "",
        help: "Do not serve this connection from the near cache.",
        changes: false,
        run: near::switch,
    },
    Sub {
        words: &["CACHE", "ON"],
        arity: 3,
        usage: "",
        help: "Serve this connection from the near cache again.",
        changes: false,
        run: near::switch,
    },
    Sub {
        words: &["CACHE", "STATS"],
        arity: 3,
        usage: "",
        help: "Return the counters of the near cache (-near-cache).",
        changes: false,
        run: near::stats,
    },
    Sub {
        words: &["CLIENT", "ID"],
        arity: 3,
        usage: "",
        help: "Return the ID of this connection.",
        changes: false,
        run: client,
    },
    Sub {
        words: &["CLIENT", "LIST"],
        arity: -3,
        usage: "[options ...]",
        help: "List the clients of this proxy, like CLIENT LIST.",
        changes: false,
        run: client,
    },
    Sub {
        words: &["CLUSTER", "INFO"],
        arity: 3,
        usage: "",
        help: "Return the state of the cluster as this proxy sees it.",
        changes: false,
        run: cluster::known_info,
    },
    Sub {
        words: &["CLUSTER", "NODES"],
        arity: 3,
        usage: "",
        help: "List the nodes of the cluster as this proxy sees them, in the format of CLUSTER NODES.",
        changes: false,
        run: cluster::known_nodes,
    },
    Sub {
        words: &["CLUSTER", "UPDATE"],
        arity: 3,
        usage: "",
        help: "Refresh the topology now.",
        changes: false,
        run: update,
    },
    Sub {
        words: &["COMMAND", "UNSUPPORTED"],
        arity: 3,
        usage: "",
        help: "List the commands that this proxy does not support, with the reason for each.",
        changes: false,
        run: unsupported,
    },
    Sub {
        words: &["CONFIG", "GET"],
        arity: -4,
        usage: "<pattern> [<pattern> ...]",
        help: "Return the settings that match; their names are those of the flags. Passwords are not shown.",
        changes: false,
        run: config_get,
    },
    Sub {
        words: &["CONFIG", "SET"],
        arity: -5,
        usage: "<name> <value> [<name> <value> ...]",
        help: "Change settings until this proxy exits. If one is invalid, none is changed.",
        changes: true,
        run: config_set,
    },
    Sub {
        words: &["EXPLAIN"],
        arity: -3,
        usage: "<command> [<arg> ...]",
        help: "Explain how a command would be served: class, keys, slots and nodes, or why it would be refused.",
        changes: false,
        run: explain::explain,
    },
    Sub {
        words: &["HELP"],
        arity: 2,
        usage: "",
        help: "Print this help.",
        changes: false,
        run: help,
    },
    Sub {
        words: &["HOTKEYS"],
        arity: -2,
        usage: "[<count>]",
        help: "List the most requested keys, from a sample of the requests.",
        changes: false,
        run: proxy_reports::hot_keys,
    },
    Sub {
        words: &["INFO"],
        arity: 2,
        usage: "",
        help: "Return the sections of INFO about this proxy.",
        changes: false,
        run: own_info,
    },
    Sub {
        words: &["LATENCY"],
        arity: 2,
        usage: "",
        help: "Return latencies in microseconds: by command as clients see them, by node as the proxy sees them.",
        changes: false,
        run: proxy_reports::latency,
    },
    Sub {
        words: &["REDIRECTS"],
        arity: -2,
        usage: "[<count>]",
        help: "List the slots with the most redirects (MOVED, ASK, TRYAGAIN).",
        changes: false,
        run: proxy_reports::redirects,
    },
    Sub {
        words: &["SLOWLOG", "GET"],
        arity: -3,
        usage: "[<count>]",
        help: "List the latest slow requests (-slowlog-log-slower-than) like SLOWLOG GET, plus the node and the microseconds spent in the proxy and in the node.",
        changes: false,
        run: proxy_reports::slow_log_get,
    },
    Sub {
        words: &["SLOWLOG", "LEN"],
        arity: 3,
        usage: "",
        help: "Return the number of entries.",
        changes: false,
        run: proxy_reports::slow_log_len,
    },
    Sub {
        words: &["SLOWLOG", "RESET"],
        arity: 3,
        usage: "",
        help: "Remove all entries.",
        changes: false,
        run: proxy_reports::slow_log_reset,
    },
];

impl Sub {
    fn arity_ok(&self, len: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        len == wanted || (self.arity < 0 && len > wanted)
    }

    fn is_named(&self, args: &Args<'_>) -> bool {
        let words = self.words.iter().enumerate();
        words
            .into_iter()
            .all(|(index, word)| args.at(index + 1).eq_ignore_ascii_case(word.as_bytes()))
    }

    fn name(&self) -> String {
        format!("proxy|{}", self.words.join("|").to_lowercase())
    }
}

/// `PROXY <subcommand> ...`
pub fn proxy(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(sub) = ROWS.iter().find(|sub| sub.is_named(args)) else {
        encode::error(out, unknown(args).as_bytes());
        return After::Go;
    };
    if !sub.arity_ok(args.len()) {
        encode::error(out, texts::wrong_arity(&sub.name()).as_bytes());
        return After::Go;
    }
    if sub.changes && !context.administers {
        encode::error(out, texts::not_allowed(&sub.name()).as_bytes());
        return After::Go;
    }
    (sub.run)(context, args, out)
}

/// No such subcommand, or half of one.
fn unknown(args: &Args<'_>) -> String {
    let first = args.at(1).to_ascii_uppercase();
    let family = |sub: &&Sub| sub.words.len() == 2 && sub.words[0].as_bytes() == first;
    match (ROWS.iter().find(family), args.get(2)) {
        (Some(sub), None) => texts::wrong_arity(&format!("proxy|{}", sub.words[0].to_lowercase())),
        (Some(_), Some(word)) => texts::no_subcommand("PROXY", word),
        (None, _) => texts::no_subcommand("PROXY", args.at(1)),
    }
}

fn help(_: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::array(out, 1 + 2 * ROWS.len());
    encode::simple(
        out,
        "PROXY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    );
    for sub in ROWS {
        let line = format!("{} {}", sub.words.join(" "), sub.usage);
        encode::simple(out, line.trim_end());
        encode::simple(out, &format!("    {}", sub.help));
    }
    After::Go
}

fn own_info(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let text = info::proxy_sections(context);
    encode::verbatim(out, &text, context.session.protocol);
    After::Go
}

/// As the command without PROXY before it.
fn client(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let name = format!("client|{}", String::from_utf8_lossy(args.at(2)));
    let row = context.table.named(name.to_lowercase().as_bytes());
    let handler = row.and_then(|row| context.handlers.get(row.id));
    match (row, handler, args.tail(1)) {
        (_, Some(handler), Some(tail)) => (handler.run)(context, &tail, out),
        (Some(row), ..) => {
            encode::error(out, texts::not_yet(row).as_bytes());
            After::Go
        }
        _ => {
            encode::error(out, unknown(args).as_bytes());
            After::Go
        }
    }
}

fn update(_: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::simple(out, "OK");
    After::Refresh
}

fn unsupported(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let rows = context.table.rows().iter();
    let found: Vec<_> = rows
        .filter(|row| !context.handlers.answers(row.id) && !row.container)
        .filter_map(|row| Some((&row.name, texts::why_unserved(row)?)))
        .collect();
    encode::map(out, found.len(), context.session.protocol);
    for (name, reason) in found {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, reason.as_bytes());
    }
    After::Go
}

fn config_get(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let wanted = |name: &str| {
        args.from(3)
            .any(|pattern| glob::matches(pattern, name.as_bytes(), Case::Insensitive))
    };
    let mut found = context.process.live.list();
    found.retain(|(name, _)| wanted(name));
    encode::map(out, found.len(), context.session.protocol);
    for (name, value) in found {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    After::Go
}

/// Changes settings, and has every worker take them before the client hears of it.
fn config_set(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    match changes(args).and_then(|changes| change(context, &changes)) {
        Ok(()) => After::Ask(Plan {
            asks: vec![Ask::Workers(WorkerQuery::RenewConfig)],
            merge: Merge::AllSucceeded,
            write: false,
        }),
        Err(text) => {
            encode::error(out, text.as_bytes());
            After::Go
        }
    }
}

/// The names and values of the request.
fn changes<'a>(args: &Args<'a>) -> Result<Vec<(&'a str, &'a str)>, String> {
    if args.len().is_multiple_of(2) {
        return Err("ERR syntax error".to_string());
    }
    let mut changes: Vec<(&str, &str)> = Vec::new();
    for at in (3..args.len()).step_by(2) {
        let Ok(name) = std::str::from_utf8(args.at(at)) else {
            return Err(texts::unknown_setting(args.at(at)));
        };
        let Ok(value) = std::str::from_utf8(args.at(at + 1)) else {
            return Err(texts::bad_setting(name, "not valid UTF-8"));
        };
        if changes
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
        {
            return Err(texts::bad_setting(name, "duplicate parameter"));
        }
        changes.push((name, value));
    }
    Ok(changes)
}

fn change(context: &Context<'_>, changes: &[(&str, &str)]) -> Result<(), String> {
    let live = &context.process.live;
    let done = live.change(changes);
    done.map_err(|(index, unchanged)| {
        let name = changes[index].0;
        match unchanged {
            Unchanged::Unknown => texts::unknown_setting(name.as_bytes()),
            Unchanged::Fixed => texts::bad_setting(name, "can't set immutable config"),
            Unchanged::Invalid(reason) => texts::bad_setting(name, &reason),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_stand_in_order_and_each_can_be_told_from_the_others() {
        assert!(ROWS.is_sorted_by(|a, b| a.words < b.words));
        for sub in ROWS {
            assert!(usize::from(sub.arity.unsigned_abs()) > sub.words.len());
            assert!(sub.help.ends_with('.'));
            let others = ROWS.iter().filter(|other| other.words[0] == sub.words[0]);
            assert!(
                others
                    .into_iter()
                    .all(|other| other.words.len() == sub.words.len())
            );
        }
    }
}
