//! Loading and deleting scripts and function libraries: the proxy records what is loaded, and forgets what is
//! deleted, before the nodes get the command.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{After, Context, fail};
use crate::proxy::namespace::{prelude, scripts};
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::process::Process;
use crate::proxy::scripts::Scripts;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

const NO_DEBUGGER: &[u8] =
    b"ERR the script was not executed: SCRIPT DEBUG is not supported through this proxy. Debug at a node, \
    or say SCRIPT DEBUG NO first";

fn store(process: &Process) -> MutexGuard<'_, Scripts> {
    process
        .scripts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// EVAL, EVAL_RO: a body that is new is remembered; its name is found when a node lacks it.
pub fn eval(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if context.session.wants_debugger {
        return fail(out, NO_DEBUGGER);
    }
    let (body, process) = (args.at(1), context.process);
    if context
        .seen
        .note(body, process.scripts_flushed.load(Ordering::Relaxed))
    {
        store(process).evaluated(body);
    }
    After::Serve
}

/// SCRIPT LOAD: remembered under the name that the nodes give.
pub fn script_load(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let (process, body) = (context.process.clone(), args.at(2).to_vec());
    let epoch = store(&process).scripts_epoch();
    let confined = context.session.namespace.is_some();
    let name = confined.then(|| prelude::unwrap(&body)).flatten();
    let name = name.map(|body| scripts::name_of(&body));
    remember(name, move |name| store(&process).loaded(name, &body, epoch))
}

/// FUNCTION LOAD: remembered under the name that the nodes give.
pub fn function_load(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let (process, code) = (context.process.clone(), args.at(args.len() - 1).to_vec());
    let epoch = store(&process).libraries_epoch();
    remember(None, move |name| {
        store(&process).library_loaded(name, &code, epoch)
    })
}

/// Once every node has loaded it, the first reply is the client's; it is the name, unless its client knows it by
/// another.
fn remember(own: Option<scripts::Name>, keep: impl FnOnce(&[u8]) + Send + 'static) -> After {
    After::Broadcast(Merge::Join(Box::new(
        move |replies: &[Reply<'_>], out: &mut Vec<u8>| {
            let Some(reply) = replies.iter().find(|reply| !reply.frame().is_empty()) else {
                return;
            };
            if let Some(name) = reply.text() {
                keep(name);
                if let Some(own) = own {
                    return encode::bulk(out, &own);
                }
            }
            out.extend_from_slice(reply.frame());
        },
    )))
}

/// SCRIPT EXISTS: every master has it; or one has, and the others are given it when they need it.
pub fn script_exists(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let process = context.process.clone();
    let names: Vec<Vec<u8>> = args.from(2).map(<[u8]>::to_vec).collect();
    After::Broadcast(Merge::Join(Box::new(
        move |replies: &[Reply<'_>], out: &mut Vec<u8>| {
            let answers: Vec<Vec<bool>> = replies
                .iter()
                .filter(|reply| !reply.frame().is_empty())
                .map(|reply| {
                    reply
                        .items()
                        .map(|item| item.integer() == Some(1))
                        .collect()
                })
                .collect();
            let mut scripts = store(&process);
            encode::array(out, names.len());
            for (at, name) in names.iter().enumerate() {
                let has = |answer: &Vec<bool>| answer.get(at) == Some(&true);
                let all = answers.iter().all(has);
                let exists = all || (answers.iter().any(has) && scripts.body(name).is_some());
                encode::integer(out, i64::from(exists));
            }
        },
    )))
}

/// SCRIPT FLUSH: what a client has flushed must not come back.
pub fn script_flush(context: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    let process: &Arc<Process> = context.process;
    let mut scripts = store(process);
    scripts.forget_scripts();
    let epoch = scripts.scripts_epoch();
    process.scripts_flushed.store(epoch, Ordering::Relaxed);
    After::Serve
}

/// FUNCTION DELETE.
pub fn function_delete(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    store(context.process).forget_library(Some(args.at(2)));
    After::Serve
}

/// FUNCTION FLUSH, and FUNCTION RESTORE, which may bring other libraries of the same names.
pub fn function_flush(context: &mut Context<'_>, _: &Args<'_>, _: &mut Vec<u8>) -> After {
    store(context.process).forget_library(None);
    After::Serve
}
