//! `Lineage`: which shard is which, whoever is its master and whichever slots it has. A request for a whole shard names the
//! shard, and goes to whoever is its master by then.
//!
//! A cluster has no names for shards that all versions tell of, so they get numbers here. A shard is the same as long as
//! its master is, or until one of its replicas is a master and has most of its slots: that one was promoted, and a topology
//! that lists the old master beside it, with a slot that was on its way, is about to forget it. When the master serves no slot any more, the shard is *lost* until another master has most of its slots:
//! one that was none before was promoted in its place, or was given all it had, and is the shard now; at one that was a
//! shard already the slots have been moved there, and the lost shard is no more; the other is its *heir*. (So is a replica
//! that was given a slot before the topology told that it was promoted.)
//!
//! Only topologies count here: a redirect speaks of one slot, and does not tell the one from the other.

use std::collections::VecDeque;

use crate::cluster::topology::NO_SHARD;
use crate::proxy::ids::NodeKey;
use crate::sort;

/// The number of a shard, below [`ShardId::COUNT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// How many numbers there are; they begin again behind the last.
    pub const COUNT: u16 = 1 << 14;
}

/// So many lost shards are remembered. A cluster has them for as long as an election takes, or an operator.
const LOST_MAX: usize = 256;
/// So many shards that are no more are remembered with their heirs, for as long as requests ask for them.
const HEIRS_MAX: usize = 256;

/// A shard whose last master serves no slot any more.
#[derive(Debug)]
struct Lost {
    id: ShardId,
    /// The slots that it had, in order.
    slots: Vec<u16>,
}

/// One state of the cluster: the master of each shard, and the shard of each slot, or [`NO_SHARD`].
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// The master of each shard.
    pub masters: &'a [NodeKey],
    /// The shard of each slot.
    pub slots: &'a [u16],
}

impl State<'_> {
    /// The slots of a shard, in order.
    fn slots_of(&self, shard: usize) -> Vec<u16> {
        let slots = (0u16..).zip(self.slots);
        let slots = slots.filter(|(_, owner)| usize::from(**owner) == shard);
        slots.map(|(slot, _)| slot).collect()
    }
}

/// The numbers of all shards.
#[derive(Debug, Default)]
pub struct Lineage {
    /// Of each shard of the topology, in its order.
    shards: Vec<ShardId>,
    /// Of those that have no master, as the topology tells, in its order. One whose slots another serves is none.
    orphans: Vec<Option<ShardId>>,
    lost: Vec<Lost>,
    /// Shards that are no more, each with its heir, the oldest first.
    heirs: VecDeque<(ShardId, ShardId)>,
    last: u16,
}

impl Lineage {
    /// The shards of the topology, in its order.
    pub fn shards(&self) -> &[ShardId] {
        &self.shards
    }

    /// The shards without masters of which the topology tells.
    pub fn orphans(&self) -> &[Option<ShardId>] {
        &self.orphans
    }

    /// Whether a shard has no master yet, but may get one.
    pub fn is_lost(&self, id: ShardId) -> bool {
        self.lost.iter().any(|lost| lost.id == id)
    }

    /// Who has most of the slots of a shard that is no more, as far as that is known.
    pub fn heir(&self, id: ShardId) -> Option<ShardId> {
        let mut heir = None;
        // An heir that is no more has an heir of its own, which came later.
        for (gone, own) in &self.heirs {
            if *gone == heir.unwrap_or(id) {
                heir = Some(*own);
            }
        }
        heir
    }

