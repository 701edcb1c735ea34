//! `CLIENT PAUSE`, `UNPAUSE` and `UNBLOCK`: what keeps other clients waiting, and what ends it.

use std::time::Duration;

use super::{After, Context, NO_INTEGER, fail};
use crate::proxy::merge::Merge;
use crate::proxy::plan::{Ask, Plan};
use crate::proxy::question::Question;
use crate::proxy::suspension::Suspension;
use crate::resp::args::Args;
use crate::resp::reply::parse_number;

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
    ask_all(Question::Suspend(Suspension { until, all }))
}

pub fn unpause(_: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    ask_all(Question::Resume)
}

fn ask_all(question: Question) -> After {
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
        asks: vec![Ask::Workers(Question::Unblock(number, with_error))],
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
