//! INFO: Redis' field names first, then the proxy's own sections.
//!
//! Server, Clients, Stats, CPU and the statistics of commands and errors are the proxy's own. Memory, Persistence,
//! Keyspace, and what only nodes can count in Stats, are merged from the masters, which are asked each time (see
//! `masters_info`). If a master is silent its last reply is used and each section says so: monitoring must not go
//! blind because of one node.

use std::sync::{Arc, PoisonError};

use super::sections::{Field, SECTIONS, Source, line, proxy, topology};
use super::{After, Context, command_calls};
use crate::clock::Time;
use crate::command::Table;
use crate::proxy::namespace::request::Tagged;
use crate::proxy::namespace::{Namespace, whole_database};
use crate::proxy::pipeline::merge::{Join, Merge, Then};
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::process::Process;
use crate::proxy::stats::calls::CommandCalls;
use crate::proxy::stats::masters_info::Masters;
use crate::proxy::stats::masters_info::asking::Findings;
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};

/// The section of what is in the databases.
const KEYSPACE: &str = "Keyspace";

/// A section that is printed but for what the masters say.
enum Piece {
    Calls(Vec<CommandCalls>),
    Printed(String),
    /// The keys of the client's namespace, which its node is asked for first.
    Keyspace,
    Mixed {
        name: &'static str,
        own: Vec<Field>,
        stand_ins: Vec<Field>,
    },
}

pub fn info(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let asked: Vec<Vec<u8>> = args.from(1).map(<[u8]>::to_ascii_lowercase).collect();
    let has = |words: &[&[u8]]| asked.iter().any(|word| words.contains(&word.as_slice()));
    let all = has(&[b"all", b"everything"]);
    let default = asked.is_empty() || has(&[b"default"]);
    let wanted = SECTIONS.iter().filter(|section| {
        all || (default && section.by_default)
            || has(&[section.name.to_ascii_lowercase().as_bytes()])
    });
    let pieces: Vec<Piece> = wanted
        .map(|section| match section.source {
            Source::Mixed(..)
                if section.name == KEYSPACE && context.session.namespace.is_some() =>
            {
                Piece::Keyspace
            }
            Source::Own(print) => {
                let mut text = format!("# {}\r\n", section.name);
                print(context, &mut text);
                Piece::Printed(text)
            }
            Source::Calls => Piece::Calls(context.process.commands()),
            Source::Mixed(own, stand_ins) => Piece::Mixed {
                name: section.name,
                own: own(context),
                stand_ins: stand_ins(context),
            },
        })
        .collect();
    let protocol = context.session.protocol;
    let table = context.table.clone();
    let waits = pieces
        .iter()
        .any(|piece| !matches!(piece, Piece::Printed(_)));
    if !waits || !context.routes.is_known() {
        encode::verbatim(out, &print(&pieces, &Masters::default(), &table), protocol);
        return After::Go;
    }
    let text = Text {
        pieces,
        table,
        protocol,
        process: context.process.clone(),
        asked_at: context.now,
    };
    let namespace = context.session.namespace.as_deref();
    let has_keyspace = text.has(|piece| matches!(piece, Piece::Keyspace));
    After::Ask(match namespace.filter(|_| has_keyspace) {
        Some(own) => text.ask_namespace(context.namespaces.databases_of(own)),
        None => text.ask_masters(),
    })
}

/// The reply, as far as it is known before anybody is asked.
struct Text {
    pieces: Vec<Piece>,
    table: Arc<Table>,
    protocol: Protocol,
    process: Arc<Process>,
    asked_at: Time,
}

impl Text {
    fn has(&self, is: impl Fn(&Piece) -> bool) -> bool {
        self.pieces.iter().any(is)
    }

