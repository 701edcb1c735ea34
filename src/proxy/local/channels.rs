//! PUBLISH and PUBSUB: every node has subscribers of its own, so all nodes are asked; each channel is listed once and
//! its subscribers are added up.
//!
//! To a node, the subscribers of this proxy are one connection per worker. The reply replaces that number by the
//! proxy's real clients. Subscribers of other proxies still count as one per worker.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use super::nodes::{join_all, pairs};
use super::{After, Context};
use crate::cluster::slot::Slot;
use crate::proxy::ids::NodeKey;
use crate::proxy::namespace::Namespace;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::pubsub::state::carrier::slot_of_channel;
use crate::proxy::pubsub::state::keyspace_events;
use crate::proxy::pubsub::state::kind::Kind;
use crate::proxy::pubsub::state::register::Tally;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;

/// `PUBSUB CHANNELS`, `PUBSUB SHARDCHANNELS`.
pub fn names(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    let own = context.session.namespace.clone();
    join_all(context, args, move |replies, out| {
        unite(replies, own.as_deref(), out);
    })
}

/// `PUBSUB NUMSUB`: a list of names and numbers in turn, in both protocols.
pub fn counts(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    count(context, args, Kind::Channel)
}

/// `PUBSUB SHARDNUMSUB`, likewise.
pub fn shard_counts(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    count(context, args, Kind::Shard)
}

fn count(context: &Context<'_>, args: &Args<'_>, kind: Kind) -> After {
    let process = context.process.clone();
    let own = context.session.namespace.clone();
    join_all(context, args, move |replies, out| {
        let tally = |name: &[u8]| process.register.tally(kind, name);
        add(replies, tally, own.as_deref(), out);
    })
}

/// `PUBSUB NUMPAT`: patterns, each once for this proxy and once for each node where others are subscribed to it.
/// Nodes do not say whose patterns they count: where channels are a namespace's own, only those of this proxy are counted.
pub fn patterns(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let process = context.process.clone();
    let own = context.session.namespace.as_deref();
    if let Some(own) = own.filter(|own| own.has_channels()) {
        let visible = |name: &[u8]| keyspace_events::is_visible(name, own);
        let count = process.register.names_that(Kind::Pattern, visible);
        encode::integer(out, count as i64);
        return After::Go;
    }
    let addresses: Vec<Option<SocketAddr>> = context
        .routes
        .everyone(context.command, true)
        .map(|asked| context.nodes.get(asked.node()?.0 as usize))
        .map(|node| node.map(|node| node.address))
        .collect();
    join_all(context, args, move |replies, out| {
        let register = &process.register;
        let others = replies.iter().zip(&addresses).map(|(reply, address)| {
            let own = address.map_or(0, |node| register.names_at(Kind::Pattern, node));
            (reply.integer().unwrap_or(0) - own as i64).max(0)
        });
        let others: i64 = others.sum();
        encode::integer(out, others + register.names(Kind::Pattern) as i64);
    })
}

pub fn publish(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    publish_to(context, args, Kind::Channel)
}

pub fn spublish(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
    publish_to(context, args, Kind::Shard)
}

/// Nobody here is subscribed to anything: the node's number is right. Else it is put right when it comes.
fn publish_to(context: &Context<'_>, args: &Args<'_>, kind: Kind) -> After {
    if context.process.register.is_empty() {
        return After::Serve;
    }
    let channel = args.at(1).to_vec();
    let slot = match kind {
        Kind::Shard => Some(Slot::of(&channel)),
        Kind::Channel | Kind::Pattern => {
            slot_of_channel(&channel, context.routes, context.nodes, context.config)
        }
    };
    let Some(slot) = slot else {
        return After::Serve;
    };
    let own = context.session.subscriptions();
    let hears = own.is_some_and(|own| own.hears(kind, &channel));
    let owner = context.routes.shard(slot).map(|shard| shard.master);
    let found = owner.and_then(|owner| context.nodes.get(owner.0 as usize));
    let (node, process) = (found.map(|node| node.address), context.process.clone());
    let correct = move |replies: &[Reply<'_>], out: &mut Vec<u8>| {
        let counted = replies.iter().find_map(Reply::integer).unwrap_or(0);
        let tally = process.register.receivers(kind, &channel, node);
        encode::integer(out, tally.correct(counted));
    };
    let asks = vec![Ask::Slot(slot.number(), args.frame().to_vec())];
    match owner.filter(|_| hears) {
        Some(owner) => After::AskAlone(Plan {
            asks,
            merge: Merge::Then(Box::new(behind_message(owner, correct))),
            write: true,
        }),
        None => After::Ask(Plan {
            asks,
            merge: Merge::Join(Box::new(correct)),
            write: true,
        }),
    }
}

