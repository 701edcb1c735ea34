//! `CLIENT PAUSE`, `UNPAUSE` and `UNBLOCK`: hold other clients, and release them.

use std::time::Duration;

use super::{After, Context, NO_INTEGER, fail};
use crate::proxy::messages::client_pause::ClientPause;
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::scripts::flags::functions_of;
use crate::proxy::upstream::Target;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::{Reply, parse_number};

/// `CLIENT PAUSE milliseconds [WRITE|ALL]`.
pub fn pause(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let mode = args.get(3).map(<[u8]>::to_ascii_lowercase);
    let all = match mode.as_deref() {
        _ if args.len() > 4 => return fail(out, &wrong_number(args)),
        None | Some(b"all") => true,
        Some(b"write") => false,
        Some(_) => return fail(out, b"ERR CLIENT PAUSE mode must be WRITE or ALL"),
    };
    let millis = match parse_number(args.at(2)) {
        None => return fail(out, b"ERR timeout is not an integer or out of range"),
        Some(millis) if millis < 0 => return fail(out, b"ERR timeout is negative"),
        Some(millis) => millis,
    };
    let wall = context.process.wall_clock(context.now).as_millis() as i64;
    // Redis 7.0 adds the two without a look: beyond the end of time nothing is paused.
    let wait = match wall.checked_add(millis) {
        Some(_) => Duration::from_millis(millis as u64),
        None => Duration::ZERO,
    };
    let until = context.now.after(wait);
    let pause = WorkerQuery::PauseClients(ClientPause { until, all });
    match context.routes.targets(false).next() {
        Some(master) if !all && until > context.now => pause_writes(pause, master),
        Some(_) | None => ask_all(pause),
    }
}

/// Requests that may write wait at once, among them all calls of functions, until a master has said which of those
/// cannot write. A server without functions, or that is not there, says nothing of them.
fn pause_writes(pause: WorkerQuery, master: Target) -> After {
    let mut list = Vec::new();
    encode::command(&mut list, [&b"FUNCTION"[..], b"LIST"]);
    let tell = |replies: &[Reply<'_>], out: &mut Vec<u8>| {
        let list = replies
            .iter()
            .find(|reply| matches!(reply.kind(), b'*' | b'%'));
        let Some(list) = list else {
            encode::simple(out, "OK");
            return None;
        };
        Some(Plan {
            asks: vec![Ask::Workers(WorkerQuery::Functions(functions_of(list)))],
            merge: Merge::AllSucceeded,
            write: false,
        })
    };
    After::Ask(Plan {
        asks: vec![Ask::Workers(pause), Ask::IfUp(master, list)],
        merge: Merge::Then(Box::new(tell)),
        write: false,
    })
}

pub fn unpause(_: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    ask_all(WorkerQuery::UnpauseClients)
}

fn ask_all(question: WorkerQuery) -> After {
    After::Ask(Plan {
        asks: vec![Ask::Workers(question)],
        merge: Merge::AllSucceeded,
        write: false,
    })
}

/// `CLIENT UNBLOCK id [TIMEOUT|ERROR]`: the worker that has the client knows.
pub fn unblock(_: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let reason = args.get(3).map(<[u8]>::to_ascii_lowercase);
    let with_error = match reason.as_deref() {
        _ if args.len() > 4 => return fail(out, &wrong_number(args)),
        None | Some(b"timeout") => false,
        Some(b"error") => true,
        Some(_) => {
            return fail(out, b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        }
    };
    let Some(number) = parse_number(args.at(2)) else {
        return fail(out, NO_INTEGER);
    };
    After::Ask(Plan {
        asks: vec![Ask::Workers(WorkerQuery::Unblock(number, with_error))],
        merge: Merge::Sum,
        write: false,
    })
}

/// What Redis says of too many arguments where the table lets any number pass.
fn wrong_number(args: &Args<'_>) -> Vec<u8> {
    let subcommand = args.at(1);
    [
        b"ERR unknown subcommand or wrong number of arguments for '",
        subcommand,
        b"'. Try CLIENT HELP.",
    ]
    .concat()
}
