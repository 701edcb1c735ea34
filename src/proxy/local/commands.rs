//! The COMMAND family, answered from the table in the servers' format once they have been asked. COMMAND DOCS is
//! passed to a server: the proxy does not have its texts.

use super::{After, Context};
use crate::command::describe::{Answer, Catalogue};
use crate::resp::args::Args;

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
    answer(context, out, |catalogue, out| catalogue.info(args, out))
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
