//! A node says that keys have changed which were read over one of the connections that track.

use crate::clock::Time;
use crate::cluster::slot::Slot;
use crate::proxy::ids::{BackendId, ClientId};
use crate::proxy::state::Proxy;
use crate::proxy::tracking::state::OwnWrite;
use crate::proxy::tracking::state::invalidation::Invalidation;
use crate::proxy::tracking::state::mode::Mode;
use crate::resp::reply::Reply;
use crate::sort;

impl Proxy {
    /// A push on a connection that tracks. Others than these are nobody's.
    pub(in crate::proxy) fn take_invalidation(
        &mut self,
        id: BackendId,
        push: Reply<'_>,
        now: Time,
    ) {
        let Some(told) = Invalidation::of(push) else {
            return;
        };
        self.stats.tracking_pushes_in.add(1);
        self.invalidated(id, &told);
        let links = self.tracking.links.iter_mut();
        let others = links.filter(|(_, link)| link.sink == Some(id));
        let mut others: Vec<BackendId> = others.map(|(other, _)| *other).collect();
        sort::by_key(&mut others, |own| (own.key(), own.generation()));
        for other in others {
            self.doubt_outstanding(other, &told, now);
            self.invalidated(other, &told);
        }
    }

    /// Replies that are outstanding on another connection than that on which this was told may be older than it.
    fn doubt_outstanding(&mut self, id: BackendId, told: &Invalidation, now: Time) {
        let backend = self.upstream.backends.get(id);
        if backend.is_none_or(|own| own.tickets.is_empty()) {
            return;
        }
        if let Some(link) = self.tracking.links.get_mut(&id) {
            match told {
                Invalidation::Keys(keys) => keys.iter().for_each(|key| link.doubts.add(key, now)),
                Invalidation::All | Invalidation::Broken(_) => link.doubts.add_all(now),
            }
        }
    }

    /// What was read over this connection before now, and what it says has changed, is old. Whoever keeps what was read
    /// there is told of it here, in the order of the node's replies.
    fn invalidated(&mut self, id: BackendId, told: &Invalidation) {
        match told {
            Invalidation::Keys(keys) => keys.iter().for_each(|key| self.key_changed(id, key)),
            Invalidation::All | Invalidation::Broken(_) => self.all_changed(id),
        }
    }

    /// One key has changed.
    fn key_changed(&mut self, id: BackendId, key: &[u8]) {
        let Some(link) = self.tracking.links.get_mut(&id) else {
            return;
        };
        let before = link.table.len();
        let Some(readers) = link.table.take(Slot::of(key).number(), key) else {
            return;
        };
        let own = link.own_write.take();
        let less = before - link.table.len();
        self.stats.tracking_keys.sub(less as u64);
        self.tell_readers(key, &readers, own.as_ref());
        // Each key of the write is told by a push of its own.
        if let Some(link) = self.tracking.links.get_mut(&id) {
            link.own_write = own;
        }
    }

    /// All keys of the node are gone, and those of its connection. Whoever tracks is told, as on one server.
    fn all_changed(&mut self, id: BackendId) {
        if let Some(link) = self.tracking.links.get_mut(&id) {
            self.stats.tracking_keys.sub(link.table.len() as u64);
            let table = std::mem::take(&mut link.table);
            self.tracking.dropped.push(table);
        }
        self.tell_trackers_all();
    }

    /// Whoever tracks is told that everything may have changed, unless it knows.
    pub(super) fn tell_trackers_all(&mut self) {
        let all = self.clients.iter();
        let knows = |mode: &Mode| mode.forgot_all || mode.is_broadcast();
        let all = all.filter(|(_, own)| own.session.tracking().is_some_and(|own| !knows(own)));
        let all: Vec<ClientId> = all.map(|(id, _)| id).collect();
        for id in all {
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            let until = client.pipeline.behind_replies();
            if let Some(mode) = client.session.tracking_mut() {
                mode.forgot_all = true;
            }
            self.tell_client(id, until, Invalidation::All);
        }
    }

    /// Whether a client is not to hear of a key because it has changed it itself.
    pub(super) fn is_own_loop(&self, id: ClientId, own: &OwnWrite, key: &[u8]) -> bool {
        let client = self.clients.get(id).filter(|_| own.by == id);
        let mode = client.and_then(|client| client.session.tracking());
        mode.is_some_and(|mode| mode.noloop) && own.keys.iter().any(|other| **other == *key)
    }
}
