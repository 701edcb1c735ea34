//! Orphans: shards whose master cannot be asked. They are found while a topology is built from a view.
//!
//! The master of an orphan is marked as failed by most masters with nobody promoted yet, or its host name cannot be
//! resolved. Its slots are not served, but its replicas may still answer reads, and a command about all keys must not
//! skip it as if it had none. Slots that no node lists (never assigned, or their master was forgotten) belong to no
//! orphan.

use crate::cluster::node_addresses::Known;
use crate::cluster::topology::{NO_SHARD, Orphan};
use crate::cluster::view::{Member, View};
use crate::sort;

/// The orphans of a view, by their lowest slots. `slots` is the table that was made of it: slot to shard.
pub(super) fn orphans(
    view: &View,
    known: &[Known<'_>],
    slots: &[u16],
    readable: impl Fn(&Member) -> bool,
) -> Vec<Orphan> {
    let mut orphans = Vec::new();
    for member in view.members.iter().filter(|member| member.is_master) {
        if known.iter().any(|node| node.member.id == member.id) {
            continue;
        }
        let own = free_ranges(&member.slots, slots);
        if own.is_empty() {
            continue;
        }
        let nodes = (0u16..).zip(known);
        let replicas = nodes.filter(|(_, node)| {
            node.member.master.as_ref() == Some(&member.id) && readable(node.member)
        });
        orphans.push(Orphan {
            id: member.id.clone(),
            slots: own,
            replicas: replicas.map(|(index, _)| index).collect(),
        });
    }
    sort::by_key(&mut orphans, |orphan: &Orphan| orphan.slots[0]);
    orphans
}

/// What of these ranges has no shard.
fn free_ranges(ranges: &[(u16, u16)], slots: &[u16]) -> Vec<(u16, u16)> {
    let mut sorted = ranges.to_vec();
    sort::all(&mut sorted);
    let free = sorted
        .iter()
        .flat_map(|(first, last)| *first..=*last)
        .filter(|slot| slots[usize::from(*slot)] == NO_SHARD);
    let mut found: Vec<(u16, u16)> = Vec::new();
    for slot in free {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == slot => *last = slot,
            _ => found.push((slot, slot)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::slot::SLOTS;

    #[test]
    fn what_others_have_taken_over_is_no_orphans() {
        let mut slots = vec![NO_SHARD; SLOTS];
        slots[100] = 2;
        slots[200..=300].fill(0);
        let check = |ranges: &[(u16, u16)], expected: &[(u16, u16)]| {
            assert_eq!(free_ranges(ranges, &slots), expected, "{ranges:?}");
        };
        check(&[(0, 10)], &[(0, 10)]);
        check(&[(90, 110)], &[(90, 99), (101, 110)]);
        check(&[(250, 400), (0, 5)], &[(0, 5), (301, 400)]);
        check(&[(200, 300)], &[]);
        check(&[], &[]);
    }
}
