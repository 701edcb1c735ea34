//! The CONFIG family: settings of the nodes, except for those of the proxy itself.
//!
//! GET asks a master and replaces values by the proxy's own where it has one. SET goes to all nodes, or changes the
//! proxy's flag if that is what the setting means here. RESETSTAT resets the counters of both.

use std::collections::{BTreeSet, HashSet};

use super::nodes::{ask_all, pairs};
use super::settings::{self, Set};
use super::{After, Context, fail, guarded};
use crate::command::Class;
use crate::live_config::Unchanged;
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::proxy::pipeline::long_merge::LONG_BYTES;
use crate::proxy::pipeline::merge::{Merge, Then};
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::texts;
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};
use crate::resp::glob::{Case, matches};
use crate::resp::reply::Reply;

/// A setting, by the name that it is shown under, and its value.
type Setting = (Vec<u8>, String);

/// What clients ask for at their start, for as long as no node can be asked.
const UNASKED: &[(&str, &str)] = &[
    ("appendonly", "no"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("replica-read-only", "yes"),
    ("save", ""),
    ("slave-read-only", "yes"),
];

/// `CONFIG GET pattern [pattern ...]`. Where no node is known, or none may be asked for its settings, only the
/// proxy's own are given and a few that clients rely on.
pub fn get(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let (request, settings) = (args.frame().to_vec(), settings::shown(context));
    let protocol = context.session.protocol;
    let join = move |replies: &[Reply<'_>], out: &mut Vec<u8>| {
        let patterns = || Reply::new(&request).items().skip(2);
        let own = shown(patterns(), &settings);
        if let Some(reply) = replies.first().filter(|reply| !reply.is_error()) {
            let theirs = pairs(reply).filter(|(name, _)| {
                let name = name.text().unwrap_or_default();
                let secret = |alias: &&str| alias.as_bytes().eq_ignore_ascii_case(name);
                settings::find(name).is_none_or(|own| own.of_nodes)
                    && !settings::SECRET_ALIASES.iter().any(secret)
            });
            print(&own, &theirs.collect::<Vec<_>>(), protocol, out);
        } else {
            let unasked = UNASKED.iter();
            let unasked = unasked.map(|(name, value)| (*name, value.to_string()));
            let unasked = shown(patterns(), &unasked.collect::<Vec<_>>());
            print(&[own, unasked].concat(), &[], protocol, out);
        }
    };
    if !context.routes.is_known() {
        join(&[], out);
        return After::Go;
    }
    let mut asks = vec![Ask::AnyMaster(args.frame().to_vec())];
    if args.frame().len() >= LONG_BYTES {
        // As a part it makes the merge long, so that it is done outside the worker.
        asks.push(Ask::Known(args.frame().to_vec(), None));
    }
    After::Ask(Plan {
        asks,
        merge: Merge::JoinAll(Box::new(join)),
        write: false,
    })
}

/// What a CONFIG SET asks for.
#[derive(Debug, Default)]
struct Changes<'a> {
    /// Changes of the proxy's flags: the server's name, the flag, its value.
    flags: Vec<(&'static str, &'static str, String)>,
    /// How many ask for the value that there is.
    already: usize,
    /// Names and values that are for the nodes.
    of_nodes: Vec<&'a [u8]>,
}

impl Changes<'_> {
    /// The nodes' part, as a request.
    fn frame_of_nodes(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        let words: [&[u8]; 2] = [b"CONFIG", b"SET"];
        let words: Vec<&[u8]> = words.iter().chain(&self.of_nodes).copied().collect();
        encode::command(&mut frame, words);
        frame
    }
}

