//! The ACL family: the proxy's own users, in the words of redis-server 7.0.15.
//!
//! What changes users is answered when every worker has taken them, so that it holds for every request that is sent
//! behind the answer.

use super::{After, Context, NO_INTEGER, fail, ok};
use crate::acl::log::Entry;
use crate::acl::selector::Selector;
use crate::acl::store::FileError;
use crate::acl::users::Unchanged;
use crate::acl::{Denied, Reason};
use crate::command::Resolved;
use crate::proxy::actions::OutsideAnswer;
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::texts;
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};
use crate::resp::reply::Reply;

const HELP: &[&str] = &[
    "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
    "HELP",
    "    Prints this help.",
];
const NO_FILE: &str = "ERR This Redis instance is not configured to use an ACL file. You may want to specify users \
    via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in \
    order to store users in the Redis configuration.";
const NOT_SAVED: &[u8] =
    b"ERR There was an error trying to save the ACLs. Please check the server logs for more information";
/// Most bits of a password that GENPASS makes.
const BITS_MAX: i64 = 4096;
/// Entries that ACL LOG shows if it is not told how many.
const ENTRIES: i64 = 10;

pub fn help(_: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::array(out, HELP.len());
    HELP.iter().for_each(|line| encode::simple(out, line));
    After::Go
}

pub fn whoami(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::bulk(out, &context.session.user().name);
    After::Go
}

pub fn users(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let users = context.users.iter();
    encode::array(out, users.len());
    users.for_each(|user| encode::bulk(out, &user.name));
    After::Go
}

/// Many users may have many rules: they are described outside the worker.
pub fn list(context: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    let users = context.users.clone();
    let describe = move |out: &mut Vec<u8>| {
        encode::array(out, users.iter().len());
        let all = users.iter();
        all.for_each(|user| encode::bulk(out, &user.describe(&users.commands)));
    };
    After::Ask(outside(describe, Merge::AllSucceeded))
}

pub fn getuser(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let protocol = context.session.protocol;
    let Some(user) = context.users.get(args.at(2)) else {
        encode::null(out, protocol);
        return After::Go;
    };
    encode::map(out, 6, protocol);
    encode::bulk(out, b"flags");
    let flags = user.flags();
    encode::set(out, flags.len(), protocol);
    flags
        .iter()
        .for_each(|flag| encode::bulk(out, flag.as_bytes()));
    encode::bulk(out, b"passwords");
    let hashes = user.hashes();
    encode::array(out, hashes.len());
    hashes.for_each(|hash| encode::bulk(out, hash.as_bytes()));
    let (own, others) = user.selectors();
    show(context, own, out);
    encode::bulk(out, b"selectors");
    encode::array(out, others.len());
    for selector in others {
        encode::map(out, 3, protocol);
        show(context, selector, out);
    }
    After::Go
}

/// Three pairs that tell what a selector allows.
fn show(context: &Context<'_>, selector: &Selector, out: &mut Vec<u8>) {
    encode::bulk(out, b"commands");
    let commands = selector.describe_commands(&context.users.commands);
    encode::bulk(out, commands.as_bytes());
    encode::bulk(out, b"keys");
    encode::bulk(out, &selector.describe_keys());
    encode::bulk(out, b"channels");
    encode::bulk(out, &selector.describe_channels());
}

/// A user may have very many rules, and be one of very many: it is made outside the worker, and then every worker takes the
/// users.
pub fn setuser(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let (process, request) = (context.process.clone(), args.frame().to_vec());
    let set = move |out: &mut Vec<u8>| {
        let words: Vec<&[u8]> = words(&request).collect();
        let name = words.get(2).copied().unwrap_or_default();
        let set = process.acl.set_user(name, words.iter().skip(3).copied());
        let text = match set {
            Ok(()) => return encode::simple(out, "OK"),
            Err(Unchanged::Name) => {
                b"ERR Usernames can't contain spaces or null characters".to_vec()
            }
            Err(Unchanged::Open(at)) => {
                let text = b"ERR Unmatched parenthesis in acl selector starting at '";
                let rule = words.get(3 + at).copied().unwrap_or_default();
                [text, rule, b"'."].concat()
            }
            Err(Unchanged::Rule(rule, error)) => {
                let text = b"ERR Error in ACL SETUSER modifier '";
                [text, &rule[..], b"': ", error.text().as_bytes()].concat()
            }
        };
        encode::error(out, &text);
    };
    After::AskAlone(outside(set, then_renew()))
}

