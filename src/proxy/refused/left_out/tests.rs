//! Which parts of a command for all masters are left out, and who is asked in their place.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::topology::Topology;
use crate::config::Config;
use crate::proxy::actions::Action;
use crate::proxy::ids::{BackendId, ClientId, Peer};
use crate::proxy::state::Proxy;
use crate::proxy::tests::rig::{self, before_nodes, flushed, next_action};

fn node(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 6379))
}

/// Masters with these slots each, in the order of the nodes' numbers.
fn topology(masters: &[(u8, std::ops::Range<usize>)]) -> Arc<Topology> {
    let addresses: Vec<SocketAddr> = masters.iter().map(|(number, _)| node(*number)).collect();
    let mut topology = Topology::of_masters(&addresses);
    for (shard, (_, slots)) in masters.iter().enumerate() {
        topology.slots[slots.clone()].fill(shard as u16);
    }
    Arc::new(topology)
}

/// One client before nodes that are masters by their own words. Each has ten keys for each unit of its number.
struct Rig {
    proxy: Proxy,
    client: ClientId,
    now: Time,
    nodes: HashMap<BackendId, SocketAddr>,
    /// Who cannot be connected to.
    down: Option<SocketAddr>,
    heard: Vec<u8>,
}

impl Rig {
    fn new() -> Rig {
        let now = Time::from_micros(1_000_000);
        let mut proxy = before_nodes(2, Arc::new(Config::default()));
        proxy.adopt(topology(&[(1, 0..8192), (2, 8192..16384)]), now);
        Rig {
            client: proxy.accept(Some(SocketAddr::from(([127, 0, 0, 1], 9))), now),
            proxy,
            now,
            nodes: HashMap::new(),
            down: None,
            heard: Vec::new(),
        }
    }

    fn feed(&mut self, peer: Peer, bytes: &[u8]) {
        rig::feed(&mut self.proxy, peer, bytes, self.now);
    }

    fn wait(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.now = self.now.after(Duration::from_millis(10));
            self.proxy.tick(self.now);
            self.proxy.begin_turn(self.now);
            while let Some(action) = next_action(&mut self.proxy) {
                self.act(action);
            }
        }
        self.proxy.check();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(id, address) if self.down == Some(address) => {
                self.proxy.closed(Peer::Backend(id), self.now);
            }
            Action::Connect(id, address) => {
                self.nodes.insert(id, address);
                self.proxy.connected(id, self.now);
            }
            Action::Resume(id) => {
                self.proxy.resume(id, self.now);
            }
            Action::Flush(Peer::Client(id)) => {
                let written = flushed(&mut self.proxy, Peer::Client(id), self.now);
                self.heard.extend(written);
            }
            Action::Flush(Peer::Backend(id)) => self.answer(id),
            _ => {}
        }
    }

    fn answer(&mut self, id: BackendId) {
        let peer = Peer::Backend(id);
        let written = flushed(&mut self.proxy, peer, self.now);
        let text = String::from_utf8(written).expect("text");
        let SocketAddr::V4(address) = self.nodes[&id] else {
            panic!("all nodes have version 4 addresses");
        };
        for request in text.split('*').skip(1) {
            let reply = match request {
                _ if request.contains("ROLE") => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".to_string(),
                _ if request.contains("CLIENT") => ":1\r\n".to_string(),
                _ if request.contains("DBSIZE") => format!(":{}0\r\n", address.ip().octets()[3]),
                _ => "+OK\r\n".to_string(),
            };
            self.feed(peer, reply.as_bytes());
        }
    }

    /// DBSIZE, while the second node cannot be reached, and these topologies follow each other.
    fn keys_after(&mut self, topologies: &[Arc<Topology>]) -> String {
        self.down = Some(node(2));
        self.feed(Peer::Client(self.client), b"DBSIZE\r\n");
        self.wait(100);
        assert_eq!(self.heard, b"", "it waits for the second");
        for topology in topologies {
            self.proxy.adopt(topology.clone(), self.now);
            self.wait(20);
        }
        self.wait(2000);
        String::from_utf8_lossy(&self.heard).into_owned()
    }
}

/// It may be given a slot before the topology tells that it was promoted, and is a shard of its own by then.
#[test]
fn who_has_the_slots_of_a_shard_that_is_no_more_is_asked_in_its_place() {
    let first = topology(&[(1, 0..8192), (2, 8193..16384), (3, 8192..8193)]);
    let then = topology(&[(1, 0..8192), (3, 8192..16384)]);
    assert_eq!(Rig::new().keys_after(&[first, then]), ":40\r\n");
}

/// While it is promoted, a slot may be on its way to its old master, and from there to another.
#[test]
fn a_promoted_replica_is_asked_although_its_old_master_was_listed_beside_it() {
    let mut rig = Rig::new();
    let mut whole = Topology::clone(&topology(&[(1, 0..8192), (2, 8192..16384), (3, 0..0)]));
    whole.shards.truncate(2);
    whole.shards[1].replicas = vec![2];
    rig.proxy.adopt(Arc::new(whole), rig.now);
    let first = topology(&[(1, 0..8192), (2, 8192..8193), (3, 8193..16384)]);
    let then = topology(&[(1, 0..8193), (3, 8193..16384)]);
    assert_eq!(rig.keys_after(&[first, then]), ":40\r\n");
}

/// Its keys have been counted where they are now, or are counted by the part that waits for that node.
#[test]
fn a_shard_is_left_out_if_who_has_its_slots_is_asked_already() {
    let moved = topology(&[(1, 0..16384)]);
    assert_eq!(Rig::new().keys_after(&[moved]), ":10\r\n");
}
