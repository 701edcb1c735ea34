//! `PROXY EXPLAIN <command ...>`: what would become of a request: its class, keys, slots and nodes, and where it
//! is not served, why. Nothing is sent.

use std::collections::BTreeSet;

use super::{After, Context};
use crate::cluster::slot::Slot;
use crate::command::explain::Explanation;
use crate::command::{Class, Command, Resolved};
use crate::proxy::ids::NodeKey;
use crate::proxy::texts::{self, refusal};
use crate::resp::args::Args;
use crate::resp::encode;

pub fn explain(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(request) = args.tail(2) else {
        return After::Go;
    };
    let mut explanation = Explanation::of(context.table, &request);
    let row = match context.table.resolve(&request) {
        Resolved::Command(row) => Some(row),
        Resolved::Unknown | Resolved::UnknownSubcommand(_) => None,
    };
    if let (Some(row), false) = (row, explanation.refused) {
        let served = context.handlers.answers(row.id) || texts::why_unserved(row).is_none();
        let allowed = !row.changes_servers || context.administers;
        if !served {
            (explanation.refused, explanation.reason) = (true, texts::unserved(row));
        } else if !allowed {
            (explanation.refused, explanation.reason) = (true, texts::not_allowed(&row.name));
        }
    }
    let keys: Vec<(&[u8], Slot)> = explanation
        .keys
        .iter()
        .map(|index| request.at(*index as usize))
        .map(|key| (key, Slot::of(key)))
        .collect();
    let slots: BTreeSet<u16> = keys.iter().map(|(_, slot)| slot.number()).collect();
    if slots.len() > 1 && !explanation.splits && !explanation.refused {
        (explanation.refused, explanation.reason) = (true, refusal::CROSS_SLOT.to_string());
    }
    let nodes = if explanation.refused {
        Vec::new()
    } else {
        nodes(context, row, &slots)
    };

    let fields = explanation.fields();
    let protocol = context.session.protocol;
    encode::map(out, fields.len() + 3, protocol);
    for (name, value) in fields {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
    encode::bulk(out, b"keys");
    encode::map(out, keys.len(), protocol);
    for (key, slot) in &keys {
        encode::bulk(out, key);
        encode::integer(out, i64::from(slot.number()));
    }
    encode::bulk(out, b"parts");
    let parts = match slots.len() {
        0 => nodes.len(),
        count => count,
    };
    encode::integer(out, if explanation.refused { 0 } else { parts as i64 });
    encode::bulk(out, b"nodes");
    encode::array(out, nodes.len());
    nodes
        .iter()
        .for_each(|node| encode::bulk(out, node.as_bytes()));
    After::Go
}

/// The addresses of the nodes that a request goes to; reads may go to replicas of them instead. Of a request
/// that any master can answer, all masters.
fn nodes(context: &Context<'_>, row: Option<&Command>, slots: &BTreeSet<u16>) -> Vec<String> {
    let everyone = |row, replicas| {
        let everyone = context.routes.everyone(row, replicas);
        everyone.filter_map(|asked| asked.node()).collect()
    };
    let targets: Vec<NodeKey> = match row.map(|row| (row, row.class)) {
        _ if !slots.is_empty() => slots
            .iter()
            .filter_map(|slot| context.routes.shard(Slot::new(*slot)?))
            .map(|shard| shard.master)
            .collect(),
        Some((_, Class::Local | Class::Subscription)) | None => Vec::new(),
        Some((row, Class::AllNodes(_))) => everyone(row, true),
        Some((row, Class::AllMasters(_) | Class::Scan)) => everyone(row, false),
        Some(_) => context.routes.targets(false).map(|to| to.node).collect(),
    };
    let mut addresses: Vec<String> = Vec::new();
    for key in targets {
        let address = context.nodes.get(key.0 as usize);
        let address = address.map_or("?".to_string(), |node| node.address.to_string());
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}