pub fn deluser(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if args.from(2).any(|name| name == b"default") {
        return fail(out, b"ERR The 'default' user cannot be removed");
    }
    let (process, request) = (context.process.clone(), args.frame().to_vec());
    let delete = move |out: &mut Vec<u8>| {
        let count = process.acl.delete(words(&request).skip(2));
        encode::integer(out, count as i64);
    };
    After::AskAlone(outside(delete, then_renew()))
}

/// The words of a request.
fn words(request: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = Reply::new(request).items();
    words.map(|word| word.text().unwrap_or_default())
}

/// The users have changed, unless that failed: every worker takes them, and then the answer is given.
fn then_renew() -> Merge {
    Merge::Then(Box::new(|replies: &[Reply<'_>], out: &mut Vec<u8>| {
        let reply = replies.first()?;
        if reply.is_error() {
            out.extend_from_slice(reply.frame());
            return None;
        }
        let reply = reply.frame().to_vec();
        Some(renewed_users(Merge::Join(Box::new(
            move |_, out: &mut Vec<u8>| out.extend_from_slice(&reply),
        ))))
    }))
}

fn renewed_users(merge: Merge) -> Plan {
    Plan {
        asks: vec![Ask::Workers(WorkerQuery::RenewUsers)],
        merge,
        write: false,
    }
}

/// What the second thread answers, since a disk may be slow and a file long.
fn outside(answer: impl Fn(&mut Vec<u8>) + Send + Sync + 'static, merge: Merge) -> Plan {
    let find = move || {
        let mut out = Vec::new();
        answer(&mut out);
        out
    };
    Plan {
        asks: vec![Ask::Outside(OutsideAnswer::new(find))],
        merge,
        write: false,
    }
}

/// The file is read; then every worker takes the users.
pub fn load(context: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    let process = context.process.clone();
    let read = move |out: &mut Vec<u8>| match process.acl.reload() {
        Ok(()) => encode::simple(out, "OK"),
        Err(error) => encode::error(out, file_error(error).as_bytes()),
    };
    After::AskAlone(outside(read, then_renew()))
}

/// The answer comes when the disk has the file.
pub fn save(context: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    let process = context.process.clone();
    let write = move |out: &mut Vec<u8>| match process.acl.save() {
        Ok(()) => encode::simple(out, "OK"),
        Err(FileError::None) => encode::error(out, NO_FILE.as_bytes()),
        Err(FileError::Failed(error)) => {
            log::warn!("ACL SAVE: {error}");
            encode::error(out, NOT_SAVED);
        }
    };
    After::AskAlone(outside(write, Merge::AllSucceeded))
}

fn file_error(error: FileError) -> String {
    match error {
        FileError::None => NO_FILE.to_string(),
        FileError::Failed(text) => format!("ERR {text}"),
    }
}

/// `ACL CAT [category]`.
pub fn cat(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let commands = &context.users.commands;
    let names: Vec<&str> = match args.get(2) {
        _ if args.len() > 3 => return wrong_number(args, out),
        None => commands.categories().iter().map(|own| own.name).collect(),
        Some(name) => match commands.category(name) {
            Some(category) => category
                .within
                .ids()
                .map(|id| &*commands.table().row(id).name)
                .collect(),
            None => {
                let name = &name[..name.len().min(128)];
                let text = [b"ERR Unknown category '", name, b"'"].concat();
                return fail(out, &text);
            }
        },
    };
    encode::array(out, names.len());
    names
        .iter()
        .for_each(|name| encode::bulk(out, name.as_bytes()));
    After::Go
}