    /// A topology takes the place of another. `replicas` are those that each shard had before; `orphans` are the slots of each shard without a master, as ranges.
    pub fn renew<'a>(
        &mut self,
        before: State<'_>,
        replicas: &[Vec<NodeKey>],
        now: State<'_>,
        orphans: impl Iterator<Item = &'a [(u16, u16)]>,
    ) {
        debug_assert_eq!(before.masters.len(), self.shards.len());
        let same = |master: &NodeKey| {
            let shard = before.masters.iter().position(|other| other == master);
            shard.and_then(|shard| self.shards.get(shard).copied())
        };
        let mut ids: Vec<Option<ShardId>> = now.masters.iter().map(same).collect();
        for (shard, (master, id)) in before.masters.iter().zip(&self.shards).enumerate() {
            let listed = now.masters.iter().position(|own| own == master);
            let replicas = replicas.get(shard).map_or(&[][..], Vec::as_slice);
            let promoted =
                |place: &usize| ids[*place].is_none() && replicas.contains(&now.masters[*place]);
            match listed {
                None => {
                    let slots = before.slots_of(shard);
                    self.lost.push(Lost { id: *id, slots });
                }
                Some(old) if (0..ids.len()).any(|place| promoted(&place)) => {
                    let slots = before.slots_of(shard);
                    let most = Lost { id: *id, slots }.heir(now);
                    if let Heir::Shard(new) = most
                        && promoted(&new)
                    {
                        (ids[old], ids[new]) = (None, Some(*id));
                    }
                }
                Some(_) => {}
            }
        }
        let mut heirs = Vec::new();
        self.lost.retain(|lost| match lost.heir(now) {
            Heir::Nobody => true,
            Heir::None => false,
            Heir::Shard(shard) => {
                let heir = *ids[shard].get_or_insert(lost.id);
                if heir != lost.id {
                    heirs.push((lost.id, heir));
                }
                false
            }
        });
        let excess = self.lost.len().saturating_sub(LOST_MAX);
        self.lost.drain(..excess);
        self.heirs.extend(heirs);
        let excess = self.heirs.len().saturating_sub(HEIRS_MAX);
        self.heirs.drain(..excess);
        self.shards.clear();
        // Numbers that are in use are not given again.
        let taken: Vec<ShardId> = ids.iter().copied().flatten().collect();
        for id in ids {
            let id = id.unwrap_or_else(|| self.next(&taken));
            self.shards.push(id);
        }
        let orphans = orphans.map(|ranges| {
            let slots = ranges.iter().flat_map(|(first, last)| *first..=*last);
            let mut slots: Vec<u16> = slots
                .filter(|slot| now.slots[usize::from(*slot)] == NO_SHARD)
                .collect();
            slots.sort_unstable();
            slots
        });
        self.name_orphans(orphans.collect(), &taken);
    }

    /// An orphan is the lost shard with which it shares most slots, as heirs are: a few may have been moved before its
    /// master was gone, or to it. One that shares none is new.
    fn name_orphans(&mut self, orphans: Vec<Vec<u16>>, taken: &[ShardId]) {
        let mut kin: Vec<(usize, usize, ShardId)> = Vec::new();
        for (orphan, slots) in orphans.iter().enumerate() {
            let shared = |lost: &Lost| {
                let has = |slot: &&u16| slots.binary_search(slot).is_ok();
                (lost.slots.iter().filter(has).count(), orphan, lost.id)
            };
            kin.extend(self.lost.iter().map(shared));
        }
        kin.retain(|(shared, ..)| *shared > 0);
        sort::by_key(&mut kin, |(shared, ..)| std::cmp::Reverse(*shared));
        self.orphans = vec![None; orphans.len()];
        for (_, orphan, id) in kin {
            if self.orphans[orphan].is_none() && !self.orphans.contains(&Some(id)) {
                self.orphans[orphan] = Some(id);
            }
        }
        for (orphan, slots) in orphans.into_iter().enumerate() {
            if slots.is_empty() {
                continue;
            }
            match self.orphans[orphan] {
                // Its heir has most of those that it has now.
                Some(id) => {
                    if let Some(own) = self.lost.iter_mut().find(|lost| lost.id == id) {
                        own.slots = slots;
                    }
                }
                None => {
                    let id = self.next(taken);
                    self.orphans[orphan] = Some(id);
                    self.lost.push(Lost { id, slots });
                }
            }
        }
    }

    /// A number that no shard has.
    fn next(&mut self, taken: &[ShardId]) -> ShardId {
        loop {
            self.last = (self.last + 1) % ShardId::COUNT;
            let id = ShardId(self.last);
            let remembered = self
                .heirs
                .iter()
                .any(|(gone, heir)| [*gone, *heir].contains(&id));
            if !taken.contains(&id)
                && !self.shards.contains(&id)
                && !self.is_lost(id)
                && !remembered
            {
                return id;
            }
        }
    }
}

