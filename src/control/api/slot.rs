//! `GET /api/v1/slot?key=...`: the slot of a key and the nodes that serve it.

use serde::Serialize;

use crate::cluster::slot::{SLOTS, Slot};
use crate::cluster::topology::{NO_SHARD, Topology};
use crate::control::message::{Request, Response};
use crate::control::state::ControlState;

/// A slot and who serves it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Place {
    slot: u16,
    /// Nothing while nobody serves it.
    master: Option<String>,
    replicas: Vec<String>,
}

fn place(slot: Slot, topology: Option<&Topology>) -> Place {
    let shard = topology.and_then(|topology| {
        let shard = topology.slots[slot.index()];
        (shard != NO_SHARD).then(|| (topology, &topology.shards[usize::from(shard)]))
    });
    let address = |topology: &Topology, node: u16| topology.nodes[usize::from(node)].address;
    Place {
        slot: slot.number(),
        master: shard.map(|(topology, shard)| address(topology, shard.master).to_string()),
        replicas: shard
            .map(|(topology, shard)| {
                let replicas = shard.replicas.iter();
                replicas
                    .map(|node| address(topology, *node).to_string())
                    .collect()
            })
            .unwrap_or_default(),
    }
}

/// The page.
pub fn page(request: &Request, state: &ControlState) -> Response {
    let number = request.parameter("slot").and_then(|slot| slot.parse().ok());
    let slot = match (request.parameter("key"), number) {
        (Some(key), _) => Slot::of(key.as_bytes()),
        (None, Some(number)) if usize::from(number) < SLOTS => match Slot::new(number) {
            Some(slot) => slot,
            None => return Response::text(400, "there is no such slot"),
        },
        (None, _) => return Response::text(400, "?key=KEY or ?slot=0..16383 is wanted"),
    };
    let topology = state.sources.latest.topology();
    Response::json(200, &place(slot, topology.as_deref()))
}
