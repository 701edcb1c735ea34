//! `learn`: rows made of a server's own reply to COMMAND, so that what modules and later versions bring is
//! routed without a release.
//!
//! The reply is that of Redis 7.0 (ten elements a command) or of Redis 6 (six or seven, without specs and
//! tips). Nothing in it is trusted: names and tips are short plain words, numbers fit, and there are never
//! more rows than a table may have. What is odd is left out, or its keys are asked of a server.
//!
//! # What a learnt row may do
//!
//! A row that the proxy knows by birth wins. Otherwise, by the first rule that fits:
//!
//! 1. `admin` is refused: what is new and for administrators may change what a server is.
//! 2. What changes the connection (`no_auth`, `pubsub` with `noscript`, the categories `connection` and
//!    `transaction`) is refused: connections are shared, and when it would end cannot be known. HELP is none.
//! 3. A subcommand whose known siblings are all answered by the proxy is the proxy's to answer or to refuse.
//! 4. `blocking` has a connection of its own until its reply.
//! 5. With keys it is routed by them, and cut by slot only where `split` says so.
//! 6. Without keys it goes where its request policy says, if its response policy says how replies become one;
//!    if that is `special`, one server's part would pass for the whole, so it is refused.
//! 7. Without keys and policies any master has it.

use std::fmt;

use super::specs::{UNKNOWN, key_spec, legacy_spec, union, word};
use super::table::ROWS_MAX;
use super::{
    AclCategories, BeginSearch, Class, Command, FindKeys, Flags, KeyFlags, KeySpec, Keys, Known,
    LeaseKind, RequestPolicy, ResponsePolicy, Table,
};
use crate::resp::value::Value;

/// Longest name of a command.
const NAME_BYTES_MAX: usize = 128;
/// Most tips of a command.
const TIPS_MAX: usize = 16;
/// Longest tip.
const TIP_BYTES_MAX: usize = 64;
/// Most key specs of a command.
const SPECS_MAX: usize = 16;

const ADMIN: &str = "it is for administrators of a single server";
const CONNECTION: &str = "it would change a connection that clients share";
const UNMERGEABLE: &str = "how replies of several servers become one is not known";

/// Why a reply taught nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LearnError {
    /// It is no reply to COMMAND.
    Malformed,
    /// The server refused the question.
    Refused,
}

impl fmt::Display for LearnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LearnError::Malformed => "the reply to COMMAND is malformed",
            LearnError::Refused => "the server refuses COMMAND",
        })
    }
}

impl std::error::Error for LearnError {}

/// What a reply to COMMAND taught.
#[derive(Debug)]
pub struct Learnt {
    /// The table with the new rows; nothing if there are none.
    pub table: Option<Table>,
    /// The rows that the server has, and its words on them.
    pub known: Known,
}

/// One command as a server describes it.
struct Seen {
    row: Command,
    notes: Vec<(u8, Box<str>)>,
}

/// Reads the RESP2 reply to `COMMAND` of one of the cluster's servers.
pub fn learn(table: &Table, frame: &[u8]) -> Result<Learnt, LearnError> {
    let entries = match Value::parse(frame) {
        Ok(Some((Value::Array(entries), len))) if len == frame.len() => entries,
        Ok(Some((Value::Error(_), _))) => return Err(LearnError::Refused),
        _ => return Err(LearnError::Malformed),
    };
    let mut seen = Vec::new();
    for entry in &entries {
        let items = entry.items().ok_or(LearnError::Malformed)?;
        let command = read(items, table).ok_or(LearnError::Malformed)?;
        let parent = command.row.name.clone();
        seen.push(command);
        // A subcommand that makes no sense is left out; so is what lies deeper.
        let subcommands = items.get(9).and_then(Value::items).unwrap_or_default();
        let subcommands = subcommands
            .iter()
            .filter_map(|entry| read(entry.items()?, table));
        seen.extend(subcommands.filter(|sub| sub.row.parent() == Some(&*parent)));
        if seen.len() > ROWS_MAX {
            return Err(LearnError::Malformed);
        }
    }
    let is_new = |seen: &&Seen| table.named(seen.row.name.as_bytes()).is_none();
    let new: Vec<Command> = seen
        .iter()
        .filter(is_new)
        .map(|seen| seen.row.clone())
        .collect();
    let grown = (!new.is_empty()).then(|| table.learn(new));
    let grown = grown.filter(|grown| grown.rows().len() > table.rows().len());
    let known = known(grown.as_ref().unwrap_or(table), seen);
    Ok(Learnt {
        table: grown,
        known,
    })
}

/// The rows of all that was seen.
fn known(table: &Table, seen: Vec<Seen>) -> Known {
    let mut known = Known::default();
    for Seen { row: said, notes } in seen {
        let Some(row) = table.named(said.name.as_bytes()) else {
            continue;
        };
        known.insert(row.id);
        notes
            .iter()
            .for_each(|(spec, note)| known.note(row.id, *spec, note));
        let same = row.arity == said.arity
            && row.flags == said.flags
            && row.acl == said.acl
            && row.key_specs == said.key_specs
            && row.tips == said.tips;
        if !same {
            known.describe(row.id, said);
        }
    }
    known
}

