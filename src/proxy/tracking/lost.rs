//! What was read before is not known any more: a connection that tracks is lost, or a slot has another master. The clients
//! concerned are told so.

use std::collections::BTreeMap;

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::ids::{BackendId, ClientId, NodeKey, Seq};
use crate::proxy::state::Proxy;
use crate::proxy::tracking::reads::behind;
use crate::proxy::tracking::state::invalidation::Invalidation;
use crate::proxy::tracking::state::table::{Reader, Reads, Table};

/// Who is to be told of more keys at once is told that everything may have changed.
const KEYS_MAX: usize = 256;

/// Readers of keys that are told apart; if there are more, whoever tracks is told that everything may have changed.
pub(super) const READERS_MAX: usize = 16 * 1024;

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
        self.keys_unknown(link.table);
    }

    /// A connection has gone on which the node told of keys that were read on others: nobody tells of them any more.
    fn sink_lost(&mut self, sink: BackendId) {
        let mut tables = Vec::new();
        for (id, backend) in self.upstream.backends.iter_mut() {
            if backend.redirect.is_none_or(|(own, _)| own != sink) {
                continue;
            }
            backend.is_untracked = true;
            if let Some(link) = self.tracking.links.get_mut(&id) {
                tables.push(std::mem::take(&mut link.table));
            }
        }
        tables.into_iter().for_each(|own| self.keys_unknown(own));
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
        let mut tables = Vec::new();
        for link in self.tracking.links.values_mut() {
            let slots: Vec<u16> = link.table.slots().collect();
            let gone = slots.into_iter().filter(|slot| !stays(*slot, link.node));
            let mut moved = Table::default();
            gone.for_each(|slot| moved.put(slot, link.table.take_slot(slot)));
            tables.push(moved);
        }
        tables.into_iter().for_each(|own| self.keys_unknown(own));
    }

    /// Tells the readers of all these keys.
    fn keys_unknown(&mut self, mut table: Table) {
        let mut of_clients: BTreeMap<ClientId, Unknown> = BTreeMap::new();
        self.stats.tracking_keys.sub(table.len() as u64);
        let mut looked_at = 0;
        while let Some((slot, Reads { mut keys, of_many })) = table.take_first() {
            for reader in &of_many {
                let own = of_clients
                    .entry(reader.client)
                    .or_insert(Unknown::new(reader));
                own.add(reader, None);
            }
            looked_at += of_many.len();
            while looked_at <= READERS_MAX
                && let Some((key, readers)) = keys.pop_first()
            {
                for reader in &readers {
                    let own = of_clients
                        .entry(reader.client)
                        .or_insert(Unknown::new(reader));
                    own.add(reader, Some(&key));
                }
                looked_at += readers.len();
            }
            if looked_at > READERS_MAX {
                table.put(slot, Reads { keys, of_many });
                self.tracking.dropped.push(table);
                return self.tell_trackers_all();
            }
        }
        for (client, own) in of_clients {
            let told = match own.count > KEYS_MAX {
                true => Invalidation::All,
                false => Invalidation::Keys(own.keys),
            };
            self.tell_client(client, behind(own.seq), told);
        }
    }
}

impl Unknown {
    fn new(reader: &Reader) -> Unknown {
        Unknown {
            seq: reader.seq,
            count: 0,
            keys: Vec::new(),
        }
    }

    /// Also this key; without one, it may be any.
    fn add(&mut self, reader: &Reader, key: Option<&[u8]>) {
        if self.seq.before(reader.seq) {
            self.seq = reader.seq;
        }
        self.count = self.count.saturating_add(key.map_or(usize::MAX, |_| 1));
        if let Some(key) = key.filter(|_| self.count <= KEYS_MAX) {
            self.keys.push(key.into());
        }
    }
}