/// `CONFIG SET name value [name value ...]`. The nodes are asked first: the proxy's flags change only when
/// all nodes have taken their part.
pub fn set(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let changes = match changes(context, args) {
        Ok(changes) => changes,
        Err(text) => return fail(out, text.as_bytes()),
    };
    if changes.flags.is_empty() {
        let frame = match (changes.already, changes.of_nodes.is_empty()) {
            // Also what is no CONFIG SET at all.
            (0, _) => args.frame().to_vec(),
            (_, false) => changes.frame_of_nodes(),
            (_, true) => {
                encode::simple(out, "OK");
                return After::Go;
            }
        };
        return to_nodes(context, frame, Merge::AllSucceeded);
    }
    let flags: Vec<(&str, &str)> = changes
        .flags
        .iter()
        .map(|(_, flag, value)| (*flag, value.as_str()))
        .collect();
    if let Err((index, unchanged)) = context.process.live.try_change(&flags) {
        let reason = match unchanged {
            Unchanged::Invalid(reason) => reason,
            Unchanged::Unknown | Unchanged::Fixed => "can't set immutable config".to_string(),
        };
        let text = texts::bad_setting(changes.flags[index].0, &reason);
        return fail(out, text.as_bytes());
    }
    let of_nodes = changes.frame_of_nodes();
    let has_nodes = !changes.of_nodes.is_empty();
    let flags: Vec<(&'static str, String)> = changes
        .flags
        .into_iter()
        .map(|(_, flag, value)| (flag, value))
        .collect();
    let process = context.process.clone();
    let change = move || {
        let flags: Vec<(&str, &str)> = flags
            .iter()
            .map(|(flag, value)| (*flag, value.as_str()))
            .collect();
        // It has been tried: only a change of the same moment could have come between, and none takes a value back.
        let done = process.live.change(&flags);
        debug_assert!(done.is_ok());
        Plan {
            asks: vec![Ask::Workers(WorkerQuery::RenewConfig)],
            merge: Merge::AllSucceeded,
            write: false,
        }
    };
    if !has_nodes {
        return After::Ask(change());
    }
    let then: Then = Box::new(move |replies, out| match failed(replies, out) {
        true => None,
        false => Some(change()),
    });
    to_nodes(context, of_nodes, Merge::Then(then))
}

/// Whether a node has failed; then the reply says so.
fn failed(replies: &[Reply<'_>], out: &mut Vec<u8>) -> bool {
    let Some(error) = replies.iter().find_map(Reply::error) else {
        return false;
    };
    match replies
        .iter()
        .all(|reply| reply.is_error() || reply.frame().is_empty())
    {
        true => encode::error(out, error),
        false => encode::error(out, &[b"ERR partial failure: ", error].concat()),
    }
    true
}

fn to_nodes(context: &Context<'_>, frame: Vec<u8>, merge: Merge) -> After {
    let replicas = matches!(context.command.class, Class::AllNodes(_));
    let everyone = context.routes.everyone(context.command, replicas);
    After::Ask(Plan {
        asks: everyone
            .map(|asked| Ask::each(asked, frame.clone()))
            .collect(),
        merge,
        write: true,
    })
}

/// Tells the proxy's part of the changes from the nodes', or says why they are not made.
fn changes<'a>(context: &Context<'_>, args: &Args<'a>) -> Result<Changes<'a>, String> {
    let mut changes = Changes::default();
    let mut names = BTreeSet::new();
    // A name without its value: the nodes say what is wrong.
    let pairs = if args.len().is_multiple_of(2) {
        args.len() / 2 - 1
    } else {
        0
    };
    for at in (2..).step_by(2).take(pairs) {
        let (name, value) = (args.at(at), args.at(at + 1));
        let refused = |reason: &str| texts::bad_setting(&texts::printed(name, 128), reason);
        if !names.insert(name.to_ascii_lowercase()) {
            return Err(refused("duplicate parameter"));
        }
        let own = settings::find(name);
        match own.map(|own| (own.name, own.set)) {
            Some((_, Set::Immutable)) => return Err(refused("can't set immutable config")),
            Some((_, Set::Elsewhere(what))) => {
                return Err(refused(&format!("can't set immutable config: {what}")));
            }
            Some((own, Set::Fixed(parse))) => {
                let wanted = parse(&String::from_utf8_lossy(value));
                let wanted = wanted.map_err(|reason| texts::bad_setting(own, &reason))?;
                let present = settings::value(own, context);
                if wanted.to_string() != present {
                    let reason = format!(
                        "can't set immutable config: this proxy has a fixed value, {present}"
                    );
                    return Err(refused(&reason));
                }
                changes.already += 1;
            }
            Some((own, Set::Flag(flag, convert))) => {
                if let Some(reason) = guarded::why_not(name, context.is_local) {
                    return Err(refused(&reason));
                }
                let value = String::from_utf8_lossy(value);
                let value = convert(&value).map_err(|reason| texts::bad_setting(own, &reason))?;
                changes.flags.push((own, flag, value));
            }
            None => {
                if let Some(reason) = guarded::why_not(name, context.is_local) {
                    return Err(refused(&reason));
                }
            }
        }
        if own.is_none_or(|own| own.of_nodes) {
            changes.of_nodes.extend([name, value]);
        }
    }
    Ok(changes)
}

/// `CONFIG RESETSTAT`: every worker resets its own counters.
pub fn resetstat(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let stats = context.stats.clone();
    let then: Then = Box::new(move |replies, out| {
        if !failed(replies, out) {
            // As at a server, it is the first command that is counted.
            stats.commands.add(1);
            encode::simple(out, "OK");
        }
        None
    });
    let mut after = ask_all(context, args, Merge::ThenAll(then));
    if let After::Ask(plan) = &mut after {
        plan.asks.push(Ask::Workers(WorkerQuery::ResetStats));
    }
    after
}

/// Those of the settings that CONFIG GET asks for. What is asked for by its name is shown as it was written.
fn shown<'a>(
    patterns: impl Iterator<Item = Reply<'a>>,
    settings: &[(&'static str, String)],
) -> Vec<Setting> {
    let mut shown: Vec<Setting> = Vec::new();
    let mut seen = HashSet::new();
    let patterns = patterns.map(|pattern| pattern.text().unwrap_or_default());
    for pattern in patterns.filter(|pattern| seen.insert(*pattern)) {
        let is_name = !pattern.iter().any(|byte| b"[*?".contains(byte));
        for (name, value) in settings {
            let name = name.as_bytes();
            let name = match is_name {
                true if name.eq_ignore_ascii_case(pattern) => pattern,
                false if matches(pattern, name, Case::Insensitive) => name,
                true | false => continue,
            };
            if !shown.iter().any(|(known, _)| known == name) {
                shown.push((name.to_vec(), value.clone()));
            }
        }
    }
    shown
}

fn print(
    own: &[Setting],
    theirs: &[(Reply<'_>, Reply<'_>)],
    protocol: Protocol,
    out: &mut Vec<u8>,
) {
    encode::map(out, own.len() + theirs.len(), protocol);
    for (name, value) in own {
        encode::bulk(out, name);
        encode::bulk(out, value.as_bytes());
    }
    for (name, value) in theirs {
        out.extend_from_slice(name.frame());
        out.extend_from_slice(value.frame());
    }
}
