//! Tracking connections begin, are probed, and end.
//!
//! One is begun when a key of its node is worth a fill, and carries nothing but what the cache asks. So the node may report
//! all keys, or track all that is read on it: with OPTIN each fill would be a command more. `CLIENT TRACKING` is no part
//! of the handshake: a node that refuses it is served without a cache, and nothing is held against it.

use crate::clock::Time;
use crate::cluster::slot::{SLOTS, Slot};
use crate::proxy::ids::{BackendId, NO_SLOT, NodeKey};
use crate::proxy::near_cache::broadcast::CHANNEL;
use crate::proxy::near_cache::state::flight::{Flight, NearStep, PATIENCE};
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::{Flavor, Origin, Ticket, Usage};
use crate::proxy::upstream::lost::Lost;
use crate::resp::encode;
use crate::sort;

impl Proxy {
    /// The tracking connection to a node, if it is ready; else one is begun, if it may be.
    pub(super) fn tracking_connection(&mut self, node: NodeKey, now: Time) -> Option<BackendId> {
        let link = self.near.as_deref_mut()?.link_mut(node);
        if link.backend.is_some() {
            return link.backend.filter(|_| link.is_ready);
        }
        if now < link.retry_at {
            return None;
        }
        let (config, actions) = (&self.config, &mut self.actions);
        let upstream = &mut self.upstream;
        let backend = upstream.open(node, Flavor::OWN, Usage::Shared, config, actions, now)?;
        upstream.node_mut(node)?.near = Some(backend);
        let near = self.near.as_deref_mut()?;
        let epoch = near.new_epoch();
        let link = near.link_mut(node);
        link.backend = Some(backend);
        link.epoch = epoch;
        link.confirmed_at = Time::default();
        let asked = near.begin_tracking(node, now);
        let mut question = Vec::new();
        if !asked.is_empty() {
            encode::command(&mut question, [&b"SUBSCRIBE"[..], CHANNEL]);
            self.send_near(backend, NearStep::Subscribe, &question, now);
            question.clear();
        }
        let words = [&b"CLIENT"[..], b"TRACKING", b"ON"].into_iter();
        let words: Vec<&[u8]> = words.chain(asked.iter().map(|word| &**word)).collect();
        encode::command(&mut question, words.iter().copied());
        self.send_near(backend, NearStep::Setup, &question, now);
        None
    }

    /// Sends a request of the cache's own.
    pub(super) fn send_near(&mut self, id: BackendId, step: NearStep, frame: &[u8], now: Time) {
        let command = match step {
            NearStep::Subscribe => b"subscribe" as &[u8],
            NearStep::Setup => b"client|tracking",
            NearStep::Read(_) => b"get",
            NearStep::Ttl(_) => b"pttl",
            NearStep::Probe => b"exists",
        };
        let command = self.table.named(command).map_or(u16::MAX, |row| row.id);
        let ticket = Ticket {
            readonly: true,
            ..Ticket::here(Origin::Near(step), NO_SLOT, command, frame.len(), now)
        };
        if let (Some(near), Some(backend)) =
            (self.near.as_deref_mut(), self.upstream.backends.get(id))
        {
            near.link_mut(backend.node).asked_at = now;
        }
        let (pool, actions) = (&mut self.pool, &mut self.actions);
        self.upstream.send(id, frame, ticket, pool, actions);
        self.stats.backend_requests.add(1);
    }

    /// Time may have passed that the clock does not know. Before anything is served behind it, this has to be known.
    #[cold]
    pub fn note_standstills(&mut self, now: Time) {
        let still = self.process.standstills.total();
        if let Some(near) = self.near.as_deref_mut() {
            near.stood_still(still, now);
        }
    }

