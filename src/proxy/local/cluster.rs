//! The CLUSTER family. By default the proxy presents itself as one server, so that no client bypasses it; with
//! `-cluster-face`, as a cluster of one master that has all slots, so that cluster clients work. Also formats the
//! real cluster for the PROXY family.

use std::fmt::Write;

use super::{After, Context};
use crate::cluster::slot::{SLOTS, Slot};
use crate::cluster::topology::{NO_SHARD, Topology};
use crate::config::Face;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::proxy::texts;
use crate::resp::args::Args;
use crate::resp::encode;

const DISABLED: &[u8] = b"ERR This instance has cluster support disabled";

/// What a server has beside its port for its peers, which a proxy has not.
const BUS_OFFSET: u16 = 10_000;

/// The config epoch of the face's one node.
pub(super) const EPOCH: u64 = 1;

/// The face, or the error that there is none.
pub(super) fn face<'a>(context: &Context<'a>, out: &mut Vec<u8>) -> Option<&'a Face> {
    let face = context.config.cluster_face.as_ref();
    if face.is_none() {
        encode::error(out, DISABLED);
    }
    face
}

/// ASKING, READONLY, READWRITE: there is nothing to be switched; `-read-prefer` says where reads go.
pub fn accepted(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_some() {
        encode::simple(out, "OK");
    }
    After::Go
}

/// What would change the cluster, and is not what it is already (`cluster_changes` has the rest).
pub fn refused(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_some() {
        encode::error(out, texts::not_yet(context.command).as_bytes());
    }
    After::Go
}

/// What every node of a cluster answers.
pub fn help(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    match face(context, out) {
        Some(_) => After::AskAnyMaster,
        None => After::Go,
    }
}

pub fn slots(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    if let Some(face) = face(context, out) {
        encode::array(out, 1);
        encode::array(out, 3);
        encode::integer(out, 0);
        encode::integer(out, SLOTS as i64 - 1);
        encode::array(out, 4);
        encode::bulk(out, face.host.as_bytes());
        encode::integer(out, i64::from(face.port));
        encode::bulk(out, context.process.run_id.as_bytes());
        encode::map(out, 0, context.session.protocol);
    }
    After::Go
}

pub fn shards(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(face) = face(context, out) else {
        return After::Go;
    };
    let protocol = context.session.protocol;
    let text = |out: &mut Vec<u8>, name: &str, value: &str| {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    };
    encode::array(out, 1);
    encode::map(out, 2, protocol);
    encode::bulk(out, b"slots");
    encode::array(out, 2);
    encode::integer(out, 0);
    encode::integer(out, SLOTS as i64 - 1);
    encode::bulk(out, b"nodes");
    encode::array(out, 1);
    encode::map(out, 7, protocol);
    text(out, "id", &context.process.run_id);
    encode::bulk(out, b"port");
    encode::integer(out, i64::from(face.port));
    text(out, "ip", &face.host);
    text(out, "endpoint", &face.host);
    text(out, "role", "master");
    encode::bulk(out, b"replication-offset");
    encode::integer(out, 0);
    text(out, "health", "online");
    After::Go
}

/// The one master, and once more without `myself`: redis-benchmark up to 7 refuses to work with a cluster of
/// one node, and a client that keeps nodes by id or by address sees no difference.
pub fn nodes(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    if let Some(face) = face(context, out) {
        let bus = face.port.checked_add(BUS_OFFSET).unwrap_or(0);
        let (id, last) = (&context.process.run_id, SLOTS - 1);
        let rest = format!("master - 0 0 {EPOCH} connected 0-{last}\n");
        let text = format!("{id} {face}@{bus} myself,{rest}{id} {face}@{bus} {rest}");
        encode::verbatim(out, &text, context.session.protocol);
    }
    After::Go
}

pub fn info(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_some() {
        let text = state(context.routes.topology().map(|topology| &**topology), 1, 1);
        encode::verbatim(out, &text, context.session.protocol);
    }
    After::Go
}

pub fn myid(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_some() {
        encode::bulk(out, context.process.run_id.as_bytes());
    }
    After::Go
}

/// LINKS: a single master has no peers.
pub fn links(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_some() {
        encode::array(out, 0);
    }
    After::Go
}

pub fn replicas(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_some() {
        if args.at(2) == context.process.run_id.as_bytes() {
            encode::array(out, 0);
        } else {
            encode::error(out, &[b"ERR Unknown node ", args.at(2)].concat());
        }
    }
    After::Go
}

pub fn keyslot(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_some() {
        encode::integer(out, i64::from(Slot::of(args.at(2)).number()));
    }
    After::Go
}

