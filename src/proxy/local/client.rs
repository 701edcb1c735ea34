//! CLIENT: who the client is, who the others are, and what it wants of this connection. MONITOR, too.

use std::sync::Arc;

use super::{After, Context, SYNTAX_ERROR, fail, ok, switch};
use crate::proxy::messages::client_filter::{Kind, Selection};
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::proxy::pipeline::client_reply::ClientReply;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::resp::args::Args;
use crate::resp::encode::{self, Protocol};
use crate::resp::reply::{Reply, parse_number};
use crate::sort;

/// Bytes of a name that a client gives itself: others see it in `CLIENT LIST`.
const NAME_MAX: usize = 64 << 10;

/// Sets the client's name, or says why it cannot be one.
pub fn set_name(context: &mut Context<'_>, name: &[u8], out: &mut Vec<u8>) -> bool {
    if name.len() > NAME_MAX {
        encode::error(out, b"ERR Client names cannot be so long.");
        return false;
    }
    if !is_plain(name) {
        encode::error(
            out,
            b"ERR Client names cannot contain spaces, newlines or special characters.",
        );
        return false;
    }
    context.session.identity_mut().name = name.to_vec();
    true
}

fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

pub fn setname(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if set_name(context, args.at(2), out) {
        encode::simple(out, "OK");
    }
    After::Go
}

pub fn getname(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    match context.session.identity() {
        Some(identity) if !identity.name.is_empty() => encode::bulk(out, &identity.name),
        Some(_) | None => encode::null(out, context.session.protocol),
    }
    After::Go
}

pub fn id(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::integer(out, context.session.number as i64);
    After::Go
}

/// `CLIENT SETINFO lib-name|lib-ver value`, as Redis 7.2 has it.
pub fn setinfo(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let (attribute, value) = (args.at(2), args.at(3));
    let is_name = attribute.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !attribute.eq_ignore_ascii_case(b"lib-ver") {
        return fail(
            out,
            &[b"ERR Unrecognized option '", attribute, b"'"].concat(),
        );
    }
    if !is_plain(value) {
        let text = b" cannot contain spaces, newlines or special characters.";
        return fail(out, &[b"ERR ", attribute, text].concat());
    }
    if value.len() > NAME_MAX {
        return fail(out, &[b"ERR ", attribute, b" cannot be so long."].concat());
    }
    let identity = context.session.identity_mut();
    let field = if is_name {
        &mut identity.lib_name
    } else {
        &mut identity.lib_ver
    };
    *field = value.to_vec();
    ok(out)
}

pub fn info(_: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    After::OwnLine
}

/// `CLIENT LIST [TYPE type | ID id [id ...]]`.
pub fn list(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let protocol = context.session.protocol;
    let option = args.at(2).to_ascii_lowercase();
    let (selection, order) = match option.as_slice() {
        b"type" if args.len() == 4 => match Kind::named(args.at(3)) {
            Some(kind) => (Selection::Kind(kind), None),
            None => return fail(out, &unknown_type(args.at(3))),
        },
        b"id" if args.len() > 3 => {
            let numbers: Option<Vec<i64>> = args.from(3).map(parse_number).collect();
            let Some(order) = numbers else {
                return fail(out, b"ERR Invalid client ID");
            };
            let mut sorted = order.clone();
            sorted.sort_unstable();
            (Selection::Numbers(Arc::from(sorted)), Some(order))
        }
        _ if args.len() == 2 => (Selection::All, None),
        _ => return fail(out, SYNTAX_ERROR),
    };
    let selection = match &context.session.namespace {
        Some(own) => Selection::Within(own.clone(), Box::new(selection)),
        None => selection,
    };
    let join = move |parts: &[Reply<'_>], out: &mut Vec<u8>| {
        join_lines(parts, order.as_deref(), protocol, out);
    };
    After::Ask(Plan {
        asks: vec![Ask::Workers(WorkerQuery::List(selection))],
        merge: Merge::Join(Box::new(join)),
        write: false,
    })
}