/// What Redis says of too many arguments where the table lets any number pass.
fn wrong_number(args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let word = args.at(1);
    let word = &word[..word.len().min(128)];
    let text = [
        b"ERR unknown subcommand or wrong number of arguments for '",
        word,
        b"'. Try ACL HELP.",
    ];
    fail(out, &text.concat())
}

/// `ACL DRYRUN user command [argument ...]`.
pub fn dryrun(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(user) = context.users.get(args.at(2)) else {
        return fail(out, &[b"ERR User '", args.at(2), b"' not found"].concat());
    };
    let commands = &context.users.commands;
    let request = args.tail(3);
    let found = request
        .as_ref()
        .map(|request| commands.table().resolve(request));
    let (Some(request), Some(Resolved::Command(row))) = (request, found) else {
        return no_command(args.at(3), out);
    };
    if !commands.has(row.id) {
        return no_command(args.at(3), out);
    }
    if !row.arity_ok(request.len()) {
        return fail(out, texts::wrong_arity(&row.name).as_bytes());
    }
    match user.permissions().check(row, commands.said(row), &request) {
        Ok(()) => ok(out),
        Err(Denied { reason, at }) => {
            let named = request.at(at);
            let text = match reason {
                Reason::Command => format!("run the '{}' command", row.name).into_bytes(),
                Reason::Key => [b"access the '", named, b"' key"].concat(),
                Reason::Channel | Reason::Auth | Reason::Certificate => {
                    [b"access the '", named, b"' channel"].concat()
                }
            };
            encode::bulk(
                out,
                &[b"This user has no permissions to ", &text[..]].concat(),
            );
            After::Go
        }
    }
}

fn no_command(name: &[u8], out: &mut Vec<u8>) -> After {
    let name = &name[..name.len().min(128)];
    fail(out, &[b"ERR Command '", name, b"' not found"].concat())
}

/// `ACL GENPASS [bits]`.
pub fn genpass(_: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let bits = match args.get(2).map(texts::strict_integer) {
        _ if args.len() > 3 => return wrong_number(args, out),
        None => 256,
        Some(None) => return fail(out, NO_INTEGER),
        Some(Some(bits)) => bits,
    };
    if !(1..=BITS_MAX).contains(&bits) {
        let text = b"ERR ACL GENPASS argument must be the number of bits for the output password, a positive number \
            up to 4096";
        return fail(out, text);
    }
    let digits = (bits as usize).div_ceil(4);
    match crate::acl::password::random_digits(digits) {
        Some(digits) => encode::bulk(out, digits.as_bytes()),
        None => encode::error(out, b"ERR no random numbers are available"),
    }
    After::Go
}

/// `ACL LOG [count | RESET]`.
pub fn log(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let count = match args.get(2) {
        _ if args.len() > 3 => return wrong_number(args, out),
        None => ENTRIES,
        Some(word) if word.eq_ignore_ascii_case(b"reset") => {
            context.process.acl.log().clear();
            return ok(out);
        }
        Some(word) => match texts::strict_integer(word) {
            Some(count) => count,
            None => return fail(out, NO_INTEGER),
        },
    };
    let log = context.process.acl.log();
    let entries = log.latest(usize::try_from(count).unwrap_or(0));
    encode::array(out, entries.len());
    for entry in entries {
        let age = context.process.uptime(context.now);
        let age = age.saturating_sub(entry.event.at).as_millis();
        show_entry(entry, age as f64 / 1000.0, context.session.protocol, out);
    }
    After::Go
}

fn show_entry(entry: &Entry, age: f64, protocol: Protocol, out: &mut Vec<u8>) {
    let event = &entry.event;
    encode::map(out, 7, protocol);
    encode::bulk(out, b"count");
    encode::integer(out, entry.count as i64);
    for (name, value) in [
        ("reason", event.reason.name().as_bytes()),
        ("context", event.place.name().as_bytes()),
        ("object", &event.object),
        ("username", &event.user),
    ] {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value);
    }
    encode::bulk(out, b"age-seconds");
    encode::double(out, age, protocol);
    encode::bulk(out, b"client-info");
    encode::bulk(out, event.client.as_bytes());
}
