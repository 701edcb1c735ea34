//! Nodes in broadcasting mode (`CLIENT TRACKING ON BCAST`): they report all keys that change, and remember nothing of what was read.
//! That costs them less than an entry in their tracking table for each key that is kept, unless very many keys change
//! that nobody keeps: then the node is asked for the keys that were read, for a while.
//!
//! A node would keep reports without limit for a proxy that does not read them. So the connection subscribes to a channel, too:
//! it is one of `client-output-buffer-limit pubsub` then, and a proxy that stands still is closed.

use crate::clock::Time;
use crate::proxy::ids::{BackendId, NodeKey};
use crate::proxy::near_cache::state::NearCache;
use crate::proxy::near_cache::state::flight::{Flight, NearStep, Progress, Waiter};
use crate::proxy::near_cache::state::link::Over;
use crate::proxy::near_cache::state::store::Beside;
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::Origin;
use crate::proxy::upstream::lost::Lost;

/// Nobody publishes there.
pub(super) const CHANNEL: &[u8] = b"redis-cluster-proxy:near-cache";

impl NearCache {
    /// Clients get a reply: they may know more now than what is kept of the same key.
    pub(super) fn note_seen(&mut self, at: u32, resp3: &[u8], waiters: &[Waiter], now: Time) {
        let Some(flight) = self.flights.get(at) else {
            return;
        };
        let (hash, node) = (flight.hash, flight.stamp.node);
        if !self.is_broadcast(node) || self.beside(flight, resp3) != Beside::Other {
            return;
        }
        self.is_to_settle(at);
        let unsettled = &mut self.unsettled;
        let mut all = waiters.iter();
        if !all.all(|waiter| unsettled.add_reader(hash, waiter.part.client, node, now)) {
            self.drop_key(hash);
        }
    }

    /// A flight is over. Returns whether what it has brought may be kept now: if it may be newer than other replies of its key,
    /// it is kept once it is settled, and if too many wait for that, not at all.
    pub(super) fn may_keep_now(&mut self, at: u32, now: Time) -> bool {
        let Some(flight) = self.flights.get(at) else {
            return false;
        };
        let (hash, node) = (flight.hash, flight.stamp.node);
        let Progress::Answered(both) = &flight.progress else {
            return true;
        };
        if flight.spoiled || !self.is_broadcast(node) {
            return true;
        }
        let (now_kept, has_room) = match self.beside(flight, &both.resp3) {
            Beside::Same => return true,
            Beside::Nothing => (true, self.unsettled.add_key(hash, node, now)),
            Beside::Other => (false, self.unsettled.add_flight(at, node, now)),
        };
        self.is_to_settle(at);
        if !has_room {
            self.flights.remove(at);
        }
        now_kept
    }

    /// The node of a flight is to be asked until what it has said is settled.
    fn is_to_settle(&mut self, at: u32) {
        let Some(flight) = self.flights.get(at) else {
            return;
        };
        let (node, key) = (flight.stamp.node, flight.key.clone());
        let link = self.link_mut(node);
        link.settles = true;
        link.probe_key.clear();
        link.probe_key.extend_from_slice(&key);
    }

    fn beside(&self, flight: &Flight, resp3: &[u8]) -> Beside {
        let reply = (flight.question(), resp3);
        self.store
            .beside(flight.hash, &flight.key, flight.stamp, reply)
    }
}

impl Proxy {
    /// A node in broadcasting mode has answered something that was sent then: what is settled by that is kept.
    pub(super) fn settle_near(&mut self, node: NodeKey, sent_at: Time, now: Time) {
        let Some(near) = self.near.as_deref_mut() else {
            return;
        };
        let (settled, left) = near.unsettled.confirm(node, sent_at, now);
        near.link_mut(node).settles = left;
        for at in settled {
            self.keep_near(at);
        }
    }

    /// The subscription is confirmed, by a push. Returns whether that was asked for.
    pub(super) fn near_subscribed(&mut self, id: BackendId) -> bool {
        let origin = Origin::Near(NearStep::Subscribe);
        self.upstream.confirmed(id, origin, &mut self.pool)
    }

    /// Connections end on which a node may not report all keys, or reports too many for what is kept; and those of nodes that
    /// may report all again.
    pub(super) fn weigh_broadcasts(&mut self, now: Time) {
        let Some(near) = self.near.as_deref_mut() else {
            return;
        };
        let mut over = Vec::new();
        for node in near.nodes() {
            over.extend(near.weigh(node, now).map(|why| (node, why)));
        }
        for (node, why) in over {
            let address = self.upstream.node(node).map(|own| own.address);
            match (why, address) {
                (Over::Refused, Some(address)) => log::warn!(
                    "{address} refuses SUBSCRIBE {} or CLIENT TRACKING ON BCAST: it is asked to track each key that is cached \
                     (-near-cache-tracking keys)",
                    CHANNEL.escape_ascii()
                ),
                (Over::TooMany(keys), Some(address)) => log::info!(
                    "{address} reports {keys} changed keys in ten seconds, and few of them are cached: it is asked to track \
                     each key that is cached for some time (-near-cache-tracking)"
                ),
                (Over::MayAgain, _) | (_, None) => {}
            }
            let near = self.near.as_deref();
            let backend = near.and_then(|near| near.link(node)?.backend);
            if let Some(id) = backend {
                self.lose_backend(id, Lost::Retired, now);
            }
        }
    }
}
