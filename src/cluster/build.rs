//! `build`: from what one node says and the table in use to the next table, or the reason why there is
//! none. A bad answer never replaces a good table.
//!
//! The rules, each where it is applied:
//! - an answer from the minority side, from a node without masters, from a stranger, or from a node that has joined and
//!   does not know all masters yet is rejected whole;
//! - nodes that most masters call dead (`fail`), that are still in `handshake` or have `noaddr` are left
//!   out (the shard of such a master is an orphan until somebody takes its slots); `fail?` is one node's suspicion: such a master keeps its slots, such a replica gets no reads;
//! - per slot the highest config epoch wins, the table in use included: its owner yields to a claim with a
//!   lower epoch, or to none at all, only if it is no longer known and up, or itself says so;
//! - an unknown host is the host of the connection that answered.
//!
//! It must never resolve a name, read a clock or make a connection: those are arguments.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::clock::Time;
use crate::cluster::node_addresses::{Known, Surroundings, announced, down_nodes, known_nodes};
use crate::cluster::orphan::orphans;
use crate::cluster::slot::SLOTS;
use crate::cluster::topology::{NO_SHARD, NodeInfo, Shard, Topology};
use crate::cluster::view::{Endpoint, Member, Rejected, View};
use crate::sort;

/// The next table, and what is doubtful about it.
#[derive(Debug)]
pub struct Built {
    /// The table.
    pub topology: Topology,
    /// Owners of slots that the answer gives to nobody or to a lower epoch, and that keep them for now:
    /// asking one of these next settles the matter.
    pub doubted: Vec<SocketAddr>,
    /// Hostnames of nodes that had to be left out, as they could not be resolved.
    pub unresolved: Vec<String>,
    /// Addresses of nodes that had to be left out, as none may be there.
    pub forbidden: Vec<SocketAddr>,
}

/// Makes the next table. `previous` is the table in use; `None` accepts a stranger.
pub fn build(
    view: &View,
    previous: Option<&Topology>,
    surroundings: &Surroundings<'_>,
    asked_at: Time,
) -> Result<Built, Rejected> {
    refuse_minority(view)?;
    if let Some(previous) = previous {
        refuse_stranger(view, previous)?;
    }
    let found = known_nodes(view, previous, surroundings);
    let known = found.known;
    if known.is_empty() {
        return Err(Rejected::Unresolved);
    }
    if known.len() >= usize::from(NO_SHARD) {
        return Err(Rejected::TooMany);
    }
    let owners = owners(view, previous, &known);
    let (shards, slots) = shards(view, &known, &owners);
    if shards.is_empty() {
        return Err(Rejected::NoMaster);
    }
    let mut doubted: Vec<SocketAddr> = owners
        .iter()
        .filter(|owner| owner.doubted)
        .map(|owner| known[usize::from(owner.node)].address)
        .collect();
    sort::all(&mut doubted);
    doubted.dedup();
    let epochs = view.members.iter().map(|member| member.epoch);
    let topology = Topology {
        epoch: epochs
            .chain(shards.iter().map(|shard| shard.epoch))
            .max()
            .unwrap_or(0),
        announced: announced(view, &known),
        nodes: known
            .iter()
            .map(|node| NodeInfo {
                address: node.address,
                id: node.member.id.clone(),
                hostname: node.member.hostname.clone(),
                same_idc: (surroundings.same_idc)(node.address, &node.names()),
            })
            .collect(),
        spare: spare(&known, &shards),
        orphans: orphans(view, &known, &slots[..], |member| readable(view, member)),
        down: down_nodes(view, previous, surroundings),
        shards,
        slots,
        asked_at,
    };
    topology.check();
    Ok(Built {
        topology,
        doubted,
        unresolved: found.unresolved,
        forbidden: found.forbidden,
    })
}

/// Redis' own rule: a node that reaches fewer than a majority of the masters with slots cannot know who was
/// promoted (it answers CLUSTERDOWN itself).
fn refuse_minority(view: &View) -> Result<(), Rejected> {
    let masters = || {
        view.members
            .iter()
            .filter(|member| member.is_master && !member.slots.is_empty())
    };
    let count = masters().count();
    let reached = masters()
        .filter(|member| !member.failed && !member.suspected)
        .count();
    if count == 0 {
        Err(Rejected::NoMaster)
    } else if reached <= count / 2 {
        Err(Rejected::Minority {
            reached,
            masters: count,
        })
    } else {
        Ok(())
    }
}

/// A node that never heard of most masters in use was reset, or has joined another cluster. (If every node
/// says so, the cluster is another one, and the caller builds without a previous table.)
fn refuse_stranger(view: &View, previous: &Topology) -> Result<(), Rejected> {
    let masters = previous.shards.len();
    let known = previous
        .shards
        .iter()
        .filter(|shard| {
            let id = &previous.nodes[usize::from(shard.master)].id;
            view.member(id).is_some()
        })
        .count();
    if masters > 0 && known * 2 <= masters || is_incomplete(view, previous) {
        return Err(Rejected::Stranger { known, masters });
    }
    Ok(())
}

/// Whether a node without slots has not heard of a master in use, and names nobody else for all of its slots: it may have
/// joined just now. A node with slots that says so is believed: the master was forgotten.
fn is_incomplete(view: &View, previous: &Topology) -> bool {
    let own = view.members.iter().find(|member| member.is_myself);
    if own.is_none_or(|own| own.is_master && !own.slots.is_empty()) {
        return false;
    }
    let is_unheard_of = |shard: &Shard| {
        let id = &previous.nodes[usize::from(shard.master)].id;
        view.member(id).is_none()
    };
    let unheard_of: Vec<bool> = previous.shards.iter().map(is_unheard_of).collect();
    if !unheard_of.contains(&true) {
        return false;
    }
    let mut claimed = [false; SLOTS];
    for member in view.members.iter().filter(|member| member.is_master) {
        for &(first, last) in &member.slots {
            claimed[usize::from(first)..=usize::from(last)].fill(true);
        }
    }
    let mut slots = previous.slots.iter().zip(&claimed);
    slots.any(|(shard, claimed)| {
        !claimed
            && unheard_of
                .get(usize::from(*shard))
                .copied()
                .unwrap_or(false)
    })
}

