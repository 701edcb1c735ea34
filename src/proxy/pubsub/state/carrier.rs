//! Which master carries a channel's messages.

use crate::cluster::slot::Slot;
use crate::config::{Config, PubsubOrder};
use crate::proxy::upstream::node::Node;
use crate::proxy::upstream::routes::Routes;
use slab::Slab;

/// The slot whose master carries a channel's messages; nothing while no slot is served.
pub fn slot_of_channel(
    channel: &[u8],
    routes: &Routes,
    nodes: &Slab<Node>,
    config: &Config,
) -> Option<Slot> {
    match config.pubsub_order {
        PubsubOrder::All => routes.carrier(nodes),
        PubsubOrder::Channel => Some(Slot::of(channel)),
    }
}