/// Who has most of a lost shard's slots.
enum Heir {
    /// This shard.
    Shard(usize),
    /// Nobody has them yet.
    Nobody,
    /// It had no slots.
    None,
}

impl Lost {
    fn heir(&self, now: State<'_>) -> Heir {
        if self.slots.is_empty() {
            return Heir::None;
        }
        // Behind the shards, the slots that are nobody's.
        let mut counts = vec![0; now.masters.len() + 1];
        for slot in &self.slots {
            let shard = usize::from(now.slots[usize::from(*slot)]);
            counts[shard.min(now.masters.len())] += 1;
        }
        let most = (0..counts.len()).max_by_key(|shard| counts[*shard]);
        match most {
            Some(shard) if shard < now.masters.len() => Heir::Shard(shard),
            Some(_) | None => Heir::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeKey = NodeKey(1);
    const B: NodeKey = NodeKey(2);
    const C: NodeKey = NodeKey(3);

    /// Ten slots, with these owners among the masters; `x` is nobody.
    fn slots(text: &str) -> Vec<u16> {
        let digit = |digit: char| digit.to_digit(10).map_or(NO_SHARD, |digit| digit as u16);
        text.chars().map(digit).collect()
    }

    /// States of a cluster, one behind the other.
    struct Rig {
        lineage: Lineage,
        masters: Vec<NodeKey>,
        replicas: Vec<Vec<NodeKey>>,
        slots: Vec<u16>,
    }

    impl Rig {
        /// A has the first half, B the second.
        fn new() -> Rig {
            let mut rig = Rig {
                lineage: Lineage::default(),
                masters: Vec::new(),
                replicas: Vec::new(),
                slots: slots("xxxxxxxxxx"),
            };
            rig.adopt(&[A, B], "0000011111", &[]);
            rig
        }

        fn adopt(&mut self, masters: &[NodeKey], owners: &str, orphans: &[&[(u16, u16)]]) {
            let new = slots(owners);
            let before = State {
                masters: &self.masters,
                slots: &self.slots,
            };
            let now = State {
                masters,
                slots: &new,
            };
            self.lineage
                .renew(before, &self.replicas, now, orphans.iter().copied());
            (self.masters, self.slots) = (masters.to_vec(), new);
        }

        /// The master of a shard; nothing if it is lost.
        fn master(&self, id: ShardId) -> Option<NodeKey> {
            let shards = self.lineage.shards();
            let shard = shards.iter().position(|own| *own == id);
            assert!(shard.is_none() || !self.lineage.is_lost(id));
            shard.map(|shard| self.masters[shard])
        }
    }

    #[test]
    fn who_is_promoted_is_the_shard_and_who_is_given_slots_is_not() {
        let check = |after: (&[NodeKey], &str), master: Option<NodeKey>, lost: bool| {
            let mut rig = Rig::new();
            let [first, second] = rig.lineage.shards()[..] else {
                panic!("two shards");
            };
            rig.adopt(after.0, after.1, &[]);
            assert_eq!(rig.master(first), master, "{after:?}");
            assert_eq!(rig.lineage.is_lost(first), lost, "{after:?}");
            assert_eq!(rig.master(second), Some(B));
        };
        check((&[A, B], "0000001111"), Some(A), false);
        check((&[C, B], "0000011111"), Some(C), false);
        // Its first slots have been moved meanwhile.
        check((&[C, B], "1100011111"), Some(C), false);
        check((&[B], "xxxxx00000"), None, true);
        check((&[B], "0000000000"), None, false);
    }

    #[test]
    fn a_promoted_replica_is_the_shard_also_while_its_old_master_is_listed() {
        let mut rig = Rig::new();
        let first = rig.lineage.shards()[0];
        rig.replicas = vec![vec![C], Vec::new()];
        // The first slot was on its way to A when C was promoted.
        rig.adopt(&[A, C, B], "0111122222", &[]);
        assert_eq!(rig.master(first), Some(C));
        let old = rig.lineage.shards()[0];
        assert_ne!(old, first);
        rig.replicas = Vec::new();
        rig.adopt(&[C, B], "1000011111", &[]);
        assert_eq!(rig.master(first), Some(C));
        assert_eq!(rig.lineage.heir(first), None);
        assert_eq!(rig.lineage.heir(old), Some(rig.lineage.shards()[1]));
        // Who was no replica has been given the slots.
        let mut rig = Rig::new();
        let first = rig.lineage.shards()[0];
        rig.adopt(&[A, C, B], "0111122222", &[]);
        assert_eq!(rig.master(first), Some(A));
    }

    #[test]
    fn a_shard_whose_replica_was_given_a_slot_before_it_was_promoted_has_an_heir() {
        let mut rig = Rig::new();
        let [first, second] = rig.lineage.shards()[..] else {
            panic!("two shards");
        };
        rig.adopt(&[A, B, C], "2000011111", &[]);
        let third = rig.lineage.shards()[2];
        assert_eq!(rig.lineage.heir(first), None);
        rig.adopt(&[B, C], "1111100000", &[]);
        assert_eq!(rig.master(third), Some(C));
        assert_eq!(rig.lineage.heir(first), Some(third));
        // Its heir is no more, either.
        rig.adopt(&[B], "0000000000", &[]);
        assert_eq!(rig.lineage.heir(first), Some(second));
        assert_eq!(rig.lineage.heir(third), Some(second));
        assert_eq!(rig.lineage.heir(second), None);
    }

    #[test]
    fn a_shard_is_lost_until_somebody_has_most_of_its_slots() {
        let mut rig = Rig::new();
        let first = rig.lineage.shards()[0];
        rig.adopt(&[B], "xxxxx00000", &[&[(0, 4)]]);
        assert_eq!(rig.lineage.orphans(), [Some(first)]);
        rig.adopt(&[B], "0xxxx00000", &[&[(1, 4)]]);
        assert_eq!(rig.lineage.orphans(), [Some(first)]);
        rig.adopt(&[B, C], "0111100000", &[]);
        assert_eq!(rig.master(first), Some(C));
        assert!(rig.lineage.orphans().is_empty());
        // The first is promoted in its turn, and forgotten nodes change nothing.
        rig.adopt(&[B], "0xxxx00000", &[&[(1, 4)]]);
        rig.adopt(&[B, A], "0111100000", &[]);
        assert_eq!(rig.master(first), Some(A));
    }

    /// The first slots that an orphan has now were another's, or nobody's, when the shard was lost.
    #[test]
    fn an_orphan_is_the_same_when_slots_are_moved() {
        let mut rig = Rig::new();
        let [first, second] = rig.lineage.shards()[..] else {
            panic!("two shards");
        };
        // The second is lost; then a slot of the first is found to have been its.
        rig.adopt(&[A], "00000xxxxx", &[&[(5, 9)]]);
        rig.adopt(&[A], "0000xxxxxx", &[&[(4, 9)]]);
        assert_eq!(rig.lineage.orphans(), [Some(second)]);
        // The first is lost, too: the slot that they share is nobody's name.
        rig.adopt(&[], "xxxxxxxxxx", &[&[(3, 9)], &[(0, 2)]]);
        assert_eq!(rig.lineage.orphans(), [Some(second), Some(first)]);
        rig.adopt(&[C], "xxx0000000", &[&[(0, 2)]]);
        assert_eq!(rig.master(second), Some(C));
        assert_eq!(rig.lineage.orphans(), [Some(first)]);
    }

    #[test]
    fn orphans_of_the_first_topology_are_shards_too() {
        let mut rig = Rig::new();
        rig.lineage = Lineage::default();
        rig.masters.clear();
        rig.adopt(&[B], "xxxxx00000", &[&[(0, 4)]]);
        let [Some(orphan)] = rig.lineage.orphans()[..] else {
            panic!("one orphan");
        };
        assert!(rig.lineage.is_lost(orphan));
        // The same in the next: it is still the same.
        rig.adopt(&[B], "xxxxx00000", &[&[(0, 4)]]);
        assert_eq!(rig.lineage.orphans(), [Some(orphan)]);
        rig.adopt(&[B, A], "1111100000", &[]);
        assert_eq!(rig.master(orphan), Some(A));
    }
}