    /// Asks the nodes of a namespace what is in its databases, then the masters for the rest.
    fn ask_namespace(mut self, databases: &[Arc<Namespace>]) -> Plan {
        let asks = databases.iter().map(|own| {
            let mut question = Tagged::default();
            whole_database::write(own, whole_database::KEYSPACE, &[], &mut question);
            Ask::Slot(own.slot().number(), question.frame().to_vec())
        });
        let asks: Vec<Ask> = asks.collect();
        let numbers: Vec<u16> = databases.iter().map(|own| own.database()).collect();
        let then: Then = Box::new(move |replies, out| {
            let mut text = format!("# {KEYSPACE}\r\n");
            for (number, reply) in numbers.iter().zip(replies) {
                let counts: Vec<i64> = reply.items().filter_map(|item| item.integer()).collect();
                if let [keys, expires] = counts[..]
                    && keys > 0
                {
                    line(
                        &mut text,
                        format_args!("db{number}:keys={keys},expires={expires},avg_ttl=0"),
                    );
                }
            }
            for piece in &mut self.pieces {
                if matches!(piece, Piece::Keyspace) {
                    *piece = Piece::Printed(text.clone());
                }
            }
            if self.has(|piece| !matches!(piece, Piece::Printed(_))) {
                return Some(self.ask_masters());
            }
            let text = print(&self.pieces, &Masters::default(), &self.table);
            encode::verbatim(out, &text, self.protocol);
            None
        });
        Plan {
            asks,
            merge: Merge::Then(then),
            write: false,
        }
    }

    fn ask_masters(self) -> Plan {
        let findings = Findings::wanted(self.has(|piece| matches!(piece, Piece::Calls(_))));
        let own = findings.clone();
        let join: Join = Box::new(move |replies, out| {
            let process = &self.process;
            let masters = own.of(replies, &process.masters, &process.stale, self.asked_at);
            let mut masters = Arc::unwrap_or_clone(masters);
            let scripts = process.scripts.lock();
            let scripts = scripts.unwrap_or_else(PoisonError::into_inner).count();
            masters.know_scripts(scripts as u64);
            let text = print(&self.pieces, &masters, &self.table);
            encode::verbatim(out, &text, self.protocol);
        });
        Plan {
            asks: vec![Ask::Masters(findings)],
            merge: Merge::JoinAll(join),
            write: false,
        }
    }
}

/// The proxy's own sections, for `PROXY INFO`.
pub fn proxy_sections(context: &Context<'_>) -> String {
    let mut text = "# Proxy\r\n".to_string();
    proxy(context, &mut text);
    text.push_str("\r\n# Topology\r\n");
    topology(context, &mut text);
    text
}

fn print(pieces: &[Piece], masters: &Masters, table: &Table) -> String {
    let printed = pieces.iter().map(|piece| match piece {
        Piece::Printed(text) => text.clone(),
        Piece::Keyspace => format!("# {KEYSPACE}\r\n"),
        Piece::Calls(own) => command_calls::print(own, masters, table),
        Piece::Mixed {
            name,
            own,
            stand_ins,
        } if masters.is_empty() => mix(name, &[own.clone(), stand_ins.clone()].concat(), masters),
        Piece::Mixed { name, own, .. } => mix(name, own, masters),
    });
    printed.collect::<Vec<_>>().join("\r\n")
}

/// A section of the masters with some fields of our own.
fn mix(name: &str, own: &[Field], masters: &Masters) -> String {
    let mut text = format!("# {name}\r\n");
    let theirs = masters.section(name);
    let value_of = |name: &str| own.iter().find(|(own, _)| *own == name);
    for (name, value) in theirs {
        let value = value_of(name).map_or(value, |(_, value)| value);
        line(&mut text, format_args!("{name}:{value}"));
    }
    let missing = own
        .iter()
        .filter(|(own, _)| !theirs.iter().any(|(name, _)| name == own));
    for (name, value) in missing {
        line(&mut text, format_args!("{name}:{value}"));
    }
    if name == "Memory" {
        line(
            &mut text,
            format_args!("proxy_masters_summed:{}", masters.count),
        );
    }
    if !masters.silent.is_empty() {
        let count = masters.silent.len();
        line(&mut text, format_args!("proxy_masters_silent:{count}"));
    }
    for (index, (address, since)) in masters.silent.iter().enumerate() {
        let last = since.map_or("never".to_string(), |since| since.as_secs().to_string());
        line(
            &mut text,
            format_args!(
                "proxy_silent_master_{index}:addr={address},last_answer_seconds_ago={last}"
            ),
        );
    }
    text
}
