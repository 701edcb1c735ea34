//! Which node a request goes to: the master of its slot or, by `-read-prefer`, one of the replicas.

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::config::ReadPreference;
use crate::proxy::ids::NodeKey;
use crate::proxy::upstream::routes::ShardId;
use crate::proxy::upstream::{Target, Upstream};

impl Upstream {
    /// The node that a request for `slot` goes to. A read may go to a replica, and to the master when it
    /// has been tried before or no replica is up. Where no master serves the slot, its replicas are all there is.
    #[inline]
    pub fn target(
        &self,
        slot: Slot,
        read: bool,
        preference: ReadPreference,
        affinity: usize,
        now: Time,
    ) -> Option<Target> {
        let reads_replicas = read && preference != ReadPreference::Master;
        let Some(shard) = self.routes.shard(slot) else {
            return self
                .orphaned(slot, preference, affinity, now)
                .filter(|_| reads_replicas);
        };
        if reads_replicas {
            if let Some(node) = self.replica(&shard.replicas, preference, affinity, now) {
                return Some(Target {
                    node,
                    replica: true,
                });
            }
            self.fallbacks.add(1);
        }
        Some(Target {
            node: shard.master,
            replica: false,
        })
    }

    /// The node that a request goes to which speaks for a whole shard: its master. One that reads goes on at the
    /// replicas, if replicas are read at all, where no master can be asked.
    pub fn shard_target(
        &self,
        id: ShardId,
        read: bool,
        preference: ReadPreference,
        affinity: usize,
        now: Time,
    ) -> Option<Target> {
        let master = self.shard_master(id);
        let reads_replicas = read && preference != ReadPreference::Master;
        if !reads_replicas || master.is_some_and(|master| !self.is_out_of_reach(master, now)) {
            return master;
        }
        let replicas = self.routes.replicas_of_shard(id);
        self.rather_far_than_none(replicas, preference, affinity, now)
            .or(master)
    }

    /// A replica of a slot that no master serves.
    #[cold]
    fn orphaned(
        &self,
        slot: Slot,
        preference: ReadPreference,
        affinity: usize,
        now: Time,
    ) -> Option<Target> {
        let replicas = self.routes.orphaned_replicas(slot);
        self.rather_far_than_none(replicas, preference, affinity, now)
    }

    /// One of the replicas: a near one if that is preferred, but rather a far one than none.
    fn rather_far_than_none(
        &self,
        replicas: &[NodeKey],
        preference: ReadPreference,
        affinity: usize,
        now: Time,
    ) -> Option<Target> {
        let node = self
            .replica(replicas, preference, affinity, now)
            .or_else(|| self.replica(replicas, ReadPreference::Replica, affinity, now))?;
        Some(Target {
            node,
            replica: true,
        })
    }

    /// One of the replicas that suit and are not known to be down; the same for one client while nothing
    /// changes.
    fn replica(
        &self,
        replicas: &[NodeKey],
        preference: ReadPreference,
        affinity: usize,
        now: Time,
    ) -> Option<NodeKey> {
        (0..replicas.len())
            .map(|offset| replicas[(affinity + offset) % replicas.len()])
            .find(|key| {
                self.node(*key).is_some_and(|node| {
                    let near = preference == ReadPreference::Replica || node.same_idc;
                    let up = !node.is_failing() || node.may_connect(now);
                    near && up
                })
            })
    }

    /// Whether a node is known to be down and not to be tried yet.
    pub fn is_out_of_reach(&self, target: Target, now: Time) -> bool {
        self.node(target.node)
            .is_none_or(|node| node.is_failing() && !node.may_connect(now))
    }
}