/// Each worker's numbers and lines become one text: in the order asked for, or in that of the numbers,
/// which is the order in which clients came.
fn join_lines(parts: &[Reply<'_>], order: Option<&[i64]>, protocol: Protocol, out: &mut Vec<u8>) {
    let mut lines: Vec<(i64, &[u8])> = Vec::new();
    for part in parts {
        let mut items = part.items();
        lines.reserve(items.left() as usize / 2);
        while let (Some(number), Some(line)) = (items.next(), items.next()) {
            if let (Some(number), Some(line)) = (number.integer(), line.text()) {
                lines.push((number, line));
            }
        }
    }
    sort::by_key(&mut lines, |line| line.0);
    if let Some(order) = order {
        let find = |number: &i64| lines.binary_search_by_key(number, |line| line.0).ok();
        lines = order
            .iter()
            .filter_map(|number| find(number).map(|at| lines[at]))
            .collect();
    }
    let len = lines.iter().map(|line| line.1.len()).sum();
    let mut text = Vec::with_capacity(len);
    lines.iter().for_each(|line| text.extend_from_slice(line.1));
    encode::verbatim(out, &String::from_utf8_lossy(&text), protocol);
}

/// The error for a type that Redis does not know.
pub fn unknown_type(name: &[u8]) -> Vec<u8> {
    [b"ERR Unknown client type '", name, b"'"].concat()
}

/// `CLIENT REPLY ON|OFF|SKIP`: of these only ON has a reply itself.
pub fn reply(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    match args.at(2).to_ascii_lowercase().as_slice() {
        b"on" => {
            *context.client_reply = ClientReply::On;
            ok(out)
        }
        b"off" => {
            *context.client_reply = ClientReply::Off;
            After::Silent
        }
        b"skip" => {
            if *context.client_reply != ClientReply::Off {
                *context.client_reply = ClientReply::SkipNext;
            }
            After::Silent
        }
        _ => fail(out, SYNTAX_ERROR),
    }
}

pub fn no_evict(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(on) = switch(args.at(2)) else {
        return fail(out, SYNTAX_ERROR);
    };
    context.session.no_evict = on;
    ok(out)
}

pub fn no_touch(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(on) = switch(args.at(2)) else {
        return fail(out, SYNTAX_ERROR);
    };
    context.session.no_touch = on;
    ok(out)
}

/// `CLIENT CAPA capability ...`: what a client could do if it were asked to; it never is.
pub fn capa(_: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    ok(out)
}

/// `CLIENT IMPORT-SOURCE ON|OFF`: no server behind a proxy imports.
pub fn import_source(_: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    match switch(args.at(2)) {
        Some(true) => fail(out, b"ERR Server is not in import mode"),
        Some(false) => ok(out),
        None => fail(out, SYNTAX_ERROR),
    }
}

/// MONITOR: a second one of the same client has no reply, as in Redis.
pub fn monitor(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    if context.session.is_monitor() {
        context.client_reply.pass();
        return After::Silent;
    }
    context.session.set_monitor(true);
    ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_or_as_asked_for() {
        let parts: Vec<Vec<u8>> = [&[(9, "i\n"), (2, "b\n")][..], &[(10, "j\n")], &[]]
            .iter()
            .map(|lines| {
                let mut part = Vec::new();
                encode::array(&mut part, 2 * lines.len());
                for (number, line) in *lines {
                    encode::integer(&mut part, *number);
                    encode::bulk(&mut part, line.as_bytes());
                }
                part
            })
            .collect();
        let check = |order: Option<&[i64]>, expected: &str| {
            let replies: Vec<Reply<'_>> = parts.iter().map(|part| Reply::new(part)).collect();
            let mut out = Vec::new();
            join_lines(&replies, order, Protocol::Resp3, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        };
        check(None, "=10\r\ntxt:b\ni\nj\n\r\n");
        check(Some(&[10, 2, 7, 2]), "=10\r\ntxt:j\nb\nb\n\r\n");
        check(Some(&[7]), "=4\r\ntxt:\r\n");
    }
}