/// A client publishes what it hears itself: the message comes before the number of its receivers, as from one server.
/// It comes on another connection, which is asked whether all has come.
fn behind_message(
    owner: NodeKey,
    correct: impl FnOnce(&[Reply<'_>], &mut Vec<u8>) + Send + 'static,
) -> impl FnOnce(&[Reply<'_>], &mut Vec<u8>) -> Option<Plan> + Send + 'static {
    move |replies, out| {
        if let Some(error) = replies.iter().find(|reply| reply.is_error()) {
            out.extend_from_slice(error.frame());
            return None;
        }
        let mut number = Vec::new();
        correct(replies, &mut number);
        let last = |replies: &[Reply<'_>], out: &mut Vec<u8>| {
            out.extend_from_slice(replies.last().map_or(b"", |number| number.frame()));
        };
        Some(Plan {
            asks: vec![Ask::Fence(owner), Ask::Known(number, None)],
            merge: Merge::JoinAll(Box::new(last)),
            write: false,
        })
    }
}

fn unite(replies: &[Reply<'_>], own: Option<&Namespace>, out: &mut Vec<u8>) {
    let mut seen = HashSet::new();
    let all = replies.iter().flat_map(|reply| reply.items());
    let shown = |name: &Reply<'_>| {
        let name = name.text().unwrap_or_default();
        own.is_none_or(|own| keyspace_events::is_visible(name, own))
    };
    let names = all.filter(|name| seen.insert(name.frame()) && shown(name));
    let names: Vec<Reply<'_>> = names.collect();
    encode::array(out, names.len());
    for name in names {
        match name.text().zip(own) {
            Some((text, own)) => encode::bulk(out, &keyspace_events::untagged(text, own)),
            None => out.extend_from_slice(name.frame()),
        }
    }
}

/// A name given twice is asked for twice, so the list of the first node says what the reply looks like.
fn add(
    replies: &[Reply<'_>],
    tally: impl Fn(&[u8]) -> Tally,
    own: Option<&Namespace>,
    out: &mut Vec<u8>,
) {
    let answered = || replies.iter().filter(|reply| !reply.frame().is_empty());
    let mut sums: HashMap<&[u8], i64> = HashMap::new();
    for reply in answered() {
        let mut seen = HashSet::new();
        for (name, count) in pairs(reply).filter(|(name, _)| seen.insert(name.frame())) {
            let name = name.text().unwrap_or_default();
            *sums.entry(name).or_default() += count.integer().unwrap_or(0);
        }
    }
    let shape: Vec<_> = answered().next().into_iter().flat_map(pairs).collect();
    encode::array(out, 2 * shape.len());
    for (name, _) in shape {
        match (name.text(), own) {
            (Some(text), Some(own)) => encode::bulk(out, &keyspace_events::untagged(text, own)),
            _ => out.extend_from_slice(name.frame()),
        }
        let name = name.text().unwrap_or_default();
        let sum = sums.get(name).copied().unwrap_or(0);
        encode::integer(out, tally(name).correct(sum));
    }
}

#[cfg(test)]
mod tests {
    use super::super::nodes::joined;
    use super::*;

    #[test]
    fn a_channel_is_named_once() {
        let replies = ["*2\r\n+a\r\n+b\r\n", "*0\r\n", "", "*1\r\n+b\r\n"];
        let unite = |replies: &[Reply<'_>], out: &mut Vec<u8>| unite(replies, None, out);
        assert_eq!(joined(unite, &replies), "*2\r\n+a\r\n+b\r\n");
        assert_eq!(joined(unite, &["*0\r\n"]), "*0\r\n");
    }

    #[test]
    fn subscribers_are_added_up() {
        let (first, second) = (
            "*6\r\n+a\r\n:1\r\n+b\r\n:0\r\n+a\r\n:1\r\n",
            "*6\r\n+a\r\n:2\r\n+b\r\n:0\r\n+a\r\n:2\r\n",
        );
        // Two of them are connections of ours, for five clients.
        let own = |name: &[u8]| Tally {
            clients: if name == b"a" { 5 } else { 0 },
            connections: if name == b"a" { 2 } else { 0 },
        };
        let add = |replies: &[Reply<'_>], out: &mut Vec<u8>| add(replies, own, None, out);
        let sum = "*6\r\n+a\r\n:6\r\n+b\r\n:0\r\n+a\r\n:6\r\n";
        assert_eq!(joined(add, &["", first, second]), sum);
        assert_eq!(joined(add, &["*0\r\n", "*0\r\n"]), "*0\r\n");
    }
}
