//! What unit tests of a proxy do in place of the worker that it has otherwise.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::clock::Time;
use crate::cluster::topology::Topology;
use crate::command::Table;
use crate::config::Config;
use crate::proxy::actions::Action;
use crate::proxy::ids::{ClientId, Peer};
use crate::proxy::process::Process;
use crate::proxy::state::Proxy;

/// A proxy that takes plain requests as such, or none at all.
pub fn before_three_nodes(plain: bool) -> Proxy {
    let process = Arc::new(Process::new(1));
    if !plain {
        // While somebody looks at requests none is plain.
        process.watchers.add();
    }
    before(3, Arc::new(Config::default()), process)
}

/// A proxy before so many nodes.
pub fn before_nodes(nodes: u8, config: Arc<Config>) -> Proxy {
    before(nodes, config, Arc::new(Process::new(1)))
}

/// The same, of this process.
pub fn before(nodes: u8, config: Arc<Config>, process: Arc<Process>) -> Proxy {
    let table = Arc::new(Table::compiled());
    let mut proxy = Proxy::new(config, table, process, 0, 1);
    let nodes = (1..=nodes).map(|node| SocketAddr::from(([10, 0, 0, node], 6379)));
    let nodes: Vec<SocketAddr> = nodes.collect();
    let mut topology = Topology::of_masters(&nodes);
    topology.announced = (0..)
        .zip(&nodes)
        .map(|(index, node)| (node.to_string(), index))
        .collect();
    proxy.adopt(Arc::new(topology), Time::default());
    proxy
}

/// A client of which it is known that its replies are small.
pub fn known_client(proxy: &mut Proxy, address: Option<SocketAddr>, now: Time) -> ClientId {
    let id = proxy.accept(address, now);
    let most = proxy.config.limits.pipeline_requests;
    if let Some(client) = proxy.clients.get_mut(id) {
        client.window = most;
    }
    id
}

/// A peer has sent these bytes, which come as they fit into its room.
pub fn feed(proxy: &mut Proxy, peer: Peer, mut bytes: &[u8], now: Time) {
    while !bytes.is_empty() {
        let room = proxy.room(peer).expect("it is read");
        let count = bytes.len().min(room.spare().len());
        room.spare()[..count].copy_from_slice(&bytes[..count]);
        room.filled(count);
        proxy.input(peer, count, now);
        bytes = &bytes[count..];
    }
}

/// Takes all that waits for a peer, which has room for any amount.
pub fn flushed(proxy: &mut Proxy, peer: Peer, now: Time) -> Vec<u8> {
    let mut bytes = Vec::new();
    proxy.flush(peer, now, |slices| {
        slices.iter().for_each(|own| bytes.extend_from_slice(own));
        slices.iter().map(|own| own.len()).sum()
    });
    bytes
}

/// The next thing to do, in this turn or in the next ones, until there is nothing to do at once.
pub fn next_action(proxy: &mut Proxy) -> Option<Action> {
    while proxy.actions.is_empty() && proxy.is_behind() {
        proxy.begin_turn(Time::from_micros(7));
    }
    proxy.next_action()
}
