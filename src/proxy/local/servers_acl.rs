//! The ACL family where the servers have the users (`-auth backend`): nodes execute it, on connections of the client's user.
//! What changes users goes to all of them, since each has its own.

use super::{After, Context, fail};
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::texts;
use crate::resp::args::Args;

/// Any master answers: all have the same users, if they are kept as they should be.
pub fn ask_one(_: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    After::AskAnyMaster
}

/// All nodes, replicas too: users are not replicated. The answer is the first one, or an error if there is one.
pub fn change_all(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    if !context.administers {
        return fail(out, texts::not_allowed(&context.command.name).as_bytes());
    }
    After::Broadcast(Merge::AllSucceeded)
}

/// `ACL LOG [count | RESET]`: each node has its own.
pub fn log(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    match args.get(2) {
        Some(word) if word.eq_ignore_ascii_case(b"reset") => change_all(context, args, out),
        _ => After::Broadcast(Merge::Concat),
    }
}