pub fn countkeysinslot(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_none() {
        return After::Go;
    }
    ask_owner(args, out, b"ERR Invalid slot", |_| true)
}

pub fn getkeysinslot(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    if face(context, out).is_none() {
        return After::Go;
    }
    let invalid = b"ERR Invalid slot or number of keys";
    ask_owner(args, out, invalid, |args| {
        texts::strict_integer(args.at(3)).is_some_and(|count| count >= 0)
    })
}

/// Has the owner of the slot in argument 2 answer; `fits` looks at what is behind it.
fn ask_owner(
    args: &Args<'_>,
    out: &mut Vec<u8>,
    invalid: &[u8],
    fits: impl Fn(&Args<'_>) -> bool,
) -> After {
    let mut numbers = args.from(2).map(texts::strict_integer);
    if numbers.any(|number| number.is_none()) {
        encode::error(out, texts::NOT_AN_INTEGER.as_bytes());
        return After::Go;
    }
    let slot = texts::strict_integer(args.at(2)).and_then(|slot| u16::try_from(slot).ok());
    match slot.and_then(Slot::new) {
        Some(slot) if fits(args) => After::Ask(Plan {
            asks: vec![Ask::Slot(slot.number(), args.frame().to_vec())],
            merge: Merge::AllSucceeded,
            write: false,
        }),
        _ => {
            encode::error(out, invalid);
            After::Go
        }
    }
}

/// `PROXY CLUSTER INFO`
pub fn known_info(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let topology = context.routes.topology().map(|topology| &**topology);
    let (nodes, masters) = topology.map_or((0, 0), |known| (known.nodes.len(), known.shards.len()));
    let mut text = state(topology, nodes, masters);
    if let Some(topology) = topology {
        let age = context.now.since(topology.asked_at).as_millis();
        // Writing to a string does not fail.
        write!(text, "topology_age_ms:{age}\r\n").ok();
    }
    encode::verbatim(out, &text, context.session.protocol);
    After::Go
}

/// `PROXY CLUSTER NODES`: with the fields of CLUSTER NODES; `connected` is what does not fail to connect.
pub fn known_nodes(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let mut text = String::new();
    let Some(topology) = context.routes.topology() else {
        encode::verbatim(out, "", context.session.protocol);
        return After::Go;
    };
    for (index, shard) in topology.shards.iter().enumerate() {
        let master = &topology.nodes[shard.master as usize];
        let mut line = |node: u16, role: &str, master: &str, slots: &str| {
            let node = &topology.nodes[node as usize];
            let key = context.routes.node_at(&node.address);
            let failing = key
                .and_then(|key| context.nodes.get(key.0 as usize))
                .is_some_and(|node| node.is_failing());
            let link = if failing { "disconnected" } else { "connected" };
            writeln!(
                text,
                "{} {}@0 {role} {master} 0 0 {} {link}{slots}",
                node.id, node.address, shard.epoch
            )
            .ok();
        };
        line(shard.master, "master", "-", &ranges(topology, index as u16));
        for replica in &shard.replicas {
            line(*replica, "slave", &master.id, "");
        }
    }
    encode::verbatim(out, &text, context.session.protocol);
    After::Go
}

/// The slots of a shard, each range behind a space.
fn ranges(topology: &Topology, shard: u16) -> String {
    let mut text = String::new();
    let mut first = 0;
    for run in topology.slots.chunk_by(|a, b| a == b) {
        let last = first + run.len() - 1;
        if run[0] == shard {
            let range = if first == last {
                write!(text, " {first}")
            } else {
                write!(text, " {first}-{last}")
            };
            range.ok();
        }
        first = last + 1;
    }
    text
}

/// The text of CLUSTER INFO. The cluster is `ok` as long as a topology is known: which slots must be served
/// for that is a setting of the servers that a proxy does not see.
fn state(topology: Option<&Topology>, nodes: usize, masters: usize) -> String {
    let served = topology.map_or(0, |known| {
        known
            .slots
            .iter()
            .filter(|shard| **shard != NO_SHARD)
            .count()
    });
    let state = if served > 0 { "ok" } else { "fail" };
    let epoch = topology.map_or(0, |known| known.epoch);
    format!(
        "cluster_state:{state}\r\ncluster_slots_assigned:{served}\r\ncluster_slots_ok:{served}\r\n\
         cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:{nodes}\r\n\
         cluster_size:{masters}\r\ncluster_current_epoch:{epoch}\r\ncluster_my_epoch:{EPOCH}\r\n\
         cluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n"
    )
}
