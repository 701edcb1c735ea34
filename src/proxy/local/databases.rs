//! Databases of a namespace: SELECT chooses one, MOVE and COPY take a key from one to another, FLUSHALL empties them all.
//!
//! Two databases are two slots, which no node can change at once. What goes from one to the other is therefore written at
//! its new place first and deleted at its old one behind that, and only if nobody has changed it meanwhile. So a key may
//! be in both for a moment, or remain in both when a node fails in between; it is never in none.

use std::sync::Arc;

use super::{After, Context, fail, ok};
use crate::proxy::namespace::Namespace;
use crate::proxy::namespace::across_databases::{self, Copy, Taken, Transfer};
use crate::proxy::namespace::request::Tagged;
use crate::proxy::namespace::whole_database;
use crate::proxy::pipeline::merge::{Merge, Then};
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::planted_bugs;
use crate::proxy::pubsub::state::keyspace_events;
use crate::proxy::texts;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

const SAME: &[u8] = b"ERR source and destination objects are the same";
const EVENTS: &[u8] =
    b"ERR SELECT is not served in a namespace while the client is subscribed to keyspace notifications";
const SWAPDB: &[u8] =
    b"ERR SWAPDB is not served in a namespace: its databases are hash slots, which cannot be swapped atomically";
const CHANGED: &[u8] = b"ERR the key kept changing while it was being moved, so it was not moved";

/// How often a key that others change meanwhile is moved anew.
const MOVES_MAX: u32 = 5;

/// `SELECT` of a client whose namespace has databases.
pub fn select(
    context: &mut Context<'_>,
    own: &Namespace,
    args: &Args<'_>,
    out: &mut Vec<u8>,
) -> After {
    match across_databases::database(own, args.at(1)) {
        Err(text) => fail(out, text.as_bytes()),
        Ok(index) if index == own.database() => ok(out),
        // Names of such channels have the tag of the database.
        Ok(_)
            if context
                .session
                .subscriptions()
                .is_some_and(keyspace_events::has_any) =>
        {
            fail(out, EVENTS)
        }
        Ok(index) => {
            context.session.namespace = context.namespaces.database(own, index);
            ok(out)
        }
    }
}

/// `SWAPDB` of a client whose namespace has databases.
pub fn swapdb(own: &Namespace, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let index = |at: usize| i32::try_from(texts::strict_integer(args.at(at))?).ok();
    let databases = i32::from(own.databases());
    match (index(1), index(2)) {
        (None, _) => fail(out, b"ERR invalid first DB index"),
        (_, None) => fail(out, b"ERR invalid second DB index"),
        (Some(one), Some(other)) if [one, other].iter().any(|at| !(0..databases).contains(at)) => {
            fail(out, across_databases::OUT_OF_RANGE.as_bytes())
        }
        (Some(one), Some(other)) if one == other => ok(out),
        _ => fail(out, SWAPDB),
    }
}

/// `FLUSHALL`: every database of the namespace, one script at each of their nodes.
pub fn flushall(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(own) = among_databases(context) else {
        return After::Serve;
    };
    if !whole_database::is_flush(args) {
        return fail(out, whole_database::SYNTAX_ERROR.as_bytes());
    }
    let databases = context.namespaces.databases_of(&own).iter();
    After::AskAlone(Plan {
        asks: databases
            .map(|own| {
                ask(own, |out| {
                    whole_database::write(own, whole_database::FLUSH, &[], out)
                })
            })
            .collect(),
        merge: Merge::AllSucceeded,
        write: true,
    })
}

/// `MOVE key database`.
pub fn move_(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(own) = among_databases(context) else {
        return After::Serve;
    };
    let index = match across_databases::database(&own, args.at(2)) {
        Ok(index) => index,
        Err(text) => return fail(out, text.as_bytes()),
    };
    if index == own.database() {
        return fail(out, SAME);
    }
    let Some(to) = context.namespaces.database(&own, index) else {
        return After::Serve;
    };
    let key: Arc<[u8]> = args.at(1).into();
    let transfer = Transfer {
        from: own,
        to,
        key: key.clone(),
        new_key: key,
        replace: false,
    };
    After::AskAlone(begin_move(transfer, MOVES_MAX))
}

