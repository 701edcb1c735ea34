//! What was read before is not known any more: a connection that tracks is lost, or a slot has another master. The clients
//! concerned are told so.

use std::collections::BTreeMap;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::ids::{BackendId, ClientId, NodeKey, Seq};
use crate::proxy::state::Proxy;
use crate::proxy::tracking::reads::behind;
use crate::proxy::tracking::state::invalidation::Invalidation;
use crate::proxy::tracking::state::table::{Keys, Table};

/// Who is to be told of more keys at once is told that everything may have changed.
const KEYS_MAX: usize = 256;

/// What one client is to be told.
struct Unknown {
    /// The last of its requests that have read any of the keys.
    seq: Seq,
    /// How many keys there are.
    count: usize,
    /// The first of them.
    keys: Vec<Box<[u8]>>,
}

impl Proxy {
    /// A connection has gone. If keys were tracked there, the node will not say that they change.
    pub(in crate::proxy) fn tracking_lost(&mut self, id: BackendId, now: Time) {
        self.feed_lost(id, now);
        self.sink_lost(id);
        let Some(link) = self.tracking.links.remove(&id) else {
            return;
        };
        let mut table = link.table;
        let slots: Vec<u16> = table.slots().collect();
        let keys = slots.into_iter().map(|slot| table.take_slot(slot));
        self.keys_unknown(keys.collect());
    }

    /// A connection has gone on which the node told of keys that were read on others: nobody tells of them any more.
    fn sink_lost(&mut self, sink: BackendId) {
        let mut slots = Vec::new();
        for (id, backend) in self.upstream.backends.iter_mut() {
            if backend.redirect.is_none_or(|(own, _)| own != sink) {
                continue;
            }
            backend.is_untracked = true;
            if let Some(link) = self.tracking.links.get_mut(&id) {
                let own: Vec<u16> = link.table.slots().collect();
                slots.extend(own.into_iter().map(|slot| link.table.take_slot(slot)));
            }
        }
        if !slots.is_empty() {
            self.keys_unknown(slots);
        }
    }

    /// The routes may have changed: what was read of slots that have moved is not known any more. A node does not tell of
    /// keys that come into being elsewhere.
    pub(super) fn forget_moved_slots(&mut self) {
        let routes = &self.upstream.routes;
        self.tracking.routes_version = routes.version();
        let stays = |slot: u16, node: NodeKey| {
            let shard = Slot::new(slot).and_then(|slot| routes.shard(slot));
            shard.is_some_and(|shard| shard.master == node)
        };
        let mut moved = Vec::new();
        for link in self.tracking.links.values_mut() {
            let slots: Vec<u16> = link.table.slots().collect();
            let gone = slots.into_iter().filter(|slot| !stays(*slot, link.node));
            let table: &mut Table = &mut link.table;
            moved.extend(gone.map(|slot| table.take_slot(slot)));
        }
        self.keys_unknown(moved);
    }

    /// Tells the readers of all these keys.
    fn keys_unknown(&mut self, slots: Vec<Keys>) {
        let mut of_clients: BTreeMap<ClientId, Unknown> = BTreeMap::new();
        let mut count = 0;
        for (key, readers) in slots.into_iter().flatten() {
            count += 1;
            for reader in readers {
                let own = of_clients.entry(reader.client).or_insert(Unknown {
                    seq: reader.seq,
                    count: 0,
                    keys: Vec::new(),
                });
                if own.seq.before(reader.seq) {
                    own.seq = reader.seq;
                }
                own.count += 1;
                if own.count <= KEYS_MAX {
                    own.keys.push(key.clone());
                }
            }
        }
        self.stats.tracking_keys.sub(count);
        for (client, own) in of_clients {
            let told = match own.count > KEYS_MAX {
                true => Invalidation::All,
                false => Invalidation::Keys(own.keys),
            };
            self.tell_client(client, behind(own.seq), told);
        }
    }
}
