//! Subcommands of CLUSTER that change a cluster, with `-cluster-face`.
//!
//! The proxy presents a cluster of one master that has all slots, contains keys and knows no other node. A request
//! that would change nothing gets OK; what such a node refuses is refused in its words (7.0.15, `cluster.c`); what it
//! would do (give slots away, meet other nodes, reset) the proxy refuses.
//!
//! If the real cluster has one node too, that node is asked for everything about its slots and their epoch. Meeting
//! other nodes and resetting are still refused.

use std::sync::atomic::Ordering;

use super::cluster::{self, face};
use super::{After, Context, NO_INTEGER, SYNTAX_ERROR, fail, ok};
use crate::cluster::slot::Slot;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::texts;
use crate::proxy::upstream::Target;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

const NO_SLOT: &[u8] = b"ERR Invalid or out of range slot";

/// Asks the one node, if the cluster is no more than that; and has its topology asked for when it has answered.
fn ask_the_one(context: &Context<'_>, args: &Args<'_>) -> Option<After> {
    let [node] = context.routes.topology()?.nodes.as_slice() else {
        return None;
    };
    let target = Target {
        node: context.routes.node_at(&node.address)?,
        replica: false,
    };
    let process = context.process.clone();
    let answer = move |replies: &[Reply<'_>], out: &mut Vec<u8>| {
        process.stale.store(true, Ordering::Relaxed);
        replies
            .iter()
            .for_each(|reply| out.extend_from_slice(reply.frame()));
    };
    Some(After::Ask(Plan {
        asks: vec![Ask::Node(target, args.frame().to_vec())],
        merge: Merge::JoinAll(Box::new(answer)),
        write: true,
    }))
}

/// A slot as these commands take it.
fn slot(text: &[u8]) -> Option<u16> {
    let number = u16::try_from(texts::strict_integer(text)?).ok()?;
    Slot::new(number).map(Slot::number)
}

fn busy(slot: u16, out: &mut Vec<u8>) -> After {
    fail(out, format!("ERR Slot {slot} is already busy").as_bytes())
}

fn unknown_node(id: &[u8], out: &mut Vec<u8>) -> After {
    fail(out, &[b"ERR Unknown node ", id].concat())
}

/// Whether an id is that of the one node.
fn is_own(context: &Context<'_>, id: &[u8]) -> bool {
    id == context.process.run_id.as_bytes()
}

/// `CLUSTER ADDSLOTS slot ...`: if all are slots, the first one has an owner already.
pub fn addslots(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_none() {
        return After::Go;
    }
    if let Some(asked) = ask_the_one(context, args) {
        return asked;
    }
    match (
        slot(args.at(2)),
        args.from(2).all(|text| slot(text).is_some()),
    ) {
        (Some(slot), true) => busy(slot, out),
        _ => fail(out, NO_SLOT),
    }
}

/// `CLUSTER ADDSLOTSRANGE first last ...`
pub fn addslotsrange(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_none() {
        return After::Go;
    }
    if let Some(asked) = ask_the_one(context, args) {
        return asked;
    }
    if !args.len().is_multiple_of(2) {
        return fail(out, texts::wrong_arity(&context.command.name).as_bytes());
    }
    match (slot(args.at(2)), slot(args.at(3))) {
        (Some(first), Some(last)) if first > last => {
            let text =
                format!("ERR start slot number {first} is greater than end slot number {last}");
            fail(out, text.as_bytes())
        }
        (Some(first), Some(_)) => busy(first, out),
        _ => fail(out, NO_SLOT),
    }
}

/// `CLUSTER DELSLOTS slot ...`, `CLUSTER DELSLOTSRANGE first last ...` and `CLUSTER FLUSHSLOTS`: of several nodes
/// none can be meant.
pub fn take_slots(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_none() {
        return After::Go;
    }
    match ask_the_one(context, args) {
        Some(asked) => asked,
        None => cluster::refused(context, args, out),
    }
}

/// `CLUSTER BUMPEPOCH`: there is no other epoch that the one node's could be behind.
pub fn bumpepoch(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_some() {
        encode::simple(out, &format!("STILL {}", cluster::EPOCH));
    }
    After::Go
}

/// `CLUSTER COUNT-FAILURE-REPORTS id`: there is nobody to report.
pub fn count_failure_reports(
    context: &mut Context<'_>,
    args: &Args<'_>,
    out: &mut Vec<u8>,
) -> After {
    if face(context, out).is_none() {
        return After::Go;
    }
    if !is_own(context, args.at(2)) {
        return unknown_node(args.at(2), out);
    }
    encode::integer(out, 0);
    After::Go
}