/// Reads what a server says of one command.
fn read(items: &[Value<'_>], table: &Table) -> Option<Seen> {
    let [name, arity, flags, first, last, step, rest @ ..] = items else {
        return None;
    };
    let name = word(name, NAME_BYTES_MAX)?.to_ascii_lowercase();
    let arity = i16::try_from(arity.integer()?)
        .ok()
        .filter(|arity| *arity != 0)?;
    let flags = union(flags, Flags::from_name, Flags::with);
    let categories = |name: &str| AclCategories::from_name(name.strip_prefix('@')?);
    let acl = rest.first().map_or(AclCategories::NONE, |acl| {
        union(acl, categories, AclCategories::with)
    });
    let tips = rest.get(1).and_then(Value::items).unwrap_or_default();
    let tips: Vec<&str> = tips
        .iter()
        .take(TIPS_MAX)
        .filter_map(|tip| word(tip, TIP_BYTES_MAX))
        .collect();
    let legacy = [first, last, step].map(|number| number.integer());
    let mut notes = Vec::new();
    let specs = match rest.get(2).and_then(Value::items) {
        Some(specs) if specs.len() <= SPECS_MAX => specs
            .iter()
            .enumerate()
            .map(|(place, spec)| key_spec(spec, place, &mut notes))
            .collect(),
        Some(_) => vec![UNKNOWN],
        None => legacy_spec(legacy, flags).into_iter().collect(),
    };
    let mut row = Command::new(
        name,
        arity,
        flags,
        acl,
        specs,
        tips.join(" "),
        Class::AnyNode,
    );
    if finds_keys_itself(&row) {
        row.keys = Keys::Unknown;
    }
    row.class = class(&row, table);
    // Nobody has read what it does.
    row.own_errors = true;
    Some(Seen { row, notes })
}

/// How the proxy serves a command that it does not know by birth.
fn class(row: &Command, table: &Table) -> Class {
    let has = |flag: Flags| row.flags.contains(flag);
    let of = |category: AclCategories| row.acl.contains(category);
    let subscribes = has(Flags::PUBSUB) && has(Flags::NOSCRIPT);
    let helps = row.name.ends_with("|help");
    if has(Flags::ADMIN) {
        Class::Refused(ADMIN)
    } else if helps {
        Class::AnyNode
    } else if siblings_are_local(row, table) {
        Class::Local
    } else if has(Flags::NO_AUTH)
        || subscribes
        || of(AclCategories::CONNECTION)
        || of(AclCategories::TRANSACTION)
    {
        Class::Refused(CONNECTION)
    } else if has(Flags::BLOCKING) {
        Class::Leased(LeaseKind::Blocking)
    } else if row.keys != Keys::None {
        split(row).map_or(Class::Routed, Class::Split)
    } else {
        match (row.request, row.response) {
            (RequestPolicy::Default | RequestPolicy::MultiShard, _) => Class::AnyNode,
            (_, ResponsePolicy::Special) | (RequestPolicy::Special, _) => {
                Class::Refused(UNMERGEABLE)
            }
            (RequestPolicy::AllShards, response) => Class::AllMasters(response),
            (RequestPolicy::AllNodes, response) => Class::AllNodes(response),
        }
    }
}

/// Whether a learnt command may be cut by slot, and how its replies become one again.
///
/// `multi_shard` alone is not enough: 7.0.15 says it of MSETNX, and 8.4 of MSETEX with `all_succeeded`, both of
/// which are all or nothing over all keys. So the keys must be all arguments, for an option (NX) could tie them
/// together, and then
/// - what only reads may be cut under any policy but `special`: nothing can be half done;
/// - what writes only under `agg_sum`, one key a part: a sum of keys done says that each key is done by itself
///   and that none waits for another. `all_succeeded` does not say it.
fn split(row: &Command) -> Option<ResponsePolicy> {
    let to_the_end = |spec: &KeySpec| {
        let range = FindKeys::Range {
            last: -1,
            step: 1,
            limit: 0,
        };
        spec.begin == BeginSearch::Index(1)
            && spec.find == range
            && !spec.flags.contains(KeyFlags::NOT_KEY)
    };
    let plain = matches!(&*row.key_specs, [spec] if to_the_end(spec) && !spec.flags.contains(KeyFlags::INCOMPLETE));
    let asked = row.request == RequestPolicy::MultiShard && row.keys == Keys::Specs;
    let safe = if row.flags.contains(Flags::WRITE) {
        row.response == ResponsePolicy::AggSum
    } else {
        row.flags.contains(Flags::READONLY) && row.response != ResponsePolicy::Special
    };
    (plain && asked && safe).then_some(row.response)
}

/// Whether all that the table has of this subcommand's container, HELP aside, the proxy answers itself.
fn siblings_are_local(row: &Command, table: &Table) -> bool {
    let container = row
        .parent()
        .and_then(|parent| table.lookup(parent.as_bytes()));
    container
        .filter(|container| container.container)
        .is_some_and(|container| {
            let mut siblings = table
                .subcommands(container)
                .filter(|row| !row.name.ends_with("|help"));
            siblings.all(|row| row.class == Class::Local)
        })
}

/// Whether a command's keys move though its specs do not say so: then it finds them by code of its own.
fn finds_keys_itself(row: &Command) -> bool {
    let plain = |spec: &KeySpec| match (spec.begin, spec.find) {
        (BeginSearch::Index(_), FindKeys::Range { step, .. }) => {
            (step == 1 || row.key_specs.len() == 1) && !spec.flags.contains(KeyFlags::INCOMPLETE)
        }
        _ => false,
    };
    let follows = |pair: &[KeySpec]| match (pair[0].begin, pair[0].find, pair[1].begin) {
        (BeginSearch::Index(first), FindKeys::Range { last, .. }, BeginSearch::Index(next)) => {
            last >= 0 && i64::from(first) + i64::from(last) + 1 == i64::from(next)
        }
        _ => false,
    };
    let still = row.key_specs.iter().all(plain) && row.key_specs.windows(2).all(follows);
    row.flags.contains(Flags::MOVABLEKEYS) && still
}

#[cfg(test)]
mod tests;
