//! PUBLISH: which master carries a channel.
//!
//! The cluster forwards every message to every node over its bus, which keeps the order of messages from one node,
//! but not between nodes. So with `-pubsub-order all` every PUBLISH goes to one master, and every proxy chooses the
//! same one. That master then sends to all others; with `-pubsub-order channel` all masters share this work.

use crate::cluster::slot::Slot;
use crate::command::Flags;
use crate::config::PubsubOrder;
use crate::proxy::client::step::Step;
use crate::proxy::ids::NodeKey;
use crate::proxy::pubsub::state::carrier::slot_of_channel;
use crate::proxy::request::Request;
use crate::proxy::state::Proxy;
use crate::proxy::texts::refusal;

impl Proxy {
    /// A PUBLISH that is not in a transaction.
    pub(in crate::proxy) fn publish(&mut self, request: &Request<'_>) -> Step {
        match self.slot_of_channel(request.args.at(1)) {
            Some(slot) => self.send_to_slot(request, slot),
            None => self.reject(request, refusal::CLUSTER_DOWN),
        }
    }

    /// A script without keys. It may publish: so with `-pubsub-order all` it goes by the master that a PUBLISH would, and
    /// the messages of one client keep their order.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn run_keyless(&mut self, request: &Request<'_>) -> Step {
        let publishes = self.config.pubsub_order == PubsubOrder::All
            && !request.command.flags.contains(Flags::READONLY);
        match self.slot_of_channel(&[]).filter(|_| publishes) {
            Some(slot) => self.send_to_slot(request, slot),
            None => self.send_to_any(request),
        }
    }

    /// The slot whose master carries a channel's messages; nothing while no slot is served.
    pub(in crate::proxy) fn slot_of_channel(&self, channel: &[u8]) -> Option<Slot> {
        let upstream = &self.upstream;
        slot_of_channel(channel, &upstream.routes, &upstream.nodes, &self.config)
    }

    /// The node that is to be the home of a channel or pattern which has none: with `-pubsub-order all` the one that
    /// the others have.
    pub(super) fn home_for(&mut self, name: &[u8]) -> Option<NodeKey> {
        if self.config.pubsub_order == PubsubOrder::All
            && let Some(carrier) = self.pubsub.carrier
            && self.pubsub.links.contains_key(&carrier)
        {
            return Some(carrier);
        }
        let slot = self.slot_of_channel(name)?;
        let home = self.upstream.routes.shard(slot)?.master;
        if self.config.pubsub_order == PubsubOrder::All {
            self.pubsub.carrier = Some(home);
        }
        Some(home)
    }
}
