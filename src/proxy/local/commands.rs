//! The COMMAND family, answered from the table in the servers' format once they have been asked. COMMAND DOCS is
//! passed to a server: the proxy does not have its texts.

use super::{After, Context};
use crate::command::describe::{Answer, Catalogue};
use crate::proxy::pipeline::long_merge::LONG_BYTES;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::resp::args::Args;
use crate::resp::reply::Reply;

/// Has the catalogue answer, or any master as long as there is none.
fn answer(
    context: &Context<'_>,
    out: &mut Vec<u8>,
    ask: impl FnOnce(&Catalogue<'_>, &mut Vec<u8>) -> Answer,
) -> After {
    let Some(known) = &context.servers.known else {
        return After::AskAnyMaster;
    };
    let catalogue = Catalogue {
        table: context.table,
        known: Some(known),
        protocol: context.session.protocol,
    };
    match ask(&catalogue, out) {
        Answer::Done => After::Go,
        Answer::AskNode => After::AskAnyMaster,
    }
}

pub fn all(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    answer(context, out, |catalogue, out| catalogue.all(out))
}

pub fn count(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    answer(context, out, |catalogue, out| catalogue.count(out))
}

pub fn info(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if args.frame().len() >= LONG_BYTES && context.servers.known.is_some() {
        return After::Ask(long_info(context, args));
    }
    answer(context, out, |catalogue, out| {
        catalogue.info(args.from(2), args.len() - 2, out)
    })
}

/// INFO of many names: the request is the only part of what is merged, so that it is merged outside the worker.
fn long_info(context: &Context<'_>, args: &Args<'_>) -> Plan {
    let (servers, protocol) = (context.servers.clone(), context.session.protocol);
    let table = context.table.clone();
    let tell = move |request: &[Reply<'_>], out: &mut Vec<u8>| {
        let words = || request.iter().flat_map(|request| request.items()).skip(2);
        let names = words().map(|name| name.text().unwrap_or_default());
        let catalogue = Catalogue {
            table: &table,
            known: servers.known.as_deref(),
            protocol,
        };
        let _done = catalogue.info(names, words().count(), out);
    };
    Plan {
        asks: vec![Ask::Known(args.frame().to_vec(), None)],
        merge: Merge::JoinAll(Box::new(tell)),
        write: false,
    }
}

pub fn list(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    answer(context, out, |catalogue, out| catalogue.list(args, out))
}

pub fn getkeys(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    answer(context, out, |catalogue, out| {
        catalogue.keys(args, false, out)
    })
}

pub fn getkeysandflags(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    answer(context, out, |catalogue, out| {
        catalogue.keys(args, true, out)
    })
}

/// DOCS: the nodes know best.
pub fn docs(_: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    After::AskAnyMaster
}