/// Who serves a slot: an index in the list of known nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    node: u16,
    epoch: u64,
    doubted: bool,
}

impl Owner {
    const NOBODY: Owner = Owner {
        node: NO_SHARD,
        epoch: 0,
        doubted: false,
    };
}

/// The owner of every slot: the highest epoch of all claims in the answer, against the owner in use.
fn owners(view: &View, previous: Option<&Topology>, known: &[Known<'_>]) -> Vec<Owner> {
    let before: HashMap<&str, u64> = previous.map_or_else(HashMap::new, |previous| {
        let of = |shard: &Shard| {
            (
                previous.nodes[usize::from(shard.master)].id.as_str(),
                shard.epoch,
            )
        };
        previous.shards.iter().map(of).collect()
    });
    // An epoch only ever grows, so that of the table in use is one more witness.
    let epoch = |member: &Member| {
        let before = before.get(member.id.as_str()).copied().unwrap_or(0);
        if member.is_master {
            member.epoch.max(before)
        } else {
            before
        }
    };
    let mut owners = vec![Owner::NOBODY; SLOTS];
    for (index, node) in known.iter().enumerate() {
        let claim = Owner {
            node: index as u16,
            epoch: epoch(node.member),
            doubted: false,
        };
        for &(first, last) in node.member.slots.iter().filter(|_| node.member.is_master) {
            for owner in &mut owners[usize::from(first)..=usize::from(last)] {
                if owner.node == NO_SHARD || owner.epoch < claim.epoch {
                    *owner = claim;
                }
            }
        }
    }
    if let Some(previous) = previous {
        let defenders: Vec<Option<Owner>> = previous
            .shards
            .iter()
            .map(|shard| {
                defender(
                    &previous.nodes[usize::from(shard.master)].id,
                    view,
                    known,
                    epoch,
                )
            })
            .collect();
        for (owner, &shard) in owners.iter_mut().zip(previous.slots.iter()) {
            let Some(&Some(defender)) = defenders.get(usize::from(shard)) else {
                continue;
            };
            if owner.node == NO_SHARD
                || (owner.node != defender.node && owner.epoch < defender.epoch)
            {
                *owner = defender;
            }
        }
    }
    owners
}

/// An owner in use that does not yield to lower claims: it is known and up. The node that answered is the
/// one witness against itself.
fn defender(
    id: &str,
    view: &View,
    known: &[Known<'_>],
    epoch: impl Fn(&Member) -> u64,
) -> Option<Owner> {
    let member = view.member(id).filter(|member| !member.is_myself)?;
    let index = known.iter().position(|node| node.member.id == member.id)?;
    Some(Owner {
        node: index as u16,
        epoch: epoch(member),
        doubted: true,
    })
}

/// The shards in the order of their lowest slots, and the table of slots.
fn shards(view: &View, known: &[Known<'_>], owners: &[Owner]) -> (Vec<Shard>, Box<[u16; SLOTS]>) {
    let mut shards: Vec<Shard> = Vec::new();
    let mut shard_of: Vec<u16> = vec![NO_SHARD; known.len()];
    let mut slots = Box::new([NO_SHARD; SLOTS]);
    for (slot, owner) in owners.iter().enumerate() {
        let Some(shard) = shard_of.get_mut(usize::from(owner.node)) else {
            continue;
        };
        if *shard == NO_SHARD {
            *shard = shards.len() as u16;
            shards.push(Shard {
                master: owner.node,
                replicas: Vec::new(),
                epoch: owner.epoch,
            });
        }
        slots[slot] = *shard;
    }
    let masters: HashMap<&str, u16> = known
        .iter()
        .zip(&shard_of)
        .filter(|(_, shard)| **shard != NO_SHARD)
        .map(|(node, shard)| (node.member.id.as_str(), *shard))
        .collect();
    for (index, node) in known.iter().enumerate() {
        let Some(master) = node
            .member
            .master
            .as_deref()
            .filter(|_| readable(view, node.member))
        else {
            continue;
        };
        if let Some(&shard) = masters.get(master).filter(|_| shard_of[index] == NO_SHARD) {
            shards[usize::from(shard)].replicas.push(index as u16);
        }
    }
    (shards, slots)
}

/// Masters to which no slot has been given.
fn spare(known: &[Known<'_>], shards: &[Shard]) -> Vec<u16> {
    let nodes = (0..known.len() as u16).zip(known);
    nodes
        .filter(|(_, node)| node.member.is_master)
        .map(|(index, _)| index)
        .filter(|index| shards.iter().all(|shard| shard.master != *index))
        .collect()
}

/// Whether a replica may be sent reads: up, linked, and in CLUSTER SLOTS if its master is there, since
/// Redis hides replicas that never were in step.
fn readable(view: &View, member: &Member) -> bool {
    let listed = |member: &Member| member.endpoint != Endpoint::Unlisted;
    let master_listed = member
        .master
        .as_deref()
        .and_then(|master| view.member(master))
        .is_some_and(listed);
    !member.suspected && member.linked && (listed(member) || !master_listed)
}

#[cfg(test)]
mod tests;
