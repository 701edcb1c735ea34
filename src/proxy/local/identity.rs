//! Commands that change what a server is or does for all its clients, which the table refuses. If nothing would
//! change, or a master without replicas refuses it too, the reply is that of such a server (7.0.15). Anything else is
//! refused with the reason in its row.

use super::{After, Context, NO_INTEGER, SYNTAX_ERROR, databases, fail, ok};
use crate::proxy::texts;
use crate::resp::args::Args;

/// `FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]`
pub fn failover(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if context.config.cluster_face.is_some() {
        return fail(
            out,
            b"ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.",
        );
    }
    let (mut to, mut force, mut abort, mut timeout) = (false, false, false, false);
    let mut at = 1;
    while at < args.len() {
        let behind = args.len() - at - 1;
        match args.at(at).to_ascii_lowercase().as_slice() {
            b"timeout" if behind >= 1 && !timeout => {
                match texts::strict_integer(args.at(at + 1)) {
                    None => return fail(out, NO_INTEGER),
                    Some(number) if number <= 0 => {
                        return fail(out, b"ERR FAILOVER timeout must be greater than 0");
                    }
                    Some(_) => {}
                }
                (timeout, at) = (true, at + 2);
            }
            b"abort" if args.len() == 2 => (abort, at) = (true, at + 1),
            b"to" if behind >= 2 && !to => {
                if texts::strict_integer(args.at(at + 2)).is_none() {
                    return fail(out, NO_INTEGER);
                }
                (to, at) = (true, at + 3);
            }
            b"force" if !force => (force, at) = (true, at + 1),
            _ => return fail(out, SYNTAX_ERROR),
        }
    }
    if abort {
        return fail(out, b"ERR No failover in progress.");
    }
    fail(out, b"ERR FAILOVER requires connected replicas.")
}

/// `REPLICAOF NO ONE | host port`, and its old name SLAVEOF: it is no replica.
pub fn replicaof(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if context.config.cluster_face.is_some() {
        return fail(out, b"ERR REPLICAOF not allowed in cluster mode.");
    }
    let (host, port) = (args.at(1), args.at(2));
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        return ok(out);
    }
    match texts::strict_integer(port) {
        Some(0..=65535) => After::Serve,
        _ => fail(out, b"ERR Invalid master port"),
    }
}

/// `REPLCONF [option value ...]`: without an option there is nothing to be set.
pub fn replconf(_: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    const OPTIONS: &[&str] = &[
        "listening-port",
        "ip-address",
        "capa",
        "ack",
        "fack",
        "getack",
        "rdb-only",
        "rdb-filter-only",
        "rdb-channel",
        "main-ch-client-id",
        "set-rdb-client-id",
        "version",
    ];
    if args.len() == 1 {
        return ok(out);
    }
    if args.len().is_multiple_of(2) {
        return fail(out, SYNTAX_ERROR);
    }
    let option = String::from_utf8_lossy(args.at(1));
    if OPTIONS.contains(&&*option.to_ascii_lowercase()) {
        return After::Serve;
    }
    let text = format!("ERR Unrecognized REPLCONF option: {option}");
    fail(out, text.as_bytes())
}

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`: none is in progress.
pub fn shutdown(_: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let (mut save, mut nosave, mut abort) = (false, false, false);
    for word in args.from(1) {
        match word.to_ascii_lowercase().as_slice() {
            b"save" => save = true,
            b"nosave" => nosave = true,
            b"now" | b"force" => {}
            b"abort" => abort = true,
            _ => return fail(out, SYNTAX_ERROR),
        }
    }
    if (abort && args.len() > 2) || (save && nosave) {
        return fail(out, SYNTAX_ERROR);
    }
    if abort {
        return fail(out, b"ERR No shutdown in progress.");
    }
    After::Serve
}

/// `SWAPDB index index`: the one database with itself.
pub fn swapdb(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if context.config.cluster_face.is_some() {
        return fail(out, b"ERR SWAPDB is not allowed in cluster mode");
    }
    let own = context.session.namespace.as_ref();
    if let Some(own) = own.filter(|own| own.databases() > 1) {
        return databases::swapdb(own, args, out);
    }
    let index = |at: usize| i32::try_from(texts::strict_integer(args.at(at))?).ok();
    match (index(1), index(2)) {
        (None, _) => fail(out, b"ERR invalid first DB index"),
        (_, None) => fail(out, b"ERR invalid second DB index"),
        (Some(0), Some(0)) => ok(out),
        (Some(one), Some(other)) if one < 0 || other < 0 => {
            fail(out, b"ERR DB index is out of range")
        }
        _ => After::Serve,
    }
}

/// `SCRIPT DEBUG YES | SYNC | NO`: it is not on. A debugger takes the connection for itself and may undo what the script
/// did. Who asks for it and does not look at the answer, as `redis-cli --ldb`, does not get the script executed instead.
pub fn script_debug(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    match args.at(2).to_ascii_lowercase().as_slice() {
        b"no" => {
            context.session.wants_debugger = false;
            ok(out)
        }
        b"yes" | b"sync" => {
            context.session.wants_debugger = true;
            After::Serve
        }
        _ => fail(out, b"ERR Use SCRIPT DEBUG YES/SYNC/NO"),
    }
}