/// `CLUSTER FAILOVER [FORCE | TAKEOVER]`
pub fn failover(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_none() {
        return After::Go;
    }
    let word = |index| args.at(index).to_ascii_lowercase();
    match args.len() {
        2 => {}
        3 if matches!(word(2).as_slice(), b"force" | b"takeover") => {}
        3 => return fail(out, SYNTAX_ERROR),
        _ => return wrong_count(args, out),
    }
    fail(out, b"ERR You should send CLUSTER FAILOVER to a replica")
}

/// What a node says of a number of arguments that the row allows and the subcommand does not.
fn wrong_count(args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let word = String::from_utf8_lossy(args.at(1));
    let text = format!(
        "ERR unknown subcommand or wrong number of arguments for '{word}'. Try CLUSTER HELP."
    );
    fail(out, text.as_bytes())
}

/// `CLUSTER FORGET id`
pub fn forget(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_none() {
        return After::Go;
    }
    if !is_own(context, args.at(2)) {
        return unknown_node(args.at(2), out);
    }
    fail(out, b"ERR I tried hard but I can't forget myself...")
}

/// `CLUSTER MEET host port [bus port]`: the one node knows itself.
pub fn meet(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(face) = face(context, out) else {
        return After::Go;
    };
    if args.len() > 5 {
        return wrong_count(args, out);
    }
    let (host, port) = (args.at(2), args.at(3));
    let invalid = |out: &mut Vec<u8>, what: &[u8], text: &[u8]| {
        fail(
            out,
            &[b"ERR Invalid ", what, b" specified: ", text].concat(),
        )
    };
    let Some(number) = texts::strict_integer(port) else {
        return invalid(out, b"TCP base port", port);
    };
    if args.len() == 5 && texts::strict_integer(args.at(4)).is_none() {
        return invalid(out, b"TCP bus port", args.at(4));
    }
    if host == face.host.as_bytes() && number == i64::from(face.port) {
        return ok(out);
    }
    let is_address =
        std::str::from_utf8(host).is_ok_and(|host| host.parse::<std::net::IpAddr>().is_ok());
    if !is_address || !(1..=65535).contains(&number) {
        return invalid(out, b"node address", &[host, b":", port].concat());
    }
    cluster::refused(context, args, out)
}

/// `CLUSTER REPLICATE id`
pub fn replicate(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_none() {
        return After::Go;
    }
    if !is_own(context, args.at(2)) {
        return unknown_node(args.at(2), out);
    }
    fail(out, b"ERR Can't replicate myself")
}

/// `CLUSTER SAVECONFIG`: each node saves what it knows of the cluster.
pub fn saveconfig(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_none() {
        return After::Go;
    }
    let everyone = context.routes.everyone(context.command, true);
    After::Ask(Plan {
        asks: everyone
            .map(|asked| Ask::each(asked, args.frame().to_vec()))
            .collect(),
        merge: Merge::AllSucceeded,
        write: false,
    })
}

/// `CLUSTER SET-CONFIG-EPOCH epoch`
pub fn set_config_epoch(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_none() {
        return After::Go;
    }
    if let Some(asked) = ask_the_one(context, args) {
        return asked;
    }
    match texts::strict_integer(args.at(2)) {
        None => fail(out, NO_INTEGER),
        Some(epoch) if epoch < 0 => {
            let text = format!("ERR Invalid config epoch specified: {epoch}");
            fail(out, text.as_bytes())
        }
        Some(_) => fail(out, b"ERR Node config epoch is already non-zero"),
    }
}

/// `CLUSTER SETSLOT slot MIGRATING id | IMPORTING id | STABLE | NODE id`
pub fn setslot(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_none() {
        return After::Go;
    }
    let Some(slot) = slot(args.at(2)) else {
        return fail(out, NO_SLOT);
    };
    let id = if args.len() == 5 { args.at(4) } else { b"" };
    match (args.at(3).to_ascii_lowercase().as_slice(), args.len()) {
        (b"migrating", 5) if is_own(context, id) => cluster::refused(context, args, out),
        (b"migrating", 5) => fail(out, &[b"ERR I don't know about node ", id].concat()),
        (b"importing", 5) => {
            let text = format!("ERR I'm already the owner of hash slot {slot}");
            fail(out, text.as_bytes())
        }
        (b"node", 5) if !is_own(context, id) => unknown_node(id, out),
        (b"stable", 4) | (b"node", 5) => ok(out),
        _ => fail(
            out,
            b"ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
        ),
    }
}