    /// Time passes: connections are probed, and nobody waits too long for a flight.
    #[inline(never)]
    pub(in crate::proxy) fn tick_near(&mut self, now: Time) {
        self.prune_accesses();
        self.note_standstills(now);
        let Some(near) = self.near.as_deref_mut() else {
            return;
        };
        near.tick(now);
        self.stats.near_bytes.set(near.store.bytes() as u64);
        self.stats.near_keys.set(near.store.keys() as u64);
        if std::mem::take(&mut near.any_refused) {
            return self.close_refused(now);
        }
        self.weigh_broadcasts(now);
        let Some(near) = self.near.as_deref() else {
            return;
        };
        if near.deadline().is_none_or(|due| now < due) {
            return;
        }
        let staleness = near.staleness();
        for node in near.nodes() {
            let Some(near) = self.near.as_deref() else {
                return;
            };
            let Some(link) = near.link(node) else {
                continue;
            };
            let due = link.probe_at(staleness).is_some_and(|at| now >= at);
            if let Some(backend) = link.backend.filter(|_| due) {
                let mut question = Vec::new();
                encode::command(&mut question, [&b"EXISTS"[..], &link.probe_key]);
                self.send_near(backend, NearStep::Probe, &question, now);
            }
        }
        let late = |sent_at: Time| now >= sent_at.after(PATIENCE);
        let own = |flight: &Flight| !flight.waiters.is_empty() && late(flight.sent_at);
        self.give_up_flights(own, false, now);
        if let Some(near) = self.near.as_deref_mut() {
            near.flights.looked();
        }
    }

    /// Closes the connections on which nodes will not track. Another is tried much later.
    fn close_refused(&mut self, now: Time) {
        let near = self.near.iter();
        let refused = near.flat_map(|near| {
            let links = near.nodes().filter_map(|node| near.link(node));
            let refused = links.filter(|link| link.is_refused);
            refused.filter_map(|link| link.backend)
        });
        for id in refused.collect::<Vec<_>>() {
            log::warn!("a node refuses CLIENT TRACKING: its keys are not kept (-near-cache)");
            self.lose_backend(id, Lost::Retired, now);
        }
    }

    /// The routes have changed: of all slots.
    pub(in crate::proxy) fn note_owners(&mut self) {
        if let Some(near) = self.near.as_deref_mut() {
            for slot in (0..SLOTS as u16).filter_map(Slot::new) {
                let shard = self.upstream.routes.shard(slot);
                near.note_owner(slot.number(), shard.map(|shard| shard.master));
            }
        }
    }

    /// The same, of one slot.
    pub(in crate::proxy) fn note_owner(&mut self, slot: Slot) {
        if let Some(near) = self.near.as_deref_mut() {
            let shard = self.upstream.routes.shard(slot);
            near.note_owner(slot.number(), shard.map(|shard| shard.master));
        }
    }

    /// The keys that have most bytes.
    pub(in crate::proxy) fn list_near_keys(&self, most: usize, reply: &mut Vec<u8>) {
        let all = largest(
            self.near.iter().flat_map(|near| near.store.list_all()),
            most,
        );
        encode::array(reply, 4 * all.len());
        for (key, hits, replies, bytes) in all {
            encode::bulk(reply, key);
            encode::integer(reply, replies as i64);
            encode::integer(reply, bytes as i64);
            encode::integer(reply, i64::from(hits));
        }
    }

    /// What the servers are has changed: what they promise, too.
    pub(in crate::proxy) fn forget_near(&mut self) {
        if let Some(near) = self.near.as_deref_mut() {
            near.drop_all();
        }
    }
}

/// What `list_all` says of an entry, bytes last.
type Listed<'a> = (&'a [u8], u8, usize, usize);

/// So many of the entries, those with most bytes, in that order. Not all of them are kept and sorted: there may be very many.
fn largest<'a>(entries: impl Iterator<Item = Listed<'a>>, most: usize) -> Vec<Listed<'a>> {
    let keep = |all: &mut Vec<Listed<'a>>| {
        sort::by_key(all, |(_, _, _, bytes)| std::cmp::Reverse(*bytes));
        all.truncate(most);
    };
    let (mut all, mut least) = (Vec::new(), 0);
    for entry in entries.filter(|_| most > 0) {
        if entry.3 <= least {
            continue;
        }
        all.push(entry);
        if all.len() >= most.saturating_mul(2) {
            keep(&mut all);
            least = all.last().map_or(0, |(_, _, _, bytes)| *bytes);
        }
    }
    keep(&mut all);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn the_largest_of_very_many_are_listed() {
        let mut random = Random::new(8);
        for round in 0..200 {
            let count = random.below(300);
            let most = [0, 1, 2, 7, 100, usize::MAX][round % 6];
            let sizes: Vec<usize> = (0..count).map(|_| 1 + random.below(500)).collect();
            let entries = sizes.iter().map(|bytes| (&b"key"[..], 0, 1, *bytes));
            let listed: Vec<usize> = largest(entries, most).iter().map(|own| own.3).collect();
            let mut expected = sizes.clone();
            expected.sort_by_key(|bytes| std::cmp::Reverse(*bytes));
            expected.truncate(most);
            assert_eq!(listed, expected);
        }
    }
}