/// `COPY key key [DB database] [REPLACE]`, to another database. What stays in one has gone to its node already.
pub fn copy(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(own) = among_databases(context) else {
        return After::Serve;
    };
    let copy = match Copy::parse(&own, args) {
        Ok(copy) => copy,
        Err(text) => return fail(out, text.as_bytes()),
    };
    if copy.database == own.database() {
        return After::Serve;
    }
    let Some(to) = context.namespaces.database(&own, copy.database) else {
        return After::Serve;
    };
    let transfer = Transfer {
        from: own,
        to,
        key: args.at(1).into(),
        new_key: args.at(2).into(),
        replace: copy.replace,
    };
    let take = ask(&transfer.from, |out| transfer.write_take(out));
    After::AskAlone(then(take, move |reply, out| {
        let Some(taken) = Taken::of(reply) else {
            return answer(0, out);
        };
        Some(restore(&transfer, taken, |out| answer(1, out)))
    }))
}

/// Moves a key; so often anew, if others change it meanwhile.
fn begin_move(transfer: Transfer, tries: u32) -> Plan {
    let take = ask(&transfer.from, |out| transfer.write_take(out));
    then(take, move |reply, out| {
        let Some(taken) = Taken::of(reply) else {
            return answer(0, out);
        };
        let mark = taken.mark.to_vec();
        let transfer = Arc::new(transfer);
        let own = transfer.clone();
        Some(restore(&transfer, taken, move |_| {
            Some(drop_old(own, mark, tries))
        }))
    })
}

/// The value is at its new place: its old one is dropped, unless it has changed.
fn drop_old(transfer: Arc<Transfer>, mark: Vec<u8>, tries: u32) -> Plan {
    let dropped = ask(&transfer.from, |out| transfer.write_drop(&mark, out));
    then(dropped, move |reply, out| match reply.integer() {
        Some(1) => answer(1, out),
        // It is another one now, or is gone, which a move is not to undo.
        _ => Some(undo(transfer, mark, reply.is_null(), tries)),
    })
}

/// The key was changed meanwhile: what was put at its new place goes, and the key is moved anew unless it is gone.
fn undo(transfer: Arc<Transfer>, mark: Vec<u8>, gone: bool, tries: u32) -> Plan {
    let undone = ask(&transfer.to, |out| transfer.write_undo(&mark, out));
    then(undone, move |_, out| match Arc::into_inner(transfer) {
        _ if gone => answer(0, out),
        Some(transfer) if tries > 1 => Some(begin_move(transfer, tries - 1)),
        _ => {
            encode::error(out, CHANGED);
            None
        }
    })
}

/// Puts a value at its new place, and does this if it is there then. Where another key is the client is told 0.
fn restore(
    transfer: &Transfer,
    taken: Taken<'_>,
    next: impl FnOnce(&mut Vec<u8>) -> Option<Plan> + Send + 'static,
) -> Plan {
    let put = ask(&transfer.to, |out| transfer.write_restore(taken, out));
    let then: Then = Box::new(move |replies, out| {
        let error = replies.first().and_then(|reply| reply.error());
        match error {
            None if !replies.is_empty() => next(out),
            Some(_) if planted_bugs::is_on("moved-to-nowhere") => next(out),
            Some(error) if !error.starts_with(b"BUSYKEY") => {
                encode::error(out, error);
                None
            }
            _ => answer(0, out),
        }
    });
    plan(put, then)
}

/// The namespace of a client, if it has databases.
fn among_databases(context: &Context<'_>) -> Option<Arc<Namespace>> {
    let own = context.session.namespace.as_ref();
    own.filter(|own| own.databases() > 1).cloned()
}

/// Asks the node of a namespace what is written so.
fn ask(own: &Namespace, write: impl FnOnce(&mut Tagged)) -> Ask {
    let mut question = Tagged::default();
    write(&mut question);
    Ask::Slot(own.slot().number(), question.frame().to_vec())
}

/// Asks one question, and does this with its answer. An answer that is an error is the client's.
fn then(
    ask: Ask,
    next: impl FnOnce(Reply<'_>, &mut Vec<u8>) -> Option<Plan> + Send + 'static,
) -> Plan {
    let then: Then = Box::new(move |replies, out| match replies.first() {
        Some(reply) if !reply.is_error() => next(*reply, out),
        Some(reply) => {
            out.extend_from_slice(reply.frame());
            None
        }
        None => answer(0, out),
    });
    plan(ask, then)
}

fn plan(ask: Ask, then: Then) -> Plan {
    Plan {
        asks: vec![ask],
        merge: Merge::Then(then),
        write: true,
    }
}

fn answer(number: i64, out: &mut Vec<u8>) -> Option<Plan> {
    encode::integer(out, number);
    None
}
